/* measure.c -- discrimination and calibration of scores. */
#include "score/measure.h"

#include <math.h>
#include <stdlib.h>

struct ranked {
    float score;
    float label;
};

static int by_score_down(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

static struct ranked *rank(const float *scores, const float *labels, size_t count)
{
    struct ranked *ranked = malloc((count ? count : 1) * sizeof(*ranked));

    for (size_t i = 0; ranked && i < count; i++)
        ranked[i] = (struct ranked){scores[i], labels[i]};
    if (ranked)
        qsort(ranked, count, sizeof(*ranked), by_score_down);
    return ranked;
}

bool measure_auroc(const float *scores, const float *labels, size_t count, double *ret)
{
    struct ranked *ranked = rank(scores, labels, count);
    double positives = 0, negatives = 0, area = 0;

    if (!ranked)
        return false;
    for (size_t i = 0; i < count;) {
        double tied_positives = 0, tied_negatives = 0;
        size_t start = i;

        for (; i < count && ranked[i].score == ranked[start].score; i++) {
            if (ranked[i].label > 0.5f)
                tied_positives++;
            else
                tied_negatives++;
        }
        area += tied_negatives * (positives + tied_positives / 2);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    *ret = positives > 0 && negatives > 0 ? area / (positives * negatives) : (double)NAN;
    free(ranked);
    return true;
}

bool measure_average_precision(const float *scores, const float *labels, size_t count, double *ret)
{
    struct ranked *ranked = rank(scores, labels, count);
    double positives = 0, seen = 0, sum = 0;

    if (!ranked)
        return false;
    for (size_t i = 0; i < count;) {
        double tied = 0;
        size_t start = i;

        for (; i < count && ranked[i].score == ranked[start].score; i++)
            tied += ranked[i].label > 0.5f;
        seen += (double)(i - start);
        positives += tied;
        sum += tied * positives / seen;
    }
    *ret = positives > 0 ? sum / positives : (double)NAN;
    free(ranked);
    return true;
}

double measure_logistic(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

void measure_platt(const float *margins, const float *labels, size_t count, double *ret_slope,
                   double *ret_intercept)
{
    double slope = 1, intercept = 0;

    for (int round = 0; round < 50; round++) {
        double g0 = 0, g1 = 0, h00 = 1e-9, h01 = 0, h11 = 1e-9, determinant, step_s, step_i;

        for (size_t i = 0; i < count; i++) {
            double x = (double)margins[i];
            double p = measure_logistic(slope * x + intercept);
            double gradient = p - (double)labels[i], weight = p * (1 - p);

            g0 += gradient;
            g1 += gradient * x;
            h00 += weight;
            h01 += weight * x;
            h11 += weight * x * x;
        }
        determinant = h00 * h11 - h01 * h01;
        if (fabs(determinant) < 1e-12)
            break;
        step_s = (h00 * g1 - h01 * g0) / determinant;
        step_i = (h11 * g0 - h01 * g1) / determinant;
        slope -= step_s;
        intercept -= step_i;
        if (fabs(step_s) + fabs(step_i) < 1e-10)
            break;
    }
    *ret_slope = slope;
    *ret_intercept = intercept;
}
