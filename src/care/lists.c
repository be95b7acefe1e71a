/* lists.c -- patient lists with SBAR, and the scheduled ward report.
 *
 * Situation and assessment are filled from what was measured; background from what FHIR says; the
 * recommendation is drafted from the NEWS2 response table (RCP 2017) and is a person's to confirm.
 */
#include "base/clock.h"
#include "base/unit.h"
#include "care/care_int.h"

#include <errno.h>
#include <stdlib.h>

#define LIST_MAX 500

enum vg_status care_list_make(struct care *care, struct vg_slice name, struct vg_slice user,
                              int64_t *ret_id, struct vg_err *err)
{
    return CARE_WRITE(care, err, care_take_integer, ret_id,
                      "INSERT INTO list (name, made_by, made_us) VALUES (?, ?, ?) RETURNING id",
                      sql_t(name), sql_t(user), sql_i(vg_now_us()));
}

enum vg_status care_list_put(struct care *care, int64_t list_id, struct vg_slice patient_id,
                             bool is_member, struct vg_err *err)
{
    if (is_member)
        return CARE_WRITE(
            care, err, NULL, NULL,
            "INSERT INTO list_member (list_id, patient_id) VALUES (?, ?) ON CONFLICT DO "
            "NOTHING",
            sql_i(list_id), sql_t(patient_id));
    return CARE_WRITE(care, err, NULL, NULL,
                      "DELETE FROM list_member WHERE list_id = ? AND patient_id = ?",
                      sql_i(list_id), sql_t(patient_id));
}

static enum vg_status write_list(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_i64(w, "id", sql_integer(row, 0));
    vg_json_member_string(w, "name", sql_text(row, 1));
    vg_json_member_i64(w, "count", sql_integer(row, 2));
    vg_json_close_object(w);
    return VG_OK;
}

enum vg_status care_lists(struct care *care, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    enum vg_status st;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "lists");
    vg_json_open_array(&w);
    st = CARE_READ(
        care, err, write_list, &w,
        "SELECT l.id, l.name, (SELECT count(*) FROM list_member m WHERE m.list_id = l.id) "
        "FROM list l WHERE l.id > ? ORDER BY l.name",
        sql_i(0));
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    return st;
}

/* ---- SBAR ---- */

struct sbar_row {
    struct vg_arena *arena;
    struct vg_slice record, title, since, name, location, gender, identifier, band;
    int64_t age, low, high;
    bool is_found, has_age;
};

static enum vg_status take_sbar_row(void *ctx, const struct sql_row *row)
{
    struct sbar_row *r = ctx;
    char since[VG_TIME_TEXT_SIZE];

    r->is_found = true;
    r->record = vg_arena_dup(r->arena, sql_text(row, 0));
    r->name = vg_arena_dup(r->arena, sql_text(row, 1));
    r->location = vg_arena_dup(r->arena, sql_text(row, 2));
    r->gender = vg_arena_dup(r->arena, sql_text(row, 3));
    r->identifier = vg_arena_dup(r->arena, sql_text(row, 4));
    r->has_age = !sql_is_null(row, 5);
    r->age = sql_integer(row, 5);
    r->low = sql_is_null(row, 6) ? -1 : sql_integer(row, 6);
    r->high = sql_integer(row, 7);
    r->band = vg_arena_dup(r->arena, sql_text(row, 8));
    if (!sql_is_null(row, 9)) {
        r->title = vg_arena_dup(r->arena, sql_text(row, 9));
        (void)vg_time_format(sql_integer(row, 10), 0, since);
        r->since = vg_arena_dup(r->arena, vg_slice_of(since));
    }
    return VG_OK;
}

static const struct {
    const char *band, *text;
} responses[] = {
    {"high",
     "Emergency assessment by a team with critical-care and airway skills; continuous monitoring; "
     "consider a higher level of care."},
    {"medium",
     "Urgent assessment by a clinician competent in acute illness; observations at least hourly."},
    {"low-medium", "Nurse informs the medical team, who review; observations at least hourly."},
    {"low", "Registered nurse decides on frequency of observations and on escalation."},
};

static void put_assessment(struct vg_buf *out, const struct vg_json *record)
{
    const struct vg_json *parts = vg_json_get(vg_json_get(record, "news2"), "parts");
    const struct vg_json *vitals = vg_json_get(record, "vitals");
    unsigned count = 0;

    for (const struct vg_json *p = parts ? parts->child : NULL; p; p = p->next) {
        struct vg_slice part = vg_json_get_text(p, "part");
        int64_t score = 0;

        if (!vg_json_to_i64(vg_json_get(p, "score"), &score) || score == 0)
            continue;
        if (vg_slice_is(part, "spo2"))
            part = VG_SLICE("SpO2");
        vg_buf_printf(out, "%s%.*s scores %lld", count++ ? ", " : "", VG_FMT(part),
                      (long long)score);
    }
    vg_buf_put(out, count ? VG_SLICE(". ") : VG_SLICE("No part of NEWS2 scores. "));
    count = 0;
    for (const struct vg_json *v = vitals ? vitals->child : NULL; v; v = v->next) {
        const struct vg_json *value = vg_json_get(v, "value");
        struct vg_slice unit = vg_unit_text(vg_json_get_text(v, "unit"));

        if (!value)
            value = vg_json_get(v, "text");
        if (!value)
            continue;
        vg_buf_printf(out, "%s%.*s %.*s%s%.*s%s", count++ ? ", " : "",
                      VG_FMT(vg_json_get_text(v, "name")),
                      VG_FMT(value->type == VG_JSON_NUMBER ? value->source : vg_json_text(value)),
                      unit.len ? " " : "", VG_FMT(unit),
                      vg_slice_is(vg_json_get_text(v, "state"), "expired") ? " (expired)" : "");
    }
    vg_buf_put_byte(out, '.');
}

static enum vg_status write_sbar(struct sql *sql, struct vg_slice patient_id,
                                 struct vg_json_writer *w, struct vg_err *err)
{
    struct sbar_row r = {0};
    struct vg_json *record;
    struct vg_arena arena;
    struct vg_buf text;
    enum vg_status st;

    vg_arena_init(&arena, 4u << 20);
    vg_buf_init(&text, 1u << 20);
    r.arena = &arena;
    st = SQL_RUN(
        sql, err, take_sbar_row, &r,
        "SELECT p.record, coalesce(p.name, ''), coalesce(p.location, ''), coalesce(p.gender, "
        "''), coalesce(p.identifier, ''), p.age_years, p.news2_low, p.news2_high, "
        "coalesce(p.news2_band, ''), f.title, f.opened_us FROM patient p LEFT JOIN flag f ON "
        "f.patient_id = p.patient_id AND f.closed_us IS NULL WHERE p.patient_id = ? ORDER BY "
        "(f.severity = 'high') DESC LIMIT 1",
        sql_t(patient_id));
    if (st == VG_OK && !r.is_found)
        st = VG_END;
    if (st == VG_OK)
        st = vg_json_parse(&arena, r.record, NULL, &record, NULL, err);
    if (st != VG_OK)
        goto done;

    vg_json_open_object(w);
    vg_buf_printf(&text, "%.*s, %.*s. ", VG_FMT(r.name), VG_FMT(r.location));
    if (r.low < 0)
        vg_buf_put(&text, VG_SLICE("NEWS2 not known. "));
    else if (r.low == r.high)
        vg_buf_printf(&text, "NEWS2 %lld (%.*s). ", (long long)r.low, VG_FMT(r.band));
    else
        vg_buf_printf(&text, "NEWS2 %lld to %lld, values missing (%.*s by what is known). ",
                      (long long)r.low, (long long)r.high, VG_FMT(r.band));
    if (r.title.ptr)
        vg_buf_printf(&text, "Flag open since %.*s: %.*s.", VG_FMT(r.since), VG_FMT(r.title));
    else
        vg_buf_put(&text, VG_SLICE("No flag is open."));
    vg_json_member_string(w, "situation", vg_buf_slice(&text));

    vg_buf_clear(&text);
    if (r.has_age)
        vg_buf_printf(&text, "%lld years, ", (long long)r.age);
    vg_buf_printf(&text, "%.*s%s%.*s.",
                  VG_FMT(r.gender.len ? r.gender : VG_SLICE("sex not recorded")),
                  r.identifier.len ? ", identifier " : "", VG_FMT(r.identifier));
    vg_json_member_string(w, "background", vg_buf_slice(&text));

    vg_buf_clear(&text);
    put_assessment(&text, record);
    vg_json_member_string(w, "assessment", vg_buf_slice(&text));

    vg_json_name(w, "recommendation");
    for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++) {
        if (vg_slice_is(r.band, responses[i].band) ||
            i + 1 == sizeof(responses) / sizeof(responses[0])) {
            vg_json_put_string(w, vg_slice_of(responses[i].text));
            break;
        }
    }
    vg_json_close_object(w);
done:
    vg_buf_fini(&text);
    vg_arena_fini(&arena);
    return st;
}

struct members {
    struct vg_arena *arena;
    struct vg_slice ids[LIST_MAX];
    size_t count;
};

static enum vg_status take_member(void *ctx, const struct sql_row *row)
{
    struct members *members = ctx;

    if (members->count < LIST_MAX)
        members->ids[members->count++] = vg_arena_dup(members->arena, sql_text(row, 0));
    return VG_OK;
}

struct list_head {
    struct vg_json_writer *w;
    bool is_found;
};

static enum vg_status write_list_head(void *ctx, const struct sql_row *row)
{
    struct list_head *head = ctx;

    head->is_found = true;
    vg_json_member_i64(head->w, "id", sql_integer(row, 0));
    vg_json_member_string(head->w, "name", sql_text(row, 1));
    return VG_OK;
}

enum vg_status care_list(struct care *care, int64_t list_id, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    struct list_head head = {.w = &w};
    struct vg_arena arena;
    struct members *members;
    enum vg_status st;

    vg_arena_init(&arena, 4u << 20);
    vg_json_writer_init(&w, out);
    members = vg_arena_alloc(&arena, sizeof(*members));
    if (!members) {
        vg_arena_fini(&arena);
        return vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "list");
    }
    members->arena = &arena;
    vg_json_open_object(&w);
    pthread_mutex_lock(&care->read_lock);
    st = SQL_RUN(care->reader, err, write_list_head, &head,
                 "SELECT id, name FROM list WHERE id = ?", sql_i(list_id));
    if (st == VG_OK && !head.is_found)
        st = VG_END;
    if (st == VG_OK)
        st = SQL_RUN(care->reader, err, take_member, members,
                     "SELECT m.patient_id FROM list_member m JOIN patient p ON p.patient_id = "
                     "m.patient_id WHERE m.list_id = ? ORDER BY coalesce(p.news2_low, -1) DESC, "
                     "p.location LIMIT ?",
                     sql_i(list_id), sql_i(LIST_MAX));
    vg_json_name(&w, "patients");
    vg_json_open_array(&w);
    for (size_t i = 0; i < members->count && st == VG_OK; i++) {
        vg_json_open_object(&w);
        vg_json_name(&w, "row");
        st = care_put_row(care->reader, members->ids[i], &w, err);
        vg_json_name(&w, "sbar");
        if (st == VG_OK)
            st = write_sbar(care->reader, members->ids[i], &w, err);
        vg_json_close_object(&w);
    }
    pthread_mutex_unlock(&care->read_lock);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    vg_arena_fini(&arena);
    return st;
}

/* ---- the report (step 16) ---- */

static enum vg_status write_band(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_name_slice(w, sql_text(row, 0));
    vg_json_put_i64(w, sql_integer(row, 1));
    return VG_OK;
}

static enum vg_status write_unit(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_string(w, "unit", sql_text(row, 0));
    vg_json_member_i64(w, "patients", sql_integer(row, 1));
    vg_json_member_i64(w, "high", sql_integer(row, 2));
    vg_json_member_i64(w, "medium", sql_integer(row, 3));
    vg_json_close_object(w);
    return VG_OK;
}

static enum vg_status write_count(struct sql *sql, const char *statement, const char *name,
                                  int64_t param, struct vg_json_writer *w, struct vg_err *err)
{
    struct sql_value value = sql_i(param);
    int64_t count = 0;
    enum vg_status st = sql_run(sql, statement, &value, 1, care_take_integer, &count, NULL, err);

    vg_json_member_i64(w, name, count);
    return st;
}

struct seconds {
    int64_t *values;
    size_t count, capacity;
};

static enum vg_status take_seconds(void *ctx, const struct sql_row *row)
{
    struct seconds *seconds = ctx;

    if (seconds->count < seconds->capacity)
        seconds->values[seconds->count++] = sql_integer(row, 0) / VG_SECOND_US;
    return VG_OK;
}

/* From opening to acknowledgement over the last 24 hours: median, or null. The query sorts. */
static enum vg_status write_median(struct sql *sql, int64_t now_us, struct vg_json_writer *w,
                                   struct vg_err *err)
{
    int64_t values[1000];
    struct seconds seconds = {values, 0, sizeof(values) / sizeof(values[0])};
    enum vg_status st = SQL_RUN(
        sql, err, take_seconds, &seconds,
        "SELECT acknowledged_us - created_us AS waited FROM item WHERE acknowledged_us IS NOT "
        "NULL AND created_us > ? ORDER BY waited LIMIT 1000",
        sql_i(now_us - VG_DAY_US));

    vg_json_name(w, "medianAcknowledgeSeconds");
    if (seconds.count)
        vg_json_put_i64(w, values[seconds.count / 2] > 0 ? values[seconds.count / 2] : 0);
    else
        vg_json_put_null(w);
    return st;
}

static enum vg_status write_report(struct sql *sql, struct vg_arena *arena, int64_t now_us,
                                   int64_t next_us, struct vg_json_writer *w, struct vg_err *err)
{
    struct members *overdue = vg_arena_alloc(arena, sizeof(*overdue));
    enum vg_status st;

    if (!overdue)
        return vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "report");
    overdue->arena = arena;
    vg_json_open_object(w);
    vg_json_member_time(w, "asOf", now_us);
    vg_json_member_time(w, "nextRun", next_us);
    vg_json_member_i64(w, "everySeconds", (next_us - now_us) / VG_SECOND_US);
    st = write_count(sql, "SELECT count(*) FROM patient WHERE ended_us IS NULL AND change >= ?",
                     "patients", 0, w, err);
    vg_json_name(w, "bands");
    vg_json_open_object(w);
    if (st == VG_OK)
        st = SQL_RUN(sql, err, write_band, w,
                     "SELECT coalesce(news2_band, 'unknown') AS band, count(*) FROM patient WHERE "
                     "ended_us IS NULL AND change >= ? GROUP BY band ORDER BY band",
                     sql_i(0));
    vg_json_close_object(w);
    if (st == VG_OK)
        st =
            write_count(sql, "SELECT count(*) FROM flag WHERE closed_us IS NULL AND opened_us >= ?",
                        "openFlags", 0, w, err);
    if (st == VG_OK)
        st = write_count(sql,
                         "SELECT count(*) FROM item WHERE state IN ('open', 'escalated') AND "
                         "opened_us >= ?",
                         "unacknowledged", 0, w, err);
    if (st == VG_OK)
        st = write_median(sql, now_us, w, err);
    vg_json_name(w, "byUnit");
    vg_json_open_array(w);
    if (st == VG_OK)
        st = SQL_RUN(
            sql, err, write_unit, w,
            "SELECT coalesce(unit, '') AS ward, count(*), sum(CASE WHEN news2_band = 'high' "
            "THEN 1 ELSE 0 END), sum(CASE WHEN news2_band = 'medium' THEN 1 ELSE 0 END) FROM "
            "patient WHERE change >= ? GROUP BY ward ORDER BY ward",
            sql_i(0));
    vg_json_close_array(w);
    if (st == VG_OK)
        st =
            SQL_RUN(sql, err, take_member, overdue,
                    "SELECT DISTINCT patient_id FROM item WHERE state IN ('open', 'escalated') AND "
                    "due_us < ? LIMIT 100",
                    sql_i(now_us));
    vg_json_name(w, "overdue");
    vg_json_open_array(w);
    for (size_t i = 0; i < overdue->count && st == VG_OK; i++) {
        st = care_put_row(sql, overdue->ids[i], w, err);
        if (st == VG_END)
            st = VG_OK; /* a flag without a row yet */
    }
    vg_json_close_array(w);
    vg_json_close_object(w);
    return st;
}

enum vg_status care_report_make(struct care *care, int64_t now_us, int64_t next_us,
                                struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_arena arena;
    struct vg_buf body;
    enum vg_status st;

    vg_arena_init(&arena, 4u << 20);
    vg_buf_init(&body, 0);
    vg_json_writer_init(&w, &body);
    pthread_mutex_lock(&care->read_lock);
    st = write_report(care->reader, &arena, now_us, next_us, &w, err);
    pthread_mutex_unlock(&care->read_lock);
    if (st == VG_OK && !vg_buf_ok(&body))
        st = vg_fail(err, VG_RETRY, "care.memory", ENOMEM, "report");
    if (st == VG_OK)
        st = CARE_WRITE(care, err, NULL, NULL,
                        "INSERT INTO report (as_of_us, next_us, body) VALUES (?, ?, ?)",
                        sql_i(now_us), sql_i(next_us), sql_t(vg_buf_slice(&body)));
    if (st == VG_OK)
        st = CARE_WRITE(care, err, NULL, NULL, "DELETE FROM report WHERE as_of_us < ?",
                        sql_i(now_us - 30 * VG_DAY_US));
    vg_buf_fini(&body);
    vg_arena_fini(&arena);
    return st;
}

struct text_out {
    struct vg_buf *out;
    bool is_found;
};

static enum vg_status take_text(void *ctx, const struct sql_row *row)
{
    struct text_out *text = ctx;

    text->is_found = true;
    vg_buf_put(text->out, sql_text(row, 0));
    return VG_OK;
}

enum vg_status care_report(struct care *care, struct vg_buf *out, struct vg_err *err)
{
    struct text_out text = {out, false};
    enum vg_status st =
        CARE_READ(care, err, take_text, &text,
                  "SELECT body FROM report WHERE as_of_us > ? ORDER BY id DESC LIMIT 1", sql_i(0));

    return st == VG_OK && !text.is_found ? VG_END : st;
}
