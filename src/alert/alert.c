/* alert.c -- the stage: one batch of scored records becomes FHIR writes and one repository
 * transaction; a timer does the same for what time alone brings.
 *
 * ORDER, AND WHAT A CRASH DOES
 *
 * 1. The repository's transaction begins; it tells which records were applied before.
 * 2. Each new record moves the rules' states (held in that transaction) and adds a RiskAssessment
 * and perhaps Flags to the FHIR writes.
 * 3. The FHIR writes are committed. Ids come from patient, window and rule, so doing this twice
 * writes the same resources again, and an equal resource makes no new version.
 * 4. The repository's transaction is committed with the position, then the stage's offset.
 *
 * A crash before 4 repeats everything from the same states and so with the same results. One
 * between the repository's commit and the stage's finds the records applied: they move nothing
 * again, but what they put on topics (care.changed, dead letters) is told again.
 *
 * A resource that the FHIR service refuses is a dead letter; the repository has its score all the
 * same.
 *
 * RULES. "news2"; one for each model that the record lets raise Flags; "stale", which opens when no
 * vital sign has come for stale_us. Only the timer can see silence, so it opens that one, and the
 * patient's next vital sign closes it. Partition 0's timer works for all partitions: patients are
 * in the repository, not in partitions. It also hands back what was snoozed or not acknowledged in
 * time, and closes the flags of patients whose monitoring has ended.
 */
#include "alert/alert.h"

#include "alert/resources.h"
#include "alert/rule.h"
#include "base/log.h"
#include "base/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 256
#define FLAGS_OF_RECORD_MAX 4 /* that change in one record, on average */
#define WRITES_MAX (BATCH_MAX * (1 + FLAGS_OF_RECORD_MAX))
#define TICK_US (5 * VG_SECOND_US)
#define TICK_CHANGES_MAX 200 /* the rest comes with the next tick */
#define ARENA_BYTES (32u << 20)
/* After a start the devices' backlog comes first: nobody is silent only because we were away. */
#define STALE_GRACE_US (2 * VG_MINUTE_US)
#define UNKNOWN_MAX 500
#define AHEAD_US (15 * VG_MINUTE_US) /* no clock of a device is believed further */
#define LOOK_AGAIN_US (10 * VG_MINUTE_US)
#define MODEL_CLOSE_SHARE 0.75 /* of the opening probability */

struct alert {
    struct alert_config config;
    struct rule_limits news2;
    struct stage_ops ops;
    char source[32];
    struct vg_arena arena;
    struct vg_buf headers, value;
    int64_t stale_from_us; /* no stale flag is opened before */
    int64_t look_us;       /* when Flags are looked for that a crash left; INT64_MAX = was done */
};

struct work {
    struct alert *alert;
    struct care_batch *batch;
    struct stream_out *out;
    struct fhir_write writes[WRITES_MAX];
    const struct stream_record *made_from[WRITES_MAX]; /* NULL: the timer */
    size_t write_count;
};

static enum vg_status no_memory(struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, "alert.memory", ENOMEM,
                   "a batch needs more memory than its share");
}

/* ---- what goes out ---- */

static enum vg_status add_write(struct work *work, const struct subject *who, const char *type,
                                struct vg_slice id, struct vg_slice body, struct vg_err *err)
{
    if (!body.ptr || !id.ptr)
        return no_memory(err);
    /* A patient scored twice in a batch for one window: the newer body counts, a FHIR transaction
     * names a resource once. */
    for (size_t i = 0; i < work->write_count; i++) {
        if (vg_slice_eq(work->writes[i].id, id)) {
            work->writes[i].body = body;
            work->made_from[i] = who->record;
            return VG_OK;
        }
    }
    if (work->write_count == WRITES_MAX)
        return no_memory(err);
    work->made_from[work->write_count] = who->record;
    work->writes[work->write_count++] =
        (struct fhir_write){.what = FHIR_UPDATE, .type = vg_slice_of(type), .id = id, .body = body};
    return VG_OK;
}

static enum vg_status write_risk_assessment(struct work *work, const struct scored *s,
                                            struct vg_slice *ret_id, struct vg_err *err)
{
    struct vg_arena *arena = &work->alert->arena;
    struct vg_slice id = risk_assessment_id(arena, s);

    if (!s->has_news2 && s->probability < 0)
        return VG_OK;
    *ret_id = id;
    return add_write(work, &s->who, "RiskAssessment", id, risk_assessment_body(arena, s, id), err);
}

static enum vg_status put_changed(struct work *work, const struct subject *who, int64_t change,
                                  const char *flag_word, struct vg_err *err)
{
    struct alert *alert = work->alert;
    struct vg_json_writer w;

    vg_buf_clear(&alert->headers);
    vg_buf_clear(&alert->value);
    if (who->trace.len)
        stream_header_put(&alert->headers, "trace", who->trace);
    vg_json_writer_init(&w, &alert->value);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "patientId", who->patient_id);
    vg_json_member_i64(&w, "change", change);
    if (flag_word)
        vg_json_member_string(&w, "flag", vg_slice_of(flag_word));
    vg_json_close_object(&w);
    if (!vg_buf_ok(&alert->value) || !vg_buf_ok(&alert->headers))
        return no_memory(err);
    stream_out_add(work->out, STREAM_CARE_CHANGED, who->record ? who->record->time_us : vg_now_us(),
                   who->patient_id, vg_buf_slice(&alert->headers), vg_buf_slice(&alert->value));
    return VG_OK;
}

/* ---- rules ---- */

/* One rule at one evaluation of one patient. */
struct evaluation {
    struct vg_slice rule;
    const struct rule_limits *limits;
    struct rule_input input;
    const struct scored *scored; /* NULL: the timer */
    const struct vg_json *model; /* the model's entry, for its title */
    struct vg_slice stale_title;
    bool is_urgent; /* severity high, whatever the level */
};

/* Only when something is said of the flag: titles cost. */
static struct vg_slice title_of(struct alert *alert, const struct evaluation *e)
{
    if (e->model)
        return model_title(&alert->arena, e->model);
    if (e->stale_title.len)
        return e->stale_title;
    return news2_title(&alert->arena, e->scored);
}

static enum vg_status put_flag(struct work *work, const struct subject *who,
                               const struct care_flag *flag, int64_t *change, struct vg_err *err)
{
    enum vg_status st =
        add_write(work, who, "Flag", flag->flag_id, flag_body(&work->alert->arena, who, flag), err);

    return st == VG_OK ? care_batch_flag(work->batch, flag, change, err) : st;
}

static enum vg_status evaluate(struct work *work, const struct subject *who,
                               const struct evaluation *e, int64_t *change, const char **ret_word,
                               struct vg_err *err)
{
    static const struct {
        const char *word;
        enum care_flag_change change;
    } told[] = {[RULE_NOTHING] = {NULL, CARE_FLAG_UPDATED},
                [RULE_OPENS] = {"opened", CARE_FLAG_OPENED},
                [RULE_UPDATES] = {"updated", CARE_FLAG_UPDATED},
                [RULE_CLOSES] = {"closed", CARE_FLAG_CLOSED}};
    struct alert *alert = work->alert;
    struct care_alert_state state, before;
    enum rule_effect effect;
    enum vg_status st = care_batch_alert_get(work->batch, who->patient_id, e->rule, &state, err);

    if (st != VG_OK)
        return st;
    before = state;
    /* An evaluation from when our clock was ahead would keep all others out until then. */
    if (state.last_us > vg_now_us() + AHEAD_US) {
        state.last_us = 0;
        state.since_us = e->input.time_us;
    }
    effect = rule_step(e->limits, &e->input, &state);
    /* Silence is judged now, never late: a rule that rests need not be written for its time. */
    if (e->stale_title.len && before.phase == RULE_IDLE && state.phase == RULE_IDLE)
        return VG_OK;
    if (effect == RULE_OPENS)
        flag_id_make(state.flag_id, who->patient_id, e->rule, e->input.time_us);
    if (effect != RULE_NOTHING) {
        struct care_flag flag = {
            .flag_id = vg_arena_dup(&alert->arena, vg_slice_of(state.flag_id)),
            .patient_id = who->patient_id,
            .rule = e->rule,
            .severity = e->is_urgent || state.level >= e->limits->high ? VG_SLICE("high")
                                                                       : VG_SLICE("medium"),
            .title = title_of(alert, e),
            .trace = who->trace,
            .time_us = e->input.time_us,
            .change = told[effect].change,
        };

        if (!flag.flag_id.ptr || !flag.title.ptr)
            return no_memory(err);
        st = put_flag(work, who, &flag, change, err);
        *ret_word = told[effect].word;
        if (effect == RULE_CLOSES)
            state.flag_id[0] = '\0';
    }
    if (st == VG_OK)
        st = care_batch_alert_put(work->batch, who->patient_id, e->rule, &state, err);
    return st;
}

static enum vg_status apply_news2(struct work *work, const struct scored *s, int64_t *change,
                                  const char **ret_word, struct vg_err *err)
{
    struct evaluation e = {
        .rule = VG_SLICE("news2"),
        .limits = &work->alert->news2,
        .input = {s->evaluated_us, (double)s->low, s->is_incomplete, s->parts_known, s->parts_high},
        .scored = s};

    return s->has_news2 ? evaluate(work, &s->who, &e, change, ret_word, err) : VG_OK;
}

/* A model raises Flags where its entry says so; the thresholds are the model's own. A Flag that is
 * open when the model may raise none any more is let go as usual. */
static enum vg_status apply_model(struct work *work, const struct scored *s,
                                  const struct vg_json *model, int64_t *change,
                                  const char **ret_word, struct vg_err *err)
{
    const struct vg_json *thresholds = vg_json_get(model, "thresholds");
    struct rule_limits limits = work->alert->news2; /* the same times */
    struct evaluation e = {.rule = vg_json_get_text(model, "name"),
                           .limits = &limits,
                           .input = {.time_us = s->evaluated_us,
                                     .is_incomplete = s->is_incomplete,
                                     .parts = s->parts_known,
                                     .high = s->parts_high},
                           .scored = s,
                           .model = model};

    if (!e.rule.len || !vg_json_to_double(vg_json_get(model, "probability"), &e.input.level) ||
        !vg_json_to_double(vg_json_get(thresholds, "medium"), &limits.open) ||
        !vg_json_to_double(vg_json_get(thresholds, "high"), &limits.high))
        return VG_OK;
    limits.close = limits.open * MODEL_CLOSE_SHARE;
    if (!vg_slice_is(vg_json_get_text(model, "mode"), "flag")) {
        struct care_alert_state state;
        enum vg_status st =
            care_batch_alert_get(work->batch, s->who.patient_id, e.rule, &state, err);

        if (st != VG_OK || !state.flag_id[0])
            return st;
        limits.open = limits.high = INFINITY;
    }
    return evaluate(work, &s->who, &e, change, ret_word, err);
}

static const struct rule_limits stale_limits = {
    .open = 1, .high = 2, .close = 0, .hold_evaluations = 1};

static enum vg_status apply_fresh(struct work *work, const struct scored *s, int64_t *change,
                                  const char **ret_word, struct vg_err *err)
{
    struct evaluation e = {.rule = VG_SLICE("stale"),
                           .limits = &stale_limits,
                           .input = {.time_us = s->scored_us},
                           .scored = s,
                           .stale_title = VG_SLICE("Vital signs are coming again")};
    int64_t stale_us = work->alert->config.stale_us; /* 0: nothing is stale, and what was ends */

    if (!s->heard_us || (stale_us > 0 && s->scored_us - s->heard_us >= stale_us))
        return VG_OK;
    return evaluate(work, &s->who, &e, change, ret_word, err);
}

/* ---- records ---- */

static enum vg_status apply_rules(struct work *work, const struct scored *s, int64_t *change,
                                  const char **ret_word, struct vg_err *err)
{
    const struct vg_json *models = vg_json_get(s->json, "models");
    enum vg_status st = apply_news2(work, s, change, ret_word, err);

    if (!models && st == VG_OK)
        st = apply_model(work, s, vg_json_get(s->json, "model"), change, ret_word, err);
    for (const struct vg_json *m = models ? models->child : NULL; m && st == VG_OK; m = m->next)
        st = apply_model(work, s, m, change, ret_word, err);
    if (st == VG_OK)
        st = apply_fresh(work, s, change, ret_word, err);
    return st;
}

/* An answer about a record that a newer one of the same window has overtaken: that one knew more.
 */
static enum vg_status is_overtaken(struct work *work, const struct scored *s, bool *ret,
                                   struct vg_err *err)
{
    int64_t window_end_us = 0, scored_us = 0;
    enum vg_status st = s->is_answer ? care_batch_scored(work->batch, s->who.patient_id,
                                                         &window_end_us, &scored_us, err)
                                     : VG_END;

    *ret = st == VG_OK && window_end_us == s->window_end_us && scored_us > s->scored_us;
    return st == VG_END ? VG_OK : st;
}

static enum vg_status apply_record(struct work *work, const struct stream_record *record,
                                   bool is_applied, struct vg_err *err)
{
    struct care_score score = {0};
    const char *flag_word = NULL;
    struct scored s = {0};
    int64_t change = 0;
    bool is_past = false;
    enum vg_status st = scored_parse(&work->alert->arena, record, &s, err);

    if (st == VG_OK)
        st = is_overtaken(work, &s, &is_past, err);
    if (st != VG_OK || is_past)
        return st;
    score = (struct care_score){.patient_id = s.who.patient_id,
                                .record = record->value,
                                .trace = s.who.trace,
                                .window_end_us = s.window_end_us,
                                .scored_us = s.scored_us,
                                .heard_us = s.heard_us,
                                .news2_low = s.has_news2 ? (int)s.low : -1,
                                .news2_high = s.has_news2 ? (int)s.high : -1,
                                .probability = s.probability};
    st = write_risk_assessment(work, &s, &score.risk_assessment_id, err);
    if (st == VG_OK && !is_applied)
        st = care_batch_score(work->batch, &score, &change, err);
    if (st == VG_OK && !is_applied)
        st = apply_rules(work, &s, &change, &flag_word, err);
    if (st == VG_OK && is_applied)
        st = care_batch_change(work->batch, s.who.patient_id, &change, err);
    if (st == VG_OK)
        st = put_changed(work, &s.who, change, flag_word, err);
    return st;
}

/* What the FHIR service refuses is a dead letter: it holds up neither the care team's board nor
 * anybody else's resources. */
static enum vg_status commit_fhir(struct work *work, struct vg_err *err)
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
        if (work->made_from[failed])
            stage_deadletter(work->out, STREAM_SCORED, alert->config.partition,
                             work->made_from[failed], alert->ops.name, err);
        else
            vg_log_err(VG_LOG_ERROR, alert->ops.name, err);
        after = --work->write_count - failed;
        memmove(&work->writes[failed], &work->writes[failed + 1], after * sizeof(work->writes[0]));
        memmove(&work->made_from[failed], &work->made_from[failed + 1],
                after * sizeof(work->made_from[0]));
    }
    return VG_OK;
}

/* ---- the stage ---- */

static enum vg_status begin(struct alert *alert, struct stream_out *out, struct work **ret_work,
                            uint64_t *ret_applied_seq, struct vg_err *err)
{
    struct work *work;

    vg_arena_reset(&alert->arena);
    *ret_work = work = vg_arena_alloc(&alert->arena, sizeof(*work));
    if (!work)
        return no_memory(err);
    work->alert = alert;
    work->out = out;
    return care_batch_begin(alert->config.care, alert->source, &work->batch, ret_applied_seq, err);
}

static enum vg_status end(struct work *work, enum vg_status st, uint64_t next_seq,
                          struct vg_err *err)
{
    if (st == VG_OK)
        st = commit_fhir(work, err);
    if (st != VG_OK) {
        care_batch_abort(work->batch);
        return st == VG_REJECT ? VG_FATAL : st;
    }
    return care_batch_commit(work->batch, next_seq, err);
}

static enum vg_status alert_process(void *self, const struct stream_batch *batch,
                                    struct stream_out *out, struct vg_err *err)
{
    struct alert *alert = self;
    struct work *work;
    uint64_t applied_seq;
    enum vg_status st = begin(alert, out, &work, &applied_seq, err);

    if (st != VG_OK)
        return st;
    for (size_t i = 0; i < batch->count && st == VG_OK; i++) {
        st = apply_record(work, &batch->records[i], batch->records[i].seq < applied_seq, err);
        if (st == VG_REJECT) {
            stage_deadletter(out, STREAM_SCORED, alert->config.partition, &batch->records[i],
                             alert->ops.name, err);
            st = VG_OK;
        }
    }
    return end(work, st, batch->next_seq > applied_seq ? batch->next_seq : applied_seq, err);
}

/* ---- the timer ---- */

/* What the repository's queries found, to be worked on after them. */
struct found_due {
    struct subject who;
    struct care_due due;
};

struct found {
    struct work *work;
    struct found_due *items;
    size_t count;
};

static enum vg_status take_due(void *ctx, const struct care_due *due)
{
    struct found *found = ctx;
    struct vg_arena *arena = &found->work->alert->arena;
    struct vg_json *record = NULL;
    struct found_due *kept = &found->items[found->count];

    if (found->count == TICK_CHANGES_MAX)
        return VG_OK;
    *kept = (struct found_due){.due = *due};
    if (due->record.len &&
        vg_json_parse(arena, vg_arena_dup(arena, due->record), NULL, &record, NULL, NULL) == VG_OK)
        kept->who.encounter_id = vg_json_get_text(record, "encounterId");
    kept->who.patient_id = vg_arena_dup(arena, due->patient_id);
    kept->due.flag_id = vg_arena_dup(arena, due->flag_id);
    kept->due.rule = vg_arena_dup(arena, due->rule);
    kept->due.severity = vg_arena_dup(arena, due->severity);
    kept->due.title = vg_arena_dup(arena, due->title);
    found->count++;
    return VG_OK;
}

static enum vg_status flag_silence(struct work *work, const struct found_due *found, int64_t now_us,
                                   struct vg_err *err)
{
    int64_t silent_us = work->alert->config.stale_us;
    bool has_hours = silent_us >= VG_HOUR_US && silent_us % VG_HOUR_US == 0;
    struct evaluation e = {
        .rule = VG_SLICE("stale"),
        .limits = &stale_limits,
        .input = {.time_us = now_us, .level = 1},
        /* Nobody sees any more how a patient does who was flagged. */
        .is_urgent = found->due.has_flag,
        .stale_title =
            vg_arena_printf(&work->alert->arena, "No vital sign for over %lld %s",
                            (long long)(silent_us / (has_hours ? VG_HOUR_US : VG_MINUTE_US)),
                            has_hours ? "h" : "min"),
    };
    const char *word = NULL;
    int64_t change = 0;
    enum vg_status st;

    if (!e.stale_title.ptr)
        return no_memory(err);
    st = evaluate(work, &found->who, &e, &change, &word, err);
    return st == VG_OK && word ? put_changed(work, &found->who, change, word, err) : st;
}

/* Monitoring has ended: the flag ends with it, and the rule starts anew if the patient returns. */
static enum vg_status close_ended(struct work *work, const struct found_due *found, int64_t now_us,
                                  struct vg_err *err)
{
    const struct care_due *due = &found->due;
    struct care_alert_state state = {.last_us = now_us};
    struct care_flag flag = {.flag_id = due->flag_id,
                             .patient_id = found->who.patient_id,
                             .rule = due->rule,
                             .severity = due->severity,
                             .title = due->title,
                             .time_us = now_us,
                             .change = CARE_FLAG_CLOSED};
    int64_t change = 0;
    enum vg_status st = put_flag(work, &found->who, &flag, &change, err);

    if (st == VG_OK)
        st = care_batch_alert_put(work->batch, flag.patient_id, due->rule, &state, err);
    return st == VG_OK ? put_changed(work, &found->who, change, "closed", err) : st;
}

/* A crash between FHIR's commit and the repository's leaves a Flag of the timer that nobody knows
 * of: unlike a record's, its time is not the same when it is done again. It ends at the next start.
 */
static enum vg_status close_unknown(struct work *work, const struct fhir_resource *resource,
                                    int64_t now_us, struct vg_err *err)
{
    struct vg_arena *arena = &work->alert->arena;
    struct care_alert_state state;
    struct vg_json *root = NULL;
    const struct vg_json *code, *coding;
    struct subject who = {0};
    struct care_flag flag = {.rule = VG_SLICE("stale"),
                             .severity = VG_SLICE("medium"),
                             .time_us = now_us,
                             .change = CARE_FLAG_CLOSED};
    int64_t change = 0;
    enum vg_status st;

    if (vg_json_parse(arena, resource->body, NULL, &root, NULL, NULL) != VG_OK)
        return VG_OK;
    code = vg_json_get(root, "code");
    coding = vg_json_get(code, "coding");
    who.patient_id = vg_json_get_text(vg_json_get(root, "subject"), "reference");
    who.encounter_id = vg_json_get_text(vg_json_get(root, "encounter"), "reference");
    if (!vg_slice_starts(who.patient_id, VG_SLICE("Patient/")))
        return VG_OK;
    who.patient_id = vg_slice_from(who.patient_id, sizeof("Patient/") - 1);
    if (who.encounter_id.len)
        who.encounter_id = vg_slice_from(who.encounter_id, sizeof("Encounter/") - 1);
    st = care_batch_change(work->batch, who.patient_id, &change, err);
    if (st == VG_OK && change > 0) /* else: another platform's patient */
        st = care_batch_alert_get(work->batch, who.patient_id, flag.rule, &state, err);
    if (st != VG_OK || change == 0 || vg_slice_is(resource->id, state.flag_id))
        return st;
    if (vg_slice_is(vg_json_get_text(coding ? coding->child : NULL, "code"), "stale-high"))
        flag.severity = VG_SLICE("high");
    flag.flag_id = resource->id;
    flag.title = vg_json_get_text(code, "text");
    return add_write(work, &who, "Flag", flag.flag_id, flag_body(arena, &who, &flag), err);
}

struct unknown {
    struct vg_arena arena;
    struct fhir_resource *flags;
    size_t count;
};

/* The timer's open Flags in FHIR, once, before it opens any. Nobody waits for a FHIR service that
 * is away: it is asked again later, and the repository is not held meanwhile. */
static void look_for_unknown(struct alert *alert, struct unknown *unknown, int64_t now_us)
{
    struct vg_slice query = VG_SLICE("status=active&code=" CODE_SYSTEM
                                     "%7Cstale-medium," CODE_SYSTEM "%7Cstale-high&_count=100");
    struct vg_err err = {0};

    unknown->flags = vg_arena_alloc(&unknown->arena, UNKNOWN_MAX * sizeof(*unknown->flags));
    while (unknown->flags && query.ptr) {
        struct fhir_results results = {0};

        if (fhir_search(alert->config.fhir, VG_SLICE("Flag"), query, &unknown->arena, &results,
                        &err) != VG_OK) {
            vg_log_err(VG_LOG_WARN, alert->ops.name, &err);
            alert->look_us = now_us + LOOK_AGAIN_US;
            unknown->count = 0;
            return;
        }
        for (size_t i = 0; i < results.match_count && unknown->count < UNKNOWN_MAX; i++) {
            if (flag_id_opened_us(results.resources[i].id))
                unknown->flags[unknown->count++] = results.resources[i];
        }
        query = results.next_query;
    }
    alert->look_us = INT64_MAX;
}

static enum vg_status look_at_all(struct alert *alert, const struct unknown *unknown,
                                  int64_t now_us, struct stream_out *out, struct vg_err *err)
{
    struct found silent, ended, handed_back;
    struct work *work;
    uint64_t applied_seq;
    enum vg_status st;

    if (alert->stale_from_us == 0)
        alert->stale_from_us =
            now_us +
            (alert->config.stale_us < STALE_GRACE_US ? alert->config.stale_us : STALE_GRACE_US);
    st = begin(alert, out, &work, &applied_seq, err);
    if (st != VG_OK)
        return st;
    silent = ended = handed_back = (struct found){.work = work};
    silent.items = vg_arena_alloc(&alert->arena, TICK_CHANGES_MAX * sizeof(struct found_due) * 3);
    if (!silent.items) {
        care_batch_abort(work->batch);
        return no_memory(err);
    }
    ended.items = silent.items + TICK_CHANGES_MAX;
    handed_back.items = ended.items + TICK_CHANGES_MAX;
    for (size_t i = 0; i < unknown->count && st == VG_OK; i++)
        st = close_unknown(work, &unknown->flags[i], now_us, err);
    if (st == VG_OK && alert->config.stale_us > 0 && now_us >= alert->stale_from_us)
        st = care_batch_silent(work->batch, now_us - alert->config.stale_us, TICK_CHANGES_MAX,
                               take_due, &silent, err);
    if (st == VG_OK)
        st = care_batch_ended(work->batch, TICK_CHANGES_MAX, take_due, &ended, err);
    if (st == VG_OK)
        st = care_batch_hand_back(work->batch, now_us, TICK_CHANGES_MAX, take_due, &handed_back,
                                  err);
    if (st == VG_OK && work->write_count + silent.count + ended.count + handed_back.count == 0) {
        care_batch_abort(work->batch);
        return VG_OK;
    }
    for (size_t i = 0; i < silent.count && st == VG_OK; i++)
        st = flag_silence(work, &silent.items[i], now_us, err);
    for (size_t i = 0; i < ended.count && st == VG_OK; i++)
        st = close_ended(work, &ended.items[i], now_us, err);
    for (size_t i = 0; i < handed_back.count && st == VG_OK; i++)
        st = put_changed(work, &handed_back.items[i].who, handed_back.items[i].due.change,
                         "updated", err);
    return end(work, st, applied_seq, err);
}

static enum vg_status alert_tick(void *self, int64_t now_us, struct stream_out *out,
                                 struct vg_err *err)
{
    struct alert *alert = self;
    struct unknown unknown = {.count = 0};
    enum vg_status st;

    vg_arena_init(&unknown.arena, ARENA_BYTES);
    if (now_us >= alert->look_us)
        look_for_unknown(alert, &unknown, now_us);
    st = look_at_all(alert, &unknown, now_us, out, err);
    if (st != VG_OK && unknown.count > 0)
        alert->look_us = 0; /* nothing was closed */
    vg_arena_fini(&unknown.arena);
    return st;
}

static enum vg_status alert_position(void *self, uint64_t *ret_next_seq, struct vg_err *err)
{
    struct alert *alert = self;
    struct care_batch *batch;
    enum vg_status st =
        care_batch_begin(alert->config.care, alert->source, &batch, ret_next_seq, err);

    if (st == VG_OK)
        care_batch_abort(batch);
    return st;
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
        .hold_us = config->hold_us,
        .close_us = config->close_us ? config->close_us : VG_MINUTE_US,
        .refractory_us = config->refractory_us,
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
                                    .process = alert_process,
                                    .position = alert_position};
    if (config->partition == 0) {
        alert->ops.tick = alert_tick;
        alert->ops.tick_us = config->tick_us ? config->tick_us : TICK_US;
    }
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
