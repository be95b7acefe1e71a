/* watch.h -- watching the models: do they still see what they were made for, and are they right?
 *
 * Comes from: the lake (enriched, scored), reference.json beside each model, outcomes that the
 * hospital gave. Goes to: one document per model in `dir` (docs/api.md), metrics, a proposal.
 * Promise: it reads, measures and proposes. It changes no model: watch_apply() is a person's
 * command.
 *
 * A run opens a lake handle of its own, so that nobody who writes or scores waits for it.
 */
#ifndef VG_SCORE_WATCH_H
#define VG_SCORE_WATCH_H

#include "base/buf.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct watch_config {
    const char *model_dir; /* as score_config's */
    const char *lake_engine, *lake_dir;
    const char *dir;                  /* results, outcomes and proposals; made when missing */
    int64_t period_us;                /* that drift is measured over, up to now */
    int64_t outcome_period_us;        /* that outcomes are looked up in */
    int64_t budget_us;                /* a run stops after it and says how far it came */
    uint32_t hours_min, patients_min; /* with fewer nothing is concluded */
    const struct vg_clock *clock;     /* NULL = system */
    bool (*go_on)(void *ctx);         /* asked between two pieces of work; may be NULL */
    void *ctx;
};

/* One run over all models. Any thread, one run at a time in a folder (the caller's care). VG_END:
 * nothing was scored within the period, or go_on said no: the last results stay. VG_RETRY,
 * VG_REJECT: told; models before the trouble have their new results. */
VG_CHECK enum vg_status watch_run(const struct watch_config *config, struct vg_err *err);

/* When the last run was; 0: never. */
int64_t watch_last_us(const struct watch_config *config);

/* Sets the metrics from the last results: after a start. */
void watch_publish(const struct watch_config *config);

/* {"name","curves":…,"result":…,"proposal":…} of a model (docs/api.md). VG_END: no such model. */
VG_CHECK enum vg_status watch_write(const struct watch_config *config, struct vg_slice name,
                                    struct vg_buf *out, struct vg_err *err);

/* The last results as lines for a terminal. */
void watch_print(const struct watch_config *config, struct vg_buf *out);

/* ---- outcomes ---- */

struct watch_outcomes_count {
    size_t patients, events;
};

/* Checks a file of outcomes (`patient,time,outcome`, docs/running-models.md) and puts it in the
 * place of the model's former one. VG_REJECT score.outcomes: its line and what is wrong. */
VG_CHECK enum vg_status watch_outcomes(const struct watch_config *config, const char *name,
                                       const char *path, struct watch_outcomes_count *ret,
                                       struct vg_err *err);

/* ---- recalibration ---- */

/* The proposal of the last run as text. VG_END: none was made. */
VG_CHECK enum vg_status watch_proposal(const struct watch_config *config, const char *name,
                                       struct vg_buf *out, struct vg_err *err);

/* Changes the model's card as the proposal says, under a new version; what it was stays beside it
 * (card-VERSION.json). VG_END: no proposal. VG_REJECT score.proposal: the model is not any more
 * what the proposal was made for. `who` goes into the card; *out gets the new version. */
VG_CHECK enum vg_status watch_apply(const struct watch_config *config, const char *name,
                                    const char *who, struct vg_buf *out, struct vg_err *err);

/* ---- the reference of a model that was trained without one ---- */

struct watch_reference_config {
    const char *model_dir; /* one model's folder: gets reference.json */
    const char *format;    /* of the records it was trained on; as for training */
    const char *const *files;
    size_t file_count;
    const char *outcomes;
};

/* VG_REJECT train.*; VG_FATAL score.model. */
VG_CHECK enum vg_status watch_reference(const struct watch_reference_config *config,
                                        struct vg_err *err);

#endif
