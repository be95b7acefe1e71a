/* jsonpath_test.c -- the reference dialect, row by row, with its surprises. */
#include "connector/jsonpath.h"

#include "vg_test.h"

struct hits {
    char text[512];
    size_t used;
};

static bool print_hit(void *ctx, const struct vg_json *token)
{
    struct hits *hits = ctx;
    int n = snprintf(hits->text + hits->used, sizeof(hits->text) - hits->used, "%s%.*s",
                     hits->used ? " " : "", VG_FMT(token->source));

    hits->used += n > 0 ? (size_t)n : 0;
    return hits->used < sizeof(hits->text) - 1;
}

/* With the nodes looked up once it selects the same. */
static void run_with_nodes(const struct jsonpath *path, const struct vg_json *root,
                           struct vg_arena *arena, uint64_t steps, const struct hits *want)
{
    static struct hits hits;
    struct jsonpath_nodes nodes;
    enum vg_status st = VG_OK;

    hits = (struct hits){.used = 0};
    if (!CHECK(jsonpath_nodes_init(&nodes, arena, root)))
        return;
    if (jsonpath_may_match(path, &nodes))
        st = jsonpath_each(path, root, &nodes, &steps, print_hit, &hits, NULL);
    CHECK(st == VG_OK && strcmp(hits.text, want->text) == 0);
}

/* What `path` selects from `json`, joined by blanks; "!code" when it fails. */
static const char *run(const char *path, const char *json, bool is_medtech, uint64_t steps)
{
    static struct hits hits;
    const struct vg_json_options lenient = {.is_lenient = true};
    const struct jsonpath *compiled;
    struct vg_arena arena;
    struct vg_json *root;
    struct vg_err err = {0};

    hits = (struct hits){.used = 0};
    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, vg_slice_of(json), &lenient, &root, NULL, &err) != VG_OK ||
        jsonpath_compile(&arena, vg_slice_of(path), is_medtech, &compiled, &err) != VG_OK ||
        jsonpath_each(compiled, root, NULL, &steps, print_hit, &hits, &err) != VG_OK)
        (void)snprintf(hits.text, sizeof(hits.text), "!%s", err.code);
    else
        run_with_nodes(compiled, root, &arena, 10000, &hits);
    vg_arena_fini(&arena);
    return hits.text;
}

static const char ward[] = "{\"Body\":{\"hr\":72,\"t\":\"abc\",\"n\":null,\"list\":[1,2,3,4],"
                           "\"e\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"v\":2.0},{\"k\":\"c\"}]},"
                           "\"Properties\":{\"hr\":\"9\"}}";

#define DATES                                                                                      \
    "[{\"t\":\"2026-03-14T10:00:00.50Z\",\"i\":1},{\"t\":\"2026-03-14T12:00:00+02:00\",\"i\":2}]"

static const struct {
    const char *name, *path, *json, *want;
    const char *medtech; /* NULL: the same */
} rows[] = {
    {"a name below the root", "$.Body.hr", ward, "72", NULL},
    {"the leading $ may be left out", "Body.hr", ward, "72", NULL},
    {"$ alone is the root", "$", "5", "5", NULL},
    {"a name in brackets", "$['Body']['hr']", ward, "72", NULL},
    {"two names in brackets, in the order asked for", "$.Body['t','hr']", ward, "\"abc\" 72", NULL},
    {"a member that is not there", "$.Body.x.y", ward, "", NULL},
    {"a name on an array selects nothing", "$.Body.list.x", ward, "", NULL},
    {"names are case-sensitive", "$.body.hr", ward, "", NULL},
    {"names with hyphens need no quotes", "$.a-b", "{\"a-b\":1}", "1", NULL},
    {"an index", "$.Body.list[2]", ward, "3", NULL},
    {"several indexes", "$.Body.list[3,0]", ward, "4 1", NULL},
    {"an index beyond the end", "$.Body.list[9]", ward, "", NULL},
    {"a negative index is an error", "$.Body.list[-1]", ward, "!jsonpath.index", NULL},
    {"a slice", "$.Body.list[1:3]", ward, "2 3", NULL},
    {"a slice from the end", "$.Body.list[-2:]", ward, "3 4", NULL},
    {"a slice with a step", "$.Body.list[::2]", ward, "1 3", NULL},
    {"a slice backwards", "$.Body.list[::-1]", ward, "4 3 2 1", NULL},
    {"all elements", "$.Body.list[*]", ward, "1 2 3 4", NULL},
    {"[*] takes no members", "$.Body[*]", ward, "", NULL},
    {".* takes no elements", "$.Body.list.*", ward, "", NULL},
    {".* takes members", "$.Properties.*", ward, "\"9\"", NULL},
    {"parentheses are brackets", "$.Body.list(1)", ward, "2", NULL},
    {"scan in document order", "$..hr", ward, "72 \"9\"", NULL},
    {"scan goes into what it found", "$..a", "{\"a\":{\"a\":1}}", "{\"a\":1} 1", NULL},
    {"scan of two names", "$..['k','v']", ward, "\"a\" 1 \"b\" 2.0 \"c\"", NULL},
    {"scan of everything tells the root too", "$..*", "{\"a\":[1]}", "{\"a\":[1]} [1] 1", NULL},
    {"filter on elements", "$.Body.e[?(@.v == 2)].k", ward, "\"b\"", NULL},
    {"integer equals real", "$.Body.e[?(@.v == 1.0)].k", ward, "\"a\"", NULL},
    {"the dot after @ may be left out", "$.Body.e[?(@v == 1)].k", ward, "\"a\"", NULL},
    {"a filter on an object tests nothing", "$.Body[?(@.k)]", ward, "", NULL},
    {"a scanning filter tests the root first", "$..[?(@Body.hr)].Properties.hr", ward, "\"9\"",
     NULL},
    {"existence finds explicit nulls", "$..[?(@n)].hr", ward, "72", NULL},
    {"not null", "$..[?(@n != null)].hr", ward, "", NULL},
    {"a nested match is another match", "$..[?(@a)]", "{\"a\":{\"a\":1}}",
     "{\"a\":{\"a\":1}} {\"a\":1}", NULL},
    {"text never equals number", "$.Body.e[?(@.k == 1)]", ward, "", NULL},
    {"an empty left side is false, also for !=", "$.Body.e[?(@.v != 1)].k", ward, "\"b\"", NULL},
    {"<> is !=", "$.Body.e[?(@.v <> 1)].k", ward, "\"b\"", NULL},
    {"text compares with a number that it says", "$[?(@.a > 99)].a",
     "[{\"a\":\"101\"},{\"a\":\"7\"}]", "\"101\"", NULL},
    {"text that is not a number is an error", "$[?(@.a > 99)].a", "[{\"a\":\"abc\"}]",
     "!jsonpath.compare", NULL},
    {"text orders by code", "$[?(@.a >= 'b')].a", "[{\"a\":\"a\"},{\"a\":\"b\"}]", "\"b\"", NULL},
    {"strict equality", "$[?(@.a === 1)].a", "[{\"a\":1},{\"a\":\"1\"}]", "1", NULL},
    {"strict inequality", "$[?(@.a !== 1)].a", "[{\"a\":1},{\"a\":\"1\"}]", "\"1\"", NULL},
    {"a path on both sides", "$[?(@.a == $[0].b)].a", "[{\"a\":1,\"b\":2},{\"a\":2}]", "2", NULL},
    {"a container differs from everything", "$[?(@.a != 1)].b", "[{\"a\":[1],\"b\":7}]", "7", NULL},
    {"a container equals nothing", "$[?(@.a == 1)].b", "[{\"a\":[1],\"b\":7}]", "", NULL},
    {"no precedence: a && b || c is a && (b || c)", "$[?(@.a && @.b || @.c)].i",
     "[{\"i\":1,\"c\":1},{\"i\":2,\"a\":1,\"c\":1},{\"i\":3,\"a\":1,\"b\":1}]", "2 3", NULL},
    {"no precedence: a || b && c is a || (b && c)", "$[?(@.a || @.b && @.c)].i",
     "[{\"i\":1,\"c\":1},{\"i\":2,\"a\":1},{\"i\":3,\"b\":1,\"c\":1},{\"i\":4,\"b\":1}]", "2 3",
     NULL},
    {"a regular expression", "$[?(@.a =~ /^b.d$/)].a", "[{\"a\":\"bed\"},{\"a\":\"bedding\"}]",
     "\"bed\"", NULL},
    {"its flag i", "$[?(@.a =~ /BED/i)].a", "[{\"a\":\"a bed\"}]", "\"a bed\"", NULL},
    {"only text matches", "$[?(@.a =~ /1/)].a", "[{\"a\":1}]", "", NULL},
    {"true, false, null", "$[?(@.a == true || @.b == null)].i",
     "[{\"i\":1,\"a\":true},{\"i\":2,\"b\":null},{\"i\":3,\"a\":false}]", "1 2", NULL},
    {"a quote in a literal", "$[?(@.a == 'it\\'s')].a", "[{\"a\":\"it's\"}]", "\"it's\"", NULL},
    {"a filter in a filter", "$[?(@.l[?(@.v == 1)])].i",
     "[{\"i\":1,\"l\":[{\"v\":1}]},{\"i\":2,\"l\":[]}]", "1", NULL},
    {"hexadecimal of lenient JSON", "$[?(@.a == 31)].a", "[{\"a\":0x1F}]", "0x1F", NULL},
    {"a time equals its own text", "$[?(@.t == '2026-03-14T10:00:00.50Z')].i", DATES, "1", ""},
    {"a time of the reference equals its ISO form", "$[?(@.t == '2026-03-14T10:00:00.5Z')].i",
     DATES, "", "1"},
    {"its offset is that of UTC", "$[?(@.t == '2026-03-14T10:00:00+00:00')].i", DATES, "", "2"},
    {"a time is not another text", "$[?(@.t != '2026-03-14T10:00:00.5Z')].i", DATES, "1 2", "2"},
    {"strictly a time is no text", "$[?(@.t === '2026-03-14T10:00:00.5Z')].i", DATES, "", NULL},
    {"times by path are compared as instants", "$[?(@.t == $[0].t)].i",
     "[{\"t\":\"2026-03-14T10:00:00Z\",\"i\":1},{\"t\":\"2026-03-14T12:00:00+02:00\",\"i\":2}]",
     "1", "1 2"},
    {"a text is never a time that stands right", "$[?('2026-03-14T10:00:00Z' == @.t)].i",
     "[{\"t\":\"2026-03-14T10:00:00Z\",\"i\":1}]", "1", ""},
    {"earlier, by text or by instant", "$[?(@.t < '2026-03-14T11:00:00Z')].i", DATES, "1", "1 2"},
    {"a time is compared with a day", "$[?(@.t > '03/14/2026')].i", DATES, "1 2", NULL},
    {"a time compared with what is none", "$[?(@.t > 'a')].i", DATES, "", "!jsonpath.compare"},
    {"a time compared with a number", "$[?(@.t > 5)].i", DATES, "!jsonpath.compare", NULL},
    {"/Date(ms)/ is a time there", "$[?(@.t == '2019-02-01T22:46:01Z')].i",
     "[{\"t\":\"/Date(1549061161000)/\",\"i\":1}]", "", "1"},
    {"a regular expression in quotes", "$[?(@.a =~ '/^B/i')].a", "[{\"a\":\"bed\"}]", "\"bed\"",
     NULL},
    {"a quoted one without slashes", "$[?(@.a =~ 'b')].a", "[{\"a\":\"bed\"}]", "!jsonpath.syntax",
     NULL},
    {"blanks count with the flag x", "$[?(@.a =~ /b d/x)].a", "[{\"a\":\"bd\"},{\"a\":\"b d\"}]",
     "\"b d\"", NULL},
    {"a slash in a regular expression", "$[?(@.a =~ /a\\/b/)].a", "[{\"a\":\"a/b\"}]", "\"a/b\"",
     NULL},
    {"flags m and s", "$[?(@.a =~ /^b.c$/ms)].a", "[{\"a\":\"x\\nb\\nc\"}]", "\"x\\nb\\nc\"", NULL},
    {"an unknown flag", "$[?(@.a =~ /b/q)].a", "[]", "!connector.regex", NULL},
    {"a name that is a star in quotes", "$['*']", "{\"*\":1,\"a\":2}", "1", NULL},
    {"a name that begins with $", "$type", "{\"$type\":1}", "1", NULL},
    {"a name that begins with $ below", "$.$type", "{\"$type\":1}", "1", NULL},
    {"a name in another script", "$.Temp\xc3\xa9rature", "{\"Temp\xc3\xa9rature\":1}", "1", NULL},
    {"blanks in brackets", "$[ 'a' , 'b' ]", "{\"a\":1,\"b\":2}", "1 2", NULL},
    {"blanks around an index", "$[ 0 ]", "[7]", "7", NULL},
    {"blanks before the path", "  $.a", "{\"a\":1}", "1", NULL},
    {"..[0] is of the token itself", "$..[0]", "[[1],[2]]", "[1]", NULL},
    {"..[*] is of the token itself", "$..[*]", "[[1],[2]]", "[1] [2]", NULL},
    {"..* below a name", "$.a..*", "{\"a\":{\"b\":[1]}}", "{\"b\":[1]} [1] 1", NULL},
    {"a scan with a name in brackets", "$..['a']", "{\"a\":{\"a\":1}}", "{\"a\":1} 1", NULL},
    {"a scan below a scan", "$..a..b", "{\"a\":{\"b\":{\"b\":1}}}", "{\"b\":1} 1", NULL},
    {"a filter on what a filter selected", "$[?(@.a)][?(@.b)]", "[{\"a\":1,\"b\":2}]", "", NULL},
    {"the token itself in a filter", "$[?(@ > 2)]", "[1,2,3]", "3", NULL},
    {"an index in a filter", "$[?(@[0] == 1)]", "[[1],[2]]", "[1]", NULL},
    {"a name in brackets in a filter", "$[?(@['a b'] == 1)].i", "[{\"a b\":1,\"i\":5}]", "5", NULL},
    {"a scan in a filter", "$.l[?(@..x == 1)].i", "{\"l\":[{\"i\":1,\"y\":{\"x\":1}},{\"i\":2}]}",
     "1", NULL},
    {"any of several right sides", "$.l[?(@.a == $.m[*])].a",
     "{\"l\":[{\"a\":1},{\"a\":2},{\"a\":3}],\"m\":[1,3]}", "1 3", NULL},
    {"any of several left sides", "$.l[?(@.a[*] == 2)].i", "{\"l\":[{\"a\":[1,2],\"i\":9}]}", "9",
     NULL},
    {"an empty right side is false", "$[?(@.a != $[0].x)].a", "[{\"a\":1}]", "", NULL},
    {"null equals null only", "$[?(@.a == null)].i",
     "[{\"a\":null,\"i\":1},{\"i\":2},{\"a\":0,\"i\":3},{\"a\":\"\",\"i\":4}]", "1", NULL},
    {"null is less than all", "$[?(@.a < 0)].i", "[{\"a\":null,\"i\":1},{\"a\":1,\"i\":2}]", "1",
     NULL},
    {"a number compared with its text", "$[?(@.a < '9')].a", "[{\"a\":7},{\"a\":10}]", "7", NULL},
    {"an integer compared with a text that is none", "$[?(@.a < '9.5')].a", "[{\"a\":7}]",
     "!jsonpath.compare", NULL},
    {"a real compared with a text", "$[?(@.a < '9.5')].a", "[{\"a\":7.5}]", "7.5", NULL},
    {"a text compared with a real", "$[?(@.a > 1.5)].a", "[{\"a\":\"2\"}]", "\"2\"", NULL},
    {"12.5 is no integer", "$[?(@.a > 1)].a", "[{\"a\":\"12.5\"}]", "!jsonpath.compare", NULL},
    {"a truth compared with a number", "$[?(@.a >= 5)].i", "[{\"a\":true,\"i\":1}]", "1", NULL},
    {"a truth compared with a text", "$[?(@.a >= 'false')].i", "[{\"a\":true,\"i\":1}]", "1", NULL},
    {"a negative literal", "$[?(@.a > -2)].a", "[{\"a\":-1},{\"a\":-3}]", "-1", NULL},
    {"a literal with an exponent", "$[?(@.a == 1e2)].a", "[{\"a\":100}]", "100", NULL},
    {"literals alone", "$[?(1 == 1)]", "[5]", "5", NULL},
    {"an escaped quote in a filter", "$[?(@.a == 'a\\'b')].i", "[{\"a\":\"a'b\",\"i\":1}]", "1",
     NULL},
    {"no blank before the operator", "$[?(@.a==1)].a", "[{\"a\":1}]", "1", NULL},
    {"three terms of one operator", "$[?(@.a && @.b && @.c)].i",
     "[{\"a\":1,\"b\":1,\"c\":1,\"i\":1},{\"a\":1,\"b\":1,\"i\":2}]", "1", NULL},
    {"a slice of a negative end", "$[:-1]", "[1,2,3]", "1 2", NULL},
    {"a slice beyond both ends", "$[-9:9]", "[1,2]", "1 2", NULL},
    {"a slice backwards between", "$[3:0:-1]", "[0,1,2,3,4]", "3 2 1", NULL},
    {"a slice backwards by two", "$[::-2]", "[0,1,2,3,4]", "4 2 0", NULL},
    {"a slice of an object", "$[0:1]", "{\"a\":1}", "", NULL},
    {"an index of an object", "$[0]", "{\"a\":1}", "", NULL},
    {"parentheses around a name", "$('a')", "{\"$\":{\"a\":1}}", "1", NULL},
    {"parentheses behind a dot", "$.l(?(@.a == 1)).a", "{\"l\":[{\"a\":1}]}", "1", NULL},
    {"blank", " ", "1", "!jsonpath.syntax", NULL},
    {"open bracket", "$.a[", "1", "!jsonpath.syntax", NULL},
    {"open filter", "$..[?(@.a", "1", "!jsonpath.syntax", NULL},
    {"dot at the end", "$.a.", "1", "!jsonpath.syntax", NULL},
    {"text after the path", "$.a b", "1", "!jsonpath.syntax", NULL},
    {"text after brackets", "$[0]a", "1", "!jsonpath.syntax", NULL},
    {"double quotes", "$[\"a\"]", "1", "!jsonpath.syntax", NULL},
    {"no operator", "$[?(@.a % 2)]", "1", "!jsonpath.syntax", NULL},
    {"one ampersand", "$[?(@.a & @.b)]", "1", "!jsonpath.syntax", NULL},
    {"an escape that does not exist", "$[?(@.a == '\\u00e9')]", "1", "!jsonpath.syntax", NULL},
    {"nor in a name", "$['a\\d']", "1", "!jsonpath.syntax", NULL},
    {"the escapes that do", "$['\\b\\f\\n\\r\\t\\\\\\\"\\'\\/']",
     "{\"\\b\\f\\n\\r\\t\\\\\\\"'/\":1}", "1", NULL},
    {"a step of nought", "$[::0]", "1", "!jsonpath.syntax", NULL},
    {"a look-ahead is refused", "$[?(@.a =~ /(?=x)/)]", "1", "!connector.regex", NULL},
    {"a back-reference is refused", "$[?(@.a =~ /(a)\\1/)]", "1", "!connector.regex", NULL},
};

static void test_rows(void)
{
    for (size_t k = 0; k < 2 * sizeof(rows) / sizeof(rows[0]); k++) {
        size_t i = k / 2;
        const char *got = run(rows[i].path, rows[i].json, k % 2, 10000);
        const char *want = k % 2 && rows[i].medtech ? rows[i].medtech : rows[i].want;

        CHECK_ROW(rows[i].name);
        if (!CHECK(strcmp(got, want) == 0))
            printf("  got %s\n", got);
    }
}

static void test_budget(void)
{
    CHECK(strcmp(run("$..*", ward, false, 5), "!jsonpath.budget") == 0);
    CHECK(strcmp(run("$[?(@.a =~ /(x+x+)+y/)]", "[{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]",
                     false, 20),
                 "!jsonpath.budget") == 0);
    /* What would take a backtracking engine for ever is linear here. */
    CHECK(strcmp(run("$[?(@.a =~ /(x+x+)+y/)]", "[{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]",
                     false, 5000),
                 "") == 0);
}

int main(void)
{
    RUN(test_rows);
    RUN(test_budget);
    return vg_test_report();
}
