/* steps.c -- the eighteen steps of the picture as numbers: GET /api/steps, and GET /metrics. */
#include "base/metrics.h"
#include "web/web_int.h"

/* The reference picture's steps; index 0 is step 1. */
static const struct {
    const char *path, *name;
} steps[VG_STEP_COUNT] = {
    {"blue", "Device sends to the hub"},
    {"blue", "Edge gateway forwards to the hub"},
    {"blue", "Raw data copied to the archive"},
    {"blue", "Payload durable for the connector"},
    {"blue", "Connector resolves the patient, writes the Observation"},
    {"green", "Normalized measurement"},
    {"green", "Patient merged into the measurement"},
    {"green", "Enriched measurement"},
    {"green", "Enriched data to the lake"},
    {"green", "Windowing and scoring"},
    {"green", "History from the lake, scored copy to the lake"},
    {"red", "Scored window"},
    {"red", "RiskAssessment and Flag written"},
    {"red", "Repository for the care team updated"},
    {"red", "Live board updated"},
    {"orange", "Scheduled report refreshed"},
    {"orange", "Care team app filled"},
    {"orange", "Care coordination: cards and lists"},
};

const char *web_step_name(unsigned step)
{
    return step >= 1 && step <= VG_STEP_COUNT ? steps[step - 1].name : "";
}

const char *web_step_path(unsigned step)
{
    return step >= 1 && step <= VG_STEP_COUNT ? steps[step - 1].path : "";
}

static void put_time_or_null(struct vg_json_writer *w, const char *name, int64_t time_us)
{
    vg_json_name(w, name);
    if (time_us)
        vg_json_put_time(w, time_us);
    else
        vg_json_put_null(w);
}

enum vg_status web_steps(struct web_call *call, struct vg_err *err)
{
    struct vg_json_writer w;

    (void)err;
    vg_json_writer_init(&w, &call->out);
    vg_json_open_object(&w);
    vg_json_member_time(&w, "asOf", call->now_us);
    vg_json_name(&w, "steps");
    vg_json_open_array(&w);
    for (unsigned step = 1; step <= VG_STEP_COUNT; step++) {
        struct vg_step_view view = {0};

        vg_step_read(step, &view);
        vg_json_open_object(&w);
        vg_json_member_i64(&w, "step", step);
        vg_json_member_string(&w, "name", vg_slice_of(web_step_name(step)));
        vg_json_member_string(&w, "path", vg_slice_of(web_step_path(step)));
        vg_json_member_i64(&w, "count", (int64_t)view.count);
        vg_json_member_double(&w, "ratePerSecond", view.rate_per_s);
        vg_json_member_i64(&w, "lag", view.lag_records);
        vg_json_member_double(&w, "p99Ms", (double)view.latency_p99_us / 1e3);
        put_time_or_null(&w, "last", view.last_us);
        vg_json_member_string(&w, "error", vg_slice_of(view.error));
        put_time_or_null(&w, "errorTime", view.error_us);
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    return VG_OK;
}

/* For Prometheus: on this machine without a word, from elsewhere with a service's token. */
enum vg_status web_metrics(struct web_call *call, struct vg_err *err)
{
    bool is_here = vg_slice_is(call->peer, "127.0.0.1") || vg_slice_is(call->peer, "::1");
    enum vg_status st = is_here ? VG_OK : web_service_check(call, err);

    if (st == VG_OK)
        vg_metrics_write_prometheus(&call->out);
    return st;
}
