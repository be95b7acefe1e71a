/* edge.h -- STAGE, step 2: a gateway that keeps what devices sent until upstream has it.
 *
 * Comes from: topic device.raw of the gateway's own journal (its own hub put it there).
 * Goes to:    an upstream hub over MQTT, QoS 1, as the gateway: its id and password.
 * Promise:    the consumer's offset moves only over what upstream acknowledged; a device's messages
 *             arrive in order; while upstream is away nothing is lost and nothing is given up.
 *             After a broken connection a message may arrive twice, with the same $.mid.
 *
 * A record goes to devices/{device}/messages/events/{bag} with its own properties, $.mid =
 * {gateway}:{partition}-{seq}, $.edge-time = when this gateway had received it (ISO 8601),
 * edge-mid = the device's own message id, when it gave one, and $.edge-dup = 1 when the device said
 * that it may have sent it before. What upstream refuses for good is
 * dead-lettered here.
 */
#ifndef VG_EDGE_EDGE_H
#define VG_EDGE_EDGE_H

#include "stream/stage.h"

struct edge;

struct edge_config {
    const char *gateway_id;
    const char *password; /* may be NULL */
    const char *host;
    uint16_t port;
    const char *ca_path;   /* PEM of upstream's authority; NULL = no TLS */
    uint32_t partition;    /* of the journal; one edge has one client id, so one partition */
    uint32_t inflight_max; /* messages without their PUBACK; 0 = 100 */
};

/* Connects later, in the stage's thread. */
VG_CHECK enum vg_status edge_open(const struct edge_config *config, struct edge **ret_edge,
                                  struct vg_err *err);

/* Group "edge". Valid until edge_close(). */
const struct stage_ops *edge_stage(const struct edge *edge);

/* Any thread, before stage_stop(): waiting for upstream ends; what is not acknowledged stays. */
void edge_stop(struct edge *edge);

void edge_close(struct edge *edge); /* after its stage was stopped; NULL is fine */

#endif
