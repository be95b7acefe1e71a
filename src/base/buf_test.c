/* buf_test.c -- bytes that grow up to a bound, with an error that sticks. */
#include "base/buf.h"
#include "vg_test.h"

static void test_growing(void)
{
    struct vg_buf buf;
    uint64_t sum = 0;

    vg_buf_init(&buf, 0);
    for (int i = 0; i < 10000; i++)
        vg_buf_printf(&buf, "%d,", i);
    CHECK(vg_buf_ok(&buf));
    struct vg_slice rest = vg_buf_slice(&buf);

    for (uint64_t value; rest.len; sum += value) {
        if (!CHECK(vg_slice_to_u64(vg_slice_cut(&rest, ','), &value)))
            break;
    }
    CHECK(sum == 49995000);
    vg_buf_fini(&buf);
}

static void test_limit_sticks(void)
{
    struct vg_buf buf;

    vg_buf_init(&buf, 10);
    vg_buf_put(&buf, VG_SLICE("0123456789"));
    CHECK(vg_buf_ok(&buf));
    vg_buf_put_byte(&buf, 'x');
    CHECK(!vg_buf_ok(&buf) && buf.len == 10);
    vg_buf_consume(&buf, 5);
    vg_buf_put_byte(&buf, 'x'); /* there is room now, but the content is cut already */
    CHECK(!vg_buf_ok(&buf) && vg_slice_is(vg_buf_slice(&buf), "56789"));
    vg_buf_clear(&buf);
    CHECK(vg_buf_ok(&buf) && buf.len == 0);
    vg_buf_put(&buf, VG_SLICE("again"));
    CHECK(vg_buf_ok(&buf) && vg_slice_is(vg_buf_slice(&buf), "again"));
    CHECK(vg_buf_reserve(&buf, SIZE_MAX) == NULL);
    vg_buf_fini(&buf);
}

static void test_little_endian(void)
{
    static const char want[] = "\x02\x01\x06\x05\x04\x03\x0e\x0d\x0c\x0b\x0a\x09\x08\x07";
    struct vg_buf buf;

    vg_buf_init(&buf, 0);
    vg_buf_put_u16(&buf, 0x0102);
    vg_buf_put_u32(&buf, 0x03040506);
    vg_buf_put_u64(&buf, 0x0708090a0b0c0d0e);
    CHECK(buf.len == 14 && memcmp(buf.ptr, want, 14) == 0);
    vg_buf_fini(&buf);
}

static void test_consume_and_reserve(void)
{
    struct vg_buf buf;

    vg_buf_init(&buf, 0);
    vg_buf_put(&buf, (struct vg_slice){0}); /* nothing is fine */
    vg_buf_put(&buf, VG_SLICE("headbody"));
    vg_buf_consume(&buf, 4);
    CHECK(vg_slice_is(vg_buf_slice(&buf), "body"));
    char *room = vg_buf_reserve(&buf, 3);

    if (CHECK(room != NULL)) {
        memcpy(room, "end", 3);
        buf.len += 3;
    }
    CHECK(vg_slice_is(vg_buf_slice(&buf), "bodyend"));
    vg_buf_consume(&buf, 99);
    CHECK(buf.len == 0);
    vg_buf_fini(&buf);
}

int main(void)
{
    RUN(test_growing);
    RUN(test_limit_sticks);
    RUN(test_little_endian);
    RUN(test_consume_and_reserve);
    return vg_test_report();
}
