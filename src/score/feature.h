/* feature.h -- the numbers that the model sees, as one declared table.
 *
 * Training and live scoring fill the row by the same code from the same window.
 */
#ifndef VG_SCORE_FEATURE_H
#define VG_SCORE_FEATURE_H

#include "score/window.h"

/* What a feature speaks of, for contributions: a vital sign, or one of these. */
enum feature_group {
    FEATURE_GROUP_NEWS2 = SCORE_VITAL_COUNT,
    FEATURE_GROUP_AGE,
    FEATURE_GROUP_SEX,
    FEATURE_GROUP_COUNT
};

enum feature_function {
    FEATURE_LAST, /* the newest value */
    FEATURE_AGE,  /* hours since it was taken */
    FEATURE_MIN,  /* over the window, as all that follow */
    FEATURE_MAX,
    FEATURE_MEAN,
    FEATURE_SD,             /* of a sample; from 2 values on */
    FEATURE_SLOPE,          /* least squares, per hour; from 2 values on */
    FEATURE_CHANGE,         /* last minus the value at the window's start */
    FEATURE_SHOCK_INDEX,    /* pulse / systolic */
    FEATURE_PULSE_PRESSURE, /* systolic - diastolic */
    FEATURE_NEWS2_LOW,      /* of the five parts that monitors measure, scale 1 */
    FEATURE_NEWS2_HIGH,
    FEATURE_AGE_YEARS,
    FEATURE_SEX, /* 1 male, 0 female */
};

enum feature_window { FEATURE_1H, FEATURE_4H, FEATURE_24H, FEATURE_WINDOW_COUNT };

struct feature {
    const char *name;
    enum feature_function function;
    int group; /* enum score_vital or enum feature_group */
    enum feature_window window;
};

extern const struct feature features[];
extern const size_t feature_count;

struct feature_patient {
    double age_years; /* NaN = not known */
    double sex;       /* 1 male, 0 female, NaN = not known */
};

/* Fills row[feature_count]; NaN where there is nothing to compute from. expiry_us as for
 * window_news2(). */
void feature_fill(const struct window *window, const struct feature_patient *patient,
                  const int64_t *expiry_us, int64_t as_of_us, float *row);

/* "respiration rate 26 /min, up 8 in 1 h": what stands behind a group's contribution, in words.
 * news2 may be NULL. */
void feature_describe(const struct window *window, const struct feature_patient *patient,
                      const struct news2 *news2, int group, int64_t as_of_us, char *out,
                      size_t size_bytes);
const char *feature_group_name(int group); /* "respiration", "news2", "age", "sex" */

#endif
