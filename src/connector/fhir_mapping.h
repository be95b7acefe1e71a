/* fhir_mapping.h -- the FHIR mapping: which Observation a type of measurement becomes. */
#ifndef VG_CONNECTOR_FHIR_MAPPING_H
#define VG_CONNECTOR_FHIR_MAPPING_H

#include "connector/mapping_errors.h"

struct fhir_code {
    struct vg_slice code, system, display; /* ptr NULL = not given */
};

struct fhir_codes {
    struct fhir_code *list;
    uint32_t count;
};

enum fhir_value_type {
    FHIR_VALUE_NONE, /* the template has no value */
    FHIR_VALUE_QUANTITY,
    FHIR_VALUE_SAMPLED,
    FHIR_VALUE_CONCEPT,
    FHIR_VALUE_STRING,
};

struct fhir_value {
    enum fhir_value_type type;
    struct vg_slice name;               /* of the measurement's property */
    struct vg_slice unit, code, system; /* Quantity; SampledData has unit only */
    int64_t period_us;                  /* SampledData: from one sample to the next */
    struct vg_slice text;               /* CodeableConcept */
    struct fhir_codes codes;            /* CodeableConcept */
    struct vg_slice json; /* Quantity: ,"unit":…; CodeableConcept: "coding":[…],"text":… */
    struct vg_slice header_json; /* {"name":…,"system":…,"code":…, ; empty: it has no code */
    struct vg_slice unit_json;   /* ,"unit":… of a number in the header, or empty */
    bool is_fahrenheit;          /* the header has Celsius */
    bool is_medtech;             /* numbers are read as the reference does */
    const struct value_rules *rules; /* value_rules.h; NULL = none */
};

struct fhir_component {
    struct fhir_codes codes;
    struct fhir_value value;
    struct vg_slice code_json; /* {"coding":[…],"text":"<valueName>"} */
    bool is_demanded; /* absent, it is written with the reason: R4's blood pressure panel */
};

struct fhir_category {
    struct vg_slice text;
    struct fhir_codes codes;
};

enum fhir_interval {
    FHIR_INTERVAL_CORRELATION = -1,
    FHIR_INTERVAL_INSTANT = 0,
    FHIR_INTERVAL_HOUR = 60,
    FHIR_INTERVAL_DAY = 1440,
};

struct fhir_template {
    struct vg_slice type_name;
    enum fhir_interval interval;
    struct fhir_codes codes;
    struct fhir_value value; /* type NONE: components only, or nothing */
    struct fhir_category *categories;
    uint32_t category_count;
    struct fhir_component *components;
    uint32_t component_count;
    struct vg_slice code_json;     /* {"coding":[…],"text":"<typeName>"} */
    struct vg_slice category_json; /* [{…}], or empty */
    int64_t align_us;              /* the longest SampledData period, or 0 */
    bool is_medtech;               /* identifiers, codes and periods as the reference has them */
    struct fhir_template *next;
};

/* What the reference engine's own identifiers and codes are of. */
#define FHIR_MEDTECH_SYSTEM "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"

#define FHIR_SAMPLES_MAX 100000 /* slots of one SampledData */

struct fhir_mapping; /* lives in the arena it was loaded into; read-only afterwards, any thread */

/* As device_mapping_load(). What would fail on every message is an error here: an unknown interval,
 * SampledData without defaultPeriod, CodeableConcept without codes, a component without value. */
VG_CHECK enum vg_status fhir_mapping_load(struct mapping_errors *errors,
                                          const struct fhir_mapping **ret_mapping,
                                          struct vg_err *err);

/* What t->code_json is, with the type's name as the measurement spells it: the reference's way. */
void fhir_template_write_code(const struct fhir_template *t, struct vg_slice type,
                              struct vg_buf *out);

/* The first of all templates (->next), or NULL. */
const struct fhir_template *fhir_mapping_first(const struct fhir_mapping *mapping);

/* The template of a type, ignoring case; NULL = none. */
const struct fhir_template *fhir_mapping_find(const struct fhir_mapping *mapping,
                                              struct vg_slice type);

#endif
