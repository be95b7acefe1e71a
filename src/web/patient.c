/* patient.c -- GET /api/patients/{id}: one patient's page (step 17). Each look is audited. */
#include "base/metrics.h"
#include "web/web_int.h"

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
