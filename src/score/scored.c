/* scored.c -- writes one record of iomt.scored.
 *
 * Contributions cost a hundred predictions, so they are computed for what somebody will look at:
 * NEWS2 of 5 and above, or a model band that is not low, of models that are shown. They are summed
 * over each vital sign's features, in the log-odds of the calibrated probability: the three that
 * raise the risk most and the one that lowers it most, with what stands behind them in words. They
 * say what the model looked at, not what made the patient ill.
 */
#include "score/scored.h"

#include <math.h>
#include <stdlib.h>

#define WORSENING_MAX 3 /* contributions shown that raise the risk; and one that lowers it */
#define CONTRIBUTION_LEAST 0.02

static const char *state_name(enum window_state state)
{
    static const char *const names[] = {
        [WINDOW_MISSING] = "missing", [WINDOW_EXPIRED] = "expired", [WINDOW_OK] = "ok"};

    return names[state];
}

static void put_text(struct vg_json_writer *w, const char *name, const char *text)
{
    if (text[0])
        vg_json_member_string(w, name, vg_slice_of(text));
}

static void put_value(struct vg_json_writer *w, enum score_vital vital,
                      const struct window_newest *newest)
{
    if (vital == SCORE_CONSCIOUSNESS) {
        vg_json_member_string(w, "text", (struct vg_slice){&newest->level, 1});
    } else {
        vg_json_member_double(w, "value", newest->value);
        vg_json_member_string(w, "unit", vg_slice_of(vitals[vital].unit));
    }
}

static void put_news2(struct vg_json_writer *w, const struct scored *scored)
{
    const struct window *window = &scored->view->window;
    const struct news2 *news2 = scored->news2;

    vg_json_name(w, "news2");
    vg_json_open_object(w);
    vg_json_member_i64(w, "low", news2->low);
    vg_json_member_i64(w, "high", news2->high);
    vg_json_member_bool(w, "complete", news2->is_complete);
    vg_json_member_bool(w, "singleThree", news2->has_single_three);
    vg_json_member_string(w, "band", vg_slice_of(news2->band));
    vg_json_name(w, "parts");
    vg_json_open_array(w);
    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        enum score_vital vital = window_vital_of_part((enum news2_part)part);
        enum window_state state =
            window_state(window, vital, scored->expiry_us[vital], scored->as_of_us);

        vg_json_open_object(w);
        vg_json_member_string(w, "part", vg_slice_of(vitals[vital].part));
        vg_json_member_i64(w, "score", news2->score[part]);
        if (state != WINDOW_MISSING) {
            put_value(w, vital, &window->newest[vital]);
            vg_json_member_time(w, "time", window->newest[vital].time_us);
        }
        vg_json_member_string(w, "state", vg_slice_of(state_name(state)));
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    vg_json_close_object(w);
}

/* Whether some score of the record counts the signal. */
static bool is_used(const struct scored *scored, int vital)
{
    if (vital >= SIGNAL_COUNT)
        return false;
    for (int part = 0; scored->news2 && part < NEWS2_PART_COUNT; part++) {
        if ((int)window_vital_of_part((enum news2_part)part) == vital)
            return true;
    }
    for (size_t m = 0; m < scored->model_count; m++) {
        if (model_features(scored->models[m].live->model)->needs[vital])
            return true;
    }
    return false;
}

static void put_vitals(struct vg_json_writer *w, const struct scored *scored)
{
    const struct patient *patient = scored->patient;
    const struct window *window = &scored->view->window;

    vg_json_name(w, "vitals");
    vg_json_open_array(w);
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        const struct window_newest *newest = &window->newest[v];
        enum window_state state =
            window_state(window, (enum score_vital)v, scored->expiry_us[v], scored->as_of_us);

        if (state == WINDOW_MISSING)
            continue;
        vg_json_open_object(w);
        vg_json_member_string(w, "code",
                              vg_slice_of(newest->code[0] ? newest->code : vitals[v].codes[0]));
        vg_json_member_string(w, "name", vg_slice_of(vitals[v].name));
        put_value(w, (enum score_vital)v, newest);
        vg_json_member_time(w, "time", newest->time_us);
        put_text(w, "observationId", newest->observation_id);
        vg_json_member_string(w, "state", vg_slice_of(state_name(state)));
        if (!is_used(scored, v))
            vg_json_member_bool(w, "used", false);
        vg_json_close_object(w);
    }
    for (uint32_t i = 0; i < patient->other_count; i++) {
        const struct patient_other *other = &patient->others[i];
        bool is_old = scored->as_of_us - other->time_us > patient->window.history_us;

        vg_json_open_object(w);
        vg_json_member_string(w, "code", vg_slice_of(other->code));
        put_text(w, "name", other->name);
        if (other->is_text)
            vg_json_member_string(w, "text", vg_slice_of(other->text));
        else
            vg_json_member_double(w, "value", other->value);
        put_text(w, "unit", other->unit);
        vg_json_member_time(w, "time", other->time_us);
        put_text(w, "observationId", other->observation_id);
        vg_json_member_string(w, "state", is_old ? VG_SLICE("expired") : VG_SLICE("ok"));
        if (!is_used(scored, vital_of_code(vg_slice_of(other->code))))
            vg_json_member_bool(w, "used", false);
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
}

static void put_rejected_one(struct vg_json_writer *w, int vital, const struct window_newest *value,
                             enum gate_reason reason)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "code",
                          vg_slice_of(value->code[0] ? value->code : vitals[vital].codes[0]));
    vg_json_member_string(w, "name", vg_slice_of(vitals[vital].name));
    vg_json_member_double(w, "value", value->value);
    vg_json_member_string(w, "unit", vg_slice_of(vitals[vital].unit));
    vg_json_member_time(w, "time", value->time_us);
    put_text(w, "observationId", value->observation_id);
    vg_json_member_string(w, "state", VG_SLICE("rejected"));
    vg_json_member_string(w, "reason", vg_slice_of(gate_reason_name(reason)));
    vg_json_close_object(w);
}

/* What is newer than the value that counts: somebody looking at the monitor sees it there. */
static void put_rejected(struct vg_json_writer *w, const struct scored *scored)
{
    const struct gate_view *view = scored->view;
    bool is_open = false;

    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        const struct window_newest *counts = &view->window.newest[v];
        const struct patient_rejected *kept = &scored->patient->rejected[v];
        const struct window_newest *value = &view->rejected[v];
        enum gate_reason reason = view->reasons[v];

        if (kept->value.is_there && (!value->is_there || kept->value.time_us > value->time_us)) {
            value = &kept->value;
            reason = kept->reason;
        }
        if (!value->is_there || (counts->is_there && counts->time_us >= value->time_us))
            continue;
        if (!is_open) {
            vg_json_name(w, "rejected");
            vg_json_open_array(w);
            is_open = true;
        }
        put_rejected_one(w, v, value, reason);
    }
    if (is_open)
        vg_json_close_array(w);
}

struct group_sum {
    int group;
    double value;
};

static int by_value_down(const void *a, const void *b)
{
    const struct group_sum *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return x->group - y->group;
}

/* The older value that a contribution's words name: when it was and which Observation. */
static void put_since(struct vg_json_writer *w, const struct scored *scored, int group)
{
    const struct window *window = &scored->view->window;
    int64_t since_us = feature_since_us(window, group, scored->as_of_us);
    char id[WINDOW_ID_SIZE] = "";

    if (since_us == INT64_MIN)
        return;
    for (uint32_t i = 0; i < window->series[group].count; i++) {
        if (window->series[group].cells[i].time_us == since_us)
            window_cell_id(&window->series[group].cells[i], id);
    }
    vg_json_member_time(w, "since", since_us);
    put_text(w, "sinceObservationId", id);
}

/* What raised and what lowered the risk, summed over each vital sign's features, in the log-odds of
 * the calibrated probability. */
static enum vg_status put_contributions(struct vg_json_writer *w, const struct scored *scored,
                                        const struct scored_model *says, struct vg_err *err)
{
    const struct live_model *live = says->live;
    const struct feature_set *set = model_features(live->model);
    struct group_sum sums[FEATURE_GROUP_COUNT];
    enum vg_status st = model_contributions(live->model, says->row, live->contributions, err);

    if (st != VG_OK)
        return st;
    for (int g = 0; g < FEATURE_GROUP_COUNT; g++)
        sums[g] = (struct group_sum){.group = g};
    for (size_t i = 0; i < set->count; i++)
        sums[features[set->index[i]].group].value +=
            (double)live->contributions[i] * model_card(live->model)->slope;
    qsort(sums, FEATURE_GROUP_COUNT, sizeof(sums[0]), by_value_down);

    for (int i = 0; i < FEATURE_GROUP_COUNT; i++) {
        bool is_shown = (i < WORSENING_MAX && sums[i].value > CONTRIBUTION_LEAST) ||
                        (i == FEATURE_GROUP_COUNT - 1 && sums[i].value < -CONTRIBUTION_LEAST);
        char text[160];

        if (!is_shown)
            continue;
        feature_describe(&scored->view->window, &scored->patient->facts, scored->news2,
                         sums[i].group, scored->as_of_us, text, sizeof(text));
        vg_json_open_object(w);
        vg_json_member_string(w, "vital", vg_slice_of(feature_group_name(sums[i].group)));
        vg_json_member_double(w, "value", round(sums[i].value * 1000) / 1000);
        vg_json_member_string(w, "text", vg_slice_of(text));
        put_since(w, scored, sums[i].group);
        vg_json_close_object(w);
    }
    return VG_OK;
}

static void put_thresholds(struct vg_json_writer *w, const struct live_model *live)
{
    vg_json_name(w, "thresholds");
    vg_json_open_object(w);
    vg_json_member_double(w, "medium", live->medium);
    vg_json_member_double(w, "high", live->high);
    vg_json_close_object(w);
}

void scored_put_answer(struct vg_json_writer *w, const struct live_model *live, double probability)
{
    vg_json_member_string(w, "engine", VG_SLICE("remote"));
    vg_json_member_double(w, "probability", round(probability * 1e6) / 1e6);
    vg_json_member_string(w, "band", vg_slice_of(live_band(live, probability)));
}

/* Without a probability the rule score stands alone, and the entry says so. */
static enum vg_status put_model(struct vg_json_writer *w, const struct scored *scored,
                                const struct scored_model *says, struct vg_err *err)
{
    const struct live_model *live = says->live;
    const struct model_card *card = model_card(live->model);
    bool has_answer = !isnan(says->probability);
    const char *band = has_answer ? live_band(live, says->probability) : NULL;
    enum vg_status st = VG_OK;

    vg_json_open_object(w);
    vg_json_member_string(w, "name", vg_slice_of(card->name));
    vg_json_member_string(w, "version", vg_slice_of(card->version));
    vg_json_member_string(w, "digest", vg_slice_of(live->digest));
    vg_json_member_string(w, "mode", vg_slice_of(live_mode_name(says->mode)));
    put_thresholds(w, live);
    if (!has_answer) {
        vg_json_member_string(w, "engine", VG_SLICE("none"));
        vg_json_member_string(w, "fallback", VG_SLICE("news2"));
    } else {
        vg_json_member_double(w, "probability", round(says->probability * 1e6) / 1e6);
        vg_json_member_string(w, "band", vg_slice_of(band));
    }
    vg_json_member_double(w, "horizonHours", card->horizon_hours);
    vg_json_name(w, "contributions");
    vg_json_open_array(w);
    if (band && says->mode != LIVE_SILENT &&
        (strcmp(band, "low") != 0 || (scored->news2 && scored->news2->low >= 5)))
        st = put_contributions(w, scored, says, err);
    vg_json_close_array(w);
    vg_json_close_object(w);
    return st;
}

/* `model` is the first that is not silent and has an answer, `models` are all. */
static enum vg_status put_models(struct vg_json_writer *w, const struct scored *scored,
                                 struct vg_buf *out, struct vg_err *err)
{
    size_t starts[2] = {0};
    bool has_model = false;
    enum vg_status st = VG_OK;

    if (scored->model_count == 0)
        return VG_OK;
    vg_json_name(w, "models");
    vg_json_open_array(w);
    for (size_t m = 0; m < scored->model_count && st == VG_OK; m++) {
        const struct scored_model *says = &scored->models[m];
        bool is_first = !has_model && says->mode != LIVE_SILENT && !isnan(says->probability);
        size_t from = out->len;

        st = put_model(w, scored, says, err);
        /* The comma before an element is written with it. */
        if (is_first) {
            starts[0] = from + (m > 0);
            starts[1] = out->len;
            has_model = true;
        }
    }
    vg_json_close_array(w);
    if (has_model && st == VG_OK && vg_buf_ok(out)) {
        struct vg_buf copy;

        vg_buf_init(&copy, 1 << 20);
        vg_buf_put(&copy,
                   (struct vg_slice){(const char *)out->ptr + starts[0], starts[1] - starts[0]});
        vg_json_member_raw(w, "model", vg_buf_slice(&copy));
        if (!vg_buf_ok(&copy))
            st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a scored record");
        vg_buf_fini(&copy);
    }
    return st;
}

/* When the newest vital sign was taken that counts: what else a device sends is no sign of life. */
static void put_heard(struct vg_json_writer *w, const struct window *window)
{
    int64_t heard_us = INT64_MIN;

    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        if (window->newest[v].is_there && window->newest[v].time_us > heard_us)
            heard_us = window->newest[v].time_us;
    }
    if (heard_us != INT64_MIN)
        vg_json_member_time(w, "heardTime", heard_us);
}

enum vg_status scored_write(const struct scored *scored, struct vg_buf *out, struct vg_err *err)
{
    const struct patient *patient = scored->patient;
    struct vg_json_writer w;
    enum vg_status st = VG_OK;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "patientId", vg_slice_of(patient->id));
    if (patient->patient_json.len > 0)
        vg_json_member_raw(&w, "patient", patient->patient_json);
    if (patient->encounter_id.len > 0)
        vg_json_member_string(&w, "encounterId", patient->encounter_id);
    if (patient->location.len > 0)
        vg_json_member_string(&w, "location", patient->location);
    if (patient->unit.len > 0)
        vg_json_member_string(&w, "unit", patient->unit);
    vg_json_member_time(&w, "windowEnd", patient->window.watermark_us);
    put_heard(&w, &scored->view->window);
    vg_json_member_time(&w, "scoredTime", scored->now_us);
    vg_json_member_string(&w, "trigger", vg_slice_of(scored->trigger));
    if (scored->news2)
        put_news2(&w, scored);
    st = put_models(&w, scored, out, err);
    put_vitals(&w, scored);
    put_rejected(&w, scored);
    vg_json_close_object(&w);
    if (st == VG_OK && !vg_buf_ok(out))
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a scored record");
    return st;
}
