/* score.c -- steps 10 to 12: from readings to one scored record for each patient and batch.
 *
 *     parse -> merge into windows -> (lake, for who is new) -> features, NEWS2 -> model, all at
 * once
 *           -> one record each
 *
 * WHEN. A batch gives one record for each patient in it, however many readings it had. The record
 * speaks of the newest of event time and receipt (patient_as_of_us): a backlog of old readings is
 * not scored as if it were fresh, and the same records give the same score whenever they are
 * processed. A tick gives a record, with trigger "timer", for whose value expired since; it speaks
 * of the tick's time.
 *
 * STATE is not written anywhere: windows are rebuilt after a restart by reading the journal's
 * enriched records again, from the oldest kept on (what is older than the history is passed over
 * unparsed), at some 200,000 records a second. What the journal no longer has is asked of the lake,
 * once for each patient whose window does not reach back, when the patient is next seen. Windows
 * merge in any order and any number of times (window.c), so it does no harm that journal and lake
 * overlap, or that a batch is processed twice. A lake that fails or is slow delays nobody: the
 * score goes out without the past, the lake is asked again later.
 *
 * MODELS are shared by all partitions and used under the lock; a set of them is replaced between
 * two batches (live.c). When one's files changed and have stood still for a tick, or by command.
 * One that another process runs (served.c) holds up everybody for its deadline at most: a score
 * must speak of the same window from its first number to its last.
 *
 * AT THE START nothing is scored before every partition has read its past: a patient's devices may
 * be in several, and half of the vital signs is a low NEWS2.
 *
 * THREADS. One struct score_stage for each partition's thread; the patients are shared, because the
 * devices of one patient may be in several partitions. `lock` guards them; parsing and the lake are
 * outside. A patient in a batch is pinned: no other partition's tick drops it.
 *
 * LEFT OUT. NEWS2 is left out for patients known to be under 16, the model for those under 18:
 * neither was made for them. Their vital signs are in the record.
 */
#include "score/score.h"

#include "base/log.h"
#include "base/metrics.h"
#include "score/scored.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TRACES_MAX 64
#define BATCH_MAX 4096
#define RESTORE_MAX_US                                                                             \
    (2 * VG_MINUTE_US) /* a partition that cannot read its past holds up no more */
#define BATCH_BYTES_MAX ((size_t)64 << 20)
#define LAKE_ROWS_MAX 400000
#define LAKE_BUDGET_US (50 * 1000) /* of asking, in one batch; at least one is asked */
#define LAKE_AGAIN_US (10 * VG_MINUTE_US)
#define NEWS2_AGE_MIN 16
#define MODEL_AGE_MIN 18

struct score {
    struct score_config config;
    const struct vg_clock *clock;
    struct stage_ops ops;
    struct vg_metric *used, *future, *old, *not_understood, *dropped, *patient_count;
    struct vg_metric *rejected[GATE_REASON_COUNT], *reloads, *fallbacks;

    pthread_mutex_t reload_lock; /* one at a time; taken before `lock` */
    uint64_t disk_seen, disk_tried;

    pthread_mutex_t lock; /* guards what follows */
    struct patients patients;
    struct live *live; /* never NULL */
    struct gate_view view;
    uint32_t restored; /* partitions */
    int64_t opened_us; /* monotonic */
};

/* A patient in the batch at hand. */
struct touched {
    struct patient *patient;
    bool has_timely; /* some reading was not late */
    unsigned trace_count;
    struct vg_slice traces[TRACES_MAX];
};

struct score_stage {
    struct score *score;
    uint32_t partition;
    bool is_restored;
    struct vg_arena parse, batch; /* dies with a record; with a batch */
    struct touched **touched;     /* BATCH_MAX pointers */
    size_t touched_count;
    struct vg_buf json, headers, traces;
};

/* A patient that is being scored. */
struct evaluation {
    struct patient *patient;
    const struct touched *touched; /* NULL: a timer */
    const char *trigger;
    int64_t as_of_us;
    struct news2 news2;
    int rows[LIVE_MODELS_MAX]; /* in the model's rows; -1 = not for that model */
};

/* ---- merging ---- */

static void count_values(struct score *score, const struct enriched *record,
                         const struct patient_counts *counts)
{
    const struct {
        struct vg_metric *metric;
        unsigned count;
    } all[] = {
        {score->used, counts->used},
        {score->future, counts->future},
        {score->old, counts->old},
        {score->not_understood, record->not_understood},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].count > 0)
            vg_metric_add(all[i].metric, all[i].count);
    }
    for (int r = GATE_OK + 1; r < GATE_REASON_COUNT; r++) {
        if (counts->rejected[r] > 0)
            vg_metric_add(score->rejected[r], counts->rejected[r]);
    }
}

static void add_traces(struct touched *touched, struct vg_slice traces)
{
    while (traces.len > 0) {
        struct vg_slice id = vg_slice_cut(&traces, ' ');
        bool is_known = id.len == 0 || id.len >= sizeof(touched->patient->trace);

        for (unsigned i = 0; i < touched->trace_count && !is_known; i++)
            is_known = vg_slice_eq(touched->traces[i], id);
        if (is_known)
            continue;
        /* The newest 64: what made the score rise is at the end. */
        if (touched->trace_count == TRACES_MAX)
            memmove(touched->traces, touched->traces + 1,
                    --touched->trace_count * sizeof(touched->traces[0]));
        touched->traces[touched->trace_count++] = id;
        (void)vg_slice_to_cstr(id, touched->patient->trace, sizeof(touched->patient->trace));
    }
}

/* The patient's place in this batch. Another partition's batch may have overwritten the hint. */
static struct touched *touch(struct score_stage *stage, struct patient *patient)
{
    struct touched *made;

    if (patient->touch < stage->touched_count && stage->touched[patient->touch]->patient == patient)
        return stage->touched[patient->touch];
    for (size_t i = 0; i < stage->touched_count && patient->pins > 0; i++) {
        if (stage->touched[i]->patient == patient)
            return stage->touched[i];
    }
    made = vg_arena_alloc(&stage->batch, sizeof(*made));
    if (!made)
        return NULL;
    made->patient = patient;
    patient->pins++;
    patient->touch = (uint32_t)stage->touched_count;
    stage->touched[stage->touched_count++] = made;
    return made;
}

/* Whether the past is to be asked for: once, for a window that does not reach back. */
static bool wants_past(const struct score *score, const struct patient *patient, int64_t now_us)
{
    int64_t oldest_us = INT64_MAX, reach_us = patient->window.history_us - VG_HOUR_US;

    if (!score->config.lake || now_us < patient->ask_lake_us)
        return false;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        const struct window_series *series = &patient->window.series[v];

        if (series->count > 0 && series->cells[0].time_us < oldest_us)
            oldest_us = series->cells[0].time_us;
    }
    return patient->window.watermark_us != INT64_MIN &&
           (oldest_us == INT64_MAX || patient->window.watermark_us - oldest_us < reach_us);
}

static void find_next_expiry(const struct score *score, struct patient *patient, int64_t as_of_us)
{
    int64_t next_us = INT64_MAX;

    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        int64_t expiry_us = score->config.expiry_us[v];
        int64_t at_us = patient->window.newest[v].time_us + expiry_us + 1;

        if (window_state(&patient->window, (enum score_vital)v, expiry_us, as_of_us) == WINDOW_OK &&
            at_us < next_us)
            next_us = at_us;
    }
    patient->next_expiry_us = next_us;
}

/* Merges one record. is_scored false: the record is from before the restart, nobody scores it. */
static enum vg_status merge(struct score_stage *stage, const struct stream_record *record,
                            bool is_scored, struct vg_err *err)
{
    struct score *score = stage->score;
    struct patient_counts counts = {0};
    struct enriched enriched;
    struct patient *patient;
    struct touched *touched = NULL;
    int64_t watermark_us;
    enum vg_status st;

    vg_arena_reset(&stage->parse);
    st = enriched_read(&stage->parse, record->value, record->time_us, &enriched, err);
    if (st != VG_OK)
        return st;

    pthread_mutex_lock(&score->lock);
    patient = patients_take(&score->patients, enriched.patient_id);
    if (patient && is_scored)
        touched = touch(stage, patient);
    if (!patient || (is_scored && !touched)) {
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a patient");
        goto done;
    }
    watermark_us = patient->window.watermark_us;
    st = patient_add(patient, &enriched, score->config.allowed_lateness_us, &counts, err);
    if (st != VG_OK)
        goto done;
    patient->partition = stage->partition;
    if (touched) {
        touched->has_timely |= watermark_us == INT64_MIN ||
                               enriched.time_us >= watermark_us - score->config.allowed_lateness_us;
        add_traces(touched, stream_header_get(record->headers, "trace"));
    } else {
        find_next_expiry(score, patient, patient_as_of_us(patient));
    }
done:
    pthread_mutex_unlock(&score->lock);
    count_values(score, &enriched, &counts);
    if (counts.future > 0)
        vg_log(VG_LOG_WARN, "score", "score.future",
               "record %" PRIu64 ": the device's clock is ahead of the time of receipt, its values "
               "are not scored",
               record->seq);
    return st;
}

/* ---- the past, from the lake (step 11) ---- */

struct past {
    struct window_reading *readings;
    size_t count, capacity;
    bool has_failed;
};

static void take_past(void *ctx, const struct lake_reading *reading)
{
    struct past *past = ctx;
    int vital = vital_of_code(reading->code);
    double value = reading->value;

    if (vital == SCORE_CONSCIOUSNESS)
        value = vital_consciousness(reading->text);
    if (vital == SIGNAL_COUNT || (vital == SCORE_CONSCIOUSNESS && value <= 0) ||
        (vital != SCORE_CONSCIOUSNESS &&
         (!vital_convert(vital, reading->unit, &value) ||
          !(value >= vitals[vital].min && value <= vitals[vital].max))))
        return;
    if (past->count == past->capacity) {
        size_t capacity = past->capacity ? past->capacity * 2 : 256;
        struct window_reading *readings =
            capacity > LAKE_ROWS_MAX ? NULL : realloc(past->readings, capacity * sizeof(*readings));

        past->has_failed |= !readings;
        if (!readings)
            return;
        past->readings = readings;
        past->capacity = capacity;
    }
    past->readings[past->count++] = (struct window_reading){
        .vital = vital,
        .value = value,
        .time_us = reading->time_us,
        .received_us = reading->time_us,
        .code = vg_slice_of(vitals[vital].codes[0]),
    };
}

/* The lake gives times in order: those of the same moment are beside each other. */
static enum gate_reason gate_past(const struct past *past, size_t at)
{
    size_t from = at, to = at + 1;

    while (from > 0 && past->readings[from - 1].time_us == past->readings[at].time_us)
        from--;
    while (to < past->count && past->readings[to].time_us == past->readings[at].time_us)
        to++;
    return gate_reading(past->readings + from, to - from, at - from);
}

static void ask_lake(struct score_stage *stage)
{
    struct score *score = stage->score;
    int64_t start_us = vg_mono_us(), now_us = vg_clock_now_us(score->clock);
    struct past past = {0};

    for (size_t i = 0; i < stage->touched_count; i++) {
        struct patient *patient = stage->touched[i]->patient;
        int64_t to_us, asked_us = vg_mono_us();
        struct vg_err err = {0};
        enum vg_status st;
        bool wants;

        if (asked_us - start_us > LAKE_BUDGET_US)
            break;
        pthread_mutex_lock(&score->lock);
        wants = wants_past(score, patient, now_us);
        to_us = patient->window.watermark_us + 1;
        if (wants)
            patient->ask_lake_us = INT64_MAX;
        pthread_mutex_unlock(&score->lock);
        if (!wants)
            continue;

        past.count = 0;
        past.has_failed = false;
        /* The id is set for life, and the patient is pinned. */
        st = lake_history(score->config.lake, vg_slice_of(patient->id),
                          to_us - score->config.history_us, to_us, take_past, &past, &err);
        pthread_mutex_lock(&score->lock);
        for (size_t r = 0; r < past.count && (st == VG_OK || st == VG_END); r++) {
            if (gate_past(&past, r) == GATE_OK)
                st = window_add(&patient->window, &past.readings[r], &err);
        }
        if (st != VG_OK && st != VG_END)
            patient->ask_lake_us = now_us + LAKE_AGAIN_US;
        pthread_mutex_unlock(&score->lock);
        if (st != VG_OK && st != VG_END) {
            vg_step_error(11, &err);
            vg_log_err(VG_LOG_WARN, "score", &err);
            break;
        }
        vg_step_done(11, 1, vg_mono_us() - asked_us);
        if (past.has_failed)
            vg_log(VG_LOG_WARN, "score", "score.history",
                   "a patient's past has more than %d values, the newest are left out",
                   LAKE_ROWS_MAX);
    }
    free(past.readings);
}

/* ---- evaluating ---- */

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

static enum vg_status put_headers(struct score_stage *stage, const struct evaluation *evaluation,
                                  struct vg_err *err)
{
    const struct touched *touched = evaluation->touched;
    struct vg_slice traces = vg_slice_of(evaluation->patient->trace);

    vg_buf_clear(&stage->headers);
    vg_buf_clear(&stage->traces);
    if (touched && touched->trace_count > 0) {
        for (unsigned i = 0; i < touched->trace_count; i++) {
            if (i > 0)
                vg_buf_put_byte(&stage->traces, ' ');
            vg_buf_put(&stage->traces, touched->traces[i]);
        }
        traces = vg_buf_slice(&stage->traces);
    }
    if (traces.len > 0)
        stream_header_put(&stage->headers, "trace", traces);
    if (!vg_buf_ok(&stage->traces) || !vg_buf_ok(&stage->headers))
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a scored record");
    return VG_OK;
}

/* NEWS2 and each model's row of one evaluation. row_counts: of each model, so far. */
static enum vg_status prepare(struct score *score, struct evaluation *evaluation,
                              size_t *row_counts, struct vg_err *err)
{
    const struct patient *patient = evaluation->patient;
    enum vg_status st = gate_look(&score->view, &patient->window, err);
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
        feature_fill(model_features(live->model), &score->view.window, &patient->facts,
                     score->config.expiry_us, evaluation->as_of_us,
                     live->rows + (size_t)evaluation->rows[m] * model_features(live->model)->count);
    }
    return VG_OK;
}

/* An engine that does not answer costs its own probabilities alone. */
static enum vg_status predict(struct score *score, struct live_model *live, size_t count,
                              struct vg_err *err)
{
    struct vg_err cause = {0};

    if (!live->remote)
        return model_predict(live->model, live->rows, count, live->probabilities, NULL, err);
    if (served_predict(live->remote, model_features(live->model), live->rows, count,
                       live->probabilities, &cause) != VG_OK) {
        for (size_t i = 0; i < count; i++)
            live->probabilities[i] = (double)NAN;
        vg_metric_add(score->fallbacks, count);
        vg_log_err(VG_LOG_WARN, "score", &cause);
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
        st = put_headers(stage, evaluation, err);
    if (st != VG_OK)
        return st;
    for (size_t m = 0; m < scored.model_count; m++)
        live_count(scored.models[m].live, scored.models[m].probability);
    stream_out_add(out, STREAM_SCORED, now_us, vg_slice_of(patient->id),
                   vg_buf_slice(&stage->headers), vg_buf_slice(&stage->json));
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
        if (row_counts[m] > 0)
            st = predict(score, score->live->items[m], row_counts[m], err);
    }
    for (size_t i = 0; i < count && st == VG_OK; i++)
        st = put_record(stage, &evaluations[i], now_us, out, err);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        find_next_expiry(score, evaluations[i].patient, evaluations[i].as_of_us);
    return st;
}

static enum vg_status evaluate_touched(struct score_stage *stage, struct stream_out *out,
                                       struct vg_err *err)
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

/* ---- the stage ---- */

static void unpin(struct score_stage *stage)
{
    pthread_mutex_lock(&stage->score->lock);
    for (size_t i = 0; i < stage->touched_count; i++)
        stage->touched[i]->patient->pins--;
    pthread_mutex_unlock(&stage->score->lock);
    stage->touched_count = 0;
    vg_arena_reset(&stage->batch);
}

/* VG_RETRY while a partition still reads what it had before the restart. */
static enum vg_status wait_for_the_past(struct score *score, struct vg_err *err)
{
    uint32_t restored;

    pthread_mutex_lock(&score->lock);
    restored = score->restored;
    pthread_mutex_unlock(&score->lock);
    if (restored >= score->config.partitions || vg_mono_us() - score->opened_us > RESTORE_MAX_US)
        return VG_OK;
    return vg_fail(err, VG_RETRY, "score.restoring", 0, "%u of %u partitions have read their past",
                   (unsigned)restored, (unsigned)score->config.partitions);
}

static void score_restored(void *self)
{
    struct score_stage *stage = self;

    pthread_mutex_lock(&stage->score->lock);
    stage->score->restored += !stage->is_restored;
    stage->is_restored = true;
    pthread_mutex_unlock(&stage->score->lock);
}

static enum vg_status score_process(void *self, const struct stream_batch *batch,
                                    struct stream_out *out, struct vg_err *err)
{
    struct score_stage *stage = self;
    enum vg_status st = wait_for_the_past(stage->score, err);

    for (size_t i = 0; i < batch->count && st == VG_OK; i++) {
        st = merge(stage, &batch->records[i], true, err);
        if (st == VG_REJECT) {
            stage_deadletter(out, STREAM_ENRICHED, stage->partition, &batch->records[i], "score",
                             err);
            st = VG_OK;
        }
    }
    if (st == VG_OK && stage->score->config.lake)
        ask_lake(stage);
    if (st == VG_OK) {
        pthread_mutex_lock(&stage->score->lock);
        st = evaluate_touched(stage, out, err);
        pthread_mutex_unlock(&stage->score->lock);
    }
    unpin(stage);
    return st;
}

static uint64_t score_restore_from(void *self, uint64_t committed_seq)
{
    (void)self;
    (void)committed_seq;
    return 0; /* the oldest kept: the journal's retention bounds it */
}

static enum vg_status score_restore(void *self, const struct stream_batch *batch,
                                    struct vg_err *err)
{
    struct score_stage *stage = self;
    int64_t since_us = vg_clock_now_us(stage->score->clock) - stage->score->config.history_us;

    for (size_t i = 0; i < batch->count; i++) {
        enum vg_status st;

        if (batch->records[i].time_us < since_us)
            continue;
        /* What is not understood now was put to the dead letters when it came. */
        st = merge(stage, &batch->records[i], false, err);
        if (st != VG_OK && st != VG_REJECT)
            return st;
    }
    return VG_OK;
}

/* ---- models ---- */

static enum vg_status reload(struct score *score, struct vg_err *err)
{
    struct live *made = NULL, *former = score->live; /* replaced here only, under reload_lock */
    struct vg_err cause = {0};
    char trouble[256] = "";

    if (live_read(score->config.model_dir, former, score->config.history_us, &made, &cause) !=
        VG_OK)
        return vg_fail(err, VG_REJECT, "score.model", 0, "%s", cause.text);
    pthread_mutex_lock(&score->lock);
    score->live = made;
    pthread_mutex_unlock(&score->lock);
    live_free(former, made);
    vg_metric_add(score->reloads, 1);
    for (size_t m = 0; m < made->count; m++) {
        const struct live_model *live = made->items[m];

        if (!live->trouble[0] && live->model)
            vg_log(VG_LOG_INFO, "score", "score.model",
                   "model '%s' version %s (%s) is in force, %s", model_card(live->model)->name,
                   model_card(live->model)->version, live->digest, live_mode_name(live->mode));
    }
    return live_trouble(made, trouble) ? vg_fail(err, VG_REJECT, "score.model", 0, "%s", trouble)
                                       : VG_OK;
}

enum vg_status score_reload(struct score *score, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    if (!score->config.model_dir)
        return vg_fail(err, VG_REJECT, "score.model", 0, "score.model names no folder");
    pthread_mutex_lock(&score->reload_lock);
    st = reload(score, err);
    pthread_mutex_unlock(&score->reload_lock);
    return st;
}

/* A folder that changed and has not moved since the last look is read; once for each change. */
static void watch_models(struct score *score)
{
    struct vg_err err = {0};
    uint64_t seen;

    if (!score->config.model_dir)
        return;
    pthread_mutex_lock(&score->reload_lock);
    if (live_has_changed(score->config.model_dir, score->live, &seen) && seen == score->disk_seen &&
        seen != score->disk_tried) {
        score->disk_tried = seen;
        if (reload(score, &err) != VG_OK)
            vg_log_err(VG_LOG_ERROR, "score", &err);
    }
    score->disk_seen = seen;
    pthread_mutex_unlock(&score->reload_lock);
}

static void write_model(struct vg_json_writer *w, const struct live_model *live, bool with_card)
{
    const struct model_card *card = live->model ? model_card(live->model) : NULL;
    const char *folder = strrchr(live->dir, '/') ? strrchr(live->dir, '/') + 1 : live->dir;

    vg_json_open_object(w);
    vg_json_member_string(w, "folder", vg_slice_of(folder));
    vg_json_member_string(w, "mode",
                          vg_slice_of(live->model ? live_mode_name(live->mode) : "absent"));
    if (card) {
        vg_json_member_string(w, "name", vg_slice_of(card->name));
        vg_json_member_string(w, "version", vg_slice_of(card->version));
        vg_json_member_string(w, "digest", vg_slice_of(live->digest));
        vg_json_member_string(w, "engine", live->remote ? VG_SLICE("remote") : VG_SLICE("xgboost"));
        vg_json_name(w, "thresholds");
        vg_json_open_object(w);
        vg_json_member_double(w, "medium", live->medium);
        vg_json_member_double(w, "high", live->high);
        vg_json_close_object(w);
        if (live->unit_count > 0) {
            vg_json_member_string(w, "elsewhere", vg_slice_of(live_mode_name(live->elsewhere)));
            vg_json_name(w, "units");
            vg_json_open_array(w);
            for (size_t i = 0; i < live->unit_count; i++)
                vg_json_put_string(w, live->units[i]);
            vg_json_close_array(w);
        }
    }
    if (live->trouble[0])
        vg_json_member_string(w, "trouble", vg_slice_of(live->trouble));
    if (card && with_card)
        vg_json_member_raw(w, "card", model_card_text(live->model));
    vg_json_close_object(w);
}

void score_models_write(struct score *score, bool with_cards, struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "models");
    vg_json_open_array(&w);
    pthread_mutex_lock(&score->reload_lock);
    for (size_t m = 0; m < score->live->count; m++)
        write_model(&w, score->live->items[m], with_cards);
    pthread_mutex_unlock(&score->reload_lock);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}

void score_trouble(struct score *score, char out[static 256])
{
    pthread_mutex_lock(&score->reload_lock);
    if (!live_trouble(score->live, out))
        out[0] = '\0';
    pthread_mutex_unlock(&score->reload_lock);
}

static enum vg_status score_tick(void *self, int64_t now_us, struct stream_out *out,
                                 struct vg_err *err)
{
    struct score_stage *stage = self;
    struct score *score = stage->score;
    struct evaluation evaluations[LIVE_ROWS_MAX];
    const size_t most = sizeof(evaluations) / sizeof(evaluations[0]);
    size_t count = 0;
    enum vg_status st = wait_for_the_past(score, err);

    if (st != VG_OK)
        return st;
    if (stage->partition == 0)
        watch_models(score);
    pthread_mutex_lock(&score->lock);
    for (struct patient *patient = score->patients.oldest, *newer; patient && st == VG_OK;
         patient = newer) {
        newer = patient->newer;
        if (patient->partition != stage->partition)
            continue;
        if (patient->pins == 0 && now_us - patient_as_of_us(patient) > score->config.history_us) {
            patients_drop(&score->patients, patient);
            vg_metric_add(score->dropped, 1);
            continue;
        }
        if (now_us < patient->next_expiry_us)
            continue;
        evaluations[count++] =
            (struct evaluation){.patient = patient, .trigger = "timer", .as_of_us = now_us};
        if (count == most) {
            st = evaluate(stage, evaluations, count, out, err);
            count = 0;
        }
    }
    if (count > 0 && st == VG_OK)
        st = evaluate(stage, evaluations, count, out, err);
    vg_metric_set(score->patient_count, (double)score->patients.by_id.count);
    pthread_mutex_unlock(&score->lock);
    return st;
}

/* ---- open and close ---- */

static void open_metrics(struct score *score)
{
    static const char name[] = "vigil_score_values_total";
    static const char help[] = "Values of enriched records, by what scoring did with them";

    score->used = vg_counter(name, help, "outcome=\"used\"");
    score->future = vg_counter(name, help, "outcome=\"future\"");
    score->old = vg_counter(name, help, "outcome=\"old\"");
    score->not_understood = vg_counter(name, help, "outcome=\"not_understood\"");
    score->rejected[GATE_RANGE] = vg_counter(name, help, "outcome=\"rejected\",reason=\"range\"");
    score->rejected[GATE_PROBE] = vg_counter(name, help, "outcome=\"rejected\",reason=\"probe\"");
    score->rejected[GATE_PAIR] = vg_counter(name, help, "outcome=\"rejected\",reason=\"pair\"");
    score->rejected[GATE_FLAT] = vg_counter(name, help, "outcome=\"rejected\",reason=\"flat\"");
    score->rejected[GATE_JUMP] = vg_counter(name, help, "outcome=\"rejected\",reason=\"jump\"");
    score->reloads =
        vg_counter("vigil_score_reloads_total", "Times the models were read again", "");
    score->fallbacks = vg_counter("vigil_score_fallbacks_total",
                                  "Scores without the probability of a model elsewhere", "");
    score->dropped =
        vg_counter("vigil_score_patients_dropped_total", "Patients dropped for silence", "");
    score->patient_count = vg_gauge("vigil_score_patients", "Patients with a window", "");
}

static enum vg_status open_models(struct score *score, struct vg_err *err)
{
    char trouble[256];
    enum vg_status st = VG_OK;

    if (score->config.model_dir)
        st = live_read(score->config.model_dir, NULL, 0, &score->live, err);
    else
        score->live = calloc(1, sizeof(*score->live));
    if (st != VG_OK)
        return st;
    if (!score->live)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for models");
    if (live_trouble(score->live, trouble))
        vg_log(VG_LOG_ERROR, "score", "score.model", "%s", trouble);
    /* A model sees what it was trained on, whatever was configured. */
    for (size_t m = 0; m < score->live->count; m++) {
        const struct model *model = score->live->items[m]->model;

        if (model && model_features(model)->history_us > score->config.history_us)
            score->config.history_us = model_features(model)->history_us;
    }
    return VG_OK;
}

enum vg_status score_open(const struct score_config *config, struct score **ret_score,
                          struct vg_err *err)
{
    struct score *score = calloc(1, sizeof(*score));
    enum vg_status st = VG_OK;

    if (!score)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to score");
    score->config = *config;
    score->clock = config->clock ? config->clock : &vg_clock_system;
    score->config.allowed_lateness_us =
        config->allowed_lateness_us ? config->allowed_lateness_us : 10 * VG_MINUTE_US;
    score->config.history_us = config->history_us ? config->history_us : VG_DAY_US;
    if (config->model_dir && !config->model_dir[0])
        score->config.model_dir = NULL;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        score->config.expiry_us[v] =
            config->expiry_us[v] ? config->expiry_us[v] : vitals[v].expiry_us;
    score->ops = (struct stage_ops){
        .name = "score",
        .steps = {10},
        .output_step = 12,
        .input = STREAM_ENRICHED,
        .batch_count_max = BATCH_MAX,
        .process = score_process,
        .restore = score_restore,
        .restore_from = score_restore_from,
        .restored = score_restored,
        .tick = score_tick,
        .tick_us = config->tick_us ? config->tick_us : VG_MINUTE_US,
    };
    pthread_mutex_init(&score->lock, NULL);
    pthread_mutex_init(&score->reload_lock, NULL);
    gate_view_init(&score->view);
    score->opened_us = vg_mono_us();
    open_metrics(score);
    if (score->config.history_us < VG_HOUR_US || score->config.history_us > 2 * VG_DAY_US)
        st = vg_fail(err, VG_FATAL, "score.config", 0, "history: expected 1 h to 48 h");
    if (st == VG_OK)
        st = open_models(score, err);
    if (st == VG_OK)
        patients_init(&score->patients, config->patients_max ? config->patients_max : 20000,
                      score->config.history_us);
    if (st == VG_OK) {
        *ret_score = score;
        score = NULL;
    }
    score_close(score);
    return st;
}

void score_close(struct score *score)
{
    if (!score)
        return;
    live_free(score->live, NULL);
    gate_view_fini(&score->view);
    patients_fini(&score->patients);
    pthread_mutex_destroy(&score->lock);
    pthread_mutex_destroy(&score->reload_lock);
    free(score);
}

enum vg_status score_stage_open(struct score *score, uint32_t partition,
                                struct score_stage **ret_stage, struct vg_err *err)
{
    struct score_stage *stage = calloc(1, sizeof(*stage));
    enum vg_status st = VG_OK;

    if (!stage)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to score");
    stage->score = score;
    stage->partition = partition;
    vg_arena_init(&stage->parse, 0);
    vg_arena_init(&stage->batch, BATCH_BYTES_MAX);
    vg_buf_init(&stage->json, 1 << 20);
    vg_buf_init(&stage->headers, 1 << 16);
    vg_buf_init(&stage->traces, 1 << 16);
    stage->touched = calloc(BATCH_MAX, sizeof(struct touched *));
    if (!stage->touched)
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to score");
    if (st == VG_OK) {
        *ret_stage = stage;
        stage = NULL;
    }
    score_stage_close(stage);
    return st;
}

void score_stage_close(struct score_stage *stage)
{
    if (!stage)
        return;
    vg_arena_fini(&stage->parse);
    vg_arena_fini(&stage->batch);
    vg_buf_fini(&stage->json);
    vg_buf_fini(&stage->headers);
    vg_buf_fini(&stage->traces);
    free(stage->touched);
    free(stage);
}

const struct stage_ops *score_stage_ops(const struct score *score)
{
    return &score->ops;
}

size_t score_patients(struct score *score)
{
    size_t count;

    pthread_mutex_lock(&score->lock);
    count = score->patients.by_id.count;
    pthread_mutex_unlock(&score->lock);
    return count;
}
