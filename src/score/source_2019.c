/* source_2019.c -- the hourly records of the PhysioNet/CinC Challenge 2019.
 *
 * Text: a header line, then rows of fields between '|', sorted by patient and hour; an empty field
 * or NaN is no value. Either all patients in one file with a column Patient (and Set, the
 * hospital), or the challenge's own form: a file for each patient, named after it. Hours are
 * gapless. ICULOS names the row, it is no feature; HospAdmTime and Unit are not read at all.
 */
#include "score/source_int.h"

#include <math.h>
#include <stdio.h>

enum column {
    COLUMN_IGNORED,
    COLUMN_PATIENT,
    COLUMN_HOSPITAL,
    COLUMN_AGE,
    COLUMN_SEX,
    COLUMN_HOUR,
    COLUMN_LABEL,
    COLUMN_SIGNAL /* + enum signal */
};

static const struct {
    const char *name;
    int column;
    bool is_required;
} columns[] = {
    {"Patient", COLUMN_PATIENT, false},
    {"Set", COLUMN_HOSPITAL, false},
    {"HR", COLUMN_SIGNAL + SCORE_PULSE, true},
    {"O2Sat", COLUMN_SIGNAL + SCORE_SPO2, true},
    {"Temp", COLUMN_SIGNAL + SCORE_TEMPERATURE, true},
    {"SBP", COLUMN_SIGNAL + SCORE_SYSTOLIC, true},
    {"MAP", COLUMN_SIGNAL + SCORE_MEAN_PRESSURE, false},
    {"DBP", COLUMN_SIGNAL + SCORE_DIASTOLIC, false},
    {"Resp", COLUMN_SIGNAL + SCORE_RESPIRATION, true},
    {"EtCO2", COLUMN_SIGNAL + SIGNAL_ETCO2, false},
    {"BaseExcess", COLUMN_SIGNAL + SIGNAL_BASE_EXCESS, false},
    {"HCO3", COLUMN_SIGNAL + SIGNAL_HCO3, false},
    {"FiO2", COLUMN_SIGNAL + SIGNAL_FIO2, false},
    {"pH", COLUMN_SIGNAL + SIGNAL_PH, false},
    {"PaCO2", COLUMN_SIGNAL + SIGNAL_PACO2, false},
    {"SaO2", COLUMN_SIGNAL + SIGNAL_SAO2, false},
    {"AST", COLUMN_SIGNAL + SIGNAL_AST, false},
    {"BUN", COLUMN_SIGNAL + SIGNAL_BUN, false},
    {"Alkalinephos", COLUMN_SIGNAL + SIGNAL_ALP, false},
    {"Calcium", COLUMN_SIGNAL + SIGNAL_CALCIUM, false},
    {"Chloride", COLUMN_SIGNAL + SIGNAL_CHLORIDE, false},
    {"Creatinine", COLUMN_SIGNAL + SIGNAL_CREATININE, false},
    {"Bilirubin_direct", COLUMN_SIGNAL + SIGNAL_BILIRUBIN_DIRECT, false},
    {"Glucose", COLUMN_SIGNAL + SIGNAL_GLUCOSE, false},
    {"Lactate", COLUMN_SIGNAL + SIGNAL_LACTATE, false},
    {"Magnesium", COLUMN_SIGNAL + SIGNAL_MAGNESIUM, false},
    {"Phosphate", COLUMN_SIGNAL + SIGNAL_PHOSPHATE, false},
    {"Potassium", COLUMN_SIGNAL + SIGNAL_POTASSIUM, false},
    {"Bilirubin_total", COLUMN_SIGNAL + SIGNAL_BILIRUBIN, false},
    {"TroponinI", COLUMN_SIGNAL + SIGNAL_TROPONIN_I, false},
    {"Hct", COLUMN_SIGNAL + SIGNAL_HCT, false},
    {"Hgb", COLUMN_SIGNAL + SIGNAL_HGB, false},
    {"PTT", COLUMN_SIGNAL + SIGNAL_PTT, false},
    {"WBC", COLUMN_SIGNAL + SIGNAL_WBC, false},
    {"Fibrinogen", COLUMN_SIGNAL + SIGNAL_FIBRINOGEN, false},
    {"Platelets", COLUMN_SIGNAL + SIGNAL_PLATELETS, false},
    {"Age", COLUMN_AGE, true},
    {"Gender", COLUMN_SEX, true},
    {"ICULOS", COLUMN_HOUR, false},
    {"SepsisLabel", COLUMN_LABEL, false},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static enum vg_status read_header(struct source *source, struct vg_err *err)
{
    bool has[COLUMN_COUNT] = {false};
    struct vg_slice rest;
    enum vg_status st = lines_next(source->lines, &rest, err);

    if (st != VG_OK)
        return st == VG_END ? vg_fail(err, VG_REJECT, "train.header", 0, "'%s' is empty",
                                      lines_path(source->lines))
                            : st;
    source->column_count = 0;
    source->has_patient_column = source->has_label_column = false;
    memset(source->meaning, 0, sizeof(source->meaning));
    while (rest.ptr && source->column_count < COLUMNS_MAX) {
        struct vg_slice name = vg_slice_cut(&rest, '|');

        for (size_t i = 0; i < COLUMN_COUNT; i++) {
            if (vg_slice_is(name, columns[i].name)) {
                source->meaning[source->column_count] = columns[i].column;
                source->has_patient_column |= columns[i].column == COLUMN_PATIENT;
                source->has_label_column |= columns[i].column == COLUMN_LABEL;
                has[i] = true;
            }
        }
        source->column_count++;
    }
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if (!has[i] && columns[i].is_required)
            return vg_fail(err, VG_REJECT, "train.header", 0,
                           "%s line 1: the column %s is missing (expected Patient|HR|O2Sat|…)",
                           lines_path(source->lines), columns[i].name);
    }
    source->patient[0] = '\0'; /* a file begins a patient */
    return VG_OK;
}

static enum vg_status open_2019(struct source *source, struct vg_err *err)
{
    enum vg_status st = source_next_file(source, err);

    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "train.file", 0, "no file was named");
    return st == VG_OK ? read_header(source, err) : st;
}

/* FiO2 is charted as a fraction or in %, with much that is neither. */
static double clean(int signal, double value)
{
    if (signal == SIGNAL_FIO2 && value > 0 && value <= 1)
        value *= 100;
    return value >= vitals[signal].min && value <= vitals[signal].max ? value : (double)NAN;
}

static enum vg_status next_2019(struct source *source, struct source_row *row, struct vg_err *err)
{
    struct vg_slice rest, line;
    size_t column = 0;
    enum vg_status st;

    while ((st = lines_next(source->lines, &line, err)) == VG_END) {
        st = source_next_file(source, err);
        if (st == VG_OK)
            st = read_header(source, err);
        if (st != VG_OK)
            return st;
    }
    if (st != VG_OK)
        return st;
    if (!source->has_patient_column)
        memcpy(row->patient, source->file_patient, sizeof(row->patient));

    row->hour = -1;
    rest = line;
    for (; rest.ptr && column < source->column_count; column++) {
        struct vg_slice field = vg_slice_cut(&rest, '|');
        int meaning = source->meaning[column];
        double number = (double)NAN;

        if (meaning == COLUMN_IGNORED || field.len == 0)
            continue;
        if (meaning == COLUMN_PATIENT) {
            if (!vg_slice_to_cstr(field, row->patient, sizeof(row->patient)))
                break;
            continue;
        }
        if (meaning == COLUMN_HOSPITAL) {
            row->hospital = field.ptr[0];
            continue;
        }
        if (vg_slice_is(field, "NaN"))
            continue;
        if (!vg_slice_to_double(field, &number))
            break;
        if (meaning == COLUMN_AGE) {
            row->age_years = number;
        } else if (meaning == COLUMN_SEX) {
            row->sex = number;
        } else if (meaning == COLUMN_HOUR) {
            row->hour = number > -1e9 && number < 1e9 ? (int64_t)number : 0;
        } else if (meaning == COLUMN_LABEL) {
            row->label = number > 0.5;
            row->has_label = true;
        } else {
            int signal = meaning - COLUMN_SIGNAL;

            number = clean(signal, number);
            if (!isnan(number) && row->reading_count < SOURCE_READINGS_MAX)
                source->readings[row->reading_count++] =
                    (struct window_reading){.vital = signal, .value = number};
        }
    }
    if (column != source->column_count || rest.ptr || !row->patient[0])
        return vg_fail(err, VG_REJECT, "train.row", 0,
                       "%s line %llu, column %zu: expected %zu fields, the patient named and "
                       "numbers elsewhere",
                       lines_path(source->lines), (unsigned long long)lines_number(source->lines),
                       column + 1, source->column_count);

    row->is_new_patient = strcmp(row->patient, source->patient) != 0;
    memcpy(source->patient, row->patient, sizeof(source->patient));
    source->row_of_patient = row->is_new_patient ? 0 : source->row_of_patient + 1;
    row->time_us = SOURCE_START_US + source->row_of_patient * VG_HOUR_US;
    if (row->hour < 0)
        row->hour = source->row_of_patient + 1;
    for (size_t i = 0; i < row->reading_count; i++)
        source->readings[i].time_us = source->readings[i].received_us = row->time_us;
    row->readings = source->readings;
    return VG_OK;
}

const struct source_ops source_2019 = {open_2019, next_2019};
