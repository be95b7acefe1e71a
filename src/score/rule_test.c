/* rule_test.c -- every boundary of the bedside scores beside NEWS2. */
#include "score/rule.h"

#include "vg_test.h"

#include <math.h>

static double values[SIGNAL_COUNT];

static void forget(void)
{
    for (int v = 0; v < SIGNAL_COUNT; v++)
        values[v] = (double)NAN;
}

static void test_boundaries(void)
{
    static const struct {
        const char *name;
        enum rule_id rule;
        int signal;
        double value;
        int want;
    } rows[] = {
        {"MEWS systolic 70", RULE_MEWS, SCORE_SYSTOLIC, 70, 3},
        {"MEWS systolic 71", RULE_MEWS, SCORE_SYSTOLIC, 71, 2},
        {"MEWS systolic 81", RULE_MEWS, SCORE_SYSTOLIC, 81, 1},
        {"MEWS systolic 100", RULE_MEWS, SCORE_SYSTOLIC, 100, 1},
        {"MEWS systolic 101", RULE_MEWS, SCORE_SYSTOLIC, 101, 0},
        {"MEWS systolic 199", RULE_MEWS, SCORE_SYSTOLIC, 199, 0},
        {"MEWS systolic 200", RULE_MEWS, SCORE_SYSTOLIC, 200, 2},
        {"MEWS pulse 40", RULE_MEWS, SCORE_PULSE, 40, 2},
        {"MEWS pulse 41", RULE_MEWS, SCORE_PULSE, 41, 1},
        {"MEWS pulse 51", RULE_MEWS, SCORE_PULSE, 51, 0},
        {"MEWS pulse 101", RULE_MEWS, SCORE_PULSE, 101, 1},
        {"MEWS pulse 111", RULE_MEWS, SCORE_PULSE, 111, 2},
        {"MEWS pulse 130", RULE_MEWS, SCORE_PULSE, 130, 3},
        {"MEWS respiration 8", RULE_MEWS, SCORE_RESPIRATION, 8, 2},
        {"MEWS respiration 9", RULE_MEWS, SCORE_RESPIRATION, 9, 0},
        {"MEWS respiration 15", RULE_MEWS, SCORE_RESPIRATION, 15, 1},
        {"MEWS respiration 21", RULE_MEWS, SCORE_RESPIRATION, 21, 2},
        {"MEWS respiration 30", RULE_MEWS, SCORE_RESPIRATION, 30, 3},
        {"MEWS temperature 34.9", RULE_MEWS, SCORE_TEMPERATURE, 34.9, 2},
        {"MEWS temperature 35.0", RULE_MEWS, SCORE_TEMPERATURE, 35, 0},
        {"MEWS temperature 38.4", RULE_MEWS, SCORE_TEMPERATURE, 38.4, 0},
        {"MEWS temperature 38.5", RULE_MEWS, SCORE_TEMPERATURE, 38.5, 2},
        {"MEWS alert", RULE_MEWS, SCORE_CONSCIOUSNESS, 'A', 0},
        {"MEWS confused", RULE_MEWS, SCORE_CONSCIOUSNESS, 'C', 1},
        {"MEWS voice", RULE_MEWS, SCORE_CONSCIOUSNESS, 'V', 1},
        {"MEWS pain", RULE_MEWS, SCORE_CONSCIOUSNESS, 'P', 2},
        {"MEWS unresponsive", RULE_MEWS, SCORE_CONSCIOUSNESS, 'U', 3},
        {"qSOFA respiration 21", RULE_QSOFA, SCORE_RESPIRATION, 21, 0},
        {"qSOFA respiration 22", RULE_QSOFA, SCORE_RESPIRATION, 22, 1},
        {"qSOFA systolic 100", RULE_QSOFA, SCORE_SYSTOLIC, 100, 1},
        {"qSOFA systolic 101", RULE_QSOFA, SCORE_SYSTOLIC, 101, 0},
        {"qSOFA Glasgow 14", RULE_QSOFA, SIGNAL_GCS, 14, 1},
        {"qSOFA Glasgow 15", RULE_QSOFA, SIGNAL_GCS, 15, 0},
        {"SIRS temperature 35.9", RULE_SIRS, SCORE_TEMPERATURE, 35.9, 1},
        {"SIRS temperature 36.0", RULE_SIRS, SCORE_TEMPERATURE, 36, 0},
        {"SIRS temperature 38.0", RULE_SIRS, SCORE_TEMPERATURE, 38, 0},
        {"SIRS temperature 38.1", RULE_SIRS, SCORE_TEMPERATURE, 38.1, 1},
        {"SIRS pulse 90", RULE_SIRS, SCORE_PULSE, 90, 0},
        {"SIRS pulse 91", RULE_SIRS, SCORE_PULSE, 91, 1},
        {"SIRS respiration 20", RULE_SIRS, SCORE_RESPIRATION, 20, 0},
        {"SIRS respiration 21", RULE_SIRS, SCORE_RESPIRATION, 21, 1},
        {"SIRS PaCO2 31.9", RULE_SIRS, SIGNAL_PACO2, 31.9, 1},
        {"SIRS PaCO2 32", RULE_SIRS, SIGNAL_PACO2, 32, 0},
        {"SIRS leukocytes 3.9", RULE_SIRS, SIGNAL_WBC, 3.9, 1},
        {"SIRS leukocytes 4", RULE_SIRS, SIGNAL_WBC, 4, 0},
        {"SIRS leukocytes 12", RULE_SIRS, SIGNAL_WBC, 12, 0},
        {"SIRS leukocytes 12.1", RULE_SIRS, SIGNAL_WBC, 12.1, 1},
        {"SOFA platelets 150", RULE_SOFA_PART, SIGNAL_PLATELETS, 150, 0},
        {"SOFA platelets 149", RULE_SOFA_PART, SIGNAL_PLATELETS, 149, 1},
        {"SOFA platelets 19", RULE_SOFA_PART, SIGNAL_PLATELETS, 19, 4},
        {"SOFA creatinine 1.2", RULE_SOFA_PART, SIGNAL_CREATININE, 1.2, 1},
        {"SOFA creatinine 5", RULE_SOFA_PART, SIGNAL_CREATININE, 5, 4},
        {"SOFA bilirubin 2", RULE_SOFA_PART, SIGNAL_BILIRUBIN, 2, 2},
        {"SOFA mean pressure 69", RULE_SOFA_PART, SCORE_MEAN_PRESSURE, 69, 1},
        {"SOFA Glasgow 5", RULE_SOFA_PART, SIGNAL_GCS, 5, 4},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].name);
        forget();
        values[rows[i].signal] = rows[i].value;
        CHECK(rule_score(&rules[rows[i].rule], values).low == rows[i].want);
    }
}

static void test_whole_scores(void)
{
    struct rule_score score;

    CHECK_ROW("qSOFA of breathing 28, systolic 85, voice is 3");
    forget();
    values[SCORE_RESPIRATION] = 28;
    values[SCORE_SYSTOLIC] = 85;
    values[SCORE_CONSCIOUSNESS] = 'V';
    score = rule_score(&rules[RULE_QSOFA], values);
    CHECK(score.low == 3 && score.high == 3);

    CHECK_ROW("two ways to the same point count once");
    values[SIGNAL_GCS] = 9;
    CHECK(rule_score(&rules[RULE_QSOFA], values).low == 3);

    CHECK_ROW("SIRS: all four, breathing by rate and PaCO2 together one");
    forget();
    values[SCORE_TEMPERATURE] = 38.5;
    values[SCORE_PULSE] = 110;
    values[SCORE_RESPIRATION] = 24;
    values[SIGNAL_PACO2] = 30;
    values[SIGNAL_WBC] = 14;
    score = rule_score(&rules[RULE_SIRS], values);
    CHECK(score.low == 4 && score.high == 4);

    CHECK_ROW("what is missing makes it an interval");
    forget();
    values[SCORE_PULSE] = 95;
    score = rule_score(&rules[RULE_SIRS], values);
    CHECK(score.low == 1 && score.high == 4);
    forget();
    score = rule_score(&rules[RULE_MEWS], values);
    CHECK(score.low == 0 && score.high == 14);
}

int main(void)
{
    RUN(test_boundaries);
    RUN(test_whole_scores);
    return vg_test_report();
}
