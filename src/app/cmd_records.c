/* cmd_records.c -- vigil records: the records of a topic, as JSON lines, for people and for
 * scripts. */
#include "app/app.h"

#include "base/crypto.h"
#include "base/json.h"
#include "stream/stream.h"

#include <stdio.h>

static const char usage[] =
    "usage: vigil records TOPIC [--key KEY] [--trace ID] [--count N] [--data DIR]\n"
    "\n"
    "TOPIC: device.raw, iomt.normalized, iomt.enriched, iomt.scored, iomt.deadletter or "
    "care.changed.\n"
    "Prints the records that the journal holds, oldest first, a JSON object a line; works beside "
    "the\n"
    "running platform. They are patient data.\n";

#define READ_COUNT 1024

struct filter {
    struct vg_slice key, trace; /* ptr NULL = any */
    uint64_t count_max;
    uint64_t count;
};

static bool find_topic(const char *name, enum stream_topic *ret_topic)
{
    for (int t = 1; t < STREAM_TOPIC_COUNT; t++) {
        if (strcmp(name, stream_topic_name((enum stream_topic)t)) == 0) {
            *ret_topic = (enum stream_topic)t;
            return true;
        }
    }
    return false;
}

static bool has_word(struct vg_slice words, struct vg_slice word)
{
    while (words.len) {
        if (vg_slice_eq(vg_slice_cut(&words, ' '), word))
            return true;
    }
    return false;
}

static void write_headers(struct vg_json_writer *w, struct vg_slice headers)
{
    struct vg_slice name, value;
    size_t cursor = 0;

    vg_json_name(w, "headers");
    vg_json_open_object(w);
    while (stream_header_next(headers, &cursor, &name, &value)) {
        vg_json_name_slice(w, name);
        vg_json_put_string(w, value);
    }
    vg_json_close_object(w);
}

/* A value that is no JSON (what a device sent) is shown as base64. */
static void write_value(struct vg_json_writer *w, struct vg_arena *arena, struct vg_slice value)
{
    struct vg_json *root;
    struct vg_buf text;

    if (vg_json_parse(arena, value, NULL, &root, NULL, NULL) == VG_OK) {
        vg_json_member_raw(w, "value", vg_slice_trim(value));
        return;
    }
    vg_buf_init(&text, 4u << 20);
    vg_base64_put(&text, value);
    vg_json_member_string(w, "base64", vg_buf_slice(&text));
    vg_buf_fini(&text);
}

static void print_record(uint32_t partition, const struct stream_record *record,
                         struct vg_arena *arena, struct vg_buf *line)
{
    struct vg_json_writer w;

    vg_buf_clear(line);
    vg_arena_reset(arena);
    vg_json_writer_init(&w, line);
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "partition", partition);
    vg_json_member_i64(&w, "seq", (int64_t)record->seq);
    vg_json_member_time(&w, "time", record->time_us);
    vg_json_member_string(&w, "key", record->key);
    write_headers(&w, record->headers);
    write_value(&w, arena, record->value);
    vg_json_close_object(&w);
    (void)printf("%.*s\n", (int)line->len, line->ptr);
}

static bool is_wanted(const struct filter *filter, uint32_t partition, enum stream_topic topic,
                      const struct stream_record *record)
{
    struct vg_slice trace = stream_header_get(record->headers, "trace");
    char own[48];

    if (filter->key.ptr && !vg_slice_eq(record->key, filter->key))
        return false;
    if (!filter->trace.ptr)
        return true;
    if (topic == STREAM_DEVICE_RAW) {
        (void)snprintf(own, sizeof(own), "%u-%llu", partition, (unsigned long long)record->seq);
        return vg_slice_is(filter->trace, own);
    }
    return has_word(trace, filter->trace);
}

static enum vg_status print_partition(struct stream *stream, uint32_t partition,
                                      enum stream_topic topic, struct filter *filter,
                                      struct vg_err *err)
{
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    struct vg_arena arena;
    struct vg_buf line;
    enum vg_status st = stream_consumer_open(stream, partition, topic, "records", &consumer, err);

    vg_arena_init(&arena, 0);
    vg_buf_init(&line, 8u << 20);
    while (st == VG_OK && filter->count < filter->count_max &&
           (st = stream_read(consumer, READ_COUNT, 0, &batch, err)) == VG_OK) {
        for (size_t i = 0; i < batch.count && filter->count < filter->count_max; i++) {
            if (!is_wanted(filter, partition, topic, &batch.records[i]))
                continue;
            print_record(partition, &batch.records[i], &arena, &line);
            filter->count++;
        }
    }
    vg_buf_fini(&line);
    vg_arena_fini(&arena);
    stream_consumer_close(consumer);
    return st == VG_END ? VG_OK : st;
}

int cmd_records(int argc, char **argv)
{
    struct app_options options;
    struct filter filter = {.count_max = UINT64_MAX};
    struct stream *stream = NULL;
    enum stream_topic topic = STREAM_DEVICE_RAW;
    struct vg_err err = {0};
    int code = app_options_init(&options, argc, argv);
    const char *count = app_take_option(&options, "--count");
    enum vg_status st;

    filter.key = vg_slice_of(app_take_option(&options, "--key"));
    filter.trace = vg_slice_of(app_take_option(&options, "--trace"));
    if (code != 0)
        goto done;
    if (options.wants_help || options.rest_count != 1 || !find_topic(options.rest[0], &topic) ||
        (count && !vg_slice_to_u64(vg_slice_of(count), &filter.count_max))) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
        goto done;
    }
    st = app_open_journal(&options, true, &stream, &err);
    for (uint32_t p = 0; st == VG_OK && p < stream_partitions(stream); p++)
        st = print_partition(stream, p, topic, &filter, &err);
    if (st != VG_OK)
        code = app_fail(&err);
done:
    stream_close(stream);
    app_options_fini(&options);
    return code;
}
