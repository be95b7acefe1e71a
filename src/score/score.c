/* score.c -- steps 10 to 12: from readings to one scored record for each patient and batch.
 *
 *     intake.c: parse, merge into windows, the lake's past of who is new
 *     assess.c: features, NEWS2, the models, all patients of a batch at once; one record each
 *     remote.c: what models in other processes say of these records, as records of their own
 *     serving.c: which models are in force
 *
 * WHEN. A batch gives one record for each patient in it, however many readings it had: the record
 * that the last of them alone would have given. It speaks of the newest of event time and receipt
 * (patient_as_of_us): a backlog of old readings is not scored as if it were fresh, and the same
 * records give the same score whenever they are processed. A tick gives a record, with trigger
 * "timer", for whose value expired since; it speaks of the tick's time.
 *
 * STATE is not written anywhere: it is in the journal. After a restart windows are rebuilt by
 * reading the enriched records again, from the oldest that may still count, at some 200,000 a
 * second; the stage's own records say what its timers had told. What the journal no longer has is
 * asked of the lake, once for each patient whose window does not reach back, when the patient is
 * next seen. Windows merge in any order and any number of times (window.c), so it does no harm that
 * journal and lake overlap, or that a batch is processed twice. A lake that fails delays nobody:
 * the score goes out without the past, the lake is asked again later. A crash at any commit gives
 * the same records as none (crash_test.c).
 *
 * AT THE START nothing is scored before every partition has read its past: a patient's devices may
 * be in several, and half of the vital signs is a low NEWS2.
 *
 * THREADS. One struct score_stage for each partition's thread; the patients are shared, because the
 * devices of one patient may be in several partitions. `lock` guards them and the models; parsing,
 * the lake and other processes are outside. A patient in a batch is pinned: no other partition's
 * tick drops it.
 *
 * LEFT OUT. NEWS2 is left out for patients known to be under 16, the model for those under 18:
 * neither was made for them. Their vital signs are in the record.
 */
#include "score/score_int.h"

#include <stdlib.h>

#define RESTORE_MAX_US                                                                             \
    (2 * VG_MINUTE_US) /* a partition that cannot read its past holds up no more */
#define BATCH_BYTES_MAX ((size_t)64 << 20)

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

/* Its own records say what its timers told before the restart. */
static enum vg_status score_restore_output(void *self, const struct stream_batch *batch,
                                           struct vg_err *err)
{
    struct score_stage *stage = self;
    struct score *score = stage->score;

    (void)err;
    pthread_mutex_lock(&score->lock);
    for (size_t i = 0; i < batch->count; i++) {
        const struct stream_record *record = &batch->records[i];
        struct patient *patient = stream_header_get(record->headers, HEADER_TIMER).ptr
                                      ? vg_map_get(&score->patients.by_id, record->key)
                                      : NULL;

        if (!patient || record->time_us <= patient->told_us)
            continue;
        patient->told_us = record->time_us;
        assess_next_expiry(score, patient);
    }
    pthread_mutex_unlock(&score->lock);
    return VG_OK;
}

static enum vg_status score_process(void *self, const struct stream_batch *batch,
                                    struct stream_out *out, struct vg_err *err)
{
    struct score_stage *stage = self;
    enum vg_status st = wait_for_the_past(stage->score, err);

    for (size_t i = 0; i < batch->count && st == VG_OK; i++) {
        st = intake_record(stage, &batch->records[i], true, err);
        if (st == VG_REJECT) {
            stage_deadletter(out, STREAM_ENRICHED, stage->partition, &batch->records[i], "score",
                             err);
            st = VG_OK;
        }
    }
    if (st == VG_OK && stage->score->config.lake)
        intake_past(stage);
    if (st == VG_OK) {
        pthread_mutex_lock(&stage->score->lock);
        st = assess_touched(stage, out, err);
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

/* How old a record may be that a window still has something of: who is silent for a history is
 * forgotten, and the newest of what it then had looks back as far. */
static int64_t keep_us(const struct score *score)
{
    int64_t back_us =
        score->history_max_us > WINDOW_SLOW_US ? score->history_max_us : WINDOW_SLOW_US;

    return score->history_max_us + back_us + VG_HOUR_US;
}

static enum vg_status score_restore(void *self, const struct stream_batch *batch,
                                    struct vg_err *err)
{
    struct score_stage *stage = self;
    int64_t since_us = vg_clock_now_us(stage->score->clock) - keep_us(stage->score);

    for (size_t i = 0; i < batch->count; i++) {
        enum vg_status st;

        if (batch->records[i].time_us < since_us)
            continue;
        /* What is not understood now was put to the dead letters when it came. */
        st = intake_record(stage, &batch->records[i], false, err);
        if (st != VG_OK && st != VG_REJECT)
            return st;
    }
    return VG_OK;
}

static enum vg_status score_tick(void *self, int64_t now_us, struct stream_out *out,
                                 struct vg_err *err)
{
    struct score_stage *stage = self;
    struct score *score = stage->score;
    enum vg_status st = wait_for_the_past(score, err);

    if (st != VG_OK)
        return st;
    if (stage->partition == 0)
        serving_watch(score);
    pthread_mutex_lock(&score->lock);
    st = assess_expired(stage, now_us, out, err);
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
        .output = STREAM_SCORED,
        .restore_output = score_restore_output,
        .tick = score_tick,
        .tick_us = config->tick_us ? config->tick_us : VG_MINUTE_US,
    };
    pthread_mutex_init(&score->lock, NULL);
    pthread_mutex_init(&score->reload_lock, NULL);
    pthread_mutex_init(&score->remote_lock, NULL);
    gate_view_init(&score->view);
    score->opened_us = vg_mono_us();
    open_metrics(score);
    if (score->config.history_us < VG_HOUR_US || score->config.history_us > 2 * VG_DAY_US)
        st = vg_fail(err, VG_FATAL, "score.config", 0, "history: expected 1 h to 48 h");
    if (st == VG_OK)
        st = serving_open(score, err);
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
    pthread_mutex_destroy(&score->remote_lock);
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
    vg_buf_init(&stage->text, 1 << 16);
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
    vg_buf_fini(&stage->text);
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
