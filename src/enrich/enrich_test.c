/* enrich_test.c -- the patient merged in, over a real journal and FHIR store. */
#include "enrich/enrich.h"

#include "base/crypto.h"
#include "base/json.h"
#include "vg_test.h"

#include <unistd.h>

#define T0 INT64_C(1773482400000000) /* 2026-03-14T10:00:00Z */

static struct fhir_store *store;
static struct stream *stream;
static struct enrich *enrich;
static struct vg_arena arena;
static char dir[] = "/tmp/vigil-enrich-XXXXXX";

static void put(const char *type, const char *id, const char *body)
{
    struct fhir_write write = {.what = FHIR_UPDATE,
                               .type = vg_slice_of(type),
                               .id = vg_slice_of(id),
                               .body = vg_slice_of(body)};
    struct fhir_written written;
    struct vg_err err = {0};

    if (!CHECK(fhir_commit(store, &write, 1, &arena, &written, NULL, &err) == VG_OK))
        printf("  %s\n", err.text);
}

static void put_flag(const char *id, const char *patient, const char *code, const char *status)
{
    struct vg_slice body = vg_arena_printf(
        &arena,
        "{\"resourceType\":\"Flag\",\"id\":\"%s\",\"status\":\"%s\",\"code\":{\"coding\":[{"
        "\"system\":"
        "\"https://vigil.health/codes\",\"code\":\"%s\"}]},\"subject\":{\"reference\":"
        "\"Patient/%s\"}}",
        id, status, code, patient);

    put("Flag", id, body.ptr);
}

/* One normalized record through the stage: the record that comes out, or "!reason". */
static const char *run(const char *patient, const char *time)
{
    static char text[4096];
    struct vg_slice value = vg_arena_printf(
        &arena,
        "{\"Type\":\"heartrate\",\"OccurrenceTimeUtc\":\"%s\",\"IngestionTimeUtc\":"
        "\"2026-03-14T10:00:01.25Z\",\"DeviceId\":\"bed-4\",\"PatientId\":null,\"EncounterId\":"
        "null,"
        "\"CorrelationId\":null,\"Properties\":[{\"Name\":\"hr\",\"Value\":\"72\"}]}",
        time);
    struct vg_slice fhir = vg_arena_printf(
        &arena,
        "{\"patient\":\"%s\",\"device\":\"d1\",\"observation\":\"o1\",\"values\":[{\"name\":\"hr\","
        "\"system\":\"http://loinc.org\",\"code\":\"8867-4\",\"value\":72.50,\"unit\":\"/min\"}]}",
        patient);
    struct stream_record record = {
        .seq = 1, .time_us = T0, .key = VG_SLICE("bed-4"), .value = value};
    struct stream_batch batch = {&record, 1, 2};
    struct stream_consumer *consumer = NULL;
    struct vg_buf headers;
    struct stream_out out;
    struct vg_err err = {0};
    uint64_t first = 0;

    vg_buf_init(&headers, 0);
    stream_header_put(&headers, "trace", VG_SLICE("0-7"));
    stream_header_put(&headers, "fhir", fhir);
    record.headers = vg_buf_slice(&headers);
    stream_out_init(&out);
    text[0] = '\0';
    if (CHECK(enrich_stage_ops()->process(enrich, &batch, &out, &err) == VG_OK) &&
        CHECK(out.record_count == 1) &&
        CHECK(stream_commit(stream, 0, &out, &first, &err) == VG_OK))
        for (int topic = 0; topic < 2; topic++) {
            if (!CHECK(stream_consumer_open(stream, 0, topic ? STREAM_DEADLETTER : STREAM_ENRICHED,
                                            "test", &consumer, &err) == VG_OK))
                break;
            stream_seek(consumer, first);
            if (stream_read(consumer, 1, 0, &batch, &err) == VG_OK) {
                struct vg_json *root;

                CHECK(vg_slice_is(stream_header_get(batch.records[0].headers, "trace"), "0-7"));
                CHECK(vg_slice_is(batch.records[0].key, topic ? "bed-4" : patient));
                CHECK(vg_json_parse(&arena, batch.records[0].value, NULL, &root, NULL, NULL) ==
                      VG_OK);
                if (topic)
                    (void)snprintf(text, sizeof(text), "!%.*s",
                                   VG_FMT(vg_json_get_text(root, "reason")));
                else
                    (void)snprintf(text, sizeof(text), "%.*s", VG_FMT(batch.records[0].value));
            }
            stream_consumer_close(consumer);
        }
    else
        printf("  %s\n", err.text);
    stream_out_fini(&out);
    vg_buf_fini(&headers);
    return text;
}

static bool says(const char *patient, const char *what)
{
    const char *got = run(patient, "2026-03-14T10:00:00Z");

    if (strstr(got, what))
        return true;
    printf("  got %s\n", got);
    return false;
}

static void test_the_whole_record(void)
{
    const char *got;

    put("Patient", "p1",
        "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"identifier\":[{\"value\":\"MRN-1001\"}],"
        "\"name\":"
        "[{\"use\":\"nickname\",\"text\":\"Addie\"},{\"use\":\"official\",\"family\":\"Example\","
        "\"given\":[\"Ada\",\"Q\"]}],\"gender\":\"female\",\"birthDate\":\"1950-03-14\"}");
    put("Location", "w4", "{\"resourceType\":\"Location\",\"id\":\"w4\",\"name\":\"Ward 4\"}");
    put("Location", "b12",
        "{\"resourceType\":\"Location\",\"id\":\"b12\",\"name\":\"Ward 4, Bed 12\",\"partOf\":{"
        "\"reference\":\"Location/w4\"}}");
    put("Encounter", "e1",
        "{\"resourceType\":\"Encounter\",\"id\":\"e1\",\"status\":\"in-progress\",\"class\":{"
        "\"code\":"
        "\"IMP\"},\"subject\":{\"reference\":\"Patient/p1\"},\"location\":[{\"location\":{"
        "\"reference\":\"Location/w4\"},\"status\":\"completed\"},{\"location\":{\"reference\":"
        "\"Location/b12\"}}]}");
    got = run("p1", "2026-03-14T10:00:00Z");
    if (!CHECK(
            strcmp(
                got,
                "{\"patientId\":\"p1\",\"patient\":{\"birthDate\":\"1950-03-14\",\"ageYears\":76,"
                "\"gender\":\"female\",\"name\":\"Ada Q Example\",\"identifier\":\"MRN-1001\","
                "\"oxygenScale\":1},\"encounterId\":\"e1\",\"location\":\"Ward 4, Bed 12\","
                "\"unit\":\"Ward 4\",\"deviceId\":\"bed-4\",\"type\":\"heartrate\","
                "\"effectiveDateTime\":\"2026-03-14T10:00:00Z\",\"receivedTime\":"
                "\"2026-03-14T10:00:01.250Z\",\"observationId\":\"o1\",\"values\":[{"
                "\"name\":\"hr\",\"system\":\"http://loinc.org\",\"code\":\"8867-4\","
                "\"value\":72.50,\"unit\":\"/min\"}]}") == 0))
        printf("  got %s\n", got);
    /* The age is that of the reading's day, not of today. */
    CHECK(strstr(run("p1", "2026-03-13T23:59:59Z"), "\"ageYears\":75") != NULL);
}

/* Every ward has a Bed 2: where the bed's own name does not say which, the ward's stands before it.
 */
static void test_a_bed_names_its_ward(void)
{
    put("Patient", "p4", "{\"resourceType\":\"Patient\",\"id\":\"p4\"}");
    put("Location", "b2",
        "{\"resourceType\":\"Location\",\"id\":\"b2\",\"name\":\"Bed 2\",\"partOf\":{"
        "\"reference\":\"Location/w4\"}}");
    put("Encounter", "e4",
        "{\"resourceType\":\"Encounter\",\"id\":\"e4\",\"status\":\"in-progress\",\"class\":{"
        "\"code\":\"IMP\"},\"subject\":{\"reference\":\"Patient/p4\"},\"location\":[{"
        "\"location\":{\"reference\":\"Location/b2\"}}]}");
    CHECK(says("p4", "\"location\":\"Ward 4, Bed 2\",\"unit\":\"Ward 4\""));
}

static void test_little_is_known(void)
{
    put("Patient", "p2", "{\"resourceType\":\"Patient\",\"id\":\"p2\"}");
    CHECK(says("p2", "\"patient\":{\"oxygenScale\":1},\"deviceId\""));
    put("Patient", "p3", "{\"resourceType\":\"Patient\",\"id\":\"p3\",\"gender\":\"male\"}");
    CHECK(says("p3", "\"patient\":{\"gender\":\"male\",\"oxygenScale\":1},\"deviceId\""));
}

static void test_changes_are_seen(void)
{
    struct fhir_write gone = {
        .what = FHIR_DELETE, .type = VG_SLICE("Patient"), .id = VG_SLICE("p3")};
    struct fhir_written written;

    put("Patient", "p2",
        "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"name\":[{\"text\":\"Grace Example\"}]}");
    CHECK(says("p2", "Grace Example"));
    put("Encounter", "e1",
        "{\"resourceType\":\"Encounter\",\"id\":\"e1\",\"status\":\"in-progress\",\"class\":{"
        "\"code\":"
        "\"IMP\"},\"subject\":{\"reference\":\"Patient/p1\"},\"location\":[{\"location\":{"
        "\"reference\":\"Location/w4\"}}]}");
    CHECK(says("p1", "\"location\":\"Ward 4\",\"unit\":\"Ward 4\""));
    put("Location", "w4", "{\"resourceType\":\"Location\",\"id\":\"w4\",\"name\":\"Ward 5\"}");
    CHECK(says("p1", "\"location\":\"Ward 5\""));
    /* A bed's own name need not say the ward: other wards have a bed 12 as well. */
    put("Location", "b12",
        "{\"resourceType\":\"Location\",\"id\":\"b12\",\"name\":\"Bed 12\",\"partOf\":{"
        "\"reference\":\"Location/w4\"}}");
    put("Encounter", "e1",
        "{\"resourceType\":\"Encounter\",\"id\":\"e1\",\"status\":\"in-progress\",\"class\":{"
        "\"code\":"
        "\"IMP\"},\"subject\":{\"reference\":\"Patient/p1\"},\"location\":[{\"location\":{"
        "\"reference\":\"Location/b12\"}}]}");
    CHECK(says("p1", "\"location\":\"Ward 5, Bed 12\",\"unit\":\"Ward 5\""));
    put("Encounter", "e1",
        "{\"resourceType\":\"Encounter\",\"id\":\"e1\",\"status\":\"finished\",\"class\":{\"code\":"
        "\"IMP\"},\"subject\":{\"reference\":\"Patient/p1\"}}");
    CHECK(says("p1", "\"oxygenScale\":1},\"deviceId\""));
    CHECK(fhir_commit(store, &gone, 1, &arena, &written, NULL, NULL) == VG_OK);
    CHECK(says("p3", "!enrich.patient"));
    CHECK(says("p77", "!enrich.patient"));
}

static void test_oxygen_scale(void)
{
    CHECK(says("p1", "\"oxygenScale\":1"));
    put_flag("f1", "p1", "news2-high", "active");
    CHECK(says("p1", "\"oxygenScale\":1"));
    put_flag("f2", "p1", "spo2-scale-2", "active");
    CHECK(says("p1", "\"oxygenScale\":2"));
    CHECK(says("p2", "\"oxygenScale\":1"));
    put_flag("f3", "p1", "news2-high", "inactive"); /* another Flag changes nothing of the order */
    CHECK(says("p1", "\"oxygenScale\":2"));
    put_flag("f2", "p1", "spo2-scale-2", "inactive");
    CHECK(says("p1", "\"oxygenScale\":1"));
}

static void test_bad_records(void)
{
    static const char *const values[] = {"", "{", "[]", "{\"OccurrenceTimeUtc\":\"soon\"}"};

    for (size_t i = 0; i < 4; i++) {
        struct stream_record record = {.seq = 1, .value = vg_slice_of(values[i])};
        struct stream_batch batch = {&record, 1, 2};
        struct stream_out out;
        struct vg_err err = {0};

        CHECK_ROW(values[i]);
        stream_out_init(&out);
        CHECK(enrich_stage_ops()->process(enrich, &batch, &out, &err) == VG_OK);
        CHECK(out.record_count == 1); /* the dead letter */
        stream_out_fini(&out);
    }
}

int main(void)
{
    char fhir_path[80], stream_path[80], command[100];
    const struct fhir_config fhir = {.path = fhir_path, .base_url = "http://localhost/fhir"};
    const struct stream_config journal = {.dir = stream_path, .segment_bytes = 4u << 20};
    struct vg_err err = {0};

    vg_arena_init(&arena, 64u << 20);
    if (vg_crypto_init(&err) != VG_OK || !mkdtemp(dir))
        return 1;
    (void)snprintf(fhir_path, sizeof(fhir_path), "%s/fhir.db", dir);
    (void)snprintf(stream_path, sizeof(stream_path), "%s/stream", dir);
    if (fhir_open(&fhir, &store, &err) != VG_OK || stream_open(&journal, &stream, &err) != VG_OK ||
        enrich_open(&(struct enrich_config){.store = store}, &enrich, &err) != VG_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    RUN(test_the_whole_record);
    RUN(test_a_bed_names_its_ward);
    RUN(test_little_is_known);
    RUN(test_changes_are_seen);
    RUN(test_oxygen_scale);
    RUN(test_bad_records);
    enrich_close(enrich);
    stream_close(stream);
    fhir_close(store);
    vg_arena_fini(&arena);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (system(command) != 0)
        printf("could not remove %s\n", dir);
    return vg_test_report();
}
