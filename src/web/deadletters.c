/* deadletters.c -- GET /api/deadletters?count=100: what could not be processed, newest first; and
 * POST /api/deadletters/{id}/replay: trying one again.
 *
 * Payloads are patient data: for coordinators and administrators, and audited.
 */
#include "web/web_int.h"

#include "stream/deadletter.h"

#define COUNT_USUAL 100
#define COUNT_MAX 1000

/* The letter's own place first: it is what a replay asks for. */
static void write_letter(struct vg_json_writer *w, struct vg_slice id, const struct vg_json *json)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "id", id);
    for (const struct vg_json *m = json->child; m; m = m->next) {
        vg_json_name_slice(w, m->name);
        vg_json_put_raw(w, m->source);
    }
    vg_json_close_object(w);
}

/* POST /api/deadletters/{id}/replay */
enum vg_status web_deadletter_replay(struct web_call *call, struct vg_err *err)
{
    struct vg_slice what = call->tail, id = vg_slice_cut(&what, '/'), rest = id;
    struct vg_slice first = vg_slice_cut(&rest, '-');
    uint64_t partition, seq, raw_seq = 0;
    struct vg_json_writer w;
    enum vg_status st;

    if (!vg_slice_is(what, "replay") || !vg_slice_to_u64(first, &partition) ||
        !vg_slice_to_u64(rest, &seq) || partition >= stream_partitions(call->web->config.stream))
        return VG_END;
    st =
        stream_deadletter_replay(call->web->config.stream, (uint32_t)partition, seq, &raw_seq, err);
    if (st == VG_REJECT)
        call->http_status = 409;
    if (st != VG_OK)
        return st;
    web_audit(call->web, vg_slice_of(call->user.name), "deadletters.replay", id);
    vg_json_writer_init(&w, &call->out);
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "seq", (int64_t)raw_seq);
    vg_json_close_object(&w);
    return VG_OK;
}

enum vg_status web_deadletters(struct web_call *call, struct vg_err *err)
{
    int64_t count = call->number < 0 ? COUNT_USUAL : call->number;
    struct web_newest letters;
    struct vg_json_writer w;
    struct vg_json *root;
    enum vg_status st;

    if (count < 1 || count > COUNT_MAX)
        return vg_fail(err, VG_REJECT, "web.count", 0, "expected count from 1 to %d", COUNT_MAX);
    st = web_newest_read(call->web->config.stream, STREAM_DEADLETTER, (size_t)count, &letters, err);
    if (st == VG_OK) {
        web_audit(call->web, vg_slice_of(call->user.name), "deadletters.view", VG_SLICE(""));
        vg_json_writer_init(&w, &call->out);
        vg_json_open_object(&w);
        vg_json_name(&w, "letters");
        vg_json_open_array(&w);
        for (size_t i = 0; i < letters.count; i++) {
            vg_arena_reset(&call->arena);
            if (vg_json_parse(&call->arena, letters.records[i].value, NULL, &root, NULL, NULL) ==
                VG_OK)
                write_letter(&w, letters.records[i].id, root);
        }
        vg_json_close_array(&w);
        vg_json_close_object(&w);
    }
    web_newest_fini(&letters);
    return st;
}
