/* report.c -- what is looked at now and then: the ward report (step 16), the outbox (18), the
 * model. */
#include "base/file.h"
#include "web/web_int.h"

#define MODEL_CARD_MAX ((size_t)1 << 20)

enum vg_status web_report(struct web_call *call, struct vg_err *err)
{
    return care_report(call->web->config.care, &call->out, err);
}

enum vg_status web_outbox(struct web_call *call, struct vg_err *err)
{
    return care_outbox(call->web->config.care, &call->out, err);
}

enum vg_status web_model(struct web_call *call, struct vg_err *err)
{
    struct vg_slice card;
    struct vg_json *root = NULL;
    enum vg_status st;

    if (!call->web->config.model_card_path)
        return VG_END;
    st = vg_file_read(&call->arena, call->web->config.model_card_path, MODEL_CARD_MAX, &card, err);
    if (st == VG_OK)
        st = vg_json_parse(&call->arena, card, NULL, &root, NULL, err);
    if (st == VG_REJECT) /* our own file is bad, not the request */
        call->http_status = 503;
    if (st == VG_OK)
        vg_buf_put(&call->out, card);
    return st;
}
