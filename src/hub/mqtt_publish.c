/* mqtt_publish.c -- PUBLISH: the hot path.
 *
 * Parsed in place, copied once (into the batch), no memory taken: a message without properties
 * under the device's own topic costs a prefix compare and two copies. The answer is in turn.c.
 */
#include "hub/hub_int.h"

#include <stdarg.h>
#include <stdio.h>

uint8_t mqtt_publish_decode(uint8_t version, uint8_t flags, struct vg_slice body,
                            struct mqtt_publish *ret, const char **ret_why)
{
    struct mqtt_reader r = mqtt_reader_of(body);

    ret->qos = flags >> 1 & 3;
    ret->is_dup = (flags & 8) != 0;
    ret->is_retained = (flags & 1) != 0;
    ret->packet_id = 0;
    ret->properties.present = 0;
    ret->properties.user_count = 0;
    ret->properties.block = (struct vg_slice){"", 0};
    if (ret->qos == 3 || (ret->qos == 0 && ret->is_dup)) {
        *ret_why = "PUBLISH flags";
        return MQTT_MALFORMED;
    }
    ret->topic = mqtt_read_text(&r);
    if (ret->qos)
        ret->packet_id = mqtt_read_u16(&r);
    if (r.is_bad) {
        *ret_why = "PUBLISH is cut short, or its topic is not UTF-8";
        return MQTT_MALFORMED;
    }
    if (ret->qos && ret->packet_id == 0) {
        *ret_why = "packet identifier 0";
        return MQTT_PROTOCOL;
    }
    if (version == MQTT_V5) {
        uint8_t reason;

        if (r.at < r.end && *r.at == 0) /* no properties: by far the most */
            r.at++;
        else if ((reason = mqtt_read_properties(&r, MQTT_PUBLISH, &ret->properties, ret_why)))
            return reason;
    }
    if (memchr(ret->topic.ptr, '+', ret->topic.len) ||
        memchr(ret->topic.ptr, '#', ret->topic.len)) {
        *ret_why = "a wildcard in a topic name";
        return MQTT_TOPIC;
    }
    if (ret->topic.len == 0 && !mqtt_has(&ret->properties, MQTT_P_TOPIC_ALIAS)) {
        *ret_why = "an empty topic name";
        return version == MQTT_V5 ? MQTT_PROTOCOL : MQTT_MALFORMED;
    }
    ret->payload = mqtt_read_bytes(&r, (size_t)(r.end - r.at));
    *ret_why = NULL;
    return MQTT_OK;
}

/* This message cannot be taken. MQTT 5 can say so of one message, and a gateway's other devices go
 * on; 3.1.1 and QoS 0 can only end the connection. */
VG_PRINTF(4, 5)
static enum handled refuse_one(struct conn *conn, const struct mqtt_publish *publish,
                               enum refused why, const char *fmt, ...)
{
    struct hub_loop *loop = conn->loop;
    char text[160];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (conn->version != MQTT_V5 || publish->qos == 0) {
        conn_refuse(conn, why, "%s", text);
        return ENDED;
    }
    vg_metric_add(loop->hub->metrics.refused[why], 1);
    vg_log(VG_LOG_WARN, "hub", refusal_of(why)->code, "%s from %s: %s", conn->id, conn->peer, text);
    conn->inflight++;
    conn->refs++;
    turn_add_refusal(loop, (struct answer){.conn = conn,
                                           .packet_id = publish->packet_id,
                                           .reason = refusal_of(why)->reason});
    return HANDLED;
}

/* What makes this message more than its payload; NULL, or why it cannot be taken. */
static const char *make_headers(struct conn *conn, const struct mqtt_publish *publish,
                                struct vg_slice bag, bool is_foreign, struct vg_slice *ret_headers)
{
    struct hub_loop *loop = conn->loop;
    struct vg_buf *headers = &loop->headers;
    struct vg_slice name, value;
    size_t cursor = 0;
    char packet_id[8];

    vg_buf_clear(headers);
    vg_buf_put(headers, vg_buf_slice(&loop->hub->via[conn->version == MQTT_V5]));
    if (publish->qos > 0 && !is_foreign) { /* with it a repeat is told from an equal reading */
        (void)snprintf(packet_id, sizeof(packet_id), "%u", publish->packet_id);
        stream_header_put(headers, "pid", vg_slice_of(packet_id));
    }
    if (!publish->is_dup && !is_foreign && bag.len == 0 && !publish->properties.present) {
        *ret_headers = vg_buf_slice(headers);
        return NULL;
    }
    vg_arena_reset(&loop->arena);
    if (publish->is_dup)
        stream_header_put(headers, "dup", VG_SLICE("1"));
    if (is_foreign)
        stream_header_put(headers, "edge", vg_slice_of(conn->id));
    if (mqtt_has(&publish->properties, MQTT_P_CONTENT_TYPE))
        stream_header_put(headers, "ct", publish->properties.text[MQTT_P_CONTENT_TYPE]);
    if (!message_parse_bag(headers, bag, is_foreign, &loop->arena))
        return "the property bag is not name=value pairs with names of at most 250 bytes";
    while (mqtt_user_next(publish->properties.block, &cursor, &name, &value))
        if (!message_put_property(headers, name, value, is_foreign))
            return "the name of a user property exceeds 250 bytes";
    if (!vg_buf_ok(headers))
        return "properties are too large";
    *ret_headers = vg_buf_slice(headers);
    return NULL;
}

enum handled mqtt_publish_handle(struct conn *conn, uint8_t flags, struct vg_slice body)
{
    struct hub_loop *loop = conn->loop;
    struct vg_slice device = {conn->id, conn->id_len}, bag, headers;
    uint32_t partition = conn->partition;
    struct mqtt_publish publish;
    bool is_foreign = false;
    const char *why;
    uint8_t reason;

    if (!turn_has_room(loop)) {
        conn_stall(conn);
        return STALLED;
    }
    reason = mqtt_publish_decode(conn->version, flags, body, &publish, &why);
    if (reason) {
        conn_refuse_reason(conn, reason, why);
        return ENDED;
    }
    if (publish.qos == 2) {
        conn_refuse(conn, REFUSED_QOS, "QoS 2; at most 1 is served");
        return ENDED;
    }
    if (publish.is_retained && conn->version == MQTT_V5) {
        conn_refuse(conn, REFUSED_RETAIN, "RETAIN; nothing is retained here");
        return ENDED;
    }
    if (mqtt_has(&publish.properties, MQTT_P_TOPIC_ALIAS)) {
        conn_refuse(conn, REFUSED_ALIAS, "a topic alias; none is served");
        return ENDED;
    }
    if (publish.payload.len > loop->hub->config.payload_bytes_max) {
        conn_refuse(conn, REFUSED_SIZE, "payload of %zu bytes; at most %u are taken",
                    publish.payload.len, loop->hub->config.payload_bytes_max);
        return ENDED;
    }
    if (publish.qos && conn->inflight >= loop->hub->config.inflight_max) {
        if (conn->version == MQTT_V5) {
            conn_refuse(conn, REFUSED_INFLIGHT, "more than %u messages in flight",
                        loop->hub->config.inflight_max);
            return ENDED;
        }
        conn_stall(conn); /* 3.1.1 has no way to say it: it is read again after the next PUBACKs */
        return STALLED;
    }
    if (vg_slice_starts(publish.topic, (struct vg_slice){conn->prefix, conn->prefix_len})) {
        bag = vg_slice_from(publish.topic, conn->prefix_len);
    } else {
        if (!message_topic(publish.topic, &device, &bag) ||
            !message_is_allowed(loop->directory, vg_slice_of(conn->id), conn->is_gateway, device)) {
            return refuse_one(conn, &publish, REFUSED_TOPIC, "a topic that is not %s",
                              conn->prefix);
        }
        is_foreign = !vg_slice_is(device, conn->id);
        if (is_foreign)
            partition = stream_partition_of(loop->hub->stream, device);
    }
    why = make_headers(conn, &publish, bag, is_foreign, &headers);
    if (why)
        return refuse_one(conn, &publish, REFUSED_TOPIC_FORM, "%s", why);
    if (publish.qos) {
        conn->inflight++;
        conn->refs++;
    }
    conn->has_published = true;
    turn_add(loop, device, partition, headers, publish.payload,
             (struct answer){.conn = publish.qos ? conn : NULL,
                             .packet_id = publish.packet_id,
                             .is_brought = is_foreign});
    vg_metric_add(loop->hub->metrics.messages[conn->version == MQTT_V5], 1);
    return HANDLED;
}
