/* enrich.c -- see enrich.h.
 *
 * WHAT IS KEPT, AND FOR HOW LONG
 *
 * A patient's facts are kept as long as nothing in FHIR changed that could change them: each entry
 * remembers how often Patient, Encounter, Location and Flag had changed when it was made, and an
 * entry with an older count is made anew. So nothing is stale, and while nobody writes to FHIR but
 * devices, a measurement costs no query. Alert writes Flags now and then: for those only the oxygen
 * order is asked again.
 *
 * THE OXYGEN SCALE
 *
 * Scale 2 of NEWS2 is a clinician's order, so it is taken from an active Flag with our own code and
 * from nothing else.
 */
#include "enrich/enrich.h"

#include "base/json.h"
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

#define PATIENTS_MAX 20000
#define FACTS_BYTES_MAX 8192 /* a name of a kilobyte is somebody's mistake */
#define BATCH_ARENA_SIZE (64u << 20)
#define SCALE_2_CODE "https://vigil.health/codes|spo2-scale-2"

enum watched { WATCH_PATIENT, WATCH_ENCOUNTER, WATCH_LOCATION, WATCH_FLAG, WATCH_COUNT };
static const char *const watched_types[] = {"Patient", "Encounter", "Location", "Flag"};

/* What FHIR says of one patient, as pieces of the record to come. */
struct facts {
    uint64_t changes[WATCH_COUNT];
    bool has_patient; /* else: there is no such Patient */
    int64_t birth_us;
    bool has_birth;
    int oxygen_scale;
    struct vg_buf texts; /* holds the slices below, one after the other */
    struct vg_slice birth_date, gender, name, identifier, encounter_id, location, unit;
};

struct enrich {
    struct enrich_config config;
    struct vg_map patients; /* id -> struct facts */
    struct vg_arena arena;  /* for one batch */
    struct vg_buf value, headers;
};

static void facts_free(void *value)
{
    struct facts *facts = value;

    vg_buf_fini(&facts->texts);
    free(facts);
}

/* ---- reading FHIR ---- */

static enum vg_status parse_resource(struct enrich *enrich, const struct fhir_resource *resource,
                                     struct vg_json **ret_json, struct vg_err *err)
{
    enum vg_status st = vg_json_parse(&enrich->arena, resource->body, NULL, ret_json, NULL, err);

    if (st == VG_REJECT)
        st = vg_fail(err, VG_FATAL, "enrich.fhir", 0, "the store gave a %.*s that is not JSON",
                     VG_FMT(resource->type));
    return st;
}

/* VG_END: not there, or deleted. */
static enum vg_status read_json(struct enrich *enrich, const char *type, struct vg_slice id,
                                struct vg_json **ret_json, struct vg_err *err)
{
    struct fhir_resource resource;
    enum vg_status st =
        fhir_read(enrich->config.store, vg_slice_of(type), id, 0, &enrich->arena, &resource, err);

    if (st == VG_OK && resource.is_deleted)
        st = VG_END;
    return st == VG_OK ? parse_resource(enrich, &resource, ret_json, err) : st;
}

/* "Location/x" -> "x"; empty when it is a reference to something else. */
static struct vg_slice reference_id(const struct vg_json *reference, const char *type)
{
    struct vg_slice text = vg_json_get_text(reference, "reference");
    struct vg_slice head = vg_slice_cut(&text, '/');

    return vg_slice_is(head, type) ? text : (struct vg_slice){0};
}

/* The official name, else the first: its text, else given names and family name. */
static struct vg_slice full_name(struct enrich *enrich, const struct vg_json *patient)
{
    const struct vg_json *names = vg_json_get(patient, "name");
    const struct vg_json *name = vg_json_at(names, 0), *given;
    struct vg_slice result;
    struct vg_buf out;

    for (const struct vg_json *n = names ? names->child : NULL; n; n = n->next) {
        if (vg_slice_is(vg_json_get_text(n, "use"), "official")) {
            name = n;
            break;
        }
    }
    if (vg_json_get_text(name, "text").len)
        return vg_json_get_text(name, "text");
    vg_buf_init(&out, FACTS_BYTES_MAX);
    given = vg_json_get(name, "given");
    for (const struct vg_json *g = given ? given->child : NULL; g; g = g->next) {
        vg_buf_put(&out, vg_json_text(g));
        vg_buf_put_byte(&out, ' ');
    }
    vg_buf_put(&out, vg_json_get_text(name, "family"));
    result = vg_arena_dup(&enrich->arena, vg_slice_trim(vg_buf_slice(&out)));
    vg_buf_fini(&out);
    return result;
}

/* The active place of the stay, else its last. */
static const struct vg_json *current_place(const struct vg_json *encounter)
{
    const struct vg_json *places = vg_json_get(encounter, "location"), *found = NULL;

    for (const struct vg_json *p = places ? places->child : NULL; p; p = p->next) {
        found = p;
        if (vg_slice_is(vg_json_get_text(p, "status"), "active"))
            break;
    }
    return vg_json_get(found, "location");
}

static enum vg_status read_place(struct enrich *enrich, const struct vg_json *encounter,
                                 struct facts *facts, struct vg_err *err)
{
    struct vg_slice id = reference_id(current_place(encounter), "Location"), name, unit_id;
    struct vg_json *place, *unit;
    enum vg_status st;

    if (!id.len)
        return VG_OK;
    st = read_json(enrich, "Location", id, &place, err);
    if (st != VG_OK)
        return st == VG_END ? VG_OK : st;
    name = facts->unit = facts->location = vg_json_get_text(place, "name");
    unit_id = reference_id(vg_json_get(place, "partOf"), "Location");
    if (!unit_id.len)
        return VG_OK;
    st = read_json(enrich, "Location", unit_id, &unit, err);
    if (st != VG_OK)
        return st == VG_END ? VG_OK : st;
    facts->unit = vg_json_get_text(unit, "name");
    facts->location =
        vg_arena_printf(&enrich->arena, "%.*s, %.*s", VG_FMT(facts->unit), VG_FMT(name));
    return VG_OK;
}

static enum vg_status search(struct enrich *enrich, const char *type, struct vg_slice query,
                             struct fhir_results *ret_results, struct vg_err *err)
{
    if (!query.ptr)
        return vg_fail(err, VG_RETRY, "enrich.memory", ENOMEM, "query");
    return fhir_search(enrich->config.store, vg_slice_of(type), query, &enrich->arena, ret_results,
                       err);
}

static enum vg_status read_encounter(struct enrich *enrich, struct vg_slice patient_id,
                                     struct facts *facts, struct vg_err *err)
{
    struct fhir_results results = {0};
    struct vg_json *encounter;
    enum vg_status st = search(
        enrich, "Encounter",
        vg_arena_printf(&enrich->arena, "patient=%.*s&status=in-progress&_sort=-date&_count=1",
                        VG_FMT(patient_id)),
        &results, err);

    if (st != VG_OK || results.match_count == 0)
        return st;
    facts->encounter_id = results.resources[0].id;
    st = parse_resource(enrich, &results.resources[0], &encounter, err);
    return st == VG_OK ? read_place(enrich, encounter, facts, err) : st;
}

static enum vg_status read_oxygen_scale(struct enrich *enrich, struct vg_slice patient_id,
                                        struct facts *facts, struct vg_err *err)
{
    struct fhir_results results = {0};
    enum vg_status st = search(
        enrich, "Flag",
        vg_arena_printf(&enrich->arena, "patient=%.*s&status=active&code=" SCALE_2_CODE "&_count=1",
                        VG_FMT(patient_id)),
        &results, err);

    if (st == VG_OK)
        facts->oxygen_scale = results.match_count > 0 ? 2 : 1;
    return st;
}

/* ---- facts ---- */

/* The slices point into the batch's arena: copy them into the entry's own memory. */
static enum vg_status keep_texts(struct facts *facts, struct vg_err *err)
{
    struct vg_slice *const slices[] = {&facts->birth_date, &facts->gender,       &facts->name,
                                       &facts->identifier, &facts->encounter_id, &facts->location,
                                       &facts->unit};
    size_t offsets[sizeof(slices) / sizeof(slices[0])];

    vg_buf_clear(&facts->texts);
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++) {
        offsets[i] = facts->texts.len;
        vg_buf_put(&facts->texts, *slices[i]);
    }
    if (!vg_buf_ok(&facts->texts))
        return vg_fail(err, VG_REJECT, "enrich.size", 0,
                       "the patient's facts take more than %d bytes", FACTS_BYTES_MAX);
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++)
        slices[i]->ptr = slices[i]->len ? facts->texts.ptr + offsets[i] : NULL;
    return VG_OK;
}

static enum vg_status read_facts(struct enrich *enrich, struct vg_slice patient_id,
                                 struct facts *facts, struct vg_err *err)
{
    struct vg_json *patient;
    enum vg_status st = read_json(enrich, "Patient", patient_id, &patient, err);

    if (st == VG_END) {
        facts->has_patient = false;
        return VG_OK;
    }
    if (st != VG_OK)
        return st;
    facts->has_patient = true;
    facts->birth_date = vg_json_get_text(patient, "birthDate");
    facts->has_birth = vg_date_parse(facts->birth_date, &facts->birth_us);
    facts->gender = vg_json_get_text(patient, "gender");
    facts->name = full_name(enrich, patient);
    facts->identifier =
        vg_json_get_text(vg_json_at(vg_json_get(patient, "identifier"), 0), "value");
    facts->encounter_id = facts->location = facts->unit = (struct vg_slice){0};
    st = read_encounter(enrich, patient_id, facts, err);
    if (st == VG_OK)
        st = read_oxygen_scale(enrich, patient_id, facts, err);
    return st == VG_OK ? keep_texts(facts, err) : st;
}

static struct facts *find_or_make(struct enrich *enrich, struct vg_slice patient_id,
                                  bool *ret_is_new)
{
    struct facts *facts = vg_map_get(&enrich->patients, patient_id);
    bool is_kept = true;

    *ret_is_new = !facts;
    if (facts)
        return facts;
    if (enrich->patients.count >= PATIENTS_MAX) {
        vg_map_fini(&enrich->patients, facts_free);
        vg_map_init(&enrich->patients);
    }
    facts = calloc(1, sizeof(*facts));
    if (!facts)
        return NULL;
    vg_buf_init(&facts->texts, FACTS_BYTES_MAX);
    (void)vg_map_put(&enrich->patients, patient_id, facts, &is_kept);
    if (is_kept)
        return facts;
    facts_free(facts);
    return NULL;
}

/* Facts that are true now; owned by the table, valid until the next call. */
static enum vg_status get_facts(struct enrich *enrich, struct vg_slice patient_id,
                                const struct facts **ret_facts, struct vg_err *err)
{
    uint64_t changes[WATCH_COUNT];
    bool is_new, is_stale = false;
    struct facts *facts = find_or_make(enrich, patient_id, &is_new);
    enum vg_status st = VG_OK;

    if (!facts)
        return vg_fail(err, VG_RETRY, "enrich.memory", ENOMEM, "patients");
    /* Counted before reading: a change in between makes the entry stale, never wrongly fresh. */
    for (size_t i = 0; i < WATCH_COUNT; i++) {
        changes[i] = fhir_change_count(enrich->config.store, watched_types[i]);
        is_stale |= i != WATCH_FLAG && changes[i] != facts->changes[i];
    }
    if (is_new || is_stale)
        st = read_facts(enrich, patient_id, facts, err);
    else if (changes[WATCH_FLAG] != facts->changes[WATCH_FLAG] && facts->has_patient)
        st = read_oxygen_scale(enrich, patient_id, facts, err);
    if (st != VG_OK) {
        facts_free(vg_map_remove(&enrich->patients, patient_id));
        return st;
    }
    memcpy(facts->changes, changes, sizeof(changes));
    *ret_facts = facts;
    return VG_OK;
}

/* ---- the record ---- */

static void member_text(struct vg_json_writer *w, const char *name, struct vg_slice text)
{
    if (text.len)
        vg_json_member_string(w, name, text);
}

static void write_patient(struct vg_json_writer *w, const struct facts *facts, int64_t time_us)
{
    vg_json_name(w, "patient");
    vg_json_open_object(w);
    member_text(w, "birthDate", facts->birth_date);
    if (facts->has_birth)
        vg_json_member_i64(w, "ageYears", vg_age_years(facts->birth_us, time_us));
    member_text(w, "gender", facts->gender);
    member_text(w, "name", facts->name);
    member_text(w, "identifier", facts->identifier);
    vg_json_member_i64(w, "oxygenScale", facts->oxygen_scale);
    vg_json_close_object(w);
}

/* What the connector resolved for the message itself comes before what is looked up. */
static void write_enriched(struct enrich *enrich, struct vg_slice patient_id,
                           const struct vg_json *measurement, const struct vg_json *resolved,
                           const struct facts *facts, int64_t time_us)
{
    const struct vg_json *values = vg_json_get(resolved, "values");
    struct vg_slice encounter = vg_json_get_text(resolved, "encounter");
    struct vg_json_writer w;

    vg_buf_clear(&enrich->value);
    vg_json_writer_init(&w, &enrich->value);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "patientId", patient_id);
    write_patient(&w, facts, time_us);
    member_text(&w, "encounterId", encounter.len ? encounter : facts->encounter_id);
    member_text(&w, "location", facts->location);
    member_text(&w, "unit", facts->unit);
    member_text(&w, "deviceId", vg_json_get_text(measurement, "DeviceId"));
    member_text(&w, "type", vg_json_get_text(measurement, "Type"));
    member_text(&w, "effectiveDateTime", vg_json_get_text(measurement, "OccurrenceTimeUtc"));
    member_text(&w, "receivedTime", vg_json_get_text(measurement, "IngestionTimeUtc"));
    member_text(&w, "observationId", vg_json_get_text(resolved, "observation"));
    vg_json_member_raw(&w, "values", values ? values->source : VG_SLICE("[]"));
    vg_json_close_object(&w);
}

static enum vg_status enrich_record(struct enrich *enrich, const struct stream_record *record,
                                    struct stream_out *out, struct vg_err *err)
{
    struct vg_slice header = stream_header_get(record->headers, "fhir"), patient_id;
    struct vg_json *measurement, *resolved;
    const struct facts *facts = NULL;
    int64_t time_us;
    enum vg_status st = vg_json_parse(&enrich->arena, record->value, NULL, &measurement, NULL, err);

    if (st == VG_OK)
        st = vg_json_parse(&enrich->arena, header, NULL, &resolved, NULL, err);
    if (st != VG_OK)
        return st;
    patient_id = vg_json_get_text(resolved, "patient");
    if (!patient_id.len)
        return vg_fail(err, VG_REJECT, "enrich.identity", 0, "the measurement names no patient");
    if (!vg_time_parse(vg_json_get_text(measurement, "OccurrenceTimeUtc"), &time_us, NULL))
        return vg_fail(err, VG_REJECT, "enrich.time", 0, "OccurrenceTimeUtc is missing or no time");
    st = get_facts(enrich, patient_id, &facts, err);
    if (st != VG_OK)
        return st;
    if (!facts->has_patient)
        return vg_fail(err, VG_REJECT, "enrich.patient", 0, "there is no Patient/%.*s in FHIR",
                       VG_FMT(patient_id));
    write_enriched(enrich, patient_id, measurement, resolved, facts, time_us);
    vg_buf_clear(&enrich->headers);
    stream_header_put(&enrich->headers, "trace", stream_header_get(record->headers, "trace"));
    if (!vg_buf_ok(&enrich->value) || !vg_buf_ok(&enrich->headers))
        return vg_fail(err, VG_REJECT, "enrich.size", 0, "the enriched record is too large");
    stream_out_add(out, STREAM_ENRICHED, record->time_us, patient_id,
                   vg_buf_slice(&enrich->headers), vg_buf_slice(&enrich->value));
    return VG_OK;
}

static enum vg_status enrich_process(void *self, const struct stream_batch *batch,
                                     struct stream_out *out, struct vg_err *err)
{
    struct enrich *enrich = self;

    vg_arena_reset(&enrich->arena);
    for (size_t i = 0; i < batch->count; i++) {
        enum vg_status st = enrich_record(enrich, &batch->records[i], out, err);

        if (st == VG_REJECT)
            stage_deadletter(out, STREAM_NORMALIZED, enrich->config.partition, &batch->records[i],
                             "enrich", err);
        else if (st != VG_OK)
            return st;
    }
    return VG_OK;
}

const struct stage_ops *enrich_stage_ops(void)
{
    static const struct stage_ops ops = {
        .name = "enrich",
        .steps = {7},
        .output_step = 8,
        .input = STREAM_NORMALIZED,
        .process = enrich_process,
    };

    return &ops;
}

enum vg_status enrich_open(const struct enrich_config *config, struct enrich **ret_enrich,
                           struct vg_err *err)
{
    struct enrich *enrich = calloc(1, sizeof(*enrich));

    if (!enrich)
        return vg_fail(err, VG_RETRY, "enrich.memory", ENOMEM, "enrich");
    enrich->config = *config;
    vg_map_init(&enrich->patients);
    vg_arena_init(&enrich->arena, BATCH_ARENA_SIZE);
    vg_buf_init(&enrich->value, 1u << 20);
    vg_buf_init(&enrich->headers, 1u << 16);
    *ret_enrich = enrich;
    return VG_OK;
}

void enrich_close(struct enrich *enrich)
{
    if (!enrich)
        return;
    vg_map_fini(&enrich->patients, facts_free);
    vg_arena_fini(&enrich->arena);
    vg_buf_fini(&enrich->value);
    vg_buf_fini(&enrich->headers);
    free(enrich);
}
