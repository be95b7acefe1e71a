/* lake.c -- the lake's front door: finds the engine, checks arguments, one caller at a time. */
#include "lake/engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

const struct lake_engine *const lake_engines[] = {&lake_engine_duckdb, NULL};

struct lake {
    const struct lake_engine *engine;
    void *self;
    pthread_mutex_t lock;   /* guards self */
    pthread_mutex_t upkeep; /* one at a time; held outside of lock */
};

enum vg_status lake_open(const struct lake_config *config, struct lake **ret_lake,
                         struct vg_err *err)
{
    struct lake *lake = calloc(1, sizeof(*lake));
    enum vg_status st;

    if (!lake)
        return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "lake");
    pthread_mutex_init(&lake->lock, NULL);
    pthread_mutex_init(&lake->upkeep, NULL);
    for (size_t i = 0; lake_engines[i] && !lake->engine; i++) {
        if (!config->engine || strcmp(config->engine, lake_engines[i]->name) == 0)
            lake->engine = lake_engines[i];
    }
    if (!lake->engine)
        st = vg_fail(err, VG_FATAL, "lake.engine", 0, "no lake engine is called '%s'",
                     config->engine);
    else
        st = lake->engine->open(config, &lake->self, err);
    if (st != VG_OK) {
        lake_close(lake);
        return st;
    }
    *ret_lake = lake;
    return VG_OK;
}

void lake_close(struct lake *lake)
{
    if (!lake)
        return;
    if (lake->self)
        lake->engine->close(lake->self);
    pthread_mutex_destroy(&lake->lock);
    pthread_mutex_destroy(&lake->upkeep);
    free(lake);
}

enum vg_status lake_position(struct lake *lake, enum lake_table table, const char *app,
                             uint64_t *ret_next_seq, struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&lake->lock);
    st = lake->engine->position(lake->self, table, app, ret_next_seq, err);
    pthread_mutex_unlock(&lake->lock);
    return st;
}

enum vg_status lake_append(struct lake *lake, enum lake_table table, const char *app,
                           struct vg_slice record_json, struct vg_slice trace, struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&lake->lock);
    st = lake->engine->append(lake->self, table, app, record_json, trace, err);
    pthread_mutex_unlock(&lake->lock);
    return st;
}

enum vg_status lake_flush(struct lake *lake, enum lake_table table, const char *app,
                          uint64_t next_seq, struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&lake->lock);
    st = lake->engine->flush(lake->self, table, app, next_seq, err);
    pthread_mutex_unlock(&lake->lock);
    return st;
}

void lake_discard(struct lake *lake, enum lake_table table, const char *app)
{
    pthread_mutex_lock(&lake->lock);
    lake->engine->discard(lake->self, table, app);
    pthread_mutex_unlock(&lake->lock);
}

enum vg_status lake_history(struct lake *lake, struct vg_slice patient_id, int64_t from_us,
                            int64_t to_us,
                            void (*fn)(void *ctx, const struct lake_reading *reading), void *ctx,
                            struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&lake->lock);
    st = lake->engine->history(lake->self, patient_id, from_us, to_us, fn, ctx, err);
    pthread_mutex_unlock(&lake->lock);
    return st;
}

enum vg_status lake_query(struct lake *lake, const char *sql, struct vg_buf *out,
                          struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&lake->lock);
    st = lake->engine->query(lake->self, sql, out, err);
    pthread_mutex_unlock(&lake->lock);
    return st;
}

enum vg_status lake_maintain(struct lake *lake, const struct lake_policy *policy, int64_t now_us,
                             bool (*go_on)(void *ctx), void *ctx, struct lake_upkeep *ret_upkeep,
                             struct vg_err *err)
{
    const struct lake_engine *engine = lake->engine;
    struct lake_job *job;
    enum vg_status st;

    *ret_upkeep = (struct lake_upkeep){0};
    pthread_mutex_lock(&lake->upkeep);
    do {
        job = NULL;
        pthread_mutex_lock(&lake->lock);
        st = engine->job_find(lake->self, policy, now_us, ret_upkeep, &job, err);
        pthread_mutex_unlock(&lake->lock);
        if (st == VG_OK && job)
            st = engine->job_work(lake->self, job, err);
        if (st == VG_OK && job) {
            pthread_mutex_lock(&lake->lock);
            st = engine->job_finish(lake->self, job, ret_upkeep, err);
            pthread_mutex_unlock(&lake->lock);
        }
        engine->job_free(job);
    } while (st == VG_OK && job && (!go_on || go_on(ctx)));
    pthread_mutex_unlock(&lake->upkeep);
    return st;
}
