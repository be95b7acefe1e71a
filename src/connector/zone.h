/* zone.h -- what a time without a time zone means: connector.zone.
 *
 * Empty: nothing; such a time is refused, because a guess may be hours off and a stale reading
 * would look fresh. "+hh:mm", "-hh:mm", "Z": that offset. "local": the machine's own zone with its
 * daylight saving (the variable TZ sets another); of an hour that the clock shows twice, the one
 * nearer to the receipt is meant.
 */
#ifndef VG_CONNECTOR_ZONE_H
#define VG_CONNECTOR_ZONE_H

#include "base/clock.h"

enum zone_kind { ZONE_NONE, ZONE_FIXED, ZONE_LOCAL };

struct zone {
    enum zone_kind kind;
    int32_t offset_s; /* east of UTC */
};

/* NULL and "" are ZONE_NONE. False: cannot be read. */
bool zone_parse(struct vg_slice text, struct zone *ret);

/* `civil_us`: what the clock showed, counted as if that were UTC. False with ZONE_NONE, and for an
 * hour that daylight saving left out. */
bool zone_to_utc(const struct zone *zone, int64_t civil_us, int64_t received_us, int64_t *ret_us);

#endif
