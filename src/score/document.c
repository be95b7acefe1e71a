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
