/* tables.h -- what R4 says, as tables. Private to src/fhir.
 *
 * fhir_tables.c is made by tools/fhir_tables.mjs when the program is built, from the published
 * definitions. Texts are offsets into one pool; lists are ranges of one array; nothing is built at
 * run time.
 *
 *   shape    an object and the members it may have: a resource, a datatype, or a part of one
 *   path     one or more places of a type that are indexed together (fhir_int.h)
 *   step     the tree that leads to a type's paths, so that a resource is walked once
 *   view     a search parameter of a type and its paths (fhir_int.h)
 */
#ifndef VG_FHIR_TABLES_H
#define VG_FHIR_TABLES_H

#include "fhir/fhir_int.h"

/* The generator numbers types in this order. */
enum fhir_datatype {
    FHIR_T_BOOLEAN,
    FHIR_T_INTEGER,
    FHIR_T_STRING,
    FHIR_T_DECIMAL,
    FHIR_T_URI,
    FHIR_T_URL,
    FHIR_T_CANONICAL,
    FHIR_T_BASE64,
    FHIR_T_INSTANT,
    FHIR_T_DATE,
    FHIR_T_DATETIME,
    FHIR_T_TIME,
    FHIR_T_CODE,
    FHIR_T_OID,
    FHIR_T_ID,
    FHIR_T_MARKDOWN,
    FHIR_T_UNSIGNED,
    FHIR_T_POSITIVE,
    FHIR_T_UUID,
    FHIR_T_XHTML,
    FHIR_T_PRIMITIVES, /* so many */
    FHIR_T_ANY_RESOURCE = 31,
    FHIR_T_SHAPES = 32, /* from here on: 32 + index of the shape */
    FHIR_T_CODEABLE_CONCEPT = FHIR_T_SHAPES,
    FHIR_T_CODING,
    FHIR_T_IDENTIFIER,
    FHIR_T_CONTACT_POINT,
    FHIR_T_REFERENCE,
    FHIR_T_PERIOD,
    FHIR_T_TIMING, /* with Timing.repeat after it */
};

enum fhir_member_flag {
    FHIR_IS_ARRAY = 1,
    FHIR_IS_REQUIRED = 2,
    FHIR_IS_MODIFIER = 4,
    FHIR_IS_SUMMARY = 8,
};

struct fhir_member {
    uint32_t name; /* as in JSON: "valueQuantity" */
    uint16_t type;
    uint16_t codes;   /* required binding: index of a code set; 0 = none */
    uint16_t targets; /* Reference: index into fhir_targets; 0 = any */
    uint8_t choice;   /* members of one value[x] have the same number; 0 = no choice */
    uint8_t flags;
    uint8_t name_len;
    uint8_t stem_len; /* of a choice: "value" */
};

struct fhir_shape {
    uint32_t name;  /* "Observation.component" */
    uint16_t first; /* of fhir_members, sorted by name */
    uint16_t count;
    uint16_t required_count; /* elements (a choice is one) that must be there */
};

struct fhir_code_set {
    uint16_t first, count; /* of fhir_codes, sorted by code */
};

struct fhir_code {
    uint32_t system, code;
};

struct fhir_step {
    uint32_t name, where_member, where_value; /* where: "" = always; else member == value */
    uint16_t child, child_count;              /* fhir_steps, sorted by name */
    uint16_t leaf, leaf_count;                /* fhir_leaves: the value is indexed */
    uint8_t name_len;
};

struct fhir_leaf {
    uint16_t path; /* fhir_paths */
    uint16_t type; /* of the value */
};

struct fhir_step_root {
    uint16_t first, count;
};

struct fhir_compartment {
    uint8_t compartment, type;
    struct fhir_param_view view; /* path_count 0: the resource itself alone */
};

extern const char fhir_pool[];
extern const char *const fhir_type_names[];
extern const struct fhir_shape fhir_shapes[];
extern const unsigned fhir_shape_count;
extern const uint16_t fhir_resource_shapes[]; /* by type */
extern const struct fhir_member fhir_members[];
extern const struct fhir_code_set fhir_code_sets[];
extern const struct fhir_code fhir_codes[];
extern const uint8_t fhir_targets[]; /* lists of types, each ended by 0 */
extern const struct fhir_path fhir_paths[];
extern const unsigned fhir_path_count;
extern const struct fhir_step fhir_steps[];
extern const struct fhir_leaf fhir_leaves[];
extern const struct fhir_step_root fhir_step_roots[]; /* by type */
extern const struct fhir_param_view fhir_views[];
extern const uint16_t fhir_view_first[]; /* by type; the next one's is the end */
extern const struct fhir_compartment fhir_compartments[];
extern const unsigned fhir_compartment_count;

/* NULL: no such member. */
const struct fhir_member *fhir_member_find(const struct fhir_shape *shape, struct vg_slice name);
/* NULL: `type` is no object. */
const struct fhir_shape *fhir_shape_of(unsigned type);

#endif
