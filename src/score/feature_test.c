/* feature_test.c -- hand-computed values, the same table for every rate of sending. */
#include "score/feature.h"

#include "base/file.h"
#include "score/score.h"
#include "vg_test.h"

#include <math.h>

#define T0 (20000 * VG_DAY_US)

static const int64_t expiry_us[SCORE_VITAL_COUNT] = {
    4 * VG_HOUR_US, 4 * VG_HOUR_US, 4 * VG_HOUR_US, 4 * VG_HOUR_US, 4 * VG_HOUR_US,
    4 * VG_HOUR_US, 4 * VG_HOUR_US, 6 * VG_HOUR_US, 6 * VG_HOUR_US};
static float row[FEATURES_MAX];
static struct feature_set all; /* the whole catalogue */

static void add(struct window *window, int vital, double value, int64_t time_us)
{
    struct window_reading reading = {
        .vital = vital, .value = value, .time_us = time_us, .received_us = time_us};

    CHECK(window_add(window, &reading, NULL) == VG_OK);
}

static double get(const char *name)
{
    for (size_t i = 0; i < all.count; i++) {
        if (strcmp(features[all.index[i]].name, name) == 0)
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
    feature_fill(&all, &window, &patient, expiry_us, now_us, row);

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
    CHECK(near(get("pulse_median_24h"), 87.5));
    CHECK(near(get("pulse_baseline_24h"), 17.5));
    CHECK(near(get("pulse_above_mean_24h"), 17.5));
    CHECK(near(get("pulse_above_min_24h"), 35));
    CHECK(near(get("pulse_below_max_24h"), 0));
    CHECK(near(get("pulse_step"), 10));
    CHECK(near(get("pulse_jump_24h"), 9)); /* 10, 10, 5, 10, 10 */
    CHECK(near(get("pulse_share_24h"), 1));
    CHECK(near(get("systolic_share_24h"), 1.0 / 6));
    /* Half-life 1 h: weights 1, 1/2, 1/4, … to the values from the newest back. */
    CHECK(near(get("pulse_ewma_1h"),
               (105 + 95 / 2.0 + 85 / 4.0 + 90 / 8.0 + 80 / 16.0 + 70 / 32.0) / (63 / 32.0)));
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
    CHECK(near(get("news2_pulse"), 1) && isnan(get("news2_spo2")));
    CHECK(near(get("sirs"), 2)); /* pulse above 90, temperature above 38 */
    CHECK(near(get("sirs_mean_8h"), (1 + 1 + 0 + 0 + 0 + 0) / 6.0 + 6 / 6.0));
    window_fini(&window);
}

static void test_laboratory(void)
{
    struct window window;
    struct feature_patient patient = {60, 1};
    int64_t now_us = T0 + 60 * VG_HOUR_US;

    window_init(&window, 0);
    add(&window, SIGNAL_LACTATE, 1.2, T0);
    add(&window, SIGNAL_LACTATE, 2.0, T0 + 40 * VG_HOUR_US);
    add(&window, SIGNAL_LACTATE, 4.0, now_us - 2 * VG_HOUR_US);
    add(&window, SIGNAL_FIO2, 50, now_us - VG_HOUR_US);
    add(&window, SCORE_SPO2, 95, now_us);
    add(&window, SCORE_RESPIRATION, 25, now_us);
    add(&window, SIGNAL_URINE, 40, now_us - 3 * VG_HOUR_US);
    add(&window, SIGNAL_URINE, 60, now_us - VG_HOUR_US);
    feature_fill(&all, &window, &patient, expiry_us, now_us, row);
    CHECK(near(get("lactate_last"), 4));
    CHECK(near(get("lactate_age"), 2));
    CHECK(near(get("lactate_step"), 2));
    CHECK(near(get("lactate_change_72h"), 2.8));
    CHECK(near(get("lactate_min_48h"), 2) && near(get("lactate_max_48h"), 4));
    CHECK(near(get("spo2_by_fio2"), 1.9));
    CHECK(near(get("rox"), 7.6));
    CHECK(near(get("urine_sum_6h"), 100));
    CHECK(near(get("labs_known_24h"), 1));
    CHECK(isnan(get("creatinine_last")) && isnan(get("creatinine_age")));
    CHECK_ROW("three days later it is forgotten");
    feature_fill(&all, &window, &patient, expiry_us, now_us + 70 * VG_HOUR_US, row);
    CHECK(isnan(get("lactate_last")));
    window_fini(&window);
}

/* What comes later changes nothing of a row that was filled before: nothing knows the future. */
static void test_rows_do_not_know_the_future(void)
{
    static float before[48][FEATURES_MAX];
    struct feature_patient patient = {60, 1};

    for (int length = 48; length >= 12; length -= 12) {
        struct window window;

        window_init(&window, all.history_us);
        for (int hour = 0; hour < length; hour++) {
            int64_t now_us = T0 + hour * VG_HOUR_US;

            for (int v = 0; v < SIGNAL_COUNT; v++) {
                if ((hour * 7 + v) % 3 == 0 && v != SCORE_CONSCIOUSNESS)
                    add(&window, v, 50 + (hour * 13 + v * 5) % 40, now_us);
            }
            feature_fill(&all, &window, &patient, expiry_us, now_us, row);
            if (length == 48)
                memcpy(before[hour], row, sizeof(row));
            else
                CHECK(memcmp(before[hour], row, all.count * sizeof(row[0])) == 0);
        }
        window_fini(&window);
    }
}

static void test_a_set_takes_known_names_once(void)
{
    static const struct {
        const char *name, *names, *says;
    } rows[] = {
        {"unknown", "pulse_last, pulse_lost", "pulse_lost"},
        {"twice", "pulse_last pulse_last", "twice"},
    };
    struct vg_err err;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct feature_set set = {0};

        CHECK_ROW(rows[i].name);
        CHECK(feature_set_add(&set, vg_slice_of(rows[i].names), &err) == VG_REJECT);
        CHECK(strstr(err.text, rows[i].says) != NULL);
    }
    CHECK_ROW("a set alone fills what the whole table fills");
    {
        struct feature_set set = {0};
        struct feature_patient patient = {60, 1};
        struct window window;
        float alone[3];

        CHECK(feature_set_add(&set, VG_SLICE("news2_low spo2_mean_4h shock_index"), &err) == VG_OK);
        window_init(&window, 0);
        add(&window, SCORE_SPO2, 90, T0);
        add(&window, SCORE_PULSE, 100, T0);
        add(&window, SCORE_SYSTOLIC, 80, T0);
        feature_fill(&set, &window, &patient, expiry_us, T0, alone);
        feature_fill(&all, &window, &patient, expiry_us, T0, row);
        CHECK(near((double)alone[0], get("news2_low")) &&
              near((double)alone[1], get("spo2_mean_4h")) &&
              near((double)alone[2], get("shock_index")));
        window_fini(&window);
    }
}

static void test_a_day_old_is_gone(void)
{
    struct window window;
    struct feature_patient patient = {(double)NAN, (double)NAN};

    window_init(&window, 0);
    add(&window, SCORE_PULSE, 70, T0);
    feature_fill(&all, &window, &patient, expiry_us, T0 + VG_DAY_US - 1, row);
    CHECK(near(get("pulse_last"), 70));
    feature_fill(&all, &window, &patient, expiry_us, T0 + VG_DAY_US, row);
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
        feature_fill(&all, &window, &patient, expiry_us, T0 + 8 * VG_HOUR_US, row);
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
    CHECK(strcmp(text, "respiration rate rose from 18 to 26 /min in 1 h") == 0);
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
    CHECK(feature_count <= FEATURES_MAX);
    for (size_t i = 0; i < feature_count; i++) {
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(features[i].name, features[j].name) != 0);
    }
}

static void test_document_is_up_to_date(void)
{
    struct vg_arena arena;
    struct vg_slice file = {0};
    struct vg_buf out;

    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 0);
    score_features_markdown(&out);
    CHECK(vg_file_read(&arena, VG_SOURCE_DIR "/docs/model.md", 0, &file, NULL) == VG_OK);
    if (!CHECK(vg_slice_eq(file, vg_buf_slice(&out))))
        printf("docs/model.md differs: vigil model features >docs/model.md\n");
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
}

int main(void)
{
    for (size_t i = 0; i < feature_count; i++)
        CHECK(feature_set_add(&all, vg_slice_of(features[i].name), NULL) == VG_OK);
    RUN(test_hand_computed);
    RUN(test_laboratory);
    RUN(test_rows_do_not_know_the_future);
    RUN(test_a_set_takes_known_names_once);
    RUN(test_a_day_old_is_gone);
    RUN(test_rate_of_sending_does_not_matter);
    RUN(test_words);
    RUN(test_names_are_unique);
    RUN(test_document_is_up_to_date);
    return vg_test_report();
}
