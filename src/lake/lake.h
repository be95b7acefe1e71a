/* lake.h -- STORE: Delta Lake tables on Parquet, for scoring over longer times.
 *
 * Comes from: capture (copies of iomt.enriched and iomt.scored).
 * Goes to:    score (a patient's history), Databricks, Spark, pandas: anything that reads Delta.
 * Promise:    a flush is one Delta commit; the position that it answers is in the same commit (the
 *             `txn` action), so a replay adds nothing twice.
 *
 * One lake handle may be used by several threads.
 */
#ifndef VG_LAKE_LAKE_H
#define VG_LAKE_LAKE_H

#include "base/arena.h"
#include "base/buf.h"

struct lake;

enum lake_table { LAKE_ENRICHED, LAKE_SCORED };

struct lake_config {
    const char *engine; /* NULL or "duckdb" */
    const char *dir;
};

VG_CHECK enum vg_status lake_open(const struct lake_config *config, struct lake **ret_lake,
                                  struct vg_err *err);
void lake_close(struct lake *lake);

/* The first sequence number that `app` (at most 31 bytes, e.g. "capture-0") has not yet flushed. */
VG_CHECK enum vg_status lake_position(struct lake *lake, enum lake_table table, const char *app,
                                      uint64_t *ret_next_seq, struct vg_err *err);

/* One record of the topic (JSON, docs/records.md), kept in memory until the flush. `app` as above:
 * each app has its own buffer. */
VG_CHECK enum vg_status lake_append(struct lake *lake, enum lake_table table, const char *app,
                                    struct vg_slice record_json, struct vg_slice trace,
                                    struct vg_err *err);

/* Writes what `app` appended as Parquet and commits it with next_seq; nothing appended: no commit.
 */
VG_CHECK enum vg_status lake_flush(struct lake *lake, enum lake_table table, const char *app,
                                   uint64_t next_seq, struct vg_err *err);
void lake_discard(struct lake *lake, enum lake_table table, const char *app);

/* One vital sign of a patient's past. */
struct lake_reading {
    int64_t time_us;
    struct vg_slice code; /* LOINC */
    struct vg_slice unit; /* UCUM */
    struct vg_slice text; /* a value that is no number: "A" */
    double value;         /* NaN where there is only a text */
    int64_t received_us;  /* INT64_MIN where it is not known */
    struct vg_slice observation_id;
};

/* Oldest first, times in [from_us, to_us). Slices live for the call of fn only. */
VG_CHECK enum vg_status lake_history(struct lake *lake, struct vg_slice patient_id, int64_t from_us,
                                     int64_t to_us,
                                     void (*fn)(void *ctx, const struct lake_reading *reading),
                                     void *ctx, struct vg_err *err);

/* ---- upkeep ---- */

struct lake_policy {
    int64_t keep_us; /* whole dates that are older go; 0 = none go */
    int64_t
        keep_removed_us; /* files that were replaced stay so long for whoever still reads them */
};

struct lake_upkeep {
    size_t merged_count, made_count; /* small files became large ones */
    size_t expired_count;            /* files of dates that are too old */
    size_t deleted_count;            /* files that nobody refers to any more */
    size_t checkpoint_count;
};

/* Merges small files, forgets dates by policy, writes checkpoints of the log, deletes what is not
 * referred to any more. Takes as long as it takes, in the calling thread; others append and ask
 * meanwhile. `go_on` (may be NULL) is asked between two pieces of work. */
VG_CHECK enum vg_status lake_maintain(struct lake *lake, const struct lake_policy *policy,
                                      int64_t now_us, bool (*go_on)(void *ctx), void *ctx,
                                      struct lake_upkeep *ret_upkeep, struct vg_err *err);

/* Any read-only SELECT with {enriched} and {scored} standing for the tables' live files; the answer
 * as a JSON array of objects. For the scripts of analysts and for tests. */
VG_CHECK enum vg_status lake_query(struct lake *lake, const char *sql, struct vg_buf *out,
                                   struct vg_err *err);

#endif
