/* http_request.c -- what was asked: head, query, form and cookies; form and percent coding. */
#include "base/http_server_int.h"

struct vg_slice vg_http_method(const struct vg_http_request *request)
{
    return request->head.method;
}

struct vg_slice vg_http_path(const struct vg_http_request *request)
{
    return request->path;
}

struct vg_slice vg_http_raw_path(const struct vg_http_request *request)
{
    return request->head.raw_path;
}

struct vg_slice vg_http_query(const struct vg_http_request *request)
{
    return request->head.query;
}

struct vg_slice vg_http_header(const struct vg_http_request *request, const char *name)
{
    return http_head_get(&request->head, name);
}

struct vg_slice vg_http_body(const struct vg_http_request *request)
{
    return vg_buf_slice(&request->body);
}

struct vg_slice vg_http_peer(const struct vg_http_request *request)
{
    return vg_slice_of(request->peer);
}

struct vg_arena *vg_http_arena(struct vg_http_request *request)
{
    return &request->arena;
}

/* The first `name` in form-coded text, decoded. */
static struct vg_slice form_get(struct vg_arena *arena, struct vg_slice form, const char *name)
{
    while (form.len) {
        struct vg_slice value = vg_slice_cut(&form, '&');
        struct vg_slice key = vg_url_decode(arena, vg_slice_cut(&value, '='), true);

        if (key.ptr && vg_slice_is(key, name))
            return vg_url_decode(arena, value, true);
    }
    return (struct vg_slice){0};
}

struct vg_slice vg_http_query_get(struct vg_http_request *request, const char *name)
{
    struct vg_slice found = form_get(&request->arena, request->head.query, name);
    struct vg_slice type = vg_http_header(request, "content-type");

    if (found.ptr)
        return found;
    type = vg_slice_trim(vg_slice_cut(&type, ';'));
    if (!vg_slice_eq_nocase(type, VG_SLICE("application/x-www-form-urlencoded")))
        return (struct vg_slice){0};
    return form_get(&request->arena, vg_buf_slice(&request->body), name);
}

struct vg_slice vg_http_cookie(struct vg_http_request *request, const char *name)
{
    const struct http_head *head = &request->head;

    for (size_t i = 0; i < head->header_count; i++) {
        struct vg_slice rest = head->headers[i].value;

        if (!vg_slice_eq_nocase(head->headers[i].name, VG_SLICE("cookie")))
            continue;
        while (rest.len) {
            struct vg_slice value = vg_slice_trim(vg_slice_cut(&rest, ';'));
            struct vg_slice key = vg_slice_cut(&value, '=');

            if (vg_slice_is(key, name))
                return value.len ? value : VG_SLICE("");
        }
    }
    return (struct vg_slice){0};
}

/* ---- coding ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct vg_slice vg_url_decode(struct vg_arena *arena, struct vg_slice text, bool plus_is_space)
{
    char *out = vg_arena_alloc(arena, text.len + 1);
    size_t len = 0;

    for (size_t i = 0; out && i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.ptr[i + 2]) : -1;

            if (high < 0 || low < 0)
                return (struct vg_slice){0};
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0') /* ends a C string early: never meant well */
            return (struct vg_slice){0};
        out[len++] = c;
    }
    return (struct vg_slice){out, len};
}

void vg_url_encode(struct vg_buf *out, struct vg_slice text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~') {
            vg_buf_put_byte(out, c);
        } else {
            vg_buf_put_byte(out, '%');
            vg_buf_put_byte(out, (uint8_t)digits[c >> 4]);
            vg_buf_put_byte(out, (uint8_t)digits[c & 15]);
        }
    }
}
