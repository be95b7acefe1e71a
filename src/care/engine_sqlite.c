/* engine_sqlite.c -- the repository's SQL on SQLite: statements prepared once per connection. */
#include "base/db.h"
#include "care/sql.h"

#include <errno.h>
#include <stdlib.h>

#define STATEMENTS_MAX 160

struct sqlite_sql {
    struct sql sql; /* first */
    sqlite3 *db;
    struct {
        const char *text; /* the literal's address is the key */
        sqlite3_stmt *stmt;
    } statements[STATEMENTS_MAX];
    size_t statement_count;
};

static void sqlite_close(struct sql *sql)
{
    struct sqlite_sql *self = (struct sqlite_sql *)sql;

    for (size_t i = 0; i < self->statement_count; i++)
        (void)sqlite3_finalize(self->statements[i].stmt); /* repeats the last step's error only */
    vg_db_close(self->db);
    free(self);
}

static enum vg_status sqlite_open(const struct care_config *config, bool is_reader,
                                  struct sql **ret_sql, struct vg_err *err)
{
    struct sqlite_sql *self = calloc(1, sizeof(*self));
    enum vg_status st;

    if (!self)
        return vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "repository");
    self->sql.engine = &sql_engine_sqlite;
    st = vg_db_open(config->path, is_reader, &self->db, err);
    /* Each patient's newest readings are at a place of their own: the writer keeps them all. */
    if (st == VG_OK)
        st = vg_db_exec(self->db,
                        is_reader ? "PRAGMA cache_size=-4096" : "PRAGMA cache_size=-16384", err);
    if (st != VG_OK) {
        sqlite_close(&self->sql);
        return st;
    }
    *ret_sql = &self->sql;
    return VG_OK;
}

static enum vg_status find_statement(struct sqlite_sql *self, const char *text,
                                     sqlite3_stmt **ret_stmt, struct vg_err *err)
{
    enum vg_status st;

    for (size_t i = 0; i < self->statement_count; i++) {
        if (self->statements[i].text == text) {
            *ret_stmt = self->statements[i].stmt;
            return VG_OK;
        }
    }
    if (self->statement_count == STATEMENTS_MAX)
        return vg_fail(err, VG_FATAL, "care.statements", 0, "more than %d statements",
                       STATEMENTS_MAX);
    st = vg_db_prepare(self->db, text, ret_stmt, err);
    if (st != VG_OK)
        return st;
    self->statements[self->statement_count].text = text;
    self->statements[self->statement_count++].stmt = *ret_stmt;
    return VG_OK;
}

/* Out of memory while binding shows in the step. */
static void bind(sqlite3_stmt *stmt, int index, const struct sql_value *value)
{
    switch (value->type) {
    case SQL_NULL:
        (void)sqlite3_bind_null(stmt, index);
        break;
    case SQL_INTEGER:
        (void)sqlite3_bind_int64(stmt, index, value->integer);
        break;
    case SQL_DOUBLE:
        (void)sqlite3_bind_double(stmt, index, value->number);
        break;
    case SQL_TEXT:
        vg_db_bind_text(stmt, index, value->text);
        break;
    }
}

static enum vg_status sqlite_run(struct sql *sql, const char *statement,
                                 const struct sql_value *params, size_t param_count, sql_row_fn *fn,
                                 void *ctx, int64_t *ret_changes, struct vg_err *err)
{
    struct sqlite_sql *self = (struct sqlite_sql *)sql;
    sqlite3_stmt *stmt;
    struct sql_row row;
    enum vg_status st = find_statement(self, statement, &stmt, err);

    if (st != VG_OK)
        return st;
    for (size_t i = 0; i < param_count; i++)
        bind(stmt, (int)i + 1, &params[i]);
    row = (struct sql_row){&sql_engine_sqlite, stmt};
    while ((st = vg_db_step(stmt, err)) == VG_OK) {
        if (fn && (st = fn(ctx, &row)) != VG_OK)
            break;
    }
    (void)sqlite3_reset(stmt); /* its error was reported by the step */
    (void)sqlite3_clear_bindings(stmt);
    if (st == VG_END && ret_changes)
        *ret_changes = sqlite3_changes64(self->db);
    return st == VG_END ? VG_OK : st;
}

static enum vg_status sqlite_migrate(struct sql *sql, const char *const *migrations, int count,
                                     struct vg_err *err)
{
    return vg_db_migrate(((struct sqlite_sql *)sql)->db, migrations, count, err);
}

static struct vg_slice sqlite_text(const struct sql_row *row, int column)
{
    return vg_db_text(row->self, column);
}

static int64_t sqlite_integer(const struct sql_row *row, int column)
{
    return sqlite3_column_int64(row->self, column);
}

static double sqlite_number(const struct sql_row *row, int column)
{
    return sqlite3_column_double(row->self, column);
}

static bool sqlite_is_null(const struct sql_row *row, int column)
{
    return sqlite3_column_type(row->self, column) == SQLITE_NULL;
}

const struct sql_engine sql_engine_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .run = sqlite_run,
    .migrate = sqlite_migrate,
    .text = sqlite_text,
    .integer = sqlite_integer,
    .number = sqlite_number,
    .is_null = sqlite_is_null,
};
