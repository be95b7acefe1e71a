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

/* The objects and arrays of one token, itself first, in document order, each with the kinds of its
 * members' names (64 of them): what many paths ask of one message is looked up once. */
struct jsonpath_nodes {
    const struct vg_json **list;
    uint64_t *names;
    uint64_t all_names;
    size_t count;
};

/* `root` is not changed for as long as they are used. False: the arena is full. */
bool jsonpath_nodes_init(struct jsonpath_nodes *nodes, struct vg_arena *arena,
                         const struct vg_json *root);

/* Can the path select anything of a token of these nodes? True, too, where that is not known. */
bool jsonpath_may_match(const struct jsonpath *path, const struct jsonpath_nodes *nodes);

/* Does it go by names alone from the root, and the first one is not `name`? Then what it selects
 * does not depend on that member. */
bool jsonpath_is_plain(const struct jsonpath *path, struct vg_slice name);

/* Called for each selected token, in document order; false = enough. */
typedef bool jsonpath_visit(void *ctx, const struct vg_json *token);

/* Runs the path over `root`. Every node looked at takes one off *steps_left, so that one message
 * cannot hold up its partition. VG_REJECT jsonpath.budget (no steps left), jsonpath.compare (a text
 * that is not the number it is compared with), jsonpath.index (a negative index). */
VG_CHECK enum vg_status jsonpath_each(const struct jsonpath *path, const struct vg_json *root,
                                      const struct jsonpath_nodes *nodes /* of root, or NULL */,
                                      uint64_t *steps_left, jsonpath_visit *visit, void *ctx,
                                      struct vg_err *err);

#endif
