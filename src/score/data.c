/* data.c -- sends recorded patients through the live window, row by row.
 *
 * MEMORY. Training keeps every feature, 4 bytes each: 1.2 million rows of 200 are 1 GB. Evaluation
 * keeps 32 bytes a row.
 */
#include "score/data.h"

#include "score/gate.h"

#include <math.h>
#include <stdlib.h>

#define ROWS_MAX ((size_t)20 * 1000 * 1000)
#define BLOCK_ROWS 2048

const char *const data_rule_names[DATA_RULES] = {"NEWS2", "MEWS", "qSOFA", "SIRS"};

struct reader {
    const struct data_config *config;
    struct data *data;
    struct window window;
    struct gate_view view; /* of the window, as scores see it */
    int64_t expiry_us[SCORE_VITAL_COUNT];
    float *block; /* BLOCK_ROWS rows, when they are not kept */
    size_t block_count;
};

/* Room for one more. False: no memory; what is there stays. */
static bool resize(void *array, size_t count, size_t size_bytes)
{
    void *grown = realloc(*(void **)array, count * size_bytes);

    if (grown)
        *(void **)array = grown;
    return grown != NULL;
}

static bool grow(struct data *data, bool keeps_rows)
{
    size_t more = data->capacity ? data->capacity + data->capacity / 2 : 4096;
    bool is_ok = true;

    if (data->count < data->capacity)
        return true;
    if (keeps_rows)
        is_ok = resize(&data->rows, more * data->width, sizeof(*data->rows));
    is_ok = is_ok && resize(&data->labels, more, sizeof(*data->labels)) &&
            resize(&data->hours, more, sizeof(*data->hours));
    for (int r = 0; r < DATA_RULES; r++)
        is_ok = is_ok && resize(&data->rules[r], more, sizeof(float));
    if (is_ok)
        data->capacity = more;
    return is_ok;
}

static bool grow_patients(struct data *data)
{
    size_t more = data->patient_capacity ? data->patient_capacity * 2 : 256;

    if (data->patient_count < data->patient_capacity)
        return true;
    if (!resize(&data->patients, more, sizeof(*data->patients)))
        return false;
    data->patient_capacity = more;
    return true;
}

void data_fini(struct data *data)
{
    free(data->rows);
    free(data->labels);
    free(data->hours);
    for (int r = 0; r < DATA_RULES; r++)
        free(data->rules[r]);
    free(data->patients);
    memset(data, 0, sizeof(*data));
}

static enum vg_status flush(struct reader *reader, struct vg_err *err)
{
    size_t count = reader->block_count;

    reader->block_count = 0;
    if (count == 0 || !reader->config->on_block)
        return VG_OK;
    return reader->config->on_block(reader->config->ctx, reader->block, reader->data->count - count,
                                    count, err);
}

static void score_rules(struct reader *reader, int64_t as_of_us)
{
    struct data *data = reader->data;
    double values[SIGNAL_COUNT];

    feature_current(&reader->view.window, reader->expiry_us, as_of_us, values);
    data->rules[DATA_NEWS2][data->count] =
        (float)window_news2(&reader->view.window, reader->expiry_us, 1, as_of_us).low;
    data->rules[DATA_MEWS][data->count] = (float)rule_score(&rules[RULE_MEWS], values).low;
    data->rules[DATA_QSOFA][data->count] = (float)rule_score(&rules[RULE_QSOFA], values).low;
    data->rules[DATA_SIRS][data->count] = (float)rule_score(&rules[RULE_SIRS], values).low;
}

/* One hour of one patient goes through the live window, then becomes a row. */
static enum vg_status take_row(struct reader *reader, const struct source_row *row,
                               struct vg_err *err)
{
    const struct data_config *config = reader->config;
    struct data *data = reader->data;
    struct feature_patient facts = {row->age_years, row->sex};
    struct data_patient *patient;
    float *features_of_row;
    enum vg_status st;

    if (row->is_new_patient) {
        if (!grow_patients(data))
            return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for patients");
        patient = &data->patients[data->patient_count++];
        *patient = (struct data_patient){.hospital = row->hospital,
                                         .age_years = row->age_years,
                                         .sex = row->sex,
                                         .first = data->count};
        memcpy(patient->id, row->patient, sizeof(patient->id));
        window_fini(&reader->window);
        window_init(&reader->window, config->features->history_us);
    }
    for (size_t i = 0; i < row->reading_count; i++) {
        if (gate_reading(row->readings, row->reading_count, i) != GATE_OK)
            continue;
        st = window_add(&reader->window, &row->readings[i], err);

        if (st != VG_OK && st != VG_END)
            return st;
    }
    if (config->is_training && row->hour % data->format->train_every_hours != 0)
        return VG_OK;
    if (data->count == ROWS_MAX)
        return vg_fail(err, VG_REJECT, "train.rows", 0, "more than %zu rows", ROWS_MAX);
    if (!grow(data, config->is_training))
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for %zu rows", data->count + 1);
    st = gate_look(&reader->view, &reader->window, err);
    if (st != VG_OK)
        return st;
    features_of_row = config->is_training ? data->rows + data->count * data->width
                                          : reader->block + reader->block_count++ * data->width;
    feature_fill(config->features, &reader->view.window, &facts, reader->expiry_us, row->time_us,
                 features_of_row);
    score_rules(reader, row->time_us);
    data->labels[data->count] = row->label ? 1 : 0;
    data->hours[data->count] = (int32_t)row->hour;
    data->has_labels &= row->has_label;
    data->patients[data->patient_count - 1].count++;
    data->count++;
    return reader->block_count == BLOCK_ROWS ? flush(reader, err) : VG_OK;
}

enum vg_status data_read(const struct data_config *config, struct data *ret_data,
                         struct vg_err *err)
{
    struct reader reader = {.config = config, .data = ret_data};
    struct source *source = NULL;
    struct source_row row;
    enum vg_status st;
    size_t row_count = 0;

    memset(ret_data, 0, sizeof(*ret_data));
    ret_data->width = config->features->count;
    ret_data->has_labels = true;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        reader.expiry_us[v] = vitals[v].expiry_us;
    window_init(&reader.window, config->features->history_us);
    gate_view_init(&reader.view);
    reader.block =
        config->is_training ? NULL : malloc(BLOCK_ROWS * ret_data->width * sizeof(*reader.block));
    st = source_open(&config->source, &source, err);
    if (st == VG_OK && !config->is_training && !reader.block)
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for a block of rows");
    if (st == VG_OK)
        ret_data->format = source_format_of(config->source.format);
    while (st == VG_OK && (st = source_next(source, &row, err)) == VG_OK) {
        st = take_row(&reader, &row, err);
        if (st == VG_OK && ++row_count % 2048 == 0 && config->progress)
            config->progress(config->progress_ctx, 0.99 * source_done(source));
    }
    if (st == VG_END)
        st = flush(&reader, err);
    if (st == VG_OK && config->progress)
        config->progress(config->progress_ctx, 1);
    source_close(source);
    window_fini(&reader.window);
    gate_view_fini(&reader.view);
    free(reader.block);
    return st;
}
