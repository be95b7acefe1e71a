/* stream.c -- the public face of the streams: checks arguments, encodes, hands to the engine.
 *
 * A stream_out is encoded while it is filled, in the form that the journal writes, so that a commit
 * is one copy. Its errors stick (has_failed) and are answered by the commit. A blocking commit is
 * the asynchronous one plus a wait.
 */
#include "stream/stream.h"

#include "stream/engine.h"

#include <pthread.h>
#include <stdlib.h>

#define PARTITIONS_MAX 1024u
#define SEGMENT_BYTES_USUAL ((uint64_t)64 << 20)
#define SEGMENT_BYTES_MIN 4096u
#define SEGMENT_BYTES_MAX ((uint64_t)4 << 30)
#define RETENTION_BYTES_USUAL ((uint64_t)1 << 30)
#define RECORD_BYTES_MAX_USUAL (1u << 20)
#define RECORD_BYTES_MAX_LIMIT (32u << 20)

const struct stream_engine *const stream_engines[] = {&stream_engine_journal, NULL};

struct stream {
    const struct stream_engine *engine;
    void *self;
    uint32_t partitions;
};

struct stream_consumer {
    const struct stream_engine *engine;
    void *self;
};

struct stream_scan {
    const struct stream_engine *engine;
    void *self;
};

static const char *const topic_names[STREAM_TOPIC_COUNT] = {
    [STREAM_DEVICE_RAW] = "device.raw",      [STREAM_NORMALIZED] = "iomt.normalized",
    [STREAM_ENRICHED] = "iomt.enriched",     [STREAM_SCORED] = "iomt.scored",
    [STREAM_DEADLETTER] = "iomt.deadletter", [STREAM_CARE_CHANGED] = "care.changed",
};

static bool is_topic(unsigned topic)
{
    return topic > 0 && topic < STREAM_TOPIC_COUNT;
}

const char *stream_topic_name(enum stream_topic topic)
{
    return is_topic((unsigned)topic) ? topic_names[topic] : "";
}

/* ---- the encoded forms ---- */

bool record_decode(struct vg_slice *rest, enum stream_topic *ret_topic,
                   struct stream_record *ret_record)
{
    const char *at = rest->ptr;

    if (rest->len < RECORD_HEADER_BYTES)
        return false;
    uint32_t bytes = get_u32(at), headers_bytes = get_u32(at + 8);
    uint16_t key_bytes = get_u16(at + 6);
    uint8_t topic = (uint8_t)at[4];

    if (bytes > rest->len || !is_topic(topic) ||
        (uint64_t)RECORD_HEADER_BYTES + key_bytes + headers_bytes > bytes)
        return false;
    *ret_topic = (enum stream_topic)topic;
    ret_record->time_us = (int64_t)get_u64(at + 12);
    at += RECORD_HEADER_BYTES;
    ret_record->key = (struct vg_slice){at, key_bytes};
    at += key_bytes;
    ret_record->headers = (struct vg_slice){at, headers_bytes};
    at += headers_bytes;
    ret_record->value =
        (struct vg_slice){at, bytes - RECORD_HEADER_BYTES - key_bytes - headers_bytes};
    rest->ptr += bytes;
    rest->len -= bytes;
    return true;
}

bool offset_decode(struct vg_slice *rest, struct offset_view *ret_view)
{
    const char *at = rest->ptr;

    if (rest->len < OFFSET_HEADER_BYTES)
        return false;
    uint16_t topic = get_u16(at + 12);
    uint8_t group_bytes = (uint8_t)at[14];

    if (!is_topic(topic) || group_bytes == 0 || group_bytes > STREAM_GROUP_BYTES_MAX ||
        OFFSET_HEADER_BYTES + group_bytes > rest->len)
        return false;
    *ret_view = (struct offset_view){.group = {at + OFFSET_HEADER_BYTES, group_bytes},
                                     .topic = (enum stream_topic)topic,
                                     .partition = get_u32(at + 8),
                                     .next_seq = get_u64(at)};
    rest->ptr += OFFSET_HEADER_BYTES + group_bytes;
    rest->len -= OFFSET_HEADER_BYTES + group_bytes;
    return true;
}

enum vg_status stream_out_measure(const struct stream_out *out, uint32_t record_bytes_max,
                                  struct out_totals *ret_totals, struct vg_err *err)
{
    const char *at = out->records.ptr;

    *ret_totals = (struct out_totals){0};
    if (out->has_failed || !vg_buf_ok(&out->records) || !vg_buf_ok(&out->offsets))
        return vg_fail(err, VG_REJECT, "stream.record_size", 0,
                       "a record or the whole commit does not fit: key at most 65535 bytes, "
                       "commit at most %zu bytes, group 1 to %u bytes",
                       out->records.limit_bytes, STREAM_GROUP_BYTES_MAX);
    for (const char *end = at + out->records.len; at < end;) {
        uint32_t bytes = get_u32(at);

        if (bytes - RECORD_HEADER_BYTES > record_bytes_max)
            return vg_fail(err, VG_REJECT, "stream.record_size", 0,
                           "a record for %s has %u bytes, at most %u are allowed",
                           topic_names[(uint8_t)at[4]], bytes - RECORD_HEADER_BYTES,
                           record_bytes_max);
        ret_totals->counts[(uint8_t)at[4]]++;
        ret_totals->bytes[(uint8_t)at[4]] += bytes;
        at += bytes;
    }
    return VG_OK;
}

/* ---- headers of a record: u8 name bytes, u16 value bytes, name, value ---- */

void stream_header_put_slice(struct vg_buf *headers, struct vg_slice name, struct vg_slice value)
{
    if (name.len > 255 || value.len > 65535) {
        headers->has_failed = true;
        return;
    }
    vg_buf_put_byte(headers, (uint8_t)name.len);
    vg_buf_put_u16(headers, (uint16_t)value.len);
    vg_buf_put(headers, name);
    vg_buf_put(headers, value);
}

void stream_header_put(struct vg_buf *headers, const char *name, struct vg_slice value)
{
    stream_header_put_slice(headers, vg_slice_of(name), value);
}

bool stream_header_next(struct vg_slice headers, size_t *cursor, struct vg_slice *ret_name,
                        struct vg_slice *ret_value)
{
    struct vg_slice rest = vg_slice_from(headers, *cursor);

    if (rest.len < 3)
        return false;
    size_t name_bytes = (uint8_t)rest.ptr[0], value_bytes = get_u16(rest.ptr + 1);

    if (rest.len - 3 < name_bytes + value_bytes)
        return false;
    *ret_name = (struct vg_slice){rest.ptr + 3, name_bytes};
    *ret_value = (struct vg_slice){rest.ptr + 3 + name_bytes, value_bytes};
    *cursor += 3 + name_bytes + value_bytes;
    return true;
}

struct vg_slice stream_header_get(struct vg_slice headers, const char *name)
{
    struct vg_slice wanted = vg_slice_of(name), found, value;
    size_t cursor = 0;

    while (stream_header_next(headers, &cursor, &found, &value)) {
        if (vg_slice_eq(found, wanted))
            return value;
    }
    return (struct vg_slice){0};
}

/* ---- filling an out ---- */

void stream_out_init(struct stream_out *out)
{
    *out = (struct stream_out){0};
    vg_buf_init(&out->records, 0);
    vg_buf_init(&out->offsets, 0);
}

void stream_out_fini(struct stream_out *out)
{
    vg_buf_fini(&out->records);
    vg_buf_fini(&out->offsets);
}

void stream_out_clear(struct stream_out *out)
{
    vg_buf_clear(&out->records);
    vg_buf_clear(&out->offsets);
    out->record_count = out->offset_count = 0;
    out->has_failed = false;
}

static char *put_bytes(char *to, struct vg_slice bytes)
{
    if (bytes.len)
        memcpy(to, bytes.ptr, bytes.len);
    return to + bytes.len;
}

void stream_out_add(struct stream_out *out, enum stream_topic topic, int64_t time_us,
                    struct vg_slice key, struct vg_slice headers, struct vg_slice value)
{
    size_t limit = out->records.limit_bytes;
    char *at = NULL;

    if (is_topic((unsigned)topic) && key.len <= UINT16_MAX && headers.len <= limit &&
        value.len <= limit)
        at = vg_buf_reserve(&out->records, RECORD_HEADER_BYTES + key.len + headers.len + value.len);
    if (!at) {
        out->has_failed = true;
        return;
    }
    size_t bytes = RECORD_HEADER_BYTES + key.len + headers.len + value.len;

    put_u32(at, (uint32_t)bytes);
    at[4] = (char)topic;
    at[5] = 0;
    put_u16(at + 6, (uint16_t)key.len);
    put_u32(at + 8, (uint32_t)headers.len);
    put_u64(at + 12, (uint64_t)time_us);
    at = put_bytes(at + RECORD_HEADER_BYTES, key);
    at = put_bytes(at, headers);
    put_bytes(at, value);
    out->records.len += bytes;
    out->record_count++;
}

void stream_out_offset(struct stream_out *out, const char *group, enum stream_topic topic,
                       uint32_t partition, uint64_t next_seq)
{
    struct vg_slice name = vg_slice_of(group);
    char *at = NULL;

    if (is_topic((unsigned)topic) && name.len > 0 && name.len <= STREAM_GROUP_BYTES_MAX &&
        name.ptr[name.len - 1] != '!')
        at = vg_buf_reserve(&out->offsets, OFFSET_HEADER_BYTES + name.len);
    if (!at) {
        out->has_failed = true;
        return;
    }
    put_u64(at, next_seq);
    put_u32(at + 8, partition);
    put_u16(at + 12, (uint16_t)topic);
    at[14] = (char)name.len;
    put_bytes(at + OFFSET_HEADER_BYTES, name);
    out->offsets.len += OFFSET_HEADER_BYTES + name.len;
    out->offset_count++;
}

/* ---- the stream ---- */

enum vg_status stream_open(const struct stream_config *config, struct stream **ret_stream,
                           struct vg_err *err)
{
    struct stream_config checked = *config;
    const struct stream_engine *engine = NULL;

    *ret_stream = NULL;
    for (size_t i = 0; stream_engines[i] && !engine; i++) {
        if (!config->engine || strcmp(config->engine, stream_engines[i]->name) == 0)
            engine = stream_engines[i];
    }
    if (!engine)
        return vg_fail(err, VG_FATAL, "stream.config", 0, "no stream engine is called \"%s\"",
                       config->engine);
    if (!config->dir || !*config->dir)
        return vg_fail(err, VG_FATAL, "stream.config", 0, "the stream's folder is not given");
    checked.partitions = config->partitions ? config->partitions : 1;
    checked.segment_bytes = config->segment_bytes ? config->segment_bytes : SEGMENT_BYTES_USUAL;
    checked.retention_bytes =
        config->retention_bytes ? config->retention_bytes : RETENTION_BYTES_USUAL;
    checked.record_bytes_max =
        config->record_bytes_max ? config->record_bytes_max : RECORD_BYTES_MAX_USUAL;
    checked.io = config->io ? config->io : &vg_io_system;
    if (checked.partitions > PARTITIONS_MAX || checked.segment_bytes < SEGMENT_BYTES_MIN ||
        checked.segment_bytes > SEGMENT_BYTES_MAX ||
        checked.record_bytes_max > RECORD_BYTES_MAX_LIMIT)
        return vg_fail(err, VG_FATAL, "stream.config", 0,
                       "stream: partitions 1 to %u, segment_bytes %u to 4 GiB, record_bytes_max "
                       "at most %u",
                       PARTITIONS_MAX, SEGMENT_BYTES_MIN, RECORD_BYTES_MAX_LIMIT);
    struct stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a stream");
    stream->engine = engine;
    enum vg_status status = engine->open(&checked, &stream->self, err);

    if (status != VG_OK) {
        free(stream);
        return status;
    }
    stream->partitions = engine->partitions(stream->self);
    *ret_stream = stream;
    return VG_OK;
}

void stream_close(struct stream *stream)
{
    if (!stream)
        return;
    stream->engine->close(stream->self);
    free(stream);
}

uint32_t stream_partitions(const struct stream *stream)
{
    return stream->partitions;
}

uint32_t stream_partition_of(const struct stream *stream, struct vg_slice device)
{
    return (uint32_t)(vg_slice_hash(device) % stream->partitions);
}

size_t stream_damage(struct stream *stream, struct vg_buf *out)
{
    return stream->engine->damage(stream->self, out);
}

/* ---- writing ---- */

void stream_commit_async(struct stream *stream, uint32_t partition, struct stream_out *out,
                         stream_done *done, void *ctx)
{
    struct vg_err err = {0};

    if (partition < stream->partitions) {
        stream->engine->commit(stream->self, partition, out, done, ctx);
        return;
    }
    enum vg_status status = vg_fail(&err, VG_REJECT, "stream.partition", 0, "partition %u of %u",
                                    partition, stream->partitions);

    done(ctx, status, 0, &err);
}

struct waiter {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t is_done_cond;
    bool is_done;
    enum vg_status status;
    uint64_t first_seq;
    struct vg_err err;
};

static void wake_waiter(void *ctx, enum vg_status status, uint64_t first_seq,
                        const struct vg_err *err)
{
    struct waiter *waiter = ctx;

    pthread_mutex_lock(&waiter->lock);
    waiter->is_done = true;
    waiter->status = status;
    waiter->first_seq = first_seq;
    if (status != VG_OK && err)
        waiter->err = *err;
    pthread_cond_signal(&waiter->is_done_cond);
    pthread_mutex_unlock(&waiter->lock);
}

enum vg_status stream_commit(struct stream *stream, uint32_t partition, struct stream_out *out,
                             uint64_t *ret_first_seq, struct vg_err *err)
{
    struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER,
                            .is_done_cond = PTHREAD_COND_INITIALIZER};

    stream_commit_async(stream, partition, out, wake_waiter, &waiter);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.is_done)
        pthread_cond_wait(&waiter.is_done_cond, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    pthread_mutex_destroy(&waiter.lock);
    pthread_cond_destroy(&waiter.is_done_cond);
    if (waiter.status != VG_OK) {
        if (err)
            *err = waiter.err;
    } else if (ret_first_seq) {
        *ret_first_seq = waiter.first_seq;
    }
    return waiter.status;
}

/* ---- reading ---- */

enum vg_status stream_consumer_open(struct stream *stream, uint32_t partition,
                                    enum stream_topic topic, const char *group,
                                    struct stream_consumer **ret_consumer, struct vg_err *err)
{
    struct vg_slice name = vg_slice_of(group);

    *ret_consumer = NULL;
    if (partition >= stream->partitions || !is_topic((unsigned)topic) || name.len == 0 ||
        name.len > STREAM_GROUP_BYTES_MAX)
        return vg_fail(err, VG_FATAL, "stream.consumer", 0,
                       "consumer \"%.40s\" of topic %u in partition %u: a name of 1 to %u bytes, a "
                       "known topic, a partition below %u",
                       name.ptr ? name.ptr : "", (unsigned)topic, partition, STREAM_GROUP_BYTES_MAX,
                       stream->partitions);
    struct stream_consumer *consumer = calloc(1, sizeof(*consumer));

    if (!consumer)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a consumer");
    consumer->engine = stream->engine;
    enum vg_status status = stream->engine->consumer_open(
        stream->self, partition, topic, name, name.ptr[name.len - 1] == '!', &consumer->self, err);

    if (status != VG_OK) {
        free(consumer);
        return status;
    }
    *ret_consumer = consumer;
    return VG_OK;
}

void stream_consumer_close(struct stream_consumer *consumer)
{
    if (!consumer)
        return;
    consumer->engine->consumer_close(consumer->self);
    free(consumer);
}

enum vg_status stream_read(struct stream_consumer *consumer, size_t count_max, int64_t timeout_us,
                           struct stream_batch *ret_batch, struct vg_err *err)
{
    return consumer->engine->read(consumer->self, count_max ? count_max : 1, timeout_us, ret_batch,
                                  err);
}

void stream_seek(struct stream_consumer *consumer, uint64_t seq)
{
    consumer->engine->seek(consumer->self, seq);
}

uint64_t stream_position(const struct stream_consumer *consumer)
{
    return consumer->engine->position(consumer->self);
}

uint64_t stream_committed(struct stream *stream, const char *group, enum stream_topic topic,
                          uint32_t partition)
{
    return stream->engine->committed(stream->self, vg_slice_of(group), topic, partition);
}

uint64_t stream_lag(struct stream *stream, const char *group, enum stream_topic topic,
                    uint32_t partition)
{
    if (!is_topic((unsigned)topic) || partition >= stream->partitions)
        return 0;
    return stream->engine->lag(stream->self, vg_slice_of(group), topic, partition);
}

void stream_wake(struct stream *stream)
{
    stream->engine->wake(stream->self);
}

/* ---- scanning ---- */

enum vg_status stream_scan_open(struct stream *stream, uint32_t partition, uint64_t from_seq,
                                struct stream_scan **ret_scan, struct vg_err *err)
{
    *ret_scan = NULL;
    if (partition >= stream->partitions)
        return vg_fail(err, VG_REJECT, "stream.partition", 0, "partition %u of %u", partition,
                       stream->partitions);
    struct stream_scan *scan = calloc(1, sizeof(*scan));

    if (!scan)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a scan");
    scan->engine = stream->engine;
    enum vg_status status =
        stream->engine->scan_open(stream->self, partition, from_seq, &scan->self, err);

    if (status != VG_OK) {
        free(scan);
        return status;
    }
    *ret_scan = scan;
    return VG_OK;
}

void stream_scan_close(struct stream_scan *scan)
{
    if (!scan)
        return;
    scan->engine->scan_close(scan->self);
    free(scan);
}

enum vg_status stream_scan_next(struct stream_scan *scan, struct stream_commit_view *ret_view,
                                struct vg_err *err)
{
    return scan->engine->scan_next(scan->self, ret_view, err);
}

bool stream_scan_record(struct stream_scan *scan, size_t index, enum stream_topic *ret_topic,
                        struct stream_record *ret_record)
{
    return scan->engine->scan_record(scan->self, index, ret_topic, ret_record);
}

bool stream_scan_offset(struct stream_scan *scan, size_t index, struct vg_slice *ret_group,
                        enum stream_topic *ret_topic, uint32_t *ret_partition,
                        uint64_t *ret_next_seq)
{
    return scan->engine->scan_offset(scan->self, index, ret_group, ret_topic, ret_partition,
                                     ret_next_seq);
}
