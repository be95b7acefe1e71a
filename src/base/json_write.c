/* json_write.c -- the JSON writer: commas, nesting, escapes, numbers. (json.c is the reader.)
 *
 * It cannot write anything but well-formed JSON as long as names and values alternate, which is the
 * caller's duty; nesting beyond VG_JSON_WRITER_DEPTH fails the buffer. A buffer that failed stays
 * failed, so one vg_buf_ok() at the end tells.
 */
#include "base/json.h"

#include "base/clock.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void vg_json_writer_init(struct vg_json_writer *w, struct vg_buf *out)
{
    *w = (struct vg_json_writer){.out = out};
}

/* The comma before a name or an element, where one is due. */
static void begin_item(struct vg_json_writer *w)
{
    if (w->after_name) {
        w->after_name = false;
        return;
    }
    if (w->depth == 0 || w->depth > VG_JSON_WRITER_DEPTH)
        return;
    if (w->needs_comma[w->depth - 1])
        vg_buf_put_byte(w->out, ',');
    w->needs_comma[w->depth - 1] = true;
}

static void open_bracket(struct vg_json_writer *w, char bracket)
{
    begin_item(w);
    vg_buf_put_byte(w->out, (uint8_t)bracket);
    if (w->depth < VG_JSON_WRITER_DEPTH)
        w->needs_comma[w->depth] = false;
    else
        w->out->has_failed = true;
    w->depth++;
}

static void close_bracket(struct vg_json_writer *w, char bracket)
{
    assert(w->depth > 0 && !w->after_name);
    w->depth--;
    vg_buf_put_byte(w->out, (uint8_t)bracket);
}

void vg_json_open_object(struct vg_json_writer *w)
{
    open_bracket(w, '{');
}

void vg_json_close_object(struct vg_json_writer *w)
{
    close_bracket(w, '}');
}

void vg_json_open_array(struct vg_json_writer *w)
{
    open_bracket(w, '[');
}

void vg_json_close_array(struct vg_json_writer *w)
{
    close_bracket(w, ']');
}

void vg_json_name_slice(struct vg_json_writer *w, struct vg_slice name)
{
    assert(!w->after_name);
    begin_item(w);
    vg_json_escape(w->out, name);
    vg_buf_put_byte(w->out, ':');
    w->after_name = true;
}

void vg_json_name(struct vg_json_writer *w, const char *name)
{
    vg_json_name_slice(w, vg_slice_of(name));
}

/* How many bytes of a well-formed UTF-8 character stand at p; 0: none. */
static size_t character_length(const char *p, size_t left)
{
    for (size_t len = 2; len <= 4 && len <= left; len++) {
        if (vg_slice_is_utf8((struct vg_slice){p, len}))
            return len;
    }
    return 0;
}

static void put_special(struct vg_buf *out, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *known = c ? strchr(from, c) : NULL;

    if (known)
        vg_buf_put(out, (struct vg_slice){(char[]){'\\', to[known - from]}, 2});
    else
        vg_buf_printf(out, "\\u%04x", c);
}

void vg_json_escape(struct vg_buf *out, struct vg_slice text)
{
    size_t plain = 0, i = 0; /* plain..i is written as it is */

    vg_buf_put_byte(out, '"');
    while (i < text.len) {
        unsigned char c = (unsigned char)text.ptr[i];
        size_t len = 1;

        if (c >= 0x80)
            len = character_length(text.ptr + i, text.len - i);
        if (len > 0 && c >= ' ' && c != '"' && c != '\\') {
            i += len;
            continue;
        }
        vg_buf_put(out, (struct vg_slice){text.ptr + plain, i - plain});
        if (len == 0)
            vg_buf_put(out, VG_SLICE("\xef\xbf\xbd"));
        else
            put_special(out, c);
        plain = ++i;
    }
    if (i > plain)
        vg_buf_put(out, (struct vg_slice){text.ptr + plain, i - plain});
    vg_buf_put_byte(out, '"');
}

void vg_json_put_string(struct vg_json_writer *w, struct vg_slice text)
{
    begin_item(w);
    vg_json_escape(w->out, text);
}

void vg_json_put_raw(struct vg_json_writer *w, struct vg_slice json)
{
    begin_item(w);
    vg_buf_put(w->out, json.len ? json : VG_SLICE("null"));
}

/* Digits of `value` before `end`; the first one's place is returned. */
static char *digits_before(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

void vg_json_put_i64(struct vg_json_writer *w, int64_t value)
{
    char text[24], *end = text + sizeof(text);
    char *p = digits_before(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);

    if (value < 0)
        *--p = '-';
    begin_item(w);
    vg_buf_put(w->out, (struct vg_slice){p, (size_t)(end - p)});
}

/* 72, 36.6, 0.0015: a value that is an integer over a small power of ten. Both are exact doubles,
 * so their quotient is what a reader of the text gets; the smallest power is the shortest text. */
static bool put_short_decimal(struct vg_buf *out, double value)
{
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    char text[32], *end = text + sizeof(text);

    if (!(fabs(value) < 1e9) || (value == 0 && signbit(value)))
        return false;
    for (unsigned decimals = 0; decimals < 7; decimals++) {
        double scaled = nearbyint(fabs(value) * powers[decimals]);

        if (scaled / powers[decimals] != fabs(value))
            continue;
        uint64_t digits = (uint64_t)scaled, scale = (uint64_t)powers[decimals];
        char *p = end;

        if (decimals > 0) {
            p = digits_before(p, digits % scale);
            while (end - p < (ptrdiff_t)decimals)
                *--p = '0';
            *--p = '.';
        }
        p = digits_before(p, digits / scale);
        if (value < 0)
            *--p = '-';
        vg_buf_put(out, (struct vg_slice){p, (size_t)(end - p)});
        return true;
    }
    return false;
}

void vg_json_put_double(struct vg_json_writer *w, double value)
{
    char text[40] = "null";

    begin_item(w);
    if (isfinite(value) && put_short_decimal(w->out, value))
        return;
    for (int precision = 15; isfinite(value) && precision <= 17; precision++) {
        (void)snprintf(text, sizeof(text), "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    vg_buf_put(w->out, vg_slice_of(text));
}

void vg_json_put_bool(struct vg_json_writer *w, bool value)
{
    begin_item(w);
    vg_buf_put(w->out, value ? VG_SLICE("true") : VG_SLICE("false"));
}

void vg_json_put_null(struct vg_json_writer *w)
{
    begin_item(w);
    vg_buf_put(w->out, VG_SLICE("null"));
}

void vg_json_put_time(struct vg_json_writer *w, int64_t time_us)
{
    char text[VG_TIME_TEXT_SIZE];
    size_t len = vg_time_format(time_us, 3, text);

    vg_json_put_string(w, (struct vg_slice){text, len});
}

void vg_json_member_string(struct vg_json_writer *w, const char *name, struct vg_slice text)
{
    vg_json_name(w, name);
    vg_json_put_string(w, text);
}

void vg_json_member_i64(struct vg_json_writer *w, const char *name, int64_t value)
{
    vg_json_name(w, name);
    vg_json_put_i64(w, value);
}

void vg_json_member_double(struct vg_json_writer *w, const char *name, double value)
{
    vg_json_name(w, name);
    vg_json_put_double(w, value);
}

void vg_json_member_bool(struct vg_json_writer *w, const char *name, bool value)
{
    vg_json_name(w, name);
    vg_json_put_bool(w, value);
}

void vg_json_member_raw(struct vg_json_writer *w, const char *name, struct vg_slice json)
{
    vg_json_name(w, name);
    vg_json_put_raw(w, json);
}

void vg_json_member_time(struct vg_json_writer *w, const char *name, int64_t time_us)
{
    vg_json_name(w, name);
    vg_json_put_time(w, time_us);
}
