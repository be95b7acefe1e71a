/* hl7_test.c -- HL7 v2's grammar, row by row. */
#include "base/hl7.h"

#include "base/clock.h"
#include "vg_test.h"

static const struct {
    const char *name, *message, *code; /* code NULL: it is taken */
} openings[] = {
    {"a header alone", "MSH|^~\\&|A", NULL},
    {"separators of its own", "MSH#*+?!#A", "hl7.syntax"},
    {"separators of its own that are none of a number's", "MSH#*~?!#A", NULL},
    {"only two encoding characters", "MSH|^~|A", NULL},
    {"a truncation character", "MSH|^~\\&#|A", NULL},
    {"an MLLP frame around it", "\x0bMSH|^~\\&|A\r\x1c\r", NULL},
    {"a byte order mark", "\xef\xbb\xbfMSH|^~\\&|A", NULL},
    {"empty lines before it", "\r\n\rMSH|^~\\&|A", NULL},
    {"nothing", "", "hl7.syntax"},
    {"JSON", "{\"hr\":72}", "hl7.syntax"},
    {"a batch header", "BHS|^~\\&|A", "hl7.syntax"},
    {"no encoding characters", "MSH|", "hl7.syntax"},
    {"empty encoding characters", "MSH||A", "hl7.syntax"},
    {"letters as separators", "MSHabcde", "hl7.syntax"},
    {"a separator twice", "MSH|^^\\&|A", "hl7.syntax"},
    {"the field separator again", "MSH|^|", NULL},
    {"a control character",
     "MSH|^~\\&|A\x1c"
     "B|C",
     "hl7.syntax"},
    {"UTF-8 as declared", "MSH|^~\\&|||||||||||||||\xc3\xa9|UNICODE UTF-8", NULL},
    {"UTF-8 by a name that many use", "MSH|^~\\&||||||||||||||||UTF-8", NULL},
    {"UTF-8 that is none", "MSH|^~\\&|||||||||||||||\xe9|UNICODE UTF-8", "hl7.charset"},
    {"Latin-1 as declared", "MSH|^~\\&|||||||||||||||\xe9|8859/1", NULL},
    {"nothing declared, and UTF-8", "MSH|^~\\&|\xc3\xa9", NULL},
    {"nothing declared, and neither ASCII nor UTF-8", "MSH|^~\\&|\xe9", "hl7.charset"},
    {"a set that is not served", "MSH|^~\\&||||||||||||||||8859/5", "hl7.charset"},
    {"two-byte Unicode", "MSH|^~\\&||||||||||||||||UNICODE", "hl7.charset"},
    {"the first of several sets counts", "MSH|^~\\&||||||||||||||||ASCII~ISO IR87", NULL},
};

static void test_openings(void)
{
    for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
        struct vg_hl7 hl7;
        struct vg_err err = {0};
        enum vg_status st = vg_hl7_open(vg_slice_of(openings[i].message), &hl7, &err);

        CHECK_ROW(openings[i].name);
        CHECK((st == VG_OK) == (openings[i].code == NULL));
        CHECK(st == VG_OK || strcmp(err.code, openings[i].code) == 0);
    }
}

static void test_segments(void)
{
    static const char *const ends[] = {"\r", "\n", "\r\n"};

    for (size_t i = 0; i < 3; i++) {
        struct vg_hl7 hl7;
        struct vg_hl7_cursor cursor = {0};
        struct vg_hl7_segment segment;
        struct vg_err err;
        char text[128];

        (void)snprintf(text, sizeof(text), "MSH|^~\\&|A%sPID|1%s%sOBX|2|NM%s", ends[i], ends[i],
                       ends[i], ends[i]);
        if (!CHECK(vg_hl7_open(vg_slice_of(text), &hl7, &err) == VG_OK))
            continue;
        CHECK(vg_hl7_next(&hl7, &cursor, &segment, &err) == VG_OK);
        CHECK(strcmp(segment.id, "MSH") == 0 && segment.number == 1);
        CHECK(vg_slice_is(vg_hl7_field(&hl7, &segment, 1), "|"));
        CHECK(vg_slice_is(vg_hl7_field(&hl7, &segment, 2), "^~\\&"));
        CHECK(vg_slice_is(vg_hl7_field(&hl7, &segment, 3), "A"));
        CHECK(vg_hl7_next(&hl7, &cursor, &segment, &err) == VG_OK);
        CHECK(strcmp(segment.id, "PID") == 0);
        CHECK(vg_hl7_next(&hl7, &cursor, &segment, &err) == VG_OK);
        CHECK(strcmp(segment.id, "OBX") == 0 && segment.number == 3);
        CHECK(vg_slice_is(vg_hl7_field(&hl7, &segment, 2), "NM"));
        CHECK(vg_hl7_field(&hl7, &segment, 3).len == 0);
        CHECK(vg_hl7_next(&hl7, &cursor, &segment, &err) == VG_END);
    }
}

static void test_a_line_without_a_name_is_refused_with_its_place(void)
{
    struct vg_hl7 hl7;
    struct vg_err err = {0};

    CHECK(vg_hl7_open(VG_SLICE("MSH|^~\\&|A\rOBX|1\rrest of a text"), &hl7, &err) == VG_REJECT);
    CHECK(strstr(err.text, "segment 3") != NULL);
    CHECK(vg_slice_is(vg_hl7_field(&hl7, &hl7.msh, 3), "A")); /* and can be answered */
    CHECK(vg_hl7_open(VG_SLICE("MSH|^~\\&|A\rMSH|^~\\&|A"), &hl7, &err) == VG_REJECT);
    CHECK(strstr(err.text, "segment 2") != NULL);
}

static void test_parts(void)
{
    struct vg_hl7 hl7;
    struct vg_err err;
    struct vg_slice field;

    CHECK(vg_hl7_open(VG_SLICE("MSH|^~\\&|a^b&c~d^e"), &hl7, &err) == VG_OK);
    field = vg_hl7_field(&hl7, &hl7.msh, 3);
    CHECK(vg_slice_is(vg_hl7_first(&hl7, field), "a^b&c"));
    CHECK(vg_slice_is(vg_hl7_component(&hl7, field, 2), "b&c"));
    CHECK(vg_slice_is(vg_hl7_part(vg_hl7_component(&hl7, field, 2), hl7.subcomponent, 2), "c"));
    CHECK(vg_hl7_component(&hl7, field, 3).len == 0);
    CHECK(vg_slice_is(vg_hl7_part(field, hl7.repetition, 2), "d^e"));
    CHECK(vg_hl7_is_null(VG_SLICE("\"\"")) && !vg_hl7_is_null(VG_SLICE("")));
    CHECK(vg_slice_is(vg_hl7_part(VG_SLICE("a^b"), '\0', 1), "a^b"));
    CHECK(vg_hl7_part(VG_SLICE("a^b"), '\0', 2).len == 0);
}

static const struct {
    const char *name, *raw, *want;
} texts[] = {
    {"plain", "abc", "abc"},
    {"the separators", "\\F\\\\S\\\\T\\\\R\\\\E\\", "|^&~\\"},
    {"hex bytes", "a\\X0D0a\\b", "a\r\nb"},
    {"hex that makes one UTF-8 character", "\\XC3A9\\", "\xc3\xa9"},
    {"line breaks", "a\\.br\\b\\.sp 2\\c", "a\nb\nc"},
    {"other formatting is left out", "a\\.in+4\\b\\H\\c\\N\\", "abc"},
    {"a sequence that nobody knows stays", "a\\Z1\\b", "a\\Z1\\b"},
    {"odd hex stays", "\\X0D0\\", "\\X0D0\\"},
    {"bad hex stays", "\\XZZ\\", "\\XZZ\\"},
    {"one that does not end stays", "a\\F", "a\\F"},
    {"an empty one stays", "\\\\", "\\\\"},
};

static void test_texts(void)
{
    struct vg_hl7 hl7;
    struct vg_err err;
    struct vg_buf out;

    vg_buf_init(&out, 0);
    CHECK(vg_hl7_open(VG_SLICE("MSH|^~\\&|A"), &hl7, &err) == VG_OK);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CHECK_ROW(texts[i].name);
        vg_buf_clear(&out);
        vg_hl7_put_text(&hl7, vg_slice_of(texts[i].raw), &out);
        if (!CHECK(vg_slice_is(vg_buf_slice(&out), texts[i].want)))
            printf("  %.*s\n", VG_FMT(vg_buf_slice(&out)));
    }
    CHECK_ROW("Latin-1 becomes UTF-8, also out of hex");
    CHECK(vg_hl7_open(VG_SLICE("MSH|^~\\&||||||||||||||||8859/1"), &hl7, &err) == VG_OK);
    vg_buf_clear(&out);
    vg_hl7_put_text(&hl7, VG_SLICE("M\xfcller \\XE9\\"), &out);
    CHECK(vg_slice_is(vg_buf_slice(&out), "M\xc3\xbcller \xc3\xa9"));
    vg_buf_fini(&out);
}

static const struct {
    const char *name, *text, *want; /* NULL: refused; else UTC, or its own clock without a zone */
    int precision;
    bool has_zone;
} times[] = {
    {"to the second, with a zone", "20260301120000+0100", "2026-03-01T11:00:00.000Z", 14, true},
    {"a fraction of four digits", "20260301120500.1000+0800", "2026-03-01T04:05:00.100Z", 14, true},
    {"a zone west of Greenwich", "201203141259-0215", "2012-03-14T15:14:00.000Z", 12, true},
    {"no zone", "20260301102047", "2026-03-01T10:20:47.000Z", 14, false},
    {"a day", "20260301", "2026-03-01T00:00:00.000Z", 8, false},
    {"a month", "202603", "2026-03-01T00:00:00.000Z", 6, false},
    {"a year", "2026", "2026-01-01T00:00:00.000Z", 4, false},
    {"an hour", "2026030112", "2026-03-01T12:00:00.000Z", 10, false},
    {"a leap day", "20240229", "2024-02-29T00:00:00.000Z", 8, false},
    {"a day that is none", "20260229", NULL, 0, false},
    {"month 13", "20261301", NULL, 0, false},
    {"hour 24", "2026030124", NULL, 0, false},
    {"an odd number of digits", "202603011", NULL, 0, false},
    {"too many digits", "2026030112000000", NULL, 0, false},
    {"a fraction of minutes", "202603011200.5", NULL, 0, false},
    {"half a zone", "20260301120000+01", NULL, 0, false},
    {"a zone that is none", "20260301120000+9900", NULL, 0, false},
    {"letters", "2026-03-01", NULL, 0, false},
    {"year 0", "0000", NULL, 0, false},
    {"nothing", "", NULL, 0, false},
};

static void test_times(void)
{
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct vg_hl7_time time = {0};
        char text[VG_TIME_TEXT_SIZE];
        bool is_ok = vg_hl7_time_parse(vg_slice_of(times[i].text), &time);

        CHECK_ROW(times[i].name);
        CHECK(is_ok == (times[i].want != NULL));
        if (!is_ok || !times[i].want)
            continue;
        (void)vg_time_format(time.civil_us - time.zone_s * VG_SECOND_US, 3, text);
        if (!CHECK(strcmp(text, times[i].want) == 0))
            printf("  %s\n", text);
        CHECK((int)time.precision == times[i].precision && time.has_zone == times[i].has_zone);
    }
}

int main(void)
{
    RUN(test_openings);
    RUN(test_segments);
    RUN(test_a_line_without_a_name_is_refused_with_its_place);
    RUN(test_parts);
    RUN(test_texts);
    RUN(test_times);
    return vg_test_report();
}
