/* score_bench.c -- readings a second of one core's time: 2,000 patients with 12 h behind them, 7
 * vital signs each.
 *
 *   core:   a reading into its window; for each payload features and one row of a prediction in a
 * batch stage:  the same from JSON records of one reading to scored JSON records, as the stage's
 * thread does
 *
 * usage: score_score_bench [patients [rounds [readings in a batch]]]
 */
#include "score/model.h"
#include "score/patient.h"
#include "score/score.h"

#include "vg_test.h"

#include <math.h>
#include <time.h>

#define MODEL_DIR VG_SOURCE_DIR "/models/sepsis-vitals"
#define T0 (20530 * VG_DAY_US)

static const enum score_vital sent[] = {SCORE_PULSE,      SCORE_RESPIRATION, SCORE_SPO2,
                                        SCORE_SYSTOLIC,   SCORE_DIASTOLIC,   SCORE_MEAN_PRESSURE,
                                        SCORE_TEMPERATURE};
#define SENT (sizeof(sent) / sizeof(sent[0]))

static const double usual[SCORE_VITAL_COUNT] = {16, 97, 0, 120, 75, 90, 75, 'A', 36.9};

/* Of this thread's processor: other programs on the machine do not count. */
static int64_t cpu_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * VG_SECOND_US + now.tv_nsec / 1000;
}

static double value_at(size_t patient, enum score_vital vital, size_t round)
{
    return usual[vital] * (1 + 0.04 * sin((double)(patient * 7 + (size_t)vital * 3 + round) / 5));
}

static struct window_reading reading_at(size_t patient, enum score_vital vital, size_t round,
                                        int64_t time_us)
{
    return (struct window_reading){.vital = vital,
                                   .value = value_at(patient, vital, round),
                                   .time_us = time_us,
                                   .received_us = time_us,
                                   .code = vg_slice_of(vitals[vital].codes[0])};
}

static double bench_core(size_t patients, size_t rounds)
{
    struct window *windows = calloc(patients, sizeof(*windows));
    float *rows = calloc(256 * FEATURES_MAX, sizeof(*rows));
    const struct feature_set *set;
    double probabilities[256], seconds;
    int64_t expiry_us[SCORE_VITAL_COUNT], time_us = T0, start_us = 0;
    struct feature_patient facts = {70, 1};
    struct model *model = NULL;
    size_t readings = 0;
    struct vg_err err = {0};

    if (!windows || !rows || model_open(MODEL_DIR, &model, &err) != VG_OK)
        exit(1);
    set = model_features(model);
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        expiry_us[v] = vitals[v].expiry_us;
    for (size_t p = 0; p < patients; p++)
        window_init(&windows[p], set->history_us);
    for (size_t round = 0; round < 720 + rounds; round++, time_us += VG_MINUTE_US) {
        size_t row = 0;

        if (round == 720)
            start_us = cpu_us();
        for (size_t p = 0; p < patients; p++) {
            for (size_t s = 0; s < SENT; s++) {
                struct window_reading reading = reading_at(p, sent[s], round, time_us);

                if (window_add(&windows[p], &reading, &err) != VG_OK)
                    exit(1);
            }
            if (round < 720)
                continue;
            readings += SENT;
            feature_fill(set, &windows[p], &facts, expiry_us, time_us, rows + row * set->count);
            if (++row == 256 || p + 1 == patients) {
                if (model_predict(model, rows, row, probabilities, NULL, &err) != VG_OK)
                    exit(1);
                row = 0;
            }
        }
    }
    seconds = (double)(cpu_us() - start_us) / 1e6;
    for (size_t p = 0; p < patients; p++)
        window_fini(&windows[p]);
    free(windows);
    free(rows);
    model_close(model);
    return (double)readings / seconds;
}

static int64_t clock_now_us;

static int64_t bench_now(void *ctx)
{
    (void)ctx;
    return clock_now_us;
}

static double bench_stage(size_t patients, size_t rounds, size_t batch_count, int64_t *ret_p99_us)
{
    static const struct vg_clock clock = {bench_now, NULL};
    struct score_config config = {.model_dir = MODEL_DIR, .clock = &clock};
    struct stream_record *records = calloc(patients * SENT, sizeof(*records));
    char(*texts)[640] = calloc(patients * SENT, sizeof(*texts));
    struct score *score = NULL;
    struct score_stage *stage = NULL;
    struct stream_out out;
    struct vg_err err = {0};
    int64_t spent_us = 0, slowest_us[64] = {0};
    size_t readings = 0, batches = 0;

    if (!records || !texts || score_open(&config, &score, &err) != VG_OK ||
        score_stage_open(score, 0, &stage, &err) != VG_OK)
        exit(1);
    stream_out_init(&out);
    /* Half a day by tens of minutes, then the rounds that count. */
    for (size_t round = 0; round < 72 + rounds; round++) {
        char time[VG_TIME_TEXT_SIZE];

        clock_now_us = T0 + (int64_t)round * (round < 72 ? 10 : 1) * VG_MINUTE_US +
                       (round < 72 ? 0 : 650 * VG_MINUTE_US);
        (void)vg_time_format(clock_now_us, 3, time);
        for (size_t i = 0; i < patients * SENT; i++) {
            enum score_vital vital = sent[i % SENT];
            int len = snprintf(
                texts[i], sizeof(texts[i]),
                "{\"patientId\":\"p%06zu\",\"patient\":{\"birthDate\":\"1950-01-02\","
                "\"ageYears\":76,\"gender\":\"female\",\"name\":\"Ada Example\","
                "\"identifier\":\"MRN-1001\",\"oxygenScale\":1},\"encounterId\":\"e1\","
                "\"location\":\"Ward 4, Bed 12\",\"unit\":\"Ward 4\",\"deviceId\":\"bed-4\","
                "\"type\":\"heartrate\",\"effectiveDateTime\":\"%s\",\"receivedTime\":\"%s\","
                "\"observationId\":\"o%zu\",\"values\":[{\"name\":\"hr\","
                "\"system\":\"http://loinc.org\",\"code\":\"%s\",\"value\":%.1f,"
                "\"unit\":\"%s\"}]}",
                i / SENT, time, time, i, vitals[vital].codes[0], value_at(i / SENT, vital, round),
                vitals[vital].unit);

            records[i] = (struct stream_record){
                .seq = i, .time_us = clock_now_us, .value = {texts[i], (size_t)len}};
        }
        for (size_t at = 0; at < patients * SENT; at += batch_count) {
            size_t n = patients * SENT - at < batch_count ? patients * SENT - at : batch_count;
            struct stream_batch batch = {records + at, n, 0};
            int64_t before_us = cpu_us(), took_us;

            stream_out_clear(&out);
            if (score_stage_ops(score)->process(stage, &batch, &out, &err) != VG_OK)
                exit(1);
            if (round < 72)
                continue;
            took_us = cpu_us() - before_us;
            spent_us += took_us;
            readings += n;
            batches++;
            for (size_t s = 0; s < 64; s++) {
                if (took_us > slowest_us[s]) {
                    int64_t swap = slowest_us[s];

                    slowest_us[s] = took_us;
                    took_us = swap;
                }
            }
        }
    }
    stream_out_fini(&out);
    score_stage_close(stage);
    score_close(score);
    free(records);
    free(texts);
    *ret_p99_us = slowest_us[batches / 100 < 63 ? batches / 100 : 63];
    return (double)readings * 1e6 / (double)spent_us;
}

static size_t argument(int argc, char **argv, int index, size_t usual_value)
{
    uint64_t value = 0;

    return argc > index && vg_slice_to_u64(vg_slice_of(argv[index]), &value) && value > 0
               ? (size_t)value
               : usual_value;
}

int main(int argc, char **argv)
{
    size_t patients = argument(argc, argv, 1, 2000), rounds = argument(argc, argv, 2, 10);
    size_t batch = argument(argc, argv, 3, 3500);
    int64_t p99_us = 0;
    double stage = bench_stage(patients, rounds, batch, &p99_us);
    double core = bench_core(patients, rounds);

    printf("bench=score patients=%zu core_readings_per_s=%.0f "
           "stage_readings_per_s=%.0f batch=%zu batch_p99_ms=%.1f\n",
           patients, core, stage, batch, (double)p99_us / 1e3);
    return 0;
}
