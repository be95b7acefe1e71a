/* observation.h -- one Observation in the making: measurements are added, the text is written.
 *
 * Adding is a fold over the readings of the Observation, and their order does not count. All that
 * it needs to go on is in the Observation's own text, so that it does not matter where one batch
 * ends and the next begins, nor how often one is worked on again after a crash, nor which reading
 * came late: the bytes come out the same.
 */
#ifndef VG_CONNECTOR_OBSERVATION_H
#define VG_CONNECTOR_OBSERVATION_H

#include "connector/fhir_mapping.h"
#include "connector/measurement.h"

#define OBSERVATION_SYSTEM "https://vigil.health/connector"
#define OBSERVATION_MEASURED "https://vigil.health/fhir/measured"

struct observation_sample {
    int64_t time_us;
    struct vg_slice text;
};

/* The value (index 0) or a component (1…) of the template. */
struct observation_property {
    bool is_set;
    bool is_absent;       /* there is no number, and the text is the reason's code */
    struct vg_slice text; /* Quantity: a JSON number; String: the text; CodeableConcept: empty */
    int64_t time_us;      /* when that was measured, and received */
    int64_t received_us;
    struct observation_sample *samples; /* SampledData: by time, at most one a slot */
    uint32_t sample_count, sample_capacity;
};

struct observation_contributor {
    uint32_t message; /* index in the caller's batch */
    struct observation_contributor *next;
};

struct observation {
    const struct fhir_template *template;
    char id[65];
    struct vg_slice identifier, patient, device, encounter;
    struct vg_slice type; /* as the measurement spells it */
    int64_t start_us, end_us;
    int64_t issued_us;      /* when the newest of its readings was received */
    uint64_t version;       /* in the store; 0 = not there */
    bool is_amended;        /* more than one reading made it */
    struct vg_err trouble;  /* code not NULL: what the store holds must be left alone, and why */
    bool is_changed;        /* has to be written */
    struct vg_slice others; /* ,"note":… : what others have added, kept as it is */
    struct vg_slice other_extensions;        /* {…},{…} */
    struct observation_property *properties; /* 1 + component_count */
    struct observation_contributor *contributors;
    struct observation *next; /* in the batch */
};

/* A new one without content; slices are borrowed. NULL: the arena is full. */
struct observation *observation_new(struct vg_arena *arena, const struct fhir_template *t);

/* Takes over what the store holds. VG_REJECT connector.stored: it is not what this template makes
 * (other value type, other effective type), or somebody has decided about it (entered-in-error,
 * corrected): it is never overwritten, and nothing can be added. */
VG_CHECK enum vg_status observation_load(struct observation *o, struct vg_arena *arena,
                                         struct vg_slice body, uint64_t version,
                                         struct vg_err *err);

/* Adds what the template takes from `m`: all of it or, on VG_REJECT, nothing. A reading measured
 * later wins over one measured earlier, whenever it comes; of two measured at the same instant the
 * one received later. Codes: connector.missing_value (nothing the template has a place for),
 * connector.quantity (not a decimal), connector.limits (beyond what the mapping says can be),
 * connector.text, connector.sampled_size, connector.memory. */
VG_CHECK enum vg_status observation_add(struct observation *o, struct vg_arena *arena,
                                        const struct measurement *m, struct vg_err *err);

/* One of no patient is a draft (debugger.h): without id, identifier, subject, device, issued. */
void observation_write(const struct observation *o, struct vg_buf *out);

/* The array `values` of the header `fhir` (docs/records.md). */
void observation_write_values(const struct fhir_template *t, const struct measurement *m,
                              struct vg_buf *out);

#endif
