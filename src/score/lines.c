/* lines.c -- reads lines, compressed or not.
 *
 * An .xz file is given to `xz -dc` as its standard input, without a shell and without its name on a
 * command line: no name can be taken for an option or a command. We keep the same open file, so
 * its offset tells how far xz has read, which is the progress. A damaged or cut archive is known by
 * xz's exit status and fails the whole read: a model is not trained on half a file unnoticed.
 */
#include "score/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_SIZE 4096

extern char **environ;

struct lines {
    const char *path;
    int file_fd; /* shares its offset with xz */
    FILE *text;
    pid_t xz; /* 0 = none */
    off_t size_bytes;
    uint64_t number;
    char buf[LINE_SIZE];
};

static enum vg_status start_xz(struct lines *lines, struct vg_err *err)
{
    char *argv[] = {(char[]){"xz"}, (char[]){"-dc"}, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], rc;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return vg_fail(err, VG_RETRY, "train.pipe", errno, "no pipe");
    rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&actions, lines->file_fd, 0);
        if (rc == 0)
            rc = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (rc == 0)
            rc = posix_spawnp(&lines->xz, "xz", &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(ends[1]);
    if (rc == 0)
        lines->text = fdopen(ends[0], "r");
    if (rc != 0 || !lines->text) {
        (void)close(ends[0]);
        return vg_fail(err, VG_REJECT, "train.xz", rc, "cannot start xz to read '%s'", lines->path);
    }
    return VG_OK;
}

enum vg_status lines_open(const char *path, struct lines **ret_lines, struct vg_err *err)
{
    struct lines *lines = calloc(1, sizeof(*lines));
    size_t len = strlen(path);
    struct stat stat;
    enum vg_status st = VG_OK;

    if (!lines)
        return vg_fail(err, VG_RETRY, "train.memory", 0, "no memory for a reader");
    lines->path = path;
    lines->file_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (lines->file_fd < 0 || fstat(lines->file_fd, &stat) < 0) {
        st = vg_fail(err, VG_REJECT, "train.file", errno, "cannot open '%s'", path);
        goto done;
    }
    lines->size_bytes = stat.st_size;
    if (len > 3 && strcmp(path + len - 3, ".xz") == 0) {
        st = start_xz(lines, err);
    } else {
        int fd = fcntl(lines->file_fd, F_DUPFD_CLOEXEC, 0);

        lines->text = fd >= 0 ? fdopen(fd, "r") : NULL;
        if (!lines->text)
            st = vg_fail(err, VG_RETRY, "train.file", errno, "cannot read '%s'", path);
    }
    if (st == VG_OK) {
        *ret_lines = lines;
        lines = NULL;
    }
done:
    lines_close(lines);
    return st;
}

void lines_close(struct lines *lines)
{
    if (!lines)
        return;
    if (lines->text)
        (void)fclose(lines->text);
    if (lines->xz) { /* left before the end */
        (void)kill(lines->xz, SIGTERM);
        (void)waitpid(lines->xz, NULL, 0);
    }
    if (lines->file_fd >= 0)
        (void)close(lines->file_fd);
    free(lines);
}

enum vg_status lines_next(struct lines *lines, struct vg_slice *ret_line, struct vg_err *err)
{
    size_t len;
    int status = 0;

    if (!fgets(lines->buf, sizeof(lines->buf), lines->text)) {
        if (ferror(lines->text))
            return vg_fail(err, VG_REJECT, "train.file", errno, "cannot read '%s'", lines->path);
        if (lines->xz) {
            pid_t xz = lines->xz;

            lines->xz = 0;
            if (waitpid(xz, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return vg_fail(err, VG_REJECT, "train.xz", 0, "xz says that '%s' is damaged",
                               lines->path);
        }
        return VG_END;
    }
    lines->number++;
    len = strlen(lines->buf);
    if (len + 1 == sizeof(lines->buf) && lines->buf[len - 1] != '\n')
        return vg_fail(err, VG_REJECT, "train.row", 0, "%s line %llu: longer than %d bytes",
                       lines->path, (unsigned long long)lines->number, LINE_SIZE - 2);
    while (len > 0 && (lines->buf[len - 1] == '\n' || lines->buf[len - 1] == '\r'))
        len--;
    *ret_line = (struct vg_slice){lines->buf, len};
    return VG_OK;
}

uint64_t lines_number(const struct lines *lines)
{
    return lines->number;
}

const char *lines_path(const struct lines *lines)
{
    return lines->path;
}

double lines_done(const struct lines *lines)
{
    off_t at = lseek(lines->file_fd, 0, SEEK_CUR);

    return at > 0 && lines->size_bytes > 0 ? (double)at / (double)lines->size_bytes : 0;
}
