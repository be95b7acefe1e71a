/* json.h -- JSON text in, a tree of views out; and JSON text written.
 *
 * FHIR demands that a number comes back with the digits it came with, so a number keeps its source
 * text and every value knows its span in the source. Nothing is re-serialised by accident.
 *
 * Strict mode is RFC 8259 (UTF-8 checked, duplicate members refused, lone surrogates refused).
 * Lenient mode reads what Newtonsoft reads by default (comments, single quotes, unquoted names,
 * a trailing comma, NaN/Infinity, 0x1F, octal 017, .5, a byte order mark, control characters in
 * strings; duplicate members: the last value wins, in the first one's place). What is not UTF-8 in
 * a string reads as U+FFFD there; `source` still has the bytes as they came.
 */
#ifndef VG_BASE_JSON_H
#define VG_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"

enum vg_json_type {
    VG_JSON_NULL,
    VG_JSON_FALSE,
    VG_JSON_TRUE,
    VG_JSON_NUMBER,
    VG_JSON_STRING,
    VG_JSON_ARRAY,
    VG_JSON_OBJECT,
};

/* A value. Members and elements are a singly linked list in source order. Read-only for users. */
struct vg_json {
    enum vg_json_type type;
    uint32_t count;         /* members or elements */
    struct vg_slice name;   /* decoded member name when the parent is an object */
    struct vg_slice text;   /* string: decoded; number: source text; else empty */
    struct vg_slice source; /* the value's own bytes in the source (with quotes, brackets) */
    struct vg_json *child;  /* first member or element */
    struct vg_json *next;   /* next sibling */
    struct vg_json *parent; /* NULL for the root */
};

struct vg_json_options {
    bool is_lenient;
    bool allow_trailing; /* only the first value is read, the rest is ignored */
    uint32_t depth_max;  /* 0 = 64 */
    uint32_t values_max; /* 0 = 100,000 */
};

/* Where a parse failed: 1-based line and column (in bytes). */
struct vg_json_place {
    uint32_t line, column;
};

/* Parse `source` (borrowed for as long as the tree lives: views point into it) into a tree in
 * `arena`. VG_REJECT with codes json.syntax, json.depth, json.size, json.utf8, json.duplicate,
 * json.memory; *ret_place (may be NULL) then says where. Time and memory linear in the source. */
VG_CHECK enum vg_status vg_json_parse(struct vg_arena *arena, struct vg_slice source,
                                      const struct vg_json_options *options /* NULL = strict */,
                                      struct vg_json **ret_root, struct vg_json_place *ret_place,
                                      struct vg_err *err);

/* Line and column of a byte inside source. */
struct vg_json_place vg_json_place_of(struct vg_slice source, const char *at);

/* Cheap look-ups; all take NULL and answer NULL / false, so that paths chain. */
const struct vg_json *vg_json_get(const struct vg_json *object, const char *name);
const struct vg_json *vg_json_get_slice(const struct vg_json *object, struct vg_slice name);
const struct vg_json *vg_json_get_nocase(const struct vg_json *object, struct vg_slice name);
const struct vg_json *vg_json_at(const struct vg_json *array, size_t index);
struct vg_slice vg_json_text(const struct vg_json *value); /* string's text, else empty */
struct vg_slice vg_json_get_text(const struct vg_json *object, const char *name);
bool vg_json_is(const struct vg_json *value, enum vg_json_type type);
bool vg_json_to_double(const struct vg_json *value, double *ret); /* numbers only, finite */
bool vg_json_to_i64(const struct vg_json *value, int64_t *ret);   /* no point, no exponent */
bool vg_json_to_bool(const struct vg_json *value, bool *ret);

/* ---- writing: commas and nesting are kept by the writer, errors stick to the buffer ---- */

#define VG_JSON_WRITER_DEPTH 64

struct vg_json_writer {
    struct vg_buf *out;
    uint32_t depth;
    bool needs_comma[VG_JSON_WRITER_DEPTH];
    bool after_name;
};

void vg_json_writer_init(struct vg_json_writer *w, struct vg_buf *out);
void vg_json_open_object(struct vg_json_writer *w);
void vg_json_close_object(struct vg_json_writer *w);
void vg_json_open_array(struct vg_json_writer *w);
void vg_json_close_array(struct vg_json_writer *w);
void vg_json_name(struct vg_json_writer *w, const char *name);
void vg_json_name_slice(struct vg_json_writer *w, struct vg_slice name);
/* Bad UTF-8 becomes U+FFFD. */
void vg_json_put_string(struct vg_json_writer *w, struct vg_slice text);
void vg_json_put_raw(struct vg_json_writer *w, struct vg_slice json); /* already JSON text */
void vg_json_put_i64(struct vg_json_writer *w, int64_t value);
/* The shortest text that reads back; null if not finite. */
void vg_json_put_double(struct vg_json_writer *w, double value);
void vg_json_put_bool(struct vg_json_writer *w, bool value);
void vg_json_put_null(struct vg_json_writer *w);
void vg_json_put_time(struct vg_json_writer *w, int64_t time_us); /* "…Z" with milliseconds */

/* name and value in one call */
void vg_json_member_string(struct vg_json_writer *w, const char *name, struct vg_slice text);
void vg_json_member_i64(struct vg_json_writer *w, const char *name, int64_t value);
void vg_json_member_double(struct vg_json_writer *w, const char *name, double value);
void vg_json_member_bool(struct vg_json_writer *w, const char *name, bool value);
void vg_json_member_raw(struct vg_json_writer *w, const char *name, struct vg_slice json);
void vg_json_member_time(struct vg_json_writer *w, const char *name, int64_t time_us);

/* Only the quoted, escaped form of a string, into a plain buffer. */
void vg_json_escape(struct vg_buf *out, struct vg_slice text);

#endif
