/* device_mapping_test.c -- templates that load, or are refused with their place. */
#include "connector/device_mapping.h"

#include "base/clock.h"
#include "base/file.h"
#include "connector/value.h"
#include "vg_test.h"

#include <math.h>
#include <unistd.h>

static struct vg_arena arena;
static bool is_medtech; /* what load() asks for */

/* One template of `kind` whose members are `members`, in a collection. */
static struct vg_slice collection(const char *kind, const char *members)
{
    return vg_arena_printf(
        &arena,
        "{\"templateType\":\"CollectionContent\",\"template\":[{\"templateType\":"
        "\"%s\",\n\"template\":{%s}}]}",
        kind, members);
}

static const struct device_mapping *load(struct vg_slice text, struct vg_err *err)
{
    struct mapping_errors errors = {.arena = &arena, .source = text, .is_medtech = is_medtech};
    const struct device_mapping *mapping = NULL;

    return device_mapping_load(&errors, &mapping, err) == VG_OK ? mapping : NULL;
}

#define USUAL                                                                                      \
    "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@hr)]\",\"deviceIdExpression\":"          \
    "\"$.matchedToken.id\",\"timestampExpression\":\"$.matchedToken.t\""
#define VALUE                                                                                      \
    ",\"values\":[{\"valueName\":\"hr\",\"valueExpression\":\"$.matchedToken.hr\",\"required\":"   \
    "true}]"
#define LEGACY                                                                                     \
    "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@hr)]\",\"deviceIdExpression\":"          \
    "\"$.id\",\"timestampExpression\":\"$.t\",\"values\":[{\"valueName\":\"hr\","                  \
    "\"valueExpression\":\"$.hr\",\"required\":true}]"

static const struct {
    const char *name, *kind, *members, *error; /* NULL: fine */
} loads[] = {
    {"a usual template", "CalculatedContent", USUAL VALUE, NULL},
    {"the kind ignores case", "calculatedCONTENT", USUAL VALUE, NULL},
    {"member names ignore case", "JsonPathContent",
     "\"TYPENAME\":\"hr\",\"TypeMatchExpression\":\"$.a\",\"DeviceIdExpression\":\"$.b\","
     "\"timestampexpression\":\"$.c\"",
     NULL},
    {"the older name", "JsonPathContentTemplate", LEGACY, NULL},
    {"an expression as an object", "CalculatedContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":{\"value\":\"$.a\",\"language\":\"jsonpath\"},"
     "\"deviceIdExpression\":{\"value\":\"$.b\"},\"timestampExpression\":\"$.c\",\"values\":[]",
     NULL},
    {"required as text", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.a\",\"required\":\"TRUE\"}]",
     NULL},
    {"CalculatedContentTemplate is refused", "CalculatedContentTemplate", USUAL VALUE,
     "line 1, column 65: expected CalculatedContent"},
    {"an unknown kind", "mockA", USUAL VALUE, "line 1, column 65: expected CalculatedContent"},
    {"no device id", "CalculatedContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.a\",\"timestampExpression\":\"$.c\""
     ",\"values\":[]",
     "line 2, column 12: required member 'deviceIdExpression' is missing"},
    {"no type name", "JsonPathContent",
     "\"typeMatchExpression\":\"$.a\",\"deviceIdExpression\":\"$.b\",\"timestampExpression\":\"$."
     "c\"",
     "line 2, column 12: required member 'typeName' is missing"},
    {"no values in CalculatedContent", "CalculatedContent", USUAL, "'values' is missing"},
    {"no values in JsonPathContent are fine", "JsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.a\",\"deviceIdExpression\":\"$.b\","
     "\"timestampExpression\":\"$.c\"",
     NULL},
    {"an unknown member", "CalculatedContent", USUAL VALUE ",\"colour\":1",
     "unknown member 'colour'"},
    {"an unknown member of a value", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.a\",\"x\":1}]",
     "unknown member 'x'"},
    {"a wrong path is told when loading", "CalculatedContent",
     USUAL ",\"patientIdExpression\":\"$.a[\"" VALUE, "'patientIdExpression': JSONPath: expected"},
    {"required: yes", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.a\",\"required\":\"yes\"}]",
     "'required': expected true or false"},
    {"an unknown language", "CalculatedContent",
     USUAL ",\"defaultExpressionLanguage\":\"XPath\"" VALUE, "expected JsonPath or JmesPath"},
    {"an expression object in a JSONPath-only kind", "JsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":{\"value\":\"$.a\"},\"deviceIdExpression\":\"$."
     "b\","
     "\"timestampExpression\":\"$.c\"",
     "expected an expression as text"},
    {"a number as an expression", "CalculatedContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":7,\"deviceIdExpression\":\"$.b\","
     "\"timestampExpression\":\"$.c\",\"values\":[]",
     "expected an expression as text"},
    {"a JMESPath template", "CalculatedContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"Body.list[?hr]\",\"deviceIdExpression\":"
     "\"matchedToken.id\",\"timestampExpression\":\"matchedToken.t\",\"values\":[],"
     "\"defaultExpressionLanguage\":\"jmespath\"",
     NULL},
    {"a wrong JMESPath is told with its place", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\n\"valueExpression\":{\"value\":\"a.add(b)\","
           "\"language\":\"JmesPath\"}}]",
     "line 3, column 28: 'value': JMESPath: add takes 2 arguments and is given 1, found 'a' at "
     "character 3"},
    {"an unknown function is told when loading", "CalculatedContent",
     USUAL ",\"patientIdExpression\":{\"value\":\"foo(b)\",\"language\":\"JmesPath\"}" VALUE,
     "there is no function 'foo'"},
    {"an empty expression that may be left out", "CalculatedContent",
     USUAL ",\"patientIdExpression\":\"\"" VALUE, "'patientIdExpression': expected an expression"},
    {"an empty expression is none in a JSONPath-only kind", "JsonPathContent",
     LEGACY ",\"patientIdExpression\":\"\"", NULL},
    {"null is no expression", "CalculatedContent", USUAL ",\"patientIdExpression\":null" VALUE,
     NULL},
    {"a required expression that is null", "CalculatedContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.a\",\"deviceIdExpression\":null,"
     "\"timestampExpression\":\"$.c\",\"values\":[]",
     "'deviceIdExpression': expected an expression"},
    {"an expression object whose text is null", "CalculatedContent",
     USUAL ",\"patientIdExpression\":{\"value\":null}" VALUE,
     "'patientIdExpression': expected an expression"},
    {"an expression object without text", "CalculatedContent",
     USUAL ",\"patientIdExpression\":{\"language\":\"JsonPath\"}" VALUE,
     "required member 'value' is missing"},
    {"an unknown member of an expression object", "CalculatedContent",
     USUAL ",\"patientIdExpression\":{\"value\":\"$.a\",\"x\":1}" VALUE, "unknown member 'x'"},
    {"an unknown language of an expression object", "CalculatedContent",
     USUAL ",\"patientIdExpression\":{\"value\":\"$.a\",\"language\":\"XPath\"}" VALUE,
     "expected JsonPath or JmesPath"},
    {"required as a number", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.a\",\"required\":1}]", NULL},
    {"required: null", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.a\",\"required\":null}]",
     "'required': expected true or false"},
    {"no value name", "CalculatedContent", USUAL ",\"values\":[{\"valueExpression\":\"$.a\"}]",
     "required member 'valueName' is missing"},
    {"no value expression", "CalculatedContent", USUAL ",\"values\":[{\"valueName\":\"a\"}]",
     "required member 'valueExpression' is missing"},
    {"values that are no list", "CalculatedContent", USUAL ",\"values\":{}",
     "'values': expected an array"},
    {"a value that is no object", "CalculatedContent", USUAL ",\"values\":[7]",
     "'values': expected an object"},
    {"no values are none", "CalculatedContent", USUAL ",\"values\":[]", NULL},
    {"values: null in JsonPathContent", "JsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.a\",\"deviceIdExpression\":\"$.b\","
     "\"timestampExpression\":\"$.c\",\"values\":null",
     NULL},
    {"an empty type name", "CalculatedContent",
     "\"typeName\":\"\",\"typeMatchExpression\":\"$.a\",\"deviceIdExpression\":\"$.b\","
     "\"timestampExpression\":\"$.c\",\"values\":[]",
     NULL},
    {"a device id that the kind has fixed is ignored", "IotJsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.a\",\"deviceIdExpression\":\"$.b[\","
     "\"timestampExpression\":7",
     NULL},
    {"IotCentralJsonPathContent has no other name", "IotCentralJsonPathContentTemplate",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.a\"", "line 1, column 65: expected"},
    {"a wrong second line is told there", "CalculatedContent",
     USUAL ",\n\n   \"patientIdExpression\": \"$.a[\"" VALUE,
     "line 4, column 27: 'patientIdExpression': JSONPath: expected"},
    {"no language in a JSONPath-only kind", "JsonPathContent",
     LEGACY ",\"defaultExpressionLanguage\":\"JsonPath\"", "unknown member"},
};

static void test_load(void)
{
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        struct vg_err err = {0};
        const struct device_mapping *mapping;

        vg_arena_init(&arena, 0);
        CHECK_ROW(loads[i].name);
        mapping = load(collection(loads[i].kind, loads[i].members), &err);
        CHECK((mapping != NULL) == (loads[i].error == NULL));
        if (loads[i].error && !CHECK(strstr(err.text, loads[i].error) != NULL))
            printf("  got %s\n", err.text);
        else if (!loads[i].error && !mapping)
            printf("  got %s\n", err.text);
        vg_arena_fini(&arena);
    }
}

static void test_every_error_is_told(void)
{
    struct vg_slice text =
        VG_SLICE("{\"templateType\":\"CollectionContent\",\"template\":[\n"
                 "{\"templateType\":\"JsonPathContent\",\"template\":{\"typeName\":\"a\"}},\n"
                 "{\"templateType\":\"nothing\",\"template\":{}}]}");
    struct mapping_errors errors = {.arena = &arena, .source = text};
    const struct device_mapping *mapping;

    vg_arena_init(&arena, 0);
    CHECK(device_mapping_load(&errors, &mapping, NULL) == VG_REJECT);
    CHECK(errors.count == 4);
    CHECK(errors.first->line == 2 && errors.last->line == 3);
    vg_arena_fini(&arena);
}

/* The measurements of a body, as text; "!code" at the end when something went wrong. */
static const char *apply(const struct device_mapping *mapping, const char *body)
{
    static struct vg_buf out;
    const struct device_property props[] = {
        {VG_SLICE("unit"), VG_SLICE("C")},
        {VG_SLICE("iothub-creation-time-utc"), VG_SLICE("2026-03-14T09:00:00Z")}};
    const struct device_property system[] = {
        {VG_SLICE("iothub-connection-device-id"), VG_SLICE("bed-4")},
        {VG_SLICE("iothub-enqueuedtime"), VG_SLICE("2026-03-14T10:00:00Z")}};
    struct measurement *first = NULL, **tail = &first;
    struct device_envelope envelope;
    struct vg_err err = {0};
    char time[40];
    enum vg_status st;

    vg_buf_fini(&out);
    vg_buf_init(&out, 0);
    st = device_envelope_build(mapping, &arena, vg_slice_of(body), props, 2, system, 2, &envelope,
                               &err);
    if (st == VG_OK)
        st = device_mapping_apply(mapping, &envelope.root, &arena, &tail, NULL, &err);
    for (struct measurement *m = first; m; m = m->next) {
        (void)value_ticks_text(m->occurrence_us, m->occurrence_tenths, time);
        vg_buf_printf(&out, "%.*s %.*s %s", VG_FMT(m->type), VG_FMT(m->device_id), time + 11);
        if (m->patient_id.ptr)
            vg_buf_printf(&out, " p=%.*s", VG_FMT(m->patient_id));
        for (struct measurement_value *v = m->values; v; v = v->next)
            vg_buf_printf(&out, " %.*s=%.*s", VG_FMT(v->name), VG_FMT(v->text));
        vg_buf_printf(&out, ";");
    }
    if (st != VG_OK)
        vg_buf_printf(&out, "!%s", st == VG_END ? "none" : err.code);
    vg_buf_put_byte(&out, 0);
    return out.ptr;
}

#define JMES(match, value)                                                                         \
    "\"typeName\":\"x\",\"typeMatchExpression\":{\"value\":\"" match                               \
    "\",\"language\":\"JmesPath\"},\"deviceIdExpression\":"                                        \
    "\"$.SystemProperties.iothub-connection-device-id\",\"timestampExpression\":\"$.Body.t\","     \
    "\"values\":[{\"valueName\":\"v\",\"valueExpression\":{\"value\":\"" value                     \
    "\",\"language\":\"JmesPath\"}}]"

#define T "\"t\":\"2026-03-14T10:00:00Z\""

static const struct {
    const char *name, *kind, *members, *body, *want;
    const char *medtech; /* where the reference engine gives something else */
} applied[] = {
    {"one match", "CalculatedContent", USUAL VALUE, "{\"hr\":72,\"id\":\"a\"," T "}",
     "hr a 10:00:00Z hr=72;", NULL},
    {"each match is a measurement", "CalculatedContent", USUAL VALUE,
     "[{\"hr\":72,\"id\":\"a\"," T "},{\"hr\":73,\"id\":\"b\"," T "}]",
     "hr a 10:00:00Z hr=72;hr b 10:00:00Z hr=73;", NULL},
    {"no match", "CalculatedContent", USUAL VALUE, "{\"rr\":7}", "!none", NULL},
    {"an empty body is null", "CalculatedContent", USUAL VALUE, "", "!none", NULL},
    {"not JSON", "CalculatedContent", USUAL VALUE, "{\"hr\":", "!connector.json", NULL},
    {"text behind the value is an error", "CalculatedContent", USUAL VALUE, "{} x",
     "!connector.json", "!none"},
    {"the value is read, what is behind it is not", "CalculatedContent", USUAL VALUE,
     "{\"hr\":72,\"id\":\"a\"," T "}\n{\"hr\":73}", "!connector.json", "hr a 10:00:00Z hr=72;"},
    {"lenient JSON is read", "CalculatedContent", USUAL VALUE,
     "{hr:72, /* beats */ 'id':'a', t:'2026-03-14T10:00:00Z',}", "hr a 10:00:00Z hr=72;", NULL},
    {"a required value that is null", "CalculatedContent", USUAL VALUE,
     "{\"hr\":null,\"id\":\"a\"," T "}", "!connector.missing_value", NULL},
    {"a required value that is blank", "CalculatedContent", USUAL VALUE,
     "{\"hr\":\" \",\"id\":\"a\"," T "}", "!connector.missing_value", NULL},
    {"a required value that is an object", "CalculatedContent", USUAL VALUE,
     "{\"hr\":{},\"id\":\"a\"," T "}", "!connector.wrong_type", NULL},
    {"no device id", "CalculatedContent", USUAL VALUE, "{\"hr\":1," T "}",
     "!connector.missing_value", NULL},
    {"no time", "CalculatedContent", USUAL VALUE, "{\"hr\":1,\"id\":\"a\"}",
     "!connector.missing_value", NULL},
    {"a time that is none", "CalculatedContent", USUAL VALUE, "{\"hr\":1,\"id\":\"a\",\"t\":\"x\"}",
     "!connector.wrong_type", NULL},
    {"a wrong one does not keep the others back", "CalculatedContent", USUAL VALUE,
     "[{\"hr\":72,\"id\":\"a\"},{\"hr\":73,\"id\":\"b\"," T "}]",
     "hr b 10:00:00Z hr=73;!connector.missing_value", "!connector.missing_value"},
    {"an optional value that is absent", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"id\":\"a\"," T "}", "hr a 10:00:00Z;", NULL},
    {"an optional value of a wrong type is absent", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"x\":[1],\"id\":\"a\"," T "}", "hr a 10:00:00Z;", NULL},
    {"an optional empty text is kept", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"x\":\"\",\"id\":\"a\"," T "}", "hr a 10:00:00Z x=;", NULL},
    {"two tokens for an optional value are an error", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x[*]\"}]",
     "{\"hr\":1,\"x\":[1,2],\"id\":\"a\"," T "}", "!connector.ambiguous", NULL},
    {"a correlation id is needed where the template has one", "CalculatedContent",
     USUAL ",\"correlationIdExpression\":\"$.Body.c\"" VALUE, "{\"hr\":1,\"id\":\"a\"," T "}",
     "!connector.missing_value", NULL},
    {"a patient id may be absent", "CalculatedContent",
     USUAL ",\"patientIdExpression\":\"$.Body.p\"" VALUE, "{\"hr\":1,\"id\":\"a\"," T "}",
     "hr a 10:00:00Z hr=1;", NULL},
    {"a patient id", "CalculatedContent", USUAL ",\"patientIdExpression\":\"$.Body.p\"" VALUE,
     "{\"hr\":1,\"p\":\"P1\",\"id\":\"a\"," T "}", "hr a 10:00:00Z p=P1 hr=1;", NULL},
    {"the matched token alone in the older kinds", "JsonPathContent", LEGACY,
     "{\"hr\":72,\"id\":\"a\"," T "}", "hr a 10:00:00Z hr=72;", NULL},
    {"application properties match, too", "CalculatedContent",
     "\"typeName\":\"u\",\"typeMatchExpression\":\"$..[?(@unit)]\",\"deviceIdExpression\":"
     "\"$.SystemProperties.iothub-connection-device-id\",\"timestampExpression\":\"$.Body.t\","
     "\"values\":[{\"valueName\":\"u\",\"valueExpression\":\"$.matchedToken.unit\"}]",
     "{" T "}", "u bed-4 10:00:00Z u=C;", NULL},
    {"a match may be a scalar", "CalculatedContent",
     "\"typeName\":\"x\",\"typeMatchExpression\":\"$.Body.l[*]\",\"deviceIdExpression\":"
     "\"$.SystemProperties.iothub-connection-device-id\",\"timestampExpression\":\"$.Body.t\","
     "\"values\":[{\"valueName\":\"v\",\"valueExpression\":\"$.matchedToken\"}]",
     "{\"l\":[1,2.50]," T "}", "x bed-4 10:00:00Z v=1;x bed-4 10:00:00Z v=2.5;", NULL},
    {"the hub's device id and creation time", "IotJsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@Body.hr)]\",\"values\":[{\"valueName\":"
     "\"hr\",\"valueExpression\":\"$.Body.hr\"}]",
     "{\"hr\":5}", "hr bed-4 09:00:00Z hr=5;", NULL},
    {"a JMESPath projection matches each element", "CalculatedContent",
     JMES("Body.l[?hr]", "matchedToken.hr"), "{\"l\":[{\"hr\":1},{\"x\":0},{\"hr\":2}]," T "}",
     "x bed-4 10:00:00Z v=1;x bed-4 10:00:00Z v=2;", NULL},
    {"one element is one match", "CalculatedContent", JMES("Body.l[?hr]", "matchedToken.hr"),
     "{\"l\":[{\"hr\":1}]," T "}", "x bed-4 10:00:00Z v=1;", NULL},
    {"an empty projection is no match", "CalculatedContent", JMES("Body.l[?hr]", "`1`"),
     "{\"l\":[]," T "}", "!none", NULL},
    {"null is no match", "CalculatedContent", JMES("Body.x", "`1`"), "{" T "}", "!none", NULL},
    {"false is a match", "CalculatedContent", JMES("Body.x", "`1`"), "{\"x\":false," T "}",
     "x bed-4 10:00:00Z v=1;", NULL},
    {"another array is one match", "CalculatedContent", JMES("Body.l", "length(matchedToken)"),
     "{\"l\":[1,2]," T "}", "x bed-4 10:00:00Z v=2;", NULL},
    {"a function's array is one match", "CalculatedContent",
     JMES("sort(Body.l)", "matchedToken[0]"), "{\"l\":[2,1]," T "}", "x bed-4 10:00:00Z v=1;",
     NULL},
    {"a projection of one element is its element", "CalculatedContent",
     JMES("Body", "Body.l[?hr].hr"), "{\"l\":[{\"hr\":7}]," T "}", "x bed-4 10:00:00Z v=7;",
     "x bed-4 10:00:00Z;"},
    {"an empty projection is no value", "CalculatedContent", JMES("Body", "Body.l[?hr].hr"),
     "{\"l\":[{}]," T "}", "x bed-4 10:00:00Z;", NULL},
    {"a projection of two is an error", "CalculatedContent", JMES("Body", "Body.l[?hr].hr"),
     "{\"l\":[{\"hr\":7},{\"hr\":8}]," T "}", "!connector.ambiguous", NULL},
    {"an array as a value is none", "CalculatedContent", JMES("Body", "Body.l"),
     "{\"l\":[1]," T "}", "x bed-4 10:00:00Z;", NULL},
    {"a function that cannot take its argument is an error", "CalculatedContent",
     JMES("Body", "add(Body.l, `1`)"), "{\"l\":\"1\"," T "}", "!jmespath.type", NULL},
    {"the numbers of a text", "CalculatedContent", JMES("Body", "divide(to_number(Body.l), `2`)"),
     "{\"l\":\"5\"," T "}", "x bed-4 10:00:00Z v=2.5;", "x bed-4 10:00:00Z v=2;"},
    {"a time that was calculated", "CalculatedContent", JMES("Body", "fromUnixTimestamp(Body.l)"),
     "{\"l\":1549061161," T "}", "x bed-4 10:00:00Z v=2019-02-01T22:46:01Z;",
     "x bed-4 10:00:00Z v=02/01/2019 22:46:01;"},
    {"a text that looks like a time", "CalculatedContent", JMES("Body", "Body.t"), "{" T "}",
     "x bed-4 10:00:00Z v=2026-03-14T10:00:00Z;", "x bed-4 10:00:00Z v=03/14/2026 10:00:00;"},
    {"a regular expression over a time", "CalculatedContent",
     "\"typeName\":\"x\",\"typeMatchExpression\":\"$..[?(@.t =~ /^2026/)]\",\"deviceIdExpression\":"
     "\"$.SystemProperties.iothub-connection-device-id\",\"timestampExpression\":\"$.Body.t\","
     "\"values\":[]",
     "{" T "}", "x bed-4 10:00:00Z;", "!none"},
    {"a property stays a text", "CalculatedContent",
     JMES("Body", "Properties.\\\"iothub-creation-time-utc\\\""), "{" T "}",
     "x bed-4 10:00:00Z v=2026-03-14T09:00:00Z;", NULL},
    {"an ordinary Microsoft date is a time", "CalculatedContent",
     "\"typeName\":\"x\",\"typeMatchExpression\":\"$.Body\",\"deviceIdExpression\":\"$.Body.t\","
     "\"timestampExpression\":\"$.Body.t\",\"values\":[{\"valueName\":\"v\",\"valueExpression\":"
     "\"$.Body.t\"}]",
     "{\"t\":\"/Date(1549061161000)/\"}",
     "x /Date(1549061161000)/ 22:46:01Z v=/Date(1549061161000)/;",
     "x 02/01/2019 22:46:01 22:46:01Z v=02/01/2019 22:46:01;"},
    {"a time with an offset", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":\"a\",\"t\":\"2026-03-14T12:00:00+02:00\"}", "hr a 10:00:00Z hr=1;", NULL},
    {"a time without a zone is UTC", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":\"a\",\"t\":\"2026-03-14T10:00:00\"}", "hr a 10:00:00Z hr=1;", NULL},
    {"a time of seven digits", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":\"a\",\"t\":\"2026-03-14T10:00:00.1234567Z\"}",
     "hr a 10:00:00.1234567Z hr=1;", NULL},
    {"epoch seconds are no time", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":\"a\",\"t\":1549061161}", "!connector.wrong_type", NULL},
    {"a number as device id", "CalculatedContent", USUAL VALUE, "{\"hr\":1,\"id\":12," T "}",
     "hr 12 10:00:00Z hr=1;", NULL},
    {"a blank device id", "CalculatedContent", USUAL VALUE, "{\"hr\":1,\"id\":\"  \"," T "}",
     "!connector.missing_value", NULL},
    {"a device id of Unicode's blanks", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":\" \\u00a0\\u0085 \\u2003\\u3000\"," T "}", "!connector.missing_value",
     NULL},
    {"a device id with blanks and more", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":\"\\u00a0a\"," T "}",
     "hr \xc2\xa0"
     "a 10:00:00Z hr=1;",
     NULL},
    {"a truth as a required value", "CalculatedContent", USUAL VALUE,
     "{\"hr\":true,\"id\":\"a\"," T "}", "hr a 10:00:00Z hr=true;", "hr a 10:00:00Z hr=True;"},
    {"a real number's zeros", "CalculatedContent", USUAL VALUE, "{\"hr\":65.50,\"id\":\"a\"," T "}",
     "hr a 10:00:00Z hr=65.5;", NULL},
    {"a text's zeros stay", "CalculatedContent", USUAL VALUE,
     "{\"hr\":\"65.50\",\"id\":\"a\"," T "}", "hr a 10:00:00Z hr=65.50;", NULL},
    {"a large number", "CalculatedContent", USUAL VALUE, "{\"hr\":1e16,\"id\":\"a\"," T "}",
     "hr a 10:00:00Z hr=1E+16;", NULL},
    {"an integer beyond 64 bits", "CalculatedContent", USUAL VALUE,
     "{\"hr\":9223372036854775808,\"id\":\"a\"," T "}", "!connector.wrong_type", NULL},
    {"an optional integer beyond 64 bits is absent", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"x\":99999999999999999999,\"id\":\"a\"," T "}", "hr a 10:00:00Z;", NULL},
    {"hexadecimal, octal, and a minus before a nought", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.matchedToken.hr\"},{"
           "\"valueName\":\"b\",\"valueExpression\":\"$.matchedToken.x\"},{\"valueName\":\"c\","
           "\"valueExpression\":\"$.matchedToken.y\"}]",
     "{\"hr\":0x1F,\"x\":017,\"y\":-017,\"id\":\"a\"," T "}", "hr a 10:00:00Z a=31 b=15 c=-17;",
     NULL},
    {"two values of one name", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"a\",\"valueExpression\":\"$.matchedToken.hr\"},{"
           "\"valueName\":\"a\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"x\":2,\"id\":\"a\"," T "}", "hr a 10:00:00Z a=1 a=2;", NULL},
    {"the last of two members counts", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"hr\":2,\"id\":\"a\"," T "}", "hr a 10:00:00Z hr=2;", NULL},
    {"an optional blank text is kept", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"x\":\"  \",\"id\":\"a\"," T "}", "hr a 10:00:00Z x=  ;", NULL},
    {"an optional null is absent", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.x\"}]",
     "{\"hr\":1,\"x\":null,\"id\":\"a\"," T "}", "hr a 10:00:00Z;", NULL},
    {"a patient id that is no text is absent", "CalculatedContent",
     USUAL ",\"patientIdExpression\":\"$.Body.p\"" VALUE, "{\"hr\":1,\"p\":{},\"id\":\"a\"," T "}",
     "hr a 10:00:00Z hr=1;", NULL},
    {"two patient ids are an error", "CalculatedContent",
     USUAL ",\"patientIdExpression\":\"$.Body.p[*]\"" VALUE,
     "{\"hr\":1,\"p\":[1,2],\"id\":\"a\"," T "}", "!connector.ambiguous", NULL},
    {"what the device id lacks is told before the time", "CalculatedContent", USUAL VALUE,
     "{\"hr\":1,\"id\":{},\"t\":\"x\"}", "!connector.wrong_type", NULL},
    {"a matched token that is a member of the message already", "CalculatedContent",
     "\"typeName\":\"x\",\"typeMatchExpression\":\"$.Body.hr\",\"deviceIdExpression\":"
     "\"$.SystemProperties.iothub-connection-device-id\",\"timestampExpression\":\"$.Body.t\","
     "\"values\":[{\"valueName\":\"v\",\"valueExpression\":\"$..matchedToken\"}]",
     "{\"hr\":7," T "}", "x bed-4 10:00:00Z v=7;", NULL},
    {"the older kinds reach nothing beside the token", "JsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@hr)]\",\"deviceIdExpression\":"
     "\"$.Body.id\",\"timestampExpression\":\"$.t\"",
     "{\"hr\":72,\"id\":\"a\"," T "}", "!connector.missing_value", NULL},
    {"a filter's $ is the token in the older kinds", "JsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@hr)]\",\"deviceIdExpression\":\"$.id\","
     "\"timestampExpression\":\"$.t\",\"values\":[{\"valueName\":\"v\",\"valueExpression\":"
     "\"$.l[?(@.k == $.id)].v\"}]",
     "{\"hr\":72,\"id\":\"a\",\"l\":[{\"k\":\"b\",\"v\":1},{\"k\":\"a\",\"v\":2}]," T "}",
     "hr a 10:00:00Z v=2;", NULL},
    {"a nested match is another measurement, the outer first", "JsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@hr)]\",\"deviceIdExpression\":\"$.id\","
     "\"timestampExpression\":\"$.t\"",
     "{\"hr\":{\"hr\":1,\"id\":\"b\"," T "},\"id\":\"a\"," T "}", "hr a 10:00:00Z;hr b 10:00:00Z;",
     NULL},
    {"an explicit null matches", "CalculatedContent",
     USUAL ",\"values\":[{\"valueName\":\"x\",\"valueExpression\":\"$.matchedToken.hr\"}]",
     "{\"hr\":null,\"id\":\"a\"," T "}", "hr a 10:00:00Z;", NULL},
    {"the time when it was received, where the device gives none", "IotJsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$..[?(@Body.hr)]\",\"timestampExpression\":"
     "\"x\"",
     "{\"hr\":5}", "hr bed-4 09:00:00Z;", NULL},
    {"a record of IoT Central", "IotCentralJsonPathContent",
     "\"typeName\":\"hr\",\"typeMatchExpression\":\"$.Body[?(@telemetry.hr)]\",\"values\":[{"
     "\"valueName\":\"hr\",\"valueExpression\":\"$.telemetry.hr\"}]",
     "[{\"deviceId\":\"c\",\"enqueuedTime\":\"2026-03-14T10:00:00Z\",\"telemetry\":{\"hr\":1}}]",
     "hr c 10:00:00Z hr=1;", NULL},
    {"either of two projections matches each element", "CalculatedContent",
     JMES("Body.x[?hr] || Body.l[?hr]", "matchedToken.hr"), "{\"l\":[{\"hr\":1},{\"hr\":2}]," T "}",
     "x bed-4 10:00:00Z v=1;x bed-4 10:00:00Z v=2;", NULL},
    {"a projection behind a pipe matches each element", "CalculatedContent",
     JMES("Body.o | l[*]", "matchedToken"), "{\"o\":{\"l\":[1,2]}," T "}",
     "x bed-4 10:00:00Z v=1;x bed-4 10:00:00Z v=2;", NULL},
    {"an object is filtered as a list of one", "CalculatedContent",
     JMES("to_array(Body)[?hr]", "matchedToken.hr"), "{\"hr\":4," T "}", "x bed-4 10:00:00Z v=4;",
     NULL},
    {"filtering an object gives nothing", "CalculatedContent", JMES("Body[?hr]", "matchedToken.hr"),
     "{\"hr\":4," T "}", "!none", NULL},
    {"a pipe takes the one element", "CalculatedContent", JMES("Body", "Body.l[?hr].hr | [0]"),
     "{\"l\":[{\"hr\":7},{\"hr\":8}]," T "}", "x bed-4 10:00:00Z v=7;", NULL},
    {"a calculated text", "CalculatedContent",
     JMES("Body", "join('-', [Body.a, to_string(Body.n)])"), "{\"a\":\"x\",\"n\":1.50," T "}",
     "x bed-4 10:00:00Z v=x-1.5;", NULL},
    {"milliseconds since 1970", "CalculatedContent",
     "\"typeName\":\"x\",\"typeMatchExpression\":\"$.Body\",\"deviceIdExpression\":"
     "\"$.SystemProperties.iothub-connection-device-id\",\"timestampExpression\":{\"value\":"
     "\"fromUnixTimestampMs(Body.ms)\",\"language\":\"JmesPath\"},\"values\":[]",
     "{\"ms\":1549061161250}", "x bed-4 22:46:01.25Z;", NULL},
    {"a division of integers", "CalculatedContent", JMES("Body", "divide(`40`, `50`)"), "{" T "}",
     "x bed-4 10:00:00Z v=0.8;", "x bed-4 10:00:00Z v=0;"},
    {"a division by nought", "CalculatedContent", JMES("Body", "divide(`40`, `0`)"), "{" T "}",
     "!jmespath.range", NULL},
    {"a division by 0.0", "CalculatedContent", JMES("Body", "divide(`40`, `0.0`)"), "{" T "}",
     "!jmespath.range", "x bed-4 10:00:00Z v=Infinity;"},
    {"a Boolean", "CalculatedContent", JMES("Body", "!Body.nothing"), "{" T "}",
     "x bed-4 10:00:00Z v=true;", "x bed-4 10:00:00Z v=True;"},
};

static void test_apply(void)
{
    for (size_t k = 0; k < 2 * sizeof(applied) / sizeof(applied[0]); k++) {
        struct vg_err err = {0};
        const struct device_mapping *mapping;
        size_t i = k / 2;
        const char *want = k % 2 && applied[i].medtech ? applied[i].medtech : applied[i].want;

        is_medtech = k % 2;

        vg_arena_init(&arena, 0);
        CHECK_ROW(applied[i].name);
        mapping = load(collection(applied[i].kind, applied[i].members), &err);
        if (!CHECK(mapping != NULL)) {
            printf("  got %s\n", err.text);
        } else {
            const char *got = apply(mapping, applied[i].body);

            if (!CHECK(strcmp(got, want) == 0))
                printf("  got %s\n", got);
        }
        vg_arena_fini(&arena);
    }
    is_medtech = false;
}

static void test_budget(void)
{
    struct vg_buf body;

    vg_arena_init(&arena, 0);
    vg_buf_init(&body, 0);
    const struct device_mapping *mapping = load(
        collection("CalculatedContent",
                   "\"typeName\":\"x\",\"typeMatchExpression\":\"$..[?(@..a.b == 1)]\","
                   "\"deviceIdExpression\":\"$.a\",\"timestampExpression\":\"$.b\",\"values\":[]"),
        NULL);

    CHECK(strcmp(mapping ? apply(mapping, "[1]") : "", "!none") == 0);
    for (int i = 0; i < 60; i++) /* a chain: every level scans all below it */
        vg_buf_printf(&body, "[");
    for (int i = 0; i < 80000; i++)
        vg_buf_printf(&body, i ? ",1" : "1");
    for (int i = 0; i < 60; i++)
        vg_buf_printf(&body, "]");
    vg_buf_put_byte(&body, 0);
    CHECK(strcmp(mapping ? apply(mapping, body.ptr) : "", "!jsonpath.budget") == 0);
    vg_buf_fini(&body);
    vg_arena_fini(&arena);
}

/* An hour's readings, one a second, in one message. */
static void test_many_matches(void)
{
    static const char *const matches[] = {"\"$.Body.r[*]\"", "\"$..[?(@.v)]\"",
                                          "{\"value\":\"Body.r[]\",\"language\":\"JmesPath\"}"};
    struct vg_buf body;

    vg_buf_init(&body, 0);
    vg_buf_printf(&body, "{\"id\":\"a\",\"r\":[");
    for (int i = 0; i < 3600; i++)
        vg_buf_printf(&body, "%s{\"v\":%d,\"t\":\"2026-03-14T10:%02d:%02dZ\"}", i ? "," : "", i,
                      i / 60, i % 60);
    vg_buf_printf(&body, "]}");
    for (size_t k = 0; k < sizeof(matches) / sizeof(matches[0]); k++) {
        struct vg_buf text;
        const struct device_mapping *mapping;
        size_t count = 0;

        CHECK_ROW(matches[k]);
        vg_arena_init(&arena, 0);
        vg_buf_init(&text, 0);
        vg_buf_printf(&text,
                      "\"typeName\":\"x\",\"typeMatchExpression\":%s,\"deviceIdExpression\":"
                      "\"$.Body.id\",\"timestampExpression\":\"$.matchedToken.t\",\"values\":[{"
                      "\"valueName\":\"v\",\"valueExpression\":\"$.matchedToken.v\"}]",
                      matches[k]);
        vg_buf_put_byte(&text, 0);
        mapping = load(collection("CalculatedContent", text.ptr), NULL);
        vg_buf_put_byte(&body, 0);
        for (const char *at = mapping ? apply(mapping, body.ptr) : ""; (at = strchr(at, ';')); at++)
            count++;
        body.len--;
        CHECK(count == 3600);
        vg_buf_fini(&text);
        vg_arena_fini(&arena);
    }
    vg_buf_fini(&body);
}

static void test_ward_mapping(void)
{
    struct vg_slice text;
    struct vg_err err = {0};
    const struct device_mapping *mapping = NULL;

    vg_arena_init(&arena, 0);
    if (CHECK(vg_file_read(&arena, VG_SOURCE_DIR "/mappings/ward-device.json", 0, &text, &err) ==
              VG_OK))
        mapping = load(text, &err);
    if (CHECK(mapping != NULL)) {
        const char *got =
            apply(mapping,
                  "{\"time\":\"2026-03-14T10:00:00.000Z\",\"hr\":72,\"rr\":16,\"spo2\":97,\"o2\":0,"
                  "\"sys\":121,\"dia\":76,\"map\":91,\"temp\":36.8,\"avpu\":\"A\"}");

        if (!CHECK(strcmp(got, "heartrate bed-4 10:00:00Z hr=72;respiration bed-4 10:00:00Z rr=16;"
                               "spo2 bed-4 10:00:00Z spo2=97;oxygen bed-4 10:00:00Z o2=0;"
                               "bloodpressure bed-4 10:00:00Z sys=121 dia=76 map=91;"
                               "temperature bed-4 10:00:00Z temp=36.8;"
                               "consciousness bed-4 10:00:00Z avpu=A;") == 0))
            printf("  got %s\n", got);
        got = apply(mapping, "{\"time\":\"2026-03-14T10:00:00Z\",\"hr\":null,\"dia\":76}");
        CHECK(strcmp(got, "bloodpressure bed-4 10:00:00Z dia=76;") == 0);
    }
    vg_arena_fini(&arena);
}

/* ---- the reference engine's own files, where they are at hand ---- */

#define FIXTURES VG_SOURCE_DIR "/../shared/data/connector/"

static bool read_fixture(struct vg_slice name, struct vg_slice *ret)
{
    struct vg_slice path = vg_arena_printf(&arena, FIXTURES "%.*s", VG_FMT(name));

    return vg_file_read(&arena, path.ptr, 0, ret, NULL) == VG_OK;
}

static bool same_text(struct vg_slice got, const struct vg_json *want)
{
    struct vg_slice text = vg_json_text(want);
    double a, b;

    if (!want || want->type == VG_JSON_NULL)
        return got.ptr == NULL;
    if (vg_slice_eq(got, text))
        return true;
    if (is_medtech)
        return false; /* to the letter */
    return vg_slice_to_double(got, &a) && vg_slice_to_double(text, &b) &&
           fabs(a - b) <= 1e-12 * fabs(b);
}

static bool same_measurement(const struct measurement *m, const struct vg_json *want)
{
    const struct vg_json *list = vg_json_get(want, "Properties"), *p = list ? list->child : NULL;
    const struct measurement_value *v = m->values;
    int64_t time_us = 0;
    bool same = vg_slice_eq(m->type, vg_json_get_text(want, "Type")) &&
                same_text(m->device_id, vg_json_get(want, "DeviceId")) &&
                same_text(m->patient_id, vg_json_get(want, "PatientId")) &&
                same_text(m->encounter_id, vg_json_get(want, "EncounterId")) &&
                same_text(m->correlation_id, vg_json_get(want, "CorrelationId")) &&
                vg_time_parse(vg_json_get_text(want, "OccurrenceTimeUtc"), &time_us, NULL) &&
                time_us == m->occurrence_us;

    for (; p && v; p = p->next, v = v->next)
        same = same && vg_slice_eq(v->name, vg_json_get_text(p, "Name")) &&
               same_text(v->text, vg_json_get(p, "Value"));
    return same && !p && !v;
}

static void check_pair(const struct vg_json *pair)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    const struct vg_json *want = vg_json_get(pair, "expected");
    struct measurement *first = NULL, **tail = &first;
    struct vg_slice template, message;
    struct device_envelope envelope;
    struct vg_json *root = NULL;
    const struct device_mapping *mapping;
    struct vg_err err = {0};
    uint32_t count = 0;

    if (vg_json_get(pair, "templateInline"))
        template = vg_json_get(pair, "templateInline")->source;
    else if (!CHECK(read_fixture(vg_json_get_text(pair, "template"), &template)))
        return;
    mapping = load(template, &err);
    if (!CHECK(mapping != NULL)) {
        printf("  %s\n", err.text);
        return;
    }
    message = vg_json_get_text(pair, "messageInline");
    if (message.len == 0 && !CHECK(read_fixture(vg_json_get_text(pair, "message"), &message)))
        return;
    if (vg_slice_is(vg_json_get_text(pair, "messageIs"), "body")) {
        if (!CHECK(device_envelope_build(mapping, &arena, message, NULL, 0, NULL, 0, &envelope,
                                         &err) == VG_OK))
            return;
        root = &envelope.root;
    } else {
        if (vg_slice_starts(message, VG_SLICE("\xef\xbb\xbf")))
            message = vg_slice_from(message, 3);
        if (!CHECK(vg_json_parse(&arena, message, &lenient, &root, NULL, &err) == VG_OK))
            return;
    }
    if (!CHECK(device_mapping_apply(mapping, root, &arena, &tail, NULL, &err) == VG_OK))
        printf("  %s\n", err.text);
    for (struct measurement *m = first; m; m = m->next, count++)
        CHECK(same_measurement(m, vg_json_at(want, count)));
    CHECK(count == want->count);
}

static void test_reference_measurements(void)
{
    struct vg_slice text;
    struct vg_json *root = NULL;

    if (access(FIXTURES "golden/normalized.json", R_OK) != 0) {
        SKIP("the reference engine's files are not here");
        return;
    }
    vg_arena_init(&arena, 0);
    if (CHECK(read_fixture(VG_SLICE("golden/normalized.json"), &text)) &&
        CHECK(vg_json_parse(&arena, text, NULL, &root, NULL, NULL) == VG_OK))
        for (const struct vg_json *pair = root->child; pair; pair = pair->next) {
            static char name[100];

            (void)vg_slice_to_cstr(vg_json_get_text(pair, "name"), name, sizeof(name));
            CHECK_ROW(name);
            check_pair(pair);
            is_medtech = true;
            check_pair(pair);
            is_medtech = false;
        }
    vg_arena_fini(&arena);
}

static void test_reference_validation(void)
{
    struct vg_slice text, source;
    struct vg_json *root = NULL;

    if (access(FIXTURES "golden/template-validation.json", R_OK) != 0) {
        SKIP("the reference engine's files are not here");
        return;
    }
    vg_arena_init(&arena, 0);
    if (!CHECK(read_fixture(VG_SLICE("golden/template-validation.json"), &text)) ||
        !CHECK(vg_json_parse(&arena, text, NULL, &root, NULL, NULL) == VG_OK))
        return;
    for (const struct vg_json *at = root->child; at; at = at->next) {
        struct vg_slice file = vg_json_get_text(at, "file");
        struct vg_slice path = vg_arena_printf(&arena, "template-tests/%.*s", VG_FMT(file));
        bool want = vg_slice_is(vg_json_get_text(at, "result"), "valid");
        static char name[100];
        struct vg_err err = {0};

        (void)vg_slice_to_cstr(file, name, sizeof(name));
        CHECK_ROW(name);
        if (!strstr(name, "CollectionContent"))
            continue;
        if (!CHECK(read_fixture(path, &source)))
            continue;
        if (!CHECK((load(source, &err) != NULL) == want))
            printf("  %s\n", err.text);
    }
    vg_arena_fini(&arena);
}

int main(void)
{
    RUN(test_load);
    RUN(test_every_error_is_told);
    RUN(test_apply);
    RUN(test_budget);
    RUN(test_many_matches);
    RUN(test_ward_mapping);
    RUN(test_reference_measurements);
    RUN(test_reference_validation);
    return vg_test_report();
}
