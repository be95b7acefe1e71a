/* debugger_test.c -- what the mapping debugger says of messages and of pairs of mappings. */
#include "connector/debugger.h"

#include "vg_test.h"

#define DEVICE(type, value)                                                                        \
    "{\"templateType\":\"CollectionContent\",\"template\":[{\"templateType\":"                     \
    "\"CalculatedContent\",\n\"template\":{\"typeName\":\"" type                                   \
    "\",\"typeMatchExpression\":\"$..[?(@hr)]\",\n\"deviceIdExpression\":\"$.matchedToken.id\","   \
    "\"timestampExpression\":\"$.matchedToken.t\",\n\"values\":[{\"valueName\":\"" value           \
    "\",\"valueExpression\":\"$.matchedToken.hr\",\"required\":true}]}}]}"
#define FHIR(type, value)                                                                          \
    "{\"templateType\":\"CollectionFhir\",\"template\":[{\"templateType\":\"CodeValueFhir\","      \
    "\"template\":{\"typeName\":\"" type "\",\"codes\":[{\"code\":\"8867-4\"}],\"value\":{"        \
    "\"valueType\":\"Quantity\",\"valueName\":\"" value "\",\"unit\":\"/min\"}}}]}"

#define T "\"t\":\"2026-03-14T10:00:00Z\""
#define MEASURED                                                                                   \
    "{\"type\":\"hr\",\"occurrenceTimeUtc\":\"2026-03-14T10:00:00Z\",\"deviceId\":\"a\","          \
    "\"properties\":[{\"name\":\"hr\",\"value\":\"72\"}]}"
#define OBSERVED                                                                                   \
    "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"coding\":[{\"code\":"      \
    "\"8867-4\"}],\"text\":\"hr\"},\"effectiveDateTime\":\"2026-03-14T10:00:00.000Z\","            \
    "\"valueQuantity\":{\"value\":72,\"unit\":\"/min\"}}"

static const struct {
    const char *name, *device, *fhir, *message, *want;
    size_t errors;
    bool is_envelope, is_medtech;
} rows[] = {
    {"a measurement and its Observation", DEVICE("hr", "hr"), FHIR("hr", "hr"),
     "{\"hr\":72,\"id\":\"a\"," T "}",
     "{\"message\":\"m\",\"measurements\":[" MEASURED "],\"observations\":[" OBSERVED
     "],\"errors\":[]}",
     0, false, false},
    {"without a FHIR mapping there is no Observation", DEVICE("hr", "hr"), NULL,
     "{\"hr\":72,\"id\":\"a\"," T "}",
     "{\"message\":\"m\",\"measurements\":[" MEASURED "],\"observations\":[],\"errors\":[]}", 0,
     false, false},
    {"a message that nothing matches", DEVICE("hr", "hr"), NULL, "{}",
     "{\"message\":\"m\",\"measurements\":[],\"observations\":[],\"errors\":[],\"warnings\":[{"
     "\"message\":\"no measurements: no template matches\"}]}",
     0, false, false},
    {"a message that is not JSON", DEVICE("hr", "hr"), NULL, "{\n]",
     "{\"message\":\"m\",\"measurements\":[],\"observations\":[],\"errors\":[{\"type\":"
     "\"InvalidDataFormatException\"",
     1, false, false},
    {"what is missing is told with the expression's place", DEVICE("hr", "hr"), NULL,
     "{\"hr\":72," T "}",
     "{\"message\":\"m\",\"measurements\":[],\"observations\":[],\"errors\":[{\"type\":"
     "\"IncompatibleDataException\",\"message\":\"template 'hr', deviceIdExpression: has no value "
     "in this message\",\"line\":3,\"column\":22,\"path\":"
     "\"template[0].template.deviceIdExpression\"}]}",
     1, false, false},
    {"every failed match is told", DEVICE("hr", "hr"), NULL,
     "[{\"hr\":1},{\"hr\":72,\"id\":\"a\"," T "},{\"hr\":2}]",
     "{\"message\":\"m\",\"measurements\":[" MEASURED "],", 2, false, false},
    {"the reference ends at the first", DEVICE("hr", "hr"), NULL,
     "[{\"hr\":1},{\"hr\":72,\"id\":\"a\"," T "},{\"hr\":2}]",
     "{\"message\":\"m\",\"measurements\":[],", 1, false, true},
    {"a text where a number is needed", DEVICE("hr", "hr"), FHIR("hr", "hr"),
     "{\"hr\":\"x\",\"id\":\"a\"," T "}",
     "{\"message\":\"m\",\"measurements\":[{\"type\":\"hr\",\"occurrenceTimeUtc\":"
     "\"2026-03-14T10:00:00Z\",\"deviceId\":\"a\",\"properties\":[{\"name\":\"hr\",\"value\":"
     "\"x\"}]}],\"observations\":[],\"errors\":[{\"type\":\"InvalidQuantityFhirValueException\","
     "\"message\":\"value 'hr' of type 'hr': expected a decimal number\",\"line\":-1,\"column\":-1,"
     "\"path\":\"\"}]}",
     1, false, false},
    {"a type that the FHIR mapping does not have", DEVICE("rr", "hr"), FHIR("hr", "hr"),
     "{\"hr\":72,\"id\":\"a\"," T "}",
     "{\"message\":\"m\",\"measurements\":[{\"type\":\"rr\",\"occurrenceTimeUtc\":"
     "\"2026-03-14T10:00:00Z\",\"deviceId\":\"a\",\"properties\":[{\"name\":\"hr\",\"value\":"
     "\"72\"}]}],\"observations\":[],\"errors\":[{\"type\":\"TemplateNotFoundException\"",
     1, false, false},
    {"an envelope", DEVICE("hr", "hr"), NULL,
     "{\"Body\":{\"hr\":72,\"id\":\"a\"," T "},\"Properties\":{},\"SystemProperties\":{"
     "\"x-opt-enqueued-time\":\"2026-03-14T10:00:01.25Z\"}}",
     "{\"message\":\"m\",\"measurements\":[{\"type\":\"hr\",\"occurrenceTimeUtc\":"
     "\"2026-03-14T10:00:00Z\",\"ingestionTimeUtc\":\"2026-03-14T10:00:01.25Z\",\"deviceId\":"
     "\"a\",",
     0, true, false},
    {"an envelope that is no object", DEVICE("hr", "hr"), NULL, "[]",
     "{\"message\":\"m\",\"measurements\":[],\"observations\":[],\"errors\":[{\"type\":"
     "\"InvalidDataFormatException\"",
     1, true, false},
};

static void test_messages(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_arena arena;
        struct vg_json_writer w;
        struct debugger *d;
        struct vg_buf out;
        size_t errors = 1;

        vg_arena_init(&arena, 0);
        vg_buf_init(&out, 0);
        vg_json_writer_init(&w, &out);
        CHECK_ROW(rows[i].name);
        d = debugger_open(&arena, vg_slice_of(rows[i].device), vg_slice_of(rows[i].fhir),
                          rows[i].is_medtech, &errors);
        if (CHECK(d && errors == 0)) {
            CHECK(debugger_test(d, VG_SLICE("m"), vg_slice_of(rows[i].message), rows[i].is_envelope,
                                &w) == rows[i].errors);
            if (!CHECK(vg_slice_starts(vg_buf_slice(&out), vg_slice_of(rows[i].want))))
                printf("  got %.*s\n", VG_FMT(vg_buf_slice(&out)));
        }
        debugger_close(d);
        vg_buf_fini(&out);
        vg_arena_fini(&arena);
    }
}

static const struct {
    const char *name, *device, *fhir;
    size_t errors;
    const char *warning; /* NULL: none */
} checks[] = {
    {"a pair that fits", DEVICE("hr", "hr"), FHIR("HR", "hr"), 0, NULL},
    {"a device mapping alone", DEVICE("hr", "hr"), NULL, 0, NULL},
    {"a FHIR mapping alone", NULL, FHIR("hr", "hr"), 0, NULL},
    {"a type without a FHIR template", DEVICE("hr", "hr"), FHIR("rr", "hr"), 0,
     "2:12 the FHIR mapping has no template for type 'hr'; it has: rr"},
    {"a value that the FHIR template does not use", DEVICE("hr", "pulse"), FHIR("hr", "hr"), 0,
     "4:50 the FHIR mapping's template 'hr' does not use the value 'pulse'; it uses: hr"},
    {"errors in both", "{}", "{}", 2, NULL},
    {"warnings only without errors", DEVICE("hr", "pulse"), "[", 1, NULL},
};

struct seen {
    size_t errors, warnings;
    char text[256]; /* of the first warning */
};

static void see(void *ctx, const struct debugger_finding *finding)
{
    struct seen *seen = ctx;

    seen->errors += !finding->is_warning;
    if (finding->is_warning && seen->warnings++ == 0)
        (void)snprintf(seen->text, sizeof(seen->text), "%u:%u %.*s", finding->line, finding->column,
                       VG_FMT(finding->text));
}

static void test_checks(void)
{
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        struct seen seen = {.errors = 0};
        struct vg_arena arena;
        struct debugger *d;
        size_t errors = 0;

        vg_arena_init(&arena, 0);
        CHECK_ROW(checks[i].name);
        d = debugger_open(&arena, vg_slice_of(checks[i].device), vg_slice_of(checks[i].fhir), false,
                          &errors);
        if (CHECK(d != NULL))
            debugger_findings(d, see, &seen);
        CHECK(errors == checks[i].errors && seen.errors == errors);
        CHECK(seen.warnings == (checks[i].warning != NULL));
        if (!CHECK(strcmp(seen.text, checks[i].warning ? checks[i].warning : "") == 0))
            printf("  got %s\n", seen.text);
        debugger_close(d);
        vg_arena_fini(&arena);
    }
}

int main(void)
{
    RUN(test_messages);
    RUN(test_checks);
    return vg_test_report();
}
