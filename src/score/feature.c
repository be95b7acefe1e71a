/* feature.c -- one declared table of features, and the one pass over a window that fills it.
 *
 * A vital sign's cells are walked once, newest first; the sums of a shorter window are a snapshot
 * of the walk to the longer one. Samples: in the last hour each cell (a minute); in the longer
 * windows the newest value of each ten minutes, whether the cells there are of a minute or of ten,
 * so that a mean over 4 h does not lean to the last hour and does not depend on how often a device
 * sends. Minimum and maximum are over all that was seen.
 *
 * A window is (as_of - length, as_of]. "Change" is the newest value minus the value that stood at
 * the window's start, else the oldest value inside. Sums are taken relative to the newest value, in
 * double, in one order: the same window gives the same bytes.
 */
#include "score/feature.h"

#include "base/unit.h"

#include <math.h>
#include <stdio.h>

/* Over an hour, hourly spot checks have one value: only its change. A slope over a day adds nothing
 * to the change. How many values there are is not in the table: on the challenge's records it tells
 * how long the stay has been, which ranks well (row AUROC 0.735 instead of 0.727 on the patients it
 * was chosen on) and means nothing at a bedside. */
#define VITAL(key, vital)                                                                          \
    {key "_last", FEATURE_LAST, vital, FEATURE_24H},                                               \
        {key "_age", FEATURE_AGE, vital, FEATURE_24H},                                             \
        {key "_change_1h", FEATURE_CHANGE, vital, FEATURE_1H},                                     \
        {key "_min_4h", FEATURE_MIN, vital, FEATURE_4H},                                           \
        {key "_max_4h", FEATURE_MAX, vital, FEATURE_4H},                                           \
        {key "_mean_4h", FEATURE_MEAN, vital, FEATURE_4H},                                         \
        {key "_sd_4h", FEATURE_SD, vital, FEATURE_4H},                                             \
        {key "_slope_4h", FEATURE_SLOPE, vital, FEATURE_4H},                                       \
        {key "_change_4h", FEATURE_CHANGE, vital, FEATURE_4H},                                     \
        {key "_min_24h", FEATURE_MIN, vital, FEATURE_24H},                                         \
        {key "_max_24h", FEATURE_MAX, vital, FEATURE_24H},                                         \
        {key "_mean_24h", FEATURE_MEAN, vital, FEATURE_24H},                                       \
        {key "_sd_24h", FEATURE_SD, vital, FEATURE_24H},                                           \
    {                                                                                              \
        key "_change_24h", FEATURE_CHANGE, vital, FEATURE_24H                                      \
    }

/* The order is the model's: a card names them, and a model with another table is refused. */
const struct feature features[] = {
    VITAL("respiration", SCORE_RESPIRATION),
    VITAL("spo2", SCORE_SPO2),
    VITAL("systolic", SCORE_SYSTOLIC),
    VITAL("diastolic", SCORE_DIASTOLIC),
    VITAL("mean_pressure", SCORE_MEAN_PRESSURE),
    VITAL("pulse", SCORE_PULSE),
    VITAL("temperature", SCORE_TEMPERATURE),
    {"shock_index", FEATURE_SHOCK_INDEX, SCORE_PULSE, FEATURE_24H},
    {"pulse_pressure", FEATURE_PULSE_PRESSURE, SCORE_SYSTOLIC, FEATURE_24H},
    {"news2_low", FEATURE_NEWS2_LOW, FEATURE_GROUP_NEWS2, FEATURE_24H},
    {"news2_high", FEATURE_NEWS2_HIGH, FEATURE_GROUP_NEWS2, FEATURE_24H},
    {"age_years", FEATURE_AGE_YEARS, FEATURE_GROUP_AGE, FEATURE_24H},
    {"sex", FEATURE_SEX, FEATURE_GROUP_SEX, FEATURE_24H},
};
const size_t feature_count = sizeof(features) / sizeof(features[0]);

static const int64_t window_us[FEATURE_WINDOW_COUNT] = {VG_HOUR_US, 4 * VG_HOUR_US, VG_DAY_US};
static const char *const window_words[FEATURE_WINDOW_COUNT] = {"1 h", "4 h", "24 h"};

/* Running sums of v (relative to the newest value) and t (hours before as_of, negative). */
struct sums {
    unsigned n;
    double v, vv, t, tt, tv, first;
    float min, max;
};

struct stats {
    bool has_last;
    double last, age_h;
    struct sums over[FEATURE_WINDOW_COUNT];
    double change[FEATURE_WINDOW_COUNT]; /* NaN = none */
};

static void sample(struct sums *sums, double t, double v)
{
    sums->n++;
    sums->v += v;
    sums->vv += v * v;
    sums->t += t;
    sums->tt += t * t;
    sums->tv += t * v;
    sums->first = v;
}

static void extremes(struct sums *sums, const struct window_cell *cell)
{
    sums->min = cell->min < sums->min ? cell->min : sums->min;
    sums->max = cell->max > sums->max ? cell->max : sums->max;
}

static void stats_of(const struct window_series *series, int64_t as_of_us, struct stats *ret)
{
    struct sums hour = {.min = INFINITY, .max = -INFINITY}, all = hour;
    int64_t slot_10min = INT64_MAX;
    double base[FEATURE_WINDOW_COUNT] = {NAN, NAN, NAN}; /* value at the window's start */
    int reached = FEATURE_1H; /* windows whose start the walk has passed */

    memset(ret, 0, sizeof(*ret));
    for (uint32_t i = series->count; i-- > 0;) {
        const struct window_cell *cell = &series->cells[i];
        int64_t age_us = as_of_us - cell->time_us;
        double t = -(double)age_us / (double)VG_HOUR_US;
        double v;

        if (age_us < 0)
            continue;
        if (!ret->has_last) {
            ret->has_last = true;
            ret->last = (double)cell->last;
            ret->age_h = -t;
        }
        v = (double)cell->last - ret->last;
        for (; reached < FEATURE_WINDOW_COUNT && age_us >= window_us[reached]; reached++) {
            base[reached] = v;
            if (reached == FEATURE_4H)
                ret->over[FEATURE_4H] = all;
        }
        if (reached == FEATURE_WINDOW_COUNT)
            break;
        if (reached == FEATURE_1H) {
            sample(&hour, t, v);
            extremes(&hour, cell);
        }
        extremes(&all, cell);
        if (cell->time_us / (10 * VG_MINUTE_US) != slot_10min) {
            slot_10min = cell->time_us / (10 * VG_MINUTE_US);
            sample(&all, t, v);
        }
    }
    ret->over[FEATURE_1H] = hour;
    if (reached <= FEATURE_4H)
        ret->over[FEATURE_4H] = all;
    ret->over[FEATURE_24H] = all;

    for (int w = 0; w < FEATURE_WINDOW_COUNT; w++) {
        const struct sums *sums = &ret->over[w];

        ret->change[w] = sums->n == 0      ? (double)NAN
                         : !isnan(base[w]) ? -base[w]
                         : sums->n >= 2    ? -sums->first
                                           : (double)NAN;
    }
}

static double stat(const struct stats *stats, enum feature_function function,
                   enum feature_window window)
{
    const struct sums *sums = &stats->over[window];
    double n = sums->n, spread;

    if (!stats->has_last)
        return (double)NAN;
    if (function == FEATURE_LAST)
        return stats->age_h < 24 ? stats->last : (double)NAN;
    if (function == FEATURE_AGE)
        return stats->age_h < 24 ? stats->age_h : (double)NAN;
    if (function == FEATURE_CHANGE)
        return stats->change[window];
    if (sums->n == 0)
        return (double)NAN;
    if (function == FEATURE_MIN)
        return (double)sums->min;
    if (function == FEATURE_MAX)
        return (double)sums->max;
    if (function == FEATURE_MEAN)
        return stats->last + sums->v / n;
    if (sums->n < 2)
        return (double)NAN;
    if (function == FEATURE_SD) {
        spread = (sums->vv - sums->v * sums->v / n) / (n - 1);
        return spread > 0 ? sqrt(spread) : 0;
    }
    spread = sums->tt - sums->t * sums->t / n;
    return spread > 1e-9 ? (sums->tv - sums->t * sums->v / n) / spread : (double)NAN;
}

/* NEWS2 as the training data can know it: no consciousness, no oxygen, scale 1. */
static struct news2 monitor_news2(const struct window *window, const int64_t *expiry_us,
                                  int64_t as_of_us, int *ret_high)
{
    struct news2_input input = {.oxygen_scale = 1};
    struct news2 news2;

    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        enum score_vital vital = window_vital_of_part((enum news2_part)part);

        if (part == NEWS2_CONSCIOUSNESS || part == NEWS2_OXYGEN)
            continue;
        input.has[part] = window_state(window, vital, expiry_us[vital], as_of_us) == WINDOW_OK;
        input.value[part] = window->newest[vital].value;
    }
    news2 = news2_score(&input);
    *ret_high = news2.high - 5; /* without the 3 and 2 of the parts that are left out */
    return news2;
}

void feature_fill(const struct window *window, const struct feature_patient *patient,
                  const int64_t *expiry_us, int64_t as_of_us, float *row)
{
    struct stats stats[SCORE_VITAL_COUNT];
    int news2_high;
    struct news2 news2 = monitor_news2(window, expiry_us, as_of_us, &news2_high);

    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        stats_of(&window->series[v], as_of_us, &stats[v]);

    for (size_t i = 0; i < feature_count; i++) {
        const struct feature *feature = &features[i];
        double value = (double)NAN;

        switch (feature->function) {
        case FEATURE_SHOCK_INDEX:
            value = stat(&stats[SCORE_PULSE], FEATURE_LAST, FEATURE_24H) /
                    stat(&stats[SCORE_SYSTOLIC], FEATURE_LAST, FEATURE_24H);
            break;
        case FEATURE_PULSE_PRESSURE:
            value = stat(&stats[SCORE_SYSTOLIC], FEATURE_LAST, FEATURE_24H) -
                    stat(&stats[SCORE_DIASTOLIC], FEATURE_LAST, FEATURE_24H);
            break;
        case FEATURE_NEWS2_LOW:
            value = news2.low;
            break;
        case FEATURE_NEWS2_HIGH:
            value = news2_high;
            break;
        case FEATURE_AGE_YEARS:
            value = patient->age_years;
            break;
        case FEATURE_SEX:
            value = patient->sex;
            break;
        case FEATURE_LAST:
        case FEATURE_AGE:
        case FEATURE_MIN:
        case FEATURE_MAX:
        case FEATURE_MEAN:
        case FEATURE_SD:
        case FEATURE_SLOPE:
        case FEATURE_CHANGE:
            value = stat(&stats[feature->group], feature->function, feature->window);
            break;
        }
        row[i] = (float)value;
    }
}

const char *feature_group_name(int group)
{
    static const char *const names[] = {"news2", "age", "sex"};

    return group < SCORE_VITAL_COUNT ? vitals[group].part : names[group - SCORE_VITAL_COUNT];
}

void feature_describe(const struct window *window, const struct feature_patient *patient,
                      const struct news2 *news2, int group, int64_t as_of_us, char *out,
                      size_t size_bytes)
{
    const struct vital *vital;
    struct vg_slice unit;
    struct stats stats;
    int len;

    if (group == FEATURE_GROUP_NEWS2 && !news2) {
        (void)snprintf(out, size_bytes, "NEWS2 not known");
        return;
    }
    if (group == FEATURE_GROUP_NEWS2) {
        (void)snprintf(out, size_bytes, news2->low == news2->high ? "NEWS2 %d" : "NEWS2 %d to %d",
                       news2->low, news2->high);
        return;
    }
    if (group == FEATURE_GROUP_AGE) {
        if (isnan(patient->age_years))
            (void)snprintf(out, size_bytes, "age not known");
        else
            (void)snprintf(out, size_bytes, "age %.0f", patient->age_years);
        return;
    }
    if (group == FEATURE_GROUP_SEX) {
        (void)snprintf(out, size_bytes, "sex %s",
                       isnan(patient->sex)  ? "not known"
                       : patient->sex > 0.5 ? "male"
                                            : "female");
        return;
    }

    vital = &vitals[group];
    stats_of(&window->series[group], as_of_us, &stats);
    if (!stats.has_last || stats.age_h >= 24) {
        (void)snprintf(out, size_bytes, "no %s in 24 h", vital->name);
        return;
    }
    unit = vg_unit_text(vg_slice_of(vital->unit));
    len = snprintf(out, size_bytes, "%s %.*f %.*s", vital->name, vital->decimals, stats.last,
                   VG_FMT(unit));
    /* The shortest time in which it changed by something that a nurse would remark on. */
    for (int w = 0; w < FEATURE_WINDOW_COUNT; w++) {
        double change = stats.change[w];

        if (len > 0 && (size_t)len < size_bytes && fabs(change) >= vital->notable) {
            len += snprintf(out + len, size_bytes - (size_t)len, ", %s %.*f in %s",
                            change > 0 ? "up" : "down", vital->decimals, fabs(change),
                            window_words[w]);
            break;
        }
    }
    if (len > 0 && (size_t)len < size_bytes && stats.age_h >= 1)
        (void)snprintf(out + len, size_bytes - (size_t)len, ", %.0f h old", floor(stats.age_h));
}
