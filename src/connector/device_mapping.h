/* device_mapping.h -- the device mapping: which part of a message is which measurement.
 *
 * A CollectionContent file of templates, each tried on every message in file order. Loaded once;
 * read-only afterwards, so several partitions may share one.
 */
#ifndef VG_CONNECTOR_DEVICE_MAPPING_H
#define VG_CONNECTOR_DEVICE_MAPPING_H

#include "connector/mapping_errors.h"
#include "connector/measurement.h"

struct device_mapping; /* lives in the arena it was loaded into */

/* Checks everything that can be checked without a message; `errors` (set up by the caller: arena
 * and source) gets each error with its place. VG_REJECT when there is any. `source` is borrowed for
 * as long as the mapping lives. */
VG_CHECK enum vg_status device_mapping_load(struct mapping_errors *errors,
                                            const struct device_mapping **ret_mapping,
                                            struct vg_err *err);

size_t device_mapping_count(const struct device_mapping *mapping);

/* Called for each template (value_name.ptr NULL) and then for each of its values, in file order. */
typedef void device_mapping_see(void *ctx, struct vg_slice type_name, struct vg_slice value_name,
                                const struct vg_json *at);
void device_mapping_each(const struct device_mapping *mapping, device_mapping_see *see, void *ctx);

#define DEVICE_MAPPING_STEPS_MAX 4000000u /* nodes that one message's expressions may look at */

/* One thing that went wrong with a message. */
struct device_mapping_error {
    struct vg_err why;
    const struct vg_json *at; /* the expression in the mapping's tree */
    struct device_mapping_error *next;
};

/* All measurements of one message. `envelope` is the object that expressions see (Body, Properties,
 * SystemProperties); it is changed while this runs and as before afterwards. The measurements are
 * appended at *tail (which is moved), in the batch's arena; ingestion_us is the caller's to set.
 *
 * VG_OK: at least one, and nothing went wrong. VG_END: no template matched. VG_REJECT: something
 * went wrong (the first error is told); what is right beside it is in the list all the same. Codes:
 * connector.missing_value, connector.ambiguous (an expression gave two tokens),
 * connector.wrong_type, connector.memory, and those of jsonpath_each() and jmespath_run().
 * `error_tail` may be NULL; else every error is appended there, in the arena. With is_medtech the
 * first error ends the message's work. */
VG_CHECK enum vg_status device_mapping_apply(const struct device_mapping *mapping,
                                             struct vg_json *envelope, struct vg_arena *arena,
                                             struct measurement ***tail,
                                             struct device_mapping_error ***error_tail,
                                             struct vg_err *err);

/* How this mapping reads a message's JSON: lenient, and with is_medtech what is behind the first
 * value is ignored. */
struct vg_json_options device_mapping_json(const struct device_mapping *mapping);

/* The envelope of docs/records.md around a message, in `arena`. `body` may be empty (null).
 * VG_REJECT connector.json: the body is not one JSON value in UTF-8. */
struct device_envelope {
    struct vg_json root, properties, system; /* private; `body` hangs in root */
};
struct device_property {
    struct vg_slice name, value;
};
VG_CHECK enum vg_status
device_envelope_build(const struct device_mapping *mapping, struct vg_arena *arena,
                      struct vg_slice body, const struct device_property *properties,
                      size_t property_count, const struct device_property *system,
                      size_t system_count, struct device_envelope *ret_envelope,
                      struct vg_err *err);

#endif
