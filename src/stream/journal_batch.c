/* journal_batch.c -- the bytes of a batch, and walking a segment past damage.
 *
 * FORMAT: docs/format-journal.md. In short: a batch is a header of 64 bytes and a body, all
 * little-endian, its length a multiple of 8; the CRC-32C is over everything behind itself.
 *
 * REASONS. A payload may hold anything, also bytes that look like a batch. Where a batch is
 * expected this does not matter, since lengths lead from one to the next. Behind damage the next
 * batch must be searched, and there a candidate counts only if its CRC holds, it has this journal's
 * random log_id (which no device knows) and this partition, and its sequence number is possible:
 * not before what is expected, and not further ahead than records could have been lost in the bytes
 * skipped. If the damaged batch's own header is whole, the batch right behind it proves that by the
 * hash it carries, and nothing is searched.
 *
 * The chain (prev_hash) is a plain 64-bit mix of the header, CRC included: it finds a batch that
 * was exchanged or left over from an earlier write, it is no proof against somebody who can write
 * the file. The archive has one.
 */
#include "stream/journal.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH_MAGIC 0x314a4756u /* "VGJ1" */
#define BLOCK_BYTES 4096u
/* Topics are interleaved: a device's message is some 12 KiB in the journal once all stages have had
 * it, and what a reader that is behind gets at once is what stands in this. */
#define READ_BYTES (4u << 20)
#define RECORD_BYTES_MIN RECORD_HEADER_BYTES
/* A search may check this many bytes of candidates: hostile bytes cannot make it quadratic. */
#define SEARCH_CRC_BYTES_MAX ((uint64_t)1 << 30)

static uint64_t align8(uint64_t bytes)
{
    return (bytes + 7) & ~(uint64_t)7;
}

/* ---- encoding ---- */

uint64_t batch_bytes(const struct out_totals *totals, const struct stream_out *out)
{
    uint64_t bytes = out->records.len + out->offsets.len;

    for (unsigned topic = 1; topic < STREAM_TOPIC_COUNT; topic++)
        bytes += totals->counts[topic] ? GROUP_BYTES : 0;
    return BATCH_HEADER_BYTES + align8(bytes);
}

static uint64_t header_hash(const char *header)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (unsigned at = 0; at < BATCH_HEADER_BYTES; at += 8) {
        hash = (hash ^ get_u64(header + at)) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return hash;
}

/* The header and the CRC over a body that is already behind it. */
static uint64_t finish(char *to, const struct batch_header *header)
{
    put_u32(to, BATCH_MAGIC);
    put_u16(to + 8, BATCH_VERSION);
    put_u16(to + 10, header->flags);
    put_u32(to + 12, header->partition);
    put_u64(to + 16, header->first_seq);
    put_u32(to + 24, header->record_count);
    put_u32(to + 28, header->offset_count);
    put_u32(to + 32, header->body_bytes);
    put_u32(to + 36, header->group_count);
    put_u64(to + 40, (uint64_t)header->time_us);
    put_u64(to + 48, header->prev_hash);
    put_u64(to + 56, header->log_id);
    put_u32(to + 4, vg_crc32c(0, to + 8, BATCH_HEADER_BYTES - 8 + header->body_bytes));
    return header_hash(to);
}

/* The records of one topic, in the order in which they were added. */
static char *put_topic(char *at, unsigned topic, const struct stream_out *out)
{
    const char *from = out->records.ptr, *end = from + out->records.len;

    while (from < end) {
        uint32_t bytes = get_u32(from);

        if ((uint8_t)from[4] == topic) {
            memcpy(at, from, bytes);
            at += bytes;
        }
        from += bytes;
    }
    return at;
}

uint64_t batch_encode(char *to, struct batch_header *header, const struct out_totals *totals,
                      const struct stream_out *out)
{
    uint64_t total = batch_bytes(totals, out);
    char *at = to + BATCH_HEADER_BYTES;

    header->group_count = 0;
    for (unsigned topic = 1; topic < STREAM_TOPIC_COUNT; topic++) {
        if (!totals->counts[topic])
            continue;
        put_u32(at, topic);
        put_u32(at + 4, totals->counts[topic]);
        put_u32(at + 8, totals->bytes[topic]);
        at += GROUP_BYTES;
        header->group_count++;
    }
    if (header->group_count == 1) {
        memcpy(at, out->records.ptr, out->records.len);
        at += out->records.len;
    } else {
        for (unsigned topic = 1; topic < STREAM_TOPIC_COUNT; topic++) {
            if (totals->counts[topic])
                at = put_topic(at, topic, out);
        }
    }
    if (out->offsets.len)
        memcpy(at, out->offsets.ptr, out->offsets.len);
    at += out->offsets.len;
    memset(at, 0, (size_t)(to + total - at));
    header->record_count = out->record_count;
    header->offset_count = out->offset_count;
    header->body_bytes = (uint32_t)(total - BATCH_HEADER_BYTES);
    return finish(to, header);
}

uint64_t batch_encode_plain(struct vg_buf *to, struct batch_header *header, struct vg_slice body)
{
    uint64_t total = BATCH_HEADER_BYTES + align8(body.len);
    char *at = vg_buf_reserve(to, total);

    if (!at)
        return 0;
    memset(at, 0, total);
    if (body.len)
        memcpy(at + BATCH_HEADER_BYTES, body.ptr, body.len);
    header->body_bytes = (uint32_t)(total - BATCH_HEADER_BYTES);
    to->len += total;
    return finish(at, header);
}

/* ---- decoding ---- */

/* True when the 64 bytes are a header of this partition of this log; says nothing of the body. */
static bool header_decode(const struct cursor *cursor, const char *from, struct batch_header *ret)
{
    if (get_u32(from) != BATCH_MAGIC || get_u16(from + 8) != BATCH_VERSION ||
        get_u64(from + 56) != cursor->log_id || get_u32(from + 12) != cursor->partition)
        return false;
    *ret = (struct batch_header){.flags = get_u16(from + 10),
                                 .partition = get_u32(from + 12),
                                 .first_seq = get_u64(from + 16),
                                 .record_count = get_u32(from + 24),
                                 .offset_count = get_u32(from + 28),
                                 .body_bytes = get_u32(from + 32),
                                 .group_count = get_u32(from + 36),
                                 .time_us = (int64_t)get_u64(from + 40),
                                 .prev_hash = get_u64(from + 48),
                                 .log_id = get_u64(from + 56)};
    return ret->body_bytes % 8 == 0 && ret->group_count < STREAM_TOPIC_COUNT &&
           ret->first_seq < SEQ_LIMIT;
}

/* The directory, and that every length inside adds up: who walks records afterwards cannot leave
 * the batch. */
static bool body_decode(const char *body, struct batch *batch)
{
    const struct batch_header *header = &batch->header;
    uint64_t at = (uint64_t)header->group_count * GROUP_BYTES, seq = header->first_seq;
    struct vg_slice rest;
    struct offset_view offset;
    unsigned topic_before = 0;

    if (at > header->body_bytes)
        return false;
    for (uint32_t i = 0; i < header->group_count; i++) {
        const char *entry = body + i * GROUP_BYTES;
        uint32_t topic = get_u32(entry), count = get_u32(entry + 4), bytes = get_u32(entry + 8);

        if (topic <= topic_before || topic >= STREAM_TOPIC_COUNT ||
            bytes > header->body_bytes - at || count > bytes / RECORD_HEADER_BYTES)
            return false;
        batch->groups[i] = (struct batch_group){.topic = (enum stream_topic)topic,
                                                .first_seq = seq,
                                                .count = count,
                                                .records = {body + at, bytes}};
        topic_before = topic;
        at += bytes;
        seq += count;
    }
    if (header->flags & BATCH_IS_FILLER)
        seq++;
    if (seq - header->first_seq != header->record_count)
        return false;
    rest = (struct vg_slice){body + at, header->body_bytes - at};
    for (uint32_t i = 0; i < header->offset_count; i++) {
        if (!offset_decode(&rest, &offset))
            return false;
    }
    batch->offsets = (struct vg_slice){body + at, header->body_bytes - at - rest.len};
    batch->has_counts = false;
    if (header->flags & BATCH_IS_CHECKPOINT) {
        if (rest.len < CHECKPOINT_TAIL_BYTES || get_u32(rest.ptr + 8) != STREAM_TOPIC_COUNT)
            return false;
        batch->segment_bytes = get_u64(rest.ptr);
        for (unsigned topic = 0; topic < STREAM_TOPIC_COUNT; topic++)
            batch->counts[topic] = get_u64(rest.ptr + 12 + 8 * topic);
        batch->has_counts = true;
    }
    return true;
}

/* ---- reading the file ---- */

void cursor_init(struct cursor *cursor, const struct vg_io *io, uint32_t partition, uint64_t log_id,
                 cursor_damage *damage, void *damage_ctx)
{
    *cursor = (struct cursor){.io = io,
                              .partition = partition,
                              .log_id = log_id,
                              .damage = damage,
                              .damage_ctx = damage_ctx,
                              .fd = -1};
}

void cursor_fini(struct cursor *cursor)
{
    if (cursor->fd >= 0)
        (void)cursor->io->close(cursor->io->ctx, cursor->fd); /* opened for reading */
    free(cursor->buf);
    cursor->fd = -1;
    cursor->buf = NULL;
}

void cursor_place(struct cursor *cursor, int fd, uint64_t segment_seq, uint64_t offset,
                  uint64_t next_seq)
{
    if (fd != cursor->fd)
        cursor->len = 0;
    cursor->fd = fd;
    cursor->segment_seq = segment_seq;
    cursor->offset = offset;
    cursor->next_seq = next_seq;
    cursor->has_prev = false;
}

static bool is_in_buffer(const struct cursor *cursor, uint64_t offset, uint64_t bytes)
{
    return offset >= cursor->buf_offset && offset + bytes <= cursor->buf_offset + cursor->len;
}

/* After EIO: once more, block by block. One that still cannot be read is told and taken for zeros,
 * so that a bad sector costs its batch and not everything behind it. */
static ssize_t read_blocks(struct cursor *cursor, uint64_t want, uint64_t offset)
{
    uint64_t done = 0;

    while (done < want) {
        uint64_t len = BLOCK_BYTES - (offset + done) % BLOCK_BYTES;

        if (len > want - done)
            len = want - done;
        ssize_t got = vg_io_read_all(cursor->io, cursor->fd, cursor->buf + done, (size_t)len,
                                     (off_t)(offset + done));

        if (got < 0 && errno != EIO)
            return -1;
        if (got < 0) {
            cursor->damage(cursor->damage_ctx, cursor->segment_seq, offset + done, len, 0, 0,
                           "the disk cannot read this");
            memset(cursor->buf + done, 0, (size_t)len);
            got = (ssize_t)len;
        }
        done += (uint64_t)got;
        if ((uint64_t)got < len)
            break;
    }
    return (ssize_t)done;
}

/* `bytes` at `offset`, into the buffer, with as much behind them as one read brings. VG_END: the
 * file is shorter. `limit` bounds the reading ahead: behind it the writer may be writing. */
static enum vg_status fill(struct cursor *cursor, uint64_t offset, uint64_t bytes, uint64_t limit,
                           const char **ret_at, struct vg_err *err)
{
    if (!is_in_buffer(cursor, offset, bytes)) {
        uint64_t want = limit - offset < READ_BYTES ? limit - offset : READ_BYTES;

        if (want < bytes)
            want = bytes;
        if (want > cursor->capacity_bytes) {
            size_t capacity = cursor->capacity_bytes ? cursor->capacity_bytes : 4096;

            while (capacity < want)
                capacity *= 2;
            char *grown = realloc(cursor->buf, capacity);

            if (!grown)
                return vg_fail(err, VG_RETRY, "stream.memory", 0,
                               "no memory to read a batch of %llu", (unsigned long long)bytes);
            cursor->buf = grown;
            cursor->capacity_bytes = capacity;
        }
        cursor->len = 0;
        ssize_t done =
            vg_io_read_all(cursor->io, cursor->fd, cursor->buf, (size_t)want, (off_t)offset);

        if (done < 0 && errno == EIO)
            done = read_blocks(cursor, want, offset);
        if (done < 0)
            return vg_fail(err, VG_RETRY, "stream.read", errno, "segment %llu at %llu",
                           (unsigned long long)cursor->segment_seq, (unsigned long long)offset);
        cursor->buf_offset = offset;
        cursor->len = (size_t)done;
        if ((uint64_t)done < bytes)
            return VG_END;
    }
    *ret_at = cursor->buf + (offset - cursor->buf_offset);
    return VG_OK;
}

/* The batch at `offset`, if there is a good one. VG_END: there is none. */
static enum vg_status batch_at(struct cursor *cursor, uint64_t offset, uint64_t limit,
                               struct batch *ret_batch, struct vg_err *err)
{
    const char *at;
    enum vg_status status;

    ret_batch->header = (struct batch_header){0};
    if (limit < BATCH_HEADER_BYTES || offset > limit - BATCH_HEADER_BYTES)
        return VG_END;
    status = fill(cursor, offset, BATCH_HEADER_BYTES, limit, &at, err);
    if (status != VG_OK)
        return status;
    if (!header_decode(cursor, at, &ret_batch->header))
        return VG_END;
    uint64_t total = (uint64_t)BATCH_HEADER_BYTES + ret_batch->header.body_bytes;

    if (total > limit - offset)
        return VG_END;
    status = fill(cursor, offset, total, limit, &at, err);
    if (status != VG_OK)
        return status;
    ret_batch->offset = offset;
    ret_batch->total_bytes = total;
    if (get_u32(at + 4) != vg_crc32c(0, at + 8, (size_t)total - 8) ||
        !body_decode(at + BATCH_HEADER_BYTES, ret_batch))
        return VG_END;
    ret_batch->hash = header_hash(at);
    return VG_OK;
}

static void step(struct cursor *cursor, const struct batch *batch)
{
    cursor->offset = batch->offset + batch->total_bytes;
    cursor->next_seq = batch->header.first_seq + batch->header.record_count;
    cursor->prev_hash = batch->hash;
    cursor->has_prev = true;
}

bool cursor_next_buffered(struct cursor *cursor, struct batch *ret_batch)
{
    /* The end of the buffer as limit: nothing can be read. */
    uint64_t limit = cursor->buf_offset + cursor->len;

    if (cursor->offset < cursor->buf_offset ||
        batch_at(cursor, cursor->offset, limit, ret_batch, NULL) != VG_OK ||
        ret_batch->header.first_seq != cursor->next_seq ||
        (cursor->has_prev && ret_batch->header.prev_hash != cursor->prev_hash))
        return false;
    step(cursor, ret_batch);
    return true;
}

bool cursor_first(struct cursor *cursor, uint64_t limit, struct batch *ret_batch)
{
    return batch_at(cursor, cursor->offset, limit, ret_batch, NULL) == VG_OK;
}

static void tell_damage(struct cursor *cursor, uint64_t offset, uint64_t bytes, uint64_t next_seq,
                        const char *what)
{
    cursor->damage(cursor->damage_ctx, cursor->segment_seq, offset, bytes, cursor->next_seq,
                   next_seq > cursor->next_seq ? next_seq : cursor->next_seq, what);
}

/* Could this batch stand behind `skipped` bytes of damage? */
static bool is_possible(const struct cursor *cursor, const struct batch *batch, uint64_t skipped,
                        uint64_t limit_seq)
{
    uint64_t seq = batch->header.first_seq;

    return seq >= cursor->next_seq && seq - cursor->next_seq <= skipped / RECORD_BYTES_MIN &&
           seq <= limit_seq && batch->header.record_count <= limit_seq - seq;
}

static bool is_zero(const char *at, size_t len)
{
    uint64_t word, any = 0;
    size_t done = 0;

    for (; len - done >= sizeof(word); done += sizeof(word)) {
        memcpy(&word, at + done, sizeof(word));
        any |= word;
    }
    for (; done < len; done++)
        any |= (uint8_t)at[done];
    return any == 0;
}

/* The first good batch behind the damage at cursor->offset. VG_END: there is none; *ret_torn_bytes
 * is then how far anything but zeros reaches. */
static enum vg_status search(struct cursor *cursor, uint64_t limit, uint64_t limit_seq,
                             struct batch *ret_batch, uint64_t *ret_torn_bytes, struct vg_err *err)
{
    uint64_t start = cursor->offset, torn_end = start, checked = 0;
    struct batch_header broken;
    const char *at;
    enum vg_status status = fill(cursor, start, BATCH_HEADER_BYTES, limit, &at, err);

    /* The quick way: the damage is in the body, the header leads to the next, which vouches for it.
     */
    if (status == VG_OK && header_decode(cursor, at, &broken) &&
        broken.first_seq == cursor->next_seq) {
        uint64_t hash = header_hash(at), next = start + BATCH_HEADER_BYTES + broken.body_bytes;

        status = next < limit ? batch_at(cursor, next, limit, ret_batch, err) : VG_END;
        if (status == VG_OK && ret_batch->header.prev_hash == hash &&
            is_possible(cursor, ret_batch, next - start, limit_seq))
            return VG_OK;
    }
    if (status == VG_RETRY)
        return status;
    for (uint64_t offset = start; offset < limit; offset += 8) {
        uint64_t left = limit - offset;

        /* Look at whole words in the buffer: a batch begins at a multiple of 8 only. */
        status = fill(cursor, offset, left < 8 ? left : 8, limit, &at, err);
        if (status == VG_RETRY)
            return status;
        if (status == VG_END)
            break;
        if (left < 8) {
            for (uint64_t i = 0; i < left; i++)
                torn_end = at[i] ? offset + i + 1 : torn_end;
            break;
        }
        uint64_t word = get_u64(at);

        if (word == 0) {
            /* Most of it is zeros: in large steps. */
            while (is_in_buffer(cursor, offset, 64 + 8) && is_zero(at + 8, 64)) {
                offset += 64;
                at += 64;
            }
            continue;
        }
        torn_end = offset + 8;
        if ((uint32_t)word != BATCH_MAGIC || offset == start || checked > SEARCH_CRC_BYTES_MAX)
            continue;
        status = batch_at(cursor, offset, limit, ret_batch, err);
        if (status == VG_RETRY)
            return status;
        if (status == VG_OK && is_possible(cursor, ret_batch, offset - start, limit_seq))
            return VG_OK;
        checked += BATCH_HEADER_BYTES + ret_batch->header.body_bytes;
    }
    *ret_torn_bytes = torn_end - start;
    return VG_END;
}

enum vg_status cursor_next(struct cursor *cursor, uint64_t limit, uint64_t limit_seq,
                           enum cursor_end end, struct batch *ret_batch, uint64_t *ret_torn_bytes,
                           struct vg_err *err)
{
    uint64_t torn = 0;
    enum vg_status status;

    if (ret_torn_bytes)
        *ret_torn_bytes = 0;
    if (cursor->offset >= limit) {
        if (end == CURSOR_SEALED && cursor->next_seq < limit_seq) {
            tell_damage(cursor, limit, 0, limit_seq, "the segment ends too early");
            cursor->next_seq = limit_seq;
            cursor->has_prev = false;
        }
        return VG_END;
    }
    status = batch_at(cursor, cursor->offset, limit, ret_batch, err);
    if (status == VG_RETRY)
        return status;
    bool is_expected = status == VG_OK && ret_batch->header.first_seq >= cursor->next_seq &&
                       (end != CURSOR_SEALED || ret_batch->header.first_seq <= limit_seq);

    if (is_expected && ret_batch->header.first_seq > cursor->next_seq)
        tell_damage(cursor, cursor->offset, 0, ret_batch->header.first_seq,
                    "records are missing before this batch");
    if (is_expected && cursor->has_prev && ret_batch->header.prev_hash != cursor->prev_hash)
        tell_damage(cursor, cursor->offset, 0, cursor->next_seq,
                    "the batch before this one is not the one that was written");
    if (!is_expected) {
        const char *at;
        uint64_t left = limit - cursor->offset;
        bool may_end =
            end == CURSOR_GROWING || (end == CURSOR_SEALED && cursor->next_seq >= limit_seq);

        if (left > BATCH_HEADER_BYTES)
            left = BATCH_HEADER_BYTES;
        status = fill(cursor, cursor->offset, left, limit, &at, err);
        if (status == VG_RETRY)
            return status;
        if (may_end && status == VG_OK && is_zero(at, (size_t)left))
            return VG_END;
        status = search(cursor, limit, limit_seq, ret_batch, &torn, err);
        if (status == VG_OK && end == CURSOR_GROWING) {
            /* The writer may have been in the middle of it when we looked first. */
            cursor->len = 0;
            status = batch_at(cursor, cursor->offset, limit, ret_batch, err);
            if (status == VG_OK && ret_batch->header.first_seq == cursor->next_seq) {
                step(cursor, ret_batch);
                return VG_OK;
            }
            status = search(cursor, limit, limit_seq, ret_batch, &torn, err);
        }
        if (status == VG_END && end != CURSOR_TAIL && end != CURSOR_GROWING &&
            (torn > 0 || cursor->next_seq < limit_seq)) {
            tell_damage(cursor, cursor->offset, limit - cursor->offset, limit_seq,
                        "no good batch up to the end of the segment");
            cursor->offset = limit; /* it is told once */
            cursor->next_seq = limit_seq;
            cursor->has_prev = false;
        }
        if (status == VG_END && ret_torn_bytes)
            *ret_torn_bytes = torn;
        if (status != VG_OK)
            return status;
        tell_damage(cursor, cursor->offset, ret_batch->offset - cursor->offset,
                    ret_batch->header.first_seq, "damaged, skipped");
    }
    step(cursor, ret_batch);
    return VG_OK;
}
