/* jmespath.h -- JMESPath as device mappings use it: the whole language, its built-in functions, and
 * those that the reference engine adds.
 *
 *   a.b  "a-b"  a[0]  a[-1]  a[1:3]  a[*].b  a.*  a[]  a[?b > `5` && c]  [a, b]  {x: a, y: b}
 *   a | b   a || b   !a   @   'text'   `{"json": 1}`   length(a)   sort_by(a, &b)
 *   add subtract multiply divide pow insertString fromUnixTimestamp fromUnixTimestampMs
 */
#ifndef VG_CONNECTOR_JMESPATH_H
#define VG_CONNECTOR_JMESPATH_H

#include "base/arena.h"
#include "base/json.h"

struct jmespath; /* lives in the arena it was compiled in; read-only afterwards, any thread */

/* `is_medtech`: calculate as the reference engine does (docs/mapping.md). VG_REJECT
 * jmespath.syntax: text says what was found at which character; also an unknown function, and one
 * that is given too few or too many arguments. */
VG_CHECK enum vg_status jmespath_compile(struct vg_arena *arena, struct vg_slice text,
                                         bool is_medtech, const struct jmespath **ret_path,
                                         struct vg_err *err);

/* Runs the expression over `root`. The result lives in `arena` or is a part of root (never NULL;
 * what is not there is a JSON null). Every value looked at takes one off *steps_left. VG_REJECT
 * jmespath.budget (no steps left), jmespath.type (an argument that the function cannot take),
 * jmespath.range (a result that there is no number or time for), connector.memory.
 * *ret_is_projection: the result is a projection's (a[*], a.*, a[], a[1:], a[?…]), whose elements
 * are as many results. */
VG_CHECK enum vg_status jmespath_run(const struct jmespath *path, const struct vg_json *root,
                                     struct vg_arena *arena, uint64_t *steps_left,
                                     const struct vg_json **ret_result, bool *ret_is_projection,
                                     struct vg_err *err);

#endif
