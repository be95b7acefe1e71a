/* remote_test.c -- models in other processes: they hold up nobody, what they answer follows in
 * order, and a crash neither loses a record nor doubles one. */
#include "score/score_int.h"

#include "base/http_server.h"
#include "score/score_test_int.h"

#define DEADLINE_US (20 * VG_SECOND_US)
#define PATIENTS 20
#define HANG_MS 1500

/* ---- a model's server, that hangs when it is told to ---- */

static struct vg_loop *loop;
static struct vg_http_server *server;
static int asked, hangs; /* atomic */
static struct vg_http_request *kept[64];
static size_t kept_count;

static void answer(struct vg_http_request *request, void *ctx)
{
    struct vg_slice body = vg_http_body(request);
    size_t rows = 0;
    struct vg_buf out;

    (void)ctx;
    (void)__atomic_add_fetch(&asked, 1, __ATOMIC_ACQ_REL);
    if (__atomic_load_n(&hangs, __ATOMIC_ACQUIRE) && kept_count < 64) {
        kept[kept_count++] = request;
        return;
    }
    body = vg_slice_from(
        body, (size_t)((const char *)memmem(body.ptr, body.len, "\"data\":[", 8) - body.ptr) + 8);
    for (size_t i = 0; i < body.len; i++)
        rows += body.ptr[i] == '[';
    vg_buf_init(&out, 0);
    for (size_t r = 0; r < rows; r++)
        vg_buf_printf(&out, "%s0.5", r == 0 ? "[" : ",");
    vg_buf_put_byte(&out, ']');
    vg_http_reply(request, 200, "application/json", vg_buf_slice(&out));
    vg_buf_fini(&out);
}

static void let_go(void *ctx)
{
    (void)ctx;
    while (kept_count > 0)
        vg_http_reply_error(kept[--kept_count], 500, "test", "late");
}

static void set_hangs(bool value)
{
    __atomic_store_n(&hangs, value, __ATOMIC_RELEASE);
}

static int asked_now(void)
{
    return __atomic_load_n(&asked, __ATOMIC_ACQUIRE);
}

static void open_server(void)
{
    struct vg_http_server_config config = {.address = "127.0.0.1"};
    struct vg_err err = {0};

    CHECK(vg_loop_open("test", &loop, &err) == VG_OK &&
          vg_http_server_open(loop, &config, &server, &err) == VG_OK &&
          vg_http_route(server, "POST", "/invocations", answer, NULL, &err) == VG_OK &&
          vg_loop_start(loop, &err) == VG_OK);
    set_hangs(false);
}

static void close_server(void)
{
    CHECK(vg_loop_post(loop, let_go, NULL));
    vg_loop_stop(loop);
    vg_http_server_close(server);
    vg_loop_close(loop);
}

/* DIR/models: a is scored here, b over there. */
static void make_remote_model(const char *mode)
{
    char text[200];

    make_models();
    (void)snprintf(text, sizeof(text),
                   "{\"mode\":\"%s\",\"engine\":{\"kind\":\"mlflow\",\"url\":"
                   "\"http://127.0.0.1:%u\",\"deadlineMs\":%d}}",
                   mode, (unsigned)vg_http_server_port(server), HANG_MS);
    put_file("b/live.json", text);
    shell("rm %s/b/model.json", models_dir);
}

/* ---- both stages ---- */

static struct score_stage *remote_stage;
static struct stage *running[2];

static void start_remote(void)
{
    struct stage_config config = {
        .ops = score_remote_ops(), .stream = stream, .clock = &test_clock};

    CHECK(score_stage_open(score, 0, &remote_stage, NULL) == VG_OK);
    config.self = remote_stage;
    CHECK(stage_start(&config, &running[1], NULL) == VG_OK);
}

static void start_both(void)
{
    struct stage_config config = {.stream = stream, .clock = &test_clock};

    open_score(models_dir);
    config.ops = score_stage_ops(score);
    config.self = stage;
    CHECK(stage_start(&config, &running[0], NULL) == VG_OK);
    start_remote();
}

static void stop_remote(void)
{
    stage_stop(running[1]);
    score_stage_close(remote_stage);
}

static void stop_both(void)
{
    stage_stop(running[0]);
    stop_remote();
    close_score();
}

static void put_reading(const char *patient, double value, int64_t time_us)
{
    struct made made;
    struct stream_out out;

    make(&made, patient, 76, 1, "rr", value, time_us, time_us);
    set_now(time_us);
    stream_out_init(&out);
    stream_out_add(&out, STREAM_ENRICHED, time_us, made.record.key, made.record.headers,
                   made.record.value);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    stream_out_fini(&out);
    vg_buf_fini(&made.headers);
}

/* Reads scored records until `count` of the trigger came; the last is parsed. */
static size_t wait_for(const char *trigger, size_t count)
{
    int64_t deadline_us = vg_mono_us() + DEADLINE_US;
    struct stream_batch batch;
    size_t got = 0;

    vg_arena_reset(&arena);
    while (got < count && vg_mono_us() < deadline_us) {
        if (stream_read(scored_consumer, 1, VG_SECOND_US / 10, &batch, NULL) != VG_OK)
            continue;
        CHECK(vg_json_parse(&arena, vg_arena_dup(&arena, batch.records[0].value), NULL, &last, NULL,
                            NULL) == VG_OK);
        got += text_is(last, "trigger", trigger);
    }
    return got;
}

static void test_an_answer_follows_the_record(void)
{
    struct vg_json *first;

    open_server();
    open_stream();
    make_remote_model("show");
    start_both();
    put_reading("p1", 26, T0);
    CHECK(wait_for("reading", 1) == 1);
    CHECK_ROW("the first record does not wait and says so");
    CHECK(text_is(part("models", NULL, "name", "second"), "engine", "none"));
    CHECK(text_is(part("models", NULL, "name", "second"), "fallback", "news2"));
    CHECK(vg_json_get(last, "model") == NULL); /* the other is silent */
    CHECK(number(part("models", NULL, "name", "sepsis-vitals"), "probability") > 0);
    vg_arena_reset(&arena);
    stream_seek(scored_consumer, 0);
    CHECK(wait_for("reading", 1) == 1);
    first = last;
    {
        struct stream_batch batch;

        CHECK(stream_read(scored_consumer, 1, DEADLINE_US, &batch, NULL) == VG_OK);
        CHECK(vg_json_parse(&arena, vg_arena_dup(&arena, batch.records[0].value), NULL, &last, NULL,
                            NULL) == VG_OK);
        CHECK_ROW("the one that follows is the same but for the answer");
        CHECK(vg_slice_is(stream_header_get(batch.records[0].headers, "trace"), "0-0"));
        CHECK(!stream_header_get(batch.records[0].headers, HEADER_ROW "second").ptr);
    }
    CHECK(text_is(last, "trigger", "remote"));
    CHECK(text_is(part("models", NULL, "name", "second"), "engine", "remote"));
    CHECK(is(number(part("models", NULL, "name", "second"), "probability"), 0.5));
    CHECK(text_is(part("models", NULL, "name", "second"), "band", "high"));
    CHECK(vg_json_get(part("models", NULL, "name", "second"), "fallback") == NULL);
    CHECK(text_is(vg_json_get(last, "model"), "name", "second") &&
          is(number(vg_json_get(last, "model"), "probability"), 0.5));
    {
        static const char *const same[] = {"patientId", "windowEnd", "scoredTime", "news2",
                                           "vitals"};

        for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
            CHECK(vg_slice_eq(vg_json_get(first, same[i])->source,
                              vg_json_get(last, same[i])->source));
    }
    CHECK(vg_json_get(last, "answeredTime") != NULL);
    stop_both();
    close_stream();
    close_server();
}

static void test_a_server_that_hangs_holds_up_nobody(void)
{
    int64_t start_us;

    open_server();
    open_stream();
    make_remote_model("silent");
    start_both();
    set_hangs(true);
    put_reading("p0", 26, T0);
    CHECK(wait_for("reading", 1) == 1);
    start_us = vg_mono_us();
    for (int i = 1; i <= PATIENTS; i++) {
        char patient[16];

        (void)snprintf(patient, sizeof(patient), "p%d", i);
        put_reading(patient, 20 + i % 8, T0 + i);
        CHECK(wait_for("reading", 1) == 1);
    }
    start_us = vg_mono_us() - start_us;
    printf("a server that hangs for %d ms: %d records one after the other in %lld ms\n", HANG_MS,
           PATIENTS, (long long)start_us / 1000);
    CHECK(start_us < HANG_MS * 1000);
    CHECK_ROW("one question is on its way at a time, and after three failures none");
    CHECK(asked_now() >= 1 && asked_now() <= 3);
    stop_both();
    close_stream();
    close_server();
}

/* One call of the stage with the scored records so far; what it put out is dropped, as by a crash.
 */
static uint32_t ask_about_all(struct vg_buf *out_bytes)
{
    struct stream_batch batch;
    struct stream_out out;
    struct vg_err err = {0};
    uint32_t count;

    stream_seek(scored_consumer, 0);
    CHECK(stream_read(scored_consumer, 100, 0, &batch, NULL) == VG_OK);
    stream_out_init(&out);
    CHECK(score_remote_ops()->process(remote_stage, &batch, &out, &err) == VG_OK);
    count = out.record_count;
    vg_buf_clear(out_bytes);
    vg_buf_put(out_bytes, vg_buf_slice(&out.records));
    stream_out_fini(&out);
    return count;
}

static void test_what_was_not_committed_is_asked_again(void)
{
    struct vg_buf first, again;
    struct made other;
    int before;

    open_server();
    open_stream();
    make_remote_model("silent");
    open_score(models_dir);
    CHECK(score_stage_open(score, 0, &remote_stage, NULL) == VG_OK);
    vg_buf_init(&first, 0);
    vg_buf_init(&again, 0);
    score_one("rr", 26, T0);
    score_one("rr", 27, T0 + 1);
    make(&other, "p2", 76, 1, "rr", 14, T0 + 2, T0 + 2);
    process(&other.record, 1, 1);
    vg_buf_fini(&other.headers);
    CHECK_ROW("each patient's newest is asked about, all in one question");
    CHECK(ask_about_all(&first) == 2 && asked_now() > 0);
    before = asked_now();
    CHECK_ROW("after a crash the same is said");
    CHECK(ask_about_all(&again) == 2 && asked_now() == before + 1);
    CHECK(vg_slice_eq(vg_buf_slice(&first), vg_buf_slice(&again)));
    CHECK_ROW("not about what is long ago");
    set_now(T0 + 2 * VG_MINUTE_US);
    CHECK(ask_about_all(&again) == 0 && asked_now() == before + 1);
    set_now(T0 + 2);
    CHECK_ROW("nor with a row that was made for another model");
    shell("sed -i 's/\"version\": *\"/&x/' %s/b/card.json", models_dir);
    CHECK(score_reload(score, NULL) == VG_OK);
    CHECK(ask_about_all(&again) == 0 && asked_now() == before + 1);
    vg_buf_fini(&first);
    vg_buf_fini(&again);
    score_stage_close(remote_stage);
    close_score();
    close_stream();
    close_server();
}

int main(void)
{
    vg_arena_init(&arena, 0);
    RUN(test_an_answer_follows_the_record);
    RUN(test_a_server_that_hangs_holds_up_nobody);
    RUN(test_what_was_not_committed_is_asked_again);
    vg_arena_fini(&arena);
    return vg_test_report();
}
