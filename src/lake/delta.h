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
};

/* Replays the log in dir/_delta_log (made with version 0 when missing). */
VG_CHECK enum vg_status delta_open(struct delta *table, const char *dir, const char *name,
                                   const char *time_column, const char *schema_json,
                                   struct vg_err *err);
void delta_close(struct delta *table);

/* Adds files and moves the position of `app`, as one commit: the log entry is put in place only if
 * nobody else took the version (link(2)); then the log is read on and the next version is tried.
 * The data files are already durable. Takes nothing over: paths are copied. */
VG_CHECK enum vg_status delta_commit(struct delta *table, const struct delta_file *added,
                                     size_t count, const char *app, uint64_t next_seq,
                                     struct vg_err *err);

uint64_t delta_position(const struct delta *table, const char *app);

#endif
