/* value.c -- a selected JSON token becomes a number or a text. (value_time.c: a time.)
 *
 * The hot path copies nothing: a number that is already in its canonical form, and every string, is
 * a view of the message. Only numbers such as 65.50 or 1e3 are formatted anew, into the arena.
 *
 * Threads: no state.
 */
#include "connector/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool parse_real(struct vg_slice text, double *ret)
{
    char copy[512];
    char *end;

    if (!vg_slice_to_cstr(text, copy, sizeof(copy)) || text.len == 0)
        return false;
    *ret = strtod(copy, &end);
    return *end == '\0';
}

/* 0x1F and 017 of lenient JSON, all 64 bits: the highest is the sign. Not behind a minus. */
static bool parse_radix(struct vg_slice digits, int base, struct value_number *ret)
{
    char copy[80];
    char *end;

    if (!vg_slice_to_cstr(digits, copy, sizeof(copy)) || digits.len == 0)
        return false;
    errno = 0;
    ret->integer = (int64_t)strtoull(copy, &end, base);
    if (*end || errno)
        return false;
    ret->is_integer = true;
    ret->real = (double)ret->integer;
    return true;
}

bool value_number(const struct vg_json *value, struct value_number *ret)
{
    struct vg_slice text;
    bool is_negative, has_point = false;

    if (!value || value->type != VG_JSON_NUMBER)
        return false;
    text = value->text;
    *ret = (struct value_number){0};
    is_negative = text.len > 0 && text.ptr[0] == '-';

    struct vg_slice digits = is_negative ? vg_slice_from(text, 1) : text;

    if (!is_negative && digits.len > 2 && digits.ptr[0] == '0' &&
        (digits.ptr[1] == 'x' || digits.ptr[1] == 'X'))
        return parse_radix(vg_slice_from(digits, 2), 16, ret);
    for (size_t i = 0; i < digits.len; i++)
        has_point |= !is_digit(digits.ptr[i]);
    if (!has_point) {
        if (!is_negative && digits.len > 1 && digits.ptr[0] == '0')
            return parse_radix(vg_slice_from(digits, 1), 8, ret);
        if (digits.len > 0 && digits.len < 19) {
            int64_t number = 0;

            for (size_t i = 0; i < digits.len; i++)
                number = number * 10 + (digits.ptr[i] - '0');
            ret->is_integer = true;
            ret->integer = is_negative ? -number : number;
            ret->real = (double)ret->integer;
            return true;
        }
        if (vg_slice_to_i64(text, &ret->integer)) {
            ret->is_integer = true;
            ret->real = (double)ret->integer;
            return true;
        }
        ret->is_big = true;
    }
    return parse_real(text, &ret->real); /* strtod also reads NaN and Infinity */
}

/* -?(0|[1-9][0-9]*)(.[0-9]*[1-9])? of at most 15 digits is what .NET would print again. */
static bool is_canonical(struct vg_slice text)
{
    size_t i = text.len && text.ptr[0] == '-', start = i;
    bool has_point = false;

    if (text.len - i > 16 || i == text.len || !is_digit(text.ptr[i]))
        return false;
    if (text.ptr[i] == '0' && i + 1 < text.len && text.ptr[i + 1] != '.')
        return false;
    for (; i < text.len; i++) {
        if (text.ptr[i] == '.' && !has_point)
            has_point = true;
        else if (!is_digit(text.ptr[i]))
            return false;
    }
    if (has_point)
        /* 0.00001 prints as 1E-05: leave small numbers to the long way. */
        return text.ptr[text.len - 1] != '0' && text.ptr[text.len - 1] != '.' &&
               !(text.ptr[start] == '0' && text.len - start > 4 && text.ptr[start + 2] == '0' &&
                 text.ptr[start + 3] == '0');
    return text.len - start <= 15 && !(text.ptr[start] == '0' && start == 1);
}

/* An exponent form when it is >= 15 or < -4. */
size_t value_real_text(double real, int digits_max, char out[static 64])
{
    char text[48], digits[24];
    int precision, exponent, n = 0, used = 0;

    if (isnan(real))
        return (size_t)snprintf(out, 64, "NaN");
    if (isinf(real))
        return (size_t)snprintf(out, 64, real < 0 ? "-Infinity" : "Infinity");
    for (precision = 14; precision < digits_max; precision++) {
        (void)snprintf(text, sizeof(text), "%.*e", precision, real);
        if (strtod(text, NULL) >= real && strtod(text, NULL) <= real)
            break;
    }
    char *e = strchr(text, 'e');

    exponent = (int)strtol(e + 1, NULL, 10);
    for (char *p = text; p < e; p++)
        if (is_digit(*p) && n < (int)sizeof(digits))
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (signbit(real))
        out[used++] = '-';
    if (exponent >= 15 || exponent < -4) {
        out[used++] = digits[0];
        if (n > 1)
            out[used++] = '.';
        memcpy(out + used, digits + 1, (size_t)(n - 1));
        used += n - 1;
        return (size_t)(used + snprintf(out + used, 64 - (size_t)used, "E%c%02d",
                                        exponent < 0 ? '-' : '+', abs(exponent)));
    }
    if (exponent < 0) {
        out[used++] = '0';
        out[used++] = '.';
        for (int i = -1; i > exponent; i--)
            out[used++] = '0';
    }
    for (int i = 0; i < n || i <= exponent; i++) {
        if (i == exponent + 1 && exponent >= 0)
            out[used++] = '.';
        out[used++] = i < n ? digits[i] : '0';
    }
    out[used] = '\0';
    return (size_t)used;
}

bool value_text(struct vg_arena *arena, const struct vg_json *value, bool is_medtech,
                struct vg_slice *ret)
{
    struct value_number number;
    char text[64];
    size_t len;

    switch (value->type) {
    case VG_JSON_NULL:
        *ret = (struct vg_slice){0};
        return true;
    case VG_JSON_FALSE:
        *ret = is_medtech ? VG_SLICE("False") : VG_SLICE("false");
        return true;
    case VG_JSON_TRUE:
        *ret = is_medtech ? VG_SLICE("True") : VG_SLICE("true");
        return true;
    case VG_JSON_STRING:
        *ret = value->text.ptr ? value->text : VG_SLICE("");
        if (is_medtech && value_is_date(value))
            *ret = vg_arena_dup(arena, (struct vg_slice){text, value_date_text(value, text)});
        return ret->ptr != NULL;
    case VG_JSON_ARRAY:
    case VG_JSON_OBJECT:
        return false;
    case VG_JSON_NUMBER:
        break;
    }
    if (is_canonical(value->text)) {
        *ret = value->text;
        return true;
    }
    if (!value_number(value, &number) || number.is_big)
        return false;
    if (number.is_integer)
        len = (size_t)snprintf(text, sizeof(text), "%lld", (long long)number.integer);
    else
        len = value_real_text(number.real, is_medtech ? 15 : 17, text);
    *ret = vg_arena_dup(arena, (struct vg_slice){text, len});
    return ret->ptr != NULL;
}

/* "1,234.5 -" as .NET's decimal reads it -> "-1234.5". A separator needs a digit before it. */
static struct vg_slice without_separators(struct vg_slice text, char out[static 40])
{
    size_t used = 0;
    bool has_point = false, has_digit = false;
    char last = text.ptr[text.len - 1];

    if (last == '-' || last == '+') {
        text = vg_slice_trim((struct vg_slice){text.ptr, text.len - 1});
        if (text.len == 0 || (!is_digit(text.ptr[0]) && text.ptr[0] != '.'))
            return (struct vg_slice){0};
        out[used++] = last;
    }
    for (size_t i = 0; i < text.len; i++) {
        has_point |= text.ptr[i] == '.';
        has_digit |= is_digit(text.ptr[i]);
        if (text.ptr[i] != ',' || has_point || !has_digit)
            out[used++] = text.ptr[i];
    }
    return (struct vg_slice){out, used};
}

bool value_decimal(struct vg_slice text, bool is_medtech, char out[static 40], struct vg_slice *ret)
{
    size_t i = 0, used = 0, whole = 0, fraction = 0;
    char plain[40];

    text = vg_slice_trim(text);
    if (text.len == 0 || text.len > 32)
        return false;
    if (is_medtech)
        text = without_separators(text, plain);
    if (text.len == 0)
        return false;
    if (text.ptr[i] == '-')
        out[used++] = '-';
    i += text.ptr[i] == '-' || text.ptr[i] == '+';
    while (i + 1 < text.len && text.ptr[i] == '0' && is_digit(text.ptr[i + 1]))
        i++;
    for (; i < text.len && is_digit(text.ptr[i]); whole++)
        out[used++] = text.ptr[i++];
    if (whole == 0)
        out[used++] = '0';
    if (i < text.len && text.ptr[i] == '.') {
        i++;
        if (i < text.len && is_digit(text.ptr[i]))
            out[used++] = '.';
        for (; i < text.len && is_digit(text.ptr[i]); fraction++)
            out[used++] = text.ptr[i++];
    }
    if (whole + fraction == 0)
        return false;
    /* The reference's decimals have 96 bits. */
    if (is_medtech &&
        (whole > 29 ||
         (whole == 29 && memcmp(out + (out[0] == '-'), "79228162514264337593543950335", 29) > 0)))
        return false;
    if (!is_medtech && i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
        size_t digits = 0;

        out[used++] = 'E';
        i++;
        if (i < text.len && (text.ptr[i] == '-' || text.ptr[i] == '+'))
            out[used++] = text.ptr[i++];
        for (; i < text.len && is_digit(text.ptr[i]); digits++)
            out[used++] = text.ptr[i++];
        if (digits == 0 || digits > 2)
            return false;
    }
    *ret = (struct vg_slice){out, used};
    return i == text.len;
}
