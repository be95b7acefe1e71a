/* measure.h -- what every load generator counts: latencies, and processor time on both sides. */
#ifndef VG_BENCH_MEASURE_H
#define VG_BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define HISTOGRAM_BUCKETS 2048 /* 64 a power of two, from 1 us to over an hour */

/* Zeroed before the first use. Any thread may count; quantiles are for when nobody does. */
struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS], count;
};

static inline void histogram_count(struct histogram *h, uint64_t us)
{
    unsigned power = 63u - (unsigned)__builtin_clzll(us | 1);
    uint64_t step = power >= 6 ? us >> (power - 6) & 63 : us << (6 - power) & 63;
    size_t at = (size_t)power * 64 + (size_t)step;

    if (at >= HISTOGRAM_BUCKETS)
        at = HISTOGRAM_BUCKETS - 1;
    __atomic_fetch_add(&h->buckets[at], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->count, 1, __ATOMIC_RELAXED);
}

/* Within 1.6 %; 0 when nothing was counted. */
static inline double histogram_ms(const struct histogram *h, double quantile)
{
    uint64_t seen = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (h->count && (double)seen >= quantile * (double)h->count)
            return (double)((64u + i % 64) << (i / 64)) / 64.0 / 1000.0;
    }
    return 0;
}

/* User and system time of another process; -1: it is not there. */
static inline double process_cpu_s(int pid)
{
    unsigned long user = 0, system = 0;
    char path[64], text[1024];
    const char *after;
    size_t len;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "r");
    if (!file)
        return -1;
    len = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file); /* only read */
    text[len] = '\0';
    after = strrchr(text, ')'); /* the name before may hold anything */
    if (!after ||
        sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static inline double own_cpu_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

#endif
