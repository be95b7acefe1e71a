/* scored.c -- writes one record of iomt.scored.
 *
 * Contributions cost a hundred predictions, so they are computed for what somebody will look at:
 * NEWS2 of 5 and above, or a model band that is not low. They are summed over each vital sign's
 * features, in the log-odds of the calibrated probability: the three that raise the risk most and
 * the one that lowers it most, with what stands behind them in words. They say what the model
 * looked at, not what made the patient ill.
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
    const struct window *window = &scored->patient->window;
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

static void put_vitals(struct vg_json_writer *w, const struct scored *scored)
{
    const struct patient *patient = scored->patient;

    vg_json_name(w, "vitals");
    vg_json_open_array(w);
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        const struct window_newest *newest = &patient->window.newest[v];
        enum window_state state = window_state(&patient->window, (enum score_vital)v,
                                               scored->expiry_us[v], scored->as_of_us);

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
        vg_json_close_object(w);
    }
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

/* What raised and what lowered the risk, summed over each vital sign's features, in the log-odds of
 * the calibrated probability. */
static enum vg_status put_contributions(struct vg_json_writer *w, const struct scored *scored,
                                        struct vg_err *err)
{
    const struct patient *patient = scored->patient;
    const struct feature_set *set = model_features(scored->model);
    struct group_sum sums[FEATURE_GROUP_COUNT];
    enum vg_status st = model_contributions(scored->model, scored->row, scored->contributions, err);

    if (st != VG_OK)
        return st;
    for (int g = 0; g < FEATURE_GROUP_COUNT; g++)
        sums[g] = (struct group_sum){.group = g};
    for (size_t i = 0; i < set->count; i++)
        sums[features[set->index[i]].group].value +=
            (double)scored->contributions[i] * model_card(scored->model)->slope;
    qsort(sums, FEATURE_GROUP_COUNT, sizeof(sums[0]), by_value_down);

    for (int i = 0; i < FEATURE_GROUP_COUNT; i++) {
        bool is_shown = (i < WORSENING_MAX && sums[i].value > CONTRIBUTION_LEAST) ||
                        (i == FEATURE_GROUP_COUNT - 1 && sums[i].value < -CONTRIBUTION_LEAST);
        char text[160];

        if (!is_shown)
            continue;
        feature_describe(&patient->window, &patient->facts, scored->news2, sums[i].group,
                         scored->as_of_us, text, sizeof(text));
        vg_json_open_object(w);
        vg_json_member_string(w, "vital", vg_slice_of(feature_group_name(sums[i].group)));
        vg_json_member_double(w, "value", round(sums[i].value * 1000) / 1000);
        vg_json_member_string(w, "text", vg_slice_of(text));
        vg_json_close_object(w);
    }
    return VG_OK;
}

static enum vg_status put_model(struct vg_json_writer *w, const struct scored *scored,
                                struct vg_err *err)
{
    const struct model_card *card = model_card(scored->model);
    const char *band = model_band(scored->model, scored->probability);
    enum vg_status st = VG_OK;

    vg_json_name(w, "model");
    vg_json_open_object(w);
    vg_json_member_string(w, "name", vg_slice_of(card->name));
    vg_json_member_string(w, "version", vg_slice_of(card->version));
    vg_json_member_double(w, "probability", round(scored->probability * 1e6) / 1e6);
    vg_json_member_double(w, "horizonHours", card->horizon_hours);
    vg_json_member_string(w, "band", vg_slice_of(band));
    vg_json_name(w, "contributions");
    vg_json_open_array(w);
    if (strcmp(band, "low") != 0 || (scored->news2 && scored->news2->low >= 5))
        st = put_contributions(w, scored, err);
    vg_json_close_array(w);
    vg_json_close_object(w);
    return st;
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
    vg_json_member_time(&w, "scoredTime", scored->now_us);
    vg_json_member_string(&w, "trigger", vg_slice_of(scored->trigger));
    if (scored->news2)
        put_news2(&w, scored);
    if (scored->model)
        st = put_model(&w, scored, err);
    put_vitals(&w, scored);
    vg_json_close_object(&w);
    if (st == VG_OK && !vg_buf_ok(out))
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a scored record");
    return st;
}
