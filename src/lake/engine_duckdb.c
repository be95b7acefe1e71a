/* engine_duckdb.c -- Delta tables on a local disk, written and read through DuckDB's C library.
 *
 * A record of the topic becomes rows: one for each value (enriched), one for each evaluation
 * (scored). Names and birth dates stay out of the lake: who scores needs the id, the age and the
 * sex.
 *
 * WRITING
 *
 * Each (table, application) has a DuckDB table in memory that rows are appended to. A flush writes
 * one Parquet file for each date in it (zstd, ordered by patient and time, so that a patient's rows
 * lie together), syncs files and folders, and commits them with the position to the Delta log
 * (delta.c). A crash before the commit leaves files that nobody sees.
 *
 * READING
 *
 * Only files of the Delta log are read, pruned by date, time and patient from the log's statistics.
 */
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "lake/engine_duckdb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FLUSH_FILES_MAX 366
#define ROW_GROUP_ROWS 20480
#define RECORD_ARENA_SIZE (4u << 20)

static const struct column enriched_columns[] = {
    {"patientId", COLUMN_TEXT, FROM_RECORD, NULL},
    {"effectiveTime", COLUMN_TIME, FROM_RECORD, "effectiveDateTime"},
    {"system", COLUMN_TEXT, FROM_VALUE, NULL},
    {"code", COLUMN_TEXT, FROM_VALUE, NULL},
    {"value", COLUMN_DOUBLE, FROM_VALUE, NULL},
    {"valueText", COLUMN_TEXT, FROM_VALUE, "text"},
    {"valueUnit", COLUMN_TEXT, FROM_VALUE, "unit"},
    {"name", COLUMN_TEXT, FROM_VALUE, NULL},
    {"type", COLUMN_TEXT, FROM_RECORD, NULL},
    {"deviceId", COLUMN_TEXT, FROM_RECORD, NULL},
    {"encounterId", COLUMN_TEXT, FROM_RECORD, NULL},
    {"unit", COLUMN_TEXT, FROM_RECORD, NULL},
    {"location", COLUMN_TEXT, FROM_RECORD, NULL},
    {"ageYears", COLUMN_INTEGER, FROM_PATIENT, NULL},
    {"gender", COLUMN_TEXT, FROM_PATIENT, NULL},
    {"receivedTime", COLUMN_TIME, FROM_RECORD, NULL},
    {"observationId", COLUMN_TEXT, FROM_RECORD, NULL},
    {"trace", COLUMN_TEXT, FROM_TRACE, NULL},
};

static const struct column scored_columns[] = {
    {"patientId", COLUMN_TEXT, FROM_RECORD, NULL},
    {"windowEnd", COLUMN_TIME, FROM_RECORD, NULL},
    {"scoredTime", COLUMN_TIME, FROM_RECORD, NULL},
    {"trigger", COLUMN_TEXT, FROM_RECORD, NULL},
    {"news2Low", COLUMN_INTEGER, FROM_NEWS2, "low"},
    {"news2High", COLUMN_INTEGER, FROM_NEWS2, "high"},
    {"news2Complete", COLUMN_BOOL, FROM_NEWS2, "complete"},
    {"news2Band", COLUMN_TEXT, FROM_NEWS2, "band"},
    {"modelName", COLUMN_TEXT, FROM_MODEL, "name"},
    {"modelVersion", COLUMN_TEXT, FROM_MODEL, "version"},
    {"probability", COLUMN_DOUBLE, FROM_MODEL, NULL},
    {"riskBand", COLUMN_TEXT, FROM_MODEL, "band"},
    {"encounterId", COLUMN_TEXT, FROM_RECORD, NULL},
    {"unit", COLUMN_TEXT, FROM_RECORD, NULL},
    {"location", COLUMN_TEXT, FROM_RECORD, NULL},
    {"ageYears", COLUMN_INTEGER, FROM_PATIENT, NULL},
    {"gender", COLUMN_TEXT, FROM_PATIENT, NULL},
    {"parts", COLUMN_TEXT, FROM_NEWS2, "parts"},
    {"models", COLUMN_TEXT, FROM_RECORD, NULL},
    {"trace", COLUMN_TEXT, FROM_TRACE, NULL},
};

const struct table_form table_forms[TABLE_COUNT] = {
    [LAKE_ENRICHED] = {"enriched", "effectiveTime", "effectiveDateTime", enriched_columns,
                       sizeof(enriched_columns) / sizeof(enriched_columns[0])},
    [LAKE_SCORED] = {"scored", "windowEnd", "windowEnd", scored_columns,
                     sizeof(scored_columns) / sizeof(scored_columns[0])},
};

static const struct {
    const char *sql, *delta;
} column_types[] = {
    [COLUMN_TEXT] = {"VARCHAR", "string"},  [COLUMN_TIME] = {"TIMESTAMPTZ", "timestamp"},
    [COLUMN_DOUBLE] = {"DOUBLE", "double"}, [COLUMN_INTEGER] = {"BIGINT", "long"},
    [COLUMN_BOOL] = {"BOOLEAN", "boolean"},
};

/* Rows of one application for one table that wait for their flush. */
struct pending {
    struct pending *next;
    enum lake_table table;
    char app[32];
    char sql_name[64]; /* of the DuckDB table */
    duckdb_appender appender;
    uint64_t row_count;
};

/* Disk trouble passes, a bug in our SQL does not; DuckDB tells them apart only by text. */
static enum vg_status fail_query(struct vg_err *err, const char *what, const char *why)
{
    bool is_disk =
        why && (strstr(why, "No space") || strstr(why, "IO Error") || strstr(why, "Out of Memory"));

    return vg_fail(err, is_disk ? VG_RETRY : VG_FATAL, is_disk ? "lake.io" : "lake.query", 0,
                   "%s: %.180s", what, why ? why : "unknown");
}

enum vg_status lakedb_run(duckdb_connection connection, const char *what, const char *sql,
                          duckdb_result *ret_result, struct vg_err *err)
{
    duckdb_result result = {0};
    enum vg_status st = VG_OK;

    if (duckdb_query(connection, sql, &result) != DuckDBSuccess)
        st = fail_query(err, what, duckdb_result_error(&result));
    if (st == VG_OK && ret_result)
        *ret_result = result;
    else
        duckdb_destroy_result(&result);
    return st;
}

/* Delta's schema as JSON text, `date` (the partition) last. */
static char *make_schema(const struct table_form *form)
{
    struct vg_buf out;

    vg_buf_init(&out, 1u << 16);
    vg_buf_put(&out, VG_SLICE("{\"type\":\"struct\",\"fields\":["));
    for (size_t i = 0; i < form->column_count; i++)
        vg_buf_printf(&out, "{\"name\":\"%s\",\"type\":\"%s\",\"nullable\":true,\"metadata\":{}},",
                      form->columns[i].name, column_types[form->columns[i].type].delta);
    vg_buf_put(&out, VG_SLICE("{\"name\":\"date\",\"type\":\"date\",\"nullable\":true,"
                              "\"metadata\":{}}]}"));
    vg_buf_put_byte(&out, '\0');
    if (!vg_buf_ok(&out))
        vg_buf_fini(&out);
    return out.ptr;
}

static void pending_free(struct duckdb_lake *lake, struct pending *pending)
{
    char sql[128];
    struct vg_err err = {0};

    if (pending->appender)
        (void)duckdb_appender_destroy(&pending->appender);
    (void)snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS %s", pending->sql_name);
    if (lakedb_run(lake->connection, "drop", sql, NULL, &err) != VG_OK)
        vg_log_err(VG_LOG_WARN, "lake", &err); /* memory only: nothing durable hangs on it */
    free(pending);
}

static void duckdb_lake_close(void *self)
{
    struct duckdb_lake *lake = self;

    while (lake->pending) {
        struct pending *next = lake->pending->next;

        pending_free(lake, lake->pending);
        lake->pending = next;
    }
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        delta_close(&lake->tables[i]);
        free(lake->schemas[i]);
    }
    if (lake->connection)
        duckdb_disconnect(&lake->connection);
    if (lake->maintenance)
        duckdb_disconnect(&lake->maintenance);
    if (lake->db)
        duckdb_close(&lake->db);
    vg_arena_fini(&lake->arena);
    free(lake->dir);
    free(lake);
}

static enum vg_status open_database(struct duckdb_lake *lake, struct vg_err *err)
{
    /* One thread and little memory: the lake must not starve the stages beside it. */
    static const char *const settings[] = {
        "SET threads = 1",
        "SET memory_limit = '256MB'",
        "SET TimeZone = 'UTC'",
        "SET autoinstall_known_extensions = false",
        "SET autoload_known_extensions = false",
        "SET preserve_insertion_order = true",
        "SET parquet_metadata_cache = true", /* files are never changed once they are named */
    };
    char *why = NULL, sql[4200];
    enum vg_status st = VG_OK;

    if (duckdb_open_ext(NULL, &lake->db, NULL, &why) != DuckDBSuccess) {
        st = fail_query(err, "open DuckDB", why);
        duckdb_free(why);
        return st;
    }
    if (duckdb_connect(lake->db, &lake->connection) != DuckDBSuccess ||
        duckdb_connect(lake->db, &lake->maintenance) != DuckDBSuccess)
        return fail_query(err, "connect to DuckDB", NULL);
    for (size_t i = 0; st == VG_OK && i < sizeof(settings) / sizeof(settings[0]); i++)
        st = lakedb_run(lake->connection, "set up DuckDB", settings[i], NULL, err);
    /* What does not fit into memory while files are merged. */
    (void)snprintf(sql, sizeof(sql), "SET temp_directory = '%.4000s/.tmp'", lake->dir);
    return st == VG_OK ? lakedb_run(lake->connection, "set up DuckDB", sql, NULL, err) : st;
}

static enum vg_status duckdb_lake_open(const struct lake_config *config, void **ret_self,
                                       struct vg_err *err)
{
    struct duckdb_lake *lake = calloc(1, sizeof(*lake));
    enum vg_status st = VG_OK;

    if (!lake)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "lake");
    vg_arena_init(&lake->arena, RECORD_ARENA_SIZE);
    lake->dir = strdup(config->dir);
    if (!lake->dir)
        st = vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "lake");
    else if (strchr(lake->dir, '\''))
        st =
            vg_fail(err, VG_FATAL, "lake.path", 0, "the lake's folder must not hold an apostrophe");
    else
        st = vg_dir_make(lake->dir, err);
    if (st == VG_OK)
        st = open_database(lake, err);
    for (size_t i = 0; st == VG_OK && i < TABLE_COUNT; i++) {
        const struct table_form *form = &table_forms[i];
        char dir[4096];

        (void)snprintf(dir, sizeof(dir), "%s/%s", config->dir, form->name);
        lake->schemas[i] = make_schema(form);
        if (!lake->schemas[i])
            st = vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "schema");
        if (st == VG_OK)
            st = vg_dir_make(dir, err);
        if (st == VG_OK)
            st = delta_open(
                &lake->tables[i], dir, form->name, form->time_column, lake->schemas[i],
                &(struct delta_parquet){lake, lakedb_checkpoint_read, lakedb_checkpoint_write},
                err);
    }
    if (st != VG_OK) {
        duckdb_lake_close(lake);
        return st;
    }
    *ret_self = lake;
    return VG_OK;
}

static enum vg_status duckdb_position(void *self, enum lake_table table, const char *app,
                                      uint64_t *ret_next_seq, struct vg_err *err)
{
    struct duckdb_lake *lake = self;

    (void)err;
    *ret_next_seq = delta_position(&lake->tables[table], app);
    return VG_OK;
}

/* ---- appending ---- */

static struct pending **find_pending(struct duckdb_lake *lake, enum lake_table table,
                                     const char *app)
{
    struct pending **at = &lake->pending;

    while (*at && ((*at)->table != table || strcmp((*at)->app, app) != 0))
        at = &(*at)->next;
    return at;
}

static enum vg_status make_pending(struct duckdb_lake *lake, enum lake_table table, const char *app,
                                   struct pending **ret, struct vg_err *err)
{
    static unsigned made; /* under lake.c's lock of this lake; a name need only be unique in it */
    const struct table_form *form = &table_forms[table];
    struct pending *pending = calloc(1, sizeof(*pending));
    struct vg_buf sql;
    enum vg_status st;

    if (!pending)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "buffer");
    pending->table = table;
    (void)snprintf(pending->app, sizeof(pending->app), "%s", app);
    (void)snprintf(pending->sql_name, sizeof(pending->sql_name), "pending_%u",
                   __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED));
    vg_buf_init(&sql, 1u << 16);
    vg_buf_printf(&sql, "CREATE TABLE %s (", pending->sql_name);
    for (size_t i = 0; i < form->column_count; i++)
        vg_buf_printf(&sql, "%s\"%s\" %s", i ? ", " : "", form->columns[i].name,
                      column_types[form->columns[i].type].sql);
    vg_buf_put(&sql, VG_SLICE(")"));
    vg_buf_put_byte(&sql, '\0');
    st = vg_buf_ok(&sql) ? lakedb_run(lake->connection, "make buffer", sql.ptr, NULL, err)
                         : vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "buffer");
    if (st == VG_OK && duckdb_appender_create(lake->connection, NULL, pending->sql_name,
                                              &pending->appender) != DuckDBSuccess)
        st = fail_query(err, "make appender", duckdb_appender_error(pending->appender));
    vg_buf_fini(&sql);
    if (st != VG_OK) {
        pending_free(lake, pending);
        return st;
    }
    pending->next = lake->pending;
    lake->pending = pending;
    *ret = pending;
    return VG_OK;
}

static duckdb_state append_text(duckdb_appender appender, struct vg_slice text)
{
    return text.ptr ? duckdb_append_varchar_length(appender, text.ptr, text.len)
                    : duckdb_append_null(appender);
}

static duckdb_state append_column(duckdb_appender appender, const struct column *column,
                                  const struct vg_json *value)
{
    int64_t integer;
    double number;
    bool is_true;

    switch (column->type) {
    case COLUMN_TEXT:
        if (vg_json_is(value, VG_JSON_STRING))
            return append_text(appender, vg_json_text(value));
        if (value && !vg_json_is(value, VG_JSON_NULL))
            return append_text(appender, value->source);
        break;
    case COLUMN_TIME:
        if (vg_time_parse(vg_json_text(value), &integer, NULL))
            return duckdb_append_timestamp(appender, (duckdb_timestamp){integer});
        break;
    case COLUMN_DOUBLE:
        if (vg_json_to_double(value, &number))
            return duckdb_append_double(appender, number);
        break;
    case COLUMN_INTEGER:
        if (vg_json_to_i64(value, &integer))
            return duckdb_append_int64(appender, integer);
        break;
    case COLUMN_BOOL:
        if (vg_json_to_bool(value, &is_true))
            return duckdb_append_bool(appender, is_true);
        break;
    }
    return duckdb_append_null(appender);
}

static enum vg_status append_row(struct pending *pending, const struct vg_json *record,
                                 const struct vg_json *value, struct vg_slice trace,
                                 struct vg_err *err)
{
    const struct table_form *form = &table_forms[pending->table];
    duckdb_state state = DuckDBSuccess;

    for (size_t i = 0; i < form->column_count && state == DuckDBSuccess; i++) {
        const struct column *column = &form->columns[i];
        const char *member = column->member ? column->member : column->name;
        const struct vg_json *from = record;

        if (column->from == FROM_TRACE) {
            state = append_text(pending->appender, trace);
            continue;
        }
        if (column->from == FROM_PATIENT)
            from = vg_json_get(record, "patient");
        else if (column->from == FROM_NEWS2)
            from = vg_json_get(record, "news2");
        else if (column->from == FROM_MODEL)
            from = vg_json_get(record, "model");
        else if (column->from == FROM_VALUE)
            from = value;
        state = append_column(pending->appender, column, vg_json_get(from, member));
    }
    if (state == DuckDBSuccess)
        state = duckdb_appender_end_row(pending->appender);
    if (state != DuckDBSuccess)
        return fail_query(err, "append row", duckdb_appender_error(pending->appender));
    pending->row_count++;
    return VG_OK;
}

static enum vg_status duckdb_lake_append(void *self, enum lake_table table, const char *app,
                                         struct vg_slice record_json, struct vg_slice trace,
                                         struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    struct pending *pending = *find_pending(lake, table, app);
    const struct vg_json *values;
    struct vg_json *record;
    int64_t time_us;
    enum vg_status st;

    vg_arena_reset(&lake->arena);
    st = vg_json_parse(&lake->arena, record_json, NULL, &record, NULL, err);
    if (st != VG_OK)
        return st;
    if (!vg_json_get_text(record, "patientId").len ||
        !vg_time_parse(vg_json_get_text(record, table_forms[table].time_member), &time_us, NULL))
        return vg_fail(err, VG_REJECT, "lake.record", 0, "record has no patientId or no %s",
                       table_forms[table].time_member);
    if (!pending && (st = make_pending(lake, table, app, &pending, err)) != VG_OK)
        return st;
    if (table == LAKE_SCORED)
        return append_row(pending, record, NULL, trace, err);
    values = vg_json_get(record, "values");
    for (const struct vg_json *value = values ? values->child : NULL; value && st == VG_OK;
         value = value->next)
        st = append_row(pending, record, value, trace, err);
    return st;
}

static void duckdb_discard(void *self, enum lake_table table, const char *app)
{
    struct duckdb_lake *lake = self;
    struct pending **at = find_pending(lake, table, app);
    struct pending *gone = *at;

    if (!gone)
        return;
    *at = gone->next;
    pending_free(lake, gone);
}

/* ---- flushing ---- */

struct vg_slice lakedb_string_of(duckdb_string_t *text)
{
    uint32_t length = text->value.inlined.length;

    return (struct vg_slice){length <= 12 ? text->value.inlined.inlined : text->value.pointer.ptr,
                             length};
}

enum vg_status lakedb_plan_files(duckdb_connection connection, enum lake_table table,
                                 const char *source, struct vg_arena *arena,
                                 struct delta_file *files, size_t max, size_t *ret_count,
                                 struct vg_err *err)
{
    const char *time = table_forms[table].time_column;
    struct vg_slice sql = vg_arena_printf(
        arena,
        "SELECT strftime(%s, '%%Y-%%m-%%d'), count(*), epoch_us(min(%s)), epoch_us(max(%s)), "
        "min(patientId), max(patientId) FROM %s GROUP BY 1 ORDER BY 1 LIMIT %zu",
        time, time, time, source, max);
    duckdb_result result = {0};
    duckdb_data_chunk chunk;
    size_t count = 0;
    enum vg_status st;

    if (!sql.ptr)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "files");
    st = lakedb_run(connection, "plan files", sql.ptr, &result, err);
    if (st != VG_OK)
        return st;
    while ((chunk = duckdb_fetch_chunk(result))) {
        idx_t rows = duckdb_data_chunk_get_size(chunk);
        void *column[6];

        for (idx_t c = 0; c < 6; c++)
            column[c] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, c));
        for (idx_t row = 0; row < rows && count < max; row++) {
            struct delta_file *file = &files[count++];

            *file = (struct delta_file){.record_count = ((int64_t *)column[1])[row],
                                        .time_min_us = ((int64_t *)column[2])[row],
                                        .time_max_us = ((int64_t *)column[3])[row]};
            (void)vg_slice_to_cstr(lakedb_string_of(&((duckdb_string_t *)column[0])[row]),
                                   file->date, sizeof(file->date));
            file->patient_min = (char *)(uintptr_t)vg_arena_dup(
                                    arena, lakedb_string_of(&((duckdb_string_t *)column[4])[row]))
                                    .ptr;
            file->patient_max = (char *)(uintptr_t)vg_arena_dup(
                                    arena, lakedb_string_of(&((duckdb_string_t *)column[5])[row]))
                                    .ptr;
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    *ret_count = count;
    return VG_OK;
}

enum vg_status lakedb_write_file(struct duckdb_lake *lake, duckdb_connection connection,
                                 enum lake_table table, const char *source, struct vg_arena *arena,
                                 struct delta_file *file, struct vg_err *err)
{
    const char *time = table_forms[table].time_column, *root = lake->tables[table].dir;
    uint8_t unique[8];
    char hex[17];
    struct vg_slice dir, path, name, sql;
    enum vg_status st;
    off_t size;
    int fd;

    vg_random(unique, sizeof(unique));
    vg_hex(unique, sizeof(unique), hex);
    name = vg_arena_printf(arena, "date=%s/part-%s.zstd.parquet", file->date, hex);
    dir = vg_arena_printf(arena, "%s/date=%s", root, file->date);
    path = vg_arena_printf(arena, "%s/%s", root, name.ptr ? name.ptr : "");
    /* A patient's rows lie together, in small groups: a query for one patient reads few of them. */
    sql = vg_arena_printf(arena,
                          "COPY (SELECT * FROM %s WHERE strftime(%s, '%%Y-%%m-%%d') = '%s' ORDER "
                          "BY patientId, %s) TO '%s' (FORMAT parquet, COMPRESSION zstd, "
                          "ROW_GROUP_SIZE %d)",
                          source, time, file->date, time, path.ptr ? path.ptr : "", ROW_GROUP_ROWS);
    if (!sql.ptr || !path.ptr || !dir.ptr || !file->patient_min || !file->patient_max)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "flush");
    st = vg_dir_make(dir.ptr, err);
    if (st == VG_OK)
        st = lakedb_run(connection, "write Parquet", sql.ptr, NULL, err);
    if (st == VG_OK)
        st = delta_sync(path.ptr, err);
    if (st == VG_OK)
        st = delta_sync(dir.ptr, err);
    if (st == VG_OK)
        st = delta_sync(root, err);
    if (st != VG_OK) {
        (void)unlink(path.ptr); /* half a file that nobody refers to */
        return st;
    }
    fd = open(path.ptr, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (fd >= 0)
        (void)close(fd); /* read only: nothing to lose */
    if (size < 0)
        return vg_fail(err, VG_RETRY, "lake.io", errno, "%s", name.ptr);
    file->path = (char *)(uintptr_t)name.ptr;
    file->size_bytes = size;
    return VG_OK;
}

static enum vg_status duckdb_flush(void *self, enum lake_table table, const char *app,
                                   uint64_t next_seq, struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    struct pending *pending = *find_pending(lake, table, app);
    struct delta_file *files = NULL;
    struct vg_arena arena;
    size_t count = 0, written = 0;
    enum vg_status st;

    if (!pending || pending->row_count == 0)
        return VG_OK;
    vg_arena_init(&arena, 0);
    files = calloc(FLUSH_FILES_MAX, sizeof(*files));
    if (!files) {
        st = vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "flush");
        goto done;
    }
    if (duckdb_appender_flush(pending->appender) != DuckDBSuccess) {
        st = fail_query(err, "flush rows", duckdb_appender_error(pending->appender));
        goto done;
    }
    st = lakedb_plan_files(lake->connection, table, pending->sql_name, &arena, files,
                           FLUSH_FILES_MAX, &count, err);
    for (; st == VG_OK && written < count; written++)
        st = lakedb_write_file(lake, lake->connection, table, pending->sql_name, &arena,
                               &files[written], err);
    if (st == VG_OK)
        st = delta_commit(&lake->tables[table],
                          &(struct delta_change){.operation = "STREAMING UPDATE",
                                                 .added = files,
                                                 .added_count = count,
                                                 .app = app,
                                                 .next_seq = next_seq},
                          err);
    if (st == VG_OK)
        duckdb_discard(lake, table, app);
done:
    free(files);
    vg_arena_fini(&arena);
    return st;
}

/* ---- reading ---- */

/* "read_parquet(['…', …])" over the files that may hold what is asked; false when there are none.
 */
static bool put_files(const struct delta *table, struct vg_slice patient_id, int64_t from_us,
                      int64_t to_us, struct vg_buf *out)
{
    size_t count = 0;

    for (size_t i = 0; i < table->file_count; i++) {
        const struct delta_file *file = &table->files[i];

        if (file->time_max_us < from_us || file->time_min_us >= to_us)
            continue;
        if (patient_id.len && *file->patient_max &&
            (vg_slice_cmp(patient_id, vg_slice_of(file->patient_min)) < 0 ||
             vg_slice_cmp(patient_id, vg_slice_of(file->patient_max)) > 0))
            continue;
        vg_buf_printf(out, "%s'%s/%s'", count++ ? "," : "read_parquet([", table->dir, file->path);
    }
    if (count)
        vg_buf_put(out, VG_SLICE("], hive_partitioning=true)"));
    return count > 0;
}

static enum vg_status duckdb_history(void *self, struct vg_slice patient_id, int64_t from_us,
                                     int64_t to_us,
                                     void (*fn)(void *ctx, const struct lake_reading *reading),
                                     void *ctx, struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    duckdb_prepared_statement statement = NULL;
    duckdb_result result = {0};
    duckdb_data_chunk chunk;
    struct vg_buf sql;
    enum vg_status st = VG_OK;

    vg_buf_init(&sql, 0);
    vg_buf_put(
        &sql,
        VG_SLICE("SELECT epoch_us(effectiveTime), code, coalesce(valueUnit, ''), coalesce(value, "
                 "'nan'::DOUBLE), coalesce(valueText, ''), coalesce(epoch_us(receivedTime), "
                 "-9223372036854775808), coalesce(observationId, '') FROM "));
    if (!put_files(&lake->tables[LAKE_ENRICHED], patient_id, from_us, to_us, &sql))
        goto done;
    vg_buf_put(
        &sql, VG_SLICE(" WHERE patientId = ? AND effectiveTime >= make_timestamptz(?) AND "
                       "effectiveTime < make_timestamptz(?) AND code IS NOT NULL AND (value IS NOT "
                       "NULL OR valueText IS NOT NULL) ORDER BY effectiveTime, code"));
    vg_buf_put_byte(&sql, '\0');
    if (!vg_buf_ok(&sql)) {
        st = vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "history");
        goto done;
    }
    if (duckdb_prepare(lake->connection, sql.ptr, &statement) != DuckDBSuccess) {
        st = fail_query(err, "history", duckdb_prepare_error(statement));
        goto done;
    }
    if (duckdb_bind_varchar_length(statement, 1, patient_id.ptr, patient_id.len) != DuckDBSuccess ||
        duckdb_bind_int64(statement, 2, from_us) != DuckDBSuccess ||
        duckdb_bind_int64(statement, 3, to_us) != DuckDBSuccess ||
        duckdb_execute_prepared(statement, &result) != DuckDBSuccess) {
        st = fail_query(err, "history", duckdb_result_error(&result));
        goto done;
    }
    while ((chunk = duckdb_fetch_chunk(result))) {
        idx_t rows = duckdb_data_chunk_get_size(chunk);
        int64_t *times = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        duckdb_string_t *codes = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        duckdb_string_t *units = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
        double *values = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 3));
        duckdb_string_t *texts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 4));

        int64_t *receipts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 5));
        duckdb_string_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 6));

        for (idx_t row = 0; row < rows; row++) {
            struct lake_reading reading = {times[row],
                                           lakedb_string_of(&codes[row]),
                                           lakedb_string_of(&units[row]),
                                           lakedb_string_of(&texts[row]),
                                           values[row],
                                           receipts[row],
                                           lakedb_string_of(&ids[row])};
            fn(ctx, &reading);
        }
        duckdb_destroy_data_chunk(&chunk);
    }
done:
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&statement);
    vg_buf_fini(&sql);
    return st;
}

/* A table's name in a query becomes its live files; an empty table an empty selection of its
 * columns. */
static void put_table(const struct duckdb_lake *lake, enum lake_table table, struct vg_buf *out)
{
    const struct table_form *form = &table_forms[table];

    if (put_files(&lake->tables[table], (struct vg_slice){0}, INT64_MIN, INT64_MAX, out))
        return;
    vg_buf_put(out, VG_SLICE("(SELECT "));
    for (size_t i = 0; i < form->column_count; i++)
        vg_buf_printf(out, "%sNULL::%s AS \"%s\"", i ? ", " : "",
                      column_types[form->columns[i].type].sql, form->columns[i].name);
    vg_buf_put(out, VG_SLICE(" WHERE false)"));
}

static enum vg_status duckdb_lake_query(void *self, const char *sql, struct vg_buf *out,
                                        struct vg_err *err)
{
    struct duckdb_lake *lake = self;
    struct vg_slice rest = vg_slice_of(sql);
    duckdb_result result = {0};
    duckdb_data_chunk chunk;
    struct vg_buf full;
    size_t count = 0;
    enum vg_status st;

    /* As people end a statement. */
    for (rest = vg_slice_trim(rest); rest.len && rest.ptr[rest.len - 1] == ';';)
        rest = vg_slice_trim((struct vg_slice){rest.ptr, rest.len - 1});
    vg_buf_init(&full, 0);
    vg_buf_put(&full, VG_SLICE("SELECT to_json(t)::VARCHAR FROM ("));
    while (rest.len) {
        if (vg_slice_starts(rest, VG_SLICE("{enriched}"))) {
            put_table(lake, LAKE_ENRICHED, &full);
            rest = vg_slice_from(rest, strlen("{enriched}"));
        } else if (vg_slice_starts(rest, VG_SLICE("{scored}"))) {
            put_table(lake, LAKE_SCORED, &full);
            rest = vg_slice_from(rest, strlen("{scored}"));
        } else {
            vg_buf_put_byte(&full, (uint8_t)rest.ptr[0]);
            rest = vg_slice_from(rest, 1);
        }
    }
    vg_buf_put(&full, VG_SLICE("\n) AS t")); /* not into a comment of the query's last line */
    vg_buf_put_byte(&full, '\0');
    st = vg_buf_ok(&full) ? lakedb_run(lake->connection, "query", full.ptr, &result, err)
                          : vg_fail(err, VG_REJECT, "lake.memory", ENOMEM, "query");
    vg_buf_fini(&full);
    if (st != VG_OK)
        return st == VG_FATAL ? VG_REJECT : st; /* the query is the caller's */
    vg_buf_put_byte(out, '[');
    while ((chunk = duckdb_fetch_chunk(result))) {
        idx_t rows = duckdb_data_chunk_get_size(chunk);
        duckdb_string_t *texts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));

        for (idx_t row = 0; row < rows; row++) {
            if (count++)
                vg_buf_put(out, VG_SLICE(",\n"));
            vg_buf_put(out, lakedb_string_of(&texts[row]));
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    vg_buf_put_byte(out, ']');
    duckdb_destroy_result(&result);
    return vg_buf_ok(out)
               ? VG_OK
               : vg_fail(err, VG_REJECT, "lake.memory", ENOMEM, "the answer is too large");
}

const struct lake_engine lake_engine_duckdb = {
    .name = "duckdb",
    .open = duckdb_lake_open,
    .close = duckdb_lake_close,
    .position = duckdb_position,
    .append = duckdb_lake_append,
    .flush = duckdb_flush,
    .discard = duckdb_discard,
    .history = duckdb_history,
    .query = duckdb_lake_query,
    .job_find = lakedb_job_find,
    .job_work = lakedb_job_work,
    .job_finish = lakedb_job_finish,
    .job_free = lakedb_job_free,
};
