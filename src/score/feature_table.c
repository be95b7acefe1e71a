/* feature_table.c -- the catalogue of features: what there is, declared once.
 *
 * Code, cards and docs/model.md are all made from this table. How many values there are is not in
 * it as a count: on recorded stays a count tells how long the stay has been, which ranks well and
 * means nothing at a bedside; FEATURE_SHARE is of the hours seen. Nothing here knows when a stay
 * began, who treats the patient or what will be; feature_lint.c checks.
 */
#include "score/feature.h"

#include <stdio.h>

/* clang-format off */
#define F(name, function, signal, hours) {name, FEATURE_##function, signal, 0, signal, hours}
#define TWO(name, function, one, two, hours) {name, FEATURE_##function, one, two, one, hours}
#define OF(name, function, what, group, hours) \
    {name, FEATURE_##function, what, 0, FEATURE_GROUP_##group, hours}

#define VITAL_WINDOW(key, v, w)         \
    F(key "_min_" #w "h", MIN, v, w),   \
    F(key "_max_" #w "h", MAX, v, w),   \
    F(key "_mean_" #w "h", MEAN, v, w), \
    F(key "_sd_" #w "h", SD, v, w),     \
    F(key "_slope_" #w "h", SLOPE, v, w)

#define VITAL(key, v)                                  \
    F(key "_last", LAST, v, 24),                       \
    F(key "_age", AGE, v, 24),                         \
    F(key "_change_1h", CHANGE, v, 1),                 \
    F(key "_change_2h", CHANGE, v, 2),                 \
    F(key "_change_4h", CHANGE, v, 4),                 \
    F(key "_change_6h", CHANGE, v, 6),                 \
    F(key "_change_8h", CHANGE, v, 8),                 \
    F(key "_change_12h", CHANGE, v, 12),               \
    F(key "_change_24h", CHANGE, v, 24),               \
    VITAL_WINDOW(key, v, 4), VITAL_WINDOW(key, v, 6),  \
    VITAL_WINDOW(key, v, 8), VITAL_WINDOW(key, v, 12), \
    VITAL_WINDOW(key, v, 24), VITAL_WINDOW(key, v, 48),\
    F(key "_ewma_1h", EWMA, v, 1),                     \
    F(key "_ewma_2h", EWMA, v, 2),                     \
    F(key "_ewma_4h", EWMA, v, 4),                     \
    F(key "_ewma_8h", EWMA, v, 8),                     \
    F(key "_ewma_16h", EWMA, v, 16),                   \
    F(key "_jump_8h", JUMP, v, 8),                     \
    F(key "_jump_24h", JUMP, v, 24),                   \
    F(key "_above_mean_24h", ABOVE_MEAN, v, 24),       \
    F(key "_z_24h", Z, v, 24),                         \
    F(key "_above_min_24h", ABOVE_MIN, v, 24),         \
    F(key "_below_max_24h", BELOW_MAX, v, 24),         \
    F(key "_median_24h", MEDIAN, v, 24),               \
    F(key "_baseline_24h", BASELINE, v, 24),           \
    F(key "_step", STEP, v, 24),                       \
    F(key "_share_24h", SHARE, v, 24)

#define LAB(key, s)                      \
    F(key "_last", LAST, s, 72),         \
    F(key "_age", AGE, s, 72),           \
    F(key "_step", STEP, s, 72),         \
    F(key "_change_72h", CHANGE, s, 72), \
    F(key "_min_24h", MIN, s, 24),       \
    F(key "_max_24h", MAX, s, 24),       \
    F(key "_mean_24h", MEAN, s, 24),     \
    F(key "_min_48h", MIN, s, 48),       \
    F(key "_max_48h", MAX, s, 48)

const struct feature features[] = {
    VITAL("respiration", SCORE_RESPIRATION),
    VITAL("spo2", SCORE_SPO2),
    VITAL("systolic", SCORE_SYSTOLIC),
    VITAL("diastolic", SCORE_DIASTOLIC),
    VITAL("mean_pressure", SCORE_MEAN_PRESSURE),
    VITAL("pulse", SCORE_PULSE),
    VITAL("temperature", SCORE_TEMPERATURE),

    TWO("shock_index", RATIO, SCORE_PULSE, SCORE_SYSTOLIC, 0),
    TWO("shock_index_8h", RATIO, SCORE_PULSE, SCORE_SYSTOLIC, 8),
    TWO("shock_index_24h", RATIO, SCORE_PULSE, SCORE_SYSTOLIC, 24),
    TWO("pulse_by_mean_pressure", RATIO, SCORE_PULSE, SCORE_MEAN_PRESSURE, 0),
    TWO("pulse_by_mean_pressure_24h", RATIO, SCORE_PULSE, SCORE_MEAN_PRESSURE, 24),
    TWO("age_shock_index_8h", AGE_TIMES, SCORE_PULSE, SCORE_SYSTOLIC, 8),
    TWO("pulse_pressure", DIFFERENCE, SCORE_SYSTOLIC, SCORE_DIASTOLIC, 0),
    TWO("pulse_pressure_8h", DIFFERENCE, SCORE_SYSTOLIC, SCORE_DIASTOLIC, 8),
    TWO("pulse_pressure_24h", DIFFERENCE, SCORE_SYSTOLIC, SCORE_DIASTOLIC, 24),
    TWO("diastolic_by_systolic", RATIO, SCORE_DIASTOLIC, SCORE_SYSTOLIC, 0),
    TWO("respiration_by_spo2", RATIO, SCORE_RESPIRATION, SCORE_SPO2, 0),
    TWO("respiration_by_spo2_8h", RATIO, SCORE_RESPIRATION, SCORE_SPO2, 8),
    TWO("respiration_by_pulse", RATIO, SCORE_RESPIRATION, SCORE_PULSE, 0),
    TWO("respiration_by_pulse_8h", RATIO, SCORE_RESPIRATION, SCORE_PULSE, 8),
    TWO("pulse_times_systolic_8h", PRODUCT, SCORE_PULSE, SCORE_SYSTOLIC, 8),
    TWO("pulse_less_fever", PULSE_HEAT, SCORE_PULSE, SCORE_TEMPERATURE, 0),
    TWO("pulse_less_fever_8h", PULSE_HEAT, SCORE_PULSE, SCORE_TEMPERATURE, 8),
    TWO("pulse_less_fever_24h", PULSE_HEAT, SCORE_PULSE, SCORE_TEMPERATURE, 24),
    F("mean_pressure_error", MEAN_ERROR, SCORE_MEAN_PRESSURE, 0),
    F("mean_pressure_error_24h", MEAN_ERROR, SCORE_MEAN_PRESSURE, 24),

    OF("news2_low", NEWS2_LOW, 0, NEWS2, 0),
    OF("news2_high", NEWS2_HIGH, 0, NEWS2, 0),
    OF("news2_respiration", NEWS2_PART, NEWS2_RESPIRATION, NEWS2, 0),
    OF("news2_spo2", NEWS2_PART, NEWS2_SPO2, NEWS2, 0),
    OF("news2_systolic", NEWS2_PART, NEWS2_SYSTOLIC, NEWS2, 0),
    OF("news2_pulse", NEWS2_PART, NEWS2_PULSE, NEWS2, 0),
    OF("news2_temperature", NEWS2_PART, NEWS2_TEMPERATURE, NEWS2, 0),
    OF("news2_mean_8h", NEWS2_MEAN, 0, NEWS2, 8),
    OF("news2_mean_24h", NEWS2_MEAN, 0, NEWS2, 24),
    OF("news2_max_24h", NEWS2_MAX, 0, NEWS2, 24),
    OF("mews", RULE, RULE_MEWS, RULES, 0),
    OF("qsofa", RULE, RULE_QSOFA, RULES, 0),
    OF("sirs", RULE, RULE_SIRS, RULES, 0),
    OF("sofa_part", RULE, RULE_SOFA_PART, RULES, 0),
    OF("qsofa_mean_8h", RULE_MEAN, RULE_QSOFA, RULES, 8),
    OF("qsofa_mean_24h", RULE_MEAN, RULE_QSOFA, RULES, 24),
    OF("sirs_mean_8h", RULE_MEAN, RULE_SIRS, RULES, 8),
    OF("sirs_mean_24h", RULE_MEAN, RULE_SIRS, RULES, 24),
    OF("age_years", AGE_YEARS, 0, AGE, 0),
    OF("sex", SEX, 0, SEX, 0),

    LAB("etco2", SIGNAL_ETCO2),
    LAB("fio2", SIGNAL_FIO2),
    LAB("base_excess", SIGNAL_BASE_EXCESS),
    LAB("bicarbonate", SIGNAL_HCO3),
    LAB("ph", SIGNAL_PH),
    LAB("paco2", SIGNAL_PACO2),
    LAB("pao2", SIGNAL_PAO2),
    LAB("sao2", SIGNAL_SAO2),
    LAB("ast", SIGNAL_AST),
    LAB("alt", SIGNAL_ALT),
    LAB("alp", SIGNAL_ALP),
    LAB("urea_nitrogen", SIGNAL_BUN),
    LAB("calcium", SIGNAL_CALCIUM),
    LAB("chloride", SIGNAL_CHLORIDE),
    LAB("creatinine", SIGNAL_CREATININE),
    LAB("bilirubin_direct", SIGNAL_BILIRUBIN_DIRECT),
    LAB("bilirubin", SIGNAL_BILIRUBIN),
    LAB("glucose", SIGNAL_GLUCOSE),
    LAB("lactate", SIGNAL_LACTATE),
    LAB("magnesium", SIGNAL_MAGNESIUM),
    LAB("phosphate", SIGNAL_PHOSPHATE),
    LAB("potassium", SIGNAL_POTASSIUM),
    LAB("sodium", SIGNAL_SODIUM),
    LAB("troponin_i", SIGNAL_TROPONIN_I),
    LAB("troponin_t", SIGNAL_TROPONIN_T),
    LAB("hematocrit", SIGNAL_HCT),
    LAB("hemoglobin", SIGNAL_HGB),
    LAB("ptt", SIGNAL_PTT),
    LAB("leukocytes", SIGNAL_WBC),
    LAB("fibrinogen", SIGNAL_FIBRINOGEN),
    LAB("platelets", SIGNAL_PLATELETS),
    LAB("albumin", SIGNAL_ALBUMIN),
    LAB("cholesterol", SIGNAL_CHOLESTEROL),
    LAB("gcs", SIGNAL_GCS),
    LAB("weight", SIGNAL_WEIGHT),
    F("urine_sum_6h", SUM, SIGNAL_URINE, 6),
    F("urine_sum_24h", SUM, SIGNAL_URINE, 24),
    F("urine_sum_48h", SUM, SIGNAL_URINE, 48),

    TWO("urea_nitrogen_by_creatinine", RATIO, SIGNAL_BUN, SIGNAL_CREATININE, 0),
    TWO("spo2_by_fio2", RATIO, SCORE_SPO2, SIGNAL_FIO2, 0),
    TWO("sao2_by_fio2", RATIO, SIGNAL_SAO2, SIGNAL_FIO2, 0),
    TWO("pao2_by_fio2", RATIO, SIGNAL_PAO2, SIGNAL_FIO2, 0),
    F("rox", ROX, SCORE_SPO2, 0),
    TWO("hemoglobin_by_hematocrit", RATIO, SIGNAL_HGB, SIGNAL_HCT, 0),
    TWO("platelets_by_leukocytes", RATIO, SIGNAL_PLATELETS, SIGNAL_WBC, 0),
    TWO("paco2_by_bicarbonate", RATIO, SIGNAL_PACO2, SIGNAL_HCO3, 0),
    TWO("calcium_less_phosphate", DIFFERENCE, SIGNAL_CALCIUM, SIGNAL_PHOSPHATE, 0),
    OF("labs_new_1h", LABS_NEW, 0, LABS, 1),
    OF("labs_new_8h", LABS_NEW, 0, LABS, 8),
    OF("labs_new_24h", LABS_NEW, 0, LABS, 24),
    OF("labs_known_24h", LABS_KNOWN, 0, LABS, 24),
};
/* clang-format on */
const size_t feature_count = sizeof(features) / sizeof(features[0]);

const struct feature_function_info feature_functions[FEATURE_FUNCTION_COUNT] = {
    [FEATURE_LAST] = {.name = "last", .what = "newest value"},
    [FEATURE_AGE] = {"age", "hours since the newest value", .is_time_since = true},
    [FEATURE_MIN] = {.name = "min", .what = "smallest value"},
    [FEATURE_MAX] = {.name = "max", .what = "largest value"},
    [FEATURE_MEAN] = {.name = "mean", .what = "mean"},
    [FEATURE_MEDIAN] = {.name = "median", .what = "median"},
    [FEATURE_SD] = {.name = "sd", .what = "standard deviation"},
    [FEATURE_SLOPE] = {.name = "slope", .what = "least-squares slope by the hour"},
    [FEATURE_CHANGE] = {.name = "change", .what = "change since the window's start"},
    [FEATURE_BASELINE] = {.name = "baseline", .what = "newest value less the patient's median"},
    [FEATURE_ABOVE_MEAN] = {.name = "above-mean", .what = "newest value less the mean"},
    [FEATURE_ABOVE_MIN] = {.name = "above-min", .what = "newest value less the smallest"},
    [FEATURE_BELOW_MAX] = {.name = "below-max", .what = "newest value less the largest"},
    [FEATURE_Z] = {.name = "z", .what = "newest value in standard deviations from the mean"},
    [FEATURE_EWMA] = {.name = "ewma", .what = "mean that forgets, half-life"},
    [FEATURE_JUMP] = {.name = "jump", .what = "mean size of the steps between values"},
    [FEATURE_STEP] = {.name = "step", .what = "newest value less the one before it"},
    [FEATURE_SHARE] = {.name = "share",
                       .what = "share of the hours seen that have a value",
                       .is_pattern = true},
    [FEATURE_SUM] = {.name = "sum", .what = "sum"},
    [FEATURE_RATIO] = {.name = "ratio", .what = "ratio"},
    [FEATURE_DIFFERENCE] = {.name = "difference", .what = "difference"},
    [FEATURE_PRODUCT] = {.name = "product", .what = "product"},
    [FEATURE_PULSE_HEAT] = {.name = "pulse-heat",
                            .what = "heart rate less 10 for each degree above 37"},
    [FEATURE_MEAN_ERROR] = {.name = "mean-error",
                            .what = "mean pressure less (systolic + 2 diastolic) / 3"},
    [FEATURE_ROX] = {.name = "rox", .what = "saturation by inspired oxygen by respiration rate"},
    [FEATURE_AGE_TIMES] = {.name = "age-times", .what = "age in years times the ratio"},
    [FEATURE_LABS_NEW] = {.name = "labs-new",
                          .what = "laboratory values by the hour",
                          .is_pattern = true},
    [FEATURE_LABS_KNOWN] = {.name = "labs-known",
                            .what = "different laboratory values known",
                            .is_pattern = true},
    [FEATURE_NEWS2_LOW] = {.name = "news2-low", .what = "NEWS2 of five parts, missing counted 0"},
    [FEATURE_NEWS2_HIGH] = {.name = "news2-high",
                            .what = "NEWS2 of five parts, missing counted at their most"},
    [FEATURE_NEWS2_PART] = {.name = "news2-part", .what = "NEWS2 part"},
    [FEATURE_NEWS2_MEAN] = {.name = "news2-mean", .what = "mean of NEWS2 at each hour"},
    [FEATURE_NEWS2_MAX] = {.name = "news2-max", .what = "largest NEWS2 at any hour"},
    [FEATURE_RULE] = {.name = "rule", .what = "score, missing counted 0"},
    [FEATURE_RULE_MEAN] = {.name = "rule-mean", .what = "mean of the score at each hour"},
    [FEATURE_AGE_YEARS] = {.name = "age-years", .what = "age in years"},
    [FEATURE_SEX] = {.name = "sex", .what = "1 male, 0 female"},
};

size_t feature_find(struct vg_slice name)
{
    size_t i = 0;

    while (i < feature_count && !vg_slice_is(name, features[i].name))
        i++;
    return i;
}

const char *feature_group_name(int group)
{
    static const char *const names[] = {"news2", "bedside-scores", "laboratory", "age", "sex"};

    return group < SIGNAL_COUNT ? vitals[group].part : names[group - SIGNAL_COUNT];
}

void feature_words(const struct feature *feature, char *out, size_t size_bytes)
{
    const char *what = feature_functions[feature->function].what;
    char of[128] = "", over[48] = "";

    switch (feature->function) {
    case FEATURE_RATIO:
    case FEATURE_DIFFERENCE:
    case FEATURE_PRODUCT:
    case FEATURE_AGE_TIMES:
        (void)snprintf(of, sizeof(of), " of %s and %s", vitals[feature->signal].name,
                       vitals[feature->other].name);
        break;
    case FEATURE_NEWS2_PART:
        (void)snprintf(of, sizeof(of), " of %s",
                       vitals[window_vital_of_part((enum news2_part)feature->signal)].name);
        break;
    case FEATURE_RULE:
    case FEATURE_RULE_MEAN:
        (void)snprintf(of, sizeof(of), " of %s", rules[feature->signal].title);
        break;
    default:
        if (feature->group < SIGNAL_COUNT && feature->function < FEATURE_RATIO)
            (void)snprintf(of, sizeof(of), " of %s", vitals[feature->signal].name);
    }
    if (feature->function == FEATURE_EWMA)
        (void)snprintf(over, sizeof(over), " of %u h", feature->hours);
    else if (feature->hours > 0)
        (void)snprintf(over, sizeof(over), ", %u h", feature->hours);
    else if (feature->function >= FEATURE_RATIO && feature->function <= FEATURE_AGE_TIMES)
        (void)snprintf(over, sizeof(over), ", newest values");
    if (feature->function == FEATURE_EWMA)
        (void)snprintf(out, size_bytes, "%s%s%s", what, over, of);
    else
        (void)snprintf(out, size_bytes, "%s%s%s", what, of, over);
}

const char *feature_unit(const struct feature *feature)
{
    switch (feature->function) {
    case FEATURE_AGE:
        return "h";
    case FEATURE_SLOPE:
        return "per hour";
    case FEATURE_AGE_YEARS:
        return "a";
    case FEATURE_DIFFERENCE:
    case FEATURE_PULSE_HEAT:
    case FEATURE_MEAN_ERROR:
        return vitals[feature->signal].unit;
    default:
        return feature->function < FEATURE_RATIO && feature->function != FEATURE_Z &&
                       feature->function != FEATURE_SHARE
                   ? vitals[feature->signal].unit
                   : "1";
    }
}
