/* jmespath_order.c -- sort, sort_by, min, max, min_by and max_by of JMESPath. */
#include "connector/jmespath_run_int.h"


struct keyed {
    const struct vg_json *value;
    const struct vg_json *key;
    struct value_number number;
};

static int order_keys(const struct keyed *a, const struct keyed *b)
{
    if (a->key->type == VG_JSON_STRING)
        return vg_slice_cmp(a->key->text, b->key->text);
    return jmes_order_numbers(&a->number, &b->number);
}

/* The array's elements with what they are ordered by: themselves, or `by` over each. */
static struct keyed *key_all(struct run *run, const struct vg_json *array, const struct node *by,
                             size_t *ret_count)
{
    struct keyed *items = vg_arena_alloc(run->arena, sizeof(*items) * (array->count + 1u));
    size_t n = 0;

    if (!items) {
        (void)jmes_stop(run, "connector.memory", "message needs too much memory");
        return NULL;
    }
    for (const struct vg_json *i = array->child; i; i = i->next, n++) {
        items[n].value = i;
        items[n].key = by ? jmes_evaluate(run, by, i) : i;
        if (!items[n].key || !jmes_pay(run, 1))
            return NULL;
        items[n].number = jmes_number_of(items[n].key);
        if ((items[n].key->type != VG_JSON_NUMBER && items[n].key->type != VG_JSON_STRING) ||
            items[n].key->type != items[0].key->type) {
            (void)jmes_stop(run, "jmespath.type",
                            "elements are ordered by something that is not numbers alone or texts "
                            "alone in this message");
            return NULL;
        }
        if (run->is_medtech && !by && items[n].number.is_integer &&
            (items[n].number.integer > INT32_MAX || items[n].number.integer < INT32_MIN)) {
            (void)jmes_out_of_range(run);
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
    struct vg_json *list = jmes_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    if (!other || !list)
        return jmes_stop(run, "connector.memory", "message needs too much memory");
    for (size_t width = 1; width < count; width *= 2) {
        struct keyed *swap = items;

        if (!jmes_pay(run, count))
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
        jmes_append(run, list, &tail, items[i].value, JMES_NO_NAME);
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
    return count > 0 ? items[best].value : &jmes_null;
}

const struct vg_json *jmes_call_sort(JMES_ARGS)
{
    (void)count;
    return sort_array(run, args[0].value, NULL);
}

const struct vg_json *jmes_call_sort_by(JMES_ARGS)
{
    (void)count;
    return sort_array(run, args[0].value, args[1].expression);
}

const struct vg_json *jmes_call_max(JMES_ARGS)
{
    (void)count;
    return extreme(run, args[0].value, NULL, 1);
}

const struct vg_json *jmes_call_min(JMES_ARGS)
{
    (void)count;
    return extreme(run, args[0].value, NULL, -1);
}

const struct vg_json *jmes_call_max_by(JMES_ARGS)
{
    (void)count;
    return extreme(run, args[0].value, args[1].expression, 1);
}

const struct vg_json *jmes_call_min_by(JMES_ARGS)
{
    (void)count;
    return extreme(run, args[0].value, args[1].expression, -1);
}
