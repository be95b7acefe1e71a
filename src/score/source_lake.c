/* source_lake.c -- a hospital's own patients, from the lake, with outcomes from a list.
 *
 * The list is text with commas and a header: `patient,outcome`, a FHIR id and the time at which the
 * outcome was established (empty: it never was). Every patient who counts is listed, also those to
 * whom nothing happened. Rows are made each hour from the patient's first reading to the last, at
 * most 60 days; the label is 1 from 6 h before the outcome on; rows more than 3 h after it are left
 * out, as in the challenge of 2019.
 */
#include "score/source_int.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DAYS_MAX 60
#define PATIENTS_MAX 2000000
#define BEFORE_US (6 * VG_HOUR_US)
#define AFTER_US (3 * VG_HOUR_US)

static bool is_id(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.'))
            return false;
    }
    return text.len > 0 && text.len < WINDOW_ID_SIZE;
}

static enum vg_status take_listed(struct source *source, struct vg_slice line, struct vg_err *err)
{
    struct vg_slice rest = line, id = vg_slice_cut(&rest, ',');
    struct outcome *outcome = vg_arena_alloc(&source->arena, sizeof(*outcome));
    size_t capacity = source->listed_count;
    bool is_ok = true;

    if (!outcome || source->listed_count == PATIENTS_MAX)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "too many patients");
    if (!is_id(id))
        return vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: expected a FHIR id",
                       lines_path(source->lines), (unsigned long long)lines_number(source->lines));
    rest = vg_slice_trim(rest);
    outcome->has_happened = rest.len > 0;
    if (rest.len > 0 && !vg_time_parse(rest, &outcome->time_us, NULL))
        return vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: expected a date-time",
                       lines_path(source->lines), (unsigned long long)lines_number(source->lines));
    if (vg_map_put(&source->outcomes, id, outcome, &is_ok) != NULL)
        return vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: a patient is listed twice",
                       lines_path(source->lines), (unsigned long long)lines_number(source->lines));
    if ((capacity & (capacity - 1)) == 0) { /* 0, 1, 2, 4, …: full */
        void *listed = realloc(source->listed, (capacity ? capacity * 2 : 1) * WINDOW_ID_SIZE);

        is_ok = is_ok && listed;
        source->listed = listed ? listed : source->listed;
    }
    if (!is_ok)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for patients");
    (void)vg_slice_to_cstr(id, source->listed[source->listed_count++], WINDOW_ID_SIZE);
    return VG_OK;
}

static enum vg_status open_lake(struct source *source, struct vg_err *err)
{
    struct vg_slice line;
    enum vg_status st;

    if (!source->config.lake)
        return vg_fail(err, VG_REJECT, "train.lake", 0, "the format needs a lake");
    st = source_next_file(source, err);
    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "train.file", 0, "no list of patients was named");
    if (st == VG_OK)
        st = lines_next(source->lines, &line, err);
    if (st == VG_END || (st == VG_OK && !vg_slice_is(line, "patient,outcome")))
        st = vg_fail(err, VG_REJECT, "train.header", 0, "%s line 1: expected patient,outcome",
                     lines_path(source->lines));
    while (st == VG_OK && (st = lines_next(source->lines, &line, err)) == VG_OK)
        st = take_listed(source, line, err);
    return st == VG_END ? VG_OK : st;
}

struct history {
    struct source *source;
    enum vg_status st;
    struct vg_err *err;
};

static void take_reading(void *ctx, const struct lake_reading *reading)
{
    struct history *history = ctx;
    struct window_reading event = {
        .vital = vital_of_code(reading->code),
        .value = reading->value,
        .time_us = reading->time_us,
        .received_us = reading->time_us,
    };

    if (history->st != VG_OK || event.vital == SIGNAL_COUNT || event.vital == SCORE_CONSCIOUSNESS ||
        !vital_convert(event.vital, reading->unit, &event.value) ||
        !(event.value >= vitals[event.vital].min && event.value <= vitals[event.vital].max))
        return;
    history->st = source_event(history->source, &event, history->err);
}

static enum vg_status read_facts(struct source *source, struct vg_err *err)
{
    char sql[256];
    struct vg_arena arena;
    struct vg_buf out;
    struct vg_json *root = NULL;
    const struct vg_json *first;
    struct vg_slice sex;
    enum vg_status st;

    source->age_years = source->sex = (double)NAN;
    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 0);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT max(ageYears) AS age, max(gender) AS sex FROM {enriched} WHERE "
                   "patientId = '%s'",
                   source->patient);
    st = lake_query(source->config.lake, sql, &out, err);
    if (st == VG_OK)
        st = vg_json_parse(&arena, vg_buf_slice(&out), NULL, &root, NULL, err);
    if (st == VG_OK) {
        first = vg_json_at(root, 0);
        (void)vg_json_to_double(vg_json_get(first, "age"), &source->age_years);
        sex = vg_json_get_text(first, "sex");
        if (vg_slice_is(sex, "male") || vg_slice_is(sex, "female"))
            source->sex = vg_slice_is(sex, "male") ? 1 : 0;
    }
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status read_patient(struct source *source, struct vg_err *err)
{
    struct history history = {source, VG_OK, err};
    int64_t first_us, last_us;
    enum vg_status st;

    memcpy(source->patient, source->listed[source->listed_at++], sizeof(source->patient));
    source->outcome = vg_map_get(&source->outcomes, vg_slice_of(source->patient));
    source->event_count = 0;
    source->hour = source->hour_count = 0;
    st = lake_history(source->config.lake, vg_slice_of(source->patient), 0, INT64_MAX / 2,
                      take_reading, &history, err);
    if (st == VG_OK || st == VG_END)
        st = history.st;
    if (st == VG_OK)
        st = read_facts(source, err);
    if (st != VG_OK || source->event_count == 0)
        return st;
    source_sort_events(source);
    first_us = source->events[0].time_us;
    last_us = source->events[source->event_count - 1].time_us;
    if (source->outcome->has_happened && source->outcome->time_us + AFTER_US < last_us)
        last_us = source->outcome->time_us + AFTER_US;
    source->start_us = first_us - VG_HOUR_US;
    source->hour_count = last_us < first_us ? 0 : (last_us - first_us) / VG_HOUR_US + 1;
    if (source->hour_count > DAYS_MAX * 24)
        source->hour_count = DAYS_MAX * 24;
    return VG_OK;
}

static enum vg_status next_lake(struct source *source, struct source_row *row, struct vg_err *err)
{
    while (source->hour == source->hour_count) {
        enum vg_status st;

        if (source->listed_at == source->listed_count)
            return VG_END;
        st = read_patient(source, err);
        if (st != VG_OK)
            return st;
    }
    source_hourly_row(source, row);
    row->has_label = true;
    row->label =
        source->outcome->has_happened && row->time_us >= source->outcome->time_us - BEFORE_US;
    return VG_OK;
}

const struct source_ops source_lake = {open_lake, next_lake};
