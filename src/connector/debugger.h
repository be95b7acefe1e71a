/* debugger.h -- what two mappings make of messages, with nothing stored: for whoever writes them.
 *
 * As the reference's mapping debugger: both mappings are checked, alone and against each other;
 * then each message gives measurements and, with a FHIR mapping, each measurement its Observation
 * (without id, subject and device, which only the FHIR service knows).
 */
#ifndef VG_CONNECTOR_DEBUGGER_H
#define VG_CONNECTOR_DEBUGGER_H

#include "connector/device_mapping.h"
#include "connector/fhir_mapping.h"

/* Zeroed, then device.source, fhir.source (ptr NULL: there is none) and is_medtech set. One thread.
 */
struct debugger {
    struct mapping_errors device, fhir;
    bool is_medtech;

    /* what debugger_load() fills in */
    const struct device_mapping *device_mapping;
    const struct fhir_mapping *fhir_mapping;
    struct mapping_errors warnings; /* their places are in the device mapping */
    struct vg_arena arena;          /* of one message */
};

/* Loads what there is into `arena`, which must outlive the debugger. Returns the number of errors;
 * the warnings are told only when there is none. */
size_t debugger_load(struct debugger *d, struct vg_arena *arena);
void debugger_fini(struct debugger *d);

/* The elements of templateErrors: {"type","message","line","column","path"} of every error. */
void debugger_write_errors(const struct debugger *d, struct vg_json_writer *w);

/* One element of results; `is_envelope`: the text is the whole envelope, not the body alone.
 * Returns the number of its errors. Only after debugger_load() returned 0 and with a device
 * mapping. */
size_t debugger_test(struct debugger *d, struct vg_slice name, struct vg_slice text,
                     bool is_envelope, struct vg_json_writer *w);

#endif
