/* engine_remote.c -- the FHIR store as a client of any FHIR R4 server.
 *
 * The embedded engine keeps rows and finds them (engine.h); a server does that itself, so that this
 * one stands at the height of fhir.h: reads, commits and searches become requests. remote_int.h
 * names the files.
 *
 * The maintenance thread does three things, in this order: while the server is away it probes; when
 * it is there it empties the spool, oldest first; and now and then it looks for changes that others
 * have made. Nothing of a stage waits for it but what must: a search of a type of which something
 * is still in the spool.
 *
 * What the server refuses for good while the spool is emptied goes to config.refused and never
 * holds up the rest. A server that fails (500) over one resource again and again is asked POISON_US
 * long; then that resource counts as refused.
 *
 * Threads: those of the callers; the maintenance thread; workers that send bundles side by side.
 */
#include "base/clock.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "fhir/remote_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECTIONS_USUAL 4u
#define CONNECTIONS_MAX 64u
#define BUNDLE_USUAL 100u
#define BUNDLE_MAX 1000u
#define TIMEOUT_USUAL_MS 30000u
#define CONNECT_MS 5000u
#define WATCH_USUAL_US (2 * VG_SECOND_US)
#define SPOOL_USUAL_BYTES ((uint64_t)1 << 30)
#define POISON_US (5 * VG_MINUTE_US)

/* ---- emptying the spool ---- */

/* What was refused is somebody else's now; else it stays, and comes again. */
static void hand_over(struct fhir_remote *r, struct remote_item *item)
{
    struct vg_err err = {0};

    vg_metric_add(r->refused_total, 1);
    if (r->config.refused &&
        r->config.refused(r->config.ctx, vg_slice_of(fhir_type_name(item->type)), item->id,
                          item->is_delete ? (struct vg_slice){0} : item->body, item->why,
                          &err) != VG_OK)
        item->state = REMOTE_OPEN;
}

/* The server fails over one resource: how long already? */
static void look_at_failure(struct fhir_remote *r, struct remote_item *item)
{
    if (r->stuck_seq != item->seq) {
        r->stuck_seq = item->seq;
        r->stuck_since_us = vg_mono_us();
    } else if (vg_mono_us() - r->stuck_since_us > POISON_US) {
        item->state = REMOTE_REFUSED;
        (void)snprintf(item->why, sizeof(item->why),
                       "the FHIR server failed over it (500) again and again");
    }
}

/* VG_END: nothing is left. */
static enum vg_status drain_some(struct fhir_remote *r, struct vg_err *err)
{
    struct remote_item *items = NULL;
    size_t count = 0;
    struct vg_arena arena;
    enum vg_status st, sent = VG_OK;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    st = spool_oldest(r->spool, r->config.bundle_entries_max, &arena, &items, &count, err);
    if (st == VG_OK)
        sent = remote_send(r, items, count, false, &arena, err);
    for (size_t i = 0; i < count; i++) {
        if (items[i].state == REMOTE_OPEN && items[i].has_failed_there)
            look_at_failure(r, &items[i]);
        if (items[i].state == REMOTE_REFUSED)
            hand_over(r, &items[i]);
    }
    if (st == VG_OK)
        st = spool_settle(r->spool, items, count, err);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        if (items[i].state == REMOTE_DONE)
            atomic_fetch_add(&r->store->change_counts[items[i].type], 1);
    vg_arena_fini(&arena);
    return st == VG_OK ? sent : st;
}

static void show_spool(struct fhir_remote *r)
{
    vg_metric_set(r->spool_writes, (double)spool_count(r->spool));
    vg_metric_set(r->spool_bytes, (double)spool_bytes(r->spool));
}

static bool is_closing(struct fhir_remote *r)
{
    bool is_so;

    (void)pthread_mutex_lock(&r->lock);
    is_so = r->is_closing;
    (void)pthread_mutex_unlock(&r->lock);
    return is_so;
}

static void watch_if_due(struct fhir_remote *r)
{
    if (vg_mono_us() < r->watch_at_us || remote_is_away(r))
        return;
    remote_watch(r);
    r->watch_at_us = vg_mono_us() + r->config.watch_us;
}

static void *maintain(void *ctx)
{
    struct fhir_remote *r = ctx;

    while (!is_closing(r)) {
        struct vg_err err = {0};
        int64_t until_us = vg_mono_us() + VG_SECOND_US / 5;
        bool is_due;

        (void)pthread_mutex_lock(&r->lock);
        is_due = r->is_away && vg_mono_us() >= r->probe_at_us;
        (void)pthread_mutex_unlock(&r->lock);
        if (is_due && remote_probe(r, &err) == VG_OK)
            r->watch_at_us = 0; /* what has happened there meanwhile, before anything is sent */
        watch_if_due(r);
        while (!is_closing(r) && !remote_is_away(r) && spool_count(r->spool) > 0) {
            uint64_t before = spool_count(r->spool);
            enum vg_status st = drain_some(r, &err);

            show_spool(r);
            watch_if_due(r);
            /* Nothing gone: what was refused found nobody who takes it. */
            if (st != VG_OK || spool_count(r->spool) >= before) {
                remote_pause(r, VG_SECOND_US / 5);
                break;
            }
        }
        show_spool(r);
        (void)pthread_mutex_lock(&r->lock);
        if (!r->is_closing && (r->is_away || spool_count(r->spool) == 0)) {
            struct timespec until = {.tv_sec = (time_t)(until_us / VG_SECOND_US),
                                     .tv_nsec = (long)(until_us % VG_SECOND_US) * 1000};

            (void)pthread_cond_timedwait(&r->wake, &r->lock, &until);
        }
        (void)pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

/* ---- open and close ---- */

static bool keep(const char **text)
{
    if (!*text || !**text) {
        *text = NULL;
        return true;
    }
    *text = strdup(*text);
    return *text != NULL;
}

static enum vg_status take_config(struct fhir_remote *r, const struct fhir_remote_config *config,
                                  struct vg_err *err)
{
    struct fhir_remote_config *own = &r->config;
    const char **const texts[] = {&own->url,           &own->ca_path,       &own->cert_path,
                                  &own->key_path,      &own->token_file,    &own->token_url,
                                  &own->client_id,     &own->client_secret, &own->client_key_path,
                                  &own->client_key_id, &own->scope};
    bool is_ok = true;
    const char *host;
    char *base;

    *own = *config;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!is_ok)
            *texts[i] = NULL; /* the caller's: not ours to free */
        is_ok = is_ok && keep(texts[i]);
    }
    if (!is_ok)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the FHIR client");
    if (!own->url ||
        (strncmp(own->url, "https://", 8) != 0 && strncmp(own->url, "http://", 7) != 0))
        return vg_fail(err, VG_REJECT, "fhir.url", 0,
                       "fhir.url: expected https://host/path of a FHIR R4 server");
    base = (char *)(uintptr_t)own->url;
    host = strstr(own->url, "://") + 3;
    while (*host && base[strlen(base) - 1] == '/')
        base[strlen(base) - 1] = '\0';
    if (!*host || strpbrk(host, "?#@ "))
        return vg_fail(err, VG_REJECT, "fhir.url", 0,
                       "fhir.url: expected no user, query or blank in it");
    r->origin = strndup(own->url, (size_t)(host - own->url) + strcspn(host, "/"));
    if (!r->origin)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the FHIR client");
    own->connections = own->connections ? own->connections : CONNECTIONS_USUAL;
    if (own->connections > CONNECTIONS_MAX)
        own->connections = CONNECTIONS_MAX;
    own->bundle_entries_max = own->bundle_entries_max ? own->bundle_entries_max : BUNDLE_USUAL;
    if (own->bundle_entries_max > BUNDLE_MAX)
        own->bundle_entries_max = BUNDLE_MAX;
    own->timeout_ms = own->timeout_ms ? own->timeout_ms : TIMEOUT_USUAL_MS;
    own->watch_us = own->watch_us ? own->watch_us : WATCH_USUAL_US;
    own->spool_bytes_max = own->spool_bytes_max ? own->spool_bytes_max : SPOOL_USUAL_BYTES;
    return VG_OK;
}

static enum vg_status open_client(struct fhir_remote *r, struct vg_err *err)
{
    const struct fhir_remote_config *own = &r->config;
    const struct vg_http_client_config http = {
        .ca_path = own->ca_path,
        .cert_path = own->cert_path,
        .key_path = own->key_path,
        .timeout_ms = own->timeout_ms,
        .connect_ms = CONNECT_MS,
        .body_bytes_max = REMOTE_ANSWER_BYTES_MAX,
    };
    const struct vg_http_token_config token = {
        .file = own->token_file,
        .url = own->token_url,
        .client_id = own->client_id,
        .secret = own->client_secret,
        .key_path = own->client_key_path,
        .key_id = own->client_key_id,
        .scope = own->scope,
        .http = {.ca_path = own->ca_path,
                 .cert_path = own->cert_path,
                 .key_path = own->key_path,
                 .timeout_ms = 10000,
                 .body_bytes_max = 1u << 20},
    };
    enum vg_status st = vg_http_pool_open(&http, own->connections, &r->pool, err);

    if (st == VG_OK && vg_http_token_is_wanted(&token))
        st = vg_http_token_open(&token, &r->token, err);
    return st;
}

static void make_metrics(struct fhir_remote *r)
{
    r->requests_total = vg_counter("vigil_fhir_requests_total", "Requests to the FHIR server", "");
    r->retries_total = vg_counter("vigil_fhir_retries_total", "Requests that were sent again", "");
    r->refused_total = vg_counter("vigil_fhir_refused_total",
                                  "Writes that waited, and then were refused for good", "");
    r->spool_writes =
        vg_gauge("vigil_fhir_spool_writes", "Writes that the FHIR server has not taken yet", "");
    r->spool_bytes = vg_gauge("vigil_fhir_spool_bytes", "Their size", "");
    r->is_up = vg_gauge("vigil_fhir_up", "1: the FHIR server answers, 0: it is away", "");
    r->request_seconds =
        vg_histogram("vigil_fhir_request_seconds", "Time for a request to the FHIR server", "");
}

static enum vg_status start(struct fhir_remote *r, struct vg_err *err)
{
    struct vg_err why = {0};

    /* Being away is no reason not to start. */
    if (remote_probe(r, &why) != VG_OK && !remote_is_away(r))
        remote_set_away(r, 0, why.text);
    for (; r->worker_count < r->config.connections; r->worker_count++)
        if (pthread_create(&r->workers[r->worker_count], NULL, remote_worker, r) != 0)
            return vg_fail(err, VG_RETRY, "fhir.thread", errno, "a worker did not start");
    if (pthread_create(&r->thread, NULL, maintain, r) != 0)
        return vg_fail(err, VG_RETRY, "fhir.thread", errno, "the FHIR client did not start");
    r->has_thread = true;
    return VG_OK;
}

enum vg_status remote_open(const struct fhir_config *config, struct fhir_store *store,
                           struct fhir_remote **ret_remote, struct vg_err *err)
{
    struct fhir_remote *r = calloc(1, sizeof(*r));
    pthread_condattr_t monotonic;
    enum vg_status st;

    if (!r)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the FHIR client");
    r->store = store;
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    vg_queue_init(&r->queue, r->items, sizeof(r->items) / sizeof(r->items[0]));
    vg_map_init(&r->known[0]);
    vg_map_init(&r->known[1]);
    make_metrics(r);
    atomic_init(&r->counted_us, vg_mono_us()); /* nobody knows anything older */
    r->watched_us = calloc(fhir_type_count() + 1, sizeof(*r->watched_us));
    r->swept_us = vg_mono_us();
    if (!r->watched_us)
        st = vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the FHIR client");
    else if (!config->remote || !config->path)
        st = vg_fail(err, VG_REJECT, "fhir.url", 0,
                     "the remote engine needs the server's URL and a file to keep writes in");
    else
        st = take_config(r, config->remote, err);
    if (st == VG_OK)
        st = spool_open(config->path, r->config.spool_bytes_max, &r->spool, err);
    if (st == VG_OK)
        st = open_client(r, err);
    if (st == VG_OK)
        st = start(r, err);
    if (st != VG_OK) {
        remote_close(r);
        return st;
    }
    *ret_remote = r;
    return VG_OK;
}

void remote_close(struct fhir_remote *r)
{
    if (!r)
        return;
    (void)pthread_mutex_lock(&r->lock);
    r->is_closing = true;
    (void)pthread_cond_broadcast(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    if (r->has_thread)
        (void)pthread_join(r->thread, NULL);
    vg_queue_close(&r->queue);
    for (uint32_t i = 0; i < r->worker_count; i++)
        (void)pthread_join(r->workers[i], NULL);
    vg_queue_fini(&r->queue);
    spool_close(r->spool);
    vg_http_token_close(r->token);
    vg_http_pool_close(r->pool);
    remote_capability_fini(&r->capability);
    vg_map_fini(&r->known[0], free);
    vg_map_fini(&r->known[1], free);
    free(r->watched_us);
    free(r->origin);
    const char *const texts[] = {
        r->config.url,           r->config.ca_path,       r->config.cert_path,
        r->config.key_path,      r->config.token_file,    r->config.token_url,
        r->config.client_id,     r->config.client_secret, r->config.client_key_path,
        r->config.client_key_id, r->config.scope};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free((void *)(uintptr_t)texts[i]);
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

void remote_trouble(struct fhir_remote *r, char out[static 256])
{
    uint64_t count = spool_count(r->spool);

    out[0] = '\0';
    (void)pthread_mutex_lock(&r->lock);
    if (r->is_away)
        (void)snprintf(out, 256,
                       "waiting for FHIR server: %.150s; %" PRIu64 " writes are kept back",
                       r->away_text, count);
    else if (count)
        (void)snprintf(out, 256, "the FHIR server is taking %" PRIu64 " writes that were kept back",
                       count);
    (void)pthread_mutex_unlock(&r->lock);
}

/* ---- /fhir ---- */

static void not_here(struct vg_http_request *request, void *ctx)
{
    struct fhir_issue issue = {404, "not-found", {0}};
    struct vg_buf out;

    (void)ctx;
    vg_buf_init(&out, 4096);
    fhir_outcome_write(&out, "error", &issue,
                       "resources are not kept here: ask the FHIR server that Vigil writes to");
    vg_http_reply(request, 404, "application/fhir+json", vg_buf_slice(&out));
    vg_buf_fini(&out);
}

enum vg_status remote_rest_mount(struct vg_http_server *server, struct vg_err *err)
{
    enum vg_status st = vg_http_route(server, "*", "/fhir", not_here, NULL, err);

    return st == VG_OK ? vg_http_route(server, "*", "/fhir/*", not_here, NULL, err) : st;
}
