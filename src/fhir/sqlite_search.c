/* sqlite_search.c -- a query becomes SQL. Every value is bound, never printed.
 *
 * First the way to the rows is chosen: by the timeline (patient, code, time), by the values of the
 * most selective filter, or along all resources of the type. All other filters are conditions on
 * what is found there.
 *
 * What no table answers (:missing, sorting by any parameter) is asked of the resource's text, by
 * functions that SQL calls.
 */
#include "fhir/sqlite_sql_int.h"
#include "fhir/tables.h"

#include <assert.h>

#define SCRATCH_KEPT_BYTES ((size_t)16 << 20)
#define SEARCH_TIME_US (10 * VG_SECOND_US)
#define MIXED_MAX 10u
#define COMBINATIONS_MAX 400 /* SQLite joins at most 500 selects */

/* ---- the way to the rows ---- */

/* NULL: no path of the filter says whose the resource is. */
static const struct fhir_path *patient_path(const struct fhir_filter *filter)
{
    for (size_t i = 0; i < filter->param->path_count; i++)
        if (filter->param->paths[i]->role == FHIR_ROLE_PATIENT)
            return filter->param->paths[i];
    return NULL;
}

static bool all_patients(const struct fhir_filter *filter)
{
    for (size_t i = 0; i < filter->value_count; i++)
        if (!sql_is_patient(filter->values[i].text))
            return false;
    return true;
}

/* An id alone may be a patient's or a device's: then the timeline leads to the one and an index of
 * references to the other. Not with so many values that their selects would be too many. */
static bool some_patients(const struct fhir_filter *filter)
{
    bool is_some = false;

    for (size_t i = 0; i < filter->value_count && filter->value_count <= MIXED_MAX; i++)
        is_some |= sql_is_patient(filter->values[i].text);
    return is_some;
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
        if (sql_is_code_role(path) || !all_have_code(filter))
            return 0;
        return param->is_selective ? 4 : is_series ? 0 : 1;
    case FHIR_REFERENCE:
        if (!path || sql_is_own_compartment(sql, filter))
            return 0;
        if (patient_path(filter)) {
            for (size_t i = 0; i < filter->value_count; i++)
                if (sql_is_patient(filter->values[i].text))
                    return 0;
        }
        return param->is_selective ? 4 : 2;
    case FHIR_STRING:
        if (filter->value_count * filter->param->path_count > COMBINATIONS_MAX)
            return 0;
        return param->is_selective ? 4 : 2;
    case FHIR_URI:
        return param->is_selective ? 4 : 2;
    case FHIR_DATE:
    case FHIR_QUANTITY:
    case FHIR_NUMBER:
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

        has_id |= sql_is_special(filter, "_id") && filter->value_count > 0;
        if (score > best) {
            best = score;
            sql->values = filter;
        }
        if (is_plain && patient_path(filter) && !sql->patients &&
            (all_patients(filter) || some_patients(filter)))
            sql->patients = filter;
        if (is_plain && filter->param->param->kind == FHIR_TOKEN && sql_is_code_role(path) &&
            !sql->codes && all_have_code(filter))
            sql->codes = filter;
    }
    if (sql->patients && sql->codes && !all_patients(sql->patients) &&
        sql->codes->value_count > MIXED_MAX)
        sql->patients = NULL;
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
    sql->resource = "r";
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
    case FHIR_SORT_VALUES:
        return "fhir_sort(r.body)";
    }
    return "";
}

/* s: what is sorted by; k: the key; i: the id, where it decides between what is equal. */
static const char *columns(const struct sql *sql)
{
    return sql->query->id_order ? "s,k,i" : "s,k";
}

static const char *id_column(const struct sql *sql)
{
    return sql->query->id_order ? ",r.id i" : "";
}

/* All that the way itself has not said. */
static void emit_rest(struct sql *sql)
{
    for (size_t i = 0; i < sql->query->filter_count; i++) {
        const struct fhir_filter *filter = &sql->query->filters[i];

        /* The one code of $lastn is told by its text alone: the filter knows its system. */
        if (filter == sql->patients || (filter == sql->codes && !sql->query->only_code))
            continue;
        /* Many driving values lead by their texts: the filter knows their systems. */
        if (filter == sql->values &&
            filter->value_count * filter->param->path_count <= COMBINATIONS_MAX)
            continue;
        sql_emit_filter(sql, filter);
    }
    for (size_t i = 0; i < sql->query->has_count; i++)
        sql_emit_has(sql, &sql->query->has[i]);
}

static bool is_by_text(const struct fhir_query *query)
{
    return query->sort == FHIR_SORT_ID || query->sort == FHIR_SORT_VALUES;
}

static void emit_page(struct sql *sql)
{
    const struct fhir_query *query = sql->query;
    const char *than = query->is_descending ? "<" : ">";
    const char *way = query->is_descending ? " DESC" : "";

    const char *up_down = query->id_order < 0 ? " DESC" : "";

    if (query->has_cursor && query->id_order)
        sql_emit(sql, " AND (%%# OR (%=# AND r.id%$))", sort_column(sql), than,
                 query->cursor_number, sort_column(sql), query->cursor_number,
                 query->id_order < 0 ? "<" : ">", query->cursor_id);
    else if (query->has_cursor && is_by_text(query))
        sql_emit(sql, " AND (%,%)%($,#)", sort_column(sql), sql->key, than, query->cursor_text,
                 query->cursor_key);
    else if (query->has_cursor)
        sql_emit(sql, " AND (%,%)%(#,#)", sort_column(sql), sql->key, than, query->cursor_number,
                 query->cursor_key);
    sql_emit(sql, " ORDER BY 1%,%% LIMIT #", way, query->id_order ? "3" : "2",
             query->id_order ? up_down : way, (int64_t)query->count + 1);
}

/* Bounds on `low` that follow from the dates asked for, so that the range read ends there. */
static void emit_low_bounds(struct sql *sql, int span)
{
    for (size_t i = 0; i < sql->query->filter_count; i++) {
        const struct fhir_filter *filter = &sql->query->filters[i];
        const struct fhir_value *value = filter->values;

        if (filter->param->param->kind != FHIR_DATE || filter->modifier != FHIR_PLAIN ||
            filter->value_count != 1 || filter->param->path_count != 1 ||
            filter->param->paths[0]->role != FHIR_ROLE_DATE)
            continue;
        switch (value->prefix) {
        case FHIR_GT:
        case FHIR_GE:
        case FHIR_AP:
            if (span < SPAN_COUNT - 1)
                sql_emit(sql, " AND d.low>=#", value->span.low_us - fhir_span_us[span]);
            break;
        case FHIR_LE:
            sql_emit(sql, " AND d.low<#", value->span.high_us);
            break;
        case FHIR_EB:
            sql_emit(sql, " AND d.low<=#", value->span.low_us);
            break;
        case FHIR_EQ:
            sql_emit(sql, " AND d.low>=# AND d.low<#", value->span.low_us, value->span.high_us);
            break;
        case FHIR_LT:
            sql_emit(sql, " AND d.low<#", value->span.low_us);
            break;
        case FHIR_SA:
            sql_emit(sql, " AND d.low>=#", value->span.high_us);
            break;
        case FHIR_NE:
            break;
        }
    }
}

static bool needs_resource(const struct sql *sql)
{
    if (sql->query->sort != FHIR_SORT_DATE || sql->query->has_count || sql->query->id_order)
        return true;
    for (size_t i = 0; i < sql->query->filter_count; i++)
        if (sql->query->filters[i].param->param->kind == FHIR_SPECIAL ||
            sql_is_own_compartment(sql, &sql->query->filters[i]))
            return true;
    return false;
}

/* Of one kind of span; SPAN_COUNT: what waits in memory, of any. */
static void emit_timeline(struct sql *sql, int64_t patient, int64_t code, int span,
                          const struct fhir_value *code_value, bool is_page)
{
    bool is_fresh = span == SPAN_COUNT;

    sql_emit(sql, "SELECT % % s, d.key k% FROM % d", code ? "DISTINCT" : "", sort_column(sql),
             id_column(sql), is_fresh ? "fresh_timeline" : "timeline");
    if (needs_resource(sql))
        sql_put(sql, " CROSS JOIN resource r ON r.key=d.key");
    sql_emit(sql, " WHERE d.type=# AND d.patient=# AND d.code=#", (int64_t)sql->type, patient,
             code);
    if (!is_fresh)
        sql_emit(sql, " AND d.span=#", (int64_t)span);
    if (code_value && code_value->has_system)
        sql_emit(sql, " AND d.system IN (#,-1)", sql_term(sql, code_value->system));
    emit_low_bounds(sql, span);
    emit_rest(sql);
    if (is_page)
        emit_page(sql);
}

/* Where a filter leads to a patient by other ways, too (a compartment): those rows. */
static void emit_other_ways(struct sql *sql, bool is_page)
{
    const struct fhir_filter *patients = sql->patients, *codes = sql->codes;
    struct sql outer = *sql;

    for (size_t p = 0; p < patients->param->path_count; p++) {
        const struct fhir_path *path = patients->param->paths[p];
        bool is_first = true, has_timeline = path->role == FHIR_ROLE_PATIENT;

        if (has_timeline && all_patients(patients))
            continue;
        sql->low = "r.low";
        sql->high = "r.high";
        sql_emit(sql,
                 " UNION SELECT % FROM (SELECT DISTINCT % s, d.key k% FROM % d"
                 " CROSS JOIN resource r ON r.key=d.key WHERE d.path=# AND d.text IN (",
                 columns(sql), sort_column(sql), id_column(sql), sql_tokens(path),
                 (int64_t)path->key);
        for (size_t i = 0; i < patients->value_count; i++) {
            if (has_timeline && sql_is_patient(patients->values[i].text))
                continue;
            sql_emit(sql, is_first ? "$" : ",$", patients->values[i].text);
            is_first = false;
        }
        sql_put(sql, ")");
        if (codes)
            sql_emit_filter(sql, codes);
        emit_rest(sql);
        if (is_page)
            emit_page(sql);
        sql_put(sql, ")");
        sql->low = outer.low;
        sql->high = outer.high;
    }
}

/* Too many patients times codes for a select each: all of them in one, sorted afterwards. */
static void emit_many(struct sql *sql, const struct fhir_filter *codes, bool is_page)
{
    bool has_system = false;

    sql_emit(sql, "SELECT DISTINCT % s, d.key k% FROM timelines d", sort_column(sql),
             id_column(sql));
    if (needs_resource(sql))
        sql_put(sql, " CROSS JOIN resource r ON r.key=d.key");
    sql_emit(sql, " WHERE d.type=# AND d.span IN (0,1,2) AND d.patient", (int64_t)sql->type);
    if (sql->patients)
        sql_emit_list(sql, sql->patients, true);
    else
        sql_put(sql, "=0");
    if (codes) {
        sql_put(sql, " AND d.code IN (");
        for (size_t i = 0; i < codes->value_count * codes->param->path_count; i++) {
            const struct fhir_value *value = &codes->values[i / codes->param->path_count];

            sql_emit(sql, i ? ",#" : "#",
                     sql_code_column(sql, codes->param->paths[i % codes->param->path_count],
                                     value->text));
            has_system |= value->has_system;
        }
        sql_put(sql, ")");
    } else {
        sql_emit(sql, " AND d.code=#", sql->query->only_code);
    }
    if (has_system)
        sql_emit_filter(sql, codes);
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
    /* Rows of all patients do not wait. */
    size_t kind_count = SPAN_COUNT + (sql->patients ? 1 : 0);
    bool is_first = true;

    if (patient_count * value_count * path_count * kind_count > COMBINATIONS_MAX) {
        emit_many(sql, codes, is_page);
        return;
    }
    for (size_t n = 0; n < patient_count * value_count * path_count * kind_count; n++) {
        size_t p = n / kind_count % patient_count, rest = n / kind_count / patient_count;
        const struct fhir_value *value = codes ? &codes->values[rest / path_count] : NULL;
        int64_t code = query->only_code;

        if (sql->patients && !sql_is_patient(sql->patients->values[p].text))
            continue;
        if (value)
            code = sql_code_column(sql, codes->param->paths[rest % path_count], value->text);
        sql_put(sql, is_first ? "" : " UNION ");
        sql_emit(sql, "SELECT % FROM (", columns(sql));
        emit_timeline(sql, sql->patients ? sql_term(sql, sql->patients->values[p].text) : 0, code,
                      (int)(n % kind_count), value, is_page);
        sql_put(sql, ")");
        is_first = false;
    }
    if (sql->patients && (sql->patients->param->path_count > 1 || !all_patients(sql->patients)))
        emit_other_ways(sql, is_page);
}

/* The keys under the driving filter's values. */
static void emit_values(struct sql *sql)
{
    const struct fhir_filter *filter = sql->values;
    bool is_first = true, is_string = filter->param->param->kind == FHIR_STRING;
    bool has_system = false;

    for (size_t v = 0; v < filter->value_count; v++)
        has_system |= filter->values[v].has_system;
    has_system &= filter->value_count * filter->param->path_count <= COMBINATIONS_MAX;
    for (size_t p = 0; p < filter->param->path_count && !is_string && !has_system; p++) {
        sql_emit(sql, p ? " UNION " : "");
        sql_emit(sql, "SELECT DISTINCT key FROM % t WHERE t.path=# AND t.text",
                 sql_tokens(filter->param->paths[p]), (int64_t)filter->param->paths[p]->key);
        sql_emit_list(sql, filter, false);
    }
    for (size_t v = 0; v < filter->value_count && (is_string || has_system); v++) {
        for (size_t p = 0; p < filter->param->path_count; p++) {
            const struct fhir_value *value = &filter->values[v];
            const struct fhir_path *path = filter->param->paths[p];

            sql_put(sql, is_first ? "" : " UNION ");
            is_first = false;
            if (is_string) {
                sql_emit(sql, "SELECT DISTINCT key FROM string t WHERE t.path=# AND ",
                         (int64_t)path->key);
                sql_emit_string(sql, filter->modifier, value);
            } else {
                sql_emit(sql, "SELECT DISTINCT key FROM % t WHERE t.path=# AND t.text=$",
                         sql_tokens(path), (int64_t)path->key, value->text);
                sql_emit_system(sql, value);
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
    sql_emit(sql, "SELECT % s, % k% FROM ", sort_column(sql), sql->key, id_column(sql));
    if (sql->way == BY_VALUES) {
        sql_put(sql, "(");
        emit_values(sql);
        sql_put(sql, ") d CROSS JOIN resource r ON r.key=d.key WHERE 1");
    } else {
        sql_emit(sql, "resource r WHERE r.type=# AND r.is_deleted=0", (int64_t)sql->type);
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
        st = sqlite_prepare(sql->conn, vg_buf_slice(&sql->text), &stmt, sql->err);
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
            sqlite_bind_text(stmt, index, bound->text);
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
    const char *way = query->is_descending ? " DESC" : "", *tie = query->id_order ? "i" : "k";
    const char *tie_way = query->id_order == 0 ? way : query->id_order < 0 ? " DESC" : "";
    sqlite3_stmt *stmt = NULL;
    enum vg_status st;

    sql_emit(sql,
             "SELECT q.s, r.key, r.id, r.version, r.updated_us, 0, r.body FROM (SELECT % FROM (",
             columns(sql));
    emit_inner(sql, true);
    sql_emit(sql, ") ORDER BY s%,%% LIMIT #", way, tie, tie_way, (int64_t)query->count + 1);
    sql_emit(sql, ") q CROSS JOIN resource r ON r.key=q.k ORDER BY q.s%,q.%%", way, tie, tie_way);
    st = sql_prepare(sql, &stmt);
    if (st != VG_OK)
        return st;
    return sqlite_gather(stmt, query->type, query->count, is_by_text(query), sql->arena, ret_found,
                         sql->err);
}

static enum vg_status search_total(struct sql *sql, uint64_t *ret_total)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st;

    vg_buf_clear(&sql->text);
    sql->bound_count = 0;
    sql_put(sql, "SELECT count(*) FROM (SELECT DISTINCT k FROM (");
    emit_inner(sql, false);
    sql_put(sql, "))");
    st = sql_prepare(sql, &stmt);
    if (st == VG_OK)
        st = vg_db_step(stmt, sql->err);
    if (st == VG_OK)
        *ret_total = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite_finish(stmt);
    return st;
}

enum vg_status sqlite_search(void *view, const struct fhir_query *query, struct vg_arena *arena,
                             struct fhir_found_list *ret_found, struct vg_err *err)
{
    struct sql sql = {
        .conn = view, .arena = arena, .query = query, .type = query->type, .err = err};
    struct fhir_found_list found = {0};
    enum vg_status st = VG_OK;

    if (sql.conn->is_writer)
        st = sqlite_flush(sql.conn->engine, err);
    vg_buf_init(&sql.text, 1u << 20);
    choose_way(&sql);
    sql.conn->deadline_us = vg_mono_us() + SEARCH_TIME_US;
    sql.conn->query = query;
    if (st == VG_OK && !query->is_count_only)
        st = search_page(&sql, &found);
    if (st == VG_OK && (query->wants_total || query->is_count_only))
        st = search_total(&sql, &found.total);
    sql.conn->deadline_us = 0;
    sql.conn->query = NULL;
    if (sql.conn->scratch.peak_bytes > SCRATCH_KEPT_BYTES) { /* one huge text is not held on to */
        vg_arena_fini(&sql.conn->scratch);
        vg_arena_init(&sql.conn->scratch, FHIR_SCRATCH_BYTES_MAX);
    }
    if (st == VG_RETRY && err && err->code && strcmp(err->code, "db.interrupt") == 0)
        st = vg_fail(err, VG_REJECT, "fhir.costly", 0, "the search took too long: ask for less");
    vg_buf_fini(&sql.text);
    if (st == VG_OK)
        *ret_found = found;
    return st;
}

enum vg_status sqlite_codes(void *view, const struct fhir_query *query, struct vg_arena *arena,
                            int64_t **ret_codes, size_t *ret_count, struct vg_err *err)
{
    struct sql sql = {.conn = view,
                      .arena = arena,
                      .query = query,
                      .type = query->type,
                      .is_for_codes = true,
                      .err = err};
    int64_t *list = vg_arena_alloc(arena, FHIR_COUNT_MAX * sizeof(*list)), patient, code = 0;
    sqlite3_stmt *stmt = NULL;
    size_t count = 0;
    enum vg_status st;

    choose_way(&sql);
    assert(sql.patients); /* the core has asked for one */
    if (!list)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the codes of a patient");
    patient = sql_term(&sql, sql.patients->values[0].text);
    if (sql.codes) {
        for (size_t i = 0; i < sql.codes->value_count; i++)
            list[count++] =
                sql_code_column(&sql, sql.codes->param->paths[0], sql.codes->values[i].text);
        *ret_codes = list;
        *ret_count = count;
        return sql.status;
    }
    st = sqlite_statement(view,
                          "SELECT min(c) FROM (SELECT min(code) c FROM timeline"
                          " WHERE type=?1 AND patient=?2 AND code>?3 UNION ALL"
                          " SELECT min(code) FROM fresh_timeline"
                          " WHERE type=?1 AND patient=?2 AND code>?3)",
                          &stmt, err);
    while (st == VG_OK && count < FHIR_COUNT_MAX) {
        (void)sqlite3_bind_int64(stmt, 1, query->type);
        (void)sqlite3_bind_int64(stmt, 2, patient);
        (void)sqlite3_bind_int64(stmt, 3, code);
        st = vg_db_step(stmt, err);
        if (st == VG_OK && sqlite3_column_type(stmt, 0) == SQLITE_NULL)
            st = VG_END;
        if (st == VG_OK)
            code = sqlite3_column_int64(stmt, 0);
        sqlite_finish(stmt);
        if (st == VG_OK && code % 2 == 0) /* odd ones are components */
            list[count++] = code;
    }
    *ret_codes = list;
    *ret_count = count;
    return st == VG_END || st == VG_OK ? sql.status : st;
}

/* ---- asked of the text ---- */

static struct vg_json *body_of(struct conn *conn, sqlite3_value *value)
{
    struct vg_slice body = {sqlite3_value_blob(value), (size_t)sqlite3_value_bytes(value)};
    struct fhir_issue issue;
    struct vg_json *root = NULL;

    vg_arena_reset(&conn->scratch);
    return fhir_parse(&conn->scratch, body, &root, &issue, NULL) == VG_OK ? root : NULL;
}

/* fhir_has(body, view): 1 when the resource has an element for that parameter. */
static void sql_has(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct conn *conn = sqlite3_user_data(context);
    const struct fhir_param_view *view = &fhir_views[sqlite3_value_int64(values[1])];
    const struct vg_json *root = body_of(conn, values[0]);
    bool has = false;

    (void)count;
    if (!root ||
        fhir_has_element(&conn->scratch, view, root, conn->engine->base_url, &has, NULL) != VG_OK)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_int(context, has);
}

/* fhir_has_system(body, type, path, system): 1 when a code at that path is of the system. */
static void sql_has_system(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct conn *conn = sqlite3_user_data(context);
    const struct vg_json *root = body_of(conn, values[0]);
    struct vg_slice system = {(const char *)sqlite3_value_text(values[3]),
                              (size_t)sqlite3_value_bytes(values[3])};
    struct fhir_index index = {0};
    bool has = false;

    (void)count;
    if (!root || fhir_index_make(&conn->scratch, (unsigned)sqlite3_value_int(values[1]), root,
                                 conn->engine->base_url, &index, NULL) != VG_OK) {
        sqlite3_result_error_nomem(context);
        return;
    }
    for (size_t i = 0; i < index.code_count && !has; i++)
        has = (int64_t)index.codes[i].path->key == sqlite3_value_int64(values[2]) &&
              !index.codes[i].has_any_system && vg_slice_eq(index.codes[i].system, system);
    sqlite3_result_int(context, has);
}

/* fhir_sort(body): what the running search orders by. */
static void sql_sort(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct conn *conn = sqlite3_user_data(context);
    const struct vg_json *root = conn->query ? body_of(conn, values[0]) : NULL;
    struct vg_slice text = {0};

    (void)count;
    if (root)
        text = fhir_sort_text(&conn->scratch, conn->query, root, conn->engine->base_url);
    if (!text.ptr)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_text(context, text.ptr, (int)text.len, SQLITE_TRANSIENT);
}

enum vg_status sqlite_functions_add(struct conn *conn, struct vg_err *err)
{
    if (sqlite3_create_function_v2(conn->db, "fhir_has", 2, SQLITE_UTF8, conn, sql_has, NULL, NULL,
                                   NULL) != SQLITE_OK ||
        sqlite3_create_function_v2(conn->db, "fhir_has_system", 4, SQLITE_UTF8, conn,
                                   sql_has_system, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_create_function_v2(conn->db, "fhir_sort", 1, SQLITE_UTF8, conn, sql_sort, NULL,
                                   NULL, NULL) != SQLITE_OK)
        return vg_db_fail(conn->db, err, "functions");
    return VG_OK;
}
