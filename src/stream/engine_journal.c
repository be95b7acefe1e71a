/* engine_journal.c -- the embedded engine: one append-only journal per partition.
 *
 * ON DISK. dir/journal names the log's id and the number of partitions; dir/lock keeps a second
 * writer out; dir/p0000/ holds the segments of partition 0, each named by its first sequence number
 * and filled with zeros before use, so that a commit changes no file-system metadata. The bytes are
 * docs/format-journal.md, read and written in journal_batch.c; reading is journal_read.c.
 *
 * COMMITS. Each stream_out becomes one batch. One committer thread per partition takes everything
 * that waits, writes it with one pwrite, syncs once, publishes the new end and completes the
 * callbacks in order. While it syncs the next ones gather: the slower the disk, the larger the
 * write, and no timer.
 *
 * CRASHES. A batch is valid by its checksum or it is not there. Recovery reads the last segment
 * only: its first batch, the checkpoint, repeats all offsets and counts. What is behind the last
 * good batch is a torn write that nobody was answered for; it is zeroed before anything is
 * appended, so that no remnant can ever follow a new batch. A bad batch with good ones behind it is
 * damage: it is kept, skipped and reported.
 *
 * FAILURES. A failed write (no room) answers VG_RETRY; the bytes behind the end are zeroed before
 * the next one. A failed sync is final: Linux may drop the dirty pages and call the next sync a
 * success, so everything after it is answered VG_FATAL until the process starts anew.
 *
 * THREADS. A committer and a helper per partition. The helper makes the next segment once the
 * current one is an eighth full, and trims old ones. part->lock is never held over a system call
 * that touches a disk.
 */
#include "stream/journal.h"

#include "base/crypto.h"
#include "base/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_BYTES_MAX (4u << 20) /* gathered for one write, unless a single commit is larger */
#define FIRST_SEGMENT_BYTES_MIN (1u << 20)
#define ALLOCATE_BYTES (2u << 20)
#define META_BYTES_MAX 256u

/* ---- damage ---- */

void partition_damage(void *ctx, uint64_t segment_seq, uint64_t offset, uint64_t bytes,
                      uint64_t lost_seq, uint64_t next_seq, const char *what)
{
    struct partition *part = ctx;
    struct journal *journal = part->journal;
    char lost[80] = "";
    char *text = NULL;

    if (next_seq > lost_seq)
        (void)snprintf(lost, sizeof(lost), ", records %" PRIu64 " to %" PRIu64 " are lost",
                       lost_seq, next_seq - 1);
    pthread_mutex_lock(&journal->damage_lock);
    for (size_t i = 0; i < journal->damage_listed; i++) {
        const struct damage *seen = &journal->damages[i];

        if (seen->partition == part->index && seen->segment_seq == segment_seq &&
            seen->offset == offset)
            goto out; /* every consumer meets it */
    }
    journal->damage_count++;
    if (journal->damage_listed < DAMAGE_MAX &&
        asprintf(&text, "%s/%020" PRIu64 ".seg: offset %" PRIu64 ", %" PRIu64 " bytes: %s%s",
                 part->dir, segment_seq, offset, bytes, what, lost) >= 0)
        journal->damages[journal->damage_listed++] = (struct damage){
            .partition = part->index, .segment_seq = segment_seq, .offset = offset, .text = text};
out:
    pthread_mutex_unlock(&journal->damage_lock);
}

static size_t journal_damage(void *self, struct vg_buf *out)
{
    struct journal *journal = self;

    pthread_mutex_lock(&journal->damage_lock);
    size_t count = journal->damage_count;

    for (size_t i = 0; i < journal->damage_listed; i++) {
        vg_buf_put(out, vg_slice_of(journal->damages[i].text));
        vg_buf_put_byte(out, '\n');
    }
    if (count > journal->damage_listed)
        vg_buf_printf(out, "and %zu more\n", count - journal->damage_listed);
    pthread_mutex_unlock(&journal->damage_lock);
    return count;
}

/* ---- the state of a partition ---- */

void segment_mark(struct segment *segment, uint64_t seq, uint64_t offset, const uint64_t *counts)
{
    if (segment->mark_count && offset < segment->marks[segment->mark_count - 1].offset + MARK_BYTES)
        return;
    if (segment->mark_count == segment->mark_capacity) {
        size_t capacity = segment->mark_capacity ? segment->mark_capacity * 2 : 16;
        struct mark *grown = realloc(segment->marks, capacity * sizeof(*grown));

        if (!grown)
            return; /* marks only make seeks shorter */
        segment->marks = grown;
        segment->mark_capacity = capacity;
    }
    struct mark *mark = &segment->marks[segment->mark_count++];

    mark->seq = seq;
    mark->offset = offset;
    memcpy(mark->counts, counts, sizeof(mark->counts));
}

bool partition_add_segment(struct partition *part, uint64_t first_seq, uint64_t size_bytes)
{
    if (part->segment_count == part->segment_capacity) {
        size_t capacity = part->segment_capacity ? part->segment_capacity * 2 : 16;
        struct segment *grown = realloc(part->segments, capacity * sizeof(*grown));

        if (!grown)
            return false;
        part->segments = grown;
        part->segment_capacity = capacity;
    }
    part->segments[part->segment_count++] =
        (struct segment){.first_seq = first_seq, .size_bytes = size_bytes};
    return true;
}

static struct group_offset *find_group(struct partition *part, struct vg_slice group,
                                       enum stream_topic topic, uint32_t partition)
{
    for (size_t i = 0; i < part->group_count; i++) {
        struct group_offset *entry = &part->groups[i];

        if (entry->topic == topic && entry->partition == partition &&
            vg_slice_eq(group, (struct vg_slice){entry->group, entry->group_bytes}))
            return entry;
    }
    return NULL;
}

static void apply_offsets(struct partition *part, struct vg_slice offsets)
{
    struct offset_view view;

    while (offset_decode(&offsets, &view)) {
        struct group_offset *entry = find_group(part, view.group, view.topic, view.partition);

        if (!entry && part->group_count < GROUPS_MAX) {
            entry = &part->groups[part->group_count++];
            *entry = (struct group_offset){.group_bytes = (uint8_t)view.group.len,
                                           .topic = view.topic,
                                           .partition = view.partition};
            memcpy(entry->group, view.group.ptr, view.group.len);
        }
        if (entry)
            entry->next_seq = view.next_seq;
    }
}

void partition_apply(struct partition *part, struct segment *segment, const struct batch *batch)
{
    if (batch->has_counts)
        memcpy(part->counts, batch->counts, sizeof(part->counts));
    for (uint32_t i = 0; i < batch->header.group_count; i++)
        part->counts[batch->groups[i].topic] += batch->groups[i].count;
    apply_offsets(part, batch->offsets);
    part->next_seq = batch->header.first_seq + batch->header.record_count;
    part->end_offset = batch->offset + batch->total_bytes;
    part->prev_hash = batch->hash;
    segment_mark(segment, part->next_seq, part->end_offset, part->counts);
}

uint64_t journal_committed(void *self, struct vg_slice group, enum stream_topic topic,
                           uint32_t partition)
{
    struct journal *journal = self;
    uint64_t next_seq = 0;

    /* A group may answer a partition in another one's journal: the furthest counts. */
    for (uint32_t i = 0; i < journal->config.partitions; i++) {
        struct partition *part = &journal->parts[i];

        pthread_mutex_lock(&part->lock);
        const struct group_offset *entry = find_group(part, group, topic, partition);

        if (entry && entry->next_seq > next_seq)
            next_seq = entry->next_seq;
        pthread_mutex_unlock(&part->lock);
    }
    return next_seq;
}

/* ---- files ---- */

bool segment_path(const struct partition *part, uint64_t first_seq, const char *ending, char *out,
                  size_t size_bytes)
{
    int len = snprintf(out, size_bytes, "%s/%020" PRIu64 "%s", part->dir, first_seq, ending);

    return len > 0 && (size_t)len < size_bytes;
}

static int by_first_seq(const void *a, const void *b)
{
    const struct segment_file *left = a, *right = b;

    return (left->first_seq > right->first_seq) - (left->first_seq < right->first_seq);
}

enum vg_status partition_list(const struct partition *part, uint64_t from,
                              struct segment_file **ret_files, size_t *ret_count,
                              struct vg_err *err)
{
    DIR *dir = opendir(part->dir);
    struct segment_file *files = NULL;
    size_t count = 0, capacity = 0;
    enum vg_status status = VG_OK;

    *ret_files = NULL;
    *ret_count = 0;
    if (!dir)
        return vg_fail(err, VG_RETRY, "stream.read", errno, "%.150s", part->dir);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        struct vg_slice name = vg_slice_of(entry->d_name);
        struct stat info;
        uint64_t first_seq;

        if (name.len != 24 || !vg_slice_is(vg_slice_from(name, 20), ".seg") ||
            !vg_slice_to_u64((struct vg_slice){name.ptr, 20}, &first_seq) || first_seq < from ||
            first_seq >= SEQ_LIMIT || fstatat(dirfd(dir), entry->d_name, &info, 0) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            struct segment_file *grown = realloc(files, capacity * sizeof(*grown));

            if (!grown) {
                status = vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for %zu segments",
                                 capacity);
                break;
            }
            files = grown;
        }
        files[count++] =
            (struct segment_file){.first_seq = first_seq, .size_bytes = (uint64_t)info.st_size};
    }
    (void)closedir(dir); /* opened for reading */
    if (status != VG_OK) {
        free(files);
        return status;
    }
    if (count)
        qsort(files, count, sizeof(*files), by_first_seq);
    *ret_files = files;
    *ret_count = count;
    return VG_OK;
}

static enum vg_status fail_write(struct vg_err *err, int sys_errno, const char *what,
                                 const char *where)
{
    bool is_full = sys_errno == ENOSPC || sys_errno == EDQUOT;

    return vg_fail(err, VG_RETRY, is_full ? "stream.full" : "stream.write", sys_errno, "%s %.120s",
                   what, where);
}

/* ---- the next segment ---- */

static void spare_path(const struct partition *part, char *out, size_t size_bytes)
{
    (void)snprintf(out, size_bytes, "%s/spare", part->dir);
}

/* A file of `bytes` zeros, on the disk. -1 and errno; nothing stays behind. */
static int make_spare(const struct partition *part, uint64_t bytes)
{
    const struct vg_io *io = part->journal->config.io;
    char path[PATH_MAX];

    spare_path(part, path, sizeof(path));
    int fd = io->open(io->ctx, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return -1;
    int is_failed = 0;

    /* In steps: one sync of it all would hold up the commits that go on beside it. */
    for (uint64_t made = 0; made < bytes && is_failed == 0;) {
        made = bytes - made > ALLOCATE_BYTES ? made + ALLOCATE_BYTES : bytes;
        is_failed = io->allocate(io->ctx, fd, (off_t)made);
    }
    if (is_failed == 0)
        return fd;
    int why = errno;

    (void)io->close(io->ctx, fd);    /* the first failure is the one that counts, */
    (void)io->unlink(io->ctx, path); /* and the file is truncated when it is made again */
    errno = why;
    return -1;
}

/* The spare that the helper made, or -1: make one. A spare too small is given up. */
static int take_spare(struct partition *part, uint64_t bytes, uint64_t *ret_bytes)
{
    int fd = -1;

    pthread_mutex_lock(&part->lock);
    while (part->spare == SPARE_MAKING)
        pthread_cond_wait(&part->spare_is_made, &part->lock);
    if (part->spare == SPARE_READY) {
        fd = part->spare_fd;
        *ret_bytes = part->spare_bytes;
    }
    part->spare = SPARE_NONE;
    pthread_mutex_unlock(&part->lock);
    if (fd >= 0 && *ret_bytes < bytes) {
        (void)part->journal->config.io->close(part->journal->config.io->ctx, fd);
        fd = -1;
    }
    return fd;
}

/* The first batch of a segment: all offsets, and how many records there were of each topic. */
static uint64_t encode_checkpoint(struct partition *part, uint64_t segment_bytes, struct vg_buf *to)
{
    struct batch_header header = {.flags = BATCH_IS_CHECKPOINT,
                                  .partition = part->index,
                                  .first_seq = part->next_seq,
                                  .offset_count = (uint32_t)part->group_count,
                                  .time_us = vg_now_us(),
                                  .prev_hash = part->prev_hash,
                                  .log_id = part->journal->log_id};
    struct vg_buf body;
    uint64_t hash = 0;

    vg_buf_init(&body, 0);
    for (size_t i = 0; i < part->group_count; i++) {
        const struct group_offset *entry = &part->groups[i];

        vg_buf_put_u64(&body, entry->next_seq);
        vg_buf_put_u32(&body, entry->partition);
        vg_buf_put_u16(&body, (uint16_t)entry->topic);
        vg_buf_put_byte(&body, entry->group_bytes);
        vg_buf_put(&body, (struct vg_slice){entry->group, entry->group_bytes});
    }
    vg_buf_put_u64(&body, segment_bytes);
    vg_buf_put_u32(&body, STREAM_TOPIC_COUNT);
    for (unsigned topic = 0; topic < STREAM_TOPIC_COUNT; topic++)
        vg_buf_put_u64(&body, part->counts[topic]);
    if (vg_buf_ok(&body))
        hash = batch_encode_plain(to, &header, vg_buf_slice(&body));
    if (!vg_buf_ok(&body))
        to->has_failed = true;
    vg_buf_fini(&body);
    return hash;
}

static uint64_t checkpoint_bytes_max(const struct partition *part)
{
    return BATCH_HEADER_BYTES + CHECKPOINT_TAIL_BYTES + 8 +
           part->group_count * (OFFSET_HEADER_BYTES + STREAM_GROUP_BYTES_MAX);
}

static enum vg_status fail_sync(struct partition *part, const char *what, struct vg_err *err)
{
    part->failure = vg_fail(&part->failure_err, VG_FATAL, "stream.sync", errno,
                            "%s %.120s: nothing can be committed until a restart", what, part->dir);
    if (err)
        *err = part->failure_err;
    return VG_FATAL;
}

/* Two segments cannot have one name: a segment that got offsets only uses up a sequence number. The
 * last header's room of a segment is kept free for this and for the clean close. */
static enum vg_status write_filler(struct partition *part, struct vg_err *err)
{
    const struct vg_io *io = part->journal->config.io;
    struct batch_header header = {.flags = BATCH_IS_FILLER,
                                  .partition = part->index,
                                  .first_seq = part->next_seq,
                                  .record_count = 1,
                                  .time_us = vg_now_us(),
                                  .prev_hash = part->prev_hash,
                                  .log_id = part->journal->log_id};

    vg_buf_clear(&part->batches);
    uint64_t hash = batch_encode_plain(&part->batches, &header, (struct vg_slice){0});

    if (!vg_buf_ok(&part->batches))
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a batch");
    part->dirty_bytes = part->batches.len;
    if (vg_io_write_all(io, part->fd, part->batches.ptr, part->batches.len,
                        (off_t)part->end_offset) != 0)
        return fail_write(err, errno, "write to", part->dir);
    if (io->fdatasync(io->ctx, part->fd) != 0)
        return fail_sync(part, "sync of", err);
    part->dirty_bytes = 0;
    pthread_mutex_lock(&part->lock);
    part->end_offset += part->batches.len;
    part->next_seq++;
    part->prev_hash = hash;
    pthread_mutex_unlock(&part->lock);
    vg_buf_clear(&part->batches);
    return VG_OK;
}

/* A new segment that a batch of `bytes` fits into. The old one is synced. Committer, or open. */
static enum vg_status roll(struct partition *part, uint64_t bytes, struct vg_err *err)
{
    const struct stream_config *config = &part->journal->config;
    const struct vg_io *io = config->io;
    char from[PATH_MAX], to[PATH_MAX];
    uint64_t segment_bytes = config->segment_bytes;
    struct vg_buf checkpoint;
    enum vg_status status = VG_OK;

    pthread_mutex_lock(&part->lock);
    bool has_segment = part->segment_count > 0;
    uint64_t last_seq = has_segment ? part->segments[part->segment_count - 1].first_seq : 0;

    pthread_mutex_unlock(&part->lock);
    /* A journal begins small, so that a first start does not wait for 64 MiB of zeros. */
    if (!has_segment && segment_bytes / 16 >= FIRST_SEGMENT_BYTES_MIN)
        segment_bytes /= 16;
    if (has_segment && last_seq == part->next_seq)
        status = write_filler(part, err);
    if (status != VG_OK)
        return status;
    bytes += checkpoint_bytes_max(part) + BATCH_HEADER_BYTES;
    if (segment_bytes < bytes)
        segment_bytes = (bytes + 4095) / 4096 * 4096;
    spare_path(part, from, sizeof(from));
    if (!segment_path(part, part->next_seq, ".seg", to, sizeof(to)))
        return vg_fail(err, VG_FATAL, "stream.config", ENAMETOOLONG, "%.100s", part->dir);
    int fd = take_spare(part, bytes, &segment_bytes);

    if (fd < 0) {
        if (segment_bytes < bytes)
            segment_bytes = (bytes + 4095) / 4096 * 4096;
        fd = make_spare(part, segment_bytes);
    }
    if (fd < 0)
        return fail_write(err, errno, "no room for a segment in", part->dir);
    vg_buf_init(&checkpoint, 0);
    uint64_t hash = encode_checkpoint(part, segment_bytes, &checkpoint);

    if (!vg_buf_ok(&checkpoint))
        status = vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a checkpoint");
    else if (vg_io_write_all(io, fd, checkpoint.ptr, checkpoint.len, 0) != 0)
        status = fail_write(err, errno, "write", from);
    else if (io->fdatasync(io->ctx, fd) != 0)
        status = fail_sync(part, "sync of a new segment in", err);
    else if (io->rename(io->ctx, from, to) != 0)
        status = fail_write(err, errno, "rename to", to);
    else if (io->sync_dir(io->ctx, part->dir) != 0)
        status = fail_sync(part, "sync of the folder", err);
    if (status == VG_OK) {
        pthread_mutex_lock(&part->lock);
        if (partition_add_segment(part, part->next_seq, segment_bytes)) {
            part->end_offset = checkpoint.len;
            part->prev_hash = hash;
            segment_mark(&part->segments[part->segment_count - 1], part->next_seq, part->end_offset,
                         part->counts);
            part->wants_trim = true;
            pthread_cond_signal(&part->has_chore);
        } else {
            /* The file is there, so the next try under the same name would replace it: fine. */
            status = vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a segment");
        }
        pthread_mutex_unlock(&part->lock);
    }
    vg_buf_fini(&checkpoint);
    if (status != VG_OK) {
        (void)io->close(io->ctx, fd); /* the failure above counts; the spare is made anew */
        return status;
    }
    if (part->fd >= 0)
        (void)io->close(io->ctx, part->fd); /* it is synced: nothing can be lost */
    part->fd = fd;
    part->segment_bytes = segment_bytes;
    part->dirty_bytes = 0;
    return VG_OK;
}

/* ---- trimming ---- */

/* Has every group that is known passed the records before `seq`? */
static bool all_have_passed(struct partition *part, uint64_t seq)
{
    struct journal *journal = part->journal;
    bool has_any = false;

    for (uint32_t i = 0; i < journal->config.partitions; i++) {
        struct partition *home = &journal->parts[i];

        for (size_t group = 0;; group++) {
            uint64_t before, all;

            pthread_mutex_lock(&home->lock);
            bool is_end = group >= home->group_count;
            struct group_offset entry = is_end ? (struct group_offset){0} : home->groups[group];

            pthread_mutex_unlock(&home->lock);
            if (is_end)
                break;
            if (entry.partition != part->index)
                continue;
            has_any = true;
            struct vg_slice name = {entry.group, entry.group_bytes};
            uint64_t done = journal_committed(journal, name, entry.topic, part->index);

            /* Also passed: there are no records of its topic in between. */
            if (done < seq && (!count_before(part, entry.topic, done, &before) ||
                               !count_before(part, entry.topic, seq, &all) || before != all))
                return false;
        }
    }
    /* Nobody has read anything yet: whoever comes shall find it. */
    return has_any;
}

static void trim(struct partition *part)
{
    const struct stream_config *config = &part->journal->config;

    for (;;) {
        uint64_t total = 0, first = 0, second = 0;
        char path[PATH_MAX];

        pthread_mutex_lock(&part->lock);
        for (size_t i = 0; i < part->segment_count; i++)
            total += part->segments[i].size_bytes;
        bool is_enough =
            part->segment_count < 2 || total <= config->retention_bytes || part->is_helper_closing;

        if (!is_enough) {
            first = part->segments[0].first_seq;
            second = part->segments[1].first_seq;
        }
        pthread_mutex_unlock(&part->lock);
        if (is_enough || !all_have_passed(part, second))
            return;
        pthread_mutex_lock(&part->lock);
        free(part->segments[0].marks);
        part->segment_count--;
        memmove(part->segments, part->segments + 1, part->segment_count * sizeof(*part->segments));
        pthread_mutex_unlock(&part->lock);
        /* A file that cannot be removed is found again by the next start. */
        if (segment_path(part, first, ".seg", path, sizeof(path)))
            (void)config->io->unlink(config->io->ctx, path);
    }
}

static void *run_helper(void *arg)
{
    struct partition *part = arg;

    pthread_mutex_lock(&part->lock);
    while (!part->is_helper_closing) {
        if (part->spare == SPARE_WANTED) {
            uint64_t bytes = part->journal->config.segment_bytes;

            part->spare = SPARE_MAKING;
            pthread_mutex_unlock(&part->lock);
            int fd = make_spare(part, bytes);

            pthread_mutex_lock(&part->lock);
            part->spare_fd = fd;
            part->spare_bytes = bytes;
            /* No room: the committer will try for itself and answer for it. */
            part->spare = fd >= 0 ? SPARE_READY : SPARE_NONE;
            pthread_cond_signal(&part->spare_is_made);
        } else if (part->wants_trim) {
            part->wants_trim = false;
            pthread_mutex_unlock(&part->lock);
            trim(part);
            pthread_mutex_lock(&part->lock);
        } else {
            pthread_cond_wait(&part->has_chore, &part->lock);
        }
    }
    pthread_mutex_unlock(&part->lock);
    return NULL;
}

/* ---- the committer ---- */

/* Zero what a failed write or a torn one may have left behind the end. */
static enum vg_status clean_tail(struct partition *part, struct vg_err *err)
{
    static const char zeros[65536];
    const struct vg_io *io = part->journal->config.io;

    for (uint64_t done = 0; done < part->dirty_bytes;) {
        uint64_t left = part->dirty_bytes - done;
        size_t want = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);

        if (vg_io_write_all(io, part->fd, zeros, want, (off_t)(part->end_offset + done)) != 0)
            return fail_write(err, errno, "clean the tail of", part->dir);
        done += want;
    }
    if (part->dirty_bytes && io->fdatasync(io->ctx, part->fd) != 0)
        return fail_sync(part, "sync of", err);
    part->dirty_bytes = 0;
    return VG_OK;
}

/* New groups are refused once the table is full; the known ones go on. */
static bool has_room_for_groups(struct partition *part, const struct stream_out *out)
{
    struct vg_slice rest = vg_buf_slice(&out->offsets);
    struct offset_view view;

    if (part->group_count + out->offset_count <= GROUPS_MAX)
        return true;
    while (offset_decode(&rest, &view)) {
        if (!find_group(part, view.group, view.topic, view.partition))
            return false;
    }
    return true;
}

static bool is_empty(const struct stream_out *out)
{
    return out->record_count == 0 && out->offset_count == 0;
}

/* Make the new end known, wake who waits for it. */
static void publish(struct partition *part, const struct request *requests, size_t count,
                    uint64_t end_offset, uint64_t next_seq, uint64_t prev_hash)
{
    bool has_topic[STREAM_TOPIC_COUNT] = {false};

    pthread_mutex_lock(&part->lock);
    for (size_t i = 0; i < count; i++) {
        if (requests[i].status != VG_OK)
            continue;
        for (unsigned topic = 1; topic < STREAM_TOPIC_COUNT; topic++) {
            part->counts[topic] += requests[i].totals.counts[topic];
            has_topic[topic] |= requests[i].totals.counts[topic] > 0;
        }
        apply_offsets(part, vg_buf_slice(&requests[i].out->offsets));
    }
    part->end_offset = end_offset;
    part->next_seq = next_seq;
    part->prev_hash = prev_hash;
    struct segment *last = &part->segments[part->segment_count - 1];

    segment_mark(last, next_seq, end_offset, part->counts);
    for (unsigned topic = 1; topic < STREAM_TOPIC_COUNT; topic++) {
        if (has_topic[topic])
            pthread_cond_broadcast(&part->has_topic[topic]);
    }
    if (part->spare == SPARE_NONE && end_offset > last->size_bytes / 8) {
        part->spare = SPARE_WANTED;
        pthread_cond_signal(&part->has_chore);
    }
    pthread_mutex_unlock(&part->lock);
}

/* Encodes requests while they fit, writes them, syncs. *ret_count: how many were dealt with (at
 * least one); each has its status. *err belongs to those that failed. */
static void commit_some(struct partition *part, struct request *requests, size_t count,
                        size_t *ret_count, struct vg_err *err)
{
    const struct vg_io *io = part->journal->config.io;
    uint64_t end = part->end_offset, seq = part->next_seq, hash = part->prev_hash;
    uint64_t room = part->segment_bytes;
    enum vg_status status = part->failure;
    int64_t now_us = vg_now_us();
    size_t done = 0;

    if (status == VG_OK)
        status = clean_tail(part, err);
    else
        *err = part->failure_err;
    if (status != VG_OK)
        done = 1;
    vg_buf_clear(&part->batches);
    for (; status == VG_OK && done < count; done++) {
        struct request *request = &requests[done];

        request->first_seq = seq;
        if (request->status != VG_OK || is_empty(request->out))
            continue;
        if (!has_room_for_groups(part, request->out)) {
            request->status = VG_REJECT;
            continue;
        }
        uint64_t bytes = batch_bytes(&request->totals, request->out);

        if (end + bytes + BATCH_HEADER_BYTES > room ||
            (part->batches.len && part->batches.len + bytes > WRITE_BYTES_MAX)) {
            if (part->batches.len)
                break; /* these first */
            status = roll(part, bytes, err);
            if (status != VG_OK) {
                done++;
                break;
            }
            end = part->end_offset;
            seq = request->first_seq = part->next_seq;
            hash = part->prev_hash;
            room = part->segment_bytes;
        }
        char *to = vg_buf_reserve(&part->batches, bytes);

        if (!to) {
            vg_buf_fini(&part->batches);
            vg_buf_init(&part->batches, SIZE_MAX / 2);
            end = part->end_offset;
            seq = part->next_seq;
            status = vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a batch of %llu",
                             (unsigned long long)bytes);
            done++;
            break;
        }
        struct batch_header header = {.partition = part->index,
                                      .first_seq = seq,
                                      .time_us = now_us,
                                      .prev_hash = hash,
                                      .log_id = part->journal->log_id};

        hash = batch_encode(to, &header, &request->totals, request->out);
        part->batches.len += bytes;
        end += bytes;
        seq += request->out->record_count;
    }
    if (status == VG_OK && part->batches.len) {
        if (vg_io_write_all(io, part->fd, part->batches.ptr, part->batches.len,
                            (off_t)part->end_offset) != 0) {
            status = fail_write(err, errno, "write to", part->dir);
            part->dirty_bytes = part->batches.len;
        } else if (io->fdatasync(io->ctx, part->fd) != 0) {
            status = fail_sync(part, "sync of", err);
        }
    }
    if (status != VG_OK) {
        /* All that stood in this write, or the one that could not be put into it. */
        for (size_t i = 0; i < done; i++) {
            if (requests[i].status == VG_OK && (status == VG_FATAL || !is_empty(requests[i].out)))
                requests[i].status = status;
        }
    } else if (part->batches.len) {
        publish(part, requests, done, end, seq, hash);
    }
    *ret_count = done;
}

static void complete(struct partition *part, struct request *requests, size_t count,
                     const struct vg_err *err)
{
    for (size_t i = 0; i < count; i++) {
        struct request *request = &requests[i];
        struct vg_err refusal = {0};
        struct out_totals totals;

        if (request->status == VG_REJECT &&
            stream_out_measure(request->out, part->journal->config.record_bytes_max, &totals,
                               &refusal) == VG_OK)
            (void)vg_fail(&refusal, VG_REJECT, "stream.groups", 0,
                          "more than %u consumer groups in partition %u", GROUPS_MAX, part->index);
        request->done(request->ctx, request->status, request->first_seq,
                      request->status == VG_REJECT ? &refusal
                      : request->status != VG_OK   ? err
                                                   : NULL);
    }
}

static void *run_committer(void *arg)
{
    struct partition *part = arg;

    for (;;) {
        pthread_mutex_lock(&part->lock);
        while (part->waiting_count == 0 && !part->is_closing)
            pthread_cond_wait(&part->has_work, &part->lock);
        size_t count = part->waiting_count, capacity = part->waiting_capacity;
        struct request *requests = part->waiting;

        part->waiting = part->taken;
        part->waiting_capacity = part->taken_capacity;
        part->waiting_count = 0;
        part->taken = requests;
        part->taken_capacity = capacity;
        pthread_mutex_unlock(&part->lock);
        if (count == 0)
            return NULL; /* closing, and nothing waits */
        for (size_t i = 0, done = 0; i < count; i += done) {
            struct vg_err err = {0};

            commit_some(part, requests + i, count - i, &done, &err);
            complete(part, requests + i, done, &err);
        }
    }
}

static void journal_commit(void *self, uint32_t partition, struct stream_out *out,
                           stream_done *done, void *ctx)
{
    struct journal *journal = self;
    struct partition *part = &journal->parts[partition];
    struct request request = {.out = out, .done = done, .ctx = ctx};
    struct vg_err err = {0};

    if (journal->config.is_read_only) {
        enum vg_status status = vg_fail(&err, VG_FATAL, "stream.read_only", 0,
                                        "%.150s is open for reading only", journal->config.dir);

        done(ctx, status, 0, &err);
        return;
    }
    request.status =
        stream_out_measure(out, journal->config.record_bytes_max, &request.totals, NULL);
    pthread_mutex_lock(&part->lock);
    if (part->waiting_count == part->waiting_capacity) {
        size_t capacity = part->waiting_capacity ? part->waiting_capacity * 2 : 64;
        struct request *grown = realloc(part->waiting, capacity * sizeof(*grown));

        if (!grown) {
            pthread_mutex_unlock(&part->lock);
            enum vg_status status =
                vg_fail(&err, VG_RETRY, "stream.memory", 0, "no memory for %zu commits", capacity);

            done(ctx, status, 0, &err); /* the one case that is answered in the caller's thread */
            return;
        }
        part->waiting = grown;
        part->waiting_capacity = capacity;
    }
    part->waiting[part->waiting_count++] = request;
    if (part->waiting_count == 1)
        pthread_cond_signal(&part->has_work);
    pthread_mutex_unlock(&part->lock);
}

/* ---- recovery ---- */

static enum vg_status open_for(struct partition *part, uint64_t first_seq, int flags, int *ret_fd,
                               struct vg_err *err)
{
    const struct vg_io *io = part->journal->config.io;
    char path[PATH_MAX];

    if (!segment_path(part, first_seq, ".seg", path, sizeof(path)))
        return vg_fail(err, VG_FATAL, "stream.config", ENAMETOOLONG, "%.100s", part->dir);
    *ret_fd = io->open(io->ctx, path, flags | O_CLOEXEC, 0);
    return *ret_fd >= 0 ? VG_OK : vg_fail(err, VG_RETRY, "stream.open", errno, "open %.150s", path);
}

/* The last segment that begins with a good checkpoint; with none, the first. */
static enum vg_status find_start(struct partition *part, size_t *ret_index, struct vg_err *err)
{
    const struct stream_config *config = &part->journal->config;
    struct cursor cursor;
    struct batch batch;
    enum vg_status status = VG_OK;

    *ret_index = 0;
    for (size_t i = part->segment_count; i > 0 && status == VG_OK; i--) {
        const struct segment *segment = &part->segments[i - 1];
        int fd;

        /* Silent: whoever reads it from the start will tell. */
        cursor_init(&cursor, config->io, part->index, part->journal->log_id, partition_damage,
                    part);
        status = open_for(part, segment->first_seq, O_RDONLY, &fd, err);
        if (status != VG_OK)
            break;
        cursor_place(&cursor, fd, segment->first_seq, 0, segment->first_seq);
        bool is_good = cursor_first(&cursor, segment->size_bytes, &batch);

        cursor_fini(&cursor);
        if (is_good && batch.has_counts && batch.header.first_seq == segment->first_seq) {
            *ret_index = i - 1;
            break;
        }
    }
    return status;
}

/* Reads one segment into the state. *ret_has_any: it had a good batch. */
static enum vg_status recover_segment(struct partition *part, size_t index, bool *ret_has_any,
                                      struct vg_err *err)
{
    const struct stream_config *config = &part->journal->config;
    struct segment *segment = &part->segments[index];
    bool is_last = index + 1 == part->segment_count;
    enum cursor_end end = !is_last               ? CURSOR_SEALED
                          : config->is_read_only ? CURSOR_GROWING
                                                 : CURSOR_TAIL;
    uint64_t torn = 0;
    struct cursor cursor;
    struct batch batch;
    int fd;
    enum vg_status status = open_for(part, segment->first_seq, O_RDONLY, &fd, err);

    *ret_has_any = false;
    if (status != VG_OK)
        return status;
    cursor_init(&cursor, config->io, part->index, part->journal->log_id, partition_damage, part);
    cursor_place(&cursor, fd, segment->first_seq, 0, segment->first_seq);
    for (;;) {
        status = cursor_next(&cursor, segment->size_bytes,
                             is_last ? UINT64_MAX : segment[1].first_seq, end, &batch, &torn, err);
        if (status != VG_OK)
            break;
        if (batch.has_counts && batch.segment_bytes > segment->size_bytes)
            partition_damage(part, segment->first_seq, segment->size_bytes,
                             batch.segment_bytes - segment->size_bytes, 0, 0,
                             "the file is shorter than it was made");
        partition_apply(part, segment, &batch);
        *ret_has_any = true;
    }
    cursor_fini(&cursor);
    part->dirty_bytes = is_last && *ret_has_any ? torn : 0;
    return status == VG_END ? VG_OK : status;
}

/* The last segment holds nothing that can be read: it is put aside for whoever wants to look. */
static enum vg_status set_aside(struct partition *part, struct vg_err *err)
{
    const struct vg_io *io = part->journal->config.io;
    struct segment *segment = &part->segments[part->segment_count - 1];
    char from[PATH_MAX], to[PATH_MAX];

    partition_damage(part, segment->first_seq, 0, segment->size_bytes, 0, 0,
                     "no good batch in it; the file is renamed to end in .damaged");
    if (!segment_path(part, segment->first_seq, ".seg", from, sizeof(from)) ||
        !segment_path(part, segment->first_seq, ".seg.damaged", to, sizeof(to)))
        return vg_fail(err, VG_FATAL, "stream.config", ENAMETOOLONG, "%.100s", part->dir);
    if (io->rename(io->ctx, from, to) != 0 || io->sync_dir(io->ctx, part->dir) != 0)
        return vg_fail(err, VG_RETRY, "stream.open", errno, "rename %.120s", from);
    part->segment_count--; /* a segment without batches has no marks */
    if (part->next_seq < segment->first_seq)
        part->next_seq = segment->first_seq;
    return VG_OK;
}

static enum vg_status recover(struct partition *part, struct vg_err *err)
{
    bool is_read_only = part->journal->config.is_read_only, has_any = true;
    struct segment_file *files = NULL;
    size_t count = 0, start = 0;
    enum vg_status status = partition_list(part, 0, &files, &count, err);

    for (size_t i = 0; status == VG_OK && i < count; i++) {
        if (!partition_add_segment(part, files[i].first_seq, files[i].size_bytes))
            status =
                vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for %zu segments", count);
    }
    free(files);
    if (status == VG_OK && part->segment_count)
        status = find_start(part, &start, err);
    if (part->segment_count)
        part->next_seq = part->segments[start].first_seq;
    for (size_t i = start; status == VG_OK && i < part->segment_count; i++)
        status = recover_segment(part, i, &has_any, err);
    if (status != VG_OK || is_read_only) {
        if (!has_any)
            part->end_offset = 0;
        return status;
    }
    if (!has_any)
        status = set_aside(part, err);
    if (status == VG_OK && (!has_any || part->segment_count == 0))
        return roll(part, 0, err);
    if (status == VG_OK) {
        part->segment_bytes = part->segments[part->segment_count - 1].size_bytes;
        status = open_for(part, part->segments[part->segment_count - 1].first_seq, O_RDWR,
                          &part->fd, err);
    }
    if (status == VG_OK && part->dirty_bytes) {
        vg_metric_add(vg_counter("vigil_stream_torn_tails_total",
                                 "Unfinished writes that recovery cut from the end of a journal.",
                                 ""),
                      1);
        status = clean_tail(part, err);
    }
    return status;
}

/* ---- open and close ---- */

static void make_conditions(struct partition *part)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    for (unsigned topic = 0; topic < STREAM_TOPIC_COUNT; topic++)
        pthread_cond_init(&part->has_topic[topic], &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&part->has_work, NULL);
    pthread_cond_init(&part->has_chore, NULL);
    pthread_cond_init(&part->spare_is_made, NULL);
    pthread_mutex_init(&part->lock, NULL);
    pthread_mutex_init(&part->count_lock, NULL);
    pthread_mutex_init(&part->tail_lock, NULL);
}

static enum vg_status open_partition(struct journal *journal, uint32_t index, struct vg_err *err)
{
    struct partition *part = &journal->parts[index];
    const struct stream_config *config = &journal->config;
    char path[PATH_MAX];
    enum vg_status status;

    part->groups = calloc(GROUPS_MAX, sizeof(*part->groups));
    if (!part->groups || asprintf(&part->dir, "%s/p%04u", config->dir, index) < 0)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a partition");
    if (!config->is_read_only) {
        status = vg_dir_make(part->dir, err);
        if (status != VG_OK)
            return status;
        if (config->io->sync_dir(config->io->ctx, config->dir) != 0)
            return vg_fail(err, VG_RETRY, "stream.open", errno, "sync of %.150s", config->dir);
        spare_path(part, path, sizeof(path));
        if (unlink(path) != 0 && errno != ENOENT)
            return vg_fail(err, VG_RETRY, "stream.open", errno, "remove %.150s", path);
    }
    status = recover(part, err);
    if (status != VG_OK || config->is_read_only)
        return status;
    if (pthread_create(&part->helper, NULL, run_helper, part) != 0)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no thread for partition %u", index);
    part->has_helper = true;
    if (pthread_create(&part->committer, NULL, run_committer, part) != 0)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no thread for partition %u", index);
    part->has_committer = true;
    return VG_OK;
}

/* An orderly close says so: behind it the end of the log is known, and damage before it shows. */
static void write_clean(struct partition *part)
{
    const struct vg_io *io = part->journal->config.io;
    struct batch_header header = {.flags = BATCH_IS_CLEAN,
                                  .partition = part->index,
                                  .first_seq = part->next_seq,
                                  .time_us = vg_now_us(),
                                  .prev_hash = part->prev_hash,
                                  .log_id = part->journal->log_id};

    if (part->fd < 0 || part->failure != VG_OK || clean_tail(part, NULL) != VG_OK ||
        part->end_offset + BATCH_HEADER_BYTES > part->segment_bytes)
        return;
    vg_buf_clear(&part->batches);
    (void)batch_encode_plain(&part->batches, &header, (struct vg_slice){0});
    /* Best effort: everything that was answered is durable already. */
    if (vg_buf_ok(&part->batches) &&
        vg_io_write_all(io, part->fd, part->batches.ptr, part->batches.len,
                        (off_t)part->end_offset) == 0)
        (void)io->fdatasync(io->ctx, part->fd);
}

/* Drains what waits, then ends both threads. */
static void stop_threads(struct partition *part)
{
    pthread_mutex_lock(&part->lock);
    part->is_closing = true;
    pthread_cond_signal(&part->has_work);
    pthread_mutex_unlock(&part->lock);
    if (part->has_committer)
        (void)pthread_join(part->committer, NULL);
    pthread_mutex_lock(&part->lock);
    part->is_helper_closing = true;
    pthread_cond_signal(&part->has_chore);
    pthread_mutex_unlock(&part->lock);
    if (part->has_helper)
        (void)pthread_join(part->helper, NULL);
}

static void free_partition(struct partition *part)
{
    const struct vg_io *io = part->journal->config.io;
    char path[PATH_MAX];

    if (part->has_committer)
        write_clean(part);
    if (part->spare == SPARE_READY) {
        (void)io->close(io->ctx, part->spare_fd);
        spare_path(part, path, sizeof(path));
        (void)io->unlink(io->ctx, path); /* the next start removes it too */
    }
    if (part->fd >= 0)
        (void)io->close(io->ctx, part->fd); /* it is synced */
    for (size_t i = 0; i < part->segment_count; i++)
        free(part->segments[i].marks);
    free(part->segments);
    free(part->groups);
    free(part->waiting);
    free(part->taken);
    free(part->dir);
    vg_buf_fini(&part->batches);
    reader_fini(&part->counter);
    reader_fini(&part->tail);
    for (unsigned topic = 0; topic < STREAM_TOPIC_COUNT; topic++)
        pthread_cond_destroy(&part->has_topic[topic]);
    pthread_cond_destroy(&part->has_work);
    pthread_cond_destroy(&part->has_chore);
    pthread_cond_destroy(&part->spare_is_made);
    pthread_mutex_destroy(&part->lock);
    pthread_mutex_destroy(&part->count_lock);
    pthread_mutex_destroy(&part->tail_lock);
}

static void journal_close(void *self)
{
    struct journal *journal = self;

    /* A helper looks into all partitions: every one stops before the first is freed. */
    for (uint32_t i = 0; journal->parts && i < journal->config.partitions; i++)
        stop_threads(&journal->parts[i]);
    for (uint32_t i = 0; journal->parts && i < journal->config.partitions; i++)
        free_partition(&journal->parts[i]);
    for (size_t i = 0; i < journal->damage_listed; i++)
        free(journal->damages[i].text);
    free(journal->damages);
    free(journal->parts);
    if (journal->lock_fd >= 0)
        (void)close(journal->lock_fd); /* this gives the lock back */
    pthread_mutex_destroy(&journal->damage_lock);
    free((char *)(uintptr_t)journal->config.dir);
    free(journal);
}

static enum vg_status take_lock(struct journal *journal, struct vg_err *err)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/lock", journal->config.dir);
    journal->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (journal->lock_fd < 0)
        return vg_fail(err, VG_RETRY, "stream.open", errno, "open %.150s", path);
    if (flock(journal->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return vg_fail(err, VG_FATAL, "stream.locked", errno, "%.120s is in use by another process",
                       journal->config.dir);
    return VG_OK;
}

/* dir/journal: "vigil-journal 1\nid <16 hex digits>\npartitions <n>\n". */
static enum vg_status write_meta(struct journal *journal, const char *path, struct vg_err *err)
{
    const struct vg_io *io = journal->config.io;
    char text[META_BYTES_MAX], beside[PATH_MAX];
    enum vg_status status = VG_OK;

    vg_random(&journal->log_id, sizeof(journal->log_id));
    int len = snprintf(text, sizeof(text), "vigil-journal 1\nid %016" PRIx64 "\npartitions %u\n",
                       journal->log_id, journal->config.partitions);

    (void)snprintf(beside, sizeof(beside), "%s/journal.new", journal->config.dir);
    int fd = io->open(io->ctx, beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail_write(err, errno, "make", beside);
    if (vg_io_write_all(io, fd, text, (size_t)len, 0) != 0 || io->fdatasync(io->ctx, fd) != 0)
        status = fail_write(err, errno, "write", beside);
    if (io->close(io->ctx, fd) != 0 && status == VG_OK)
        status = fail_write(err, errno, "close", beside);
    if (status == VG_OK &&
        (io->rename(io->ctx, beside, path) != 0 || io->sync_dir(io->ctx, journal->config.dir) != 0))
        status = fail_write(err, errno, "make", path);
    return status;
}

static enum vg_status read_meta(struct journal *journal, struct vg_err *err)
{
    char path[PATH_MAX];
    struct vg_arena arena;
    struct vg_slice text = {0};
    enum vg_status status;

    (void)snprintf(path, sizeof(path), "%s/journal", journal->config.dir);
    vg_arena_init(&arena, 64u << 10);
    status = vg_file_read(&arena, path, META_BYTES_MAX, &text, err);
    if (status == VG_END && !journal->config.is_read_only) {
        status = write_meta(journal, path, err);
    } else if (status == VG_END) {
        status = vg_fail(err, VG_REJECT, "stream.missing", 0, "there is no journal in %.150s",
                         journal->config.dir);
    } else if (status == VG_OK) {
        struct vg_slice first = vg_slice_cut(&text, '\n'), id = vg_slice_cut(&text, '\n');
        struct vg_slice partitions = vg_slice_cut(&text, '\n');
        uint8_t bytes[8];
        uint64_t count = 0;

        if (!vg_slice_is(first, "vigil-journal 1") || !vg_slice_starts(id, VG_SLICE("id ")) ||
            !vg_unhex(vg_slice_from(id, 3), bytes, sizeof(bytes)) ||
            !vg_slice_starts(partitions, VG_SLICE("partitions ")) ||
            !vg_slice_to_u64(vg_slice_from(partitions, 11), &count) || count == 0 || count > 1024)
            status = vg_fail(err, VG_FATAL, "stream.format", 0,
                             "%.150s is not a journal of version 1", path);
        journal->log_id = 0;
        for (size_t i = 0; i < sizeof(bytes) && status == VG_OK; i++)
            journal->log_id = journal->log_id << 8 | bytes[i];
        journal->config.partitions = (uint32_t)count; /* fixed when the folder was made */
    }
    vg_arena_fini(&arena);
    return status;
}

static enum vg_status journal_open(const struct stream_config *config, void **ret_self,
                                   struct vg_err *err)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    enum vg_status status = VG_OK;

    if (!journal)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a journal");
    pthread_mutex_init(&journal->damage_lock, NULL);
    journal->config = *config;
    journal->lock_fd = -1;
    journal->config.dir = strdup(config->dir);
    journal->damages = calloc(DAMAGE_MAX, sizeof(*journal->damages));
    if (!journal->config.dir || !journal->damages)
        status = vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a journal");
    if (status == VG_OK && strlen(config->dir) > PATH_MAX - 64)
        status = vg_fail(err, VG_FATAL, "stream.config", ENAMETOOLONG, "%.60s", config->dir);
    if (status == VG_OK && !config->is_read_only) {
        status = vg_dir_make(config->dir, err);
        if (status == VG_OK)
            status = take_lock(journal, err);
    }
    if (status == VG_OK)
        status = read_meta(journal, err);
    if (status == VG_OK) {
        journal->parts = calloc(journal->config.partitions, sizeof(*journal->parts));
        if (!journal->parts)
            status = vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for %u partitions",
                             journal->config.partitions);
    }
    for (uint32_t i = 0; journal->parts && i < journal->config.partitions; i++) {
        struct partition *part = &journal->parts[i];

        *part = (struct partition){.journal = journal, .index = i, .fd = -1};
        make_conditions(part);
        reader_init(&part->counter, part);
        reader_init(&part->tail, part);
        vg_buf_init(&part->batches, SIZE_MAX / 2); /* an out is bounded, so is this */
    }
    for (uint32_t i = 0; status == VG_OK && i < journal->config.partitions; i++)
        status = open_partition(journal, i, err);
    if (status != VG_OK) {
        journal_close(journal);
        return status;
    }
    *ret_self = journal;
    return VG_OK;
}

static uint32_t journal_partitions(const void *self)
{
    return ((const struct journal *)self)->config.partitions;
}

const struct stream_engine stream_engine_journal = {
    .name = "journal",
    .open = journal_open,
    .close = journal_close,
    .partitions = journal_partitions,
    .damage = journal_damage,
    .commit = journal_commit,
    .consumer_open = journal_consumer_open,
    .consumer_close = journal_consumer_close,
    .read = journal_read,
    .seek = journal_seek,
    .position = journal_position,
    .committed = journal_committed,
    .lag = journal_lag,
    .wake = journal_wake,
    .scan_open = journal_scan_open,
    .scan_close = journal_scan_close,
    .scan_next = journal_scan_next,
    .scan_record = journal_scan_record,
    .scan_offset = journal_scan_offset,
};
