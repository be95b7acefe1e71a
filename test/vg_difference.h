/* vg_difference.h -- where two texts of lines part: for tests that compare whole runs. */
#ifndef VG_DIFFERENCE_H
#define VG_DIFFERENCE_H

#include "base/buf.h"

#include <stdio.h>

/* Prints the first line that is not the same; nothing when all are. */
static inline void vg_test_show_difference(const struct vg_buf *want, const struct vg_buf *got)
{
    struct vg_slice a = vg_buf_slice(want), b = vg_buf_slice(got);

    while (a.len > 0 || b.len > 0) {
        struct vg_slice x = vg_slice_cut(&a, '\n'), y = vg_slice_cut(&b, '\n');

        if (vg_slice_eq(x, y))
            continue;
        printf("want %.*s\ngot  %.*s\n", VG_FMT(x), VG_FMT(y));
        return;
    }
}

#endif
