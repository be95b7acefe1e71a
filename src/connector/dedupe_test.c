/* dedupe_test.c -- what counts as the same message sent again, and what does not. */
#include "connector/dedupe.h"

#include "vg_test.h"

static bool repeat(struct dedupe *d, const char *device, const char *body, const char *mid,
                   const char *dup, const char *property)
{
    struct stream_record record = {.key = vg_slice_of(device), .value = vg_slice_of(body)};
    struct vg_buf headers;
    bool is_repeat;

    vg_buf_init(&headers, 0);
    if (mid)
        stream_header_put(&headers, "mid", vg_slice_of(mid));
    if (dup)
        stream_header_put(&headers, strcmp(dup, "edge") == 0 ? "edge-dup" : "dup", VG_SLICE("1"));
    if (property)
        stream_header_put(&headers, strchr("0123456789", property[0]) ? "pid" : "p.x",
                          vg_slice_of(property));
    record.headers = vg_buf_slice(&headers);
    is_repeat = dedupe_is_repeat(d, &record);
    vg_buf_fini(&headers);
    return is_repeat;
}

static void test_what_is_a_repeat(void)
{
    struct dedupe *d = NULL;

    CHECK(dedupe_open(0, &d, NULL) == VG_OK);
    CHECK(!repeat(d, "a", "1", "m1", NULL, NULL));
    CHECK(repeat(d, "a", "1", "m1", NULL, NULL));
    CHECK(!repeat(d, "b", "1", "m1", NULL, NULL)); /* of each device for itself */
    CHECK(!repeat(d, "a", "2", "m1", NULL, NULL)); /* an id used twice loses no reading */
    CHECK(!repeat(d, "a", "1", "m2", NULL, NULL));
    CHECK(repeat(d, "a", "1", NULL, "1", NULL));
    CHECK(!repeat(d, "a", "1", NULL, "1", "other property"));
    CHECK(!repeat(d, "a", "3", NULL, NULL, NULL));
    CHECK(!repeat(d, "a", "3", NULL, NULL, NULL)); /* nobody says that it is one */
    CHECK(repeat(d, "a", "3", NULL, "1", NULL));
    /* The last argument as a number is the packet id. */
    CHECK(!repeat(d, "a", "72", NULL, NULL, "1"));
    CHECK(
        !repeat(d, "a", "72", NULL, "1", "2")); /* an equal reading, whose first sending was lost */
    CHECK(repeat(d, "a", "72", NULL, "1", "2"));
    CHECK(!repeat(d, "a", "72", "m9", NULL, "3"));
    CHECK(repeat(d, "a", "72", "m9", NULL, "4")); /* with a message id that one decides */
    /* A gateway gives a device's repeat an id of its own, and says what the device said. */
    CHECK(!repeat(d, "a", "4", "gw:0-1", NULL, "id"));
    CHECK(!repeat(d, "a", "4", "gw:0-2", "1", "id"));
    CHECK(repeat(d, "a", "4", "gw:0-3", "edge", "id"));
    CHECK(!repeat(d, "a", "4", "gw:0-4", "edge", "other id"));
    dedupe_close(d);
}

static void test_undo_and_the_ring(void)
{
    struct dedupe *d = NULL;
    char body[16];

    CHECK(dedupe_open(4, &d, NULL) == VG_OK);
    for (int i = 0; i < 6; i++) {
        (void)snprintf(body, sizeof(body), "%d", i);
        CHECK(!repeat(d, "a", body, body, NULL, NULL));
    }
    dedupe_keep(d);
    for (int i = 6; i < 9; i++) {
        (void)snprintf(body, sizeof(body), "%d", i);
        CHECK(!repeat(d, "a", body, body, NULL, NULL));
    }
    dedupe_undo(d);
    CHECK(!repeat(d, "a", "7", "7", NULL, NULL)); /* as if it had not been */
    dedupe_undo(d);
    for (int i = 2; i < 6; i++) {
        (void)snprintf(body, sizeof(body), "%d", i);
        CHECK(repeat(d, "a", body, body, NULL, NULL)); /* the last four are back */
    }
    CHECK(!repeat(d, "a", "1", "1", NULL, NULL)); /* older than the ring */
    dedupe_close(d);
}

int main(void)
{
    RUN(test_what_is_a_repeat);
    RUN(test_undo_and_the_ring);
    return vg_test_report();
}
