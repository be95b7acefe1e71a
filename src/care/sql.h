/* sql.h -- what the repository needs of an SQL engine. Private to src/care.
 *
 * The repository's statements are plain SQL that SQLite and PostgreSQL both read, with `?` for
 * parameters; an engine runs them. So there is one repository and not one per engine. Adding an
 * engine is two steps: a file engine_<name>.c and a line in sql_engines[].
 *
 * A connection is used by one thread at a time (care.c locks).
 */
#ifndef VG_CARE_SQL_H
#define VG_CARE_SQL_H

#include "base/slice.h"
#include "base/status.h"
#include "care/care.h"

struct sql_value {
    enum { SQL_NULL, SQL_INTEGER, SQL_DOUBLE, SQL_TEXT } type;
    int64_t integer;
    double number;
    struct vg_slice text;
};

static inline struct sql_value sql_i(int64_t value)
{
    return (struct sql_value){.type = SQL_INTEGER, .integer = value};
}

static inline struct sql_value sql_d(double value)
{
    return (struct sql_value){.type = SQL_DOUBLE, .number = value};
}

/* ptr NULL binds NULL. */
static inline struct sql_value sql_t(struct vg_slice text)
{
    return (struct sql_value){.type = text.ptr ? SQL_TEXT : SQL_NULL, .text = text};
}

static inline struct sql_value sql_null(void)
{
    return (struct sql_value){.type = SQL_NULL};
}

struct sql_row;
/* Texts are borrowed for the call of the row function. */
struct vg_slice sql_text(const struct sql_row *row, int column); /* ptr NULL: NULL */
int64_t sql_integer(const struct sql_row *row, int column);
double sql_number(const struct sql_row *row, int column);
bool sql_is_null(const struct sql_row *row, int column);

/* Not VG_OK ends the walk and is what sql_run() answers. */
typedef enum vg_status sql_row_fn(void *ctx, const struct sql_row *row);

struct sql;

struct sql_engine {
    const char *name;
    enum vg_status (*open)(const struct care_config *config, bool is_reader, struct sql **ret_sql,
                           struct vg_err *err);
    void (*close)(struct sql *sql);
    enum vg_status (*run)(struct sql *sql, const char *statement, const struct sql_value *params,
                          size_t param_count, sql_row_fn *fn, void *ctx, int64_t *ret_changes,
                          struct vg_err *err);
    enum vg_status (*migrate)(struct sql *sql, const char *const *migrations, int count,
                              struct vg_err *err);
    struct vg_slice (*text)(const struct sql_row *row, int column);
    int64_t (*integer)(const struct sql_row *row, int column);
    double (*number)(const struct sql_row *row, int column);
    bool (*is_null)(const struct sql_row *row, int column);
};

struct sql_row {
    const struct sql_engine *engine;
    void *self;
};

/* Every engine's struct begins with this. */
struct sql {
    const struct sql_engine *engine;
};

extern const struct sql_engine sql_engine_sqlite;

/* NULL-terminated; the first one is the default. */
extern const struct sql_engine *const sql_engines[];

/* Runs one statement (a literal: engines cache by its address). fn may be NULL. */
#define SQL_RUN(sql, err, fn, ctx, statement, ...)                                                 \
    sql_run((sql), statement, (const struct sql_value[]){__VA_ARGS__},                             \
            sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value), (fn),      \
            (ctx), NULL, (err))

VG_CHECK enum vg_status sql_run(struct sql *sql, const char *statement,
                                const struct sql_value *params, size_t param_count, sql_row_fn *fn,
                                void *ctx, int64_t *ret_changes /* may be NULL */,
                                struct vg_err *err);

#endif
