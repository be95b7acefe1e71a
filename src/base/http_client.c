/* http_client.c -- see the header.
 *
 * A pool lends its clients: whoever waits for one is woken when one comes back. Nothing of an
 * answer lives in the client: it is copied into the caller's arena.
 */
#include "base/http_client.h"

#include "base/buf.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define TIMEOUT_USUAL_MS 10000u
#define BODY_BYTES_USUAL (16u << 20)

struct vg_http_client {
    CURL *curl;
    char *ca_path, *cert_path, *key_path;
    long timeout_ms, connect_ms;
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
    client->connect_ms = (long)config->connect_ms;
    client->ca_path = config->ca_path ? strdup(config->ca_path) : NULL;
    client->cert_path = config->cert_path ? strdup(config->cert_path) : NULL;
    client->key_path = config->key_path ? strdup(config->key_path) : NULL;
    client->curl = setup_result == CURLE_OK ? curl_easy_init() : NULL;
    if (!client->curl || !config->ca_path != !client->ca_path ||
        !config->cert_path != !client->cert_path || !config->key_path != !client->key_path) {
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
    free(client->cert_path);
    free(client->key_path);
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
        {CURLE_SSL_CERTPROBLEM, VG_RETRY, "http.tls"},
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
    if (client->connect_ms)
        is_fine = is_fine &&
                  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, client->connect_ms) == CURLE_OK;
    if (client->cert_path)
        is_fine = is_fine &&
                  curl_easy_setopt(curl, CURLOPT_SSLCERT, client->cert_path) == CURLE_OK &&
                  (!client->key_path ||
                   curl_easy_setopt(curl, CURLOPT_SSLKEY, client->key_path) == CURLE_OK);
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
    answer.date = header_of(curl, "Date", arena);
    answer.last_modified = header_of(curl, "Last-Modified", arena);
    if (!answer.body.ptr || !answer.content_type.ptr || !answer.etag.ptr || !answer.location.ptr ||
        !answer.retry_after.ptr || !answer.date.ptr || !answer.last_modified.ptr) {
        st = vg_fail(err, VG_REJECT, "http.size", 0, "the answer of %.*s does not fit the arena",
                     VG_FMT(host_of(url)));
        goto done;
    }
    *ret_answer = answer;
done:
    curl_slist_free_all(lines);
    return st;
}

/* ---- the pool ---- */

struct vg_http_pool {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t is_free;
    struct vg_http_client **clients; /* the first free_count are there to be taken */
    uint32_t count, free_count;
    long timeout_ms;
};

enum vg_status vg_http_pool_open(const struct vg_http_client_config *config, uint32_t count,
                                 struct vg_http_pool **ret_pool, struct vg_err *err)
{
    struct vg_http_pool *pool = calloc(1, sizeof(*pool));
    pthread_condattr_t monotonic;
    enum vg_status st = VG_OK;

    if (pool)
        pool->clients = calloc(count, sizeof(struct vg_http_client *));
    if (!pool || !pool->clients) {
        free(pool);
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for HTTP clients");
    }
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pool->is_free, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    pool->timeout_ms = config->timeout_ms ? (long)config->timeout_ms : (long)TIMEOUT_USUAL_MS;
    for (; pool->count < count && st == VG_OK; pool->count += st == VG_OK)
        st = vg_http_client_open(config, &pool->clients[pool->count], err);
    pool->free_count = pool->count;
    if (st != VG_OK) {
        vg_http_pool_close(pool);
        return st;
    }
    *ret_pool = pool;
    return VG_OK;
}

void vg_http_pool_close(struct vg_http_pool *pool)
{
    if (!pool)
        return;
    for (uint32_t i = 0; i < pool->count; i++)
        vg_http_client_close(pool->clients[i]);
    (void)pthread_cond_destroy(&pool->is_free);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->clients);
    free(pool);
}

static struct vg_http_client *pool_take(struct vg_http_pool *pool)
{
    struct vg_http_client *client = NULL;
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += pool->timeout_ms / 1000 + 1;
    (void)pthread_mutex_lock(&pool->lock);
    while (pool->free_count == 0 &&
           pthread_cond_timedwait(&pool->is_free, &pool->lock, &until) != ETIMEDOUT)
        ;
    if (pool->free_count > 0)
        client = pool->clients[--pool->free_count];
    (void)pthread_mutex_unlock(&pool->lock);
    return client;
}

enum vg_status vg_http_pool_fetch(struct vg_http_pool *pool, const char *method, const char *url,
                                  const char *const *headers, struct vg_slice body,
                                  struct vg_arena *arena, struct vg_http_answer *ret_answer,
                                  struct vg_err *err)
{
    struct vg_http_client *client = pool_take(pool);
    enum vg_status st;

    if (!client)
        return vg_fail(err, VG_RETRY, "http.busy", 0, "%.*s: all %u connections are in use",
                       VG_FMT(host_of(url)), pool->count);
    st = vg_http_fetch(client, method, url, headers, body, arena, ret_answer, err);
    (void)pthread_mutex_lock(&pool->lock);
    pool->clients[pool->free_count++] = client;
    (void)pthread_cond_signal(&pool->is_free);
    (void)pthread_mutex_unlock(&pool->lock);
    return st;
}
