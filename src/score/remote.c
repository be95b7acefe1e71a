/* remote.c -- what models in other processes say of scored records, as records of their own.
 *
 *     iomt.scored -> rows in headers "row.NAME" -> one question for all rows of a model
 *                 -> iomt.scored, trigger "remote"
 *
 * A stage over the topic that scoring writes. NEWS2 and the models in this process are committed
 * before anybody is asked: a server that hangs delays its own probabilities, for its deadline, and
 * nobody else's anything. The record that follows is the record that was asked about, with the
 * answer in the model's entry: same window, same scoredTime, same values. One whose server does not
 * answer is not followed; its entry says so from the start ("engine":"none").
 *
 * ORDER AND CRASHES. Offset and answers are one commit: after a crash the same records are asked
 * about again, no answer is there twice. Answers follow in the order of the records. Of a patient's
 * records in one batch only the newest is asked about, and none that is older than a minute: who
 * has fallen behind does not answer for the past. A record that a newer one of the same window has
 * overtaken meanwhile is told apart by scoredTime (alert.c).
 *
 * A model that was replaced meanwhile (its digest is another) is not asked with a row that was made
 * for the former.
 *
 * THREADS. One for each partition; `remote_lock` is held while asking, so one question is on its
 * way at a time and no model is freed under it.
 */
#include "score/score_int.h"

#include "base/log.h"
#include "score/scored.h"

#include <math.h>
#include <stdio.h>

#define OLDEST_US VG_MINUTE_US

/* A record that is asked about. */
struct question {
    const struct stream_record *record;
    struct vg_json *root;
    size_t row[LIVE_MODELS_MAX]; /* one more than its place in the model's rows; 0 = none */
};

struct questions {
    struct question items[LIVE_ROWS_MAX];
    size_t count;
    float *rows[LIVE_MODELS_MAX];
    size_t row_counts[LIVE_MODELS_MAX];
    double answers[LIVE_MODELS_MAX][LIVE_ROWS_MAX]; /* NaN: none */
};

static bool has_row(const struct stream_record *record)
{
    struct vg_slice name, value;
    size_t cursor = 0;

    while (stream_header_next(record->headers, &cursor, &name, &value)) {
        if (vg_slice_starts(name, VG_SLICE(HEADER_ROW)))
            return true;
    }
    return false;
}

static bool is_overtaken(const struct stream_batch *batch, size_t at)
{
    for (size_t i = at + 1; i < batch->count; i++) {
        if (vg_slice_eq(batch->records[i].key, batch->records[at].key))
            return true;
    }
    return false;
}

static const struct vg_json *entry_of(const struct vg_json *root, const struct live_model *live)
{
    const struct vg_json *models = vg_json_get(root, "models");

    for (const struct vg_json *m = models ? models->child : NULL; m; m = m->next) {
        if (vg_slice_is(vg_json_get_text(m, "name"), model_card(live->model)->name) &&
            vg_slice_is(vg_json_get_text(m, "digest"), live->digest))
            return m;
    }
    return NULL;
}

/* False: no memory. */
static bool add_rows(struct vg_arena *arena, const struct live *live, struct questions *all,
                     struct question *question)
{
    for (size_t m = 0; m < live->count; m++) {
        const struct live_model *model = live->items[m];
        size_t width;
        struct vg_slice row;
        char name[80];

        if (!model->remote || !model->model || !entry_of(question->root, model))
            continue;
        width = model_features(model->model)->count;
        (void)snprintf(name, sizeof(name), HEADER_ROW "%s", model_card(model->model)->name);
        row = stream_header_get(question->record->headers, name);
        if (row.len != width * sizeof(float))
            continue;
        if (!all->rows[m])
            all->rows[m] = vg_arena_alloc(arena, LIVE_ROWS_MAX * row.len);
        if (!all->rows[m])
            return false;
        memcpy(all->rows[m] + all->row_counts[m] * width, row.ptr, row.len);
        question->row[m] = ++all->row_counts[m];
    }
    return true;
}

static void ask(struct score *score, struct live_model *model, struct questions *all, size_t m)
{
    size_t count = all->row_counts[m];
    struct vg_err cause = {0};
    enum vg_status st = served_predict(model->remote, model_features(model->model), all->rows[m],
                                       count, all->answers[m], &cause);

    for (size_t i = 0; i < count; i++) {
        if (st != VG_OK)
            all->answers[m][i] = (double)NAN;
        live_count(model, all->answers[m][i]);
    }
    if (st == VG_OK)
        return;
    vg_metric_add(score->fallbacks, count);
    if (st != VG_END)
        vg_log_err(VG_LOG_WARN, "score", &cause);
}

/* ---- the record that follows ---- */

static double answer_for(const struct live *live, const struct questions *all,
                         const struct question *question, const struct vg_json *entry,
                         const struct live_model **ret_model)
{
    for (size_t m = 0; m < live->count; m++) {
        if (question->row[m] > 0 && entry_of(question->root, live->items[m]) == entry) {
            *ret_model = live->items[m];
            return all->answers[m][question->row[m] - 1];
        }
    }
    return (double)NAN;
}

/* An entry as it was, or with the answer in it. */
static void put_entry(struct vg_json_writer *w, const struct vg_json *entry,
                      const struct live_model *model, double answer)
{
    vg_json_open_object(w);
    for (const struct vg_json *m = entry->child; m; m = m->next) {
        bool is_engine = vg_slice_is(m->name, "engine");

        if (!isnan(answer) && is_engine)
            scored_put_answer(w, model, answer);
        else if (isnan(answer) || !vg_slice_is(m->name, "fallback")) {
            vg_json_name_slice(w, m->name);
            vg_json_put_raw(w, m->source);
        }
    }
    vg_json_close_object(w);
}

static void put_models(struct vg_json_writer *w, const struct live *live,
                       const struct questions *all, const struct question *question,
                       const struct vg_json *models)
{
    const struct vg_json *first = NULL;
    const struct live_model *first_model = NULL;
    double first_answer = (double)NAN;

    vg_json_name(w, "models");
    vg_json_open_array(w);
    for (const struct vg_json *entry = models->child; entry; entry = entry->next) {
        const struct live_model *model = NULL;
        double answer = answer_for(live, all, question, entry, &model);

        put_entry(w, entry, model, answer);
        if (!first && !vg_slice_is(vg_json_get_text(entry, "mode"), "silent") &&
            (!isnan(answer) || vg_json_get(entry, "probability"))) {
            first = entry;
            first_model = model;
            first_answer = answer;
        }
    }
    vg_json_close_array(w);
    if (first) {
        vg_json_name(w, "model");
        put_entry(w, first, first_model, first_answer);
    }
}

static enum vg_status put_answered(struct score_stage *stage, const struct live *live,
                                   const struct questions *all, const struct question *question,
                                   int64_t now_us, struct stream_out *out, struct vg_err *err)
{
    const struct stream_record *record = question->record;
    struct vg_json_writer w;

    vg_buf_clear(&stage->json);
    vg_buf_clear(&stage->headers);
    vg_json_writer_init(&w, &stage->json);
    vg_json_open_object(&w);
    for (const struct vg_json *m = question->root->child; m; m = m->next) {
        if (vg_slice_is(m->name, "trigger")) {
            vg_json_member_time(&w, "answeredTime", now_us);
            vg_json_member_string(&w, "trigger", VG_SLICE("remote"));
        } else if (vg_slice_is(m->name, "models")) {
            put_models(&w, live, all, question, m);
        } else if (!vg_slice_is(m->name, "model")) {
            vg_json_name_slice(&w, m->name);
            vg_json_put_raw(&w, m->source);
        }
    }
    vg_json_close_object(&w);
    stream_header_put(&stage->headers, "trace", stream_header_get(record->headers, "trace"));
    if (!vg_buf_ok(&stage->json) || !vg_buf_ok(&stage->headers))
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a scored record");
    stream_out_add(out, STREAM_SCORED, now_us, record->key, vg_buf_slice(&stage->headers),
                   vg_buf_slice(&stage->json));
    return VG_OK;
}

static bool is_answered(const struct live *live, const struct questions *all,
                        const struct question *question)
{
    for (size_t m = 0; m < live->count; m++) {
        if (question->row[m] > 0 && !isnan(all->answers[m][question->row[m] - 1]))
            return true;
    }
    return false;
}

/* ---- the stage ---- */

/* Under remote_lock. */
static enum vg_status ask_all(struct score_stage *stage, struct questions *all,
                              struct stream_out *out, struct vg_err *err)
{
    struct score *score = stage->score;
    const struct live *live = score->live;
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < all->count; i++) {
        if (!add_rows(&stage->batch, live, all, &all->items[i]))
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to ask a model");
    }
    for (size_t m = 0; m < live->count; m++) {
        if (all->row_counts[m] > 0)
            ask(score, live->items[m], all, m);
    }
    for (size_t i = 0; i < all->count && st == VG_OK; i++) {
        if (is_answered(live, all, &all->items[i]))
            st = put_answered(stage, live, all, &all->items[i], vg_clock_now_us(score->clock), out,
                              err);
    }
    return st;
}

static enum vg_status remote_process(void *self, const struct stream_batch *batch,
                                     struct stream_out *out, struct vg_err *err)
{
    struct score_stage *stage = self;
    struct score *score = stage->score;
    int64_t since_us = vg_clock_now_us(score->clock) - OLDEST_US;
    struct questions *all = NULL;
    enum vg_status st = VG_OK;

    vg_arena_reset(&stage->batch);
    for (size_t i = 0; i < batch->count; i++) {
        const struct stream_record *record = &batch->records[i];
        struct question *question;

        if (!has_row(record) || record->time_us < since_us || is_overtaken(batch, i))
            continue;
        if (!all)
            all = vg_arena_alloc(&stage->batch, sizeof(*all));
        if (!all)
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to ask a model");
        question = &all->items[all->count];
        question->record = record;
        /* What is no JSON is for the alert stage to tell. */
        if (vg_json_parse(&stage->batch, record->value, NULL, &question->root, NULL, NULL) == VG_OK)
            all->count++;
    }
    if (!all)
        return VG_OK;
    pthread_mutex_lock(&score->remote_lock);
    st = ask_all(stage, all, out, err);
    pthread_mutex_unlock(&score->remote_lock);
    return st;
}

const struct stage_ops *score_remote_ops(void)
{
    static const struct stage_ops ops = {
        .name = "score-remote",
        .input = STREAM_SCORED,
        .batch_count_max = LIVE_ROWS_MAX,
        .process = remote_process,
    };

    return &ops;
}
