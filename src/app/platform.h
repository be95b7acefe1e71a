/* platform.h -- the topology: which stage reads which topic, and what runs in this process.
 *
 *   devices -> hub -> device.raw -> archive
 *                                -> connector -> iomt.normalized -> enrich -> iomt.enriched ->
 * capture -> lake |                                                 -> score fhir iomt.scored
 * <-------/ iomt.scored -> capture -> lake
 *                                                                -> alert -> fhir, care,
 * care.changed -> web
 */
#ifndef VG_APP_PLATFORM_H
#define VG_APP_PLATFORM_H

#include "app/settings.h"

struct platform;

/* What a process runs: the whole platform, or a gateway (hub and edge). */
enum platform_kind { PLATFORM_WHOLE, PLATFORM_EDGE };

/* Makes what is missing in the data folder (keys, certificates, databases, a first user), opens the
 * stores and starts the stages, last ones first, so that nothing arrives before its reader is
 * there. `settings` outlives the platform. */
VG_CHECK enum vg_status platform_open(const struct settings *settings, enum platform_kind kind,
                                      struct platform **ret_platform, struct vg_err *err);
/* Closes the doors first, then the stages in the order of the picture, then the stores. */
void platform_close(struct platform *platform);

/* Where things are, for people: one line each. */
void platform_describe(struct platform *platform, struct vg_buf *out);

/* HEALTH of docs/api.md; true when all is well. Any thread. */
bool platform_health(struct platform *platform, struct vg_buf *out);

#endif
