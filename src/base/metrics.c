/* metrics.c -- counters, gauges, histograms, and the eighteen steps of the picture.
 *
 * Writing is a relaxed atomic operation on a metric that the caller holds; only making or finding
 * one takes the registry's lock. A histogram has log-linear buckets (eight per power of two, in
 * microseconds), so a quantile is within 6.3 % at any size; Prometheus sees the powers of two.
 *
 * A step counts into one slot per second, for the rate, and its latencies into two windows that
 * take turns, so that the page shows the p99 of the last half to whole minute, not of all time. Two
 * threads that enter a new second or window together may lose a count of it: the rate is a reading
 * for people; the total is exact.
 *
 * Threads: any. Error texts and the registry are guarded by one mutex.
 */
#include "base/metrics.h"

#include "base/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKETS_PER_OCTAVE 8
#define OCTAVE_LAST 36 /* up to 2^37 us, more than a day */
#define BUCKET_COUNT ((OCTAVE_LAST - 1) * BUCKETS_PER_OCTAVE)
#define LE_FIRST 6 /* the bounds told to Prometheus: 2^6 us ... */
#define LE_LAST 26 /* ... to 2^26 us, 64 us to 67 s */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct vg_metric {
    struct vg_metric *next; /* by name, then labels */
    enum metric_kind kind;
    const char *name, *help, *labels;
    _Atomic uint64_t value;    /* counter; histogram: sum in microseconds; gauge: a double's bits */
    _Atomic uint64_t *buckets; /* histogram */
};

static struct vg_metric *metrics;
static pthread_mutex_t metrics_lock = PTHREAD_MUTEX_INITIALIZER; /* guards metrics, step errors */

/* ---- the registry ---- */

static int order_of(const struct vg_metric *metric, const char *name, const char *labels)
{
    int order = strcmp(metric->name, name);

    return order ? order : strcmp(metric->labels, labels);
}

static struct vg_metric *make_metric(enum metric_kind kind, const char *name, const char *help,
                                     const char *labels)
{
    size_t name_size = strlen(name) + 1, help_size = strlen(help) + 1;
    size_t labels_size = strlen(labels) + 1;
    struct vg_metric *metric = calloc(1, sizeof(*metric));
    char *texts = malloc(name_size + help_size + labels_size);
    _Atomic uint64_t *buckets =
        kind == METRIC_HISTOGRAM ? calloc(BUCKET_COUNT, sizeof(*buckets)) : NULL;

    if (!metric || !texts || (kind == METRIC_HISTOGRAM && !buckets)) {
        free(metric);
        free(texts);
        free(buckets);
        return NULL;
    }
    metric->kind = kind;
    metric->name = memcpy(texts, name, name_size);
    metric->help = memcpy(texts + name_size, help, help_size);
    metric->labels = memcpy(texts + name_size + help_size, labels, labels_size);
    metric->buckets = buckets;
    return metric;
}

static struct vg_metric *find_or_make(enum metric_kind kind, const char *name, const char *help,
                                      const char *labels)
{
    /* What counts when there is no memory for a counter: never shown, but safe to write to. */
    static _Atomic uint64_t spare_buckets[BUCKET_COUNT];
    static struct vg_metric spare = {.buckets = spare_buckets};
    struct vg_metric **at = &metrics;

    (void)pthread_mutex_lock(&metrics_lock);
    while (*at && order_of(*at, name, labels) < 0)
        at = &(*at)->next;
    struct vg_metric *metric = *at;

    if (!metric || order_of(metric, name, labels) != 0) {
        metric = make_metric(kind, name, help, labels);
        if (metric) {
            metric->next = *at;
            *at = metric;
        }
    }
    (void)pthread_mutex_unlock(&metrics_lock);
    if (!metric)
        return &spare;
    assert(metric->kind == kind); /* one name, one kind */
    return metric;
}

struct vg_metric *vg_counter(const char *name, const char *help, const char *labels)
{
    return find_or_make(METRIC_COUNTER, name, help, labels);
}

struct vg_metric *vg_gauge(const char *name, const char *help, const char *labels)
{
    return find_or_make(METRIC_GAUGE, name, help, labels);
}

struct vg_metric *vg_histogram(const char *name, const char *help, const char *labels)
{
    return find_or_make(METRIC_HISTOGRAM, name, help, labels);
}

/* ---- writing ---- */

static void add(_Atomic uint64_t *to, uint64_t count)
{
    (void)atomic_fetch_add_explicit(to, count, memory_order_relaxed);
}

static uint64_t load(const _Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

void vg_metric_add(struct vg_metric *metric, uint64_t count)
{
    add(&metric->value, count);
}

void vg_metric_set(struct vg_metric *metric, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    atomic_store_explicit(&metric->value, bits, memory_order_relaxed);
}

/* Values below 8 have a bucket each; above, eight share each power of two. */
static size_t bucket_of(int64_t duration_us)
{
    if (duration_us < BUCKETS_PER_OCTAVE)
        return duration_us < 0 ? 0 : (size_t)duration_us;
    unsigned octave = 63u - (unsigned)__builtin_clzll((uint64_t)duration_us);

    if (octave > OCTAVE_LAST)
        return BUCKET_COUNT - 1;
    return (octave - 2) * BUCKETS_PER_OCTAVE + ((uint64_t)duration_us >> (octave - 3) & 7);
}

/* The smallest duration of a bucket. */
static int64_t bucket_floor(size_t bucket)
{
    if (bucket < BUCKETS_PER_OCTAVE)
        return (int64_t)bucket;
    return (int64_t)(BUCKETS_PER_OCTAVE + bucket % BUCKETS_PER_OCTAVE)
           << (bucket / BUCKETS_PER_OCTAVE - 1);
}

void vg_metric_observe_us(struct vg_metric *metric, int64_t duration_us)
{
    add(&metric->value, duration_us > 0 ? (uint64_t)duration_us : 0);
    add(&metric->buckets[bucket_of(duration_us)], 1);
}

/* ---- reading ---- */

/* The middle of the bucket in which quantile q of `counts` lies. */
static int64_t quantile_of(const uint64_t counts[static BUCKET_COUNT], double q)
{
    uint64_t total = 0, before = 0;

    for (size_t i = 0; i < BUCKET_COUNT; i++)
        total += counts[i];
    uint64_t rank = (uint64_t)ceil(q * (double)total);

    for (size_t i = 0; i < BUCKET_COUNT && total > 0; i++) {
        before += counts[i];
        if (before >= (rank ? rank : 1))
            return (bucket_floor(i) + bucket_floor(i + 1)) / 2;
    }
    return 0;
}

int64_t vg_metric_quantile_us(const struct vg_metric *metric, double q)
{
    uint64_t counts[BUCKET_COUNT];

    for (size_t i = 0; i < BUCKET_COUNT; i++)
        counts[i] = load(&metric->buckets[i]);
    return quantile_of(counts, q);
}

static void write_head(struct vg_buf *out, const char *name, const char *help, const char *type)
{
    vg_buf_printf(out, "# HELP %s ", name);
    for (const char *p = help; *p; p++) {
        if (*p == '\n' || *p == '\\')
            vg_buf_put_byte(out, '\\');
        vg_buf_put_byte(out, *p == '\n' ? 'n' : (uint8_t)*p);
    }
    vg_buf_printf(out, "\n# TYPE %s %s\n", name, type);
}

/* name_suffix{labels,more} and a blank */
static void write_series(struct vg_buf *out, const char *name, const char *suffix,
                         const char *labels, const char *more)
{
    vg_buf_printf(out, "%s%s", name, suffix);
    if (*labels || *more)
        vg_buf_printf(out, "{%s%s%s}", labels, *labels && *more ? "," : "", more);
    vg_buf_put_byte(out, ' ');
}

static void write_number(struct vg_buf *out, double value)
{
    if (isnan(value))
        vg_buf_put(out, VG_SLICE("NaN\n"));
    else if (isinf(value))
        vg_buf_put(out, value > 0 ? VG_SLICE("+Inf\n") : VG_SLICE("-Inf\n"));
    else
        vg_buf_printf(out, "%.15g\n", value);
}

static void write_histogram(struct vg_buf *out, const struct vg_metric *metric)
{
    uint64_t total = 0;
    size_t bucket = 0;

    /* A duration of n us was cut from the real one, so those below 2^k are the ones within it. */
    for (unsigned le = LE_FIRST; le <= LE_LAST; le++) {
        char bound[40];

        while (bucket < bucket_of((int64_t)1 << le))
            total += load(&metric->buckets[bucket++]);
        (void)snprintf(bound, sizeof(bound), "le=\"%.6f\"", (double)((int64_t)1 << le) / 1e6);
        write_series(out, metric->name, "_bucket", metric->labels, bound);
        vg_buf_printf(out, "%" PRIu64 "\n", total);
    }
    while (bucket < BUCKET_COUNT)
        total += load(&metric->buckets[bucket++]);
    write_series(out, metric->name, "_bucket", metric->labels, "le=\"+Inf\"");
    vg_buf_printf(out, "%" PRIu64 "\n", total);
    write_series(out, metric->name, "_sum", metric->labels, "");
    vg_buf_printf(out, "%.6f\n", (double)load(&metric->value) / 1e6);
    write_series(out, metric->name, "_count", metric->labels, "");
    vg_buf_printf(out, "%" PRIu64 "\n", total);
}

static void write_metric(struct vg_buf *out, const struct vg_metric *metric)
{
    uint64_t bits = load(&metric->value);
    double value;

    if (metric->kind == METRIC_HISTOGRAM) {
        write_histogram(out, metric);
        return;
    }
    write_series(out, metric->name, "", metric->labels, "");
    if (metric->kind == METRIC_COUNTER) {
        vg_buf_printf(out, "%" PRIu64 "\n", bits);
        return;
    }
    memcpy(&value, &bits, sizeof(value));
    write_number(out, value);
}

/* ---- the steps ---- */

#define RATE_SECONDS 10
#define RATE_SLOTS 16
#define RATE_COUNT_BITS 32 /* a slot: the second above, its count below */
#define LATENCY_WINDOW_US (30 * VG_SECOND_US)

struct latency_window {
    _Atomic uint64_t turn; /* wall time / LATENCY_WINDOW_US */
    _Atomic uint64_t buckets[BUCKET_COUNT];
};

struct step {
    _Atomic uint64_t count, error_count;
    _Atomic int64_t lag_records, last_us;
    _Atomic uint64_t rate[RATE_SLOTS];
    struct latency_window latency[2];
    int64_t error_us; /* these two under metrics_lock */
    char error[sizeof(((struct vg_step_view *)NULL)->error)];
};

static struct step steps[VG_STEP_COUNT];

static struct step *step_at(unsigned step)
{
    assert(step >= 1 && step <= VG_STEP_COUNT);
    return &steps[step - 1];
}

static void count_rate(struct step *step, int64_t now_us, uint64_t count)
{
    uint64_t second = (uint64_t)(now_us / VG_SECOND_US);
    _Atomic uint64_t *slot = &step->rate[second % RATE_SLOTS];
    const uint64_t stamp = second << RATE_COUNT_BITS;
    uint64_t before = load(slot), after;

    do {
        after = (before >> RATE_COUNT_BITS == (stamp >> RATE_COUNT_BITS) ? before : stamp) + count;
    } while (!atomic_compare_exchange_weak_explicit(slot, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}

static void count_latency(struct step *step, int64_t now_us, int64_t latency_us)
{
    uint64_t turn = (uint64_t)(now_us / LATENCY_WINDOW_US), before;
    struct latency_window *window = &step->latency[turn % 2];

    before = load(&window->turn);
    if (before != turn &&
        atomic_compare_exchange_strong_explicit(&window->turn, &before, turn, memory_order_relaxed,
                                                memory_order_relaxed)) {
        for (size_t i = 0; i < BUCKET_COUNT; i++)
            atomic_store_explicit(&window->buckets[i], 0, memory_order_relaxed);
    }
    add(&window->buckets[bucket_of(latency_us)], 1);
}

void vg_step_done(unsigned step, uint64_t count, int64_t latency_us)
{
    struct step *it = step_at(step);
    int64_t now_us = vg_now_us();

    add(&it->count, count);
    atomic_store_explicit(&it->last_us, now_us, memory_order_relaxed);
    count_rate(it, now_us, count);
    if (latency_us >= 0)
        count_latency(it, now_us, latency_us);
}

void vg_step_lag(unsigned step, int64_t lag_records)
{
    atomic_store_explicit(&step_at(step)->lag_records, lag_records, memory_order_relaxed);
}

void vg_step_error(unsigned step, const struct vg_err *err)
{
    struct step *it = step_at(step);

    add(&it->error_count, 1);
    (void)pthread_mutex_lock(&metrics_lock);
    it->error_us = vg_now_us();
    (void)snprintf(it->error, sizeof(it->error), "%.30s: %.120s", err->code ? err->code : "unknown",
                   err->text);
    (void)pthread_mutex_unlock(&metrics_lock);
}

static double rate_of(const struct step *step, int64_t now_us)
{
    const uint64_t now = (uint64_t)(now_us / VG_SECOND_US);
    uint64_t total = 0;

    for (size_t i = 0; i < RATE_SLOTS; i++) {
        uint64_t slot = load(&step->rate[i]), second = slot >> RATE_COUNT_BITS;

        if (second <= now && second + RATE_SECONDS > now)
            total += slot & (((uint64_t)1 << RATE_COUNT_BITS) - 1);
    }
    /* The running second is not over yet. */
    return (double)total /
           ((double)(RATE_SECONDS - 1) + (double)(now_us % VG_SECOND_US) / (double)VG_SECOND_US);
}

static int64_t latency_of(const struct step *step, int64_t now_us)
{
    const uint64_t now = (uint64_t)(now_us / LATENCY_WINDOW_US);
    uint64_t counts[BUCKET_COUNT] = {0};

    for (size_t w = 0; w < 2; w++) {
        if (load(&step->latency[w].turn) + 1 < now)
            continue;
        for (size_t i = 0; i < BUCKET_COUNT; i++)
            counts[i] += load(&step->latency[w].buckets[i]);
    }
    return quantile_of(counts, 0.99);
}

void vg_step_read(unsigned step, struct vg_step_view *ret_view)
{
    const struct step *it = step_at(step);
    int64_t now_us = vg_now_us();

    *ret_view = (struct vg_step_view){
        .count = load(&it->count),
        .rate_per_s = rate_of(it, now_us),
        .lag_records = atomic_load_explicit(&it->lag_records, memory_order_relaxed),
        .latency_p99_us = latency_of(it, now_us),
        .last_us = atomic_load_explicit(&it->last_us, memory_order_relaxed),
    };
    (void)pthread_mutex_lock(&metrics_lock);
    ret_view->error_us = it->error_us;
    memcpy(ret_view->error, it->error, sizeof(ret_view->error));
    (void)pthread_mutex_unlock(&metrics_lock);
}

static void write_steps(struct vg_buf *out)
{
    struct vg_step_view views[VG_STEP_COUNT];

    for (unsigned i = 0; i < VG_STEP_COUNT; i++)
        vg_step_read(i + 1, &views[i]);
    write_head(out, "vigil_step_total", "What each of the eighteen steps has moved.", "counter");
    for (unsigned i = 0; i < VG_STEP_COUNT; i++)
        vg_buf_printf(out, "vigil_step_total{step=\"%u\"} %" PRIu64 "\n", i + 1, views[i].count);
    write_head(out, "vigil_step_errors_total", "Errors of each step.", "counter");
    for (unsigned i = 0; i < VG_STEP_COUNT; i++)
        vg_buf_printf(out, "vigil_step_errors_total{step=\"%u\"} %" PRIu64 "\n", i + 1,
                      load(&steps[i].error_count));
    write_head(out, "vigil_step_lag_records", "Records that wait before each step.", "gauge");
    for (unsigned i = 0; i < VG_STEP_COUNT; i++)
        vg_buf_printf(out, "vigil_step_lag_records{step=\"%u\"} %" PRId64 "\n", i + 1,
                      views[i].lag_records);
    write_head(out, "vigil_step_latency_p99_seconds",
               "99th percentile from receipt to the end of each step, over the last minute.",
               "gauge");
    for (unsigned i = 0; i < VG_STEP_COUNT; i++)
        vg_buf_printf(out, "vigil_step_latency_p99_seconds{step=\"%u\"} %.6f\n", i + 1,
                      (double)views[i].latency_p99_us / 1e6);
    write_head(out, "vigil_step_last_timestamp_seconds",
               "When each step last did something; 0 is never.", "gauge");
    for (unsigned i = 0; i < VG_STEP_COUNT; i++)
        vg_buf_printf(out, "vigil_step_last_timestamp_seconds{step=\"%u\"} %.6f\n", i + 1,
                      (double)views[i].last_us / 1e6);
}

void vg_metrics_write_prometheus(struct vg_buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *group = "";

    (void)pthread_mutex_lock(&metrics_lock);
    for (const struct vg_metric *metric = metrics; metric; metric = metric->next) {
        if (strcmp(group, metric->name) != 0)
            write_head(out, metric->name, metric->help, types[metric->kind]);
        group = metric->name;
        write_metric(out, metric);
    }
    (void)pthread_mutex_unlock(&metrics_lock);
    write_steps(out);
}
