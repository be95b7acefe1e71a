/* lines.h -- the lines of a text file, compressed or not. */
#ifndef VG_SCORE_LINES_H
#define VG_SCORE_LINES_H

#include "base/slice.h"
#include "base/status.h"

struct lines;

/* Files that end in .xz are read through `xz -dc`. path is borrowed. VG_REJECT train.file,
 * train.xz. */
VG_CHECK enum vg_status lines_open(const char *path, struct lines **ret_lines, struct vg_err *err);
void lines_close(struct lines *lines); /* NULL is fine */

/* The next line without its end, valid until the next call. VG_END: the whole file was read, and xz
 * said that it was whole. VG_REJECT train.row: too long. */
VG_CHECK enum vg_status lines_next(struct lines *lines, struct vg_slice *ret_line,
                                   struct vg_err *err);
uint64_t lines_number(const struct lines *lines); /* of the line just read, from 1 */
const char *lines_path(const struct lines *lines);
double lines_done(const struct lines *lines); /* 0 to 1: how much of the file was read */

#endif
