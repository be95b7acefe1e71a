/* smart_int.h -- SMART Backend Services: programs that show who they are by a signed assertion, and
 * the short-lived tokens that they get. Private to src/fhir. */
#ifndef VG_FHIR_SMART_INT_H
#define VG_FHIR_SMART_INT_H

#include "fhir/access_int.h"
#include "fhir/fhir_int.h"

/* By its form alone: ours, or the platform's. */
bool fhir_smart_is_token(struct vg_slice bearer);
/* VG_END: unknown, expired, or its client has been removed. Any thread. */
VG_CHECK enum vg_status fhir_smart_access(struct fhir_store *store, struct vg_slice bearer,
                                          struct fhir_access *ret_access, struct vg_err *err);

#endif
