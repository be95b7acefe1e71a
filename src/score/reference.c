/* reference.c -- the distributions that a model was made on, as a file.
 *
 *   {"form":1,"model":"sepsis-vitals","version":"2","everyHours":1,"rows":875033,"patients":22725,
 *    "probabilities":{"of":"…","edges":[…],"shares":[…]},
 *    "features":[{"name":"respiration_last","missing":0.12,"edges":[…],"shares":[…]}, …],
 *    "curves":{"roc":[[x,y], …],"precision":…,"calibration":…,"burden":…}}
 *
 * No patient is in it: shares of thousands of rows. Rows are kept as they come up to SAMPLE_ROWS;
 * beyond, every second, fourth, … row, so that a file of any length fits.
 */
#include "score/reference.h"

#include "base/file.h"
#include "base/json.h"
#include "score/model.h"
#include "score/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX ((size_t)4 << 20)
#define SAMPLE_ROWS ((size_t)1 << 17)
#define SHARE_MIN 0.0001

/* ---- cells ---- */

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void add_edge(struct bins *bins, float edge)
{
    if (bins->edge_count == 0 || edge > bins->edges[bins->edge_count - 1])
        bins->edges[bins->edge_count++] = edge;
}

void bins_make(struct bins *ret, float *values, size_t count)
{
    *ret = (struct bins){0};
    if (count == 0)
        return;
    qsort(values, count, sizeof(*values), by_size);
    for (size_t decile = 0; decile < 10; decile++)
        add_edge(ret, values[count * decile / 10]);
    add_edge(ret, nextafterf(values[count - 1], INFINITY));
    for (size_t i = 0; i < count; i++)
        ret->shares[bins_cell(ret, values[i])] += 1 / (double)count;
}

size_t bins_cell(const struct bins *bins, float value)
{
    size_t cell = 0;

    while (cell < bins->edge_count && value >= bins->edges[cell])
        cell++;
    return cell;
}

double bins_psi(const double *expected, const double *found, size_t cells)
{
    double expected_sum = 0, found_sum = 0, psi = 0;

    for (size_t i = 0; i < cells; i++) {
        expected_sum += expected[i];
        found_sum += found[i];
    }
    if (!(expected_sum > 0) || !(found_sum > 0))
        return (double)NAN;
    for (size_t i = 0; i < cells; i++) {
        double e = fmax(expected[i] / expected_sum, SHARE_MIN);
        double f = fmax(found[i] / found_sum, SHARE_MIN);

        psi += (f - e) * log(f / e);
    }
    return psi;
}

/* ---- writing ---- */

static void put_number(struct vg_json_writer *w, double value, int digits)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%.*g", digits, value);

    vg_json_put_raw(w, (struct vg_slice){text, (size_t)len});
}

static void put_bins(struct vg_json_writer *w, const struct bins *bins)
{
    vg_json_name(w, "edges");
    vg_json_open_array(w);
    for (size_t i = 0; i < bins->edge_count; i++)
        put_number(w, (double)bins->edges[i], 9); /* 9 digits read back as the same float */
    vg_json_close_array(w);
    vg_json_name(w, "shares");
    vg_json_open_array(w);
    for (size_t i = 0; i <= bins->edge_count; i++)
        put_number(w, bins->shares[i], 6);
    vg_json_close_array(w);
}

static void put_curve(struct vg_json_writer *w, const char *name, const struct curve *curve)
{
    vg_json_name(w, name);
    vg_json_open_array(w);
    for (size_t i = 0; i < curve->count; i++) {
        vg_json_open_array(w);
        put_number(w, curve->x[i], 5);
        put_number(w, curve->y[i], 5);
        vg_json_close_array(w);
    }
    vg_json_close_array(w);
}

static void put_curves(struct vg_json_writer *w, const struct curves *curves)
{
    vg_json_name(w, "curves");
    vg_json_open_object(w);
    put_curve(w, "roc", &curves->roc);
    put_curve(w, "precision", &curves->precision);
    put_curve(w, "calibration", &curves->calibration);
    put_curve(w, "burden", &curves->burden);
    vg_json_close_object(w);
}

enum vg_status reference_write(const struct reference_config *config, struct vg_buf *out,
                               struct vg_err *err)
{
    const size_t width = config->features->count;
    float *column = malloc((config->count + 1) * sizeof(*column));
    struct vg_json_writer w;
    struct bins bins;
    size_t n = 0;

    if (!column)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the reference");
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "form", 1);
    vg_json_member_string(&w, "model", vg_slice_of(config->model));
    vg_json_member_string(&w, "version", vg_slice_of(config->version));
    vg_json_member_i64(&w, "everyHours", config->every_hours);
    vg_json_member_i64(&w, "rows", (int64_t)config->all_rows);
    vg_json_member_i64(&w, "patients", (int64_t)config->patients);

    for (size_t i = 0; i < config->count; i++) {
        if (!isnan(config->probabilities[i]))
            column[n++] = config->probabilities[i];
    }
    bins_make(&bins, column, n);
    vg_json_name(&w, "probabilities");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "of", vg_slice_of(config->probabilities_of));
    put_bins(&w, &bins);
    vg_json_close_object(&w);

    vg_json_name(&w, "features");
    vg_json_open_array(&w);
    for (size_t f = 0; f < width; f++) {
        n = 0;
        for (size_t i = 0; i < config->count; i++) {
            if (!isnan(config->rows[i * width + f]))
                column[n++] = config->rows[i * width + f];
        }
        bins_make(&bins, column, n);
        vg_buf_put_byte(out, '\n');
        vg_json_open_object(&w);
        vg_json_member_string(&w, "name", vg_slice_of(features[config->features->index[f]].name));
        vg_json_name(&w, "missing");
        put_number(&w, config->count ? 1 - (double)n / (double)config->count : 1, 6);
        put_bins(&w, &bins);
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    if (config->curves)
        put_curves(&w, config->curves);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
    free(column);
    return vg_buf_ok(out)
               ? VG_OK
               : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for the reference");
}

/* ---- reading ---- */

static bool read_bins(const struct vg_json *object, struct bins *ret)
{
    const struct vg_json *edges = vg_json_get(object, "edges");
    const struct vg_json *shares = vg_json_get(object, "shares");
    double value;

    if (!vg_json_is(edges, VG_JSON_ARRAY) || !vg_json_is(shares, VG_JSON_ARRAY) ||
        edges->count > BINS_EDGES_MAX || shares->count != edges->count + 1)
        return false;
    for (edges = edges->child; edges; edges = edges->next) {
        if (!vg_json_to_double(edges, &value) ||
            (ret->edge_count > 0 && (float)value <= ret->edges[ret->edge_count - 1]))
            return false;
        ret->edges[ret->edge_count++] = (float)value;
    }
    shares = shares->child;
    for (size_t i = 0; shares; shares = shares->next, i++) {
        if (!vg_json_to_double(shares, &ret->shares[i]) || ret->shares[i] < 0 || ret->shares[i] > 1)
            return false;
    }
    return true;
}

static enum vg_status parse(const char *dir, struct vg_arena *arena, struct vg_json **ret_root,
                            struct vg_err *err)
{
    struct vg_slice text;
    struct vg_err why = {0};
    enum vg_status st;
    char path[4200];

    if ((size_t)snprintf(path, sizeof(path), "%s/reference.json", dir) >= sizeof(path))
        return vg_fail(err, VG_REJECT, "score.reference", 0, "the model's path is too long");
    st = vg_file_read(arena, path, FILE_BYTES_MAX, &text, &why);
    if (st == VG_OK)
        st = vg_json_parse(arena, text, NULL, ret_root, NULL, &why);
    return st == VG_OK || st == VG_END
               ? st
               : vg_fail(err, VG_REJECT, "score.reference", 0, "reference.json: %.120s", why.text);
}

static bool read_items(const struct vg_json *list, struct reference *ret)
{
    if (!vg_json_is(list, VG_JSON_ARRAY) || list->count > FEATURES_MAX)
        return false;
    ret->items = calloc(list->count + 1, sizeof(*ret->items));
    for (list = list->child; list && ret->items; list = list->next) {
        struct reference_feature *item = &ret->items[ret->count];
        size_t index = feature_find(vg_json_get_text(list, "name"));

        if (!vg_json_to_double(vg_json_get(list, "missing"), &item->missing) ||
            !(item->missing >= 0 && item->missing <= 1) || !read_bins(list, &item->bins) ||
            index == feature_count)
            return false;
        item->index = (uint16_t)index;
        ret->count++;
    }
    return ret->items != NULL;
}

enum vg_status reference_read(const char *dir, struct reference *ret, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_json *root = NULL;
    int64_t form = 0, every = 0;
    enum vg_status st;

    *ret = (struct reference){0};
    vg_arena_init(&arena, 4 * FILE_BYTES_MAX);
    st = parse(dir, &arena, &root, err);
    if (st == VG_OK &&
        (!vg_json_to_i64(vg_json_get(root, "form"), &form) || form != 1 ||
         !vg_slice_to_cstr(vg_json_get_text(root, "model"), ret->model, sizeof(ret->model)) ||
         !vg_slice_to_cstr(vg_json_get_text(root, "version"), ret->version, sizeof(ret->version)) ||
         !vg_json_to_i64(vg_json_get(root, "everyHours"), &every) || every < 1 || every > 168 ||
         !vg_json_to_i64(vg_json_get(root, "rows"), &ret->rows) ||
         !vg_json_to_i64(vg_json_get(root, "patients"), &ret->patients) ||
         !read_bins(vg_json_get(root, "probabilities"), &ret->probabilities) ||
         !read_items(vg_json_get(root, "features"), ret)))
        st = vg_fail(err, VG_REJECT, "score.reference", 0,
                     "reference.json is not one, or for features that this program does not have");
    ret->every_hours = (int)every;
    vg_arena_fini(&arena);
    return st;
}

void reference_fini(struct reference *reference)
{
    free(reference->items);
    *reference = (struct reference){0};
}

enum vg_status reference_curves(const char *dir, struct vg_buf *out, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_json *root = NULL;
    const struct vg_json *curves;
    enum vg_status st;

    vg_arena_init(&arena, 4 * FILE_BYTES_MAX);
    st = parse(dir, &arena, &root, err);
    curves = vg_json_get(root, "curves");
    if (st == VG_OK && !curves)
        st = VG_END;
    if (st == VG_OK)
        vg_buf_put(out, curves->source);
    vg_arena_fini(&arena);
    return st;
}

const struct reference_feature *reference_find(const struct reference *reference, uint16_t index)
{
    for (size_t i = 0; i < reference->count; i++) {
        if (reference->items[i].index == index)
            return &reference->items[i];
    }
    return NULL;
}

/* ---- for a model that has none ---- */

struct sampler {
    struct model *model;
    size_t width, kept, stride, seen;
    float *rows, *probabilities;
    double *predicted; /* of a block */
    size_t predicted_capacity;
};

static void halve(struct sampler *s)
{
    for (size_t i = 0; i < s->kept / 2; i++) {
        memcpy(s->rows + i * s->width, s->rows + 2 * i * s->width, s->width * sizeof(*s->rows));
        s->probabilities[i] = s->probabilities[2 * i];
    }
    s->kept /= 2;
    s->stride *= 2;
}

static enum vg_status take_block(void *ctx, const float *rows, size_t first, size_t count,
                                 struct vg_err *err)
{
    struct sampler *s = ctx;
    enum vg_status st;

    (void)first;
    if (count > s->predicted_capacity) {
        double *predicted = realloc(s->predicted, count * sizeof(*predicted));

        if (!predicted)
            return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for predictions");
        s->predicted = predicted;
        s->predicted_capacity = count;
    }
    st = model_predict(s->model, rows, count, s->predicted, NULL, err);
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        if (s->kept == SAMPLE_ROWS)
            halve(s);
        if (s->seen++ % s->stride != 0)
            continue;
        memcpy(s->rows + s->kept * s->width, rows + i * s->width, s->width * sizeof(*rows));
        s->probabilities[s->kept++] = (float)s->predicted[i];
    }
    return st;
}

enum vg_status watch_reference(const struct watch_reference_config *config, struct vg_err *err)
{
    struct sampler s = {.stride = 1};
    struct data data = {0};
    struct data_config read = {
        .source = {.format = config->format,
                   .paths = config->files,
                   .path_count = config->file_count,
                   .outcomes = config->outcomes},
        .on_block = take_block,
        .ctx = &s,
    };
    struct reference_config write = {
        .every_hours = 1,
        .probabilities_of = "all rows of the recorded patients, by the model that ships",
    };
    struct vg_buf out;
    char path[4200];
    enum vg_status st = model_open(config->model_dir, &s.model, err);

    vg_buf_init(&out, FILE_BYTES_MAX);
    if (st == VG_OK) {
        read.features = write.features = model_features(s.model);
        s.width = read.features->count;
        s.rows = malloc(SAMPLE_ROWS * s.width * sizeof(*s.rows));
        s.probabilities = malloc(SAMPLE_ROWS * sizeof(*s.probabilities));
        st = s.rows && s.probabilities
                 ? data_read(&read, &data, err)
                 : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for a sample");
    }
    if (st == VG_OK) {
        write.model = model_card(s.model)->name;
        write.version = model_card(s.model)->version;
        write.rows = s.rows;
        write.probabilities = s.probabilities;
        write.count = s.kept;
        write.all_rows = data.count;
        write.patients = data.patient_count;
        st = reference_write(&write, &out, err);
    }
    if (st == VG_OK && (size_t)snprintf(path, sizeof(path), "%s/reference.json",
                                        config->model_dir) >= sizeof(path))
        st = vg_fail(err, VG_REJECT, "score.reference", 0, "the model's path is too long");
    if (st == VG_OK)
        st = vg_file_write(path, vg_buf_slice(&out), 0644, err);
    data_fini(&data);
    model_close(s.model);
    vg_buf_fini(&out);
    free(s.rows);
    free(s.probabilities);
    free(s.predicted);
    return st;
}
