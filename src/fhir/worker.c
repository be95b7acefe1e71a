/* worker.c -- see worker_int.h. */
#include "fhir/worker_int.h"

#include <errno.h>
#include <time.h>

void fhir_worker_init(struct fhir_worker *worker)
{
    pthread_condattr_t monotonic;

    *worker = (struct fhir_worker){0};
    (void)pthread_mutex_init(&worker->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&worker->moved, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

enum vg_status fhir_worker_start(struct fhir_worker *worker, void *(*run)(void *ctx), void *ctx,
                                 const char *whose, struct vg_err *err)
{
    int code = pthread_create(&worker->thread, NULL, run, ctx);

    if (code != 0)
        return vg_fail(err, VG_RETRY, "fhir.thread", code, "%s thread did not start", whose);
    worker->has_thread = true;
    return VG_OK;
}

bool fhir_worker_wait(struct fhir_worker *worker, int64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / VG_SECOND_US),
                                   .tv_nsec = (long)(until_us % VG_SECOND_US) * 1000};

    return pthread_cond_timedwait(&worker->moved, &worker->lock, &until) != ETIMEDOUT;
}

void fhir_worker_stop(struct fhir_worker *worker)
{
    (void)pthread_mutex_lock(&worker->lock);
    worker->is_closing = true;
    (void)pthread_cond_broadcast(&worker->moved);
    (void)pthread_mutex_unlock(&worker->lock);
    if (worker->has_thread)
        (void)pthread_join(worker->thread, NULL);
    worker->has_thread = false;
}

void fhir_worker_fini(struct fhir_worker *worker)
{
    (void)pthread_cond_destroy(&worker->moved);
    (void)pthread_mutex_destroy(&worker->lock);
}
