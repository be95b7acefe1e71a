/* sqlite_history.c -- the history of a type or of one resource, and the log of changes.
 *
 * History: what stands in `resource` and what stood before in `history`, merged newest first by
 * (updated_us, key, version); both have an index in this order, so a page reads little more than
 * itself. The last row's three numbers are the next page's cursor.
 *
 * Changes: while somebody has asked for a type (watch), put_record adds a row to `change` in the
 * same transaction, numbered in the order of commits. The newest row is never dropped, so a number
 * is never given twice.
 */
#include "base/db.h"
#include "fhir/sqlite_int.h"

#define HISTORY_TIME_US (10 * VG_SECOND_US)
#define COLUMNS(t, r)                                                                              \
    t ".updated_us, " t ".key, " r ".id, " t ".version, " t ".is_deleted, " t ".body, " r ".type"

static enum vg_status take_row(sqlite3_stmt *stmt, struct vg_arena *arena, struct fhir_found *found,
                               struct vg_err *err)
{
    struct vg_slice body = {sqlite3_column_blob(stmt, 5), (size_t)sqlite3_column_bytes(stmt, 5)};

    found->sort_number = sqlite3_column_int64(stmt, 0);
    found->key = sqlite3_column_int64(stmt, 1);
    found->resource = (struct fhir_resource){
        .type = vg_slice_of(fhir_type_name((unsigned)sqlite3_column_int(stmt, 6))),
        .id = vg_arena_dup(arena, vg_db_text(stmt, 2)),
        .version = (uint64_t)sqlite3_column_int64(stmt, 3),
        .last_updated_us = sqlite3_column_int64(stmt, 0),
        .is_deleted = sqlite3_column_int(stmt, 4) != 0,
        .body = body.len ? vg_arena_dup(arena, body) : VG_SLICE("")};
    if (!found->resource.id.ptr || !found->resource.body.ptr)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "the answer is larger than its bound");
    return VG_OK;
}

enum vg_status fhir_sqlite_history(void *view, const struct fhir_history_ask *ask,
                                   struct vg_arena *arena, struct fhir_found_list *ret_found,
                                   struct vg_err *err)
{
#define WINDOW(t)                                                                                  \
    " AND " t ".updated_us>=?3 AND " t ".updated_us<?4 AND (" t ".updated_us," t ".key," t         \
    ".version)<(?5,?6,?7)"
#define OLD                                                                                        \
    " AND coalesce((SELECT n.updated_us FROM history n WHERE n.key=h.key"                          \
    "  AND n.version=h.version+1), r.updated_us)>?8"
    /* Of one resource its few versions are read; of a type both indexes are walked. */
    static const char of_type[] =
        "SELECT " COLUMNS("r", "r") " FROM resource r INDEXED BY resource_updated WHERE "
                                    "r.type=?1" WINDOW("r") " UNION ALL SELECT " COLUMNS(
                                        "h", "r") " FROM history h INDEXED BY"
                                                  " history_updated CROSS JOIN resource r ON "
                                                  "r.key=h.key AND r.type=?1 WHERE 1" WINDOW("h")
                                                      OLD
        " ORDER BY 1 DESC, 2 DESC, 4 DESC LIMIT ?9";
    static const char of_one[] =
        "SELECT " COLUMNS("r", "r") " FROM resource r WHERE r.type=?1 AND r.id=?2" WINDOW(
            "r") " UNION ALL SELECT " COLUMNS("h", "r") " FROM resource r CROSS JOIN history h"
                                                        " ON h.key=r.key WHERE r.type=?1 AND "
                                                        "r.id=?2" WINDOW("h") OLD
        " ORDER BY 1 DESC, 2 DESC, 4 DESC LIMIT ?9";
    struct fhir_found_list list = {0};
    struct conn *conn = view;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = vg_db_prepare(conn->db, ask->id.len ? of_one : of_type, &stmt, err);

    if (st != VG_OK)
        return st;
    list.items = vg_arena_alloc(arena, (ask->count + 1) * sizeof(*list.items));
    (void)sqlite3_bind_int64(stmt, 1, ask->type);
    if (ask->id.len)
        vg_db_bind_text(stmt, 2, ask->id);
    (void)sqlite3_bind_int64(stmt, 3, ask->since_us);
    (void)sqlite3_bind_int64(stmt, 4, ask->has_at ? ask->at.high_us : INT64_MAX);
    (void)sqlite3_bind_int64(stmt, 5, ask->has_cursor ? ask->cursor_us : INT64_MAX);
    (void)sqlite3_bind_int64(stmt, 6, ask->cursor_key);
    (void)sqlite3_bind_int64(stmt, 7, ask->cursor_version);
    (void)sqlite3_bind_int64(stmt, 8, ask->has_at ? ask->at.low_us : INT64_MIN);
    (void)sqlite3_bind_int64(stmt, 9, (int64_t)ask->count + 1);
    if (!list.items)
        st = vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the history");
    /* A type that is rarely changed among others that are, far back: this would take long. */
    conn->deadline_us = vg_mono_us() + HISTORY_TIME_US;
    while (st == VG_OK && (st = vg_db_step(stmt, err)) == VG_OK) {
        if (list.count == ask->count) {
            list.has_more = true;
            break;
        }
        st = take_row(stmt, arena, &list.items[list.count++], err);
    }
    conn->deadline_us = 0;
    sqlite3_finalize(stmt);
    if (st == VG_RETRY && err && err->code && strcmp(err->code, "db.interrupt") == 0)
        return vg_fail(err, VG_REJECT, "fhir.costly", 0, "this history takes too long: use _since");
    if (st != VG_OK && st != VG_END)
        return st;
    *ret_found = list;
    return VG_OK;
}

enum vg_status fhir_sqlite_last_change(void *view, int64_t *ret_number, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = vg_db_prepare(((struct conn *)view)->db,
                                      "SELECT coalesce(max(seq), 0) FROM change", &stmt, err);

    if (st != VG_OK)
        return st;
    st = vg_db_step(stmt, err);
    if (st == VG_OK)
        *ret_number = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return st;
}

enum vg_status fhir_sqlite_changes(void *view, unsigned type, int64_t after, uint32_t max,
                                   struct vg_arena *arena, struct fhir_found_list *ret_found,
                                   int64_t *ret_last, struct vg_err *err)
{
    /* The version that was written then, wherever it stands now. */
    static const char sql[] =
        "SELECT c.seq, c.key, r.id, c.version, CASE WHEN r.version=c.version THEN r.is_deleted"
        " ELSE h.is_deleted END, CASE WHEN r.version=c.version THEN r.body ELSE h.body END, r.type"
        " FROM change c CROSS JOIN resource r ON r.key=c.key AND r.type=?3 LEFT JOIN history h ON "
        "h.key=c.key"
        " AND h.version=c.version WHERE c.seq>?1 ORDER BY c.seq LIMIT ?2";
    struct fhir_found_list list = {0};
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_sqlite_last_change(view, ret_last, err);

    if (st == VG_OK)
        st = vg_db_prepare(((struct conn *)view)->db, sql, &stmt, err);
    if (st != VG_OK)
        return st;
    list.items = vg_arena_alloc(arena, (max + 1) * sizeof(*list.items));
    (void)sqlite3_bind_int64(stmt, 1, after);
    (void)sqlite3_bind_int64(stmt, 2, max);
    (void)sqlite3_bind_int64(stmt, 3, type);
    if (!list.items)
        st = vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the changes");
    while (st == VG_OK && list.count < max && (st = vg_db_step(stmt, err)) == VG_OK)
        st = take_row(stmt, arena, &list.items[list.count++], err);
    sqlite3_finalize(stmt);
    if (st != VG_OK && st != VG_END)
        return st;
    *ret_found = list;
    return VG_OK;
}

enum vg_status fhir_sqlite_drop_changes(void *view, int64_t before, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = vg_db_prepare(
        ((struct conn *)view)->db,
        "DELETE FROM change WHERE seq<?1 AND seq<(SELECT max(seq) FROM change)", &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, before);
    st = vg_db_run(stmt, err);
    sqlite3_finalize(stmt);
    return st;
}
