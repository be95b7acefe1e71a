/* watching.h -- when the models are watched, and who may ask for it. Private to src/app. */
#ifndef VG_APP_WATCHING_H
#define VG_APP_WATCHING_H

#include "app/settings.h"
#include "base/buf.h"
#include "score/watch.h"

/* From the settings; paths live in the arena. NULL members: no memory. */
struct watch_config watching_config(const struct settings *settings, struct vg_arena *arena);

struct watching;

/* Starts a thread that runs by score.watch_every, the first time soon after. */
VG_CHECK enum vg_status watching_open(const struct settings *settings,
                                      struct watching **ret_watching, struct vg_err *err);
/* A run that is under way ends at the next occasion, and no other begins. */
void watching_end(struct watching *watching);
void watching_close(struct watching *watching); /* ends it too; NULL is fine */

/* A run now, in the caller's thread, of at most 45 s. VG_REJECT watch.busy: one is under way;
 * watch.empty: nothing was scored. */
VG_CHECK enum vg_status watching_run_now(struct watching *watching, struct vg_err *err);

const struct watch_config *watching_what(const struct watching *watching);

#endif
