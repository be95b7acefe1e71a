/* http_reply.c -- what goes back: status line and headers, whole replies, streams, errors.
 *
 * Errors have the server's own form, {"error":…}, but below a path whose owner has given another
 * one (vg_http_shape_errors): a client of FHIR must find an OperationOutcome there, also when its
 * request never reached the FHIR service.
 */
#include "base/http_server_int.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/tls.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>

#define STREAM_BYTES_MAX (8u << 20)

static const struct {
    const char *name, *value;
    bool is_tls_only;
} security_headers[] = {
    {"X-Content-Type-Options", "nosniff", false},
    {"Cache-Control", "no-store", false},
    {"Content-Security-Policy", "frame-ancestors 'none'", false},
    {"Referrer-Policy", "no-referrer", false},
    {"Strict-Transport-Security", "max-age=31536000", true},
};
#define SECURITY_HEADER_COUNT (sizeof(security_headers) / sizeof(security_headers[0]))

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

void http_request_free(struct vg_http_request *request)
{
    if (!request)
        return;
    vg_buf_fini(&request->body);
    vg_buf_fini(&request->headers);
    vg_arena_fini(&request->arena);
    free(request);
}

static const char *http_date(struct vg_http_server *server)
{
    time_t now_s = (time_t)(vg_now_us() / VG_SECOND_US);
    struct tm tm;

    if (now_s != server->date_s && gmtime_r(&now_s, &tm) &&
        strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &tm))
        server->date_s = now_s;
    return server->date;
}

/* Status line and all headers into the output. content_length < 0: none is given. */
static void head_write(struct vg_http_request *request, int status, const char *content_type,
                       int64_t content_length)
{
    struct connection *conn = request->conn;
    struct evbuffer *output = bufferevent_get_output(conn->bev);

    evbuffer_add_printf(output, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason_of(status),
                        http_date(conn->server));
    for (size_t i = 0; i < SECURITY_HEADER_COUNT; i++)
        if (!(request->own_headers & 1u << i) &&
            (conn->server->tls || !security_headers[i].is_tls_only))
            evbuffer_add_printf(output, "%s: %s\r\n", security_headers[i].name,
                                security_headers[i].value);
    if (content_type)
        evbuffer_add_printf(output, "Content-Type: %s\r\n", content_type);
    if (content_length >= 0)
        evbuffer_add_printf(output, "Content-Length: %lld\r\n", (long long)content_length);
    if (request->is_chunked_reply)
        evbuffer_add(output, "Transfer-Encoding: chunked\r\n", 28);
    if (conn->closes_after)
        evbuffer_add(output, "Connection: close\r\n", 19);
    else if (request->head.is_http_1_0)
        evbuffer_add(output, "Connection: keep-alive\r\n", 24);
    evbuffer_add(output, request->headers.ptr, request->headers.len);
    evbuffer_add(output, "\r\n", 2);
}

void vg_http_add_header(struct vg_http_request *request, const char *name, struct vg_slice value)
{
    struct vg_buf *headers = &request->headers;
    size_t start;

    for (size_t i = 0; i < SECURITY_HEADER_COUNT; i++)
        if (vg_slice_eq_nocase(vg_slice_of(name), vg_slice_of(security_headers[i].name)))
            request->own_headers |= 1u << i;
    vg_buf_printf(headers, "%s: ", name);
    start = headers->len;
    vg_buf_put(headers, value);
    vg_buf_put(headers, VG_SLICE("\r\n"));
    if (!vg_buf_ok(headers))
        return; /* seen by the reply */
    /* A value from outside must not become a second header. */
    for (size_t i = start; i < headers->len - 2; i++)
        if ((unsigned char)headers->ptr[i] < ' ' || headers->ptr[i] == 0x7f)
            headers->ptr[i] = ' ';
}

void vg_http_reply(struct vg_http_request *request, int status, const char *content_type,
                   struct vg_slice body)
{
    struct connection *conn = request->conn;
    bool has_no_body = status == 204 || status == 304;

    if (!conn) { /* the peer has gone meanwhile */
        http_request_free(request);
        return;
    }
    if (!vg_buf_ok(&request->headers)) {
        vg_buf_clear(&request->headers);
        request->own_headers = 0;
        status = 500;
        content_type = "text/plain";
        body = VG_SLICE("the reply's headers are too large\n");
        has_no_body = false;
    }
    head_write(request, status, has_no_body ? NULL : content_type,
               has_no_body ? -1 : (int64_t)body.len);
    if (!has_no_body && !request->is_head)
        evbuffer_add(bufferevent_get_output(conn->bev), body.ptr, body.len);
    http_request_done(conn);
    http_request_free(request);
}

static void error_write(struct vg_buf *out, int status, const char *code, const char *text)
{
    struct vg_json_writer w;

    (void)status;
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "error");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "code", vg_slice_of(code));
    vg_json_member_string(&w, "text", vg_slice_of(text));
    vg_json_close_object(&w);
    vg_json_close_object(&w);
}

static const struct vg_http_error_form usual_form = {.content_type = "application/json",
                                                     .write = error_write};

static const struct vg_http_error_form *form_of(const struct vg_http_request *request)
{
    struct vg_slice path = request->path.ptr ? request->path : request->head.raw_path;

    for (size_t i = 0; request->conn && i < request->conn->server->form_count; i++) {
        const struct vg_http_error_form *form = &request->conn->server->forms[i];
        size_t len = strlen(form->path);

        if (vg_slice_starts(path, vg_slice_of(form->path)) &&
            (path.len == len || path.ptr[len] == '/'))
            return form;
    }
    return &usual_form;
}

void vg_http_reply_error(struct vg_http_request *request, int status, const char *code,
                         const char *text)
{
    const struct vg_http_error_form *form = form_of(request);
    struct vg_buf buf;

    vg_buf_init(&buf, 0);
    form->write(&buf, status, code, text);
    vg_http_reply(request, status, form->content_type, vg_buf_slice(&buf));
    vg_buf_fini(&buf);
}

enum vg_status vg_http_shape_errors(struct vg_http_server *server,
                                    const struct vg_http_error_form *form, struct vg_err *err)
{
    if (server->form_count == HTTP_ERROR_FORMS_MAX)
        return vg_fail(err, VG_FATAL, "http.forms", 0, "no more than %d forms of errors",
                       HTTP_ERROR_FORMS_MAX);
    server->forms[server->form_count++] = *form;
    return VG_OK;
}

void vg_http_stream_begin(struct vg_http_request *request, const char *content_type,
                          void (*on_close)(void *ctx), void *ctx)
{
    struct connection *conn = request->conn;

    if (!conn) { /* gone before it began */
        if (on_close)
            on_close(ctx);
        http_request_free(request);
        return;
    }
    request->is_streaming = true;
    request->on_close = on_close;
    request->on_close_ctx = ctx;
    request->is_chunked_reply = !request->head.is_http_1_0;
    if (request->head.is_http_1_0)
        conn->closes_after = true;
    head_write(request, 200, content_type, -1);
    if (conn->has_eof) /* nobody reads it: on_close follows */
        bufferevent_trigger_event(conn->bev, BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
}

void vg_http_stream_write(struct vg_http_request *request, struct vg_slice bytes)
{
    struct evbuffer *output = bufferevent_get_output(request->conn->bev);

    if (bytes.len == 0 || request->is_head)
        return; /* an empty chunk would be the end */
    if (evbuffer_get_length(output) + bytes.len > STREAM_BYTES_MAX) {
        bufferevent_trigger_event(request->conn->bev, BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
        return; /* cut off: on_close follows */
    }
    if (request->is_chunked_reply)
        evbuffer_add_printf(output, "%zx\r\n", bytes.len);
    evbuffer_add(output, bytes.ptr, bytes.len);
    if (request->is_chunked_reply)
        evbuffer_add(output, "\r\n", 2);
}

size_t vg_http_stream_pending(const struct vg_http_request *request)
{
    return evbuffer_get_length(bufferevent_get_output(request->conn->bev));
}

void vg_http_stream_end(struct vg_http_request *request)
{
    if (request->is_chunked_reply && !request->is_head)
        evbuffer_add(bufferevent_get_output(request->conn->bev), "0\r\n\r\n", 5);
    http_request_done(request->conn);
    if (request->on_close)
        request->on_close(request->on_close_ctx);
    http_request_free(request);
}
