/* mqtt_client.c -- libmosquitto with its loop turned by us.
 *
 * Each connection is a libmosquitto instance of its own, thrown away when the connection ends: so
 * no message hides in a queue of the library, and who sends again, what and in which order, is
 * decided in one place, by the owner. poll() instead of mosquitto_loop(), whose select() ends at
 * descriptor 1,023: a gateway with a thousand devices would never reach its upstream again.
 */
#include "base/mqtt_client.h"

#include "base/clock.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEPALIVE_S 30
#define CONNECT_TIMEOUT_US (10 * VG_SECOND_US)
#define PAUSE_MIN_US 100000
#define PAUSE_MAX_US (30 * VG_SECOND_US)
#define IN_LIBRARY_MAX 65535 /* no window of the library's own */

struct vg_mqtt_client {
    char *host, *ca_path, *id, *password;
    int port;
    void (*on_ack)(void *ctx, int token, unsigned reason);
    void (*on_lost)(void *ctx, unsigned reason);
    void *ctx;

    struct mosquitto *mosq; /* NULL: waiting for next_attempt_us */
    bool is_connected, is_refused, is_old_protocol;
    int64_t deadline_us; /* of connecting */
    int64_t next_attempt_us, pause_us;
    unsigned goodbye; /* the reason in the server's DISCONNECT */
    unsigned attempt_count;
    uint64_t ack_count;
    char trouble[160];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void setup(void)
{
    (void)mosquitto_lib_init();
}

static void on_connect(struct mosquitto *mosq, void *ctx, int reason, int flags,
                       const mosquitto_property *properties)
{
    struct vg_mqtt_client *client = ctx;

    (void)mosq;
    (void)flags;
    (void)properties;
    if (reason == 0) {
        client->is_connected = true;
        client->trouble[0] = '\0';
        return;
    }
    client->is_refused = true;
    if (reason == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION ||
        reason == CONNACK_REFUSED_PROTOCOL_VERSION)
        client->is_old_protocol = true;
    (void)snprintf(client->trouble, sizeof(client->trouble), "%s:%d refused '%.64s': %s",
                   client->host, client->port, client->id,
                   client->is_old_protocol ? "protocol version" : mosquitto_reason_string(reason));
}

static void on_publish(struct mosquitto *mosq, void *ctx, int token, int reason,
                       const mosquitto_property *properties)
{
    struct vg_mqtt_client *client = ctx;

    (void)mosq;
    (void)properties;
    client->ack_count++;
    client->pause_us = PAUSE_MIN_US; /* it works: not a server that drops us on every message */
    client->on_ack(client->ctx, token, (unsigned)reason);
}

static void on_disconnect(struct mosquitto *mosq, void *ctx, int reason,
                          const mosquitto_property *properties)
{
    struct vg_mqtt_client *client = ctx;

    (void)mosq;
    (void)properties;
    if (reason >= MQTT_RC_UNSPECIFIED) /* below are the library's own errors */
        client->goodbye = (unsigned)reason;
}

/* The connection, or the attempt at one, has ended. */
static void lose(struct vg_mqtt_client *client, const char *why)
{
    bool was_connected = client->is_connected;

    mosquitto_destroy(client->mosq);
    client->mosq = NULL;
    client->is_connected = false;
    if (!client->is_refused)
        (void)snprintf(client->trouble, sizeof(client->trouble), "%s:%d: %s", client->host,
                       client->port,
                       client->goodbye ? mosquitto_reason_string((int)client->goodbye) : why);
    client->is_refused = false;
    client->next_attempt_us =
        vg_mono_us() + client->pause_us / 2 + randombytes_uniform((uint32_t)(client->pause_us / 2));
    client->pause_us = client->pause_us * 2 < PAUSE_MAX_US ? client->pause_us * 2 : PAUSE_MAX_US;
    if (was_connected)
        client->on_lost(client->ctx, client->goodbye);
}

static const char *why_of(int rc)
{
    if (rc == MOSQ_ERR_ERRNO)
        return errno ? strerror(errno) : "system error";
    return mosquitto_strerror(rc);
}

static void begin(struct vg_mqtt_client *client)
{
    int rc = MOSQ_ERR_NOMEM;

    client->goodbye = 0;
    client->deadline_us = vg_mono_us() + CONNECT_TIMEOUT_US;
    client->mosq = mosquitto_new(client->id, true, client);
    if (!client->mosq)
        goto done;
    mosquitto_connect_v5_callback_set(client->mosq, on_connect);
    mosquitto_publish_v5_callback_set(client->mosq, on_publish);
    mosquitto_disconnect_v5_callback_set(client->mosq, on_disconnect);
    rc = mosquitto_int_option(client->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                              client->is_old_protocol ? MQTT_PROTOCOL_V311 : MQTT_PROTOCOL_V5);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_int_option(client->mosq, MOSQ_OPT_SEND_MAXIMUM, IN_LIBRARY_MAX);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_int_option(client->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_username_pw_set(client->mosq, client->id, client->password);
    if (rc == MOSQ_ERR_SUCCESS && client->ca_path)
        rc = mosquitto_tls_set(client->mosq, client->ca_path, NULL, NULL, NULL, NULL);
    /* The library tries only the first address of a name when it must not wait, and where a name
     * has two families ("localhost" on most machines) that is IPv6. So the attempts take turns:
     * bound to any IPv4 address, then to whatever comes first. */
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_connect_bind_async(client->mosq, client->host, client->port, KEEPALIVE_S,
                                          client->attempt_count++ % 2 == 0 ? "0.0.0.0" : NULL);
done:
    if (rc != MOSQ_ERR_SUCCESS)
        lose(client, why_of(rc));
}

static char *copy(const char *text, bool *is_fine)
{
    char *made = text ? strdup(text) : NULL;

    if (text && !made)
        *is_fine = false;
    return made;
}

enum vg_status vg_mqtt_client_open(const struct vg_mqtt_client_config *config,
                                   struct vg_mqtt_client **ret_client, struct vg_err *err)
{
    struct vg_mqtt_client *client = calloc(1, sizeof(*client));
    bool is_fine = client != NULL;

    (void)pthread_once(&once, setup);
    if (client) {
        client->host = copy(config->host, &is_fine);
        client->ca_path = copy(config->ca_path, &is_fine);
        client->id = copy(config->id, &is_fine);
        client->password = copy(config->password, &is_fine);
        client->port = config->port;
        client->on_ack = config->on_ack;
        client->on_lost = config->on_lost;
        client->ctx = config->ctx;
        client->pause_us = PAUSE_MIN_US;
    }
    if (!is_fine) {
        vg_mqtt_client_close(client);
        return vg_fail(err, VG_RETRY, "mqtt.memory", 0, "no memory for an MQTT client");
    }
    *ret_client = client;
    return VG_OK;
}

void vg_mqtt_client_close(struct vg_mqtt_client *client)
{
    if (!client)
        return;
    if (client->is_connected)
        (void)mosquitto_disconnect(client->mosq); /* written at once; nobody waits for an answer */
    if (client->mosq)
        mosquitto_destroy(client->mosq);
    if (client->password)
        sodium_memzero(client->password, strlen(client->password));
    free(client->host);
    free(client->ca_path);
    free(client->id);
    free(client->password);
    free(client);
}

bool vg_mqtt_is_connected(const struct vg_mqtt_client *client)
{
    return client->is_connected;
}

enum vg_status vg_mqtt_publish(struct vg_mqtt_client *client, const char *topic,
                               struct vg_slice payload, int *ret_token, struct vg_err *err)
{
    int rc;

    if (!client->is_connected)
        return vg_fail(err, VG_RETRY, "mqtt.connect", 0, "%s", client->trouble);
    rc = mosquitto_publish(client->mosq, ret_token, topic, (int)payload.len, payload.ptr, 1, false);
    switch (rc) {
    case MOSQ_ERR_SUCCESS:
        return VG_OK;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_PAYLOAD_SIZE:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_OVERSIZE_PACKET:
        return vg_fail(err, VG_REJECT, "mqtt.publish", 0, "%s", mosquitto_strerror(rc));
    default:
        return vg_fail(err, VG_RETRY, "mqtt.connect", 0, "%s:%d: %s", client->host, client->port,
                       why_of(rc));
    }
}

void vg_mqtt_poll(const struct vg_mqtt_client *client, struct pollfd *ret_poll)
{
    *ret_poll =
        (struct pollfd){.fd = client->mosq ? mosquitto_socket(client->mosq) : -1, .events = POLLIN};
    if (client->mosq && mosquitto_want_write(client->mosq))
        ret_poll->events |= POLLOUT;
}

void vg_mqtt_step(struct vg_mqtt_client *client, bool is_ready)
{
    int rc = MOSQ_ERR_SUCCESS;

    if (!client->mosq) {
        if (vg_mono_us() >= client->next_attempt_us)
            begin(client);
        return;
    }
    while (is_ready && rc == MOSQ_ERR_SUCCESS) {
        uint64_t before = client->ack_count;

        rc = mosquitto_loop_read(client->mosq, 1);
        /* One TLS record may hold many PUBACKs, and poll() does not know of those not read yet. */
        if (client->ack_count == before)
            break;
    }
    if (rc == MOSQ_ERR_SUCCESS && !client->is_refused && mosquitto_want_write(client->mosq))
        rc = mosquitto_loop_write(client->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && !client->is_refused)
        rc = mosquitto_loop_misc(client->mosq);
    if (rc != MOSQ_ERR_SUCCESS || client->is_refused)
        lose(client, why_of(rc));
    else if (!client->is_connected && vg_mono_us() > client->deadline_us)
        lose(client, "no answer to CONNECT in 10 s");
}

void vg_mqtt_wait(struct vg_mqtt_client *client, int timeout_ms)
{
    struct pollfd poller;
    int64_t until_attempt_ms;
    int ready;

    vg_mqtt_poll(client, &poller);
    if (!client->mosq) {
        until_attempt_ms = (client->next_attempt_us - vg_mono_us()) / 1000 + 1;
        if (until_attempt_ms < timeout_ms)
            timeout_ms = until_attempt_ms < 0 ? 0 : (int)until_attempt_ms;
    }
    ready = poll(&poller, 1, timeout_ms);
    vg_mqtt_step(client, ready > 0);
}

const char *vg_mqtt_trouble(const struct vg_mqtt_client *client)
{
    return client->trouble;
}
