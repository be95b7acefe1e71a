/* due.c -- what time alone brings: patients who went silent, monitoring that ended, items that come
 * back because nobody acknowledged them or because their snooze is over.
 *
 * Times are wall time: an item waits for people, not for devices. All of it runs inside a batch, so
 * that what the alert stage makes of it (flags, their FHIR resources) is one transaction with it.
 */
#include "base/clock.h"
#include "care/care_int.h"

#include <stdio.h>

#define ESCALATIONS_MAX 3
#define SYSTEM_USER "vigil" /* who acted, where it was the clock */

struct due_walk {
    care_due_fn *fn;
    void *ctx;
};

static enum vg_status tell_due(void *ctx, const struct sql_row *row)
{
    struct due_walk *walk = ctx;
    struct care_due due = {.patient_id = sql_text(row, 0),
                           .record = sql_text(row, 1),
                           .has_flag = sql_integer(row, 2) != 0};

    if (due.has_flag) {
        due.flag_id = sql_text(row, 3);
        due.rule = sql_text(row, 4);
        due.severity = sql_text(row, 5);
        due.title = sql_text(row, 6);
    }
    return walk->fn(walk->ctx, &due);
}

enum vg_status care_batch_silent(struct care_batch *batch, int64_t before_us, size_t max,
                                 care_due_fn *fn, void *ctx, struct vg_err *err)
{
    struct due_walk walk = {fn, ctx};

    return SQL_RUN(
        care_batch_sql(batch), err, tell_due, &walk,
        "SELECT p.patient_id, p.record, EXISTS (SELECT 1 FROM flag f WHERE f.patient_id = "
        "p.patient_id AND f.closed_us IS NULL), '', '', '', '' FROM patient p WHERE p.heard_us < ? "
        "AND p.ended_us IS NULL AND NOT EXISTS (SELECT 1 FROM flag s WHERE s.patient_id = "
        "p.patient_id AND s.rule = 'stale' AND s.closed_us IS NULL) ORDER BY p.heard_us LIMIT ?",
        sql_i(before_us), sql_i((int64_t)max));
}

enum vg_status care_batch_ended(struct care_batch *batch, size_t max, care_due_fn *fn, void *ctx,
                                struct vg_err *err)
{
    struct due_walk walk = {fn, ctx};

    return SQL_RUN(care_batch_sql(batch), err, tell_due, &walk,
                   "SELECT p.patient_id, p.record, 1, f.flag_id, f.rule, f.severity, f.title FROM "
                   "patient p JOIN flag f ON f.patient_id = p.patient_id AND f.closed_us IS NULL "
                   "WHERE p.ended_us IS NOT NULL LIMIT ?",
                   sql_i((int64_t)max));
}

/* ---- items that come back ---- */

struct waiting_item {
    int64_t id;
    struct care_flag flag;
    struct vg_slice location, initials;
    int64_t escalations;
    bool is_snoozed, is_open;
};

struct waiting {
    struct vg_arena *arena;
    struct waiting_item *items;
    size_t count, max;
};

static enum vg_status take_waiting(void *ctx, const struct sql_row *row)
{
    struct waiting *waiting = ctx;
    struct vg_arena *arena = waiting->arena;
    struct waiting_item *item = &waiting->items[waiting->count];

    if (waiting->count == waiting->max)
        return VG_OK;
    *item = (struct waiting_item){
        .id = sql_integer(row, 0),
        .flag = {.patient_id = vg_arena_dup(arena, sql_text(row, 1)),
                 .flag_id = vg_arena_dup(arena, sql_text(row, 2)),
                 .rule = vg_arena_dup(arena, sql_text(row, 3)),
                 .severity = vg_arena_dup(arena, sql_text(row, 4)),
                 .title = vg_arena_dup(arena, sql_text(row, 5)),
                 .change = CARE_FLAG_WAITS},
        .location = vg_arena_dup(arena, sql_text(row, 6)),
        .initials = vg_arena_dup(arena, sql_text(row, 7)),
        .escalations = sql_integer(row, 8),
        .is_snoozed = !sql_is_null(row, 9),
        .is_open = sql_is_null(row, 10),
    };
    if (!item->flag.patient_id.ptr || !item->flag.flag_id.ptr || !item->flag.title.ptr)
        return VG_RETRY;
    waiting->count++;
    return VG_OK;
}

/* The snooze is over: with its flag still open the item is new work again. */
static enum vg_status wake(struct sql *sql, const struct waiting_item *item, int64_t now_us,
                           int64_t change, struct vg_err *err)
{
    int64_t due_us = now_us + care_due_after_us(item->flag.severity);
    enum vg_status st;

    if (!item->is_open)
        return SQL_RUN(sql, err, NULL, NULL,
                       "UPDATE item SET snoozed_until_us = NULL, change = ? WHERE id = ?",
                       sql_i(change), sql_i(item->id));
    st =
        SQL_RUN(sql, err, NULL, NULL,
                "UPDATE item SET state = 'open', acknowledged_by = NULL, acknowledged_us = NULL, "
                "snoozed_until_us = NULL, due_us = ?, escalate_us = ?, escalations = 0, change = ? "
                "WHERE id = ?",
                sql_i(due_us), sql_i(due_us), sql_i(change), sql_i(item->id));
    return st == VG_OK ? care_item_act_put(sql, item->id, "wake", VG_SLICE(SYSTEM_USER), now_us,
                                           VG_SLICE("the snooze is over"), err)
                       : st;
}

static enum vg_status escalate(struct sql *sql, struct waiting_item *item, int64_t now_us,
                               int64_t change, struct vg_err *err)
{
    int64_t wait_us = care_due_after_us(item->flag.severity);
    char why[64];
    enum vg_status st =
        SQL_RUN(sql, err, NULL, NULL,
                "UPDATE item SET state = 'escalated', escalations = escalations + 1, escalate_us = "
                "?, change = ? WHERE id = ?",
                sql_i(now_us + wait_us), sql_i(change), sql_i(item->id));

    (void)snprintf(why, sizeof(why), "nobody acknowledged it within %lld min",
                   (long long)(wait_us / VG_MINUTE_US));
    if (st == VG_OK)
        st = care_item_act_put(sql, item->id, "escalate", VG_SLICE(SYSTEM_USER), now_us,
                               vg_slice_of(why), err);
    item->flag.time_us = now_us;
    if (st == VG_OK)
        st = care_card_put(sql, &item->flag, item->location, item->initials,
                           (int)item->escalations + 1, err);
    return st;
}

enum vg_status care_batch_hand_back(struct care_batch *batch, int64_t now_us, size_t max,
                                    care_due_fn *fn, void *ctx, struct vg_err *err)
{
    struct sql *sql = care_batch_sql(batch);
    struct waiting waiting = {.arena = care_batch_arena(batch), .max = max};
    enum vg_status st;

    vg_arena_reset(waiting.arena);
    waiting.items = vg_arena_alloc(waiting.arena, max * sizeof(*waiting.items));
    if (!waiting.items)
        return vg_fail(err, VG_RETRY, "care.memory", 0, "items that wait");
    st = SQL_RUN(
        sql, err, take_waiting, &waiting,
        "SELECT i.id, i.patient_id, i.flag_id, f.rule, f.severity, f.title, coalesce(p.location, "
        "''), coalesce(p.initials, ''), i.escalations, i.snoozed_until_us, f.closed_us FROM item i "
        "JOIN flag f ON f.flag_id = i.flag_id LEFT JOIN patient p ON p.patient_id = i.patient_id "
        "WHERE i.state <> 'resolved' AND (i.snoozed_until_us <= ? OR (i.escalate_us <= ? AND "
        "i.state IN ('open', 'escalated') AND i.acknowledged_us IS NULL AND f.closed_us IS NULL "
        "AND "
        "i.escalations < ?)) LIMIT ?",
        sql_i(now_us), sql_i(now_us), sql_i(ESCALATIONS_MAX), sql_i((int64_t)max));
    for (size_t i = 0; i < waiting.count && st == VG_OK; i++) {
        struct waiting_item *item = &waiting.items[i];
        int64_t change = 0;

        st = care_next_change(sql, &change, err);
        if (st == VG_OK)
            st = item->is_snoozed ? wake(sql, item, now_us, change, err)
                                  : escalate(sql, item, now_us, change, err);
        if (st == VG_OK)
            st = SQL_RUN(sql, err, NULL, NULL, "UPDATE patient SET change = ? WHERE patient_id = ?",
                         sql_i(change), sql_t(item->flag.patient_id));
        if (st == VG_OK)
            st = fn(ctx, &(struct care_due){.patient_id = item->flag.patient_id, .change = change});
    }
    return st;
}

/* ---- the end of monitoring ---- */

static enum vg_status end_monitoring(struct care *care, struct vg_slice patient_id,
                                     struct vg_slice user, struct vg_slice text, int64_t time_us,
                                     int64_t *ret_change, struct vg_err *err)
{
    struct sql *sql = care->writer;
    int64_t count = 0;
    enum vg_status st =
        SQL_RUN(sql, err, care_take_integer, &count,
                "SELECT count(*) FROM patient WHERE patient_id = ? AND ended_us IS NULL",
                sql_t(patient_id));

    if (st != VG_OK)
        return st;
    if (count == 0)
        return vg_fail(err, VG_END, "care.patient", 0, "no such patient is monitored");
    st = care_next_change(sql, ret_change, err);
    if (st == VG_OK)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "UPDATE patient SET ended_us = ?, change = ? WHERE patient_id = ?",
                     sql_i(time_us), sql_i(*ret_change), sql_t(patient_id));
    if (st == VG_OK)
        st = SQL_RUN(sql, err, NULL, NULL,
                     "INSERT INTO item_act (item_id, what, user_name, time_us, text) SELECT id, "
                     "'resolve', ?, ?, ? FROM item WHERE patient_id = ? AND state <> 'resolved'",
                     sql_t(user), sql_i(time_us), sql_t(text), sql_t(patient_id));
    if (st == VG_OK)
        st =
            SQL_RUN(sql, err, NULL, NULL,
                    "UPDATE item SET state = 'resolved', snoozed_until_us = NULL, change = ? WHERE "
                    "patient_id = ? AND state <> 'resolved'",
                    sql_i(*ret_change), sql_t(patient_id));
    return st;
}

enum vg_status care_end_monitoring(struct care *care, struct vg_slice patient_id,
                                   struct vg_slice user, struct vg_slice text, int64_t time_us,
                                   int64_t *ret_change, struct vg_err *err)
{
    enum vg_status st, end_st;

    pthread_mutex_lock(&care->write_lock);
    st = care_begin(care, err);
    if (st == VG_OK) {
        end_st = end_monitoring(care, patient_id, user, text, time_us, ret_change, err);
        st = care_end(care, end_st, end_st == VG_OK ? err : NULL);
    }
    pthread_mutex_unlock(&care->write_lock);
    return st;
}
