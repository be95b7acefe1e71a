/* Any text as a device mapping; if it loads, it is applied to what follows the first 0x1E byte.
 * Loading tells an error with its place or gives a mapping; applying tells a reason or gives
 * measurements. */
#include "connector/device_mapping.h"
#include "connector/fhir_mapping.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_slice body = {(const char *)data, size}, text = vg_slice_cut(&body, 0x1e);
    const struct device_property system[] = {
        {VG_SLICE("iothub-connection-device-id"), VG_SLICE("bed-4")},
        {VG_SLICE("iothub-enqueuedtime"), VG_SLICE("2026-03-14T10:00:00Z")}};
    struct measurement *first = NULL, **tail = &first;
    const struct device_mapping *mapping = NULL;
    const struct fhir_mapping *fhir = NULL;
    struct device_envelope envelope;
    struct vg_arena arena;
    struct vg_buf out;
    struct vg_err err = {0};

    vg_arena_init(&arena, 16u << 20);
    vg_buf_init(&out, 1u << 20);
    struct mapping_errors errors = {.arena = &arena, .source = text, .is_medtech = size % 2};
    struct mapping_errors fhir_errors = {.arena = &arena, .source = text, .is_medtech = size % 2};

    if (fhir_mapping_load(&fhir_errors, &fhir, &err) != VG_OK && !err.code)
        abort();
    err = (struct vg_err){0};
    if (device_mapping_load(&errors, &mapping, &err) != VG_OK) {
        if (!err.code || errors.count == 0)
            abort();
    } else if (device_envelope_build(mapping, &arena, body, NULL, 0, system, 2, &envelope, &err) ==
               VG_OK) {
        err = (struct vg_err){0};
        if (device_mapping_apply(mapping, &envelope.root, &arena, &tail, NULL, &err) == VG_REJECT &&
            !err.code)
            abort();
        for (struct measurement *m = first; m; m = m->next)
            measurement_write(&out, m);
    }
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return 0;
}
