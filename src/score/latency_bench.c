/* latency_bench.c -- how long a reading takes from iomt.enriched to iomt.scored: 2,000 patients
 * with 12 h behind them, 10,000 readings a second, the real journal and the real stage.
 *
 * A sender commits each 10 ms the readings that are due (as the stage before would), one vital sign
 * to a record. The clock of a reading starts when its commit on iomt.enriched is durable, and at
 * the moment it was due; both end when a reader of iomt.scored has a record and the score stage's
 * offset is past the reading. Offset and scores are one commit. Memory is the heap's growth while
 * the patients' past came in, by patient.
 *
 * usage: score_latency_bench [patients [readings a second [seconds [folder]]]]
 */
#include "score/score.h"
#include "score/vitals.h"

#include "vg_test.h"

#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MODEL_DIR VG_SOURCE_DIR "/models/sepsis-vitals"
#define MILLI_US 1000
#define STEP_US (10 * MILLI_US)
#define HISTORY 72 /* payloads of ten minutes */

static const enum score_vital sent[] = {SCORE_PULSE,      SCORE_RESPIRATION, SCORE_SPO2,
                                        SCORE_SYSTOLIC,   SCORE_DIASTOLIC,   SCORE_MEAN_PRESSURE,
                                        SCORE_TEMPERATURE};
#define SENT (sizeof(sent) / sizeof(sent[0]))

static const double usual[SCORE_VITAL_COUNT] = {16, 97, 0, 120, 75, 90, 75, 'A', 36.9};

/* Readings sent in one commit. */
struct step {
    int64_t due_us, durable_us;
    uint64_t end_seq; /* one past its last */
    size_t count;
};

struct bench {
    size_t patients, rate, seconds;
    struct stream *stream;
    struct step *steps;
    size_t step_count;
    atomic_size_t sent_steps;
    atomic_bool is_failed;
};

static double value_at(size_t patient, enum score_vital vital, size_t round)
{
    return usual[vital] * (1 + 0.04 * sin((double)(patient * 7 + (size_t)vital * 3 + round) / 5));
}

static void add_record(struct stream_out *out, size_t patient, size_t first, size_t count,
                       size_t round, int64_t time_us)
{
    char time[VG_TIME_TEXT_SIZE], key[16];
    struct vg_buf text;

    vg_buf_init(&text, 4096);
    (void)vg_time_format(time_us, 3, time);
    (void)snprintf(key, sizeof(key), "p%06zu", patient);
    vg_buf_printf(&text,
                  "{\"patientId\":\"%s\",\"patient\":{\"birthDate\":\"1950-01-02\",\"ageYears\":76,"
                  "\"gender\":\"female\",\"name\":\"Ada Example\",\"identifier\":\"MRN-1001\","
                  "\"oxygenScale\":1},\"encounterId\":\"e1\",\"location\":\"Ward 4, Bed 12\","
                  "\"unit\":\"Ward 4\",\"deviceId\":\"bed-4\",\"type\":\"vitals\","
                  "\"effectiveDateTime\":\"%s\",\"receivedTime\":\"%s\","
                  "\"observationId\":\"o%zu-%zu-%zu\",\"values\":[",
                  key, time, time, patient, round, first);
    for (size_t i = 0; i < count; i++) {
        enum score_vital vital = sent[first + i];

        vg_buf_printf(&text,
                      "%s{\"name\":\"%s\",\"system\":\"http://loinc.org\",\"code\":\"%s\","
                      "\"value\":%.1f,\"unit\":\"%s\"}",
                      i ? "," : "", vitals[vital].part, vitals[vital].codes[0],
                      value_at(patient, vital, round), vitals[vital].unit);
    }
    vg_buf_printf(&text, "]}");
    stream_out_add(out, STREAM_ENRICHED, time_us, vg_slice_of(key), (struct vg_slice){0},
                   vg_buf_slice(&text));
    vg_buf_fini(&text);
}

static void commit(struct bench *bench, struct stream_out *out, uint64_t *ret_first_seq)
{
    struct vg_err err = {0};

    if (stream_commit(bench->stream, 0, out, ret_first_seq, &err) != VG_OK) {
        printf("%s\n", err.text);
        exit(1);
    }
    stream_out_clear(out);
}

static void sleep_until(int64_t mono_us)
{
    int64_t left_us = mono_us - vg_mono_us();
    struct timespec left = {left_us / VG_SECOND_US, left_us % VG_SECOND_US * 1000};

    if (left_us > 0)
        (void)nanosleep(&left, NULL);
}

/* Half a day of payloads, then until the stage has them all. */
static void send_history(struct bench *bench, const struct score *score)
{
    const char *group = score_stage_ops(score)->name;
    int64_t start_us = vg_now_us() - HISTORY * 10 * VG_MINUTE_US;
    int64_t deadline_us = vg_mono_us() + 120 * VG_SECOND_US;
    struct stream_out out;

    stream_out_init(&out);
    for (size_t round = 0; round < HISTORY; round++) {
        for (size_t p = 0; p < bench->patients; p++)
            add_record(&out, p, 0, SENT, round, start_us + (int64_t)round * 10 * VG_MINUTE_US);
        commit(bench, &out, NULL);
    }
    stream_out_fini(&out);
    while (stream_lag(bench->stream, group, STREAM_ENRICHED, 0) > 0) {
        if (vg_mono_us() > deadline_us) {
            printf("the stage did not take the patients' past within 120 s\n");
            exit(1);
        }
        sleep_until(vg_mono_us() + STEP_US);
    }
}

static void *send(void *ctx)
{
    struct bench *bench = ctx;
    int64_t start_us = vg_mono_us();
    size_t readings = 0;
    struct stream_out out;

    stream_out_init(&out);
    for (size_t s = 0; s < bench->step_count; s++) {
        struct step *step = &bench->steps[s];
        size_t until = (s + 1) * bench->rate / (size_t)(VG_SECOND_US / STEP_US);
        uint64_t first_seq = 0;

        step->due_us = start_us + (int64_t)s * STEP_US;
        sleep_until(step->due_us);
        for (; readings < until; readings++, step->count++)
            add_record(&out, readings / SENT % bench->patients, readings % SENT, 1,
                       HISTORY + readings / SENT / bench->patients, vg_now_us());
        commit(bench, &out, &first_seq);
        step->durable_us = vg_mono_us();
        step->end_seq = first_seq + step->count;
        atomic_store(&bench->sent_steps, s + 1);
    }
    stream_out_fini(&out);
    return NULL;
}

struct latencies {
    int64_t *of; /* one for each reading */
    size_t count;
};

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double at_ms(const struct latencies *all, double share)
{
    size_t at = (size_t)(share * (double)(all->count - 1));

    return (double)all->of[at] / (double)MILLI_US;
}

static void measure(struct bench *bench, const char *group, struct latencies *from_topic,
                    struct latencies *from_due)
{
    int64_t deadline_us = vg_mono_us() + ((int64_t)bench->seconds + 60) * VG_SECOND_US;
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    struct vg_err err = {0};
    pthread_t sender;
    size_t done = 0;

    if (stream_consumer_open(bench->stream, 0, STREAM_SCORED, "bench!", &consumer, &err) != VG_OK ||
        pthread_create(&sender, NULL, send, bench) != 0)
        exit(1);
    while (done < bench->step_count) {
        enum vg_status st = stream_read(consumer, 4096, VG_SECOND_US, &batch, &err);
        int64_t now_us = vg_mono_us();
        uint64_t seq = stream_committed(bench->stream, group, STREAM_ENRICHED, 0);

        if ((st != VG_OK && st != VG_END) || now_us > deadline_us) {
            printf("the stage did not answer: %s\n", err.text);
            exit(1);
        }
        /* The sender may learn of its commit after the stage has answered: then none was lost. */
        for (; done < atomic_load(&bench->sent_steps) && bench->steps[done].end_seq <= seq;
             done++) {
            const struct step *step = &bench->steps[done];
            int64_t took_us = now_us > step->durable_us ? now_us - step->durable_us : 0;

            for (size_t i = 0; i < step->count; i++) {
                from_topic->of[from_topic->count++] = took_us;
                from_due->of[from_due->count++] = now_us - step->due_us;
            }
        }
    }
    (void)pthread_join(sender, NULL);
    stream_consumer_close(consumer);
    qsort(from_topic->of, from_topic->count, sizeof(*from_topic->of), by_time);
    qsort(from_due->of, from_due->count, sizeof(*from_due->of), by_time);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static size_t argument(int argc, char **argv, int index, size_t usual_value)
{
    uint64_t value = 0;

    return argc > index && vg_slice_to_u64(vg_slice_of(argv[index]), &value) && value > 0 &&
                   value <= 1000000
               ? (size_t)value
               : usual_value;
}

int main(int argc, char **argv)
{
    struct bench bench = {.patients = argument(argc, argv, 1, 2000),
                          .rate = argument(argc, argv, 2, 10000),
                          .seconds = argument(argc, argv, 3, 20)};
    char dir[256], command[300], trouble[256];
    struct stream_config stream_config = {.dir = dir};
    struct score_config score_config = {.model_dir = MODEL_DIR};
    struct latencies from_topic = {0}, from_due = {0};
    struct score *score = NULL;
    struct score_stage *self = NULL;
    struct stage *stage = NULL;
    struct vg_err err = {0};
    size_t before, patient_bytes, most;

    (void)snprintf(dir, sizeof(dir), "%s/vigil-latency-XXXXXX", argc > 4 ? argv[4] : "/var/tmp");
    bench.step_count = bench.seconds * (size_t)(VG_SECOND_US / STEP_US);
    most = bench.seconds * bench.rate + 1;
    bench.steps = calloc(bench.step_count, sizeof(*bench.steps));
    from_topic.of = calloc(most, sizeof(*from_topic.of));
    from_due.of = calloc(most, sizeof(*from_due.of));
    if (!bench.steps || !from_topic.of || !from_due.of || !mkdtemp(dir) ||
        stream_open(&stream_config, &bench.stream, &err) != VG_OK ||
        score_open(&score_config, &score, &err) != VG_OK ||
        score_stage_open(score, 0, &self, &err) != VG_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    before = heap_bytes();
    if (stage_start(&(struct stage_config){.ops = score_stage_ops(score),
                                           .self = self,
                                           .stream = bench.stream},
                    &stage, &err) != VG_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    send_history(&bench, score);
    if (score_patients(score) != bench.patients) {
        stage_trouble(stage, trouble);
        printf("%zu of %zu patients are known: %s\n", score_patients(score), bench.patients,
               trouble);
        return 1;
    }
    patient_bytes = (heap_bytes() - before) / bench.patients;
    measure(&bench, score_stage_ops(score)->name, &from_topic, &from_due);
    printf("bench=score-latency patients=%zu readings_per_s=%zu readings=%zu p50_ms=%.1f "
           "p99_ms=%.1f p999_ms=%.1f max_ms=%.1f from_due_p50_ms=%.1f from_due_p99_ms=%.1f "
           "bytes_per_patient=%zu\n",
           score_patients(score), bench.rate, from_topic.count, at_ms(&from_topic, 0.5),
           at_ms(&from_topic, 0.99), at_ms(&from_topic, 0.999), at_ms(&from_topic, 1),
           at_ms(&from_due, 0.5), at_ms(&from_due, 0.99), patient_bytes);
    stage_stop(stage);
    score_stage_close(self);
    score_close(score);
    stream_close(bench.stream);
    free(bench.steps);
    free(from_topic.of);
    free(from_due.of);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : 1;
}
