/* source_int.h -- what each format of recorded patients does. Private to source*.c. */
#ifndef VG_SCORE_SOURCE_INT_H
#define VG_SCORE_SOURCE_INT_H

#include "base/arena.h"
#include "base/map.h"
#include "score/lines.h"
#include "score/source.h"

#define SOURCE_START_US (10000 * VG_DAY_US) /* challenges tell no dates */
#define COLUMNS_MAX 128

struct source_ops {
    enum vg_status (*open)(struct source *source, struct vg_err *err);
    enum vg_status (*next)(struct source *source, struct source_row *row, struct vg_err *err);
};

struct outcome {
    bool has_happened;
    int64_t time_us; /* lake alone */
};

struct source {
    struct source_config config;
    const struct source_format *format;
    const struct source_ops *ops;
    struct vg_arena arena; /* paths, patients, outcomes */
    const char **files;
    size_t file_count, file_at;
    struct lines *lines; /* NULL: the next file is to be opened */

    struct window_reading readings[SOURCE_READINGS_MAX];
    char patient[WINDOW_ID_SIZE];
    int64_t row_of_patient;

    /* physionet2019, physionet2012: what each column means */
    size_t column_count;
    int meaning[COLUMNS_MAX];
    bool has_patient_column, has_label_column;
    char file_patient[WINDOW_ID_SIZE]; /* of a file that holds one patient */

    /* physionet2012, lake: one patient at a time */
    struct window_reading *events;
    size_t event_count, event_capacity, event_at;
    int64_t hour, hour_count, start_us;
    double age_years, sex;
    struct outcome *outcome; /* of the patient at hand; NULL = not known */
    char hospital;
    bool has_pending, is_at_end;
    char pending[WINDOW_ID_SIZE]; /* the patient of the line that was read ahead */
    char pending_line[256];
    struct vg_map outcomes;
    bool has_outcomes;

    /* lake: the patients listed, in their order */
    char (*listed)[WINDOW_ID_SIZE];
    size_t listed_count, listed_at;
};

extern const struct source_ops source_2019, source_2012, source_lake;

/* Opens the next file of config.paths. VG_END: there is none. */
enum vg_status source_next_file(struct source *source, struct vg_err *err);

/* The patient's events in order, then rows of an hour from source->hour on. */
enum vg_status source_event(struct source *source, const struct window_reading *reading,
                            struct vg_err *err);
void source_sort_events(struct source *source);
void source_hourly_row(struct source *source, struct source_row *row);

#endif
