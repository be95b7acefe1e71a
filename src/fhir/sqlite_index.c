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
#define SHORT_SPAN_US VG_DAY_US
#define REBUILD_STEP 5000  /* resources in one transaction */
#define REBUILD_SORTED 200 /* whose rows are written together */

const char *const sqlite_inserts[TABLE_COUNT] = {
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
const char *const sqlite_deletes[TABLE_COUNT] = {
    [TIMELINE] = ("DELETE FROM timeline WHERE type=?1 AND patient=?2 AND code=?3 AND span=?4"
                  " AND low=?5 AND key=?6"),
    [TOKEN] = "DELETE FROM token WHERE path=?1 AND text=?10 AND key=?6",
    [STRING] = "DELETE FROM string WHERE path=?1 AND text=?10 AND key=?6",
    [DATE] = "DELETE FROM date WHERE path=?1 AND key=?6",
    [QUANTITY] = "DELETE FROM quantity WHERE path=?1 AND key=?6",
};

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

enum vg_status sqlite_row_add(struct sqlite_engine *engine, const struct row *row,
                              struct vg_err *err)
{
    if (engine->row_count == engine->row_capacity) {
        size_t more = engine->row_capacity ? engine->row_capacity * 2 : 1024;
        struct row *grown = realloc(engine->rows, more * sizeof(*grown));

        if (!grown)
            return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for index rows");
        engine->rows = grown;
        engine->row_capacity = more;
    }
    engine->rows[engine->row_count++] = *row;
    return VG_OK;
}

static int row_order(const void *left, const void *right)
{
    const struct row *x = left, *y = right;
    const int64_t xs[] = {x->a, x->b, x->c, x->d, x->e, x->f};
    const int64_t ys[] = {y->a, y->b, y->c, y->d, y->e, y->f};
    int by_text;

    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    if (x->table == TIMELINE) {
        for (size_t i = 0; i < sizeof(xs) / sizeof(xs[0]); i++)
            if (xs[i] != ys[i])
                return xs[i] < ys[i] ? -1 : 1;
        return 0;
    }
    if (x->a != y->a)
        return x->a < y->a ? -1 : 1;
    by_text = vg_slice_cmp(x->text, y->text);
    if (by_text != 0)
        return by_text;
    return x->f < y->f ? -1 : x->f > y->f;
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

/* What the job has gathered goes into the tables, in their order. */
enum vg_status sqlite_flush(struct sqlite_engine *engine, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    if (engine->row_count > 1)
        qsort(engine->rows, engine->row_count, sizeof(*engine->rows), row_order);
    for (size_t i = 0; i < engine->row_count && st == VG_OK; i++)
        st = row_run(engine->inserts[engine->rows[i].table], &engine->rows[i], err);
    engine->row_count = 0;
    return st;
}

static int span_of(struct fhir_span span)
{
    /* Unsigned: open ends make the difference larger than an int64_t. */
    return (uint64_t)span.high_us - (uint64_t)span.low_us > (uint64_t)SHORT_SPAN_US;
}

enum vg_status sqlite_row_delete(struct sqlite_engine *engine, const struct row *row,
                                 struct vg_err *err)
{
    return row_run(engine->deletes[row->table], row, err);
}

static enum vg_status timeline_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                    const struct fhir_index *index, row_use *use,
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
        struct row row = {.table = TIMELINE,
                          .a = type,
                          .b = patients[p],
                          .d = span_of(index->span),
                          .e = index->span.low_us,
                          .f = key,
                          .i = index->span.high_us};

        if (st == VG_OK && (p > 0 || has_all))
            st = use(engine, &row, err);
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
            st = use(engine, &row, err);
        }
    }
    return st;
}

enum vg_status sqlite_index_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                 const struct fhir_index *index, row_use *use, struct vg_err *err)
{
    enum vg_status st = timeline_rows(engine, type, key, index, use, err);

    for (size_t n = 0; n < index->count && st == VG_OK; n++) {
        const struct fhir_index_row *from = &index->rows[n];
        struct row row = {.a = from->path->key, .f = key, .g = from->part, .text = from->text};

        switch (from->kind) {
        case FHIR_TOKEN:
            row.table = TOKEN;
            row.a += from->is_identifier ? IDENTIFIER_KEY : 0;
            st = from->has_any_system ? VG_OK : term_key(engine, from->system, &row.b, err);
            if (from->has_any_system)
                row.b = SYSTEM_ANY;
            break;
        case FHIR_REFERENCE:
        case FHIR_URI:
            row.table = TOKEN;
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
            st = use(engine, &row, err);
    }
    return st;
}

/* ---- the whole index, anew ---- */

struct rebuilding {
    struct sqlite_engine *engine;
    int64_t next; /* the last key that was done */
    size_t count;
    bool is_first, is_last;
};

static enum vg_status setting_put(void *view, const char *name, int64_t value, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(
        view, "INSERT OR REPLACE INTO setting(name, value) VALUES(?,?)", &stmt, err);

    if (st != VG_OK)
        return st;
    sqlite_bind_text(stmt, 1, vg_slice_of(name));
    (void)sqlite3_bind_int64(stmt, 2, value);
    return vg_db_run(stmt, err);
}

static enum vg_status number_of(void *view, const char *sql, int64_t *ret_number,
                                struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(view, sql, &stmt, err);

    if (st == VG_OK)
        st = vg_db_step(stmt, err);
    *ret_number = st == VG_OK ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite_finish(stmt);
    return st == VG_END ? VG_OK : st;
}

static enum vg_status index_one(struct sqlite_engine *engine, sqlite3_stmt *dates, int64_t key,
                                unsigned type, struct vg_slice body, struct vg_arena *arena,
                                struct vg_err *err)
{
    struct vg_json *root = NULL;
    struct fhir_issue issue;
    struct fhir_index index;
    enum vg_status st;

    body = vg_arena_dup(arena, body); /* the rows' texts lie in it */
    if (!body.ptr)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the index");
    st = fhir_parse(arena, body, &root, &issue, err);
    if (st == VG_OK)
        st = fhir_index_make(arena, type, root, engine->base_url, &index, err);
    if (st == VG_OK)
        st = sqlite_index_rows(engine, type, key, &index, sqlite_row_add, err);
    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(dates, 1, key);
    (void)sqlite3_bind_int64(dates, 2, index.span.low_us);
    (void)sqlite3_bind_int64(dates, 3, index.span.high_us);
    return vg_db_run(dates, err);
}

static enum vg_status rebuild_step(void *ctx, void *view, struct vg_err *err)
{
    struct rebuilding *in = ctx;
    struct sqlite_engine *engine = in->engine;
    sqlite3_stmt *all = NULL, *dates = NULL;
    struct vg_arena arena;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    in->count = 0;
    if (in->is_first) {
        st = vg_db_exec(engine->writer.db,
                        "DELETE FROM timeline; DELETE FROM token; DELETE FROM string;"
                        "DELETE FROM date; DELETE FROM quantity",
                        err);
        if (st == VG_OK)
            st = setting_put(view, "index", 0, err);
        if (st == VG_OK)
            st = setting_put(view, "index_target", fhir_params_fingerprint(), err);
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
        const void *body = sqlite3_column_blob(all, 2);

        in->next = sqlite3_column_int64(all, 0);
        in->count++;
        st = index_one(engine, dates, in->next, (unsigned)sqlite3_column_int(all, 1),
                       (struct vg_slice){body, (size_t)sqlite3_column_bytes(all, 2)}, &arena, err);
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
        engine->row_count = 0;
        return st;
    }
    in->is_last = in->count < REBUILD_STEP;
    st = setting_put(view, "index_next", in->next, err);
    if (st == VG_OK && in->is_last)
        st = setting_put(view, "index", fhir_params_fingerprint(), err);
    return st;
}

enum vg_status sqlite_index_rebuild(struct sqlite_engine *engine, struct vg_err *err)
{
    struct rebuilding in = {.engine = engine};
    int64_t done = 0, target = 0, total = 0, started_us = vg_mono_us(), told_us = started_us;
    struct conn *writer = &engine->writer;
    enum vg_status st =
        number_of(writer, "SELECT value FROM setting WHERE name='index_target'", &target, err);

    if (st == VG_OK)
        st = number_of(writer, "SELECT count(*) FROM resource WHERE is_deleted=0", &total, err);
    in.is_first = target != fhir_params_fingerprint();
    if (st == VG_OK && !in.is_first)
        st = number_of(writer, "SELECT value FROM setting WHERE name='index_next'", &in.next, err);
    if (total)
        vg_log(VG_LOG_INFO, "fhir", "fhir.reindex", "%s: %" PRId64 " resources",
               in.is_first ? "the index is made anew" : "the index goes on being made", total);
    while (st == VG_OK && !in.is_last) {
        st = fhir_engine_sqlite.transact(engine, rebuild_step, &in, err);
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
