/* mqtt_packet_test.c -- the codec: lengths, texts, properties, packets; what is taken comes out of
 * the encoder as it went in. What a wrong packet does to a connection is in hub_test.c. */
#include "hub/mqtt_packet.h"

#include "vg_test.h"

static void test_frames(void)
{
    const struct {
        const char *row;
        struct vg_slice bytes;
        enum mqtt_frame_state want;
        uint32_t body_bytes, header_bytes;
    } cases[] = {
        {"nothing yet", VG_SLICE(""), MQTT_FRAME_MORE, 0, 0},
        {"type only", VG_SLICE("\x30"), MQTT_FRAME_MORE, 0, 0},
        {"length 0", VG_SLICE("\xC0\x00"), MQTT_FRAME_OK, 0, 2},
        {"length 127", VG_SLICE("\x30\x7f"), MQTT_FRAME_OK, 127, 2},
        {"length 128", VG_SLICE("\x30\x80\x01"), MQTT_FRAME_OK, 128, 3},
        {"length cut", VG_SLICE("\x30\x80\x80"), MQTT_FRAME_MORE, 0, 0},
        {"the largest", VG_SLICE("\x30\xff\xff\xff\x7f"), MQTT_FRAME_OK, 268435455, 5},
        {"five bytes", VG_SLICE("\x30\xff\xff\xff\xff\x01"), MQTT_FRAME_BAD, 0, 0},
        {"five bytes, not all here", VG_SLICE("\x30\x80\x80\x80\x80"), MQTT_FRAME_BAD, 0, 0},
        {"padded", VG_SLICE("\x30\x81\x00"), MQTT_FRAME_BAD, 0, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mqtt_frame frame = {0};

        CHECK_ROW(cases[i].row);
        CHECK(mqtt_frame_peek(cases[i].bytes, &frame) == cases[i].want);
        CHECK(frame.body_bytes == cases[i].body_bytes);
        CHECK(frame.header_bytes == cases[i].header_bytes);
    }
}

static void test_a_reader_never_leaves_its_bytes(void)
{
    struct mqtt_reader r = mqtt_reader_of(VG_SLICE("\x00\x05"
                                                   "ab"));

    CHECK(mqtt_read_text(&r).len == 0 && r.is_bad && r.at == r.end);
    CHECK(mqtt_read_u32(&r) == 0 && mqtt_read_varint(&r) == 0 && mqtt_read_u8(&r) == 0);
    r = mqtt_reader_of((struct vg_slice){0});
    CHECK(mqtt_read_u8(&r) == 0 && r.is_bad);
}

static void test_texts(void)
{
    const struct {
        const char *row;
        struct vg_slice bytes;
        bool want;
    } cases[] = {
        {"empty", VG_SLICE("\x00\x00"), true},
        {"ASCII over eight bytes",
         VG_SLICE("\x00\x0b"
                  "devices/bed"),
         true},
        {"UTF-8",
         VG_SLICE("\x00\x05"
                  "f\xc3\xbcr!"),
         true},
        {"UTF-8 behind eight bytes",
         VG_SLICE("\x00\x0a"
                  "12345678\xc3\xbc"),
         true},
        {"NUL in the first eight",
         VG_SLICE("\x00\x09"
                  "1234\x00"
                  "5678"),
         false},
        {"NUL in the rest",
         VG_SLICE("\x00\x0a"
                  "12345678\x00"
                  "9"),
         false},
        {"a surrogate", VG_SLICE("\x00\x03\xed\xa0\x80"), false},
        {"overlong", VG_SLICE("\x00\x02\xc0\xaf"), false},
        {"cut in a character", VG_SLICE("\x00\x01\xc3"), false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mqtt_reader r = mqtt_reader_of(cases[i].bytes);

        CHECK_ROW(cases[i].row);
        (void)mqtt_read_text(&r);
        CHECK(!r.is_bad == cases[i].want);
    }
}

static void test_properties(void)
{
    const struct {
        const char *row;
        enum mqtt_type type;
        struct vg_slice bytes; /* with their length */
        uint8_t want;
    } cases[] = {
        {"none", MQTT_PUBLISH, VG_SLICE("\x00"), 0},
        {"payload format", MQTT_PUBLISH, VG_SLICE("\x02\x01\x01"), 0},
        {"payload format 2", MQTT_PUBLISH, VG_SLICE("\x02\x01\x02"), MQTT_PROTOCOL},
        {"receive maximum", MQTT_CONNECT, VG_SLICE("\x03\x21\x00\x01"), 0},
        {"receive maximum 0", MQTT_CONNECT, VG_SLICE("\x03\x21\x00\x00"), MQTT_PROTOCOL},
        {"maximum packet size 0", MQTT_CONNECT, VG_SLICE("\x05\x27\x00\x00\x00\x00"),
         MQTT_PROTOCOL},
        {"subscription id 0", MQTT_SUBSCRIBE, VG_SLICE("\x02\x0b\x00"), MQTT_PROTOCOL},
        {"will delay in CONNECT", MQTT_CONNECT, VG_SLICE("\x05\x18\x00\x00\x00\x01"),
         MQTT_PROTOCOL},
        {"will delay in a will", MQTT_WILL, VG_SLICE("\x05\x18\x00\x00\x00\x01"), 0},
        {"cut value", MQTT_CONNECT, VG_SLICE("\x02\x21\x00"), MQTT_MALFORMED},
        {"length beyond the packet", MQTT_CONNECT, VG_SLICE("\x09\x21\x00\x01"), MQTT_MALFORMED},
        {"unknown id", MQTT_CONNECT, VG_SLICE("\x02\x2b\x00"), MQTT_MALFORMED},
        {"id of two bytes", MQTT_CONNECT, VG_SLICE("\x03\xa1\x01\x00"), MQTT_MALFORMED},
        {"two user properties", MQTT_PUBLISH,
         VG_SLICE("\x0e\x26\x00\x01"
                  "a\x00\x01"
                  "b\x26\x00\x01"
                  "a\x00\x01"
                  "c"),
         0},
    };
    struct mqtt_properties p;
    const char *why;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mqtt_reader r = mqtt_reader_of(cases[i].bytes);

        CHECK_ROW(cases[i].row);
        CHECK(mqtt_read_properties(&r, cases[i].type, &p, &why) == cases[i].want);
        CHECK((why == NULL) == (cases[i].want == 0));
    }
    /* The last row's: both are walked, in order. */
    struct vg_slice name, value;
    size_t cursor = 0;
    CHECK(p.user_count == 2);
    CHECK(mqtt_user_next(p.block, &cursor, &name, &value) && vg_slice_is(value, "b"));
    CHECK(mqtt_user_next(p.block, &cursor, &name, &value) && vg_slice_is(value, "c"));
    CHECK(!mqtt_user_next(p.block, &cursor, &name, &value));
}

static void test_user_properties_are_bounded(void)
{
    struct vg_buf block, all;
    struct mqtt_properties p;
    struct mqtt_reader r;
    const char *why;

    vg_buf_init(&block, 0);
    vg_buf_init(&all, 0);
    for (int i = 0; i <= MQTT_USER_COUNT_MAX; i++) {
        CHECK_ROW(i < MQTT_USER_COUNT_MAX ? "as many as are allowed" : "one more (CVE-2021-41039)");
        vg_buf_put(&block, VG_SLICE("\x26\x00\x01n\x00\x01v"));
        vg_buf_clear(&all);
        mqtt_put_varint(&all, (uint32_t)block.len);
        vg_buf_put(&all, vg_buf_slice(&block));
        r = mqtt_reader_of(vg_buf_slice(&all));
        CHECK(mqtt_read_properties(&r, MQTT_CONNECT, &p, &why) ==
              (i < MQTT_USER_COUNT_MAX ? MQTT_OK : MQTT_QUOTA));
    }
    vg_buf_fini(&block);
    vg_buf_fini(&all);
}

static void test_connect_comes_back_as_it_went(void)
{
    struct mqtt_connect c = {.version = MQTT_V5,
                             .is_clean = true,
                             .keep_alive_s = 30,
                             .properties = {.block = VG_SLICE("\x11\x00\x00\x00\x0a")},
                             .client_id = VG_SLICE("bed-4"),
                             .will = {.is_there = true,
                                      .qos = 1,
                                      .properties = {.block = VG_SLICE("\x18\x00\x00\x00\x05")},
                                      .topic = VG_SLICE("devices/bed-4/messages/events/"),
                                      .payload = VG_SLICE("gone")},
                             .has_user = true,
                             .has_password = true,
                             .user = VG_SLICE("bed-4"),
                             .password = VG_SLICE("secret")};
    struct mqtt_connect back;
    struct mqtt_frame frame;
    struct vg_buf one, two;
    const char *why;

    vg_buf_init(&one, 0);
    vg_buf_init(&two, 0);
    mqtt_connect_encode(&one, &c);
    CHECK(mqtt_frame_peek(vg_buf_slice(&one), &frame) == MQTT_FRAME_OK);
    CHECK(one.len == frame.header_bytes + frame.body_bytes);
    struct vg_slice body = vg_slice_from(vg_buf_slice(&one), frame.header_bytes);
    CHECK(mqtt_connect_decode(body, &back, &why) == MQTT_OK);
    CHECK(vg_slice_is(back.client_id, "bed-4") && vg_slice_is(back.password, "secret"));
    CHECK(back.will.properties.number[MQTT_P_WILL_DELAY] == 5);
    mqtt_connect_encode(&two, &back);
    CHECK(vg_slice_eq(vg_buf_slice(&one), vg_buf_slice(&two)));
    /* Cut anywhere it is refused, never read beyond. */
    for (size_t len = 0; len < body.len; len++) {
        char *exact = malloc(len ? len : 1); /* so that ASan sees a step too far */

        memcpy(exact, body.ptr, len);
        CHECK(mqtt_connect_decode((struct vg_slice){exact, len}, &back, &why) != MQTT_OK);
        free(exact);
    }
    vg_buf_fini(&one);
    vg_buf_fini(&two);
}

static void test_publish(void)
{
    struct mqtt_publish p;
    const char *why;

    CHECK(mqtt_publish_decode(MQTT_V311, 0x0A,
                              VG_SLICE("\x00\x01"
                                       "t\x00\x07"
                                       "xyz"),
                              &p, &why) == 0);
    CHECK(p.qos == 1 && p.is_dup && p.packet_id == 7 && vg_slice_is(p.payload, "xyz"));
    CHECK(mqtt_publish_decode(MQTT_V5, 0,
                              VG_SLICE("\x00\x01"
                                       "t\x00"),
                              &p, &why) == 0);
    CHECK(p.payload.len == 0 && p.packet_id == 0);
    CHECK(mqtt_publish_decode(MQTT_V5, 0,
                              VG_SLICE("\x00\x01"
                                       "t"),
                              &p, &why) == MQTT_MALFORMED);
    CHECK(mqtt_publish_decode(MQTT_V311, 8,
                              VG_SLICE("\x00\x01"
                                       "t"),
                              &p, &why) == MQTT_MALFORMED);
    CHECK(mqtt_publish_decode(MQTT_V311, 0, VG_SLICE("\x00\x01#"), &p, &why) == MQTT_TOPIC);
}

static void test_deep_topics_cost_no_stack(void)
{
    struct mqtt_subscribe s;
    struct vg_buf body;
    const char *why;

    vg_buf_init(&body, 0);
    mqtt_put_u16(&body, 1);
    mqtt_put_u16(&body, 65535);
    for (int i = 0; i < 65535; i++)
        vg_buf_put_byte(&body, '/');
    vg_buf_put_byte(&body, 0);
    CHECK_ROW("65,535 levels (CVE-2018-12543 class)");
    CHECK(mqtt_subscribe_decode(MQTT_V311, MQTT_SUBSCRIBE, vg_buf_slice(&body), &s, &why) == 0);
    CHECK(s.filter_count == 1);
    vg_buf_fini(&body);
}

int main(void)
{
    RUN(test_frames);
    RUN(test_a_reader_never_leaves_its_bytes);
    RUN(test_texts);
    RUN(test_properties);
    RUN(test_user_properties_are_bounded);
    RUN(test_connect_comes_back_as_it_went);
    RUN(test_publish);
    RUN(test_deep_topics_cost_no_stack);
    return vg_test_report();
}
