/* jmespath_run.c -- a JMESPath over a token, for each message; and its functions.
 *
 * What an expression makes anew lives in the message's arena; an element of a new array is a copy
 * of the old node that shares its children, so that nothing is copied in depth.
 *
 * Numbers are integers (64 bits) or reals, told apart as in the message: 2 and 2.0. Positions and
 * lengths count code points, but in insertString, which counts as the reference engine (UTF-16).
 *
 * Where the reference engine would give a number that is wrong (an integer beyond 64 bits wraps
 * around, 40/50 is 0, abs and sort know 32 bits only) it does so with is_medtech alone.
 *
 * Recursion is bounded by the tree's height and the JSON reader's depth limit.
 *
 * Threads: everything that changes is the caller's.
 */
#include "connector/jmespath_int.h"

#include "base/clock.h"
#include "connector/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RESULT_DEPTH_MAX 60 /* of what to_string writes */

struct run {
    struct vg_arena *arena;
    uint64_t *steps_left;
    struct vg_err *err;
    enum vg_status status;
    bool is_medtech;
};

static const struct vg_json null_value = {.type = VG_JSON_NULL};

static const struct vg_json *evaluate(struct run *run, const struct node *node,
                                      const struct vg_json *at);

static const struct vg_json *stop(struct run *run, const char *code, const char *text)
{
    if (run->status == VG_OK)
        run->status = vg_fail(run->err, VG_REJECT, code, 0, "JMESPath: %s", text);
    return NULL;
}

static bool pay(struct run *run, size_t steps)
{
    if (run->status != VG_OK)
        return false;
    if (*run->steps_left < steps || *run->steps_left == 0) {
        *run->steps_left = 0;
        (void)stop(run, "jmespath.budget", "expressions take too many steps on this message");
        return false;
    }
    *run->steps_left -= steps;
    return true;
}

static struct vg_json *make_value(struct run *run, enum vg_json_type type)
{
    struct vg_json *value = vg_arena_alloc(run->arena, sizeof(*value));

    if (!value) {
        run->status =
            vg_fail(run->err, VG_REJECT, "connector.memory", 0, "message needs too much memory");
        return NULL;
    }
    value->type = type;
    return value;
}

static const struct vg_json *make_bool(bool is_true)
{
    static const struct vg_json values[2] = {{.type = VG_JSON_FALSE}, {.type = VG_JSON_TRUE}};

    return &values[is_true];
}

static const struct vg_json *make_text(struct run *run, struct vg_slice text)
{
    struct vg_json *value = make_value(run, VG_JSON_STRING);

    if (value)
        value->text = text;
    return value;
}

static const struct vg_json *make_number(struct run *run, const char *text, size_t len)
{
    struct vg_json *value = make_value(run, VG_JSON_NUMBER);

    if (!value)
        return NULL;
    value->text = vg_arena_dup(run->arena, (struct vg_slice){text, len});
    return value->text.ptr ? value : stop(run, "connector.memory", "no memory for a number");
}

static const struct vg_json *make_integer(struct run *run, int64_t number)
{
    char text[24];

    return make_number(run, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)number));
}

/* Integral ones keep a point, so that they stay reals: 2.0. */
static const struct vg_json *make_real(struct run *run, double number)
{
    char text[72];
    size_t len = value_real_text(number, 17, text);

    if (isfinite(number) && !memchr(text, '.', len) && !memchr(text, 'E', len)) {
        text[len++] = '.';
        text[len++] = '0';
    }
    return make_number(run, text, len);
}

/* An integer where the number is one: 3, not 3.0. */
static const struct vg_json *make_exact(struct run *run, double number)
{
    if (fabs(number) < 9007199254740992.0 && number <= trunc(number) && number >= trunc(number))
        return make_integer(run, (int64_t)number);
    return make_real(run, number);
}

/* A copy of `value` at the end of the array or (with a name) of the object. */
static void append(struct run *run, struct vg_json *list, struct vg_json ***tail,
                   const struct vg_json *value, struct vg_slice name)
{
    struct vg_json *copy = value && pay(run, 1) ? make_value(run, value->type) : NULL;

    if (!copy)
        return;
    *copy = *value;
    copy->next = NULL;
    copy->parent = list;
    copy->name = name;
    **tail = copy;
    *tail = &copy->next;
    list->count++;
}

static const struct vg_slice no_name = {0};

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

static int order_numbers(const struct value_number *x, const struct value_number *y)
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

static bool is_equal(struct run *run, const struct vg_json *a, const struct vg_json *b)
{
    struct value_number x, y;
    const struct vg_json *i, *k;
    size_t count = 0;

    if (!pay(run, 1))
        return false;
    if (value_number(a, &x) && value_number(b, &y))
        return !isnan(x.real) && !isnan(y.real) && order_numbers(&x, &y) == 0;
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VG_JSON_STRING:
        return run->is_medtech && (value_is_date(a) || value_is_date(b))
                   ? is_same_date(a, b)
                   : vg_slice_eq(a->text, b->text);
    case VG_JSON_ARRAY:
        for (i = a->child, k = b->child; i && k; i = i->next, k = k->next)
            if (!is_equal(run, i, k))
                return false;
        return !i && !k;
    case VG_JSON_OBJECT:
        for (i = b->child; i; i = i->next)
            count++;
        for (i = a->child; i; i = i->next, count--) {
            k = vg_json_get_slice(b, i->name);
            if (!k || !is_equal(run, i, k))
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
        return make_bool(is_equal(run, a, b) == (kind == TOKEN_EQ));
    if (!value_number(a, &x) || !value_number(b, &y))
        return &null_value;
    if (isnan(x.real) || isnan(y.real))
        return make_bool(false);
    order = order_numbers(&x, &y);
    return make_bool(kind == TOKEN_LT   ? order < 0
                     : kind == TOKEN_LE ? order <= 0
                     : kind == TOKEN_GT ? order > 0
                                        : order >= 0);
}

static const struct vg_json *take_slice(struct run *run, const struct node *node,
                                        const struct vg_json *at)
{
    struct vg_json *list = make_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;
    int64_t count = at->count, by = node->by;
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? count : count - 1;
    int64_t from = node->has_from ? node->from : by > 0 ? low : high;
    int64_t to = node->has_to ? node->to : by > 0 ? high : low;
    const struct vg_json **items = vg_arena_alloc(run->arena, sizeof(*items) * (at->count + 1u));
    size_t n = 0;

    if (!list || !items || !pay(run, at->count))
        return stop(run, "connector.memory", "message needs too much memory");
    for (const struct vg_json *child = at->child; child; child = child->next)
        items[n++] = child;
    if (node->has_from)
        from = from < 0 ? from + count : from;
    if (node->has_to)
        to = to < 0 ? to + count : to;
    from = from < low ? low : from > high ? high : from;
    to = to < low ? low : to > high ? high : to;
    for (int64_t i = from; by > 0 ? i < to : i > to; i += by)
        append(run, list, &tail, items[i], no_name);
    return list;
}

static const struct vg_json *flatten(struct run *run, const struct vg_json *base)
{
    struct vg_json *list, **tail;

    if (base->type != VG_JSON_ARRAY)
        return &null_value;
    list = make_value(run, VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    for (const struct vg_json *i = base->child; list && i; i = i->next) {
        if (i->type != VG_JSON_ARRAY)
            append(run, list, &tail, i, no_name);
        for (const struct vg_json *k = i->type == VG_JSON_ARRAY ? i->child : NULL; k; k = k->next)
            append(run, list, &tail, k, no_name);
        if (run->status != VG_OK)
            return NULL;
    }
    return list;
}

/* LIST, VALUES, FILTER: null results are left out. */
static const struct vg_json *project(struct run *run, const struct node *node,
                                     const struct vg_json *at)
{
    const struct vg_json *base = evaluate(run, node->left, at);
    struct vg_json *list, **tail;

    if (!base)
        return NULL;
    if (base->type != (node->kind == NODE_VALUES ? VG_JSON_OBJECT : VG_JSON_ARRAY))
        return &null_value;
    list = make_value(run, VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    for (const struct vg_json *i = base->child; list && i; i = i->next) {
        const struct vg_json *value = i;

        if (node->kind == NODE_FILTER) {
            value = evaluate(run, node->first, i);
            if (value && !is_truthy(value))
                continue;
        }
        if (value && node->right != &jmespath_current_node)
            value = evaluate(run, node->right, i);
        else if (value)
            value = i;
        if (value && value->type != VG_JSON_NULL)
            append(run, list, &tail, value, no_name);
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
        return &null_value;
    list = make_value(run, is_hash ? VG_JSON_OBJECT : VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    for (const struct node *one = node->first; list && one; one = one->next) {
        const struct vg_json *value = evaluate(run, one, at);
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
            append(run, list, &tail, value, one->name);
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
    return stop(run, "jmespath.type", text);
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
        args[count].value = evaluate(run, one, at);
        if (!args[count].value)
            return NULL;
        is = type_of(args[count].value);
        if (is == IS_ARRAY && (takes & (IS_NUMBERS | IS_TEXTS)) &&
            pay(run, args[count].value->count))
            is |= types_in(args[count].value);
        if (is == IS_NUMBER && value_number(args[count].value, &number) && number.is_integer)
            is |= IS_INTEGER;
        if (!(takes & is))
            return bad_argument(run, f, count);
    }
    return run->status == VG_OK && pay(run, 1) ? f->call(run, args, count) : NULL;
}

static const struct vg_json *evaluate(struct run *run, const struct node *node,
                                      const struct vg_json *at)
{
    const struct vg_json *left, *found;
    int64_t index;

    if (!pay(run, 1))
        return NULL;
    switch (node->kind) {
    case NODE_CURRENT:
        return at;
    case NODE_LITERAL:
        return node->json;
    case NODE_FIELD:
        found = at->type == VG_JSON_OBJECT ? vg_json_get_slice(at, node->name) : NULL;
        return found ? found : &null_value;
    case NODE_CHAIN:
        left = evaluate(run, node->left, at);
        return left && node->right != &jmespath_current_node ? evaluate(run, node->right, left)
                                                             : left;
    case NODE_INDEX:
        index = node->from < 0 ? node->from + at->count : node->from;
        if (at->type != VG_JSON_ARRAY || index < 0 || index >= at->count)
            return &null_value;
        return pay(run, (size_t)index) ? vg_json_at(at, (size_t)index) : NULL;
    case NODE_SLICE:
        return at->type == VG_JSON_ARRAY ? take_slice(run, node, at) : &null_value;
    case NODE_LIST:
    case NODE_VALUES:
    case NODE_FILTER:
        return project(run, node, at);
    case NODE_FLATTEN:
        left = evaluate(run, node->left, at);
        return left ? flatten(run, left) : NULL;
    case NODE_OR:
    case NODE_AND:
        left = evaluate(run, node->left, at);
        if (!left || is_truthy(left) == (node->kind == NODE_OR))
            return left;
        return evaluate(run, node->right, at);
    case NODE_NOT:
        left = evaluate(run, node->left, at);
        return left ? make_bool(!is_truthy(left)) : NULL;
    case NODE_COMPARE:
        left = evaluate(run, node->left, at);
        found = left ? evaluate(run, node->right, at) : NULL;
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
        left = evaluate(run, node->left, at);
        return left && is_projection(run, node->right, left);
    case NODE_OR:
    case NODE_AND:
        left = evaluate(run, node->left, at);
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
    const struct vg_json *result = evaluate(&run, path->root, root);

    *ret_is_projection = run.status == VG_OK && result && result->type == VG_JSON_ARRAY &&
                         is_projection(&run, path->root, root);
    if (run.status == VG_OK && !result)
        (void)stop(&run, "jmespath.type", "no result");
    if (run.status == VG_OK)
        *ret_result = result;
    return run.status;
}

/* ---- functions ---- */

#define ARGS struct run *run, const struct argument *args, size_t count

static struct value_number number_of(const struct vg_json *value)
{
    struct value_number number = {0};

    (void)value_number(value, &number);
    return number;
}

static const struct vg_json *out_of_range(struct run *run)
{
    return stop(run, "jmespath.range", "a number that 64 bits cannot hold");
}

static const struct vg_json *call_abs(ARGS)
{
    struct value_number n = number_of(args[0].value);

    (void)count;
    if (!n.is_integer)
        return make_real(run, fabs(n.real));
    if (n.integer == INT64_MIN ||
        (run->is_medtech && (n.integer < -INT32_MAX || n.integer > INT32_MAX)))
        return out_of_range(run);
    return make_integer(run, n.integer < 0 ? -n.integer : n.integer);
}

static const struct vg_json *call_avg(ARGS)
{
    double sum = 0, items = 0;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; i; i = i->next, items += 1)
        sum += number_of(i).real;
    return items > 0 ? make_real(run, sum / items) : &null_value;
}

static const struct vg_json *call_ceil(ARGS)
{
    struct value_number n = number_of(args[0].value);

    (void)count;
    return n.is_integer ? args[0].value : make_exact(run, ceil(n.real));
}

static const struct vg_json *call_floor(ARGS)
{
    struct value_number n = number_of(args[0].value);

    (void)count;
    return n.is_integer ? args[0].value : make_exact(run, floor(n.real));
}

static const struct vg_json *call_contains(ARGS)
{
    const struct vg_json *in = args[0].value, *what = args[1].value;

    (void)count;
    if (in->type == VG_JSON_ARRAY) {
        for (const struct vg_json *i = in->child; i; i = i->next)
            if (is_equal(run, i, what))
                return make_bool(true);
        return make_bool(false);
    }
    if (what->type != VG_JSON_STRING || (run->is_medtech && value_is_date(in)))
        return make_bool(false);
    if (!pay(run, in->text.len / 16 + 1))
        return NULL;
    return make_bool(what->text.len == 0 ||
                     (in->text.len > 0 &&
                      memmem(in->text.ptr, in->text.len, what->text.ptr, what->text.len) != NULL));
}

static const struct vg_json *call_starts_with(ARGS)
{
    (void)run;
    (void)count;
    return make_bool(vg_slice_starts(args[0].value->text, args[1].value->text));
}

static const struct vg_json *call_ends_with(ARGS)
{
    struct vg_slice text = args[0].value->text, end = args[1].value->text;

    (void)run;
    (void)count;
    return make_bool(text.len >= end.len &&
                     (end.len == 0 || vg_slice_eq(vg_slice_from(text, text.len - end.len), end)));
}

static const struct vg_json *call_join(ARGS)
{
    struct vg_slice glue = args[0].value->text;
    size_t size = 1, used = 0;
    char *out;

    (void)count;
    for (const struct vg_json *i = args[1].value->child; i; i = i->next)
        size += i->text.len + glue.len;
    out = pay(run, size / 16 + 1) ? vg_arena_alloc(run->arena, size) : NULL;
    if (!out)
        return stop(run, "connector.memory", "no memory for a text");
    for (const struct vg_json *i = args[1].value->child; i; i = i->next) {
        if (i != args[1].value->child && glue.len > 0) {
            memcpy(out + used, glue.ptr, glue.len);
            used += glue.len;
        }
        if (i->text.len > 0)
            memcpy(out + used, i->text.ptr, i->text.len);
        used += i->text.len;
    }
    return make_text(run, (struct vg_slice){out, used});
}

static const struct vg_json *call_keys(ARGS)
{
    struct vg_json *list = make_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; list && i; i = i->next) {
        const struct vg_json name = {.type = VG_JSON_STRING, .text = i->name};

        append(run, list, &tail, &name, no_name);
    }
    return run->status == VG_OK ? list : NULL;
}

static const struct vg_json *call_values(ARGS)
{
    struct vg_json *list = make_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; list && i; i = i->next)
        append(run, list, &tail, i, no_name);
    return run->status == VG_OK ? list : NULL;
}

static size_t char_len(struct vg_slice text, size_t at)
{
    size_t len = 1;

    while (at + len < text.len && ((unsigned char)text.ptr[at + len] & 0xc0) == 0x80)
        len++;
    return len;
}

static const struct vg_json *call_length(ARGS)
{
    const struct vg_json *value = args[0].value;
    int64_t length = 0;

    (void)count;
    if (value->type == VG_JSON_STRING) {
        if (run->is_medtech && value_is_date(value))
            return make_integer(run, 19);
        for (size_t at = 0; at < value->text.len; at += char_len(value->text, at))
            length++;
    }
    for (const struct vg_json *i = value->child; i; i = i->next)
        length++;
    return make_integer(run, length);
}

static const struct vg_json *call_reverse(ARGS)
{
    const struct vg_json *value = args[0].value;
    struct vg_json *list = NULL;

    (void)count;
    if (value->type == VG_JSON_STRING) {
        size_t len = value->text.len;
        char *out = pay(run, len / 16 + 1) ? vg_arena_alloc(run->arena, len + 1) : NULL;

        if (!out)
            return stop(run, "connector.memory", "no memory for a text");
        for (size_t at = 0, step; at < len; at += step) {
            step = char_len(value->text, at);
            memcpy(out + len - at - step, value->text.ptr + at, step);
        }
        return make_text(run, (struct vg_slice){out, len});
    }
    list = make_value(run, VG_JSON_ARRAY);
    for (const struct vg_json *i = value->child; list && i; i = i->next) {
        struct vg_json *first = list->child, *copy = NULL, **tail = &copy;

        append(run, list, &tail, i, no_name);
        if (!copy)
            return NULL;
        copy->next = first;
        list->child = copy;
    }
    return list;
}

/* ---- order: sort, sort_by, min, max and theirs ---- */

struct keyed {
    const struct vg_json *value;
    const struct vg_json *key;
    struct value_number number;
};

static int order_keys(const struct keyed *a, const struct keyed *b)
{
    if (a->key->type == VG_JSON_STRING)
        return vg_slice_cmp(a->key->text, b->key->text);
    return order_numbers(&a->number, &b->number);
}

/* The array's elements with what they are ordered by: themselves, or `by` over each. */
static struct keyed *key_all(struct run *run, const struct vg_json *array, const struct node *by,
                             size_t *ret_count)
{
    struct keyed *items = vg_arena_alloc(run->arena, sizeof(*items) * (array->count + 1u));
    size_t n = 0;

    if (!items) {
        (void)stop(run, "connector.memory", "message needs too much memory");
        return NULL;
    }
    for (const struct vg_json *i = array->child; i; i = i->next, n++) {
        items[n].value = i;
        items[n].key = by ? evaluate(run, by, i) : i;
        if (!items[n].key || !pay(run, 1))
            return NULL;
        items[n].number = number_of(items[n].key);
        if ((items[n].key->type != VG_JSON_NUMBER && items[n].key->type != VG_JSON_STRING) ||
            items[n].key->type != items[0].key->type) {
            (void)stop(run, "jmespath.type",
                       "elements are ordered by something that is not numbers alone or texts "
                       "alone in this message");
            return NULL;
        }
        if (run->is_medtech && !by && items[n].number.is_integer &&
            (items[n].number.integer > INT32_MAX || items[n].number.integer < INT32_MIN)) {
            (void)out_of_range(run);
            return NULL;
        }
    }
    *ret_count = n;
    return items;
}

/* By merging, so that equal ones keep their order. */
static const struct vg_json *sort_items(struct run *run, struct keyed *items, size_t count)
{
    struct keyed *other = vg_arena_alloc(run->arena, sizeof(*other) * (count + 1));
    struct vg_json *list = make_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    if (!other || !list)
        return stop(run, "connector.memory", "message needs too much memory");
    for (size_t width = 1; width < count; width *= 2) {
        struct keyed *swap = items;

        if (!pay(run, count))
            return NULL;
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t middle = start + width < count ? start + width : count;
            size_t end = start + 2 * width < count ? start + 2 * width : count;
            size_t a = start, b = middle;

            for (size_t to = start; to < end; to++)
                other[to] = a < middle && (b >= end || order_keys(&items[a], &items[b]) <= 0)
                                ? items[a++]
                                : items[b++];
        }
        items = other;
        other = swap;
    }
    for (size_t i = 0; i < count; i++)
        append(run, list, &tail, items[i].value, no_name);
    return run->status == VG_OK ? list : NULL;
}

static const struct vg_json *sort_array(struct run *run, const struct vg_json *array,
                                        const struct node *by)
{
    size_t count = 0;
    struct keyed *items = key_all(run, array, by, &count);

    return items ? sort_items(run, items, count) : NULL;
}

static const struct vg_json *extreme(struct run *run, const struct vg_json *array,
                                     const struct node *by, int sign)
{
    size_t count = 0, best = 0;
    struct keyed *items = key_all(run, array, by, &count);

    if (!items)
        return NULL;
    for (size_t i = 1; i < count; i++)
        if (sign * order_keys(&items[i], &items[best]) > 0)
            best = i;
    return count > 0 ? items[best].value : &null_value;
}

static const struct vg_json *call_sort(ARGS)
{
    (void)count;
    return sort_array(run, args[0].value, NULL);
}

static const struct vg_json *call_sort_by(ARGS)
{
    (void)count;
    return sort_array(run, args[0].value, args[1].expression);
}

static const struct vg_json *call_max(ARGS)
{
    (void)count;
    return extreme(run, args[0].value, NULL, 1);
}

static const struct vg_json *call_min(ARGS)
{
    (void)count;
    return extreme(run, args[0].value, NULL, -1);
}

static const struct vg_json *call_max_by(ARGS)
{
    (void)count;
    return extreme(run, args[0].value, args[1].expression, 1);
}

static const struct vg_json *call_min_by(ARGS)
{
    (void)count;
    return extreme(run, args[0].value, args[1].expression, -1);
}

static const struct vg_json *call_map(ARGS)
{
    struct vg_json *list = make_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    (void)count;
    for (const struct vg_json *i = args[1].value->child; list && i; i = i->next) {
        append(run, list, &tail, evaluate(run, args[0].expression, i), no_name);
        if (run->status != VG_OK)
            return NULL;
    }
    return list;
}

static const struct vg_json *call_merge(ARGS)
{
    struct vg_json *object = make_value(run, VG_JSON_OBJECT);
    struct vg_json **tail = object ? &object->child : NULL;

    for (size_t a = 0; object && a < count; a++)
        for (const struct vg_json *i = args[a].value->child; i; i = i->next) {
            struct vg_json *old = object->child;

            if (!pay(run, object->count + 1u))
                return NULL;
            while (old && !vg_slice_eq(old->name, i->name))
                old = old->next;
            if (old) {
                struct vg_json *next = old->next;

                *old = *i;
                old->next = next;
                old->parent = object;
            } else {
                append(run, object, &tail, i, i->name);
            }
        }
    return run->status == VG_OK ? object : NULL;
}

static const struct vg_json *call_not_null(ARGS)
{
    (void)run;
    for (size_t i = 0; i < count; i++)
        if (args[i].value->type != VG_JSON_NULL)
            return args[i].value;
    return &null_value;
}

static const struct vg_json *call_sum(ARGS)
{
    double sum = 0;
    int64_t exact = 0;
    bool is_exact = true;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; i; i = i->next) {
        struct value_number n = number_of(i);

        sum += n.real;
        is_exact &= n.is_integer && !__builtin_add_overflow(exact, n.integer, &exact);
    }
    return is_exact ? make_integer(run, exact) : make_exact(run, sum);
}

static const struct vg_json *call_to_array(ARGS)
{
    struct vg_json *list, **tail;

    (void)count;
    if (args[0].value->type == VG_JSON_ARRAY)
        return args[0].value;
    list = make_value(run, VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    if (list)
        append(run, list, &tail, args[0].value, no_name);
    return run->status == VG_OK ? list : NULL;
}

/* [+-]digits[.digits][e[+-]digits] */
static bool is_decimal(struct vg_slice text, bool *ret_is_integer)
{
    size_t i = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+'), digits = 0;

    *ret_is_integer = true;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
        digits++;
    if (i < text.len && text.ptr[i] == '.') {
        *ret_is_integer = false;
        for (i++; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
            digits++;
    }
    if (digits > 0 && i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
        *ret_is_integer = false;
        i++;
        i += i < text.len && (text.ptr[i] == '-' || text.ptr[i] == '+');
        for (digits = 0; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
            digits++;
    }
    return digits > 0 && i == text.len;
}

static const struct vg_json *call_to_number(ARGS)
{
    const struct vg_json *value = args[0].value;
    struct vg_slice text;
    char copy[128];
    bool is_integer;
    int64_t integer;

    (void)count;
    if (value->type == VG_JSON_NUMBER)
        return value;
    if (value->type != VG_JSON_STRING)
        return &null_value;
    text = vg_slice_trim(value->text);
    if (!is_decimal(text, &is_integer) || !vg_slice_to_cstr(text, copy, sizeof(copy)))
        return &null_value;
    if (is_integer && vg_slice_to_i64(text.ptr[0] == '+' ? vg_slice_from(text, 1) : text, &integer))
        return make_integer(run, integer);
    return make_real(run, strtod(copy, NULL));
}

static void write_json(struct run *run, struct vg_json_writer *w, const struct vg_json *value)
{
    struct vg_slice text;

    if (w->depth >= RESULT_DEPTH_MAX) {
        (void)stop(run, "jmespath.range", "to_string of something that is nested too deep");
        return;
    }
    if (!pay(run, 1))
        return;
    switch (value->type) {
    case VG_JSON_NULL:
        vg_json_put_null(w);
        break;
    case VG_JSON_FALSE:
    case VG_JSON_TRUE:
        vg_json_put_bool(w, value->type == VG_JSON_TRUE);
        break;
    case VG_JSON_NUMBER: {
        struct value_number number = number_of(value);

        if (!number.is_integer && !number.is_big) {
            const struct vg_json *real = make_real(run, number.real);

            text = real ? real->text : VG_SLICE("0");
        } else {
            text = value->text;
        }
        vg_json_put_raw(w, text);
        break;
    }
    case VG_JSON_STRING:
        vg_json_put_string(w, value->text);
        break;
    case VG_JSON_ARRAY:
        vg_json_open_array(w);
        for (const struct vg_json *i = value->child; i && run->status == VG_OK; i = i->next)
            write_json(run, w, i);
        vg_json_close_array(w);
        break;
    case VG_JSON_OBJECT:
        vg_json_open_object(w);
        for (const struct vg_json *i = value->child; i && run->status == VG_OK; i = i->next) {
            vg_json_name_slice(w, i->name);
            write_json(run, w, i);
        }
        vg_json_close_object(w);
        break;
    }
}

static const struct vg_json *call_to_string(ARGS)
{
    struct vg_json_writer w;
    struct vg_buf buf;
    struct vg_slice text;

    (void)count;
    if (args[0].value->type == VG_JSON_STRING)
        return args[0].value;
    vg_buf_init(&buf, 1u << 20);
    vg_json_writer_init(&w, &buf);
    write_json(run, &w, args[0].value);
    text = vg_buf_ok(&buf) ? vg_arena_dup(run->arena, vg_buf_slice(&buf)) : no_name;
    vg_buf_fini(&buf);
    if (!text.ptr)
        return stop(run, "connector.memory", "message needs too much memory");
    return run->status == VG_OK ? make_text(run, text) : NULL;
}

static const struct vg_json *call_type(ARGS)
{
    static const char *const names[] = {
        [VG_JSON_NULL] = "null",     [VG_JSON_FALSE] = "boolean", [VG_JSON_TRUE] = "boolean",
        [VG_JSON_NUMBER] = "number", [VG_JSON_STRING] = "string", [VG_JSON_ARRAY] = "array",
        [VG_JSON_OBJECT] = "object"};

    (void)count;
    return make_text(run, vg_slice_of(names[args[0].value->type]));
}

/* ---- what the reference engine adds ---- */

/* Both integers: the 64-bit result. What does not fit is an error; the reference wraps around. */
static const struct vg_json *integer_result(struct run *run, bool has_overflow, int64_t result)
{
    return has_overflow && !run->is_medtech ? out_of_range(run) : make_integer(run, result);
}

/* What is no finite number was never measured. The reference makes Infinity and NaN of it. */
static const struct vg_json *real_result(struct run *run, double result)
{
    return isfinite(result) || run->is_medtech
               ? make_real(run, result)
               : stop(run, "jmespath.range", "a result that is no finite number");
}

static const struct vg_json *call_add(ARGS)
{
    struct value_number a = number_of(args[0].value), b = number_of(args[1].value);
    int64_t result;
    bool has_overflow;

    (void)count;
    if (!a.is_integer || !b.is_integer)
        return real_result(run, a.real + b.real);
    has_overflow = __builtin_add_overflow(a.integer, b.integer, &result);
    return integer_result(run, has_overflow, result);
}

static const struct vg_json *call_subtract(ARGS)
{
    struct value_number a = number_of(args[0].value), b = number_of(args[1].value);
    int64_t result;
    bool has_overflow;

    (void)count;
    if (!a.is_integer || !b.is_integer)
        return real_result(run, a.real - b.real);
    has_overflow = __builtin_sub_overflow(a.integer, b.integer, &result);
    return integer_result(run, has_overflow, result);
}

static const struct vg_json *call_multiply(ARGS)
{
    struct value_number a = number_of(args[0].value), b = number_of(args[1].value);
    int64_t result;
    bool has_overflow;

    (void)count;
    if (!a.is_integer || !b.is_integer)
        return real_result(run, a.real * b.real);
    has_overflow = __builtin_mul_overflow(a.integer, b.integer, &result);
    return integer_result(run, has_overflow, result);
}

static const struct vg_json *call_divide(ARGS)
{
    struct value_number a = number_of(args[0].value), b = number_of(args[1].value);
    bool is_zero = b.real >= 0 && b.real <= 0;

    (void)count;
    if (a.is_integer && b.is_integer) {
        if (is_zero)
            return stop(run, "jmespath.range", "a division by zero");
        if (a.integer == INT64_MIN && b.integer == -1)
            return out_of_range(run);
        if (run->is_medtech || a.integer % b.integer == 0)
            return make_integer(run, a.integer / b.integer);
    } else if (is_zero && !run->is_medtech) {
        return stop(run, "jmespath.range", "a division by zero");
    }
    return real_result(run, a.real / b.real);
}

static const struct vg_json *call_pow(ARGS)
{
    struct value_number a = number_of(args[0].value), b = number_of(args[1].value);
    double result = pow(a.real, b.real);

    (void)count;
    if (!a.is_integer || !b.is_integer || (!run->is_medtech && b.integer < 0))
        return real_result(run, result);
    result = rint(result); /* to even from the middle: nobody changes the rounding mode */
    if (!(result >= -9223372036854775808.0 && result < 9223372036854775808.0))
        return out_of_range(run);
    return make_integer(run, (int64_t)result);
}

static const struct vg_json *call_insert_string(ARGS)
{
    struct vg_slice text = args[0].value->text, add = args[1].value->text;
    int64_t left = number_of(args[2].value).integer;
    size_t at = 0;
    char *out;

    (void)count;
    while (left > 0 && at < text.len) { /* beyond U+FFFF a character is two units */
        size_t len = char_len(text, at);

        left -= len == 4 ? 2 : 1;
        at += len;
    }
    if (left != 0)
        return stop(run, "jmespath.range",
                    "insertString at a position that the text does not have");
    out = vg_arena_alloc(run->arena, text.len + add.len + 1);
    if (!out)
        return stop(run, "connector.memory", "no memory for a text");
    if (at > 0)
        memcpy(out, text.ptr, at);
    if (add.len > 0)
        memcpy(out + at, add.ptr, add.len);
    if (at < text.len)
        memcpy(out + at + add.len, text.ptr + at, text.len - at);
    return make_text(run, (struct vg_slice){out, text.len + add.len});
}

static const struct vg_json *make_date(struct run *run, int64_t number, int64_t unit_us)
{
    int64_t first = -62135596800 * (VG_SECOND_US / unit_us);
    int64_t last = 253402300800 * (VG_SECOND_US / unit_us);
    struct vg_json *value;
    char text[40];
    size_t len;

    if (number < first || number >= last)
        return stop(run, "jmespath.range", "a time outside the years 1 to 9999");
    len = value_time_text(number * unit_us, text);
    value = make_value(run, VG_JSON_STRING);
    if (!value)
        return NULL;
    value->text = vg_arena_dup(run->arena, (struct vg_slice){text, len});
    value->source = value->text; /* what value_is_date() goes by */
    return value->text.ptr ? value : stop(run, "connector.memory", "no memory for a time");
}

static const struct vg_json *call_from_unix(ARGS)
{
    (void)count;
    return make_date(run, number_of(args[0].value).integer, VG_SECOND_US);
}

static const struct vg_json *call_from_unix_ms(ARGS)
{
    (void)count;
    return make_date(run, number_of(args[0].value).integer, VG_SECOND_US / 1000);
}

static const struct function functions[] = {
    {"abs", 1, 1, {IS_NUMBER}, call_abs},
    {"add", 2, 2, {IS_NUMBER, IS_NUMBER}, call_add},
    {"avg", 1, 1, {IS_NUMBERS}, call_avg},
    {"ceil", 1, 1, {IS_NUMBER}, call_ceil},
    {"contains", 2, 2, {IS_ARRAY | IS_TEXT, IS_ANY}, call_contains},
    {"divide", 2, 2, {IS_NUMBER, IS_NUMBER}, call_divide},
    {"ends_with", 2, 2, {IS_TEXT, IS_TEXT}, call_ends_with},
    {"floor", 1, 1, {IS_NUMBER}, call_floor},
    {"fromUnixTimestamp", 1, 1, {IS_INTEGER}, call_from_unix},
    {"fromUnixTimestampMs", 1, 1, {IS_INTEGER}, call_from_unix_ms},
    {"insertString", 3, 3, {IS_TEXT, IS_TEXT, IS_INTEGER}, call_insert_string},
    {"join", 2, 2, {IS_TEXT, IS_TEXTS}, call_join},
    {"keys", 1, 1, {IS_OBJECT}, call_keys},
    {"length", 1, 1, {IS_TEXT | IS_ARRAY | IS_OBJECT}, call_length},
    {"map", 2, 2, {IS_EXPREF, IS_ARRAY}, call_map},
    {"max", 1, 1, {IS_NUMBERS | IS_TEXTS}, call_max},
    {"max_by", 2, 2, {IS_ARRAY, IS_EXPREF}, call_max_by},
    {"merge", 1, ARGUMENTS_MAX, {IS_OBJECT}, call_merge},
    {"min", 1, 1, {IS_NUMBERS | IS_TEXTS}, call_min},
    {"min_by", 2, 2, {IS_ARRAY, IS_EXPREF}, call_min_by},
    {"multiply", 2, 2, {IS_NUMBER, IS_NUMBER}, call_multiply},
    {"not_null", 1, ARGUMENTS_MAX, {IS_ANY}, call_not_null},
    {"pow", 2, 2, {IS_NUMBER, IS_NUMBER}, call_pow},
    {"reverse", 1, 1, {IS_TEXT | IS_ARRAY}, call_reverse},
    {"sort", 1, 1, {IS_NUMBERS | IS_TEXTS}, call_sort},
    {"sort_by", 2, 2, {IS_ARRAY, IS_EXPREF}, call_sort_by},
    {"starts_with", 2, 2, {IS_TEXT, IS_TEXT}, call_starts_with},
    {"subtract", 2, 2, {IS_NUMBER, IS_NUMBER}, call_subtract},
    {"sum", 1, 1, {IS_NUMBERS}, call_sum},
    {"to_array", 1, 1, {IS_ANY}, call_to_array},
    {"to_number", 1, 1, {IS_ANY}, call_to_number},
    {"to_string", 1, 1, {IS_ANY}, call_to_string},
    {"type", 1, 1, {IS_ANY}, call_type},
    {"values", 1, 1, {IS_OBJECT}, call_values},
};

const struct function *jmespath_find_function(struct vg_slice name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (vg_slice_is(name, functions[i].name))
            return &functions[i];
    return NULL;
}
