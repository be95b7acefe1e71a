/* log.h -- one line for one thing that happened, for people and for machines.
 *
 * logfmt on standard error: time=… level=… area=… code=… msg="…" key=value… No patient data and no
 * secrets: ids of devices and records are fine, names, values and payloads are not. Stores and base
 * do not log (they return vg_err); a stage's loop logs once.
 */
#ifndef VG_BASE_LOG_H
#define VG_BASE_LOG_H

#include "base/status.h"

enum vg_log_level { VG_LOG_DEBUG, VG_LOG_INFO, VG_LOG_WARN, VG_LOG_ERROR };

void vg_log_set_level(enum vg_log_level level); /* default VG_LOG_INFO; any thread */

/* Any thread. `area` is the module ("hub"), `code` a stable word ("hub.connect"). The same
 * (area, code) is written at most 20 times a second; a later line counts what was left out. */
VG_PRINTF(4, 5)
void vg_log(enum vg_log_level level, const char *area, const char *code, const char *fmt, ...);

/* The usual way to report a failed call: code and text come from the error. */
void vg_log_err(enum vg_log_level level, const char *area, const struct vg_err *err);

#endif
