/* hook_int.h -- a Subscription that is served, between its own thread (hook.c) and the manager
 * (subscription.c). Private to src/fhir.
 */
#ifndef VG_FHIR_HOOK_INT_H
#define VG_FHIR_HOOK_INT_H

#include "fhir/side_int.h"
#include "fhir/subscription_int.h"
#include "fhir/worker_int.h"

#include <curl/curl.h>

#define FHIR_HOOK_LOOK_MS 50 /* how long a change may wait before it is seen */
#define FHIR_HOOK_PRUNE_US (5 * VG_SECOND_US)

struct hook {
    struct fhir_hooks *hooks;
    struct hook *next;
    char id[FHIR_ID_BYTES_MAX + 1];
    struct vg_arena arena; /* of terms */
    struct fhir_hook_terms terms;
    char key[65];    /* what it was made of: another key is another hook */
    uint64_t change; /* the last one that was looked at */
    uint64_t events;
    int64_t told_us, looked_us; /* looked: monotonic */
    struct vg_metric *lag;
    int failures;
    bool is_asked_to_begin; /* status requested: handshake, then active */
    bool shows_error;
    char error[160];
    CURL *curl;
    pthread_t thread;
    bool is_ending, has_ended; /* under the lock of all */
};

struct fhir_hooks {
    struct fhir_store *store;
    struct fhir_store *scratch; /* holds one version at a time */
    char *hosts;
    bool allows_local;
    struct fhir_worker worker; /* the manager; its lock guards the list and the flags of each */
    struct hook *first;
    uint64_t seen_count; /* fhir_change_count of Subscription */
    int64_t needed;      /* changes before this one are not */
};

/* How far it is, on disk. */
VG_CHECK enum vg_status fhir_hook_load(struct hook *hook, bool *ret_is_there, struct vg_err *err);
VG_CHECK enum vg_status fhir_hook_save(struct hook *hook, struct vg_err *err);
VG_CHECK enum vg_status fhir_hook_drop(struct fhir_hooks *hooks, struct vg_slice id,
                                       struct vg_err *err);
/* The server's own word in the resource. Whoever changed it meanwhile is right: then the manager
 * looks again. `error` NULL: none. */
void fhir_hook_show(struct fhir_hooks *hooks, struct vg_slice id, const char *status,
                    const char *error);
/* Its thread. */
void *fhir_hook_run(void *ctx);

#endif
