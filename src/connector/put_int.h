/* put_int.h -- short texts into a buffer, on the way of every reading. */
#ifndef VG_CONNECTOR_PUT_INT_H
#define VG_CONNECTOR_PUT_INT_H

#include "base/buf.h"
#include "base/json.h"

/* As vg_buf_put(); the usual case is a copy into room that is there. */
static inline void put(struct vg_buf *out, struct vg_slice text)
{
    if (out->has_failed || out->capacity_bytes - out->len < text.len || text.len == 0) {
        vg_buf_put(out, text);
        return;
    }
    memcpy(out->ptr + out->len, text.ptr, text.len);
    out->len += text.len;
}

#define PUT(out, literal) put(out, VG_SLICE(literal))

/* As vg_json_escape(); printable ASCII, nearly every text, is copied. */
static inline void put_quoted(struct vg_buf *out, struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c < ' ' || c > '~' || c == '"' || c == '\\') {
            vg_json_escape(out, text);
            return;
        }
    }
    PUT(out, "\"");
    put(out, text);
    PUT(out, "\"");
}

#endif
