/* connector_bench -- what a message of the ward costs, without FHIR: parse, match and extract; and
 * on to the text of its Observations. Seven measurements a message; fixed input. */
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
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
            if (device_envelope_build(&arena, copy, NULL, 0, system, 2, &envelope, &err) != VG_OK ||
                device_mapping_apply(device, &envelope.root, &arena, &tail, &err) != VG_OK)
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
           "observations_p50_ns=%.0f observations_p99_ns=%.0f\n",
           MESSAGES, measurements, extract, extract_p99, whole, whole_p99);
    vg_arena_fini(&arena);
    return 0;
}
