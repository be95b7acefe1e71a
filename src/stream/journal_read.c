/* journal_read.c -- the journal's reading side: consumers, scans, lag.
 *
 * A reader walks a partition from segment to segment and stops at the durable end, which it asks
 * for under the partition's lock; the bytes themselves are read without it, since what is durable
 * never changes. Records are views into the reader's buffer. A consumer whose topic got nothing new
 * jumps to the durable end without reading what other topics wrote.
 *
 * Lag is exact: records of the topic ever written, less those before the group's offset; the latter
 * are counted from the nearest mark (every 64 KiB) or the segment's checkpoint on.
 *
 * A read-only journal has no committer that tells it of the end: partition_follow() looks for
 * batches behind the known end, and for new segments, whenever a reader has come there.
 */
#include "stream/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#define FOLLOW_US 10000 /* how often a read-only reader looks for more */
#define RECORDS_MAX 65536u

/* ---- the reader ---- */

void reader_init(struct reader *reader, struct partition *part)
{
    reader->part = part;
    cursor_init(&reader->cursor, part->journal->config.io, part->index, part->journal->log_id,
                partition_damage, part);
}

void reader_fini(struct reader *reader)
{
    cursor_fini(&reader->cursor);
}

/* To a place in another segment or the same; the file is opened by the next read. */
static void reader_place(struct reader *reader, uint64_t segment_seq, uint64_t offset, uint64_t seq)
{
    struct cursor *cursor = &reader->cursor;
    int fd = cursor->fd;

    if (fd >= 0 && cursor->segment_seq != segment_seq) {
        (void)cursor->io->close(cursor->io->ctx, fd); /* opened for reading */
        fd = -1;
    }
    cursor_place(cursor, fd, segment_seq, offset, seq);
}

/* The last mark at or before seq; without one the segment's start, with *ret_has_counts false.
 * Under the lock. */
static struct mark locate(const struct partition *part, uint64_t seq, uint64_t *ret_segment_seq,
                          bool *ret_has_counts)
{
    const struct segment *segment = part->segments;

    *ret_has_counts = false;
    *ret_segment_seq = 0;
    if (part->segment_count == 0)
        return (struct mark){0};
    for (size_t low = 0, high = part->segment_count; low < high;) {
        size_t middle = low + (high - low) / 2;

        if (part->segments[middle].first_seq <= seq) {
            segment = &part->segments[middle];
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct mark *found = NULL;

    for (size_t low = 0, high = segment->mark_count; low < high;) {
        size_t middle = low + (high - low) / 2;

        if (segment->marks[middle].seq <= seq) {
            found = &segment->marks[middle];
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_segment_seq = segment->first_seq;
    *ret_has_counts = found != NULL;
    return found ? *found : (struct mark){.seq = segment->first_seq};
}

void reader_seek(struct reader *reader, uint64_t seq)
{
    struct partition *part = reader->part;
    uint64_t segment_seq;
    bool has_counts;

    pthread_mutex_lock(&part->lock);
    struct mark mark = locate(part, seq, &segment_seq, &has_counts);

    pthread_mutex_unlock(&part->lock);
    reader_place(reader, segment_seq, mark.offset, mark.seq);
}

static enum vg_status open_segment(struct reader *reader, struct vg_err *err)
{
    struct cursor *cursor = &reader->cursor;
    char path[PATH_MAX];

    if (!segment_path(reader->part, cursor->segment_seq, ".seg", path, sizeof(path)))
        return vg_fail(err, VG_FATAL, "stream.config", ENAMETOOLONG, "%.100s", reader->part->dir);
    int fd = cursor->io->open(cursor->io->ctx, path, O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return vg_fail(err, errno == ENOENT ? VG_END : VG_RETRY, "stream.read", errno, "%.150s",
                       path);
    cursor->fd = fd;
    cursor->len = 0;
    return VG_OK;
}

/* What may be read of the reader's segment. */
struct range {
    uint64_t limit, limit_seq;
    enum cursor_end end;
    bool is_last;
};

/* False: the partition has no segment (read-only, before the writer made one). A reader whose
 * segment was trimmed away is moved to the oldest that is kept. */
static bool find_range(struct reader *reader, struct range *ret)
{
    struct partition *part = reader->part;
    struct cursor *cursor = &reader->cursor;
    size_t low = 0;
    bool is_found;

    pthread_mutex_lock(&part->lock);
    for (size_t high = part->segment_count; low < high;) {
        size_t middle = low + (high - low) / 2;

        if (part->segments[middle].first_seq < cursor->segment_seq)
            low = middle + 1;
        else
            high = middle;
    }
    is_found = low < part->segment_count;
    if (is_found) {
        const struct segment *segment = &part->segments[low];

        ret->is_last = low + 1 == part->segment_count;
        ret->limit = ret->is_last ? part->end_offset : segment->size_bytes;
        ret->limit_seq = ret->is_last ? part->next_seq : segment[1].first_seq;
        ret->end = ret->is_last ? CURSOR_AT_LIMIT : CURSOR_SEALED;
        if (segment->first_seq != cursor->segment_seq)
            reader_place(reader, segment->first_seq, 0, segment->first_seq);
    }
    pthread_mutex_unlock(&part->lock);
    return is_found;
}

/* A segment whose file is not there. The writer takes it off its list before it removes the file,
 * so on that list it is damage; a reader beside the writer learns of trimming in this way. */
static void forget_segment(struct partition *part, uint64_t first_seq)
{
    uint64_t next_seq = first_seq;

    pthread_mutex_lock(&part->lock);
    for (size_t i = 0; i + 1 < part->segment_count; i++) {
        if (part->segments[i].first_seq != first_seq)
            continue;
        next_seq = part->segments[i + 1].first_seq;
        free(part->segments[i].marks);
        part->segment_count--;
        memmove(part->segments + i, part->segments + i + 1,
                (part->segment_count - i) * sizeof(*part->segments));
        break;
    }
    pthread_mutex_unlock(&part->lock);
    if (next_seq != first_seq && !part->journal->config.is_read_only)
        partition_damage(part, first_seq, 0, 0, first_seq, next_seq, "the file is missing");
}

static uint64_t segment_after(struct partition *part, uint64_t first_seq)
{
    uint64_t after = first_seq;

    pthread_mutex_lock(&part->lock);
    for (size_t i = part->segment_count; i > 0 && part->segments[i - 1].first_seq > first_seq; i--)
        after = part->segments[i - 1].first_seq;
    pthread_mutex_unlock(&part->lock);
    return after;
}

enum vg_status reader_next(struct reader *reader, struct batch *ret_batch, struct vg_err *err)
{
    struct partition *part = reader->part;
    struct cursor *cursor = &reader->cursor;
    bool is_read_only = part->journal->config.is_read_only;

    for (;;) {
        struct range range;
        enum vg_status status = VG_OK;

        if (!find_range(reader, &range)) {
            if (!is_read_only || !partition_follow(part))
                return VG_END;
            continue;
        }
        if (cursor->fd < 0) {
            status = open_segment(reader, err);
            if (status == VG_END && !range.is_last) {
                forget_segment(part, cursor->segment_seq);
                continue;
            }
            if (status != VG_OK)
                return status == VG_END ? VG_RETRY : status;
        }
        status = cursor_next(cursor, range.limit, range.limit_seq, range.end, ret_batch, NULL, err);
        if (status != VG_END)
            return status;
        if (range.is_last) {
            if (is_read_only && partition_follow(part))
                continue;
            return VG_END;
        }
        uint64_t hash = cursor->prev_hash, after = segment_after(part, cursor->segment_seq);
        bool has_prev = cursor->has_prev;

        reader_place(reader, after, 0, after);
        cursor->prev_hash = hash;
        cursor->has_prev = has_prev;
    }
}

/* Takes in the batches behind the known end of the last segment. */
static bool follow_segment(struct partition *part)
{
    struct cursor *cursor = &part->tail.cursor;
    struct batch batch;
    bool has_more = false;

    pthread_mutex_lock(&part->lock);
    struct segment last = part->segments[part->segment_count - 1];

    if (cursor->segment_seq != last.first_seq || cursor->fd < 0)
        reader_place(&part->tail, last.first_seq, part->end_offset, part->next_seq);
    pthread_mutex_unlock(&part->lock);
    if (cursor->fd < 0 && open_segment(&part->tail, NULL) != VG_OK)
        return false; /* it is tried again by the next read */
    cursor->len = 0;  /* what was zeros may be a batch now */
    while (cursor_next(cursor, last.size_bytes, UINT64_MAX, CURSOR_GROWING, &batch, NULL, NULL) ==
           VG_OK) {
        pthread_mutex_lock(&part->lock);
        partition_apply(part, &part->segments[part->segment_count - 1], &batch);
        pthread_mutex_unlock(&part->lock);
        has_more = true;
    }
    return has_more;
}

bool partition_follow(struct partition *part)
{
    bool has_more = false, has_rolled = true;

    pthread_mutex_lock(&part->tail_lock);
    while (has_rolled) {
        struct segment_file *files = NULL;
        size_t count = 0;

        pthread_mutex_lock(&part->lock);
        bool has_segment = part->segment_count > 0;
        uint64_t last = has_segment ? part->segments[part->segment_count - 1].first_seq : 0;

        pthread_mutex_unlock(&part->lock);
        if (has_segment)
            has_more |= follow_segment(part);
        has_rolled =
            partition_list(part, has_segment ? last + 1 : 0, &files, &count, NULL) == VG_OK &&
            count > 0;
        /* A segment is complete before the next one is there: with the next one seen, look again.
         */
        if (has_rolled && has_segment)
            has_more |= follow_segment(part);
        pthread_mutex_lock(&part->lock);
        if (has_rolled && partition_add_segment(part, files[0].first_seq, files[0].size_bytes)) {
            part->end_offset = 0;
            part->next_seq = files[0].first_seq;
            has_more = true;
        }
        pthread_mutex_unlock(&part->lock);
        free(files);
    }
    pthread_mutex_unlock(&part->tail_lock);
    return has_more;
}

/* ---- lag ---- */

bool count_before(struct partition *part, enum stream_topic topic, uint64_t seq,
                  uint64_t *ret_count)
{
    struct reader *reader = &part->counter;
    struct cursor *cursor = &reader->cursor;
    struct batch batch;
    uint64_t segment_seq, counts[STREAM_TOPIC_COUNT], partly = 0;
    bool has_counts;

    pthread_mutex_lock(&part->count_lock);
    pthread_mutex_lock(&part->lock);
    struct mark mark = locate(part, seq, &segment_seq, &has_counts);
    bool is_at_end = seq >= part->next_seq;

    if (is_at_end)
        *ret_count = part->counts[topic];
    pthread_mutex_unlock(&part->lock);
    if (is_at_end) {
        pthread_mutex_unlock(&part->count_lock);
        return true;
    }
    memcpy(counts, mark.counts, sizeof(counts));
    reader_place(reader, segment_seq, mark.offset, mark.seq);
    while (!has_counts || cursor->next_seq < seq) {
        if (reader_next(reader, &batch, NULL) != VG_OK)
            break;
        if (batch.has_counts) {
            memcpy(counts, batch.counts, sizeof(counts));
            has_counts = true;
        }
        if (!has_counts)
            break;
        if (cursor->next_seq > seq) {
            for (uint32_t i = 0; i < batch.header.group_count; i++) {
                const struct batch_group *group = &batch.groups[i];

                if (group->topic == topic && seq > group->first_seq)
                    partly = seq - group->first_seq < group->count ? seq - group->first_seq
                                                                   : group->count;
            }
            break;
        }
        for (uint32_t i = 0; i < batch.header.group_count; i++)
            counts[batch.groups[i].topic] += batch.groups[i].count;
        pthread_mutex_lock(&part->lock);
        for (size_t i = part->segment_count; i > 0; i--) {
            if (part->segments[i - 1].first_seq == cursor->segment_seq) {
                segment_mark(&part->segments[i - 1], cursor->next_seq, cursor->offset, counts);
                break;
            }
        }
        pthread_mutex_unlock(&part->lock);
    }
    pthread_mutex_unlock(&part->count_lock);
    *ret_count = counts[topic] + partly;
    return has_counts;
}

uint64_t journal_lag(void *self, struct vg_slice group, enum stream_topic topic, uint32_t partition)
{
    struct journal *journal = self;
    struct partition *part = &journal->parts[partition];
    uint64_t seq = journal_committed(self, group, topic, partition), before = 0, lag, oldest;
    bool is_known;

    pthread_mutex_lock(&part->lock);
    oldest = part->segment_count ? part->segments[0].first_seq : 0;
    pthread_mutex_unlock(&part->lock);
    if (seq < oldest)
        seq = oldest;
    is_known = count_before(part, topic, seq, &before);
    pthread_mutex_lock(&part->lock);
    uint64_t after = part->next_seq > seq ? part->next_seq - seq : 0;

    lag = is_known && part->counts[topic] > before ? part->counts[topic] - before : 0;
    pthread_mutex_unlock(&part->lock);
    /* Damage can hide the counts; there are never more than sequence numbers. */
    return !is_known || lag > after ? after : lag;
}

/* ---- consumers ---- */

struct consumer {
    struct reader reader;
    enum stream_topic topic;
    uint64_t position;
    struct stream_record *records;
    size_t capacity;
    struct vg_slice rest; /* of our topic in the batch that was read last */
    uint64_t rest_seq;
    uint32_t rest_count;
    uint64_t wake_seen;
    uint64_t count_seen; /* of our topic, when the durable end was met */
    bool has_count_seen;
};

enum vg_status journal_consumer_open(void *self, uint32_t partition, enum stream_topic topic,
                                     struct vg_slice group, bool is_live_tail, void **ret_consumer,
                                     struct vg_err *err)
{
    struct journal *journal = self;
    struct partition *part = &journal->parts[partition];
    struct consumer *consumer = calloc(1, sizeof(*consumer));

    if (!consumer)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a consumer");
    consumer->topic = topic;
    reader_init(&consumer->reader, part);
    if (journal->config.is_read_only)
        (void)partition_follow(part);
    uint64_t seq = is_live_tail ? 0 : journal_committed(self, group, topic, partition);

    pthread_mutex_lock(&part->lock);
    if (is_live_tail)
        seq = part->next_seq;
    consumer->wake_seen = part->wake_count;
    pthread_mutex_unlock(&part->lock);
    journal_seek(consumer, seq);
    *ret_consumer = consumer;
    return VG_OK;
}

void journal_consumer_close(void *self)
{
    struct consumer *consumer = self;

    reader_fini(&consumer->reader);
    free(consumer->records);
    free(consumer);
}

void journal_seek(void *self, uint64_t seq)
{
    struct consumer *consumer = self;

    consumer->position = seq;
    consumer->rest_count = 0;
    consumer->has_count_seen = false;
    reader_seek(&consumer->reader, seq);
}

uint64_t journal_position(const void *self)
{
    return ((const struct consumer *)self)->position;
}

/* The records of the batch at hand, up to count_max in all. */
static size_t take_records(struct consumer *consumer, size_t count, size_t count_max)
{
    while (consumer->rest_count && count < count_max) {
        struct stream_record *record = &consumer->records[count];
        enum stream_topic topic;

        if (!record_decode(&consumer->rest, &topic, record)) {
            /* The checksum holds, the lengths do not: whoever wrote it was broken. */
            struct cursor *cursor = &consumer->reader.cursor;

            partition_damage(consumer->reader.part, cursor->segment_seq, cursor->offset, 0,
                             consumer->rest_seq, consumer->rest_seq + consumer->rest_count,
                             "records inside the batch before this place do not add up");
            consumer->rest_count = 0;
            break;
        }
        record->seq = consumer->rest_seq++;
        consumer->rest_count--;
        if (record->seq >= consumer->position) {
            consumer->position = record->seq + 1;
            count++;
        }
    }
    return count;
}

static void enter_batch(struct consumer *consumer, const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->header.group_count; i++) {
        const struct batch_group *group = &batch->groups[i];

        if (group->topic == consumer->topic &&
            group->first_seq + group->count > consumer->position) {
            consumer->rest = group->records;
            consumer->rest_seq = group->first_seq;
            consumer->rest_count = group->count;
        }
    }
}

static void deadline_of(int64_t mono_us, struct timespec *ret)
{
    ret->tv_sec = mono_us / VG_SECOND_US;
    ret->tv_nsec = mono_us % VG_SECOND_US * 1000;
}

/* At the durable end: waits for records of the topic. VG_OK: there may be some. */
static enum vg_status wait_for_records(struct consumer *consumer, int64_t deadline_us)
{
    struct partition *part = consumer->reader.part;
    struct cursor *cursor = &consumer->reader.cursor;
    bool is_read_only = part->journal->config.is_read_only;
    enum vg_status status = VG_OK;

    pthread_mutex_lock(&part->lock);
    uint64_t last = part->segment_count ? part->segments[part->segment_count - 1].first_seq : 0;

    /* More may have come between the read and the lock. */
    if (part->segment_count && (cursor->segment_seq != last || cursor->offset != part->end_offset))
        goto out;
    consumer->count_seen = part->counts[consumer->topic];
    consumer->has_count_seen = true;
    while (part->counts[consumer->topic] == consumer->count_seen) {
        int64_t now_us = vg_mono_us(), until_us = deadline_us;
        struct timespec until;

        if (part->wake_count != consumer->wake_seen || now_us >= deadline_us) {
            consumer->wake_seen = part->wake_count;
            status = VG_END;
            break;
        }
        if (is_read_only && until_us > now_us + FOLLOW_US)
            until_us = now_us + FOLLOW_US;
        deadline_of(until_us, &until);
        (void)pthread_cond_timedwait(&part->has_topic[consumer->topic], &part->lock, &until);
        if (is_read_only) {
            pthread_mutex_unlock(&part->lock);
            (void)partition_follow(part);
            pthread_mutex_lock(&part->lock);
        }
    }
out:
    pthread_mutex_unlock(&part->lock);
    return status;
}

/* Nothing of our topic since we were at the end last: the new end is our place. */
static void jump_to_end(struct consumer *consumer)
{
    struct partition *part = consumer->reader.part;

    pthread_mutex_lock(&part->lock);
    if (consumer->has_count_seen && part->segment_count &&
        part->counts[consumer->topic] == consumer->count_seen) {
        reader_place(&consumer->reader, part->segments[part->segment_count - 1].first_seq,
                     part->end_offset, part->next_seq);
        consumer->reader.cursor.prev_hash = part->prev_hash;
        consumer->reader.cursor.has_prev = true;
    }
    pthread_mutex_unlock(&part->lock);
}

enum vg_status journal_read(void *self, size_t count_max, int64_t timeout_us,
                            struct stream_batch *ret_batch, struct vg_err *err)
{
    struct consumer *consumer = self;
    int64_t deadline_us = vg_mono_us() + (timeout_us > 0 ? timeout_us : 0);
    struct batch batch;
    size_t count = 0;

    *ret_batch = (struct stream_batch){.next_seq = consumer->position};
    if (count_max > RECORDS_MAX)
        count_max = RECORDS_MAX;
    if (count_max > consumer->capacity) {
        struct stream_record *grown =
            realloc(consumer->records, count_max * sizeof(*consumer->records));

        if (!grown)
            return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for %zu records",
                           count_max);
        consumer->records = grown;
        consumer->capacity = count_max;
    }
    if (!consumer->rest_count)
        jump_to_end(consumer);
    for (;;) {
        count = take_records(consumer, count, count_max);
        if (count == count_max)
            break;
        /* Once there are records nothing may be read into the buffer that they stand in. */
        if (count > 0) {
            if (!cursor_next_buffered(&consumer->reader.cursor, &batch))
                break;
            enter_batch(consumer, &batch);
            continue;
        }
        enum vg_status status = reader_next(&consumer->reader, &batch, err);

        if (status == VG_OK)
            enter_batch(consumer, &batch);
        else if (status != VG_END)
            return status;
        else if (wait_for_records(consumer, deadline_us) == VG_END)
            return VG_END;
    }
    *ret_batch = (struct stream_batch){
        .records = consumer->records, .count = count, .next_seq = consumer->position};
    return VG_OK;
}

void journal_wake(void *self)
{
    struct journal *journal = self;

    for (uint32_t i = 0; i < journal->config.partitions; i++) {
        struct partition *part = &journal->parts[i];

        pthread_mutex_lock(&part->lock);
        part->wake_count++;
        for (unsigned topic = 0; topic < STREAM_TOPIC_COUNT; topic++)
            pthread_cond_broadcast(&part->has_topic[topic]);
        pthread_mutex_unlock(&part->lock);
    }
}

/* ---- the whole log ---- */

struct scan {
    struct reader reader;
    uint64_t from_seq;
    struct batch batch;
    bool has_batch;
    size_t index; /* of the record that `rest` begins with */
    uint32_t group;
    struct vg_slice rest;
};

enum vg_status journal_scan_open(void *self, uint32_t partition, uint64_t from_seq, void **ret_scan,
                                 struct vg_err *err)
{
    struct journal *journal = self;
    struct scan *scan = calloc(1, sizeof(*scan));

    if (!scan)
        return vg_fail(err, VG_RETRY, "stream.memory", 0, "no memory for a scan");
    if (journal->config.is_read_only)
        (void)partition_follow(&journal->parts[partition]);
    reader_init(&scan->reader, &journal->parts[partition]);
    reader_seek(&scan->reader, from_seq);
    scan->from_seq = from_seq;
    *ret_scan = scan;
    return VG_OK;
}

void journal_scan_close(void *self)
{
    struct scan *scan = self;

    reader_fini(&scan->reader);
    free(scan);
}

static void scan_rewind(struct scan *scan)
{
    scan->index = 0;
    scan->group = 0;
    scan->rest =
        scan->batch.header.group_count ? scan->batch.groups[0].records : (struct vg_slice){0};
}

enum vg_status journal_scan_next(void *self, struct stream_commit_view *ret_view,
                                 struct vg_err *err)
{
    struct scan *scan = self;
    const struct batch_header *header = &scan->batch.header;

    scan->has_batch = false;
    do {
        enum vg_status status = reader_next(&scan->reader, &scan->batch, err);

        if (status != VG_OK)
            return status;
    } while ((header->flags & (BATCH_IS_CHECKPOINT | BATCH_IS_FILLER)) ||
             (header->record_count == 0 && header->offset_count == 0) ||
             (header->record_count ? header->first_seq + header->record_count <= scan->from_seq
                                   : header->first_seq < scan->from_seq));
    scan->has_batch = true;
    scan_rewind(scan);
    *ret_view = (struct stream_commit_view){.time_us = header->time_us,
                                            .first_seq = header->first_seq,
                                            .record_count = header->record_count,
                                            .offset_count = header->offset_count};
    return VG_OK;
}

bool journal_scan_record(void *self, size_t index, enum stream_topic *ret_topic,
                         struct stream_record *ret_record)
{
    struct scan *scan = self;

    if (!scan->has_batch || index >= scan->batch.header.record_count)
        return false;
    if (index < scan->index)
        scan_rewind(scan);
    for (;;) {
        while (scan->rest.len == 0) {
            if (++scan->group >= scan->batch.header.group_count)
                return false;
            scan->rest = scan->batch.groups[scan->group].records;
        }
        if (!record_decode(&scan->rest, ret_topic, ret_record))
            return false;
        if (scan->index++ == index)
            break;
    }
    ret_record->seq = scan->batch.header.first_seq + index;
    return true;
}

bool journal_scan_offset(void *self, size_t index, struct vg_slice *ret_group,
                         enum stream_topic *ret_topic, uint32_t *ret_partition,
                         uint64_t *ret_next_seq)
{
    struct scan *scan = self;
    struct vg_slice rest = scan->batch.offsets;
    struct offset_view view;

    if (!scan->has_batch || index >= scan->batch.header.offset_count)
        return false;
    for (size_t i = 0; i <= index; i++) {
        if (!offset_decode(&rest, &view))
            return false;
    }
    *ret_group = view.group;
    *ret_topic = view.topic;
    *ret_partition = view.partition;
    *ret_next_seq = view.next_seq;
    return true;
}
