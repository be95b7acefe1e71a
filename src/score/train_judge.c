/* train_judge.c -- calibration and thresholds, the judgement, and what the model is compared with.
 */
#include "score/train_int.h"

#include "score/measure.h"

#include <math.h>
#include <stdlib.h>

#define BOOTSTRAP 200

/* ---- choosing ---- */

static void to_probabilities(const struct trainer *t, float *margins)
{
    for (size_t i = 0; i < t->data.count; i++)
        margins[i] =
            (float)measure_logistic(t->card.slope * (double)margins[i] + t->card.intercept);
}

/* Platt's slope and intercept, on the rows that are judged. */
static enum vg_status calibrate(struct trainer *t, struct vg_err *err)
{
    float *x = malloc((t->data.count + 1) * sizeof(*x)),
          *y = malloc((t->data.count + 1) * sizeof(*y));
    size_t count = 0;

    for (size_t p = 0; p < t->data.patient_count && x && y; p++) {
        const struct data_patient *patient = &t->data.patients[p];

        for (size_t i = 0; i < patient->count && t->part[p] == t->choose_part; i++) {
            if (t->data.format->is_by_patient && i + 1 < patient->count)
                continue;
            x[count] = t->choosing[patient->first + i];
            y[count++] = t->data.labels[patient->first + i];
        }
    }
    if (x && y)
        measure_platt(x, y, count, &t->card.slope, &t->card.intercept);
    free(x);
    free(y);
    return x && y ? VG_OK : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to calibrate");
}

static enum vg_status thresholds(struct trainer *t, struct vg_err *err)
{
    struct judge_config choose = {.data = &t->data,
                                  .scores = t->choosing,
                                  .is_probability = true,
                                  .keep = t->part,
                                  .part = t->choose_part};
    struct card *card = &t->card;
    enum vg_status st = judge_best_threshold(&choose, &card->operating, err);

    if (st == VG_OK)
        st = judge_threshold_for(&choose, BURDEN_MEDIUM, &card->medium, err);
    if (st == VG_OK)
        st = judge_threshold_for(&choose, BURDEN_HIGH, &card->high, err);
    choose.threshold = card->operating;
    if (st == VG_OK)
        st = judge(&choose, &card->choose, err);
    return st;
}

enum vg_status train_choose(struct trainer *t, struct vg_err *err)
{
    enum vg_status st = calibrate(t, err);

    if (st != VG_OK)
        return st;
    to_probabilities(t, t->choosing);
    to_probabilities(t, t->probabilities);
    return thresholds(t, err);
}

/* ---- judging ---- */

static bool is_hospital_a(const struct data_patient *p)
{
    return p->hospital == 'A';
}
static bool is_hospital_b(const struct data_patient *p)
{
    return p->hospital == 'B';
}
static bool is_set_a(const struct data_patient *p)
{
    return p->hospital == 'a';
}
static bool is_set_b(const struct data_patient *p)
{
    return p->hospital == 'b';
}
static bool is_male(const struct data_patient *p)
{
    return p->sex > 0.5;
}
static bool is_female(const struct data_patient *p)
{
    return p->sex < 0.5;
}
static bool is_under_50(const struct data_patient *p)
{
    return p->age_years < 50;
}
static bool is_50s(const struct data_patient *p)
{
    return p->age_years >= 50 && p->age_years < 65;
}
static bool is_65s(const struct data_patient *p)
{
    return p->age_years >= 65 && p->age_years < 80;
}
static bool is_80_up(const struct data_patient *p)
{
    return p->age_years >= 80;
}

static const struct {
    const char *name;
    bool (*keep)(const struct data_patient *);
} subgroups[] = {
    {"hospital A", is_hospital_a}, {"hospital B", is_hospital_b},
    {"set a", is_set_a},           {"set b", is_set_b},
    {"female", is_female},         {"male", is_male},
    {"age below 50", is_under_50}, {"age 50 to 64", is_50s},
    {"age 65 to 79", is_65s},      {"age 80 and above", is_80_up},
};

static enum vg_status judge_subgroups(struct trainer *t, const struct judge_config *model,
                                      struct vg_err *err)
{
    struct card *card = &t->card;
    uint8_t *keep = calloc(t->data.patient_count + 1, 1);
    enum vg_status st = VG_OK;

    if (!keep)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to judge the model");
    for (size_t i = 0; i < sizeof(subgroups) / sizeof(subgroups[0]) && st == VG_OK; i++) {
        struct card_subgroup *group = &card->subgroups[card->subgroup_count];
        struct judge_config of = *model;

        for (size_t p = 0; p < t->data.patient_count; p++)
            keep[p] = t->part[p] == PART_JUDGE && subgroups[i].keep(&t->data.patients[p]);
        of.keep = keep;
        of.part = 1;
        st = judge(&of, &group->model, err);
        of.scores = t->data.rules[DATA_NEWS2];
        of.is_probability = false;
        of.threshold = 5;
        of.bootstrap = 0;
        if (st == VG_OK)
            st = judge(&of, &group->news2, err);
        group->name = subgroups[i].name;
        card->subgroup_count += group->model.patients > 0;
    }
    free(keep);
    return st;
}

enum vg_status train_judge(struct trainer *t, struct vg_err *err)
{
    struct card *card = &t->card;
    struct judge_config model = {.data = &t->data,
                                 .scores = t->probabilities,
                                 .is_probability = true,
                                 .threshold = card->operating,
                                 .keep = t->part,
                                 .part = PART_JUDGE,
                                 .bootstrap = BOOTSTRAP,
                                 .seed = card->seed};
    struct judge_config rule = model, band = model;
    enum vg_status st = judge(&model, &card->at_operating, err);

    train_tell(t, 0.3);
    band.threshold = card->medium;
    if (st == VG_OK)
        st = judge(&band, &card->at_medium, err);
    band.threshold = card->high;
    if (st == VG_OK)
        st = judge(&band, &card->at_high, err);
    rule.is_probability = false;
    for (int r = 0; r < DATA_RULES && st == VG_OK; r++) {
        static const double alarm[DATA_RULES] = {5, 5, 2, 2};

        rule.scores = t->data.rules[r];
        rule.threshold = alarm[r];
        st = judge(&rule, &card->rules[r], err);
    }
    card->news2_at_5 = card->rules[DATA_NEWS2];
    rule.scores = t->data.rules[DATA_NEWS2];
    rule.threshold = 7;
    if (st == VG_OK)
        st = judge(&rule, &card->news2_at_7, err);
    train_tell(t, 0.6);
    if (st == VG_OK)
        st = judge_subgroups(t, &model, err);
    train_tell(t, 0.8);
    if (st == VG_OK)
        st = judge_curves(&model, &card->curves, err);
    train_tell(t, 1);
    return st;
}

/* ---- comparisons ---- */

/* The operating threshold for scores that are margins. */
static double operating_margin(const struct card *card)
{
    return (log(card->operating / (1 - card->operating)) - card->intercept) / card->slope;
}

static bool is_left_out(const struct feature *feature, int ablation)
{
    const struct feature_function_info *info = &feature_functions[feature->function];

    return info->is_time_since || (ablation == ABLATION_PATTERN && info->is_pattern);
}

enum vg_status train_ablate(struct trainer *t, uint32_t rounds, struct vg_err *err)
{
    static const char *const names[CARD_ABLATIONS] = {"ablation-ages", "ablation-pattern"};
    bool *masked = calloc(t->features.count, sizeof(*masked));
    float *margins = calloc(t->data.count + 1, sizeof(*margins));
    enum vg_status st = VG_OK;

    if (!masked || !margins)
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the ablation");
    for (int a = 0; a < CARD_ABLATIONS && st == VG_OK; a++) {
        struct card_ablation *ablation = &t->card.ablations[a];
        struct fit_config config = train_fit(t, names[a], 1 + (uint64_t)a);
        struct judge_config model = {.data = &t->data,
                                     .scores = margins,
                                     .keep = t->part,
                                     .part = PART_JUDGE,
                                     .threshold = operating_margin(&t->card)};
        struct fit fit = {0};

        for (size_t f = 0; f < t->features.count; f++) {
            masked[f] = is_left_out(&features[t->features.index[f]], a);
            ablation->left_out += masked[f];
        }
        if (a > 0 && ablation->left_out == t->card.ablations[a - 1].left_out)
            continue;
        config.masked = masked;
        config.rounds_max = rounds;
        train_begin(t, names[a]);
        st = fit_run(&config, &fit, err);
        if (st == VG_OK)
            st = fit_margins(&fit, &config, 1u << model.part, 0, margins, err);
        if (st == VG_OK)
            st = judge(&model, &ablation->figures, err);
        ablation->is_done = st == VG_OK;
        fit_fini(&fit);
    }
    free(masked);
    free(margins);
    return st;
}

/* Trained on one hospital alone, judged on all of the other. */
enum vg_status train_transfer(struct trainer *t, uint32_t rounds, struct vg_err *err)
{
    static const char *const names[] = {"A to B", "B to A"};
    uint8_t *hospital = calloc(t->data.patient_count + 1, 1);
    float *margins = calloc(t->data.count + 1, sizeof(*margins));
    size_t count[3] = {0};
    enum vg_status st = VG_OK;

    if (!hospital || !margins)
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the transfer");
    for (size_t p = 0; p < t->data.patient_count && st == VG_OK; p++) {
        char name = t->data.patients[p].hospital;

        hospital[p] = name == 'A' ? 0 : name == 'B' ? 1 : 2;
        count[hospital[p]]++;
    }
    for (int from = 0; from < 2 && st == VG_OK && count[0] >= 100 && count[1] >= 100; from++) {
        struct fit_config config =
            train_fit(t, from ? "transfer-b" : "transfer-a", 3 + (uint64_t)from);
        struct judge_config model = {.data = &t->data,
                                     .scores = margins,
                                     .keep = hospital,
                                     .part = (uint8_t)!from,
                                     .threshold = operating_margin(&t->card)};
        struct fit fit = {0};

        config.part = hospital;
        config.train_parts = 1u << from;
        config.rounds_max = rounds;
        train_begin(t, names[from]);
        st = fit_run(&config, &fit, err);
        if (st == VG_OK)
            st = fit_margins(&fit, &config, 1u << model.part, 0, margins, err);
        if (st == VG_OK)
            st = judge(&model, &t->card.transfer[from], err);
        fit_fini(&fit);
        t->card.has_transfer = st == VG_OK;
    }
    free(hospital);
    free(margins);
    return st;
}
