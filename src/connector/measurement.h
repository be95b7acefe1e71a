/* measurement.h -- one normalized measurement: what a template took out of a device's message. */
#ifndef VG_CONNECTOR_MEASUREMENT_H
#define VG_CONNECTOR_MEASUREMENT_H

#include "base/arena.h"
#include "base/buf.h"

struct measurement_value {
    struct vg_slice name, text;
    struct measurement_value *next;
};

/* Slices point into the message, the template or the batch's arena. ptr NULL = null. */
struct measurement {
    struct vg_slice type, device_id, patient_id, encounter_id, correlation_id;
    int64_t occurrence_us;
    unsigned occurrence_tenths; /* of a microsecond: what the normalized form shows besides */
    int64_t ingestion_us;
    struct measurement_value *values; /* in template order */
    struct measurement *next;
};

/* The first value of this name, or NULL. */
const struct measurement_value *measurement_get(const struct measurement *m, struct vg_slice name);

/* MedTech's wire form: PascalCase, fixed order, nulls written, times in UTC (docs/records.md). */
void measurement_write(struct vg_buf *out, const struct measurement *m);

/* Null, empty or white space. */
bool measurement_is_blank(struct vg_slice text);

#endif
