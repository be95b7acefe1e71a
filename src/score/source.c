/* source.c -- the formats of recorded patients, and what they have in common. */
#include "score/source_int.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILES_MAX 100000
#define EVENTS_MAX 4000000

static const struct source_format formats[] = {
    {
        .name = "physionet2019",
        .outcome = "sepsis",
        .horizon_hours = 6,
        .has_utility = true,
        .train_every_hours = 1,
        .label = "1 from 6 h before the onset of sepsis (Sepsis-3, as the challenge defined it) to "
                 "the record's end",
        .text = "PhysioNet/CinC Challenge 2019 v1.0.0, training sets A (Beth Israel Deaconess, "
                "Boston) and B (Emory, Atlanta): stays in intensive care, hourly; "
                "doi 10.13026/v64v-d857",
        .citation = "Reyna MA et al. Early Prediction of Sepsis From Clinical Data: the "
                    "PhysioNet/Computing in Cardiology Challenge 2019. Crit Care Med 2020; "
                    "doi 10.1097/CCM.0000000000004145",
        .licence = "CC BY 4.0",
    },
    {
        .name = "physionet2012",
        .outcome = "death in hospital",
        .horizon_hours = 720,
        .is_by_patient = true,
        .train_every_hours = 12,
        .label = "1 for patients who died in hospital",
        .text = "PhysioNet/CinC Challenge 2012, sets a and b: the first 48 h in intensive care "
                "(Beth Israel Deaconess, Boston), irregular times; doi 10.13026/C23W2R",
        .citation = "Silva I et al. Predicting In-Hospital Mortality of ICU Patients: The "
                    "PhysioNet/Computing in Cardiology Challenge 2012. Comput Cardiol 2012",
        .licence = "ODC-By 1.0",
    },
    {
        .name = "lake",
        .outcome = "the listed outcome",
        .horizon_hours = 6,
        .train_every_hours = 1,
        .label = "1 from 6 h before to 3 h after the listed time of the patient's outcome",
        .text = "this installation's lake, patients and outcomes as listed",
        .citation = "none",
        .licence = "the hospital's own data",
    },
};
static const struct source_ops *const format_ops[] = {&source_2019, &source_2012, &source_lake};

const struct source_format *source_format_of(const char *name)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    }
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_data_file(const char *name)
{
    static const char *const ends[] = {".psv", ".psv.xz", ".csv", ".csv.xz", ".txt"};
    size_t len = strlen(name);

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t end = strlen(ends[i]);

        if (name[0] != '.' && len > end && strcmp(name + len - end, ends[i]) == 0)
            return true;
    }
    return false;
}

static enum vg_status add_file(struct source *source, const char *path, struct vg_err *err)
{
    if (source->file_count == FILES_MAX)
        return vg_fail(err, VG_REJECT, "train.file", 0, "more than %d files", FILES_MAX);
    source->files[source->file_count++] = path;
    return VG_OK;
}

static enum vg_status add_folder(struct source *source, const char *path, struct vg_err *err)
{
    size_t first = source->file_count;
    DIR *dir = opendir(path);
    struct dirent *entry;
    enum vg_status st = VG_OK;

    if (!dir)
        return vg_fail(err, VG_REJECT, "train.file", errno, "cannot open '%s'", path);
    while (st == VG_OK && (entry = readdir(dir))) {
        if (is_data_file(entry->d_name)) {
            struct vg_slice file = vg_arena_printf(&source->arena, "%s/%s", path, entry->d_name);

            st = file.ptr ? add_file(source, file.ptr, err)
                          : vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for file names");
        }
    }
    (void)closedir(dir);
    if (st == VG_OK && source->file_count == first)
        st =
            vg_fail(err, VG_REJECT, "train.file", 0, "'%s' holds no .psv, .csv or .txt file", path);
    qsort(source->files + first, source->file_count - first, sizeof(*source->files), by_name);
    return st;
}

enum vg_status source_open(const struct source_config *config, struct source **ret_source,
                           struct vg_err *err)
{
    struct source *source = calloc(1, sizeof(*source));
    enum vg_status st = VG_OK;

    if (!source)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for a reader");
    source->config = *config;
    source->format = config->format ? source_format_of(config->format) : NULL;
    vg_arena_init(&source->arena, (size_t)256 << 20);
    vg_map_init(&source->outcomes);
    source->files = calloc(FILES_MAX, sizeof(*source->files));
    if (!source->files)
        st = vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for file names");
    else if (!source->format)
        st = vg_fail(err, VG_REJECT, "train.format", 0,
                     "no format '%s'; there are physionet2019, physionet2012 and lake",
                     config->format ? config->format : "");
    for (size_t i = 0; i < config->path_count && st == VG_OK; i++) {
        struct stat stat_of;

        if (stat(config->paths[i], &stat_of) == 0 && S_ISDIR(stat_of.st_mode))
            st = add_folder(source, config->paths[i], err);
        else
            st = add_file(source, config->paths[i], err);
    }
    if (st == VG_OK) {
        source->ops = format_ops[source->format - formats];
        st = source->ops->open(source, err);
    }
    if (st == VG_OK) {
        *ret_source = source;
        source = NULL;
    }
    source_close(source);
    return st;
}

void source_close(struct source *source)
{
    if (!source)
        return;
    lines_close(source->lines);
    vg_map_fini(&source->outcomes, NULL);
    vg_arena_fini(&source->arena);
    free(source->files);
    free(source->events);
    free(source->listed);
    free(source);
}

enum vg_status source_next(struct source *source, struct source_row *ret_row, struct vg_err *err)
{
    *ret_row = (struct source_row){.age_years = (double)NAN, .sex = (double)NAN};
    return source->ops->next(source, ret_row, err);
}

double source_done(const struct source *source)
{
    double of_file = source->lines ? lines_done(source->lines) : 0;

    if (source->listed_count > 0)
        return (double)source->listed_at / (double)source->listed_count;
    if (source->file_count == 0 || (!source->lines && source->file_at == source->file_count))
        return 1;
    return ((double)(source->file_at > 0 ? source->file_at - 1 : 0) + of_file) /
           (double)source->file_count;
}

enum vg_status source_next_file(struct source *source, struct vg_err *err)
{
    const char *path, *name, *end;

    lines_close(source->lines);
    source->lines = NULL;
    if (source->file_at == source->file_count)
        return VG_END;
    path = source->files[source->file_at++];
    name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    end = strchr(name, '.') ? strchr(name, '.') : name + strlen(name);
    if (!vg_slice_to_cstr((struct vg_slice){name, (size_t)(end - name)}, source->file_patient,
                          sizeof(source->file_patient)))
        source->file_patient[0] = '\0';
    return lines_open(path, &source->lines, err);
}

/* ---- events, for formats with times of their own ---- */

enum vg_status source_event(struct source *source, const struct window_reading *reading,
                            struct vg_err *err)
{
    if (source->event_count == source->event_capacity) {
        size_t capacity = source->event_capacity ? source->event_capacity * 2 : 1024;
        struct window_reading *events =
            capacity > EVENTS_MAX ? NULL
                                  : realloc(source->events, capacity * sizeof(*source->events));

        if (!events)
            return vg_fail(err, VG_REJECT, "train.row", 0, "a patient has more than %d values",
                           EVENTS_MAX / 2);
        source->events = events;
        source->event_capacity = capacity;
    }
    source->events[source->event_count++] = *reading;
    return VG_OK;
}

static int by_time(const void *a, const void *b)
{
    const struct window_reading *x = a, *y = b;

    if (x->time_us != y->time_us)
        return x->time_us < y->time_us ? -1 : 1;
    if (x->vital != y->vital)
        return x->vital - y->vital;
    return (x->value > y->value) - (x->value < y->value);
}

void source_sort_events(struct source *source)
{
    qsort(source->events, source->event_count, sizeof(*source->events), by_time);
    source->event_at = 0;
}

void source_hourly_row(struct source *source, struct source_row *row)
{
    size_t first = source->event_at;

    source->hour++;
    row->time_us = source->start_us + source->hour * VG_HOUR_US;
    while (source->event_at < source->event_count &&
           source->events[source->event_at].time_us <= row->time_us &&
           source->event_at - first < SOURCE_READINGS_MAX)
        source->event_at++;
    memcpy(row->patient, source->patient, sizeof(row->patient));
    row->readings = source->events + first;
    row->reading_count = source->event_at - first;
    row->is_new_patient = source->hour == 1;
    row->is_last_row = source->hour == source->hour_count;
    row->age_years = source->age_years;
    row->sex = source->sex;
    row->hospital = source->hospital;
    row->hour = source->hour;
}
