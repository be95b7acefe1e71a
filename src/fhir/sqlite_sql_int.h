/* sqlite_sql_int.h -- SQL in the making: what sqlite_search.c and sqlite_filter.c share. */
#ifndef VG_FHIR_SQLITE_SQL_INT_H
#define VG_FHIR_SQLITE_SQL_INT_H

#include "fhir/sqlite_int.h"

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
    const char *key, *low, *high, *resource;
    unsigned type; /* of what the columns above are of */
    enum vg_status status;
    struct vg_err *err;
};

void sql_put(struct sql *sql, const char *text);
/* `format` is SQL with '#' for a number, '$' for a text, '~' for a real (all bound), '%' for a
 * piece of SQL (a column's name). */
void sql_emit(struct sql *sql, const char *format, ...);

int64_t sql_term(struct sql *sql, struct vg_slice text);
int64_t sql_code_column(struct sql *sql, const struct fhir_path *path, struct vg_slice code);
bool sql_is_patient(struct vg_slice reference);
bool sql_is_code_role(const struct fhir_path *path);
bool sql_is_special(const struct fhir_filter *filter, const char *name);
/* The resource that a compartment is named after is in it. */
bool sql_is_own_compartment(const struct sql *sql, const struct fhir_filter *filter);

/* " IN (the filter's references)", as texts or as terms. */
void sql_emit_list(struct sql *sql, const struct fhir_filter *filter, bool is_term);

/* Where the rows of a path of codes or references are. */
const char *sql_tokens(const struct fhir_path *path);
/* On a row `t` of token or timeline. */
void sql_emit_system(struct sql *sql, const struct fhir_value *value);
/* On a row `t` of string. */
void sql_emit_string(struct sql *sql, enum fhir_modifier modifier, const struct fhir_value *value);
/* " AND (any value at any path)" */
void sql_emit_filter(struct sql *sql, const struct fhir_filter *filter);
/* Something of another type points at this resource and passes a filter. */
void sql_emit_has(struct sql *sql, const struct fhir_has *has);

#endif
