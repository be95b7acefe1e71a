/* jsonpath.h -- JSONPath as device mappings use it: the dialect of the reference engine
 * (Newtonsoft).
 *
 *   $.a.b  a.b  ..name  ['a','b']  [0]  [0,2]  [1:-1:2]  [*]  .*  [?(@.x > 5 && $.y == 'z')]
 *
 * Filters know == != <> < <= > >= === !== =~ and a bare path (exists, also with null); && and ||
 * have no precedence: a chain is grouped to the right whenever the operator changes.
 */
#ifndef VG_CONNECTOR_JSONPATH_H
#define VG_CONNECTOR_JSONPATH_H

#include "base/arena.h"
#include "base/json.h"

struct jsonpath; /* lives in the arena it was compiled in; read-only afterwards, any thread */

/* VG_REJECT jsonpath.syntax: text says what was found at which character. `is_medtech`: =~ holds of
 * no text that is a date. */
VG_CHECK enum vg_status jsonpath_compile(struct vg_arena *arena, struct vg_slice text,
                                         bool is_medtech, const struct jsonpath **ret_path,
                                         struct vg_err *err);

/* Called for each selected token, in document order; false = enough. */
typedef bool jsonpath_visit(void *ctx, const struct vg_json *token);

/* Runs the path over `root`. Every node looked at takes one off *steps_left, so that one message
 * cannot hold up its partition. VG_REJECT jsonpath.budget (no steps left), jsonpath.compare (a text
 * that is not the number it is compared with), jsonpath.index (a negative index). */
VG_CHECK enum vg_status jsonpath_each(const struct jsonpath *path, const struct vg_json *root,
                                      uint64_t *steps_left, jsonpath_visit *visit, void *ctx,
                                      struct vg_err *err);

#endif
