/* reference.h -- what a model's features and probabilities looked like where it was made.
 *
 * reference.json stands beside card.json and model.json. It names the model's version: another
 * version's is not used. Drift is measured against it (watch.c).
 */
#ifndef VG_SCORE_REFERENCE_H
#define VG_SCORE_REFERENCE_H

#include "score/feature.h"
#include "score/judge.h"

/* Cells between deciles: below the smallest value, ten between, beyond the largest. Equal deciles
 * are one edge, so that a value that many rows share has a cell of its own. */
#define BINS_EDGES_MAX 11
#define BINS_CELLS_MAX (BINS_EDGES_MAX + 1)

struct bins {
    size_t edge_count;             /* 0: there was no value; cells: edge_count + 1 */
    float edges[BINS_EDGES_MAX];   /* ascending; a value equal to an edge is above it */
    double shares[BINS_CELLS_MAX]; /* of the values, in each cell; sum 1 */
};

/* Sorts values, which must not hold NaN. */
void bins_make(struct bins *ret, float *values, size_t count);
size_t bins_cell(const struct bins *bins, float value);

/* Population stability index of two distributions over the same cells, given as any positive
 * weights: the sum of (found - expected) * ln(found / expected) over shares; a share below 0.0001
 * counts as 0.0001, so that an empty cell is finite. NaN where one of them is empty. */
double bins_psi(const double *expected, const double *found, size_t cells);

struct reference_feature {
    uint16_t index; /* into features[] */
    double missing; /* share of the rows */
    struct bins bins;
};

struct reference {
    char model[64], version[32];
    int every_hours; /* rows were this far apart */
    int64_t rows, patients;
    struct bins probabilities;
    size_t count;
    struct reference_feature *items; /* in the file's order */
};

struct reference_config {
    const char *model, *version;
    const struct feature_set *features;
    const float *rows;          /* count * features->count */
    const float *probabilities; /* one a row; NaN: not to be counted */
    size_t count;
    size_t all_rows, patients; /* that `rows` are a sample of */
    int every_hours;
    const char *probabilities_of; /* whose they are, in words */
    const struct curves *curves;  /* of the judgement; NULL = none */
};

/* Appends reference.json. VG_RETRY train.memory. */
VG_CHECK enum vg_status reference_write(const struct reference_config *config, struct vg_buf *out,
                                        struct vg_err *err);

/* dir/reference.json. VG_END: there is none. VG_REJECT score.reference: what is wrong with it.
 * reference_fini() in any case. */
VG_CHECK enum vg_status reference_read(const char *dir, struct reference *ret, struct vg_err *err);
void reference_fini(struct reference *reference);

/* The member `curves` of dir/reference.json as it stands there; VG_END: there is none. */
VG_CHECK enum vg_status reference_curves(const char *dir, struct vg_buf *out, struct vg_err *err);

/* Where the item of a feature is; NULL: the reference does not have it. */
const struct reference_feature *reference_find(const struct reference *reference, uint16_t index);

#endif
