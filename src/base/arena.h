/* arena.h -- memory that dies together.
 *
 * One arena per message, batch, request or window: everything made while handling it is taken
 * from here, nothing is freed one by one, and vg_arena_reset() ends it. Chunks are kept over a
 * reset, so that after warm-up the hot path does not call malloc.
 */
#ifndef VG_BASE_ARENA_H
#define VG_BASE_ARENA_H

#include "base/slice.h"
#include "base/status.h"

struct vg_arena_chunk;

/* One thread at a time. All members are private but peak_bytes. */
struct vg_arena {
    struct vg_arena_chunk *first, *current;
    size_t limit_bytes;
    size_t used_bytes;
    size_t peak_bytes; /* high-water mark since init */
};

/* limit_bytes bounds what one user can make us hold; 0 = 16 MiB. No allocation yet. */
void vg_arena_init(struct vg_arena *arena, size_t limit_bytes);

/* Gives all memory back. A zeroed arena is fine. */
void vg_arena_fini(struct vg_arena *arena);

/* Forget everything, keep the chunks. */
void vg_arena_reset(struct vg_arena *arena);

/* Zeroed memory, aligned for any type; NULL once the limit is reached or malloc fails. A full
 * arena means one message asked for more than its share: the caller answers VG_REJECT. */
void *vg_arena_alloc(struct vg_arena *arena, size_t size_bytes);

/* The way to keep a borrowed slice for as long as the arena lives. The copy is followed by a NUL.
 * {NULL, 0} when the arena is full. */
struct vg_slice vg_arena_dup(struct vg_arena *arena, struct vg_slice borrowed);

/* printf into the arena, NUL-terminated; {NULL, 0} when it is full. */
VG_PRINTF(2, 3)
struct vg_slice vg_arena_printf(struct vg_arena *arena, const char *fmt, ...);

#endif
