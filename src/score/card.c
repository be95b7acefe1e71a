/* card.c -- a model's card as JSON, and the 31 source attributes.
 *
 * The attributes are those that the certification rule for predictive decision support in the
 * United States asks for (45 CFR 170.315(b)(11)(iv)(B)); a card says "none" or "not done" where
 * that is the truth.
 */
#include "score/card.h"

#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Four digits are what the data can tell; they also keep the text short. NaN is left out. */
static void put_number(struct vg_json_writer *w, const char *name, double value)
{
    char text[32];

    if (isnan(value))
        return;
    (void)snprintf(text, sizeof(text), "%.4f", value);
    vg_json_member_raw(w, name, vg_slice_of(text));
}

static void put_figure(struct vg_json_writer *w, const char *name, const struct figure *figure)
{
    char interval[40], named[64];

    put_number(w, name, figure->value);
    if (isnan(figure->low) || isnan(figure->value))
        return;
    (void)snprintf(interval, sizeof(interval), "%.4f to %.4f", figure->low, figure->high);
    (void)snprintf(named, sizeof(named), "%s95", name);
    vg_json_member_string(w, named, vg_slice_of(interval));
}

static void put_ranks(struct vg_json_writer *w, const struct figures *figures)
{
    put_figure(w, "rowAuroc", &figures->row_auroc);
    put_figure(w, "rowAveragePrecision", &figures->row_precision);
    put_figure(w, "patientAuroc", &figures->patient_auroc);
}

static void put_burden(struct vg_json_writer *w, const struct burden *burden)
{
    put_figure(w, "alertsPer100PatientDays", &burden->per_100_days);
    put_figure(w, "precision", &burden->precision);
    put_figure(w, "sensitivity", &burden->sensitivity);
    put_number(w, "medianLeadHours", burden->lead_hours);
}

static void put_threshold(struct vg_json_writer *w, const char *name, double probability,
                          double wanted, const char *chosen, const struct figures *test)
{
    vg_json_name(w, name);
    vg_json_open_object(w);
    vg_json_member_double(w, "probability", probability);
    if (wanted > 0)
        vg_json_member_double(w, "wantedAlertsPer100PatientDays", wanted);
    if (chosen)
        vg_json_member_string(w, "chosen", vg_slice_of(chosen));
    vg_json_name(w, "test");
    vg_json_open_object(w);
    put_burden(w, &test->burden);
    put_figure(w, "utility", &test->utility);
    vg_json_close_object(w);
    vg_json_close_object(w);
}

static const char *chosen_text(const struct card *card)
{
    return card->format->has_utility
               ? "the challenge's utility is largest on the patients chosen by (data.choosing); "
                 "this is where vigil evaluate says alert. Live alerts use medium and high."
               : "the smaller of sensitivity and precision is largest on the patients chosen by "
                 "(data.choosing); this is where vigil evaluate says alert. Live alerts use medium "
                 "and high.";
}

static void put_data(struct vg_json_writer *w, const struct card *card)
{
    static const char *const names[PART_COUNT] = {"train", "calibrate", "test"};

    vg_json_name(w, "data");
    vg_json_open_object(w);
    vg_json_member_string(w, "format", vg_slice_of(card->format->name));
    vg_json_member_string(w, "source", vg_slice_of(card->format->text));
    vg_json_member_string(w, "citation", vg_slice_of(card->format->citation));
    vg_json_member_string(w, "licence", vg_slice_of(card->format->licence));
    vg_json_member_string(
        w, "split",
        card->folds
            ? VG_SLICE(
                  "by patient, hash of id and seed: 85 % train, 15 % test, which chose nothing")
            : VG_SLICE("by patient, hash of id and seed: 70 % train, 15 % early stopping, "
                       "calibration and thresholds, 15 % test, which chose nothing"));
    vg_json_member_string(
        w, "choosing",
        card->folds ? VG_SLICE("the training patients by cross-validation: each is predicted by a "
                               "model that did not see the patient")
                    : VG_SLICE("the calibration patients"));
    for (int part = 0; part < PART_COUNT; part++) {
        if (card->patients[part] == 0)
            continue;
        vg_json_name(w, names[part]);
        vg_json_open_object(w);
        vg_json_member_i64(w, "patients", (int64_t)card->patients[part]);
        vg_json_member_i64(w, "patientsWithOutcome", (int64_t)card->positive_patients[part]);
        vg_json_member_i64(w, "rows", (int64_t)card->rows[part]);
        vg_json_member_i64(w, "positiveRows", (int64_t)card->positive_rows[part]);
        vg_json_close_object(w);
    }
    vg_json_close_object(w);
}

static void put_training(struct vg_json_writer *w, const struct card *card)
{
    vg_json_name(w, "training");
    vg_json_open_object(w);
    vg_json_member_i64(w, "seed", (int64_t)card->seed);
    vg_json_member_i64(w, "threads", card->threads);
    vg_json_member_i64(w, "trees", card->trees);
    if (card->folds)
        vg_json_member_string(w, "treesChosen",
                              VG_SLICE("the mean of the folds' best numbers of trees"));
    vg_json_member_i64(w, "percentOfRowsWithoutOutcome", card->recipe->negative_percent);
    vg_json_member_string(
        w, "ships",
        card->all_trees
            ? VG_SLICE("a model of all patients, trained again with the same parameters and number "
                       "of trees after the judgement; every figure here is of the model that did "
                       "not see the test patients, whose calibration and thresholds it keeps")
            : VG_SLICE("the judged model itself"));
    vg_json_name(w, "parameters");
    vg_json_open_object(w);
    for (size_t i = 0; i < card->parameter_count; i++)
        vg_json_member_string(w, card->parameters[i].name, vg_slice_of(card->parameters[i].value));
    vg_json_close_object(w);
    vg_json_close_object(w);

    vg_json_name(w, "calibration");
    vg_json_open_object(w);
    vg_json_member_string(w, "method",
                          card->folds ? VG_SLICE("Platt, on the training patients' predictions in "
                                                 "cross-validation")
                                      : VG_SLICE("Platt, on the calibration patients"));
    vg_json_member_double(w, "slope", card->slope);
    vg_json_member_double(w, "intercept", card->intercept);
    vg_json_close_object(w);
}

/* Mean of the folds' figures and their standard deviation. */
static void put_spread(struct vg_json_writer *w, const char *name, const double *values,
                       uint32_t count)
{
    double sum = 0, squares = 0, mean;
    char named[64];

    for (uint32_t k = 0; k < count; k++)
        sum += values[k];
    mean = sum / count;
    for (uint32_t k = 0; k < count; k++)
        squares += (values[k] - mean) * (values[k] - mean);
    put_number(w, name, mean);
    (void)snprintf(named, sizeof(named), "%sSd", name);
    put_number(w, named, sqrt(squares / (count - 1)));
}

static void put_folds(struct vg_json_writer *w, const struct card *card)
{
    double auroc[CARD_FOLDS_MAX], precision[CARD_FOLDS_MAX], patient[CARD_FOLDS_MAX],
        utility[CARD_FOLDS_MAX];

    vg_json_name(w, "crossValidation");
    vg_json_open_object(w);
    vg_json_member_string(w, "what",
                          VG_SLICE("each fold of the training patients, judged by a model of the "
                                   "other folds; utility at the operating threshold"));
    vg_json_name(w, "folds");
    vg_json_open_array(w);
    for (uint32_t k = 0; k < card->folds; k++) {
        const struct card_fold *fold = &card->fold[k];

        auroc[k] = fold->figures.row_auroc.value;
        precision[k] = fold->figures.row_precision.value;
        patient[k] = fold->figures.patient_auroc.value;
        utility[k] = fold->figures.utility.value;
        vg_json_open_object(w);
        vg_json_member_i64(w, "patients", (int64_t)fold->figures.patients);
        vg_json_member_i64(w, "patientsWithOutcome", (int64_t)fold->figures.positive_patients);
        vg_json_member_i64(w, "bestTrees", fold->rounds);
        put_ranks(w, &fold->figures);
        put_figure(w, "utility", &fold->figures.utility);
        put_number(w, "expectedToObserved", fold->figures.expected);
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    put_spread(w, "rowAuroc", auroc, card->folds);
    put_spread(w, "rowAveragePrecision", precision, card->folds);
    put_spread(w, "patientAuroc", patient, card->folds);
    put_spread(w, "utility", utility, card->folds);
    vg_json_close_object(w);
}

static void put_ablation(struct vg_json_writer *w, const char *name,
                         const struct card_ablation *ablation)
{
    if (!ablation->is_done)
        return;
    vg_json_name(w, name);
    vg_json_open_object(w);
    vg_json_member_i64(w, "featuresLeftOut", (int64_t)ablation->left_out);
    put_ranks(w, &ablation->figures);
    put_figure(w, "utility", &ablation->figures.utility);
    vg_json_close_object(w);
}

static void put_figures(struct vg_json_writer *w, const struct card *card)
{
    const struct figures *test = &card->at_operating;

    vg_json_name(w, "figures");
    vg_json_open_object(w);
    vg_json_name(w, "test");
    vg_json_open_object(w);
    if (card->format->is_by_patient)
        vg_json_member_string(w, "what", VG_SLICE("each test patient's last row"));
    put_ranks(w, test);
    put_figure(w, "utility", &test->utility);
    put_number(w, "baseRate", (double)test->positive_rows / (double)test->rows);
    put_number(w, "expectedToObserved", test->expected);
    put_number(w, "calibrationSlope", test->slope);
    put_number(w, "calibrationIntercept", test->intercept);
    put_number(w, "brier", test->brier);
    vg_json_close_object(w);
    if (card->folds)
        put_folds(w, card);
    vg_json_name(w, card->folds ? "allFolds" : "calibrate");
    vg_json_open_object(w);
    put_ranks(w, &card->choose);
    put_figure(w, "utility", &card->choose.utility);
    vg_json_close_object(w);
    vg_json_name(w, "news2");
    vg_json_open_object(w);
    vg_json_member_string(w, "what",
                          VG_SLICE("NEWS2, lower bound, on the same test rows; consciousness and "
                                   "oxygen are not in the data"));
    put_ranks(w, &card->rules[DATA_NEWS2]);
    vg_json_name(w, "at5");
    vg_json_open_object(w);
    put_burden(w, &card->news2_at_5.burden);
    vg_json_close_object(w);
    vg_json_name(w, "at7");
    vg_json_open_object(w);
    put_burden(w, &card->news2_at_7.burden);
    vg_json_close_object(w);
    vg_json_close_object(w);
    vg_json_name(w, "otherScores");
    vg_json_open_array(w);
    for (int r = DATA_NEWS2 + 1; r < DATA_RULES; r++) {
        vg_json_open_object(w);
        vg_json_member_string(w, "name", vg_slice_of(data_rule_names[r]));
        put_number(w, "rowAuroc", card->rules[r].row_auroc.value);
        put_number(w, "rowAveragePrecision", card->rules[r].row_precision.value);
        put_number(w, "patientAuroc", card->rules[r].patient_auroc.value);
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    vg_json_name(w, "subgroups");
    vg_json_open_array(w);
    for (size_t i = 0; i < card->subgroup_count; i++) {
        const struct card_subgroup *group = &card->subgroups[i];

        vg_json_open_object(w);
        vg_json_member_string(w, "name", vg_slice_of(group->name));
        vg_json_member_i64(w, "patients", (int64_t)group->model.patients);
        vg_json_member_i64(w, "patientsWithOutcome", (int64_t)group->model.positive_patients);
        put_ranks(w, &group->model);
        put_number(w, "expectedToObserved", group->model.expected);
        put_number(w, "precision", group->model.burden.precision.value);
        put_number(w, "news2RowAuroc", group->news2.row_auroc.value);
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    if (card->has_transfer) {
        vg_json_name(w, "transferBetweenHospitals");
        vg_json_open_array(w);
        for (int i = 0; i < 2; i++) {
            vg_json_open_object(w);
            vg_json_member_string(w, "trainedOn", i ? VG_SLICE("B") : VG_SLICE("A"));
            vg_json_member_string(w, "judgedOn", i ? VG_SLICE("A") : VG_SLICE("B"));
            put_ranks(w, &card->transfer[i]);
            put_figure(w, "utility", &card->transfer[i].utility);
            vg_json_close_object(w);
        }
        vg_json_close_array(w);
    }
    put_ablation(w, "withoutTimeSinceFeatures", &card->ablations[ABLATION_TIME_SINCE]);
    put_ablation(w, "withoutMeasurementPatternFeatures", &card->ablations[ABLATION_PATTERN]);
    vg_json_close_object(w);
}

static void put_features(struct vg_json_writer *w, const struct card *card)
{
    vg_json_name(w, "lint");
    vg_json_open_object(w);
    vg_json_member_string(w, "what",
                          VG_SLICE("the feature that rises most steadily with the stay, and in "
                                   "what share of patients; above 0.8 a model is refused"));
    if (card->rising_feature)
        vg_json_member_string(w, "feature", vg_slice_of(card->rising_feature));
    put_number(w, "share", card->rising_most);
    vg_json_close_object(w);
    vg_json_member_i64(w, "featureTableVersion", FEATURE_TABLE_VERSION);
    vg_json_name(w, "features");
    vg_json_open_array(w);
    for (size_t i = 0; i < card->features->count; i++)
        vg_json_put_string(w, vg_slice_of(features[card->features->index[i]].name));
    vg_json_close_array(w);
}

enum vg_status card_json(const struct card *card, struct vg_buf *out, struct vg_err *err)
{
    struct card_attribute attributes[CARD_ATTRIBUTES];
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "name", vg_slice_of(card->recipe->name));
    vg_json_member_string(&w, "version", vg_slice_of(card->recipe->version));
    vg_json_member_string(&w, "purpose", vg_slice_of(card->recipe->purpose));
    vg_json_member_double(&w, "horizonHours", card->format->horizon_hours);
    vg_json_member_string(&w, "outcome", vg_slice_of(card->format->outcome));
    vg_json_member_string(&w, "label", vg_slice_of(card->format->label));
    vg_json_member_string(&w, "algorithm", VG_SLICE("gradient-boosted trees, XGBoost"));
    vg_json_name(&w, "limits");
    vg_json_open_array(&w);
    for (const char *const *limit = card->recipe->limits; *limit; limit++)
        vg_json_put_string(&w, vg_slice_of(*limit));
    vg_json_close_array(&w);
    put_data(&w, card);
    put_training(&w, card);

    /* Chosen without the test patients, what they mean is read off the test patients. */
    vg_json_name(&w, "thresholds");
    vg_json_open_object(&w);
    put_threshold(&w, "operating", card->operating, 0, chosen_text(card), &card->at_operating);
    put_threshold(&w, "medium", card->medium, BURDEN_MEDIUM, NULL, &card->at_medium);
    put_threshold(&w, "high", card->high, BURDEN_HIGH, NULL, &card->at_high);
    vg_json_member_string(
        &w, "alert",
        VG_SLICE("a row at or above the threshold with none in the patient's 24 h before; true "
                 "when a labelled hour follows within 12 h or has begun"));
    vg_json_close_object(&w);
    put_figures(&w, card);

    card_attributes(card, attributes);
    vg_json_name(&w, "sourceAttributes");
    vg_json_open_array(&w);
    for (size_t i = 0; i < CARD_ATTRIBUTES; i++) {
        vg_json_open_object(&w);
        vg_json_member_string(&w, "group", vg_slice_of(attributes[i].group));
        vg_json_member_string(&w, "attribute", vg_slice_of(attributes[i].name));
        vg_json_member_string(&w, "text", vg_slice_of(attributes[i].text));
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    put_features(&w, card);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
    return vg_buf_ok(out) ? VG_OK
                          : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the card");
}

/* ---- the 31 source attributes ---- */

static const char details[] = "Details and output";
static const char purpose[] = "Purpose";
static const char cautions[] = "Cautioned out-of-scope use";
static const char inputs[] = "Development and input features";
static const char fairness[] = "Fairness in development";
static const char external[] = "External validation";
static const char measures[] = "Measures of performance";
static const char upkeep[] = "Ongoing maintenance";
static const char updates[] = "Update schedule";

VG_PRINTF(4, 5)
static struct card_attribute *add(struct card_attribute *at, const char *group, const char *name,
                                  const char *text, ...)
{
    va_list args;

    at->group = group;
    at->name = name;
    va_start(args, text);
    (void)vsnprintf(at->text, sizeof(at->text), text, args);
    va_end(args);
    return at + 1;
}

void card_attributes(const struct card *card, struct card_attribute *at)
{
    const struct figures *test = &card->at_operating;
    const bool is_icu = card->format->is_by_patient;
    double worst = 1, best = 0;
    char transfer[256] = "not done";

    for (size_t i = 0; i < card->subgroup_count; i++) {
        double auroc = card->subgroups[i].model.row_auroc.value;

        worst = auroc < worst ? auroc : worst;
        best = auroc > best ? auroc : best;
    }
    if (card->has_transfer)
        (void)snprintf(transfer, sizeof(transfer),
                       "trained on hospital A alone, judged on B: AUROC of rows %.3f; trained on "
                       "B, judged on A: %.3f. The shipped model has seen both hospitals",
                       card->transfer[0].row_auroc.value, card->transfer[1].row_auroc.value);

    at = add(at, details, "developer",
             "The Vigil project; questions and reports through the "
             "project's issue tracker.");
    at = add(at, details, "funding", "None declared.");
    at = add(at, details, "value produced",
             "A probability of %s%s, a band (low, medium, high) and, for what is looked at, what "
             "raised and lowered it in words and units.",
             card->format->outcome, is_icu ? "" : " beginning within 6 hours");
    at = add(at, details, "type of output", "Prediction.");
    at = add(at, purpose, "intended use", "%s", card->recipe->purpose);
    at = add(at, purpose, "intended patients", "%s",
             is_icu ? "Adults in intensive care, from the second day."
                    : "Adult inpatients who are monitored; not scored below 18 years.");
    at = add(at, purpose, "intended users",
             "Nurses, doctors and rapid-response teams who can see and examine the patient.");
    at = add(at, purpose, "decision-making role",
             "Informs: it ranks whom to look at next. It replaces no alarm, no NEWS2 and no "
             "judgement.");
    at = add(at, cautions, "cautioned tasks, situations and populations",
             "Not for children, pregnancy, or patients at the end of life; not to rule illness "
             "out; not as a primary alarm; not to decide on treatment or its withdrawal.");
    at = add(at, cautions, "known risks and limits",
             "Not a medical device. Alarm fatigue; false reassurance; learned habits of two "
             "hospitals; see the list of limits.");
    at = add(at, inputs, "inclusion and exclusion",
             "%s. Values outside plausible ranges were left out, no patient was. %zu patients, "
             "%zu with the outcome.",
             card->format->text, card->patients[0] + card->patients[1] + card->patients[2],
             card->positive_patients[0] + card->positive_patients[1] + card->positive_patients[2]);
    at = add(at, inputs, "use of demographic variables",
             "Age and sex are inputs. Race, ethnicity, language, sexual orientation, gender "
             "identity, social determinants and health-status assessments are not: the data do "
             "not have them.");
    at = add(at, inputs, "demographic representativeness",
             "By age band, sex%s: see the subgroups. Race and ethnicity are not recorded, so "
             "representativeness by them is not known.",
             is_icu ? "" : " and hospital");
    at = add(at, inputs, "relevance to the intended setting",
             "Intensive care, hourly charting. General wards measure more rarely, wearable "
             "monitors more often; the features use times and not counts, but no ward data were "
             "seen.");
    at = add(at, fairness, "approach to fair output",
             "No demographic variable besides age and sex; figures are shown by subgroup to "
             "everybody who sees the score.");
    at = add(at, fairness, "approaches to manage bias",
             "Features that know the length of stay are refused by a check; the ages of values, "
             "which carry the staff's worry, and how often something is measured are reported by "
             "ablation. No reweighting was done.");
    at = add(at, external, "external data source", "%s.", transfer);
    at = add(at, external, "party that tested", "The developer; nobody independent yet.");
    at = add(at, external, "representativeness of external data",
             "As the training data's: the same country and years.");
    at = add(at, external, "process of external validation", "%s",
             card->has_transfer ? "Each hospital was held out whole, with the features and "
                                  "parameters of the judged model."
                                : "Not done: a second hospital's records are needed.");
    at = add(at, measures, "validity in test data of the same source",
             "AUROC %.3f (%.3f to %.3f), average precision %.3f (%.3f to %.3f) at a base rate of "
             "%.3f, %zu test patients; calibration slope %.2f, expected to observed %.2f. NEWS2 "
             "on the same rows: AUROC %.3f.",
             test->row_auroc.value, test->row_auroc.low, test->row_auroc.high,
             test->row_precision.value, test->row_precision.low, test->row_precision.high,
             (double)test->positive_rows / (double)test->rows, test->patients, test->slope,
             test->expected, card->rules[DATA_NEWS2].row_auroc.value);
    at = add(at, measures, "fairness in test data of the same source",
             "AUROC by subgroup from %.3f to %.3f: see the subgroups.", worst, best);
    at = add(at, measures, "validity in external data", "%s.", transfer);
    at = add(at, measures, "fairness in external data", "Not done.");
    at = add(at, measures, "evaluation of use on outcomes", "None: it has not been tried in care.");
    at = add(at, upkeep, "monitoring of validity",
             "vigil evaluate on the hospital's own lake whenever wanted; advised monthly, and "
             "before the first live alert.");
    at = add(at, upkeep, "validity in local data",
             "Not known until vigil evaluate has been run on local data.");
    at = add(at, upkeep, "monitoring of fairness",
             "With validity: the same report by the hospital's own groups.");
    at = add(at, upkeep, "fairness in local data", "Not known until evaluated locally.");
    at = add(at, updates, "update process",
             "With releases of the project, each with a new version and card; a hospital can train "
             "on its own lake at any time.");
    (void)add(at, updates, "correction when risks are found",
              "The model is switched off in the configuration (NEWS2 alone goes on), recalibrated "
              "or trained again, and the card says so.");
}
