/* assess.c -- from windows to scored records: NEWS2 and each model's row, all rows of a model in
 * one call, one record for each patient.
 *
 * A record speaks of one window from its first number to its last: all of it is made under the
 * lock. A model that another process runs is not waited for: the record goes out without its
 * probability, its row is in a header, and remote.c says later what the server answered.
 *
 * A model sees as much of the window as it was trained on (window_narrow), however much longer
 * another model's history keeps it.
 */
#include "score/score_int.h"

#include "score/scored.h"

#include <math.h>
#include <stdio.h>

#define NEWS2_AGE_MIN 16
#define MODEL_AGE_MIN 18

/* A patient that is being scored. */
struct evaluation {
    struct patient *patient;
    const struct touched *touched; /* NULL: a timer */
    const char *trigger;
    int64_t as_of_us;
    struct news2 news2;
    int rows[LIVE_MODELS_MAX]; /* in the model's rows; -1 = not for that model */
};

static bool has_fresh_value(const struct score *score, int64_t as_of_us)
{
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        if (v != SCORE_CONSCIOUSNESS && v != SCORE_OXYGEN &&
            window_state(&score->view.window, (enum score_vital)v, score->config.expiry_us[v],
                         as_of_us) == WINDOW_OK)
            return true;
    }
    return false;
}

void assess_next_expiry(const struct score *score, struct patient *patient)
{
    int64_t next_us = INT64_MAX, as_of_us = patient_as_of_us(patient);

    if (patient->told_us > as_of_us)
        as_of_us = patient->told_us;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        int64_t expiry_us = score->config.expiry_us[v];
        int64_t at_us = patient->window.newest[v].time_us + expiry_us + 1;

        if (window_state(&patient->window, (enum score_vital)v, expiry_us, as_of_us) == WINDOW_OK &&
            at_us < next_us)
            next_us = at_us;
    }
    patient->next_expiry_us = next_us;
}

/* The rows of the models elsewhere: name and floats as they are in memory, for remote.c. */
static void put_rows(struct score_stage *stage, const struct scored *scored)
{
    for (size_t m = 0; m < scored->model_count; m++) {
        const struct live_model *live = scored->models[m].live;
        char name[80];

        if (!live->remote)
            continue;
        (void)snprintf(name, sizeof(name), HEADER_ROW "%s", model_card(live->model)->name);
        stream_header_put(&stage->headers, name,
                          (struct vg_slice){(const char *)scored->models[m].row,
                                            model_features(live->model)->count * sizeof(float)});
    }
}

static enum vg_status put_headers(struct score_stage *stage, const struct evaluation *evaluation,
                                  const struct scored *scored, struct vg_err *err)
{
    const struct touched *touched = evaluation->touched;
    struct vg_slice traces = vg_slice_of(evaluation->patient->trace);

    vg_buf_clear(&stage->headers);
    vg_buf_clear(&stage->text);
    if (touched && touched->trace_count > 0) {
        for (unsigned i = 0; i < touched->trace_count; i++) {
            if (i > 0)
                vg_buf_put_byte(&stage->text, ' ');
            vg_buf_put(&stage->text, touched->traces[i]);
        }
        traces = vg_buf_slice(&stage->text);
    }
    if (traces.len > 0)
        stream_header_put(&stage->headers, "trace", traces);
    if (!touched)
        stream_header_put(&stage->headers, HEADER_TIMER, VG_SLICE("1"));
    put_rows(stage, scored);
    if (!vg_buf_ok(&stage->text) || !vg_buf_ok(&stage->headers))
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a scored record");
    return VG_OK;
}

/* NEWS2 and each model's row of one evaluation. row_counts: of each model, so far. */
static enum vg_status prepare(struct score *score, struct evaluation *evaluation,
                              size_t *row_counts, struct vg_err *err)
{
    const struct patient *patient = evaluation->patient;
    enum vg_status st = gate_look(&score->view, &patient->window, err);
    struct window seen;
    bool is_scored;

    if (st != VG_OK)
        return st;
    evaluation->news2 = window_news2(&score->view.window, score->config.expiry_us,
                                     patient->oxygen_scale, evaluation->as_of_us);
    is_scored =
        !(patient->facts.age_years < MODEL_AGE_MIN) && has_fresh_value(score, evaluation->as_of_us);
    for (size_t m = 0; m < score->live->count; m++) {
        struct live_model *live = score->live->items[m];

        evaluation->rows[m] = -1;
        if (!is_scored || !live->model || live_mode_in(live, patient->unit) == LIVE_ABSENT)
            continue;
        evaluation->rows[m] = (int)row_counts[m]++;
        seen = score->view.window;
        window_narrow(&seen, model_features(live->model)->history_us);
        feature_fill(model_features(live->model), &seen, &patient->facts, score->config.expiry_us,
                     evaluation->as_of_us,
                     live->rows + (size_t)evaluation->rows[m] * model_features(live->model)->count);
    }
    return VG_OK;
}

static enum vg_status put_record(struct score_stage *stage, const struct evaluation *evaluation,
                                 int64_t now_us, struct stream_out *out, struct vg_err *err)
{
    struct score *score = stage->score;
    const struct patient *patient = evaluation->patient;
    struct scored scored = {
        .patient = patient,
        .view = &score->view,
        .trigger = evaluation->trigger,
        .as_of_us = evaluation->as_of_us,
        .now_us = now_us,
        .expiry_us = score->config.expiry_us,
        .news2 = patient->facts.age_years < NEWS2_AGE_MIN ? NULL : &evaluation->news2,
    };
    enum vg_status st = gate_look(&score->view, &patient->window, err);

    for (size_t m = 0; m < score->live->count; m++) {
        struct live_model *live = score->live->items[m];

        if (evaluation->rows[m] < 0)
            continue;
        scored.models[scored.model_count++] = (struct scored_model){
            .live = live,
            .mode = live_mode_in(live, patient->unit),
            .probability = live->probabilities[evaluation->rows[m]],
            .row = live->rows + (size_t)evaluation->rows[m] * model_features(live->model)->count,
        };
    }
    vg_buf_clear(&stage->json);
    if (st == VG_OK)
        st = scored_write(&scored, &stage->json, err);
    if (st == VG_OK)
        st = put_headers(stage, evaluation, &scored, err);
    if (st != VG_OK)
        return st;
    for (size_t m = 0; m < scored.model_count; m++) {
        if (!scored.models[m].live->remote)
            live_count(scored.models[m].live, scored.models[m].probability);
    }
    stream_out_add(out, STREAM_SCORED, evaluation->touched ? now_us : evaluation->as_of_us,
                   vg_slice_of(patient->id), vg_buf_slice(&stage->headers),
                   vg_buf_slice(&stage->json));
    return VG_OK;
}

/* Fills what the evaluations need, predicts all rows of a model in one call, puts out the records.
 * At most LIVE_ROWS_MAX. */
static enum vg_status evaluate(struct score_stage *stage, struct evaluation *evaluations,
                               size_t count, struct stream_out *out, struct vg_err *err)
{
    struct score *score = stage->score;
    int64_t now_us = vg_clock_now_us(score->clock);
    size_t row_counts[LIVE_MODELS_MAX] = {0};
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < count && st == VG_OK; i++)
        st = prepare(score, &evaluations[i], row_counts, err);
    for (size_t m = 0; m < score->live->count && st == VG_OK; m++) {
        struct live_model *live = score->live->items[m];

        for (size_t i = 0; i < row_counts[m] && live->remote; i++)
            live->probabilities[i] = (double)NAN;
        if (row_counts[m] > 0 && !live->remote)
            st = model_predict(live->model, live->rows, row_counts[m], live->probabilities, NULL,
                               err);
    }
    for (size_t i = 0; i < count && st == VG_OK; i++)
        st = put_record(stage, &evaluations[i], now_us, out, err);
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        struct patient *patient = evaluations[i].patient;

        if (!evaluations[i].touched && evaluations[i].as_of_us > patient->told_us)
            patient->told_us = evaluations[i].as_of_us;
        assess_next_expiry(score, patient);
    }
    return st;
}

enum vg_status assess_touched(struct score_stage *stage, struct stream_out *out, struct vg_err *err)
{
    struct evaluation evaluations[LIVE_ROWS_MAX];
    const size_t most = sizeof(evaluations) / sizeof(evaluations[0]);
    size_t count = 0;
    enum vg_status st = VG_OK;

    for (size_t i = 0; i <= stage->touched_count && st == VG_OK; i++) {
        struct touched *touched = i < stage->touched_count ? stage->touched[i] : NULL;

        if (count == most || (!touched && count > 0)) {
            st = evaluate(stage, evaluations, count, out, err);
            count = 0;
        }
        /* Without any reading there is nothing to say. */
        if (touched && touched->patient->window.watermark_us != INT64_MIN)
            evaluations[count++] = (struct evaluation){
                .patient = touched->patient,
                .touched = touched,
                .trigger = touched->has_timely ? "reading" : "late",
                .as_of_us = patient_as_of_us(touched->patient),
            };
    }
    return st;
}

enum vg_status assess_expired(struct score_stage *stage, int64_t now_us, struct stream_out *out,
                              struct vg_err *err)
{
    struct score *score = stage->score;
    struct evaluation evaluations[LIVE_ROWS_MAX];
    const size_t most = sizeof(evaluations) / sizeof(evaluations[0]);
    size_t count = 0;
    enum vg_status st = VG_OK;

    for (struct patient *patient = score->patients.oldest, *newer; patient && st == VG_OK;
         patient = newer) {
        newer = patient->newer;
        if (patient->partition != stage->partition)
            continue;
        /* That a value expired is told before the patient is forgotten, however late. */
        if (now_us >= patient->next_expiry_us) {
            evaluations[count++] =
                (struct evaluation){.patient = patient, .trigger = "timer", .as_of_us = now_us};
        } else if (patient->pins == 0 &&
                   patient_as_of_us(patient) < now_us - patient->window.history_us) {
            patients_drop(&score->patients, patient);
            vg_metric_add(score->dropped, 1);
        }
        if (count == most) {
            st = evaluate(stage, evaluations, count, out, err);
            count = 0;
        }
    }
    if (count > 0 && st == VG_OK)
        st = evaluate(stage, evaluations, count, out, err);
    return st;
}
