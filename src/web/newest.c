/* newest.c -- the newest records of a topic, over all partitions.
 *
 * A partition's log is read forwards only, so its end is read in windows that grow until they hold
 * enough records (or reach the beginning, or take too long).
 */
#include "web/web_int.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW_FIRST 4096
#define BYTES_MAX ((size_t)16 << 20)
#define READ_MAX_US (2 * VG_SECOND_US)

static void drop_last(struct web_newest *newest)
{
    struct web_newest_record *last = &newest->records[--newest->count];

    newest->bytes -= last->id.len + last->key.len + last->headers.len + last->value.len;
    free(last->memory);
}

void web_newest_fini(struct web_newest *newest)
{
    while (newest->count)
        drop_last(newest);
    free(newest->records);
    *newest = (struct web_newest){0};
}

static struct vg_slice copy(char **memory, struct vg_slice from)
{
    struct vg_slice to = {*memory, from.len};

    if (from.len)
        memcpy(*memory, from.ptr, from.len);
    *memory += from.len;
    return to;
}

static bool keep(struct web_newest *newest, uint32_t partition, const struct stream_record *record)
{
    struct web_newest_record kept = {.time_us = record->time_us};
    size_t at = newest->count;
    char id[48], *memory;
    int len = snprintf(id, sizeof(id), "%u-%llu", partition, (unsigned long long)record->seq);

    while (at > 0 && newest->records[at - 1].time_us < record->time_us)
        at--;
    if (at >= newest->max)
        return true;
    if (newest->count == newest->max)
        drop_last(newest);
    kept.memory = memory =
        malloc((size_t)len + record->key.len + record->headers.len + record->value.len + 1);
    if (!memory)
        return false;
    kept.id = copy(&memory, (struct vg_slice){id, (size_t)len});
    kept.key = copy(&memory, record->key);
    kept.headers = copy(&memory, record->headers);
    kept.value = copy(&memory, record->value);
    memmove(&newest->records[at + 1], &newest->records[at],
            (newest->count - at) * sizeof(newest->records[0]));
    newest->records[at] = kept;
    newest->count++;
    newest->bytes += (size_t)(memory - kept.memory);
    while (newest->bytes > BYTES_MAX)
        drop_last(newest);
    return true;
}

/* Reads [from, to); *ret_found counts the records in it. */
static enum vg_status read_window(struct stream_consumer *consumer, uint32_t partition,
                                  uint64_t from, uint64_t to, int64_t until_us,
                                  struct web_newest *newest, size_t *ret_found, struct vg_err *err)
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
            if (!keep(newest, partition, &batch.records[i]))
                return vg_fail(err, VG_RETRY, "web.memory", 0, "no memory");
            (*ret_found)++;
        }
    }
    return VG_OK;
}

static enum vg_status read_partition(struct stream *stream, enum stream_topic topic,
                                     uint32_t partition, int64_t until_us,
                                     struct web_newest *newest, struct vg_err *err)
{
    struct stream_consumer *consumer = NULL;
    uint64_t to, from, width = WINDOW_FIRST;
    size_t found = 0, all = 0;
    enum vg_status st;

    st = stream_consumer_open(stream, partition, topic, "web!", &consumer, err);
    if (st != VG_OK)
        return st;
    to = stream_position(consumer);
    while (st == VG_OK && to > 0 && all < newest->max && vg_mono_us() < until_us) {
        from = to > width ? to - width : 0;
        st = read_window(consumer, partition, from, to, until_us, newest, &found, err);
        all += found;
        to = from;
        width *= 8;
    }
    stream_consumer_close(consumer);
    return st;
}

enum vg_status web_newest_read(struct stream *stream, enum stream_topic topic, size_t max,
                               struct web_newest *ret, struct vg_err *err)
{
    int64_t until_us = vg_mono_us() + READ_MAX_US;
    enum vg_status st = VG_OK;

    *ret = (struct web_newest){.max = max};
    ret->records = calloc(max, sizeof(ret->records[0]));
    if (!ret->records)
        return vg_fail(err, VG_RETRY, "web.memory", 0, "no memory");
    for (uint32_t i = 0; st == VG_OK && i < stream_partitions(stream); i++)
        st = read_partition(stream, topic, i, until_us, ret, err);
    return st;
}
