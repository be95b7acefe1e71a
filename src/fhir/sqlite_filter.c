/* sqlite_filter.c -- a search's filters as conditions in SQL. Every value is bound, never printed.
 *
 * A filter is a condition on one resource, whose columns are named in struct sql: so it can be put
 * on what a way found, and on what points at a resource (_has).
 */
#include "fhir/sqlite_sql_int.h"
#include "fhir/tables.h"

#include <stdarg.h>

#define REFERENCES_EACH_MAX 20 /* more are looked up together */

void sql_put(struct sql *sql, const char *text)
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

void sql_emit(struct sql *sql, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (const char *c = format; *c; c++) {
        if (*c == '#') {
            bind(sql, (struct bound){.kind = INT, .number = va_arg(args, int64_t)});
            sql_put(sql, "?");
        } else if (*c == '$') {
            bind(sql, (struct bound){.kind = TEXT, .text = va_arg(args, struct vg_slice)});
            sql_put(sql, "?");
        } else if (*c == '~') {
            bind(sql, (struct bound){.kind = REAL, .real = va_arg(args, double)});
            sql_put(sql, "?");
        } else if (*c == '%') {
            sql_put(sql, va_arg(args, const char *));
        } else {
            vg_buf_put_byte(&sql->text, (uint8_t)*c);
        }
    }
    va_end(args);
}

int64_t sql_term(struct sql *sql, struct vg_slice text)
{
    int64_t key = TERM_UNKNOWN;

    if (text.len == 0)
        return 0;
    if (sql->status == VG_OK)
        sql->status = sqlite_term_find(sql->conn, text, &key, sql->err);
    return key;
}

void sql_emit_system(struct sql *sql, const struct fhir_value *value)
{
    if (value->has_system)
        sql_emit(sql, " AND t.system IN (#,-1)", sql_term(sql, value->system));
}

bool sql_is_patient(struct vg_slice reference)
{
    return vg_slice_starts(reference, VG_SLICE("Patient/"));
}

bool sql_is_code_role(const struct fhir_path *path)
{
    return path->role == FHIR_ROLE_CODE || path->role == FHIR_ROLE_COMPONENT;
}

int64_t sql_code_column(struct sql *sql, const struct fhir_path *path, struct vg_slice code)
{
    int64_t key = sql_term(sql, code);

    return key == TERM_UNKNOWN ? TERM_UNKNOWN : 2 * key + (path->role == FHIR_ROLE_COMPONENT);
}

const char *sql_tokens(const struct fhir_path *path)
{
    return path->is_scattered ? "tokens" : "token";
}

/* Point look-up of this resource in the timeline. Rows of all patients (0) do not wait. */
static void emit_in_timeline(struct sql *sql, int64_t patient, int64_t code)
{
    sql_emit(sql,
             "EXISTS(SELECT 1 FROM % t WHERE t.type=# AND t.patient=# AND t.code=#"
             " AND t.span IN (0,1,2) AND t.low=% AND t.key=%",
             patient ? "timelines" : "timeline", (int64_t)sql->type, patient, code, sql->low,
             sql->key);
}

static void emit_token(struct sql *sql, const struct fhir_path *path, int64_t key,
                       const struct fhir_value *value)
{
    bool is_code = sql_is_code_role(path);

    if (!value->has_code && is_code) {
        /* No table has it in an order that would help: asked of the text. */
        if (sql_term(sql, value->system) == TERM_UNKNOWN)
            sql_put(sql, "0");
        else
            sql_emit(sql, "fhir_has_system((SELECT body FROM resource WHERE key=%),#,#,$)",
                     sql->key, (int64_t)sql->type, key, value->system);
    } else if (!value->has_code) {
        sql_emit(sql, "% IN (SELECT key FROM % WHERE path=# AND system=#)", sql->key,
                 sql_tokens(path), key, sql_term(sql, value->system));
    } else if (is_code) {
        emit_in_timeline(sql, 0, sql_code_column(sql, path, value->text));
        sql_emit_system(sql, value);
        sql_put(sql, ")");
    } else {
        sql_emit(sql, "EXISTS(SELECT 1 FROM % t WHERE t.path=# AND t.text=$ AND t.key=%",
                 sql_tokens(path), key, value->text, sql->key);
        sql_emit_system(sql, value);
        sql_put(sql, ")");
    }
}

static void emit_reference(struct sql *sql, const struct fhir_path *path,
                           const struct fhir_value *value)
{
    if (path->role == FHIR_ROLE_PATIENT && sql_is_patient(value->text)) {
        emit_in_timeline(sql, sql_term(sql, value->text), 0);
        sql_put(sql, ")");
    } else {
        sql_emit(sql, "EXISTS(SELECT 1 FROM tokens t WHERE t.path=# AND t.text=$ AND t.key=%)",
                 (int64_t)path->key, value->text, sql->key);
    }
}

static void emit_span(struct sql *sql, const struct fhir_value *value, const char *low,
                      const char *high)
{
    int64_t from = value->span.low_us, to = value->span.high_us;

    switch (value->prefix) {
    case FHIR_EQ:
        sql_emit(sql, "(%>=# AND %<=#)", low, from, high, to);
        break;
    case FHIR_NE:
        sql_emit(sql, "(%<># AND NOT (%>=# AND %<=#))", low, FHIR_NO_DATE, low, from, high, to);
        break;
    case FHIR_GT:
        sql_emit(sql, "%>#", high, to);
        break;
    case FHIR_LT:
        sql_emit(sql, "(%<# AND %<>#)", low, from, low, FHIR_NO_DATE);
        break;
    case FHIR_GE:
        sql_emit(sql, "(%># OR (%>=# AND %<=#))", high, to, low, from, high, to);
        break;
    case FHIR_LE:
        sql_emit(sql, "((%<# AND %<>#) OR (%>=# AND %<=#))", low, from, low, FHIR_NO_DATE, low,
                 from, high, to);
        break;
    case FHIR_SA:
        sql_emit(sql, "%>=#", low, to);
        break;
    case FHIR_EB:
        sql_emit(sql, "(%<=# AND %<>#)", high, from, low, FHIR_NO_DATE);
        break;
    case FHIR_AP:
        sql_emit(sql, "(%<# AND %># AND %<>#)", low, to, high, from, low, FHIR_NO_DATE);
        break;
    }
}

/* The last update is a point, so its bounds can use the index. */
static void emit_updated(struct sql *sql, const struct fhir_value *value)
{
    int64_t from = value->span.low_us, to = value->span.high_us;
    const char *r = sql->resource;

    switch (value->prefix) {
    case FHIR_EQ:
    case FHIR_AP:
        sql_emit(sql, "(%.updated_us>=# AND %.updated_us<#)", r, from, r, to);
        break;
    case FHIR_NE:
        sql_emit(sql, "(%.updated_us<# OR %.updated_us>=#)", r, from, r, to);
        break;
    case FHIR_GT:
    case FHIR_SA:
        sql_emit(sql, "%.updated_us>=#", r, to);
        break;
    case FHIR_LT:
    case FHIR_EB:
        sql_emit(sql, "%.updated_us<#", r, from);
        break;
    case FHIR_GE:
        sql_emit(sql, "%.updated_us>=#", r, from);
        break;
    case FHIR_LE:
        sql_emit(sql, "%.updated_us<#", r, to);
        break;
    }
}

/* On the columns text and exact of `t`. */
void sql_emit_string(struct sql *sql, enum fhir_modifier modifier, const struct fhir_value *value)
{
    struct vg_slice folded = fhir_fold(sql->arena, value->text);

    if (modifier == FHIR_EXACT)
        sql_emit(sql, "t.text=$ AND t.exact=$", folded, value->text);
    else if (modifier == FHIR_CONTAINS)
        sql_emit(sql, "instr(t.text,$)>0", folded);
    else /* starts with: up to the highest character there is */
        sql_emit(sql, "t.text>=$ AND t.text<$", folded,
                 vg_arena_printf(sql->arena, "%.*s\xf4\x8f\xbf\xbf", VG_FMT(folded)));
}

/* On the columns of `n`, a row of quantity. */
static void emit_number(struct sql *sql, const struct fhir_value *value)
{
    double from = value->from, to = value->to;

    switch (value->prefix) {
    case FHIR_EQ:
        sql_emit(sql, "(n.value>=~ AND n.value<~)", from, to);
        break;
    case FHIR_AP:
        sql_emit(sql, "(n.value>=~ AND n.value<=~)", from, to);
        break;
    case FHIR_NE:
        sql_emit(sql, "(n.value<~ OR n.value>=~)", from, to);
        break;
    case FHIR_GT:
    case FHIR_SA:
        sql_emit(sql, "n.value>~", value->number);
        break;
    case FHIR_LT:
    case FHIR_EB:
        sql_emit(sql, "n.value<~", value->number);
        break;
    case FHIR_GE:
        sql_emit(sql, "n.value>=~", value->number);
        break;
    case FHIR_LE:
        sql_emit(sql, "n.value<=~", value->number);
        break;
    }
    if (value->unit.len && value->has_unit_system)
        sql_emit(sql, " AND n.code=# AND n.system=#", sql_term(sql, value->unit),
                 sql_term(sql, value->unit_system));
    else if (value->unit.len)
        sql_emit(sql, " AND # IN (n.code,n.unit)", sql_term(sql, value->unit));
    else if (value->has_unit_system)
        sql_emit(sql, " AND n.system=#", sql_term(sql, value->unit_system));
}

/* Another part of a composite, which stands beside the row `c` of the first part. */
static void emit_beside(struct sql *sql, const struct fhir_path *path,
                        const struct fhir_value *value)
{
    static const char *const tables[] = {
        [FHIR_TOKEN] = "tokens t",   [FHIR_REFERENCE] = "tokens t", [FHIR_URI] = "tokens t",
        [FHIR_DATE] = "date t",      [FHIR_STRING] = "string t",    [FHIR_QUANTITY] = "quantity n",
        [FHIR_NUMBER] = "quantity n"};
    bool is_number = path->kind == FHIR_QUANTITY || path->kind == FHIR_NUMBER;
    const char *alias = is_number ? "n" : "t";

    /* part 0 is the resource itself, which is beside all its parts */
    sql_emit(sql,
             " AND EXISTS(SELECT 1 FROM % WHERE %.path=# AND %.key=c.key AND c.part IN (0,%.part)"
             " AND ",
             tables[path->kind], alias, (int64_t)path->key, alias, alias);
    switch (path->kind) {
    case FHIR_TOKEN:
        sql_emit(sql, "t.text=$", value->text);
        sql_emit_system(sql, value);
        break;
    case FHIR_REFERENCE:
    case FHIR_URI:
        sql_emit(sql, "t.text=$", value->text);
        break;
    case FHIR_DATE:
        emit_span(sql, value, "t.low", "t.high");
        break;
    case FHIR_STRING:
        sql_emit_string(sql, FHIR_PLAIN, value);
        break;
    case FHIR_QUANTITY:
    case FHIR_NUMBER:
        emit_number(sql, value);
        break;
    case FHIR_COMPOSITE:
    case FHIR_SPECIAL:
        sql_put(sql, "0");
        break;
    }
    sql_put(sql, ")");
}

/* All parts in the resource itself, or all in the same component. */
static void emit_composite(struct sql *sql, const struct fhir_param_view *view, size_t at,
                           const struct fhir_value *value)
{
    const struct fhir_path *path = view->paths[at];

    if (sql_is_code_role(path)) {
        sql_emit(sql,
                 "EXISTS(SELECT 1 FROM timeline c WHERE c.type=# AND c.patient=0 AND c.code=#"
                 " AND c.span IN (0,1,2) AND c.low=% AND c.key=%",
                 (int64_t)sql->type, sql_code_column(sql, path, value->text), sql->low, sql->key);
    } else if (path->kind == FHIR_TOKEN || path->kind == FHIR_REFERENCE || path->kind == FHIR_URI) {
        sql_emit(sql, "EXISTS(SELECT 1 FROM % c WHERE c.path=# AND c.text=$ AND c.key=%",
                 sql_tokens(path), (int64_t)path->key, value->text, sql->key);
    } else { /* no composite of R4 begins with another kind */
        sql_put(sql, "0");
        return;
    }
    if (value->has_system)
        sql_emit(sql, " AND c.system IN (#,-1)", sql_term(sql, value->system));
    if (value->beside)
        emit_beside(sql, view->values[at], value->beside);
    if (value->beside && value->beside->beside)
        emit_beside(sql, view->thirds[at], value->beside->beside);
    sql_put(sql, ")");
}

static void emit_uri(struct sql *sql, const struct fhir_path *path, enum fhir_modifier modifier,
                     const struct fhir_value *value)
{
    if (modifier == FHIR_BELOW)
        sql_emit(sql, "% IN (SELECT key FROM tokens WHERE path=# AND text>=$ AND text<$)", sql->key,
                 (int64_t)path->key, value->text,
                 vg_arena_printf(sql->arena, "%.*s\xf4\x8f\xbf\xbf", VG_FMT(value->text)));
    else if (modifier == FHIR_ABOVE)
        sql_emit(sql,
                 "% IN (SELECT key FROM tokens WHERE path=# AND substr($,1,length(text))=text)",
                 sql->key, (int64_t)path->key, value->text);
    else
        sql_emit(sql, "EXISTS(SELECT 1 FROM tokens t WHERE t.path=# AND t.text=$ AND t.key=%)",
                 (int64_t)path->key, value->text, sql->key);
}

static void emit_value(struct sql *sql, const struct fhir_filter *filter, size_t path_index,
                       const struct fhir_value *value)
{
    const struct fhir_path *path = filter->param->paths[path_index];

    switch (filter->param->param->kind) {
    case FHIR_TOKEN:
        emit_token(sql, path, (int64_t)path->key, value);
        break;
    case FHIR_REFERENCE:
        if (filter->modifier == FHIR_OF_IDENTIFIER)
            emit_token(sql, path, (int64_t)path->key + IDENTIFIER_KEY, value);
        else
            emit_reference(sql, path, value);
        break;
    case FHIR_DATE:
        if (path->role == FHIR_ROLE_DATE) {
            emit_span(sql, value, sql->low, sql->high);
            break;
        }
        sql_emit(sql, "EXISTS(SELECT 1 FROM date t WHERE t.path=# AND t.key=% AND ",
                 (int64_t)path->key, sql->key);
        emit_span(sql, value, "t.low", "t.high");
        sql_put(sql, ")");
        break;
    case FHIR_STRING:
        sql_emit(sql, "% IN (SELECT key FROM string t WHERE t.path=# AND ", sql->key,
                 (int64_t)path->key);
        sql_emit_string(sql, filter->modifier, value);
        sql_put(sql, ")");
        break;
    case FHIR_QUANTITY:
    case FHIR_NUMBER:
        sql_emit(sql, "EXISTS(SELECT 1 FROM quantity n WHERE n.path=# AND n.key=% AND ",
                 (int64_t)path->key, sql->key);
        emit_number(sql, value);
        sql_put(sql, ")");
        break;
    case FHIR_URI:
        emit_uri(sql, path, filter->modifier, value);
        break;
    case FHIR_COMPOSITE:
        emit_composite(sql, filter->param, path_index, value);
        break;
    case FHIR_SPECIAL:
        break; /* see emit_filter */
    }
}

bool sql_is_special(const struct fhir_filter *filter, const char *name)
{
    return strcmp(filter->param->param->name, name) == 0;
}

/* The resource that a compartment is named after is in it. */
bool sql_is_own_compartment(const struct sql *sql, const struct fhir_filter *filter)
{
    return sql_is_special(filter, "_compartment") &&
           strcmp(filter->param->param->target, fhir_type_name(sql->type)) == 0;
}

static void emit_own(struct sql *sql, const struct fhir_filter *filter,
                     const struct fhir_value *value)
{
    struct vg_slice id = value->text;

    if (sql_is_special(filter, "_lastUpdated")) {
        emit_updated(sql, value);
        return;
    }
    if (sql_is_special(filter, "_compartment"))
        (void)vg_slice_cut(&id, '/');
    sql_emit(sql, "%.id=$", sql->resource, id);
}

void sql_emit_list(struct sql *sql, const struct fhir_filter *filter, bool is_term)
{
    sql_put(sql, " IN (");
    for (size_t i = 0; i < filter->value_count; i++) {
        sql_put(sql, i ? "," : "");
        if (is_term)
            sql_emit(sql, "#", sql_term(sql, filter->values[i].text));
        else
            sql_emit(sql, "$", filter->values[i].text);
    }
    sql_put(sql, ")");
}

/* Between two of `count` alternatives. In groups: SQLite takes no expression that is too deep. */
static void emit_or(struct sql *sql, size_t count)
{
    sql_put(sql, count == 0 ? "" : count % 50 ? " OR " : ") OR (");
}

/* Many references, as a chain finds them: what points at any of them is found once. */
static void emit_references(struct sql *sql, const struct fhir_filter *filter)
{
    for (size_t p = 0; p < filter->param->path_count; p++) {
        const struct fhir_path *path = filter->param->paths[p];

        sql_put(sql, p ? " OR " : " AND (");
        if (path->role == FHIR_ROLE_PATIENT) {
            sql_emit(sql,
                     "% IN (SELECT key FROM timelines WHERE type=# AND code=0 AND span IN (0,1,2)"
                     " AND patient",
                     sql->key, (int64_t)sql->type);
            sql_emit_list(sql, filter, true);
            sql_put(sql, ") OR ");
        }
        sql_emit(sql, "% IN (SELECT key FROM tokens WHERE path=# AND text", sql->key,
                 (int64_t)path->key);
        sql_emit_list(sql, filter, false);
        sql_put(sql, ")");
    }
    sql_put(sql, filter->param->path_count ? ")" : " AND 0");
}

/* " AND (any value at any path)" */
void sql_emit_filter(struct sql *sql, const struct fhir_filter *filter)
{
    bool is_first = true;
    size_t count = 0;

    if (filter->modifier == FHIR_MISSING) {
        int64_t view = filter->param - fhir_views;
        bool wants_missing = filter->value_count && filter->values[0].number > 0;

        sql_emit(sql, " AND fhir_has((SELECT body FROM resource WHERE key=%),#)=#", sql->key, view,
                 (int64_t)!wants_missing);
        return;
    }
    if (filter->param->param->kind == FHIR_REFERENCE && filter->modifier == FHIR_PLAIN &&
        filter->value_count > REFERENCES_EACH_MAX && !sql_is_special(filter, "_compartment")) {
        emit_references(sql, filter);
        return;
    }
    sql_put(sql, filter->modifier == FHIR_NOT ? " AND NOT ((" : " AND ((");
    for (size_t v = 0; v < filter->value_count; v++) {
        const struct fhir_value *value = &filter->values[v];

        if (filter->param->param->kind == FHIR_SPECIAL || sql_is_own_compartment(sql, filter)) {
            emit_or(sql, count++);
            is_first = false;
            emit_own(sql, filter, value);
        }
        for (size_t p = 0; p < filter->param->path_count; p++) {
            emit_or(sql, count++);
            is_first = false;
            emit_value(sql, filter, p, value);
        }
    }
    sql_put(sql, is_first ? "0))" : "))");
}

/* Something of another type points at this resource and passes a filter. */
void sql_emit_has(struct sql *sql, const struct fhir_has *has)
{
    const struct fhir_filter *filter = &has->filter;
    struct sql outer = *sql;
    const char *own = fhir_type_name(sql->type);
    int64_t code = 0;

    sql_put(sql, " AND (");
    for (size_t i = 0; i < has->reference->path_count; i++) {
        const struct fhir_path *path = has->reference->paths[i];

        sql_put(sql, i ? " OR " : "");
        if (path->role == FHIR_ROLE_PATIENT && strcmp(own, "Patient") == 0) {
            if (filter->modifier == FHIR_PLAIN && filter->value_count == 1 &&
                filter->param->path_count == 1 && filter->param->param->kind == FHIR_TOKEN &&
                sql_is_code_role(filter->param->paths[0]) && filter->values[0].has_code)
                code = sql_code_column(sql, filter->param->paths[0], filter->values[0].text);
            sql_emit(sql,
                     "EXISTS(SELECT 1 FROM timelines hd CROSS JOIN resource h ON h.key=hd.key"
                     " WHERE hd.type=# AND hd.patient=(SELECT key FROM term"
                     " WHERE text=$||%.id) AND hd.code=# AND hd.span IN (0,1,2)",
                     (int64_t)has->type, VG_SLICE("Patient/"), sql->resource, code);
        } else {
            sql_emit(sql,
                     "EXISTS(SELECT 1 FROM tokens hd CROSS JOIN resource h ON h.key=hd.key"
                     " WHERE hd.path=# AND hd.text=$||%.id",
                     (int64_t)path->key, vg_arena_printf(sql->arena, "%s/", own), sql->resource);
        }
        sql->key = "h.key";
        sql->low = "h.low";
        sql->high = "h.high";
        sql->resource = "h";
        sql->type = has->type;
        sql_emit_filter(sql, filter);
        sql->key = outer.key;
        sql->low = outer.low;
        sql->high = outer.high;
        sql->resource = outer.resource;
        sql->type = outer.type;
        sql_put(sql, ")");
    }
    sql_put(sql, ")");
}
