/* include.c -- _include and _revinclude: what a page's matches point at, and what points at them.
 *
 * Both go by the index rows of a parameter, so they mean what the parameter means. A resource is
 * never there twice, so :iterate, which looks at what was brought along as well, comes to an end:
 * in rounds, each over what the one before has added, until nothing is new or too much is.
 */
#include "base/map.h"
#include "fhir/engine.h"

#define INCLUDED_MAX 10000u /* brought along in all */
#define TOGETHER_MAX 200u   /* matches that one search asks for */

struct including {
    struct fhir_store *store;
    void *view;
    struct vg_arena *arena;
    const struct fhir_query *query;
    struct fhir_results *results;
    struct fhir_issue *issue;
    size_t capacity;
    struct vg_map seen;
    enum vg_status status;
    struct vg_err *err;
};

static void results_add(struct including *in, const struct fhir_resource *resource)
{
    struct fhir_results *results = in->results;
    struct fhir_resource *grown;

    if (results->count - results->match_count == INCLUDED_MAX) {
        in->status = fhir_refuse(in->issue, in->err, 400, "too-costly", (struct vg_slice){0},
                                 "_include and _revinclude bring more than %u resources along: ask "
                                 "for a smaller _count",
                                 INCLUDED_MAX);
        return;
    }
    if (results->count == in->capacity) {
        grown = vg_arena_alloc(in->arena, in->capacity * 2 * sizeof(*grown));
        if (grown) {
            memcpy(grown, results->resources, results->count * sizeof(*grown));
            results->resources = grown;
            in->capacity *= 2;
        }
    }
    if (results->count == in->capacity)
        in->status = vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    else
        results->resources[results->count++] = *resource;
}

/* True once for each name. */
static bool is_new(struct including *in, struct vg_slice name)
{
    bool is_ok = true, is_there = vg_map_put(&in->seen, name, in, &is_ok) != NULL;

    if (!is_ok)
        in->status = vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    return !is_there;
}

static void include_one(struct including *in, const struct fhir_param *param, unsigned target,
                        struct vg_slice name)
{
    struct fhir_current current;
    struct vg_slice id;
    unsigned type;

    if (in->status != VG_OK || !fhir_reference_cut(name, &type, &id) ||
        (target && type != target) ||
        (param->target && !fhir_list_has(param->target, vg_slice_of(fhir_type_name(type)))) ||
        !is_new(in, name))
        return;
    in->status = in->store->engine->current(in->view, type, id, in->arena, &current, in->err);
    if (in->status != VG_OK || !current.key || current.is_deleted)
        return;
    id = vg_arena_dup(in->arena, id);
    if (!id.ptr) {
        in->status = vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for the results");
        return;
    }
    results_add(in, &(struct fhir_resource){.type = vg_slice_of(fhir_type_name(type)),
                                            .id = id,
                                            .version = current.version,
                                            .last_updated_us = current.updated_us,
                                            .body = current.body});
}

static void include_by(struct including *in, const struct fhir_param_view *view, unsigned target,
                       const struct fhir_index *index)
{
    for (size_t p = 0; p < view->path_count; p++) {
        if (view->paths[p]->role == FHIR_ROLE_PATIENT && index->patient.len)
            include_one(in, view->param, target, index->patient);
        for (size_t i = 0; i < index->count; i++)
            if (index->rows[i].path == view->paths[p] && index->rows[i].kind == FHIR_REFERENCE)
                include_one(in, view->param, target, index->rows[i].text);
    }
}

/* The `n`th parameter that an include goes by; NULL: there are no more. */
static const struct fhir_param_view *view_at(const struct fhir_include *include, size_t n)
{
    const struct fhir_param_view *view;

    if (include->param)
        return n == 0 ? include->param : NULL;
    for (size_t i = 0; (view = fhir_param_at(include->type, i)); i++)
        if (view->param->kind == FHIR_REFERENCE && n-- == 0)
            return view;
    return NULL;
}

/* Does it speak of this one, the `at`th of the results? */
static bool applies(const struct including *in, const struct fhir_include *include, size_t at)
{
    return include->is_repeated || at < in->results->match_count;
}

static void include_of(struct including *in, size_t at, struct vg_arena *scratch)
{
    const struct fhir_resource *from = &in->results->resources[at];
    unsigned type = fhir_type_find(from->type);
    const struct fhir_param_view *view;
    struct fhir_index index = {0};
    struct vg_json *root = NULL;

    for (size_t i = 0; i < in->query->include_count && in->status == VG_OK; i++) {
        const struct fhir_include *include = &in->query->includes[i];

        if (include->type != type || !applies(in, include, at))
            continue;
        if (!root) {
            vg_arena_reset(scratch);
            in->status = fhir_parse(scratch, from->body, &root, in->issue, in->err);
            if (in->status == VG_OK)
                in->status =
                    fhir_index_make(scratch, type, root, in->store->base_url, &index, in->err);
        }
        for (size_t n = 0; in->status == VG_OK && (view = view_at(include, n)); n++)
            include_by(in, view, include->target, &index);
    }
}

/* What points by one parameter at `count` results of one type. */
static void revinclude(struct including *in, unsigned type, const struct fhir_param_view *view,
                       size_t first, size_t count)
{
    struct fhir_query *query = vg_arena_alloc(in->arena, sizeof(*query));
    struct fhir_value *values = vg_arena_alloc(in->arena, count * sizeof(*values));
    struct fhir_found_list found = {0};

    if (!query || !values) {
        in->status = vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for the results");
        return;
    }
    for (size_t i = 0; i < count; i++)
        values[i].text =
            vg_arena_printf(in->arena, "%.*s/%.*s", VG_FMT(in->results->resources[first + i].type),
                            VG_FMT(in->results->resources[first + i].id));
    *query = (struct fhir_query){
        .type = type, .count = INCLUDED_MAX + 1, .sort = FHIR_SORT_UPDATED, .filter_count = 1};
    query->filters[0] = (struct fhir_filter){.param = view, .values = values, .value_count = count};
    in->status = in->store->engine->search(in->view, query, in->arena, &found, in->err);
    for (size_t i = 0; i < found.count && in->status == VG_OK; i++) {
        const struct fhir_resource *one = &found.items[i].resource;
        struct vg_slice name =
            vg_arena_printf(in->arena, "%.*s/%.*s", VG_FMT(one->type), VG_FMT(one->id));

        if (is_new(in, name) && in->status == VG_OK)
            results_add(in, one);
    }
}

/* What points at the results from `first` to `end`, many together. */
static void revinclude_of(struct including *in, const struct fhir_include *include, size_t first,
                          size_t end)
{
    const struct fhir_param_view *view;

    for (size_t i = first, step; i < end && in->status == VG_OK; i += step) {
        struct vg_slice type = in->results->resources[i].type;

        for (step = 1; i + step < end && step < TOGETHER_MAX &&
                       vg_slice_eq(in->results->resources[i + step].type, type) &&
                       applies(in, include, i) == applies(in, include, i + step);)
            step++;
        if (!applies(in, include, i) ||
            (include->target && include->target != fhir_type_find(type)))
            continue;
        for (size_t n = 0; in->status == VG_OK && (view = view_at(include, n)); n++)
            if (!view->param->target || fhir_list_has(view->param->target, type))
                revinclude(in, include->type, view, i, step);
    }
}

enum vg_status fhir_include_all(struct fhir_store *store, void *view,
                                const struct fhir_query *query, struct vg_arena *arena,
                                struct fhir_results *results, struct fhir_issue *issue,
                                struct vg_err *err)
{
    struct including in = {.store = store,
                           .view = view,
                           .arena = arena,
                           .query = query,
                           .results = results,
                           .issue = issue,
                           .capacity = results->count + 1,
                           .err = err};
    struct vg_arena scratch;
    size_t first = 0;

    vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
    vg_map_init(&in.seen);
    for (size_t i = 0; i < results->match_count && in.status == VG_OK; i++) {
        struct vg_slice name =
            vg_arena_printf(&scratch, "%.*s/%.*s", VG_FMT(results->resources[i].type),
                            VG_FMT(results->resources[i].id));

        (void)is_new(&in, name);
    }
    while (first < results->count && in.status == VG_OK) {
        size_t end = results->count;

        for (size_t i = first; i < end && query->include_count && in.status == VG_OK; i++)
            include_of(&in, i, &scratch);
        for (size_t n = 0; n < query->revinclude_count && in.status == VG_OK; n++)
            revinclude_of(&in, &query->revincludes[n], first, end);
        first = end;
    }
    vg_map_fini(&in.seen, NULL);
    vg_arena_fini(&scratch);
    return in.status;
}
