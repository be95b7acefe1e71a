/* train_folds.c -- cross-validation by patient: every training patient is judged by a model that
 * did not see it.
 *
 * The seed and the patient's id say which fold a patient is in. Each fold's model stops when it no
 * longer helps its own fold; the number of rounds is then the mean of the folds', and all of them
 * predict with that number. Calibration and thresholds are chosen on these predictions.
 */
#include "score/train_int.h"

#include <stdio.h>

#define STOP_AFTER_ROUNDS 40
#define SEED 0x666f6c64u /* folds are not cut as the parts are */

static enum vg_status deal(struct trainer *t, struct vg_err *err)
{
    const uint32_t folds = t->card.folds;
    size_t rows[CARD_FOLDS_MAX] = {0}, positives[CARD_FOLDS_MAX] = {0};

    for (size_t p = 0; p < t->data.patient_count; p++) {
        const struct data_patient *patient = &t->data.patients[p];

        t->fold[p] = (uint8_t)folds;
        if (t->part[p] != PART_TRAIN)
            continue;
        t->fold[p] = (uint8_t)(train_hash(patient->id, t->card.seed + SEED) % folds);
        rows[t->fold[p]] += patient->count;
        for (size_t i = 0; i < patient->count; i++)
            positives[t->fold[p]] += t->data.labels[patient->first + i] > 0.5f;
    }
    for (uint32_t k = 0; k < folds; k++) {
        if (positives[k] == 0 || positives[k] == rows[k])
            return vg_fail(err, VG_REJECT, "train.folds", 0,
                           "fold %u of %u needs rows of both labels: fewer folds or more patients "
                           "are needed",
                           k + 1, folds);
    }
    return VG_OK;
}

enum vg_status train_folds(struct trainer *t, struct vg_err *err)
{
    const uint32_t folds = t->card.folds;
    struct fit fits[CARD_FOLDS_MAX] = {{0}};
    struct fit_config config = {0};
    uint32_t rounds = 0;
    enum vg_status st = deal(t, err);

    for (uint32_t k = 0; k < folds && st == VG_OK; k++) {
        char name[24];

        (void)snprintf(name, sizeof(name), "fold-%u", k + 1);
        config = train_fit(t, name, 16 + ((uint64_t)folds << 8) + k);
        config.part = t->fold;
        config.train_parts = ((1u << folds) - 1) & ~(1u << k);
        config.stop_part = k;
        config.stop_after = STOP_AFTER_ROUNDS;
        config.keeps_all = true;
        train_begin(t, name);
        st = fit_run(&config, &fits[k], err);
        t->card.fold[k].rounds = fits[k].best;
        rounds += fits[k].best;
    }
    t->card.rounds = (rounds + folds / 2) / folds;
    for (uint32_t k = 0; k < folds && st == VG_OK; k++)
        st = fit_margins(&fits[k], &config, 1u << k, t->card.rounds, t->choosing, err);
    for (uint32_t k = 0; k < folds; k++)
        fit_fini(&fits[k]);
    return st;
}

enum vg_status train_folds_judge(struct trainer *t, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    for (uint32_t k = 0; k < t->card.folds && st == VG_OK; k++) {
        const struct judge_config config = {.data = &t->data,
                                            .scores = t->choosing,
                                            .is_probability = true,
                                            .threshold = t->card.operating,
                                            .keep = t->fold,
                                            .part = (uint8_t)k};

        st = judge(&config, &t->card.fold[k].figures, err);
    }
    return st;
}
