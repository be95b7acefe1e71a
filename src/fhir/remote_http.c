/* remote_http.c -- one request to the FHIR server: its token, its retries, and when to give up.
 *
 * Everything that goes out may be sent twice: reads, PUT, DELETE, and bundles of the latter two. So
 * what got no answer, or 429, 502, 503, 504, is tried again a few times with jitter, honouring
 * Retry-After. If that does not help the server is *away*: from then on nothing is sent but a probe
 * now and then (1 s doubling to 30 s, or what Retry-After says), and every call answers at once
 * VG_RETRY fhir.away. A read that only takes too long does not count as away: it may be the read.
 *
 * 401 throws the token away and asks for a new one, once; 401 and 403 after that are being away as
 * well: what the operator has to put right must not turn readings into dead letters.
 */
#include "base/clock.h"
#include "base/crypto.h"
#include "fhir/remote_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRIES 4
#define TRY_US ((int64_t)100000)
#define WAIT_IN_CALL_US (2 * VG_SECOND_US)
#define PROBE_US (VG_SECOND_US / 2)
#define PROBE_MAX_US (30 * VG_SECOND_US)
#define RETRY_AFTER_MAX_US (300 * VG_SECOND_US)
#define CAPABILITY_VALUES_MAX 8000000

/* ---- being away ---- */

int64_t remote_jitter_us(int64_t base_us)
{
    uint32_t random;

    vg_random(&random, sizeof(random));
    return base_us / 2 + (int64_t)(random % (uint32_t)(base_us > 1 ? base_us : 1));
}

void remote_pause(struct fhir_remote *r, int64_t us)
{
    struct timespec until;
    int64_t end_us = vg_mono_us() + us;

    until.tv_sec = (time_t)(end_us / VG_SECOND_US);
    until.tv_nsec = (long)(end_us % VG_SECOND_US) * 1000;
    (void)pthread_mutex_lock(&r->lock);
    while (!r->is_closing && vg_mono_us() < end_us)
        (void)pthread_cond_timedwait(&r->wake, &r->lock, &until);
    (void)pthread_mutex_unlock(&r->lock);
}

bool remote_is_away(struct fhir_remote *r)
{
    bool is_away;

    (void)pthread_mutex_lock(&r->lock);
    is_away = r->is_away;
    (void)pthread_mutex_unlock(&r->lock);
    return is_away;
}

void remote_set_away(struct fhir_remote *r, int64_t wait_us, const char *text)
{
    int64_t pause_us = PROBE_US;
    bool is_new;

    (void)pthread_mutex_lock(&r->lock);
    is_new = !r->is_away;
    r->is_away = true;
    r->away_count += is_new;
    atomic_store(&r->is_doubtful, true);
    r->away_tries = is_new ? 0 : r->away_tries + 1;
    for (int64_t i = 0; i < r->away_tries && pause_us < PROBE_MAX_US; i++)
        pause_us *= 2;
    if (pause_us > PROBE_MAX_US)
        pause_us = PROBE_MAX_US;
    pause_us = wait_us > pause_us ? wait_us : remote_jitter_us(pause_us);
    r->probe_at_us = vg_mono_us() + pause_us;
    (void)snprintf(r->away_text, sizeof(r->away_text), "%.199s", text);
    (void)pthread_cond_broadcast(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    vg_metric_set(r->is_up, 0);
    if (is_new && r->config.changed)
        r->config.changed(r->config.ctx, true, text);
}

static void set_there(struct fhir_remote *r)
{
    bool is_new;

    (void)pthread_mutex_lock(&r->lock);
    is_new = r->is_away;
    r->is_away = false;
    r->away_tries = 0;
    (void)pthread_mutex_unlock(&r->lock);
    vg_metric_set(r->is_up, 1);
    if (is_new && r->config.changed)
        r->config.changed(r->config.ctx, false, "the FHIR server answers");
}

/* ---- one request ---- */

static int64_t retry_after_us(const struct vg_http_answer *answer)
{
    struct vg_slice text = vg_slice_trim(answer->retry_after);
    uint64_t seconds = 0;

    if (text.len == 0)
        return 0;
    if (!vg_slice_to_u64(text, &seconds)) /* a date: rare, and clocks differ */
        seconds = 5;
    return seconds > (uint64_t)(RETRY_AFTER_MAX_US / VG_SECOND_US)
               ? RETRY_AFTER_MAX_US
               : (int64_t)seconds * VG_SECOND_US;
}

static bool is_busy(int status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

static enum vg_status once(struct fhir_remote *r, const struct remote_request *request,
                           const char *url, struct vg_arena *arena,
                           struct vg_http_answer *ret_answer, struct vg_err *err)
{
    /* HAPI would answer a search with what it found up to a minute ago. */
    const char *headers[7] = {"Accept: application/fhir+json", "Cache-Control: no-cache"};
    const char *authorization = NULL;
    size_t count = 2;
    int64_t start_us = vg_mono_us();
    enum vg_status st;

    if (request->body.len)
        headers[count++] = "Content-Type: application/fhir+json";
    if (request->body.len)
        headers[count++] = "Prefer: return=minimal";
    if (request->if_match) {
        headers[count] = vg_arena_printf(arena, "If-Match: W/\"%s\"", request->if_match_text).ptr;
        if (!headers[count++])
            return vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for a request");
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        if (r->token) {
            st = vg_http_token_get(r->token, arena, &authorization, err);
            if (st != VG_OK)
                return st;
            headers[count] = authorization;
        }
        vg_metric_add(r->requests_total, 1);
        st = vg_http_pool_fetch(r->pool, request->method, url, headers, request->body, arena,
                                ret_answer, err);
        vg_metric_observe_us(r->request_seconds, vg_mono_us() - start_us);
        if (st != VG_OK || ret_answer->status != 401 || !r->token)
            break;
        vg_http_token_refused(r->token, authorization);
    }
    return st;
}

/* What is to be done about an answer, or about none: VG_OK: take it; VG_END: try again after
 * *ret_wait_us; VG_RETRY: the server is away. */
static enum vg_status judge(struct fhir_remote *r, const struct remote_request *request,
                            int attempt, enum vg_status st, const struct vg_http_answer *answer,
                            const struct vg_err *why, int64_t *ret_wait_us, char text[static 200])
{
    const bool is_last = attempt + 1 >= TRIES || request->is_probe;

    (void)r;
    *ret_wait_us = remote_jitter_us(TRY_US << (2 * attempt));
    if (st == VG_REJECT)
        return VG_REJECT;
    if (st != VG_OK) {
        bool is_slow = strcmp(why->code, "http.timeout") == 0;

        (void)snprintf(text, 200, "%.180s", why->text);
        if (strcmp(why->code, "http.token") == 0 || strcmp(why->code, "http.memory") == 0)
            return VG_RETRY;
        /* Refused or slow once more is enough to know. */
        return is_last || attempt >= 1 || (is_slow && request->body.len == 0) ? VG_RETRY : VG_END;
    }
    if (is_busy(answer->status)) {
        int64_t after_us = retry_after_us(answer);

        (void)snprintf(text, 200, "it answers %d", answer->status);
        if (after_us > *ret_wait_us)
            *ret_wait_us = after_us;
        return is_last || *ret_wait_us > WAIT_IN_CALL_US ? VG_RETRY : VG_END;
    }
    if (answer->status == 401 || answer->status == 403) {
        (void)snprintf(text, 200, "it refuses our credentials (%d)", answer->status);
        return VG_RETRY;
    }
    if (answer->status >= 500 && !is_last)
        return VG_END;
    return VG_OK;
}

static enum vg_status url_of(struct fhir_remote *r, const char *path, struct vg_arena *arena,
                             const char **ret_url, struct vg_err *err)
{
    size_t origin_len = strlen(r->origin);

    if (strncmp(path, "http://", 7) != 0 && strncmp(path, "https://", 8) != 0) {
        *ret_url =
            vg_arena_printf(arena, "%s%s%s", r->config.url, *path && *path != '?' ? "/" : "", path)
                .ptr;
    } else if (strncmp(path, r->origin, origin_len) != 0 || !memchr("/?", path[origin_len], 3)) {
        /* A token must not follow a link to a stranger. */
        return vg_fail(err, VG_REJECT, "fhir.origin", 0,
                       "the FHIR server's next page is on another server than itself");
    } else {
        *ret_url = path;
    }
    return *ret_url ? VG_OK : vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for a request");
}

static enum vg_status away(struct fhir_remote *r, struct vg_err *err)
{
    char text[200];

    (void)pthread_mutex_lock(&r->lock);
    (void)snprintf(text, sizeof(text), "%s", r->away_text);
    (void)pthread_mutex_unlock(&r->lock);
    return vg_fail(err, VG_RETRY, "fhir.away", 0, "waiting for FHIR server: %s", text);
}

enum vg_status remote_call(struct fhir_remote *r, const struct remote_request *request,
                           struct vg_arena *arena, struct vg_http_answer *ret_answer,
                           struct vg_err *err)
{
    const char *url = NULL;
    char text[200] = "";
    enum vg_status st = url_of(r, request->path, arena, &url, err);

    if (st != VG_OK)
        return st;
    for (int attempt = 0;; attempt++) {
        struct vg_err why = {0};
        int64_t wait_us = 0;

        if (remote_is_away(r) && !request->is_probe)
            return away(r, err);
        st = once(r, request, url, arena, ret_answer, &why);
        switch (judge(r, request, attempt, st, ret_answer, &why, &wait_us, text)) {
        case VG_OK:
            if (request->is_probe)
                set_there(r);
            return VG_OK;
        case VG_END:
            vg_metric_add(r->retries_total, 1);
            remote_pause(r, wait_us);
            continue;
        case VG_REJECT:
            if (err)
                *err = why;
            return VG_REJECT;
        case VG_RETRY:
        case VG_FATAL:
            break;
        }
        if (st != VG_OK && strcmp(why.code, "http.timeout") == 0 && request->body.len == 0 &&
            !request->is_probe)
            return vg_fail(err, VG_RETRY, "fhir.slow", 0, "the FHIR server took too long: %.150s",
                           text);
        remote_set_away(r, st == VG_OK ? retry_after_us(ret_answer) : 0, text);
        return away(r, err);
    }
}

struct vg_slice remote_outcome(struct vg_arena *arena, const struct vg_http_answer *answer,
                               struct vg_slice *ret_expression)
{
    struct vg_json *root = NULL;
    const struct vg_json *issue, *at;
    struct vg_slice text;

    *ret_expression = (struct vg_slice){0};
    if (vg_json_parse(arena, answer->body, NULL, &root, NULL, NULL) != VG_OK)
        return vg_arena_printf(arena, "HTTP %d", answer->status);
    issue = vg_json_at(vg_json_get(root, "issue"), 0);
    at = vg_json_at(vg_json_get(issue, "expression"), 0);
    if (!at)
        at = vg_json_at(vg_json_get(issue, "location"), 0);
    *ret_expression = vg_json_text(at);
    text = vg_json_get_text(issue, "diagnostics");
    if (text.len == 0)
        text = vg_json_get_text(vg_json_get(issue, "details"), "text");
    if (text.len == 0)
        text = vg_json_get_text(issue, "code");
    if (text.len > 180)
        text.len = 180;
    return vg_arena_printf(arena, "HTTP %d: %.*s", answer->status, VG_FMT(text));
}

/* ---- what it can do ---- */

void remote_capability_fini(struct remote_capability *capability)
{
    for (unsigned i = 0; capability->types && i <= fhir_type_count(); i++)
        vg_map_fini(&capability->types[i].params, NULL);
    free(capability->types);
    *capability = (struct remote_capability){0};
}

const struct remote_type *remote_type_of(const struct fhir_remote *r, unsigned type)
{
    return r->capability.is_type_list ? &r->capability.types[type] : NULL;
}

static bool has_code(const struct vg_json *list, const char *code)
{
    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next)
        if (vg_slice_is(vg_json_get_text(at, "code"), code))
            return true;
    return false;
}

static void take_type(struct remote_type *type, const struct vg_json *json)
{
    const struct vg_json *params = vg_json_get(json, "searchParam");
    bool is_ok;

    type->has_history = has_code(vg_json_get(json, "interaction"), "history-instance");
    type->has_type_history = has_code(vg_json_get(json, "interaction"), "history-type");
    if (type->params.seed == 0)
        vg_map_init(&type->params);
    type->has_params = params != NULL;
    for (const struct vg_json *at = params ? params->child : NULL; at; at = at->next) {
        (void)vg_map_put(&type->params, vg_json_get_text(at, "name"), type, &is_ok);
        if (!is_ok) /* then nothing is left out of a query */
            type->has_params = false;
    }
}

static enum vg_status take_capability(struct vg_arena *arena, const struct vg_http_answer *answer,
                                      struct remote_capability *ret, struct vg_err *err)
{
    static const struct vg_json_options options = {.values_max = CAPABILITY_VALUES_MAX};
    struct vg_json *root = NULL;
    const struct vg_json *rest, *resources;
    struct vg_slice version;

    *ret = (struct remote_capability){.is_known = true};
    if (answer->status != 200 ||
        vg_json_parse(arena, answer->body, &options, &root, NULL, NULL) != VG_OK ||
        !vg_slice_is(vg_json_get_text(root, "resourceType"), "CapabilityStatement")) {
        /* It does not say: then everything is tried. */
        ret->has_transaction = ret->has_batch = true;
        return VG_OK;
    }
    version = vg_json_get_text(root, "fhirVersion");
    if (version.len && !vg_slice_starts(version, VG_SLICE("4.0")))
        return vg_fail(err, VG_RETRY, "fhir.version", 0, "it speaks FHIR %.*s, expected 4.0.1 (R4)",
                       (int)(version.len < 20 ? version.len : 20), version.ptr);
    rest = vg_json_at(vg_json_get(root, "rest"), 0);
    ret->has_transaction = has_code(vg_json_get(rest, "interaction"), "transaction");
    ret->has_batch = has_code(vg_json_get(rest, "interaction"), "batch");
    resources = vg_json_get(rest, "resource");
    if (!resources)
        return VG_OK;
    ret->types = calloc(fhir_type_count() + 1, sizeof(*ret->types));
    if (!ret->types)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for its capabilities");
    ret->is_type_list = true;
    for (const struct vg_json *at = resources->child; at; at = at->next) {
        unsigned type = fhir_type_find(vg_json_get_text(at, "type"));

        if (type)
            take_type(&ret->types[type], at);
    }
    return VG_OK;
}

enum vg_status remote_probe(struct fhir_remote *r, struct vg_err *err)
{
    struct remote_capability capability = {0};
    struct vg_http_answer answer;
    struct vg_arena arena;
    enum vg_status st;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    st = remote_call(
        r, &(struct remote_request){.method = "GET", .path = "Patient?_count=1", .is_probe = true},
        &arena, &answer, err);
    if (st == VG_OK && answer.status >= 500) {
        remote_set_away(r, 0, "it answers 500");
        st = away(r, err);
    }
    if (st == VG_OK)
        st = remote_call(
            r, &(struct remote_request){.method = "GET", .path = "metadata", .is_probe = true},
            &arena, &answer, err);
    if (st == VG_OK)
        st = take_capability(&arena, &answer, &capability, err);
    if (st == VG_OK) {
        (void)pthread_mutex_lock(&r->lock);
        remote_capability_fini(&r->capability);
        r->capability = capability;
        capability = (struct remote_capability){0};
        (void)pthread_mutex_unlock(&r->lock);
    } else if (err && err->code && strcmp(err->code, "fhir.away") != 0) {
        remote_set_away(r, 0, err->text);
    }
    remote_capability_fini(&capability);
    vg_arena_fini(&arena);
    return st;
}

/* ---- URLs ---- */

/* '+' in a query is a blank to many servers: in a time's offset it is meant as '+'. */
static bool is_offset(struct vg_slice query, size_t at)
{
    return at >= 5 && at + 5 < query.len + 0 && query.ptr[at - 3] == ':' &&
           query.ptr[at + 1] >= '0' && query.ptr[at + 1] <= '9' && query.ptr[at + 3] == ':';
}

void remote_put_query(struct vg_buf *out, struct vg_slice query)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < query.len; i++) {
        unsigned char c = (unsigned char)query.ptr[i];

        if (c == '+') {
            vg_buf_put(out, is_offset(query, i) ? VG_SLICE("%2B") : VG_SLICE("%20"));
        } else if (c > ' ' && c < 127 && !strchr("\"<>\\^`{|}#", c)) {
            vg_buf_put_byte(out, c);
        } else {
            vg_buf_put_byte(out, '%');
            vg_buf_put_byte(out, (uint8_t)hex[c >> 4]);
            vg_buf_put_byte(out, (uint8_t)hex[c & 15]);
        }
    }
}

/* ---- versions ---- */

uint64_t remote_version_of(struct vg_slice text)
{
    uint64_t number;

    if (text.len == 0)
        return 0;
    if (text.len < 18 && vg_slice_to_u64(text, &number) && number > 0 && text.ptr[0] != '0')
        return number;
    return REMOTE_VERSION_TEXT | (vg_slice_hash(text) & (REMOTE_VERSION_TEXT - 1));
}

struct vg_slice remote_etag_text(struct vg_slice etag)
{
    etag = vg_slice_trim(etag);
    if (vg_slice_starts(etag, VG_SLICE("W/")))
        etag = vg_slice_from(etag, 2);
    if (etag.len >= 2 && etag.ptr[0] == '"' && etag.ptr[etag.len - 1] == '"')
        etag = (struct vg_slice){etag.ptr + 1, etag.len - 2};
    return etag;
}

static struct vg_slice known_key(char out[static 96], unsigned type, struct vg_slice id)
{
    int n = snprintf(out, 96, "%u/%.*s", type, (int)(id.len < 64 ? id.len : 64), id.ptr);

    return (struct vg_slice){out, (size_t)n};
}

/* Under the lock; NULL: no memory, then nothing is known. */
static struct remote_known *known_of(struct fhir_remote *r, struct vg_slice key, bool may_make)
{
    struct remote_known *known = vg_map_get(&r->known[0], key);
    bool is_ok = true;

    if (known || !may_make)
        return known ? known : vg_map_get(&r->known[1], key);
    if (r->known[0].count >= REMOTE_KNOWN_MAX) {
        vg_map_fini(&r->known[1], free);
        r->known[1] = r->known[0];
        vg_map_init(&r->known[0]);
    }
    known = vg_map_remove(&r->known[1], key);
    if (!known)
        known = calloc(1, sizeof(*known));
    if (known)
        (void)vg_map_put(&r->known[0], key, known, &is_ok);
    if (!is_ok) {
        free(known);
        known = NULL;
    }
    return known;
}

void remote_know(struct fhir_remote *r, unsigned type, struct vg_slice id, struct vg_slice text,
                 bool is_ours)
{
    char name[96];
    struct remote_known *known;

    if (text.len == 0 || text.len >= sizeof(known->text))
        return;
    (void)pthread_mutex_lock(&r->lock);
    known = known_of(r, known_key(name, type, id), true);
    if (known && vg_slice_to_cstr(text, known->text, sizeof(known->text))) {
        known->version = remote_version_of(text);
        if (is_ours)
            known->counted = known->version;
    }
    (void)pthread_mutex_unlock(&r->lock);
}

bool remote_count_version(struct fhir_remote *r, unsigned type, struct vg_slice id,
                          uint64_t version)
{
    char name[96];
    struct remote_known *known;
    bool is_new;

    (void)pthread_mutex_lock(&r->lock);
    known = known_of(r, known_key(name, type, id), true);
    is_new = !known || known->counted != version;
    if (known)
        known->counted = version;
    (void)pthread_mutex_unlock(&r->lock);
    return is_new;
}

bool remote_known_get(struct fhir_remote *r, unsigned type, struct vg_slice id,
                      struct remote_known *ret_known)
{
    char name[96];
    struct vg_slice key = known_key(name, type, id);
    const struct remote_known *known;

    (void)pthread_mutex_lock(&r->lock);
    known = known_of(r, key, false);
    if (known)
        *ret_known = *known;
    (void)pthread_mutex_unlock(&r->lock);
    return known != NULL && ret_known->version;
}
