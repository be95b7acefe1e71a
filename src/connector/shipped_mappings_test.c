/* shipped_mappings_test.c -- what mappings/hl7-*, gatt-* and all-* make of messages. */
#include "connector/debugger.h"
#include "connector/decode.h"

#include "base/file.h"
#include "vg_test.h"

#define NOW_US INT64_C(1772366700000000) /* 2026-03-01T12:05:00Z */

#define HL7(rest)                                                                                  \
    "MSH|^~\\&|MON||||20260301120000+0000||ORU^R01|7|P|2.6\rPID|||M1^^^H^MR\r"                     \
    "PV1||I|ICU^^5\rOBR|1||||||20260301115900\r" rest
#define NM(code, value, unit) "OBX|1|NM|" code "^^MDC||" value "|" unit "^^MDC\r"

static const struct {
    const char *name, *form, *payload;
    size_t measurements, errors;
    const char *want; /* in the document */
} rows[] = {
    {"heart rate", DECODE_HL7, HL7(NM("147842", "72.0", "264864")), 1, 0,
     "\"valueQuantity\":{\"value\":72,\"unit\":\"/min\""},
    {"the time of its order, its bed and its patient", DECODE_HL7,
     HL7(NM("147842", "72", "264864")), 1, 0,
     "\"occurrenceTimeUtc\":\"2026-03-01T11:59:00Z\",\"deviceId\":\"ICU^^5\",\"patientId\":\"M1\""},
    {"a unit that is none of a heart rate's is told", DECODE_HL7, HL7(NM("147842", "72", "262688")),
     0, 1, "IncompatibleDataException"},
    {"no unit is told", DECODE_HL7, HL7("OBX|1|NM|147842^^MDC||72\r"), 0, 1,
     "IncompatibleDataException"},
    {"zero is a value", DECODE_HL7, HL7(NM("151562", "0", "264928")), 1, 0, "\"value\":0,"},
    {"kPa become mm[Hg]", DECODE_HL7, HL7(NM("150021", "16.0", "265987")), 1, 0,
     "\"name\":\"sys\",\"value\":\"120\""},
    {"Fahrenheit is of its own type", DECODE_HL7, HL7(NM("150344", "98.6", "268160")), 1, 0,
     "\"value\":98.6,\"unit\":\"[degF]\""},
    {"Celsius", DECODE_HL7, HL7(NM("150344", "37.50", "268192")), 1, 0,
     "\"value\":37.5,\"unit\":\"Cel\""},
    {"a sentinel is no measurement", DECODE_HL7, HL7(NM("150456", "-100", "262688")), 0, 0,
     "\"measurements\":[]"},
    {"LOINC and UCUM", DECODE_HL7, HL7("OBX|1|NM|9279-1^x^LN||16|/min^^UCUM\r"), 1, 0,
     "\"code\":\"9279-1\""},
    {"consciousness by its code", DECODE_HL7, HL7("OBX|1|CWE|80288-4^x^LN||V^Voice^L\r"), 1, 0,
     "\"valueString\":\"V\""},
    {"a consciousness that is none is told", DECODE_HL7, HL7("OBX|1|CWE|80288-4^x^LN||Z^?^L\r"), 0,
     1, "IncompatibleDataException"},
    {"the local code of another system is not taken", DECODE_HL7,
     HL7("OBX|1|NM|147842^x^L||72|/min\r"), 0, 0, "\"measurements\":[]"},
    {"a belt", DECODE_GATT_JSON, "{\"characteristic\":\"2a37\",\"value\":\"0648\"}", 1, 0,
     "\"value\":72,\"unit\":\"/min\""},
    {"a belt without skin", DECODE_GATT_JSON, "{\"characteristic\":\"2a37\",\"value\":\"0448\"}", 0,
     0, "\"measurements\":[]"},
    {"a cuff in mm[Hg]", DECODE_GATT_JSON,
     "{\"characteristic\":\"2a35\",\"value\":\"00780050006400\"}", 1, 0,
     "{\"name\":\"sys\",\"value\":\"120\"},{\"name\":\"dia\",\"value\":\"80\"},{\"name\":\"map\","
     "\"value\":\"100\"}"},
    {"a cuff in kPa", DECODE_GATT_JSON,
     "{\"characteristic\":\"2a35\",\"value\":\"01A0F06BF07DF0\"}", 1, 0,
     "{\"name\":\"sys\",\"value\":\"120\"},{\"name\":\"dia\",\"value\":\"80.3\"},{\"name\":\"map\","
     "\"value\":\"93.8\"}"},
    {"a cuff without its systolic pressure", DECODE_GATT_JSON,
     "{\"characteristic\":\"2a35\",\"value\":\"00FF0750006400\"}", 1, 0, "dataAbsentReason"},
    {"a thermometer", DECODE_GATT_JSON, "{\"characteristic\":\"2a1c\",\"value\":\"00B00E00FE\"}", 1,
     0, "\"value\":37.6,\"unit\":\"Cel\""},
    {"an oximeter gives two", DECODE_GATT_JSON,
     "{\"characteristic\":\"2a5e\",\"value\":\"0061004800\"}", 2, 0, "\"value\":97,\"unit\":\"%\""},
    {"glucose in blood", DECODE_GATT_JSON,
     "{\"characteristic\":\"2a18\",\"value\":\"020100EA07030E0A1E005FB011\",\"zone\":\"Z\"}", 1, 0,
     "\"value\":95,\"unit\":\"mg/dL\""},
    {"glucose between cells", DECODE_GATT_JSON,
     "{\"characteristic\":\"2a18\",\"value\":\"020100EA07030E0A1E005FB019\",\"zone\":\"Z\"}", 1, 0,
     "\"code\":\"99504-3\""},
    {"continuous glucose", DECODE_GATT_JSON,
     "{\"characteristic\":\"2aa7\",\"value\":\"060078000600\",\"sessionStart\":"
     "\"2026-03-01T10:00:00Z\"}",
     1, 0, "\"code\":\"99504-3\""},
};

static struct vg_arena arena;

static struct vg_slice read(const char *name)
{
    struct vg_slice text = {0};
    struct vg_err err = {0};
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/mappings/%s.json", VG_SOURCE_DIR, name);
    CHECK(vg_file_read(&arena, path, 1u << 20, &text, &err) == VG_OK);
    return text;
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;

    while ((text = strstr(text, what))) {
        count++;
        text += strlen(what);
    }
    return count;
}

static void check_row(struct debugger *d, size_t i)
{
    const struct decode_input input = {.content_type = vg_slice_of(rows[i].form),
                                       .time_us = NOW_US,
                                       .received_us = NOW_US,
                                       .payload = vg_slice_of(rows[i].payload)};
    const struct decode_config config = {0};
    struct decoded decoded;
    struct vg_json_writer w;
    struct vg_err err = {0};
    struct vg_arena own;
    struct vg_slice envelope;
    struct vg_buf out;

    vg_arena_init(&own, 0);
    vg_buf_init(&out, 0);
    if (decode_body(&config, &input, &own, &decoded, &err) != VG_OK) {
        CHECK(rows[i].want == NULL);
    } else {
        size_t errors;

        envelope = vg_arena_printf(&own,
                                   "{\"Body\":%.*s,\"Properties\":{},\"SystemProperties\":{"
                                   "\"iothub-connection-device-id\":"
                                   "\"d1\"}}",
                                   VG_FMT(decoded.body->source));
        vg_json_writer_init(&w, &out);
        errors = debugger_test(d, VG_SLICE("m"), envelope, true, &w);
        vg_buf_put_byte(&out, 0);
        if (!CHECK(errors == rows[i].errors) ||
            !CHECK(count_of(out.ptr, "\"occurrenceTimeUtc\"") == rows[i].measurements) ||
            !CHECK(rows[i].want && strstr(out.ptr, rows[i].want)))
            printf("  %s\n", out.ptr);
    }
    vg_buf_fini(&out);
    vg_arena_fini(&own);
}

static void test_pair(const char *device, const char *fhir, const char *form)
{
    size_t errors = 1;
    struct debugger *d = debugger_open(&arena, read(device), read(fhir), false, &errors);

    if (!CHECK(d && errors == 0))
        return;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!form || strcmp(rows[i].form, form) == 0) {
            CHECK_ROW(rows[i].name);
            check_row(d, i);
        }
    debugger_close(d);
}

static void test_hl7(void)
{
    test_pair("hl7-device", "hl7-fhir", DECODE_HL7);
}

static void test_gatt(void)
{
    test_pair("gatt-device", "gatt-fhir", DECODE_GATT_JSON);
}

static void test_all_at_once(void)
{
    test_pair("all-device", "all-fhir", NULL);
}

int main(void)
{
    vg_arena_init(&arena, 256u << 20);
    RUN(test_hl7);
    RUN(test_gatt);
    RUN(test_all_at_once);
    vg_arena_fini(&arena);
    return vg_test_report();
}
