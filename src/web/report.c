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

/* GET /api/models/NAME */
enum vg_status web_model_show(struct web_call *call, struct vg_err *err)
{
    const struct web_models *models = &call->web->config.models;

    return models->list ? models->show(models->ctx, call->tail, &call->out, err) : VG_END;
}

/* POST /api/models/watch */
enum vg_status web_models_watch(struct web_call *call, struct vg_err *err)
{
    const struct web_models *models = &call->web->config.models;

    if (!models->list || !vg_slice_is(call->tail, "watch"))
        return VG_END;
    return models->watch(models->ctx, vg_slice_of(call->user.name), &call->out, err);
}
