/* jmespath_added.c -- the functions that the reference engine adds to JMESPath.
 *
 * Where it would give a number that is wrong (an integer beyond 64 bits wraps around, 40/50 is 0)
 * that is done with is_medtech alone.
 */
#include "connector/jmespath_run_int.h"

#include "base/clock.h"

#include <math.h>

/* Both integers: the 64-bit result. What does not fit is an error; the reference wraps around. */
static const struct vg_json *integer_result(struct run *run, bool has_overflow, int64_t result)
{
    return has_overflow && !run->is_medtech ? jmes_out_of_range(run) : jmes_integer(run, result);
}

/* What is no finite number was never measured. The reference makes Infinity and NaN of it. */
static const struct vg_json *real_result(struct run *run, double result)
{
    return isfinite(result) || run->is_medtech
               ? jmes_real(run, result)
               : jmes_stop(run, "jmespath.range", "a result that is no finite number");
}

const struct vg_json *jmes_call_add(JMES_ARGS)
{
    struct value_number a = jmes_number_of(args[0].value), b = jmes_number_of(args[1].value);
    int64_t result;
    bool has_overflow;

    (void)count;
    if (!a.is_integer || !b.is_integer)
        return real_result(run, a.real + b.real);
    has_overflow = __builtin_add_overflow(a.integer, b.integer, &result);
    return integer_result(run, has_overflow, result);
}

const struct vg_json *jmes_call_subtract(JMES_ARGS)
{
    struct value_number a = jmes_number_of(args[0].value), b = jmes_number_of(args[1].value);
    int64_t result;
    bool has_overflow;

    (void)count;
    if (!a.is_integer || !b.is_integer)
        return real_result(run, a.real - b.real);
    has_overflow = __builtin_sub_overflow(a.integer, b.integer, &result);
    return integer_result(run, has_overflow, result);
}

const struct vg_json *jmes_call_multiply(JMES_ARGS)
{
    struct value_number a = jmes_number_of(args[0].value), b = jmes_number_of(args[1].value);
    int64_t result;
    bool has_overflow;

    (void)count;
    if (!a.is_integer || !b.is_integer)
        return real_result(run, a.real * b.real);
    has_overflow = __builtin_mul_overflow(a.integer, b.integer, &result);
    return integer_result(run, has_overflow, result);
}

const struct vg_json *jmes_call_divide(JMES_ARGS)
{
    struct value_number a = jmes_number_of(args[0].value), b = jmes_number_of(args[1].value);
    bool is_zero = b.real >= 0 && b.real <= 0;

    (void)count;
    if (a.is_integer && b.is_integer) {
        if (is_zero)
            return jmes_stop(run, "jmespath.range", "a division by zero");
        if (a.integer == INT64_MIN && b.integer == -1)
            return jmes_out_of_range(run);
        if (run->is_medtech || a.integer % b.integer == 0)
            return jmes_integer(run, a.integer / b.integer);
    } else if (is_zero && !run->is_medtech) {
        return jmes_stop(run, "jmespath.range", "a division by zero");
    }
    return real_result(run, a.real / b.real);
}

const struct vg_json *jmes_call_pow(JMES_ARGS)
{
    struct value_number a = jmes_number_of(args[0].value), b = jmes_number_of(args[1].value);
    double result = pow(a.real, b.real);

    (void)count;
    if (!a.is_integer || !b.is_integer || (!run->is_medtech && b.integer < 0))
        return real_result(run, result);
    result = rint(result); /* to even from the middle: nobody changes the rounding mode */
    if (!(result >= -9223372036854775808.0 && result < 9223372036854775808.0))
        return jmes_out_of_range(run);
    return jmes_integer(run, (int64_t)result);
}

const struct vg_json *jmes_call_insert_string(JMES_ARGS)
{
    struct vg_slice text = args[0].value->text, add = args[1].value->text;
    int64_t left = jmes_number_of(args[2].value).integer;
    size_t at = 0;
    char *out;

    (void)count;
    while (left > 0 && at < text.len) { /* beyond U+FFFF a character is two units */
        size_t len = jmes_char_len(text, at);

        left -= len == 4 ? 2 : 1;
        at += len;
    }
    if (left != 0)
        return jmes_stop(run, "jmespath.range",
                         "insertString at a position that the text does not have");
    out = vg_arena_alloc(run->arena, text.len + add.len + 1);
    if (!out)
        return jmes_stop(run, "connector.memory", "no memory for a text");
    if (at > 0)
        memcpy(out, text.ptr, at);
    if (add.len > 0)
        memcpy(out + at, add.ptr, add.len);
    if (at < text.len)
        memcpy(out + at + add.len, text.ptr + at, text.len - at);
    return jmes_text(run, (struct vg_slice){out, text.len + add.len});
}

static const struct vg_json *make_date(struct run *run, int64_t number, int64_t unit_us)
{
    int64_t first = -62135596800 * (VG_SECOND_US / unit_us);
    int64_t last = 253402300800 * (VG_SECOND_US / unit_us);
    struct vg_json *value;
    char text[40];
    size_t len;

    if (number < first || number >= last)
        return jmes_stop(run, "jmespath.range", "a time outside the years 1 to 9999");
    len = value_time_text(number * unit_us, text);
    value = jmes_value(run, VG_JSON_STRING);
    if (!value)
        return NULL;
    value->text = vg_arena_dup(run->arena, (struct vg_slice){text, len});
    value->source = value->text; /* what value_is_date() goes by */
    return value->text.ptr ? value : jmes_stop(run, "connector.memory", "no memory for a time");
}

const struct vg_json *jmes_call_from_unix(JMES_ARGS)
{
    (void)count;
    return make_date(run, jmes_number_of(args[0].value).integer, VG_SECOND_US);
}

const struct vg_json *jmes_call_from_unix_ms(JMES_ARGS)
{
    (void)count;
    return make_date(run, jmes_number_of(args[0].value).integer, VG_SECOND_US / 1000);
}
