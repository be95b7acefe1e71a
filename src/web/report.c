/* report.c -- what is looked at now and then: the ward report (step 16), the outbox (18), the
 * model. */
#include "web/web_int.h"

enum vg_status web_report(struct web_call *call, struct vg_err *err)
{
    return care_report(call->web->config.care, &call->out, err);
}

enum vg_status web_outbox(struct web_call *call, struct vg_err *err)
{
    return care_outbox(call->web->config.care, &call->out, err);
}

enum vg_status web_models_list(struct web_call *call, struct vg_err *err)
{
    const struct web_models *models = &call->web->config.models;

    return models->list ? models->list(models->ctx, &call->out, err) : VG_END;
}

enum vg_status web_models_reload(struct web_call *call, struct vg_err *err)
{
    const struct web_models *models = &call->web->config.models;

    return models->list ? models->reload(models->ctx, vg_slice_of(call->user.name), &call->out, err)
                        : VG_END;
}
