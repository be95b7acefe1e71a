/* interaction.c -- R4's interactions: read, history, search, create, update, patch, delete,
 * bundles.
 *
 * Each takes what the request said from the job and fills its answer. What a scope does not allow
 * to be seen is left out of what a search brings along; what a condition or a chain would tell
 * about it is refused.
 */
#include "fhir/rest_int.h"
#include "fhir/subscription_int.h"

#include <inttypes.h>
#include <stdio.h>

#define HISTORY_COUNT_USUAL 100u

static void forbidden(struct fhir_job *job)
{
    job->authenticate = "Bearer error=\"insufficient_scope\"";
    fhir_job_outcome(job, 403, "forbidden", (struct vg_slice){0},
                     "the token's scopes do not allow this");
}

/* ---- reading ---- */

void fhir_run_metadata(struct fhir_job *job)
{
    job->http_status = 200;
    fhir_capability_write(job->store, &job->out);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", the one form that is sent today. */
static bool http_date_parse(struct vg_slice text, int64_t *ret_us)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char copy[40], month[4], zone[4];
    const char *at;
    int day, year, hour, minute, second;

    if (!vg_slice_to_cstr(vg_slice_trim(text), copy, sizeof(copy)) ||
        sscanf(copy, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3[A-Z]", &day, month, &year,
               &hour, &minute, &second, zone) != 7)
        return false;
    at = strstr(months, month);
    if (!at || (at - months) % 3 || strcmp(zone, "GMT") != 0 || strlen(month) != 3)
        return false;
    *ret_us = (vg_date_days(year, (int)(at - months) / 3 + 1, day) * 86400 + hour * 3600 +
               minute * 60 + second) *
              VG_SECOND_US;
    return true;
}

/* If-None-Match decides alone where it is given. */
static bool is_not_modified(const struct fhir_job *job, uint64_t version, int64_t updated_us)
{
    int64_t since_us;

    if (job->if_none_match.len == 0)
        return job->if_modified_since.len && http_date_parse(job->if_modified_since, &since_us) &&
               updated_us / VG_SECOND_US <= since_us / VG_SECOND_US;
    return fhir_etags_have(job->if_none_match, version);
}

/* _elements and _summary of one resource: the words are those of a search. */
static enum vg_status shape(struct fhir_job *job, struct fhir_resource *resource,
                            struct vg_err *err)
{
    static const struct {
        const char *word;
        enum fhir_summary summary;
    } summaries[] = {
        {"true", FHIR_SUMMARY_TRUE}, {"text", FHIR_SUMMARY_TEXT}, {"data", FHIR_SUMMARY_DATA}};
    struct vg_slice names[64], list = fhir_job_param(job, "_elements");
    struct vg_slice word = fhir_job_param(job, "_summary");
    size_t count = 0;

    for (size_t i = 0; i < sizeof(summaries) / sizeof(summaries[0]); i++)
        if (vg_slice_is(word, summaries[i].word))
            return fhir_summary_cut(&job->arena, job->type, resource->body, summaries[i].summary,
                                    &resource->body, err);

    while (list.len && count < sizeof(names) / sizeof(names[0])) {
        struct vg_slice one = vg_slice_trim(vg_slice_cut(&list, ','));

        if (one.len)
            names[count++] = one;
    }
    if (count == 0)
        return VG_OK;
    return fhir_elements_cut(&job->arena, job->type, resource->body, names, count, &resource->body,
                             err);
}

static void send_resource(struct fhir_job *job, struct fhir_resource *resource)
{
    struct vg_err err = {0};

    fhir_job_stamp(job, resource->version, resource->last_updated_us);
    if (resource->is_deleted) {
        fhir_job_outcome(job, 410, "deleted", (struct vg_slice){0}, "the resource was deleted");
        return;
    }
    if (is_not_modified(job, resource->version, resource->last_updated_us)) {
        job->http_status = 304;
        return;
    }
    if (shape(job, resource, &err) != VG_OK) {
        fhir_job_failed(job, VG_REJECT, &(struct fhir_issue){0}, &err);
        return;
    }
    job->http_status = 200;
    vg_buf_put(&job->out, fhir_mask(&job->arena, job->type, resource->body));
}

void fhir_run_read(struct fhir_job *job)
{
    struct fhir_resource resource;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    uint64_t version = 0;
    enum vg_status st = VG_END;

    /* A version that is no number of ours never was. */
    if (!job->version.len || (vg_slice_to_u64(job->version, &version) && version > 0))
        st = fhir_read(job->store, vg_slice_of(fhir_type_name(job->type)), job->id, version,
                       &job->arena, &resource, &err);
    if (st == VG_OK)
        send_resource(job, &resource);
    else if (st == VG_END)
        fhir_job_outcome(job, 404, "not-found", (struct vg_slice){0}, "there is no such resource");
    else
        fhir_job_failed(job, st, &issue, &err);
}

/* ---- history ---- */

static bool history_cursor(struct vg_slice text, struct fhir_history_ask *ask)
{
    ask->has_cursor = true;
    return vg_slice_to_i64(vg_slice_cut(&text, '_'), &ask->cursor_us) &&
           vg_slice_to_i64(vg_slice_cut(&text, '_'), &ask->cursor_key) &&
           vg_slice_to_i64(text, &ask->cursor_version);
}

/* What is asked for; self gets what was understood. */
static bool history_ask(struct fhir_job *job, struct fhir_history_ask *ask, struct vg_buf *self)
{
    struct vg_slice count = fhir_job_param(job, "_count"), since = fhir_job_param(job, "_since");
    struct vg_slice at = fhir_job_param(job, "_at"), after = fhir_job_param(job, "_after");
    enum fhir_precision precision;
    struct fhir_span span;
    uint64_t number;
    bool has_zone;

    *ask = (struct fhir_history_ask){
        .type = job->type, .id = job->id, .since_us = INT64_MIN, .count = HISTORY_COUNT_USUAL};
    if (count.len) {
        if (!vg_slice_to_u64(count, &number))
            return false;
        ask->count = number > FHIR_COUNT_MAX ? FHIR_COUNT_MAX : (uint32_t)number;
        vg_buf_printf(self, "_count=%u&", ask->count);
    }
    if (since.len) {
        if (!fhir_time_parse(since, &span, &precision, &has_zone) || !has_zone ||
            precision < FHIR_SECOND)
            return false;
        ask->since_us = span.low_us;
        vg_buf_printf(self, "_since=");
        vg_url_encode(self, since);
        vg_buf_put_byte(self, '&');
    }
    if (at.len) {
        if (!fhir_time_parse(at, &ask->at, &precision, &has_zone))
            return false;
        ask->has_at = true;
        vg_buf_printf(self, "_at=");
        vg_url_encode(self, at);
        vg_buf_put_byte(self, '&');
    }
    return after.len == 0 || history_cursor(after, ask);
}

static void send_history(struct fhir_job *job, const struct fhir_history_ask *ask,
                         const struct fhir_found_list *found, struct vg_slice self)
{
    struct fhir_results results = {.count = found->count, .has_more = found->has_more};
    const struct fhir_found *last = found->count ? &found->items[found->count - 1] : NULL;
    struct vg_slice next = {0}, path;

    path = ask->id.len ? vg_arena_printf(&job->arena, "%s/%.*s/_history", fhir_type_name(ask->type),
                                         VG_FMT(ask->id))
                       : vg_arena_printf(&job->arena, "%s/_history", fhir_type_name(ask->type));
    results.resources =
        vg_arena_alloc(&job->arena, (found->count + 1) * sizeof(*results.resources));
    if (!path.ptr || !results.resources) {
        fhir_job_outcome(job, 503, "transient", (struct vg_slice){0}, "no room for the history");
        return;
    }
    for (size_t i = 0; i < found->count; i++)
        results.resources[i] = found->items[i].resource;
    if (found->has_more && last)
        next = fhir_job_link(
            job, path.ptr,
            vg_arena_printf(&job->arena, "%.*s_after=%" PRId64 "_%" PRId64 "_%" PRIu64,
                            VG_FMT(self), last->sort_number, last->key, last->resource.version));
    if (self.len)
        self.len--; /* the last & */
    results.has_total = !found->has_more && !ask->has_cursor;
    results.total = found->count;
    job->http_status = 200;
    fhir_bundle_write(job->store, "history", fhir_job_link(job, path.ptr, self), next, &results,
                      &job->out);
}

void fhir_run_history(struct fhir_job *job)
{
    const struct fhir_engine *engine = job->store->engine;
    struct fhir_history_ask ask;
    struct fhir_found_list found = {0};
    struct fhir_current current = {.key = 1};
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_buf self;
    void *view = NULL;
    enum vg_status st;

    if (!engine->history) {
        fhir_job_outcome(job, 501, "not-supported", (struct vg_slice){0},
                         "this store does not tell its history");
        return;
    }
    vg_buf_init(&self, 4096);
    if (!history_ask(job, &ask, &self)) {
        fhir_job_outcome(job, 400, "value", (struct vg_slice){0},
                         "_count is a number, _since an instant, _at a time");
    } else if ((st = engine->view_begin(job->store->self, &view, &err)) != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
    } else {
        if (ask.id.len)
            st = engine->current(view, ask.type, ask.id, &job->arena, &current, &err);
        if (st == VG_OK && current.key)
            st = engine->history(view, &ask, &job->arena, &found, &err);
        engine->view_end(job->store->self, view);
        if (st != VG_OK)
            fhir_job_failed(job, st, &issue, &err);
        else if (!current.key)
            fhir_job_outcome(job, 404, "not-found", (struct vg_slice){0},
                             "there is no such resource");
        else
            send_history(job, &ask, &found, vg_buf_slice(&self));
    }
    vg_buf_fini(&self);
}

/* ---- searching ---- */

static void search(struct fhir_job *job, unsigned type, const char *path, struct vg_slice query,
                   bool is_lastn)
{
    struct fhir_store *store = job->store;
    struct fhir_results results;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_slice next = {0};
    void *view = NULL;
    enum vg_status st;

    if (!fhir_access_allows_query(&job->access, type, query)) {
        forbidden(job);
        return;
    }
    st = store->engine->view_begin(store->self, &view, &err);
    if (st == VG_OK) {
        st = is_lastn ? fhir_lastn_in(store, view, query, job->is_strict, &job->arena, &results,
                                      &issue, &err)
                      : fhir_search_in(store, view, type, query, job->is_strict, &job->arena,
                                       &results, &issue, &err);
        store->engine->view_end(store->self, view);
    }
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    fhir_access_hide(&job->access, &results);
    if (results.next_query.len)
        next = fhir_job_link(job, path, results.next_query);
    job->http_status = 200;
    fhir_bundle_write(store, "searchset", fhir_job_link(job, path, results.self_query), next,
                      &results, &job->out);
}

void fhir_run_search(struct fhir_job *job)
{
    search(job, job->type, fhir_type_name(job->type), job->query, false);
}

/* The parameters of a POST _search stand in its form, and may stand in the address too. */
void fhir_run_search_form(struct fhir_job *job)
{
    struct vg_slice both = vg_slice_trim(job->body);

    if (job->query.len)
        both = vg_arena_printf(&job->arena, "%.*s&%.*s", VG_FMT(job->query), VG_FMT(both));
    search(job, job->type, fhir_type_name(job->type), both, false);
}

void fhir_run_lastn(struct fhir_job *job)
{
    struct fhir_args args;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_slice query = job->query;
    struct vg_buf text;
    enum vg_status st;

    /* A Parameters body says the same as the address does. */
    vg_buf_init(&text, 64u << 10);
    if (job->body.len) {
        st = fhir_job_args(job, &args, &issue, &err);
        if (st != VG_OK) {
            fhir_job_failed(job, st, &issue, &err);
            vg_buf_fini(&text);
            return;
        }
        for (size_t i = 0; i < args.count; i++) {
            vg_buf_printf(&text, "%s%.*s=", i ? "&" : "", VG_FMT(args.items[i].name));
            vg_url_encode(&text, args.items[i].text);
        }
        query = vg_buf_slice(&text);
    }
    search(job, job->type, "Observation/$lastn", query, true);
    vg_buf_fini(&text);
}

/* ---- writing ---- */

static bool take_if_match(struct fhir_job *job, struct fhir_op *op)
{
    op->if_matches = vg_slice_trim(job->if_match);
    if (fhir_etags_are_ok(op->if_matches))
        return true;
    fhir_job_outcome(job, 400, "value", (struct vg_slice){0},
                     "If-Match must be *, or versions as W/\"3\"");
    return false;
}

static void write(struct fhir_job *job, struct fhir_op *op)
{
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct fhir_ops ops = {
        .store = job->store, .ops = op, .count = 1, .arena = &job->arena, .issue = &issue};
    enum vg_status st;

    op->type = job->type;
    op->body = job->body;
    if (!take_if_match(job, op))
        return;
    st = fhir_subscription_check(&job->access, &job->arena, op, &issue, &err);
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    if (op->query.ptr && (!fhir_access_allows(&job->access, 's', job->type) ||
                          !fhir_access_allows_query(&job->access, job->type, op->query))) {
        forbidden(job);
        return;
    }
    st = fhir_ops_commit(&ops, &err);
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    job->http_status = op->http_status;
    job->id = op->id;
    if (op->version)
        fhir_job_stamp(job, op->version, op->updated_us);
    if (op->what == FHIR_OP_DELETE)
        return;
    if (op->what == FHIR_OP_CREATE || op->http_status == 201)
        (void)snprintf(job->location, sizeof(job->location), "%.*s/%s/%.*s/_history/%" PRIu64,
                       VG_FMT(job->store->base_url), fhir_type_name(op->type), VG_FMT(op->id),
                       op->version);
    if (job->prefers == FHIR_PREFER_OUTCOME)
        fhir_job_outcome(job, op->http_status, "informational", (struct vg_slice){0}, "done");
    else if (job->prefers != FHIR_PREFER_MINIMAL)
        vg_buf_put(&job->out, fhir_mask(&job->arena, job->type, op->stored));
}

static bool has_good_id(struct fhir_job *job)
{
    if (fhir_id_is_ok(job->id))
        return true;
    fhir_job_outcome(job, 400, "value", VG_SLICE("id"), "id must be 1 to 64 of A-Z a-z 0-9 - .");
    return false;
}

void fhir_run_create(struct fhir_job *job)
{
    struct fhir_op op = {.what = FHIR_OP_CREATE, .query = job->if_none_exist};

    if (job->if_none_exist.ptr && job->if_none_exist.len == 0)
        fhir_job_outcome(job, 400, "required", (struct vg_slice){0},
                         "If-None-Exist is empty: what must not exist is not known");
    else
        write(job, &op);
}

void fhir_run_update(struct fhir_job *job)
{
    struct fhir_op op = {.what = FHIR_OP_UPDATE, .id = job->id, .needs_body_id = true};

    op.is_if_none_match = vg_slice_is(vg_slice_trim(job->if_none_match), "*");
    if (job->if_none_exist.len || (job->if_none_match.len && !op.is_if_none_match))
        fhir_job_outcome(job, 400, "not-supported", (struct vg_slice){0},
                         "an update may have the conditions If-Match and If-None-Match: *");
    else if (has_good_id(job))
        write(job, &op);
}

void fhir_run_patch(struct fhir_job *job)
{
    struct fhir_op op = {.what = FHIR_OP_UPDATE, .id = job->id, .needs_body_id = true};

    op.patch = job->body.len ? job->body : VG_SLICE(" ");
    if (has_good_id(job))
        write(job, &op);
}

void fhir_run_conditional_update(struct fhir_job *job)
{
    struct fhir_op op = {.what = FHIR_OP_UPDATE, .query = job->query};

    op.is_if_none_match = vg_slice_is(vg_slice_trim(job->if_none_match), "*");
    if (job->query.len == 0)
        fhir_job_outcome(job, 400, "required", (struct vg_slice){0},
                         "an update needs an id, or a condition that finds it");
    else
        write(job, &op);
}

void fhir_run_delete(struct fhir_job *job)
{
    struct fhir_op op = {.what = FHIR_OP_DELETE, .id = job->id};

    if (!fhir_id_is_ok(job->id))
        job->http_status = 204; /* what can never have been is not there */
    else
        write(job, &op);
}

void fhir_run_conditional_delete(struct fhir_job *job)
{
    struct fhir_op op = {.what = FHIR_OP_DELETE, .query = job->query};

    if (job->query.len == 0)
        fhir_job_outcome(job, 400, "required", (struct vg_slice){0},
                         "a delete needs an id, or a condition that finds one resource");
    else
        write(job, &op);
}

void fhir_run_bundle(struct fhir_job *job)
{
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    enum vg_status st = fhir_bundle_run(job->store, job->body, job->prefers, &job->access,
                                        &job->arena, &job->out, &issue, &err);

    job->http_status = 200;
    if (st != VG_OK)
        fhir_job_failed(job, st, &issue, &err);
}
