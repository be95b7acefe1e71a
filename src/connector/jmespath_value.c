/* jmespath_value.c -- what a run of a JMESPath makes anew, and what it pays for its steps.
 *
 * Numbers are integers (64 bits) or reals, told apart as in the message: 2 and 2.0.
 */
#include "connector/jmespath_run_int.h"

#include <math.h>
#include <stdio.h>

const struct vg_json jmes_null = {.type = VG_JSON_NULL};

const struct vg_json *jmes_stop(struct run *run, const char *code, const char *text)
{
    if (run->status == VG_OK)
        run->status = vg_fail(run->err, VG_REJECT, code, 0, "JMESPath: %s", text);
    return NULL;
}

bool jmes_pay(struct run *run, size_t steps)
{
    if (run->status != VG_OK)
        return false;
    if (*run->steps_left < steps || *run->steps_left == 0) {
        *run->steps_left = 0;
        (void)jmes_stop(run, "jmespath.budget", "expressions take too many steps on this message");
        return false;
    }
    *run->steps_left -= steps;
    return true;
}

struct vg_json *jmes_value(struct run *run, enum vg_json_type type)
{
    struct vg_json *value = vg_arena_alloc(run->arena, sizeof(*value));

    if (!value) {
        run->status =
            vg_fail(run->err, VG_REJECT, "connector.memory", 0, "message needs too much memory");
        return NULL;
    }
    value->type = type;
    return value;
}

const struct vg_json *jmes_bool(bool is_true)
{
    static const struct vg_json values[2] = {{.type = VG_JSON_FALSE}, {.type = VG_JSON_TRUE}};

    return &values[is_true];
}

const struct vg_json *jmes_text(struct run *run, struct vg_slice text)
{
    struct vg_json *value = jmes_value(run, VG_JSON_STRING);

    if (value)
        value->text = text;
    return value;
}

const struct vg_json *jmes_number(struct run *run, const char *text, size_t len)
{
    struct vg_json *value = jmes_value(run, VG_JSON_NUMBER);

    if (!value)
        return NULL;
    value->text = vg_arena_dup(run->arena, (struct vg_slice){text, len});
    return value->text.ptr ? value : jmes_stop(run, "connector.memory", "no memory for a number");
}

const struct vg_json *jmes_integer(struct run *run, int64_t number)
{
    char text[24];

    return jmes_number(run, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)number));
}

const struct vg_json *jmes_real(struct run *run, double number)
{
    char text[72];
    size_t len = value_real_text(number, 17, text);

    if (isfinite(number) && !memchr(text, '.', len) && !memchr(text, 'E', len)) {
        text[len++] = '.';
        text[len++] = '0';
    }
    return jmes_number(run, text, len);
}

const struct vg_json *jmes_exact(struct run *run, double number)
{
    if (fabs(number) < 9007199254740992.0 && number <= trunc(number) && number >= trunc(number))
        return jmes_integer(run, (int64_t)number);
    return jmes_real(run, number);
}

void jmes_append(struct run *run, struct vg_json *list, struct vg_json ***tail,
                        const struct vg_json *value, struct vg_slice name)
{
    struct vg_json *copy = value && jmes_pay(run, 1) ? jmes_value(run, value->type) : NULL;

    if (!copy)
        return;
    *copy = *value;
    copy->next = NULL;
    copy->parent = list;
    copy->name = name;
    **tail = copy;
    *tail = &copy->next;
    list->count++;
}

struct value_number jmes_number_of(const struct vg_json *value)
{
    struct value_number number = {0};

    (void)value_number(value, &number);
    return number;
}

const struct vg_json *jmes_out_of_range(struct run *run)
{
    return jmes_stop(run, "jmespath.range", "a number that 64 bits cannot hold");
}
