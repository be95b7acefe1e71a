/* score.h -- STAGE, steps 10 to 12: windows, NEWS2, the model; from iomt.enriched to iomt.scored.
 *
 * Comes from: STREAM_ENRICHED (enrich); the lake, for the past of a patient who is new here (step
 * 11). Goes to:    STREAM_SCORED (alert, capture): one record for each patient and batch, and one
 * when a value expires without a new one (docs/records.md). Promise:    the same records, in
 * whatever batches, leave the same windows; a late reading goes to its place in time, a duplicate
 * changes nothing; a value beyond its expiry is never counted as if it were fresh.
 *
 * One struct score holds the patients of all partitions: a patient's devices may be in several
 * partitions, and a score needs them all. Each partition's stage has a struct score_stage.
 */
#ifndef VG_SCORE_SCORE_H
#define VG_SCORE_SCORE_H

#include "lake/lake.h"
#include "stream/stage.h"

/* The vital signs that are scored, in the order A-B-C-D-E of a bedside chart. */
enum score_vital {
    SCORE_RESPIRATION,
    SCORE_SPO2,
    SCORE_OXYGEN,
    SCORE_SYSTOLIC,
    SCORE_DIASTOLIC,
    SCORE_MEAN_PRESSURE,
    SCORE_PULSE,
    SCORE_CONSCIOUSNESS,
    SCORE_TEMPERATURE,
    SCORE_VITAL_COUNT
};

struct score_config {
    const char *model_dir;       /* a model's folder, or one of such; NULL or "": NEWS2 alone */
    uint32_t partitions;         /* nothing is scored before so many have restored; 0: no waiting */
    struct lake *lake;           /* the past of a patient who is new here; may be NULL */
    int64_t allowed_lateness_us; /* older than this: trigger "late"; further ahead of its receipt
                                  * than this: the device's clock is wrong, not used; 0 = 10 min */
    int64_t expiry_us[SCORE_VITAL_COUNT]; /* 0 = 4 h; temperature and consciousness 6 h */
    int64_t tick_us;                      /* how often expiry is looked at; 0 = 60 s */
    int64_t history_us;                   /* kept per patient, 1 h to 48 h; 0 = 24 h */
    size_t patients_max;                  /* the longest silent goes beyond; 0 = 20,000 */
    const struct vg_clock *clock;         /* NULL = system */
};

struct score;
struct score_stage;

/* Reads the models. A bad one among others is left out (score_trouble()); VG_FATAL score.model when
 * model_dir is a bad model itself, or no folder. The handle outlives its stages; *config is copied,
 * `lake`, `clock` and model_dir's text are borrowed for its life. */
VG_CHECK enum vg_status score_open(const struct score_config *config, struct score **ret_score,
                                   struct vg_err *err);
void score_close(struct score *score); /* NULL is fine */

/* The `self` of one partition's stage, for one thread, with score_stage_ops(score). */
VG_CHECK enum vg_status score_stage_open(struct score *score, uint32_t partition,
                                         struct score_stage **ret_stage, struct vg_err *err);
void score_stage_close(struct score_stage *stage); /* after stage_stop(); NULL is fine */
const struct stage_ops *score_stage_ops(const struct score *score);

/* Models that other processes run: a stage of its own over STREAM_SCORED, whose `self` is another
 * score_stage of the partition. It holds up nobody; its records have trigger "remote". */
const struct stage_ops *score_remote_ops(void);

size_t score_patients(struct score *score); /* any thread */

/* Reads the folders of models again and puts what changed in force between two batches. A folder
 * that cannot be used stays as it was. Any thread. VG_REJECT score.model: what is wrong with one of
 * them; the others are in force. */
VG_CHECK enum vg_status score_reload(struct score *score, struct vg_err *err);

/* {"models":[{"name","version","digest","folder","mode","units","elsewhere","thresholds","engine",
 * "trouble","card":{…}}]}: any thread. */
void score_models_write(struct score *score, bool with_cards, struct vg_buf *out);
/* "" when all are well. Any thread. */
void score_trouble(struct score *score, char out[static 256]);

/* ---- training ---- */

struct score_parameter {
    const char *name, *value;
};

struct score_train_config {
    const char *format;       /* "physionet2019", "physionet2012", "lake" */
    const char *model;        /* a recipe by name; NULL: the first of the format */
    const char *const *files; /* or folders; format lake: the list of patients and outcomes */
    size_t file_count;
    const char *outcomes; /* physionet2012: the file of outcomes; NULL: beside the first file */
    struct lake *lake;    /* format lake */
    const char *out_dir;  /* gets model.json, card.json and card.html */
    const char *features; /* names instead of the recipe's; NULL = the recipe's */
    const struct score_parameter *parameters; /* of XGBoost, over the recipe's */
    size_t parameter_count;
    uint64_t seed;       /* 0 = 1; the same seed and threads give the same bytes */
    uint32_t threads;    /* 0 = 1: they wait for each other, which is slow on a busy machine */
    uint32_t rounds_max; /* trees; 0 = the recipe's; training stops early */
    uint32_t folds;      /* of the cross-validation; 0 = the recipe's; 1 = none: some patients are
                            kept apart for choosing */
    uint32_t checkpoint_rounds; /* what a stopped run may lose; part of the same bytes; 0 = 100.
                                   When set, progress is told of every round */
    bool no_comparisons;        /* no ablation, no transfer between hospitals */
    bool no_refit;              /* ship the judged model, not one of all patients */
    /* From the caller's thread, about twice a second; done is 0 to 1 within the phase, left_us -1
     * while it is not known. May be NULL. */
    void (*progress)(void *ctx, const char *phase, double done, int64_t left_us);
    void *ctx;
};

/* Reads, trains, calibrates, judges, trains on all; writes out_dir's three files; *ret_card (an
 * initialised buffer, may be NULL) gets the card. A run that was stopped goes on where it was.
 * VG_REJECT train.*: what is wrong with the input. */
VG_CHECK enum vg_status score_train(const struct score_train_config *config,
                                    struct vg_buf *ret_card, struct vg_err *err);

/* ---- evaluation ---- */

struct score_evaluate_config {
    const char *format, *model_dir;
    const char *const *files; /* as for training */
    size_t file_count;
    const char *outcomes;
    struct lake *lake;
    const char *predictions; /* a file: patient,hour,probability,alert; NULL = none */
    uint32_t bootstrap;      /* samples for the intervals; 0 = 200; UINT32_MAX = none */
    uint64_t seed;           /* of the samples; 0 = 1 */
    void (*progress)(void *ctx, const char *phase, double done, int64_t left_us);
    void *ctx;
};

/* Runs recorded patients through the live windows and the model. Appends the report as text, or as
 * JSON. Records without outcomes give predictions alone. VG_REJECT train.*; VG_FATAL score.model.
 */
VG_CHECK enum vg_status score_evaluate(const struct score_evaluate_config *config, bool wants_json,
                                       struct vg_buf *out, struct vg_err *err);

/* ---- generated documents ---- */

/* docs/model.md and docs/news2-vectors.json. */
void score_features_markdown(struct vg_buf *out);
void score_news2_vectors(struct vg_buf *out);

#endif
