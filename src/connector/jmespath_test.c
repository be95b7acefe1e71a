/* jmespath_test.c -- JMESPath: grammar, built-ins, custom functions, refusals. */
#include "connector/jmespath.h"

#include "base/buf.h"
#include "vg_test.h"

static struct vg_buf out;

static void print(const struct vg_json *value)
{
    const char *glue = "";

    switch (value->type) {
    case VG_JSON_NULL:
        vg_buf_printf(&out, "null");
        break;
    case VG_JSON_FALSE:
    case VG_JSON_TRUE:
        vg_buf_printf(&out, "%s", value->type == VG_JSON_TRUE ? "true" : "false");
        break;
    case VG_JSON_NUMBER:
        vg_buf_put(&out, value->text);
        break;
    case VG_JSON_STRING:
        vg_json_escape(&out, value->text);
        break;
    case VG_JSON_ARRAY:
    case VG_JSON_OBJECT:
        vg_buf_printf(&out, "%s", value->type == VG_JSON_ARRAY ? "[" : "{");
        for (const struct vg_json *i = value->child; i; i = i->next, glue = ",") {
            vg_buf_printf(&out, "%s", glue);
            if (value->type == VG_JSON_OBJECT)
                vg_buf_printf(&out, "%.*s:", VG_FMT(i->name));
            print(i);
        }
        vg_buf_printf(&out, "%s", value->type == VG_JSON_ARRAY ? "]" : "}");
        break;
    }
}

/* The result as JSON (names without quotes), '*' in front of a projection's; "!code" on failure. */
static const char *run(const char *expression, const char *json, bool is_medtech, uint64_t steps)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    const struct jmespath *compiled;
    const struct vg_json *result;
    struct vg_arena arena;
    struct vg_json *root;
    struct vg_err err = {0};
    bool is_projection;

    vg_buf_clear(&out);
    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, vg_slice_of(json), &lenient, &root, NULL, &err) != VG_OK ||
        jmespath_compile(&arena, vg_slice_of(expression), is_medtech, &compiled, &err) != VG_OK ||
        jmespath_run(compiled, root, &arena, &steps, &result, &is_projection, &err) != VG_OK) {
        vg_buf_printf(&out, "!%s", err.code);
    } else {
        if (is_projection)
            vg_buf_printf(&out, "*");
        print(result);
    }
    vg_buf_put_byte(&out, 0);
    vg_arena_fini(&arena);
    return out.ptr;
}

#define WARD                                                                                       \
    "{\"bed\":\"4\",\"hr\":72,\"t\":36.8,\"on\":true,\"off\":false,\"none\":null,\"e\":\"\","      \
    "\"l\":"                                                                                       \
    "[3,1,2],\"o\":{\"x\":1,\"y\":{\"z\":2}},\"r\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"v\":2},"  \
    "{\"k\":\"c\"}],\"n\":[[1,2],[3,[4]],5],\"d\":\"2026-03-14T10:00:00Z\",\"a-b\":9}"

static const struct {
    const char *name, *expression, *want;
    const char *medtech; /* NULL: the same */
} rows[] = {
    {"a field", "hr", "72", NULL},
    {"a field that is not there", "nothing", "null", NULL},
    {"a field of a field", "o.y.z", "2", NULL},
    {"a field of what has none", "hr.x", "null", NULL},
    {"a field of an array", "l.x", "null", NULL},
    {"a quoted name", "\"a-b\"", "9", NULL},
    {"a quoted name with an escape", "o.\"\\u0078\"", "1", NULL},
    {"blanks and line ends do not count", " o .\n y . z ", "2", NULL},
    {"the token itself", "@.hr", "72", NULL},
    {"an index", "l[0]", "3", NULL},
    {"an index from the end", "l[-1]", "2", NULL},
    {"an index beyond the end", "l[3]", "null", NULL},
    {"an index before the start", "l[-4]", "null", NULL},
    {"an index of an object", "o[0]", "null", NULL},
    {"two indexes", "n[1][1][0]", "4", NULL},
    {"an index of the root", "[0]", "null", NULL},
    {"a slice", "l[1:]", "*[1,2]", NULL},
    {"a slice with an end", "l[:2]", "*[3,1]", NULL},
    {"a slice from the end", "l[-2:]", "*[1,2]", NULL},
    {"a slice with a step", "l[::2]", "*[3,2]", NULL},
    {"a slice backwards", "l[::-1]", "*[2,1,3]", NULL},
    {"a slice backwards between", "l[2:0:-1]", "*[2,1]", NULL},
    {"a slice beyond both ends", "l[-9:9]", "*[3,1,2]", NULL},
    {"a slice of nothing", "l[2:1]", "*[]", NULL},
    {"a slice of a text", "bed[0:1]", "null", NULL},
    {"a slice is a projection", "r[1:].k", "*[\"b\",\"c\"]", NULL},
    {"a step of 0", "l[::0]", "!jmespath.syntax", NULL},
    {"a list projection leaves nulls out", "r[*].v", "*[1,2]", NULL},
    {"a list projection of an object", "o[*]", "null", NULL},
    {"an index in a projection is of each element", "n[*][0]", "*[1,3]", NULL},
    {"a pipe ends a projection", "n[*] | [0]", "[1,2]", NULL},
    {"parentheses end a projection", "(r[*].k)[0]", "\"a\"", NULL},
    {"a value projection", "o.*", "*[1,{z:2}]", NULL},
    {"a value projection goes on", "o.*.z", "*[2]", NULL},
    {"a value projection of an array", "l.*", "null", NULL},
    {"a value projection of the root", "*.z", "*[]", NULL},
    {"a projection in a projection", "*.*.z", "*[[2]]", NULL},
    {"flatten one level", "n[]", "*[1,2,3,[4],5]", NULL},
    {"flatten two levels", "n[][]", "*[1,2,3,4,5]", NULL},
    {"flatten goes on", "r[].k", "*[\"a\",\"b\",\"c\"]", NULL},
    {"flatten of no array", "hr[]", "null", NULL},
    {"a filter", "r[?v == `2`].k", "*[\"b\"]", NULL},
    {"a filter with a raw text", "r[?k == 'c'].k | [0]", "\"c\"", NULL},
    {"a filter by existence", "r[?v].k", "*[\"a\",\"b\"]", NULL},
    {"a filter with not", "r[?!v].k", "*[\"c\"]", NULL},
    {"a filter that nothing passes", "r[?v > `5`]", "*[]", NULL},
    {"a filter of an object", "o[?x]", "null", NULL},
    {"to_array lets an object be filtered", "to_array(o)[?x].y.z", "*[2]", NULL},
    {"a filter, then flatten", "n[?@ != `5`][]", "*[1,2,3,[4]]", NULL},
    {"and binds tighter than or", "r[?v == `1` || v == `2` && k == 'b'].k", "*[\"a\",\"b\"]", NULL},
    {"parentheses group", "r[?(v == `1` || v == `2`) && k == 'b'].k", "*[\"b\"]", NULL},
    {"not is of the whole path", "!o.nothing", "true", NULL},
    {"not binds tighter than a comparison", "!nothing == on", "true", NULL},
    {"not binds tighter than and", "!off && hr", "72", NULL},
    {"or gives the first that is true", "nothing || bed", "\"4\"", NULL},
    {"or gives the last otherwise", "off || none", "null", NULL},
    {"and gives the first that is false", "e && hr", "\"\"", NULL},
    {"zero is true", "`0` && 'yes'", "\"yes\"", NULL},
    {"an empty text is false", "!e", "true", NULL},
    {"an empty list is false", "!`[]`", "true", NULL},
    {"an empty object is false", "!`{}`", "true", NULL},
    {"null is false", "!none", "true", NULL},
    {"a multi-select list", "[hr, bed]", "[72,\"4\"]", NULL},
    {"a multi-select list is no projection", "r[0].[k, v]", "[\"a\",1]", NULL},
    {"a multi-select list of each", "r[*].[k, v]", "*[[\"a\",1],[\"b\",2],[\"c\",null]]", NULL},
    {"a multi-select hash", "{a: hr, \"b c\": o.x}", "{a:72,b c:1}", NULL},
    {"the last of one name counts", "{a: hr, b: bed, a: t}", "{a:36.8,b:\"4\"}", NULL},
    {"a multi-select of nothing", "nothing.[a, b]", "null", NULL},
    {"a multi-select hash of nothing", "nothing.{a: b}", "null", NULL},
    {"a literal", "`{\"a\": [1, null]}`", "{a:[1,null]}", NULL},
    {"a literal with a backtick", "`\"a\\`b\"`", "\"a`b\"", NULL},
    {"a raw text keeps its backslashes", "'a\\nb'", "\"a\\\\nb\"", NULL},
    {"a raw text with a quote", "'it\\'s'", "\"it's\"", NULL},
    {"an empty raw text", "''", "\"\"", NULL},
    {"an integer equals a real", "`1` == `1.0`", "true", NULL},
    {"a text is no number", "bed == `4`", "false", NULL},
    {"objects are equal whatever the order", "`{\"a\":1,\"b\":2}` == `{\"b\":2,\"a\":1}`", "true",
     NULL},
    {"objects of other sizes are not", "`{\"a\":1}` == `{\"a\":1,\"b\":2}`", "false", NULL},
    {"lists are equal by their elements", "l == `[3,1,2]`", "true", NULL},
    {"lists of other lengths are not", "l != `[3,1]`", "true", NULL},
    {"null equals null", "none == nothing", "true", NULL},
    {"numbers are ordered", "hr >= `72` && t < `37`", "true", NULL},
    {"a text has no order against a number", "bed < `5`", "null", NULL},
    {"nor against a text", "'a' < 'b'", "null", NULL},
    {"abs", "abs(`-5`)", "5", NULL},
    {"abs of a real", "abs(`-5.5`)", "5.5", NULL},
    {"abs of a large integer", "abs(`-3000000000`)", "3000000000", "!jmespath.range"},
    {"avg", "avg(l)", "2.0", NULL},
    {"avg of nothing", "avg(`[]`)", "null", NULL},
    {"avg of a text", "avg(`[\"a\"]`)", "!jmespath.type", NULL},
    {"ceil", "ceil(t)", "37", NULL},
    {"ceil of a negative one", "ceil(`-1.5`)", "-1", NULL},
    {"floor", "floor(t)", "36", NULL},
    {"contains in a text", "contains('abc', 'bc')", "true", NULL},
    {"contains the empty text", "contains(e, '')", "true", NULL},
    {"a text contains no number", "contains('123', `2`)", "false", NULL},
    {"contains in a list", "contains(l, `2`)", "true", NULL},
    {"a list does not contain", "contains(l, '2')", "false", NULL},
    {"contains in a number", "contains(hr, '7')", "!jmespath.type", NULL},
    {"starts_with", "starts_with('abc', 'ab')", "true", NULL},
    {"starts_with more than there is", "starts_with('a', 'ab')", "false", NULL},
    {"ends_with", "ends_with('abc', 'bc')", "true", NULL},
    {"ends_with of nothing", "ends_with('abc', '')", "true", NULL},
    {"ends_with of null", "ends_with(nothing, 'a')", "!jmespath.type", NULL},
    {"join", "join('-', ['a', 'b', 'c'])", "\"a-b-c\"", NULL},
    {"join with nothing", "join('', r[*].k)", "\"abc\"", NULL},
    {"join of nothing", "join(',', `[]`)", "\"\"", NULL},
    {"join of numbers", "join(',', l)", "!jmespath.type", NULL},
    {"keys", "keys(o)", "[\"x\",\"y\"]", NULL},
    {"keys of a list", "keys(l)", "!jmespath.type", NULL},
    {"values", "values(o)", "[1,{z:2}]", NULL},
    {"length of a text is in characters", "length('\xc3\xa4\xf0\x9f\x98\x80')", "2", NULL},
    {"length of a list", "length(l)", "3", NULL},
    {"length of an object", "length(o)", "2", NULL},
    {"length of a number", "length(hr)", "!jmespath.type", NULL},
    {"map keeps nulls", "map(&v, r)", "[1,2,null]", NULL},
    {"map without &", "map(v, r)", "!jmespath.type", NULL},
    {"max", "max(l)", "3", NULL},
    {"max of texts", "max(['a', 'c', 'b'])", "\"c\"", NULL},
    {"max of nothing", "max(`[]`)", "null", NULL},
    {"max of both", "max(`[1, \"a\"]`)", "!jmespath.type", NULL},
    {"min", "min(l)", "1", NULL},
    {"max_by", "max_by(r[:2], &v).k", "\"b\"", NULL},
    {"max_by with a key that is missing", "max_by(r, &v)", "!jmespath.type", NULL},
    {"max_by of nothing", "max_by(`[]`, &v)", "null", NULL},
    {"min_by of texts", "min_by(r, &k).v", "1", NULL},
    {"merge", "merge(`{\"a\":1,\"b\":1}`, `{\"b\":2}`)", "{a:1,b:2}", NULL},
    {"merge of a list", "merge(l)", "!jmespath.type", NULL},
    {"not_null", "not_null(nothing, none, bed)", "\"4\"", NULL},
    {"not_null of nulls", "not_null(none)", "null", NULL},
    {"reverse of a list", "reverse(l)", "[2,1,3]", NULL},
    {"reverse of a text",
     "reverse('a\xc3\xa4"
     "b')",
     "\"b\xc3\xa4"
     "a\"",
     NULL},
    {"sort", "sort(l)", "[1,2,3]", NULL},
    {"sort of texts", "sort(['b', 'a', 'B'])", "[\"B\",\"a\",\"b\"]", NULL},
    {"sort of nothing", "sort(`[]`)", "[]", NULL},
    {"sort of large integers", "sort(`[3000000000, 1]`)", "[1,3000000000]", "!jmespath.range"},
    {"sort_by", "sort_by(r, &k)[::-1].k", "*[\"c\",\"b\",\"a\"]", NULL},
    {"sort_by keeps the order of equals",
     "sort_by([{a: `1`, b: 'x'}, {a: `0`, b: 'y'}, {a: `1`, "
     "b: 'z'}], &a)[].b",
     "*[\"y\",\"x\",\"z\"]", NULL},
    {"sum", "sum(l)", "6", NULL},
    {"sum of nothing", "sum(`[]`)", "0", NULL},
    {"sum of reals", "sum(`[0.5, 0.25]`)", "0.75", NULL},
    {"sum of reals that is an integer", "sum(`[0.5, 0.5]`)", "1", NULL},
    {"to_array of an array", "to_array(l)", "[3,1,2]", NULL},
    {"to_array of anything else", "to_array(hr)", "[72]", NULL},
    {"to_number of an integer", "to_number('72')", "72", NULL},
    {"to_number of a decimal", "to_number(' 1.50 ')", "1.5", NULL},
    {"to_number with an exponent", "to_number('1e3')", "1000.0", NULL},
    {"to_number with thousands", "to_number('1,000')", "null", NULL},
    {"to_number of no number", "to_number('abc')", "null", NULL},
    {"to_number of an object", "to_number(o)", "null", NULL},
    {"to_number of a number", "to_number(t)", "36.8", NULL},
    {"to_string of a text", "to_string(bed)", "\"4\"", NULL},
    {"to_string of an object", "to_string(o)", "\"{\\\"x\\\":1,\\\"y\\\":{\\\"z\\\":2}}\"", NULL},
    {"to_string of a number", "to_string(`1.50`)", "\"1.5\"", NULL},
    {"to_string of a Boolean", "to_string(on)", "\"true\"", NULL},
    {"to_string of null", "to_string(none)", "\"null\"", NULL},
    {"type", "[type(hr), type(bed), type(on), type(l), type(o), type(none)]",
     "[\"number\",\"string\",\"boolean\",\"array\",\"object\",\"null\"]", NULL},
    {"a function of each element", "l[*].add(@, `1`)", "*[4,2,3]", NULL},
    {"a function behind a dot", "o.y.to_string(z)", "\"2\"", NULL},
    {"blanks before the parenthesis", "length (l)", "3", NULL},

    {"either of two projections", "nothing[*].a || l[*]", "*[3,1,2]", NULL},
    {"both of two projections", "r[*].k && l[*]", "*[3,1,2]", NULL},
    {"a projection that is empty is false", "l[?@ > `9`] || r[*].k", "*[\"a\",\"b\",\"c\"]", NULL},
    {"a list or a projection is a list", "l || r[*].k", "[3,1,2]", NULL},
    {"a projection behind a pipe", "o | *.z", "*[2]", NULL},
    {"a function behind a pipe ends it", "r[*].k | sort(@)", "[\"a\",\"b\",\"c\"]", NULL},
    {"the token itself behind a pipe ends it", "r[*].k | @", "[\"a\",\"b\",\"c\"]", NULL},
    {"an index in a projection leaves out what has none", "n[*][1]", "*[2,[4]]", NULL},
    {"a projection of nothing is nothing", "nothing[*]", "null", NULL},
    {"a hash of each", "r[*].{n: k}", "*[{n:\"a\"},{n:\"b\"},{n:\"c\"}]", NULL},
    {"a comparison in a multi-select", "[hr > `1`, hr == `1`]", "[true,false]", NULL},
    {"a filter in a filter", "`[{\"l\":[{\"a\":1}]},{\"l\":[]}]`[?l[?a]] | length(@)", "1", NULL},
    {"a filter by a function", "r[?contains(['a', 'c'], k)].k", "*[\"a\",\"c\"]", NULL},
    {"not not", "!!hr", "true", NULL},
    {"a literal's field", "`{\"a\": {\"b\": 5}}`.a.b", "5", NULL},
    {"floor below nought", "floor(`-1.2`)", "-2", NULL},
    {"floor of a text", "floor(bed)", "!jmespath.type", NULL},
    {"ceil of a text", "ceil(bed)", "!jmespath.type", NULL},
    {"abs of a text", "abs(bed)", "!jmespath.type", NULL},
    {"keys of an empty object", "keys(`{}`)", "[]", NULL},
    {"values of a list", "values(l)", "!jmespath.type", NULL},
    {"min of texts", "min(['b', 'a'])", "\"a\"", NULL},
    {"min of nothing", "min(`[]`)", "null", NULL},
    {"min of a text", "min(bed)", "!jmespath.type", NULL},
    {"min_by of numbers", "min_by(r[:2], &v).k", "\"a\"", NULL},
    {"min_by without &", "min_by(r, k)", "!jmespath.type", NULL},
    {"sort_by of both", "sort_by(`[{\"a\":1},{\"a\":\"x\"}]`, &a)", "!jmespath.type", NULL},
    {"sort of both", "sort(`[1, \"a\"]`)", "!jmespath.type", NULL},
    {"sort of an object", "sort(o)", "!jmespath.type", NULL},
    {"reverse of a number", "reverse(hr)", "!jmespath.type", NULL},
    {"starts_with of a number", "starts_with(hr, '7')", "!jmespath.type", NULL},
    {"sum of texts", "sum(['a'])", "!jmespath.type", NULL},
    {"map over an object", "map(&@, o)", "!jmespath.type", NULL},
    {"merge of three", "merge(`{}`, `{\"a\":1}`, `{\"a\":2}`)", "{a:2}", NULL},
    {"not_null of an expression", "not_null(&hr)", "!jmespath.type", NULL},
    {"to_array of null", "to_array(nothing)", "[null]", NULL},
    {"to_number of a Boolean", "to_number(on)", "null", NULL},
    {"to_number of null", "to_number(nothing)", "null", NULL},
    {"to_string of a list", "to_string(l)", "\"[3,1,2]\"", NULL},

    {"add", "add(hr, `1`)", "73", NULL},
    {"add of a real", "add(hr, `0.5`)", "72.5", NULL},
    {"a real stays one", "add(`0.5`, `0.5`)", "1.0", NULL},
    {"add of a text", "add(bed, `1`)", "!jmespath.type", NULL},
    {"add beyond 64 bits", "add(`9223372036854775807`, `1`)", "!jmespath.range",
     "-9223372036854775808"},
    {"subtract", "subtract(hr, `80`)", "-8", NULL},
    {"subtract beyond 64 bits", "subtract(`-9223372036854775808`, `1`)", "!jmespath.range",
     "9223372036854775807"},
    {"multiply", "multiply(hr, `2`)", "144", NULL},
    {"multiply of reals", "multiply(`72`, `0.0254`)", "1.8288", NULL},
    {"multiply beyond 64 bits", "multiply(`4611686018427387904`, `2`)", "!jmespath.range",
     "-9223372036854775808"},
    {"divide of integers", "divide(`40`, `50`)", "0.8", "0"},
    {"divide of integers that goes up", "divide(`-80`, `20`)", "-4", NULL},
    {"divide towards zero", "divide(`-7`, `2`)", "-3.5", "-3"},
    {"divide of reals", "divide(`40.0`, `50`)", "0.8", NULL},
    {"divide by 0", "divide(hr, `0`)", "!jmespath.range", NULL},
    {"divide by 0.0", "divide(hr, `0.0`)", "!jmespath.range", "Infinity"},
    {"divide of 0.0 by 0.0", "divide(`0.0`, `0.0`)", "!jmespath.range", "NaN"},
    {"divide of the least integer", "divide(`-9223372036854775808`, `-1`)", "!jmespath.range",
     NULL},
    {"pow", "pow(`2`, `10`)", "1024", NULL},
    {"pow by way of a real", "pow(`3`, `39`)", "4052555153018976256", NULL},
    {"pow of a half", "pow(`2`, `-1`)", "0.5", "0"},
    {"pow of reals", "pow(`2.0`, `-1`)", "0.5", NULL},
    {"pow of a nought", "pow(`0`, `-1`)", "!jmespath.range", NULL},
    {"pow of 0.0", "pow(`0.0`, `-1`)", "!jmespath.range", "Infinity"},
    {"a root of less than nothing", "pow(`-8`, `0.5`)", "!jmespath.range", "NaN"},
    {"multiply beyond what a real holds", "multiply(`1e308`, `10`)", "!jmespath.range", "Infinity"},
    {"subtract below it", "subtract(`-1.7e308`, `1.7e308`)", "!jmespath.range", "-Infinity"},
    {"pow beyond 64 bits", "pow(`10`, `19`)", "!jmespath.range", NULL},
    {"insertString", "insertString('abc', 'X', `1`)", "\"aXbc\"", NULL},
    {"insertString at the end", "insertString('abc', 'X', `3`)", "\"abcX\"", NULL},
    {"insertString beyond the end", "insertString('abc', 'X', `4`)", "!jmespath.range", NULL},
    {"insertString before the start", "insertString('abc', 'X', `-1`)", "!jmespath.range", NULL},
    {"insertString counts UTF-16", "insertString('\xf0\x9f\x98\x80z', 'X', `2`)",
     "\"\xf0\x9f\x98\x80Xz\"", NULL},
    {"insertString inside a character", "insertString('\xf0\x9f\x98\x80z', 'X', `1`)",
     "!jmespath.range", NULL},
    {"insertString at a real", "insertString('abc', 'X', `1.0`)", "!jmespath.type", NULL},
    {"fromUnixTimestamp", "fromUnixTimestamp(`1549061161`)", "\"2019-02-01T22:46:01Z\"", NULL},
    {"fromUnixTimestamp before 1970", "fromUnixTimestamp(`-1`)", "\"1969-12-31T23:59:59Z\"", NULL},
    {"fromUnixTimestamp of a real", "fromUnixTimestamp(`1.5`)", "!jmespath.type", NULL},
    {"fromUnixTimestamp of a text", "fromUnixTimestamp('1')", "!jmespath.type", NULL},
    {"the first second", "fromUnixTimestamp(`-62135596800`)", "\"0001-01-01T00:00:00Z\"", NULL},
    {"the last second", "fromUnixTimestamp(`253402300799`)", "\"9999-12-31T23:59:59Z\"", NULL},
    {"beyond the last", "fromUnixTimestamp(`253402300800`)", "!jmespath.range", NULL},
    {"far beyond", "fromUnixTimestamp(`9223372036854775807`)", "!jmespath.range", NULL},
    {"fromUnixTimestampMs", "fromUnixTimestampMs(`1549061161875`)", "\"2019-02-01T22:46:01.875Z\"",
     NULL},
    {"a time is a string", "type(d)", "\"string\"", NULL},
    {"a time is its text", "d == '2026-03-14T10:00:00Z'", "true", "false"},
    {"a time contains", "contains(d, '2026')", "true", "false"},
    {"a time's length", "length(d)", "20", "19"},
    {"a time equals the same time elsewhere",
     "fromUnixTimestamp(`1773482400`) == `\"2026-03-14T12:00:00+02:00\"`", "false", "true"},
    {"a time equals a time", "d == fromUnixTimestamp(`1773482400`)", "true", NULL},
};

static void test_rows(void)
{
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        const char *want = i % 2 && rows[i / 2].medtech ? rows[i / 2].medtech : rows[i / 2].want;
        const char *got = run(rows[i / 2].expression, WARD, i % 2, 100000);

        CHECK_ROW(rows[i / 2].name);
        if (!CHECK(strcmp(got, want) == 0))
            printf("  %s: got %s\n", rows[i / 2].expression, got);
    }
}

static const struct {
    const char *name, *expression, *error;
} refused[] = {
    {"nothing", "", "expected an expression, found the end at character 1"},
    {"blanks alone", "  ", "found the end"},
    {"a dot at the end", "a.", "expected a name, *, [ or { behind ., found the end at character 3"},
    {"two dots", "a..b", "found '.' at character 3"},
    {"a number as a name", "a.1", "found '1' at character 3"},
    {"a bracket that is not closed", "a[0", "expected an index, : or ], found the end"},
    {"a name in brackets behind a name", "a[b]", "expected an index, : or *, found 'b'"},
    {"a multi-select without an end", "[a, b", "expected , or ], found the end"},
    {"an empty multi-select hash", "{}", "expected a name, found '}'"},
    {"a hash without a colon", "{a b}", "expected : behind the name, found 'b' at character 4"},
    {"a raw text without an end", "'abc", "expected a closing quote"},
    {"a literal that is no JSON", "`{a`", "expected JSON between the backticks"},
    {"a literal that is a bare word", "`foo`", "expected JSON between the backticks"},
    {"something behind the end", "a b",
     "expected an operator or the end, found 'b' at character 3"},
    {"one equals sign", "a = b", "found '=' at character 3"},
    {"a dollar sign", "$.a", "found '$' at character 1"},
    {"a filter without an end", "a[?b", "expected ], found the end"},
    {"& outside of a call", "&a", "found '&' at character 1"},
    {"a name behind a projection", "a[*]b",
     "expected an operator or the end, found 'b' at character 5"},
    {"an unknown function", "a.foo(@)", "there is no function 'foo', found 'f' at character 3"},
    {"a function in another case", "Length(@)", "there is no function 'Length'"},
    {"too few arguments", "add(`1`)", "add takes 2 arguments and is given 1, found 'a'"},
    {"too many arguments", "length(a, b)", "length takes 1 argument and is given 2"},
    {"none for a variadic one", "x || not_null()",
     "not_null takes at least 1 argument and is given 0, found 'n' at character 6"},
    {"a comma at the end", "add(a, )", "expected an expression, found ')' at character 8"},
    {"an index beyond 32 bits", "a[99999999999]", "expected an index"},
};

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const struct jmespath *compiled;
        struct vg_arena arena;
        struct vg_err err = {0};

        vg_arena_init(&arena, 0);
        CHECK_ROW(refused[i].name);
        CHECK(jmespath_compile(&arena, vg_slice_of(refused[i].expression), false, &compiled,
                               &err) == VG_REJECT);
        if (!CHECK(strstr(err.text, refused[i].error) != NULL))
            printf("  got %s\n", err.text);
        vg_arena_fini(&arena);
    }
}

static void test_limits(void)
{
    struct vg_buf text;

    vg_buf_init(&text, 0);
    CHECK(strcmp(run("l[*].l[*]", WARD, false, 5), "!jmespath.budget") == 0);
    for (int i = 0; i < 2000; i++) /* neither deep to the right nor to the left */
        vg_buf_printf(&text, "(");
    vg_buf_put_byte(&text, 0);
    CHECK(strcmp(run(text.ptr, WARD, false, 1000), "!jmespath.syntax") == 0);
    vg_buf_clear(&text);
    for (int i = 0; i < 1000; i++)
        vg_buf_printf(&text, "a|");
    vg_buf_printf(&text, "a%c", 0);
    CHECK(strcmp(run(text.ptr, WARD, false, 1000), "!jmespath.syntax") == 0);
    vg_buf_clear(&text);
    for (int i = 0; i < 5000; i++)
        vg_buf_printf(&text, "a");
    vg_buf_put_byte(&text, 0);
    CHECK(strcmp(run(text.ptr, WARD, false, 1000), "!jmespath.syntax") == 0);
    vg_buf_fini(&text);
}

int main(void)
{
    vg_buf_init(&out, 0);
    RUN(test_rows);
    RUN(test_refused);
    RUN(test_limits);
    vg_buf_fini(&out);
    return vg_test_report();
}
