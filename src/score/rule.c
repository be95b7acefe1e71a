/* rule.c -- MEWS, qSOFA, SIRS and parts of SOFA: a table each, one function for all.
 *
 * Values are rounded half up to the chart's step first (whole numbers, or tenths), then looked up,
 * as NEWS2 is. MEWS is Subbe's of 2001, with new confusion counted as "voice"; many wards have a
 * variant of their own. SOFA is what laboratory, pressure and Glasgow coma scale tell of it:
 * breathing is left out, for hourly data lack the inspired oxygen it needs.
 */
#include "score/rule.h"

#include <limits.h>
#include <math.h>

#define BANDS(...)                                                                                 \
    (const struct rule_band[])                                                                     \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define REST INT_MAX

static const struct rule_part mews[] = {
    {SCORE_SYSTOLIC, 0, false, BANDS({70, 3}, {80, 2}, {100, 1}, {199, 0}, {REST, 2})},
    {SCORE_PULSE, 1, false, BANDS({40, 2}, {50, 1}, {100, 0}, {110, 1}, {129, 2}, {REST, 3})},
    {SCORE_RESPIRATION, 2, false, BANDS({8, 2}, {14, 0}, {20, 1}, {29, 2}, {REST, 3})},
    {SCORE_TEMPERATURE, 3, true, BANDS({349, 2}, {384, 0}, {REST, 2})},
    {SCORE_CONSCIOUSNESS, 4, false, BANDS({0, 0}, {2, 1}, {3, 2}, {REST, 3})},
};

static const struct rule_part qsofa[] = {
    {SCORE_RESPIRATION, 0, false, BANDS({21, 0}, {REST, 1})},
    {SCORE_SYSTOLIC, 1, false, BANDS({100, 1}, {REST, 0})},
    {SCORE_CONSCIOUSNESS, 2, false, BANDS({0, 0}, {REST, 1})},
    {SIGNAL_GCS, 2, false, BANDS({14, 1}, {REST, 0})},
};

static const struct rule_part sirs[] = {
    {SCORE_TEMPERATURE, 0, true, BANDS({359, 1}, {380, 0}, {REST, 1})},
    {SCORE_PULSE, 1, false, BANDS({90, 0}, {REST, 1})},
    {SCORE_RESPIRATION, 2, false, BANDS({20, 0}, {REST, 1})},
    {SIGNAL_PACO2, 2, true, BANDS({319, 1}, {REST, 0})},
    {SIGNAL_WBC, 3, true, BANDS({39, 1}, {120, 0}, {REST, 1})},
};

static const struct rule_part sofa_part[] = {
    {SIGNAL_PLATELETS, 0, false, BANDS({19, 4}, {49, 3}, {99, 2}, {149, 1}, {REST, 0})},
    {SIGNAL_CREATININE, 1, true, BANDS({11, 0}, {19, 1}, {34, 2}, {49, 3}, {REST, 4})},
    {SIGNAL_BILIRUBIN, 2, true, BANDS({11, 0}, {19, 1}, {59, 2}, {119, 3}, {REST, 4})},
    {SCORE_MEAN_PRESSURE, 3, false, BANDS({69, 1}, {REST, 0})},
    {SIGNAL_GCS, 4, false, BANDS({5, 4}, {9, 3}, {12, 2}, {14, 1}, {REST, 0})},
};

#define PARTS(table) table, sizeof(table) / sizeof((table)[0])

const struct rule rules[RULE_COUNT] = {
    [RULE_MEWS] = {"mews", "Modified Early Warning Score (Subbe 2001)", PARTS(mews), 5},
    [RULE_QSOFA] = {"qsofa", "quick SOFA (Sepsis-3)", PARTS(qsofa), 2},
    [RULE_SIRS] = {"sirs", "Systemic Inflammatory Response Syndrome", PARTS(sirs), 2},
    [RULE_SOFA_PART] = {"sofa_part", "SOFA without breathing", PARTS(sofa_part), 2},
};

int rule_round(double value)
{
    /* The small addition takes back what binary fractions lose (38.05 is 38.0499999…). */
    double rounded = floor(value + 0.5 + 1e-7);

    return rounded < -1e6 ? -1000000 : rounded > 1e6 ? 1000000 : (int)rounded;
}

static int points_of(const struct rule_part *part, double value)
{
    const struct rule_band *band = part->bands;
    static const char levels[] = "ACVPU";
    int step;

    if (part->signal == SCORE_CONSCIOUSNESS) {
        const char *level = strchr(levels, (int)value);

        step = level ? (int)(level - levels) : 4;
    } else {
        step = rule_round(part->is_tenths ? value * 10 : value);
    }
    while (step > band->max)
        band++;
    return band->points;
}

static int most_points(const struct rule_part *part)
{
    int most = 0;

    for (const struct rule_band *band = part->bands;; band++) {
        most = band->points > most ? band->points : most;
        if (band->max == INT_MAX)
            return most;
    }
}

struct rule_score rule_score(const struct rule *rule, const double *values)
{
    struct rule_score score = {0, 0};
    int low = 0, high = 0, known = 0, possible = 0;

    for (size_t i = 0; i < rule->part_count; i++) {
        const struct rule_part *part = &rule->parts[i];
        double value = values[part->signal];
        int most = most_points(part);

        possible = most > possible ? most : possible;
        if (!isnan(value)) {
            int points = points_of(part, value);

            known++;
            low = points > low ? points : low;
        }
        high = low;
        if (i + 1 < rule->part_count && rule->parts[i + 1].group == part->group)
            continue;
        /* One of two ways to the same point is enough to know it. */
        score.low += low;
        score.high += known > 0 ? high : possible;
        low = high = known = possible = 0;
    }
    return score;
}
