/* live.c -- reads folders of models; see live.h.
 *
 * live.json, every member may be left out:
 *
 *   {"mode":"show",              how it is used in `units`: absent, silent, show, flag
 *    "units":["Ward 4"],         wards by name; without: everywhere
 *    "elsewhere":"silent",       in other wards: absent or silent
 *    "thresholds":{"medium":0.05,"high":0.12},      over the card's
 *    "engine":{"kind":"mlflow","url":"http://127.0.0.1:5001","deadlineMs":250}}   see served.h
 *
 * A folder without live.json that was found among others is silent: a model is watched before it is
 * shown. One that score.model names itself is shown: somebody chose it.
 *
 * REPLACING. A set of models is made beside the one in force and shares what did not change; the
 * owner swaps the two between batches. A folder that cannot be read, or changes while it is read,
 * keeps what it was, and `trouble` says why.
 */
#include "score/live.h"

#include "base/crypto.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MODEL_BYTES_MAX ((size_t)64 << 20)
#define FAILURES_USUAL 3

static const char *const file_names[3] = {"card.json", "model.json", "live.json"};
static const char *const mode_names[] = {
    [LIVE_ABSENT] = "absent", [LIVE_SILENT] = "silent", [LIVE_SHOW] = "show", [LIVE_FLAG] = "flag"};

const char *live_mode_name(enum live_mode mode)
{
    return mode_names[mode];
}

const char *live_band(const struct live_model *model, double probability)
{
    return probability >= model->high ? "high" : probability >= model->medium ? "medium" : "low";
}

enum live_mode live_mode_in(const struct live_model *model, struct vg_slice unit)
{
    for (size_t i = 0; i < model->unit_count; i++) {
        if (vg_slice_eq(model->units[i], unit))
            return model->mode;
    }
    return model->unit_count == 0 ? model->mode : model->elsewhere;
}

void live_count(struct live_model *model, double probability)
{
    vg_metric_add(model->said[isnan(probability)             ? 3
                              : probability >= model->high   ? 2
                              : probability >= model->medium ? 1
                                                             : 0],
                  1);
}

/* What a silent model would have said is judged before it is shown. The name is from a file: only
 * what is harmless in a label. */
static bool open_counters(struct live_model *model)
{
    static const char *const bands[4] = {"low", "medium", "high", "none"};
    const struct model_card *card = model_card(model->model);
    const char *harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (strspn(card->name, harmless) != strlen(card->name) ||
        strspn(card->version, harmless) != strlen(card->version))
        return false;
    for (int b = 0; b < 4; b++) {
        char labels[200];

        (void)snprintf(labels, sizeof(labels), "model=\"%s\",version=\"%s\",band=\"%s\"",
                       card->name, card->version, bands[b]);
        model->said[b] =
            vg_counter("vigil_score_model_total",
                       "Scores by model and band; none: its engine did not answer", labels);
    }
    return true;
}

/* ---- live.json ---- */

static enum vg_status fail(struct vg_err *err, const char *what)
{
    return vg_fail(err, VG_REJECT, "score.live", 0, "live.json: %s", what);
}

static bool mode_of(const struct vg_json *json, enum live_mode most, enum live_mode *ret)
{
    for (int m = LIVE_ABSENT; json && m <= (int)most; m++) {
        if (vg_slice_is(vg_json_text(json), mode_names[m])) {
            *ret = (enum live_mode)m;
            return true;
        }
    }
    return !json;
}

static enum vg_status read_units(struct live_model *model, const struct vg_json *units,
                                 struct vg_err *err)
{
    if (units && (!vg_json_is(units, VG_JSON_ARRAY) || units->count > LIVE_UNITS_MAX))
        return fail(err, "units: expected a list of at most 64 names");
    for (units = units ? units->child : NULL; units; units = units->next) {
        if (vg_json_text(units).len == 0)
            return fail(err, "units: expected names");
        model->units[model->unit_count++] = vg_json_text(units);
    }
    return VG_OK;
}

static bool milliseconds(const struct vg_json *json, int64_t usual_ms, int64_t max_ms,
                         int64_t *ret_us)
{
    int64_t value = usual_ms;

    if (json && (!vg_json_to_i64(json, &value) || value < 1 || value > max_ms))
        return false;
    *ret_us = value * 1000;
    return true;
}

static const char *text_in(struct live_model *model, const struct vg_json *json, const char *name)
{
    struct vg_slice text = vg_json_get_text(json, name);

    return text.len > 0 ? vg_arena_printf(&model->arena, "%.*s", VG_FMT(text)).ptr : NULL;
}

static enum vg_status read_engine(struct live_model *model, const struct vg_json *engine,
                                  struct vg_err *err)
{
    static const char *const names[] = {"kind",       "url",    "model",  "output",
                                        "deadlineMs", "restMs", "caFile", "tokenFile"};
    struct vg_slice kind = vg_json_get_text(engine, "kind");
    struct served_config config = {
        .kind = vg_slice_is(kind, "kserve") ? SERVED_KSERVE : SERVED_MLFLOW,
        .url = text_in(model, engine, "url"),
        .name = text_in(model, engine, "model"),
        .output = text_in(model, engine, "output"),
        .ca_path = text_in(model, engine, "caFile"),
        .token_path = text_in(model, engine, "tokenFile"),
        .failures_max = FAILURES_USUAL,
    };

    for (const struct vg_json *m = engine->child; m; m = m->next) {
        bool is_known = false;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            is_known |= vg_slice_is(m->name, names[i]);
        if (!is_known)
            return fail(err, "engine: a member that is not known");
    }
    if ((!vg_slice_is(kind, "mlflow") && !vg_slice_is(kind, "kserve")) || !config.url ||
        (strncmp(config.url, "http://", 7) != 0 && strncmp(config.url, "https://", 8) != 0))
        return fail(err, "engine: expected kind mlflow or kserve, and a url");
    if (config.kind == SERVED_KSERVE &&
        (!config.name || strspn(config.name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789-_.") != strlen(config.name)))
        return fail(err, "engine: kserve needs the model's name");
    if (!milliseconds(vg_json_get(engine, "deadlineMs"), 250, 5000, &config.deadline_us) ||
        !milliseconds(vg_json_get(engine, "restMs"), 30000, 3600000, &config.rest_us))
        return fail(err, "engine: deadlineMs is 1 to 5000, restMs 1 to 3600000");
    return served_open(&config, &model->remote, err);
}

static enum vg_status read_settings(struct live_model *model, struct vg_err *err)
{
    static const char *const names[] = {"mode", "units", "elsewhere", "thresholds", "engine"};
    const struct vg_json *thresholds, *engine;
    struct vg_json *root = NULL;
    struct vg_slice text;
    enum vg_status st;
    char path[1100];

    if (model->print.files[2].bytes < 0)
        return VG_OK;
    (void)snprintf(path, sizeof(path), "%s/live.json", model->dir);
    st = vg_file_read(&model->arena, path, 1 << 16, &text, err);
    if (st != VG_OK || vg_json_parse(&model->arena, text, NULL, &root, NULL, err) != VG_OK ||
        !vg_json_is(root, VG_JSON_OBJECT))
        return fail(err, "cannot be read as a JSON object");
    for (const struct vg_json *m = root->child; m; m = m->next) {
        bool is_known = false;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            is_known |= vg_slice_is(m->name, names[i]);
        if (!is_known)
            return fail(err, "a member that is not known");
    }
    if (!mode_of(vg_json_get(root, "mode"), LIVE_FLAG, &model->mode))
        return fail(err, "mode: expected absent, silent, show or flag");
    if (!mode_of(vg_json_get(root, "elsewhere"), LIVE_SILENT, &model->elsewhere))
        return fail(err, "elsewhere: expected absent or silent");
    st = read_units(model, vg_json_get(root, "units"), err);
    thresholds = vg_json_get(root, "thresholds");
    if (st == VG_OK && thresholds &&
        (!vg_json_to_double(vg_json_get(thresholds, "medium"), &model->medium) ||
         !vg_json_to_double(vg_json_get(thresholds, "high"), &model->high)))
        st = fail(err, "thresholds: expected medium and high");
    engine = vg_json_get(root, "engine");
    if (st == VG_OK && engine)
        st = read_engine(model, engine, err);
    return st;
}

/* ---- a folder ---- */

static void take_print(const char *dir, struct live_print *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < 3; i++) {
        struct stat info;
        char path[1100];

        (void)snprintf(path, sizeof(path), "%s/%s", dir, file_names[i]);
        if (stat(path, &info) != 0) {
            ret->files[i].bytes = -1;
            continue;
        }
        ret->files[i].bytes = info.st_size;
        ret->files[i].changed_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
        ret->files[i].node = info.st_ino;
    }
}

static bool print_eq(const struct live_print *a, const struct live_print *b)
{
    for (int i = 0; i < 3; i++) {
        if (a->files[i].bytes != b->files[i].bytes ||
            a->files[i].changed_ns != b->files[i].changed_ns ||
            a->files[i].node != b->files[i].node)
            return false;
    }
    return true;
}

static void model_free(struct live_model *model)
{
    if (!model)
        return;
    model_close(model->model);
    served_close(model->remote);
    vg_arena_fini(&model->arena);
    free(model->rows);
    free(model->probabilities);
    free(model->contributions);
    free(model);
}

static enum vg_status take_digest(struct live_model *model, struct vg_err *err)
{
    struct vg_arena arena;
    char hex[2][65] = {"", ""}, all[65];
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, 2 * MODEL_BYTES_MAX);
    for (int i = 0; i < 2 && st == VG_OK; i++) {
        struct vg_slice content;
        char path[1100];

        if (model->print.files[i].bytes < 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", model->dir, file_names[i]);
        st = vg_file_read(&arena, path, MODEL_BYTES_MAX, &content, err);
        if (st == VG_OK)
            vg_sha256_hex(content, hex[i]);
    }
    if (st == VG_OK) {
        vg_sha256_hex(vg_arena_printf(&arena, "%s%s", hex[0], hex[1]), all);
        memcpy(model->digest, all, 16);
    }
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status read_files(struct live_model *model, int64_t history_max_us,
                                 struct vg_err *err)
{
    const struct model_card *card;
    size_t width;
    struct live_print after;
    enum vg_status st;

    model->medium = model->high = (double)NAN;
    st = read_settings(model, err);
    if (st == VG_OK && model->mode == LIVE_ABSENT)
        return VG_OK;
    if (st == VG_OK)
        st = model->remote ? model_open_card(model->dir, &model->model, err)
                           : model_open(model->dir, &model->model, err);
    if (st == VG_OK)
        st = take_digest(model, err);
    if (st != VG_OK)
        return st;
    if (!open_counters(model))
        return vg_fail(err, VG_REJECT, "score.live", 0,
                       "card.json: name and version are letters, digits, '-', '_' and '.'");
    card = model_card(model->model);
    width = model_features(model->model)->count;
    if (isnan(model->medium)) {
        model->medium = card->medium;
        model->high = card->high;
    }
    if (!(model->medium > 0 && model->medium <= model->high && model->high <= 1))
        return vg_fail(err, VG_REJECT, "score.live", 0,
                       "thresholds: expected 0 < medium <= high <= 1");
    if (history_max_us > 0 && model_features(model->model)->history_us > history_max_us)
        return vg_fail(err, VG_REJECT, "score.live", 0,
                       "it looks back %lld h, windows hold %lld h: score.history, and a restart",
                       (long long)(model_features(model->model)->history_us / VG_HOUR_US),
                       (long long)(history_max_us / VG_HOUR_US));
    model->rows = calloc(LIVE_ROWS_MAX * width + 1, sizeof(*model->rows));
    model->probabilities = calloc(LIVE_ROWS_MAX, sizeof(*model->probabilities));
    model->contributions = calloc(width + 1, sizeof(*model->contributions));
    if (!model->rows || !model->probabilities || !model->contributions)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a model");
    take_print(model->dir, &after);
    if (!print_eq(&model->print, &after))
        return vg_fail(err, VG_RETRY, "score.live", 0, "its files changed while they were read");
    return VG_OK;
}

/* Never fails for the files' sake: then it has no model, and a trouble. */
static struct live_model *read_model(const char *dir, enum live_mode usual, int64_t history_max_us)
{
    struct live_model *model = calloc(1, sizeof(*model));
    struct vg_err err = {0};

    if (!model)
        return NULL;
    (void)snprintf(model->dir, sizeof(model->dir), "%s", dir);
    vg_arena_init(&model->arena, 1 << 20);
    model->mode = usual;
    model->elsewhere = LIVE_SILENT;
    take_print(dir, &model->print);
    if (read_files(model, history_max_us, &err) != VG_OK) {
        (void)snprintf(model->trouble, sizeof(model->trouble), "%s", err.text);
        model_close(model->model);
        model->model = NULL;
    }
    return model;
}

/* ---- folders ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool has_card(const char *dir)
{
    char path[1100];
    struct stat info;

    (void)snprintf(path, sizeof(path), "%s/card.json", dir);
    return stat(path, &info) == 0;
}

enum vg_status live_folders(const char *path, struct live_folders *ret, struct vg_err *err)
{
    enum vg_status st = VG_OK;
    struct dirent *entry;
    DIR *dir;

    memset(ret, 0, sizeof(*ret));
    if (strlen(path) > 700)
        return vg_fail(err, VG_FATAL, "score.model", 0, "the path of the models is too long");
    if (has_card(path)) {
        (void)snprintf(ret->paths[0], sizeof(ret->paths[0]), "%s", path);
        ret->count = 1;
        ret->is_one = true;
        return VG_OK;
    }
    dir = opendir(path);
    if (!dir)
        return vg_fail(err, VG_FATAL, "score.model", errno, "cannot read '%s'", path);
    while (st == VG_OK && (entry = readdir(dir))) {
        char inner[1024];

        if (entry->d_name[0] == '.' ||
            (size_t)snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name) >= sizeof(inner) ||
            !has_card(inner))
            continue;
        if (ret->count == LIVE_MODELS_MAX)
            st = vg_fail(err, VG_FATAL, "score.model", 0, "'%s' holds more than %d models", path,
                         LIVE_MODELS_MAX);
        else
            memcpy(ret->paths[ret->count++], inner, sizeof(inner));
    }
    (void)closedir(dir);
    qsort(ret->paths, ret->count, sizeof(ret->paths[0]), by_text);
    return st;
}

static struct live_model *find(const struct live *live, const char *dir)
{
    for (size_t i = 0; live && i < live->count; i++) {
        if (strcmp(live->items[i]->dir, dir) == 0)
            return live->items[i];
    }
    return NULL;
}

static void refuse_twin(struct live_model *model, const struct live_model *of)
{
    (void)snprintf(model->trouble, sizeof(model->trouble), "the name '%s' is another folder's",
                   model_card(of->model)->name);
    model_close(model->model);
    model->model = NULL;
}

/* Two folders with one name would raise each other's Flags; who was there first stays. */
static void refuse_twins(struct live *live, const struct live *former)
{
    for (size_t i = 1; i < live->count; i++) {
        struct live_model *later = live->items[i];

        for (size_t j = 0; j < i && later->model; j++) {
            struct live_model *sooner = live->items[j];

            if (!sooner->model ||
                strcmp(model_card(later->model)->name, model_card(sooner->model)->name) != 0)
                continue;
            if (find(former, later->dir) == later)
                refuse_twin(sooner, later);
            else
                refuse_twin(later, sooner);
        }
    }
}

enum vg_status live_read(const char *path, const struct live *former, int64_t history_max_us,
                         struct live **ret_live, struct vg_err *err)
{
    struct live *live = calloc(1, sizeof(*live));
    struct live_folders *folders = calloc(1, sizeof(*folders));
    enum vg_status st;

    if (!live || !folders) {
        st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for models");
        goto done;
    }
    st = live_folders(path, folders, err);
    for (size_t i = 0; i < folders->count && st == VG_OK; i++) {
        struct live_model *known = find(former, folders->paths[i]), *made;
        struct live_print print;

        take_print(folders->paths[i], &print);
        if (known && !known->trouble[0] && print_eq(&known->print, &print)) {
            live->items[live->count++] = known;
            continue;
        }
        made = read_model(folders->paths[i], folders->is_one ? LIVE_SHOW : LIVE_SILENT,
                          history_max_us);
        if (!made) {
            st = vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for models");
        } else if (made->trouble[0] && known && known->model) {
            /* What it was stays in force. */
            memcpy(known->trouble, made->trouble, sizeof(known->trouble));
            live->items[live->count++] = known;
            model_free(made);
        } else {
            live->items[live->count++] = made;
        }
    }
    if (st == VG_OK)
        refuse_twins(live, former);
    if (st == VG_OK && folders->is_one && !former && live->items[0]->trouble[0])
        st = vg_fail(err, VG_FATAL, "score.model", 0, "%s", live->items[0]->trouble);
    if (st == VG_OK) {
        *ret_live = live;
        live = NULL;
    }
done:
    live_free(live, former);
    free(folders);
    return st;
}

void live_free(struct live *live, const struct live *kept)
{
    if (!live)
        return;
    for (size_t i = 0; i < live->count; i++) {
        bool is_kept = false;

        for (size_t j = 0; kept && j < kept->count; j++)
            is_kept |= kept->items[j] == live->items[i];
        if (!is_kept)
            model_free(live->items[i]);
    }
    free(live);
}

bool live_trouble(const struct live *live, char out[static 256])
{
    for (size_t i = 0; i < live->count; i++) {
        const char *dir = live->items[i]->dir;

        if (!live->items[i]->trouble[0])
            continue;
        (void)snprintf(out, 256, "%.60s: %.180s", strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir,
                       live->items[i]->trouble);
        return true;
    }
    return false;
}

bool live_has_changed(const char *path, const struct live *live, uint64_t *seen)
{
    struct live_folders *folders = calloc(1, sizeof(*folders));
    struct vg_err err = {0};
    bool has_changed = false;

    *seen = 14695981039346656037u;
    if (folders && live_folders(path, folders, &err) == VG_OK) {
        has_changed = folders->count != live->count;
        for (size_t i = 0; i < folders->count; i++) {
            const struct live_model *known = find(live, folders->paths[i]);
            struct live_print print;
            const unsigned char *bytes = (const unsigned char *)&print;

            take_print(folders->paths[i], &print);
            has_changed |= !known || !print_eq(&known->print, &print);
            for (size_t b = 0; b < sizeof(print); b++)
                *seen = (*seen ^ bytes[b]) * 1099511628211u;
        }
    }
    free(folders);
    return has_changed;
}
