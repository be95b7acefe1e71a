/* edge.c -- store and forward: device.raw of this journal to a hub above.
 *
 * process() sends the batch in order, at most `window` messages ahead of their PUBACKs, and says
 * VG_OK when each has been acknowledged. What is acknowledged is remembered while the same batch is
 * tried again, so a broken connection costs at most one window of messages sent twice; a crash
 * costs the batch. Both are harmless: the same record has the same $.mid.
 *
 * Refusals: a PUBACK may refuse (MQTT 5), and a hub may end the connection over one message with a
 * reason. As that message is somewhere in the window, it is then sent one at a time until one
 * message alone has been refused REFUSALS_MAX times: that one is dead-lettered and the window grows
 * again. Reasons that time may mend (quota, busy, shutting down) only make us wait. Over MQTT 3.1.1
 * a refusal cannot be told from a broken line: the gateway then waits and says so.
 *
 * Threads: everything in the stage's thread; edge_stop() sets a flag.
 */
#include "edge/edge.h"

#include "base/http_server.h" /* vg_url_encode */
#include "base/log.h"
#include "base/metrics.h"
#include "base/mqtt_client.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define INFLIGHT_USUAL 100u
#define INFLIGHT_MOST 10000u
#define BATCH_COUNT_MAX 250u /* a crash repeats so many: fewer than a hub remembers of a device */
#define CONNECT_WAIT_US (2 * VG_SECOND_US)
#define ACK_WAIT_US (10 * VG_SECOND_US)
#define WAIT_MS 100 /* the longest until edge_stop() is seen */
#define REFUSALS_MAX 3
#define TOPIC_BYTES_MAX 65535u

enum sending {
    NOT_SENT,
    SENT,
    ACKNOWLEDGED,
    REFUSED,
};

struct entry {
    uint64_t seq;
    enum sending state;
    int token;
    unsigned reason, refusals;
};

struct edge {
    struct stage_ops ops;
    char *gateway_id;
    uint32_t partition;
    struct vg_mqtt_client *client;
    uint32_t inflight_max;
    size_t careful_count; /* so many messages are sent one at a time: one of them was refused */
    bool is_held;         /* upstream said "not now" */
    atomic_bool is_stopping;
    bool was_connected; /* as last logged */

    struct entry entries[BATCH_COUNT_MAX];
    size_t count, next, inflight, done; /* next: first that may have to be sent */
    int64_t progress_us;                /* monotonic: the last PUBACK, or the start */
    struct vg_buf topic;

    struct vg_metric *forwarded, *refused, *lost;
};

/* Will the same message be refused for ever? */
static bool is_final(unsigned reason)
{
    static const unsigned final[] = {
        0x81, /* malformed packet */
        0x82, /* protocol error */
        0x87, /* not authorized: this device is not brought by this gateway */
        0x90, /* topic name invalid */
        0x95, /* packet too large */
        0x99, /* payload format invalid */
    };

    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
        if (reason == final[i])
            return true;
    return false;
}

static void entry_refused(struct edge *edge, struct entry *entry, unsigned reason)
{
    entry->state = NOT_SENT;
    if (++entry->refusals < REFUSALS_MAX)
        return;
    entry->state = REFUSED;
    entry->reason = reason;
    edge->done++;
    if (edge->careful_count)
        edge->careful_count--;
    vg_metric_add(edge->refused, 1);
}

static void on_ack(void *ctx, int token, unsigned reason)
{
    struct edge *edge = ctx;

    edge->progress_us = vg_mono_us();
    for (size_t i = 0; i < edge->count; i++) {
        struct entry *entry = &edge->entries[i];

        if (entry->state != SENT || entry->token != token)
            continue;
        edge->inflight--;
        if (reason < 0x80) {
            entry->state = ACKNOWLEDGED;
            edge->done++;
            vg_metric_add(edge->forwarded, 1);
            if (edge->careful_count)
                edge->careful_count--;
        } else if (is_final(reason)) {
            entry->refusals = REFUSALS_MAX; /* it was this one, beyond doubt */
            entry_refused(edge, entry, reason);
        } else {
            entry->state = NOT_SENT;
            edge->next = 0;
            edge->is_held = true;
        }
        return;
    }
}

static void on_lost(void *ctx, unsigned reason)
{
    struct edge *edge = ctx;
    bool is_refusal = is_final(reason);

    if (is_refusal && edge->careful_count < edge->inflight)
        edge->careful_count = edge->inflight;
    vg_metric_add(edge->lost, 1);
    for (size_t i = 0; i < edge->count; i++) {
        struct entry *entry = &edge->entries[i];

        if (entry->state != SENT)
            continue;
        if (is_refusal && edge->inflight == 1)
            entry_refused(edge, entry, reason);
        else
            entry->state = NOT_SENT;
    }
    edge->inflight = 0;
    edge->next = 0;
}

static void put_pair(struct vg_buf *out, struct vg_slice name, struct vg_slice value)
{
    if (out->len && out->ptr[out->len - 1] != '/')
        vg_buf_put_byte(out, '&');
    vg_url_encode(out, name);
    vg_buf_put_byte(out, '=');
    vg_url_encode(out, value);
}

/* Fills edge->topic, NUL-terminated. False: no such topic can be sent. */
static bool topic_make(struct edge *edge, const struct stream_record *record)
{
    struct vg_buf *out = &edge->topic;
    struct vg_slice name, value, edge_time = stream_header_get(record->headers, "edge-time");
    char time[VG_TIME_TEXT_SIZE], mid[192];
    size_t cursor = 0;

    vg_buf_clear(out);
    if (record->key.len == 0 || memchr(record->key.ptr, '/', record->key.len))
        return false;
    vg_buf_printf(out, "devices/%.*s/messages/events/", VG_FMT(record->key));
    (void)snprintf(mid, sizeof(mid), "%.128s:%u-%llu", edge->gateway_id, edge->partition,
                   (unsigned long long)record->seq);
    put_pair(out, VG_SLICE("$.mid"), vg_slice_of(mid));
    /* Where gateways stand in a row, the first one's time is the one that counts. */
    if (!edge_time.ptr) {
        (void)vg_time_format(record->time_us, 6, time);
        edge_time = vg_slice_of(time);
    }
    put_pair(out, VG_SLICE("$.edge-time"), edge_time);
    while (stream_header_next(record->headers, &cursor, &name, &value)) {
        if (vg_slice_is(name, "mid"))
            put_pair(out, VG_SLICE("edge-mid"), value);
        else if (vg_slice_is(name, "ctime"))
            put_pair(out, VG_SLICE("$.ctime"), value);
        else if (vg_slice_is(name, "ct"))
            put_pair(out, VG_SLICE("$.ct"), value);
        else if (vg_slice_is(name, "dup") || vg_slice_is(name, "edge-dup"))
            put_pair(out, VG_SLICE("$.edge-dup"), VG_SLICE("1"));
        else if (vg_slice_starts(name, VG_SLICE("p.")) &&
                 !vg_slice_starts(name, VG_SLICE("p.$.edge-")))
            put_pair(out, vg_slice_from(name, 2), value); /* a device cannot speak as a gateway */
    }
    vg_buf_put_byte(out, 0);
    return vg_buf_ok(out) && strlen(out->ptr) == out->len - 1 && strpbrk(out->ptr, "+#") == NULL;
}

/* The batch of last time, or a new one? */
static void batch_take(struct edge *edge, const struct stream_batch *batch)
{
    bool is_same = edge->count == batch->count;

    for (size_t i = 0; is_same && i < batch->count; i++)
        is_same = edge->entries[i].seq == batch->records[i].seq;
    edge->progress_us = vg_mono_us();
    edge->is_held = false;
    if (is_same)
        return;
    for (size_t i = 0; i < batch->count; i++)
        edge->entries[i] = (struct entry){.seq = batch->records[i].seq};
    edge->count = batch->count;
    edge->next = edge->inflight = edge->done = 0;
}

/* Sends what the window has room for. */
static void send_some(struct edge *edge, const struct stream_batch *batch)
{
    while (edge->next < edge->count &&
           edge->inflight < (edge->careful_count ? 1 : edge->inflight_max)) {
        const struct stream_record *record = &batch->records[edge->next];
        struct entry *entry = &edge->entries[edge->next];
        enum vg_status st = VG_REJECT;

        if (entry->state == NOT_SENT && topic_make(edge, record))
            st = vg_mqtt_publish(edge->client, edge->topic.ptr, record->value, &entry->token, NULL);
        if (st == VG_RETRY)
            return; /* the connection has ended; the next step says so */
        edge->next++;
        if (st == VG_OK) {
            entry->state = SENT;
            edge->inflight++;
        } else if (entry->state == NOT_SENT) {
            entry->refusals = REFUSALS_MAX;
            entry_refused(edge, entry, 0);
        }
    }
}

/* The connection's ups and downs while nothing is to be sent; process() tells its own to the stage.
 */
static void log_change(struct edge *edge)
{
    bool is_connected = vg_mqtt_is_connected(edge->client);

    if (is_connected == edge->was_connected)
        return;
    edge->was_connected = is_connected;
    if (is_connected)
        vg_log(VG_LOG_INFO, "edge", "edge.connected", "upstream takes messages");
    else
        vg_log(VG_LOG_WARN, "edge", "edge.upstream", "%s", vg_mqtt_trouble(edge->client));
}

static bool wait_connected(struct edge *edge)
{
    int64_t until_us = vg_mono_us() + CONNECT_WAIT_US;

    while (!vg_mqtt_is_connected(edge->client) && vg_mono_us() < until_us &&
           !atomic_load(&edge->is_stopping))
        vg_mqtt_wait(edge->client, WAIT_MS);
    return vg_mqtt_is_connected(edge->client);
}

static enum vg_status process(void *self, const struct stream_batch *batch, struct stream_out *out,
                              struct vg_err *err)
{
    struct edge *edge = self;

    batch_take(edge, batch);
    while (edge->done < edge->count) {
        if (atomic_load(&edge->is_stopping))
            return vg_fail(err, VG_RETRY, "edge.stop", 0, "stopping with %zu messages not sent",
                           edge->count - edge->done);
        if (!wait_connected(edge))
            return vg_fail(err, VG_RETRY, "edge.upstream", 0, "%s",
                           *vg_mqtt_trouble(edge->client) ? vg_mqtt_trouble(edge->client)
                                                          : "connecting");
        if (edge->is_held)
            return vg_fail(err, VG_RETRY, "edge.held", 0, "upstream takes nothing at the moment");
        if (vg_mono_us() - edge->progress_us > ACK_WAIT_US)
            return vg_fail(err, VG_RETRY, "edge.slow", 0,
                           "upstream has acknowledged nothing for 10 s");
        send_some(edge, batch);
        if (edge->done < edge->count)
            vg_mqtt_wait(edge->client, WAIT_MS);
    }
    for (size_t i = 0; i < edge->count; i++) {
        struct vg_err why;

        if (edge->entries[i].state != REFUSED)
            continue;
        (void)vg_fail(&why, VG_REJECT, "edge.refused", 0,
                      "upstream will not take it (MQTT reason 0x%02x)", edge->entries[i].reason);
        stage_deadletter(out, STREAM_DEVICE_RAW, edge->partition, &batch->records[i], "edge", &why);
    }
    edge->count = edge->done = edge->next = 0;
    return VG_OK;
}

/* Without records: pings, and finding out early that upstream cannot be reached. */
static enum vg_status tick(void *self, int64_t now_us, struct stream_out *out, struct vg_err *err)
{
    struct edge *edge = self;

    (void)now_us;
    (void)out;
    (void)err;
    if (!atomic_load(&edge->is_stopping))
        vg_mqtt_wait(edge->client, vg_mqtt_is_connected(edge->client) ? 0 : WAIT_MS);
    log_change(edge);
    return VG_OK;
}

enum vg_status edge_open(const struct edge_config *config, struct edge **ret_edge,
                         struct vg_err *err)
{
    struct edge *edge = calloc(1, sizeof(*edge));
    enum vg_status st;

    if (!edge)
        return vg_fail(err, VG_RETRY, "edge.memory", 0, "no memory for the gateway");
    const struct vg_mqtt_client_config client = {
        .host = config->host,
        .port = config->port,
        .ca_path = config->ca_path,
        .id = config->gateway_id,
        .password = config->password,
        .on_ack = on_ack,
        .on_lost = on_lost,
        .ctx = edge,
    };

    edge->ops = (struct stage_ops){
        .name = "edge",
        .steps = {2},
        .input = STREAM_DEVICE_RAW,
        .batch_count_max = BATCH_COUNT_MAX,
        .process = process,
        .tick = tick,
        .tick_us = VG_SECOND_US,
    };
    edge->partition = config->partition;
    edge->inflight_max = config->inflight_max ? config->inflight_max : INFLIGHT_USUAL;
    if (edge->inflight_max > INFLIGHT_MOST) {
        st = vg_fail(err, VG_REJECT, "edge.config", 0, "%u messages in flight; at most %u",
                     config->inflight_max, INFLIGHT_MOST);
        goto done;
    }
    vg_buf_init(&edge->topic, TOPIC_BYTES_MAX);
    edge->forwarded =
        vg_counter("vigil_edge_forwarded_total", "Messages upstream acknowledged", "");
    edge->refused = vg_counter("vigil_edge_refused_total", "Messages upstream will not take", "");
    edge->lost =
        vg_counter("vigil_edge_disconnects_total", "Connections to upstream that ended", "");
    edge->gateway_id = strdup(config->gateway_id);
    st = edge->gateway_id ? vg_mqtt_client_open(&client, &edge->client, err)
                          : vg_fail(err, VG_RETRY, "edge.memory", 0, "no memory for the gateway");
    if (st != VG_OK)
        goto done;
    *ret_edge = edge;
    edge = NULL;
done:
    edge_close(edge);
    return st;
}

const struct stage_ops *edge_stage(const struct edge *edge)
{
    return &edge->ops;
}

void edge_stop(struct edge *edge)
{
    atomic_store(&edge->is_stopping, true);
}

void edge_close(struct edge *edge)
{
    if (!edge)
        return;
    vg_mqtt_client_close(edge->client);
    vg_buf_fini(&edge->topic);
    free(edge->gateway_id);
    free(edge);
}
