/* group.h -- which Observation a measurement belongs to, and the ones that a batch has open.
 *
 * The identifier is patient/device/period/type, parts that cannot run into each other; the id is
 * the SHA-256 of system and identifier, so a replay writes the same Observation again. An instant's
 * period has microseconds: two readings of one second are two Observations. With is_medtech both
 * are as the reference engine makes them (docs/mapping.md).
 */
#ifndef VG_CONNECTOR_GROUP_H
#define VG_CONNECTOR_GROUP_H

#include "connector/observation.h"

struct group_table { /* zeroed = empty; everything is in the batch's arena */
    struct observation **slots;
    size_t capacity, count;
    struct observation *first, **tail; /* in order of creation */
};

/* The batch's Observation for `m` of this patient and device: found, or new (*ret_is_new) with id,
 * identifier and period set. `patient` and `device` are ids of resources, borrowed. VG_REJECT
 * connector.correlation (the template groups by a correlation id and the message has none),
 * connector.memory. */
VG_CHECK enum vg_status group_open(struct group_table *table, struct vg_arena *arena,
                                   const struct fhir_template *t, const struct measurement *m,
                                   struct vg_slice patient, struct vg_slice device,
                                   struct observation **ret_observation, bool *ret_is_new,
                                   struct vg_err *err);

#endif
