/* bundle.c -- Bundles in (batch, transaction) and Bundles out (searchset, history, responses).
 *
 * A transaction is one commit: its writes in the order that commit.c keeps, then its reads, which
 * see them. A batch is one commit too, with a savepoint for each entry: a hundred entries cost one
 * fsync, and one that is refused takes nothing with it.
 */
#include "base/crypto.h"
#include "fhir/rest_int.h"
#include "fhir/subscription_int.h"

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
                 {304, "304 Not Modified"},
                 {400, "400 Bad Request"},
                 {401, "401 Unauthorized"},
                 {403, "403 Forbidden"},
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

static void put_body(struct vg_json_writer *w, struct vg_slice type, struct vg_slice body)
{
    struct vg_arena arena;

    if (!vg_slice_is(type, "Subscription")) {
        vg_json_member_raw(w, "resource", body);
        return;
    }
    vg_arena_init(&arena, 8 * (size_t)FHIR_RESOURCE_BYTES_MAX);
    body = fhir_mask(&arena, fhir_type_find(type), body);
    w->out->has_failed |= !body.ptr;
    vg_json_member_raw(w, "resource", body.ptr ? body : VG_SLICE("null"));
    vg_arena_fini(&arena);
}

/* How a version came to be: what was asked, as whom it was answered. A first version under an id
 * that we drew was posted; a version after a deletion made the resource anew. */
static void put_made(struct vg_json_writer *w, const struct fhir_results *results, size_t at)
{
    const struct fhir_resource *one = &results->resources[at];
    bool is_posted = one->version == 1 && fhir_id_is_drawn(one->id);
    bool is_new = one->version == 1;

    for (size_t i = at + 1; i < results->count && one->version > 1; i++) {
        const struct fhir_resource *older = &results->resources[i];

        if (!vg_slice_eq(older->id, one->id))
            continue;
        is_new = older->is_deleted;
        break;
    }
    vg_json_name(w, "request");
    vg_json_open_object(w);
    vg_json_member_string(w, "method",
                          one->is_deleted ? VG_SLICE("DELETE")
                          : is_posted     ? VG_SLICE("POST")
                                          : VG_SLICE("PUT"));
    if (is_posted)
        vg_json_member_string(w, "url", one->type);
    else
        put_name(w, "url", NULL, one->type, one->id);
    vg_json_close_object(w);
    vg_json_name(w, "response");
    vg_json_open_object(w);
    vg_json_member_string(w, "status",
                          vg_slice_of(status_text(one->is_deleted ? 204
                                                  : is_new        ? 201
                                                                  : 200)));
    put_etag(w, one->version, one->last_updated_us);
    vg_json_close_object(w);
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
            put_body(&w, one->type, one->body);
        if (is_history) {
            put_made(&w, results, i);
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
    bool is_head;
    struct fhir_op *op;                 /* NULL: a read, or refused before it began */
    struct vg_slice url, if_none_match; /* reads */
    /* batch: how it ended, when it was refused */
    struct fhir_issue issue;
    char why[200];
    struct fhir_ops ops; /* batch: its own commit */
};

struct bundle {
    struct fhir_store *store;
    struct entry *entries;
    size_t count;
    const struct fhir_access *access;
    struct fhir_ops ops; /* transaction: all of them */
    enum fhir_prefer prefer;
    struct vg_arena *arena;
    struct vg_buf *out;
    struct fhir_issue *issue;
    bool is_transaction, has_writes, has_written;
};

static enum vg_status refuse_entry(struct fhir_issue *issue, struct vg_err *err, size_t index,
                                   int http_status, const char *code, const char *element,
                                   const char *why, struct vg_arena *arena)
{
    return fhir_refuse(issue, err, http_status, code,
                       vg_arena_printf(arena, "Bundle.entry[%zu]%s", index, element),
                       "entry %zu: %s", index, why);
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

/* "Patient?identifier=…" as a reference tells whether there is one, so it is a search. */
static bool may_resolve(const struct fhir_access *access, const struct vg_json *node)
{
    struct vg_slice query = node ? node->text : (struct vg_slice){0};
    unsigned type;

    if (access->is_all)
        return true;
    if (vg_json_is(node, VG_JSON_STRING)) {
        type = vg_slice_is(node->name, "reference") ? fhir_type_find(vg_slice_cut(&query, '?')) : 0;
        return !type || !query.len ||
               (fhir_access_allows(access, 's', type) &&
                fhir_access_allows_query(access, type, query));
    }
    for (const struct vg_json *child = node ? node->child : NULL; child; child = child->next)
        if (!may_resolve(access, child))
            return false;
    return true;
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

    bool is_patch = vg_slice_is(method, "PATCH");

    entry->url = vg_json_get_text(request, "url");
    entry->if_none_match = vg_json_get_text(request, "ifNoneMatch");
    if (method.len == 0 || entry->url.len == 0)
        return refuse_entry(issue, err, index, 400, "required", ".request",
                            "request.method and request.url are needed", bundle->arena);
    if (vg_slice_is(method, "GET") || vg_slice_is(method, "HEAD")) {
        entry->is_head = vg_slice_is(method, "HEAD");
        return VG_OK;
    }
    if (!is_post && !is_put && !is_patch && !vg_slice_is(method, "DELETE"))
        return refuse_entry(issue, err, index, 400, "not-supported", ".request.method",
                            "GET, HEAD, POST, PUT, PATCH and DELETE are supported", bundle->arena);
    if (!url_cut(bundle->store, entry->url, &op->type, &op->id, &query))
        return refuse_entry(issue, err, index, 404, "not-supported", ".request.url",
                            "the url does not name a resource type of R4", bundle->arena);
    op->what = is_post ? FHIR_OP_CREATE : is_put || is_patch ? FHIR_OP_UPDATE : FHIR_OP_DELETE;
    if (!fhir_policy_allows(op->type, is_post    ? "create"
                                      : is_put   ? "update"
                                      : is_patch ? "patch"
                                                 : "delete"))
        return refuse_entry(issue, err, index, 405, "not-supported", ".request",
                            "resources of this type are not changed by clients", bundle->arena);
    if (!fhir_access_allows(bundle->access,
                            is_post              ? 'c'
                            : is_put || is_patch ? 'u'
                                                 : 'd',
                            op->type) ||
        ((query.len || none_exist.len) &&
         (!fhir_access_allows(bundle->access, 's', op->type) ||
          !fhir_access_allows_query(bundle->access, op->type, query) ||
          !fhir_access_allows_query(bundle->access, op->type, none_exist))) ||
        (bundle->is_transaction && !may_resolve(bundle->access, resource)))
        return refuse_entry(issue, err, index, 403, "forbidden", ".request",
                            "the token's scopes do not allow this", bundle->arena);
    op->full_url = vg_json_get_text(node, "fullUrl");
    if (is_post || is_put) {
        if (!vg_json_is(resource, VG_JSON_OBJECT))
            return refuse_entry(issue, err, index, 400, "required", ".resource",
                                "a resource is needed", bundle->arena);
        op->body = resource->source;
        op->root = resource;
    }
    if (is_patch) {
        /* A Bundle holds resources, so the patch comes in a Binary. */
        if (!vg_slice_is(vg_json_get_text(resource, "resourceType"), "Binary") ||
            !vg_slice_is(vg_json_get_text(resource, "contentType"), "application/json-patch+json"))
            return refuse_entry(issue, err, index, 400, "not-supported", ".resource",
                                "a patch is a Binary of application/json-patch+json",
                                bundle->arena);
        op->patch = vg_base64_decode(bundle->arena, vg_json_get_text(resource, "data"));
        if (!op->patch.len)
            return refuse_entry(issue, err, index, 400, "value", ".resource.data",
                                "the Binary's data is not base64", bundle->arena);
    }
    bool is_found = query.ptr && !is_post && !is_patch;

    if (is_post    ? op->id.len > 0 || query.ptr
        : is_found ? op->id.len > 0 || query.len == 0
                   : query.ptr || !fhir_id_is_ok(op->id))
        return refuse_entry(issue, err, index, 400, "value", ".request.url",
                            "the url does not fit the method", bundle->arena);
    if (is_post && none_exist.ptr && none_exist.len == 0)
        return refuse_entry(issue, err, index, 400, "value", ".request.ifNoneExist",
                            "ifNoneExist is empty: what must not exist is not known",
                            bundle->arena);
    if (is_post)
        op->query = none_exist;
    else if (is_found)
        op->query = query;
    op->needs_body_id = (is_put || is_patch) && !op->query.ptr;
    op->is_if_none_match = is_put && vg_slice_is(vg_json_get_text(request, "ifNoneMatch"), "*");
    enum vg_status st = fhir_subscription_check(bundle->access, bundle->arena, op, issue, err);

    if (st != VG_OK)
        return st;
    op->if_matches = vg_slice_trim(if_match);
    entry->op = op;
    bundle->has_writes = true;
    return VG_OK;
}

/* ---- answers ---- */

/* What a read answers with. */
struct reading {
    int http_status;
    struct vg_slice body; /* empty: not modified */
    uint64_t version;     /* 0: of a Bundle */
    int64_t updated_us;
};

static enum vg_status read_one(struct bundle *bundle, void *view, const struct entry *entry,
                               unsigned type, struct vg_slice id, struct reading *ret_reading,
                               struct fhir_issue *issue, struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    struct vg_slice rest = id, word;
    struct fhir_found_list found = {0};
    struct fhir_resource one = {0};
    struct fhir_current current;
    uint64_t version = 0;
    enum vg_status st;

    id = vg_slice_cut(&rest, '/');
    word = vg_slice_cut(&rest, '/');
    if ((word.len && (!vg_slice_is(word, "_history") || rest.len == 0)) || id.ptr[0] == '$' ||
        id.ptr[0] == '_')
        return fhir_refuse(issue, err, 400, "not-supported", (struct vg_slice){0},
                           "this read is not supported inside a Bundle");
    if (!fhir_access_allows(bundle->access, 'r', type))
        return fhir_refuse(issue, err, 403, "forbidden", (struct vg_slice){0},
                           "the token's scopes do not allow this");
    if (word.len && (!vg_slice_to_u64(rest, &version) || version == 0)) {
        st = VG_END; /* a version that is no number of ours never was */
    } else if (version) {
        st = store->engine->versions(view, type, id, version, bundle->arena, &found, err);
        if (st == VG_OK)
            one = found.items[0].resource;
    } else {
        st = store->engine->current(view, type, id, bundle->arena, &current, err);
        if (st == VG_OK && !current.key)
            st = VG_END;
        one.version = current.version;
        one.last_updated_us = current.updated_us;
        one.is_deleted = current.is_deleted;
        one.body = current.body;
    }
    if (st == VG_END)
        return fhir_refuse(issue, err, 404, "not-found", (struct vg_slice){0},
                           "there is no such resource");
    if (st == VG_OK && one.is_deleted)
        return fhir_refuse(issue, err, 410, "deleted", (struct vg_slice){0},
                           "the resource was deleted");
    if (st != VG_OK)
        return st;
    *ret_reading = (struct reading){200, fhir_mask(bundle->arena, type, one.body), one.version,
                                    one.last_updated_us};
    if (fhir_etags_have(entry->if_none_match, one.version)) {
        ret_reading->http_status = 304;
        ret_reading->body = (struct vg_slice){0};
    }
    return st;
}

static enum vg_status read_run(struct bundle *bundle, void *view, const struct entry *entry,
                               struct reading *ret_reading, struct fhir_issue *issue,
                               struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    struct vg_slice id, query, self, next = {0};
    struct fhir_results results;
    struct vg_buf text;
    unsigned type;
    enum vg_status st;

    if (!url_cut(store, entry->url, &type, &id, &query))
        return fhir_refuse(issue, err, 404, "not-supported", (struct vg_slice){0},
                           "the url does not name a resource type of R4");
    bool is_lastn = vg_slice_is(id, "$lastn") && strcmp(fhir_type_name(type), "Observation") == 0;
    const char *path = is_lastn ? "Observation/$lastn" : fhir_type_name(type);

    if (id.len && !is_lastn)
        return read_one(bundle, view, entry, type, id, ret_reading, issue, err);
    if (!fhir_access_allows(bundle->access, 's', type) ||
        !fhir_access_allows_query(bundle->access, type, query))
        return fhir_refuse(issue, err, 403, "forbidden", (struct vg_slice){0},
                           "the token's scopes do not allow this");
    st = is_lastn
             ? fhir_lastn_in(store, view, query, false, bundle->arena, &results, issue, err)
             : fhir_search_in(store, view, type, query, false, bundle->arena, &results, issue, err);
    if (st != VG_OK)
        return st;
    fhir_access_hide(bundle->access, &results);
    self = vg_arena_printf(bundle->arena, "%.*s/%s?%.*s", VG_FMT(store->base_url), path,
                           VG_FMT(results.self_query));
    if (results.next_query.len)
        next = vg_arena_printf(bundle->arena, "%.*s/%s?%.*s", VG_FMT(store->base_url), path,
                               VG_FMT(results.next_query));
    vg_buf_init(&text, FHIR_SCRATCH_BYTES_MAX);
    fhir_bundle_write(store, "searchset", self, next, &results, &text);
    *ret_reading = (struct reading){.http_status = 200};
    if (vg_buf_ok(&text))
        ret_reading->body = vg_arena_dup(bundle->arena, vg_buf_slice(&text));
    vg_buf_fini(&text);
    return ret_reading->body.ptr
               ? VG_OK
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
        put_body(w, type, op->stored);
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
        struct reading reading = {0};
        enum vg_status st;

        vg_json_open_object(&w);
        if (entry->issue.http_status) {
            write_refused(&w, &entry->issue, entry->why);
        } else if (entry->op) {
            write_written(bundle, &w, entry->op);
        } else {
            st = read_run(bundle, view, entry, &reading, &issue, &why);
            if (st == VG_REJECT && issue.http_status && !bundle->is_transaction) {
                write_refused(&w, &issue, why.text);
            } else if (st != VG_OK) {
                *bundle->issue = issue;
                *err = why;
                return st;
            } else {
                if (reading.body.len && !entry->is_head)
                    vg_json_member_raw(&w, "resource", reading.body);
                vg_json_name(&w, "response");
                vg_json_open_object(&w);
                vg_json_member_string(&w, "status", vg_slice_of(status_text(reading.http_status)));
                if (reading.version)
                    put_etag(&w, reading.version, reading.updated_us);
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

    bundle->has_written = st == VG_OK; /* what is refused from here on is a read */
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

/* Which of perhaps hundreds it was: "entry 3: …", at Bundle.entry[3].resource.gender. */
static void name_failed(struct bundle *bundle, const struct fhir_op *op, struct vg_err *err)
{
    struct fhir_issue *issue = bundle->issue;
    struct vg_slice element = issue->expression, whole = element;
    char text[sizeof(err->text)];
    size_t at = 0;

    while (at < bundle->count && bundle->entries[at].op != op)
        at++;
    (void)snprintf(text, sizeof(text), "entry %zu: %.230s", at, err->text);
    memcpy(err->text, text, sizeof(text));
    if (fhir_type_find(vg_slice_cut(&element, '.')) && !vg_slice_starts(whole, VG_SLICE("Bundle.")))
        whole = element; /* without the type */
    issue->expression =
        !whole.len || vg_slice_starts(whole, VG_SLICE("Bundle."))
            ? vg_arena_printf(bundle->arena, "Bundle.entry[%zu]", at)
            : vg_arena_printf(bundle->arena, "Bundle.entry[%zu].resource.%.*s", at, VG_FMT(whole));
}

static enum vg_status run_transaction(struct bundle *bundle, struct vg_err *err)
{
    struct fhir_store *store = bundle->store;
    enum vg_status st = fhir_ops_prepare(&bundle->ops, err);

    if (st == VG_OK)
        st = store->engine->transact(store->self, transaction_work, bundle, err);
    if (st == VG_OK)
        fhir_ops_done(&bundle->ops);
    else if (st == VG_REJECT && bundle->issue->http_status && !bundle->has_written)
        name_failed(bundle, &bundle->ops.ops[bundle->ops.failed], err);
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
                               enum fhir_prefer prefer, const struct fhir_access *access,
                               struct vg_arena *arena, struct vg_buf *out, struct fhir_issue *issue,
                               struct vg_err *err)
{
    struct bundle bundle = {.store = store,
                            .prefer = prefer,
                            .access = access,
                            .arena = arena,
                            .out = out,
                            .issue = issue};
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
    if (list && list->type != VG_JSON_ARRAY)
        return fhir_refuse(issue, err, 400, "structure", VG_SLICE("Bundle.entry"),
                           "Bundle.entry must be an array");
    if (list && list->count > FHIR_BUNDLE_ENTRIES_MAX)
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
