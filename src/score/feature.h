/* feature.h -- the numbers that models see, as one declared table.
 *
 * The table is a catalogue: each model names the rows that it uses (its card's "features").
 * Training, evaluation and live scoring fill them by the same code from the same window.
 */
#ifndef VG_SCORE_FEATURE_H
#define VG_SCORE_FEATURE_H

#include "base/buf.h"
#include "score/rule.h"
#include "score/window.h"

/* Raised whenever a row's meaning changes: a model made for another version is refused. */
#define FEATURE_TABLE_VERSION 2

/* What a feature speaks of, for contributions: a signal, or one of these. */
enum feature_group {
    FEATURE_GROUP_NEWS2 = SIGNAL_COUNT,
    FEATURE_GROUP_RULES,
    FEATURE_GROUP_LABS,
    FEATURE_GROUP_AGE,
    FEATURE_GROUP_SEX,
    FEATURE_GROUP_COUNT
};

enum feature_function {
    FEATURE_LAST, /* the newest value in the window */
    FEATURE_AGE,  /* hours since it was taken */
    FEATURE_MIN,  /* over the window, as all that follow */
    FEATURE_MAX,
    FEATURE_MEAN,
    FEATURE_MEDIAN,
    FEATURE_SD,       /* of a sample; from 2 values on */
    FEATURE_SLOPE,    /* least squares, per hour; from 2 values on */
    FEATURE_CHANGE,   /* last minus the value at the window's start, else the oldest inside */
    FEATURE_BASELINE, /* last minus the patient's own median */
    FEATURE_ABOVE_MEAN,
    FEATURE_ABOVE_MIN,
    FEATURE_BELOW_MAX,
    FEATURE_Z,     /* (last minus mean) / sd */
    FEATURE_EWMA,  /* mean that forgets, over 24 h; the window is its half-life */
    FEATURE_JUMP,  /* mean absolute difference of successive values */
    FEATURE_STEP,  /* last minus the value before it */
    FEATURE_SHARE, /* share of the hours seen that have a value */
    FEATURE_SUM,
    FEATURE_RATIO,      /* of two signals: newest values (window 0), or means over the window */
    FEATURE_DIFFERENCE, /* the same */
    FEATURE_PRODUCT,    /* the same */
    FEATURE_PULSE_HEAT, /* pulse less 10 for each degree above 37: what fever does not explain */
    FEATURE_MEAN_ERROR, /* mean pressure less what systolic and diastolic give */
    FEATURE_ROX,        /* saturation / inspired oxygen / respiration */
    FEATURE_AGE_TIMES,  /* age in years times a ratio of two signals */
    FEATURE_LABS_NEW,   /* laboratory values in the window, by the hour */
    FEATURE_LABS_KNOWN, /* how many different ones */
    FEATURE_NEWS2_LOW,  /* of the five parts that monitors measure, scale 1 */
    FEATURE_NEWS2_HIGH,
    FEATURE_NEWS2_PART,
    FEATURE_NEWS2_MEAN, /* over the hours of the window */
    FEATURE_NEWS2_MAX,
    FEATURE_RULE,      /* a rule's lower bound */
    FEATURE_RULE_MEAN, /* over the hours of the window, from vital signs alone */
    FEATURE_AGE_YEARS,
    FEATURE_SEX, /* 1 male, 0 female */
    FEATURE_FUNCTION_COUNT
};

struct feature {
    const char *name;
    uint8_t function;
    uint8_t signal; /* enum score_vital, enum signal; with RULE: enum rule_id; with NEWS2_PART:
                       enum news2_part */
    uint8_t other;  /* the second signal */
    uint8_t group;  /* what contributions call it */
    uint8_t hours;  /* the window */
};

/* What is declared of a function, for people and for the lint (feature_lint.c). */
struct feature_function_info {
    const char *name, *what;
    bool is_time_since;    /* left out in the card's ablations */
    bool is_pattern;       /* tells how often something is measured: left out in the second one */
    bool knows_the_future; /* true or the next: no model may use it */
    bool knows_the_stay;
};
extern const struct feature_function_info feature_functions[FEATURE_FUNCTION_COUNT];

extern const struct feature features[];
extern const size_t feature_count; /* of the catalogue */
#define FEATURES_MAX 1024          /* of a model */

/* The index of a name in the catalogue; feature_count when there is none. */
size_t feature_find(struct vg_slice name);

/* A model's features, with what filling them needs. */
struct feature_set {
    size_t count;
    uint16_t index[FEATURES_MAX]; /* into features[] */
    int64_t history_us;           /* of vital signs that they look back on */
    uint16_t needs[SIGNAL_COUNT]; /* NEEDS_*, feature.c */
    bool needs_hours;             /* scores of past hours */
    bool needs_rules, needs_labs;
};

/* VG_REJECT score.feature: not in the catalogue, twice, or too many. names: separated by
 * white space or commas. */
VG_CHECK enum vg_status feature_set_add(struct feature_set *set, struct vg_slice names,
                                        struct vg_err *err);

struct feature_patient {
    double age_years; /* NaN = not known */
    double sex;       /* 1 male, 0 female, NaN = not known */
};

/* Fills row[set->count]; NaN where there is nothing to compute from. expiry_us: as for
 * window_news2(), one per vital sign. */
void feature_fill(const struct feature_set *set, const struct window *window,
                  const struct feature_patient *patient, const int64_t *expiry_us, int64_t as_of_us,
                  float *row);

/* The newest value of each signal that has not expired, NaN = none; consciousness as its letter.
 * For rules. */
void feature_current(const struct window *window, const int64_t *expiry_us, int64_t as_of_us,
                     double values[SIGNAL_COUNT]);

/* "respiration rate rose from 18 to 26 /min in 1 h": what stands behind a group's contribution, in
 * words. news2 may be NULL. */
void feature_describe(const struct window *window, const struct feature_patient *patient,
                      const struct news2 *news2, int group, int64_t as_of_us, char *out,
                      size_t size_bytes);
/* The time of the older value that those words name ("from 18"); INT64_MIN: they name none. */
int64_t feature_since_us(const struct window *window, int group, int64_t as_of_us);
const char *feature_group_name(int group); /* "respiration", "news2", "age", "sex" */

/* What a feature is, in words: "mean of heart rate over 8 h". */
void feature_words(const struct feature *feature, char *out, size_t size_bytes);
const char *feature_unit(const struct feature *feature);

#endif
