/* enrich.c -- the stage that merges the Patient into each measurement.
 *
 * Of each patient a few pieces of ready JSON are kept: who it is, where the patient lies, which
 * oxygen scale is ordered. All are asked for anew when a Patient, Encounter or Location has
 * changed; while the FHIR server is away, what was known last goes on. Flags change with every
 * alert, so for them only the patients are asked anew whose Flags have changed since the last
 * batch; a Flag that was deleted (not: made inactive) shows in no such search, so every answer is
 * asked again after FLAG_RECHECK_US if any Flag has changed.
 *
 * The oxygen scale is 2 only where an active Flag orders it; it is never inferred.
 *
 * Threads: the stage's own.
 */
#include "enrich/enrich.h"

#include "base/json.h"
#include "base/map.h"
#include "base/metrics.h"

#include <stdlib.h>

#define PATIENTS_MAX 50000
#define ARENA_BYTES_MAX (32u << 20)
#define FLAG_OVERLAP_US (5 * VG_SECOND_US)
#define FLAG_RECHECK_US (60 * VG_SECOND_US)
#define CODES "https://vigil.health/codes"

static const char *const watched[] = {"Patient", "Encounter", "Location"};
#define WATCHED_COUNT 3

struct patient {
    struct vg_buf text;  /* the pieces, one behind the other */
    size_t person_len;   /* ,"gender":…,"name":…,"identifier":… */
    size_t place_len;    /* ,"encounterId":…,"location":…,"unit":… */
    char birth_date[11]; /* "" = not known */
    int64_t birth_us;
    int oxygen_scale;
    bool is_stale, is_flag_stale; /* to be asked for anew: all of it; the scale */
    int64_t flag_asked_us;        /* monotonic */
    uint64_t flag_changes;        /* change count of Flag when it was asked */
};

struct enrich {
    struct enrich_config config;
    struct vg_map patients;
    uint64_t changes[WATCHED_COUNT];
    uint64_t flag_changes;  /* now */
    int64_t flags_until_us; /* lastUpdated of the newest Flag seen */
    struct vg_arena arena;
    struct vg_buf value, headers;
    struct vg_metric *records_total;
};

/* ---- open, close ---- */

enum vg_status enrich_open(const struct enrich_config *config, struct enrich **ret_enrich,
                           struct vg_err *err)
{
    struct enrich *e = calloc(1, sizeof(*e));

    if (!e)
        return vg_fail(err, VG_FATAL, "enrich.memory", 0, "no memory");
    e->config = *config;
    e->flags_until_us = vg_now_us() - FLAG_RECHECK_US;
    vg_map_init(&e->patients);
    vg_arena_init(&e->arena, ARENA_BYTES_MAX);
    vg_buf_init(&e->value, 0);
    vg_buf_init(&e->headers, 0);
    e->records_total = vg_counter("vigil_enrich_records_total", "Enriched records put out", "");
    *ret_enrich = e;
    return VG_OK;
}

static void free_patient(void *value)
{
    struct patient *p = value;

    vg_buf_fini(&p->text);
    free(p);
}

void enrich_close(struct enrich *e)
{
    if (!e)
        return;
    vg_map_fini(&e->patients, free_patient);
    vg_arena_fini(&e->arena);
    vg_buf_fini(&e->value);
    vg_buf_fini(&e->headers);
    free(e);
}

/* ---- what the FHIR service says of a patient ---- */

/* "Location/x" -> "x"; empty: anything else. */
static struct vg_slice local_id(const struct vg_json *reference, const char *type)
{
    struct vg_slice text = vg_json_get_text(reference, "reference"), prefix = vg_slice_of(type);

    if (!vg_slice_starts(text, prefix) || text.len < prefix.len + 2 || text.ptr[prefix.len] != '/')
        return (struct vg_slice){0};
    text = vg_slice_from(text, prefix.len + 1);
    return memchr(text.ptr, '/', text.len) ? (struct vg_slice){0} : text;
}

/* VG_END: not there, or deleted. */
static enum vg_status read_resource(struct enrich *e, const char *type, struct vg_slice id,
                                    struct vg_json **ret_json, struct vg_err *err)
{
    struct fhir_resource resource;
    enum vg_status st =
        fhir_read(e->config.store, vg_slice_of(type), id, 0, &e->arena, &resource, err);

    if (st != VG_OK)
        return st;
    if (resource.is_deleted)
        return VG_END;
    return vg_json_parse(&e->arena, resource.body, NULL, ret_json, NULL, err);
}

static struct vg_slice display_name(struct enrich *e, const struct vg_json *patient)
{
    const struct vg_json *list = vg_json_get(patient, "name"), *name = vg_json_at(list, 0), *given;
    struct vg_buf text;
    struct vg_slice kept;

    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next)
        if (vg_slice_is(vg_json_get_text(at, "use"), "official")) {
            name = at;
            break;
        }
    if (vg_json_get_text(name, "text").len > 0)
        return vg_json_get_text(name, "text");
    vg_buf_init(&text, 4096);
    given = vg_json_get(name, "given");
    for (const struct vg_json *at = given ? given->child : NULL; at; at = at->next)
        vg_buf_printf(&text, "%.*s ", VG_FMT(vg_json_text(at)));
    vg_buf_put(&text, vg_json_get_text(name, "family"));
    kept = vg_arena_dup(&e->arena, vg_slice_trim(vg_buf_slice(&text)));
    vg_buf_fini(&text);
    return kept;
}

static void put_member(struct vg_buf *out, const char *name, struct vg_slice text)
{
    if (text.len == 0)
        return;
    vg_buf_printf(out, ",\"%s\":", name);
    vg_json_escape(out, text);
}

static void put_person(struct enrich *e, struct patient *p, const struct vg_json *json)
{
    struct vg_slice birth = vg_json_get_text(json, "birthDate");

    if (vg_date_parse(birth, &p->birth_us))
        (void)vg_slice_to_cstr(birth, p->birth_date, sizeof(p->birth_date));
    put_member(&p->text, "gender", vg_json_get_text(json, "gender"));
    put_member(&p->text, "name", display_name(e, json));
    put_member(&p->text, "identifier",
               vg_json_get_text(vg_json_at(vg_json_get(json, "identifier"), 0), "value"));
    p->person_len = p->text.len;
}

/* Where the patient is now: the last location of the encounter that has not ended. */
static struct vg_slice current_location(const struct vg_json *encounter)
{
    const struct vg_json *list = vg_json_get(encounter, "location");
    struct vg_slice found = {0};

    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next)
        if (!vg_json_get(vg_json_get(at, "period"), "end") &&
            !vg_slice_is(vg_json_get_text(at, "status"), "completed"))
            found = local_id(vg_json_get(at, "location"), "Location");
    return found;
}

static enum vg_status put_place(struct enrich *e, struct patient *p, struct vg_slice id,
                                struct vg_err *err)
{
    struct vg_slice query =
        vg_arena_printf(&e->arena, "patient=%.*s&status=in-progress&_count=20", VG_FMT(id));
    struct vg_slice newest = {0}, encounter_id = {0}, location_id, name, unit = {0};
    struct vg_json *encounter = NULL, *location, *parent;
    struct fhir_results results = {0};
    enum vg_status st;

    if (!query.ptr)
        return vg_fail(err, VG_RETRY, "enrich.memory", 0, "no memory for a query");
    st = fhir_search(e->config.store, VG_SLICE("Encounter"), query, &e->arena, &results, err);
    if (st != VG_OK)
        return st == VG_END ? VG_OK : st;
    for (size_t i = 0; i < results.match_count; i++) {
        struct vg_json *json;
        struct vg_slice start;

        st = vg_json_parse(&e->arena, results.resources[i].body, NULL, &json, NULL, err);
        if (st != VG_OK)
            return st;
        start = vg_json_get_text(vg_json_get(json, "period"), "start");
        if (!encounter || vg_slice_cmp(start, newest) > 0) {
            encounter = json;
            encounter_id = results.resources[i].id;
            newest = start;
        }
    }
    if (!encounter)
        return VG_OK;
    put_member(&p->text, "encounterId", encounter_id);
    location_id = current_location(encounter);
    if (location_id.len == 0)
        return VG_OK;
    st = read_resource(e, "Location", location_id, &location, err);
    if (st == VG_END)
        return VG_OK;
    if (st != VG_OK)
        return st;
    unit = name = vg_json_get_text(location, "name");
    location_id = local_id(vg_json_get(location, "partOf"), "Location");
    if (location_id.len > 0) {
        st = read_resource(e, "Location", location_id, &parent, err);
        if (st == VG_OK && vg_json_get_text(parent, "name").len > 0)
            unit = vg_json_get_text(parent, "name");
        else if (st != VG_OK && st != VG_END)
            return st;
    }
    /* Two wards have a "Bed 2": the place says which, unless its own name does. */
    if (!vg_slice_starts(name, unit))
        name = vg_arena_printf(&e->arena, "%.*s%s%.*s", VG_FMT(unit), name.len ? ", " : "",
                               VG_FMT(name));
    if (!name.ptr)
        return vg_fail(err, VG_RETRY, "enrich.memory", 0, "no memory for a place");
    put_member(&p->text, "location", name);
    put_member(&p->text, "unit", unit);
    return VG_OK;
}

static bool orders_scale_2(const struct vg_json *flag)
{
    const struct vg_json *list = vg_json_get(vg_json_get(flag, "code"), "coding");

    if (!vg_slice_is(vg_json_get_text(flag, "status"), "active"))
        return false;
    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next)
        if (vg_slice_is(vg_json_get_text(at, "system"), CODES) &&
            vg_slice_is(vg_json_get_text(at, "code"), "spo2-scale-2"))
            return true;
    return false;
}

static enum vg_status ask_flags(struct enrich *e, struct patient *p, struct vg_slice id,
                                struct vg_err *err)
{
    struct vg_slice query = vg_arena_printf(&e->arena, "patient=%.*s&_count=100", VG_FMT(id));
    struct fhir_results results = {0};
    int scale = 1;
    bool has_more = true;

    while (has_more) {
        enum vg_status st = VG_RETRY;

        if (!query.ptr)
            return vg_fail(err, VG_RETRY, "enrich.memory", 0, "no memory for a query");
        st = fhir_search(e->config.store, VG_SLICE("Flag"), query, &e->arena, &results, err);
        if (st == VG_END)
            break;
        if (st != VG_OK)
            return st;
        for (size_t i = 0; i < results.match_count && scale == 1; i++) {
            struct vg_json *flag;

            st = vg_json_parse(&e->arena, results.resources[i].body, NULL, &flag, NULL, err);
            if (st != VG_OK)
                return st;
            if (orders_scale_2(flag))
                scale = 2;
        }
        query = results.next_query;
        has_more = scale == 1 && query.ptr != NULL;
    }
    p->oxygen_scale = scale;
    p->is_flag_stale = false;
    p->flag_asked_us = vg_mono_us();
    p->flag_changes = e->flag_changes;
    return VG_OK;
}

/* The FHIR server is away. Of a patient who is known scoring goes on with the oxygen scale that was
 * ordered last: no score at all would be worse. It is asked again with the next reading. */
static bool is_away(enum vg_status st, const struct vg_err *err)
{
    return st == VG_RETRY && err && err->code && strcmp(err->code, "fhir.away") == 0;
}

static enum vg_status ask_patient(struct enrich *e, struct vg_slice id, struct patient **ret,
                                  struct vg_err *err)
{
    struct patient *p;
    struct vg_json *json;
    enum vg_status st = read_resource(e, "Patient", id, &json, err);

    if (st == VG_END || st == VG_REJECT)
        return vg_fail(err, VG_REJECT, "enrich.patient", 0, "Patient/%.*s cannot be read",
                       VG_FMT(id));
    if (st != VG_OK)
        return st;
    p = calloc(1, sizeof(*p));
    if (!p)
        return vg_fail(err, VG_RETRY, "enrich.memory", 0, "no memory for a patient");
    vg_buf_init(&p->text, 64u << 10);
    put_person(e, p, json);
    st = put_place(e, p, id, err);
    p->place_len = p->text.len - p->person_len;
    if (st == VG_OK)
        st = ask_flags(e, p, id, err);
    if (st == VG_OK && !vg_buf_ok(&p->text))
        st = vg_fail(err, VG_REJECT, "enrich.patient", 0, "Patient/%.*s is too large", VG_FMT(id));
    if (st != VG_OK) {
        free_patient(p);
        return st;
    }
    *ret = p;
    return VG_OK;
}

/* The patient as known now; while the server is away, as known last. VG_REJECT enrich.patient:
 * cannot be read. */
static enum vg_status find_patient(struct enrich *e, struct vg_slice id, struct patient **ret,
                                   struct vg_err *err)
{
    struct patient *p = vg_map_get(&e->patients, id), *made = NULL, *before;
    enum vg_status st;
    bool ok = false;

    *ret = p;
    if (p && !p->is_stale) {
        if (p->flag_changes != e->flag_changes && vg_mono_us() - p->flag_asked_us > FLAG_RECHECK_US)
            p->is_flag_stale = true;
        st = p->is_flag_stale ? ask_flags(e, p, id, err) : VG_OK;
        return is_away(st, err) ? VG_OK : st;
    }
    st = ask_patient(e, id, &made, err);
    if (st != VG_OK)
        return p && is_away(st, err) ? VG_OK : st;
    before = vg_map_put(&e->patients, id, made, &ok);
    if (!ok) {
        free_patient(made);
        return vg_fail(err, VG_RETRY, "enrich.memory", 0, "no memory for a patient");
    }
    if (before)
        free_patient(before);
    *ret = made;
    return VG_OK;
}

/* ---- what has changed ---- */

static void forget_all(struct enrich *e)
{
    vg_map_fini(&e->patients, free_patient);
    vg_map_init(&e->patients);
}

static void mark_all(struct enrich *e, bool only_flags)
{
    struct vg_slice key;
    size_t cursor = 0;
    void *value;

    while (vg_map_next(&e->patients, &cursor, &key, &value)) {
        struct patient *p = value;

        p->is_stale |= !only_flags;
        p->is_flag_stale = true;
    }
}

/* Marks the patients whose Flags have changed since the last look. */
static enum vg_status look_for_flags(struct enrich *e, struct vg_err *err)
{
    char since[VG_TIME_TEXT_SIZE];
    struct fhir_results results = {0};
    struct vg_slice query;
    enum vg_status st;

    (void)vg_time_format(e->flags_until_us - FLAG_OVERLAP_US, 3, since);
    query = vg_arena_printf(&e->arena, "_lastUpdated=ge%s&_count=500", since);
    if (!query.ptr)
        return vg_fail(err, VG_RETRY, "enrich.memory", 0, "no memory for a query");
    st = fhir_search(e->config.store, VG_SLICE("Flag"), query, &e->arena, &results, err);
    if (st == VG_RETRY || st == VG_FATAL)
        return st;
    if (st == VG_REJECT || results.has_more)
        mark_all(e, true);
    for (size_t i = 0; st == VG_OK && i < results.match_count; i++) {
        const struct fhir_resource *flag = &results.resources[i];
        struct patient *p;
        struct vg_json *json;

        if (flag->last_updated_us > e->flags_until_us)
            e->flags_until_us = flag->last_updated_us;
        if (vg_json_parse(&e->arena, flag->body, NULL, &json, NULL, NULL) != VG_OK)
            continue;
        p = vg_map_get(&e->patients, local_id(vg_json_get(json, "subject"), "Patient"));
        if (p)
            p->is_flag_stale = true;
    }
    return VG_OK;
}

static enum vg_status look_for_changes(struct enrich *e, struct vg_err *err)
{
    uint64_t flag_changes = fhir_change_count(e->config.store, "Flag");
    bool is_same = true;

    for (int i = 0; i < WATCHED_COUNT; i++) {
        uint64_t changes = fhir_change_count(e->config.store, watched[i]);

        is_same &= changes == e->changes[i];
        e->changes[i] = changes;
    }
    if (e->patients.count > PATIENTS_MAX)
        forget_all(e);
    else if (!is_same)
        mark_all(e, false);
    if (flag_changes == e->flag_changes)
        return VG_OK;
    if (e->patients.count > 0) {
        enum vg_status st = look_for_flags(e, err);

        if (is_away(st, err))
            return VG_OK;
        if (st != VG_OK)
            return st;
    }
    e->flag_changes = flag_changes;
    return VG_OK;
}

/* ---- one record ---- */

static void put_record(struct enrich *e, const struct patient *p, struct vg_slice patient_id,
                       const struct vg_json *normalized, const struct vg_json *fhir,
                       int64_t effective_us, int64_t received_us)
{
    struct vg_buf *out = &e->value;
    char time[VG_TIME_TEXT_SIZE];
    const struct vg_json *values = vg_json_get(fhir, "values");

    vg_buf_clear(out);
    vg_buf_put(out, VG_SLICE("{\"patientId\":"));
    vg_json_escape(out, patient_id);
    vg_buf_put(out, VG_SLICE(",\"patient\":{"));
    if (p->birth_date[0])
        vg_buf_printf(out, "\"birthDate\":\"%s\",\"ageYears\":%d", p->birth_date,
                      vg_age_years(p->birth_us, effective_us));
    /* A piece begins with its comma. */
    struct vg_slice person = {p->text.ptr, p->person_len};

    vg_buf_put(out, p->birth_date[0] || person.len == 0 ? person : vg_slice_from(person, 1));
    vg_buf_printf(out, "%s\"oxygenScale\":%d}", p->birth_date[0] || person.len ? "," : "",
                  p->oxygen_scale);
    if (p->place_len > 0)
        vg_buf_put(out, (struct vg_slice){p->text.ptr + p->person_len, p->place_len});
    put_member(out, "deviceId", vg_json_get_text(normalized, "DeviceId"));
    put_member(out, "type", vg_json_get_text(normalized, "Type"));
    put_member(out, "effectiveDateTime", vg_json_get_text(normalized, "OccurrenceTimeUtc"));
    (void)vg_time_format(received_us, 3, time);
    vg_buf_printf(out, ",\"receivedTime\":\"%s\"", time);
    put_member(out, "observationId", vg_json_get_text(fhir, "observation"));
    vg_buf_put(out, VG_SLICE(",\"values\":"));
    vg_buf_put(out, vg_json_is(values, VG_JSON_ARRAY) ? values->source : VG_SLICE("[]"));
    vg_buf_put_byte(out, '}');
}

static enum vg_status enrich_record(struct enrich *e, const struct stream_record *record,
                                    struct stream_out *out, struct vg_err *err)
{
    struct vg_json *normalized, *fhir;
    struct vg_slice patient_id, trace = stream_header_get(record->headers, "trace");
    int64_t effective_us, received_us = record->time_us;
    struct patient *patient;
    enum vg_status st;

    if (vg_json_parse(&e->arena, record->value, NULL, &normalized, NULL, NULL) != VG_OK ||
        vg_json_parse(&e->arena, stream_header_get(record->headers, "fhir"), NULL, &fhir, NULL,
                      NULL) != VG_OK)
        return vg_fail(err, VG_REJECT, "enrich.record", 0, "record or its header fhir is not JSON");
    patient_id = vg_json_get_text(fhir, "patient");
    if (patient_id.len == 0 ||
        !vg_time_parse(vg_json_get_text(normalized, "OccurrenceTimeUtc"), &effective_us, NULL))
        return vg_fail(err, VG_REJECT, "enrich.record", 0,
                       "record without a patient or OccurrenceTimeUtc");
    (void)vg_time_parse(vg_json_get_text(normalized, "IngestionTimeUtc"), &received_us, NULL);
    st = find_patient(e, patient_id, &patient, err);
    if (st != VG_OK)
        return st;
    put_record(e, patient, patient_id, normalized, fhir, effective_us, received_us);
    vg_buf_clear(&e->headers);
    if (trace.ptr)
        stream_header_put(&e->headers, "trace", trace);
    stream_out_add(out, STREAM_ENRICHED, record->time_us, patient_id, vg_buf_slice(&e->headers),
                   vg_buf_slice(&e->value));
    vg_metric_add(e->records_total, 1);
    return VG_OK;
}

static enum vg_status enrich_process(void *self, const struct stream_batch *batch,
                                     struct stream_out *out, struct vg_err *err)
{
    struct enrich *e = self;
    enum vg_status st;

    vg_arena_reset(&e->arena);
    st = look_for_changes(e, err);
    for (size_t i = 0; i < batch->count && st == VG_OK; i++) {
        struct vg_err why = {0};

        vg_arena_reset(&e->arena);
        st = enrich_record(e, &batch->records[i], out, &why);
        if (st == VG_REJECT) {
            stage_deadletter(out, STREAM_NORMALIZED, e->config.partition, &batch->records[i],
                             "enrich", &why);
            st = VG_OK;
        } else if (st != VG_OK) {
            *err = why;
        }
    }
    return st;
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
