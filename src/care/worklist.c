/* worklist.c -- what people do with an item: a table says which act is possible in which state.
 *
 *              open  acknowledged  assigned  escalated  resolved
 * acknowledge   yes       -          -          yes         -      -> acknowledged
 * assign        yes      yes        yes         yes         -      -> assigned
 * note          yes      yes        yes         yes        yes     (state stays)
 * escalate      yes      yes        yes          -          -      -> escalated
 * snooze        yes      yes        yes         yes         -      -> acknowledged (assigned stays)
 * resolve        -       yes        yes         yes         -      -> resolved
 *
 * A snooze ends with its time or when the patient gets worse, whichever comes first; either makes
 * the item open work again (due.c, care.c).
 *
 * Resolving wants somebody to have taken the item first: an alarm that nobody saw is not resolved.
 */
#include "base/clock.h"
#include "care/care_int.h"

static const struct {
    const char *what, *from, *to;
    bool needs_assignee, needs_text;
} acts[] = {
    {"acknowledge", "open escalated", "acknowledged", false, false},
    {"assign", "open acknowledged assigned escalated", "assigned", true, false},
    {"note", "open acknowledged assigned escalated resolved", NULL, false, true},
    {"escalate", "open acknowledged assigned", "escalated", false, false},
    {"snooze", "open acknowledged assigned escalated", "snoozed", false, false},
    {"resolve", "acknowledged assigned escalated", "resolved", false, false},
};

#define SNOOZE_US_MAX (8 * VG_HOUR_US)

struct item_state {
    char state[16];
    bool is_found;
};

static enum vg_status take_state(void *ctx, const struct sql_row *row)
{
    struct item_state *item = ctx;

    item->is_found = vg_slice_to_cstr(sql_text(row, 0), item->state, sizeof(item->state));
    return VG_OK;
}

static bool is_word_of(const char *words, const char *word)
{
    struct vg_slice rest = vg_slice_of(words);

    while (rest.len) {
        if (vg_slice_is(vg_slice_cut(&rest, ' '), word))
            return true;
    }
    return false;
}

static enum vg_status change_item(struct sql *sql, const struct care_act *act, const char *to,
                                  int64_t change, struct vg_err *err)
{
    if (!to)
        return SQL_RUN(sql, err, NULL, NULL, "UPDATE item SET change = ? WHERE id = ?",
                       sql_i(change), sql_i(act->item_id));
    if (strcmp(to, "acknowledged") == 0)
        return SQL_RUN(
            sql, err, NULL, NULL,
            "UPDATE item SET state = 'acknowledged', acknowledged_by = ?, acknowledged_us "
            "= ?, change = ? WHERE id = ?",
            sql_t(act->user), sql_i(act->time_us), sql_i(change), sql_i(act->item_id));
    if (strcmp(to, "assigned") == 0)
        /* Whoever assigns has seen it. */
        return SQL_RUN(
            sql, err, NULL, NULL,
            "UPDATE item SET state = 'assigned', assignee = ?, acknowledged_by = "
            "coalesce(acknowledged_by, ?), acknowledged_us = coalesce(acknowledged_us, ?), "
            "change = ? WHERE id = ?",
            sql_t(act->assignee), sql_t(act->user), sql_i(act->time_us), sql_i(change),
            sql_i(act->item_id));
    if (strcmp(to, "snoozed") == 0)
        return SQL_RUN(
            sql, err, NULL, NULL,
            "UPDATE item SET state = CASE WHEN state = 'assigned' THEN state ELSE 'acknowledged' "
            "END, snoozed_until_us = ?, acknowledged_by = coalesce(acknowledged_by, ?), "
            "acknowledged_us = coalesce(acknowledged_us, ?), change = ? WHERE id = ?",
            sql_i(act->until_us), sql_t(act->user), sql_i(act->time_us), sql_i(change),
            sql_i(act->item_id));
    return SQL_RUN(sql, err, NULL, NULL, "UPDATE item SET state = ?, change = ? WHERE id = ?",
                   sql_t(vg_slice_of(to)), sql_i(change), sql_i(act->item_id));
}

enum vg_status care_item_act_put(struct sql *sql, int64_t item_id, const char *what,
                                 struct vg_slice user, int64_t time_us, struct vg_slice text,
                                 struct vg_err *err)
{
    return SQL_RUN(sql, err, NULL, NULL,
                   "INSERT INTO item_act (item_id, what, user_name, time_us, text) VALUES (?, ?, "
                   "?, ?, ?)",
                   sql_i(item_id), sql_t(vg_slice_of(what)), sql_t(user), sql_i(time_us),
                   sql_t(text));
}

static enum vg_status run_act(struct care *care, const struct care_act *act, int64_t *ret_change,
                              struct vg_err *err)
{
    struct item_state item = {0};
    size_t i = 0;
    enum vg_status st;

    while (i < sizeof(acts) / sizeof(acts[0]) && strcmp(acts[i].what, act->what) != 0)
        i++;
    if (i == sizeof(acts) / sizeof(acts[0]))
        return vg_fail(err, VG_REJECT, "care.act", 0, "there is no act '%s'", act->what);
    if (acts[i].needs_assignee && !act->assignee.len)
        return vg_fail(err, VG_REJECT, "care.act", 0, "assign to whom? 'assignee' is missing");
    if (acts[i].needs_text && !act->text.len)
        return vg_fail(err, VG_REJECT, "care.act", 0, "a note needs a text");
    if (strcmp(act->what, "snooze") == 0 &&
        (act->until_us <= act->time_us || act->until_us > act->time_us + SNOOZE_US_MAX))
        return vg_fail(err, VG_REJECT, "care.act", 0, "a snooze lasts from 1 minute to 8 hours");
    st = SQL_RUN(care->writer, err, take_state, &item, "SELECT state FROM item WHERE id = ?",
                 sql_i(act->item_id));
    if (st != VG_OK)
        return st;
    if (!item.is_found)
        return vg_fail(err, VG_END, "care.item", 0, "no such item");
    if (!is_word_of(acts[i].from, item.state))
        return vg_fail(err, VG_REJECT, "care.state", 0,
                       "an item that is %s cannot be changed by '%s'", item.state, act->what);
    st = care_next_change(care->writer, ret_change, err);
    if (st == VG_OK)
        st = change_item(care->writer, act, acts[i].to, *ret_change, err);
    if (st == VG_OK)
        st =
            SQL_RUN(care->writer, err, NULL, NULL,
                    "UPDATE patient SET change = ? WHERE patient_id = (SELECT patient_id FROM item "
                    "WHERE id = ?)",
                    sql_i(*ret_change), sql_i(act->item_id));
    if (st == VG_OK)
        st = care_item_act_put(care->writer, act->item_id, act->what, act->user, act->time_us,
                               acts[i].needs_assignee ? act->assignee : act->text, err);
    return st;
}

enum vg_status care_act(struct care *care, const struct care_act *act, int64_t *ret_change,
                        struct vg_err *err)
{
    enum vg_status st, act_st;

    pthread_mutex_lock(&care->write_lock);
    st = care_begin(care, err);
    if (st == VG_OK) {
        act_st = run_act(care, act, ret_change, err);
        st = care_end(care, act_st, act_st == VG_OK ? err : NULL);
    }
    pthread_mutex_unlock(&care->write_lock);
    return st;
}

enum vg_status care_item(struct care *care, int64_t item_id, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    enum vg_status st;

    vg_json_writer_init(&w, out);
    pthread_mutex_lock(&care->read_lock);
    st = care_put_item(care->reader, item_id, &w, err);
    pthread_mutex_unlock(&care->read_lock);
    return st;
}
