/* value_test.c -- from a JSON token to text, number and time, as the reference does. */
#include "connector/value.h"

#include "base/clock.h"
#include "vg_test.h"

static struct vg_json *parse(struct vg_arena *arena, const char *json)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    struct vg_json *root = NULL;

    return vg_json_parse(arena, vg_slice_of(json), &lenient, &root, NULL, NULL) == VG_OK ? root
                                                                                         : NULL;
}

static const struct {
    const char *json, *want; /* NULL: refused */
    const char *medtech;     /* where the reference engine prints something else */
} texts[] = {
    {"72", "72", NULL},
    {"-5", "-5", NULL},
    {"0", "0", NULL},
    {"36.8", "36.8", NULL},
    {"36.80", "36.8", NULL},
    {"65.0", "65", NULL},
    {"0.5", "0.5", NULL},
    {"-0.0", "-0", NULL},
    {"1e3", "1000", NULL},
    {"1e15", "1E+15", NULL},
    {"123456789012345.6", "123456789012345.6", "123456789012346"},
    {"1e16", "1E+16", NULL},
    {"0.0001", "0.0001", NULL},
    {"0.00001", "1E-05", NULL},
    {"0.000012", "1.2E-05", NULL},
    {"27.980980248719824", "27.980980248719824", "27.9809802487198"},
    {"0.1", "0.1", NULL},
    {"9223372036854775807", "9223372036854775807", NULL},
    {"9223372036854775808", NULL, NULL},
    {"0x1F", "31", NULL},
    {"0xFFFFFFFFFFFFFFFF", "-1", NULL},
    {"-017", "-17", NULL},
    {"-0", "0", NULL},
    {".5", "0.5", NULL},
    {"5.", "5", NULL},
    {"1E+400", "Infinity", NULL},
    {"1e-7", "1E-07", NULL},
    {"1e100", "1E+100", NULL},
    {"017", "15", NULL},
    {"NaN", "NaN", NULL},
    {"Infinity", "Infinity", NULL},
    {"true", "true", "True"},
    {"false", "false", "False"},
    {"\"abc\"", "abc", NULL},
    {"\"\"", "", NULL},
    {"\"2026-03-14T10:00:00Z\"", "2026-03-14T10:00:00Z", "03/14/2026 10:00:00"},
    {"\"2026-03-14T10:00:00.25+01:00\"", "2026-03-14T10:00:00.25+01:00", "03/14/2026 09:00:00"},
    {"\"2026-03-14 10:00:00\"", "2026-03-14 10:00:00", NULL},
    {"\"/Date(1549061161000)/\"", "/Date(1549061161000)/", "02/01/2019 22:46:01"},
    {"\"/Date(abc)/\"", "/Date(abc)/", NULL},
    {"\"2026-03-14T10:00:00.9999999\"", "2026-03-14T10:00:00.9999999", "03/14/2026 10:00:00"},
    {"\"2026-03-14t10:00:00Z\"", "2026-03-14t10:00:00Z", NULL},
    {"\"2026-03-14T10:00Z\"", "2026-03-14T10:00Z", NULL},
    {"\"2026-02-30T10:00:00Z\"", "2026-02-30T10:00:00Z", NULL},
    {"\"2026-03-14T10:00:60Z\"", "2026-03-14T10:00:60Z", NULL},
    {"\"2026-03-14T10:00:00.12345678Z\"", "2026-03-14T10:00:00.12345678Z", NULL},
    {"{}", NULL, NULL},
    {"[1]", NULL, NULL},
};

static void test_text(void)
{
    for (size_t i = 0; i < 2 * sizeof(texts) / sizeof(texts[0]); i++) {
        bool is_medtech = i % 2;
        const char *want =
            is_medtech && texts[i / 2].medtech ? texts[i / 2].medtech : texts[i / 2].want;
        struct vg_arena arena;
        struct vg_slice got = {0};
        struct vg_json *value;

        vg_arena_init(&arena, 0);
        CHECK_ROW(texts[i / 2].json);
        value = parse(&arena, texts[i / 2].json);
        if (CHECK(value != NULL)) {
            CHECK(value_text(&arena, value, is_medtech, &got) == (want != NULL));
            if (want && !CHECK(vg_slice_is(got, want)))
                printf("  got %.*s\n", VG_FMT(got));
        }
        vg_arena_fini(&arena);
    }
}

static const struct {
    const char *json, *want;
    bool is_ours; /* the reference engine refuses it */
} times[] = {
    {"\"2026-03-14T10:00:00Z\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-03-14T10:00:00.25Z\"", "2026-03-14T10:00:00.25Z", false},
    {"\"2026-03-14T11:00:00+01:00\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-03-14T10:00:00\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-03-14\"", "2026-03-14T00:00:00Z", false},
    {"\"2026-03-14 10:00:00\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-03-14 10:00:00Z\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-03-14T10:00Z\"", "2026-03-14T10:00:00Z", false},
    {"\"03/14/2026 10:00:00 PM\"", "2026-03-14T22:00:00Z", false},
    {"\"03/14/2026 12:00:00 AM\"", "2026-03-14T00:00:00Z", false},
    {"\"03/14/2026 12:30:00 PM\"", "2026-03-14T12:30:00Z", false},
    {"\"Sat, 14 Mar 2026 10:00:00 GMT\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-02-30 10:00:00\"", NULL, false},
    {"\"03/14/2026 13:00:00 PM\"", "2026-03-14T13:00:00Z", false},
    {"\"03/14/2026 13:00:00 AM\"", NULL, false},
    {"\"2026-03-14T10:00:00.1234567Z\"", "2026-03-14T10:00:00.1234567Z", false},
    {"\"2026-03-14T10:00:00.12345675Z\"", "2026-03-14T10:00:00.1234568Z", false},
    {"\"2026-03-14T10:00:00.999999999Z\"", "2026-03-14T10:00:01Z", false},
    {"\"1960-03-14T10:00:00.0000001Z\"", "1960-03-14T10:00:00.0000001Z", false},
    {"\"2026-03-14T10:00:60Z\"", "2026-03-14T10:00:59Z", true},
    {"\"2026-03-14T24:00:00Z\"", "2026-03-15T00:00:00Z", false},
    {"\"2026-03-14T24:00:01Z\"", NULL, false},
    {"\"2026-03-14T10:00:00z\"", "2026-03-14T10:00:00Z", false},
    {"\"2026-03-14T10:00:00-0530\"", "2026-03-14T15:30:00Z", false},
    {"\"2026-03-14T10:00:00+02\"", "2026-03-14T08:00:00Z", false},
    {"\"2026-03-14T10:00+02:00\"", "2026-03-14T08:00:00Z", false},
    {"\"2026-03-14 10:00:00 +02:00\"", "2026-03-14T08:00:00Z", false},
    {"\"2026-03-14 10:00:00.5 PM\"", "2026-03-14T22:00:00.5Z", false},
    {"\"2026/03/14 10:00\"", "2026-03-14T10:00:00Z", false},
    {"\"3/4/2026 1:02:03 pm\"", "2026-03-04T13:02:03Z", false},
    {"\"03-14-2026 10:00\"", "2026-03-14T10:00:00Z", false},
    {"\"14 Mar 2026 10:00:00\"", "2026-03-14T10:00:00Z", false},
    {"\"14-Mar-2026 10:00:00\"", "2026-03-14T10:00:00Z", false},
    {"\"March 14, 2026 10:00 AM\"", "2026-03-14T10:00:00Z", false},
    {"\"Saturday, 14 March 2026\"", "2026-03-14T00:00:00Z", false},
    {"\"Sun, 14 Mar 2026 10:00:00 GMT\"", NULL, false},
    {"\"Sat, 14 Mar 2026 23:30:00 -02:00\"", "2026-03-15T01:30:00Z", false},
    {"\"Sun, 14 Dec 1902 00:00:00 GMT\"", "1902-12-14T00:00:00Z", false},
    {"\" 2026-03-14T10:00:00Z \"", "2026-03-14T10:00:00Z", false},
    {"\"/Date(1549061161000)/\"", "2019-02-01T22:46:01Z", false},
    {"\"/Date(-1)/\"", "1969-12-31T23:59:59.999Z", false},
    {"\"/Date(1549061161000+0200)/\"", "2019-02-01T22:46:01Z", false},
    {"\"\\/Date(1549061161000-05)\\/\"", "2019-02-01T22:46:01Z", false},
    {"\"/Date()/\"", NULL, false},
    {"\"/Date(1x)/\"", NULL, false},
    {"\"/Date(99999999999999999)/\"", NULL, false},
    {"\"14/03/2026\"", NULL, false},
    {"\"10:00:00\"", NULL, false},
    {"\"Mar 14\"", NULL, false},
    {"\"2026-03-14 25:00\"", NULL, false},
    {"\"2026-03-14 10:00 CET\"", NULL, false},
    {"\"0001-01-01 00:00 +05:00\"", NULL, false},
    {"\"20260314T100000Z\"", NULL, false},
    {"\"1773482400\"", NULL, false},
    {"1773482400", NULL, false},
    {"\"\"", NULL, false},
    {"\"soon\"", NULL, false},
    {"true", NULL, false},
};

static void test_time(void)
{
    for (size_t k = 0; k < 2 * sizeof(times) / sizeof(times[0]); k++) {
        size_t i = k / 2;
        bool is_medtech = k % 2, ok;
        struct vg_arena arena;
        unsigned tenths = 0;
        char text[40];
        int64_t us;

        vg_arena_init(&arena, 0);
        CHECK_ROW(times[i].json);
        ok = value_time(parse(&arena, times[i].json), is_medtech, &us, &tenths);
        CHECK(ok == (times[i].want != NULL && !(is_medtech && times[i].is_ours)));
        if (ok && times[i].want) {
            (void)value_ticks_text(us, tenths, text);
            if (!CHECK(strcmp(text, times[i].want) == 0))
                printf("  got %s\n", text);
        }
        vg_arena_fini(&arena);
    }
}

static const struct {
    const char *text, *want, *medtech;
} decimals[] = {
    {"72", "72", "72"},
    {" 36.80 ", "36.80", "36.80"},
    {"+5", "5", "5"},
    {"-5.5", "-5.5", "-5.5"},
    {".5", "0.5", "0.5"},
    {"5.", "5", "5"},
    {"007", "7", "7"},
    {"0", "0", "0"},
    {"1E-05", "1E-05", NULL},
    {"1,234", NULL, "1234"},
    {"1,234.5", NULL, "1234.5"},
    {"36,8", NULL, "368"},
    {"5-", NULL, "-5"},
    {"5.5+", NULL, "5.5"},
    {"-5-", NULL, NULL},
    {"5 -", NULL, "-5"},
    {"-,5", NULL, NULL},
    {",5", NULL, NULL},
    {"12,", NULL, "12"},
    {"1,2,3", NULL, "123"},
    {"- 5", NULL, NULL},
    {",", NULL, NULL},
    {"1.5,0", NULL, NULL},
    {"", NULL, NULL},
    {"-", NULL, NULL},
    {".", NULL, NULL},
    {"NaN", NULL, NULL},
    {"12 13", NULL, NULL},
    {"0x10", NULL, NULL},
    {"1e", NULL, NULL},
    {"1e9999", NULL, NULL},
    {"abc", NULL, NULL},
    {"1234567890123456789012345678901234", NULL, NULL},
    {"79228162514264337593543950335", "79228162514264337593543950335",
     "79228162514264337593543950335"},
    {"-79228162514264337593543950336", "-79228162514264337593543950336", NULL},
    {"99999999999999999999999999999999", "99999999999999999999999999999999", NULL},
};

static void test_decimal(void)
{
    for (size_t i = 0; i < 2 * sizeof(decimals) / sizeof(decimals[0]); i++) {
        const char *want = i % 2 ? decimals[i / 2].medtech : decimals[i / 2].want;
        char out[40];
        struct vg_slice got;
        bool ok = value_decimal(vg_slice_of(decimals[i / 2].text), i % 2, out, &got);

        CHECK_ROW(decimals[i / 2].text);
        CHECK(ok == (want != NULL));
        if (ok && want)
            CHECK(vg_slice_is(got, want));
    }
}

int main(void)
{
    RUN(test_text);
    RUN(test_time);
    RUN(test_decimal);
    return vg_test_report();
}
