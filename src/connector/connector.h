/* connector.h -- STAGE: from a device's message to an Observation.             (steps 5 and 6)
 *
 * Comes from: hub, by STREAM_DEVICE_RAW: what devices sent, byte for byte.
 * Goes to:    fhir (Observation; Device and Patient in mode "create"); STREAM_NORMALIZED, read by
 *             enrich; STREAM_DEADLETTER, with a reason.
 * Promise:    each message that was acknowledged becomes its Observations exactly once, or a dead
 * letter that says why, in the order of its device; one that cannot be read holds up nothing.
 *
 * One object for each partition. Reason codes of dead letters: connector.json, connector.no_match,
 * connector.missing_value, connector.ambiguous, connector.wrong_type, connector.no_template,
 * connector.quantity, connector.limits, connector.text, connector.correlation,
 * connector.sampled_size,
 * connector.sender, connector.identity, connector.mismatch, connector.relinked, connector.stored,
 * connector.rejected (by the FHIR service), connector.memory, hl7.* and gatt.*
 * (connector/decode.h), jsonpath.budget, jsonpath.compare, jsonpath.index, jmespath.budget,
 * jmespath.type, jmespath.range.
 */
#ifndef VG_CONNECTOR_CONNECTOR_H
#define VG_CONNECTOR_CONNECTOR_H

#include "fhir/fhir.h"
#include "stream/stage.h"

struct connector;
struct mapping_store; /* connector/mapping_store.h */

struct connector_config {
    /* Borrowed; each batch is worked on with what is active when it begins. NULL: the two files, as
     * they are now. */
    struct mapping_store *mappings;
    const char *device_mapping; /* file: CollectionContent */
    const char *fhir_mapping;   /* file: CollectionFhir */
    const char *identity;       /* NULL or "lookup", "lookup-with-encounter" or "create" */
    const char *device_system;  /* identifier system of devices; NULL or "" = any */
    const char *compat;         /* of the two files: NULL or "default", or "medtech" */
    struct fhir_store *store;   /* borrowed */
    uint32_t partition;         /* whose records it gets: for trace ids */
    /* Where the partition ended when the process began: what lies before may have been begun by the
     * process before, with another mapping; 0 = nothing. */
    uint64_t replay_end_seq;
    /* May a message of device `sender` name another one as where its readings come from? is_free:
     * yes, where nothing was said about the sender. NULL: always. The stage's thread. */
    bool (*may_speak)(void *ctx, struct vg_slice sender, struct vg_slice device, bool is_free);
    void *may_speak_ctx;
    int64_t identity_age_us;    /* without news from the FHIR service for longer, batches wait; 0 =
                                   never */
    uint32_t dedupe_size;       /* messages remembered for each device; 0 = 256 */
    const char *zone;           /* of times without one (connector/zone.h); NULL or "" = refused */
    const char *hl7_processing; /* HL7 MSH-11 that are taken, a letter each; NULL = "P" */
};

/* VG_REJECT connector.mapping: a mapping file is wrong; the text names file, line and column of the
 * first error. VG_REJECT connector.config. Strings are copied or read here. */
VG_CHECK enum vg_status connector_open(const struct connector_config *config,
                                       struct connector **ret_connector, struct vg_err *err);
void connector_close(struct connector *connector); /* the stage has been stopped; NULL is fine */

/* For stage_start(), with a connector as `self`. */
const struct stage_ops *connector_stage_ops(void);

#endif
