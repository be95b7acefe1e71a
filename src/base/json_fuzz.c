/* json_fuzz.c -- whatever parses: every value's source span parses again to the same value; what
 * strict takes, lenient takes and reads the same; and what the writer makes of a string comes back.
 */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool is_true)
{
    if (!is_true)
        abort();
}

static bool is_same(const struct vg_json *a, const struct vg_json *b)
{
    if (a->type != b->type || a->count != b->count || !vg_slice_eq(a->text, b->text) ||
        !vg_slice_eq(a->source, b->source))
        return false;
    const struct vg_json *x = a->child, *y = b->child;
    uint32_t count = 0;

    for (; x && y; x = x->next, y = y->next, count++) {
        if (!vg_slice_eq(x->name, y->name) || x->parent != a || y->parent != b || !is_same(x, y))
            return false;
    }
    return !x && !y && count == a->count;
}

static void check_spans(struct vg_arena *arena, const struct vg_json *value,
                        const struct vg_json_options *options, int *budget)
{
    for (; value && (*budget)-- > 0; value = value->next) {
        struct vg_json *again = NULL;
        double number;
        int64_t integer;

        insist(vg_json_parse(arena, value->source, options, &again, NULL, NULL) == VG_OK);
        insist(is_same(value, again));
        insist(vg_slice_is_utf8(value->text) && vg_slice_is_utf8(value->name));
        (void)vg_json_to_double(value, &number);
        (void)vg_json_to_i64(value, &integer);
        check_spans(arena, value->child, options, budget);
    }
}

static void check_escape(struct vg_arena *arena, struct vg_slice text)
{
    struct vg_json *root = NULL;
    struct vg_buf out;

    vg_buf_init(&out, 0);
    vg_json_escape(&out, text);
    insist(vg_json_parse(arena, vg_buf_slice(&out), NULL, &root, NULL, NULL) == VG_OK);
    insist(!vg_slice_is_utf8(text) || vg_slice_eq(root->text, text));
    vg_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    const struct vg_slice text = {(const char *)data, size};
    struct vg_json *strict_root = NULL, *lenient_root = NULL;
    struct vg_json_place place = {0};
    struct vg_err err = {0};
    struct vg_arena arena;
    int budget = 200;

    vg_arena_init(&arena, 0);
    bool is_strict = vg_json_parse(&arena, text, NULL, &strict_root, &place, &err) == VG_OK;

    insist(is_strict || (err.code && place.line > 0 && place.column > 0));
    bool is_lenient = vg_json_parse(&arena, text, &lenient, &lenient_root, NULL, &err) == VG_OK;

    insist(!is_strict || (is_lenient && is_same(strict_root, lenient_root)));
    if (is_strict)
        check_spans(&arena, strict_root, NULL, &budget);
    else if (is_lenient)
        check_spans(&arena, lenient_root, &lenient, &budget);
    check_escape(&arena, text);
    vg_arena_fini(&arena);
    return 0;
}
