/* score_test.c -- the stage over a real stream: what goes in as enriched comes out as scored. */
#include "score/score_test_int.h"

/* ---- tests ---- */

static void test_one_record_for_a_patient_and_batch(void)
{
    struct made made[5];
    struct stream_record records[5];

    open_stream();
    open_score(MODEL_DIR);
    make(&made[0], "p1", 76, 1, "rr", 26, T0, T0);
    make(&made[1], "p1", 76, 1, "hr", 125, T0 + VG_SECOND_US, T0 + VG_SECOND_US);
    make(&made[2], "p2", 40, 1, "hr", 70, T0, T0);
    make(&made[3], "p1", 76, 1, "tempf", 102.2, T0 + 2 * VG_SECOND_US, T0 + 3 * VG_SECOND_US);
    make(&made[4], "p1", 76, 1, "glucose", 110, T0, T0);
    for (int i = 0; i < 5; i++)
        records[i] = made[i].record;
    process(records, 5, 5);
    CHECK(scored() == 2);
    CHECK_ROW("none for who is well");
    CHECK(text_is(last, "patientId", "p2"));
    CHECK(vg_json_is(vg_json_get(vg_json_get(last, "model"), "contributions"), VG_JSON_ARRAY));
    CHECK(vg_json_at(vg_json_get(vg_json_get(last, "model"), "contributions"), 0) == NULL);
    CHECK_ROW("");
    CHECK(score_patients(score) == 2);
    process(records + 4, 1, 1);
    CHECK(scored() == 1);

    CHECK(text_is(last, "patientId", "p1") && text_is(last, "trigger", "reading"));
    CHECK(text_is(last, "windowEnd", "2026-03-18T00:00:02.000Z"));
    CHECK(text_is(last, "location", "Ward 4, Bed 12") && text_is(last, "encounterId", "e1"));
    CHECK(text_is(vg_json_get(last, "patient"), "name", "Ada Example"));
    /* respiration 3, pulse 2, temperature 39.0: 1 */
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 6));
    CHECK(is(number(vg_json_get(last, "news2"), "high"), 17));
    CHECK(text_is(vg_json_get(last, "news2"), "band", "medium"));
    CHECK(is(number(part("parts", "news2", "part", "temperature"), "value"), 39));
    CHECK(text_is(part("parts", "news2", "part", "spo2"), "state", "missing"));
    CHECK(text_is(part("vitals", NULL, "code", "2339-0"), "state", "ok"));
    CHECK(text_is(part("vitals", NULL, "code", "8867-4"), "observationId", "o-hr"));
    CHECK(number(vg_json_get(last, "model"), "probability") > 0);
    CHECK(is(number(vg_json_get(last, "model"), "horizonHours"), 6));
    CHECK_ROW("contributions, for NEWS2 is 5 or above");
    CHECK(vg_json_at(vg_json_get(vg_json_get(last, "model"), "contributions"), 0) != NULL);
    close_score();
    close_stream();
    for (int i = 0; i < 5; i++)
        vg_buf_fini(&made[i].headers);
}

static void test_traces_are_united(void)
{
    struct made made[80];
    struct stream_record records[80];

    open_stream();
    open_score(NULL);
    for (int i = 0; i < 80; i++) {
        make(&made[i], "p1", 76, 1, "hr", 80, T0 + i * VG_SECOND_US, T0 + i * VG_SECOND_US);
        records[i] = made[i].record;
    }
    process(records, 3, 3);
    CHECK(scored() == 1);
    CHECK(strcmp(last_trace, "0-0 0-1 0-2") == 0);
    CHECK(vg_json_get(last, "model") == NULL);
    process(records, 80, 80);
    CHECK(scored() == 1);
    CHECK_ROW("at most 64: the newest");
    CHECK(strncmp(last_trace, "0-16 0-17 ", 10) == 0);
    CHECK(strcmp(last_trace + strlen(last_trace) - 5, " 0-79") == 0);
    close_score();
    close_stream();
    for (int i = 0; i < 80; i++)
        vg_buf_fini(&made[i].headers);
}

static void test_expiry_by_timer(void)
{
    struct made made[2];

    open_stream();
    open_score(MODEL_DIR);
    make(&made[0], "p1", 76, 1, "rr", 26, T0, T0);
    make(&made[1], "p1", 76, 1, "hr", 70, T0 + VG_HOUR_US, T0 + VG_HOUR_US);
    process(&made[0].record, 1, 1);
    process(&made[1].record, 1, 1);
    CHECK(scored() == 2);
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 3));

    CHECK_ROW("nothing expired: nothing said");
    set_now(T0 + 4 * VG_HOUR_US);
    tick();
    CHECK(scored() == 0);

    CHECK_ROW("respiration expired, pulse not");
    set_now(T0 + 4 * VG_HOUR_US + VG_MINUTE_US);
    tick();
    CHECK(scored() == 1);
    CHECK(text_is(last, "trigger", "timer"));
    CHECK(text_is(last, "windowEnd", "2026-03-18T01:00:00.000Z"));
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 0));
    CHECK(text_is(part("parts", "news2", "part", "respiration"), "state", "expired"));
    CHECK(is(number(part("parts", "news2", "part", "respiration"), "value"), 26));
    CHECK(text_is(part("vitals", NULL, "code", "9279-1"), "state", "expired"));
    CHECK(text_is(part("vitals", NULL, "code", "8867-4"), "state", "ok"));
    CHECK(strcmp(last_trace, "0-1") == 0);
    tick();
    CHECK(scored() == 0);

    CHECK_ROW("all expired: the model has nothing to say");
    set_now(T0 + 6 * VG_HOUR_US);
    tick();
    CHECK(scored() == 1);
    CHECK(vg_json_get(last, "model") == NULL);
    tick();
    CHECK(scored() == 0);

    CHECK_ROW("silent for longer than any window: dropped");
    set_now(T0 + 60 * VG_HOUR_US);
    tick();
    CHECK(scored() == 0 && score_patients(score) == 0);
    close_score();
    close_stream();
    for (int i = 0; i < 2; i++)
        vg_buf_fini(&made[i].headers);
}

static void test_what_is_not_scored(void)
{
    static const struct {
        const char *name, *vital;
        double value;
        int age, scale;
        int64_t time_us, received_us;
        size_t want_count;
        bool has_news2, has_model;
        double low;
        const char *trigger;
    } rows[] = {
        {"a heart rate of 900 is an artefact", "hr", 900, 76, 1, T0 + 1, T0 + 1, 1, true, true, 0,
         "reading"},
        {"an hour ahead of its receipt", "hr", 140, 76, 1, T0 + VG_HOUR_US, T0 + 2, 1, true, true,
         0, "reading"},
        {"a few minutes ahead: a clock may differ", "hr", 140, 76, 1, T0 + 5 * VG_MINUTE_US, T0 + 3,
         1, true, true, 3, "reading"},
        {"late, to its place: the newest value counts", "hr", 30, 76, 1, T0 - VG_HOUR_US, T0 + 4, 1,
         true, true, 3, "late"},
        {"older than the history", "rr", 30, 76, 1, T0 - 26 * VG_HOUR_US, T0 + 5, 1, true, true, 3,
         "late"},
        {"a child of 9 has neither score", "hr", 140, 9, 1, T0 + 6, T0 + 6, 1, false, false, 0,
         "reading"},
        {"at 17 NEWS2 alone", "hr", 140, 17, 1, T0 + 7, T0 + 7, 1, true, false, 3, "reading"},
        {"scale 2 by order: 90 is no point", "spo2", 90, 76, 2, T0 + 8, T0 + 8, 1, true, true, 3,
         "reading"},
        {"without the order it is 3", "spo2", 90, 76, 1, T0 + 9, T0 + 9, 1, true, true, 6,
         "reading"},
    };
    struct made made;

    open_stream();
    open_score(MODEL_DIR);
    make(&made, "p1", 76, 1, "hr", 70, T0, T0);
    process(&made.record, 1, 1);
    vg_buf_fini(&made.headers);
    CHECK(scored() == 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].name);
        make(&made, "p1", rows[i].age, rows[i].scale, rows[i].vital, rows[i].value, rows[i].time_us,
             rows[i].received_us);
        process(&made.record, 1, 1);
        CHECK(scored() == rows[i].want_count);
        CHECK((vg_json_get(last, "news2") != NULL) == rows[i].has_news2);
        CHECK((vg_json_get(last, "model") != NULL) == rows[i].has_model);
        if (rows[i].has_news2)
            CHECK(is(number(vg_json_get(last, "news2"), "low"), rows[i].low));
        CHECK(text_is(last, "trigger", rows[i].trigger));
        vg_buf_fini(&made.headers);
    }
    close_score();
    close_stream();
}

/* A backlog that a gateway brings after five hours is not fresh because it is new to us. */
static void test_a_backlog_is_not_fresh(void)
{
    struct made made;

    open_stream();
    open_score(NULL);
    make(&made, "p1", 76, 1, "rr", 26, T0, T0 + 5 * VG_HOUR_US);
    process(&made.record, 1, 1);
    CHECK(scored() == 1);
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 0));
    CHECK(text_is(part("parts", "news2", "part", "respiration"), "state", "expired"));
    vg_buf_fini(&made.headers);
    close_score();
    close_stream();
}

static void test_bad_records_are_dead_letters(void)
{
    static const char *const values[] = {
        "",
        "{",
        "[]",
        "{\"patientId\":\"\"}",
        "{\"patientId\":\"p1\"}",
        "{\"patientId\":\"p1\",\"effectiveDateTime\":\"yesterday\"}",
        "{\"patientId\":\"p1234567890123456789012345678901234567890123456789012345678901234567890\""
        ",\"effectiveDateTime\":\"2026-03-18T00:00:00Z\"}",
    };
    struct stream_consumer *letters = NULL;
    struct stream_batch batch;
    struct made good;
    size_t count = 0;

    open_stream();
    open_score(NULL);
    CHECK(stream_consumer_open(stream, 0, STREAM_DEADLETTER, "test", &letters, NULL) == VG_OK);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct stream_record record = {.seq = next_seq++,
                                       .time_us = T0,
                                       .key = VG_SLICE("p1"),
                                       .value = vg_slice_of(values[i])};

        process(&record, 1, 1);
    }
    make(&good, "p1", 76, 1, "hr", 70, T0, T0);
    process(&good.record, 1, 1);
    CHECK_ROW("what comes after them is scored");
    CHECK(scored() == 1);
    while (stream_read(letters, 100, 0, &batch, NULL) == VG_OK)
        count += batch.count;
    CHECK(count == sizeof(values) / sizeof(values[0]));
    stream_consumer_close(letters);
    vg_buf_fini(&good.headers);
    close_score();
    close_stream();
}

#define MANY 400

/* The last record of each patient, without what depends on when it was made. */
static void final_state(char *out, size_t size)
{
    size_t len = 0;
    struct stream_batch batch;
    char of[4][4096] = {{0}};

    while (stream_read(scored_consumer, 1000, 0, &batch, NULL) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++)
            (void)vg_slice_to_cstr(batch.records[i].value, of[batch.records[i].key.ptr[1] - '0'],
                                   sizeof(of[0]));
    }
    out[0] = '\0';
    for (int p = 0; p < 4; p++) {
        const char *window_end = strstr(of[p], "\"windowEnd\"");
        const char *news2 = strstr(of[p], "\"news2\"");

        if (CHECK(window_end && news2))
            len += (size_t)snprintf(out + len, size - len, "%.35s|%s\n", window_end, news2);
    }
}

static void test_any_batches_give_the_same_state(void)
{
    static struct made made[MANY];
    static struct stream_record records[MANY];
    static const size_t batches[] = {1, 7, 64, MANY};
    static char first[32768], other[32768];
    uint64_t state = 42;

    for (size_t b = 0; b < 4; b++) {
        open_stream();
        open_score(MODEL_DIR);
        for (int i = 0; i < MANY && b == 0; i++) {
            char patient[4] = {'p', (char)('0' + i % 4), 0};
            int64_t received_us = T0 + i * VG_MINUTE_US, late_us;

            state = state * 6364136223846793005u + 1442695040888963407u;
            late_us = (int64_t)(state >> 60) * 4 * VG_MINUTE_US;
            make(&made[i], patient, 60 + i % 4, 1, codes[(state >> 40) % 5][0],
                 36 + (double)(state >> 33 & 63), received_us - late_us, received_us);
            records[i] = made[i].record;
        }
        process(records, MANY, batches[b]);
        final_state(b == 0 ? first : other, sizeof(first));
        if (b > 0)
            CHECK(strcmp(first, other) == 0);
        CHECK_ROW("again, as after a crash before the commit");
        process(records, MANY, 50);
        final_state(other, sizeof(other));
        CHECK(strcmp(first, other) == 0);
        close_score();
        close_stream();
    }
    for (int i = 0; i < MANY; i++)
        vg_buf_fini(&made[i].headers);
}

/* Reads until the stage has put out `count` records or ten seconds went by. */
static size_t wait_for_scores(size_t count)
{
    int64_t deadline_us = vg_mono_us() + 10 * VG_SECOND_US;
    size_t got = 0;

    while (got < count && vg_mono_us() < deadline_us) {
        struct stream_batch batch;

        if (stream_read(scored_consumer, 100, VG_SECOND_US / 10, &batch, NULL) == VG_OK)
            got += batch.count;
    }
    return got;
}

static void put_enriched(const struct made *made)
{
    struct stream_out out;

    stream_out_init(&out);
    stream_out_add(&out, STREAM_ENRICHED, made->record.time_us, made->record.key,
                   made->record.headers, made->record.value);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
}

static void test_windows_are_rebuilt_after_a_restart(void)
{
    struct made made[4];
    struct stage *running = NULL;
    struct vg_err err = {0};

    open_stream();
    set_now(T0 + VG_HOUR_US);
    make(&made[0], "p1", 76, 1, "rr", 26, T0, T0);
    make(&made[1], "p1", 76, 1, "hr", 125, T0, T0);
    make(&made[2], "p1", 76, 1, "sys", 95, T0 + VG_HOUR_US, T0 + VG_HOUR_US);
    make(&made[3], "p1", 76, 1, "spo2", 97, T0 - 30 * VG_HOUR_US, T0 - 30 * VG_HOUR_US);
    for (int run = 0; run < 2; run++) {
        struct stage_config config;

        open_score(MODEL_DIR);
        config = (struct stage_config){
            .ops = score_stage_ops(score), .self = stage, .stream = stream, .clock = &test_clock};
        CHECK(stage_start(&config, &running, &err) == VG_OK);
        if (run == 0) {
            put_enriched(&made[3]);
            CHECK(wait_for_scores(1) == 1);
            put_enriched(&made[0]);
            CHECK(wait_for_scores(1) == 1);
            put_enriched(&made[1]);
            CHECK(wait_for_scores(1) == 1);
        } else {
            put_enriched(&made[2]);
            stream_seek(scored_consumer, stream_position(scored_consumer));
            CHECK(wait_for_scores(1) == 1);
        }
        stage_stop(running);
        close_score();
    }
    stream_seek(scored_consumer, 0);
    CHECK(scored() == 4);
    CHECK_ROW("the values from before the restart are in the score after it");
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 3 + 2 + 2));
    CHECK(text_is(vg_json_get(last, "news2"), "band", "high"));
    close_stream();
    for (int i = 0; i < 4; i++)
        vg_buf_fini(&made[i].headers);
}

/* Two devices of one patient in two partitions: one window. */
static void test_partitions_share_a_patient(void)
{
    struct made made[2];
    struct score_stage *first, *second = NULL;
    struct vg_err err = {0};

    open_stream();
    open_score(NULL);
    first = stage;
    CHECK(score_stage_open(score, 1, &second, &err) == VG_OK);
    make(&made[0], "p1", 76, 1, "rr", 26, T0, T0);
    make(&made[1], "p1", 76, 1, "hr", 125, T0, T0);
    process(&made[0].record, 1, 1);
    stage = second;
    process(&made[1].record, 1, 1);
    CHECK(scored() == 2);
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 5));
    CHECK_ROW("the expiry is told by the partition that saw it last, once");
    set_now(T0 + 5 * VG_HOUR_US);
    stage = first;
    tick();
    CHECK(scored() == 0);
    stage = second;
    tick();
    CHECK(scored() == 1);
    stage = first;
    score_stage_close(second);
    close_score();
    close_stream();
    for (int i = 0; i < 2; i++)
        vg_buf_fini(&made[i].headers);
}

/* Half an hour in which our own clock was a day ahead: what it left is not the newest for a day. */
static void test_a_clock_that_was_ahead_is_forgotten(void)
{
    open_stream();
    open_score(NULL);
    score_one("hr", 70, T0);
    score_one("hr", 140, T0 + VG_DAY_US);
    CHECK(scored() == 2 && is(number(vg_json_get(last, "news2"), "low"), 3));
    set_now(T0 + VG_MINUTE_US);
    score_one("hr", 75, T0 + VG_MINUTE_US);
    CHECK(scored() == 1);
    CHECK(text_is(last, "windowEnd", "2026-03-18T00:01:00.000Z"));
    CHECK(is(number(part("vitals", NULL, "code", "8867-4"), "value"), 75));
    CHECK(text_is(part("vitals", NULL, "code", "8867-4"), "state", "ok"));
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 0));
    close_score();
    close_stream();
}

/* After a restart partitions are read in no order: an older record of another one says nothing of
 * where the patient is now. */
static void test_an_older_context_of_another_partition(void)
{
    struct score_stage *second = NULL;
    struct made made[2];
    struct stream_batch batch;
    const struct stage_ops *ops;

    open_stream();
    open_score(NULL);
    ops = score_stage_ops(score);
    CHECK(score_stage_open(score, 1, &second, NULL) == VG_OK);
    make(&made[0], "p1", 76, 2, "rr", 16, T0, T0);
    make(&made[1], "p1", 76, 1, "spo2", 90, T0 - VG_HOUR_US, T0 - VG_HOUR_US);
    set_now(T0);
    for (int i = 0; i < 2; i++) {
        batch = (struct stream_batch){&made[i].record, 1, 1};
        CHECK(ops->restore(i == 0 ? stage : second, &batch, NULL) == VG_OK);
    }
    set_now(T0 + 4 * VG_HOUR_US);
    CHECK_ROW("the timer of the partition that heard last tells what expired, with its context");
    tick();
    CHECK(scored() == 1);
    CHECK(text_is(part("parts", "news2", "part", "spo2"), "state", "expired"));
    CHECK(text_is(part("parts", "news2", "part", "respiration"), "state", "ok"));
    score_stage_close(second);
    close_score();
    close_stream();
    for (int i = 0; i < 2; i++)
        vg_buf_fini(&made[i].headers);
}

/* The platform was away for two days: that the values expired is told before the patient is
 * forgotten, or the board would show them as they were. */
static void test_expiry_is_told_however_late(void)
{
    struct made made;
    struct stream_batch batch;

    open_stream();
    open_score(NULL);
    make(&made, "p1", 76, 1, "rr", 26, T0, T0);
    set_now(T0 + 2 * VG_DAY_US);
    batch = (struct stream_batch){&made.record, 1, 1};
    CHECK(score_stage_ops(score)->restore(stage, &batch, NULL) == VG_OK);
    CHECK(score_patients(score) == 1);
    tick();
    CHECK(scored() == 1 && text_is(last, "trigger", "timer"));
    CHECK(text_is(part("parts", "news2", "part", "respiration"), "state", "expired"));
    tick();
    CHECK(scored() == 0 && score_patients(score) == 0);
    vg_buf_fini(&made.headers);
    close_score();
    close_stream();
}

/* "respiration rate rose from 16": which Observation had the 16. */
static void test_a_contribution_names_where_it_rose_from(void)
{
    static const char from[] = "000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const struct vg_json *rose;

    open_stream();
    open_score(MODEL_DIR);
    made_observation = from;
    score_one("rr", 16, T0);
    made_observation = NULL;
    score_one("hr", 135, T0 + 30 * VG_MINUTE_US);
    score_one("rr", 30, T0 + VG_HOUR_US);
    CHECK(scored() == 3);
    rose = part("contributions", "model", "vital", "respiration");
    if (CHECK(rose != NULL)) {
        CHECK(text_is(rose, "text", "respiration rate rose from 16 to 30 /min in 1 h"));
        CHECK(text_is(rose, "since", "2026-03-18T00:00:00.000Z"));
        CHECK(text_is(rose, "sinceObservationId", from));
    }
    close_score();
    close_stream();
}

/* A battery that reports is no sign of life. */
static void test_only_vital_signs_are_heard_of(void)
{
    open_stream();
    open_score(NULL);
    score_one("rr", 16, T0);
    score_one("glucose", 110, T0 + VG_HOUR_US);
    CHECK(scored() == 2);
    CHECK(text_is(part("vitals", NULL, "code", "2339-0"), "time", "2026-03-18T01:00:00.000Z"));
    CHECK(text_is(last, "heardTime", "2026-03-18T00:00:00.000Z"));
    close_score();
    close_stream();
}

static void test_patients_are_bounded(void)
{
    struct score_config config = {.patients_max = 10, .clock = &test_clock};
    struct made made;

    open_stream();
    CHECK(score_open(&config, &score, NULL) == VG_OK);
    CHECK(score_stage_open(score, 0, &stage, NULL) == VG_OK);
    for (int i = 0; i < 50; i++) {
        char patient[16];

        (void)snprintf(patient, sizeof(patient), "q%d", i);
        make(&made, patient, 76, 1, "hr", 70, T0, T0);
        process(&made.record, 1, 1);
        vg_buf_fini(&made.headers);
        CHECK(score_patients(score) <= 10);
    }
    close_score();
    close_stream();
}

/* Step 11: who is new here has a past in the lake. */
static void test_a_cold_patient_has_a_past(void)
{
    struct lake_config config = {0};
    struct made made[3];
    char lake_dir[96];
    struct vg_err err = {0};

    open_stream();
    (void)snprintf(lake_dir, sizeof(lake_dir), "%s/lake", dir);
    config.dir = lake_dir;
    if (!CHECK(lake_open(&config, &lake, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        close_stream();
        return;
    }
    make(&made[0], "p1", 76, 1, "tempf", 102.2, T0 - 2 * VG_HOUR_US, T0 - 2 * VG_HOUR_US);
    make(&made[1], "p1", 76, 1, "rr", 14, T0 - VG_HOUR_US, T0 - VG_HOUR_US);
    make(&made[2], "p1", 76, 1, "rr", 26, T0, T0);
    for (int i = 0; i < 2; i++)
        CHECK(lake_append(lake, LAKE_ENRICHED, "capture-0", made[i].record.value,
                          vg_slice_of(made[i].header), &err) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "capture-0", 2, &err) == VG_OK);
    open_score(MODEL_DIR);
    process(&made[2].record, 1, 1);
    CHECK(scored() == 1);
    /* respiration 26: 3; the temperature of 39.0 two hours ago: 1 */
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 4));
    CHECK(text_is(part("parts", "news2", "part", "temperature"), "state", "ok"));
    CHECK(fabs(number(part("parts", "news2", "part", "temperature"), "value") - 39) < 0.01);
    close_score();
    lake_close(lake);
    lake = NULL;
    close_stream();
    for (int i = 0; i < 3; i++)
        vg_buf_fini(&made[i].headers);
}

#define DAY 90

/* What the last record says from NEWS2 on. */
static void last_words(char *out, size_t size_bytes)
{
    struct stream_batch batch;
    char text[8192] = "";
    const char *from;

    while (stream_read(scored_consumer, 1000, 0, &batch, NULL) == VG_OK)
        CHECK(vg_slice_to_cstr(batch.records[batch.count - 1].value, text, sizeof(text)));
    from = strstr(text, "\"news2\"");
    (void)snprintf(out, size_bytes, "%s", CHECK(from != NULL) ? from : "");
}

/* A partition moves to where its journal begins in the middle: the lake has what came before. Late
 * readings are among them, and corrections of what the lake has. */
static void test_lake_and_journal_make_one_past(void)
{
    static struct made made[DAY];
    static struct stream_record records[DAY];
    static char want[8192], got[8192];
    static const size_t begins[] = {0, 30, 60, DAY - 2}; /* 0: all in the journal */
    struct lake_config config = {0};
    char lake_dir[96];
    struct vg_err err = {0};

    for (size_t b = 0; b < sizeof(begins) / sizeof(begins[0]); b++) {
        open_stream();
        for (int i = 0; i < DAY; i++) {
            int64_t now_us = T0 + i * 4 * VG_MINUTE_US;
            int64_t at_us = now_us - (i % 11 == 5 ? 40 * VG_MINUTE_US : i * VG_SECOND_US);

            if (b == 0)
                make(&made[i], "p1", 76, 1, codes[i % 5][0], 60 + i % 5 * 8 + i % 3, at_us, now_us);
            records[i] = made[i].record;
        }
        if (begins[b] > 0) {
            (void)snprintf(lake_dir, sizeof(lake_dir), "%s/lake", dir);
            config.dir = lake_dir;
            CHECK(lake_open(&config, &lake, &err) == VG_OK);
            for (size_t i = 0; i < begins[b]; i++)
                CHECK(lake_append(lake, LAKE_ENRICHED, "capture-0", records[i].value,
                                  VG_SLICE("0-1"), &err) == VG_OK);
            CHECK(lake_flush(lake, LAKE_ENRICHED, "capture-0", begins[b], &err) == VG_OK);
        }
        open_score(MODEL_DIR);
        process(records + begins[b], DAY - begins[b], 10);
        last_words(b == 0 ? want : got, sizeof(want));
        CHECK_ROW("the same, wherever the journal begins");
        if (b > 0 && !CHECK(strcmp(want, got) == 0))
            printf("%s\n%s\n", want, got);
        close_score();
        lake_close(lake);
        lake = NULL;
        close_stream();
    }
    for (int i = 0; i < DAY; i++)
        vg_buf_fini(&made[i].headers);
}

int main(void)
{
    vg_arena_init(&arena, 0);
    RUN(test_one_record_for_a_patient_and_batch);
    RUN(test_traces_are_united);
    RUN(test_expiry_by_timer);
    RUN(test_what_is_not_scored);
    RUN(test_a_backlog_is_not_fresh);
    RUN(test_bad_records_are_dead_letters);
    RUN(test_any_batches_give_the_same_state);
    RUN(test_windows_are_rebuilt_after_a_restart);
    RUN(test_partitions_share_a_patient);
    RUN(test_a_clock_that_was_ahead_is_forgotten);
    RUN(test_an_older_context_of_another_partition);
    RUN(test_expiry_is_told_however_late);
    RUN(test_a_contribution_names_where_it_rose_from);
    RUN(test_only_vital_signs_are_heard_of);
    RUN(test_patients_are_bounded);
    RUN(test_a_cold_patient_has_a_past);
    RUN(test_lake_and_journal_make_one_past);
    vg_arena_fini(&arena);
    return vg_test_report();
}
