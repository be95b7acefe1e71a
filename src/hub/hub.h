/* hub.h -- STAGE, steps 1 and 4: the door that devices knock on.
 *
 * Comes from: devices and gateways: MQTT 3.1.1 and 5 over TLS, HTTPS, HL7 v2 over MLLP.
 * Goes to:    topic device.raw (docs/records.md), byte for byte.
 * Promise:    a PUBACK, a 204 or an AA means that the message is on the disk; a message without one
 *             was never promised. A device writes only under its own id. Nothing is dropped
 * silently: while there is no room, or consumers lag too far behind, publishers are not read.
 *
 * Topics and names are Azure IoT Hub's: devices/{id}/messages/events/{property bag} and
 * POST /devices/{id}/messages/events, so that its devices connect unchanged (user name {id} or
 * {hub}/{id}/?api-version=...; client id = {id}).
 *
 * An HL7 sender has no password: it is a device of the registry by its certificate (of an authority
 * that the operator names; the common name is the device id), else by its address. What its
 * messages say to come from (a bed, a monitor) must be among what the registry says that it speaks
 * for.
 */
#ifndef VG_HUB_HUB_H
#define VG_HUB_HUB_H

#include "stream/stream.h"

struct hub;
struct vg_tls; /* base/tls.h */

struct hub_config {
    const char *data_dir;       /* holds registry.db (hub/registry.h) */
    const char *address;        /* of the TLS listeners; NULL = "127.0.0.1" */
    struct vg_tls *tls;         /* borrowed; NULL: no TLS listener at all (then has_plain) */
    uint16_t mqtts_port;        /* 0 = any free one, see hub_mqtts_port() */
    uint16_t https_port;        /* the same */
    bool has_plain;             /* MQTT without TLS, on 127.0.0.1 and nowhere else */
    uint16_t plain_port;        /* 0 = any free one */
    uint32_t loops;             /* threads; 0 = 1 */
    uint32_t payload_bytes_max; /* 0 = 256 KiB */
    uint32_t connections_max;   /* per loop; 0 = 20,000 */
    uint32_t inflight_max; /* QoS 1 messages of one connection without their PUBACK; 0 = 1,024 */
    int64_t connect_timeout_us;   /* from accept to a whole CONNECT; 0 = 10 s */
    uint64_t lag_max;             /* records of device.raw that group "connector" may lag behind
                                     before publishers are paused; 0 = 1,000,000 */
    const struct vg_clock *clock; /* wall time of the records; NULL = system */

    /* HL7 v2 over MLLP; none without senders and authority. */
    const char *hl7_senders;       /* ADDRESS[/BITS]=DEVICE, comma-separated; NULL or "" = none */
    const char *hl7_client_ca;     /* PEM file of that authority; NULL or "" = none */
    uint16_t hl7_port;             /* with TLS; 0 = any free one */
    bool has_hl7_plain;            /* also without TLS (then by address alone) */
    const char *hl7_plain_address; /* NULL = "127.0.0.1" */
    uint16_t hl7_plain_port;       /* 0 = any free one */
    const char *hl7_processing;    /* MSH-11 that are taken, a letter each; NULL = "P" */
    int64_t hl7_frame_timeout_us;  /* from a frame's first byte to its last; 0 = 30 s */
    bool hl7_takes_any_name; /* whom senders speak for is judged elsewhere (a gateway's hub) */
    int64_t hl7_idle_us;     /* a silent connection is closed; 0 = 1 h */
};

/* Opens the listeners and starts the threads. `stream` outlives the hub. On failure nothing runs.
 * VG_REJECT hub.config, VG_RETRY hub.listen (port taken), else as registry_open(). */
VG_CHECK enum vg_status hub_open(const struct hub_config *config, struct stream *stream,
                                 struct hub **ret_hub, struct vg_err *err);

/* Takes no more, answers what is being made durable (at most 3 s), tells MQTT 5 clients, ends the
 * threads. NULL is fine. Not from a loop's thread. */
void hub_close(struct hub *hub);

uint16_t hub_mqtts_port(const struct hub *hub);
uint16_t hub_https_port(const struct hub *hub);
uint16_t hub_plain_port(const struct hub *hub); /* 0: there is none */
uint16_t hub_hl7_port(const struct hub *hub);   /* the same */
uint16_t hub_hl7_plain_port(const struct hub *hub);

/* "" while all is well; else why publishers wait or the hub takes nothing more. Any thread. */
void hub_trouble(struct hub *hub, char out[static 256]);

/* Stops (and resumes) reading from publishers, on top of the hub's own reasons. Any thread. */
void hub_pause(struct hub *hub, bool is_paused);

#endif
