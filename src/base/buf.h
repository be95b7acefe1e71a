/* buf.h -- bytes that grow, up to a bound.
 *
 * The error is sticky: write ten fields, then check vg_buf_ok() once.
 */
#ifndef VG_BASE_BUF_H
#define VG_BASE_BUF_H

#include "base/slice.h"
#include "base/status.h"

struct vg_buf {
    char *ptr; /* not NUL-terminated */
    size_t len;
    size_t capacity_bytes;
    size_t limit_bytes;
    bool has_failed; /* the limit was reached or malloc failed: the content is cut */
};

/* limit_bytes 0 = 64 MiB. No allocation yet. */
void vg_buf_init(struct vg_buf *buf, size_t limit_bytes);
void vg_buf_fini(struct vg_buf *buf);

/* Empty, and fit for use again; the memory stays. */
void vg_buf_clear(struct vg_buf *buf);

/* Room for `len` more bytes at the end, to be filled by the caller, who then adds to buf->len what
 * it wrote. NULL when there is no room (has_failed is set). */
char *vg_buf_reserve(struct vg_buf *buf, size_t len);

void vg_buf_put(struct vg_buf *buf, struct vg_slice bytes);
void vg_buf_put_byte(struct vg_buf *buf, uint8_t byte);
VG_PRINTF(2, 3) void vg_buf_printf(struct vg_buf *buf, const char *fmt, ...);

/* Little-endian, for what is stored on disk. */
void vg_buf_put_u16(struct vg_buf *buf, uint16_t value);
void vg_buf_put_u32(struct vg_buf *buf, uint32_t value);
void vg_buf_put_u64(struct vg_buf *buf, uint64_t value);

/* Remove the first `len` bytes (a parser has consumed them). */
void vg_buf_consume(struct vg_buf *buf, size_t len);

static inline bool vg_buf_ok(const struct vg_buf *buf)
{
    return !buf->has_failed;
}

static inline struct vg_slice vg_buf_slice(const struct vg_buf *buf)
{
    return (struct vg_slice){buf->ptr, buf->len};
}

#endif
