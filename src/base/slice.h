/* slice.h -- a view of bytes that somebody else owns.
 *
 * Passed by value, never freed, not NUL-terminated. Whoever keeps one past the call copies it
 * first (vg_arena_dup, vg_buf_put).
 */
#ifndef VG_BASE_SLICE_H
#define VG_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct vg_slice {
    const char *ptr;
    size_t len;
};

#define VG_SLICE(literal) ((struct vg_slice){"" literal "", sizeof(literal) - 1})
#define VG_FMT(s)         (int)(s).len, (s).ptr /* printf("%.*s", VG_FMT(topic)) */

/* NULL gives the empty slice. */
static inline struct vg_slice vg_slice_of(const char *text)
{
    return (struct vg_slice){text, text ? strlen(text) : 0};
}

static inline bool vg_slice_eq(struct vg_slice a, struct vg_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool vg_slice_is(struct vg_slice a, const char *text)
{
    return vg_slice_eq(a, vg_slice_of(text));
}

static inline bool vg_slice_starts(struct vg_slice a, struct vg_slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

/* The part from `start` on; empty when start is beyond the end. */
static inline struct vg_slice vg_slice_from(struct vg_slice a, size_t start)
{
    return start >= a.len ? (struct vg_slice){0} : (struct vg_slice){a.ptr + start, a.len - start};
}

/* ASCII only: ids, header names, keywords. */
bool vg_slice_eq_nocase(struct vg_slice a, struct vg_slice b);

/* Byte order, shorter first on a tie. */
int vg_slice_cmp(struct vg_slice a, struct vg_slice b);

/* Without ASCII white space at either end. */
struct vg_slice vg_slice_trim(struct vg_slice a);

/* Cut *rest at the first `sep`: the head is returned, the tail stays in *rest. With no `sep` left
 * the whole of *rest is returned and *rest becomes empty (ptr NULL). */
struct vg_slice vg_slice_cut(struct vg_slice *rest, char sep);

/* Strict numbers: the whole slice, nothing around it. False leaves *ret alone. */
bool vg_slice_to_i64(struct vg_slice a, int64_t *ret);
bool vg_slice_to_u64(struct vg_slice a, uint64_t *ret);
bool vg_slice_to_double(struct vg_slice a, double *ret); /* decimal; no hex, inf or nan */

/* Copies into `out` with a NUL at the end; false (out is "") when it does not fit or holds NUL. */
bool vg_slice_to_cstr(struct vg_slice a, char *out, size_t size_bytes);

/* A well-mixed 64-bit hash (not keyed: for tables whose size is bounded). */
uint64_t vg_slice_hash(struct vg_slice a);

/* True for well-formed UTF-8 (no surrogates, no overlong forms). */
bool vg_slice_is_utf8(struct vg_slice a);

#endif
