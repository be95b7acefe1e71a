/* connector_bench -- what a message of the ward costs, without FHIR: parse, match and extract; and
 * on to the text of its Observations; and through the stage with a real FHIR store in a folder.
 * Seven measurements a message; fixed input. samples_: what the reference engine's own messages
 * cost to normalize (0: they are not here). Allocations are those after the first two batches. */
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "connector/connector.h"
#include "connector/device_mapping.h"
#include "connector/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MESSAGES 200000
#define BATCH 64

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void die(const struct vg_err *err)
{
    (void)fprintf(stderr, "%s: %s\n", err->code, err->text);
    exit(1);
}

/* ---- how often memory is asked for ---- */

static size_t allocations;

#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}
#endif

/* ---- normalizing, and on to the Observation's text ---- */

struct work {
    const struct device_mapping *device;
    const struct fhir_mapping *fhir; /* NULL: only normalize */
    struct vg_slice messages[BATCH];
    bool is_envelope;
    size_t rounds;
};

struct result {
    double p50_ns, p99_ns, allocations; /* a message */
    size_t measurements;                /* of all */
};

static void work_on(const struct work *w, struct vg_slice message, struct vg_arena *arena,
                    struct group_table *groups, struct vg_buf *text, struct result *r)
{
    const struct device_property system[] = {
        {VG_SLICE("iothub-connection-device-id"), VG_SLICE("bed-4")},
        {VG_SLICE("iothub-enqueuedtime"), VG_SLICE("2026-03-14T10:00:01.25Z")}};
    const struct vg_json_options json = device_mapping_json(w->device);
    struct measurement *first = NULL, **tail = &first;
    struct device_envelope envelope;
    struct vg_json *root = &envelope.root;
    struct vg_err err = {0};

    if ((w->is_envelope ? vg_json_parse(arena, message, &json, &root, NULL, &err)
                        : device_envelope_build(w->device, arena, message, NULL, 0, system, 2,
                                                &envelope, &err)) != VG_OK ||
        device_mapping_apply(w->device, root, arena, &tail, NULL, &err) != VG_OK)
        die(&err);
    for (struct measurement *m = first; m; m = m->next, r->measurements++) {
        struct observation *o;
        bool is_new;

        if (!w->fhir)
            continue;
        m->ingestion_us = m->occurrence_us + VG_SECOND_US;
        if (group_open(groups, arena, fhir_mapping_find(w->fhir, m->type), m, VG_SLICE("p1"),
                       VG_SLICE("d1"), &o, &is_new, &err) != VG_OK ||
            observation_add(o, arena, m, &err) != VG_OK)
            die(&err);
        observation_write(o, text);
        measurement_write(text, m);
        observation_write_values(o->template, m, text);
    }
}

static void run(const struct work *w, struct result *r)
{
    double *batch_ns = calloc(w->rounds, sizeof(*batch_ns));
    struct vg_arena arena;
    struct vg_buf text;

    vg_arena_init(&arena, 64u << 20);
    vg_buf_init(&text, 0);
    *r = (struct result){0};
    if (!batch_ns)
        exit(1);
    for (size_t b = 0; b < w->rounds + 2; b++) { /* two to warm up */
        struct group_table groups = {0};
        uint64_t start = vg_mono_ns();

        if (b == 2) {
            r->measurements = 0;
            allocations = 0;
        }
        vg_arena_reset(&arena);
        vg_buf_clear(&text);
        for (unsigned i = 0; i < BATCH; i++)
            work_on(w, w->messages[i], &arena, &groups, &text, r);
        if (b >= 2)
            batch_ns[b - 2] = (double)(vg_mono_ns() - start) / BATCH;
    }
    r->allocations = (double)allocations / (double)(w->rounds * BATCH);
    qsort(batch_ns, w->rounds, sizeof(batch_ns[0]), by_value);
    r->p50_ns = batch_ns[w->rounds / 2];
    r->p99_ns = batch_ns[w->rounds * 99 / 100];
    free(batch_ns);
    vg_buf_fini(&text);
    vg_arena_fini(&arena);
}

static const struct device_mapping *load_device(struct vg_arena *arena, const char *path)
{
    struct mapping_errors errors = {.arena = arena};
    const struct device_mapping *mapping;
    struct vg_err err = {0};

    if (vg_file_read(arena, path, 0, &errors.source, &err) != VG_OK ||
        device_mapping_load(&errors, &mapping, &err) != VG_OK)
        die(&err);
    return mapping;
}

/* The reference engine's own messages with their mappings, where they are at hand: ns a message. */
static void run_samples(struct vg_arena *arena, double *ret_ns, double *ret_allocations)
{
#define FOLDER VG_SOURCE_DIR "/../shared/data/connector/"
#define SAMPLES FOLDER "medtech-samples/calculatedcontent/conversions-using-functions/"
#define DOCUMENTED FOLDER "template-tests/data_Documentation_CalculatedFunction_"
    static const struct {
        const char *mapping, *message;
        bool is_envelope;
    } pairs[] = {
        {SAMPLES "deviceMapping.json", SAMPLES "testMessageA.json", false},
        {SAMPLES "deviceMapping.json", SAMPLES "testMessageB.json", false},
        {DOCUMENTED "HeartRate_Template.json", DOCUMENTED "HeartRate_Payload.json", true},
        {DOCUMENTED "BloodPressure_Template.json", DOCUMENTED "BloodPressure_Payload.json", true},
        {DOCUMENTED "TransformData_Template.json", DOCUMENTED "TransformData_Payload.json", true},
    };
    enum { COUNT = sizeof(pairs) / sizeof(pairs[0]) };

    *ret_ns = *ret_allocations = 0;
    for (size_t i = 0; i < COUNT && access(pairs[0].mapping, R_OK) == 0; i++) {
        static struct work w;
        struct vg_slice message;
        struct vg_err err = {0};
        struct result r;

        w = (struct work){.device = load_device(arena, pairs[i].mapping),
                          .is_envelope = pairs[i].is_envelope,
                          .rounds = MESSAGES / BATCH / 10};
        if (vg_file_read(arena, pairs[i].message, 0, &message, &err) != VG_OK)
            die(&err);
        if (vg_slice_starts(message, VG_SLICE("\xef\xbb\xbf")))
            message = vg_slice_from(message, 3);
        for (size_t k = 0; k < BATCH; k++)
            w.messages[k] = message;
        run(&w, &r);
        *ret_ns += r.p50_ns / COUNT;
        *ret_allocations += r.allocations / COUNT;
    }
}

/* Messages a second through connector_process() into a store, batches of 256. */
static double run_stage(void)
{
    enum { DEVICES = 32, COUNT = 4096, STAGE_BATCH = 256 };
    static struct stream_record records[STAGE_BATCH];
    static char bodies[STAGE_BATCH][192], keys[STAGE_BATCH][16];
    char dir[] = "/tmp/vigil-bench-XXXXXX", path[64], text[256];
    struct fhir_config fhir = {.path = path, .base_url = "http://localhost/fhir"};
    struct connector_config config = {.device_mapping = VG_SOURCE_DIR "/mappings/ward-device.json",
                                      .fhir_mapping = VG_SOURCE_DIR "/mappings/ward-fhir.json",
                                      .identity = "lookup"};
    struct connector *connector;
    struct stream_out out;
    struct vg_arena arena;
    struct vg_err err = {0};
    uint64_t start, took = 0;

    vg_arena_init(&arena, 0);
    stream_out_init(&out);
    if (!mkdtemp(dir))
        exit(1);
    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    if (fhir_open(&fhir, &config.store, &err) != VG_OK)
        die(&err);
    for (int i = 0; i < DEVICES; i++) {
        static const char *const types[] = {"Patient", "Device"};
        static const char *const ids[] = {"p", "d"};

        for (int k = 0; k < 2; k++) {
            char id[16];
            struct fhir_write write = {.what = FHIR_UPDATE, .type = vg_slice_of(types[k])};
            struct fhir_written written;

            (void)snprintf(id, sizeof(id), "%s%d", ids[k], i);
            (void)snprintf(text, sizeof(text),
                           k ? "{\"resourceType\":\"Device\",\"id\":\"%s\",\"identifier\":[{"
                               "\"value\":\"bed-%d\"}],\"patient\":{\"reference\":\"Patient/p%d\"}}"
                             : "{\"resourceType\":\"Patient\",\"id\":\"%s\"}",
                           id, i, i);
            write.id = vg_slice_of(id);
            write.body = vg_slice_of(text);
            if (fhir_commit(config.store, &write, 1, &arena, &written, NULL, &err) != VG_OK)
                die(&err);
        }
    }
    if (connector_open(&config, &connector, &err) != VG_OK)
        die(&err);
    for (unsigned at = 0; at < COUNT; at += STAGE_BATCH) {
        const struct stream_batch batch = {records, STAGE_BATCH, 0};

        for (unsigned i = 0; i < STAGE_BATCH; i++) {
            unsigned second = (at + i) / DEVICES;
            int n = snprintf(
                bodies[i], sizeof(bodies[i]),
                "{\"time\":\"2026-03-14T10:%02u:%02u.000Z\",\"hr\":72,\"rr\":16,\"spo2\":97,"
                "\"o2\":0,\"sys\":121,\"dia\":76,\"map\":91,\"temp\":36.8,\"avpu\":\"A\"}",
                second / 60, second % 60);
            int m = snprintf(keys[i], sizeof(keys[i]), "bed-%u", (at + i) % DEVICES);

            records[i] =
                (struct stream_record){.seq = at + i + 1,
                                       .time_us = 1773482400000000 + (int64_t)second * VG_SECOND_US,
                                       .key = {keys[i], (size_t)m},
                                       .value = {bodies[i], (size_t)n}};
        }
        stream_out_clear(&out);
        start = vg_mono_ns();
        if (connector_stage_ops()->process(connector, &batch, &out, &err) != VG_OK)
            die(&err);
        took += vg_mono_ns() - start;
        if (out.record_count != STAGE_BATCH * 7)
            exit(1);
        connector_stage_ops()->committed(connector, 0);
    }
    connector_close(connector);
    fhir_close(config.store);
    stream_out_fini(&out);
    vg_arena_fini(&arena);
    (void)snprintf(text, sizeof(text), "rm -rf '%s'", dir);
    if (system(text) != 0)
        exit(1);
    return COUNT / ((double)took / 1e9);
}

int main(int argc, char **argv)
{
    const char *only =
        argc > 1 ? argv[1] : ""; /* "extract", "observations": to be profiled alone */
    static struct work work = {.rounds = MESSAGES / BATCH};
    struct result extract, whole;
    double samples_ns, samples_allocations;
    struct vg_arena arena;
    struct vg_err err = {0};

    vg_arena_init(&arena, 0);
    struct mapping_errors errors = {.arena = &arena};

    if (vg_crypto_init(&err) != VG_OK ||
        vg_file_read(&arena, VG_SOURCE_DIR "/mappings/ward-fhir.json", 0, &errors.source, &err) !=
            VG_OK ||
        fhir_mapping_load(&errors, &work.fhir, &err) != VG_OK)
        die(&err);
    work.device = load_device(&arena, VG_SOURCE_DIR "/mappings/ward-device.json");
    for (unsigned i = 0; i < BATCH; i++)
        work.messages[i] = vg_arena_printf(
            &arena,
            "{\"time\":\"2026-03-14T10:%02u:%02u.000Z\",\"hr\":72,\"rr\":16,\"spo2\":97,"
            "\"o2\":0,\"sys\":121,\"dia\":76,\"map\":91,\"temp\":36.8,\"avpu\":\"A\"}",
            i / 60, i % 60);

    const struct fhir_mapping *fhir = work.fhir;

    work.fhir = NULL;
    if (strcmp(only, "observations") != 0)
        run(&work, &extract);
    if (strcmp(only, "extract") == 0)
        return 0;
    work.fhir = fhir;
    run(&work, &whole);
    if (strcmp(only, "observations") == 0)
        return 0;
    run_samples(&arena, &samples_ns, &samples_allocations);
    printf("bench=connector messages=%d measurements=%zu extract_p50_ns=%.0f extract_p99_ns=%.0f "
           "extract_messages_per_s=%.0f extract_allocations=%.3f observations_p50_ns=%.0f "
           "observations_p99_ns=%.0f observations_allocations=%.3f samples_extract_p50_ns=%.0f "
           "samples_allocations=%.3f with_fhir_messages_per_s=%.0f\n",
           MESSAGES, whole.measurements, extract.p50_ns, extract.p99_ns, 1e9 / extract.p50_ns,
           extract.allocations, whole.p50_ns, whole.p99_ns, whole.allocations, samples_ns,
           samples_allocations, run_stage());
    vg_arena_fini(&arena);
    return 0;
}
