/* lists.c -- /api/lists: lists of patients for rounds and hand-over, with SBAR (steps 17, 18). */
#include "base/metrics.h"
#include "web/web_int.h"

enum vg_status web_lists(struct web_call *call, struct vg_err *err)
{
    return care_lists(call->web->config.care, &call->out, err);
}

enum vg_status web_list_make(struct web_call *call, struct vg_err *err)
{
    const struct vg_json *root = NULL;
    struct vg_slice name;
    int64_t id = 0;
    enum vg_status st = web_body(call, &root, err);

    if (st == VG_OK)
        st = web_body_text(root, "name", 100, &name, err);
    if (st == VG_OK)
        st = care_list_make(call->web->config.care, name, vg_slice_of(call->user.name), &id, err);
    if (st == VG_OK) {
        web_audit(call->web, vg_slice_of(call->user.name), "list.make", name);
        vg_buf_printf(&call->out, "{\"id\":%lld}", (long long)id);
    }
    return st;
}

enum vg_status web_list(struct web_call *call, struct vg_err *err)
{
    int64_t id;
    enum vg_status st;

    if (!vg_slice_to_i64(call->tail, &id))
        return VG_END;
    st = care_list(call->web->config.care, id, &call->out, err);
    if (st == VG_OK) {
        web_audit(call->web, vg_slice_of(call->user.name), "list.view", call->tail);
        vg_step_done(17, 1, vg_now_us() - call->now_us);
    }
    return st;
}

/* POST /api/lists/{id}/patients {"patientId","member"} */
enum vg_status web_list_put(struct web_call *call, struct vg_err *err)
{
    struct vg_slice rest = call->tail, id_text = vg_slice_cut(&rest, '/'), patient;
    const struct vg_json *root = NULL;
    bool is_member = true;
    int64_t id;
    enum vg_status st;

    if (!vg_slice_to_i64(id_text, &id) || !vg_slice_is(rest, "patients"))
        return VG_END;
    st = web_body(call, &root, err);
    if (st == VG_OK)
        st = web_body_text(root, "patientId", 64, &patient, err);
    if (st == VG_OK && vg_json_get(root, "member") &&
        !vg_json_to_bool(vg_json_get(root, "member"), &is_member))
        st = vg_fail(err, VG_REJECT, "web.body", 0, "expected 'member' to be true or false");
    if (st == VG_OK)
        st = care_list_put(call->web->config.care, id, patient, is_member, err);
    if (st == VG_OK) {
        web_audit(call->web, vg_slice_of(call->user.name), is_member ? "list.add" : "list.remove",
                  patient);
        vg_buf_put(&call->out, VG_SLICE("{}"));
    }
    return st;
}
