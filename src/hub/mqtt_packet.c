/* mqtt_packet.c -- the pieces that MQTT packets are made of.
 *
 * A reader is two pointers; nothing moves beyond `end`, and after the first failure it stands at
 * the end, so that a loop over it ends. Lengths are compared as "how many are left", never as
 * pointer plus length, so that no sum can wrap.
 *
 * A Variable Byte Integer has at most four bytes and must be the shortest form (MQTT-1.5.5-1): a
 * fifth byte or a padded form is malformed, else one packet would have several lengths.
 *
 * Properties: one table says what each is and where it is legal. Only the user property may repeat;
 * more than MQTT_USER_COUNT_MAX of them are refused before anything is kept.
 */
#include "hub/mqtt_packet.h"

enum property_kind { NONE, FLAG, BYTE, U16, U32, VARINT, TEXT, BINARY, PAIR };

#define IN(type) (1u << (type))

static const struct {
    enum property_kind kind;
    bool is_never_zero;
    uint32_t legal; /* bits: the packets that may carry it */
} properties[MQTT_P_COUNT] = {
    [MQTT_P_PAYLOAD_FORMAT] = {FLAG, false, IN(MQTT_PUBLISH) | IN(MQTT_WILL)},
    [MQTT_P_MESSAGE_EXPIRY] = {U32, false, IN(MQTT_PUBLISH) | IN(MQTT_WILL)},
    [MQTT_P_CONTENT_TYPE] = {TEXT, false, IN(MQTT_PUBLISH) | IN(MQTT_WILL)},
    [MQTT_P_RESPONSE_TOPIC] = {TEXT, false, IN(MQTT_PUBLISH) | IN(MQTT_WILL)},
    [MQTT_P_CORRELATION_DATA] = {BINARY, false, IN(MQTT_PUBLISH) | IN(MQTT_WILL)},
    [MQTT_P_SUBSCRIPTION_ID] = {VARINT, true, IN(MQTT_SUBSCRIBE)},
    [MQTT_P_SESSION_EXPIRY] = {U32, false,
                               IN(MQTT_CONNECT) | IN(MQTT_CONNACK) | IN(MQTT_DISCONNECT)},
    [MQTT_P_ASSIGNED_CLIENT_ID] = {TEXT, false, IN(MQTT_CONNACK)},
    [MQTT_P_SERVER_KEEP_ALIVE] = {U16, false, IN(MQTT_CONNACK)},
    [MQTT_P_AUTH_METHOD] = {TEXT, false, IN(MQTT_CONNECT) | IN(MQTT_CONNACK) | IN(MQTT_AUTH)},
    [MQTT_P_AUTH_DATA] = {BINARY, false, IN(MQTT_CONNECT) | IN(MQTT_CONNACK) | IN(MQTT_AUTH)},
    [MQTT_P_REQUEST_PROBLEM] = {FLAG, false, IN(MQTT_CONNECT)},
    [MQTT_P_WILL_DELAY] = {U32, false, IN(MQTT_WILL)},
    [MQTT_P_REQUEST_RESPONSE] = {FLAG, false, IN(MQTT_CONNECT)},
    [MQTT_P_RESPONSE_INFORMATION] = {TEXT, false, IN(MQTT_CONNACK)},
    [MQTT_P_SERVER_REFERENCE] = {TEXT, false, IN(MQTT_CONNACK)},
    [MQTT_P_REASON_STRING] = {TEXT, false,
                              IN(MQTT_CONNACK) | IN(MQTT_PUBACK) | IN(MQTT_SUBACK) |
                                  IN(MQTT_UNSUBACK) | IN(MQTT_DISCONNECT) | IN(MQTT_AUTH)},
    [MQTT_P_RECEIVE_MAXIMUM] = {U16, true, IN(MQTT_CONNECT) | IN(MQTT_CONNACK)},
    [MQTT_P_TOPIC_ALIAS_MAXIMUM] = {U16, false, IN(MQTT_CONNECT) | IN(MQTT_CONNACK)},
    [MQTT_P_TOPIC_ALIAS] = {U16, false, IN(MQTT_PUBLISH)},
    [MQTT_P_MAXIMUM_QOS] = {FLAG, false, IN(MQTT_CONNACK)},
    [MQTT_P_RETAIN_AVAILABLE] = {FLAG, false, IN(MQTT_CONNACK)},
    [MQTT_P_USER] = {PAIR, false, ~0u},
    [MQTT_P_MAXIMUM_PACKET_SIZE] = {U32, true, IN(MQTT_CONNECT) | IN(MQTT_CONNACK)},
    [MQTT_P_WILDCARD_AVAILABLE] = {FLAG, false, IN(MQTT_CONNACK)},
    [MQTT_P_SUBSCRIPTION_ID_AVAILABLE] = {FLAG, false, IN(MQTT_CONNACK)},
    [MQTT_P_SHARED_AVAILABLE] = {FLAG, false, IN(MQTT_CONNACK)},
};

enum mqtt_frame_state mqtt_frame_peek(struct vg_slice bytes, struct mqtt_frame *ret_frame)
{
    uint32_t body = 0;

    for (uint32_t i = 1; i <= 4; i++) {
        uint8_t byte;

        if (bytes.len <= i)
            return MQTT_FRAME_MORE;
        byte = (uint8_t)bytes.ptr[i];
        body |= (uint32_t)(byte & 0x7F) << (7 * (i - 1));
        if (byte & 0x80)
            continue;
        if (i > 1 && byte == 0)
            return MQTT_FRAME_BAD; /* a padded length */
        *ret_frame = (struct mqtt_frame){.type = (uint8_t)bytes.ptr[0] >> 4,
                                         .flags = (uint8_t)bytes.ptr[0] & 0x0F,
                                         .header_bytes = i + 1,
                                         .body_bytes = body};
        return MQTT_FRAME_OK;
    }
    return MQTT_FRAME_BAD;
}

struct mqtt_reader mqtt_reader_of(struct vg_slice bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.ptr;

    return (struct mqtt_reader){.at = at, .end = at ? at + bytes.len : at};
}

struct vg_slice mqtt_read_bytes(struct mqtt_reader *r, size_t len)
{
    struct vg_slice got = {(const char *)r->at, len};

    if (len > (size_t)(r->end - r->at)) {
        r->is_bad = true;
        r->at = r->end;
        return (struct vg_slice){"", 0};
    }
    if (len == 0)
        return (struct vg_slice){"", 0};
    r->at += len;
    return got;
}

uint8_t mqtt_read_u8(struct mqtt_reader *r)
{
    struct vg_slice got = mqtt_read_bytes(r, 1);

    return got.len == 1 ? (uint8_t)got.ptr[0] : 0;
}

uint16_t mqtt_read_u16(struct mqtt_reader *r)
{
    struct vg_slice got = mqtt_read_bytes(r, 2);
    const uint8_t *b = (const uint8_t *)got.ptr;

    return (uint16_t)(got.len == 2 ? b[0] << 8 | b[1] : 0);
}

uint32_t mqtt_read_u32(struct mqtt_reader *r)
{
    uint32_t high = mqtt_read_u16(r);

    return high << 16 | mqtt_read_u16(r);
}

uint32_t mqtt_read_varint(struct mqtt_reader *r)
{
    uint32_t value = 0;

    for (uint32_t i = 0; i < 4; i++) {
        uint8_t byte = mqtt_read_u8(r);

        value |= (uint32_t)(byte & 0x7F) << (7 * i);
        if (byte & 0x80)
            continue;
        if (i > 0 && byte == 0)
            break; /* padded */
        return r->is_bad ? 0 : value;
    }
    r->is_bad = true;
    r->at = r->end;
    return 0;
}

struct vg_slice mqtt_read_binary(struct mqtt_reader *r)
{
    size_t len = mqtt_read_u16(r);

    return mqtt_read_bytes(r, len);
}

/* Most texts are ASCII: eight bytes at a time, and only the others go the long way. */
static bool is_text(struct vg_slice text)
{
    size_t i = 0;

    for (; i + 8 <= text.len; i += 8) {
        uint64_t w;

        memcpy(&w, text.ptr + i, 8);
        /* High bit set anywhere, or a zero byte anywhere. */
        if ((w | ((w - 0x0101010101010101u) & ~w)) & 0x8080808080808080u)
            return vg_slice_is_utf8(text) && memchr(text.ptr, 0, text.len) == NULL;
    }
    for (; i < text.len; i++)
        if ((uint8_t)text.ptr[i] >= 0x80 || text.ptr[i] == 0)
            return vg_slice_is_utf8(text) && memchr(text.ptr, 0, text.len) == NULL;
    return true;
}

struct vg_slice mqtt_read_text(struct mqtt_reader *r)
{
    struct vg_slice text = mqtt_read_binary(r);

    if (!is_text(text)) {
        r->is_bad = true;
        r->at = r->end;
        return (struct vg_slice){"", 0};
    }
    return text;
}

static void read_value(struct mqtt_reader *r, uint32_t id, struct mqtt_properties *p)
{
    switch (properties[id].kind) {
    case FLAG:
    case BYTE:
        p->number[id] = mqtt_read_u8(r);
        break;
    case U16:
        p->number[id] = mqtt_read_u16(r);
        break;
    case U32:
        p->number[id] = mqtt_read_u32(r);
        break;
    case VARINT:
        p->number[id] = mqtt_read_varint(r);
        break;
    case TEXT:
        p->text[id] = mqtt_read_text(r);
        break;
    case BINARY:
        p->text[id] = mqtt_read_binary(r);
        break;
    case PAIR:
        (void)mqtt_read_text(r);
        (void)mqtt_read_text(r);
        break;
    case NONE:
        r->is_bad = true;
        break;
    }
}

uint8_t mqtt_read_properties(struct mqtt_reader *r, enum mqtt_type type,
                             struct mqtt_properties *ret, const char **ret_why)
{
    struct mqtt_reader in;

    ret->present = 0;
    ret->user_count = 0;
    ret->block = mqtt_read_bytes(r, mqtt_read_varint(r));
    *ret_why = "properties do not fit into the packet";
    if (r->is_bad)
        return MQTT_MALFORMED;

    in = mqtt_reader_of(ret->block);
    while (in.at < in.end) {
        uint32_t id = mqtt_read_varint(&in);

        if (in.is_bad || id >= MQTT_P_COUNT || properties[id].kind == NONE) {
            *ret_why = "unknown property";
            return MQTT_MALFORMED;
        }
        if (!(properties[id].legal & IN(type))) {
            *ret_why = "property not allowed in this packet";
            return MQTT_PROTOCOL;
        }
        if (id == MQTT_P_USER) {
            if (++ret->user_count > MQTT_USER_COUNT_MAX) {
                *ret_why = "too many user properties";
                return MQTT_QUOTA;
            }
        } else if (mqtt_has(ret, id)) {
            *ret_why = "property given twice";
            return MQTT_PROTOCOL;
        }
        read_value(&in, id, ret);
        if (in.is_bad) {
            *ret_why = "property cut short or not UTF-8";
            return MQTT_MALFORMED;
        }
        if ((properties[id].kind == FLAG && ret->number[id] > 1) ||
            (properties[id].is_never_zero && ret->number[id] == 0)) {
            *ret_why = "property value out of range";
            return MQTT_PROTOCOL;
        }
        ret->present |= 1ull << id;
    }
    *ret_why = NULL;
    return MQTT_OK;
}

bool mqtt_user_next(struct vg_slice block, size_t *cursor, struct vg_slice *ret_name,
                    struct vg_slice *ret_value)
{
    struct mqtt_reader r = mqtt_reader_of(vg_slice_from(block, *cursor));
    struct mqtt_properties ignored;

    while (r.at < r.end && !r.is_bad) {
        uint32_t id = mqtt_read_varint(&r);

        if (r.is_bad || id >= MQTT_P_COUNT)
            return false;
        if (id != MQTT_P_USER) {
            read_value(&r, id, &ignored);
            continue;
        }
        *ret_name = mqtt_read_text(&r);
        *ret_value = mqtt_read_text(&r);
        *cursor = block.len - (size_t)(r.end - r.at);
        return !r.is_bad;
    }
    return false;
}

void mqtt_put_u16(struct vg_buf *out, uint16_t value)
{
    vg_buf_put_byte(out, (uint8_t)(value >> 8));
    vg_buf_put_byte(out, (uint8_t)value);
}

void mqtt_put_u32(struct vg_buf *out, uint32_t value)
{
    mqtt_put_u16(out, (uint16_t)(value >> 16));
    mqtt_put_u16(out, (uint16_t)value);
}

size_t mqtt_varint_bytes(uint32_t value)
{
    return value < 1u << 7 ? 1 : value < 1u << 14 ? 2 : value < 1u << 21 ? 3 : 4;
}

void mqtt_put_varint(struct vg_buf *out, uint32_t value)
{
    for (; value >= 0x80; value >>= 7)
        vg_buf_put_byte(out, (uint8_t)(value | 0x80));
    vg_buf_put_byte(out, (uint8_t)value);
}

void mqtt_put_binary(struct vg_buf *out, struct vg_slice bytes)
{
    mqtt_put_u16(out, (uint16_t)bytes.len);
    vg_buf_put(out, bytes);
}

void mqtt_put_head(struct vg_buf *out, enum mqtt_type type, uint8_t flags, size_t body_bytes)
{
    vg_buf_put_byte(out, (uint8_t)((unsigned)type << 4 | flags));
    mqtt_put_varint(out, (uint32_t)body_bytes);
}

static size_t block_bytes(uint8_t version, const struct mqtt_properties *p)
{
    return version == MQTT_V5 ? mqtt_varint_bytes((uint32_t)p->block.len) + p->block.len : 0;
}

static void put_block(struct vg_buf *out, uint8_t version, const struct mqtt_properties *p)
{
    if (version != MQTT_V5)
        return;
    mqtt_put_varint(out, (uint32_t)p->block.len);
    vg_buf_put(out, p->block);
}

void mqtt_connect_encode(struct vg_buf *out, const struct mqtt_connect *c)
{
    const struct mqtt_will *w = &c->will;
    unsigned flags = (unsigned)(c->is_clean << 1 | w->is_there << 2 | w->qos << 3 |
                                w->is_retained << 5 | c->has_password << 6 | c->has_user << 7);
    size_t body = 10 + block_bytes(c->version, &c->properties) + 2 + c->client_id.len;

    if (w->is_there)
        body += block_bytes(c->version, &w->properties) + 4 + w->topic.len + w->payload.len;
    body += c->has_user ? 2 + c->user.len : 0;
    body += c->has_password ? 2 + c->password.len : 0;

    mqtt_put_head(out, MQTT_CONNECT, 0, body);
    mqtt_put_binary(out, VG_SLICE("MQTT"));
    vg_buf_put_byte(out, c->version);
    vg_buf_put_byte(out, (uint8_t)flags);
    mqtt_put_u16(out, c->keep_alive_s);
    put_block(out, c->version, &c->properties);
    mqtt_put_binary(out, c->client_id);
    if (w->is_there) {
        put_block(out, c->version, &w->properties);
        mqtt_put_binary(out, w->topic);
        mqtt_put_binary(out, w->payload);
    }
    if (c->has_user)
        mqtt_put_binary(out, c->user);
    if (c->has_password)
        mqtt_put_binary(out, c->password);
}

void mqtt_publish_encode(struct vg_buf *out, uint8_t version, const struct mqtt_publish *p)
{
    uint8_t flags =
        (uint8_t)((unsigned)p->is_dup << 3 | (unsigned)p->qos << 1 | (unsigned)p->is_retained);
    size_t body =
        2 + p->topic.len + (p->qos ? 2 : 0) + block_bytes(version, &p->properties) + p->payload.len;

    mqtt_put_head(out, MQTT_PUBLISH, flags, body);
    mqtt_put_binary(out, p->topic);
    if (p->qos)
        mqtt_put_u16(out, p->packet_id);
    put_block(out, version, &p->properties);
    vg_buf_put(out, p->payload);
}

void mqtt_subscribe_encode(struct vg_buf *out, uint8_t version, enum mqtt_type type,
                           const struct mqtt_subscribe *s)
{
    mqtt_put_head(out, type, 2, 2 + block_bytes(version, &s->properties) + s->filters.len);
    mqtt_put_u16(out, s->packet_id);
    put_block(out, version, &s->properties);
    vg_buf_put(out, s->filters);
}
