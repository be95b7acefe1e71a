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
 * Whether a version matched is asked of a small scratch store that holds this one version for the
 * length of a transaction that is rolled back: the same search, on what was written then and not on
 * what stands there now. Criteria with a chain need other resources and are asked of the store.
 *
 * Where it sends is bounded: only to hosts of the setting, by TLS, without redirects; a
 * Subscription to anywhere else goes to status error. What is wrong with a receiver is said in
 * Subscription.error.
 *
 * Threads: one manager, which compares the Subscriptions that there are with the threads that run;
 * one thread for each of them. `lock` guards the list and the flags; a hook's own thread alone
 * touches its numbers.
 */
#include "fhir/subscription_int.h"

#include "base/crypto.h"
#include "base/db.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metrics.h"
#include "fhir/rest_int.h"
#include "fhir/side_int.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HOOKS_MAX 200u
#define LOOK_MS 50        /* how long a change may wait before it is seen */
#define CHANGES_MAX 100u  /* looked at in one step */
#define EVENTS_KEPT 1000  /* for $events */
#define TIMEOUT_MS 30000L /* of one delivery */
#define BACK_OFF_FIRST_MS 250
#define BACK_OFF_MAX_MS 30000
#define FAILURES_SHOWN 3 /* then the status says error */
#define PRUNE_US (5 * VG_SECOND_US)

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
    pthread_mutex_t lock; /* guards the list and the flags of each */
    pthread_cond_t moved;
    struct hook *first;
    bool is_closing;
    uint64_t seen_count; /* fhir_change_count of Subscription */
    int64_t needed;      /* changes before this one are not */
    pthread_t manager;
    bool has_manager;
};

/* ---- what is kept ---- */

static enum vg_status numbers_load(struct hook *hook, bool *ret_is_there, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    struct fhir_side *side = hook->hooks->store->side;
    enum vg_status st =
        fhir_side_begin(side, "SELECT change, events, told_us FROM hook WHERE id=?", &stmt, err);

    *ret_is_there = false;
    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, vg_slice_of(hook->id));
    st = vg_db_step(stmt, err);
    if (st == VG_OK) {
        hook->change = (uint64_t)sqlite3_column_int64(stmt, 0);
        hook->events = (uint64_t)sqlite3_column_int64(stmt, 1);
        hook->told_us = sqlite3_column_int64(stmt, 2);
        *ret_is_there = true;
    }
    fhir_side_end(side, stmt);
    return st == VG_END ? VG_OK : st;
}

static enum vg_status numbers_save(struct hook *hook, struct vg_err *err)
{
    return fhir_side_run(
        hook->hooks->store->side,
        "INSERT INTO hook(id, error, change, events, told_us, failures) VALUES(?,?,?,?,?,?)"
        " ON CONFLICT(id) DO UPDATE SET change=excluded.change, events=excluded.events,"
        " told_us=excluded.told_us, failures=excluded.failures, error=excluded.error",
        &(struct fhir_side_args){.texts = {vg_slice_of(hook->id), vg_slice_of(hook->error)},
                                 .text_count = 2,
                                 .numbers = {(int64_t)hook->change, (int64_t)hook->events,
                                             hook->told_us, hook->failures},
                                 .number_count = 4},
        err);
}

static enum vg_status numbers_drop(struct fhir_hooks *hooks, struct vg_slice id, struct vg_err *err)
{
    return fhir_side_run(hooks->store->side, "DELETE FROM hook WHERE id=?",
                         &(struct fhir_side_args){.texts = {id}, .text_count = 1}, err);
}

static enum vg_status event_save(struct hook *hook, const struct fhir_resource *resource,
                                 struct vg_err *err)
{
    struct fhir_side *side = hook->hooks->store->side;
    char focus[160];
    enum vg_status st;

    (void)snprintf(focus, sizeof(focus), "%.*s/%.*s/_history/%" PRIu64, VG_FMT(resource->type),
                   VG_FMT(resource->id), resource->version);
    st = fhir_side_run(
        side,
        "INSERT OR REPLACE INTO hook_event(id, focus, number, at_us)"
        " VALUES(?,?,?,?)",
        &(struct fhir_side_args){.texts = {vg_slice_of(hook->id), vg_slice_of(focus)},
                                 .text_count = 2,
                                 .numbers = {(int64_t)hook->events + 1, resource->last_updated_us},
                                 .number_count = 2},
        err);
    if (st == VG_OK && hook->events % 100 == 0)
        st =
            fhir_side_run(side, "DELETE FROM hook_event WHERE id=? AND number<?",
                          &(struct fhir_side_args){.texts = {vg_slice_of(hook->id)},
                                                   .text_count = 1,
                                                   .numbers = {(int64_t)hook->events - EVENTS_KEPT},
                                                   .number_count = 1},
                          err);
    return st;
}

/* The server's own word in the resource. Whoever changed it meanwhile is right: then the manager
 * looks again. */
static void show_status(struct fhir_hooks *hooks, struct vg_slice id, const char *status,
                        const char *error)
{
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct fhir_op op = {.what = FHIR_OP_UPDATE, .id = id, .needs_body_id = true};
    struct fhir_ops ops = {.store = hooks->store, .ops = &op, .count = 1, .issue = &issue};
    struct vg_arena arena;
    struct vg_buf patch;
    enum vg_status st;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    vg_buf_init(&patch, 4096);
    vg_buf_printf(&patch,
                  "[{\"op\":\"replace\",\"path\":\"/status\",\"value\":\"%s\"},"
                  "{\"op\":\"add\",\"path\":\"/error\",\"value\":",
                  status);
    vg_json_escape(&patch, error && error[0] ? vg_slice_of(error) : VG_SLICE("none"));
    vg_buf_printf(&patch, "}%s]",
                  error && error[0] ? "" : ",{\"op\":\"remove\",\"path\":\"/error\"}");
    op.type = fhir_type_find(VG_SLICE("Subscription"));
    op.patch = vg_buf_slice(&patch);
    ops.arena = &arena;
    st = fhir_ops_commit(&ops, &err);
    if (st != VG_OK && issue.http_status != 404 && issue.http_status != 410)
        vg_log_err(VG_LOG_WARN, "fhir", &err);
    vg_buf_fini(&patch);
    vg_arena_fini(&arena);
}

/* ---- does it match? ---- */

struct matching {
    struct fhir_store *store;
    struct fhir_ops ops;
    unsigned type;
    struct vg_slice query;
    bool is_match;
};

static enum vg_status match_work(void *ctx, void *view, struct vg_err *err)
{
    struct matching *in = ctx;
    struct fhir_results results;
    enum vg_status st = fhir_ops_run(&in->ops, view, err);

    if (st == VG_OK)
        st = fhir_search_in(in->store, view, in->type, in->query, true, in->ops.arena, &results,
                            in->ops.issue, err);
    if (st != VG_OK)
        return st;
    in->is_match = results.match_count > 0;
    return VG_END; /* anything but VG_OK: what was put there goes again */
}

/* A chain or _has looks at other resources, which the scratch store does not hold. */
static bool needs_others(struct vg_slice query)
{
    while (query.len) {
        struct vg_slice value = vg_slice_cut(&query, '&'), name = vg_slice_cut(&value, '=');

        if (name.len &&
            (memchr(name.ptr, '.', name.len) || vg_slice_starts(name, VG_SLICE("_has"))))
            return true;
    }
    return false;
}

static enum vg_status matches(struct hook *hook, const struct fhir_resource *resource,
                              struct vg_arena *arena, bool *ret_is_match, struct vg_err *err)
{
    struct fhir_hooks *hooks = hook->hooks;
    struct fhir_issue issue = {0};
    struct fhir_op op = {.what = FHIR_OP_UPDATE,
                         .type = hook->terms.type,
                         .id = resource->id,
                         .body = resource->body};
    struct matching in = {.store = hooks->scratch, .type = hook->terms.type};
    struct fhir_results results;
    void *view = NULL;
    enum vg_status st;

    in.query = vg_arena_printf(arena, "%.*s&_id=%.*s&_count=1", VG_FMT(hook->terms.query),
                               VG_FMT(resource->id));
    if (!in.query.ptr)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for a match");
    if (!needs_others(hook->terms.query)) {
        in.ops = (struct fhir_ops){
            .store = hooks->scratch, .ops = &op, .count = 1, .arena = arena, .issue = &issue};
        st = fhir_ops_prepare(&in.ops, err);
        if (st == VG_OK)
            st = hooks->scratch->engine->transact(hooks->scratch->self, match_work, &in, err);
        fhir_ops_fini(&in.ops);
        *ret_is_match = in.is_match;
        if (st != VG_REJECT)
            return st == VG_END ? VG_OK : st;
    }
    st = hooks->store->engine->view_begin(hooks->store->self, &view, err);
    if (st != VG_OK)
        return st;
    st = fhir_search_in(hooks->store, view, in.type, in.query, true, arena, &results, &issue, err);
    hooks->store->engine->view_end(hooks->store->self, view);
    *ret_is_match = st == VG_OK && results.match_count > 0;
    return st;
}

/* ---- one delivery ---- */

static size_t swallow(char *bytes, size_t size, size_t count, void *ctx)
{
    size_t *total = ctx;

    (void)bytes;
    *total += size * count;
    return *total > (1u << 20) ? 0 : size * count; /* an endless answer is none */
}

static bool is_ending(struct hook *hook);

/* Nobody waits for a receiver that hangs when this is to end. */
static int give_up(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return is_ending(ctx);
}

static bool add_line(struct curl_slist **lines, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*lines, text);

    if (longer)
        *lines = longer;
    return longer != NULL;
}

/* Runs one request; false: hook->error says why (never the address: it may hold a secret). */
static bool post(struct hook *hook, const char *method, struct vg_slice address,
                 const char *content_type, struct vg_slice body, uint64_t number)
{
    struct curl_slist *lines = NULL;
    char text[256], url[2200];
    size_t total = 0;
    long status = 0;
    CURLcode result = CURLE_OUT_OF_MEMORY;
    bool is_fine = vg_slice_to_cstr(address, url, sizeof(url));
    const struct vg_json *headers = hook->terms.headers;
    struct vg_arena arena;

    vg_arena_init(&arena, 0);
    (void)snprintf(text, sizeof(text), "X-Vigil-Event-Number: %" PRIu64, number);
    is_fine = is_fine && add_line(&lines, "Expect:") && add_line(&lines, text);
    (void)snprintf(text, sizeof(text), "Idempotency-Key: %s-%" PRIu64, hook->id, number);
    is_fine = is_fine && (!number || add_line(&lines, text));
    (void)snprintf(text, sizeof(text), "Content-Type:%s%s", content_type ? " " : "",
                   content_type ? content_type : "");
    is_fine = is_fine && add_line(&lines, text);
    for (const struct vg_json *one = headers ? headers->child : NULL; one && is_fine;
         one = one->next) {
        struct vg_slice line = vg_arena_dup(&arena, vg_json_text(one));

        is_fine = line.ptr && add_line(&lines, line.ptr);
    }
    curl_easy_reset(hook->curl);
    is_fine =
        is_fine && curl_easy_setopt(hook->curl, CURLOPT_URL, url) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) ==
            CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_POSTFIELDS, body.len ? body.ptr : "") == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_HTTPHEADER, lines) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_XFERINFOFUNCTION, give_up) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_XFERINFODATA, hook) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_WRITEFUNCTION, swallow) == CURLE_OK &&
        curl_easy_setopt(hook->curl, CURLOPT_WRITEDATA, &total) == CURLE_OK;
    if (is_fine)
        result = curl_easy_perform(hook->curl);
    if (result == CURLE_OK)
        (void)curl_easy_getinfo(hook->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(lines);
    vg_arena_fini(&arena);
    if (result == CURLE_OK && status >= 200 && status < 300)
        return true;
    if (result == CURLE_OK)
        (void)snprintf(hook->error, sizeof(hook->error), "the receiver answers HTTP %ld", status);
    else
        (void)snprintf(hook->error, sizeof(hook->error), "the receiver cannot be reached: %s",
                       curl_easy_strerror(result));
    return false;
}

static bool tell_bundle(struct hook *hook, const char *kind, const struct fhir_event *event)
{
    struct vg_buf body;
    bool is_told;

    vg_buf_init(&body, FHIR_RESOURCE_BYTES_MAX * 2);
    fhir_notification_write(&body, hook->hooks->store->base_url, vg_slice_of(hook->id),
                            FHIR_HOOK_TOPIC, strcmp(kind, "handshake") ? "active" : "requested",
                            kind, NULL, event ? event->number : hook->events, hook->terms.content,
                            event, event != NULL);
    is_told = vg_buf_ok(&body) && post(hook, "POST", hook->terms.endpoint, "application/fhir+json",
                                       vg_buf_slice(&body), event ? event->number : 0);
    vg_buf_fini(&body);
    return is_told;
}

static bool tell(struct hook *hook, const struct fhir_resource *resource, struct vg_arena *arena)
{
    struct fhir_event event = {
        .number = hook->events + 1, .at_us = resource->last_updated_us, .resource = resource};
    struct vg_slice endpoint = hook->terms.endpoint, address;

    if (hook->terms.is_backport)
        return tell_bundle(hook, "event-notification", &event);
    if (!hook->terms.payload.len)
        return post(hook, "POST", endpoint, NULL, (struct vg_slice){0}, event.number);
    while (endpoint.len && endpoint.ptr[endpoint.len - 1] == '/')
        endpoint.len--;
    address = vg_arena_printf(arena, "%.*s/%.*s/%.*s", VG_FMT(endpoint), VG_FMT(resource->type),
                              VG_FMT(resource->id));
    return address.ptr &&
           post(hook, "PUT", address, "application/fhir+json", resource->body, event.number);
}

/* ---- a hook's thread ---- */

static bool is_ending(struct hook *hook)
{
    bool is_end;

    (void)pthread_mutex_lock(&hook->hooks->lock);
    is_end = hook->is_ending || hook->hooks->is_closing;
    (void)pthread_mutex_unlock(&hook->hooks->lock);
    return is_end;
}

/* True: go on. */
static bool wait_ms(struct hook *hook, int ms)
{
    struct fhir_hooks *hooks = hook->hooks;
    struct timespec until;
    bool goes_on;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&hooks->lock);
    while (!hook->is_ending && !hooks->is_closing &&
           pthread_cond_timedwait(&hooks->moved, &hooks->lock, &until) != ETIMEDOUT)
        ;
    goes_on = !hook->is_ending && !hooks->is_closing;
    (void)pthread_mutex_unlock(&hooks->lock);
    return goes_on;
}

static struct vg_metric *counter(const char *name, const char *help)
{
    return vg_counter(name, help, "");
}

/* After a try: the status follows, and so does the wait. False: the thread is to end. */
static bool after_try(struct hook *hook, bool is_told)
{
    int wait = BACK_OFF_FIRST_MS;

    if (is_told) {
        hook->failures = 0;
        hook->error[0] = '\0';
        if (hook->shows_error)
            show_status(hook->hooks, vg_slice_of(hook->id), "active", NULL);
        hook->shows_error = false;
        return true;
    }
    vg_metric_add(counter("vigil_fhir_subscription_failures_total",
                          "Notifications that were not taken, and are tried again"),
                  1);
    hook->failures++;
    for (int i = 1; i < hook->failures && wait < BACK_OFF_MAX_MS; i++)
        wait *= 2;
    if (hook->failures == FAILURES_SHOWN && !hook->shows_error) {
        show_status(hook->hooks, vg_slice_of(hook->id), "error", hook->error);
        hook->shows_error = true;
    }
    return wait_ms(hook, wait < BACK_OFF_MAX_MS ? wait : BACK_OFF_MAX_MS);
}

static bool has_expired(const struct hook *hook)
{
    int64_t end_us;

    return hook->terms.end.len && vg_time_parse(hook->terms.end, &end_us, NULL) &&
           vg_now_us() >= end_us;
}

/* A store's failure passes: it is logged, and tried again. False: the thread is to end. */
static bool store_failed(struct hook *hook, const struct vg_err *err)
{
    vg_log_err(VG_LOG_WARN, "fhir", err);
    return wait_ms(hook, 1000);
}

/* Until it is told, or the thread ends. */
static bool tell_until_told(struct hook *hook, const struct fhir_resource *resource,
                            struct vg_arena *arena)
{
    bool is_told = false;

    while (!is_told) {
        if (has_expired(hook))
            return true;
        is_told = tell(hook, resource, arena);
        if (!after_try(hook, is_told))
            return false;
    }
    vg_metric_add(counter("vigil_fhir_subscription_events_total", "Notifications that were taken"),
                  1);
    struct vg_err err = {0};

    while (event_save(hook, resource, &err) != VG_OK)
        if (!store_failed(hook, &err))
            return false;
    hook->events++;
    hook->told_us = vg_now_us();
    return true;
}

/* The next changes. *ret_count: how many there were. False: the thread is to end. */
static bool look(struct hook *hook, size_t *ret_count)
{
    struct fhir_store *store = hook->hooks->store;
    struct fhir_found_list found = {0};
    struct vg_arena arena;
    struct vg_err err = {0};
    void *view = NULL;
    uint64_t before = hook->change;
    int64_t last = 0;
    bool goes_on = true;
    enum vg_status st;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    st = store->engine->view_begin(store->self, &view, &err);
    if (st == VG_OK) {
        st = store->engine->changes(view, hook->terms.type, (int64_t)hook->change, CHANGES_MAX,
                                    &arena, &found, &last, &err);
        store->engine->view_end(store->self, view);
    }
    vg_metric_set(hook->lag, st == VG_OK ? (double)(last - (int64_t)hook->change) : -1);
    for (size_t i = 0; i < found.count && st == VG_OK && goes_on; i++) {
        const struct fhir_resource *one = &found.items[i].resource;
        bool is_match = false;

        if (!one->is_deleted)
            st = matches(hook, one, &arena, &is_match, &err);
        if (st == VG_OK && is_match)
            goes_on = tell_until_told(hook, one, &arena);
        if (st != VG_OK || !goes_on)
            break;
        hook->change = (uint64_t)found.items[i].sort_number;
        /* What was told is kept at once; what was passed over, once for all. */
        if (is_match)
            st = numbers_save(hook, &err);
    }
    if (st == VG_OK && goes_on && found.count < CHANGES_MAX && (int64_t)hook->change < last)
        hook->change = (uint64_t)last; /* the rest is of other types */
    if (st == VG_OK && goes_on && hook->change != before)
        st = numbers_save(hook, &err);
    if (st == VG_OK && goes_on)
        vg_metric_set(hook->lag, (double)(last - (int64_t)hook->change));
    *ret_count = st == VG_OK ? found.count : CHANGES_MAX; /* looked at again */
    vg_arena_fini(&arena);
    return st == VG_OK ? goes_on : goes_on && store_failed(hook, &err);
}

static bool begin(struct hook *hook)
{
    bool is_told = !hook->terms.is_backport;

    while (!is_told) {
        is_told = tell_bundle(hook, "handshake", NULL);
        if (!after_try(hook, is_told))
            return false;
    }
    show_status(hook->hooks, vg_slice_of(hook->id), "active", NULL);
    hook->told_us = vg_now_us();
    return true;
}

static void *hook_run(void *ctx)
{
    struct hook *hook = ctx;
    struct fhir_store *store = hook->hooks->store;
    uint64_t seen = UINT64_MAX, now;
    size_t count = 0;
    bool goes_on = !hook->is_asked_to_begin || begin(hook);

    while (goes_on && !is_ending(hook)) {
        if (has_expired(hook)) {
            show_status(hook->hooks, vg_slice_of(hook->id), "off", NULL);
            break;
        }
        now = fhir_change_count(store, fhir_type_name(hook->terms.type));
        /* Now and then also without a change of its type: others' are not kept for it. */
        if (now != seen || count == CHANGES_MAX || vg_mono_us() - hook->looked_us > PRUNE_US) {
            goes_on = look(hook, &count);
            seen = now;
            hook->looked_us = vg_mono_us();
        } else if (hook->terms.heartbeat_us && hook->terms.is_backport &&
                   vg_now_us() - hook->told_us >= hook->terms.heartbeat_us) {
            goes_on = after_try(hook, tell_bundle(hook, "heartbeat", NULL));
            hook->told_us = vg_now_us();
        } else {
            goes_on = wait_ms(hook, LOOK_MS);
        }
    }
    (void)pthread_mutex_lock(&hook->hooks->lock);
    hook->has_ended = true;
    (void)pthread_mutex_unlock(&hook->hooks->lock);
    return NULL;
}

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

/* Ends its thread and takes it off the list. */
static void hook_stop(struct fhir_hooks *hooks, struct hook *hook)
{
    struct hook **link = &hooks->first;

    (void)pthread_mutex_lock(&hooks->lock);
    hook->is_ending = true;
    (void)pthread_cond_broadcast(&hooks->moved);
    (void)pthread_mutex_unlock(&hooks->lock);
    (void)pthread_join(hook->thread, NULL);
    while (*link != hook)
        link = &(*link)->next;
    (void)pthread_mutex_lock(&hooks->lock);
    *link = hook->next;
    (void)pthread_mutex_unlock(&hooks->lock);
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
        st = numbers_load(hook, &has_numbers, err);
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
            st = numbers_save(hook, err);
    }
    if (st == VG_OK && pthread_create(&hook->thread, NULL, hook_run, hook) != 0)
        st = vg_fail(err, VG_RETRY, "fhir.thread", errno, "a Subscription's thread did not start");
    if (st == VG_OK) {
        (void)pthread_mutex_lock(&hooks->lock);
        hook->next = hooks->first;
        hooks->first = hook;
        (void)pthread_mutex_unlock(&hooks->lock);
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

    if (hook && (is_off || hook->has_ended || strcmp(key, hook->key) != 0 ||
                 (is_requested && !hook->is_asked_to_begin))) {
        is_requested |= !is_off && strcmp(key, hook->key) != 0;
        hook_stop(hooks, hook);
        hook = NULL;
    }
    if (is_off) {
        /* What happens meanwhile is not wanted. */
        st = numbers_drop(hooks, resource->id, &err);
    } else if (!hook) {
        bool has_numbers = true;

        for (const struct hook *other = hooks->first; other; other = other->next)
            running++;

        if (vg_slice_is(status, "error")) {
            struct hook probe = {.hooks = hooks};

            (void)vg_slice_to_cstr(resource->id, probe.id, sizeof(probe.id));
            st = numbers_load(&probe, &has_numbers, &err);
        }
        /* One that could not be served stays in error until its owner asks again. */
        if (st == VG_OK && has_numbers)
            st = running < HOOKS_MAX ? hook_start(hooks, resource, is_requested, &err)
                                     : vg_fail(&err, VG_REJECT, "fhir.hook", 0,
                                               "there are %u Subscriptions already", HOOKS_MAX);
        if (st == VG_REJECT) {
            (void)numbers_drop(hooks, resource->id, NULL);
            show_status(hooks, resource->id, "error", err.text);
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
        if (numbers_drop(hooks, vg_slice_of(id), &err) != VG_OK)
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
    struct timespec until;

    (void)pthread_mutex_lock(&hooks->lock);
    while (!hooks->is_closing) {
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += (long)LOOK_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&hooks->moved, &hooks->lock, &until);
        (void)pthread_mutex_unlock(&hooks->lock);
        if (hooks->seen_count != fhir_change_count(hooks->store, "Subscription") &&
            reconcile(hooks, &err) != VG_OK) {
            vg_log_err(VG_LOG_WARN, "fhir", &err);
            hooks->seen_count = UINT64_MAX;
        }
        if (hooks->first && vg_mono_us() - pruned_us > PRUNE_US) {
            prune(hooks);
            pruned_us = vg_mono_us();
        }
        (void)pthread_mutex_lock(&hooks->lock);
    }
    (void)pthread_mutex_unlock(&hooks->lock);
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
    (void)pthread_mutex_init(&hooks->lock, NULL);
    (void)pthread_cond_init(&hooks->moved, NULL);
    st = hooks->hosts ? reconcile(hooks, err)
                      : vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for Subscriptions");
    if (st == VG_OK && pthread_create(&hooks->manager, NULL, manage, hooks) != 0)
        st =
            vg_fail(err, VG_RETRY, "fhir.thread", errno, "the Subscriptions' thread did not start");
    hooks->has_manager = st == VG_OK;
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
    (void)pthread_mutex_lock(&hooks->lock);
    hooks->is_closing = true;
    (void)pthread_cond_broadcast(&hooks->moved);
    (void)pthread_mutex_unlock(&hooks->lock);
    if (hooks->has_manager)
        (void)pthread_join(hooks->manager, NULL);
    while (hooks->first)
        hook_stop(hooks, hooks->first);
    fhir_close(hooks->scratch);
    (void)pthread_cond_destroy(&hooks->moved);
    (void)pthread_mutex_destroy(&hooks->lock);
    free(hooks->hosts);
    free(hooks);
}
