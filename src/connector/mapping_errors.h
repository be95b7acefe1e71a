/* mapping_errors.h -- what is wrong with a mapping file: every error, each with its place. */
#ifndef VG_CONNECTOR_MAPPING_ERRORS_H
#define VG_CONNECTOR_MAPPING_ERRORS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"

#define MAPPING_ERRORS_MAX 100

struct mapping_error {
    uint32_t line, column; /* 1-based; 0 = the file as a whole */
    struct vg_slice text;
    const struct vg_json *at; /* what it is about, or NULL */
    struct mapping_error *next;
};

struct mapping_errors {
    struct vg_arena *arena; /* where the errors live */
    struct vg_slice source; /* the file's text */
    bool is_medtech;        /* what is loaded is to work as the reference does (docs/mapping.md) */
    struct mapping_error *first, *last;
    size_t count; /* also those beyond MAPPING_ERRORS_MAX, which are not kept */
};

/* `at` is the value the error is about, or NULL. */
VG_PRINTF(3, 4)
void mapping_error_add(struct mapping_errors *errors, const struct vg_json *at, const char *fmt,
                       ...);

/* "template[0].template.values[1].valueExpression": where a value stands in its file. */
void mapping_path(const struct vg_json *at, struct vg_buf *out);

/* VG_OK when there is none; else VG_REJECT connector.mapping with the first one and their number.
 */
VG_CHECK enum vg_status mapping_errors_status(const struct mapping_errors *errors, const char *what,
                                              struct vg_err *err);

/* Reads the file's JSON (lenient, a byte-order mark is skipped); a syntax error is added. */
const struct vg_json *mapping_parse(struct mapping_errors *errors);

/* `member` of an object ignoring case; NULL = absent. */
const struct vg_json *mapping_get(const struct vg_json *object, const char *member);

/* "CollectionContent" also as "CollectionContentTemplate"; ignoring case. */
bool mapping_is_type(struct vg_slice type, const char *name, bool allows_suffix);

/* The root object's "template" array, or NULL with errors added. */
const struct vg_json *mapping_templates(struct mapping_errors *errors, const char *root_type);

/* An error for each member of `object` that `known` (NULL-ended) does not list. */
void mapping_check_members(struct mapping_errors *errors, const struct vg_json *object,
                           const char *const *known);

#endif
