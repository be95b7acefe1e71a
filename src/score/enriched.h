/* enriched.h -- one record of iomt.enriched, taken apart. */
#ifndef VG_SCORE_ENRICHED_H
#define VG_SCORE_ENRICHED_H

#include "base/json.h"
#include "score/window.h"

#define ENRICHED_VALUES_MAX 64

struct enriched_value {
    int vital;        /* enum score_vital, enum signal; SIGNAL_COUNT: none that is used */
    double value;     /* a vital sign's in the table's unit, another's as it came */
    double converted; /* another signal's, in the table's unit */
    bool is_text;
    struct vg_slice code, name, unit, text;
};

/* Slices live in the record's value or the arena it was parsed into. */
struct enriched {
    struct vg_slice patient_id, patient_json, encounter_id, location, unit, observation_id;
    double age_years, sex; /* NaN = not known */
    int oxygen_scale;
    int64_t time_us, received_us;
    size_t count;
    unsigned not_understood; /* values left out: unit or text unknown */
    struct enriched_value values[ENRICHED_VALUES_MAX];
};

/* VG_REJECT score.json, score.record. received_us is record_time_us where the record has none. */
VG_CHECK enum vg_status enriched_read(struct vg_arena *arena, struct vg_slice json,
                                      int64_t record_time_us, struct enriched *ret,
                                      struct vg_err *err);

#endif
