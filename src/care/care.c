/* care.c -- the repository: opening it, and applying what alert decides.
 *
 * TWO CONNECTIONS
 *
 * One writes, one reads (WAL: readers see the last committed state and never wait for the writer).
 * Each has a lock. A care_batch holds the writer's lock from begin to commit, so a person's
 * acknowledgement waits for a batch at most, some milliseconds.
 *
 * APPLIED ONCE
 *
 * The position of each applier (`applied`) moves in the same transaction as what it applied. Alert
 * asks for it at the start of a batch and skips what is before it, so a replay after a crash
 * changes nothing.
 */
#include "care/care_int.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

#define READING_KEEP_US (72 * VG_HOUR_US)
#define PRUNE_EVERY 256 /* changes */
#define RECORD_ARENA_SIZE (2u << 20)
#define AHEAD_US (15 * VG_MINUTE_US) /* further ahead than any clock is believed */

const struct sql_engine *const sql_engines[] = {&sql_engine_sqlite, NULL};

struct vg_slice sql_text(const struct sql_row *row, int column)
{
    return row->engine->text(row, column);
}

int64_t sql_integer(const struct sql_row *row, int column)
{
    return row->engine->integer(row, column);
}

double sql_number(const struct sql_row *row, int column)
{
    return row->engine->number(row, column);
}

bool sql_is_null(const struct sql_row *row, int column)
{
    return row->engine->is_null(row, column);
}

enum vg_status sql_run(struct sql *sql, const char *statement, const struct sql_value *params,
                       size_t param_count, sql_row_fn *fn, void *ctx, int64_t *ret_changes,
                       struct vg_err *err)
{
    return sql->engine->run(sql, statement, params, param_count, fn, ctx, ret_changes, err);
}

enum vg_status care_run(struct care *care, bool is_write, const char *statement,
                        const struct sql_value *params, size_t param_count, sql_row_fn *fn,
                        void *ctx, struct vg_err *err)
{
    pthread_mutex_t *lock = is_write ? &care->write_lock : &care->read_lock;
    enum vg_status st;

    pthread_mutex_lock(lock);
    st = sql_run(is_write ? care->writer : care->reader, statement, params, param_count, fn, ctx,
                 NULL, err);
    pthread_mutex_unlock(lock);
    return st;
}

enum vg_status care_open(const struct care_config *config, struct care **ret_care,
                         struct vg_err *err)
{
    const struct sql_engine *engine = NULL;
    struct care *care = calloc(1, sizeof(*care));
    enum vg_status st = VG_OK;

    if (!care)
        return vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "repository");
    pthread_mutex_init(&care->write_lock, NULL);
    pthread_mutex_init(&care->read_lock, NULL);
    for (size_t i = 0; sql_engines[i] && !engine; i++) {
        if (!config->engine || strcmp(config->engine, sql_engines[i]->name) == 0)
            engine = sql_engines[i];
    }
    if (!engine)
        st = vg_fail(err, VG_FATAL, "care.engine", 0, "no repository engine is called '%s'",
                     config->engine);
    if (st == VG_OK)
        st = engine->open(config, false, &care->writer, err);
    if (st == VG_OK)
        st = engine->migrate(care->writer, care_migrations, care_migration_count, err);
    if (st == VG_OK)
        st = engine->open(config, true, &care->reader, err);
    if (st != VG_OK) {
        care_close(care);
        return st;
    }
    *ret_care = care;
    return VG_OK;
}

void care_close(struct care *care)
{
    if (!care)
        return;
    if (care->reader)
        care->reader->engine->close(care->reader);
    if (care->writer)
        care->writer->engine->close(care->writer);
    pthread_mutex_destroy(&care->read_lock);
    pthread_mutex_destroy(&care->write_lock);
    free(care);
}

enum vg_status care_begin(struct care *care, struct vg_err *err)
{
    return sql_run(care->writer, "BEGIN", NULL, 0, NULL, NULL, NULL, err);
}

static void roll_back(struct care *care)
{
    /* Fails when a failed COMMIT has ended the transaction already: then there is nothing to undo.
     */
    if (sql_run(care->writer, "ROLLBACK", NULL, 0, NULL, NULL, NULL, NULL) != VG_OK)
        return;
}

enum vg_status care_end(struct care *care, enum vg_status st, struct vg_err *err)
{
    if (st == VG_OK)
        st = sql_run(care->writer, "COMMIT", NULL, 0, NULL, NULL, NULL, err);
    if (st != VG_OK)
        roll_back(care);
    return st;
}

enum vg_status care_take_integer(void *ctx, const struct sql_row *row)
{
    *(int64_t *)ctx = sql_integer(row, 0);
    return VG_OK;
}

enum vg_status care_next_change(struct sql *sql, int64_t *ret_change, struct vg_err *err)
{
    return SQL_RUN(sql, err, care_take_integer, ret_change,
                   "UPDATE counter SET value = value + 1 WHERE name = ? RETURNING value",
                   sql_t(VG_SLICE("change")));
}

/* ---- batches ---- */

struct care_batch {
    struct care *care;
    char source[32];
    struct vg_arena arena; /* for one record */
};

enum vg_status care_batch_begin(struct care *care, const char *source,
                                struct care_batch **ret_batch, uint64_t *ret_applied_seq,
                                struct vg_err *err)
{
    struct care_batch *batch = calloc(1, sizeof(*batch));
    int64_t applied = 0;
    enum vg_status st;

    if (!batch)
        return vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "batch");
    batch->care = care;
    vg_arena_init(&batch->arena, RECORD_ARENA_SIZE);
    (void)vg_slice_to_cstr(vg_slice_of(source), batch->source, sizeof(batch->source));
    pthread_mutex_lock(&care->write_lock);
    st = care_begin(care, err);
    if (st == VG_OK)
        st = SQL_RUN(care->writer, err, care_take_integer, &applied,
                     "SELECT next_seq FROM applied WHERE source = ?", sql_t(vg_slice_of(source)));
    if (st != VG_OK) {
        care_batch_abort(batch);
        return st;
    }
    *ret_applied_seq = (uint64_t)applied;
    *ret_batch = batch;
    return VG_OK;
}

struct sql *care_batch_sql(struct care_batch *batch)
{
    return batch->care->writer;
}

struct vg_arena *care_batch_arena(struct care_batch *batch)
{
    return &batch->arena;
}

static void batch_free(struct care_batch *batch)
{
    pthread_mutex_unlock(&batch->care->write_lock);
    vg_arena_fini(&batch->arena);
    free(batch);
}

void care_batch_abort(struct care_batch *batch)
{
    if (!batch)
        return;
    roll_back(batch->care);
    batch_free(batch);
}

enum vg_status care_batch_commit(struct care_batch *batch, uint64_t next_seq, struct vg_err *err)
{
    enum vg_status st = SQL_RUN(batch->care->writer, err, NULL, NULL,
                                "INSERT INTO applied (source, next_seq) VALUES (?, ?) "
                                "ON CONFLICT (source) DO UPDATE SET next_seq = excluded.next_seq",
                                sql_t(vg_slice_of(batch->source)), sql_i((int64_t)next_seq));

    st = care_end(batch->care, st, err);
    batch_free(batch);
    return st;
}

enum vg_status care_batch_change(struct care_batch *batch, struct vg_slice patient_id,
                                 int64_t *ret_change, struct vg_err *err)
{
    *ret_change = 0;
    return SQL_RUN(batch->care->writer, err, care_take_integer, ret_change,
                   "SELECT change FROM patient WHERE patient_id = ?", sql_t(patient_id));
}

static enum vg_status take_times(void *ctx, const struct sql_row *row)
{
    int64_t *times = ctx;

    times[0] = sql_integer(row, 0);
    times[1] = sql_integer(row, 1);
    times[2] = 1;
    return VG_OK;
}

enum vg_status care_batch_scored(struct care_batch *batch, struct vg_slice patient_id,
                                 int64_t *ret_window_end_us, int64_t *ret_scored_us,
                                 struct vg_err *err)
{
    int64_t times[3] = {0};
    enum vg_status st = SQL_RUN(batch->care->writer, err, take_times, times,
                                "SELECT window_end_us, scored_us FROM patient WHERE patient_id = ?",
                                sql_t(patient_id));

    *ret_window_end_us = times[0];
    *ret_scored_us = times[1];
    return st == VG_OK && !times[2] ? VG_END : st;
}

static enum vg_status take_alert_state(void *ctx, const struct sql_row *row)
{
    struct care_alert_state *state = ctx;

    state->phase = (int)sql_integer(row, 0);
    state->since_us = sql_integer(row, 1);
    state->last_us = sql_integer(row, 2);
    state->evaluations = (int)sql_integer(row, 3);
    state->level = sql_number(row, 4);
    (void)vg_slice_to_cstr(sql_text(row, 5), state->flag_id, sizeof(state->flag_id));
    state->parts = sql_integer(row, 6);
    return VG_OK;
}

enum vg_status care_batch_alert_get(struct care_batch *batch, struct vg_slice patient_id,
                                    struct vg_slice rule, struct care_alert_state *ret_state,
                                    struct vg_err *err)
{
    *ret_state = (struct care_alert_state){0};
    return SQL_RUN(
        batch->care->writer, err, take_alert_state, ret_state,
        "SELECT phase, since_us, last_us, evaluations, level, flag_id, parts FROM alert_state "
        "WHERE patient_id = ? AND rule = ?",
        sql_t(patient_id), sql_t(rule));
}

enum vg_status care_batch_alert_put(struct care_batch *batch, struct vg_slice patient_id,
                                    struct vg_slice rule, const struct care_alert_state *state,
                                    struct vg_err *err)
{
    return SQL_RUN(
        batch->care->writer, err, NULL, NULL,
        "INSERT INTO alert_state (patient_id, rule, phase, since_us, last_us, "
        "evaluations, level, flag_id, parts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (patient_id, rule) DO UPDATE SET phase = excluded.phase, since_us = "
        "excluded.since_us, last_us = excluded.last_us, evaluations = "
        "excluded.evaluations, level = excluded.level, flag_id = excluded.flag_id, parts = "
        "excluded.parts",
        sql_t(patient_id), sql_t(rule), sql_i(state->phase), sql_i(state->since_us),
        sql_i(state->last_us), sql_i(state->evaluations), sql_d(state->level),
        sql_t(vg_slice_of(state->flag_id)), sql_i(state->parts));
}

/* "Ada Maria Example" -> "AME": the first letters, at most three, ASCII or whole UTF-8 characters.
 */
static struct vg_slice make_initials(struct vg_arena *arena, struct vg_slice name)
{
    struct vg_buf out;
    struct vg_slice kept;
    unsigned count = 0;

    vg_buf_init(&out, 64);
    while (name.len && count < 3) {
        struct vg_slice word = vg_slice_cut(&name, ' ');
        size_t len = 1;

        if (!word.len)
            continue;
        while (len < word.len && ((unsigned char)word.ptr[len] & 0xc0) == 0x80)
            len++;
        vg_buf_put(&out, (struct vg_slice){word.ptr, len});
        count++;
    }
    kept = vg_arena_dup(arena, vg_buf_slice(&out));
    vg_buf_fini(&out);
    return kept;
}

static struct sql_value text_or_null(const struct vg_json *object, const char *name)
{
    struct vg_slice text = vg_json_get_text(object, name);

    return text.len ? sql_t(text) : sql_null();
}

/* The numbers behind the sparklines and the charts. A correction replaces what it corrects. */
static enum vg_status put_readings(struct sql *sql, struct vg_slice patient_id,
                                   const struct vg_json *vitals, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    for (const struct vg_json *v = vitals ? vitals->child : NULL; v && st == VG_OK; v = v->next) {
        double value;
        int64_t time_us;

        if (!vg_json_to_double(vg_json_get(v, "value"), &value) ||
            !vg_time_parse(vg_json_get_text(v, "time"), &time_us, NULL))
            continue;
        st = SQL_RUN(sql, err, NULL, NULL,
                     "INSERT INTO reading (patient_id, code, time_us, value) VALUES (?, ?, ?, ?) "
                     "ON CONFLICT (patient_id, code, time_us) DO UPDATE SET value = excluded.value "
                     "WHERE reading.value <> excluded.value",
                     sql_t(patient_id), sql_t(vg_json_get_text(v, "code")), sql_i(time_us),
                     sql_d(value));
    }
    return st;
}

static enum vg_status prune(struct sql *sql, struct vg_slice patient_id, int64_t before_us,
                            struct vg_err *err)
{
    enum vg_status st =
        SQL_RUN(sql, err, NULL, NULL, "DELETE FROM reading WHERE patient_id = ? AND time_us < ?",
                sql_t(patient_id), sql_i(before_us));

    if (st == VG_OK)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "DELETE FROM score WHERE patient_id = ? AND window_end_us < ?",
                     sql_t(patient_id), sql_i(before_us));
    return st;
}

enum vg_status care_batch_score(struct care_batch *batch, const struct care_score *score,
                                int64_t *ret_change, struct vg_err *err)
{
    struct sql *sql = batch->care->writer;
    const struct vg_json *patient, *news2, *model;
    struct vg_json *record;
    struct vg_slice name;
    /* What our clock left when it was ahead gives way to whatever is true now. */
    int64_t change = 0, age = 0, latest_us = vg_now_us() + AHEAD_US;
    bool is_complete = false;
    enum vg_status st;

    vg_arena_reset(&batch->arena);
    st = vg_json_parse(&batch->arena, score->record, NULL, &record, NULL, err);
    if (st != VG_OK)
        return st;
    patient = vg_json_get(record, "patient");
    news2 = vg_json_get(record, "news2");
    model = vg_json_get(record, "model");
    name = vg_json_get_text(patient, "name");
    bool has_age = vg_json_to_i64(vg_json_get(patient, "ageYears"), &age);
    bool has_news2 = vg_json_to_bool(vg_json_get(news2, "complete"), &is_complete);

    st = care_next_change(sql, &change, err);
    if (st == VG_OK)
        st = SQL_RUN(
            sql, err, NULL, NULL,
            "INSERT INTO patient (patient_id, name, initials, age_years, gender, identifier, "
            "location, unit, news2_low, news2_high, news2_band, news2_complete, risk, risk_band, "
            "window_end_us, scored_us, record, risk_assessment_id, trace, change) VALUES (?, ?, ?, "
            "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (patient_id) DO UPDATE "
            "SET name = excluded.name, initials = excluded.initials, age_years = "
            "excluded.age_years, gender = excluded.gender, identifier = excluded.identifier, "
            "location = excluded.location, unit = excluded.unit, news2_low = excluded.news2_low, "
            "news2_high = excluded.news2_high, news2_band = excluded.news2_band, news2_complete = "
            "excluded.news2_complete, risk = excluded.risk, risk_band = excluded.risk_band, "
            "window_end_us = excluded.window_end_us, scored_us = excluded.scored_us, record = "
            "excluded.record, risk_assessment_id = excluded.risk_assessment_id, trace = "
            "excluded.trace, change = excluded.change WHERE excluded.window_end_us > "
            "patient.window_end_us OR (excluded.window_end_us = patient.window_end_us AND "
            "excluded.scored_us >= patient.scored_us) OR patient.window_end_us > ?",
            sql_t(score->patient_id), text_or_null(patient, "name"),
            sql_t(make_initials(&batch->arena, name)), has_age ? sql_i(age) : sql_null(),
            text_or_null(patient, "gender"), text_or_null(patient, "identifier"),
            text_or_null(record, "location"), text_or_null(record, "unit"),
            score->news2_low >= 0 ? sql_i(score->news2_low) : sql_null(),
            score->news2_high >= 0 ? sql_i(score->news2_high) : sql_null(),
            text_or_null(news2, "band"), has_news2 ? sql_i(is_complete) : sql_null(),
            score->probability >= 0 ? sql_d(score->probability) : sql_null(),
            text_or_null(model, "band"), sql_i(score->window_end_us), sql_i(score->scored_us),
            sql_t(score->record), sql_t(score->risk_assessment_id), sql_t(score->trace),
            sql_i(change), sql_i(latest_us));
    /* Only a newer vital sign counts as heard of; one after the end of monitoring begins it anew.
     */
    if (st == VG_OK && score->heard_us)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "UPDATE patient SET heard_us = ?, ended_us = CASE WHEN ended_us < ? THEN NULL "
                     "ELSE ended_us END WHERE patient_id = ? AND (heard_us IS NULL OR heard_us < ? "
                     "OR heard_us > ?)",
                     sql_i(score->heard_us), sql_i(score->heard_us), sql_t(score->patient_id),
                     sql_i(score->heard_us), sql_i(latest_us));
    if (st == VG_OK)
        st = SQL_RUN(
            sql, err, NULL, NULL,
            "INSERT INTO score (patient_id, window_end_us, scored_us, news2_low, news2_high, "
            "risk) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (patient_id, window_end_us, scored_us) DO "
            "UPDATE SET risk = coalesce(excluded.risk, score.risk)",
            sql_t(score->patient_id), sql_i(score->window_end_us), sql_i(score->scored_us),
            score->news2_low >= 0 ? sql_i(score->news2_low) : sql_null(),
            score->news2_high >= 0 ? sql_i(score->news2_high) : sql_null(),
            score->probability >= 0 ? sql_d(score->probability) : sql_null());
    if (st == VG_OK)
        st = put_readings(sql, score->patient_id, vg_json_get(record, "vitals"), err);
    if (st == VG_OK && change % PRUNE_EVERY == 0)
        st = prune(sql, score->patient_id, score->window_end_us - READING_KEEP_US, err);
    if (st == VG_OK)
        *ret_change = change;
    return st;
}

int64_t care_due_after_us(struct vg_slice severity)
{
    return vg_slice_is(severity, "high") ? 30 * VG_MINUTE_US : 60 * VG_MINUTE_US;
}

struct patient_place {
    struct vg_arena *arena;
    struct vg_slice location, initials;
};

static enum vg_status take_place(void *ctx, const struct sql_row *row)
{
    struct patient_place *place = ctx;

    place->location = vg_arena_dup(place->arena, sql_text(row, 0));
    place->initials = vg_arena_dup(place->arena, sql_text(row, 1));
    return VG_OK;
}

static enum vg_status open_flag(struct sql *sql, const struct care_flag *flag, int64_t change,
                                struct vg_err *err)
{
    int64_t now_us = vg_now_us(), wait_us = care_due_after_us(flag->severity);
    enum vg_status st = SQL_RUN(sql, err, NULL, NULL,
                                "INSERT INTO flag (flag_id, patient_id, rule, severity, title, "
                                "opened_us, updated_us, trace) "
                                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                                sql_t(flag->flag_id), sql_t(flag->patient_id), sql_t(flag->rule),
                                sql_t(flag->severity), sql_t(flag->title), sql_i(flag->time_us),
                                sql_i(flag->time_us), sql_t(flag->trace));

    if (st == VG_OK)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "INSERT INTO item (flag_id, patient_id, state, opened_us, due_us, created_us, "
                     "escalate_us, trace, change) VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?) ON "
                     "CONFLICT DO NOTHING",
                     sql_t(flag->flag_id), sql_t(flag->patient_id), sql_i(flag->time_us),
                     sql_i(flag->time_us + wait_us), sql_i(now_us), sql_i(now_us + wait_us),
                     sql_t(flag->trace), sql_i(change));
    return st;
}

struct flag_before {
    char severity[16];
    bool is_snoozed;
};

static enum vg_status take_before(void *ctx, const struct sql_row *row)
{
    struct flag_before *before = ctx;

    (void)vg_slice_to_cstr(sql_text(row, 0), before->severity, sizeof(before->severity));
    before->is_snoozed = !sql_is_null(row, 1);
    return VG_OK;
}

/* A worsening takes an acknowledged item back to the team, and ends a snooze: somebody must look
 * again. */
static enum vg_status update_flag(struct sql *sql, const struct care_flag *flag, int64_t change,
                                  bool *ret_is_worse, struct vg_err *err)
{
    int64_t wait_us = care_due_after_us(flag->severity);
    struct flag_before before = {0};
    enum vg_status st =
        SQL_RUN(sql, err, take_before, &before,
                "SELECT f.severity, i.snoozed_until_us FROM flag f LEFT JOIN item i ON i.flag_id = "
                "f.flag_id WHERE f.flag_id = ?",
                sql_t(flag->flag_id));

    *ret_is_worse = before.is_snoozed ||
                    (vg_slice_is(flag->severity, "high") && strcmp(before.severity, "high") != 0);
    if (st == VG_OK)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "UPDATE flag SET severity = ?, title = ?, updated_us = ? WHERE flag_id = ?",
                     sql_t(flag->severity), sql_t(flag->title), sql_i(flag->time_us),
                     sql_t(flag->flag_id));
    if (st == VG_OK && *ret_is_worse)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "UPDATE item SET state = 'open', due_us = ?, acknowledged_by = NULL, "
                     "acknowledged_us = NULL, snoozed_until_us = NULL, escalate_us = ?, "
                     "escalations = 0, change = ? WHERE flag_id = ? AND state <> 'resolved'",
                     sql_i(flag->time_us + wait_us), sql_i(vg_now_us() + wait_us), sql_i(change),
                     sql_t(flag->flag_id));
    return st;
}

enum vg_status care_batch_flag(struct care_batch *batch, const struct care_flag *flag,
                               int64_t *ret_change, struct vg_err *err)
{
    struct sql *sql = batch->care->writer;
    struct patient_place place = {.arena = &batch->arena};
    bool needs_card = true;
    int64_t change = 0;
    enum vg_status st = care_next_change(sql, &change, err);

    vg_arena_reset(&batch->arena);
    if (st == VG_OK)
        st = SQL_RUN(sql, err, take_place, &place,
                     "SELECT location, initials FROM patient WHERE patient_id = ?",
                     sql_t(flag->patient_id));
    if (st == VG_OK) {
        switch (flag->change) {
        case CARE_FLAG_OPENED:
            st = open_flag(sql, flag, change, err);
            break;
        case CARE_FLAG_UPDATED:
            st = update_flag(sql, flag, change, &needs_card, err);
            break;
        case CARE_FLAG_CLOSED:
            st = SQL_RUN(sql, err, NULL, NULL,
                         "UPDATE flag SET closed_us = ?, updated_us = ? WHERE flag_id = ?",
                         sql_i(flag->time_us), sql_i(flag->time_us), sql_t(flag->flag_id));
            break;
        case CARE_FLAG_WAITS:
            break; /* of cards alone */
        }
    }
    if (st == VG_OK)
        st = SQL_RUN(sql, err, NULL, NULL, "UPDATE patient SET change = ? WHERE patient_id = ?",
                     sql_i(change), sql_t(flag->patient_id));
    if (st == VG_OK && needs_card)
        st = care_card_put(sql, flag, place.location, place.initials, 0, err);
    if (st == VG_OK)
        *ret_change = change;
    return st;
}
