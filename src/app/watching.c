/* watching.c -- runs score/watch.h by the clock, in a thread of low priority, or when asked.
 *
 * The last run's time is in its results, so a restart does not run it again. When there was
 * nothing to see it is tried again after EMPTY_US: a new platform has its first result soon.
 *
 * Threads: its own loop; watching_run_now() in the caller's. `running` lets one run at a time.
 */
#include "app/watching.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#define LOOK_US VG_MINUTE_US
#define EMPTY_US (10 * VG_MINUTE_US)
#define BUDGET_US (10 * VG_MINUTE_US)
#define BUDGET_NOW_US (45 * VG_SECOND_US) /* somebody waits */

struct watching {
    struct watch_config config;
    int64_t every_us, next_us;
    struct vg_arena arena;
    struct vg_loop *loop;
    bool has_thread, is_quiet; /* of the loop's thread */
    atomic_bool is_closing;
    pthread_mutex_t running;
};

struct watch_config watching_config(const struct settings *settings, struct vg_arena *arena)
{
    return (struct watch_config){
        .model_dir = settings->score_model_dir,
        .lake_engine = settings->lake_engine,
        .lake_dir = settings_path(arena, settings, "lake"),
        .dir = settings_path(arena, settings, "watch"),
        .period_us = settings->score_watch_period_us,
        .outcome_period_us = settings->score_watch_outcomes_us,
        .budget_us = BUDGET_US,
        .hours_min = (uint32_t)settings->score_watch_hours,
        .patients_min = (uint32_t)settings->score_watch_patients,
    };
}

static bool goes_on(void *ctx)
{
    return !atomic_load_explicit(&((struct watching *)ctx)->is_closing, memory_order_relaxed);
}

static void look(void *ctx)
{
    struct watching *w = ctx;
    struct vg_err err = {0};
    enum vg_status st;

    if (!w->is_quiet) {
        /* Linux: of this thread alone. The lake's handle is its own, so nobody waits for us. */
        if (setpriority(PRIO_PROCESS, 0, 10) != 0)
            vg_log(VG_LOG_WARN, "watch", "watch.priority", "runs with the usual priority");
        w->is_quiet = true;
    }
    if (!goes_on(w) || vg_now_us() < w->next_us || pthread_mutex_trylock(&w->running) != 0)
        return;
    st = watch_run(&w->config, &err);
    (void)pthread_mutex_unlock(&w->running);
    w->next_us = vg_now_us() + (st == VG_OK || w->every_us < EMPTY_US ? w->every_us : EMPTY_US);
    if (st != VG_OK && st != VG_END)
        vg_log_err(VG_LOG_ERROR, "watch", &err);
}

enum vg_status watching_open(const struct settings *settings, struct watching **ret_watching,
                             struct vg_err *err)
{
    struct watching *w = calloc(1, sizeof(*w));
    enum vg_status st = VG_OK;
    int64_t last_us;

    if (!w)
        return vg_fail(err, VG_RETRY, "app.memory", 0, "no memory to watch");
    vg_arena_init(&w->arena, 0);
    (void)pthread_mutex_init(&w->running, NULL);
    w->config = watching_config(settings, &w->arena);
    w->config.go_on = goes_on;
    w->config.ctx = w;
    w->every_us = settings->score_watch_every_us;
    if (!w->config.lake_dir || !w->config.dir)
        st = vg_fail(err, VG_RETRY, "app.memory", 0, "no memory to watch");
    if (st == VG_OK && w->every_us > 0) {
        last_us = watch_last_us(&w->config);
        w->next_us = last_us > 0 ? last_us + w->every_us : 0;
        st = vg_loop_open("watch", &w->loop, err);
        if (st == VG_OK)
            st = vg_loop_every(w->loop, LOOK_US, look, w, err);
        if (st == VG_OK)
            st = vg_loop_start(w->loop, err);
        w->has_thread = st == VG_OK;
    }
    if (st != VG_OK) {
        watching_close(w);
        return st;
    }
    watch_publish(&w->config);
    *ret_watching = w;
    return VG_OK;
}

void watching_end(struct watching *w)
{
    atomic_store_explicit(&w->is_closing, true, memory_order_relaxed);
}

void watching_close(struct watching *w)
{
    if (!w)
        return;
    watching_end(w);
    if (w->has_thread)
        vg_loop_stop(w->loop);
    vg_loop_close(w->loop);
    (void)pthread_mutex_destroy(&w->running);
    vg_arena_fini(&w->arena);
    free(w);
}

enum vg_status watching_run_now(struct watching *w, struct vg_err *err)
{
    struct watch_config config = w->config;
    enum vg_status st;

    config.budget_us = BUDGET_NOW_US;
    if (pthread_mutex_trylock(&w->running) != 0)
        return vg_fail(err, VG_REJECT, "watch.busy", 0, "a run is under way");
    st = watch_run(&config, err);
    (void)pthread_mutex_unlock(&w->running);
    return st == VG_END ? vg_fail(err, VG_REJECT, "watch.empty", 0,
                                  "nothing was scored within score.watch_period that is in the "
                                  "lake yet")
                        : st;
}

const struct watch_config *watching_what(const struct watching *w)
{
    return &w->config;
}
