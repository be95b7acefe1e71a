/* view.c -- what the browser is shown, as JSON in the shapes of docs/api.md.
 *
 * A board row comes from the patient's current row and its record: one look-up, and a short range
 * of readings for each sparkline. Nothing here scans all readings.
 */
#include "base/clock.h"
#include "care/care_int.h"

#include <errno.h>

#define SPARK_COUNT 40
#define SERIES_MAX 5000
#define TREND_US VG_HOUR_US
#define BOARD_MAX 5000
#define ARENA_SIZE (8u << 20)

/* ---- lists of ids first, details after: statements are not re-entered ---- */

struct ids {
    struct vg_arena *arena;
    struct vg_slice *items;
    size_t count, capacity;
};

static enum vg_status take_id(void *ctx, const struct sql_row *row)
{
    struct ids *ids = ctx;

    if (ids->count == ids->capacity)
        return VG_OK; /* the query's LIMIT is the capacity */
    ids->items[ids->count++] = vg_arena_dup(ids->arena, sql_text(row, 0));
    return VG_OK;
}

static enum vg_status ids_init(struct ids *ids, struct vg_arena *arena, size_t capacity,
                               struct vg_err *err)
{
    *ids = (struct ids){.arena = arena, .capacity = capacity};
    ids->items = vg_arena_alloc(arena, capacity * sizeof(*ids->items));
    return ids->items ? VG_OK : vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "board");
}

/* ---- series ---- */

struct points {
    struct {
        int64_t time_us;
        double value;
    } items[SPARK_COUNT];
    size_t count;
};

static enum vg_status take_point(void *ctx, const struct sql_row *row)
{
    struct points *points = ctx;

    if (points->count == SPARK_COUNT)
        return VG_OK;
    points->items[points->count].time_us = sql_integer(row, 0);
    points->items[points->count++].value = sql_number(row, 1);
    return VG_OK;
}

/* Newest first in `points`, oldest first in the JSON. */
static void write_points(struct vg_json_writer *w, const struct points *points)
{
    vg_json_open_array(w);
    for (size_t i = points->count; i-- > 0;) {
        vg_json_open_array(w);
        vg_json_put_i64(w, points->items[i].time_us / 1000);
        vg_json_put_double(w, points->items[i].value);
        vg_json_close_array(w);
    }
    vg_json_close_array(w);
}

static enum vg_status write_spark(struct sql *sql, struct vg_slice patient_id, struct vg_slice code,
                                  struct vg_json_writer *w, struct vg_err *err)
{
    struct points points = {0};
    enum vg_status st =
        SQL_RUN(sql, err, take_point, &points,
                "SELECT time_us, value FROM reading WHERE patient_id = ? AND code = ? "
                "ORDER BY time_us DESC LIMIT 40",
                sql_t(patient_id), sql_t(code));

    if (st == VG_OK && points.count) {
        vg_json_name_slice(w, code);
        write_points(w, &points);
    }
    return st;
}

static enum vg_status take_point_row(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_array(w);
    vg_json_put_i64(w, sql_integer(row, 0) / 1000);
    vg_json_put_double(w, sql_number(row, 1));
    vg_json_close_array(w);
    return VG_OK;
}

static enum vg_status write_series(struct sql *sql, struct vg_slice patient_id,
                                   const struct vg_json *vitals, int64_t from_us,
                                   struct vg_json_writer *w, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    for (const struct vg_json *v = vitals ? vitals->child : NULL; v && st == VG_OK; v = v->next) {
        struct vg_slice code = vg_json_get_text(v, "code");

        if (!vg_json_is(vg_json_get(v, "value"), VG_JSON_NUMBER))
            continue;
        vg_json_name_slice(w, code);
        vg_json_open_object(w);
        vg_json_member_string(w, "name", vg_json_get_text(v, "name"));
        vg_json_member_string(w, "unit", vg_json_get_text(v, "unit"));
        vg_json_name(w, "points");
        vg_json_open_array(w);
        st = SQL_RUN(
            sql, err, take_point_row, w,
            "SELECT time_us, value FROM (SELECT time_us, value FROM reading WHERE "
            "patient_id = ? AND code = ? AND time_us >= ? ORDER BY time_us DESC LIMIT ?) AS "
            "newest ORDER BY time_us",
            sql_t(patient_id), sql_t(code), sql_i(from_us), sql_i(SERIES_MAX));
        vg_json_close_array(w);
        vg_json_close_object(w);
    }
    return st;
}

/* ---- flags and items ---- */

static void member_text_or_null(struct vg_json_writer *w, const char *name, struct vg_slice text)
{
    vg_json_name(w, name);
    if (text.ptr)
        vg_json_put_string(w, text);
    else
        vg_json_put_null(w);
}

static void member_time_or_null(struct vg_json_writer *w, const char *name,
                                const struct sql_row *row, int column)
{
    vg_json_name(w, name);
    if (sql_is_null(row, column))
        vg_json_put_null(w);
    else
        vg_json_put_time(w, sql_integer(row, column));
}

/* Columns flag_id, rule, severity, title, opened_us, closed_us. */
static enum vg_status write_flag(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_string(w, "id", sql_text(row, 0));
    vg_json_member_string(w, "rule", sql_text(row, 1));
    vg_json_member_string(w, "severity", sql_text(row, 2));
    vg_json_member_string(w, "title", sql_text(row, 3));
    vg_json_member_time(w, "opened", sql_integer(row, 4));
    vg_json_member_time(w, "since", sql_integer(row, 4));
    member_time_or_null(w, "closed", row, 5);
    vg_json_close_object(w);
    return VG_OK;
}

/* One object or null: the row function's answer is counted. */
struct one_object {
    struct vg_json_writer *w;
    sql_row_fn *write;
    unsigned count;
};

static enum vg_status write_one(void *ctx, const struct sql_row *row)
{
    struct one_object *one = ctx;

    one->count++;
    return one->write(one->w, row);
}

static enum vg_status write_act(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_string(w, "what", sql_text(row, 0));
    vg_json_member_string(w, "user", sql_text(row, 1));
    vg_json_member_time(w, "time", sql_integer(row, 2));
    vg_json_member_string(w, "text", sql_text(row, 3));
    vg_json_close_object(w);
    return VG_OK;
}

/* The object stays open: the history follows. */
static enum vg_status write_item_head(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_i64(w, "id", sql_integer(row, 0));
    vg_json_member_string(w, "patientId", sql_text(row, 1));
    vg_json_member_string(w, "name", sql_text(row, 2));
    vg_json_member_string(w, "location", sql_text(row, 3));
    vg_json_member_string(w, "severity", sql_text(row, 4));
    vg_json_member_string(w, "title", sql_text(row, 5));
    vg_json_member_string(w, "state", sql_text(row, 6));
    vg_json_member_time(w, "opened", sql_integer(row, 7));
    vg_json_member_time(w, "dueTime", sql_integer(row, 8));
    member_text_or_null(w, "assignee", sql_text(row, 9));
    member_text_or_null(w, "acknowledgedBy", sql_text(row, 10));
    member_time_or_null(w, "acknowledged", row, 11);
    vg_json_member_bool(w, "flagOpen", sql_is_null(row, 12));
    vg_json_member_string(w, "flagId", sql_text(row, 13));
    vg_json_member_i64(w, "change", sql_integer(row, 14));
    vg_json_member_string(w, "rule", sql_text(row, 15));
    member_time_or_null(w, "snoozedUntil", row, 16);
    return VG_OK;
}

enum vg_status care_put_item(struct sql *sql, int64_t item_id, struct vg_json_writer *w,
                             struct vg_err *err)
{
    struct one_object one = {w, write_item_head, 0};
    enum vg_status st = SQL_RUN(
        sql, err, write_one, &one,
        "SELECT i.id, i.patient_id, coalesce(p.name, ''), coalesce(p.location, ''), f.severity, "
        "f.title, i.state, i.opened_us, i.due_us, i.assignee, i.acknowledged_by, "
        "i.acknowledged_us, "
        "f.closed_us, i.flag_id, i.change, f.rule, i.snoozed_until_us FROM item i JOIN flag f ON "
        "f.flag_id = i.flag_id LEFT "
        "JOIN "
        "patient p ON p.patient_id = i.patient_id WHERE i.id = ?",
        sql_i(item_id));

    if (st != VG_OK)
        return st;
    if (one.count == 0)
        return VG_END;
    vg_json_name(w, "history");
    vg_json_open_array(w);
    st = SQL_RUN(
        sql, err, write_act, w,
        "SELECT what, user_name, time_us, coalesce(text, '') FROM item_act WHERE item_id = ? "
        "ORDER BY id",
        sql_i(item_id));
    vg_json_close_array(w);
    vg_json_close_object(w);
    return st;
}

/* ---- a board row ---- */

struct row_head {
    struct vg_arena *arena;
    struct vg_json_writer *w;
    struct vg_slice record;
    int64_t window_end_us, news2_low;
    bool is_found;
};

static enum vg_status write_row_head(void *ctx, const struct sql_row *row)
{
    struct row_head *head = ctx;
    struct vg_json_writer *w = head->w;

    head->is_found = true;
    head->record = vg_arena_dup(head->arena, sql_text(row, 0));
    head->window_end_us = sql_integer(row, 1);
    head->news2_low = sql_is_null(row, 10) ? -1 : sql_integer(row, 10);
    vg_json_open_object(w);
    vg_json_member_string(w, "patientId", sql_text(row, 2));
    vg_json_member_string(w, "name", sql_text(row, 3));
    vg_json_member_string(w, "initials", sql_text(row, 4));
    if (!sql_is_null(row, 5))
        vg_json_member_i64(w, "ageYears", sql_integer(row, 5));
    vg_json_member_string(w, "gender", sql_text(row, 6));
    vg_json_member_string(w, "identifier", sql_text(row, 7));
    vg_json_member_string(w, "location", sql_text(row, 8));
    vg_json_member_string(w, "unit", sql_text(row, 9));
    vg_json_name(w, "news2");
    if (head->news2_low < 0) {
        vg_json_put_null(w);
    } else {
        vg_json_open_object(w);
        vg_json_member_i64(w, "low", head->news2_low);
        vg_json_member_i64(w, "high", sql_integer(row, 11));
        vg_json_member_string(w, "band", sql_text(row, 12));
        vg_json_member_bool(w, "complete", sql_integer(row, 13) != 0);
        vg_json_close_object(w);
    }
    vg_json_name(w, "risk");
    if (sql_is_null(row, 14))
        vg_json_put_null(w);
    else
        vg_json_put_double(w, sql_number(row, 14));
    member_text_or_null(w, "riskBand", sql_text(row, 15));
    vg_json_member_time(w, "time", head->window_end_us);
    vg_json_member_time(w, "scored", sql_integer(row, 16));
    vg_json_member_i64(w, "change", sql_integer(row, 17));
    member_time_or_null(w, "ended", row, 18);
    return VG_OK;
}

static void write_vitals(struct vg_json_writer *w, const struct vg_json *vitals)
{
    vg_json_name(w, "vitals");
    vg_json_open_object(w);
    for (const struct vg_json *v = vitals ? vitals->child : NULL; v; v = v->next) {
        vg_json_name_slice(w, vg_json_get_text(v, "code"));
        vg_json_put_raw(w, v->source);
    }
    vg_json_close_object(w);
}

static enum vg_status write_row_item(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_i64(w, "id", sql_integer(row, 0));
    vg_json_member_string(w, "state", sql_text(row, 1));
    member_text_or_null(w, "assignee", sql_text(row, 2));
    member_time_or_null(w, "snoozedUntil", row, 3);
    vg_json_close_object(w);
    return VG_OK;
}

/* The flag that counts, its item, and where the score is going. */
static enum vg_status write_row_tail(struct sql *sql, struct vg_slice patient_id,
                                     const struct row_head *head, struct vg_err *err)
{
    struct vg_json_writer *w = head->w;
    struct one_object flag = {w, write_flag, 0}, item = {w, write_row_item, 0};
    int64_t before = head->news2_low;
    struct points news2 = {0};
    enum vg_status st;

    vg_json_name(w, "flag");
    st =
        SQL_RUN(sql, err, write_one, &flag,
                "SELECT flag_id, rule, severity, title, opened_us, closed_us FROM flag WHERE "
                "patient_id = ? AND closed_us IS NULL ORDER BY (severity = 'high') DESC, opened_us "
                "LIMIT 1",
                sql_t(patient_id));
    if (flag.count == 0)
        vg_json_put_null(w);
    vg_json_name(w, "item");
    if (st == VG_OK)
        st = SQL_RUN(
            sql, err, write_one, &item,
            "SELECT i.id, i.state, i.assignee, i.snoozed_until_us FROM item i JOIN flag f ON "
            "f.flag_id = i.flag_id WHERE i.patient_id = ? AND i.state <> 'resolved' ORDER BY "
            "(f.closed_us IS NULL) DESC, (f.severity = 'high') DESC, i.opened_us LIMIT 1",
            sql_t(patient_id));
    if (item.count == 0)
        vg_json_put_null(w);
    vg_json_name(w, "news2Spark");
    if (st == VG_OK)
        st =
            SQL_RUN(sql, err, take_point, &news2,
                    "SELECT window_end_us, news2_low FROM score WHERE patient_id = ? AND news2_low "
                    "IS NOT NULL ORDER BY window_end_us DESC, scored_us DESC LIMIT 40",
                    sql_t(patient_id));
    write_points(w, &news2);
    if (st == VG_OK)
        st = SQL_RUN(sql, err, care_take_integer, &before,
                     "SELECT news2_low FROM score WHERE patient_id = ? AND window_end_us <= ? AND "
                     "news2_low IS NOT NULL ORDER BY window_end_us DESC, scored_us DESC LIMIT 1",
                     sql_t(patient_id), sql_i(head->window_end_us - TREND_US));
    if (news2.count &&
        before == head->news2_low) /* less than an hour known: against its beginning */
        before = (int64_t)news2.items[news2.count - 1].value;
    vg_json_member_string(w, "trend",
                          before < head->news2_low   ? VG_SLICE("up")
                          : before > head->news2_low ? VG_SLICE("down")
                                                     : VG_SLICE("steady"));
    vg_json_close_object(w);
    return st;
}

/* *ret_record (may be NULL): the row's scored record, parsed into `arena`. */
static enum vg_status put_row(struct sql *sql, struct vg_slice patient_id, struct vg_arena *arena,
                              struct vg_json_writer *w, struct vg_json **ret_record,
                              struct vg_err *err)
{
    struct row_head head = {.arena = arena, .w = w};
    const struct vg_json *vitals;
    struct vg_json *record;
    enum vg_status st = SQL_RUN(
        sql, err, write_row_head, &head,
        "SELECT record, window_end_us, patient_id, coalesce(name, ''), coalesce(initials, ''), "
        "age_years, coalesce(gender, ''), coalesce(identifier, ''), coalesce(location, ''), "
        "coalesce(unit, ''), news2_low, news2_high, coalesce(news2_band, ''), news2_complete, "
        "risk, risk_band, scored_us, change, ended_us FROM patient WHERE patient_id = ?",
        sql_t(patient_id));

    if (st != VG_OK)
        return st;
    if (!head.is_found)
        return VG_END;
    st = vg_json_parse(arena, head.record, NULL, &record, NULL, err);
    if (st != VG_OK)
        return vg_fail(err, VG_FATAL, "care.record", 0,
                       "a patient's record in the repository is broken");
    vitals = vg_json_get(record, "vitals");
    write_vitals(w, vitals);
    vg_json_name(w, "spark");
    vg_json_open_object(w);
    for (const struct vg_json *v = vitals ? vitals->child : NULL; v && st == VG_OK; v = v->next)
        st = write_spark(sql, patient_id, vg_json_get_text(v, "code"), w, err);
    vg_json_close_object(w);
    if (st == VG_OK)
        st = write_row_tail(sql, patient_id, &head, err);
    if (ret_record)
        *ret_record = record;
    return st;
}

enum vg_status care_put_row(struct sql *sql, struct vg_slice patient_id, struct vg_json_writer *w,
                            struct vg_err *err)
{
    struct vg_arena arena;
    enum vg_status st;

    vg_arena_init(&arena, ARENA_SIZE);
    st = put_row(sql, patient_id, &arena, w, NULL, err);
    vg_arena_fini(&arena);
    return st;
}

/* ---- whole answers ---- */

static enum vg_status finish(struct vg_buf *out, enum vg_status st, struct vg_err *err)
{
    if (st == VG_OK && !vg_buf_ok(out))
        return vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "the answer is too large");
    return st;
}

enum vg_status care_board(struct care *care, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_arena arena;
    int64_t change = 0;
    struct ids ids;
    enum vg_status st;

    vg_arena_init(&arena, ARENA_SIZE);
    vg_json_writer_init(&w, out);
    pthread_mutex_lock(&care->read_lock);
    st = ids_init(&ids, &arena, BOARD_MAX, err);
    if (st == VG_OK)
        st = SQL_RUN(care->reader, err, care_take_integer, &change,
                     "SELECT value FROM counter WHERE name = ?", sql_t(VG_SLICE("change")));
    if (st == VG_OK)
        st = SQL_RUN(
            care->reader, err, take_id, &ids,
            "SELECT p.patient_id FROM patient p LEFT JOIN (SELECT patient_id, max(CASE severity "
            "WHEN "
            "'high' THEN 2 ELSE 1 END) AS severity FROM flag WHERE closed_us IS NULL GROUP BY "
            "patient_id) f ON f.patient_id = p.patient_id LEFT JOIN (SELECT patient_id, max(CASE "
            "state WHEN 'open' THEN 2 WHEN 'escalated' THEN 2 ELSE 1 END) AS waiting FROM item "
            "WHERE "
            "state <> 'resolved' GROUP BY patient_id) i ON i.patient_id = p.patient_id WHERE "
            "p.ended_us IS NULL ORDER BY "
            "coalesce(f.severity, 0) DESC, CASE WHEN f.severity IS NULL THEN 0 ELSE "
            "coalesce(i.waiting, 0) END DESC, coalesce(p.news2_low, -1) DESC, coalesce(p.risk, -1) "
            "DESC, p.location, p.patient_id LIMIT ?",
            sql_i(BOARD_MAX));
    vg_json_open_object(&w);
    vg_json_member_time(&w, "asOf", vg_now_us());
    vg_json_member_i64(&w, "change", change);
    vg_json_name(&w, "patients");
    vg_json_open_array(&w);
    for (size_t i = 0; i < ids.count && st == VG_OK; i++)
        st = care_put_row(care->reader, ids.items[i], &w, err);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    pthread_mutex_unlock(&care->read_lock);
    vg_arena_fini(&arena);
    return finish(out, st, err);
}

enum vg_status care_board_row(struct care *care, struct vg_slice patient_id, struct vg_buf *out,
                              struct vg_err *err)
{
    struct vg_json_writer w;
    enum vg_status st;

    vg_json_writer_init(&w, out);
    pthread_mutex_lock(&care->read_lock);
    st = care_put_row(care->reader, patient_id, &w, err);
    pthread_mutex_unlock(&care->read_lock);
    return finish(out, st, err);
}

static enum vg_status write_score(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_array(w);
    vg_json_put_i64(w, sql_integer(row, 0) / 1000);
    for (int column = 1; column <= 2; column++) {
        if (sql_is_null(row, column))
            vg_json_put_null(w);
        else
            vg_json_put_i64(w, sql_integer(row, column));
    }
    if (sql_is_null(row, 3))
        vg_json_put_null(w);
    else
        vg_json_put_double(w, sql_number(row, 3));
    vg_json_close_array(w);
    return VG_OK;
}

static enum vg_status write_items_of(struct sql *sql, const struct ids *ids,
                                     struct vg_json_writer *w, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    vg_json_open_array(w);
    for (size_t i = 0; i < ids->count && st == VG_OK; i++) {
        int64_t id = 0;

        if (vg_slice_to_i64(ids->items[i], &id))
            st = care_put_item(sql, id, w, err);
    }
    vg_json_close_array(w);
    return st;
}

enum vg_status care_patient(struct care *care, struct vg_slice patient_id, int64_t from_us,
                            struct vg_buf *out, struct vg_err *err)
{
    struct vg_json *record = NULL;
    struct vg_json_writer w;
    struct vg_arena arena;
    struct ids ids = {0};
    enum vg_status st;

    vg_arena_init(&arena, ARENA_SIZE);
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "row");
    pthread_mutex_lock(&care->read_lock);
    st = put_row(care->reader, patient_id, &arena, &w, &record, err);
    if (st == VG_OK) {
        static const char *const parts[] = {"news2", "model", "vitals", "rejected"};

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
            const struct vg_json *part = vg_json_get(record, parts[i]);

            vg_json_member_raw(&w, parts[i], part ? part->source : VG_SLICE("null"));
        }
        vg_json_name(&w, "series");
        vg_json_open_object(&w);
        st =
            write_series(care->reader, patient_id, vg_json_get(record, "vitals"), from_us, &w, err);
        vg_json_close_object(&w);
    }
    if (st == VG_OK) {
        vg_json_name(&w, "scores");
        vg_json_open_array(&w);
        st =
            SQL_RUN(care->reader, err, write_score, &w,
                    "SELECT window_end_us, news2_low, news2_high, risk FROM (SELECT window_end_us, "
                    "scored_us, news2_low, news2_high, risk FROM score WHERE patient_id = ? AND "
                    "window_end_us >= ? ORDER BY window_end_us DESC, scored_us DESC LIMIT ?) AS "
                    "newest ORDER BY window_end_us, scored_us",
                    sql_t(patient_id), sql_i(from_us), sql_i(SERIES_MAX));
        vg_json_close_array(&w);
    }
    if (st == VG_OK) {
        vg_json_name(&w, "flags");
        vg_json_open_array(&w);
        st = SQL_RUN(care->reader, err, write_flag, &w,
                     "SELECT flag_id, rule, severity, title, opened_us, closed_us FROM flag WHERE "
                     "patient_id = ? ORDER BY opened_us DESC LIMIT 50",
                     sql_t(patient_id));
        vg_json_close_array(&w);
    }
    if (st == VG_OK)
        st = ids_init(&ids, &arena, 50, err);
    if (st == VG_OK)
        st = SQL_RUN(
            care->reader, err, take_id, &ids,
            "SELECT CAST(id AS TEXT) FROM item WHERE patient_id = ? ORDER BY id DESC LIMIT 50",
            sql_t(patient_id));
    if (st == VG_OK) {
        vg_json_name(&w, "items");
        st = write_items_of(care->reader, &ids, &w, err);
    }
    pthread_mutex_unlock(&care->read_lock);
    if (st == VG_OK) /* an unknown patient leaves "row" without a value */
        vg_json_close_object(&w);
    vg_arena_fini(&arena);
    return finish(out, st, err);
}

enum vg_status care_worklist(struct care *care, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_arena arena;
    struct ids ids;
    enum vg_status st;

    vg_arena_init(&arena, ARENA_SIZE);
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_time(&w, "asOf", vg_now_us());
    vg_json_name(&w, "items");
    pthread_mutex_lock(&care->read_lock);
    st = ids_init(&ids, &arena, 500, err);
    if (st == VG_OK)
        st = SQL_RUN(care->reader, err, take_id, &ids,
                     "SELECT CAST(i.id AS TEXT) FROM item i JOIN flag f ON f.flag_id = i.flag_id "
                     "ORDER BY (i.state = 'resolved'), CASE i.state WHEN 'escalated' THEN 0 WHEN "
                     "'open' THEN 1 ELSE 2 END, (f.severity = 'high') DESC, CASE WHEN i.state = "
                     "'resolved' THEN -i.opened_us ELSE i.opened_us END LIMIT ?",
                     sql_i(500));
    if (st == VG_OK)
        st = write_items_of(care->reader, &ids, &w, err);
    pthread_mutex_unlock(&care->read_lock);
    vg_json_close_object(&w);
    vg_arena_fini(&arena);
    return finish(out, st, err);
}
