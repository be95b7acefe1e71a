/* mqtt_packet_fuzz.c -- any bytes as one packet, as 3.1.1 and as 5: no step outside, and what is
 * taken is what the encoder writes. */
#include "hub/mqtt_packet.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_true)
{
    if (!is_true)
        abort();
}

static void walk_users(const struct mqtt_properties *p)
{
    struct vg_slice name, value;
    size_t cursor = 0;
    uint32_t count = 0;

    while (mqtt_user_next(p->block, &cursor, &name, &value))
        count++;
    must(count == p->user_count);
}

static void try_packet(uint8_t version, struct vg_slice packet, const struct mqtt_frame *frame,
                       struct vg_buf *out)
{
    struct vg_slice body = {packet.ptr + frame->header_bytes, frame->body_bytes};
    enum mqtt_type type = (enum mqtt_type)frame->type;
    struct mqtt_connect connect;
    struct mqtt_publish publish;
    struct mqtt_subscribe subscribe;
    struct mqtt_disconnect disconnect;
    const char *why = NULL;

    vg_buf_clear(out);
    if (type == MQTT_CONNECT && frame->flags == 0) {
        if (mqtt_connect_decode(body, &connect, &why) == MQTT_OK)
            mqtt_connect_encode(out, &connect);
    } else if (type == MQTT_PUBLISH) {
        if (mqtt_publish_decode(version, frame->flags, body, &publish, &why) == MQTT_OK) {
            if (publish.properties.present)
                walk_users(&publish.properties);
            mqtt_publish_encode(out, version, &publish);
        }
    } else if ((type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE) && frame->flags == 2) {
        if (mqtt_subscribe_decode(version, type, body, &subscribe, &why) == MQTT_OK)
            mqtt_subscribe_encode(out, version, type, &subscribe);
    } else if (type == MQTT_DISCONNECT) {
        if (mqtt_disconnect_decode(version, body, &disconnect, &why) != MQTT_OK)
            must(why != NULL);
        return;
    } else {
        return;
    }
    must(out->len == 0 ? why != NULL : vg_slice_eq(vg_buf_slice(out), packet));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_slice packet = {(const char *)data, size};
    struct mqtt_frame frame;
    struct vg_buf out;

    if (size == 0 || mqtt_frame_peek(packet, &frame) != MQTT_FRAME_OK ||
        size - frame.header_bytes < frame.body_bytes)
        return 0;
    packet.len = frame.header_bytes + frame.body_bytes;
    vg_buf_init(&out, 0);
    try_packet(MQTT_V311, packet, &frame, &out);
    try_packet(MQTT_V5, packet, &frame, &out);
    vg_buf_fini(&out);
    return 0;
}
