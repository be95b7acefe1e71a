/* judge.c -- discrimination, calibration, the challenge's utility, burden; with intervals.
 *
 * INTERVALS are of patients, not of rows: a sample takes patients with replacement, and a row
 * counts as often as its patient was taken. Rows are sorted once; each sample is one pass over
 * them. The 2.5th and 97.5th percentiles of the samples are reported.
 *
 * UTILITY is the published rule of the Challenge of 2019 (Reyna et al. 2020), in our words: onset
 * is 6 h after the first labelled hour. A prediction from 12 h to 6 h before onset earns from 0 up
 * to 1 and from there to 3 h after onset falls back to 0; none from 6 h before to 3 h after costs
 * from 0 to 2; later hours count nothing. A prediction more than 12 h before onset, or for a
 * patient without sepsis, costs 0.05. The sum is put on a scale where no prediction at all is 0 and
 * the best possible is 1.
 */
#include "score/judge.h"

#include "score/measure.h"

#include <math.h>
#include <stdlib.h>

#define REFRACTORY_ROWS 24 /* hours */
#define AHEAD_ROWS 12
#define ONSET_ROWS 6 /* from the first label to the onset */
#define SAMPLES_MAX 1000

struct ranked {
    float score;
    uint32_t patient; /* among those kept */
    bool is_positive;
};

/* What a patient adds to the sums that intervals are made of. */
struct share {
    double utility, best, none;
    double rows, alerts, true_alerts, is_positive, is_caught;
};

struct bench {
    const struct judge_config *config;
    struct ranked *rows, *patients;
    size_t row_count, patient_count;
    struct share *shares;
    double *leads;
    size_t lead_count;
    uint16_t *weights; /* how often each patient counts */
};

static bool is_kept(const struct judge_config *config, size_t patient)
{
    return !config->keep || config->keep[patient] == config->part;
}

static int by_score_down(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static size_t first_label(const struct data *data, const struct data_patient *patient)
{
    size_t i = 0;

    while (i < patient->count && data->labels[patient->first + i] <= 0.5f)
        i++;
    return i;
}

double judge_utility_of(size_t row, size_t first, size_t count, bool is_alert)
{
    double after = (double)row - (double)(first + ONSET_ROWS); /* hours after the onset */

    if (first == count)
        return is_alert ? -0.05 : 0;
    if (after > 3)
        return 0;
    if (is_alert)
        return after <= -6 ? fmax((after + 12) / 6, -0.05) : (3 - after) / 9;
    return after <= -6 ? 0 : -2 * (after + 6) / 9;
}

static void share_of(const struct bench *bench, const struct data_patient *patient,
                     struct share *ret, double *ret_lead)
{
    const struct judge_config *config = bench->config;
    const float *scores = config->scores + patient->first;
    size_t first = first_label(config->data, patient), quiet_until = 0;
    bool is_positive = first < patient->count;

    *ret = (struct share){.rows = (double)patient->count, .is_positive = is_positive};
    *ret_lead = (double)NAN;
    for (size_t i = 0; i < patient->count; i++) {
        bool is_alert = (double)scores[i] >= config->threshold;
        bool is_true = is_positive && (i + AHEAD_ROWS >= first);
        bool is_best = is_positive && i + 12 >= first + ONSET_ROWS && i <= first + ONSET_ROWS + 3;

        ret->utility += judge_utility_of(i, first, patient->count, is_alert);
        ret->best += judge_utility_of(i, first, patient->count, is_best);
        ret->none += judge_utility_of(i, first, patient->count, false);
        if (!is_alert || i < quiet_until)
            continue;
        quiet_until = i + REFRACTORY_ROWS;
        ret->alerts++;
        ret->true_alerts += is_true;
        if (is_true && ret->is_caught < 0.5 && i <= first + ONSET_ROWS) {
            ret->is_caught = 1;
            *ret_lead = (double)(first + ONSET_ROWS) - (double)i;
        }
    }
}

static void bench_fini(struct bench *bench)
{
    free(bench->rows);
    free(bench->patients);
    free(bench->shares);
    free(bench->leads);
    free(bench->weights);
}

static bool bench_init(struct bench *bench, const struct judge_config *config)
{
    const struct data *data = config->data;
    bool by_patient = data->format->is_by_patient;

    *bench = (struct bench){.config = config};
    bench->rows = calloc(data->count + 1, sizeof(*bench->rows));
    bench->patients = calloc(data->patient_count + 1, sizeof(*bench->patients));
    bench->shares = calloc(data->patient_count + 1, sizeof(*bench->shares));
    bench->leads = calloc(data->patient_count + 1, sizeof(*bench->leads));
    bench->weights = calloc(data->patient_count + 1, sizeof(*bench->weights));
    if (!bench->rows || !bench->patients || !bench->shares || !bench->leads || !bench->weights)
        return false;
    for (size_t p = 0; p < data->patient_count; p++) {
        const struct data_patient *patient = &data->patients[p];
        uint32_t index = (uint32_t)bench->patient_count;
        struct ranked most = {-INFINITY, index, false};
        double lead;

        if (!is_kept(config, p) || patient->count == 0)
            continue;
        for (size_t i = patient->first; i < patient->first + patient->count; i++) {
            bool is_positive = data->labels[i] > 0.5f;
            bool is_last = i + 1 == patient->first + patient->count;

            if (!by_patient || is_last)
                bench->rows[bench->row_count++] =
                    (struct ranked){config->scores[i], index, is_positive};
            if (!by_patient || is_last)
                most.score = fmaxf(most.score, config->scores[i]);
            most.is_positive |= is_positive;
        }
        share_of(bench, patient, &bench->shares[index], &lead);
        if (!isnan(lead))
            bench->leads[bench->lead_count++] = lead;
        bench->weights[index] = 1;
        bench->patients[bench->patient_count++] = most;
    }
    qsort(bench->rows, bench->row_count, sizeof(*bench->rows), by_score_down);
    qsort(bench->patients, bench->patient_count, sizeof(*bench->patients), by_score_down);
    return true;
}

/* Area under the curve and average precision with the patients' weights; ties share. */
static void areas(const struct bench *bench, const struct ranked *ranked, size_t count,
                  double *ret_auroc, double *ret_precision)
{
    double positives = 0, negatives = 0, area = 0, precision = 0;

    for (size_t i = 0; i < count;) {
        double tied_positives = 0, tied_negatives = 0;
        const float score = ranked[i].score;

        for (; i < count && ranked[i].score >= score; i++) {
            if (ranked[i].is_positive)
                tied_positives += bench->weights[ranked[i].patient];
            else
                tied_negatives += bench->weights[ranked[i].patient];
        }
        area += tied_negatives * (positives + tied_positives / 2);
        positives += tied_positives;
        negatives += tied_negatives;
        if (tied_positives > 0)
            precision += tied_positives * positives / (positives + negatives);
    }
    *ret_auroc = positives > 0 && negatives > 0 ? area / (positives * negatives) : (double)NAN;
    *ret_precision = positives > 0 ? precision / positives : (double)NAN;
}

enum { ROW_AUROC, ROW_PRECISION, PATIENT_AUROC, UTILITY, ALERTS, PRECISION, SENSITIVITY, FIGURES };

static void sample_figures(const struct bench *bench, double *ret)
{
    struct share sum = {0};
    double unused;

    areas(bench, bench->rows, bench->row_count, &ret[ROW_AUROC], &ret[ROW_PRECISION]);
    areas(bench, bench->patients, bench->patient_count, &ret[PATIENT_AUROC], &unused);
    for (size_t p = 0; p < bench->patient_count; p++) {
        const struct share *share = &bench->shares[p];
        double weight = bench->weights[p];

        sum.utility += weight * share->utility;
        sum.best += weight * share->best;
        sum.none += weight * share->none;
        sum.rows += weight * share->rows;
        sum.alerts += weight * share->alerts;
        sum.true_alerts += weight * share->true_alerts;
        sum.is_positive += weight * share->is_positive;
        sum.is_caught += weight * share->is_caught;
    }
    ret[UTILITY] = bench->config->data->format->has_utility && sum.best > sum.none
                       ? (sum.utility - sum.none) / (sum.best - sum.none)
                       : (double)NAN;
    ret[ALERTS] = sum.rows > 0 ? sum.alerts * 2400 / sum.rows : (double)NAN;
    ret[PRECISION] = sum.alerts > 0 ? sum.true_alerts / sum.alerts : (double)NAN;
    ret[SENSITIVITY] = sum.is_positive > 0 ? sum.is_caught / sum.is_positive : (double)NAN;
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool intervals(struct bench *bench, struct figure *const *figures)
{
    unsigned samples =
        bench->config->bootstrap < SAMPLES_MAX ? bench->config->bootstrap : SAMPLES_MAX;
    double(*drawn)[SAMPLES_MAX] = calloc(FIGURES, sizeof(*drawn));
    uint64_t state = bench->config->seed ? bench->config->seed : 1;
    double of_sample[FIGURES];

    if (!drawn)
        return false;
    for (unsigned s = 0; s < samples; s++) {
        memset(bench->weights, 0, bench->patient_count * sizeof(*bench->weights));
        for (size_t p = 0; p < bench->patient_count; p++)
            bench->weights[random_next(&state) % bench->patient_count]++;
        sample_figures(bench, of_sample);
        for (int f = 0; f < FIGURES; f++)
            drawn[f][s] = of_sample[f];
    }
    for (int f = 0; f < FIGURES; f++) {
        if (isnan(figures[f]->value))
            continue;
        qsort(drawn[f], samples, sizeof(drawn[f][0]), by_size);
        figures[f]->low = drawn[f][(size_t)(0.025 * samples)];
        figures[f]->high = drawn[f][(size_t)(0.975 * samples)];
    }
    free(drawn);
    return true;
}

static bool calibration(const struct bench *bench, struct figures *ret)
{
    float *margins = malloc((bench->row_count + 1) * sizeof(*margins));
    float *labels = malloc((bench->row_count + 1) * sizeof(*labels));
    double expected = 0, observed = 0, squares = 0;

    if (margins && labels) {
        for (size_t i = 0; i < bench->row_count; i++) {
            double p = (double)bench->rows[i].score, miss;

            labels[i] = bench->rows[i].is_positive;
            miss = p - (double)labels[i];
            p = p < 1e-7 ? 1e-7 : p > 1 - 1e-7 ? 1 - 1e-7 : p;
            margins[i] = (float)log(p / (1 - p));
            expected += p;
            observed += (double)labels[i];
            squares += miss * miss;
        }
        measure_platt(margins, labels, bench->row_count, &ret->slope, &ret->intercept);
        ret->expected = observed > 0 ? expected / observed : (double)NAN;
        ret->brier = squares / (double)bench->row_count;
    }
    free(margins);
    free(labels);
    return margins && labels;
}

enum vg_status judge(const struct judge_config *config, struct figures *ret, struct vg_err *err)
{
    struct bench bench;
    struct figure *const figures[FIGURES] = {
        &ret->row_auroc,           &ret->row_precision,    &ret->patient_auroc,     &ret->utility,
        &ret->burden.per_100_days, &ret->burden.precision, &ret->burden.sensitivity};
    double values[FIGURES];
    bool is_ok = bench_init(&bench, config);

    *ret = (struct figures){.slope = (double)NAN,
                            .intercept = (double)NAN,
                            .expected = (double)NAN,
                            .brier = (double)NAN};
    if (is_ok && bench.row_count > 0) {
        sample_figures(&bench, values);
        for (int f = 0; f < FIGURES; f++)
            *figures[f] = (struct figure){values[f], (double)NAN, (double)NAN};
        ret->rows = bench.row_count;
        ret->patients = bench.patient_count;
        for (size_t i = 0; i < bench.row_count; i++)
            ret->positive_rows += bench.rows[i].is_positive;
        for (size_t p = 0; p < bench.patient_count; p++)
            ret->positive_patients += bench.patients[p].is_positive;
        qsort(bench.leads, bench.lead_count, sizeof(*bench.leads), by_size);
        ret->burden.lead_hours = bench.lead_count && !config->data->format->is_by_patient
                                     ? bench.leads[bench.lead_count / 2]
                                     : (double)NAN;
        if (config->is_probability)
            is_ok = calibration(&bench, ret);
        if (is_ok && config->bootstrap > 0)
            is_ok = intervals(&bench, figures);
    }
    bench_fini(&bench);
    return is_ok ? VG_OK : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to judge");
}

/* ---- thresholds ---- */

struct gain {
    float score;
    double gain;
    bool is_positive;
};

static int by_gain_score_down(const void *a, const void *b)
{
    const struct gain *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

enum vg_status judge_best_threshold(const struct judge_config *config, double *ret,
                                    struct vg_err *err)
{
    const struct data *data = config->data;
    struct gain *gains = calloc(data->count + 1, sizeof(*gains));
    double sum = 0, best = -INFINITY, positives = 0, caught = 0;
    size_t count = 0;

    if (!gains)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to choose a threshold");
    for (size_t p = 0; p < data->patient_count; p++) {
        const struct data_patient *patient = &data->patients[p];
        size_t first = first_label(data, patient);

        if (!is_kept(config, p) || patient->count == 0)
            continue;
        for (size_t i = 0; i < patient->count; i++) {
            struct gain gain = {config->scores[patient->first + i],
                                judge_utility_of(i, first, patient->count, true) -
                                    judge_utility_of(i, first, patient->count, false),
                                data->labels[patient->first + i] > 0.5f};

            if (data->format->is_by_patient && i + 1 < patient->count)
                continue;
            positives += gain.is_positive;
            gains[count++] = gain;
        }
    }
    qsort(gains, count, sizeof(*gains), by_gain_score_down);
    *ret = 1;
    for (size_t i = 0; i < count; i++) {
        double worth;

        sum += gains[i].gain;
        caught += gains[i].is_positive;
        if (i + 1 < count && gains[i + 1].score >= gains[i].score)
            continue; /* ties go together */
        worth =
            data->format->has_utility ? sum : fmin(caught / (double)(i + 1), caught / positives);
        if (worth > best) {
            best = worth;
            *ret = (double)gains[i].score;
        }
    }
    free(gains);
    return VG_OK;
}

static int by_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

enum vg_status judge_threshold_for(const struct judge_config *config, double wanted, double *ret,
                                   struct vg_err *err)
{
    const struct data *data = config->data;
    float *sorted = malloc((data->count + 1) * sizeof(*sorted));
    size_t count = 0, low = 0, high;

    if (!sorted)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to choose a threshold");
    for (size_t p = 0; p < data->patient_count; p++) {
        if (!is_kept(config, p))
            continue;
        memcpy(sorted + count, config->scores + data->patients[p].first,
               data->patients[p].count * sizeof(*sorted));
        count += data->patients[p].count;
    }
    qsort(sorted, count, sizeof(*sorted), by_float);
    high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct judge_config at = *config;
        struct bench bench = {.config = &at};
        double alerts = 0, rows = 0, lead;

        at.threshold = (double)sorted[middle];
        for (size_t p = 0; p < data->patient_count; p++) {
            struct share share;

            if (!is_kept(config, p))
                continue;
            share_of(&bench, &data->patients[p], &share, &lead);
            alerts += share.alerts;
            rows += share.rows;
        }
        if (rows > 0 && alerts * 2400 / rows > wanted)
            low = middle + 1;
        else
            high = middle;
    }
    *ret = count == 0 ? 1 : (double)sorted[low < count ? low : count - 1];
    free(sorted);
    return VG_OK;
}

/* ---- curves ---- */

enum vg_status judge_curves(const struct judge_config *config, struct curves *ret,
                            struct vg_err *err)
{
    struct bench bench;
    double positives = 0, seen = 0, caught = 0;
    size_t next = 0;
    enum vg_status st = VG_OK;

    memset(ret, 0, sizeof(*ret));
    if (!bench_init(&bench, config)) {
        bench_fini(&bench);
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for curves");
    }
    for (size_t i = 0; i < bench.row_count; i++)
        positives += bench.rows[i].is_positive;
    /* A hundred points, at equal steps of the false positive rate and of the sensitivity. */
    for (size_t i = 0; i < bench.row_count && positives > 0; i++) {
        double negatives = (double)bench.row_count - positives;

        seen++;
        caught += bench.rows[i].is_positive;
        if (i + 1 < bench.row_count && bench.rows[i + 1].score >= bench.rows[i].score)
            continue;
        if (ret->roc.count < 101 && (seen - caught) / negatives >= (double)ret->roc.count / 100) {
            ret->roc.x[ret->roc.count] = (seen - caught) / negatives;
            ret->roc.y[ret->roc.count++] = caught / positives;
        }
        if (ret->precision.count < 101 && caught > 0 &&
            caught / positives >= (double)ret->precision.count / 100) {
            ret->precision.x[ret->precision.count] = caught / positives;
            ret->precision.y[ret->precision.count++] = caught / seen;
        }
    }
    /* Ten groups of equal size, from low to high. */
    for (size_t group = 0; group < 10 && config->is_probability; group++) {
        size_t end = bench.row_count * (group + 1) / 10, n = end - next;
        double expected = 0, observed = 0;

        for (; next < end; next++) {
            const struct ranked *row = &bench.rows[bench.row_count - 1 - next];

            expected += (double)row->score;
            observed += row->is_positive;
        }
        if (n > 0) {
            ret->calibration.x[ret->calibration.count] = expected / (double)n;
            ret->calibration.y[ret->calibration.count++] = observed / (double)n;
        }
    }
    for (size_t i = 0; i < 24 && st == VG_OK; i++) {
        struct judge_config at = *config;
        struct figures figures;

        st = judge_threshold_for(config, 0.5 * pow(1.3, (double)i), &at.threshold, err);
        at.bootstrap = 0;
        at.is_probability = false;
        if (st == VG_OK)
            st = judge(&at, &figures, err);
        if (st == VG_OK && !isnan(figures.burden.sensitivity.value)) {
            ret->burden.x[ret->burden.count] = figures.burden.per_100_days.value;
            ret->burden.y[ret->burden.count++] = figures.burden.sensitivity.value;
        }
    }
    bench_fini(&bench);
    return st;
}
