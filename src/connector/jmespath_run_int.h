/* jmespath_run_int.h -- what the evaluator of JMESPath and its functions share. */
#ifndef VG_CONNECTOR_JMESPATH_RUN_INT_H
#define VG_CONNECTOR_JMESPATH_RUN_INT_H

#include "connector/jmespath_int.h"
#include "connector/value.h"

struct run {
    struct vg_arena *arena;
    uint64_t *steps_left;
    struct vg_err *err;
    enum vg_status status;
    bool is_medtech;
};

/* ---- values (jmespath_value.c); NULL: the run has stopped ---- */

extern const struct vg_json jmes_null;
const struct vg_json *jmes_stop(struct run *run, const char *code, const char *text); /* NULL */
const struct vg_json *jmes_out_of_range(struct run *run);                             /* NULL */
bool jmes_pay(struct run *run, size_t steps);
struct vg_json *jmes_value(struct run *run, enum vg_json_type type);
const struct vg_json *jmes_bool(bool is_true);
const struct vg_json *jmes_text(struct run *run, struct vg_slice text);
const struct vg_json *jmes_number(struct run *run, const char *text, size_t len);
const struct vg_json *jmes_integer(struct run *run, int64_t number);
/* Integral ones keep a point, so that they stay reals: 2.0. */
const struct vg_json *jmes_real(struct run *run, double number);
/* An integer where the number is one: 3, not 3.0. */
const struct vg_json *jmes_exact(struct run *run, double number);
/* A copy of `value` at the end of the array or (with a name) of the object. */
void jmes_append(struct run *run, struct vg_json *list, struct vg_json ***tail,
                 const struct vg_json *value, struct vg_slice name);
#define JMES_NO_NAME ((struct vg_slice){0})
struct value_number jmes_number_of(const struct vg_json *value); /* which is one */

/* ---- the evaluator (jmespath_run.c) ---- */

const struct vg_json *jmes_evaluate(struct run *run, const struct node *node,
                                    const struct vg_json *at);
bool jmes_is_equal(struct run *run, const struct vg_json *a, const struct vg_json *b);
int jmes_order_numbers(const struct value_number *x, const struct value_number *y);

/* ---- functions ---- */

#define JMES_ARGS struct run *run, const struct argument *args, size_t count

/* jmespath_functions.c: bytes of the character at `at`. */
size_t jmes_char_len(struct vg_slice text, size_t at);

/* jmespath_order.c */
const struct vg_json *jmes_call_sort(JMES_ARGS);
const struct vg_json *jmes_call_sort_by(JMES_ARGS);
const struct vg_json *jmes_call_max(JMES_ARGS);
const struct vg_json *jmes_call_min(JMES_ARGS);
const struct vg_json *jmes_call_max_by(JMES_ARGS);
const struct vg_json *jmes_call_min_by(JMES_ARGS);

/* jmespath_added.c */
const struct vg_json *jmes_call_add(JMES_ARGS);
const struct vg_json *jmes_call_subtract(JMES_ARGS);
const struct vg_json *jmes_call_multiply(JMES_ARGS);
const struct vg_json *jmes_call_divide(JMES_ARGS);
const struct vg_json *jmes_call_pow(JMES_ARGS);
const struct vg_json *jmes_call_insert_string(JMES_ARGS);
const struct vg_json *jmes_call_from_unix(JMES_ARGS);
const struct vg_json *jmes_call_from_unix_ms(JMES_ARGS);

#endif
