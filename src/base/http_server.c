/* http_server.c -- HTTP/1.1 over libevent's bufferevents.
 *
 * Why not evhttp: it stops reading while a handler holds a request, so a browser that has gone is
 * noticed only when something is written to it; when reading is turned on again, pipelined bytes
 * end the process (event_errx); it has no bound on connections and none on how slowly a head may
 * come.
 *
 * A connection is a small state machine: HEAD (idle, or part of a head is here) -> BODY or CHUNK_*
 * -> HANDLING (a handler has the request; a stream is a reply without an end) -> HEAD again,
 * through FLUSHING when much is still to be sent, or -> CLOSING: flush, say so to the peer, and
 * read what it still sends for a while, because closing over unread bytes makes the kernel throw
 * the reply away.
 *
 * Bounds: head 32 KiB and 64 headers; body by configuration; bytes pipelined behind a held request
 * 256 KiB; bytes waiting to be sent on a stream 8 MiB; connections by configuration, where the
 * longest idle one makes room. Time: one timer a connection. Idle and head: idle_timeout_s; body:
 * that and a second for each 8 KiB; replies: idle_timeout_s without progress. No timer while a
 * handler thinks: that is its owner's business.
 *
 * The peer goes while a handler holds the request: the request stays whole, its reply goes nowhere.
 * A half-close of a plain socket is not gone: the reply is still sent. A stream ends: on_close.
 *
 * Threads: everything happens in the loop's thread. No recursion: a reply given later continues
 * with the connection's next request by a deferred callback.
 */
#include "base/http_server_int.h"

#include "base/tls.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BODY_BYTES_USUAL (1u << 20)
#define IDLE_TIMEOUT_USUAL_S 60u
#define CONNECTIONS_USUAL 10000u
#define AHEAD_BYTES_MAX (256u << 10) /* pipelined, or replied and not yet sent */
#define BODY_BYTES_PER_S 8192u       /* the slowest upload that is served */
#define CHUNK_LINE_BYTES_MAX 1024u
#define TARGET_BYTES_MAX 1024u /* of a head that is too large */
#define LINGER_S 2
#define ACCEPT_PAUSE_US 100000
#define LISTEN_BACKLOG 1024

/* ---- a request's life ---- */

static struct vg_http_request *request_make(struct connection *conn)
{
    struct vg_http_request *request = calloc(1, sizeof(*request));

    if (!request)
        return NULL;
    request->conn = conn;
    vg_arena_init(&request->arena, 0);
    vg_buf_init(&request->body, conn->server->body_bytes_max);
    vg_buf_init(&request->headers, HTTP_HEAD_BYTES_MAX);
    memcpy(request->peer, conn->peer, sizeof(request->peer));
    return request;
}

/* ---- a connection's life ---- */

static void timer_arm(struct connection *conn, int64_t seconds)
{
    struct timeval timeout = {.tv_sec = (time_t)seconds};

    (void)event_add(conn->timer, &timeout);
}

static void idle_leave(struct connection *conn)
{
    if (conn->is_idle)
        TAILQ_REMOVE(&conn->server->idle, conn, idle_link);
    conn->is_idle = false;
}

/* Waiting for a request, of which nothing is here. */
static void idle_enter(struct connection *conn)
{
    conn->state = CONN_HEAD;
    conn->scanned_bytes = 0;
    conn->is_head_begun = false;
    if (!conn->is_idle)
        TAILQ_INSERT_TAIL(&conn->server->idle, conn, idle_link);
    conn->is_idle = true;
    timer_arm(conn, conn->server->idle_timeout.tv_sec);
}

static void connection_free(struct connection *conn)
{
    struct vg_http_request *request = conn->request;
    struct vg_http_server *server = conn->server;
    bool is_handled = conn->state == CONN_HANDLING;

    idle_leave(conn);
    TAILQ_REMOVE(&server->connections, conn, link);
    server->connection_count--;
    event_free(conn->timer);
    bufferevent_free(conn->bev);
    free(conn);
    if (!request)
        return;
    request->conn = NULL;
    if (request->is_streaming && request->on_close)
        request->on_close(request->on_close_ctx);
    if (request->is_streaming || !is_handled)
        http_request_free(request);
    /* else a handler holds it and gives it back by its reply */
}

/* Everything has been sent: tell the peer, then wait for its end (see the top of this file). */
static void linger(struct connection *conn)
{
    SSL *ssl = conn->server->tls ? bufferevent_openssl_get_ssl(conn->bev) : NULL;

    if (conn->has_eof) {
        connection_free(conn);
        return;
    }
    if (ssl && SSL_is_init_finished(ssl))
        (void)SSL_shutdown(ssl); /* 0 or an error: the socket is closed all the same */
    (void)shutdown(bufferevent_getfd(conn->bev), SHUT_WR);
    conn->is_lingering = true;
    timer_arm(conn, LINGER_S);
}

/* The connection may be gone afterwards. */
static void closing_enter(struct connection *conn)
{
    idle_leave(conn);
    conn->state = CONN_CLOSING;
    (void)event_del(conn->timer); /* the write timeout watches the flush */
    if (evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0)
        linger(conn);
}

void http_request_done(struct connection *conn)
{
    struct evbuffer *output = bufferevent_get_output(conn->bev);

    conn->request = NULL;
    if (conn->closes_after) {
        /* Never closes at once: the output holds the reply. */
        conn->state = CONN_CLOSING;
        (void)event_del(conn->timer);
        if (evbuffer_get_length(output) == 0)
            bufferevent_trigger(conn->bev, EV_WRITE,
                                BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
        return;
    }
    if (evbuffer_get_length(output) > AHEAD_BYTES_MAX)
        conn->state = CONN_FLUSHING;
    else
        idle_enter(conn);
    if (!conn->is_processing &&
        (conn->has_eof || evbuffer_get_length(bufferevent_get_input(conn->bev))))
        bufferevent_trigger(conn->bev, EV_READ,
                            BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* What is wrong with the bytes themselves: answered, and the connection ends. */
static void refuse(struct connection *conn, int status, const char *text)
{
    conn->closes_after = true;
    conn->state = CONN_HANDLING;
    vg_http_reply_error(conn->request, status, "http.request", text);
}

/* ---- routes ---- */

static bool route_takes(const struct route *route, struct vg_slice path)
{
    struct vg_slice own = {route->path, route->path_len};

    return route->is_prefix ? vg_slice_starts(path, own) : vg_slice_eq(path, own);
}

static bool method_fits(const struct route *route, const struct vg_http_request *request)
{
    return strcmp(route->method, "*") == 0 || vg_slice_is(request->head.method, route->method) ||
           (request->is_head && strcmp(route->method, "GET") == 0);
}

/* The exact route or the longest prefix whose method fits; NULL: *ret_is_known tells 405 from 404.
 */
static const struct route *route_find(const struct vg_http_request *request, bool *ret_is_known)
{
    const struct vg_http_server *server = request->conn->server;
    const struct route *best = NULL;

    *ret_is_known = false;
    for (size_t i = 0; i < server->route_count; i++) {
        const struct route *route = &server->routes[i];

        if (!route_takes(route, request->path))
            continue;
        *ret_is_known = true;
        if (!method_fits(route, request))
            continue;
        if (!best || (best->is_prefix && (!route->is_prefix || route->path_len > best->path_len)))
            best = route;
    }
    return best;
}

static void reply_not_allowed(struct vg_http_request *request)
{
    const struct vg_http_server *server = request->conn->server;
    struct vg_buf allow;

    vg_buf_init(&allow, HTTP_HEAD_BYTES_MAX / 2);
    for (size_t i = 0; i < server->route_count; i++) {
        const struct route *route = &server->routes[i];

        if (!route_takes(route, request->path))
            continue;
        vg_buf_printf(&allow, "%s%s", allow.len ? ", " : "", route->method);
        if (strcmp(route->method, "GET") == 0)
            vg_buf_put(&allow, VG_SLICE(", HEAD"));
    }
    vg_http_add_header(request, "Allow", vg_buf_slice(&allow));
    vg_buf_fini(&allow);
    vg_http_reply_error(request, 405, "http.method", "this path is not for that method");
}

/* "." and ".." as a segment: nobody needs them, and files have been read by them. */
static bool has_dot_segment(struct vg_slice path)
{
    while (path.len) {
        struct vg_slice segment = vg_slice_cut(&path, '/');

        if (vg_slice_is(segment, ".") || vg_slice_is(segment, ".."))
            return true;
    }
    return false;
}

static void dispatch(struct connection *conn)
{
    struct vg_http_request *request = conn->request;
    const struct route *route;
    bool is_known;

    conn->state = CONN_HANDLING;
    (void)event_del(conn->timer);
    if (!request->head.keeps_alive)
        conn->closes_after = true;
    request->is_head = vg_slice_is(request->head.method, "HEAD");
    request->path = vg_url_decode(&request->arena, request->head.raw_path, false);
    if (!request->path.ptr || has_dot_segment(request->path)) {
        vg_http_reply_error(request, 400, "http.path", "the path cannot be read");
        return;
    }
    route = route_find(request, &is_known);
    if (route)
        route->handler(request, route->ctx);
    else if (is_known)
        reply_not_allowed(request);
    else
        vg_http_reply_error(request, 404, "http.path", "there is nothing at this path");
}

enum vg_status vg_http_route(struct vg_http_server *server, const char *method, const char *path,
                             vg_http_handler *handler, void *ctx, struct vg_err *err)
{
    struct route *grown = realloc(server->routes, (server->route_count + 1) * sizeof(*grown));
    struct route route = {
        .method = strdup(method), .path = strdup(path), .handler = handler, .ctx = ctx};

    if (grown)
        server->routes = grown;
    if (!grown || !route.method || !route.path) {
        free(route.method);
        free(route.path);
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for the route %s", path);
    }
    route.path_len = strlen(path);
    route.is_prefix = route.path_len >= 2 && strcmp(path + route.path_len - 2, "/*") == 0;
    if (route.is_prefix)
        route.path_len--;
    grown[server->route_count++] = route;
    return VG_OK;
}

/* ---- reading ---- */

/* What one step of the state machine says. */
enum step {
    STEP_GO,   /* on with the next state */
    STEP_WAIT, /* more input is needed */
};

static enum step body_begin(struct connection *conn)
{
    struct vg_http_server *server = conn->server;
    struct http_head *head = &conn->request->head;
    uint64_t expected_bytes = head->is_chunked ? server->body_bytes_max : head->content_length;

    if (head->content_length > server->body_bytes_max) {
        refuse(conn, 413, "the body is larger than this server takes");
        return STEP_GO;
    }
    if (!head->is_chunked && head->content_length == 0) {
        dispatch(conn);
        return STEP_GO;
    }
    if (head->expects_continue && evbuffer_get_length(bufferevent_get_input(conn->bev)) == 0)
        evbuffer_add(bufferevent_get_output(conn->bev), "HTTP/1.1 100 Continue\r\n\r\n", 25);
    conn->state = head->is_chunked ? CONN_CHUNK_SIZE : CONN_BODY;
    conn->left_bytes = head->content_length;
    conn->trailer_bytes = 0;
    timer_arm(conn, server->idle_timeout.tv_sec + (int64_t)(expected_bytes / BODY_BYTES_PER_S));
    return STEP_GO;
}

/* Of a head that cannot be read: what its first line seems to ask for, so that the refusal has the
 * form that is expected there. */
static void target_guess(struct vg_http_request *request, struct vg_slice text)
{
    (void)vg_slice_cut(&text, ' ');
    text = vg_slice_cut(&text, ' ');
    request->head = (struct http_head){.raw_path = vg_slice_cut(&text, '?')};
}

static enum step step_head(struct connection *conn)
{
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    struct evbuffer_ptr from, end;
    char first[2] = "";
    size_t length, head_len;
    char *copy;
    int status;

    /* An empty line or two before a request is forgiven (RFC 9112, 2.2). */
    while (evbuffer_copyout(input, first, 2) == 2 && memcmp(first, "\r\n", 2) == 0)
        evbuffer_drain(input, 2);
    length = evbuffer_get_length(input);
    if (length == 0)
        return STEP_WAIT;
    if (!conn->is_head_begun) {
        conn->is_head_begun = true;
        idle_leave(conn);
        timer_arm(conn, conn->server->idle_timeout.tv_sec);
    }
    if (conn->scanned_bytes > length) /* empty lines were drained */
        conn->scanned_bytes = 0;
    (void)evbuffer_ptr_set(input, &from, conn->scanned_bytes, EVBUFFER_PTR_SET);
    end = evbuffer_search(input, "\r\n\r\n", 4, &from);
    if (end.pos < 0 && length <= HTTP_HEAD_BYTES_MAX) {
        conn->scanned_bytes = length > 3 ? length - 3 : 0;
        return STEP_WAIT;
    }
    conn->scanned_bytes = 0;
    conn->request = request_make(conn);
    if (!conn->request)
        goto no_memory;
    head_len = (size_t)end.pos + 4;
    if (end.pos < 0 || head_len > HTTP_HEAD_BYTES_MAX) {
        copy = vg_arena_alloc(&conn->request->arena, TARGET_BYTES_MAX);
        if (!copy)
            goto no_memory;
        target_guess(conn->request, (struct vg_slice){copy, (size_t)evbuffer_copyout(
                                                                input, copy, TARGET_BYTES_MAX)});
        if (evbuffer_search(input, "\r\n", 2, NULL).pos < 0)
            refuse(conn, 414, "the request's address is too long");
        else
            refuse(conn, 431, "the request's headers are too large");
        return STEP_GO;
    }
    copy = vg_arena_alloc(&conn->request->arena, head_len);
    if (!copy)
        goto no_memory;
    (void)evbuffer_remove(input, copy, head_len);
    status = http_head_parse((struct vg_slice){copy, head_len}, &conn->request->head);
    if (status) {
        target_guess(conn->request, (struct vg_slice){copy, head_len});
        refuse(conn, status, "the request is not HTTP/1.1 as this server reads it");
        return STEP_GO;
    }
    return body_begin(conn);
no_memory:
    bufferevent_trigger_event(conn->bev, BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
    return STEP_WAIT;
}

/* Moves what is here of left_bytes into the body. False: refused, or no memory. */
static bool body_take(struct connection *conn)
{
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    size_t length = evbuffer_get_length(input);
    char *at;

    if (length > conn->left_bytes)
        length = (size_t)conn->left_bytes;
    if (length == 0)
        return true;
    at = vg_buf_reserve(&conn->request->body, length);
    if (!at) {
        refuse(conn, 413, "the body is larger than this server takes");
        return false;
    }
    (void)evbuffer_remove(input, at, length);
    conn->request->body.len += length;
    conn->left_bytes -= length;
    return true;
}

static enum step step_body(struct connection *conn)
{
    if (!body_take(conn))
        return STEP_GO;
    if (conn->left_bytes)
        return STEP_WAIT;
    if (conn->state == CONN_CHUNK_DATA)
        conn->state = CONN_CHUNK_END;
    else
        dispatch(conn);
    return STEP_GO;
}

/* The lines of chunked coding: a size, the empty one after a chunk, trailers. */
static enum step step_chunk_line(struct connection *conn)
{
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    size_t len = 0;
    char *line = evbuffer_readln(input, &len, EVBUFFER_EOL_CRLF_STRICT);
    bool is_fine;

    if (!line) {
        if (evbuffer_get_length(input) <= CHUNK_LINE_BYTES_MAX)
            return STEP_WAIT;
        refuse(conn, 400, "a line of the chunked body is too long");
        return STEP_GO;
    }
    switch (conn->state) {
    case CONN_CHUNK_SIZE:
        is_fine = http_chunk_size_parse((struct vg_slice){line, len}, &conn->left_bytes);
        conn->state = conn->left_bytes ? CONN_CHUNK_DATA : CONN_CHUNK_TRAILER;
        break;
    case CONN_CHUNK_END:
        is_fine = len == 0;
        conn->state = CONN_CHUNK_SIZE;
        break;
    default: /* CONN_CHUNK_TRAILER: read and not used */
        conn->trailer_bytes += len;
        is_fine = conn->trailer_bytes <= HTTP_HEAD_BYTES_MAX;
        if (len == 0)
            dispatch(conn);
        break;
    }
    free(line);
    if (!is_fine)
        refuse(conn, 400, "the chunked body cannot be read");
    return STEP_GO;
}

static enum step step_handling(struct connection *conn)
{
    struct evbuffer *input = bufferevent_get_input(conn->bev);

    if (conn->request && conn->request->is_streaming)
        (void)evbuffer_drain(input, evbuffer_get_length(input)); /* there is no next request */
    else if (evbuffer_get_length(input) > AHEAD_BYTES_MAX)
        bufferevent_trigger_event(conn->bev, BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
    return STEP_WAIT;
}

static enum step step(struct connection *conn)
{
    struct evbuffer *input = bufferevent_get_input(conn->bev);

    switch (conn->state) {
    case CONN_HEAD:
        return step_head(conn);
    case CONN_BODY:
    case CONN_CHUNK_DATA:
        return step_body(conn);
    case CONN_CHUNK_SIZE:
    case CONN_CHUNK_END:
    case CONN_CHUNK_TRAILER:
        return step_chunk_line(conn);
    case CONN_HANDLING:
    case CONN_FLUSHING:
        return step_handling(conn);
    case CONN_CLOSING:
        (void)evbuffer_drain(input, evbuffer_get_length(input));
        return STEP_WAIT;
    }
    return STEP_WAIT;
}

static void process(struct connection *conn)
{
    conn->is_processing = true;
    while (step(conn) == STEP_GO)
        ;
    conn->is_processing = false;
    /* The peer has half-closed and its last request has been answered, or will never be whole. */
    if (conn->has_eof && conn->state < CONN_HANDLING)
        closing_enter(conn);
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    (void)bev;
    process(ctx);
}

/* All that was to be sent has been handed to the kernel. */
static void on_write(struct bufferevent *bev, void *ctx)
{
    struct connection *conn = ctx;

    (void)bev;
    if (conn->state == CONN_CLOSING && !conn->is_lingering) {
        linger(conn);
    } else if (conn->state == CONN_FLUSHING) {
        idle_enter(conn);
        process(conn);
    }
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    struct connection *conn = ctx;
    bool is_sending = evbuffer_get_length(bufferevent_get_output(bev)) > 0;

    if (what & BEV_EVENT_CONNECTED) /* TLS is ready */
        return;
    /* Only a plain socket can be closed one way: OpenSSL's bufferevent ends both. */
    if ((what & BEV_EVENT_EOF) && !conn->server->tls &&
        !(conn->request && conn->request->is_streaming) &&
        (is_sending || conn->state == CONN_HANDLING)) {
        conn->has_eof = true;
        if (conn->state < CONN_HANDLING)
            closing_enter(conn);
        return;
    }
    connection_free(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct connection *conn = ctx;

    (void)fd;
    (void)what;
    if (conn->state >= CONN_BODY && conn->state < CONN_HANDLING)
        refuse(conn, 408, "the request came too slowly");
    else
        connection_free(conn);
}

/* ---- accepting ---- */

static void socket_setup(int fd)
{
    const int on = 1, idle_s = 60, interval_s = 15, count = 4;

    /* A failure costs speed or a later notice of a dead peer, never correctness. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void peer_name(const struct sockaddr *address, int len, char *out, size_t size_bytes)
{
    static const char mapped[] = "::ffff:"; /* IPv4 on a socket for both */

    if (getnameinfo(address, (socklen_t)len, out, (socklen_t)size_bytes, NULL, 0, NI_NUMERICHOST) !=
        0)
        (void)snprintf(out, size_bytes, "unknown");
    else if (strncmp(out, mapped, sizeof(mapped) - 1) == 0 && strchr(out, '.'))
        memmove(out, out + sizeof(mapped) - 1, strlen(out) - sizeof(mapped) + 2);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int address_len, void *ctx)
{
    struct vg_http_server *server = ctx;
    struct connection *conn;

    (void)listener;
    if (server->connection_count >= server->connections_max && !TAILQ_EMPTY(&server->idle))
        connection_free(TAILQ_FIRST(&server->idle));
    conn = server->connection_count < server->connections_max ? calloc(1, sizeof(*conn)) : NULL;
    if (!conn) {
        (void)evutil_closesocket(fd);
        return;
    }
    socket_setup(fd);
    conn->server = server;
    conn->timer = evtimer_new(vg_loop_base(server->loop), on_timer, conn);
    conn->bev = conn->timer ? vg_tls_accept(vg_loop_base(server->loop), fd, server->tls) : NULL;
    if (!conn->bev) {
        if (conn->timer)
            event_free(conn->timer);
        free(conn);
        (void)evutil_closesocket(fd);
        return;
    }
    peer_name(address, address_len, conn->peer, sizeof(conn->peer));
    TAILQ_INSERT_TAIL(&server->connections, conn, link);
    server->connection_count++;
    bufferevent_setcb(conn->bev, on_read, on_write, on_event, conn);
    (void)bufferevent_set_timeouts(conn->bev, NULL, &server->idle_timeout);
    (void)bufferevent_enable(conn->bev, EV_READ | EV_WRITE);
    idle_enter(conn);
}

/* Out of descriptors, most likely: rest, instead of asking again at once for ever. */
static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    struct vg_http_server *server = ctx;
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};

    if (!TAILQ_EMPTY(&server->idle))
        connection_free(TAILQ_FIRST(&server->idle));
    if (event_add(server->resume, &pause) == 0)
        (void)evconnlistener_disable(listener);
}

static void on_resume(evutil_socket_t fd, short what, void *ctx)
{
    struct vg_http_server *server = ctx;

    (void)fd;
    (void)what;
    (void)evconnlistener_enable(server->listener);
}

static enum vg_status listen_on(struct vg_http_server *server, const char *address, uint16_t port,
                                struct vg_err *err)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof(bound);
    struct addrinfo *found = NULL;
    char port_text[8];

    (void)snprintf(port_text, sizeof(port_text), "%u", port);
    if (getaddrinfo(address, port_text, &hints, &found) != 0)
        return vg_fail(err, VG_FATAL, "http.address", 0, "'%s' is no address to listen on",
                       address);
    server->listener =
        evconnlistener_new_bind(vg_loop_base(server->loop), on_accept, server,
                                LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                LISTEN_BACKLOG, found->ai_addr, (int)found->ai_addrlen);
    freeaddrinfo(found);
    if (!server->listener)
        return vg_fail(err, VG_FATAL, "http.listen", errno, "address %s, port %u", address, port);
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    if (getsockname(evconnlistener_get_fd(server->listener), (struct sockaddr *)&bound,
                    &bound_len) != 0)
        return vg_fail(err, VG_FATAL, "http.listen", errno, "address %s, port %u", address, port);
    server->port =
        ntohs(bound.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&bound)->sin6_port
                                          : ((const struct sockaddr_in *)&bound)->sin_port);
    return VG_OK;
}

enum vg_status vg_http_server_open(struct vg_loop *loop, const struct vg_http_server_config *config,
                                   struct vg_http_server **ret_server, struct vg_err *err)
{
    struct vg_http_server *server = calloc(1, sizeof(*server));
    enum vg_status st;

    if (!server)
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for an HTTP server");
    TAILQ_INIT(&server->connections);
    TAILQ_INIT(&server->idle);
    server->loop = loop;
    server->tls = config->tls;
    server->body_bytes_max = config->body_bytes_max ? config->body_bytes_max : BODY_BYTES_USUAL;
    server->idle_timeout.tv_sec =
        config->idle_timeout_s ? config->idle_timeout_s : IDLE_TIMEOUT_USUAL_S;
    server->connections_max = config->connections_max ? config->connections_max : CONNECTIONS_USUAL;
    server->resume = evtimer_new(vg_loop_base(loop), on_resume, server);
    st = server->resume ? listen_on(server, config->address, config->port, err)
                        : vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a timer");
    if (st != VG_OK)
        vg_http_server_close(server);
    else
        *ret_server = server;
    return st;
}

void vg_http_server_close(struct vg_http_server *server)
{
    if (!server)
        return;
    if (server->listener)
        evconnlistener_free(server->listener);
    while (!TAILQ_EMPTY(&server->connections))
        connection_free(TAILQ_FIRST(&server->connections));
    if (server->resume)
        event_free(server->resume);
    for (size_t i = 0; i < server->route_count; i++) {
        free(server->routes[i].method);
        free(server->routes[i].path);
    }
    free(server->routes);
    free(server);
}

uint16_t vg_http_server_port(const struct vg_http_server *server)
{
    return server->port;
}
