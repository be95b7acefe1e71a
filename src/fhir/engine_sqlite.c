/* engine_sqlite.c -- resources in one SQLite file.
 *
 * TABLES
 *
 *   resource        the current version of each, by a growing key (inserts append); unique (type,
 * id) history         superseded versions by (key, version) timeline        who, what, when: (type,
 * patient, code, span, low, key), without row ids, so that "newest of this patient and code" is one
 * range read of neighbouring rows token           codes, identifiers and references by (path, text,
 * key) string          texts by (path, text, key) date, quantity  by key: they narrow what another
 * table has found, and inserts append term            texts that repeat, as numbers
 *
 * Each resource has a row of the timeline for its patient and for patient 0 (= all), each with each
 * of its codes and with code 0 (= all): any question by patient, by code, by both or by neither is
 * one range. patient and code are numbers out of `term`; the code column is 2n for the n-th term as
 * the resource's code, 2n+1 as a component's. span says within which of fhir_span_us it lasted: so
 * a lower bound on the end of short ones is a lower bound on `low` too, and the range read ends.
 *
 * Rows of timeline and token that would scatter wait in memory first: sqlite_fresh.c.
 *
 * READING
 *
 * A pool of connections, each a snapshot while it is lent out. Readers never wait for the writer.
 *
 * The SQL of a search is made from the query; every value is bound, never printed.
 */
#include "fhir/sqlite_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define STATEMENTS_MAX 200

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
    /* The parts of composites. The rows are made anew, see sqlite_index_rebuild(). */
    "DROP TABLE token; DROP TABLE string; DROP TABLE date;"
    "CREATE TABLE token(path INTEGER NOT NULL, text TEXT NOT NULL, key INTEGER NOT NULL,"
    "  system INTEGER NOT NULL, part INTEGER NOT NULL,"
    "  PRIMARY KEY(path, text, key, system, part)) WITHOUT ROWID;"
    "CREATE TABLE string(path INTEGER NOT NULL, text TEXT NOT NULL, key INTEGER NOT NULL,"
    "  exact TEXT NOT NULL, part INTEGER NOT NULL,"
    "  PRIMARY KEY(path, text, key, exact, part)) WITHOUT ROWID;"
    "CREATE TABLE date(path INTEGER NOT NULL, key INTEGER NOT NULL, part INTEGER NOT NULL,"
    "  low INTEGER NOT NULL, high INTEGER NOT NULL,"
    "  PRIMARY KEY(path, key, part, low, high)) WITHOUT ROWID;"
    "UPDATE setting SET value=0 WHERE name LIKE 'index%'",
    /* Three kinds of spans instead of two; rows that wait (sqlite_fresh.c): none do. */
    "UPDATE setting SET value=0 WHERE name LIKE 'index%'",
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

enum vg_status sqlite_prepare(struct conn *conn, struct vg_slice sql, sqlite3_stmt **ret_stmt,
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

enum vg_status sqlite_statement(struct conn *conn, const char *sql, sqlite3_stmt **ret_stmt,
                                struct vg_err *err)
{
    return sqlite_prepare(conn, vg_slice_of(sql), ret_stmt, err);
}

void sqlite_finish(sqlite3_stmt *stmt)
{
    if (stmt) {
        (void)sqlite3_reset(stmt);
        (void)sqlite3_clear_bindings(stmt);
    }
}

enum vg_status sqlite_run(struct conn *conn, const char *sql, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(conn, sql, &stmt, err);

    return st == VG_OK ? vg_db_run(stmt, err) : st;
}

enum vg_status sqlite_number(struct conn *conn, const char *sql, int64_t *ret_number,
                             struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(conn, sql, &stmt, err);

    if (st == VG_OK)
        st = vg_db_step(stmt, err);
    *ret_number = st == VG_OK ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite_finish(stmt);
    return st == VG_END ? VG_OK : st;
}

enum vg_status sqlite_setting_put(struct sqlite_engine *engine, const char *name, int64_t value,
                                  struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(
        &engine->writer, "INSERT OR REPLACE INTO setting(name, value) VALUES(?,?)", &stmt, err);

    if (st != VG_OK)
        return st;
    sqlite_bind_text(stmt, 1, vg_slice_of(name));
    (void)sqlite3_bind_int64(stmt, 2, value);
    return vg_db_run(stmt, err);
}

/* Borrowed for as long as the statement runs. */
void sqlite_bind_text(sqlite3_stmt *stmt, int index, struct vg_slice text)
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

/* ---- reading ---- */

static enum vg_status current(void *view, unsigned type, struct vg_slice id, struct vg_arena *arena,
                              struct fhir_current *ret_current, struct vg_err *err)
{
    struct fhir_current found = {0};
    sqlite3_stmt *stmt = NULL;
    enum vg_status st =
        sqlite_statement(view,
                         "SELECT key, version, updated_us, is_deleted, body FROM resource"
                         " WHERE type=? AND id=?",
                         &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, type);
    sqlite_bind_text(stmt, 2, id);
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
    sqlite_finish(stmt);
    if (st == VG_OK)
        *ret_current = found;
    return st;
}

/* Rows of (sort, key, id, version, updated_us, is_deleted, body) into a list of at most `max`. */
enum vg_status sqlite_gather(sqlite3_stmt *stmt, unsigned type, size_t max, bool is_by_text,
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
        found->sort_number = is_by_text ? 0 : sqlite3_column_int64(stmt, 0);
        if (is_by_text)
            st = keep(arena, vg_db_text(stmt, 0), &found->sort_text, err);
        else
            st = VG_OK;
        found->key = sqlite3_column_int64(stmt, 1);
        found->resource.type = vg_slice_of(fhir_type_name(type));
        found->resource.version = (uint64_t)sqlite3_column_int64(stmt, 3);
        found->resource.last_updated_us = sqlite3_column_int64(stmt, 4);
        found->resource.is_deleted = sqlite3_column_int(stmt, 5) != 0;
        if (st == VG_OK)
            st = keep(arena, vg_db_text(stmt, 2), &found->resource.id, err);
        if (st == VG_OK)
            st = keep(arena, blob(stmt, 6), &found->resource.body, err);
        if (st != VG_OK)
            break;
    }
    sqlite_finish(stmt);
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
    enum vg_status st = sqlite_statement(
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
    sqlite_bind_text(stmt, 2, id);
    (void)sqlite3_bind_int64(stmt, 3, (int64_t)version);
    (void)sqlite3_bind_int64(stmt, 4, FHIR_COUNT_MAX + 1);
    st = sqlite_gather(stmt, type, FHIR_COUNT_MAX, false, arena, ret_found, err);
    return st == VG_OK && ret_found->count == 0 ? VG_END : st;
}

/* ---- views ---- */

static enum vg_status mark_read(struct conn *conn, struct fresh_mark *ret_mark, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(conn,
                                         "SELECT (SELECT max(key) FROM resource),"
                                         " (SELECT value FROM setting WHERE name='fresh_settled'),"
                                         " (SELECT value FROM setting WHERE name='fresh_changes')",
                                         &stmt, err);

    if (st == VG_OK)
        st = vg_db_step(stmt, err);
    if (st == VG_OK)
        *ret_mark = (struct fresh_mark){.last_key = sqlite3_column_int64(stmt, 0),
                                        .settled = sqlite3_column_int64(stmt, 1),
                                        .changes = sqlite3_column_int64(stmt, 2)};
    sqlite_finish(stmt);
    return st;
}

/* A snapshot, and the rows that wait in it. */
static enum vg_status snapshot_take(struct conn *conn, struct vg_err *err)
{
    struct fresh_mark mark = {0};
    bool is_found = false;
    enum vg_status st = VG_OK;

    while (st == VG_OK && !is_found) {
        st = sqlite_run(conn, "BEGIN", err);
        if (st == VG_OK)
            st = mark_read(conn, &mark, err);
        is_found = st == VG_OK && sqlite_fresh_find(conn->engine, mark, &conn->fresh);
        if (!is_found) /* many commits since: a newer snapshot */
            (void)sqlite_run(conn, "ROLLBACK", NULL);
    }
    return st;
}

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
    st = snapshot_take(conn, err);
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

    (void)sqlite_run(conn, "COMMIT", NULL);
    if (!sqlite3_get_autocommit(conn->db))
        (void)sqlite_run(conn, "ROLLBACK", NULL);
    sqlite_fresh_release(conn->fresh);
    conn->fresh = NULL;
    (void)pthread_mutex_lock(&engine->reader_lock);
    conn->is_lent = false;
    (void)pthread_cond_signal(&engine->reader_free);
    (void)pthread_mutex_unlock(&engine->reader_lock);
}

/* ---- opening ---- */

/* Now and then from inside SQLite: true ends the statement. */
static int is_too_long(void *ctx)
{
    const struct conn *conn = ctx;

    return conn->deadline_us && vg_mono_us() > conn->deadline_us;
}

static enum vg_status conn_open(struct sqlite_engine *engine, struct conn *conn, bool is_writer,
                                struct vg_err *err)
{
    enum vg_status st;

    conn->engine = engine;
    conn->is_writer = is_writer;
    vg_map_init(&conn->statements);
    vg_arena_init(&conn->scratch, FHIR_SCRATCH_BYTES_MAX);
    st = vg_db_open(engine->path, !is_writer, &conn->db, err);
    if (st == VG_OK) {
        sqlite3_progress_handler(conn->db, 10000, is_too_long, conn);
        st = sqlite_functions_add(conn, err);
    }
    if (st == VG_OK)
        st = sqlite_fresh_tables_add(conn, err);
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
    vg_arena_fini(&conn->scratch);
}

/* What waits in memory is of one process: a second one would neither see it nor be seen. */
static enum vg_status lock_take(struct sqlite_engine *engine, struct vg_err *err)
{
    char path[sizeof(engine->path) + 8];

    (void)snprintf(path, sizeof(path), "%s-lock", engine->path);
    engine->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (engine->lock_fd < 0)
        return vg_fail(err, VG_FATAL, "db.open", errno, "%s", path);
    if (flock(engine->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return vg_fail(err, VG_FATAL, "fhir.locked", errno,
                       "another program has the FHIR store %s open", engine->path);
    return VG_OK;
}

static void engine_close(void *self)
{
    struct sqlite_engine *engine = self;

    if (!engine)
        return;
    if (engine->has_tidier) {
        (void)pthread_mutex_lock(&engine->log_lock);
        engine->is_closing = true;
        (void)pthread_cond_signal(&engine->log_moved);
        (void)pthread_mutex_unlock(&engine->log_lock);
        (void)pthread_join(engine->tidier, NULL);
    }
    conn_close(&engine->log);
    for (size_t i = 0; i < READER_COUNT; i++)
        conn_close(&engine->readers[i]);
    for (size_t i = 0; i < STORED_COUNT; i++) {
        sqlite3_finalize(engine->inserts[i]);
        sqlite3_finalize(engine->deletes[i]);
    }
    conn_close(&engine->writer);
    sqlite_fresh_close(engine);
    vg_map_fini(&engine->terms, NULL);
    free(engine->waiting.items);
    free(engine->before.items);
    free(engine->after.items);
    (void)pthread_mutex_destroy(&engine->log_lock);
    (void)pthread_cond_destroy(&engine->log_moved);
    (void)pthread_mutex_destroy(&engine->queue_lock);
    (void)pthread_mutex_destroy(&engine->reader_lock);
    (void)pthread_cond_destroy(&engine->reader_free);
    if (engine->lock_fd >= 0)
        (void)close(engine->lock_fd);
    free(engine);
}

static enum vg_status engine_open(const struct fhir_config *config, void **ret_self,
                                  struct vg_err *err)
{
    struct sqlite_engine *engine = calloc(1, sizeof(*engine));
    int64_t fingerprint = 0;
    pthread_condattr_t by_clock;
    enum vg_status st;

    if (!engine)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the store");
    (void)pthread_mutex_init(&engine->fresh.lock, NULL);
    (void)pthread_mutex_init(&engine->log_lock, NULL);
    (void)pthread_condattr_init(&by_clock);
    (void)pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&engine->log_moved, &by_clock);
    (void)pthread_condattr_destroy(&by_clock);
    (void)pthread_mutex_init(&engine->queue_lock, NULL);
    (void)pthread_mutex_init(&engine->reader_lock, NULL);
    (void)pthread_cond_init(&engine->reader_free, NULL);
    vg_map_init(&engine->terms);
    (void)snprintf(engine->path, sizeof(engine->path), "%s", config->path);
    engine->base_url = vg_slice_of(config->base_url);
    engine->lock_fd = -1;
    st = lock_take(engine, err);
    if (st == VG_OK)
        st = sqlite_fresh_begin(engine, err);
    if (st == VG_OK)
        st = conn_open(engine, &engine->writer, true, err);
    if (st == VG_OK)
        st = vg_db_migrate(engine->writer.db, migrations,
                           (int)(sizeof(migrations) / sizeof(migrations[0])), err);
    for (size_t i = 0; i < STORED_COUNT && st == VG_OK; i++) {
        st = vg_db_prepare(engine->writer.db, sqlite_inserts[i], &engine->inserts[i], err);
        if (st == VG_OK)
            st = vg_db_prepare(engine->writer.db, sqlite_deletes[i], &engine->deletes[i], err);
    }
    if (st == VG_OK)
        st =
            sqlite_number(&engine->writer, "SELECT max(key) FROM resource", &engine->last_key, err);
    if (st == VG_OK)
        st = sqlite_number(&engine->writer, "SELECT value FROM setting WHERE name='index'",
                           &fingerprint, err);
    if (st == VG_OK && fingerprint != fhir_params_fingerprint())
        st = sqlite_index_rebuild(engine, err);
    if (st == VG_OK)
        st = sqlite_fresh_load(engine, err);
    for (size_t i = 0; i < READER_COUNT && st == VG_OK; i++)
        st = conn_open(engine, &engine->readers[i], false, err);
    if (st == VG_OK)
        st = conn_open(engine, &engine->log, true, err);
    if (st == VG_OK && pthread_create(&engine->tidier, NULL, sqlite_tidy, engine) != 0)
        st = vg_fail(err, VG_RETRY, "fhir.thread", errno, "the tidying thread did not start");
    engine->has_tidier = st == VG_OK;
    if (st == VG_OK) {
        (void)sqlite3_wal_hook(engine->writer.db, sqlite_on_commit, engine);
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

const struct fhir_engine fhir_engine_sqlite = {
    .name = "sqlite",
    .open = engine_open,
    .close = engine_close,
    .view_begin = view_begin,
    .view_end = view_end,
    .transact = sqlite_transact,
    .nest = sqlite_nest,
    .current = current,
    .put = sqlite_put,
    .versions = versions,
    .search = sqlite_search,
    .codes = sqlite_codes,
    .history = fhir_sqlite_history,
    .watch = watch,
    .changes = fhir_sqlite_changes,
    .last_change = fhir_sqlite_last_change,
    .drop_changes = fhir_sqlite_drop_changes,
};
