/* mqtt_packet.h -- the bytes of MQTT 3.1.1 and 5: reading them, writing them.
 *
 * Pure functions over borrowed bytes: no sockets, no memory, no state. A decoder answers 0 or the
 * MQTT 5 reason code of the refusal and, in *ret_why, a static text for the log. Every length is
 * checked against what is there before it is used; what is not minimal or not UTF-8 is malformed.
 * Each packet's decoder stands in the file of that packet (mqtt_connect.c, mqtt_publish.c, ...).
 */
#ifndef VG_HUB_MQTT_PACKET_H
#define VG_HUB_MQTT_PACKET_H

#include "base/buf.h"

enum mqtt_type {
    MQTT_WILL = 0, /* no packet: where a will's properties are legal */
    MQTT_CONNECT = 1,
    MQTT_CONNACK = 2,
    MQTT_PUBLISH = 3,
    MQTT_PUBACK = 4,
    MQTT_PUBREC = 5,
    MQTT_PUBREL = 6,
    MQTT_PUBCOMP = 7,
    MQTT_SUBSCRIBE = 8,
    MQTT_SUBACK = 9,
    MQTT_UNSUBSCRIBE = 10,
    MQTT_UNSUBACK = 11,
    MQTT_PINGREQ = 12,
    MQTT_PINGRESP = 13,
    MQTT_DISCONNECT = 14,
    MQTT_AUTH = 15,
};

#define MQTT_V311 4
#define MQTT_V5 5

enum mqtt_reason {
    MQTT_OK = 0x00,
    MQTT_WITH_WILL = 0x04,
    MQTT_NO_SUBSCRIPTION = 0x11,
    MQTT_MALFORMED = 0x81,
    MQTT_PROTOCOL = 0x82,
    MQTT_VERSION = 0x84,
    MQTT_CLIENT_ID = 0x85,
    MQTT_PASSWORD = 0x86,
    MQTT_NOT_ALLOWED = 0x87,
    MQTT_UNAVAILABLE = 0x88,
    MQTT_BUSY = 0x89,
    MQTT_SHUTTING_DOWN = 0x8B,
    MQTT_AUTH_METHOD = 0x8C,
    MQTT_KEEP_ALIVE = 0x8D,
    MQTT_TAKEN_OVER = 0x8E,
    MQTT_FILTER = 0x8F,
    MQTT_TOPIC = 0x90,
    MQTT_RECEIVE_MAXIMUM = 0x93,
    MQTT_TOPIC_ALIAS = 0x94,
    MQTT_TOO_LARGE = 0x95,
    MQTT_QUOTA = 0x97,
    MQTT_RETAIN = 0x9A,
    MQTT_QOS = 0x9B,
    MQTT_SHARED = 0x9E,
    MQTT_SUBSCRIPTION_ID = 0xA1,
};

/* ---- the fixed header ---- */

struct mqtt_frame {
    uint8_t type, flags;
    uint32_t header_bytes, body_bytes;
};

enum mqtt_frame_state { MQTT_FRAME_OK, MQTT_FRAME_MORE, MQTT_FRAME_BAD };

/* MQTT_FRAME_OK once type and length are known (the body need not be there yet). */
enum mqtt_frame_state mqtt_frame_peek(struct vg_slice bytes, struct mqtt_frame *ret_frame);

/* ---- reading; the first failure sticks and everything after it reads as empty ---- */

struct mqtt_reader {
    const uint8_t *at, *end;
    bool is_bad;
};

struct mqtt_reader mqtt_reader_of(struct vg_slice bytes);
uint8_t mqtt_read_u8(struct mqtt_reader *r);
uint16_t mqtt_read_u16(struct mqtt_reader *r);
uint32_t mqtt_read_u32(struct mqtt_reader *r);
uint32_t mqtt_read_varint(struct mqtt_reader *r);
struct vg_slice mqtt_read_binary(struct mqtt_reader *r); /* u16 length, bytes */
struct vg_slice mqtt_read_text(struct mqtt_reader *r);   /* the same, UTF-8 without NUL */
struct vg_slice mqtt_read_bytes(struct mqtt_reader *r, size_t len); /* as they stand */

/* ---- properties (MQTT 5) ---- */

enum mqtt_property {
    MQTT_P_PAYLOAD_FORMAT = 0x01,
    MQTT_P_MESSAGE_EXPIRY = 0x02,
    MQTT_P_CONTENT_TYPE = 0x03,
    MQTT_P_RESPONSE_TOPIC = 0x08,
    MQTT_P_CORRELATION_DATA = 0x09,
    MQTT_P_SUBSCRIPTION_ID = 0x0B,
    MQTT_P_SESSION_EXPIRY = 0x11,
    MQTT_P_ASSIGNED_CLIENT_ID = 0x12,
    MQTT_P_SERVER_KEEP_ALIVE = 0x13,
    MQTT_P_AUTH_METHOD = 0x15,
    MQTT_P_AUTH_DATA = 0x16,
    MQTT_P_REQUEST_PROBLEM = 0x17,
    MQTT_P_WILL_DELAY = 0x18,
    MQTT_P_REQUEST_RESPONSE = 0x19,
    MQTT_P_RESPONSE_INFORMATION = 0x1A,
    MQTT_P_SERVER_REFERENCE = 0x1C,
    MQTT_P_REASON_STRING = 0x1F,
    MQTT_P_RECEIVE_MAXIMUM = 0x21,
    MQTT_P_TOPIC_ALIAS_MAXIMUM = 0x22,
    MQTT_P_TOPIC_ALIAS = 0x23,
    MQTT_P_MAXIMUM_QOS = 0x24,
    MQTT_P_RETAIN_AVAILABLE = 0x25,
    MQTT_P_USER = 0x26,
    MQTT_P_MAXIMUM_PACKET_SIZE = 0x27,
    MQTT_P_WILDCARD_AVAILABLE = 0x28,
    MQTT_P_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    MQTT_P_SHARED_AVAILABLE = 0x2A,
};
#define MQTT_P_COUNT 0x2B
#define MQTT_USER_COUNT_MAX 64

struct mqtt_properties {
    struct vg_slice block; /* as it stood, without its length */
    uint64_t present;      /* bit per property id; the two tables are valid only there */
    uint32_t user_count;
    uint32_t number[MQTT_P_COUNT]; /* bytes, integers */
    struct vg_slice text[MQTT_P_COUNT];
};

static inline bool mqtt_has(const struct mqtt_properties *p, enum mqtt_property id)
{
    return (p->present >> id & 1) != 0;
}

/* Reads length and properties; which are legal depends on `type`. */
uint8_t mqtt_read_properties(struct mqtt_reader *r, enum mqtt_type type,
                             struct mqtt_properties *ret_properties, const char **ret_why);

/* Walks the user properties of a block that mqtt_read_properties() took. Start with *cursor 0. */
bool mqtt_user_next(struct vg_slice block, size_t *cursor, struct vg_slice *ret_name,
                    struct vg_slice *ret_value);

/* ---- the packets that a client sends ---- */

struct mqtt_will {
    bool is_there, is_retained;
    uint8_t qos;
    struct mqtt_properties properties;
    struct vg_slice topic, payload;
};

struct mqtt_connect {
    uint8_t version;
    bool is_clean;
    uint16_t keep_alive_s;
    struct mqtt_properties properties;
    struct vg_slice client_id;
    struct mqtt_will will;
    bool has_user, has_password;
    struct vg_slice user, password;
};

/* On a refusal ret->version is set as far as it is known, so that the answer has its form. */
uint8_t mqtt_connect_decode(struct vg_slice body, struct mqtt_connect *ret, const char **ret_why);

struct mqtt_publish {
    uint8_t qos;
    bool is_dup, is_retained;
    uint16_t packet_id; /* 0 for QoS 0 */
    struct vg_slice topic, payload;
    struct mqtt_properties properties;
};

uint8_t mqtt_publish_decode(uint8_t version, uint8_t flags, struct vg_slice body,
                            struct mqtt_publish *ret, const char **ret_why);

/* SUBSCRIBE and UNSUBSCRIBE: the head, then filters one by one. */
struct mqtt_subscribe {
    uint16_t packet_id;
    struct mqtt_properties properties;
    struct vg_slice filters; /* for mqtt_filter_next() */
    uint32_t filter_count;
};

uint8_t mqtt_subscribe_decode(uint8_t version, enum mqtt_type type, struct vg_slice body,
                              struct mqtt_subscribe *ret, const char **ret_why);
bool mqtt_filter_next(enum mqtt_type type, struct vg_slice filters, size_t *cursor,
                      struct vg_slice *ret_filter, uint8_t *ret_options);

struct mqtt_disconnect {
    uint8_t reason;
    struct mqtt_properties properties;
};

uint8_t mqtt_disconnect_decode(uint8_t version, struct vg_slice body, struct mqtt_disconnect *ret,
                               const char **ret_why);

/* ---- writing ---- */

void mqtt_put_u16(struct vg_buf *out, uint16_t value);
void mqtt_put_u32(struct vg_buf *out, uint32_t value);
void mqtt_put_varint(struct vg_buf *out, uint32_t value);
size_t mqtt_varint_bytes(uint32_t value);
void mqtt_put_binary(struct vg_buf *out, struct vg_slice bytes); /* at most 65,535 */
void mqtt_put_head(struct vg_buf *out, enum mqtt_type type, uint8_t flags, size_t body_bytes);

/* What a decoder took, as bytes again: for tests, fuzzing and load generators. */
void mqtt_connect_encode(struct vg_buf *out, const struct mqtt_connect *connect);
void mqtt_publish_encode(struct vg_buf *out, uint8_t version, const struct mqtt_publish *publish);
void mqtt_subscribe_encode(struct vg_buf *out, uint8_t version, enum mqtt_type type,
                           const struct mqtt_subscribe *subscribe);

#endif
