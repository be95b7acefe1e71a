/* recipe.c -- how each model that ships is made.
 *
 * Features and parameters were chosen by cross-validation on the training patients alone (the test
 * patients had no part in it), by AUROC, by the challenge's utility, and by AUROC among rows of the
 * same hour of the stay, which a clock cannot win. docs/model.md says what did not work, with
 * figures (document.c). Of the windows of 48 h the smallest and largest vital sign stay, which rank
 * better among patients of the same hour too; means, deviations and slopes of 48 h do not: they are
 * clocks, as are extremes since admission and counts.
 *
 * Rows without the outcome are 98 of 100: training sees a fixed share of them, each counted as
 * often as it stands for, which costs no figure and saves two thirds of the time.
 */
#include "score/recipe.h"

#define PARAMETERS(array) array, sizeof(array) / sizeof((array)[0])

/* clang-format off */
#define VITAL_FEATURES(v)                                                                      \
    v "_last " v "_age "                                                                       \
    v "_change_1h " v "_change_2h " v "_change_4h " v "_change_6h " v "_change_12h "           \
    v "_change_24h "                                                                           \
    v "_min_4h " v "_max_4h " v "_mean_4h " v "_sd_4h " v "_slope_4h "                         \
    v "_min_24h " v "_max_24h " v "_mean_24h " v "_sd_24h "                                    \
    v "_above_mean_24h " v "_above_min_24h " v "_below_max_24h " v "_share_24h "

#define ALL_VITALS                                                                             \
    VITAL_FEATURES("respiration"), VITAL_FEATURES("spo2"), VITAL_FEATURES("systolic"),         \
    VITAL_FEATURES("diastolic"), VITAL_FEATURES("mean_pressure"), VITAL_FEATURES("pulse"),     \
    VITAL_FEATURES("temperature"),                                                             \
    "shock_index pulse_pressure news2_low news2_high age_years sex"

#define TWO_DAYS(v) v "_min_48h " v "_max_48h "

#define LAB_FEATURES(l) l "_last " l "_age " l "_step "

#define ICU_VITAL(v)                                                                           \
    v "_last " v "_age " v "_min_24h " v "_max_24h " v "_mean_24h " v "_sd_24h "               \
    v "_slope_24h " v "_min_48h " v "_max_48h " v "_mean_48h "
#define ICU_LAB(l)                                                                             \
    l "_last " l "_change_72h " l "_min_48h " l "_max_48h "

static const char *const sepsis_vitals_features[] = {
    ALL_VITALS,
    TWO_DAYS("respiration") TWO_DAYS("spo2") TWO_DAYS("systolic") TWO_DAYS("diastolic"),
    TWO_DAYS("mean_pressure") TWO_DAYS("pulse") TWO_DAYS("temperature"),
    NULL};

static const char *const sepsis_full_features[] = {
    ALL_VITALS,
    LAB_FEATURES("etco2"), LAB_FEATURES("fio2"), LAB_FEATURES("base_excess"),
    LAB_FEATURES("bicarbonate"), LAB_FEATURES("ph"), LAB_FEATURES("paco2"), LAB_FEATURES("sao2"),
    LAB_FEATURES("ast"), LAB_FEATURES("urea_nitrogen"), LAB_FEATURES("alp"),
    LAB_FEATURES("calcium"), LAB_FEATURES("chloride"), LAB_FEATURES("creatinine"),
    LAB_FEATURES("bilirubin_direct"), LAB_FEATURES("glucose"), LAB_FEATURES("lactate"),
    LAB_FEATURES("magnesium"), LAB_FEATURES("phosphate"), LAB_FEATURES("potassium"),
    LAB_FEATURES("bilirubin"), LAB_FEATURES("troponin_i"), LAB_FEATURES("hematocrit"),
    LAB_FEATURES("hemoglobin"), LAB_FEATURES("ptt"), LAB_FEATURES("leukocytes"),
    LAB_FEATURES("fibrinogen"), LAB_FEATURES("platelets"),
    "urea_nitrogen_by_creatinine spo2_by_fio2 sao2_by_fio2 rox hemoglobin_by_hematocrit",
    "platelets_by_leukocytes paco2_by_bicarbonate sofa_part sirs",
    NULL};

static const char *const mortality_icu_features[] = {
    ICU_VITAL("respiration"), ICU_VITAL("systolic"), ICU_VITAL("diastolic"),
    ICU_VITAL("mean_pressure"), ICU_VITAL("pulse"), ICU_VITAL("temperature"),
    ICU_LAB("gcs"), "gcs_mean_24h gcs_min_24h gcs_max_24h",
    "urine_sum_6h urine_sum_24h urine_sum_48h weight_last weight_change_72h",
    ICU_LAB("fio2"), ICU_LAB("ph"), ICU_LAB("paco2"), ICU_LAB("pao2"), ICU_LAB("sao2"),
    ICU_LAB("bicarbonate"), ICU_LAB("urea_nitrogen"), ICU_LAB("creatinine"),
    ICU_LAB("glucose"), ICU_LAB("lactate"), ICU_LAB("magnesium"), ICU_LAB("potassium"),
    ICU_LAB("sodium"), ICU_LAB("hematocrit"), ICU_LAB("leukocytes"), ICU_LAB("platelets"),
    ICU_LAB("alp"), ICU_LAB("alt"), ICU_LAB("ast"), ICU_LAB("bilirubin"), ICU_LAB("albumin"),
    ICU_LAB("troponin_i"), ICU_LAB("troponin_t"), ICU_LAB("cholesterol"),
    "shock_index shock_index_24h pulse_pressure pulse_pressure_24h pao2_by_fio2",
    "urea_nitrogen_by_creatinine sofa_part sirs news2_low news2_max_24h age_years sex",
    NULL};
/* clang-format on */

/* Shallow trees, slow steps, many rows in a leaf: the signal is weak and the two hospitals differ.
 */
static const struct fit_parameter sepsis_parameters[] = {
    {"booster", "gbtree"},      {"objective", "binary:logistic"},
    {"max_depth", "5"},         {"eta", "0.05"},
    {"subsample", "0.7"},       {"colsample_bytree", "0.15"},
    {"min_child_weight", "50"}, {"lambda", "50"},
    {"max_bin", "64"},
};

static const struct fit_parameter mortality_parameters[] = {
    {"booster", "gbtree"},     {"objective", "binary:logistic"},
    {"max_depth", "4"},        {"eta", "0.03"},
    {"subsample", "0.6"},      {"colsample_bytree", "0.2"},
    {"min_child_weight", "5"}, {"lambda", "5"},
    {"max_bin", "64"},
};

#define LIMITS_OF_ALL                                                                              \
    "Not a medical device and not a primary alarm. It has not been tried in care.",                \
        "Local validation comes first: run it silently beside NEWS2, then set the thresholds "     \
        "anew.",                                                                                   \
        "How often something is measured says something about the nurse's or doctor's worry, and " \
        "the ages of values carry some of that: the ablation says how much.",                      \
        "Saturation readings err with dark skin; skin tone is not recorded, so this is not "       \
        "measured. Six vital signs alone are known to tell something of race: no model that "      \
        "uses them is blind to it.",                                                               \
        "Adults only; pregnancy was not looked at."

#define LIMITS_OF_SEPSIS                                                                           \
    "Trained on intensive care of two hospitals in the United States, hourly charted values that " \
    "nurses had checked; monitors on a ward send more often and with more artefacts.",             \
        "Sepsis-3 onset as the challenge defined it; other deterioration is not what it learned.", \
        "Patients whose label was 1 from their first hour could not have been warned of; they "    \
        "are in the figures.",                                                                     \
        "Records of septic patients end about 3 h after onset, so figures for rows are kinder "    \
        "than a whole stay would be; patient figures favour long stays.",                          \
        "The two hospitals measure and chart differently: see the subgroups and the transfer."

static const char *const sepsis_limits[] = {
    LIMITS_OF_ALL, LIMITS_OF_SEPSIS,
    "The smallest and largest values of two days tell a first day in hospital from later ones to "
    "some degree. They stay because they rank better among patients of the same hour too.",
    NULL};
static const char *const full_limits[] = {
    LIMITS_OF_ALL, LIMITS_OF_SEPSIS,
    "Laboratory values are drawn when somebody suspects something: a hospital with other habits "
    "gets other scores from the same patients.",
    NULL};
static const char *const mortality_limits[] = {
    LIMITS_OF_ALL,
    "Trained on the first 48 h in intensive care of one hospital in the United States, before "
    "2009; treatment has changed since.",
    "It says how ill a patient is, not whether care can change it; it is no ground for limiting "
    "care.",
    "Judged at 48 h; earlier scores are less sure.",
    "The test patients turned out to be easier than most: in five-fold cross-validation on the "
    "others the AUROC was 0.867. Expect that.",
    NULL};

const struct recipe recipes[] = {
    {
        .name = "sepsis-vitals",
        .version = "3",
        .format = "physionet2019",
        .purpose = "Ranks adult inpatients by how likely sepsis begins within 6 hours, from vital "
                   "signs, age and sex, for the care team to look at; shown beside NEWS2.",
        .features = sepsis_vitals_features,
        PARAMETERS(sepsis_parameters),
        .rounds_max = 400,
        .folds = 4,
        .negative_percent = 30,
        .limits = sepsis_limits,
    },
    {
        .name = "sepsis-full",
        .version = "2",
        .format = "physionet2019",
        .purpose = "Ranks adult inpatients by how likely sepsis begins within 6 hours, from vital "
                   "signs, laboratory values, age and sex, for the care team to look at; shown "
                   "beside NEWS2.",
        .features = sepsis_full_features,
        PARAMETERS(sepsis_parameters),
        .rounds_max = 400,
        .folds = 4,
        .negative_percent = 30,
        .limits = full_limits,
    },
    {
        .name = "mortality-icu",
        .version = "1",
        .format = "physionet2012",
        .purpose = "Ranks adults in intensive care by how likely they die in hospital, from vital "
                   "signs, Glasgow coma scale, urine and laboratory values of two days, for "
                   "comparing and reviewing care.",
        .features = mortality_icu_features,
        PARAMETERS(mortality_parameters),
        .rounds_max = 500,
        .negative_percent = 100,
        .limits = mortality_limits,
    },
};
const size_t recipe_count = sizeof(recipes) / sizeof(recipes[0]);

const struct recipe *recipe_find(const char *name, const char *format)
{
    for (size_t i = 0; i < recipe_count; i++) {
        if (name ? strcmp(recipes[i].name, name) == 0 : strcmp(recipes[i].format, format) == 0)
            return &recipes[i];
    }
    /* The hospital's own lake: what its monitors send. */
    return !name && strcmp(format, "lake") == 0 ? &recipes[0] : NULL;
}
