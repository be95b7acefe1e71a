/* value.h -- a selected JSON token becomes a number, a text or a time.
 *
 * The text of a number is the reference engine's (.NET, invariant culture): 65.50 -> 65.5, 1e16 ->
 * 1E+16. A string that looks like a date stays the string that it was.
 */
#ifndef VG_CONNECTOR_VALUE_H
#define VG_CONNECTOR_VALUE_H

#include "base/arena.h"
#include "base/json.h"

struct value_number {
    bool is_integer; /* no point, no exponent, fits 64 bits */
    bool is_big;     /* an integer beyond 64 bits: `real` is near it */
    int64_t integer;
    double real; /* always set; may be NaN or infinite in lenient JSON */
};

/* False unless `value` is a number (also hexadecimal, octal, NaN, Infinity of lenient JSON). */
bool value_number(const struct vg_json *value, struct value_number *ret);

/* The text of a token: null is {NULL, 0}. False for an object, an array, an integer beyond 64 bits,
 * or a full arena. The slice points into the source where it can, else into the arena. */
bool value_text(struct vg_arena *arena, const struct vg_json *value, struct vg_slice *ret);

/* A string that says a date-time: ISO 8601, "yyyy-MM-dd[ HH:mm[:ss]][Z]", "MM/dd/yyyy[ hh:mm:ss[
 * tt]]", RFC 1123. Without a zone it is UTC. Numbers are not times. */
bool value_time(const struct vg_json *value, int64_t *ret_us);

/* "2026-03-14T10:00:01.25Z": trailing zeros of the fraction cut. Returns the length. */
size_t value_time_text(int64_t time_us, char out[static 40]);

/* A decimal as JSON writes it ("+05.50" -> "5.50", ".5" -> "0.5"), from text with blanks around it.
 * No thousands separator (36,8 would become 368), no NaN. False: not a decimal of at most 32
 * characters. */
bool value_decimal(struct vg_slice text, char out[static 40], struct vg_slice *ret);

#endif
