/* slice_test.c -- views of bytes: comparing, cutting, reading numbers, checking UTF-8. */
#include "base/slice.h"
#include "vg_test.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void test_equality_and_order(void)
{
    const struct vg_slice none = {0};

    CHECK(vg_slice_eq(none, VG_SLICE("")));
    CHECK(vg_slice_eq(VG_SLICE("a\0b"), VG_SLICE("a\0b")));
    CHECK(!vg_slice_eq(VG_SLICE("a\0b"), VG_SLICE("a\0c")));
    CHECK(vg_slice_is(VG_SLICE("bed"), "bed") && !vg_slice_is(VG_SLICE("bed4"), "bed"));
    CHECK(vg_slice_is(none, NULL));
    CHECK(vg_slice_starts(VG_SLICE("bed-4"), VG_SLICE("bed")) && vg_slice_starts(none, none));
    CHECK(!vg_slice_starts(VG_SLICE("be"), VG_SLICE("bed")));
    CHECK(vg_slice_eq_nocase(VG_SLICE("Content-TYPE"), VG_SLICE("content-type")));
    CHECK(!vg_slice_eq_nocase(VG_SLICE("[@"), VG_SLICE("{`"))); /* not letters: bit 5 differs */
    CHECK(!vg_slice_eq_nocase(VG_SLICE("ab"), VG_SLICE("abc")));
    CHECK(vg_slice_cmp(VG_SLICE("ab"), VG_SLICE("abc")) < 0);
    CHECK(vg_slice_cmp(VG_SLICE("b"), VG_SLICE("abc")) > 0);
    CHECK(vg_slice_cmp(VG_SLICE("\xff"), VG_SLICE("a")) > 0); /* bytes are unsigned */
    CHECK(vg_slice_cmp(none, VG_SLICE("")) == 0);
}

static void test_parts(void)
{
    struct vg_slice rest = VG_SLICE("a/bb//c");
    static const char *const want[] = {"a", "bb", "", "c"};

    for (size_t i = 0; i < COUNT(want); i++)
        CHECK(vg_slice_is(vg_slice_cut(&rest, '/'), want[i]));
    CHECK(rest.ptr == NULL && rest.len == 0);
    rest = VG_SLICE("a/");
    CHECK(vg_slice_is(vg_slice_cut(&rest, '/'), "a"));
    CHECK(rest.ptr != NULL && rest.len == 0); /* an empty last part is still a part */
    CHECK(vg_slice_is(vg_slice_trim(VG_SLICE(" \t\r\n x y \v")), "x y"));
    CHECK(vg_slice_trim(VG_SLICE("  ")).len == 0);
    CHECK(vg_slice_is(vg_slice_from(VG_SLICE("abc"), 1), "bc"));
    CHECK(vg_slice_from(VG_SLICE("abc"), 3).len == 0);
    CHECK(vg_slice_from(VG_SLICE("abc"), 99).len == 0);
}

static void test_integers(void)
{
    static const struct {
        const char *text;
        bool is_i64, is_u64;
        int64_t i64;
        uint64_t u64;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"-0", true, false, 0, 0},
        {"007", true, true, 7, 7},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", false, true, 0, 9223372036854775808u},
        {"-9223372036854775808", true, false, INT64_MIN, 0},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", false, true, 0, UINT64_MAX},
        {"18446744073709551616", false, false, 0, 0},
        {"99999999999999999999999", false, false, 0, 0},
        {"", false, false, 0, 0},
        {"-", false, false, 0, 0},
        {"+1", false, false, 0, 0},
        {" 1", false, false, 0, 0},
        {"1 ", false, false, 0, 0},
        {"1.0", false, false, 0, 0},
        {"0x10", false, false, 0, 0},
        {"--1", false, false, 0, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct vg_slice text = vg_slice_of(cases[i].text);
        int64_t i64 = 42;
        uint64_t u64 = 42;

        CHECK_ROW(cases[i].text);
        CHECK(vg_slice_to_i64(text, &i64) == cases[i].is_i64);
        CHECK(i64 == (cases[i].is_i64 ? cases[i].i64 : 42));
        CHECK(vg_slice_to_u64(text, &u64) == cases[i].is_u64);
        CHECK(u64 == (cases[i].is_u64 ? cases[i].u64 : 42));
    }
}

static void test_doubles(void)
{
    static const struct {
        const char *text;
        bool is_good;
        double want;
    } cases[] = {
        {"36.6", true, 36.6}, {"-1e3", true, -1000},
        {"1E-2", true, 0.01}, {".5", true, 0.5},
        {"5.", true, 5},      {"1e400", false, 0},
        {"inf", false, 0},    {"nan", false, 0},
        {"0x1p3", false, 0},  {"", false, 0},
        {" 1", false, 0},     {"1 ", false, 0},
        {"1e", false, 0},     {"1.2.3", false, 0},
        {"-", false, 0},      {"4.9e-324", true, 4.9e-324},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        double got = 42;

        CHECK_ROW(cases[i].text);
        CHECK(vg_slice_to_double(vg_slice_of(cases[i].text), &got) == cases[i].is_good);
        CHECK(!(got < (cases[i].is_good ? cases[i].want : 42)) &&
              !(got > (cases[i].is_good ? cases[i].want : 42)));
    }
    CHECK_ROW("a zero byte inside");
    CHECK(!vg_slice_to_double(VG_SLICE("1\0002"), &(double){0}));
}

static void test_cstr(void)
{
    char out[4] = "zzz";

    CHECK(vg_slice_to_cstr(VG_SLICE("abc"), out, sizeof(out)) && strcmp(out, "abc") == 0);
    CHECK(!vg_slice_to_cstr(VG_SLICE("abcd"), out, sizeof(out)) && out[0] == '\0');
    CHECK(!vg_slice_to_cstr(VG_SLICE("a\0b"), out, sizeof(out)) && out[0] == '\0');
    CHECK(vg_slice_to_cstr((struct vg_slice){0}, out, sizeof(out)) && out[0] == '\0');
}

static void test_hash(void)
{
    static char seen[65536];
    int repeated_count = 0;

    for (unsigned i = 0; i < 4096; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "device-%u", i);
        uint64_t hash = vg_slice_hash((struct vg_slice){key, (size_t)len});

        repeated_count += seen[hash >> 48];
        seen[hash >> 48] = 1;
    }
    CHECK(repeated_count < 200); /* 4096 balls in 65536 bins: about 126 are expected */
    CHECK(vg_slice_hash(VG_SLICE("a")) != vg_slice_hash(VG_SLICE("a\0")));
}

static void test_utf8(void)
{
    static const struct {
        const char *name, *text;
        bool is_good;
    } cases[] = {
        {"ASCII", "abc\x7f", true},
        {"two bytes", "\xc2\x80\xdf\xbf", true},
        {"three bytes", "\xe0\xa0\x80\xef\xbf\xbf", true},
        {"four bytes", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
        {"before the surrogates", "\xed\x9f\xbf", true},
        {"surrogate", "\xed\xa0\x80", false},
        {"overlong two", "\xc0\x80", false},
        {"overlong two, second kind", "\xc1\xbf", false},
        {"overlong three", "\xe0\x9f\xbf", false},
        {"overlong four", "\xf0\x8f\xbf\xbf", false},
        {"above U+10FFFF", "\xf4\x90\x80\x80", false},
        {"five bytes", "\xf8\x88\x80\x80\x80", false},
        {"lone continuation", "a\x80", false},
        {"cut short", "\xe2\x82", false},
        {"interrupted", "\xe2\x82x", false},
        {"Latin-1", "caf\xe9", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        CHECK_ROW(cases[i].name);
        CHECK(vg_slice_is_utf8(vg_slice_of(cases[i].text)) == cases[i].is_good);
    }
    CHECK_ROW("nothing");
    CHECK(vg_slice_is_utf8(VG_SLICE("")) && vg_slice_is_utf8((struct vg_slice){0}));
}

int main(void)
{
    RUN(test_equality_and_order);
    RUN(test_parts);
    RUN(test_integers);
    RUN(test_doubles);
    RUN(test_cstr);
    RUN(test_hash);
    RUN(test_utf8);
    return vg_test_report();
}
