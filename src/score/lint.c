/* lint.c -- the two checks of a model's features before it is trained. */
#include "score/lint.h"

#include <math.h>

#define ROWS_LEAST 12
#define PATIENTS_LEAST 30

/* 1: rises with the stay; 0: does not; -1: too few rows. */
static int rises(const struct data *data, const struct data_patient *patient, size_t feature)
{
    size_t known = 0, rose = 0;
    float before = NAN;

    for (size_t i = patient->first; i < patient->first + patient->count; i++) {
        float value = data->rows[i * data->width + feature];

        if (isnan(value))
            continue;
        if (known > 0 && value < before)
            return 0;
        rose += known > 0 && value > before;
        known++;
        before = value;
    }
    if (known < ROWS_LEAST)
        return -1;
    return 2 * rose >= known - 1;
}

void lint_rising(const struct data *data, double *ret)
{
    for (size_t f = 0; f < data->width; f++) {
        size_t looked = 0, rising = 0;

        for (size_t p = 0; p < data->patient_count; p++) {
            int answer = rises(data, &data->patients[p], f);

            looked += answer >= 0;
            rising += answer == 1;
        }
        ret[f] = looked >= PATIENTS_LEAST ? (double)rising / (double)looked : (double)NAN;
    }
}

enum vg_status lint_features(const struct feature_set *set, const struct data *data,
                             struct vg_err *err)
{
    double rising[FEATURES_MAX];
    struct vg_buf list;
    size_t refused = 0;
    enum vg_status st = VG_OK;

    for (size_t f = 0; f < set->count; f++) {
        const struct feature *feature = &features[set->index[f]];
        const struct feature_function_info *info = &feature_functions[feature->function];

        if (info->knows_the_future || info->knows_the_stay)
            return vg_fail(err, VG_REJECT, "train.lint", 0, "'%s' knows %s", feature->name,
                           info->knows_the_future ? "the future" : "how long the stay has been");
    }
    if (!data)
        return VG_OK;
    lint_rising(data, rising);
    vg_buf_init(&list, 4096);
    for (size_t f = 0; f < set->count; f++) {
        if (!(rising[f] > LINT_RISING_MAX))
            continue;
        if (refused < 6)
            vg_buf_printf(&list, "%s%s", refused ? ", " : "", features[set->index[f]].name);
        refused++;
    }
    if (refused > 0)
        st = vg_fail(err, VG_REJECT, "train.lint", 0,
                     "%zu features only rise in more than %.0f of 100 patients, so they tell how "
                     "long the stay has been: %.*s",
                     refused, LINT_RISING_MAX * 100, VG_FMT(vg_buf_slice(&list)));
    vg_buf_fini(&list);
    return st;
}
