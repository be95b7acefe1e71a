/* worker_int.h -- a thread beside the requests, with its lock, what it waits for, and its end.
 * Private to src/fhir.
 *
 * Waits go by the monotonic clock: one that is set back must not make an audit or an alarm wait
 * for an hour.
 */
#ifndef VG_FHIR_WORKER_INT_H
#define VG_FHIR_WORKER_INT_H

#include "base/clock.h"
#include "base/status.h"

#include <pthread.h>

struct fhir_worker {
    pthread_mutex_t lock; /* guards what is below, and what its owner says */
    pthread_cond_t moved;
    bool is_closing;
    pthread_t thread;
    bool has_thread;
};

void fhir_worker_init(struct fhir_worker *worker);
/* `run` is to return soon when is_closing. `whose`: "the audit's", for the error. */
VG_CHECK enum vg_status fhir_worker_start(struct fhir_worker *worker, void *(*run)(void *ctx),
                                          void *ctx, const char *whose, struct vg_err *err);
/* With the lock held: until `moved` is told, or that time (vg_mono_us) has come: then false. */
bool fhir_worker_wait(struct fhir_worker *worker, int64_t until_us);
/* Sets is_closing and waits for the end of the thread, if it was started. */
void fhir_worker_stop(struct fhir_worker *worker);
void fhir_worker_fini(struct fhir_worker *worker);

#endif
