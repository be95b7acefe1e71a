/* source.h -- recorded patients for training and evaluation, in the order of events.
 *
 * Whatever the format, a source is rows: one for each hour of each patient, with the readings that
 * came since the patient's row before. They go through the live window like a device's.
 */
#ifndef VG_SCORE_SOURCE_H
#define VG_SCORE_SOURCE_H

#include "lake/lake.h"
#include "score/vitals.h"
#include "score/window.h"

#define SOURCE_READINGS_MAX 4096 /* of one row */

struct source_row {
    char patient[WINDOW_ID_SIZE];
    char hospital; /* 'A', 'B'; 0 = not known */
    bool is_new_patient, is_last_row;
    bool has_label, label;
    double age_years, sex; /* NaN = not known; sex: 1 male, 0 female */
    int64_t hour;          /* as the file counts them */
    int64_t time_us;
    const struct window_reading *readings; /* none later than time_us; until the next call */
    size_t reading_count;
};

struct source_config {
    const char *format;       /* physionet2019, physionet2012, lake */
    const char *const *paths; /* files, or folders of files */
    size_t path_count;
    const char *outcomes; /* physionet2012: the file of outcomes; NULL: beside the first file */
    struct lake *lake;    /* lake: whose patients `paths` lists with their outcomes */
};

struct source;

/* What is known of a format. */
struct source_format {
    const char *name;
    const char *outcome;      /* "sepsis" */
    double horizon_hours;     /* of the label */
    bool is_by_patient;       /* one outcome for each patient: judged on the last row */
    bool has_utility;         /* the 2019 challenge's */
    int train_every_hours;    /* rows that training takes */
    const char *label, *text; /* for the card */
    const char *citation, *licence;
};
const struct source_format *source_format_of(const char *name); /* NULL: no such format */

/* The config's texts are borrowed. VG_REJECT train.format, train.file, train.header, train.row. */
VG_CHECK enum vg_status source_open(const struct source_config *config, struct source **ret_source,
                                    struct vg_err *err);
VG_CHECK enum vg_status source_next(struct source *source, struct source_row *ret_row,
                                    struct vg_err *err); /* VG_END: no more */
double source_done(const struct source *source);         /* 0 to 1 */
void source_close(struct source *source);                /* NULL is fine */

#endif
