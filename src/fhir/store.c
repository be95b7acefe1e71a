/* store.c -- the FHIR store's front: opens an engine, reads, commits, searches.
 *
 * Threads: every function may be called from any thread. A read takes a view (a snapshot) from the
 * engine; a write goes through the engine's queue.
 */
#include "base/http_server.h"
#include "base/map.h"
#include "fhir/audit_int.h"
#include "fhir/engine.h"
#include "fhir/import_int.h"
#include "fhir/jwks_int.h"
#include "fhir/remote_int.h"
#include "fhir/side_int.h"
#include "fhir/subscription_int.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define FHIR_SCRATCH_KEPT_BYTES ((size_t)16 << 20)

const struct fhir_engine *const fhir_engines[] = {&fhir_engine_sqlite, NULL};

/* What stands beside the resources. */
static enum vg_status open_beside(struct fhir_store *store, const struct fhir_config *config,
                                  struct vg_err *err)
{
    enum vg_status st = VG_OK;

    store->needs_token = config->needs_token;
    store->cors_origins = strdup(config->cors_origins ? config->cors_origins : "");
    if (!store->cors_origins)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the store");
    if (config->side_path)
        st = fhir_side_open(config->side_path, &store->side, err);
    if (st == VG_OK && config->side_path)
        st = fhir_jwks_open(&store->jwks, err);
    if (st == VG_OK && config->audit_path)
        st = fhir_audit_open(store, config->audit_path, &store->audit, err);
    if (st == VG_OK && config->side_path && store->engine->changes)
        st = fhir_hooks_open(store, config, &store->hooks, err);
    if (st == VG_OK && config->side_path && config->import_dir && *config->import_dir)
        st = fhir_imports_open(store, config->import_dir, &store->imports, err);
    return st;
}

enum vg_status fhir_open(const struct fhir_config *config, struct fhir_store **ret_store,
                         struct vg_err *err)
{
    struct fhir_store *store = calloc(1, sizeof(*store));
    char *base = strdup(config->base_url ? config->base_url : "");
    enum vg_status st = VG_OK;

    if (store) {
        (void)pthread_mutex_init(&store->scratch_lock, NULL);
        for (size_t i = 0; i < FHIR_SCRATCH_COUNT; i++)
            vg_arena_init(&store->scratch[i], FHIR_SCRATCH_BYTES_MAX);
        store->change_counts = calloc(fhir_type_count() + 1, sizeof(*store->change_counts));
    }
    if (!store || !base || !store->change_counts) {
        free(base);
        st = vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the store");
        goto done;
    }
    store->base_url = vg_slice_of(base);
    while (store->base_url.len && base[store->base_url.len - 1] == '/')
        base[--store->base_url.len] = '\0';
    if (config->engine && strcmp(config->engine, "remote") == 0) {
        st = remote_open(config, store, &store->remote, err);
        if (st == VG_OK) {
            *ret_store = store;
            store = NULL;
        }
        goto done;
    }
    for (size_t i = 0; fhir_engines[i] && !store->engine; i++)
        if (!config->engine || strcmp(config->engine, fhir_engines[i]->name) == 0)
            store->engine = fhir_engines[i];
    if (!store->engine) {
        st = vg_fail(err, VG_FATAL, "fhir.engine", 0, "no engine called '%s'", config->engine);
        goto done;
    }
    struct fhir_config own = *config;

    own.base_url = base;
    st = store->engine->open(&own, &store->self, err);
    if (st == VG_OK)
        st = open_beside(store, config, err);
    if (st == VG_OK) {
        *ret_store = store;
        store = NULL;
    }
done:
    fhir_close(store);
    return st;
}

void fhir_close(struct fhir_store *store)
{
    if (!store)
        return;
    /* Who writes or asks comes before what is written to. */
    fhir_rest_close(store->rest);
    fhir_imports_close(store->imports);
    fhir_hooks_close(store->hooks);
    fhir_audit_close(store->audit);
    remote_close(store->remote);
    if (store->engine)
        store->engine->close(store->self);
    fhir_side_close(store->side);
    fhir_jwks_close(store->jwks);
    free((void *)(uintptr_t)store->base_url.ptr);
    free(store->cors_origins);
    free(store->change_counts);
    for (size_t i = 0; i < FHIR_SCRATCH_COUNT; i++)
        vg_arena_fini(&store->scratch[i]);
    (void)pthread_mutex_destroy(&store->scratch_lock);
    free(store);
}

uint64_t fhir_change_count(struct fhir_store *store, const char *type)
{
    unsigned number = fhir_type_find(vg_slice_of(type));

    return store->remote ? remote_change_count(store->remote, number)
                         : atomic_load(&store->change_counts[number]);
}

void fhir_trouble(struct fhir_store *store, char out[static 256])
{
    out[0] = '\0';
    if (store->remote)
        remote_trouble(store->remote, out);
}

/* ---- reading ---- */

static enum vg_status known_type(struct vg_slice name, unsigned *ret_type, struct vg_err *err)
{
    *ret_type = fhir_type_find(name);
    if (*ret_type == 0)
        return vg_fail(err, VG_REJECT, "fhir.type", 0, "this is not a resource type of R4");
    return VG_OK;
}

enum vg_status fhir_read(struct fhir_store *store, struct vg_slice type_name, struct vg_slice id,
                         uint64_t version, struct vg_arena *arena,
                         struct fhir_resource *ret_resource, struct vg_err *err)
{
    struct fhir_resource resource = {.type = type_name};
    struct fhir_current current = {0};
    struct fhir_found_list found = {0};
    void *view = NULL;
    unsigned type;
    enum vg_status st = known_type(type_name, &type, err);

    if (st != VG_OK)
        return st;
    if (store->remote)
        return remote_read(store->remote, type, id, version, arena, ret_resource, err);
    st = store->engine->view_begin(store->self, &view, err);
    if (st != VG_OK)
        return st;
    if (version) {
        st = store->engine->versions(view, type, id, version, arena, &found, err);
        if (st == VG_OK)
            resource = found.items[0].resource;
    } else {
        st = store->engine->current(view, type, id, arena, &current, err);
        if (st == VG_OK && !current.key)
            st = VG_END;
        resource.version = current.version;
        resource.last_updated_us = current.updated_us;
        resource.is_deleted = current.is_deleted;
        resource.body = current.body;
    }
    store->engine->view_end(store->self, view);
    if (st != VG_OK)
        return st;
    resource.type = vg_slice_of(fhir_type_name(type));
    resource.id = vg_arena_dup(arena, id);
    if (!resource.id.ptr)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the resource");
    *ret_resource = resource;
    return VG_OK;
}

static enum vg_status to_results(const struct fhir_found_list *found, struct vg_arena *arena,
                                 size_t extra, struct fhir_results *ret_results, struct vg_err *err)
{
    struct fhir_results results = {
        .count = found->count, .match_count = found->count, .has_more = found->has_more};

    results.resources =
        vg_arena_alloc(arena, (found->count + extra + 1) * sizeof(*results.resources));
    if (!results.resources)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    for (size_t i = 0; i < found->count; i++)
        results.resources[i] = found->items[i].resource;
    *ret_results = results;
    return VG_OK;
}

enum vg_status fhir_history(struct fhir_store *store, struct vg_slice type_name, struct vg_slice id,
                            struct vg_arena *arena, struct fhir_results *ret_results,
                            struct vg_err *err)
{
    struct fhir_found_list found = {0};
    void *view = NULL;
    unsigned type;
    enum vg_status st = known_type(type_name, &type, err);

    if (st == VG_OK && store->remote)
        return remote_history(store->remote, type, id, arena, ret_results, err);
    if (st == VG_OK)
        st = store->engine->view_begin(store->self, &view, err);
    if (st != VG_OK)
        return st;
    st = store->engine->versions(view, type, id, 0, arena, &found, err);
    store->engine->view_end(store->self, view);
    return st == VG_OK ? to_results(&found, arena, 0, ret_results, err) : st;
}

/* ---- writing ---- */

/* Arenas whose chunks outlive the commit: a steady stream of commits does not call malloc. With all
 * of them lent, *own is used. */
static struct vg_arena *scratch_take(struct fhir_store *store, struct vg_arena *own)
{
    struct vg_arena *scratch = NULL;

    (void)pthread_mutex_lock(&store->scratch_lock);
    for (size_t i = 0; i < FHIR_SCRATCH_COUNT && !scratch; i++) {
        if (!store->is_scratch_lent[i]) {
            store->is_scratch_lent[i] = true;
            scratch = &store->scratch[i];
        }
    }
    (void)pthread_mutex_unlock(&store->scratch_lock);
    if (scratch)
        return scratch;
    vg_arena_init(own, FHIR_SCRATCH_BYTES_MAX);
    return own;
}

static void scratch_give(struct fhir_store *store, struct vg_arena *scratch, struct vg_arena *own)
{
    /* One huge commit must not hold its memory for ever. */
    if (scratch == own || scratch->peak_bytes > FHIR_SCRATCH_KEPT_BYTES)
        vg_arena_fini(scratch);
    else
        vg_arena_reset(scratch);
    if (scratch == own)
        return;
    (void)pthread_mutex_lock(&store->scratch_lock);
    store->is_scratch_lent[scratch - store->scratch] = false;
    (void)pthread_mutex_unlock(&store->scratch_lock);
}

static enum vg_status ops_of(const struct fhir_write *writes, size_t count, struct fhir_ops *ops,
                             struct vg_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct fhir_write *write = &writes[i];
        struct fhir_op *op = &ops->ops[i];

        ops->failed = i;
        op->type = fhir_type_find(write->type);
        op->body = write->body;
        op->id = write->id;
        op->query = write->if_none_exist;
        op->if_match = write->if_match;
        switch (write->what) {
        case FHIR_CREATE:
            op->what = FHIR_OP_CREATE;
            break;
        case FHIR_UPDATE:
            op->what = FHIR_OP_UPDATE;
            op->query = (struct vg_slice){0};
            break;
        case FHIR_DELETE:
            op->what = FHIR_OP_DELETE;
            op->query = (struct vg_slice){0};
            break;
        }
        if (op->type == 0)
            return fhir_refuse(ops->issue, err, 404, "not-supported", (struct vg_slice){0},
                               "this is not a resource type of R4");
        if (op->what != FHIR_OP_CREATE && !fhir_id_is_ok(op->id))
            return fhir_refuse(ops->issue, err, 400, "value", VG_SLICE("id"),
                               "id must be 1 to 64 of A-Z a-z 0-9 - .");
    }
    return VG_OK;
}

enum vg_status fhir_commit(struct fhir_store *store, const struct fhir_write *writes, size_t count,
                           struct vg_arena *arena, struct fhir_written *written, size_t *ret_failed,
                           struct vg_err *err)
{
    struct vg_arena own, *scratch;
    struct fhir_issue issue = {0};
    struct vg_err why = {0};
    struct fhir_ops ops;
    enum vg_status st;

    if (count == 0)
        return VG_OK;
    if (store->remote)
        return remote_commit(store->remote, writes, count, arena, written, ret_failed, err);
    scratch = scratch_take(store, &own);
    ops = (struct fhir_ops){.store = store, .count = count, .arena = scratch, .issue = &issue};

    ops.ops = vg_arena_alloc(scratch, count * sizeof(*ops.ops));
    st = ops.ops ? ops_of(writes, count, &ops, &why)
                 : vg_fail(&why, VG_RETRY, "fhir.memory", 0, "no room for %zu writes", count);
    if (st == VG_OK)
        st = fhir_ops_commit(&ops, &why);
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        const struct fhir_op *op = &ops.ops[i];

        written[i] = (struct fhir_written){.http_status = op->http_status,
                                           .id = vg_arena_dup(arena, op->id),
                                           .version = op->version,
                                           .last_updated_us = op->updated_us,
                                           .is_unchanged = op->is_unchanged || op->is_matched};
        if (!written[i].id.ptr)
            written[i].id =
                (struct vg_slice){0}; /* committed all the same; the id is in the store */
    }
    if (st == VG_REJECT) {
        written[ops.failed] = (struct fhir_written){
            .http_status = issue.http_status ? issue.http_status : 422,
            .issue = issue.code ? issue.code : "processing",
            .expression = issue.expression.len ? vg_arena_dup(arena, issue.expression)
                                               : (struct vg_slice){0}};
        if (ret_failed)
            *ret_failed = ops.failed;
    }
    if (st != VG_OK && err)
        *err = why;
    scratch_give(store, scratch, &own);
    return st;
}

/* ---- searching ---- */

#define CHAIN_DEPTH_MAX 3u

struct chaining {
    struct fhir_store *store;
    void *view;
    struct vg_arena *arena;
    unsigned depth;
};

static enum vg_status is_pointed_at(void *ctx, unsigned type, const struct fhir_param_view *view,
                                    struct vg_slice reference, bool *ret_is, struct vg_err *err)
{
    const struct chaining *in = ctx;
    struct fhir_query *query = vg_arena_alloc(in->arena, sizeof(*query));
    struct fhir_value *value = vg_arena_alloc(in->arena, sizeof(*value));
    struct fhir_found_list found = {0};
    enum vg_status st;

    if (!query || !value)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the search");
    value->text = reference;
    *query =
        (struct fhir_query){.type = type, .count = 1, .sort = FHIR_SORT_UPDATED, .filter_count = 1};
    query->filters[0] = (struct fhir_filter){.param = view, .values = value, .value_count = 1};
    st = in->store->engine->search(in->view, query, in->arena, &found, err);
    *ret_is = st == VG_OK && found.count > 0;
    return st;
}

static enum vg_status chain_find(void *ctx, unsigned type, struct vg_slice name,
                                 struct vg_slice value, struct vg_slice **ret_references,
                                 size_t *ret_count, struct fhir_issue *issue, struct vg_err *err)
{
    const struct chaining *in = ctx;
    struct chaining deeper = {in->store, in->view, in->arena, in->depth + 1};
    struct fhir_chain chain = {deeper.depth < CHAIN_DEPTH_MAX ? chain_find : NULL, is_pointed_at,
                               &deeper};
    struct fhir_query *query = vg_arena_alloc(in->arena, sizeof(*query));
    struct fhir_found_list found = {0};
    struct vg_slice *references;
    struct vg_buf text;
    enum vg_status st;

    vg_buf_init(&text, 64u << 10);
    vg_url_encode(&text, name);
    vg_buf_put_byte(&text, '=');
    vg_url_encode(&text, value);
    if (!query || !vg_buf_ok(&text)) {
        vg_buf_fini(&text);
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for a chained search");
    }
    st = fhir_query_parse(in->arena, type, vg_buf_slice(&text), true, in->store->base_url, &chain,
                          query, issue, err);
    vg_buf_fini(&text);
    if (st != VG_OK)
        return st;
    query->count = FHIR_CHAIN_MAX;
    st = in->store->engine->search(in->view, query, in->arena, &found, err);
    if (st == VG_OK && found.has_more)
        st = fhir_refuse(issue, err, 400, "too-costly", (struct vg_slice){0},
                         "a chained search leads to more than %u resources", FHIR_CHAIN_MAX);
    if (st != VG_OK)
        return st;
    references = vg_arena_alloc(in->arena, (found.count + 1) * sizeof(*references));
    for (size_t i = 0; references && i < found.count; i++) {
        references[i] = vg_arena_printf(in->arena, "%s/%.*s", fhir_type_name(type),
                                        VG_FMT(found.items[i].resource.id));
        if (!references[i].ptr)
            references = NULL;
    }
    if (!references)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for a chained search");
    *ret_references = references;
    *ret_count = found.count;
    return VG_OK;
}

static enum vg_status trim(const struct fhir_query *query, struct vg_arena *arena,
                           struct fhir_results *results, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < results->match_count && query->summary && st == VG_OK; i++)
        st = fhir_summary_cut(arena, query->type, results->resources[i].body, query->summary,
                              &results->resources[i].body, err);
    for (size_t i = 0; i < results->match_count && query->element_count && st == VG_OK; i++)
        st = fhir_elements_cut(arena, query->type, results->resources[i].body, query->elements,
                               query->element_count, &results->resources[i].body, err);
    return st;
}

/* Where the next page begins: after the last match, told by its sort value and key. */
static enum vg_status next_page(const struct fhir_query *query, const struct fhir_found_list *found,
                                struct vg_arena *arena, struct fhir_results *results,
                                struct vg_err *err)
{
    const struct fhir_found *last = found->count ? &found->items[found->count - 1] : NULL;
    const char *amp = query->self.len ? "&" : "";

    if (!found->has_more || !last)
        return VG_OK;
    results->next_query =
        query->sort == FHIR_SORT_ID || query->sort == FHIR_SORT_VALUES
            ? vg_arena_printf(
                  arena, "%.*s%s_after=%.*s_%" PRId64, VG_FMT(query->self), amp,
                  VG_FMT(query->sort == FHIR_SORT_ID ? last->resource.id : last->sort_text),
                  last->key)
        : query->id_order
            ? vg_arena_printf(arena, "%.*s%s_after=%" PRId64 "_%.*s", VG_FMT(query->self), amp,
                              last->sort_number, VG_FMT(last->resource.id))
            : vg_arena_printf(arena, "%.*s%s_after=%" PRId64 "_%" PRId64, VG_FMT(query->self), amp,
                              last->sort_number, last->key);
    if (!results->next_query.ptr)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    return VG_OK;
}

enum vg_status fhir_search_in(struct fhir_store *store, void *view, unsigned type,
                              struct vg_slice text, bool is_strict, struct vg_arena *arena,
                              struct fhir_results *ret_results, struct fhir_issue *issue,
                              struct vg_err *err)
{
    struct chaining chaining = {store, view, arena, 0};
    struct fhir_chain chain = {chain_find, is_pointed_at, &chaining};
    struct fhir_query *query = vg_arena_alloc(arena, sizeof(*query));
    struct fhir_found_list found = {0};
    struct fhir_results results;
    enum vg_status st;

    if (!query)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the search");
    st = fhir_query_parse(arena, type, text, is_strict, store->base_url, &chain, query, issue, err);
    if (st == VG_OK)
        st = store->engine->search(view, query, arena, &found, err);
    if (st == VG_OK)
        st = to_results(&found, arena, 0, &results, err);
    if (st == VG_OK)
        st = next_page(query, &found, arena, &results, err);
    if (st == VG_OK && (query->include_count || query->revinclude_count) && results.count)
        st = fhir_include_all(store, view, query, arena, &results, issue, err);
    if (st == VG_OK)
        st = trim(query, arena, &results, err);
    if (st != VG_OK)
        return st;
    results.has_total = query->wants_total || query->is_count_only;
    results.total = found.total;
    results.self_query = query->self;
    *ret_results = results;
    return VG_OK;
}

enum vg_status fhir_search(struct fhir_store *store, struct vg_slice type_name,
                           struct vg_slice query, struct vg_arena *arena,
                           struct fhir_results *ret_results, struct vg_err *err)
{
    struct fhir_issue issue;
    struct vg_err why = {0};
    void *view = NULL;
    unsigned type;
    enum vg_status st = known_type(type_name, &type, err);

    if (st == VG_OK && store->remote)
        return remote_search(store->remote, type, query, arena, ret_results, err);
    if (st == VG_OK)
        st = store->engine->view_begin(store->self, &view, err);
    if (st != VG_OK)
        return st;
    st = fhir_search_in(store, view, type, query, false, arena, ret_results, &issue, &why);
    store->engine->view_end(store->self, view);
    if (st != VG_OK && err)
        *err = why;
    return st;
}

/* ---- $lastn ---- */

#define LASTN_MAX 100u
#define LASTN_TIES_MAX 20u /* of one time that are told beyond `max` */

struct latest {
    struct fhir_found *items;
    size_t *groups; /* by item: the group's smallest item */
    size_t count;
};

static void join(struct latest *all, size_t a, size_t b)
{
    size_t from = all->groups[a] > all->groups[b] ? all->groups[a] : all->groups[b];
    size_t to = all->groups[a] > all->groups[b] ? all->groups[b] : all->groups[a];

    for (size_t i = 0; i < all->count && from != to; i++)
        if (all->groups[i] == from)
            all->groups[i] = to;
}

/* Everything of this name is one group. */
static enum vg_status join_named(struct latest *all, struct vg_map *names, struct vg_slice name,
                                 size_t i, struct vg_err *err)
{
    bool is_ok = name.ptr != NULL;
    void *before = is_ok ? vg_map_get(names, name) : NULL;

    if (before)
        join(all, (size_t)(uintptr_t)before - 1, i);
    else if (is_ok)
        (void)vg_map_put(names, name, (void *)(uintptr_t)(i + 1), &is_ok);
    return is_ok ? VG_OK : vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
}

/* Observations that share a coding are one group, through any number of steps; those without one
 * when their text is the same. */
static enum vg_status group(struct latest *all, struct vg_arena *arena, struct fhir_issue *issue,
                            struct vg_err *err)
{
    struct vg_map names; /* "system|code", or the text -> item + 1 */
    enum vg_status st = VG_OK;

    vg_map_init(&names);
    for (size_t i = 0; i < all->count; i++)
        all->groups[i] = i;
    for (size_t i = 0; i < all->count && st == VG_OK; i++) {
        struct vg_json *root = NULL;

        st = fhir_parse(arena, all->items[i].resource.body, &root, issue, err);
        if (st != VG_OK)
            break;
        const struct vg_json *code = vg_json_get(root, "code"),
                             *coding = vg_json_get(code, "coding");

        if (!coding)
            st = join_named(all, &names,
                            vg_arena_printf(arena, FHIR_TEXT_CODE "%.*s",
                                            VG_FMT(vg_json_get_text(code, "text"))),
                            i, err);
        for (coding = coding ? coding->child : NULL; coding && st == VG_OK; coding = coding->next)
            st = join_named(all, &names,
                            vg_arena_printf(arena, "%.*s|%.*s",
                                            VG_FMT(vg_json_get_text(coding, "system")),
                                            VG_FMT(vg_json_get_text(coding, "code"))),
                            i, err);
    }
    vg_map_fini(&names, NULL);
    return st;
}

static int newest_first(const void *left, const void *right)
{
    const struct fhir_found *x = left, *y = right;

    if (x->sort_number != y->sort_number)
        return x->sort_number > y->sort_number ? -1 : 1;
    return x->key > y->key ? -1 : x->key < y->key;
}

static struct fhir_filter *filter_of(struct fhir_query *query, const char *name)
{
    for (size_t i = 0; i < query->filter_count; i++)
        if (strcmp(query->filters[i].param->param->name, name) == 0)
            return &query->filters[i];
    return NULL;
}

/* subject=p1 may be a Group or a Device as well: here it is the patient. */
static void keep_patients(struct fhir_filter *filter)
{
    size_t kept = 0;

    for (size_t i = 0; i < filter->value_count; i++)
        if (vg_slice_starts(filter->values[i].text, VG_SLICE("Patient/")))
            filter->values[kept++] = filter->values[i];
    filter->value_count = kept;
}

/* 0: it is no positive number. */
static uint32_t max_of(struct vg_slice text)
{
    uint64_t max = 1;

    while (text.len) {
        struct vg_slice value = vg_slice_cut(&text, '&');

        if (vg_slice_is(vg_slice_cut(&value, '='), "max") && !vg_slice_to_u64(value, &max))
            return 0;
    }
    return max > LASTN_MAX ? LASTN_MAX : (uint32_t)max;
}

/* A value that never should have existed must not look like the newest. */
static enum vg_status leave_errors_out(struct fhir_query *query, struct vg_arena *arena,
                                       struct vg_err *err)
{
    struct fhir_value *value = vg_arena_alloc(arena, sizeof(*value));

    if (!value || query->filter_count == FHIR_FILTERS_MAX)
        return vg_fail(err, VG_REJECT, "fhir.costly", 0, "no room for so many filters");
    *value = (struct fhir_value){.text = VG_SLICE("entered-in-error"), .has_code = true};
    query->filters[query->filter_count++] =
        (struct fhir_filter){.param = fhir_param_find(query->type, VG_SLICE("status")),
                             .modifier = FHIR_NOT,
                             .values = value,
                             .value_count = 1};
    return VG_OK;
}

/* The newest `max` of one code, and those of the same time as the last of them. */
static enum vg_status newest_of(struct fhir_store *store, void *view, struct fhir_query *query,
                                uint32_t max, struct vg_arena *arena,
                                struct fhir_found_list *ret_found, struct vg_err *err)
{
    struct fhir_found_list found = {0};
    enum vg_status st;

    query->count = max + 1;
    st = store->engine->search(view, query, arena, &found, err);
    if (st == VG_OK && found.count > max &&
        found.items[max].sort_number == found.items[max - 1].sort_number && found.has_more) {
        query->count = max + LASTN_TIES_MAX;
        st = store->engine->search(view, query, arena, &found, err);
    }
    while (st == VG_OK && found.count > max &&
           found.items[found.count - 1].sort_number != found.items[max - 1].sort_number)
        found.count--;
    *ret_found = found;
    return st;
}

/* The newest `max` of each code the patient has; then of each group. */
static enum vg_status collect(struct fhir_store *store, void *view, struct fhir_query *query,
                              uint32_t max, struct vg_arena *arena, struct latest *ret_all,
                              struct vg_err *err)
{
    struct latest all = {0};
    int64_t *codes = NULL;
    size_t code_count = 0, capacity;
    struct vg_map seen;
    enum vg_status st = store->engine->codes(view, query, arena, &codes, &code_count, err);

    if (st != VG_OK)
        return st;
    capacity = code_count * (max + LASTN_TIES_MAX) + 1;
    all.items = vg_arena_alloc(arena, capacity * sizeof(*all.items));
    all.groups = vg_arena_alloc(arena, capacity * sizeof(*all.groups));
    if (!all.items || !all.groups)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    vg_map_init(&seen);
    for (size_t i = 0; i < code_count && st == VG_OK; i++) {
        struct fhir_found_list found = {0};
        bool is_ok = true;

        query->only_code = codes[i];
        st = newest_of(store, view, query, max, arena, &found, err);
        for (size_t n = 0; n < found.count && st == VG_OK; n++) {
            struct vg_slice key = {(const char *)&found.items[n].key, sizeof(int64_t)};

            if (!vg_map_put(&seen, key, all.items, &is_ok))
                all.items[all.count++] = found.items[n];
            if (!is_ok)
                st = vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
        }
    }
    vg_map_fini(&seen, NULL);
    *ret_all = all;
    return st;
}

/* The first `max` of each group, and what is as old as the last of them; newest first. */
static enum vg_status take_groups(const struct latest *all, uint32_t max, struct vg_arena *arena,
                                  struct fhir_results *ret_results, struct vg_err *err)
{
    struct fhir_results results = {0};
    struct {
        uint32_t count;
        int64_t last;
    } *taken = vg_arena_alloc(arena, (all->count + 1) * sizeof(*taken));

    results.resources = vg_arena_alloc(arena, (all->count + 1) * sizeof(*results.resources));
    if (!results.resources || !taken)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    memset(taken, 0, (all->count + 1) * sizeof(*taken));
    for (size_t i = 0; i < all->count; i++) {
        size_t leader = all->groups[i];

        if (taken[leader].count >= max && taken[leader].last != all->items[i].sort_number)
            continue;
        taken[leader].count++;
        taken[leader].last = all->items[i].sort_number;
        results.resources[results.count++] = all->items[i].resource;
    }
    results.match_count = results.count;
    *ret_results = results;
    return VG_OK;
}

enum vg_status fhir_lastn_pick(struct fhir_store *store, const struct fhir_resource *resources,
                               size_t count, uint32_t max, struct vg_arena *arena,
                               struct fhir_results *ret_results, struct vg_err *err)
{
    unsigned type = fhir_type_find(VG_SLICE("Observation"));
    struct latest all = {0};
    struct fhir_issue issue;
    struct vg_map seen;
    enum vg_status st = VG_OK;

    all.items = vg_arena_alloc(arena, (count + 1) * sizeof(*all.items));
    all.groups = vg_arena_alloc(arena, (count + 1) * sizeof(*all.groups));
    if (!all.items || !all.groups)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
    vg_map_init(&seen);
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        struct fhir_index index = {0};
        struct vg_json *root = NULL;
        bool is_ok = true;

        if (vg_map_put(&seen, resources[i].id, all.items, &is_ok))
            continue;
        st = is_ok ? fhir_parse(arena, resources[i].body, &root, &issue, err)
                   : vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
        if (st == VG_OK && vg_slice_is(vg_json_get_text(root, "status"), "entered-in-error"))
            continue;
        if (st == VG_OK)
            st = fhir_index_make(arena, type, root, store->base_url, &index, err);
        if (st == VG_OK)
            all.items[all.count++] = (struct fhir_found){
                .resource = resources[i], .sort_number = index.span.low_us, .key = -(int64_t)i};
    }
    vg_map_fini(&seen, NULL);
    if (st == VG_OK) {
        qsort(all.items, all.count, sizeof(*all.items), newest_first);
        st = group(&all, arena, &issue, err);
    }
    return st == VG_OK ? take_groups(&all, max, arena, ret_results, err) : st;
}

enum vg_status fhir_lastn_in(struct fhir_store *store, void *view, struct vg_slice text,
                             bool is_strict, struct vg_arena *arena,
                             struct fhir_results *ret_results, struct fhir_issue *issue,
                             struct vg_err *err)
{
    struct chaining chaining = {store, view, arena, 0};
    struct fhir_chain chain = {chain_find, is_pointed_at, &chaining};
    unsigned type = fhir_type_find(VG_SLICE("Observation"));
    struct fhir_query *query = vg_arena_alloc(arena, sizeof(*query));
    struct fhir_results results = {0};
    struct latest all = {0};
    uint32_t max = max_of(text);
    enum vg_status st;

    if (!query)
        return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the search");
    if (max == 0)
        return fhir_refuse(issue, err, 400, "value", VG_SLICE("max"), "max is a number above 0");
    st = fhir_query_parse(arena, type, text, is_strict, store->base_url, &chain, query, issue, err);
    if (st != VG_OK)
        return st;
    struct fhir_filter *patient = filter_of(query, "patient");

    if (!patient)
        patient = filter_of(query, "subject");
    if (patient)
        keep_patients(patient);
    if (!patient || patient->value_count != 1 ||
        (!filter_of(query, "code") && !filter_of(query, "category")))
        return fhir_refuse(issue, err, 400, "required", (struct vg_slice){0},
                           "$lastn needs one patient (or subject), and code or category");
    query->sort = FHIR_SORT_DATE;
    query->is_descending = true;
    query->has_cursor = false;
    query->id_order = 0;
    query->is_count_only = query->wants_total = false;
    st = leave_errors_out(query, arena, err);
    if (st == VG_OK)
        st = collect(store, view, query, max, arena, &all, err);
    if (st == VG_OK) {
        qsort(all.items, all.count, sizeof(*all.items), newest_first);
        st = group(&all, arena, issue, err);
    }
    if (st == VG_OK)
        st = take_groups(&all, max, arena, &results, err);
    if (st != VG_OK)
        return st;
    results.self_query =
        max == 1 ? query->self : vg_arena_printf(arena, "%.*s&max=%u", VG_FMT(query->self), max);
    st = trim(query, arena, &results, err);
    if (st == VG_OK)
        *ret_results = results;
    return st;
}

enum vg_status fhir_lastn(struct fhir_store *store, struct vg_slice query, struct vg_arena *arena,
                          struct fhir_results *ret_results, struct vg_err *err)
{
    struct fhir_issue issue;
    struct vg_err why = {0};
    void *view = NULL;
    enum vg_status st;

    if (store->remote)
        return remote_lastn(store->remote, query, arena, ret_results, err);
    st = store->engine->view_begin(store->self, &view, err);
    if (st != VG_OK)
        return st;
    st = fhir_lastn_in(store, view, query, false, arena, ret_results, &issue, &why);
    store->engine->view_end(store->self, view);
    if (st != VG_OK && err)
        *err = why;
    return st;
}
