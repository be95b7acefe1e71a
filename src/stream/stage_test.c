/* stage_test.c -- the loop around a stage: what is committed when, and what happens in trouble. */
#include "stream/stage.h"

#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "stream/deadletter.h"
#include "vg_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static char root[64];

/* A stage that doubles numbers from device.raw into iomt.normalized, and does what a test asks. */
struct doubler {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    unsigned seen, restored, committed, ticks;
    uint64_t committed_seq, first_restored, last_restored;
    unsigned retries_left; /* VG_RETRY so often first */
    bool is_fatal_at_five;
    bool holds;            /* VG_END from process, VG_OK from tick */
    bool letters_odd;      /* odd numbers are dead letters */
    unsigned large_number; /* its output is too large */
};

static struct doubler doubler;

static void note(void)
{
    pthread_cond_broadcast(&doubler.changed);
    pthread_mutex_unlock(&doubler.lock);
}

static enum vg_status double_them(void *self, const struct stream_batch *batch,
                                  struct stream_out *out, struct vg_err *err)
{
    static const char large[2000];
    struct doubler *d = self;
    enum vg_status status = VG_OK;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < batch->count && status == VG_OK; i++) {
        const struct stream_record *record = &batch->records[i];
        uint64_t number = 0;
        char text[24];

        (void)vg_slice_to_u64(record->value, &number);
        if (d->is_fatal_at_five && number == 5)
            status = vg_fail(err, VG_FATAL, "test.fatal", 0, "five is too much");
        if (d->letters_odd && number % 2) {
            struct vg_err why = {.code = "test.odd"};

            stage_deadletter(out, STREAM_DEVICE_RAW, 0, record, "doubler", &why);
            continue;
        }
        int len = snprintf(text, sizeof(text), "%u", (unsigned)number * 2);
        struct vg_slice value = {text, (size_t)len};

        if (d->large_number && number == d->large_number)
            value = (struct vg_slice){large, sizeof(large)};
        stream_out_add(out, STREAM_NORMALIZED, record->time_us, record->key, (struct vg_slice){0},
                       value);
    }
    if (status == VG_OK && d->retries_left > 0) {
        d->retries_left--;
        status = vg_fail(err, VG_RETRY, "test.retry", 0, "not yet");
    }
    d->seen += status == VG_OK ? (unsigned)batch->count : 0;
    if (status == VG_OK && d->holds)
        status = VG_END;
    note();
    return status;
}

static enum vg_status restore_them(void *self, const struct stream_batch *batch, struct vg_err *err)
{
    struct doubler *d = self;

    (void)err;
    pthread_mutex_lock(&d->lock);
    if (d->restored == 0)
        d->first_restored = batch->records[0].seq;
    d->last_restored = batch->records[batch->count - 1].seq;
    d->restored += (unsigned)batch->count;
    note();
    return VG_OK;
}

static uint64_t five_before(void *self, uint64_t committed_seq)
{
    (void)self;
    return committed_seq > 5 ? committed_seq - 5 : 0;
}

static void on_committed(void *self, uint64_t next_seq)
{
    struct doubler *d = self;

    pthread_mutex_lock(&d->lock);
    d->committed++;
    d->committed_seq = next_seq;
    note();
}

static enum vg_status on_tick(void *self, int64_t now_us, struct stream_out *out,
                              struct vg_err *err)
{
    struct doubler *d = self;

    (void)now_us;
    (void)err;
    pthread_mutex_lock(&d->lock);
    d->ticks++;
    bool holds = d->holds && d->ticks % 4 != 0; /* lets go at every fourth */

    if (d->ticks == 1)
        stream_out_add(out, STREAM_SCORED, 0, VG_SLICE("tick"), (struct vg_slice){0},
                       (struct vg_slice){0});
    note();
    return holds ? VG_END : VG_OK;
}

static const struct stage_ops plain_ops = {.name = "doubler",
                                           .steps = {5, 6, 0, 0},
                                           .output_step = 6,
                                           .input = STREAM_DEVICE_RAW,
                                           .batch_count_max = 4,
                                           .process = double_them,
                                           .restore = restore_them,
                                           .restore_from = five_before,
                                           .committed = on_committed};
static const struct stage_ops ticking_ops = {.name = "doubler",
                                             .input = STREAM_DEVICE_RAW,
                                             .process = double_them,
                                             .committed = on_committed,
                                             .tick = on_tick,
                                             .tick_us = 2000};

static struct stream *open_stream(void)
{
    const struct stream_config config = {
        .dir = root, .segment_bytes = 65536, .record_bytes_max = 1024};
    struct stream *stream = NULL;
    struct vg_err err = {0};

    if (!CHECK(stream_open(&config, &stream, &err) == VG_OK)) {
        printf("  %s: %s\n", err.code, err.text);
        exit(1);
    }
    return stream;
}

static struct stage *start(struct stream *stream, const struct stage_ops *ops)
{
    const struct stage_config config = {.ops = ops, .self = &doubler, .stream = stream};
    struct stage *stage = NULL;

    CHECK(stage_start(&config, &stage, NULL) == VG_OK);
    return stage;
}

static void commit_numbers(struct stream *stream, unsigned first, unsigned count)
{
    struct stream_out out;
    char text[24];

    stream_out_init(&out);
    for (unsigned i = first; i < first + count; i++) {
        int len = snprintf(text, sizeof(text), "%u", i);

        stream_out_add(&out, STREAM_DEVICE_RAW, vg_now_us(), VG_SLICE("bed-4"),
                       (struct vg_slice){0}, (struct vg_slice){text, (size_t)len});
    }
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
}

/* True once `*count` is at least `want`; false after 20 s. */
static bool wait_for(const unsigned *count, unsigned want)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&doubler.lock);
    while (*count < want && pthread_cond_timedwait(&doubler.changed, &doubler.lock, &until) == 0) {
    }
    bool is_there = *count >= want;

    pthread_mutex_unlock(&doubler.lock);
    return is_there;
}

static bool wait_for_commit(uint64_t seq)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&doubler.lock);
    while (doubler.committed_seq < seq &&
           pthread_cond_timedwait(&doubler.changed, &doubler.lock, &until) == 0) {
    }
    bool is_there = doubler.committed_seq >= seq;

    pthread_mutex_unlock(&doubler.lock);
    return is_there;
}

static void set_up(void)
{
    doubler =
        (struct doubler){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    memcpy(root, "/tmp/vg-stage-XXXXXX", sizeof("/tmp/vg-stage-XXXXXX"));
    CHECK(mkdtemp(root) != NULL);
}

static void tear_down(struct stream *stream)
{
    char command[100];

    stream_close(stream);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    CHECK(system(command) == 0);
}

static unsigned count_records(struct stream *stream, enum stream_topic topic)
{
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    unsigned count = 0;

    CHECK(stream_consumer_open(stream, 0, topic, "test", &consumer, NULL) == VG_OK);
    while (stream_read(consumer, 100, 0, &batch, NULL) == VG_OK)
        count += (unsigned)batch.count;
    stream_consumer_close(consumer);
    return count;
}

static void test_output_and_offset_are_one_commit(void)
{
    struct stream *stream = open_stream();
    struct stage *stage = start(stream, &plain_ops);
    struct vg_step_view before, after;
    char trouble[256];

    vg_step_read(5, &before);
    commit_numbers(stream, 0, 10);
    CHECK(wait_for_commit(10));
    stage_trouble(stage, trouble);
    CHECK(*trouble == '\0');
    stage_stop(stage);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 10);
    CHECK(stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0) == 10);
    CHECK(stream_lag(stream, "doubler", STREAM_DEVICE_RAW, 0) == 0);
    CHECK(doubler.committed == 3); /* batches of at most 4 */
    vg_step_read(5, &after);
    CHECK(after.count - before.count == 10 && after.latency_p99_us > 0);
    tear_down(stream);
}

static void test_retry_keeps_the_batch_and_says_so(void)
{
    struct stream *stream = open_stream();

    doubler.retries_left = 3;
    commit_numbers(stream, 0, 4);
    struct stage *stage = start(stream, &plain_ops);

    CHECK(wait_for_commit(4));
    CHECK(doubler.seen == 4);
    stage_stop(stage);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 4);
    tear_down(stream);
}

static void test_a_stage_in_trouble_stops_at_once(void)
{
    struct stream *stream = open_stream();
    int64_t start_us = vg_mono_us();
    char trouble[256] = "";

    doubler.retries_left = 1000000;
    commit_numbers(stream, 0, 4);
    struct stage *stage = start(stream, &plain_ops);

    while (!*trouble && vg_mono_us() < start_us + 20 * VG_SECOND_US)
        stage_trouble(stage, trouble);
    CHECK(strstr(trouble, "test.retry") != NULL);
    stage_stop(stage);
    CHECK(vg_mono_us() < start_us + 10 * VG_SECOND_US);
    CHECK(stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0) == 0);
    tear_down(stream);
}

static void test_fatal_stops_before_the_batch_and_says_why(void)
{
    struct stream *stream = open_stream();
    int64_t start_us = vg_mono_us();
    char trouble[256] = "";

    doubler.is_fatal_at_five = true;
    commit_numbers(stream, 0, 8);
    struct stage *stage = start(stream, &plain_ops);

    while (!*trouble && vg_mono_us() < start_us + 20 * VG_SECOND_US)
        stage_trouble(stage, trouble);
    CHECK(strcmp(trouble, "test.fatal: five is too much") == 0);
    stage_stop(stage);
    CHECK(stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0) == 4);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 4);
    /* Mended, it goes on where it stopped; restore sees the five before. */
    doubler.is_fatal_at_five = false;
    stage = start(stream, &plain_ops);
    CHECK(wait_for_commit(8));
    stage_stop(stage);
    CHECK(doubler.restored == 4 && doubler.first_restored == 0 && doubler.last_restored == 3);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 8);
    tear_down(stream);
}

static enum vg_status far_ahead(void *self, uint64_t *ret_next_seq, struct vg_err *err)
{
    (void)self;
    (void)err;
    *ret_next_seq = 9;
    return VG_OK;
}

/* A store that holds more than the stream ever had: the stream's folder was lost or put back. */
static void test_a_stream_older_than_the_stages_store_is_refused(void)
{
    struct stage_ops ops = plain_ops;
    struct stream *stream = open_stream();
    struct stage *stage = NULL;
    struct vg_err err = {0};

    ops.position = far_ahead;
    commit_numbers(stream, 0, 8);
    CHECK(stage_start(&(struct stage_config){.ops = &ops, .self = &doubler, .stream = stream},
                      &stage, &err) == VG_REJECT);
    CHECK(strcmp(err.code, "stage.position") == 0 && !stage);
    commit_numbers(stream, 8, 1);
    CHECK(stage_start(&(struct stage_config){.ops = &ops, .self = &doubler, .stream = stream},
                      &stage, &err) == VG_OK);
    stage_stop(stage);
    tear_down(stream);
}

static void test_restore_sees_what_was_asked_for_and_no_more(void)
{
    struct stream *stream = open_stream();

    commit_numbers(stream, 0, 20);
    struct stage *stage = start(stream, &plain_ops);

    CHECK(wait_for_commit(20));
    stage_stop(stage);
    CHECK(doubler.restored == 0);
    commit_numbers(stream, 20, 5); /* behind the stage's own records */
    stage = start(stream, &plain_ops);
    CHECK(wait_for(&doubler.seen, 25));
    stage_stop(stage);
    CHECK(doubler.restored == 5 && doubler.first_restored == 15 && doubler.last_restored == 19);
    CHECK(doubler.seen == 25);
    tear_down(stream);
}

static void test_dead_letters_do_not_stop_the_rest(void)
{
    struct stream *stream = open_stream();
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    struct vg_arena arena;
    struct vg_json *letter = NULL;

    doubler.letters_odd = true;
    commit_numbers(stream, 0, 4);
    struct stage *stage = start(stream, &plain_ops);

    CHECK(wait_for_commit(4));
    stage_stop(stage);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 2);
    vg_arena_init(&arena, 0);
    CHECK(stream_consumer_open(stream, 0, STREAM_DEADLETTER, "t", &consumer, NULL) == VG_OK);
    CHECK(stream_read(consumer, 10, 0, &batch, NULL) == VG_OK && batch.count == 2);
    CHECK(vg_slice_is(stream_header_get(batch.records[0].headers, "trace"), "0-1"));
    CHECK(vg_json_parse(&arena, batch.records[0].value, NULL, &letter, NULL, NULL) == VG_OK);
    CHECK(vg_slice_is(vg_json_get_text(letter, "stage"), "doubler"));
    CHECK(vg_slice_is(vg_json_get_text(letter, "reason"), "test.odd"));
    CHECK(vg_slice_is(vg_json_get_text(letter, "topic"), "device.raw"));
    CHECK(vg_slice_is(vg_json_get_text(letter, "key"), "bed-4"));
    CHECK(vg_slice_is(vg_json_get_text(letter, "payload"), "1"));
    CHECK(vg_slice_is(vg_json_get_text(letter, "payloadEncoding"), "utf-8"));
    stream_consumer_close(consumer);
    vg_arena_fini(&arena);
    tear_down(stream);
}

static void test_letters_of_binary_and_of_huge_payloads(void)
{
    static char huge[700000];
    static const struct {
        const char *row;
        struct vg_slice value;
        const char *encoding, *payload;
    } rows[] = {
        {"text", {"a\"b", 3}, "utf-8", "a\"b"},
        {"bytes", {"\xff\x00\x01", 3}, "base64", "/wAB"},
        {"nothing", {NULL, 0}, "utf-8", ""},
        {"too large to repeat", {huge, sizeof(huge)}, "none", ""},
    };
    struct vg_arena arena;

    memset(huge, 'x', sizeof(huge));
    vg_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct stream_record record = {.seq = 7, .time_us = 0, .value = rows[i].value};
        struct stream_out out;
        struct vg_json *letter = NULL;
        struct vg_slice json = {0};

        CHECK_ROW(rows[i].row);
        stream_out_init(&out);
        stage_deadletter(&out, STREAM_DEVICE_RAW, 3, &record, "hub", NULL);
        CHECK(out.record_count == 1 && !out.has_failed);
        /* The record's value is all behind the trace header. */
        const char *start = memchr(out.records.ptr, '{', out.records.len);

        if (CHECK(start != NULL))
            json = vg_slice_from(vg_buf_slice(&out.records), (size_t)(start - out.records.ptr));
        CHECK(vg_json_parse(&arena, json, NULL, &letter, NULL, NULL) == VG_OK);
        CHECK(vg_slice_is(vg_json_get_text(letter, "payloadEncoding"), rows[i].encoding));
        CHECK(vg_slice_is(vg_json_get_text(letter, "payload"), rows[i].payload));
        stream_out_fini(&out);
    }
    vg_arena_fini(&arena);
}

static void test_an_output_too_large_is_a_dead_letter_of_its_record_only(void)
{
    struct stream *stream = open_stream();

    doubler.large_number = 2;
    commit_numbers(stream, 0, 8);
    struct stage *stage = start(stream, &plain_ops);

    CHECK(wait_for_commit(8));
    stage_stop(stage);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 7);
    CHECK(count_records(stream, STREAM_DEADLETTER) == 1);
    tear_down(stream);
}

static atomic_bool is_disk_broken;

static int fdatasync_or_not(void *ctx, int fd)
{
    if (atomic_load(&is_disk_broken)) {
        errno = EIO;
        return -1;
    }
    return vg_io_system.fdatasync(ctx, fd);
}

static void test_what_was_processed_but_not_committed_comes_again(void)
{
    struct vg_io io = vg_io_system;
    const struct stream_config config = {.dir = root, .segment_bytes = 65536, .io = &io};
    struct stream *stream = NULL;
    char trouble[256] = "";
    int64_t start_us = vg_mono_us();

    io.fdatasync = fdatasync_or_not;
    CHECK(stream_open(&config, &stream, NULL) == VG_OK);
    struct stage *stage = start(stream, &plain_ops);

    commit_numbers(stream, 0, 4);
    CHECK(wait_for_commit(4));
    /* The disk fails under the stage's second commit, as a power cut would. */
    stage_stop(stage);
    commit_numbers(stream, 4, 4);
    atomic_store(&is_disk_broken, true);
    stage = start(stream, &plain_ops);
    while (!*trouble && vg_mono_us() < start_us + 20 * VG_SECOND_US)
        stage_trouble(stage, trouble);
    CHECK(strstr(trouble, "stream.sync") != NULL);
    stage_stop(stage);
    CHECK(doubler.seen == 8 && doubler.committed_seq == 4);
    stream_close(stream);
    atomic_store(&is_disk_broken, false);
    stream = open_stream();
    uint64_t committed = stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0);

    /* Whole or not at all: here the file system kept what was written. */
    CHECK(count_records(stream, STREAM_NORMALIZED) == (committed > 4 ? 8 : 4));
    stage = start(stream, &plain_ops);
    commit_numbers(stream, 8, 1);
    CHECK(wait_for(&doubler.seen, committed > 4 ? 9 : 13));
    stage_stop(stage);
    CHECK(count_records(stream, STREAM_NORMALIZED) == 9);
    tear_down(stream);
}

static void test_ticks_come_without_records(void)
{
    struct stream *stream = open_stream();
    struct stage *stage = start(stream, &ticking_ops);

    CHECK(wait_for(&doubler.ticks, 5));
    stage_stop(stage);
    CHECK(count_records(stream, STREAM_SCORED) == 1);
    CHECK(stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0) == 0);
    tear_down(stream);
}

static void test_held_records_are_committed_by_a_tick_and_come_again_before(void)
{
    struct stream *stream = open_stream();

    doubler.holds = true;
    doubler.ticks = 100; /* lets go at a multiple of 4, a stop comes first */
    commit_numbers(stream, 0, 6);
    struct stage_ops never = ticking_ops;

    never.tick = NULL;
    struct stage *stage = start(stream, &never);

    CHECK(wait_for(&doubler.seen, 6));
    stage_stop(stage);
    CHECK(stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0) == 0);
    stage = start(stream, &ticking_ops);
    CHECK(wait_for_commit(6));
    stage_stop(stage);
    CHECK(doubler.seen == 12);
    CHECK(stream_committed(stream, "doubler", STREAM_DEVICE_RAW, 0) == 6);
    tear_down(stream);
}

/* A payload without a time counts at its receipt: what is replayed a day later is a day old. */
static void test_a_replayed_letter_keeps_its_time_of_receipt(void)
{
    struct stream *stream = NULL;
    struct stream_consumer *consumer = NULL;
    struct stream_record source = {
        .time_us = 1000 * VG_SECOND_US, .key = VG_SLICE("bed-4"), .value = VG_SLICE("72")};
    struct vg_err why = {.code = "test.odd"}, err = {0};
    struct stream_batch batch;
    struct stream_out out;
    char dir[128];
    uint64_t seq = 0;

    (void)snprintf(dir, sizeof(dir), "%s/letters", root);
    if (!CHECK(stream_open(&(struct stream_config){.dir = dir, .segment_bytes = 1u << 20}, &stream,
                           &err) == VG_OK))
        return;
    stream_out_init(&out);
    stream_out_add(&out, STREAM_DEVICE_RAW, source.time_us, source.key, VG_SLICE(""), source.value);
    stage_deadletter(&out, STREAM_DEVICE_RAW, 0, &source, "doubler", &why); /* of seq 0 */
    source.seq = 99; /* and one whose source is gone */
    stage_deadletter(&out, STREAM_DEVICE_RAW, 0, &source, "doubler", &why);
    CHECK(stream_commit(stream, 0, &out, NULL, &err) == VG_OK);
    stream_out_fini(&out);
    CHECK(stream_deadletter_replay(stream, 0, 1, &seq, &err) == VG_OK);
    CHECK(stream_deadletter_replay(stream, 0, 2, &seq, &err) == VG_OK);
    CHECK(stream_consumer_open(stream, 0, STREAM_DEVICE_RAW, "test", &consumer, &err) == VG_OK);
    for (size_t count = 0; count < 3; count += batch.count) {
        if (!CHECK(stream_read(consumer, 10, VG_SECOND_US, &batch, &err) == VG_OK))
            break;
        for (size_t i = 0; i < batch.count; i++) {
            CHECK(batch.records[i].time_us == source.time_us);
            CHECK(vg_slice_is(batch.records[i].value, "72"));
        }
    }
    stream_consumer_close(consumer);
    stream_close(stream);
}

#define RUN_FRESH(test)                                                                            \
    do {                                                                                           \
        set_up();                                                                                  \
        RUN(test);                                                                                 \
    } while (0)

int main(void)
{
    vg_log_set_level(VG_LOG_ERROR);
    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    RUN_FRESH(test_output_and_offset_are_one_commit);
    RUN_FRESH(test_retry_keeps_the_batch_and_says_so);
    RUN_FRESH(test_a_stage_in_trouble_stops_at_once);
    RUN_FRESH(test_fatal_stops_before_the_batch_and_says_why);
    RUN_FRESH(test_a_stream_older_than_the_stages_store_is_refused);
    RUN_FRESH(test_restore_sees_what_was_asked_for_and_no_more);
    RUN_FRESH(test_dead_letters_do_not_stop_the_rest);
    RUN(test_letters_of_binary_and_of_huge_payloads);
    RUN_FRESH(test_an_output_too_large_is_a_dead_letter_of_its_record_only);
    RUN_FRESH(test_what_was_processed_but_not_committed_comes_again);
    RUN_FRESH(test_ticks_come_without_records);
    RUN_FRESH(test_held_records_are_committed_by_a_tick_and_come_again_before);
    RUN_FRESH(test_a_replayed_letter_keeps_its_time_of_receipt);
    return vg_test_report();
}
