/* lake_bench.c -- one patient's last 24 hours out of a large lake.
 *
 * VIGIL_BENCH_ROWS (default 2,000,000) vital signs of 2,000 patients over 30 days, laid out as the
 * upkeep leaves them (files of up to 2,000,000 rows for each date, ordered by patient and time),
 * then questions for random patients as the scorer asks them. Warm: the files have been read
 * before. Prints one line: rows, questions, p50_ms, p99_ms, rows_each, first_ms (files and footers
 * cold).
 */
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "lake/engine_duckdb_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENTS 2000
#define DAYS 30
#define FILE_ROWS 2000000
#define QUESTIONS 1000
#define FIRST_DAY_US (20500 * VG_DAY_US) /* 2026-02-16 */

static void must(enum vg_status st, const struct vg_err *err)
{
    if (st == VG_OK)
        return;
    (void)fprintf(stderr, "lake_bench: %s: %s\n", err->code, err->text);
    exit(1);
}

/* `rows` rows of one day from its `offset`-th on, as a file of the table. */
static void make_file(struct duckdb_lake *lake, int day, int64_t offset, int64_t rows,
                      int64_t day_rows)
{
    struct delta_file file;
    struct vg_arena arena;
    struct vg_err err = {0};
    struct vg_slice source;
    size_t count = 0;

    vg_arena_init(&arena, 0);
    source = vg_arena_printf(
        &arena,
        "(SELECT 'patient-' || (i %% %d) AS patientId, make_timestamptz(%lld + i * %lld) AS "
        "effectiveTime, 'http://loinc.org' AS system, ['8867-4', '9279-1', '59408-5', '8480-6', "
        "'8310-5'][1 + (i // %d) %% 5] AS code, 60 + (i * 7919 %% 400) / 10.0 AS value, "
        "NULL::VARCHAR "
        "AS valueText, '/min' AS valueUnit, 'heart rate' AS name, 'vitals' AS type, 'bed-' || (i "
        "%% %d) AS deviceId, NULL::VARCHAR AS encounterId, 'Ward 4' AS unit, 'Bed 1' AS location, "
        "70::BIGINT AS ageYears, 'female' AS gender, make_timestamptz(%lld + i * %lld) AS "
        "receivedTime, md5(i::VARCHAR) AS observationId, '0-' || i AS trace FROM range(%lld, %lld) "
        "t(i))",
        PATIENTS, (long long)(FIRST_DAY_US + day * VG_DAY_US),
        (long long)(VG_DAY_US / (day_rows + 1)), PATIENTS, PATIENTS,
        (long long)(FIRST_DAY_US + day * VG_DAY_US), (long long)(VG_DAY_US / (day_rows + 1)),
        (long long)offset, (long long)(offset + rows));
    must(lakedb_plan_files(lake->maintenance, LAKE_ENRICHED, source.ptr, &arena, &file, 1, &count,
                           &err),
         &err);
    must(lakedb_write_file(lake, lake->maintenance, LAKE_ENRICHED, source.ptr, &arena, &file, &err),
         &err);
    must(delta_commit(
             &lake->tables[LAKE_ENRICHED],
             &(struct delta_change){.operation = "WRITE", .added = &file, .added_count = count},
             &err),
         &err);
    vg_arena_fini(&arena);
}

static void count_reading(void *ctx, const struct lake_reading *reading)
{
    (void)reading;
    ++*(size_t *)ctx;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int main(void)
{
    const char *wanted = getenv("VIGIL_BENCH_ROWS");
    int64_t rows = 2000000, day_rows, end_us = FIRST_DAY_US + DAYS * VG_DAY_US;
    static double ms[QUESTIONS];
    char dir[] = "/tmp/vigil-lake-bench-XXXXXX";
    struct lake_config config = {.dir = dir};
    struct lake *lake;
    struct vg_err err = {0};
    size_t found = 0;
    double first_ms = 0;
    void *self;

    must(vg_crypto_init(&err), &err);
    if (wanted && !vg_slice_to_i64(vg_slice_of(wanted), &rows)) {
        (void)fprintf(stderr, "lake_bench: VIGIL_BENCH_ROWS must be a number\n");
        return 2;
    }
    if (!mkdtemp(dir))
        return 1;
    day_rows = rows / DAYS;
    must(lake_engine_duckdb.open(&config, &self, &err), &err);
    for (int day = 0; day < DAYS; day++) {
        for (int64_t at = 0; at < day_rows; at += FILE_ROWS)
            make_file(self, day, at, day_rows - at < FILE_ROWS ? day_rows - at : FILE_ROWS,
                      day_rows);
        (void)fprintf(stderr, "\rlake_bench: day %d of %d", day + 1, DAYS);
    }
    (void)fprintf(stderr, "\n");
    lake_engine_duckdb.close(self);

    must(lake_open(&config, &lake, &err), &err);
    for (int i = -1; i < QUESTIONS; i++) {
        char patient[32];
        int64_t start_us = vg_mono_us();

        (void)snprintf(patient, sizeof(patient), "patient-%d", (i + 1) * 7919 % PATIENTS);
        must(lake_history(lake, vg_slice_of(patient), end_us - VG_DAY_US, end_us, count_reading,
                          &found, &err),
             &err);
        if (i < 0)
            first_ms = (double)(vg_mono_us() - start_us) / 1000;
        else
            ms[i] = (double)(vg_mono_us() - start_us) / 1000;
    }
    qsort(ms, QUESTIONS, sizeof(ms[0]), compare);
    (void)printf("lake_history rows=%lld questions=%d p50_ms=%.2f p99_ms=%.2f rows_each=%.0f "
                 "first_ms=%.1f\n",
                 (long long)(day_rows * DAYS), QUESTIONS, ms[QUESTIONS / 2],
                 ms[QUESTIONS * 99 / 100], (double)found / (QUESTIONS + 1), first_ms);
    lake_close(lake);
    if (!getenv("VIGIL_BENCH_KEEP")) {
        char command[128];

        (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        if (system(command) != 0)
            (void)fprintf(stderr, "lake_bench: %s stays\n", dir);
    }
    return 0;
}
