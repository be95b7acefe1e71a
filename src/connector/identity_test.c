/* identity_test.c -- whose a late reading is, when a device has changed hands. */
#include "connector/identity.h"

#include "base/clock.h"
#include "base/crypto.h"

#include "vg_test.h"

static struct fhir_store *store;
static struct vg_arena arena;

static void put(const char *type, const char *id, const char *body)
{
    struct fhir_write write = {.what = FHIR_UPDATE,
                               .type = vg_slice_of(type),
                               .id = vg_slice_of(id),
                               .body = vg_slice_of(body)};
    struct fhir_written written;

    CHECK(fhir_commit(store, &write, 1, &arena, &written, NULL, NULL) == VG_OK);
}

static void link_device(const char *device, const char *patient)
{
    struct vg_slice text =
        *patient ? vg_arena_printf(&arena,
                                   "{\"resourceType\":\"Device\",\"id\":\"%s\",\"identifier\":[{"
                                   "\"value\":\"%s\"}],\"patient\":{\"reference\":\"Patient/%s\"}}",
                                   device, device, patient)
                 : vg_arena_printf(&arena,
                                   "{\"resourceType\":\"Device\",\"id\":\"%s\",\"identifier\":[{"
                                   "\"value\":\"%s\"}]}",
                                   device, device);

    put("Device", device, text.ptr);
}

/* The patient, or the reason why none. */
static const char *whose(struct identity *identity, const char *device, int64_t time_us)
{
    struct measurement m = {.device_id = vg_slice_of(device), .occurrence_us = time_us};
    struct identity_answer answer;
    struct vg_err err = {0};

    identity_begin(identity);
    if (identity_resolve(identity, &m, &answer, &err) != VG_OK)
        return err.code;
    return vg_arena_dup(&arena, answer.patient).ptr;
}

static void test_a_late_reading_never_goes_to_the_next_patient(void)
{
    struct identity *identity = NULL;
    int64_t before_us, between_us;

    CHECK(identity_open(&(struct identity_config){.store = store}, &identity, NULL) == VG_OK);
    put("Patient", "p1", "{\"resourceType\":\"Patient\",\"id\":\"p1\"}");
    put("Patient", "p2", "{\"resourceType\":\"Patient\",\"id\":\"p2\"}");
    before_us = vg_now_us() - VG_HOUR_US;

    link_device("d1", "");
    CHECK(strcmp(whose(identity, "d1", before_us), "connector.identity") == 0);
    link_device("d1", "p1");
    /* It was nobody's before: a recording and a replayed letter may be older than the link. */
    CHECK(strcmp(whose(identity, "d1", before_us), "p1") == 0);
    between_us = vg_now_us();
    link_device("d1", "");
    link_device("d1", "p2");
    CHECK(strcmp(whose(identity, "d1", between_us), "connector.relinked") == 0);
    CHECK(strcmp(whose(identity, "d1", before_us), "connector.relinked") == 0);
    CHECK(strcmp(whose(identity, "d1", vg_now_us() + VG_SECOND_US), "p2") == 0);
    /* Back to the first: only from now on. */
    link_device("d1", "p1");
    CHECK(strcmp(whose(identity, "d1", between_us), "connector.relinked") == 0);
    CHECK(strcmp(whose(identity, "d1", vg_now_us() + VG_SECOND_US), "p1") == 0);
    identity_close(identity);
}

int main(void)
{
    char dir[] = "/tmp/vigil-identity-XXXXXX", path[64];

    vg_arena_init(&arena, 0);
    if (!CHECK(vg_crypto_init(NULL) == VG_OK) || !CHECK(mkdtemp(dir) != NULL))
        return vg_test_report();
    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    if (CHECK(fhir_open(&(struct fhir_config){.path = path, .base_url = "https://localhost/fhir"},
                        &store, NULL) == VG_OK)) {
        RUN(test_a_late_reading_never_goes_to_the_next_patient);
        fhir_close(store);
    }
    vg_arena_fini(&arena);
    return vg_test_report();
}
