/* cmd_archive.c -- vigil archive: the secure copy of every message as received, for people.
 *
 * list, verify and cat read beside a running platform. replay puts messages on device.raw again,
 * with header replay-of, and therefore needs the journal for itself: it refuses while the platform
 * runs. Its effects downstream are idempotent: ids derive from device, type and time.
 */
#include "app/app.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "hub/archive.h"
#include "stream/stream.h"

#include <inttypes.h>
#include <stdio.h>

static const char usage[] =
    "usage: vigil archive list [--data DIR]\n"
    "       vigil archive verify [--data DIR]\n"
    "       vigil archive cat [--raw] [FILTER...] [--data DIR]\n"
    "       vigil archive replay [FILTER...] [--data DIR]\n"
    "\n"
    "list: one line a segment (an hour). verify: decrypts every frame and checks the chain of\n"
    "hashes; names the first damage and ends with 1. cat: messages as JSON lines; --raw: payloads "
    "only,\n"
    "each followed by a newline. replay: puts messages on device.raw again, marked replay-of, "
    "while "
    "the\n"
    "platform is stopped.\n"
    "FILTER: --device ID, --from TIME, --to TIME (receipt, ISO 8601), --trace P-S\n";

#define REPLAY_COUNT_MAX 1000

struct asked {
    const char *device, *from, *to, *trace;
    bool is_raw;
    uint32_t partition; /* being read */
    int64_t from_us, to_us;
    uint64_t trace_partition, trace_seq;
};

struct work {
    const struct asked *asked;
    struct stream *stream; /* replay */
    struct stream_out out;
    struct vg_buf text;
    uint64_t count;
    enum vg_status st;
    struct vg_err *err;
};

static enum vg_status read_filter(struct asked *asked, struct vg_err *err)
{
    struct vg_slice seq = vg_slice_of(asked->trace);
    struct vg_slice partition = asked->trace ? vg_slice_cut(&seq, '-') : seq;

    if ((asked->from && !vg_time_parse(vg_slice_of(asked->from), &asked->from_us, NULL) &&
         !vg_date_parse(vg_slice_of(asked->from), &asked->from_us)) ||
        (asked->to && !vg_time_parse(vg_slice_of(asked->to), &asked->to_us, NULL) &&
         !vg_date_parse(vg_slice_of(asked->to), &asked->to_us)))
        return vg_fail(err, VG_REJECT, "archive.time", 0,
                       "--from and --to take a time such as 2026-03-14T10:00:00Z, or a date");
    if (asked->trace && (!vg_slice_to_u64(partition, &asked->trace_partition) ||
                         !vg_slice_to_u64(seq, &asked->trace_seq)))
        return vg_fail(err, VG_REJECT, "archive.trace", 0,
                       "--trace takes PARTITION-SEQUENCE, such as 0-4711");
    return VG_OK;
}

static bool is_asked(const struct asked *asked, const struct stream_record *record)
{
    return (!asked->device || vg_slice_is(record->key, asked->device)) &&
           (!asked->trace ||
            (asked->partition == asked->trace_partition && record->seq == asked->trace_seq));
}

/* ---- list ---- */

static bool print_segment(void *ctx, const struct archive_segment *s)
{
    char first[VG_TIME_TEXT_SIZE] = "-", last[VG_TIME_TEXT_SIZE] = "-";

    (void)ctx;
    if (s->records) {
        (void)vg_time_format(s->first_us, 0, first);
        (void)vg_time_format(s->last_us, 0, last);
    }
    (void)printf("%9u  %-16s %-20s  %-20s  %9" PRIu64 "  %12" PRIu64 "  %12" PRIu64 "  %5.1f\n",
                 s->partition, s->name, first, last, s->records, s->plain_bytes, s->file_bytes,
                 s->file_bytes ? (double)s->plain_bytes / (double)s->file_bytes : 0.0);
    return true;
}

static enum vg_status list(struct archive_reader *reader, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    (void)printf("%9s  %-16s %-20s  %-20s  %9s  %12s  %12s  %5s\n", "PARTITION", "SEGMENT", "FIRST",
                 "LAST", "MESSAGES", "BYTES", "ON DISK", "RATIO");
    for (uint32_t p = 0; st == VG_OK && p < archive_reader_partitions(reader); p++)
        st = archive_list(reader, p, print_segment, NULL, err);
    return st;
}

/* ---- verify ---- */

static bool count_record(void *ctx, const struct stream_record *record)
{
    (void)record;
    ++*(uint64_t *)ctx;
    return true;
}

/* The journal knows how far the archive had come: is the end still there? */
static enum vg_status check_end(struct stream *stream, uint32_t partition, uint64_t next_seq,
                                struct vg_err *err)
{
    uint64_t committed = stream_committed(stream, "archive", STREAM_DEVICE_RAW, partition);

    if (committed > next_seq)
        return vg_fail(err, VG_REJECT, "archive.damage", 0,
                       "partition %u ends before message %" PRIu64 ", but the journal says that it "
                       "was archived up to %" PRIu64 ": the end is missing",
                       partition, next_seq, committed);
    return VG_OK;
}

static enum vg_status verify(struct archive_reader *reader, const char *stream_dir,
                             struct vg_err *err)
{
    struct stream *stream = NULL;
    struct vg_err ignored = {0};
    uint64_t count = 0, next_seq = 0;
    bool has_journal = stream_open(&(struct stream_config){.dir = stream_dir, .is_read_only = true},
                                   &stream, &ignored) == VG_OK;
    enum vg_status st = VG_OK;

    if (!has_journal)
        (void)fprintf(stderr,
                      "vigil: the journal cannot be read (%s): whether the end is complete "
                      "was not checked\n",
                      ignored.text);
    for (uint32_t p = 0; st == VG_OK && p < archive_reader_partitions(reader); p++) {
        st = archive_read(reader, &(struct archive_scan){.partition = p}, count_record, &count,
                          &next_seq, err);
        if (st == VG_OK && has_journal)
            st = check_end(stream, p, next_seq, err);
    }
    stream_close(stream);
    if (st == VG_OK)
        (void)printf("the archive is whole: %" PRIu64 " messages\n", count);
    return st;
}

/* ---- cat ---- */

static void put_record(struct vg_buf *out, uint32_t partition, const struct stream_record *record)
{
    struct vg_slice name, value;
    struct vg_json_writer w;
    char id[48];
    size_t cursor = 0;
    int len = snprintf(id, sizeof(id), "%u-%" PRIu64, partition, record->seq);

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "trace", (struct vg_slice){id, (size_t)len});
    vg_json_member_time(&w, "time", record->time_us);
    vg_json_member_string(&w, "device", record->key);
    vg_json_name(&w, "headers");
    vg_json_open_object(&w);
    while (stream_header_next(record->headers, &cursor, &name, &value)) {
        vg_json_name_slice(&w, name);
        vg_json_put_string(&w, value);
    }
    vg_json_close_object(&w);
    if (vg_slice_is_utf8(record->value)) {
        vg_json_member_string(&w, "payload", record->value);
    } else {
        struct vg_buf base64;

        vg_buf_init(&base64, 0);
        vg_base64_put(&base64, record->value);
        vg_json_member_string(&w, "payload", vg_buf_slice(&base64));
        vg_json_member_string(&w, "payloadEncoding", VG_SLICE("base64"));
        vg_buf_fini(&base64);
    }
    vg_json_close_object(&w);
}

static bool print_record(void *ctx, const struct stream_record *record)
{
    struct work *work = ctx;

    if (!is_asked(work->asked, record))
        return true;
    work->count++;
    vg_buf_clear(&work->text);
    if (work->asked->is_raw)
        vg_buf_put(&work->text, record->value);
    else
        put_record(&work->text, work->asked->partition, record);
    vg_buf_put_byte(&work->text, '\n');
    if (!vg_buf_ok(&work->text) ||
        fwrite(work->text.ptr, 1, work->text.len, stdout) != work->text.len)
        work->st = vg_fail(work->err, VG_REJECT, "archive.output", 0, "cannot write");
    return work->st == VG_OK;
}

/* ---- replay ---- */

static enum vg_status commit(struct work *work)
{
    enum vg_status st = VG_OK;

    if (work->out.record_count)
        st = stream_commit(work->stream, work->asked->partition, &work->out, NULL, work->err);
    stream_out_clear(&work->out);
    return st;
}

static bool replay_record(void *ctx, const struct stream_record *record)
{
    struct work *work = ctx;
    char id[48];
    int len;

    if (!is_asked(work->asked, record))
        return true;
    len = snprintf(id, sizeof(id), "%u-%" PRIu64, work->asked->partition, record->seq);
    vg_buf_clear(&work->text);
    vg_buf_put(&work->text, record->headers);
    stream_header_put(&work->text, "replay-of", (struct vg_slice){id, (size_t)len});
    stream_out_add(&work->out, STREAM_DEVICE_RAW, record->time_us, record->key,
                   vg_buf_slice(&work->text), record->value);
    work->count++;
    if (work->out.record_count >= REPLAY_COUNT_MAX)
        work->st = commit(work);
    return work->st == VG_OK;
}

/* cat and replay: every partition, filtered. */
static enum vg_status walk(struct archive_reader *reader, struct asked *asked, struct work *work)
{
    enum vg_status st = VG_OK;

    for (uint32_t p = 0; st == VG_OK && p < archive_reader_partitions(reader); p++) {
        struct archive_scan scan = {.partition = p,
                                    .is_quick = asked->from || asked->to,
                                    .from_us = asked->from ? asked->from_us : INT64_MIN,
                                    .to_us = asked->to_us};

        asked->partition = p;
        if (asked->trace && asked->trace_partition != p)
            continue;
        st = archive_read(reader, &scan, work->stream ? replay_record : print_record, work, NULL,
                          work->err);
        if (st == VG_OK)
            st = work->st;
        if (st == VG_OK && work->stream)
            st = commit(work);
    }
    return st;
}

static enum vg_status replay(struct archive_reader *reader, struct asked *asked, struct work *work,
                             const char *stream_dir)
{
    enum vg_status st =
        stream_open(&(struct stream_config){.dir = stream_dir}, &work->stream, work->err);

    if (st == VG_OK)
        st = walk(reader, asked, work);
    stream_close(work->stream);
    if (st == VG_OK)
        (void)printf("%" PRIu64 " messages stand on device.raw again\n", work->count);
    return st;
}

int cmd_archive(int argc, char **argv)
{
    struct app_options options;
    struct archive_reader *reader = NULL;
    struct vg_err err = {0};
    struct work work = {.err = &err};
    struct asked asked = {0};
    enum vg_status st;
    const char *what, *stream_dir = NULL;
    int code = app_options_init(&options, argc, argv);

    vg_buf_init(&work.text, 0);
    stream_out_init(&work.out);
    work.asked = &asked;
    asked.is_raw = app_take_switch(&options, "--raw");
    asked.device = app_take_option(&options, "--device");
    asked.from = app_take_option(&options, "--from");
    asked.to = app_take_option(&options, "--to");
    asked.trace = app_take_option(&options, "--trace");
    what = options.rest_count == 1 ? options.rest[0] : "";
    if (code != 0)
        goto done;
    if (options.wants_help || !*what) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
        goto done;
    }
    stream_dir = settings_path(&options.arena, &options.settings, "stream");
    st = read_filter(&asked, &err);
    if (st == VG_OK)
        st = archive_reader_open(options.settings.data_dir, &reader, &err);
    if (st != VG_OK) {
        code = app_fail(&err);
    } else if (strcmp(what, "list") == 0) {
        st = list(reader, &err);
    } else if (strcmp(what, "verify") == 0) {
        st = verify(reader, stream_dir, &err);
    } else if (strcmp(what, "cat") == 0) {
        st = walk(reader, &asked, &work);
    } else if (strcmp(what, "replay") == 0) {
        st = replay(reader, &asked, &work, stream_dir);
    } else {
        (void)fputs(usage, stderr);
        code = 2;
    }
    if (st != VG_OK && code == 0)
        code = app_fail(&err);
done:
    archive_reader_close(reader);
    stream_out_fini(&work.out);
    vg_buf_fini(&work.text);
    app_options_fini(&options);
    return code;
}
