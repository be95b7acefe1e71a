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

struct capture {
    struct capture_config config;
    struct stage_ops ops;
    char app[32];      /* names us in the lake's log */
    uint64_t next_seq; /* the lake or memory holds everything before */
    size_t row_count;  /* in memory only */
    int64_t first_us;  /* monotonic time of the oldest of them */
};

static enum vg_status keep(struct capture *capture, const struct stream_record *record,
                           struct stream_out *out, struct vg_err *err)
{
    enum vg_status st =
        lake_append(capture->config.lake, capture->config.table, capture->app, record->value,
                    stream_header_get(record->headers, "trace"), err);

    if (st == VG_REJECT) {
        stage_deadletter(out, capture->ops.input, capture->config.partition, record,
                         capture->ops.name, err);
        st = VG_OK;
    }
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

    for (size_t i = 0; i < batch->count; i++) {
        enum vg_status st;

        if (batch->records[i].seq < capture->next_seq)
            continue; /* in the lake or in memory already */
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
    free(capture);
}

const struct stage_ops *capture_stage(const struct capture *capture)
{
    return &capture->ops;
}
