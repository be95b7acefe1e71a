/* intake.c -- records of iomt.enriched into the patients' windows, and the lake's past of who is
 * new.
 *
 * Merging is the same while scoring and after a restart: what a window holds does not depend on
 * which records came before the crash. After a restart partitions are read at once, in no order
 * between them: what a later record of another partition says of name, place and oxygen scale must
 * not be replaced by an older one.
 *
 * A CLOCK THAT WAS WRONG. A device's clock ahead of the receipt ages no true value (patient.c). Our
 * own clock may have been ahead for a while, and receipts with it: what such a time left is
 * forgotten as soon as the clock says that it lies in the future.
 */
#include "score/score_int.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>

#define LAKE_BUDGET_US (50 * 1000) /* of asking, in one batch; at least one is asked */
#define LAKE_AGAIN_US (10 * VG_MINUTE_US)
#define MOMENT_MAX 256 /* values of one moment of the lake; more are the same sent again */

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

/* touched may be NULL: then only the newest is kept, for a score that a timer makes. */
static void add_traces(struct patient *patient, struct touched *touched, struct vg_slice traces)
{
    while (traces.len > 0) {
        struct vg_slice id = vg_slice_cut(&traces, ' ');
        bool is_known = id.len == 0 || id.len >= sizeof(patient->trace);

        for (unsigned i = 0; touched && i < touched->trace_count && !is_known; i++)
            is_known = vg_slice_eq(touched->traces[i], id);
        if (is_known)
            continue;
        (void)vg_slice_to_cstr(id, patient->trace, sizeof(patient->trace));
        if (!touched)
            continue;
        /* The newest 64: what made the score rise is at the end. */
        if (touched->trace_count == TRACES_MAX)
            memmove(touched->traces, touched->traces + 1,
                    --touched->trace_count * sizeof(touched->traces[0]));
        touched->traces[touched->trace_count++] = id;
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

/* The history that the models of a patient's ward look back on. */
static int64_t history_of(const struct score *score, const struct patient *patient)
{
    int64_t history_us = score->config.history_us;

    for (size_t m = 0; m < score->live->count; m++) {
        const struct live_model *live = score->live->items[m];

        if (live->model && model_features(live->model)->history_us > history_us &&
            live_mode_in(live, patient->unit) != LIVE_ABSENT)
            history_us = model_features(live->model)->history_us;
    }
    return history_us;
}

/* A window as long as the models of the patient's wards need: of who comes to one that needs more
 * the lake is asked. */
static void fit_history(const struct score *score, struct patient *patient)
{
    int64_t history_us = history_of(score, patient), former_us = patient->window.history_us;

    window_reach(&patient->window, history_us);
    if (patient->window.history_us > former_us && patient->window.watermark_us != INT64_MIN)
        patient->ask_lake_us = INT64_MIN;
}

enum vg_status intake_record(struct score_stage *stage, const struct stream_record *record,
                             bool is_scored, struct vg_err *err)
{
    struct score *score = stage->score;
    int64_t latest_us = vg_clock_now_us(score->clock) + score->config.allowed_lateness_us;
    struct patient_counts counts = {0};
    struct enriched enriched;
    struct patient *patient;
    struct touched *touched = NULL;
    int64_t watermark_us;
    struct vg_slice traces = stream_header_get(record->headers, "trace");
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
    /* Only a record that is itself believed says that what is there lies in the future. */
    if (enriched.received_us <= latest_us &&
        enriched.time_us <= enriched.received_us + score->config.allowed_lateness_us)
        patient_forget_future(patient, latest_us);
    watermark_us = patient->window.watermark_us;
    st = patient_add(patient, &enriched, stage->partition, score->config.allowed_lateness_us,
                     latest_us, &counts, err);
    if (st != VG_OK)
        goto done;
    fit_history(score, patient);
    add_traces(patient, touched, traces);
    if (touched)
        touched->has_timely |= watermark_us == INT64_MIN ||
                               enriched.time_us >= watermark_us - score->config.allowed_lateness_us;
    else
        assess_next_expiry(score, patient);
done:
    pthread_mutex_unlock(&score->lock);
    count_values(score, &enriched, &counts);
    if (counts.future > 0 && is_scored)
        vg_log(VG_LOG_WARN, "score", "score.future",
               "record %" PRIu64 ": the device's clock is ahead of the time of receipt, or that of "
               "ours, its values are not scored",
               record->seq);
    return st;
}

/* ---- the past, from the lake (step 11) ---- */

/* What the lake tells, moment by moment, into a window of its own. */
struct past {
    struct window window;
    struct window_reading moment[MOMENT_MAX];
    char ids[MOMENT_MAX][WINDOW_ID_SIZE];
    size_t count; /* of the moment's readings */
    enum vg_status status;
    struct vg_err err;
};

/* The readings of one moment are each other's context for the gate. */
static void end_moment(struct past *past)
{
    for (size_t r = 0; r < past->count && past->status == VG_OK; r++) {
        if (gate_reading(past->moment, past->count, r) == GATE_OK)
            past->status = window_add(&past->window, &past->moment[r], &past->err);
        if (past->status == VG_END)
            past->status = VG_OK;
    }
    past->count = 0;
}

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
    if (past->count > 0 && past->moment[0].time_us != reading->time_us)
        end_moment(past);
    if (past->count == MOMENT_MAX)
        return;
    if (!vg_slice_to_cstr(reading->observation_id, past->ids[past->count], WINDOW_ID_SIZE))
        past->ids[past->count][0] = '\0';
    past->moment[past->count] = (struct window_reading){
        .vital = vital,
        .value = value,
        .time_us = reading->time_us,
        .received_us = reading->received_us == INT64_MIN ? reading->time_us : reading->received_us,
        .code = vg_slice_of(vitals[vital].codes[0]),
        .observation_id = vg_slice_of(past->ids[past->count]),
    };
    past->count++;
}

/* VG_OK, also when there was nothing. */
static enum vg_status ask_lake(struct score *score, const char *patient_id, int64_t history_us,
                               int64_t to_us, struct past *past, struct vg_err *err)
{
    int64_t reach_us = history_us > WINDOW_SLOW_US ? history_us : WINDOW_SLOW_US;
    enum vg_status st;

    past->count = 0;
    past->status = VG_OK;
    st = lake_history(score->config.lake, vg_slice_of(patient_id), to_us - reach_us, to_us,
                      take_past, past, err);
    end_moment(past);
    if (st == VG_END)
        st = VG_OK;
    return st == VG_OK && past->status != VG_OK
               ? vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a window")
               : st;
}

/* True: go on with the next patient. */
static bool ask_for(struct score_stage *stage, struct patient *patient, struct past *past)
{
    struct score *score = stage->score;
    int64_t now_us = vg_clock_now_us(score->clock), asked_us = vg_mono_us();
    int64_t to_us = 0, history_us;
    struct vg_err err = {0};
    enum vg_status st;
    bool wants;

    pthread_mutex_lock(&score->lock);
    wants = wants_past(score, patient, now_us);
    history_us = patient->window.history_us;
    if (wants) {
        to_us = patient->window.watermark_us + 1;
        patient->ask_lake_us = INT64_MAX;
    }
    pthread_mutex_unlock(&score->lock);
    if (!wants)
        return true;

    window_init(&past->window, history_us);
    /* The id is set for life, and the patient is pinned. */
    st = ask_lake(score, patient->id, history_us, to_us, past, &err);
    pthread_mutex_lock(&score->lock);
    if (st == VG_OK)
        st = window_merge(&patient->window, &past->window, &err);
    if (st != VG_OK)
        patient->ask_lake_us = now_us + LAKE_AGAIN_US;
    pthread_mutex_unlock(&score->lock);
    window_fini(&past->window);
    if (st != VG_OK) {
        vg_step_error(11, &err);
        vg_log_err(VG_LOG_WARN, "score", &err);
        return false;
    }
    vg_step_done(11, 1, vg_mono_us() - asked_us);
    return true;
}

void intake_past(struct score_stage *stage)
{
    int64_t until_us = vg_mono_us() + LAKE_BUDGET_US;
    struct past *past = vg_arena_alloc(&stage->batch, sizeof(*past));

    for (size_t i = 0; past && i < stage->touched_count && vg_mono_us() <= until_us; i++) {
        if (!ask_for(stage, stage->touched[i]->patient, past))
            break;
    }
}
