/* log.c -- logfmt lines on standard error, one write(2) each, bounded in length and in rate.
 *
 * A fixed table counts the lines of each (area, code) in the running second. A code that does not
 * find a place takes that of another: a little more is then written, never less than promised.
 *
 * Threads: one mutex guards the table; formatting and writing happen outside it.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/slice.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_LINE_BYTES 1024
#define LOG_LINES_PER_SECOND 20
#define LOG_SITE_COUNT 128
#define LOG_SITE_PROBES 8

struct log_site {
    uint64_t hash; /* 0 = free */
    int64_t second;
    uint32_t line_count, left_out_count;
};

static struct log_site sites[LOG_SITE_COUNT];
static pthread_mutex_t sites_lock = PTHREAD_MUTEX_INITIALIZER; /* guards sites */
static _Atomic int level_min = VG_LOG_INFO;

void vg_log_set_level(enum vg_log_level level)
{
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
}

/* The place of this hash: its own, a free one, or the stalest nearby. Under the lock. */
static struct log_site *find_site(uint64_t hash)
{
    struct log_site *stalest = &sites[hash % LOG_SITE_COUNT];

    for (uint64_t i = 0; i < LOG_SITE_PROBES; i++) {
        struct log_site *site = &sites[(hash + i) % LOG_SITE_COUNT];

        if (site->hash == hash)
            return site;
        if (site->second < stalest->second)
            stalest = site;
    }
    *stalest = (struct log_site){.hash = hash};
    return stalest;
}

/* May this line be written? *ret_left_out: how many before it were not. */
static bool take_turn(const char *area, const char *code, int64_t second, uint32_t *ret_left_out)
{
    uint64_t hash = vg_slice_hash(vg_slice_of(area)) * 31 + vg_slice_hash(vg_slice_of(code));
    bool is_allowed;

    (void)pthread_mutex_lock(&sites_lock);
    struct log_site *site = find_site(hash ? hash : 1);

    if (site->second != second) {
        site->second = second;
        site->line_count = 0;
    }
    is_allowed = site->line_count < LOG_LINES_PER_SECOND;
    if (is_allowed) {
        site->line_count++;
        *ret_left_out = site->left_out_count;
        site->left_out_count = 0;
    } else {
        site->left_out_count++;
    }
    (void)pthread_mutex_unlock(&sites_lock);
    return is_allowed;
}

/* Quoted and without anything that could start a new line or steer a terminal. */
static size_t put_quoted(char *out, size_t room, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    const bool is_utf8 = vg_slice_is_utf8(vg_slice_of(text));
    size_t used = 0;

    out[used++] = '"';
    for (const unsigned char *p = (const unsigned char *)text; *p && used + 6 < room; p++) {
        if (*p == '"' || *p == '\\') {
            out[used++] = '\\';
            out[used++] = (char)*p;
        } else if (*p == '\n') {
            out[used++] = '\\';
            out[used++] = 'n';
        } else if (*p < 0x20 || *p == 0x7f || (*p >= 0x80 && !is_utf8)) {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = hex[*p >> 4];
            out[used++] = hex[*p & 15];
        } else {
            out[used++] = (char)*p;
        }
    }
    out[used++] = '"';
    return used;
}

static void write_line(enum vg_log_level level, const char *area, const char *code,
                       const char *text)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    int64_t now_us = vg_now_us();
    char line[LOG_LINE_BYTES], when[VG_TIME_TEXT_SIZE];
    uint32_t left_out = 0;

    if (!take_turn(area, code, now_us / VG_SECOND_US, &left_out))
        return;
    (void)vg_time_format(now_us, 3, when);
    int head = snprintf(line, sizeof(line) / 2, "time=%s level=%s area=%s code=%s msg=", when,
                        names[level], area, code);

    if (head < 0 || (size_t)head >= sizeof(line) / 2)
        return; /* area and code are static words of ours: they fit */
    size_t used = (size_t)head;

    used += put_quoted(line + used, sizeof(line) - used - 32, text);
    if (left_out > 0)
        used += (size_t)snprintf(line + used, sizeof(line) - used, " left_out=%u", left_out);
    line[used++] = '\n';
    /* There is nobody left to tell when standard error is gone. */
    ssize_t done = write(STDERR_FILENO, line, used);
    (void)done;
}

void vg_log(enum vg_log_level level, const char *area, const char *code, const char *fmt, ...)
{
    char text[LOG_LINE_BYTES / 2];
    va_list args;

    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed))
        return;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    write_line(level, area, code, text);
}

void vg_log_err(enum vg_log_level level, const char *area, const struct vg_err *err)
{
    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed))
        return;
    write_line(level, area, err->code ? err->code : "unknown", err->text);
}
