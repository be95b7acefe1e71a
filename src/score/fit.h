/* fit.h -- one run of XGBoost on some of the patients. */
#ifndef VG_SCORE_FIT_H
#define VG_SCORE_FIT_H

#include "score/data.h"

#include <xgboost/c_api.h>

struct fit_parameter {
    const char *name, *value;
};

struct fit_config {
    const struct data *data;
    const struct feature_set *features;
    const uint8_t *part;             /* one a patient */
    uint32_t train_parts, stop_part; /* bit set of parts to learn from; the part that says when to
                                        stop, or FIT_NO_PART: all rounds */
    const bool *masked;              /* one a feature: never seen; NULL = none */
    const struct fit_parameter *parameters;
    size_t parameter_count;
    uint32_t negative_percent;       /* of the rows to learn from with label 0; 0 = all */
    uint32_t rounds_max, stop_after; /* rounds without gain; 0 = never */
    bool keeps_all;                  /* rounds after the best too */
    uint64_t seed;
    uint32_t threads;
    const char *checkpoint;     /* file that a stopped run continues from; NULL = none */
    uint32_t checkpoint_rounds; /* 0 = 100; part of what makes the same model */
    uint64_t key;               /* of what makes the run the same run */
    void (*progress)(void *ctx, double done);
    void *progress_ctx;
};
#define FIT_NO_PART UINT32_MAX

struct fit {
    BoosterHandle booster;
    uint32_t rounds; /* kept: up to the best */
    uint32_t best;
    double auc; /* on stop_part; NaN */
};

VG_CHECK enum vg_status fit_run(const struct fit_config *config, struct fit *ret_fit,
                                struct vg_err *err);
void fit_fini(struct fit *fit);

/* Margins (log-odds) of the rows of these parts (bit set), by the first rounds (0 = all); margins:
 * data->count, those of other rows stay as they are. */
VG_CHECK enum vg_status fit_margins(const struct fit *fit, const struct fit_config *config,
                                    uint32_t parts, uint32_t rounds, float *margins,
                                    struct vg_err *err);
#define FIT_ALL_PARTS UINT32_MAX

#endif
