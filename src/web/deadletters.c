/* deadletters.c -- GET /api/deadletters?count=100: what could not be processed, newest first; and
 * POST /api/deadletters/{id}/replay: trying one again.
 *
 * A partition's log is read forwards only, so the end of it is read in windows that grow until they
 * hold enough letters (or reach the beginning, or take too long). Payloads are patient data: for
 * coordinators and administrators, and audited.
 */
#include "web/web_int.h"

#include "stream/deadletter.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT_USUAL 100
#define COUNT_MAX 1000
#define WINDOW_FIRST 4096
#define BYTES_MAX ((size_t)16 << 20)
#define READ_MAX_US (2 * VG_SECOND_US)

struct letter {
    int64_t time_us;
    struct vg_buf json;
    uint32_t partition;
    uint64_t seq;
};

struct letters {
    struct letter *items; /* newest first, at most `max` and BYTES_MAX */
    size_t count, max, bytes;
    uint32_t partition; /* that is being read */
};

static void drop_last(struct letters *letters)
{
    struct vg_buf *last = &letters->items[--letters->count].json;

    letters->bytes -= last->len;
    vg_buf_fini(last);
}

static void keep(struct letters *letters, const struct stream_record *record)
{
    struct letter letter = {.time_us = record->time_us};
    size_t at = letters->count;

    while (at > 0 && letters->items[at - 1].time_us < record->time_us)
        at--;
    if (at >= letters->max)
        return;
    if (letters->count == letters->max)
        drop_last(letters);
    letter.partition = letters->partition;
    letter.seq = record->seq;
    vg_buf_init(&letter.json, BYTES_MAX);
    vg_buf_put(&letter.json, record->value);
    memmove(&letters->items[at + 1], &letters->items[at],
            (letters->count - at) * sizeof(letters->items[0]));
    letters->items[at] = letter;
    letters->count++;
    letters->bytes += letter.json.len;
    while (letters->bytes > BYTES_MAX)
        drop_last(letters);
}

/* Reads [from, to); *ret_found counts the letters in it. */
static enum vg_status read_window(struct stream_consumer *consumer, uint64_t from, uint64_t to,
                                  int64_t until_us, struct letters *letters, size_t *ret_found,
                                  struct vg_err *err)
{
    struct stream_batch batch;
    enum vg_status st;

    *ret_found = 0;
    stream_seek(consumer, from);
    while (vg_mono_us() < until_us) {
        st = stream_read(consumer, 256, 0, &batch, err);
        if (st == VG_END)
            return VG_OK;
        if (st != VG_OK)
            return st;
        for (size_t i = 0; i < batch.count; i++) {
            if (batch.records[i].seq >= to)
                return VG_OK;
            keep(letters, &batch.records[i]);
            (*ret_found)++;
        }
    }
    return VG_OK;
}

static enum vg_status read_partition(struct stream *stream, uint32_t partition, int64_t until_us,
                                     struct letters *letters, struct vg_err *err)
{
    struct stream_consumer *consumer = NULL;
    uint64_t to, from, width = WINDOW_FIRST;
    size_t found = 0, all = 0;
    enum vg_status st;

    st = stream_consumer_open(stream, partition, STREAM_DEADLETTER, "web!", &consumer, err);
    if (st != VG_OK)
        return st;
    letters->partition = partition;
    to = stream_position(consumer);
    while (st == VG_OK && to > 0 && all < letters->max && vg_mono_us() < until_us) {
        from = to > width ? to - width : 0;
        st = read_window(consumer, from, to, until_us, letters, &found, err);
        all += found;
        to = from;
        width *= 8;
    }
    stream_consumer_close(consumer);
    return st;
}

/* The letter's own place first: it is what a replay asks for. */
static void write_letter(struct vg_json_writer *w, const struct letter *letter,
                         const struct vg_json *json)
{
    char id[48];

    (void)snprintf(id, sizeof(id), "%u-%llu", letter->partition, (unsigned long long)letter->seq);
    vg_json_open_object(w);
    vg_json_member_string(w, "id", vg_slice_of(id));
    for (const struct vg_json *m = json->child; m; m = m->next) {
        vg_json_name_slice(w, m->name);
        vg_json_put_raw(w, m->source);
    }
    vg_json_close_object(w);
}

/* POST /api/deadletters/{id}/replay */
enum vg_status web_deadletter_replay(struct web_call *call, struct vg_err *err)
{
    struct vg_slice what = call->tail, id = vg_slice_cut(&what, '/'), rest = id;
    struct vg_slice first = vg_slice_cut(&rest, '-');
    uint64_t partition, seq, raw_seq = 0;
    struct vg_json_writer w;
    enum vg_status st;

    if (!vg_slice_is(what, "replay") || !vg_slice_to_u64(first, &partition) ||
        !vg_slice_to_u64(rest, &seq) || partition >= stream_partitions(call->web->config.stream))
        return VG_END;
    st =
        stream_deadletter_replay(call->web->config.stream, (uint32_t)partition, seq, &raw_seq, err);
    if (st == VG_REJECT)
        call->http_status = 409;
    if (st != VG_OK)
        return st;
    web_audit(call->web, vg_slice_of(call->user.name), "deadletters.replay", id);
    vg_json_writer_init(&w, &call->out);
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "seq", (int64_t)raw_seq);
    vg_json_close_object(&w);
    return VG_OK;
}

enum vg_status web_deadletters(struct web_call *call, struct vg_err *err)
{
    struct stream *stream = call->web->config.stream;
    int64_t until_us = vg_mono_us() + READ_MAX_US;
    struct letters letters = {0};
    struct vg_json_writer w;
    struct vg_json *root;
    enum vg_status st = VG_OK;

    letters.max = (size_t)(call->number < 0 ? COUNT_USUAL : call->number);
    if (letters.max < 1 || letters.max > COUNT_MAX)
        return vg_fail(err, VG_REJECT, "web.count", 0, "expected count from 1 to %d", COUNT_MAX);
    letters.items = calloc(letters.max, sizeof(letters.items[0]));
    if (!letters.items)
        return vg_fail(err, VG_RETRY, "web.memory", 0, "no memory");
    for (uint32_t i = 0; st == VG_OK && i < stream_partitions(stream); i++)
        st = read_partition(stream, i, until_us, &letters, err);
    if (st == VG_OK) {
        web_audit(call->web, vg_slice_of(call->user.name), "deadletters.view", VG_SLICE(""));
        vg_json_writer_init(&w, &call->out);
        vg_json_open_object(&w);
        vg_json_name(&w, "letters");
        vg_json_open_array(&w);
        for (size_t i = 0; i < letters.count; i++) {
            vg_arena_reset(&call->arena);
            if (vg_json_parse(&call->arena, vg_buf_slice(&letters.items[i].json), NULL, &root, NULL,
                              NULL) == VG_OK)
                write_letter(&w, &letters.items[i], root);
        }
        vg_json_close_array(&w);
        vg_json_close_object(&w);
    }
    while (letters.count)
        drop_last(&letters);
    free(letters.items);
    return st;
}
