/* auth.c -- is it the right password; and what the registry says, brought to the loops.
 *
 * Argon2id takes some 25 ms and SQLite may wait for a disk: both have a thread of their own
 * ("hub-auth"). It verifies what the loops post to it, and every 250 ms asks whether the registry
 * has changed; if so each loop gets a new directory and drops the connections of devices that are
 * gone, disabled or have a new password. So `vigil device disable` works within a second.
 *
 * A loop remembers what was proven: keyed hash (BLAKE2b, a key of this process) of the password
 * beside the Argon2id hash that it was proven against. A reconnect costs a microsecond; a rotated
 * password makes the entry useless by itself. Passwords are never kept.
 *
 * Strangers: an id that is not registered is verified against a hash of nothing, so that time does
 * not tell which ids exist; but only a few such checks may wait at once, and when very many wait,
 * all are told to come back later (0x89), instead of a queue that grows. Before one is turned away
 * the registry is looked at once more: `vigil device add` beside a running hub counts at once.
 */
#include "hub/hub_int.h"

#include <sodium.h>
#include <stdlib.h>

#define WAITING_MAX 512
#define WAITING_STRANGER_MAX 8
#define WATCH_US (250 * 1000)

struct auth {
    struct hub *hub;
    struct vg_loop *loop;
    struct registry *registry; /* of the auth thread */
    int64_t version;
    struct directory *directory; /* of that version */
    atomic_uint waiting, strangers;
    atomic_bool is_stopping;
    bool has_trouble;
    char nobody[VG_PASSWORD_HASH_SIZE]; /* the hash of a password that nobody has */
};

struct news {
    struct hub_loop *loop;
    struct directory *directory;
};

struct seen {
    struct auth *auth;
    size_t count;
    int64_t now_us;
    char ids[][REGISTRY_ID_MAX + 1];
};

struct check {
    struct auth_job job; /* first: job and check are one */
    struct auth *auth;
    bool is_stranger;
    uint8_t digest[32];
};

static void digest_of(const struct hub *hub, const char *id, struct vg_slice password,
                      uint8_t out[32])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, hub->digest_key, sizeof(hub->digest_key), 32);
    crypto_generichash_update(&state, (const uint8_t *)id, strlen(id) + 1);
    crypto_generichash_update(&state, (const uint8_t *)password.ptr, password.len);
    crypto_generichash_final(&state, out, 32);
    sodium_memzero(&state, sizeof(state));
}

void auth_job_free(struct auth_job *job)
{
    sodium_memzero(job, sizeof(*job));
    free(job);
}

static void remember(struct hub_loop *loop, const struct check *check)
{
    struct proof *proof = vg_map_get(&loop->cache, vg_slice_of(check->job.id));
    bool is_ok = true;

    if (!proof) {
        proof = calloc(1, sizeof(*proof));
        if (!proof)
            return; /* then it is proven again next time */
        (void)vg_map_put(&loop->cache, vg_slice_of(check->job.id), proof, &is_ok);
        if (!is_ok) {
            free(proof);
            return;
        }
    }
    memcpy(proof->hash, check->job.hash, sizeof(proof->hash));
    memcpy(proof->digest, check->digest, sizeof(proof->digest));
}

/* Back in the loop. */
static void checked(void *ctx)
{
    struct check *check = ctx;

    turn_begin(check->job.loop);
    if (check->job.is_proven)
        remember(check->job.loop, check);
    check->job.done(&check->job);
}

static void watch(void *ctx);

/* Not known to the loop that asks: perhaps the registry knows it by now. The news reach the loop
 * before the answer does. */
static void look_again(struct check *check)
{
    const struct registry_device *device;

    watch(check->auth);
    device = directory_get(check->auth->directory, vg_slice_of(check->job.id));
    if (!device)
        return;
    memcpy(check->job.hash, device->hash, sizeof(check->job.hash));
    atomic_fetch_sub(&check->auth->strangers, 1);
    check->is_stranger = false;
}

/* In the auth thread. */
static void run_check(void *ctx)
{
    struct check *check = ctx;
    struct auth *auth = check->auth;
    struct auth_job *job = &check->job;

    job->is_dropped = atomic_load(&auth->is_stopping);
    if (check->is_stranger && !job->is_dropped)
        look_again(check);
    job->is_proven =
        !job->is_dropped &&
        vg_password_verify(job->hash, (struct vg_slice){job->password, job->password_len}) &&
        !check->is_stranger;
    if (job->is_proven)
        digest_of(auth->hub, job->id, (struct vg_slice){job->password, job->password_len},
                  check->digest);
    sodium_memzero(job->password, sizeof(job->password));
    atomic_fetch_sub(&auth->waiting, 1);
    if (check->is_stranger)
        atomic_fetch_sub(&auth->strangers, 1);
    if (!vg_loop_post(job->loop->loop, checked, check))
        auth_job_free(job); /* the hub is closing: its connection or request goes with it */
}

enum auth_answer auth_check(struct hub_loop *loop, struct vg_slice id, struct vg_slice password,
                            void (*done)(struct auth_job *job), void *ctx)
{
    struct auth *auth = loop->hub->auth;
    const struct registry_device *device = directory_get(loop->directory, id);
    const struct proof *proof = vg_map_get(&loop->cache, id);
    struct check *check;

    if (password.len > HUB_PASSWORD_MAX || id.len > REGISTRY_ID_MAX)
        return AUTH_NO;
    if (device && proof && strcmp(proof->hash, device->hash) == 0) {
        uint8_t digest[32];

        digest_of(loop->hub, device->id, password, digest);
        if (sodium_memcmp(digest, proof->digest, sizeof(digest)) == 0)
            return AUTH_YES;
    }
    if (!device && atomic_load(&auth->strangers) >= WAITING_STRANGER_MAX)
        return AUTH_NO;
    if (atomic_load(&auth->waiting) >= WAITING_MAX)
        return AUTH_BUSY;
    check = calloc(1, sizeof(*check));
    if (!check)
        return AUTH_BUSY;
    check->auth = auth;
    check->is_stranger = !device;
    check->job.loop = loop;
    check->job.done = done;
    check->job.ctx = ctx;
    (void)vg_slice_to_cstr(id, check->job.id, sizeof(check->job.id));
    memcpy(check->job.hash, device ? device->hash : auth->nobody, sizeof(check->job.hash));
    memcpy(check->job.password, password.ptr, password.len);
    check->job.password_len = password.len;
    atomic_fetch_add(&auth->waiting, 1);
    if (check->is_stranger)
        atomic_fetch_add(&auth->strangers, 1);
    if (vg_loop_post(auth->loop, run_check, check))
        return AUTH_LATER;
    atomic_fetch_sub(&auth->waiting, 1);
    if (check->is_stranger)
        atomic_fetch_sub(&auth->strangers, 1);
    auth_job_free(&check->job);
    return AUTH_BUSY;
}

/* In the loop: the registry has changed. */
static void take_news(void *ctx)
{
    struct news *news = ctx;
    struct hub_loop *loop = news->loop;
    struct conn *conn, *next;

    turn_begin(loop);
    directory_unref(loop->directory);
    loop->directory = news->directory;
    free(news);
    for (conn = LIST_FIRST(&loop->conns); conn; conn = next) {
        struct vg_slice id = {conn->id, conn->id_len};
        const struct registry_device *device;
        const struct proof *proof;

        next = LIST_NEXT(conn, all);
        if (conn->state != CONN_ONLINE)
            continue;
        device = directory_get(loop->directory, id);
        proof = vg_map_get(&loop->cache, id);
        if (!device || !device->is_enabled)
            conn_refuse(conn, REFUSED_DISABLED, "device was disabled");
        else if (proof && !conn->is_mllp && strcmp(proof->hash, device->hash) != 0)
            conn_refuse(conn, REFUSED_PASSWORD, "the password was changed");
        else
            conn->is_gateway = device->is_gateway;
    }
}

static enum vg_status spread(struct auth *auth, struct directory *directory, struct vg_err *err)
{
    struct hub *hub = auth->hub;

    for (uint32_t i = 0; i < hub->config.loops; i++) {
        struct news *news = malloc(sizeof(*news));

        if (!news)
            return vg_fail(err, VG_RETRY, "registry.memory", 0, "no memory");
        *news = (struct news){&hub->loops[i], directory_ref(directory)};
        if (!vg_loop_post(hub->loops[i].loop, take_news, news)) {
            directory_unref(directory);
            free(news);
        }
    }
    return VG_OK;
}

static void watch(void *ctx)
{
    struct auth *auth = ctx;
    struct directory *directory = NULL;
    struct vg_err err;
    int64_t version = 0;
    enum vg_status st = registry_version(auth->registry, &version, &err);

    if (st == VG_OK && version == auth->version)
        return;
    if (st == VG_OK)
        st = registry_directory(auth->registry, &directory, &err);
    if (st == VG_OK)
        st = spread(auth, directory, &err);
    if (st == VG_OK) { /* else the next tick tries again */
        auth->version = version;
        directory_unref(auth->directory);
        auth->directory = directory_ref(directory);
    } else if (!auth->has_trouble)
        vg_log_err(VG_LOG_ERROR, "hub", &err);
    auth->has_trouble = st != VG_OK;
    directory_unref(directory);
}

/* In the auth thread: who was seen, written in one transaction. */
static void write_seen(void *ctx)
{
    struct seen *seen = ctx;
    struct registry *registry = seen->auth->registry;
    struct vg_err err;
    enum vg_status st = registry_begin(registry, &err);
    bool has_begun = st == VG_OK;

    for (size_t i = 0; st == VG_OK && i < seen->count; i++) {
        st = registry_set_seen(registry, seen->ids[i], seen->now_us, &err);
        if (st == VG_END) /* deleted meanwhile */
            st = VG_OK;
    }
    if (has_begun) {
        struct vg_err ended;
        enum vg_status end = registry_commit(registry, &ended);

        if (st == VG_OK && end != VG_OK) {
            st = end;
            err = ended;
        }
    }
    if (st != VG_OK) /* only the "last seen" column is older than it could be */
        vg_log_err(VG_LOG_WARN, "hub", &err);
    free(seen);
}

void auth_seen(struct hub_loop *loop)
{
    struct auth *auth = loop->hub->auth;
    struct seen *seen;
    struct conn *conn;
    size_t count = 0;

    LIST_FOREACH(conn, &loop->conns, all)
    count += conn->state == CONN_ONLINE && conn->has_published;
    if (!count)
        return;
    seen = malloc(sizeof(*seen) + count * sizeof(seen->ids[0]));
    if (!seen)
        return;
    *seen = (struct seen){.auth = auth, .now_us = vg_clock_now_us(&loop->hub->clock)};
    LIST_FOREACH(conn, &loop->conns, all)
    {
        if (conn->state != CONN_ONLINE || !conn->has_published)
            continue;
        conn->has_published = false;
        memcpy(seen->ids[seen->count++], conn->id, sizeof(conn->id));
    }
    if (!vg_loop_post(auth->loop, write_seen, seen))
        free(seen);
}

enum vg_status auth_open(struct hub *hub, struct vg_err *err)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    struct directory *directory = NULL;
    enum vg_status st;

    if (!auth)
        return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    hub->auth = auth;
    auth->hub = hub;
    vg_random(hub->digest_key, sizeof(hub->digest_key));
    vg_password_hash_of_nobody(true, auth->nobody);
    st = registry_open(hub->config.data_dir, &auth->registry, err);
    if (st == VG_OK)
        st = registry_version(auth->registry, &auth->version, err);
    if (st == VG_OK)
        st = registry_directory(auth->registry, &directory, err);
    for (uint32_t i = 0; st == VG_OK && i < hub->config.loops; i++)
        hub->loops[i].directory = directory_ref(directory);
    auth->directory = directory;
    if (st == VG_OK)
        st = vg_loop_open("hub-auth", &auth->loop, err);
    if (st == VG_OK)
        st = vg_loop_every(auth->loop, WATCH_US, watch, auth, err);
    return st == VG_OK ? vg_loop_start(auth->loop, err) : st;
}

void auth_stop(struct hub *hub)
{
    if (!hub->auth)
        return;
    atomic_store(&hub->auth->is_stopping, true);
    if (hub->auth->loop)
        vg_loop_stop(hub->auth->loop);
}

void auth_close(struct hub *hub)
{
    if (!hub->auth)
        return;
    vg_loop_close(hub->auth->loop);
    registry_close(hub->auth->registry);
    directory_unref(hub->auth->directory);
    sodium_memzero(hub->digest_key, sizeof(hub->digest_key));
    free(hub->auth);
    hub->auth = NULL;
}
