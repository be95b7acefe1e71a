/* document.c -- the documents that are made from the tables of features, rules and NEWS2.
 *
 * docs/model.md and docs/news2-vectors.json are what these functions write; a test compares.
 */
#include "score/feature.h"
#include "score/recipe.h"

#include "base/json.h"
#include "score/score.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

static const char introduction[] =
    "# Features, models and bedside scores\n"
    "\n"
    "This page is made from the program's own tables (`vigil model features`); a test compares.\n"
    "\n"
    "Training, evaluation and live scoring fill a row of features by the same code from the same\n"
    "window (`src/score/feature.c`), in event time: a late reading goes to its place, a duplicate\n"
    "changes nothing. Windows end at the moment that is scored and are as long as the table says;\n"
    "samples are the newest value of each ten minutes, so that a device that sends often does not\n"
    "weigh more. What is missing stays missing: the trees learn where it goes. A value older than\n"
    "the window is not used.\n"
    "\n"
    "No feature knows the future, and none counts the hours of a stay: the table declares it of\n"
    "each function, and `vigil train` refuses a feature that only rises with the stay in more\n"
    "than 80 of 100 patients.\n";

static void put_signals(struct vg_buf *out)
{
    vg_buf_printf(out, "\n## Signals\n\n| signal | LOINC | unit | plausible | stands for |\n"
                       "|---|---|---|---|---|\n");
    for (int v = 0; v < SIGNAL_COUNT; v++) {
        const struct vital *vital = &vitals[v];

        vg_buf_printf(out, "| %s |", vital->name);
        for (int c = 0; c < 3 && vital->codes[c]; c++)
            vg_buf_printf(out, "%s %s", c ? "," : "", vital->codes[c]);
        if (v == SCORE_CONSCIOUSNESS)
            vg_buf_printf(out, " | A, C, V, P, U | | ");
        else
            vg_buf_printf(out, " | %s | %g to %g | ", vital->unit, vital->min, vital->max);
        vg_buf_printf(out, "%lld h |\n", (long long)(vital->expiry_us / VG_HOUR_US));
    }
}

static const char *source_of(const struct feature *feature)
{
    return feature->group < SCORE_VITAL_COUNT      ? "vital sign"
           : feature->group < SIGNAL_COUNT         ? "laboratory"
           : feature->group <= FEATURE_GROUP_RULES ? "bedside score"
           : feature->group == FEATURE_GROUP_LABS  ? "laboratory"
                                                   : "person";
}

static void put_features(struct vg_buf *out)
{
    struct feature_set sets[8] = {{0}};

    for (size_t r = 0; r < recipe_count && r < 8; r++) {
        for (const char *const *piece = recipes[r].features; *piece; piece++) {
            if (feature_set_add(&sets[r], vg_slice_of(*piece), NULL) != VG_OK)
                vg_buf_printf(out, "\n%s: %s\n", recipes[r].name, *piece);
        }
    }
    vg_buf_printf(out, "\n## Models\n\n| model | version | data | features | purpose |\n"
                       "|---|---|---|---|---|\n");
    for (size_t r = 0; r < recipe_count; r++)
        vg_buf_printf(out, "| %s | %s | %s | %zu | %s |\n", recipes[r].name, recipes[r].version,
                      recipes[r].format, sets[r].count, recipes[r].purpose);
    vg_buf_printf(
        out,
        "\nFigures, thresholds, limits and the 31 source attributes are in each model's "
        "card (`models/NAME/card.json`, `card.html`).\n"
        "\n## Features\n\nTable version %d. Models: 1 sepsis-vitals, 2 sepsis-full, "
        "3 mortality-icu; the rest is there to choose from (`vigil train --features`).\n"
        "\n| name | what | source | unit | window | models |\n|---|---|---|---|---|---|\n",
        FEATURE_TABLE_VERSION);
    for (size_t i = 0; i < feature_count; i++) {
        const struct feature *feature = &features[i];
        char words[256];

        feature_words(feature, words, sizeof(words));
        vg_buf_printf(out, "| `%s` | %s | %s | %s | ", feature->name, words, source_of(feature),
                      feature_unit(feature));
        if (feature->hours > 0)
            vg_buf_printf(out, "%u h |", feature->hours);
        else
            vg_buf_printf(out, "|");
        for (size_t r = 0; r < recipe_count; r++) {
            for (size_t f = 0; f < sets[r].count; f++) {
                if (sets[r].index[f] == i)
                    vg_buf_printf(out, " %zu", r + 1);
            }
        }
        vg_buf_printf(out, " |\n");
    }
}

/* What was tried on the way to the sepsis models: measured once, kept as it was measured. */
struct tried {
    const char *what;
    double row_auroc, average_precision, utility, same_hour_auroc;
    const char *verdict;
};

static const struct tried tried_with_vitals[] = {
    {"version 2's features", 0.7316, 0.0580, 0.2022, 0.7252, ""},
    {"the same, another seed", 0.7306, 0.0564, 0.2006, 0.7254, "what chance does"},
    {"smallest and largest of 48 h", 0.7479, 0.0616, 0.2313, 0.7332, "kept"},
    {"share of hours with a value", 0.7367, 0.0597, 0.2128, 0.7298, "kept"},
    {"both", 0.7462, 0.0621, 0.2333, 0.7321, ""},
    {"both, 400 trees in steps of 0.04", 0.7513, 0.0640, 0.2427, 0.7361,
     "slower steps kept (0.05)"},
    {"both, 8 more ratios", 0.7478, 0.0630, 0.2316, 0.7311, "within chance"},
    {"both, slower, trees of depth 6", 0.7506, 0.0626, 0.2422, 0.7355, "no gain"},
    {"both, slower, 30 % of the features for a tree", 0.7510, 0.0628, 0.2376, 0.7350, "no gain"},
    {"both, slower, each septic patient counted alike", 0.7520, 0.0641, 0.2437, 0.7364,
     "within chance"},
    {"48 h: also mean, deviation, slope", 0.7494, 0.0668, 0.2422, 0.7185, "a clock: refused"},
    {"48 h: the mean alone", 0.7304, 0.0572, 0.1967, 0.7237, "no gain"},
    {"means that forget, jumps, z, median, windows of 8 h and 12 h", 0.7295, 0.0577, 0.2001, 0.7216,
     "no gain"},
    {"13 more ratios and products", 0.7345, 0.0573, 0.2087, 0.7258, "small"},
    {"points of NEWS2 by part, its past 24 h", 0.7311, 0.0564, 0.2053, 0.7226, "no gain"},
    {"trees of depth 4", 0.7310, 0.0567, 0.2003, 0.7244, "no gain"},
    {"trees of depth 7", 0.7306, 0.0566, 0.1980, 0.7236, "no gain"},
    {"200 rows in a leaf instead of 50", 0.7325, 0.0567, 0.2037, 0.7267, "within chance"},
    {"label from 12 h before the onset", 0.7325, 0.0541, 0.2020, 0.7246, "precision falls"},
    {"rows weighted by the challenge's utility", 0.7260, 0.0542, 0.1942, 0.7168, "worse"},
    {"the same, rows without the outcome four times as much", 0.7313, 0.0568, 0.2024, 0.7263,
     "no gain"},
    {"long stays counted less", 0.7330, 0.0564, 0.2018, 0.7264, "within chance"},
};

static const struct tried tried_with_all[] = {
    {"version 1's features", 0.8205, 0.0991, 0.3564, 0.7962, ""},
    {"the same, another seed", 0.8202, 0.1019, 0.3595, 0.7959, "what chance does"},
    {"mean of these two models", 0.8221, 0.1022, 0.3606, 0.7983,
     "as slower steps, twice the price"},
    {"400 trees in steps of 0.04", 0.8220, 0.1039, 0.3598, 0.8001, "slower steps kept (0.05)"},
    {"share of hours with a vital sign", 0.8244, 0.0985, 0.3661, 0.8037, "kept"},
    {"share, smallest and largest of 48 h", 0.8224, 0.1029, 0.3637, 0.8014, "no gain here"},
    {"48 h: also mean, deviation, slope", 0.8183, 0.0995, 0.3597, 0.7916, "worse"},
    {"how many laboratory values came", 0.8225, 0.1012, 0.3621, 0.7993,
     "small; with the share none (0.8243)"},
    {"extremes and means of laboratory values, 24 h", 0.8184, 0.0966, 0.3551, 0.7929, "worse"},
    {"extremes of laboratory values, 48 h", 0.8176, 0.0965, 0.3547, 0.7947, "worse"},
    {"MEWS, qSOFA, scores of past hours", 0.8199, 0.1027, 0.3590, 0.7966, "no gain"},
    {"trees of depth 7, 100 rows in a leaf", 0.8216, 0.0976, 0.3670, 0.7977, "within chance"},
    {"label from 12 h before the onset", 0.8198, 0.0942, 0.3576, 0.7959, "precision falls"},
    {"utility weights, rows without the outcome four times as much", 0.8217, 0.0966, 0.3558, 0.8003,
     "within chance"},
};

static void put_tried(struct vg_buf *out, const char *title, const struct tried *tried,
                      size_t count)
{
    vg_buf_printf(
        out,
        "\n### %s\n\n| tried | row AUROC | average precision | utility | AUROC within the "
        "hour | |\n|---|---|---|---|---|---|\n",
        title);
    for (size_t i = 0; i < count; i++)
        vg_buf_printf(out, "| %s | %.4f | %.4f | %.4f | %.4f | %s |\n", tried[i].what,
                      tried[i].row_auroc, tried[i].average_precision, tried[i].utility,
                      tried[i].same_hour_auroc, tried[i].verdict);
}

static const char kept_apart[] =
    "\n## On the 4,824 patients kept apart\n"
    "\n"
    "One split, the same for all rows of the table; nobody chose anything on it. These patients "
    "are\n"
    "harder than most: in cross-validation on the 27,467 others the same models reach the second\n"
    "figures (each fold's mean).\n"
    "\n"
    "| | row AUROC | average precision | utility | cross-validation |\n"
    "|---|---|---|---|---|\n"
    "| sepsis-vitals 3 | 0.744 | 0.055 | 0.229 | 0.756, 0.068, 0.251 |\n"
    "| sepsis-vitals 2 | 0.729 | 0.049 | 0.175 | |\n"
    "| sepsis-full 2 | 0.816 | 0.086 | 0.344 | 0.822, 0.105, 0.374 |\n"
    "| sepsis-full 1 | 0.815 | 0.086 | 0.349 | |\n"
    "| XGBoost untuned, steps of 0.05 | 0.708 | 0.043 | 0.155 | |\n"
    "| XGBoost untuned, steps of 0.3 | 0.652 | 0.034 | 0.097 | |\n"
    "\n"
    "Untuned: 300 trees of depth 5 over seven vital signs (newest value, its age, smallest, "
    "largest,\n"
    "mean and change of 6 h), shock index and age, trained on the same patients, all rows, "
    "without\n"
    "early stopping; its utility is at the threshold that is best on the test rows themselves.\n"
    "Elsewhere the same recipe was reported with 0.724 and 0.055 on other patients kept apart.\n"
    "\n"
    "Trained on one hospital alone, judged on all patients of the other; and without features that "
    "tell\n"
    "when or how often something was measured (these again on the patients kept apart):\n"
    "\n"
    "| | row AUROC | average precision | utility |\n"
    "|---|---|---|---|\n"
    "| sepsis-vitals 3, A to B | 0.698 | 0.045 | 0.057 |\n"
    "| sepsis-vitals 3, B to A | 0.696 | 0.050 | 0.171 |\n"
    "| sepsis-vitals 3, without the ages of values (7) | 0.745 | 0.056 | 0.228 |\n"
    "| sepsis-vitals 3, without ages and shares of hours (14) | 0.737 | 0.054 | 0.213 |\n"
    "| sepsis-full 2, A to B | 0.781 | 0.071 | 0.257 |\n"
    "| sepsis-full 2, B to A | 0.745 | 0.065 | 0.279 |\n"
    "| sepsis-full 2, without the ages of values (34) | 0.801 | 0.075 | 0.321 |\n"
    "| sepsis-full 2, without ages and shares of hours (41) | 0.799 | 0.073 | 0.316 |\n";

static const char how_chosen[] =
    "\n## What was tried, and what did not work\n"
    "\n"
    "Features and parameters of the sepsis models were chosen on the 27,467 training patients: a\n"
    "model of three fifths of them (200 trees in steps of 0.08 where nothing else is said) judged\n"
    "on the rest, 420,132 rows. The 4,824 test patients had no part in it. The utility is at its\n"
    "best threshold on the same rows, so a little kind, to all alike. The last figure ranks only\n"
    "rows of the same hour of the stay with each other (hours 4 to 58, every third): a feature "
    "that\n"
    "raises the first figure and lowers the last one is a clock. Recorded stays reward a clock\n"
    "(the hour of the stay alone ranks rows with 0.63), a bedside does not. Two seeds differ by\n"
    "0.001 to 0.003.\n";

static void put_choice(struct vg_buf *out)
{
    vg_buf_put(out, vg_slice_of(kept_apart));
    vg_buf_put(out, vg_slice_of(how_chosen));
    put_tried(out, "With vital signs", tried_with_vitals,
              sizeof(tried_with_vitals) / sizeof(tried_with_vitals[0]));
    put_tried(out, "With laboratory values too", tried_with_all,
              sizeof(tried_with_all) / sizeof(tried_with_all[0]));
}

static void put_rules(struct vg_buf *out)
{
    vg_buf_printf(out, "\n## Bedside scores beside NEWS2\n\nValues are rounded half up to whole "
                       "numbers (tenths where the band has them), then looked up. NEWS2 is exact "
                       "in `src/score/news2.c`; its vectors are docs/news2-vectors.json.\n");
    for (int r = 0; r < RULE_COUNT; r++) {
        const struct rule *rule = &rules[r];

        vg_buf_printf(out, "\n**%s**, to act from %d:\n\n", rule->title, rule->alarm);
        for (size_t p = 0; p < rule->part_count; p++) {
            const struct rule_part *part = &rule->parts[p];
            const struct rule_band *band = part->bands;
            double step = part->is_tenths ? 0.1 : 1;

            vg_buf_printf(out, "* %s:", vitals[part->signal].name);
            for (bool is_first = true;; is_first = false, band++) {
                if (part->signal == SCORE_CONSCIOUSNESS && band->max != INT_MAX)
                    vg_buf_printf(out, "%s to %c %d", is_first ? "" : ",", "ACVPU"[band->max],
                                  band -> points);
                else if (band->max != INT_MAX)
                    vg_buf_printf(out, "%s to %g %d", is_first ? "" : ",", band->max * step,
                                  band->points);
                else
                    vg_buf_printf(out, ", above %d", band->points);
                if (band->max == INT_MAX)
                    break;
            }
            if (p > 0 && rule->parts[p - 1].group == part->group)
                vg_buf_printf(out, "; the larger of this and the line above counts");
            vg_buf_printf(out, "\n");
        }
    }
}

void score_features_markdown(struct vg_buf *out)
{
    vg_buf_put(out, vg_slice_of(introduction));
    put_features(out);
    put_signals(out);
    put_rules(out);
    put_choice(out);
}

/* ---- NEWS2 vectors ---- */

static const char *const part_names[NEWS2_PART_COUNT] = {
    "respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature"};

static void put_vector(struct vg_json_writer *w, const char *about, const struct news2_input *input)
{
    struct news2 news2 = news2_score(input);

    vg_buf_put_byte(w->out, '\n');
    vg_json_open_object(w);
    vg_json_member_string(w, "about", vg_slice_of(about));
    vg_json_name(w, "input");
    vg_json_open_object(w);
    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        char level = (char)input->value[part];

        if (!input->has[part])
            continue;
        if (part == NEWS2_CONSCIOUSNESS)
            vg_json_member_string(w, part_names[part], (struct vg_slice){&level, 1});
        else
            vg_json_member_double(w, part_names[part], input->value[part]);
    }
    vg_json_member_i64(w, "spo2Scale", input->oxygen_scale);
    vg_json_close_object(w);
    vg_json_name(w, "parts");
    vg_json_open_object(w);
    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        if (input->has[part])
            vg_json_member_i64(w, part_names[part], news2.score[part]);
    }
    vg_json_close_object(w);
    vg_json_member_i64(w, "low", news2.low);
    vg_json_member_i64(w, "high", news2.high);
    vg_json_member_bool(w, "complete", news2.is_complete);
    vg_json_member_string(w, "band", vg_slice_of(news2.band));
    vg_json_close_object(w);
}

void score_news2_vectors(struct vg_buf *out)
{
    static const struct {
        enum news2_part part;
        double values[16];
        int count;
    } boundaries[] = {
        {NEWS2_RESPIRATION, {0, 4, 8, 8.5, 9, 11, 12, 20, 20.4, 20.5, 21, 24, 25, 40}, 14},
        {NEWS2_SPO2, {70, 83, 84, 91, 91.5, 92, 93, 94, 95, 96, 100}, 11},
        {NEWS2_OXYGEN, {0, 0.5, 2, 15}, 4},
        {NEWS2_SYSTOLIC, {60, 90, 90.5, 91, 100, 101, 110, 111, 219, 219.5, 220, 260}, 12},
        {NEWS2_PULSE, {0, 40, 40.5, 41, 50, 51, 90, 91, 110, 111, 130, 131, 180}, 13},
        {NEWS2_CONSCIOUSNESS, {'A', 'C', 'V', 'P', 'U'}, 5},
        {NEWS2_TEMPERATURE,
         {33, 35.0, 35.04, 35.05, 35.1, 36.0, 36.1, 37.5, 38.0, 38.04, 38.05, 38.1, 39.0, 39.04,
          39.05, 39.1},
         16},
    };
    static const double spo2_scale_2[] = {83, 84, 85, 86, 87, 88, 92, 93, 94, 95, 96, 97, 100};
    static const struct news2_input normal = {
        .has = {true, true, true, true, true, true, true},
        .value = {16, 97, 0, 120, 70, 'A', 37.0},
        .oxygen_scale = 1,
    };
    const struct news2_input most = {
        .has = {true, true, true, true, true, true, true},
        .value = {30, 80, 10, 80, 140, 'U', 34},
        .oxygen_scale = 1,
    };
    struct vg_json_writer w;
    char about[96];

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "score", VG_SLICE("NEWS2, Royal College of Physicians 2017"));
    vg_json_member_string(
        &w, "rules",
        VG_SLICE("Values are rounded half up to the chart's step (whole numbers, temperature to "
                 "tenths) before they are scored. What an input lacks is missing: low counts it "
                 "0, high at the most it could be. Oxygen in L/min, 0 is air. spo2Scale 2 only "
                 "where a clinician ordered it. Units: /min, %, mmHg, degrees Celsius."));
    vg_json_member_string(&w, "licence",
                          VG_SLICE("Apache-2.0; the chart is the Royal College of Physicians'"));
    vg_json_name(&w, "vectors");
    vg_json_open_array(&w);
    for (size_t i = 0; i < sizeof(boundaries) / sizeof(boundaries[0]); i++) {
        for (int v = 0; v < boundaries[i].count; v++) {
            struct news2_input input = normal;

            input.value[boundaries[i].part] = boundaries[i].values[v];
            if (boundaries[i].part == NEWS2_CONSCIOUSNESS)
                (void)snprintf(about, sizeof(about), "consciousness %c",
                               (int)boundaries[i].values[v]);
            else
                (void)snprintf(about, sizeof(about), "%s %g", part_names[boundaries[i].part],
                               boundaries[i].values[v]);
            put_vector(&w, about, &input);
        }
    }
    for (size_t i = 0; i < sizeof(spo2_scale_2) / sizeof(spo2_scale_2[0]); i++) {
        for (int state = 0; state < 3; state++) {
            static const char *const states[] = {"on air", "on oxygen", "oxygen not known"};
            struct news2_input input = normal;

            input.oxygen_scale = 2;
            input.value[NEWS2_SPO2] = spo2_scale_2[i];
            input.value[NEWS2_OXYGEN] = state == 1 ? 2 : 0;
            input.has[NEWS2_OXYGEN] = state != 2;
            (void)snprintf(about, sizeof(about), "scale 2, spo2 %g %s", spo2_scale_2[i],
                           states[state]);
            put_vector(&w, about, &input);
        }
    }
    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        struct news2_input input = normal;

        input.has[part] = false;
        (void)snprintf(about, sizeof(about), "%s missing", part_names[part]);
        put_vector(&w, about, &input);
        input = most;
        input.has[part] = false;
        (void)snprintf(about, sizeof(about), "the rest at its most, %s missing", part_names[part]);
        put_vector(&w, about, &input);
    }
    put_vector(&w, "nothing known", &(struct news2_input){.oxygen_scale = 1});
    put_vector(&w, "everything at its most", &most);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}
