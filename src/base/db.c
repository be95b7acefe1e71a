/* db.c -- how a store of ours opens SQLite, and what SQLite's errors mean to it.
 *
 * Crashes: WAL with synchronous=FULL syncs at each commit, so what was committed survives a power
 * cut. A migration and its version number are one transaction: it is done or it is not.
 */
#include "base/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define DB_BUSY_TIMEOUT_MS 5000
/* Rows of a kilobyte, written at many places of a table at once: half as many pages go through the
 * log. Of a new file only; an old one keeps its own. */
#define DB_PAGE_SIZE "8192"

/* Statistics of SQLite's memory, which nobody reads, take a lock for each allocation. Must come
 * before SQLite's first use; where it does not, it changes nothing. */
static void configure(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

enum vg_status vg_db_fail(sqlite3 *db, struct vg_err *err, const char *what)
{
    static const struct {
        int result;
        enum vg_status status;
        const char *code;
    } meanings[] = {
        {SQLITE_FULL, VG_RETRY, "db.full"},
        {SQLITE_BUSY, VG_RETRY, "db.busy"},
        {SQLITE_LOCKED, VG_RETRY, "db.busy"},
        {SQLITE_IOERR, VG_RETRY, "db.io"},
        {SQLITE_NOMEM, VG_RETRY, "db.memory"},
        {SQLITE_INTERRUPT, VG_RETRY, "db.interrupt"},
        {SQLITE_CORRUPT, VG_FATAL, "db.corrupt"},
        {SQLITE_NOTADB, VG_FATAL, "db.corrupt"},
        {SQLITE_CONSTRAINT, VG_REJECT, "db.constraint"},
        {SQLITE_MISMATCH, VG_REJECT, "db.constraint"},
        {SQLITE_TOOBIG, VG_REJECT, "db.size"},
        {SQLITE_CANTOPEN, VG_FATAL, "db.open"},
        {SQLITE_READONLY, VG_FATAL, "db.readonly"},
    };
    int result = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
    const char *text = db ? sqlite3_errmsg(db) : "out of memory";

    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        if (meanings[i].result == (result & 0xff))
            return vg_fail(err, meanings[i].status, meanings[i].code, 0, "%.120s: %s (SQLite %d)",
                           what, text, result);
    }
    return vg_fail(err, VG_FATAL, "db.error", 0, "%.120s: %s (SQLite %d)", what, text, result);
}

/* SQLite gives its -wal and -shm files the mode of the database file. One that is there is not
 * opened: to close it would let go the locks that other connections of this process have on it, and
 * another process would take its log away from under them. */
static enum vg_status make_private(const char *path, struct vg_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EEXIST)
        return VG_OK;
    if (fd < 0)
        return vg_fail(err, VG_FATAL, "db.open", errno, "%s", path);
    if (close(fd) != 0)
        return vg_fail(err, VG_RETRY, "db.open", errno, "%s", path);
    return VG_OK;
}

enum vg_status vg_db_open(const char *path, bool is_read_only, sqlite3 **ret_db, struct vg_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const int flags =
        SQLITE_OPEN_NOMUTEX |
        (is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    enum vg_status status = VG_OK;
    sqlite3 *db = NULL;

    *ret_db = NULL;
    (void)pthread_once(&once, configure);
    if (!is_read_only && strcmp(path, ":memory:") != 0)
        status = make_private(path, err);
    if (status != VG_OK)
        return status;
    if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK) {
        status = vg_db_fail(db, err, path);
        goto out;
    }
    (void)sqlite3_extended_result_codes(db, 1);
    if (sqlite3_busy_timeout(db, DB_BUSY_TIMEOUT_MS) != SQLITE_OK ||
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK) {
        status = vg_db_fail(db, err, path);
        goto out;
    }
    status = vg_db_exec(db, "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;", err);
    if (status == VG_OK && !is_read_only)
        status = vg_db_exec(db,
                            "PRAGMA page_size=" DB_PAGE_SIZE
                            "; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
                            err);
out:
    if (status != VG_OK) {
        vg_db_close(db);
        db = NULL;
    }
    *ret_db = db;
    return status;
}

void vg_db_close(sqlite3 *db)
{
    (void)sqlite3_close_v2(db); /* never refuses: statements left open end it later */
}

enum vg_status vg_db_exec(sqlite3 *db, const char *sql, struct vg_err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return vg_db_fail(db, err, sql);
    return VG_OK;
}

static enum vg_status read_version(sqlite3 *db, int *ret_version, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status status = vg_db_prepare(db, "PRAGMA user_version", &stmt, err);

    if (status == VG_OK)
        status = vg_db_step(stmt, err);
    if (status == VG_OK)
        *ret_version = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt); /* repeats the step's result */
    return status;
}

static enum vg_status migrate_once(sqlite3 *db, const char *sql, int version, struct vg_err *err)
{
    char set_version[64];
    int found = 0;
    enum vg_status status = vg_db_exec(db, "BEGIN IMMEDIATE", err);

    if (status != VG_OK)
        return status;
    /* Another process may have come first while we waited for the lock. */
    status = read_version(db, &found, err);
    if (status == VG_OK && found < version) {
        (void)snprintf(set_version, sizeof(set_version), "PRAGMA user_version=%d", version);
        status = vg_db_exec(db, sql, err);
        if (status == VG_OK)
            status = vg_db_exec(db, set_version, err);
    }
    if (status == VG_OK)
        status = vg_db_exec(db, "COMMIT", err);
    if (status != VG_OK && !sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* the first failure is what counts */
    return status;
}

enum vg_status vg_db_migrate(sqlite3 *db, const char *const *migrations, int count,
                             struct vg_err *err)
{
    int version = 0;
    enum vg_status status = read_version(db, &version, err);

    if (status == VG_OK && version > count)
        return vg_fail(err, VG_FATAL, "db.version", 0,
                       "the database has version %d, this program knows up to %d: it is newer",
                       version, count);
    for (; status == VG_OK && version < count; version++)
        status = migrate_once(db, migrations[version], version + 1, err);
    return status;
}

enum vg_status vg_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret_stmt,
                             struct vg_err *err)
{
    *ret_stmt = NULL;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL) != SQLITE_OK)
        return vg_db_fail(db, err, sql);
    return VG_OK;
}

enum vg_status vg_db_step(sqlite3_stmt *stmt, struct vg_err *err)
{
    enum vg_status status = VG_END;
    int result = sqlite3_step(stmt);

    if (result == SQLITE_ROW)
        return VG_OK;
    if (result != SQLITE_DONE)
        status = vg_db_fail(sqlite3_db_handle(stmt), err, sqlite3_sql(stmt));
    (void)sqlite3_reset(stmt); /* repeats the step's result */
    return status;
}

enum vg_status vg_db_run(sqlite3_stmt *stmt, struct vg_err *err)
{
    enum vg_status status = vg_db_step(stmt, err);

    if (status == VG_OK) {
        (void)sqlite3_reset(stmt);
        status = vg_fail(err, VG_FATAL, "db.error", 0, "%.120s: a row where none was expected",
                         sqlite3_sql(stmt));
    }
    (void)sqlite3_clear_bindings(stmt);
    return status == VG_END ? VG_OK : status;
}

void vg_db_bind_text(sqlite3_stmt *stmt, int index, struct vg_slice text)
{
    int result = text.ptr ? sqlite3_bind_text64(stmt, index, text.ptr, text.len, SQLITE_TRANSIENT,
                                                SQLITE_UTF8)
                          : sqlite3_bind_null(stmt, index);

    /* An index out of range is our mistake; without memory a NULL would be stored in silence. */
    assert(result == SQLITE_OK);
    (void)result;
}

struct vg_slice vg_db_text(sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return (struct vg_slice){text, text ? (size_t)sqlite3_column_bytes(stmt, column) : 0};
}
