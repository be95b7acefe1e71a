/* rest.c -- FHIR's REST interface at /fhir: a request's way in and its answer's way out.
 *
 * A handler of the HTTP server runs in the loop's thread and only copies the request into a job: a
 * search may take milliseconds and a write waits for its fsync. FHIR_WORKERS run the jobs;
 * writes that run at the same time share one fsync in the engine. The reply is posted back to the
 * loop. A full queue is answered 503 at once.
 *
 * Everything that is answered is JSON; an error is always an OperationOutcome.
 *
 * Who asks: a bearer token that we gave out ourselves (smart.c) carries scopes; anybody else is the
 * platform's to know (`may`). With neither, a service that needs tokens answers 401.
 *
 * Threads: a job belongs to the loop until it is queued, to one worker until it is posted back,
 * then to the loop again. If the loop has ended meanwhile, the job is dropped without its reply.
 */
#include "fhir/audit_int.h"
#include "fhir/remote_int.h"
#include "fhir/rest_int.h"
#include "fhir/smart_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- answers ---- */

void fhir_job_outcome(struct fhir_job *job, int http_status, const char *code,
                      struct vg_slice expression, const char *text)
{
    struct fhir_issue issue = {http_status, code, expression};

    job->http_status = http_status;
    vg_buf_clear(&job->out);
    fhir_outcome_write(&job->out, http_status < 400 ? "information" : "error", &issue, text);
}

void fhir_job_failed(struct fhir_job *job, enum vg_status st, const struct fhir_issue *issue,
                     const struct vg_err *err)
{
    if (st == VG_REJECT && issue->http_status) {
        fhir_job_outcome(job, issue->http_status, issue->code, issue->expression, err->text);
    } else if (st == VG_REJECT) {
        fhir_job_outcome(job, 400, "too-costly", (struct vg_slice){0}, err->text);
    } else if (st == VG_RETRY) {
        fhir_job_outcome(job, 503, "transient", (struct vg_slice){0},
                         "the store cannot do this just now");
    } else {
        fhir_job_outcome(job, 500, "exception", (struct vg_slice){0}, "the store has failed");
    }
}

void fhir_job_stamp(struct fhir_job *job, uint64_t version, int64_t updated_us)
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

struct vg_slice fhir_job_link(struct fhir_job *job, const char *path, struct vg_slice query)
{
    struct vg_slice base = job->store->base_url;

    if (query.len == 0)
        return vg_arena_printf(&job->arena, "%.*s/%s", VG_FMT(base), path);
    return vg_arena_printf(&job->arena, "%.*s/%s?%.*s", VG_FMT(base), path, VG_FMT(query));
}

/* ---- parameters ---- */

struct vg_slice fhir_job_param(struct fhir_job *job, const char *name)
{
    struct vg_slice rest = job->query, found = {0};

    while (rest.len) {
        struct vg_slice value = vg_slice_cut(&rest, '&');

        if (vg_slice_is(vg_slice_cut(&value, '='), name))
            found = vg_url_decode(&job->arena, value, strcmp(name, "_format") != 0);
    }
    return found;
}

enum vg_status fhir_job_args(struct fhir_job *job, struct fhir_args *ret_args,
                             struct fhir_issue *issue, struct vg_err *err)
{
    struct vg_slice rest = job->query;
    const struct vg_json *list = NULL;
    struct vg_json *root = NULL;
    size_t max = 1;
    enum vg_status st;

    if (job->body.len) {
        st = fhir_parse(&job->arena, job->body, &root, issue, err);
        if (st != VG_OK)
            return st;
        if (!vg_slice_is(vg_json_get_text(root, "resourceType"), "Parameters"))
            return fhir_refuse(issue, err, 400, "invalid", VG_SLICE("resourceType"),
                               "an operation's body is a Parameters resource");
        list = vg_json_get(root, "parameter");
        max += list ? list->count : 0;
    }
    for (size_t i = 0; i < rest.len; i++)
        max += rest.ptr[i] == '&';
    ret_args->items = vg_arena_alloc(&job->arena, (max + 1) * sizeof(*ret_args->items));
    ret_args->count = 0;
    if (!ret_args->items)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the parameters");
    while (rest.len) {
        struct vg_slice value = vg_slice_cut(&rest, '&');
        struct vg_slice name = vg_slice_cut(&value, '=');

        ret_args->items[ret_args->count++] = (struct fhir_arg){
            vg_url_decode(&job->arena, name, true), vg_url_decode(&job->arena, value, true), NULL};
    }
    for (const struct vg_json *one = list ? list->child : NULL; one; one = one->next) {
        struct fhir_arg *arg = &ret_args->items[ret_args->count++];

        arg->name = vg_json_get_text(one, "name");
        for (const struct vg_json *member = one->child; member; member = member->next)
            if (vg_slice_starts(member->name, VG_SLICE("value")) ||
                vg_slice_is(member->name, "resource"))
                arg->value = member;
        if (arg->value)
            arg->text = arg->value->type == VG_JSON_STRING || arg->value->type == VG_JSON_NUMBER
                            ? arg->value->text
                            : arg->value->source;
    }
    return VG_OK;
}

const struct fhir_arg *fhir_arg_find(const struct fhir_args *args, const char *name)
{
    for (size_t i = 0; i < args->count; i++)
        if (vg_slice_is(args->items[i].name, name))
            return &args->items[i];
    return NULL;
}

struct vg_slice fhir_arg_text(const struct fhir_args *args, const char *name)
{
    const struct fhir_arg *arg = fhir_arg_find(args, name);

    return arg ? arg->text : (struct vg_slice){0};
}

/* ---- what is spoken ---- */

static bool is_zero(struct vg_slice number)
{
    for (size_t i = 0; i < number.len; i++)
        if (number.ptr[i] != '0' && number.ptr[i] != '.')
            return false;
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

        if (value.len > 1 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
            value = (struct vg_slice){value.ptr + 1, value.len - 2};
        if (vg_slice_eq_nocase(key, VG_SLICE("fhirVersion")))
            is_known = vg_slice_is(value, "4.0") || vg_slice_is(value, "4.0.1");
        else if (vg_slice_eq_nocase(key, VG_SLICE("charset")))
            is_known = vg_slice_eq_nocase(value, VG_SLICE("utf-8"));
        else if (vg_slice_eq_nocase(key, VG_SLICE("q")))
            is_known = !is_zero(value);
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

static bool is_media(struct vg_slice content_type, const char *name)
{
    return vg_slice_eq_nocase(vg_slice_trim(vg_slice_cut(&content_type, ';')), vg_slice_of(name));
}

static void read_prefer(struct fhir_job *job)
{
    struct vg_slice rest = job->prefer;

    while (rest.len) {
        struct vg_slice one = vg_slice_cut(&rest, ',');

        while (one.len) {
            struct vg_slice wish = vg_slice_trim(vg_slice_cut(&one, ';'));

            job->is_strict |= vg_slice_eq_nocase(wish, VG_SLICE("handling=strict"));
            job->is_async |= vg_slice_eq_nocase(wish, VG_SLICE("respond-async"));
            if (vg_slice_eq_nocase(wish, VG_SLICE("return=minimal")))
                job->prefers = FHIR_PREFER_MINIMAL;
            else if (vg_slice_eq_nocase(wish, VG_SLICE("return=representation")))
                job->prefers = FHIR_PREFER_REPRESENTATION;
            else if (vg_slice_eq_nocase(wish, VG_SLICE("return=OperationOutcome")))
                job->prefers = FHIR_PREFER_OUTCOME;
        }
    }
}

static bool body_fits(struct fhir_job *job)
{
    switch (job->route->body) {
    case FHIR_BODY_NONE:
        return true;
    case FHIR_BODY_RESOURCE:
        return job->content_type.len == 0 || is_json(job->content_type);
    case FHIR_BODY_PATCH:
        return is_media(job->content_type, "application/json-patch+json");
    case FHIR_BODY_FORM:
        return job->content_type.len == 0 ||
               is_media(job->content_type, "application/x-www-form-urlencoded");
    }
    return false;
}

/* _format beats Accept, and never speaks of the body that was sent. */
static bool negotiate(struct fhir_job *job)
{
    static const char *const wanted[] = {
        [FHIR_BODY_NONE] = "",
        [FHIR_BODY_RESOURCE] = "the body must be application/fhir+json of FHIR 4.0",
        [FHIR_BODY_PATCH] = "a patch must be application/json-patch+json",
        [FHIR_BODY_FORM] = "the body must be application/x-www-form-urlencoded",
    };
    struct vg_slice format = fhir_job_param(job, "_format");

    job->is_pretty = vg_slice_is(fhir_job_param(job, "_pretty"), "true");
    if (format.len ? !is_json(format) : !accepts_json(job->accept)) {
        fhir_job_outcome(job, 406, "not-supported", (struct vg_slice){0},
                         "only application/fhir+json of FHIR 4.0 is spoken here");
        return false;
    }
    if (!body_fits(job)) {
        fhir_job_outcome(job, 415, "not-supported", (struct vg_slice){0}, wanted[job->route->body]);
        return false;
    }
    return true;
}

/* Blanks between the tokens, for people: the tokens stay as they are. */
static void make_pretty(struct vg_buf *text)
{
    static const char blanks[] =
        "\n                                                                ";
    struct vg_buf out;
    size_t depth = 0;
    bool is_in_string = false;

    vg_buf_init(&out, text->limit_bytes);
    for (size_t i = 0; i < text->len; i++) {
        char c = text->ptr[i], next = i + 1 < text->len ? text->ptr[i + 1] : '\0';
        bool is_open = c == '{' || c == '[', is_close = c == '}' || c == ']';
        size_t indent;

        if (is_in_string) {
            vg_buf_put_byte(&out, (uint8_t)c);
            if (c == '\\')
                vg_buf_put_byte(&out, (uint8_t)text->ptr[++i]);
            is_in_string = c != '"';
            continue;
        }
        if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
            continue;
        depth -= is_close && depth > 0;
        indent = 1 + 2 * (depth < 31 ? depth : 31);
        if (is_close && out.len && out.ptr[out.len - 1] != '{' && out.ptr[out.len - 1] != '[')
            vg_buf_put(&out, (struct vg_slice){blanks, indent});
        vg_buf_put_byte(&out, (uint8_t)c);
        depth += is_open;
        indent = 1 + 2 * (depth < 31 ? depth : 31);
        if (c == ',' || (is_open && next != '}' && next != ']'))
            vg_buf_put(&out, (struct vg_slice){blanks, indent});
        if (c == ':')
            vg_buf_put_byte(&out, ' ');
        is_in_string = c == '"';
    }
    vg_buf_put_byte(&out, '\n');
    vg_buf_fini(text);
    *text = out;
}

/* ---- the way through the threads ---- */

static void job_free(struct fhir_job *job)
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
    struct fhir_job *job = ctx;
    const struct {
        const char *name, *value;
    } headers[] = {{"ETag", job->etag},
                   {"Last-Modified", job->last_modified},
                   {"Location", job->location},
                   {"Content-Location", job->content_location},
                   {"Allow", job->allow},
                   {"WWW-Authenticate", job->authenticate ? job->authenticate : ""},
                   {"Retry-After", job->http_status == 503 ? "1" : ""}};

    if (!vg_buf_ok(&job->out))
        fhir_job_outcome(job, 500, "too-costly", (struct vg_slice){0}, "the answer is too large");
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        if (headers[i].value[0])
            vg_http_add_header(job->request, headers[i].name, vg_slice_of(headers[i].value));
    vg_http_reply(job->request, job->http_status,
                  job->out.len == 0       ? NULL
                  : job->content_type_out ? job->content_type_out
                                          : "application/fhir+json; charset=utf-8",
                  vg_buf_slice(&job->out));
    job_free(job);
}

/* Whose scopes these are, and whether they suffice. */
static bool is_allowed(struct fhir_job *job)
{
    enum vg_status st;
    struct vg_err err = {0};

    if (job->route->right == 0)
        return true;
    if (!job->access.is_all && job->access.scope_count == 0) {
        st = job->bearer.len ? fhir_smart_access(job->store, job->bearer, &job->access, &err)
                             : VG_END;
        if (st == VG_END) {
            job->authenticate = job->bearer.len ? "Bearer error=\"invalid_token\"" : "Bearer";
            fhir_job_outcome(job, 401, "login", (struct vg_slice){0},
                             "a valid bearer token is needed");
            return false;
        }
        if (st != VG_OK) {
            fhir_job_failed(job, VG_RETRY, &(struct fhir_issue){0}, &err);
            return false;
        }
    }
    if (job->route->right == '*' || fhir_access_allows(&job->access, job->route->right, job->type))
        return true;
    job->authenticate = "Bearer error=\"insufficient_scope\"";
    fhir_job_outcome(job, 403, "forbidden", (struct vg_slice){0},
                     "the token's scopes do not allow this");
    return false;
}

static void *worker(void *ctx)
{
    struct fhir_rest *rest = ctx;
    struct fhir_job *job;

    while ((job = vg_queue_pop(&rest->queue))) {
        if (is_allowed(job))
            job->route->run(job);
        if (job->is_pretty && job->out.len && vg_buf_ok(&job->out))
            make_pretty(&job->out);
        fhir_audit_add(rest->store, job);
        if (!vg_loop_post(rest->loop, job_reply, job))
            job_free(job); /* the loop has ended: nobody is left to be answered */
    }
    return NULL;
}

static bool copy(struct fhir_job *job, struct vg_slice from, struct vg_slice *ret_to)
{
    *ret_to = from.len ? vg_arena_dup(&job->arena, from) : (struct vg_slice){0};
    return from.len == 0 || ret_to->ptr;
}

static struct fhir_job *job_make(struct fhir_rest *rest, struct vg_http_request *request)
{
    struct fhir_job *job = calloc(1, sizeof(*job));
    struct vg_slice auth = vg_http_header(request, "Authorization");
    struct vg_slice none_exist = vg_slice_trim(vg_http_header(request, "If-None-Exist"));

    if (!job)
        return NULL;
    job->rest = rest;
    job->store = rest->store;
    job->request = request;
    job->began_us = vg_now_us();
    vg_arena_init(&job->arena, FHIR_SCRATCH_BYTES_MAX);
    vg_buf_init(&job->out, FHIR_SCRATCH_BYTES_MAX);
    auth = auth.len > 7 && vg_slice_eq_nocase((struct vg_slice){auth.ptr, 7}, VG_SLICE("Bearer "))
               ? vg_slice_trim(vg_slice_from(auth, 7))
               : (struct vg_slice){0};
    if (copy(job, vg_http_method(request), &job->method) &&
        copy(job, vg_http_query(request), &job->query) &&
        copy(job, vg_http_body(request), &job->body) && copy(job, auth, &job->bearer) &&
        copy(job, vg_http_peer(request), &job->peer) &&
        copy(job, vg_http_header(request, "Accept"), &job->accept) &&
        copy(job, vg_http_header(request, "Content-Type"), &job->content_type) &&
        copy(job, vg_http_header(request, "Prefer"), &job->prefer) &&
        copy(job, vg_http_header(request, "If-Match"), &job->if_match) &&
        copy(job, vg_http_header(request, "If-None-Match"), &job->if_none_match) &&
        copy(job, vg_http_header(request, "If-Modified-Since"), &job->if_modified_since) &&
        copy(job, none_exist, &job->if_none_exist) &&
        copy(job, vg_slice_from(vg_http_path(request), sizeof("/fhir") - 1), &job->path)) {
        if (none_exist.ptr && none_exist.len == 0)
            job->if_none_exist = VG_SLICE(""); /* there, and empty */
        return job;
    }
    job_free(job);
    return NULL;
}

/* "GET, HEAD, POST": what may be done with an address. */
static void list_methods(struct fhir_job *job, struct vg_slice path)
{
    size_t len = 0;

    for (size_t i = 0; i < fhir_route_count; i++) {
        const char *method = fhir_routes[i].method;

        if (!fhir_path_fits(fhir_routes[i].path, path, job) ||
            (fhir_routes[i].interaction &&
             !fhir_policy_allows(job->type, fhir_routes[i].interaction)) ||
            strstr(job->allow, method))
            continue;
        len += (size_t)snprintf(job->allow + len, sizeof(job->allow) - len, "%s%s%s",
                                len ? ", " : "", method, strcmp(method, "GET") ? "" : ", HEAD");
    }
    if (len)
        (void)snprintf(job->allow + len, sizeof(job->allow) - len, ", OPTIONS");
}

/* Fills job->route and what the address says; else answers. */
static bool route(struct fhir_job *job, struct vg_slice path)
{
    struct vg_slice method = job->method;
    const struct fhir_route *found = NULL;

    if (vg_slice_is(method, "HEAD"))
        method = VG_SLICE("GET");
    for (size_t i = 0; i < fhir_route_count && !found; i++)
        if (vg_slice_is(method, fhir_routes[i].method) &&
            fhir_path_fits(fhir_routes[i].path, path, job))
            found = &fhir_routes[i];
    job->route = found;
    if (found && (!found->interaction || fhir_policy_allows(job->type, found->interaction)))
        return negotiate(job);
    list_methods(job, path);
    job->route = NULL;
    if (job->allow[0] && vg_slice_is(method, "OPTIONS"))
        job->http_status = 204;
    else if (job->allow[0])
        fhir_job_outcome(job, 405, "not-supported", (struct vg_slice){0},
                         "this method is not supported for this address");
    else
        fhir_job_outcome(
            job, 404, path.len && memchr(path.ptr, '$', path.len) ? "not-supported" : "not-found",
            (struct vg_slice){0},
            "there is nothing at this address; names of types begin with a capital "
            "letter, /metadata lists what there is");
    return false;
}

void fhir_rest_name_caller(struct fhir_store *store, struct vg_slice name)
{
    struct fhir_job *job = store->rest ? store->rest->asking : NULL;

    if (job && !vg_slice_to_cstr(name, job->access.caller, sizeof(job->access.caller)))
        job->access.caller[0] = '\0';
}

void fhir_rest_limit_to_reading(struct fhir_store *store)
{
    struct fhir_job *job = store->rest ? store->rest->asking : NULL;

    if (!job)
        return;
    job->access.scopes[0] = (struct fhir_scope){.rights = FHIR_MAY_R | FHIR_MAY_S};
    job->access.scope_count = 1;
}

/* What the HTTP server refuses before we see it, and what it says for us. */
static void write_error(struct vg_buf *out, int http_status, const char *code, const char *text)
{
    static const struct {
        int http_status;
        const char *code;
    } rows[] = {{401, "login"},         {403, "forbidden"},     {404, "not-found"},
                {405, "not-supported"}, {408, "timeout"},       {413, "too-long"},
                {414, "too-long"},      {417, "not-supported"}, {431, "too-long"},
                {501, "not-supported"}, {503, "transient"},     {505, "not-supported"}};
    struct fhir_issue issue = {http_status, http_status < 500 ? "invalid" : "exception", {0}};

    (void)code; /* ours, not of the value set */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].http_status == http_status)
            issue.code = rows[i].code;
    fhir_outcome_write(out, "error", &issue, text);
}

static const struct vg_http_error_form error_form = {
    .path = "/fhir", .content_type = "application/fhir+json; charset=utf-8", .write = write_error};

void fhir_rest_refuse(struct vg_http_request *request, int http_status, const char *code,
                      const char *text)
{
    struct fhir_issue issue = {http_status, code, (struct vg_slice){0}};
    struct vg_buf out;

    vg_buf_init(&out, 0);
    fhir_outcome_write(&out, "error", &issue, text);
    vg_http_reply(request, http_status, "application/fhir+json; charset=utf-8", vg_buf_slice(&out));
    vg_buf_fini(&out);
}

/* The platform's word, for whoever has no token of ours. False: it has replied. */
static bool ask_platform(struct fhir_job *job, struct vg_slice type)
{
    struct fhir_rest *rest = job->rest;
    bool is_ours = fhir_smart_is_token(job->bearer), may_go_on = true;

    if (job->route->right == 0 || is_ours)
        return true;
    if (!rest->may) {
        job->access.is_all = !rest->store->needs_token;
        return true;
    }
    rest->asking = job;
    may_go_on = rest->may(job->request, job->method.ptr, type, rest->may_ctx);
    rest->asking = NULL;
    job->access.is_all = job->access.scope_count == 0;
    return may_go_on;
}

static void on_request(struct vg_http_request *request, void *ctx)
{
    struct fhir_rest *rest = ctx;
    struct fhir_job *job;
    struct vg_slice path, type;

    if (fhir_cors_reply(rest->store, request))
        return;
    job = job_make(rest, request);
    if (!job) {
        vg_http_reply_error(request, 503, "fhir.memory", "no room for the request");
        return;
    }
    path = job->path;
    while (path.len && path.ptr[0] == '/')
        path = vg_slice_from(path, 1);
    while (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    job->path = path;
    type = path;
    type = vg_slice_cut(&type, '/');
    if (!fhir_type_find(type))
        type = VG_SLICE("");
    read_prefer(job);
    if (!route(job, path)) {
        job_reply(job);
        return;
    }
    if (!ask_platform(job, type)) {
        job_free(job); /* `may` has replied */
        return;
    }
    if (!vg_queue_try_push(&rest->queue, job)) {
        fhir_job_outcome(job, 503, "throttled", (struct vg_slice){0},
                         "too many requests are waiting");
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
    vg_queue_init(&rest->queue, rest->items, FHIR_JOBS_MAX);
    store->rest = rest; /* closed with the store, also when what follows fails */
    for (; rest->thread_count < FHIR_WORKERS; rest->thread_count++)
        if (pthread_create(&rest->threads[rest->thread_count], NULL, worker, rest) != 0)
            return vg_fail(err, VG_RETRY, "fhir.thread", errno, "a worker did not start");
    st = vg_http_shape_errors(server, &error_form, err);
    if (st == VG_OK)
        st = vg_http_route(server, "*", "/fhir", on_request, rest, err);
    if (st == VG_OK)
        st = vg_http_route(server, "*", "/fhir/*", on_request, rest, err);
    return st;
}
