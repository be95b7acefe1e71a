/* clock.h -- time: reading it, writing it down, reading it back.
 *
 * Wall time is microseconds since 1970-01-01T00:00:00Z in an int64_t whose name ends in _us. Who
 * needs a clock takes a struct vg_clock, so that a test runs an hour in a millisecond.
 */
#ifndef VG_BASE_CLOCK_H
#define VG_BASE_CLOCK_H

#include "base/slice.h"

#define VG_SECOND_US ((int64_t)1000000)
#define VG_MINUTE_US (60 * VG_SECOND_US)
#define VG_HOUR_US (60 * VG_MINUTE_US)
#define VG_DAY_US (24 * VG_HOUR_US)

struct vg_clock {
    int64_t (*now_us)(void *ctx); /* wall time */
    void *ctx;
};

extern const struct vg_clock vg_clock_system;

static inline int64_t vg_clock_now_us(const struct vg_clock *clock)
{
    return clock->now_us(clock->ctx);
}

int64_t vg_now_us(void);  /* wall time of the system clock */
int64_t vg_mono_us(void); /* monotonic: for durations and deadlines */
uint64_t vg_mono_ns(void);

#define VG_TIME_TEXT_SIZE 40

/* "2026-03-14T10:00:00.123456Z": always UTC, years 0001 to 9999, the fraction with as many digits
 * as asked for (0 to 6, 0 = no point). Returns the length; `out` is NUL-terminated. */
size_t vg_time_format(int64_t time_us, unsigned fraction_digits,
                      char out[static VG_TIME_TEXT_SIZE]);

/* ISO 8601 date-time as FHIR and Newtonsoft accept it:
 * yyyy-MM-ddTHH:mm:ss[.f+][Z|±hh:mm|±hh|±hhmm], lower-case t and z too, real calendar days, seconds
 * below 60 (a leap second :60 reads as :59). Without a zone it is read as UTC and *ret_has_zone
 * (may be NULL) is false. Fractions beyond microseconds are cut. False leaves the outputs alone. */
bool vg_time_parse(struct vg_slice text, int64_t *ret_us, bool *ret_has_zone);

/* "yyyy-MM-dd" (also "yyyy-MM" and "yyyy", the first day is taken). */
bool vg_date_parse(struct vg_slice text, int64_t *ret_us);

/* The civil date of a day: days since 1970-01-01 (may be negative). */
void vg_date_civil(int64_t days, int *ret_year, int *ret_month, int *ret_day);
int64_t vg_date_days(int year, int month, int day);

/* Whole years from birth date to `now_us`, by the calendar in UTC. */
int vg_age_years(int64_t birth_us, int64_t now_us);

#endif
