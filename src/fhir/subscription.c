/* subscription.c -- Subscriptions: every match is told, in order, at least once, and never dropped.
 *
 * The engine writes a row for each change of a watched type in the transaction of the change
 * itself. A Subscription has a thread and two numbers on disk: the last change that it has looked
 * at, and how many events it has told. The thread takes the next change, asks whether that version
 * matched the criteria, tells it, and only then moves the numbers on. So:
 *
 *   - a crash in between tells the same event again, with the same number (at least once);
 *   - while the receiver is away the thread tries again, at first soon, then every half a minute,
 *     for as long as it takes; the changes wait on disk;
 *   - event numbers have no gaps, so a receiver that counts sees what it lacks.
 *
 * Where it sends is bounded: only to hosts of the setting, by TLS, without redirects; a
 * Subscription to anywhere else goes to status error. What is wrong with a receiver is said in
 * Subscription.error.
 *
 * Threads: one manager, which compares the Subscriptions that there are with the threads that run;
 * one thread (hook.c) for each of them. The manager's lock guards the list and the flags; a hook's
 * own thread alone touches its numbers.
 */
#include "fhir/hook_int.h"

#include "base/crypto.h"
#include "base/db.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metrics.h"
#include "fhir/rest_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HOOKS_MAX 200u
#define EVENTS_KEPT 1000 /* for $events */

/* ---- the manager ---- */

static void hook_free(struct hook *hook)
{
    if (!hook)
        return;
    if (hook->curl)
        curl_easy_cleanup(hook->curl);
    vg_arena_fini(&hook->arena);
    free(hook);
}

static struct hook *hook_find(struct fhir_hooks *hooks, struct vg_slice id)
{
    for (struct hook *hook = hooks->first; hook; hook = hook->next)
        if (vg_slice_is(id, hook->id))
            return hook;
    return NULL;
}

static bool has_ended(struct fhir_hooks *hooks, const struct hook *hook)
{
    bool is_end;

    (void)pthread_mutex_lock(&hooks->worker.lock);
    is_end = hook->has_ended;
    (void)pthread_mutex_unlock(&hooks->worker.lock);
    return is_end;
}

/* Ends its thread and takes it off the list. */
static void hook_stop(struct fhir_hooks *hooks, struct hook *hook)
{
    struct hook **link = &hooks->first;

    (void)pthread_mutex_lock(&hooks->worker.lock);
    hook->is_ending = true;
    (void)pthread_cond_broadcast(&hooks->worker.moved);
    (void)pthread_mutex_unlock(&hooks->worker.lock);
    (void)pthread_join(hook->thread, NULL);
    while (*link != hook)
        link = &(*link)->next;
    (void)pthread_mutex_lock(&hooks->worker.lock);
    *link = hook->next;
    (void)pthread_mutex_unlock(&hooks->worker.lock);
    hook_free(hook);
}

static void key_of(const struct vg_json *root, char out[static 65])
{
    static const char *const parts[] = {"criteria", "_criteria", "channel", "end"};
    struct vg_buf text;

    vg_buf_init(&text, FHIR_RESOURCE_BYTES_MAX);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const struct vg_json *part = vg_json_get(root, parts[i]);

        vg_buf_put(&text, part ? part->source : VG_SLICE("-"));
        vg_buf_put_byte(&text, '\n');
    }
    vg_sha256_hex(vg_buf_slice(&text), out);
    vg_buf_fini(&text);
}

/* A criteria that cannot be searched by would match nothing, or everything. */
static enum vg_status check_criteria(struct fhir_hooks *hooks, const struct fhir_hook_terms *terms,
                                     struct vg_arena *arena, struct vg_err *err)
{
    struct fhir_store *store = hooks->store;
    struct vg_slice query = vg_arena_printf(arena, "%.*s&_count=1", VG_FMT(terms->query));
    struct fhir_results results;
    struct fhir_issue issue = {0};
    void *view = NULL;
    enum vg_status st = store->engine->view_begin(store->self, &view, err);

    if (st != VG_OK)
        return st;
    st = fhir_search_in(store, view, terms->type, query, true, arena, &results, &issue, err);
    store->engine->view_end(store->self, view);
    return st;
}

static enum vg_status open_scratch(struct fhir_hooks *hooks, struct vg_err *err);

/* VG_REJECT: this Subscription cannot be served. */
static enum vg_status hook_start(struct fhir_hooks *hooks, const struct fhir_resource *resource,
                                 bool is_requested, struct vg_err *err)
{
    struct fhir_store *store = hooks->store;
    struct hook *hook = calloc(1, sizeof(*hook));
    struct fhir_issue issue = {0};
    struct vg_json *root = NULL;
    struct vg_slice body;
    bool has_numbers = false;
    char labels[FHIR_ID_BYTES_MAX + 32];
    void *view = NULL;
    int64_t last = 0;
    enum vg_status st = VG_OK;

    if (!hook)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for a Subscription");
    hook->hooks = hooks;
    vg_arena_init(&hook->arena, FHIR_SCRATCH_BYTES_MAX);
    body = vg_arena_dup(&hook->arena, resource->body);
    hook->curl = curl_easy_init();
    if (!body.ptr || !hook->curl || !vg_slice_to_cstr(resource->id, hook->id, sizeof(hook->id)))
        st = vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for a Subscription");
    if (st == VG_OK)
        st = fhir_parse(&hook->arena, body, &root, &issue, err);
    if (st == VG_OK)
        st = fhir_hook_terms_of(root, &hook->terms, err);
    if (st == VG_OK)
        st = fhir_hook_check_endpoint(hooks->hosts, hooks->allows_local, hook->terms.endpoint, err);
    if (st == VG_OK)
        st = check_criteria(hooks, &hook->terms, &hook->arena, err);
    if (st == VG_OK)
        st = open_scratch(hooks, err);
    if (st == VG_OK)
        st = fhir_hook_load(hook, &has_numbers, err);
    if (st != VG_OK)
        goto done;
    (void)snprintf(labels, sizeof(labels), "subscription=\"%s\"", hook->id);
    hook->lag = vg_gauge("vigil_fhir_subscription_lag",
                         "Changes that a Subscription has not looked at yet", labels);
    key_of(root, hook->key);
    hook->shows_error = vg_slice_is(hook->terms.status, "error");
    hook->is_asked_to_begin = is_requested || !has_numbers;
    /* From here on nothing is missed: watched first, then counted from. */
    store->engine->watch(store->self, hook->terms.type, true);
    if (!has_numbers) {
        st = store->engine->view_begin(store->self, &view, err);
        if (st == VG_OK) {
            st = store->engine->last_change(view, &last, err);
            store->engine->view_end(store->self, view);
        }
        hook->change = (uint64_t)last;
        if (st == VG_OK)
            st = fhir_hook_save(hook, err);
    }
    if (st == VG_OK && pthread_create(&hook->thread, NULL, fhir_hook_run, hook) != 0)
        st = vg_fail(err, VG_RETRY, "fhir.thread", errno, "a Subscription's thread did not start");
    if (st == VG_OK) {
        (void)pthread_mutex_lock(&hooks->worker.lock);
        hook->next = hooks->first;
        hooks->first = hook;
        (void)pthread_mutex_unlock(&hooks->worker.lock);
        hook = NULL;
    }
done:
    hook_free(hook);
    return st;
}

/* One Subscription as it stands now against the thread that runs for it. */
static void settle(struct fhir_hooks *hooks, const struct fhir_resource *resource)
{
    size_t running = 0;
    struct hook *hook = hook_find(hooks, resource->id);
    struct fhir_issue issue = {0};
    struct vg_json *root = NULL;
    struct vg_err err = {0};
    struct vg_arena arena;
    struct vg_slice status;
    char key[65];
    enum vg_status st;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    st = fhir_parse(&arena, resource->body, &root, &issue, &err);
    if (st != VG_OK)
        goto done;
    status = vg_json_get_text(root, "status");
    key_of(root, key);
    bool is_requested = vg_slice_is(status, "requested");
    bool is_off = vg_slice_is(status, "off") || vg_slice_is(status, "entered-in-error");

    if (hook && (is_off || has_ended(hooks, hook) || strcmp(key, hook->key) != 0 ||
                 (is_requested && !hook->is_asked_to_begin))) {
        is_requested |= !is_off && strcmp(key, hook->key) != 0;
        hook_stop(hooks, hook);
        hook = NULL;
    }
    if (is_off) {
        /* What happens meanwhile is not wanted. */
        st = fhir_hook_drop(hooks, resource->id, &err);
    } else if (!hook) {
        bool has_numbers = true;

        for (const struct hook *other = hooks->first; other; other = other->next)
            running++;

        if (vg_slice_is(status, "error")) {
            struct hook probe = {.hooks = hooks};

            (void)vg_slice_to_cstr(resource->id, probe.id, sizeof(probe.id));
            st = fhir_hook_load(&probe, &has_numbers, &err);
        }
        /* One that could not be served stays in error until its owner asks again. */
        if (st == VG_OK && has_numbers)
            st = running < HOOKS_MAX ? hook_start(hooks, resource, is_requested, &err)
                                     : vg_fail(&err, VG_REJECT, "fhir.hook", 0,
                                               "there are %u Subscriptions already", HOOKS_MAX);
        if (st == VG_REJECT) {
            fhir_hook_show(hooks, resource->id, "error", err.text);
            st = fhir_hook_drop(hooks, resource->id, &err);
        }
    }
    if (st != VG_OK && st != VG_REJECT)
        vg_log_err(VG_LOG_WARN, "fhir", &err);
done:
    vg_arena_fini(&arena);
}

/* Those whose Subscription is gone. */
static void stop_gone(struct fhir_hooks *hooks, const struct vg_map *there)
{
    struct hook *next;

    for (struct hook *hook = hooks->first; hook; hook = next) {
        struct vg_err err = {0};
        char id[FHIR_ID_BYTES_MAX + 1];

        next = hook->next;
        if (vg_map_get(there, vg_slice_of(hook->id)))
            continue;
        memcpy(id, hook->id, sizeof(id));
        hook_stop(hooks, hook);
        if (fhir_hook_drop(hooks, vg_slice_of(id), &err) != VG_OK)
            vg_log_err(VG_LOG_WARN, "fhir", &err);
    }
}

static void watch_no_more(struct fhir_hooks *hooks)
{
    for (unsigned type = 1; type <= fhir_type_count(); type++) {
        bool is_watched = false;

        for (struct hook *hook = hooks->first; hook; hook = hook->next)
            is_watched |= hook->terms.type == type;
        hooks->store->engine->watch(hooks->store->self, type, is_watched);
    }
}

static enum vg_status reconcile(struct fhir_hooks *hooks, struct vg_err *err)
{
    struct fhir_store *store = hooks->store;
    unsigned type = fhir_type_find(VG_SLICE("Subscription"));
    struct vg_slice query = VG_SLICE("_sort=_id&_count=1000");
    struct fhir_results results = {0};
    struct fhir_issue issue = {0};
    struct vg_arena arena;
    struct vg_map there;
    void *view = NULL;
    bool is_ok = true;
    enum vg_status st = VG_OK;

    hooks->seen_count = fhir_change_count(store, "Subscription");
    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    vg_map_init(&there);
    while (st == VG_OK && query.len) {
        st = store->engine->view_begin(store->self, &view, err);
        if (st != VG_OK)
            break;
        st = fhir_search_in(store, view, type, query, false, &arena, &results, &issue, err);
        store->engine->view_end(store->self, view);
        for (size_t i = 0; st == VG_OK && i < results.match_count; i++) {
            (void)vg_map_put(&there, results.resources[i].id, hooks, &is_ok);
            settle(hooks, &results.resources[i]);
        }
        query = st == VG_OK ? results.next_query : (struct vg_slice){0};
    }
    if (st == VG_OK && is_ok)
        stop_gone(hooks, &there);
    watch_no_more(hooks);
    vg_map_fini(&there, NULL);
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status prune_work(void *ctx, void *view, struct vg_err *err)
{
    const struct fhir_hooks *hooks = ctx;

    return hooks->store->engine->drop_changes(view, hooks->needed, err);
}

/* Changes that every Subscription has looked at are not needed any more. */
static void prune(struct fhir_hooks *hooks)
{
    sqlite3_stmt *stmt = NULL;
    struct vg_err err = {0};
    int64_t least = INT64_MAX;
    enum vg_status st =
        fhir_side_begin(hooks->store->side, "SELECT min(change) FROM hook", &stmt, &err);

    if (st == VG_OK) {
        st = vg_db_step(stmt, &err);
        if (st == VG_OK && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
            least = sqlite3_column_int64(stmt, 0);
        fhir_side_end(hooks->store->side, stmt);
    }
    if (st == VG_OK) {
        hooks->needed = least;
        st = hooks->store->engine->transact(hooks->store->self, prune_work, hooks, &err);
    }
    if (st != VG_OK)
        vg_log_err(VG_LOG_WARN, "fhir", &err);
}

static void *manage(void *ctx)
{
    struct fhir_hooks *hooks = ctx;
    int64_t pruned_us = vg_mono_us();
    struct vg_err err = {0};

    (void)pthread_mutex_lock(&hooks->worker.lock);
    while (!hooks->worker.is_closing) {
        (void)fhir_worker_wait(&hooks->worker, vg_mono_us() + FHIR_HOOK_LOOK_MS * INT64_C(1000));
        (void)pthread_mutex_unlock(&hooks->worker.lock);
        if (hooks->seen_count != fhir_change_count(hooks->store, "Subscription") &&
            reconcile(hooks, &err) != VG_OK) {
            vg_log_err(VG_LOG_WARN, "fhir", &err);
            hooks->seen_count = UINT64_MAX;
        }
        if (hooks->first && vg_mono_us() - pruned_us > FHIR_HOOK_PRUNE_US) {
            prune(hooks);
            pruned_us = vg_mono_us();
        }
        (void)pthread_mutex_lock(&hooks->worker.lock);
    }
    (void)pthread_mutex_unlock(&hooks->worker.lock);
    return NULL;
}

/* ---- begin and end ---- */

static enum vg_status open_scratch(struct fhir_hooks *hooks, struct vg_err *err)
{
    char base[2048];
    struct fhir_config config = {.engine = "sqlite", .base_url = base};
    struct vg_slice made;
    struct vg_arena arena;
    enum vg_status st;

    if (hooks->scratch)
        return VG_OK;
    vg_arena_init(&arena, 0);
    made = vg_arena_printf(&arena, "%s.scratch", fhir_side_path(hooks->store->side));
    config.path = made.ptr;
    st = made.ptr && vg_slice_to_cstr(hooks->store->base_url, base, sizeof(base))
             ? fhir_open(&config, &hooks->scratch, err)
             : vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for a path");
    vg_arena_fini(&arena);
    return st;
}

enum vg_status fhir_hooks_open(struct fhir_store *store, const struct fhir_config *config,
                               struct fhir_hooks **ret_hooks, struct vg_err *err)
{
    struct fhir_hooks *hooks = calloc(1, sizeof(*hooks));
    enum vg_status st;

    if (!hooks)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for Subscriptions");
    hooks->store = store;
    hooks->allows_local = config->allows_local_hooks;
    hooks->hosts = strdup(config->hook_hosts ? config->hook_hosts : "");
    fhir_worker_init(&hooks->worker);
    st = hooks->hosts ? reconcile(hooks, err)
                      : vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for Subscriptions");
    if (st == VG_OK)
        st = fhir_worker_start(&hooks->worker, manage, hooks, "the Subscriptions'", err);
    if (st != VG_OK)
        fhir_hooks_close(hooks);
    else
        *ret_hooks = hooks;
    return st;
}

void fhir_hooks_close(struct fhir_hooks *hooks)
{
    if (!hooks)
        return;
    fhir_worker_stop(&hooks->worker);
    while (hooks->first)
        hook_stop(hooks, hooks->first);
    fhir_close(hooks->scratch);
    fhir_worker_fini(&hooks->worker);
    free(hooks->hosts);
    free(hooks);
}
