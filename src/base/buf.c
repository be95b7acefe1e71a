/* buf.c -- a growing array of bytes: doubles up to its limit, and remembers that it failed. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_LIMIT_BYTES_USUAL (64u << 20)

void vg_buf_init(struct vg_buf *buf, size_t limit_bytes)
{
    *buf = (struct vg_buf){.limit_bytes = limit_bytes ? limit_bytes : BUF_LIMIT_BYTES_USUAL};
}

void vg_buf_fini(struct vg_buf *buf)
{
    free(buf->ptr);
    *buf = (struct vg_buf){.limit_bytes = buf->limit_bytes};
}

void vg_buf_clear(struct vg_buf *buf)
{
    buf->len = 0;
    buf->has_failed = false;
}

char *vg_buf_reserve(struct vg_buf *buf, size_t len)
{
    if (buf->has_failed)
        return NULL;
    if (buf->capacity_bytes - buf->len >= len && buf->ptr)
        return buf->ptr + buf->len;
    if (len > buf->limit_bytes || buf->len > buf->limit_bytes - len) {
        buf->has_failed = true;
        return NULL;
    }
    size_t wanted = buf->capacity_bytes ? buf->capacity_bytes * 2 : 256;

    while (wanted < buf->len + len)
        wanted *= 2;
    if (wanted > buf->limit_bytes)
        wanted = buf->limit_bytes > 0 ? buf->limit_bytes : 1;
    char *grown = realloc(buf->ptr, wanted);

    if (!grown) {
        buf->has_failed = true;
        return NULL;
    }
    buf->ptr = grown;
    buf->capacity_bytes = wanted;
    return buf->ptr + buf->len;
}

void vg_buf_put(struct vg_buf *buf, struct vg_slice bytes)
{
    char *room = bytes.len ? vg_buf_reserve(buf, bytes.len) : NULL;

    if (!room)
        return;
    memcpy(room, bytes.ptr, bytes.len);
    buf->len += bytes.len;
}

void vg_buf_put_byte(struct vg_buf *buf, uint8_t byte)
{
    char *room = vg_buf_reserve(buf, 1);

    if (!room)
        return;
    *room = (char)byte;
    buf->len++;
}

void vg_buf_printf(struct vg_buf *buf, const char *fmt, ...)
{
    va_list args, again;
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    if (len >= 0) {
        char *room = vg_buf_reserve(buf, (size_t)len + 1);

        if (room) {
            (void)vsnprintf(room, (size_t)len + 1, fmt, again);
            buf->len += (size_t)len;
        }
    }
    va_end(again);
    va_end(args);
}

static void put_little_endian(struct vg_buf *buf, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        vg_buf_put_byte(buf, (uint8_t)(value >> (8 * i)));
}

void vg_buf_put_u16(struct vg_buf *buf, uint16_t value)
{
    put_little_endian(buf, value, 2);
}

void vg_buf_put_u32(struct vg_buf *buf, uint32_t value)
{
    put_little_endian(buf, value, 4);
}

void vg_buf_put_u64(struct vg_buf *buf, uint64_t value)
{
    put_little_endian(buf, value, 8);
}

void vg_buf_consume(struct vg_buf *buf, size_t len)
{
    if (len >= buf->len) {
        buf->len = 0;
        return;
    }
    memmove(buf->ptr, buf->ptr + len, buf->len - len);
    buf->len -= len;
}
