/* capture.c -- see capture.h.
 *
 * process() answers VG_END while rows are only in memory, so the journal's offset stays behind the
 * lake's commit. A crash between the two is met by the lake's own position: what it holds is
 * skipped.
 */
#include "capture/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FLUSH_US_USUAL (30 * VG_SECOND_US)
#define FLUSH_ROWS_USUAL 20000

struct refusal {
    uint64_t seq;
    struct vg_err why;
};

struct capture {
    struct capture_config config;
    struct stage_ops ops;
    char app[32];             /* names us in the lake's log */
    uint64_t next_seq;        /* the lake or memory holds everything before */
    size_t row_count;         /* in memory only */
    int64_t first_us;         /* monotonic time of the oldest of them */
    struct refusal *refusals; /* of the batch at hand: told again when it comes again */
    size_t refusal_count, refusal_capacity;
};

static void put_letter(struct capture *capture, const struct stream_record *record,
                       const struct vg_err *why, struct stream_out *out)
{
    stage_deadletter(out, capture->ops.input, capture->config.partition, record, capture->ops.name,
                     why);
}

static enum vg_status refuse(struct capture *capture, const struct stream_record *record,
                             struct stream_out *out, struct vg_err *err)
{
    if (capture->refusal_count == capture->refusal_capacity) {
        size_t capacity = capture->refusal_capacity ? capture->refusal_capacity * 2 : 16;
        struct refusal *grown = realloc(capture->refusals, capacity * sizeof(*grown));

        if (!grown)
            return vg_fail(err, VG_RETRY, "capture.memory", ENOMEM, "refused records");
        capture->refusals = grown;
        capture->refusal_capacity = capacity;
    }
    capture->refusals[capture->refusal_count++] = (struct refusal){record->seq, *err};
    put_letter(capture, record, err, out);
    return VG_OK;
}

/* The batch comes again because something after this record failed: its letter was not committed.
 */
static void refuse_again(struct capture *capture, const struct stream_record *record,
                         struct stream_out *out)
{
    for (size_t i = 0; i < capture->refusal_count; i++) {
        if (capture->refusals[i].seq == record->seq)
            put_letter(capture, record, &capture->refusals[i].why, out);
    }
}

/* What stood before this batch has been committed. */
static void forget_refusals(struct capture *capture, uint64_t first_seq)
{
    size_t kept = 0;

    for (size_t i = 0; i < capture->refusal_count; i++) {
        if (capture->refusals[i].seq >= first_seq)
            capture->refusals[kept++] = capture->refusals[i];
    }
    capture->refusal_count = kept;
}

static enum vg_status keep(struct capture *capture, const struct stream_record *record,
                           struct stream_out *out, struct vg_err *err)
{
    enum vg_status st =
        lake_append(capture->config.lake, capture->config.table, capture->app, record->value,
                    stream_header_get(record->headers, "trace"), err);

    if (st == VG_REJECT)
        st = refuse(capture, record, out, err);
    if (st == VG_OK && capture->row_count++ == 0)
        capture->first_us = vg_mono_us();
    return st;
}

/* VG_END while what memory holds is not due yet. */
static enum vg_status flush_if_due(struct capture *capture, struct vg_err *err)
{
    enum vg_status st;

    if (capture->row_count == 0)
        return VG_OK;
    if (capture->row_count < capture->config.flush_rows &&
        vg_mono_us() - capture->first_us < capture->config.flush_us)
        return VG_END;
    st = lake_flush(capture->config.lake, capture->config.table, capture->app, capture->next_seq,
                    err);
    if (st == VG_OK)
        capture->row_count = 0;
    return st;
}

static enum vg_status capture_process(void *self, const struct stream_batch *batch,
                                      struct stream_out *out, struct vg_err *err)
{
    struct capture *capture = self;

    if (batch->count)
        forget_refusals(capture, batch->records[0].seq);
    for (size_t i = 0; i < batch->count; i++) {
        enum vg_status st;

        if (batch->records[i].seq < capture->next_seq) { /* in the lake or in memory already */
            refuse_again(capture, &batch->records[i], out);
            continue;
        }
        st = keep(capture, &batch->records[i], out, err);
        if (st != VG_OK)
            return st;
        capture->next_seq = batch->records[i].seq + 1;
    }
    if (batch->next_seq > capture->next_seq)
        capture->next_seq = batch->next_seq;
    return flush_if_due(capture, err);
}

static enum vg_status capture_tick(void *self, int64_t now_us, struct stream_out *out,
                                   struct vg_err *err)
{
    (void)now_us;
    (void)out;
    return flush_if_due(self, err);
}

static enum vg_status capture_position(void *self, uint64_t *ret_next_seq, struct vg_err *err)
{
    (void)err;
    *ret_next_seq = ((struct capture *)self)->next_seq;
    return VG_OK;
}

enum vg_status capture_open(const struct capture_config *config, struct capture **ret_capture,
                            struct vg_err *err)
{
    bool is_enriched = config->table == LAKE_ENRICHED;
    struct capture *capture = calloc(1, sizeof(*capture));
    enum vg_status st;

    if (!capture)
        return vg_fail(err, VG_RETRY, "capture.memory", ENOMEM, "capture");
    capture->config = *config;
    if (!capture->config.flush_us)
        capture->config.flush_us = FLUSH_US_USUAL;
    if (!capture->config.flush_rows)
        capture->config.flush_rows = FLUSH_ROWS_USUAL;
    capture->ops = (struct stage_ops){
        .name = is_enriched ? "lake-enriched" : "lake-scored",
        .steps = {is_enriched ? 9u : 11u},
        .input = is_enriched ? STREAM_ENRICHED : STREAM_SCORED,
        .process = capture_process,
        .position = capture_position,
        .tick = capture_tick,
        .tick_us = VG_SECOND_US / 4,
    };
    (void)snprintf(capture->app, sizeof(capture->app), "vigil-capture-%u", config->partition);
    st = lake_position(config->lake, config->table, capture->app, &capture->next_seq, err);
    if (st != VG_OK) {
        free(capture);
        return st;
    }
    *ret_capture = capture;
    return VG_OK;
}

void capture_close(struct capture *capture)
{
    if (!capture)
        return;
    lake_discard(capture->config.lake, capture->config.table, capture->app);
    free(capture->refusals);
    free(capture);
}

const struct stage_ops *capture_stage(const struct capture *capture)
{
    return &capture->ops;
}
