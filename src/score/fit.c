/* fit.c -- one run of XGBoost: rows of some patients in, trees out.
 *
 * One matrix of rows in memory serves the judged run, the comparisons and the last fit; each run
 * gives XGBoost a copy of its rows. (Its quantile matrix would spare the copy, but predicts rows
 * with missing values forty times as slowly, every round.)
 *
 * A RUN THAT WAS STOPPED goes on. After each hundred rounds the trees so far are written beside the
 * model, and the run itself goes on from what was written: XGBoost's generators of random numbers
 * start anew there in every run, so a continued run makes the same trees as one that never stopped.
 */
#include "score/fit.h"

#include "base/file.h"
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_ROWS 16384
#define EVAL_EVERY 5
#define CHECKPOINT_ROUNDS 100

static enum vg_status fail_xgboost(struct vg_err *err, const char *what)
{
    const char *text = XGBGetLastError();

    return vg_fail(err, VG_REJECT, "train.xgboost", 0, "XGBoost cannot %s: %.*s", what,
                   (int)strcspn(text, "\n"), text);
}

/* ---- rows to XGBoost ---- */

static void copy_row(const struct fit_config *config, size_t row, float *to)
{
    const size_t width = config->data->width;

    memcpy(to, config->data->rows + row * width, width * sizeof(*to));
    for (size_t f = 0; config->masked && f < width; f++)
        to[f] = config->masked[f] ? NAN : to[f];
}

/* A fixed share of the rows without the outcome, the same in every run. */
static bool is_left_out(const struct fit_config *config, size_t row)
{
    uint64_t hash = (row + 1) * 0x9e3779b97f4a7c15u;

    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    return config->data->labels[row] <= 0.5f && hash % 100 >= config->negative_percent;
}

/* The rows of some parts. XGBoost holds a copy of its own afterwards. */
static enum vg_status make_matrix(const struct fit_config *config, uint32_t parts, bool is_thinned,
                                  DMatrixHandle *ret, struct vg_err *err)
{
    const struct data *data = config->data;
    const float weight = is_thinned ? 100.0f / (float)config->negative_percent : 1.0f;
    const char **names = calloc(data->width, sizeof(*names));
    size_t *taken = malloc((data->count + 1) * sizeof(*taken)), count = 0;
    float *rows = NULL, *labels = NULL, *weights = NULL;
    enum vg_status st = VG_OK;

    for (size_t p = 0; p < data->patient_count && taken; p++) {
        const struct data_patient *patient = &data->patients[p];

        for (size_t i = patient->first; i < patient->first + patient->count; i++) {
            if (parts >> config->part[p] & 1 && !(is_thinned && is_left_out(config, i)))
                taken[count++] = i;
        }
    }
    rows = malloc((count + 1) * data->width * sizeof(*rows));
    labels = malloc((count + 1) * sizeof(*labels));
    weights = malloc((count + 1) * sizeof(*weights));
    if (!names || !taken || !rows || !labels || !weights) {
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for %zu rows", count);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        copy_row(config, taken[i], rows + i * data->width);
        labels[i] = data->labels[taken[i]];
        weights[i] = labels[i] > 0.5f ? 1.0f : weight;
    }
    for (size_t f = 0; f < data->width; f++)
        names[f] = features[config->features->index[f]].name;
    if (XGDMatrixCreateFromMat(rows, count, data->width, NAN, ret) != 0 ||
        XGDMatrixSetFloatInfo(*ret, "label", labels, count) != 0 ||
        XGDMatrixSetFloatInfo(*ret, "weight", weights, count) != 0 ||
        XGDMatrixSetStrFeatureInfo(*ret, "feature_name", names, data->width) != 0)
        st = fail_xgboost(err, "take the rows");
done:
    free(rows);
    free(labels);
    free(weights);
    free(taken);
    free(names);
    return st;
}

/* ---- a run and its checkpoint ---- */

struct run {
    const struct fit_config *config;
    DMatrixHandle train, stop;
    BoosterHandle booster;
    uint32_t round, best_round;
    double best_auc;
    bool is_done;
};

static enum vg_status set_parameters(const struct run *run, struct vg_err *err)
{
    const struct fit_config *config = run->config;
    char seed[24], threads[16];

    (void)snprintf(seed, sizeof(seed), "%u", (unsigned)config->seed);
    (void)snprintf(threads, sizeof(threads), "%u", config->threads);
    for (size_t i = 0; i < config->parameter_count; i++) {
        if (XGBoosterSetParam(run->booster, config->parameters[i].name,
                              config->parameters[i].value) != 0)
            return fail_xgboost(err, "set a parameter");
    }
    if (XGBoosterSetParam(run->booster, "eval_metric", "auc") != 0 ||
        XGBoosterSetParam(run->booster, "tree_method", "hist") != 0 ||
        XGBoosterSetParam(run->booster, "verbosity", "0") != 0 ||
        XGBoosterSetParam(run->booster, "seed", seed) != 0 ||
        XGBoosterSetParam(run->booster, "seed_per_iteration", "1") != 0 ||
        XGBoosterSetParam(run->booster, "nthread", threads) != 0)
        return fail_xgboost(err, "set a parameter");
    return VG_OK;
}

/* A booster that knows nothing but `trees` (may be empty). */
static enum vg_status start_booster(struct run *run, struct vg_slice trees, struct vg_err *err)
{
    if (run->booster)
        (void)XGBoosterFree(run->booster);
    run->booster = NULL;
    if (XGBoosterCreate((DMatrixHandle[]){run->train, run->stop}, run->stop ? 2 : 1,
                        &run->booster) != 0)
        return fail_xgboost(err, "start");
    if (trees.len > 0 && XGBoosterLoadModelFromBuffer(run->booster, trees.ptr, trees.len) != 0)
        return fail_xgboost(err, "read the trees so far");
    return set_parameters(run, err);
}

/* A line of JSON, then the trees; and on from these trees. */
static enum vg_status pass_checkpoint(struct run *run, struct vg_err *err)
{
    struct vg_buf out;
    const char *trees = NULL;
    bst_ulong len = 0;
    enum vg_status st = VG_OK;
    size_t head;

    if (XGBoosterSaveModelToBuffer(run->booster, "{\"format\":\"ubj\"}", &len, &trees) != 0)
        return fail_xgboost(err, "write the trees so far");
    vg_buf_init(&out, (size_t)1 << 30);
    vg_buf_printf(&out,
                  "{\"key\":\"%016" PRIx64 "\",\"round\":%u,\"bestRound\":%u,\"bestAuc\":%.17g,"
                  "\"done\":%s}\n",
                  run->config->key, run->round, run->best_round, run->best_auc,
                  run->is_done ? "true" : "false");
    head = out.len;
    vg_buf_put(&out, (struct vg_slice){trees, len});
    if (!vg_buf_ok(&out))
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the trees so far");
    if (st == VG_OK && run->config->checkpoint)
        st = vg_file_write(run->config->checkpoint, vg_buf_slice(&out), 0644, err);
    if (st == VG_OK && !run->is_done)
        st = start_booster(run, (struct vg_slice){out.ptr + head, out.len - head}, err);
    vg_buf_fini(&out);
    return st;
}

/* A checkpoint of another run, or a damaged one, is as good as none. */
static enum vg_status load_checkpoint(struct run *run, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_slice content = {0}, head, key;
    struct vg_json *root = NULL;
    char wanted[20];
    int64_t round = 0, best = 0;
    bool is_done = false;
    double auc = 0;
    enum vg_status st = VG_OK;

    if (!run->config->checkpoint)
        return VG_OK;
    vg_arena_init(&arena, (size_t)1 << 30);
    (void)snprintf(wanted, sizeof(wanted), "%016" PRIx64, run->config->key);
    if (vg_file_read(&arena, run->config->checkpoint, 0, &content, NULL) == VG_OK) {
        head = vg_slice_cut(&content, '\n');
        if (vg_json_parse(&arena, head, NULL, &root, NULL, NULL) == VG_OK) {
            key = vg_json_get_text(root, "key");
            if (vg_slice_is(key, wanted) && vg_json_to_i64(vg_json_get(root, "round"), &round) &&
                vg_json_to_i64(vg_json_get(root, "bestRound"), &best) &&
                vg_json_to_double(vg_json_get(root, "bestAuc"), &auc) &&
                vg_json_to_bool(vg_json_get(root, "done"), &is_done)) {
                st = start_booster(run, content, err);
                run->round = (uint32_t)round;
                run->best_round = (uint32_t)best;
                run->best_auc = auc;
                run->is_done = is_done;
            }
        }
    }
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status one_round(struct run *run, struct vg_err *err)
{
    const char *name = "stop", *text = NULL, *colon;

    if (XGBoosterUpdateOneIter(run->booster, (int)run->round, run->train) != 0)
        return fail_xgboost(err, "train");
    if (run->stop && (run->round + 1) % EVAL_EVERY == 0) {
        double auc;

        if (XGBoosterEvalOneIter(run->booster, (int)run->round, &run->stop, &name, 1, &text) != 0)
            return fail_xgboost(err, "evaluate");
        colon = strrchr(text, ':');
        auc = colon ? strtod(colon + 1, NULL) : 0;
        if (auc > run->best_auc) {
            run->best_auc = auc;
            run->best_round = run->round;
        }
    }
    run->round++;
    if (!run->stop)
        run->best_round = run->round - 1;
    return VG_OK;
}

enum vg_status fit_run(const struct fit_config *config, struct fit *ret_fit, struct vg_err *err)
{
    struct run run = {.config = config, .best_auc = -1};
    BoosterHandle sliced = NULL;
    uint32_t every = config->checkpoint_rounds ? config->checkpoint_rounds : CHECKPOINT_ROUNDS;
    uint32_t kept;
    enum vg_status st;

    ret_fit->booster = NULL;
    st = make_matrix(config, config->train_parts,
                     config->negative_percent > 0 && config->negative_percent < 100, &run.train,
                     err);
    if (st == VG_OK && config->stop_part != FIT_NO_PART)
        st = make_matrix(config, 1u << config->stop_part, false, &run.stop, err);
    if (st == VG_OK)
        st = start_booster(&run, (struct vg_slice){0}, err);
    if (st == VG_OK)
        st = load_checkpoint(&run, err);
    while (st == VG_OK && !run.is_done) {
        if (run.round == config->rounds_max ||
            (run.stop && config->stop_after && run.best_auc > 0 &&
             run.round >= run.best_round + 1 + config->stop_after)) {
            run.is_done = true;
            st = pass_checkpoint(&run, err);
            break;
        }
        st = one_round(&run, err);
        if (st == VG_OK && run.round % every == 0)
            st = pass_checkpoint(&run, err);
        if (config->progress)
            config->progress(config->progress_ctx, 0.999 * run.round / config->rounds_max);
    }
    kept = config->keeps_all ? run.round : run.best_round + 1;
    if (st == VG_OK && XGBoosterSlice(run.booster, 0, (int)kept, 1, &sliced) != 0)
        st = fail_xgboost(err, "cut the model at its best round");
    if (st == VG_OK) {
        *ret_fit =
            (struct fit){sliced, kept, run.best_round + 1, run.stop ? run.best_auc : (double)NAN};
        if (config->progress)
            config->progress(config->progress_ctx, 1);
    }
    if (run.booster)
        (void)XGBoosterFree(run.booster);
    if (run.train)
        (void)XGDMatrixFree(run.train);
    if (run.stop)
        (void)XGDMatrixFree(run.stop);
    return st;
}

void fit_fini(struct fit *fit)
{
    if (fit->booster)
        (void)XGBoosterFree(fit->booster);
    fit->booster = NULL;
}

static void array_text(char out[192], const void *data, size_t rows, size_t columns)
{
    (void)snprintf(out, 192,
                   "{\"data\":[%" PRIuPTR ",true],\"shape\":[%zu,%zu],\"typestr\":\"<f4\","
                   "\"version\":3}",
                   (uintptr_t)data, rows, columns);
}

enum vg_status fit_margins(const struct fit *fit, const struct fit_config *config, uint32_t parts,
                           uint32_t rounds, float *margins, struct vg_err *err)
{
    const struct data *data = config->data;
    float *rows = malloc(BLOCK_ROWS * data->width * sizeof(*rows));
    size_t *taken = malloc((data->count + 1) * sizeof(*taken)), count = 0;
    char how[160];
    enum vg_status st = VG_OK;

    if (!rows || !taken)
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for predictions");
    for (size_t p = 0; p < data->patient_count && st == VG_OK; p++) {
        for (size_t i = 0; i < data->patients[p].count && parts >> config->part[p] & 1; i++)
            taken[count++] = data->patients[p].first + i;
    }
    (void)snprintf(how, sizeof(how),
                   "{\"type\":1,\"training\":false,\"iteration_begin\":0,\"iteration_end\":%u,"
                   "\"strict_shape\":false,\"cache_id\":0,\"missing\":NaN}",
                   rounds < fit->rounds ? rounds : 0);
    for (size_t first = 0, n; first < count && st == VG_OK; first += n) {
        bst_ulong const *shape = NULL;
        bst_ulong dimensions = 0;
        const float *values = NULL;
        char array[192];

        n = count - first < BLOCK_ROWS ? count - first : BLOCK_ROWS;
        for (size_t i = 0; i < n; i++)
            copy_row(config, taken[first + i], rows + i * data->width);
        array_text(array, rows, n, data->width);
        if (XGBoosterPredictFromDense(fit->booster, array, how, NULL, &shape, &dimensions,
                                      &values) != 0)
            st = fail_xgboost(err, "predict");
        for (size_t i = 0; i < n && st == VG_OK; i++)
            margins[taken[first + i]] = values[i];
    }
    free(rows);
    free(taken);
    return st;
}
