/* serving.c -- which models score: read at the start, replaced between two batches, listed.
 *
 * One of the folders changed when it has stood still for a tick since, or by command: then a new
 * set of models is made beside the one in force and swapped in. Not while a server is asked about a
 * model of the former set: a command waits for that, a tick comes again.
 */
#include "score/score_int.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* Under reload_lock and remote_lock. */
static enum vg_status reload(struct score *score, struct vg_err *err)
{
    struct live *made = NULL, *former = score->live; /* replaced here only, under reload_lock */
    struct vg_err cause = {0};
    char trouble[256] = "";

    if (live_read(score->config.model_dir, former, score->history_max_us, &made, &cause) != VG_OK)
        return vg_fail(err, VG_REJECT, "score.model", 0, "%s", cause.text);
    pthread_mutex_lock(&score->lock);
    score->live = made;
    pthread_mutex_unlock(&score->lock);
    live_free(former, made);
    vg_metric_add(score->reloads, 1);
    for (size_t m = 0; m < made->count; m++) {
        const struct live_model *live = made->items[m];

        if (!live->trouble[0] && live->model)
            vg_log(VG_LOG_INFO, "score", "score.model",
                   "model '%s' version %s (%s) is in force, %s", model_card(live->model)->name,
                   model_card(live->model)->version, live->digest, live_mode_name(live->mode));
    }
    return live_trouble(made, trouble) ? vg_fail(err, VG_REJECT, "score.model", 0, "%s", trouble)
                                       : VG_OK;
}

enum vg_status score_reload(struct score *score, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    if (!score->config.model_dir)
        return vg_fail(err, VG_REJECT, "score.model", 0, "score.model names no folder");
    pthread_mutex_lock(&score->reload_lock);
    pthread_mutex_lock(&score->remote_lock);
    st = reload(score, err);
    pthread_mutex_unlock(&score->remote_lock);
    pthread_mutex_unlock(&score->reload_lock);
    return st;
}

/* Once for each change. */
void serving_watch(struct score *score)
{
    struct vg_err err = {0};
    uint64_t seen;

    if (!score->config.model_dir)
        return;
    pthread_mutex_lock(&score->reload_lock);
    if (live_has_changed(score->config.model_dir, score->live, &seen) && seen == score->disk_seen &&
        seen != score->disk_tried && pthread_mutex_trylock(&score->remote_lock) == 0) {
        score->disk_tried = seen;
        if (reload(score, &err) != VG_OK)
            vg_log_err(VG_LOG_ERROR, "score", &err);
        pthread_mutex_unlock(&score->remote_lock);
    }
    score->disk_seen = seen;
    pthread_mutex_unlock(&score->reload_lock);
}

static void write_model(struct vg_json_writer *w, const struct live_model *live, bool with_card)
{
    const struct model_card *card = live->model ? model_card(live->model) : NULL;
    const char *folder = strrchr(live->dir, '/') ? strrchr(live->dir, '/') + 1 : live->dir;

    vg_json_open_object(w);
    vg_json_member_string(w, "folder", vg_slice_of(folder));
    vg_json_member_string(w, "mode",
                          vg_slice_of(live->model ? live_mode_name(live->mode) : "absent"));
    if (card) {
        vg_json_member_string(w, "name", vg_slice_of(card->name));
        vg_json_member_string(w, "version", vg_slice_of(card->version));
        vg_json_member_string(w, "digest", vg_slice_of(live->digest));
        vg_json_member_string(w, "engine", live->remote ? VG_SLICE("remote") : VG_SLICE("xgboost"));
        vg_json_name(w, "thresholds");
        vg_json_open_object(w);
        vg_json_member_double(w, "medium", live->medium);
        vg_json_member_double(w, "high", live->high);
        vg_json_close_object(w);
        if (live->unit_count > 0) {
            vg_json_member_string(w, "elsewhere", vg_slice_of(live_mode_name(live->elsewhere)));
            vg_json_name(w, "units");
            vg_json_open_array(w);
            for (size_t i = 0; i < live->unit_count; i++)
                vg_json_put_string(w, live->units[i]);
            vg_json_close_array(w);
        }
    }
    if (live->trouble[0])
        vg_json_member_string(w, "trouble", vg_slice_of(live->trouble));
    if (card && with_card)
        vg_json_member_raw(w, "card", model_card_text(live->model));
    vg_json_close_object(w);
}

void score_models_write(struct score *score, bool with_cards, struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "models");
    vg_json_open_array(&w);
    pthread_mutex_lock(&score->reload_lock);
    for (size_t m = 0; m < score->live->count; m++)
        write_model(&w, score->live->items[m], with_cards);
    pthread_mutex_unlock(&score->reload_lock);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}

void score_trouble(struct score *score, char out[static 256])
{
    pthread_mutex_lock(&score->reload_lock);
    if (!live_trouble(score->live, out))
        out[0] = '\0';
    pthread_mutex_unlock(&score->reload_lock);
}

enum vg_status serving_open(struct score *score, struct vg_err *err)
{
    char trouble[256];
    enum vg_status st = VG_OK;

    if (score->config.model_dir)
        st = live_read(score->config.model_dir, NULL, 0, &score->live, err);
    else
        score->live = calloc(1, sizeof(*score->live));
    if (st != VG_OK)
        return st;
    if (!score->live)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for models");
    if (live_trouble(score->live, trouble))
        vg_log(VG_LOG_ERROR, "score", "score.model", "%s", trouble);
    /* A model sees what it was trained on, whatever was configured. */
    score->history_max_us = score->config.history_us;
    for (size_t m = 0; m < score->live->count; m++) {
        const struct model *model = score->live->items[m]->model;

        if (model && model_features(model)->history_us > score->history_max_us)
            score->history_max_us = model_features(model)->history_us;
    }
    return VG_OK;
}
