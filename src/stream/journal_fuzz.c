/* journal_fuzz.c -- segment files of arbitrary bytes: opening and reading them never crashes, ends,
 * and shows records in order.
 *
 * The first byte of the input says what is done with the rest: bit 0 makes its batches carry this
 * log's id, sound lengths and right checksums, so that what is behind the checksum is met too; bit
 * 1 cuts it into two segments; bit 2 opens for writing, commits and reads again. The corpus holds
 * real segments.
 */
#include "stream/journal.h"

#include "base/crypto.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES 4096u
#define LOG_ID 42u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void write_file(const char *name, const char *bytes, size_t len)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        abort();
    close(fd);
}

static void set_up(void)
{
    static const char meta[] = "vigil-journal 1\nid 000000000000002a\npartitions 1\n";

    if (vg_crypto_init(NULL) != VG_OK)
        abort();
    memcpy(dir, "/dev/shm/vg-fuzz-XXXXXX", sizeof("/dev/shm/vg-fuzz-XXXXXX"));
    if (!mkdtemp(dir)) {
        memcpy(dir, "/tmp/vg-fuzz-XXXXXX", sizeof("/tmp/vg-fuzz-XXXXXX"));
        if (!mkdtemp(dir))
            abort();
    }
    write_file("journal", meta, sizeof(meta) - 1);
}

/* The partition's folder, empty. */
static void clear_partition(void)
{
    char path[400];

    (void)snprintf(path, sizeof(path), "%s/p0000", dir);
    if (mkdir(path, 0700) == 0)
        return;
    DIR *open_dir = opendir(path);

    for (struct dirent *entry = open_dir ? readdir(open_dir) : NULL; entry;
         entry = readdir(open_dir)) {
        (void)snprintf(path, sizeof(path), "%s/p0000/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0)
            abort();
    }
    if (open_dir)
        closedir(open_dir);
}

static void make_sound(char *bytes, size_t len)
{
    for (size_t at = 0; at + BATCH_HEADER_BYTES <= len;) {
        size_t left = len - at - BATCH_HEADER_BYTES, body = get_u32(bytes + at + 32) % 1024 / 8 * 8;

        if (body > left)
            body = left / 8 * 8;
        put_u32(bytes + at, 0x314a4756u);
        put_u16(bytes + at + 8, BATCH_VERSION);
        put_u32(bytes + at + 12, 0);
        put_u32(bytes + at + 32, (uint32_t)body);
        put_u64(bytes + at + 56, LOG_ID);
        put_u32(bytes + at + 4, vg_crc32c(0, bytes + at + 8, BATCH_HEADER_BYTES - 8 + body));
        at += BATCH_HEADER_BYTES + body;
    }
}

static void read_all(struct stream *stream)
{
    struct stream_consumer *consumer = NULL;
    struct stream_scan *scan = NULL;
    struct stream_commit_view view;
    struct stream_batch batch;
    struct stream_record record;
    enum stream_topic topic;
    struct vg_slice group;
    uint32_t partition;
    uint64_t seq, last = 0, sum = 0;
    bool has_last = false;

    if (stream_scan_open(stream, 0, 0, &scan, NULL) != VG_OK)
        abort();
    while (stream_scan_next(scan, &view, NULL) == VG_OK) {
        for (size_t i = 0; stream_scan_record(scan, i, &topic, &record); i++)
            sum += record.value.len ? (uint8_t)record.value.ptr[record.value.len - 1] : 0;
        for (size_t i = 0; stream_scan_offset(scan, i, &group, &topic, &partition, &seq); i++)
            sum += (uint8_t)group.ptr[group.len - 1];
    }
    stream_scan_close(scan);
    for (unsigned t = 1; t < STREAM_TOPIC_COUNT; t++) {
        if (stream_consumer_open(stream, 0, (enum stream_topic)t, "fuzz", &consumer, NULL) != VG_OK)
            abort();
        has_last = false;
        while (stream_read(consumer, 7, 0, &batch, NULL) == VG_OK) {
            for (size_t i = 0; i < batch.count; i++) {
                if (has_last && batch.records[i].seq <= last)
                    abort(); /* a record came twice or out of order */
                last = batch.records[i].seq;
                has_last = true;
                sum += batch.records[i].key.len;
            }
        }
        stream_consumer_close(consumer);
        sum += stream_lag(stream, "fuzz", (enum stream_topic)t, 0);
    }
    if (sum == 1)
        (void)fputc('.', stderr); /* keeps the reads from being thrown out */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[4 * SEGMENT_BYTES];
    struct stream_config config = {.dir = dir, .segment_bytes = SEGMENT_BYTES};
    struct stream *stream = NULL;
    struct vg_buf damage;

    if (!*dir)
        set_up();
    if (size < 1 || size > sizeof(bytes))
        return 0;
    unsigned how = data[0];

    size--;
    if (size)
        memcpy(bytes, data + 1, size);
    if (how & 1)
        make_sound(bytes, size);
    clear_partition();
    size_t cut = how & 2 ? size / 16 * 8 : size;

    write_file("p0000/00000000000000000000.seg", bytes, cut);
    if (how & 2)
        write_file("p0000/00000000000000000005.seg", bytes + cut, size - cut);
    config.is_read_only = !(how & 4);
    if (stream_open(&config, &stream, NULL) != VG_OK)
        abort(); /* nothing in a segment can keep the log from opening */
    read_all(stream);
    if (how & 4) {
        struct stream_out out;
        uint64_t seq;

        stream_out_init(&out);
        stream_out_add(&out, STREAM_SCORED, 0, VG_SLICE("k"), (struct vg_slice){0}, VG_SLICE("v"));
        if (stream_commit(stream, 0, &out, &seq, NULL) != VG_OK)
            abort();
        stream_out_fini(&out);
        stream_close(stream);
        if (stream_open(&config, &stream, NULL) != VG_OK)
            abort();
        struct stream_consumer *consumer = NULL;
        struct stream_batch batch;

        if (stream_consumer_open(stream, 0, STREAM_SCORED, "x", &consumer, NULL) != VG_OK)
            abort();
        stream_seek(consumer, seq);
        if (stream_read(consumer, 1, 0, &batch, NULL) != VG_OK || batch.records->seq != seq ||
            !vg_slice_is(batch.records->value, "v"))
            abort(); /* what was acknowledged is not there */
        stream_consumer_close(consumer);
    }
    vg_buf_init(&damage, 0);
    (void)stream_damage(stream, &damage);
    vg_buf_fini(&damage);
    stream_close(stream);
    return 0;
}
