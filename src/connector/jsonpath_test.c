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

/* What `path` selects from `json`, joined by blanks; "!code" when it fails. */
static const char *run(const char *path, const char *json, uint64_t steps)
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
        jsonpath_compile(&arena, vg_slice_of(path), false, &compiled, &err) != VG_OK ||
        jsonpath_each(compiled, root, &steps, print_hit, &hits, &err) != VG_OK)
        (void)snprintf(hits.text, sizeof(hits.text), "!%s", err.code);
    vg_arena_fini(&arena);
    return hits.text;
}

static const char ward[] = "{\"Body\":{\"hr\":72,\"t\":\"abc\",\"n\":null,\"list\":[1,2,3,4],"
                           "\"e\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"v\":2.0},{\"k\":\"c\"}]},"
                           "\"Properties\":{\"hr\":\"9\"}}";

static const struct {
    const char *name, *path, *json, *want;
} rows[] = {
    {"a name below the root", "$.Body.hr", ward, "72"},
    {"the leading $ may be left out", "Body.hr", ward, "72"},
    {"$ alone is the root", "$", "5", "5"},
    {"a name in brackets", "$['Body']['hr']", ward, "72"},
    {"two names in brackets, in the order asked for", "$.Body['t','hr']", ward, "\"abc\" 72"},
    {"a member that is not there", "$.Body.x.y", ward, ""},
    {"a name on an array selects nothing", "$.Body.list.x", ward, ""},
    {"names are case-sensitive", "$.body.hr", ward, ""},
    {"names with hyphens need no quotes", "$.a-b", "{\"a-b\":1}", "1"},
    {"an index", "$.Body.list[2]", ward, "3"},
    {"several indexes", "$.Body.list[3,0]", ward, "4 1"},
    {"an index beyond the end", "$.Body.list[9]", ward, ""},
    {"a negative index is an error", "$.Body.list[-1]", ward, "!jsonpath.index"},
    {"a slice", "$.Body.list[1:3]", ward, "2 3"},
    {"a slice from the end", "$.Body.list[-2:]", ward, "3 4"},
    {"a slice with a step", "$.Body.list[::2]", ward, "1 3"},
    {"a slice backwards", "$.Body.list[::-1]", ward, "4 3 2 1"},
    {"all elements", "$.Body.list[*]", ward, "1 2 3 4"},
    {"[*] takes no members", "$.Body[*]", ward, ""},
    {".* takes no elements", "$.Body.list.*", ward, ""},
    {".* takes members", "$.Properties.*", ward, "\"9\""},
    {"parentheses are brackets", "$.Body.list(1)", ward, "2"},
    {"scan in document order", "$..hr", ward, "72 \"9\""},
    {"scan goes into what it found", "$..a", "{\"a\":{\"a\":1}}", "{\"a\":1} 1"},
    {"scan of two names", "$..['k','v']", ward, "\"a\" 1 \"b\" 2.0 \"c\""},
    {"scan of everything tells the root too", "$..*", "{\"a\":[1]}", "{\"a\":[1]} [1] 1"},
    {"filter on elements", "$.Body.e[?(@.v == 2)].k", ward, "\"b\""},
    {"integer equals real", "$.Body.e[?(@.v == 1.0)].k", ward, "\"a\""},
    {"the dot after @ may be left out", "$.Body.e[?(@v == 1)].k", ward, "\"a\""},
    {"a filter on an object tests nothing", "$.Body[?(@.k)]", ward, ""},
    {"a scanning filter tests the root first", "$..[?(@Body.hr)].Properties.hr", ward, "\"9\""},
    {"existence finds explicit nulls", "$..[?(@n)].hr", ward, "72"},
    {"not null", "$..[?(@n != null)].hr", ward, ""},
    {"a nested match is another match", "$..[?(@a)]", "{\"a\":{\"a\":1}}",
     "{\"a\":{\"a\":1}} {\"a\":1}"},
    {"text never equals number", "$.Body.e[?(@.k == 1)]", ward, ""},
    {"an empty left side is false, also for !=", "$.Body.e[?(@.v != 1)].k", ward, "\"b\""},
    {"<> is !=", "$.Body.e[?(@.v <> 1)].k", ward, "\"b\""},
    {"text compares with a number that it says", "$[?(@.a > 99)].a",
     "[{\"a\":\"101\"},{\"a\":\"7\"}]", "\"101\""},
    {"text that is not a number is an error", "$[?(@.a > 99)].a", "[{\"a\":\"abc\"}]",
     "!jsonpath.compare"},
    {"text orders by code", "$[?(@.a >= 'b')].a", "[{\"a\":\"a\"},{\"a\":\"b\"}]", "\"b\""},
    {"strict equality", "$[?(@.a === 1)].a", "[{\"a\":1},{\"a\":\"1\"}]", "1"},
    {"strict inequality", "$[?(@.a !== 1)].a", "[{\"a\":1},{\"a\":\"1\"}]", "\"1\""},
    {"a path on both sides", "$[?(@.a == $[0].b)].a", "[{\"a\":1,\"b\":2},{\"a\":2}]", "2"},
    {"a container differs from everything", "$[?(@.a != 1)].b", "[{\"a\":[1],\"b\":7}]", "7"},
    {"a container equals nothing", "$[?(@.a == 1)].b", "[{\"a\":[1],\"b\":7}]", ""},
    {"no precedence: a && b || c is a && (b || c)", "$[?(@.a && @.b || @.c)].i",
     "[{\"i\":1,\"c\":1},{\"i\":2,\"a\":1,\"c\":1},{\"i\":3,\"a\":1,\"b\":1}]", "2 3"},
    {"no precedence: a || b && c is a || (b && c)", "$[?(@.a || @.b && @.c)].i",
     "[{\"i\":1,\"c\":1},{\"i\":2,\"a\":1},{\"i\":3,\"b\":1,\"c\":1},{\"i\":4,\"b\":1}]", "2 3"},
    {"a regular expression", "$[?(@.a =~ /^b.d$/)].a", "[{\"a\":\"bed\"},{\"a\":\"bedding\"}]",
     "\"bed\""},
    {"its flag i", "$[?(@.a =~ /BED/i)].a", "[{\"a\":\"a bed\"}]", "\"a bed\""},
    {"only text matches", "$[?(@.a =~ /1/)].a", "[{\"a\":1}]", ""},
    {"true, false, null", "$[?(@.a == true || @.b == null)].i",
     "[{\"i\":1,\"a\":true},{\"i\":2,\"b\":null},{\"i\":3,\"a\":false}]", "1 2"},
    {"a quote in a literal", "$[?(@.a == 'it\\'s')].a", "[{\"a\":\"it's\"}]", "\"it's\""},
    {"a filter in a filter", "$[?(@.l[?(@.v == 1)])].i",
     "[{\"i\":1,\"l\":[{\"v\":1}]},{\"i\":2,\"l\":[]}]", "1"},
    {"hexadecimal of lenient JSON", "$[?(@.a == 31)].a", "[{\"a\":0x1F}]", "0x1F"},
    {"blank", " ", "1", "!jsonpath.syntax"},
    {"open bracket", "$.a[", "1", "!jsonpath.syntax"},
    {"open filter", "$..[?(@.a", "1", "!jsonpath.syntax"},
    {"dot at the end", "$.a.", "1", "!jsonpath.syntax"},
    {"text after the path", "$.a b", "1", "!jsonpath.syntax"},
    {"text after brackets", "$[0]a", "1", "!jsonpath.syntax"},
    {"double quotes", "$[\"a\"]", "1", "!jsonpath.syntax"},
    {"no operator", "$[?(@.a % 2)]", "1", "!jsonpath.syntax"},
    {"one ampersand", "$[?(@.a & @.b)]", "1", "!jsonpath.syntax"},
    {"a step of nought", "$[::0]", "1", "!jsonpath.syntax"},
    {"a look-ahead is refused", "$[?(@.a =~ /(?=x)/)]", "1", "!connector.regex"},
    {"a back-reference is refused", "$[?(@.a =~ /(a)\\1/)]", "1", "!connector.regex"},
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *got = run(rows[i].path, rows[i].json, 10000);

        CHECK_ROW(rows[i].name);
        if (!CHECK(strcmp(got, rows[i].want) == 0))
            printf("  got %s\n", got);
    }
}

static void test_budget(void)
{
    CHECK(strcmp(run("$..*", ward, 5), "!jsonpath.budget") == 0);
    CHECK(
        strcmp(run("$[?(@.a =~ /(x+x+)+y/)]", "[{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]", 20),
               "!jsonpath.budget") == 0);
    /* What would take a backtracking engine for ever is linear here. */
    CHECK(strcmp(run("$[?(@.a =~ /(x+x+)+y/)]", "[{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]",
                     5000),
                 "") == 0);
}

int main(void)
{
    RUN(test_rows);
    RUN(test_budget);
    return vg_test_report();
}
