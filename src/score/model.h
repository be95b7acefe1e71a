/* model.h -- a gradient-boosted model (XGBoost) and its card. */
#ifndef VG_SCORE_MODEL_H
#define VG_SCORE_MODEL_H

#include "score/feature.h"

struct model;

/* What of the card scoring needs. */
struct model_card {
    char name[64], version[32];
    double horizon_hours;
    double slope, intercept; /* probability = logistic(slope * margin + intercept) */
    double medium, high;     /* a band begins at this probability */
    double operating;        /* where `vigil evaluate` says alert; see the card */
};

/* Reads dir/card.json and dir/model.json. VG_FATAL score.model: missing, damaged, or made for
 * features that this program does not have. One model belongs to one thread at a time. */
VG_CHECK enum vg_status model_open(const char *dir, struct model **ret_model, struct vg_err *err);
/* The card alone, for a model that another process runs: model_predict() and model_contributions()
 * are not to be called. */
VG_CHECK enum vg_status model_open_card(const char *dir, struct model **ret_model,
                                        struct vg_err *err);
void model_close(struct model *model); /* NULL is fine */

const struct model_card *model_card(const struct model *model);
const struct feature_set *model_features(const struct model *model);
struct vg_slice
model_card_text(const struct model *model); /* the file, lives as long as the model */

/* rows: count times model_features()->count, NaN = missing; one call for all of a batch.
 * ret_margins: log-odds before calibration, may be NULL. */
VG_CHECK enum vg_status model_predict(struct model *model, const float *rows, size_t count,
                                      double *ret_probabilities, float *ret_margins,
                                      struct vg_err *err);
const char *model_band(const struct model *model, double probability);

/* What each feature adds to the margin (SHAP); the last of features + 1 is the base. About a
 * hundred times the price of a prediction: only for what somebody will look at. */
VG_CHECK enum vg_status model_contributions(struct model *model, const float *row, float *ret,
                                            struct vg_err *err);

#endif
