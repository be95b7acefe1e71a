/* value_rules.h -- what a FHIR mapping says of a number beyond MedTech's own: another unit, limits
 * of what can be, an interpretation, a reference range (docs/mapping.md).
 *
 * They stand beside `value`, where MedTech refuses members that it does not know: no mapping that
 * works there has them by accident.
 */
#ifndef VG_CONNECTOR_VALUE_RULES_H
#define VG_CONNECTOR_VALUE_RULES_H

#include "connector/fhir_mapping.h"
#include "connector/ucum.h"

struct value_bound {
    bool is_set;
    double value;
};

enum { RULES_LL, RULES_L, RULES_H, RULES_HH, RULES_THRESHOLDS };

struct value_rules {
    bool has_conversion;
    struct ucum_conversion conversion;
    struct value_bound low, high;       /* of what can be */
    const char *outside, *not_a_number; /* code of the reason; NULL = dead letter */
    struct value_bound thresholds[RULES_THRESHOLDS];
    bool has_interpretation;
    struct vg_slice range_json; /* [{…}], or empty */
};

/* Ends with NULL. */
extern const char *const value_rules_members[];

/* Reads the rules that stand in `object` beside the value `v`, and sets v->rules when there are
 * any. */
void value_rules_load(struct mapping_errors *errors, const struct vg_json *object,
                      struct fhir_value *v);

enum value_outcome {
    VALUE_NUMBER,       /* *ret_number: as JSON writes it, in `out` */
    VALUE_ABSENT,       /* *ret_reason: a code of FHIR's data-absent-reason */
    VALUE_NOT_A_NUMBER, /* refused */
    VALUE_OUTSIDE,      /* refused: beyond the limits */
};

/* The number of a Quantity or a SampledData from a measurement's text. */
enum value_outcome value_rules_apply(const struct fhir_value *v, struct vg_slice text,
                                     char out[static 40], struct vg_slice *ret_number,
                                     const char **ret_reason);

/* ,"interpretation":[…],"referenceRange":[…] of a value; `number` empty: it has none. */
void value_rules_write(const struct value_rules *rules, struct vg_slice number, struct vg_buf *out);

/* Is `code` a reason that "outside" or "notANumber" can give? NULL: no; else it, static. */
const char *value_rules_reason(struct vg_slice code);

#endif
