/* mqtt_clients.h -- many devices in one thread: what vigil simulate and vigil replay send with.
 *
 * Each device has an MQTT connection of its own, with its own credentials, and a bounded queue: a
 * message leaves it when its PUBACK has come, and is sent again after a broken connection. One
 * thread for all of it.
 */
#ifndef VG_APP_MQTT_CLIENTS_H
#define VG_APP_MQTT_CLIENTS_H

#include "base/slice.h"
#include "base/status.h"

struct mqtt_clients;

struct mqtt_clients_config {
    const char *host;
    uint16_t port;
    const char *ca_path;   /* NULL = no TLS */
    uint32_t queue_max;    /* messages of one device without their PUBACK; 0 = 1,000 */
    uint32_t inflight_max; /* of these, sent; 0 = 100 */
};

struct mqtt_counts {
    size_t devices, connected;
    uint64_t queued; /* all that were ever taken */
    uint64_t acked;
    uint64_t refused; /* by a PUBACK: the server will not have it */
};

VG_CHECK enum vg_status mqtt_clients_open(const struct mqtt_clients_config *config,
                                          struct mqtt_clients **ret_clients, struct vg_err *err);
void mqtt_clients_close(struct mqtt_clients *clients); /* NULL is fine */

/* Devices are numbered from 0 in the order they were added. */
VG_CHECK enum vg_status mqtt_clients_add(struct mqtt_clients *clients, const char *device_id,
                                         const char *password, struct vg_err *err);

/* Copies the payload. VG_RETRY simulate.full: the device's queue is full. */
VG_CHECK enum vg_status mqtt_clients_send(struct mqtt_clients *clients, size_t device,
                                          struct vg_slice payload, struct vg_err *err);

/* Waits up to timeout_ms for something to happen, and deals with it. To be called all the time. */
void mqtt_clients_turn(struct mqtt_clients *clients, int timeout_ms);

struct mqtt_counts mqtt_clients_counts(const struct mqtt_clients *clients);

/* Why one of the unconnected has no connection; "" when all have one or have not tried yet. */
const char *mqtt_clients_trouble(const struct mqtt_clients *clients);

#endif
