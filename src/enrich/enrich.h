/* enrich.h -- STAGE: the patient merged into each measurement.                     (steps 7 and 8)
 *
 * Comes from: topic iomt.normalized.
 * Goes to:    topic iomt.enriched, keyed by the patient: capture, score.
 * Promise:    each measurement carries the patient, the encounter and the place that FHIR names at
 * the time of merging; a change in FHIR is seen by the next measurement. A measurement whose
 *             patient cannot be read goes to the dead letter, never on without a patient.
 *
 * One object for each partition.
 */
#ifndef VG_ENRICH_ENRICH_H
#define VG_ENRICH_ENRICH_H

#include "fhir/fhir.h"
#include "stream/stage.h"

struct enrich;

struct enrich_config {
    struct fhir_store *store; /* borrowed */
    uint32_t partition;
};

VG_CHECK enum vg_status enrich_open(const struct enrich_config *config, struct enrich **ret_enrich,
                                    struct vg_err *err);
void enrich_close(struct enrich *enrich); /* the stage has been stopped; NULL is fine */

/* For stage_start(), with an enrich as `self`. */
const struct stage_ops *enrich_stage_ops(void);

#endif
