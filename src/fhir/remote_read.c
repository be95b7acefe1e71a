/* remote_read.c -- reading from the FHIR server: read, history, search, $lastn.
 *
 * What waits in the spool is read from there: who has written sees it. A search cannot look there,
 * so a search of a type of which something waits is answered VG_RETRY until it is sent: an answer
 * that leaves out what we have written would be worse than none.
 *
 * A parameter that the server does not list (R4 has no Flag?status=) is not sent: servers ignore it
 * or refuse the search. If it is a token its values are compared here; else the search is refused.
 * A date without a prefix means other things on other servers: it goes out as a pair of ge and lt.
 * An order that the server did not keep is noticed by its self link.
 *
 * $lastn is made of searches, also where the server lists it: HAPI without Elasticsearch does, and
 * answers with other patients' Observations.
 *
 * next links are followed as they are, on the same origin only. next_query is "_page=" and the
 * link, and what is compared here.
 */
#include "base/http_server.h" /* vg_url_encode */
#include "fhir/remote_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LASTN_RESULTS_MAX 2000u
#define PAGE_USUAL 100u
#define BUNDLE_VALUES_MAX 8000000

static enum vg_status no_room(struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
}

/* ---- one resource ---- */

/* type, id, version and time out of the resource's own text. */
static void describe(struct fhir_remote *r, const struct vg_json *json, struct fhir_resource *ret)
{
    const struct vg_json *meta = vg_json_get(json, "meta");
    struct vg_slice version = vg_json_get_text(meta, "versionId");
    unsigned type = fhir_type_find(vg_json_get_text(json, "resourceType"));

    *ret = (struct fhir_resource){.type = vg_json_get_text(json, "resourceType"),
                                  .id = vg_json_get_text(json, "id"),
                                  .version = remote_version_of(version),
                                  .body = json->source};
    (void)vg_time_parse(vg_json_get_text(meta, "lastUpdated"), &ret->last_updated_us, NULL);
    if (type && ret->id.len)
        remote_know(r, type, ret->id, version, false);
}

static enum vg_status refused(struct vg_arena *arena, const struct vg_http_answer *answer,
                              struct vg_err *err)
{
    struct vg_slice expression;
    struct vg_slice text = remote_outcome(arena, answer, &expression);

    if (answer->status >= 500)
        return vg_fail(err, VG_RETRY, "fhir.server", 0, "the FHIR server failed: %.*s",
                       VG_FMT(text));
    return vg_fail(err, VG_REJECT, "fhir.refused", 0, "the FHIR server refused: %.*s",
                   VG_FMT(text));
}

static enum vg_status parse(struct vg_arena *arena, struct vg_slice body, const char *type,
                            struct vg_json **ret_json, struct vg_err *err)
{
    static const struct vg_json_options options = {.values_max = BUNDLE_VALUES_MAX};
    enum vg_status st = vg_json_parse(arena, body, &options, ret_json, NULL, err);

    if (st == VG_OK && !vg_slice_is(vg_json_get_text(*ret_json, "resourceType"), type))
        st =
            vg_fail(err, VG_REJECT, "fhir.answer", 0, "the FHIR server's answer is not a %s", type);
    return st;
}

enum vg_status remote_read_there(struct fhir_remote *r, unsigned type, struct vg_slice id,
                                 struct vg_arena *arena, struct fhir_resource *ret_resource,
                                 struct vg_err *err)
{
    struct vg_slice path = vg_arena_printf(arena, "%s/%.*s", fhir_type_name(type), VG_FMT(id));
    struct vg_http_answer answer;
    struct vg_json *json = NULL;
    enum vg_status st;

    if (!fhir_id_is_ok(id))
        return VG_END;
    if (!path.ptr)
        return no_room(err);
    st = remote_call(r, &(struct remote_request){.method = "GET", .path = path.ptr}, arena, &answer,
                     err);
    if (st != VG_OK)
        return st;
    if (answer.status == 404)
        return VG_END;
    if (answer.status == 410) {
        *ret_resource = (struct fhir_resource){
            .version = remote_version_of(remote_etag_text(answer.etag)), .is_deleted = true};
        return VG_OK;
    }
    if (answer.status != 200)
        return refused(arena, &answer, err);
    st = parse(arena, answer.body, fhir_type_name(type), &json, err);
    if (st != VG_OK)
        return st;
    describe(r, json, ret_resource);
    if (!vg_slice_eq(ret_resource->id, id))
        return vg_fail(err, VG_REJECT, "fhir.answer", 0,
                       "the FHIR server answered with another resource");
    return VG_OK;
}

/* As it will stand there, with the version that it has until then. */
static enum vg_status from_spool(struct fhir_remote *r, const struct remote_item *item,
                                 struct vg_arena *arena, struct fhir_resource *ret,
                                 struct vg_err *err)
{
    struct fhir_issue issue;
    struct fhir_draft draft;
    enum vg_status st;

    *ret = (struct fhir_resource){.version = REMOTE_VERSION_SPOOL + (uint64_t)item->seq,
                                  .last_updated_us = vg_now_us(),
                                  .is_deleted = item->is_delete};
    if (item->is_delete)
        return VG_OK;
    st = fhir_draft_make(arena, item->type, item->id, item->body, r->store->base_url, &draft,
                         &issue, err);
    if (st != VG_OK)
        return st;
    ret->body = fhir_draft_text(arena, &draft, ret->version, ret->last_updated_us);
    return ret->body.ptr ? VG_OK : no_room(err);
}

static enum vg_status one_version(struct fhir_remote *r, unsigned type, struct vg_slice id,
                                  uint64_t version, struct vg_arena *arena,
                                  struct fhir_resource *ret_resource, struct vg_err *err)
{
    struct fhir_results all;
    enum vg_status st = remote_history(r, type, id, arena, &all, err);

    for (size_t i = 0; st == VG_OK && i < all.count; i++) {
        if (all.resources[i].version == version) {
            *ret_resource = all.resources[i];
            return VG_OK;
        }
    }
    return st == VG_OK ? VG_END : st;
}

enum vg_status remote_read(struct fhir_remote *r, unsigned type, struct vg_slice id,
                           uint64_t version, struct vg_arena *arena,
                           struct fhir_resource *ret_resource, struct vg_err *err)
{
    struct remote_item item;
    enum vg_status st;

    if (version && version < REMOTE_VERSION_SPOOL) {
        st = one_version(r, type, id, version, arena, ret_resource, err);
    } else {
        st = spool_read(r->spool, type, id, arena, &item, err);
        if (st == VG_OK)
            st = from_spool(r, &item, arena, ret_resource, err);
        else if (st == VG_END)
            st = version ? VG_END : remote_read_there(r, type, id, arena, ret_resource, err);
    }
    if (st != VG_OK)
        return st;
    ret_resource->type = vg_slice_of(fhir_type_name(type));
    ret_resource->id = vg_arena_dup(arena, id);
    return ret_resource->id.ptr ? VG_OK : no_room(err);
}

/* ---- one page ---- */

static struct vg_slice link_of(const struct vg_json *bundle, const char *relation)
{
    const struct vg_json *links = vg_json_get(bundle, "link");

    for (const struct vg_json *at = links ? links->child : NULL; at; at = at->next)
        if (vg_slice_is(vg_json_get_text(at, "relation"), relation))
            return vg_json_get_text(at, "url");
    return (struct vg_slice){0};
}

/* A deletion in a history has no resource: its request says what was deleted. */
static bool take_deletion(const struct vg_json *entry, struct fhir_resource *ret)
{
    const struct vg_json *request = vg_json_get(entry, "request");
    const struct vg_json *response = vg_json_get(entry, "response");
    struct vg_slice url = vg_json_get_text(request, "url"), id, version;
    struct vg_slice type = vg_slice_cut(&url, '/');

    if (!vg_slice_is(vg_json_get_text(request, "method"), "DELETE"))
        return false;
    id = vg_slice_cut(&url, '/');
    (void)vg_slice_cut(&url, '/'); /* _history */
    version = remote_etag_text(vg_json_get_text(response, "etag"));
    if (version.len == 0)
        version = url;
    *ret = (struct fhir_resource){.type = type,
                                  .id = vg_slice_cut(&id, '?'),
                                  .version = remote_version_of(version),
                                  .is_deleted = true};
    (void)vg_time_parse(vg_json_get_text(response, "lastModified"), &ret->last_updated_us, NULL);
    return true;
}

static enum vg_status take_page(struct fhir_remote *r, const struct vg_json *bundle,
                                struct vg_arena *arena, struct fhir_results *ret_results,
                                struct vg_err *err)
{
    const struct vg_json *entries = vg_json_get(bundle, "entry");
    size_t room = entries ? entries->count : 0;
    struct fhir_results results = {0};
    int64_t total;

    results.resources = vg_arena_alloc(arena, (room + 1) * sizeof(*results.resources));
    if (!results.resources)
        return no_room(err);
    for (int is_included = 0; is_included < 2; is_included++) {
        for (const struct vg_json *at = entries ? entries->child : NULL; at; at = at->next) {
            const struct vg_json *json = vg_json_get(at, "resource");
            struct vg_slice mode = vg_json_get_text(vg_json_get(at, "search"), "mode");
            struct fhir_resource *to = &results.resources[results.count];

            if (vg_slice_is(mode, "outcome") || vg_slice_is(mode, "include") != is_included)
                continue;
            if (json &&
                !vg_slice_is(vg_json_get_text(vg_json_get(at, "request"), "method"), "DELETE"))
                describe(r, json, to);
            else if (!take_deletion(at, to))
                continue;
            if (to->id.len == 0 || (json && vg_slice_is(to->type, "OperationOutcome")))
                continue;
            results.count++;
        }
        if (!is_included)
            results.match_count = results.count;
    }
    results.has_total = vg_json_to_i64(vg_json_get(bundle, "total"), &total) && total >= 0;
    results.total = results.has_total ? (uint64_t)total : 0;
    *ret_results = results;
    return VG_OK;
}

static enum vg_status page(struct fhir_remote *r, const char *url, struct vg_arena *arena,
                           struct fhir_results *ret_results, struct vg_slice *ret_next,
                           struct vg_slice *ret_self, struct vg_err *err)
{
    struct vg_http_answer answer;
    struct vg_json *bundle = NULL;
    struct vg_slice next;
    enum vg_status st =
        remote_call(r, &(struct remote_request){.method = "GET", .path = url}, arena, &answer, err);

    if (st != VG_OK)
        return st;
    if (answer.status == 404 || answer.status == 410)
        return VG_END;
    if (answer.status != 200)
        return refused(arena, &answer, err);
    st = parse(arena, answer.body, "Bundle", &bundle, err);
    if (st == VG_OK)
        st = take_page(r, bundle, arena, ret_results, err);
    if (st != VG_OK)
        return st;
    next = link_of(bundle, "next");
    *ret_next = next.len ? vg_arena_dup(arena, next) : (struct vg_slice){0};
    *ret_self = link_of(bundle, "self");
    return VG_OK;
}

enum vg_status remote_page(struct fhir_remote *r, const char *url, struct vg_arena *arena,
                           struct fhir_results *ret_results, struct vg_slice *ret_next,
                           struct vg_err *err)
{
    struct vg_slice self;

    return page(r, url, arena, ret_results, ret_next, &self, err);
}

static enum vg_status append(struct vg_arena *arena, struct fhir_results *all, size_t *capacity,
                             const struct fhir_resource *more, size_t count, struct vg_err *err)
{
    if (all->count + count > *capacity) {
        size_t wanted = (all->count + count) * 2 + 16;
        struct fhir_resource *grown = vg_arena_alloc(arena, wanted * sizeof(*grown));

        if (!grown)
            return no_room(err);
        if (all->count)
            memcpy(grown, all->resources, all->count * sizeof(*grown));
        all->resources = grown;
        *capacity = wanted;
    }
    if (count)
        memcpy(all->resources + all->count, more, count * sizeof(*more));
    all->count += count;
    return VG_OK;
}

/* ---- history ---- */

enum vg_status remote_history(struct fhir_remote *r, unsigned type, struct vg_slice id,
                              struct vg_arena *arena, struct fhir_results *ret_results,
                              struct vg_err *err)
{
    struct vg_slice url =
        vg_arena_printf(arena, "%s/%.*s/_history?_count=100", fhir_type_name(type), VG_FMT(id));
    struct fhir_results all = {0}, one;
    const struct remote_type *can;
    struct fhir_resource current;
    size_t capacity = 0;
    bool has_history;
    struct remote_item waiting;
    enum vg_status st;

    if (!url.ptr)
        return no_room(err);
    if (!fhir_id_is_ok(id))
        return VG_END;
    (void)pthread_mutex_lock(&r->lock);
    can = remote_type_of(r, type);
    has_history = !can || can->has_history;
    (void)pthread_mutex_unlock(&r->lock);
    st = spool_read(r->spool, type, id, arena, &waiting, err);
    if (st == VG_OK)
        st = from_spool(r, &waiting, arena, &current, err);
    if (st == VG_OK) {
        current.type = vg_slice_of(fhir_type_name(type));
        current.id = id;
        st = append(arena, &all, &capacity, &current, 1, err);
    }
    if (st != VG_OK && st != VG_END)
        return st;
    if (!has_history) { /* what it was before is not told */
        st = remote_read_there(r, type, id, arena, &current, err);
        current.type = vg_slice_of(fhir_type_name(type));
        current.id = id;
        if (st == VG_OK)
            st = append(arena, &all, &capacity, &current, 1, err);
    }
    for (int i = 0; has_history && url.ptr; i++) {
        if (i == REMOTE_PAGES_MAX)
            return vg_fail(err, VG_REJECT, "fhir.too_long", 0,
                           "the history of one resource has more than %d pages", REMOTE_PAGES_MAX);
        st = remote_page(r, url.ptr, arena, &one, &url, err);
        if (st == VG_OK)
            st = append(arena, &all, &capacity, one.resources, one.match_count, err);
        if (st != VG_OK)
            break;
    }
    if (st == VG_END && all.count > 0) /* it is only here yet */
        st = VG_OK;
    if (st != VG_OK)
        return st;
    all.match_count = all.count;
    *ret_results = all;
    return all.count ? VG_OK : VG_END;
}

/* ---- search ---- */

struct plan {
    struct vg_buf url;
    struct vg_slice local_text;     /* the parameters that are compared here */
    const struct fhir_query *local; /* the same; NULL = none */
    uint64_t count;                 /* _count asked for; 0 = not */
    bool is_sorted, wants_summary;
};

static bool is_global(struct vg_slice name)
{
    static const char *const names[] = {"_id",         "_lastUpdated", "_count",   "_sort",
                                        "_elements",   "_total",       "_summary", "_include",
                                        "_revinclude", "_has",         "_format"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (vg_slice_is(name, names[i]))
            return true;
    return false;
}

static void put_param(struct vg_buf *url, struct vg_slice whole)
{
    vg_buf_put_byte(url, memchr(url->ptr, '?', url->len) ? '&' : '?');
    remote_put_query(url, whole);
}

/* date=2026-03-14 -> date=ge2026-03-14T00:00:00.000000Z&date=lt2026-03-15T00:00:00.000000Z */
static bool put_date(struct vg_buf *url, unsigned type, struct vg_slice name, struct vg_slice value,
                     struct vg_arena *arena)
{
    const struct fhir_param_view *view = fhir_param_find(type, name);
    struct vg_slice text = vg_url_decode(arena, value, false);
    enum fhir_precision precision;
    char low[VG_TIME_TEXT_SIZE], high[VG_TIME_TEXT_SIZE];
    struct fhir_span span;
    bool has_zone;

    if (!(view && view->param->kind == FHIR_DATE) && !vg_slice_is(name, "_lastUpdated"))
        return false;
    if (!text.ptr)
        return false;
    if (text.len > 2 && text.ptr[0] >= 'a' && text.ptr[0] <= 'z' &&
        fhir_time_parse(vg_slice_from(text, 2), &span, &precision, &has_zone) && has_zone &&
        precision == FHIR_SECOND) { /* in UTC: some compare texts */
        const char *point = memchr(text.ptr, '.', text.len);

        (void)vg_time_format(span.low_us, !point ? 0 : span.low_us % 1000 != 0 ? 6 : 3, low);
        vg_buf_put_byte(url, memchr(url->ptr, '?', url->len) ? '&' : '?');
        vg_buf_printf(url, "%.*s=%.2s%s", VG_FMT(name), text.ptr, low);
        return true;
    }
    if (!fhir_time_parse(text, &span, &precision, &has_zone))
        return false; /* several values, or less than a second: as it is */
    (void)vg_time_format(span.low_us, 6, low);
    (void)vg_time_format(span.high_us, 6, high);
    vg_buf_put_byte(url, memchr(url->ptr, '?', url->len) ? '&' : '?');
    vg_buf_printf(url, "%.*s=ge%s&%.*s=lt%s", VG_FMT(name), low, VG_FMT(name), high);
    return true;
}

/* What a server does not search by is compared here, if that is simple. */
static enum vg_status plan_local(struct fhir_remote *r, unsigned type, struct vg_slice text,
                                 struct vg_arena *arena, struct plan *plan, struct vg_err *err)
{
    struct fhir_query *parsed = vg_arena_alloc(arena, sizeof(*parsed));
    struct fhir_issue issue;
    enum vg_status st;

    plan->local_text = vg_arena_dup(arena, text);
    if (!parsed || !plan->local_text.ptr)
        return no_room(err);
    st = fhir_query_parse(arena, type, plan->local_text, true, r->store->base_url, NULL, parsed,
                          &issue, err);
    for (size_t i = 0; st == VG_OK && i < parsed->filter_count; i++)
        if (parsed->filters[i].param->param->kind != FHIR_TOKEN ||
            (parsed->filters[i].modifier != FHIR_PLAIN && parsed->filters[i].modifier != FHIR_NOT))
            st = vg_fail(err, VG_REJECT, "fhir.not_supported", 0,
                         "the FHIR server cannot search %s by %s", fhir_type_name(type),
                         parsed->filters[i].param->param->name);
    plan->local = parsed;
    return st;
}

/* "status" of "status:not", "patient" of "patient.identifier". */
static struct vg_slice plain_of(struct vg_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] == ':' || name.ptr[i] == '.')
            name.len = i;
    return name;
}

/* patient=p1 -> patient=Patient/p1: a bare id is an id to every server only with its type. */
static bool put_reference(struct vg_buf *url, unsigned type, struct vg_slice name,
                          struct vg_slice value)
{
    const struct fhir_param_view *view = fhir_param_find(type, name);
    struct vg_slice target;

    if (!view || view->param->kind != FHIR_REFERENCE || !view->param->target)
        return false;
    target = vg_slice_of(view->param->target);
    target = vg_slice_cut(&target, ',');
    vg_buf_put_byte(url, memchr(url->ptr, '?', url->len) ? '&' : '?');
    vg_buf_printf(url, "%.*s=", VG_FMT(name));
    for (bool is_first = true; value.len; is_first = false) {
        struct vg_slice one = vg_slice_cut(&value, ',');

        vg_buf_printf(url, "%s", is_first ? "" : ",");
        if (fhir_id_is_ok(one)) /* neither '/' nor '%' nor ':' in it */
            vg_buf_printf(url, "%.*s/", VG_FMT(target));
        remote_put_query(url, one);
    }
    return true;
}

/* Which parameters go out, and which are done here. */
static enum vg_status make_plan(struct fhir_remote *r, unsigned type, struct vg_slice query,
                                struct vg_arena *arena, struct plan *plan, struct vg_err *err)
{
    struct vg_buf local;
    enum vg_status st = VG_OK;
    struct vg_slice rest = query;
    uint64_t count = 0;

    vg_buf_init(&local, 1u << 20);
    vg_buf_printf(&plan->url, "%s", fhir_type_name(type));
    while (rest.len) {
        struct vg_slice value = vg_slice_cut(&rest, '&'), whole = value, plain;
        struct vg_slice name = vg_slice_cut(&value, '=');
        const struct remote_type *can;
        bool is_listed;

        if (name.len == 0 || value.len == 0)
            continue;
        plain = plain_of(name);
        if (vg_slice_is(name, "_count")) {
            (void)vg_slice_to_u64(value, &count);
            continue; /* once it is known whether something is left out */
        }
        plan->is_sorted |= vg_slice_is(name, "_sort");
        plan->wants_summary |= vg_slice_is(name, "_summary");
        (void)pthread_mutex_lock(&r->lock);
        can = remote_type_of(r, type);
        is_listed = is_global(plain) || !can || !can->has_params || vg_map_get(&can->params, plain);
        (void)pthread_mutex_unlock(&r->lock);
        if (is_listed) {
            if (!put_date(&plan->url, type, name, value, arena) &&
                !put_reference(&plan->url, type, name, value))
                put_param(&plan->url, whole);
            continue;
        }
        vg_buf_printf(&local, "%s%.*s", local.len ? "&" : "", VG_FMT(whole));
    }
    if (local.len)
        st = vg_buf_ok(&local) ? plan_local(r, type, vg_buf_slice(&local), arena, plan, err)
                               : no_room(err);
    plan->count = count;
    if (count && plan->local && count < PAGE_USUAL)
        count = PAGE_USUAL;
    if (count) {
        vg_buf_put_byte(&plan->url, memchr(plan->url.ptr, '?', plan->url.len) ? '&' : '?');
        vg_buf_printf(&plan->url, "_count=%" PRIu64, count);
    }
    vg_buf_fini(&local);
    if (st == VG_OK && !vg_buf_ok(&plan->url))
        st = no_room(err);
    return st;
}

static bool row_matches(const struct fhir_index_row *row, const struct fhir_filter *filter)
{
    bool is_path = false;

    for (size_t i = 0; i < filter->param->path_count; i++)
        is_path |= filter->param->paths[i] == row->path;
    if (!is_path)
        return false;
    for (size_t i = 0; i < filter->value_count; i++) {
        const struct fhir_value *value = &filter->values[i];

        if ((!value->has_code || vg_slice_eq(value->text, row->text)) &&
            (!value->has_system || row->has_any_system || vg_slice_eq(value->system, row->system)))
            return true;
    }
    return false;
}

static bool matches(const struct fhir_index *index, const struct fhir_query *query)
{
    for (size_t n = 0; n < query->filter_count; n++) {
        const struct fhir_filter *filter = &query->filters[n];
        bool is_there = false;

        for (size_t i = 0; i < index->count && !is_there; i++)
            is_there = row_matches(&index->rows[i], filter);
        for (size_t i = 0; i < index->code_count && !is_there; i++)
            is_there = row_matches(&index->codes[i], filter);
        if (is_there == (filter->modifier == FHIR_NOT))
            return false;
    }
    return true;
}

/* Takes out the matches that the filters done here do not let through. */
static enum vg_status sift(struct fhir_remote *r, unsigned type, const struct fhir_query *query,
                           struct vg_arena *arena, struct fhir_results *results, struct vg_err *err)
{
    size_t kept = 0, kept_matches = 0;

    for (size_t i = 0; i < results->count; i++) {
        struct fhir_index index = {0};
        struct vg_json *root = NULL;
        struct fhir_issue issue;
        bool is_kept = true;

        if (i < results->match_count) {
            enum vg_status st = fhir_parse(arena, results->resources[i].body, &root, &issue, err);

            if (st == VG_OK)
                st = fhir_index_make(arena, type, root, r->store->base_url, &index, err);
            if (st != VG_OK)
                return st;
            is_kept = matches(&index, query);
        }
        if (is_kept)
            results->resources[kept++] = results->resources[i];
        if (is_kept && i < results->match_count)
            kept_matches++;
    }
    results->count = kept;
    results->match_count = kept_matches;
    results->has_total = false;
    return VG_OK;
}

static bool self_has_sort(struct vg_slice self)
{
    return self.len == 0 || memmem(self.ptr, self.len, "_sort=", 6) != NULL;
}

static enum vg_status set_next(struct vg_arena *arena, const struct plan *plan,
                               struct vg_slice next, struct fhir_results *results,
                               struct vg_err *err)
{
    struct vg_buf text;

    results->has_more = next.ptr != NULL;
    if (!next.ptr)
        return VG_OK;
    vg_buf_init(&text, 1u << 16);
    vg_buf_put(&text, VG_SLICE("_page="));
    vg_url_encode(&text, next);
    if (plan->local)
        vg_buf_printf(&text, "&%.*s", VG_FMT(plan->local_text));
    results->next_query =
        vg_buf_ok(&text) ? vg_arena_dup(arena, vg_buf_slice(&text)) : (struct vg_slice){0};
    vg_buf_fini(&text);
    return results->next_query.ptr ? VG_OK : no_room(err);
}

static enum vg_status run_plan(struct fhir_remote *r, unsigned type, const struct plan *plan,
                               struct vg_slice url, struct vg_arena *arena,
                               struct fhir_results *ret_results, struct vg_err *err)
{
    struct fhir_results all = {0}, one;
    struct vg_slice next = {0}, self = {0};
    size_t capacity = 0;
    enum vg_status st = VG_OK;

    if (!plan->local) {
        st = page(r, url.ptr, arena, &all, &next, &self, err);
        if (st == VG_OK && plan->is_sorted && next.ptr && !self_has_sort(self))
            st = vg_fail(err, VG_REJECT, "fhir.not_supported", 0,
                         "the FHIR server cannot sort %s so", fhir_type_name(type));
    }
    /* What is left out here is made up for by more pages. */
    for (int i = 0; plan->local && url.ptr && st == VG_OK && i < REMOTE_PAGES_MAX; i++) {
        st = page(r, url.ptr, arena, &one, &next, &self, err);
        if (st == VG_OK)
            st = sift(r, type, plan->local, arena, &one, err);
        if (st == VG_OK)
            st = append(arena, &all, &capacity, one.resources, one.match_count, err);
        all.match_count = all.count;
        url = next;
        if (plan->count && all.count >= plan->count)
            break;
    }
    if (st == VG_END) /* no such type there: nothing is found */
        st = VG_OK;
    if (st == VG_OK)
        st = set_next(arena, plan, next, &all, err);
    if (st == VG_OK)
        *ret_results = all;
    return st;
}

enum vg_status remote_search(struct fhir_remote *r, unsigned type, struct vg_slice query,
                             struct vg_arena *arena, struct fhir_results *ret_results,
                             struct vg_err *err)
{
    const struct vg_slice start = VG_SLICE("_page=");
    struct plan plan = {0};
    struct vg_slice url = {0};
    bool is_waiting = false;
    enum vg_status st = spool_has_type(r->spool, type, &is_waiting, err);

    if (st != VG_OK)
        return st;
    if (is_waiting) {
        char text[256];

        remote_trouble(r, text);
        return vg_fail(err, VG_RETRY, "fhir.away", 0, "%.200s", text);
    }
    vg_buf_init(&plan.url, 1u << 20);
    if (vg_slice_starts(query, start)) {
        struct vg_slice rest = vg_slice_from(query, start.len);

        url = vg_url_decode(arena, vg_slice_cut(&rest, '&'), false);
        if (!url.ptr)
            st = vg_fail(err, VG_REJECT, "fhir.query", 0, "that is not a next page");
        if (st == VG_OK && rest.len)
            st = plan_local(r, type, rest, arena, &plan, err);
    } else {
        st = make_plan(r, type, query, arena, &plan, err);
        if (st == VG_OK)
            url = vg_arena_dup(arena, vg_buf_slice(&plan.url));
        if (st == VG_OK && !url.ptr)
            st = no_room(err);
    }
    if (st == VG_OK)
        st = run_plan(r, type, &plan, url, arena, ret_results, err);
    if (st == VG_OK)
        ret_results->self_query = query;
    vg_buf_fini(&plan.url);
    return st;
}

/* ---- $lastn ---- */

static struct vg_slice param_of(struct vg_slice query, const char *wanted)
{
    while (query.len) {
        struct vg_slice value = vg_slice_cut(&query, '&');

        if (vg_slice_is(vg_slice_cut(&value, '='), wanted))
            return value;
    }
    return (struct vg_slice){0};
}

/* Without max, which only $lastn knows. */
static struct vg_slice without_max(struct vg_arena *arena, struct vg_slice query,
                                   struct vg_slice instead_of_code)
{
    struct vg_slice text = VG_SLICE("");

    while (query.len && text.ptr) {
        struct vg_slice whole = vg_slice_cut(&query, '&'), value = whole;
        struct vg_slice name = vg_slice_cut(&value, '=');

        if (vg_slice_is(name, "max") || vg_slice_is(name, "_count") || vg_slice_is(name, "_sort"))
            continue;
        if (vg_slice_is(name, "code") && instead_of_code.ptr)
            text = vg_arena_printf(arena, "%.*scode=%.*s&", VG_FMT(text), VG_FMT(instead_of_code));
        else
            text = vg_arena_printf(arena, "%.*s%.*s&", VG_FMT(text), VG_FMT(whole));
    }
    return text;
}

/* By code, newest first, at most `max` of each; one search for each code that is named. */
static enum vg_status gather(struct fhir_remote *r, unsigned type, struct vg_slice query,
                             uint64_t max, struct vg_arena *arena, struct fhir_results *all,
                             struct vg_err *err)
{
    struct vg_slice codes = param_of(query, "code");
    bool has_codes = codes.len > 0;
    size_t capacity = 0;
    enum vg_status st = VG_OK;

    do {
        struct vg_slice code = has_codes ? vg_slice_cut(&codes, ',') : (struct vg_slice){0};
        struct vg_slice base = without_max(arena, query, code), next;
        size_t before = all->count;

        next = vg_arena_printf(arena, "%.*s_sort=-date&_count=%" PRIu64, VG_FMT(base),
                               has_codes ? max + 8 : PAGE_USUAL);
        while (next.ptr && st == VG_OK && all->count - before < LASTN_RESULTS_MAX) {
            struct fhir_results one;

            st = remote_search(r, type, next, arena, &one, err);
            if (st == VG_OK)
                st = append(arena, all, &capacity, one.resources, one.match_count, err);
            next = st == VG_OK && !(has_codes && all->count - before >= max + 8)
                       ? one.next_query
                       : (struct vg_slice){0};
        }
    } while (st == VG_OK && codes.len);
    return st;
}

enum vg_status remote_lastn(struct fhir_remote *r, struct vg_slice query, struct vg_arena *arena,
                            struct fhir_results *ret_results, struct vg_err *err)
{
    unsigned type = fhir_type_find(VG_SLICE("Observation"));
    struct vg_slice max_text = param_of(query, "max");
    struct fhir_results all = {0};
    uint64_t max = 1;
    enum vg_status st;

    if (!param_of(query, "patient").len && !param_of(query, "subject").len)
        return vg_fail(err, VG_REJECT, "fhir.invalid", 0, "$lastn needs one patient (or subject)");
    if (!param_of(query, "code").len && !param_of(query, "category").len)
        return vg_fail(err, VG_REJECT, "fhir.invalid", 0, "$lastn needs code or category");
    (void)vg_slice_to_u64(max_text, &max);
    max = max < 1 ? 1 : max > 100 ? 100 : max;
    st = gather(r, type, query, max, arena, &all, err);
    if (st == VG_OK)
        st = fhir_lastn_pick(r->store, all.resources, all.count, (uint32_t)max, arena, ret_results,
                             err);
    return st;
}
