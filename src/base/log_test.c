/* log_test.c -- standard error goes into a pipe; what a line looks like, and how many there are. */
#include "base/clock.h"
#include "base/log.h"
#include "base/slice.h"
#include "vg_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static int pipe_fd[2];
static char got[1u << 16];

/* What was logged since the last call. The pipe holds it all: lines are short and few. */
static struct vg_slice logged(void)
{
    ssize_t len = read(pipe_fd[0], got, sizeof(got) - 1);

    got[len > 0 ? len : 0] = '\0';
    return (struct vg_slice){got, len > 0 ? (size_t)len : 0};
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
        count++;
    return count;
}

static void test_line(void)
{
    struct vg_slice line;
    int64_t time_us = 0;

    vg_log(VG_LOG_WARN, "hub", "hub.connect", "device %s was refused", "m-1");
    line = logged();
    CHECK(
        strstr(line.ptr, " level=warn area=hub code=hub.connect msg=\"device m-1 was refused\"\n"));
    CHECK(vg_slice_starts(line, VG_SLICE("time=2")));
    CHECK(vg_time_parse((struct vg_slice){line.ptr + 5, 24}, &time_us, NULL));
    CHECK(time_us > vg_now_us() - VG_MINUTE_US && time_us <= vg_now_us());
}

static void test_escapes(void)
{
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"quotes and backslash", "a\"b\\c", "msg=\"a\\\"b\\\\c\"\n"},
        {"no second line", "a\nlevel=error", "msg=\"a\\nlevel=error\"\n"},
        {"terminal escapes", "\x1b[2J\r\x7f", "msg=\"\\x1b[2J\\x0d\\x7f\"\n"},
        {"UTF-8 stays", "\xc3\xa9", "msg=\"\xc3\xa9\"\n"},
        {"other bytes do not", "\xe9", "msg=\"\\xe9\"\n"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vg_log(VG_LOG_INFO, "test", "test.escape", "%s", cases[i].text);
        CHECK_ROW(cases[i].name);
        CHECK(strstr(logged().ptr, cases[i].want) != NULL);
    }
}

static void test_long_text(void)
{
    static char text[5000];
    struct vg_slice line;

    memset(text, 'x', sizeof(text) - 1);
    vg_log(VG_LOG_INFO, "test", "test.long", "%s", text);
    line = logged();
    CHECK(line.len > 400 && line.len < 1024 && line.ptr[line.len - 1] == '\n');
    CHECK(line.ptr[line.len - 2] == '"');
    memset(text, '\x01', sizeof(text) - 1);
    vg_log(VG_LOG_INFO, "test", "test.long", "%s", text);
    line = logged();
    CHECK(line.len > 400 && line.len < 1024 && line.ptr[line.len - 1] == '\n');
    CHECK(count_of(line.ptr, "\n") == 1);
}

static void test_levels(void)
{
    vg_log(VG_LOG_DEBUG, "test", "test.level", "not shown");
    CHECK(logged().len == 0);
    vg_log_set_level(VG_LOG_DEBUG);
    vg_log(VG_LOG_DEBUG, "test", "test.level", "shown");
    CHECK(logged().len > 0);
    vg_log_set_level(VG_LOG_ERROR);
    vg_log(VG_LOG_WARN, "test", "test.level", "not shown");
    CHECK(logged().len == 0);
    vg_log_set_level(VG_LOG_INFO);
}

static void test_err(void)
{
    struct vg_err err = {0};

    (void)vg_fail(&err, VG_RETRY, "stream.write", 28, "segment 7");
    vg_log_err(VG_LOG_ERROR, "stream", &err);
    CHECK(strstr(logged().ptr, "level=error area=stream code=stream.write "
                               "msg=\"segment 7: No space left on device\"") != NULL);
    vg_log_err(VG_LOG_ERROR, "stream", &(struct vg_err){0});
    CHECK(strstr(logged().ptr, "code=unknown msg=\"\"") != NULL);
}

static void *log_much(void *ctx)
{
    for (int i = 0; i < 500; i++)
        vg_log(VG_LOG_INFO, "test", ctx, "again");
    return NULL;
}

/* Four threads log 2,000 lines: 20 in each second that this takes, and nobody is forgotten. */
static void test_rate(void)
{
    int64_t begin_us = vg_now_us();
    pthread_t threads[4];
    char code[] = "test.rate";
    struct vg_slice text;

    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, log_much, code) == 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    size_t seconds = (size_t)(vg_now_us() / VG_SECOND_US - begin_us / VG_SECOND_US) + 1;

    text = logged();
    CHECK(count_of(text.ptr, "code=test.rate") >= 20);
    CHECK(count_of(text.ptr, "code=test.rate") <= 20 * seconds);
    vg_log(VG_LOG_INFO, "test", "test.other", "another code has its own turn");
    CHECK(count_of(logged().ptr, "code=test.other") == 1);
    size_t left_out = 0, line_count = count_of(text.ptr, "code=test.rate");
    int64_t deadline_us = begin_us + 5 * VG_SECOND_US;

    for (const char *at = strstr(text.ptr, "left_out="); at; at = strstr(at + 1, "left_out="))
        left_out += strtoul(at + 9, NULL, 10);
    /* The next second's first line tells how many are missing. */
    while (vg_now_us() < deadline_us && line_count + left_out < 2000) {
        vg_log(VG_LOG_INFO, "test", "test.rate", "later");
        text = logged();
        const char *at = strstr(text.ptr, "left_out=");

        if (at) {
            CHECK(strtoul(at + 9, NULL, 10) >= 2000 - line_count - left_out);
            return;
        }
    }
    CHECK(line_count + left_out >= 2000);
}

int main(void)
{
    int kept = dup(STDERR_FILENO);

    if (kept < 0 || pipe(pipe_fd) != 0 || dup2(pipe_fd[1], STDERR_FILENO) < 0 ||
        fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK) != 0)
        return 1;
    RUN(test_line);
    RUN(test_escapes);
    RUN(test_long_text);
    RUN(test_levels);
    RUN(test_err);
    RUN(test_rate);
    (void)dup2(kept, STDERR_FILENO);
    return vg_test_report();
}
