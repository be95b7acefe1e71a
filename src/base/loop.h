/* loop.h -- an event loop in a thread of its own.
 *
 * libevent underneath; who needs sockets takes the event_base. Everything that belongs to a loop is
 * touched only in its thread: other threads hand work over with vg_loop_post().
 */
#ifndef VG_BASE_LOOP_H
#define VG_BASE_LOOP_H

#include "base/slice.h"
#include "base/status.h"

struct event_base;
struct vg_loop;

/* Makes a loop; nothing runs yet. `name` (static, at most 15 characters) names the thread. */
VG_CHECK enum vg_status vg_loop_open(const char *name, struct vg_loop **ret_loop,
                                     struct vg_err *err);
VG_CHECK enum vg_status vg_loop_start(struct vg_loop *loop,
                                      struct vg_err *err); /* starts the thread */
void vg_loop_stop(
    struct vg_loop *loop); /* any other thread; returns when the loop's thread ended */
void vg_loop_close(struct vg_loop *loop); /* after stop; NULL is fine */

struct event_base *vg_loop_base(struct vg_loop *loop);

/* Any thread: run fn(ctx) in the loop's thread, in the order posted. One wake-up for many posts.
 * False: the loop has been stopped (or no memory), fn will not run. */
bool vg_loop_post(struct vg_loop *loop, void (*fn)(void *ctx), void *ctx);

/* In the loop's thread (or before start): fn(ctx) every interval. Freed by vg_loop_close. */
VG_CHECK enum vg_status vg_loop_every(struct vg_loop *loop, int64_t interval_us,
                                      void (*fn)(void *ctx), void *ctx, struct vg_err *err);

bool vg_loop_is_current(const struct vg_loop *loop);

#endif
