/* map.c -- open addressing with linear probing, at most three quarters full.
 *
 * The hash is SipHash-1-3 keyed with the table's seed: a post-hoc seed over an unkeyed hash would
 * leave every collision in place. Removal shifts the rest of the run back instead of leaving
 * tombstones, so a table that sees many devices come and go stays as fast as a new one.
 *
 * A walk goes downwards from a free slot. Shifting back moves entries only within the part that was
 * walked already, so removing the current key never hides another one.
 *
 * Threads: none of its own; the owner locks.
 */
#include "base/map.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define MAP_CAPACITY_MIN 16

static uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static void sip_round(uint64_t v[static 4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash_of(uint64_t seed, struct vg_slice key)
{
    const uint64_t second = seed * 0x9e3779b97f4a7c15u;
    uint64_t v[4] = {seed ^ 0x736f6d6570736575u, second ^ 0x646f72616e646f6du,
                     seed ^ 0x6c7967656e657261u, second ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)key.len << 56, word;

    for (; key.len >= 8; key.ptr += 8, key.len -= 8) {
        memcpy(&word, key.ptr, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < key.len; i++)
        last |= (uint64_t)(unsigned char)key.ptr[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void vg_map_init(struct vg_map *map)
{
    *map = (struct vg_map){0};
    if (getrandom(&map->seed, sizeof(map->seed), 0) != (ssize_t)sizeof(map->seed)) {
        /* Only before the kernel has entropy: better a guessable seed than none. */
        struct timespec now = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        map->seed = (uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)map;
    }
}

void vg_map_fini(struct vg_map *map, void (*free_value)(void *value))
{
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].key && free_value)
            free_value(map->slots[i].value);
        free(map->slots[i].key);
    }
    free(map->slots);
    *map = (struct vg_map){.seed = map->seed};
}

/* The key's slot, or the free slot where it would stand. The table has at least one free slot. */
static size_t find_slot(const struct vg_map *map, struct vg_slice key, uint64_t hash)
{
    size_t i = hash & (map->capacity - 1);

    for (; map->slots[i].key; i = (i + 1) & (map->capacity - 1)) {
        const struct vg_map_slot *slot = &map->slots[i];

        if (slot->hash == hash && vg_slice_eq((struct vg_slice){slot->key, slot->key_len}, key))
            break;
    }
    return i;
}

static bool grow(struct vg_map *map)
{
    size_t capacity = map->capacity ? map->capacity * 2 : MAP_CAPACITY_MIN;
    struct vg_map_slot *slots = calloc(capacity, sizeof(*slots));

    if (!slots)
        return false;
    for (size_t i = 0; i < map->capacity; i++) {
        size_t to = map->slots[i].hash & (capacity - 1);

        if (!map->slots[i].key)
            continue;
        while (slots[to].key)
            to = (to + 1) & (capacity - 1);
        slots[to] = map->slots[i];
    }
    free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

void *vg_map_get(const struct vg_map *map, struct vg_slice key)
{
    if (map->count == 0)
        return NULL;
    return map->slots[find_slot(map, key, hash_of(map->seed, key))].value;
}

void *vg_map_put(struct vg_map *map, struct vg_slice key, void *value, bool *ret_ok)
{
    uint64_t hash = hash_of(map->seed, key);

    *ret_ok = true;
    if (map->count > 0) {
        struct vg_map_slot *slot = &map->slots[find_slot(map, key, hash)];

        if (slot->key) {
            void *before = slot->value;

            slot->value = value;
            return before;
        }
    }
    char *copy = malloc(key.len + 1);

    if (!copy || ((map->count + 1) * 4 > map->capacity * 3 && !grow(map))) {
        free(copy);
        *ret_ok = false;
        return NULL;
    }
    if (key.len)
        memcpy(copy, key.ptr, key.len);
    copy[key.len] = '\0';
    map->slots[find_slot(map, key, hash)] =
        (struct vg_map_slot){.key = copy, .key_len = key.len, .hash = hash, .value = value};
    map->count++;
    return NULL;
}

void *vg_map_remove(struct vg_map *map, struct vg_slice key)
{
    if (map->count == 0)
        return NULL;
    const size_t mask = map->capacity - 1;
    size_t hole = find_slot(map, key, hash_of(map->seed, key));
    void *value = map->slots[hole].value;

    if (!map->slots[hole].key)
        return NULL;
    free(map->slots[hole].key);
    for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;

        /* It may move back only if its home is not after the hole. */
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (struct vg_map_slot){0};
    map->count--;
    return value;
}

/* The cursor holds the free slot where the walk began (high half) and the steps made (low half). */
bool vg_map_next(const struct vg_map *map, size_t *cursor, struct vg_slice *ret_key,
                 void **ret_value)
{
    if (map->count == 0)
        return false;
    size_t begin = *cursor >> 32, steps = *cursor & 0xffffffffu;

    if (*cursor == 0) {
        while (map->slots[begin].key)
            begin++;
    }
    while (++steps < map->capacity) {
        const struct vg_map_slot *slot = &map->slots[(begin - steps) & (map->capacity - 1)];

        if (!slot->key)
            continue;
        *ret_key = (struct vg_slice){slot->key, slot->key_len};
        *ret_value = slot->value;
        *cursor = begin << 32 | steps;
        return true;
    }
    *cursor = begin << 32 | (map->capacity - 1);
    return false;
}
