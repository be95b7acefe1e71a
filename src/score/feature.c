/* feature.c -- fills rows of features: one pass over each signal's cells.
 *
 * Cells are walked newest first; the sums of a shorter window are a snapshot of the walk to the
 * longer one. Samples: for the window of one hour each cell (a minute); in the longer ones the
 * newest value of each ten minutes, whether the cells there are of a minute or of ten, so that a
 * mean over 4 h does not lean to the last hour and does not depend on how often a device sends.
 * Minimum and maximum are over all that was seen.
 *
 * A window is (as_of - length, as_of]. Sums are taken relative to the newest value, in double, in
 * one order: the same window gives the same bytes. Only what the model's features need is walked.
 */
#include "score/feature.h"

#include "base/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOWS 9
static const uint8_t window_hours[WINDOWS] = {1, 2, 4, 6, 8, 12, 24, 48, 72};
#define CHANGE_REACH_US (25 * VG_HOUR_US) /* a change is not since the day before */

#define HALF_LIVES 5 /* 1, 2, 4, 8, 16 h */
#define EWMA_US VG_DAY_US
#define HOURS 24 /* of past scores */
#define SAMPLES_MAX 160

/* What a signal's features need beyond the sums. */
enum {
    NEEDS_IT = 1,
    NEEDS_EWMA = 2,
    NEEDS_MEDIAN = 4,
};

/* Running sums of v (relative to the newest value) and t (hours before as_of, negative). */
struct sums {
    unsigned n, jumps;
    double v, vv, t, tt, tv, first, jump;
    int64_t first_us;
    float min, max;
};

struct stats {
    bool has_last, has_before;
    double last, age_h, before;
    int64_t oldest_us;
    uint64_t hours; /* bit h: a value that is h to h + 1 hours old */
    struct sums over[WINDOWS];
    double base[WINDOWS];
    int64_t base_us[WINDOWS];
    double ewma[HALF_LIVES];
    double median; /* of a day */
};

static int window_of(unsigned hours)
{
    int w = 0;

    while (w < WINDOWS - 1 && window_hours[w] < hours)
        w++;
    return w;
}

static void sample(struct sums *sums, int64_t time_us, double t, double v)
{
    if (sums->n > 0) {
        sums->jump += fabs(sums->first - v);
        sums->jumps++;
    }
    sums->n++;
    sums->v += v;
    sums->vv += v * v;
    sums->t += t;
    sums->tt += t * t;
    sums->tv += t * v;
    sums->first = v;
    sums->first_us = time_us;
}

static void extremes(struct sums *sums, const struct window_cell *cell)
{
    sums->min = cell->min < sums->min ? cell->min : sums->min;
    sums->max = cell->max > sums->max ? cell->max : sums->max;
}

static int by_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double median_of(float *values, unsigned count)
{
    if (count == 0)
        return (double)NAN;
    qsort(values, count, sizeof(*values), by_float);
    return count % 2 ? (double)values[count / 2]
                     : ((double)values[count / 2 - 1] + (double)values[count / 2]) / 2;
}

static void stats_of(const struct window_series *series, int64_t as_of_us, unsigned needs,
                     struct stats *ret)
{
    struct sums hour = {.min = INFINITY, .max = -INFINITY}, all = hour;
    double weight[HALF_LIVES] = {0}, weighted[HALF_LIVES] = {0};
    float values[SAMPLES_MAX];
    unsigned value_count = 0;
    int64_t slot_10min = INT64_MAX;
    int reached = 0; /* windows whose start the walk has passed */

    ret->has_last = ret->has_before = false;
    ret->hours = 0;
    ret->oldest_us = INT64_MAX;
    for (int w = 0; w < WINDOWS; w++)
        ret->base[w] = (double)NAN;
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
        ret->oldest_us = cell->time_us;
        v = (double)cell->last - ret->last;
        for (; reached < WINDOWS && age_us >= window_hours[reached] * VG_HOUR_US; reached++) {
            int64_t reach_us = (window_hours[reached] + 1) * VG_HOUR_US;

            if (age_us < (reach_us > CHANGE_REACH_US ? reach_us : CHANGE_REACH_US)) {
                ret->base[reached] = v;
                ret->base_us[reached] = cell->time_us;
            }
            ret->over[reached] = reached == 0 ? hour : all;
        }
        if (reached == WINDOWS)
            break;
        ret->hours |= (uint64_t)1 << (age_us / VG_HOUR_US < 63 ? age_us / VG_HOUR_US : 63);
        if (reached == 0) {
            sample(&hour, cell->time_us, t, v);
            extremes(&hour, cell);
        }
        extremes(&all, cell);
        if (cell->time_us / (10 * VG_MINUTE_US) == slot_10min)
            continue;
        slot_10min = cell->time_us / (10 * VG_MINUTE_US);
        sample(&all, cell->time_us, t, v);
        if (all.n == 2) {
            ret->has_before = true;
            ret->before = v;
        }
        if (needs & NEEDS_EWMA && age_us < EWMA_US) {
            double w = exp2(t / 16);

            for (int h = HALF_LIVES; h-- > 0; w *= w) {
                weight[h] += w;
                weighted[h] += w * v;
            }
        }
        if (needs & NEEDS_MEDIAN && age_us < VG_DAY_US && value_count < SAMPLES_MAX)
            values[value_count++] = cell->last;
    }
    for (; reached < WINDOWS; reached++)
        ret->over[reached] = reached == 0 ? hour : all;
    if (needs & NEEDS_EWMA) {
        for (int h = 0; h < HALF_LIVES; h++)
            ret->ewma[h] = weight[h] > 0 ? ret->last + weighted[h] / weight[h] : (double)NAN;
    }
    if (needs & NEEDS_MEDIAN)
        ret->median = median_of(values, value_count);
}

static double change_of(const struct stats *stats, int w)
{
    const struct sums *sums = &stats->over[w];

    return sums->n == 0             ? (double)NAN
           : !isnan(stats->base[w]) ? -stats->base[w]
           : sums->n >= 2           ? -sums->first
                                    : (double)NAN;
}

static double sd_of(const struct sums *sums)
{
    double n = sums->n, spread;

    if (sums->n < 2)
        return (double)NAN;
    spread = (sums->vv - sums->v * sums->v / n) / (n - 1);
    return spread > 0 ? sqrt(spread) : 0;
}

static double mean_of(const struct stats *stats, int w)
{
    return stats->has_last && stats->over[w].n > 0
               ? stats->last + stats->over[w].v / stats->over[w].n
               : (double)NAN;
}

/* The newest value while it is younger than the signal's features look back, or a mean. */
static double level_of(const struct stats *stats, int signal, unsigned hours)
{
    if (hours > 0)
        return mean_of(stats, window_of(hours));
    return stats->has_last && stats->age_h < (signal < SCORE_VITAL_COUNT ? 24 : 72) ? stats->last
                                                                                    : (double)NAN;
}

static double stat(const struct stats *stats, enum feature_function function, unsigned hours,
                   int64_t seen_hours)
{
    const int w = window_of(hours);
    const struct sums *sums = &stats->over[w];
    double n = sums->n, spread, sd;

    if (!stats->has_last)
        return (double)NAN;
    if (function == FEATURE_EWMA) {
        for (int h = 0; h < HALF_LIVES; h++) {
            if (1u << h == hours)
                return stats->ewma[h];
        }
        return (double)NAN;
    }
    if (function == FEATURE_SHARE) {
        int64_t seen = seen_hours < (int64_t)hours ? seen_hours : (int64_t)hours;
        uint64_t mask = hours >= 64 ? UINT64_MAX : ((uint64_t)1 << hours) - 1;

        return seen > 0 ? (double)__builtin_popcountll(stats->hours & mask) / (double)seen
                        : (double)NAN;
    }
    if (sums->n == 0)
        return (double)NAN;
    switch (function) {
    case FEATURE_LAST:
        return stats->last;
    case FEATURE_AGE:
        return stats->age_h;
    case FEATURE_CHANGE:
        return change_of(stats, w);
    case FEATURE_MIN:
        return (double)sums->min;
    case FEATURE_MAX:
        return (double)sums->max;
    case FEATURE_MEAN:
        return stats->last + sums->v / n;
    case FEATURE_SUM:
        return sums->v + n * stats->last;
    case FEATURE_MEDIAN:
        return stats->median;
    case FEATURE_BASELINE:
        return stats->last - stats->median;
    case FEATURE_ABOVE_MEAN:
        return -sums->v / n;
    case FEATURE_ABOVE_MIN:
        return stats->last - (double)sums->min;
    case FEATURE_BELOW_MAX:
        return stats->last - (double)sums->max;
    case FEATURE_Z:
        sd = sd_of(sums);
        return sd > 0 ? -sums->v / n / sd : (double)NAN;
    case FEATURE_JUMP:
        return sums->jumps > 0 ? sums->jump / sums->jumps : (double)NAN;
    case FEATURE_STEP:
        return sums->n >= 2 && stats->has_before ? -stats->before : (double)NAN;
    case FEATURE_SD:
        return sd_of(sums);
    case FEATURE_SLOPE:
        spread = sums->tt - sums->t * sums->t / n;
        return sums->n >= 2 && spread > 1e-9 ? (sums->tv - sums->t * sums->v / n) / spread
                                             : (double)NAN;
    default:
        return (double)NAN;
    }
}

/* ---- scores, now and at past hours ---- */

static const enum news2_part monitor_parts[] = {NEWS2_RESPIRATION, NEWS2_SPO2, NEWS2_SYSTOLIC,
                                                NEWS2_PULSE, NEWS2_TEMPERATURE};
#define MONITOR_PARTS (sizeof(monitor_parts) / sizeof(monitor_parts[0]))

/* NEWS2 as the training data can know it: no consciousness, no oxygen, scale 1. */
static struct news2 monitor_news2(const double *values, int *ret_high)
{
    struct news2_input input = {.oxygen_scale = 1};
    struct news2 news2;

    for (size_t i = 0; i < MONITOR_PARTS; i++) {
        enum news2_part part = monitor_parts[i];

        input.value[part] = values[window_vital_of_part(part)];
        input.has[part] = !isnan(input.value[part]);
    }
    news2 = news2_score(&input);
    *ret_high = news2.high - 5; /* without the 3 and 2 of the parts that are left out */
    return news2;
}

void feature_current(const struct window *window, const int64_t *expiry_us, int64_t as_of_us,
                     double values[SIGNAL_COUNT])
{
    for (int v = 0; v < SIGNAL_COUNT; v++) {
        const struct window_series *series = &window->series[v];
        const struct window_newest *newest = v < SCORE_VITAL_COUNT ? &window->newest[v] : NULL;

        values[v] = (double)NAN;
        if (newest) {
            if (window_state(window, (enum score_vital)v, expiry_us[v], as_of_us) == WINDOW_OK)
                values[v] = v == SCORE_CONSCIOUSNESS ? newest->level : newest->value;
            continue;
        }
        for (uint32_t i = series->count; i-- > 0 && isnan(values[v]);) {
            int64_t age_us = as_of_us - series->cells[i].time_us;

            if (age_us > vitals[v].expiry_us)
                break;
            if (age_us >= 0)
                values[v] = (double)series->cells[i].last;
        }
    }
}

/* Sums of the scores at as_of, an hour before, … */
struct past_scores {
    double news2_mean[2], news2_max, rule_mean[RULE_COUNT][2]; /* over 8 h, 24 h */
};

static void score_past(const struct window *window, const int64_t *expiry_us, int64_t as_of_us,
                       int64_t seen_hours, struct past_scores *ret)
{
    static const enum score_vital used[] = {SCORE_RESPIRATION, SCORE_SPO2, SCORE_SYSTOLIC,
                                            SCORE_PULSE, SCORE_TEMPERATURE};
    double values[SIGNAL_COUNT];
    uint32_t at[SCORE_VITAL_COUNT];
    int hours = seen_hours < HOURS ? (int)seen_hours : HOURS;

    memset(ret, 0, sizeof(*ret));
    for (int v = 0; v < SIGNAL_COUNT; v++)
        values[v] = (double)NAN;
    for (size_t u = 0; u < sizeof(used) / sizeof(used[0]); u++)
        at[used[u]] = window->series[used[u]].count;
    for (int h = 0; h < hours; h++) {
        int64_t then_us = as_of_us - h * VG_HOUR_US;
        int high;
        struct news2 news2;

        for (size_t u = 0; u < sizeof(used) / sizeof(used[0]); u++) {
            const struct window_series *series = &window->series[used[u]];
            uint32_t *i = &at[used[u]];

            while (*i > 0 && series->cells[*i - 1].time_us > then_us)
                --*i;
            values[used[u]] =
                *i > 0 && then_us - series->cells[*i - 1].time_us <= expiry_us[used[u]]
                    ? (double)series->cells[*i - 1].last
                    : (double)NAN;
        }
        news2 = monitor_news2(values, &high);
        ret->news2_max = news2.low > ret->news2_max ? news2.low : ret->news2_max;
        for (int w = h < 8 ? 0 : 1; w < 2; w++) {
            ret->news2_mean[w] += news2.low;
            ret->rule_mean[RULE_QSOFA][w] += rule_score(&rules[RULE_QSOFA], values).low;
            ret->rule_mean[RULE_SIRS][w] += rule_score(&rules[RULE_SIRS], values).low;
        }
    }
    for (int w = 0; w < 2; w++) {
        int n = w == 0 && hours > 8 ? 8 : hours;

        ret->news2_mean[w] /= n;
        for (int r = 0; r < RULE_COUNT; r++)
            ret->rule_mean[r][w] /= n;
    }
}

/* ---- rows ---- */

enum vg_status feature_set_add(struct feature_set *set, struct vg_slice names, struct vg_err *err)
{
    while (names.len > 0) {
        size_t len = 0, at;
        const struct feature *feature;

        while (len < names.len && !strchr(" ,\t\r\n", names.ptr[len]))
            len++;
        if (len == 0) {
            names = vg_slice_from(names, 1);
            continue;
        }
        at = feature_find((struct vg_slice){names.ptr, len});
        if (at == feature_count)
            return vg_fail(err, VG_REJECT, "score.feature", 0,
                           "no feature is called '%.*s' in this version",
                           (int)(len < 64 ? len : 64), names.ptr);
        for (size_t i = 0; i < set->count; i++) {
            if (set->index[i] == at)
                return vg_fail(err, VG_REJECT, "score.feature", 0, "'%s' is named twice",
                               features[at].name);
        }
        if (set->count == FEATURES_MAX)
            return vg_fail(err, VG_REJECT, "score.feature", 0, "more than %d features",
                           FEATURES_MAX);
        set->index[set->count++] = (uint16_t)at;
        names = vg_slice_from(names, len);

        feature = &features[at];
        if (feature->group < SIGNAL_COUNT) {
            unsigned needs = NEEDS_IT;

            needs |= feature->function == FEATURE_EWMA ? NEEDS_EWMA : 0;
            needs |= feature->function == FEATURE_MEDIAN || feature->function == FEATURE_BASELINE
                         ? NEEDS_MEDIAN
                         : 0;
            set->needs[feature->signal] |= (uint16_t)needs;
            if (feature->function >= FEATURE_RATIO)
                set->needs[feature->other] |= NEEDS_IT;
            if (feature->function == FEATURE_MEAN_ERROR)
                set->needs[SCORE_SYSTOLIC] |= NEEDS_IT, set->needs[SCORE_DIASTOLIC] |= NEEDS_IT;
            if (feature->function == FEATURE_ROX)
                set->needs[SIGNAL_FIO2] |= NEEDS_IT, set->needs[SCORE_RESPIRATION] |= NEEDS_IT;
            if (feature->signal < SCORE_VITAL_COUNT &&
                feature->hours * VG_HOUR_US > set->history_us)
                set->history_us = feature->hours * VG_HOUR_US;
        }
        set->needs_hours |= feature->function == FEATURE_NEWS2_MEAN ||
                            feature->function == FEATURE_NEWS2_MAX ||
                            feature->function == FEATURE_RULE_MEAN;
        set->needs_rules |=
            feature->group == FEATURE_GROUP_NEWS2 || feature->group == FEATURE_GROUP_RULES;
        set->needs_labs |= feature->group == FEATURE_GROUP_LABS;
    }
    if (set->history_us < VG_DAY_US)
        set->history_us = VG_DAY_US;
    return VG_OK;
}

static double labs_of(const struct window *window, const struct feature *feature, int64_t as_of_us,
                      int64_t seen_hours)
{
    int64_t hours = feature->hours;
    unsigned values = 0, known = 0;

    for (int v = SIGNAL_BASE_EXCESS; v <= SIGNAL_CHOLESTEROL; v++) {
        const struct window_series *series = &window->series[v];
        unsigned before = values;

        for (uint32_t i = series->count; i-- > 0;) {
            int64_t age_us = as_of_us - series->cells[i].time_us;

            if (age_us >= hours * VG_HOUR_US)
                break;
            values += age_us >= 0;
        }
        known += values > before;
    }
    if (feature->function == FEATURE_LABS_KNOWN)
        return known;
    return seen_hours > 0 ? (double)values / (double)(seen_hours < hours ? seen_hours : hours)
                          : (double)NAN;
}

void feature_fill(const struct feature_set *set, const struct window *window,
                  const struct feature_patient *patient, const int64_t *expiry_us, int64_t as_of_us,
                  float *row)
{
    struct stats stats[SIGNAL_COUNT];
    double current[SIGNAL_COUNT];
    struct past_scores past;
    struct news2 news2 = {0};
    int64_t oldest_us = INT64_MAX, seen_hours = 0;
    int news2_high = 0;

    for (int v = 0; v < SIGNAL_COUNT; v++) {
        const struct window_series *series = &window->series[v];

        if (series->count > 0 && series->cells[0].time_us < oldest_us)
            oldest_us = series->cells[0].time_us;
        if (set->needs[v])
            stats_of(series, as_of_us, set->needs[v], &stats[v]);
    }
    if (oldest_us <= as_of_us)
        seen_hours = (as_of_us - oldest_us) / VG_HOUR_US + 1;
    if (set->needs_rules) {
        feature_current(window, expiry_us, as_of_us, current);
        news2 = monitor_news2(current, &news2_high);
    }
    if (set->needs_hours)
        score_past(window, expiry_us, as_of_us, seen_hours, &past);

    for (size_t i = 0; i < set->count; i++) {
        const struct feature *feature = &features[set->index[i]];
        const unsigned hours = feature->hours;
        const int one = feature->signal, two = feature->other;
        const int long_ago = hours > 8;
        double value = (double)NAN, a, b, c;

        switch ((enum feature_function)feature->function) {
        case FEATURE_RATIO:
        case FEATURE_AGE_TIMES:
            a = level_of(&stats[one], one, hours);
            b = level_of(&stats[two], two, hours);
            value = b > 0 ? a / b : (double)NAN;
            if (feature->function == FEATURE_AGE_TIMES)
                value *= patient->age_years;
            break;
        case FEATURE_DIFFERENCE:
            value = level_of(&stats[one], one, hours) - level_of(&stats[two], two, hours);
            break;
        case FEATURE_PRODUCT:
            value = level_of(&stats[one], one, hours) * level_of(&stats[two], two, hours);
            break;
        case FEATURE_PULSE_HEAT:
            value =
                level_of(&stats[one], one, hours) - 10 * (level_of(&stats[two], two, hours) - 37);
            break;
        case FEATURE_MEAN_ERROR:
            a = level_of(&stats[SCORE_SYSTOLIC], SCORE_SYSTOLIC, hours);
            b = level_of(&stats[SCORE_DIASTOLIC], SCORE_DIASTOLIC, hours);
            value = level_of(&stats[one], one, hours) - (a + 2 * b) / 3;
            break;
        case FEATURE_ROX:
            a = level_of(&stats[SCORE_SPO2], SCORE_SPO2, 0);
            b = level_of(&stats[SIGNAL_FIO2], SIGNAL_FIO2, 0);
            c = level_of(&stats[SCORE_RESPIRATION], SCORE_RESPIRATION, 0);
            value = b > 0 && c > 0 ? 100 * a / b / c : (double)NAN;
            break;
        case FEATURE_LABS_NEW:
        case FEATURE_LABS_KNOWN:
            value = labs_of(window, feature, as_of_us, seen_hours);
            break;
        case FEATURE_NEWS2_LOW:
            value = news2.low;
            break;
        case FEATURE_NEWS2_HIGH:
            value = news2_high;
            break;
        case FEATURE_NEWS2_PART:
            value = isnan(current[window_vital_of_part((enum news2_part)one)]) ? (double)NAN
                                                                               : news2.score[one];
            break;
        case FEATURE_NEWS2_MEAN:
            value = seen_hours > 0 ? past.news2_mean[long_ago] : (double)NAN;
            break;
        case FEATURE_NEWS2_MAX:
            value = seen_hours > 0 ? past.news2_max : (double)NAN;
            break;
        case FEATURE_RULE:
            value = rule_score(&rules[one], current).low;
            break;
        case FEATURE_RULE_MEAN:
            value = seen_hours > 0 ? past.rule_mean[one][long_ago] : (double)NAN;
            break;
        case FEATURE_AGE_YEARS:
            value = patient->age_years;
            break;
        case FEATURE_SEX:
            value = patient->sex;
            break;
        default:
            value = stat(&stats[one], (enum feature_function)feature->function, hours, seen_hours);
        }
        row[i] = (float)value;
    }
}

/* ---- words ---- */

/* The shortest time in which it changed by something that a nurse would remark on; WINDOWS: none.
 */
static int notable_window(const struct stats *stats, const struct vital *vital, double look_back_h)
{
    int w = 0;

    while (w < WINDOWS &&
           !(window_hours[w] <= look_back_h && fabs(change_of(stats, w)) >= vital->notable))
        w++;
    return w;
}

static double look_back_h(int signal)
{
    return signal < SCORE_VITAL_COUNT ? 24 : 72;
}

int64_t feature_since_us(const struct window *window, int group, int64_t as_of_us)
{
    struct stats stats;
    int w;

    if (group >= SIGNAL_COUNT)
        return INT64_MIN;
    stats_of(&window->series[group], as_of_us, NEEDS_IT, &stats);
    if (!stats.has_last || stats.age_h >= look_back_h(group))
        return INT64_MIN;
    w = notable_window(&stats, &vitals[group], look_back_h(group));
    if (w == WINDOWS)
        return INT64_MIN;
    return isnan(stats.base[w]) ? stats.over[w].first_us : stats.base_us[w];
}

static void describe_signal(const struct window *window, int signal, int64_t as_of_us, char *out,
                            size_t size_bytes)
{
    const struct vital *vital = &vitals[signal];
    const double back_h = look_back_h(signal);
    struct vg_slice unit = vg_unit_text(vg_slice_of(vital->unit));
    struct stats stats;
    int len, w;

    if (vg_slice_is(unit, "{score}") || vg_slice_is(unit, "[pH]"))
        unit = VG_SLICE("");
    stats_of(&window->series[signal], as_of_us, NEEDS_IT, &stats);
    if (!stats.has_last || stats.age_h >= back_h) {
        (void)snprintf(out, size_bytes, "no %s in %.0f h", vital->name, back_h);
        return;
    }
    w = notable_window(&stats, vital, back_h);
    if (w < WINDOWS)
        len = snprintf(out, size_bytes, "%s %s from %.*f to %.*f%s%.*s in %u h", vital->name,
                       change_of(&stats, w) > 0 ? "rose" : "fell", vital->decimals,
                       stats.last - change_of(&stats, w), vital->decimals, stats.last,
                       unit.len > 0 ? " " : "", VG_FMT(unit), window_hours[w]);
    else
        len = snprintf(out, size_bytes, "%s %.*f%s%.*s", vital->name, vital->decimals, stats.last,
                       unit.len > 0 ? " " : "", VG_FMT(unit));
    if (len > 0 && (size_t)len < size_bytes && stats.age_h >= 1)
        (void)snprintf(out + len, size_bytes - (size_t)len, ", %.0f h old", floor(stats.age_h));
}

void feature_describe(const struct window *window, const struct feature_patient *patient,
                      const struct news2 *news2, int group, int64_t as_of_us, char *out,
                      size_t size_bytes)
{
    struct vg_slice sex = isnan(patient->sex)  ? VG_SLICE("not known")
                          : patient->sex > 0.5 ? VG_SLICE("male")
                                               : VG_SLICE("female");

    if (group < SIGNAL_COUNT)
        describe_signal(window, group, as_of_us, out, size_bytes);
    else if (group == FEATURE_GROUP_NEWS2 && !news2)
        (void)snprintf(out, size_bytes, "NEWS2 not known");
    else if (group == FEATURE_GROUP_NEWS2)
        (void)snprintf(out, size_bytes, news2->low == news2->high ? "NEWS2 %d" : "NEWS2 %d to %d",
                       news2->low, news2->high);
    else if (group == FEATURE_GROUP_RULES)
        (void)snprintf(out, size_bytes, "bedside scores beside NEWS2 (qSOFA, SIRS, MEWS)");
    else if (group == FEATURE_GROUP_LABS)
        (void)snprintf(out, size_bytes, "how often laboratory values come");
    else if (group == FEATURE_GROUP_AGE && isnan(patient->age_years))
        (void)snprintf(out, size_bytes, "age not known");
    else if (group == FEATURE_GROUP_AGE)
        (void)snprintf(out, size_bytes, "age %.0f", patient->age_years);
    else
        (void)snprintf(out, size_bytes, "sex %.*s", VG_FMT(sex));
}
