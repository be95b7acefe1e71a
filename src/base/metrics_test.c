/* metrics_test.c -- counts are exact, quantiles are close, the text is what Prometheus reads. */
#include "base/clock.h"
#include "base/metrics.h"
#include "vg_test.h"

#include <math.h>
#include <pthread.h>

static bool shows(const char *want)
{
    struct vg_buf out;

    vg_buf_init(&out, 0);
    vg_metrics_write_prometheus(&out);
    vg_buf_put_byte(&out, '\0');
    bool is_there = vg_buf_ok(&out) && strstr(out.ptr, want) != NULL;

    if (!is_there)
        printf("  not in:\n%.3000s\n", out.ptr);
    vg_buf_fini(&out);
    return is_there;
}

static void test_counter_and_gauge(void)
{
    struct vg_metric *size = vg_counter("t_lost_total", "Lost.", "reason=\"size\"");

    CHECK(vg_counter("t_lost_total", "Lost.", "reason=\"size\"") == size);
    CHECK(vg_counter("t_lost_total", "Lost.", "reason=\"auth\"") != size);
    vg_metric_add(size, 3);
    vg_metric_add(size, 4);
    CHECK(shows("# HELP t_lost_total Lost.\n# TYPE t_lost_total counter\n"
                "t_lost_total{reason=\"auth\"} 0\nt_lost_total{reason=\"size\"} 7\n"));
    struct vg_metric *open = vg_gauge("t_open", "Open\nsockets \\ now.", "");

    vg_metric_set(open, 36.6);
    CHECK(shows("# HELP t_open Open\\nsockets \\\\ now.\n# TYPE t_open gauge\nt_open 36.6\n"));
    vg_metric_set(open, -INFINITY);
    CHECK(shows("t_open -Inf\n"));
    vg_metric_set(open, NAN);
    CHECK(shows("t_open NaN\n"));
}

static void test_histogram(void)
{
    struct vg_metric *took = vg_histogram("t_took_seconds", "Took.", "a=\"b\"");

    CHECK(vg_metric_quantile_us(took, 0.5) == 0);
    vg_metric_observe_us(took, 63);
    vg_metric_observe_us(took, 64);
    vg_metric_observe_us(took, 1000);
    vg_metric_observe_us(took, -5);
    vg_metric_observe_us(took, INT64_MAX);
    CHECK(shows("t_took_seconds_bucket{a=\"b\",le=\"0.000064\"} 2\n"
                "t_took_seconds_bucket{a=\"b\",le=\"0.000128\"} 3\n"));
    CHECK(shows("le=\"0.001024\"} 4\n") && shows("le=\"67.108864\"} 4\n"));
    CHECK(shows("t_took_seconds_bucket{a=\"b\",le=\"+Inf\"} 5\n"));
    CHECK(shows("t_took_seconds_count{a=\"b\"} 5\n"));
}

static void test_quantiles(void)
{
    struct vg_metric *took = vg_histogram("t_quantile_seconds", "Took.", "");
    static const double q[] = {0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1};

    for (int64_t us = 1; us <= 1000000; us += 7)
        vg_metric_observe_us(took, us);
    for (size_t i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
        double got = (double)vg_metric_quantile_us(took, q[i]), want = q[i] * 1e6;

        CHECK(fabs(got - want) <= 0.07 * want);
    }
    CHECK(vg_metric_quantile_us(took, 0) == 1);
    /* One value of any size comes back within 7 %. */
    for (int64_t us = 1; us < (int64_t)1 << 36; us += us / 3 + 1) {
        char labels[32];

        (void)snprintf(labels, sizeof(labels), "us=\"%lld\"", (long long)us);
        struct vg_metric *one = vg_histogram("t_one_seconds", "Took.", labels);

        vg_metric_observe_us(one, us);
        double off = fabs((double)(vg_metric_quantile_us(one, 0.99) - us));

        CHECK(off <= 0.07 * (double)us);
    }
}

/* Returns what went wrong, or NULL. */
static void *count_much(void *ctx)
{
    struct vg_metric *counter = vg_counter("t_threads_total", "Counted.", "");
    struct vg_metric *took = vg_histogram("t_threads_seconds", "Took.", "");
    struct vg_err err = {.code = "test.error", .text = "again"};
    struct vg_step_view view;

    (void)ctx;
    for (int i = 0; i < 20000; i++) {
        vg_metric_add(counter, 1);
        vg_metric_observe_us(took, i);
        vg_step_done(18, 2, i);
        if (i % 1000 == 0) {
            vg_step_error(18, &err);
            vg_step_read(18, &view);
            if (strcmp(view.error, "test.error: again") != 0)
                return "a torn error text";
        }
    }
    return NULL;
}

static void test_threads(void)
{
    struct vg_step_view view;
    void *fault = NULL;
    pthread_t other;

    CHECK(pthread_create(&other, NULL, count_much, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        struct vg_buf out;

        vg_buf_init(&out, 0);
        vg_metrics_write_prometheus(&out); /* while it is written to */
        vg_buf_fini(&out);
    }
    (void)pthread_join(other, &fault);
    CHECK(fault == NULL && count_much(NULL) == NULL);
    CHECK(shows("t_threads_total 40000\n") && shows("t_threads_seconds_count 40000\n"));
    vg_step_read(18, &view);
    CHECK(view.count == 80000);
    CHECK(shows("vigil_step_total{step=\"18\"} 80000\n"));
    CHECK(shows("vigil_step_errors_total{step=\"18\"} 40\n"));
}

static void test_steps(void)
{
    struct vg_err err = {.code = "hub.size", .text = "too large"};
    struct vg_step_view view;
    int64_t before_us = vg_now_us();

    vg_step_read(1, &view);
    CHECK(view.count == 0 && view.last_us == 0 && view.error_us == 0 && view.error[0] == '\0');
    CHECK(fpclassify(view.rate_per_s) == FP_ZERO && view.latency_p99_us == 0);
    vg_step_done(1, 50, 1500);
    vg_step_done(1, 50, -1);
    vg_step_lag(1, 12);
    vg_step_error(1, &err);
    vg_step_read(1, &view);
    CHECK(view.count == 100 && view.lag_records == 12);
    CHECK(view.rate_per_s >= 10 && view.rate_per_s <= 100.0 / 9); /* 100 within 9 to 10 s */
    CHECK(view.latency_p99_us >= 1400 && view.latency_p99_us <= 1605);
    CHECK(view.last_us >= before_us && view.last_us <= vg_now_us());
    CHECK(view.error_us >= before_us && strcmp(view.error, "hub.size: too large") == 0);
    CHECK(shows("vigil_step_lag_records{step=\"1\"} 12\n"));
    vg_step_read(2, &view); /* the steps do not touch each other */
    CHECK(view.count == 0 && view.lag_records == 0);
}

int main(void)
{
    RUN(test_counter_and_gauge);
    RUN(test_histogram);
    RUN(test_quantiles);
    RUN(test_threads);
    RUN(test_steps);
    return vg_test_report();
}
