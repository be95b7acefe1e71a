/* patch.c -- JSON Patch (RFC 6902) on a resource's text.
 *
 * The document and the patch are parsed; the operations change the document's tree. A value that
 * nobody touched is written with its own bytes, so 38.20 stays 38.20; only the objects and arrays
 * on the way to a change are put together anew, from their members' bytes.
 *
 * All operations or none: the caller's text is not changed, and a patch that fails gives no text.
 * 400: this is not a patch. 422: it is, but not for this resource.
 */
#include "fhir/patch_int.h"

#define OPERATIONS_MAX 1000u
#define POINTER_BYTES_MAX 1000u
#define DEPTH_MAX 64u

struct patching {
    struct vg_arena *arena;
    struct vg_json *root;
    size_t grown_bytes; /* by copies: a patch must not multiply */
    unsigned index;     /* of the operation, for the error */
    struct fhir_issue *issue;
    struct vg_err *err;
};

static enum vg_status refuse(struct patching *in, int http_status, const char *code,
                             const char *why)
{
    return fhir_refuse(in->issue, in->err, http_status, code, (struct vg_slice){0},
                       "operation %u of the patch: %s", in->index, why);
}

static enum vg_status no_room(struct patching *in)
{
    return vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for the patch");
}

/* ---- the tree ---- */

/* From here up nothing is as its bytes say. */
static void touch(struct vg_json *node)
{
    for (; node; node = node->parent)
        node->source = (struct vg_slice){0};
}

static struct vg_json **link_of(struct vg_json *node)
{
    struct vg_json **link = &node->parent->child;

    while (*link != node)
        link = &(*link)->next;
    return link;
}

static void take_out(struct vg_json *node)
{
    struct vg_json **link = link_of(node);

    *link = node->next;
    node->parent->count--;
    touch(node->parent);
    node->next = node->parent = NULL;
}

static void put_in(struct vg_json *parent, struct vg_json **link, struct vg_json *node)
{
    node->next = *link;
    node->parent = parent;
    *link = node;
    parent->count++;
    touch(parent);
}

static struct vg_json *copy_of(struct patching *in, const struct vg_json *from,
                               struct vg_json *parent)
{
    struct vg_json *copy = vg_arena_alloc(in->arena, sizeof(*copy)), **link;

    in->grown_bytes += sizeof(*copy);
    if (!copy || in->grown_bytes > 4 * (size_t)FHIR_RESOURCE_BYTES_MAX)
        return NULL;
    *copy = *from;
    copy->parent = parent;
    copy->next = NULL;
    link = &copy->child;
    *link = NULL;
    for (const struct vg_json *child = from->child; child; child = child->next) {
        *link = copy_of(in, child, copy);
        if (!*link)
            return NULL;
        link = &(*link)->next;
    }
    return copy;
}

static unsigned height_of(const struct vg_json *node)
{
    unsigned most = 0;

    for (const struct vg_json *child = node->child; child; child = child->next) {
        unsigned one = height_of(child);

        most = one > most ? one : most;
    }
    return most + 1;
}

/* Copies into copies would grow deeper than any stack: no deeper than a resource may be. */
static bool is_too_deep(const struct vg_json *parent, const struct vg_json *value)
{
    unsigned depth = height_of(value);

    for (; parent; parent = parent->parent)
        depth++;
    return depth > DEPTH_MAX;
}

/* ---- pointers (RFC 6901) ---- */

/* The next step of a pointer, unescaped into `out`. False: a bad escape, or too long. */
static bool step_of(struct vg_slice raw, char out[static POINTER_BYTES_MAX],
                    struct vg_slice *ret_step)
{
    size_t len = 0;

    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];

        if (c == '~') {
            if (++i == raw.len || (raw.ptr[i] != '0' && raw.ptr[i] != '1'))
                return false;
            c = raw.ptr[i] == '0' ? '~' : '/';
        }
        if (len == POINTER_BYTES_MAX)
            return false;
        out[len++] = c;
    }
    *ret_step = (struct vg_slice){out, len};
    return true;
}

/* An array's index: no sign, no leading zero. */
static bool index_of(struct vg_slice step, uint64_t *ret_index)
{
    return step.len > 0 && (step.len == 1 || step.ptr[0] != '0') && step.ptr[0] >= '0' &&
           step.ptr[0] <= '9' && vg_slice_to_u64(step, ret_index);
}

static struct vg_json *child_of(struct vg_json *parent, struct vg_slice step)
{
    uint64_t index;
    struct vg_json *child = parent->child;

    if (parent->type == VG_JSON_ARRAY) {
        if (!index_of(step, &index) || index >= parent->count)
            return NULL;
        for (; index; index--)
            child = child->next;
        return child;
    }
    if (parent->type != VG_JSON_OBJECT)
        return NULL;
    while (child && !vg_slice_eq(child->name, step))
        child = child->next;
    return child;
}

/* A place: the parent, the last step (in `text`), and what is there (NULL: nothing yet). The whole
 * document has no parent. */
struct place {
    struct vg_json *parent, *node;
    struct vg_slice step;
    char text[POINTER_BYTES_MAX];
};

static enum vg_status find(struct patching *in, struct vg_slice pointer, bool must_be_there,
                           struct place *place)
{
    struct vg_slice rest = pointer;

    place->parent = NULL;
    place->node = in->root;
    if (pointer.len == 0)
        return VG_OK;
    if (pointer.ptr[0] != '/')
        return refuse(in, 400, "value", "a path is empty or begins with /");
    rest = vg_slice_from(rest, 1);
    for (bool is_last = false; !is_last;) {
        const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
        struct vg_slice raw = {rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len};

        is_last = !slash;
        if (!is_last)
            rest = vg_slice_from(rest, raw.len + 1);
        if (!step_of(raw, place->text, &place->step))
            return refuse(in, 400, "value", "a path has an escape that is none");
        if (!place->node ||
            (place->node->type != VG_JSON_OBJECT && place->node->type != VG_JSON_ARRAY))
            return refuse(in, 422, "processing", "the path leads to nothing");
        place->parent = place->node;
        place->node = child_of(place->node, place->step);
    }
    if (must_be_there && !place->node)
        return refuse(in, 422, "processing", "the path leads to nothing");
    return VG_OK;
}

/* ---- operations ---- */

static bool is_equal(const struct vg_json *a, const struct vg_json *b)
{
    double x, y;
    const struct vg_json *other = b->child;

    if (a->type != b->type)
        return false;
    if (a->type == VG_JSON_NUMBER)
        return vg_slice_eq(a->text, b->text) ||
               (vg_json_to_double(a, &x) && vg_json_to_double(b, &y) && x == y);
    if (a->type == VG_JSON_STRING)
        return vg_slice_eq(a->text, b->text);
    if (a->count != b->count)
        return false;
    for (const struct vg_json *one = a->child; one; one = one->next) {
        if (a->type == VG_JSON_OBJECT)
            other = vg_json_get_slice(b, one->name);
        if (!other || !is_equal(one, other))
            return false;
        other = other->next;
    }
    return true;
}

static enum vg_status add(struct patching *in, struct vg_slice pointer, struct vg_json *value)
{
    struct place place;
    struct vg_json **link;
    uint64_t index;
    enum vg_status st = find(in, pointer, false, &place);

    if (st != VG_OK)
        return st;
    if (!place.parent) {
        value->name = (struct vg_slice){0};
        in->root = value;
        return VG_OK;
    }
    if (is_too_deep(place.parent, value))
        return refuse(in, 422, "processing", "the resource would be nested too deeply");
    link = &place.parent->child;
    if (place.parent->type == VG_JSON_ARRAY) {
        index = place.parent->count;
        if (!vg_slice_is(place.step, "-") &&
            (!index_of(place.step, &index) || index > place.parent->count))
            return refuse(in, 422, "processing", "the index is outside the array");
        for (; index; index--)
            link = &(*link)->next;
        value->name = (struct vg_slice){0};
        put_in(place.parent, link, value);
        return VG_OK;
    }
    value->name = vg_arena_dup(in->arena, place.step);
    if (!value->name.ptr)
        return no_room(in);
    if (place.node) {
        link = link_of(place.node);
        take_out(place.node);
    } else {
        while (*link)
            link = &(*link)->next;
    }
    put_in(place.parent, link, value);
    return VG_OK;
}

static enum vg_status take(struct patching *in, struct vg_slice pointer, struct vg_json **ret_node)
{
    struct place place;
    enum vg_status st = find(in, pointer, true, &place);

    if (st != VG_OK)
        return st;
    if (!place.parent)
        return refuse(in, 422, "processing", "the whole resource cannot be taken away");
    take_out(place.node);
    *ret_node = place.node;
    return VG_OK;
}

static enum vg_status replace(struct patching *in, struct vg_slice pointer, struct vg_json *value)
{
    struct place place;
    enum vg_status st = find(in, pointer, true, &place);

    if (st != VG_OK)
        return st;
    if (!place.parent) {
        value->name = (struct vg_slice){0};
        in->root = value;
        return VG_OK;
    }
    if (is_too_deep(place.parent, value))
        return refuse(in, 422, "processing", "the resource would be nested too deeply");
    struct vg_json **link = link_of(place.node);

    value->name = place.node->name;
    take_out(place.node);
    put_in(place.parent, link, value);
    return VG_OK;
}

static bool is_below(struct vg_slice inner, struct vg_slice outer)
{
    return vg_slice_starts(inner, outer) && (inner.len == outer.len || inner.ptr[outer.len] == '/');
}

static enum vg_status operate(struct patching *in, const struct vg_json *operation)
{
    const struct vg_json *path = vg_json_get(operation, "path");
    const struct vg_json *from = vg_json_get(operation, "from");
    const struct vg_json *given = vg_json_get(operation, "value");
    struct vg_slice op = vg_json_get_text(operation, "op");
    bool needs_value =
        vg_slice_is(op, "add") || vg_slice_is(op, "replace") || vg_slice_is(op, "test");
    bool needs_from = vg_slice_is(op, "move") || vg_slice_is(op, "copy");
    struct vg_json *value = NULL;
    struct place place;
    enum vg_status st;

    if (!needs_value && !needs_from && !vg_slice_is(op, "remove"))
        return refuse(in, 400, "value", "op must be add, remove, replace, move, copy or test");
    if (!vg_json_is(path, VG_JSON_STRING))
        return refuse(in, 400, "required", "a path is needed");
    if (needs_value && !given)
        return refuse(in, 400, "required", "a value is needed");
    if (needs_from && !vg_json_is(from, VG_JSON_STRING))
        return refuse(in, 400, "required", "from is needed");
    if (vg_slice_is(op, "test")) {
        st = find(in, path->text, true, &place);
        if (st == VG_OK && !is_equal(place.node, given))
            st = refuse(in, 422, "processing", "the test found another value");
        return st;
    }
    if (vg_slice_is(op, "remove"))
        return take(in, path->text, &value);
    if (needs_value) {
        value = copy_of(in, given, NULL);
        if (!value)
            return no_room(in);
        return vg_slice_is(op, "add") ? add(in, path->text, value) : replace(in, path->text, value);
    }
    if (vg_slice_is(op, "move")) {
        if (vg_slice_eq(path->text, from->text))
            return find(in, path->text, true, &place);
        if (is_below(path->text, from->text))
            return refuse(in, 422, "processing", "nothing can be moved into itself");
        st = take(in, from->text, &value);
    } else {
        st = find(in, from->text, true, &place);
        value = st == VG_OK ? copy_of(in, place.node, NULL) : NULL;
        if (st == VG_OK && !value)
            return no_room(in);
    }
    return st == VG_OK ? add(in, path->text, value) : st;
}

/* ---- the text again ---- */

static void write_value(struct vg_buf *out, const struct vg_json *node)
{
    bool is_object = node->type == VG_JSON_OBJECT;

    if (node->source.ptr) {
        vg_buf_put(out, node->source);
        return;
    }
    vg_buf_put_byte(out, is_object ? '{' : '[');
    for (const struct vg_json *child = node->child; child; child = child->next) {
        if (is_object) {
            vg_json_escape(out, child->name);
            vg_buf_put_byte(out, ':');
        }
        write_value(out, child);
        if (child->next)
            vg_buf_put_byte(out, ',');
    }
    vg_buf_put_byte(out, is_object ? '}' : ']');
}

/* A narrative that was generated from what has changed would say what is not true any more. */
static void drop_narrative(struct patching *in, const struct vg_json *operations)
{
    const struct vg_json *text = vg_json_get(in->root, "text");
    bool has_change = false;

    for (const struct vg_json *one = operations->child; one; one = one->next) {
        struct vg_slice path = vg_json_get_text(one, "path");

        if (vg_slice_is(vg_json_get_text(one, "op"), "test"))
            continue;
        has_change = true;
        if (path.len == 0 || is_below(path, VG_SLICE("/text")))
            return;
    }
    if (has_change && vg_slice_is(vg_json_get_text(text, "status"), "generated"))
        take_out(child_of(in->root, VG_SLICE("text")));
}

enum vg_status fhir_patch(struct vg_arena *arena, struct vg_slice text, struct vg_slice patch,
                          struct vg_slice *ret_text, struct fhir_issue *issue, struct vg_err *err)
{
    static const struct vg_json_options options = {.values_max = 1000000};
    struct patching in = {.arena = arena, .issue = issue, .err = err};
    struct vg_json *operations = NULL;
    struct vg_slice type, id;
    struct vg_buf out;
    enum vg_status st = fhir_parse(arena, text, &in.root, issue, err);

    if (st != VG_OK)
        return st;
    type = vg_json_get_text(in.root, "resourceType");
    id = vg_json_get_text(in.root, "id");
    if (vg_json_parse(arena, patch, &options, &operations, NULL, NULL) != VG_OK ||
        operations->type != VG_JSON_ARRAY || operations->count > OPERATIONS_MAX)
        return fhir_refuse(issue, err, 400, "structure", (struct vg_slice){0},
                           "a JSON Patch is an array of at most %u operations", OPERATIONS_MAX);
    for (const struct vg_json *one = operations->child; one && st == VG_OK; one = one->next) {
        st = operate(&in, one);
        in.index++;
    }
    if (st != VG_OK)
        return st;
    if (in.root->type != VG_JSON_OBJECT ||
        !vg_slice_eq(type, vg_json_get_text(in.root, "resourceType")) ||
        !vg_slice_eq(id, vg_json_get_text(in.root, "id")))
        return fhir_refuse(issue, err, 422, "business-rule", (struct vg_slice){0},
                           "a patch may not change resourceType or id");
    drop_narrative(&in, operations);
    vg_buf_init(&out, FHIR_RESOURCE_BYTES_MAX);
    write_value(&out, in.root);
    *ret_text = vg_buf_ok(&out) ? vg_arena_dup(arena, vg_buf_slice(&out)) : (struct vg_slice){0};
    vg_buf_fini(&out);
    return ret_text->ptr ? VG_OK : no_room(&in);
}
