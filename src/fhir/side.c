/* side.c -- see side_int.h. */
#include "fhir/side_int.h"

#include "base/db.h"

#include <stdlib.h>

struct fhir_side {
    pthread_mutex_t lock; /* guards the connection */
    sqlite3 *db;
    char *path;
};

static const char *const migrations[] = {
    "CREATE TABLE client(name TEXT PRIMARY KEY, jwks TEXT NOT NULL, scopes TEXT NOT NULL,"
    "  made_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE token(hash TEXT PRIMARY KEY, client TEXT NOT NULL REFERENCES client(name)"
    "  ON DELETE CASCADE, scopes TEXT NOT NULL, ends_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE assertion(client TEXT NOT NULL, jti TEXT NOT NULL, ends_us INTEGER NOT NULL,"
    "  PRIMARY KEY(client, jti)) WITHOUT ROWID;"
    /* change: the number of the last change that was looked at; events: told so far */
    "CREATE TABLE hook(id TEXT PRIMARY KEY, change INTEGER NOT NULL, events INTEGER NOT NULL,"
    "  told_us INTEGER NOT NULL, failures INTEGER NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE hook_event(id TEXT NOT NULL, number INTEGER NOT NULL, focus TEXT NOT NULL,"
    "  at_us INTEGER NOT NULL, PRIMARY KEY(id, number)) WITHOUT ROWID;"
    "CREATE TABLE import(id TEXT PRIMARY KEY, request TEXT NOT NULL, state TEXT NOT NULL,"
    "  made_us INTEGER NOT NULL, ended_us INTEGER NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE import_file(id TEXT NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL,"
    "  name TEXT NOT NULL, offset INTEGER NOT NULL, done INTEGER NOT NULL,"
    "  refused INTEGER NOT NULL, PRIMARY KEY(id, number)) WITHOUT ROWID;"
    "CREATE TABLE import_error(id TEXT NOT NULL, file TEXT NOT NULL, line INTEGER NOT NULL,"
    "  text TEXT NOT NULL, PRIMARY KEY(id, file, line)) WITHOUT ROWID;",
};

enum vg_status fhir_side_open(const char *path, struct fhir_side **ret_side, struct vg_err *err)
{
    struct fhir_side *side = calloc(1, sizeof(*side));
    enum vg_status st;

    if (!side)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the side database");
    (void)pthread_mutex_init(&side->lock, NULL);
    side->path = strdup(path);
    st = side->path ? vg_db_open(path, false, &side->db, err)
                    : vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for a path");
    if (st == VG_OK)
        st = vg_db_migrate(side->db, migrations, sizeof(migrations) / sizeof(migrations[0]), err);
    if (st != VG_OK) {
        fhir_side_close(side);
        return st;
    }
    *ret_side = side;
    return VG_OK;
}

void fhir_side_close(struct fhir_side *side)
{
    if (!side)
        return;
    vg_db_close(side->db);
    free(side->path);
    (void)pthread_mutex_destroy(&side->lock);
    free(side);
}

const char *fhir_side_path(const struct fhir_side *side)
{
    return side->path;
}

enum vg_status fhir_side_begin(struct fhir_side *side, const char *sql, sqlite3_stmt **ret_stmt,
                               struct vg_err *err)
{
    enum vg_status st;

    if (!side)
        return vg_fail(err, VG_REJECT, "fhir.side", 0, "this service has no side database");
    (void)pthread_mutex_lock(&side->lock);
    st = vg_db_prepare(side->db, sql, ret_stmt, err);
    if (st != VG_OK)
        (void)pthread_mutex_unlock(&side->lock);
    return st;
}

void fhir_side_end(struct fhir_side *side, sqlite3_stmt *stmt)
{
    sqlite3_finalize(stmt);
    (void)pthread_mutex_unlock(&side->lock);
}

enum vg_status fhir_side_run(struct fhir_side *side, const char *sql,
                             const struct fhir_side_args *args, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_side_begin(side, sql, &stmt, err);
    int index = 1;

    if (st != VG_OK)
        return st;
    for (size_t i = 0; i < args->text_count; i++)
        vg_db_bind_text(stmt, index++,
                        args->texts[i].ptr ? args->texts[i] : (struct vg_slice){"", 0});
    for (size_t i = 0; i < args->number_count; i++)
        (void)sqlite3_bind_int64(stmt, index++, args->numbers[i]);
    st = vg_db_run(stmt, err);
    fhir_side_end(side, stmt);
    return st;
}
