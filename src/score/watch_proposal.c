/* watch_proposal.c -- recalibration: proposed by a run, applied by a person.
 *
 * Logistic recalibration: log-odds become slope * log-odds + intercept, fitted to the outcomes.
 * The card's own calibration is of that form, so two lines make one:
 *
 *   probability = logistic(s * margin + i)   ->   logistic((slope*s) * margin + (slope*i +
 * intercept))
 *
 * WHAT STAYS. The order of the patients; so the thresholds are moved along with the probabilities,
 * and the same patients are in the same bands: what changes is the number that people read. The
 * figures of the card are of the model as it was made, and `recalibrated` says since when it is
 * not that.
 *
 * APPLYING changes card.json and reference.json; model.json and live.json stay. The card gets the
 * version VERSION-r1, then -r2: every record and every RiskAssessment names it. What card.json was
 * stays as card-VERSION.json, copied back it is in force again. card.json is written last: a crash
 * before leaves the model as it was, and the command can be given again.
 */
#include "score/watch_int.h"

#include "base/file.h"
#include "score/measure.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define CARD_BYTES_MAX (4u << 20)
#define SLOPE_LEAST 0.2
#define SLOPE_MOST 5.0

struct change {
    double slope, intercept;
};

/* With few outcomes a slope would be chance. */
static struct change change_of(const struct watch_calibration *found)
{
    return found->events >= EVENTS_FOR_SLOPE
               ? (struct change){found->figures.slope, found->figures.intercept}
               : (struct change){1, found->shift};
}

static double moved(struct change change, double probability)
{
    double p = fmin(fmax(probability, 1e-9), 1 - 1e-9);

    return measure_logistic(change.slope * log(p / (1 - p)) + change.intercept);
}

const char *proposal_why_not(const struct live_model *model, const struct watch_calibration *found)
{
    static const char no_remedy[] = "risk and outcome hardly go together here: recalibration is no "
                                    "remedy. Look at the drift of the features; train again";
    struct change change = change_of(found);
    bool is_ratio_right = found->expected_low <= 1 && found->expected_high >= 1;
    bool is_slope_right = fabs(change.slope - 1) <= 0.2;

    if (model->remote)
        return "another process gives the probabilities: they are calibrated there";
    if (found->events < EVENTS_MIN || found->listed - found->events < EVENTS_MIN)
        return "too few patients with or without the outcome to judge";
    if (!isfinite(change.slope) || !isfinite(change.intercept) || isnan(found->expected_low))
        return "the outcomes do not fix a line";
    if (found->figures.row_auroc.high < 0.5)
        return no_remedy;
    if (is_ratio_right && is_slope_right)
        return "the probabilities are in keeping with the outcomes";
    if (!(found->figures.row_auroc.low > 0.5))
        return "that the model ranks these patients is not shown: more outcomes are needed";
    if (change.slope < SLOPE_LEAST || change.slope > SLOPE_MOST)
        return no_remedy;
    return NULL;
}

/* "2" becomes "2-r1", "2-r1" becomes "2-r2". */
static void next_version(const char *version, char out[static 64])
{
    const char *mark = strstr(version, "-r");
    uint64_t number = 0;

    if (mark && vg_slice_to_u64(vg_slice_of(mark + 2), &number))
        (void)snprintf(out, 64, "%.*s-r%llu", (int)(mark - version), version,
                       (unsigned long long)number + 1);
    else
        (void)snprintf(out, 64, "%.24s-r1", version);
}

void proposal_write(const struct live_model *model, const struct watch_calibration *found,
                    int64_t now_us, struct vg_json_writer *w)
{
    const struct model_card *card = model_card(model->model);
    struct change change = change_of(found);
    char version[64], text[700];
    bool has_own = fabs(model->medium - card->medium) + fabs(model->high - card->high) > 1e-12;

    next_version(card->version, version);
    vg_json_open_object(w);
    vg_json_member_string(w, "model", vg_slice_of(card->name));
    vg_json_member_string(w, "version", vg_slice_of(card->version));
    vg_json_member_string(w, "digest", vg_slice_of(model->digest));
    vg_json_member_string(w, "newVersion", vg_slice_of(version));
    vg_json_member_time(w, "made", now_us);
    vg_json_member_i64(w, "patients", (int64_t)found->listed);
    vg_json_member_i64(w, "patientsWithOutcome", (int64_t)found->events);
    vg_json_member_double(w, "expectedToObserved", found->figures.expected);
    vg_json_member_double(w, "slope", change.slope);
    vg_json_member_double(w, "intercept", change.intercept);
    vg_json_member_string(w, "file", VG_SLICE("card.json"));
    vg_json_name(w, "calibration");
    vg_json_open_object(w);
    vg_json_member_double(w, "slope", change.slope * card->slope);
    vg_json_member_double(w, "intercept", change.slope * card->intercept + change.intercept);
    vg_json_close_object(w);
    vg_json_name(w, "thresholds");
    vg_json_open_object(w);
    vg_json_member_double(w, "medium", moved(change, card->medium));
    vg_json_member_double(w, "high", moved(change, card->high));
    vg_json_close_object(w);
    (void)snprintf(
        text, sizeof(text),
        "On %zu patients, %zu of them with the outcome, the model expected %.2f times as many "
        "outcomes as there were (95 of 100 samples: %.2f to %.2f). Proposed: log-odds times %.3f "
        "plus %.3f%s. A probability of 10 %% would read %.1f %%. Thresholds move along, so the "
        "same patients are in the same bands.%s",
        found->listed, found->events, found->figures.expected, found->expected_low,
        found->expected_high, change.slope, change.intercept,
        found->events >= EVENTS_FOR_SLOPE ? "" : " (too few outcomes for a slope)",
        100 * moved(change, 0.1),
        has_own ? " live.json sets thresholds of its own: they stay as they are and must be "
                  "looked at."
                : "");
    vg_json_member_string(w, "text", vg_slice_of(text));
    vg_json_close_object(w);
}

/* ---- applying ---- */

static enum vg_status read_json(struct vg_arena *arena, const char *path, struct vg_json **ret_root,
                                struct vg_slice *ret_text, struct vg_err *err)
{
    enum vg_status st = vg_file_read(arena, path, CARD_BYTES_MAX, ret_text, err);

    return st == VG_OK ? vg_json_parse(arena, *ret_text, NULL, ret_root, NULL, err) : st;
}

static void put_threshold(struct vg_json_writer *w, const struct vg_json *band,
                          struct change change)
{
    double probability;

    vg_json_name_slice(w, band->name);
    if (!vg_json_is(band, VG_JSON_OBJECT)) {
        vg_json_put_raw(w, band->source);
        return;
    }
    vg_json_open_object(w);
    for (const struct vg_json *m = band->child; m; m = m->next) {
        vg_json_name_slice(w, m->name);
        if (vg_slice_is(m->name, "probability") && vg_json_to_double(m, &probability))
            vg_json_put_double(w, moved(change, probability));
        else
            vg_json_put_raw(w, m->source);
    }
    vg_json_close_object(w);
}

/* One more line in the card's history of recalibrations. */
static void put_history(struct vg_json_writer *w, const struct vg_json *former,
                        const struct vg_json *proposal, const char *who, int64_t now_us)
{
    static const char *const kept[] = {
        "version", "newVersion", "made", "patients", "patientsWithOutcome", "slope", "intercept"};

    vg_json_name(w, "recalibrated");
    vg_json_open_array(w);
    for (former = former ? former->child : NULL; former; former = former->next)
        vg_json_put_raw(w, former->source);
    vg_json_open_object(w);
    vg_json_member_time(w, "applied", now_us);
    vg_json_member_string(w, "by", vg_slice_of(who));
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        const struct vg_json *member = vg_json_get(proposal, kept[i]);

        if (member)
            vg_json_member_raw(w, kept[i], member->source);
    }
    vg_json_close_object(w);
    vg_json_close_array(w);
}

static void put_card(struct vg_json_writer *w, const struct vg_json *card,
                     const struct vg_json *proposal, struct change change, const char *who,
                     int64_t now_us)
{
    vg_json_open_object(w);
    for (const struct vg_json *m = card->child; m; m = m->next) {
        if (vg_slice_is(m->name, "recalibrated"))
            continue;
        vg_json_name_slice(w, m->name);
        if (vg_slice_is(m->name, "version")) {
            vg_json_put_string(w, vg_json_get_text(proposal, "newVersion"));
        } else if (vg_slice_is(m->name, "calibration")) {
            vg_json_open_object(w);
            vg_json_member_string(w, "method",
                                  VG_SLICE("logistic recalibration on this hospital's outcomes, "
                                           "over the calibration it was made with"));
            for (const struct vg_json *c = vg_json_get(proposal, "calibration")->child; c;
                 c = c->next) {
                vg_json_name_slice(w, c->name);
                vg_json_put_raw(w, c->source);
            }
            vg_json_close_object(w);
        } else if (vg_slice_is(m->name, "thresholds")) {
            vg_json_open_object(w);
            for (const struct vg_json *band = m->child; band; band = band->next)
                put_threshold(w, band, change);
            vg_json_close_object(w);
        } else {
            vg_json_put_raw(w, m->source);
        }
    }
    put_history(w, vg_json_get(card, "recalibrated"), proposal, who, now_us);
    vg_json_close_object(w);
}

/* The reference's features are what they were; its probabilities move. */
static void put_reference(struct vg_json_writer *w, const struct vg_json *reference,
                          const struct vg_json *proposal, struct change change)
{
    vg_json_open_object(w);
    for (const struct vg_json *m = reference->child; m; m = m->next) {
        vg_json_name_slice(w, m->name);
        if (vg_slice_is(m->name, "version")) {
            vg_json_put_string(w, vg_json_get_text(proposal, "newVersion"));
        } else if (vg_slice_is(m->name, "probabilities") && vg_json_is(m, VG_JSON_OBJECT)) {
            vg_json_open_object(w);
            for (const struct vg_json *p = m->child; p; p = p->next) {
                float last = -1;
                double edge;

                vg_json_name_slice(w, p->name);
                if (!vg_slice_is(p->name, "edges")) {
                    vg_json_put_raw(w, p->source);
                    continue;
                }
                vg_json_open_array(w);
                for (const struct vg_json *e = p->child; e; e = e->next) {
                    if (!vg_json_to_double(e, &edge))
                        continue;
                    /* Two edges must not become one. */
                    last = fmaxf((float)moved(change, edge), nextafterf(last, INFINITY));
                    vg_json_put_double(w, (double)last);
                }
                vg_json_close_array(w);
            }
            vg_json_close_object(w);
        } else {
            vg_json_put_raw(w, m->source);
        }
    }
    vg_json_close_object(w);
}

static enum vg_status change_reference(struct vg_arena *arena, const struct live_model *model,
                                       const struct vg_json *proposal, struct change change,
                                       struct vg_err *err)
{
    const char *path = vg_arena_printf(arena, "%s/reference.json", model->dir).ptr;
    struct vg_json_writer w;
    struct vg_json *root = NULL;
    struct vg_slice text;
    struct vg_buf out;
    enum vg_status st = path ? read_json(arena, path, &root, &text, err)
                             : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory");

    if (st == VG_END)
        return VG_OK;
    if (st != VG_OK ||
        !vg_slice_is(vg_json_get_text(root, "version"), model_card(model->model)->version))
        return st; /* another version's: it was not in use, and still is not */
    vg_buf_init(&out, CARD_BYTES_MAX);
    vg_json_writer_init(&w, &out);
    put_reference(&w, root, proposal, change);
    st = vg_buf_ok(&out) ? vg_file_write(path, vg_buf_slice(&out), 0644, err)
                         : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory");
    vg_buf_fini(&out);
    return st;
}

static enum vg_status change_card(struct vg_arena *arena, const struct live_model *model,
                                  const struct vg_json *proposal, struct change change,
                                  const char *who, int64_t now_us, struct vg_err *err)
{
    const char *version = model_card(model->model)->version;
    const char *card = vg_arena_printf(arena, "%s/card.json", model->dir).ptr;
    const char *kept = vg_arena_printf(arena, "%s/card-%s.json", model->dir, version).ptr;
    const char *html = vg_arena_printf(arena, "%s/card.html", model->dir).ptr;
    const char *kept_html = vg_arena_printf(arena, "%s/card-%s.html", model->dir, version).ptr;
    struct vg_json_writer w;
    struct vg_json *root = NULL;
    struct vg_slice text;
    struct vg_buf out;
    enum vg_status st = card && kept && html && kept_html
                            ? read_json(arena, card, &root, &text, err)
                            : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory");

    if (st != VG_OK)
        return st;
    vg_buf_init(&out, CARD_BYTES_MAX);
    vg_json_writer_init(&w, &out);
    put_card(&w, root, proposal, change, who, now_us);
    if (!vg_buf_ok(&out))
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory");
    if (st == VG_OK)
        st = vg_file_write(kept, text, 0644, err);
    /* The page shows the card as it was made; beside the new one it would say something else. */
    if (st == VG_OK && rename(html, kept_html) != 0 && errno != ENOENT)
        st = vg_fail(err, VG_RETRY, "score.proposal", errno, "card.html");
    if (st == VG_OK)
        st = vg_file_write(card, vg_buf_slice(&out), 0644, err);
    vg_buf_fini(&out);
    return st;
}

enum vg_status watch_apply(const struct watch_config *config, const char *name, const char *who,
                           struct vg_buf *out, struct vg_err *err)
{
    const struct vg_clock *clock = config->clock ? config->clock : &vg_clock_system;
    struct change change = {0, 0};
    struct vg_arena arena;
    struct vg_json *proposal = NULL;
    struct vg_slice text;
    struct live *live = NULL;
    struct live_model *model = NULL;
    const char *path;
    double slope;
    enum vg_status st;

    vg_arena_init(&arena, 16u << 20);
    path = watch_path(&arena, config, "proposal", vg_slice_of(name), "json");
    st = path ? read_json(&arena, path, &proposal, &text, err) : VG_END;
    if (st == VG_OK)
        st = live_read(config->model_dir, NULL, 0, &live, err);
    if (st == VG_OK && !(model = watch_find(live, vg_slice_of(name))))
        st = VG_END;
    if (st != VG_OK)
        goto done;
    if (!vg_slice_is(vg_json_get_text(proposal, "digest"), model->digest) ||
        !vg_slice_is(vg_json_get_text(proposal, "version"), model_card(model->model)->version)) {
        st = vg_fail(err, VG_REJECT, "score.proposal", 0,
                     "the proposal is for other files than the model has now: watch again");
        goto done;
    }
    if (!vg_json_to_double(vg_json_get(proposal, "slope"), &change.slope) ||
        !vg_json_to_double(vg_json_get(proposal, "intercept"), &change.intercept) ||
        !vg_json_to_double(vg_json_get(vg_json_get(proposal, "calibration"), "slope"), &slope) ||
        !(change.slope >= SLOPE_LEAST && change.slope <= SLOPE_MOST)) {
        st = vg_fail(err, VG_REJECT, "score.proposal", 0, "the proposal is damaged");
        goto done;
    }
    st = change_reference(&arena, model, proposal, change, err);
    if (st == VG_OK)
        st = change_card(&arena, model, proposal, change, who, vg_clock_now_us(clock), err);
    if (st == VG_OK && unlink(path) != 0 && errno != ENOENT)
        st =
            vg_fail(err, VG_RETRY, "score.proposal", errno, "it is applied, and cannot be removed");
    if (st == VG_OK)
        vg_buf_put(out, vg_json_get_text(proposal, "newVersion"));
done:
    live_free(live, NULL);
    vg_arena_fini(&arena);
    return st;
}

enum vg_status watch_proposal(const struct watch_config *config, const char *name,
                              struct vg_buf *out, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_slice text;
    const char *path;
    enum vg_status st;

    vg_arena_init(&arena, 0);
    path = watch_path(&arena, config, "proposal", vg_slice_of(name), "json");
    st = path ? vg_file_read(&arena, path, CARD_BYTES_MAX, &text, err) : VG_END;
    if (st == VG_OK)
        vg_buf_put(out, text);
    vg_arena_fini(&arena);
    return st;
}
