/* mapping_form.c -- decodes as the connector does. */
#include "app/mapping_form.h"

#include "base/json.h"
#include "connector/decode.h"

enum vg_status mapping_form_read(const struct mapping_form *form, struct vg_slice file,
                                 struct vg_arena *arena, struct vg_slice *ret_envelope,
                                 struct vg_err *partial, struct vg_err *err)
{
    struct decode_config config = {.processing = form->processing};
    const int64_t now_us = vg_now_us();
    const struct decode_input input = {.content_type = vg_slice_of(form->content_type),
                                       .characteristic = vg_slice_of(form->characteristic),
                                       .time_us = now_us,
                                       .received_us = now_us,
                                       .payload = file};
    struct decoded decoded;
    struct vg_json_writer w;
    struct vg_buf out;
    enum vg_status st;

    if (!decode_is_needed(input.content_type))
        return vg_fail(err, VG_REJECT, "mapping.content_type", 0,
                       "--content-type: expected " DECODE_HL7 ", " DECODE_GATT
                       " or " DECODE_GATT_JSON);
    if (!zone_parse(vg_slice_of(form->zone), &config.zone))
        return vg_fail(err, VG_REJECT, "mapping.zone", 0,
                       "--zone: expected +hh:mm, -hh:mm, Z, local or nothing");
    st = decode_body(&config, &input, arena, &decoded, err);
    if (st != VG_OK)
        return st;
    *partial = decoded.partial;
    vg_buf_init(&out, 0);
    vg_json_writer_init(&w, &out);
    vg_json_open_object(&w);
    vg_json_member_raw(&w, "Body", decoded.body->source);
    vg_json_name(&w, "Properties");
    vg_json_open_object(&w);
    if (form->characteristic)
        vg_json_member_string(&w, "characteristic", input.characteristic);
    vg_json_close_object(&w);
    vg_json_name(&w, "SystemProperties");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "iothub-connection-device-id", vg_slice_of(form->device_id));
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    *ret_envelope =
        vg_buf_ok(&out) ? vg_arena_dup(arena, vg_buf_slice(&out)) : (struct vg_slice){0};
    vg_buf_fini(&out);
    return ret_envelope->ptr ? VG_OK
                             : vg_fail(err, VG_REJECT, "app.memory", 0, "the message is too large");
}
