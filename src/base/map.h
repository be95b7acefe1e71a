/* map.h -- a table from a slice to a pointer.
 *
 * Open addressing with linear probing; the key is copied into the table. Not thread-safe. The hash
 * is seeded per table from the system's randomness, so that a device cannot choose collisions.
 */
#ifndef VG_BASE_MAP_H
#define VG_BASE_MAP_H

#include "base/slice.h"

struct vg_map_slot {
    char *key; /* NULL = free */
    size_t key_len;
    uint64_t hash;
    void *value;
};

struct vg_map {
    struct vg_map_slot *slots;
    size_t capacity, count;
    uint64_t seed;
};

void vg_map_init(struct vg_map *map);
/* Calls `free_value` (may be NULL) for each value. */
void vg_map_fini(struct vg_map *map, void (*free_value)(void *value));

void *vg_map_get(const struct vg_map *map, struct vg_slice key); /* NULL: not there */
/* Sets or replaces; returns the value that stood there before (NULL if none). When memory runs out
 * *ret_ok is false and nothing changes. `value` must not be NULL. */
void *vg_map_put(struct vg_map *map, struct vg_slice key, void *value, bool *ret_ok);
void *vg_map_remove(struct vg_map *map, struct vg_slice key); /* what stood there, or NULL */

/* Walk all: start with *cursor = 0; false at the end. The current key may be
 * removed while walking; putting while walking is not allowed. */
bool vg_map_next(const struct vg_map *map, size_t *cursor, struct vg_slice *ret_key,
                 void **ret_value);

#endif
