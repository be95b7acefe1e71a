/* archive.h -- step 3: the secure copy of every message as it was received.
 *
 * Comes from: device.raw, as consumer group "archive".
 * Goes to:    DATA/archive/pN/YYYYMMDD-HH.vga (docs/format-archive.md): compressed, encrypted,
 *             hash-chained. Nobody reads it but `vigil archive`.
 * Promise:    the journal forgets a message only after its frame here is on the disk; a frame that
 * was changed, cut out or moved is found by archive_verify().
 */
#ifndef VG_HUB_ARCHIVE_H
#define VG_HUB_ARCHIVE_H

#include "stream/stream.h"

struct archive;

struct archive_config {
    const char *data_dir;   /* archive.key and archive/ are in it, made when missing */
    uint64_t frame_bytes;   /* a frame is closed when it holds so much; 0 = 4 MiB */
    int64_t frame_age_us;   /* ... or when its first message is so old; 0 = 2 s */
    const struct vg_io *io; /* NULL = the real file system */
};

/* Finds the place where the last run stopped, cuts a torn last frame, and starts a stage for each
 * partition. VG_FATAL archive.key (unreadable, or readable by others). */
VG_CHECK enum vg_status archive_open(const struct archive_config *config, struct stream *stream,
                                     struct archive **ret_archive, struct vg_err *err);
void archive_close(struct archive *archive);                         /* NULL is fine */
void archive_trouble(struct archive *archive, char out[static 256]); /* "" = well; any thread */

/* ---- reading, for tools: any process, also beside a running one ---- */

struct archive_reader;

struct archive_segment {
    char name[64]; /* "20260314-10" */
    uint32_t partition;
    uint64_t frames, records, plain_bytes, file_bytes;
    uint64_t first_seq, last_seq;
    int64_t first_us, last_us; /* receipt of its first and last message */
};

VG_CHECK enum vg_status archive_reader_open(const char *data_dir,
                                            struct archive_reader **ret_reader, struct vg_err *err);
void archive_reader_close(struct archive_reader *reader);
uint32_t archive_reader_partitions(const struct archive_reader *reader);

/* From frame headers alone, oldest first. fn answers false to stop. */
VG_CHECK enum vg_status archive_list(struct archive_reader *reader, uint32_t partition,
                                     bool (*fn)(void *ctx, const struct archive_segment *segment),
                                     void *ctx, struct vg_err *err);

/* Every frame of a partition is read, opened and checked against the one before; fn (may be NULL)
 * gets each record, in order, and answers false to stop. Stops at the first damage: VG_REJECT
 * archive.damage with segment and offset in the text. Frames that end before from_us or begin after
 * to_us are skipped unread when `is_quick`. *ret_next_seq (may be NULL): one more than the last
 * record's. */
struct archive_scan {
    uint32_t partition;
    bool is_quick;
    int64_t from_us, to_us; /* receipt; to_us 0 = no end */
};
VG_CHECK enum vg_status archive_read(struct archive_reader *reader, const struct archive_scan *scan,
                                     bool (*fn)(void *ctx, const struct stream_record *record),
                                     void *ctx, uint64_t *ret_next_seq, struct vg_err *err);

#endif
