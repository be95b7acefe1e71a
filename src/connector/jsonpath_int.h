/* jsonpath_int.h -- a JSONPath as jsonpath.c reads it and jsonpath_run.c runs it. */
#ifndef VG_CONNECTOR_JSONPATH_INT_H
#define VG_CONNECTOR_JSONPATH_INT_H

#include "connector/jsonpath.h"
#include "connector/regex.h"

enum step_kind {
    STEP_ROOT,        /* $ inside a filter */
    STEP_FIELD,       /* .name */
    STEP_MEMBERS,     /* .* */
    STEP_FIELDS,      /* ['a','b'] */
    STEP_SCAN,        /* ..name */
    STEP_SCAN_ALL,    /* ..* */
    STEP_SCAN_FIELDS, /* ..['a','b'] */
    STEP_ELEMENTS,    /* [*] */
    STEP_INDEXES,     /* [0] [0,2] */
    STEP_SLICE,       /* [a:b:c] */
    STEP_FILTER,      /* [?()] */
    STEP_SCAN_FILTER, /* ..[?()] */
};

struct term;

struct step {
    enum step_kind kind;
    struct vg_slice name;
    const struct vg_slice *names;
    const int64_t *indexes;
    uint32_t count; /* of names or indexes */
    int64_t from, to, by;
    bool has_from, has_to;
    const struct term *filter;
    bool skips_scalars; /* SCAN_FILTER: no term can hold of a text or a number */
    uint64_t needed;    /* the kind of a name that what it holds of must have, or 0 */
    struct step *next;
};

struct jsonpath {
    const struct step *first;
    bool is_medtech;
};

enum compare {
    COMPARE_EXISTS,
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LT,
    COMPARE_LE,
    COMPARE_GT,
    COMPARE_GE,
    COMPARE_STRICT_EQ,
    COMPARE_STRICT_NE,
    COMPARE_MATCH,
};

/* One side of a comparison: a path from @ or $, or a literal. */
struct side {
    const struct step *path;
    bool is_path;
    struct vg_json literal;
    const struct regex *regex;
};

/* A leaf, or a list of terms under && or ||. */
struct term {
    bool is_list, is_and;
    struct term *first, *last, *next;
    enum compare compare;
    struct side left, right;
};

/* Which of 64 kinds a member's name is of. */
static inline uint64_t name_bit(struct vg_slice name)
{
    const unsigned char *p = (const unsigned char *)name.ptr;

    if (name.len == 0)
        return 1;
    return UINT64_C(1) << ((p[0] * 7u + p[name.len - 1] * 5u + p[name.len / 2] * 3u + name.len) &
                           63u);
}

#endif
