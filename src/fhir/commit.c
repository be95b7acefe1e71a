/* commit.c -- writes as one atom: conditions, references among them, versions.
 *
 * fhir_ops_prepare() does everything that needs no look into the store (parse, check, splice,
 * index), outside the write transaction and in parallel. fhir_ops_run() does the rest inside it:
 *
 *   1. conditions: If-None-Exist and conditional updates are searched for in the transaction
 * itself, so two that race cannot both find nothing
 *   2. the same resource twice in one commit is refused
 *   3. deletes, creates, updates, in this order; those that hold a conditional reference after the
 *      others, so that they find what is new
 *   4. versions count up by one and are never used again; content that is already there makes none
 *
 * In a transaction Bundle references to an entry's fullUrl become Type/id of what was written or,
 * when ifNoneExist matched, of what was there.
 */
#include "base/http_server.h"
#include "base/map.h"
#include "fhir/engine.h"
#include "fhir/patch_int.h"

#include <stdlib.h>

static enum vg_status full(struct vg_err *err)
{
    return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the commit");
}

/* ---- references ---- */

static bool is_reference_member(struct vg_slice name)
{
    return fhir_list_has("reference,url,uri,source,valueUri,valueUrl,valueOid,valueUuid,"
                         "instantiatesUri,sourceUri,targetUri",
                         name);
}

/* "Patient?identifier=…" */
static bool is_conditional(const struct vg_json *node)
{
    struct vg_slice rest = node->text;

    return vg_slice_is(node->name, "reference") && fhir_type_find(vg_slice_cut(&rest, '?')) &&
           rest.len > 0;
}

static bool has_conditional(const struct vg_json *node)
{
    if (vg_json_is(node, VG_JSON_STRING))
        return is_conditional(node);
    for (const struct vg_json *child = node ? node->child : NULL; child; child = child->next)
        if (has_conditional(child))
            return true;
    return false;
}

struct rewriting {
    struct fhir_ops *ops;
    const struct fhir_op *op;
    void *view;
    struct vg_buf out;
    const char *copied; /* up to here the source is in `out` */
    enum vg_status status;
    struct vg_err *err;
};

static const struct fhir_op *op_named(struct rewriting *in, struct vg_slice name)
{
    struct vg_slice own = in->op->full_url;
    const struct fhir_op *target = name.len ? vg_map_get(in->ops->names, name) : NULL;

    if (target || !vg_slice_starts(own, VG_SLICE("http")))
        return target;
    /* A relative reference stands below the base of its own entry's address. */
    for (int slashes = 0; own.len > 0; own.len--)
        if (own.ptr[own.len - 1] == '/' && ++slashes == 2)
            break;
    struct vg_slice whole = vg_arena_printf(in->ops->arena, "%.*s%.*s", VG_FMT(own), VG_FMT(name));

    return whole.ptr ? vg_map_get(in->ops->names, whole) : NULL;
}

static void replace(struct rewriting *in, struct vg_slice old, struct vg_slice text)
{
    vg_buf_put(&in->out, (struct vg_slice){in->copied, (size_t)(old.ptr - in->copied)});
    vg_buf_put(&in->out, text);
    in->copied = old.ptr + old.len;
}

static void replace_by_op(struct rewriting *in, struct vg_slice old, const struct fhir_op *target,
                          const char *quote)
{
    struct vg_slice text = vg_arena_printf(in->ops->arena, "%s%s/%.*s%s", quote,
                                           fhir_type_name(target->type), VG_FMT(target->id), quote);

    if (!text.ptr)
        in->status = full(in->err);
    replace(in, old, text);
}

/* href="urn:uuid:…" in the narrative. */
static void rewrite_div(struct rewriting *in, const struct vg_json *node)
{
    static const char scheme[] = "urn:uuid:";
    const size_t len = sizeof(scheme) - 1 + 36;
    struct vg_slice source = node->source;

    for (size_t i = 0; i + len <= source.len; i++) {
        struct vg_slice name = {source.ptr + i, len};

        if (source.ptr[i] != 'u' || memcmp(name.ptr, scheme, sizeof(scheme) - 1) != 0)
            continue;
        const struct fhir_op *target = vg_map_get(in->ops->names, name);

        if (target)
            replace_by_op(in, name, target, "");
    }
}

static enum vg_status find_one(struct fhir_ops *ops, void *view, unsigned type,
                               struct vg_slice query, size_t *ret_count,
                               struct fhir_resource *ret_found, struct vg_err *err);

static void rewrite_conditional(struct rewriting *in, const struct vg_json *node)
{
    struct vg_slice query = node->text;
    unsigned type = fhir_type_find(vg_slice_cut(&query, '?'));
    struct fhir_resource found = {0};
    size_t count = 0;

    if (!in->view)
        return;
    in->status = find_one(in->ops, in->view, type, query, &count, &found, in->err);
    if (in->status != VG_OK)
        return;
    if (count != 1) {
        in->status =
            fhir_refuse(in->ops->issue, in->err, 412, count ? "multiple-matches" : "not-found",
                        VG_SLICE("reference"), "a conditional reference to %s matches %s",
                        fhir_type_name(type), count ? "more than one" : "none");
        return;
    }
    struct fhir_op target = {.type = type, .id = found.id};

    replace_by_op(in, node->source, &target, "\"");
}

static void rewrite_tree(struct rewriting *in, const struct vg_json *node)
{
    for (const struct vg_json *child = node->child; child && in->status == VG_OK;
         child = child->next) {
        const struct fhir_op *target;

        if (child->type == VG_JSON_OBJECT || child->type == VG_JSON_ARRAY) {
            rewrite_tree(in, child);
        } else if (child->type != VG_JSON_STRING) {
            continue;
        } else if (vg_slice_is(child->name, "div")) {
            rewrite_div(in, child);
        } else if (is_conditional(child)) {
            rewrite_conditional(in, child);
        } else if (is_reference_member(child->name)) {
            target = op_named(in, child->text);
            if (target)
                replace_by_op(in, child->source, target, "\"");
            else if (vg_slice_is(child->name, "reference") &&
                     vg_slice_starts(child->text, VG_SLICE("urn:uuid:")))
                in->status =
                    fhir_refuse(in->ops->issue, in->err, 400, "not-found", VG_SLICE("reference"),
                                "a reference to urn:uuid names no entry of the Bundle");
        }
    }
}

/* The resource's text with its references resolved. */
static enum vg_status rewrite(struct fhir_ops *ops, struct fhir_op *op, void *view,
                              struct vg_err *err)
{
    struct rewriting in = {.ops = ops, .op = op, .view = view, .copied = op->body.ptr, .err = err};
    enum vg_status st;

    vg_buf_init(&in.out, FHIR_RESOURCE_BYTES_MAX);
    rewrite_tree(&in, op->root);
    st = in.status;
    if (st == VG_OK && in.copied != op->body.ptr) {
        vg_buf_put(&in.out,
                   (struct vg_slice){in.copied, (size_t)(op->body.ptr + op->body.len - in.copied)});
        op->body = vg_buf_ok(&in.out) ? vg_arena_dup(ops->arena, vg_buf_slice(&in.out))
                                      : (struct vg_slice){0};
        if (!op->body.ptr)
            st = full(err);
    }
    vg_buf_fini(&in.out);
    return st;
}

/* ---- before the transaction ---- */

/* What a summary left out would be gone. */
static bool is_subsetted(const struct vg_json *root)
{
    const struct vg_json *tags = vg_json_get(vg_json_get(root, "meta"), "tag");

    for (const struct vg_json *tag = tags ? tags->child : NULL; tag; tag = tag->next)
        if (vg_slice_is(vg_json_get_text(tag, "code"), "SUBSETTED") &&
            vg_slice_is(vg_json_get_text(tag, "system"),
                        "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"))
            return true;
    return false;
}

static enum vg_status draft(struct fhir_ops *ops, struct fhir_op *op, void *view,
                            struct vg_err *err)
{
    enum vg_status st = VG_OK;

    if (ops->is_transaction && op->root)
        st = rewrite(ops, op, view, err);
    if (st == VG_OK)
        st = fhir_draft_make(ops->arena, op->type, op->id, op->body, ops->store->base_url,
                             &op->draft, ops->issue, err);
    if (st == VG_OK && op->what == FHIR_OP_UPDATE && !op->query.ptr) {
        const struct vg_json *id = vg_json_get(op->draft.root, "id");

        if (op->needs_body_id && !id)
            st = fhir_refuse(ops->issue, err, 400, "required", VG_SLICE("id"),
                             "the body must have the id that is in the address");
        if (id && !vg_slice_eq(vg_json_text(id), op->id))
            st = fhir_refuse(ops->issue, err, 400, "value", VG_SLICE("id"),
                             "the id in the body is not the id in the address");
    }
    if (st == VG_OK && op->what == FHIR_OP_UPDATE && is_subsetted(op->draft.root))
        st = fhir_refuse(ops->issue, err, 422, "business-rule", VG_SLICE("meta.tag"),
                         "a resource that is tagged SUBSETTED is a part, not an update");
    op->is_drafted = st == VG_OK;
    return st;
}

static enum vg_status name_all(struct fhir_ops *ops, struct vg_err *err)
{
    bool is_ok;

    ops->names = malloc(sizeof(*ops->names));
    if (!ops->names)
        return full(err);
    vg_map_init(ops->names);
    for (size_t i = 0; i < ops->count; i++) {
        struct fhir_op *op = &ops->ops[i];

        if (op->full_url.len == 0 || op->what == FHIR_OP_DELETE)
            continue;
        if (vg_map_put(ops->names, op->full_url, op, &is_ok)) {
            ops->failed = i;
            return fhir_refuse(ops->issue, err, 400, "duplicate", VG_SLICE("Bundle.entry.fullUrl"),
                               "the fullUrl is that of another entry");
        }
        if (!is_ok)
            return full(err);
    }
    return VG_OK;
}

enum vg_status fhir_ops_prepare(struct fhir_ops *ops, struct vg_err *err)
{
    bool is_late = false;
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < ops->count; i++) {
        struct fhir_op *op = &ops->ops[i];

        if (op->what == FHIR_OP_CREATE) {
            op->id = fhir_id_draw(ops->arena);
            if (!op->id.ptr)
                return full(err);
        }
        if (ops->is_transaction) {
            op->has_conditional_reference = has_conditional(op->root);
            is_late |= op->query.ptr || op->has_conditional_reference;
        }
    }
    if (ops->is_transaction)
        st = name_all(ops, err);
    for (size_t i = 0; i < ops->count && st == VG_OK && !is_late; i++) {
        struct fhir_op *op = &ops->ops[i];

        if (op->what == FHIR_OP_DELETE || op->patch.ptr ||
            (op->what == FHIR_OP_UPDATE && op->query.ptr))
            continue;
        ops->failed = i;
        st = draft(ops, op, NULL, err);
    }
    return st;
}

/* ---- inside it ---- */

/* How many match (2 = more than one), and the first. */
static enum vg_status find_one(struct fhir_ops *ops, void *view, unsigned type,
                               struct vg_slice query, size_t *ret_count,
                               struct fhir_resource *ret_found, struct vg_err *err)
{
    struct fhir_results results;
    struct vg_slice two = vg_arena_printf(ops->arena, "%.*s&_count=2", VG_FMT(query));
    enum vg_status st;

    if (!two.ptr)
        return full(err);
    for (struct vg_slice rest = query; rest.len;) {
        struct vg_slice pair = vg_slice_cut(&rest, '&');

        /* How to show what was found is no part of a condition, and would change what it finds. */
        if (fhir_list_has("_after,_count,_elements,_include,_revinclude,_sort,_summary,_total",
                          vg_slice_cut(&pair, '=')))
            return fhir_refuse(ops->issue, err, 400, "not-supported", (struct vg_slice){0},
                               "a condition has search parameters only");
    }
    if (!memchr(query.ptr, '=', query.len))
        return fhir_refuse(ops->issue, err, 400, "value", (struct vg_slice){0},
                           "a condition must name a search parameter and its value");
    /* Strict: a parameter that is not known would let everything match. */
    st = fhir_search_in(ops->store, view, type, two, true, ops->arena, &results, ops->issue, err);
    if (st != VG_OK)
        return st;
    if (!results.self_query.len || vg_slice_starts(results.self_query, VG_SLICE("_count")))
        return fhir_refuse(ops->issue, err, 400, "value", (struct vg_slice){0},
                           "a condition must name a search parameter and its value");
    *ret_count = results.match_count;
    if (results.match_count)
        *ret_found = results.resources[0];
    return VG_OK;
}

static enum vg_status resolve(struct fhir_ops *ops, struct fhir_op *op, void *view,
                              struct vg_err *err)
{
    struct fhir_resource found = {0};
    struct vg_slice body_id;
    size_t count = 0;
    enum vg_status st = find_one(ops, view, op->type, op->query, &count, &found, err);

    if (st != VG_OK)
        return st;
    if (count > 1)
        return fhir_refuse(ops->issue, err, 412, "multiple-matches", (struct vg_slice){0},
                           "the condition matches more than one %s", fhir_type_name(op->type));
    if (op->what == FHIR_OP_DELETE) {
        op->id = found.id;
        op->is_matched = count == 0; /* nothing is left to be done */
        op->is_unchanged = op->is_matched;
        op->http_status = 204;
        return VG_OK;
    }
    if (op->what == FHIR_OP_CREATE) {
        if (count == 1) {
            op->is_matched = true;
            op->id = found.id;
            op->version = found.version;
            op->updated_us = found.last_updated_us;
            op->stored = found.body;
            op->http_status = 200;
        }
        return VG_OK;
    }
    struct vg_json *root = NULL;

    st = fhir_parse(ops->arena, op->body, &root, ops->issue, err);
    if (st != VG_OK)
        return st;
    body_id = vg_json_get_text(root, "id");
    if (count == 1 && body_id.len && !vg_slice_eq(body_id, found.id))
        return fhir_refuse(ops->issue, err, 400, "value", VG_SLICE("id"),
                           "the id in the body is not that of the resource that matches");
    op->id = count == 1 ? found.id : body_id.len ? body_id : fhir_id_draw(ops->arena);
    return op->id.ptr ? VG_OK : full(err);
}

/* "Same identity twice" would leave the order of the two to chance. */
static enum vg_status refuse_twins(struct fhir_ops *ops, struct vg_err *err)
{
    struct vg_map seen;
    enum vg_status st = VG_OK;

    if (ops->count < 2)
        return VG_OK;
    vg_map_init(&seen);
    for (size_t i = 0; i < ops->count && st == VG_OK; i++) {
        struct fhir_op *op = &ops->ops[i];
        struct vg_slice name;
        bool is_ok = true;

        /* What matched is not written, but two creates under one condition would be two. */
        name =
            (op->what == FHIR_OP_CREATE || op->is_matched) && op->query.ptr
                ? vg_arena_printf(ops->arena, "%s?%.*s", fhir_type_name(op->type),
                                  VG_FMT(op->query))
                : vg_arena_printf(ops->arena, "%s/%.*s", fhir_type_name(op->type), VG_FMT(op->id));
        if (!name.ptr) {
            st = full(err);
        } else if (vg_map_put(&seen, name, op, &is_ok)) {
            ops->failed = i;
            st = fhir_refuse(ops->issue, err, 400, "duplicate", VG_SLICE("Bundle.entry"),
                             "writes a %s that another entry writes too", fhir_type_name(op->type));
        } else if (!is_ok) {
            st = full(err);
        }
    }
    vg_map_fini(&seen, NULL);
    return st;
}

static enum vg_status refuse_version(struct fhir_ops *ops, struct vg_err *err)
{
    return fhir_refuse(ops->issue, err, 412, "conflict", (struct vg_slice){0},
                       "the version that was asked for is not the current one");
}

/* One entity tag of a list, without W/ and quotes; false: it has none. */
static bool etag_cut(struct vg_slice *list, struct vg_slice *ret_tag)
{
    struct vg_slice tag = vg_slice_trim(vg_slice_cut(list, ','));

    if (vg_slice_starts(tag, VG_SLICE("W/")))
        tag = vg_slice_from(tag, 2);
    *ret_tag = tag;
    if (tag.len < 3 || tag.ptr[0] != '"' || tag.ptr[tag.len - 1] != '"')
        return false;
    *ret_tag = (struct vg_slice){tag.ptr + 1, tag.len - 2};
    return !memchr(ret_tag->ptr, '"', ret_tag->len);
}

bool fhir_etags_have(struct vg_slice list, uint64_t version)
{
    struct vg_slice tag;
    uint64_t number;

    while (list.len) {
        (void)etag_cut(&list, &tag);
        if (vg_slice_is(tag, "*") || (vg_slice_to_u64(tag, &number) && number == version))
            return true;
    }
    return false;
}

bool fhir_etags_are_ok(struct vg_slice list)
{
    struct vg_slice tag;

    if (vg_slice_is(vg_slice_trim(list), "*"))
        return true;
    while (list.len)
        if (!etag_cut(&list, &tag))
            return false;
    return true;
}

static bool has_version(const struct fhir_op *op, bool is_there, uint64_t version)
{
    if (op->if_match && (!is_there || version != op->if_match))
        return false;
    return op->if_matches.len == 0 || (is_there && fhir_etags_have(op->if_matches, version));
}

/* The body of a patched update is made of what is there now. */
static enum vg_status patch(struct fhir_ops *ops, struct fhir_op *op, void *view,
                            struct vg_err *err)
{
    struct fhir_current old;
    struct vg_json *root = NULL;
    enum vg_status st = ops->store->engine->current(view, op->type, op->id, ops->arena, &old, err);

    if (st != VG_OK)
        return st;
    if (!old.key || old.is_deleted)
        return fhir_refuse(ops->issue, err, old.key ? 410 : 404, old.key ? "deleted" : "not-found",
                           (struct vg_slice){0},
                           old.key ? "the resource was deleted" : "there is no such resource");
    if (!has_version(op, true, old.version))
        return refuse_version(ops, err);
    st = fhir_patch(ops->arena, old.body, op->patch, &op->body, ops->issue, err);
    if (st == VG_OK)
        st = fhir_parse(ops->arena, op->body, &root, ops->issue, err);
    op->root = root;
    return st;
}

static enum vg_status apply(struct fhir_ops *ops, struct fhir_op *op, void *view,
                            struct vg_err *err)
{
    const struct fhir_engine *engine = ops->store->engine;
    struct fhir_current old;
    struct fhir_index old_index;
    struct vg_json *old_root = NULL;
    int64_t now_us = vg_now_us() / 1000 * 1000; /* as precise as the text says it */
    enum vg_status st = engine->current(view, op->type, op->id, ops->arena, &old, err);
    bool is_there = st == VG_OK && old.key && !old.is_deleted;

    if (st != VG_OK)
        return st;
    if (!has_version(op, is_there, old.version) || (op->is_if_none_match && is_there))
        return refuse_version(ops, err);
    if (op->what == FHIR_OP_CREATE && old.key)
        return vg_fail(err, VG_RETRY, "fhir.id", 0, "a new id was taken already");
    if (op->what == FHIR_OP_DELETE && !is_there) {
        op->http_status = 204;
        op->is_unchanged = true;
        return VG_OK;
    }
    if (is_there) {
        st = fhir_parse(ops->arena, old.body, &old_root, ops->issue, err);
        if (st != VG_OK)
            return vg_fail(err, VG_FATAL, "fhir.stored", 0, "a stored resource cannot be read");
        if (op->what == FHIR_OP_UPDATE && fhir_is_same(old_root, op->draft.root)) {
            op->http_status = 200;
            op->version = old.version;
            op->updated_us = old.updated_us;
            op->stored = old.body;
            op->is_unchanged = true;
            return VG_OK;
        }
        st = fhir_index_make(ops->arena, op->type, old_root, ops->store->base_url, &old_index, err);
        if (st != VG_OK)
            return st;
    }
    op->version = old.version + 1;
    op->updated_us = now_us > old.updated_us ? now_us : old.updated_us + 1000;

    struct fhir_record record = {
        .type = op->type, .id = op->id, .version = op->version, .updated_us = op->updated_us};

    if (op->what == FHIR_OP_DELETE) {
        record.is_deleted = true;
        op->http_status = 204;
    } else {
        op->stored = fhir_draft_text(ops->arena, &op->draft, op->version, op->updated_us);
        if (!op->stored.ptr)
            return full(err);
        record.body = op->stored;
        record.index = &op->draft.index;
        op->http_status = is_there ? 200 : 201;
    }
    return engine->put(view, &record, &old, is_there ? &old_index : NULL, err);
}

enum vg_status fhir_ops_run(struct fhir_ops *ops, void *view, struct vg_err *err)
{
    static const int order[] = {FHIR_OP_DELETE, FHIR_OP_CREATE, FHIR_OP_UPDATE};
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < ops->count && st == VG_OK; i++) {
        ops->failed = i;
        if (ops->ops[i].query.ptr)
            st = resolve(ops, &ops->ops[i], view, err);
    }
    if (st == VG_OK)
        st = refuse_twins(ops, err);
    for (size_t pass = 0; pass < 2 * sizeof(order) / sizeof(order[0]) && st == VG_OK; pass++) {
        for (size_t i = 0; i < ops->count && st == VG_OK; i++) {
            struct fhir_op *op = &ops->ops[i];

            if ((int)op->what != order[pass % 3] || op->is_matched ||
                op->has_conditional_reference != (pass >= 3))
                continue;
            ops->failed = i;
            if (op->patch.ptr)
                st = patch(ops, op, view, err);
            if (st == VG_OK && op->what != FHIR_OP_DELETE && !op->is_drafted)
                st = draft(ops, op, view, err);
            if (st == VG_OK)
                st = apply(ops, op, view, err);
        }
    }
    return st;
}

void fhir_ops_done(struct fhir_ops *ops)
{
    for (size_t i = 0; i < ops->count; i++)
        if (!ops->ops[i].is_matched && !ops->ops[i].is_unchanged)
            ops->store->change_counts[ops->ops[i].type]++;
}

void fhir_ops_fini(struct fhir_ops *ops)
{
    if (ops->names)
        vg_map_fini(ops->names, NULL);
    free(ops->names);
    ops->names = NULL;
}

static enum vg_status ops_work(void *ctx, void *view, struct vg_err *err)
{
    return fhir_ops_run(ctx, view, err);
}

enum vg_status fhir_ops_commit(struct fhir_ops *ops, struct vg_err *err)
{
    struct fhir_store *store = ops->store;
    enum vg_status st = fhir_ops_prepare(ops, err);

    if (st == VG_OK)
        st = store->engine->transact(store->self, ops_work, ops, err);
    if (st == VG_OK)
        fhir_ops_done(ops);
    fhir_ops_fini(ops);
    return st;
}
