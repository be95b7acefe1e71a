/* card_html.c -- a model's card for people: one page, its plots drawn here as inline SVG.
 *
 * No script, no font and no style from elsewhere, so that it opens anywhere and prints. Colour is
 * never alone: lines differ in dashes, and every plot has its figures in a table or caption.
 */
#include "score/card.h"

#include <math.h>
#include <stdio.h>

static void put_escaped(struct vg_buf *out, const char *text)
{
    for (; *text; text++) {
        const char *safe = *text == '&'   ? "&amp;"
                           : *text == '<' ? "&lt;"
                           : *text == '>' ? "&gt;"
                           : *text == '"' ? "&quot;"
                                          : NULL;

        if (safe)
            vg_buf_put(out, vg_slice_of(safe));
        else
            vg_buf_put_byte(out, (uint8_t)*text);
    }
}

/* ---- plots ---- */

#define SIDE 240.0
#define LEFT 52.0
#define TOP 12.0

struct axis {
    const char *name;
    double max;
    int decimals; /* of its numbers */
};

static double place_x(const struct axis *axis, double value)
{
    return LEFT + SIDE * fmin(value / axis->max, 1);
}

static double place_y(const struct axis *axis, double value)
{
    return TOP + SIDE * (1 - fmin(value / axis->max, 1));
}

static void plot(struct vg_buf *out, const char *title, const char *caption, const struct axis *x,
                 const struct axis *y, const struct curve *curve, bool has_points,
                 bool has_diagonal)
{
    vg_buf_printf(out,
                  "<figure><svg viewBox=\"0 0 312 306\" role=\"img\" aria-label=\"%s\">"
                  "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" class=\"frame\"/>",
                  title, LEFT, TOP, SIDE, SIDE);
    for (int i = 0; i <= 4; i++) {
        double share = i / 4.0;

        vg_buf_printf(out,
                      "<path d=\"M%.1f %.1fH%.1fM%.1f %.1fV%.1f\" class=\"grid\"/>"
                      "<text x=\"%.1f\" y=\"%.1f\" class=\"x\">",
                      LEFT, place_y(y, share * y->max), LEFT + SIDE, place_x(x, share * x->max),
                      TOP, TOP + SIDE, place_x(x, share * x->max), TOP + SIDE + 15);
        vg_buf_printf(out, "%.*f", x->decimals, share * x->max);
        vg_buf_printf(out, "</text><text x=\"%.1f\" y=\"%.1f\" class=\"y\">", LEFT - 5,
                      place_y(y, share * y->max) + 4);
        vg_buf_printf(out, "%.*f", y->decimals, share * y->max);
        vg_buf_printf(out, "</text>");
    }
    if (has_diagonal)
        vg_buf_printf(out, "<path d=\"M%.1f %.1fL%.1f %.1f\" class=\"chance\"/>", LEFT, TOP + SIDE,
                      LEFT + SIDE, TOP);
    if (curve->count > 0) {
        vg_buf_printf(out, "<path d=\"");
        for (size_t i = 0; i < curve->count; i++)
            vg_buf_printf(out, "%c%.1f %.1f", i ? 'L' : 'M', place_x(x, curve->x[i]),
                          place_y(y, curve->y[i]));
        vg_buf_printf(out, "\" class=\"curve\"/>");
    }
    for (size_t i = 0; has_points && i < curve->count; i++)
        vg_buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>", place_x(x, curve->x[i]),
                      place_y(y, curve->y[i]));
    vg_buf_printf(out,
                  "<text x=\"%.1f\" y=\"%.1f\" class=\"x\">%s</text>"
                  "<text transform=\"translate(12 %.1f) rotate(-90)\" class=\"x\">%s</text></svg>"
                  "<figcaption><b>%s.</b> %s</figcaption></figure>",
                  LEFT + SIDE / 2, TOP + SIDE + 36, x->name, TOP + SIDE / 2, y->name, title,
                  caption);
}

static double largest(const double *values, size_t count, double least)
{
    double most = least;

    for (size_t i = 0; i < count; i++)
        most = fmax(most, values[i]);
    return most;
}

/* A round number at or above. */
static double round_up(double value)
{
    double unit = pow(10, floor(log10(value)));

    return ceil(value / unit * 2) / 2 * unit;
}

static void put_plots(struct vg_buf *out, const struct card *card)
{
    const struct curves *curves = &card->curves;
    const struct axis share_x = {"false positive rate", 1, 2}, share_y = {"sensitivity", 1, 2},
                      recall = {"sensitivity", 1, 2};
    struct axis precision = {"precision", 1, 2}, predicted = {"predicted", 1, 3},
                observed = {"observed", 1, 3}, burden = {"alerts for each 100 patient-days", 1, 0};
    char caption[256];

    precision.max = round_up(largest(curves->precision.y, curves->precision.count, 0.01));
    precision.max = fmin(precision.max, 1);
    predicted.max = observed.max =
        fmin(1, round_up(fmax(largest(curves->calibration.x, curves->calibration.count, 0.01),
                              largest(curves->calibration.y, curves->calibration.count, 0.01))));
    burden.max = round_up(largest(curves->burden.x, curves->burden.count, 1));
    vg_buf_printf(out, "<div class=\"plots\">");
    (void)snprintf(caption, sizeof(caption), "Area %.3f; NEWS2 on the same rows %.3f.",
                   card->at_operating.row_auroc.value, card->rules[DATA_NEWS2].row_auroc.value);
    plot(out, "Receiver operating characteristic", caption, &share_x, &share_y, &curves->roc, false,
         true);
    (void)snprintf(caption, sizeof(caption), "Average precision %.3f; by chance %.3f.",
                   card->at_operating.row_precision.value,
                   (double)card->at_operating.positive_rows / (double)card->at_operating.rows);
    plot(out, "Precision and recall", caption, &recall, &precision, &curves->precision, false,
         false);
    (void)snprintf(caption, sizeof(caption),
                   "Ten groups of equal size; slope %.2f, expected to observed %.2f.",
                   card->at_operating.slope, card->at_operating.expected);
    plot(out, "Calibration", caption, &predicted, &observed, &curves->calibration, true, true);
    plot(out, "Alert burden", "Each point is a threshold; one alert in 24 h for a patient.",
         &burden, &share_y, &curves->burden, true, false);
    vg_buf_printf(out, "</div>");
}

/* ---- tables ---- */

static void put_cell(struct vg_buf *out, const struct figure *figure, int decimals)
{
    if (isnan(figure->value))
        vg_buf_printf(out, "<td>&ndash;</td>");
    else if (isnan(figure->low))
        vg_buf_printf(out, "<td>%.*f</td>", decimals, figure->value);
    else
        vg_buf_printf(out, "<td>%.*f <small>%.*f&ndash;%.*f</small></td>", decimals, figure->value,
                      decimals, figure->low, decimals, figure->high);
}

static void put_ranks(struct vg_buf *out, const char *name, const struct figures *figures)
{
    vg_buf_printf(out, "<tr><th scope=\"row\">%s</th><td>%zu</td><td>%zu</td>", name,
                  figures->patients, figures->positive_patients);
    put_cell(out, &figures->row_auroc, 3);
    put_cell(out, &figures->row_precision, 3);
    put_cell(out, &figures->patient_auroc, 3);
    vg_buf_printf(out, "</tr>");
}

static void put_burden(struct vg_buf *out, const char *name, double threshold,
                       const struct figures *figures)
{
    vg_buf_printf(out, "<tr><th scope=\"row\">%s</th><td>%.4g</td>", name, threshold);
    put_cell(out, &figures->burden.per_100_days, 1);
    put_cell(out, &figures->burden.precision, 3);
    put_cell(out, &figures->burden.sensitivity, 3);
    vg_buf_printf(out, isnan(figures->burden.lead_hours) ? "<td>&ndash;</td>" : "<td>%.0f</td>",
                  figures->burden.lead_hours);
    put_cell(out, &figures->utility, 3);
    vg_buf_printf(out, "</tr>");
}

static void put_tables(struct vg_buf *out, const struct card *card)
{
    static const char head[] =
        "<thead><tr><th></th><th>patients</th><th>with outcome</th><th>AUROC of rows</th>"
        "<th>average precision</th><th>AUROC of patients</th></tr></thead><tbody>";

    vg_buf_printf(out, "<h2>On patients kept apart</h2><table>%s", head);
    put_ranks(out, card->recipe->name, &card->at_operating);
    for (int r = 0; r < DATA_RULES; r++)
        put_ranks(out, data_rule_names[r], &card->rules[r]);
    if (card->ablations[ABLATION_TIME_SINCE].is_done)
        put_ranks(out, "without the ages of values", &card->ablations[ABLATION_TIME_SINCE].figures);
    if (card->ablations[ABLATION_PATTERN].is_done)
        put_ranks(out, "without ages and how often it was measured",
                  &card->ablations[ABLATION_PATTERN].figures);
    vg_buf_printf(out, "</tbody></table><p>Small: 95 of 100 samples of the patients.</p>");
    put_plots(out, card);

    if (card->folds)
        vg_buf_printf(out, "<h2>Cross-validation</h2><table>%s", head);
    for (uint32_t k = 0; k < card->folds; k++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "fold %u of %u", k + 1, card->folds);
        put_ranks(out, name, &card->fold[k].figures);
    }
    if (card->folds) {
        put_ranks(out, "all folds", &card->choose);
        vg_buf_printf(out, "</tbody></table><p>Training patients, each judged by a model that did "
                           "not see the patient; calibration and thresholds were chosen on "
                           "these.</p>");
    }

    vg_buf_printf(out, "<h2>Alerts</h2><table><thead><tr><th>threshold</th><th>from</th>"
                       "<th>per 100 patient-days</th><th>predictive value</th><th>sensitivity</th>"
                       "<th>lead time, h</th><th>utility</th></tr></thead><tbody>");
    put_burden(out, "operating", card->operating, &card->at_operating);
    put_burden(out, "medium", card->medium, &card->at_medium);
    put_burden(out, "high", card->high, &card->at_high);
    put_burden(out, "NEWS2", 5, &card->news2_at_5);
    put_burden(out, "NEWS2", 7, &card->news2_at_7);
    vg_buf_printf(out, "</tbody></table>");

    vg_buf_printf(out, "<h2>Subgroups</h2><table>%s", head);
    for (size_t i = 0; i < card->subgroup_count; i++)
        put_ranks(out, card->subgroups[i].name, &card->subgroups[i].model);
    vg_buf_printf(out, "</tbody></table>");
    if (card->has_transfer) {
        vg_buf_printf(out, "<h2>From one hospital to the other</h2><table>%s", head);
        put_ranks(out, "trained on A, judged on B", &card->transfer[0]);
        put_ranks(out, "trained on B, judged on A", &card->transfer[1]);
        vg_buf_printf(out, "</tbody></table>");
    }
}

static void put_features(struct vg_buf *out, const struct card *card)
{
    vg_buf_printf(out,
                  "<h2>Features</h2><details><summary>%zu, table version %d</summary><table>"
                  "<thead><tr><th>name</th><th>what</th><th>unit</th></tr></thead><tbody>",
                  card->features->count, FEATURE_TABLE_VERSION);
    for (size_t i = 0; i < card->features->count; i++) {
        const struct feature *feature = &features[card->features->index[i]];
        char words[256];

        feature_words(feature, words, sizeof(words));
        vg_buf_printf(out, "<tr><td><code>%s</code></td><td>", feature->name);
        put_escaped(out, words);
        vg_buf_printf(out, "</td><td>%s</td></tr>", feature_unit(feature));
    }
    vg_buf_printf(out, "</tbody></table></details>");
}

enum vg_status card_html(const struct card *card, struct vg_buf *out, struct vg_err *err)
{
    struct card_attribute attributes[CARD_ATTRIBUTES];

    vg_buf_printf(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width\"><title>Model card: %s %s</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;color:#16202a;background:#fff;max-width:70rem;"
        "margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;margin:.5rem 0}"
        "th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #c8d0d8;"
        "vertical-align:top}small{color:#4b5763}.plots{display:grid;gap:1rem;"
        "grid-template-columns:repeat(auto-fill,minmax(17rem,1fr))}figure{margin:0}"
        "svg{width:100%%;height:auto}svg text{font-size:11px;fill:#16202a}.x{text-anchor:middle}"
        ".y{text-anchor:end}.frame{fill:none;stroke:#4b5763}.grid{stroke:#dde3e8;fill:none}"
        ".curve{fill:none;stroke:#0b5cad;stroke-width:2}circle{fill:#0b5cad}"
        ".chance{stroke:#4b5763;stroke-dasharray:5 4;fill:none}</style></head><body>"
        "<h1>%s <small>version %s</small></h1><p>",
        card->recipe->name, card->recipe->version, card->recipe->name, card->recipe->version);
    put_escaped(out, card->recipe->purpose);
    vg_buf_printf(out, "</p><p><b>Not a medical device and not a primary alarm.</b> Label: ");
    put_escaped(out, card->format->label);
    vg_buf_printf(out, ". Data: ");
    put_escaped(out, card->format->text);
    vg_buf_printf(out,
                  "; %s. %zu patients to learn from, %zu to choose with, %zu to judge by. %u trees"
                  "%s.</p>",
                  card->format->licence, card->patients[PART_TRAIN],
                  card->patients[card->folds ? PART_TRAIN : PART_CHOOSE],
                  card->patients[PART_JUDGE], card->trees,
                  card->all_trees ? "; the model that ships was trained again on all of them, the "
                                    "figures are of the one before"
                                  : "");
    put_tables(out, card);
    vg_buf_printf(out, "<h2>Limits</h2><ul>");
    for (const char *const *limit = card->recipe->limits; *limit; limit++) {
        vg_buf_printf(out, "<li>");
        put_escaped(out, *limit);
        vg_buf_printf(out, "</li>");
    }
    vg_buf_printf(out, "</ul><h2>Source attributes</h2><table><tbody>");
    card_attributes(card, attributes);
    for (size_t i = 0; i < CARD_ATTRIBUTES; i++) {
        vg_buf_printf(out, "<tr><th scope=\"row\">%zu. %s: %s</th><td>", i + 1, attributes[i].group,
                      attributes[i].name);
        put_escaped(out, attributes[i].text);
        vg_buf_printf(out, "</td></tr>");
    }
    vg_buf_printf(out, "</tbody></table>");
    put_features(out, card);
    vg_buf_printf(out, "</body></html>\n");
    return vg_buf_ok(out) ? VG_OK
                          : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the card");
}
