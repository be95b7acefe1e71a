/* enriched_fuzz.c -- whatever a record holds, what is taken from it is a number, and bounded. */
#include "score/enriched.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_arena arena;
    struct enriched record;
    struct vg_err err = {0};
    enum vg_status st;

    vg_arena_init(&arena, 1 << 20);
    st = enriched_read(&arena, (struct vg_slice){(const char *)data, size}, 0, &record, &err);
    if (st == VG_OK) {
        if (record.patient_id.len == 0 || record.count > ENRICHED_VALUES_MAX)
            abort();
        for (size_t i = 0; i < record.count; i++) {
            const struct enriched_value *value = &record.values[i];

            /* Whether a body can have it is the gate's to say; a number it must be. */
            if (value->vital < SCORE_VITAL_COUNT && !isfinite(value->value))
                abort();
        }
    } else if (!err.code) {
        abort();
    }
    vg_arena_fini(&arena);
    return 0;
}
