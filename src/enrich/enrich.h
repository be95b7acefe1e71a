/* enrich.h -- STAGE: merges the Patient into each measurement.                 (steps 7 and 8)
 *
 * Comes from: connector, by STREAM_NORMALIZED and its header `fhir`.
 * Goes to:    STREAM_ENRICHED, read by capture and score; STREAM_DEADLETTER.
 * Promise:    one enriched record for each measurement, of the patient as the FHIR service has them
 *             when it is made; a measurement of a patient who cannot be read is a dead letter
 *             (enrich.record, enrich.patient), never a record without a patient.
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
    uint32_t partition;       /* whose records it gets: for dead letters */
};

VG_CHECK enum vg_status enrich_open(const struct enrich_config *config, struct enrich **ret_enrich,
                                    struct vg_err *err);
void enrich_close(struct enrich *enrich); /* the stage has been stopped; NULL is fine */

/* For stage_start(), with an enrich as `self`. */
const struct stage_ops *enrich_stage_ops(void);

#endif
