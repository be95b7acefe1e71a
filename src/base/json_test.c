/* json_test.c -- what is read, what is refused and where, in both dialects; and what is written. */
#include "base/clock.h"
#include "base/json.h"
#include "vg_test.h"

#include <math.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct vg_arena arena;
static const struct vg_json_options lenient = {.is_lenient = true};
static struct vg_json_place place;
static struct vg_err err;

/* NULL: refused; err and place then say why and where. */
static struct vg_json *parse(struct vg_slice text, const struct vg_json_options *options)
{
    struct vg_json *root = NULL;

    vg_arena_reset(&arena);
    err = (struct vg_err){0};
    place = (struct vg_json_place){0};
    enum vg_status status = vg_json_parse(&arena, text, options, &root, &place, &err);

    CHECK((status == VG_OK) == (root != NULL));
    CHECK((status == VG_OK) == (err.code == NULL));
    CHECK((status == VG_OK) == (place.line == 0));
    CHECK(status == VG_OK || status == VG_REJECT);
    return root;
}

/* ---- accepted and refused ---- */

/* 's': strict takes it (and so does lenient); 'l': only lenient; else the code's last word. */
static const struct {
    const char *text;
    const char *want;
} dialect[] = {
    {"null", "s"},
    {" true ", "s"},
    {"false", "s"},
    {"\t\r\n 1 \n", "s"},
    {"\"\"", "s"},
    {"[]", "s"},
    {"{}", "s"},
    {"[ ]", "s"},
    {"{ }", "s"},
    {"[1,2]", "s"},
    {"{\"a\":1,\"b\":[true,null]}", "s"},
    {"{\"\":0}", "s"},
    {"[[[[]]]]", "s"},
    {"0", "s"},
    {"-0", "s"},
    {"-1", "s"},
    {"1.5", "s"},
    {"1e5", "s"},
    {"1E+5", "s"},
    {"1e-5", "s"},
    {"0e1", "s"},
    {"0.0", "s"},
    {"123456789012345678901234567890", "s"},
    {"1e9999", "s"},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s"},
    {"\"\\u0041\\u00e9\\u20ac\"", "s"},
    {"\"\\ud83d\\ude00\"", "s"},
    {"\"\\u0000\"", "s"},
    {"\"\x7f\"", "s"},
    {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "s"},
    {"\"\xef\xbb\xbf\"", "s"},
    {"{\"a\":{\"a\":1}}", "s"},

    {"", "syntax"},
    {" ", "syntax"},
    {"nul", "syntax"},
    {"nulll", "syntax"},
    {"True", "syntax"},
    {"[", "syntax"},
    {"]", "syntax"},
    {"[1", "syntax"},
    {"[1 2]", "syntax"},
    {"[,1]", "syntax"},
    {"[1,,2]", "syntax"},
    {"[1}", "syntax"},
    {"{\"a\":1]", "syntax"},
    {"{\"a\"}", "syntax"},
    {"{\"a\":}", "syntax"},
    {"{\"a\" 1}", "syntax"},
    {"{\"a\":1 \"b\":2}", "syntax"},
    {"{,}", "syntax"},
    {"{1:1}", "l"}, /* digits are identifier characters to the reference */
    {"{:1}", "syntax"},
    {"{\"a\":1", "syntax"},
    {"1 2", "syntax"},
    {"[] []", "syntax"},
    {"1,", "syntax"},
    {"-", "syntax"},
    {"+1", "syntax"},
    {"--1", "syntax"},
    {"1e", "syntax"},
    {"1e+", "syntax"},
    {"1.2.3", "syntax"},
    {"1-2", "syntax"},
    {"08", "syntax"},
    {"0x", "syntax"},
    {"0xG", "syntax"},
    {"0x1FFFFFFFFFFFFFFFF", "syntax"},
    {"\"", "syntax"},
    {"\"abc", "syntax"},
    {"\"\\\"", "syntax"},
    {"\"\\", "syntax"},
    {"\"\\x41\"", "syntax"},
    {"\"\\u12\"", "syntax"},
    {"\"\\u12g4\"", "syntax"},
    {"\"\\U0041\"", "syntax"},
    {"/", "syntax"},
    {"/* */", "syntax"},
    {"/* 1", "syntax"},
    {"1 /", "syntax"},
    {"infinity", "syntax"},
    {"-NaN", "syntax"},
    {"undefined", "syntax"},
    {"'a\"", "syntax"},
    {"1\f", "syntax"},
    {"[\"a\"\xc2\xa0]", "syntax"},

    {"// a\n1", "l"},
    {"/* a */ 1 // b", "l"},
    {"[1, /* two */ 2]", "l"},
    {"{/**/\"a\"/**/:/**/1/**/}", "l"},
    {"'a'", "l"},
    {"'it\\'s \"x\"'", "l"},
    {"\"it\\'s\"", "l"},
    {"{a:1}", "l"},
    {"{'a':1}", "l"},
    {"{$a_1:1}", "l"},
    {"{\xc3\xa9:1}", "l"},
    {"{\"a\":1,}", "l"},
    {"[1,]", "l"},
    {"NaN", "l"},
    {"[Infinity,-Infinity]", "l"},
    {"0x1F", "l"},
    {"0Xff", "l"},
    {"017", "l"},
    {"-017", "l"},
    {".5", "l"},
    {"-.5e1", "l"},
    {"5.", "l"},
    {"\"a\nb\tc\x01\"", "l"},
    {"\xef\xbb\xbf{}", "l"},

    /* lenient takes these five too, hence the code of strict alone */
    {"\"caf\xe9\"", "l utf8"},
    {"\"\xed\xa0\x80\"", "l utf8"},
    {"\"\\ud83d\"", "l utf8"},
    {"\"\\ude00\\ud83d\"", "l utf8"},
    {"{\"a\":1,\"a\":2}", "l duplicate"},
    {"{\xff:1}", "utf8"},
};

static void test_dialects(void)
{
    for (size_t i = 0; i < COUNT(dialect); i++) {
        const char *want = dialect[i].want;
        struct vg_slice text = vg_slice_of(dialect[i].text);
        char code[32] = "json.syntax";

        CHECK_ROW(dialect[i].text);
        CHECK((parse(text, NULL) != NULL) == (*want == 's' && want[1] == '\0'));
        if (strncmp(want, "l ", 2) == 0)
            (void)snprintf(code, sizeof(code), "json.%s", want + 2);
        if (strcmp(want, "s") != 0 && strcmp(want, "utf8") != 0)
            CHECK(err.code && strcmp(err.code, code) == 0);
        bool is_taken = parse(text, &lenient) != NULL;

        CHECK(is_taken == (strcmp(want, "s") == 0 || *want == 'l'));
        (void)snprintf(code, sizeof(code), "json.%s", want);
        CHECK(is_taken || (err.code && strcmp(err.code, code) == 0));
    }
}

static void test_zero_bytes(void)
{
    CHECK(parse(VG_SLICE("\"a\0b\""), NULL) == NULL);
    struct vg_json *root = parse(VG_SLICE("\"a\0b\""), &lenient);

    CHECK(root && root->text.len == 3);
    CHECK(parse(VG_SLICE("1\0"), NULL) == NULL);
    CHECK(parse(VG_SLICE("\0"), &lenient) == NULL);
    CHECK(parse(VG_SLICE("\"\\\0\""), &lenient) == NULL); /* an escape of nothing */
    CHECK(parse((struct vg_slice){0}, NULL) == NULL);
    CHECK(parse((struct vg_slice){0}, &lenient) == NULL);
}

static void test_places(void)
{
    static const struct {
        const char *text, *code;
        uint32_t line, column;
    } cases[] = {
        {"[1,\n 2,\n x]", "json.syntax", 3, 2},  {"{\"a\":1,\n \"a\":2}", "json.duplicate", 2, 2},
        {"[\"ab\xff\"]", "json.utf8", 1, 5},     {"\"\\u12\"", "json.syntax", 1, 2},
        {"[1 2]", "json.syntax", 1, 4},          {"\n\n", "json.syntax", 3, 1},
        {"[\r\n\"a\tb\"]", "json.syntax", 2, 3},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char where[48];

        CHECK_ROW(cases[i].text);
        CHECK(parse(vg_slice_of(cases[i].text), NULL) == NULL);
        CHECK(place.line == cases[i].line && place.column == cases[i].column);
        CHECK(err.code && strcmp(err.code, cases[i].code) == 0);
        (void)snprintf(where, sizeof(where), "line %u, column %u: ", place.line, place.column);
        CHECK(strncmp(err.text, where, strlen(where)) == 0);
    }
}

/* ---- values ---- */

static void test_strings(void)
{
    const struct {
        const char *name, *text;
        struct vg_slice want;
        bool is_lenient, is_view;
    } cases[] = {
        {"a view when nothing is escaped", "\"bed 4 \xc3\xa9\"", VG_SLICE("bed 4 \xc3\xa9"), 0, 1},
        {"simple escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", VG_SLICE("\"\\/\b\f\n\r\t"), 0, 0},
        {"code points", "\"A\\u00e9\\u20AC!\"", VG_SLICE("A\xc3\xa9\xe2\x82\xac!"), 0, 0},
        {"a pair", "\"\\ud83d\\ude00\"", VG_SLICE("\xf0\x9f\x98\x80"), 0, 0},
        {"the last code point", "\"\\udbff\\udfff\"", VG_SLICE("\xf4\x8f\xbf\xbf"), 0, 0},
        {"zero", "\"a\\u0000b\"", VG_SLICE("a\0b"), 0, 0},
        {"escape beside UTF-8", "\"\xe2\x82\xac\\n\xe2\x82\xac\"",
         VG_SLICE("\xe2\x82\xac\n\xe2\x82\xac"), 0, 0},
        {"single quotes", "'a\"b'", VG_SLICE("a\"b"), 1, 1},
        {"lone half", "\"\\ud83dx\"", VG_SLICE("\xef\xbf\xbdx"), 1, 0},
        {"two first halves", "\"\\ud83d\\ud83d\\ude00\"", VG_SLICE("\xef\xbf\xbd\xf0\x9f\x98\x80"),
         1, 0},
        {"a byte of Latin-1", "\"caf\xe9!\"", VG_SLICE("caf\xef\xbf\xbd!"), 1, 0},
        {"nothing but bad bytes", "\"\xff\xfe\xfd\"",
         VG_SLICE("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"), 1, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct vg_slice text = vg_slice_of(cases[i].text);
        const struct vg_json *root = parse(text, cases[i].is_lenient ? &lenient : NULL);

        CHECK_ROW(cases[i].name);
        if (!CHECK(root && root->type == VG_JSON_STRING))
            continue;
        CHECK(vg_slice_eq(root->text, cases[i].want));
        CHECK((root->text.ptr == text.ptr + 1) == cases[i].is_view);
        CHECK(vg_slice_eq(root->source, text));
    }
}

/* Every length and every place of the one odd byte, so that each path of the scanner is taken. */
static void test_string_scan(void)
{
    char text[80];

    for (size_t len = 0; len <= 70; len++) {
        for (size_t odd = 0; odd <= len; odd++) {
            memset(text, 'x', sizeof(text));
            text[0] = '"';
            text[len + 1] = '"';
            struct vg_slice whole = {text, len + 2};

            if (odd < len)
                text[1 + odd] = '\n';
            if (!CHECK((parse(whole, NULL) != NULL) == (odd == len)))
                return;
            if (odd < len) {
                text[1 + odd] = '"'; /* ends there; the rest is too much */
                if (!CHECK(parse(whole, NULL) == NULL && place.column == odd + 3))
                    return;
            }
        }
    }
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool is_i64, is_double;
        int64_t i64;
        double want;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"-0", true, true, 0, 0},
        {"72", true, true, 72, 72},
        {"72.0", false, true, 0, 72},
        {"7.2e1", false, true, 0, 72},
        {"-36.6", false, true, 0, -36.6},
        {"0.1", false, true, 0, 0.1},
        {"9007199254740993", true, true, 9007199254740993, 9007199254740992.0},
        {"9223372036854775807", true, true, INT64_MAX, 9223372036854775807.0},
        {"-9223372036854775808", true, true, INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", false, true, 0, 9223372036854775808.0},
        {"1e400", false, false, 0, 0},
        {"1e-400", false, true, 0, 0},
        {"2.2250738585072011e-308", false, true, 0, 2.2250738585072011e-308},
        {"123456789.12345678", false, true, 0, 123456789.12345678},
        {"0x1F", true, true, 31, 31},
        {"0xFFFFFFFFFFFFFFFF", true, true, -1, -1},
        {"017", true, true, 15, 15},
        {"-017", true, true, -17, -17},
        {".5", false, true, 0, 0.5},
        {"5.", false, true, 0, 5},
        {"NaN", false, false, 0, 0},
        {"-Infinity", false, false, 0, 0},
        {"true", false, false, 0, 0},
        {"\"1\"", false, false, 0, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct vg_json *root = parse(vg_slice_of(cases[i].text), &lenient);
        int64_t i64 = 42;
        double got = 42;

        CHECK_ROW(cases[i].text);
        if (!CHECK(root != NULL))
            continue;
        CHECK(root->type != VG_JSON_NUMBER || vg_slice_is(root->text, cases[i].text));
        CHECK(vg_json_to_i64(root, &i64) == cases[i].is_i64);
        CHECK(i64 == (cases[i].is_i64 ? cases[i].i64 : 42));
        CHECK(vg_json_to_double(root, &got) == cases[i].is_double);
        double want = cases[i].is_double ? cases[i].want : 42;

        CHECK(memcmp(&got, &want, sizeof(got)) == 0 || (fpclassify(got) == FP_ZERO && !(want > 0)));
    }
}

/* The short way to a double gives the same bits as the C library. */
static void test_doubles_are_exact(void)
{
    uint64_t state = 88172645463325252u;

    for (int i = 0; i < 100000; i++) {
        char text[40];
        double want, got = 0;

        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        (void)snprintf(text, sizeof(text), "%s%llu.%0*llu", state & 1 ? "-" : "",
                       (unsigned long long)(state >> 40), (int)(state % 9 + 1),
                       (unsigned long long)(state % 9973));
        const struct vg_json *root = parse(vg_slice_of(text), NULL);

        want = strtod(text, NULL);
        if (!CHECK(vg_json_to_double(root, &got) && memcmp(&got, &want, sizeof(got)) == 0)) {
            printf("  %s\n", text);
            return;
        }
    }
}

static void test_spans_and_lookups(void)
{
    static const char text[] = " {\"device\": \"m-1\", \"vitals\": [ {\"hr\":72}, [] , -1.50 ],"
                               " \"Device\": null, \"n\\u0061me\": true} ";
    const struct vg_json *root = parse(vg_slice_of(text), NULL);

    if (!CHECK(root && root->type == VG_JSON_OBJECT && root->count == 4))
        return;
    CHECK(root->parent == NULL && root->source.ptr == text + 1);
    CHECK(root->source.len == sizeof(text) - 3);
    const struct vg_json *vitals = vg_json_get(root, "vitals");

    CHECK(vitals && vitals->parent == root && vitals->count == 3);
    CHECK(vg_slice_is(vitals->source, "[ {\"hr\":72}, [] , -1.50 ]"));
    CHECK(vg_slice_is(vg_json_at(vitals, 0)->source, "{\"hr\":72}"));
    CHECK(vg_slice_is(vg_json_at(vitals, 1)->source, "[]"));
    CHECK(vg_slice_is(vg_json_at(vitals, 2)->text, "-1.50"));
    CHECK(vg_json_at(vitals, 2)->parent == vitals);
    CHECK(vg_json_at(vitals, 3) == NULL && vg_json_at(root, 0) == NULL);
    CHECK(vg_slice_is(vg_json_get_text(root, "device"), "m-1"));
    CHECK(vg_slice_is(vg_json_get_text(root, "Device"), ""));
    CHECK(vg_json_is(vg_json_get(root, "name"), VG_JSON_TRUE));
    CHECK(vg_slice_is(vg_json_get(root, "name")->name, "name"));
    CHECK(vg_json_get_nocase(root, VG_SLICE("Device")) == vg_json_get(root, "Device"));
    CHECK(vg_json_get_nocase(root, VG_SLICE("DEVICE")) == vg_json_get(root, "device"));
    CHECK(vg_json_get(vg_json_get(vg_json_get(root, "no"), "such"), "path") == NULL);
    CHECK(vg_json_at(NULL, 0) == NULL && vg_json_text(NULL).len == 0);
    CHECK(!vg_json_is(NULL, VG_JSON_NULL) && !vg_json_to_bool(NULL, &(bool){0}));
    CHECK(!vg_json_to_i64(NULL, &(int64_t){0}) && !vg_json_to_double(NULL, &(double){0}));
    bool is_true = false;

    CHECK(vg_json_to_bool(vg_json_get(root, "name"), &is_true) && is_true);
    CHECK(!vg_json_to_bool(root, &is_true));
}

static void test_last_duplicate_wins(void)
{
    const struct vg_json *root =
        parse(VG_SLICE("{a:{x:1,y:2},b:2,a:[3,4],c:5,b:'z',a:{w:6}}"), &lenient);

    if (!CHECK(root && root->count == 3))
        return;
    const struct vg_json *a = root->child, *b = a->next, *c = b->next;

    CHECK(vg_slice_is(a->name, "a") && vg_slice_is(b->name, "b") && vg_slice_is(c->name, "c"));
    CHECK(c->next == NULL && a->parent == root);
    CHECK(a->type == VG_JSON_OBJECT && a->count == 1 && vg_slice_is(a->source, "{w:6}"));
    CHECK(vg_slice_is(a->child->name, "w") && a->child->next == NULL && a->child->parent == a);
    CHECK(vg_slice_is(b->text, "z") && vg_slice_is(c->text, "5"));
}

static void test_trailing(void)
{
    static const struct vg_json_options options = {.is_lenient = true, .allow_trailing = true};
    static const struct {
        const char *text, *want; /* NULL: refused */
    } cases[] = {
        {"{\"a\":1}{\"b\":2}", "{\"a\":1}"},
        {"1 garbage", "1"},
        {"[1]]", "[1]"},
        {"\"a\"\"b\"", "\"a\""},
        {"1x", NULL},
        {"truex", NULL},
        {"[1", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct vg_json *root = parse(vg_slice_of(cases[i].text), &options);

        CHECK_ROW(cases[i].text);
        CHECK((root != NULL) == (cases[i].want != NULL));
        CHECK(!root || !cases[i].want || vg_slice_is(root->source, cases[i].want));
    }
}

/* ---- limits ---- */

static void test_depth(void)
{
    static char text[200001];
    const struct vg_json_options deep = {.depth_max = 1000}, flat = {.depth_max = 1};

    memset(text, '[', 100000);
    memset(text + 100000, ']', 100000);
    CHECK(parse((struct vg_slice){text, 200000}, NULL) == NULL);
    CHECK(strcmp(err.code, "json.depth") == 0 && place.column == 65);
    CHECK(parse((struct vg_slice){text + 100000 - 64, 128}, NULL) != NULL);
    CHECK(parse((struct vg_slice){text + 100000 - 65, 130}, NULL) == NULL);
    CHECK(parse((struct vg_slice){text + 100000 - 1000, 2000}, &deep) != NULL);
    CHECK(parse((struct vg_slice){text + 100000 - 1001, 2002}, &deep) == NULL);
    CHECK(parse(VG_SLICE("[1,2]"), &flat) != NULL && parse(VG_SLICE("[[]]"), &flat) == NULL);
    for (size_t i = 0; i + 5 <= 200000; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    CHECK(parse((struct vg_slice){text, 200000}, NULL) == NULL);
    CHECK(strcmp(err.code, "json.depth") == 0);
}

static void test_values(void)
{
    const struct vg_json_options three = {.values_max = 3, .is_lenient = true};

    CHECK(parse(VG_SLICE("[1,2]"), &three) != NULL);
    CHECK(parse(VG_SLICE("[1,2,3]"), &three) == NULL && strcmp(err.code, "json.size") == 0);
    CHECK(parse(VG_SLICE("{a:1,a:2}"), &three) != NULL);
    CHECK(parse(VG_SLICE("{a:1,a:2,a:3}"), &three) == NULL); /* work counts, not what is kept */
    struct vg_arena small;
    struct vg_json *root = NULL;

    vg_arena_init(&small, 1000);
    CHECK(vg_json_parse(&small, VG_SLICE("[1]"), NULL, &root, NULL, &err) == VG_REJECT);
    CHECK(strcmp(err.code, "json.memory") == 0 && root == NULL);
    CHECK(vg_json_parse(&small, VG_SLICE("[1]"), NULL, &root, NULL, NULL) == VG_REJECT);
    vg_arena_fini(&small);
}

static void test_long_number(void)
{
    const size_t len = 1u << 20;
    char *text = malloc(len);
    double got = 0;

    if (!CHECK(text != NULL))
        return;
    memset(text, '3', len);
    text[1] = '.';
    const struct vg_json *root = parse((struct vg_slice){text, len}, NULL);

    CHECK(root && root->text.len == len && root->text.ptr == text);
    CHECK(vg_json_to_double(root, &got) && got > 3.33 && got < 3.34);
    CHECK(!vg_json_to_i64(root, &(int64_t){0}));
    text[1] = '3';
    CHECK(!vg_json_to_double(parse((struct vg_slice){text, len}, NULL), &got));
    free(text);
}

/* Writes {"<prefix>0":0,...} with `count` members. */
static void put_members(struct vg_buf *out, unsigned count, const char *prefix)
{
    vg_buf_clear(out);
    vg_buf_put_byte(out, '{');
    for (unsigned i = 0; i < count; i++) {
        vg_buf_put(out, i ? VG_SLICE(",\"") : VG_SLICE("\""));
        vg_buf_printf(out, "%s%u", prefix, i);
        vg_buf_put(out, VG_SLICE("\":0"));
    }
    vg_buf_put_byte(out, '}');
}

static void test_many_members(void)
{
    const struct vg_json_options options = {.values_max = 200000};
    int64_t took_us[2];
    struct vg_buf out;

    vg_buf_init(&out, 0);
    for (unsigned round = 0; round < 2; round++) {
        put_members(&out, round ? 100000 : 10000, "key");
        int64_t begin_us = vg_mono_us();
        const struct vg_json *root = parse(vg_buf_slice(&out), &options);

        took_us[round] = vg_mono_us() - begin_us;
        CHECK(root && root->count == (round ? 100000 : 10000));
    }
    /* Ten times the members, ten times the time; a hundred times would be quadratic. */
    CHECK(took_us[1] < 50 * (took_us[0] + 1000));
    out.len--;
    vg_buf_put(&out, VG_SLICE(",\"key77777\":1}"));
    CHECK(parse(vg_buf_slice(&out), &options) == NULL && strcmp(err.code, "json.duplicate") == 0);
    /* Around the change from walking to hashing, each repeated name is found. */
    for (unsigned count = 1; count < 70; count++) {
        for (unsigned again = 0; again < count; again++) {
            put_members(&out, count, "k");
            out.len--;
            vg_buf_printf(&out, ",\"k%u\":1}", again);
            if (!CHECK(parse(vg_buf_slice(&out), NULL) == NULL &&
                       strcmp(err.code, "json.duplicate") == 0))
                break;
            const struct vg_json *root = parse(vg_buf_slice(&out), &lenient);
            const struct vg_json *member = root ? vg_json_at(root, 0) : NULL;

            CHECK(!member && root && root->count == count);
            member = root ? root->child : NULL;
            for (unsigned i = 0; i < again && member; i++)
                member = member->next;
            if (!CHECK(member && vg_slice_is(member->text, "1")))
                break;
        }
    }
    vg_buf_fini(&out);
}

/* ---- writing ---- */

static void test_writer(void)
{
    struct vg_json_writer w;
    struct vg_buf out;

    vg_buf_init(&out, 0);
    vg_json_writer_init(&w, &out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "s", VG_SLICE("a\"b\\c\n\x01\x7f \xc3\xa9 \xff"));
    vg_json_member_i64(&w, "min", INT64_MIN);
    vg_json_member_i64(&w, "max", INT64_MAX);
    vg_json_member_double(&w, "d", 36.6);
    vg_json_member_bool(&w, "b", false);
    vg_json_member_raw(&w, "raw", VG_SLICE("1.50"));
    vg_json_member_raw(&w, "no", (struct vg_slice){0});
    vg_json_member_time(&w, "t", 1773482400123456);
    vg_json_name_slice(&w, VG_SLICE("list"));
    vg_json_open_array(&w);
    vg_json_put_null(&w);
    vg_json_put_bool(&w, true);
    vg_json_open_object(&w);
    vg_json_close_object(&w);
    vg_json_open_array(&w);
    vg_json_close_array(&w);
    vg_json_put_i64(&w, 0);
    vg_json_close_array(&w);
    vg_json_name(&w, "o\"");
    vg_json_put_double(&w, INFINITY);
    vg_json_close_object(&w);
    CHECK(vg_slice_is(vg_buf_slice(&out),
                      "{\"s\":\"a\\\"b\\\\c\\n\\u0001\x7f \xc3\xa9 \xef\xbf\xbd\","
                      "\"min\":-9223372036854775808,\"max\":9223372036854775807,\"d\":36.6,"
                      "\"b\":false,\"raw\":1.50,\"no\":null,\"t\":\"2026-03-14T10:00:00.123Z\","
                      "\"list\":[null,true,{},[],0],\"o\\\"\":null}"));
    CHECK(parse(vg_buf_slice(&out), NULL) != NULL);
    vg_buf_fini(&out);
}

static void test_writer_doubles(void)
{
    static const struct {
        double value;
        const char *want;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {72, "72"},
        {-36.6, "-36.6"},
        {0.05, "0.05"},
        {0.000001, "0.000001"},
        {1e-7, "1e-07"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1e15, "1e+15"},
        {123456789.123, "123456789.123"},
        {1.0 / 3, "0.3333333333333333"},
        {NAN, "null"},
        {-INFINITY, "null"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
    };
    struct vg_json_writer w;
    struct vg_buf out;
    uint64_t state = 88172645463325252u;

    vg_buf_init(&out, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        vg_buf_clear(&out);
        vg_json_writer_init(&w, &out);
        vg_json_put_double(&w, cases[i].value);
        CHECK_ROW(cases[i].want);
        CHECK(vg_slice_is(vg_buf_slice(&out), cases[i].want));
    }
    for (int i = 0; i < 100000; i++) {
        double value, got = 0;

        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        memcpy(&value, &state, sizeof(value));
        if (i % 2)
            value = (double)(int64_t)(state % 2000000) / 1000 - 500;
        if (!isfinite(value))
            continue;
        vg_buf_clear(&out);
        vg_json_writer_init(&w, &out);
        vg_json_put_double(&w, value);
        if (!CHECK(vg_json_to_double(parse(vg_buf_slice(&out), NULL), &got) &&
                   memcmp(&got, &value, sizeof(got)) == 0))
            break;
    }
    vg_buf_fini(&out);
}

static void test_writer_depth(void)
{
    struct vg_json_writer w;
    struct vg_buf out;

    vg_buf_init(&out, 0);
    vg_json_writer_init(&w, &out);
    for (int i = 0; i < VG_JSON_WRITER_DEPTH; i++)
        vg_json_open_array(&w);
    CHECK(vg_buf_ok(&out));
    vg_json_open_array(&w);
    vg_json_put_null(&w);
    CHECK(!vg_buf_ok(&out));
    for (int i = 0; i <= VG_JSON_WRITER_DEPTH; i++)
        vg_json_close_array(&w);
    CHECK(!vg_buf_ok(&out) && w.depth == 0);
    vg_buf_fini(&out);
}

/* Whatever bytes a string holds, the reader gets back what the writer was given (or U+FFFD). */
static void test_escape_round_trip(void)
{
    char bytes[256];
    struct vg_buf out;

    vg_buf_init(&out, 0);
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    vg_json_escape(&out, (struct vg_slice){bytes, 128});
    const struct vg_json *root = parse(vg_buf_slice(&out), NULL);

    CHECK(root && vg_slice_eq(root->text, (struct vg_slice){bytes, 128}));
    vg_buf_clear(&out);
    vg_json_escape(&out, (struct vg_slice){bytes, 256});
    root = parse(vg_buf_slice(&out), NULL);
    CHECK(root && root->text.len == 128 + 3 * 128);
    vg_buf_fini(&out);
}

int main(void)
{
    vg_arena_init(&arena, 64u << 20);
    RUN(test_dialects);
    RUN(test_zero_bytes);
    RUN(test_places);
    RUN(test_strings);
    RUN(test_string_scan);
    RUN(test_numbers);
    RUN(test_doubles_are_exact);
    RUN(test_spans_and_lookups);
    RUN(test_last_duplicate_wins);
    RUN(test_trailing);
    RUN(test_depth);
    RUN(test_values);
    RUN(test_long_number);
    RUN(test_many_members);
    RUN(test_writer);
    RUN(test_writer_doubles);
    RUN(test_writer_depth);
    RUN(test_escape_round_trip);
    vg_arena_fini(&arena);
    return vg_test_report();
}
