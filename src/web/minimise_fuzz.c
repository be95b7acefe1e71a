/* minimise_fuzz.c -- whatever is JSON comes out as JSON, and a second time it is no longer. */
#include "web/web_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_buf once, twice;
    struct vg_err err = {0};

    vg_buf_init(&once, 0);
    vg_buf_init(&twice, 0);
    if (web_minimise((struct vg_slice){(const char *)data, size}, &once, &err) != VG_OK) {
        if (!err.code)
            abort();
    } else if (vg_buf_ok(&once)) {
        if (web_minimise(vg_buf_slice(&once), &twice, &err) != VG_OK ||
            twice.len > once.len)
            abort();
    }
    vg_buf_fini(&once);
    vg_buf_fini(&twice);
    return 0;
}
