/* stream_test.c -- every engine in the table keeps the same promises. What differs between engines
 * is not a promise, except where a test says "journal". */
#include "stream/engine.h"

#include "base/crypto.h"
#include "vg_test.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static struct stream_config config;
static char root[64];

static struct stream *open_stream(void)
{
    struct stream *stream = NULL;
    struct vg_err err = {0};

    if (!CHECK(stream_open(&config, &stream, &err) == VG_OK)) {
        printf("  %s: %s\n", err.code, err.text);
        exit(1);
    }
    return stream;
}

static void remove_dir(const char *dir)
{
    char command[200];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    CHECK(system(command) == 0);
}

static void fresh_dir(void)
{
    static char dir[64];

    memcpy(dir, "/tmp/vg-stream-XXXXXX", sizeof("/tmp/vg-stream-XXXXXX"));
    CHECK(mkdtemp(dir) != NULL);
    memcpy(root, dir, sizeof(root));
    config = (struct stream_config){.engine = config.engine, .dir = root};
}

static void add_number(struct stream_out *out, enum stream_topic topic, unsigned number)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%u", number);

    stream_out_add(out, topic, number, VG_SLICE("bed-4"), (struct vg_slice){0},
                   (struct vg_slice){text, (size_t)len});
}

static unsigned number_of(const struct stream_record *record)
{
    uint64_t value = 0;

    CHECK(vg_slice_to_u64(record->value, &value));
    return (unsigned)value;
}

/* Commits `count` records from `first` on, in one commit. */
static uint64_t commit_numbers(struct stream *stream, enum stream_topic topic, unsigned first,
                               unsigned count)
{
    struct stream_out out;
    struct vg_err err = {0};
    uint64_t seq = 0;

    stream_out_init(&out);
    for (unsigned i = 0; i < count; i++)
        add_number(&out, topic, first + i);
    if (!CHECK(stream_commit(stream, 0, &out, &seq, &err) == VG_OK))
        printf("  %s: %s\n", err.code, err.text);
    stream_out_fini(&out);
    return seq;
}

static void commit_offset(struct stream *stream, const char *group, enum stream_topic topic,
                          uint64_t seq)
{
    struct stream_out out;

    stream_out_init(&out);
    stream_out_offset(&out, group, topic, 0, seq);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
}

/* Reads to the end; checks that the numbers are first, first + 1, ... and returns how many. */
static unsigned read_numbers(struct stream_consumer *consumer, unsigned first)
{
    struct stream_batch batch;
    unsigned count = 0;

    while (stream_read(consumer, 100, 0, &batch, NULL) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++) {
            CHECK(number_of(&batch.records[i]) == first + count);
            count++;
        }
        CHECK(batch.count > 0 && batch.next_seq == batch.records[batch.count - 1].seq + 1);
    }
    return count;
}

static struct stream_consumer *open_consumer(struct stream *stream, enum stream_topic topic,
                                             const char *group)
{
    struct stream_consumer *consumer = NULL;

    CHECK(stream_consumer_open(stream, 0, topic, group, &consumer, NULL) == VG_OK);
    return consumer;
}

static unsigned count_numbers(struct stream *stream, enum stream_topic topic, const char *group,
                              unsigned first)
{
    struct stream_consumer *consumer = open_consumer(stream, topic, group);
    unsigned count = read_numbers(consumer, first);

    stream_consumer_close(consumer);
    return count;
}

static size_t damage_of(struct stream *stream)
{
    struct vg_buf text;

    vg_buf_init(&text, 0);
    size_t count = stream_damage(stream, &text);

    if (text.len)
        printf("  damage: %.*s", VG_FMT(vg_buf_slice(&text)));
    vg_buf_fini(&text);
    return count;
}

static void test_records_come_back_in_order_with_all_they_had(void)
{
    struct stream *stream = open_stream();
    struct stream_consumer *consumer = open_consumer(stream, STREAM_DEVICE_RAW, "a");
    struct stream_batch batch;
    struct stream_out out;
    struct vg_buf headers;
    uint64_t seq = 99;

    vg_buf_init(&headers, 0);
    stream_header_put(&headers, "via", VG_SLICE("mqtt"));
    stream_header_put(&headers, "mid", VG_SLICE(""));
    stream_out_init(&out);
    stream_out_add(&out, STREAM_DEVICE_RAW, -5, VG_SLICE("bed-1"), vg_buf_slice(&headers),
                   VG_SLICE("{\"hr\":72}"));
    stream_out_add(&out, STREAM_DEVICE_RAW, 7, (struct vg_slice){0}, (struct vg_slice){0},
                   (struct vg_slice){0});
    CHECK(stream_commit(stream, 0, &out, &seq, NULL) == VG_OK);
    CHECK(seq == 0);
    CHECK(stream_read(consumer, 10, 0, &batch, NULL) == VG_OK);
    if (CHECK(batch.count == 2)) {
        const struct stream_record *record = batch.records;

        CHECK(record->seq == 0 && record->time_us == -5);
        CHECK(vg_slice_is(record->key, "bed-1") && vg_slice_is(record->value, "{\"hr\":72}"));
        CHECK(vg_slice_is(stream_header_get(record->headers, "via"), "mqtt"));
        CHECK(stream_header_get(record->headers, "mid").ptr != NULL);
        CHECK(stream_header_get(record->headers, "dup").ptr == NULL);
        CHECK(record[1].seq == 1 && record[1].key.len == 0 && record[1].value.len == 0);
    }
    CHECK(batch.next_seq == 2 && stream_position(consumer) == 2);
    CHECK(stream_read(consumer, 10, 0, &batch, NULL) == VG_END);
    stream_out_fini(&out);
    vg_buf_fini(&headers);
    stream_consumer_close(consumer);
    stream_close(stream);
}

static void test_one_commit_over_several_topics_is_grouped_by_topic(void)
{
    struct stream *stream = open_stream();
    struct stream_scan *scan = NULL;
    struct stream_commit_view view;
    struct stream_record record;
    struct stream_out out;
    enum stream_topic topic;
    struct vg_slice group;
    uint32_t partition;
    uint64_t seq;
    static const unsigned want[] = {1, 3, 0, 4, 2};

    stream_out_init(&out);
    add_number(&out, STREAM_ENRICHED, 0);
    add_number(&out, STREAM_DEVICE_RAW, 1);
    add_number(&out, STREAM_DEADLETTER, 2);
    add_number(&out, STREAM_DEVICE_RAW, 3);
    add_number(&out, STREAM_ENRICHED, 4);
    stream_out_offset(&out, "connector", STREAM_DEVICE_RAW, 0, 17);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
    CHECK(stream_scan_open(stream, 0, 0, &scan, NULL) == VG_OK);
    CHECK(stream_scan_next(scan, &view, NULL) == VG_OK);
    CHECK(view.first_seq == 0 && view.record_count == 5 && view.offset_count == 1);
    for (size_t i = 0; i < 5; i++) {
        CHECK(stream_scan_record(scan, i, &topic, &record));
        CHECK(record.seq == i && number_of(&record) == want[i]);
    }
    CHECK(stream_scan_record(scan, 2, &topic, &record) && topic == STREAM_ENRICHED);
    CHECK(stream_scan_record(scan, 0, &topic, &record) && topic == STREAM_DEVICE_RAW);
    CHECK(!stream_scan_record(scan, 5, &topic, &record));
    CHECK(stream_scan_offset(scan, 0, &group, &topic, &partition, &seq));
    CHECK(vg_slice_is(group, "connector") && topic == STREAM_DEVICE_RAW && seq == 17);
    CHECK(!stream_scan_offset(scan, 1, &group, &topic, &partition, &seq));
    CHECK(stream_scan_next(scan, &view, NULL) == VG_END);
    stream_scan_close(scan);
    CHECK(stream_committed(stream, "connector", STREAM_DEVICE_RAW, 0) == 17);
    CHECK(stream_committed(stream, "connector", STREAM_ENRICHED, 0) == 0);
    stream_close(stream);
}

static void test_everything_survives_reopening(void)
{
    for (unsigned round = 0; round < 5; round++) {
        struct stream *stream = open_stream();

        CHECK(stream_committed(stream, "a", STREAM_DEVICE_RAW, 0) == (round ? round * 10u : 0));
        CHECK(count_numbers(stream, STREAM_DEVICE_RAW, "b", 0) == round * 10);
        CHECK(commit_numbers(stream, STREAM_DEVICE_RAW, round * 10, 10) == round * 10);
        CHECK(count_numbers(stream, STREAM_DEVICE_RAW, "a", round * 10) == 10);
        commit_offset(stream, "a", STREAM_DEVICE_RAW, round * 10 + 10);
        CHECK(damage_of(stream) == 0);
        stream_close(stream);
    }
}

static void test_many_segments_are_read_as_one_log(void)
{
    config.segment_bytes = 4096;
    struct stream *stream = open_stream();

    for (unsigned i = 0; i < 500; i++) {
        commit_numbers(stream, STREAM_NORMALIZED, i * 3, 3);
        commit_numbers(stream, STREAM_SCORED, i, 1);
    }
    CHECK(count_numbers(stream, STREAM_NORMALIZED, "a", 0) == 1500);
    CHECK(count_numbers(stream, STREAM_SCORED, "a", 0) == 500);
    CHECK(stream_lag(stream, "a", STREAM_SCORED, 0) == 500);
    for (uint64_t seq = 0; seq < 2000; seq += 37) {
        struct stream_consumer *consumer = open_consumer(stream, STREAM_SCORED, "a");
        struct stream_batch batch;

        stream_seek(consumer, seq); /* every fourth record is a scored one */
        CHECK(stream_read(consumer, 1, 0, &batch, NULL) == VG_OK && batch.count == 1);
        CHECK(number_of(batch.records) == seq / 4);
        stream_consumer_close(consumer);
        commit_offset(stream, "a", STREAM_SCORED, seq);
        CHECK(stream_lag(stream, "a", STREAM_SCORED, 0) == 500 - seq / 4);
    }
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
    stream = open_stream();
    CHECK(count_numbers(stream, STREAM_NORMALIZED, "a", 0) == 1500);
    CHECK(stream_lag(stream, "b", STREAM_NORMALIZED, 0) == 1500);
    CHECK(commit_numbers(stream, STREAM_SCORED, 0, 1) >= 2000);
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
}

static void test_a_segment_of_offsets_only_can_roll(void)
{
    config.segment_bytes = 4096;
    struct stream *stream = open_stream();

    for (unsigned i = 0; i < 300; i++)
        commit_offset(stream, "a", STREAM_NORMALIZED, i);
    CHECK(stream_committed(stream, "a", STREAM_NORMALIZED, 0) == 299);
    commit_numbers(stream, STREAM_NORMALIZED, 0, 4);
    CHECK(count_numbers(stream, STREAM_NORMALIZED, "b", 0) == 4);
    stream_close(stream);
    stream = open_stream();
    CHECK(stream_committed(stream, "a", STREAM_NORMALIZED, 0) == 299);
    CHECK(count_numbers(stream, STREAM_NORMALIZED, "b", 0) == 4);
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
}

static void test_a_live_tail_starts_at_the_end(void)
{
    struct stream *stream = open_stream();
    struct stream_out out;

    commit_numbers(stream, STREAM_SCORED, 0, 10);
    struct stream_consumer *consumer = open_consumer(stream, STREAM_SCORED, "board!");

    CHECK(read_numbers(consumer, 0) == 0);
    commit_numbers(stream, STREAM_SCORED, 10, 3);
    CHECK(read_numbers(consumer, 10) == 3);
    stream_out_init(&out);
    stream_out_offset(&out, "board!", STREAM_SCORED, 0, 3);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_REJECT);
    stream_out_fini(&out);
    stream_consumer_close(consumer);
    stream_close(stream);
}

static void test_what_is_too_large_is_rejected_and_the_log_lives_on(void)
{
    config.record_bytes_max = 64;
    struct stream *stream = open_stream();
    struct stream_out out;
    struct vg_err err = {0};
    char large[65] = {0};

    stream_out_init(&out);
    add_number(&out, STREAM_SCORED, 1);
    stream_out_add(&out, STREAM_SCORED, 0, (struct vg_slice){0}, (struct vg_slice){0},
                   (struct vg_slice){large, sizeof(large)});
    CHECK(stream_commit(stream, 0, &out, NULL, &err) == VG_REJECT);
    CHECK(err.code && strcmp(err.code, "stream.record_size") == 0);
    stream_out_clear(&out);
    stream_out_add(&out, (enum stream_topic)9, 0, (struct vg_slice){0}, (struct vg_slice){0},
                   (struct vg_slice){0});
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_REJECT);
    stream_out_clear(&out);
    stream_out_offset(&out, "a-name-of-more-than-thirty-one-bytes", STREAM_SCORED, 0, 1);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_REJECT);
    stream_out_clear(&out);
    CHECK(stream_commit(stream, 7, &out, NULL, NULL) == VG_REJECT);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK); /* nothing is fine */
    stream_out_fini(&out);
    CHECK(commit_numbers(stream, STREAM_SCORED, 0, 1) == 0);
    CHECK(count_numbers(stream, STREAM_SCORED, "a", 0) == 1);
    stream_close(stream);
}

static void test_a_commit_larger_than_a_segment_fits(void)
{
    config.segment_bytes = 4096;
    struct stream *stream = open_stream();

    commit_numbers(stream, STREAM_SCORED, 0, 5);
    commit_numbers(stream, STREAM_SCORED, 5, 5000);
    commit_numbers(stream, STREAM_SCORED, 5005, 5);
    CHECK(count_numbers(stream, STREAM_SCORED, "a", 0) == 5010);
    stream_close(stream);
    stream = open_stream();
    CHECK(count_numbers(stream, STREAM_SCORED, "a", 0) == 5010);
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
}

static void test_a_second_writer_is_kept_out(void)
{
    struct stream *stream = open_stream(), *second = NULL;
    struct vg_err err = {0};

    CHECK(stream_open(&config, &second, &err) == VG_FATAL);
    CHECK(err.code && strcmp(err.code, "stream.locked") == 0);
    stream_close(stream);
    stream_close(open_stream());
}

/* ---- threads ---- */

#define THREADS 4
#define COMMITS_PER_THREAD 200u

struct ledger {
    struct stream *stream;
    unsigned thread;
    unsigned next; /* what must complete next: order */
    atomic_uint done, failed;
};

struct async_commit {
    struct stream_out out;
    struct ledger *ledger;
    unsigned number;
};

static void on_async_done(void *ctx, enum vg_status status, uint64_t first_seq,
                          const struct vg_err *err)
{
    struct async_commit *commit = ctx;

    (void)first_seq;
    (void)err;
    if (status != VG_OK || commit->number != commit->ledger->next++)
        atomic_fetch_add(&commit->ledger->failed, 1);
    atomic_fetch_add(&commit->ledger->done, 1);
}

static void *commit_many(void *arg)
{
    struct ledger *ledger = arg;
    struct async_commit *commits = calloc(COMMITS_PER_THREAD, sizeof(*commits));

    for (unsigned i = 0; i < COMMITS_PER_THREAD; i++) {
        commits[i].ledger = ledger;
        commits[i].number = i;
        stream_out_init(&commits[i].out);
        add_number(&commits[i].out, STREAM_DEVICE_RAW, ledger->thread * 1000000 + i);
        stream_commit_async(ledger->stream, 0, &commits[i].out, on_async_done, &commits[i]);
        if (i % 16 == 0) { /* a blocking one in between waits for all before it */
            struct stream_out out;

            stream_out_init(&out);
            add_number(&out, STREAM_SCORED, 0);
            if (stream_commit(ledger->stream, 0, &out, NULL, NULL) != VG_OK ||
                atomic_load(&ledger->done) != i + 1)
                atomic_fetch_add(&ledger->failed, 1);
            stream_out_fini(&out);
        }
    }
    struct stream_out last;

    stream_out_init(&last);
    if (stream_commit(ledger->stream, 0, &last, NULL, NULL) != VG_OK)
        atomic_fetch_add(&ledger->failed, 1);
    stream_out_fini(&last);
    for (unsigned i = 0; i < COMMITS_PER_THREAD; i++)
        stream_out_fini(&commits[i].out);
    free(commits);
    return NULL;
}

static void *read_many(void *arg)
{
    struct stream_consumer *consumer = arg;
    unsigned next[THREADS] = {0}, count = 0;
    int64_t deadline_us = vg_mono_us() + 60 * VG_SECOND_US;
    struct stream_batch batch;

    while (count < THREADS * COMMITS_PER_THREAD && vg_mono_us() < deadline_us) {
        enum vg_status status = stream_read(consumer, 64, VG_SECOND_US, &batch, NULL);

        for (size_t i = 0; status == VG_OK && i < batch.count; i++, count++) {
            uint64_t number = UINT64_MAX;

            if (!vg_slice_to_u64(batch.records[i].value, &number) || number >= THREADS * 1000000u ||
                number % 1000000 != next[number / 1000000]++)
                return consumer;
        }
    }
    return count == THREADS * COMMITS_PER_THREAD ? NULL : consumer;
}

static void test_many_threads_commit_and_read_in_order(void)
{
    config.segment_bytes = 16384;
    struct stream *stream = open_stream();
    struct ledger ledgers[THREADS];
    pthread_t writers[THREADS], readers[2];
    struct stream_consumer *consumers[2];

    for (unsigned i = 0; i < 2; i++) {
        consumers[i] = open_consumer(stream, STREAM_DEVICE_RAW, i ? "a" : "b");
        CHECK(pthread_create(&readers[i], NULL, read_many, consumers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        ledgers[i] = (struct ledger){.stream = stream, .thread = i};
        CHECK(pthread_create(&writers[i], NULL, commit_many, &ledgers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(writers[i], NULL);
        CHECK(atomic_load(&ledgers[i].done) == COMMITS_PER_THREAD);
        CHECK(atomic_load(&ledgers[i].failed) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        void *bad;

        (void)pthread_join(readers[i], &bad);
        CHECK(bad == NULL);
        stream_consumer_close(consumers[i]);
    }
    CHECK(stream_lag(stream, "a", STREAM_DEVICE_RAW, 0) == THREADS * COMMITS_PER_THREAD);
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
}

static void *wait_for_one(void *arg)
{
    struct stream_batch batch;

    return stream_read(arg, 1, 60 * VG_SECOND_US, &batch, NULL) == VG_END ? NULL : arg;
}

static void test_wake_ends_a_waiting_read(void)
{
    struct stream *stream = open_stream();
    struct stream_consumer *consumer = open_consumer(stream, STREAM_SCORED, "a");
    pthread_t thread;
    void *bad;

    /* Before or while it waits: either way the next read ends. */
    CHECK(pthread_create(&thread, NULL, wait_for_one, consumer) == 0);
    stream_wake(stream);
    (void)pthread_join(thread, &bad);
    CHECK(bad == NULL);
    stream_consumer_close(consumer);
    stream_close(stream);
}

/* ---- journal ---- */

static size_t count_segments(void)
{
    char path[128];
    size_t count = 0;

    (void)snprintf(path, sizeof(path), "%s/p0000", root);
    DIR *dir = opendir(path);

    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir))
        count += strstr(entry->d_name, ".seg") != NULL;
    if (dir)
        closedir(dir);
    return count;
}

static void test_retention_waits_for_every_group(void)
{
    config.segment_bytes = 4096;
    config.retention_bytes = 16384;
    struct stream *stream = open_stream();

    commit_offset(stream, "slow", STREAM_SCORED, 0);
    commit_offset(stream, "other", STREAM_CARE_CHANGED, 0);
    for (unsigned i = 0; i < 400; i++)
        commit_numbers(stream, STREAM_SCORED, i, 1);
    stream_close(stream);
    CHECK(count_segments() > 8); /* "slow" has not read them */
    stream = open_stream();
    CHECK(count_numbers(stream, STREAM_SCORED, "slow", 0) == 400);
    commit_offset(stream, "slow", STREAM_SCORED, 400);
    size_t before = count_segments();
    int64_t deadline_us = vg_mono_us() + 20 * VG_SECOND_US;

    /* "other" reads a topic without records: it does not hold anything back. */
    for (unsigned i = 400; count_segments() >= before && vg_mono_us() < deadline_us; i++)
        commit_numbers(stream, STREAM_SCORED, i, 1);
    while (count_segments() > 8 && vg_mono_us() < deadline_us)
        commit_numbers(stream, STREAM_ENRICHED, 0, 1);
    CHECK(count_segments() <= 8);
    /* A new group starts at the oldest kept. */
    struct stream_consumer *consumer = open_consumer(stream, STREAM_SCORED, "new");
    struct stream_batch batch;

    CHECK(stream_read(consumer, 1, 0, &batch, NULL) == VG_OK && batch.records->seq > 0);
    stream_consumer_close(consumer);
    CHECK(stream_lag(stream, "slow", STREAM_SCORED, 0) > 0);
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
    stream = open_stream();
    CHECK(damage_of(stream) == 0);
    stream_close(stream);
}

static void test_a_tool_reads_beside_the_writer(void)
{
    config.segment_bytes = 4096;
    struct stream *stream = open_stream(), *tool = NULL;
    struct stream_config read_only = config;
    struct stream_scan *scan = NULL;
    struct stream_commit_view view;
    struct stream_out out;

    read_only.is_read_only = true;
    commit_numbers(stream, STREAM_SCORED, 0, 10);
    CHECK(stream_open(&read_only, &tool, NULL) == VG_OK);
    struct stream_consumer *consumer = open_consumer(tool, STREAM_SCORED, "a");

    CHECK(read_numbers(consumer, 0) == 10);
    CHECK(stream_scan_open(tool, 0, 0, &scan, NULL) == VG_OK);
    CHECK(stream_scan_next(scan, &view, NULL) == VG_OK && view.record_count == 10);
    CHECK(stream_scan_next(scan, &view, NULL) == VG_END);
    for (unsigned i = 10; i < 400; i += 3) {
        commit_numbers(stream, STREAM_SCORED, i, 3);
        CHECK(read_numbers(consumer, i) == 3);
        CHECK(stream_scan_next(scan, &view, NULL) == VG_OK && view.first_seq == i);
    }
    CHECK(stream_scan_next(scan, &view, NULL) == VG_END);
    stream_out_init(&out);
    CHECK(stream_commit(tool, 0, &out, NULL, NULL) == VG_FATAL);
    stream_out_fini(&out);
    stream_scan_close(scan);
    stream_consumer_close(consumer);
    CHECK(damage_of(tool) == 0);
    stream_close(tool);
    stream_close(stream);
    CHECK(stream_open(&read_only, &tool, NULL) == VG_OK); /* without a writer too */
    CHECK(count_numbers(tool, STREAM_SCORED, "a", 0) == 400);
    stream_close(tool);
}

static void test_partitions_are_fixed_and_apart(void)
{
    config.partitions = 3;
    struct stream *stream = open_stream();
    struct stream_out out;

    stream_out_init(&out);
    add_number(&out, STREAM_SCORED, 1);
    stream_out_offset(&out, "a", STREAM_DEVICE_RAW, 1, 5);
    CHECK(stream_commit(stream, 2, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
    CHECK(stream_committed(stream, "a", STREAM_DEVICE_RAW, 1) == 5);
    CHECK(stream_lag(stream, "a", STREAM_SCORED, 2) == 1);
    CHECK(stream_lag(stream, "a", STREAM_SCORED, 0) == 0);
    CHECK(stream_partition_of(stream, VG_SLICE("bed-4")) < 3);
    stream_close(stream);
    config.partitions = 8;
    stream = open_stream();
    CHECK(stream_partitions(stream) == 3);
    CHECK(stream_committed(stream, "a", STREAM_DEVICE_RAW, 1) == 5);
    stream_close(stream);
}

static void test_headers_stop_at_damage(void)
{
    struct vg_buf headers;
    struct vg_slice name, value;
    size_t cursor = 0;

    vg_buf_init(&headers, 0);
    stream_header_put(&headers, "trace", VG_SLICE("0-1 0-2"));
    stream_header_put_slice(&headers, VG_SLICE(""), VG_SLICE("x"));
    CHECK(stream_header_next(vg_buf_slice(&headers), &cursor, &name, &value));
    CHECK(vg_slice_is(name, "trace") && vg_slice_is(value, "0-1 0-2"));
    CHECK(stream_header_next(vg_buf_slice(&headers), &cursor, &name, &value) && name.len == 0);
    CHECK(!stream_header_next(vg_buf_slice(&headers), &cursor, &name, &value));
    for (size_t len = 0; len < headers.len; len++) {
        cursor = 0;
        while (stream_header_next((struct vg_slice){headers.ptr, len}, &cursor, &name, &value))
            CHECK(cursor <= len);
    }
    vg_buf_fini(&headers);
}

static void test_names_of_topics(void)
{
    CHECK(strcmp(stream_topic_name(STREAM_NORMALIZED), "iomt.normalized") == 0);
    CHECK(strcmp(stream_topic_name((enum stream_topic)0), "") == 0);
    for (unsigned topic = 1; topic < STREAM_TOPIC_COUNT; topic++)
        CHECK(*stream_topic_name((enum stream_topic)topic));
}

/* Each in a folder of its own. */
#define RUN_FRESH(test)                                                                            \
    do {                                                                                           \
        fresh_dir();                                                                               \
        RUN(test);                                                                                 \
        remove_dir(root);                                                                          \
    } while (0)

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    RUN(test_headers_stop_at_damage);
    RUN(test_names_of_topics);
    for (size_t i = 0; stream_engines[i]; i++) {
        config.engine = stream_engines[i]->name;
        RUN_FRESH(test_records_come_back_in_order_with_all_they_had);
        RUN_FRESH(test_one_commit_over_several_topics_is_grouped_by_topic);
        RUN_FRESH(test_everything_survives_reopening);
        RUN_FRESH(test_many_segments_are_read_as_one_log);
        RUN_FRESH(test_a_live_tail_starts_at_the_end);
        RUN_FRESH(test_what_is_too_large_is_rejected_and_the_log_lives_on);
        RUN_FRESH(test_a_second_writer_is_kept_out);
        RUN_FRESH(test_many_threads_commit_and_read_in_order);
        RUN_FRESH(test_wake_ends_a_waiting_read);
        RUN_FRESH(test_partitions_are_fixed_and_apart);
    }
    config.engine = "journal";
    RUN_FRESH(test_a_segment_of_offsets_only_can_roll);
    RUN_FRESH(test_a_commit_larger_than_a_segment_fits);
    RUN_FRESH(test_retention_waits_for_every_group);
    RUN_FRESH(test_a_tool_reads_beside_the_writer);
    return vg_test_report();
}
