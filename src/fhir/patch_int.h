/* patch_int.h -- JSON Patch on a resource. Private to src/fhir. */
#ifndef VG_FHIR_PATCH_INT_H
#define VG_FHIR_PATCH_INT_H

#include "fhir/fhir_int.h"

/* `text` with the operations of `patch` done, in the arena; what they do not touch keeps its bytes.
 * Not yet checked as a resource. */
VG_CHECK enum vg_status fhir_patch(struct vg_arena *arena, struct vg_slice text,
                                   struct vg_slice patch, struct vg_slice *ret_text,
                                   struct fhir_issue *issue, struct vg_err *err);

#endif
