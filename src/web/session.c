/* session.c -- who is this, and may they: login, sessions, the CSRF header, tokens, audit.
 *
 * A session's secret is "<issued>.<32 random bytes in hex>": the time of issue is part of what is
 * hashed in the repository, so that nobody can move it, and the absolute end needs no column of its
 * own. The idle end is the row's expiry, moved on at most once a minute by requests that a person
 * made (X-Vigil-Background marks those that the page makes by itself). A viewer's session is a wall
 * display: it has the absolute end only.
 *
 * The CSRF value is the hash of the secret with a word in front: nothing to keep, and a page of
 * another origin can neither read nor compute it.
 *
 * Failed logins count per user and address from the moment of asking, so that a hundred guesses at
 * once are five. After five: 30 s, doubling up to 15 minutes. An unknown user takes as long as a
 * wrong password.
 */
#include "base/crypto.h"
#include "base/log.h"
#include "web/web_int.h"

#include <stdio.h>
#include <stdlib.h>

#define LOGIN_FAILURES_FREE 5
#define LOCK_FIRST_US (30 * VG_SECOND_US)
#define LOCK_MAX_US (15 * VG_MINUTE_US)
#define LOCKS_MAX 10000
#define RENEW_US VG_MINUTE_US
#define COOKIE "__Host-vigil"

static const struct {
    const char *name;
    unsigned role;
} roles[] = {
    {"viewer", WEB_VIEWER},           {"nurse", WEB_NURSE}, {"doctor", WEB_DOCTOR},
    {"coordinator", WEB_COORDINATOR}, {"admin", WEB_ADMIN}, {"service", WEB_SERVICE},
};

unsigned web_role_of(const char *role)
{
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(role, roles[i].name) == 0)
            return roles[i].role;
    }
    return 0;
}

/* ---- audit ---- */

void web_audit(struct web *web, struct vg_slice user, const char *what, struct vg_slice subject)
{
    struct vg_err err = {0};

    /* A disk that is full must not hide a patient from the ward: said loudly, and shown. */
    if (care_audit(web->config.care, vg_now_us(), user, what, subject, &err) != VG_OK)
        vg_log_err(VG_LOG_ERROR, "web", &err);
}

/* ---- locks ---- */

/* Forgets locks that are long over; true when there is room for one more. */
static bool lock_room(struct web *web, int64_t now_us)
{
    size_t cursor = 0;
    struct vg_slice key;
    void *value;

    if (web->locks.count < LOCKS_MAX)
        return true;
    while (vg_map_next(&web->locks, &cursor, &key, &value)) {
        const struct web_lock *lock = value;

        if (lock->last_us + LOCK_MAX_US < now_us) {
            free(vg_map_remove(&web->locks, key));
            cursor = 0;
        }
    }
    return web->locks.count < LOCKS_MAX;
}

/* Counts the attempt as failed. True: it may be tried; else *ret_wait_us is how long to wait. */
static bool lock_try(struct web *web, struct vg_slice key, int64_t now_us, int64_t *ret_wait_us)
{
    struct web_lock *lock;
    bool ok = true, may = false;

    pthread_mutex_lock(&web->lock_mutex);
    lock = vg_map_get(&web->locks, key);
    if (!lock && lock_room(web, now_us) && (lock = calloc(1, sizeof(*lock)))) {
        (void)vg_map_put(&web->locks, key, lock, &ok);
        if (!ok) {
            free(lock);
            lock = NULL;
        }
    }
    if (lock && lock->last_us + LOCK_MAX_US < now_us && lock->until_us < now_us)
        lock->failures = 0;
    *ret_wait_us = lock ? lock->until_us - now_us : LOCK_FIRST_US;
    if (lock && lock->until_us <= now_us) {
        may = true;
        lock->last_us = now_us;
        if (++lock->failures >= LOGIN_FAILURES_FREE) {
            int doublings = lock->failures - LOGIN_FAILURES_FREE;
            int64_t wait_us = doublings > 5 ? LOCK_MAX_US : LOCK_FIRST_US << doublings;

            lock->until_us = now_us + (wait_us < LOCK_MAX_US ? wait_us : LOCK_MAX_US);
        }
    }
    pthread_mutex_unlock(&web->lock_mutex);
    return may;
}

static void lock_clear(struct web *web, struct vg_slice key)
{
    pthread_mutex_lock(&web->lock_mutex);
    free(vg_map_remove(&web->locks, key));
    pthread_mutex_unlock(&web->lock_mutex);
}

/* ---- sessions ---- */

static bool issued_of(struct vg_slice secret, int64_t *ret_us)
{
    struct vg_slice rest = secret, head = vg_slice_cut(&rest, '.');

    return rest.len == 64 && vg_slice_to_i64(head, ret_us);
}

static void csrf_of(struct vg_slice secret, char out[static 65])
{
    char text[160];
    int len = snprintf(text, sizeof(text), "vigil csrf %.*s", VG_FMT(secret));

    vg_sha256_hex((struct vg_slice){text, (size_t)len < sizeof(text) ? (size_t)len : 0}, out);
}

/* When a session that is used now ends, if it is not used again. */
static int64_t expiry(const struct web *web, unsigned role, int64_t issued_us, int64_t now_us)
{
    int64_t end_us = issued_us + web->config.session_life_us;
    int64_t idle_us = now_us + web->config.session_idle_us;

    return role == WEB_VIEWER || end_us < idle_us ? end_us : idle_us;
}

static void write_me(struct web_call *call)
{
    struct vg_json_writer w;
    char csrf[65];

    csrf_of(call->session, csrf);
    vg_json_writer_init(&w, &call->out);
    vg_json_open_object(&w);
    vg_json_name(&w, "user");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "name", vg_slice_of(call->user.name));
    vg_json_member_string(&w, "display", vg_slice_of(call->user.display));
    vg_json_member_string(&w, "role", vg_slice_of(call->user.role));
    vg_json_close_object(&w);
    vg_json_member_string(&w, "csrf", vg_slice_of(csrf));
    vg_json_member_i64(&w, "idleSeconds",
                       call->role == WEB_VIEWER ? 0
                                                : call->web->config.session_idle_us / VG_SECOND_US);
    vg_json_close_object(&w);
}

static enum vg_status begin_session(struct web_call *call, struct vg_err *err)
{
    struct web *web = call->web;
    uint8_t random[32];
    char hex[65];
    enum vg_status st;

    vg_random(random, sizeof(random));
    vg_hex(random, sizeof(random), hex);
    call->session = vg_arena_printf(&call->arena, "%lld.%s", (long long)call->now_us, hex);
    if (!call->session.ptr)
        return vg_fail(err, VG_RETRY, "web.memory", 0, "no memory");
    st = care_login_put(web->config.care, "session", call->session, vg_slice_of(call->user.name),
                        expiry(web, call->role, call->now_us, call->now_us), err);
    if (st != VG_OK)
        return st;
    (void)snprintf(call->set_cookie, sizeof(call->set_cookie),
                   COOKIE "=%.*s; Path=/; Max-Age=%lld; Secure; HttpOnly; SameSite=Strict",
                   VG_FMT(call->session), (long long)(web->config.session_life_us / VG_SECOND_US));
    write_me(call);
    return VG_OK;
}

enum vg_status web_login(struct web_call *call, struct vg_err *err)
{
    struct web *web = call->web;
    const struct vg_json *root = NULL;
    struct vg_slice name, password, key;
    char hash[128] = "";
    int64_t wait_us = 0;
    bool is_known, is_right;
    enum vg_status st = web_body(call, &root, err);

    if (st != VG_OK)
        return st;
    name = vg_slice_trim(vg_json_get_text(root, "user"));
    password = vg_json_get_text(root, "password");
    if (name.len == 0 || name.len > 63 || password.len == 0 || password.len > 1024)
        return vg_fail(err, VG_REJECT, "web.body", 0, "expected 'user' and 'password'");
    key = vg_arena_printf(&call->arena, "%.*s %.*s", VG_FMT(call->peer), VG_FMT(name));
    if (!lock_try(web, key, call->now_us, &wait_us)) {
        call->http_status = 403;
        call->retry_after_s = (uint32_t)((wait_us + VG_SECOND_US - 1) / VG_SECOND_US);
        return vg_fail(err, VG_REJECT, "web.locked", 0,
                       "too many failed logins, try again in %u seconds", call->retry_after_s);
    }
    st = care_user_get(web->config.care, name, &call->user, hash, err);
    if (st != VG_OK && st != VG_END)
        return st;
    is_known = st == VG_OK;
    is_right = vg_password_verify(is_known ? hash : web->nobody_hash, password);
    call->role = is_known ? web_role_of(call->user.role) : 0;
    if (!is_right || !(call->role & WEB_ANY)) {
        web_audit(web, name, "login.failed", call->peer);
        call->http_status = 401;
        return vg_fail(err, VG_REJECT, "web.login", 0, "the user or the password is not right");
    }
    lock_clear(web, key);
    st = begin_session(call, err);
    if (st == VG_OK)
        web_audit(web, vg_slice_of(call->user.name), "login", call->peer);
    return st;
}

enum vg_status web_logout(struct web_call *call, struct vg_err *err)
{
    enum vg_status st = care_login_drop(call->web->config.care, call->session, err);

    if (st != VG_OK && st != VG_END)
        return st;
    web_audit(call->web, vg_slice_of(call->user.name), "logout", call->peer);
    (void)snprintf(call->set_cookie, sizeof(call->set_cookie),
                   COOKIE "=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    vg_buf_put(&call->out, VG_SLICE("{}"));
    return VG_OK;
}

enum vg_status web_me(struct web_call *call, struct vg_err *err)
{
    (void)err;
    write_me(call);
    return VG_OK;
}

/* The session behind a cookie: VG_END when there is none (any more). */
static enum vg_status session_get(struct web *web, struct vg_slice secret, int64_t now_us,
                                  struct care_user *ret_user, int64_t *ret_issued_us,
                                  struct vg_err *err)
{
    if (!issued_of(secret, ret_issued_us) || *ret_issued_us > now_us + VG_MINUTE_US ||
        now_us - *ret_issued_us >= web->config.session_life_us)
        return VG_END;
    return care_login_get(web->config.care, "session", secret, now_us, ret_user, err);
}

bool web_session_is_alive(struct web *web, struct vg_slice session, int64_t now_us)
{
    struct care_user user;
    int64_t issued_us;
    enum vg_status st = session_get(web, session, now_us, &user, &issued_us, NULL);

    return st == VG_OK || st == VG_RETRY; /* a busy database ends no stream */
}

/* When the row's expiry was last moved on, per session: so that it is written once a minute. */
static bool is_renewal_due(struct web *web, struct vg_slice secret, int64_t now_us)
{
    uint64_t hash = vg_slice_hash(secret);
    size_t slot = hash % (sizeof(web->seen) / sizeof(web->seen[0]));
    bool is_due;

    pthread_mutex_lock(&web->lock_mutex);
    is_due = web->seen[slot].hash != hash || web->seen[slot].time_us + RENEW_US < now_us;
    if (is_due) {
        web->seen[slot].hash = hash;
        web->seen[slot].time_us = now_us;
    }
    pthread_mutex_unlock(&web->lock_mutex);
    return is_due;
}

static bool is_change(struct vg_slice method)
{
    return !vg_slice_is(method, "GET") && !vg_slice_is(method, "HEAD");
}

enum vg_status web_session_check(struct web_call *call, struct vg_err *err)
{
    struct web *web = call->web;
    int64_t issued_us = 0;
    char csrf[65];
    enum vg_status st;

    st = call->cookie.len
             ? session_get(web, call->cookie, call->now_us, &call->user, &issued_us, err)
             : VG_END;
    if (st == VG_END) {
        call->http_status = 401;
        return vg_fail(err, VG_REJECT, "web.session", 0, "please log in");
    }
    if (st != VG_OK)
        return st;
    call->session = call->cookie;
    call->role = web_role_of(call->user.role);
    csrf_of(call->session, csrf);
    if (is_change(call->method) && !vg_secret_eq(call->csrf, vg_slice_of(csrf))) {
        call->http_status = 403;
        return vg_fail(err, VG_REJECT, "web.csrf", 0,
                       "the X-Vigil-CSRF header is missing or wrong");
    }
    if (!call->is_background && is_renewal_due(web, call->session, call->now_us))
        st = care_login_renew(web->config.care, call->session,
                              expiry(web, call->role, issued_us, call->now_us), err);
    if (st != VG_OK) /* the old expiry stands: no reason to refuse the call */
        vg_log_err(VG_LOG_WARN, "web", err);
    return VG_OK;
}

enum vg_status web_service_check(struct web_call *call, struct vg_err *err)
{
    enum vg_status st = call->bearer.len
                            ? care_login_get(call->web->config.care, "token", call->bearer,
                                             call->now_us, &call->user, err)
                            : VG_END;

    if (st == VG_OK && (web_role_of(call->user.role) & (WEB_SERVICE | WEB_ADMIN)))
        return VG_OK;
    if (st != VG_OK && st != VG_END)
        return st;
    call->http_status = 401;
    return vg_fail(err, VG_REJECT, "web.session", 0, "a service's bearer token is needed");
}

/* ---- the FHIR service ---- */

/* Programs (role service, by token) and administrators may write; who treats patients may read,
 * also by POST (a form, an operation, a Bundle of reads); the CapabilityStatement is for everybody.
 */
static bool fhir_allows(struct web *web, unsigned role, struct vg_slice method)
{
    if (role & (WEB_SERVICE | WEB_ADMIN))
        return true;
    fhir_rest_limit_to_reading(web->config.fhir);
    return (role & WEB_STAFF) && (!is_change(method) || vg_slice_is(method, "POST"));
}

bool web_fhir_may(struct vg_http_request *request, const char *method, struct vg_slice type,
                  void *ctx)
{
    struct web *web = ctx;
    struct vg_slice auth = vg_http_header(request, "Authorization");
    struct vg_slice cookie = vg_http_cookie(request, COOKIE);
    struct vg_slice path = vg_http_path(request);
    struct care_user user = {0};
    struct vg_err err = {0};
    int64_t now_us = vg_now_us(), issued_us;
    bool by_token = vg_slice_starts(auth, VG_SLICE("Bearer "));
    enum vg_status st = VG_END;
    char csrf[65];

    if (vg_slice_is(path, "/fhir/metadata"))
        return true;
    if (by_token)
        st = care_login_get(web->config.care, "token", vg_slice_trim(vg_slice_from(auth, 7)),
                            now_us, &user, &err);
    else if (cookie.len)
        st = session_get(web, cookie, now_us, &user, &issued_us, &err);
    if (st == VG_END) {
        vg_http_add_header(request, "WWW-Authenticate", VG_SLICE("Bearer"));
        fhir_rest_refuse(request, 401, "login", "a session or a bearer token is needed");
        return false;
    }
    if (st != VG_OK) {
        vg_log_err(VG_LOG_WARN, "web", &err);
        fhir_rest_refuse(request, 503, "transient", "try again");
        return false;
    }
    csrf_of(cookie, csrf);
    if (!by_token && is_change(vg_slice_of(method)) &&
        !vg_secret_eq(vg_http_header(request, "X-Vigil-CSRF"), vg_slice_of(csrf))) {
        fhir_rest_refuse(request, 403, "forbidden", "the X-Vigil-CSRF header is missing or wrong");
        return false;
    }
    if (!fhir_allows(web, web_role_of(user.role), vg_slice_of(method))) {
        fhir_rest_refuse(request, 403, "forbidden", "your role may not do this");
        return false;
    }
    fhir_rest_name_caller(web->config.fhir, vg_slice_of(user.name));
    /* A person's look is audited with the resource; a program's traffic is in its own log. */
    if (!by_token) {
        char subject[96];

        (void)snprintf(subject, sizeof(subject), "%s %.*s", method,
                       (int)(type.len < 64 ? type.len : 64), type.len ? type.ptr : "");
        web_audit_later(web, vg_slice_of(user.name), "fhir", vg_slice_of(subject));
    }
    return true;
}
