/* fhir_test.c -- what every engine of the FHIR store must do, in process. */
#include "base/crypto.h"
#include "base/db.h"
#include "fhir/engine.h"
#include "fhir/fhir.h"

#include <pthread.h>
#include <unistd.h>

#include "vg_test.h"

#define BASE "https://vigil.example/fhir"

static struct fhir_store *store;
static struct vg_arena arena;
static const char *engine_name;
static char dir[] = "/tmp/vigil-fhir-XXXXXX";
static char path[64];
static int store_number;

static void store_new(void)
{
    struct fhir_config config = {.engine = engine_name, .path = path, .base_url = BASE};
    struct vg_err err = {0};

    fhir_close(store);
    store = NULL;
    (void)snprintf(path, sizeof(path), "%s/%d.db", dir, store_number++);
    if (!CHECK(fhir_open(&config, &store, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        exit(1);
    }
    vg_arena_reset(&arena);
}

static void store_reopen(void)
{
    struct fhir_config config = {.engine = engine_name, .path = path, .base_url = BASE};

    fhir_close(store);
    store = NULL;
    CHECK(fhir_open(&config, &store, NULL) == VG_OK);
}

/* As if the table of search parameters had changed: at the next start the index is made anew. */
static void index_forget(void)
{
    sqlite3 *db = NULL;

    fhir_close(store);
    store = NULL;
    if (CHECK(vg_db_open(path, false, &db, NULL) == VG_OK))
        CHECK(vg_db_exec(db, "UPDATE setting SET value=0; DELETE FROM timeline", NULL) == VG_OK);
    vg_db_close(db);
    store_reopen();
}

static struct fhir_written write_one(struct fhir_write write, enum vg_status want)
{
    struct fhir_written written = {0};
    struct vg_err err = {0};
    enum vg_status st = fhir_commit(store, &write, 1, &arena, &written, NULL, &err);

    if (!CHECK(st == want))
        printf("  %s: %s\n", err.code ? err.code : "ok", err.text);
    return written;
}

static struct fhir_written put(const char *type, const char *id, const char *body)
{
    return write_one((struct fhir_write){.what = FHIR_UPDATE,
                                         .type = vg_slice_of(type),
                                         .id = vg_slice_of(id),
                                         .body = vg_slice_of(body)},
                     VG_OK);
}

static struct fhir_written create(const char *type, const char *body)
{
    return write_one((struct fhir_write){.what = FHIR_CREATE,
                                         .type = vg_slice_of(type),
                                         .body = vg_slice_of(body)},
                     VG_OK);
}

/* The ids found, separated by blanks. */
static const char *ids(const char *type, const char *query)
{
    static char text[4000];
    struct fhir_results results;
    struct vg_err err = {0};
    size_t len = 0;

    text[0] = '\0';
    if (fhir_search(store, vg_slice_of(type), vg_slice_of(query), &arena, &results, &err) !=
        VG_OK) {
        (void)snprintf(text, sizeof(text), "! %s %s", err.code, err.text);
        return text;
    }
    for (size_t i = 0; i < results.count; i++)
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%.*s", i ? " " : "",
                             i >= results.match_count ? "+" : "", VG_FMT(results.resources[i].id));
    return text;
}

static bool finds(const char *type, const char *query, const char *want)
{
    const char *got = ids(type, query);
    bool is_same = strcmp(got, want) == 0;

    if (!is_same)
        printf("  %s?%s: '%s', not '%s'\n", type, query, got, want);
    return is_same;
}

static bool body_is(const char *type, const char *id, const char *want_start, const char *want_end)
{
    struct fhir_resource resource;

    if (fhir_read(store, vg_slice_of(type), vg_slice_of(id), 0, &arena, &resource, NULL) != VG_OK)
        return false;
    bool is_same = vg_slice_starts(resource.body, vg_slice_of(want_start)) &&
                   resource.body.len > strlen(want_end) &&
                   memcmp(resource.body.ptr + resource.body.len - strlen(want_end), want_end,
                          strlen(want_end)) == 0;

    if (!is_same)
        printf("  %.*s\n", VG_FMT(resource.body));
    return is_same;
}

/* ---- texts ---- */

static void test_text_comes_back_as_it_was(void)
{
    static const struct {
        const char *name, *type, *body, *start, *end;
    } cases[] = {
        {"decimals keep their digits, zones stay", "Observation",
         "{\"resourceType\":\"Observation\",\"id\":\"x\",\"status\":\"final\",\"code\":{\"text\":"
         "\"t\"},"
         "\"effectiveDateTime\":\"2026-03-14T10:00:00.2500+05:30\",\"valueQuantity\":{\"value\":38."
         "20}}",
         "{\"resourceType\":\"Observation\",\"id\":\"x\",\"meta\":{\"versionId\":\"1\","
         "\"lastUpdated\":\"20",
         "Z\"},\"status\":\"final\",\"code\":{\"text\":\"t\"},\"effectiveDateTime\":"
         "\"2026-03-14T10:00:00.2500+05:30\",\"valueQuantity\":{\"value\":38.20}}"},
        {"blanks and order stay", "Patient",
         "{ \"gender\" : \"male\",\n \"resourceType\" : \"Patient\" , \"id\" : \"x\" }",
         "{ \"gender\" : \"male\",\n \"resourceType\" : \"Patient\" , \"id\" : "
         "\"x\",\"meta\":{\"versionId\":\"1\"",
         "Z\"} }"},
        {"the client's own meta is kept, but version and time", "Patient",
         "{\"meta\":{\"versionId\":\"77\",\"tag\":[{\"code\":\"a\"}],\"lastUpdated\":\"1999-01-"
         "01T00:00:00Z\"},"
         "\"resourceType\":\"Patient\"}",
         "{\"meta\":{\"versionId\":\"1\",\"lastUpdated\":\"20",
         "\"tag\":[{\"code\":\"a\"}]},\"resourceType\":\"Patient\",\"id\":\"x\"}"},
        {"an exponent is legal and stays", "Observation",
         "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"t\"},"
         "\"valueQuantity\":{\"value\":1.2E+2}}",
         "{\"resourceType\":\"Observation\",\"id\":\"x\"", "{\"value\":1.2E+2}}"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_ROW(cases[i].name);
        store_new();
        CHECK(put(cases[i].type, "x", cases[i].body).http_status == 201);
        CHECK(body_is(cases[i].type, "x", cases[i].start, cases[i].end));
    }
}

static void test_refusals(void)
{
#define OBS "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"t\"}"
    static const struct {
        const char *name, *type, *body;
        int http_status;
        const char *expression;
    } cases[] = {
        {"not JSON", "Patient", "{\"resourceType\":\"Patient\"", 400, ""},
        {"a duplicate member", "Patient",
         "{\"resourceType\":\"Patient\",\"active\":true,\"active\":true}", 400, ""},
        {"another type", "Patient", "{\"resourceType\":\"Device\"}", 400, "resourceType"},
        {"a bad id", "Patient", "{\"resourceType\":\"Patient\",\"id\":\"dev_1\"}", 400, "id"},
        {"null", "Patient", "{\"resourceType\":\"Patient\",\"gender\":null}", 400,
         "Patient.gender"},
        {"an empty array", "Patient", "{\"resourceType\":\"Patient\",\"name\":[]}", 400,
         "Patient.name"},
        {"an empty object", "Patient", "{\"resourceType\":\"Patient\",\"name\":[{}]}", 400,
         "Patient.name[0]"},
        {"an empty text", "Patient", "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"\"}]}",
         400, "Patient.name[0].family"},
        {"a code outside a required binding", "Patient",
         "{\"resourceType\":\"Patient\",\"gender\":\"m\"}", 400, "Patient.gender"},
        {"no status", "Observation", "{\"resourceType\":\"Observation\",\"code\":{\"text\":\"t\"}}",
         400, "Observation.status"},
        {"no code", "Observation", "{\"resourceType\":\"Observation\",\"status\":\"final\"}", 400,
         "Observation.code"},
        {"two values", "Observation", OBS ",\"valueString\":\"a\",\"valueInteger\":1}", 400,
         "Observation.value"},
        {"two values in a component", "Observation",
         OBS
         ",\"component\":[{\"code\":{\"text\":\"t\"},\"valueString\":\"a\",\"valueInteger\":1}]}",
         400, "Observation.component[0].value"},
        {"a value and a reason for none", "Observation",
         OBS ",\"valueString\":\"a\",\"dataAbsentReason\":{\"text\":\"x\"}}", 422, "Observation"},
        {"a time without a zone", "Observation",
         OBS ",\"effectiveDateTime\":\"2026-03-14T10:00:00\"}", 400, "Observation.effective"},
        {"a time without seconds", "Observation",
         OBS ",\"effectiveDateTime\":\"2026-03-14T10:00Z\"}", 400, "Observation.effective"},
        {"the 30th of February", "Observation", OBS ",\"effectiveDateTime\":\"2026-02-30\"}", 400,
         "Observation.effective"},
        {"an instant of a day", "Observation", OBS ",\"issued\":\"2026-02-20\"}", 400,
         "Observation.issued"},
        {"a birth date with a time", "Patient",
         "{\"resourceType\":\"Patient\",\"birthDate\":\"2026-02-20T10:00:00Z\"}", 400,
         "Patient.birthDate"},
        {"a reference to no type of R4", "Observation",
         OBS ",\"subject\":{\"reference\":\"Pattient/1\"}}", 400, "Observation.subject.reference"},
        {"a reference with a bad id", "Observation",
         OBS ",\"subject\":{\"reference\":\"Patient/a_b\"}}", 400, "Observation.subject.reference"},
        {"a conditional reference outside a transaction", "Observation",
         OBS ",\"subject\":{\"reference\":\"Patient?identifier=a\"}}", 400,
         "Observation.subject.reference"},
        {"a period that ends before it starts", "Flag",
         "{\"resourceType\":\"Flag\",\"status\":\"active\",\"code\":{\"text\":\"t\"},\"subject\":{"
         "\"reference\":"
         "\"Patient/1\"},\"period\":{\"start\":\"2026-03-14\",\"end\":\"2026-03-13\"}}",
         422, "Flag.period"},
        {"a probability that is a fraction is no error, above 100 is", "RiskAssessment",
         "{\"resourceType\":\"RiskAssessment\",\"status\":\"final\",\"subject\":{\"reference\":"
         "\"Patient/1\"},"
         "\"prediction\":[{\"probabilityDecimal\":100.5}]}",
         422, "RiskAssessment.prediction[0].probability"},
        {"what a summary left of it", "Patient",
         "{\"resourceType\":\"Patient\",\"meta\":{\"tag\":[{\"system\":\"http://"
         "terminology.hl7.org/"
         "CodeSystem/v3-ObservationValue\",\"code\":\"SUBSETTED\"}]}}",
         422, "meta.tag"},
        {"a leading zero", "Observation", OBS ",\"valueQuantity\":{\"value\":007}}", 400, ""},
        {"NaN", "Observation", OBS ",\"valueQuantity\":{\"value\":NaN}}", 400, ""},
        {"another id than in the address", "Patient", "{\"resourceType\":\"Patient\",\"id\":\"y\"}",
         400, "id"},
    };

    store_new();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fhir_written written = {0};
        struct fhir_write write = {.what = FHIR_UPDATE,
                                   .type = vg_slice_of(cases[i].type),
                                   .id = VG_SLICE("x"),
                                   .body = vg_slice_of(cases[i].body)};
        struct vg_err err = {0};
        struct fhir_resource resource;
        size_t failed = 99;

        CHECK_ROW(cases[i].name);
        CHECK(fhir_commit(store, &write, 1, &arena, &written, &failed, &err) == VG_REJECT);
        CHECK(failed == 0 && err.code);
        CHECK(written.http_status == cases[i].http_status);
        if (!CHECK(vg_slice_is(written.expression, cases[i].expression)))
            printf("  %.*s: %s\n", VG_FMT(written.expression), err.text);
        CHECK(fhir_read(store, write.type, write.id, 0, &arena, &resource, NULL) == VG_END);
    }
}

/* ---- versions ---- */

#define PATIENT(gender) "{\"resourceType\":\"Patient\",\"gender\":\"" gender "\"}"

static void test_versions(void)
{
    struct fhir_resource resource;
    struct fhir_results history;
    struct fhir_written written;

    store_new();
    uint64_t before = fhir_change_count(store, "Patient");

    CHECK(put("Patient", "p", PATIENT("male")).http_status == 201);
    CHECK(fhir_change_count(store, "Patient") > before);
    CHECK(fhir_change_count(store, "Device") == 0);
    written = put("Patient", "p", PATIENT("female"));
    CHECK(written.http_status == 200 && written.version == 2 && !written.is_unchanged);
    before = fhir_change_count(store, "Patient");
    written = put("Patient", "p", PATIENT("female"));
    CHECK(written.http_status == 200 && written.version == 2 && written.is_unchanged);
    CHECK(fhir_change_count(store, "Patient") == before);
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("p"), 0, &arena, &resource, NULL) ==
          VG_OK);
    /* What was read may be put back: nothing changes. */
    char *again = strndup(resource.body.ptr, resource.body.len);

    CHECK(put("Patient", "p", again).is_unchanged);
    free(again);
    CHECK(
        put("Patient", "p", "{ \"gender\":\"female\", \"id\":\"p\", \"resourceType\":\"Patient\"}")
            .is_unchanged);
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("p"), 1, &arena, &resource, NULL) ==
          VG_OK);
    CHECK(resource.version == 1 && !resource.is_deleted);
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("p"), 3, &arena, &resource, NULL) ==
          VG_END);

    struct fhir_write erase = {
        .what = FHIR_DELETE, .type = VG_SLICE("Patient"), .id = VG_SLICE("p")};

    CHECK(write_one(erase, VG_OK).http_status == 204);
    CHECK(write_one(erase, VG_OK).http_status == 204);
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("p"), 0, &arena, &resource, NULL) ==
          VG_OK);
    CHECK(resource.is_deleted && resource.version == 3 && resource.body.len == 0);
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("p"), 2, &arena, &resource, NULL) ==
          VG_OK);
    CHECK(!resource.is_deleted);
    CHECK(finds("Patient", "gender=female", ""));
    written = put("Patient", "p", PATIENT("female"));
    CHECK(written.http_status == 201 && written.version == 4);
    CHECK(finds("Patient", "gender=female", "p"));
    store_reopen();
    CHECK(finds("Patient", "gender=female", "p"));
    CHECK(fhir_history(store, VG_SLICE("Patient"), VG_SLICE("p"), &arena, &history, NULL) == VG_OK);
    CHECK(history.count == 4 && history.resources[0].version == 4);
    CHECK(history.resources[1].is_deleted && !history.resources[2].is_deleted);
    CHECK(fhir_history(store, VG_SLICE("Patient"), VG_SLICE("q"), &arena, &history, NULL) ==
          VG_END);
    CHECK(fhir_read(store, VG_SLICE("patient"), VG_SLICE("p"), 0, &arena, &resource, NULL) ==
          VG_REJECT);
}

static void test_conditions(void)
{
    static const char *const body =
        "{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"7\"}]}";
    struct fhir_write make = {.what = FHIR_CREATE,
                              .type = VG_SLICE("Patient"),
                              .body = vg_slice_of(body),
                              .if_none_exist = VG_SLICE("identifier=urn:mrn|7")};
    struct fhir_written first, second;

    store_new();
    first = write_one(make, VG_OK);
    second = write_one(make, VG_OK);
    CHECK(first.http_status == 201 && second.http_status == 200 && second.is_unchanged);
    CHECK(vg_slice_eq(first.id, second.id));
    (void)create("Patient", body);
    CHECK(write_one(make, VG_REJECT).http_status == 412);
    /* A condition that says nothing would match anybody. */
    make.if_none_exist = VG_SLICE("mrn=7");
    CHECK(write_one(make, VG_REJECT).http_status == 400);
    make.if_none_exist = VG_SLICE("_count=1");
    CHECK(write_one(make, VG_REJECT).http_status == 400);

    struct fhir_write change = {.what = FHIR_UPDATE,
                                .type = VG_SLICE("Patient"),
                                .id = VG_SLICE("q"),
                                .body = VG_SLICE(PATIENT("male")),
                                .if_match = 1};

    CHECK(write_one(change, VG_REJECT).http_status == 412); /* there is none */
    CHECK(put("Patient", "q", PATIENT("other")).version == 1);
    CHECK(write_one(change, VG_OK).version == 2);
    CHECK(write_one(change, VG_REJECT).http_status == 412);
}

static void test_commit_is_all_or_nothing(void)
{
    struct fhir_write writes[] = {
        {.what = FHIR_UPDATE,
         .type = VG_SLICE("Patient"),
         .id = VG_SLICE("a"),
         .body = VG_SLICE(PATIENT("male"))},
        {.what = FHIR_UPDATE,
         .type = VG_SLICE("Patient"),
         .id = VG_SLICE("b"),
         .body = VG_SLICE(PATIENT("male")),
         .if_match = 9},
        {.what = FHIR_UPDATE,
         .type = VG_SLICE("Patient"),
         .id = VG_SLICE("c"),
         .body = VG_SLICE(PATIENT("male"))},
    };
    struct fhir_written written[3];
    size_t failed = 0;

    store_new();
    CHECK(fhir_commit(store, writes, 3, &arena, written, &failed, NULL) == VG_REJECT);
    CHECK(failed == 1 && written[1].http_status == 412);
    CHECK(finds("Patient", "gender=male", ""));
    writes[1].if_match = 0;
    CHECK(fhir_commit(store, writes, 3, &arena, written, &failed, NULL) == VG_OK);
    CHECK(finds("Patient", "gender=male&_sort=_id", "a b c"));
    writes[1].id = VG_SLICE("a");
    CHECK(fhir_commit(store, writes, 3, &arena, written, &failed, NULL) == VG_REJECT);
    CHECK(failed == 1);
}

/* ---- searching ---- */

static void put_all(void)
{
    static const struct {
        const char *type, *id, *body;
    } all[] = {
        {"Patient", "p1",
         "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"active\":true,\"identifier\":[{\"system\":"
         "\"urn:mrn\",\"value\":\"100\"}],"
         "\"name\":[{\"family\":\"M\xc3\xbcller\",\"given\":[\"Zo\xc3\xab\",\"Ann\"]}],\"gender\":"
         "\"female\",\"birthDate\":\"1950-02\"}"},
        {"Patient", "p2",
         "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"identifier\":[{\"system\":\"urn:mrn\","
         "\"value\":\"200\"},{\"value\":\"100\"}],"
         "\"name\":[{\"family\":\"Mull\",\"given\":[\"Bo\"]}],\"gender\":\"male\",\"birthDate\":"
         "\"1950-02-03\"}"},
        {"Device", "d1",
         "{\"resourceType\":\"Device\",\"id\":\"d1\",\"status\":\"active\",\"patient\":{"
         "\"reference\":\"Patient/p1\"},"
         "\"identifier\":[{\"system\":\"urn:dev\",\"value\":\"SN1\"}]}"},
        {"Observation", "o1",
         "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\",\"category\":[{"
         "\"coding\":[{\"system\":\"urn:cat\",\"code\":\"vital-signs\"}]}],"
         "\"code\":{\"coding\":[{\"system\":\"http://"
         "loinc.org\",\"code\":\"8867-4\"}]},\"subject\":{\"reference\":\"Patient/p1\"},"
         "\"device\":{\"reference\":\"Device/d1\"},\"encounter\":{\"reference\":\"Encounter/e1\"},"
         "\"effectiveDateTime\":\"2026-03-14T10:00:00.250+01:00\",\"valueQuantity\":{\"value\":72,"
         "\"unit\":\"/min\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"/min\"}}"},
        {"Observation", "o2",
         "{\"resourceType\":\"Observation\",\"id\":\"o2\",\"status\":\"final\",\"category\":[{"
         "\"coding\":[{\"system\":\"urn:cat\",\"code\":\"vital-signs\"}]}],"
         "\"code\":{\"coding\":[{\"system\":\"http://"
         "loinc.org\",\"code\":\"8867-4\"}]},\"subject\":{\"reference\":\"Patient/p1/_history/1\"},"
         "\"effectiveDateTime\":\"2026-03-14T11:00:00Z\",\"valueQuantity\":{\"value\":120.0,"
         "\"unit\":\"/min\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"/min\"}}"},
        {"Observation", "o3",
         "{\"resourceType\":\"Observation\",\"id\":\"o3\",\"status\":\"preliminary\",\"code\":{"
         "\"coding\":[{\"system\":\"urn:other\",\"code\":\"8867-4\"}]},"
         "\"subject\":{\"reference\":\"" BASE "/Patient/"
         "p2\"},\"effectiveDateTime\":\"2026-03-14\","
         "\"valueQuantity\":{\"value\":38.2,\"unit\":\"C\"}}"},
        {"Observation", "o4",
         "{\"resourceType\":\"Observation\",\"id\":\"o4\",\"status\":\"final\",\"code\":{"
         "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"85354-9\"}]},"
         "\"subject\":{\"reference\":\"Patient/"
         "p1\"},\"effectivePeriod\":{\"start\":\"2026-03-14T22:00:00Z\",\"end\":\"2026-03-15T02:00:"
         "00Z\"},"
         "\"component\":[{\"code\":{\"coding\":[{\"system\":\"http://"
         "loinc.org\",\"code\":\"8480-6\"}]},\"valueQuantity\":{\"value\":118,\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"mm[Hg]\"}},"
         "{\"code\":{\"coding\":[{\"system\":\"http://"
         "loinc.org\",\"code\":\"8462-4\"}]},\"valueQuantity\":{\"value\":95,\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"mm[Hg]\"}}]}"},
        {"Observation", "o5",
         "{\"resourceType\":\"Observation\",\"id\":\"o5\",\"status\":\"final\",\"code\":{\"text\":"
         "\"open\"},\"subject\":{\"reference\":\"Device/d1\"},"
         "\"effectivePeriod\":{\"start\":\"2020-01-01\"}}"},
        {"Observation", "o6",
         "{\"resourceType\":\"Observation\",\"id\":\"o6\",\"status\":\"final\",\"code\":{\"text\":"
         "\"undated\"}}"},
        {"Flag", "f1",
         "{\"resourceType\":\"Flag\",\"id\":\"f1\",\"status\":\"active\",\"code\":{\"coding\":[{"
         "\"system\":\"urn:f\",\"code\":\"news2\"}]},"
         "\"subject\":{\"reference\":\"Patient/"
         "p1\"},\"period\":{\"start\":\"2026-03-14T10:00:00Z\"}}"},
        {"Flag", "f2",
         "{\"resourceType\":\"Flag\",\"id\":\"f2\",\"status\":\"inactive\",\"code\":{\"coding\":[{"
         "\"system\":\"urn:f\",\"code\":\"news2\"}]},"
         "\"subject\":{\"reference\":\"Patient/"
         "p1\"},\"period\":{\"start\":\"2026-03-13T10:00:00Z\",\"end\":\"2026-03-13T11:00:00Z\"}}"},
        {"RiskAssessment", "r1",
         "{\"resourceType\":\"RiskAssessment\",\"id\":\"r1\",\"status\":\"final\",\"subject\":{"
         "\"reference\":\"Patient/p1\"},"
         "\"occurrenceDateTime\":\"2026-03-14T10:05:00Z\",\"prediction\":[{\"probabilityDecimal\":"
         "83,\"qualitativeRisk\":{\"coding\":[{\"code\":\"high\"}]}}]}"},
        {"Encounter", "e1",
         "{\"resourceType\":\"Encounter\",\"id\":\"e1\",\"status\":\"in-progress\",\"class\":{"
         "\"system\":\"urn:act\",\"code\":\"IMP\"},"
         "\"subject\":{\"reference\":\"Patient/"
         "p1\"},\"location\":[{\"location\":{\"reference\":\"Location/bed4\"}}]}"},
    };

    store_new();
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        CHECK(put(all[i].type, all[i].id, all[i].body).http_status == 201);
}

static void test_search(void)
{
    static const struct {
        const char *type, *query, *want;
    } cases[] = {
        {"Patient", "_id=p1,p2,p3&_sort=_id", "p1 p2"},
        {"Patient", "_id=P1", ""},
        {"Patient", "identifier=urn:mrn|100", "p1"},
        {"Patient", "identifier=urn:mrn%7C100", "p1"},
        {"Patient", "identifier=100&_sort=_id", "p1 p2"},
        {"Patient", "identifier=|100", "p2"},
        {"Patient", "identifier=urn:mrn|&_sort=-_id", "p2 p1"},
        {"Patient", "identifier=urn:mrn|100&gender=male", ""},
        {"Patient", "identifier=urn:mrn|100,urn:mrn|200&gender=male", "p2"},
        {"Patient", "name=mull&_sort=_id", "p1 p2"},
        {"Patient", "name=muller", "p1"},
        {"Patient", "family=M%C3%9CLLER", "p1"},
        {"Patient", "family:exact=Mull", "p2"},
        {"Patient", "family:exact=mull", ""},
        {"Patient", "name:contains=ull&_sort=_id", "p1 p2"},
        {"Patient", "given=zoe", "p1"},
        {"Patient", "given=an", "p1"},
        {"Patient", "gender=female", "p1"},
        {"Patient", "gender:not=female", "p2"},
        {"Patient", "active=true", "p1"},
        {"Patient", "active:not=true", "p2"},
        {"Patient", "birthdate=1950-02&_sort=_id", "p1 p2"},
        {"Patient", "birthdate=1950-02-03", "p2"},
        {"Patient", "birthdate=gt1950-02-03", "p1"},
        {"Patient", "birthdate=lt1950-02-03", "p1"},
        {"Patient", "birthdate=ge1951", ""},
        {"Device", "patient=p1", "d1"},
        {"Device", "patient=Patient/p1&status=active", "d1"},
        {"Device", "identifier=urn:dev|SN1", "d1"},
        {"Device", "patient.identifier=urn:mrn|100", "d1"},
        {"Device", "patient.identifier=urn:mrn|999", ""},
        {"Observation", "patient=p1", "o4 o2 o1"},
        {"Observation", "patient=Patient/p1", "o4 o2 o1"},
        {"Observation", "subject=Patient/p1", "o4 o2 o1"},
        {"Observation", "subject:Patient=p1", "o4 o2 o1"},
        {"Observation", "subject=" BASE "/Patient/p1", "o4 o2 o1"},
        {"Observation", "subject=Device/d1", "o5"},
        {"Observation", "patient=Device/d1", ""},
        {"Observation", "patient=nobody", ""},
        {"Observation", "patient=p1,p2", "o4 o2 o1 o3"},
        {"Observation", "patient:Patient.identifier=urn:mrn|100&code=8867-4", "o2 o1"},
        {"Observation", "", "o4 o2 o1 o3 o5 o6"},
        {"Observation", "_sort=date", "o6 o5 o3 o1 o2 o4"},
        {"Observation", "_sort=-_lastUpdated", "o6 o5 o4 o3 o2 o1"},
        {"Observation", "code=8867-4", "o2 o1 o3"},
        {"Observation", "code=http://loinc.org|8867-4", "o2 o1"},
        {"Observation", "code=http%3A%2F%2Floinc.org%7C8867-4&patient=p1", "o2 o1"},
        {"Observation", "code=|8867-4", ""},
        {"Observation", "code:not=8867-4", "o4 o5 o6"},
        {"Observation", "code=8867-4,85354-9&patient=p1", "o4 o2 o1"},
        {"Observation", "code=8480-6", ""},
        {"Observation", "component-code=8480-6", "o4"},
        {"Observation", "combo-code=8480-6,8867-4", "o4 o2 o1 o3"},
        {"Observation", "status=preliminary", "o3"},
        {"Observation", "status:not=final", "o3"},
        {"Observation", "category=vital-signs", "o2 o1"},
        {"Observation", "category=urn:cat|vital-signs&patient=p1&_count=1", "o2"},
        {"Observation", "device=d1", "o1"},
        {"Observation", "device=Device/d1&patient=p1", "o1"},
        {"Observation", "encounter=e1", "o1"},
        {"Observation", "date=2026-03-14", "o2 o1 o3"},
        {"Observation", "patient=p1&date=2026-03-14", "o2 o1"},
        {"Observation", "date=2026", "o4 o2 o1 o3"},
        {"Observation", "date=2026-03-14T09:00:00Z", "o1"},
        {"Observation", "date=2026-03-14T10:00:00%2B01:00", "o1"},
        {"Observation", "date=2026-03-14T10:00:00+01:00", "o1"},
        {"Observation", "patient=p1&date=ge2026-03-14T11:00:00Z", "o4 o2"},
        {"Observation", "patient=p1&date=gt2026-03-14T11:00:00Z", "o4"},
        {"Observation", "patient=p1&date=lt2026-03-14T11:00:00Z", "o1"},
        {"Observation", "patient=p1&date=le2026-03-14T11:00:00Z", "o2 o1"},
        {"Observation", "date=lt2026-03-14T10:00Z", "o1 o3 o5"},
        {"Observation", "date=ge2030", "o5"},
        {"Observation", "date=gt2026-03-15T01:00:00Z", "o4 o5"},
        {"Observation", "date=sa2026-03-14T09:30:00Z", "o4 o2"},
        {"Observation", "date=eb2026-03-14T22:00:00Z", "o2 o1"},
        {"Observation", "date=ne2026-03-14", "o4 o5"},
        {"Observation", "patient=p1&date=ge2026-03-14T09:00:00Z&date=lt2026-03-14T11:00:00Z", "o1"},
        {"Observation", "value-quantity=72", "o1"},
        {"Observation", "value-quantity=gt72", "o2"},
        {"Observation", "value-quantity=ge72||/min", "o2 o1"},
        {"Observation", "value-quantity=38.2", "o3"},
        {"Observation", "value-quantity=38", "o3"},
        {"Observation", "value-quantity=38.20", "o3"},
        {"Observation", "value-quantity=38.0", ""},
        {"Observation", "value-quantity=lt100|http://unitsofmeasure.org|/min", "o1"},
        {"Observation", "value-quantity=38.2||C", "o3"},
        {"Observation", "code-value-quantity=http://loinc.org|8867-4$gt100", "o2"},
        {"Observation", "patient=p1&code-value-quantity=8867-4$lt100", "o1"},
        {"Observation", "component-code-value-quantity=8480-6$gt100", "o4"},
        {"Observation", "component-code-value-quantity=8462-4$gt100", ""},
        {"Observation", "combo-code-value-quantity=8462-4$lt100,8867-4$gt100", "o4 o2"},
        {"Observation", "combo-value-quantity=gt110", "o4 o2"},
        {"Observation", "unknown=1&patient=p2", "o3"},
        {"Observation", "patient=", "o4 o2 o1 o3 o5 o6"},
        {"Observation", "patient=p1&_include=Observation:subject&_count=1", "o4 +p1"},
        {"Observation",
         "patient=p1&_include=Observation:device&_include=Observation:patient&_sort=date",
         "o1 o2 o4 +d1 +p1"},
        {"Observation", "subject=Device/d1&_include=Observation:subject:Patient", "o5"},
        {"Flag", "patient=p1", "f2 f1"},
        {"Flag", "patient=p1&status=active", "f1"},
        {"Flag", "status=active", "f1"},
        {"Flag", "patient=p1&code=urn:f|news2&_sort=-date", "f1 f2"},
        {"Flag", "code=news2&status=inactive", "f2"},
        {"RiskAssessment", "patient=p1&date=ge2026-03-14T10:00:00Z&_sort=-date&_count=1", "r1"},
        {"RiskAssessment", "risk=high", "r1"},
        {"Encounter", "status=in-progress&location=bed4", "e1"},
        {"Encounter", "class=IMP&patient=p1", "e1"},
        {"Observation", "date=yesterday",
         "! fhir.invalid parameter date: a date is [prefix]YYYY[-MM[-DD[Thh:mm[:ss][zone]]]]"},
        {"Observation", "code:text=a", "! fhir.invalid parameter code does not have this modifier"},
        {"Observation", "value-quantity=x",
         "! fhir.invalid parameter value-quantity: a quantity is a number, or number|system|code"},
        {"Observation", "patient.name.family=x",
         "! fhir.invalid parameter patient cannot be chained like this"},
    };

    put_all();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_ROW(cases[i].query);
        CHECK(finds(cases[i].type, cases[i].query, cases[i].want));
        vg_arena_reset(&arena);
    }
    /* An index that was made anew answers the same. */
    index_forget();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_ROW(cases[i].query);
        CHECK(finds(cases[i].type, cases[i].query, cases[i].want));
        vg_arena_reset(&arena);
    }
}

static void test_totals_and_elements(void)
{
    struct fhir_results results;

    put_all();
    CHECK(fhir_search(store, VG_SLICE("Observation"), VG_SLICE("patient=p1&_summary=count"), &arena,
                      &results, NULL) == VG_OK);
    CHECK(results.has_total && results.total == 3 && results.count == 0 && !results.next_query.ptr);
    CHECK(fhir_search(store, VG_SLICE("Observation"), VG_SLICE("_total=accurate&_count=1&foo=1"),
                      &arena, &results, NULL) == VG_OK);
    CHECK(results.has_total && results.total == 6 && results.count == 1 && results.has_more);
    CHECK(vg_slice_is(results.self_query, "_total=accurate&_count=1"));
    CHECK(fhir_search(store, VG_SLICE("Observation"),
                      VG_SLICE("code=8867-4&patient=p1&_elements=valueQuantity&_count=1"), &arena,
                      &results, NULL) == VG_OK);
    if (CHECK(results.count == 1)) {
        struct vg_json *root = NULL;

        CHECK(vg_json_parse(&arena, results.resources[0].body, NULL, &root, NULL, NULL) == VG_OK);
        CHECK(vg_json_get(root, "valueQuantity") && vg_json_get(root, "status") &&
              vg_json_get(root, "code") && !vg_json_get(root, "subject"));
        CHECK(vg_slice_is(
            vg_json_get_text(vg_json_at(vg_json_get(vg_json_get(root, "meta"), "tag"), 0), "code"),
            "SUBSETTED"));
    }
}

/* ---- paging ---- */

static void put_series(const char *patient, int count)
{
    struct fhir_write writes[500];
    struct fhir_written written[500];
    struct vg_err err = {0};

    for (int i = 0; i < count; i++)
        writes[i] = (struct fhir_write){
            .what = FHIR_CREATE,
            .type = VG_SLICE("Observation"),
            .body = vg_arena_printf(
                &arena,
                "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"coding\":[{"
                "\"system\":"
                "\"http://loinc.org\",\"code\":\"%s\"},{\"system\":\"urn:x\",\"code\":\"both\"}]},"
                "\"subject\":{\"reference\":\"Patient/%s\"},\"effectiveDateTime\":"
                "\"2026-03-14T10:%02d:%02dZ\",\"valueQuantity\":{\"value\":%d}}",
                i % 2 ? "8867-4" : "9279-1", patient, i / 3 / 60, i / 3 % 60, i)};
    if (!CHECK(fhir_commit(store, writes, (size_t)count, &arena, written, NULL, &err) == VG_OK))
        printf("  %s %s\n", err.code, err.text);
}

static void test_pages_neither_skip_nor_repeat(void)
{
    static const char *const queries[] = {
        "patient=p1&_count=7",
        "patient=p1&_count=7&_sort=date",
        "_count=7&_sort=_lastUpdated",
        "_count=7&_sort=-_lastUpdated&patient=p1",
        "_count=7&_sort=_id",
        "_count=7&_sort=-_id&patient=p1",
        "code=both&_count=7&patient=p1",
        "code=8867-4,9279-1&_count=7",
        "combo-code=both&_count=7",
        "date=ge2026-03-14T10:00:00Z&date=lt2026-03-15&_count=7",
    };

    store_new();
    put_series("p1", 100);
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        struct vg_slice query = vg_slice_of(queries[i]);
        struct fhir_results results;
        struct vg_slice seen[200];
        size_t count = 0;
        bool is_new = true;

        CHECK_ROW(queries[i]);
        while (query.ptr && count < 150) {
            if (!CHECK(fhir_search(store, VG_SLICE("Observation"), query, &arena, &results, NULL) ==
                       VG_OK))
                break;
            CHECK(results.count <= 7);
            for (size_t n = 0; n < results.count; n++) {
                for (size_t k = 0; k < count; k++)
                    is_new &= !vg_slice_eq(seen[k], results.resources[n].id);
                seen[count++] = results.resources[n].id;
            }
            query = results.next_query;
        }
        CHECK(count == 100 && is_new);
        vg_arena_reset(&arena);
    }
}

/* ---- $lastn ---- */

static void test_lastn(void)
{
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"patient=p1&category=vital-signs", "o2"},
        {"patient=p1&category=vital-signs&max=2", "o2 o1"},
        {"patient=p1&code=8867-4,85354-9", "o4 o2"},
        {"subject=Patient/p1&code=http://loinc.org|8867-4", "o2"},
        {"patient=p1&code=nothing", ""},
        {"patient=p2&code=8867-4", "o3"},
    };
    struct fhir_results results;

    put_all();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char got[200] = "";

        CHECK_ROW(cases[i].query);
        CHECK(fhir_lastn(store, vg_slice_of(cases[i].query), &arena, &results, NULL) == VG_OK);
        for (size_t n = 0; n < results.count; n++)
            (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.*s", n ? " " : "",
                           VG_FMT(results.resources[n].id));
        if (!CHECK(strcmp(got, cases[i].want) == 0))
            printf("  %s\n", got);
    }
    CHECK_ROW("");
    CHECK(fhir_lastn(store, VG_SLICE("patient=p1"), &arena, &results, NULL) == VG_REJECT);
    CHECK(fhir_lastn(store, VG_SLICE("category=vital-signs"), &arena, &results, NULL) == VG_REJECT);
    /* A value that was withdrawn is not the newest. */
    CHECK(put("Observation", "o2",
              "{\"resourceType\":\"Observation\",\"status\":\"entered-in-error\",\"code\":{"
              "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"8867-4\"}]},"
              "\"subject\":{\"reference\":\"Patient/"
              "p1\"},\"effectiveDateTime\":\"2026-03-14T11:00:00Z\"}")
              .version == 2);
    CHECK(fhir_lastn(store, VG_SLICE("patient=p1&code=8867-4"), &arena, &results, NULL) == VG_OK);
    CHECK(results.count == 1 && vg_slice_is(results.resources[0].id, "o1"));
    /* Codes that share a coding are one group. */
    store_new();
    put_series("p9", 10);
    CHECK(fhir_lastn(store, VG_SLICE("patient=p9&code=both,8867-4,9279-1"), &arena, &results,
                     NULL) == VG_OK);
    CHECK(results.count == 1);
}

/* ---- threads ---- */

#define THREADS 50

static struct fhir_written outcomes[THREADS];
static struct fhir_write same_write;
static pthread_barrier_t barrier;

static void *commit_same(void *ctx)
{
    struct fhir_written *written = ctx;
    struct vg_arena own;
    struct vg_err err;

    vg_arena_init(&own, 0);
    (void)pthread_barrier_wait(&barrier);
    if (fhir_commit(store, &same_write, 1, &own, written, NULL, &err) != VG_OK &&
        written->http_status == 0)
        written->http_status = 999;
    vg_arena_fini(&own);
    return NULL;
}

static void race(void)
{
    pthread_t threads[THREADS];

    memset(outcomes, 0, sizeof(outcomes));
    CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, commit_same, &outcomes[i]) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    (void)pthread_barrier_destroy(&barrier);
}

static int outcome_count(int http_status)
{
    int count = 0;

    for (size_t i = 0; i < THREADS; i++)
        count += outcomes[i].http_status == http_status;
    return count;
}

static void test_races(void)
{
    store_new();
    same_write =
        (struct fhir_write){.what = FHIR_CREATE,
                            .type = VG_SLICE("Patient"),
                            .body = VG_SLICE("{\"resourceType\":\"Patient\",\"identifier\":[{"
                                             "\"system\":\"urn:mrn\",\"value\":\"7\"}]}"),
                            .if_none_exist = VG_SLICE("identifier=urn:mrn|7")};
    race();
    CHECK(outcome_count(201) == 1 && outcome_count(200) == THREADS - 1);
    CHECK(strlen(ids("Patient", "identifier=urn:mrn|7")) == 26);

    CHECK(put("Patient", "p", PATIENT("male")).version == 1);
    same_write = (struct fhir_write){.what = FHIR_UPDATE,
                                     .type = VG_SLICE("Patient"),
                                     .id = VG_SLICE("p"),
                                     .body = VG_SLICE(PATIENT("other")),
                                     .if_match = 1};
    race();
    CHECK(outcome_count(200) == 1 && outcome_count(412) == THREADS - 1);
}

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        return 1;
    vg_arena_init(&arena, (size_t)256 << 20);
    for (size_t i = 0; fhir_engines[i]; i++) {
        engine_name = fhir_engines[i]->name;
        RUN(test_text_comes_back_as_it_was);
        RUN(test_refusals);
        RUN(test_versions);
        RUN(test_conditions);
        RUN(test_commit_is_all_or_nothing);
        RUN(test_search);
        RUN(test_totals_and_elements);
        RUN(test_pages_neither_skip_nor_repeat);
        RUN(test_lastn);
        RUN(test_races);
    }
    fhir_close(store);
    vg_arena_fini(&arena);
    for (int i = 0; i < store_number; i++) {
        static const char *const ends[] = {"", "-wal", "-shm", "-lock"};
        char name[96];

        for (size_t n = 0; n < sizeof(ends) / sizeof(ends[0]); n++) {
            (void)snprintf(name, sizeof(name), "%s/%d.db%s", dir, i, ends[n]);
            (void)unlink(name);
        }
    }
    (void)rmdir(dir);
    return vg_test_report();
}
