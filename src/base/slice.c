/* slice.c -- views of bytes: comparing, cutting, reading numbers, hashing, checking UTF-8. */
#include "base/slice.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool vg_slice_eq_nocase(struct vg_slice a, struct vg_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    }
    return true;
}

int vg_slice_cmp(struct vg_slice a, struct vg_slice b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared ? memcmp(a.ptr, b.ptr, shared) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

struct vg_slice vg_slice_trim(struct vg_slice a)
{
    while (a.len && is_space(a.ptr[0])) {
        a.ptr++;
        a.len--;
    }
    while (a.len && is_space(a.ptr[a.len - 1]))
        a.len--;
    return a;
}

struct vg_slice vg_slice_cut(struct vg_slice *rest, char sep)
{
    struct vg_slice head = *rest;
    const char *hit = rest->len ? memchr(rest->ptr, sep, rest->len) : NULL;

    if (!hit) {
        *rest = (struct vg_slice){0};
        return head;
    }
    head.len = (size_t)(hit - rest->ptr);
    *rest = (struct vg_slice){hit + 1, rest->len - head.len - 1};
    return head;
}

bool vg_slice_to_u64(struct vg_slice a, uint64_t *ret)
{
    uint64_t value = 0;

    if (a.len == 0)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        unsigned digit = (unsigned)(a.ptr[i] - '0');

        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

bool vg_slice_to_i64(struct vg_slice a, int64_t *ret)
{
    bool is_negative = a.len && a.ptr[0] == '-';
    uint64_t value;

    if (!vg_slice_to_u64(vg_slice_from(a, is_negative ? 1 : 0), &value) ||
        value > (uint64_t)INT64_MAX + (is_negative ? 1 : 0))
        return false;
    *ret = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool vg_slice_to_double(struct vg_slice a, double *ret)
{
    char text[352];
    char *end;
    double value;

    if (a.len == 0 || !vg_slice_to_cstr(a, text, sizeof(text)))
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (!strchr("0123456789+-.eE", text[i]))
            return false; /* strtod would take hex, inf, nan and leading blanks */
    }
    value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value))
        return false;
    *ret = value;
    return true;
}

bool vg_slice_to_cstr(struct vg_slice a, char *out, size_t size_bytes)
{
    out[0] = '\0';
    if (a.len >= size_bytes || (a.len && memchr(a.ptr, '\0', a.len)))
        return false;
    if (a.len)
        memcpy(out, a.ptr, a.len);
    out[a.len] = '\0';
    return true;
}

/* FNV-1a over eight bytes at a time with a final mix (from MurmurHash3's finalizer constants). */
uint64_t vg_slice_hash(struct vg_slice a)
{
    uint64_t hash = 0xcbf29ce484222325u ^ a.len;
    uint64_t word;

    for (; a.len >= 8; a.ptr += 8, a.len -= 8) {
        memcpy(&word, a.ptr, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    word = 0;
    if (a.len)
        memcpy(&word, a.ptr, a.len);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdu;
    hash ^= hash >> 33;
    return hash;
}

bool vg_slice_is_utf8(struct vg_slice a)
{
    const unsigned char *p = (const unsigned char *)a.ptr;
    const unsigned char *end = a.len ? p + a.len : p;

    while (p < end) {
        unsigned need, min, point;

        if (*p < 0x80) {
            p++;
            continue;
        }
        if (*p >= 0xc2 && *p <= 0xdf)
            need = 1, min = 0x80, point = *p & 0x1f;
        else if ((*p & 0xf0) == 0xe0)
            need = 2, min = 0x800, point = *p & 0x0f;
        else if (*p >= 0xf0 && *p <= 0xf4)
            need = 3, min = 0x10000, point = *p & 0x07;
        else
            return false;
        if ((size_t)(end - p) <= need)
            return false;
        for (unsigned i = 1; i <= need; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (p[i] & 0x3f);
        }
        if (point < min || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return false;
        p += need + 1;
    }
    return true;
}
