/* mappings.c -- the mapping workbench's calls: versions, trying, putting in force, and recent
 * messages to try with.
 *
 * What mappings are is the connector's; here is who may ask. The messages are patient data: for
 * administrators, audited, and never more than a picker needs. A try is audited as little as a
 * keystroke is: it shows nothing that the asker did not send.
 */
#include "web/web_int.h"

#define MESSAGES_USUAL 20
#define MESSAGES_MAX 100
#define PAYLOAD_BYTES_MAX ((size_t)64 << 10)

static bool has_mappings(const struct web_call *call)
{
    return call->web->config.mappings.list != NULL;
}

enum vg_status web_mappings(struct web_call *call, struct vg_err *err)
{
    const struct web_mappings *mappings = &call->web->config.mappings;

    return has_mappings(call) ? mappings->list(mappings->ctx, &call->out, err) : VG_END;
}

/* POST /api/mappings */
enum vg_status web_mapping_act(struct web_call *call, struct vg_err *err)
{
    const struct web_mappings *mappings = &call->web->config.mappings;
    const struct vg_json *root;
    enum vg_status st = web_body(call, &root, err);

    if (st != VG_OK || !has_mappings(call))
        return st == VG_OK ? VG_END : st;
    st = mappings->act(mappings->ctx, vg_slice_of(call->user.name), call->body, &call->out, err);
    if (st == VG_REJECT && err->code && strcmp(err->code, "connector.mapping_base") == 0)
        call->http_status = 409;
    return st;
}

/* POST /api/mappings/try */
enum vg_status web_mapping_try(struct web_call *call, struct vg_err *err)
{
    const struct web_mappings *mappings = &call->web->config.mappings;
    const struct vg_json *root;
    enum vg_status st = web_body(call, &root, err);

    if (st != VG_OK)
        return st;
    if (!has_mappings(call) || !vg_slice_is(call->tail, "try"))
        return VG_END;
    return mappings->try(mappings->ctx, call->body, &call->out, err);
}

/* ---- recent messages ---- */

static void write_message(struct web_call *call, struct vg_json_writer *w, struct vg_slice id,
                          const struct stream_record *record, struct vg_slice reason)
{
    const struct web_mappings *mappings = &call->web->config.mappings;
    bool is_text = vg_slice_is_utf8(record->value);
    struct vg_buf envelope;

    if (record->value.len > PAYLOAD_BYTES_MAX)
        return;
    vg_buf_init(&envelope, 16 * PAYLOAD_BYTES_MAX);
    if (has_mappings(call) && mappings->envelope(mappings->ctx, record, &envelope, NULL) != VG_OK)
        vg_buf_clear(&envelope); /* not JSON, and not to be decoded: it is shown as it is */
    if (is_text || envelope.len) {
        vg_json_open_object(w);
        vg_json_member_string(w, "id", id);
        vg_json_member_string(w, "device", record->key);
        vg_json_member_time(w, "time", record->time_us);
        if (reason.len)
            vg_json_member_string(w, "reason", reason);
        if (is_text)
            vg_json_member_string(w, "payload", record->value);
        if (envelope.len && vg_buf_ok(&envelope))
            vg_json_member_string(w, "envelope", vg_buf_slice(&envelope));
        vg_json_close_object(w);
    }
    vg_buf_fini(&envelope);
}

/* The message that became a dead letter, as long as the journal has it; then what the letter holds
 * of it. */
static void write_letter(struct web_call *call, struct vg_json_writer *w,
                         const struct web_newest_record *found)
{
    struct stream *stream = call->web->config.stream;
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    struct stream_record record = {.key = found->key, .time_us = found->time_us};
    struct vg_json *letter;
    int64_t partition = 0, seq = 0;

    if (vg_json_parse(&call->arena, found->value, NULL, &letter, NULL, NULL) != VG_OK ||
        !vg_slice_is(vg_json_get_text(letter, "stage"), "connector") ||
        !vg_json_to_i64(vg_json_get(letter, "partition"), &partition) ||
        !vg_json_to_i64(vg_json_get(letter, "seq"), &seq) || seq < 0 || partition < 0 ||
        partition >= stream_partitions(stream))
        return;
    if (vg_slice_is(vg_json_get_text(letter, "payloadEncoding"), "utf-8"))
        record.value = vg_json_get_text(letter, "payload");
    if (stream_consumer_open(stream, (uint32_t)partition, STREAM_DEVICE_RAW, "web!", &consumer,
                             NULL) == VG_OK) {
        stream_seek(consumer, (uint64_t)seq);
        if (stream_read(consumer, 1, 0, &batch, NULL) == VG_OK && batch.count == 1 &&
            batch.records[0].seq == (uint64_t)seq)
            record = batch.records[0];
    }
    if (record.value.len)
        write_message(call, w, found->id, &record, vg_json_get_text(letter, "reason"));
    stream_consumer_close(consumer);
}

static enum vg_status write_messages(struct web_call *call, struct vg_json_writer *w,
                                     enum stream_topic topic, size_t max, struct vg_err *err)
{
    struct web_newest newest;
    enum vg_status st = web_newest_read(call->web->config.stream, topic, max, &newest, err);

    vg_json_open_array(w);
    for (size_t i = 0; st == VG_OK && i < newest.count; i++) {
        const struct web_newest_record *found = &newest.records[i];
        const struct stream_record record = {.time_us = found->time_us,
                                             .key = found->key,
                                             .headers = found->headers,
                                             .value = found->value};

        vg_arena_reset(&call->arena);
        if (topic == STREAM_DEADLETTER)
            write_letter(call, w, found);
        else
            write_message(call, w, found->id, &record, VG_SLICE(""));
    }
    vg_json_close_array(w);
    web_newest_fini(&newest);
    return st;
}

/* GET /api/mappings/messages?count=20 */
static enum vg_status messages(struct web_call *call, struct vg_err *err)
{
    int64_t count = call->number < 0 ? MESSAGES_USUAL : call->number;
    struct vg_json_writer w;
    enum vg_status st;

    if (count < 1 || count > MESSAGES_MAX)
        return vg_fail(err, VG_REJECT, "web.count", 0, "expected count from 1 to %d", MESSAGES_MAX);
    vg_json_writer_init(&w, &call->out);
    vg_json_open_object(&w);
    vg_json_name(&w, "letters");
    st = write_messages(call, &w, STREAM_DEADLETTER, (size_t)count, err);
    vg_json_name(&w, "messages");
    if (st == VG_OK)
        st = write_messages(call, &w, STREAM_DEVICE_RAW, (size_t)count, err);
    vg_json_close_object(&w);
    if (st == VG_OK)
        web_audit(call->web, vg_slice_of(call->user.name), "mapping.messages", VG_SLICE(""));
    return st;
}

/* GET /api/mappings/messages, /api/mappings/{version} */
enum vg_status web_mapping(struct web_call *call, struct vg_err *err)
{
    const struct web_mappings *mappings = &call->web->config.mappings;

    if (vg_slice_is(call->tail, "messages"))
        return messages(call, err);
    return has_mappings(call) ? mappings->show(mappings->ctx, call->tail, &call->out, err) : VG_END;
}
