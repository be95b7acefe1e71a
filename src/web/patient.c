/* patient.c -- GET /api/patients/{id}: one patient's page (step 17). Each look is audited.
 * POST …/end: monitoring ends. */
#include "base/metrics.h"
#include "web/web_int.h"

#define TEXT_MAX 2000
#define HOURS_USUAL 24
#define HOURS_MAX 168

/* The page fetches again with each new row; one line a minute says that it was being looked at. */
static bool is_audit_due(struct web_call *call)
{
    struct web *web = call->web;
    uint64_t hash = vg_slice_hash(call->tail) * 31 + vg_slice_hash(call->session);
    size_t slot = hash % (sizeof(web->seen) / sizeof(web->seen[0]));
    bool is_due;

    pthread_mutex_lock(&web->lock_mutex);
    is_due = web->seen[slot].hash != hash || web->seen[slot].time_us + VG_MINUTE_US < call->now_us;
    if (is_due) {
        web->seen[slot].hash = hash;
        web->seen[slot].time_us = call->now_us;
    }
    pthread_mutex_unlock(&web->lock_mutex);
    return is_due;
}

enum vg_status web_patient(struct web_call *call, struct vg_err *err)
{
    int64_t hours = call->number < 0 ? HOURS_USUAL : call->number;
    enum vg_status st;

    if (call->tail.len == 0 || call->tail.len > 64)
        return VG_END;
    if (hours < 1 || hours > HOURS_MAX)
        return vg_fail(err, VG_REJECT, "web.hours", 0, "expected hours from 1 to %d", HOURS_MAX);
    st = care_patient(call->web->config.care, call->tail, call->now_us - hours * VG_HOUR_US,
                      &call->out, err);
    if (st != VG_OK)
        return st;
    if (is_audit_due(call))
        web_audit(call->web, vg_slice_of(call->user.name), "patient.view", call->tail);
    vg_step_done(17, 1, vg_now_us() - call->now_us);
    return VG_OK;
}

/* POST /api/patients/{id}/end: the patient leaves the board, and why. */
enum vg_status web_patient_end(struct web_call *call, struct vg_err *err)
{
    struct vg_slice rest = call->tail, id = vg_slice_cut(&rest, '/'), text;
    struct care *care = call->web->config.care;
    const struct vg_json *root = NULL;
    int64_t change = 0;
    struct vg_buf row;
    enum vg_status st;

    if (!vg_slice_is(rest, "end") || id.len == 0 || id.len > 64)
        return VG_END;
    st = web_body(call, &root, err);
    if (st == VG_OK)
        st = web_body_text(root, "text", TEXT_MAX, &text, err);
    if (st == VG_OK)
        st = care_end_monitoring(care, id, vg_slice_of(call->user.name), text, call->now_us,
                                 &change, err);
    if (st != VG_OK)
        return st;
    web_audit(call->web, vg_slice_of(call->user.name), "patient.end", id);
    vg_buf_init(&row, 0);
    st = care_board_row(care, id, &row, err);
    if (st == VG_OK) {
        vg_buf_printf(&call->out, "{\"row\":%.*s}", VG_FMT(vg_buf_slice(&row)));
        web_publish(call->web, "patient", id, change, vg_buf_slice(&row));
    }
    vg_buf_fini(&row);
    return st;
}
