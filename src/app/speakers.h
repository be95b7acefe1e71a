/* speakers.h -- whom each device speaks for, asked by the connectors' threads. */
#ifndef VG_APP_SPEAKERS_H
#define VG_APP_SPEAKERS_H

#include "base/slice.h"
#include "base/status.h"

struct speakers;

/* Reads DIR/registry.db, and again when it has changed. As registry_open(). */
VG_CHECK enum vg_status speakers_open(const char *dir, struct speakers **ret_speakers,
                                      struct vg_err *err);
void speakers_close(struct speakers *speakers); /* NULL is fine */

/* For connector_config.may_speak, with a speakers as ctx. Any thread. */
bool speakers_may(void *ctx, struct vg_slice sender, struct vg_slice device, bool is_free);

#endif
