/* trace.c -- what the repository knows of one device message: steps 13, 14, 16, 17 and 18.
 *
 * Rows keep the trace ids of the messages behind them, separated by spaces. A message whose window
 * was scored but that opened no flag has no item and no card, and says nothing for 17 and 18.
 */
#include "base/clock.h"
#include "care/care_int.h"

#include <stdio.h>

struct trace_out {
    struct vg_json_writer *w;
    unsigned step;
};

/* Columns: time_us, text. */
static enum vg_status write_line(void *ctx, const struct sql_row *row)
{
    struct trace_out *out = ctx;

    vg_json_open_object(out->w);
    vg_json_member_i64(out->w, "step", out->step);
    vg_json_member_time(out->w, "time", sql_integer(row, 0));
    vg_json_member_string(out->w, "text", sql_text(row, 1));
    vg_json_close_object(out->w);
    return VG_OK;
}

enum vg_status care_trace(struct care *care, struct vg_slice trace_id, struct vg_buf *out,
                          struct vg_err *err)
{
    static const struct {
        unsigned step;
        const char *statement; /* its one parameter: the id with a blank and a % on each side */
    } questions[] = {
        /* opened_us is event time; when it was written, its item knows */
        {13, "SELECT i.created_us, 'Flag ' || f.flag_id || ' (' || f.severity || '): ' || f.title "
             "FROM flag f JOIN item i ON i.flag_id = f.flag_id WHERE ' ' || f.trace || ' ' LIKE ? "
             "ORDER BY f.opened_us LIMIT 5"},
        {14,
         "SELECT created_us, 'worklist item ' || id || ' in the repository' FROM item WHERE ' ' || "
         "trace || ' ' LIKE ? ORDER BY id LIMIT 5"},
        {16,
         "SELECT r.as_of_us, 'ward report as of this time holds it' FROM report r WHERE r.id = "
         "(SELECT min(r2.id) FROM report r2 WHERE r2.as_of_us >= (SELECT min(i.created_us) FROM "
         "item i WHERE ' ' || i.trace || ' ' LIKE ?))"},
        {17, "SELECT i.created_us, 'worklist item ' || i.id || ', ' || i.state FROM item i WHERE ' "
             "' || "
             "i.trace || ' ' LIKE ? ORDER BY i.id LIMIT 5"},
        {18, "SELECT coalesce(sent_us, time_us), 'card to ' || target || ': ' || state FROM card "
             "WHERE ' "
             "' || trace || ' ' LIKE ? ORDER BY id LIMIT 10"},
    };
    struct vg_json_writer w;
    char pattern[80];
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < trace_id.len; i++) {
        if (!strchr("0123456789-", trace_id.ptr[i]))
            return vg_fail(err, VG_REJECT, "care.trace", 0, "a trace id looks like 0-4711");
    }
    (void)snprintf(pattern, sizeof(pattern), "%% %.*s %%",
                   trace_id.len > 60 ? 60 : (int)trace_id.len, trace_id.ptr);
    vg_json_writer_init(&w, out);
    vg_json_open_array(&w);
    pthread_mutex_lock(&care->read_lock);
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]) && st == VG_OK; i++) {
        struct trace_out line = {&w, questions[i].step};
        struct sql_value value = sql_t(vg_slice_of(pattern));

        st = sql_run(care->reader, questions[i].statement, &value, 1, write_line, &line, NULL, err);
    }
    pthread_mutex_unlock(&care->read_lock);
    vg_json_close_array(&w);
    return st;
}

struct found_trace {
    struct vg_arena *arena;
    struct vg_slice trace;
};

static enum vg_status take_trace(void *ctx, const struct sql_row *row)
{
    struct found_trace *found = ctx;

    found->trace = vg_arena_dup(found->arena, sql_text(row, 0));
    return VG_OK;
}

enum vg_status care_flag_trace(struct care *care, struct vg_slice flag_id, struct vg_arena *arena,
                               struct vg_slice *ret_trace_id, struct vg_err *err)
{
    struct found_trace found = {.arena = arena};
    enum vg_status st = CARE_READ(care, err, take_trace, &found,
                                  "SELECT trace FROM flag WHERE flag_id = ?", sql_t(flag_id));

    if (st != VG_OK)
        return st;
    if (!found.trace.len)
        return vg_fail(err, VG_REJECT, "care.flag", 0, "there is no flag '%.*s'", VG_FMT(flag_id));
    while (found.trace.len)
        *ret_trace_id = vg_slice_cut(&found.trace, ' ');
    return VG_OK;
}
