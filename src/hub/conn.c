/* conn.c -- sockets: accept, TLS, bytes in, bytes out, deadlines.
 *
 * READING
 *
 * Sockets are read straight into one scratch buffer that a loop's connections share, and parsed
 * there; only the begin of a packet that has not come whole is kept (conn->in). So an idle
 * connection holds no buffer, and what a peer announces is never allocated: memory follows the
 * bytes that really came. libevent gives readiness only: its bufferevents read 4 KiB at a time and
 * copy, which was the larger part of a message's cost.
 *
 * A stalled connection is not read. It stalls at a PUBLISH that there is no room for (turn.c),
 * while its password is checked, and while it does not take what we answer. PINGREQ and CONNECT of
 * others go on.
 *
 * REFUSING
 *
 * conn_refuse() says why (CONNACK or, in MQTT 5, DISCONNECT), shuts our direction and throws away
 * what still comes for two seconds: closing at once would make the kernel send a reset that
 * destroys the answer before the peer has read it.
 *
 * MLLP connections (mllp.c) share all of this; only what their bytes mean is theirs.
 *
 * Everything here runs in the connection's loop. A connection lives until its last reference goes.
 */
#include "hub/hub_int.h"

#include "base/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DRAIN_US (2 * VG_SECOND_US)
#define OUT_BYTES_MAX (1u << 20)

static const struct refusal refusals[REFUSED_COUNT] = {
    [REFUSED_MALFORMED] = {"hub.malformed", MQTT_MALFORMED, 0},
    [REFUSED_PROTOCOL] = {"hub.protocol", MQTT_PROTOCOL, 0},
    [REFUSED_VERSION] = {"hub.version", MQTT_VERSION, 1},
    [REFUSED_CLIENT_ID] = {"hub.client_id", MQTT_CLIENT_ID, 2},
    [REFUSED_PASSWORD] = {"hub.password", MQTT_PASSWORD, 4},
    [REFUSED_DISABLED] = {"hub.disabled", MQTT_NOT_ALLOWED, 5},
    [REFUSED_AUTH_METHOD] = {"hub.auth_method", MQTT_AUTH_METHOD, 5},
    [REFUSED_BUSY] = {"hub.busy", MQTT_BUSY, 3},
    [REFUSED_UNAVAILABLE] = {"hub.unavailable", MQTT_UNAVAILABLE, 3},
    [REFUSED_CONNECT_TIMEOUT] = {"hub.connect_timeout", MQTT_KEEP_ALIVE, 0},
    [REFUSED_KEEP_ALIVE] = {"hub.keep_alive", MQTT_KEEP_ALIVE, 0},
    [REFUSED_TAKEN_OVER] = {"hub.taken_over", MQTT_TAKEN_OVER, 0},
    [REFUSED_TOPIC] = {"hub.topic", MQTT_NOT_ALLOWED, 5},
    [REFUSED_TOPIC_FORM] = {"hub.topic_form", MQTT_TOPIC, 5},
    [REFUSED_SIZE] = {"hub.size", MQTT_TOO_LARGE, 0},
    [REFUSED_QOS] = {"hub.qos", MQTT_QOS, 5},
    [REFUSED_RETAIN] = {"hub.retain", MQTT_RETAIN, 0},
    [REFUSED_ALIAS] = {"hub.alias", MQTT_TOPIC_ALIAS, 0},
    [REFUSED_INFLIGHT] = {"hub.inflight", MQTT_RECEIVE_MAXIMUM, 0},
    [REFUSED_QUOTA] = {"hub.quota", MQTT_QUOTA, 3},
    [REFUSED_SUBSCRIPTION_ID] = {"hub.subscription_id", MQTT_SUBSCRIPTION_ID, 0},
    [REFUSED_SHUTTING_DOWN] = {"hub.shutting_down", MQTT_SHUTTING_DOWN, 3},
    [REFUSED_SENDER] = {"hub.sender", 0, 0},
    [REFUSED_HL7] = {"hub.hl7", 0, 0},
    [REFUSED_HL7_FRAME] = {"hub.hl7_frame", 0, 0},
    [REFUSED_SPEAKS_FOR] = {"hub.speaks_for", 0, 0},
    [REFUSED_IDLE] = {"hub.idle", 0, 0},
};

const struct refusal *refusal_of(enum refused why)
{
    return &refusals[why];
}

/* ---- bytes over the wire: > 0 that many, 0 would block, -1 the peer has gone ---- */

static ssize_t tls_result(struct conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_WRITE:
        event_add(&conn->writable, NULL);
        return 0;
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_SSL:
        if (conn->version == 0) {
            unsigned long error = ERR_peek_last_error();
            const char *reason = error ? ERR_reason_error_string(error) : NULL;

            vg_log(VG_LOG_INFO, "hub", "hub.tls", "%s: %s", conn->peer,
                   reason ? reason : "handshake failed");
        }
        return -1;
    default:
        return -1;
    }
}

static ssize_t wire_read(struct conn *conn, char *buf, size_t len)
{
    size_t got = 0;
    ssize_t result = 0;

    if (!conn->ssl) {
        ssize_t n = recv(conn->fd, buf, len, 0);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        return n == 0 ? -1 : n;
    }
    /* Until OpenSSL holds nothing more: epoll does not see what lies inside it. */
    while (got < len) {
        int n;

        ERR_clear_error();
        n = SSL_read(conn->ssl, buf + got, (int)(len - got));
        if (n <= 0) {
            result = tls_result(conn, n);
            break;
        }
        got += (size_t)n;
    }
    if (got == len && conn->is_reading)
        event_active(&conn->readable, EV_READ, 0);
    return got ? (ssize_t)got : result;
}

static ssize_t wire_write(struct conn *conn, const char *buf, size_t len)
{
    ssize_t n;

    if (conn->ssl) {
        int done;

        ERR_clear_error();
        done = SSL_write(conn->ssl, buf, (int)len);
        return done > 0 ? done : tls_result(conn, done);
    }
    n = send(conn->fd, buf, len, MSG_NOSIGNAL);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/* ---- reading and writing on and off ---- */

static void start_reading(struct conn *conn)
{
    if (!conn->is_reading && event_add(&conn->readable, NULL) == 0)
        conn->is_reading = true;
}

static void stop_reading(struct conn *conn)
{
    if (conn->is_reading)
        event_del(&conn->readable);
    conn->is_reading = false;
}

void conn_stall(struct conn *conn)
{
    if (conn->is_stalled)
        return;
    conn->is_stalled = true;
    LIST_INSERT_HEAD(&conn->loop->stalled, conn, stalled);
    stop_reading(conn);
}

static void unstall(struct conn *conn)
{
    if (!conn->is_stalled)
        return;
    conn->is_stalled = false;
    LIST_REMOVE(conn, stalled);
}

void conn_send(struct conn *conn, struct vg_slice bytes)
{
    vg_buf_put(&conn->out, bytes);
    turn_dirty(conn->loop, conn);
}

void conn_flush(struct conn *conn)
{
    size_t done = 0;

    if (conn->state == CONN_DEAD)
        return;
    if (!vg_buf_ok(&conn->out)) {
        vg_log(VG_LOG_WARN, "hub", "hub.slow", "%s does not read its answers", conn->id);
        conn_close(conn, false);
        return;
    }
    while (done < conn->out.len) {
        ssize_t n = wire_write(conn, conn->out.ptr + done, conn->out.len - done);

        if (n < 0) {
            conn_close(conn, false);
            return;
        }
        if (n == 0)
            break;
        done += (size_t)n;
    }
    vg_buf_consume(&conn->out, done);
    if (conn->out.len) {
        if (!conn->is_writing)
            conn->is_writing = event_add(&conn->writable, NULL) == 0;
        if (conn->state == CONN_ONLINE)
            conn_stall(conn);
        return;
    }
    if (conn->out.capacity_bytes > 512) {
        vg_buf_fini(&conn->out);
        vg_buf_init(&conn->out, OUT_BYTES_MAX);
    }
    if (conn->is_writing)
        event_del(&conn->writable);
    conn->is_writing = false;
    if (conn->state == CONN_DRAINING) {
        if (conn->ssl && SSL_is_init_finished(conn->ssl))
            (void)SSL_shutdown(conn->ssl); /* says close_notify; we do not wait for theirs */
        ERR_clear_error();
        (void)shutdown(conn->fd, SHUT_WR);
    }
    if (conn->state == CONN_ONLINE)
        conn_try_resume(conn);
}

void conn_unref(struct conn *conn)
{
    if (--conn->refs)
        return;
    vg_buf_fini(&conn->in);
    vg_buf_fini(&conn->out);
    free(conn);
}

static void leave_session(struct conn *conn, bool is_clean)
{
    if (conn->state == CONN_ONLINE && !conn->is_mllp)
        session_detach(conn, is_clean);
    will_free(conn->will); /* whatever session_detach() did not take */
    conn->will = NULL;
}

void conn_close(struct conn *conn, bool is_clean)
{
    struct hub_loop *loop = conn->loop;

    if (conn->state == CONN_DEAD)
        return;
    if (is_clean && conn->out.len) /* what it has coming, as far as the socket takes it */
        (void)wire_write(conn, conn->out.ptr, conn->out.len);
    leave_session(conn, is_clean);
    conn->state = CONN_DEAD;
    unstall(conn);
    if (conn->is_dirty)
        LIST_REMOVE(conn, dirty);
    conn->is_dirty = false;
    LIST_REMOVE(conn, all);
    loop->conn_count--;
    event_del(&conn->readable);
    event_del(&conn->writable);
    conn->is_reading = conn->is_writing = false;
    if (conn->ssl) {
        if (SSL_is_init_finished(conn->ssl))
            (void)SSL_shutdown(conn->ssl);
        ERR_clear_error();
        SSL_free(conn->ssl);
        conn->ssl = NULL;
    }
    close(conn->fd);
    conn->fd = -1;
    conn_unref(conn);
}

static void refuse(struct conn *conn, enum refused why, const char *text)
{
    const struct refusal *refusal = &refusals[why];
    enum vg_log_level level = why == REFUSED_SHUTTING_DOWN || why == REFUSED_KEEP_ALIVE ||
                                      why == REFUSED_CONNECT_TIMEOUT || why == REFUSED_TAKEN_OVER ||
                                      why == REFUSED_IDLE
                                  ? VG_LOG_INFO
                                  : VG_LOG_WARN;
    enum conn_state was = conn->state;

    if (was == CONN_DRAINING || was == CONN_DEAD)
        return;
    vg_metric_add(conn->loop->hub->metrics.refused[why], 1);
    vg_log(level, "hub", refusal->code, "%s from %s: %s", conn->id[0] ? conn->id : "connection",
           conn->peer, text);
    if (was == CONN_ONLINE && !conn->is_mllp)
        mqtt_disconnect_send(conn, refusal->reason, vg_slice_of(text));
    else if (conn->version)
        mqtt_connack_refuse(conn, why, vg_slice_of(text));
    leave_session(conn, false);
    conn->state = CONN_DRAINING;
    conn->deadline_us = vg_mono_us() + DRAIN_US;
    unstall(conn);
    start_reading(conn);
    turn_dirty(conn->loop, conn);
}

void conn_refuse(struct conn *conn, enum refused why, const char *fmt, ...)
{
    char text[200];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    refuse(conn, why, text);
}

void conn_refuse_reason(struct conn *conn, uint8_t reason, const char *why)
{
    static const struct {
        uint8_t reason;
        enum refused refused;
    } map[] = {{MQTT_MALFORMED, REFUSED_MALFORMED},
               {MQTT_PROTOCOL, REFUSED_PROTOCOL},
               {MQTT_VERSION, REFUSED_VERSION},
               {MQTT_TOPIC, REFUSED_TOPIC_FORM},
               {MQTT_QUOTA, REFUSED_QUOTA}};

    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        if (map[i].reason == reason) {
            refuse(conn, map[i].refused, why);
            return;
        }
    refuse(conn, REFUSED_PROTOCOL, why);
}

/* ---- packets ---- */

static enum handled dispatch(struct conn *conn, const struct mqtt_frame *frame,
                             struct vg_slice body)
{
    bool has_flag = frame->type == MQTT_SUBSCRIBE || frame->type == MQTT_UNSUBSCRIBE ||
                    frame->type == MQTT_PUBREL;
    uint8_t flags = has_flag ? 2 : 0;

    if (frame->type != MQTT_PUBLISH && frame->flags != flags) {
        conn_refuse(conn, REFUSED_MALFORMED, "flags %u of packet type %u", frame->flags,
                    frame->type);
        return ENDED;
    }
    switch (frame->type) {
    case MQTT_PUBLISH:
        return mqtt_publish_handle(conn, frame->flags, body);
    case MQTT_CONNECT:
        return mqtt_connect_handle(conn, body);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return mqtt_subscribe_handle(conn, (enum mqtt_type)frame->type, body);
    case MQTT_PINGREQ:
        return mqtt_ping_handle(conn, body);
    case MQTT_DISCONNECT:
        return mqtt_disconnect_handle(conn, body);
    default:
        /* The rest answers messages that we never send (QoS 2, our own publishes), or is ours. */
        conn_refuse(conn, REFUSED_PROTOCOL, "packet type %u is not expected", frame->type);
        return ENDED;
    }
}

static bool is_stopped(const struct conn *conn)
{
    return conn->is_stalled || (conn->state != CONN_NEW && conn->state != CONN_ONLINE);
}

/* Handles the whole packets at the begin of `data`; returns how many bytes they had. */
static size_t parse(struct conn *conn, struct vg_slice data)
{
    uint32_t whole_max = conn->loop->hub->config.payload_bytes_max + HUB_OVERHEAD_BYTES_MAX;
    size_t used = 0;

    if (conn->is_mllp)
        return mllp_parse(conn, data);
    while (used < data.len && !is_stopped(conn)) {
        struct vg_slice rest = vg_slice_from(data, used);
        struct mqtt_frame frame;
        enum mqtt_frame_state state;

        if (conn->state == CONN_NEW && (uint8_t)rest.ptr[0] >> 4 != MQTT_CONNECT) {
            conn_refuse(conn, REFUSED_PROTOCOL, "first packet is not CONNECT");
            break;
        }
        state = mqtt_frame_peek(rest, &frame);
        if (state == MQTT_FRAME_MORE)
            break;
        if (state == MQTT_FRAME_BAD) {
            conn_refuse(conn, REFUSED_MALFORMED, "remaining length");
            break;
        }
        if (frame.body_bytes > (conn->state == CONN_NEW ? HUB_CONNECT_BYTES_MAX : whole_max)) {
            conn_refuse(conn, REFUSED_SIZE, "packet of %u bytes", frame.body_bytes);
            break;
        }
        if (rest.len - frame.header_bytes < frame.body_bytes)
            break;
        if (dispatch(conn, &frame,
                     (struct vg_slice){rest.ptr + frame.header_bytes, frame.body_bytes}) == STALLED)
            break;
        used += frame.header_bytes + frame.body_bytes;
    }
    return used;
}

/* How many bytes complete the packet (or its header) that conn->in begins with. */
static size_t missing(const struct conn *conn)
{
    const struct vg_buf *in = &conn->in;
    struct mqtt_frame frame;

    if (conn->is_mllp)
        return SIZE_MAX; /* its end is known when it is there */
    if (mqtt_frame_peek(vg_buf_slice(in), &frame) != MQTT_FRAME_OK)
        return 1;
    return frame.header_bytes + frame.body_bytes - in->len;
}

static void trim_in(struct conn *conn)
{
    if (conn->in.len || !conn->in.capacity_bytes)
        return;
    vg_buf_fini(&conn->in);
    vg_buf_init(&conn->in, conn->in.limit_bytes);
}

static void feed(struct conn *conn, struct vg_slice data)
{
    /* First the packet that began earlier: just what it needs is copied, the rest is parsed in
     * place. */
    while (conn->in.len && data.len && !is_stopped(conn)) {
        size_t want = missing(conn);
        size_t take = want < data.len ? want : data.len;

        vg_buf_put(&conn->in, (struct vg_slice){data.ptr, take});
        data = vg_slice_from(data, take);
        vg_buf_consume(&conn->in, parse(conn, vg_buf_slice(&conn->in)));
    }
    if (!conn->in.len && data.len)
        data = vg_slice_from(data, parse(conn, data));
    if (data.len && conn->state != CONN_DRAINING && conn->state != CONN_DEAD)
        vg_buf_put(&conn->in, data);
    if (!vg_buf_ok(&conn->in))
        conn_refuse(conn, REFUSED_UNAVAILABLE, "no memory for a packet");
    trim_in(conn);
}

void conn_try_resume(struct conn *conn)
{
    if (!conn->is_stalled || conn->out.len ||
        (conn->version != MQTT_V5 && conn->inflight &&
         conn->inflight >= conn->loop->hub->config.inflight_max))
        return;
    conn->refs++;
    unstall(conn);
    conn->last_us = conn->loop->mono_us; /* silence while we did not listen is not its fault */
    vg_buf_consume(&conn->in, parse(conn, vg_buf_slice(&conn->in)));
    if (!is_stopped(conn))
        start_reading(conn);
    if (conn->state != CONN_DEAD)
        trim_in(conn);
    conn_unref(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *conn = ctx;
    struct hub_loop *loop = conn->loop;
    ssize_t n;

    (void)fd;
    (void)what;
    turn_begin(loop);
    n = wire_read(conn, loop->scratch, loop->pauses ? HUB_STALLED_READ_BYTES : HUB_SCRATCH_BYTES);
    if (conn->is_mllp && conn->state == CONN_NEW && n >= 0 && SSL_is_init_finished(conn->ssl))
        mllp_begin(conn);
    if (n == 0)
        return;
    if (n < 0) {
        conn_close(conn, false);
        return;
    }
    if (conn->state == CONN_DRAINING)
        return;
    conn->last_us = loop->mono_us;
    conn->refs++;
    feed(conn, (struct vg_slice){loop->scratch, (size_t)n});
    conn_unref(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *conn = ctx;

    turn_begin(conn->loop);
    conn->refs++;
    conn->is_writing = false; /* not persistent */
    conn_flush(conn);
    if (conn->state != CONN_DEAD && conn->ssl && !SSL_is_init_finished(conn->ssl))
        on_readable(fd, what, conn);
    conn_unref(conn);
}

/* ---- accept ---- */

static void name_peer(struct conn *conn, const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, conn->peer,
                        sizeof(conn->peer));
    else if (address->sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, conn->peer,
                        sizeof(conn->peer));
}

static void accept_one(struct hub_loop *loop, int fd, const struct sockaddr *address,
                       enum hub_listener which)
{
    bool has_tls = which == LISTEN_MQTTS || which == LISTEN_MLLPS;
    struct hub *hub = loop->hub;
    struct event_base *base = vg_loop_base(loop->loop);
    struct conn *conn = NULL;
    int one = 1;

    turn_begin(loop);
    if (loop->conn_count >= hub->config.connections_max) {
        vg_log(VG_LOG_WARN, "hub", "hub.connections", "%u connections are open: no more are taken",
               loop->conn_count);
        goto fail;
    }
    conn = calloc(1, sizeof(*conn));
    if (!conn)
        goto fail;
    if (has_tls) {
        conn->ssl = SSL_new(vg_tls_context(hub->config.tls));
        if (!conn->ssl || !SSL_set_fd(conn->ssl, fd))
            goto fail;
        SSL_set_mode(conn->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        SSL_set_accept_state(conn->ssl);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    name_peer(conn, address);
    conn->loop = loop;
    conn->fd = fd;
    conn->is_mllp = which == LISTEN_MLLPS || which == LISTEN_MLLP;
    if (conn->is_mllp && !mllp_accept(conn, address))
        goto fail;
    conn->refs = 1;
    conn->serial = atomic_fetch_add(&hub->serial, 1) + 1;
    conn->last_us = loop->mono_us;
    conn->deadline_us = loop->mono_us + hub->config.connect_timeout_us;
    vg_buf_init(&conn->in,
                hub->config.payload_bytes_max + HUB_OVERHEAD_BYTES_MAX + HUB_SCRATCH_BYTES + 16);
    vg_buf_init(&conn->out, OUT_BYTES_MAX);
    event_assign(&conn->readable, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, fd, EV_WRITE, on_writable, conn);
    LIST_INSERT_HEAD(&loop->conns, conn, all);
    loop->conn_count++;
    start_reading(conn);
    if (conn->is_mllp && !has_tls)
        mllp_begin(conn);
    return;
fail:
    if (conn)
        SSL_free(conn->ssl);
    free(conn);
    close(fd);
}

static void on_accept_tls(struct evconnlistener *listener, evutil_socket_t fd,
                          struct sockaddr *address, int len, void *ctx)
{
    (void)listener;
    (void)len;
    accept_one(ctx, fd, address, LISTEN_MQTTS);
}

static void on_accept_plain(struct evconnlistener *listener, evutil_socket_t fd,
                            struct sockaddr *address, int len, void *ctx)
{
    (void)listener;
    (void)len;
    accept_one(ctx, fd, address, LISTEN_MQTT);
}

static void on_accept_mllps(struct evconnlistener *listener, evutil_socket_t fd,
                            struct sockaddr *address, int len, void *ctx)
{
    (void)listener;
    (void)len;
    accept_one(ctx, fd, address, LISTEN_MLLPS);
}

static void on_accept_mllp(struct evconnlistener *listener, evutil_socket_t fd,
                           struct sockaddr *address, int len, void *ctx)
{
    (void)listener;
    (void)len;
    accept_one(ctx, fd, address, LISTEN_MLLP);
}

/* No descriptor left, most likely: conn_sweep() opens the door again within a second. */
static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    (void)ctx;
    vg_log(VG_LOG_ERROR, "hub", "hub.accept", "cannot accept: %s",
           evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    evconnlistener_disable(listener);
}

/* The port of the first loop is that of all. */
enum vg_status conn_listen(struct hub_loop *loop, enum hub_listener which, struct vg_err *err)
{
    struct hub *hub = loop->hub;
    const struct {
        const char *address;
        uint16_t port;
        evconnlistener_cb on_accept;
    } doors[HUB_LISTENERS] = {
        [LISTEN_MQTTS] = {hub->config.address, hub->config.mqtts_port, on_accept_tls},
        [LISTEN_MQTT] = {"127.0.0.1", hub->config.plain_port, on_accept_plain},
        [LISTEN_MLLPS] = {hub->config.address, hub->config.hl7_port, on_accept_mllps},
        [LISTEN_MLLP] = {hub->config.hl7_plain_address, hub->config.hl7_plain_port, on_accept_mllp},
    };
    uint16_t *port = &hub->ports[which];
    uint16_t asked = *port ? *port : doors[which].port;
    const char *address = doors[which].address;
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE |
                     (hub->config.loops > 1 ? LEV_OPT_REUSEABLE_PORT : 0);
    struct sockaddr_storage at = {0};
    struct sockaddr_in *at4 = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *at6 = (struct sockaddr_in6 *)&at;
    socklen_t len;

    if (inet_pton(AF_INET, address, &at4->sin_addr) == 1) {
        at4->sin_family = AF_INET;
        at4->sin_port = htons(asked);
        len = sizeof(*at4);
    } else if (inet_pton(AF_INET6, address, &at6->sin6_addr) == 1) {
        at6->sin6_family = AF_INET6;
        at6->sin6_port = htons(asked);
        len = sizeof(*at6);
    } else {
        return vg_fail(err, VG_REJECT, "hub.config", 0, "'%.100s' is no IP address", address);
    }
    loop->listeners[which] =
        evconnlistener_new_bind(vg_loop_base(loop->loop), doors[which].on_accept, loop, flags, 1024,
                                (struct sockaddr *)&at, (int)len);
    if (!loop->listeners[which])
        return vg_fail(err, VG_RETRY, "hub.listen", errno, "%s port %u", address, asked);
    evconnlistener_set_error_cb(loop->listeners[which], on_accept_error);
    if (getsockname(evconnlistener_get_fd(loop->listeners[which]), (struct sockaddr *)&at, &len))
        return vg_fail(err, VG_RETRY, "hub.listen", errno, "%s port %u", address, asked);
    *port = ntohs(at.ss_family == AF_INET ? at4->sin_port : at6->sin6_port);
    return VG_OK;
}

/* Every second: deadlines. */
void conn_sweep(struct hub_loop *loop)
{
    struct conn *conn, *next;

    turn_begin(loop);
    for (conn = LIST_FIRST(&loop->conns); conn; conn = next) {
        int64_t silent_us = loop->mono_us - conn->last_us;
        bool is_late = loop->mono_us >= conn->deadline_us;

        next = LIST_NEXT(conn, all);
        if (conn->state == CONN_DRAINING && is_late) {
            conn_close(conn, false);
        } else if (conn->state == CONN_NEW && is_late) {
            conn_refuse(conn, REFUSED_CONNECT_TIMEOUT,
                        conn->is_mllp ? "no TLS in time" : "no CONNECT in time");
        } else if (conn->is_mllp && conn->frame_us && !conn->is_stalled &&
                   loop->mono_us - conn->frame_us > loop->hub->config.hl7_frame_timeout_us) {
            conn_refuse(conn, REFUSED_HL7_FRAME, "a frame did not end in time");
        } else if (conn->is_mllp && !conn->is_stalled &&
                   silent_us > loop->hub->config.hl7_idle_us) {
            conn_refuse(conn, REFUSED_IDLE, "silent for too long");
        } else if (conn->state == CONN_ONLINE && conn->keep_alive_s && !conn->is_stalled &&
                   silent_us > conn->keep_alive_s * (3 * VG_SECOND_US / 2)) {
            conn_refuse(conn, REFUSED_KEEP_ALIVE, "silent for %lld s, keep-alive is %u s",
                        (long long)(silent_us / VG_SECOND_US), conn->keep_alive_s);
        }
    }
    for (size_t i = 0; i < HUB_LISTENERS; i++)
        if (loop->listeners[i] && !loop->is_closing && !(loop->pauses & PAUSE_FATAL))
            evconnlistener_enable(loop->listeners[i]);
}
