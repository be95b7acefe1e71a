/* control.h -- how a command speaks to the platform that runs on a data folder.
 *
 * A socket in the folder (DATA/control.sock): one line of JSON there, one document back. Whoever
 * runs as the platform's own user, or as root, may; nobody else. Private to src/app.
 */
#ifndef VG_APP_CONTROL_H
#define VG_APP_CONTROL_H

#include "base/arena.h"
#include "base/buf.h"

struct control;

/* Runs in the socket's thread: one request at a time. `who` names the caller for the audit. What it
 * answers with VG_OK is written to `out`; else `err` is told beside what stands in `out`. */
typedef enum vg_status control_handler(void *ctx, struct vg_slice who, struct vg_slice request,
                                       struct vg_buf *out, struct vg_err *err);

VG_CHECK enum vg_status control_open(const char *data_dir, control_handler *handler, void *ctx,
                                     struct control **ret_control, struct vg_err *err);
void control_close(struct control *control); /* ends what is being answered; NULL is fine */

/* Asks. *ret_answer, in `arena`, is {"ok":true,"answer":…} or {"ok":false,"error":{"code","text"},
 * "answer":…}. VG_END: no platform runs on this folder. */
VG_CHECK enum vg_status control_ask(const char *data_dir, struct vg_slice request,
                                    struct vg_arena *arena, struct vg_slice *ret_answer,
                                    struct vg_err *err);

#endif
