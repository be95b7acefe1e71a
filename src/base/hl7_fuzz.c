/* Any bytes: no crash, every part lies inside the message, and texts are bounded by their source.
 */
#include "base/hl7.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct vg_slice part, struct vg_slice whole)
{
    if (part.len && (part.ptr < whole.ptr || part.ptr + part.len > whole.ptr + whole.len))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_slice text = {(const char *)data, size};
    struct vg_hl7_cursor cursor = {0};
    struct vg_hl7_segment segment;
    struct vg_hl7_time time;
    struct vg_hl7 hl7 = {0};
    struct vg_err err = {0};
    struct vg_buf out;

    (void)vg_hl7_time_parse(text, &time);
    if (vg_hl7_open(text, &hl7, &err) != VG_OK) {
        if (!err.code)
            abort();
        return 0;
    }
    vg_buf_init(&out, 0);
    while (vg_hl7_next(&hl7, &cursor, &segment, &err) == VG_OK)
        for (unsigned n = 2; n < 20; n++) {
            struct vg_slice field = vg_hl7_field(&hl7, &segment, n);

            inside(field, text);
            inside(vg_hl7_component(&hl7, field, 2), text);
            vg_buf_clear(&out);
            vg_hl7_put_text(&hl7, field, &out);
            if (out.len > 2 * field.len)
                abort();
        }
    vg_buf_fini(&out);
    return 0;
}
