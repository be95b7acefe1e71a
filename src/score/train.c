/* train.c -- makes a model from recorded patients, and judges it on patients it never saw.
 *
 *     source.c -> window.c, feature.c (the code that scores live) -> fit.c -> calibration
 *              -> judge.c -> card.c, card_html.c
 *
 * SPLIT. By patient, never by row: a hash of the patient's id and the seed puts 15 of 100 patients
 * into the judgement, which chose nothing. Of the others either 15 choose (when to stop,
 * calibration, thresholds) and 70 teach; or, with folds, all 85 teach and choose by
 * cross-validation (train_folds.c). All figures of the card are of that judged model. THE MODEL
 * THAT SHIPS is then trained once more, on all patients, with the same number of trees; it keeps
 * the calibration and the thresholds of the judged one (or --no-refit: the judged one ships).
 *
 * SAME BYTES. The same files, seed and number of threads give the same model.json, card.json and
 * card.html: no clock, no path and no hash seed of the process goes into them. A run that was
 * stopped goes on from its checkpoints (fit.c), which are removed at the end.
 */
#include "score/train_int.h"

#include "base/file.h"
#include "score/lint.h"
#include "score/reference.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STOP_AFTER_ROUNDS 60

void train_tell(void *ctx, double done)
{
    struct trainer *t = ctx;
    int64_t now_us = vg_mono_us(), spent_us = now_us - t->phase_start_us;

    if (!t->config->progress ||
        (done < 1 && !t->config->checkpoint_rounds && now_us - t->told_us < VG_SECOND_US / 2))
        return;
    t->told_us = now_us;
    t->config->progress(t->config->ctx, t->phase, done,
                        done > 0.02 ? (int64_t)((double)spent_us * (1 - done) / done) : -1);
}

void train_begin(struct trainer *t, const char *phase)
{
    t->phase = phase;
    t->phase_start_us = vg_mono_us();
    t->told_us = 0;
}

/* FNV-1a with the seed mixed in, and a last mix: the split must never change with a library. */
static uint64_t hash_of(uint64_t hash, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    return hash;
}

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    return hash ^ (hash >> 32);
}

uint64_t train_hash(const char *patient, uint64_t seed)
{
    return mix(
        hash_of(14695981039346656037u ^ (seed * 0x9e3779b97f4a7c15u), patient, strlen(patient)));
}

static uint8_t part_of(const struct trainer *t, const char *patient)
{
    uint64_t percent = train_hash(patient, t->card.seed) % 100;

    return percent >= 85                         ? PART_JUDGE
           : percent >= 70 && t->card.folds == 0 ? PART_CHOOSE
                                                 : PART_TRAIN;
}

/* ---- what to do ---- */

static enum vg_status add_parameter(struct trainer *t, struct fit_parameter parameter,
                                    struct vg_err *err)
{
    for (size_t i = 0; i < t->card.parameter_count; i++) {
        if (strcmp(t->parameters[i].name, parameter.name) == 0) {
            t->parameters[i] = parameter;
            return VG_OK;
        }
    }
    if (t->card.parameter_count == TRAIN_PARAMETERS_MAX)
        return vg_fail(err, VG_REJECT, "train.parameter", 0, "too many parameters");
    t->parameters[t->card.parameter_count++] = parameter;
    return VG_OK;
}

static enum vg_status plan(struct trainer *t, struct vg_err *err)
{
    const struct score_train_config *config = t->config;
    struct card *card = &t->card;
    enum vg_status st = VG_OK;

    card->format = source_format_of(config->format);
    if (!card->format)
        return vg_fail(err, VG_REJECT, "train.format", 0,
                       "no format '%s'; there are physionet2019, physionet2012 and lake",
                       config->format);
    card->recipe = recipe_find(config->model, config->format);
    if (!card->recipe)
        return vg_fail(err, VG_REJECT, "train.model", 0, "no recipe is called '%s'",
                       config->model ? config->model : config->format);
    card->features = &t->features;
    card->parameters = t->parameters;
    card->seed = config->seed ? config->seed : 1;
    card->threads = config->threads ? config->threads : 1;
    card->folds = config->folds ? config->folds : card->recipe->folds;
    if (card->folds > CARD_FOLDS_MAX)
        return vg_fail(err, VG_REJECT, "train.folds", 0, "more than %d folds", CARD_FOLDS_MAX);
    if (card->folds < 2)
        card->folds = 0;
    if (config->features)
        st = feature_set_add(&t->features, vg_slice_of(config->features), err);
    for (const char *const *piece = card->recipe->features;
         st == VG_OK && !config->features && *piece; piece++)
        st = feature_set_add(&t->features, vg_slice_of(*piece), err);
    for (size_t i = 0; i < card->recipe->parameter_count && st == VG_OK; i++)
        st = add_parameter(t, card->recipe->parameters[i], err);
    for (size_t i = 0; i < config->parameter_count && st == VG_OK; i++)
        st = add_parameter(
            t, (struct fit_parameter){config->parameters[i].name, config->parameters[i].value},
            err);
    return st == VG_OK ? lint_features(&t->features, NULL, err) : st;
}

static enum vg_status split(struct trainer *t, struct vg_err *err)
{
    static const char *const names[PART_COUNT] = {"training", "choosing", "test"};
    struct card *card = &t->card;

    t->part = calloc(t->data.patient_count + 1, 1);
    t->fold = calloc(t->data.patient_count + 1, 1);
    t->probabilities = calloc(t->data.count + 1, sizeof(*t->probabilities));
    t->choosing = calloc(t->data.count + 1, sizeof(*t->choosing));
    t->choose_part = card->folds ? PART_TRAIN : PART_CHOOSE;
    if (!t->part || !t->fold || !t->probabilities || !t->choosing)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for predictions");
    for (size_t p = 0; p < t->data.patient_count; p++) {
        const struct data_patient *patient = &t->data.patients[p];
        size_t positives = 0;
        uint8_t part = part_of(t, patient->id);

        for (size_t i = 0; i < patient->count; i++)
            positives += t->data.labels[patient->first + i] > 0.5f;
        t->part[p] = part;
        card->patients[part]++;
        card->positive_patients[part] += positives > 0;
        card->rows[part] += patient->count;
        card->positive_rows[part] += positives;
    }
    if (!t->data.has_labels)
        return vg_fail(err, VG_REJECT, "train.rows", 0, "some patients have no outcome");
    for (int part = 0; part < PART_COUNT; part++) {
        if (part == PART_CHOOSE && card->folds)
            continue;
        if (card->positive_rows[part] == 0 || card->positive_rows[part] == card->rows[part])
            return vg_fail(err, VG_REJECT, "train.rows", 0,
                           "the %s patients (%zu) need rows of both labels: more patients are "
                           "needed",
                           names[part], card->patients[part]);
    }
    return VG_OK;
}

static void note_rising(struct trainer *t)
{
    double rising[FEATURES_MAX];

    t->card.rising_most = 0;
    lint_rising(&t->data, rising);
    for (size_t f = 0; f < t->features.count; f++) {
        if (rising[f] > t->card.rising_most) {
            t->card.rising_most = rising[f];
            t->card.rising_feature = features[t->features.index[f]].name;
        }
    }
}

/* ---- runs ---- */

struct fit_config train_fit(struct trainer *t, const char *name, uint64_t which)
{
    struct fit_config config = {
        .data = &t->data,
        .features = &t->features,
        .part = t->part,
        .train_parts = 1u << PART_TRAIN,
        .stop_part = FIT_NO_PART,
        .parameters = t->parameters,
        .parameter_count = t->card.parameter_count,
        .rounds_max = t->config->rounds_max ? t->config->rounds_max : t->card.recipe->rounds_max,
        .negative_percent = t->card.recipe->negative_percent,
        .seed = t->card.seed,
        .threads = t->card.threads,
        .checkpoint_rounds = t->config->checkpoint_rounds,
        .progress = train_tell,
        .progress_ctx = t,
    };
    uint64_t key = 14695981039346656037u;
    const uint64_t facts[] = {t->data.count,  t->data.patient_count, config.seed,
                              config.threads, config.rounds_max,     FEATURE_TABLE_VERSION};

    key = hash_of(key, facts, sizeof(facts));
    key = hash_of(key, t->data.labels, t->data.count * sizeof(*t->data.labels));
    key = hash_of(key, t->part, t->data.patient_count);
    for (size_t f = 0; f < t->features.count; f++)
        key = hash_of(key, features[t->features.index[f]].name,
                      strlen(features[t->features.index[f]].name) + 1);
    for (size_t i = 0; i < config.parameter_count; i++) {
        key = hash_of(key, config.parameters[i].name, strlen(config.parameters[i].name) + 1);
        key = hash_of(key, config.parameters[i].value, strlen(config.parameters[i].value) + 1);
    }
    config.key = mix(key + which);
    if (t->config->out_dir && t->checkpoint_count < TRAIN_PHASES_MAX &&
        (size_t)snprintf(t->checkpoints[t->checkpoint_count], sizeof(t->checkpoints[0]),
                         "%s/.%s.part", t->config->out_dir, name) < sizeof(t->checkpoints[0]))
        config.checkpoint = t->checkpoints[t->checkpoint_count++];
    return config;
}

/* ---- the whole ---- */

/* What watching compares with: all rows, and what the judged model said of patients it had not
 * seen. Writes over the probabilities that are not theirs. */
static enum vg_status make_reference(struct trainer *t, struct vg_buf *out, struct vg_err *err)
{
    const struct reference_config config = {
        .model = t->card.recipe->name,
        .version = t->card.recipe->version,
        .features = &t->features,
        .rows = t->data.rows,
        .probabilities = t->probabilities,
        .count = t->data.count,
        .all_rows = t->data.count,
        .patients = t->data.patient_count,
        .every_hours = t->data.format->train_every_hours,
        .probabilities_of = "the test patients' rows, by the judged model",
        .curves = &t->card.curves,
    };

    for (size_t p = 0; p < t->data.patient_count; p++) {
        const struct data_patient *patient = &t->data.patients[p];

        for (size_t i = 0; i < patient->count && t->part[p] != PART_JUDGE; i++)
            t->probabilities[patient->first + i] = NAN;
    }
    return reference_write(&config, out, err);
}

static enum vg_status save(struct trainer *t, BoosterHandle booster, struct vg_buf *ret_card,
                           struct vg_err *err)
{
    const char *json = NULL;
    bst_ulong len = 0;
    char path[4096];
    struct vg_buf card, html, reference;
    enum vg_status st;

    vg_buf_init(&card, 4 << 20);
    vg_buf_init(&html, 4 << 20);
    vg_buf_init(&reference, 4 << 20);
    st = card_json(&t->card, &card, err);
    if (st == VG_OK)
        st = card_html(&t->card, &html, err);
    if (st == VG_OK && XGBoosterSaveModelToBuffer(booster, "{\"format\":\"json\"}", &len, &json))
        st = vg_fail(err, VG_REJECT, "train.xgboost", 0, "XGBoost cannot write the model");
    if (st == VG_OK)
        st = make_reference(t, &reference, err);
    for (int i = 0; i < 4 && st == VG_OK; i++) {
        static const char *const names[] = {"model.json", "card.json", "card.html",
                                            "reference.json"};
        const struct vg_slice contents[] = {
            {json, len}, vg_buf_slice(&card), vg_buf_slice(&html), vg_buf_slice(&reference)};

        if ((size_t)snprintf(path, sizeof(path), "%s/%s", t->config->out_dir, names[i]) >=
            sizeof(path))
            st = vg_fail(err, VG_REJECT, "train.out", 0, "the path is too long");
        else
            st = vg_file_write(path, contents[i], 0644, err);
    }
    if (st == VG_OK && ret_card)
        vg_buf_put(ret_card, vg_buf_slice(&card));
    for (size_t i = 0; i < t->checkpoint_count && st == VG_OK; i++)
        (void)unlink(t->checkpoints[i]);
    vg_buf_fini(&card);
    vg_buf_fini(&html);
    vg_buf_fini(&reference);
    return st;
}

static enum vg_status make_model(struct trainer *t, struct vg_buf *ret_card, struct vg_err *err)
{
    struct fit_config config = train_fit(t, "judged", 0);
    struct fit fit = {0}, last = {0};
    enum vg_status st = VG_OK;

    if (t->card.folds) {
        st = train_folds(t, err);
        config.rounds_max = t->card.rounds;
    } else {
        config.stop_part = PART_CHOOSE;
        config.stop_after = STOP_AFTER_ROUNDS;
    }
    train_begin(t, "training");
    if (st == VG_OK)
        st = fit_run(&config, &fit, err);
    if (st == VG_OK)
        st = fit_margins(&fit, &config, FIT_ALL_PARTS, 0, t->probabilities, err);
    if (st != VG_OK)
        goto done;
    if (!t->card.folds)
        memcpy(t->choosing, t->probabilities, t->data.count * sizeof(*t->choosing));
    t->card.trees = t->card.all_trees = fit.rounds;
    train_begin(t, "judging");
    st = train_choose(t, err);
    if (st == VG_OK && t->card.folds)
        st = train_folds_judge(t, err);
    if (st == VG_OK)
        st = train_judge(t, err);
    if (st == VG_OK && !t->config->no_comparisons)
        st = train_ablate(t, fit.rounds, err);
    if (st == VG_OK && !t->config->no_comparisons)
        st = train_transfer(t, fit.rounds, err);
    if (st == VG_OK && !t->config->no_refit) {
        struct fit_config all = train_fit(t, "all", 5);

        all.train_parts = (1u << PART_COUNT) - 1;
        all.rounds_max = fit.rounds;
        train_begin(t, "all patients");
        st = fit_run(&all, &last, err);
    } else {
        t->card.all_trees = 0;
    }
    if (st == VG_OK)
        st = save(t, last.booster ? last.booster : fit.booster, ret_card, err);
done:
    fit_fini(&fit);
    fit_fini(&last);
    return st;
}

enum vg_status score_train(const struct score_train_config *config, struct vg_buf *ret_card,
                           struct vg_err *err)
{
    struct trainer *t = calloc(1, sizeof(*t));
    struct data_config data = {
        .source = {.format = config->format,
                   .paths = config->files,
                   .path_count = config->file_count,
                   .outcomes = config->outcomes,
                   .lake = config->lake},
        .is_training = true,
        .progress = train_tell,
        .progress_ctx = t,
    };
    enum vg_status st;

    if (!t)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory to train");
    t->config = config;
    st = plan(t, err);
    if (st == VG_OK)
        st = vg_dir_make(config->out_dir, err);
    train_begin(t, "reading");
    data.features = &t->features;
    if (st == VG_OK)
        st = data_read(&data, &t->data, err);
    if (st == VG_OK)
        st = lint_features(&t->features, &t->data, err);
    if (st == VG_OK)
        note_rising(t);
    if (st == VG_OK)
        st = split(t, err);
    if (st == VG_OK)
        st = make_model(t, ret_card, err);
    data_fini(&t->data);
    free(t->part);
    free(t->fold);
    free(t->probabilities);
    free(t->choosing);
    free(t);
    return st;
}
