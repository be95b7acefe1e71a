/* hook.c -- one Subscription that is served: what its thread looks at, whether it matches, how it
 * is told. subscription.c says what is promised.
 *
 * Whether a version matched is asked of a small scratch store that holds this one version for the
 * length of a transaction that is rolled back: the same search, on what was written then and not on
 * what stands there now. Criteria with a chain need other resources and are asked of the store.
 *
 * Threads: all of this runs in the hook's own thread, but fhir_hook_load/save/drop/show, which the
 * manager calls before it begins and after it has ended.
 */
#include "fhir/hook_int.h"

#include "base/db.h"
#include "base/log.h"
#include "base/metrics.h"
#include "fhir/rest_int.h"

#include <inttypes.h>
#include <stdio.h>

#define CHANGES_MAX 100u  /* looked at in one step */
#define EVENTS_KEPT 1000  /* for $events */
#define TIMEOUT_MS 30000L /* of one delivery */
#define BACK_OFF_FIRST_MS 250
#define BACK_OFF_MAX_MS 30000
#define FAILURES_SHOWN 3 /* then the status says error */

/* ---- what is kept ---- */

enum vg_status fhir_hook_load(struct hook *hook, bool *ret_is_there, struct vg_err *err)
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

enum vg_status fhir_hook_save(struct hook *hook, struct vg_err *err)
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

enum vg_status fhir_hook_drop(struct fhir_hooks *hooks, struct vg_slice id, struct vg_err *err)
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

void fhir_hook_show(struct fhir_hooks *hooks, struct vg_slice id, const char *status,
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

    (void)pthread_mutex_lock(&hook->hooks->worker.lock);
    is_end = hook->is_ending || hook->hooks->worker.is_closing;
    (void)pthread_mutex_unlock(&hook->hooks->worker.lock);
    return is_end;
}

/* True: go on. */
static bool wait_ms(struct hook *hook, int ms)
{
    struct fhir_worker *worker = &hook->hooks->worker;
    int64_t until_us = vg_mono_us() + ms * INT64_C(1000);
    bool goes_on;

    (void)pthread_mutex_lock(&worker->lock);
    while (!hook->is_ending && !worker->is_closing && fhir_worker_wait(worker, until_us))
        ;
    goes_on = !hook->is_ending && !worker->is_closing;
    (void)pthread_mutex_unlock(&worker->lock);
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
            fhir_hook_show(hook->hooks, vg_slice_of(hook->id), "active", NULL);
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
        fhir_hook_show(hook->hooks, vg_slice_of(hook->id), "error", hook->error);
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
            st = fhir_hook_save(hook, &err);
    }
    if (st == VG_OK && goes_on && found.count < CHANGES_MAX && (int64_t)hook->change < last)
        hook->change = (uint64_t)last; /* the rest is of other types */
    if (st == VG_OK && goes_on && hook->change != before)
        st = fhir_hook_save(hook, &err);
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
    fhir_hook_show(hook->hooks, vg_slice_of(hook->id), "active", NULL);
    hook->told_us = vg_now_us();
    return true;
}

void *fhir_hook_run(void *ctx)
{
    struct hook *hook = ctx;
    struct fhir_store *store = hook->hooks->store;
    uint64_t seen = UINT64_MAX, now;
    size_t count = 0;
    bool goes_on = !hook->is_asked_to_begin || begin(hook);

    while (goes_on && !is_ending(hook)) {
        if (has_expired(hook)) {
            fhir_hook_show(hook->hooks, vg_slice_of(hook->id), "off", NULL);
            break;
        }
        now = fhir_change_count(store, fhir_type_name(hook->terms.type));
        /* Now and then also without a change of its type: others' are not kept for it. */
        if (now != seen || count == CHANGES_MAX ||
            vg_mono_us() - hook->looked_us > FHIR_HOOK_PRUNE_US) {
            goes_on = look(hook, &count);
            seen = now;
            hook->looked_us = vg_mono_us();
        } else if (hook->terms.heartbeat_us && hook->terms.is_backport &&
                   vg_now_us() - hook->told_us >= hook->terms.heartbeat_us) {
            goes_on = after_try(hook, tell_bundle(hook, "heartbeat", NULL));
            hook->told_us = vg_now_us();
        } else {
            goes_on = wait_ms(hook, FHIR_HOOK_LOOK_MS);
        }
    }
    (void)pthread_mutex_lock(&hook->hooks->worker.lock);
    hook->has_ended = true;
    (void)pthread_mutex_unlock(&hook->hooks->worker.lock);
    return NULL;
}
