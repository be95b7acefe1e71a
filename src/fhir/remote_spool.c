/* remote_spool.c -- writes that the FHIR server has not taken yet, on disk.
 *
 * One SQLite table, oldest first. A row is one write; rows of one commit have its number. The
 * sequence number is never used twice (AUTOINCREMENT), so that it can stand for a version: who
 * reads a resource that waits here gets REMOTE_VERSION_SPOOL + seq as its version, and a later
 * write with that as if_match follows it. When the server has taken a row, what follows learns the
 * real version; when it refused the row, what builds on it has nothing to stand on (if_match
 * ORPHAN) and is refused in its turn.
 *
 * Crashes: a commit is there whole or not at all. A row that was sent, but not yet taken out, is
 * sent again: a PUT of what is there already.
 *
 * Threads: any; one lock. The counts are atomic, so that nobody waits while nothing is spooled.
 */
#include "base/db.h"
#include "fhir/remote_int.h"

#include <inttypes.h>
#include <stdlib.h>

#define ORPHAN ((int64_t)-1)

struct remote_spool {
    pthread_mutex_t lock; /* guards all below but the counts */
    sqlite3 *db;
    sqlite3_stmt *add, *newest, *has_type, *oldest, *remove, *rebase, *next_commit;
    uint64_t bytes_max;
    _Atomic uint64_t count, bytes;
};

static const char *const migrations[] = {
    "CREATE TABLE write(seq INTEGER PRIMARY KEY AUTOINCREMENT, commit_no INTEGER NOT NULL,"
    " type INTEGER NOT NULL, id TEXT NOT NULL, is_delete INTEGER NOT NULL,"
    " if_match INTEGER NOT NULL, body BLOB NOT NULL);"
    "CREATE INDEX write_resource ON write(type, id, seq);",
};

static enum vg_status prepare(struct remote_spool *s, struct vg_err *err)
{
    const struct {
        sqlite3_stmt **stmt;
        const char *sql;
    } rows[] = {
        {&s->add, "INSERT INTO write(commit_no, type, id, is_delete, if_match, body)"
                  " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
        {&s->newest, "SELECT seq, commit_no, type, id, is_delete, if_match, body FROM write"
                     " WHERE type = ?1 AND id = ?2 ORDER BY seq DESC LIMIT 1"},
        {&s->has_type, "SELECT 1 FROM write WHERE type = ?1 LIMIT 1"},
        {&s->oldest, "SELECT seq, commit_no, type, id, is_delete, if_match, body FROM write"
                     " ORDER BY seq LIMIT ?1"},
        {&s->remove, "DELETE FROM write WHERE seq = ?1"},
        {&s->rebase,
         "UPDATE write SET if_match = ?4 WHERE type = ?1 AND id = ?2 AND if_match = ?3"},
        {&s->next_commit, "SELECT coalesce(max(commit_no), 0) + 1 FROM write"},
    };
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && st == VG_OK; i++)
        st = vg_db_prepare(s->db, rows[i].sql, rows[i].stmt, err);
    return st;
}

static enum vg_status count_up(struct remote_spool *s, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = vg_db_prepare(
        s->db, "SELECT count(*), coalesce(sum(length(body)), 0) FROM write", &stmt, err);

    if (st == VG_OK)
        st = vg_db_step(stmt, err);
    if (st == VG_OK) {
        atomic_store(&s->count, (uint64_t)sqlite3_column_int64(stmt, 0));
        atomic_store(&s->bytes, (uint64_t)sqlite3_column_int64(stmt, 1));
    }
    (void)sqlite3_finalize(stmt);
    return st;
}

enum vg_status spool_open(const char *path, uint64_t bytes_max, struct remote_spool **ret_spool,
                          struct vg_err *err)
{
    struct remote_spool *s = calloc(1, sizeof(*s));
    enum vg_status st;

    if (!s)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the spool");
    (void)pthread_mutex_init(&s->lock, NULL);
    s->bytes_max = bytes_max;
    st = vg_db_open(path, false, &s->db, err);
    if (st == VG_OK)
        st = vg_db_migrate(s->db, migrations, sizeof(migrations) / sizeof(migrations[0]), err);
    if (st == VG_OK)
        st = prepare(s, err);
    if (st == VG_OK)
        st = count_up(s, err);
    if (st != VG_OK) {
        spool_close(s);
        return st;
    }
    *ret_spool = s;
    return VG_OK;
}

void spool_close(struct remote_spool *s)
{
    if (!s)
        return;
    sqlite3_stmt *const all[] = {s->add,    s->newest, s->has_type,   s->oldest,
                                 s->remove, s->rebase, s->next_commit};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        (void)sqlite3_finalize(all[i]);
    vg_db_close(s->db);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

uint64_t spool_count(struct remote_spool *s)
{
    return atomic_load(&s->count);
}

uint64_t spool_bytes(struct remote_spool *s)
{
    return atomic_load(&s->bytes);
}

/* ---- putting in ---- */

static void take_row(sqlite3_stmt *stmt, struct vg_arena *arena, struct remote_item *ret)
{
    *ret = (struct remote_item){
        .seq = sqlite3_column_int64(stmt, 0),
        .commit = (uint64_t)sqlite3_column_int64(stmt, 1),
        .type = (unsigned)sqlite3_column_int(stmt, 2),
        .id = vg_arena_dup(arena, vg_db_text(stmt, 3)),
        .is_delete = sqlite3_column_int(stmt, 4) != 0,
        .if_match = (uint64_t)sqlite3_column_int64(stmt, 5),
        .body = vg_arena_dup(arena, (struct vg_slice){sqlite3_column_blob(stmt, 6),
                                                      (size_t)sqlite3_column_bytes(stmt, 6)}),
    };
}

static enum vg_status find_newest(struct remote_spool *s, unsigned type, struct vg_slice id,
                                  struct vg_err *err)
{
    (void)sqlite3_bind_int(s->newest, 1, (int)type);
    vg_db_bind_text(s->newest, 2, id);
    return vg_db_step(s->newest, err);
}

static enum vg_status put_one(struct remote_spool *s, int64_t commit, struct remote_item *item,
                              struct vg_err *err)
{
    enum vg_status st;

    if (item->if_match) {
        uint64_t waiting = 0;

        st = find_newest(s, item->type, item->id, err);
        if (st == VG_OK)
            waiting = REMOTE_VERSION_SPOOL + (uint64_t)sqlite3_column_int64(s->newest, 0);
        (void)sqlite3_reset(s->newest);
        if (st != VG_OK && st != VG_END)
            return st;
        if (waiting ? item->if_match != waiting : item->if_match >= REMOTE_VERSION_SPOOL) {
            item->state = REMOTE_REFUSED;
            item->http_status = 412;
            item->issue = "conflict";
            return vg_fail(err, VG_REJECT, "fhir.precondition", 0,
                           "the resource is not at the version that the write builds on");
        }
    }
    (void)sqlite3_bind_int64(s->add, 1, commit);
    (void)sqlite3_bind_int(s->add, 2, (int)item->type);
    vg_db_bind_text(s->add, 3, item->id);
    (void)sqlite3_bind_int(s->add, 4, item->is_delete);
    (void)sqlite3_bind_int64(s->add, 5, (int64_t)item->if_match);
    (void)sqlite3_bind_blob64(s->add, 6, item->body.len ? item->body.ptr : "", item->body.len,
                              SQLITE_STATIC);
    st = vg_db_run(s->add, err);
    if (st != VG_OK)
        return st;
    item->seq = sqlite3_last_insert_rowid(s->db);
    item->version = REMOTE_VERSION_SPOOL + (uint64_t)item->seq;
    return VG_OK;
}

static enum vg_status end(struct remote_spool *s, enum vg_status st, struct vg_err *err)
{
    struct vg_err why;

    if (st == VG_OK)
        st = vg_db_exec(s->db, "COMMIT", err);
    if (st != VG_OK && !sqlite3_get_autocommit(s->db) &&
        vg_db_exec(s->db, "ROLLBACK", &why) != VG_OK)
        return vg_fail(err, VG_FATAL, "fhir.spool", 0, "the spool cannot be rolled back");
    return st;
}

enum vg_status spool_put(struct remote_spool *s, struct remote_item **items, size_t count,
                         struct vg_err *err)
{
    uint64_t bytes = 0;
    int64_t commit = 0;
    enum vg_status st;

    for (size_t i = 0; i < count; i++)
        bytes += items[i]->body.len;
    (void)pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->bytes) + bytes > s->bytes_max) {
        st = vg_fail(err, VG_RETRY, "fhir.spool", 0,
                     "waiting for FHIR server: %" PRIu64 " writes are kept back, there is no room "
                     "for more",
                     atomic_load(&s->count));
        goto done;
    }
    st = vg_db_exec(s->db, "BEGIN IMMEDIATE", err);
    if (st != VG_OK)
        goto done;
    st = vg_db_step(s->next_commit, err);
    if (st == VG_OK)
        commit = sqlite3_column_int64(s->next_commit, 0);
    (void)sqlite3_reset(s->next_commit);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        st = put_one(s, commit, items[i], err);
    st = end(s, st, err);
    if (st == VG_OK) {
        atomic_fetch_add(&s->count, count);
        atomic_fetch_add(&s->bytes, bytes);
    }
done:
    (void)pthread_mutex_unlock(&s->lock);
    return st;
}

/* ---- looking ---- */

enum vg_status spool_read(struct remote_spool *s, unsigned type, struct vg_slice id,
                          struct vg_arena *arena, struct remote_item *ret_item, struct vg_err *err)
{
    enum vg_status st;

    if (spool_count(s) == 0)
        return VG_END;
    (void)pthread_mutex_lock(&s->lock);
    st = find_newest(s, type, id, err);
    if (st == VG_OK) {
        take_row(s->newest, arena, ret_item);
        (void)sqlite3_reset(s->newest);
        if (!ret_item->id.ptr || !ret_item->body.ptr)
            st = vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the resource");
    }
    (void)pthread_mutex_unlock(&s->lock);
    return st;
}

enum vg_status spool_has_type(struct remote_spool *s, unsigned type, bool *ret_has,
                              struct vg_err *err)
{
    enum vg_status st;

    *ret_has = false;
    if (spool_count(s) == 0)
        return VG_OK;
    (void)pthread_mutex_lock(&s->lock);
    (void)sqlite3_bind_int(s->has_type, 1, (int)type);
    st = vg_db_step(s->has_type, err);
    (void)sqlite3_reset(s->has_type);
    (void)pthread_mutex_unlock(&s->lock);
    *ret_has = st == VG_OK;
    return st == VG_END ? VG_OK : st;
}

enum vg_status spool_oldest(struct remote_spool *s, size_t count_max, struct vg_arena *arena,
                            struct remote_item **ret_items, size_t *ret_count, struct vg_err *err)
{
    struct remote_item *items = vg_arena_alloc(arena, (count_max + 1) * sizeof(*items));
    size_t count = 0, fit = 0, bytes = 0;
    enum vg_status st = VG_OK;
    struct vg_map seen;
    bool is_ok = true;

    if (!items)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room to empty the spool");
    vg_map_init(&seen);
    (void)pthread_mutex_lock(&s->lock);
    (void)sqlite3_bind_int64(s->oldest, 1, (int64_t)count_max + 1);
    while (count <= count_max && (st = vg_db_step(s->oldest, err)) == VG_OK) {
        struct remote_item *item = &items[count];
        struct vg_slice name;

        take_row(s->oldest, arena, item);
        name = vg_arena_printf(arena, "%u/%.*s", item->type, VG_FMT(item->id));
        if (!name.ptr || !item->body.ptr) {
            st = vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room to empty the spool");
            break;
        }
        if (count > 0 && item->commit != items[count - 1].commit)
            fit = count; /* a boundary between two commits */
        bytes += item->body.len;
        if (vg_map_get(&seen, name) || (count > 0 && bytes > REMOTE_BUNDLE_BYTES_MAX))
            break;
        (void)vg_map_put(&seen, name, items, &is_ok);
        if (!is_ok) {
            st = vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room to empty the spool");
            break;
        }
        count++;
    }
    (void)sqlite3_reset(s->oldest);
    (void)pthread_mutex_unlock(&s->lock);
    vg_map_fini(&seen, NULL);
    if (st == VG_END) /* all that there is */
        fit = count;
    if (st != VG_OK && st != VG_END)
        return st;
    if (count > count_max)
        count = count_max;
    *ret_items = items;
    *ret_count = fit && fit <= count ? fit : count;
    return *ret_count ? VG_OK : VG_END;
}

/* ---- taking out ---- */

static enum vg_status settle_one(struct remote_spool *s, const struct remote_item *item,
                                 struct vg_err *err)
{
    enum vg_status st;

    (void)sqlite3_bind_int64(s->remove, 1, item->seq);
    st = vg_db_run(s->remove, err);
    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int(s->rebase, 1, (int)item->type);
    vg_db_bind_text(s->rebase, 2, item->id);
    (void)sqlite3_bind_int64(s->rebase, 3, (int64_t)(REMOTE_VERSION_SPOOL + (uint64_t)item->seq));
    (void)sqlite3_bind_int64(s->rebase, 4,
                             item->state == REMOTE_DONE ? (int64_t)item->version : ORPHAN);
    return vg_db_run(s->rebase, err);
}

enum vg_status spool_settle(struct remote_spool *s, const struct remote_item *items, size_t count,
                            struct vg_err *err)
{
    uint64_t bytes = 0, gone = 0;
    enum vg_status st;

    (void)pthread_mutex_lock(&s->lock);
    st = vg_db_exec(s->db, "BEGIN IMMEDIATE", err);
    if (st != VG_OK)
        goto done;
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        if (items[i].state == REMOTE_OPEN)
            continue;
        st = settle_one(s, &items[i], err);
        bytes += items[i].body.len;
        gone++;
    }
    st = end(s, st, err);
    if (st == VG_OK) {
        atomic_fetch_sub(&s->count, gone);
        atomic_fetch_sub(&s->bytes, bytes);
    }
done:
    (void)pthread_mutex_unlock(&s->lock);
    return st;
}
