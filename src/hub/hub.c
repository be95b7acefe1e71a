/* hub.c -- opening and closing the hub, its timers, its troubles.
 *
 * Threads: one per loop ("hub-0", ...), one for passwords and the registry ("hub-auth"), and the
 * stream's committer, which calls back (turn.c). Closing: publishers are paused and listeners
 * closed in every loop; what is in flight is answered (at most 3 s); then the threads end,
 * passwords first.
 */
#include "hub/hub_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SWEEP_US VG_SECOND_US
#define LAG_US (VG_SECOND_US / 10)
#define RETRY_US (VG_SECOND_US / 2)
#define SEEN_US (30 * VG_SECOND_US)
#define CLOSE_S 3

/* "" = the loop is well again. */
void hub_set_trouble(struct hub *hub, struct hub_loop *loop, const char *text)
{
    pthread_mutex_lock(&hub->lock);
    (void)snprintf(loop->trouble, sizeof(loop->trouble), "%s", text);
    pthread_mutex_unlock(&hub->lock);
}

void hub_trouble(struct hub *hub, char out[static 256])
{
    out[0] = '\0';
    pthread_mutex_lock(&hub->lock);
    for (uint32_t i = 0; i < hub->config.loops && !out[0]; i++)
        (void)snprintf(out, 256, "%s", hub->loops[i].trouble);
    pthread_mutex_unlock(&hub->lock);
}

/* ---- timers, in each loop ---- */

static void sweep(void *ctx)
{
    struct hub_loop *loop = ctx;

    conn_sweep(loop);
    if (loop->index == 0)
        session_sweep(loop->hub, loop);
    vg_metric_set(loop->connections, loop->conn_count);
}

static void retry(void *ctx)
{
    turn_retry(ctx);
}

static void seen(void *ctx)
{
    auth_seen(ctx);
}

static uint64_t worst_lag(struct hub *hub)
{
    uint64_t worst = 0;

    for (uint32_t p = 0; p < stream_partitions(hub->stream); p++) {
        uint64_t lag = stream_lag(hub->stream, "connector", STREAM_DEVICE_RAW, p);

        worst = lag > worst ? lag : worst;
    }
    return worst;
}

/* Back-pressure: pause above lag_max, go on below nine tenths of it. */
static void watch_lag(void *ctx)
{
    struct hub_loop *loop = ctx;
    struct hub *hub = loop->hub;
    uint64_t lag = worst_lag(hub), max = hub->config.lag_max;
    bool is_paused = (loop->pauses & PAUSE_LAG) != 0;
    bool is_by_caller = atomic_load(&hub->is_paused_by_caller);
    char text[128];

    turn_begin(loop);
    if (!is_paused && lag > max) {
        (void)snprintf(text, sizeof(text),
                       "connector is %llu records behind (limit %llu): publishers wait",
                       (unsigned long long)lag, (unsigned long long)max);
        vg_log(VG_LOG_WARN, "hub", "hub.lag", "%s", text);
        hub_set_trouble(hub, loop, text);
        turn_pause(loop, PAUSE_LAG, true);
    } else if (is_paused && lag <= max - max / 10) {
        vg_log(VG_LOG_INFO, "hub", "hub.lag", "connector has caught up");
        hub_set_trouble(hub, loop, "");
        turn_pause(loop, PAUSE_LAG, false);
    }
    if (is_by_caller != ((loop->pauses & PAUSE_CALLER) != 0))
        turn_pause(loop, PAUSE_CALLER, is_by_caller);
}

void hub_pause(struct hub *hub, bool is_paused)
{
    atomic_store(&hub->is_paused_by_caller, is_paused);
    for (uint32_t i = 0; i < hub->config.loops; i++)
        (void)vg_loop_post(hub->loops[i].loop, watch_lag, &hub->loops[i]);
}

/* ---- open ---- */

static enum vg_status open_loop(struct hub *hub, uint32_t index, struct vg_err *err)
{
    struct hub_loop *loop = &hub->loops[index];
    const struct {
        int64_t interval_us;
        void (*fn)(void *ctx);
    } timers[] = {{SWEEP_US, sweep}, {LAG_US, watch_lag}, {RETRY_US, retry}, {SEEN_US, seen}};
    char labels[32];
    enum vg_status st;

    loop->hub = hub;
    loop->index = index;
    LIST_INIT(&loop->conns);
    LIST_INIT(&loop->stalled);
    LIST_INIT(&loop->dirty);
    vg_map_init(&loop->cache);
    vg_buf_init(&loop->headers, 512u << 10);
    vg_arena_init(&loop->arena, 1u << 20);
    (void)snprintf(labels, sizeof(labels), "loop=\"%u\"", index);
    loop->connections = vg_gauge("vigil_hub_connections", "open MQTT connections", labels);
    loop->scratch = malloc(HUB_SCRATCH_BYTES);
    if (!loop->scratch)
        return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    (void)snprintf(loop->name, sizeof(loop->name), "hub-%u", index);
    st = vg_loop_open(loop->name, &loop->loop, err);
    if (st == VG_OK)
        st = turn_open(loop, err);
    turn_begin(loop);
    for (size_t i = 0; st == VG_OK && i < sizeof(timers) / sizeof(timers[0]); i++)
        st = vg_loop_every(loop->loop, timers[i].interval_us, timers[i].fn, loop, err);
    return st;
}

static void open_metrics(struct hub_metrics *m)
{
    static const char *const via[] = {"via=\"mqtt\"", "via=\"mqtt5\"", "via=\"https\"",
                                      "via=\"mllp\""};

    for (size_t i = 0; i < 4; i++)
        m->messages[i] = vg_counter("vigil_hub_messages_total", "messages taken", via[i]);
    m->bytes = vg_counter("vigil_hub_bytes_total", "bytes of messages made durable", "");
    m->commits = vg_counter("vigil_hub_commits_total", "batches made durable", "");
    m->seconds = vg_histogram("vigil_hub_ack_seconds",
                              "from a batch's first message to its acknowledgement", "");
    for (int i = 0; i < REFUSED_COUNT; i++) {
        char labels[64];

        (void)snprintf(labels, sizeof(labels), "reason=\"%s\"",
                       refusal_of((enum refused)i)->code + strlen("hub."));
        m->refused[i] = vg_counter("vigil_hub_refused_total", "connections refused", labels);
    }
}

static enum vg_status take_config(struct hub *hub, const struct hub_config *config,
                                  struct vg_err *err)
{
    struct hub_config *c = &hub->config;

    *c = *config;
    if (!c->data_dir || (!c->tls && !c->has_plain))
        return vg_fail(err, VG_REJECT, "hub.config", 0, "%s",
                       c->data_dir ? "neither TLS nor plain MQTT is configured"
                                   : "no data folder is configured");
    c->address = c->address ? c->address : "127.0.0.1";
    c->loops = c->loops ? c->loops : 1;
    c->payload_bytes_max = c->payload_bytes_max ? c->payload_bytes_max : 256u << 10;
    c->connections_max = c->connections_max ? c->connections_max : 20000;
    c->inflight_max = c->inflight_max ? c->inflight_max : 1024;
    c->connect_timeout_us = c->connect_timeout_us ? c->connect_timeout_us : 10 * VG_SECOND_US;
    c->lag_max = c->lag_max ? c->lag_max : 1000000;
    c->hl7_plain_address = c->hl7_plain_address ? c->hl7_plain_address : "127.0.0.1";
    c->hl7_processing = c->hl7_processing ? c->hl7_processing : "P";
    c->hl7_frame_timeout_us = c->hl7_frame_timeout_us ? c->hl7_frame_timeout_us : 30 * VG_SECOND_US;
    c->hl7_idle_us = c->hl7_idle_us ? c->hl7_idle_us : VG_HOUR_US;
    hub->clock = c->clock ? *c->clock : vg_clock_system;
    if (c->loops > 64 || c->inflight_max > 65535 || c->payload_bytes_max > (16u << 20))
        return vg_fail(err, VG_REJECT, "hub.config", 0,
                       "at most 64 loops, 65,535 in flight, 16 MiB of payload");
    return VG_OK;
}

static bool is_served(const struct hub *hub, enum hub_listener which)
{
    switch (which) {
    case LISTEN_MQTTS:
        return hub->config.tls != NULL;
    case LISTEN_MQTT:
        return hub->config.has_plain;
    case LISTEN_MLLPS:
        return hub->mllp && hub->config.tls;
    case LISTEN_MLLP:
        return hub->mllp && hub->config.has_hl7_plain;
    case HUB_LISTENERS:
        break;
    }
    return false;
}

enum vg_status hub_open(const struct hub_config *config, struct stream *stream,
                        struct hub **ret_hub, struct vg_err *err)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    enum vg_status st;

    if (!hub)
        return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    hub->stream = stream;
    pthread_mutex_init(&hub->lock, NULL);
    pthread_cond_init(&hub->landed, NULL);
    vg_map_init(&hub->sessions);
    for (size_t i = 0; i < 2; i++) {
        vg_buf_init(&hub->via[i], 64);
        stream_header_put(&hub->via[i], "via", vg_slice_of(i ? "mqtt5" : "mqtt"));
    }
    open_metrics(&hub->metrics);
    st = take_config(hub, config, err);
    if (st == VG_OK)
        st = vg_crypto_init(err);
    if (st == VG_OK) {
        hub->loops = calloc(hub->config.loops, sizeof(*hub->loops));
        if (!hub->loops)
            st = vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    }
    for (uint32_t i = 0; st == VG_OK && i < hub->config.loops; i++)
        st = open_loop(hub, i, err);
    if (st == VG_OK)
        st = auth_open(hub, err);
    if (st == VG_OK && mllp_is_served(&hub->config))
        st = mllp_open(hub, err);
    for (uint32_t i = 0; st == VG_OK && i < hub->config.loops; i++) {
        for (int which = 0; which < HUB_LISTENERS && st == VG_OK; which++)
            if (is_served(hub, (enum hub_listener)which))
                st = conn_listen(&hub->loops[i], (enum hub_listener)which, err);
    }
    if (st == VG_OK && hub->config.tls)
        st = https_open(hub, err);
    for (uint32_t i = 0; st == VG_OK && i < hub->config.loops; i++)
        st = vg_loop_start(hub->loops[i].loop, err);
    if (st == VG_OK) {
        hub->is_running = true;
        *ret_hub = hub;
        hub = NULL;
    }
    hub_close(hub);
    return st;
}

/* ---- close ---- */

static void quiesce(void *ctx)
{
    struct hub_loop *loop = ctx;

    loop->is_closing = true;
    turn_pause(loop, PAUSE_CLOSING, true);
    for (size_t i = 0; i < HUB_LISTENERS; i++)
        if (loop->listeners[i])
            evconnlistener_disable(loop->listeners[i]);
}

/* Posted again and again while hub_close() waits. */
static void report_idle(void *ctx)
{
    struct hub_loop *loop = ctx;

    pthread_mutex_lock(&loop->hub->lock);
    loop->is_idle = turn_is_idle(loop);
    pthread_cond_broadcast(&loop->hub->landed);
    pthread_mutex_unlock(&loop->hub->lock);
}

static void say_goodbye(void *ctx)
{
    struct hub_loop *loop = ctx;
    struct conn *conn, *next;

    turn_begin(loop);
    for (conn = LIST_FIRST(&loop->conns); conn; conn = next) {
        next = LIST_NEXT(conn, all);
        if (conn->state == CONN_ONLINE) {
            will_free(conn->will); /* we leave, not the device */
            conn->will = NULL;
            conn_refuse(conn, REFUSED_SHUTTING_DOWN, "the hub is shutting down");
        }
        if (conn->is_dirty) {
            LIST_REMOVE(conn, dirty);
            conn->is_dirty = false;
            conn_flush(conn);
        }
    }
}

static bool are_idle(const struct hub *hub)
{
    for (uint32_t i = 0; i < hub->config.loops; i++)
        if (!hub->loops[i].is_idle)
            return false;
    return true;
}

static void wait_for_answers(struct hub *hub)
{
    int64_t end_us = vg_mono_us() + CLOSE_S * VG_SECOND_US;

    for (uint32_t i = 0; i < hub->config.loops; i++)
        (void)vg_loop_post(hub->loops[i].loop, quiesce, &hub->loops[i]);
    pthread_mutex_lock(&hub->lock);
    while (!are_idle(hub) && vg_mono_us() < end_us) {
        struct timespec until;

        pthread_mutex_unlock(&hub->lock);
        for (uint32_t i = 0; i < hub->config.loops; i++)
            (void)vg_loop_post(hub->loops[i].loop, report_idle, &hub->loops[i]);
        pthread_mutex_lock(&hub->lock);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 20 * 1000 * 1000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        (void)pthread_cond_timedwait(&hub->landed, &hub->lock, &until);
    }
    pthread_mutex_unlock(&hub->lock);
    for (uint32_t i = 0; i < hub->config.loops; i++)
        (void)vg_loop_post(hub->loops[i].loop, say_goodbye, &hub->loops[i]);
}

static void close_loop(struct hub_loop *loop)
{
    struct conn *conn;

    for (size_t i = 0; i < HUB_LISTENERS; i++)
        if (loop->listeners[i])
            evconnlistener_free(loop->listeners[i]);
    while ((conn = LIST_FIRST(&loop->conns))) {
        if (conn->state == CONN_AUTH)
            conn->refs = 1; /* its check was dropped with the threads */
        conn_close(conn, true);
    }
    turn_close(loop);
    vg_loop_close(loop->loop);
    directory_unref(loop->directory);
    vg_map_fini(&loop->cache, free);
    vg_buf_fini(&loop->headers);
    vg_arena_fini(&loop->arena);
    free(loop->scratch);
}

void hub_close(struct hub *hub)
{
    if (!hub)
        return;
    if (hub->is_running)
        wait_for_answers(hub);
    auth_stop(hub);
    for (uint32_t i = 0; hub->loops && i < hub->config.loops; i++)
        if (hub->loops[i].loop)
            vg_loop_stop(hub->loops[i].loop);
    pthread_mutex_lock(&hub->lock);
    while (hub->flying) /* the stream still holds our batches */
        pthread_cond_wait(&hub->landed, &hub->lock);
    pthread_mutex_unlock(&hub->lock);
    if (hub->https)
        turn_drop_requests(&hub->loops[0]);
    vg_http_server_close(hub->https);
    for (uint32_t i = 0; hub->loops && i < hub->config.loops; i++)
        if (hub->loops[i].hub)
            close_loop(&hub->loops[i]);
    mllp_close(hub);
    auth_close(hub);
    vg_map_fini(&hub->sessions, session_free);
    for (size_t i = 0; i < 2; i++)
        vg_buf_fini(&hub->via[i]);
    pthread_cond_destroy(&hub->landed);
    pthread_mutex_destroy(&hub->lock);
    free(hub->loops);
    free(hub);
}

uint16_t hub_mqtts_port(const struct hub *hub)
{
    return hub->ports[LISTEN_MQTTS];
}

uint16_t hub_https_port(const struct hub *hub)
{
    return hub->https ? vg_http_server_port(hub->https) : 0;
}

uint16_t hub_plain_port(const struct hub *hub)
{
    return hub->ports[LISTEN_MQTT];
}

uint16_t hub_hl7_port(const struct hub *hub)
{
    return hub->ports[LISTEN_MLLPS];
}

uint16_t hub_hl7_plain_port(const struct hub *hub)
{
    return hub->ports[LISTEN_MLLP];
}
