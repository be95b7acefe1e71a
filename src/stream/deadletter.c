/* deadletter.c -- see deadletter.h.
 *
 * Where the source is still in the journal its own record is copied, byte for byte; else the
 * payload inside the letter is what there is, with the device id as key and no properties.
 */
#include "stream/deadletter.h"

#include "base/crypto.h"
#include "base/json.h"

#include <stdio.h>

#define LETTER_ARENA_BYTES (8u << 20)
#define READ_COUNT 1024

enum vg_status stream_deadletters(struct stream *stream,
                                  void (*fn)(void *ctx, uint32_t partition,
                                             const struct stream_record *letter),
                                  void *ctx, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    for (uint32_t p = 0; p < stream_partitions(stream) && st == VG_OK; p++) {
        struct stream_consumer *consumer = NULL;
        struct stream_batch batch;

        /* A group that never commits: always from the oldest that is kept. */
        st = stream_consumer_open(stream, p, STREAM_DEADLETTER, "deadletters", &consumer, err);
        while (st == VG_OK && (st = stream_read(consumer, READ_COUNT, 0, &batch, err)) == VG_OK) {
            for (size_t i = 0; i < batch.count; i++)
                fn(ctx, p, &batch.records[i]);
        }
        stream_consumer_close(consumer);
        if (st == VG_END)
            st = VG_OK;
    }
    return st;
}

/* The one record of `topic` at seq, copied into the arena; VG_END: not there. */
static enum vg_status read_one(struct stream *stream, enum stream_topic topic, uint32_t partition,
                               uint64_t seq, struct vg_arena *arena,
                               struct stream_record *ret_record, struct vg_err *err)
{
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    enum vg_status st =
        stream_consumer_open(stream, partition, topic, "deadletters", &consumer, err);

    if (st != VG_OK)
        return st;
    stream_seek(consumer, seq);
    st = stream_read(consumer, 1, 0, &batch, err);
    if (st == VG_OK && (batch.count == 0 || batch.records[0].seq != seq))
        st = VG_END;
    if (st == VG_OK) {
        *ret_record = batch.records[0];
        ret_record->key = vg_arena_dup(arena, batch.records[0].key);
        ret_record->headers = vg_arena_dup(arena, batch.records[0].headers);
        ret_record->value = vg_arena_dup(arena, batch.records[0].value);
    }
    stream_consumer_close(consumer);
    return st;
}

/* Where the device message behind a letter is: the letter itself, or the first id of its trace. */
static bool source_place(const struct stream_record *letter, const struct vg_json *json,
                         uint32_t *ret_partition, uint64_t *ret_seq)
{
    struct vg_slice trace = stream_header_get(letter->headers, "trace");
    struct vg_slice id = vg_slice_cut(&trace, ' ');
    struct vg_slice first = vg_slice_cut(&id, '-');
    uint64_t partition = 0;
    int64_t number;

    if (vg_slice_is(vg_json_get_text(json, "topic"), stream_topic_name(STREAM_DEVICE_RAW)) &&
        vg_json_to_i64(vg_json_get(json, "partition"), &number)) {
        *ret_partition = (uint32_t)number;
        if (!vg_json_to_i64(vg_json_get(json, "seq"), &number))
            return false;
        *ret_seq = (uint64_t)number;
        return true;
    }
    if (!vg_slice_to_u64(first, &partition) || !vg_slice_to_u64(id, ret_seq))
        return false;
    *ret_partition = (uint32_t)partition;
    return true;
}

static enum vg_status source_from_letter(const struct vg_json *json, struct vg_arena *arena,
                                         struct stream_record *ret_source, struct vg_err *err)
{
    struct vg_slice payload = vg_json_get_text(json, "payload");
    int64_t time_us;

    if (!vg_slice_is(vg_json_get_text(json, "topic"), stream_topic_name(STREAM_DEVICE_RAW)))
        return vg_fail(err, VG_REJECT, "deadletter.source", 0,
                       "the device message behind this letter is not in the journal any more; the "
                       "archive has it");
    if (vg_slice_is(vg_json_get_text(json, "payloadEncoding"), "base64"))
        payload = vg_base64_decode(arena, payload);
    if (!vg_time_parse(vg_json_get_text(json, "time"), &time_us, NULL))
        return vg_fail(err, VG_REJECT, "deadletter.source", 0, "the letter has no time of receipt");
    *ret_source = (struct stream_record){
        .time_us = time_us, .key = vg_json_get_text(json, "key"), .value = payload};
    if (!ret_source->key.len)
        return vg_fail(err, VG_REJECT, "deadletter.source", 0, "the letter names no device");
    return VG_OK;
}

enum vg_status stream_deadletter_replay(struct stream *stream, uint32_t partition, uint64_t seq,
                                        uint64_t *ret_seq, struct vg_err *err)
{
    struct stream_record letter, source;
    uint32_t source_partition = partition;
    uint64_t source_seq = 0;
    struct stream_out out;
    struct vg_json *json;
    struct vg_arena arena;
    struct vg_buf headers;
    char trace[48];
    enum vg_status st;

    vg_arena_init(&arena, LETTER_ARENA_BYTES);
    vg_buf_init(&headers, 1u << 16);
    stream_out_init(&out);
    st = read_one(stream, STREAM_DEADLETTER, partition, seq, &arena, &letter, err);
    if (st == VG_OK)
        st = vg_json_parse(&arena, letter.value, NULL, &json, NULL, err);
    if (st != VG_OK)
        goto done;
    st = VG_END;
    if (source_place(&letter, json, &source_partition, &source_seq) &&
        source_partition < stream_partitions(stream))
        st =
            read_one(stream, STREAM_DEVICE_RAW, source_partition, source_seq, &arena, &source, err);
    if (st == VG_END)
        st = source_from_letter(json, &arena, &source, err);
    if (st != VG_OK)
        goto done;
    (void)snprintf(trace, sizeof(trace), "%u-%llu", source_partition,
                   (unsigned long long)source_seq);
    vg_buf_put(&headers, source.headers);
    stream_header_put(&headers, "replay-of", vg_slice_of(trace));
    /* With its own time of receipt: a payload that has no time would else become a reading of now.
     */
    stream_out_add(&out, STREAM_DEVICE_RAW, source.time_us, source.key, vg_buf_slice(&headers),
                   source.value);
    st = stream_commit(stream, source_partition, &out, ret_seq, err);
done:
    stream_out_fini(&out);
    vg_buf_fini(&headers);
    vg_arena_fini(&arena);
    return st;
}
