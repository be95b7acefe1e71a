/* stream.h -- STORE: topics of records; every hop of a reading is a commit here.
 *
 * Comes from: every stage (records, and the offset that they answer, as one atom).
 * Goes to:    every stage, in order.
 * Promise:    what stream_commit() answered VG_OK survives a power cut, whole; what it did not is
 *             not there, or there whole. A consumer sees each committed record once, in order.
 *
 * A partition is one ordered log. A device's records are all in partition
 * vg_slice_hash(device) % partitions, so their order is kept. The journal engine
 * (docs/format-journal.md) writes topics interleaved; a sequence number counts the records of a
 * partition over all topics.
 */
#ifndef VG_STREAM_STREAM_H
#define VG_STREAM_STREAM_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"

/* The values are on disk: never renumber. The names are stream_topic_name(). */
enum stream_topic {
    STREAM_DEVICE_RAW = 1,   /* "device.raw"      what devices sent, byte for byte    (step 4)  */
    STREAM_NORMALIZED = 2,   /* "iomt.normalized" MedTech's normalized measurement    (step 6)  */
    STREAM_ENRICHED = 3,     /* "iomt.enriched"   with the patient merged in          (step 8)  */
    STREAM_SCORED = 4,       /* "iomt.scored"     one scored window                   (step 12) */
    STREAM_DEADLETTER = 5,   /* "iomt.deadletter" what could not be processed, and why          */
    STREAM_CARE_CHANGED = 6, /* "care.changed"    a patient's row in the repository changed (14) */
};
#define STREAM_TOPIC_COUNT 7 /* one more than the largest value */

const char *stream_topic_name(enum stream_topic topic);

struct stream;

struct stream_config {
    const char *engine;       /* NULL or "journal" */
    const char *dir;          /* made when missing; locked by one writing process */
    uint32_t partitions;      /* 0 = 1; fixed when the folder is made */
    uint64_t segment_bytes;   /* 0 = 64 MiB */
    uint64_t retention_bytes; /* per partition; segments that every group has passed go beyond this;
                                 0 = 1 GiB */
    uint32_t record_bytes_max; /* key + headers + value; 0 = 1 MiB */
    bool is_read_only;         /* for tools beside a running process: no lock, no commit */
    const struct vg_io *io;    /* NULL = the real file system */
};

/* Opens, recovering first if the last run crashed. A torn tail is cut; a damaged batch before the
 * tail is skipped, counted and reported by stream_damage(), never silently. */
VG_CHECK enum vg_status stream_open(const struct stream_config *config, struct stream **ret_stream,
                                    struct vg_err *err);
/* Waits for what is in flight. All consumers are closed before. NULL is fine. */
void stream_close(struct stream *stream);

uint32_t stream_partitions(const struct stream *stream);
uint32_t stream_partition_of(const struct stream *stream, struct vg_slice device);

/* What recovery and reading found broken: a text with file and offset per damage, "" when none. */
size_t stream_damage(struct stream *stream, struct vg_buf *out);

struct stream_record {
    uint64_t seq;            /* its place in the partition */
    int64_t time_us;         /* wall time, set by who made it (device.raw: receipt) */
    struct vg_slice key;     /* device id before identity is known, patient id after */
    struct vg_slice headers; /* see stream_header_get() */
    struct vg_slice value;   /* JSON; on device.raw whatever the device sent */
};

/* Headers: names and values beside the value, as Kafka has them. The names used are in
 * docs/records.md. At most 255 bytes a name, 65,535 a value. */
void stream_header_put(struct vg_buf *headers, const char *name, struct vg_slice value);
void stream_header_put_slice(struct vg_buf *headers, struct vg_slice name, struct vg_slice value);
struct vg_slice stream_header_get(struct vg_slice headers, const char *name); /* ptr NULL: absent */
/* Walk: start with *cursor = 0; false at the end (or at damage). */
bool stream_header_next(struct vg_slice headers, size_t *cursor, struct vg_slice *ret_name,
                        struct vg_slice *ret_value);

/* ---- writing ---- */

/* One commit in the making: records for any topics and the offsets that they answer. Caller's
 * memory; reused after stream_out_clear(). */
struct stream_out {
    struct vg_buf records; /* private: encoded */
    struct vg_buf offsets; /* private: encoded */
    uint32_t record_count, offset_count;
    bool has_failed; /* something did not fit: commit will answer VG_REJECT */
};

void stream_out_init(struct stream_out *out);
void stream_out_fini(struct stream_out *out);
void stream_out_clear(struct stream_out *out);

/* All slices are copied. time_us as in stream_record. A commit's records are numbered topic by
 * topic (ascending), in the order of adding inside a topic. A key has at most 65,535 bytes, a
 * commit 64 MiB. */
void stream_out_add(struct stream_out *out, enum stream_topic topic, int64_t time_us,
                    struct vg_slice key, struct vg_slice headers, struct vg_slice value);

/* `group` (at most 31 bytes) has done everything of `topic` in `partition` before next_seq. */
void stream_out_offset(struct stream_out *out, const char *group, enum stream_topic topic,
                       uint32_t partition, uint64_t next_seq);

/* Makes `out` durable in `partition` as one atom. Any thread. Blocks until it is on the disk.
 * *ret_first_seq (may be NULL): the sequence number of its first record. VG_RETRY stream.full (no
 * room: nothing was written, try again) or stream.write, VG_REJECT stream.record_size, VG_FATAL
 * stream.sync (the disk failed while syncing: nothing after this is safe). */
VG_CHECK enum vg_status stream_commit(struct stream *stream, uint32_t partition,
                                      struct stream_out *out, uint64_t *ret_first_seq,
                                      struct vg_err *err);

/* The same without waiting: `out` belongs to the stream until done() is called (in the committer's
 * thread: do no work there, post it). Commits of one thread to one partition complete in order. */
typedef void stream_done(void *ctx, enum vg_status status, uint64_t first_seq,
                         const struct vg_err *err);
void stream_commit_async(struct stream *stream, uint32_t partition, struct stream_out *out,
                         stream_done *done, void *ctx);

/* ---- reading ---- */

struct stream_consumer;

struct stream_batch {
    const struct stream_record *records; /* views, valid until the next read */
    size_t count;
    uint64_t next_seq; /* commit this with stream_out_offset() when all of it is done */
};

/* Starts at the group's committed offset (0 for a new group: from the oldest record kept; a group
 * name ending in '!' starts at the end and commits nothing: a live tail). */
VG_CHECK enum vg_status stream_consumer_open(struct stream *stream, uint32_t partition,
                                             enum stream_topic topic, const char *group,
                                             struct stream_consumer **ret_consumer,
                                             struct vg_err *err);
void stream_consumer_close(struct stream_consumer *consumer);

/* The next records: at most count_max, waiting up to timeout_us for the first. VG_END: none came
 * (or stream_wake()). Reads only what is durable. */
VG_CHECK enum vg_status stream_read(struct stream_consumer *consumer, size_t count_max,
                                    int64_t timeout_us, struct stream_batch *ret_batch,
                                    struct vg_err *err);
void stream_seek(struct stream_consumer *consumer, uint64_t seq);
uint64_t stream_position(const struct stream_consumer *consumer);
uint64_t stream_committed(struct stream *stream, const char *group, enum stream_topic topic,
                          uint32_t partition); /* 0 = never */
/* Records of `topic` after the group's committed offset (may be off by what is in flight). */
uint64_t stream_lag(struct stream *stream, const char *group, enum stream_topic topic,
                    uint32_t partition);
void stream_wake(struct stream *stream); /* every waiting read returns at once */

/* ---- the whole log, in commit order: for trace, dead letters, audit ---- */

struct stream_commit_view {
    int64_t time_us; /* when it was handed to the disk */
    uint64_t first_seq;
    size_t record_count;
    size_t offset_count;
};
struct stream_scan;
VG_CHECK enum vg_status stream_scan_open(struct stream *stream, uint32_t partition,
                                         uint64_t from_seq, struct stream_scan **ret_scan,
                                         struct vg_err *err);
void stream_scan_close(struct stream_scan *scan);
/* The next commit; VG_END at the durable end. */
VG_CHECK enum vg_status stream_scan_next(struct stream_scan *scan,
                                         struct stream_commit_view *ret_view, struct vg_err *err);
/* Inside the commit that was given last; views until the next call. */
bool stream_scan_record(struct stream_scan *scan, size_t index, enum stream_topic *ret_topic,
                        struct stream_record *ret_record);
bool stream_scan_offset(struct stream_scan *scan, size_t index, struct vg_slice *ret_group,
                        enum stream_topic *ret_topic, uint32_t *ret_partition,
                        uint64_t *ret_next_seq);

#endif
