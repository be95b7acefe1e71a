/* evaluate.c -- what a model would have said of recorded patients, and what that was worth.
 *
 * Rows go through the live window in the order of events, in blocks to the model as it scores live.
 * The predictions file has a line for every row of the input, in its order, so that anybody can
 * compute the figures again.
 */
#include "score/judge.h"
#include "score/model.h"

#include "base/file.h"
#include "base/json.h"
#include "score/score.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BOOTSTRAP 200

struct evaluator {
    const struct score_evaluate_config *config;
    struct model *model;
    struct data data;
    float *scores;
    size_t capacity;
    const char *phase;
    int64_t start_us, told_us;
};

static void tell(void *ctx, double done)
{
    struct evaluator *e = ctx;
    int64_t now_us = vg_mono_us();

    if (!e->config->progress || (done < 1 && now_us - e->told_us < VG_SECOND_US / 2))
        return;
    e->told_us = now_us;
    e->config->progress(e->config->ctx, e->phase, done,
                        done > 0.02 ? (int64_t)((double)(now_us - e->start_us) * (1 - done) / done)
                                    : -1);
}

static void begin(struct evaluator *e, const char *phase)
{
    e->phase = phase;
    e->start_us = vg_mono_us();
    e->told_us = 0;
}

static enum vg_status on_block(void *ctx, const float *rows, size_t first, size_t count,
                               struct vg_err *err)
{
    struct evaluator *e = ctx;
    double probabilities[4096];
    enum vg_status st;

    if (first + count > e->capacity) {
        size_t capacity = (first + count) * 2;
        float *scores = realloc(e->scores, capacity * sizeof(*scores));

        if (!scores)
            return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for predictions");
        e->scores = scores;
        e->capacity = capacity;
    }
    if (count > sizeof(probabilities) / sizeof(probabilities[0]))
        return vg_fail(err, VG_FATAL, "train.block", 0, "a block of %zu rows", count);
    st = model_predict(e->model, rows, count, probabilities, NULL, err);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        e->scores[first + i] = (float)probabilities[i];
    return st;
}

static enum vg_status write_predictions(struct evaluator *e, struct vg_err *err)
{
    const char *path = e->config->predictions;
    double threshold = model_card(e->model)->operating;
    FILE *file = fopen(path, "we");
    bool is_ok = file != NULL;

    if (is_ok)
        is_ok = fputs("patient,hour,probability,alert\n", file) >= 0;
    for (size_t p = 0; p < e->data.patient_count && is_ok; p++) {
        const struct data_patient *patient = &e->data.patients[p];

        for (size_t i = patient->first; i < patient->first + patient->count && is_ok; i++)
            is_ok = fprintf(file, "%s,%d,%.9g,%d\n", patient->id, e->data.hours[i],
                            (double)e->scores[i], (double)e->scores[i] >= threshold) > 0;
    }
    if (file && fclose(file) != 0)
        is_ok = false;
    return is_ok ? VG_OK
                 : vg_fail(err, VG_REJECT, "train.predictions", errno, "cannot write '%s'", path);
}

/* ---- the report ---- */

struct report {
    struct figures model, medium, high, rules[DATA_RULES];
    double rule_alarm[DATA_RULES];
};

static enum vg_status judge_all(struct evaluator *e, struct report *ret, struct vg_err *err)
{
    static const double alarm[DATA_RULES] = {5, 5, 2, 2};
    const struct model_card *card = model_card(e->model);
    unsigned bootstrap = e->config->bootstrap == UINT32_MAX ? 0
                         : e->config->bootstrap             ? e->config->bootstrap
                                                            : BOOTSTRAP;
    struct judge_config config = {.data = &e->data,
                                  .scores = e->scores,
                                  .is_probability = true,
                                  .threshold = card->operating,
                                  .bootstrap = bootstrap,
                                  .seed = e->config->seed};
    enum vg_status st = judge(&config, &ret->model, err);

    tell(e, 0.4);
    config.bootstrap = 0;
    config.threshold = card->medium;
    if (st == VG_OK)
        st = judge(&config, &ret->medium, err);
    config.threshold = card->high;
    if (st == VG_OK)
        st = judge(&config, &ret->high, err);
    config.is_probability = false;
    for (int r = 0; r < DATA_RULES && st == VG_OK; r++) {
        config.scores = e->data.rules[r];
        config.threshold = ret->rule_alarm[r] = alarm[r];
        config.bootstrap = r == DATA_NEWS2 ? bootstrap : 0;
        st = judge(&config, &ret->rules[r], err);
    }
    tell(e, 1);
    return st;
}

static void put_cell(struct vg_buf *out, const struct figure *figure, int decimals)
{
    char text[64];

    if (isnan(figure->value))
        (void)snprintf(text, sizeof(text), "-");
    else if (isnan(figure->low))
        (void)snprintf(text, sizeof(text), "%.*f", decimals, figure->value);
    else
        (void)snprintf(text, sizeof(text), "%.*f (%.*f-%.*f)", decimals, figure->value, decimals,
                       figure->low, decimals, figure->high);
    vg_buf_printf(out, "  %-22s", text);
}

static void put_line(struct vg_buf *out, const char *name, const struct figures *of)
{
    vg_buf_printf(out, "%-14s", name);
    put_cell(out, &of->row_auroc, 4);
    put_cell(out, &of->row_precision, 4);
    put_cell(out, &of->patient_auroc, 4);
    put_cell(out, &of->utility, 4);
    vg_buf_printf(out, "\n");
}

static void put_burden_line(struct vg_buf *out, const char *name, double threshold,
                            const struct figures *of)
{
    vg_buf_printf(out, "%-14s %8.4g ", name, threshold);
    put_cell(out, &of->burden.per_100_days, 1);
    put_cell(out, &of->burden.precision, 3);
    put_cell(out, &of->burden.sensitivity, 3);
    if (isnan(of->burden.lead_hours))
        vg_buf_printf(out, "  -\n");
    else
        vg_buf_printf(out, "  %.0f\n", of->burden.lead_hours);
}

static void write_text(const struct evaluator *e, const struct report *report, struct vg_buf *out)
{
    const struct model_card *card = model_card(e->model);
    const struct source_format *format = e->data.format;
    const struct figures *model = &report->model;

    vg_buf_printf(out, "%s %s on %zu patients, %zu rows judged, outcome %s: %zu patients (%.1f %%)",
                  card->name, card->version, model->patients, model->rows, format->outcome,
                  model->positive_patients,
                  100 * (double)model->positive_patients / (double)model->patients);
    if (format->is_by_patient)
        vg_buf_printf(out, "; each patient is judged on the last row\n");
    else
        vg_buf_printf(out, ", %zu rows (%.2f %%)\n", model->positive_rows,
                      100 * (double)model->positive_rows / (double)model->rows);
    vg_buf_printf(out, "\n%-14s  %-22s  %-22s  %-22s  %-22s\n", "", "row AUROC",
                  "average precision", "patient AUROC", "utility");
    put_line(out, card->name, model);
    for (int r = 0; r < DATA_RULES; r++)
        put_line(out, data_rule_names[r], &report->rules[r]);
    vg_buf_printf(out,
                  "\nIn brackets: 95 of 100 samples of the patients. Utility: the Challenge of "
                  "2019's, at the threshold below. Rules: lower bound, missing counted 0.\n"
                  "Calibration: slope %.3f, intercept %.3f, expected to observed %.3f, Brier "
                  "%.5f\n",
                  model->slope, model->intercept, model->expected, model->brier);
    vg_buf_printf(out, "\n%-14s %8s   %-22s  %-22s  %-22s  %s\n", "alerts", "from",
                  "per 100 patient-days", "predictive value", "sensitivity", "lead time, h");
    put_burden_line(out, "operating", card->operating, model);
    put_burden_line(out, "medium", card->medium, &report->medium);
    put_burden_line(out, "high", card->high, &report->high);
    for (int r = 0; r < DATA_RULES; r++)
        put_burden_line(out, data_rule_names[r], report->rule_alarm[r], &report->rules[r]);
    vg_buf_printf(out, "\nAn alert is a row at or above the threshold with none in the patient's "
                       "24 h before; it is true when a labelled hour follows within 12 h or has "
                       "begun. Lead time: median, first true alert to the outcome.\n");
}

static void put_number(struct vg_json_writer *w, const char *name, double value)
{
    char text[32];

    if (isnan(value))
        return;
    (void)snprintf(text, sizeof(text), "%.9g", value);
    vg_json_member_raw(w, name, vg_slice_of(text));
}

static void put_figure(struct vg_json_writer *w, const char *name, const struct figure *figure)
{
    if (isnan(figure->value))
        return;
    vg_json_name(w, name);
    vg_json_open_object(w);
    put_number(w, "value", figure->value);
    put_number(w, "low", figure->low);
    put_number(w, "high", figure->high);
    vg_json_close_object(w);
}

static void put_figures(struct vg_json_writer *w, const char *name, const struct figures *of,
                        double threshold)
{
    vg_json_name(w, name);
    vg_json_open_object(w);
    put_number(w, "threshold", threshold);
    put_figure(w, "rowAuroc", &of->row_auroc);
    put_figure(w, "rowAveragePrecision", &of->row_precision);
    put_figure(w, "patientAuroc", &of->patient_auroc);
    put_figure(w, "utility", &of->utility);
    put_number(w, "calibrationSlope", of->slope);
    put_number(w, "calibrationIntercept", of->intercept);
    put_number(w, "expectedToObserved", of->expected);
    put_number(w, "brier", of->brier);
    put_figure(w, "alertsPer100PatientDays", &of->burden.per_100_days);
    put_figure(w, "precision", &of->burden.precision);
    put_figure(w, "sensitivity", &of->burden.sensitivity);
    put_number(w, "medianLeadHours", of->burden.lead_hours);
    vg_json_close_object(w);
}

static void write_json(const struct evaluator *e, const struct report *report, struct vg_buf *out)
{
    const struct model_card *card = model_card(e->model);
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "model", vg_slice_of(card->name));
    vg_json_member_string(&w, "version", vg_slice_of(card->version));
    vg_json_member_string(&w, "format", vg_slice_of(e->data.format->name));
    vg_json_member_i64(&w, "patients", (int64_t)report->model.patients);
    vg_json_member_i64(&w, "positivePatients", (int64_t)report->model.positive_patients);
    vg_json_member_i64(&w, "rows", (int64_t)report->model.rows);
    vg_json_member_i64(&w, "positiveRows", (int64_t)report->model.positive_rows);
    put_figures(&w, "operating", &report->model, card->operating);
    put_figures(&w, "medium", &report->medium, card->medium);
    put_figures(&w, "high", &report->high, card->high);
    for (int r = 0; r < DATA_RULES; r++)
        put_figures(&w, data_rule_names[r], &report->rules[r], report->rule_alarm[r]);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}

enum vg_status score_evaluate(const struct score_evaluate_config *config, bool wants_json,
                              struct vg_buf *out, struct vg_err *err)
{
    struct evaluator e = {.config = config};
    struct data_config data = {
        .source = {.format = config->format,
                   .paths = config->files,
                   .path_count = config->file_count,
                   .outcomes = config->outcomes,
                   .lake = config->lake},
        .on_block = on_block,
        .ctx = &e,
        .progress = tell,
        .progress_ctx = &e,
    };
    struct report report;
    enum vg_status st = model_open(config->model_dir, &e.model, err);

    if (st != VG_OK)
        return st;
    data.features = model_features(e.model);
    begin(&e, "scoring");
    st = data_read(&data, &e.data, err);
    if (st == VG_OK && e.data.count == 0)
        st = vg_fail(err, VG_REJECT, "train.rows", 0, "there are no rows");
    if (st == VG_OK && config->predictions)
        st = write_predictions(&e, err);
    begin(&e, "judging");
    if (st == VG_OK && e.data.has_labels) {
        st = judge_all(&e, &report, err);
        if (st == VG_OK && wants_json)
            write_json(&e, &report, out);
        else if (st == VG_OK)
            write_text(&e, &report, out);
    } else if (st == VG_OK) {
        vg_buf_printf(out,
                      wants_json ? "{\"rows\":%zu,\"patients\":%zu}\n"
                                 : "%zu rows of %zu patients were scored; without outcomes "
                                   "nothing is judged\n",
                      e.data.count, e.data.patient_count);
    }
    data_fini(&e.data);
    free(e.scores);
    model_close(e.model);
    return st;
}
