/* mqtt_subscribe.c -- SUBSCRIBE and UNSUBSCRIBE.
 *
 * Devices publish; the one thing they may listen to is what would be sent to them,
 * devices/{id}/messages/devicebound/#. We send nothing there yet: the subscription is acknowledged
 * and remembered, so that Azure's clients, which always ask for it, go on. Anything else is refused
 * filter by filter: a device can never see another's readings here.
 */
#include "hub/hub_int.h"

#include <stdio.h>

/* MQTT 4.7: '#' only at the end and alone in its level, '+' alone in its level. */
static bool is_filter(struct vg_slice filter)
{
    struct vg_slice rest = filter;

    if (filter.len == 0)
        return false;
    while (rest.ptr) {
        struct vg_slice level = vg_slice_cut(&rest, '/');
        bool has_hash = level.len && memchr(level.ptr, '#', level.len) != NULL;
        bool has_plus = level.len && memchr(level.ptr, '+', level.len) != NULL;

        if ((has_hash && (level.len != 1 || rest.ptr)) || (has_plus && level.len != 1))
            return false;
    }
    return true;
}

bool mqtt_filter_next(enum mqtt_type type, struct vg_slice filters, size_t *cursor,
                      struct vg_slice *ret_filter, uint8_t *ret_options)
{
    struct mqtt_reader r = mqtt_reader_of(vg_slice_from(filters, *cursor));

    if (r.at == r.end)
        return false;
    *ret_filter = mqtt_read_text(&r);
    *ret_options = type == MQTT_SUBSCRIBE ? mqtt_read_u8(&r) : 0;
    if (!r.is_bad)
        *cursor = filters.len - (size_t)(r.end - r.at);
    return !r.is_bad;
}

uint8_t mqtt_subscribe_decode(uint8_t version, enum mqtt_type type, struct vg_slice body,
                              struct mqtt_subscribe *ret, const char **ret_why)
{
    struct mqtt_reader r = mqtt_reader_of(body);
    struct vg_slice filter;
    uint8_t options, reason;
    size_t cursor = 0;

    memset(ret, 0, sizeof(*ret));
    ret->packet_id = mqtt_read_u16(&r);
    if (r.is_bad || ret->packet_id == 0) {
        *ret_why = "packet identifier";
        return r.is_bad ? MQTT_MALFORMED : MQTT_PROTOCOL;
    }
    if (version == MQTT_V5) {
        reason = mqtt_read_properties(&r, type, &ret->properties, ret_why);
        if (reason)
            return reason;
    }
    ret->filters = mqtt_read_bytes(&r, (size_t)(r.end - r.at));
    while (mqtt_filter_next(type, ret->filters, &cursor, &filter, &options)) {
        /* 3.1.1 has two bits of options, MQTT 5 six; QoS 3 and retain handling 3 do not exist. */
        if ((options & 3) == 3 || (options >> 4 & 3) == 3 ||
            (options & (version == MQTT_V5 ? 0xC0 : 0xFC))) {
            *ret_why = "subscription options";
            return MQTT_MALFORMED;
        }
        if (!is_filter(filter)) {
            *ret_why = "topic filter";
            return MQTT_MALFORMED;
        }
        ret->filter_count++;
    }
    if (cursor != ret->filters.len) {
        *ret_why = "topic filter is cut short or not UTF-8";
        return MQTT_MALFORMED;
    }
    if (ret->filter_count == 0) {
        *ret_why = "no topic filter";
        return MQTT_PROTOCOL;
    }
    *ret_why = NULL;
    return MQTT_OK;
}

/* The code for one filter. */
static uint8_t answer_filter(struct conn *conn, enum mqtt_type type, struct vg_slice filter,
                             uint8_t options)
{
    char own[HUB_TOPIC_MAX + 8];
    bool is_own, had;

    (void)snprintf(own, sizeof(own), "devices/%s/messages/devicebound/#", conn->id);
    is_own = vg_slice_is(filter, own);
    if (type == MQTT_UNSUBSCRIBE) {
        had = is_own && session_subscribe(conn, false);
        return had ? MQTT_OK : MQTT_NO_SUBSCRIPTION;
    }
    if (is_own) {
        (void)session_subscribe(conn, true);
        return (options & 3) ? 1 : 0;
    }
    vg_log(VG_LOG_INFO, "hub", "hub.subscribe", "%s may not subscribe to what is not %s", conn->id,
           own);
    if (conn->version != MQTT_V5)
        return 0x80;
    return vg_slice_starts(filter, VG_SLICE("$share/")) ? MQTT_SHARED : MQTT_NOT_ALLOWED;
}

enum handled mqtt_subscribe_handle(struct conn *conn, enum mqtt_type type, struct vg_slice body)
{
    struct mqtt_subscribe s;
    struct vg_slice filter;
    struct vg_buf out;
    const char *why;
    uint8_t options, reason = mqtt_subscribe_decode(conn->version, type, body, &s, &why);
    size_t cursor = 0, codes;
    bool is_v5 = conn->version == MQTT_V5;

    if (reason) {
        conn_refuse_reason(conn, reason, why);
        return ENDED;
    }
    if (mqtt_has(&s.properties, MQTT_P_SUBSCRIPTION_ID)) {
        conn_refuse(conn, REFUSED_SUBSCRIPTION_ID, "a subscription identifier; none is served");
        return ENDED;
    }
    /* The codes: always for SUBSCRIBE, for UNSUBSCRIBE in MQTT 5 only. */
    codes = type == MQTT_SUBSCRIBE || is_v5 ? s.filter_count : 0;
    vg_buf_init(&out, HUB_CONNECT_BYTES_MAX);
    mqtt_put_head(&out, type == MQTT_SUBSCRIBE ? MQTT_SUBACK : MQTT_UNSUBACK, 0,
                  2 + (is_v5 ? 1u : 0u) + codes);
    mqtt_put_u16(&out, s.packet_id);
    if (is_v5)
        vg_buf_put_byte(&out, 0);
    while (mqtt_filter_next(type, s.filters, &cursor, &filter, &options)) {
        uint8_t code = answer_filter(conn, type, filter, options);

        if (codes)
            vg_buf_put_byte(&out, code);
    }
    if (!vg_buf_ok(&out) || (conn->packet_bytes_max && out.len > conn->packet_bytes_max))
        conn_refuse(conn, REFUSED_QUOTA, "%u topic filters in one packet", s.filter_count);
    else
        conn_send(conn, vg_buf_slice(&out));
    vg_buf_fini(&out);
    return conn->state == CONN_ONLINE ? HANDLED : ENDED;
}
