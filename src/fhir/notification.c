/* notification.c -- what a Subscription says, where it may send, and the Bundle that tells of an
 * event.
 *
 * A plain R4 Subscription (rest-hook) gets an empty POST, or the resource by PUT below its
 * endpoint. One of the Subscriptions R5 Backport guide (1.1.0) gets a Bundle of type history whose
 * first entry is a Parameters with the status and the event's number, so that the receiver sees a
 * gap.
 */
#include "fhir/subscription_int.h"

#include "base/crypto.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>

#define BACKPORT "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"

/* ---- what it says ---- */

static const struct vg_json *extension_of(const struct vg_json *element, const char *url)
{
    const struct vg_json *list = vg_json_get(element, "extension");

    for (const struct vg_json *one = list ? list->child : NULL; one; one = one->next)
        if (vg_slice_is(vg_json_get_text(one, "url"), url))
            return one;
    return NULL;
}

static bool has_profile(const struct vg_json *root)
{
    const struct vg_json *list = vg_json_get(vg_json_get(root, "meta"), "profile");

    for (const struct vg_json *one = list ? list->child : NULL; one; one = one->next)
        if (vg_slice_is(vg_json_text(one), BACKPORT "backport-subscription"))
            return true;
    return false;
}

static bool header_is_ok(struct vg_slice line)
{
    const char *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;

    if (!colon || colon == line.ptr)
        return false;
    for (size_t i = 0; i < line.len; i++)
        if ((unsigned char)line.ptr[i] < ' ')
            return false;
    return true;
}

enum vg_status fhir_hook_terms_of(const struct vg_json *root, struct fhir_hook_terms *ret_terms,
                                  struct vg_err *err)
{
    const struct vg_json *channel = vg_json_get(root, "channel"), *content, *heartbeat;
    const struct vg_json *filter =
        extension_of(vg_json_get(root, "_criteria"), BACKPORT "backport-filter-criteria");
    struct vg_slice criteria = vg_json_get_text(root, "criteria");
    struct fhir_hook_terms terms = {
        .id = vg_json_get_text(root, "id"),
        .status = vg_json_get_text(root, "status"),
        .endpoint = vg_json_get_text(channel, "endpoint"),
        .payload = vg_json_get_text(channel, "payload"),
        .end = vg_json_get_text(root, "end"),
        .headers = vg_json_get(channel, "header"),
    };
    int64_t seconds;

    /* In the backport the criteria name a topic; the filter says what we can search for. */
    if (filter)
        criteria = vg_json_get_text(filter, "valueString");
    terms.query = criteria;
    terms.type_name = vg_slice_cut(&terms.query, '?');
    terms.type = fhir_type_find(terms.type_name);
    content = extension_of(vg_json_get(channel, "_payload"), BACKPORT "backport-payload-content");
    heartbeat = extension_of(channel, BACKPORT "backport-heartbeat-period");
    terms.is_backport = has_profile(root) || content || filter;
    terms.content = terms.payload.len ? FHIR_CONTENT_FULL : FHIR_CONTENT_EMPTY;
    if (content)
        terms.content =
            vg_slice_is(vg_json_get_text(content, "valueCode"), "empty")     ? FHIR_CONTENT_EMPTY
            : vg_slice_is(vg_json_get_text(content, "valueCode"), "id-only") ? FHIR_CONTENT_ID_ONLY
                                                                             : FHIR_CONTENT_FULL;
    if (vg_json_to_i64(vg_json_get(heartbeat, "valueUnsignedInt"), &seconds) && seconds > 0 &&
        seconds < 1000000)
        terms.heartbeat_us = seconds * VG_SECOND_US;
    *ret_terms = terms;
    if (!vg_slice_is(vg_json_get_text(channel, "type"), "rest-hook"))
        return vg_fail(err, VG_REJECT, "fhir.hook", 0,
                       "only channels of type rest-hook are served");
    if (!terms.type)
        return vg_fail(err, VG_REJECT, "fhir.hook", 0,
                       "criteria must be a type and a search, as Observation?code=8867-4");
    if (!terms.endpoint.len)
        return vg_fail(err, VG_REJECT, "fhir.hook", 0, "a rest-hook needs an endpoint");
    if (terms.payload.len && !vg_slice_is(terms.payload, "application/fhir+json") &&
        !vg_slice_is(terms.payload, "application/json"))
        return vg_fail(err, VG_REJECT, "fhir.hook", 0,
                       "payload must be application/fhir+json, or absent");
    for (const struct vg_json *one = terms.headers ? terms.headers->child : NULL; one;
         one = one->next)
        if (!header_is_ok(vg_json_text(one)))
            return vg_fail(err, VG_REJECT, "fhir.hook", 0,
                           "a channel.header is a line \"Name: value\"");
    return VG_OK;
}

/* ---- where it may send ---- */

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    return strcmp(host, "[::1]") == 0 || strcmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

/* "host", "host:port" or "http://host:port" (without TLS on purpose) in the setting. */
static bool is_listed(const char *hosts, const char *scheme, const char *host, const char *port)
{
    struct vg_slice list = vg_slice_of(hosts);
    char whole[400];

    (void)snprintf(whole, sizeof(whole), "%s:%s", host, port);
    while (list.len) {
        struct vg_slice one = vg_slice_trim(vg_slice_cut(&list, ','));
        bool is_plain = vg_slice_starts(one, VG_SLICE("http://"));

        if (is_plain)
            one = vg_slice_from(one, sizeof("http://") - 1);
        if (is_plain == (strcmp(scheme, "http") == 0) &&
            (vg_slice_eq_nocase(one, vg_slice_of(host)) ||
             vg_slice_eq_nocase(one, vg_slice_of(whole))))
            return true;
    }
    return false;
}

enum vg_status fhir_hook_check_endpoint(const char *hosts, bool allows_local,
                                        struct vg_slice endpoint, struct vg_err *err)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL, text[2048];
    CURLU *url = curl_url();
    bool is_fine = url && vg_slice_to_cstr(endpoint, text, sizeof(text)) &&
                   curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                   curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                   curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                   curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    enum vg_status st = VG_OK;

    if (!is_fine || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0) ||
        curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
        st = vg_fail(err, VG_REJECT, "fhir.hook", 0,
                     "the endpoint must be an https address without a user in it");
    else if (!(allows_local && is_loopback(host)) && !is_listed(hosts, scheme, host, port))
        st = vg_fail(err, VG_REJECT, "fhir.hook", 0,
                     "the endpoint's host is not one of fhir.subscription_hosts (https unless it "
                     "is listed with http://)");
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_url_cleanup(url);
    return st;
}

/* ---- what is told ---- */

static void member(struct vg_json_writer *w, const char *name, const char *kind,
                   struct vg_slice value)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "name", vg_slice_of(name));
    if (strcmp(kind, "valueReference") == 0) {
        vg_json_name(w, kind);
        vg_json_open_object(w);
        vg_json_member_string(w, "reference", value);
        vg_json_close_object(w);
    } else {
        vg_json_member_string(w, kind, value);
    }
    vg_json_close_object(w);
}

static void number_member(struct vg_json_writer *w, const char *name, uint64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    member(w, name, "valueString", vg_slice_of(text));
}

static void put_profile(struct vg_json_writer *w, const char *profile)
{
    vg_json_name(w, "meta");
    vg_json_open_object(w);
    vg_json_name(w, "profile");
    vg_json_open_array(w);
    vg_json_put_string(w, vg_slice_of(profile));
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static void put_event(struct vg_json_writer *w, const struct fhir_event *event,
                      struct vg_slice focus)
{
    char time[VG_TIME_TEXT_SIZE];

    vg_json_open_object(w);
    vg_json_member_string(w, "name", VG_SLICE("notification-event"));
    vg_json_name(w, "part");
    vg_json_open_array(w);
    number_member(w, "event-number", event->number);
    (void)vg_time_format(event->at_us, 3, time);
    member(w, "timestamp", "valueInstant", vg_slice_of(time));
    if (focus.len)
        member(w, "focus", "valueReference", focus);
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static void put_request(struct vg_json_writer *w, const char *method, struct vg_slice url,
                        const char *status)
{
    vg_json_name(w, "request");
    vg_json_open_object(w);
    vg_json_member_string(w, "method", vg_slice_of(method));
    vg_json_member_string(w, "url", url);
    vg_json_close_object(w);
    vg_json_name(w, "response");
    vg_json_open_object(w);
    vg_json_member_string(w, "status", vg_slice_of(status));
    vg_json_close_object(w);
}

/* "base/Type/id" */
static struct vg_slice focus_of(struct vg_buf *text, struct vg_slice base_url,
                                const struct fhir_event *event)
{
    vg_buf_clear(text);
    if (event->resource)
        vg_buf_printf(text, "%.*s/%.*s/%.*s", VG_FMT(base_url), VG_FMT(event->resource->type),
                      VG_FMT(event->resource->id));
    else if (event->focus.len)
        vg_buf_printf(text, "%.*s/%.*s", VG_FMT(base_url), VG_FMT(event->focus));
    return vg_buf_slice(text);
}

void fhir_notification_write(struct vg_buf *out, struct vg_slice base_url, struct vg_slice id,
                             struct vg_slice topic, const char *status, const char *kind,
                             const char *error, uint64_t event_count, enum fhir_content content,
                             const struct fhir_event *events, size_t count)
{
    bool is_query = strncmp(kind, "query", 5) == 0;
    struct vg_json_writer w;
    struct vg_buf url;
    uint8_t random[16];
    char hex[33], name[64];

    vg_random(random, sizeof(random));
    random[6] = (uint8_t)((random[6] & 0x0f) | 0x40);
    random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
    vg_hex(random, sizeof(random), hex);
    (void)snprintf(name, sizeof(name), "urn:uuid:%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
    vg_buf_init(&url, 4096);
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Bundle"));
    if (strcmp(kind, "query-status") != 0)
        put_profile(&w, BACKPORT "backport-subscription-notification-r4");
    vg_json_member_string(&w, "type",
                          strcmp(kind, "query-status") == 0 ? VG_SLICE("searchset")
                                                            : VG_SLICE("history"));
    vg_json_member_time(&w, "timestamp", vg_now_us());
    vg_json_name(&w, "entry");
    vg_json_open_array(&w);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "fullUrl", vg_slice_of(name));
    vg_json_name(&w, "resource");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Parameters"));
    put_profile(&w, BACKPORT "backport-subscription-status-r4");
    vg_json_name(&w, "parameter");
    vg_json_open_array(&w);
    vg_buf_printf(&url, "%.*s/Subscription/%.*s", VG_FMT(base_url), VG_FMT(id));
    member(&w, "subscription", "valueReference", vg_buf_slice(&url));
    if (topic.len)
        member(&w, "topic", "valueCanonical", topic);
    member(&w, "status", "valueCode", vg_slice_of(status));
    member(&w, "type", "valueCode", vg_slice_of(kind));
    number_member(&w, "events-since-subscription-start", event_count);
    for (size_t i = 0; i < count; i++)
        put_event(&w, &events[i],
                  content == FHIR_CONTENT_EMPTY ? (struct vg_slice){0}
                                                : focus_of(&url, base_url, &events[i]));
    if (error && error[0]) {
        vg_json_open_object(&w);
        vg_json_member_string(&w, "name", VG_SLICE("error"));
        vg_json_name(&w, "valueCodeableConcept");
        vg_json_open_object(&w);
        vg_json_member_string(&w, "text", vg_slice_of(error));
        vg_json_close_object(&w);
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    if (strcmp(kind, "query-status") == 0) {
        vg_json_name(&w, "search");
        vg_json_open_object(&w);
        vg_json_member_string(&w, "mode", VG_SLICE("match"));
        vg_json_close_object(&w);
    } else {
        vg_buf_clear(&url);
        vg_buf_printf(&url, "%.*s/Subscription/%.*s/$%s", VG_FMT(base_url), VG_FMT(id),
                      is_query ? "events" : "status");
        put_request(&w, "GET", vg_buf_slice(&url), "200");
    }
    vg_json_close_object(&w);
    for (size_t i = 0; i < count && content != FHIR_CONTENT_EMPTY; i++) {
        struct vg_slice focus = focus_of(&url, base_url, &events[i]);
        const struct fhir_resource *one = events[i].resource;

        if (!focus.len)
            continue;
        vg_json_open_object(&w);
        vg_json_member_string(&w, "fullUrl", focus);
        if (one && content == FHIR_CONTENT_FULL && one->body.len)
            vg_json_member_raw(&w, "resource", one->body);
        put_request(&w, one && one->version == 1 ? "POST" : "PUT",
                    vg_slice_from(focus, base_url.len + 1),
                    one && one->version == 1 ? "201" : "200");
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    w.out->has_failed |= url.has_failed;
    vg_buf_fini(&url);
}
