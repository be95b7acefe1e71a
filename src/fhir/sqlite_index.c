/* sqlite_index.c -- a resource's index rows, into the tables and out of them.
 *
 * Rows gather until a job ends (or somebody searches in it) and are then written sorted by table
 * and key, so that neighbours go to one page.
 *
 * Texts that repeat are numbers of the table `term`; the writer keeps those it has met.
 */
#include "base/log.h"
#include "fhir/sqlite_int.h"

#include <inttypes.h>
#include <stdlib.h>

#define TERMS_CACHED_MAX 200000
#define LOADED_AT_ONCE 20000
#define REBUILD_STEP 5000  /* resources in one transaction */
#define REBUILD_SORTED 200 /* whose rows are written together */

const char *const sqlite_inserts[STORED_COUNT] = {
    [TIMELINE] =
        ("INSERT OR IGNORE INTO timeline(type, patient, code, span, low, key, part, system,"
         " high) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"),
    [TOKEN] = ("INSERT OR IGNORE INTO token(path, text, key, system, part)"
               " VALUES(?1,?10,?6,?2,?7)"),
    [STRING] = ("INSERT OR IGNORE INTO string(path, text, key, exact, part)"
                " VALUES(?1,?10,?6,?11,?7)"),
    [DATE] = "INSERT OR IGNORE INTO date(path, key, part, low, high) VALUES(?1,?6,?7,?5,?9)",
    [QUANTITY] = ("INSERT OR IGNORE INTO quantity(path, key, part, value, system, code, unit)"
                  " VALUES(?1,?6,?7,?12,?2,?3,?4)"),
};
const char *const sqlite_deletes[STORED_COUNT] = {
    [TIMELINE] = ("DELETE FROM timeline WHERE type=?1 AND patient=?2 AND code=?3 AND span=?4"
                  " AND low=?5 AND key=?6 AND part=?7 AND system=?8"),
    [TOKEN] = "DELETE FROM token WHERE path=?1 AND text=?10 AND key=?6 AND system=?2 AND part=?7",
    [STRING] = "DELETE FROM string WHERE path=?1 AND text=?10 AND key=?6 AND exact=?11 AND part=?7",
    [DATE] = "DELETE FROM date WHERE path=?1 AND key=?6 AND part=?7 AND low=?5 AND high=?9",
    [QUANTITY] = "DELETE FROM quantity WHERE path=?1 AND key=?6 AND part=?7 AND value=?12",
};
/* What a row is ordered by: its primary key, then the rest. Letters are the members of struct row;
 * t, m, v: text, more, value. */
static const struct {
    const char *columns;
    int key_count;
} orders[TABLE_COUNT] = {
    [TIMELINE] = {"abcdefghi", 8}, [TOKEN] = {"atfbg", 5},      [STRING] = {"atfmg", 5},
    [DATE] = {"afgei", 5},         [QUANTITY] = {"afgvbcd", 4}, [FRESH_TIMELINE] = {"abcdefghi", 8},
    [FRESH_TOKEN] = {"atfbg", 5}};

const int64_t fhir_span_us[SPAN_COUNT] = {VG_MINUTE_US, VG_DAY_US, INT64_MAX};

/* ---- terms ---- */

enum vg_status sqlite_term_find(struct conn *conn, struct vg_slice text, int64_t *ret_key,
                                struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(conn, "SELECT key FROM term WHERE text=?", &stmt, err);

    *ret_key = TERM_UNKNOWN;
    if (st != VG_OK)
        return st;
    sqlite_bind_text(stmt, 1, text);
    st = vg_db_step(stmt, err);
    if (st == VG_OK)
        *ret_key = sqlite3_column_int64(stmt, 0);
    sqlite_finish(stmt);
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
    st = sqlite_term_find(&engine->writer, text, &key, err);
    if (st != VG_OK)
        return st;
    if (key == TERM_UNKNOWN) {
        st = sqlite_statement(&engine->writer, "INSERT INTO term(text) VALUES(?)", &stmt, err);
        if (st != VG_OK)
            return st;
        sqlite_bind_text(stmt, 1, text);
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
void sqlite_terms_forget_new(struct sqlite_engine *engine)
{
    if (engine->has_new_terms) {
        vg_map_fini(&engine->terms, NULL);
        vg_map_init(&engine->terms);
    }
    engine->has_new_terms = false;
}

/* ---- index rows ---- */

static enum vg_status row_add(struct rows *rows, const struct row *row, struct vg_err *err)
{
    if (rows->count == rows->capacity) {
        size_t more = rows->capacity ? rows->capacity * 2 : 1024;
        struct row *grown = realloc(rows->items, more * sizeof(*grown));

        if (!grown)
            return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for index rows");
        rows->items = grown;
        rows->capacity = more;
    }
    rows->items[rows->count++] = *row;
    return VG_OK;
}

static int number_order(int64_t x, int64_t y)
{
    return x < y ? -1 : x > y;
}

static int column_order(char column, const struct row *x, const struct row *y)
{
    switch (column) {
    case 'a':
        return number_order(x->a, y->a);
    case 'b':
        return number_order(x->b, y->b);
    case 'c':
        return number_order(x->c, y->c);
    case 'd':
        return number_order(x->d, y->d);
    case 'e':
        return number_order(x->e, y->e);
    case 'f':
        return number_order(x->f, y->f);
    case 'g':
        return number_order(x->g, y->g);
    case 'h':
        return number_order(x->h, y->h);
    case 'i':
        return number_order(x->i, y->i);
    case 't':
        return vg_slice_cmp(x->text, y->text);
    case 'm':
        return vg_slice_cmp(x->more, y->more);
    default:
        return x->value < y->value ? -1 : x->value > y->value;
    }
}

static int order_by(const struct row *x, const struct row *y, bool is_by_key)
{
    const char *columns = orders[x->table].columns;
    int order = number_order((int64_t)x->table, (int64_t)y->table);

    for (int i = 0; order == 0 && columns[i] && (!is_by_key || i < orders[x->table].key_count); i++)
        order = column_order(columns[i], x, y);
    return order;
}

int sqlite_row_order(const struct row *x, const struct row *y)
{
    return order_by(x, y, true);
}

static int whole_order(const void *left, const void *right)
{
    return order_by(left, right, false);
}

static void rows_sort(struct rows *rows)
{
    if (rows->count > 1)
        qsort(rows->items, rows->count, sizeof(*rows->items), whole_order);
}

static enum table settled(enum table table)
{
    return table == FRESH_TIMELINE ? TIMELINE : table == FRESH_TOKEN ? TOKEN : table;
}

static enum vg_status row_run(sqlite3_stmt *stmt, const struct row *row, struct vg_err *err)
{
    const int64_t numbers[] = {row->a, row->b, row->c, row->d, row->e,
                               row->f, row->g, row->h, row->i};
    int count = sqlite3_bind_parameter_count(stmt);

    for (int i = 0; i < 9 && i < count; i++)
        (void)sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    if (count >= 10)
        sqlite_bind_text(stmt, 10, row->text);
    if (count >= 11)
        sqlite_bind_text(stmt, 11, row->more);
    if (count >= 12)
        (void)sqlite3_bind_double(stmt, 12, row->value);
    return vg_db_run(stmt, err);
}

enum vg_status sqlite_row_settle(struct sqlite_engine *engine, const struct row *row,
                                 struct vg_err *err)
{
    return row_run(engine->inserts[settled(row->table)], row, err);
}

/* What the job has gathered goes into the tables, in their order; and to where rows wait. */
enum vg_status sqlite_flush(struct sqlite_engine *engine, struct vg_err *err)
{
    struct rows *rows = &engine->waiting;
    enum vg_status st = VG_OK;
    size_t i = 0;

    rows_sort(rows);
    for (; i < rows->count && rows->items[i].table < STORED_COUNT && st == VG_OK; i++)
        st = row_run(engine->inserts[rows->items[i].table], &rows->items[i], err);
    if (st == VG_OK && i < rows->count)
        st = sqlite_fresh_add(engine, rows->items + i, rows->count - i, err);
    rows->count = 0;
    return st;
}

/* Which of fhir_span_us it is within. */
static int span_of(struct fhir_span span)
{
    /* Unsigned: open ends make the difference larger than an int64_t. */
    uint64_t us = (uint64_t)span.high_us - (uint64_t)span.low_us;
    int n = 0;

    while (n < SPAN_COUNT - 1 && us > (uint64_t)fhir_span_us[n])
        n++;
    return n;
}

static enum vg_status timeline_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                    const struct fhir_index *index, struct rows *rows,
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
        /* A patient's newest rows lie apart from all others', those of all patients side by side.
         */
        struct row row = {.table = p > 0 ? FRESH_TIMELINE : TIMELINE,
                          .a = type,
                          .b = patients[p],
                          .d = span_of(index->span),
                          .e = index->span.low_us,
                          .f = key,
                          .i = index->span.high_us};

        if (st == VG_OK && (p > 0 || has_all))
            st = row_add(rows, &row, err);
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
            st = row_add(rows, &row, err);
        }
    }
    return st;
}

static enum vg_status index_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                 const struct fhir_index *index, struct rows *rows,
                                 struct vg_err *err)
{
    enum vg_status st = timeline_rows(engine, type, key, index, rows, err);

    for (size_t n = 0; n < index->count && st == VG_OK; n++) {
        const struct fhir_index_row *from = &index->rows[n];
        struct row row = {.a = from->path->key, .f = key, .g = from->part, .text = from->text};

        switch (from->kind) {
        case FHIR_TOKEN:
            row.table = from->path->is_scattered ? FRESH_TOKEN : TOKEN;
            row.a += from->is_identifier ? IDENTIFIER_KEY : 0;
            st = from->has_any_system ? VG_OK : term_key(engine, from->system, &row.b, err);
            if (from->has_any_system)
                row.b = SYSTEM_ANY;
            break;
        case FHIR_REFERENCE:
        case FHIR_URI:
            row.table = FRESH_TOKEN;
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
        case FHIR_NUMBER:
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
            st = row_add(rows, &row, err);
    }
    return st;
}

enum vg_status sqlite_index_add(struct sqlite_engine *engine, unsigned type, int64_t key,
                                const struct fhir_index *index, struct vg_err *err)
{
    return index_rows(engine, type, key, index, &engine->waiting, err);
}

/* As they are stored; sorted, and without those that one row stands for. */
static enum vg_status stored_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                  const struct fhir_index *index, struct rows *rows,
                                  struct vg_err *err)
{
    enum vg_status st = VG_OK;
    size_t kept = 0;

    rows->count = 0;
    if (index)
        st = index_rows(engine, type, key, index, rows, err);
    for (size_t i = 0; i < rows->count; i++)
        rows->items[i].table = settled(rows->items[i].table);
    rows_sort(rows);
    for (size_t i = 0; i < rows->count; i++)
        if (i == 0 || sqlite_row_order(&rows->items[kept - 1], &rows->items[i]) != 0)
            rows->items[kept++] = rows->items[i];
    rows->count = kept;
    return st;
}

enum vg_status sqlite_index_change(struct sqlite_engine *engine, unsigned type, int64_t key,
                                   const struct fhir_index *before, const struct fhir_index *after,
                                   struct vg_err *err)
{
    struct rows *old = &engine->before, *new = &engine->after;
    bool is_fresh;
    size_t i = 0, j = 0;
    enum vg_status st = sqlite_flush(engine, err); /* what is to go may still be waiting */

    if (st == VG_OK)
        st = stored_rows(engine, type, key, before, old, err);
    if (st == VG_OK)
        st = stored_rows(engine, type, key, after, new, err);
    /* Of those that wait none may be in its table yet, or all. */
    is_fresh = sqlite_fresh_has(engine, key);
    if (st == VG_OK && is_fresh)
        st = sqlite_fresh_forget(engine, key, err);
    while (st == VG_OK && (i < old->count || j < new->count)) {
        int order = i == old->count   ? 1
                    : j == new->count ? -1
                                      : sqlite_row_order(&old->items[i], &new->items[j]);
        bool is_same = order == 0 && whole_order(&old->items[i], &new->items[j]) == 0;

        if (order <= 0 && !is_same)
            st = row_run(engine->deletes[old->items[i].table], &old->items[i], err);
        if (st == VG_OK && order >= 0 && (!is_same || is_fresh))
            st = row_add(&engine->waiting, &new->items[j], err);
        i += order <= 0;
        j += order >= 0;
    }
    return st;
}

/* ---- rows made anew from the texts ---- */

/* Into engine->waiting. The rows' texts lie in the arena. */
static enum vg_status index_text(struct sqlite_engine *engine, int64_t key, unsigned type,
                                 struct vg_slice body, struct vg_arena *arena,
                                 struct fhir_span *ret_span, struct vg_err *err)
{
    struct vg_json *root = NULL;
    struct fhir_issue issue;
    struct fhir_index index;
    enum vg_status st;

    body = vg_arena_dup(arena, body);
    if (!body.ptr)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the index");
    st = fhir_parse(arena, body, &root, &issue, err);
    if (st == VG_OK)
        st = fhir_index_make(arena, type, root, engine->base_url, &index, err);
    if (st == VG_OK)
        st = index_rows(engine, type, key, &index, &engine->waiting, err);
    if (st == VG_OK)
        *ret_span = index.span;
    return st;
}

static struct vg_slice body_of(sqlite3_stmt *stmt)
{
    const void *body = sqlite3_column_blob(stmt, 2);

    return (struct vg_slice){body, (size_t)sqlite3_column_bytes(stmt, 2)};
}

static enum vg_status load(void *ctx, void *view, struct vg_err *err)
{
    struct sqlite_engine *engine = ctx;
    sqlite3_stmt *stmt = NULL;
    struct fhir_span span;
    struct vg_arena arena;
    enum vg_status st = sqlite_statement(
        view, "SELECT key, type, body FROM resource WHERE key>? AND is_deleted=0 ORDER BY key",
        &stmt, err);

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    if (st == VG_OK)
        (void)sqlite3_bind_int64(stmt, 1, engine->fresh.now.mark.settled);
    while (st == VG_OK && (st = vg_db_step(stmt, err)) == VG_OK) {
        size_t kept = engine->waiting.count, count;

        st = index_text(engine, sqlite3_column_int64(stmt, 0),
                        (unsigned)sqlite3_column_int(stmt, 1), body_of(stmt), &arena, &span, err);
        /* The others are in their tables. */
        count = engine->waiting.count;
        for (size_t i = kept; i < count; i++)
            if (engine->waiting.items[i].table >= STORED_COUNT)
                engine->waiting.items[kept++] = engine->waiting.items[i];
        engine->waiting.count = kept;
        if (st == VG_OK && (kept > LOADED_AT_ONCE || arena.used_bytes > (64u << 20))) {
            st = sqlite_flush(engine, err);
            vg_arena_reset(&arena);
        }
    }
    if (st == VG_END)
        st = sqlite_flush(engine, err);
    sqlite_finish(stmt);
    vg_arena_fini(&arena);
    return st;
}

enum vg_status sqlite_fresh_load(struct sqlite_engine *engine, struct vg_err *err)
{
    struct fresh_mark *mark = &engine->fresh.now.mark;
    struct conn *writer = &engine->writer;
    enum vg_status st =
        sqlite_number(writer, "SELECT max(key) FROM resource", &mark->last_key, err);

    if (st == VG_OK)
        st = sqlite_number(writer, "SELECT value FROM setting WHERE name='fresh_settled'",
                           &mark->settled, err);
    if (st == VG_OK)
        st = sqlite_number(writer, "SELECT value FROM setting WHERE name='fresh_changes'",
                           &mark->changes, err);
    return st == VG_OK ? sqlite_transact(engine, load, engine, err) : st;
}

struct rebuilding {
    struct sqlite_engine *engine;
    int64_t next; /* the last key that was done */
    size_t count;
    bool is_first, is_last;
};

static enum vg_status rebuild_step(void *ctx, void *view, struct vg_err *err)
{
    struct rebuilding *in = ctx;
    struct sqlite_engine *engine = in->engine;
    sqlite3_stmt *all = NULL, *dates = NULL;
    struct vg_arena arena;
    int64_t last_key = 0;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    in->count = 0;
    if (in->is_first) {
        st = vg_db_exec(engine->writer.db,
                        "DELETE FROM timeline; DELETE FROM token; DELETE FROM string;"
                        "DELETE FROM date; DELETE FROM quantity",
                        err);
        if (st == VG_OK)
            st = sqlite_number(view, "SELECT max(key) FROM resource", &last_key, err);
        if (st == VG_OK) /* nothing of it will wait */
            st = sqlite_setting_put(engine, "fresh_settled", last_key, err);
        if (st == VG_OK)
            st = sqlite_setting_put(engine, "index", 0, err);
        if (st == VG_OK)
            st = sqlite_setting_put(engine, "index_target", fhir_params_fingerprint(), err);
    }
    if (st == VG_OK)
        st = sqlite_statement(view,
                              "SELECT key, type, body FROM resource WHERE key>? AND is_deleted=0"
                              " ORDER BY key LIMIT ?",
                              &all, err);
    if (st == VG_OK)
        st = sqlite_statement(view,
                              "UPDATE resource SET low=?2, high=?3 WHERE key=?1"
                              " AND (low<>?2 OR high<>?3)",
                              &dates, err);
    if (st == VG_OK) {
        (void)sqlite3_bind_int64(all, 1, in->next);
        (void)sqlite3_bind_int64(all, 2, REBUILD_STEP);
    }
    while (st == VG_OK && (st = vg_db_step(all, err)) == VG_OK) {
        size_t start = engine->waiting.count;
        struct fhir_span span = {0};

        in->next = sqlite3_column_int64(all, 0);
        in->count++;
        st = index_text(engine, in->next, (unsigned)sqlite3_column_int(all, 1), body_of(all),
                        &arena, &span, err);
        for (; start < engine->waiting.count; start++)
            engine->waiting.items[start].table = settled(engine->waiting.items[start].table);
        if (st == VG_OK) {
            (void)sqlite3_bind_int64(dates, 1, in->next);
            (void)sqlite3_bind_int64(dates, 2, span.low_us);
            (void)sqlite3_bind_int64(dates, 3, span.high_us);
            st = vg_db_run(dates, err);
        }
        if (st == VG_OK && (in->count % REBUILD_SORTED == 0 || arena.used_bytes > (64u << 20))) {
            st = sqlite_flush(engine, err);
            vg_arena_reset(&arena);
        }
    }
    if (st == VG_END)
        st = sqlite_flush(engine, err);
    sqlite_finish(all);
    vg_arena_fini(&arena);
    if (st != VG_OK) {
        engine->waiting.count = 0;
        return st;
    }
    in->is_last = in->count < REBUILD_STEP;
    st = sqlite_setting_put(engine, "index_next", in->next, err);
    if (st == VG_OK && in->is_last)
        st = sqlite_setting_put(engine, "index", fhir_params_fingerprint(), err);
    return st;
}

enum vg_status sqlite_index_rebuild(struct sqlite_engine *engine, struct vg_err *err)
{
    struct rebuilding in = {.engine = engine};
    int64_t done = 0, target = 0, total = 0, started_us = vg_mono_us(), told_us = started_us;
    struct conn *writer = &engine->writer;
    enum vg_status st =
        sqlite_number(writer, "SELECT value FROM setting WHERE name='index_target'", &target, err);

    if (st == VG_OK)
        st = sqlite_number(writer, "SELECT count(*) FROM resource WHERE is_deleted=0", &total, err);
    in.is_first = target != fhir_params_fingerprint();
    if (st == VG_OK && !in.is_first)
        st = sqlite_number(writer, "SELECT value FROM setting WHERE name='index_next'", &in.next,
                           err);
    if (total)
        vg_log(VG_LOG_INFO, "fhir", "fhir.reindex", "%s: %" PRId64 " resources",
               in.is_first ? "the index is made anew" : "the index goes on being made", total);
    while (st == VG_OK && !in.is_last) {
        st = sqlite_transact(engine, rebuild_step, &in, err);
        in.is_first = false;
        done += (int64_t)in.count;
        if (st == VG_OK && !in.is_last && vg_mono_us() - told_us > 5 * VG_SECOND_US) {
            told_us = vg_mono_us();
            vg_log(VG_LOG_INFO, "fhir", "fhir.reindex", "%" PRId64 " of %" PRId64 " resources",
                   done, total);
        }
    }
    if (st == VG_OK && total)
        vg_log(VG_LOG_INFO, "fhir", "fhir.reindex", "done: %" PRId64 " resources in %" PRId64 " s",
               done, (vg_mono_us() - started_us) / VG_SECOND_US);
    return st;
}
