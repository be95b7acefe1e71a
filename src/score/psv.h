/* psv.h -- the hourly records of the PhysioNet/CinC Challenge 2019, one row at a time.
 *
 * One text file: a header line, then rows of fields between '|', sorted by patient and hour; an
 * empty field or NaN is no value. Files that end in .xz are read through `xz -dc`.
 */
#ifndef VG_SCORE_PSV_H
#define VG_SCORE_PSV_H

#include "score/vitals.h"

struct psv;

struct psv_row {
    char patient[32];
    char hospital; /* the Set column: 'A', 'B'; 0 = none */
    bool is_new_patient;
    double value[SCORE_VITAL_COUNT]; /* NaN = not measured, or not plausible */
    double age_years, sex;           /* NaN = not known; sex: 1 male, 0 female */
    bool label;
};

/* VG_REJECT train.file, train.header. */
VG_CHECK enum vg_status psv_open(const char *path, struct psv **ret_psv, struct vg_err *err);
void psv_close(struct psv *psv); /* NULL is fine */

/* VG_END: the whole file was read, and xz said that it was whole. VG_REJECT train.row: names the
 * line. */
VG_CHECK enum vg_status psv_next(struct psv *psv, struct psv_row *ret_row, struct vg_err *err);

double psv_done(const struct psv *psv); /* 0 to 1: how much of the file was read */

#endif
