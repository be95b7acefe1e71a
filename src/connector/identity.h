/* identity.h -- whose reading it is: the Device, the Patient and the Encounter of a message.
 *
 * "lookup": the Device is found by its identifier and says whose it is. "lookup-with-encounter":
 * and the message has to name an Encounter. "create": a Device or Patient that is missing is made,
 * from the identifiers in the message.
 *
 * A message that names a patient is believed only when that is the patient the device is linked to:
 * else the reading belongs to nobody until a person has looked (connector.mismatch).
 */
#ifndef VG_CONNECTOR_IDENTITY_H
#define VG_CONNECTOR_IDENTITY_H

#include "connector/measurement.h"
#include "fhir/fhir.h"

struct identity;

enum identity_mode {
    IDENTITY_LOOKUP,
    IDENTITY_LOOKUP_WITH_ENCOUNTER,
    IDENTITY_CREATE,
};

/* NULL is "lookup". False: no mode has this name. */
bool identity_mode_of(const char *name, enum identity_mode *ret_mode);

struct identity_config {
    struct fhir_store *store; /* borrowed */
    enum identity_mode mode;
    bool is_medtech;           /* an Encounter only where the message names one (docs/mapping.md) */
    const char *device_system; /* identifier system of devices; NULL or "" = any. Borrowed. */
};

VG_CHECK enum vg_status identity_open(const struct identity_config *config,
                                      struct identity **ret_identity, struct vg_err *err);
void identity_close(struct identity *identity); /* NULL is fine */

/* Ids of resources; in the cache: valid until the next identity_begin(). */
struct identity_answer {
    struct vg_slice patient, device, encounter; /* encounter empty: none */
};

/* Once before each batch: forgets what Device, Patient or Encounter changes have made doubtful. */
void identity_begin(struct identity *identity);

/* Answers from a cache whose key is everything that decides: device, patient and encounter id of
 * the message. Without an encounter id it is the patient's only Encounter in progress that had
 * started when the reading was made; none with is_medtech. VG_REJECT connector.identity (no such
 * Device, Patient or Encounter, or several; or the mode asks for an encounter id and the message
 * has none), connector.mismatch, connector.relinked (the reading is older than the
 * device's link to its patient, and before that it was another's). VG_RETRY: the store is busy. */
VG_CHECK enum vg_status identity_resolve(struct identity *identity, const struct measurement *m,
                                         struct identity_answer *ret_answer, struct vg_err *err);

#endif
