/* archive_test.c -- the archive's promises: what was published can be read back, byte for byte,
 * once; a crash at any write loses nothing; what was changed is found. */
#include "hub/archive.h"

#include "base/crypto.h"
#include "hub/archive_int.h"

#include "vg_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOUR_10 ((int64_t)1773482400 * VG_SECOND_US) /* 2026-03-14T10:00:00Z */

static char root[64];

static void new_root(void)
{
    (void)snprintf(root, sizeof(root), "/tmp/vigil-archive-XXXXXX");
    if (!mkdtemp(root))
        abort();
}

static void remove_root(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    if (system(command) != 0)
        abort();
}

static struct stream *open_stream(void)
{
    char dir[96];
    struct stream *stream = NULL;
    struct vg_err err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/journal", root);
    if (stream_open(&(struct stream_config){.dir = dir, .segment_bytes = 4u << 20}, &stream,
                    &err) != VG_OK)
        printf("stream: %s %s\n", err.code, err.text);
    return stream;
}

static void publish(struct stream *stream, uint32_t from, uint32_t count, int64_t time_us)
{
    struct stream_out out;

    stream_out_init(&out);
    for (uint32_t i = from; i < from + count; i++) {
        char value[64], key[16];
        struct vg_buf headers;

        vg_buf_init(&headers, 0);
        stream_header_put(&headers, "via", VG_SLICE("mqtt"));
        int len = snprintf(value, sizeof(value), "{\"n\":%u,\"hr\":%u}", i, 60 + i % 40);
        (void)snprintf(key, sizeof(key), "bed-%u", i % 7);
        stream_out_add(&out, STREAM_DEVICE_RAW, time_us + i, vg_slice_of(key),
                       vg_buf_slice(&headers), (struct vg_slice){value, (size_t)len});
        vg_buf_fini(&headers);
    }
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
}

/* Until the archive has committed all, at most 5 s. */
static bool wait_archived(struct stream *stream)
{
    int64_t end_us = vg_mono_us() + 5 * VG_SECOND_US;

    while (stream_lag(stream, "archive", STREAM_DEVICE_RAW, 0) > 0 && vg_mono_us() < end_us)
        (void)sched_yield();
    return stream_lag(stream, "archive", STREAM_DEVICE_RAW, 0) == 0;
}

struct seen {
    uint32_t next; /* expected n */
    bool is_right;
};

static bool check_record(void *ctx, const struct stream_record *record)
{
    struct seen *seen = ctx;
    char value[64], key[16];
    int len =
        snprintf(value, sizeof(value), "{\"n\":%u,\"hr\":%u}", seen->next, 60 + seen->next % 40);

    (void)snprintf(key, sizeof(key), "bed-%u", seen->next % 7);
    seen->is_right = seen->is_right && vg_slice_is(record->key, key) &&
                     vg_slice_eq(record->value, (struct vg_slice){value, (size_t)len}) &&
                     vg_slice_is(stream_header_get(record->headers, "via"), "mqtt");
    seen->next++;
    return true;
}

/* All of 0..count-1 are there, once, in order. */
static enum vg_status read_all(uint32_t *ret_count, struct vg_err *err)
{
    struct archive_reader *reader = NULL;
    struct seen seen = {.is_right = true};
    enum vg_status st = archive_reader_open(root, &reader, err);

    if (st == VG_OK)
        st = archive_read(reader, &(struct archive_scan){0}, check_record, &seen, NULL, err);
    CHECK(st != VG_OK || seen.is_right);
    *ret_count = seen.next;
    archive_reader_close(reader);
    return st;
}

static enum vg_status run_once(const struct vg_io *io, uint64_t frame_bytes, struct vg_err *err)
{
    struct stream *stream = open_stream();
    struct archive *archive = NULL;
    struct archive_config config = {
        .data_dir = root, .frame_bytes = frame_bytes, .frame_age_us = 1000, .io = io};
    enum vg_status st = archive_open(&config, stream, &archive, err);

    if (st == VG_OK)
        CHECK(wait_archived(stream));
    archive_close(archive);
    stream_close(stream);
    return st;
}

static void test_what_was_published_is_read_back(void)
{
    struct stream *stream;
    struct vg_err err = {0};
    struct stat info;
    char path[96];
    uint32_t count = 0;

    new_root();
    stream = open_stream();
    publish(stream, 0, 500, HOUR_10);
    publish(stream, 500, 500, HOUR_10 + VG_HOUR_US);
    stream_close(stream);
    CHECK(run_once(NULL, 4096, &err) == VG_OK);
    CHECK(read_all(&count, &err) == VG_OK && count == 1000);
    (void)snprintf(path, sizeof(path), "%s/archive/p0/20260314-10.vga", root);
    CHECK(stat(path, &info) == 0);
    (void)snprintf(path, sizeof(path), "%s/archive/p0/20260314-11.vga", root);
    CHECK(stat(path, &info) == 0);
    (void)snprintf(path, sizeof(path), "%s/archive.key", root);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);

    /* A second run adds what is new and nothing twice. */
    stream = open_stream();
    publish(stream, 1000, 10, HOUR_10);
    stream_close(stream);
    CHECK(run_once(NULL, 4096, &err) == VG_OK);
    CHECK(read_all(&count, &err) == VG_OK && count == 1010);

    CHECK(chmod(path, 0644) == 0);
    CHECK(run_once(NULL, 4096, &err) == VG_FATAL && strcmp(err.code, "archive.key") == 0);
    remove_root();
}

/* ---- crashes: from the n-th write on nothing reaches the disk ---- */

static atomic_int calls_left;
static atomic_bool is_torn;

static bool is_crashed(void)
{
    return atomic_fetch_sub(&calls_left, 1) <= 0;
}

static ssize_t crash_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    (void)ctx;
    if (is_crashed()) {
        if (atomic_exchange(&is_torn, false))
            (void)!pwrite(fd, buf, len / 2, offset); /* half of it got there */
        errno = EIO;
        return -1;
    }
    return pwrite(fd, buf, len, offset);
}

static int crash_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    if (is_crashed()) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

static int crash_truncate(void *ctx, int fd, off_t len)
{
    (void)ctx;
    if (is_crashed()) {
        errno = EIO;
        return -1;
    }
    return ftruncate(fd, len);
}

static void test_a_crash_at_any_write_loses_and_doubles_nothing(void)
{
    struct vg_io io = vg_io_system;

    io.pwrite = crash_pwrite;
    io.fdatasync = crash_fdatasync;
    io.truncate = crash_truncate;
    for (int n = 0; n < 14; n++) {
        struct stream *stream;
        struct archive *archive = NULL;
        struct vg_err err = {0};
        uint32_t count = 0;
        int64_t end_us;
        char trouble[256];

        new_root();
        stream = open_stream();
        publish(stream, 0, 400, HOUR_10);
        publish(stream, 400, 200, HOUR_10 + VG_HOUR_US);
        atomic_store(&calls_left, n);
        atomic_store(&is_torn, true);
        CHECK(archive_open(
                  &(struct archive_config){
                      .data_dir = root, .frame_bytes = 4096, .frame_age_us = 1000, .io = &io},
                  stream, &archive, &err) == VG_OK);
        /* Either it gets through, or it has met the crash and tried again. */
        end_us = vg_mono_us() + 5 * VG_SECOND_US;
        do {
            archive_trouble(archive, trouble);
            (void)sched_yield();
        } while (!trouble[0] && vg_mono_us() < end_us &&
                 stream_lag(stream, "archive", STREAM_DEVICE_RAW, 0) > 0);
        archive_close(archive);
        stream_close(stream);

        CHECK(run_once(NULL, 4096, &err) == VG_OK);
        CHECK(read_all(&count, &err) == VG_OK);
        CHECK(count == 600);
        if (vg_test_failures) {
            printf("n=%d count=%u %s %s\n", n, count, err.code ? err.code : "", err.text);
            remove_root();
            return;
        }
        remove_root();
    }
}

/* ---- damage ---- */

static void flip(const char *path, off_t offset)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;

    CHECK(fd >= 0 && pread(fd, &byte, 1, offset) == 1);
    byte ^= 0x10;
    CHECK(pwrite(fd, &byte, 1, offset) == 1);
    close(fd);
}

static void test_every_flipped_bit_is_found(void)
{
    struct stream *stream;
    struct vg_err err = {0};
    struct stat info;
    char path[96];
    uint32_t count = 0;
    int missed = 0;

    new_root();
    stream = open_stream();
    publish(stream, 0, 100, HOUR_10);
    stream_close(stream);
    CHECK(run_once(NULL, 1024, &err) == VG_OK);
    (void)snprintf(path, sizeof(path), "%s/archive/p0/20260314-10.vga", root);
    CHECK(stat(path, &info) == 0);
    for (off_t at = 0; at < info.st_size; at++) {
        flip(path, at);
        missed += read_all(&count, &err) != VG_REJECT || strcmp(err.code, "archive.damage") != 0;
        flip(path, at);
    }
    CHECK(missed == 0);
    CHECK(read_all(&count, &err) == VG_OK && count == 100);

    /* Another key opens nothing. */
    (void)snprintf(path, sizeof(path), "%s/archive.key", root);
    flip(path, 5);
    CHECK(read_all(&count, &err) != VG_OK);
    remove_root();
}

static void test_frames_and_segments_cannot_be_moved_or_cut_out(void)
{
    struct stream *stream;
    struct vg_err err = {0};
    struct frame_header header;
    uint8_t head[FRAME_HEADER_BYTES];
    char path[3][96], command[400];
    uint32_t count = 0;
    int fd;

    new_root();
    stream = open_stream();
    for (uint32_t i = 0; i < 3; i++) {
        publish(stream, 100 * i, 100, HOUR_10 + i * VG_HOUR_US);
        (void)snprintf(path[i], sizeof(path[i]), "%s/archive/p0/20260314-1%u.vga", root, i);
    }
    stream_close(stream);
    CHECK(run_once(NULL, 1024, &err) == VG_OK);

    CHECK_ROW("a segment in the middle is gone");
    (void)snprintf(command, sizeof(command), "mv %s %s/aside", path[1], root);
    CHECK(system(command) == 0);
    CHECK(read_all(&count, &err) == VG_REJECT && strstr(err.text, "chain") != NULL);
    (void)snprintf(command, sizeof(command), "mv %s/aside %s", root, path[1]);
    CHECK(system(command) == 0);

    CHECK_ROW("the first segment is gone");
    (void)snprintf(command, sizeof(command), "mv %s %s/aside", path[0], root);
    CHECK(system(command) == 0);
    CHECK(read_all(&count, &err) == VG_REJECT);
    (void)snprintf(command, sizeof(command), "mv %s/aside %s", root, path[0]);
    CHECK(system(command) == 0);

    CHECK_ROW("the first frame of a segment is cut out");
    fd = open(path[1], O_RDONLY);
    CHECK(pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head));
    close(fd);
    CHECK(frame_header_decode(head, &header));
    (void)snprintf(command, sizeof(command), "cp %s %s/aside && tail -c +%zu %s/aside > %s",
                   path[1], root, FRAME_HEADER_BYTES + (size_t)header.sealed_bytes + 1, root,
                   path[1]);
    CHECK(system(command) == 0);
    CHECK(read_all(&count, &err) == VG_REJECT && strstr(err.text, "20260314-11") != NULL);
    (void)snprintf(command, sizeof(command), "mv %s/aside %s", root, path[1]);
    CHECK(system(command) == 0);

    CHECK_ROW("a segment is cut short");
    (void)snprintf(command, sizeof(command), "cp %s %s/aside && truncate -s -1 %s", path[1], root,
                   path[1]);
    CHECK(system(command) == 0);
    CHECK(read_all(&count, &err) == VG_REJECT);
    (void)snprintf(command, sizeof(command), "mv %s/aside %s", root, path[1]);
    CHECK(system(command) == 0);
    CHECK(read_all(&count, &err) == VG_OK && count == 300);
    remove_root();
}

static void test_a_damaged_segment_is_left_and_the_archive_goes_on(void)
{
    struct stream *stream;
    struct vg_err err = {0};
    struct stat info;
    char path[96];
    uint32_t count = 0;

    new_root();
    stream = open_stream();
    publish(stream, 0, 200, HOUR_10);
    stream_close(stream);
    CHECK(run_once(NULL, 1024, &err) == VG_OK);
    (void)snprintf(path, sizeof(path), "%s/archive/p0/20260314-10.vga", root);
    flip(path, 20); /* the first frame's header */
    stream = open_stream();
    publish(stream, 200, 50, HOUR_10 + VG_MINUTE_US);
    stream_close(stream);
    CHECK(run_once(NULL, 1024, &err) == VG_OK);
    flip(path, 20);
    CHECK(stat(path, &info) == 0);
    (void)snprintf(path, sizeof(path), "%s/archive/p0/20260314-10-002.vga", root);
    CHECK(stat(path, &info) == 0);
    /* Mended, the old part reads; and that something had happened still shows. */
    CHECK(read_all(&count, &err) == VG_REJECT && count == 200);
    CHECK(strstr(err.text, "20260314-10-002") != NULL);
    remove_root();
}

static void test_frames(void)
{
    uint8_t key[ARCHIVE_KEY_BYTES] = {1}, hash[32], other[32];
    struct frame_header header = {.record_count = 1, .first_seq = 7, .last_seq = 7};
    struct stream_record in = {.seq = 7,
                               .time_us = HOUR_10,
                               .key = VG_SLICE("bed-4"),
                               .headers = VG_SLICE(""),
                               .value = VG_SLICE("\x00\xff{")},
                         out;
    struct vg_buf plain, frame, back;
    size_t cursor = 0;

    vg_buf_init(&plain, 0);
    vg_buf_init(&frame, 0);
    vg_buf_init(&back, 0);
    frame_record_put(&plain, &in);
    CHECK(frame_seal(key, &header, vg_buf_slice(&plain), &frame, hash, NULL) == VG_OK);
    CHECK(frame_open(key, vg_buf_slice(&frame), &back, other, NULL) == VG_OK);
    CHECK(memcmp(hash, other, 32) == 0);
    CHECK(frame_record_next(vg_buf_slice(&back), &cursor, &out));
    CHECK(out.seq == 7 && out.time_us == HOUR_10 && vg_slice_eq(out.value, in.value));
    CHECK(!frame_record_next(vg_buf_slice(&back), &cursor, &out));
    CHECK(memmem(frame.ptr, frame.len, "bed-4", 5) == NULL);
    key[0] = 2;
    CHECK(frame_open(key, vg_buf_slice(&frame), &back, other, NULL) == VG_REJECT);
    vg_buf_fini(&plain);
    vg_buf_fini(&frame);
    vg_buf_fini(&back);
}

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    RUN(test_frames);
    RUN(test_what_was_published_is_read_back);
    RUN(test_a_crash_at_any_write_loses_and_doubles_nothing);
    RUN(test_every_flipped_bit_is_found);
    RUN(test_frames_and_segments_cannot_be_moved_or_cut_out);
    RUN(test_a_damaged_segment_is_left_and_the_archive_goes_on);
    return vg_test_report();
}
