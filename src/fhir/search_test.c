/* search_test.c -- searches by the parameters of R4, by every kind, modifier and control. */
#include "base/crypto.h"
#include "base/db.h"
#include "fhir/fhir_int.h"

#include <unistd.h>

#include "vg_test.h"

#define BASE "https://vigil.example/fhir"

static struct fhir_store *store;
static struct vg_arena arena;
static char dir[] = "/tmp/vigil-search-XXXXXX";
static char path[64];

static void store_open(void)
{
    struct fhir_config config = {.path = path, .base_url = BASE};
    struct vg_err err = {0};

    if (!CHECK(fhir_open(&config, &store, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        exit(1);
    }
}

static void put(const char *type, const char *id, const char *members)
{
    struct fhir_written written;
    struct vg_err err = {0};
    struct vg_slice body = vg_arena_printf(&arena, "{\"resourceType\":\"%s\",\"id\":\"%s\"%s%s}",
                                           type, id, *members ? "," : "", members);
    struct fhir_write write = {
        .what = FHIR_UPDATE, .type = vg_slice_of(type), .id = vg_slice_of(id), .body = body};

    if (!CHECK(fhir_commit(store, &write, 1, &arena, &written, NULL, &err) == VG_OK))
        printf("  %s/%s: %s\n", type, id, err.text);
}

/* The ids found separated by blanks; included ones with '+'. */
static const char *ids(const char *type, const char *query)
{
    static char text[4000];
    struct fhir_results results;
    struct vg_err err = {0};
    size_t len = 0;

    text[0] = '\0';
    if (fhir_search(store, vg_slice_of(type), vg_slice_of(query), &arena, &results, &err) !=
        VG_OK) {
        (void)snprintf(text, sizeof(text), "! %s", err.code);
        return text;
    }
    for (size_t i = 0; i < results.count; i++)
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%.*s", i ? " " : "",
                             i >= results.match_count ? "+" : "", VG_FMT(results.resources[i].id));
    return text;
}

#define CODED(system, code) "{\"coding\":[{\"system\":\"" system "\",\"code\":\"" code "\"}]}"
#define OBSERVATION(code) "\"status\":\"final\",\"code\":" CODED("http://loinc.org", code)
#define OF(name) ",\"subject\":{\"reference\":\"Patient/" name "\"}"
#define QUANTITY(value)                                                                            \
    "\"valueQuantity\":{\"value\":" value ",\"unit\":\"mm Hg\","                                   \
    "\"system\":\"http://unitsofmeasure.org\",\"code\":\"mm[Hg]\"}"

static void fill(void)
{
    put("Patient", "ann",
        "\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"1\"}],\"name\":[{\"family\":"
        "\"Müller\","
        "\"given\":[\"Ann\"]}],\"gender\":\"female\",\"birthDate\":\"1950-05-05\",\"address\":[{"
        "\"city\":\"Zürich\",\"use\":\"home\"}],\"telecom\":[{\"system\":\"phone\",\"value\":"
        "\"555\"},{\"system\":\"email\",\"value\":\"a@b\"}],\"meta\":{\"tag\":[{\"system\":"
        "\"urn:t\",\"code\":\"study\"}],\"profile\":[\"http://x/p|1\"],\"source\":\"urn:src\"}");
    put("Patient", "bob",
        "\"name\":[{\"family\":\"Abel\"}],\"gender\":\"male\",\"birthDate\":\"1960\","
        "\"deceasedDateTime\":\"2020-01-01\",\"managingOrganization\":{\"identifier\":{\"system\":"
        "\"urn:org\",\"value\":\"north\"}}");
    put("Patient", "cid", "\"active\":true,\"deceasedBoolean\":false");
    put("Practitioner", "viet", "\"name\":[{\"family\":\"Nguyễn\",\"given\":[\"Đức\"]}]");
    put("Practitioner", "greek", "\"name\":[{\"family\":\"Παπαδόπουλος\"}]");
    put("Practitioner", "russian", "\"name\":[{\"family\":\"Королёв\"}]");
    put("Organization", "north", "\"name\":\"North\"");
    put("Observation", "bp",
        OBSERVATION("85354-9")
            OF("ann") ",\"effectiveDateTime\":\"2026-03-14T10:00:00Z\",\"component\":[{"
                      "\"code\":" CODED("http://loinc.org", "8480-6") "," QUANTITY(
                          "118") "},{\"code\":" CODED("http://"
                                                      "loinc.org",
                                                      "8462-4") ","
                                                                "" QUANTITY("9"
                                                                            "5") "}]");
    put("Observation", "text",
        OBSERVATION("t-1") OF("ann") ",\"effectiveDateTime\":\"2026-03-15\",\"valueString\":"
                                     "\"Sinus rhythm\"");
    put("Observation", "day",
        OBSERVATION("d-1")
            OF("bob") ",\"effectiveDateTime\":\"2026-03-16\",\"valueDateTime\":"
                      "\"2026-02-02\",\"performer\":[{\"reference\":\"Patient/ann\"}]");
    put("Observation", "concept",
        OBSERVATION("c-1")
            OF("bob") ",\"effectivePeriod\":{\"start\":\"2026-03-16T23:00:00Z\","
                      "\"end\":\"2026-03-17T01:00:00Z\"},\"valueCodeableConcept\":" CODED("urn:v",
                                                                                          "yes"));
    put("RiskAssessment", "high",
        "\"status\":\"final\"" OF("ann") ",\"occurrenceDateTime\":\"2026-03-14T10:00:00Z\","
                                         "\"prediction\":[{\"probabilityDecimal\":83.5}]");
    put("RiskAssessment", "low",
        "\"status\":\"final\"" OF("bob") ",\"prediction\":[{\"probabilityDecimal\":7}]");
    put("ValueSet", "vs", "\"status\":\"active\",\"url\":\"http://acme.example/vs/one\"");
    put("ValueSet", "vs2", "\"status\":\"active\",\"url\":\"http://acme.example/other\"");
    put("Task", "t1",
        "\"status\":\"requested\",\"intent\":\"order\",\"focus\":{\"reference\":"
        "\"RiskAssessment/high\"},\"for\":{\"reference\":\"Patient/ann\"},\"authoredOn\":"
        "\"2026-03-14\",\"priority\":\"stat\"");
    put("Task", "t2",
        "\"status\":\"completed\",\"intent\":\"order\",\"for\":{\"reference\":\"Patient/bob\"},"
        "\"authoredOn\":\"2026-03-13\",\"priority\":\"asap\"");
    put("Group", "g",
        "\"type\":\"person\",\"actual\":false,\"characteristic\":[{\"code\":" CODED(
            "urn:c", "sex") ",\"valueCodeableConcept\":" CODED("urn:v",
                                                               "f") ",\"exclude\":false},{"
                                                                    "\"code\":" CODED(
                                                                        "urn:c",
                                                                        "age") ",\"valueBoolean\":"
                                                                               "true,\"exclude\":"
                                                                               "false}]");
    put("ImagingStudy", "i", "\"status\":\"available\"" OF("ann") ",\"started\":\"2026-01-01\"");
}

static void test_searches(void)
{
    static const struct {
        const char *name, *type, *query, *want;
    } cases[] = {
        {"a string without its accents", "Patient", "family=mull", "ann"},
        {"Vietnamese without marks", "Practitioner", "family=NGUYEN", "viet"},
        {"Greek capitals have no accents", "Practitioner", "family=ΠΑΠΑΔΟΠΟΥΛΟΣ", "greek"},
        {"Cyrillic in any case", "Practitioner", "family=КОРОЛЕВ", "russian"},
        {"part of an address", "Patient", "address-city=zurich", "ann"},
        {"any part of an address", "Patient", "address=ZUR", "ann"},
        {"a phone is no email", "Patient", "email=555", ""},
        {"a phone", "Patient", "phone=555", "ann"},
        {"a date of birth before", "Patient", "birthdate=lt1955", "ann"},
        {"one who died on a day has died", "Patient", "deceased=true", "bob"},
        {"one of whom nothing is said has not", "Patient", "deceased=false&_sort=_id", "ann cid"},
        {"missing", "Patient", "gender:missing=true", "cid"},
        {"not missing", "Patient", "gender:missing=false&_sort=_id", "ann bob"},
        {"a missing code", "Observation", "value-string:missing=false", "text"},
        {"a missing patient", "Observation", "patient:missing=true", ""},
        {"missing what", "Patient", "gender:missing=perhaps", "! fhir.invalid"},
        {"not", "Patient", "gender:not=male&_sort=_id", "ann cid"},
        {"a tag", "Patient", "_tag=urn:t|study", "ann"},
        {"a profile, with its version or without", "Patient", "_profile=http://x/p", "ann"},
        {"a profile's version", "Patient", "_profile=http://x/p|1", "ann"},
        {"a source", "Patient", "_source=urn:src", "ann"},
        {"a reference's identifier", "Patient", "organization:identifier=urn:org|north", "bob"},
        {"a reference's identifier of another system", "Patient",
         "organization:identifier=urn:x|north", ""},
        {"a uri", "ValueSet", "url=http://acme.example/vs/one", "vs"},
        {"a uri below", "ValueSet", "url:below=http://acme.example/vs", "vs"},
        {"a uri above", "ValueSet", "url:above=http://acme.example/vs/one/two", "vs"},
        {"a number", "RiskAssessment", "probability=gt70", "high"},
        {"a number as precise as it is said", "RiskAssessment", "probability=7", "low"},
        {"a number with a unit is none", "RiskAssessment", "probability=7||x", "! fhir.invalid"},
        {"the same component", "Observation", "component-code-value-quantity=8480-6$lt120", "bp"},
        {"not another component", "Observation", "component-code-value-quantity=8480-6$lt100", ""},
        {"code and string", "Observation", "code-value-string=t-1$sinus", "text"},
        {"another code and string", "Observation", "code-value-string=d-1$sinus", ""},
        {"code and date", "Observation", "code-value-date=d-1$2026-02-02", "day"},
        {"code and concept", "Observation", "code-value-concept=c-1$urn:v|yes", "concept"},
        {"combined code and concept", "Observation", "combo-code-value-concept=c-1$yes", "concept"},
        {"a composite of another type, same element", "Group", "characteristic-value=sex$f", "g"},
        {"a composite of another type, other element", "Group", "characteristic-value=age$f", ""},
        {"a composite that is no pair", "Observation", "code-value-string=t-1", "! fhir.invalid"},
        {"a composite has no modifier", "Observation", "code-value-string:missing=true",
         "! fhir.invalid"},
        {"value-string sees the concept's text as well", "Observation", "value-string=sinus",
         "text"},
        {"a type that nobody made rules for", "ImagingStudy", "patient=ann&started=2026", "i"},
        {"who has such an observation", "Patient", "_has:Observation:patient:code=d-1", "bob"},
        {"who has one with a value", "Patient",
         "_has:Observation:patient:combo-value-quantity=gt100", "ann"},
        {"what something points at", "RiskAssessment", "_has:Task:focus:status=requested", "high"},
        {"nothing points at it like this", "RiskAssessment", "_has:Task:focus:status=completed",
         ""},
        {"_has of what is no reference", "Patient", "_has:Observation:code:code=x",
         "! fhir.invalid"},
        {"a chain", "Observation", "patient.family=abel&_sort=_id", "concept day"},
        {"a chain over a focus", "Task", "focus:RiskAssessment.probability=gt80", "t1"},
        {"_include", "Task", "_id=t1&_include=Task:focus", "t1 +high"},
        {"_include of all that a parameter means", "Task",
         "_id=t1&_include=Task:focus&_include=Task:patient", "t1 +high +ann"},
        {"_include of another type only", "Task", "_id=t1&_include=Task:focus:Flag", "t1"},
        {"_revinclude", "Patient", "_id=ann&_revinclude=Task:patient", "ann +t1"},
        {"_revinclude of two", "Patient",
         "_id=bob&_revinclude=Task:patient&_revinclude=RiskAssessment:subject", "bob +t2 +low"},
        {"all that a match points at", "Task", "_id=t1&_include=*", "t1 +high +ann"},
        {"_include of what was brought along", "Task",
         "_id=t1&_include=Task:focus&_include:iterate=RiskAssessment:subject", "t1 +high +ann"},
        {"of matches alone without iterate", "Task",
         "_id=t1&_include=Task:focus&_include=RiskAssessment:subject", "t1 +high"},
        {"sorted by a name", "Patient", "_sort=family", "bob ann cid"},
        {"sorted backwards, who has none last", "Patient", "_sort=-family", "ann bob cid"},
        {"sorted by two", "Task", "_sort=intent,-authored-on", "t1 t2"},
        {"sorted by a date", "Patient", "_sort=birthdate", "ann bob cid"},
        {"sorted by a number, downwards", "RiskAssessment", "_sort=-probability", "high low"},
        {"a compartment, also by who performed", "Observation",
         "_compartment=Patient/ann&_sort=_id", "bp day text"},
        {"a compartment with a code", "Observation", "_compartment=Patient/ann&code=d-1", "day"},
        {"the patient is in his own compartment", "Patient", "_compartment=Patient/bob", "bob"},
        {"a type that is in no such compartment", "ValueSet", "_compartment=Patient/ann",
         "! fhir.not_found"},
        {"a day that a period crosses is not the day", "Observation", "date=2026-03-16&patient=bob",
         "day"},
        {"after the day", "Observation", "date=gt2026-03-16&patient=bob", "concept"},
        {"a bare id means any target", "Observation", "performer=ann", "day"},
        {"an unknown parameter is passed over", "Patient", "shoe-size=44&family=abel", "bob"},
        {"a known one with an unknown modifier is not", "Patient", "family:below=a",
         "! fhir.invalid"},
        {"_summary=count", "Patient", "_summary=count", ""},
        {"_summary of what", "Patient", "_summary=most", "! fhir.invalid"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = ids(cases[i].type, cases[i].query);

        CHECK_ROW(cases[i].name);
        if (!CHECK(strcmp(got, cases[i].want) == 0))
            printf("  %s?%s: '%s', not '%s'\n", cases[i].type, cases[i].query, got, cases[i].want);
    }
}

static void test_pages_by_any_key(void)
{
    static const char *const sorts[] = {"family", "-family", "birthdate,-_id", "-_lastUpdated",
                                        "gender,family"};

    for (int i = 0; i < 23; i++) {
        char id[16], members[200];

        (void)snprintf(id, sizeof(id), "p%02d", i);
        (void)snprintf(members, sizeof(members),
                       "\"name\":[{\"family\":\"F%d\"}],\"birthDate\":\"19%02d\",\"gender\":\"%s\"",
                       i % 5, i % 7 + 10, i % 2 ? "male" : "female");
        put("Person", id, members);
    }
    for (size_t s = 0; s < sizeof(sorts) / sizeof(sorts[0]); s++) {
        struct vg_slice query = vg_arena_printf(&arena, "_sort=%s&_count=100", sorts[s]);
        struct fhir_results all, page;
        size_t at = 0;

        CHECK_ROW(sorts[s]);
        CHECK(fhir_search(store, VG_SLICE("Person"), query, &arena, &all, NULL) == VG_OK);
        CHECK(all.count == 23 && !all.next_query.ptr);
        query = vg_arena_printf(&arena, "_sort=%s&_count=4", sorts[s]);
        for (int turns = 0; query.ptr && turns < 10; turns++) {
            if (!CHECK(fhir_search(store, VG_SLICE("Person"), query, &arena, &page, NULL) == VG_OK))
                break;
            for (size_t i = 0; i < page.count; i++, at++)
                CHECK(at < all.count && vg_slice_eq(page.resources[i].id, all.resources[at].id));
            query = page.next_query;
        }
        CHECK(at == 23);
    }
}

static void test_summaries(void)
{
    static const struct {
        const char *name, *query;
        const char *has[4], *has_not[4];
    } cases[] = {
        {"true",
         "_id=s&_summary=true",
         {"SUBSETTED", "\"status\"", "\"component\""},
         {"\"text\":{", "\"note\"", "\"interpretation\""}},
        {"text",
         "_id=s&_summary=text",
         {"SUBSETTED", "\"text\":{", "\"status\""},
         {"\"component\""}},
        {"data", "_id=s&_summary=data", {"SUBSETTED", "\"note\"", "\"status\""}, {"\"text\":{"}},
        {"false", "_id=s&_summary=false", {"\"note\"", "\"text\":{"}, {"SUBSETTED"}},
        {"elements",
         "_id=s&_elements=note",
         {"SUBSETTED", "\"note\"", "\"status\""},
         {"\"component\""}},
    };

    put("Observation", "s",
        OBSERVATION("s-1") ",\"text\":{\"status\":\"generated\",\"div\":\"<div "
                           "xmlns=\\\"http://www.w3.org/1999/xhtml\\\">x</div>\"},\"note\":[{"
                           "\"text\":\"n\"}],\"component\":[{\"code\":{\"text\":\"c\"},"
                           "\"valueInteger\":1,\"interpretation\":[{\"text\":\"i\"}]}]");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fhir_results results;

        CHECK_ROW(cases[i].name);
        if (!CHECK(fhir_search(store, VG_SLICE("Observation"), vg_slice_of(cases[i].query), &arena,
                               &results, NULL) == VG_OK) ||
            !CHECK(results.count == 1))
            continue;
        const char *body = results.resources[0].body.ptr;

        for (size_t n = 0; n < 4; n++) {
            if (cases[i].has[n])
                CHECK(strstr(body, cases[i].has[n]) != NULL);
            if (cases[i].has_not[n])
                CHECK(strstr(body, cases[i].has_not[n]) == NULL);
        }
    }
}

/* A database of the layout before: its rows are thrown away by the migration and made anew; and a
 * program that was killed while it made them goes on. */
static void test_older_databases(void)
{
    static const char *const olds[] = {
        "DROP TABLE token; DROP TABLE string; DROP TABLE date;"
        "CREATE TABLE token(path INTEGER NOT NULL, text TEXT NOT NULL, key INTEGER NOT NULL,"
        "  system INTEGER NOT NULL, PRIMARY KEY(path, text, key, system)) WITHOUT ROWID;"
        "CREATE TABLE string(path INTEGER NOT NULL, text TEXT NOT NULL, key INTEGER NOT NULL,"
        "  exact TEXT NOT NULL, PRIMARY KEY(path, text, key, exact)) WITHOUT ROWID;"
        "CREATE TABLE date(path INTEGER NOT NULL, key INTEGER NOT NULL, low INTEGER NOT NULL,"
        "  high INTEGER NOT NULL, PRIMARY KEY(path, key, low, high)) WITHOUT ROWID;"
        "DELETE FROM setting WHERE name LIKE 'index_%'; UPDATE setting SET value=7;"
        "PRAGMA user_version=2",
        /* killed in the middle: the rest is made, what was made is not made twice */
        "UPDATE setting SET value=0 WHERE name='index';"
        "DELETE FROM timeline WHERE key>8; DELETE FROM token WHERE key>8;"
        "DELETE FROM string WHERE key>8; DELETE FROM date WHERE key>8;"
        "DELETE FROM quantity WHERE key>8; UPDATE setting SET value=8 WHERE name='index_next'",
    };

    for (size_t i = 0; i < sizeof(olds) / sizeof(olds[0]); i++) {
        sqlite3 *db = NULL;

        fhir_close(store);
        CHECK(vg_db_open(path, false, &db, NULL) == VG_OK);
        CHECK(vg_db_exec(db, olds[i], NULL) == VG_OK);
        vg_db_close(db);
        store_open();
        test_searches();
    }
}

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    vg_arena_init(&arena, (size_t)64 << 20);
    store_open();
    fill();
    RUN(test_searches);
    RUN(test_older_databases);
    RUN(test_pages_by_any_key);
    RUN(test_summaries);
    fhir_close(store);
    vg_arena_fini(&arena);
    for (size_t i = 0; i < 4; i++) {
        char name[96];

        (void)snprintf(name, sizeof(name), "%s%s", path,
                       (const char *[]){"", "-wal", "-shm", "-lock"}[i]);
        (void)unlink(name);
    }
    (void)rmdir(dir);
    return vg_test_report();
}
