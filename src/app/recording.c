/* recording.c -- recorded vital signs, row by row: PhysioNet 2019 PSV and BIDMC numerics CSV. */
#include "app/recording.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>

#define LINE_BYTES_MAX 8192
#define COLUMNS_MAX 128
#define TIME_MAX_S 1e9

/* What a column is to us. */
enum column {
    IGNORED,
    PATIENT,
    HOUR,
    SECOND,
    HR,
    PULSE, /* stands in for HR */
    RR,
    SPO2,
    SYS,
    DIA,
    MAP,
    TEMP,
};

static const struct {
    const char *name;
    enum column column;
} names[] = {
    {"Patient", PATIENT}, {"ICULOS", HOUR}, {"Time [s]", SECOND}, {"HR", HR},     {"PULSE", PULSE},
    {"Resp", RR},         {"RESP", RR},     {"O2Sat", SPO2},      {"SpO2", SPO2}, {"SBP", SYS},
    {"DBP", DIA},         {"MAP", MAP},     {"Temp", TEMP},
};

struct reader {
    FILE *file;
    char line[LINE_BYTES_MAX];
    unsigned number; /* of the line */
    char separator;
    enum column columns[COLUMNS_MAX];
    size_t column_count;
    size_t capacity;
    double row_time_s; /* where no column has it: an hour a row */
    char patient[64];  /* of the row before */
    size_t patient_number;
};

/* VG_END at the end of the file. */
static enum vg_status line_read(struct reader *reader, struct vg_slice *ret_line,
                                struct vg_err *err)
{
    size_t len;

    if (!fgets(reader->line, sizeof(reader->line), reader->file)) {
        if (ferror(reader->file))
            return vg_fail(err, VG_REJECT, "replay.file", 0, "the file cannot be read");
        return VG_END;
    }
    reader->number++;
    len = strlen(reader->line);
    if (len + 1 == sizeof(reader->line))
        return vg_fail(err, VG_REJECT, "replay.row", 0, "line %u is longer than %d bytes",
                       reader->number, LINE_BYTES_MAX - 2);
    *ret_line = vg_slice_trim((struct vg_slice){reader->line, len});
    return VG_OK;
}

static enum vg_status header_read(struct reader *reader, struct vg_err *err)
{
    struct vg_slice rest;
    bool is_any = false;
    enum vg_status st = line_read(reader, &rest, err);

    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "replay.empty", 0, "the file is empty");
    if (st != VG_OK)
        return st;
    reader->separator = memchr(rest.ptr, '|', rest.len) ? '|' : ',';
    while (rest.ptr && rest.len && reader->column_count < COLUMNS_MAX) {
        struct vg_slice name = vg_slice_trim(vg_slice_cut(&rest, reader->separator));
        enum column column = IGNORED;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (vg_slice_is(name, names[i].name))
                column = names[i].column;
        is_any = is_any || column >= HR;
        reader->columns[reader->column_count++] = column;
    }
    if (!is_any)
        return vg_fail(err, VG_REJECT, "replay.header", 0,
                       "line 1: expected a header with columns such as HR, O2Sat, Resp or SpO2");
    return VG_OK;
}

/* Fills what a row holds; *ret_patient is "" where the file has no such column. */
static enum vg_status row_parse(struct reader *reader, struct vg_slice rest, struct reading *row,
                                struct vg_slice *ret_patient, double *ret_time_s,
                                struct vg_err *err)
{
    double *const places[] = {
        [HOUR] = ret_time_s, [SECOND] = ret_time_s, [HR] = &row->hr,   [PULSE] = &row->hr,
        [RR] = &row->rr,     [SPO2] = &row->spo2,   [SYS] = &row->sys, [DIA] = &row->dia,
        [MAP] = &row->map,   [TEMP] = &row->temp,
    };

    for (size_t i = 0; i < reader->column_count; i++) {
        struct vg_slice field = vg_slice_trim(vg_slice_cut(&rest, reader->separator));
        enum column column = reader->columns[i];
        double value = NAN;

        if (column == PATIENT)
            *ret_patient = field;
        if (column <= PATIENT || field.len == 0 || vg_slice_eq_nocase(field, VG_SLICE("nan")))
            continue;
        if (!vg_slice_to_double(field, &value))
            return vg_fail(err, VG_REJECT, "replay.row", 0,
                           "line %u, column %zu: expected a number, found '%.*s'", reader->number,
                           i + 1, (int)(field.len < 40 ? field.len : 40), field.ptr);
        if (column == PULSE && isfinite(row->hr))
            continue;
        *places[column] = column == HOUR ? value * 3600 : value;
    }
    if (!(fabs(*ret_time_s) < TIME_MAX_S))
        return vg_fail(err, VG_REJECT, "replay.row", 0, "line %u: no time, or an impossible one",
                       reader->number);
    return VG_OK;
}

static enum vg_status row_keep(struct reader *reader, struct recording *recording,
                               const struct reading *row, struct vg_err *err)
{
    if (recording->count && row->time_us < recording->rows[recording->count - 1].time_us)
        return vg_fail(err, VG_REJECT, "replay.row", 0, "line %u: time goes backwards",
                       reader->number);
    if (recording->count == reader->capacity) {
        size_t capacity = reader->capacity ? reader->capacity * 2 : 256;
        struct reading *grown = capacity <= RECORDING_ROWS_MAX * 2
                                    ? realloc(recording->rows, capacity * sizeof(*grown))
                                    : NULL;

        if (!grown)
            return vg_fail(err, VG_REJECT, "replay.row", 0, "line %u: too many rows",
                           reader->number);
        recording->rows = grown;
        reader->capacity = capacity;
    }
    recording->rows[recording->count++] = *row;
    return VG_OK;
}

static bool has_value(const struct reading *row)
{
    const double values[] = {row->hr, row->rr, row->spo2, row->sys, row->dia, row->map, row->temp};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (isfinite(values[i]))
            return true;
    return false;
}

/* Is this row's patient the one that is wanted? *ret_is_past: it was, before. */
static bool is_wanted(struct reader *reader, struct vg_slice patient, const char *wanted,
                      bool is_any_kept, bool *ret_is_past)
{
    uint64_t number = 1;
    bool fits;

    if (reader->patient_number == 0 || !vg_slice_is(patient, reader->patient)) {
        reader->patient_number++;
        reader->row_time_s = 0;
        (void)vg_slice_to_cstr(patient, reader->patient, sizeof(reader->patient));
    }
    if (!wanted || vg_slice_to_u64(vg_slice_of(wanted), &number))
        fits = reader->patient_number == number;
    else
        fits = strcmp(reader->patient, wanted) == 0;
    *ret_is_past = is_any_kept && !fits;
    return fits;
}

enum vg_status recording_read(FILE *file, const char *patient, struct recording *ret_recording,
                              struct vg_err *err)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    struct recording recording = {0};
    bool is_past = false, is_found = false;
    enum vg_status st;

    if (!reader)
        return vg_fail(err, VG_RETRY, "replay.memory", 0, "no memory to read a recording");
    reader->file = file;
    st = header_read(reader, err);
    while (st == VG_OK && !is_past) {
        struct reading row = reading_empty;
        struct vg_slice line, whose = {"", 0};
        double time_s;

        st = line_read(reader, &line, err);
        if (st != VG_OK || line.len == 0)
            continue;
        time_s = reader->row_time_s;
        st = row_parse(reader, line, &row, &whose, &time_s, err);
        if (st != VG_OK || !is_wanted(reader, whose, patient, is_found, &is_past))
            continue;
        is_found = true;
        reader->row_time_s += 3600;
        row.time_us = (int64_t)(time_s * 1e6);
        if (has_value(&row))
            st = row_keep(reader, &recording, &row, err);
    }
    free(reader);
    if (st == VG_END || st == VG_OK)
        st = recording.count ? VG_OK
             : is_found      ? vg_fail(err, VG_REJECT, "replay.empty", 0, "no row with a value")
                             : vg_fail(err, VG_REJECT, "replay.patient", 0,
                                       "patient '%s' is not in the file", patient ? patient : "1");
    if (st == VG_OK)
        *ret_recording = recording;
    else
        recording_fini(&recording);
    return st;
}

void recording_fini(struct recording *recording)
{
    free(recording->rows);
    *recording = (struct recording){0};
}
