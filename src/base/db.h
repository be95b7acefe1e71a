/* db.h -- SQLite as every store of ours opens it.
 *
 * WAL, synchronous=FULL, foreign keys on, busy timeout, defensive mode; numbered migrations; failed
 * calls become vg_err: SQLITE_FULL, BUSY, IOERR and NOMEM are VG_RETRY, CORRUPT and NOTADB
 * VG_FATAL, CONSTRAINT VG_REJECT. A connection belongs to one thread at a time.
 */
#ifndef VG_BASE_DB_H
#define VG_BASE_DB_H

#include "base/slice.h"
#include "base/status.h"

#include <sqlite3.h>

/* Opens (and makes, mode 0600, unless is_read_only) the file. */
VG_CHECK enum vg_status vg_db_open(const char *path, bool is_read_only, sqlite3 **ret_db,
                                   struct vg_err *err);
void vg_db_close(sqlite3 *db); /* NULL is fine */

/* Runs the migrations that PRAGMA user_version says are missing, each in a transaction of its own.
 * migrations[i] brings version i to i+1. A database newer than `count` is VG_FATAL db.version. */
VG_CHECK enum vg_status vg_db_migrate(sqlite3 *db, const char *const *migrations, int count,
                                      struct vg_err *err);

VG_CHECK enum vg_status vg_db_exec(sqlite3 *db, const char *sql, struct vg_err *err);

/* A prepared statement that is kept (SQLITE_PREPARE_PERSISTENT). */
VG_CHECK enum vg_status vg_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret_stmt,
                                      struct vg_err *err);

/* One step: VG_OK = a row is there, VG_END = done, else as above. Resets the statement on anything
 * but VG_OK. */
VG_CHECK enum vg_status vg_db_step(sqlite3_stmt *stmt, struct vg_err *err);

/* Runs a statement that gives no rows, resets it and clears its bindings. */
VG_CHECK enum vg_status vg_db_run(sqlite3_stmt *stmt, struct vg_err *err);

/* Copied; ptr NULL = NULL. An index that the statement does not have stops the program. */
void vg_db_bind_text(sqlite3_stmt *stmt, int index, struct vg_slice text);
struct vg_slice vg_db_text(sqlite3_stmt *stmt, int column); /* borrowed until the next step */

/* What the last failed call on `db` means. */
enum vg_status vg_db_fail(sqlite3 *db, struct vg_err *err, const char *what);

#endif
