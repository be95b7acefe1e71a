/* watch_lake.c -- what watching reads: readings become features again, scores become hours.
 *
 * FEATURES are not in the lake: they are computed from the readings by the code that trains and
 * scores (window.c, gate.c, feature.c), at each full hour up to which a reading came within
 * READING_AGE_US. A sample of patients is taken, by a hash of the id, as long as the time allows.
 *
 * SCORES are in the lake one for each evaluation. A busy monitor must not count more than a quiet
 * one, and training saw hours: the last probability of each hour of each patient counts.
 *
 * TIME. Features take half of it at most, so that scores are looked at in any case.
 *
 * MEMORY. One patient's readings, or one patient's line of the lake's answer, at a time.
 */
#include "score/watch_int.h"

#include "score/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX ((size_t)2 << 20) /* of one patient */
#define READING_AGE_US (6 * VG_HOUR_US)
#define HISTORY_MORE_US (3 * VG_DAY_US) /* before the period: windows are full when it begins */
#define ENTRY "'[{\"name\":\"VARCHAR\",\"version\":\"VARCHAR\",\"probability\":\"DOUBLE\"}]'"
#define ANSWER_BYTES_MAX ((size_t)96 << 20)
#define LINE_ARENA_BYTES ((size_t)16 << 20)

bool watch_is_ended(const struct watch_run *run)
{
    return run->config->go_on && !run->config->go_on(run->config->ctx);
}

bool watch_goes_on(struct watch_run *run, int64_t share_percent)
{
    bool has_time = vg_mono_us() - run->began_us < run->config->budget_us / 100 * share_percent;

    run->was_cut |= !has_time;
    return has_time && !watch_is_ended(run);
}

/* The answer is an array with one object a line. VG_END: no more. */
static enum vg_status next_line(struct vg_slice *rest, struct vg_arena *arena, struct vg_json **ret,
                                struct vg_err *err)
{
    struct vg_slice line = vg_slice_cut(rest, '\n');
    enum vg_status st;

    if (line.len > 0 && line.ptr[0] == '[')
        line = vg_slice_from(line, 1);
    while (line.len > 0 && (line.ptr[line.len - 1] == ',' || line.ptr[line.len - 1] == ']'))
        line.len--;
    if (line.len == 0)
        return VG_END;
    vg_arena_reset(arena);
    st = vg_json_parse(arena, line, NULL, ret, NULL, err);
    return st == VG_END ? VG_REJECT : st;
}

/* ---- features ---- */

struct events {
    struct window_reading *items;
    size_t count, capacity;
    bool is_too_many;
};

static void take_reading(void *ctx, const struct lake_reading *reading)
{
    struct events *events = ctx;
    struct window_reading event = {
        .vital = vital_of_code(reading->code),
        .value = reading->value,
        .time_us = reading->time_us,
        .received_us = reading->time_us,
    };

    if (event.vital == SIGNAL_COUNT || event.vital == SCORE_CONSCIOUSNESS ||
        !vital_convert(event.vital, reading->unit, &event.value) || isnan(event.value))
        return;
    if (events->count == events->capacity) {
        size_t capacity = events->capacity ? events->capacity * 2 : 4096;
        struct window_reading *items =
            capacity > EVENTS_MAX ? NULL : realloc(events->items, capacity * sizeof(*items));

        events->is_too_many |= !items;
        if (!items)
            return;
        events->items = items;
        events->capacity = capacity;
    }
    events->items[events->count++] = event;
}

static void count_row(struct watch_features *model, const float *row)
{
    for (size_t f = 0; f < model->set->count; f++) {
        if (isnan(row[f]))
            model->found[f].missing++;
        else if (model->items[f])
            model->found[f].cells[bins_cell(&model->items[f]->bins, row[f])]++;
        else
            model->found[f].cells[0]++;
    }
    model->rows++;
}

/* All rows of one patient. The lake gives readings in order of time. */
static enum vg_status replay(const struct watch_run *run, const struct events *events,
                             const struct feature_patient *facts, struct watch_features *models,
                             size_t count, struct vg_err *err)
{
    int64_t expiry_us[SCORE_VITAL_COUNT], history_us = 0;
    bool is_counted[LIVE_MODELS_MAX] = {false};
    float row[FEATURES_MAX];
    struct window window, seen;
    struct gate_view view;
    size_t at = 0;
    enum vg_status st = VG_OK;

    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        expiry_us[v] = vitals[v].expiry_us;
    for (size_t m = 0; m < count; m++)
        history_us =
            models[m].set->history_us > history_us ? models[m].set->history_us : history_us;
    window_init(&window, history_us);
    gate_view_init(&view);
    while (at < events->count && st == VG_OK) {
        int64_t hour_us = (events->items[at].time_us / VG_HOUR_US + 1) * VG_HOUR_US;
        int64_t last_us = 0;

        while (at < events->count && events->items[at].time_us <= hour_us && st == VG_OK) {
            const struct window_reading *moment = &events->items[at];
            size_t n = 0;

            while (at + n < events->count && moment[n].time_us == moment->time_us)
                n++;
            for (size_t i = 0; i < n && st == VG_OK; i++) {
                if (gate_reading(moment, n, i) == GATE_OK)
                    st = window_add(&window, &moment[i], err);
                st = st == VG_END ? VG_OK : st;
            }
            last_us = moment->time_us;
            at += n;
        }
        /* Hours without a reading are rows too, as long as the last one stands for something. */
        for (int64_t next_us = at < events->count ? events->items[at].time_us : INT64_MAX;
             st == VG_OK && hour_us < next_us && hour_us - last_us < READING_AGE_US &&
             hour_us <= run->now_us;
             hour_us += VG_HOUR_US) {
            bool is_looked_at = false;

            if (hour_us < run->from_us)
                continue;
            for (size_t m = 0; m < count && st == VG_OK; m++) {
                int every = models[m].reference ? models[m].reference->every_hours : 1;

                if (hour_us / VG_HOUR_US % every != 0)
                    continue;
                if (!is_looked_at)
                    st = gate_look(&view, &window, err);
                is_looked_at = true;
                if (st != VG_OK)
                    break;
                seen = view.window; /* as live: as much as the model was trained on */
                window_narrow(&seen, models[m].set->history_us);
                feature_fill(models[m].set, &seen, facts, expiry_us, hour_us, row);
                count_row(&models[m], row);
                models[m].patients += !is_counted[m];
                is_counted[m] = true;
            }
        }
    }
    gate_view_fini(&view);
    window_fini(&window);
    return st;
}

static struct feature_patient facts_of(const struct vg_json *line)
{
    struct feature_patient facts = {(double)NAN, (double)NAN};
    struct vg_slice sex = vg_json_get_text(line, "g");

    (void)vg_json_to_double(vg_json_get(line, "a"), &facts.age_years);
    if (vg_slice_is(sex, "male") || vg_slice_is(sex, "female"))
        facts.sex = vg_slice_is(sex, "male");
    return facts;
}

enum vg_status watch_read_features(struct watch_run *run, struct watch_features *models,
                                   size_t count, size_t *ret_patients, struct vg_err *err)
{
    struct events events = {0};
    struct vg_arena arena;
    struct vg_buf sql, out;
    struct vg_slice rest;
    struct vg_json *line;
    int64_t total = 0;
    enum vg_status st;

    *ret_patients = 0;
    vg_arena_init(&arena, LINE_ARENA_BYTES);
    vg_buf_init(&sql, 4096);
    vg_buf_init(&out, ANSWER_BYTES_MAX);
    /* Models are for adults: a child's readings are no drift. */
    vg_buf_printf(
        &sql,
        "SELECT patientId AS p, max(ageYears) AS a, max(gender) AS g, count(*) OVER () AS "
        "n FROM {enriched} WHERE effectiveTime >= make_timestamptz(%lld) AND "
        "effectiveTime < make_timestamptz(%lld) GROUP BY patientId HAVING "
        "coalesce(max(ageYears), 18) >= 18 ORDER BY hash(patientId) LIMIT %d",
        (long long)run->from_us, (long long)run->now_us, WATCH_FEATURE_PATIENTS_MAX);
    vg_buf_put_byte(&sql, '\0');
    st = vg_buf_ok(&sql) ? lake_query(run->lake, sql.ptr, &out, err)
                         : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to watch");
    rest = vg_buf_slice(&out);
    while (st == VG_OK && watch_goes_on(run, 50) &&
           (st = next_line(&rest, &arena, &line, err)) == VG_OK) {
        struct feature_patient facts = facts_of(line);

        (void)vg_json_to_i64(vg_json_get(line, "n"), &total);
        events.count = 0;
        events.is_too_many = false;
        st = lake_history(run->lake, vg_json_get_text(line, "p"), run->from_us - HISTORY_MORE_US,
                          run->now_us, take_reading, &events, err);
        if (st == VG_OK && !events.is_too_many)
            st = replay(run, &events, &facts, models, count, err);
    }
    *ret_patients = (size_t)total;
    free(events.items);
    vg_buf_fini(&sql);
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return st == VG_END ? VG_OK : st;
}

/* ---- scores ---- */

enum vg_status watch_count_patients(struct watch_run *run, size_t *ret, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_buf out;
    struct vg_slice rest;
    struct vg_json *line;
    char sql[256];
    int64_t count = 0;
    enum vg_status st;

    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 4096);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(DISTINCT patientId) AS n FROM {scored} WHERE windowEnd >= "
                   "make_timestamptz(%lld) AND windowEnd < make_timestamptz(%lld)",
                   (long long)run->from_us, (long long)run->now_us);
    st = lake_query(run->lake, sql, &out, err);
    rest = vg_buf_slice(&out);
    if (st == VG_OK && (st = next_line(&rest, &arena, &line, err)) == VG_OK)
        (void)vg_json_to_i64(vg_json_get(line, "n"), &count);
    *ret = (size_t)count;
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return st == VG_END ? VG_OK : st;
}

static enum vg_status give_scores(const struct vg_json *line, struct vg_arena *arena,
                                  enum vg_status (*fn)(void *ctx, const struct watch_scores *scores,
                                                       struct vg_err *err),
                                  void *ctx, struct vg_err *err)
{
    const struct vg_json *h = vg_json_get(line, "h"), *v = vg_json_get(line, "v");
    struct vg_slice patient = vg_arena_dup(arena, vg_json_get_text(line, "p"));
    size_t room = h ? h->count : 0;
    int64_t *hours = vg_arena_alloc(arena, (room + 1) * sizeof(*hours));
    double *probabilities = vg_arena_alloc(arena, (room + 1) * sizeof(*probabilities));
    struct watch_scores scores = {patient.ptr, hours, probabilities, 0};

    if (!patient.ptr || !hours || !probabilities)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a patient's scores");
    h = h ? h->child : NULL;
    v = v ? v->child : NULL;
    for (; h && v && scores.count < room; h = h->next, v = v->next) {
        if (vg_json_to_i64(h, &hours[scores.count]) &&
            vg_json_to_double(v, &probabilities[scores.count]) &&
            probabilities[scores.count] >= 0 && probabilities[scores.count] <= 1)
            scores.count++;
    }
    return scores.count > 0 ? fn(ctx, &scores, err) : VG_OK;
}

enum vg_status watch_read_scores(struct watch_run *run, const struct watch_scores_query *query,
                                 enum vg_status (*fn)(void *ctx, const struct watch_scores *scores,
                                                      struct vg_err *err),
                                 void *ctx, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_buf sql, out;
    struct vg_slice rest;
    struct vg_json *line;
    enum vg_status st;

    vg_arena_init(&arena, LINE_ARENA_BYTES);
    vg_buf_init(&sql, 1 << 20);
    vg_buf_init(&out, ANSWER_BYTES_MAX);
    /* Names and versions hold letters, digits and -_. alone (live.c). */
    vg_buf_printf(
        &sql,
        "WITH hours AS (SELECT patientId AS p, epoch_us(windowEnd) // 3600000000 AS h, "
        "arg_max(models, scoredTime) AS said, "
        "arg_max(models, scoredTime) FILTER (trigger = 'remote') AS answered FROM {scored} WHERE "
        "windowEnd >= make_timestamptz(%lld) AND windowEnd < make_timestamptz(%lld) AND "
        "models IS NOT NULL AND (%s) GROUP BY 1, 2), entries AS (SELECT p, h, 2 AS rank, "
        "unnest(from_json(said, " ENTRY ")) AS m FROM hours UNION ALL SELECT p, h, 1, "
        "unnest(from_json(answered, " ENTRY ")) FROM hours WHERE answered IS NOT NULL), "
        "rows AS (SELECT p, h, round(arg_max(m.probability, rank), 7) AS v FROM entries WHERE "
        "m.name = '%s' AND m.version = '%s' AND m.probability IS NOT NULL GROUP BY p, h) "
        "SELECT p, list(h ORDER BY h) AS h, list(v ORDER BY h) AS v FROM rows GROUP BY p ORDER BY "
        "p",
        (long long)query->from_us, (long long)query->to_us, query->filter, query->model,
        query->version);
    vg_buf_put_byte(&sql, '\0');
    st = vg_buf_ok(&sql) ? lake_query(run->lake, sql.ptr, &out, err)
                         : vg_fail(err, VG_REJECT, "score.memory", 0, "too many patients");
    rest = vg_buf_slice(&out);
    while (st == VG_OK && watch_goes_on(run, 100) &&
           (st = next_line(&rest, &arena, &line, err)) == VG_OK)
        st = give_scores(line, &arena, fn, ctx, err);
    vg_buf_fini(&sql);
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return st == VG_END ? VG_OK : st;
}
