/* worklist.c -- GET /api/worklist and what a person does with an item of it (step 17). */
#include "base/metrics.h"
#include "web/web_int.h"

#define TEXT_MAX 2000
#define MINUTES_MAX 480

enum vg_status web_worklist(struct web_call *call, struct vg_err *err)
{
    enum vg_status st = care_worklist(call->web->config.care, &call->out, err);

    if (st == VG_OK)
        vg_step_done(17, 1, vg_now_us() - call->now_us);
    return st;
}

static const struct {
    const char *what, *audit;
    const char *member; /* NULL = no body needed */
    bool is_body_needed;
} acts[] = {
    {"acknowledge", "item.acknowledge", NULL, false},
    {"assign", "item.assign", "assignee", true},
    {"note", "item.note", "text", true},
    {"escalate", "item.escalate", "text", true},
    {"snooze", "item.snooze", "minutes", true},
    {"resolve", "item.resolve", "text", true},
};

/* Answers {"item":…} and tells the viewers; the patient's row shows it too. */
static enum vg_status answer_item(struct web_call *call, int64_t item_id, int64_t change,
                                  struct vg_err *err)
{
    struct care *care = call->web->config.care;
    struct vg_json *item = NULL;
    struct vg_buf text, row;
    enum vg_status st;

    vg_buf_init(&text, 0);
    vg_buf_init(&row, 0);
    st = care_item(care, item_id, &text, err);
    if (st == VG_OK)
        st = vg_json_parse(&call->arena, vg_buf_slice(&text), NULL, &item, NULL, err);
    if (st == VG_OK) {
        struct vg_slice patient = vg_json_get_text(item, "patientId");

        vg_buf_printf(&call->out, "{\"item\":%.*s}", VG_FMT(vg_buf_slice(&text)));
        web_publish(call->web, "item", vg_json_get(item, "id")->source, change, item->source);
        if (care_board_row(care, patient, &row, err) == VG_OK)
            web_publish(call->web, "patient", patient, change, vg_buf_slice(&row));
    }
    vg_buf_fini(&row);
    vg_buf_fini(&text);
    return st;
}

enum vg_status web_worklist_act(struct web_call *call, struct vg_err *err)
{
    struct vg_slice rest = call->tail, id = vg_slice_cut(&rest, '/'), text = {0};
    struct care_act act = {.user = vg_slice_of(call->user.name), .time_us = call->now_us};
    const struct vg_json *root = NULL;
    int64_t change = 0;
    size_t i = 0;
    enum vg_status st = VG_OK;

    while (i < sizeof(acts) / sizeof(acts[0]) && !vg_slice_is(rest, acts[i].what))
        i++;
    if (i == sizeof(acts) / sizeof(acts[0]) || !vg_slice_to_i64(id, &act.item_id))
        return VG_END;
    act.what = acts[i].what;
    if (acts[i].is_body_needed) {
        int64_t minutes = 0;

        st = web_body(call, &root, err);
        if (st == VG_OK && strcmp(acts[i].member, "minutes") == 0) {
            if (!vg_json_to_i64(vg_json_get(root, "minutes"), &minutes))
                return vg_fail(err, VG_REJECT, "web.body", 0,
                               "expected an integer 'minutes' from 1 to 480");
            if (minutes > 0 && minutes <= MINUTES_MAX) /* beyond, until_us stays 0: refused */
                act.until_us = act.time_us + minutes * VG_MINUTE_US;
            text = vg_arena_printf(&call->arena, "%lld min", (long long)minutes);
        } else if (st == VG_OK) {
            st = web_body_text(root, acts[i].member, TEXT_MAX, &text, err);
        }
        if (st != VG_OK)
            return st;
    }
    if (acts[i].member && strcmp(acts[i].member, "assignee") == 0)
        act.assignee = text;
    else
        act.text = text;
    st = care_act(call->web->config.care, &act, &change, err);
    if (st == VG_REJECT)
        call->http_status = 409;
    if (st != VG_OK)
        return st;
    web_audit(call->web, act.user, acts[i].audit, id);
    return answer_item(call, act.item_id, change, err);
}
