/* control.c -- the socket in the data folder.
 *
 * A path of a socket has at most 107 bytes: it is reached by way of the folder's descriptor
 * (/proc/self/fd/N/control.sock), so that a data folder may lie as deep as it likes.
 *
 * The folder is the platform's (mode 0700) and so is the socket (0600); on top of that the kernel
 * says who calls, and another user is sent away without an answer.
 *
 * Threads: one, which takes one call after another; a caller that is slow loses its turn after
 * CALL_US. Crashes: a socket that was left behind is taken away at the next start; until then
 * nobody answers there, which the caller is told.
 */
#include "app/control.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME "control.sock"
#define REQUEST_BYTES_MAX 4096
#define ANSWER_BYTES_MAX (1u << 20)
#define CALL_US (5 * VG_SECOND_US)
#define ASK_US (60 * VG_SECOND_US) /* an activation waits for the disk */

struct control {
    control_handler *handler;
    void *ctx;
    int dir_fd, fd, stop_fd;
    pthread_t thread;
    bool has_thread;
};

static bool address_of(int dir_fd, struct sockaddr_un *address)
{
    int len;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    len = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/" NAME, dir_fd);
    return len > 0 && (size_t)len < sizeof(address->sun_path);
}

static void limit_waits(int fd, int64_t wait_us)
{
    const struct timeval wait = {wait_us / VG_SECOND_US, wait_us % VG_SECOND_US};

    /* Both only bound a wait: without them the other side's end does. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
}

static bool send_all(int fd, struct vg_slice bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes = vg_slice_from(bytes, (size_t)sent);
    }
    return true;
}

/* Up to the other side's end, a line's end (with `is_line`) or the limit. */
static bool receive_all(int fd, bool is_line, struct vg_buf *in)
{
    for (;;) {
        char *room = vg_buf_reserve(in, 4096);
        ssize_t got = room ? recv(fd, room, 4096, 0) : -1;

        if (got < 0 && room && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        in->len += (size_t)got;
        if (got == 0 || (is_line && memchr(room, '\n', (size_t)got)))
            return true;
    }
}

/* ---- the platform's side ---- */

/* False: not somebody who may. */
static bool name_caller(int fd, char out[static 64])
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    struct passwd entry, *found = NULL;
    char text[4096];

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
        (peer.uid != geteuid() && peer.uid != 0))
        return false;
    if (getpwuid_r(peer.uid, &entry, text, sizeof(text), &found) == 0 && found)
        (void)snprintf(out, 64, "%.40s (command line)", found->pw_name);
    else
        (void)snprintf(out, 64, "uid %u (command line)", (unsigned)peer.uid);
    return true;
}

static void answer(struct control *control, int fd)
{
    struct vg_buf in, body, out;
    struct vg_json_writer w;
    struct vg_err err = {0};
    char who[64];
    enum vg_status st;

    limit_waits(fd, CALL_US);
    if (!name_caller(fd, who)) {
        vg_log(VG_LOG_WARN, "app", "app.control", "another user called the control socket");
        return;
    }
    vg_buf_init(&in, REQUEST_BYTES_MAX + 4096);
    vg_buf_init(&body, ANSWER_BYTES_MAX);
    vg_buf_init(&out, 2 * ANSWER_BYTES_MAX);
    if (receive_all(fd, true, &in)) {
        st = control->handler(control->ctx, vg_slice_of(who), vg_slice_trim(vg_buf_slice(&in)),
                              &body, &err);
        vg_json_writer_init(&w, &out);
        vg_json_open_object(&w);
        vg_json_member_bool(&w, "ok", st == VG_OK);
        if (st != VG_OK) {
            vg_json_name(&w, "error");
            vg_json_open_object(&w);
            vg_json_member_string(&w, "code", vg_slice_of(err.code ? err.code : "app.unknown"));
            vg_json_member_string(&w, "text", vg_slice_of(err.code ? err.text : "no such thing"));
            vg_json_close_object(&w);
        }
        if (body.len > 0 && vg_buf_ok(&body))
            vg_json_member_raw(&w, "answer", vg_buf_slice(&body));
        vg_json_close_object(&w);
        if (!send_all(fd, vg_buf_slice(&out)))
            vg_log(VG_LOG_WARN, "app", "app.control", "a command did not wait for its answer");
    }
    vg_buf_fini(&in);
    vg_buf_fini(&body);
    vg_buf_fini(&out);
}

static void *run(void *ctx)
{
    struct control *control = ctx;

    for (;;) {
        struct pollfd fds[2] = {{.fd = control->stop_fd, .events = POLLIN},
                                {.fd = control->fd, .events = POLLIN}};
        int fd;

        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            vg_log(VG_LOG_ERROR, "app", "app.control", "poll: errno %d: no commands any more",
                   errno);
            return NULL;
        }
        if (fds[0].revents)
            return NULL;
        if (!fds[1].revents || (fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC)) < 0)
            continue;
        answer(control, fd);
        (void)close(fd);
    }
}

static enum vg_status listen_at(struct control *control, struct vg_err *err)
{
    struct sockaddr_un address;

    if (!address_of(control->dir_fd, &address))
        return vg_fail(err, VG_RETRY, "app.control", 0, NAME ": no address");
    if (unlinkat(control->dir_fd, NAME, 0) != 0 && errno != ENOENT)
        return vg_fail(err, VG_RETRY, "app.control", errno, NAME);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode before there is a name that others could open. */
    if (control->fd < 0 || fchmod(control->fd, 0600) != 0 ||
        bind(control->fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(control->fd, 8) != 0)
        return vg_fail(err, VG_RETRY, "app.control", errno, NAME);
    return VG_OK;
}

enum vg_status control_open(const char *data_dir, control_handler *handler, void *ctx,
                            struct control **ret_control, struct vg_err *err)
{
    struct control *control = calloc(1, sizeof(*control));
    enum vg_status st = VG_OK;
    int rc;

    if (!control)
        return vg_fail(err, VG_RETRY, "app.memory", ENOMEM, "control");
    *control = (struct control){.handler = handler, .ctx = ctx, .fd = -1};
    control->dir_fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    control->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (control->dir_fd < 0 || control->stop_fd < 0)
        st = vg_fail(err, VG_RETRY, "app.control", errno, "%.100s", data_dir);
    if (st == VG_OK)
        st = listen_at(control, err);
    if (st == VG_OK && (rc = pthread_create(&control->thread, NULL, run, control)) != 0)
        st = vg_fail(err, VG_RETRY, "app.control", rc, "cannot start its thread");
    if (st != VG_OK) {
        control_close(control);
        return st;
    }
    control->has_thread = true;
    (void)pthread_setname_np(control->thread, "vg-control");
    *ret_control = control;
    return VG_OK;
}

void control_close(struct control *control)
{
    const uint64_t one = 1;

    if (!control)
        return;
    if (control->has_thread) {
        if (write(control->stop_fd, &one, sizeof(one)) != sizeof(one))
            vg_log(VG_LOG_ERROR, "app", "app.control", "cannot wake its thread: errno %d", errno);
        (void)pthread_join(control->thread, NULL);
        if (unlinkat(control->dir_fd, NAME, 0) != 0)
            vg_log(VG_LOG_WARN, "app", "app.control", NAME " stays: errno %d", errno);
    }
    if (control->fd >= 0)
        (void)close(control->fd);
    if (control->stop_fd >= 0)
        (void)close(control->stop_fd);
    if (control->dir_fd >= 0)
        (void)close(control->dir_fd);
    free(control);
}

/* ---- the command's side ---- */

enum vg_status control_ask(const char *data_dir, struct vg_slice request, struct vg_arena *arena,
                           struct vg_slice *ret_answer, struct vg_err *err)
{
    int dir_fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
    struct sockaddr_un address;
    struct vg_buf in;
    enum vg_status st = VG_END;

    if (dir_fd < 0 && errno == ENOENT)
        return VG_END;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    vg_buf_init(&in, 2 * ANSWER_BYTES_MAX + 8192);
    if (dir_fd < 0 || fd < 0 || !address_of(dir_fd, &address)) {
        st = vg_fail(err, VG_REJECT, "app.control", errno, "%.150s", data_dir);
    } else if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        limit_waits(fd, ASK_US);
        if (!send_all(fd, request) || !send_all(fd, VG_SLICE("\n")) ||
            !receive_all(fd, false, &in) || in.len == 0)
            st = vg_fail(err, VG_RETRY, "app.control", 0,
                         "the platform took the request and did not answer; it may be done");
        else
            st = VG_OK;
    } else if (errno != ENOENT && errno != ECONNREFUSED) {
        st = vg_fail(err, VG_REJECT, "app.control", errno, "%.100s/" NAME, data_dir);
    }
    if (st == VG_OK) {
        *ret_answer = vg_arena_dup(arena, vg_buf_slice(&in));
        if (!ret_answer->ptr)
            st = vg_fail(err, VG_RETRY, "app.memory", ENOMEM, "answer");
    }
    vg_buf_fini(&in);
    if (fd >= 0)
        (void)close(fd);
    if (dir_fd >= 0)
        (void)close(dir_fd);
    return st;
}
