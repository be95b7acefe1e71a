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

/* The envelope that expressions see (docs/records.md); nothing when the payload is not JSON. */
static void put_envelope(struct web_call *call, struct vg_slice device, int64_t time_us,
                         struct vg_slice headers, struct vg_slice payload, struct vg_buf *out)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    struct vg_slice name, value, mid = stream_header_get(headers, "mid");
    struct vg_json_writer w;
    struct vg_json *body;
    size_t cursor = 0;

    if (vg_json_parse(&call->arena, payload, &lenient, &body, NULL, NULL) != VG_OK)
        return;
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_raw(&w, "Body", body->source);
    vg_json_name(&w, "Properties");
    vg_json_open_object(&w);
    while (stream_header_next(headers, &cursor, &name, &value)) {
        if (vg_slice_starts(name, VG_SLICE("p.")))
            name = vg_slice_from(name, 2);
        else if (vg_slice_is(name, "ctime"))
            name = VG_SLICE("iothub-creation-time-utc");
        else
            continue;
        vg_json_name_slice(&w, name);
        vg_json_put_string(&w, value);
    }
    vg_json_close_object(&w);
    vg_json_name(&w, "SystemProperties");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "iothub-connection-device-id", device);
    vg_json_member_time(&w, "iothub-enqueuedtime", time_us);
    if (mid.len)
        vg_json_member_string(&w, "message-id", mid);
    vg_json_close_object(&w);
    vg_json_close_object(&w);
}

/* `letter` NULL: a message as it came; else the dead letter that it became. */
static void write_message(struct web_call *call, struct vg_json_writer *w,
                          const struct web_newest_record *record, const struct vg_json *letter)
{
    struct vg_slice payload = letter ? vg_json_get_text(letter, "payload") : record->value;
    struct vg_buf envelope;

    if (payload.len > PAYLOAD_BYTES_MAX || !vg_slice_is_utf8(payload))
        return;
    vg_buf_init(&envelope, 4 * PAYLOAD_BYTES_MAX);
    put_envelope(call, record->key, record->time_us, letter ? VG_SLICE("") : record->headers,
                 payload, &envelope);
    vg_json_open_object(w);
    vg_json_member_string(w, "id", record->id);
    vg_json_member_string(w, "device", record->key);
    vg_json_member_time(w, "time", record->time_us);
    if (letter)
        vg_json_member_string(w, "reason", vg_json_get_text(letter, "reason"));
    vg_json_member_string(w, "payload", payload);
    if (envelope.len && vg_buf_ok(&envelope))
        vg_json_member_string(w, "envelope", vg_buf_slice(&envelope));
    vg_json_close_object(w);
    vg_buf_fini(&envelope);
}

static enum vg_status write_messages(struct web_call *call, struct vg_json_writer *w,
                                     enum stream_topic topic, size_t max, struct vg_err *err)
{
    struct web_newest newest;
    enum vg_status st = web_newest_read(call->web->config.stream, topic, max, &newest, err);

    vg_json_open_array(w);
    for (size_t i = 0; st == VG_OK && i < newest.count; i++) {
        struct vg_json *letter = NULL;

        vg_arena_reset(&call->arena);
        if (topic == STREAM_DEVICE_RAW)
            write_message(call, w, &newest.records[i], NULL);
        else if (vg_json_parse(&call->arena, newest.records[i].value, NULL, &letter, NULL, NULL) ==
                     VG_OK &&
                 vg_slice_is(vg_json_get_text(letter, "stage"), "connector") &&
                 vg_slice_is(vg_json_get_text(letter, "payloadEncoding"), "utf-8"))
            write_message(call, w, &newest.records[i], letter);
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
