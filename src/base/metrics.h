/* metrics.h -- counters, gauges and histograms, and the eighteen steps.
 *
 * Written from any thread with relaxed atomics; read as Prometheus text (GET /metrics) or, for the
 * steps, as numbers for the live architecture page.
 */
#ifndef VG_BASE_METRICS_H
#define VG_BASE_METRICS_H

#include "base/buf.h"

#include <stdatomic.h>

struct vg_metric; /* owned by the registry, lives as long as the process */

/* Made on first use, then found by (name, labels). `name` as Prometheus wants it, with its unit:
 * "vigil_hub_messages_total". `labels` is "" or 'reason="size",proto="mqtt"'. Both are copied. */
struct vg_metric *vg_counter(const char *name, const char *help, const char *labels);
struct vg_metric *vg_gauge(const char *name, const char *help, const char *labels);
/* In seconds. */
struct vg_metric *vg_histogram(const char *name, const char *help, const char *labels);

void vg_metric_add(struct vg_metric *metric, uint64_t count);             /* counter */
void vg_metric_set(struct vg_metric *metric, double value);               /* gauge */
void vg_metric_observe_us(struct vg_metric *metric, int64_t duration_us); /* histogram */

/* The value at quantile q (0..1) of a histogram, in microseconds, within 7 %; 0 when empty. */
int64_t vg_metric_quantile_us(const struct vg_metric *metric, double q);

void vg_metrics_write_prometheus(struct vg_buf *out);

/* ---- the eighteen steps of the picture ---- */

#define VG_STEP_COUNT 18

struct vg_step_view {
    uint64_t count;         /* messages, records, writes: whatever the step moves */
    double rate_per_s;      /* over the last 10 s */
    int64_t lag_records;    /* waiting before this step */
    int64_t latency_p99_us; /* from the message's receipt (or the step's start, where it has none)
                               to the end of this step */
    int64_t last_us;        /* wall time of the last time; 0 = never */
    int64_t error_us;       /* wall time of the last error; 0 = never */
    char error[160];
};

/* step is 1..18. latency_us < 0 = not known. */
void vg_step_done(unsigned step, uint64_t count, int64_t latency_us);
void vg_step_lag(unsigned step, int64_t lag_records);
void vg_step_error(unsigned step, const struct vg_err *err);
void vg_step_read(unsigned step, struct vg_step_view *ret_view);

#endif
