/* stream_bench.c -- durable records per second: 256-byte records, N commits in flight.
 *
 * Usage: stream_stream_bench [dir]. One line per case: what a commit holds, how many are in flight,
 * the rate, how long a commit took, the processor time that a record cost (all threads), and
 * reading it back.
 */
#include "stream/stream.h"

#include "base/crypto.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define RECORD_BYTES 256u
#define FLIGHT_MAX 4096u

struct slot {
    struct stream_out out;
    uint64_t start_ns;
    struct slot *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the three below */
static pthread_cond_t has_free = PTHREAD_COND_INITIALIZER;
static struct slot *free_slots;
static uint64_t *latencies_ns;
static size_t latency_count, failures;

static void on_done(void *ctx, enum vg_status status, uint64_t first_seq, const struct vg_err *err)
{
    struct slot *slot = ctx;
    uint64_t now_ns = vg_mono_ns();

    (void)first_seq;
    (void)err;
    pthread_mutex_lock(&lock);
    failures += status != VG_OK;
    latencies_ns[latency_count++] = now_ns - slot->start_ns;
    slot->next = free_slots;
    if (!free_slots)
        pthread_cond_signal(&has_free);
    free_slots = slot;
    pthread_mutex_unlock(&lock);
}

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static double cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static int run_case(const char *dir, unsigned per_commit, unsigned in_flight, size_t commits)
{
    static struct slot slots[FLIGHT_MAX];
    static const char value[RECORD_BYTES];
    const struct stream_config config = {.dir = dir, .retention_bytes = (uint64_t)8 << 30};
    struct stream *stream = NULL;
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    struct vg_err err = {0};
    struct stream_out last;
    size_t read_count = 0;

    if (stream_open(&config, &stream, &err) != VG_OK ||
        stream_consumer_open(stream, 0, STREAM_DEVICE_RAW, "bench!", &consumer, &err) != VG_OK)
        return fprintf(stderr, "%s: %s\n", err.code, err.text), 1;
    latencies_ns = calloc(commits, sizeof(*latencies_ns));
    latency_count = failures = 0;
    free_slots = NULL;
    for (unsigned i = 0; i < in_flight; i++) {
        stream_out_init(&slots[i].out);
        slots[i].next = free_slots;
        free_slots = &slots[i];
    }
    double cpu_start_us = cpu_us();
    uint64_t start_ns = vg_mono_ns();

    for (size_t i = 0; i < commits; i++) {
        pthread_mutex_lock(&lock);
        while (!free_slots)
            pthread_cond_wait(&has_free, &lock);
        struct slot *slot = free_slots;

        free_slots = slot->next;
        pthread_mutex_unlock(&lock);
        stream_out_clear(&slot->out);
        for (unsigned j = 0; j < per_commit; j++)
            stream_out_add(&slot->out, STREAM_DEVICE_RAW, 0, VG_SLICE("bed-4"),
                           (struct vg_slice){0}, (struct vg_slice){value, RECORD_BYTES});
        slot->start_ns = vg_mono_ns();
        stream_commit_async(stream, 0, &slot->out, on_done, slot);
    }
    stream_out_init(&last);
    if (stream_commit(stream, 0, &last, NULL, &err) != VG_OK)
        failures++;
    double seconds = (double)(vg_mono_ns() - start_ns) / 1e9,
           records = (double)(commits * per_commit);
    double write_us = cpu_us() - cpu_start_us;

    cpu_start_us = cpu_us();
    start_ns = vg_mono_ns();
    while (stream_read(consumer, 1024, 0, &batch, &err) == VG_OK)
        read_count += batch.count;
    double read_seconds = (double)(vg_mono_ns() - start_ns) / 1e9;

    qsort(latencies_ns, latency_count, sizeof(*latencies_ns), by_value);
    printf("bench=stream per_commit=%u in_flight=%u records_per_s=%.0f commits_per_s=%.0f "
           "p50_us=%.0f p99_us=%.0f cpu_us_per_record=%.3f read_records_per_s=%.0f "
           "read_cpu_us_per_record=%.3f failed=%zu lost=%zu\n",
           per_commit, in_flight, records / seconds, (double)commits / seconds,
           (double)latencies_ns[latency_count / 2] / 1e3,
           (double)latencies_ns[latency_count / 100 * 99] / 1e3, write_us / records,
           (double)read_count / read_seconds, (cpu_us() - cpu_start_us) / records, failures,
           commits * per_commit - read_count);
    for (unsigned i = 0; i < in_flight; i++)
        stream_out_fini(&slots[i].out);
    stream_out_fini(&last);
    free(latencies_ns);
    stream_consumer_close(consumer);
    stream_close(stream);
    return failures != 0 || read_count != commits * per_commit;
}

int main(int argc, char **argv)
{
    static const struct {
        unsigned per_commit, in_flight;
        size_t commits;
    } cases[] = {
        {50, 1, 10000}, {50, 64, 40000}, {1, 1, 10000}, {1, 256, 300000}, {1, 4096, 1000000}};
    char dir[] = "/tmp/vg-bench-XXXXXX", command[200];
    int status = 0;

    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        return 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        status |= run_case(argc > 1 ? argv[1] : dir, cases[i].per_commit, cases[i].in_flight,
                           cases[i].commits);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) != 0 || status;
}
