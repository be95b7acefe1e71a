/* connector_bench -- what a message of the ward costs, without FHIR: parse, match and extract; and
 * on to the text of its Observations; and through the stage with a real FHIR store in a folder.
 * Seven measurements a message; fixed input. */
#include "base/clock.h"
#include "base/crypto.h"
#include "connector/connector.h"
#include "connector/device_mapping.h"
#include "connector/group.h"

#include <stdio.h>
#include <stdlib.h>

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

/* ns a message, of batches. */
static void run(const struct device_mapping *device, const struct fhir_mapping *fhir,
                double *ret_p50, double *ret_p99, size_t *ret_measurements)
{
    static double batch_ns[MESSAGES / BATCH];
    const struct device_property system[] = {
        {VG_SLICE("iothub-connection-device-id"), VG_SLICE("bed-4")},
        {VG_SLICE("iothub-enqueuedtime"), VG_SLICE("2026-03-14T10:00:01.25Z")}};
    struct vg_arena arena;
    struct vg_buf text;
    char body[256];
    uint64_t start;

    vg_arena_init(&arena, 64u << 20);
    vg_buf_init(&text, 0);
    *ret_measurements = 0;
    for (size_t b = 0; b < MESSAGES / BATCH; b++) {
        struct group_table groups = {0};

        vg_arena_reset(&arena);
        vg_buf_clear(&text);
        start = vg_mono_ns();
        for (unsigned i = 0; i < BATCH; i++) {
            struct measurement *first = NULL, **tail = &first;
            struct device_envelope envelope;
            struct vg_err err = {0};
            struct vg_slice copy;
            int n = snprintf(
                body, sizeof(body),
                "{\"time\":\"2026-03-14T10:%02u:%02u.000Z\",\"hr\":72,\"rr\":16,\"spo2\":97,"
                "\"o2\":0,\"sys\":121,\"dia\":76,\"map\":91,\"temp\":36.8,\"avpu\":\"A\"}",
                i / 60, i % 60);

            copy = vg_arena_dup(&arena, (struct vg_slice){body, (size_t)n});
            if (device_envelope_build(device, &arena, copy, NULL, 0, system, 2, &envelope, &err) !=
                    VG_OK ||
                device_mapping_apply(device, &envelope.root, &arena, &tail, NULL, &err) != VG_OK)
                die(&err);
            for (struct measurement *m = first; m; m = m->next, ++*ret_measurements) {
                struct observation *o;
                bool is_new;

                if (!fhir)
                    continue;
                if (group_open(&groups, &arena, fhir_mapping_find(fhir, m->type), m, VG_SLICE("p1"),
                               VG_SLICE("d1"), &o, &is_new, &err) != VG_OK ||
                    observation_add(o, &arena, m, &err) != VG_OK)
                    die(&err);
                observation_write(o, &text);
                measurement_write(&text, m);
                observation_write_values(o->template, m, &text);
            }
        }
        batch_ns[b] = (double)(vg_mono_ns() - start) / BATCH;
    }
    qsort(batch_ns, MESSAGES / BATCH, sizeof(batch_ns[0]), by_value);
    *ret_p50 = batch_ns[MESSAGES / BATCH / 2];
    *ret_p99 = batch_ns[MESSAGES / BATCH * 99 / 100];
    vg_buf_fini(&text);
    vg_arena_fini(&arena);
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

int main(void)
{
    const struct device_mapping *device;
    const struct fhir_mapping *fhir;
    struct vg_arena arena;
    struct vg_err err = {0};
    double extract, extract_p99, whole, whole_p99;
    size_t measurements;

    vg_arena_init(&arena, 0);
    struct mapping_errors a = {.arena = &arena}, b = {.arena = &arena};

    if (vg_crypto_init(&err) != VG_OK ||
        vg_file_read(&arena, VG_SOURCE_DIR "/mappings/ward-device.json", 0, &a.source, &err) !=
            VG_OK ||
        vg_file_read(&arena, VG_SOURCE_DIR "/mappings/ward-fhir.json", 0, &b.source, &err) !=
            VG_OK ||
        device_mapping_load(&a, &device, &err) != VG_OK ||
        fhir_mapping_load(&b, &fhir, &err) != VG_OK)
        die(&err);
    run(device, NULL, &extract, &extract_p99, &measurements);
    run(device, fhir, &whole, &whole_p99, &measurements);
    printf("bench=connector messages=%d measurements=%zu extract_p50_ns=%.0f extract_p99_ns=%.0f "
           "observations_p50_ns=%.0f observations_p99_ns=%.0f "
           "with_fhir_messages_per_s=%.0f\n",
           MESSAGES, measurements, extract, extract_p99, whole, whole_p99, run_stage());
    vg_arena_fini(&arena);
    return 0;
}
