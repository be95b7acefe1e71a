/* mqtt_connect.c -- CONNECT: who is it, and may he come in; CONNACK.
 *
 * Order of the checks: form, protocol version, client id, enhanced authentication, will, then the
 * password. The user name is the device id, or Azure's form {hub}/{device}/?api-version=...; the
 * client id must be the device id, so nobody can take over another's session, and an id cannot hold
 * a wildcard (registry_id_is_valid), so it cannot widen a topic check.
 *
 * A password that this loop has proven before is answered at once (auth.c); else the connection is
 * stalled until the authentication thread has answered, and mqtt_connect_finish() goes on.
 */
#include "hub/hub_int.h"

#include <stdio.h>
#include <stdlib.h>

static uint8_t read_will(struct mqtt_reader *r, uint8_t version, unsigned flags,
                         struct mqtt_will *will, const char **ret_why)
{
    uint8_t reason = MQTT_OK;

    will->is_there = true;
    will->qos = flags >> 3 & 3;
    will->is_retained = (flags & 0x20) != 0;
    if (version == MQTT_V5)
        reason = mqtt_read_properties(r, MQTT_WILL, &will->properties, ret_why);
    if (reason)
        return reason;
    will->topic = mqtt_read_text(r);
    will->payload = mqtt_read_binary(r);
    if (r->is_bad || will->topic.len == 0) {
        *ret_why = "will topic or payload";
        return MQTT_MALFORMED;
    }
    return MQTT_OK;
}

uint8_t mqtt_connect_decode(struct vg_slice body, struct mqtt_connect *ret, const char **ret_why)
{
    struct mqtt_reader r = mqtt_reader_of(body);
    struct vg_slice name = mqtt_read_text(&r);
    uint8_t version = mqtt_read_u8(&r);
    unsigned flags;
    uint8_t reason;

    memset(ret, 0, sizeof(*ret));
    if (r.is_bad || (!vg_slice_is(name, "MQTT") && !vg_slice_is(name, "MQIsdp"))) {
        *ret_why = "not MQTT";
        return MQTT_MALFORMED;
    }
    if (!vg_slice_is(name, "MQTT") || (version != MQTT_V311 && version != MQTT_V5)) {
        ret->version = MQTT_V311; /* the older form of the answer is the one it may understand */
        *ret_why = "protocol version: 3.1.1 (4) and 5 are served";
        return MQTT_VERSION;
    }
    ret->version = version;
    flags = mqtt_read_u8(&r);
    ret->keep_alive_s = mqtt_read_u16(&r);
    *ret_why = "CONNECT flags";
    if (r.is_bad || (flags & 1) || (flags >> 3 & 3) == 3 || (!(flags & 4) && (flags & 0x38)))
        return MQTT_MALFORMED;
    /* 3.1.1 has no password without a user name (MQTT-3.1.2-22). */
    if (version == MQTT_V311 && (flags & 0xC0) == 0x40)
        return MQTT_MALFORMED;
    ret->is_clean = (flags & 2) != 0;
    ret->has_user = (flags & 0x80) != 0;
    ret->has_password = (flags & 0x40) != 0;
    if (version == MQTT_V5) {
        reason = mqtt_read_properties(&r, MQTT_CONNECT, &ret->properties, ret_why);
        if (reason)
            return reason;
        if (mqtt_has(&ret->properties, MQTT_P_AUTH_DATA) &&
            !mqtt_has(&ret->properties, MQTT_P_AUTH_METHOD)) {
            *ret_why = "authentication data without a method";
            return MQTT_PROTOCOL;
        }
    }
    ret->client_id = mqtt_read_text(&r);
    if (flags & 4) {
        reason = read_will(&r, version, flags, &ret->will, ret_why);
        if (reason)
            return reason;
    }
    if (ret->has_user)
        ret->user = mqtt_read_text(&r);
    if (ret->has_password)
        ret->password = mqtt_read_binary(&r);
    if (r.is_bad || r.at != r.end) {
        *ret_why = r.is_bad ? "CONNECT is cut short" : "bytes after CONNECT's last field";
        return MQTT_MALFORMED;
    }
    *ret_why = NULL;
    return MQTT_OK;
}

static void put_text_property(struct vg_buf *out, enum mqtt_property id, struct vg_slice text)
{
    vg_buf_put_byte(out, (uint8_t)id);
    mqtt_put_binary(out, text);
}

static void connack(struct conn *conn, bool is_present, uint8_t code, struct vg_slice properties)
{
    struct vg_buf out;

    vg_buf_init(&out, 1024);
    if (conn->version == MQTT_V5) {
        mqtt_put_head(&out, MQTT_CONNACK, 0,
                      2 + mqtt_varint_bytes((uint32_t)properties.len) + properties.len);
        vg_buf_put_byte(&out, is_present);
        vg_buf_put_byte(&out, code);
        mqtt_put_varint(&out, (uint32_t)properties.len);
        vg_buf_put(&out, properties);
    } else {
        mqtt_put_head(&out, MQTT_CONNACK, 0, 2);
        vg_buf_put_byte(&out, is_present);
        vg_buf_put_byte(&out, code);
    }
    conn_send(conn, vg_buf_slice(&out));
    vg_buf_fini(&out);
}

void mqtt_connack_refuse(struct conn *conn, enum refused why, struct vg_slice text)
{
    const struct refusal *refusal = refusal_of(why);
    struct vg_buf properties;

    if (conn->version != MQTT_V5) {
        if (refusal->connack311)
            connack(conn, false, refusal->connack311, (struct vg_slice){0});
        return;
    }
    vg_buf_init(&properties, 512);
    if (!conn->packet_bytes_max || text.len + 16 <= conn->packet_bytes_max)
        put_text_property(&properties, MQTT_P_REASON_STRING, text);
    connack(conn, false, refusal->reason, vg_buf_slice(&properties));
    vg_buf_fini(&properties);
}

static void connack_accept(struct conn *conn, bool is_present)
{
    const struct hub_config *config = &conn->loop->hub->config;
    struct vg_buf p;

    vg_buf_init(&p, 256);
    vg_buf_put_byte(&p, MQTT_P_RECEIVE_MAXIMUM);
    mqtt_put_u16(&p, (uint16_t)config->inflight_max);
    vg_buf_put_byte(&p, MQTT_P_MAXIMUM_QOS);
    vg_buf_put_byte(&p, 1);
    vg_buf_put_byte(&p, MQTT_P_RETAIN_AVAILABLE);
    vg_buf_put_byte(&p, 0);
    vg_buf_put_byte(&p, MQTT_P_MAXIMUM_PACKET_SIZE);
    mqtt_put_u32(&p, config->payload_bytes_max + HUB_OVERHEAD_BYTES_MAX);
    vg_buf_put_byte(&p, MQTT_P_SUBSCRIPTION_ID_AVAILABLE);
    vg_buf_put_byte(&p, 0);
    vg_buf_put_byte(&p, MQTT_P_SHARED_AVAILABLE);
    vg_buf_put_byte(&p, 0);
    connack(conn, is_present, MQTT_OK, vg_buf_slice(&p));
    vg_buf_fini(&p);
}

/* {hub}/{device}/?api-version=... or the id itself. */
static struct vg_slice device_of_user(struct vg_slice user)
{
    struct vg_slice rest = user;
    struct vg_slice head = vg_slice_cut(&rest, '/');

    return rest.ptr ? vg_slice_cut(&rest, '/') : head;
}

/* A will is a message in waiting: the same rules as for a PUBLISH, checked now. */
static bool take_will(struct conn *conn, const struct mqtt_will *will)
{
    struct hub_loop *loop = conn->loop;
    struct vg_slice device, bag;
    struct will *kept;
    bool is_foreign;

    if (will->qos > 1) {
        conn_refuse(conn, REFUSED_QOS, "a will of QoS 2; at most 1 is served");
        return false;
    }
    if (will->is_retained && conn->version == MQTT_V5) {
        conn_refuse(conn, REFUSED_RETAIN, "a retained will; nothing is retained here");
        return false;
    }
    if (will->payload.len > loop->hub->config.payload_bytes_max) {
        conn_refuse(conn, REFUSED_SIZE, "a will of %zu bytes", will->payload.len);
        return false;
    }
    if (!message_topic(will->topic, &device, &bag) ||
        !message_is_allowed(loop->directory, vg_slice_of(conn->id), conn->is_gateway, device)) {
        conn_refuse(conn, REFUSED_TOPIC, "will topic is not devices/%s/messages/events/", conn->id);
        return false;
    }
    kept = calloc(1, sizeof(*kept));
    if (!kept) {
        conn_refuse(conn, REFUSED_UNAVAILABLE, "no memory for a will");
        return false;
    }
    is_foreign = !vg_slice_is(device, conn->id);
    vg_buf_init(&kept->headers, 128u << 10);
    vg_buf_init(&kept->payload, 0);
    (void)vg_slice_to_cstr(device, kept->device, sizeof(kept->device));
    stream_header_put(&kept->headers, "via",
                      vg_slice_of(conn->version == MQTT_V5 ? "mqtt5" : "mqtt"));
    stream_header_put(&kept->headers, "will", VG_SLICE("1"));
    if (is_foreign)
        stream_header_put(&kept->headers, "edge", vg_slice_of(conn->id));
    vg_arena_reset(&loop->arena);
    if (!message_parse_bag(&kept->headers, bag, is_foreign, &loop->arena)) {
        will_free(kept);
        conn_refuse(conn, REFUSED_TOPIC_FORM, "the will's property bag cannot be read");
        return false;
    }
    vg_buf_put(&kept->payload, will->payload);
    kept->delay_s = conn->version == MQTT_V5 && mqtt_has(&will->properties, MQTT_P_WILL_DELAY)
                        ? will->properties.number[MQTT_P_WILL_DELAY]
                        : 0;
    if (!vg_buf_ok(&kept->headers) || !vg_buf_ok(&kept->payload)) {
        will_free(kept);
        conn_refuse(conn, REFUSED_UNAVAILABLE, "no memory for a will");
        return false;
    }
    conn->will = kept;
    return true;
}

static void password_checked(struct auth_job *job)
{
    struct conn *conn = job->ctx;

    if (conn->state == CONN_AUTH && job->is_dropped)
        conn_refuse(conn, REFUSED_SHUTTING_DOWN, "the hub is shutting down");
    else if (conn->state == CONN_AUTH)
        mqtt_connect_finish(conn, job->is_proven);
    auth_job_free(job);
    conn_unref(conn);
}

enum handled mqtt_connect_handle(struct conn *conn, struct vg_slice body)
{
    struct mqtt_connect c;
    const struct registry_device *device;
    struct vg_slice id;
    const char *why;
    uint8_t reason;

    if (conn->state != CONN_NEW) {
        conn_refuse(conn, REFUSED_PROTOCOL, "a second CONNECT");
        return ENDED;
    }
    reason = mqtt_connect_decode(body, &c, &why);
    conn->version = c.version;
    if (reason == MQTT_OK && c.version == MQTT_V5 &&
        mqtt_has(&c.properties, MQTT_P_MAXIMUM_PACKET_SIZE))
        conn->packet_bytes_max = c.properties.number[MQTT_P_MAXIMUM_PACKET_SIZE];
    if (reason) {
        conn_refuse_reason(conn, reason, why);
        return ENDED;
    }
    id = device_of_user(c.has_user ? c.user : (struct vg_slice){"", 0});
    if (c.version == MQTT_V5 && mqtt_has(&c.properties, MQTT_P_AUTH_METHOD)) {
        conn_refuse(conn, REFUSED_AUTH_METHOD, "enhanced authentication is not served");
        return ENDED;
    }
    if (!registry_id_is_valid(c.client_id)) {
        conn_refuse(conn, REFUSED_CLIENT_ID, "client id is not a device id");
        return ENDED;
    }
    (void)vg_slice_to_cstr(c.client_id, conn->id, sizeof(conn->id));
    if (!c.has_user || !c.has_password || !vg_slice_eq(id, c.client_id)) {
        conn_refuse(conn, REFUSED_PASSWORD,
                    !c.has_user || !c.has_password
                        ? "no user name or password"
                        : "user name does not name the device that the client id names");
        return ENDED;
    }
    conn->id_len = (uint8_t)c.client_id.len;
    conn->keep_alive_s = c.keep_alive_s;
    conn->is_clean = c.is_clean;
    conn->session_expiry_s = c.is_clean ? 0 : UINT32_MAX;
    if (c.version == MQTT_V5)
        conn->session_expiry_s = mqtt_has(&c.properties, MQTT_P_SESSION_EXPIRY)
                                     ? c.properties.number[MQTT_P_SESSION_EXPIRY]
                                     : 0;
    device = directory_get(conn->loop->directory, c.client_id);
    conn->is_gateway = device && device->is_gateway;
    if (c.will.is_there && !take_will(conn, &c.will))
        return ENDED;

    conn->state = CONN_AUTH;
    conn->refs++;
    switch (auth_check(conn->loop, c.client_id, c.password, password_checked, conn)) {
    case AUTH_LATER:
        conn_stall(conn);
        return HANDLED; /* this packet is done; conn_stall() keeps the next ones waiting */
    case AUTH_BUSY:
        conn_refuse(conn, REFUSED_BUSY, "too many passwords are being checked");
        break;
    case AUTH_YES:
        mqtt_connect_finish(conn, true);
        break;
    case AUTH_NO:
        mqtt_connect_finish(conn, false);
        break;
    }
    conn_unref(conn);
    return conn->state == CONN_ONLINE ? HANDLED : ENDED;
}

void mqtt_connect_finish(struct conn *conn, bool is_proven)
{
    struct hub_loop *loop = conn->loop;
    const struct registry_device *device = directory_get(loop->directory, vg_slice_of(conn->id));
    bool is_present = false;

    if (!is_proven || !device) {
        conn_refuse(conn, REFUSED_PASSWORD, "unknown device or wrong password");
        return;
    }
    if (!device->is_enabled) {
        conn_refuse(conn, REFUSED_DISABLED, "device is disabled");
        return;
    }
    conn->is_gateway = device->is_gateway;
    conn->partition = stream_partition_of(loop->hub->stream, vg_slice_of(conn->id));
    conn->prefix_len = (uint8_t)snprintf(conn->prefix, sizeof(conn->prefix),
                                         "devices/%s/messages/events/", conn->id);
    session_attach(conn, &is_present);
    conn->state = CONN_ONLINE;
    conn->has_published = true; /* it was seen */
    connack_accept(conn, is_present);
    vg_log(VG_LOG_DEBUG, "hub", "hub.connect", "%s connected from %s by MQTT %s", conn->id,
           conn->peer, conn->version == MQTT_V5 ? "5" : "3.1.1");
    conn_try_resume(conn);
}
