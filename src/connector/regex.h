/* regex.h -- the regular expressions of JSONPath's =~, in time linear in the text.
 *
 * The part of .NET's syntax that has no memory: alternation, groups, * + ? {n,m} (lazy forms too:
 * only whether it matches is asked), classes, \d \w \s \b ^ $ \A \z. Flags i m s x, also (?ims)
 * where the pattern begins; i folds ASCII.
 * Back-references and look-around are refused when the mapping is loaded.
 */
#ifndef VG_CONNECTOR_REGEX_H
#define VG_CONNECTOR_REGEX_H

#include "base/arena.h"

struct regex; /* lives in the arena it was compiled in; read-only afterwards, any thread */

VG_CHECK enum vg_status regex_compile(struct vg_arena *arena, struct vg_slice pattern,
                                      struct vg_slice flags, const struct regex **ret_regex,
                                      struct vg_err *err);

/* Does it match anywhere in text? Takes instructions x text length steps off *steps_left at most;
 * false with *steps_left = 0 when they run out. */
bool regex_search(const struct regex *regex, struct vg_slice text, uint64_t *steps_left);

#endif
