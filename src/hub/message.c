/* message.c -- from Azure IoT Hub's topic and property bag to our headers.
 *
 * devices/{id}/messages/events/{bag}: the bag is url-encoded name=value pairs joined with '&'.
 * $.mid and $.ctime have headers of their own; everything else, also Azure's other $. names,
 * becomes p.NAME, so nothing that a device said is lost. A gateway that brings another device's
 * message says with $.edge-time when it had received it, and with $.edge-dup that the device may
 * have sent it before; from anyone else these names are properties like any other.
 */
#include "hub/hub_int.h"

bool message_topic(struct vg_slice topic, struct vg_slice *ret_device, struct vg_slice *ret_bag)
{
    struct vg_slice rest = topic;
    struct vg_slice device;

    if (!vg_slice_is(vg_slice_cut(&rest, '/'), "devices"))
        return false;
    device = vg_slice_cut(&rest, '/');
    if (!vg_slice_is(vg_slice_cut(&rest, '/'), "messages") ||
        !vg_slice_is(vg_slice_cut(&rest, '/'), "events") || !registry_id_is_valid(device))
        return false;
    *ret_device = device;
    *ret_bag = rest.ptr ? rest : (struct vg_slice){"", 0};
    return true;
}

bool message_is_allowed(const struct directory *directory, struct vg_slice who, bool is_gateway,
                        struct vg_slice device)
{
    const struct registry_device *other;

    if (vg_slice_eq(who, device))
        return true;
    other = is_gateway ? directory_get(directory, device) : NULL;
    return other && other->is_enabled && vg_slice_is(who, other->through);
}

bool message_put_property(struct vg_buf *headers, struct vg_slice name, struct vg_slice value,
                          bool is_from_gateway)
{
    char prefixed[256] = "p.";

    if (vg_slice_is(name, "$.mid")) {
        stream_header_put(headers, "mid", value);
    } else if (vg_slice_is(name, "$.ctime")) {
        stream_header_put(headers, "ctime", value);
    } else if (is_from_gateway && vg_slice_is(name, "$.edge-time")) {
        stream_header_put(headers, "edge-time", value);
    } else if (is_from_gateway && vg_slice_is(name, "$.edge-dup")) {
        stream_header_put(headers, "edge-dup", value);
    } else {
        if (name.len == 0 || name.len > 250)
            return false;
        memcpy(prefixed + 2, name.ptr, name.len);
        stream_header_put_slice(headers, (struct vg_slice){prefixed, name.len + 2}, value);
    }
    return true;
}

bool message_parse_bag(struct vg_buf *headers, struct vg_slice bag, bool is_from_gateway,
                       struct vg_arena *arena)
{
    size_t count = 0;

    if (bag.len > 0 && bag.ptr[0] == '?') /* Azure's SDKs write it so at times */
        bag = vg_slice_from(bag, 1);
    if (bag.len > 0 && bag.ptr[bag.len - 1] == '/')
        bag.len--;
    while (bag.len > 0) {
        struct vg_slice value = vg_slice_cut(&bag, '&');
        struct vg_slice name = vg_slice_cut(&value, '=');

        name = vg_url_decode(arena, name, false);
        value = value.len ? vg_url_decode(arena, value, false) : (struct vg_slice){"", 0};
        if (!name.ptr || !value.ptr || !vg_slice_is_utf8(name) || !vg_slice_is_utf8(value) ||
            ++count > MQTT_USER_COUNT_MAX ||
            !message_put_property(headers, name, value, is_from_gateway))
            return false;
    }
    return true;
}
