/* archive_read.c -- the archive read back: listed, verified, decrypted.
 *
 * Reads beside a running writer: the end of the last segment may hold a frame that is not whole
 * yet; a header that is right with a body that is short is the end there, and damage anywhere else.
 * That frames are missing at the very end only the journal can tell: it knows how far the archive
 * had come (group "archive"); `vigil archive verify` asks it.
 */
#include "base/crypto.h"
#include "hub/archive_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct archive_reader {
    uint8_t key[ARCHIVE_KEY_BYTES];
    uint32_t partitions;
    char dir[4096];
    struct vg_buf frame, plain;
};

/* One segment being read. */
struct segment {
    const char *name;
    bool is_last;
    int fd;
    off_t offset, size;
};

enum vg_status archive_reader_open(const char *data_dir, struct archive_reader **ret_reader,
                                   struct vg_err *err)
{
    struct archive_reader *reader = calloc(1, sizeof(*reader));
    char path[4096 + 16];
    struct stat info;
    enum vg_status st;

    if (!reader)
        return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory");
    vg_buf_init(&reader->frame, FRAME_BYTES_MAX + FRAME_HEADER_BYTES);
    vg_buf_init(&reader->plain, FRAME_BYTES_MAX + 1);
    st = archive_key_load(data_dir, false, reader->key, err);
    if (st == VG_OK && snprintf(reader->dir, sizeof(reader->dir), "%s/archive", data_dir) >=
                           (int)sizeof(reader->dir))
        st = vg_fail(err, VG_REJECT, "archive.dir", 0, "folder name is too long");
    while (st == VG_OK) {
        (void)snprintf(path, sizeof(path), "%s/p%u", reader->dir, reader->partitions);
        if (stat(path, &info) != 0)
            break;
        reader->partitions++;
    }
    if (st == VG_OK) {
        *ret_reader = reader;
        reader = NULL;
    }
    archive_reader_close(reader);
    return st;
}

void archive_reader_close(struct archive_reader *reader)
{
    if (!reader)
        return;
    vg_buf_fini(&reader->frame);
    vg_buf_fini(&reader->plain);
    sodium_memzero(reader->key, sizeof(reader->key));
    free(reader);
}

uint32_t archive_reader_partitions(const struct archive_reader *reader)
{
    return reader->partitions;
}

static enum vg_status damage(struct vg_err *err, const struct segment *segment, const char *what)
{
    return vg_fail(err, VG_REJECT, "archive.damage", 0, "segment %s, byte %lld: %s", segment->name,
                   (long long)segment->offset, what);
}

static enum vg_status open_segment(const struct archive_reader *reader, uint32_t partition,
                                   const char *name, struct segment *ret, struct vg_err *err)
{
    char path[4096 + ARCHIVE_NAME_SIZE + 32];
    struct stat info;

    (void)snprintf(path, sizeof(path), "%s/p%u/%s.vga", reader->dir, partition, name);
    *ret = (struct segment){.name = name, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (ret->fd < 0)
        return vg_fail(err, VG_RETRY, "archive.open", errno, "%.200s", path);
    if (fstat(ret->fd, &info) != 0) {
        (void)vg_fail(err, VG_RETRY, "archive.open", errno, "%.200s", path);
        close(ret->fd);
        return VG_RETRY;
    }
    ret->size = info.st_size;
    return VG_OK;
}

/* The header at segment->offset, into reader->frame too. VG_END: the segment is over. */
static enum vg_status next_header(struct archive_reader *reader, struct segment *segment,
                                  struct frame_header *ret, struct vg_err *err)
{
    off_t left = segment->size - segment->offset;
    ssize_t got;

    if (left == 0 || (left < FRAME_HEADER_BYTES && segment->is_last))
        return VG_END;
    if (left < FRAME_HEADER_BYTES)
        return damage(err, segment, "a frame is cut short");
    vg_buf_clear(&reader->frame);
    if (!vg_buf_reserve(&reader->frame, FRAME_HEADER_BYTES))
        return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory");
    got = vg_io_read_all(&vg_io_system, segment->fd, reader->frame.ptr, FRAME_HEADER_BYTES,
                         segment->offset);
    if (got < FRAME_HEADER_BYTES)
        return vg_fail(err, VG_RETRY, "archive.read", errno, "segment %s", segment->name);
    if (!frame_header_decode((const uint8_t *)reader->frame.ptr, ret))
        return damage(err, segment, "the frame's header is damaged");
    if (left - FRAME_HEADER_BYTES >= (off_t)ret->sealed_bytes)
        return VG_OK;
    return segment->is_last ? VG_END : damage(err, segment, "a frame is cut short");
}

static off_t frame_bytes(const struct frame_header *header)
{
    return (off_t)(FRAME_HEADER_BYTES + header->sealed_bytes);
}

static enum vg_status list_one(struct archive_reader *reader, struct segment *segment,
                               struct archive_segment *ret, struct vg_err *err)
{
    struct frame_header header;
    enum vg_status st;

    while ((st = next_header(reader, segment, &header, err)) == VG_OK) {
        if (ret->frames++ == 0) {
            ret->first_seq = header.first_seq;
            ret->first_us = header.first_us;
        }
        ret->records += header.record_count;
        ret->plain_bytes += header.plain_bytes;
        ret->last_seq = header.last_seq;
        ret->last_us = header.last_us;
        segment->offset += frame_bytes(&header);
    }
    return st == VG_END ? VG_OK : st;
}

enum vg_status archive_list(struct archive_reader *reader, uint32_t partition,
                            bool (*fn)(void *ctx, const struct archive_segment *segment), void *ctx,
                            struct vg_err *err)
{
    char(*names)[ARCHIVE_NAME_SIZE] = NULL;
    char dir[4096 + 16];
    size_t count = 0;
    bool goes_on = true;
    enum vg_status st;

    (void)snprintf(dir, sizeof(dir), "%s/p%u", reader->dir, partition);
    st = archive_names(dir, &names, &count, err);
    for (size_t i = 0; st == VG_OK && goes_on && i < count; i++) {
        struct archive_segment entry = {.partition = partition};
        struct segment segment;

        st = open_segment(reader, partition, names[i], &segment, err);
        if (st != VG_OK)
            break;
        segment.is_last = i + 1 == count;
        (void)snprintf(entry.name, sizeof(entry.name), "%s", names[i]);
        entry.file_bytes = (uint64_t)segment.size;
        st = list_one(reader, &segment, &entry, err);
        close(segment.fd);
        if (st == VG_OK)
            goes_on = fn(ctx, &entry);
    }
    free(names);
    return st;
}

/* What a walk over the frames carries from one to the next. */
struct walk {
    const struct archive_scan *scan;
    bool (*fn)(void *ctx, const struct stream_record *record);
    void *ctx;
    uint8_t hash[32]; /* of the frame before; zeros before the first */
    bool has_hash;    /* false after frames that were skipped unread */
    bool is_over;
    uint64_t next_seq;
};

static enum vg_status give_records(struct archive_reader *reader, struct segment *segment,
                                   const struct frame_header *header, struct walk *walk,
                                   struct vg_err *err)
{
    struct vg_slice plain = vg_buf_slice(&reader->plain);
    struct stream_record record;
    size_t cursor = 0;
    uint32_t count = 0;

    while (frame_record_next(plain, &cursor, &record)) {
        count++;
        if (walk->fn && !walk->is_over && record.time_us >= walk->scan->from_us &&
            (!walk->scan->to_us || record.time_us < walk->scan->to_us))
            walk->is_over = !walk->fn(walk->ctx, &record);
    }
    if (cursor != plain.len || count != header->record_count)
        return damage(err, segment, "the frame's records do not add up");
    return VG_OK;
}

static enum vg_status read_frame(struct archive_reader *reader, struct segment *segment,
                                 const struct frame_header *header, struct walk *walk,
                                 struct vg_err *err)
{
    size_t len = (size_t)frame_bytes(header);
    struct vg_err why;
    uint8_t hash[32];
    enum vg_status st;
    ssize_t got;

    if (walk->has_hash && memcmp(header->prev_hash, walk->hash, sizeof(hash)) != 0)
        return damage(err, segment,
                      "the chain is broken: a frame or segment before this one is missing or was "
                      "changed");
    if (header->partition != walk->scan->partition || header->first_seq < walk->next_seq)
        return damage(err, segment, "the frame does not belong here");
    vg_buf_clear(&reader->frame);
    if (!vg_buf_reserve(&reader->frame, len))
        return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory");
    got = vg_io_read_all(&vg_io_system, segment->fd, reader->frame.ptr, len, segment->offset);
    if (got < (ssize_t)len)
        return vg_fail(err, VG_RETRY, "archive.read", errno, "segment %s", segment->name);
    st = frame_open(reader->key, (struct vg_slice){reader->frame.ptr, len}, &reader->plain, hash,
                    &why);
    if (st == VG_REJECT)
        return damage(err, segment, why.text);
    if (st != VG_OK) {
        if (err)
            *err = why;
        return st;
    }
    memcpy(walk->hash, hash, sizeof(hash));
    walk->has_hash = true;
    return give_records(reader, segment, header, walk, err);
}

static enum vg_status read_segment(struct archive_reader *reader, struct segment *segment,
                                   struct walk *walk, struct vg_err *err)
{
    const struct archive_scan *scan = walk->scan;
    struct frame_header header;
    enum vg_status st = VG_OK;

    while (st == VG_OK && !walk->is_over &&
           (st = next_header(reader, segment, &header, err)) == VG_OK) {
        bool is_outside =
            header.last_us < scan->from_us || (scan->to_us && header.first_us >= scan->to_us);

        if (scan->is_quick && is_outside)
            walk->has_hash = false;
        else
            st = read_frame(reader, segment, &header, walk, err);
        if (st == VG_OK)
            walk->next_seq = header.last_seq + 1;
        segment->offset += frame_bytes(&header);
    }
    return st == VG_END ? VG_OK : st;
}

enum vg_status archive_read(struct archive_reader *reader, const struct archive_scan *scan,
                            bool (*fn)(void *ctx, const struct stream_record *record), void *ctx,
                            uint64_t *ret_next_seq, struct vg_err *err)
{
    struct walk walk = {.scan = scan, .fn = fn, .ctx = ctx, .has_hash = true};
    char(*names)[ARCHIVE_NAME_SIZE] = NULL;
    char dir[4096 + 16];
    size_t count = 0;
    enum vg_status st;

    (void)snprintf(dir, sizeof(dir), "%s/p%u", reader->dir, scan->partition);
    st = archive_names(dir, &names, &count, err);
    for (size_t i = 0; st == VG_OK && !walk.is_over && i < count; i++) {
        struct segment segment;

        st = open_segment(reader, scan->partition, names[i], &segment, err);
        if (st != VG_OK)
            break;
        segment.is_last = i + 1 == count;
        st = read_segment(reader, &segment, &walk, err);
        close(segment.fd);
    }
    if (st == VG_OK && ret_next_seq)
        *ret_next_seq = walk.next_seq;
    free(names);
    return st;
}
