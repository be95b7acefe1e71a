/* judge.h -- what a score is worth on recorded patients. */
#ifndef VG_SCORE_JUDGE_H
#define VG_SCORE_JUDGE_H

#include "score/data.h"

/* A figure, and where it lies in 95 of 100 samples of the patients; NaN = not computed. */
struct figure {
    double value, low, high;
};

/* What a threshold means for the care team. An alert is a row at or above the threshold with none
 * in the patient's 24 h before; it is true when a labelled hour follows within 12 h or has begun.
 */
struct burden {
    struct figure per_100_days, precision, sensitivity;
    double lead_hours; /* median, first true alert to the outcome */
};

struct figures {
    size_t rows, patients, positive_rows, positive_patients;
    struct figure row_auroc, row_precision, patient_auroc;
    struct figure utility;   /* of the rows at or above the threshold; NaN: not this format */
    double slope, intercept; /* calibration: 1 and 0 are right */
    double expected, brier;  /* expected to observed */
    struct burden burden;    /* at the threshold */
};

struct judge_config {
    const struct data *data;
    const float *scores; /* one a row; probabilities when is_probability */
    bool is_probability; /* calibration figures make sense */
    double threshold;
    const uint8_t *keep; /* one a patient; NULL = all */
    uint8_t part;        /* patients whose keep is this */
    unsigned bootstrap;  /* samples; 0 = no intervals */
    uint64_t seed;
};

/* Formats with one outcome for each patient are judged on the patient's last row. VG_RETRY
 * train.memory. */
VG_CHECK enum vg_status judge(const struct judge_config *config, struct figures *ret,
                              struct vg_err *err);

/* The utility of the Challenge of 2019: what predicting and not predicting a row is worth. first is
 * the patient's first labelled row, count when there is none. */
double judge_utility_of(size_t row, size_t first, size_t count, bool is_alert);

/* The threshold at which the utility is largest, on the patients kept; for formats without: at
 * which the smaller of sensitivity and precision of the judged rows is largest. */
VG_CHECK enum vg_status judge_best_threshold(const struct judge_config *config, double *ret,
                                             struct vg_err *err);

/* The lowest threshold whose alerts stay within `wanted` for each 100 patient-days. */
VG_CHECK enum vg_status judge_threshold_for(const struct judge_config *config, double wanted,
                                            double *ret, struct vg_err *err);

/* Points of a curve for the card: x, y. */
struct curve {
    double x[101], y[101];
    size_t count;
};
struct curves {
    struct curve roc, precision, calibration, burden; /* burden: sensitivity over alerts */
};
VG_CHECK enum vg_status judge_curves(const struct judge_config *config, struct curves *ret,
                                     struct vg_err *err);

#endif
