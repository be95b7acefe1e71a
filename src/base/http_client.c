/* http_client.c -- one request at a time with libcurl; see the header. */
#include "base/http_client.h"

#include "base/buf.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#define TIMEOUT_USUAL_MS 10000u
#define BODY_BYTES_USUAL (16u << 20)

struct vg_http_client {
    CURL *curl;
    char *ca_path;
    long timeout_ms;
    struct vg_buf body;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode setup_result;

static void setup(void)
{
    setup_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum vg_status vg_http_client_open(const struct vg_http_client_config *config,
                                   struct vg_http_client **ret_client, struct vg_err *err)
{
    struct vg_http_client *client = calloc(1, sizeof(*client));

    (void)pthread_once(&once, setup);
    if (!client)
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for an HTTP client");
    vg_buf_init(&client->body, config->body_bytes_max ? config->body_bytes_max : BODY_BYTES_USUAL);
    client->timeout_ms = config->timeout_ms ? (long)config->timeout_ms : (long)TIMEOUT_USUAL_MS;
    client->ca_path = config->ca_path ? strdup(config->ca_path) : NULL;
    client->curl = setup_result == CURLE_OK ? curl_easy_init() : NULL;
    if (!client->curl || (config->ca_path && !client->ca_path)) {
        vg_http_client_close(client);
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for an HTTP client");
    }
    *ret_client = client;
    return VG_OK;
}

void vg_http_client_close(struct vg_http_client *client)
{
    if (!client)
        return;
    if (client->curl)
        curl_easy_cleanup(client->curl);
    vg_buf_fini(&client->body);
    free(client->ca_path);
    free(client);
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct vg_http_client *client = ctx;

    vg_buf_put(&client->body, (struct vg_slice){bytes, size * count});
    return vg_buf_ok(&client->body) ? size * count : 0;
}

/* "host:port" of a URL, for error texts: no user, no path, no query. */
static struct vg_slice host_of(const char *url)
{
    struct vg_slice rest = vg_slice_of(url);
    const char *start = strstr(url, "://");
    const char *at;

    if (start)
        rest = vg_slice_from(rest, (size_t)(start - url) + 3);
    rest.len = strcspn(rest.ptr, "/?#");
    at = memrchr(rest.ptr, '@', rest.len);
    return at ? vg_slice_from(rest, (size_t)(at - rest.ptr) + 1) : rest;
}

static enum vg_status fetch_fail(const struct vg_http_client *client, CURLcode result,
                                 const char *url, struct vg_err *err)
{
    static const struct {
        CURLcode result;
        enum vg_status status;
        const char *code;
    } rows[] = {
        {CURLE_COULDNT_RESOLVE_HOST, VG_RETRY, "http.resolve"},
        {CURLE_COULDNT_CONNECT, VG_RETRY, "http.connect"},
        {CURLE_OPERATION_TIMEDOUT, VG_RETRY, "http.timeout"},
        {CURLE_SSL_CONNECT_ERROR, VG_RETRY, "http.tls"},
        {CURLE_PEER_FAILED_VERIFICATION, VG_RETRY, "http.tls"},
        {CURLE_SSL_CACERT_BADFILE, VG_RETRY, "http.tls"},
        {CURLE_UNSUPPORTED_PROTOCOL, VG_REJECT, "http.url"},
        {CURLE_URL_MALFORMAT, VG_REJECT, "http.url"},
    };
    struct vg_slice host = host_of(url);

    if (!vg_buf_ok(&client->body))
        return vg_fail(err, VG_REJECT, "http.size", 0,
                       "the answer of %.*s is larger than %zu bytes", VG_FMT(host),
                       client->body.limit_bytes);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].result == result)
            return vg_fail(err, rows[i].status, rows[i].code, 0, "%.*s: %s", VG_FMT(host),
                           curl_easy_strerror(result));
    return vg_fail(err, VG_RETRY, "http.transfer", 0, "%.*s: %s", VG_FMT(host),
                   curl_easy_strerror(result));
}

static struct vg_slice header_of(CURL *curl, const char *name, struct vg_arena *arena)
{
    struct curl_header *header = NULL;

    if (curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return VG_SLICE("");
    return vg_arena_dup(arena, vg_slice_of(header->value));
}

/* True when all options were taken. The caller frees *lines. */
static bool prepare(struct vg_http_client *client, const char *method, const char *url,
                    const char *const *headers, struct vg_slice body, struct curl_slist **lines)
{
    CURL *curl = client->curl;
    /* No "100 Continue" dance: it costs a second with servers that do not know it. */
    struct curl_slist *all = curl_slist_append(NULL, "Expect:");
    bool is_fine = all != NULL;

    for (size_t i = 0; is_fine && headers && headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(all, headers[i]);

        is_fine = longer != NULL;
    }
    *lines = all;
    curl_easy_reset(curl); /* connections and TLS sessions stay */
    is_fine = is_fine && curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, client->timeout_ms) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_HTTPHEADER, all) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEDATA, client) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_USERAGENT, "vigil/" VIGIL_VERSION) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
    if (client->ca_path)
        is_fine = is_fine && curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_path) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK;
    if (strcmp(method, "HEAD") == 0)
        return is_fine && curl_easy_setopt(curl, CURLOPT_NOBODY, 1L) == CURLE_OK;
    if (body.len || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
        is_fine =
            is_fine &&
            curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) == CURLE_OK &&
            curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.ptr ? body.ptr : "") == CURLE_OK;
    return is_fine && curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
}

enum vg_status vg_http_fetch(struct vg_http_client *client, const char *method, const char *url,
                             const char *const *headers, struct vg_slice body,
                             struct vg_arena *arena, struct vg_http_answer *ret_answer,
                             struct vg_err *err)
{
    CURL *curl = client->curl;
    struct curl_slist *lines = NULL;
    struct vg_http_answer answer = {0};
    enum vg_status st = VG_OK;
    CURLcode result;
    long status = 0;

    vg_buf_clear(&client->body);
    if (!prepare(client, method, url, headers, body, &lines)) {
        st = vg_fail(err, VG_REJECT, "http.request", 0, "libcurl refused the request to %.*s",
                     VG_FMT(host_of(url)));
        goto done;
    }
    result = curl_easy_perform(curl);
    if (result != CURLE_OK) {
        st = fetch_fail(client, result, url, err);
        goto done;
    }
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    answer.body = vg_arena_dup(arena, vg_buf_slice(&client->body));
    answer.content_type = header_of(curl, "Content-Type", arena);
    answer.etag = header_of(curl, "ETag", arena);
    answer.location = header_of(curl, "Location", arena);
    answer.retry_after = header_of(curl, "Retry-After", arena);
    if (!answer.body.ptr || !answer.content_type.ptr || !answer.etag.ptr || !answer.location.ptr ||
        !answer.retry_after.ptr) {
        st = vg_fail(err, VG_REJECT, "http.size", 0, "the answer of %.*s does not fit the arena",
                     VG_FMT(host_of(url)));
        goto done;
    }
    *ret_answer = answer;
done:
    curl_slist_free_all(lines);
    return st;
}
