/* archive.c -- the stage that copies device.raw into the archive.
 *
 * Records gather in memory until a frame is worth its sync (frame_bytes) or its first message is
 * old enough (frame_age_us); until then process() answers VG_END and the offset stays behind them.
 * A frame is sealed, written and synced; only then VG_OK moves the offset.
 *
 * CRASHES
 *
 * The last frame of the last segment may be torn: archive_open() cuts it. The last whole frame says
 * how far the archive has come, so records that come again (offset not committed before the crash)
 * are skipped and nothing stands twice. Bytes after the last good frame that hold another good
 * header are no torn tail but damage: they are left as evidence for `vigil archive verify`, and a
 * new segment continues the chain at the last good frame.
 *
 * Segments are named by the hour of their first frame and only ever go forward: when the wall clock
 * steps back, frames stay in the segment that is open.
 *
 * THREADS: one stage a partition; each touches its own shelf.
 */
#include "hub/archive.h"

#include "base/log.h"
#include "hub/archive_int.h"
#include "stream/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TICK_US (VG_SECOND_US / 2)

/* What one partition writes to. */
struct shelf {
    struct archive *archive;
    struct stage *stage;
    uint32_t partition;
    char dir[4096];
    char name[ARCHIVE_NAME_SIZE]; /* of the open segment; "" = none yet */
    int fd;
    off_t end;
    uint8_t last_hash[32];
    uint64_t next_seq;   /* the first that is not in a frame on the disk, nor held */
    struct vg_buf plain; /* records of the frame in the making */
    struct vg_buf frame;
    struct frame_header header;
    int64_t oldest_us; /* monotonic: when the first of them was taken */
};

struct archive {
    struct archive_config config;
    uint8_t key[ARCHIVE_KEY_BYTES];
    uint32_t partitions;
    struct shelf *shelves;
};

static const struct vg_io *io_of(const struct shelf *shelf)
{
    return shelf->archive->config.io;
}

static void close_segment(struct shelf *shelf)
{
    if (shelf->fd >= 0)
        (void)io_of(shelf)->close(io_of(shelf)->ctx, shelf->fd); /* all of it is synced */
    shelf->fd = -1;
    shelf->end = 0;
}

static enum vg_status open_segment(struct shelf *shelf, const char *name, int flags,
                                   struct vg_err *err)
{
    const struct vg_io *io = io_of(shelf);
    char path[4096 + ARCHIVE_NAME_SIZE + 8];

    close_segment(shelf);
    (void)snprintf(path, sizeof(path), "%s/%s.vga", shelf->dir, name);
    shelf->fd = io->open(io->ctx, path, O_RDWR | O_CLOEXEC | flags, 0600);
    if (shelf->fd < 0)
        return vg_fail(err, VG_RETRY, "archive.open", errno, "%.200s", path);
    if ((flags & O_CREAT) && io->sync_dir(io->ctx, shelf->dir) != 0) {
        (void)vg_fail(err, VG_RETRY, "archive.open", errno, "%.200s", shelf->dir);
        close_segment(shelf);
        (void)io->unlink(io->ctx, path); /* or the next try finds an empty one: harmless too */
        return VG_RETRY;
    }
    (void)snprintf(shelf->name, sizeof(shelf->name), "%s", name);
    return VG_OK;
}

/* The segment that a frame of `first_us` belongs into is open afterwards. */
static enum vg_status choose_segment(struct shelf *shelf, int64_t first_us, struct vg_err *err)
{
    char hour[ARCHIVE_NAME_SIZE], name[ARCHIVE_NAME_SIZE];
    char text[VG_TIME_TEXT_SIZE];

    (void)vg_time_format(first_us, 0, text);
    (void)snprintf(hour, sizeof(hour), "%.4s%.2s%.2s-%.2s", text, text + 5, text + 8, text + 11);
    if (shelf->fd >= 0 && strcmp(hour, shelf->name) <= 0)
        return VG_OK;
    if (strcmp(hour, shelf->name) < 0) /* not open, damaged, and the clock went back */
        (void)snprintf(hour, sizeof(hour), "%.11s", shelf->name);
    (void)snprintf(name, sizeof(name), "%s", hour);
    for (int i = 2; strcmp(name, shelf->name) <= 0; i++)
        (void)snprintf(name, sizeof(name), "%.11s-%03d", hour, i);
    return open_segment(shelf, name, O_CREAT, err);
}

/* What is held becomes a frame on the disk. */
static enum vg_status flush(struct shelf *shelf, struct vg_err *err)
{
    const struct vg_io *io = io_of(shelf);
    uint8_t hash[32];
    enum vg_status st;

    if (shelf->plain.len == 0)
        return VG_OK;
    st = choose_segment(shelf, shelf->header.first_us, err);
    if (st != VG_OK)
        return st;
    shelf->header.partition = shelf->partition;
    memcpy(shelf->header.prev_hash, shelf->last_hash, sizeof(hash));
    st = frame_seal(shelf->archive->key, &shelf->header, vg_buf_slice(&shelf->plain), &shelf->frame,
                    hash, err);
    if (st != VG_OK)
        return st;
    if (vg_io_write_all(io, shelf->fd, shelf->frame.ptr, shelf->frame.len, shelf->end) != 0) {
        st = vg_fail(err, VG_RETRY, errno == ENOSPC ? "archive.full" : "archive.write", errno,
                     "segment %s", shelf->name);
        (void)io->truncate(io->ctx, shelf->fd, shelf->end); /* else the next open cuts it */
        return st;
    }
    if (io->fdatasync(io->ctx, shelf->fd) != 0)
        return vg_fail(err, VG_FATAL, "archive.sync", errno,
                       "segment %s: nothing after this is safe until a restart", shelf->name);
    shelf->end += (off_t)shelf->frame.len;
    memcpy(shelf->last_hash, hash, sizeof(hash));
    vg_buf_clear(&shelf->plain);
    shelf->header = (struct frame_header){0};
    return VG_OK;
}

static enum vg_status hold(struct shelf *shelf, const struct stream_record *record,
                           struct vg_err *err)
{
    struct frame_header *header = &shelf->header;
    size_t len = shelf->plain.len;

    if (record->seq < shelf->next_seq)
        return VG_OK; /* it is here already */
    frame_record_put(&shelf->plain, record);
    if (!vg_buf_ok(&shelf->plain)) {
        shelf->plain.len = len;
        shelf->plain.has_failed = false;
        return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory for a record");
    }
    if (header->record_count++ == 0) {
        header->first_seq = record->seq;
        header->first_us = record->time_us;
        shelf->oldest_us = vg_mono_us();
    }
    header->last_seq = record->seq;
    header->last_us = record->time_us;
    shelf->next_seq = record->seq + 1;
    return VG_OK;
}

static bool is_due(const struct shelf *shelf)
{
    return shelf->plain.len >= shelf->archive->config.frame_bytes ||
           (shelf->plain.len &&
            vg_mono_us() - shelf->oldest_us >= shelf->archive->config.frame_age_us);
}

static enum vg_status process(void *self, const struct stream_batch *batch, struct stream_out *out,
                              struct vg_err *err)
{
    struct shelf *shelf = self;
    enum vg_status st = VG_OK;

    (void)out;
    for (size_t i = 0; st == VG_OK && i < batch->count; i++) {
        if (shelf->plain.len >= shelf->archive->config.frame_bytes)
            st = flush(shelf, err);
        if (st == VG_OK)
            st = hold(shelf, &batch->records[i], err);
    }
    if (st == VG_OK && is_due(shelf))
        st = flush(shelf, err);
    return st == VG_OK && shelf->plain.len ? VG_END : st;
}

static enum vg_status tick(void *self, int64_t now_us, struct stream_out *out, struct vg_err *err)
{
    struct shelf *shelf = self;
    enum vg_status st = VG_OK;

    (void)now_us;
    (void)out;
    if (is_due(shelf))
        st = flush(shelf, err);
    return st == VG_OK && shelf->plain.len ? VG_END : st;
}

/* ---- where the last run stopped ---- */

/* The frame at `offset`, whole and right. VG_END: not. */
static enum vg_status check_frame(struct shelf *shelf, off_t offset, uint8_t ret_hash[static 32],
                                  struct frame_header *ret_header, struct vg_err *err)
{
    const struct vg_io *io = io_of(shelf);
    uint8_t head[FRAME_HEADER_BYTES];
    struct vg_buf plain;
    enum vg_status st;
    ssize_t got = vg_io_read_all(io, shelf->fd, head, sizeof(head), offset);
    size_t len;

    if (got < 0)
        return vg_fail(err, VG_RETRY, "archive.read", errno, "segment %s", shelf->name);
    if (got < (ssize_t)sizeof(head) || !frame_header_decode(head, ret_header))
        return VG_END;
    len = FRAME_HEADER_BYTES + ret_header->sealed_bytes;
    vg_buf_clear(&shelf->frame);
    if (!vg_buf_reserve(&shelf->frame, len))
        return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory for a frame");
    got = vg_io_read_all(io, shelf->fd, shelf->frame.ptr, len, offset);
    if (got < 0)
        return vg_fail(err, VG_RETRY, "archive.read", errno, "segment %s", shelf->name);
    if ((size_t)got < len)
        return VG_END;
    vg_buf_init(&plain, FRAME_BYTES_MAX + 1);
    st = frame_open(shelf->archive->key, (struct vg_slice){shelf->frame.ptr, len}, &plain, ret_hash,
                    err);
    if (st == VG_REJECT && err && strcmp(err->code, "archive.key_id") == 0)
        st = vg_fail(err, VG_FATAL, "archive.key", 0,
                     "segment %s was written with another archive.key", shelf->name);
    else if (st == VG_REJECT)
        st = VG_END;
    vg_buf_fini(&plain);
    return st;
}

/* Is there a good header anywhere after `offset`? Then what stands there is no torn tail. */
static bool has_frame_after(struct shelf *shelf, off_t offset)
{
    enum { WINDOW = 1 << 20 };
    uint8_t *window = malloc(WINDOW);
    bool is_found = window == NULL; /* cannot tell: then nothing is cut */
    ssize_t got;

    while (!is_found && (got = vg_io_read_all(io_of(shelf), shelf->fd, window, WINDOW,
                                              offset + 1)) >= FRAME_HEADER_BYTES) {
        struct frame_header header;

        for (ssize_t i = 0; !is_found && i <= got - FRAME_HEADER_BYTES; i++)
            is_found = window[i] == 'V' && frame_header_decode(window + i, &header);
        offset += got - FRAME_HEADER_BYTES + 1;
    }
    free(window);
    return is_found;
}

/* The frame at `offset` by its header: whole, as far as the size tells. */
static bool peek_frame(struct shelf *shelf, off_t offset, off_t size, struct frame_header *ret)
{
    uint8_t head[FRAME_HEADER_BYTES];

    return vg_io_read_all(io_of(shelf), shelf->fd, head, sizeof(head), offset) ==
               (ssize_t)sizeof(head) &&
           frame_header_decode(head, ret) &&
           offset + (off_t)(FRAME_HEADER_BYTES + ret->sealed_bytes) <= size;
}

/* Finds the end of the open segment: by headers, so that a large one costs no time, and the last
 * frame is opened. *ret_has_frame: hash and next_seq were taken from it. A segment that is damaged
 * is closed: nothing is written to it any more. */
static enum vg_status recover_segment(struct shelf *shelf, bool *ret_has_frame, struct vg_err *err)
{
    const struct vg_io *io = io_of(shelf);
    struct frame_header header = {0};
    off_t end = 0, last = -1, before = -1, size;
    struct stat info;
    enum vg_status st = VG_END;

    if (fstat(shelf->fd, &info) != 0)
        return vg_fail(err, VG_RETRY, "archive.read", errno, "segment %s", shelf->name);
    size = info.st_size;
    while (peek_frame(shelf, end, size, &header)) {
        before = last;
        last = end;
        end += (off_t)(FRAME_HEADER_BYTES + header.sealed_bytes);
    }
    if (last >= 0 && (st = check_frame(shelf, last, shelf->last_hash, &header, err)) == VG_END) {
        end = last; /* its header reached the disk, its body did not */
        last = before;
        if (last >= 0)
            st = check_frame(shelf, last, shelf->last_hash, &header, err);
    }
    if (st != VG_OK && st != VG_END)
        return st;
    *ret_has_frame = st == VG_OK;
    if (st == VG_OK)
        shelf->next_seq = header.last_seq + 1;
    shelf->end = end;
    if ((last >= 0 && st == VG_END) || (end < size && has_frame_after(shelf, end))) {
        vg_log(VG_LOG_ERROR, "archive", "archive.damage",
               "segment %s is damaged near byte %lld: left as it is, a new segment follows",
               shelf->name, (long long)end);
        close_segment(shelf);
        return VG_OK;
    }
    if (end == size)
        return VG_OK;
    vg_log(VG_LOG_INFO, "archive", "archive.torn", "segment %s: a torn frame was cut at byte %lld",
           shelf->name, (long long)end);
    if (io->truncate(io->ctx, shelf->fd, end) != 0 || io->fdatasync(io->ctx, shelf->fd) != 0)
        return vg_fail(err, VG_RETRY, "archive.write", errno, "cut segment %s", shelf->name);
    return VG_OK;
}

/* The last segment goes on being written, unless it is damaged; when a crash has left it without a
 * frame, those before it say where the chain ends. */
static enum vg_status recover(struct shelf *shelf, struct vg_err *err)
{
    char(*names)[ARCHIVE_NAME_SIZE] = NULL;
    size_t count = 0;
    bool has_frame = false, is_usable = false;
    enum vg_status st = archive_names(shelf->dir, &names, &count, err);

    for (size_t i = count; st == VG_OK && !has_frame && i > 0; i--) {
        st = open_segment(shelf, names[i - 1], 0, err);
        if (st == VG_OK)
            st = recover_segment(shelf, &has_frame, err);
        if (i == count)
            is_usable = shelf->fd >= 0;
        else
            close_segment(shelf);
    }
    if (st == VG_OK && count && strcmp(shelf->name, names[count - 1]) != 0) {
        /* The newest name stays the lower bound of the next one, damaged or not. */
        if (is_usable)
            st = open_segment(shelf, names[count - 1], 0, err); /* empty: written from 0 */
        else
            (void)snprintf(shelf->name, sizeof(shelf->name), "%s", names[count - 1]);
    }
    free(names);
    return st;
}

/* ---- open and close ---- */

static enum vg_status position(void *self, uint64_t *ret_next_seq, struct vg_err *err)
{
    (void)err;
    *ret_next_seq = ((struct shelf *)self)->next_seq;
    return VG_OK;
}

static const struct stage_ops ops = {
    .name = "archive",
    .steps = {3},
    .input = STREAM_DEVICE_RAW,
    .process = process,
    .position = position,
    .tick = tick,
    .tick_us = TICK_US,
};

static enum vg_status open_shelf(struct archive *archive, uint32_t partition, struct vg_err *err)
{
    struct shelf *shelf = &archive->shelves[partition];
    enum vg_status st;

    shelf->archive = archive;
    shelf->partition = partition;
    if (snprintf(shelf->dir, sizeof(shelf->dir), "%s/archive/p%u", archive->config.data_dir,
                 partition) >= (int)sizeof(shelf->dir))
        return vg_fail(err, VG_FATAL, "archive.dir", 0, "folder name is too long");
    vg_buf_init(&shelf->plain, FRAME_BYTES_MAX);
    vg_buf_init(&shelf->frame, 2u * FRAME_BYTES_MAX);
    st = vg_dir_make(shelf->dir, err);
    return st == VG_OK ? recover(shelf, err) : st;
}

enum vg_status archive_open(const struct archive_config *config, struct stream *stream,
                            struct archive **ret_archive, struct vg_err *err)
{
    struct archive *archive = calloc(1, sizeof(*archive));
    enum vg_status st;

    if (!archive)
        return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory");
    archive->config = *config;
    archive->config.io = config->io ? config->io : &vg_io_system;
    archive->config.frame_bytes = config->frame_bytes ? config->frame_bytes : 4u << 20;
    archive->config.frame_age_us = config->frame_age_us ? config->frame_age_us : 2 * VG_SECOND_US;
    if (archive->config.frame_bytes > FRAME_BYTES_MAX / 4)
        archive->config.frame_bytes = FRAME_BYTES_MAX / 4;
    archive->partitions = stream_partitions(stream);
    archive->shelves = calloc(archive->partitions, sizeof(*archive->shelves));
    st = archive->shelves ? archive_key_load(config->data_dir, true, archive->key, err)
                          : vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory");
    for (uint32_t p = 0; archive->shelves && p < archive->partitions; p++)
        archive->shelves[p].fd = -1;
    for (uint32_t p = 0; st == VG_OK && p < archive->partitions; p++)
        st = open_shelf(archive, p, err);
    for (uint32_t p = 0; st == VG_OK && p < archive->partitions; p++) {
        struct shelf *shelf = &archive->shelves[p];

        st = stage_start(
            &(struct stage_config){.ops = &ops, .self = shelf, .stream = stream, .partition = p},
            &shelf->stage, err);
    }
    if (st == VG_OK) {
        *ret_archive = archive;
        archive = NULL;
    }
    archive_close(archive);
    return st;
}

void archive_close(struct archive *archive)
{
    if (!archive)
        return;
    for (uint32_t p = 0; archive->shelves && p < archive->partitions; p++) {
        struct shelf *shelf = &archive->shelves[p];

        stage_stop(shelf->stage); /* what it holds comes again at the next start */
        if (shelf->archive)
            close_segment(shelf);
        vg_buf_fini(&shelf->plain);
        vg_buf_fini(&shelf->frame);
    }
    memset(archive->key, 0, sizeof(archive->key));
    free(archive->shelves);
    free(archive);
}

void archive_trouble(struct archive *archive, char out[static 256])
{
    out[0] = '\0';
    for (uint32_t p = 0; p < archive->partitions && !out[0]; p++)
        stage_trouble(archive->shelves[p].stage, out);
}
