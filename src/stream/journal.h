/* journal.h -- the batch, the bytes of it, and the cursor that walks a segment. Private.
 *
 * docs/format-journal.md is the format; journal_batch.c is its only reader and writer.
 */
#ifndef VG_STREAM_JOURNAL_H
#define VG_STREAM_JOURNAL_H

#include "stream/engine.h"

#include <pthread.h>

#define BATCH_HEADER_BYTES 64u
#define GROUP_BYTES 12u               /* one entry of the directory */
#define SEQ_LIMIT ((uint64_t)1 << 62) /* no sequence number comes near: sums cannot wrap */
#define BATCH_VERSION 1u

#define BATCH_IS_CHECKPOINT                                                                        \
    1u /* first of its segment: all offsets, then the segment's size and counts */
#define BATCH_IS_CLEAN 2u  /* written by an orderly close */
#define BATCH_IS_FILLER 4u /* uses up one sequence number, holds no record */

/* Bytes behind a checkpoint's offsets: u64 segment bytes, u32 topics, u64 records of each topic. */
#define CHECKPOINT_TAIL_BYTES (12u + 8u * STREAM_TOPIC_COUNT)

struct batch_header {
    uint16_t flags;
    uint32_t partition;
    uint64_t first_seq;
    uint32_t record_count;
    uint32_t offset_count;
    uint32_t body_bytes; /* a multiple of 8 */
    uint32_t group_count;
    int64_t time_us;
    uint64_t prev_hash;
    uint64_t log_id;
};

struct batch_group {
    enum stream_topic topic;
    uint64_t first_seq;
    uint32_t count;
    struct vg_slice records;
};

/* A batch whose checksum and structure hold. Views into the cursor's buffer. */
struct batch {
    struct batch_header header;
    uint64_t offset;      /* in its segment */
    uint64_t total_bytes; /* header and body */
    uint64_t hash;        /* what the next batch has as prev_hash */
    struct batch_group groups[STREAM_TOPIC_COUNT];
    struct vg_slice offsets;
    bool has_counts; /* a checkpoint's */
    uint64_t segment_bytes;
    uint64_t counts[STREAM_TOPIC_COUNT];
};

/* Bytes that a batch of `out` takes. */
uint64_t batch_bytes(const struct out_totals *totals, const struct stream_out *out);

/* Write a batch of `out` to `to` (batch_bytes() long); header->body_bytes, group_count,
 * record_count and offset_count are filled. Returns its hash. */
uint64_t batch_encode(char *to, struct batch_header *header, const struct out_totals *totals,
                      const struct stream_out *out);

/* The same for a batch without records: a checkpoint or a clean close. `body` is padded here. */
uint64_t batch_encode_plain(struct vg_buf *to, struct batch_header *header, struct vg_slice body);

/* ---- the cursor ---- */

/* What is told when something is broken; returns nothing: reading goes on. `lost_seq` up to
 * `next_seq` are the records that are gone (equal: none, or not known). */
typedef void cursor_damage(void *ctx, uint64_t segment_seq, uint64_t offset, uint64_t bytes,
                           uint64_t lost_seq, uint64_t next_seq, const char *what);

/* Walks the batches of one segment file. One thread at a time. The owner opens and closes fd. */
struct cursor {
    const struct vg_io *io;
    uint32_t partition;
    uint64_t log_id;
    cursor_damage *damage;
    void *damage_ctx;

    int fd; /* -1 = none */
    uint64_t segment_seq;
    uint64_t offset;   /* of the next batch */
    uint64_t next_seq; /* that the next batch should have */
    uint64_t prev_hash;
    bool has_prev;

    char *buf;
    size_t capacity_bytes, len;
    uint64_t buf_offset; /* file offset of buf[0] */
};

void cursor_init(struct cursor *cursor, const struct vg_io *io, uint32_t partition, uint64_t log_id,
                 cursor_damage *damage, void *damage_ctx);
void cursor_fini(struct cursor *cursor); /* closes fd */
/* To a place in the segment that fd is open for. What is buffered of another file is forgotten. */
void cursor_place(struct cursor *cursor, int fd, uint64_t segment_seq, uint64_t offset,
                  uint64_t next_seq);
/* The next batch if it is whole and good in the buffer already: no reading, no judging, and views
 * into the buffer stay valid. False: ask cursor_next(). */
bool cursor_next_buffered(struct cursor *cursor, struct batch *ret_batch);

/* The batch at the cursor if it is good; the cursor stays and nothing is told. */
bool cursor_first(struct cursor *cursor, uint64_t limit, struct batch *ret_batch);

/* How the end of what may be read is known. */
enum cursor_end {
    CURSOR_AT_LIMIT, /* durable up to the limit: whatever is not a batch is damage */
    CURSOR_SEALED,   /* a segment with a successor, which begins at limit_seq */
    CURSOR_TAIL,     /* unknown, by recovery: a tear ends it, all of the file is searched */
    CURSOR_GROWING,  /* unknown, beside a running writer: zeros end it */
};

/* The next good batch below `limit` (a file offset), past damage that has good batches behind it.
 * VG_END: no more; the cursor stays, *ret_torn_bytes (may be NULL) is how far behind it there are
 * bytes that are no batch (0: clean). VG_RETRY stream.read, stream.memory. */
VG_CHECK enum vg_status cursor_next(struct cursor *cursor, uint64_t limit, uint64_t limit_seq,
                                    enum cursor_end end, struct batch *ret_batch,
                                    uint64_t *ret_torn_bytes, struct vg_err *err);

/* ---- a partition ---- */

#define MARK_BYTES 65536u /* a segment is marked this often, so that a seek reads little */
#define GROUPS_MAX 1024u  /* offsets that a partition holds */

/* A place between two batches, and how many records of each topic stand before it. */
struct mark {
    uint64_t seq;
    uint64_t offset;
    uint64_t counts[STREAM_TOPIC_COUNT];
};

struct segment {
    uint64_t first_seq; /* its name */
    uint64_t size_bytes;
    struct mark *marks; /* ascending; may be none */
    size_t mark_count, mark_capacity;
};

struct group_offset {
    char group[STREAM_GROUP_BYTES_MAX + 1];
    uint8_t group_bytes;
    enum stream_topic topic;
    uint32_t partition;
    uint64_t next_seq;
};

struct request {
    struct stream_out *out;
    stream_done *done;
    void *ctx;
    struct out_totals totals;
    enum vg_status status; /* not VG_OK: refused before it came to the committer, or by it */
    uint64_t first_seq;
};

enum spare_state { SPARE_NONE, SPARE_WANTED, SPARE_MAKING, SPARE_READY };

struct journal;

/* Walks a partition over all its segments. One thread at a time. */
struct reader {
    struct partition *part;
    struct cursor cursor; /* fd -1: the segment is opened by the next read */
};

struct partition {
    struct journal *journal;
    uint32_t index;
    char *dir;

    pthread_mutex_t lock;                         /* guards all up to the next line */
    pthread_cond_t has_work;                      /* for the committer */
    pthread_cond_t has_topic[STREAM_TOPIC_COUNT]; /* for readers that wait */
    pthread_cond_t has_chore;                     /* for the helper */
    pthread_cond_t spare_is_made;                 /* for the committer */
    struct request *waiting;
    size_t waiting_count, waiting_capacity;
    bool is_closing, is_helper_closing;
    struct segment *segments; /* ascending; the last one is written */
    size_t segment_count, segment_capacity;
    uint64_t end_offset; /* durable, in the last segment */
    uint64_t next_seq, prev_hash;
    uint64_t counts[STREAM_TOPIC_COUNT]; /* records ever, before next_seq */
    struct group_offset *groups;         /* GROUPS_MAX; entries are only added and moved on */
    size_t group_count;
    uint64_t wake_count;
    enum spare_state spare;
    uint64_t spare_bytes;
    int spare_fd;
    bool wants_trim;
    /* ---- */

    pthread_t committer, helper;
    bool has_committer, has_helper;

    /* The committer's own. */
    int fd;
    uint64_t segment_bytes; /* of the last segment */
    struct request *taken;
    size_t taken_capacity;
    struct vg_buf batches;
    uint64_t dirty_bytes;   /* behind end_offset a failed write may have left this much */
    enum vg_status failure; /* VG_FATAL for ever once the disk failed to sync */
    struct vg_err failure_err;

    pthread_mutex_t count_lock; /* guards counter */
    struct reader counter;
    pthread_mutex_t tail_lock; /* guards tail: read-only, it follows the writer */
    struct reader tail;
};

#define DAMAGE_MAX 1000u

struct damage {
    uint32_t partition;
    uint64_t segment_seq, offset;
    char *text;
};

struct journal {
    struct stream_config config; /* dir is our copy */
    uint64_t log_id;
    int lock_fd;
    struct partition *parts;

    pthread_mutex_t damage_lock; /* guards all below */
    struct damage *damages;
    size_t damage_count, damage_listed;
};

/* journal_read.c */
void reader_init(struct reader *reader, struct partition *part);
void reader_fini(struct reader *reader);
void reader_seek(struct reader *reader, uint64_t seq);
/* VG_END at the durable end. */
VG_CHECK enum vg_status reader_next(struct reader *reader, struct batch *ret_batch,
                                    struct vg_err *err);
/* Records of `topic` before seq; false when damage hides it. */
bool count_before(struct partition *part, enum stream_topic topic, uint64_t seq,
                  uint64_t *ret_count);
/* Read-only: takes in what the writer has added. True when there was something. */
bool partition_follow(struct partition *part);

enum vg_status journal_consumer_open(void *self, uint32_t partition, enum stream_topic topic,
                                     struct vg_slice group, bool is_live_tail, void **ret_consumer,
                                     struct vg_err *err);
void journal_consumer_close(void *self);
enum vg_status journal_read(void *self, size_t count_max, int64_t timeout_us,
                            struct stream_batch *ret_batch, struct vg_err *err);
void journal_seek(void *self, uint64_t seq);
uint64_t journal_position(const void *self);
uint64_t journal_lag(void *self, struct vg_slice group, enum stream_topic topic,
                     uint32_t partition);
void journal_wake(void *self);
enum vg_status journal_scan_open(void *self, uint32_t partition, uint64_t from_seq, void **ret_scan,
                                 struct vg_err *err);
void journal_scan_close(void *self);
enum vg_status journal_scan_next(void *self, struct stream_commit_view *ret_view,
                                 struct vg_err *err);
bool journal_scan_record(void *self, size_t index, enum stream_topic *ret_topic,
                         struct stream_record *ret_record);
bool journal_scan_offset(void *self, size_t index, struct vg_slice *ret_group,
                         enum stream_topic *ret_topic, uint32_t *ret_partition,
                         uint64_t *ret_next_seq);

/* engine_journal.c */
uint64_t journal_committed(void *self, struct vg_slice group, enum stream_topic topic,
                           uint32_t partition);
void partition_damage(void *part, uint64_t segment_seq, uint64_t offset, uint64_t bytes,
                      uint64_t lost_seq, uint64_t next_seq, const char *what);
/* A batch that is durable enters the state: counts, offsets, mark, end. Under part->lock. */
void partition_apply(struct partition *part, struct segment *segment, const struct batch *batch);
/* False: no memory. Under part->lock. */
bool partition_add_segment(struct partition *part, uint64_t first_seq, uint64_t size_bytes);
void segment_mark(struct segment *segment, uint64_t seq, uint64_t offset, const uint64_t *counts);
/* The folder's segments whose name is at or behind `from`, ascending; the caller frees the list. */
struct segment_file {
    uint64_t first_seq, size_bytes;
};
VG_CHECK enum vg_status partition_list(const struct partition *part, uint64_t from,
                                       struct segment_file **ret_files, size_t *ret_count,
                                       struct vg_err *err);
bool segment_path(const struct partition *part, uint64_t first_seq, const char *ending, char *out,
                  size_t size_bytes);

#endif
