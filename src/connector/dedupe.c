/* dedupe.c -- which messages of a device have been here before.
 *
 * Per device a ring of pairs of 64-bit hashes (message id, bytes). What was added since the last
 * commit is in a journal, so that a batch that has to be done again does not take itself for a
 * repeat. Memory: devices x size x 16 bytes; beyond DEVICES_MAX devices all is forgotten, which
 * costs only the recognition of repeats: the Observations are the same all the same.
 *
 * Threads: the stage's own only.
 */
#include "connector/dedupe.h"

#include "base/map.h"

#include <stdlib.h>

#define SIZE_USUAL 256
#define SIZE_MAX_COUNT 4096
#define DEVICES_MAX 100000

struct mark {
    uint64_t mid; /* 0 = none */
    uint64_t bytes;
};

struct device {
    uint32_t next;  /* where the next one goes */
    uint32_t count; /* how many are there */
    struct mark marks[];
};

struct change {
    struct device *device;
    struct mark before; /* what stood in the place */
    uint32_t count_before;
};

struct dedupe {
    uint32_t size;
    struct vg_map devices;
    struct change *changes;
    size_t change_count, change_capacity;
};

enum vg_status dedupe_open(uint32_t size, struct dedupe **ret_dedupe, struct vg_err *err)
{
    struct dedupe *d = calloc(1, sizeof(*d));

    if (!d)
        return vg_fail(err, VG_FATAL, "connector.memory", 0, "no memory for known messages");
    d->size = size == 0 ? SIZE_USUAL : size > SIZE_MAX_COUNT ? SIZE_MAX_COUNT : size;
    vg_map_init(&d->devices);
    *ret_dedupe = d;
    return VG_OK;
}

void dedupe_close(struct dedupe *d)
{
    if (!d)
        return;
    vg_map_fini(&d->devices, free);
    free(d->changes);
    free(d);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    a ^= b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2);
    a *= 0xff51afd7ed558ccdu;
    return a ^ a >> 33;
}

static struct device *device_of(struct dedupe *d, struct vg_slice key)
{
    struct device *device = vg_map_get(&d->devices, key);
    bool ok;

    if (device)
        return device;
    if (d->devices.count >= DEVICES_MAX && d->change_count == 0) {
        vg_map_fini(&d->devices, free);
        vg_map_init(&d->devices);
    }
    device = calloc(1, sizeof(*device) + sizeof(struct mark) * d->size);
    if (!device)
        return NULL;
    (void)vg_map_put(&d->devices, key, device, &ok);
    if (!ok) {
        free(device);
        return NULL;
    }
    return device;
}

static void remember(struct dedupe *d, struct device *device, struct mark mark)
{
    if (d->change_count == d->change_capacity) {
        size_t capacity = d->change_capacity ? d->change_capacity * 2 : 1024;
        struct change *grown = realloc(d->changes, sizeof(*grown) * capacity);

        if (!grown)
            return; /* not remembered: a repeat of it would be done again, with the same result */
        d->changes = grown;
        d->change_capacity = capacity;
    }
    d->changes[d->change_count++] =
        (struct change){device, device->marks[device->next], device->count};
    device->marks[device->next] = mark;
    device->next = (device->next + 1) % d->size;
    device->count += device->count < d->size;
}

bool dedupe_is_repeat(struct dedupe *d, const struct stream_record *record)
{
    struct vg_slice mid = {0}, pid = {0}, name, value;
    bool is_dup = false, is_edge_dup = false, is_replay = false;
    struct mark mark = {0, vg_slice_hash(record->value)};
    struct device *device = device_of(d, record->key);
    size_t cursor = 0;

    if (!device)
        return false;
    while (stream_header_next(record->headers, &cursor, &name, &value)) {
        if (vg_slice_is(name, "refused"))
            return false; /* its sender was told so, and may send it again when that is mended */
        if (vg_slice_is(name, "mid"))
            mid = value;
        else if (vg_slice_is(name, "dup"))
            is_dup = true;
        else if (vg_slice_is(name, "edge-dup"))
            is_edge_dup = true;
        else if (vg_slice_is(name, "replay-of"))
            is_replay = true;
        else if (vg_slice_is(name, "pid"))
            pid = value;
        else if (vg_slice_is(name, "ctime") || vg_slice_starts(name, VG_SLICE("p.")))
            mark.bytes = mix(mix(mark.bytes, vg_slice_hash(name)), vg_slice_hash(value));
    }
    if (mid.len > 0)
        mark.mid = vg_slice_hash(mid) | 1;
    else if (pid.len > 0) /* a repeat keeps its packet id; an equal reading has another one */
        mark.bytes = mix(mark.bytes, vg_slice_hash(pid));
    /* To a gateway the device's repeat is a message of its own, with an id of its own: the bytes
     * tell (the device's id is among them, as a property). */
    if (!is_replay && (mark.mid || is_dup))
        for (uint32_t i = 0; i < device->count; i++)
            if (device->marks[i].bytes == mark.bytes &&
                (!mark.mid || is_edge_dup || device->marks[i].mid == mark.mid))
                return true;
    remember(d, device, mark);
    return false;
}

void dedupe_keep(struct dedupe *d)
{
    d->change_count = 0;
}

void dedupe_undo(struct dedupe *d)
{
    while (d->change_count > 0) {
        struct change *change = &d->changes[--d->change_count];
        struct device *device = change->device;

        device->next = (device->next + d->size - 1) % d->size;
        device->marks[device->next] = change->before;
        device->count = change->count_before;
    }
}
