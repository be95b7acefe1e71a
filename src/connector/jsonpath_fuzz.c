/* Any text as a JSONPath, over any text as JSON (split at the first line feed): no crash, no step
 * beyond the budget, an error always with its code; and a path selects the same twice. */
#include "connector/jsonpath.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t hash;
    size_t count;
};

static bool note(void *ctx, const struct vg_json *token)
{
    struct seen *seen = ctx;

    seen->hash = seen->hash * 31 + (uintptr_t)token;
    return ++seen->count < 10000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] =
        "{\"Body\":{\"hr\":72,\"t\":\"abc\",\"l\":[1,2.5,null,{\"hr\":\"9\"}]},"
        "\"Properties\":{\"a\":\"x\"}}";
    const struct vg_json_options lenient = {.is_lenient = true};
    struct vg_slice json = {(const char *)data, size}, path;
    const struct jsonpath *compiled;
    struct vg_arena arena;
    struct vg_json *root;
    struct vg_err err = {0};

    path = vg_slice_cut(&json, '\n');
    if (!json.ptr || json.len == 0)
        json = vg_slice_of(usual);
    vg_arena_init(&arena, 8u << 20);
    if (vg_json_parse(&arena, json, &lenient, &root, NULL, NULL) == VG_OK) {
        if (jsonpath_compile(&arena, path, false, &compiled, &err) != VG_OK) {
            if (!err.code)
                abort();
        } else {
            struct seen a = {0, 0}, b = {0, 0};
            uint64_t steps_a = 50000, steps_b = 50000;
            enum vg_status first = jsonpath_each(compiled, root, NULL, &steps_a, note, &a, &err);

            if (first != VG_OK && !err.code)
                abort();
            if (jsonpath_each(compiled, root, NULL, &steps_b, note, &b, NULL) != first ||
                a.hash != b.hash || steps_a != steps_b)
                abort();
        }
    }
    vg_arena_fini(&arena);
    return 0;
}
