/* decode_test.c -- HL7 v2 and GATT into the envelope's Body: what is a value, what is none, and
 * what is said of it. */
#include "connector/decode.h"

#include "base/crypto.h"
#include "base/file.h"
#include "vg_test.h"

#include <math.h>

#define RECEIVED_US INT64_C(1772366700000000) /* 2026-03-01T12:05:00Z */

/* What became of it: JSON text, or "!code"; *ret_partial "" or a code. */
static const char *run(const struct decode_input *input, const char *zone, const char **ret_partial,
                       uint32_t *ret_absent)
{
    static char text[64 << 10];
    struct decode_config config = {0};
    struct decode_input in = *input;
    struct decoded decoded;
    struct vg_arena arena;
    struct vg_err err = {0};

    *ret_partial = "";
    *ret_absent = 0;
    CHECK(zone_parse(vg_slice_of(zone), &config.zone));
    in.received_us = RECEIVED_US;
    in.time_us = in.time_us ? in.time_us : RECEIVED_US;
    vg_arena_init(&arena, 64u << 20);
    if (decode_body(&config, &in, &arena, &decoded, &err) != VG_OK) {
        (void)snprintf(text, sizeof(text), "!%s", err.code);
    } else {
        (void)snprintf(text, sizeof(text), "%.*s", VG_FMT(decoded.body->source));
        *ret_partial = decoded.partial.code ? decoded.partial.code : "";
        *ret_absent = decoded.absent;
    }
    vg_arena_fini(&arena);
    return text;
}

/* ---- HL7 ---- */

#define MSH "MSH|^~\\&|MON|WARD|||20260301120000+0000||ORU^R01^ORU_R01|7|P|2.6\r"
#define BARE "MSH|^~\\&|MON|WARD|||20260301120000||ORU^R01^ORU_R01|7|P|2.6\r"
#define OBX(value)                                                                                 \
    "OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1|" value                                            \
    "|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||20260301120000\r"
#define OBX_STATUS(status) "OBX|1|NM|147842^^MDC||72|264864^^MDC|||||" status "|||20260301120000\r"
#define OBX_TIME(time) "OBX|1|NM|147842^^MDC||72|264864^^MDC|||||R|||" time "\r"

static const struct {
    const char *name, *message, *zone;
    const char *want, *never; /* parts of the JSON; NULL = do not look */
    const char *partial;      /* NULL = nothing is wrong */
    uint32_t absent;
} hl7_rows[] = {
    {"a number keeps its digits", MSH OBX("72.50"), "", "\"value\":72.50,", NULL, NULL, 0},
    {"a plus sign and leading zeros go", MSH OBX("+0072"), "", "\"value\":72,", NULL, NULL, 0},
    {"a number without digits before its point", MSH OBX("-.5"), "", "\"value\":-0.5,", NULL, NULL,
     0},
    {"a number without digits behind its point", MSH OBX("98."), "", "\"value\":98,", NULL, NULL,
     0},
    {"zero is a value", MSH OBX("0"), "", "\"value\":0,", "absent", NULL, 0},
    {"IEEE 11073's code and UCUM's unit", MSH OBX("72"), "", "\"mdc\":\"147842\"", NULL, NULL, 0},
    {"a unit in UCUM", MSH OBX("72"), "", "\"unit\":\"/min\",\"unitCode\":\"264864\"", NULL, NULL,
     0},
    {"a unit that is UCUM already", MSH "OBX|1|NM|8867-4^Heart rate^LN||72|{beats}/min^bpm^UCUM\r",
     "", "\"unit\":\"{beats}/min\"", NULL, NULL, 0},
    {"a unit that nobody knows has no UCUM", MSH "OBX|1|NM|1^x^L||72|furlongs\r", "",
     "\"unitCode\":\"furlongs\"", "\"unit\":", NULL, 0},
    {"Fahrenheit by its other code", MSH "OBX|1|NM|150344^^MDC||98.6|268160^MDC_DIM_FAHR^MDC\r", "",
     "\"unit\":\"[degF]\"", NULL, NULL, 0},
    {"LOINC as the alternate code", MSH "OBX|1|NM|HR^x^L^8867-4^Heart rate^LN||72\r", "",
     "\"loinc\":\"8867-4\"", "\"mdc\"", NULL, 0},
    {"-999 is no value", MSH OBX("-999"), "", "\"absent\":\"sentinel\"", "\"value\":", NULL, 1},
    {"-100 is no value", MSH OBX("-100"), "", "\"absent\":\"sentinel\"", "\"value\":", NULL, 1},
    {"-99.9 is no value", MSH OBX("-99.90"), "", "\"absent\":\"sentinel\"", "\"value\":", NULL, 1},
    {"32767 is no value", MSH OBX("32767"), "", "\"absent\":\"sentinel\"", "\"value\":", NULL, 1},
    {"8388607 is no value", MSH OBX("8388607"), "", "\"absent\":\"sentinel\"", "\"value\":", NULL,
     1},
    {"a sentinel as a text is none either", MSH "OBX|1|ST|147842^^MDC||-999\r", "",
     "\"absent\":\"sentinel\"", "\"value\":", NULL, 1},
    {"dashes are no value", MSH OBX("---"), "", "\"absent\":\"dashes\"", "\"value\":", NULL, 1},
    {"an empty one is no value", MSH OBX(""), "", "\"absent\":\"empty\"", "\"value\":", NULL, 1},
    {"HL7's null is no value", MSH OBX("\"\""), "", "\"absent\":\"null\"", "\"value\":", NULL, 1},
    {"a number that is none is told", MSH OBX("72x"), "", "\"absent\":\"not-a-number\"",
     "\"value\":", "hl7.value", 1},
    {"a number with an exponent is none", MSH OBX("1e3"), "", "not-a-number",
     "\"value\":", "hl7.value", 1},
    {"several values are no single one", MSH OBX("72~73"), "", "\"value\":[\"72\",\"73\"]", NULL,
     NULL, 0},
    {"X: not obtained", MSH OBX_STATUS("X"), "", "\"absent\":\"not-obtained\"", "\"value\":", NULL,
     1},
    {"F, final", MSH OBX_STATUS("F"), "", "\"value\":72", "absent", NULL, 0},
    {"no status", MSH OBX_STATUS(""), "", "\"value\":72", "absent", NULL, 0},
    {"D: taken back", MSH OBX_STATUS("D"), "", "\"absent\":\"withdrawn\"",
     "\"value\":", "hl7.withdrawn", 1},
    {"W: was wrong", MSH OBX_STATUS("W"), "", "\"absent\":\"withdrawn\"",
     "\"value\":", "hl7.withdrawn", 1},
    {"a status that nobody knows", MSH OBX_STATUS("Q"), "", "withdrawn",
     "\"value\":", "hl7.withdrawn", 1},
    {"a line that only names a part of the device counts for nothing",
     MSH "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X\r", "",
     "not-obtained", NULL, NULL, 0},
    {"a comparison is no number", MSH "OBX|1|SN|1^x^L||<^5\r", "",
     "\"value\":{\"comparator\":\"<\",\"number\":5}", NULL, NULL, 0},
    {"a ratio", MSH "OBX|1|SN|1^x^L||^1^:^128\r", "",
     "\"value\":{\"number\":1,\"separator\":\":\",\"number2\":128}", NULL, NULL, 0},
    {"a structured number that is plain", MSH "OBX|1|SN|1^x^L||=^120\r", "", "\"value\":120", NULL,
     NULL, 0},
    {"a coded value", MSH "OBX|1|CWE|80288-4^x^LN||A^alert^L\r", "",
     "\"value\":{\"code\":\"A\",\"text\":\"alert\",\"codeSystem\":\"L\"}", NULL, NULL, 0},
    {"a text with escapes", MSH "OBX|1|ST|1^x^L||a\\T\\b\\.br\\c\r", "", "\"value\":\"a&b\\nc\"",
     NULL, NULL, 0},
    {"a time's own zone", MSH OBX_TIME("20260301120000+0800"), "-05:00",
     "\"time\":\"2026-03-01T04:00:00Z\"", NULL, NULL, 0},
    {"else the zone of MSH-7", MSH OBX_TIME("20260301120000"), "-05:00",
     "\"time\":\"2026-03-01T12:00:00Z\"", NULL, NULL, 0},
    {"else the configured one", BARE OBX_TIME("20260301120000.25"), "-05:00",
     "\"time\":\"2026-03-01T17:00:00.250Z\"", NULL, NULL, 0},
    {"else no time at all", BARE OBX_TIME("20260301120000"), "", "\"timeText\":\"20260301120000\"",
     "\"time\":", "hl7.zone", 0},
    {"a day is no time of a reading", MSH OBX_TIME("20260301"), "Z", "\"timeText\":\"20260301\"",
     "\"timeFrom\"", NULL, 0},
    {"a time that is none does not fall back", MSH "OBR|1||||||20260301110000\r" OBX_TIME("soon"),
     "Z", "\"timeText\":\"soon\"", "\"timeFrom\"", NULL, 0},
    {"OBR-7 where OBX-14 is empty", MSH "OBR|1||||||20260301110000\r" OBX_TIME(""), "Z",
     "\"time\":\"2026-03-01T11:00:00Z\",\"timeFrom\":\"OBR-7\"", NULL, NULL, 0},
    {"neither: none; the message's own time is not the reading's", MSH OBX_TIME(""), "Z",
     "\"observations\":[{\"segment\":2", "\"timeFrom\"", NULL, 0},
    {"the equipment is the device", MSH "PV1||I|ICU^^5\rOBX|1|NM|1^x^L||72|||||||||||||00A0^X\r",
     "", "\"device\":\"00A0\"", NULL, NULL, 0},
    {"else the bed", MSH "PV1||I|ICU^^5^H^^\rOBX|1|NM|1^x^L||72\r", "", "\"device\":\"ICU^^5^H\"",
     NULL, NULL, 0},
    {"else the sender", MSH "PV1||I|^^^\rOBX|1|NM|1^x^L||72\r", "", "\"device\":\"MON\"",
     "\"location\"", NULL, 0},
    {"an empty PID names nobody", MSH "PID|||^^^^PI||^^^^^^L\rOBX|1|NM|1^x^L||72\r", "",
     "\"identifiers\":[]", "\"patientId\"", NULL, 0},
    {"of several identifiers the medical record number",
     MSH "PID|||A^^^H^PI~B^^^H&1.2&ISO^MR||Doe^Jane||19561104|F\rOBX|1|NM|1^x^L||72\r", "",
     "\"patientId\":\"B\"", NULL, NULL, 0},
    {"the patient's members",
     MSH "PID|||B^^^H&1.2&ISO^MR||Doe^Jane||19561104|F\rOBX|1|NM|1^x^L||72\r", "",
     "\"patient\":{\"id\":\"B\",\"identifiers\":[{\"id\":\"B\",\"system\":\"H\",\"type\":\"MR\"}],"
     "\"family\":\"Doe\",\"given\":\"Jane\",\"birthDate\":\"19561104\",\"sex\":\"F\"}",
     NULL, NULL, 0},
    {"nothing of one patient is left for the next",
     MSH "PID|||A\rPV1||I|ICU^^5\rOBR|1||||||20260301110000\rOBX|1|NM|1^x^L||72\r"
         "PID|||B\rOBX|2|NM|2^x^L||73\r",
     "Z",
     "{\"segment\":7,\"code\":\"2\",\"text\":\"x\",\"codeSystem\":\"L\",\"valueType\":\"NM\","
     "\"value\":73,"
     "\"device\":\"MON\",\"patientId\":\"B\"}",
     NULL, NULL, 0},
    {"segments by HL7's own names", MSH "ZPV||a^b&c~d|\"\"|\r", "",
     "{\"segment\":\"ZPV\",\"2\":\"a\",\"2.2\":\"b\",\"2.2.2\":\"c\",\"2[2]\":\"d\",\"3\":null}",
     NULL, NULL, 0},
    {"not an observation message", "MSH|^~\\&|A||||20260301||ADT^A01|1|P|2.6\r", "", "!hl7.type",
     NULL, NULL, 0},
    {"an alarm is none", "MSH|^~\\&|A||||20260301||ORU^R40|1|P|2.6\r", "", "!hl7.type", NULL, NULL,
     0},
    {"training", "MSH|^~\\&|A||||20260301||ORU^R01|1|T|2.6\r", "", "!hl7.processing", NULL, NULL,
     0},
    {"a set that is not served", "MSH|^~\\&|A||||20260301||ORU^R01|1|P|2.6||||||8859/5\r", "",
     "!hl7.charset", NULL, NULL, 0},
    {"not HL7", "{}", "", "!hl7.syntax", NULL, NULL, 0},
};

static void test_hl7(void)
{
    for (size_t i = 0; i < sizeof(hl7_rows) / sizeof(hl7_rows[0]); i++) {
        const struct decode_input input = {.content_type = VG_SLICE("application/hl7-v2+er7"),
                                           .payload = vg_slice_of(hl7_rows[i].message)};
        const char *partial;
        uint32_t absent;
        const char *json = run(&input, hl7_rows[i].zone, &partial, &absent);
        const char *observations = strstr(json, "\"observations\"");

        CHECK_ROW(hl7_rows[i].name);
        if (!CHECK(strstr(json, hl7_rows[i].want) != NULL))
            printf("  %s\n", json);
        if (hl7_rows[i].never && observations)
            CHECK(strstr(observations, hl7_rows[i].never) == NULL);
        if (!CHECK(strcmp(partial, hl7_rows[i].partial ? hl7_rows[i].partial : "") == 0))
            printf("  %s\n", partial);
        CHECK(absent == hl7_rows[i].absent);
    }
}

static void test_content_types(void)
{
    CHECK(decode_is_needed(VG_SLICE("application/hl7-v2+er7")));
    CHECK(decode_is_needed(VG_SLICE("x-application/HL7-v2+er7; charset=utf-8")));
    CHECK(decode_is_needed(VG_SLICE("application/vnd.bluetooth.gatt ;x")));
    CHECK(!decode_is_needed(VG_SLICE("application/json")));
    CHECK(!decode_is_needed(VG_SLICE("")));
    CHECK(!decode_is_needed((struct vg_slice){0}));
}

/* ---- zones ---- */

static void test_zones(void)
{
    static const struct {
        const char *text;
        bool is_right;
        int32_t offset_s;
    } rows[] = {{"", true, 0},           {"Z", true, 0},           {"UTC", true, 0},
                {"+05:30", true, 19800}, {"-03:00", true, -10800}, {"local", true, 0},
                {"+5:30", false, 0},     {"CET", false, 0},        {"+15:00", false, 0},
                {"+01:60", false, 0}};
    struct zone zone;
    int64_t utc_us = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].text);
        CHECK(zone_parse(vg_slice_of(rows[i].text), &zone) == rows[i].is_right);
        CHECK(!rows[i].is_right || zone.offset_s == rows[i].offset_s);
    }
    CHECK_ROW("the machine's own zone, with daylight saving by a rule of its own");
    (void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    CHECK(zone_parse(VG_SLICE("local"), &zone));
    CHECK(zone_to_utc(&zone, INT64_C(1773482400500000), 0,
                      &utc_us)); /* winter: 2026-03-14 10:00:00.5 */
    CHECK(utc_us == INT64_C(1773478800500000));
    CHECK(zone_to_utc(&zone, INT64_C(1783245600000000), 0, &utc_us)); /* summer: 2026-07-05 10:00 */
    CHECK(utc_us == INT64_C(1783238400000000));
    CHECK_ROW("an hour that the clock left out: 2026-03-29 02:30");
    CHECK(!zone_to_utc(&zone, INT64_C(1774751400000000), 0, &utc_us));
    CHECK_ROW("an hour that it showed twice, 2026-10-25 02:30: the one nearer to the receipt");
    CHECK(zone_to_utc(&zone, INT64_C(1792895400000000), INT64_C(1792888300000000), &utc_us));
    CHECK(utc_us == INT64_C(1792888200000000));
    CHECK(zone_to_utc(&zone, INT64_C(1792895400000000), INT64_C(1792891900000000), &utc_us));
    CHECK(utc_us == INT64_C(1792891800000000));
    (void)unsetenv("TZ");
}

/* ---- GATT ---- */

static const struct {
    const char *name, *characteristic, *hex, *zone;
    const char *want, *never;
    const char *partial;
    uint32_t absent;
} gatt_rows[] = {
    {"heart rate in one byte", "2a37", "0048", "", "\"heartRate\":72,\"contact\":\"unsupported\"",
     "absent", NULL, 0},
    {"heart rate in two bytes", "0x2A37", "012C01", "", "\"heartRate\":300", NULL, NULL, 0},
    {"the whole UUID", "00002A37-0000-1000-8000-00805f9b34fb", "0648", "", "\"contact\":\"yes\"",
     NULL, NULL, 0},
    {"no skin contact", "2a37", "0448", "", "\"isUsable\":false,\"why\":\"no-skin-contact\"", NULL,
     NULL, 1},
    {"no beat found", "2a37", "0600", "", "\"why\":\"no-heart-rate-found\"", NULL, NULL, 1},
    {"energy and intervals", "2a37", "1E48E80300040004", "",
     "\"energyKj\":1000,\"rrMs\":[1000,1000]", NULL, NULL, 0},
    {"half an interval", "2a37", "1048000400", "", "!gatt.length", NULL, NULL, 0},
    {"no interval where one is said to be", "2a37", "1048", "", "!gatt.length", NULL, NULL, 0},
    {"more than its flags say", "2a37", "004848", "", "!gatt.length", NULL, NULL, 0},
    {"nothing", "2a37", "", "", "!gatt.length", NULL, NULL, 0},
    {"blood pressure in mmHg", "2a35", "007800500064", "", "!gatt.length", NULL, NULL, 0},
    {"blood pressure without anything else", "2a35", "00780050006400", "",
     "\"unit\":\"mm[Hg]\",\"systolic\":120,\"diastolic\":80,\"mean\":100", NULL, NULL, 0},
    {"blood pressure in kPa keeps its digits", "2a35", "01A0F06BF07DF0", "",
     "\"unit\":\"kPa\",\"systolic\":16.0,\"diastolic\":10.7,\"mean\":12.5", NULL, NULL, 0},
    {"time, pulse, user, status", "2a35",
     "1E78005000640"
     "0EA07030E0A1E2D4800022700",
     "+01:00",
     "\"time\":\"2026-03-14T09:30:45Z\",\"timeFrom\":\"device\",\"pulse\":72,\"userId\":2,"
     "\"statusBits\":39,"
     "\"status\":[\"body-movement\",\"cuff-too-loose\",\"irregular-pulse\",\"improper-position\"],"
     "\"pulseRange\":\"in-range\"",
     NULL, NULL, 0},
    {"a clock that is not set gives no time", "2a35", "027800500064000000030E0A1E2D", "Z",
     "\"systolic\":120", "\"time\":", "gatt.time", 0},
    {"a day that is none", "2a35", "02780050006400EA07021E0A1E2D", "Z", "\"systolic\":120",
     "\"time\":", "gatt.time", 0},
    {"no zone gives no time", "2a35", "02780050006400EA07030E0A1E2D", "", "\"systolic\":120",
     "\"time\":", "gatt.zone", 0},
    {"NaN", "2a35", "00FF0750006400", "", "\"absent\":{\"systolic\":\"not-a-number\"}",
     "\"systolic\":2047", NULL, 1},
    {"not at this resolution", "2a35", "00000850006400", "",
     "\"systolic\":\"not-at-this-resolution\"", NULL, NULL, 1},
    {"infinities", "2a35", "00FE0702086400", "",
     "{\"systolic\":\"positive-infinity\",\"diastolic\":\"negative-infinity\"}", NULL, NULL, 2},
    {"reserved", "2a35", "00010850006400", "", "\"systolic\":\"reserved\"", NULL, NULL, 1},
    {"2047 with an exponent is a number", "2a35", "00FFF750006400", "", "\"systolic\":204.7",
     "absent", NULL, 0},
    {"temperature keeps its digits", "2a1c", "00B00E00FE", "",
     "\"unit\":\"Cel\",\"temperature\":37.60,", NULL, NULL, 0},
    {"temperature in Fahrenheit, with its site", "2a1c", "05DA0300FF06", "",
     "\"unit\":\"[degF]\",\"temperature\":98.6,\"time\":\"2026-03-01T12:05:00Z\",\"timeFrom\":"
     "\"message\","
     "\"siteCode\":6,\"site\":\"mouth\"",
     NULL, NULL, 0},
    {"a negative mantissa", "2a1c", "0038FFFFFF", "", "\"temperature\":-20.0", NULL, NULL, 0},
    {"a positive exponent", "2a1c", "0003000001", "", "\"temperature\":30,", NULL, NULL, 0},
    {"temperature NaN", "2a1c", "00FFFF7F00", "", "\"temperature\":\"not-a-number\"",
     "\"temperature\":8", NULL, 1},
    {"temperature not at this resolution", "2a1c", "0000008000", "", "not-at-this-resolution", NULL,
     NULL, 1},
    {"temperature infinite", "2a1c", "00FEFF7F00", "", "positive-infinity", NULL, NULL, 1},
    {"oxygen saturation, spot", "2a5e", "0061004800", "", "\"spo2\":97,\"pulse\":72", NULL, NULL,
     0},
    {"spot with a time", "2a5e", "0161004800EA07030E0A1E2D", "Z",
     "\"time\":\"2026-03-14T10:30:45Z\"", NULL, NULL, 0},
    {"spot with a clock that is not set", "2a5e", "1161004800EA07030E0A1E2D", "Z", "\"spo2\":97",
     "\"time\":", "gatt.time", 0},
    {"a demonstration is no patient", "2a5e", "02610048000004", "",
     "\"status\":[\"demonstration\"]", "\"isUsable\":true", NULL, 1},
    {"out of the memory without a time", "2a5e", "02610048000002", "", "\"from-storage\"",
     "\"time\":", "gatt.time", 0},
    {"a sensor that fell off", "2a5e", "0461004800008000", "", "\"why\":\"sensor-disconnected\"",
     NULL, NULL, 1},
    {"a weak pulse is said, and counts", "2a5e", "0461004800200000", "",
     "\"sensor\":[\"low-perfusion\"],\"time\"", "\"isUsable\":false", NULL, 0},
    {"continuous, with all", "2a5f",
     "1F61004800620049006000470080000000000"
     "A00",
     "",
     "\"spo2Fast\":98,\"pulseFast\":73,\"spo2Slow\":96,\"pulseSlow\":71,\"status\":[\"validated\"],"
     "\"sensor\":[],",
     NULL, NULL, 0},
    {"continuous NaN", "2a5f", "00FF07FF07", "",
     "{\"spo2\":\"not-a-number\",\"pulse\":\"not-a-number\"}", NULL, NULL, 2},
    {"glucose in mg/dL", "2a18", "030100EA07030E0A1E00FBFF5FB011", "Z",
     "\"unit\":\"mg/dL\",\"glucose\":95,\"sampleType\":1,\"sampleLocation\":1,\"status\":[],"
     "\"time\":\"2026-03-14T10:25:00Z\",\"timeFrom\":\"device\"",
     NULL, NULL, 0},
    {"glucose in mmol/L", "2a18",
     "0601"
     "00EA07030E0A1E0036C011",
     "Z", "\"unit\":\"mmol/L\",\"glucose\":5.4", NULL, NULL, 0},
    {"control solution is no blood", "2a18",
     "0201"
     "00EA07030E0A1E005FB04A",
     "Z", "\"why\":\"control-solution\"", "\"isUsable\":true", NULL, 1},
    {"a result beyond the meter", "2a18",
     "0A01"
     "00EA07030E0A1E00FF07112000",
     "Z", "\"result-too-high\"", "\"glucose\":2", NULL, 2},
    {"a fault of its clock", "2a18",
     "0A01"
     "00EA07030E0A1E005FB0110008",
     "Z", "\"time-fault\"", "\"time\":", "gatt.time", 0},
    {"continuous glucose without its session's start", "2aa7", "060078000600", "",
     "\"glucose\":120,\"offsetMinutes\":6", "\"time\":", "gatt.time", 0},
    {"a record longer than what came", "2aa7", "070078000600", "", "!gatt.length", NULL, NULL, 0},
    {"a characteristic that is not served", "2a19", "64", "", "!gatt.characteristic", NULL, NULL,
     0},
    {"none", "", "64", "", "!gatt.characteristic", NULL, NULL, 0},
};

static size_t unhex(const char *hex, char *out)
{
    size_t len = 0;
    unsigned byte;

    while (sscanf(hex + 2 * len, "%2x", &byte) == 1 && hex[2 * len])
        out[len++] = (char)byte;
    return len;
}

static const char *run_gatt(const char *characteristic, const char *hex, const char *zone,
                            const char *session, const char **ret_partial, uint32_t *ret_absent)
{
    char bytes[256];
    const struct decode_input input = {.content_type = VG_SLICE("application/vnd.bluetooth.gatt"),
                                       .characteristic = vg_slice_of(characteristic),
                                       .session_start = vg_slice_of(session),
                                       .payload = {bytes, unhex(hex, bytes)}};

    return run(&input, zone, ret_partial, ret_absent);
}

static void test_gatt(void)
{
    for (size_t i = 0; i < sizeof(gatt_rows) / sizeof(gatt_rows[0]); i++) {
        const char *partial;
        uint32_t absent;
        const char *json = run_gatt(gatt_rows[i].characteristic, gatt_rows[i].hex,
                                    gatt_rows[i].zone, NULL, &partial, &absent);

        CHECK_ROW(gatt_rows[i].name);
        if (!CHECK(strstr(json, gatt_rows[i].want) != NULL))
            printf("  %s\n", json);
        if (gatt_rows[i].never && !CHECK(strstr(json, gatt_rows[i].never) == NULL))
            printf("  %s\n", json);
        if (!CHECK(strcmp(partial, gatt_rows[i].partial ? gatt_rows[i].partial : "") == 0))
            printf("  %s\n", partial);
        if (!CHECK(absent == gatt_rows[i].absent))
            printf("  %u %s\n", absent, json);
    }
}

static void test_a_session_gives_continuous_glucose_its_time(void)
{
    const char *partial;
    uint32_t absent;
    const char *json =
        run_gatt("2aa7", "060078000600", "", "2026-03-14T10:00:00+01:00", &partial, &absent);

    CHECK(strstr(json, "\"time\":\"2026-03-14T09:06:00Z\",\"timeFrom\":\"session\"") != NULL);
    CHECK(!*partial);
}

static const struct {
    const char *name, *payload, *want, *never, *partial;
} json_rows[] = {
    {"hex", "{\"characteristic\":\"2a37\",\"value\":\"0048\"}", "\"heartRate\":72", NULL, NULL},
    {"base64", "{\"characteristic\":\"2a37\",\"value\":\"AEg=\",\"encoding\":\"base64\"}",
     "\"heartRate\":72", NULL, NULL},
    {"when and by which device",
     "{\"characteristic\":\"2a37\",\"value\":\"0048\",\"time\":\"2026-03-14T10:00:00+01:00\","
     "\"device\":\"belt-1\"}",
     "\"device\":\"belt-1\",\"time\":\"2026-03-14T09:00:00Z\",\"timeFrom\":\"message\"", NULL,
     NULL},
    {"its own zone",
     "{\"characteristic\":\"2a35\",\"value\":\"02780050006400EA07030E0A1E2D\",\"zone\":\"-01:00\"}",
     "\"time\":\"2026-03-14T11:30:45Z\"", NULL, NULL},
    {"several, of which a wrong one costs no other",
     "[{\"characteristic\":\"2a37\",\"value\":\"0048\"},{\"characteristic\":\"2a37\",\"value\":"
     "\"1048\"},"
     "{\"characteristic\":\"2a5e\",\"value\":\"0061004800\"}]",
     "\"isUsable\":true},{\"characteristic\":\"2a5e\"", NULL, "gatt.length"},
    {"a time without a zone",
     "{\"characteristic\":\"2a37\",\"value\":\"0048\",\"time\":\"2026-03-14T10:00:00\"}",
     "!gatt.json", NULL, NULL},
    {"neither hex nor base64", "{\"characteristic\":\"2a37\",\"value\":\"004x\"}", "!gatt.json",
     NULL, NULL},
    {"an encoding that nobody knows",
     "{\"characteristic\":\"2a37\",\"value\":\"0048\",\"encoding\":\"x\"}", "!gatt.json", NULL,
     NULL},
    {"no value", "{\"characteristic\":\"2a37\"}", "!gatt", NULL, NULL},
    {"not JSON", "0048", "!gatt.json", NULL, NULL},
    {"an empty list", "[]", "!gatt.json", NULL, NULL},
};

static void test_gatt_json(void)
{
    for (size_t i = 0; i < sizeof(json_rows) / sizeof(json_rows[0]); i++) {
        const struct decode_input input = {.content_type =
                                               VG_SLICE("application/vnd.bluetooth.gatt+json"),
                                           .payload = vg_slice_of(json_rows[i].payload)};
        const char *partial;
        uint32_t absent;
        const char *json = run(&input, "", &partial, &absent);

        CHECK_ROW(json_rows[i].name);
        if (!CHECK(strstr(json, json_rows[i].want) != NULL))
            printf("  %s\n", json);
        CHECK(strcmp(partial, json_rows[i].partial ? json_rows[i].partial : "") == 0);
    }
}

/* ---- other people's vectors ---- */

/* Is the first number behind "name": in `json` this one? */
static bool has_number(const char *json, const char *name, double want)
{
    char key[64];
    const char *at;

    (void)snprintf(key, sizeof(key), "\"%s\":", name);
    at = strstr(json, key);
    return at && fabs(strtod(at + strlen(key), NULL) - want) < 1e-6 * (1 + fabs(want));
}

static void check_vector(const char *json, const char *partial, char *expected)
{
    static const struct {
        const char *key, *member;
        double factor;
    } keys[] = {{"hr", "heartRate", 1},    {"energy_kJ", "energyKj", 1},
                {"sys", "systolic", 1},    {"dia", "diastolic", 1},
                {"map", "mean", 1},        {"pulse", "pulse", 1},
                {"user", "userId", 1},     {"temp", "temperature", 1},
                {"type", "siteCode", 1},   {"spo2", "spo2", 1},
                {"seq", "sequence", 1},    {"trend", "trend", 1},
                {"quality", "quality", 1}, {"offset_min", "offsetMinutes", 1}};
    char *save = NULL;

    if (strncmp(expected, "INVALID", 7) == 0) {
        CHECK(strcmp(json, "!gatt.length") == 0);
        return;
    }
    if (strncmp(expected, "CRC ERROR", 9) == 0) {
        CHECK(strcmp(partial, "gatt.crc") == 0 && strstr(json, "glucose\":") == NULL);
        return;
    }
    if (strncmp(expected, "two records", 11) == 0) {
        CHECK(strstr(json, "\"glucose\":120,\"offsetMinutes\":5") != NULL);
        CHECK(strstr(json, "\"glucose\":120,\"offsetMinutes\":6") != NULL);
        return;
    }
    for (char *one = strtok_r(expected, ";", &save); one; one = strtok_r(NULL, ";", &save)) {
        char *value = strchr(one, '=');

        if (!value)
            continue;
        *value++ = '\0';
        if (strncmp(value, "NaN", 3) == 0) {
            CHECK(strstr(json, "\"not-a-number\"") != NULL);
            continue;
        }
        if (strcmp(one, "unit") == 0)
            CHECK(strstr(json, strcmp(value, "kPa") ? "\"unit\":\"mm[Hg]\"" : "\"unit\":\"kPa\"") !=
                  NULL);
        else if (strcmp(one, "contact") == 0)
            CHECK(strstr(json, "\"contact\":") && strstr(json, value));
        else if (strcmp(one, "rr_1024") == 0)
            CHECK(strstr(json, "\"rrMs\":[") != NULL);
        else if (strcmp(one, "status") == 0 && strstr(json, "2aa7") == NULL)
            CHECK(has_number(json, "statusBits", (double)strtol(value, NULL, 0)));
        else if (strcmp(one, "time") == 0 && value[0] != '-')
            CHECK(strstr(json, value) != NULL);
        else if (strcmp(one, "glucose") == 0) /* kg/L as mg/dL */
            CHECK(has_number(json, "glucose",
                             strtod(value, NULL) * (strstr(value, "kg/L") ? 1e5 : 1)));
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
            if (strcmp(one, keys[i].key) == 0 &&
                !(strcmp(one, "type") == 0 && strstr(json, "2a18")) &&
                (strcmp(one, "offset_min") || strstr(json, "2aa7")))
                if (!CHECK(has_number(json, keys[i].member, strtod(value, NULL))))
                    printf("  %s\n", json);
    }
}

static void test_vectors(void)
{
    FILE *file = fopen(VG_SOURCE_DIR "/../shared/data/gatt_vectors.tsv", "r");
    char line[1024];

    if (!file) {
        SKIP("gatt_vectors.tsv is not here");
        return;
    }
    while (fgets(line, sizeof(line), file)) {
        char *save = NULL, *characteristic = strtok_r(line, "\t\n", &save);
        char *hex = strtok_r(NULL, "\t\n", &save), *expected = strtok_r(NULL, "\t\n", &save);
        const char *partial, *json;
        uint32_t absent;

        if (!expected || strcmp(characteristic, "characteristic") == 0)
            continue;
        CHECK_ROW(hex);
        json = run_gatt(characteristic, hex, "Z", NULL, &partial, &absent);
        check_vector(json, partial, expected);
    }
    (void)fclose(file);
}

int main(void)
{
    RUN(test_content_types);
    RUN(test_zones);
    RUN(test_hl7);
    RUN(test_gatt);
    RUN(test_a_session_gives_continuous_glucose_its_time);
    RUN(test_gatt_json);
    RUN(test_vectors);
    return vg_test_report();
}
