/* engine.h -- what a lake engine must do. Private to src/lake.
 *
 * lake.c checks arguments and holds the lock: an engine's functions are called by one thread at a
 * time. Adding an engine is two steps: a file engine_<name>.c and a line in lake_engines[].
 */
#ifndef VG_LAKE_ENGINE_H
#define VG_LAKE_ENGINE_H

#include "lake/lake.h"

struct lake_job;

struct lake_engine {
    const char *name;
    enum vg_status (*open)(const struct lake_config *config, void **ret_self, struct vg_err *err);
    void (*close)(void *self);
    enum vg_status (*position)(void *self, enum lake_table table, const char *app,
                               uint64_t *ret_next_seq, struct vg_err *err);
    enum vg_status (*append)(void *self, enum lake_table table, const char *app,
                             struct vg_slice record_json, struct vg_slice trace,
                             struct vg_err *err);
    enum vg_status (*flush)(void *self, enum lake_table table, const char *app, uint64_t next_seq,
                            struct vg_err *err);
    void (*discard)(void *self, enum lake_table table, const char *app);
    enum vg_status (*history)(void *self, struct vg_slice patient_id, int64_t from_us,
                              int64_t to_us,
                              void (*fn)(void *ctx, const struct lake_reading *reading), void *ctx,
                              struct vg_err *err);

    /* Upkeep in three parts, so that the long one needs no lock: job_find() (locked) does what is
     * quick and finds a piece of work (NULL: none is left), job_work() (not locked) does it,
     * job_finish() (locked) makes it count. */
    enum vg_status (*job_find)(void *self, const struct lake_policy *policy, int64_t now_us,
                               struct lake_upkeep *upkeep, struct lake_job **ret_job,
                               struct vg_err *err);
    enum vg_status (*job_work)(void *self, struct lake_job *job, struct vg_err *err);
    enum vg_status (*job_finish)(void *self, struct lake_job *job, struct lake_upkeep *upkeep,
                                 struct vg_err *err);
    void (*job_free)(struct lake_job *job);

    enum vg_status (*query)(void *self, const char *sql, struct vg_buf *out, struct vg_err *err);
};

extern const struct lake_engine lake_engine_duckdb;

/* NULL-terminated; the first one is the default. */
extern const struct lake_engine *const lake_engines[];

#endif
