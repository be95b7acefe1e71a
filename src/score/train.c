/* train.c -- makes a model from labelled hourly records, and judges it on patients it never saw.
 *
 *     rows -> window.c, feature.c (the code that scores live) -> XGBoost -> calibration -> card
 *
 * SPLIT. By patient, never by row: a hash of the patient's id and the seed puts 70 of 100 patients
 * into training, 15 into choosing (when to stop, calibration, thresholds), 15 into the judgement,
 * which chose nothing. FEATURES are the live table: vital signs, age and sex, nothing that
 * knows how long the stay is or what a clinician ordered. LABEL is the file's: 1 from 6 h before
 * the onset of sepsis.
 *
 * SAME BYTES. The same files, seed and number of threads give the same model.json and card.json:
 * no clock, no path and no hash seed of the process goes into them.
 *
 * THRESHOLDS. A band begins where a ward can still answer it: so many alerts for each 100 patient-
 * days. An alert is a row at or above the threshold with none in the patient's 24 h before.
 *
 * MEMORY. About 500 bytes a row; 1.2 million rows need 1.5 GB at the peak.
 */
#include "score/feature.h"
#include "score/measure.h"
#include "score/psv.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xgboost/c_api.h>

#define ROWS_MAX ((size_t)20 * 1000 * 1000)
#define STOP_AFTER_ROUNDS 40
#define REFRACTORY_ROWS 24 /* hours */
#define AHEAD_ROWS 12      /* an alert is true when a labelled hour follows within these */

/* Alerts for each 100 patient-days that the bands are made for. NEWS2 on wards: 1.9 to 5.5. */
#define BURDEN_MEDIUM 10.0
#define BURDEN_HIGH 3.0

enum part { PART_TRAIN, PART_CHOOSE, PART_JUDGE, PART_COUNT };

static const char *const part_names[PART_COUNT] = {"train", "calibrate", "test"};

struct patient_span {
    size_t first, count; /* rows */
    double age_years, sex;
    char hospital;
};

struct set {
    float *rows; /* count * feature_count */
    float *labels, *news2;
    size_t count, capacity;
    struct patient_span *patients;
    size_t patient_count, patient_capacity;
};

struct trainer {
    const struct score_train_config *config;
    struct set sets[PART_COUNT];
    int64_t expiry_us[SCORE_VITAL_COUNT];
    int64_t phase_start_us, told_us;
    BoosterHandle booster;
    DMatrixHandle matrix[2]; /* train, choose */
    int best_round;
    double best_auc;
    double slope, intercept;
};

static void tell(struct trainer *t, const char *phase, double done, bool is_first)
{
    int64_t now_us = vg_mono_us();

    if (is_first)
        t->phase_start_us = now_us;
    if (!t->config->progress || (!is_first && done < 1 && now_us - t->told_us < VG_SECOND_US / 2))
        return;
    t->told_us = now_us;
    t->config->progress(
        t->config->ctx, phase, done,
        done > 0.02 ? (int64_t)((double)(now_us - t->phase_start_us) * (1 - done) / done) : -1);
}

/* ---- reading ---- */

/* Half as much again when full. False: no memory, nothing changed. */
static bool set_grow(struct set *set)
{
    size_t more = set->capacity ? set->capacity + set->capacity / 2 : 1024;
    float *rows, *labels, *news2;

    if (set->count < set->capacity)
        return true;
    rows = realloc(set->rows, more * feature_count * sizeof(*rows));
    set->rows = rows ? rows : set->rows;
    labels = rows ? realloc(set->labels, more * sizeof(*labels)) : NULL;
    set->labels = labels ? labels : set->labels;
    news2 = labels ? realloc(set->news2, more * sizeof(*news2)) : NULL;
    set->news2 = news2 ? news2 : set->news2;
    if (news2)
        set->capacity = more;
    return news2 != NULL;
}

static bool set_grow_patients(struct set *set)
{
    size_t more = set->patient_capacity ? set->patient_capacity * 2 : 256;
    struct patient_span *patients;

    if (set->patient_count < set->patient_capacity)
        return true;
    patients = realloc(set->patients, more * sizeof(*patients));
    if (!patients)
        return false;
    set->patients = patients;
    set->patient_capacity = more;
    return true;
}

static void set_fini(struct set *set)
{
    free(set->rows);
    free(set->labels);
    free(set->news2);
    free(set->patients);
    memset(set, 0, sizeof(*set));
}

/* FNV-1a with the seed mixed in, and a last mix: the split must never change with a library. */
static enum part part_of(const char *patient, uint64_t seed)
{
    uint64_t hash = 14695981039346656037u ^ (seed * 0x9e3779b97f4a7c15u);
    unsigned percent;

    for (; *patient; patient++)
        hash = (hash ^ (uint8_t)*patient) * 1099511628211u;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    percent = (unsigned)(hash % 100);
    return percent < 70 ? PART_TRAIN : percent < 85 ? PART_CHOOSE : PART_JUDGE;
}

/* One hour of one patient goes through the live window, then becomes a row. */
static enum vg_status take_row(struct trainer *t, struct window *window, const struct psv_row *row,
                               enum part part, struct vg_err *err)
{
    struct set *set = &t->sets[part];
    struct patient_span *span;
    struct feature_patient patient = {row->age_years, row->sex};
    int64_t time_us;
    enum vg_status st;

    if (!set_grow(set) || (row->is_new_patient && !set_grow_patients(set)))
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for %zu rows", set->count + 1);
    if (row->is_new_patient) {
        set->patients[set->patient_count++] =
            (struct patient_span){set->count, 0, row->age_years, row->sex, row->hospital};
        window_fini(window);
        window_init(window, 0);
    }
    span = &set->patients[set->patient_count - 1];
    time_us = 10000 * VG_DAY_US + (int64_t)span->count * VG_HOUR_US; /* hours are gapless */
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        struct window_reading reading = {.vital = (enum score_vital)v,
                                         .value = row->value[v],
                                         .time_us = time_us,
                                         .received_us = time_us};

        if (!isnan(row->value[v]) && (st = window_add(window, &reading, err)) != VG_OK)
            return st;
    }
    feature_fill(window, &patient, t->expiry_us, time_us, set->rows + set->count * feature_count);
    set->labels[set->count] = row->label ? 1 : 0;
    set->news2[set->count] = (float)window_news2(window, t->expiry_us, 1, time_us).low;
    set->count++;
    span->count++;
    return VG_OK;
}

static enum vg_status read_files(struct trainer *t, struct vg_err *err)
{
    const struct score_train_config *config = t->config;
    uint64_t seed = config->seed ? config->seed : 1;
    struct window window;
    struct psv *psv = NULL;
    enum vg_status st = VG_OK;
    enum part part = PART_TRAIN;
    size_t row_count = 0;

    window_init(&window, 0);
    tell(t, "reading", 0, true);
    for (size_t i = 0; i < config->file_count && st == VG_OK; i++) {
        struct psv_row row;

        psv_close(psv);
        psv = NULL;
        st = psv_open(config->files[i], &psv, err);
        while (st == VG_OK && (st = psv_next(psv, &row, err)) == VG_OK) {
            if (row.is_new_patient)
                part = part_of(row.patient, seed);
            if (++row_count > ROWS_MAX)
                st = vg_fail(err, VG_REJECT, "train.rows", 0, "more than %zu rows", ROWS_MAX);
            else
                st = take_row(t, &window, &row, part, err);
            if (row_count % 1024 == 0)
                tell(t, "reading", 0.99 * ((double)i + psv_done(psv)) / (double)config->file_count,
                     false);
        }
        if (st == VG_END)
            st = VG_OK;
    }
    psv_close(psv);
    window_fini(&window);
    if (st == VG_OK)
        tell(t, "reading", 1, false);
    return st;
}

/* ---- learning ---- */

static enum vg_status fail_xgboost(struct vg_err *err, const char *what)
{
    const char *text = XGBGetLastError();

    return vg_fail(err, VG_REJECT, "train.xgboost", 0, "XGBoost cannot %s: %.*s", what,
                   (int)strcspn(text, "\n"), text);
}

static enum vg_status make_matrix(struct trainer *t, enum part part, struct vg_err *err)
{
    struct set *set = &t->sets[part];
    const char **names = calloc(feature_count, sizeof(*names));
    enum vg_status st = VG_OK;

    if (!names)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for names");
    for (size_t i = 0; i < feature_count; i++)
        names[i] = features[i].name;
    if (XGDMatrixCreateFromMat(set->rows, set->count, feature_count, NAN, &t->matrix[part]) != 0 ||
        XGDMatrixSetFloatInfo(t->matrix[part], "label", set->labels, set->count) != 0 ||
        XGDMatrixSetStrFeatureInfo(t->matrix[part], "feature_name", names, feature_count) != 0)
        st = fail_xgboost(err, "take the rows");
    free(names);
    /* XGBoost holds its own copy now. */
    free(set->rows);
    set->rows = NULL;
    return st;
}

/* Shallow trees, slow steps, many rows in a leaf: the signal is weak and the two hospitals differ.
 */
static const struct {
    const char *name, *value;
} parameters[] = {
    {"booster", "gbtree"},      {"objective", "binary:logistic"},
    {"eval_metric", "auc"},     {"tree_method", "hist"},
    {"max_depth", "5"},         {"eta", "0.03"},
    {"subsample", "0.7"},       {"colsample_bytree", "0.3"},
    {"min_child_weight", "50"}, {"lambda", "5"},
    {"max_bin", "128"},         {"verbosity", "0"},
};
#define PARAMETER_COUNT (sizeof(parameters) / sizeof(parameters[0]))

static enum vg_status learn(struct trainer *t, struct vg_err *err)
{
    const struct score_train_config *config = t->config;
    int rounds_max = (int)(config->rounds_max ? config->rounds_max : 1000);
    const char *eval_name = "choose";
    BoosterHandle sliced = NULL;
    enum vg_status st;
    char seed[24], threads[16];

    st = make_matrix(t, PART_TRAIN, err);
    if (st == VG_OK)
        st = make_matrix(t, PART_CHOOSE, err);
    if (st != VG_OK)
        return st;
    (void)snprintf(seed, sizeof(seed), "%u", (unsigned)(config->seed ? config->seed : 1));
    (void)snprintf(threads, sizeof(threads), "%u", config->threads ? config->threads : 1);
    if (XGBoosterCreate(t->matrix, 2, &t->booster) != 0)
        return fail_xgboost(err, "start");
    for (size_t i = 0; i < PARAMETER_COUNT; i++) {
        if (XGBoosterSetParam(t->booster, parameters[i].name, parameters[i].value) != 0)
            return fail_xgboost(err, "set a parameter");
    }
    if (XGBoosterSetParam(t->booster, "seed", seed) != 0 ||
        XGBoosterSetParam(t->booster, "nthread", threads) != 0)
        return fail_xgboost(err, "set a parameter");

    t->best_round = 0;
    t->best_auc = -1;
    tell(t, "training", 0, true);
    for (int round = 0; round < rounds_max; round++) {
        const char *evaluation = NULL, *colon;
        double auc;

        if (XGBoosterUpdateOneIter(t->booster, round, t->matrix[PART_TRAIN]) != 0 ||
            XGBoosterEvalOneIter(t->booster, round, &t->matrix[PART_CHOOSE], &eval_name, 1,
                                 &evaluation) != 0)
            return fail_xgboost(err, "train");
        colon = strrchr(evaluation, ':');
        auc = colon ? strtod(colon + 1, NULL) : 0;
        if (auc > t->best_auc) {
            t->best_auc = auc;
            t->best_round = round;
        }
        tell(t, "training", (double)(round + 1) / rounds_max, false);
        if (round - t->best_round >= STOP_AFTER_ROUNDS)
            break;
    }
    tell(t, "training", 1, false);
    if (XGBoosterSlice(t->booster, 0, t->best_round + 1, 1, &sliced) != 0)
        return fail_xgboost(err, "cut the model at its best round");
    (void)XGBoosterFree(t->booster);
    t->booster = sliced;
    return VG_OK;
}

/* Margins of a matrix; the caller frees. */
static enum vg_status margins_of(struct trainer *t, DMatrixHandle matrix, size_t count,
                                 float **ret_margins, struct vg_err *err)
{
    bst_ulong const *shape = NULL;
    bst_ulong dimensions = 0;
    const float *values = NULL;

    if (XGBoosterPredictFromDMatrix(t->booster, matrix,
                                    "{\"type\":1,\"training\":false,\"iteration_begin\":0,"
                                    "\"iteration_end\":0,\"strict_shape\":false}",
                                    &shape, &dimensions, &values) != 0)
        return fail_xgboost(err, "predict");
    *ret_margins = malloc((count ? count : 1) * sizeof(float));
    if (!*ret_margins)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for predictions");
    memcpy(*ret_margins, values, count * sizeof(float));
    return VG_OK;
}

/* ---- judging ---- */

struct burden {
    double per_100_days; /* alerts */
    double precision;    /* of the alerts, how many were true */
    double sensitivity;  /* of the septic patients, how many had an alert in time */
    double lead_hours;   /* median, first alert in time to onset */
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* What a threshold would have meant for the care team. False: no memory. */
static bool burden_of(const struct set *set, const float *scores, float threshold,
                      struct burden *ret)
{
    double *leads = malloc((set->patient_count + 1) * sizeof(*leads));
    size_t alerts = 0, true_alerts = 0, septic = 0, caught = 0;

    if (!leads)
        return false;
    for (size_t p = 0; p < set->patient_count; p++) {
        const struct patient_span *span = &set->patients[p];
        const float *score = scores + span->first, *label = set->labels + span->first;
        size_t first_label = span->count, quiet_until = 0;
        bool is_caught = false;

        for (size_t i = span->count; i-- > 0;)
            first_label = label[i] > 0.5f ? i : first_label;
        septic += first_label < span->count;
        for (size_t i = 0; i < span->count; i++) {
            bool is_true = first_label < span->count && i + AHEAD_ROWS >= first_label;

            if (!(score[i] >= threshold) || i < quiet_until)
                continue;
            quiet_until = i + REFRACTORY_ROWS;
            alerts++;
            true_alerts += is_true;
            if (is_true && !is_caught && i <= first_label + 6) {
                /* The first label stands 6 h before the onset. */
                leads[caught++] = (double)first_label + 6 - (double)i;
                is_caught = true;
            }
        }
    }
    qsort(leads, caught, sizeof(*leads), by_size);
    *ret = (struct burden){
        .per_100_days = set->count ? (double)alerts * 2400 / (double)set->count : 0,
        .precision = alerts ? (double)true_alerts / (double)alerts : (double)NAN,
        .sensitivity = septic ? (double)caught / (double)septic : (double)NAN,
        .lead_hours = caught ? leads[caught / 2] : (double)NAN,
    };
    free(leads);
    return true;
}

static int by_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The lowest score whose alerts stay within `wanted`. */
static bool threshold_for(const struct set *set, const float *scores, double wanted, float *ret)
{
    float *sorted = malloc((set->count + 1) * sizeof(*sorted));
    size_t low = 0, high = set->count;
    bool is_ok = sorted != NULL;

    if (is_ok) {
        memcpy(sorted, scores, set->count * sizeof(*sorted));
        qsort(sorted, set->count, sizeof(*sorted), by_float);
    }
    while (is_ok && low < high) {
        size_t middle = low + (high - low) / 2;
        struct burden burden;

        is_ok = burden_of(set, scores, sorted[middle], &burden);
        if (is_ok && burden.per_100_days > wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (is_ok)
        *ret = set->count == 0 ? 0 : sorted[low < set->count ? low : set->count - 1];
    free(sorted);
    return is_ok;
}

struct ranks {
    size_t rows, patients, positives, septic;
    double row_auroc, row_precision, patient_auroc;
};

/* Ranking of the rows of the patients that `keep` says yes to (NULL = all). */
static bool ranks_of(const struct set *set, const float *scores,
                     bool (*keep)(const struct patient_span *), struct ranks *ret)
{
    float *score = malloc((set->count + 1) * sizeof(*score));
    float *label = malloc((set->count + 1) * sizeof(*label));
    float *most = malloc((set->patient_count + 1) * sizeof(*most));
    float *septic = malloc((set->patient_count + 1) * sizeof(*septic));
    bool is_ok = score && label && most && septic;

    memset(ret, 0, sizeof(*ret));
    for (size_t p = 0; is_ok && p < set->patient_count; p++) {
        const struct patient_span *span = &set->patients[p];

        if (keep && !keep(span))
            continue;
        most[ret->patients] = -INFINITY;
        septic[ret->patients] = 0;
        for (size_t i = span->first; i < span->first + span->count; i++) {
            score[ret->rows] = scores[i];
            label[ret->rows++] = set->labels[i];
            ret->positives += set->labels[i] > 0.5f;
            most[ret->patients] = fmaxf(most[ret->patients], scores[i]);
            septic[ret->patients] = fmaxf(septic[ret->patients], set->labels[i]);
        }
        ret->septic += septic[ret->patients] > 0.5f;
        ret->patients++;
    }
    is_ok = is_ok && measure_auroc(score, label, ret->rows, &ret->row_auroc) &&
            measure_average_precision(score, label, ret->rows, &ret->row_precision) &&
            measure_auroc(most, septic, ret->patients, &ret->patient_auroc);
    free(score);
    free(label);
    free(most);
    free(septic);
    return is_ok;
}

static bool is_a(const struct patient_span *p)
{
    return p->hospital == 'A';
}
static bool is_b(const struct patient_span *p)
{
    return p->hospital == 'B';
}
static bool is_male(const struct patient_span *p)
{
    return p->sex > 0.5;
}
static bool is_female(const struct patient_span *p)
{
    return p->sex < 0.5;
}
static bool is_under_50(const struct patient_span *p)
{
    return p->age_years < 50;
}
static bool is_50_to_70(const struct patient_span *p)
{
    return p->age_years >= 50 && p->age_years < 70;
}
static bool is_70_up(const struct patient_span *p)
{
    return p->age_years >= 70;
}

static const struct {
    const char *name;
    bool (*keep)(const struct patient_span *);
} subgroups[] = {
    {"hospital A", is_a},           {"hospital B", is_b},
    {"female", is_female},          {"male", is_male},
    {"age below 50", is_under_50},  {"age 50 to 69", is_50_to_70},
    {"age 70 and above", is_70_up},
};

/* ---- the card ---- */

/* Four digits are what the data can tell; they also keep the text short. NaN is left out. */
static void put_figure(struct vg_json_writer *w, const char *name, double value)
{
    char text[32];

    if (isnan(value))
        return;
    (void)snprintf(text, sizeof(text), "%.4f", value);
    vg_json_member_raw(w, name, vg_slice_of(text));
}

static void put_ranks(struct vg_json_writer *w, const struct ranks *ranks)
{
    put_figure(w, "rowAuroc", ranks->row_auroc);
    put_figure(w, "rowAveragePrecision", ranks->row_precision);
    put_figure(w, "patientAuroc", ranks->patient_auroc);
}

static void put_burden(struct vg_json_writer *w, const struct burden *burden)
{
    put_figure(w, "alertsPer100PatientDays", burden->per_100_days);
    put_figure(w, "precision", burden->precision);
    put_figure(w, "sensitivity", burden->sensitivity);
    put_figure(w, "medianLeadHours", burden->lead_hours);
}

static void put_texts(struct vg_json_writer *w, const char *name, const char *const *texts)
{
    vg_json_name(w, name);
    vg_json_open_array(w);
    for (; *texts; texts++)
        vg_json_put_string(w, vg_slice_of(*texts));
    vg_json_close_array(w);
}

static const char *const limits[] = {
    "Not a medical device and not a primary alarm. It has not been tried in care.",
    "Trained on intensive care of two hospitals in the United States, hourly charted values that "
    "nurses had checked; monitors on a ward send more often and with more artefacts.",
    "Local validation comes first: run it silently beside NEWS2, then set the thresholds anew.",
    "Sepsis-3 onset as the challenge defined it; other deterioration is not what it learned.",
    "Patients whose label was 1 from their first hour could not have been warned of; they are in "
    "the figures.",
    "Records of septic patients end about 3 h after onset, so figures for rows are kinder than "
    "a whole stay would be; patient figures favour long stays.",
    "The two hospitals measure and chart differently: see the subgroups.",
    "How often a vital sign is measured says something about the nurse's worry, and the ages of "
    "values carry some of that.",
    "Saturation readings err with dark skin; skin tone is not recorded, so this is not measured.",
    "Adults only; pregnancy was not looked at.",
    NULL,
};

static enum vg_status write_card(struct trainer *t, const float *choose, const float *judge,
                                 struct vg_buf *out, struct vg_err *err)
{
    const struct set *judged = &t->sets[PART_JUDGE];
    const struct set *chosen = &t->sets[PART_CHOOSE];
    static const struct {
        const char *name;
        double wanted;
    } bands[] = {{"medium", BURDEN_MEDIUM}, {"high", BURDEN_HIGH}};
    static const float news2_levels[] = {5, 7};
    struct vg_json_writer w;
    struct ranks model, news2, choose_ranks;
    struct burden burden;
    double expected = 0, observed = 0, slope, intercept, brier = 0;
    float *margins = malloc((judged->count + 1) * sizeof(*margins));

    if (!margins || !ranks_of(judged, judge, NULL, &model) ||
        !ranks_of(judged, judged->news2, NULL, &news2) ||
        !ranks_of(chosen, choose, NULL, &choose_ranks)) {
        free(margins);
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to judge the model");
    }
    for (size_t i = 0; i < judged->count; i++) {
        double miss = (double)judge[i] - (double)judged->labels[i];

        expected += (double)judge[i];
        observed += (double)judged->labels[i];
        brier += miss * miss;
        margins[i] = (float)log((double)judge[i] / (1 - (double)judge[i]));
    }
    measure_platt(margins, judged->labels, judged->count, &slope, &intercept);
    free(margins);

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "name", VG_SLICE("sepsis-vitals"));
    vg_json_member_string(&w, "version", VG_SLICE("1"));
    vg_json_member_string(
        &w, "purpose",
        VG_SLICE("Ranks adult inpatients by how likely sepsis begins within 6 hours, from vital "
                 "signs, age and sex, for the care team to look at; shown beside NEWS2."));
    vg_json_member_i64(&w, "horizonHours", 6);
    vg_json_member_string(&w, "label",
                          VG_SLICE("1 from 6 h before the onset of sepsis to the record's end"));
    vg_json_member_string(&w, "algorithm", VG_SLICE("gradient-boosted trees, XGBoost"));

    vg_json_name(&w, "data");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "format", vg_slice_of(t->config->format));
    vg_json_member_string(
        &w, "source",
        VG_SLICE("PhysioNet/CinC Challenge 2019 v1.0.0, training sets A and B, hourly; "
                 "doi 10.13026/v64v-d857; CC BY 4.0"));
    vg_json_member_string(
        &w, "citation",
        VG_SLICE("Reyna MA et al. Early Prediction of Sepsis From Clinical Data: the "
                 "PhysioNet/Computing in Cardiology Challenge 2019. Crit Care Med 2020; "
                 "doi 10.1097/CCM.0000000000004145"));
    vg_json_member_string(
        &w, "split",
        VG_SLICE("by patient, hash of id and seed: 70 % train, 15 % early stopping, calibration "
                 "and thresholds, 15 % test, which chose nothing"));
    for (int part = 0; part < PART_COUNT; part++) {
        const struct set *set = &t->sets[part];
        size_t positives = 0, septic = 0;

        for (size_t p = 0; p < set->patient_count; p++) {
            size_t before = positives;

            for (size_t i = 0; i < set->patients[p].count; i++)
                positives += set->labels[set->patients[p].first + i] > 0.5f;
            septic += positives > before;
        }
        vg_json_name(&w, part_names[part]);
        vg_json_open_object(&w);
        vg_json_member_i64(&w, "patients", (int64_t)set->patient_count);
        vg_json_member_i64(&w, "septicPatients", (int64_t)septic);
        vg_json_member_i64(&w, "rows", (int64_t)set->count);
        vg_json_member_i64(&w, "positiveRows", (int64_t)positives);
        vg_json_close_object(&w);
    }
    vg_json_close_object(&w);

    vg_json_name(&w, "training");
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "seed", (int64_t)(t->config->seed ? t->config->seed : 1));
    vg_json_member_i64(&w, "threads", t->config->threads ? t->config->threads : 1);
    vg_json_member_i64(&w, "trees", t->best_round + 1);
    vg_json_name(&w, "parameters");
    vg_json_open_object(&w);
    for (size_t i = 0; i < PARAMETER_COUNT; i++)
        vg_json_member_string(&w, parameters[i].name, vg_slice_of(parameters[i].value));
    vg_json_close_object(&w);
    vg_json_close_object(&w);

    vg_json_name(&w, "calibration");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "method", VG_SLICE("Platt, on the calibration patients"));
    vg_json_member_double(&w, "slope", t->slope);
    vg_json_member_double(&w, "intercept", t->intercept);
    vg_json_close_object(&w);

    /* Chosen on the calibration patients, what they mean is read off the test patients. */
    vg_json_name(&w, "thresholds");
    vg_json_open_object(&w);
    for (size_t i = 0; i < 2; i++) {
        float threshold = 0;

        if (!threshold_for(chosen, choose, bands[i].wanted, &threshold) ||
            !burden_of(judged, judge, threshold, &burden))
            return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to judge the model");
        vg_json_name(&w, bands[i].name);
        vg_json_open_object(&w);
        vg_json_member_double(&w, "probability", (double)threshold);
        vg_json_member_double(&w, "wantedAlertsPer100PatientDays", bands[i].wanted);
        vg_json_name(&w, "test");
        vg_json_open_object(&w);
        put_burden(&w, &burden);
        vg_json_close_object(&w);
        vg_json_close_object(&w);
    }
    vg_json_member_string(
        &w, "alert",
        VG_SLICE(
            "a row at or above the threshold with none in the patient's 24 h before; true when "
            "a labelled hour follows within 12 h or has begun"));
    vg_json_close_object(&w);

    vg_json_name(&w, "figures");
    vg_json_open_object(&w);
    vg_json_name(&w, "test");
    vg_json_open_object(&w);
    put_ranks(&w, &model);
    put_figure(&w, "baseRate", observed / (double)judged->count);
    put_figure(&w, "expectedToObserved", expected / observed);
    put_figure(&w, "calibrationSlope", slope);
    put_figure(&w, "brier", brier / (double)judged->count);
    vg_json_close_object(&w);
    vg_json_name(&w, "calibrate");
    vg_json_open_object(&w);
    put_ranks(&w, &choose_ranks);
    vg_json_close_object(&w);
    vg_json_name(&w, "news2");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "what",
                          VG_SLICE("NEWS2, lower bound, on the same test rows; consciousness and "
                                   "oxygen are not in the data"));
    put_ranks(&w, &news2);
    for (size_t i = 0; i < 2; i++) {
        if (!burden_of(judged, judged->news2, news2_levels[i], &burden))
            return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to judge the model");
        vg_json_name(&w, i == 0 ? "at5" : "at7");
        vg_json_open_object(&w);
        put_burden(&w, &burden);
        vg_json_close_object(&w);
    }
    vg_json_close_object(&w);
    vg_json_name(&w, "subgroups");
    vg_json_open_array(&w);
    for (size_t i = 0; i < sizeof(subgroups) / sizeof(subgroups[0]); i++) {
        struct ranks of_model, of_news2;

        if (!ranks_of(judged, judge, subgroups[i].keep, &of_model) ||
            !ranks_of(judged, judged->news2, subgroups[i].keep, &of_news2))
            return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to judge the model");
        if (of_model.patients == 0)
            continue;
        vg_json_open_object(&w);
        vg_json_member_string(&w, "name", vg_slice_of(subgroups[i].name));
        vg_json_member_i64(&w, "patients", (int64_t)of_model.patients);
        vg_json_member_i64(&w, "septicPatients", (int64_t)of_model.septic);
        put_ranks(&w, &of_model);
        put_figure(&w, "news2RowAuroc", of_news2.row_auroc);
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);

    put_texts(&w, "limits", limits);
    vg_json_name(&w, "features");
    vg_json_open_array(&w);
    for (size_t i = 0; i < feature_count; i++)
        vg_json_put_string(&w, vg_slice_of(features[i].name));
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
    return vg_buf_ok(out) ? VG_OK
                          : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the card");
}

static enum vg_status save(struct trainer *t, struct vg_slice card, struct vg_err *err)
{
    const char *json = NULL;
    bst_ulong len = 0;
    char path[4096];
    enum vg_status st = vg_dir_make(t->config->out_dir, err);

    if (st != VG_OK)
        return st;
    if (XGBoosterSaveModelToBuffer(t->booster, "{\"format\":\"json\"}", &len, &json) != 0)
        return fail_xgboost(err, "write the model");
    if ((size_t)snprintf(path, sizeof(path), "%s/model.json", t->config->out_dir) >= sizeof(path))
        return vg_fail(err, VG_REJECT, "train.out", 0, "the path is too long");
    st = vg_file_write(path, (struct vg_slice){json, len}, 0644, err);
    if (st != VG_OK)
        return st;
    (void)snprintf(path, sizeof(path), "%s/card.json", t->config->out_dir);
    return vg_file_write(path, card, 0644, err);
}

static void to_probabilities(const struct trainer *t, float *margins, size_t count)
{
    for (size_t i = 0; i < count; i++)
        margins[i] = (float)measure_logistic(t->slope * (double)margins[i] + t->intercept);
}

enum vg_status score_train(const struct score_train_config *config, struct vg_buf *ret_card,
                           struct vg_err *err)
{
    struct trainer t = {.config = config};
    float *choose = NULL, *judge = NULL;
    DMatrixHandle judged = NULL;
    struct vg_buf card;
    enum vg_status st;

    vg_buf_init(&card, 1 << 20);
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        t.expiry_us[v] = vitals[v].expiry_us;
    if (strcmp(config->format, "physionet2019") != 0) {
        st = vg_fail(err, VG_REJECT, "train.format", 0, "no format '%s'; there is physionet2019",
                     config->format);
        goto done;
    }
    st = read_files(&t, err);
    for (int part = 0; part < PART_COUNT && st == VG_OK; part++) {
        bool has[2] = {false, false};

        for (size_t i = 0; i < t.sets[part].count; i++)
            has[t.sets[part].labels[i] > 0.5f] = true;
        if (!has[0] || !has[1])
            st = vg_fail(err, VG_REJECT, "train.rows", 0,
                         "the %s patients (%zu) need rows of both labels: more patients are needed",
                         part_names[part], t.sets[part].patient_count);
    }
    if (st == VG_OK)
        st = learn(&t, err);
    if (st != VG_OK)
        goto done;

    tell(&t, "judging", 0, true);
    st = margins_of(&t, t.matrix[PART_CHOOSE], t.sets[PART_CHOOSE].count, &choose, err);
    if (st != VG_OK)
        goto done;
    measure_platt(choose, t.sets[PART_CHOOSE].labels, t.sets[PART_CHOOSE].count, &t.slope,
                  &t.intercept);
    to_probabilities(&t, choose, t.sets[PART_CHOOSE].count);

    if (XGDMatrixCreateFromMat(t.sets[PART_JUDGE].rows, t.sets[PART_JUDGE].count, feature_count,
                               NAN, &judged) != 0) {
        st = fail_xgboost(err, "take the rows");
        goto done;
    }
    st = margins_of(&t, judged, t.sets[PART_JUDGE].count, &judge, err);
    if (st != VG_OK)
        goto done;
    to_probabilities(&t, judge, t.sets[PART_JUDGE].count);
    st = write_card(&t, choose, judge, &card, err);
    if (st == VG_OK)
        st = save(&t, vg_buf_slice(&card), err);
    if (st == VG_OK && ret_card)
        vg_buf_put(ret_card, vg_buf_slice(&card));
    tell(&t, "judging", 1, false);
done:
    for (int part = 0; part < PART_COUNT; part++)
        set_fini(&t.sets[part]);
    for (int i = 0; i < 2; i++) {
        if (t.matrix[i])
            (void)XGDMatrixFree(t.matrix[i]);
    }
    if (judged)
        (void)XGDMatrixFree(judged);
    if (t.booster)
        (void)XGBoosterFree(t.booster);
    free(choose);
    free(judge);
    vg_buf_fini(&card);
    return st;
}
