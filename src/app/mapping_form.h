/* mapping_form.h -- for `vigil mapping test`: a file in a device's own form as an envelope. */
#ifndef VG_APP_MAPPING_FORM_H
#define VG_APP_MAPPING_FORM_H

#include "base/arena.h"

struct mapping_form {
    const char *content_type;   /* NULL: the file is JSON */
    const char *characteristic; /* GATT; may be NULL */
    const char *device_id;      /* who is said to send it */
    const char *zone;           /* of times without one; NULL or "": none */
    const char *processing;     /* HL7 MSH-11 that are taken */
};

/* *ret_envelope: JSON in `arena`, as docs/records.md has it. `partial` (set by the caller to zero)
 * gets what is wrong with a part of it. VG_REJECT as decode_body(). */
VG_CHECK enum vg_status mapping_form_read(const struct mapping_form *form, struct vg_slice file,
                                          struct vg_arena *arena, struct vg_slice *ret_envelope,
                                          struct vg_err *partial, struct vg_err *err);

#endif
