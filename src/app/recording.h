/* recording.h -- recorded vital signs of real patients, read into the simulator's readings.
 *
 * Two formats, told apart by the header line:
 *   PhysioNet/CinC Challenge 2019: fields between '|', one row an hour (column ICULOS, where there
 * is one), one file for a patient or many behind each other (column Patient); BIDMC numerics:
 * fields between ',', column "Time [s]". An empty field or NaN is no value. Rows without any value
 * are left out.
 */
#ifndef VG_APP_RECORDING_H
#define VG_APP_RECORDING_H

#include "app/ward.h"

#include <stdio.h>

#define RECORDING_ROWS_MAX 1000000u

struct recording {
    struct reading *rows; /* time_us: since the recording's own beginning */
    size_t count;
};

/* `patient`: the text in the column Patient, or which one from 1; NULL = the first. VG_REJECT
 * replay.header, replay.row (names the line), replay.patient (not in the file), replay.empty. */
VG_CHECK enum vg_status recording_read(FILE *file, const char *patient,
                                       struct recording *ret_recording, struct vg_err *err);
void recording_fini(struct recording *recording);

#endif
