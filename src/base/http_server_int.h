/* http_server_int.h -- a connection and its request, for the files of the HTTP server. Private to
 * base.
 *
 * http_server.c accepts, reads and routes; http_reply.c answers; http_request.c tells what was
 * asked.
 */
#ifndef VG_BASE_HTTP_SERVER_INT_H
#define VG_BASE_HTTP_SERVER_INT_H

#include "base/http_parse.h"
#include "base/http_server.h"

#include <event2/event.h>
#include <sys/queue.h>
#include <time.h>

#define HTTP_HEAD_BYTES_MAX (32u << 10)
#define HTTP_ERROR_FORMS_MAX 4

enum state {
    CONN_HEAD,
    CONN_BODY,
    CONN_CHUNK_SIZE,
    CONN_CHUNK_DATA,
    CONN_CHUNK_END,
    CONN_CHUNK_TRAILER,
    CONN_HANDLING,
    CONN_FLUSHING,
    CONN_CLOSING,
};

struct connection {
    TAILQ_ENTRY(connection) link, idle_link;
    struct vg_http_server *server;
    struct bufferevent *bev;
    struct event *timer;
    struct vg_http_request *request; /* being read, handled or streamed */
    enum state state;
    uint64_t left_bytes;  /* of the body or the chunk */
    size_t scanned_bytes; /* of the input: no end of head in them */
    size_t trailer_bytes;
    char peer[64];
    bool is_idle;       /* on the idle list */
    bool is_head_begun; /* its first byte has come: the timer runs for the head */
    bool is_processing;
    bool has_eof;      /* the peer will send no more */
    bool closes_after; /* no further request on this connection */
    bool is_lingering; /* closed towards the peer */
};

struct route {
    char *method, *path;
    size_t path_len; /* of a prefix route: with its '/', without the '*' */
    bool is_prefix;
    vg_http_handler *handler;
    void *ctx;
};

struct vg_http_server {
    struct vg_loop *loop;
    struct vg_tls *tls;
    size_t body_bytes_max;
    struct timeval idle_timeout;
    uint32_t connections_max, connection_count;
    struct evconnlistener *listener;
    struct event *resume; /* accepting again after the process ran out of descriptors */
    struct route *routes;
    size_t route_count;
    struct vg_http_error_form forms[HTTP_ERROR_FORMS_MAX];
    size_t form_count;
    TAILQ_HEAD(, connection) connections;
    TAILQ_HEAD(, connection) idle; /* longest idle first */
    uint16_t port;
    time_t date_s;
    char date[40];
};

struct vg_http_request {
    struct connection *conn; /* NULL: the peer has gone */
    struct vg_arena arena;
    struct http_head head;
    struct vg_slice path;
    struct vg_buf body;
    struct vg_buf headers; /* of the reply */
    unsigned own_headers;  /* bit i: security_headers[i] was set by the handler */
    char peer[64];
    bool is_head, is_streaming, is_chunked_reply;
    void (*on_close)(void *ctx);
    void *on_close_ctx;
};

/* ---- http_server.c ---- */

/* The reply is in the output buffer: what is next on this connection? */
void http_request_done(struct connection *conn);

/* ---- http_reply.c ---- */

void http_request_free(struct vg_http_request *request); /* NULL is fine */

#endif
