/* http_server.h -- HTTP/1.1 with TLS on a loop: routes, limits, server-sent events.
 *
 * libevent underneath. Handlers run in the loop's thread and must not block for long; a handler may
 * keep its request and reply later (in the loop's thread). Limits: body size, header size, idle
 * time, connections. Every reply gets the security headers (nosniff, no-store, frame-ancestors
 * none, HSTS under TLS) unless it sets them itself.
 */
#ifndef VG_BASE_HTTP_SERVER_H
#define VG_BASE_HTTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/loop.h"

struct vg_http_server;
struct vg_http_request;
struct vg_tls; /* base/tls.h */

struct vg_http_server_config {
    const char *address;      /* "127.0.0.1" */
    uint16_t port;            /* 0 = any free one, see vg_http_server_port() */
    struct vg_tls *tls;       /* NULL = plain */
    size_t body_bytes_max;    /* 0 = 1 MiB */
    uint32_t idle_timeout_s;  /* 0 = 60 */
    uint32_t connections_max; /* 0 = 10,000 */
};

/* Before vg_loop_start() or in the loop's thread. */
VG_CHECK enum vg_status vg_http_server_open(struct vg_loop *loop,
                                            const struct vg_http_server_config *config,
                                            struct vg_http_server **ret_server, struct vg_err *err);
void vg_http_server_close(struct vg_http_server *server); /* loop stopped, or in its thread */
uint16_t vg_http_server_port(const struct vg_http_server *server);

typedef void vg_http_handler(struct vg_http_request *request, void *ctx);

/* `method` "GET", "POST", … or "*"; HEAD is served by GET's handler. `path` is exact, or ends in
 * slash-star and then takes everything below (the longest prefix wins). Strings are copied. No
 * route: 404; other method: 405. */
VG_CHECK enum vg_status vg_http_route(struct vg_http_server *server, const char *method,
                                      const char *path, vg_http_handler *handler, void *ctx,
                                      struct vg_err *err);

/* How errors look at a path and below it: those that the server itself answers there (a head that
 * cannot be read, a body that is too large or too slow, a bad path), and vg_http_reply_error(). */
struct vg_http_error_form {
    const char *path; /* "/fhir"; the texts must live as long as the server */
    const char *content_type;
    void (*write)(struct vg_buf *out, int status, const char *code, const char *text);
};
/* VG_FATAL: too many forms. */
VG_CHECK enum vg_status vg_http_shape_errors(struct vg_http_server *server,
                                             const struct vg_http_error_form *form,
                                             struct vg_err *err);

/* What was asked. Slices live until the reply has been sent. */
struct vg_slice vg_http_method(const struct vg_http_request *request);
struct vg_slice vg_http_path(const struct vg_http_request *request); /* percent-decoded, no query */
struct vg_slice vg_http_raw_path(const struct vg_http_request *request); /* as sent, no query */
struct vg_slice vg_http_query(const struct vg_http_request *request);    /* as sent, after '?' */
/* A query (or form) parameter, form-decoded into the request's arena; ptr NULL when absent. */
struct vg_slice vg_http_query_get(struct vg_http_request *request, const char *name);
struct vg_slice vg_http_header(const struct vg_http_request *request,
                               const char *name); /* ptr NULL: absent */
struct vg_slice vg_http_body(const struct vg_http_request *request);
struct vg_slice vg_http_cookie(struct vg_http_request *request, const char *name);
struct vg_slice vg_http_peer(const struct vg_http_request *request); /* address, no port */
struct vg_arena *vg_http_arena(struct vg_http_request *request);     /* dies with the request */

/* Headers are added before the reply; then exactly one of reply or stream_begin. */
void vg_http_add_header(struct vg_http_request *request, const char *name, struct vg_slice value);
void vg_http_reply(struct vg_http_request *request, int status, const char *content_type,
                   struct vg_slice body);
/* {"error":{"code":…,"text":…}}, or as the path's owner writes errors. */
void vg_http_reply_error(struct vg_http_request *request, int status, const char *code,
                         const char *text);

/* Server-sent events and other endless replies. `on_close` is called once, in the loop's thread,
 * when the peer has gone or after stream_end; the request must not be used after that. */
void vg_http_stream_begin(struct vg_http_request *request, const char *content_type,
                          void (*on_close)(void *ctx), void *ctx);
void vg_http_stream_write(struct vg_http_request *request, struct vg_slice bytes);
size_t vg_http_stream_pending(
    const struct vg_http_request *request); /* bytes not yet sent: a slow viewer */
void vg_http_stream_end(struct vg_http_request *request);

/* Form and percent decoding, for others who need it. {NULL,0} when the arena is full or the text is
 * bad. */
struct vg_slice vg_url_decode(struct vg_arena *arena, struct vg_slice text, bool plus_is_space);
void vg_url_encode(struct vg_buf *out, struct vg_slice text); /* all but unreserved characters */

#endif
