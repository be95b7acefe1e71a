/* rest.c -- FHIR's REST interface at /fhir.
 *
 * A handler runs in the HTTP loop's thread and only copies the request into a job: a search may
 * take milliseconds and a write waits for its fsync. Sixteen workers run the jobs; writes that run
 * at the same time share one fsync in the engine. The reply is posted back to the loop. A full
 * queue is answered 503 at once.
 *
 * What may be done with which address is a table (routes). Everything that is answered is JSON; an
 * error is always an OperationOutcome.
 *
 * Threads: a job belongs to the loop until it is queued, to one worker until it is posted back,
 * then to the loop again. If the loop has ended meanwhile, the job is dropped without its reply.
 */
#include "base/http_server.h"
#include "base/queue.h"
#include "fhir/engine.h"
#include "fhir/remote_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS 16
#define JOBS_MAX 1024
#define SEGMENTS_MAX 5

struct fhir_rest {
    struct fhir_store *store;
    struct vg_loop *loop;
    fhir_may *may;
    void *may_ctx;
    struct vg_queue queue;
    void *items[JOBS_MAX];
    pthread_t threads[WORKERS];
    size_t thread_count;
};

struct job;
typedef void job_handler(struct job *job);

struct job {
    struct fhir_rest *rest;
    struct vg_http_request *request; /* touched in the loop's thread only */
    struct vg_arena arena;           /* all slices below */
    job_handler *run;

    struct vg_slice method, query, body;
    unsigned type;
    struct vg_slice id, version;
    struct vg_slice accept, content_type, prefer, if_match, if_none_match, if_none_exist;
    bool is_strict;
    enum fhir_prefer prefers;

    int http_status;
    struct vg_buf out;
    char etag[40], last_modified[40], location[700];
};

/* ---- answers ---- */

static void outcome(struct job *job, int http_status, const char *code, struct vg_slice expression,
                    const char *text)
{
    struct fhir_issue issue = {http_status, code, expression};

    job->http_status = http_status;
    vg_buf_clear(&job->out);
    fhir_outcome_write(&job->out, http_status < 400 ? "information" : "error", &issue, text);
}

/* What a failed call means to the one who asked. */
static void failed(struct job *job, enum vg_status st, const struct fhir_issue *issue,
                   const struct vg_err *err)
{
    if (st == VG_REJECT && issue->http_status) {
        outcome(job, issue->http_status, issue->code, issue->expression, err->text);
    } else if (st == VG_REJECT) {
        outcome(job, 400, "too-costly", (struct vg_slice){0}, err->text);
    } else if (st == VG_RETRY) {
        outcome(job, 503, "transient", (struct vg_slice){0}, "the store cannot do this just now");
    } else {
        outcome(job, 500, "exception", (struct vg_slice){0}, "the store has failed");
    }
}

static void stamp(struct job *job, uint64_t version, int64_t updated_us)
{
    static const char *const days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t day = updated_us / VG_DAY_US, second = updated_us / VG_SECOND_US % 86400;
    int year, month, date;

    vg_date_civil(day, &year, &month, &date);
    (void)snprintf(job->etag, sizeof(job->etag), "W/\"%" PRIu64 "\"", version);
    (void)snprintf(job->last_modified, sizeof(job->last_modified),
                   "%s, %02d %s %04d %02d:%02d:%02d GMT", days[day % 7], date, months[month - 1],
                   year, (int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
}

static void send_resource(struct job *job, const struct fhir_resource *resource)
{
    stamp(job, resource->version, resource->last_updated_us);
    if (resource->is_deleted) {
        outcome(job, 410, "deleted", (struct vg_slice){0}, "the resource was deleted");
        return;
    }
    if (job->if_none_match.len && vg_slice_is(vg_slice_trim(job->if_none_match), job->etag)) {
        job->http_status = 304;
        return;
    }
    job->http_status = 200;
    vg_buf_put(&job->out, resource->body);
}

static struct vg_slice link_of(struct job *job, const char *path, struct vg_slice query)
{
    struct vg_slice base = job->rest->store->base_url;

    if (query.len == 0)
        return vg_arena_printf(&job->arena, "%.*s/%s", VG_FMT(base), path);
    return vg_arena_printf(&job->arena, "%.*s/%s?%.*s", VG_FMT(base), path, VG_FMT(query));
}

/* ---- reading ---- */

static void run_metadata(struct job *job)
{
    job->http_status = 200;
    fhir_capability_write(job->rest->store, &job->out);
}

static void run_read(struct job *job)
{
    struct fhir_resource resource;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    uint64_t version = 0;
    enum vg_status st = VG_END;

    if (!job->version.len || vg_slice_to_u64(job->version, &version))
        st = fhir_read(job->rest->store, vg_slice_of(fhir_type_name(job->type)), job->id, version,
                       &job->arena, &resource, &err);
    if (st == VG_OK)
        send_resource(job, &resource);
    else if (st == VG_END)
        outcome(job, 404, "not-found", (struct vg_slice){0}, "there is no such resource");
    else
        failed(job, st, &issue, &err);
}

static void run_history(struct job *job)
{
    struct fhir_results results;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    char path[256];
    enum vg_status st = fhir_history(job->rest->store, vg_slice_of(fhir_type_name(job->type)),
                                     job->id, &job->arena, &results, &err);

    if (st == VG_END) {
        outcome(job, 404, "not-found", (struct vg_slice){0}, "there is no such resource");
        return;
    }
    if (st != VG_OK) {
        failed(job, st, &issue, &err);
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/%.*s/_history", fhir_type_name(job->type),
                   VG_FMT(job->id));
    results.has_total = !results.has_more;
    results.total = results.count;
    job->http_status = 200;
    fhir_bundle_write(job->rest->store, "history", link_of(job, path, (struct vg_slice){0}),
                      (struct vg_slice){0}, &results, &job->out);
}

static void search(struct job *job, struct vg_slice query, bool is_lastn)
{
    struct fhir_store *store = job->rest->store;
    struct fhir_results results;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_slice next = {0};
    void *view = NULL;
    const char *path = is_lastn ? "Observation/$lastn" : fhir_type_name(job->type);
    enum vg_status st = store->engine->view_begin(store->self, &view, &err);

    if (st == VG_OK) {
        st = is_lastn ? fhir_lastn_in(store, view, query, job->is_strict, &job->arena, &results,
                                      &issue, &err)
                      : fhir_search_in(store, view, job->type, query, job->is_strict, &job->arena,
                                       &results, &issue, &err);
        store->engine->view_end(store->self, view);
    }
    if (st != VG_OK) {
        failed(job, st, &issue, &err);
        return;
    }
    if (results.next_query.len)
        next = link_of(job, path, results.next_query);
    job->http_status = 200;
    fhir_bundle_write(store, "searchset", link_of(job, path, results.self_query), next, &results,
                      &job->out);
}

static void run_search(struct job *job)
{
    search(job, job->query, false);
}

/* The parameters of a POST _search stand in its form, and may stand in the address too. */
static void run_search_form(struct job *job)
{
    struct vg_slice both = job->body;
    struct vg_slice form = VG_SLICE("application/x-www-form-urlencoded");

    if (job->content_type.len &&
        !vg_slice_eq_nocase(
            (struct vg_slice){job->content_type.ptr,
                              job->content_type.len < form.len ? job->content_type.len : form.len},
            form)) {
        outcome(job, 415, "not-supported", (struct vg_slice){0},
                "the body of _search must be application/x-www-form-urlencoded");
        return;
    }
    if (job->query.len)
        both = vg_arena_printf(&job->arena, "%.*s&%.*s", VG_FMT(job->query), VG_FMT(job->body));
    search(job, both, false);
}

static void run_lastn(struct job *job)
{
    search(job, job->query, true);
}

/* ---- writing ---- */

/* W/"3": one version. */
static bool take_if_match(struct job *job, struct fhir_op *op)
{
    struct vg_slice tag = vg_slice_trim(job->if_match);

    if (tag.len == 0)
        return true;
    if (vg_slice_starts(tag, VG_SLICE("W/")))
        tag = vg_slice_from(tag, 2);
    if (tag.len > 2 && tag.ptr[0] == '"' && tag.ptr[tag.len - 1] == '"') {
        tag = (struct vg_slice){tag.ptr + 1, tag.len - 2};
        /* A version that is no number of ours is not the current one. */
        if (!vg_slice_to_u64(tag, &op->if_match) || op->if_match == 0)
            op->if_match = UINT64_MAX;
        return true;
    }
    outcome(job, 400, "value", (struct vg_slice){0}, "If-Match must be one version, as W/\"3\"");
    return false;
}

static void write(struct job *job, struct fhir_op *op)
{
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct fhir_ops ops = {
        .store = job->rest->store, .ops = op, .count = 1, .arena = &job->arena, .issue = &issue};
    enum vg_status st;

    op->type = job->type;
    op->body = job->body;
    if (!take_if_match(job, op))
        return;
    st = fhir_ops_commit(&ops, &err);
    if (st != VG_OK) {
        failed(job, st, &issue, &err);
        return;
    }
    job->http_status = op->http_status;
    if (op->version)
        stamp(job, op->version, op->updated_us);
    if (op->what == FHIR_OP_DELETE)
        return;
    if (op->what == FHIR_OP_CREATE || op->http_status == 201)
        (void)snprintf(job->location, sizeof(job->location), "%.*s/%s/%.*s/_history/%" PRIu64,
                       VG_FMT(job->rest->store->base_url), fhir_type_name(op->type), VG_FMT(op->id),
                       op->version);
    if (job->prefers == FHIR_PREFER_OUTCOME)
        outcome(job, op->http_status, "informational", (struct vg_slice){0}, "done");
    else if (job->prefers != FHIR_PREFER_MINIMAL)
        vg_buf_put(&job->out, op->stored);
}

static void run_create(struct job *job)
{
    struct fhir_op op = {.what = FHIR_OP_CREATE, .query = job->if_none_exist};

    write(job, &op);
}

static void run_update(struct job *job)
{
    struct fhir_op op = {.what = FHIR_OP_UPDATE, .id = job->id, .needs_body_id = true};

    if (!fhir_id_is_ok(job->id)) {
        outcome(job, 400, "value", VG_SLICE("id"), "id must be 1 to 64 of A-Z a-z 0-9 - .");
        return;
    }
    op.is_if_none_match = vg_slice_is(vg_slice_trim(job->if_none_match), "*");
    write(job, &op);
}

static void run_conditional_update(struct job *job)
{
    struct fhir_op op = {.what = FHIR_OP_UPDATE, .query = job->query};

    if (job->query.len == 0)
        outcome(job, 400, "required", (struct vg_slice){0},
                "an update needs an id, or a condition that finds it");
    else
        write(job, &op);
}

static void run_delete(struct job *job)
{
    struct fhir_op op = {.what = FHIR_OP_DELETE, .id = job->id};

    if (!fhir_id_is_ok(job->id))
        outcome(job, 404, "not-found", (struct vg_slice){0}, "there is no such resource");
    else
        write(job, &op);
}

static void run_bundle(struct job *job)
{
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    enum vg_status st = fhir_bundle_run(job->rest->store, job->body, job->prefers, &job->arena,
                                        &job->out, &issue, &err);

    job->http_status = 200;
    if (st != VG_OK)
        failed(job, st, &issue, &err);
}

/* ---- which is which ---- */

/* Segments of the address: T a type, I an id, V a version; others are themselves. HEAD is GET. */
static const struct {
    const char *method, *path;
    job_handler *run;
    bool has_resource; /* the body is FHIR JSON */
} routes[] = {
    {"POST", "", run_bundle, true},
    {"GET", "metadata", run_metadata, false},
    {"GET", "Observation/$lastn", run_lastn, false},
    {"POST", "T/_search", run_search_form, false},
    {"GET", "T", run_search, false},
    {"POST", "T", run_create, true},
    {"PUT", "T", run_conditional_update, true},
    {"GET", "T/I", run_read, false},
    {"PUT", "T/I", run_update, true},
    {"DELETE", "T/I", run_delete, false},
    {"GET", "T/I/_history", run_history, false},
    {"GET", "T/I/_history/V", run_read, false},
};

static bool path_fits(struct vg_slice pattern, struct vg_slice path, struct job *job)
{
    unsigned type = 0;
    struct vg_slice id = {0}, version = {0};

    while (pattern.len || path.len) {
        struct vg_slice want = vg_slice_cut(&pattern, '/'), got = vg_slice_cut(&path, '/');

        if (vg_slice_is(want, "T")) {
            type = fhir_type_find(got);
            if (!type)
                return false;
        } else if (vg_slice_is(want, "I")) {
            id = got;
            if (got.len == 0 || got.ptr[0] == '$' || got.ptr[0] == '_')
                return false;
        } else if (vg_slice_is(want, "V")) {
            version = got;
            if (got.len == 0)
                return false;
        } else if (!vg_slice_eq(want, got)) {
            return false;
        }
    }
    job->type = type;
    job->id = id;
    job->version = version;
    return true;
}

/* The kinds of JSON that we speak; `*` when a client takes anything. */
static bool is_json(struct vg_slice media)
{
    static const char *const names[] = {"application/fhir+json",
                                        "application/json",
                                        "text/json",
                                        "application/json+fhir",
                                        "json",
                                        "*/*",
                                        "application/*"};
    struct vg_slice rest = media;
    struct vg_slice name = vg_slice_trim(vg_slice_cut(&rest, ';'));
    bool is_known = false;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        is_known |= vg_slice_eq_nocase(name, vg_slice_of(names[i]));
    while (rest.len && is_known) {
        struct vg_slice value = vg_slice_trim(vg_slice_cut(&rest, ';'));
        struct vg_slice key = vg_slice_cut(&value, '=');

        if (vg_slice_eq_nocase(key, VG_SLICE("fhirVersion")))
            is_known = vg_slice_is(value, "4.0") || vg_slice_is(value, "4.0.1");
        else if (vg_slice_eq_nocase(key, VG_SLICE("q")) && !vg_slice_is(media, "*/*"))
            is_known = !vg_slice_is(value, "0") && !vg_slice_is(value, "0.0");
    }
    return is_known;
}

static bool accepts_json(struct vg_slice accept)
{
    if (accept.len == 0)
        return true;
    while (accept.len)
        if (is_json(vg_slice_cut(&accept, ',')))
            return true;
    return false;
}

static void read_prefer(struct job *job)
{
    struct vg_slice rest = job->prefer;

    while (rest.len) {
        struct vg_slice one = vg_slice_cut(&rest, ',');

        while (one.len) {
            struct vg_slice wish = vg_slice_trim(vg_slice_cut(&one, ';'));

            job->is_strict |= vg_slice_is(wish, "handling=strict");
            if (vg_slice_is(wish, "return=minimal"))
                job->prefers = FHIR_PREFER_MINIMAL;
            else if (vg_slice_is(wish, "return=representation"))
                job->prefers = FHIR_PREFER_REPRESENTATION;
            else if (vg_slice_is(wish, "return=OperationOutcome"))
                job->prefers = FHIR_PREFER_OUTCOME;
        }
    }
}

/* _format beats Accept, and never speaks of the body that was sent. */
static bool negotiate(struct job *job, bool has_resource)
{
    struct vg_slice rest = job->query, format = {0};

    while (rest.len) {
        struct vg_slice value = vg_slice_cut(&rest, '&');

        if (vg_slice_is(vg_slice_cut(&value, '='), "_format"))
            format = vg_url_decode(&job->arena, value, false);
    }
    if (format.len ? !is_json(format) : !accepts_json(job->accept)) {
        outcome(job, 406, "not-supported", (struct vg_slice){0},
                "only application/fhir+json of FHIR 4.0 is spoken here");
        return false;
    }
    if (has_resource && job->content_type.len && !is_json(job->content_type)) {
        outcome(job, 415, "not-supported", (struct vg_slice){0},
                "the body must be application/fhir+json of FHIR 4.0");
        return false;
    }
    return true;
}

/* ---- the way through the threads ---- */

static void job_free(struct job *job)
{
    if (!job)
        return;
    vg_buf_fini(&job->out);
    vg_arena_fini(&job->arena);
    free(job);
}

/* In the loop's thread. */
static void job_reply(void *ctx)
{
    struct job *job = ctx;

    if (!vg_buf_ok(&job->out))
        outcome(job, 500, "too-costly", (struct vg_slice){0}, "the answer is too large");
    if (job->etag[0])
        vg_http_add_header(job->request, "ETag", vg_slice_of(job->etag));
    if (job->last_modified[0])
        vg_http_add_header(job->request, "Last-Modified", vg_slice_of(job->last_modified));
    if (job->location[0])
        vg_http_add_header(job->request, "Location", vg_slice_of(job->location));
    if (job->http_status == 503)
        vg_http_add_header(job->request, "Retry-After", VG_SLICE("1"));
    vg_http_reply(job->request, job->http_status,
                  job->out.len ? "application/fhir+json; charset=utf-8" : NULL,
                  vg_buf_slice(&job->out));
    job_free(job);
}

static void *worker(void *ctx)
{
    struct fhir_rest *rest = ctx;
    struct job *job;

    while ((job = vg_queue_pop(&rest->queue))) {
        job->run(job);
        if (!vg_loop_post(rest->loop, job_reply, job))
            job_free(job); /* the loop has ended: nobody is left to be answered */
    }
    return NULL;
}

static bool copy(struct job *job, struct vg_slice from, struct vg_slice *ret_to)
{
    *ret_to = from.len ? vg_arena_dup(&job->arena, from) : (struct vg_slice){0};
    return from.len == 0 || ret_to->ptr;
}

static struct job *job_make(struct fhir_rest *rest, struct vg_http_request *request)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->rest = rest;
    job->request = request;
    vg_arena_init(&job->arena, FHIR_SCRATCH_BYTES_MAX);
    vg_buf_init(&job->out, FHIR_SCRATCH_BYTES_MAX);
    if (copy(job, vg_http_method(request), &job->method) &&
        copy(job, vg_http_query(request), &job->query) &&
        copy(job, vg_http_body(request), &job->body) &&
        copy(job, vg_http_header(request, "Accept"), &job->accept) &&
        copy(job, vg_http_header(request, "Content-Type"), &job->content_type) &&
        copy(job, vg_http_header(request, "Prefer"), &job->prefer) &&
        copy(job, vg_http_header(request, "If-Match"), &job->if_match) &&
        copy(job, vg_http_header(request, "If-None-Match"), &job->if_none_match) &&
        copy(job, vg_http_header(request, "If-None-Exist"), &job->if_none_exist))
        return job;
    job_free(job);
    return NULL;
}

/* Fills job->run and what the address says; else answers. */
static bool route(struct job *job, struct vg_slice path)
{
    struct vg_slice method = job->method;
    bool is_known = false;

    if (vg_slice_is(method, "HEAD"))
        method = VG_SLICE("GET");
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!path_fits(vg_slice_of(routes[i].path), path, job))
            continue;
        is_known = true;
        if (vg_slice_is(method, routes[i].method)) {
            job->run = routes[i].run;
            return negotiate(job, routes[i].has_resource);
        }
    }
    if (is_known)
        outcome(job, 405, "not-supported", (struct vg_slice){0},
                "this method is not supported for this address");
    else
        outcome(job, 404, "not-found", (struct vg_slice){0},
                "there is nothing at this address; names of types begin with a capital letter");
    return false;
}

static void on_request(struct vg_http_request *request, void *ctx)
{
    struct fhir_rest *rest = ctx;
    struct job *job = job_make(rest, request);
    struct vg_slice path, type;

    if (!job) {
        vg_http_reply_error(request, 503, "fhir.memory", "no room for the request");
        return;
    }
    if (!copy(job, vg_slice_from(vg_http_path(request), sizeof("/fhir") - 1), &path))
        path = (struct vg_slice){0};
    while (path.len && path.ptr[0] == '/')
        path = vg_slice_from(path, 1);
    while (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    type = path;
    type = vg_slice_cut(&type, '/');
    if (!fhir_type_find(type))
        type = VG_SLICE("");
    if (rest->may && !vg_slice_is(path, "metadata") &&
        !rest->may(request, job->method.ptr, type, rest->may_ctx)) {
        job_free(job); /* `may` has replied */
        return;
    }
    read_prefer(job);
    if (!route(job, path)) {
        job_reply(job);
        return;
    }
    if (!vg_queue_try_push(&rest->queue, job)) {
        outcome(job, 503, "throttled", (struct vg_slice){0}, "too many requests are waiting");
        job_reply(job);
    }
}

void fhir_rest_close(struct fhir_rest *rest)
{
    if (!rest)
        return;
    vg_queue_close(&rest->queue);
    for (size_t i = 0; i < rest->thread_count; i++)
        (void)pthread_join(rest->threads[i], NULL);
    vg_queue_fini(&rest->queue);
    free(rest);
}

enum vg_status fhir_rest_mount(struct fhir_store *store, struct vg_http_server *server,
                               struct vg_loop *loop, fhir_may *may, void *may_ctx,
                               struct vg_err *err)
{
    struct fhir_rest *rest;
    enum vg_status st;

    if (store->remote)
        return remote_rest_mount(server, err);
    rest = calloc(1, sizeof(*rest));
    if (!rest)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the REST interface");
    rest->store = store;
    rest->loop = loop;
    rest->may = may;
    rest->may_ctx = may_ctx;
    vg_queue_init(&rest->queue, rest->items, JOBS_MAX);
    store->rest = rest; /* closed with the store, also when what follows fails */
    for (; rest->thread_count < WORKERS; rest->thread_count++)
        if (pthread_create(&rest->threads[rest->thread_count], NULL, worker, rest) != 0)
            return vg_fail(err, VG_RETRY, "fhir.thread", errno, "a worker did not start");
    st = vg_http_route(server, "*", "/fhir", on_request, rest, err);
    if (st == VG_OK)
        st = vg_http_route(server, "*", "/fhir/*", on_request, rest, err);
    return st;
}
