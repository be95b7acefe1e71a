/* Any text as a JMESPath, over any text as JSON (split at the first line feed): no crash, no step
 * beyond the budget, an error always with its code, and the same result twice. */
#include "connector/jmespath.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] =
        "{\"Body\":{\"hr\":72,\"t\":\"abc\",\"d\":\"2026-03-14T10:00:00Z\",\"l\":[3,1,2.5],"
        "\"r\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\"}]},\"Properties\":{\"a\":\"x\"}}";
    const struct vg_json_options lenient = {.is_lenient = true};
    struct vg_slice json = {(const char *)data, size}, text;
    const struct jmespath *compiled;
    struct vg_arena arena;
    struct vg_json *root;
    struct vg_err err = {0};

    text = vg_slice_cut(&json, '\n');
    if (!json.ptr || json.len == 0)
        json = vg_slice_of(usual);
    vg_arena_init(&arena, 8u << 20);
    if (vg_json_parse(&arena, json, &lenient, &root, NULL, NULL) == VG_OK) {
        if (jmespath_compile(&arena, text, size % 2, &compiled, &err) != VG_OK) {
            if (!err.code)
                abort();
        } else {
            const struct vg_json *first = NULL, *second = NULL;
            uint64_t steps = 20000, again = 20000;
            bool is_projection;
            enum vg_status st =
                jmespath_run(compiled, root, &arena, &steps, &first, &is_projection, &err);

            if (st == VG_OK ? !first : !err.code)
                abort();
            if (jmespath_run(compiled, root, &arena, &again, &second, &is_projection, &err) ==
                    VG_OK &&
                (st != VG_OK || first->type != second->type || first->count != second->count ||
                 steps != again))
                abort();
        }
    }
    vg_arena_fini(&arena);
    return 0;
}
