/* watch_outcome.c -- what became of patients, and whether the probabilities were true.
 *
 * OUTCOMES are given by the hospital (`vigil model outcomes`): text with commas,
 *
 *   patient,time,outcome
 *   p1,2026-03-14T10:00:00Z,1       the outcome was established at this time
 *   p2,2026-03-20T08:00:00Z,0       followed up to here: it did not happen
 *
 * one line a patient. Who is not listed is not counted: "not listed" is not "nothing happened".
 *
 * LABELS. A row is 1 where the outcome came within the model's horizon after it, 0 where the
 * patient was followed for the horizon without it. Rows after the outcome, and rows whose horizon
 * is not over, are left out. Of a model with one outcome for each stay (its card's data.format)
 * the patient's last row is judged, as in training.
 *
 * FIGURES are judge.c's, which judged the model when it was made.
 */
#include "score/watch_int.h"

#include "score/lines.h"
#include "score/measure.h"
#include "score/source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENTS_MAX 500000
#define SAMPLES 200
#define QUERY_PATIENTS 500 /* in one question to the lake, whose memory is small */
#define SLOPE_TOLD_MAX 50
#define ROWS_MAX ((size_t)4 << 20)

/* ---- the file ---- */

static bool is_id(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.'))
            return false;
    }
    return text.len > 0 && text.len < WINDOW_ID_SIZE;
}

static enum vg_status take_line(struct watch_outcomes *outcomes, const struct lines *lines,
                                struct vg_slice line, struct vg_err *err)
{
    struct vg_slice rest = vg_slice_trim(line), id, time;
    struct watch_outcome *outcome;
    const char *what = NULL;
    bool is_ok = true;

    if (rest.len == 0)
        return VG_OK;
    id = vg_slice_trim(vg_slice_cut(&rest, ','));
    time = vg_slice_trim(vg_slice_cut(&rest, ','));
    rest = vg_slice_trim(rest);
    outcome = vg_arena_alloc(&outcomes->arena, sizeof(*outcome));
    if (!outcome || outcomes->by_patient.count == PATIENTS_MAX)
        return vg_fail(err, VG_REJECT, "score.outcomes", 0, "more than %d patients", PATIENTS_MAX);
    if (!is_id(id))
        what = "expected a FHIR id of a patient";
    else if (!vg_time_parse(time, &outcome->time_us, NULL))
        what = "expected a date-time";
    else if (!vg_slice_is(rest, "0") && !vg_slice_is(rest, "1"))
        what = "expected 0 or 1 as the outcome";
    else if (vg_map_get(&outcomes->by_patient, id))
        what = "this patient is listed twice";
    if (what)
        return vg_fail(err, VG_REJECT, "score.outcomes", 0, "line %llu: %s",
                       (unsigned long long)lines_number(lines), what);
    outcome->has_happened = vg_slice_is(rest, "1");
    outcomes->events += outcome->has_happened;
    (void)vg_map_put(&outcomes->by_patient, id, outcome, &is_ok);
    return is_ok ? VG_OK : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for outcomes");
}

enum vg_status outcomes_read(const char *path, struct watch_outcomes *ret, struct vg_err *err)
{
    struct lines *lines = NULL;
    struct vg_slice line;
    struct vg_err why = {0};
    enum vg_status st;

    *ret = (struct watch_outcomes){0};
    vg_arena_init(&ret->arena, (size_t)64 << 20);
    vg_map_init(&ret->by_patient);
    st = lines_open(path, &lines, &why);
    if (st != VG_OK)
        return vg_fail(err, VG_REJECT, "score.outcomes", why.sys_errno, "%s", why.text);
    st = lines_next(lines, &line, &why);
    if (st == VG_END || (st == VG_OK && !vg_slice_is(vg_slice_trim(line), "patient,time,outcome")))
        st = vg_fail(err, VG_REJECT, "score.outcomes", 0, "line 1: expected patient,time,outcome");
    while (st == VG_OK && (st = lines_next(lines, &line, &why)) == VG_OK)
        st = take_line(ret, lines, line, err);
    if (st != VG_OK && st != VG_END && why.code)
        st = vg_fail(err, VG_REJECT, "score.outcomes", why.sys_errno, "%s", why.text);
    lines_close(lines);
    return st == VG_END ? VG_OK : st;
}

void outcomes_fini(struct watch_outcomes *outcomes)
{
    vg_map_fini(&outcomes->by_patient, NULL);
    vg_arena_fini(&outcomes->arena);
}

int outcomes_label(const struct watch_outcome *outcome, int64_t row_us, int64_t horizon_us,
                   bool is_by_patient)
{
    if (row_us > outcome->time_us)
        return -1;
    if (is_by_patient)
        return outcome->has_happened;
    if (outcome->time_us - row_us <= horizon_us)
        return outcome->has_happened ? 1 : -1;
    return 0;
}

/* ---- calibration ---- */

struct gathering {
    const struct watch_outcomes *outcomes;
    struct data data;
    float *probabilities;
    size_t capacity, patient_capacity, events;
    int64_t horizon_us;
};

static bool grow(struct gathering *g)
{
    size_t more = g->capacity ? g->capacity * 2 : 4096;
    float *labels, *probabilities;

    if (g->data.count < g->capacity)
        return true;
    labels = more > ROWS_MAX ? NULL : realloc(g->data.labels, more * sizeof(*labels));
    g->data.labels = labels ? labels : g->data.labels;
    probabilities = labels ? realloc(g->probabilities, more * sizeof(*probabilities)) : NULL;
    g->probabilities = probabilities ? probabilities : g->probabilities;
    g->capacity = probabilities ? more : g->capacity;
    return probabilities != NULL;
}

static enum vg_status gather(void *ctx, const struct watch_scores *scores, struct vg_err *err)
{
    struct gathering *g = ctx;
    const struct watch_outcome *outcome =
        vg_map_get(&g->outcomes->by_patient, vg_slice_of(scores->patient));
    struct data_patient patient = {
        .first = g->data.count, .age_years = (double)NAN, .sex = (double)NAN};

    if (!outcome)
        return VG_OK;
    for (size_t i = 0; i < scores->count; i++) {
        int label = outcomes_label(outcome, scores->hours[i] * VG_HOUR_US, g->horizon_us,
                                   g->data.format->is_by_patient);

        if (label < 0)
            continue;
        if (!grow(g))
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to judge");
        g->data.labels[g->data.count] = (float)label;
        g->probabilities[g->data.count++] = (float)scores->probabilities[i];
        patient.count++;
    }
    if (patient.count == 0)
        return VG_OK;
    if (g->data.patient_count == g->patient_capacity) {
        size_t more = g->patient_capacity ? g->patient_capacity * 2 : 256;
        struct data_patient *patients = realloc(g->data.patients, more * sizeof(*patients));

        if (!patients)
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to judge");
        g->data.patients = patients;
        g->patient_capacity = more;
    }
    g->data.patients[g->data.patient_count++] = patient;
    g->events += outcome->has_happened;
    return VG_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Where expected to observed lies in 95 of 100 samples of the patients. */
static void interval(const struct gathering *g, struct watch_calibration *ret)
{
    const struct data *data = &g->data;
    double ratios[SAMPLES];
    uint64_t state = 1;
    size_t count = 0;

    for (size_t s = 0; s < SAMPLES; s++) {
        double expected = 0, observed = 0;

        for (size_t n = 0; n < data->patient_count; n++) {
            const struct data_patient *p;

            state = state * 6364136223846793005u + 1442695040888963407u;
            p = &data->patients[(state >> 33) % data->patient_count];
            for (size_t i = data->format->is_by_patient ? p->count - 1 : 0; i < p->count; i++) {
                expected += (double)g->probabilities[p->first + i];
                observed += (double)data->labels[p->first + i];
            }
        }
        if (observed > 0)
            ratios[count++] = expected / observed;
    }
    ret->expected_low = ret->expected_high = (double)NAN;
    if (count < SAMPLES / 2)
        return;
    qsort(ratios, count, sizeof(ratios[0]), by_value);
    ret->expected_low = ratios[(size_t)(0.025 * (double)count)];
    ret->expected_high = ratios[(size_t)(0.975 * (double)count)];
}

/* The intercept alone, by Newton's method: how far all log-odds are off together. */
static double shift(const struct gathering *g)
{
    const struct data *data = &g->data;
    double intercept = 0;

    for (int round = 0; round < 50; round++) {
        double gradient = 0, weight = 1e-9, step;

        for (size_t n = 0; n < data->patient_count; n++) {
            const struct data_patient *p = &data->patients[n];

            for (size_t i = data->format->is_by_patient ? p->count - 1 : 0; i < p->count; i++) {
                double odds = (double)g->probabilities[p->first + i], expected;

                odds = fmin(fmax(odds, 1e-7), 1 - 1e-7);
                expected = measure_logistic(log(odds / (1 - odds)) + intercept);
                gradient += expected - (double)data->labels[p->first + i];
                weight += expected * (1 - expected);
            }
        }
        step = fmax(-2, fmin(2, gradient / weight));
        intercept -= step;
        if (fabs(step) < 1e-9)
            break;
    }
    return intercept;
}

/* The next patients of the file (or of a sample of it), each named in the SQL. False: no more. */
static bool put_filter(const struct watch_outcomes *outcomes, size_t *cursor, struct vg_buf *out)
{
    size_t step = outcomes->by_patient.count / WATCH_OUTCOME_PATIENTS_MAX + 1, n = 0;
    struct vg_slice id;
    void *value;

    vg_buf_clear(out);
    vg_buf_put(out, VG_SLICE("patientId IN (''"));
    while (n < QUERY_PATIENTS * step && vg_map_next(&outcomes->by_patient, cursor, &id, &value)) {
        if (n++ % step == 0)
            vg_buf_printf(out, ",'%.*s'", VG_FMT(id));
    }
    vg_buf_put(out, VG_SLICE(")"));
    vg_buf_put_byte(out, '\0');
    return n > 0;
}

static const struct source_format *format_of(const struct live_model *model)
{
    const struct source_format *format = NULL;
    struct vg_arena arena;
    struct vg_json *root = NULL;
    char name[32];

    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, model_card_text(model->model), NULL, &root, NULL, NULL) == VG_OK &&
        vg_slice_to_cstr(vg_json_get_text(vg_json_get(root, "data"), "format"), name, sizeof(name)))
        format = source_format_of(name);
    vg_arena_fini(&arena);
    return format ? format : source_format_of("lake");
}

enum vg_status watch_calibrate(struct watch_run *run, const struct live_model *model,
                               const struct watch_outcomes *outcomes, struct watch_calibration *ret,
                               struct vg_err *err)
{
    const struct model_card *card = model_card(model->model);
    struct gathering g = {.outcomes = outcomes,
                          .horizon_us = (int64_t)(card->horizon_hours * (double)VG_HOUR_US)};
    struct watch_scores_query query = {
        .model = card->name,
        .version = card->version,
        .from_us = run->now_us - run->config->outcome_period_us,
        .to_us = run->now_us,
    };
    struct judge_config judging = {.data = &g.data, .is_probability = true, .bootstrap = SAMPLES};
    struct curves *curves = calloc(1, sizeof(*curves));
    struct vg_buf filter;
    size_t cursor = 0;
    enum vg_status st =
        curves ? VG_OK : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to judge");

    *ret = (struct watch_calibration){0};
    g.data.format = format_of(model);
    vg_buf_init(&filter, 1 << 20);
    while (st == VG_OK && watch_goes_on(run, 100) && put_filter(outcomes, &cursor, &filter)) {
        query.filter = filter.ptr;
        st = vg_buf_ok(&filter) ? watch_read_scores(run, &query, gather, &g, err)
                                : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to judge");
    }
    judging.scores = g.probabilities;
    judging.threshold = model->medium;
    ret->listed = g.data.patient_count;
    ret->events = g.events;
    if (st == VG_OK && g.data.count > 0) {
        st = judge(&judging, &ret->figures, err);
        if (st == VG_OK)
            st = judge_curves(&judging, curves, err);
        if (st == VG_OK)
            ret->curve = curves->calibration;
        ret->shift = shift(&g);
        /* Newton's method runs away where no line fits: then there is none to tell. */
        if (!(fabs(ret->figures.slope) < SLOPE_TOLD_MAX))
            ret->figures.slope = ret->figures.intercept = (double)NAN;
        interval(&g, ret);
    }
    free(curves);
    free(g.probabilities);
    data_fini(&g.data);
    vg_buf_fini(&filter);
    return st;
}
