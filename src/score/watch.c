/* watch.c -- a run over the models: what it finds, as a document for each and as metrics.
 *
 * Of each model that runs here:
 *   features       population stability index against reference.json, missing shares
 *   probabilities  the same of what it says; their mean beside what training saw
 *   alerts         for each 100 patient-days, as the card counts them, by day
 *   calibration    with outcomes: expected to observed, slope, intercept, Brier; else nothing is
 *                  concluded, and the document says so
 *
 * FEW PATIENTS. With fewer hours or patients than wanted the figures are there and no level is
 * given: `state` is "few". Hours of one patient are alike, so both are asked for.
 *
 * FILES in DIR: watch-NAME.json (the last run, and a line for each of the last RUNS_MAX),
 * outcomes-NAME.csv, proposal-NAME.json. Each is written whole: after a crash the old or the new.
 *
 * Threads: one run at a time; reading results is free.
 */
#include "score/watch_int.h"

#include "base/file.h"
#include "base/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RUNS_MAX 180
#define QUIET_HOURS 24 /* as judge.c: no second alert within */
#define RESULT_BYTES_MAX ((size_t)4 << 20)

struct alerts {
    int64_t first_day; /* since 1970 */
    size_t day_count;
    struct {
        double hours, medium, high, sum;
    } days[WATCH_DAYS_MAX + 1];
    double hours, medium, high, sum; /* of all days */
    size_t patients;
    struct watch_cells cells;
    const struct live_model *model;
    const struct bins *bins; /* NULL: no reference */
    int64_t from_hour;
};

struct watched {
    struct live_model *model;
    struct reference reference;
    bool has_reference;
    char trouble[320]; /* why there is no reference */
    struct watch_features features;
    struct alerts alerts;
    struct watch_calibration calibration;
    bool has_outcomes;
    char outcomes_trouble[320];
};

/* ---- paths ---- */

const char *watch_path(struct vg_arena *arena, const struct watch_config *config, const char *kind,
                       struct vg_slice name, const char *end)
{
    static const char harmless[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    for (size_t i = 0; i < name.len; i++) {
        if (!strchr(harmless, name.ptr[i]) || !name.ptr[i])
            return NULL;
    }
    return name.len > 0 && name.len < 64
               ? vg_arena_printf(arena, "%s/%s-%.*s.%s", config->dir, kind, VG_FMT(name), end).ptr
               : NULL;
}

struct live_model *watch_find(const struct live *live, struct vg_slice name)
{
    for (size_t i = 0; i < live->count; i++) {
        if (live->items[i]->model && vg_slice_is(name, model_card(live->items[i]->model)->name))
            return live->items[i];
    }
    return NULL;
}

/* ---- alerts and probabilities ---- */

static enum vg_status take_scores(void *ctx, const struct watch_scores *scores, struct vg_err *err)
{
    struct alerts *a = ctx;
    int64_t quiet[2] = {INT64_MIN, INT64_MIN};
    double before = a->hours;

    (void)err;
    for (size_t i = 0; i < scores->count; i++) {
        const double p = scores->probabilities[i], at[2] = {a->model->medium, a->model->high};
        int64_t hour = scores->hours[i], day = hour / 24 - a->first_day;
        bool is_alert[2];

        for (int b = 0; b < 2; b++) {
            is_alert[b] = p >= at[b] && hour >= quiet[b];
            if (is_alert[b])
                quiet[b] = hour + QUIET_HOURS;
        }
        /* The day before the period is there so that an alert of then is not counted again. */
        if (hour < a->from_hour || day < 0 || day >= (int64_t)a->day_count)
            continue;
        a->days[day].hours++;
        a->days[day].sum += p;
        a->days[day].medium += is_alert[0];
        a->days[day].high += is_alert[1];
        a->hours++;
        a->sum += p;
        a->medium += is_alert[0];
        a->high += is_alert[1];
        if (a->bins)
            a->cells.cells[bins_cell(a->bins, (float)p)]++;
    }
    a->patients += a->hours > before;
    return VG_OK;
}

static enum vg_status read_alerts(struct watch_run *run, struct watched *w, size_t one_in,
                                  struct vg_err *err)
{
    const struct model_card *card = model_card(w->model->model);
    struct alerts *a = &w->alerts;
    char filter[64];
    struct watch_scores_query query = {
        .model = card->name,
        .version = card->version,
        .from_us = run->from_us - VG_DAY_US,
        .to_us = run->now_us,
        .filter = filter,
    };

    (void)snprintf(filter, sizeof(filter), "hash(patientId) %% %zu = 0", one_in);
    a->model = w->model;
    a->bins = w->has_reference ? &w->reference.probabilities : NULL;
    a->from_hour = run->from_us / VG_HOUR_US;
    a->first_day = run->from_us / VG_DAY_US;
    a->day_count = (size_t)(run->now_us / VG_DAY_US - a->first_day) + 1;
    a->day_count = a->day_count > WATCH_DAYS_MAX ? WATCH_DAYS_MAX : a->day_count;
    return watch_read_scores(run, &query, take_scores, a, err);
}

/* ---- the document ---- */

static bool is_few(const struct watch_config *config, double hours, size_t patients)
{
    return hours < config->hours_min || patients < config->patients_min;
}

static const char *level_of(double psi)
{
    return isnan(psi)           ? "unknown"
           : psi >= DRIFT_LEVEL ? "drift"
           : psi >= WATCH_LEVEL ? "watch"
                                : "ok";
}

/* What a run found of one model's features, for the document and its line of history. */
struct drift {
    double worst, missing_worst;
    size_t watch, drift;
};

static void put_shares(struct vg_json_writer *w, const char *name, const double *values,
                       size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += values[i];
    vg_json_name(w, name);
    vg_json_open_array(w);
    for (size_t i = 0; i < count; i++)
        vg_json_put_double(w, sum > 0 ? round(1e4 * values[i] / sum) / 1e4 : 0);
    vg_json_close_array(w);
}

static void put_feature(struct vg_json_writer *w, const struct watched *watched, size_t f,
                        struct drift *drift)
{
    const struct watch_features *found = &watched->features;
    const struct reference_feature *item = found->items[f];
    const struct feature *feature = &features[found->set->index[f]];
    const struct watch_cells *cells = &found->found[f];
    const double rows = (double)found->rows;
    const double now[2] = {cells->missing, rows - cells->missing};
    const double then[2] = {item->missing, 1 - item->missing};
    double psi = item->bins.edge_count > 0
                     ? bins_psi(item->bins.shares, cells->cells, item->bins.edge_count + 1)
                     : (double)NAN;
    double missing_psi = bins_psi(then, now, 2);
    double most = fmax(psi, missing_psi); /* of a NaN and a number: the number */
    char words[160];

    feature_words(feature, words, sizeof(words));
    drift->worst = fmax(drift->worst, most);
    drift->missing_worst = fmax(drift->missing_worst, fabs(then[0] - now[0] / rows));
    drift->watch += most >= WATCH_LEVEL && most < DRIFT_LEVEL;
    drift->drift += most >= DRIFT_LEVEL;
    vg_json_open_object(w);
    vg_json_member_string(w, "name", vg_slice_of(feature->name));
    vg_json_member_string(w, "group", vg_slice_of(feature_group_name(feature->group)));
    vg_json_member_string(w, "what", vg_slice_of(words));
    vg_json_member_double(w, "psi", psi);
    vg_json_member_double(w, "missingPsi", missing_psi);
    vg_json_member_string(w, "level", vg_slice_of(level_of(most)));
    vg_json_member_double(w, "missing", now[0] / rows);
    vg_json_member_double(w, "missingBefore", item->missing);
    vg_json_close_object(w);
}

static struct drift put_features(struct vg_json_writer *w, const struct watch_config *config,
                                 const struct watched *watched, size_t of_patients)
{
    const struct watch_features *found = &watched->features;
    struct drift drift = {0};
    const char *state = !watched->has_reference                                ? "none"
                        : found->rows == 0                                     ? "empty"
                        : is_few(config, (double)found->rows, found->patients) ? "few"
                                                                               : "ok";

    vg_json_name(w, "features");
    vg_json_open_object(w);
    vg_json_member_string(w, "state", vg_slice_of(state));
    if (watched->trouble[0])
        vg_json_member_string(w, "text", vg_slice_of(watched->trouble));
    vg_json_member_i64(w, "hours", (int64_t)found->rows);
    vg_json_member_i64(w, "patients", (int64_t)found->patients);
    vg_json_member_i64(w, "ofPatients", (int64_t)of_patients);
    vg_json_name(w, "items");
    vg_json_open_array(w);
    for (size_t f = 0; watched->has_reference && found->rows > 0 && f < found->set->count; f++) {
        if (found->items[f])
            put_feature(w, watched, f, &drift);
    }
    vg_json_close_array(w);
    vg_json_member_i64(w, "watch", (int64_t)drift.watch);
    vg_json_member_i64(w, "drift", (int64_t)drift.drift);
    vg_json_member_double(w, "worst", drift.worst);
    vg_json_close_object(w);
    return drift;
}

static double put_probabilities(struct vg_json_writer *w, const struct watch_config *config,
                                const struct watched *watched)
{
    const struct alerts *a = &watched->alerts;
    size_t cells = a->bins ? a->bins->edge_count + 1 : 0;
    double psi = a->bins ? bins_psi(a->bins->shares, a->cells.cells, cells) : (double)NAN;

    vg_json_name(w, "probabilities");
    vg_json_open_object(w);
    vg_json_member_string(w, "state",
                          a->hours < 1                            ? VG_SLICE("empty")
                          : is_few(config, a->hours, a->patients) ? VG_SLICE("few")
                          : !a->bins                              ? VG_SLICE("none")
                                                                  : VG_SLICE("ok"));
    vg_json_member_double(w, "psi", psi);
    vg_json_member_string(w, "level", vg_slice_of(level_of(psi)));
    vg_json_member_double(w, "mean", a->hours > 0 ? a->sum / a->hours : (double)NAN);
    if (a->bins) {
        vg_json_name(w, "edges");
        vg_json_open_array(w);
        for (size_t i = 0; i + 1 < cells; i++)
            vg_json_put_double(w, round(1e6 * (double)a->bins->edges[i]) / 1e6);
        vg_json_close_array(w);
        put_shares(w, "shares", a->cells.cells, cells);
        put_shares(w, "sharesBefore", a->bins->shares, cells);
    }
    vg_json_close_object(w);
    return psi;
}

/* Of the card, where the thresholds in force are the card's. */
static double expected_alerts(const struct vg_json *card, const char *band, double in_force)
{
    const struct vg_json *of = vg_json_get(vg_json_get(card, "thresholds"), band);
    double threshold = 0, value = (double)NAN;

    if (vg_json_to_double(vg_json_get(of, "probability"), &threshold) &&
        fabs(threshold - in_force) < 1e-9)
        (void)vg_json_to_double(vg_json_get(vg_json_get(of, "test"), "alertsPer100PatientDays"),
                                &value);
    return value;
}

static double per_100_days(double alerts, double hours)
{
    return hours > 0 ? alerts * 2400 / hours : (double)NAN;
}

static void put_alerts(struct vg_json_writer *w, const struct watch_config *config,
                       const struct watched *watched, const struct vg_json *card)
{
    const struct alerts *a = &watched->alerts;

    vg_json_name(w, "alerts");
    vg_json_open_object(w);
    vg_json_member_string(w, "state",
                          a->hours < 1                            ? VG_SLICE("empty")
                          : is_few(config, a->hours, a->patients) ? VG_SLICE("few")
                                                                  : VG_SLICE("ok"));
    vg_json_member_double(w, "medium", per_100_days(a->medium, a->hours));
    vg_json_member_double(w, "high", per_100_days(a->high, a->hours));
    vg_json_member_double(w, "mediumBefore", expected_alerts(card, "medium", a->model->medium));
    vg_json_member_double(w, "highBefore", expected_alerts(card, "high", a->model->high));
    vg_json_name(w, "days");
    vg_json_open_array(w);
    for (size_t d = 0; d < a->day_count; d++) {
        if (a->days[d].hours < 1)
            continue;
        vg_json_open_object(w);
        vg_json_member_time(w, "day", (a->first_day + (int64_t)d) * VG_DAY_US);
        vg_json_member_i64(w, "hours", (int64_t)a->days[d].hours);
        vg_json_member_double(w, "medium", per_100_days(a->days[d].medium, a->days[d].hours));
        vg_json_member_double(w, "high", per_100_days(a->days[d].high, a->days[d].hours));
        vg_json_member_double(w, "mean", a->days[d].sum / a->days[d].hours);
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static void put_calibration(struct vg_json_writer *w, const struct watched *watched,
                            const struct vg_json *card)
{
    const struct watch_calibration *c = &watched->calibration;
    const struct figures *f = &c->figures;
    const struct vg_json *test = vg_json_get(vg_json_get(card, "figures"), "test");
    double rate = (double)NAN;
    bool is_few = c->events < EVENTS_MIN || c->listed - c->events < EVENTS_MIN;

    (void)vg_json_to_double(vg_json_get(test, "baseRate"), &rate);
    vg_json_name(w, "calibration");
    vg_json_open_object(w);
    vg_json_member_double(w, "baseRateBefore", rate);
    if (!watched->has_outcomes) {
        vg_json_member_string(w, "state",
                              watched->outcomes_trouble[0] ? VG_SLICE("bad") : VG_SLICE("none"));
        if (watched->outcomes_trouble[0])
            vg_json_member_string(w, "text", vg_slice_of(watched->outcomes_trouble));
        vg_json_close_object(w);
        return;
    }
    vg_json_member_string(w, "state",
                          f->rows == 0 ? VG_SLICE("empty")
                          : is_few     ? VG_SLICE("few")
                                       : VG_SLICE("ok"));
    vg_json_member_i64(w, "patients", (int64_t)c->listed);
    vg_json_member_i64(w, "patientsWithOutcome", (int64_t)c->events);
    vg_json_member_i64(w, "hours", (int64_t)f->rows);
    if (f->rows > 0) {
        vg_json_member_double(w, "baseRate", (double)f->positive_rows / (double)f->rows);
        vg_json_member_double(w, "expectedToObserved", f->expected);
        vg_json_member_double(w, "expectedToObservedLow", c->expected_low);
        vg_json_member_double(w, "expectedToObservedHigh", c->expected_high);
        vg_json_member_double(w, "slope", f->slope);
        vg_json_member_double(w, "intercept", f->intercept);
        vg_json_member_double(w, "brier", f->brier);
        vg_json_member_double(w, "auroc", f->row_auroc.value);
        vg_json_member_double(w, "aurocLow", f->row_auroc.low);
        vg_json_member_double(w, "aurocHigh", f->row_auroc.high);
        vg_json_name(w, "curve");
        vg_json_open_array(w);
        for (size_t i = 0; i < c->curve.count; i++) {
            vg_json_open_array(w);
            vg_json_put_double(w, c->curve.x[i]);
            vg_json_put_double(w, c->curve.y[i]);
            vg_json_close_array(w);
        }
        vg_json_close_array(w);
    }
    if (proposal_why_not(watched->model, c))
        vg_json_member_string(w, "whyNoProposal", vg_slice_of(proposal_why_not(watched->model, c)));
    vg_json_close_object(w);
}

/* The lines of former runs of any version, then this one's. */
static void put_runs(struct vg_json_writer *w, const struct vg_json *former, int64_t now_us,
                     const struct watched *watched, struct drift drift, double probability_psi)
{
    const struct alerts *a = &watched->alerts;
    const struct watch_calibration *c = &watched->calibration;
    size_t skip = former && former->count >= RUNS_MAX ? former->count - RUNS_MAX + 1 : 0;
    bool has_drift = watched->has_reference && watched->features.rows > 0;

    vg_json_name(w, "runs");
    vg_json_open_array(w);
    for (former = former ? former->child : NULL; former; former = former->next) {
        if (skip > 0)
            skip--;
        else
            vg_json_put_raw(w, former->source);
    }
    vg_json_open_object(w);
    vg_json_member_time(w, "time", now_us);
    vg_json_member_string(w, "version", vg_slice_of(model_card(watched->model->model)->version));
    vg_json_member_double(w, "worst", has_drift ? drift.worst : (double)NAN);
    vg_json_member_i64(w, "watch", (int64_t)drift.watch);
    vg_json_member_i64(w, "drift", (int64_t)drift.drift);
    vg_json_member_double(w, "missingChange", has_drift ? drift.missing_worst : (double)NAN);
    vg_json_member_double(w, "probabilityPsi", probability_psi);
    vg_json_member_double(w, "mean", a->hours > 0 ? a->sum / a->hours : (double)NAN);
    vg_json_member_double(w, "medium", per_100_days(a->medium, a->hours));
    vg_json_member_double(w, "expectedToObserved",
                          c->figures.rows > 0 ? c->figures.expected : (double)NAN);
    vg_json_member_double(w, "slope", c->figures.rows > 0 ? c->figures.slope : (double)NAN);
    vg_json_close_object(w);
    vg_json_close_array(w);
}

static void put_document(const struct watch_run *run, const struct watched *watched,
                         size_t feature_patients, size_t one_in, bool is_whole,
                         const struct vg_json *former, struct vg_buf *out)
{
    struct vg_json *card = NULL;
    struct vg_json_writer w;
    struct vg_arena arena;
    struct drift drift;
    double psi;

    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, model_card_text(watched->model->model), NULL, &card, NULL, NULL) !=
        VG_OK)
        card = NULL; /* it was read before: only its memory can be missing */
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "model", vg_slice_of(model_card(watched->model->model)->name));
    vg_json_member_string(&w, "version", vg_slice_of(model_card(watched->model->model)->version));
    vg_json_member_time(&w, "time", run->now_us);
    vg_json_member_time(&w, "from", run->from_us);
    vg_json_member_bool(&w, "isWhole", is_whole);
    vg_json_member_i64(&w, "hoursNeeded", run->config->hours_min);
    vg_json_member_i64(&w, "patientsNeeded", run->config->patients_min);
    vg_json_member_i64(&w, "hours", (int64_t)watched->alerts.hours);
    vg_json_member_i64(&w, "patients", (int64_t)watched->alerts.patients);
    vg_json_member_i64(&w, "oneIn", (int64_t)one_in);
    drift = put_features(&w, run->config, watched, feature_patients);
    psi = put_probabilities(&w, run->config, watched);
    put_alerts(&w, run->config, watched, card);
    put_calibration(&w, watched, card);
    put_runs(&w, former, run->now_us, watched, drift, psi);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
    vg_arena_fini(&arena);
}

/* ---- metrics ---- */

static void publish(const struct vg_json *result, bool has_proposal)
{
    static const struct {
        const char *name, *help, *labels;
        const char *part, *member;
        bool needs_ok; /* only what is concluded */
    } gauges[] = {
        {"vigil_model_psi_worst", "Largest PSI of a feature, against training", "", "features",
         "worst", true},
        {"vigil_model_features", "Features by level of drift: watch from 0.1, drift from 0.25",
         "level=\"watch\",", "features", "watch", true},
        {"vigil_model_features", "", "level=\"drift\",", "features", "drift", true},
        {"vigil_model_probability_psi", "PSI of the probabilities, against training", "",
         "probabilities", "psi", true},
        {"vigil_model_probability_mean", "Mean probability of patient-hours", "", "probabilities",
         "mean", false},
        {"vigil_model_alerts_per_100_patient_days", "As the card counts alerts", "band=\"medium\",",
         "alerts", "medium", false},
        {"vigil_model_alerts_per_100_patient_days", "", "band=\"high\",", "alerts", "high", false},
        {"vigil_model_expected_to_observed", "Outcomes the model expected to those observed", "",
         "calibration", "expectedToObserved", true},
        {"vigil_model_calibration_slope", "1 is right", "", "calibration", "slope", true},
    };
    struct vg_slice name = vg_json_get_text(result, "model");
    char labels[160];
    int64_t time_us = 0;

    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        const struct vg_json *part = vg_json_get(result, gauges[i].part);
        double value = (double)NAN;

        if (!gauges[i].needs_ok || vg_slice_is(vg_json_get_text(part, "state"), "ok"))
            (void)vg_json_to_double(vg_json_get(part, gauges[i].member), &value);
        (void)snprintf(labels, sizeof(labels), "%smodel=\"%.*s\"", gauges[i].labels, VG_FMT(name));
        vg_metric_set(vg_gauge(gauges[i].name, gauges[i].help, labels), value);
    }
    (void)snprintf(labels, sizeof(labels), "model=\"%.*s\"", VG_FMT(name));
    (void)vg_time_parse(vg_json_get_text(result, "time"), &time_us, NULL);
    vg_metric_set(
        vg_gauge("vigil_model_watched_timestamp_seconds", "When the last run was", labels),
        (double)time_us / 1e6);
    vg_metric_set(
        vg_gauge("vigil_model_recalibration_proposed", "1: a proposal waits for a person", labels),
        has_proposal);
}

/* ---- results ---- */

/* VG_END: none. */
static enum vg_status read_result(struct vg_arena *arena, const struct watch_config *config,
                                  struct vg_slice name, struct vg_json **ret, struct vg_slice *text,
                                  struct vg_err *err)
{
    const char *path = watch_path(arena, config, "watch", name, "json");
    enum vg_status st = path ? vg_file_read(arena, path, RESULT_BYTES_MAX, text, err) : VG_END;

    return st == VG_OK ? vg_json_parse(arena, *text, NULL, ret, NULL, err) : st;
}

static bool has_file(struct vg_arena *arena, const struct watch_config *config, const char *kind,
                     struct vg_slice name, const char *end)
{
    const char *path = watch_path(arena, config, kind, name, end);

    return path && access(path, R_OK) == 0;
}

static enum vg_status keep_proposal(struct watch_run *run, const struct watched *watched,
                                    struct vg_arena *arena, struct vg_err *err)
{
    struct vg_slice name = vg_slice_of(model_card(watched->model->model)->name);
    const char *path = watch_path(arena, run->config, "proposal", name, "json");
    struct vg_json_writer w;
    struct vg_buf out;
    enum vg_status st;

    if (!path)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to watch");
    if (!watched->has_outcomes || proposal_why_not(watched->model, &watched->calibration)) {
        if (unlink(path) != 0 && errno != ENOENT)
            return vg_fail(err, VG_RETRY, "score.proposal", errno, "a proposal of before stays");
        return VG_OK;
    }
    vg_buf_init(&out, 0);
    vg_json_writer_init(&w, &out);
    proposal_write(watched->model, &watched->calibration, run->now_us, &w);
    vg_buf_put_byte(&out, '\n');
    st = vg_file_write(path, vg_buf_slice(&out), 0600, err);
    vg_buf_fini(&out);
    return st;
}

static enum vg_status keep_result(struct watch_run *run, const struct watched *watched,
                                  size_t feature_patients, size_t one_in, struct vg_err *err)
{
    struct vg_slice name = vg_slice_of(model_card(watched->model->model)->name), text;
    struct vg_json *former = NULL, *made = NULL;
    struct vg_arena arena;
    struct vg_err why = {0};
    struct vg_buf out;
    const char *path;
    enum vg_status st;

    vg_arena_init(&arena, 4 * RESULT_BYTES_MAX);
    vg_buf_init(&out, RESULT_BYTES_MAX);
    path = watch_path(&arena, run->config, "watch", name, "json");
    if (read_result(&arena, run->config, name, &former, &text, &why) != VG_OK)
        former = NULL; /* the history begins anew: it is no ground to measure nothing */
    put_document(run, watched, feature_patients, one_in, !run->was_cut, vg_json_get(former, "runs"),
                 &out);
    st = path && vg_buf_ok(&out) ? keep_proposal(run, watched, &arena, err)
                                 : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to watch");
    if (st == VG_OK)
        st = vg_file_write(path, vg_buf_slice(&out), 0600, err);
    if (st == VG_OK)
        st = vg_json_parse(&arena, vg_buf_slice(&out), NULL, &made, NULL, err);
    if (st == VG_OK)
        publish(made, has_file(&arena, run->config, "proposal", name, "json"));
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return st;
}

/* ---- a run ---- */

static void find_reference(struct watched *w)
{
    const struct model_card *card = model_card(w->model->model);
    struct vg_err err = {0};
    enum vg_status st = reference_read(w->model->dir, &w->reference, &err);

    if (st == VG_END)
        (void)snprintf(w->trouble, sizeof(w->trouble),
                       "there is no reference.json beside the model: vigil model reference");
    else if (st != VG_OK)
        (void)snprintf(w->trouble, sizeof(w->trouble), "%s", err.text);
    else if (strcmp(w->reference.model, card->name) != 0 ||
             strcmp(w->reference.version, card->version) != 0)
        (void)snprintf(w->trouble, sizeof(w->trouble),
                       "reference.json is of %s version %s, the model is version %s: not used",
                       w->reference.model, w->reference.version, card->version);
    else
        w->has_reference = true;
}

static enum vg_status prepare(struct watched *w, struct live_model *model, struct vg_err *err)
{
    const struct feature_set *set = model_features(model->model);

    w->model = model;
    find_reference(w);
    w->features.set = set;
    w->features.reference = w->has_reference ? &w->reference : NULL;
    w->features.items = calloc(set->count + 1, sizeof(*w->features.items));
    w->features.found = calloc(set->count + 1, sizeof(*w->features.found));
    if (!w->features.items || !w->features.found)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to watch");
    for (size_t f = 0; w->has_reference && f < set->count; f++)
        w->features.items[f] = reference_find(&w->reference, set->index[f]);
    return VG_OK;
}

static enum vg_status look_at_outcomes(struct watch_run *run, struct watched *w, struct vg_err *err)
{
    struct watch_outcomes outcomes;
    struct vg_arena arena;
    struct vg_err why = {0};
    struct vg_slice name = vg_slice_of(model_card(w->model->model)->name);
    const char *path;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, 0);
    path = watch_path(&arena, run->config, "outcomes", name, "csv");
    if (path && access(path, R_OK) == 0) {
        if (outcomes_read(path, &outcomes, &why) != VG_OK)
            (void)snprintf(w->outcomes_trouble, sizeof(w->outcomes_trouble), "%s", why.text);
        else
            st = watch_calibrate(run, w->model, &outcomes, &w->calibration, err);
        w->has_outcomes = st == VG_OK && !w->outcomes_trouble[0];
        outcomes_fini(&outcomes);
    }
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status look(struct watch_run *run, const struct live *live, struct vg_err *err)
{
    struct watched *watched = calloc(live->count + 1, sizeof(*watched));
    struct watch_features *sets = calloc(live->count + 1, sizeof(*sets));
    size_t count = 0, patients = 0, one_in, feature_patients = 0;
    enum vg_status st = watch_count_patients(run, &patients, err);

    if (!watched || !sets)
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory to watch");
    if (st == VG_OK && patients == 0)
        st = VG_END;
    one_in = patients / WATCH_SCORE_PATIENTS_MAX + 1;
    for (size_t i = 0; i < live->count && st == VG_OK; i++) {
        if (!live->items[i]->model)
            continue; /* absent, or of no use */
        st = prepare(&watched[count++], live->items[i], err);
    }
    for (size_t m = 0; m < count && st == VG_OK; m++)
        sets[m] = watched[m].features;
    if (st == VG_OK)
        st = watch_read_features(run, sets, count, &feature_patients, err);
    for (size_t m = 0; m < count && st == VG_OK; m++) {
        watched[m].features = sets[m];
        st = read_alerts(run, &watched[m], one_in, err);
        if (st == VG_OK)
            st = look_at_outcomes(run, &watched[m], err);
        if (st == VG_OK && watch_is_ended(run))
            st = VG_END; /* half a result does not take the place of a whole one */
        if (st == VG_OK)
            st = keep_result(run, &watched[m], feature_patients, one_in, err);
    }
    for (size_t m = 0; m < count; m++) {
        reference_fini(&watched[m].reference);
        free(watched[m].features.items);
        free(watched[m].features.found);
    }
    free(watched);
    free(sets);
    return st;
}

enum vg_status watch_run(const struct watch_config *config, struct vg_err *err)
{
    struct watch_run run = {.config = config,
                            .clock = config->clock ? config->clock : &vg_clock_system,
                            .began_us = vg_mono_us()};
    struct lake_config lake = {.engine = config->lake_engine, .dir = config->lake_dir};
    struct live *live = NULL;
    enum vg_status st = vg_dir_make(config->dir, err);

    run.now_us = vg_clock_now_us(run.clock);
    run.from_us = run.now_us - config->period_us;
    if (st == VG_OK)
        st = live_read(config->model_dir, NULL, 0, &live, err);
    if (st == VG_OK)
        st = lake_open(&lake, &run.lake, err);
    if (st == VG_OK)
        st = look(&run, live, err);
    lake_close(run.lake);
    live_free(live, NULL);
    return st;
}

/* ---- for who asks ---- */

/* Calls fn for each model of the folder, with its result (NULL: none yet). Cards alone are read. */
static void each_result(const struct watch_config *config,
                        void (*fn)(void *ctx, struct vg_arena *arena,
                                   const struct watch_config *config, const char *name,
                                   const struct vg_json *result),
                        void *ctx)
{
    struct live_folders *folders = calloc(1, sizeof(*folders));
    struct vg_err err = {0};

    size_t count = 0;

    if (folders && live_folders(config->model_dir, folders, &err) == VG_OK)
        count = folders->count; /* else: who runs the models says why */
    for (size_t i = 0; i < count; i++) {
        struct vg_json *result = NULL;
        struct model *model = NULL;
        struct vg_slice text;
        struct vg_arena arena;
        const char *name;

        if (model_open_card(folders->paths[i], &model, &err) != VG_OK)
            continue;
        name = model_card(model)->name;
        vg_arena_init(&arena, 4 * RESULT_BYTES_MAX);
        if (read_result(&arena, config, vg_slice_of(name), &result, &text, &err) != VG_OK)
            result = NULL;
        fn(ctx, &arena, config, name, result);
        vg_arena_fini(&arena);
        model_close(model);
    }
    free(folders);
}

static void note_time(void *ctx, struct vg_arena *arena, const struct watch_config *config,
                      const char *name, const struct vg_json *result)
{
    int64_t *last_us = ctx, time_us = 0;

    (void)arena;
    (void)config;
    (void)name;
    if (result && vg_time_parse(vg_json_get_text(result, "time"), &time_us, NULL) &&
        time_us > *last_us)
        *last_us = time_us;
}

int64_t watch_last_us(const struct watch_config *config)
{
    int64_t last_us = 0;

    each_result(config, note_time, &last_us);
    return last_us;
}

static void publish_one(void *ctx, struct vg_arena *arena, const struct watch_config *config,
                        const char *name, const struct vg_json *result)
{
    (void)ctx;
    if (result)
        publish(result, has_file(arena, config, "proposal", vg_slice_of(name), "json"));
}

void watch_publish(const struct watch_config *config)
{
    each_result(config, publish_one, NULL);
}

static double number(const struct vg_json *object, const char *name)
{
    double value = (double)NAN;

    (void)vg_json_to_double(vg_json_get(object, name), &value);
    return value;
}

static void print_one(void *ctx, struct vg_arena *arena, const struct watch_config *config,
                      const char *name, const struct vg_json *result)
{
    struct vg_buf *out = ctx;
    const struct vg_json *f = vg_json_get(result, "features"), *a = vg_json_get(result, "alerts"),
                         *c = vg_json_get(result, "calibration");

    if (!result) {
        vg_buf_printf(out, "%-16s not watched yet\n", name);
        return;
    }
    vg_buf_printf(out,
                  "%-16s version %.*s, %.*s: %.0f hours of %.0f patients\n"
                  "  features       %.0f in drift, %.0f to watch, largest PSI %.3f (%.*s%s%.*s)\n"
                  "  probabilities  PSI %.3f, mean %.4f\n"
                  "  alerts         %.1f medium and %.1f high for each 100 patient-days, expected "
                  "%.1f and %.1f\n",
                  name, VG_FMT(vg_json_get_text(result, "version")),
                  VG_FMT(vg_json_get_text(result, "time")), number(result, "hours"),
                  number(result, "patients"), number(f, "drift"), number(f, "watch"),
                  number(f, "worst"), VG_FMT(vg_json_get_text(f, "state")),
                  vg_json_get(f, "text") ? ": " : "", VG_FMT(vg_json_get_text(f, "text")),
                  number(vg_json_get(result, "probabilities"), "psi"),
                  number(vg_json_get(result, "probabilities"), "mean"), number(a, "medium"),
                  number(a, "high"), number(a, "mediumBefore"), number(a, "highBefore"));
    if (vg_json_get(c, "expectedToObserved"))
        vg_buf_printf(out,
                      "  calibration    expected to observed %.2f (%.2f to %.2f), slope %.2f, "
                      "%.0f patients, %.0f with the outcome (%.*s)\n",
                      number(c, "expectedToObserved"), number(c, "expectedToObservedLow"),
                      number(c, "expectedToObservedHigh"), number(c, "slope"),
                      number(c, "patients"), number(c, "patientsWithOutcome"),
                      VG_FMT(vg_json_get_text(c, "state")));
    else
        vg_buf_printf(out, "  calibration    not known: no outcomes%s%.*s\n",
                      vg_json_get(c, "text") ? ": " : "", VG_FMT(vg_json_get_text(c, "text")));
    if (has_file(arena, config, "proposal", vg_slice_of(name), "json"))
        vg_buf_printf(out, "  a recalibration is proposed: vigil model recalibrate %s\n", name);
}

void watch_print(const struct watch_config *config, struct vg_buf *out)
{
    each_result(config, print_one, out);
}

/* The folder of the model called `name`. VG_END: there is none. */
static enum vg_status find_folder(const struct watch_config *config, struct vg_slice name,
                                  char out[static 1024], struct vg_err *err)
{
    struct live_folders *folders = calloc(1, sizeof(*folders));
    struct vg_err why = {0};
    enum vg_status st = folders ? live_folders(config->model_dir, folders, err)
                                : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory");
    bool is_found = false;

    for (size_t i = 0; st == VG_OK && i < folders->count && !is_found; i++) {
        struct model *model = NULL;

        if (model_open_card(folders->paths[i], &model, &why) != VG_OK)
            continue;
        is_found = vg_slice_is(name, model_card(model)->name);
        if (is_found)
            memcpy(out, folders->paths[i], sizeof(folders->paths[i]));
        model_close(model);
    }
    free(folders);
    return st == VG_OK && !is_found ? VG_END : st;
}

enum vg_status watch_write(const struct watch_config *config, struct vg_slice name,
                           struct vg_buf *out, struct vg_err *err)
{
    struct vg_json *root = NULL;
    struct vg_slice text;
    struct vg_json_writer w;
    struct vg_arena arena;
    struct vg_buf curves;
    struct vg_err why = {0}; /* what is not there is left out */
    char dir[1024];
    const char *path;
    enum vg_status st = find_folder(config, name, dir, err);

    if (st != VG_OK)
        return st;
    vg_arena_init(&arena, 4 * RESULT_BYTES_MAX);
    vg_buf_init(&curves, RESULT_BYTES_MAX);
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "name", name);
    if (reference_curves(dir, &curves, &why) == VG_OK)
        vg_json_member_raw(&w, "curves", vg_buf_slice(&curves));
    if (read_result(&arena, config, name, &root, &text, &why) == VG_OK)
        vg_json_member_raw(&w, "result", root->source);
    path = watch_path(&arena, config, "proposal", name, "json");
    if (path && vg_file_read(&arena, path, RESULT_BYTES_MAX, &text, &why) == VG_OK &&
        vg_json_parse(&arena, text, NULL, &root, NULL, &why) == VG_OK)
        vg_json_member_raw(&w, "proposal", root->source);
    vg_json_close_object(&w);
    vg_buf_fini(&curves);
    vg_arena_fini(&arena);
    return VG_OK;
}

enum vg_status watch_outcomes(const struct watch_config *config, const char *name, const char *path,
                              struct watch_outcomes_count *ret, struct vg_err *err)
{
    struct watch_outcomes outcomes;
    struct vg_arena arena;
    struct vg_slice text;
    const char *to;
    char dir[1024];
    enum vg_status st = find_folder(config, vg_slice_of(name), dir, err);

    if (st == VG_END)
        st = vg_fail(err, VG_REJECT, "score.outcomes", 0, "no model is called '%.60s'", name);
    vg_arena_init(&arena, (size_t)128 << 20);
    to = watch_path(&arena, config, "outcomes", vg_slice_of(name), "csv");
    if (st == VG_OK)
        st = outcomes_read(path, &outcomes, err);
    else
        outcomes = (struct watch_outcomes){0};
    ret->patients = outcomes.by_patient.count;
    ret->events = outcomes.events;
    outcomes_fini(&outcomes);
    if (st == VG_OK)
        st = vg_file_read(&arena, path, (size_t)100 << 20, &text, err);
    if (st == VG_OK)
        st = vg_dir_make(config->dir, err);
    if (st == VG_OK)
        st = to ? vg_file_write(to, text, 0600, err)
                : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for outcomes");
    vg_arena_fini(&arena);
    return st;
}
