/* scored.h -- writes one record of iomt.scored (docs/records.md). */
#ifndef VG_SCORE_SCORED_H
#define VG_SCORE_SCORED_H

#include "score/model.h"
#include "score/patient.h"

/* One evaluation of one patient. */
struct scored {
    const struct patient *patient;
    const char *trigger;       /* "reading", "timer", "late" */
    int64_t as_of_us, now_us;  /* what it speaks of; when it is made */
    const int64_t *expiry_us;  /* one per vital sign */
    const struct news2 *news2; /* NULL: left out */

    struct model *model; /* NULL: left out, and the next three do not matter */
    double probability;
    const float *row;     /* its features */
    float *contributions; /* room for a row and one more */
};

/* Appends the record to `out`. */
VG_CHECK enum vg_status scored_write(const struct scored *scored, struct vg_buf *out,
                                     struct vg_err *err);

#endif
