/* judge_test.c -- the challenge's utility by hand, areas, burden, intervals, the lint. */
#include "score/judge.h"
#include "score/lint.h"
#include "score/measure.h"

#include "vg_test.h"

#include <math.h>

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

static float labels[4096], scores[4096];
static struct data_patient patients[256];
static struct data data = {.labels = labels, .patients = patients, .has_labels = true};

static void add_patient(const char *of_labels, const char *of_scores)
{
    struct data_patient *patient = &patients[data.patient_count++];

    *patient = (struct data_patient){.first = data.count, .count = strlen(of_labels)};
    for (size_t i = 0; i < patient->count; i++, data.count++) {
        labels[data.count] = of_labels[i] == '1';
        scores[data.count] = (float)(of_scores[i] - '0') / 10;
    }
}

static void begin(const char *format)
{
    data.count = data.patient_count = 0;
    data.format = source_format_of(format);
}

static double utility_of(const char *of_labels, const char *alerts)
{
    size_t count = strlen(of_labels), first = strcspn(of_labels, "1");
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += judge_utility_of(i, first, count, alerts[i] == '1');
    return sum;
}

static void test_utility(void)
{
    static const struct {
        const char *name, *labels, *alerts;
        double want;
    } rows[] = {
        /* Onset is at row 10: 2/3 + 5/6 + 1 + 8/9. */
        {"two labelled hours, four alerts", "000011", "001111", 2.0 / 3 + 5.0 / 6 + 1 + 8.0 / 9},
        {"no sepsis, no alert", "0000", "0000", 0},
        {"no sepsis, two alerts", "0000", "0110", -0.1},
        {"an alert 13 h and more before the onset costs 0.05", "0000000000000001",
         "1000000000000000", -0.05},
        {"missed from 6 h before to 3 h after: 0 to 2", "1111111111", "0000000000",
         -2.0 / 9 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9)},
        {"later than 3 h after the onset nothing counts", "1111111111111", "1111111111111",
         1 + (8 + 7 + 6 + 5 + 4 + 3 + 2 + 1) / 9.0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].name);
        CHECK(near(utility_of(rows[i].labels, rows[i].alerts), rows[i].want));
    }
}

static void test_figures(void)
{
    struct judge_config config = {.data = &data, .scores = scores, .threshold = 0.45};
    struct figures figures;

    begin("physionet2019");
    add_patient("000011", "115555");
    add_patient("0000", "1511");
    CHECK(judge(&config, &figures, NULL) == VG_OK);
    CHECK(figures.rows == 10 && figures.patients == 2 && figures.positive_rows == 2);
    /* Two positives at 0.5; of 8 negatives 3 tie, 5 are below. */
    CHECK(near(figures.row_auroc.value, (5 + 1.5) / 8));
    CHECK(near(figures.row_precision.value, 2.0 / 5));
    CHECK_ROW("the best is alerts in rows 0 to 5: 1/3 + 1/2 + what the test above has");
    {
        double none = -2.0 / 9, best = 2.0 / 6 + 3.0 / 6 + 4.0 / 6 + 5.0 / 6 + 1 + 8.0 / 9;
        double observed = 4.0 / 6 + 5.0 / 6 + 1 + 8.0 / 9 - 0.05;

        CHECK(near(figures.utility.value, (observed - none) / (best - none)));
    }
    CHECK_ROW("one alert in 24 h; the other patient's is false");
    CHECK(near(figures.burden.per_100_days.value, 2 * 2400.0 / 10));
    CHECK(near(figures.burden.precision.value, 0.5));
    CHECK(near(figures.burden.sensitivity.value, 1) && near(figures.burden.lead_hours, 8));
    CHECK(isnan(figures.row_auroc.low));
}

static void test_intervals_hold_the_value_and_repeat(void)
{
    struct judge_config config = {
        .data = &data, .scores = scores, .threshold = 0.5, .bootstrap = 100, .seed = 3};
    struct figures one, two;
    uint64_t state = 9;

    begin("physionet2019");
    for (int p = 0; p < 200; p++) {
        char of_scores[11] = "";

        for (int i = 0; i < 10; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            of_scores[i] = (char)('0' + (state >> 33) % 6 + (p % 5 == 0 ? 3 : 0));
        }
        add_patient(p % 5 == 0 ? "0000011111" : "0000000000", of_scores);
    }
    CHECK(judge(&config, &one, NULL) == VG_OK && judge(&config, &two, NULL) == VG_OK);
    CHECK(one.row_auroc.low < one.row_auroc.value && one.row_auroc.value < one.row_auroc.high);
    CHECK(one.utility.low < one.utility.value && one.utility.value < one.utility.high);
    CHECK(near(one.row_auroc.low, two.row_auroc.low) && near(one.utility.high, two.utility.high));
}

static void test_thresholds(void)
{
    struct judge_config config = {.data = &data, .scores = scores};
    struct figures best, other;
    double threshold = 0;

    /* The patients of the test before. */
    CHECK(judge_best_threshold(&config, &threshold, NULL) == VG_OK);
    config.threshold = threshold;
    CHECK(judge(&config, &best, NULL) == VG_OK);
    for (int i = 0; i <= 10; i++) {
        config.threshold = i / 10.0;
        CHECK(judge(&config, &other, NULL) == VG_OK);
        CHECK(other.utility.value <= best.utility.value + 1e-9);
    }
    CHECK(judge_threshold_for(&config, 100, &threshold, NULL) == VG_OK);
    config.threshold = threshold;
    CHECK(judge(&config, &other, NULL) == VG_OK);
    CHECK(other.burden.per_100_days.value <= 100);
}

static void test_patient_outcomes_are_judged_on_the_last_row(void)
{
    struct judge_config config = {.data = &data, .scores = scores, .threshold = 0.5};
    struct figures figures;

    begin("physionet2012");
    add_patient("1111", "0008");
    add_patient("0000", "9991");
    CHECK(judge(&config, &figures, NULL) == VG_OK);
    CHECK(figures.rows == 2 && near(figures.row_auroc.value, 1));
    CHECK(isnan(figures.utility.value));
}

static void test_areas(void)
{
    static const float of_scores[] = {0.9f, 0.8f, 0.8f, 0.4f, 0.1f};
    static const float of_labels[] = {1, 0, 1, 1, 0};
    float margins[1000], outcomes[1000];
    double slope = 0, intercept = 0;
    struct judge_config config = {.data = &data, .scores = scores, .threshold = 2};
    struct figures figures;

    begin("physionet2019");
    for (size_t i = 0; i < 5; i++) {
        add_patient(of_labels[i] > 0 ? "1" : "0", "0");
        scores[data.count - 1] = of_scores[i];
    }
    CHECK(judge(&config, &figures, NULL) == VG_OK);
    /* Pairs won: 0.9 over 0.8 and 0.1 (2), 0.8 ties and beats 0.1 (1.5), 0.4 beats 0.1 (1): 4.5/6.
     * Steps: 1 of 1, then a tie: 2 of 3, then 3 of 4; each a third of the positives. */
    CHECK(near(figures.row_auroc.value, 0.75));
    CHECK(near(figures.row_precision.value, (1.0 + 2.0 / 3 + 0.75) / 3));
    CHECK(near(figures.patient_auroc.value, 0.75));

    /* Outcomes that follow logistic(0.5 m - 1) in share: 100 rows a margin. */
    for (int i = 0; i < 1000; i++) {
        margins[i] = (float)(i / 100) - 5;
        outcomes[i] = i % 100 < (int)lround(100 * measure_logistic(0.5 * (double)margins[i] - 1));
    }
    measure_platt(margins, outcomes, 1000, &slope, &intercept);
    CHECK(fabs(slope - 0.5) < 0.02 && fabs(intercept + 1) < 0.03);
}

/* 40 patients of 20 hours; a column is a feature. */
static void test_lint(void)
{
    static float rows[40 * 20 * 5];
    static const struct {
        const char *name;
        bool is_refused;
    } columns[] = {
        {"hours of the stay", true},
        {"how many values so far", true},
        {"a value that goes up and down", false},
        {"an age that starts anew every 6 h", false},
        {"the largest value so far", false},
    };
    struct data lint = {.rows = rows, .width = 5, .patients = patients, .patient_count = 40};
    struct feature_set set = {0};
    double rising[5];

    for (size_t p = 0; p < 40; p++) {
        float most = 0;

        patients[p] = (struct data_patient){.first = p * 20, .count = 20};
        for (size_t i = 0; i < 20; i++, lint.count++) {
            float value = (float)((i * 7 + p * 3) % 11);

            most = value > most ? value : most;
            rows[lint.count * 5] = (float)i;
            rows[lint.count * 5 + 1] = (float)(i - i / 4);
            rows[lint.count * 5 + 2] = value;
            rows[lint.count * 5 + 3] = (float)(i % 6);
            rows[lint.count * 5 + 4] = most;
        }
    }
    lint_rising(&lint, rising);
    for (size_t i = 0; i < 5; i++) {
        CHECK_ROW(columns[i].name);
        CHECK((rising[i] > LINT_RISING_MAX) == columns[i].is_refused);
    }
    CHECK_ROW("training refuses the two by name");
    CHECK(feature_set_add(&set, VG_SLICE("pulse_last pulse_age spo2_last spo2_age sex"), NULL) ==
          VG_OK);
    {
        struct vg_err err = {0};

        CHECK(lint_features(&set, &lint, &err) == VG_REJECT);
        CHECK(strcmp(err.code, "train.lint") == 0 && strstr(err.text, "pulse_last, pulse_age"));
    }
}

int main(void)
{
    RUN(test_utility);
    RUN(test_figures);
    RUN(test_intervals_hold_the_value_and_repeat);
    RUN(test_thresholds);
    RUN(test_patient_outcomes_are_judged_on_the_last_row);
    RUN(test_areas);
    RUN(test_lint);
    return vg_test_report();
}
