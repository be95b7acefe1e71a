/* score_int.h -- what the files of the live stage share. Private to src/score. */
#ifndef VG_SCORE_SCORE_INT_H
#define VG_SCORE_SCORE_INT_H

#include "base/metrics.h"
#include "score/live.h"
#include "score/patient.h"
#include "score/score.h"

#include <pthread.h>

#define TRACES_MAX 64
#define BATCH_MAX 4096
#define HEADER_TIMER "timer" /* of a record that a timer made; its time is what it speaks of */
#define HEADER_ROW "row."    /* and a model's name: the features to ask its server about */

struct score {
    struct score_config config;
    const struct vg_clock *clock;
    int64_t history_max_us; /* of the configured and of every model's */
    struct stage_ops ops;
    struct vg_metric *used, *future, *old, *not_understood, *dropped, *patient_count;
    struct vg_metric *rejected[GATE_REASON_COUNT], *reloads, *fallbacks;

    pthread_mutex_t reload_lock; /* one at a time; taken before the others */
    uint64_t disk_seen, disk_tried;
    pthread_mutex_t remote_lock; /* whoever asks another process holds it; taken before `lock` */

    pthread_mutex_t lock; /* guards what follows */
    struct patients patients;
    struct live *live; /* never NULL; replaced under all three locks */
    struct gate_view view;
    uint32_t restored; /* partitions */
    int64_t opened_us; /* monotonic */
};

/* A patient in the batch at hand. */
struct touched {
    struct patient *patient;
    bool has_timely; /* some reading was not late */
    unsigned trace_count;
    struct vg_slice traces[TRACES_MAX];
};

struct score_stage {
    struct score *score;
    uint32_t partition;
    bool is_restored;
    struct vg_arena parse, batch; /* dies with a record; with a batch */
    struct touched **touched;     /* BATCH_MAX pointers */
    size_t touched_count;
    struct vg_buf json, headers, text;
};

/* intake.c */

/* Merges one record. is_scored false: the record is from before the restart, nobody scores it.
 * VG_REJECT: it can never be understood. */
VG_CHECK enum vg_status intake_record(struct score_stage *stage, const struct stream_record *record,
                                      bool is_scored, struct vg_err *err);
/* Asks the lake for the past of those in the batch whose window does not reach back. */
void intake_past(struct score_stage *stage);

/* assess.c, both under `lock` */

/* One record for each patient of the batch. */
VG_CHECK enum vg_status assess_touched(struct score_stage *stage, struct stream_out *out,
                                       struct vg_err *err);
/* One for each of the stage's patients of whom a value expired; drops who was silent too long. */
VG_CHECK enum vg_status assess_expired(struct score_stage *stage, int64_t now_us,
                                       struct stream_out *out, struct vg_err *err);
/* Sets when the next value of the patient expires, as of the newest score of it. */
void assess_next_expiry(const struct score *score, struct patient *patient);

/* serving.c */

VG_CHECK enum vg_status serving_open(struct score *score, struct vg_err *err);
void serving_watch(struct score *score); /* reads what changed in the folders, if it stands still */

#endif
