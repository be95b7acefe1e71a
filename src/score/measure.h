/* measure.h -- how well scores rank and how true probabilities are. Used to train and to evaluate.
 */
#ifndef VG_SCORE_MEASURE_H
#define VG_SCORE_MEASURE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Area under the ROC curve, ties counted half; NaN when a class is missing. False: no memory. */
VG_CHECK bool measure_auroc(const float *scores, const float *labels, size_t count, double *ret);
/* Average precision: the step-wise area under precision over recall, ties as one step. */
VG_CHECK bool measure_average_precision(const float *scores, const float *labels, size_t count,
                                        double *ret);

/* Platt: probability = 1 / (1 + exp(-(slope * margin + intercept))), by Newton's method. */
void measure_platt(const float *margins, const float *labels, size_t count, double *ret_slope,
                   double *ret_intercept);
double measure_logistic(double x);

#endif
