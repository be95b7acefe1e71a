/* decode.h -- what came in a device's own form becomes the envelope's JSON Body.
 *
 * By content type (docs/records.md, header ct); everything else is JSON already and is left alone:
 *
 *     application/hl7-v2+er7, x-application/hl7-v2+er7     HL7 v2 ORU          hl7_body.c
 *     application/vnd.bluetooth.gatt                       bytes of a GATT characteristic
 *     application/vnd.bluetooth.gatt+json                  the same from a gateway      gatt_body.c
 *
 * docs/mapping.md has the Bodies. A value that a device marks as none is never a value here; a time
 * that cannot be placed is never a time.
 */
#ifndef VG_CONNECTOR_DECODE_H
#define VG_CONNECTOR_DECODE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "connector/zone.h"
#include "stream/stream.h"

#define DECODE_HL7 "application/hl7-v2+er7"
#define DECODE_GATT "application/vnd.bluetooth.gatt"
#define DECODE_GATT_JSON "application/vnd.bluetooth.gatt+json"

struct device_envelope; /* device_mapping.h */

struct decode_config {
    struct zone zone;       /* of times without one */
    const char *processing; /* HL7 MSH-11 that are taken, a letter each; NULL = "P" */
};

struct decode_input {
    struct vg_slice content_type;   /* parameters behind ';' are allowed */
    struct vg_slice characteristic; /* GATT: its 16-bit UUID in hex, or the whole UUID */
    struct vg_slice zone;           /* GATT: of this message's times; empty = the config's */
    struct vg_slice session_start;  /* GATT, continuous glucose: ISO 8601 with zone */
    int64_t time_us;                /* when it was sent, as far as is known */
    int64_t received_us;
    struct vg_slice payload;
};

struct decoded {
    struct vg_json *body;  /* the tree, in the arena; NULL: the payload itself is the body */
    struct vg_err partial; /* code not NULL: what is wrong with a part of it; the rest is right */
    uint32_t absent;       /* readings that the device itself says it could not take */
};

bool decode_is_needed(struct vg_slice content_type);

/* VG_REJECT: nothing of it can be read. hl7.syntax, hl7.charset, hl7.size, hl7.type,
 * hl7.processing; gatt.characteristic, gatt.length, gatt.crc, gatt.json; connector.memory. In
 * *ret_decoded's partial also hl7.value, hl7.withdrawn, hl7.zone, gatt.zone, gatt.time. */
VG_CHECK enum vg_status decode_body(const struct decode_config *config,
                                    const struct decode_input *input, struct vg_arena *arena,
                                    struct decoded *ret_decoded, struct vg_err *err);

/* The same of a record of device.raw: header ct (or property $.ct) says which form it has,
 * properties characteristic, zone and session-start the rest; it was sent at ctime, else at
 * edge-time, else when it was received. */
VG_CHECK enum vg_status decode_record(const struct decode_config *config,
                                      const struct stream_record *record, struct vg_arena *arena,
                                      struct decoded *ret_decoded, struct vg_err *err);

/* Hangs the body into an envelope that was built with an empty one. */
void decode_put_body(const struct decoded *decoded, struct device_envelope *envelope);

/* hl7_body.c, gatt_body.c: the same, into `out`. */
VG_CHECK enum vg_status hl7_body(const struct decode_config *config,
                                 const struct decode_input *input, struct vg_buf *out,
                                 struct decoded *decoded, struct vg_err *err);
VG_CHECK enum vg_status gatt_body(const struct decode_config *config,
                                  const struct decode_input *input, struct vg_buf *out,
                                  struct decoded *decoded, struct vg_err *err);
VG_CHECK enum vg_status gatt_json_body(const struct decode_config *config,
                                       const struct decode_input *input, struct vg_arena *arena,
                                       struct vg_buf *out, struct decoded *decoded,
                                       struct vg_err *err);

#endif
