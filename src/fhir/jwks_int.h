/* jwks_int.h -- the public keys of registered programs. Private to src/fhir. */
#ifndef VG_FHIR_JWKS_INT_H
#define VG_FHIR_JWKS_INT_H

#include "fhir/fhir_int.h"

VG_CHECK enum vg_status fhir_jwks_open(struct fhir_jwks **ret_jwks, struct vg_err *err);
void fhir_jwks_close(struct fhir_jwks *jwks); /* NULL is fine */

/* May this be registered: a JWKS with a key that we can use, or the address of one? */
bool fhir_jwks_is_usable(struct vg_arena *arena, struct vg_slice text, const char **ret_why);
/* Has one of the keys signed `text`? `source` is what was registered, `head` the JWT's. Any thread;
 * may wait for another server, FETCH_MS at most. */
bool fhir_jwks_has_signed(struct fhir_store *store, struct vg_arena *arena, struct vg_slice source,
                          const struct vg_json *head, struct vg_slice text,
                          struct vg_slice signature);
struct vg_slice fhir_base64url_decode(struct vg_arena *arena, struct vg_slice text);

#endif
