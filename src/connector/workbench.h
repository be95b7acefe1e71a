/* workbench.h -- what an author asks of the mappings, as JSON in and out: for the browser's
 * workbench and for `vigil mapping`. docs/api.md has the forms.
 *
 * Any thread. On VG_REJECT of workbench_act the findings are in `out` all the same.
 */
#ifndef VG_CONNECTOR_WORKBENCH_H
#define VG_CONNECTOR_WORKBENCH_H

#include "connector/mapping_store.h"
#include "stream/stream.h"

/* The envelope that a message's expressions see (docs/records.md, device.raw), as JSON: decoded as
 * the connector decodes it, `zone` and `hl7_processing` as in connector_config. VG_REJECT: what the
 * connector would say of it. */
VG_CHECK enum vg_status workbench_envelope(const char *zone, const char *hl7_processing,
                                           const struct stream_record *record, struct vg_buf *out,
                                           struct vg_err *err);

/* GET /api/mappings/{version}: {"version","device","fhir"}; "active" or "" is the active one,
 * "files" the operator's files. VG_END: no such version. */
VG_CHECK enum vg_status workbench_show(struct mapping_store *store, struct vg_slice version,
                                       struct vg_buf *out, struct vg_err *err);

/* POST /api/mappings/try: what two texts make of one message; nothing is stored or changed. Bounded
 * as the connector itself is: steps, memory, and RESULT_BYTES_MAX. VG_REJECT connector.workbench:
 * the request is not as docs/api.md has it, or the result is too large. */
VG_CHECK enum vg_status workbench_try(struct mapping_store *store, struct vg_slice request,
                                      struct vg_buf *out, struct vg_err *err);

/* POST /api/mappings: {"do":"activate","device","fhir"}, {"do":"rollback","version"} or
 * {"do":"reload"} (the operator's files), each with "base" if it is to count only while that
 * version is active. Answers {"version","previous","findings"}, for reload also {"files":
 * {"device","fhir"}}. VG_REJECT connector.mapping,
 * connector.mapping_base, connector.workbench; VG_END: no such version. */
VG_CHECK enum vg_status workbench_act(struct mapping_store *store, struct vg_slice who,
                                      struct vg_slice request, struct vg_buf *out,
                                      struct vg_err *err);

#endif
