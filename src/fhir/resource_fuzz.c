/* resource_fuzz.c -- whatever a draft accepts, its stored text is JSON, has our id and version, and
 * put back once more is the same content and the same text. */
#include "fhir/fhir_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vg_arena arena;
    static bool is_ready;
    struct fhir_draft first, second;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_json *root = NULL;
    struct fhir_problems problems = {0};
    struct vg_slice text, again, body = {(const char *)data, size};
    unsigned type;

    if (!is_ready)
        vg_arena_init(&arena, 0);
    is_ready = true;
    vg_arena_reset(&arena);
    if (vg_json_parse(&arena, body, NULL, &root, NULL, NULL) != VG_OK)
        return 0;
    type = fhir_type_find(vg_json_get_text(root, "resourceType"));
    if (!type)
        return 0;
    /* All findings and the first one agree on whether there is any. */
    if (fhir_validate(&arena, type, root, (struct vg_slice){0}, &problems, NULL) == VG_OK) {
        bool is_fine = true;

        for (size_t i = 0; i < problems.count; i++)
            is_fine &= problems.items[i].http_status == 0;
        if (is_fine != (fhir_check(&arena, type, root, &issue, &err) == VG_OK) &&
            !vg_json_get(vg_json_get(root, "meta"), "profile"))
            abort();
    }
    if (fhir_draft_make(&arena, type, VG_SLICE("new-id"), body, VG_SLICE("https://x/fhir"), &first,
                        &issue, &err) != VG_OK) {
        if (!err.code || (err.text[0] == '\0'))
            abort(); /* a refusal without a reason */
        return 0;
    }
    text = fhir_draft_text(&arena, &first, 7, 1000000);
    if (!text.ptr || vg_json_parse(&arena, text, NULL, &root, NULL, NULL) != VG_OK)
        abort();
    if (!vg_slice_is(vg_json_get_text(root, "id"), "new-id") ||
        !vg_slice_is(vg_json_get_text(vg_json_get(root, "meta"), "versionId"), "7"))
        abort();
    if (!fhir_is_same(first.root, root))
        abort();
    if (fhir_draft_make(&arena, type, VG_SLICE("new-id"), text, VG_SLICE("https://x/fhir"), &second,
                        &issue, &err) != VG_OK)
        abort();
    again = fhir_draft_text(&arena, &second, 7, 1000000);
    if (!vg_slice_eq(text, again))
        abort();
    if (first.index.count != second.index.count ||
        first.index.code_count != second.index.code_count)
        abort();
    return 0;
}
