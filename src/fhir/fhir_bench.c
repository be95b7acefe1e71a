/* fhir_bench.c -- how fast Observations go in and come back.
 *
 *     fhir_fhir_bench [thousands of Observations] [folder]
 *
 * One line per measurement: commits of 100 and 1000, then, with all stored: read by id, $lastn, and
 * the search by patient, code and date. 200 patients, eight signs, one reading a second each.
 */
#include "base/clock.h"
#include "base/crypto.h"
#include "fhir/fhir_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATIENTS 200
#define SIGNS 8
#define BATCH 1000
#define READS 2000
#define CHECKS 100000

static const struct {
    const char *code, *unit;
} signs[SIGNS] = {{"8867-4", "/min"},   {"9279-1", "/min"},   {"2708-6", "%"},
                  {"8310-5", "Cel"},    {"8480-6", "mm[Hg]"}, {"8462-4", "mm[Hg]"},
                  {"41653-7", "mg/dL"}, {"3151-8", "L/min"}};

static struct fhir_write writes[BATCH];
static struct fhir_written written[BATCH];
static int64_t latency_us[READS];

/* Processor time of all threads: what the machine's other work does not change. */
static double cpu_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int by_value(const void *left, const void *right)
{
    const int64_t *x = left, *y = right;

    return *x < *y ? -1 : *x > *y;
}

static int64_t second_of(long n)
{
    return 1770000000 + n / SIGNS / PATIENTS;
}

/* Deterministic ids, as the connector makes them: the reading's time, then a hash. */
static struct vg_slice id_of(struct vg_arena *arena, long n)
{
    char hex[65], seed[32];
    int len = snprintf(seed, sizeof(seed), "%ld", n);

    vg_sha256_hex((struct vg_slice){seed, (size_t)len}, hex);
    return vg_arena_printf(arena, "%012llx%.52s", (unsigned long long)second_of(n) * 1000, hex);
}

static void make(struct vg_arena *arena, long n, struct fhir_write *write)
{
    char time[VG_TIME_TEXT_SIZE];
    long sign = n % SIGNS, patient = n / SIGNS % PATIENTS, second = n / SIGNS / PATIENTS;
    struct vg_slice id = id_of(arena, n);

    (void)vg_time_format(second_of(n) * VG_SECOND_US, 3, time);
    *write = (struct fhir_write){
        .what = FHIR_UPDATE,
        .type = VG_SLICE("Observation"),
        .id = id,
        .body = vg_arena_printf(
            arena,
            "{\"resourceType\":\"Observation\",\"id\":\"%.*s\",\"identifier\":[{\"system\":"
            "\"urn:vigil:reading\",\"value\":\"dev%ld.%s.%s\"}],\"status\":\"final\",\"category\":["
            "{"
            "\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
            "observation-category\","
            "\"code\":\"vital-signs\"}]}],\"code\":{\"coding\":[{\"system\":\"http://loinc.org\","
            "\"code\":\"%s\"}]},\"subject\":{\"reference\":\"Patient/patient-%ld\"},"
            "\"effectiveDateTime\":\"%s\",\"issued\":\"%s\",\"device\":{\"reference\":"
            "\"Device/dev%ld\"},\"valueQuantity\":{\"value\":%ld.%ld,\"unit\":\"%s\",\"system\":"
            "\"http://unitsofmeasure.org\",\"code\":\"%s\"}}",
            VG_FMT(id), patient, signs[sign].code, time, signs[sign].code, patient, time, time,
            patient, 60 + second % 60, n % 10, signs[sign].unit, signs[sign].unit)};
}

static int64_t commit(struct fhir_store *store, struct vg_arena *arena, long first, size_t count,
                      double *cpu)
{
    double start_cpu_us;
    struct vg_err err = {0};
    int64_t start_us;

    vg_arena_reset(arena);
    for (size_t i = 0; i < count; i++)
        make(arena, first + (long)i, &writes[i]);
    start_us = vg_mono_us();
    start_cpu_us = cpu_us();
    if (fhir_commit(store, writes, count, arena, written, NULL, &err) != VG_OK) {
        (void)fprintf(stderr, "%s: %s\n", err.code, err.text);
        exit(1);
    }
    *cpu += cpu_us() - start_cpu_us;
    return vg_mono_us() - start_us;
}

static void report(const char *name, long stored)
{
    qsort(latency_us, READS, sizeof(latency_us[0]), by_value);
    printf("bench=%s stored=%ld p50_us=%lld p99_us=%lld\n", name, stored,
           (long long)latency_us[READS / 2], (long long)latency_us[READS * 99 / 100]);
}

static void must(enum vg_status st, size_t count, const struct vg_err *err)
{
    if (st != VG_OK || count == 0) {
        (void)fprintf(stderr, "nothing found: %s %s\n", err->code, err->text);
        exit(1);
    }
}

static void reads(struct fhir_store *store, struct vg_arena *arena, long stored)
{
    static const char *const searches[][2] = {
        {"fhir_lastn", "patient=patient-%ld&category=vital-signs"},
        {"fhir_search_newest", "patient=patient-%ld&code=http://loinc.org|8867-4&_count=10"},
        {"fhir_search_date", "patient=patient-%ld&code=http://loinc.org|8867-4"
                             "&date=ge2026-02-02T02:40:10Z&date=lt2026-02-02T02:40:30Z&_count=100"},
        {"fhir_search_identifier", "identifier=urn:vigil:reading|dev%ld.8867-4."
                                   "2026-02-02T02:40:05.000Z"},
    };
    struct fhir_results results;
    struct fhir_resource resource;
    struct vg_err err = {0};

    for (long i = 0; i < READS; i++) {
        vg_arena_reset(arena);
        struct vg_slice id = id_of(arena, i * 7919 % stored);
        int64_t start_us = vg_mono_us();

        must(fhir_read(store, VG_SLICE("Observation"), id, 0, arena, &resource, &err), 1, &err);
        latency_us[i] = vg_mono_us() - start_us;
    }
    report("fhir_read", stored);
    for (size_t s = 0; s < sizeof(searches) / sizeof(searches[0]); s++) {
        for (long i = 0; i < READS; i++) {
            char query[300];
            const char *hole = strstr(searches[s][1], "%ld");

            vg_arena_reset(arena);
            (void)snprintf(query, sizeof(query), "%.*s%ld%s", (int)(hole - searches[s][1]),
                           searches[s][1], i * 31 % PATIENTS, hole + 3);
            int64_t start_us = vg_mono_us();
            enum vg_status st = s == 0
                                    ? fhir_lastn(store, vg_slice_of(query), arena, &results, &err)
                                    : fhir_search(store, VG_SLICE("Observation"),
                                                  vg_slice_of(query), arena, &results, &err);

            latency_us[i] = vg_mono_us() - start_us;
            must(st, results.count, &err);
        }
        report(searches[s][0], stored);
    }
}

/* Validation alone. */
static void check(struct vg_arena *arena)
{
    struct fhir_issue issue;
    struct vg_err err = {0};
    struct vg_json *root = NULL;
    struct fhir_write write;
    unsigned type = fhir_type_find(VG_SLICE("Observation"));
    double cpu;

    vg_arena_reset(arena);
    make(arena, 1, &write);
    if (fhir_parse(arena, write.body, &root, &issue, &err) != VG_OK)
        exit(1);
    cpu = cpu_us();
    for (int i = 0; i < CHECKS; i++)
        if (fhir_check(arena, type, root, &issue, &err) != VG_OK)
            exit(1);
    printf("bench=fhir_check cpu_us_each=%.2f\n", (cpu_us() - cpu) / CHECKS);
}

int main(int argc, char **argv)
{
    int64_t thousands = 200;
    char path[200], name[220];
    struct fhir_config config = {.path = path, .base_url = "https://localhost:8443/fhir"};
    struct fhir_store *store = NULL;
    struct vg_arena arena;
    struct vg_err err = {0};
    long stored = 0;

    if (argc > 1 && !vg_slice_to_i64(vg_slice_of(argv[1]), &thousands))
        return 2;
    (void)snprintf(path, sizeof(path), "%s/vigil-fhir-bench-%d.db", argc > 2 ? argv[2] : "/tmp",
                   (int)getpid());
    if (vg_crypto_init(&err) != VG_OK || fhir_open(&config, &store, &err) != VG_OK) {
        (void)fprintf(stderr, "%s: %s\n", err.code, err.text);
        return 1;
    }
    vg_arena_init(&arena, (size_t)64 << 20);
    check(&arena);
    for (size_t size = 100; size <= BATCH; size *= 10) {
        long until = size == 100 ? 20000 : (long)thousands * 1000, first = stored;
        int64_t spent_us = 0, worst_us = 0;
        double cpu = 0;

        for (; stored < until; stored += (long)size) {
            int64_t one_us = commit(store, &arena, stored, size, &cpu);

            spent_us += one_us;
            worst_us = one_us > worst_us ? one_us : worst_us;
        }
        printf("bench=fhir_commit batch=%zu stored=%ld observations_per_s=%.0f cpu_us_each=%.1f "
               "worst_ms=%.1f\n",
               size, stored, (double)(stored - first) / ((double)spent_us / 1e6),
               cpu / (double)(stored - first), (double)worst_us / 1e3);
    }
    reads(store, &arena, stored);
    fhir_close(store);
    vg_arena_fini(&arena);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, (const char *[]){"", "-wal", "-shm"}[i]);
        (void)unlink(name);
    }
    return 0;
}
