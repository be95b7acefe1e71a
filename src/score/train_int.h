/* train_int.h -- a training run, shared by train.c, train_folds.c and train_judge.c. */
#ifndef VG_SCORE_TRAIN_INT_H
#define VG_SCORE_TRAIN_INT_H

#include "score/card.h"
#include "score/score.h"

#define TRAIN_PARAMETERS_MAX 32
#define TRAIN_PHASES_MAX (CARD_FOLDS_MAX + 8)

struct trainer {
    const struct score_train_config *config;
    struct card card;
    struct feature_set features;
    struct fit_parameter parameters[TRAIN_PARAMETERS_MAX];
    struct data data;
    uint8_t *part;        /* one a patient */
    uint8_t *fold;        /* one a patient; card.folds: in none */
    float *probabilities; /* one a row, of the judged model */
    float *choosing;      /* one a row: what calibration and thresholds are chosen by, on the */
    uint8_t choose_part;  /* patients of this part */
    const char *phase;
    int64_t phase_start_us, told_us;
    char checkpoints[TRAIN_PHASES_MAX][4096];
    size_t checkpoint_count;
};

/* train.c */
void train_begin(struct trainer *t, const char *phase);
void train_tell(void *ctx, double done); /* ctx: the trainer */
uint64_t train_hash(const char *patient, uint64_t seed);
/* A run on the training patients; name: of its checkpoint, with what else it is in `which`. */
struct fit_config train_fit(struct trainer *t, const char *name, uint64_t which);

/* train_folds.c: sets card.rounds and the margins of the training patients' rows in t->choosing,
 * each by a model that did not see the patient. */
VG_CHECK enum vg_status train_folds(struct trainer *t, struct vg_err *err);
/* Says what each fold was, with the threshold that was chosen. */
VG_CHECK enum vg_status train_folds_judge(struct trainer *t, struct vg_err *err);

/* train_judge.c, in this order. choosing and probabilities hold margins before. */
VG_CHECK enum vg_status train_choose(struct trainer *t, struct vg_err *err);
VG_CHECK enum vg_status train_judge(struct trainer *t, struct vg_err *err);
VG_CHECK enum vg_status train_ablate(struct trainer *t, uint32_t rounds, struct vg_err *err);
VG_CHECK enum vg_status train_transfer(struct trainer *t, uint32_t rounds, struct vg_err *err);

#endif
