/* psv.c -- reads the challenge's rows, compressed or not.
 *
 * An .xz file is given to `xz -dc` as its standard input, without a shell and without its name on a
 * command line: no name can be taken for an option or a command. We keep the same open file, so
 * its offset tells how far xz has read, which is the progress. A damaged or cut archive is known by
 * xz's exit status and fails the whole read: a model is not trained on half a file unnoticed.
 */
#include "score/psv.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_SIZE 4096
#define COLUMNS_MAX 128

extern char **environ;

enum column {
    COLUMN_IGNORED,
    COLUMN_PATIENT,
    COLUMN_HOSPITAL,
    COLUMN_AGE,
    COLUMN_SEX,
    COLUMN_LABEL,
    COLUMN_VITAL /* + enum score_vital */
};

static const struct {
    const char *name;
    int column;
    bool is_required;
} columns[] = {
    {"Patient", COLUMN_PATIENT, true},
    {"Set", COLUMN_HOSPITAL, false},
    {"HR", COLUMN_VITAL + SCORE_PULSE, true},
    {"O2Sat", COLUMN_VITAL + SCORE_SPO2, true},
    {"Temp", COLUMN_VITAL + SCORE_TEMPERATURE, true},
    {"SBP", COLUMN_VITAL + SCORE_SYSTOLIC, true},
    {"MAP", COLUMN_VITAL + SCORE_MEAN_PRESSURE, false},
    {"DBP", COLUMN_VITAL + SCORE_DIASTOLIC, false},
    {"Resp", COLUMN_VITAL + SCORE_RESPIRATION, true},
    {"Age", COLUMN_AGE, true},
    {"Gender", COLUMN_SEX, true},
    {"SepsisLabel", COLUMN_LABEL, true},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

struct psv {
    const char *path;
    int file_fd; /* shares its offset with xz */
    FILE *text;
    pid_t xz; /* 0 = none */
    off_t size_bytes;
    uint64_t line;
    size_t column_count;
    int meaning[COLUMNS_MAX];
    char patient[32];
    char buf[LINE_SIZE];
};

static enum vg_status start_xz(struct psv *psv, struct vg_err *err)
{
    char *argv[] = {(char[]){"xz"}, (char[]){"-dc"}, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], rc;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return vg_fail(err, VG_RETRY, "train.pipe", errno, "no pipe");
    rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&actions, psv->file_fd, 0);
        if (rc == 0)
            rc = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (rc == 0)
            rc = posix_spawnp(&psv->xz, "xz", &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(ends[1]);
    if (rc == 0)
        psv->text = fdopen(ends[0], "r");
    if (rc != 0 || !psv->text) {
        (void)close(ends[0]);
        return vg_fail(err, VG_REJECT, "train.xz", rc, "cannot start xz to read '%s'", psv->path);
    }
    return VG_OK;
}

/* The next line without its end, in psv->buf. */
static enum vg_status read_line(struct psv *psv, struct vg_err *err)
{
    size_t len;
    int status = 0;

    if (!fgets(psv->buf, sizeof(psv->buf), psv->text)) {
        if (ferror(psv->text))
            return vg_fail(err, VG_REJECT, "train.file", errno, "cannot read '%s'", psv->path);
        if (psv->xz) {
            pid_t xz = psv->xz;

            psv->xz = 0;
            if (waitpid(xz, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return vg_fail(err, VG_REJECT, "train.xz", 0, "xz says that '%s' is damaged",
                               psv->path);
        }
        return VG_END;
    }
    psv->line++;
    len = strlen(psv->buf);
    if (len + 1 == sizeof(psv->buf) && psv->buf[len - 1] != '\n')
        return vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: longer than %d bytes",
                       psv->path, (unsigned long long)psv->line, LINE_SIZE - 2);
    while (len > 0 && (psv->buf[len - 1] == '\n' || psv->buf[len - 1] == '\r'))
        psv->buf[--len] = '\0';
    return VG_OK;
}

static enum vg_status read_header(struct psv *psv, struct vg_err *err)
{
    bool has[COLUMN_COUNT] = {false};
    struct vg_slice rest;
    enum vg_status st = read_line(psv, err);

    if (st != VG_OK)
        return st == VG_END ? vg_fail(err, VG_REJECT, "train.header", 0, "'%s' is empty", psv->path)
                            : st;
    rest = vg_slice_of(psv->buf);
    while (rest.ptr && psv->column_count < COLUMNS_MAX) {
        struct vg_slice name = vg_slice_cut(&rest, '|');

        for (size_t i = 0; i < COLUMN_COUNT; i++) {
            if (vg_slice_is(name, columns[i].name)) {
                psv->meaning[psv->column_count] = columns[i].column;
                has[i] = true;
            }
        }
        psv->column_count++;
    }
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if (!has[i] && columns[i].is_required)
            return vg_fail(err, VG_REJECT, "train.header", 0,
                           "%s line 1: the column %s is missing (expected Patient|HR|O2Sat|…)",
                           psv->path, columns[i].name);
    }
    return VG_OK;
}

enum vg_status psv_open(const char *path, struct psv **ret_psv, struct vg_err *err)
{
    struct psv *psv = calloc(1, sizeof(*psv));
    size_t len = strlen(path);
    struct stat stat;
    enum vg_status st = VG_OK;

    if (!psv)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for a reader");
    psv->path = path;
    psv->file_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (psv->file_fd < 0 || fstat(psv->file_fd, &stat) < 0) {
        st = vg_fail(err, VG_REJECT, "train.file", errno, "cannot open '%s'", path);
        goto done;
    }
    psv->size_bytes = stat.st_size;
    if (len > 3 && strcmp(path + len - 3, ".xz") == 0) {
        st = start_xz(psv, err);
    } else {
        int fd = fcntl(psv->file_fd, F_DUPFD_CLOEXEC, 0);

        psv->text = fd >= 0 ? fdopen(fd, "r") : NULL;
        if (!psv->text)
            st = vg_fail(err, VG_RETRY, "train.file", errno, "cannot read '%s'", path);
    }
    if (st == VG_OK)
        st = read_header(psv, err);
    if (st == VG_OK) {
        *ret_psv = psv;
        psv = NULL;
    }
done:
    psv_close(psv);
    return st;
}

void psv_close(struct psv *psv)
{
    if (!psv)
        return;
    if (psv->text)
        (void)fclose(psv->text);
    if (psv->xz) { /* left before the end */
        (void)kill(psv->xz, SIGTERM);
        (void)waitpid(psv->xz, NULL, 0);
    }
    if (psv->file_fd >= 0)
        (void)close(psv->file_fd);
    free(psv);
}

double psv_done(const struct psv *psv)
{
    off_t at = lseek(psv->file_fd, 0, SEEK_CUR);

    return at > 0 && psv->size_bytes > 0 ? (double)at / (double)psv->size_bytes : 0;
}

enum vg_status psv_next(struct psv *psv, struct psv_row *ret_row, struct vg_err *err)
{
    struct vg_slice rest;
    size_t column = 0;
    enum vg_status st = read_line(psv, err);

    if (st != VG_OK)
        return st;
    *ret_row = (struct psv_row){.age_years = (double)NAN, .sex = (double)NAN};
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        ret_row->value[v] = (double)NAN;

    rest = vg_slice_of(psv->buf);
    for (; rest.ptr && column < psv->column_count; column++) {
        struct vg_slice field = vg_slice_cut(&rest, '|');
        int meaning = psv->meaning[column];
        double number = (double)NAN;

        if (meaning == COLUMN_IGNORED || field.len == 0)
            continue;
        if (meaning == COLUMN_PATIENT) {
            if (!vg_slice_to_cstr(field, ret_row->patient, sizeof(ret_row->patient)))
                break;
            continue;
        }
        if (meaning == COLUMN_HOSPITAL) {
            ret_row->hospital = field.ptr[0];
            continue;
        }
        if (vg_slice_is(field, "NaN"))
            continue;
        if (!vg_slice_to_double(field, &number))
            break;
        if (meaning == COLUMN_AGE)
            ret_row->age_years = number;
        else if (meaning == COLUMN_SEX)
            ret_row->sex = number;
        else if (meaning == COLUMN_LABEL)
            ret_row->label = number > 0.5;
        else if (number >= vitals[meaning - COLUMN_VITAL].min &&
                 number <= vitals[meaning - COLUMN_VITAL].max)
            ret_row->value[meaning - COLUMN_VITAL] = number;
    }
    if (column != psv->column_count || rest.ptr || !ret_row->patient[0])
        return vg_fail(err, VG_REJECT, "train.row", 0,
                       "%s line %llu, column %zu: expected %zu fields, the patient named and "
                       "numbers elsewhere",
                       psv->path, (unsigned long long)psv->line, column + 1, psv->column_count);
    ret_row->is_new_patient = strcmp(ret_row->patient, psv->patient) != 0;
    memcpy(psv->patient, ret_row->patient, sizeof(psv->patient));
    return VG_OK;
}
