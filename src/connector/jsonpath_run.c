/* jsonpath_run.c -- a JSONPath over a token, for each message.
 *
 * Running is a depth-first walk that hands each token on to the next step, which gives document
 * order and lets the first hit of an "exists" end the work. Nothing is allocated while running.
 *
 * The reference engine's surprises are kept, because mappings were written against them: [*] takes
 * elements only and .* members only; [?()] on an object tests nothing (its members are wrapped
 * there);
 * ..[?()] tests the token itself first; a container is != everything; null is less than all.
 *
 * Recursion is bounded by the path's own depth and by the JSON reader's depth limit.
 *
 * Threads: everything that changes is the caller's.
 */
#include "connector/jsonpath_int.h"

#include "connector/value.h"

#include <math.h>

/* The usual name differs in length or in its first byte. */
static inline const struct vg_json *find_member(const struct vg_json *object, struct vg_slice name)
{
    if (object->type != VG_JSON_OBJECT)
        return NULL;
    if (name.len == 0)
        return vg_json_get_slice(object, name);
    for (const struct vg_json *m = object->child; m; m = m->next)
        if (m->name.len == name.len && m->name.ptr[0] == name.ptr[0] &&
            memcmp(m->name.ptr, name.ptr, name.len) == 0)
            return m;
    return NULL;
}

struct run {
    const struct vg_json *root;
    const struct jsonpath_nodes *nodes; /* of root, or NULL */
    uint64_t *steps_left;
    struct vg_err *err;
    enum vg_status status;
    bool is_medtech;
};

struct sink {
    jsonpath_visit *visit;
    void *ctx;
};

static bool walk(struct run *run, const struct step *step, const struct vg_json *at,
                 const struct sink *sink);
static bool holds(struct run *run, const struct term *term, const struct vg_json *at);

static bool stop(struct run *run, const char *code, const char *text)
{
    if (run->status == VG_OK)
        run->status = vg_fail(run->err, VG_REJECT, code, 0, "%s", text);
    return false;
}

static bool cannot_pay(struct run *run)
{
    return stop(run, "jsonpath.budget", "expressions take too many steps on this message");
}

static inline bool pay(struct run *run)
{
    if (*run->steps_left == 0)
        return cannot_pay(run);
    --*run->steps_left;
    return run->status == VG_OK;
}

static bool is_container(const struct vg_json *at)
{
    return at->type == VG_JSON_OBJECT || at->type == VG_JSON_ARRAY;
}

/* ..name, ..['a','b'], ..*: document order, a hit before what is inside it. */
static bool scan(struct run *run, const struct step *step, const struct vg_json *at,
                 const struct sink *sink)
{
    for (const struct vg_json *child = at->child; child; child = child->next) {
        bool is_hit = step->kind == STEP_SCAN_ALL;

        if (!pay(run))
            return false;
        if (at->type == VG_JSON_OBJECT) {
            if (step->kind == STEP_SCAN)
                is_hit = vg_slice_eq(child->name, step->name);
            for (uint32_t i = 0; step->kind == STEP_SCAN_FIELDS && i < step->count && !is_hit; i++)
                is_hit = vg_slice_eq(child->name, step->names[i]);
        }
        if (is_hit && !walk(run, step->next, child, sink))
            return false;
        if (is_container(child) && !scan(run, step, child, sink))
            return false;
    }
    return true;
}

static bool scan_filter(struct run *run, const struct step *step, const struct vg_json *at,
                        const struct sink *sink)
{
    if (!pay(run))
        return false;
    if (holds(run, step->filter, at) && !walk(run, step->next, at, sink))
        return false;
    for (const struct vg_json *child = at->child; child; child = child->next)
        if ((is_container(child) || !step->skips_scalars) && !scan_filter(run, step, child, sink))
            return false;
    return run->status == VG_OK;
}

/* The same of the whole root, whose nodes are known. */
static bool scan_nodes(struct run *run, const struct step *step, const struct sink *sink)
{
    const struct jsonpath_nodes *nodes = run->nodes;

    for (size_t i = 0; i < nodes->count; i++) {
        if (step->needed & ~nodes->names[i])
            continue;
        if (!pay(run) || (holds(run, step->filter, nodes->list[i]) &&
                          !walk(run, step->next, nodes->list[i], sink)))
            return false;
    }
    return run->status == VG_OK;
}

static bool walk_slice(struct run *run, const struct step *step, const struct vg_json *at,
                       const struct sink *sink)
{
    int64_t count = at->count, by = step->by;
    int64_t from = step->has_from ? step->from : by > 0 ? 0 : count - 1;
    int64_t to = step->has_to ? step->to : by > 0 ? count : -1;

    if (step->has_from && from < 0)
        from += count;
    if (step->has_to && to < 0)
        to += count;
    if (by > 0 && from < 0)
        from = 0;
    if (from > (by > 0 ? count : count - 1))
        from = by > 0 ? count : count - 1;
    to = to < -1 ? -1 : to > count ? count : to;
    if (by > 0) {
        const struct vg_json *child = vg_json_at(at, (size_t)from);

        for (int64_t i = from; i < to && child; child = child->next, i++) {
            if (!pay(run))
                return false;
            if ((i - from) % by == 0 && !walk(run, step->next, child, sink))
                return false;
        }
        return true;
    }
    for (int64_t i = from; i > to && i >= 0; i += by) {
        /* From the back a list is walked anew for each element: it is paid for. */
        *run->steps_left -= *run->steps_left < (uint64_t)i ? *run->steps_left : (uint64_t)i;
        if (!pay(run) || !walk(run, step->next, vg_json_at(at, (size_t)i), sink))
            return false;
    }
    return true;
}

/* One token through `step` and all after it. False: stop everything (enough, or an error). */
static bool walk(struct run *run, const struct step *step, const struct vg_json *at,
                 const struct sink *sink)
{
    const struct vg_json *child;

    /* The usual path is names only: a loop, not a recursion. */
    while (step && step->kind == STEP_FIELD) {
        if (!pay(run))
            return false;
        at = find_member(at, step->name);
        if (!at)
            return true;
        step = step->next;
    }
    if (!step)
        return sink->visit(sink->ctx, at);
    if (!pay(run))
        return false;
    switch (step->kind) {
    case STEP_ROOT:
        return walk(run, step->next, run->root, sink);
    case STEP_FIELD:
        break; /* done above */
    case STEP_FIELDS:
        for (uint32_t i = 0; at->type == VG_JSON_OBJECT && i < step->count; i++) {
            child = vg_json_get_slice(at, step->names[i]);
            if (child && !walk(run, step->next, child, sink))
                return false;
        }
        return true;
    case STEP_MEMBERS:
    case STEP_ELEMENTS:
        if (at->type != (step->kind == STEP_MEMBERS ? VG_JSON_OBJECT : VG_JSON_ARRAY))
            return true;
        for (child = at->child; child; child = child->next)
            if (!walk(run, step->next, child, sink))
                return false;
        return true;
    case STEP_SCAN_ALL:
        if (!walk(run, step->next, at, sink))
            return false;
        return !is_container(at) || scan(run, step, at, sink);
    case STEP_SCAN:
    case STEP_SCAN_FIELDS:
        return !is_container(at) || scan(run, step, at, sink);
    case STEP_INDEXES:
        for (uint32_t i = 0; at->type == VG_JSON_ARRAY && i < step->count; i++) {
            if (step->indexes[i] < 0)
                return stop(run, "jsonpath.index", "a negative index in a JSONPath: use a slice");
            child = vg_json_at(at, (size_t)step->indexes[i]);
            if (child && !walk(run, step->next, child, sink))
                return false;
        }
        return true;
    case STEP_SLICE:
        return at->type != VG_JSON_ARRAY || walk_slice(run, step, at, sink);
    case STEP_FILTER:
        for (child = at->type == VG_JSON_ARRAY ? at->child : NULL; child; child = child->next) {
            if (!pay(run))
                return false;
            if (holds(run, step->filter, child) && !walk(run, step->next, child, sink))
                return false;
        }
        return run->status == VG_OK;
    case STEP_SCAN_FILTER:
        if (run->nodes && at == run->root && step->skips_scalars && is_container(at))
            return scan_nodes(run, step, sink);
        return scan_filter(run, step, at, sink);
    }
    return true;
}

/* ---- filters ---- */

static bool both_numbers(const struct vg_json *a, const struct vg_json *b, struct value_number *x,
                         struct value_number *y)
{
    return a->type == VG_JSON_NUMBER && b->type == VG_JSON_NUMBER && value_number(a, x) &&
           value_number(b, y);
}

static int order_numbers(const struct value_number *x, const struct value_number *y)
{
    if (x->is_integer && y->is_integer)
        return x->integer < y->integer ? -1 : x->integer > y->integer;
    return x->real < y->real ? -1 : x->real > y->real;
}

/* For the reference a string of the message that looks like a date is a date, and equals a text
 * that is its ISO form. Both sides are scalars. */
static bool is_equal_date(const struct vg_json *a, const struct vg_json *b, bool is_strict)
{
    int64_t x = 0, y = 0;
    char iso[64];

    if (value_is_date(a) && value_is_date(b))
        return value_date_ticks(a->text, &x) && value_date_ticks(b->text, &y) && x == y;
    return !is_strict && value_is_date(a) && b->type == VG_JSON_STRING &&
           vg_slice_eq(b->text, (struct vg_slice){iso, value_date_iso(a, iso)});
}

/* Same type and equal; integer and real compare by value. */
static bool is_equal(const struct run *run, const struct vg_json *a, const struct vg_json *b,
                     bool is_strict)
{
    struct value_number x, y;

    if (run->is_medtech && (value_is_date(a) || value_is_date(b)))
        return is_equal_date(a, b, is_strict);

    if (both_numbers(a, b, &x, &y))
        return !isnan(x.real) && !isnan(y.real) && order_numbers(&x, &y) == 0;
    return a->type == b->type && (a->type != VG_JSON_STRING || vg_slice_eq(a->text, b->text));
}

/* The number that `value` is as `like`'s type; a text must convert whole. */
static bool coerce(const struct vg_json *value, const struct vg_json *like,
                   struct value_number *ret)
{
    struct value_number kind;
    struct vg_slice text;

    switch (value->type) {
    case VG_JSON_NUMBER:
        if (!value_number(value, ret))
            return false;
        if (like->type == VG_JSON_TRUE || like->type == VG_JSON_FALSE) {
            bool is_true = ret->real < 0 || ret->real > 0;

            *ret = (struct value_number){.is_integer = true, .integer = is_true, .real = is_true};
        }
        return true;
    case VG_JSON_TRUE:
    case VG_JSON_FALSE:
        *ret = (struct value_number){.is_integer = true,
                                     .integer = value->type == VG_JSON_TRUE,
                                     .real = value->type == VG_JSON_TRUE};
        return true;
    case VG_JSON_STRING:
        text = vg_slice_trim(value->text);
        *ret = (struct value_number){0};
        if (like->type != VG_JSON_NUMBER || !value_number(like, &kind)) {
            bool is_true = vg_slice_eq_nocase(text, VG_SLICE("true"));

            ret->is_integer = true;
            ret->integer = is_true;
            ret->real = is_true;
            return is_true || vg_slice_eq_nocase(text, VG_SLICE("false"));
        }
        if (kind.is_integer) {
            ret->is_integer = vg_slice_to_i64(text, &ret->integer);
            ret->real = (double)ret->integer;
            return ret->is_integer;
        }
        return vg_slice_to_double(text, &ret->real);
    case VG_JSON_NULL:
    case VG_JSON_ARRAY:
    case VG_JSON_OBJECT:
        break;
    }
    return false;
}

static bool is_ordered(struct run *run, enum compare compare, const struct vg_json *a,
                       const struct vg_json *b)
{
    struct value_number x, y;
    int order;

    if (a->type == VG_JSON_NULL || b->type == VG_JSON_NULL) {
        order = (a->type != VG_JSON_NULL) - (b->type != VG_JSON_NULL);
    } else if (run->is_medtech && (value_is_date(a) || value_is_date(b))) {
        int64_t ticks = 0, other = 0;

        if (!value_is_date(a) || b->type != VG_JSON_STRING || !value_date_ticks(a->text, &ticks) ||
            !value_date_ticks(b->text, &other))
            return stop(run, "jsonpath.compare",
                        "a JSONPath filter compares a date with something that is none");
        order = ticks < other ? -1 : ticks > other;
    } else if (a->type == VG_JSON_STRING && b->type == VG_JSON_STRING) {
        order = vg_slice_cmp(a->text, b->text);
    } else {
        const struct vg_json *like = a->type == VG_JSON_STRING ? b : a;

        if (!coerce(a, like, &x) || !coerce(b, like, &y))
            return stop(run, "jsonpath.compare",
                        "a JSONPath filter compares a text with a number that it is not");
        order = order_numbers(&x, &y);
    }
    switch (compare) {
    case COMPARE_LT:
        return order < 0;
    case COMPARE_LE:
        return order <= 0;
    case COMPARE_GT:
        return order > 0;
    case COMPARE_GE:
        return order >= 0;
    case COMPARE_EXISTS:
    case COMPARE_EQ:
    case COMPARE_NE:
    case COMPARE_STRICT_EQ:
    case COMPARE_STRICT_NE:
    case COMPARE_MATCH:
        break;
    }
    return false;
}

struct comparison {
    struct run *run;
    const struct term *term;
    const struct vg_json *at, *left;
    bool is_true;
};

static bool compare_right(void *ctx, const struct vg_json *right)
{
    struct comparison *c = ctx;
    enum compare compare = c->term->compare;

    if (is_container(c->left) || is_container(right)) {
        c->is_true = compare == COMPARE_NE;
        return !c->is_true;
    }
    switch (compare) {
    case COMPARE_EQ:
    case COMPARE_STRICT_EQ:
        c->is_true = is_equal(c->run, c->left, right, compare == COMPARE_STRICT_EQ);
        break;
    case COMPARE_NE:
    case COMPARE_STRICT_NE:
        c->is_true = !is_equal(c->run, c->left, right, compare == COMPARE_STRICT_NE);
        break;
    case COMPARE_LT:
    case COMPARE_LE:
    case COMPARE_GT:
    case COMPARE_GE:
        c->is_true = is_ordered(c->run, compare, c->left, right);
        break;
    case COMPARE_MATCH:
        c->is_true = c->left->type == VG_JSON_STRING && c->term->right.regex &&
                     !(c->run->is_medtech && value_is_date(c->left)) &&
                     regex_search(c->term->right.regex, c->left->text, c->run->steps_left);
        break;
    case COMPARE_EXISTS:
        c->is_true = true;
        break;
    }
    return !c->is_true && c->run->status == VG_OK;
}

static bool compare_left(void *ctx, const struct vg_json *left)
{
    struct comparison *c = ctx;
    const struct sink sink = {compare_right, c};

    c->left = left;
    if (c->term->compare == COMPARE_EXISTS)
        c->is_true = true;
    else if (c->term->right.is_path)
        (void)walk(c->run, c->term->right.path, c->at, &sink);
    else
        (void)compare_right(c, &c->term->right.literal);
    return !c->is_true && c->run->status == VG_OK;
}

static bool holds(struct run *run, const struct term *term, const struct vg_json *at)
{
    struct comparison c = {.run = run, .term = term, .at = at};
    const struct sink sink = {compare_left, &c};

    if (term->is_list) {
        for (const struct term *part = term->first; part; part = part->next)
            if (holds(run, part, at) != term->is_and)
                return !term->is_and && run->status == VG_OK;
        return term->is_and && run->status == VG_OK;
    }
    if (term->left.is_path)
        (void)walk(run, term->left.path, at, &sink);
    else
        (void)compare_left(&c, &term->left.literal);
    return c.is_true && run->status == VG_OK;
}

static size_t count_nodes(const struct vg_json *at)
{
    size_t count = 1;

    for (const struct vg_json *child = at->child; child; child = child->next)
        if (is_container(child))
            count += count_nodes(child);
    return count;
}

static void list_nodes(struct jsonpath_nodes *nodes, const struct vg_json *at)
{
    size_t place = nodes->count++;
    uint64_t names = 0;

    nodes->list[place] = at;
    for (const struct vg_json *child = at->child; child; child = child->next) {
        if (at->type == VG_JSON_OBJECT)
            names |= name_bit(child->name);
        if (is_container(child))
            list_nodes(nodes, child); /* as deep as the JSON reader allows */
    }
    nodes->names[place] = names;
    nodes->all_names |= names;
}

bool jsonpath_nodes_init(struct jsonpath_nodes *nodes, struct vg_arena *arena,
                         const struct vg_json *root)
{
    size_t count = count_nodes(root);

    *nodes = (struct jsonpath_nodes){.list = vg_arena_alloc(arena, sizeof(*nodes->list) * count),
                                     .names = vg_arena_alloc(arena, sizeof(*nodes->names) * count)};
    if (!nodes->list || !nodes->names)
        return false;
    list_nodes(nodes, root);
    return true;
}

enum vg_status jsonpath_each(const struct jsonpath *path, const struct vg_json *root,
                             const struct jsonpath_nodes *nodes, uint64_t *steps_left,
                             jsonpath_visit *visit, void *ctx, struct vg_err *err)
{
    struct run run = {root, nodes, steps_left, err, VG_OK, path->is_medtech};
    const struct sink sink = {visit, ctx};

    (void)walk(&run, path->first, root, &sink);
    /* A regular expression that ran dry said "no match": that is not known. */
    if (run.status == VG_OK && *steps_left == 0)
        (void)stop(&run, "jsonpath.budget", "expressions take too many steps on this message");
    return run.status;
}
