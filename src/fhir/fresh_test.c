/* fresh_test.c -- index rows that wait in memory: whatever was written, changed, refused and
 * settled, searches find what they would find if the index were made anew, and so it is in the end.
 */
#include "base/crypto.h"
#include "base/db.h"
#include "fhir/fhir.h"
#include "fhir/sqlite_int.h"

#include <pthread.h>
#include <unistd.h>

#include "vg_test.h"

#define IDS 40

static struct fhir_store *store;
static struct vg_arena arena;
static char dir[] = "/tmp/vigil-fresh-XXXXXX";
static char path[64];
static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

static void store_open(void)
{
    struct fhir_config config = {.path = path, .base_url = "https://vigil.example/fhir"};
    struct vg_err err = {0};

    if (!CHECK(fhir_open(&config, &store, &err) == VG_OK)) {
        printf("  %s: %s\n", err.code, err.text);
        exit(1);
    }
}

/* Every kind of row: patients, codes, components, spans of each length, identifiers, references. */
static struct vg_slice observation(unsigned id)
{
    static const char *const times[][2] = {
        {"\"effectiveDateTime\":\"2026-03-14T10:", ":00Z\""},
        {"\"effectiveDateTime\":\"2026-03-", "\""},
        {"\"effectivePeriod\":{\"start\":\"2026-03-", "T10:00:00Z\",\"end\":\"2026-03-30\"}"},
        {"\"effectivePeriod\":{\"start\":\"2026-03-", "T10:00:00Z\"}"}};
    unsigned kind = draw(4);
    struct vg_slice time =
        vg_arena_printf(&arena, "%s%02u%s", times[kind][0], 10 + draw(4), times[kind][1]);

    return vg_arena_printf(
        &arena,
        "{\"resourceType\":\"Observation\",\"id\":\"o%u\",\"status\":\"%s\",\"identifier\":[{"
        "\"system\":\"urn:x\",\"value\":\"v%u\"},{\"system\":\"urn:x\",\"value\":\"w%u\"}],"
        "\"code\":{\"coding\":[{\"system\":\"urn:c\",\"code\":\"c%u\"},{\"code\":\"d\"}]},"
        "\"subject\":{\"reference\":\"Patient/p%u\"},\"device\":{\"reference\":\"Device/d%u\","
        "\"identifier\":{\"system\":\"urn:d\",\"value\":\"%u\"}},%.*s,\"note\":[{\"text\":\"%u\"}],"
        "\"component\":[{\"code\":{\"coding\":[{\"system\":\"urn:c\",\"code\":\"c%u\"}]},"
        "\"valueQuantity\":{\"value\":%u,\"unit\":\"kg\"}},{\"code\":{\"coding\":[{\"system\":"
        "\"urn:c\",\"code\":\"c%u\"}]},\"valueQuantity\":{\"value\":%u,\"unit\":\"%s\"}}]}",
        id, draw(2) ? "final" : "amended", draw(30), draw(30), draw(3), draw(3), draw(3), draw(3),
        VG_FMT(time), draw(1000), draw(3), draw(3), draw(3), draw(3), draw(2) ? "kg" : "lb");
}

/* A few writes in one commit; now and then the last is refused and takes the others back. */
static void write_some(void)
{
    struct fhir_write writes[8] = {0};
    struct fhir_written written[8];
    size_t count = 1 + draw(6);
    unsigned first = draw(IDS);
    bool is_refused = draw(5) == 0;
    struct vg_err err = {0};
    enum vg_status st;

    for (size_t i = 0; i < count; i++) {
        unsigned id = (first + (unsigned)i) % IDS;

        writes[i] = (struct fhir_write){.what = draw(6) ? FHIR_UPDATE : FHIR_DELETE,
                                        .type = VG_SLICE("Observation"),
                                        .id = vg_arena_printf(&arena, "o%u", id)};
        if (writes[i].what == FHIR_UPDATE)
            writes[i].body = observation(id);
    }
    if (is_refused)
        writes[count++] = (struct fhir_write){.what = FHIR_UPDATE,
                                              .type = VG_SLICE("Observation"),
                                              .id = VG_SLICE("never"),
                                              .if_match = 9,
                                              .body = VG_SLICE("{\"resourceType\":\"Observation\","
                                                               "\"id\":\"never\",\"status\":"
                                                               "\"final\",\"code\":{}}")};
    st = fhir_commit(store, writes, count, &arena, written, NULL, &err);
    if (!CHECK(st == (is_refused ? VG_REJECT : VG_OK)))
        printf("  %s: %s\n", err.code ? err.code : "ok", err.text);
    vg_arena_reset(&arena);
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t value = -1;

    if (CHECK(vg_db_prepare(db, sql, &stmt, NULL) == VG_OK) &&
        CHECK(vg_db_step(stmt, NULL) == VG_OK))
        value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

/* All rows of the tables as a text. */
static char *index_text(void)
{
    static const char sql[] =
        "SELECT printf('t %d %d %d %d %d %d %d %d %d',type,patient,code,span,low,key,part,system,"
        " high) FROM timeline UNION ALL SELECT printf('c %d %s %d %d %d',path,text,key,system,"
        "part) FROM token UNION ALL SELECT printf('s %d %s %d %s %d',path,text,key,exact,part)"
        " FROM string UNION ALL SELECT printf('d %d %d %d %d %d',path,key,part,low,high) FROM date"
        " UNION ALL SELECT printf('q %d %d %d %g %d %d %d',path,key,part,value,system,code,unit)"
        " FROM quantity ORDER BY 1";
    sqlite3_stmt *stmt = NULL;
    struct vg_buf text;
    sqlite3 *db = NULL;

    vg_buf_init(&text, 0);
    if (CHECK(vg_db_open(path, false, &db, NULL) == VG_OK) &&
        CHECK(vg_db_prepare(db, sql, &stmt, NULL) == VG_OK))
        while (vg_db_step(stmt, NULL) == VG_OK)
            vg_buf_printf(&text, "%s\n", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    vg_db_close(db);
    vg_buf_put_byte(&text, 0);
    return (char *)text.ptr;
}

/* What searches of every way find. */
static char *found_text(void)
{
    static const char *const queries[] = {"patient=Patient/p1",
                                          "patient=Patient/p1&code=c1",
                                          "patient=Patient/p2&code=urn:c|c2",
                                          "patient=Patient/p0&date=ge2026-03-12",
                                          "patient=Patient/p0&code=c0&date=lt2026-03-14T10:12:30Z",
                                          "patient=Patient/p0&date=eq2026-03-11",
                                          "code=c1",
                                          "date=ge2026-03-13",
                                          "component-code=c2",
                                          "patient=Patient/p1&component-code=c0",
                                          "device=Device/d1",
                                          "device=Device/d2&status=final",
                                          "identifier=urn:x|v3",
                                          "identifier=w7",
                                          "patient=Patient/p2&device=Device/d0",
                                          "device:identifier=urn:d|2",
                                          "patient=Patient/p0,Patient/p1&code=c0,c1&_sort=-date",
                                          "component-code-value-quantity=c1$2",
                                          "patient:missing=false&_sort=_id"};
    struct vg_buf text;

    vg_buf_init(&text, 0);
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        struct fhir_results results = {0};
        struct vg_err err = {0};

        if (!CHECK(fhir_search(store, VG_SLICE("Observation"), vg_slice_of(queries[i]), &arena,
                               &results, &err) == VG_OK))
            printf("  %s: %s\n", queries[i], err.text);
        vg_buf_printf(&text, "\n%s:", queries[i]);
        for (size_t n = 0; n < results.count; n++)
            vg_buf_printf(&text, " %.*s", VG_FMT(results.resources[n].id));
        vg_arena_reset(&arena);
    }
    vg_buf_put_byte(&text, 0);
    return (char *)text.ptr;
}

/* What waits is made anew from the texts then. */
static bool is_the_same_after_a_start(void)
{
    char *before = found_text(), *after;
    bool is_same;

    fhir_close(store);
    store_open();
    after = found_text();
    is_same = strcmp(before, after) == 0;
    if (!is_same)
        printf("before:%s\nafter:%s\n", before, after);
    free(before);
    free(after);
    return is_same;
}

static int64_t asked(const char *sql)
{
    sqlite3 *db = NULL;
    int64_t value = -1;

    if (CHECK(vg_db_open(path, false, &db, NULL) == VG_OK))
        value = number(db, sql);
    vg_db_close(db);
    return value;
}

/* The store does it by itself within seconds. */
static bool all_settles(void)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    int64_t end_us = vg_mono_us() + 20 * VG_SECOND_US;

    while (asked("SELECT (SELECT value FROM setting WHERE name='fresh_settled')="
                 "(SELECT max(key) FROM resource)") != 1 &&
           vg_mono_us() < end_us)
        (void)nanosleep(&pause, NULL);
    return vg_mono_us() < end_us;
}

static void test_the_index_is_what_it_would_be_anew(void)
{
    static const size_t most[] = {0, 30, 300, 1 << 20};

    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        char *as_written, *anew, *found[3] = {0};
        sqlite3 *db = NULL;

        (void)snprintf(path, sizeof(path), "%s/%zu.db", dir, i);
        sqlite_fresh_max = most[i];
        store_open();
        for (int n = 0; n < 150; n++) {
            write_some();
            if (n % 10 == 9)
                CHECK(is_the_same_after_a_start());
        }
        CHECK((asked("SELECT (SELECT value FROM setting WHERE name='fresh_settled')") > 0) ==
              (most[i] < 400));
        found[0] = found_text();
        sqlite_fresh_max = 0;
        CHECK(all_settles());
        found[1] = found_text();
        fhir_close(store);
        as_written = index_text();
        CHECK(strlen(as_written) > 4000);
        if (CHECK(vg_db_open(path, false, &db, NULL) == VG_OK))
            CHECK(vg_db_exec(db, "UPDATE setting SET value=0 WHERE name LIKE 'index%'", NULL) ==
                  VG_OK);
        vg_db_close(db);
        store_open();
        found[2] = found_text();
        fhir_close(store);
        anew = index_text();
        if (!CHECK(strcmp(as_written, anew) == 0))
            printf("  at most %zu wait\n", most[i]);
        for (size_t n = 0; n < 2; n++)
            if (!CHECK(strcmp(found[n], found[2]) == 0))
                printf("  at most %zu wait, %zu:%s\n\nanew:%s\n", most[i], n, found[n], found[2]);
        CHECK(strstr(found[2], "code=c1: o") != NULL);
        for (size_t n = 0; n < 3; n++)
            free(found[n]);
        free(as_written);
        free(anew);
    }
    store = NULL;
}

static void test_a_second_program_is_refused(void)
{
    struct fhir_config config = {.path = path, .base_url = "https://vigil.example/fhir"};
    struct fhir_store *second = NULL;
    struct vg_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/two.db", dir);
    store_open();
    CHECK(fhir_open(&config, &second, &err) == VG_FATAL && strcmp(err.code, "fhir.locked") == 0);
    fhir_close(store);
    store_open(); /* a lock ends with who holds it */
    fhir_close(store);
    store = NULL;
}

/* ---- readers beside the writer ---- */

#define READERS 3
#define WRITES 400

static _Atomic int begun, committed;

static void *read_on(void *ctx)
{
    struct vg_arena own;
    bool *is_ok = ctx;

    vg_arena_init(&own, (size_t)64 << 20);
    while (committed < WRITES && *is_ok) {
        struct fhir_results results = {0};
        int before = committed;

        *is_ok = fhir_search(store, VG_SLICE("Observation"),
                             VG_SLICE("patient=Patient/p1&_summary=count"), &own, &results,
                             NULL) == VG_OK &&
                 (int)results.total >= before && (int)results.total <= begun;
        if (!*is_ok)
            printf("  %d found, %d to %d are there\n", (int)results.total, before, (int)begun);
        vg_arena_reset(&own);
    }
    vg_arena_fini(&own);
    return NULL;
}

/* While rows come, wait and settle, each snapshot holds every one that was committed before it. */
static void test_readers_see_what_was_committed(void)
{
    bool is_ok[READERS];
    pthread_t threads[READERS];

    sqlite_fresh_max = 20;
    (void)snprintf(path, sizeof(path), "%s/readers.db", dir);
    store_open();
    for (size_t i = 0; i < READERS; i++) {
        is_ok[i] = true;
        CHECK(pthread_create(&threads[i], NULL, read_on, &is_ok[i]) == 0);
    }
    for (int n = 0; n < WRITES; n++) {
        struct fhir_write write = {
            .what = FHIR_CREATE,
            .type = VG_SLICE("Observation"),
            .body = VG_SLICE("{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{"
                             "\"coding\":[{\"code\":\"c\"}]},\"subject\":{\"reference\":"
                             "\"Patient/p1\"},\"effectiveDateTime\":\"2026-03-14T10:00:00Z\"}")};
        struct fhir_written written;

        begun++;
        CHECK(fhir_commit(store, &write, 1, &arena, &written, NULL, NULL) == VG_OK);
        committed++;
        vg_arena_reset(&arena);
    }
    for (size_t i = 0; i < READERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(is_ok[i]);
    }
    fhir_close(store);
    store = NULL;
}

int main(void)
{
    char command[64];
    const char *const seeded = getenv("VIGIL_TEST_SEED");

    seed = seeded ? strtoull(seeded, NULL, 10) : 1;
    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        return 1;
    vg_arena_init(&arena, (size_t)64 << 20);
    RUN(test_the_index_is_what_it_would_be_anew);
    RUN(test_a_second_program_is_refused);
    RUN(test_readers_see_what_was_committed);
    vg_arena_fini(&arena);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    if (system(command) != 0)
        perror(dir);
    return vg_test_report();
}
