/* bundle.c -- Bundles in (batch, transaction) and Bundles out (searchset, history, responses).
 *
 * A transaction is one commit: its writes in the order that commit.c keeps, then its reads, which
 * see them. A batch is one commit too, with a savepoint for each entry: a hundred entries cost one
 * fsync, and one that is refused takes nothing with it.
 */
#include "base/http_server.h"
#include "fhir/engine.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- out ---- */

void fhir_outcome_write(struct vg_buf *out, const char *severity, const struct fhir_issue *issue,
                        const char *text)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("OperationOutcome"));
    vg_json_name(&w, "issue");
    vg_json_open_array(&w);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "severity", vg_slice_of(severity));
    vg_json_member_string(&w, "code", vg_slice_of(issue->code ? issue->code : "processing"));
    if (text[0])
        vg_json_member_string(&w, "diagnostics", vg_slice_of(text));
    if (issue->expression.len) {
        vg_json_name(&w, "expression");
        vg_json_open_array(&w);
        vg_json_put_string(&w, issue->expression);
        vg_json_close_array(&w);
    }
    vg_json_close_object(&w);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}

static void write_link(struct vg_json_writer *w, const char *relation, struct vg_slice url)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "relation", vg_slice_of(relation));
    vg_json_member_string(w, "url", url);
    vg_json_close_object(w);
}

/* Beginning of each text that is put together from outside and ours. */
static void put_name(struct vg_json_writer *w, const char *name, struct fhir_store *store,
                     struct vg_slice type, struct vg_slice id)
{
    struct vg_buf text;

    vg_buf_init(&text, 0);
    if (store)
        vg_buf_printf(&text, "%.*s/", VG_FMT(store->base_url));
    vg_buf_printf(&text, "%.*s/%.*s", VG_FMT(type), VG_FMT(id));
    vg_json_member_string(w, name, vg_buf_slice(&text));
    w->out->has_failed |= text.has_failed;
    vg_buf_fini(&text);
}

static const char *status_text(int http_status)
{
    static const struct {
        int http_status;
        const char *text;
    } texts[] = {{200, "200 OK"},
                 {201, "201 Created"},
                 {204, "204 No Content"},
                 {400, "400 Bad Request"},
                 {404, "404 Not Found"},
                 {405, "405 Method Not Allowed"},
                 {409, "409 Conflict"},
                 {410, "410 Gone"},
                 {412, "412 Precondition Failed"},
                 {413, "413 Payload Too Large"},
                 {422, "422 Unprocessable Entity"},
                 {503, "503 Service Unavailable"}};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].http_status == http_status)
            return texts[i].text;
    return "500 Internal Server Error";
}

static void put_etag(struct vg_json_writer *w, uint64_t version, int64_t updated_us)
{
    char etag[40];

    (void)snprintf(etag, sizeof(etag), "W/\"%" PRIu64 "\"", version);
    vg_json_member_string(w, "etag", vg_slice_of(etag));
    vg_json_member_time(w, "lastModified", updated_us);
}

void fhir_bundle_write(struct fhir_store *store, const char *kind, struct vg_slice self_url,
                       struct vg_slice next_url, const struct fhir_results *results,
                       struct vg_buf *out)
{
    bool is_history = strcmp(kind, "history") == 0;
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Bundle"));
    vg_json_member_string(&w, "type", vg_slice_of(kind));
    if (results->has_total)
        vg_json_member_i64(&w, "total", (int64_t)results->total);
    vg_json_name(&w, "link");
    vg_json_open_array(&w);
    write_link(&w, "self", self_url);
    if (next_url.len)
        write_link(&w, "next", next_url);
    vg_json_close_array(&w);
    if (results->count) {
        vg_json_name(&w, "entry");
        vg_json_open_array(&w);
    }
    for (size_t i = 0; i < results->count; i++) {
        const struct fhir_resource *one = &results->resources[i];

        vg_json_open_object(&w);
        put_name(&w, "fullUrl", store, one->type, one->id);
        if (!one->is_deleted)
            vg_json_member_raw(&w, "resource", one->body);
        if (is_history) {
            vg_json_name(&w, "request");
            vg_json_open_object(&w);
            vg_json_member_string(&w, "method",
                                  one->is_deleted ? VG_SLICE("DELETE") : VG_SLICE("PUT"));
            put_name(&w, "url", NULL, one->type, one->id);
            vg_json_close_object(&w);
            vg_json_name(&w, "response");
            vg_json_open_object(&w);
            vg_json_member_string(&w, "status",
                                  vg_slice_of(status_text(one->is_deleted     ? 204
                                                          : one->version == 1 ? 201
                                                                              : 200)));
            put_etag(&w, one->version, one->last_updated_us);
            vg_json_close_object(&w);
        } else {
            vg_json_name(&w, "search");
            vg_json_open_object(&w);
            vg_json_member_string(
                &w, "mode", i < results->match_count ? VG_SLICE("match") : VG_SLICE("include"));
            vg_json_close_object(&w);
        }
        vg_json_close_object(&w);
    }
    if (results->count)
        vg_json_close_array(&w);
    vg_json_close_object(&w);
}

/* ---- in ---- */

struct entry {
    bool is_read;
    struct fhir_op *op;  /* NULL: a read, or refused before it began */
    struct vg_slice url; /* reads */
    /* batch: how it ended, when it was refused */
    struct fhir_issue issue;
    char why[200];
    struct fhir_ops ops; /* batch: its own commit */
};

struct bundle {
    struct fhir_store *store;
    struct entry *entries;
    size_t count;
    struct fhir_ops ops; /* transaction: all of them */
    enum fhir_prefer prefer;
    struct vg_arena *arena;
    struct vg_buf *out;
    struct fhir_issue *issue;
    bool is_transaction, has_writes;
};

static enum vg_status refuse_entry(struct fhir_issue *issue, struct vg_err *err, size_t index,
                                   int http_status, const char *code, const char *element,
                                   const char *why, struct vg_arena *arena)
{
    return fhir_refuse(issue, err, http_status, code,
                       vg_arena_printf(arena, "Bundle.entry[%zu]%s", index, element),
                       "entry %zu: %s", index, why);
}

static bool version_parse(struct vg_slice etag, uint64_t *ret_version)
{
    etag = vg_slice_trim(etag);
    if (vg_slice_starts(etag, VG_SLICE("W/")))
        etag = vg_slice_from(etag, 2);
    if (etag.len > 2 && etag.ptr[0] == '"' && etag.ptr[etag.len - 1] == '"')
        etag = (struct vg_slice){etag.ptr + 1, etag.len - 2};
    return vg_slice_to_u64(etag, ret_version) && *ret_version > 0;
}

/* "Patient", "Patient/1", "Patient?identifier=…", with or without our base. */
static bool url_cut(struct fhir_store *store, struct vg_slice url, unsigned *ret_type,
                    struct vg_slice *ret_id, struct vg_slice *ret_query)
{
    if (store->base_url.len && vg_slice_starts(url, store->base_url))
        url = vg_slice_from(url, store->base_url.len);
    if (url.len && url.ptr[0] == '/')
        url = vg_slice_from(url, 1);
    *ret_query = url;
    struct vg_slice path = vg_slice_cut(ret_query, '?');

    *ret_id = path;
    *ret_type = fhir_type_find(vg_slice_cut(ret_id, '/'));
    return *ret_type != 0;
}

static enum vg_status entry_parse(struct bundle *bundle, const struct vg_json *node, size_t index,
                                  struct fhir_op *op, struct fhir_issue *issue, struct vg_err *err)
{
    struct entry *entry = &bundle->entries[index];
    const struct vg_json *request = vg_json_get(node, "request");
    const struct vg_json *resource = vg_json_get(node, "resource");
    struct vg_slice method = vg_json_get_text(request, "method"), query;
    struct vg_slice if_match = vg_json_get_text(request, "ifMatch");
    struct vg_slice none_exist = vg_json_get_text(request, "ifNoneExist");
    bool is_post = vg_slice_is(method, "POST"), is_put = vg_slice_is(method, "PUT");

    entry->url = vg_json_get_text(request, "url");
    if (method.len == 0 || entry->url.len == 0)
        return refuse_entry(issue, err, index, 400, "required", ".request",
                            "request.method and request.url are needed", bundle->arena);
    if (vg_slice_is(method, "GET") || vg_slice_is(method, "HEAD")) {
        entry->is_read = true;
        return VG_OK;
    }
    if (!is_post && !is_put && !vg_slice_is(method, "DELETE"))
        return refuse_entry(issue, err, index, 400, "not-supported", ".request.method",
                            "only GET, POST, PUT and DELETE are supported", bundle->arena);
    if (!url_cut(bundle->store, entry->url, &op->type, &op->id, &query))
        return refuse_entry(issue, err, index, 404, "not-supported", ".request.url",
                            "the url does not name a resource type of R4", bundle->arena);
    op->what = is_post ? FHIR_OP_CREATE : is_put ? FHIR_OP_UPDATE : FHIR_OP_DELETE;
    op->full_url = vg_json_get_text(node, "fullUrl");
    if (is_post || is_put) {
        if (!vg_json_is(resource, VG_JSON_OBJECT))
            return refuse_entry(issue, err, index, 400, "required", ".resource",
                                "a resource is needed", bundle->arena);
        op->body = resource->source;
        op->root = resource;
    }
    if (is_post               ? op->id.len > 0 || query.ptr
        : is_put && query.ptr ? op->id.len > 0
                              : !fhir_id_is_ok(op->id))
        return refuse_entry(issue, err, index, 400, "value", ".request.url",
                            "the url does not fit the method", bundle->arena);
    if (is_post)
        op->query = none_exist;
    else if (is_put && query.ptr)
        op->query = query;
    op->needs_body_id = is_put && !op->query.ptr;
    op->is_if_none_match = is_put && vg_slice_is(vg_json_get_text(request, "ifNoneMatch"), "*");
    if (if_match.len && !version_parse(if_match, &op->if_match))
        return refuse_entry(issue, err, index, 400, "value", ".request.ifMatch",
                            "ifMatch must be one version, as W/\"3\"", bundle->arena);
    entry->op = op;
    bundle->has_writes = true;
    return VG_OK;
}

/* ---- answers ---- */

/* Text that a read answers with, and its status. */
static enum vg_status read_run(struct bundle *bundle, void *view, struct vg_slice url,
                               int *ret_http_status, struct vg_slice *ret_body,
                               struct fhir_issue *issue, struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    struct vg_slice id, query, rest;
    struct fhir_current current;
    struct fhir_results results;
    unsigned type;
    enum vg_status st;

    if (!url_cut(store, url, &type, &id, &query))
        return fhir_refuse(issue, err, 404, "not-supported", (struct vg_slice){0},
                           "the url does not name a resource type of R4");
    rest = id;
    id = vg_slice_cut(&rest, '/');
    if (rest.len == 0 && fhir_id_is_ok(id)) {
        st = store->engine->current(view, type, id, bundle->arena, &current, err);
        if (st != VG_OK)
            return st;
        if (!current.key)
            return fhir_refuse(issue, err, 404, "not-found", (struct vg_slice){0},
                               "there is no such resource");
        if (current.is_deleted)
            return fhir_refuse(issue, err, 410, "deleted", (struct vg_slice){0},
                               "the resource was deleted");
        *ret_body = current.body;
        *ret_http_status = 200;
        return VG_OK;
    }
    bool is_lastn = vg_slice_is(id, "$lastn") && strcmp(fhir_type_name(type), "Observation") == 0;

    if (rest.len || (id.len && !is_lastn))
        return fhir_refuse(issue, err, 400, "not-supported", (struct vg_slice){0},
                           "this read is not supported inside a Bundle");
    st = is_lastn
             ? fhir_lastn_in(store, view, query, false, bundle->arena, &results, issue, err)
             : fhir_search_in(store, view, type, query, false, bundle->arena, &results, issue, err);
    if (st != VG_OK)
        return st;
    struct vg_buf text;
    struct vg_slice self = vg_arena_printf(bundle->arena, "%.*s/%s?%.*s", VG_FMT(store->base_url),
                                           fhir_type_name(type), VG_FMT(results.self_query));
    struct vg_slice next = {0};

    if (results.next_query.len)
        next = vg_arena_printf(bundle->arena, "%.*s/%s?%.*s", VG_FMT(store->base_url),
                               fhir_type_name(type), VG_FMT(results.next_query));
    vg_buf_init(&text, FHIR_SCRATCH_BYTES_MAX);
    fhir_bundle_write(store, "searchset", self, next, &results, &text);
    *ret_body =
        vg_buf_ok(&text) ? vg_arena_dup(bundle->arena, vg_buf_slice(&text)) : (struct vg_slice){0};
    vg_buf_fini(&text);
    *ret_http_status = 200;
    return ret_body->ptr ? VG_OK
                         : vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
}

static void write_outcome_member(struct vg_json_writer *w, const struct fhir_issue *issue,
                                 const char *why)
{
    struct vg_buf text;

    vg_buf_init(&text, 0);
    fhir_outcome_write(&text, "error", issue, why);
    vg_json_member_raw(w, "outcome", vg_buf_slice(&text));
    vg_buf_fini(&text);
}

static void write_refused(struct vg_json_writer *w, const struct fhir_issue *issue, const char *why)
{
    vg_json_name(w, "response");
    vg_json_open_object(w);
    vg_json_member_string(w, "status", vg_slice_of(status_text(issue->http_status)));
    write_outcome_member(w, issue, why);
    vg_json_close_object(w);
}

static void write_written(struct bundle *bundle, struct vg_json_writer *w, const struct fhir_op *op)
{
    struct vg_slice type = vg_slice_of(fhir_type_name(op->type));

    if (op->what != FHIR_OP_DELETE)
        put_name(w, "fullUrl", bundle->store, type, op->id);
    if (bundle->prefer == FHIR_PREFER_REPRESENTATION && op->stored.len)
        vg_json_member_raw(w, "resource", op->stored);
    vg_json_name(w, "response");
    vg_json_open_object(w);
    vg_json_member_string(w, "status", vg_slice_of(status_text(op->http_status)));
    if (op->version) {
        if (op->what != FHIR_OP_DELETE) {
            struct vg_slice place = vg_arena_printf(
                bundle->arena, "%.*s/%s/%.*s/_history/%" PRIu64, VG_FMT(bundle->store->base_url),
                fhir_type_name(op->type), VG_FMT(op->id), op->version);

            vg_json_member_string(w, "location", place);
        }
        put_etag(w, op->version, op->updated_us);
    }
    if (bundle->prefer == FHIR_PREFER_OUTCOME)
        write_outcome_member(w, &(struct fhir_issue){.code = "informational"}, "");
    vg_json_close_object(w);
}

/* After the writes, in the view that has made them: reads run, everything is answered in order. */
static enum vg_status write_answers(struct bundle *bundle, void *view, struct vg_err *err)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, bundle->out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Bundle"));
    vg_json_member_string(&w, "type",
                          bundle->is_transaction ? VG_SLICE("transaction-response")
                                                 : VG_SLICE("batch-response"));
    if (bundle->count) {
        vg_json_name(&w, "entry");
        vg_json_open_array(&w);
    }
    for (size_t i = 0; i < bundle->count; i++) {
        struct entry *entry = &bundle->entries[i];
        struct fhir_issue issue = {0};
        struct vg_err why = {0};
        struct vg_slice body = {0};
        int http_status = 200;
        enum vg_status st;

        vg_json_open_object(&w);
        if (entry->issue.http_status) {
            write_refused(&w, &entry->issue, entry->why);
        } else if (entry->op) {
            write_written(bundle, &w, entry->op);
        } else {
            st = read_run(bundle, view, entry->url, &http_status, &body, &issue, &why);
            if (st == VG_REJECT && issue.http_status && !bundle->is_transaction) {
                write_refused(&w, &issue, why.text);
            } else if (st != VG_OK) {
                *bundle->issue = issue;
                *err = why;
                return st;
            } else {
                vg_json_member_raw(&w, "resource", body);
                vg_json_name(&w, "response");
                vg_json_open_object(&w);
                vg_json_member_string(&w, "status", vg_slice_of(status_text(http_status)));
                vg_json_close_object(&w);
            }
        }
        vg_json_close_object(&w);
    }
    if (bundle->count)
        vg_json_close_array(&w);
    vg_json_close_object(&w);
    if (!vg_buf_ok(bundle->out))
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the answer");
    return VG_OK;
}

static enum vg_status transaction_work(void *ctx, void *view, struct vg_err *err)
{
    struct bundle *bundle = ctx;
    enum vg_status st = fhir_ops_run(&bundle->ops, view, err);

    return st == VG_OK ? write_answers(bundle, view, err) : st;
}

static enum vg_status entry_work(void *ctx, void *view, struct vg_err *err)
{
    return fhir_ops_run(ctx, view, err);
}

/* Keeps why one entry of a batch was refused; any other failure ends the batch. */
static enum vg_status entry_refused(struct entry *entry, enum vg_status st,
                                    const struct fhir_issue *issue, const struct vg_err *why,
                                    struct vg_err *err)
{
    if (st == VG_REJECT && issue->http_status) {
        entry->issue = *issue;
        (void)snprintf(entry->why, sizeof(entry->why), "%.190s", why->text);
        return VG_OK;
    }
    if (st != VG_OK)
        *err = *why;
    return st;
}

static enum vg_status batch_work(void *ctx, void *view, struct vg_err *err)
{
    struct bundle *bundle = ctx;
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < bundle->count && st == VG_OK; i++) {
        struct entry *entry = &bundle->entries[i];
        struct vg_err why = {0};

        if (!entry->op || entry->issue.http_status)
            continue;
        st = bundle->store->engine->nest(view, entry_work, &entry->ops, &why);
        st = entry_refused(entry, st, entry->ops.issue, &why, err);
    }
    return st == VG_OK ? write_answers(bundle, view, err) : st;
}

static enum vg_status run_transaction(struct bundle *bundle, struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    enum vg_status st = fhir_ops_prepare(&bundle->ops, err);

    if (st == VG_OK)
        st = store->engine->transact(store->self, transaction_work, bundle, err);
    if (st == VG_OK)
        fhir_ops_done(&bundle->ops);
    fhir_ops_fini(&bundle->ops);
    return st;
}

static enum vg_status run_batch(struct bundle *bundle, struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < bundle->count && st == VG_OK; i++) {
        struct entry *entry = &bundle->entries[i];
        struct fhir_issue *issue = vg_arena_alloc(bundle->arena, sizeof(*issue));
        struct vg_err why = {0};

        if (!issue)
            return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the batch");
        if (!entry->op || entry->issue.http_status)
            continue;
        entry->ops = (struct fhir_ops){
            .store = store, .ops = entry->op, .count = 1, .arena = bundle->arena, .issue = issue};
        st = entry_refused(entry, fhir_ops_prepare(&entry->ops, &why), issue, &why, err);
    }
    if (st == VG_OK)
        st = store->engine->transact(store->self, batch_work, bundle, err);
    for (size_t i = 0; i < bundle->count && st == VG_OK; i++)
        if (bundle->entries[i].op && !bundle->entries[i].issue.http_status)
            fhir_ops_done(&bundle->entries[i].ops);
    return st;
}

static enum vg_status run_reads(struct bundle *bundle, struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    void *view = NULL;
    enum vg_status st = store->engine->view_begin(store->self, &view, err);

    if (st != VG_OK)
        return st;
    st = write_answers(bundle, view, err);
    store->engine->view_end(store->self, view);
    return st;
}

enum vg_status fhir_bundle_run(struct fhir_store *store, struct vg_slice text,
                               enum fhir_prefer prefer, struct vg_arena *arena, struct vg_buf *out,
                               struct fhir_issue *issue, struct vg_err *err)
{
    struct bundle bundle = {
        .store = store, .prefer = prefer, .arena = arena, .out = out, .issue = issue};
    struct vg_json *root = NULL;
    size_t op_count = 0, index = 0;
    enum vg_status st = fhir_parse(arena, text, &root, issue, err);

    if (st != VG_OK)
        return st;
    struct vg_slice kind = vg_json_get_text(root, "type");
    const struct vg_json *list = vg_json_get(root, "entry");

    bundle.is_transaction = vg_slice_is(kind, "transaction");
    if (!vg_slice_is(vg_json_get_text(root, "resourceType"), "Bundle") ||
        (!bundle.is_transaction && !vg_slice_is(kind, "batch")))
        return fhir_refuse(issue, err, 400, "invalid", VG_SLICE("Bundle.type"),
                           "a Bundle of type transaction or batch is expected here");
    if (list && (list->type != VG_JSON_ARRAY || list->count > FHIR_BUNDLE_ENTRIES_MAX))
        return fhir_refuse(issue, err, 413, "too-costly", VG_SLICE("Bundle.entry"),
                           "a Bundle may have %u entries", FHIR_BUNDLE_ENTRIES_MAX);
    bundle.count = list ? list->count : 0;
    bundle.entries = vg_arena_alloc(arena, (bundle.count + 1) * sizeof(*bundle.entries));
    struct fhir_op *ops = vg_arena_alloc(arena, (bundle.count + 1) * sizeof(*ops));

    if (!bundle.entries || !ops)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the Bundle");
    for (const struct vg_json *node = list ? list->child : NULL; node; node = node->next, index++) {
        struct fhir_issue own = {0};
        struct vg_err why = {0};

        st = entry_parse(&bundle, node, index, &ops[op_count], &own, &why);
        if (bundle.entries[index].op)
            op_count++;
        if (st == VG_OK)
            continue;
        ops[op_count] = (struct fhir_op){0};
        if (bundle.is_transaction) {
            *issue = own;
            *err = why;
            return st;
        }
        bundle.entries[index].issue = own;
        (void)snprintf(bundle.entries[index].why, sizeof(bundle.entries[index].why), "%.190s",
                       why.text);
    }
    bundle.ops = (struct fhir_ops){.store = store,
                                   .ops = ops,
                                   .count = op_count,
                                   .is_transaction = true,
                                   .arena = arena,
                                   .issue = issue};
    if (!bundle.has_writes)
        return run_reads(&bundle, err);
    return bundle.is_transaction ? run_transaction(&bundle, err) : run_batch(&bundle, err);
}
