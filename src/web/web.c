/* web.c -- the port, the table of calls and who may make them, and the workers.
 *
 * The loop's thread only copies: a request becomes a web_call, a worker checks the session, does
 * the work (SQLite, the journal, Argon2id) and the loop answers. So one slow query never stops the
 * event stream's beat. Slow work (logins, traces) has a queue of its own. Both queues are bounded:
 * what does not fit is told "busy" at once.
 *
 * Crashes: nothing is kept here but the ring of events, see events.c.
 */
#include "base/crypto.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/tls.h"
#include "web/web_int.h"

#include <stdio.h>
#include <stdlib.h>

static const struct web_route routes[] = {
    {"POST", "/api/login", 0, web_login, NULL, true},
    {"POST", "/api/logout", WEB_ANY, web_logout, NULL, false},
    {"GET", "/api/me", WEB_ANY, web_me, NULL, false},
    {"GET", "/api/board", WEB_ANY, web_board, NULL, false},
    {"GET", "/api/events", WEB_ANY, web_events, NULL, false},
    {"GET", "/api/patients/*", WEB_STAFF, web_patient, "hours", false},
    {"POST", "/api/patients/*", WEB_STAFF, web_patient_end, NULL, false},
    {"GET", "/api/worklist", WEB_ANY, web_worklist, NULL, false},
    {"POST", "/api/worklist/*", WEB_STAFF, web_worklist_act, NULL, false},
    {"GET", "/api/lists", WEB_ANY, web_lists, NULL, false},
    {"POST", "/api/lists", WEB_STAFF, web_list_make, NULL, false},
    {"GET", "/api/lists/*", WEB_ANY, web_list, NULL, false},
    {"POST", "/api/lists/*", WEB_STAFF, web_list_put, NULL, false},
    {"GET", "/api/report", WEB_ANY, web_report, NULL, false},
    {"GET", "/api/outbox", WEB_COORDINATOR | WEB_ADMIN, web_outbox, NULL, false},
    {"GET", "/api/steps", WEB_ANY, web_steps, NULL, false},
    {"GET", "/api/trace/*", WEB_STAFF, web_trace_call, NULL, true},
    {"GET", "/api/deadletters", WEB_COORDINATOR | WEB_ADMIN, web_deadletters, "count", true},
    {"POST", "/api/deadletters/*", WEB_COORDINATOR | WEB_ADMIN, web_deadletter_replay, NULL, true},
    {"GET", "/api/mappings", WEB_ADMIN, web_mappings, NULL, false},
    {"POST", "/api/mappings", WEB_ADMIN, web_mapping_act, NULL, true},
    {"GET", "/api/mappings/*", WEB_ADMIN, web_mapping, "count", true},
    {"POST", "/api/mappings/*", WEB_ADMIN, web_mapping_try, NULL, true},
    {"GET", "/api/models", WEB_ANY, web_models_list, NULL, false},
    {"POST", "/api/models", WEB_ADMIN, web_models_reload, NULL, true},
    {"GET", "/api/models/*", WEB_ANY, web_model_show, NULL, false},
    {"POST", "/api/models/*", WEB_ADMIN, web_models_watch, NULL, true},
    /* the bearer token of a service, see topics.c */
    {"GET", "/api/topics/*", 0, web_topic_read, "count", true},
    {"POST", "/api/topics/*", 0, web_topic_write, NULL, true},
    {"GET", "/api/health", 0, web_health, NULL, false},
    {"GET", "/metrics", 0, web_metrics, NULL, false},
};
#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

struct web_bound {
    struct web *web;
    const struct web_route *route;
};

/* ---- one call ---- */

static void call_free(struct web_call *call)
{
    vg_buf_fini(&call->out);
    vg_arena_fini(&call->arena);
    free(call);
}

static void call_fail(struct web_call *call, enum vg_status status, const struct vg_err *err)
{
    char retry[16];

    if (!call->http_status)
        call->http_status = status == VG_END ? 404 : status == VG_REJECT ? 400 : 503;
    if (call->http_status == 503)
        vg_log_err(VG_LOG_WARN, "web", err);
    if (call->retry_after_s) {
        (void)snprintf(retry, sizeof(retry), "%u", call->retry_after_s);
        vg_http_add_header(call->request, "Retry-After", vg_slice_of(retry));
    }
    vg_http_reply_error(call->request, call->http_status, err->code ? err->code : "web.not_found",
                        err->text[0] ? err->text : "no such thing");
}

struct answer {
    struct web_call *call;
    enum vg_status status;
    struct vg_err err;
};

/* The loop's thread: the end of every call. */
static void call_answer(void *ctx)
{
    struct answer *answer = ctx;
    struct web_call *call = answer->call;

    if (call->set_cookie[0])
        vg_http_add_header(call->request, "Set-Cookie", vg_slice_of(call->set_cookie));
    if (answer->status != VG_OK)
        call_fail(call, answer->status, &answer->err);
    else if (call->in_loop)
        call->in_loop(call);
    else
        vg_http_reply(call->request, call->http_status ? call->http_status : 200,
                      call->route->handler == web_metrics
                          ? "text/plain; version=0.0.4; charset=utf-8"
                          : "application/json",
                      vg_buf_slice(&call->out));
    call_free(call);
    free(answer);
}

/* What a viewer's session gets has no names in it, whatever the handler wrote. */
static enum vg_status without_names(struct web_call *call, struct vg_err *err)
{
    struct vg_buf less;
    enum vg_status st;

    vg_buf_init(&less, 0);
    st = web_minimise(vg_buf_slice(&call->out), &less, err);
    vg_buf_fini(&call->out);
    call->out = less;
    return st;
}

static enum vg_status call_work(struct web_call *call, struct vg_err *err)
{
    const struct web_route *route = call->route;
    enum vg_status st = VG_OK;

    call->now_us = vg_now_us();
    if (route->roles)
        st = web_session_check(call, err);
    if (st == VG_OK && route->roles && !(route->roles & call->role)) {
        call->http_status = 403;
        st = vg_fail(err, VG_REJECT, "web.role", 0, "your role (%s) may not do this",
                     call->user.role);
    }
    if (st == VG_OK)
        st = route->handler(call, err);
    if (st == VG_OK && call->role == WEB_VIEWER && !call->in_loop && call->out.len)
        st = without_names(call, err);
    if (st == VG_OK && !vg_buf_ok(&call->out))
        st = vg_fail(err, VG_RETRY, "web.memory", 0, "the answer is too large");
    return st;
}

static void *worker_run(void *ctx)
{
    struct vg_queue *queue = ctx;
    struct web_call *call;

    while ((call = vg_queue_pop(queue))) {
        struct answer *answer = NULL;

        if (!call->route)
            web_audit(call->web, call->session, call->method.ptr, call->tail);
        else
            answer = calloc(1, sizeof(*answer));
        if (!answer) {
            /* An audit; or no memory, and then the browser's own time limit ends its wait. */
            call_free(call);
            continue;
        }
        answer->call = call;
        answer->status = call_work(call, &answer->err);
        if (!vg_loop_post(call->web->loop, call_answer, answer)) {
            call_free(call);
            free(answer);
        }
    }
    return NULL;
}

static struct vg_slice copy(struct web_call *call, struct vg_slice borrowed)
{
    return borrowed.ptr ? vg_arena_dup(&call->arena, borrowed) : borrowed;
}

void web_audit_later(struct web *web, struct vg_slice user, const char *what,
                     struct vg_slice subject)
{
    struct web_call *call = calloc(1, sizeof(*call));

    if (call) {
        vg_arena_init(&call->arena, 0);
        vg_buf_init(&call->out, 0);
        call->web = web;
        call->method = vg_slice_of(what);
        call->session = copy(call, user);
        call->tail = copy(call, subject);
        if (vg_queue_try_push(&web->queue, call))
            return;
        call_free(call);
    }
    web_audit(web, user, what, subject); /* late is better than never */
}

static struct vg_slice bearer_of(const struct vg_http_request *request)
{
    struct vg_slice text = vg_http_header(request, "Authorization");

    return vg_slice_starts(text, VG_SLICE("Bearer ")) ? vg_slice_trim(vg_slice_from(text, 7))
                                                      : (struct vg_slice){0};
}

/* The loop's thread: from a request to a call in a queue. */
static void on_request(struct vg_http_request *request, void *ctx)
{
    const struct web_bound *bound = ctx;
    const struct web_route *route = bound->route;
    size_t path_len = strlen(route->path);
    struct web_call *call = calloc(1, sizeof(*call));

    if (!call) {
        vg_http_reply_error(request, 503, "web.memory", "no memory");
        return;
    }
    vg_arena_init(&call->arena, 0);
    vg_buf_init(&call->out, 0);
    call->web = bound->web;
    call->route = route;
    call->request = request;
    call->number = -1;
    if (route->number)
        (void)vg_slice_to_i64(vg_http_query_get(request, route->number), &call->number);
    call->method = copy(call, vg_http_method(request));
    call->tail =
        copy(call, vg_slice_from(vg_http_path(request),
                                 route->path[path_len - 1] == '*' ? path_len - 1 : path_len));
    call->body = copy(call, vg_http_body(request));
    call->cookie = copy(call, vg_http_cookie(request, "__Host-vigil"));
    call->csrf = copy(call, vg_http_header(request, "X-Vigil-CSRF"));
    call->bearer = copy(call, bearer_of(request));
    call->peer = copy(call, vg_http_peer(request));
    call->last_event_id = copy(call, vg_http_header(request, "Last-Event-ID"));
    call->content_type = copy(call, vg_http_header(request, "Content-Type"));
    call->is_background = vg_http_header(request, "X-Vigil-Background").ptr != NULL;
    if (!vg_queue_try_push(route->is_slow ? &bound->web->slow_queue : &bound->web->queue, call)) {
        call_free(call);
        vg_http_add_header(request, "Retry-After", VG_SLICE("2"));
        vg_http_reply_error(request, 503, "web.busy", "too many requests at once, try again");
    }
}

static void on_unknown(struct vg_http_request *request, void *ctx)
{
    (void)ctx;
    vg_http_reply_error(request, 404, "web.not_found", "no such call");
}

/* ---- helpers of the handlers ---- */

enum vg_status web_body(struct web_call *call, const struct vg_json **ret_root, struct vg_err *err)
{
    struct vg_json *root = NULL;
    enum vg_status st;

    if (!vg_slice_starts(call->content_type, VG_SLICE("application/json"))) {
        return vg_fail(err, VG_REJECT, "web.content_type", 0, "expected application/json");
    }
    st = vg_json_parse(&call->arena, call->body, NULL, &root, NULL, err);
    if (st == VG_OK && !vg_json_is(root, VG_JSON_OBJECT))
        st = vg_fail(err, VG_REJECT, "web.body", 0, "expected a JSON object");
    if (st == VG_OK)
        *ret_root = root;
    return st;
}

enum vg_status web_body_text(const struct vg_json *root, const char *name, size_t max,
                             struct vg_slice *ret_text, struct vg_err *err)
{
    struct vg_slice text = vg_slice_trim(vg_json_get_text(root, name));

    if (text.len == 0 || text.len > max)
        return vg_fail(err, VG_REJECT, "web.body", 0, "expected '%s' with 1 to %zu bytes of text",
                       name, max);
    *ret_text = text;
    return VG_OK;
}

bool web_health_write(struct web *web, struct vg_buf *out)
{
    if (web->config.health)
        return web->config.health(web->config.health_ctx, out);
    vg_buf_printf(out, "{\"ok\":true,\"troubles\":[],\"version\":\"%s\"}", VIGIL_VERSION);
    return true;
}

/* ---- open and close ---- */

static enum vg_status add_routes(struct web *web, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    web->bound = calloc(ROUTE_COUNT, sizeof(*web->bound));
    if (!web->bound)
        return vg_fail(err, VG_RETRY, "web.memory", 0, "no memory");
    for (size_t i = 0; st == VG_OK && i < ROUTE_COUNT; i++) {
        web->bound[i] = (struct web_bound){web, &routes[i]};
        st = vg_http_route(web->server, routes[i].method, routes[i].path, on_request,
                           &web->bound[i], err);
    }
    if (st == VG_OK)
        st = vg_http_route(web->server, "*", "/api/*", on_unknown, web, err);
    if (st == VG_OK)
        st = vg_http_route(web->server, "GET", "/*", web_asset, web, err);
    if (st == VG_OK && web->config.fhir)
        st = fhir_rest_mount(web->config.fhir, web->server, web->loop, web_fhir_may, web, err);
    return st;
}

static enum vg_status start_workers(struct web *web, struct vg_err *err)
{
    vg_queue_init(&web->queue, web->queue_items, WEB_QUEUE_SIZE);
    vg_queue_init(&web->slow_queue, web->slow_items, WEB_QUEUE_SIZE / 4);
    web->has_queues = true;
    for (; web->worker_count < WEB_WORKERS; web->worker_count++) {
        int rc = pthread_create(&web->workers[web->worker_count], NULL, worker_run,
                                web->worker_count == 0 ? &web->slow_queue : &web->queue);

        if (rc)
            return vg_fail(err, VG_RETRY, "web.thread", rc, "cannot start a worker");
        (void)pthread_setname_np(web->workers[web->worker_count], "vg-web");
    }
    return VG_OK;
}

enum vg_status web_open(const struct web_config *config, struct web **ret_web, struct vg_err *err)
{
    struct vg_http_server_config server = {
        .body_bytes_max = (size_t)16 << 20, /* a FHIR transaction of one patient's years */
        .address = config->address,
        .port = config->port,
        .idle_timeout_s = 75};
    struct web *web = calloc(1, sizeof(*web));
    enum vg_status st;

    if (!web)
        return vg_fail(err, VG_RETRY, "web.memory", 0, "no memory");
    web->config = *config;
    if (!web->config.session_idle_us)
        web->config.session_idle_us = 15 * VG_MINUTE_US;
    if (!web->config.session_life_us)
        web->config.session_life_us = 12 * VG_HOUR_US;
    vg_map_init(&web->locks);
    pthread_mutex_init(&web->lock_mutex, NULL);
    vg_password_hash_of_nobody(false, web->nobody_hash);
    st = vg_loop_open("web", &web->loop, err);
    if (st == VG_OK && config->cert_path)
        st = vg_tls_server_open(config->cert_path, config->key_path, &web->tls, err);
    server.tls = web->tls;
    if (st == VG_OK)
        st = vg_http_server_open(web->loop, &server, &web->server, err);
    if (st == VG_OK)
        st = web_hub_open(web, err);
    if (st == VG_OK)
        st = add_routes(web, err);
    if (st == VG_OK)
        st = vg_loop_every(web->loop, VG_SECOND_US, web_hub_tick, web, err);
    if (st == VG_OK)
        st = start_workers(web, err);
    if (st == VG_OK)
        st = vg_loop_start(web->loop, err);
    if (st == VG_OK) {
        web->is_loop_started = true;
        *ret_web = web;
        web = NULL;
    }
    web_close(web);
    return st;
}

void web_close(struct web *web)
{
    if (!web)
        return;
    if (web->has_queues) {
        vg_queue_close(&web->queue);
        vg_queue_close(&web->slow_queue);
        /* The workers end what was asked; the loop, still running, answers it. */
        for (unsigned i = 0; i < web->worker_count; i++)
            (void)pthread_join(web->workers[i], NULL);
    }
    if (web->is_loop_started)
        vg_loop_stop(web->loop);
    vg_http_server_close(web->server); /* ends the viewers' streams: before the hub */
    web_hub_close(web);
    vg_loop_close(web->loop);
    vg_tls_close(web->tls);
    if (web->has_queues) {
        vg_queue_fini(&web->queue);
        vg_queue_fini(&web->slow_queue);
    }
    vg_map_fini(&web->locks, free);
    pthread_mutex_destroy(&web->lock_mutex);
    free(web->bound);
    free(web);
}

uint16_t web_port(const struct web *web)
{
    return vg_http_server_port(web->server);
}
