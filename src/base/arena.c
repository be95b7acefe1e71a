/* arena.c -- a list of chunks, filled from the front and kept over a reset. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_CHUNK_BYTES_MIN   (64u << 10)
#define ARENA_LIMIT_BYTES_USUAL (16u << 20)

struct vg_arena_chunk {
    struct vg_arena_chunk *next;
    size_t size_bytes, used_bytes;
    alignas(max_align_t) char data[];
};

void vg_arena_init(struct vg_arena *arena, size_t limit_bytes)
{
    *arena = (struct vg_arena){.limit_bytes = limit_bytes ? limit_bytes : ARENA_LIMIT_BYTES_USUAL};
}

void vg_arena_fini(struct vg_arena *arena)
{
    struct vg_arena_chunk *next;

    for (struct vg_arena_chunk *chunk = arena->first; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *arena = (struct vg_arena){.limit_bytes = arena->limit_bytes};
}

void vg_arena_reset(struct vg_arena *arena)
{
    for (struct vg_arena_chunk *chunk = arena->first; chunk; chunk = chunk->next)
        chunk->used_bytes = 0;
    arena->current = arena->first;
    arena->used_bytes = 0;
}

/* The next chunk with room, made when there is none. */
static struct vg_arena_chunk *chunk_with_room(struct vg_arena *arena, size_t size_bytes)
{
    struct vg_arena_chunk *last = arena->current;

    while (last && last->next) {
        last = last->next;
        if (last->size_bytes - last->used_bytes >= size_bytes)
            return arena->current = last;
    }
    size_t capacity = size_bytes > ARENA_CHUNK_BYTES_MIN ? size_bytes : ARENA_CHUNK_BYTES_MIN;
    struct vg_arena_chunk *made = malloc(sizeof(*made) + capacity);

    if (!made)
        return NULL;
    made->next = NULL;
    made->size_bytes = capacity;
    made->used_bytes = 0;
    if (last)
        last->next = made;
    else
        arena->first = made;
    return arena->current = made;
}

void *vg_arena_alloc(struct vg_arena *arena, size_t size_bytes)
{
    struct vg_arena_chunk *chunk = arena->current;
    void *memory;

    if (size_bytes > arena->limit_bytes)
        return NULL;
    size_bytes = (size_bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (size_bytes == 0)
        size_bytes = alignof(max_align_t);
    if (arena->used_bytes + size_bytes > arena->limit_bytes)
        return NULL;
    if (!chunk || chunk->size_bytes - chunk->used_bytes < size_bytes)
        chunk = chunk_with_room(arena, size_bytes);
    if (!chunk)
        return NULL;
    memory = chunk->data + chunk->used_bytes;
    chunk->used_bytes += size_bytes;
    arena->used_bytes += size_bytes;
    if (arena->used_bytes > arena->peak_bytes)
        arena->peak_bytes = arena->used_bytes;
    return memset(memory, 0, size_bytes);
}

struct vg_slice vg_arena_dup(struct vg_arena *arena, struct vg_slice borrowed)
{
    char *copy = vg_arena_alloc(arena, borrowed.len + 1);

    if (!copy)
        return (struct vg_slice){0};
    if (borrowed.len)
        memcpy(copy, borrowed.ptr, borrowed.len);
    return (struct vg_slice){copy, borrowed.len};
}

struct vg_slice vg_arena_printf(struct vg_arena *arena, const char *fmt, ...)
{
    va_list args, again;
    char *text = NULL;
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    if (len >= 0)
        text = vg_arena_alloc(arena, (size_t)len + 1);
    if (text)
        (void)vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    va_end(args);
    return (struct vg_slice){text, text ? (size_t)len : 0};
}
