/* engine_duckdb_int.h -- what the files of the DuckDB engine share. Private to src/lake. */
#ifndef VG_LAKE_ENGINE_DUCKDB_INT_H
#define VG_LAKE_ENGINE_DUCKDB_INT_H

#include "base/arena.h"
#include "lake/delta.h"
#include "lake/duckdb_api.h"
#include "lake/engine.h"

#define TABLE_COUNT 2

/* A column: its name is also the record's member, unless `from` names another place for it. */
struct column {
    const char *name;
    enum { COLUMN_TEXT, COLUMN_TIME, COLUMN_DOUBLE, COLUMN_INTEGER, COLUMN_BOOL } type;
    enum { FROM_RECORD, FROM_PATIENT, FROM_NEWS2, FROM_MODEL, FROM_VALUE, FROM_TRACE } from;
    const char *member; /* NULL = name */
};

struct table_form {
    const char *name, *time_column, *time_member;
    const struct column *columns;
    size_t column_count;
};
extern const struct table_form table_forms[TABLE_COUNT];

struct pending;

struct duckdb_lake {
    char *dir;
    duckdb_database db;
    duckdb_connection connection;
    duckdb_connection maintenance; /* its own: it works while others append and ask */
    struct delta tables[TABLE_COUNT];
    char *schemas[TABLE_COUNT];
    struct pending *pending;
    struct vg_arena arena; /* for one record */
};

VG_CHECK enum vg_status lakedb_run(duckdb_connection connection, const char *what, const char *sql,
                                   duckdb_result *ret_result, struct vg_err *err);
struct vg_slice lakedb_string_of(duckdb_string_t *text);

/* The rows of `source` (SQL that can stand behind FROM) whose partition is file->date, as a new
 * Parquet file, durable; file->path and size_bytes are set, its texts in the arena. */
VG_CHECK enum vg_status lakedb_write_file(struct duckdb_lake *lake, duckdb_connection connection,
                                          enum lake_table table, const char *source,
                                          struct vg_arena *arena, struct delta_file *file,
                                          struct vg_err *err);
/* A file for each date in `source`, with its statistics (all but path and size). */
VG_CHECK enum vg_status lakedb_plan_files(duckdb_connection connection, enum lake_table table,
                                          const char *source, struct vg_arena *arena,
                                          struct delta_file *files, size_t max, size_t *ret_count,
                                          struct vg_err *err);

/* Checkpoints of the Delta log; ctx is the duckdb_lake. */
enum vg_status lakedb_checkpoint_read(void *ctx, const char *path, struct vg_buf *lines,
                                      struct vg_err *err);
enum vg_status lakedb_checkpoint_write(void *ctx, const char *path, const char *lines_path,
                                       struct vg_err *err);

/* engine.h's maintenance. */
enum vg_status lakedb_job_find(void *self, const struct lake_policy *policy, int64_t now_us,
                               struct lake_upkeep *upkeep, struct lake_job **ret_job,
                               struct vg_err *err);
enum vg_status lakedb_job_work(void *self, struct lake_job *job, struct vg_err *err);
enum vg_status lakedb_job_finish(void *self, struct lake_job *job, struct lake_upkeep *upkeep,
                                 struct vg_err *err);
void lakedb_job_free(struct lake_job *job);

#endif
