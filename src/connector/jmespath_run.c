/* jmespath_run.c -- a JMESPath over a token, for each message: the evaluator.
 *
 *     jmespath_value.c       what a run makes anew, and what it pays
 *     jmespath_functions.c   the language's functions, and the table of all
 *     jmespath_order.c       sort, sort_by, min, max and theirs
 *     jmespath_added.c       what the reference engine adds
 *
 * What an expression makes anew lives in the message's arena; an element of a new array is a copy
 * of the old node that shares its children, so that nothing is copied in depth.
 *
 * Recursion is bounded by the tree's height and the JSON reader's depth limit.
 *
 * Threads: everything that changes is the caller's.
 */
#include "connector/jmespath_run_int.h"

#include <math.h>
#include <stdio.h>

static bool is_truthy(const struct vg_json *value)
{
    switch (value->type) {
    case VG_JSON_NULL:
    case VG_JSON_FALSE:
        return false;
    case VG_JSON_STRING:
        return value->text.len > 0;
    case VG_JSON_ARRAY:
    case VG_JSON_OBJECT:
        return value->child != NULL;
    case VG_JSON_TRUE:
    case VG_JSON_NUMBER:
        break;
    }
    return true;
}

int jmes_order_numbers(const struct value_number *x, const struct value_number *y)
{
    if (x->is_integer && y->is_integer)
        return x->integer < y->integer ? -1 : x->integer > y->integer;
    return x->real < y->real ? -1 : x->real > y->real;
}

/* For the reference a date of the message is no text: it equals the same date only. */
static bool is_same_date(const struct vg_json *a, const struct vg_json *b)
{
    int64_t x = 0, y = 0;

    return value_is_date(a) && value_is_date(b) && value_date_ticks(a->text, &x) &&
           value_date_ticks(b->text, &y) && x == y;
}

bool jmes_is_equal(struct run *run, const struct vg_json *a, const struct vg_json *b)
{
    struct value_number x, y;
    const struct vg_json *i, *k;
    size_t count = 0;

    if (!jmes_pay(run, 1))
        return false;
    if (value_number(a, &x) && value_number(b, &y))
        return !isnan(x.real) && !isnan(y.real) && jmes_order_numbers(&x, &y) == 0;
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VG_JSON_STRING:
        return run->is_medtech && (value_is_date(a) || value_is_date(b))
                   ? is_same_date(a, b)
                   : vg_slice_eq(a->text, b->text);
    case VG_JSON_ARRAY:
        for (i = a->child, k = b->child; i && k; i = i->next, k = k->next)
            if (!jmes_is_equal(run, i, k))
                return false;
        return !i && !k;
    case VG_JSON_OBJECT:
        for (i = b->child; i; i = i->next)
            count++;
        for (i = a->child; i; i = i->next, count--) {
            k = vg_json_get_slice(b, i->name);
            if (!k || !jmes_is_equal(run, i, k))
                return false;
        }
        return count == 0;
    case VG_JSON_NULL:
    case VG_JSON_FALSE:
    case VG_JSON_TRUE:
    case VG_JSON_NUMBER:
        break;
    }
    return a->type != VG_JSON_NUMBER;
}

static const struct vg_json *compare(struct run *run, enum token_kind kind, const struct vg_json *a,
                                     const struct vg_json *b)
{
    struct value_number x, y;
    int order;

    if (kind == TOKEN_EQ || kind == TOKEN_NE)
        return jmes_bool(jmes_is_equal(run, a, b) == (kind == TOKEN_EQ));
    if (!value_number(a, &x) || !value_number(b, &y))
        return &jmes_null;
    if (isnan(x.real) || isnan(y.real))
        return jmes_bool(false);
    order = jmes_order_numbers(&x, &y);
    return jmes_bool(kind == TOKEN_LT   ? order < 0
                     : kind == TOKEN_LE ? order <= 0
                     : kind == TOKEN_GT ? order > 0
                                        : order >= 0);
}

static const struct vg_json *take_slice(struct run *run, const struct node *node,
                                        const struct vg_json *at)
{
    struct vg_json *list = jmes_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;
    int64_t count = at->count, by = node->by;
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? count : count - 1;
    int64_t from = node->has_from ? node->from : by > 0 ? low : high;
    int64_t to = node->has_to ? node->to : by > 0 ? high : low;
    const struct vg_json **items = vg_arena_alloc(run->arena, sizeof(*items) * (at->count + 1u));
    size_t n = 0;

    if (!list || !items || !jmes_pay(run, at->count))
        return jmes_stop(run, "connector.memory", "message needs too much memory");
    for (const struct vg_json *child = at->child; child; child = child->next)
        items[n++] = child;
    if (node->has_from)
        from = from < 0 ? from + count : from;
    if (node->has_to)
        to = to < 0 ? to + count : to;
    from = from < low ? low : from > high ? high : from;
    to = to < low ? low : to > high ? high : to;
    for (int64_t i = from; by > 0 ? i < to : i > to; i += by)
        jmes_append(run, list, &tail, items[i], JMES_NO_NAME);
    return list;
}

static const struct vg_json *flatten(struct run *run, const struct vg_json *base)
{
    struct vg_json *list, **tail;

    if (base->type != VG_JSON_ARRAY)
        return &jmes_null;
    list = jmes_value(run, VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    for (const struct vg_json *i = base->child; list && i; i = i->next) {
        if (i->type != VG_JSON_ARRAY)
            jmes_append(run, list, &tail, i, JMES_NO_NAME);
        for (const struct vg_json *k = i->type == VG_JSON_ARRAY ? i->child : NULL; k; k = k->next)
            jmes_append(run, list, &tail, k, JMES_NO_NAME);
        if (run->status != VG_OK)
            return NULL;
    }
    return list;
}

/* LIST, VALUES, FILTER: null results are left out. */
static const struct vg_json *project(struct run *run, const struct node *node,
                                     const struct vg_json *at)
{
    const struct vg_json *base = jmes_evaluate(run, node->left, at);
    struct vg_json *list, **tail;

    if (!base)
        return NULL;
    if (base->type != (node->kind == NODE_VALUES ? VG_JSON_OBJECT : VG_JSON_ARRAY))
        return &jmes_null;
    list = jmes_value(run, VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    for (const struct vg_json *i = base->child; list && i; i = i->next) {
        const struct vg_json *value = i;

        if (node->kind == NODE_FILTER) {
            value = jmes_evaluate(run, node->first, i);
            if (value && !is_truthy(value))
                continue;
        }
        if (value && node->right != &jmespath_current_node)
            value = jmes_evaluate(run, node->right, i);
        else if (value)
            value = i;
        if (value && value->type != VG_JSON_NULL)
            jmes_append(run, list, &tail, value, JMES_NO_NAME);
        if (run->status != VG_OK)
            return NULL;
    }
    return list;
}

static const struct vg_json *multi(struct run *run, const struct node *node,
                                   const struct vg_json *at)
{
    bool is_hash = node->kind == NODE_MULTI_HASH;
    struct vg_json *list, **tail;

    if (at->type == VG_JSON_NULL)
        return &jmes_null;
    list = jmes_value(run, is_hash ? VG_JSON_OBJECT : VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    for (const struct node *one = node->first; list && one; one = one->next) {
        const struct vg_json *value = jmes_evaluate(run, one, at);
        struct vg_json *old = NULL;

        for (old = is_hash ? list->child : NULL; old; old = old->next)
            if (vg_slice_eq(old->name, one->name))
                break;
        if (old && value) { /* the last of one name counts, in the first one's place */
            struct vg_json *next = old->next;

            *old = *value;
            old->next = next;
            old->parent = list;
            old->name = one->name;
        } else {
            jmes_append(run, list, &tail, value, one->name);
        }
        if (run->status != VG_OK)
            return NULL;
    }
    return list;
}

static unsigned type_of(const struct vg_json *value)
{
    static const uint8_t types[] = {
        [VG_JSON_NULL] = IS_NULL,     [VG_JSON_FALSE] = IS_BOOLEAN, [VG_JSON_TRUE] = IS_BOOLEAN,
        [VG_JSON_NUMBER] = IS_NUMBER, [VG_JSON_STRING] = IS_TEXT,   [VG_JSON_ARRAY] = IS_ARRAY,
        [VG_JSON_OBJECT] = IS_OBJECT};

    return types[value->type];
}

/* An array of numbers alone or of texts alone is both when it is empty. */
static unsigned types_in(const struct vg_json *array)
{
    unsigned types = IS_NUMBERS | IS_TEXTS;

    for (const struct vg_json *i = array->child; i; i = i->next)
        types &= i->type == VG_JSON_NUMBER ? IS_NUMBERS : i->type == VG_JSON_STRING ? IS_TEXTS : 0u;
    return types;
}

static const struct vg_json *bad_argument(struct run *run, const struct function *function,
                                          size_t index)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "%s cannot take what argument %zu is in this message",
                   function->name, index + 1);
    return jmes_stop(run, "jmespath.type", text);
}

static const struct vg_json *call(struct run *run, const struct node *node,
                                  const struct vg_json *at)
{
    const struct function *f = node->function;
    struct argument args[ARGUMENTS_MAX];
    size_t count = 0;

    for (const struct node *one = node->first; one; one = one->next, count++) {
        unsigned takes = f->takes[count < 3 ? count : 2], is;
        struct value_number number;

        for (size_t i = count < 3 ? count : 2; !takes && i > 0;) /* the last one given */
            takes = f->takes[--i];
        args[count] = (struct argument){NULL, one};
        if (one->is_expref) {
            if (!(takes & IS_EXPREF))
                return bad_argument(run, f, count);
            continue;
        }
        args[count].value = jmes_evaluate(run, one, at);
        if (!args[count].value)
            return NULL;
        is = type_of(args[count].value);
        if (is == IS_ARRAY && (takes & (IS_NUMBERS | IS_TEXTS)) &&
            jmes_pay(run, args[count].value->count))
            is |= types_in(args[count].value);
        if (is == IS_NUMBER && value_number(args[count].value, &number) && number.is_integer)
            is |= IS_INTEGER;
        if (!(takes & is))
            return bad_argument(run, f, count);
    }
    return run->status == VG_OK && jmes_pay(run, 1) ? f->call(run, args, count) : NULL;
}

const struct vg_json *jmes_evaluate(struct run *run, const struct node *node,
                                    const struct vg_json *at)
{
    const struct vg_json *left, *found;
    int64_t index;

    if (!jmes_pay(run, 1))
        return NULL;
    switch (node->kind) {
    case NODE_CURRENT:
        return at;
    case NODE_LITERAL:
        return node->json;
    case NODE_FIELD:
        found = at->type == VG_JSON_OBJECT ? vg_json_get_slice(at, node->name) : NULL;
        return found ? found : &jmes_null;
    case NODE_CHAIN:
        left = jmes_evaluate(run, node->left, at);
        return left && node->right != &jmespath_current_node ? jmes_evaluate(run, node->right, left)
                                                             : left;
    case NODE_INDEX:
        index = node->from < 0 ? node->from + at->count : node->from;
        if (at->type != VG_JSON_ARRAY || index < 0 || index >= at->count)
            return &jmes_null;
        return jmes_pay(run, (size_t)index) ? vg_json_at(at, (size_t)index) : NULL;
    case NODE_SLICE:
        return at->type == VG_JSON_ARRAY ? take_slice(run, node, at) : &jmes_null;
    case NODE_LIST:
    case NODE_VALUES:
    case NODE_FILTER:
        return project(run, node, at);
    case NODE_FLATTEN:
        left = jmes_evaluate(run, node->left, at);
        return left ? flatten(run, left) : NULL;
    case NODE_OR:
    case NODE_AND:
        left = jmes_evaluate(run, node->left, at);
        if (!left || is_truthy(left) == (node->kind == NODE_OR))
            return left;
        return jmes_evaluate(run, node->right, at);
    case NODE_NOT:
        left = jmes_evaluate(run, node->left, at);
        return left ? jmes_bool(!is_truthy(left)) : NULL;
    case NODE_COMPARE:
        left = jmes_evaluate(run, node->left, at);
        found = left ? jmes_evaluate(run, node->right, at) : NULL;
        return found ? compare(run, node->compare, left, found) : NULL;
    case NODE_MULTI_LIST:
    case NODE_MULTI_HASH:
        return multi(run, node, at);
    case NODE_CALL:
        return call(run, node, at);
    }
    return NULL;
}

/* Is what `node` gives a projection's result? Of a || b and a && b it is the chosen side's. */
static bool is_projection(struct run *run, const struct node *node, const struct vg_json *at)
{
    const struct vg_json *left;

    switch (node->kind) {
    case NODE_LIST:
    case NODE_VALUES:
    case NODE_FILTER:
        return true;
    case NODE_CHAIN: /* a.b[*] reads as a chain of a and b[*]; a pipe is one, too */
        if (node->right == &jmespath_current_node)
            return false;
        left = jmes_evaluate(run, node->left, at);
        return left && is_projection(run, node->right, left);
    case NODE_OR:
    case NODE_AND:
        left = jmes_evaluate(run, node->left, at);
        if (!left)
            return false;
        return is_projection(
            run, is_truthy(left) == (node->kind == NODE_OR) ? node->left : node->right, at);
    default:
        return false;
    }
}

enum vg_status jmespath_run(const struct jmespath *path, const struct vg_json *root,
                            struct vg_arena *arena, uint64_t *steps_left,
                            const struct vg_json **ret_result, bool *ret_is_projection,
                            struct vg_err *err)
{
    struct run run = {arena, steps_left, err, VG_OK, path->is_medtech};
    const struct vg_json *result = jmes_evaluate(&run, path->root, root);

    *ret_is_projection = run.status == VG_OK && result && result->type == VG_JSON_ARRAY &&
                         is_projection(&run, path->root, root);
    if (run.status == VG_OK && !result)
        (void)jmes_stop(&run, "jmespath.type", "no result");
    if (run.status == VG_OK)
        *ret_result = result;
    return run.status;
}
