/* connector_test.c -- the stage over a real journal and a real FHIR store. */
#include "connector/connector.h"

#include "base/crypto.h"
#include "base/json.h"
#include "connector/mapping_store.h"
#include "fhir_store.h"
#include "vg_test.h"

#include <unistd.h>

#define T0 INT64_C(1773482400000000) /* 2026-03-14T10:00:00Z */

/* ---- a hospital in a folder: a stream, a FHIR store, a connector between them ---- */

struct house {
    char dir[64];
    struct stream *stream;
    struct fhir_store *store;
    struct connector *connector;
    struct vg_arena arena;
};

static void remove_house(const char *dir)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (system(command) != 0)
        printf("could not remove %s\n", dir);
}

static bool put_resource(struct house *h, const char *type, const char *id, const char *body)
{
    struct fhir_write write = {.what = FHIR_UPDATE,
                               .type = vg_slice_of(type),
                               .id = vg_slice_of(id),
                               .body = vg_slice_of(body)};
    struct fhir_written written;
    struct vg_err err = {0};

    if (fhir_commit(h->store, &write, 1, &h->arena, &written, NULL, &err) == VG_OK)
        return true;
    printf("  %s\n", err.text);
    return false;
}

static bool open_connector(struct house *h, const char *identity)
{
    const struct connector_config config = {
        .device_mapping = VG_SOURCE_DIR "/mappings/ward-device.json",
        .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
        .identity = identity,
        .store = h->store,
    };
    struct vg_err err = {0};

    if (connector_open(&config, &h->connector, &err) == VG_OK)
        return true;
    printf("  %s\n", err.text);
    return false;
}

static bool open_house(struct house *h, const char *identity)
{
    struct fhir_config fhir = {.base_url = "http://localhost/fhir"};
    struct stream_config stream = {.segment_bytes = 4u << 20};
    char path[128];
    struct vg_err err = {0};

    *h = (struct house){.dir = "/tmp/vigil-connector-XXXXXX"};
    vg_arena_init(&h->arena, 64u << 20);
    if (!mkdtemp(h->dir))
        return false;
    (void)snprintf(path, sizeof(path), "%s/fhir.db", h->dir);
    fhir.path = path;
    if (test_fhir_open(&fhir, &h->store, &err) != VG_OK) {
        printf("  %s\n", err.text);
        return false;
    }
    (void)snprintf(path, sizeof(path), "%s/stream", h->dir);
    stream.dir = path;
    if (stream_open(&stream, &h->stream, &err) != VG_OK) {
        printf("  %s\n", err.text);
        return false;
    }
    return open_connector(h, identity) &&
           put_resource(h, "Patient", "p1",
                        "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"identifier\":[{\"system\":"
                        "\"urn:mrn\",\"value\":\"MRN-1\"}]}") &&
           put_resource(h, "Patient", "p2",
                        "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"identifier\":[{\"value\":"
                        "\"MRN-2\"}]}") &&
           put_resource(h, "Device", "d1",
                        "{\"resourceType\":\"Device\",\"id\":\"d1\",\"identifier\":[{\"value\":"
                        "\"bed-4\"}],\"patient\":{\"reference\":\"Patient/p1\"}}") &&
           put_resource(
               h, "Encounter", "e1",
               "{\"resourceType\":\"Encounter\",\"id\":\"e1\",\"status\":\"in-progress\","
               "\"class\":{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ActCode\","
               "\"code\":\"IMP\"},\"subject\":{\"reference\":\"Patient/p1\"},\"period\":{"
               "\"start\":\"2026-03-14T09:00:00Z\"}}");
}

static void close_house(struct house *h)
{
    connector_close(h->connector);
    stream_close(h->stream);
    fhir_close(h->store);
    vg_arena_fini(&h->arena);
    remove_house(h->dir);
}

/* ---- the stage's calls without its thread: batches are ours to cut ---- */

struct sent {
    const char *device, *body;
    int64_t time_us;
    const char *mid, *dup, *replay, *ct, *refused;
};

struct counts {
    size_t normalized, dead;
    char reasons[512];
    char last[4096]; /* the last normalized record and its header fhir */
};

/* Runs one batch; what comes out is committed to the stream and counted by reading it there. */
static enum vg_status run_batch(struct house *h, const struct sent *sent, size_t count,
                                bool is_committed, struct counts *counts)
{
    static struct stream_record records[2000];
    static struct vg_buf headers[2000];
    struct stream_batch batch = {records, count, 0};
    struct stream_consumer *consumer = NULL;
    struct stream_batch out_batch;
    struct stream_out out;
    struct vg_err err = {0};
    enum vg_status st;

    for (size_t i = 0; i < count; i++) {
        vg_buf_init(&headers[i], 0);
        if (sent[i].mid)
            stream_header_put(&headers[i], "mid", vg_slice_of(sent[i].mid));
        if (sent[i].dup)
            stream_header_put(&headers[i], "dup", vg_slice_of(sent[i].dup));
        if (sent[i].ct)
            stream_header_put(&headers[i], "ct", vg_slice_of(sent[i].ct));
        if (sent[i].refused)
            stream_header_put(&headers[i], "refused", vg_slice_of(sent[i].refused));
        if (sent[i].replay)
            stream_header_put(&headers[i], "replay-of", vg_slice_of(sent[i].replay));
        records[i] = (struct stream_record){.seq = i + 1,
                                            .time_us = sent[i].time_us,
                                            .key = vg_slice_of(sent[i].device),
                                            .headers = vg_buf_slice(&headers[i]),
                                            .value = vg_slice_of(sent[i].body)};
    }
    stream_out_init(&out);
    st = connector_stage_ops()->process(h->connector, &batch, &out, &err);
    if (st != VG_OK)
        printf("  process: %d %s\n", st, err.text);
    *counts = (struct counts){.normalized = 0};
    if (st == VG_OK && out.record_count > 0 && is_committed) {
        uint64_t first = 0;

        st = stream_commit(h->stream, 0, &out, &first, &err);
        CHECK(st == VG_OK);
        for (int topic = 0; topic < 2; topic++) {
            enum stream_topic which = topic ? STREAM_DEADLETTER : STREAM_NORMALIZED;

            CHECK(stream_consumer_open(h->stream, 0, which, "test", &consumer, &err) == VG_OK);
            stream_seek(consumer, first);
            while (stream_read(consumer, 500, 0, &out_batch, &err) == VG_OK)
                for (size_t i = 0; i < out_batch.count; i++) {
                    const struct stream_record *r = &out_batch.records[i];
                    struct vg_json *root = NULL;

                    CHECK(stream_header_get(r->headers, "trace").len > 0);
                    CHECK(vg_json_parse(&h->arena, r->value, NULL, &root, NULL, NULL) == VG_OK);
                    if (topic) {
                        struct vg_slice reason = vg_json_get_text(root, "reason");

                        counts->dead++;
                        (void)snprintf(counts->reasons + strlen(counts->reasons),
                                       sizeof(counts->reasons) - strlen(counts->reasons), "%.*s;",
                                       VG_FMT(reason));
                    } else {
                        struct vg_slice fhir = stream_header_get(r->headers, "fhir");

                        counts->normalized++;
                        CHECK(stream_header_get(r->headers, "map").len == 16);
                        (void)snprintf(counts->last, sizeof(counts->last), "%.*s %.*s",
                                       VG_FMT(r->value), VG_FMT(fhir));
                    }
                }
            stream_consumer_close(consumer);
        }
    }
    if (is_committed && st == VG_OK)
        connector_stage_ops()->committed(h->connector, 0);
    stream_out_fini(&out);
    for (size_t i = 0; i < count; i++)
        vg_buf_fini(&headers[i]);
    return st;
}

/* All Observations, sorted by id, without meta: "what a REST client sees". */
static size_t dump(struct house *h, struct vg_buf *out)
{
    struct fhir_results results = {0};
    struct vg_err err = {0};

    vg_arena_reset(&h->arena);
    if (!CHECK(fhir_search(h->store, VG_SLICE("Observation"), VG_SLICE("_count=1000&_sort=_id"),
                           &h->arena, &results, &err) == VG_OK)) {
        printf("  %s\n", err.text);
        return 0;
    }
    for (size_t i = 0; out && i < results.count; i++) {
        struct vg_json *root = NULL;

        if (!CHECK(vg_json_parse(&h->arena, results.resources[i].body, NULL, &root, NULL, NULL) ==
                   VG_OK))
            continue;
        for (const struct vg_json *m = root->child; m; m = m->next)
            if (!vg_slice_is(m->name, "meta"))
                vg_buf_printf(out, "%.*s=%.*s ", VG_FMT(m->name), VG_FMT(m->source));
        vg_buf_put_byte(out, '\n');
    }
    return results.count;
}

static const char full[] =
    "{\"time\":\"2026-03-14T10:00:00.000Z\",\"hr\":72,\"rr\":16,\"spo2\":97,\"o2\":0,\"sys\":121,"
    "\"dia\":76,\"map\":91,\"temp\":36.8,\"avpu\":\"A\"}";

static void test_a_full_message(void)
{
    const struct sent sent = {.device = "bed-4", .body = full, .time_us = T0 + 1250000};
    struct counts counts;
    struct vg_buf text;
    struct house h;

    vg_buf_init(&text, 0);
    if (CHECK(open_house(&h, NULL))) {
        CHECK(run_batch(&h, &sent, 1, true, &counts) == VG_OK);
        CHECK(counts.normalized == 7 && counts.dead == 0);
        printf("%s", counts.reasons);
        CHECK(dump(&h, &text) == 7);
        vg_buf_put_byte(&text, 0);
        CHECK(strstr(text.ptr, "\"code\":\"8867-4\"") != NULL);
        CHECK(strstr(text.ptr, "encounter={\"reference\":\"Encounter/e1\"}") != NULL);
        CHECK(strstr(text.ptr, "status=\"final\"") != NULL);
        CHECK(strstr(text.ptr, "effectiveDateTime=\"2026-03-14T10:00:00.000Z\"") != NULL);
        CHECK(strstr(counts.last, "\"Type\":\"consciousness\"") != NULL);
        CHECK(strstr(counts.last, "{\"patient\":\"p1\",\"device\":\"d1\",\"encounter\":\"e1\","
                                  "\"observation\":\"") != NULL);
        CHECK(strstr(counts.last, "\"code\":\"80288-4\",\"text\":\"A\"") != NULL);
    }
    vg_buf_fini(&text);
    close_house(&h);
}

static void test_poison(void)
{
    static const struct {
        const char *name;
        struct sent sent;
        size_t normalized;
        const char *reasons;
    } rows[] = {
        {"not JSON", {.device = "bed-4", .body = "{\"hr\":", .time_us = T0}, 0, "connector.json;"},
        {"bytes", {.device = "bed-4", .body = "\xff\xfe\x01", .time_us = T0}, 0, "connector.json;"},
        {"nothing known in it",
         {.device = "bed-4", .body = "{\"time\":\"2026-03-14T10:00:00Z\"}", .time_us = T0},
         0,
         "connector.no_match;"},
        {"no time",
         {.device = "bed-4", .body = "{\"hr\":72}", .time_us = T0},
         0,
         "connector.missing_value;"},
        {"text for a number",
         {.device = "bed-4",
          .body = "{\"time\":\"2026-03-14T10:00:01Z\",\"hr\":\"abc\",\"rr\":16}",
          .time_us = T0},
         1,
         "connector.quantity;"},
        {"a device that nobody knows",
         {.device = "bed-9", .body = full, .time_us = T0},
         0,
         "connector.identity;"},
    };
    static const struct sent good = {.device = "bed-4", .body = full, .time_us = T0};
    struct counts counts;
    struct house h;

    if (CHECK(open_house(&h, NULL)))
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            const struct sent both[2] = {rows[i].sent, good};

            CHECK_ROW(rows[i].name);
            CHECK(run_batch(&h, both, 2, true, &counts) == VG_OK);
            CHECK(counts.normalized ==
                  rows[i].normalized + 7); /* the good one behind it is there */
            if (!CHECK(strcmp(counts.reasons, rows[i].reasons) == 0))
                printf("  got %s\n", counts.reasons);
        }
    close_house(&h);
}

static void test_repeats(void)
{
    static const char other[] = "{\"time\":\"2026-03-14T10:00:01Z\",\"hr\":73}";
    const struct {
        const char *name;
        struct sent sent;
        size_t normalized;
    } steps[] = {
        {"first", {.device = "bed-4", .body = full, .time_us = T0, .mid = "m1"}, 7},
        {"again under its id",
         {.device = "bed-4", .body = full, .time_us = T0 + 5, .mid = "m1"},
         0},
        {"again under its id, flagged",
         {.device = "bed-4", .body = full, .time_us = T0 + 5, .mid = "m1", .dup = "1"},
         0},
        {"its id with another body is another message",
         {.device = "bed-4", .body = other, .time_us = T0 + 5, .mid = "m1"},
         1},
        {"flagged, without id",
         {.device = "bed-4", .body = other, .time_us = T0 + 6, .dup = "1"},
         0},
        {"the same bytes, not flagged, no id",
         {.device = "bed-4", .body = other, .time_us = T0 + 7},
         1},
        {"put again by a person",
         {.device = "bed-4", .body = full, .time_us = T0 + 8, .mid = "m1", .replay = "0-1"},
         7},
        {"a flagged one that never came",
         {.device = "bed-4",
          .body = "{\"time\":\"2026-03-14T10:00:02Z\",\"hr\":74}",
          .time_us = T0 + 9,
          .dup = "1"},
         1},
    };
    struct counts counts;
    struct vg_buf text;
    struct house h;

    vg_buf_init(&text, 0);
    if (CHECK(open_house(&h, NULL))) {
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            CHECK_ROW(steps[i].name);
            CHECK(run_batch(&h, &steps[i].sent, 1, true, &counts) == VG_OK);
            CHECK(counts.normalized == steps[i].normalized && counts.dead == 0);
        }
        CHECK_ROW("");
        CHECK(dump(&h, &text) == 9); /* each reading once */
        vg_buf_put_byte(&text, 0);
        CHECK(strstr(text.ptr, "amended") == NULL);

        /* A batch that was not committed comes again and is not taken for its own repeat. */
        const struct sent more = {.device = "bed-4",
                                  .body = "{\"time\":\"2026-03-14T10:00:03Z\",\"hr\":75}",
                                  .time_us = T0 + 10,
                                  .mid = "m9"};

        CHECK(run_batch(&h, &more, 1, false, &counts) == VG_OK);
        CHECK(run_batch(&h, &more, 1, true, &counts) == VG_OK && counts.normalized == 1);
        CHECK(run_batch(&h, &more, 1, true, &counts) == VG_OK && counts.normalized == 0);
    }
    vg_buf_fini(&text);
    close_house(&h);
}

/* Cuts, crashes and repetitions of the same messages: the same Observations, byte for byte. */
static void test_any_split_same_observations(void)
{
    enum { COUNT = 80 };
    static char bodies[COUNT][160];
    static struct sent sent[COUNT];
    uint64_t rng = 88172645463325252u;
    struct vg_buf want, got;

    for (size_t i = 0; i < COUNT; i++) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        (void)snprintf(
            bodies[i], sizeof(bodies[i]), "{\"time\":\"2026-03-14T10:00:%02u.%uZ\",\"hr\":%u%s%s}",
            (unsigned)(rng % 12), (unsigned)(rng >> 8 & 1) * 5, 60 + (unsigned)(rng >> 9 & 3),
            rng >> 12 & 1 ? ",\"sys\":120" : "", rng >> 13 & 1 ? ",\"dia\":80" : "");
        sent[i] =
            (struct sent){.device = "bed-4", .body = bodies[i], .time_us = T0 + (int64_t)i / 2};
    }
    vg_buf_init(&want, 0);
    vg_buf_init(&got, 0);
    for (int round = 0; round < 4; round++) {
        struct counts counts;
        struct house h;
        size_t at = 0;

        if (!CHECK(open_house(&h, NULL)))
            break;
        while (at < COUNT) {
            size_t count = round == 0 ? COUNT : 1 + rng % 20;

            rng = rng * 6364136223846793005u + 1442695040888963407u;
            if (count > COUNT - at)
                count = COUNT - at;
            bool is_committed = round == 0 || (rng >> 33) % 3 != 0;

            CHECK(run_batch(&h, sent + at, count, is_committed, &counts) == VG_OK);
            if (is_committed) {
                at += count;
            } else if (rng >> 40 & 1) { /* a restart forgets everything that is not written */
                connector_close(h.connector);
                if (!CHECK(open_connector(&h, NULL)))
                    break;
            }
        }
        vg_buf_clear(&got);
        CHECK(dump(&h, round == 0 ? &want : &got) > 20);
        if (round > 0)
            CHECK(vg_slice_eq(vg_buf_slice(&want), vg_buf_slice(&got)));
        close_house(&h);
    }
    vg_buf_fini(&want);
    vg_buf_fini(&got);
}

static void test_identity_follows_changes(void)
{
    static char body[4][80];
    char now[VG_TIME_TEXT_SIZE];
    struct sent sent[4];
    struct counts counts;
    struct house h;

    for (int i = 0; i < 4; i++) {
        (void)snprintf(body[i], sizeof(body[i]), "{\"time\":\"2026-03-14T10:00:0%dZ\",\"hr\":72}",
                       i);
        sent[i] = (struct sent){.device = "bed-4", .body = body[i], .time_us = T0};
    }
    (void)vg_time_format(vg_now_us() + VG_MINUTE_US, 0, now);
    (void)snprintf(body[3], sizeof(body[3]), "{\"time\":\"%s\",\"hr\":72}", now);
    if (CHECK(open_house(&h, NULL))) {
        CHECK(run_batch(&h, &sent[0], 1, true, &counts) == VG_OK);
        CHECK(strstr(counts.last, "\"patient\":\"p1\"") != NULL);
        CHECK(put_resource(&h, "Device", "d1",
                           "{\"resourceType\":\"Device\",\"id\":\"d1\",\"identifier\":[{\"value\":"
                           "\"bed-4\"}],\"patient\":{\"reference\":\"Patient/p2\"}}"));
        CHECK(run_batch(&h, &sent[1], 1, true, &counts) == VG_OK);
        CHECK(strcmp(counts.reasons, "connector.relinked;") == 0); /* measured while it was p1's */
        CHECK(run_batch(&h, &sent[3], 1, true, &counts) == VG_OK);
        CHECK(strstr(counts.last, "\"patient\":\"p2\"") != NULL);
        CHECK(strstr(counts.last, "encounter") == NULL); /* e1 is of p1 */
        CHECK(put_resource(&h, "Device", "d2",
                           "{\"resourceType\":\"Device\",\"id\":\"d2\",\"identifier\":[{\"value\":"
                           "\"bed-4\"}],\"patient\":{\"reference\":\"Patient/p1\"}}"));
        CHECK(run_batch(&h, &sent[2], 1, true, &counts) == VG_OK);
        CHECK(strcmp(counts.reasons, "connector.identity;") == 0); /* two of that name */
    }
    close_house(&h);
}

/* Mode create, and messages that name their patient. */
static void test_create_and_mismatch(void)
{
    static const char device_mapping[] =
        "{\"templateType\":\"CollectionContent\",\"template\":[{\"templateType\":"
        "\"JsonPathContent\","
        "\"template\":{\"typeName\":\"heartrate\",\"typeMatchExpression\":\"$..[?(@hr)]\","
        "\"deviceIdExpression\":\"$.id\",\"patientIdExpression\":\"$.patient\","
        "\"encounterIdExpression\":\"$.visit\",\"timestampExpression\":\"$.time\",\"values\":[{"
        "\"valueName\":\"hr\",\"valueExpression\":\"$.hr\",\"required\":true}]}}]}";
    static const struct {
        const char *name, *body, *want, *reasons;
    } rows[] = {
        {"a known device says whose it is", "\"id\":\"bed-4\"", "\"patient\":\"p1\"", ""},
        {"the patient it names is the device's", "\"id\":\"bed-4\",\"patient\":\"MRN-1\"",
         "\"patient\":\"p1\"", ""},
        {"the patient it names is another", "\"id\":\"bed-4\",\"patient\":\"MRN-2\"", "",
         "connector.mismatch;"},
        {"the patient it names is unknown", "\"id\":\"bed-4\",\"patient\":\"MRN-77\"", "",
         "connector.mismatch;"},
        {"an encounter that is not there", "\"id\":\"bed-4\",\"visit\":\"V9\"", "",
         "connector.identity;"},
        {"a new device without a patient", "\"id\":\"new-1\"", "", "connector.identity;"},
        {"a new device of a known patient", "\"id\":\"a|b, c&d\",\"patient\":\"MRN-2\"",
         "\"patient\":\"p2\"", ""},
        {"and again", "\"id\":\"a|b, c&d\",\"patient\":\"MRN-2\"", "\"patient\":\"p2\"", ""},
        {"now with a wrong patient", "\"id\":\"a|b, c&d\",\"patient\":\"MRN-1\"", "",
         "connector.mismatch;"},
        {"a new device of a new patient", "\"id\":\"new-2\",\"patient\":\"MRN-3\"",
         "\"device\":", ""},
    };
    struct counts counts;
    struct vg_err err = {0};
    struct house h;
    char path[128];

    if (!CHECK(open_house(&h, "create")))
        return;
    (void)snprintf(path, sizeof(path), "%s/device.json", h.dir);
    CHECK(vg_file_write(path, vg_slice_of(device_mapping), 0600, &err) == VG_OK);
    connector_close(h.connector);
    h.connector = NULL;
    const struct connector_config config = {
        .device_mapping = path,
        .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
        .identity = "create",
        .device_system = "urn:bed",
        .store = h.store,
    };

    CHECK(put_resource(&h, "Device", "d1",
                       "{\"resourceType\":\"Device\",\"id\":\"d1\",\"identifier\":[{\"system\":"
                       "\"urn:bed\",\"value\":\"bed-4\"}],\"patient\":{\"reference\":"
                       "\"Patient/p1\"}}"));
    if (CHECK(connector_open(&config, &h.connector, &err) == VG_OK))
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            char body[256];
            struct sent sent = {.device = "gateway", .body = body, .time_us = T0};

            (void)snprintf(body, sizeof(body), "{%s,\"time\":\"2026-03-14T10:00:%02uZ\",\"hr\":72}",
                           rows[i].body, (unsigned)i);
            CHECK_ROW(rows[i].name);
            CHECK(run_batch(&h, &sent, 1, true, &counts) == VG_OK);
            if (!CHECK(strcmp(counts.reasons, rows[i].reasons) == 0))
                printf("  got %s\n", counts.reasons);
            if (!CHECK(strstr(counts.last, rows[i].want) != NULL))
                printf("  got %s\n", counts.last);
        }
    close_house(&h);
}

/* As the reference: readings of one second share an Observation, in one batch and in several. */
static void test_medtech(void)
{
    static const char *const bodies[] = {"{\"time\":\"2026-03-14T10:00:00.2Z\",\"hr\":72}",
                                         "{\"time\":\"2026-03-14T10:00:00.7Z\",\"hr\":73}",
                                         "{\"time\":\"2026-03-14T10:00:00.5Z\",\"hr\":74}",
                                         "{\"time\":\"2026-03-14T10:00:01Z\",\"hr\":75}"};
    struct connector_config config = {
        .device_mapping = VG_SOURCE_DIR "/mappings/ward-device.json",
        .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
        .compat = "medtech",
    };
    struct vg_buf out;

    vg_buf_init(&out, 0);
    for (size_t step = 1; step <= 4; step++) {
        struct sent sent[4];
        struct counts counts;
        struct vg_err err = {0};
        struct house h;

        if (!CHECK(open_house(&h, NULL)))
            return;
        connector_close(h.connector);
        config.store = h.store;
        if (!CHECK(connector_open(&config, &h.connector, &err) == VG_OK))
            return;
        for (size_t i = 0; i < 4; i++)
            sent[i] = (struct sent){.device = "bed-4", .body = bodies[i], .time_us = T0 + 1};
        for (size_t i = 0; i < 4; i += step) {
            size_t count = step < 4 - i ? step : 4 - i;

            CHECK(run_batch(&h, sent + i, count, true, &counts) == VG_OK);
            CHECK(counts.normalized == count && counts.dead == 0);
        }
        vg_buf_clear(&out);
        CHECK(dump(&h, &out) == 2);
        vg_buf_put_byte(&out, 0);
        CHECK(strstr(out.ptr, "effectivePeriod={\"start\":\"2026-03-14T10:00:00.2000000Z\",\"end\":"
                              "\"2026-03-14T10:00:00.7000000Z\"}") != NULL);
        CHECK(strstr(out.ptr, "\"value\":73,") && strstr(out.ptr, "\"value\":75,") &&
              !strstr(out.ptr, "\"value\":72,"));
        close_house(&h);
    }
    vg_buf_fini(&out);
}

/* More than one commit's worth goes through. */
static void test_many(void)
{
    enum { COUNT = 1200 };
    static char bodies[COUNT][120];
    static struct sent sent[COUNT];
    struct counts counts;
    struct house h;

    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(bodies[i], sizeof(bodies[i]),
                       "{\"time\":\"2026-03-14T10:%02zu:%02zuZ\",\"hr\":%zu}", i / 60, i % 60,
                       i % 200);
        sent[i] = (struct sent){.device = "bed-4", .body = bodies[i], .time_us = T0 + (int64_t)i};
    }
    if (CHECK(open_house(&h, NULL))) {
        CHECK(run_batch(&h, sent, COUNT, true, &counts) == VG_OK);
        CHECK(counts.normalized == COUNT && counts.dead == 0);
        CHECK(run_batch(&h, sent, COUNT, true, &counts) == VG_OK); /* all there: nothing changes */
        CHECK(counts.normalized == COUNT && counts.dead == 0);
    }
    close_house(&h);
}

/* A write that the FHIR service refuses is its own message's dead letter; the rest is written. */
static void test_refused_write(void)
{
    static const char fhir_mapping[] =
        "{\"templateType\":\"CollectionFhir\",\"template\":[{\"templateType\":\"CodeValueFhir\","
        "\"template\":{\"typeName\":\"heartrate\",\"codes\":[{\"code\":\"8867-4\"}],\"value\":{"
        "\"valueType\":\"Quantity\",\"valueName\":\"hr\"}}},{\"templateType\":\"CodeValueFhir\","
        "\"template\":{\"typeName\":\"respiration\",\"codes\":[{\"code\":\"9279-1\"}],\"value\":{"
        "\"valueType\":\"CodeableConcept\",\"valueName\":\"rr\",\"codes\":[]}}}]}"; /* an empty
                                                                                       concept */
    enum { COUNT = 40 };
    static char bodies[COUNT][100];
    struct sent sent[COUNT];
    struct counts counts;
    struct vg_err err = {0};
    struct house h;
    char path[128];

    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(bodies[i], sizeof(bodies[i]),
                       "{\"time\":\"2026-03-14T10:00:%02dZ\",\"hr\":%d%s}", i, i,
                       i % 2 ? ",\"rr\":16" : "");
        sent[i] = (struct sent){.device = "bed-4", .body = bodies[i], .time_us = T0 + i};
    }
    if (!CHECK(open_house(&h, NULL)))
        return;
    (void)snprintf(path, sizeof(path), "%s/fhir.json", h.dir);
    CHECK(vg_file_write(path, vg_slice_of(fhir_mapping), 0600, &err) == VG_OK);
    connector_close(h.connector);
    h.connector = NULL;
    const struct connector_config config = {.device_mapping =
                                                VG_SOURCE_DIR "/mappings/ward-device.json",
                                            .fhir_mapping = path,
                                            .store = h.store};

    if (CHECK(connector_open(&config, &h.connector, &err) == VG_OK)) {
        CHECK(run_batch(&h, sent, COUNT, true, &counts) == VG_OK);
        CHECK(counts.normalized == COUNT && counts.dead == COUNT / 2);
        CHECK(strncmp(counts.reasons, "connector.rejected;", 19) == 0);
        CHECK(dump(&h, NULL) == COUNT);
    }
    close_house(&h);
}

/* ---- the stage as it runs: its thread, its restore, its offset ---- */

static bool wait_lag(struct house *h)
{
    int64_t until_us = vg_mono_us() + 10 * VG_SECOND_US;

    /* The consumer's lag is the event; a read with a timeout is the wait. */
    while (stream_lag(h->stream, "connector", STREAM_DEVICE_RAW, 0) > 0) {
        struct stream_consumer *consumer = NULL;
        struct stream_batch batch;

        if (vg_mono_us() > until_us)
            return false;
        if (stream_consumer_open(h->stream, 0, STREAM_CARE_CHANGED, "wait!", &consumer, NULL) !=
            VG_OK)
            return false;
        (void)!stream_read(consumer, 1, 5000, &batch, NULL);
        stream_consumer_close(consumer);
    }
    return true;
}

static void send(struct house *h, const char *body, const char *mid, int64_t time_us)
{
    struct stream_out out;
    struct vg_buf headers;

    stream_out_init(&out);
    vg_buf_init(&headers, 0);
    stream_header_put(&headers, "mid", vg_slice_of(mid));
    stream_out_add(&out, STREAM_DEVICE_RAW, time_us, VG_SLICE("bed-4"), vg_buf_slice(&headers),
                   vg_slice_of(body));
    CHECK(stream_commit(h->stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
    vg_buf_fini(&headers);
}

static void test_as_a_stage(void)
{
    struct stage *stage = NULL;
    struct vg_err err = {0};
    struct house h;

    if (!CHECK(open_house(&h, NULL)))
        return;
    for (int run = 0; run < 2; run++) {
        struct stage_config config = {
            .ops = connector_stage_ops(), .self = h.connector, .stream = h.stream};

        if (!CHECK(stage_start(&config, &stage, &err) == VG_OK)) {
            printf("  %s\n", err.text);
            break;
        }
        send(&h, full, "m1", T0);
        CHECK(wait_lag(&h));
        stage_stop(stage);
        /* The second connector knows nothing but what it restores from the stream. */
        connector_close(h.connector);
        h.connector = NULL;
        CHECK(open_connector(&h, NULL));
    }
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    size_t normalized = 0;

    CHECK(stream_consumer_open(h.stream, 0, STREAM_NORMALIZED, "test", &consumer, &err) == VG_OK);
    while (stream_read(consumer, 100, 0, &batch, &err) == VG_OK)
        normalized += batch.count;
    stream_consumer_close(consumer);
    CHECK(normalized == 7); /* the repeat after the restart was known */
    CHECK(dump(&h, NULL) == 7);
    close_house(&h);
}

/* ---- other mappings while it runs ---- */

static bool read_ward(struct vg_arena *arena, struct vg_slice *device, struct vg_slice *fhir)
{
    return vg_file_read(arena, VG_SOURCE_DIR "/mappings/ward-device.json", 0, device, NULL) ==
               VG_OK &&
           vg_file_read(arena, VG_SOURCE_DIR "/mappings/ward-fhir.json", 0, fhir, NULL) == VG_OK;
}

static const char pulse_alone[] =
    "{\"templateType\":\"CollectionContent\",\"template\":[{\"templateType\":"
    "\"JsonPathContent\",\"template\":{\"typeName\":\"heartrate\",\"typeMatchExpression\":"
    "\"$..[?(@hr)]\",\"deviceIdExpression\":\"$.id\",\"timestampExpression\":\"$.time\","
    "\"values\":[{\"valueName\":\"hr\",\"valueExpression\":\"$.hr\",\"required\":true}]}}]}";

/* The ward's mapping and one that knows the pulse alone: two measurements, or one. */
static void test_exchange(void)
{
    static const char body[] =
        "{\"id\":\"bed-4\",\"time\":\"2026-03-14T10:00:0%dZ\",\"hr\":72,\"rr\":16}";
    const struct mapping_store_config files = {
        .device_path = VG_SOURCE_DIR "/mappings/ward-device.json",
        .fhir_path = VG_SOURCE_DIR "/mappings/ward-fhir.json"};
    const struct mapping_act act = {.who = VG_SLICE("test"), .how = "workbench"};
    char bodies[5][96], first[MAPPING_VERSION_SIZE], now[MAPPING_VERSION_SIZE];
    struct connector_config config = {0};
    struct vg_slice device, fhir;
    struct counts counts;
    struct vg_err err = {0};
    struct house h;

    for (int i = 0; i < 5; i++)
        (void)snprintf(bodies[i], sizeof(bodies[i]), body, i);
    if (!CHECK(open_house(&h, NULL)))
        return;
    connector_close(h.connector);
    h.connector = NULL;
    config.store = h.store;
    CHECK(read_ward(&h.arena, &device, &fhir));
    if (CHECK(mapping_store_open(&files, &config.mappings, &err) == VG_OK) &&
        CHECK(connector_open(&config, &h.connector, &err) == VG_OK)) {
        struct sent sent[5];

        for (int i = 0; i < 5; i++)
            sent[i] = (struct sent){.device = "bed-4", .body = bodies[i], .time_us = T0 + i};
        CHECK(run_batch(&h, &sent[0], 1, true, &counts) == VG_OK && counts.normalized == 2);
        CHECK(mapping_store_activate(config.mappings, vg_slice_of(pulse_alone), fhir, &act, now,
                                     first, &err) == VG_OK);
        CHECK_ROW("the next batch has the new one");
        CHECK(run_batch(&h, &sent[1], 1, true, &counts) == VG_OK && counts.normalized == 1);
        CHECK_ROW("what is wrong changes nothing");
        CHECK(mapping_store_activate(config.mappings, VG_SLICE("{}"), fhir, &act, now, NULL,
                                     &err) == VG_REJECT);
        CHECK(run_batch(&h, &sent[2], 1, true, &counts) == VG_OK && counts.normalized == 1);
        CHECK_ROW("a batch that comes again keeps the one that has written for it");
        CHECK(run_batch(&h, &sent[3], 1, false, &counts) == VG_OK);
        CHECK(mapping_store_activate(config.mappings, device, fhir, &act, now, NULL, &err) ==
              VG_OK);
        CHECK(strcmp(now, first) == 0);
        CHECK(run_batch(&h, &sent[3], 1, true, &counts) == VG_OK && counts.normalized == 1);
        CHECK_ROW("and the one after it has the newest");
        CHECK(run_batch(&h, &sent[4], 1, true, &counts) == VG_OK && counts.normalized == 2);
        CHECK(dump(&h, NULL) == 7);
    }
    connector_close(h.connector);
    h.connector = NULL;
    mapping_store_close(config.mappings);
    close_house(&h);
}

/* ---- whom a sender speaks for ---- */

/* Of gw-1 it was said that it speaks for bed-4, of nobody else anything. */
static bool may_speak(void *ctx, struct vg_slice sender, struct vg_slice device, bool is_free)
{
    (void)ctx;
    return vg_slice_is(sender, "gw-1") ? vg_slice_is(device, "bed-4") : is_free;
}

static void test_senders(void)
{
#define HL7 "application/hl7-v2+er7"
#define HEAD "MSH|^~\\&|A||||20260314100000Z||ORU^R01|1|P|2.6\r"
#define OBX(bed, code) "OBX|1|NM|" code "^^MDC||72|/min|||||R|||20260314100000+0000||||" bed "\r"
    static const char other[] = "{\"id\":\"bed-4\",\"time\":\"2026-03-14T10:00:00Z\",\"hr\":72}",
                      third[] = "{\"id\":\"bed-9\",\"time\":\"2026-03-14T10:00:00Z\",\"hr\":72}";
    static const char said_no[] = "segment 2 (OBX): the sender does not speak for it";
    static const struct {
        const char *name;
        struct sent sent;
        size_t normalized;
        const char *reasons;
    } rows[] = {
        {"JSON of a sender of whom nothing was said names whom the mapping reads",
         {.device = "gw-2", .body = other, .time_us = T0},
         1,
         ""},
        {"JSON that names one that its sender speaks for",
         {.device = "gw-1", .body = other, .time_us = T0},
         1,
         ""},
        {"JSON that names another one",
         {.device = "gw-1", .body = third, .time_us = T0},
         0,
         "connector.sender;"},
        {"HL7 of a sender of whom nothing was said names nobody else",
         {.device = "gw-2", .body = HEAD OBX("bed-4", "147842"), .time_us = T0, .ct = HL7},
         0,
         "connector.sender;"},
        {"HL7 that names its sender",
         {.device = "bed-4", .body = HEAD OBX("bed-4", "147842"), .time_us = T0, .ct = HL7},
         1,
         ""},
        {"HL7 that names one that its sender speaks for",
         {.device = "gw-1", .body = HEAD OBX("bed-4", "147842"), .time_us = T0, .ct = HL7},
         1,
         ""},
        {"nothing is taken of a message that names another one too",
         {.device = "gw-1",
          .body = HEAD OBX("bed-4", "147842") OBX("bed-9", "147842"),
          .time_us = T0,
          .ct = HL7},
         0,
         "connector.sender;"},
        {"what the hub has refused",
         {.device = "gw-1",
          .body = HEAD OBX("bed-4", "147842"),
          .time_us = T0,
          .mid = "m7",
          .ct = HL7,
          .refused = said_no},
         0,
         "connector.sender;"},
        {"sent again when its sender may: not a repeat",
         {.device = "gw-1",
          .body = HEAD OBX("bed-4", "147842"),
          .time_us = T0,
          .mid = "m7",
          .ct = HL7},
         1,
         ""},
        {"refused, and put back by a person: judged anew",
         {.device = "gw-1",
          .body = HEAD OBX("bed-4", "147842"),
          .time_us = T0,
          .ct = HL7,
          .refused = said_no,
          .replay = "0-1"},
         1,
         ""},
        {"and again refused",
         {.device = "gw-1",
          .body = HEAD OBX("bed-9", "147842"),
          .time_us = T0,
          .ct = HL7,
          .refused = said_no,
          .replay = "0-1"},
         0,
         "connector.sender;"},
    };
    struct connector_config config = {.device_mapping = "/tmp/none",
                                      .fhir_mapping = VG_SOURCE_DIR "/mappings/all-fhir.json",
                                      .may_speak = may_speak};
    struct counts counts;
    struct vg_err err = {0};
    struct house h;

    if (!CHECK(open_house(&h, NULL)))
        return;
    config.store = h.store;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[96];

        CHECK_ROW(rows[i].name);
        (void)snprintf(path, sizeof(path), "%s/pulse.json", h.dir);
        CHECK(vg_file_write(path, vg_slice_of(pulse_alone), 0600, &err) == VG_OK);
        config.device_mapping = rows[i].sent.ct ? VG_SOURCE_DIR "/mappings/hl7-device.json" : path;
        if (i == 0 || !rows[i].sent.ct != !rows[i - 1].sent.ct) {
            connector_close(h.connector);
            h.connector = NULL;
            if (!CHECK(connector_open(&config, &h.connector, &err) == VG_OK))
                break;
        }
        CHECK(run_batch(&h, &rows[i].sent, 1, true, &counts) == VG_OK);
        CHECK(counts.normalized == rows[i].normalized);
        if (!CHECK(strcmp(counts.reasons, rows[i].reasons) == 0))
            printf("  got %s\n", counts.reasons);
    }
    close_house(&h);
}

/* ---- a crash between the FHIR service and the journal, and another mapping after it ---- */

#define CRASH_MESSAGES 40

/* The pulse at another code: with it each reading is another Observation. */
static bool other_code(struct vg_arena *arena, struct vg_slice fhir, struct vg_slice *ret)
{
    const char *at = memmem(fhir.ptr, fhir.len, "8867-4", 6);

    if (!at)
        return false;
    *ret = vg_arena_dup(arena, fhir);
    memcpy((char *)(uintptr_t)ret->ptr + (at - fhir.ptr), "8889-8", 6);
    return true;
}

/* Puts messages on device.raw, so that a connector's stage has them to read. */
static void publish(struct house *h, char bodies[][96], size_t from, size_t to, uint64_t *ret_end)
{
    struct stream_out out;
    struct vg_err err = {0};
    uint64_t first = 0;

    stream_out_init(&out);
    for (size_t i = from; i < to; i++)
        stream_out_add(&out, STREAM_DEVICE_RAW, T0 + (int64_t)i, VG_SLICE("bed-4"),
                       (struct vg_slice){0}, vg_slice_of(bodies[i]));
    CHECK(stream_commit(h->stream, 0, &out, &first, &err) == VG_OK);
    *ret_end = first + (to - from);
    stream_out_fini(&out);
}

/* The loop of stream/stage.c, with the crash where it hurts: what process() wrote to the FHIR
 * service is there, and the journal has neither records nor offset of the last batch. */
static bool run_to(struct house *h, size_t batch_count, size_t crash_at)
{
    const struct stage_ops *ops = connector_stage_ops();
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    struct stream_out out;
    struct vg_err err = {0};
    bool is_crashed = false;

    stream_out_init(&out);
    if (!CHECK(stream_consumer_open(h->stream, 0, STREAM_DEVICE_RAW, ops->name, &consumer, &err) ==
               VG_OK))
        return false;
    for (size_t done = 0;
         !is_crashed && stream_read(consumer, batch_count, 0, &batch, &err) == VG_OK;) {
        stream_out_clear(&out);
        if (!CHECK(ops->process(h->connector, &batch, &out, &err) == VG_OK))
            break;
        done += batch.count;
        is_crashed = done > crash_at;
        if (is_crashed)
            break;
        stream_out_offset(&out, ops->name, STREAM_DEVICE_RAW, 0, batch.next_seq);
        CHECK(stream_commit(h->stream, 0, &out, NULL, &err) == VG_OK);
        ops->committed(h->connector, batch.next_seq);
    }
    stream_consumer_close(consumer);
    stream_out_fini(&out);
    connector_close(h->connector);
    h->connector = NULL;
    return is_crashed;
}

static size_t count_code(struct house *h, const char *code)
{
    struct fhir_results results = {0};
    struct vg_err err = {0};
    char query[64];

    (void)snprintf(query, sizeof(query), "_count=1000&code=%s", code);
    CHECK(fhir_search(h->store, VG_SLICE("Observation"), vg_slice_of(query), &h->arena, &results,
                      &err) == VG_OK);
    return results.match_count;
}

static void crash_and_change(unsigned seed)
{
    const struct mapping_act act = {.who = VG_SLICE("test"), .how = "rollback"};
    char bodies[CRASH_MESSAGES + 1][96], dir[96], version[MAPPING_VERSION_SIZE];
    size_t batch_count = 1 + seed % 7, crash_at = seed * 11 % (CRASH_MESSAGES - 1);
    struct connector_config config = {0};
    struct vg_slice device, fhir, changed;
    struct vg_err err = {0};
    struct house h;

    if (!CHECK(open_house(&h, NULL)))
        return;
    connector_close(h.connector);
    h.connector = NULL;
    for (int i = 0; i <= CRASH_MESSAGES; i++)
        (void)snprintf(bodies[i], sizeof(bodies[i]),
                       "{\"time\":\"2026-03-14T10:00:%02dZ\",\"hr\":72}", i);
    (void)snprintf(dir, sizeof(dir), "%s/mappings", h.dir);
    const struct mapping_store_config files = {
        .dir = dir,
        .device_path = VG_SOURCE_DIR "/mappings/ward-device.json",
        .fhir_path = VG_SOURCE_DIR "/mappings/ward-fhir.json"};

    config.store = h.store;
    CHECK(read_ward(&h.arena, &device, &fhir) && other_code(&h.arena, fhir, &changed));
    if (CHECK(mapping_store_open(&files, &config.mappings, &err) == VG_OK) &&
        CHECK(connector_open(&config, &h.connector, &err) == VG_OK)) {
        publish(&h, bodies, 0, CRASH_MESSAGES, &config.replay_end_seq);
        CHECK(run_to(&h, batch_count, crash_at));
        mapping_store_close(config.mappings);
        config.mappings = NULL;
        CHECK(mapping_store_open(&files, &config.mappings, &err) == VG_OK);
        CHECK(mapping_store_activate(config.mappings, device, changed, &act, version, NULL, &err) ==
              VG_OK);
        /* Once more in the middle of what comes again, then to the end. */
        for (int again = 0; again < 2; again++) {
            CHECK(connector_open(&config, &h.connector, &err) == VG_OK);
            (void)run_to(&h, batch_count + 2, again ? SIZE_MAX : 0);
        }
        CHECK_ROW("each reading is one Observation, by the mapping that it was begun with");
        CHECK(count_code(&h, "8867-4") == CRASH_MESSAGES && count_code(&h, "8889-8") == 0);
        CHECK_ROW("what came after the restart has the new one");
        publish(&h, bodies, CRASH_MESSAGES, CRASH_MESSAGES + 1, &(uint64_t){0});
        CHECK(connector_open(&config, &h.connector, &err) == VG_OK);
        (void)run_to(&h, batch_count, SIZE_MAX);
        CHECK(count_code(&h, "8867-4") == CRASH_MESSAGES && count_code(&h, "8889-8") == 1);
    }
    mapping_store_close(config.mappings);
    close_house(&h);
}

static void test_crash_before_another_mapping(void)
{
    for (unsigned seed = 1; seed <= 5; seed++)
        crash_and_change(seed);
}

static void test_open_errors(void)
{
    const struct connector_config rows[] = {
        {.device_mapping = "/nowhere.json", .fhir_mapping = "/nowhere.json"},
        {.device_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
         .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json"},
        {.device_mapping = VG_SOURCE_DIR "/mappings/ward-device.json",
         .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-device.json"},
        {.device_mapping = VG_SOURCE_DIR "/mappings/ward-device.json",
         .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
         .identity = "guess"},
        {.device_mapping = VG_SOURCE_DIR "/mappings/ward-device.json",
         .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
         .compat = "old"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct connector *c = NULL;
        struct vg_err err = {0};

        CHECK(connector_open(&rows[i], &c, &err) == VG_REJECT && err.code && !c);
    }
}

int main(void)
{
    struct vg_err err = {0};

    if (vg_crypto_init(&err) != VG_OK)
        return 1;
    RUN(test_open_errors);
    RUN(test_a_full_message);
    RUN(test_poison);
    RUN(test_repeats);
    RUN(test_any_split_same_observations);
    RUN(test_identity_follows_changes);
    RUN(test_create_and_mismatch);
    RUN(test_medtech);
    RUN(test_many);
    RUN(test_refused_write);
    RUN(test_as_a_stage);
    RUN(test_exchange);
    RUN(test_senders);
    RUN(test_crash_before_another_mapping);
    return vg_test_report();
}
