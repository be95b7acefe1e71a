/* Any bytes as any of the forms: no crash, and what is accepted is one JSON object of bounded size.
 * The first byte chooses form, zone and characteristic. */
#include "connector/decode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const forms[] = {DECODE_HL7, DECODE_GATT, DECODE_GATT_JSON, DECODE_GATT};
    static const char *const characteristics[] = {"2a37", "2a35", "2a1c", "2a5e",
                                                  "2a5f", "2a18", "2aa7", "2a19"};
    static const char *const zones[] = {"", "+05:30"};
    struct decode_input input = {.time_us = 1772366700000000, .received_us = 1772366700000000};
    struct decode_config config = {0};
    struct decoded decoded = {0};
    struct vg_err err = {0};
    struct vg_arena arena;
    enum vg_status st;

    if (size == 0)
        return 0;
    input.content_type = vg_slice_of(forms[data[0] & 3]);
    input.characteristic = vg_slice_of(characteristics[data[0] >> 2 & 7]);
    input.session_start = data[0] & 64 ? VG_SLICE("2026-03-01T00:00:00Z") : (struct vg_slice){0};
    if (!zone_parse(vg_slice_of(zones[data[0] >> 5 & 1]), &config.zone))
        abort();
    input.payload = (struct vg_slice){(const char *)data + 1, size - 1};
    vg_arena_init(&arena, 256u << 20);
    st = decode_body(&config, &input, &arena, &decoded, &err);
    if (st == VG_OK && (!decoded.body || decoded.body->type != VG_JSON_OBJECT ||
                        decoded.body->source.len > 16u << 20))
        abort();
    if (st != VG_OK && (st != VG_REJECT || !err.code))
        abort();
    vg_arena_fini(&arena);
    return 0;
}
