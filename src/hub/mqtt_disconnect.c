/* mqtt_disconnect.c -- DISCONNECT: a client leaves; or is told (MQTT 5) why it must. */
#include "hub/hub_int.h"

uint8_t mqtt_disconnect_decode(uint8_t version, struct vg_slice body, struct mqtt_disconnect *ret,
                               const char **ret_why)
{
    struct mqtt_reader r = mqtt_reader_of(body);
    uint8_t reason = MQTT_OK;

    memset(ret, 0, sizeof(*ret));
    if (version != MQTT_V5) {
        *ret_why = "DISCONNECT with a body";
        return body.len ? MQTT_MALFORMED : MQTT_OK;
    }
    if (r.at < r.end)
        ret->reason = mqtt_read_u8(&r);
    if (r.at < r.end)
        reason = mqtt_read_properties(&r, MQTT_DISCONNECT, &ret->properties, ret_why);
    if (reason)
        return reason;
    if (r.is_bad || r.at != r.end) {
        *ret_why = "bytes after DISCONNECT";
        return MQTT_MALFORMED;
    }
    *ret_why = NULL;
    return MQTT_OK;
}

enum handled mqtt_disconnect_handle(struct conn *conn, struct vg_slice body)
{
    struct mqtt_disconnect d;
    const char *why;
    uint8_t reason = mqtt_disconnect_decode(conn->version, body, &d, &why);

    if (reason) {
        conn_refuse_reason(conn, reason, why);
        return ENDED;
    }
    if (mqtt_has(&d.properties, MQTT_P_SESSION_EXPIRY)) {
        uint32_t expiry_s = d.properties.number[MQTT_P_SESSION_EXPIRY];

        if (conn->session_expiry_s == 0 && expiry_s != 0) {
            conn_refuse(conn, REFUSED_PROTOCOL, "session expiry from 0 to more in DISCONNECT");
            return ENDED;
        }
        conn->session_expiry_s = expiry_s;
    }
    conn_close(conn, d.reason != MQTT_WITH_WILL);
    return ENDED;
}

void mqtt_disconnect_send(struct conn *conn, uint8_t reason, struct vg_slice text)
{
    struct vg_buf out;
    size_t properties = 3 + text.len;

    if (conn->version != MQTT_V5)
        return; /* 3.1.1: only the client may say it */
    vg_buf_init(&out, 1024);
    if (text.len == 0 || text.len > 256 ||
        (conn->packet_bytes_max && properties + 8 > conn->packet_bytes_max)) {
        mqtt_put_head(&out, MQTT_DISCONNECT, 0, 1);
        vg_buf_put_byte(&out, reason);
    } else {
        mqtt_put_head(&out, MQTT_DISCONNECT, 0,
                      1 + mqtt_varint_bytes((uint32_t)properties) + properties);
        vg_buf_put_byte(&out, reason);
        mqtt_put_varint(&out, (uint32_t)properties);
        vg_buf_put_byte(&out, MQTT_P_REASON_STRING);
        mqtt_put_binary(&out, text);
    }
    conn_send(conn, vg_buf_slice(&out));
    vg_buf_fini(&out);
}
