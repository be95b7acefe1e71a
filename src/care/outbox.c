/* outbox.c -- cards that are due (step 18), and what became of them.
 *
 * A card is put in the same transaction as the flag's change, one for each target, under a key made
 * of flag, change, severity and target: so a replay makes no second card. Sending is at least once:
 * a crash between a receiver's answer and our note of it sends again, with the same key.
 */
#include "care/care_int.h"

#include "base/clock.h"

#include <stdio.h>

static const char *const change_names[] = {
    [CARE_FLAG_OPENED] = "opened",
    [CARE_FLAG_UPDATED] = "worsened",
    [CARE_FLAG_CLOSED] = "closed",
    [CARE_FLAG_WAITS] = "unacknowledged",
};

enum vg_status care_targets_set(struct care *care, const struct care_target *targets, size_t count,
                                struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&care->write_lock);
    st = care_begin(care, err);
    if (st == VG_OK)
        st = sql_run(care->writer, "DELETE FROM target", NULL, 0, NULL, NULL, NULL, err);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        st = SQL_RUN(care->writer, err, NULL, NULL,
                     "INSERT INTO target (name, format) VALUES (?, ?)",
                     sql_t(vg_slice_of(targets[i].name)), sql_t(vg_slice_of(targets[i].format)));
    st = care_end(care, st, err);
    pthread_mutex_unlock(&care->write_lock);
    return st;
}

enum vg_status care_card_put(struct sql *sql, const struct care_flag *flag,
                             struct vg_slice location, struct vg_slice initials, int nth,
                             struct vg_err *err)
{
    const char *change = change_names[flag->change];
    char key[160], count[16] = "";

    if (nth > 0)
        (void)snprintf(count, sizeof(count), "%d:", nth);
    (void)snprintf(key, sizeof(key), "%.*s:%s:%.*s:%s", VG_FMT(flag->flag_id), change,
                   VG_FMT(flag->severity), count);
    return SQL_RUN(
        sql, err, NULL, NULL,
        "INSERT INTO card (card_key, target, patient_id, flag_id, change_kind, severity, "
        "title, location, initials, trace, time_us, due_us, state, attempts) SELECT ? || "
        "name, name, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 'due', 0 FROM target WHERE true "
        "ON CONFLICT DO NOTHING",
        sql_t(vg_slice_of(key)), sql_t(flag->patient_id), sql_t(flag->flag_id),
        sql_t(vg_slice_of(change)), sql_t(flag->severity), sql_t(flag->title), sql_t(location),
        sql_t(initials), sql_t(flag->trace), sql_i(flag->time_us));
}

struct found_card {
    struct vg_arena *arena;
    struct care_card *card;
    bool is_found;
};

static enum vg_status take_card(void *ctx, const struct sql_row *row)
{
    struct found_card *found = ctx;
    struct care_card *card = found->card;

    card->id = sql_integer(row, 0);
    (void)vg_slice_to_cstr(sql_text(row, 1), card->key, sizeof(card->key));
    (void)vg_slice_to_cstr(sql_text(row, 2), card->target, sizeof(card->target));
    card->patient_id = vg_arena_dup(found->arena, sql_text(row, 3));
    card->flag_id = vg_arena_dup(found->arena, sql_text(row, 4));
    card->change = vg_arena_dup(found->arena, sql_text(row, 5));
    card->severity = vg_arena_dup(found->arena, sql_text(row, 6));
    card->title = vg_arena_dup(found->arena, sql_text(row, 7));
    card->location = vg_arena_dup(found->arena, sql_text(row, 8));
    card->initials = vg_arena_dup(found->arena, sql_text(row, 9));
    card->trace = vg_arena_dup(found->arena, sql_text(row, 10));
    card->time_us = sql_integer(row, 11);
    card->attempts = (int)sql_integer(row, 12);
    found->is_found = true;
    return VG_OK;
}

enum vg_status care_card_next(struct care *care, int64_t now_us, struct vg_arena *arena,
                              struct care_card *ret_card, struct vg_err *err)
{
    struct found_card found = {.arena = arena, .card = ret_card};
    enum vg_status st;

    *ret_card = (struct care_card){0};
    st =
        CARE_READ(care, err, take_card, &found,
                  "SELECT id, card_key, target, patient_id, flag_id, change_kind, severity, title, "
                  "location, initials, trace, time_us, attempts FROM card WHERE state = 'due' AND "
                  "due_us <= ? ORDER BY due_us, id LIMIT 1",
                  sql_i(now_us));
    return st == VG_OK && !found.is_found ? VG_END : st;
}

enum vg_status care_card_sent(struct care *care, int64_t id, int64_t time_us, struct vg_err *err)
{
    return CARE_WRITE(care, err, NULL, NULL,
                      "UPDATE card SET state = 'sent', sent_us = ?, attempts = attempts + 1, why = "
                      "NULL WHERE id = ?",
                      sql_i(time_us), sql_i(id));
}

enum vg_status care_card_failed(struct care *care, int64_t id, int64_t retry_us,
                                struct vg_slice why, struct vg_err *err)
{
    return CARE_WRITE(
        care, err, NULL, NULL,
        "UPDATE card SET state = ?, due_us = ?, attempts = attempts + 1, why = ? WHERE "
        "id = ?",
        sql_t(retry_us ? VG_SLICE("due") : VG_SLICE("failed")), sql_i(retry_us), sql_t(why),
        sql_i(id));
}

static enum vg_status write_card(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_i64(w, "id", sql_integer(row, 0));
    vg_json_member_string(w, "target", sql_text(row, 1));
    vg_json_member_string(w, "title", sql_text(row, 2));
    vg_json_member_string(w, "state", sql_text(row, 3));
    vg_json_member_i64(w, "attempts", sql_integer(row, 4));
    vg_json_member_time(w, "time", sql_integer(row, 5));
    if (!sql_is_null(row, 6))
        vg_json_member_time(w, "sent", sql_integer(row, 6));
    if (!sql_is_null(row, 7))
        vg_json_member_string(w, "why", sql_text(row, 7));
    vg_json_close_object(w);
    return VG_OK;
}

enum vg_status care_outbox(struct care *care, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    enum vg_status st;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "cards");
    vg_json_open_array(&w);
    st = CARE_READ(care, err, write_card, &w,
                   "SELECT id, target, title, state, attempts, time_us, sent_us, why FROM card "
                   "WHERE id > ? ORDER BY id DESC LIMIT 500",
                   sql_i(0));
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    return st;
}
