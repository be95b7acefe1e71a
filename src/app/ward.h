/* ward.h -- patients who are not there: vital signs that look like a ward's.
 *
 * Each bed has a baseline of its own and wanders around it. One patient at a time deteriorates as
 * in sepsis: breathing and pulse up, oxygen saturation and blood pressure down, fever; NEWS2 passes
 * 7 about half a minute after it begins. The patient is given oxygen, recovers, and another
 * follows. Pure computation: time and seed decide everything.
 */
#ifndef VG_APP_WARD_H
#define VG_APP_WARD_H

#include "base/buf.h"

#define WARD_BEDS_MAX 2000

/* One message of a device (docs/records.md, the simulator's payload). NaN and '\0': not in it. */
struct reading {
    int64_t time_us;
    double hr, rr, spo2, o2, sys, dia, map, temp;
    char avpu;
};

extern const struct reading reading_empty; /* nothing in it */

/* The JSON that is sent; false: nothing but a time is in it, and nothing is written. */
bool reading_write(const struct reading *reading, struct vg_buf *out);

struct ward_bed {
    double base[6], now[6]; /* hr, rr, spo2, sys, dia, temp */
    uint64_t random;
    uint64_t reading_count;
    bool has_oxygen;  /* always: a chronic patient */
    bool was_rescued; /* given oxygen for this deterioration */
    char avpu;        /* as last sent */
};

struct ward {
    struct ward_bed *beds;
    size_t bed_count;
    size_t *order; /* who deteriorates, one after the other, round and round */
    size_t order_count;
};

/* `order` (copied) may be empty: all stay well. False: no memory. */
bool ward_init(struct ward *ward, size_t bed_count, const size_t *order, size_t order_count,
               uint64_t seed);
void ward_fini(struct ward *ward);

/* How ill a bed is, 0 to 1, so long after the start. */
double ward_severity(const struct ward *ward, size_t bed, int64_t elapsed_us);

/* The bed's next message. Pressure, temperature and consciousness are measured every fifth time,
 * and each time while the patient is ill. */
void ward_read(struct ward *ward, size_t bed, int64_t elapsed_us, int64_t time_us,
               struct reading *ret_reading);

#endif
