/* watch_int.h -- what the parts of watching share. Private to watch*.c. */
#ifndef VG_SCORE_WATCH_INT_H
#define VG_SCORE_WATCH_INT_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "lake/lake.h"
#include "score/judge.h"
#include "score/live.h"
#include "score/reference.h"
#include "score/watch.h"

#define WATCH_LEVEL 0.1  /* a PSI that is worth a look */
#define DRIFT_LEVEL 0.25 /* and one that speaks of other patients or other devices */
#define WATCH_DAYS_MAX 366
#define WATCH_FEATURE_PATIENTS_MAX 200 /* whose features are computed again */
#define WATCH_SCORE_PATIENTS_MAX 400
#define WATCH_OUTCOME_PATIENTS_MAX 5000 /* of a file's; more: a sample */
#define EVENTS_MIN 20                   /* with fewer outcomes calibration is not judged */
#define EVENTS_FOR_SLOPE 100            /* with fewer only the intercept is proposed */

struct watch_run {
    const struct watch_config *config;
    const struct vg_clock *clock;
    struct lake *lake;
    int64_t now_us, from_us, began_us; /* began: monotonic */
    bool was_cut;                      /* the time was over before all was looked at */
};

/* False: the caller wants an end, or that share of the time is over. */
bool watch_goes_on(struct watch_run *run, int64_t share_percent);
bool watch_is_ended(const struct watch_run *run); /* the caller wants an end */

/* ---- features, from the lake's readings ---- */

struct watch_cells {
    double cells[BINS_CELLS_MAX];
    double missing;
};

/* What one model's features are found to be. */
struct watch_features {
    const struct feature_set *set;
    const struct reference *reference;      /* NULL: there is none to compare with */
    const struct reference_feature **items; /* one a feature; NULL: not in the reference */
    struct watch_cells *found;              /* one a feature */
    size_t rows, patients;
};

/* Fills `found` of each from a sample of the patients. *ret_patients: of how many it is a sample.
 * Ends early, without an error, when watch_goes_on() says so. */
VG_CHECK enum vg_status watch_read_features(struct watch_run *run, struct watch_features *models,
                                            size_t count, size_t *ret_patients, struct vg_err *err);

/* ---- probabilities, from the lake's scores ---- */

/* One patient's last probability of each hour, in order of time. */
struct watch_scores {
    const char *patient;
    const int64_t *hours; /* since 1970 */
    const double *probabilities;
    size_t count;
};

struct watch_scores_query {
    const char *model, *version;
    int64_t from_us, to_us;
    const char *filter; /* SQL on the patient; "true" */
};

VG_CHECK enum vg_status watch_read_scores(
    struct watch_run *run, const struct watch_scores_query *query,
    enum vg_status (*fn)(void *ctx, const struct watch_scores *scores, struct vg_err *err),
    void *ctx, struct vg_err *err);
VG_CHECK enum vg_status watch_count_patients(struct watch_run *run, size_t *ret,
                                             struct vg_err *err);

/* ---- outcomes ---- */

struct watch_outcome {
    int64_t time_us;
    bool has_happened; /* at time_us; else it was known not to have by then */
};

/* DIR/outcomes-NAME.csv, one patient after the other. VG_END: no file. VG_REJECT score.outcomes. */
struct watch_outcomes {
    struct vg_arena arena;
    struct vg_map by_patient; /* struct watch_outcome */
    size_t events;
};
VG_CHECK enum vg_status outcomes_read(const char *path, struct watch_outcomes *ret,
                                      struct vg_err *err); /* outcomes_fini() in any case */
void outcomes_fini(struct watch_outcomes *outcomes);
/* 1, 0, or -1 where the row cannot be judged. */
int outcomes_label(const struct watch_outcome *outcome, int64_t row_us, int64_t horizon_us,
                   bool is_by_patient);

/* ---- calibration ---- */

struct watch_calibration {
    struct figures figures;
    struct curve curve;                 /* ten groups: mean expected, observed */
    double expected_low, expected_high; /* of expected to observed, 95 of 100 samples of patients */
    double shift;                       /* the intercept that is right when the slope stays 1 */
    size_t listed, events; /* patients with an outcome file's line that had scores; those with 1 */
};

VG_CHECK enum vg_status watch_calibrate(struct watch_run *run, const struct live_model *model,
                                        const struct watch_outcomes *outcomes,
                                        struct watch_calibration *ret, struct vg_err *err);

/* ---- recalibration ---- */

/* The document: what is found, and which numbers the card would get. */
void proposal_write(const struct live_model *model, const struct watch_calibration *found,
                    int64_t now_us, struct vg_json_writer *w);
/* Why none is made; NULL: one is. */
const char *proposal_why_not(const struct live_model *model, const struct watch_calibration *found);

/* ---- files ---- */

/* DIR/KIND-NAME.END in `arena`; NULL when NAME is none of a model's. */
const char *watch_path(struct vg_arena *arena, const struct watch_config *config, const char *kind,
                       struct vg_slice name, const char *end);
/* The model called `name` among those in the folder; NULL: none. */
struct live_model *watch_find(const struct live *live, struct vg_slice name);

#endif
