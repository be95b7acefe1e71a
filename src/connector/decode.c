/* decode.c -- chooses the decoder by content type. */
#include "connector/decode.h"

#include "connector/device_mapping.h"

#define BODY_BYTES_MAX (16u << 20)
#define VALUES_MAX 200000u

enum form { FORM_NONE, FORM_HL7, FORM_GATT, FORM_GATT_JSON };

static enum form form_of(struct vg_slice content_type)
{
    static const struct {
        const char *name;
        enum form form;
    } forms[] = {{DECODE_HL7, FORM_HL7},
                 {"x-" DECODE_HL7, FORM_HL7},
                 {DECODE_GATT, FORM_GATT},
                 {DECODE_GATT_JSON, FORM_GATT_JSON}};
    struct vg_slice name = vg_slice_trim(vg_slice_cut(&content_type, ';'));

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (vg_slice_eq_nocase(name, vg_slice_of(forms[i].name)))
            return forms[i].form;
    return FORM_NONE;
}

bool decode_is_needed(struct vg_slice content_type)
{
    return form_of(content_type) != FORM_NONE;
}

/* Ours, so it is right; but it may be large. */
static enum vg_status parse(struct vg_arena *arena, const struct vg_buf *out,
                            struct vg_json **ret_body, struct vg_err *err)
{
    const struct vg_json_options options = {.is_lenient = true, .values_max = VALUES_MAX};
    struct vg_slice text =
        vg_buf_ok(out) ? vg_arena_dup(arena, vg_buf_slice(out)) : (struct vg_slice){0};

    if (!text.ptr || vg_json_parse(arena, text, &options, ret_body, NULL, NULL) != VG_OK)
        return vg_fail(err, VG_REJECT, "connector.memory", 0,
                       "the message needs too much memory when decoded");
    return VG_OK;
}

enum vg_status decode_body(const struct decode_config *config, const struct decode_input *input,
                           struct vg_arena *arena, struct decoded *ret_decoded, struct vg_err *err)
{
    struct decoded decoded = {0};
    enum vg_status st = VG_OK;
    struct vg_buf out;

    vg_buf_init(&out, BODY_BYTES_MAX);
    switch (form_of(input->content_type)) {
    case FORM_NONE:
        break;
    case FORM_HL7:
        st = hl7_body(config, input, &out, &decoded, err);
        break;
    case FORM_GATT:
        st = gatt_body(config, input, &out, &decoded, err);
        break;
    case FORM_GATT_JSON:
        st = gatt_json_body(config, input, arena, &out, &decoded, err);
        break;
    }
    if (st == VG_OK && out.len)
        st = parse(arena, &out, &decoded.body, err);
    vg_buf_fini(&out);
    if (st == VG_OK)
        *ret_decoded = decoded;
    return st;
}

enum vg_status decode_record(const struct decode_config *config, const struct stream_record *record,
                             struct vg_arena *arena, struct decoded *ret_decoded,
                             struct vg_err *err)
{
    static const char *const times[] = {"edge-time", "ctime"};
    struct decode_input input = {.content_type = stream_header_get(record->headers, "ct"),
                                 .time_us = record->time_us,
                                 .received_us = record->time_us,
                                 .payload = record->value};
    bool has_zone = false;
    int64_t time_us;

    if (!input.content_type.ptr)
        input.content_type = stream_header_get(record->headers, "p.$.ct");
    if (!decode_is_needed(input.content_type)) {
        *ret_decoded = (struct decoded){0};
        return VG_OK;
    }
    input.characteristic = stream_header_get(record->headers, "p.characteristic");
    input.zone = stream_header_get(record->headers, "p.zone");
    input.session_start = stream_header_get(record->headers, "p.session-start");
    for (size_t i = 0; i < 2; i++)
        if (vg_time_parse(stream_header_get(record->headers, times[i]), &time_us, &has_zone) &&
            has_zone)
            input.time_us = time_us;
    return decode_body(config, &input, arena, ret_decoded, err);
}

void decode_put_body(const struct decoded *decoded, struct device_envelope *envelope)
{
    struct vg_json *body = decoded->body, *empty = envelope->root.child;

    body->name = empty->name;
    body->next = empty->next;
    body->parent = empty->parent;
    envelope->root.child = body;
}
