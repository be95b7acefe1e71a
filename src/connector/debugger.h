/* debugger.h -- what two mappings make of messages, with nothing stored: for whoever writes them.
 *
 * As the reference's mapping debugger: both mappings are checked, alone and against each other;
 * then each message gives measurements and, with a FHIR mapping, each measurement its Observation
 * (without id, subject and device, which only the FHIR service knows).
 */
#ifndef VG_CONNECTOR_DEBUGGER_H
#define VG_CONNECTOR_DEBUGGER_H

#include "base/arena.h"
#include "base/json.h"

struct debugger; /* one thread */

/* Loads the mappings: texts (ptr NULL: there is none) and all that is made of them live in `arena`.
 * *ret_errors: how many errors they have. NULL: the arena is full. */
struct debugger *debugger_open(struct vg_arena *arena, struct vg_slice device, struct vg_slice fhir,
                               bool is_medtech, size_t *ret_errors);
void debugger_close(struct debugger *d); /* NULL is fine */

/* Every error, then (only when there is none) every warning. 1-based; line 0: the file as a whole.
 */
struct debugger_finding {
    bool is_warning, is_in_fhir; /* else in the device mapping */
    uint32_t line, column;
    struct vg_slice text;
};
typedef void debugger_see(void *ctx, const struct debugger_finding *finding);
void debugger_findings(const struct debugger *d, debugger_see *see, void *ctx);

/* The elements of templateErrors: {"type","message","line","column","path"} of every error. */
void debugger_write_errors(const struct debugger *d, struct vg_json_writer *w);

/* The member templateWarnings, where there are any: {"message","line","column","path"} of each. */
void debugger_write_warnings(const struct debugger *d, struct vg_json_writer *w);

/* One element of results; `is_envelope`: the text is the whole envelope, not the body alone.
 * Returns the number of its errors. Only when the mappings have none and there is a device mapping.
 */
size_t debugger_test(struct debugger *d, struct vg_slice name, struct vg_slice text,
                     bool is_envelope, struct vg_json_writer *w);

#endif
