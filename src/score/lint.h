/* lint.h -- refuses features that know what nobody can know at a bedside. */
#ifndef VG_SCORE_LINT_H
#define VG_SCORE_LINT_H

#include "score/data.h"

/* Of the patients with 12 rows or more where a feature is known, the share in whom it never falls
 * and rises at half of the steps or more: near 1 for anything that counts the hours of a stay.
 * ret: one a feature, NaN where too few know it. */
void lint_rising(const struct data *data, double *ret);
#define LINT_RISING_MAX 0.8

/* VG_REJECT train.lint: the first feature whose function is declared to know the future or the
 * stay, or that rises with the stay. data may be NULL: the declared properties alone. */
VG_CHECK enum vg_status lint_features(const struct feature_set *set, const struct data *data,
                                      struct vg_err *err);

#endif
