/* engine_sqlite.c -- resources in one SQLite file.
 *
 * TABLES
 *
 *   resource   the current version of each, by a growing key (inserts append); unique (type, id)
 *   history    superseded versions by (key, version)
 *   timeline   who, what, when: (type, patient, code, span, low, key), WITHOUT ROWID, so that
 * "newest of this patient and code" is one range read of neighbouring rows. Each resource has a row
 * for its patient and for patient 0 (= all), each with each of its codes and with code 0 (= all):
 * any question by patient, by code, by both or by neither is one range. patient and code are small
 * numbers out of `term`. The code column is 2n for the n-th term as the resource's code, 2n+1 as a
 * component's. span is 0 for what lasted no longer than a day, 1 for longer: so a lower bound on
 * the end of short ones is a lower bound on `low` too, and the range read ends. token      codes,
 * identifiers and references by (path, text, key) string, date, quantity   the other kinds. date
 * and quantity go by key: they narrow what another table has found, and inserts append. term texts
 * that repeat, as numbers
 *
 * Rows are written sorted by table and key, commit by commit.
 *
 * WRITING
 *
 * One writer connection. Callers queue up; the first becomes the leader, takes all that wait, runs
 * each in a savepoint of one transaction, and one fsync makes them all durable. While it syncs the
 * next queue gathers. A refused one is rolled back to its savepoint alone.
 *
 * READING
 *
 * A pool of connections, each a snapshot while it is lent out. Readers never wait for the writer.
 *
 * The SQL of a search is made from the query; every value is bound, never printed.
 *
 * THE WRITE-AHEAD LOG
 *
 * A thread of its own copies the log into the database, while writers go on: no commit waits for
 * it. It never catches up with a writer in full, so when it has done nearly all, the writer does
 * the few frames that are left after its commit, and the log begins anew.
 *
 * CRASHES
 *
 * WAL with synchronous=FULL: what transact() called done is there after a power cut.
 */
#include "base/db.h"
#include "base/map.h"
#include "fhir/engine_sqlite_int.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_PAGES_USUAL 8192 /* 64 MiB: then it is copied */
#define LOG_PAGES_MAX 65536  /* 512 MiB: then the writer helps, and waits */
#define SEARCH_TIME_US (10 * VG_SECOND_US)
#define READER_COUNT 8
#define STATEMENTS_MAX 200
#define TERMS_CACHED_MAX 200000
#define SHORT_SPAN_US VG_DAY_US
#define COMBINATIONS_MAX 400 /* SQLite joins at most 500 selects */
#define SYSTEM_ANY (-1)
#define TERM_UNKNOWN (-2)

static const char *const migrations[] = {
    "CREATE TABLE resource(key INTEGER PRIMARY KEY, type INTEGER NOT NULL, id TEXT NOT NULL,"
    "  version INTEGER NOT NULL, updated_us INTEGER NOT NULL, is_deleted INTEGER NOT NULL,"
    "  low INTEGER NOT NULL, high INTEGER NOT NULL, body BLOB NOT NULL);"
    "CREATE UNIQUE INDEX resource_id ON resource(type, id);"
    "CREATE INDEX resource_updated ON resource(type, updated_us);"
    "CREATE TABLE history(key INTEGER NOT NULL, version INTEGER NOT NULL,"
    "  updated_us INTEGER NOT NULL, is_deleted INTEGER NOT NULL, body BLOB NOT NULL,"
    "  PRIMARY KEY(key, version)) WITHOUT ROWID;"
    "CREATE TABLE term(key INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);"
    "CREATE TABLE timeline(type INTEGER NOT NULL, patient INTEGER NOT NULL, code INTEGER NOT NULL,"
    "  span INTEGER NOT NULL, low INTEGER NOT NULL, key INTEGER NOT NULL, part INTEGER NOT NULL,"
    "  system INTEGER NOT NULL, high INTEGER NOT NULL,"
    "  PRIMARY KEY(type, patient, code, span, low, key, part, system)) WITHOUT ROWID;"
    "CREATE TABLE token(path INTEGER NOT NULL, text TEXT NOT NULL, key INTEGER NOT NULL,"
    "  system INTEGER NOT NULL, PRIMARY KEY(path, text, key, system)) WITHOUT ROWID;"
    "CREATE TABLE string(path INTEGER NOT NULL, text TEXT NOT NULL, key INTEGER NOT NULL,"
    "  exact TEXT NOT NULL, PRIMARY KEY(path, text, key, exact)) WITHOUT ROWID;"
    "CREATE TABLE date(path INTEGER NOT NULL, key INTEGER NOT NULL, low INTEGER NOT NULL,"
    "  high INTEGER NOT NULL, PRIMARY KEY(path, key, low, high)) WITHOUT ROWID;"
    "CREATE TABLE quantity(path INTEGER NOT NULL, key INTEGER NOT NULL, part INTEGER NOT NULL,"
    "  value REAL NOT NULL, system INTEGER NOT NULL, code INTEGER NOT NULL, unit INTEGER NOT NULL,"
    "  PRIMARY KEY(path, key, part, value)) WITHOUT ROWID;"
    "CREATE TABLE setting(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE change(seq INTEGER PRIMARY KEY, key INTEGER NOT NULL, version INTEGER NOT NULL);"
    "CREATE INDEX history_updated ON history(updated_us);",
};

/* An index row that waits for the end of its job. Columns by table, in the order of the key. */
enum table { TIMELINE, TOKEN, STRING, DATE, QUANTITY, TABLE_COUNT };

struct row {
    enum table table;
    int64_t a, b, c, d, e, f, g, h, i;
    struct vg_slice text, more;
    double value;
};

static const char *const inserts[TABLE_COUNT] = {
    [TIMELINE] =
        ("INSERT OR IGNORE INTO timeline(type, patient, code, span, low, key, part, system,"
         " high) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"),
    [TOKEN] = "INSERT OR IGNORE INTO token(path, text, key, system) VALUES(?1,?10,?6,?2)",
    [STRING] = "INSERT OR IGNORE INTO string(path, text, key, exact) VALUES(?1,?10,?6,?11)",
    [DATE] = "INSERT OR IGNORE INTO date(path, key, low, high) VALUES(?1,?6,?5,?9)",
    [QUANTITY] = ("INSERT OR IGNORE INTO quantity(path, key, part, value, system, code, unit)"
                  " VALUES(?1,?6,?7,?12,?2,?3,?4)"),
};
static const char *const deletes[TABLE_COUNT] = {
    [TIMELINE] = ("DELETE FROM timeline WHERE type=?1 AND patient=?2 AND code=?3 AND span=?4"
                  " AND low=?5 AND key=?6"),
    [TOKEN] = "DELETE FROM token WHERE path=?1 AND text=?10 AND key=?6",
    [STRING] = "DELETE FROM string WHERE path=?1 AND text=?10 AND key=?6",
    [DATE] = "DELETE FROM date WHERE path=?1 AND key=?6",
    [QUANTITY] = "DELETE FROM quantity WHERE path=?1 AND key=?6",
};

/* A connection with its statements; as a void pointer it is the engine's view. */
struct conn {
    struct sqlite_engine *engine;
    sqlite3 *db;
    int64_t deadline_us; /* of the search that runs; monotonic, 0 = none */
    struct vg_map statements;
    bool is_writer, is_lent;
};

struct job {
    fhir_work *work;
    void *ctx;
    enum vg_status status;
    struct vg_err err;
    bool is_done;
    struct job *next;
};

struct sqlite_engine {
    char path[4096];
    struct vg_slice base_url;

    pthread_mutex_t queue_lock; /* guards the queue and is_leading */
    pthread_cond_t queue_moved;
    struct job *first, *last;
    bool is_leading;

    /* The leader's alone. */
    struct conn writer;
    struct vg_map terms; /* text -> key */
    bool has_new_terms;
    _Atomic bool is_watched[256]; /* by type: its writes go into `change` */
    int64_t last_key;
    struct row *rows;
    size_t row_count, row_capacity;
    sqlite3_stmt *inserts[TABLE_COUNT], *deletes[TABLE_COUNT]; /* by row.table */

    pthread_mutex_t log_lock; /* guards the three below */
    pthread_cond_t log_moved;
    bool wants_checkpoint, is_closing;
    _Atomic bool is_nearly_done; /* of the write-ahead log only the newest frames are left */
    pthread_t checkpointer;
    bool has_checkpointer;
    struct conn log;

    pthread_mutex_t reader_lock; /* guards is_lent */
    pthread_cond_t reader_free;
    struct conn readers[READER_COUNT];
};

/* ---- statements ---- */

static void finalize(void *stmt)
{
    sqlite3_finalize(stmt);
}

static void forget_statements(struct conn *conn)
{
    vg_map_fini(&conn->statements, finalize);
    vg_map_init(&conn->statements);
}

static enum vg_status prepare(struct conn *conn, struct vg_slice sql, sqlite3_stmt **ret_stmt,
                              struct vg_err *err)
{
    sqlite3_stmt *stmt = vg_map_get(&conn->statements, sql);
    bool is_ok = true;

    if (!stmt) {
        if (conn->statements.count >= STATEMENTS_MAX)
            forget_statements(conn);
        if (sqlite3_prepare_v3(conn->db, sql.ptr, (int)sql.len, SQLITE_PREPARE_PERSISTENT, &stmt,
                               NULL) != SQLITE_OK)
            return vg_db_fail(conn->db, err, "prepare");
        (void)vg_map_put(&conn->statements, sql, stmt, &is_ok);
        if (!is_ok) {
            sqlite3_finalize(stmt);
            return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for a statement");
        }
    }
    *ret_stmt = stmt;
    return VG_OK;
}

static enum vg_status statement(struct conn *conn, const char *sql, sqlite3_stmt **ret_stmt,
                                struct vg_err *err)
{
    return prepare(conn, vg_slice_of(sql), ret_stmt, err);
}

static void finish(sqlite3_stmt *stmt)
{
    if (stmt) {
        (void)sqlite3_reset(stmt);
        (void)sqlite3_clear_bindings(stmt);
    }
}

static enum vg_status run(struct conn *conn, const char *sql, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = statement(conn, sql, &stmt, err);

    return st == VG_OK ? vg_db_run(stmt, err) : st;
}

/* Borrowed for as long as the statement runs. */
static void bind_text(sqlite3_stmt *stmt, int index, struct vg_slice text)
{
    (void)sqlite3_bind_text64(stmt, index, text.ptr ? text.ptr : "", text.len, SQLITE_STATIC,
                              SQLITE_UTF8);
}

static struct vg_slice blob(sqlite3_stmt *stmt, int column)
{
    const void *bytes = sqlite3_column_blob(stmt, column);

    return (struct vg_slice){bytes, (size_t)sqlite3_column_bytes(stmt, column)};
}

static enum vg_status keep(struct vg_arena *arena, struct vg_slice borrowed,
                           struct vg_slice *ret_kept, struct vg_err *err)
{
    *ret_kept = borrowed.len ? vg_arena_dup(arena, borrowed) : VG_SLICE("");
    if (!ret_kept->ptr)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "the answer is larger than its bound");
    return VG_OK;
}

/* ---- terms ---- */

static enum vg_status term_find(struct conn *conn, struct vg_slice text, int64_t *ret_key,
                                struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = statement(conn, "SELECT key FROM term WHERE text=?", &stmt, err);

    *ret_key = TERM_UNKNOWN;
    if (st != VG_OK)
        return st;
    bind_text(stmt, 1, text);
    st = vg_db_step(stmt, err);
    if (st == VG_OK)
        *ret_key = sqlite3_column_int64(stmt, 0);
    finish(stmt);
    return st == VG_END ? VG_OK : st;
}

/* The writer's: makes it when it is new. The empty text is 0. */
static enum vg_status term_key(struct sqlite_engine *engine, struct vg_slice text, int64_t *ret_key,
                               struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int64_t key = text.len ? (int64_t)(intptr_t)vg_map_get(&engine->terms, text) : 0;
    bool is_ok;
    enum vg_status st;

    if (key || text.len == 0) {
        *ret_key = key;
        return VG_OK;
    }
    st = term_find(&engine->writer, text, &key, err);
    if (st != VG_OK)
        return st;
    if (key == TERM_UNKNOWN) {
        st = statement(&engine->writer, "INSERT INTO term(text) VALUES(?)", &stmt, err);
        if (st != VG_OK)
            return st;
        bind_text(stmt, 1, text);
        st = vg_db_run(stmt, err);
        if (st != VG_OK)
            return st;
        key = sqlite3_last_insert_rowid(engine->writer.db);
        engine->has_new_terms = true;
    }
    if (engine->terms.count >= TERMS_CACHED_MAX) {
        vg_map_fini(&engine->terms, NULL);
        vg_map_init(&engine->terms);
    }
    (void)vg_map_put(&engine->terms, text, (void *)(intptr_t)key, &is_ok);
    *ret_key = key; /* a cache that could not grow costs time only */
    return VG_OK;
}

/* After a rollback the cache may name terms that are gone. */
static void terms_forget_new(struct sqlite_engine *engine)
{
    if (engine->has_new_terms) {
        vg_map_fini(&engine->terms, NULL);
        vg_map_init(&engine->terms);
    }
    engine->has_new_terms = false;
}

/* ---- index rows ---- */

static enum vg_status row_add(struct sqlite_engine *engine, const struct row *row,
                              struct vg_err *err)
{
    if (engine->row_count == engine->row_capacity) {
        size_t more = engine->row_capacity ? engine->row_capacity * 2 : 1024;
        struct row *grown = realloc(engine->rows, more * sizeof(*grown));

        if (!grown)
            return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for index rows");
        engine->rows = grown;
        engine->row_capacity = more;
    }
    engine->rows[engine->row_count++] = *row;
    return VG_OK;
}

static int row_order(const void *left, const void *right)
{
    const struct row *x = left, *y = right;
    const int64_t xs[] = {x->a, x->b, x->c, x->d, x->e, x->f};
    const int64_t ys[] = {y->a, y->b, y->c, y->d, y->e, y->f};
    int by_text;

    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    if (x->table == TIMELINE) {
        for (size_t i = 0; i < sizeof(xs) / sizeof(xs[0]); i++)
            if (xs[i] != ys[i])
                return xs[i] < ys[i] ? -1 : 1;
        return 0;
    }
    if (x->a != y->a)
        return x->a < y->a ? -1 : 1;
    by_text = vg_slice_cmp(x->text, y->text);
    if (by_text != 0)
        return by_text;
    return x->f < y->f ? -1 : x->f > y->f;
}

static enum vg_status row_run(sqlite3_stmt *stmt, const struct row *row, struct vg_err *err)
{
    const int64_t numbers[] = {row->a, row->b, row->c, row->d, row->e,
                               row->f, row->g, row->h, row->i};
    int count = sqlite3_bind_parameter_count(stmt);

    for (int i = 0; i < 9 && i < count; i++)
        (void)sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    if (count >= 10)
        bind_text(stmt, 10, row->text);
    if (count >= 11)
        bind_text(stmt, 11, row->more);
    if (count >= 12)
        (void)sqlite3_bind_double(stmt, 12, row->value);
    return vg_db_run(stmt, err);
}

/* What the job has gathered goes into the tables, in their order. */
static enum vg_status flush(struct sqlite_engine *engine, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    if (engine->row_count > 1)
        qsort(engine->rows, engine->row_count, sizeof(*engine->rows), row_order);
    for (size_t i = 0; i < engine->row_count && st == VG_OK; i++)
        st = row_run(engine->inserts[engine->rows[i].table], &engine->rows[i], err);
    engine->row_count = 0;
    return st;
}

static int span_of(struct fhir_span span)
{
    /* Unsigned: open ends make the difference larger than an int64_t. */
    return (uint64_t)span.high_us - (uint64_t)span.low_us > (uint64_t)SHORT_SPAN_US;
}

typedef enum vg_status row_use(struct sqlite_engine *engine, const struct row *row,
                               struct vg_err *err);

static enum vg_status row_delete(struct sqlite_engine *engine, const struct row *row,
                                 struct vg_err *err)
{
    return row_run(engine->deletes[row->table], row, err);
}

static enum vg_status timeline_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                    const struct fhir_index *index, row_use *use,
                                    struct vg_err *err)
{
    int64_t patients[2] = {0, 0};
    size_t patient_count = 1;
    bool has_all = fhir_role_path(type, FHIR_ROLE_DATE) != NULL;
    enum vg_status st = VG_OK;

    if (index->patient.len) {
        st = term_key(engine, index->patient, &patients[1], err);
        patient_count = 2;
    }
    for (size_t p = 0; p < patient_count; p++) {
        struct row row = {.table = TIMELINE,
                          .a = type,
                          .b = patients[p],
                          .d = span_of(index->span),
                          .e = index->span.low_us,
                          .f = key,
                          .i = index->span.high_us};

        if (st == VG_OK && (p > 0 || has_all))
            st = use(engine, &row, err);
        for (size_t c = 0; c < index->code_count && st == VG_OK; c++) {
            const struct fhir_index_row *code = &index->codes[c];
            int64_t term;

            st = term_key(engine, code->text, &term, err);
            if (st == VG_OK)
                st = term_key(engine, code->system, &row.h, err);
            if (st != VG_OK)
                break;
            if (code->has_any_system)
                row.h = SYSTEM_ANY;
            row.c = 2 * term + (code->path->role == FHIR_ROLE_COMPONENT);
            row.g = code->part;
            st = use(engine, &row, err);
        }
    }
    return st;
}

static enum vg_status index_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                 const struct fhir_index *index, row_use *use, struct vg_err *err)
{
    enum vg_status st = timeline_rows(engine, type, key, index, use, err);

    for (size_t n = 0; n < index->count && st == VG_OK; n++) {
        const struct fhir_index_row *from = &index->rows[n];
        struct row row = {.a = from->path->key, .f = key, .g = from->part, .text = from->text};

        switch (from->kind) {
        case FHIR_TOKEN:
            row.table = TOKEN;
            st = from->has_any_system ? VG_OK : term_key(engine, from->system, &row.b, err);
            if (from->has_any_system)
                row.b = SYSTEM_ANY;
            break;
        case FHIR_REFERENCE:
            row.table = TOKEN;
            break;
        case FHIR_STRING:
            row.table = STRING;
            row.more = from->system;
            break;
        case FHIR_DATE:
            row.table = DATE;
            row.e = from->span.low_us;
            row.i = from->span.high_us;
            row.text = (struct vg_slice){0};
            break;
        case FHIR_QUANTITY:
            row.table = QUANTITY;
            row.value = from->value;
            row.text = (struct vg_slice){0};
            st = term_key(engine, from->system, &row.b, err);
            if (st == VG_OK)
                st = term_key(engine, from->text, &row.c, err);
            if (st == VG_OK)
                st = term_key(engine, from->unit, &row.d, err);
            break;
        case FHIR_COMPOSITE:
        case FHIR_SPECIAL:
            continue;
        }
        if (st == VG_OK)
            st = use(engine, &row, err);
    }
    return st;
}

/* ---- reading ---- */

static enum vg_status current(void *view, unsigned type, struct vg_slice id, struct vg_arena *arena,
                              struct fhir_current *ret_current, struct vg_err *err)
{
    struct fhir_current found = {0};
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = statement(view,
                                  "SELECT key, version, updated_us, is_deleted, body FROM resource"
                                  " WHERE type=? AND id=?",
                                  &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, type);
    bind_text(stmt, 2, id);
    st = vg_db_step(stmt, err);
    if (st == VG_OK) {
        found.key = sqlite3_column_int64(stmt, 0);
        found.version = (uint64_t)sqlite3_column_int64(stmt, 1);
        found.updated_us = sqlite3_column_int64(stmt, 2);
        found.is_deleted = sqlite3_column_int(stmt, 3) != 0;
        st = keep(arena, blob(stmt, 4), &found.body, err);
    } else if (st == VG_END) {
        st = VG_OK;
    }
    finish(stmt);
    if (st == VG_OK)
        *ret_current = found;
    return st;
}

/* Rows of (sort, key, id, version, updated_us, is_deleted, body) into a list of at most `max`. */
static enum vg_status gather(sqlite3_stmt *stmt, unsigned type, size_t max, bool is_by_id,
                             struct vg_arena *arena, struct fhir_found_list *ret_found,
                             struct vg_err *err)
{
    struct fhir_found_list list = {0};
    size_t capacity = 0;
    enum vg_status st;

    while ((st = vg_db_step(stmt, err)) == VG_OK) {
        struct fhir_found *found;

        if (list.count == max) {
            list.has_more = true;
            break;
        }
        if (list.count == capacity) {
            size_t more = capacity ? capacity * 2 : 16;

            found = vg_arena_alloc(arena, more * sizeof(*found));
            if (!found) {
                st = vg_fail(err, VG_REJECT, "fhir.memory", 0, "too many results for the bound");
                break;
            }
            if (list.count)
                memcpy(found, list.items, list.count * sizeof(*found));
            list.items = found;
            capacity = more;
        }
        found = &list.items[list.count++];
        found->sort_number = is_by_id ? 0 : sqlite3_column_int64(stmt, 0);
        found->key = sqlite3_column_int64(stmt, 1);
        found->resource.type = vg_slice_of(fhir_type_name(type));
        found->resource.version = (uint64_t)sqlite3_column_int64(stmt, 3);
        found->resource.last_updated_us = sqlite3_column_int64(stmt, 4);
        found->resource.is_deleted = sqlite3_column_int(stmt, 5) != 0;
        st = keep(arena, vg_db_text(stmt, 2), &found->resource.id, err);
        if (st == VG_OK)
            st = keep(arena, blob(stmt, 6), &found->resource.body, err);
        if (st != VG_OK)
            break;
    }
    finish(stmt);
    if (st != VG_OK && st != VG_END)
        return st;
    *ret_found = list;
    return VG_OK;
}

static enum vg_status versions(void *view, unsigned type, struct vg_slice id, uint64_t version,
                               struct vg_arena *arena, struct fhir_found_list *ret_found,
                               struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = statement(
        view,
        "SELECT 0, key, id, version, updated_us, is_deleted, body FROM resource"
        " WHERE type=?1 AND id=?2 AND (?3=0 OR version=?3) UNION ALL"
        " SELECT 0, r.key, r.id, h.version, h.updated_us, h.is_deleted, h.body"
        " FROM resource r CROSS JOIN history h ON h.key=r.key"
        " WHERE r.type=?1 AND r.id=?2 AND (?3=0 OR h.version=?3) ORDER BY 4 DESC LIMIT ?4",
        &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, type);
    bind_text(stmt, 2, id);
    (void)sqlite3_bind_int64(stmt, 3, (int64_t)version);
    (void)sqlite3_bind_int64(stmt, 4, FHIR_COUNT_MAX + 1);
    st = gather(stmt, type, FHIR_COUNT_MAX, false, arena, ret_found, err);
    return st == VG_OK && ret_found->count == 0 ? VG_END : st;
}

/* ---- searching: the query becomes SQL ---- */

struct bound {
    enum { INT, TEXT, REAL } kind;
    int64_t number;
    double real;
    struct vg_slice text;
};

struct sql {
    struct conn *conn;
    struct vg_arena *arena;
    const struct fhir_query *query;
    struct vg_buf text;
    struct bound *bounds;
    size_t bound_count, bound_capacity;
    /* how the rows are come by, and what they are called then */
    enum { BY_RESOURCE, BY_TIMELINE, BY_VALUES } way;
    const struct fhir_filter *patients, *codes, *values; /* the driving filters */
    bool is_for_codes; /* $lastn: a patient's timeline, whatever else is asked */
    const char *key, *low, *high;
    enum vg_status status;
    struct vg_err *err;
};

static void put(struct sql *sql, const char *text)
{
    vg_buf_put(&sql->text, vg_slice_of(text));
}

static void bind(struct sql *sql, struct bound bound)
{
    if (sql->bound_count == sql->bound_capacity) {
        size_t more = sql->bound_capacity ? sql->bound_capacity * 2 : 64;
        struct bound *grown = vg_arena_alloc(sql->arena, more * sizeof(*grown));

        if (!grown) {
            sql->status = vg_fail(sql->err, VG_REJECT, "fhir.memory", 0, "no room for the search");
            return;
        }
        if (sql->bound_count)
            memcpy(grown, sql->bounds, sql->bound_count * sizeof(*grown));
        sql->bounds = grown;
        sql->bound_capacity = more;
    }
    sql->bounds[sql->bound_count++] = bound;
}

/* `format` is SQL with '#' for a number, '$' for a text, '~' for a real (all bound), '%' for a
 * piece of SQL (a column's name). */
static void emit(struct sql *sql, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (const char *c = format; *c; c++) {
        if (*c == '#') {
            bind(sql, (struct bound){.kind = INT, .number = va_arg(args, int64_t)});
            put(sql, "?");
        } else if (*c == '$') {
            bind(sql, (struct bound){.kind = TEXT, .text = va_arg(args, struct vg_slice)});
            put(sql, "?");
        } else if (*c == '~') {
            bind(sql, (struct bound){.kind = REAL, .real = va_arg(args, double)});
            put(sql, "?");
        } else if (*c == '%') {
            put(sql, va_arg(args, const char *));
        } else {
            vg_buf_put_byte(&sql->text, (uint8_t)*c);
        }
    }
    va_end(args);
}

static int64_t term(struct sql *sql, struct vg_slice text)
{
    int64_t key = TERM_UNKNOWN;

    if (text.len == 0)
        return 0;
    if (sql->status == VG_OK)
        sql->status = term_find(sql->conn, text, &key, sql->err);
    return key;
}

static void emit_system(struct sql *sql, const struct fhir_value *value)
{
    if (value->has_system)
        emit(sql, " AND t.system IN (#,-1)", term(sql, value->system));
}

static bool is_patient(struct vg_slice reference)
{
    return vg_slice_starts(reference, VG_SLICE("Patient/"));
}

static bool is_code_role(const struct fhir_path *path)
{
    return path->role == FHIR_ROLE_CODE || path->role == FHIR_ROLE_COMPONENT;
}

static int64_t code_column(struct sql *sql, const struct fhir_path *path, struct vg_slice code)
{
    int64_t key = term(sql, code);

    return key == TERM_UNKNOWN ? TERM_UNKNOWN : 2 * key + (path->role == FHIR_ROLE_COMPONENT);
}

/* Point look-up of this resource in the timeline. */
static void emit_in_timeline(struct sql *sql, int64_t patient, int64_t code)
{
    emit(sql,
         "EXISTS(SELECT 1 FROM timeline t WHERE t.type=# AND t.patient=# AND t.code=#"
         " AND t.span IN (0,1) AND t.low=% AND t.key=%",
         (int64_t)sql->query->type, patient, code, sql->low, sql->key);
}

static void emit_token(struct sql *sql, const struct fhir_path *path,
                       const struct fhir_value *value)
{
    if (!value->has_code && is_code_role(path)) {
        emit(sql,
             "% IN (SELECT key FROM timeline WHERE type=# AND patient=0 AND code>0 AND system=#)",
             sql->key, (int64_t)sql->query->type, term(sql, value->system));
    } else if (!value->has_code) {
        emit(sql, "% IN (SELECT key FROM token WHERE path=# AND system=#)", sql->key,
             (int64_t)path->key, term(sql, value->system));
    } else if (is_code_role(path)) {
        emit_in_timeline(sql, 0, code_column(sql, path, value->text));
        emit_system(sql, value);
        put(sql, ")");
    } else {
        emit(sql, "EXISTS(SELECT 1 FROM token t WHERE t.path=# AND t.text=$ AND t.key=%",
             (int64_t)path->key, value->text, sql->key);
        emit_system(sql, value);
        put(sql, ")");
    }
}

static void emit_reference(struct sql *sql, const struct fhir_path *path,
                           const struct fhir_value *value)
{
    if (path->role == FHIR_ROLE_PATIENT && is_patient(value->text)) {
        emit_in_timeline(sql, term(sql, value->text), 0);
        put(sql, ")");
    } else {
        emit(sql, "EXISTS(SELECT 1 FROM token t WHERE t.path=# AND t.text=$ AND t.key=%)",
             (int64_t)path->key, value->text, sql->key);
    }
}

static void emit_span(struct sql *sql, const struct fhir_value *value, const char *low,
                      const char *high)
{
    int64_t from = value->span.low_us, to = value->span.high_us;

    switch (value->prefix) {
    case FHIR_EQ:
        emit(sql, "(%>=# AND %<=#)", low, from, high, to);
        break;
    case FHIR_NE:
        emit(sql, "(%<># AND NOT (%>=# AND %<=#))", low, FHIR_NO_DATE, low, from, high, to);
        break;
    case FHIR_GT:
        emit(sql, "%>#", high, to);
        break;
    case FHIR_LT:
        emit(sql, "(%<# AND %<>#)", low, from, low, FHIR_NO_DATE);
        break;
    case FHIR_GE:
        emit(sql, "(%># OR (%>=# AND %<=#))", high, to, low, from, high, to);
        break;
    case FHIR_LE:
        emit(sql, "((%<# AND %<>#) OR (%>=# AND %<=#))", low, from, low, FHIR_NO_DATE, low, from,
             high, to);
        break;
    case FHIR_SA:
        emit(sql, "%>=#", low, to);
        break;
    case FHIR_EB:
        emit(sql, "(%<=# AND %<>#)", high, from, low, FHIR_NO_DATE);
        break;
    case FHIR_AP:
        emit(sql, "(%<# AND %># AND %<>#)", low, to, high, from, low, FHIR_NO_DATE);
        break;
    }
}

/* The last update is a point, so its bounds can use the index. */
static void emit_updated(struct sql *sql, const struct fhir_value *value)
{
    int64_t from = value->span.low_us, to = value->span.high_us;

    switch (value->prefix) {
    case FHIR_EQ:
    case FHIR_AP:
        emit(sql, "(r.updated_us>=# AND r.updated_us<#)", from, to);
        break;
    case FHIR_NE:
        emit(sql, "(r.updated_us<# OR r.updated_us>=#)", from, to);
        break;
    case FHIR_GT:
    case FHIR_SA:
        emit(sql, "r.updated_us>=#", to);
        break;
    case FHIR_LT:
    case FHIR_EB:
        emit(sql, "r.updated_us<#", from);
        break;
    case FHIR_GE:
        emit(sql, "r.updated_us>=#", from);
        break;
    case FHIR_LE:
        emit(sql, "r.updated_us<#", to);
        break;
    }
}

static void emit_string(struct sql *sql, const struct fhir_path *path,
                        const struct fhir_filter *filter, const struct fhir_value *value)
{
    struct vg_slice folded = fhir_fold(sql->arena, value->text);

    emit(sql, "path=# AND ", (int64_t)path->key);
    switch (filter->modifier) {
    case FHIR_EXACT:
        emit(sql, "text=$ AND exact=$", folded, value->text);
        break;
    case FHIR_CONTAINS:
        emit(sql, "instr(text,$)>0", folded);
        break;
    case FHIR_PLAIN:
    case FHIR_NOT:
        /* starts with: up to the highest character there is */
        emit(sql, "text>=$ AND text<$", folded,
             vg_arena_printf(sql->arena, "%.*s\xf4\x8f\xbf\xbf", VG_FMT(folded)));
        break;
    }
}

static void emit_number(struct sql *sql, const struct fhir_value *value)
{
    double from = value->number - value->half, to = value->number + value->half;

    switch (value->prefix) {
    case FHIR_EQ:
        emit(sql, "(n.value>=~ AND n.value<~)", from, to);
        break;
    case FHIR_AP:
        emit(sql, "(n.value>=~ AND n.value<=~)", from, to);
        break;
    case FHIR_NE:
        emit(sql, "(n.value<~ OR n.value>=~)", from, to);
        break;
    case FHIR_GT:
    case FHIR_SA:
        emit(sql, "n.value>~", value->number);
        break;
    case FHIR_LT:
    case FHIR_EB:
        emit(sql, "n.value<~", value->number);
        break;
    case FHIR_GE:
        emit(sql, "n.value>=~", value->number);
        break;
    case FHIR_LE:
        emit(sql, "n.value<=~", value->number);
        break;
    }
    if (value->unit.len && value->has_unit_system)
        emit(sql, " AND n.code=# AND n.system=#", term(sql, value->unit),
             term(sql, value->unit_system));
    else if (value->unit.len)
        emit(sql, " AND # IN (n.code,n.unit)", term(sql, value->unit));
    else if (value->has_unit_system)
        emit(sql, " AND n.system=#", term(sql, value->unit_system));
}

/* Code and quantity of the same part: of the resource itself, or of the same component. */
static void emit_composite(struct sql *sql, const struct fhir_param_view *view, size_t path,
                           const struct fhir_value *value)
{
    emit(sql,
         "EXISTS(SELECT 1 FROM timeline t CROSS JOIN quantity n ON n.path=# AND n.key=t.key"
         " AND n.part=t.part WHERE t.type=# AND t.patient=0 AND t.code=# AND t.span IN (0,1)"
         " AND t.low=% AND t.key=% AND ",
         (int64_t)view->values[path]->key, (int64_t)sql->query->type,
         code_column(sql, view->paths[path], value->text), sql->low, sql->key);
    emit_number(sql, value);
    emit_system(sql, value);
    put(sql, ")");
}

static void emit_value(struct sql *sql, const struct fhir_filter *filter, size_t path_index,
                       const struct fhir_value *value)
{
    const struct fhir_path *path = filter->param->paths[path_index];

    switch (filter->param->param->kind) {
    case FHIR_TOKEN:
        emit_token(sql, path, value);
        break;
    case FHIR_REFERENCE:
        emit_reference(sql, path, value);
        break;
    case FHIR_DATE:
        if (path->role == FHIR_ROLE_DATE) {
            emit_span(sql, value, sql->low, sql->high);
            break;
        }
        emit(sql, "EXISTS(SELECT 1 FROM date t WHERE t.path=# AND t.key=% AND ", (int64_t)path->key,
             sql->key);
        emit_span(sql, value, "t.low", "t.high");
        put(sql, ")");
        break;
    case FHIR_STRING:
        emit(sql, "% IN (SELECT key FROM string WHERE ", sql->key);
        emit_string(sql, path, filter, value);
        put(sql, ")");
        break;
    case FHIR_QUANTITY:
        emit(sql, "EXISTS(SELECT 1 FROM quantity n WHERE n.path=# AND n.key=% AND ",
             (int64_t)path->key, sql->key);
        emit_number(sql, value);
        put(sql, ")");
        break;
    case FHIR_COMPOSITE:
        emit_composite(sql, filter->param, path_index, value);
        break;
    case FHIR_SPECIAL:
        break; /* see emit_filter */
    }
}

static bool is_special(const struct fhir_filter *filter, const char *name)
{
    return strcmp(filter->param->param->name, name) == 0;
}

/* " AND (any value at any path)" */
static void emit_filter(struct sql *sql, const struct fhir_filter *filter)
{
    bool is_first = true;

    put(sql, filter->modifier == FHIR_NOT ? " AND NOT (" : " AND (");
    for (size_t v = 0; v < filter->value_count; v++) {
        const struct fhir_value *value = &filter->values[v];

        if (filter->param->param->kind == FHIR_SPECIAL) {
            put(sql, is_first ? "" : " OR ");
            is_first = false;
            if (is_special(filter, "_id"))
                emit(sql, "r.id=$", value->text);
            else
                emit_updated(sql, value);
        }
        for (size_t p = 0; p < filter->param->path_count; p++) {
            put(sql, is_first ? "" : " OR ");
            is_first = false;
            emit_value(sql, filter, p, value);
        }
    }
    put(sql, is_first ? "0)" : ")");
}

/* ---- the way to the rows ---- */

static bool all_patients(const struct fhir_filter *filter)
{
    for (size_t i = 0; i < filter->value_count; i++)
        if (!is_patient(filter->values[i].text))
            return false;
    return true;
}

static bool all_have_code(const struct fhir_filter *filter)
{
    for (size_t i = 0; i < filter->value_count; i++)
        if (!filter->values[i].has_code)
            return false;
    return true;
}

/* How few rows a filter leaves to look at; 0 = it cannot lead. */
static int leads(const struct sql *sql, const struct fhir_filter *filter)
{
    const struct fhir_param *param = filter->param->param;
    const struct fhir_path *path = filter->param->path_count ? filter->param->paths[0] : NULL;
    bool is_series = fhir_type_is_series(sql->query->type);

    if (filter->modifier != FHIR_PLAIN || filter->value_count == 0)
        return 0;
    switch (param->kind) {
    case FHIR_TOKEN:
        if (is_code_role(path) || !all_have_code(filter))
            return 0;
        return param->is_selective ? 4 : is_series ? 0 : 1;
    case FHIR_REFERENCE:
        if (path->role == FHIR_ROLE_PATIENT) {
            for (size_t i = 0; i < filter->value_count; i++)
                if (is_patient(filter->values[i].text))
                    return 0;
        }
        return param->is_selective ? 4 : 2;
    case FHIR_STRING:
        return 2;
    case FHIR_DATE:
    case FHIR_QUANTITY:
    case FHIR_COMPOSITE:
    case FHIR_SPECIAL:
        return 0;
    }
    return 0;
}

static void choose_way(struct sql *sql)
{
    const struct fhir_query *query = sql->query;
    bool has_id = false;
    int best = 0;

    for (size_t i = 0; i < query->filter_count; i++) {
        const struct fhir_filter *filter = &query->filters[i];
        const struct fhir_path *path = filter->param->path_count ? filter->param->paths[0] : NULL;
        int score = leads(sql, filter);
        bool is_plain = filter->modifier == FHIR_PLAIN && filter->value_count > 0 && path;

        has_id |= is_special(filter, "_id") && filter->value_count > 0;
        if (score > best) {
            best = score;
            sql->values = filter;
        }
        if (is_plain && path->role == FHIR_ROLE_PATIENT && !sql->patients && all_patients(filter))
            sql->patients = filter;
        if (is_plain && filter->param->param->kind == FHIR_TOKEN && is_code_role(path) &&
            !sql->codes && all_have_code(filter))
            sql->codes = filter;
    }
    if (query->only_code || sql->is_for_codes)
        sql->way = BY_TIMELINE;
    else if (has_id)
        sql->way = BY_RESOURCE;
    else if (best == 4)
        sql->way = BY_VALUES;
    else if (sql->patients || sql->codes)
        sql->way = BY_TIMELINE;
    else if (best > 0)
        sql->way = BY_VALUES;
    else if (query->sort == FHIR_SORT_DATE)
        sql->way = BY_TIMELINE;
    else
        sql->way = BY_RESOURCE;
    if (sql->way != BY_TIMELINE)
        sql->patients = sql->codes = NULL;
    if (sql->way != BY_VALUES)
        sql->values = NULL;
    sql->key = sql->way == BY_RESOURCE ? "r.key" : "d.key";
    sql->low = sql->way == BY_TIMELINE ? "d.low" : "r.low";
    sql->high = sql->way == BY_TIMELINE ? "d.high" : "r.high";
}

static const char *sort_column(const struct sql *sql)
{
    switch (sql->query->sort) {
    case FHIR_SORT_DATE:
        return sql->low;
    case FHIR_SORT_UPDATED:
        return "r.updated_us";
    case FHIR_SORT_ID:
        return "r.id";
    }
    return "";
}

/* All that the way itself has not said. */
static void emit_rest(struct sql *sql)
{
    for (size_t i = 0; i < sql->query->filter_count; i++) {
        const struct fhir_filter *filter = &sql->query->filters[i];

        if (filter == sql->patients || filter == sql->codes || filter == sql->values)
            continue;
        emit_filter(sql, filter);
    }
}

static void emit_page(struct sql *sql)
{
    const struct fhir_query *query = sql->query;
    const char *than = query->is_descending ? "<" : ">";
    const char *way = query->is_descending ? " DESC" : "";

    if (query->has_cursor && query->sort == FHIR_SORT_ID)
        emit(sql, " AND (%,%)%($,#)", sort_column(sql), sql->key, than, query->cursor_text,
             query->cursor_key);
    else if (query->has_cursor)
        emit(sql, " AND (%,%)%(#,#)", sort_column(sql), sql->key, than, query->cursor_number,
             query->cursor_key);
    emit(sql, " ORDER BY 1%,2% LIMIT #", way, way, (int64_t)query->count + 1);
}

/* Bounds on `low` that follow from the dates asked for, so that the range read ends there. */
static void emit_low_bounds(struct sql *sql, int span)
{
    for (size_t i = 0; i < sql->query->filter_count; i++) {
        const struct fhir_filter *filter = &sql->query->filters[i];
        const struct fhir_value *value = filter->values;

        if (filter->param->param->kind != FHIR_DATE || filter->value_count != 1 ||
            filter->param->paths[0]->role != FHIR_ROLE_DATE)
            continue;
        switch (value->prefix) {
        case FHIR_GT:
        case FHIR_GE:
        case FHIR_AP:
            if (span == 0)
                emit(sql, " AND d.low>=#", value->span.low_us - SHORT_SPAN_US);
            break;
        case FHIR_LE:
            emit(sql, " AND d.low<#", value->span.high_us);
            break;
        case FHIR_EB:
            emit(sql, " AND d.low<=#", value->span.low_us);
            break;
        case FHIR_EQ:
            emit(sql, " AND d.low>=# AND d.low<#", value->span.low_us, value->span.high_us);
            break;
        case FHIR_LT:
            emit(sql, " AND d.low<#", value->span.low_us);
            break;
        case FHIR_SA:
            emit(sql, " AND d.low>=#", value->span.high_us);
            break;
        case FHIR_NE:
            break;
        }
    }
}

static bool needs_resource(const struct sql *sql)
{
    if (sql->query->sort != FHIR_SORT_DATE)
        return true;
    for (size_t i = 0; i < sql->query->filter_count; i++)
        if (sql->query->filters[i].param->param->kind == FHIR_SPECIAL)
            return true;
    return false;
}

static void emit_timeline(struct sql *sql, int64_t patient, int64_t code, int span,
                          const struct fhir_value *code_value, bool is_page)
{
    emit(sql, "SELECT % % s, d.key k FROM timeline d", code ? "DISTINCT" : "", sort_column(sql));
    if (needs_resource(sql))
        put(sql, " CROSS JOIN resource r ON r.key=d.key");
    emit(sql, " WHERE d.type=# AND d.patient=# AND d.code=# AND d.span=#",
         (int64_t)sql->query->type, patient, code, (int64_t)span);
    if (code_value && code_value->has_system)
        emit(sql, " AND d.system IN (#,-1)", term(sql, code_value->system));
    emit_low_bounds(sql, span);
    emit_rest(sql);
    if (is_page)
        emit_page(sql);
}

static void emit_timelines(struct sql *sql, bool is_page)
{
    const struct fhir_query *query = sql->query;
    size_t patient_count = sql->patients ? sql->patients->value_count : 1;
    const struct fhir_filter *codes = query->only_code ? NULL : sql->codes;
    size_t value_count = codes ? codes->value_count : 1;
    size_t path_count = codes ? codes->param->path_count : 1;
    bool is_first = true;

    if (patient_count * value_count * path_count * 2 > COMBINATIONS_MAX) {
        sql->status = vg_fail(sql->err, VG_REJECT, "fhir.costly", 0,
                              "%zu patients times %zu codes are more than one search may ask for",
                              patient_count, value_count * path_count);
        return;
    }
    for (size_t n = 0; n < patient_count * value_count * path_count * 2; n++) {
        size_t p = n / 2 % patient_count, rest = n / 2 / patient_count;
        const struct fhir_value *value = codes ? &codes->values[rest / path_count] : NULL;
        int64_t code = query->only_code;

        if (value)
            code = code_column(sql, codes->param->paths[rest % path_count], value->text);
        put(sql, is_first ? "" : " UNION ");
        put(sql, "SELECT s,k FROM (");
        emit_timeline(sql, sql->patients ? term(sql, sql->patients->values[p].text) : 0, code,
                      (int)(n % 2), value, is_page);
        put(sql, ")");
        is_first = false;
    }
}

/* The keys under the driving filter's values. */
static void emit_values(struct sql *sql)
{
    const struct fhir_filter *filter = sql->values;
    bool is_first = true;

    for (size_t v = 0; v < filter->value_count; v++) {
        for (size_t p = 0; p < filter->param->path_count; p++) {
            const struct fhir_value *value = &filter->values[v];
            const struct fhir_path *path = filter->param->paths[p];

            put(sql, is_first ? "" : " UNION ");
            is_first = false;
            if (filter->param->param->kind == FHIR_STRING) {
                put(sql, "SELECT DISTINCT key FROM string WHERE ");
                emit_string(sql, path, filter, value);
            } else {
                emit(sql, "SELECT DISTINCT key FROM token t WHERE t.path=# AND t.text=$",
                     (int64_t)path->key, value->text);
                emit_system(sql, value);
            }
        }
    }
}

static void emit_inner(struct sql *sql, bool is_page)
{
    if (sql->way == BY_TIMELINE) {
        emit_timelines(sql, is_page);
        return;
    }
    emit(sql, "SELECT % s, % k FROM ", sort_column(sql), sql->key);
    if (sql->way == BY_VALUES) {
        put(sql, "(");
        emit_values(sql);
        put(sql, ") d CROSS JOIN resource r ON r.key=d.key WHERE 1");
    } else {
        emit(sql, "resource r WHERE r.type=# AND r.is_deleted=0", (int64_t)sql->query->type);
    }
    emit_rest(sql);
    if (is_page)
        emit_page(sql);
}

static enum vg_status sql_prepare(struct sql *sql, sqlite3_stmt **ret_stmt)
{
    sqlite3_stmt *stmt;
    enum vg_status st = sql->status;

    if (st == VG_OK && !vg_buf_ok(&sql->text))
        st = vg_fail(sql->err, VG_REJECT, "fhir.costly", 0, "the search is too long");
    if (st == VG_OK)
        st = prepare(sql->conn, vg_buf_slice(&sql->text), &stmt, sql->err);
    if (st != VG_OK)
        return st;
    for (size_t i = 0; i < sql->bound_count; i++) {
        const struct bound *bound = &sql->bounds[i];
        int index = (int)i + 1;

        switch (bound->kind) {
        case INT:
            (void)sqlite3_bind_int64(stmt, index, bound->number);
            break;
        case TEXT:
            bind_text(stmt, index, bound->text);
            break;
        case REAL:
            (void)sqlite3_bind_double(stmt, index, bound->real);
            break;
        }
    }
    *ret_stmt = stmt;
    return VG_OK;
}

static enum vg_status search_page(struct sql *sql, struct fhir_found_list *ret_found)
{
    const struct fhir_query *query = sql->query;
    const char *way = query->is_descending ? " DESC" : "";
    sqlite3_stmt *stmt = NULL;
    enum vg_status st;

    put(sql, "SELECT q.s, r.key, r.id, r.version, r.updated_us, 0, r.body FROM (SELECT s,k FROM (");
    emit_inner(sql, true);
    emit(sql, ") ORDER BY s%,k% LIMIT #", way, way, (int64_t)query->count + 1);
    emit(sql, ") q CROSS JOIN resource r ON r.key=q.k ORDER BY q.s%,q.k%", way, way);
    st = sql_prepare(sql, &stmt);
    if (st != VG_OK)
        return st;
    return gather(stmt, query->type, query->count, query->sort == FHIR_SORT_ID, sql->arena,
                  ret_found, sql->err);
}

static enum vg_status search_total(struct sql *sql, uint64_t *ret_total)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st;

    vg_buf_clear(&sql->text);
    sql->bound_count = 0;
    put(sql, "SELECT count(*) FROM (SELECT DISTINCT k FROM (");
    emit_inner(sql, false);
    put(sql, "))");
    st = sql_prepare(sql, &stmt);
    if (st == VG_OK)
        st = vg_db_step(stmt, sql->err);
    if (st == VG_OK)
        *ret_total = (uint64_t)sqlite3_column_int64(stmt, 0);
    finish(stmt);
    return st;
}

/* Now and then from inside SQLite: true ends the statement. */
static int is_too_long(void *ctx)
{
    const struct conn *conn = ctx;

    return conn->deadline_us && vg_mono_us() > conn->deadline_us;
}

static enum vg_status search(void *view, const struct fhir_query *query, struct vg_arena *arena,
                             struct fhir_found_list *ret_found, struct vg_err *err)
{
    struct sql sql = {.conn = view, .arena = arena, .query = query, .err = err};
    struct fhir_found_list found = {0};
    enum vg_status st = VG_OK;

    if (sql.conn->is_writer)
        st = flush(sql.conn->engine, err);
    vg_buf_init(&sql.text, 1u << 20);
    choose_way(&sql);
    sql.conn->deadline_us = vg_mono_us() + SEARCH_TIME_US;
    if (st == VG_OK && !query->is_count_only)
        st = search_page(&sql, &found);
    if (st == VG_OK && (query->wants_total || query->is_count_only))
        st = search_total(&sql, &found.total);
    sql.conn->deadline_us = 0;
    if (st == VG_RETRY && err && err->code && strcmp(err->code, "db.interrupt") == 0)
        st = vg_fail(err, VG_REJECT, "fhir.costly", 0, "the search took too long: ask for less");
    vg_buf_fini(&sql.text);
    if (st == VG_OK)
        *ret_found = found;
    return st;
}

static enum vg_status codes(void *view, const struct fhir_query *query, struct vg_arena *arena,
                            int64_t **ret_codes, size_t *ret_count, struct vg_err *err)
{
    struct sql sql = {
        .conn = view, .arena = arena, .query = query, .is_for_codes = true, .err = err};
    int64_t *list = vg_arena_alloc(arena, FHIR_COUNT_MAX * sizeof(*list)), patient, code = 0;
    sqlite3_stmt *stmt = NULL;
    size_t count = 0;
    enum vg_status st;

    choose_way(&sql);
    assert(sql.patients); /* the core has asked for one */
    if (!list)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the codes of a patient");
    patient = term(&sql, sql.patients->values[0].text);
    if (sql.codes) {
        for (size_t i = 0; i < sql.codes->value_count; i++)
            list[count++] =
                code_column(&sql, sql.codes->param->paths[0], sql.codes->values[i].text);
        *ret_codes = list;
        *ret_count = count;
        return sql.status;
    }
    st = statement(view,
                   "SELECT code FROM timeline WHERE type=? AND patient=? AND code>?"
                   " ORDER BY code LIMIT 1",
                   &stmt, err);
    while (st == VG_OK && count < FHIR_COUNT_MAX) {
        (void)sqlite3_bind_int64(stmt, 1, query->type);
        (void)sqlite3_bind_int64(stmt, 2, patient);
        (void)sqlite3_bind_int64(stmt, 3, code);
        st = vg_db_step(stmt, err);
        if (st == VG_OK)
            code = sqlite3_column_int64(stmt, 0);
        finish(stmt);
        if (st == VG_OK && code % 2 == 0) /* odd ones are components */
            list[count++] = code;
    }
    *ret_codes = list;
    *ret_count = count;
    return st == VG_END || st == VG_OK ? sql.status : st;
}

/* ---- writing ---- */

static enum vg_status put_resource(struct sqlite_engine *engine, const struct fhir_record *record,
                                   int64_t key, bool is_new, struct vg_err *err)
{
    struct fhir_span span =
        record->index ? record->index->span : (struct fhir_span){FHIR_NO_DATE, FHIR_NO_DATE};
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = statement(
        &engine->writer,
        is_new ? "INSERT INTO resource(key, type, id, version, updated_us, is_deleted, low, high,"
                 " body) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
               : "UPDATE resource SET version=?4, updated_us=?5, is_deleted=?6, low=?7, high=?8,"
                 " body=?9 WHERE key=?1",
        &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, key);
    if (is_new) {
        (void)sqlite3_bind_int64(stmt, 2, record->type);
        bind_text(stmt, 3, record->id);
    }
    (void)sqlite3_bind_int64(stmt, 4, (int64_t)record->version);
    (void)sqlite3_bind_int64(stmt, 5, record->updated_us);
    (void)sqlite3_bind_int(stmt, 6, record->is_deleted);
    (void)sqlite3_bind_int64(stmt, 7, span.low_us);
    (void)sqlite3_bind_int64(stmt, 8, span.high_us);
    (void)sqlite3_bind_blob64(stmt, 9, record->body.len ? record->body.ptr : "", record->body.len,
                              SQLITE_STATIC);
    return vg_db_run(stmt, err);
}

static enum vg_status put_change(void *view, int64_t key, uint64_t version, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st =
        statement(view, "INSERT INTO change(key, version) VALUES(?,?)", &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, key);
    (void)sqlite3_bind_int64(stmt, 2, (int64_t)version);
    return vg_db_run(stmt, err);
}

static enum vg_status put_record(void *view, const struct fhir_record *record,
                                 const struct fhir_current *old, const struct fhir_index *old_index,
                                 struct vg_err *err)
{
    struct sqlite_engine *engine = ((struct conn *)view)->engine;
    int64_t key = old->key ? old->key : ++engine->last_key;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = VG_OK;

    if (old->key) {
        /* What is to be deleted may still be waiting. */
        st = flush(engine, err);
        if (st == VG_OK && old_index)
            st = index_rows(engine, record->type, key, old_index, row_delete, err);
        if (st == VG_OK)
            st = statement(view,
                           "INSERT INTO history(key, version, updated_us, is_deleted, body)"
                           " SELECT key, version, updated_us, is_deleted, body FROM resource"
                           " WHERE key=?",
                           &stmt, err);
        if (st != VG_OK)
            return st;
        (void)sqlite3_bind_int64(stmt, 1, key);
        st = vg_db_run(stmt, err);
    }
    if (st == VG_OK)
        st = put_resource(engine, record, key, old->key == 0, err);
    if (st == VG_OK && engine->is_watched[record->type & 255])
        st = put_change(view, key, record->version, err);
    if (st == VG_OK && record->index)
        st = index_rows(engine, record->type, key, record->index, row_add, err);
    return st;
}

static enum vg_status nest(void *view, fhir_work *work, void *ctx, struct vg_err *err)
{
    struct conn *conn = view;
    struct sqlite_engine *engine = conn->engine;
    /* Rows of the work around this one are not to be undone with it. */
    enum vg_status st = flush(engine, err), undone;

    if (st == VG_OK)
        st = run(conn, "SAVEPOINT job", err);
    if (st != VG_OK)
        return st;
    st = work(ctx, view, err);
    if (st == VG_OK)
        st = flush(engine, err);
    if (st != VG_OK) {
        engine->row_count = 0;
        terms_forget_new(engine);
        undone = run(conn, "ROLLBACK TO job", NULL);
        if (undone == VG_OK)
            undone = run(conn, "RELEASE job", NULL);
        return undone == VG_OK
                   ? st
                   : vg_fail(err, VG_RETRY, "fhir.rollback", 0, "a savepoint could not be undone");
    }
    return run(conn, "RELEASE job", err);
}

/* All jobs in one transaction and one fsync. */
static void run_group(struct sqlite_engine *engine, struct job *jobs)
{
    struct conn *conn = &engine->writer;
    struct vg_err err = {0};
    enum vg_status st = run(conn, "BEGIN IMMEDIATE", &err);
    bool has_work = false;

    engine->has_new_terms = false;
    for (struct job *job = jobs; job; job = job->next) {
        job->status = st;
        job->err = err;
        if (st == VG_OK) {
            job->status = nest(conn, job->work, job->ctx, &job->err);
            has_work |= job->status == VG_OK;
        }
        /* A failure of the disk rolls the whole transaction back: nobody may be told it is done. */
        if (st == VG_OK && sqlite3_get_autocommit(conn->db)) {
            st = vg_fail(&err, VG_RETRY, "fhir.transaction", 0, "the transaction was rolled back");
            for (struct job *earlier = jobs; earlier != job->next; earlier = earlier->next) {
                if (earlier->status == VG_OK) {
                    earlier->status = st;
                    earlier->err = err;
                }
            }
        }
    }
    if (st == VG_OK)
        st = run(conn, has_work ? "COMMIT" : "ROLLBACK", &err);
    if (st != VG_OK) {
        for (struct job *job = jobs; job; job = job->next) {
            if (job->status == VG_OK) {
                job->status = st;
                job->err = err;
            }
        }
        if (!sqlite3_get_autocommit(conn->db))
            (void)run(conn, "ROLLBACK", NULL);
        terms_forget_new(engine);
    }
}

static enum vg_status transact(void *self, fhir_work *work, void *ctx, struct vg_err *err)
{
    struct sqlite_engine *engine = self;
    struct job job = {.work = work, .ctx = ctx}, *jobs;

    (void)pthread_mutex_lock(&engine->queue_lock);
    if (engine->last)
        engine->last->next = &job;
    else
        engine->first = &job;
    engine->last = &job;
    while (!job.is_done && engine->is_leading)
        (void)pthread_cond_wait(&engine->queue_moved, &engine->queue_lock);
    if (!job.is_done) {
        jobs = engine->first; /* ours is among them */
        engine->first = engine->last = NULL;
        engine->is_leading = true;
        (void)pthread_mutex_unlock(&engine->queue_lock);
        run_group(engine, jobs);
        (void)pthread_mutex_lock(&engine->queue_lock);
        engine->is_leading = false;
        for (struct job *one = jobs, *next; one; one = next) {
            next = one->next; /* its owner may be gone once it is done */
            one->is_done = true;
        }
        (void)pthread_cond_broadcast(&engine->queue_moved);
    }
    (void)pthread_mutex_unlock(&engine->queue_lock);
    if (job.status != VG_OK && err)
        *err = job.err;
    return job.status;
}

/* ---- the write-ahead log ---- */

/* After each commit, in the leader. */
static int on_commit(void *ctx, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_engine *engine = ctx;

    if (pages < LOG_PAGES_USUAL)
        return SQLITE_OK;
    if (engine->is_nearly_done || pages > LOG_PAGES_MAX) {
        engine->is_nearly_done = false;
        /* Not reaching the end is no failure: the next commit tries again. */
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        return SQLITE_OK;
    }
    (void)pthread_mutex_lock(&engine->log_lock);
    engine->wants_checkpoint = true;
    (void)pthread_cond_signal(&engine->log_moved);
    (void)pthread_mutex_unlock(&engine->log_lock);
    return SQLITE_OK;
}

static void *checkpoint(void *ctx)
{
    struct sqlite_engine *engine = ctx;
    bool is_closing = false;

    while (!is_closing) {
        (void)pthread_mutex_lock(&engine->log_lock);
        while (!engine->wants_checkpoint && !engine->is_closing)
            (void)pthread_cond_wait(&engine->log_moved, &engine->log_lock);
        engine->wants_checkpoint = false;
        is_closing = engine->is_closing;
        (void)pthread_mutex_unlock(&engine->log_lock);
        if (!is_closing &&
            sqlite3_wal_checkpoint_v2(engine->log.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                      NULL) == SQLITE_OK)
            engine->is_nearly_done = true;
    }
    return NULL;
}

/* ---- views ---- */

static enum vg_status view_begin(void *self, void **ret_view, struct vg_err *err)
{
    struct sqlite_engine *engine = self;
    struct conn *conn = NULL;
    enum vg_status st;

    (void)pthread_mutex_lock(&engine->reader_lock);
    while (!conn) {
        for (size_t i = 0; i < READER_COUNT && !conn; i++)
            if (!engine->readers[i].is_lent)
                conn = &engine->readers[i];
        if (!conn)
            (void)pthread_cond_wait(&engine->reader_free, &engine->reader_lock);
    }
    conn->is_lent = true;
    (void)pthread_mutex_unlock(&engine->reader_lock);
    st = run(conn, "BEGIN", err);
    if (st == VG_OK) {
        *ret_view = conn;
        return VG_OK;
    }
    (void)pthread_mutex_lock(&engine->reader_lock);
    conn->is_lent = false;
    (void)pthread_cond_signal(&engine->reader_free);
    (void)pthread_mutex_unlock(&engine->reader_lock);
    return st;
}

static void view_end(void *self, void *view)
{
    struct sqlite_engine *engine = self;
    struct conn *conn = view;

    (void)run(conn, "COMMIT", NULL);
    if (!sqlite3_get_autocommit(conn->db))
        (void)run(conn, "ROLLBACK", NULL);
    (void)pthread_mutex_lock(&engine->reader_lock);
    conn->is_lent = false;
    (void)pthread_cond_signal(&engine->reader_free);
    (void)pthread_mutex_unlock(&engine->reader_lock);
}

/* ---- opening ---- */

static enum vg_status conn_open(struct sqlite_engine *engine, struct conn *conn, bool is_writer,
                                struct vg_err *err)
{
    enum vg_status st;

    conn->engine = engine;
    conn->is_writer = is_writer;
    vg_map_init(&conn->statements);
    st = vg_db_open(engine->path, !is_writer, &conn->db, err);
    if (st == VG_OK)
        sqlite3_progress_handler(conn->db, 10000, is_too_long, conn);
    if (st == VG_OK)
        st = vg_db_exec(conn->db,
                        is_writer ? "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY"
                                  : "PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY",
                        err);
    return st;
}

static void conn_close(struct conn *conn)
{
    if (!conn->engine)
        return;
    vg_map_fini(&conn->statements, finalize);
    vg_db_close(conn->db);
}

static enum vg_status number(struct conn *conn, const char *sql, int64_t *ret_number,
                             struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = statement(conn, sql, &stmt, err);

    if (st == VG_OK)
        st = vg_db_step(stmt, err);
    *ret_number = st == VG_OK ? sqlite3_column_int64(stmt, 0) : 0;
    finish(stmt);
    return st == VG_END ? VG_OK : st;
}

/* Everything that is current, indexed anew: the set of paths is not the one that wrote the index.
 */
static enum vg_status index_rebuild(void *ctx, void *view, struct vg_err *err)
{
    struct sqlite_engine *engine = ctx;
    sqlite3_stmt *all = NULL, *dates = NULL;
    struct vg_arena arena;
    struct fhir_issue issue;
    enum vg_status st = vg_db_exec(engine->writer.db,
                                   "DELETE FROM timeline; DELETE FROM token; DELETE FROM string;"
                                   "DELETE FROM date; DELETE FROM quantity",
                                   err);

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    if (st == VG_OK)
        st = statement(view, "SELECT key, type, body FROM resource WHERE is_deleted=0 ORDER BY key",
                       &all, err);
    if (st == VG_OK)
        st = statement(view, "UPDATE resource SET low=?2, high=?3 WHERE key=?1", &dates, err);
    while (st == VG_OK && (st = vg_db_step(all, err)) == VG_OK) {
        int64_t key = sqlite3_column_int64(all, 0);
        unsigned type = (unsigned)sqlite3_column_int(all, 1);
        struct vg_json *root = NULL;
        struct fhir_index index;

        vg_arena_reset(&arena);
        st = fhir_parse(&arena, blob(all, 2), &root, &issue, err);
        if (st == VG_OK)
            st = fhir_index_make(&arena, type, root, engine->base_url, &index, err);
        if (st != VG_OK)
            break;
        st = index_rows(engine, type, key, &index, row_add, err);
        if (st == VG_OK)
            st = flush(engine, err);
        (void)sqlite3_bind_int64(dates, 1, key);
        (void)sqlite3_bind_int64(dates, 2, index.span.low_us);
        (void)sqlite3_bind_int64(dates, 3, index.span.high_us);
        if (st == VG_OK)
            st = vg_db_run(dates, err);
    }
    finish(all);
    vg_arena_fini(&arena);
    if (st != VG_END && st != VG_OK)
        return st;
    st = statement(view, "INSERT OR REPLACE INTO setting(name, value) VALUES('index', ?)", &all,
                   err);
    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(all, 1, fhir_params_fingerprint());
    return vg_db_run(all, err);
}

static void engine_close(void *self)
{
    struct sqlite_engine *engine = self;

    if (!engine)
        return;
    if (engine->has_checkpointer) {
        (void)pthread_mutex_lock(&engine->log_lock);
        engine->is_closing = true;
        (void)pthread_cond_signal(&engine->log_moved);
        (void)pthread_mutex_unlock(&engine->log_lock);
        (void)pthread_join(engine->checkpointer, NULL);
    }
    conn_close(&engine->log);
    for (size_t i = 0; i < READER_COUNT; i++)
        conn_close(&engine->readers[i]);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        sqlite3_finalize(engine->inserts[i]);
        sqlite3_finalize(engine->deletes[i]);
    }
    conn_close(&engine->writer);
    vg_map_fini(&engine->terms, NULL);
    free(engine->rows);
    (void)pthread_mutex_destroy(&engine->log_lock);
    (void)pthread_cond_destroy(&engine->log_moved);
    (void)pthread_mutex_destroy(&engine->queue_lock);
    (void)pthread_mutex_destroy(&engine->reader_lock);
    (void)pthread_cond_destroy(&engine->queue_moved);
    (void)pthread_cond_destroy(&engine->reader_free);
    free(engine);
}

static enum vg_status engine_open(const struct fhir_config *config, void **ret_self,
                                  struct vg_err *err)
{
    struct sqlite_engine *engine = calloc(1, sizeof(*engine));
    int64_t fingerprint = 0;
    enum vg_status st;

    if (!engine)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the store");
    (void)pthread_mutex_init(&engine->log_lock, NULL);
    (void)pthread_cond_init(&engine->log_moved, NULL);
    (void)pthread_mutex_init(&engine->queue_lock, NULL);
    (void)pthread_mutex_init(&engine->reader_lock, NULL);
    (void)pthread_cond_init(&engine->queue_moved, NULL);
    (void)pthread_cond_init(&engine->reader_free, NULL);
    vg_map_init(&engine->terms);
    (void)snprintf(engine->path, sizeof(engine->path), "%s", config->path);
    engine->base_url = vg_slice_of(config->base_url);
    st = conn_open(engine, &engine->writer, true, err);
    if (st == VG_OK)
        st = vg_db_migrate(engine->writer.db, migrations,
                           (int)(sizeof(migrations) / sizeof(migrations[0])), err);
    for (size_t i = 0; i < TABLE_COUNT && st == VG_OK; i++) {
        st = vg_db_prepare(engine->writer.db, inserts[i], &engine->inserts[i], err);
        if (st == VG_OK)
            st = vg_db_prepare(engine->writer.db, deletes[i], &engine->deletes[i], err);
    }
    if (st == VG_OK)
        st = number(&engine->writer, "SELECT max(key) FROM resource", &engine->last_key, err);
    if (st == VG_OK)
        st = number(&engine->writer, "SELECT value FROM setting WHERE name='index'", &fingerprint,
                    err);
    if (st == VG_OK && fingerprint != fhir_params_fingerprint())
        st = transact(engine, index_rebuild, engine, err);
    for (size_t i = 0; i < READER_COUNT && st == VG_OK; i++)
        st = conn_open(engine, &engine->readers[i], false, err);
    if (st == VG_OK)
        st = conn_open(engine, &engine->log, true, err);
    if (st == VG_OK && pthread_create(&engine->checkpointer, NULL, checkpoint, engine) != 0)
        st = vg_fail(err, VG_RETRY, "fhir.thread", errno, "the checkpointer did not start");
    engine->has_checkpointer = st == VG_OK;
    if (st == VG_OK) {
        (void)sqlite3_wal_hook(engine->writer.db, on_commit, engine);
        *ret_self = engine;
        engine = NULL;
    }
    engine_close(engine);
    return st;
}

static void watch(void *self, unsigned type, bool is_watched)
{
    ((struct sqlite_engine *)self)->is_watched[type & 255] = is_watched;
}

sqlite3 *fhir_sqlite_db(void *view)
{
    return ((struct conn *)view)->db;
}

const struct fhir_engine fhir_engine_sqlite = {
    .name = "sqlite",
    .open = engine_open,
    .close = engine_close,
    .view_begin = view_begin,
    .view_end = view_end,
    .transact = transact,
    .nest = nest,
    .current = current,
    .put = put_record,
    .versions = versions,
    .search = search,
    .codes = codes,
    .history = fhir_sqlite_history,
    .watch = watch,
    .changes = fhir_sqlite_changes,
    .last_change = fhir_sqlite_last_change,
    .drop_changes = fhir_sqlite_drop_changes,
};
