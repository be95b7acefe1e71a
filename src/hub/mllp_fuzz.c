/* Any bytes in any two pieces give the frames that they give at once: a frame is taken when its end
 * is there, and never differently because of how the network cut it. */
#include "hub/hub_int.h"

#include <stdlib.h>

#define SIZE_LIMIT 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The messages of `data`, joined by 0xff; returns how many bytes were taken. */
static size_t take_all(struct vg_slice data, struct vg_buf *out)
{
    size_t used = 0;

    while (used < data.len) {
        struct vg_slice message, rest = vg_slice_from(data, used);
        size_t len;

        switch (mllp_frame_peek(rest, SIZE_LIMIT, &message, &len)) {
        case MLLP_MORE:
        case MLLP_LARGE: /* the connection ends here */
            return used;
        case MLLP_WHOLE:
            vg_buf_put(out, message);
            vg_buf_put_byte(out, 0xff);
            break;
        case MLLP_BETWEEN:
        case MLLP_LOST_END:
            break;
        }
        if (len == 0 || len > rest.len)
            abort();
        used += len;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_slice text = {(const char *)data + 1, size - 1};
    struct vg_buf whole, pieces;
    size_t cut, used;

    if (size < 2)
        return 0;
    cut = data[0] % text.len;
    vg_buf_init(&whole, 0);
    vg_buf_init(&pieces, 0);
    (void)take_all(text, &whole);
    used = take_all((struct vg_slice){text.ptr, cut}, &pieces);
    (void)take_all(vg_slice_from(text, used), &pieces);
    if (!vg_slice_eq(vg_buf_slice(&whole), vg_buf_slice(&pieces)))
        abort();
    vg_buf_fini(&whole);
    vg_buf_fini(&pieces);
    return 0;
}
