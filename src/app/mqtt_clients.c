/* mqtt_clients.c -- many device connections in one thread: queues, publishes, counts answers. */
#include "app/mqtt_clients.h"

#include "base/mqtt_client.h"

#include <stdio.h>
#include <stdlib.h>

#define QUEUE_USUAL 1000u
#define INFLIGHT_USUAL 100u
#define TURN_MS 100 /* what a connection needs at least (base/mqtt_client.h) */

struct message {
    char *payload;
    size_t len;
    int token;
    bool is_done; /* acknowledged or refused, while an older one is not */
};

struct device {
    struct mqtt_clients *clients;
    struct vg_mqtt_client *client;
    char *topic;
    struct message *ring; /* queue_max of them */
    size_t head, count;   /* oldest; how many */
    size_t sent_count;    /* the first so many of the queue are in flight */
};

struct mqtt_clients {
    char *host, *ca_path;
    uint16_t port;
    uint32_t queue_max, inflight_max;
    struct device **devices;
    struct pollfd *polls;
    size_t device_count;
    struct mqtt_counts counts;
};

static struct message *message_at(struct device *device, size_t index)
{
    return &device->ring[(device->head + index) % device->clients->queue_max];
}

static void on_ack(void *ctx, int token, unsigned reason)
{
    struct device *device = ctx;

    for (size_t i = 0; i < device->sent_count; i++) {
        struct message *message = message_at(device, i);

        if (message->token != token || message->is_done)
            continue;
        message->is_done = true;
        if (reason < 0x80)
            device->clients->counts.acked++;
        else
            device->clients->counts.refused++;
        break;
    }
    while (device->sent_count && message_at(device, 0)->is_done) {
        free(message_at(device, 0)->payload);
        *message_at(device, 0) = (struct message){0};
        device->head = (device->head + 1) % device->clients->queue_max;
        device->count--;
        device->sent_count--;
    }
}

static void on_lost(void *ctx, unsigned reason)
{
    struct device *device = ctx;

    (void)reason;
    device->sent_count = 0; /* done ones among them are passed over */
}

/* As many as the window has room for. */
static void send_some(struct device *device)
{
    struct message *message;

    while (device->sent_count < device->count &&
           device->sent_count < device->clients->inflight_max) {
        message = message_at(device, device->sent_count);
        /* A failure here is the connection's: on_lost follows and it is sent again. */
        if (!message->is_done && vg_mqtt_publish(device->client, device->topic,
                                                 (struct vg_slice){message->payload, message->len},
                                                 &message->token, NULL) != VG_OK)
            return;
        device->sent_count++;
    }
}

enum vg_status mqtt_clients_open(const struct mqtt_clients_config *config,
                                 struct mqtt_clients **ret_clients, struct vg_err *err)
{
    struct mqtt_clients *clients = calloc(1, sizeof(*clients));

    if (clients) {
        clients->host = strdup(config->host);
        clients->ca_path = config->ca_path ? strdup(config->ca_path) : NULL;
        clients->port = config->port;
        clients->queue_max = config->queue_max ? config->queue_max : QUEUE_USUAL;
        clients->inflight_max = config->inflight_max ? config->inflight_max : INFLIGHT_USUAL;
    }
    if (!clients || !clients->host || (config->ca_path && !clients->ca_path)) {
        mqtt_clients_close(clients);
        return vg_fail(err, VG_RETRY, "simulate.memory", 0, "no memory for MQTT clients");
    }
    *ret_clients = clients;
    return VG_OK;
}

static void device_free(struct device *device)
{
    if (!device)
        return;
    vg_mqtt_client_close(device->client);
    for (size_t i = 0; i < device->count; i++)
        free(message_at(device, i)->payload);
    free(device->ring);
    free(device->topic);
    free(device);
}

void mqtt_clients_close(struct mqtt_clients *clients)
{
    if (!clients)
        return;
    for (size_t i = 0; i < clients->device_count; i++)
        device_free(clients->devices[i]);
    free(clients->devices);
    free(clients->polls);
    free(clients->host);
    free(clients->ca_path);
    free(clients);
}

/* Room for one more in the arrays. */
static bool grow(struct mqtt_clients *clients)
{
    struct device **devices =
        realloc(clients->devices, (clients->device_count + 1) * sizeof(struct device *));
    struct pollfd *polls;

    if (!devices)
        return false;
    clients->devices = devices;
    polls = realloc(clients->polls, (clients->device_count + 1) * sizeof(*polls));
    if (!polls)
        return false;
    clients->polls = polls;
    return true;
}

enum vg_status mqtt_clients_add(struct mqtt_clients *clients, const char *device_id,
                                const char *password, struct vg_err *err)
{
    struct device *device = calloc(1, sizeof(*device));
    enum vg_status st = VG_RETRY;

    if (!device || !grow(clients))
        goto no_memory;
    device->clients = clients;
    device->ring = calloc(clients->queue_max, sizeof(*device->ring));
    if (!device->ring || asprintf(&device->topic, "devices/%s/messages/events/", device_id) < 0) {
        device->topic = NULL; /* asprintf leaves it undefined */
        goto no_memory;
    }
    const struct vg_mqtt_client_config config = {
        .host = clients->host,
        .port = clients->port,
        .ca_path = clients->ca_path,
        .id = device_id,
        .password = password,
        .on_ack = on_ack,
        .on_lost = on_lost,
        .ctx = device,
    };

    st = vg_mqtt_client_open(&config, &device->client, err);
    if (st != VG_OK)
        goto fail;
    clients->devices[clients->device_count++] = device;
    clients->counts.devices++;
    return VG_OK;
no_memory:
    (void)vg_fail(err, st, "simulate.memory", 0, "no memory for one more device");
fail:
    device_free(device);
    return st;
}

enum vg_status mqtt_clients_send(struct mqtt_clients *clients, size_t device_number,
                                 struct vg_slice payload, struct vg_err *err)
{
    struct device *device = clients->devices[device_number];
    struct message *message;

    if (device->count == clients->queue_max)
        return vg_fail(err, VG_RETRY, "simulate.full", 0, "%u messages wait for their PUBACK",
                       clients->queue_max);
    message = message_at(device, device->count);
    *message = (struct message){.payload = malloc(payload.len + 1), .len = payload.len};
    if (!message->payload)
        return vg_fail(err, VG_RETRY, "simulate.memory", 0, "no memory for a message");
    memcpy(message->payload, payload.ptr, payload.len);
    device->count++;
    clients->counts.queued++;
    if (vg_mqtt_is_connected(device->client))
        send_some(device);
    return VG_OK;
}

void mqtt_clients_turn(struct mqtt_clients *clients, int timeout_ms)
{
    for (size_t i = 0; i < clients->device_count; i++)
        vg_mqtt_poll(clients->devices[i]->client, &clients->polls[i]);
    /* An interrupted poll() is a turn in which nothing was ready. */
    bool is_any = poll(clients->polls, (nfds_t)clients->device_count,
                       timeout_ms < TURN_MS ? timeout_ms : TURN_MS) > 0;

    for (size_t i = 0; i < clients->device_count; i++) {
        struct device *device = clients->devices[i];

        vg_mqtt_step(device->client, is_any && clients->polls[i].revents);
        if (vg_mqtt_is_connected(device->client))
            send_some(device);
    }
}

struct mqtt_counts mqtt_clients_counts(const struct mqtt_clients *clients)
{
    struct mqtt_counts counts = clients->counts;

    for (size_t i = 0; i < clients->device_count; i++)
        counts.connected += vg_mqtt_is_connected(clients->devices[i]->client);
    return counts;
}

const char *mqtt_clients_trouble(const struct mqtt_clients *clients)
{
    for (size_t i = 0; i < clients->device_count; i++)
        if (*vg_mqtt_trouble(clients->devices[i]->client))
            return vg_mqtt_trouble(clients->devices[i]->client);
    return "";
}
