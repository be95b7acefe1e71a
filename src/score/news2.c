/* news2.c -- NEWS2 as a table of bands.
 *
 * The chart is in whole numbers (temperature in tenths), devices are not. Rule: round half up to
 * the chart's step first, then score: respiration 20.4 is 20, 20.5 is 21; 38.04 is 38.0, 38.05
 * is 38.1. Temperatures are compared in tenths as integers, so that 38.1 is 38.1 whatever its
 * binary form.
 *
 * On scale 2 a saturation of 93 and more depends on oxygen; where oxygen is not known, `low` takes
 * air and `high` takes oxygen, so the interval holds the true score in both cases.
 */
#include "score/news2.h"

#include "score/rule.h"

#include <limits.h>

/* Up to and with `max` the score is `score`; the first row that fits. */
struct band {
    int max, score;
};

static const struct band respiration[] = {{8, 3}, {11, 1}, {20, 0}, {24, 2}, {INT_MAX, 3}};
static const struct band spo2_scale_1[] = {{91, 3}, {93, 2}, {95, 1}, {INT_MAX, 0}};
static const struct band spo2_scale_2_air[] = {{83, 3}, {85, 2}, {87, 1}, {INT_MAX, 0}};
static const struct band spo2_scale_2_oxygen[] = {{83, 3}, {85, 2}, {87, 1},     {92, 0},
                                                  {94, 1}, {96, 2}, {INT_MAX, 3}};
static const struct band systolic[] = {{90, 3}, {100, 2}, {110, 1}, {219, 0}, {INT_MAX, 3}};
static const struct band pulse[] = {{40, 3}, {50, 1}, {90, 0}, {110, 1}, {130, 2}, {INT_MAX, 3}};
static const struct band temperature_tenths[] = {
    {350, 3}, {360, 1}, {380, 0}, {390, 1}, {INT_MAX, 2}};

static const int part_max[NEWS2_PART_COUNT] = {3, 3, 2, 3, 3, 3, 3};

static int band_score(const struct band *band, int value)
{
    while (value > band->max)
        band++;
    return band->score;
}

static int spo2_score(int value, int scale, bool is_on_oxygen)
{
    return band_score(scale != 2     ? spo2_scale_1
                      : is_on_oxygen ? spo2_scale_2_oxygen
                                     : spo2_scale_2_air,
                      value);
}

struct news2 news2_score(const struct news2_input *input)
{
    static const struct band *const bands[NEWS2_PART_COUNT] = {
        [NEWS2_RESPIRATION] = respiration,
        [NEWS2_SYSTOLIC] = systolic,
        [NEWS2_PULSE] = pulse,
    };
    struct news2 result = {.is_complete = true};
    bool has_oxygen = input->has[NEWS2_OXYGEN];
    bool is_on_oxygen = has_oxygen && input->value[NEWS2_OXYGEN] > 0;

    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        double value = input->value[part];
        int low = 0, high = part_max[part];

        if (!input->has[part]) {
            result.is_complete = false;
        } else if (part == NEWS2_SPO2) {
            int spo2 = rule_round(value);
            int on_oxygen = spo2_score(spo2, input->oxygen_scale, true);

            low = spo2_score(spo2, input->oxygen_scale, is_on_oxygen);
            high = has_oxygen ? low : on_oxygen > low ? on_oxygen : low;
        } else if (part == NEWS2_OXYGEN) {
            low = high = is_on_oxygen ? 2 : 0;
        } else if (part == NEWS2_CONSCIOUSNESS) {
            low = high = (int)value == 'A' ? 0 : 3;
        } else if (part == NEWS2_TEMPERATURE) {
            low = high = band_score(temperature_tenths, rule_round(value * 10));
        } else {
            low = high = band_score(bands[part], rule_round(value));
        }
        result.score[part] = low;
        result.low += low;
        result.high += high;
        result.has_single_three |= low == 3;
    }
    result.band = result.low >= 7           ? "high"
                  : result.low >= 5         ? "medium"
                  : result.has_single_three ? "low-medium"
                                            : "low";
    return result;
}
