/* model.c -- XGBoost behind four calls.
 *
 * A model is two files: model.json is XGBoost's own, card.json says what it is (made by train.c).
 * The card names its features in the order of the columns; a model with a feature that is not in
 * this program's table, or made for another version of the table, is refused at the start, for a
 * column that means something else would give a number that looks right.
 *
 * Rows are predicted in place, as the margin (log-odds), and calibrated here. nthread is 1: a batch
 * is smaller than a wake-up. Contributions are of the margin, so they add up to it.
 *
 * Threads: a model belongs to one thread; each partition's stage opens its own.
 */
#include "score/model.h"

#include "base/file.h"
#include "base/json.h"
#include "score/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xgboost/c_api.h>

#define FILE_BYTES_MAX ((size_t)64 << 20)

#ifdef __SANITIZE_THREAD__
/* XGBoost and its OpenMP are not instrumented: the sanitizer does not see how their threads join.
 */
const char *__tsan_default_suppressions(void);
__attribute__((weak)) const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libgomp.so.1\ncalled_from_lib:libstdc++.so.6\nrace:libxgboost.so.0\n";
}
#endif

struct model {
    BoosterHandle booster;
    struct vg_arena arena; /* the card's text and tree */
    struct vg_slice card_text;
    struct model_card card;
    struct feature_set features;
};

static enum vg_status fail_xgboost(struct vg_err *err, const char *what)
{
    const char *text = XGBGetLastError();
    int len = (int)strcspn(text, "\n");

    return vg_fail(err, VG_FATAL, "score.model", 0, "XGBoost cannot %s: %.*s", what, len, text);
}

static enum vg_status read_card(struct model *model, const char *dir, struct vg_err *err)
{
    struct model_card *card = &model->card;
    const struct vg_json *names, *calibration, *thresholds;
    struct vg_json *root = NULL;
    struct vg_json_place place = {0};
    enum vg_status st;
    int64_t version = 0;
    char path[4096];

    if ((size_t)snprintf(path, sizeof(path), "%s/card.json", dir) >= sizeof(path))
        return vg_fail(err, VG_FATAL, "score.model", 0, "the model's path is too long");
    st = vg_file_read(&model->arena, path, 1 << 20, &model->card_text, err);
    if (st != VG_OK)
        return vg_fail(err, VG_FATAL, "score.model", 0, "cannot read '%s'", path);
    st = vg_json_parse(&model->arena, model->card_text, NULL, &root, &place, err);
    if (st != VG_OK)
        return vg_fail(err, VG_FATAL, "score.model", 0, "'%s' line %u, column %u is not JSON", path,
                       place.line, place.column);

    calibration = vg_json_get(root, "calibration");
    thresholds = vg_json_get(root, "thresholds");
    if (!vg_slice_to_cstr(vg_json_get_text(root, "name"), card->name, sizeof(card->name)) ||
        !vg_slice_to_cstr(vg_json_get_text(root, "version"), card->version,
                          sizeof(card->version)) ||
        !card->name[0] ||
        !vg_json_to_double(vg_json_get(root, "horizonHours"), &card->horizon_hours) ||
        !vg_json_to_double(vg_json_get(calibration, "slope"), &card->slope) ||
        !vg_json_to_double(vg_json_get(calibration, "intercept"), &card->intercept) ||
        !vg_json_to_double(vg_json_get(vg_json_get(thresholds, "medium"), "probability"),
                           &card->medium) ||
        !vg_json_to_double(vg_json_get(vg_json_get(thresholds, "high"), "probability"),
                           &card->high))
        return vg_fail(err, VG_FATAL, "score.model", 0,
                       "'%s' lacks name, version, horizonHours, calibration or thresholds", path);

    card->operating = card->medium;
    (void)vg_json_to_double(vg_json_get(vg_json_get(thresholds, "operating"), "probability"),
                            &card->operating);

    if (!vg_json_to_i64(vg_json_get(root, "featureTableVersion"), &version) ||
        version != FEATURE_TABLE_VERSION)
        return vg_fail(err, VG_FATAL, "score.model", 0,
                       "'%s' is for version %lld of the table of features, this program has %d",
                       path, (long long)version, FEATURE_TABLE_VERSION);
    names = vg_json_get(root, "features");
    if (!names || names->count == 0)
        return vg_fail(err, VG_FATAL, "score.model", 0, "'%s' names no features", path);
    for (names = names->child; names; names = names->next) {
        struct vg_err cause = {0};

        if (feature_set_add(&model->features, vg_json_text(names), &cause) != VG_OK)
            return vg_fail(err, VG_FATAL, "score.model", 0, "'%s': %s", path, cause.text);
    }
    return VG_OK;
}

static enum vg_status read_booster(struct model *model, const char *dir, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_slice content;
    bst_ulong width = 0;
    enum vg_status st;
    char path[4096];

    vg_arena_init(&arena, FILE_BYTES_MAX + 4096);
    (void)snprintf(path, sizeof(path), "%s/model.json", dir);
    st = vg_file_read(&arena, path, FILE_BYTES_MAX, &content, err);
    if (st != VG_OK) {
        st = vg_fail(err, VG_FATAL, "score.model", 0, "cannot read '%s'", path);
        goto done;
    }
    if (XGBoosterCreate(NULL, 0, &model->booster) != 0 ||
        XGBoosterSetParam(model->booster, "nthread", "1") != 0 ||
        XGBoosterSetParam(model->booster, "verbosity", "0") != 0 ||
        XGBoosterLoadModelFromBuffer(model->booster, content.ptr, content.len) != 0 ||
        XGBoosterSetParam(model->booster, "nthread", "1") != 0 ||
        XGBoosterGetNumFeature(model->booster, &width) != 0) {
        st = fail_xgboost(err, "load model.json");
        goto done;
    }
    if (width != model->features.count)
        st = vg_fail(err, VG_FATAL, "score.model", 0, "'%s' has %llu features, its card names %zu",
                     path, (unsigned long long)width, model->features.count);
done:
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status open_model(const char *dir, bool has_booster, struct model **ret_model,
                                 struct vg_err *err)
{
    struct model *model = calloc(1, sizeof(*model));
    enum vg_status st;

    if (!model)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a model");
    vg_arena_init(&model->arena, 0);
    st = read_card(model, dir, err);
    if (st == VG_OK && has_booster)
        st = read_booster(model, dir, err);
    if (st == VG_OK) {
        *ret_model = model;
        model = NULL;
    }
    model_close(model);
    return st;
}

enum vg_status model_open(const char *dir, struct model **ret_model, struct vg_err *err)
{
    return open_model(dir, true, ret_model, err);
}

enum vg_status model_open_card(const char *dir, struct model **ret_model, struct vg_err *err)
{
    return open_model(dir, false, ret_model, err);
}

void model_close(struct model *model)
{
    if (!model)
        return;
    if (model->booster)
        (void)XGBoosterFree(model->booster);
    vg_arena_fini(&model->arena);
    free(model);
}

const struct model_card *model_card(const struct model *model)
{
    return &model->card;
}

const struct feature_set *model_features(const struct model *model)
{
    return &model->features;
}

struct vg_slice model_card_text(const struct model *model)
{
    return model->card_text;
}

const char *model_band(const struct model *model, double probability)
{
    return probability >= model->card.high     ? "high"
           : probability >= model->card.medium ? "medium"
                                               : "low";
}

enum vg_status model_predict(struct model *model, const float *rows, size_t count,
                             double *ret_probabilities, float *ret_margins, struct vg_err *err)
{
    static const char config[] =
        "{\"type\":1,\"training\":false,\"iteration_begin\":0,"
        "\"iteration_end\":0,\"strict_shape\":false,\"cache_id\":0,\"missing\":NaN}";
    bst_ulong const *shape = NULL;
    bst_ulong dimensions = 0;
    const float *margins = NULL;
    char array[160];

    if (count == 0)
        return VG_OK;
    (void)snprintf(array, sizeof(array),
                   "{\"data\":[%llu,true],\"shape\":[%zu,%zu],\"typestr\":\"<f4\",\"version\":3}",
                   (unsigned long long)(uintptr_t)rows, count, model->features.count);
    if (XGBoosterPredictFromDense(model->booster, array, config, NULL, &shape, &dimensions,
                                  &margins) != 0)
        return fail_xgboost(err, "predict");
    if (dimensions < 1 || shape[0] != count)
        return vg_fail(err, VG_FATAL, "score.model", 0, "XGBoost answered another number of rows");
    for (size_t i = 0; i < count; i++) {
        ret_probabilities[i] =
            measure_logistic(model->card.slope * (double)margins[i] + model->card.intercept);
        if (ret_margins)
            ret_margins[i] = margins[i];
    }
    return VG_OK;
}

enum vg_status model_contributions(struct model *model, const float *row, float *ret,
                                   struct vg_err *err)
{
    static const char config[] = "{\"type\":2,\"training\":false,\"iteration_begin\":0,"
                                 "\"iteration_end\":0,\"strict_shape\":false}";
    bst_ulong const *shape = NULL;
    bst_ulong dimensions = 0;
    const float *values = NULL;
    DMatrixHandle matrix = NULL;
    enum vg_status st = VG_OK;

    if (XGDMatrixCreateFromMat(row, 1, model->features.count, NAN, &matrix) != 0 ||
        XGBoosterPredictFromDMatrix(model->booster, matrix, config, &shape, &dimensions, &values) !=
            0)
        st = fail_xgboost(err, "explain");
    else if (dimensions != 2 || shape[1] != model->features.count + 1)
        st = vg_fail(err, VG_FATAL, "score.model", 0, "XGBoost answered another shape");
    else
        memcpy(ret, values, (model->features.count + 1) * sizeof(*ret));
    if (matrix)
        (void)XGDMatrixFree(matrix);
    return st;
}
