/* rest_test.c -- the REST interface over real HTTP: who asks what gets which answer. */
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/http_server.h"
#include "base/json.h"
#include "fhir/fhir.h"

#include <string.h>
#include <unistd.h>

#include "vg_test.h"

static char dir[] = "/tmp/vigil-rest-XXXXXX";
static char path[64], base[64];
static struct fhir_store *store;
static struct vg_loop *loop;
static struct vg_http_server *server;
static struct vg_http_client *client;
static struct vg_arena arena;

static bool may(struct vg_http_request *request, const char *method, struct vg_slice type,
                void *ctx)
{
    (void)method, (void)ctx;
    if (!vg_slice_is(type, "AuditEvent"))
        return true;
    vg_http_reply_error(request, 403, "test.no", "not for you");
    return false;
}

static bool start(void)
{
    struct fhir_config config = {.path = path, .base_url = base};
    struct vg_http_server_config server_config = {.address = "127.0.0.1",
                                                  .body_bytes_max = 64u << 20};
    struct vg_http_client_config client_config = {.timeout_ms = 60000, .body_bytes_max = 64u << 20};
    struct vg_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    if (vg_loop_open("test", &loop, &err) != VG_OK ||
        vg_http_server_open(loop, &server_config, &server, &err) != VG_OK)
        goto failed;
    (void)snprintf(base, sizeof(base), "http://127.0.0.1:%u/fhir", vg_http_server_port(server));
    if (fhir_open(&config, &store, &err) != VG_OK ||
        fhir_rest_mount(store, server, loop, may, NULL, &err) != VG_OK ||
        vg_loop_start(loop, &err) != VG_OK ||
        vg_http_client_open(&client_config, &client, &err) != VG_OK)
        goto failed;
    return true;
failed:
    printf("%s: %s\n", err.code, err.text);
    return false;
}

static struct vg_http_answer ask(const char *method, const char *address,
                                 const char *const *headers, struct vg_slice body)
{
    struct vg_http_answer answer = {0};
    struct vg_err err = {0};
    char url[2000];

    (void)snprintf(url, sizeof(url), "%s%s", base, address);
    if (!CHECK(vg_http_fetch(client, method, url, headers, body, &arena, &answer, &err) == VG_OK))
        printf("  %s %s: %s %s\n", method, address, err.code, err.text);
    return answer;
}

static const struct vg_json *json_of(struct vg_slice text)
{
    static const struct vg_json_options options = {.values_max = 4000000};
    struct vg_json *root = NULL;

    return text.len && vg_json_parse(&arena, text, &options, &root, NULL, NULL) == VG_OK ? root
                                                                                         : NULL;
}

/* A value by a path of names and numbers: "entry.0.response.status". */
static struct vg_slice at(const struct vg_json *root, const char *where)
{
    struct vg_slice rest = vg_slice_of(where);

    while (rest.len && root) {
        struct vg_slice name = vg_slice_cut(&rest, '.');
        uint64_t index;

        root =
            vg_slice_to_u64(name, &index) ? vg_json_at(root, index) : vg_json_get_slice(root, name);
    }
    return root ? (root->text.len ? root->text : root->source) : (struct vg_slice){0};
}

#define FHIR_JSON "Content-Type: application/fhir+json"
#define JSON_PATCH "Content-Type: application/json-patch+json"
#define P1                                                                                         \
    "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"identifier\":[{\"system\":\"urn:mrn\","         \
    "\"value\":\"1\"}]}"
#define P1_MALE                                                                                    \
    "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"male\",\"identifier\":[{\"system\":" \
    "\"urn:mrn\",\"value\":\"1\"}]}"
#define OBS                                                                                        \
    "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"coding\":[{\"system\":"    \
    "\"http://loinc.org\",\"code\":\"8867-4\"}]},\"subject\":{\"reference\":\"Patient/p1\"},"      \
    "\"effectiveDateTime\":\"2026-03-14T10:00:00+01:00\",\"valueQuantity\":{\"value\":72.10}}"

/* One conversation: every row sees what the rows before it did. */
static void test_conversation(void)
{
    static const struct {
        const char *name, *method, *address, *header, *body;
        int status;
        const char *etag, *where, *want;
    } rows[] = {
        {"metadata", "GET", "/metadata", NULL, "", 200, "", "fhirVersion", "4.0.1"},
        {"nothing there", "GET", "/Patient/p1", NULL, "", 404, "", "issue.0.code", "not-found"},
        {"types are case-sensitive", "GET", "/patient/p1", NULL, "", 404, "", "resourceType",
         "OperationOutcome"},
        {"update as create", "PUT", "/Patient/p1", FHIR_JSON, P1, 201, "W/\"1\"", "id", "p1"},
        {"the same again is no new version", "PUT", "/Patient/p1", FHIR_JSON, P1, 200, "W/\"1\"",
         "id", "p1"},
        {"read", "GET", "/Patient/p1", NULL, "", 200, "W/\"1\"", "meta.versionId", "1"},
        {"not changed since", "GET", "/Patient/p1", "If-None-Match: W/\"1\"", "", 304, "W/\"1\"",
         "", ""},
        {"a stale If-Match", "PUT", "/Patient/p1", "If-Match: W/\"7\"", P1_MALE, 412, "",
         "issue.0.code", "conflict"},
        {"a fitting If-Match", "PUT", "/Patient/p1", "If-Match: W/\"1\"", P1_MALE, 200, "W/\"2\"",
         "gender", "male"},
        {"only if there is none", "PUT", "/Patient/p1", "If-None-Match: *", P1, 412, "",
         "issue.0.severity", "error"},
        {"another id in the body", "PUT", "/Patient/p2", FHIR_JSON, P1, 400, "",
         "issue.0.expression.0", "id"},
        {"no id in the body", "PUT", "/Patient/p2", FHIR_JSON, "{\"resourceType\":\"Patient\"}",
         400, "", "issue.0.expression.0", "id"},
        {"an id that is none", "PUT", "/Patient/a_b", FHIR_JSON, P1, 400, "",
         "issue.0.expression.0", "id"},
        {"vread", "GET", "/Patient/p1/_history/1", NULL, "", 200, "W/\"1\"", "meta.versionId", "1"},
        {"vread of what is not", "GET", "/Patient/p1/_history/9", NULL, "", 404, "", "", ""},
        {"history", "GET", "/Patient/p1/_history", NULL, "", 200, "", "entry.0.response.etag",
         "W/\"2\""},
        {"a bad body says where", "POST", "/Observation", FHIR_JSON,
         "{\"resourceType\":\"Observation\",\"status\":\"done\",\"code\":{\"text\":\"x\"}}", 400,
         "", "issue.0.expression.0", "Observation.status"},
        {"another type in the body", "POST", "/Observation", FHIR_JSON, P1, 400, "",
         "issue.0.expression.0", "resourceType"},
        {"create", "POST", "/Observation", FHIR_JSON, OBS, 201, "W/\"1\"", "valueQuantity.value",
         "72.10"},
        {"minimal", "POST", "/Observation", "Prefer: return=minimal", OBS, 201, "W/\"1\"", "", ""},
        {"OperationOutcome", "POST", "/Observation", "Prefer: return=OperationOutcome", OBS, 201,
         "W/\"1\"", "resourceType", "OperationOutcome"},
        {"conditional create finds it", "POST", "/Patient", "If-None-Exist: identifier=urn:mrn|1",
         P1, 200, "W/\"2\"", "id", "p1"},
        {"a condition that is not understood", "POST", "/Patient", "If-None-Exist: mrn=1", P1, 400,
         "", "issue.0.severity", "error"},
        {"conditional update", "PUT", "/Patient?identifier=urn:mrn%7C1", FHIR_JSON, P1, 200,
         "W/\"3\"", "id", "p1"},
        {"conditional update makes it", "PUT", "/Patient?identifier=urn:mrn%7C2", FHIR_JSON,
         "{\"resourceType\":\"Patient\",\"id\":\"p9\",\"identifier\":[{\"system\":\"urn:mrn\","
         "\"value\":\"2\"}]}",
         201, "W/\"1\"", "id", "p9"},
        {"search", "GET", "/Observation?patient=p1&code=http://loinc.org|8867-4&_count=2", NULL, "",
         200, "", "entry.1.search.mode", "match"},
        {"search by form", "POST", "/Observation/_search",
         "Content-Type: application/x-www-form-urlencoded", "patient=Patient%2Fp1&_total=accurate",
         200, "", "total", "3"},
        {"an unknown parameter is ignored", "GET", "/Patient?foo=bar&_id=p1", NULL, "", 200, "",
         "entry.0.resource.id", "p1"},
        {"or refused", "GET", "/Patient?foo=bar", "Prefer: handling=strict", "", 400, "",
         "issue.0.code", "not-supported"},
        {"a bad date", "GET", "/Observation?date=23%20May", NULL, "", 400, "", "issue.0.code",
         "value"},
        {"an unknown patient is nobody", "GET", "/Observation?patient=none", NULL, "", 200, "",
         "type", "searchset"},
        {"$lastn", "GET", "/Observation/$lastn?patient=p1&code=8867-4", NULL, "", 200, "",
         "entry.0.resource.status", "final"},
        {"$lastn of everybody", "GET", "/Observation/$lastn?code=8867-4", NULL, "", 400, "",
         "issue.0.code", "required"},
        {"XML is not spoken", "GET", "/Patient/p1", "Accept: application/fhir+xml", "", 406, "", "",
         ""},
        {"one of several is", "GET", "/Patient/p1",
         "Accept: application/fhir+xml;q=0.9, application/fhir+json", "", 200, "", "", ""},
        {"_format beats Accept", "GET", "/Patient/p1?_format=xml", NULL, "", 406, "", "", ""},
        {"another FHIR", "GET", "/Patient/p1", "Accept: application/fhir+json; fhirVersion=3.0", "",
         406, "", "", ""},
        {"XML is not read", "POST", "/Patient", "Content-Type: application/fhir+xml", "<Patient/>",
         415, "", "", ""},
        {"a patch has a type of its own", "PATCH", "/Patient/p1", FHIR_JSON, "[]", 415, "", "", ""},
        {"a patch", "PATCH", "/Patient/p9", JSON_PATCH,
         "[{\"op\":\"test\",\"path\":\"/identifier/0/value\",\"value\":\"2\"},"
         "{\"op\":\"add\",\"path\":\"/active\",\"value\":true}]",
         200, "W/\"2\"", "active", "true"},
        {"its test fails", "PATCH", "/Patient/p9", JSON_PATCH,
         "[{\"op\":\"test\",\"path\":\"/active\",\"value\":false}]", 422, "", "issue.0.severity",
         "error"},
        {"a patch may not change the id", "PATCH", "/Patient/p9", JSON_PATCH,
         "[{\"op\":\"replace\",\"path\":\"/id\",\"value\":\"p8\"}]", 422, "", "", ""},
        {"a patch makes no bad resource", "PATCH", "/Patient/p9", JSON_PATCH,
         "[{\"op\":\"add\",\"path\":\"/gender\",\"value\":\"x\"}]", 400, "", "issue.0.expression.0",
         "Patient.gender"},
        {"a patch of nothing", "PATCH", "/Patient/none", JSON_PATCH, "[]", 404, "", "", ""},
        {"the history of a type", "GET", "/Patient/_history?_count=1", NULL, "", 200, "",
         "link.1.relation", "next"},
        {"deleting by a condition that nobody meets", "DELETE", "/Patient?identifier=urn:mrn|77",
         NULL, "", 204, "", "", ""},
        {"deleting by a condition", "DELETE", "/Patient?identifier=urn:mrn|2", NULL, "", 204,
         "W/\"3\"", "", ""},
        {"a method that is not there", "PUT", "/metadata", FHIR_JSON, "", 405, "", "issue.0.code",
         "not-supported"},
        {"validation answers 200", "POST", "/Patient/$validate", FHIR_JSON,
         "{\"resourceType\":\"Patient\",\"gender\":\"x\"}", 200, "", "issue.0.severity", "error"},
        {"nobody changes an AuditEvent", "DELETE", "/AuditEvent/a1", NULL, "", 405, "", "", ""},
        {"not for you", "GET", "/AuditEvent", NULL, "", 403, "", "issue.0.code", "forbidden"},
        {"delete", "DELETE", "/Patient/p1", NULL, "", 204, "W/\"4\"", "", ""},
        {"delete again", "DELETE", "/Patient/p1", NULL, "", 204, "", "", ""},
        {"gone", "GET", "/Patient/p1", NULL, "", 410, "W/\"4\"", "issue.0.code", "deleted"},
        {"its old version is not", "GET", "/Patient/p1/_history/3", NULL, "", 200, "W/\"3\"", "",
         ""},
        {"its deletion is", "GET", "/Patient/p1/_history/4", NULL, "", 410, "", "", ""},
        {"the history tells", "GET", "/Patient/p1/_history", NULL, "", 200, "",
         "entry.0.request.method", "DELETE"},
        {"back again with a new version", "PUT", "/Patient/p1", FHIR_JSON, P1, 201, "W/\"5\"", "",
         ""},
        {"an empty batch", "POST", "", FHIR_JSON,
         "{\"resourceType\":\"Bundle\",\"type\":\"batch\"}", 200, "", "type", "batch-response"},
        {"the base with a slash", "POST", "/", FHIR_JSON,
         "{\"resourceType\":\"Bundle\",\"type\":\"transaction\"}", 200, "", "type",
         "transaction-response"},
        {"a collection is not run", "POST", "", FHIR_JSON,
         "{\"resourceType\":\"Bundle\",\"type\":\"collection\"}", 400, "", "issue.0.expression.0",
         "Bundle.type"},
        {"HEAD", "HEAD", "/Patient/p1", NULL, "", 200, "W/\"5\"", "", ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *header = rows[i].header ? rows[i].header : FHIR_JSON;
        /* libcurl would call any body a form. */
        const char *headers[] = {header, strncmp(header, "Content-Type", 12) ? FHIR_JSON : NULL,
                                 NULL};
        struct vg_http_answer answer;

        CHECK_ROW(rows[i].name);
        answer = ask(rows[i].method, rows[i].address, headers, vg_slice_of(rows[i].body));
        if (!CHECK(answer.status == rows[i].status))
            printf("  %d %.*s\n", answer.status, VG_FMT(answer.body));
        if (rows[i].etag[0])
            CHECK(vg_slice_is(answer.etag, rows[i].etag));
        if (rows[i].where[0] &&
            !CHECK(vg_slice_is(at(json_of(answer.body), rows[i].where), rows[i].want)))
            printf("  %.*s\n", VG_FMT(answer.body));
        if (answer.status == 201)
            CHECK(answer.location.len > strlen(base) &&
                  vg_slice_starts(answer.location, vg_slice_of(base)));
        if (strcmp(rows[i].method, "HEAD") == 0)
            CHECK(answer.body.len == 0);
        vg_arena_reset(&arena);
    }
}

static void test_paging_by_links(void)
{
    struct vg_http_answer answer =
        ask("GET", "/Observation?patient=p1&_count=1&bad=1", NULL, (struct vg_slice){0});
    const struct vg_json *root = json_of(answer.body);
    int pages = 0;
    char url[1000];

    (void)snprintf(url, sizeof(url), "%s/Observation?patient=p1&_count=1", base);
    CHECK(vg_slice_is(at(root, "link.0.relation"), "self") &&
          vg_slice_is(at(root, "link.0.url"), url));
    for (; pages < 10 && root; pages++) {
        struct vg_slice next = at(root, "link.1.url");

        if (next.len <= strlen(base))
            break;
        (void)snprintf(url, sizeof(url), "%.*s&_count=1",
                       VG_FMT(vg_slice_from(next, strlen(base))));
        answer = ask("GET", url, NULL, (struct vg_slice){0});
        root = json_of(answer.body);
        CHECK(answer.status == 200 && vg_json_get(root, "entry"));
    }
    CHECK(pages == 2);
}

/* ---- bundles ---- */

static void test_transaction(void)
{
    static const char *const headers[] = {FHIR_JSON, "Prefer: return=representation", NULL};
    struct vg_http_answer answer = ask(
        "POST", "", headers,
        VG_SLICE("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
                 "{\"request\":{\"method\":\"GET\",\"url\":\"Patient?identifier=urn:t|1\"}},"
                 "{\"fullUrl\":\"urn:uuid:00000000-0000-4000-8000-000000000002\",\"resource\":{"
                 "\"resourceType\":\"Observation\",\"status\":\"final\","
                 "\"code\":{\"text\":\"x\"},\"text\":{\"status\":\"generated\",\"div\":\"<div><a "
                 "href=\\\"urn:uuid:00000000-0000-4000-8000-000000000001\\\">p</a></div>\"},"
                 "\"subject\":{\"reference\":\"urn:uuid:00000000-0000-4000-8000-000000000001\"},"
                 "\"extension\":[{\"url\":\"urn:e\",\"valueUri\":\"urn:uuid:00000000-0000-4000-"
                 "8000-000000000001\"}],"
                 "\"device\":{\"reference\":\"Device?identifier=urn:t|d\"},\"valueQuantity\":{"
                 "\"value\":1.50}},"
                 "\"request\":{\"method\":\"POST\",\"url\":\"Observation\"}},"
                 "{\"fullUrl\":\"urn:uuid:00000000-0000-4000-8000-000000000001\",\"resource\":{"
                 "\"resourceType\":\"Patient\","
                 "\"identifier\":[{\"system\":\"urn:t\",\"value\":\"1\"}]},"
                 "\"request\":{\"method\":\"POST\",\"url\":\"Patient\",\"ifNoneExist\":"
                 "\"identifier=urn:t|1\"}},"
                 "{\"fullUrl\":\"http://x.example/Device/"
                 "77\",\"resource\":{\"resourceType\":\"Device\",\"identifier\":[{\"system\":\"urn:"
                 "t\",\"value\":\"d\"}],"
                 "\"parent\":{\"reference\":\"Device/"
                 "77\"}},\"request\":{\"method\":\"POST\",\"url\":\"Device\"}},"
                 "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/never\"}}]}"));
    const struct vg_json *root = json_of(answer.body);
    struct vg_slice patient, device;
    char want[200];

    if (!CHECK(answer.status == 200))
        printf("  %.*s\n", VG_FMT(answer.body));
    CHECK(vg_slice_is(at(root, "type"), "transaction-response"));
    patient = at(root, "entry.2.resource.id");
    device = at(root, "entry.3.resource.id");
    /* The read sees what was written, though it stands first. */
    CHECK(vg_slice_eq(at(root, "entry.0.resource.entry.0.resource.id"), patient));
    CHECK(vg_slice_is(at(root, "entry.1.response.status"), "201 Created"));
    CHECK(vg_slice_is(at(root, "entry.1.response.etag"), "W/\"1\""));
    CHECK(vg_slice_is(at(root, "entry.1.resource.valueQuantity.value"), "1.50"));
    (void)snprintf(want, sizeof(want), "Patient/%.*s", VG_FMT(patient));
    CHECK(vg_slice_is(at(root, "entry.1.resource.subject.reference"), want));
    CHECK(vg_slice_is(at(root, "entry.1.resource.extension.0.valueUri"), want));
    (void)snprintf(want, sizeof(want), "<div><a href=\"Patient/%.*s\">p</a></div>",
                   VG_FMT(patient));
    CHECK(vg_slice_is(at(root, "entry.1.resource.text.div"), want));
    /* A conditional reference finds what the same transaction makes. */
    (void)snprintf(want, sizeof(want), "Device/%.*s", VG_FMT(device));
    CHECK(vg_slice_is(at(root, "entry.1.resource.device.reference"), want));
    CHECK(vg_slice_is(at(root, "entry.3.resource.parent.reference"), want));
    CHECK(vg_slice_is(at(root, "entry.4.response.status"), "204 No Content"));

    /* What ifNoneExist finds is what the others mean. */
    answer =
        ask("POST", "", headers,
            VG_SLICE("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
                     "{\"fullUrl\":\"urn:uuid:00000000-0000-4000-8000-000000000001\",\"resource\":{"
                     "\"resourceType\":\"Patient\"},"
                     "\"request\":{\"method\":\"POST\",\"url\":\"Patient\",\"ifNoneExist\":"
                     "\"identifier=urn:t|1\"}},"
                     "{\"resource\":{\"resourceType\":\"Flag\",\"id\":\"fl\",\"status\":\"active\","
                     "\"code\":{\"text\":\"x\"},"
                     "\"subject\":{\"reference\":\"urn:uuid:00000000-0000-4000-8000-000000000001\"}"
                     "},\"request\":{\"method\":\"PUT\",\"url\":\"Flag/fl\"}}]}"));
    root = json_of(answer.body);
    CHECK(answer.status == 200 && vg_slice_is(at(root, "entry.0.response.status"), "200 OK"));
    (void)snprintf(want, sizeof(want), "Patient/%.*s", VG_FMT(patient));
    CHECK(vg_slice_is(at(root, "entry.1.resource.subject.reference"), want));
}

static void test_transactions_that_fail(void)
{
    static const struct {
        const char *name, *entries;
        int status;
    } rows[] = {
        {"one bad entry undoes all",
         "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"t1\"},\"request\":{\"method\":"
         "\"PUT\",\"url\":\"Patient/t1\"}},"
         "{\"resource\":{\"resourceType\":\"Patient\",\"gender\":\"x\"},\"request\":{\"method\":"
         "\"POST\",\"url\":\"Patient\"}}",
         400},
        {"a version that is not current",
         "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"t1\"},\"request\":{\"method\":"
         "\"PUT\",\"url\":\"Patient/t1\"}},"
         "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"t2\"},\"request\":{\"method\":"
         "\"PUT\",\"url\":\"Patient/t2\",\"ifMatch\":\"W/\\\"1\\\"\"}}",
         412},
        {"the same twice",
         "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"t1\"},\"request\":{\"method\":"
         "\"PUT\",\"url\":\"Patient/t1\"}},"
         "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/t1\"}}",
         400},
        {"one condition twice",
         "{\"resource\":{\"resourceType\":\"Patient\"},\"request\":{\"method\":\"POST\",\"url\":"
         "\"Patient\",\"ifNoneExist\":\"identifier=zz\"}},"
         "{\"resource\":{\"resourceType\":\"Patient\"},\"request\":{\"method\":\"POST\",\"url\":"
         "\"Patient\",\"ifNoneExist\":\"identifier=zz\"}}",
         400},
        {"a conditional reference to nobody",
         "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"t1\"},\"request\":{\"method\":"
         "\"PUT\",\"url\":\"Patient/t1\"}},"
         "{\"resource\":{\"resourceType\":\"Flag\",\"status\":\"active\",\"code\":{\"text\":\"x\"},"
         "\"subject\":{\"reference\":\"Patient?identifier=urn:t|none\"}},"
         "\"request\":{\"method\":\"POST\",\"url\":\"Flag\"}}",
         412},
        {"a read of nothing",
         "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"t1\"},\"request\":{\"method\":"
         "\"PUT\",\"url\":\"Patient/t1\"}},"
         "{\"request\":{\"method\":\"GET\",\"url\":\"Patient/none\"}}",
         404},
        {"no request", "{\"resource\":{\"resourceType\":\"Patient\"}}", 400},
        {"no resource", "{\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}}", 400},
        {"no such type",
         "{\"resource\":{\"resourceType\":\"Pat\"},\"request\":{\"method\":\"POST\",\"url\":"
         "\"Pat\"}}",
         404},
    };
    static const char *const headers[] = {FHIR_JSON, NULL};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_slice body = vg_arena_printf(
            &arena, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[%s]}",
            rows[i].entries);
        struct vg_http_answer answer = ask("POST", "", headers, body);

        CHECK_ROW(rows[i].name);
        if (!CHECK(answer.status == rows[i].status))
            printf("  %d %.*s\n", answer.status, VG_FMT(answer.body));
        CHECK(vg_slice_is(at(json_of(answer.body), "resourceType"), "OperationOutcome"));
        CHECK(ask("GET", "/Patient/t1", NULL, (struct vg_slice){0}).status == 404);
    }
}

static void test_batch(void)
{
    static const char *const headers[] = {FHIR_JSON, NULL};
    struct vg_http_answer answer =
        ask("POST", "", headers,
            VG_SLICE("{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":["
                     "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"b1\"},\"request\":{"
                     "\"method\":\"PUT\",\"url\":\"Patient/b1\"}},"
                     "{\"resource\":{\"resourceType\":\"Patient\",\"gender\":\"x\"},\"request\":{"
                     "\"method\":\"POST\",\"url\":\"Patient\"}},"
                     "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"b2\"},\"request\":{"
                     "\"method\":\"PUT\",\"url\":\"Patient/b2\",\"ifMatch\":\"W/\\\"4\\\"\"}},"
                     "{\"request\":{\"method\":\"GET\",\"url\":\"Patient/b1\"}},"
                     "{\"request\":{\"method\":\"GET\",\"url\":\"Patient/b2\"}},"
                     "{\"request\":{\"method\":\"PATCH\",\"url\":\"Patient/b2\"}}]}"));
    const struct vg_json *root = json_of(answer.body);

    CHECK(answer.status == 200 && vg_slice_is(at(root, "type"), "batch-response"));
    CHECK(vg_slice_is(at(root, "entry.0.response.status"), "201 Created"));
    CHECK(vg_slice_is(at(root, "entry.1.response.status"), "400 Bad Request"));
    CHECK(vg_slice_is(at(root, "entry.1.response.outcome.issue.0.expression.0"), "Patient.gender"));
    CHECK(vg_slice_is(at(root, "entry.2.response.status"), "412 Precondition Failed"));
    CHECK(vg_slice_is(at(root, "entry.3.resource.id"), "b1"));
    CHECK(vg_slice_is(at(root, "entry.4.response.status"), "404 Not Found"));
    CHECK(vg_slice_is(at(root, "entry.5.response.status"), "400 Bad Request"));
    CHECK(ask("GET", "/Patient/b1", NULL, (struct vg_slice){0}).status == 200);
}

/* ---- a hospital's worth of bundles ---- */

#define SYNTHEA VG_SOURCE_DIR "/../shared/data/synthea_r4_94patients.tar.xz"
#define SYNTHEA_FILES 4

/* Every leaf of `sent` that is no reference stands in `got` with the same source text. */
static bool came_back(const struct vg_json *sent, const struct vg_json *got)
{
    if (!got || sent->type != got->type)
        return false;
    if (sent->type == VG_JSON_OBJECT) {
        for (const struct vg_json *member = sent->child; member; member = member->next) {
            if (vg_slice_is(member->name, "id") && !sent->parent)
                continue;
            if (!came_back(member, vg_json_get_slice(got, member->name)))
                return false;
        }
        return true;
    }
    if (sent->type == VG_JSON_ARRAY) {
        const struct vg_json *other = got->child;

        for (const struct vg_json *one = sent->child; one; one = one->next, other = other->next)
            if (!other || !came_back(one, other))
                return false;
        return !other;
    }
    return vg_slice_eq(sent->source, got->source) ||
           vg_slice_starts(sent->text, VG_SLICE("urn:uuid:")) || vg_slice_is(sent->name, "div");
}

static void load_bundle(const char *name)
{
    static const char *const headers[] = {FHIR_JSON, "Prefer: return=minimal", NULL};
    struct vg_slice text, place;
    struct vg_err err = {0};
    struct vg_http_answer answer;
    const struct vg_json *sent, *got, *response;
    size_t count = 0, same = 0;

    vg_arena_reset(&arena);
    if (!CHECK(vg_file_read(&arena, name, 0, &text, &err) == VG_OK))
        return;
    answer = ask("POST", "", headers, text);
    if (!CHECK(answer.status == 200)) {
        printf("  %.300s\n", answer.body.ptr);
        return;
    }
    sent = vg_json_get(json_of(text), "entry");
    response = vg_json_get(json_of(answer.body), "entry");
    CHECK(sent && response && sent->count == response->count);
    sent = sent ? sent->child : NULL;
    response = response ? response->child : NULL;
    for (; sent && response; sent = sent->next, response = response->next, count++) {
        struct vg_slice type = vg_json_get_text(vg_json_get(sent, "resource"), "resourceType"), id;
        struct fhir_resource resource;

        place = at(response, "response.location");
        id = vg_slice_from(place, strlen(base) + 1 + type.len + 1);
        id = vg_slice_cut(&id, '/');
        if (!CHECK(fhir_read(store, type, id, 0, &arena, &resource, &err) == VG_OK))
            continue;
        got = json_of(resource.body);
        struct vg_json top = *vg_json_get(sent, "resource");

        top.parent = NULL;
        same += got && came_back(&top, got) &&
                !memmem(resource.body.ptr, resource.body.len, "\"reference\":\"urn:", 18);
    }
    if (!CHECK(count > 0 && same == count))
        printf("  %zu of %zu came back as sent\n", same, count);
}

static void test_synthea(void)
{
    char command[400], name[400];
    struct fhir_results results;
    FILE *list;
    int files = 0;

    if (access(SYNTHEA, R_OK) != 0) {
        SKIP("the Synthea bundles (" SYNTHEA ") are not here");
        return;
    }
    (void)snprintf(command, sizeof(command),
                   "tar -xJf '%s' -C '%s' && ls -S '%s'/*/*.json | tail -40 | head -%d", SYNTHEA,
                   dir, dir, SYNTHEA_FILES);
    list = popen(command, "r");
    if (!CHECK(list != NULL))
        return;
    while (fgets(name, sizeof(name), list)) {
        name[strcspn(name, "\n")] = '\0';
        load_bundle(name);
        files++;
    }
    CHECK(pclose(list) == 0 && files == SYNTHEA_FILES);
    vg_arena_reset(&arena);
    CHECK(
        fhir_search(store, VG_SLICE("Observation"),
                    VG_SLICE("code=http://loinc.org|55284-4,85354-9&component-code-value-quantity="
                             "8480-6$gt20&_total=accurate&_include=Observation:subject"),
                    &arena, &results, NULL) == VG_OK);
    CHECK(results.total > 0 && results.match_count > 0 && results.count > results.match_count);
    (void)snprintf(command, sizeof(command), "rm -r '%s'/*/", dir);
    CHECK(system(command) == 0);
}

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        return 1;
    vg_arena_init(&arena, (size_t)512 << 20);
    if (CHECK(start())) {
        RUN(test_conversation);
        RUN(test_paging_by_links);
        RUN(test_transaction);
        RUN(test_transactions_that_fail);
        RUN(test_batch);
        RUN(test_synthea);
    }
    vg_http_client_close(client);
    vg_loop_stop(loop);
    vg_http_server_close(server);
    fhir_close(store);
    vg_loop_close(loop);
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
