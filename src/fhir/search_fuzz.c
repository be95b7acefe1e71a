/* search_fuzz.c -- any query text is answered or refused, and its own self and next links are
 * understood. The store is small and stays the same. */
#include "base/crypto.h"
#include "fhir/fhir_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const bodies[][2] = {
    {"Patient",
     "{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:m\",\"value\":\"1\"}],"
     "\"name\":[{\"family\":\"A\"}],\"gender\":\"male\",\"birthDate\":\"1950-01\"}"},
    {"Observation",
     "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"coding\":[{\"system\":"
     "\"urn:l\","
     "\"code\":\"1\"}]},\"subject\":{\"reference\":\"Patient/"
     "x\"},\"effectiveDateTime\":\"2026-03-14\","
     "\"component\":[{\"code\":{\"coding\":[{\"code\":\"2\"}]},\"valueQuantity\":{\"value\":1}}],"
     "\"valueQuantity\":{\"value\":5,\"system\":\"u\",\"code\":\"m\"}}"},
    {"Flag",
     "{\"resourceType\":\"Flag\",\"status\":\"active\",\"code\":{\"text\":\"t\"},\"subject\":{"
     "\"reference\":\"Patient/x\"},\"period\":{\"start\":\"2026-01-01\"}}"},
};

static struct fhir_store *store;
static struct vg_arena arena;

static void remove_store(void)
{
    char name[80];

    fhir_close(store);
    vg_arena_fini(&arena);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "/tmp/vigil-search-fuzz-%d.db%s", (int)getpid(),
                       (const char *[]){"", "-wal", "-shm"}[i]);
        (void)unlink(name);
    }
}

static void make_store(void)
{
    char path[80];
    struct fhir_config config = {.path = path, .base_url = "https://x/fhir"};

    (void)snprintf(path, sizeof(path), "/tmp/vigil-search-fuzz-%d.db", (int)getpid());
    if (vg_crypto_init(NULL) != VG_OK || fhir_open(&config, &store, NULL) != VG_OK ||
        atexit(remove_store) != 0)
        abort();
    vg_arena_init(&arena, 0);
    for (size_t i = 0; i < 9; i++) {
        struct fhir_write write = {.what = FHIR_UPDATE,
                                   .type = vg_slice_of(bodies[i % 3][0]),
                                   .id = (struct vg_slice){&"xyz"[i / 3], 1},
                                   .body = vg_slice_of(bodies[i % 3][1])};
        struct fhir_written written;

        if (fhir_commit(store, &write, 1, &arena, &written, NULL, NULL) != VG_OK)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"Patient", "Observation", "Flag", "Device"};
    struct fhir_results results, again;
    struct vg_err err = {0};
    enum vg_status st;

    if (!store)
        make_store();
    if (size < 1 || size > 4000)
        return 0;
    unsigned any = 1 + data[0] % fhir_type_count();
    struct vg_slice type = vg_slice_of(data[0] < 128 ? types[data[0] % 4] : fhir_type_name(any));
    struct vg_slice query = {(const char *)data + 1, size - 1};

    vg_arena_reset(&arena);
    st = fhir_search(store, type, query, &arena, &results, &err);
    if (st != VG_OK && !err.code)
        abort();
    if (st == VG_FATAL)
        abort(); /* a query must never look like a broken store */
    if (st == VG_OK) {
        /* The self link asks for the same. */
        if (fhir_search(store, type, results.self_query, &arena, &again, &err) != VG_OK ||
            (!memmem(query.ptr, query.len, "_after", 6) && again.count != results.count))
            abort();
        if (results.next_query.ptr &&
            (fhir_search(store, type, results.next_query, &arena, &again, &err) != VG_OK ||
             again.match_count == 0))
            abort();
    }
    vg_arena_reset(&arena);
    if (fhir_lastn(store, query, &arena, &results, &err) == VG_FATAL)
        abort();
    return 0;
}
