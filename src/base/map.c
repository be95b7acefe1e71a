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

#include "base/siphash_int.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define MAP_CAPACITY_MIN 16

uint64_t siphash_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        /* Only before the kernel has entropy: better a guessable seed than none. */
        struct timespec now = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        seed = (uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)&seed;
    }
    return seed;
}

void vg_map_init(struct vg_map *map)
{
    *map = (struct vg_map){.seed = siphash_seed()};
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
    return map->slots[find_slot(map, key, siphash(map->seed, key))].value;
}

void *vg_map_put(struct vg_map *map, struct vg_slice key, void *value, bool *ret_ok)
{
    uint64_t hash = siphash(map->seed, key);

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
    size_t hole = find_slot(map, key, siphash(map->seed, key));
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
