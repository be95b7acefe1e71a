/* https.c -- POST /devices/{id}/messages/events: one message, HTTP Basic, 204 once it is durable.
 *
 * The same registry, rules and batch as MQTT; the answer leaves from the same completion. Azure's
 * names: header message-id (or iothub-messageid), iothub-creation-time-utc, iothub-contenttype (or
 * Content-Type). Application
 * properties come in the query as p.NAME=value. A password check runs in the authentication thread
 * (auth.c) while the request waits.
 */
#include "hub/hub_int.h"

#include <stdio.h>
#include <stdlib.h>

#define CONTENT_TYPE_BYTES_MAX 250 /* a longer one is none that we know */

struct post {
    struct vg_http_request *request;
    struct hub_loop *loop;
    struct vg_slice who, device; /* in the request's arena, where this struct lives too */
};

static void refuse(struct vg_http_request *request, int status, enum refused why, const char *text)
{
    struct vg_slice peer = vg_http_peer(request);

    vg_log(status == 503 ? VG_LOG_INFO : VG_LOG_WARN, "hub", refusal_of(why)->code,
           "HTTPS from %.*s: %s", VG_FMT(peer), text);
    if (status == 401)
        vg_http_add_header(request, "WWW-Authenticate", VG_SLICE("Basic realm=\"devices\""));
    if (status == 503)
        vg_http_add_header(request, "Retry-After", VG_SLICE("2"));
    vg_http_reply_error(request, status, refusal_of(why)->code, text);
}

/* Authorization: Basic base64(id:password). */
static bool read_basic(struct vg_http_request *request, struct vg_slice *ret_id,
                       struct vg_slice *ret_password)
{
    struct vg_slice header = vg_http_header(request, "Authorization");
    struct vg_slice plain;

    if (header.len < 6 || !vg_slice_eq_nocase((struct vg_slice){header.ptr, 6}, VG_SLICE("Basic ")))
        return false;
    plain = vg_base64_decode(vg_http_arena(request), vg_slice_trim(vg_slice_from(header, 6)));
    if (!plain.ptr || !memchr(plain.ptr, ':', plain.len))
        return false;
    *ret_id = vg_slice_cut(&plain, ':');
    *ret_password = plain.ptr ? plain : (struct vg_slice){"", 0};
    return true;
}

/* Query parameters p.NAME=value. False: cannot be read. */
static bool put_properties(struct vg_buf *headers, struct vg_http_request *request)
{
    struct vg_slice query = vg_http_query(request);
    size_t count = 0;

    while (query.len > 0) {
        struct vg_slice value = vg_slice_cut(&query, '&');
        struct vg_slice name = vg_slice_cut(&value, '=');

        if (!vg_slice_starts(name, VG_SLICE("p.")))
            continue; /* api-version and the like */
        name = vg_url_decode(vg_http_arena(request), vg_slice_from(name, 2), true);
        value = value.len ? vg_url_decode(vg_http_arena(request), value, true)
                          : (struct vg_slice){"", 0};
        if (!name.ptr || !value.ptr || !vg_slice_is_utf8(name) || !vg_slice_is_utf8(value) ||
            ++count > MQTT_USER_COUNT_MAX || !message_put_property(headers, name, value, false))
            return false;
    }
    return true;
}

static struct vg_slice either_header(struct vg_http_request *request, const char *one,
                                     const char *other)
{
    struct vg_slice value = vg_http_header(request, one);

    return value.ptr ? value : vg_http_header(request, other);
}

static void store(struct post *post)
{
    struct hub_loop *loop = post->loop;
    struct vg_http_request *request = post->request;
    struct vg_slice mid = either_header(request, "message-id", "iothub-messageid");
    struct vg_slice ctime = either_header(request, "iothub-creation-time-utc", "creation-time");
    struct vg_slice ct = either_header(request, "iothub-contenttype", "Content-Type");
    struct vg_buf *headers = &loop->headers;

    if (!turn_has_reserve(loop)) {
        refuse(request, 503, REFUSED_BUSY, "no message can be stored now");
        return;
    }
    vg_buf_clear(headers);
    stream_header_put(headers, "via", VG_SLICE("https"));
    if (!vg_slice_eq(post->who, post->device))
        stream_header_put(headers, "edge", post->who);
    if (mid.ptr)
        stream_header_put(headers, "mid", mid);
    if (ctime.ptr)
        stream_header_put(headers, "ctime", ctime);
    if (ct.len && ct.len <= CONTENT_TYPE_BYTES_MAX)
        stream_header_put(headers, "ct", ct);
    if (!put_properties(headers, request) || !vg_buf_ok(headers)) {
        refuse(request, 400, REFUSED_TOPIC_FORM, "the properties cannot be read");
        return;
    }
    vg_metric_add(loop->hub->metrics.messages[2], 1);
    turn_add(loop, post->device, stream_partition_of(loop->hub->stream, post->device),
             vg_buf_slice(headers), vg_http_body(request), (struct answer){.request = request});
}

static void finish(struct post *post, bool is_proven)
{
    const struct directory *directory = post->loop->directory;
    const struct registry_device *who = directory_get(directory, post->who);

    if (!is_proven || !who)
        refuse(post->request, 401, REFUSED_PASSWORD, "unknown device or wrong password");
    else if (!who->is_enabled)
        refuse(post->request, 403, REFUSED_DISABLED, "the device is disabled");
    else if (!message_is_allowed(directory, post->who, who->is_gateway, post->device))
        refuse(post->request, 403, REFUSED_TOPIC, "a device sends under its own id only");
    else
        store(post);
}

static void password_checked(struct auth_job *job)
{
    struct post *post = job->ctx;

    if (job->is_dropped)
        refuse(post->request, 503, REFUSED_SHUTTING_DOWN, "the hub is shutting down");
    else
        finish(post, job->is_proven);
    auth_job_free(job);
}

static void on_post(struct vg_http_request *request, void *ctx)
{
    struct hub_loop *loop = ctx;
    struct vg_slice path = vg_http_path(request), device, bag, who, password;
    struct post *post;

    turn_begin(loop);
    if (path.len < 1 || !message_topic(vg_slice_from(path, 1), &device, &bag) || bag.len) {
        refuse(request, 404, REFUSED_TOPIC_FORM, "post to /devices/{id}/messages/events");
        return;
    }
    if (!read_basic(request, &who, &password)) {
        refuse(request, 401, REFUSED_PASSWORD, "HTTP Basic with device id and password");
        return;
    }
    post = vg_arena_alloc(vg_http_arena(request), sizeof(*post));
    if (!post) {
        refuse(request, 503, REFUSED_UNAVAILABLE, "no memory");
        return;
    }
    *post = (struct post){request, loop, who, device};
    switch (auth_check(loop, who, password, password_checked, post)) {
    case AUTH_LATER:
        break;
    case AUTH_BUSY:
        refuse(request, 503, REFUSED_BUSY, "too many passwords are being checked");
        break;
    case AUTH_YES:
        finish(post, true);
        break;
    case AUTH_NO:
        finish(post, false);
        break;
    }
}

enum vg_status https_open(struct hub *hub, struct vg_err *err)
{
    struct vg_http_server_config config = {
        .address = hub->config.address,
        .port = hub->config.https_port,
        .tls = hub->config.tls,
        .body_bytes_max = hub->config.payload_bytes_max,
    };
    enum vg_status st = vg_http_server_open(hub->loops[0].loop, &config, &hub->https, err);

    return st == VG_OK
               ? vg_http_route(hub->https, "POST", "/devices/*", on_post, &hub->loops[0], err)
               : st;
}
