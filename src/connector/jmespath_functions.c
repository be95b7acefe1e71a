/* jmespath_functions.c -- the functions of JMESPath, and the table of all that there are.
 *
 * Positions and lengths count code points, but in insertString, which counts as the reference
 * engine (UTF-16). What a function takes stands in the table, and is checked before it is called.
 */
#include "connector/jmespath_run_int.h"

#include <math.h>
#include <stdlib.h>

#define RESULT_DEPTH_MAX 60 /* of what to_string writes */

static const struct vg_json *call_abs(JMES_ARGS)
{
    struct value_number n = jmes_number_of(args[0].value);

    (void)count;
    if (!n.is_integer)
        return jmes_real(run, fabs(n.real));
    if (n.integer == INT64_MIN ||
        (run->is_medtech && (n.integer < -INT32_MAX || n.integer > INT32_MAX)))
        return jmes_out_of_range(run);
    return jmes_integer(run, n.integer < 0 ? -n.integer : n.integer);
}

static const struct vg_json *call_avg(JMES_ARGS)
{
    double sum = 0, items = 0;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; i; i = i->next, items += 1)
        sum += jmes_number_of(i).real;
    return items > 0 ? jmes_real(run, sum / items) : &jmes_null;
}

static const struct vg_json *call_ceil(JMES_ARGS)
{
    struct value_number n = jmes_number_of(args[0].value);

    (void)count;
    return n.is_integer ? args[0].value : jmes_exact(run, ceil(n.real));
}

static const struct vg_json *call_floor(JMES_ARGS)
{
    struct value_number n = jmes_number_of(args[0].value);

    (void)count;
    return n.is_integer ? args[0].value : jmes_exact(run, floor(n.real));
}

static const struct vg_json *call_contains(JMES_ARGS)
{
    const struct vg_json *in = args[0].value, *what = args[1].value;

    (void)count;
    if (in->type == VG_JSON_ARRAY) {
        for (const struct vg_json *i = in->child; i; i = i->next)
            if (jmes_is_equal(run, i, what))
                return jmes_bool(true);
        return jmes_bool(false);
    }
    if (what->type != VG_JSON_STRING || (run->is_medtech && value_is_date(in)))
        return jmes_bool(false);
    if (!jmes_pay(run, in->text.len / 16 + 1))
        return NULL;
    return jmes_bool(what->text.len == 0 ||
                     (in->text.len > 0 &&
                      memmem(in->text.ptr, in->text.len, what->text.ptr, what->text.len) != NULL));
}

static const struct vg_json *call_starts_with(JMES_ARGS)
{
    (void)run;
    (void)count;
    return jmes_bool(vg_slice_starts(args[0].value->text, args[1].value->text));
}

static const struct vg_json *call_ends_with(JMES_ARGS)
{
    struct vg_slice text = args[0].value->text, end = args[1].value->text;

    (void)run;
    (void)count;
    return jmes_bool(text.len >= end.len &&
                     (end.len == 0 || vg_slice_eq(vg_slice_from(text, text.len - end.len), end)));
}

static const struct vg_json *call_join(JMES_ARGS)
{
    struct vg_slice glue = args[0].value->text;
    size_t size = 1, used = 0;
    char *out;

    (void)count;
    for (const struct vg_json *i = args[1].value->child; i; i = i->next)
        size += i->text.len + glue.len;
    out = jmes_pay(run, size / 16 + 1) ? vg_arena_alloc(run->arena, size) : NULL;
    if (!out)
        return jmes_stop(run, "connector.memory", "no memory for a text");
    for (const struct vg_json *i = args[1].value->child; i; i = i->next) {
        if (i != args[1].value->child && glue.len > 0) {
            memcpy(out + used, glue.ptr, glue.len);
            used += glue.len;
        }
        if (i->text.len > 0)
            memcpy(out + used, i->text.ptr, i->text.len);
        used += i->text.len;
    }
    return jmes_text(run, (struct vg_slice){out, used});
}

static const struct vg_json *call_keys(JMES_ARGS)
{
    struct vg_json *list = jmes_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; list && i; i = i->next) {
        const struct vg_json name = {.type = VG_JSON_STRING, .text = i->name};

        jmes_append(run, list, &tail, &name, JMES_NO_NAME);
    }
    return run->status == VG_OK ? list : NULL;
}

static const struct vg_json *call_values(JMES_ARGS)
{
    struct vg_json *list = jmes_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; list && i; i = i->next)
        jmes_append(run, list, &tail, i, JMES_NO_NAME);
    return run->status == VG_OK ? list : NULL;
}

size_t jmes_char_len(struct vg_slice text, size_t at)
{
    size_t len = 1;

    while (at + len < text.len && ((unsigned char)text.ptr[at + len] & 0xc0) == 0x80)
        len++;
    return len;
}

static const struct vg_json *call_length(JMES_ARGS)
{
    const struct vg_json *value = args[0].value;
    int64_t length = 0;

    (void)count;
    if (value->type == VG_JSON_STRING) {
        if (run->is_medtech && value_is_date(value))
            return jmes_integer(run, 19);
        for (size_t at = 0; at < value->text.len; at += jmes_char_len(value->text, at))
            length++;
    }
    for (const struct vg_json *i = value->child; i; i = i->next)
        length++;
    return jmes_integer(run, length);
}

static const struct vg_json *call_reverse(JMES_ARGS)
{
    const struct vg_json *value = args[0].value;
    struct vg_json *list = NULL;

    (void)count;
    if (value->type == VG_JSON_STRING) {
        size_t len = value->text.len;
        char *out = jmes_pay(run, len / 16 + 1) ? vg_arena_alloc(run->arena, len + 1) : NULL;

        if (!out)
            return jmes_stop(run, "connector.memory", "no memory for a text");
        for (size_t at = 0, step; at < len; at += step) {
            step = jmes_char_len(value->text, at);
            memcpy(out + len - at - step, value->text.ptr + at, step);
        }
        return jmes_text(run, (struct vg_slice){out, len});
    }
    list = jmes_value(run, VG_JSON_ARRAY);
    for (const struct vg_json *i = value->child; list && i; i = i->next) {
        struct vg_json *first = list->child, *copy = NULL, **tail = &copy;

        jmes_append(run, list, &tail, i, JMES_NO_NAME);
        if (!copy)
            return NULL;
        copy->next = first;
        list->child = copy;
    }
    return list;
}

static const struct vg_json *call_map(JMES_ARGS)
{
    struct vg_json *list = jmes_value(run, VG_JSON_ARRAY), **tail = list ? &list->child : NULL;

    (void)count;
    for (const struct vg_json *i = args[1].value->child; list && i; i = i->next) {
        jmes_append(run, list, &tail, jmes_evaluate(run, args[0].expression, i), JMES_NO_NAME);
        if (run->status != VG_OK)
            return NULL;
    }
    return list;
}

static const struct vg_json *call_merge(JMES_ARGS)
{
    struct vg_json *object = jmes_value(run, VG_JSON_OBJECT);
    struct vg_json **tail = object ? &object->child : NULL;

    for (size_t a = 0; object && a < count; a++)
        for (const struct vg_json *i = args[a].value->child; i; i = i->next) {
            struct vg_json *old = object->child;

            if (!jmes_pay(run, object->count + 1u))
                return NULL;
            while (old && !vg_slice_eq(old->name, i->name))
                old = old->next;
            if (old) {
                struct vg_json *next = old->next;

                *old = *i;
                old->next = next;
                old->parent = object;
            } else {
                jmes_append(run, object, &tail, i, i->name);
            }
        }
    return run->status == VG_OK ? object : NULL;
}

static const struct vg_json *call_not_null(JMES_ARGS)
{
    (void)run;
    for (size_t i = 0; i < count; i++)
        if (args[i].value->type != VG_JSON_NULL)
            return args[i].value;
    return &jmes_null;
}

static const struct vg_json *call_sum(JMES_ARGS)
{
    double sum = 0;
    int64_t exact = 0;
    bool is_exact = true;

    (void)count;
    for (const struct vg_json *i = args[0].value->child; i; i = i->next) {
        struct value_number n = jmes_number_of(i);

        sum += n.real;
        is_exact &= n.is_integer && !__builtin_add_overflow(exact, n.integer, &exact);
    }
    return is_exact ? jmes_integer(run, exact) : jmes_exact(run, sum);
}

static const struct vg_json *call_to_array(JMES_ARGS)
{
    struct vg_json *list, **tail;

    (void)count;
    if (args[0].value->type == VG_JSON_ARRAY)
        return args[0].value;
    list = jmes_value(run, VG_JSON_ARRAY);
    tail = list ? &list->child : NULL;
    if (list)
        jmes_append(run, list, &tail, args[0].value, JMES_NO_NAME);
    return run->status == VG_OK ? list : NULL;
}

/* [+-]digits[.digits][e[+-]digits] */
static bool is_decimal(struct vg_slice text, bool *ret_is_integer)
{
    size_t i = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+'), digits = 0;

    *ret_is_integer = true;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
        digits++;
    if (i < text.len && text.ptr[i] == '.') {
        *ret_is_integer = false;
        for (i++; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
            digits++;
    }
    if (digits > 0 && i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
        *ret_is_integer = false;
        i++;
        i += i < text.len && (text.ptr[i] == '-' || text.ptr[i] == '+');
        for (digits = 0; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
            digits++;
    }
    return digits > 0 && i == text.len;
}

static const struct vg_json *call_to_number(JMES_ARGS)
{
    const struct vg_json *value = args[0].value;
    struct vg_slice text;
    char copy[128];
    bool is_integer;
    int64_t integer;

    (void)count;
    if (value->type == VG_JSON_NUMBER)
        return value;
    if (value->type != VG_JSON_STRING)
        return &jmes_null;
    text = vg_slice_trim(value->text);
    if (!is_decimal(text, &is_integer) || !vg_slice_to_cstr(text, copy, sizeof(copy)))
        return &jmes_null;
    if (is_integer && vg_slice_to_i64(text.ptr[0] == '+' ? vg_slice_from(text, 1) : text, &integer))
        return jmes_integer(run, integer);
    return jmes_real(run, strtod(copy, NULL));
}

static void write_json(struct run *run, struct vg_json_writer *w, const struct vg_json *value)
{
    struct vg_slice text;

    if (w->depth >= RESULT_DEPTH_MAX) {
        (void)jmes_stop(run, "jmespath.range", "to_string of something that is nested too deep");
        return;
    }
    if (!jmes_pay(run, 1))
        return;
    switch (value->type) {
    case VG_JSON_NULL:
        vg_json_put_null(w);
        break;
    case VG_JSON_FALSE:
    case VG_JSON_TRUE:
        vg_json_put_bool(w, value->type == VG_JSON_TRUE);
        break;
    case VG_JSON_NUMBER: {
        struct value_number number = jmes_number_of(value);

        if (!number.is_integer && !number.is_big) {
            const struct vg_json *real = jmes_real(run, number.real);

            text = real ? real->text : VG_SLICE("0");
        } else {
            text = value->text;
        }
        vg_json_put_raw(w, text);
        break;
    }
    case VG_JSON_STRING:
        vg_json_put_string(w, value->text);
        break;
    case VG_JSON_ARRAY:
        vg_json_open_array(w);
        for (const struct vg_json *i = value->child; i && run->status == VG_OK; i = i->next)
            write_json(run, w, i);
        vg_json_close_array(w);
        break;
    case VG_JSON_OBJECT:
        vg_json_open_object(w);
        for (const struct vg_json *i = value->child; i && run->status == VG_OK; i = i->next) {
            vg_json_name_slice(w, i->name);
            write_json(run, w, i);
        }
        vg_json_close_object(w);
        break;
    }
}

static const struct vg_json *call_to_string(JMES_ARGS)
{
    struct vg_json_writer w;
    struct vg_buf buf;
    struct vg_slice text;

    (void)count;
    if (args[0].value->type == VG_JSON_STRING)
        return args[0].value;
    vg_buf_init(&buf, 1u << 20);
    vg_json_writer_init(&w, &buf);
    write_json(run, &w, args[0].value);
    text = vg_buf_ok(&buf) ? vg_arena_dup(run->arena, vg_buf_slice(&buf)) : JMES_NO_NAME;
    vg_buf_fini(&buf);
    if (!text.ptr)
        return jmes_stop(run, "connector.memory", "message needs too much memory");
    return run->status == VG_OK ? jmes_text(run, text) : NULL;
}

static const struct vg_json *call_type(JMES_ARGS)
{
    static const char *const names[] = {
        [VG_JSON_NULL] = "null",     [VG_JSON_FALSE] = "boolean", [VG_JSON_TRUE] = "boolean",
        [VG_JSON_NUMBER] = "number", [VG_JSON_STRING] = "string", [VG_JSON_ARRAY] = "array",
        [VG_JSON_OBJECT] = "object"};

    (void)count;
    return jmes_text(run, vg_slice_of(names[args[0].value->type]));
}

/* ---- the table ---- */

static const struct function functions[] = {
    {"abs", 1, 1, {IS_NUMBER}, call_abs},
    {"add", 2, 2, {IS_NUMBER, IS_NUMBER}, jmes_call_add},
    {"avg", 1, 1, {IS_NUMBERS}, call_avg},
    {"ceil", 1, 1, {IS_NUMBER}, call_ceil},
    {"contains", 2, 2, {IS_ARRAY | IS_TEXT, IS_ANY}, call_contains},
    {"divide", 2, 2, {IS_NUMBER, IS_NUMBER}, jmes_call_divide},
    {"ends_with", 2, 2, {IS_TEXT, IS_TEXT}, call_ends_with},
    {"floor", 1, 1, {IS_NUMBER}, call_floor},
    {"fromUnixTimestamp", 1, 1, {IS_INTEGER}, jmes_call_from_unix},
    {"fromUnixTimestampMs", 1, 1, {IS_INTEGER}, jmes_call_from_unix_ms},
    {"insertString", 3, 3, {IS_TEXT, IS_TEXT, IS_INTEGER}, jmes_call_insert_string},
    {"join", 2, 2, {IS_TEXT, IS_TEXTS}, call_join},
    {"keys", 1, 1, {IS_OBJECT}, call_keys},
    {"length", 1, 1, {IS_TEXT | IS_ARRAY | IS_OBJECT}, call_length},
    {"map", 2, 2, {IS_EXPREF, IS_ARRAY}, call_map},
    {"max", 1, 1, {IS_NUMBERS | IS_TEXTS}, jmes_call_max},
    {"max_by", 2, 2, {IS_ARRAY, IS_EXPREF}, jmes_call_max_by},
    {"merge", 1, ARGUMENTS_MAX, {IS_OBJECT}, call_merge},
    {"min", 1, 1, {IS_NUMBERS | IS_TEXTS}, jmes_call_min},
    {"min_by", 2, 2, {IS_ARRAY, IS_EXPREF}, jmes_call_min_by},
    {"multiply", 2, 2, {IS_NUMBER, IS_NUMBER}, jmes_call_multiply},
    {"not_null", 1, ARGUMENTS_MAX, {IS_ANY}, call_not_null},
    {"pow", 2, 2, {IS_NUMBER, IS_NUMBER}, jmes_call_pow},
    {"reverse", 1, 1, {IS_TEXT | IS_ARRAY}, call_reverse},
    {"sort", 1, 1, {IS_NUMBERS | IS_TEXTS}, jmes_call_sort},
    {"sort_by", 2, 2, {IS_ARRAY, IS_EXPREF}, jmes_call_sort_by},
    {"starts_with", 2, 2, {IS_TEXT, IS_TEXT}, call_starts_with},
    {"subtract", 2, 2, {IS_NUMBER, IS_NUMBER}, jmes_call_subtract},
    {"sum", 1, 1, {IS_NUMBERS}, call_sum},
    {"to_array", 1, 1, {IS_ANY}, call_to_array},
    {"to_number", 1, 1, {IS_ANY}, call_to_number},
    {"to_string", 1, 1, {IS_ANY}, call_to_string},
    {"type", 1, 1, {IS_ANY}, call_type},
    {"values", 1, 1, {IS_OBJECT}, call_values},
};

const struct function *jmespath_find_function(struct vg_slice name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (vg_slice_is(name, functions[i].name))
            return &functions[i];
    return NULL;
}
