/* feature_test.c -- hand-computed values, the same table for every rate of sending. */
#include "score/feature.h"

#include "vg_test.h"

#include <math.h>

#define T0 (20000 * VG_DAY_US)

static const int64_t expiry_us[SCORE_VITAL_COUNT] = {
    4 * VG_HOUR_US, 4 * VG_HOUR_US, 4 * VG_HOUR_US, 4 * VG_HOUR_US, 4 * VG_HOUR_US,
    4 * VG_HOUR_US, 4 * VG_HOUR_US, 6 * VG_HOUR_US, 6 * VG_HOUR_US};
static float row[256];

static void add(struct window *window, enum score_vital vital, double value, int64_t time_us)
{
    struct window_reading reading = {
        .vital = vital, .value = value, .time_us = time_us, .received_us = time_us};

    CHECK(window_add(window, &reading, NULL) == VG_OK);
}

static double get(const char *name)
{
    for (size_t i = 0; i < feature_count; i++) {
        if (strcmp(features[i].name, name) == 0)
            return (double)row[i];
    }
    printf("no feature is called %s\n", name);
    CHECK(false);
    return 0;
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-3;
}

static void test_hand_computed(void)
{
    struct window window;
    struct feature_patient patient = {76, 0};

    /* Pulse over five hours: 70, 80, 90, 85, 95, 105; the last now. Slope of the last four
     * (t = -3..0): sum of (t + 1.5) * v = -1.5*90 - 0.5*85 + 0.5*95 + 1.5*105 = 27.5, by 5. */
    static const double pulse[] = {70, 80, 90, 85, 95, 105};
    int64_t now_us = T0 + 5 * VG_HOUR_US;

    window_init(&window, 0);
    for (int i = 0; i < 6; i++)
        add(&window, SCORE_PULSE, pulse[i], T0 + i * VG_HOUR_US);
    add(&window, SCORE_SYSTOLIC, 120, now_us - 30 * VG_MINUTE_US);
    add(&window, SCORE_DIASTOLIC, 80, now_us - 30 * VG_MINUTE_US);
    add(&window, SCORE_TEMPERATURE, 38.5, now_us - 5 * VG_HOUR_US);
    feature_fill(&window, &patient, expiry_us, now_us, row);

    CHECK(near(get("pulse_last"), 105));
    CHECK(near(get("pulse_age"), 0));
    CHECK(near(get("pulse_change_1h"), 10));
    CHECK(near(get("pulse_change_4h"), 25)); /* since 80, four hours ago */
    CHECK(near(get("pulse_change_24h"), 35));
    CHECK(near(get("pulse_min_4h"), 85));
    CHECK(near(get("pulse_max_4h"), 105));
    CHECK(near(get("pulse_mean_4h"), 93.75));
    CHECK(near(get("pulse_sd_4h"), 8.5391));
    CHECK(near(get("pulse_slope_4h"), 5.5));
    CHECK(near(get("pulse_min_24h"), 70));
    CHECK(near(get("pulse_mean_24h"), 87.5));
    CHECK(near(get("systolic_age"), 0.5));
    CHECK(isnan(get("systolic_change_1h")));
    CHECK(isnan(get("systolic_sd_24h")));
    CHECK(near(get("shock_index"), 0.875));
    CHECK(near(get("pulse_pressure"), 40));
    CHECK(isnan(get("spo2_last")));
    CHECK(near(get("temperature_last"), 38.5));
    CHECK(near(get("temperature_age"), 5));
    CHECK(isnan(get("temperature_mean_4h")));
    CHECK(near(get("age_years"), 76));
    CHECK(near(get("sex"), 0));
    /* pulse 105: 1, temperature 38.5: 1; respiration and SpO2 are missing. */
    CHECK(near(get("news2_low"), 2));
    CHECK(near(get("news2_high"), 8));
    window_fini(&window);
}

static void test_a_day_old_is_gone(void)
{
    struct window window;
    struct feature_patient patient = {(double)NAN, (double)NAN};

    window_init(&window, 0);
    add(&window, SCORE_PULSE, 70, T0);
    feature_fill(&window, &patient, expiry_us, T0 + VG_DAY_US - 1, row);
    CHECK(near(get("pulse_last"), 70));
    feature_fill(&window, &patient, expiry_us, T0 + VG_DAY_US, row);
    CHECK(isnan(get("pulse_last")) && isnan(get("pulse_age")) && isnan(get("pulse_mean_24h")) &&
          isnan(get("pulse_change_24h")));
    CHECK(isnan(get("age_years")) && isnan(get("sex")));
    window_fini(&window);
}

/* A steady heart rate looks the same by the second, by the minute and by ten minutes. */
static void test_rate_of_sending_does_not_matter(void)
{
    static const int64_t every_us[] = {5 * VG_SECOND_US, VG_MINUTE_US, 10 * VG_MINUTE_US};
    static const char *const names[] = {"pulse_last",    "pulse_mean_4h",  "pulse_mean_24h",
                                        "pulse_sd_24h",  "pulse_slope_4h", "pulse_change_4h",
                                        "pulse_max_24h", "pulse_min_4h"};
    double want[sizeof(names) / sizeof(names[0])] = {0};
    struct feature_patient patient = {50, 1};

    for (size_t e = 0; e < 3; e++) {
        struct window window;

        window_init(&window, 0);
        for (int64_t at_us = 0; at_us <= 8 * VG_HOUR_US; at_us += every_us[e])
            add(&window, SCORE_PULSE, at_us <= 3 * VG_HOUR_US ? 70 : 90, T0 + at_us);
        feature_fill(&window, &patient, expiry_us, T0 + 8 * VG_HOUR_US, row);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            CHECK_ROW(names[i]);
            if (e == 0)
                want[i] = get(names[i]);
            CHECK(fabs(get(names[i]) - want[i]) <= 0.06 + fabs(want[i]) * 0.03);
        }
        window_fini(&window);
    }
}

static void test_words(void)
{
    struct window window;
    struct feature_patient patient = {76, 1};
    struct news2 news2 = {.low = 5, .high = 8};
    char text[160];

    window_init(&window, 0);
    add(&window, SCORE_RESPIRATION, 18, T0);
    add(&window, SCORE_RESPIRATION, 26, T0 + VG_HOUR_US);
    add(&window, SCORE_PULSE, 70, T0);
    add(&window, SCORE_TEMPERATURE, 38.24, T0 - 2 * VG_HOUR_US);
    feature_describe(&window, &patient, &news2, SCORE_RESPIRATION, T0 + VG_HOUR_US, text,
                     sizeof(text));
    CHECK(strcmp(text, "respiration rate 26 /min, up 8 in 1 h") == 0);
    feature_describe(&window, &patient, &news2, SCORE_PULSE, T0 + VG_HOUR_US, text, sizeof(text));
    CHECK(strcmp(text, "heart rate 70 /min, 1 h old") == 0);
    feature_describe(&window, &patient, &news2, SCORE_TEMPERATURE, T0 + VG_HOUR_US, text,
                     sizeof(text));
    CHECK(strcmp(text, "body temperature 38.2 °C, 3 h old") == 0);
    feature_describe(&window, &patient, &news2, SCORE_SPO2, T0, text, sizeof(text));
    CHECK(strcmp(text, "no oxygen saturation in 24 h") == 0);
    feature_describe(&window, &patient, &news2, FEATURE_GROUP_NEWS2, T0, text, sizeof(text));
    CHECK(strcmp(text, "NEWS2 5 to 8") == 0);
    feature_describe(&window, &patient, &news2, FEATURE_GROUP_AGE, T0, text, sizeof(text));
    CHECK(strcmp(text, "age 76") == 0);
    feature_describe(&window, &patient, NULL, FEATURE_GROUP_SEX, T0, text, sizeof(text));
    CHECK(strcmp(text, "sex male") == 0);
    window_fini(&window);
}

static void test_names_are_unique(void)
{
    CHECK(feature_count < sizeof(row) / sizeof(row[0]));
    for (size_t i = 0; i < feature_count; i++) {
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(features[i].name, features[j].name) != 0);
    }
}

int main(void)
{
    RUN(test_hand_computed);
    RUN(test_a_day_old_is_gone);
    RUN(test_rate_of_sending_does_not_matter);
    RUN(test_words);
    RUN(test_names_are_unique);
    return vg_test_report();
}
