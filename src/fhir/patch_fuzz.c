/* patch_fuzz.c -- a document, a zero byte, a patch: what comes out is JSON of the same resource, an
 * empty patch changes no byte, and a refusal has a reason. */
#include "fhir/patch_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vg_arena arena;
    static bool is_ready;
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    struct vg_slice doc = {(const char *)data, zero ? (size_t)(zero - data) : size};
    struct vg_slice patch =
        zero ? (struct vg_slice){(const char *)zero + 1, size - doc.len - 1} : VG_SLICE("[]");
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_json *before = NULL, *after = NULL;
    struct vg_slice text = {0};

    if (!is_ready)
        vg_arena_init(&arena, (size_t)64 << 20);
    is_ready = true;
    vg_arena_reset(&arena);
    if (fhir_patch(&arena, doc, patch, &text, &issue, &err) != VG_OK) {
        if (!err.code || err.text[0] == '\0')
            abort();
        return 0;
    }
    if (vg_json_parse(&arena, doc, NULL, &before, NULL, NULL) != VG_OK)
        return 0; /* larger than a plain parse may be */
    if (vg_json_parse(&arena, text, NULL, &after, NULL, &err) != VG_OK &&
        strcmp(err.code, "json.size") != 0 && strcmp(err.code, "json.memory") != 0 &&
        strcmp(err.code, "json.depth") != 0)
        abort();
    if (after && (!vg_slice_eq(vg_json_get_text(before, "id"), vg_json_get_text(after, "id")) ||
                  !vg_slice_eq(vg_json_get_text(before, "resourceType"),
                               vg_json_get_text(after, "resourceType"))))
        abort();
    if (vg_slice_is(patch, "[]") && !vg_slice_eq(text, before->source))
        abort();
    return 0;
}
