/* engine_duckdb_upkeep.c -- what keeps the lake's tables quick over years: small files merged, old
 * dates forgotten, the log checkpointed, files deleted that nobody refers to.
 *
 * MERGING. A flush every half minute leaves thousands of small files a day, and a question about
 * one patient would open all of them. Files of one date below SMALL_ROWS are merged, up to
 * MERGE_ROWS in one file, as soon as there are SMALL_FILES of them; of a date that is over, as soon
 * as there are two. Rows stay ordered by patient and time. The merged file replaces its sources in
 * one commit (dataChange false); a crash before leaves a file that nobody sees.
 *
 * DELETING. A replaced file stays for the policy's time, for readers of an older version; then the
 * log's tombstone lets it go. Files that no commit ever named (a crash between writing and commit)
 * go when they are older than that as well.
 *
 * CHECKPOINTS. Each CHECKPOINT_EVERY versions; log entries below the newest go after LOG_KEEP_US.
 */
#include "lake/engine_duckdb_int.h"

#include "base/clock.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_ROWS 500000
#define MERGE_ROWS 2000000
#define MERGE_FILES_MAX 200
#define SMALL_FILES 8
#define CHECKPOINT_EVERY 100
#define LOG_KEEP_US (30 * VG_DAY_US)
#define REMOVED_AT_ONCE 1000

struct lake_job {
    enum lake_table table;
    struct vg_arena arena; /* all texts */
    char date[11];
    const char *sources[MERGE_FILES_MAX];
    size_t source_count;
    int64_t row_count;
    struct delta_file made;
};

void lakedb_job_free(struct lake_job *job)
{
    if (!job)
        return;
    vg_arena_fini(&job->arena);
    free(job);
}

static void date_of(int64_t time_us, char out[static 11])
{
    char text[VG_TIME_TEXT_SIZE];

    (void)vg_time_format(time_us, 0, text);
    (void)snprintf(out, 11, "%.10s", text);
}

/* ---- merging ---- */

/* Whether enough of this date's files are small; and takes them into the job. */
static bool gather(const struct delta *table, const char *date, bool is_over, struct lake_job *job)
{
    job->source_count = 0;
    job->row_count = 0;
    for (size_t i = 0; i < table->file_count && job->source_count < MERGE_FILES_MAX; i++) {
        const struct delta_file *file = &table->files[i];

        if (strcmp(file->date, date) != 0 || file->record_count >= SMALL_ROWS ||
            job->row_count + file->record_count > MERGE_ROWS)
            continue;
        job->sources[job->source_count++] = file->path;
        job->row_count += file->record_count;
    }
    return job->source_count >= (is_over ? 2 : SMALL_FILES);
}

static enum vg_status find_merge(struct duckdb_lake *lake, const char *today,
                                 struct lake_job **ret_job, struct vg_err *err)
{
    struct lake_job *job = calloc(1, sizeof(*job));

    if (!job)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "upkeep");
    vg_arena_init(&job->arena, 0);
    for (int t = 0; t < TABLE_COUNT; t++) {
        const struct delta *table = &lake->tables[t];

        for (size_t i = 0; i < table->file_count; i++) {
            const char *date = table->files[i].date;

            if (table->files[i].record_count >= SMALL_ROWS ||
                !gather(table, date, strcmp(date, today) < 0, job))
                continue;
            job->table = (enum lake_table)t;
            (void)snprintf(job->date, sizeof(job->date), "%s", date);
            for (size_t s = 0; s < job->source_count; s++) {
                job->sources[s] = vg_arena_dup(&job->arena, vg_slice_of(job->sources[s])).ptr;
                if (!job->sources[s]) {
                    lakedb_job_free(job);
                    return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "upkeep");
                }
            }
            *ret_job = job;
            return VG_OK;
        }
    }
    lakedb_job_free(job);
    return VG_OK;
}

enum vg_status lakedb_job_work(void *self, struct lake_job *job, struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    const char *dir = lake->tables[job->table].dir;
    struct vg_buf source;
    size_t count = 0;
    enum vg_status st;

    vg_buf_init(&source, 1u << 20);
    for (size_t i = 0; i < job->source_count; i++)
        vg_buf_printf(&source, "%s'%s/%s'", i ? "," : "read_parquet([", dir, job->sources[i]);
    vg_buf_put(&source, VG_SLICE("], hive_partitioning=false, union_by_name=true)"));
    vg_buf_put_byte(&source, '\0');
    st = vg_buf_ok(&source) ? lakedb_plan_files(lake->maintenance, job->table, source.ptr,
                                                &job->arena, &job->made, 1, &count, err)
                            : vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "upkeep");
    if (st == VG_OK && (count != 1 || strcmp(job->made.date, job->date) != 0 ||
                        job->made.record_count != job->row_count))
        st = vg_fail(err, VG_FATAL, "lake.merge", 0,
                     "files of %s hold %" PRId64 " rows of %s, the log says %" PRId64, job->date,
                     job->made.record_count, count ? job->made.date : "nothing", job->row_count);
    if (st == VG_OK)
        st = lakedb_write_file(lake, lake->maintenance, job->table, source.ptr, &job->arena,
                               &job->made, err);
    vg_buf_fini(&source);
    return st;
}

enum vg_status lakedb_job_finish(void *self, struct lake_job *job, struct lake_upkeep *upkeep,
                                 struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    const struct delta_change change = {.operation = "OPTIMIZE",
                                        .added = &job->made,
                                        .added_count = 1,
                                        .removed = job->sources,
                                        .removed_count = job->source_count,
                                        .is_same_data = true};
    enum vg_status st = delta_commit(&lake->tables[job->table], &change, err);

    if (st == VG_OK) {
        upkeep->merged_count += job->source_count;
        upkeep->made_count++;
    } else if (st == VG_REJECT) { /* not after VG_RETRY: the entry may be in place */
        char path[4096];

        (void)snprintf(path, sizeof(path), "%.3000s/%.1000s", lake->tables[job->table].dir,
                       job->made.path);
        (void)unlink(path); /* nobody names it; if it stays, the sweep takes it */
    }
    /* Somebody else merged them first: as good. */
    return st == VG_REJECT ? VG_OK : st;
}

/* ---- what is too old ---- */

static enum vg_status expire(struct delta *table, const char *oldest, struct lake_upkeep *upkeep,
                             struct vg_err *err)
{
    const char **removed = malloc(REMOVED_AT_ONCE * sizeof(*removed));
    struct vg_arena arena;
    size_t count = 0;
    enum vg_status st = VG_OK;

    if (!removed)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "upkeep");
    vg_arena_init(&arena, 0);
    for (size_t i = 0; i < table->file_count && count < REMOVED_AT_ONCE; i++) {
        if (strcmp(table->files[i].date, oldest) >= 0)
            continue;
        removed[count] = vg_arena_dup(&arena, vg_slice_of(table->files[i].path)).ptr;
        count += removed[count] != NULL;
    }
    if (count)
        st = delta_commit(table,
                          &(struct delta_change){
                              .operation = "DELETE", .removed = removed, .removed_count = count},
                          err);
    if (st == VG_OK)
        upkeep->expired_count += count;
    vg_arena_fini(&arena);
    free(removed);
    return st == VG_REJECT ? VG_OK : st; /* somebody else was first: the next upkeep sees */
}

static bool is_live(const struct delta *table, const char *path)
{
    for (size_t i = 0; i < table->file_count; i++) {
        if (strcmp(table->files[i].path, path) == 0)
            return true;
    }
    return false;
}

/* Parquet files of one date's folder that are old and that the log does not name. */
static enum vg_status sweep(const struct delta *table, const char *date_dir, int64_t before_us,
                            struct lake_upkeep *upkeep, struct vg_err *err)
{
    char path[4096], full[4096];
    struct dirent *entry;
    struct stat info;
    DIR *dir;

    (void)snprintf(full, sizeof(full), "%.3000s/%.200s", table->dir, date_dir);
    dir = opendir(full);
    if (!dir)
        return errno == ENOENT ? VG_OK : vg_fail(err, VG_RETRY, "lake.io", errno, "%s", full);
    while ((entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);

        if (len < 8 || strcmp(entry->d_name + len - 8, ".parquet") != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%.200s/%.255s", date_dir, entry->d_name);
        (void)snprintf(full, sizeof(full), "%.3000s/%.460s", table->dir, path);
        if (stat(full, &info) != 0 || (int64_t)info.st_mtim.tv_sec * VG_SECOND_US >= before_us ||
            is_live(table, path))
            continue;
        if (unlink(full) == 0)
            upkeep->deleted_count++;
    }
    (void)closedir(dir); /* only read */
    /* Without files the folder says nothing; one that has some stays. */
    (void)snprintf(full, sizeof(full), "%.3000s/%.200s", table->dir, date_dir);
    (void)rmdir(full);
    return VG_OK;
}

static enum vg_status sweep_all(const struct delta *table, int64_t before_us,
                                struct lake_upkeep *upkeep, struct vg_err *err)
{
    DIR *dir = opendir(table->dir);
    struct dirent *entry;
    enum vg_status st = VG_OK;

    if (!dir)
        return vg_fail(err, VG_RETRY, "lake.io", errno, "%s", table->dir);
    while (st == VG_OK && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, "date=", 5) == 0)
            st = sweep(table, entry->d_name, before_us, upkeep, err);
    }
    (void)closedir(dir); /* only read */
    return st;
}

static enum vg_status tidy_table(struct duckdb_lake *lake, struct delta *table,
                                 const struct lake_policy *policy, int64_t now_us,
                                 struct lake_upkeep *upkeep, struct vg_err *err)
{
    const struct delta_parquet parquet = {lake, lakedb_checkpoint_read, lakedb_checkpoint_write};
    int64_t before_us = now_us - policy->keep_removed_us;
    size_t deleted = 0;
    char oldest[11];
    enum vg_status st = VG_OK;

    date_of(now_us - policy->keep_us, oldest);
    if (policy->keep_us > 0)
        st = expire(table, oldest, upkeep, err);
    if (st == VG_OK)
        st = delta_vacuum(table, before_us, &deleted, err);
    upkeep->deleted_count += deleted;
    if (st == VG_OK)
        st = sweep_all(table, before_us, upkeep, err);
    if (st == VG_OK && table->version >= table->checkpoint_version + CHECKPOINT_EVERY) {
        st = delta_checkpoint(table, &parquet, now_us - LOG_KEEP_US, err);
        upkeep->checkpoint_count += st == VG_OK;
    }
    return st;
}

/* The quick things are done once, before the first merge. */
enum vg_status lakedb_job_find(void *self, const struct lake_policy *policy, int64_t now_us,
                               struct lake_upkeep *upkeep, struct lake_job **ret_job,
                               struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    char today[11];
    enum vg_status st = VG_OK;

    for (int t = 0; t < TABLE_COUNT && st == VG_OK; t++)
        st = tidy_table(lake, &lake->tables[t], policy, now_us, upkeep, err);
    date_of(now_us, today);
    return st == VG_OK ? find_merge(lake, today, ret_job, err) : st;
}

/* ---- checkpoints ---- */

/* The columns that Delta demands of a checkpoint, as DuckDB reads them out of lines of JSON. */
#define CHECKPOINT_COLUMNS                                                                         \
    "{txn: 'STRUCT(appId VARCHAR, version BIGINT, lastUpdated BIGINT)', "                          \
    "add: 'STRUCT(path VARCHAR, partitionValues MAP(VARCHAR, VARCHAR), size BIGINT, "              \
    "modificationTime BIGINT, dataChange BOOLEAN, stats VARCHAR)', "                               \
    "remove: 'STRUCT(path VARCHAR, deletionTimestamp BIGINT, dataChange BOOLEAN)', "               \
    "metaData: 'STRUCT(id VARCHAR, name VARCHAR, format STRUCT(provider VARCHAR, \"options\" "     \
    "MAP(VARCHAR, VARCHAR)), schemaString VARCHAR, partitionColumns VARCHAR[], configuration "     \
    "MAP(VARCHAR, VARCHAR), createdTime BIGINT)', "                                                \
    "protocol: 'STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER)'}"

enum vg_status lakedb_checkpoint_write(void *ctx, const char *path, const char *lines_path,
                                       struct vg_err *err)
{
    struct duckdb_lake *lake = ctx;
    struct vg_slice sql;

    vg_arena_reset(&lake->arena);
    sql = vg_arena_printf(&lake->arena,
                          "COPY (SELECT * FROM read_json('%s', format='newline_delimited', "
                          "columns=" CHECKPOINT_COLUMNS ")) TO '%s' (FORMAT parquet)",
                          lines_path, path);
    if (!sql.ptr)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "checkpoint");
    return lakedb_run(lake->connection, "write checkpoint", sql.ptr, NULL, err);
}

enum vg_status lakedb_checkpoint_read(void *ctx, const char *path, struct vg_buf *lines,
                                      struct vg_err *err)
{
    struct duckdb_lake *lake = ctx;
    duckdb_result result = {0};
    duckdb_data_chunk chunk;
    struct vg_slice sql;
    enum vg_status st;

    vg_arena_reset(&lake->arena);
    sql = vg_arena_printf(&lake->arena, "SELECT to_json(t)::VARCHAR FROM read_parquet('%s') AS t",
                          path);
    if (!sql.ptr)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "checkpoint");
    st = lakedb_run(lake->connection, "read checkpoint", sql.ptr, &result, err);
    if (st != VG_OK)
        return st;
    while ((chunk = duckdb_fetch_chunk(result))) {
        idx_t rows = duckdb_data_chunk_get_size(chunk);
        duckdb_string_t *texts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));

        for (idx_t row = 0; row < rows; row++) {
            vg_buf_put(lines, lakedb_string_of(&texts[row]));
            vg_buf_put_byte(lines, '\n');
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    return VG_OK;
}
