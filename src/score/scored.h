/* scored.h -- writes one record of iomt.scored (docs/records.md). */
#ifndef VG_SCORE_SCORED_H
#define VG_SCORE_SCORED_H

#include "score/gate.h"
#include "score/live.h"
#include "score/patient.h"

/* What one model says. */
struct scored_model {
    struct live_model *live;
    enum live_mode mode;
    double probability; /* NaN: its engine did not answer */
    const float *row;   /* its features */
};

/* One evaluation of one patient. */
struct scored {
    const struct patient *patient;
    const struct gate_view *view; /* of its window */
    const char *trigger;          /* "reading", "timer", "late" */
    int64_t as_of_us, now_us;     /* what it speaks of; when it is made */
    const int64_t *expiry_us;     /* one per vital sign */
    const struct news2 *news2;    /* NULL: left out */
    struct scored_model models[LIVE_MODELS_MAX];
    size_t model_count;
};

/* Appends the record to `out`. */
VG_CHECK enum vg_status scored_write(const struct scored *scored, struct vg_buf *out,
                                     struct vg_err *err);

/* The members engine, probability and band of an entry whose model's server has answered. */
void scored_put_answer(struct vg_json_writer *w, const struct live_model *live, double probability);

#endif
