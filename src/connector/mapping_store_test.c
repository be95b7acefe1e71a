/* mapping_store_test.c -- versions in a folder: what is active after each start, what refuses, and
 * exchange under threads. */
#include "connector/mapping_store.h"

#include "base/crypto.h"
#include "base/file.h"
#include "connector/workbench.h"
#include "vg_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define DEVICE(type)                                                                               \
    "{\"templateType\":\"CollectionContent\",\"template\":[{\"templateType\":"                     \
    "\"CalculatedContent\","                                                                       \
    "\n\"template\":{\"typeName\":\"" type "\",\"typeMatchExpression\":\"$..[?(@hr)]\","           \
    "\"deviceIdExpression\":\"$.matchedToken.id\",\"timestampExpression\":\"$.matchedToken.t\","   \
    "\"values\":[{\"valueName\":\"hr\",\"valueExpression\":\"$.matchedToken.hr\",\"required\":"    \
    "true}]}}]}"
#define FHIR                                                                                       \
    "{\"templateType\":\"CollectionFhir\",\"template\":[{\"templateType\":\"CodeValueFhir\","      \
    "\"template\":{\"typeName\":\"hr\",\"codes\":[{\"code\":\"8867-4\"}],\"value\":{"              \
    "\"valueType\":\"Quantity\",\"valueName\":\"hr\",\"unit\":\"/min\"}}}]}"
#define A DEVICE("hr")
#define B DEVICE("HR")

static char dir[64], device_path[96], fhir_path[96], versions[96];
static const struct mapping_act by_ann = {.who = {"ann", 3}, .how = "workbench"};

static bool put_file(const char *path, const char *text)
{
    return vg_file_write(path, vg_slice_of(text), 0600, NULL) == VG_OK;
}

static struct mapping_store *open_store(const char *compat, const char *want_code)
{
    const struct mapping_store_config config = {
        .dir = versions, .device_path = device_path, .fhir_path = fhir_path, .compat = compat};
    struct mapping_store *store = NULL;
    struct vg_err err = {0};
    enum vg_status st = mapping_store_open(&config, &store, &err);

    if (!CHECK(want_code ? st != VG_OK && strcmp(err.code, want_code) == 0 : st == VG_OK))
        printf("  %s: %s\n", err.code ? err.code : "", err.text);
    return store;
}

static bool is_active(struct mapping_store *store, const char *device, bool is_medtech)
{
    const struct mapping_pair *pair = mapping_store_take(store);
    char version[MAPPING_VERSION_SIZE];
    bool is_it;

    mapping_version_of(vg_slice_of(device), VG_SLICE(FHIR), is_medtech, version);
    is_it = strcmp(pair->version, version) == 0;
    mapping_pair_drop(pair);
    return is_it;
}

static enum vg_status activate(struct mapping_store *store, const char *device,
                               const struct mapping_act *act)
{
    char version[MAPPING_VERSION_SIZE];
    struct vg_err err = {0};

    return mapping_store_activate(store, vg_slice_of(device), VG_SLICE(FHIR), act, version, NULL,
                                  &err);
}

static void begin(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/vigil-mappings-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(device_path, sizeof(device_path), "%s/device.json", dir);
    (void)snprintf(fhir_path, sizeof(fhir_path), "%s/fhir.json", dir);
    (void)snprintf(versions, sizeof(versions), "%s/mappings", dir);
    CHECK(put_file(device_path, A) && put_file(fhir_path, FHIR));
}

static void end(void)
{
    char command[96];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    CHECK(system(command) == 0);
}

/* What a restart makes of the operator's files and of what was activated. */
static void test_starts(void)
{
    struct mapping_store *store;
    char trouble[256];

    begin();
    CHECK_ROW("the first start takes the files");
    store = open_store(NULL, NULL);
    CHECK(store && is_active(store, A, false));
    CHECK_ROW("what the workbench activates");
    CHECK(activate(store, B, &by_ann) == VG_OK && is_active(store, B, false));
    mapping_store_close(store);
    CHECK_ROW("is active after a restart: the files have not changed");
    store = open_store(NULL, NULL);
    CHECK(is_active(store, B, false));
    mapping_store_close(store);
    CHECK_ROW("changed files are taken at the start");
    CHECK(put_file(device_path, A "\n"));
    store = open_store(NULL, NULL);
    CHECK(is_active(store, A "\n", false));
    mapping_store_close(store);
    CHECK_ROW("wrong files leave the active one, and are told");
    CHECK(put_file(device_path, "{}"));
    store = open_store(NULL, NULL);
    CHECK(is_active(store, A "\n", false));
    mapping_store_trouble(store, trouble);
    CHECK(strstr(trouble, "device.json") != NULL);
    CHECK_ROW("until something is put in force");
    CHECK(activate(store, B, &by_ann) == VG_OK);
    mapping_store_trouble(store, trouble);
    CHECK(trouble[0] == '\0');
    mapping_store_close(store);
    CHECK_ROW("missing files, too");
    CHECK(unlink(device_path) == 0);
    store = open_store(NULL, NULL);
    CHECK(is_active(store, B, false));
    mapping_store_trouble(store, trouble);
    CHECK(strstr(trouble, "no such file") != NULL);
    mapping_store_close(store);
    CHECK_ROW("another compat makes another version of the same texts");
    store = open_store("medtech", NULL);
    CHECK(is_active(store, B, true));
    mapping_store_close(store);
    CHECK_ROW("an unknown compat");
    CHECK(!open_store("old", "connector.config"));
    end();
}

static void test_refusals(void)
{
    char version[MAPPING_VERSION_SIZE], path[160];
    struct mapping_store *store;
    struct vg_slice device, fhir;
    struct vg_arena arena;
    struct vg_err err = {0};

    vg_arena_init(&arena, 0);
    begin();
    CHECK(put_file(fhir_path, "{"));
    CHECK_ROW("nothing was ever active and the files are wrong");
    CHECK(!open_store(NULL, "connector.mapping"));
    CHECK(put_file(fhir_path, FHIR));
    store = open_store(NULL, NULL);
    CHECK_ROW("a wrong text changes nothing");
    CHECK(activate(store, "[", &by_ann) == VG_REJECT && is_active(store, A, false));
    CHECK_ROW("nor does one that was made from a version that is not active any more");
    CHECK(activate(store, B,
                   &(struct mapping_act){VG_SLICE("ann"), "workbench", VG_SLICE("0123"), false}) ==
              VG_REJECT &&
          is_active(store, A, false));
    CHECK_ROW("the active version's texts");
    CHECK(mapping_store_texts(store, VG_SLICE(""), &arena, &device, &fhir, &err) == VG_OK &&
          vg_slice_is(device, A) && vg_slice_is(fhir, FHIR));
    CHECK_ROW("versions that are none");
    CHECK(mapping_store_texts(store, VG_SLICE("../../etc/passwd"), &arena, &device, &fhir, &err) ==
          VG_END);
    CHECK(mapping_store_texts(store, VG_SLICE("0123456789abcdef"), &arena, &device, &fhir, &err) ==
          VG_END);
    CHECK_ROW("a version that was changed behind our back");
    CHECK(activate(store, B, &by_ann) == VG_OK);
    mapping_version_of(VG_SLICE(B), VG_SLICE(FHIR), false, version);
    (void)snprintf(path, sizeof(path), "%s/%s.device.json", versions, version);
    CHECK(put_file(path, A));
    CHECK(mapping_store_texts(store, vg_slice_of(version), &arena, &device, &fhir, &err) ==
              VG_REJECT &&
          strcmp(err.code, "connector.mapping_damage") == 0);
    mapping_store_close(store);
    CHECK(!open_store(NULL, "connector.mapping_damage"));
    CHECK_ROW("changed files mend it");
    CHECK(put_file(device_path, A " "));
    store = open_store(NULL, NULL);
    CHECK(is_active(store, A " ", false));
    mapping_store_close(store);
    CHECK_ROW("a damaged history is not taken for none");
    (void)snprintf(path, sizeof(path), "%s/active.json", versions);
    CHECK(put_file(path, "{\"files\":\"\",\"history\":[]}"));
    CHECK(!open_store(NULL, "connector.mapping_damage"));
    vg_arena_fini(&arena);
    end();
}

/* ---- requests in JSON ---- */

#define QA                                                                                         \
    "{\\\"templateType\\\":\\\"CollectionContent\\\",\\\"template\\\":[{\\\"templateType\\\":"     \
    "\\\"CalculatedContent\\\",\\n\\\"template\\\":{\\\"typeName\\\":\\\"hr\\\","                  \
    "\\\"typeMatchExpression\\\":\\\"$..[?(@hr)]\\\",\\\"deviceIdExpression\\\":"                  \
    "\\\"$.matchedToken.id\\\",\\\"timestampExpression\\\":\\\"$.matchedToken.t\\\","              \
    "\\\"values\\\":[{\\\"valueName\\\":\\\"hr\\\",\\\"valueExpression\\\":"                       \
    "\\\"$.matchedToken.hr\\\",\\\"required\\\":true}]}}]}"
#define QF                                                                                         \
    "{\\\"templateType\\\":\\\"CollectionFhir\\\",\\\"template\\\":[{\\\"templateType\\\":"        \
    "\\\"CodeValueFhir\\\",\\\"template\\\":{\\\"typeName\\\":\\\"hr\\\",\\\"codes\\\":[{"         \
    "\\\"code\\\":\\\"8867-4\\\"}],\\\"value\\\":{\\\"valueType\\\":\\\"Quantity\\\","             \
    "\\\"valueName\\\":\\\"hr\\\",\\\"unit\\\":\\\"/min\\\"}}}]}"
#define QM "{\\\"hr\\\":72,\\\"id\\\":\\\"a\\\",\\\"t\\\":\\\"2026-03-14T10:00:00Z\\\"}"

static const struct {
    const char *name, *request, *code /* NULL: VG_OK */, *want;
    bool is_act;
} requests[] = {
    {"a message gives measurement and Observation",
     "{\"device\":\"" QA "\",\"fhir\":\"" QF "\",\"payload\":\"" QM "\"}", NULL,
     "\"valueQuantity\":{\"value\":72", false},
    {"an envelope that is none is told",
     "{\"device\":\"" QA "\",\"fhir\":\"" QF "\",\"payload\":\"[]\",\"isEnvelope\":true}", NULL,
     "\"type\":\"InvalidDataFormatException\"", false},
    {"without a message the mappings are checked", "{\"device\":\"" QA "\",\"fhir\":\"" QF "\"}",
     NULL, "\"findings\":[]}", false},
    {"what is wrong has its place", "{\"device\":\"{\\n]\",\"fhir\":\"" QF "\"}", NULL,
     "{\"file\":\"device\",\"severity\":\"error\",\"line\":2,\"column\":1,", false},
    {"an empty text is a text", "{\"device\":\"\",\"fhir\":\"\"}", NULL, "\"file\":\"fhir\"",
     false},
    {"a text is missing", "{\"device\":\"\"}", "connector.workbench", "", false},
    {"no object", "[]", "connector.workbench", "", false},
    {"nothing to do", "{}", "connector.workbench", "", true},
    {"a rollback without a version", "{\"do\":\"rollback\"}", "connector.workbench", "", true},
    {"wrong texts", "{\"do\":\"activate\",\"device\":\"{\",\"fhir\":\"" QF "\"}",
     "connector.mapping", "\"line\":1,", true},
    {"the active one again", "{\"do\":\"activate\",\"device\":\"" QA "\",\"fhir\":\"" QF "\"}",
     NULL, "\"version\":\"", true},
    {"the files", "{\"do\":\"reload\"}", NULL, "\"previous\":\"", true},
    {"on top of another version", "{\"do\":\"reload\",\"base\":\"0123456789abcdef\"}",
     "connector.mapping_base", "", true},
};

static void test_requests(void)
{
    struct mapping_store *store;

    begin();
    store = open_store(NULL, NULL);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct vg_slice request = vg_slice_of(requests[i].request);
        struct vg_err err = {0};
        struct vg_buf out;
        enum vg_status st;

        CHECK_ROW(requests[i].name);
        vg_buf_init(&out, 0);
        st = requests[i].is_act ? workbench_act(store, VG_SLICE("ann"), request, &out, &err)
                                : workbench_try(store, request, &out, &err);
        CHECK(requests[i].code ? st == VG_REJECT && strcmp(err.code, requests[i].code) == 0
                               : st == VG_OK);
        vg_buf_put_byte(&out, 0);
        if (!CHECK(strstr(out.ptr, requests[i].want) != NULL))
            printf("  got %s %s\n", out.ptr, err.text);
        vg_buf_fini(&out);
        CHECK(is_active(store, A, false));
    }
    mapping_store_close(store);
    end();
}

static const struct {
    const char *name, *value, *headers[3][2], *want; /* NULL: refused */
} envelopes[] = {
    {"JSON with properties",
     "{\"hr\":72.0}",
     {{"p.ward", "4"}, {"ctime", "2026-03-14T10:00:00Z"}, {"mid", "m1"}},
     "{\"Body\":{\"hr\":72.0},\"Properties\":{\"ward\":\"4\",\"iothub-creation-time-utc\":"
     "\"2026-03-14T10:00:00Z\"},\"SystemProperties\":{\"iothub-connection-device-id\":\"bed-4\","
     "\"iothub-enqueuedtime\":\"2026-03-14T10:00:00.000Z\",\"message-id\":\"m1\"}}"},
    {"nothing", "", {{0}}, "{\"Body\":null,\"Properties\":{},"},
    {"no JSON", "{", {{0}}, NULL},
    {"a Bluetooth characteristic is decoded",
     "\x02\x48",
     {{"ct", "application/vnd.bluetooth.gatt"}, {"p.characteristic", "2A37"}},
     "{\"Body\":{\"measurements\":[{\"characteristic\":\"2a37\","},
};

static void test_envelopes(void)
{
    for (size_t i = 0; i < sizeof(envelopes) / sizeof(envelopes[0]); i++) {
        struct stream_record record = {.time_us = INT64_C(1773482400000000),
                                       .key = VG_SLICE("bed-4"),
                                       .value = vg_slice_of(envelopes[i].value)};
        struct vg_buf headers, out;
        struct vg_err err = {0};
        enum vg_status st;

        CHECK_ROW(envelopes[i].name);
        vg_buf_init(&headers, 0);
        vg_buf_init(&out, 0);
        for (size_t h = 0; h < 3 && envelopes[i].headers[h][0]; h++)
            stream_header_put(&headers, envelopes[i].headers[h][0],
                              vg_slice_of(envelopes[i].headers[h][1]));
        record.headers = vg_buf_slice(&headers);
        st = workbench_envelope(NULL, NULL, &record, &out, &err);
        CHECK(envelopes[i].want ? st == VG_OK : st == VG_REJECT);
        if (envelopes[i].want &&
            !CHECK(vg_slice_starts(vg_buf_slice(&out), vg_slice_of(envelopes[i].want))))
            printf("  got %.*s %s\n", VG_FMT(vg_buf_slice(&out)), err.text);
        vg_buf_fini(&headers);
        vg_buf_fini(&out);
    }
}

/* ---- threads ---- */

struct reader {
    struct mapping_store *store;
    atomic_bool *is_over;
    size_t wrong;
};

static void *read_on(void *ctx)
{
    struct reader *reader = ctx;

    while (!atomic_load(reader->is_over)) {
        const struct mapping_pair *pair = mapping_store_take(reader->store);
        struct vg_buf out;

        reader->wrong += !pair->device || !pair->fhir || strlen(pair->version) != 16;
        vg_buf_init(&out, 0);
        mapping_store_write(reader->store, &out);
        vg_buf_fini(&out);
        mapping_pair_drop(pair);
    }
    return NULL;
}

static void test_threads(void)
{
    atomic_bool is_over = false;
    struct reader readers[2];
    pthread_t threads[2];
    struct vg_buf out;
    size_t count = 0;

    begin();
    for (int i = 0; i < 2; i++)
        readers[i] = (struct reader){NULL, &is_over, 0};
    readers[0].store = readers[1].store = open_store(NULL, NULL);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, read_on, &readers[i]) == 0);
    for (int i = 0; i < 40; i++)
        CHECK(activate(readers[0].store, i % 2 ? A : B, &by_ann) == VG_OK);
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(readers[i].wrong == 0);
    }
    mapping_store_close(readers[0].store);
    CHECK_ROW("each exchange is in the history, the newest first");
    vg_buf_init(&out, 0);
    CHECK(mapping_store_history(versions, &out, NULL) == VG_OK);
    vg_buf_put_byte(&out, 0);
    for (const char *at = out.ptr; (at = strstr(at, "\"who\":\"ann\"")); at++)
        count++;
    CHECK(count == 40);
    vg_buf_fini(&out);
    end();
}

int main(void)
{
    struct vg_err err = {0};

    if (vg_crypto_init(&err) != VG_OK)
        return 1;
    RUN(test_starts);
    RUN(test_refusals);
    RUN(test_requests);
    RUN(test_envelopes);
    RUN(test_threads);
    return vg_test_report();
}
