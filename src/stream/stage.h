/* stage.h -- the loop that every stage runs in: read a batch, process it, commit.
 *
 *     read batch -> process(batch, out) -> commit(out records, consumer offset) as one atom
 *
 * One thread per stage and partition. process() may be called again with the same records after a
 * crash or a VG_RETRY: its effects outside the stream (FHIR, SQL, files) must be idempotent.
 */
#ifndef VG_STREAM_STAGE_H
#define VG_STREAM_STAGE_H

#include "stream/stream.h"

/* What a stage is. Callbacks run in the stage's thread only. */
struct stage_ops {
    const char *name;     /* consumer group, thread name, metric label: at most 15 characters */
    unsigned steps[4];    /* the picture's steps that a committed batch completes, 0-ended */
    unsigned output_step; /* 0, or the step counted by records put out (6, 8, 12) */
    enum stream_topic input;
    size_t batch_count_max; /* 0 = 1,024 */

    /* VG_OK: commit everything given so far. VG_END: taken, but only into memory: what was put out
     * is committed without the offset, the next batch follows, and a later VG_OK of process() or
     * tick() moves the offset over all of it (after a crash the held records come again). VG_RETRY:
     * `out` is dropped, back off (10 ms doubling to 5 s), same batch again. VG_FATAL: the stage
     * stops and says so. A record that can never work is put to STREAM_DEADLETTER by
     * stage_deadletter(); process() then goes on with the next. */
    enum vg_status (*process)(void *self, const struct stream_batch *batch, struct stream_out *out,
                              struct vg_err *err);

    /* May be NULL. Called before the first process() for every record between what the stage asked
     * for in restore_from and its committed offset, to rebuild state; puts out nothing. */
    enum vg_status (*restore)(void *self, const struct stream_batch *batch, struct vg_err *err);
    uint64_t (*restore_from)(void *self, uint64_t committed_seq); /* NULL = nothing to restore */
    /* May be NULL. After restore(): every record of `output` that the journal keeps of the
     * partition, for what the stage has put out without an input record (a timer's). */
    enum stream_topic output;
    enum vg_status (*restore_output)(void *self, const struct stream_batch *batch,
                                     struct vg_err *err);
    void (*restored)(void *self); /* may be NULL; once, after that, also when there was nothing */

    /* May be NULL. The first sequence number that the stage's own store (SQL, lake, archive) does
     * not hold yet. One beyond the stream's end means that the stream's folder is older than that
     * store: new records would be skipped as known, so stage_start() refuses. */
    enum vg_status (*position)(void *self, uint64_t *ret_next_seq, struct vg_err *err);

    /* May be NULL. After a commit was durable; and every tick_us even without records. */
    void (*committed)(void *self, uint64_t next_seq);
    enum vg_status (*tick)(void *self, int64_t now_us, struct stream_out *out, struct vg_err *err);
    int64_t tick_us; /* 0 = no ticks */
};

struct stage;

struct stage_config {
    const struct stage_ops *ops;
    void *self;
    struct stream *stream;
    uint32_t partition;
    const struct vg_clock *clock; /* NULL = system */
};

/* VG_REJECT stage.position: see position() above. */
VG_CHECK enum vg_status stage_start(const struct stage_config *config, struct stage **ret_stage,
                                    struct vg_err *err);
/* Asks the thread to end after its batch, waits for it, frees. NULL is fine. */
void stage_stop(struct stage *stage);

/* "" while it runs; else why it stopped or waits: shown by /api/health and the board. Any thread.
 */
void stage_trouble(struct stage *stage, char out[static 256]);

/* The dead letter of one record (docs/records.md, iomt.deadletter): reason, text, source topic,
 * partition, seq, time, key and the value. */
void stage_deadletter(struct stream_out *out, enum stream_topic topic, uint32_t partition,
                      const struct stream_record *record, const char *stage,
                      const struct vg_err *why);

#endif
