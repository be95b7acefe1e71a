/* mqtt_client.h -- one MQTT connection to a server, driven by its owner's thread.
 *
 * libmosquitto underneath, QoS 1 publishing only. MQTT 5, so that a server can say what is wrong
 * with one message; 3.1.1 with servers that know no 5. It connects by itself, again and again, with
 * a pause that doubles from 100 ms to 30 s, half of it random, so that a thousand clients do not
 * come back in the same moment. What had no PUBACK when a connection ended is the owner's to send
 * again: on_lost says so. Nothing here blocks but vg_mqtt_wait() and the look-up of a host's name.
 */
#ifndef VG_BASE_MQTT_CLIENT_H
#define VG_BASE_MQTT_CLIENT_H

#include "base/slice.h"
#include "base/status.h"

#include <poll.h>

struct vg_mqtt_client;

/* Strings are copied. Callbacks run inside vg_mqtt_step() and vg_mqtt_wait(). */
struct vg_mqtt_client_config {
    const char *host;
    uint16_t port;
    const char *ca_path;  /* TLS, with the authorities in this PEM file; NULL = no TLS */
    const char *id;       /* client id and user name */
    const char *password; /* may be NULL */
    void (*on_ack)(void *ctx, int token, unsigned reason); /* PUBACK; reason >= 0x80: refused */
    /* All without a PUBACK are void. reason: what the server said in its DISCONNECT, 0 = nothing.
     */
    void (*on_lost)(void *ctx, unsigned reason);
    void *ctx;
};

VG_CHECK enum vg_status vg_mqtt_client_open(const struct vg_mqtt_client_config *config,
                                            struct vg_mqtt_client **ret_client, struct vg_err *err);
/* Says goodbye if there is somebody. NULL is fine. */
void vg_mqtt_client_close(struct vg_mqtt_client *client);

bool vg_mqtt_is_connected(const struct vg_mqtt_client *client);

/* Sends; *ret_token comes back in on_ack. VG_RETRY mqtt.connect: there is no connection now.
 * VG_REJECT mqtt.publish: this topic or payload cannot be sent. `topic` is NUL-terminated. The
 * owner bounds how many are in flight. */
VG_CHECK enum vg_status vg_mqtt_publish(struct vg_mqtt_client *client, const char *topic,
                                        struct vg_slice payload, int *ret_token,
                                        struct vg_err *err);

/* For who waits on many: what to poll for (fd -1: nothing now), and one turn afterwards. A turn
 * belongs to each client at least every 100 ms. */
void vg_mqtt_poll(const struct vg_mqtt_client *client, struct pollfd *ret_poll);
void vg_mqtt_step(struct vg_mqtt_client *client, bool is_ready);

/* For who has only one: waits up to timeout_ms for something to happen, and takes a turn. */
void vg_mqtt_wait(struct vg_mqtt_client *client, int timeout_ms);

/* Why there is no connection; "" while there is one or before the first attempt failed. */
const char *vg_mqtt_trouble(const struct vg_mqtt_client *client);

#endif
