/* delta.h -- the transaction log of one Delta Lake table on a local disk. Private to src/lake. */
#ifndef VG_LAKE_DELTA_H
#define VG_LAKE_DELTA_H

#include "base/arena.h"
#include "base/buf.h"

/* A live data file and what its statistics say, for pruning. */
struct delta_file {
    char *path;    /* relative to the table's folder */
    char date[11]; /* its partition, "2026-03-14" */
    int64_t size_bytes, record_count;
    int64_t time_min_us, time_max_us; /* of the table's time column */
    char *patient_min, *patient_max;
};

/* A file that the log has removed; it stays on the disk for whoever still reads an older version.
 */
struct delta_tombstone {
    char *path;
    int64_t deleted_us;
};

/* How far an application has written: Delta's `txn` action. */
struct delta_position {
    char app[32];
    uint64_t next_seq;
};

struct delta {
    char *dir;
    const char *name, *time_column, *schema_json; /* static */
    int64_t version;                              /* of the newest commit; -1 = none */
    struct delta_file *files;
    size_t file_count, file_capacity;
    struct delta_position *positions;
    size_t position_count;
    struct delta_tombstone *tombstones;
    size_t tombstone_count, tombstone_capacity;
    int64_t checkpoint_version; /* of the newest checkpoint that was read or written; -1 = none */
    char *protocol_json, *metadata_json; /* their newest actions, for checkpoints */
};

/* Reads and writes a checkpoint, which is a Parquet file: the log's actions as lines of JSON. */
struct delta_parquet {
    void *ctx;
    enum vg_status (*read)(void *ctx, const char *path, struct vg_buf *lines, struct vg_err *err);
    enum vg_status (*write)(void *ctx, const char *path, const char *lines_path,
                            struct vg_err *err);
};

/* Replays the log in dir/_delta_log (made with version 0 when missing), from its last checkpoint.
 */
VG_CHECK enum vg_status delta_open(struct delta *table, const char *dir, const char *name,
                                   const char *time_column, const char *schema_json,
                                   const struct delta_parquet *parquet, struct vg_err *err);
void delta_close(struct delta *table);

/* A file or a folder is on the disk when this says VG_OK. */
VG_CHECK enum vg_status delta_sync(const char *path, struct vg_err *err);

/* What one commit changes. The data files are already durable. */
struct delta_change {
    const char *operation; /* for people: "STREAMING UPDATE", "OPTIMIZE", "DELETE" */
    const struct delta_file *added;
    size_t added_count;
    const char *const *removed; /* paths of live files */
    size_t removed_count;
    bool is_same_data; /* rows were only laid out anew: streaming readers skip it */
    const char *app;   /* whose position moves; NULL = none */
    uint64_t next_seq;
};

/* One commit: the log entry is put in place only if nobody else took the version (link(2)); then
 * the log is read on and the next version is tried. VG_REJECT lake.conflict: a removed file is not
 * live any more; nothing was changed. Takes nothing over: texts are copied. */
VG_CHECK enum vg_status delta_commit(struct delta *table, const struct delta_change *change,
                                     struct vg_err *err);

/* Writes a checkpoint of the present version, and deletes log entries below it that are older than
 * before_us. */
VG_CHECK enum vg_status delta_checkpoint(struct delta *table, const struct delta_parquet *parquet,
                                         int64_t before_us, struct vg_err *err);

/* Deletes the files of tombstones older than before_us. *ret_count: how many. */
VG_CHECK enum vg_status delta_vacuum(struct delta *table, int64_t before_us, size_t *ret_count,
                                     struct vg_err *err);

uint64_t delta_position(const struct delta *table, const char *app);

#endif
