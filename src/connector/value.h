/* value.h -- a selected JSON token becomes a number, a text or a time.
 *
 * The text of a number is the reference engine's (.NET, invariant culture): 65.50 -> 65.5, 1e16 ->
 * 1E+16. A string that looks like a date stays the string that it was, but with is_medtech
 * (docs/mapping.md).
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

/* `digits` of a real at most (15 or 17: then the shortest that read back). Returns the length. */
size_t value_real_text(double real, int digits, char out[static 64]);

/* The text of a token: null is {NULL, 0}. False for an object, an array, an integer beyond 64 bits,
 * or a full arena. The slice points into the source where it can, else into the arena.
 * `is_medtech`: 15 digits, True and False, and a date as MM/dd/yyyy HH:mm:ss. */
bool value_text(struct vg_arena *arena, const struct vg_json *value, bool is_medtech,
                struct vg_slice *ret);

/* A string of the message's JSON that the reference engine reads as a date, not as a text:
 * yyyy-MM-ddTHH:mm:ss[.fffffff][Z|+hh:mm] and /Date(ms)/. Not what an expression joined, nor a
 * property. */
bool value_is_date(const struct vg_json *value);

/* Of such a date: MM/dd/yyyy HH:mm:ss, as .NET prints it where nobody says how; ISO's form, as
 * JSONPath compares it with texts (zeros of the fraction cut; an offset is +00:00). Return the
 * length. */
size_t value_date_text(const struct vg_json *date, char out[static 64]);
size_t value_date_iso(const struct vg_json *date, char out[static 64]);

/* A string that says a date-time: ISO 8601, /Date(ms)/, and what .NET's general rules read: a day
 * (yyyy-MM-dd, MM/dd/yyyy, dd MMM yyyy, MMM dd, yyyy) and perhaps a clock (24 hours, or AM and PM)
 * and a zone (Z, GMT, an offset). Without a zone it is UTC. Numbers are not times. *ret_tenths (may
 * be NULL): tenths of a microsecond. `is_medtech`: no leap second. */
bool value_time(const struct vg_json *value, bool is_medtech, int64_t *ret_us,
                unsigned *ret_tenths);

/* The same of a text, in ticks of 100 ns; ISO's form by the general rules only. */
bool value_parse_time(struct vg_slice text, int64_t *ret_ticks);
/* Either. */
bool value_date_ticks(struct vg_slice text, int64_t *ret_ticks);

/* As vg_time_format(), faster for times of one day. */
size_t value_time_format(int64_t time_us, unsigned fraction_digits, char out[static 40]);

/* "2026-03-14T10:00:00.25Z": trailing zeros of the fraction cut; with seven digits at most. Return
 * the length. */
size_t value_time_text(int64_t time_us, char out[static 40]);
size_t value_ticks_text(int64_t time_us, unsigned tenths, char out[static 40]);

/* A decimal as JSON writes it ("+05.50" -> "5.50", ".5" -> "0.5"), from text with blanks around it.
 * No thousands separator (36,8 would become 368), no NaN. False: not a decimal of at most 32
 * characters. `is_medtech`: thousands separators and a sign behind are read, an exponent is not. */
bool value_decimal(struct vg_slice text, bool is_medtech, char out[static 40],
                   struct vg_slice *ret);

#endif
