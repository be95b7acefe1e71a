/* alert.c -- the stage: one batch of scored records becomes FHIR writes and one repository
 * transaction.
 *
 * ORDER, AND WHAT A CRASH DOES
 *
 * 1. The repository's transaction begins; it tells which records were applied before.
 * 2. Each new record moves the rules' states (held in that transaction) and adds a RiskAssessment
 * and perhaps a Flag to the FHIR writes.
 * 3. The FHIR writes are committed. Ids come from patient, window and rule, so doing this twice
 * writes the same resources again, and an equal resource makes no new version.
 * 4. The repository's transaction is committed with the position, then the stage's offset.
 *
 * A resource that the FHIR service refuses is a dead letter; the repository has its score all the
 * same.
 *
 * A crash before 4 repeats everything from the same states and so with the same results; a crash
 * after it finds the position moved.
 */
#include "alert/alert.h"

#include "alert/rule.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/metrics.h"
#include "base/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 256
#define WRITES_MAX (BATCH_MAX * 2)
#define ARENA_BYTES (32u << 20)
#define HORIZON_US VG_DAY_US /* NEWS2 was validated on outcomes within 24 hours */
/* A window whose end lies further ahead than this has a value from a clock that is fast. For the
 * rules it counts at the time it was scored: else nothing would count before that clock's time has
 * come, however bad the values of the patient's other devices are. */
#define AHEAD_US VG_MINUTE_US
#define CODE_SYSTEM "https://vigil.health/codes"
#define RISK_SYSTEM "http://terminology.hl7.org/CodeSystem/risk-probability"

struct alert {
    struct alert_config config;
    struct rule_limits news2;
    struct stage_ops ops;
    char source[32];
    struct vg_arena arena;
    struct vg_buf headers, value;
};

/* One scored record, taken apart. Slices live as long as the batch. */
struct scored {
    const struct stream_record *record;
    struct vg_json *json;
    struct vg_slice patient_id, encounter_id, trace, band;
    int64_t window_end_us, scored_us, low, high;
    int64_t evaluated_us; /* see AHEAD_US */
    double probability;
    bool has_news2, is_incomplete;
};

struct work {
    struct alert *alert;
    struct care_batch *batch;
    struct fhir_write writes[WRITES_MAX];
    const struct stream_record *made_from[WRITES_MAX];
    size_t write_count;
};

static enum vg_status no_memory(struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, "alert.memory", ENOMEM,
                   "a batch needs more memory than its share");
}

static enum vg_status parse_scored(struct alert *alert, const struct stream_record *record,
                                   struct scored *ret, struct vg_err *err)
{
    const struct vg_json *news2, *parts;
    struct scored s = {.record = record, .low = -1, .high = -1, .probability = -1};
    enum vg_status st = vg_json_parse(&alert->arena, record->value, NULL, &s.json, NULL, err);

    if (st != VG_OK)
        return st;
    s.patient_id = vg_json_get_text(s.json, "patientId");
    s.encounter_id = vg_json_get_text(s.json, "encounterId");
    s.trace = stream_header_get(record->headers, "trace");
    if (!s.patient_id.len ||
        !vg_time_parse(vg_json_get_text(s.json, "windowEnd"), &s.window_end_us, NULL) ||
        !vg_time_parse(vg_json_get_text(s.json, "scoredTime"), &s.scored_us, NULL))
        return vg_fail(err, VG_REJECT, "alert.record", 0,
                       "a scored record needs patientId, windowEnd and scoredTime");
    s.evaluated_us = s.window_end_us > s.scored_us + AHEAD_US ? s.scored_us : s.window_end_us;
    news2 = vg_json_get(s.json, "news2");
    s.has_news2 = vg_json_to_i64(vg_json_get(news2, "low"), &s.low) &&
                  vg_json_to_i64(vg_json_get(news2, "high"), &s.high);
    s.band = vg_json_get_text(news2, "band");
    parts = vg_json_get(news2, "parts");
    for (const struct vg_json *p = parts ? parts->child : NULL; p; p = p->next)
        s.is_incomplete |= vg_slice_is(vg_json_get_text(p, "state"), "expired");
    (void)vg_json_to_double(vg_json_get(vg_json_get(s.json, "model"), "probability"),
                            &s.probability);
    *ret = s;
    return VG_OK;
}

/* prefix + 48 hex digits of the hash of what makes it the same thing. */
static struct vg_slice make_id(struct vg_arena *arena, const char *prefix, struct vg_slice what)
{
    char hex[65];

    vg_sha256_hex(what, hex);
    return vg_arena_printf(arena, "%s%.48s", prefix, hex);
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

/* The exact Observations that the score rests on. */
static void put_basis(struct vg_json_writer *w, const struct scored *s, struct vg_arena *arena)
{
    const struct vg_json *vitals = vg_json_get(s->json, "vitals");
    bool is_open = false;

    for (const struct vg_json *v = vitals ? vitals->child : NULL; v; v = v->next) {
        struct vg_slice id = vg_json_get_text(v, "observationId");

        if (!id.len || vg_slice_is(vg_json_get_text(v, "state"), "expired"))
            continue;
        if (!is_open) {
            vg_json_name(w, "basis");
            vg_json_open_array(w);
            is_open = true;
        }
        vg_json_open_object(w);
        vg_json_member_string(w, "reference",
                              vg_arena_printf(arena, "Observation/%.*s", VG_FMT(id)));
        vg_json_close_object(w);
    }
    if (is_open)
        vg_json_close_array(w);
}

static struct vg_slice qualitative(struct vg_slice band)
{
    return vg_slice_is(band, "high")                                        ? VG_SLICE("high")
           : vg_slice_is(band, "medium") || vg_slice_is(band, "low-medium") ? VG_SLICE("moderate")
                                                                            : VG_SLICE("low");
}

static void put_predictions(struct vg_json_writer *w, const struct scored *s,
                            struct vg_arena *arena)
{
    const struct vg_json *model = vg_json_get(s->json, "model");

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
    if (s->probability >= 0) {
        double hours = 6;

        (void)vg_json_to_double(vg_json_get(model, "horizonHours"), &hours);
        vg_json_open_object(w);
        put_concept(w, "outcome", CODE_SYSTEM, vg_json_get_text(model, "name"),
                    vg_arena_printf(arena, "%.*s, version %.*s",
                                    VG_FMT(vg_json_get_text(model, "name")),
                                    VG_FMT(vg_json_get_text(model, "version"))));
        /* A percentage in R4 (invariant ras-2), not a fraction. */
        vg_json_name(w, "probabilityDecimal");
        vg_json_put_raw(w, vg_arena_printf(arena, "%.4f", s->probability * 100));
        put_concept(w, "qualitativeRisk", RISK_SYSTEM, qualitative(vg_json_get_text(model, "band")),
                    vg_json_get_text(model, "band"));
        put_horizon(w, s->window_end_us, s->window_end_us + (int64_t)(hours * VG_HOUR_US));
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
}

static enum vg_status add_write(struct work *work, const struct scored *s, const char *type,
                                struct vg_slice id, const struct vg_buf *body, struct vg_err *err)
{
    struct vg_slice kept = vg_arena_dup(&work->alert->arena, vg_buf_slice(body));

    if (!vg_buf_ok(body) || !kept.ptr || !id.ptr)
        return no_memory(err);
    /* A patient scored twice in a batch for one window: the newer body counts, a FHIR transaction
     * names a resource once. */
    for (size_t i = 0; i < work->write_count; i++) {
        if (vg_slice_eq(work->writes[i].id, id)) {
            work->writes[i].body = kept;
            work->made_from[i] = s->record;
            return VG_OK;
        }
    }
    if (work->write_count == WRITES_MAX)
        return no_memory(err);
    work->made_from[work->write_count] = s->record;
    work->writes[work->write_count++] =
        (struct fhir_write){.what = FHIR_UPDATE, .type = vg_slice_of(type), .id = id, .body = kept};
    return VG_OK;
}

static enum vg_status write_risk_assessment(struct work *work, const struct scored *s,
                                            struct vg_slice *ret_id, struct vg_err *err)
{
    struct vg_arena *arena = &work->alert->arena;
    struct vg_json_writer w;
    struct vg_buf body;
    struct vg_slice id = make_id(
        arena, "ra-",
        vg_arena_printf(arena, "%.*s|%lld", VG_FMT(s->patient_id), (long long)s->window_end_us));
    enum vg_status st;

    vg_buf_init(&body, 1u << 20);
    vg_json_writer_init(&w, &body);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("RiskAssessment"));
    vg_json_member_string(&w, "id", id);
    vg_json_member_string(&w, "status", VG_SLICE("final"));
    put_concept(&w, "method", CODE_SYSTEM, VG_SLICE("vital-signs-window"),
                VG_SLICE("NEWS2 and gradient-boosted trees on a window of vital signs"));
    put_reference(&w, "subject", "Patient", s->patient_id, arena);
    if (s->encounter_id.len)
        put_reference(&w, "encounter", "Encounter", s->encounter_id, arena);
    /* The date parameter of R4 sees occurrenceDateTime only; the horizon is in whenPeriod. */
    vg_json_member_time(&w, "occurrenceDateTime", s->window_end_us);
    put_basis(&w, s, arena);
    put_predictions(&w, s, arena);
    vg_json_close_object(&w);
    st = add_write(work, s, "RiskAssessment", id, &body, err);
    vg_buf_fini(&body);
    if (st == VG_OK)
        *ret_id = id;
    return st;
}

static enum vg_status write_flag(struct work *work, const struct scored *s,
                                 const struct care_flag *flag, int64_t opened_us,
                                 struct vg_err *err)
{
    struct vg_arena *arena = &work->alert->arena;
    bool is_closed = flag->change == CARE_FLAG_CLOSED;
    struct vg_json_writer w;
    struct vg_buf body;
    enum vg_status st;

    vg_buf_init(&body, 1u << 16);
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
    put_reference(&w, "subject", "Patient", s->patient_id, arena);
    vg_json_name(&w, "period");
    vg_json_open_object(&w);
    vg_json_member_time(&w, "start", opened_us);
    if (is_closed)
        vg_json_member_time(&w, "end", flag->time_us);
    vg_json_close_object(&w);
    if (s->encounter_id.len)
        put_reference(&w, "encounter", "Encounter", s->encounter_id, arena);
    vg_json_close_object(&w);
    st = add_write(work, s, "Flag", flag->flag_id, &body, err);
    vg_buf_fini(&body);
    return st;
}

/* ---- rules ---- */

/* "NEWS2 8: respiration 26 /min, SpO2 89 %": the parts that score, no name. */
static struct vg_slice make_title(struct alert *alert, const struct scored *s)
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
    title = vg_arena_dup(&alert->arena, vg_slice_trim(vg_buf_slice(&out)));
    vg_buf_fini(&out);
    return title;
}

static struct vg_slice severity_of(const struct alert *alert, double level)
{
    return level >= alert->news2.high ? VG_SLICE("high") : VG_SLICE("medium");
}

/* When the open flag was raised is in its id's making; the state keeps the id, the repository the
 * time. */
static int64_t opened_us_of(const struct care_alert_state *state)
{
    const char *at = strrchr(state->flag_id, '-');
    int64_t opened_us = 0;

    if (at && !vg_slice_to_i64(vg_slice_of(at + 1), &opened_us))
        return 0;
    return opened_us;
}

static enum vg_status apply_rule(struct work *work, const struct scored *s, int64_t *change,
                                 const char **ret_word, struct vg_err *err)
{
    static const char *const words[] = {[RULE_NOTHING] = NULL,
                                        [RULE_OPENS] = "opened",
                                        [RULE_UPDATES] = "updated",
                                        [RULE_CLOSES] = "closed"};
    struct vg_slice rule = VG_SLICE("news2");
    struct rule_input input = {s->evaluated_us, (double)s->low, s->is_incomplete};
    struct care_alert_state state;
    struct care_flag flag = {.patient_id = s->patient_id,
                             .rule = rule,
                             .trace = s->trace,
                             .time_us = s->evaluated_us,
                             .change = CARE_FLAG_UPDATED};
    struct alert *alert = work->alert;
    enum rule_effect effect;
    enum vg_status st = care_batch_alert_get(work->batch, s->patient_id, rule, &state, err);

    if (st != VG_OK)
        return st;
    effect = rule_step(&alert->news2, &input, &state);
    if (effect == RULE_OPENS) {
        char hex[65];

        vg_sha256_hex(vg_arena_printf(&alert->arena, "%.*s|news2", VG_FMT(s->patient_id)), hex);
        (void)snprintf(state.flag_id, sizeof(state.flag_id), "flag-%.32s-%lld", hex,
                       (long long)s->evaluated_us);
    }
    if (effect != RULE_NOTHING) {
        flag.change = effect == RULE_OPENS    ? CARE_FLAG_OPENED
                      : effect == RULE_CLOSES ? CARE_FLAG_CLOSED
                                              : CARE_FLAG_UPDATED;
        flag.flag_id = vg_arena_dup(&alert->arena, vg_slice_of(state.flag_id));
        flag.severity = severity_of(alert, state.level);
        flag.title = make_title(alert, s);
        if (!flag.flag_id.ptr || !flag.title.ptr)
            return no_memory(err);
        st = write_flag(work, s, &flag, opened_us_of(&state), err);
        if (st == VG_OK)
            st = care_batch_flag(work->batch, &flag, change, err);
        if (effect == RULE_CLOSES) {
            state.flag_id[0] = '\0';
            state.level = 0;
        }
    }
    if (st == VG_OK)
        st = care_batch_alert_put(work->batch, s->patient_id, rule, &state, err);
    *ret_word = words[effect];
    return st;
}

/* ---- the stage ---- */

static enum vg_status put_changed(struct alert *alert, struct stream_out *out,
                                  const struct scored *s, int64_t change, const char *flag_word,
                                  struct vg_err *err)
{
    struct vg_json_writer w;

    vg_buf_clear(&alert->headers);
    vg_buf_clear(&alert->value);
    stream_header_put(&alert->headers, "trace", s->trace);
    vg_json_writer_init(&w, &alert->value);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "patientId", s->patient_id);
    vg_json_member_i64(&w, "change", change);
    if (flag_word)
        vg_json_member_string(&w, "flag", vg_slice_of(flag_word));
    vg_json_close_object(&w);
    if (!vg_buf_ok(&alert->value) || !vg_buf_ok(&alert->headers))
        return no_memory(err);
    stream_out_add(out, STREAM_CARE_CHANGED, s->record->time_us, s->patient_id,
                   vg_buf_slice(&alert->headers), vg_buf_slice(&alert->value));
    return VG_OK;
}

static enum vg_status apply_record(struct work *work, const struct stream_record *record,
                                   struct stream_out *out, struct vg_err *err)
{
    struct care_score score = {0};
    const char *flag_word = NULL;
    struct scored s = {0};
    int64_t change = 0;
    enum vg_status st = parse_scored(work->alert, record, &s, err);

    if (st != VG_OK)
        return st;
    score = (struct care_score){.patient_id = s.patient_id,
                                .record = record->value,
                                .trace = s.trace,
                                .window_end_us = s.window_end_us,
                                .scored_us = s.scored_us,
                                .news2_low = s.has_news2 ? (int)s.low : -1,
                                .news2_high = s.has_news2 ? (int)s.high : -1,
                                .probability = s.probability};
    if (s.has_news2 || s.probability >= 0)
        st = write_risk_assessment(work, &s, &score.risk_assessment_id, err);
    if (st == VG_OK)
        st = care_batch_score(work->batch, &score, &change, err);
    if (st == VG_OK && s.has_news2)
        st = apply_rule(work, &s, &change, &flag_word, err);
    if (st == VG_OK)
        st = put_changed(work->alert, out, &s, change, flag_word, err);
    return st;
}

/* What the FHIR service refuses is a dead letter: it holds up neither the care team's board nor
 * anybody else's resources. */
static enum vg_status commit_fhir(struct work *work, struct stream_out *out, struct vg_err *err)
{
    struct alert *alert = work->alert;
    struct fhir_written *written;
    enum vg_status st = VG_REJECT;

    written = vg_arena_alloc(&alert->arena, (work->write_count + 1) * sizeof(*written));
    if (!written)
        return no_memory(err);
    while (st == VG_REJECT && work->write_count > 0) {
        size_t failed = work->write_count, after;

        st = fhir_commit(alert->config.fhir, work->writes, work->write_count, &alert->arena,
                         written, &failed, err);
        if (st != VG_REJECT || failed >= work->write_count)
            return st;
        vg_step_error(13, err);
        stage_deadletter(out, STREAM_SCORED, alert->config.partition, work->made_from[failed],
                         alert->ops.name, err);
        after = --work->write_count - failed;
        memmove(&work->writes[failed], &work->writes[failed + 1], after * sizeof(work->writes[0]));
        memmove(&work->made_from[failed], &work->made_from[failed + 1],
                after * sizeof(work->made_from[0]));
    }
    return VG_OK;
}

static enum vg_status alert_process(void *self, const struct stream_batch *batch,
                                    struct stream_out *out, struct vg_err *err)
{
    struct alert *alert = self;
    struct work *work;
    uint64_t applied_seq;
    enum vg_status st;

    vg_arena_reset(&alert->arena);
    work = vg_arena_alloc(&alert->arena, sizeof(*work));
    if (!work)
        return no_memory(err);
    work->alert = alert;
    st = care_batch_begin(alert->config.care, alert->source, &work->batch, &applied_seq, err);
    if (st != VG_OK)
        return st;
    for (size_t i = 0; i < batch->count && st == VG_OK; i++) {
        if (batch->records[i].seq < applied_seq)
            continue;
        st = apply_record(work, &batch->records[i], out, err);
        if (st == VG_REJECT) {
            stage_deadletter(out, STREAM_SCORED, alert->config.partition, &batch->records[i],
                             alert->ops.name, err);
            st = VG_OK;
        }
    }
    if (st == VG_OK)
        st = commit_fhir(work, out, err);
    if (st != VG_OK) {
        care_batch_abort(work->batch);
        return st == VG_REJECT ? VG_FATAL : st;
    }
    return care_batch_commit(work->batch, batch->next_seq, err);
}

enum vg_status alert_open(const struct alert_config *config, struct alert **ret_alert,
                          struct vg_err *err)
{
    struct alert *alert = calloc(1, sizeof(*alert));

    if (!alert)
        return vg_fail(err, VG_RETRY, "alert.memory", ENOMEM, "alert");
    alert->config = *config;
    alert->news2 = (struct rule_limits){
        .open = config->news2_open ? (double)config->news2_open : 5,
        .high = config->news2_high ? (double)config->news2_high : 7,
        .close = config->news2_close ? (double)config->news2_close : 3,
        .hold_evaluations = config->hold_evaluations ? (int)config->hold_evaluations : 2,
        .close_us = config->close_us ? config->close_us : VG_MINUTE_US,
    };
    if (alert->news2.close >= alert->news2.open || alert->news2.high < alert->news2.open) {
        enum vg_status st = vg_fail(err, VG_REJECT, "alert.limits", 0,
                                    "alert levels must rise: close (%g) < open (%g) <= high (%g)",
                                    alert->news2.close, alert->news2.open, alert->news2.high);

        free(alert);
        return st;
    }
    alert->ops = (struct stage_ops){.name = "alert",
                                    .steps = {13, 14},
                                    .input = STREAM_SCORED,
                                    .batch_count_max = BATCH_MAX,
                                    .process = alert_process};
    (void)snprintf(alert->source, sizeof(alert->source), "alert-%u", config->partition);
    vg_arena_init(&alert->arena, ARENA_BYTES);
    vg_buf_init(&alert->headers, 1u << 16);
    vg_buf_init(&alert->value, 1u << 16);
    *ret_alert = alert;
    return VG_OK;
}

void alert_close(struct alert *alert)
{
    if (!alert)
        return;
    vg_arena_fini(&alert->arena);
    vg_buf_fini(&alert->headers);
    vg_buf_fini(&alert->value);
    free(alert);
}

const struct stage_ops *alert_stage(const struct alert *alert)
{
    return &alert->ops;
}
