/* resources.c -- see resources.h.
 *
 * A model's entry in the record says how far it goes: "silent" is in no resource, "show" is in the
 * RiskAssessment, "flag" also raises Flags (alert.c).
 */
#include "alert/resources.h"

#include "base/crypto.h"
#include "base/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HORIZON_US VG_DAY_US /* NEWS2 was validated on outcomes within 24 hours */
#define AHEAD_US VG_MINUTE_US
#define BODY_BYTES_MAX (1u << 20)
#define RISK_SYSTEM "http://terminology.hl7.org/CodeSystem/risk-probability"

/* ---- the record ---- */

/* A time that lies ahead of the scoring by more than a clock may err counts as the scoring's. */
static int64_t not_ahead(int64_t time_us, int64_t scored_us)
{
    return time_us > scored_us + AHEAD_US ? scored_us : time_us;
}

/* When the newest vital sign was taken. A program that scores in our place may not say heardTime:
 * then it is the newest of all values. */
static int64_t heard_of(const struct vg_json *json, int64_t scored_us)
{
    const struct vg_json *vitals = vg_json_get(json, "vitals");
    int64_t heard_us = 0, time_us;

    if (vg_time_parse(vg_json_get_text(json, "heardTime"), &time_us, NULL))
        return not_ahead(time_us, scored_us);
    for (const struct vg_json *v = vitals ? vitals->child : NULL; v; v = v->next) {
        if (vg_time_parse(vg_json_get_text(v, "time"), &time_us, NULL) &&
            not_ahead(time_us, scored_us) > heard_us)
            heard_us = not_ahead(time_us, scored_us);
    }
    return heard_us;
}

static void take_part(const struct vg_json *part, struct scored *s)
{
    static const char *const names[] = {"respiration", "spo2",          "oxygen",     "systolic",
                                        "pulse",       "consciousness", "temperature"};
    bool is_known = vg_slice_is(vg_json_get_text(part, "state"), "ok");
    int64_t points = 0;

    (void)vg_json_to_i64(vg_json_get(part, "score"), &points);
    s->is_incomplete |= vg_slice_is(vg_json_get_text(part, "state"), "expired");
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!is_known || !vg_slice_is(vg_json_get_text(part, "part"), names[i]))
            continue;
        s->parts_known |= 1u << i;
        s->parts_high |= points > 0 ? 1u << i : 0;
    }
}

enum vg_status scored_parse(struct vg_arena *arena, const struct stream_record *record,
                            struct scored *ret, struct vg_err *err)
{
    const struct vg_json *news2, *parts;
    struct scored s = {.who.record = record, .low = -1, .high = -1, .probability = -1};
    enum vg_status st = vg_json_parse(arena, record->value, NULL, &s.json, NULL, err);

    if (st != VG_OK)
        return st;
    s.who.patient_id = vg_json_get_text(s.json, "patientId");
    s.who.encounter_id = vg_json_get_text(s.json, "encounterId");
    s.who.trace = stream_header_get(record->headers, "trace");
    if (!s.who.patient_id.len ||
        !vg_time_parse(vg_json_get_text(s.json, "windowEnd"), &s.window_end_us, NULL) ||
        !vg_time_parse(vg_json_get_text(s.json, "scoredTime"), &s.scored_us, NULL))
        return vg_fail(err, VG_REJECT, "alert.record", 0,
                       "a scored record needs patientId, windowEnd and scoredTime");
    s.evaluated_us = not_ahead(s.window_end_us, s.scored_us);
    news2 = vg_json_get(s.json, "news2");
    s.has_news2 = vg_json_to_i64(vg_json_get(news2, "low"), &s.low) &&
                  vg_json_to_i64(vg_json_get(news2, "high"), &s.high);
    s.band = vg_json_get_text(news2, "band");
    parts = vg_json_get(news2, "parts");
    for (const struct vg_json *p = parts ? parts->child : NULL; p; p = p->next)
        take_part(p, &s);
    s.is_answer = vg_slice_is(vg_json_get_text(s.json, "trigger"), "remote");
    s.heard_us = heard_of(s.json, s.scored_us);
    (void)vg_json_to_double(vg_json_get(vg_json_get(s.json, "model"), "probability"),
                            &s.probability);
    *ret = s;
    return VG_OK;
}

/* ---- resources ---- */

static void put_reference(struct vg_json_writer *w, const char *name, const char *type,
                          struct vg_slice id, struct vg_arena *arena)
{
    vg_json_name(w, name);
    vg_json_open_object(w);
    vg_json_member_string(w, "reference", vg_arena_printf(arena, "%s/%.*s", type, VG_FMT(id)));
    vg_json_close_object(w);
}

static void put_concept(struct vg_json_writer *w, const char *name, const char *system,
                        struct vg_slice code, struct vg_slice text)
{
    vg_json_name(w, name);
    vg_json_open_object(w);
    vg_json_name(w, "coding");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(w, "system", vg_slice_of(system));
    vg_json_member_string(w, "code", code);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_member_string(w, "text", text);
    vg_json_close_object(w);
}

static void put_horizon(struct vg_json_writer *w, int64_t from_us, int64_t to_us)
{
    vg_json_name(w, "whenPeriod");
    vg_json_open_object(w);
    vg_json_member_time(w, "start", from_us);
    vg_json_member_time(w, "end", to_us);
    vg_json_close_object(w);
}

/* One reference of the basis, which is opened by the first. */
static void put_observation(struct vg_json_writer *w, struct vg_arena *arena, struct vg_slice id,
                            bool *is_open)
{
    if (!id.len)
        return;
    if (!*is_open) {
        vg_json_name(w, "basis");
        vg_json_open_array(w);
        *is_open = true;
    }
    vg_json_open_object(w);
    vg_json_member_string(w, "reference", vg_arena_printf(arena, "Observation/%.*s", VG_FMT(id)));
    vg_json_close_object(w);
}

/* Not what expired, nor what no score counts. */
static bool is_in_basis(const struct vg_json *value)
{
    bool is_used = true;

    (void)vg_json_to_bool(vg_json_get(value, "used"), &is_used);
    return is_used && !vg_slice_is(vg_json_get_text(value, "state"), "expired");
}

/* Whether a value or a contribution before `end` has brought the Observation already: those of one
 * message are one Observation. */
static bool is_named(const struct vg_json *json, const struct vg_json *end, struct vg_slice id)
{
    const struct vg_json *vitals = vg_json_get(json, "vitals"),
                         *models = vg_json_get(json, "models");

    for (const struct vg_json *v = vitals ? vitals->child : NULL; v; v = v->next) {
        if (v == end)
            return false;
        if (is_in_basis(v) && vg_slice_eq(vg_json_get_text(v, "observationId"), id))
            return true;
    }
    for (const struct vg_json *m = models ? models->child : NULL; m; m = m->next) {
        const struct vg_json *list = vg_json_get(m, "contributions");

        for (const struct vg_json *c = list ? list->child : NULL; c; c = c->next) {
            if (c == end)
                return false;
            if (vg_slice_eq(vg_json_get_text(c, "sinceObservationId"), id))
                return true;
        }
    }
    return false;
}

/* The exact Observations that the scores rest on: the newest of each value that counts, and the
 * older ones that the words of a contribution name. */
static void put_basis(struct vg_json_writer *w, const struct scored *s, struct vg_arena *arena)
{
    const struct vg_json *vitals = vg_json_get(s->json, "vitals");
    const struct vg_json *models = vg_json_get(s->json, "models");
    bool is_open = false;

    for (const struct vg_json *v = vitals ? vitals->child : NULL; v; v = v->next) {
        struct vg_slice id = vg_json_get_text(v, "observationId");

        if (is_in_basis(v) && !is_named(s->json, v, id))
            put_observation(w, arena, id, &is_open);
    }
    for (const struct vg_json *m = models ? models->child : NULL; m; m = m->next) {
        const struct vg_json *list = vg_json_get(m, "contributions");

        for (const struct vg_json *c = list ? list->child : NULL; c; c = c->next) {
            struct vg_slice id = vg_json_get_text(c, "sinceObservationId");

            if (id.len && !is_named(s->json, c, id))
                put_observation(w, arena, id, &is_open);
        }
    }
    if (is_open)
        vg_json_close_array(w);
}

/* What a writer made, kept in the arena. */
static struct vg_slice keep(struct vg_arena *arena, struct vg_buf *body)
{
    struct vg_slice kept = {0};

    if (vg_buf_ok(body))
        kept = vg_arena_dup(arena, vg_buf_slice(body));
    vg_buf_fini(body);
    return kept;
}

/* ---- RiskAssessment ---- */

struct vg_slice risk_assessment_id(struct vg_arena *arena, const struct scored *s)
{
    struct vg_slice what =
        vg_arena_printf(arena, "%.*s|%lld", VG_FMT(s->who.patient_id), (long long)s->window_end_us);
    char hex[65];

    if (!what.ptr)
        return what;
    vg_sha256_hex(what, hex);
    return vg_arena_printf(arena, "ra-%.48s", hex);
}

static struct vg_slice qualitative(struct vg_slice band)
{
    return vg_slice_is(band, "high")                                        ? VG_SLICE("high")
           : vg_slice_is(band, "medium") || vg_slice_is(band, "low-medium") ? VG_SLICE("moderate")
                                                                            : VG_SLICE("low");
}

static void put_model(struct vg_json_writer *w, const struct scored *s, const struct vg_json *model,
                      struct vg_arena *arena)
{
    double hours = 6, probability;

    if (!vg_json_to_double(vg_json_get(model, "probability"), &probability) ||
        vg_slice_is(vg_json_get_text(model, "mode"), "silent"))
        return;
    (void)vg_json_to_double(vg_json_get(model, "horizonHours"), &hours);
    vg_json_open_object(w);
    put_concept(w, "outcome", CODE_SYSTEM, vg_json_get_text(model, "name"),
                vg_arena_printf(arena, "%.*s, version %.*s",
                                VG_FMT(vg_json_get_text(model, "name")),
                                VG_FMT(vg_json_get_text(model, "version"))));
    /* A percentage in R4 (invariant ras-2), not a fraction. */
    vg_json_name(w, "probabilityDecimal");
    vg_json_put_raw(w, vg_arena_printf(arena, "%.4f", probability * 100));
    put_concept(w, "qualitativeRisk", RISK_SYSTEM, qualitative(vg_json_get_text(model, "band")),
                vg_json_get_text(model, "band"));
    put_horizon(w, s->window_end_us, s->window_end_us + (int64_t)(hours * VG_HOUR_US));
    vg_json_close_object(w);
}

static void put_predictions(struct vg_json_writer *w, const struct scored *s,
                            struct vg_arena *arena)
{
    const struct vg_json *models = vg_json_get(s->json, "models");

    vg_json_name(w, "prediction");
    vg_json_open_array(w);
    if (s->has_news2) {
        vg_json_open_object(w);
        put_concept(w, "outcome", CODE_SYSTEM, VG_SLICE("deterioration"),
                    VG_SLICE("Acute deterioration"));
        put_concept(w, "qualitativeRisk", RISK_SYSTEM, qualitative(s->band),
                    vg_arena_printf(arena, "NEWS2 %lld to %lld (%.*s)", (long long)s->low,
                                    (long long)s->high, VG_FMT(s->band)));
        put_horizon(w, s->window_end_us, s->window_end_us + HORIZON_US);
        vg_json_close_object(w);
    }
    if (models) {
        for (const struct vg_json *m = models->child; m; m = m->next)
            put_model(w, s, m, arena);
    } else {
        put_model(w, s, vg_json_get(s->json, "model"), arena);
    }
    vg_json_close_array(w);
}

struct vg_slice risk_assessment_body(struct vg_arena *arena, const struct scored *s,
                                     struct vg_slice id)
{
    struct vg_json_writer w;
    struct vg_buf body;

    vg_buf_init(&body, BODY_BYTES_MAX);
    vg_json_writer_init(&w, &body);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("RiskAssessment"));
    vg_json_member_string(&w, "id", id);
    vg_json_member_string(&w, "status", VG_SLICE("final"));
    put_concept(&w, "method", CODE_SYSTEM, VG_SLICE("vital-signs-window"),
                VG_SLICE("NEWS2 and gradient-boosted trees on a window of vital signs"));
    put_reference(&w, "subject", "Patient", s->who.patient_id, arena);
    if (s->who.encounter_id.len)
        put_reference(&w, "encounter", "Encounter", s->who.encounter_id, arena);
    /* The date parameter of R4 sees occurrenceDateTime only; the horizon is in whenPeriod. */
    vg_json_member_time(&w, "occurrenceDateTime", s->window_end_us);
    put_basis(&w, s, arena);
    put_predictions(&w, s, arena);
    vg_json_close_object(&w);
    return keep(arena, &body);
}

/* ---- Flag ---- */

void flag_id_make(char out[static 72], struct vg_slice patient_id, struct vg_slice rule,
                  int64_t opened_us)
{
    char key[512], hex[65];
    int len = snprintf(key, sizeof(key), "%.*s|%.*s", VG_FMT(patient_id), VG_FMT(rule));

    /* FHIR ids have at most 64 characters and rules' names at most 63: nothing is cut. */
    vg_sha256_hex((struct vg_slice){key, (size_t)len}, hex);
    (void)snprintf(out, 72, "flag-%.32s-%lld", hex, (long long)opened_us);
}

int64_t flag_id_opened_us(struct vg_slice flag_id)
{
    struct vg_slice last = {0};
    int64_t opened_us = 0;

    while (flag_id.len)
        last = vg_slice_cut(&flag_id, '-');
    return vg_slice_to_i64(last, &opened_us) ? opened_us : 0;
}

struct vg_slice flag_body(struct vg_arena *arena, const struct subject *who,
                          const struct care_flag *flag)
{
    bool is_closed = flag->change == CARE_FLAG_CLOSED;
    struct vg_json_writer w;
    struct vg_buf body;

    vg_buf_init(&body, BODY_BYTES_MAX);
    vg_json_writer_init(&w, &body);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Flag"));
    vg_json_member_string(&w, "id", flag->flag_id);
    vg_json_member_string(&w, "status", is_closed ? VG_SLICE("inactive") : VG_SLICE("active"));
    vg_json_name(&w, "category");
    vg_json_open_array(&w);
    vg_json_put_raw(&w, VG_SLICE("{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
                                 "flag-category\",\"code\":\"clinical\"}]}"));
    vg_json_close_array(&w);
    put_concept(&w, "code", CODE_SYSTEM,
                vg_arena_printf(arena, "%.*s-%.*s", VG_FMT(flag->rule), VG_FMT(flag->severity)),
                flag->title);
    put_reference(&w, "subject", "Patient", who->patient_id, arena);
    vg_json_name(&w, "period");
    vg_json_open_object(&w);
    vg_json_member_time(&w, "start", flag_id_opened_us(flag->flag_id));
    if (is_closed)
        vg_json_member_time(&w, "end", flag->time_us);
    vg_json_close_object(&w);
    if (who->encounter_id.len)
        put_reference(&w, "encounter", "Encounter", who->encounter_id, arena);
    vg_json_close_object(&w);
    return keep(arena, &body);
}

/* ---- titles ---- */

struct vg_slice news2_title(struct vg_arena *arena, const struct scored *s)
{
    const struct vg_json *parts = vg_json_get(vg_json_get(s->json, "news2"), "parts");
    struct vg_slice title;
    struct vg_buf out;
    unsigned count = 0;

    vg_buf_init(&out, 1024);
    vg_buf_printf(&out, "NEWS2 %lld", (long long)s->low);
    for (const struct vg_json *p = parts ? parts->child : NULL; p; p = p->next) {
        const struct vg_json *value = vg_json_get(p, "value");
        struct vg_slice part = vg_json_get_text(p, "part"), unit;
        int64_t score = 0;

        unit = vg_unit_text(vg_json_get_text(p, "unit"));
        if (!value)
            value = vg_json_get(p, "text"); /* consciousness */
        if (!vg_json_to_i64(vg_json_get(p, "score"), &score) || score == 0 || !value)
            continue;
        if (vg_slice_is(part, "spo2"))
            part = VG_SLICE("SpO2");
        vg_buf_printf(&out, "%s%.*s %.*s%s%.*s", count++ ? ", " : ": ", VG_FMT(part),
                      VG_FMT(value->type == VG_JSON_NUMBER ? value->source : vg_json_text(value)),
                      unit.len ? " " : "", VG_FMT(unit));
    }
    title = vg_arena_dup(arena, vg_slice_trim(vg_buf_slice(&out)));
    vg_buf_fini(&out);
    return title;
}

struct vg_slice model_title(struct vg_arena *arena, const struct vg_json *model)
{
    const struct vg_json *contributions = vg_json_get(model, "contributions");
    struct vg_slice name = vg_json_get_text(model, "name"), text;
    double probability = 0, hours = 0;

    (void)vg_json_to_double(vg_json_get(model, "probability"), &probability);
    (void)vg_json_to_double(vg_json_get(model, "horizonHours"), &hours);
    text = vg_json_get_text(contributions ? contributions->child : NULL, "text");
    return vg_arena_printf(arena, "%.*s %.0f %% within %.0f h%s%.*s", VG_FMT(name),
                           probability * 100, hours, text.len ? ": " : "", VG_FMT(text));
}
