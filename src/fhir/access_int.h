/* access_int.h -- what the one who asks may do. Private to src/fhir. */
#ifndef VG_FHIR_ACCESS_INT_H
#define VG_FHIR_ACCESS_INT_H

#include "base/slice.h"

#include <stdint.h>

#define FHIR_SCOPES_MAX 64

/* Rights of SMART 2: create, read, update, delete, search. */
enum { FHIR_MAY_C = 1, FHIR_MAY_R = 2, FHIR_MAY_U = 4, FHIR_MAY_D = 8, FHIR_MAY_S = 16 };

struct fhir_scope {
    unsigned type; /* 0 = every type */
    unsigned rights;
};

struct fhir_access {
    bool is_all; /* no scopes: the platform's `may` has decided, or nobody asks */
    struct fhir_scope scopes[FHIR_SCOPES_MAX];
    size_t scope_count;
    char caller[96]; /* a client's or a person's name, for the audit; "" = unknown */
};

/* right: one of c r u d s. */
bool fhir_access_allows(const struct fhir_access *access, char right, unsigned type);

/* "system/Observation.rs system/Patient.read": v1 and v2. False: one of them is none of ours. At
 * most FHIR_SCOPES_MAX; names of types that are unknown are refused. */
bool fhir_scopes_parse(struct vg_slice text, struct fhir_access *ret_access);

/* True when a search touches only what may be seen: chains, _has, includes. */
bool fhir_access_allows_query(const struct fhir_access *access, unsigned type,
                              struct vg_slice query);

struct fhir_results;
/* Takes out what came along with the matches and may not be read. */
void fhir_access_hide(const struct fhir_access *access, struct fhir_results *results);

#endif
