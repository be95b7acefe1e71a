/* board.c -- GET /api/board and /api/health. */
#include "web/web_int.h"

enum vg_status web_board(struct web_call *call, struct vg_err *err)
{
    struct vg_slice health_name = VG_SLICE(",\"health\":");
    enum vg_status st = care_board(call->web->config.care, &call->out, err);

    if (st != VG_OK || call->out.len == 0 || call->out.ptr[call->out.len - 1] != '}')
        return st;
    /* The repository knows patients, not the program's troubles: these are put in at the end. */
    call->out.len--;
    vg_buf_put(&call->out, health_name);
    (void)web_health_write(call->web, &call->out);
    vg_buf_put_byte(&call->out, '}');
    return VG_OK;
}

enum vg_status web_health(struct web_call *call, struct vg_err *err)
{
    (void)err;
    if (!web_health_write(call->web, &call->out))
        call->http_status = 503;
    return VG_OK;
}
