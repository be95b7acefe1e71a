/* validate_int.h -- what the files of validation share. Private to src/fhir. */
#ifndef VG_FHIR_VALIDATE_INT_H
#define VG_FHIR_VALIDATE_INT_H

#include "fhir/tables.h"

struct fhir_checking {
    struct vg_arena *arena;
    const struct vg_json *root;
    unsigned type; /* of root */
    struct fhir_problem *problems;
    size_t count, max;
    bool is_done; /* as many as may be told: nothing more is looked at */
};

/* A finding about `node`, or about its member `missing` that is not there (NULL = node itself).
 * http_status 0: a warning. */
__attribute__((format(printf, 6, 7))) void fhir_report(struct fhir_checking *in,
                                                       const struct vg_json *node,
                                                       const char *missing, int http_status,
                                                       const char *code, const char *fmt, ...);

/* validate_format.c: one value of a primitive type. NULL: it is fine; else what it must be. */
const char *fhir_primitive_fault(enum fhir_datatype type, const struct vg_json *value);

/* validate_rules.c: the invariants of a shape. */
void fhir_rules_check(struct fhir_checking *in, unsigned shape, const struct vg_json *node);
/* Those of every resource; `is_contained`: inside another one. */
void fhir_resource_rules_check(struct fhir_checking *in, const struct vg_json *node,
                               bool is_contained);

/* validate_profile.c: the vital signs. False: this profile is not known here. */
bool fhir_profile_check(struct fhir_checking *in, struct vg_slice url);

#endif
