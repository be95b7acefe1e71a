/* group.c -- which Observation a measurement belongs to; see group.h. */
#include "connector/group.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "connector/value.h"

#include <stdio.h>

/* Room for a patient's and a device's id, two times and the parts between them; type and
 * correlation id come on top, three characters for each of theirs. */
#define KEY_FIXED_MAX 256

static void put(struct vg_slice *key, struct vg_slice part)
{
    memcpy((char *)(uintptr_t)key->ptr + key->len, part.ptr, part.len);
    key->len += part.len;
}

/* '/' and '%' of a text from outside are escaped: it cannot pass for another part. */
static void put_escaped(struct vg_slice *key, struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        struct vg_slice c = {text.ptr + i, 1};

        if (text.ptr[i] == '/')
            c = VG_SLICE("%2F");
        else if (text.ptr[i] == '%')
            c = VG_SLICE("%25");
        put(key, c);
    }
}

/* yyyyMMddHHmmss[.ffffff]Z */
static void put_time(struct vg_slice *key, int64_t time_us, bool has_fraction)
{
    char iso[VG_TIME_TEXT_SIZE], compact[VG_TIME_TEXT_SIZE];
    size_t len = value_time_format(time_us, has_fraction ? 6 : 0, iso), used = 0;

    for (size_t i = 0; i < len; i++)
        if (iso[i] != '-' && iso[i] != ':' && iso[i] != 'T')
            compact[used++] = iso[i];
    put(key, (struct vg_slice){compact, used});
}

static int64_t floor_to(int64_t value, int64_t step)
{
    int64_t rest = value % step;

    return value - (rest < 0 ? rest + step : rest);
}

static bool grow(struct group_table *table, struct vg_arena *arena)
{
    size_t capacity = table->capacity ? table->capacity * 2 : 256;
    struct observation **slots = vg_arena_alloc(arena, sizeof(*slots) * capacity);

    if (!slots)
        return false;
    table->slots = slots;
    table->capacity = capacity;
    for (struct observation *o = table->first; o; o = o->next) {
        size_t at = vg_slice_hash((struct vg_slice){o->id, 64}) & (capacity - 1);

        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = o;
    }
    return true;
}

/* The hash of what makes it this Observation, after its time in milliseconds where that is part of
 * the key: so what is written together lies together in the store, whose pages are ordered by id.
 */
static void make_id(struct vg_slice key, int64_t start_us, char id[static 65])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t ms = start_us > 0 ? (uint64_t)start_us / 1000 : 0;
    uint8_t hash[32];

    vg_sha256(key, hash);
    for (int i = 12; i-- > 0; ms >>= 4)
        id[i] = digits[ms & 15];
    for (int i = 0; i < 26; i++) {
        id[12 + 2 * i] = digits[hash[i] >> 4];
        id[13 + 2 * i] = digits[hash[i] & 15];
    }
    id[64] = '\0';
}

/* patient/device/period/type */
static void put_own(struct vg_slice *key, const struct fhir_template *t,
                    const struct measurement *m, struct vg_slice patient, struct vg_slice device,
                    int64_t start_us, int64_t end_us)
{
    put(key, patient);
    put(key, VG_SLICE("/"));
    put(key, device);
    put(key, VG_SLICE("/"));
    if (t->interval == FHIR_INTERVAL_CORRELATION) {
        put(key, VG_SLICE("c."));
        put_escaped(key, m->correlation_id);
    } else {
        put_time(key, start_us, t->interval == FHIR_INTERVAL_INSTANT);
        if (t->interval > FHIR_INTERVAL_INSTANT) {
            put(key, VG_SLICE("."));
            put_time(key, end_us, false);
        }
    }
    put(key, VG_SLICE("/"));
    put_escaped(key, t->type_name);
}

/* patient.device.type.start.end in seconds, or with the correlation id: the reference's form. */
static void put_medtech(struct vg_slice *key, const struct fhir_template *t,
                        const struct measurement *m, struct vg_slice patient,
                        struct vg_slice device, int64_t start_us, int64_t end_us)
{
    put(key, patient);
    put(key, VG_SLICE("."));
    put(key, device);
    put(key, VG_SLICE("."));
    put(key, m->type);
    put(key, VG_SLICE("."));
    if (t->interval == FHIR_INTERVAL_CORRELATION) {
        put(key, m->correlation_id);
        return;
    }
    put_time(key, start_us, false);
    put(key, VG_SLICE("."));
    put_time(key, end_us, false);
}

enum vg_status group_open(struct group_table *table, struct vg_arena *arena,
                          const struct fhir_template *t, const struct measurement *m,
                          struct vg_slice patient, struct vg_slice device,
                          struct observation **ret_observation, bool *ret_is_new,
                          struct vg_err *err)
{
    struct vg_slice prefix =
        t->is_medtech ? VG_SLICE(FHIR_MEDTECH_SYSTEM "_") : VG_SLICE(OBSERVATION_SYSTEM "_");
    bool has_correlation = t->interval == FHIR_INTERVAL_CORRELATION;
    int64_t start_us = m->occurrence_us, end_us = start_us;
    size_t size = KEY_FIXED_MAX + prefix.len + 3 * (m->type.len + m->correlation_id.len);
    struct vg_slice key = {vg_arena_alloc(arena, size), 0}, identifier;
    struct observation *o;
    char id[65];
    size_t at;

    if (has_correlation && measurement_is_blank(m->correlation_id))
        return vg_fail(err, VG_REJECT, "connector.correlation", 0,
                       "type '%.*s' is grouped by correlation id and the message has none",
                       VG_FMT(m->type));
    if (!key.ptr || patient.len > 64 || device.len > 64 ||
        (table->count * 2 >= table->capacity && !grow(table, arena)))
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "batch needs too much memory");
    if (t->interval > FHIR_INTERVAL_INSTANT) {
        start_us = floor_to(start_us, (int64_t)t->interval * VG_MINUTE_US);
        end_us = start_us + (int64_t)t->interval * VG_MINUTE_US - 1;
    }
    put(&key, prefix);
    if (t->is_medtech) {
        put_medtech(&key, t, m, patient, device, start_us, end_us);
        vg_sha256_hex(key, id);
    } else {
        put_own(&key, t, m, patient, device, start_us, end_us);
        make_id(key, has_correlation ? 0 : start_us, id);
    }
    identifier = vg_slice_from(key, prefix.len);

    at = vg_slice_hash((struct vg_slice){id, 64}) & (table->capacity - 1);
    for (; table->slots[at]; at = (at + 1) & (table->capacity - 1))
        if (memcmp(table->slots[at]->id, id, 64) == 0) {
            *ret_observation = table->slots[at];
            *ret_is_new = false;
            return VG_OK;
        }
    o = observation_new(arena, t);
    if (!o)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "batch needs too much memory");
    memcpy(o->id, id, sizeof(id));
    o->identifier = identifier;
    o->type = m->type;
    o->patient = patient;
    o->device = device;
    o->start_us = start_us;
    o->end_us = end_us;
    table->slots[at] = o;
    table->count++;
    if (!table->tail)
        table->tail = &table->first;
    *table->tail = o;
    table->tail = &o->next;
    *ret_observation = o;
    *ret_is_new = true;
    return VG_OK;
}
