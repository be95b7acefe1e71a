/* subscription_test.c -- what stands beside the resources, with its threads: Subscriptions that are
 * told to a receiver in this process, audit that is written behind, and both over a restart. */
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/http_server.h"
#include "fhir/fhir.h"
#include "fhir/subscription_int.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "vg_test.h"

#define EVENTS 20

static char dir[] = "/tmp/vigil-hook-XXXXXX", path[64], side[64], spool[64], base[64];
static struct fhir_store *store;
static struct vg_loop *loop;
static struct vg_http_server *server;
static struct vg_arena arena;

/* The receiver: what it was told, in the loop's thread; the lock is for who looks. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t numbers[1000];
static size_t told_count;
static bool refuses;

static void on_told(struct vg_http_request *request, void *ctx)
{
    uint64_t number = 0;
    bool is_refused;

    (void)ctx;
    (void)vg_slice_to_u64(vg_http_header(request, "X-Vigil-Event-Number"), &number);
    (void)pthread_mutex_lock(&lock);
    is_refused = refuses;
    if (!is_refused && number && told_count < 1000)
        numbers[told_count++] = number;
    (void)pthread_mutex_unlock(&lock);
    vg_http_reply(request, is_refused ? 503 : 200, NULL, (struct vg_slice){0});
}

static bool start(void)
{
    struct fhir_config config = {.path = path,
                                 .base_url = base,
                                 .side_path = side,
                                 .audit_path = spool,
                                 .allows_local_hooks = true};
    struct vg_http_server_config server_config = {.address = "127.0.0.1"};
    struct vg_err err = {0};

    if (vg_loop_open("hook-test", &loop, &err) != VG_OK ||
        vg_http_server_open(loop, &server_config, &server, &err) != VG_OK)
        goto failed;
    (void)snprintf(base, sizeof(base), "http://127.0.0.1:%u/fhir", vg_http_server_port(server));
    if (vg_http_route(server, "*", "/told/*", on_told, NULL, &err) != VG_OK ||
        fhir_open(&config, &store, &err) != VG_OK ||
        fhir_rest_mount(store, server, loop, NULL, NULL, &err) != VG_OK ||
        vg_loop_start(loop, &err) != VG_OK)
        goto failed;
    return true;
failed:
    printf("%s: %s\n", err.code, err.text);
    return false;
}

static void stop(void)
{
    /* The receiver goes after its sender. */
    vg_loop_stop(loop);
    vg_http_server_close(server);
    fhir_close(store);
    vg_loop_close(loop);
    store = NULL;
}

static bool write_one(const char *type, const char *id, const char *body)
{
    struct fhir_write write = {.what = FHIR_UPDATE,
                               .type = vg_slice_of(type),
                               .id = vg_slice_of(id),
                               .body = vg_slice_of(body)};
    struct fhir_written written;
    struct vg_err err = {0};
    bool is_written = fhir_commit(store, &write, 1, &arena, &written, NULL, &err) == VG_OK;

    if (!is_written)
        printf("  %s: %s\n", err.code, err.text);
    return is_written;
}

static bool has_status(const char *id, const char *wanted)
{
    struct fhir_resource resource;
    char text[64];

    (void)snprintf(text, sizeof(text), "\"status\":\"%s\"", wanted);
    return fhir_read(store, VG_SLICE("Subscription"), vg_slice_of(id), 0, &arena, &resource,
                     NULL) == VG_OK &&
           memmem(resource.body.ptr, resource.body.len, text, strlen(text));
}

static void refuse_from_now(bool is_refusing)
{
    (void)pthread_mutex_lock(&lock);
    refuses = is_refusing;
    (void)pthread_mutex_unlock(&lock);
}

static size_t told(void)
{
    size_t count;

    (void)pthread_mutex_lock(&lock);
    count = told_count;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

/* Until `what` holds, ten seconds at most. */
#define WAIT(what)                                                                                 \
    do {                                                                                           \
        int64_t until_us = vg_mono_us() + 10 * VG_SECOND_US;                                       \
        while (!(what) && vg_mono_us() < until_us)                                                 \
            (void)usleep(5000);                                                                    \
        CHECK(what);                                                                               \
    } while (0)

static void subscribe(const char *id, const char *criteria)
{
    char body[512];

    (void)snprintf(body, sizeof(body),
                   "{\"resourceType\":\"Subscription\",\"status\":\"requested\",\"reason\":\"t\","
                   "\"criteria\":\"%s\",\"channel\":{\"type\":\"rest-hook\",\"endpoint\":"
                   "\"http://127.0.0.1:%u/told/%s\",\"payload\":\"application/fhir+json\"}}",
                   criteria, vg_http_server_port(server), id);
    CHECK(write_one("Subscription", id, body));
}

static void write_flags(int from, int to)
{
    char id[32];

    for (int i = from; i < to; i++) {
        (void)snprintf(id, sizeof(id), "f%d", i);
        CHECK(write_one("Flag", id,
                        i % 2 ? "{\"resourceType\":\"Flag\",\"status\":\"active\",\"code\":"
                                "{\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/p1\"}}"
                              : "{\"resourceType\":\"Flag\",\"status\":\"inactive\",\"code\":"
                                "{\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/p1\"}}"));
    }
}

static void test_told_in_order(void)
{
    subscribe("s1", "Flag?status=active");
    WAIT(has_status("s1", "active"));
    write_flags(0, 2 * EVENTS);
    WAIT(told() == EVENTS);
    for (size_t i = 0; i < EVENTS; i++)
        CHECK(numbers[i] == i + 1);
}

static void test_a_version_that_matched_then_is_told(void)
{
    size_t before = told();

    refuse_from_now(true);
    CHECK(write_one("Flag", "brief",
                    "{\"resourceType\":\"Flag\",\"status\":\"active\",\"code\":{\"text\":\"x\"},"
                    "\"subject\":{\"reference\":\"Patient/p1\"}}"));
    CHECK(write_one("Flag", "brief",
                    "{\"resourceType\":\"Flag\",\"status\":\"inactive\",\"code\":{\"text\":\"x\"},"
                    "\"subject\":{\"reference\":\"Patient/p1\"}}"));
    refuse_from_now(false);
    WAIT(told() == before + 1);
}

static void test_a_restart_loses_nothing(void)
{
    size_t before = told();

    refuse_from_now(true);
    write_flags(100, 100 + 2 * EVENTS);
    stop();
    refuse_from_now(false);
    if (!CHECK(start()))
        return;
    /* The receiver has another port now; whoever moves says so. */
    CHECK(told() == before);
    subscribe("s1", "Flag?status=active");
    WAIT(told() >= before + EVENTS);
    CHECK(numbers[told() - 1] == before + EVENTS);
}

static void test_what_it_may_not(void)
{
    char body[] = "{\"resourceType\":\"Subscription\",\"status\":\"requested\",\"reason\":\"t\","
                  "\"criteria\":\"Flag?\",\"channel\":{\"type\":\"rest-hook\",\"endpoint\":"
                  "\"https://10.1.2.3/x\"}}";

    CHECK(write_one("Subscription", "s2", body));
    WAIT(has_status("s2", "error"));
}

static void test_masking(void)
{
    struct vg_slice plain = VG_SLICE("{\"resourceType\":\"Subscription\",\"channel\":{\"header\":["
                                     "\"Authorization: Bearer x\",\"X\"],\"type\":\"rest-hook\"}}");
    struct vg_slice masked = fhir_mask(&arena, fhir_type_find(VG_SLICE("Subscription")), plain);

    CHECK(vg_slice_is(masked, "{\"resourceType\":\"Subscription\",\"channel\":{\"header\":["
                              "\"Authorization: ***\",\"X: ***\"],\"type\":\"rest-hook\"}}"));
    CHECK(vg_slice_eq(fhir_mask(&arena, fhir_type_find(VG_SLICE("Patient")), plain), plain));
}

static size_t audit_count(void)
{
    struct fhir_results results;

    return fhir_search(store, VG_SLICE("AuditEvent"), VG_SLICE("_summary=count"), &arena, &results,
                       NULL) == VG_OK
               ? (size_t)results.total
               : 0;
}

static void test_audit(void)
{
    struct vg_http_client_config config = {0};
    struct vg_http_client *client = NULL;
    struct vg_http_answer answer;
    size_t before = audit_count();
    char url[128];

    if (!CHECK(vg_http_client_open(&config, &client, NULL) == VG_OK))
        return;
    (void)snprintf(url, sizeof(url), "%s/Patient/none", base);
    for (int i = 0; i < 30; i++)
        CHECK(vg_http_fetch(client, "GET", url, NULL, (struct vg_slice){0}, &arena, &answer,
                            NULL) == VG_OK &&
              answer.status == 404);
    vg_http_client_close(client);
    WAIT(audit_count() == before + 30);
}

int main(void)
{
    vg_arena_init(&arena, (size_t)256 << 20);
    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    (void)snprintf(side, sizeof(side), "%s/side.db", dir);
    (void)snprintf(spool, sizeof(spool), "%s/audit", dir);
    if (!start())
        return 1;
    RUN(test_told_in_order);
    RUN(test_a_version_that_matched_then_is_told);
    RUN(test_what_it_may_not);
    RUN(test_masking);
    RUN(test_audit);
    RUN(test_a_restart_loses_nothing);
    stop();
    vg_arena_fini(&arena);
    return vg_test_report();
}
