/* sqlite_write.c -- resources are written: by one connection, in groups.
 *
 * Callers queue up; the first becomes the leader, runs each in a savepoint of one transaction, and
 * one fsync makes them all durable. While it writes the next queue gathers. A refused one is rolled
 * back to its savepoint alone. Index rows are written sorted by table and key, job by job.
 *
 * THE WRITE-AHEAD LOG
 *
 * A thread of its own copies the log into the database, while writers go on: no commit waits for
 * it. It never catches up with a writer in full, so when it has done nearly all, the writer does
 * the few frames that are left after its commit, and the log begins anew.
 *
 * CRASHES
 *
 * WAL with synchronous=FULL: what sqlite_transact() called done is there after a power cut.
 */
#include "fhir/sqlite_int.h"

#include "base/log.h"

#include <pthread.h>

#define LOG_PAGES_USUAL 32768 /* 256 MiB: then it is copied; a page that changed often, once */
#define LOG_PAGES_MAX 65536   /* 512 MiB: then the writer helps, and waits */
#define GROUP_US 10000
#define SETTLED_EACH_SECOND 30000 /* rows, when they have waited long */

/* ---- one resource ---- */

static enum vg_status put_resource(struct sqlite_engine *engine, const struct fhir_record *record,
                                   int64_t key, bool is_new, struct vg_err *err)
{
    struct fhir_span span =
        record->index ? record->index->span : (struct fhir_span){FHIR_NO_DATE, FHIR_NO_DATE};
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = sqlite_statement(
        &engine->writer,
        is_new ? "INSERT INTO resource(key, type, id, version, updated_us, is_deleted, low, high,"
                 " body) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
               : "UPDATE resource SET version=?4, updated_us=?5, is_deleted=?6, low=?7, high=?8,"
                 " body=?9 WHERE key=?1",
        &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, key);
    if (is_new) {
        (void)sqlite3_bind_int64(stmt, 2, record->type);
        sqlite_bind_text(stmt, 3, record->id);
    }
    (void)sqlite3_bind_int64(stmt, 4, (int64_t)record->version);
    (void)sqlite3_bind_int64(stmt, 5, record->updated_us);
    (void)sqlite3_bind_int(stmt, 6, record->is_deleted);
    (void)sqlite3_bind_int64(stmt, 7, span.low_us);
    (void)sqlite3_bind_int64(stmt, 8, span.high_us);
    (void)sqlite3_bind_blob64(stmt, 9, record->body.len ? record->body.ptr : "", record->body.len,
                              SQLITE_STATIC);
    return vg_db_run(stmt, err);
}

static enum vg_status put_change(void *view, int64_t key, uint64_t version, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st =
        sqlite_statement(view, "INSERT INTO change(key, version) VALUES(?,?)", &stmt, err);

    if (st != VG_OK)
        return st;
    (void)sqlite3_bind_int64(stmt, 1, key);
    (void)sqlite3_bind_int64(stmt, 2, (int64_t)version);
    return vg_db_run(stmt, err);
}

enum vg_status sqlite_put(void *view, const struct fhir_record *record,
                          const struct fhir_current *old, const struct fhir_index *old_index,
                          struct vg_err *err)
{
    struct sqlite_engine *engine = ((struct conn *)view)->engine;
    int64_t key = old->key ? old->key : ++engine->last_key;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = VG_OK;

    if (old->key) {
        st = sqlite_statement(view,
                              "INSERT INTO history(key, version, updated_us, is_deleted, body)"
                              " SELECT key, version, updated_us, is_deleted, body FROM resource"
                              " WHERE key=?",
                              &stmt, err);
        if (st != VG_OK)
            return st;
        (void)sqlite3_bind_int64(stmt, 1, key);
        st = vg_db_run(stmt, err);
    }
    if (st == VG_OK)
        st = put_resource(engine, record, key, old->key == 0, err);
    if (st == VG_OK && engine->is_watched[record->type & 255])
        st = put_change(view, key, record->version, err);
    if (st != VG_OK)
        return st;
    if (old->key)
        return sqlite_index_change(engine, record->type, key, old_index, record->index, err);
    engine->fresh.now.mark.last_key = key;
    return record->index ? sqlite_index_add(engine, record->type, key, record->index, err) : VG_OK;
}

/* ---- jobs ---- */

enum vg_status sqlite_nest(void *view, fhir_work *work, void *ctx, struct vg_err *err)
{
    struct conn *conn = view;
    struct sqlite_engine *engine = conn->engine;
    /* Rows of the work around this one are not to be undone with it. */
    enum vg_status st = sqlite_flush(engine, err), undone;
    struct fresh_version before;

    if (st == VG_OK)
        st = sqlite_run(conn, "SAVEPOINT job", err);
    if (st != VG_OK)
        return st;
    before = sqlite_fresh_save(engine);
    st = work(ctx, view, err);
    if (st == VG_OK)
        st = sqlite_flush(engine, err);
    if (st != VG_OK) {
        engine->waiting.count = 0;
        sqlite_fresh_restore(engine, before);
        sqlite_terms_forget_new(engine);
        undone = sqlite_run(conn, "ROLLBACK TO job", NULL);
        if (undone == VG_OK)
            undone = sqlite_run(conn, "RELEASE job", NULL);
        return undone == VG_OK
                   ? st
                   : vg_fail(err, VG_RETRY, "fhir.rollback", 0, "a savepoint could not be undone");
    }
    sqlite_fresh_drop(before);
    return sqlite_run(conn, "RELEASE job", err);
}

/* In one transaction and one fsync, as many jobs as GROUP_US takes: those that wait for the next
 * group come while this one is written, so that neither the writer nor who asks of it is idle. The
 * rest, which has not begun, is returned. */
static struct job *run_group(struct sqlite_engine *engine, struct job *jobs)
{
    struct conn *conn = &engine->writer;
    struct vg_err err = {0};
    struct fresh_version before = sqlite_fresh_save(engine);
    int64_t end_us = vg_mono_us() + GROUP_US;
    enum vg_status st = sqlite_run(conn, "BEGIN IMMEDIATE", &err);
    struct job *rest = NULL;
    bool has_work = false;

    engine->has_new_terms = false;
    for (struct job *job = jobs, *last = NULL; job; last = job, job = job->next) {
        if (last && vg_mono_us() >= end_us) {
            last->next = NULL;
            rest = job;
            break;
        }
        job->status = st;
        job->err = err;
        if (st == VG_OK) {
            job->status = sqlite_nest(conn, job->work, job->ctx, &job->err);
            has_work |= job->status == VG_OK;
        }
        /* A failure of the disk rolls the whole transaction back: nobody may be told it is done. */
        if (st == VG_OK && sqlite3_get_autocommit(conn->db)) {
            st = vg_fail(&err, VG_RETRY, "fhir.transaction", 0, "the transaction was rolled back");
            for (struct job *earlier = jobs; earlier != job->next; earlier = earlier->next) {
                if (earlier->status == VG_OK) {
                    earlier->status = st;
                    earlier->err = err;
                }
            }
        }
    }
    /* Twice as many as came: those that settle are done before as many wait again. */
    if (st == VG_OK && has_work) {
        size_t had = sqlite_fresh_weight(&before), has = sqlite_fresh_weight(&engine->fresh.now);

        st = sqlite_fresh_settle(engine, has > had ? 2 * (has - had) : 0, &err);
    }
    if (st == VG_OK && has_work)
        sqlite_fresh_publish(engine);
    if (st == VG_OK)
        st = sqlite_run(conn, has_work ? "COMMIT" : "ROLLBACK", &err);
    if (st == VG_OK) {
        sqlite_fresh_drop(before);
    } else {
        sqlite_fresh_restore(engine, before);
        for (struct job *job = jobs; job; job = job->next) {
            if (job->status == VG_OK) {
                job->status = st;
                job->err = err;
            }
        }
        if (!sqlite3_get_autocommit(conn->db))
            (void)sqlite_run(conn, "ROLLBACK", NULL);
        sqlite_terms_forget_new(engine);
    }
    return rest;
}

enum vg_status sqlite_transact(void *self, fhir_work *work, void *ctx, struct vg_err *err)
{
    struct sqlite_engine *engine = self;
    struct job job = {.work = work, .ctx = ctx, .moved = PTHREAD_COND_INITIALIZER}, *jobs, *rest;

    (void)pthread_mutex_lock(&engine->queue_lock);
    if (engine->last)
        engine->last->next = &job;
    else
        engine->first = &job;
    engine->last = &job;
    while (!job.is_done) {
        if (engine->is_leading) {
            (void)pthread_cond_wait(&job.moved, &engine->queue_lock);
            continue;
        }
        jobs = engine->first;
        engine->first = engine->last = NULL;
        engine->is_leading = true;
        (void)pthread_mutex_unlock(&engine->queue_lock);
        rest = run_group(engine, jobs);
        (void)pthread_mutex_lock(&engine->queue_lock);
        engine->is_leading = false;
        if (rest) { /* before those that have come since */
            struct job *last = rest;

            while (last->next)
                last = last->next;
            last->next = engine->first;
            engine->last = engine->last ? engine->last : last;
            engine->first = rest;
        }
        for (struct job *one = jobs; one; one = one->next) {
            one->is_done = true;
            (void)pthread_cond_signal(&one->moved);
        }
    }
    /* The next leader alone: all the others would only wait again. */
    if (engine->first && !engine->is_leading)
        (void)pthread_cond_signal(&engine->first->moved);
    (void)pthread_mutex_unlock(&engine->queue_lock);
    (void)pthread_cond_destroy(&job.moved);
    if (job.status != VG_OK && err)
        *err = job.err;
    return job.status;
}

/* ---- the write-ahead log ---- */

/* After each commit, in the leader. */
int sqlite_on_commit(void *ctx, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_engine *engine = ctx;

    if (pages < LOG_PAGES_USUAL)
        return SQLITE_OK;
    if (engine->is_nearly_done || pages > LOG_PAGES_MAX) {
        engine->is_nearly_done = false;
        /* Not reaching the end is no failure: the next commit tries again. */
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        return SQLITE_OK;
    }
    (void)pthread_mutex_lock(&engine->log_lock);
    engine->wants_checkpoint = true;
    (void)pthread_cond_signal(&engine->log_moved);
    (void)pthread_mutex_unlock(&engine->log_lock);
    return SQLITE_OK;
}

static enum vg_status settle(void *ctx, void *view, struct vg_err *err)
{
    (void)view;
    return sqlite_fresh_settle(ctx, SETTLED_EACH_SECOND, err);
}

/* Copies the log when it is asked to; each second it looks whether rows have waited long. */
void *sqlite_tidy(void *ctx)
{
    struct sqlite_engine *engine = ctx;
    bool is_closing = false, wants_checkpoint;
    struct vg_err err = {0};
    struct timespec until;

    while (!is_closing) {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        (void)pthread_mutex_lock(&engine->log_lock);
        while (!engine->wants_checkpoint && !engine->is_closing &&
               pthread_cond_timedwait(&engine->log_moved, &engine->log_lock, &until) == 0)
            ;
        wants_checkpoint = engine->wants_checkpoint;
        engine->wants_checkpoint = false;
        is_closing = engine->is_closing;
        (void)pthread_mutex_unlock(&engine->log_lock);
        if (is_closing)
            break;
        if (wants_checkpoint &&
            sqlite3_wal_checkpoint_v2(engine->log.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                      NULL) == SQLITE_OK)
            engine->is_nearly_done = true;
        if (!wants_checkpoint && engine->fresh.is_waiting &&
            sqlite_transact(engine, settle, engine, &err) != VG_OK)
            vg_log_err(VG_LOG_WARN, "fhir", &err);
    }
    return NULL;
}
