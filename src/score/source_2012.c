/* source_2012.c -- the first 48 hours of the PhysioNet/CinC Challenge 2012.
 *
 * Text with commas: `Set,RecordID,Time,Parameter,Value`, or the challenge's own form
 * `Time,Parameter,Value`, a file for each patient. Time is HH:MM since admission, Value a number;
 * -1 and 0 stand for what was not measured (urine may be 0). Lines of a patient stand together.
 * Rows are made for hours 1 to 48, each with what was charted in the hour before it.
 *
 * OUTCOMES are a second file with columns RecordID and In-hospital_death; without it the rows have
 * no label. Severity scores, survival and length of stay in it are not read.
 */
#include "score/source_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOURS 48

static const struct {
    const char *name;
    int signal;
} parameters[] = {
    {"HR", SCORE_PULSE},
    {"RespRate", SCORE_RESPIRATION},
    {"SysABP", SCORE_SYSTOLIC},
    {"NISysABP", SCORE_SYSTOLIC},
    {"DiasABP", SCORE_DIASTOLIC},
    {"NIDiasABP", SCORE_DIASTOLIC},
    {"MAP", SCORE_MEAN_PRESSURE},
    {"NIMAP", SCORE_MEAN_PRESSURE},
    {"Temp", SCORE_TEMPERATURE},
    {"SaO2", SIGNAL_SAO2},
    {"FiO2", SIGNAL_FIO2},
    {"GCS", SIGNAL_GCS},
    {"Urine", SIGNAL_URINE},
    {"Weight", SIGNAL_WEIGHT},
    {"pH", SIGNAL_PH},
    {"PaCO2", SIGNAL_PACO2},
    {"PaO2", SIGNAL_PAO2},
    {"HCO3", SIGNAL_HCO3},
    {"HCT", SIGNAL_HCT},
    {"K", SIGNAL_POTASSIUM},
    {"Na", SIGNAL_SODIUM},
    {"Mg", SIGNAL_MAGNESIUM},
    {"BUN", SIGNAL_BUN},
    {"Creatinine", SIGNAL_CREATININE},
    {"Glucose", SIGNAL_GLUCOSE},
    {"Lactate", SIGNAL_LACTATE},
    {"Platelets", SIGNAL_PLATELETS},
    {"WBC", SIGNAL_WBC},
    {"ALP", SIGNAL_ALP},
    {"ALT", SIGNAL_ALT},
    {"AST", SIGNAL_AST},
    {"Bilirubin", SIGNAL_BILIRUBIN},
    {"Albumin", SIGNAL_ALBUMIN},
    {"Cholesterol", SIGNAL_CHOLESTEROL},
    {"TroponinI", SIGNAL_TROPONIN_I},
    {"TropI", SIGNAL_TROPONIN_I},
    {"TroponinT", SIGNAL_TROPONIN_T},
    {"TropT", SIGNAL_TROPONIN_T},
};

enum column {
    COLUMN_OTHER,
    COLUMN_SET,
    COLUMN_RECORD,
    COLUMN_TIME,
    COLUMN_PARAMETER,
    COLUMN_VALUE
};

static enum vg_status fail_row(struct source *source, const char *expected, struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: expected %s",
                   lines_path(source->lines), (unsigned long long)lines_number(source->lines),
                   expected);
}

static enum vg_status read_header(struct source *source, struct vg_err *err)
{
    static const struct {
        const char *name;
        int column;
    } names[] = {{"Set", COLUMN_SET},
                 {"RecordID", COLUMN_RECORD},
                 {"Time", COLUMN_TIME},
                 {"Parameter", COLUMN_PARAMETER},
                 {"Value", COLUMN_VALUE}};
    unsigned found = 0;
    struct vg_slice rest;
    enum vg_status st = lines_next(source->lines, &rest, err);

    if (st != VG_OK)
        return st == VG_END ? vg_fail(err, VG_REJECT, "train.header", 0, "'%s' is empty",
                                      lines_path(source->lines))
                            : st;
    source->column_count = 0;
    source->has_patient_column = false;
    memset(source->meaning, 0, sizeof(source->meaning));
    while (rest.ptr && source->column_count < COLUMNS_MAX) {
        struct vg_slice name = vg_slice_cut(&rest, ',');

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (vg_slice_is(name, names[i].name)) {
                source->meaning[source->column_count] = names[i].column;
                source->has_patient_column |= names[i].column == COLUMN_RECORD;
                found |= 1u << names[i].column;
            }
        }
        source->column_count++;
    }
    if (!(found & 1u << COLUMN_TIME) || !(found & 1u << COLUMN_PARAMETER) ||
        !(found & 1u << COLUMN_VALUE))
        return vg_fail(err, VG_REJECT, "train.header", 0,
                       "%s line 1: expected Set,RecordID,Time,Parameter,Value",
                       lines_path(source->lines));
    return VG_OK;
}

static enum vg_status read_outcomes(struct source *source, const char *path, struct vg_err *err)
{
    struct lines *lines = NULL;
    struct vg_slice line = {0}, rest;
    int record_column = -1, death_column = -1, column = 0;
    enum vg_status st = lines_open(path, &lines, err);

    if (st == VG_OK)
        st = lines_next(lines, &line, err);
    for (rest = line; st == VG_OK && rest.ptr; column++) {
        struct vg_slice name = vg_slice_cut(&rest, ',');

        if (vg_slice_is(name, "RecordID"))
            record_column = column;
        if (vg_slice_is(name, "In-hospital_death"))
            death_column = column;
    }
    if (st == VG_END || (st == VG_OK && (record_column < 0 || death_column < 0)))
        st = vg_fail(err, VG_REJECT, "train.header", 0,
                     "%s line 1: expected the columns RecordID and In-hospital_death", path);
    while (st == VG_OK && (st = lines_next(lines, &line, err)) == VG_OK) {
        struct outcome *outcome = vg_arena_alloc(&source->arena, sizeof(*outcome));
        struct vg_slice record = {0}, death = {0};
        bool is_ok = true;

        rest = line;
        for (column = 0; rest.ptr; column++) {
            struct vg_slice field = vg_slice_cut(&rest, ',');

            record = column == record_column ? field : record;
            death = column == death_column ? field : death;
        }
        if (!outcome || record.len == 0 || death.len != 1) {
            st = vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: expected an outcome", path,
                         (unsigned long long)lines_number(lines));
            break;
        }
        outcome->has_happened = death.ptr[0] == '1';
        (void)vg_map_put(&source->outcomes, record, outcome, &is_ok);
        if (!is_ok)
            st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for outcomes");
    }
    lines_close(lines);
    return st == VG_END ? VG_OK : st;
}

/* x_train.csv.xz has its outcomes in x_outcomes.csv.xz. */
static const char *find_outcomes(struct source *source)
{
    static const char *const names[] = {"_outcomes.csv.xz", "_outcomes.csv"};
    const char *path = source->files[0], *cut = strrchr(path, '_'), *folder = strrchr(path, '/');
    size_t stem = cut && (!folder || cut > folder) ? (size_t)(cut - path) : strlen(path);

    for (size_t i = 0; i < 2; i++) {
        struct vg_slice made = vg_arena_printf(&source->arena, "%.*s%s", (int)stem, path, names[i]);

        if (made.ptr && access(made.ptr, R_OK) == 0)
            return made.ptr;
    }
    return NULL;
}

static enum vg_status open_2012(struct source *source, struct vg_err *err)
{
    const char *outcomes = source->config.outcomes;
    enum vg_status st = VG_OK;

    if (source->file_count == 0)
        return vg_fail(err, VG_REJECT, "train.file", 0, "no file was named");
    if (!outcomes)
        outcomes = find_outcomes(source);
    source->has_outcomes = outcomes != NULL;
    if (outcomes)
        st = read_outcomes(source, outcomes, err);
    return st;
}

static bool minutes_of(struct vg_slice time, int64_t *ret)
{
    struct vg_slice rest = time, hours = vg_slice_cut(&rest, ':');
    int64_t h = 0, m = 0;

    if (!vg_slice_to_i64(hours, &h) || !vg_slice_to_i64(rest, &m) || h < 0 || h > 1000 || m < 0 ||
        m > 59)
        return false;
    *ret = h * 60 + m;
    return true;
}

static enum vg_status take_value(struct source *source, struct vg_slice parameter, double value,
                                 int64_t minute, struct vg_err *err)
{
    struct window_reading reading = {.vital = SIGNAL_COUNT};

    if (vg_slice_is(parameter, "Age")) {
        source->age_years = value > 0 ? value : (double)NAN;
        return VG_OK;
    }
    if (vg_slice_is(parameter, "Gender")) {
        source->sex = value >= 0 ? value : (double)NAN;
        return VG_OK;
    }
    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        if (vg_slice_is(parameter, parameters[i].name))
            reading.vital = parameters[i].signal;
    }
    if (reading.vital == SIGNAL_COUNT || value < 0 || minute > HOURS * 60 ||
        (value <= 0 && reading.vital != SIGNAL_URINE))
        return VG_OK;
    if (reading.vital == SIGNAL_FIO2 && value <= 1)
        value *= 100;
    if (value < vitals[reading.vital].min || value > vitals[reading.vital].max)
        return VG_OK;
    reading.value = value;
    reading.time_us = reading.received_us = SOURCE_START_US + minute * VG_MINUTE_US;
    return source_event(source, &reading, err);
}

/* One line; *ret_is_other: it is the next patient's, and was kept for it. */
static enum vg_status take_line(struct source *source, struct vg_slice line, bool *ret_is_other,
                                struct vg_err *err)
{
    struct vg_slice rest = line, fields[6] = {{0}};
    char id[WINDOW_ID_SIZE];
    double value = 0;
    int64_t minute = 0;
    size_t column = 0;

    *ret_is_other = false;
    for (; rest.ptr && column < source->column_count; column++)
        fields[source->meaning[column]] = vg_slice_cut(&rest, ',');
    if (column != source->column_count || rest.ptr)
        return fail_row(source, "as many fields as the header", err);
    if (!vg_slice_to_cstr(source->has_patient_column ? fields[COLUMN_RECORD]
                                                     : vg_slice_of(source->file_patient),
                          id, sizeof(id)) ||
        !id[0])
        return fail_row(source, "a RecordID", err);
    if (!source->patient[0]) {
        memcpy(source->patient, id, sizeof(id));
        source->hospital = fields[COLUMN_SET].len > 0 ? fields[COLUMN_SET].ptr[0] : 0;
    } else if (strcmp(id, source->patient) != 0) {
        if (!vg_slice_to_cstr(line, source->pending_line, sizeof(source->pending_line)))
            return fail_row(source, "a shorter line", err);
        *ret_is_other = true;
        return VG_OK;
    }
    if (fields[COLUMN_PARAMETER].len == 0 || fields[COLUMN_VALUE].len == 0)
        return VG_OK; /* a few rows name nothing */
    if (!minutes_of(fields[COLUMN_TIME], &minute) ||
        !vg_slice_to_double(fields[COLUMN_VALUE], &value))
        return fail_row(source, "HH:MM, a parameter and a number", err);
    return take_value(source, fields[COLUMN_PARAMETER], value, minute, err);
}

/* Reads all lines of the next patient. */
static enum vg_status read_patient(struct source *source, struct vg_err *err)
{
    struct vg_slice line;
    bool is_other = false;
    enum vg_status st = VG_OK;

    source->patient[0] = '\0';
    source->event_count = 0;
    source->age_years = source->sex = (double)NAN;
    if (source->has_pending) {
        source->has_pending = false;
        st = take_line(source, vg_slice_of(source->pending_line), &is_other, err);
    }
    while (st == VG_OK && !is_other) {
        if (!source->lines) {
            if (source->patient[0] && !source->has_patient_column)
                break;
            st = source_next_file(source, err);
            if (st == VG_OK)
                st = read_header(source, err);
            if (st != VG_OK)
                break;
        }
        st = lines_next(source->lines, &line, err);
        if (st == VG_OK)
            st = take_line(source, line, &is_other, err);
        if (st == VG_END) {
            lines_close(source->lines);
            source->lines = NULL;
            st = VG_OK;
        }
    }
    source->has_pending = is_other;
    if (st == VG_END && source->patient[0])
        st = VG_OK;
    return st;
}

static enum vg_status next_2012(struct source *source, struct source_row *row, struct vg_err *err)
{
    if (source->hour == source->hour_count) {
        enum vg_status st = read_patient(source, err);

        if (st != VG_OK)
            return st;
        source_sort_events(source);
        source->outcome = vg_map_get(&source->outcomes, vg_slice_of(source->patient));
        source->hour = 0;
        source->hour_count = HOURS;
        source->start_us = SOURCE_START_US;
    }
    source_hourly_row(source, row);
    row->has_label = source->outcome != NULL;
    row->label = source->outcome && source->outcome->has_happened;
    return VG_OK;
}

const struct source_ops source_2012 = {open_2012, next_2012};
