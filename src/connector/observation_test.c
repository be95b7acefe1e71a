/* observation_test.c -- the fold from measurements to an Observation, in any split. */
#include "connector/group.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "connector/value.h"
#include "vg_test.h"

#define T0 INT64_C(1773482400000000) /* 2026-03-14T10:00:00Z */

static struct vg_arena mapping_arena;
static const struct fhir_mapping *mapping;

static const char templates[] =
    "{\"templateType\":\"CollectionFhir\",\"template\":["
    "{\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"hr\",\"codes\":[{\"code\":"
    "\"8867-4\",\"system\":\"http://loinc.org\"}],\"value\":{\"valueType\":\"Quantity\","
    "\"valueName\":\"hr\",\"unit\":\"/min\",\"code\":\"/min\",\"system\":"
    "\"http://unitsofmeasure.org\"}}},"
    "{\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"bp\",\"category\":[{\"text\":"
    "\"Vital\",\"codes\":[]}],\"codes\":[],\"components\":[{\"codes\":[{\"code\":\"8480-6\"}],"
    "\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"sys\",\"unit\":\"mmHg\"}},{\"codes\":[],"
    "\"value\":{\"valueType\":\"String\",\"valueName\":\"dia\"}}]}},"
    "{\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"wave\",\"periodInterval\":60,"
    "\"codes\":[],\"value\":{\"valueType\":\"SampledData\",\"valueName\":\"hr\",\"unit\":\"count\","
    "\"defaultPeriod\":60000},\"components\":[{\"codes\":[],\"value\":{\"valueType\":\"Quantity\","
    "\"valueName\":\"sys\"}}]}},"
    "{\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"run\",\"periodInterval\":-1,"
    "\"codes\":[],\"value\":{\"valueType\":\"SampledData\",\"valueName\":\"hr\",\"defaultPeriod\":"
    "1000.5},\"components\":[{\"codes\":[],\"value\":{\"valueType\":\"CodeableConcept\","
    "\"valueName\":\"dia\",\"text\":\"On\",\"codes\":[{\"code\":\"on\"}]}}]}},"
    "{\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"temp\",\"codes\":[{\"code\":"
    "\"8310-5\",\"system\":\"http://loinc.org\"}],\"value\":{\"valueType\":\"Quantity\","
    "\"valueName\":\"t\",\"unit\":\"[degF]\",\"code\":\"[degF]\",\"system\":"
    "\"http://unitsofmeasure.org\"}}},"
    "{\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"panel\",\"codes\":[{\"code\":"
    "\"85354-9\",\"system\":\"http://loinc.org\"}],\"components\":[{\"codes\":[{\"code\":"
    "\"8480-6\",\"system\":\"http://loinc.org\"}],\"value\":{\"valueType\":\"Quantity\","
    "\"valueName\":\"sys\"}},{\"codes\":[{\"code\":\"8462-4\",\"system\":\"http://loinc.org\"}],"
    "\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"dia\"}}]}}"
    "]}";

static void load_templates(bool is_medtech)
{
    struct mapping_errors errors = {
        .arena = &mapping_arena, .source = vg_slice_of(templates), .is_medtech = is_medtech};
    struct vg_err err = {0};

    if (!CHECK(fhir_mapping_load(&errors, &mapping, &err) == VG_OK)) {
        printf("  %s\n", err.text);
        exit(1);
    }
}

/* One made measurement: plain data, so that a sequence of them can be kept and played again. */
struct reading {
    const char *type;
    int64_t time_us, received_us;
    char hr[16], sys[16], dia[16]; /* "" = absent */
};

static struct measurement *make(struct vg_arena *arena, const struct reading *r)
{
    static const char *const names[] = {"hr", "sys", "dia", "t"};
    const char *const texts[] = {r->hr, r->sys, r->dia, r->hr};
    struct measurement *m = vg_arena_alloc(arena, sizeof(*m));
    struct measurement_value **tail = &m->values;

    m->type = vg_slice_of(r->type);
    m->device_id = VG_SLICE("bed-4");
    m->correlation_id = VG_SLICE("c/1");
    m->occurrence_us = r->time_us;
    m->ingestion_us = r->received_us;
    for (int i = 0; i < 4; i++) {
        struct measurement_value *v;

        if (!texts[i][0])
            continue;
        v = vg_arena_alloc(arena, sizeof(*v));
        v->name = vg_slice_of(names[i]);
        v->text = vg_slice_of(texts[i]);
        *tail = v;
        tail = &v->next;
    }
    return m;
}

/* ---- a store of texts ---- */

#define STORE_MAX 64

struct store {
    struct {
        char id[65];
        char *text;
        size_t len;
        uint64_t version;
    } rows[STORE_MAX];
    size_t count;
};

static void store_put(struct store *store, const char *id, const struct vg_buf *text)
{
    size_t i = 0;

    while (i < store->count && strcmp(store->rows[i].id, id) != 0)
        i++;
    if (i == store->count) {
        (void)snprintf(store->rows[i].id, 65, "%s", id);
        store->count++;
    }
    free(store->rows[i].text);
    store->rows[i].text = malloc(text->len);
    memcpy(store->rows[i].text, text->ptr, text->len);
    store->rows[i].len = text->len;
    store->rows[i].version++;
}

static void store_clear(struct store *store)
{
    for (size_t i = 0; i < store->count; i++)
        free(store->rows[i].text);
    store->count = 0;
    memset(store, 0, sizeof(*store));
}

/* What the stage does with a batch. The first error code, or NULL. */
static const char *play(struct store *store, const struct reading *readings, size_t count)
{
    struct group_table table = {0};
    struct vg_arena arena;
    struct vg_buf text;
    const char *code = NULL;

    vg_arena_init(&arena, 64u << 20);
    vg_buf_init(&text, 0);
    for (size_t i = 0; i < count; i++) {
        struct measurement *m = make(&arena, &readings[i]);
        struct observation *o;
        struct vg_err err = {0};
        bool is_new;

        if (!CHECK(group_open(&table, &arena, fhir_mapping_find(mapping, m->type), m,
                              VG_SLICE("p1"), VG_SLICE("d1"), &o, &is_new, &err) == VG_OK))
            break;
        if (is_new) {
            o->encounter = VG_SLICE("e1");
            for (size_t r = 0; r < store->count; r++)
                if (strcmp(store->rows[r].id, o->id) == 0 &&
                    observation_load(o, &arena,
                                     (struct vg_slice){store->rows[r].text, store->rows[r].len},
                                     store->rows[r].version, &err) != VG_OK &&
                    !code)
                    code = err.code;
        }
        if (observation_add(o, &arena, m, &err) != VG_OK && !code)
            code = err.code;
    }
    for (struct observation *o = table.first; o; o = o->next) {
        if (!o->is_changed)
            continue;
        vg_buf_clear(&text);
        observation_write(o, &text);
        store_put(store, o->id, &text);
    }
    vg_buf_fini(&text);
    vg_arena_fini(&arena);
    return code;
}

static bool has(const struct store *store, size_t row, const char *text)
{
    return row < store->count &&
           memmem(store->rows[row].text, store->rows[row].len, text, strlen(text)) != NULL;
}

static void test_instant(void)
{
    static const struct reading r = {"HR", T0 + 250000, T0 + 900000, "72.50", "", ""};
    static const char want[] =
        "{\"resourceType\":\"Observation\",\"id\":\"%.64s\",\"identifier\":[{\"system\":\"https://"
        "vigil.health/connector\",\"value\":\"p1/d1/20260314100000.250000Z/hr\"}],\"status\":"
        "\"final\",\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"8867-4\"}],"
        "\"text\":\"hr\"},\"subject\":{\"reference\":\"Patient/p1\"},\"encounter\":{\"reference\":"
        "\"Encounter/e1\"},\"effectiveDateTime\":\"2026-03-14T10:00:00.250Z\",\"issued\":"
        "\"2026-03-14T10:00:00.900Z\",\"device\":{\"reference\":\"Device/d1\"},\"valueQuantity\":{"
        "\"value\":72.50,\"unit\":\"/min\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"/min"
        "\"}}";
    struct store store = {.count = 0};
    char text[2048], hex[65], id[77];

    CHECK(play(&store, &r, 1) == NULL && store.count == 1);
    vg_sha256_hex(VG_SLICE("https://vigil.health/connector_p1/d1/20260314100000.250000Z/hr"), hex);
    /* 2026-03-14T10:00:00.250Z in milliseconds, then the hash. */
    (void)snprintf(id, sizeof(id), "%012llx%.52s", 1773482400250ULL, hex);
    CHECK(strcmp(store.rows[0].id, id) == 0);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof(text), want, id);
#pragma GCC diagnostic pop
    if (!CHECK(store.rows[0].len == strlen(text) &&
               memcmp(store.rows[0].text, text, strlen(text)) == 0))
        printf("  got  %.*s\n  want %s\n", (int)store.rows[0].len, store.rows[0].text, text);
    store_clear(&store);
}

static void test_rules(void)
{
    static const struct {
        const char *name;
        struct reading readings[4];
        size_t count;
        const char *code, *first; /* text in the first Observation */
        size_t observations;
    } rows[] = {
        {"two readings of one second are two Observations",
         {{"hr", T0, T0, "72", "", ""}, {"hr", T0 + 1, T0, "73", "", ""}},
         2,
         NULL,
         "\"value\":72",
         2},
        {"of one instant the one received later wins, and that is said",
         {{"hr", T0, T0, "72", "", ""}, {"hr", T0, T0 + 5, "70", "", ""}},
         2,
         NULL,
         "\"status\":\"amended\"",
         1},
        {"the value is the later one",
         {{"hr", T0, T0, "72", "", ""}, {"hr", T0, T0 + 5, "70", "", ""}},
         2,
         NULL,
         "\"value\":70",
         1},
        {"one received earlier does not replace",
         {{"hr", T0, T0 + 5, "70", "", ""}, {"hr", T0, T0, "72", "", ""}},
         2,
         NULL,
         "\"value\":70",
         1},
        {"the same again changes nothing",
         {{"hr", T0, T0, "72", "", ""}, {"hr", T0, T0 + 5, "72", "", ""}},
         2,
         NULL,
         "\"status\":\"final\"",
         1},
        {"components of one instant come together",
         {{"bp", T0, T0, "", "120", ""}, {"bp", T0, T0 + 1, "", "", "low"}},
         2,
         NULL,
         "\"value\":120,\"unit\":\"mmHg\"}},{\"code\":{\"text\":\"dia\"},\"valueString\":\"low\"",
         1},
        {"a category has its text",
         {{"bp", T0, T0, "", "120", ""}},
         1,
         NULL,
         "\"category\":[{\"text\":\"Vital\"}]",
         1},
        {"half a blood pressure says that the other half is not known",
         {{"panel", T0, T0, "", "120", ""}},
         1,
         NULL,
         "\"valueQuantity\":{\"value\":120}},{\"code\":{\"coding\":[{\"system\":\"http://"
         "loinc.org\","
         "\"code\":\"8462-4\"}],\"text\":\"dia\"},\"dataAbsentReason\":",
         1},
        {"the other half comes",
         {{"panel", T0, T0, "", "120", ""}, {"panel", T0, T0 + 1, "", "", "80"}},
         2,
         NULL,
         "\"text\":\"dia\"},\"valueQuantity\":{\"value\":80}}]",
         1},
        {"text is no quantity", {{"hr", T0, T0, "abc", "", ""}}, 1, "connector.quantity", NULL, 0},
        {"a decimal comma is no quantity",
         {{"hr", T0, T0, "36,8", "", ""}},
         1,
         "connector.quantity",
         NULL,
         0},
        {"nothing to say", {{"hr", T0, T0, "", "1", ""}}, 1, "connector.missing_value", NULL, 0},
        {"all or nothing of a measurement",
         {{"bp", T0, T0, "", "x", "low"}},
         1,
         "connector.quantity",
         NULL,
         0},
        {"text never enters SampledData",
         {{"wave", T0, T0, "7 E", "", ""}},
         1,
         "connector.quantity",
         NULL,
         0},
        {"samples stand in their slots, E between",
         {{"wave", T0, T0, "1", "", ""}, {"wave", T0 + 120000000, T0 + 1, "3", "", ""}},
         2,
         NULL,
         "\"period\":60000,\"dimensions\":1,\"data\":\"1 E 3 E",
         1},
        {"a late sample of a slot does not replace a newer one",
         {{"wave", T0 + 50000000, T0, "5", "", ""}, {"wave", T0 + 10000000, T0 + 1, "1", "", ""}},
         2,
         NULL,
         "\"data\":\"5 E",
         1},
        {"a newer sample of a slot does",
         {{"wave", T0 + 10000000, T0, "1", "", ""}, {"wave", T0 + 50000000, T0 + 1, "5", "", ""}},
         2,
         NULL,
         "\"data\":\"5 E",
         1},
        {"a period's quantity is the newest measured, not the last received",
         {{"wave", T0 + 50000000, T0, "", "9", ""}, {"wave", T0 + 10000000, T0 + 1, "", "8", ""}},
         2,
         NULL,
         "\"valueQuantity\":{\"value\":9}",
         1},
        {"an hour is a period",
         {{"wave", T0 + 7, T0, "1", "", ""}},
         1,
         NULL,
         "\"effectivePeriod\":{\"start\":\"2026-03-14T10:00:00.000Z\",\"end\":\"2026-03-14T10:59:"
         "59."
         "999999Z\"}",
         1},
        {"a correlation id gathers",
         {{"run", T0, T0, "1", "", ""}, {"run", T0 + 3000000, T0, "2", "", "on"}},
         2,
         NULL,
         "\"period\":1000.500,\"dimensions\":1,\"data\":\"1 E E 2\"",
         1},
        {"a concept says what the template says",
         {{"run", T0, T0, "", "", "x"}},
         1,
         NULL,
         "\"valueCodeableConcept\":{\"coding\":[{\"code\":\"on\"}],\"text\":\"On\"}",
         1},
        {"the correlation id cannot pass for another part",
         {{"run", T0, T0, "", "", "x"}},
         1,
         NULL,
         "\"value\":\"p1/d1/c.c%2F1/run\"",
         1},
        {"a correlation id over years of samples is refused",
         {{"run", T0, T0, "1", "", ""}, {"run", T0 + 200 * VG_DAY_US, T0, "2", "", ""}},
         2,
         "connector.sampled_size",
         "\"data\":\"1\"",
         1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct store store = {.count = 0};
        const char *code;

        CHECK_ROW(rows[i].name);
        code = play(&store, rows[i].readings, rows[i].count);
        CHECK(rows[i].code ? code && strcmp(code, rows[i].code) == 0 : code == NULL);
        if (!CHECK(store.count == rows[i].observations) ||
            (rows[i].first && !CHECK(has(&store, 0, rows[i].first))))
            printf("  got %zu: %.*s\n", store.count, (int)store.rows[0].len, store.rows[0].text);
        store_clear(&store);
    }
}

static void test_stored_by_others(void)
{
    static const char *const bodies[] = {
        "{\"status\":\"entered-in-error\",\"issued\":\"2026-03-14T10:00:00Z\"}",
        "{\"status\":\"corrected\",\"issued\":\"2026-03-14T10:00:00Z\"}",
        "{\"status\":\"final\",\"issued\":\"2026-03-14T10:00:00Z\",\"valueString\":\"x\"}",
        "{\"status\":\"final\",\"issued\":\"2026-03-14T10:00:00Z\",\"effectivePeriod\":{}}",
        "{\"status\":\"final\"}",
        "{",
    };
    static const struct reading r = {"hr", T0, T0, "72", "", ""};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct store store = {.count = 0};
        struct vg_buf text;
        const char *code;

        CHECK_ROW(bodies[i]);
        vg_buf_init(&text, 0);
        vg_buf_put(&text, vg_slice_of(bodies[i]));
        (void)play(&store, &r, 1);
        store_put(&store, store.rows[0].id, &text);
        code = play(&store, &r, 1);
        CHECK(code && strcmp(code, "connector.stored") == 0);
        CHECK(store.rows[0].version == 2); /* left alone */
        vg_buf_fini(&text);
        store_clear(&store);
    }
}

static void test_others_additions_stay(void)
{
    static const struct reading first = {"wave", T0, T0, "1", "", ""};
    static const struct reading second = {"wave", T0 + 60000000, T0 + 1, "2", "", ""};
    static const char added[] = ",\"note\":[{\"text\":\"by \\\"A\\\"\"}],\"extension\":[{\"url\":"
                                "\"urn:x\",\"valueCode\":\"y\"}],\"meta\":{\"versionId\":\"1\","
                                "\"lastUpdated\":\"z\",\"tag\":[]}}";
    struct store store = {.count = 0};
    struct vg_buf text;

    vg_buf_init(&text, 0);
    (void)play(&store, &first, 1);
    vg_buf_put(&text, (struct vg_slice){store.rows[0].text, store.rows[0].len - 1});
    vg_buf_put(&text, vg_slice_of(added));
    store_put(&store, store.rows[0].id, &text);
    CHECK(play(&store, &second, 1) == NULL);
    CHECK(has(&store, 0, "\"data\":\"1 2 E"));
    CHECK(has(&store, 0, ",\"note\":[{\"text\":\"by \\\"A\\\"\"}],\"meta\":{"));
    CHECK(has(&store, 0, "\"extension\":[{\"url\":\"urn:x\",\"valueCode\":\"y\"}],\"identifier\""));
    vg_buf_fini(&text);
    store_clear(&store);
}

/* ---- any split into batches, any batch again, any order: the same bytes ---- */

static uint64_t rng;

static uint32_t draw(uint32_t below)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)((rng >> 20) % below);
}

#define READINGS 60

static void make_sequence(struct reading *readings)
{
    static const char *const types[] = {"hr", "bp", "wave", "run", "panel"};
    int64_t received_us = T0;

    for (size_t i = 0; i < READINGS; i++) {
        struct reading *r = &readings[i];

        *r = (struct reading){.type = types[draw(5)]};
        received_us += draw(3) * 1000; /* two may be received at once */
        r->received_us = received_us;
        if (strcmp(r->type, "wave") == 0)
            r->time_us =
                T0 + (int64_t)draw(7000) * 777777 + (int64_t)i; /* no two samples at once */
        else if (strcmp(r->type, "run") == 0)
            r->time_us = T0 + 5000000 + (int64_t)draw(60) * 123457 + (int64_t)i;
        else
            r->time_us = T0 + (int64_t)draw(5) * 400000;
        if (draw(4))
            (void)snprintf(r->hr, sizeof(r->hr), "%u.%u", 60 + draw(3), draw(2));
        if (draw(3))
            (void)snprintf(r->sys, sizeof(r->sys), "%u", 120 + draw(3));
        if (draw(3))
            (void)snprintf(r->dia, sizeof(r->dia), "%u", draw(3));
    }
}

static bool same_store(const struct store *a, const struct store *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        bool found = false;

        for (size_t k = 0; k < b->count; k++)
            if (strcmp(a->rows[i].id, b->rows[k].id) == 0) {
                found = a->rows[i].len == b->rows[k].len &&
                        memcmp(a->rows[i].text, b->rows[k].text, a->rows[i].len) == 0;
                if (!found)
                    printf("  %.*s\n  %.*s\n", (int)a->rows[i].len, a->rows[i].text,
                           (int)b->rows[k].len, b->rows[k].text);
            }
        if (!found)
            return false;
    }
    return true;
}

/* Every reading comes late by at most `lateness` places, and some come twice. */
static size_t rearrange(const struct reading *readings, struct reading *ret, uint32_t lateness)
{
    static uint32_t places[2 * READINGS];
    size_t count = 0;

    for (uint32_t i = 0; i < READINGS; i++)
        for (uint32_t k = 0; k < 1u + (draw(4) == 0); k++) {
            uint32_t place = i + draw(lateness + 1);
            size_t at = count++;

            for (; at > 0 && places[at - 1] > place; at--) {
                places[at] = places[at - 1];
                ret[at] = ret[at - 1];
            }
            places[at] = place;
            ret[at] = readings[i];
        }
    return count;
}

/* In any batches, some of which are worked on and come again. */
static void play_split(struct store *store, const struct reading *readings, size_t total)
{
    for (size_t at = 0; at < total;) {
        size_t count = 1 + draw(10);

        if (count > total - at)
            count = total - at;
        (void)play(store, readings + at, count);
        if (draw(3)) /* else: written, not committed: it comes again, split anew */
            at += count;
    }
}

static void test_any_order_same_bytes(void)
{
    static struct reading readings[READINGS], late[2 * READINGS];
    static const uint32_t lateness[] = {0, 3, 20, READINGS};

    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct store whole = {.count = 0};

        rng = seed * 0x9e3779b97f4a7c15u;
        make_sequence(readings);
        (void)play(&whole, readings, READINGS);
        for (size_t i = 0; i < sizeof(lateness) / sizeof(lateness[0]); i++) {
            struct store other = {.count = 0};

            play_split(&other, late, rearrange(readings, late, lateness[i]));
            if (!CHECK(same_store(&whole, &other))) {
                printf("  seed %llu, lateness %u\n", (unsigned long long)seed, lateness[i]);
                seed = 1000;
            }
            store_clear(&other);
        }
        store_clear(&whole);
    }
}

static void test_any_order_as_medtech(void)
{
    load_templates(true);
    test_any_order_same_bytes();
    load_templates(false);
}

static void test_values_header(void)
{
    static const struct {
        struct reading r;
        const char *want;
    } rows[] = {
        {{"hr", T0, T0, "72.50", "", ""},
         "[{\"name\":\"hr\",\"system\":\"http://loinc.org\",\"code\":\"8867-4\",\"value\":72.50,"
         "\"unit\":\"/min\"}]"},
        {{"bp", T0, T0, "", "120", "low"},
         "[{\"name\":\"sys\",\"code\":\"8480-6\",\"value\":120,\"unit\":\"mmHg\"}]"},
        {{"temp", T0, T0, "98.6", "", ""},
         "[{\"name\":\"t\",\"system\":\"http://"
         "loinc.org\",\"code\":\"8310-5\",\"value\":37,\"unit\":"
         "\"Cel\"}]"},
        {{"hr", T0, T0, "", "", ""}, "[]"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_arena arena;
        struct vg_buf out;

        vg_arena_init(&arena, 0);
        vg_buf_init(&out, 0);
        const struct measurement *m = make(&arena, &rows[i].r);

        observation_write_values(fhir_mapping_find(mapping, m->type), m, &out);
        if (!CHECK(vg_slice_is(vg_buf_slice(&out), rows[i].want)))
            printf("  got %.*s\n", (int)out.len, out.ptr);
        vg_buf_fini(&out);
        vg_arena_fini(&arena);
    }
}

static void test_normalized_form(void)
{
    static const struct reading r = {"hr", T0, T0 + 1250000, "72", "", "a\"b"};
    struct vg_arena arena;
    struct vg_buf out;

    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 0);
    struct measurement *m = make(&arena, &r);

    m->correlation_id = (struct vg_slice){0};
    m->values->next->next = NULL; /* without "t" */
    measurement_write(&out, m);
    CHECK(vg_slice_is(
        vg_buf_slice(&out),
        "{\"Type\":\"hr\",\"OccurrenceTimeUtc\":\"2026-03-14T10:00:00Z\","
        "\"IngestionTimeUtc\":\"2026-03-14T10:00:01.25Z\",\"DeviceId\":\"bed-4\","
        "\"PatientId\":null,\"EncounterId\":null,\"CorrelationId\":null,\"Properties\":"
        "[{\"Name\":\"hr\",\"Value\":\"72\"},{\"Name\":\"dia\",\"Value\":\"a\\\"b\"}]}"));
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
}

/* The form of the reference engine: its identifiers, a period always, a coding of its own. */
static void test_medtech(void)
{
    static const struct {
        const char *name;
        struct reading readings[3];
        size_t count;
        const char *id, *want; /* a part of the text */
    } rows[] = {
        {"an instant",
         {{"hr", T0 + 250000, T0, "72", "", ""}},
         1,
         "385a4e12ef0a4b3c9994b31b3dee2cc9009991640a37bc69c4dad890f03f98e7",
         "\"identifier\":[{\"system\":\"" FHIR_MEDTECH_SYSTEM
         "\",\"value\":\"p1.d1.hr.20260314100000Z.20260314100000Z\"}],\"status\":\"final\","
         "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"8867-4\"},{\"system\":"
         "\"" FHIR_MEDTECH_SYSTEM "\",\"code\":\"hr\",\"display\":\"hr\"}],\"text\":\"hr\"},"
         "\"subject\":{\"reference\":\"Patient/p1\"},\"encounter\":{\"reference\":\"Encounter/"
         "e1\"},"
         "\"effectivePeriod\":{\"start\":\"2026-03-14T10:00:00.2500000Z\",\"end\":"
         "\"2026-03-14T10:00:00.2500000Z\"}"},
        {"two readings of a second: the later one, and both times",
         {{"hr", T0 + 700000, T0, "73", "", ""}, {"hr", T0 + 250000, T0 + 1, "72", "", ""}},
         2,
         "385a4e12ef0a4b3c9994b31b3dee2cc9009991640a37bc69c4dad890f03f98e7",
         "\"effectivePeriod\":{\"start\":\"2026-03-14T10:00:00.2500000Z\",\"end\":"
         "\"2026-03-14T10:00:00.7000000Z\"},\"issued\":\"2026-03-14T10:00:00.000001Z\",\"device\":{"
         "\"reference\":\"Device/d1\"},\"valueQuantity\":{\"value\":73,"},
        {"an hour",
         {{"wave", T0, T0, "72", "", ""}},
         1,
         "0b4d5dacc11813a26946eeaeb9b160061eb881c15142721ea04cab2c2ed2f675",
         "\"effectivePeriod\":{\"start\":\"2026-03-14T10:00:00.0000000Z\",\"end\":"
         "\"2026-03-14T10:59:59.9999999Z\"}"},
        {"a correlation id",
         {{"run", T0, T0, "72", "", ""}},
         1,
         "a775a1af4aae348cdc1855408ec3bfafa0d57dd912fb19b7c5cbc231647c51a8",
         "\"value\":\"p1.d1.run.c/1\"}"},
        {"thousands",
         {{"hr", T0, T0, "1,072", "", ""}},
         1,
         "385a4e12ef0a4b3c9994b31b3dee2cc9009991640a37bc69c4dad890f03f98e7",
         "\"valueQuantity\":{\"value\":1072,"},
    };

    load_templates(true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int is_split = 0; is_split < 2; is_split++) { /* and read back in between */
            struct store store = {.count = 0};
            static char text[4096];

            CHECK_ROW(rows[i].name);
            if (is_split)
                for (size_t k = 0; k < rows[i].count; k++)
                    CHECK(play(&store, &rows[i].readings[k], 1) == NULL);
            else
                CHECK(play(&store, rows[i].readings, rows[i].count) == NULL);
            CHECK(store.count == 1);
            (void)snprintf(text, sizeof(text), "%.*s", (int)store.rows[0].len, store.rows[0].text);
            CHECK(strcmp(store.rows[0].id, rows[i].id) == 0);
            if (!CHECK(strstr(text, rows[i].want) != NULL))
                printf("  got %s\n", text);
            store_clear(&store);
        }

    static const struct reading exponent = {"hr", T0, T0, "1E+2", "", ""};
    static const struct reading empty = {"hr", T0, T0, "", "", ""};
    struct store store = {.count = 0};
    const char *code = play(&store, &exponent, 1);

    CHECK_ROW("an exponent is refused");
    CHECK(code && strcmp(code, "connector.quantity") == 0 && store.count == 0);
    CHECK_ROW("without its value it is written all the same");
    CHECK(play(&store, &empty, 1) == NULL && store.count == 1);
    store_clear(&store);
}

int main(void)
{
    vg_arena_init(&mapping_arena, 0);
    load_templates(false);
    RUN(test_instant);
    RUN(test_rules);
    RUN(test_stored_by_others);
    RUN(test_others_additions_stay);
    RUN(test_any_order_same_bytes);
    RUN(test_any_order_as_medtech);
    RUN(test_values_header);
    RUN(test_normalized_form);
    RUN(test_medtech);
    vg_arena_fini(&mapping_arena);
    return vg_test_report();
}
