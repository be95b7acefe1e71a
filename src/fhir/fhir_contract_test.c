/* fhir_contract_test.c -- what fhir.h promises, of every engine: the embedded one, and the remote
 * one against our own REST server in this process. */
#include "base/clock.h"
#include "base/http_server.h"
#include "base/loop.h"
#include "fhir/fhir.h"

#include "fhir_store.h"
#include "vg_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_US ((int64_t)20000000)

static struct fhir_store *store; /* under test */
static struct fhir_store *truth; /* where the resources are; the same for an embedded engine */
static struct vg_arena arena;
static bool is_ours =
    true; /* not a foreign server, which may keep numbers and versions its own way */
static char dir[] = "/tmp/vg_fhir_contract_XXXXXX";

/* ---- helpers ---- */

static struct fhir_written put(struct fhir_store *to, const char *type, const char *id,
                               const char *body, uint64_t if_match, enum vg_status *ret_status)
{
    struct fhir_write write = {.what = FHIR_UPDATE,
                               .type = vg_slice_of(type),
                               .id = vg_slice_of(id),
                               .body = vg_slice_of(body),
                               .if_match = if_match};
    struct fhir_written written = {0};
    struct vg_err err = {0};
    enum vg_status st = fhir_commit(to, &write, 1, &arena, &written, NULL, &err);

    if (ret_status)
        *ret_status = st;
    else if (!CHECK(st == VG_OK))
        (void)fprintf(stderr, "  %s/%s: %s %s\n", type, id, err.code, err.text);
    return written;
}

static struct fhir_resource get(const char *type, const char *id, enum vg_status *ret_status)
{
    struct fhir_resource resource = {0};
    enum vg_status st =
        fhir_read(store, vg_slice_of(type), vg_slice_of(id), 0, &arena, &resource, NULL);

    if (ret_status)
        *ret_status = st;
    else
        CHECK(st == VG_OK);
    return resource;
}

/* Over all pages: a server may give fewer than were asked for. */
static size_t count_of(const char *type, const char *query)
{
    struct vg_slice at = vg_slice_of(query);
    size_t count = 0;

    while (at.ptr) {
        struct fhir_results results = {0};
        struct vg_err err = {0};

        if (!CHECK(fhir_search(store, vg_slice_of(type), at, &arena, &results, &err) == VG_OK)) {
            (void)fprintf(stderr, "  %s?%s: %s %s\n", type, query, err.code, err.text);
            return 999;
        }
        count += results.match_count;
        at = results.next_query;
    }
    return count;
}

static bool holds(struct vg_slice text, const char *part)
{
    return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

static const char *observation(const char *id, const char *patient, const char *code,
                               const char *time, const char *value)
{
    return vg_arena_printf(
               &arena,
               "{\"resourceType\":\"Observation\",\"id\":\"%s\",\"status\":\"final\",\"code\":{"
               "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"%s\"}]},\"subject\":{"
               "\"reference\":\"Patient/%s\"},\"effectiveDateTime\":\"%s\",\"valueQuantity\":{"
               "\"value\":%s,\"system\":\"http://unitsofmeasure.org\",\"code\":\"/min\"}}",
               id, code, patient, time, value)
        .ptr;
}

/* ---- the contract ---- */

static void test_an_update_makes_a_resource_and_an_equal_one_changes_nothing(void)
{
    const char *text = "{\"resourceType\":\"Patient\",\"id\":\"pa\",\"active\":true}";
    struct fhir_written first = put(store, "Patient", "pa", text, 0, NULL);
    struct fhir_written again = put(store, "Patient", "pa", text, 0, NULL);
    struct fhir_written other =
        put(store, "Patient", "pa", "{\"resourceType\":\"Patient\",\"id\":\"pa\",\"active\":false}",
            0, NULL);
    struct fhir_resource now = get("Patient", "pa", NULL);

    CHECK(first.http_status == 201 && !first.is_unchanged && first.version != 0);
    CHECK(again.http_status == 200);
    CHECK(!is_ours || (again.is_unchanged && again.version == first.version));
    CHECK(other.http_status == 200 && !other.is_unchanged && other.version != first.version);
    CHECK(now.version == other.version);
    CHECK(vg_slice_is(now.id, "pa") && vg_slice_is(now.type, "Patient"));
    CHECK(now.last_updated_us > 0 && holds(now.body, "\"versionId\":"));
    CHECK(holds(now.body, "\"active\":false"));
}

static void test_text_comes_back_as_it_was(void)
{
    struct fhir_resource now;

    (void)put(store, "Observation", "odd",
              "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"\\u00b0 "
              "x\"},\"effectiveDateTime\":\"2026-03-14T10:00:00.250+05:30\",\"valueQuantity\":{"
              "\"value\":38.20}}",
              0, NULL);
    now = get("Observation", "odd", NULL);
    CHECK(holds(now.body, is_ours ? "38.20" : "38.2") && holds(now.body, "10:00:00.250+05:30"));
    CHECK(holds(now.body, "\"id\":\"odd\""));
}

static void test_what_was_never_there_and_what_was_deleted(void)
{
    struct fhir_write gone = {
        .what = FHIR_DELETE, .type = VG_SLICE("Patient"), .id = VG_SLICE("pd")};
    struct fhir_written written = {0};
    struct fhir_results all = {0};
    enum vg_status st;

    (void)get("Patient", "never", &st);
    CHECK(st == VG_END);
    (void)put(store, "Patient", "pd", "{\"resourceType\":\"Patient\"}", 0, NULL);
    CHECK(fhir_commit(store, &gone, 1, &arena, &written, NULL, NULL) == VG_OK);
    CHECK(written.http_status == 204);
    CHECK(get("Patient", "pd", &st).is_deleted || (!is_ours && st == VG_END));
    CHECK(fhir_commit(store, &gone, 1, &arena, &written, NULL, NULL) == VG_OK);
    CHECK(count_of("Patient", "_id=pd") == 0);
    st = fhir_history(store, VG_SLICE("Patient"), VG_SLICE("pd"), &arena, &all, NULL);
    if (CHECK(st == VG_OK || !is_ours) && st == VG_OK && CHECK(all.count == 2))
        CHECK(all.resources[0].is_deleted && !all.resources[1].is_deleted);
    CHECK(fhir_history(store, VG_SLICE("Patient"), VG_SLICE("never"), &arena, &all, NULL) ==
          VG_END);
}

static void test_a_version_that_is_not_current_is_refused(void)
{
    enum vg_status st;
    struct fhir_written first, late;

    first =
        put(store, "Patient", "pv", "{\"resourceType\":\"Patient\",\"gender\":\"male\"}", 0, NULL);
    CHECK(put(store, "Patient", "pv", "{\"resourceType\":\"Patient\",\"gender\":\"female\"}",
              first.version, NULL)
              .version != first.version);
    late = put(store, "Patient", "pv", "{\"resourceType\":\"Patient\",\"gender\":\"other\"}",
               first.version, &st);
    CHECK(st == VG_REJECT && late.http_status == 412);
    CHECK(holds(get("Patient", "pv", NULL).body, "female"));
}

static void test_an_old_version_can_be_read(void)
{
    struct fhir_resource old = {0};
    struct fhir_written first;

    first =
        put(store, "Patient", "ph", "{\"resourceType\":\"Patient\",\"gender\":\"male\"}", 0, NULL);
    (void)put(store, "Patient", "ph", "{\"resourceType\":\"Patient\",\"gender\":\"other\"}", 0,
              NULL);
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("ph"), first.version, &arena, &old,
                    NULL) == VG_OK);
    CHECK(old.version == first.version && holds(old.body, "\"male\""));
    CHECK(fhir_read(store, VG_SLICE("Patient"), VG_SLICE("ph"), 7, &arena, &old, NULL) == VG_END);
}

static void test_a_create_draws_an_id_and_a_conditional_one_finds_what_is_there(void)
{
    struct fhir_write write = {.what = FHIR_CREATE,
                               .type = VG_SLICE("Patient"),
                               .body = VG_SLICE("{\"resourceType\":\"Patient\",\"identifier\":[{"
                                                "\"system\":\"urn:a|b\",\"value\":\"1+2\"}]}"),
                               .if_none_exist = VG_SLICE("identifier=urn:a%5C%7Cb%7C1%2B2")};
    struct fhir_written first = {0}, again = {0}, plain = {0};

    if (getenv("VIGIL_FHIR_SIMPLE")) { /* it does not know the escaping of | and + */
        write.body =
            VG_SLICE("{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:ab\","
                     "\"value\":\"12\"}]}");
        write.if_none_exist = VG_SLICE("identifier=urn:ab|12");
    }
    CHECK(fhir_commit(store, &write, 1, &arena, &first, NULL, NULL) == VG_OK);
    CHECK(first.http_status == 201 && first.id.len > 0);
    CHECK(fhir_commit(store, &write, 1, &arena, &again, NULL, NULL) == VG_OK);
    CHECK(again.http_status == 200 && again.is_unchanged && vg_slice_eq(again.id, first.id));
    write.if_none_exist = (struct vg_slice){0};
    CHECK(fhir_commit(store, &write, 1, &arena, &plain, NULL, NULL) == VG_OK);
    CHECK(plain.http_status == 201 && !vg_slice_eq(plain.id, first.id));
}

static void test_one_bad_write_refuses_the_commit_and_is_named(void)
{
    struct fhir_write writes[3] = {
        {.what = FHIR_UPDATE,
         .type = VG_SLICE("Patient"),
         .id = VG_SLICE("px1"),
         .body = VG_SLICE("{\"resourceType\":\"Patient\"}")},
        {.what = FHIR_UPDATE,
         .type = VG_SLICE("Observation"),
         .id = VG_SLICE("ox1"),
         .body = VG_SLICE("{\"resourceType\":\"Observation\",\"status\":\"no such\",\"code\":{"
                          "\"text\":\"x\"}}")},
        {.what = FHIR_UPDATE,
         .type = VG_SLICE("Patient"),
         .id = VG_SLICE("px2"),
         .body = VG_SLICE("{\"resourceType\":\"Patient\"}")}};
    struct fhir_written written[3] = {0};
    struct vg_err err = {0};
    size_t failed = 9;

    CHECK(fhir_commit(store, writes, 3, &arena, written, &failed, &err) == VG_REJECT);
    CHECK(failed == 1);
    if (failed == 1)
        CHECK(written[1].http_status == 400 || written[1].http_status == 422);
    writes[1] = writes[0];
    CHECK(fhir_commit(store, writes, 3, &arena, written, &failed, &err) == VG_REJECT);
}

static void test_a_large_commit_whose_references_point_forward(void)
{
    enum { COUNT = 250 };
    struct fhir_write writes[COUNT + 1];
    struct fhir_written written[COUNT + 1];
    struct vg_err err = {0};
    bool is_all = true;

    for (int i = 0; i < COUNT; i++) {
        const char *id = vg_arena_printf(&arena, "big-%d", i).ptr;

        writes[i] = (struct fhir_write){
            .what = FHIR_UPDATE,
            .type = VG_SLICE("Observation"),
            .id = vg_slice_of(id),
            .body = vg_slice_of(observation(id, "pbig", "8867-4", "2026-03-14T10:00:00Z", "70"))};
    }
    writes[COUNT] = (struct fhir_write){.what = FHIR_UPDATE,
                                        .type = VG_SLICE("Patient"),
                                        .id = VG_SLICE("pbig"),
                                        .body = VG_SLICE("{\"resourceType\":\"Patient\"}")};
    if (!CHECK(fhir_commit(store, writes, COUNT + 1, &arena, written, NULL, &err) == VG_OK))
        (void)fprintf(stderr, "  %s %s\n", err.code, err.text);
    for (int i = 0; i <= COUNT; i++)
        is_all = is_all && (written[i].http_status == 201 || !is_ours) && written[i].version != 0 &&
                 vg_slice_eq(written[i].id, writes[i].id);
    CHECK(is_all);
    CHECK(count_of("Observation", "patient=pbig&_count=1000") == COUNT);
}

static void test_searches(void)
{
    static const struct {
        const char *what, *query;
        size_t expected;
    } rows[] = {
        {"all of one patient", "patient=ps&_count=100", 5},
        {"a reference in full", "subject=Patient/ps&_count=100", 5},
        {"a code with its system, unencoded", "patient=ps&code=http://loinc.org|8867-4", 3},
        {"a code with its system, encoded", "patient=ps&code=http%3A%2F%2Floinc.org%7C9279-1", 2},
        {"two codes", "patient=ps&code=8867-4,9279-1&_count=100", 5},
        {"from a time on", "patient=ps&date=ge2026-03-14T12:00:00Z", 3},
        {"from a time with an offset on", "patient=ps&date=ge2026-03-14T13:00:00+01:00", 3},
        {"a day, which is all of it", "patient=ps&date=2026-03-14", 4},
        {"between two times", "patient=ps&date=ge2026-03-14T11:00:00Z&date=lt2026-03-14T13:00:00Z",
         2},
        {"a value", "patient=ps&code-value-quantity=8867-4$gt80", 1},
        {"nobody", "patient=nobody", 0},
    };
    static const char *const times[] = {"2026-03-14T10:00:00Z", "2026-03-14T11:00:00Z",
                                        "2026-03-14T12:00:00Z", "2026-03-14T13:00:00Z",
                                        "2026-03-15T10:00:00Z"};

    (void)put(store, "Patient", "ps", "{\"resourceType\":\"Patient\"}", 0, NULL);
    for (int i = 0; i < 5; i++) {
        const char *id = vg_arena_printf(&arena, "s%d", i).ptr;

        (void)put(
            store, "Observation", id,
            observation(id, "ps", i % 2 ? "9279-1" : "8867-4", times[i], i == 4 ? "99" : "70"), 0,
            NULL);
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!(getenv("VIGIL_FHIR_SIMPLE") && strchr(rows[i].query, '$')) &&
            !CHECK(count_of("Observation", rows[i].query) == rows[i].expected))
            (void)fprintf(stderr, "  %s: %s\n", rows[i].what, rows[i].query);
}

static void test_pages_hold_everything_once_and_in_order(void)
{
    struct vg_slice query = VG_SLICE("patient=ps&_sort=-date&_count=2");
    char ids[64] = "";
    int pages = 0;

    for (; query.ptr && pages < 10; pages++) {
        struct fhir_results results = {0};

        if (!CHECK(fhir_search(store, VG_SLICE("Observation"), query, &arena, &results, NULL) ==
                   VG_OK))
            return;
        CHECK(results.has_more == (results.next_query.ptr != NULL));
        for (size_t i = 0; i < results.match_count; i++)
            (void)snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%.*s ",
                           VG_FMT(results.resources[i].id));
        query = results.next_query;
    }
    CHECK(pages == 3 && strcmp(ids, "s4 s3 s2 s1 s0 ") == 0);
}

static void test_flags_are_found_by_their_status(void)
{
    static const char *const states[] = {"active", "inactive"};

    for (int i = 0; i < 2; i++) {
        const char *id = vg_arena_printf(&arena, "f%d", i).ptr;

        (void)put(store, "Flag", id,
                  vg_arena_printf(&arena,
                                  "{\"resourceType\":\"Flag\",\"status\":\"%s\",\"code\":{"
                                  "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/ps\"}}",
                                  states[i])
                      .ptr,
                  0, NULL);
    }
    CHECK(count_of("Flag", "patient=ps") == 2);
    CHECK(count_of("Flag", "patient=ps&status=active") == 1);
}

static void test_the_newest_of_each_code(void)
{
    struct fhir_results results = {0};

    if (!CHECK(fhir_lastn(store, VG_SLICE("patient=ps&code=8867-4,9279-1&max=2"), &arena, &results,
                          NULL) == VG_OK))
        return;
    if (!CHECK(results.count == 4))
        for (size_t i = 0; i < results.count; i++)
            (void)fprintf(stderr, "  %.*s\n", VG_FMT(results.resources[i].id));
    if (results.count == 4) {
        CHECK(vg_slice_is(results.resources[0].id, "s4"));
        CHECK(vg_slice_is(results.resources[1].id, "s3"));
    }
    CHECK(fhir_lastn(store, VG_SLICE("code=8867-4"), &arena, &results, NULL) == VG_REJECT);
}

static void test_a_change_by_somebody_else_is_counted(void)
{
    struct timespec pause = {.tv_nsec = 20000000};
    int64_t end_us = vg_mono_us() + DEADLINE_US;
    uint64_t before, own;

    (void)fhir_change_count(store, "Device"); /* from now on it is watched */
    before = fhir_change_count(store, "Device");
    (void)put(store, "Device", "dw", "{\"resourceType\":\"Device\"}", 0, NULL);
    own = fhir_change_count(store, "Device");
    CHECK(own > before);
    (void)put(truth, "Device", "dw", "{\"resourceType\":\"Device\",\"status\":\"inactive\"}", 0,
              NULL);
    while (fhir_change_count(store, "Device") == own && vg_mono_us() < end_us)
        (void)nanosleep(&pause, NULL);
    CHECK(fhir_change_count(store, "Device") > own);
    CHECK(fhir_change_count(store, "Account") == 0);
}

static void run_all(const char *engine)
{
    char trouble[256];

    (void)fprintf(stderr, "engine %s\n", engine);
    RUN(test_an_update_makes_a_resource_and_an_equal_one_changes_nothing);
    RUN(test_text_comes_back_as_it_was);
    RUN(test_what_was_never_there_and_what_was_deleted);
    RUN(test_a_version_that_is_not_current_is_refused);
    RUN(test_an_old_version_can_be_read);
    RUN(test_a_create_draws_an_id_and_a_conditional_one_finds_what_is_there);
    RUN(test_one_bad_write_refuses_the_commit_and_is_named);
    RUN(test_a_large_commit_whose_references_point_forward);
    RUN(test_searches);
    RUN(test_pages_hold_everything_once_and_in_order);
    RUN(test_flags_are_found_by_their_status);
    RUN(test_the_newest_of_each_code);
    RUN(test_a_change_by_somebody_else_is_counted);
    fhir_trouble(store, trouble);
    CHECK(trouble[0] == '\0');
}

/* ---- the engines ---- */

static const char *path_of(const char *name)
{
    return vg_arena_printf(&arena, "%s/%s", dir, name).ptr;
}

static void test_embedded(void)
{
    const struct fhir_config config = {.path = path_of("a.db"), .base_url = "https://here/fhir"};

    if (!CHECK(fhir_open(&config, &store, NULL) == VG_OK))
        return;
    truth = store;
    run_all("sqlite");
    fhir_close(store);
}

/* Its port is not known before the server runs, so that base_url is set by a second opening. */
static void test_remote(void)
{
    struct vg_http_server_config listen = {.address = "127.0.0.1", .body_bytes_max = 32u << 20};
    struct vg_http_server *server = NULL;
    struct vg_loop *loop = NULL;
    struct fhir_config config = {.path = path_of("b.db")};
    struct fhir_remote_config remote = {.watch_us = 50000};
    struct vg_err err = {0};

    if (!CHECK(vg_loop_open("contract", &loop, &err) == VG_OK &&
               vg_http_server_open(loop, &listen, &server, &err) == VG_OK))
        return;
    remote.url =
        vg_arena_printf(&arena, "http://127.0.0.1:%u/fhir", (unsigned)vg_http_server_port(server))
            .ptr;
    config.base_url = remote.url;
    if (CHECK(fhir_open(&config, &truth, &err) == VG_OK &&
              fhir_rest_mount(truth, server, loop, NULL, NULL, &err) == VG_OK &&
              vg_loop_start(loop, &err) == VG_OK)) {
        config = (struct fhir_config){
            .engine = "remote", .path = path_of("spool.db"), .remote = &remote};
        if (CHECK(fhir_open(&config, &store, &err) == VG_OK)) {
            run_all("remote");
            fhir_close(store);
        }
        vg_loop_stop(loop);
    }
    vg_http_server_close(server);
    fhir_close(truth);
    vg_loop_close(loop);
}

/* The server at VIGIL_FHIR_URL: two clients of it, so that one sees what the other does. */
static void test_foreign(void)
{
    struct fhir_remote_config remote = {.url = getenv("VIGIL_FHIR_URL"), .watch_us = 50000};
    struct fhir_config config = {
        .engine = "remote", .path = path_of("other.db"), .remote = &remote};
    struct vg_err err = {0};

    is_ours = false;
    if (CHECK(fhir_open(&config, &truth, &err) == VG_OK)) {
        config.path = path_of("spool.db");
        if (CHECK(test_fhir_open(&config, &store, &err) == VG_OK)) {
            run_all(remote.url);
            fhir_close(store);
        }
        fhir_close(truth);
    }
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    vg_arena_init(&arena, (size_t)1 << 30);
    if (test_fhir_is_foreign()) {
        RUN(test_foreign);
    } else {
        RUN(test_embedded);
        RUN(test_remote);
    }
    vg_arena_fini(&arena);
    return vg_test_report();
}
