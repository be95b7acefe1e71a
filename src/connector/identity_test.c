/* identity_test.c -- whose a reading is: by mode, and when a device has changed hands. */
#include "connector/identity.h"

#include "base/clock.h"
#include "base/crypto.h"

#include "fhir_store.h"
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
    while (vg_now_us() < between_us + 2000) {
        /* a server's times may have milliseconds only: the next link is made in a later one */
    }
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

/* "patient/encounter", or the reason why none. */
static const char *who(struct identity *identity, const char *device, const char *patient,
                       const char *encounter)
{
    struct measurement m = {.device_id = vg_slice_of(device),
                            .patient_id = vg_slice_of(patient),
                            .encounter_id = vg_slice_of(encounter),
                            .occurrence_us = vg_now_us() + VG_SECOND_US};
    struct identity_answer answer;
    struct vg_err err = {0};

    identity_begin(identity);
    if (identity_resolve(identity, &m, &answer, &err) != VG_OK)
        return err.code;
    return vg_arena_printf(&arena, "%.*s/%.*s", VG_FMT(answer.patient), VG_FMT(answer.encounter))
        .ptr;
}

static void put_encounter(const char *id, const char *patient, const char *status)
{
    put("Encounter", id,
        vg_arena_printf(&arena,
                        "{\"resourceType\":\"Encounter\",\"id\":\"%s\",\"identifier\":[{"
                        "\"value\":\"V-%s\"}],\"status\":\"%s\",\"class\":{\"code\":\"IMP\"},"
                        "\"subject\":{\"reference\":\"Patient/%s\"}}",
                        id, id, status, patient)
            .ptr);
}

static const struct {
    const char *name, *device, *patient, *encounter;
    const char *lookup, *with_encounter, *medtech; /* medtech: lookup with is_medtech */
} modes[] = {
    {"an Encounter that the message names", "e-1", NULL, "V-enc-1", "p1/enc-1", "p1/enc-1",
     "p1/enc-1"},
    {"no encounter id", "e-1", NULL, NULL, "p1/enc-1", "connector.identity", "p1/"},
    {"a blank encounter id is none", "e-1", NULL, "  ", "p1/enc-1", "connector.identity", "p1/"},
    {"an Encounter that nobody knows", "e-1", NULL, "V-none", "connector.identity",
     "connector.identity", "connector.identity"},
    {"another patient's Encounter", "e-1", NULL, "V-enc-2", "connector.mismatch",
     "connector.mismatch", "connector.mismatch"},
    {"an Encounter that was a mistake", "e-1", NULL, "V-enc-3", "connector.identity",
     "connector.identity", "connector.identity"},
    {"an unknown device is told before a missing encounter id", "e-none", NULL, NULL,
     "connector.identity", "connector.identity", "connector.identity"},
    {"another patient than the device's", "e-1", "p2", "V-enc-1", "connector.mismatch",
     "connector.mismatch", "connector.mismatch"},
    {"the device's patient by name", "e-1", "p1", "V-enc-1", "p1/enc-1", "p1/enc-1", "p1/enc-1"},
};

static void test_modes(void)
{
    const struct identity_config configs[] = {
        {.store = store},
        {.store = store, .mode = IDENTITY_LOOKUP_WITH_ENCOUNTER},
        {.store = store, .is_medtech = true}};
    enum identity_mode mode;

    put("Patient", "p1", "{\"resourceType\":\"Patient\",\"id\":\"p1\"}");
    put("Patient", "p2", "{\"resourceType\":\"Patient\",\"id\":\"p2\"}");
    link_device("e-1", "p1");
    put_encounter("enc-1", "p1", "in-progress");
    put_encounter("enc-2", "p2", "in-progress");
    put_encounter("enc-3", "p1", "entered-in-error");
    for (int k = 0; k < 3; k++) {
        struct identity *identity = NULL;

        CHECK(identity_open(&configs[k], &identity, NULL) == VG_OK);
        for (size_t i = 0; i < 2 * sizeof(modes) / sizeof(modes[0]); i++) { /* twice: the cache */
            size_t row = i % (sizeof(modes) / sizeof(modes[0]));
            const char *want = k == 0   ? modes[row].lookup
                               : k == 1 ? modes[row].with_encounter
                                        : modes[row].medtech;

            CHECK_ROW(modes[row].name);
            CHECK(strcmp(who(identity, modes[row].device, modes[row].patient, modes[row].encounter),
                         want) == 0);
        }
        identity_close(identity);
    }
    CHECK(identity_mode_of("lookup-with-encounter", &mode) &&
          mode == IDENTITY_LOOKUP_WITH_ENCOUNTER);
    CHECK(identity_mode_of(NULL, &mode) && mode == IDENTITY_LOOKUP);
    CHECK(!identity_mode_of("Lookup", &mode));
}

/* What the cache says is forgotten as soon as one of the three resources changes. */
static void test_changes_are_seen(void)
{
    struct identity *identity = NULL;
    const struct identity_config config = {.store = store, .mode = IDENTITY_LOOKUP_WITH_ENCOUNTER};

    CHECK(identity_open(&config, &identity, NULL) == VG_OK);
    put("Patient", "p1", "{\"resourceType\":\"Patient\",\"id\":\"p1\"}");
    put("Patient", "p2", "{\"resourceType\":\"Patient\",\"id\":\"p2\"}");
    link_device("c-1", "p1");
    CHECK(strcmp(who(identity, "c-1", NULL, "V-c1"), "connector.identity") == 0);
    put_encounter("c1", "p1", "in-progress");
    CHECK(strcmp(who(identity, "c-1", NULL, "V-c1"), "p1/c1") == 0);
    put_encounter("c1", "p2", "in-progress");
    CHECK(strcmp(who(identity, "c-1", NULL, "V-c1"), "connector.mismatch") == 0);
    link_device("c-1", "p2");
    CHECK(strcmp(who(identity, "c-1", NULL, "V-c1"), "p2/c1") == 0);
    /* One device, two encounter ids, two patient ids: as many answers. */
    put_encounter("c2", "p2", "finished");
    CHECK(strcmp(who(identity, "c-1", NULL, "V-c2"), "p2/c2") == 0);
    CHECK(strcmp(who(identity, "c-1", NULL, "V-c1"), "p2/c1") == 0);
    CHECK(strcmp(who(identity, "c-1", "p1", "V-c1"), "connector.mismatch") == 0);
    CHECK(strcmp(who(identity, "c-1", "p2", "V-c1"), "p2/c1") == 0);
    identity_close(identity);
}

int main(void)
{
    char dir[] = "/tmp/vigil-identity-XXXXXX", path[64];

    vg_arena_init(&arena, 0);
    if (!CHECK(vg_crypto_init(NULL) == VG_OK) || !CHECK(mkdtemp(dir) != NULL))
        return vg_test_report();
    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    if (CHECK(test_fhir_open(
                  &(struct fhir_config){.path = path, .base_url = "https://localhost/fhir"}, &store,
                  NULL) == VG_OK)) {
        RUN(test_a_late_reading_never_goes_to_the_next_patient);
        RUN(test_modes);
        RUN(test_changes_are_seen);
        fhir_close(store);
    }
    vg_arena_fini(&arena);
    return vg_test_report();
}
