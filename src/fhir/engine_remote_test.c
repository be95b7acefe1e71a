/* engine_remote_test.c -- the FHIR server comes and goes: what is written meanwhile, and what of it
 * can be read, in which order it arrives, and what is done about what is refused. */
#include "base/clock.h"
#include "base/file.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "fhir/fhir.h"

#include "vg_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_US ((int64_t)30000000)

static char dir[] = "/tmp/vigil-remote-XXXXXX";
static struct vg_arena arena;

/* ---- a server that can be stopped and started on one port ---- */

struct far {
    struct vg_loop *loop;
    struct vg_http_server *server;
    struct fhir_store *store;
    const char *token;
    uint16_t port;
    char url[64];
};

/* With far->token only who shows it may come in. */
static bool may(struct vg_http_request *request, const char *method, struct vg_slice type,
                void *ctx)
{
    const struct far *far = ctx;

    (void)method, (void)type;
    if (!far->token || vg_slice_is(vg_http_header(request, "Authorization"), far->token))
        return true;
    vg_http_reply_error(request, 401, "test.token", "who are you");
    return false;
}

static bool start_far(struct far *far, const char *name)
{
    struct vg_http_server_config listen = {
        .address = "127.0.0.1", .port = far->port, .body_bytes_max = 32u << 20};
    struct fhir_config config = {.path = vg_arena_printf(&arena, "%s/%s", dir, name).ptr};
    struct vg_err err = {0};

    if (vg_loop_open("far", &far->loop, &err) == VG_OK &&
        vg_http_server_open(far->loop, &listen, &far->server, &err) == VG_OK) {
        far->port = vg_http_server_port(far->server);
        (void)snprintf(far->url, sizeof(far->url), "http://127.0.0.1:%u/fhir", far->port);
        config.base_url = far->url;
        if (fhir_open(&config, &far->store, &err) == VG_OK &&
            fhir_rest_mount(far->store, far->server, far->loop, may, far, &err) == VG_OK &&
            vg_loop_start(far->loop, &err) == VG_OK)
            return true;
    }
    printf("  %s %s\n", err.code, err.text);
    return false;
}

static void stop_far(struct far *far)
{
    vg_loop_stop(far->loop);
    vg_http_server_close(far->server);
    fhir_close(far->store);
    vg_loop_close(far->loop);
}

/* ---- a client of it ---- */

struct seen {
    pthread_mutex_t lock;
    char refused[512];
    atomic_int away, there, offered;
    atomic_bool takes_nothing;
};

static enum vg_status on_refused(void *ctx, struct vg_slice type, struct vg_slice id,
                                 struct vg_slice body, const char *why, struct vg_err *err)
{
    struct seen *seen = ctx;

    (void)body;
    atomic_fetch_add(&seen->offered, 1);
    if (atomic_load(&seen->takes_nothing))
        return vg_fail(err, VG_RETRY, "test.full", 0, "no room");
    (void)pthread_mutex_lock(&seen->lock);
    (void)snprintf(seen->refused + strlen(seen->refused),
                   sizeof(seen->refused) - strlen(seen->refused), "%.*s/%.*s (%.60s);",
                   VG_FMT(type), VG_FMT(id), why);
    (void)pthread_mutex_unlock(&seen->lock);
    return VG_OK;
}

static void on_change(void *ctx, bool is_away, const char *text)
{
    struct seen *seen = ctx;

    (void)text;
    atomic_fetch_add(is_away ? &seen->away : &seen->there, 1);
}

static struct fhir_store *open_near(const struct far *far, const char *spool, struct seen *seen,
                                    uint64_t spool_bytes_max)
{
    const struct fhir_remote_config remote = {.url = far->url,
                                              .watch_us = 50000,
                                              .timeout_ms = 3000,
                                              .spool_bytes_max = spool_bytes_max,
                                              .refused = on_refused,
                                              .changed = on_change,
                                              .ctx = seen};
    const struct fhir_config config = {.engine = "remote",
                                       .path = vg_arena_printf(&arena, "%s/%s", dir, spool).ptr,
                                       .remote = &remote};
    struct fhir_store *store = NULL;
    struct vg_err err = {0};

    if (!CHECK(fhir_open(&config, &store, &err) == VG_OK))
        printf("  %s %s\n", err.code, err.text);
    return store;
}

static struct fhir_written put(struct fhir_store *store, const char *type, const char *id,
                               const char *body, uint64_t if_match, enum vg_status *ret_status)
{
    struct fhir_write write = {.what = FHIR_UPDATE,
                               .type = vg_slice_of(type),
                               .id = vg_slice_of(id),
                               .body = vg_slice_of(body),
                               .if_match = if_match};
    struct fhir_written written = {0};
    struct vg_err err = {0};
    enum vg_status st = fhir_commit(store, &write, 1, &arena, &written, NULL, &err);

    if (ret_status)
        *ret_status = st;
    else if (!CHECK(st == VG_OK))
        printf("  %s/%s: %s %s\n", type, id, err.code, err.text);
    return written;
}

static const char *patient(const char *gender)
{
    return vg_arena_printf(&arena, "{\"resourceType\":\"Patient\",\"gender\":\"%s\"}", gender).ptr;
}

static bool has(struct fhir_store *store, const char *type, const char *id, const char *part)
{
    struct fhir_resource found;

    return fhir_read(store, vg_slice_of(type), vg_slice_of(id), 0, &arena, &found, NULL) == VG_OK &&
           !found.is_deleted && memmem(found.body.ptr, found.body.len, part, strlen(part));
}

/* How old what is known of others' changes is: it grows, or there is nothing to doubt. */
static bool is_known_to_be_new(struct fhir_store *store)
{
    int64_t before_us = fhir_counted_us(store);

    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return fhir_counted_us(store) > before_us;
}

static bool is_well(struct fhir_store *store)
{
    char text[256];

    fhir_trouble(store, text);
    return text[0] == '\0';
}

/* Until the spool is empty and the server there. */
static bool wait_well(struct fhir_store *store)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end_us = vg_mono_us() + DEADLINE_US;
    char text[256];

    while (!is_well(store) && vg_mono_us() < end_us)
        (void)nanosleep(&pause, NULL);
    fhir_trouble(store, text);
    return CHECK(text[0] == '\0') || (printf("  %s\n", text), false);
}

/* ---- tests ---- */

static void test_what_is_written_while_it_is_away_arrives_in_order(void)
{
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct fhir_results results;
    struct fhir_written one, two;
    struct fhir_resource found;
    struct far far = {0};
    struct fhir_store *near;
    enum vg_status st;
    char text[256];

    if (!CHECK(start_far(&far, "one.db")) || !(near = open_near(&far, "one.spool", &seen, 0)))
        return;
    one = put(near, "Patient", "pa", patient("male"), 0, NULL);
    CHECK(one.http_status == 201 && is_well(near) && is_known_to_be_new(near));
    stop_far(&far);

    two = put(near, "Patient", "pa", patient("female"), one.version, NULL);
    CHECK(two.http_status == 202 && two.version > one.version);
    fhir_trouble(near, text);
    CHECK(strstr(text, "waiting for FHIR server") && strstr(text, "1 writes"));
    CHECK(has(near, "Patient", "pa", "female")); /* who has written sees it */
    CHECK(fhir_read(near, VG_SLICE("Patient"), VG_SLICE("pa"), 0, &arena, &found, NULL) == VG_OK);
    CHECK(found.version == two.version && vg_slice_is(found.id, "pa"));
    CHECK(fhir_read(near, VG_SLICE("Patient"), VG_SLICE("other"), 0, &arena, &found, NULL) ==
          VG_RETRY);
    CHECK(fhir_search(near, VG_SLICE("Patient"), VG_SLICE("_id=pa"), &arena, &results, NULL) ==
          VG_RETRY);
    CHECK(fhir_search(near, VG_SLICE("Device"), VG_SLICE("_id=d"), &arena, &results, NULL) ==
          VG_RETRY);
    /* A version builds on the one before, on disk as well. */
    (void)put(near, "Patient", "pa", patient("unknown"), one.version, &st);
    CHECK(st == VG_REJECT);
    CHECK(put(near, "Patient", "pa", patient("other"), two.version, NULL).http_status == 202);
    (void)put(near, "Observation", "oa",
              "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"x\"},"
              "\"subject\":{\"reference\":\"Patient/pa\"}}",
              0, NULL);
    CHECK(atomic_load(&seen.away) == 1 && !is_known_to_be_new(near));

    if (!CHECK(start_far(&far, "one.db")))
        return;
    if (wait_well(near)) {
        for (int64_t end_us = vg_mono_us() + DEADLINE_US; vg_mono_us() < end_us;)
            if (is_known_to_be_new(near))
                break;
        CHECK(is_known_to_be_new(near));
        CHECK(fhir_history(far.store, VG_SLICE("Patient"), VG_SLICE("pa"), &arena, &results,
                           NULL) == VG_OK);
        CHECK(results.count == 3); /* male, female, other: each once */
        CHECK(has(far.store, "Patient", "pa", "other") && has(near, "Patient", "pa", "other"));
        CHECK(has(far.store, "Observation", "oa", "Patient/pa"));
        CHECK(fhir_read(near, VG_SLICE("Patient"), VG_SLICE("pa"), 0, &arena, &found, NULL) ==
              VG_OK);
        CHECK(found.version == 3);
    }
    CHECK(atomic_load(&seen.there) == 1 && !seen.refused[0]);
    fhir_close(near);
    stop_far(&far);
}

static void test_what_waits_outlives_us(void)
{
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct far far = {0};
    struct fhir_store *near;

    if (!CHECK(start_far(&far, "two.db")))
        return;
    stop_far(&far);
    if (!(near = open_near(&far, "two.spool", &seen, 0))) /* starts without its server */
        return;
    for (int i = 0; i < 250; i++)
        CHECK(put(near, "Patient", vg_arena_printf(&arena, "p%d", i).ptr, patient("male"), 0, NULL)
                  .http_status == 202);
    fhir_close(near);
    near = open_near(&far, "two.spool", &seen, 0);
    CHECK(has(near, "Patient", "p7", "male"));
    if (CHECK(start_far(&far, "two.db"))) {
        if (wait_well(near))
            CHECK(has(far.store, "Patient", "p0", "male") &&
                  has(far.store, "Patient", "p249", "male"));
        fhir_close(near);
        stop_far(&far);
    }
}

static void test_what_is_refused_later_is_handed_over_and_holds_up_nothing(void)
{
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct fhir_written first, second;
    struct far far = {0};
    struct fhir_store *near;

    if (!CHECK(start_far(&far, "three.db")) || !(near = open_near(&far, "three.spool", &seen, 0)))
        return;
    first = put(near, "Patient", "pr", patient("male"), 0, NULL);
    stop_far(&far);
    second = put(near, "Patient", "pr", patient("female"), first.version, NULL);
    (void)put(near, "Patient", "pr", patient("unknown"), second.version, NULL);
    (void)put(near, "Patient", "ps", patient("male"), 0, NULL);
    atomic_store(&seen.takes_nothing, true);
    if (!CHECK(start_far(&far, "three.db")))
        return;
    /* Somebody else was faster; ours must not undo it. */
    (void)put(far.store, "Patient", "pr", patient("other"), 0, NULL);
    while (atomic_load(&seen.offered) < 2)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    CHECK(!is_well(near)); /* nobody took it: it stays */
    atomic_store(&seen.takes_nothing, false);
    if (wait_well(near)) {
        (void)pthread_mutex_lock(&seen.lock);
        CHECK(strstr(seen.refused, "Patient/pr (the resource has changed") != NULL);
        CHECK(strstr(seen.refused, "Patient/pr (the write that it builds on") != NULL);
        CHECK(strstr(seen.refused, "Patient/ps") == NULL);
        (void)pthread_mutex_unlock(&seen.lock);
        CHECK(has(far.store, "Patient", "pr", "other") && has(far.store, "Patient", "ps", "male"));
    }
    fhir_close(near);
    stop_far(&far);
}

static void test_what_was_sent_already_is_no_conflict(void)
{
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct fhir_written first;
    struct far far = {0};
    struct fhir_store *near;

    if (!CHECK(start_far(&far, "four.db")) || !(near = open_near(&far, "four.spool", &seen, 0)))
        return;
    first = put(near, "Patient", "pt", patient("male"), 0, NULL);
    /* As when our first sending arrived and its answer was lost. */
    (void)put(far.store, "Patient", "pt", patient("female"), first.version, NULL);
    CHECK(put(near, "Patient", "pt", patient("female"), first.version, NULL).http_status == 200);
    fhir_close(near);
    stop_far(&far);
}

static void test_a_full_spool_holds_back_who_writes(void)
{
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct far far = {0};
    struct fhir_store *near;
    enum vg_status st = VG_OK;
    int count = 0;

    if (!CHECK(start_far(&far, "five.db")))
        return;
    stop_far(&far);
    if (!(near = open_near(&far, "five.spool", &seen, 2000)))
        return;
    for (; count < 1000 && st == VG_OK; count++)
        (void)put(near, "Patient", vg_arena_printf(&arena, "p%d", count).ptr, patient("male"), 0,
                  &st);
    CHECK(st == VG_RETRY && count > 10 && count < 100);
    if (CHECK(start_far(&far, "five.db"))) {
        if (wait_well(near))
            CHECK(put(near, "Patient", "pz", patient("male"), 0, NULL).http_status == 201);
        fhir_close(near);
        stop_far(&far);
    }
}

static void test_a_token_that_is_refused_makes_nothing_a_dead_letter(void)
{
    const char *path = vg_arena_printf(&arena, "%s/token", dir).ptr;
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct far far = {.token = "Bearer right-1"};
    struct fhir_remote_config remote = {.token_file = path,
                                        .watch_us = 50000,
                                        .refused = on_refused,
                                        .changed = on_change,
                                        .ctx = &seen};
    const struct fhir_config config = {.engine = "remote",
                                       .path = vg_arena_printf(&arena, "%s/six.spool", dir).ptr,
                                       .remote = &remote};
    struct fhir_store *near = NULL;
    char text[256];

    CHECK(vg_file_write(path, VG_SLICE("wrong-1\n"), 0600, NULL) == VG_OK);
    if (!CHECK(start_far(&far, "six.db")))
        return;
    remote.url = far.url;
    if (!CHECK(fhir_open(&config, &near, NULL) == VG_OK))
        return;
    CHECK(put(near, "Patient", "pk", patient("male"), 0, NULL).http_status == 202);
    fhir_trouble(near, text);
    CHECK(strstr(text, "refuses our credentials (401)") && !strstr(text, "wrong-1"));
    CHECK(vg_file_write(path, VG_SLICE("right-1\n"), 0600, NULL) == VG_OK);
    if (wait_well(near))
        CHECK(has(near, "Patient", "pk", "male") && !seen.refused[0]);
    fhir_close(near);
    stop_far(&far);
}

static void test_addresses_that_are_none(void)
{
    static const char *const urls[] = {
        "",         "ftp://x/fhir", "https://", "http://user:pw@host/fhir", "http://host/fhir?x=1",
        "host/fhir"};
    struct fhir_store *store = NULL;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        const struct fhir_remote_config remote = {.url = urls[i]};
        const struct fhir_config config = {.engine = "remote",
                                           .path =
                                               vg_arena_printf(&arena, "%s/none.spool", dir).ptr,
                                           .remote = &remote};
        struct vg_err err = {0};

        CHECK_ROW(urls[i]);
        CHECK(fhir_open(&config, &store, &err) == VG_REJECT && strcmp(err.code, "fhir.url") == 0);
    }
    CHECK_ROW("");
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    vg_arena_init(&arena, (size_t)1 << 30);
    RUN(test_what_is_written_while_it_is_away_arrives_in_order);
    RUN(test_what_waits_outlives_us);
    RUN(test_what_is_refused_later_is_handed_over_and_holds_up_nothing);
    RUN(test_what_was_sent_already_is_no_conflict);
    RUN(test_a_full_spool_holds_back_who_writes);
    RUN(test_a_token_that_is_refused_makes_nothing_a_dead_letter);
    RUN(test_addresses_that_are_none);
    vg_arena_fini(&arena);
    return vg_test_report();
}
