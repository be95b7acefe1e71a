/* include.c -- _include and _revinclude: what a page's matches point at, and what points at them.
 *
 * Both go by the index rows of a parameter, so they mean what the parameter means. A resource is
 * never there twice.
 */
#include "base/map.h"
#include "fhir/engine.h"

#define INCLUDED_MAX 10000u /* that one _revinclude leads to */
#define TOGETHER_MAX 200u   /* matches that one search asks for */

struct including {
    struct fhir_store *store;
    void *view;
    struct vg_arena *arena;
    struct fhir_results *results;
    size_t capacity;
    struct vg_map seen;
    enum vg_status status;
    struct vg_err *err;
};

static void results_add(struct including *in, const struct fhir_resource *resource)
{
    struct fhir_results *results = in->results;
    struct fhir_resource *grown;

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

static void include_one(struct including *in, const struct fhir_include *include,
                        struct vg_slice name)
{
    struct fhir_current current;
    struct vg_slice id;
    unsigned type;

    if (in->status != VG_OK || !fhir_reference_cut(name, &type, &id) ||
        (include->target && type != include->target) ||
        (include->param->param->target &&
         !fhir_list_has(include->param->param->target, vg_slice_of(fhir_type_name(type)))) ||
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

static void include_of(struct including *in, const struct fhir_include *include,
                       const struct fhir_index *index)
{
    const struct fhir_param_view *view = include->param;

    for (size_t p = 0; p < view->path_count; p++) {
        if (view->paths[p]->role == FHIR_ROLE_PATIENT && index->patient.len)
            include_one(in, include, index->patient);
        for (size_t i = 0; i < index->count; i++)
            if (index->rows[i].path == view->paths[p] && index->rows[i].kind == FHIR_REFERENCE)
                include_one(in, include, index->rows[i].text);
    }
}

/* What points at the matches by one parameter. */
static void revinclude(struct including *in, const struct fhir_include *include, size_t first,
                       size_t count, struct fhir_issue *issue)
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
        .type = include->type, .count = INCLUDED_MAX, .sort = FHIR_SORT_UPDATED, .filter_count = 1};
    query->filters[0] =
        (struct fhir_filter){.param = include->param, .values = values, .value_count = count};
    in->status = in->store->engine->search(in->view, query, in->arena, &found, in->err);
    if (in->status == VG_OK && found.has_more)
        in->status = fhir_refuse(issue, in->err, 400, "too-costly", VG_SLICE("_revinclude"),
                                 "_revinclude leads to more than %u resources: ask for a smaller "
                                 "_count",
                                 INCLUDED_MAX);
    for (size_t i = 0; i < found.count && in->status == VG_OK; i++) {
        const struct fhir_resource *one = &found.items[i].resource;
        struct vg_slice name =
            vg_arena_printf(in->arena, "%.*s/%.*s", VG_FMT(one->type), VG_FMT(one->id));

        if (is_new(in, name) && in->status == VG_OK)
            results_add(in, one);
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
                           .results = results,
                           .capacity = results->count + 1,
                           .err = err};
    struct vg_arena scratch;

    vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
    vg_map_init(&in.seen);
    for (size_t i = 0; i < results->match_count && in.status == VG_OK; i++) {
        struct vg_slice name =
            vg_arena_printf(&scratch, "%.*s/%.*s", VG_FMT(results->resources[i].type),
                            VG_FMT(results->resources[i].id));

        (void)is_new(&in, name);
    }
    for (size_t i = 0; i < results->match_count && query->include_count && in.status == VG_OK;
         i++) {
        struct vg_json *root = NULL;
        struct fhir_index index;

        vg_arena_reset(&scratch);
        in.status = fhir_parse(&scratch, results->resources[i].body, &root, issue, err);
        if (in.status == VG_OK)
            in.status = fhir_index_make(&scratch, query->type, root, store->base_url, &index, err);
        for (size_t n = 0; n < query->include_count && in.status == VG_OK; n++)
            include_of(&in, &query->includes[n], &index);
    }
    for (size_t n = 0; n < query->revinclude_count; n++) {
        size_t step;

        for (size_t i = 0; i < results->match_count && in.status == VG_OK; i += step) {
            step =
                results->match_count - i < TOGETHER_MAX ? results->match_count - i : TOGETHER_MAX;
            revinclude(&in, &query->revincludes[n], i, step, issue);
        }
    }
    vg_map_fini(&in.seen, NULL);
    vg_arena_fini(&scratch);
    return in.status;
}
