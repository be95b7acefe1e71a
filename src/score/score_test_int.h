/* score_test_int.h -- what the tests of the scoring stage share: a stream, a stage, records in and
 * out. One test program each: everything is static. */
#ifndef VG_SCORE_SCORE_TEST_INT_H
#define VG_SCORE_SCORE_TEST_INT_H

#include "base/file.h"
#include "base/json.h"
#include "score/score.h"
#include "vg_test.h"

#include <math.h>
#include <stdarg.h>
#include <unistd.h>

#define MODEL_DIR VG_SOURCE_DIR "/models/sepsis-vitals"
#define T0 (20530 * VG_DAY_US) /* 2026-03-18 */

static char dir[64];
static struct stream *stream;
static struct score *score;
static struct score_stage *stage;
static struct stream_consumer *scored_consumer;
static int64_t test_now_us;
static uint64_t next_seq;

static inline int64_t test_clock_now(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&test_now_us, __ATOMIC_RELAXED);
}

static const struct vg_clock test_clock = {test_clock_now, NULL};

static inline void set_now(int64_t now_us)
{
    __atomic_store_n(&test_now_us, now_us, __ATOMIC_RELAXED);
}

static struct lake *lake; /* NULL but in the test of it */

static inline void open_score(const char *model_dir)
{
    struct score_config config = {.model_dir = model_dir, .lake = lake, .clock = &test_clock};
    struct vg_err err = {0};

    score = NULL;
    stage = NULL;
    if (!CHECK(score_open(&config, &score, &err) == VG_OK) ||
        !CHECK(score_stage_open(score, 0, &stage, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        exit(1);
    }
}

static inline void close_score(void)
{
    score_stage_close(stage);
    score_close(score);
}

static inline void open_stream(void)
{
    struct stream_config config = {.dir = dir, .segment_bytes = 4 << 20};
    struct vg_err err = {0};

    (void)snprintf(dir, sizeof(dir), "/tmp/vigil-score-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    if (stream_open(&config, &stream, &err) != VG_OK ||
        stream_consumer_open(stream, 0, STREAM_SCORED, "test", &scored_consumer, &err) != VG_OK) {
        printf("%s: %s\n", err.code, err.text);
        exit(1);
    }
    next_seq = 0;
    set_now(T0);
}

static inline void close_stream(void)
{
    char command[96];

    stream_consumer_close(scored_consumer);
    stream_close(stream);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    CHECK(system(command) == 0);
}

/* ---- records ---- */

struct made {
    char key[16], value[1024], header[64];
    struct stream_record record;
    struct vg_buf headers;
};

static const char *const codes[][3] = {
    {"hr", "8867-4", "/min"},    {"rr", "9279-1", "/min"},       {"spo2", "59408-5", "%"},
    {"sys", "8480-6", "mm[Hg]"}, {"temp", "8310-5", "Cel"},      {"tempf", "8310-5", "[degF]"},
    {"o2", "3151-8", "L/min"},   {"glucose", "2339-0", "mg/dL"},
};

static const char *made_observation; /* NULL: "o-" and the name */

/* An enriched record of one value of a patient at a time. */
static inline void make(struct made *made, const char *patient, int age, int scale,
                        const char *name, double value, int64_t time_us, int64_t received_us)
{
    char time[VG_TIME_TEXT_SIZE], received[VG_TIME_TEXT_SIZE];
    size_t code = 0;
    int len;

    while (code + 1 < sizeof(codes) / sizeof(codes[0]) && strcmp(codes[code][0], name) != 0)
        code++;
    (void)vg_time_format(time_us, 6, time);
    (void)vg_time_format(received_us, 6, received);
    len = snprintf(
        made->value, sizeof(made->value),
        "{\"patientId\":\"%s\",\"patient\":{\"ageYears\":%d,\"gender\":\"female\","
        "\"name\":\"Ada Example\",\"oxygenScale\":%d},\"encounterId\":\"e1\","
        "\"location\":\"Ward 4, Bed 12\",\"unit\":\"Ward 4\",\"deviceId\":\"bed-4\","
        "\"type\":\"x\",\"effectiveDateTime\":\"%s\",\"receivedTime\":\"%s\","
        "\"observationId\":\"%s%s\",\"values\":[{\"name\":\"%s\",\"system\":\"http://loinc.org\","
        "\"code\":\"%s\",\"value\":%.4f,\"unit\":\"%s\"}]}",
        patient, age, scale, time, received, made_observation ? "" : "o-",
        made_observation ? made_observation : name, name, codes[code][1], value, codes[code][2]);
    (void)snprintf(made->key, sizeof(made->key), "%s", patient);
    (void)snprintf(made->header, sizeof(made->header), "0-%llu", (unsigned long long)next_seq);
    vg_buf_init(&made->headers, 0);
    stream_header_put(&made->headers, "trace", vg_slice_of(made->header));
    made->record = (struct stream_record){.seq = next_seq++,
                                          .time_us = received_us,
                                          .key = vg_slice_of(made->key),
                                          .headers = vg_buf_slice(&made->headers),
                                          .value = {made->value, (size_t)len}};
}

/* Runs records through process() in batches of `batch`, commits what it put out. The clock goes on
 * to each batch's newest receipt. */
static inline void process(const struct stream_record *records, size_t count, size_t batch_count)
{
    const struct stage_ops *ops = score_stage_ops(score);
    struct stream_out out;
    struct vg_err err = {0};

    stream_out_init(&out);
    for (size_t i = 0; i < count; i += batch_count) {
        size_t n = count - i < batch_count ? count - i : batch_count;
        struct stream_batch batch = {records + i, n, records[i + n - 1].seq + 1};

        for (size_t r = 0; r < n; r++) {
            if (records[i + r].time_us > test_now_us)
                set_now(records[i + r].time_us); /* nothing is received in the future */
        }
        stream_out_clear(&out);
        if (!CHECK(ops->process(stage, &batch, &out, &err) == VG_OK))
            printf("%s: %s\n", err.code, err.text);
        if (out.record_count > 0)
            CHECK(stream_commit(stream, 0, &out, NULL, &err) == VG_OK);
    }
    stream_out_fini(&out);
}

static inline void tick(void)
{
    struct stream_out out;
    struct vg_err err = {0};

    stream_out_init(&out);
    CHECK(score_stage_ops(score)->tick(stage, test_now_us, &out, &err) == VG_OK);
    if (out.record_count > 0)
        CHECK(stream_commit(stream, 0, &out, NULL, &err) == VG_OK);
    stream_out_fini(&out);
}

static inline void score_one(const char *name, double value, int64_t time_us)
{
    struct made made;

    make(&made, "p1", 76, 1, name, value, time_us, time_us);
    process(&made.record, 1, 1);
    vg_buf_fini(&made.headers);
}

/* The scored records since the last call; the last one is parsed. */
static struct vg_arena arena;
static struct vg_json *last;
static char last_trace[512];

static inline size_t scored(void)
{
    size_t count = 0;
    struct stream_batch batch;

    vg_arena_reset(&arena);
    last = NULL;
    while (stream_read(scored_consumer, 1000, 0, &batch, NULL) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++, count++) {
            struct vg_slice copy = vg_arena_dup(&arena, batch.records[i].value);

            CHECK(vg_json_parse(&arena, copy, NULL, &last, NULL, NULL) == VG_OK);
            CHECK(vg_slice_to_cstr(stream_header_get(batch.records[i].headers, "trace"), last_trace,
                                   sizeof(last_trace)));
        }
    }
    return count;
}

static inline double number(const struct vg_json *object, const char *name)
{
    double value = (double)NAN;

    (void)vg_json_to_double(vg_json_get(object, name), &value);
    return value;
}

static inline const struct vg_json *part(const char *list, const char *of, const char *name,
                                         const char *value)
{
    const struct vg_json *item = vg_json_get(of ? vg_json_get(last, of) : last, list);

    for (item = item ? item->child : NULL; item; item = item->next) {
        if (vg_slice_is(vg_json_get_text(item, name), value))
            return item;
    }
    return NULL;
}

static inline bool text_is(const struct vg_json *object, const char *name, const char *text)
{
    return vg_slice_is(vg_json_get_text(object, name), text);
}

static inline bool is(double a, double b)
{
    return fabs(a - b) < 1e-6;
}

/* ---- models ---- */

static char models_dir[96];

static inline void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void shell(const char *format, ...)
{
    char command[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    CHECK(system(command) == 0);
}

/* DIR/models/a and b: the same trees under two names. */
static inline void make_models(void)
{
    (void)snprintf(models_dir, sizeof(models_dir), "%s/models", dir);
    shell("mkdir %s && cp -r " MODEL_DIR " %s/a && cp -r " MODEL_DIR " %s/b", models_dir,
          models_dir, models_dir);
    shell("rm -f %s/a/live.json %s/b/live.json", models_dir, models_dir);
    shell("sed -i 's/\"name\": *\"sepsis-vitals\"/\"name\":\"second\"/' %s/b/card.json",
          models_dir);
}

static inline void put_file(const char *name, const char *text)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/%s", models_dir, name);
    CHECK(vg_file_write(path, vg_slice_of(text), 0600, NULL) == VG_OK);
}

#endif
