/* stage.c -- the loop around every stage: read, process, commit, again.
 *
 * The consumer's offset is committed with what the batch became, so a crash at any point repeats at
 * most what was not committed. A stage that answers VG_END holds records in memory: the offset
 * stays behind them until it says VG_OK.
 *
 * TROUBLE. VG_RETRY, from process() or from a commit, waits 10 ms, doubling to 5 s, and tries the
 * same again; the wait ends at once when the stage is stopped. The log hears of a trouble when it
 * begins, when it changes and when it is over, not each time. One output that is too large to be
 * committed must not stop what comes after it: the batch is then processed record by record, and
 * the record that it came from goes to the dead letters.
 *
 * A group is made known (offset 0) before its first read, so that retention keeps what it has not
 * read yet. Threads: one per stage and partition; stage_trouble() and stage_stop() from any other.
 */
#include "stream/stage.h"

#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "stream/engine.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_COUNT_USUAL 1024u
#define BACKOFF_US_MIN 10000
#define BACKOFF_US_MAX (5 * VG_SECOND_US)
#define LAG_EVERY_US (VG_SECOND_US / 2)
#define LETTER_BYTES_MAX                                                                           \
    (512u << 10) /* a larger payload is left out: the letter names its record */
#define TROUBLE_SIZE 256

struct stage {
    struct stage_config config;
    struct stream_consumer *consumer;
    pthread_t thread;

    pthread_mutex_t lock; /* guards the next three */
    pthread_cond_t is_stopping_cond;
    bool is_stopping;
    char trouble[TROUBLE_SIZE];

    /* The thread's own. */
    struct stream_out out;
    const char *trouble_code;
    int64_t next_tick_us, next_lag_us; /* monotonic */
    uint64_t next_seq;                 /* behind the last record that was processed */
    uint64_t held_count;               /* records processed, offset not yet committed */
    int64_t held_oldest_us;            /* their oldest time */
};

static bool is_stopping(struct stage *stage)
{
    pthread_mutex_lock(&stage->lock);
    bool stopping = stage->is_stopping;

    pthread_mutex_unlock(&stage->lock);
    return stopping;
}

static int64_t now_us(const struct stage *stage)
{
    return stage->config.clock ? vg_clock_now_us(stage->config.clock) : vg_now_us();
}

/* ---- trouble ---- */

static void set_trouble(struct stage *stage, const struct vg_err *err, bool is_final)
{
    const struct stage_ops *ops = stage->config.ops;
    const char *code = err->code ? err->code : "stage.unknown";

    pthread_mutex_lock(&stage->lock);
    (void)snprintf(stage->trouble, sizeof(stage->trouble), "%s: %.200s", code, err->text);
    pthread_mutex_unlock(&stage->lock);
    if (ops->steps[0])
        vg_step_error(ops->steps[0], err);
    if (is_final)
        vg_log(VG_LOG_ERROR, ops->name, code, "partition %u: the stage has stopped: %s",
               stage->config.partition, err->text);
    else if (!stage->trouble_code || strcmp(stage->trouble_code, code) != 0)
        vg_log(VG_LOG_WARN, ops->name, code, "partition %u: the stage waits and tries again: %s",
               stage->config.partition, err->text);
    stage->trouble_code = code;
}

static void clear_trouble(struct stage *stage)
{
    if (!stage->trouble_code)
        return;
    pthread_mutex_lock(&stage->lock);
    stage->trouble[0] = '\0';
    pthread_mutex_unlock(&stage->lock);
    stage->trouble_code = NULL;
    vg_log(VG_LOG_INFO, stage->config.ops->name, "stage.works",
           "partition %u: the stage works again", stage->config.partition);
}

/* Says what is wrong and waits; false when the stage shall stop. */
static bool back_off(struct stage *stage, int64_t *backoff_us, const struct vg_err *err)
{
    int64_t until_us;
    struct timespec until;

    set_trouble(stage, err, false);
    *backoff_us = *backoff_us ? *backoff_us * 2 : BACKOFF_US_MIN;
    if (*backoff_us > BACKOFF_US_MAX)
        *backoff_us = BACKOFF_US_MAX;
    until_us = vg_mono_us() + *backoff_us;
    until = (struct timespec){.tv_sec = until_us / VG_SECOND_US,
                              .tv_nsec = until_us % VG_SECOND_US * 1000};
    pthread_mutex_lock(&stage->lock);
    while (!stage->is_stopping && vg_mono_us() < until_us)
        (void)pthread_cond_timedwait(&stage->is_stopping_cond, &stage->lock, &until);
    bool stopping = stage->is_stopping;

    pthread_mutex_unlock(&stage->lock);
    return !stopping;
}

/* ---- commits ---- */

/* VG_END: the stage shall stop. VG_REJECT: something in it is too large. */
static enum vg_status commit_out(struct stage *stage, struct vg_err *err)
{
    int64_t backoff_us = 0;

    for (;;) {
        enum vg_status status =
            stream_commit(stage->config.stream, stage->config.partition, &stage->out, NULL, err);

        if (status != VG_RETRY)
            return status;
        if (!back_off(stage, &backoff_us, err))
            return VG_END;
    }
}

static void put_offset(struct stage *stage, uint64_t next_seq)
{
    stream_out_offset(&stage->out, stage->config.ops->name, stage->config.ops->input,
                      stage->config.partition, next_seq);
}

/* Numbers for the picture: how many, and how old the oldest record was when it became durable. */
static void count_steps(struct stage *stage, bool has_moved)
{
    const struct stage_ops *ops = stage->config.ops;
    struct out_totals totals;
    int64_t age_us = stage->held_count ? now_us(stage) - stage->held_oldest_us : -1;

    if (ops->output_step && stream_out_measure(&stage->out, UINT32_MAX, &totals, NULL) == VG_OK &&
        stage->out.record_count > totals.counts[STREAM_DEADLETTER])
        vg_step_done(ops->output_step, stage->out.record_count - totals.counts[STREAM_DEADLETTER],
                     age_us < 0 ? -1 : age_us);
    if (!has_moved || !stage->held_count)
        return;
    for (size_t i = 0; i < sizeof(ops->steps) / sizeof(*ops->steps) && ops->steps[i]; i++)
        vg_step_done(ops->steps[i], stage->held_count, age_us < 0 ? -1 : age_us);
}

/* Commits what the stage put out; with `moves` also the offset over all that it holds. */
static enum vg_status finish(struct stage *stage, bool moves, struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    bool has_moved = moves && stage->held_count > 0;
    enum vg_status status;

    if (has_moved)
        put_offset(stage, stage->next_seq);
    if (stage->out.record_count == 0 && stage->out.offset_count == 0 && !stage->out.has_failed) {
        clear_trouble(stage);
        return VG_OK;
    }
    status = commit_out(stage, err);
    if (status != VG_OK)
        return status;
    count_steps(stage, has_moved);
    if (has_moved) {
        stage->held_count = 0;
        if (ops->committed)
            ops->committed(stage->config.self, stage->next_seq);
    }
    clear_trouble(stage);
    return VG_OK;
}

/* ---- batches ---- */

static enum vg_status process(struct stage *stage, const struct stream_batch *batch,
                              struct vg_err *err);

/* What the batch became is too large: find the record that it came from. */
static enum vg_status process_one_by_one(struct stage *stage, const struct stream_batch *batch,
                                         bool moves, struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    enum vg_status status = VG_OK;

    if (batch->count == 1) {
        stream_out_clear(&stage->out);
        stage_deadletter(&stage->out, ops->input, stage->config.partition, batch->records,
                         ops->name, err);
        return finish(stage, moves, err);
    }
    for (size_t i = 0; i < batch->count && status == VG_OK; i++) {
        struct stream_batch one = {
            .records = &batch->records[i], .count = 1, .next_seq = batch->records[i].seq + 1};

        status = process(stage, &one, err);
    }
    return status;
}

static void hold(struct stage *stage, const struct stream_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (stage->held_count == 0 || batch->records[i].time_us < stage->held_oldest_us)
            stage->held_oldest_us = batch->records[i].time_us;
        stage->held_count++;
    }
    stage->next_seq = batch->next_seq;
}

/* VG_OK, VG_END: the stage shall stop, anything else: it has failed for good. */
static enum vg_status process(struct stage *stage, const struct stream_batch *batch,
                              struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    uint64_t held_count = stage->held_count, next_seq = stage->next_seq;
    int64_t held_oldest_us = stage->held_oldest_us, backoff_us = 0;
    enum vg_status status;

    for (;;) {
        stream_out_clear(&stage->out);
        status = ops->process(stage->config.self, batch, &stage->out, err);
        if (status != VG_RETRY)
            break;
        if (!back_off(stage, &backoff_us, err))
            return VG_END;
    }
    if (status != VG_OK && status != VG_END)
        return status;
    hold(stage, batch);
    bool moves = status == VG_OK;

    status = finish(stage, moves, err);
    if (status != VG_REJECT)
        return status;
    if (batch->count > 1) { /* nothing was committed: the records are processed again */
        stage->held_count = held_count;
        stage->held_oldest_us = held_oldest_us;
        stage->next_seq = next_seq;
    }
    return process_one_by_one(stage, batch, moves, err);
}

/* ---- ticks, lag ---- */

static enum vg_status tick(struct stage *stage, struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    int64_t backoff_us = 0;
    enum vg_status status;

    if (!ops->tick || ops->tick_us <= 0 || vg_mono_us() < stage->next_tick_us)
        return VG_OK;
    for (;;) {
        stream_out_clear(&stage->out);
        status = ops->tick(stage->config.self, now_us(stage), &stage->out, err);
        if (status != VG_RETRY)
            break;
        if (!back_off(stage, &backoff_us, err))
            return VG_END;
    }
    stage->next_tick_us = vg_mono_us() + ops->tick_us;
    if (status != VG_OK && status != VG_END)
        return status;
    return finish(stage, status == VG_OK, err);
}

static void tell_lag(struct stage *stage)
{
    const struct stage_ops *ops = stage->config.ops;
    struct stream *stream = stage->config.stream;
    uint64_t lag = 0;

    if (!ops->steps[0] || vg_mono_us() < stage->next_lag_us)
        return;
    /* Of all partitions: the step has one number, whichever stage's thread sets it. */
    for (uint32_t i = 0; i < stream_partitions(stream); i++)
        lag += stream_lag(stream, ops->name, ops->input, i);
    vg_step_lag(ops->steps[0], (int64_t)lag);
    stage->next_lag_us = vg_mono_us() + LAG_EVERY_US;
}

/* ---- the thread ---- */

static size_t batch_count_max(const struct stage *stage)
{
    return stage->config.ops->batch_count_max ? stage->config.ops->batch_count_max
                                              : BATCH_COUNT_USUAL;
}

/* Reads on over read errors; VG_END: nothing came, or the stage shall stop. */
static enum vg_status read_batch(struct stage *stage, struct stream_consumer *consumer,
                                 int64_t timeout_us, struct stream_batch *ret_batch,
                                 struct vg_err *err)
{
    int64_t backoff_us = 0;

    for (;;) {
        enum vg_status status =
            stream_read(consumer, batch_count_max(stage), timeout_us, ret_batch, err);

        if (status != VG_RETRY)
            return status;
        if (!back_off(stage, &backoff_us, err))
            return VG_END;
    }
}

typedef enum vg_status restore_fn(void *self, const struct stream_batch *batch, struct vg_err *err);

/* Gives `fn` what the consumer reads before end_seq. */
static enum vg_status restore_with(struct stage *stage, struct stream_consumer *consumer,
                                   uint64_t end_seq, restore_fn *fn, struct vg_err *err)
{
    struct stream_batch batch;
    enum vg_status status = VG_OK;

    while (status == VG_OK && !is_stopping(stage) && stream_position(consumer) < end_seq) {
        int64_t backoff_us = 0;

        status = read_batch(stage, consumer, 0, &batch, err);
        if (status != VG_OK)
            break;
        while (batch.count && batch.records[batch.count - 1].seq >= end_seq)
            batch.count--;
        if (batch.count == 0)
            break;
        batch.next_seq = batch.records[batch.count - 1].seq + 1;
        for (;;) {
            status = fn(stage->config.self, &batch, err);
            if (status != VG_RETRY)
                break;
            if (!back_off(stage, &backoff_us, err))
                return VG_END;
        }
    }
    if (is_stopping(stage)) /* half of the past is not what restored() promises */
        return VG_END;
    return status == VG_END ? VG_OK : status;
}

static enum vg_status restore_output(struct stage *stage, struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    struct stream_consumer *consumer;
    uint64_t end_seq;
    enum vg_status status = stream_consumer_open(stage->config.stream, stage->config.partition,
                                                 ops->output, "restore!", &consumer, err);

    if (status != VG_OK)
        return status;
    end_seq = stream_position(consumer);
    stream_seek(consumer, 0);
    status = restore_with(stage, consumer, end_seq, ops->restore_output, err);
    stream_consumer_close(consumer);
    return status;
}

/* Everything between what the stage wants to see again and its offset; then what it put out. */
static enum vg_status restore(struct stage *stage, uint64_t committed_seq, struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    enum vg_status status = VG_OK;

    if (ops->restore && ops->restore_from && committed_seq > 0) {
        stream_seek(stage->consumer, ops->restore_from(stage->config.self, committed_seq));
        status = restore_with(stage, stage->consumer, committed_seq, ops->restore, err);
        stream_seek(stage->consumer, committed_seq);
    }
    if (status == VG_OK && ops->restore_output && committed_seq > 0)
        status = restore_output(stage, err);
    return status;
}

static enum vg_status prepare(struct stage *stage, struct vg_err *err)
{
    const struct stage_ops *ops = stage->config.ops;
    uint64_t committed_seq =
        stream_committed(stage->config.stream, ops->name, ops->input, stage->config.partition);

    stage->next_seq = committed_seq;
    if (committed_seq > 0)
        return restore(stage, committed_seq, err);
    stream_out_clear(&stage->out);
    put_offset(stage, 0);
    return commit_out(stage, err);
}

static void *run_stage(void *arg)
{
    struct stage *stage = arg;
    const struct stage_ops *ops = stage->config.ops;
    struct stream_batch batch;
    struct vg_err err = {0};
    char name[16];

    (void)snprintf(name, sizeof(name), "%s", ops->name);
    (void)pthread_setname_np(pthread_self(), name);
    enum vg_status status = prepare(stage, &err);

    if (status == VG_OK && ops->restored)
        ops->restored(stage->config.self);
    stage->next_tick_us = vg_mono_us() + ops->tick_us;
    while (status == VG_OK && !is_stopping(stage)) {
        int64_t wait_us = LAG_EVERY_US;

        status = tick(stage, &err);
        if (status != VG_OK)
            break;
        tell_lag(stage);
        if (ops->tick && ops->tick_us > 0 && stage->next_tick_us - vg_mono_us() < wait_us)
            wait_us = stage->next_tick_us - vg_mono_us();
        status = read_batch(stage, stage->consumer, wait_us, &batch, &err);
        if (status == VG_OK) {
            clear_trouble(stage);
            status = process(stage, &batch, &err);
        } else if (status == VG_END) {
            status = VG_OK;
        }
    }
    if (status != VG_OK && status != VG_END)
        set_trouble(stage, &err, true);
    return NULL;
}

/* A store that is ahead of the stream would pass over new records as known. */
static enum vg_status check_position(const struct stage_config *config, struct vg_err *err)
{
    const struct stage_ops *ops = config->ops;
    struct stream_consumer *tail;
    uint64_t next_seq = 0, end_seq;
    enum vg_status status;

    if (!ops->position)
        return VG_OK;
    status =
        stream_consumer_open(config->stream, config->partition, ops->input, "end!", &tail, err);
    if (status != VG_OK)
        return status;
    end_seq = stream_position(tail);
    stream_consumer_close(tail);
    status = ops->position(config->self, &next_seq, err);
    if (status == VG_OK && next_seq > end_seq)
        status = vg_fail(err, VG_REJECT, "stage.position", 0,
                         "the stream's partition %u ends at record %" PRIu64
                         ", but %s has taken in all before %" PRIu64
                         ": the stream folder is older than the rest of the data folder. Restore "
                         "the whole data folder from one backup",
                         config->partition, end_seq, ops->name, next_seq);
    return status;
}

enum vg_status stage_start(const struct stage_config *config, struct stage **ret_stage,
                           struct vg_err *err)
{
    enum vg_status status = check_position(config, err);
    struct stage *stage = NULL;
    pthread_condattr_t attr;

    *ret_stage = NULL;
    if (status != VG_OK)
        return status;
    stage = calloc(1, sizeof(*stage));
    if (!stage)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a stage");
    stage->config = *config;
    stream_out_init(&stage->out);
    pthread_mutex_init(&stage->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&stage->is_stopping_cond, &attr);
    pthread_condattr_destroy(&attr);
    status = stream_consumer_open(config->stream, config->partition, config->ops->input,
                                  config->ops->name, &stage->consumer, err);
    if (status == VG_OK && pthread_create(&stage->thread, NULL, run_stage, stage) != 0) {
        stream_consumer_close(stage->consumer);
        status =
            vg_fail(err, VG_RETRY, "stream.memory", 0, "no thread for stage %s", config->ops->name);
    }
    if (status != VG_OK) {
        stream_out_fini(&stage->out);
        pthread_cond_destroy(&stage->is_stopping_cond);
        pthread_mutex_destroy(&stage->lock);
        free(stage);
        return status;
    }
    *ret_stage = stage;
    return VG_OK;
}

void stage_stop(struct stage *stage)
{
    if (!stage)
        return;
    pthread_mutex_lock(&stage->lock);
    stage->is_stopping = true;
    pthread_cond_broadcast(&stage->is_stopping_cond);
    pthread_mutex_unlock(&stage->lock);
    stream_wake(stage->config.stream);
    (void)pthread_join(stage->thread, NULL);
    stream_consumer_close(stage->consumer);
    stream_out_fini(&stage->out);
    pthread_cond_destroy(&stage->is_stopping_cond);
    pthread_mutex_destroy(&stage->lock);
    free(stage);
}

void stage_trouble(struct stage *stage, char out[static 256])
{
    pthread_mutex_lock(&stage->lock);
    memcpy(out, stage->trouble, TROUBLE_SIZE);
    pthread_mutex_unlock(&stage->lock);
}

/* ---- dead letters ---- */

static void put_payload(struct vg_json_writer *w, struct vg_slice value)
{
    if (vg_slice_is_utf8(value)) {
        vg_json_member_string(w, "payload", value);
        vg_json_member_string(w, "payloadEncoding", VG_SLICE("utf-8"));
        return;
    }
    struct vg_buf text;

    vg_buf_init(&text, 0);
    vg_base64_put(&text, value);
    vg_json_member_string(w, "payload", vg_buf_slice(&text));
    vg_json_member_string(w, "payloadEncoding", VG_SLICE("base64"));
    if (!vg_buf_ok(&text))
        w->out->has_failed = true;
    vg_buf_fini(&text);
}

static void write_letter(struct vg_buf *letter, enum stream_topic topic, uint32_t partition,
                         const struct stream_record *record, const char *stage,
                         const struct vg_err *why, bool has_payload)
{
    struct vg_json_writer w;

    vg_buf_clear(letter);
    vg_json_writer_init(&w, letter);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "stage", vg_slice_of(stage));
    vg_json_member_string(&w, "reason", vg_slice_of(why && why->code ? why->code : "unknown"));
    vg_json_member_string(&w, "text", vg_slice_of(why && why->code ? why->text : ""));
    vg_json_member_string(&w, "topic", vg_slice_of(stream_topic_name(topic)));
    vg_json_member_i64(&w, "partition", partition);
    vg_json_member_i64(&w, "seq", (int64_t)record->seq);
    vg_json_member_time(&w, "time", record->time_us);
    vg_json_member_string(&w, "key", record->key);
    if (has_payload)
        put_payload(&w, record->value);
    else
        vg_json_member_string(&w, "payloadEncoding", VG_SLICE("none"));
    vg_json_close_object(&w);
}

void stage_deadletter(struct stream_out *out, enum stream_topic topic, uint32_t partition,
                      const struct stream_record *record, const char *stage,
                      const struct vg_err *why)
{
    char id[48];
    int id_len = snprintf(id, sizeof(id), "%" PRIu32 "-%" PRIu64, partition, record->seq);
    struct vg_slice trace = topic == STREAM_DEVICE_RAW
                                ? (struct vg_slice){id, (size_t)id_len}
                                : stream_header_get(record->headers, "trace");
    struct vg_buf letter, headers;

    vg_buf_init(&letter, 0);
    vg_buf_init(&headers, 0);
    stream_header_put(&headers, "trace", trace);
    write_letter(&letter, topic, partition, record, stage, why, true);
    if (!vg_buf_ok(&letter) || letter.len > LETTER_BYTES_MAX)
        write_letter(&letter, topic, partition, record, stage, why, false);
    if (!vg_buf_ok(&letter) || !vg_buf_ok(&headers))
        out->has_failed = true; /* no memory: the commit says so, nothing is lost silently */
    stream_out_add(out, STREAM_DEADLETTER, record->time_us, record->key, vg_buf_slice(&headers),
                   vg_buf_slice(&letter));
    vg_buf_fini(&letter);
    vg_buf_fini(&headers);
}
