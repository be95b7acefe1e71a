/* The alert stage over a real journal, a real FHIR store and a real repository; the notifier
 * against a real HTTP server. */
#include "alert/alert.h"
#include "alert/card.h"
#include "alert/resources.h"

#include "base/crypto.h"
#include "base/http_server.h"
#include "base/json.h"

#include "vg_test.h"

#include <pthread.h>
#include <unistd.h>

#define DEADLINE_US (20 * VG_SECOND_US)

static char dir[64];
static struct stream *stream;
static struct fhir_store *fhir;
static struct care *care;
static struct alert *alert;
static struct stage *stage;
static struct vg_arena arena;
static struct vg_buf answer;

static void must(enum vg_status st, const struct vg_err *err)
{
    if (CHECK(st == VG_OK))
        return;
    printf("%s: %s\n", err->code ? err->code : "", err->text);
    exit(1);
}

static struct alert_config alert_config;

static void open_all(void)
{
    char fhir_path[96], care_path[96], stream_path[96];
    struct vg_err err = {0};

    (void)snprintf(fhir_path, sizeof(fhir_path), "%s/fhir.db", dir);
    (void)snprintf(care_path, sizeof(care_path), "%s/care.db", dir);
    (void)snprintf(stream_path, sizeof(stream_path), "%s/stream", dir);
    must(fhir_open(&(struct fhir_config){.path = fhir_path, .base_url = "https://localhost/fhir"},
                   &fhir, &err),
         &err);
    must(care_open(&(struct care_config){.path = care_path}, &care, &err), &err);
    must(stream_open(&(struct stream_config){.dir = stream_path, .segment_bytes = 1u << 20},
                     &stream, &err),
         &err);
    alert_config.care = care;
    alert_config.fhir = fhir;
    must(alert_open(&alert_config, &alert, &err), &err);
    must(stage_start(
             &(struct stage_config){.ops = alert_stage(alert), .self = alert, .stream = stream},
             &stage, &err),
         &err);
}

static void close_all(void)
{
    stage_stop(stage);
    alert_close(alert);
    stream_close(stream);
    care_close(care);
    fhir_close(fhir);
}

static void fresh(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/vigil-alert-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    open_all();
}

static void put_patient(const char *id)
{
    struct fhir_written written;
    char body[128];
    struct vg_err err = {0};

    (void)snprintf(body, sizeof(body), "{\"resourceType\":\"Patient\",\"id\":\"%s\"}", id);
    must(fhir_commit(fhir,
                     &(struct fhir_write){.what = FHIR_UPDATE,
                                          .type = VG_SLICE("Patient"),
                                          .id = vg_slice_of(id),
                                          .body = vg_slice_of(body)},
                     1, &arena, &written, NULL, &err),
         &err);
}

/* The record's model, as JSON. */
static const char *model_json =
    "{\"name\":\"sepsis-vitals\",\"version\":\"1\",\"probability\":0.031,\"horizonHours\":6,"
    "\"band\":\"low\"}";

/* Puts one evaluation on the topic; returns the sequence number after it. */
static uint64_t put_scored_at(const char *patient, int low, int64_t window_end_us,
                              int64_t scored_us, const char *state)
{
    struct stream_out out;
    struct vg_buf headers;
    char record[1024], time[VG_TIME_TEXT_SIZE], scored[VG_TIME_TEXT_SIZE];
    struct vg_err err = {0};
    uint64_t seq;

    (void)vg_time_format(window_end_us, 3, time);
    (void)vg_time_format(scored_us, 3, scored);
    (void)snprintf(
        record, sizeof(record),
        "{\"patientId\":\"%s\",\"patient\":{\"name\":\"Ada Example\"},\"location\":\"Bed 1\","
        "\"windowEnd\":\"%s\",\"scoredTime\":\"%s\",\"trigger\":\"reading\",\"news2\":{\"low\":%d,"
        "\"high\":%d,\"complete\":false,\"band\":\"%s\",\"parts\":[{\"part\":\"respiration\","
        "\"score\":3,\"value\":26,\"unit\":\"/min\",\"state\":\"%s\"}]},\"model\":%s,"
        "\"vitals\":[{\"code\":\"9279-1\",\"name\":\"respiration\",\"value\":26,\"unit\":"
        "\"/min\",\"time\":\"%s\",\"observationId\":\"o1\",\"state\":\"ok\"}]}",
        patient, time, scored, low, low + 2,
        low >= 7   ? "high"
        : low >= 5 ? "medium"
                   : "low",
        state, model_json, time);
    stream_out_init(&out);
    vg_buf_init(&headers, 1024);
    stream_header_put(&headers, "trace", VG_SLICE("0-7"));
    stream_out_add(&out, STREAM_SCORED, vg_now_us(), vg_slice_of(patient), vg_buf_slice(&headers),
                   vg_slice_of(record));
    must(stream_commit(stream, 0, &out, &seq, &err), &err);
    stream_out_fini(&out);
    vg_buf_fini(&headers);
    return seq + 1;
}

static uint64_t put_scored(const char *patient, int low, int64_t window_end_us, const char *state)
{
    return put_scored_at(patient, low, window_end_us, window_end_us, state);
}

static bool wait_applied(uint64_t seq)
{
    int64_t deadline_us = vg_mono_us() + DEADLINE_US;

    while (stream_committed(stream, "alert", STREAM_SCORED, 0) < seq) {
        if (vg_mono_us() > deadline_us)
            return false;
        (void)usleep(2000); /* a poll against the deadline above */
    }
    return true;
}

static size_t count_of(const char *type, const char *query, struct fhir_results *results)
{
    struct fhir_results here;
    struct vg_err err = {0};

    must(fhir_search(fhir, vg_slice_of(type), vg_slice_of(query), &arena, results ? results : &here,
                     &err),
         &err);
    return results ? results->count : here.count;
}

static const struct vg_json *body_of(const struct fhir_resource *resource)
{
    struct vg_json *root = NULL;

    CHECK(vg_json_parse(&arena, resource->body, NULL, &root, NULL, NULL) == VG_OK);
    return root;
}

static void test_an_episode_from_opening_to_closing(void)
{
    struct fhir_results flags, risks;
    const struct vg_json *flag, *risk, *prediction;
    int64_t t = 1000 * VG_SECOND_US;

    fresh();
    put_patient("p1");
    CHECK(wait_applied(put_scored("p1", 8, t, "ok")));
    CHECK(count_of("Flag", "patient=p1", NULL) == 0); /* one evaluation is not an episode */
    CHECK(wait_applied(put_scored("p1", 8, t + VG_SECOND_US, "ok")));
    if (!CHECK(count_of("Flag", "patient=p1", &flags) == 1))
        exit(1);
    flag = body_of(&flags.resources[0]);
    CHECK(vg_slice_is(vg_json_get_text(flag, "status"), "active"));
    CHECK(count_of("RiskAssessment", "patient=p1&_sort=date", &risks) == 2);
    risk = body_of(&risks.resources[0]);
    prediction = vg_json_at(vg_json_get(risk, "prediction"), 1);
    /* R4 wants a percentage here. */
    CHECK(vg_slice_is(vg_json_get(prediction, "probabilityDecimal")->source, "3.1000"));
    CHECK(vg_slice_is(vg_json_get_text(vg_json_at(vg_json_get(risk, "basis"), 0), "reference"),
                      "Observation/o1"));

    /* Values that expired bring the score down: the flag stays. */
    CHECK(wait_applied(put_scored("p1", 0, t + 100 * VG_SECOND_US, "expired")));
    CHECK(wait_applied(put_scored("p1", 0, t + 300 * VG_SECOND_US, "expired")));
    (void)count_of("Flag", "patient=p1", &flags);
    CHECK(vg_slice_is(vg_json_get_text(body_of(&flags.resources[0]), "status"), "active"));

    CHECK(wait_applied(put_scored("p1", 1, t + 400 * VG_SECOND_US, "ok")));
    CHECK(wait_applied(put_scored("p1", 1, t + 470 * VG_SECOND_US, "ok")));
    CHECK(count_of("Flag", "patient=p1", &flags) == 1);
    flag = body_of(&flags.resources[0]);
    CHECK(vg_slice_is(vg_json_get_text(flag, "status"), "inactive"));
    CHECK(vg_slice_is(vg_json_get_text(vg_json_get(flag, "period"), "end"),
                      "1970-01-01T00:24:30.000Z"));
    close_all();
}

/* What a RiskAssessment rests on, from the record's values and contributions. */
static void test_the_basis_names_the_exact_observations(void)
{
    static const struct {
        const char *name, *vitals, *contributions, *want;
    } rows[] = {
        {"the newest of each value",
         "{\"observationId\":\"a\",\"state\":\"ok\"},{\"observationId\":\"b\",\"state\":\"ok\"}",
         "", "a b "},
        {"not what expired",
         "{\"observationId\":\"a\",\"state\":\"expired\"},{\"observationId\":\"b\",\"state\":"
         "\"ok\"}",
         "", "b "},
        {"not what no score counts",
         "{\"observationId\":\"a\",\"state\":\"ok\",\"used\":false},{\"observationId\":\"b\","
         "\"state\":\"ok\"}",
         "", "b "},
        {"one message is one Observation",
         "{\"observationId\":\"a\",\"state\":\"ok\"},{\"observationId\":\"a\",\"state\":\"ok\"}",
         "", "a "},
        {"and the older one that a contribution's words name",
         "{\"observationId\":\"a\",\"state\":\"ok\"}",
         "{\"text\":\"rose from 18\",\"sinceObservationId\":\"c\"},{\"text\":\"age 76\"},"
         "{\"sinceObservationId\":\"c\"},{\"sinceObservationId\":\"a\"}",
         "a c "},
        {"nothing is nothing", "{\"state\":\"ok\"}", "", ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[1024], got[64] = "";
        struct stream_record record = {.seq = 1};
        const struct vg_json *basis;
        struct vg_json *root = NULL;
        struct scored s;
        size_t len = 0;

        CHECK_ROW(rows[i].name);
        vg_arena_reset(&arena);
        record.value = (struct vg_slice){
            text, (size_t)snprintf(text, sizeof(text),
                                   "{\"patientId\":\"p1\",\"windowEnd\":\"2026-03-18T00:00:00Z\","
                                   "\"scoredTime\":\"2026-03-18T00:00:00Z\",\"models\":[{\"name\":"
                                   "\"m\",\"contributions\":[%s]}],\"vitals\":[%s]}",
                                   rows[i].contributions, rows[i].vitals)};
        CHECK(scored_parse(&arena, &record, &s, NULL) == VG_OK);
        CHECK(vg_json_parse(&arena, risk_assessment_body(&arena, &s, VG_SLICE("ra-1")), NULL, &root,
                            NULL, NULL) == VG_OK);
        basis = vg_json_get(root, "basis");
        for (const struct vg_json *b = basis ? basis->child : NULL; b; b = b->next)
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%.*s ",
                                    VG_FMT(vg_slice_from(vg_json_get_text(b, "reference"),
                                                         sizeof("Observation/") - 1)));
        CHECK(strcmp(got, rows[i].want) == 0);
    }
}

/* One device's clock is ten minutes fast: the window's end stands still until then, the alert does
 * not wait for it. */
static void test_a_fast_clock_does_not_hold_back_an_alert(void)
{
    int64_t t = 1000 * VG_SECOND_US, ahead_us = t + 600 * VG_SECOND_US;

    fresh();
    put_patient("p1");
    (void)put_scored_at("p1", 2, ahead_us, t, "ok");
    (void)put_scored_at("p1", 8, ahead_us, t + 10 * VG_SECOND_US, "ok");
    CHECK(wait_applied(put_scored_at("p1", 8, ahead_us, t + 20 * VG_SECOND_US, "ok")));
    CHECK(count_of("Flag", "patient=p1", NULL) == 1);
    (void)put_scored_at("p1", 1, ahead_us, t + 30 * VG_SECOND_US, "ok");
    (void)put_scored_at("p1", 1, ahead_us, t + 100 * VG_SECOND_US, "ok");
    (void)put_scored_at("p1", 8, ahead_us, t + 110 * VG_SECOND_US, "ok");
    CHECK(wait_applied(put_scored_at("p1", 8, ahead_us, t + 120 * VG_SECOND_US, "ok")));
    CHECK(count_of("Flag", "patient=p1", NULL) == 2); /* a new episode is a new flag */
    close_all();
}

/* The offset is thrown away, as if the machine had died after the repository's commit. */
static void test_a_replay_changes_nothing(void)
{
    struct fhir_results before, after;
    int64_t t = 1000 * VG_SECOND_US;
    struct care_batch *batch;
    uint64_t seq, applied;

    fresh();
    put_patient("p1");
    (void)put_scored("p1", 8, t, "ok");
    seq = put_scored("p1", 8, t + VG_SECOND_US, "ok");
    CHECK(wait_applied(seq));
    (void)count_of("Flag", "patient=p1", &before);
    stage_stop(stage);
    alert_close(alert);
    stream_close(stream);

    /* A journal with the same records and no offset: the same evaluations come again. */
    (void)snprintf(dir + strlen(dir), 2, "x");
    struct vg_err err = {0};
    must(stream_open(&(struct stream_config){.dir = dir, .segment_bytes = 1u << 20}, &stream, &err),
         &err);
    must(alert_open(&alert_config, &alert, &err), &err);
    const struct stage_config again = {.ops = alert_stage(alert), .self = alert, .stream = stream};

    CHECK(stage_start(&again, &stage, &err) == VG_REJECT); /* older than the repository */
    CHECK(strcmp(err.code, "stage.position") == 0);
    (void)put_scored("p1", 8, t, "ok");
    seq = put_scored("p1", 8, t + VG_SECOND_US, "ok");
    must(stage_start(&again, &stage, &err), &err);
    CHECK(wait_applied(seq));
    CHECK(count_of("Flag", "patient=p1", &after) == 1);
    CHECK(after.resources[0].version == before.resources[0].version);
    CHECK(count_of("RiskAssessment", "patient=p1", NULL) == 2);
    /* What was put on topics is told again: nobody knows whether it was. */
    struct stream_consumer *changed = NULL;
    struct stream_batch told;

    must(stream_consumer_open(stream, 0, STREAM_CARE_CHANGED, "test", &changed, &err), &err);
    CHECK(stream_read(changed, 10, DEADLINE_US, &told, &err) == VG_OK && told.count == 2);
    stream_consumer_close(changed);
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, &err) == VG_OK && applied == seq);
    care_batch_abort(batch);
    close_all();
}

/* Waits for `want` Flags of the query. */
static bool wait_flags(const char *query, size_t want)
{
    int64_t deadline_us = vg_mono_us() + DEADLINE_US;

    while (count_of("Flag", query, NULL) != want) {
        if (vg_mono_us() > deadline_us)
            return false;
        (void)usleep(5000); /* a poll against the deadline above */
    }
    return true;
}

static void test_a_model_raises_flags_only_where_it_may(void)
{
    static const char *const modes[] = {"silent", "show", "flag"};
    static const char title[] = "sepsis-vitals 18 % within 6 h: respiration 26 /min";
    const char *usual = model_json;
    struct fhir_results risks;
    char model[512];

    for (size_t i = 0; i < 3; i++) {
        int64_t t = 1000 * VG_SECOND_US;

        CHECK_ROW(modes[i]);
        (void)snprintf(model, sizeof(model),
                       "{\"name\":\"sepsis-vitals\",\"version\":\"1\",\"mode\":\"%s\","
                       "\"probability\":0.18,\"horizonHours\":6,\"band\":\"high\",\"thresholds\":{"
                       "\"medium\":0.07,\"high\":0.12},\"contributions\":[{\"vital\":"
                       "\"respiration\",\"value\":0.4,\"text\":\"respiration 26 /min\"}]}",
                       modes[i]);
        model_json = model;
        fresh();
        put_patient("p1");
        (void)put_scored("p1", 1, t, "ok");
        CHECK(wait_applied(put_scored("p1", 1, t + VG_SECOND_US, "ok")));
        CHECK(count_of("Flag", "patient=p1&status=active", NULL) == (i == 2));
        CHECK(count_of("RiskAssessment", "patient=p1", &risks) == 2);
        CHECK(vg_json_get(body_of(&risks.resources[0]), "prediction")->count == (i == 0 ? 1u : 2u));
        vg_buf_clear(&answer);
        CHECK(care_board_row(care, VG_SLICE("p1"), &answer, NULL) == VG_OK);
        CHECK((memmem(answer.ptr, answer.len, title, strlen(title)) != NULL) == (i == 2));
        close_all();
    }
    model_json = usual;
}

static void test_silence_is_an_alert_of_its_own_and_a_vital_sign_ends_it(void)
{
    int64_t now_us = vg_now_us();
    const struct vg_json *coding;
    struct fhir_results flags;

    alert_config.stale_us = VG_SECOND_US / 2;
    alert_config.tick_us = VG_SECOND_US / 20;
    fresh();
    put_patient("p1");
    CHECK(wait_applied(put_scored("p1", 1, now_us - VG_MINUTE_US, "ok")));
    CHECK(wait_flags("patient=p1&status=active", 1));
    (void)count_of("Flag", "patient=p1", &flags);
    CHECK(flags.count == 1); /* once, however often the timer looks */
    coding = vg_json_get(vg_json_get(body_of(&flags.resources[0]), "code"), "coding");
    CHECK(vg_slice_is(vg_json_get_text(vg_json_at(coding, 0), "code"), "stale-medium"));
    now_us = vg_now_us() + 30 * VG_SECOND_US;
    CHECK(wait_applied(put_scored("p1", 1, now_us, "ok")));
    CHECK(count_of("Flag", "patient=p1&status=active", NULL) == 0);
    close_all();

    /* Switched off while one is open: that one ends too. */
    fresh();
    put_patient("p1");
    CHECK(wait_applied(put_scored("p1", 1, vg_now_us() - VG_MINUTE_US, "ok")));
    CHECK(wait_flags("patient=p1&status=active", 1));
    close_all();
    alert_config.stale_us = 0;
    open_all();
    CHECK(wait_applied(put_scored("p1", 1, vg_now_us() + VG_SECOND_US, "ok")));
    CHECK(count_of("Flag", "patient=p1&status=active", NULL) == 0);
    close_all();
    alert_config = (struct alert_config){0};
}

static void test_the_end_of_monitoring_closes_the_flags(void)
{
    int64_t t = 1000 * VG_SECOND_US, change;

    alert_config.tick_us = VG_SECOND_US / 20;
    fresh();
    put_patient("p1");
    (void)put_scored("p1", 8, t, "ok");
    CHECK(wait_applied(put_scored("p1", 8, t + VG_SECOND_US, "ok")));
    CHECK(count_of("Flag", "patient=p1&status=active", NULL) == 1);
    CHECK(care_end_monitoring(care, VG_SLICE("p1"), VG_SLICE("ann"), VG_SLICE("went home"),
                              vg_now_us(), &change, NULL) == VG_OK);
    CHECK(wait_flags("patient=p1&status=active", 0));
    CHECK(count_of("Flag", "patient=p1&status=inactive", NULL) == 1);
    close_all();
    alert_config = (struct alert_config){0};
}

static void test_a_broken_record_is_a_dead_letter_and_the_rest_goes_on(void)
{
    struct stream_consumer *letters = NULL;
    struct stream_batch batch;
    struct stream_out out;
    struct vg_err err = {0};

    fresh();
    put_patient("p1");
    stream_out_init(&out);
    stream_out_add(&out, STREAM_SCORED, vg_now_us(), VG_SLICE("p1"), VG_SLICE(""),
                   VG_SLICE("{\"patientId\":\"p1\"}"));
    must(stream_commit(stream, 0, &out, NULL, &err), &err);
    stream_out_fini(&out);
    CHECK(wait_applied(put_scored("p1", 2, VG_SECOND_US, "ok")));
    must(stream_consumer_open(stream, 0, STREAM_DEADLETTER, "test", &letters, &err), &err);
    CHECK(stream_read(letters, 10, DEADLINE_US, &batch, &err) == VG_OK && batch.count == 1);
    stream_consumer_close(letters);
    CHECK(count_of("RiskAssessment", "patient=p1", NULL) == 1);
    close_all();
}

/* An id that FHIR does not allow: the board shows the patient, and everybody else's alerts go on.
 */
static void test_what_fhir_refuses_is_a_dead_letter_and_the_rest_goes_on(void)
{
    struct stream_consumer *letters = NULL;
    struct stream_batch batch;
    struct vg_err err = {0};

    fresh();
    put_patient("p1");
    (void)put_scored("p_2", 8, VG_SECOND_US, "ok");
    (void)put_scored("p1", 8, VG_SECOND_US, "ok");
    if (!CHECK(wait_applied(put_scored("p1", 8, 2 * VG_SECOND_US, "ok"))))
        exit(1);
    must(stream_consumer_open(stream, 0, STREAM_DEADLETTER, "test", &letters, &err), &err);
    CHECK(stream_read(letters, 10, DEADLINE_US, &batch, &err) == VG_OK && batch.count == 1 &&
          vg_slice_is(batch.records[0].key, "p_2"));
    stream_consumer_close(letters);
    CHECK(count_of("Flag", "patient=p1", NULL) == 1);
    CHECK(count_of("RiskAssessment", "patient=p1", NULL) == 2);
    vg_buf_clear(&answer);
    CHECK(care_board_row(care, VG_SLICE("p_2"), &answer, NULL) == VG_OK);
    close_all();
}

/* ---- the notifier ---- */

struct receiver {
    pthread_mutex_t lock;
    pthread_cond_t came;
    char keys[8][160];
    char bodies[8][4096];
    size_t count;
    int fail_first; /* so many are answered 503 */
};

static void receive(struct vg_http_request *request, void *ctx)
{
    struct receiver *receiver = ctx;
    int status = 202;

    pthread_mutex_lock(&receiver->lock);
    if (receiver->count < 8) {
        (void)vg_slice_to_cstr(vg_http_header(request, "Idempotency-Key"),
                               receiver->keys[receiver->count], sizeof(receiver->keys[0]));
        (void)vg_slice_to_cstr(vg_http_body(request), receiver->bodies[receiver->count],
                               sizeof(receiver->bodies[0]));
        receiver->count++;
    }
    if (receiver->fail_first > 0) {
        receiver->fail_first--;
        status = 503;
    }
    pthread_cond_signal(&receiver->came);
    pthread_mutex_unlock(&receiver->lock);
    vg_http_reply(request, status, "text/plain", VG_SLICE(""));
}

static bool wait_received(struct receiver *receiver, size_t count)
{
    int64_t end_us = vg_now_us() + DEADLINE_US;
    struct timespec deadline = {end_us / VG_SECOND_US, end_us % VG_SECOND_US * 1000};
    int rc = 0;

    pthread_mutex_lock(&receiver->lock);
    while (receiver->count < count && rc == 0)
        rc = pthread_cond_timedwait(&receiver->came, &receiver->lock, &deadline);
    pthread_mutex_unlock(&receiver->lock);
    return rc == 0;
}

static void test_a_card_is_sent_again_with_the_same_key_until_it_is_taken(void)
{
    struct receiver receiver = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER, .fail_first = 2};
    struct vg_http_server *server = NULL;
    struct vg_loop *loop = NULL;
    struct notify *notify = NULL;
    struct vg_err err = {0};
    char url[64];
    int64_t deadline_us;

    fresh();
    put_patient("p1");
    must(vg_loop_open("receiver", &loop, &err), &err);
    must(vg_http_server_open(loop, &(struct vg_http_server_config){.address = "127.0.0.1"}, &server,
                             &err),
         &err);
    must(vg_http_route(server, "POST", "/hook", receive, &receiver, &err), &err);
    must(vg_loop_start(loop, &err), &err);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/hook", vg_http_server_port(server));
    struct notify_target target = {"teams", "adaptive-envelope", url};
    must(notify_start(&(struct notify_config){.care = care,
                                              .targets = &target,
                                              .target_count = 1,
                                              .board_url = "https://localhost:8443",
                                              .retry_us = 10000},
                      &notify, &err),
         &err);
    (void)put_scored("p1", 8, VG_SECOND_US, "ok");
    CHECK(wait_applied(put_scored("p1", 8, 2 * VG_SECOND_US, "ok")));
    CHECK(wait_received(&receiver, 3));
    CHECK(strcmp(receiver.keys[0], receiver.keys[2]) == 0 &&
          strstr(receiver.keys[0], ":opened:high:teams"));
    CHECK(strstr(receiver.bodies[2], "\"type\":\"AdaptiveCard\"") != NULL);
    CHECK(strstr(receiver.bodies[2], "Example") == NULL); /* initials, no name */
    deadline_us = vg_mono_us() + DEADLINE_US;
    do {
        vg_buf_clear(&answer);
        must(care_outbox(care, &answer, &err), &err);
        vg_buf_put_byte(&answer, '\0');
    } while (!strstr(answer.ptr, "\"state\":\"sent\"") && vg_mono_us() < deadline_us);
    CHECK(strstr(answer.ptr, "\"state\":\"sent\"") != NULL);
    notify_stop(notify);
    vg_loop_stop(loop);
    vg_http_server_close(server);
    vg_loop_close(loop);
    close_all();
}

static void test_every_format_is_json(void)
{
    static const char *const formats[] = {"adaptive-envelope", "adaptive-bare", "slack", "json"};
    struct care_card card = {.key = "k",
                             .target = "t",
                             .patient_id = VG_SLICE("p1"),
                             .change = VG_SLICE("opened"),
                             .severity = VG_SLICE("high"),
                             .title = VG_SLICE("NEWS2 8 \"quoted\""),
                             .location = VG_SLICE("Bed 1")};
    struct notify_target target = {.name = "t"};

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        struct vg_json *root;

        CHECK_ROW(formats[i]);
        target.format = formats[i];
        vg_buf_clear(&answer);
        CHECK(card_format(&card, &target, "https://localhost", &answer));
        CHECK(vg_json_parse(&arena, vg_buf_slice(&answer), NULL, &root, NULL, NULL) == VG_OK);
    }
    target.format = "carrier pigeon";
    CHECK(!card_format(&card, &target, "https://localhost", &answer));
}

static void test_levels_must_rise(void)
{
    struct vg_err err = {0};
    struct alert *none = NULL;

    CHECK(alert_open(&(struct alert_config){.news2_open = 5, .news2_close = 6}, &none, &err) ==
          VG_REJECT);
    CHECK(strstr(err.text, "close (6) < open (5)") != NULL);
}

int main(void)
{
    vg_arena_init(&arena, 64u << 20);
    vg_buf_init(&answer, 0);
    if (!CHECK(vg_crypto_init(NULL) == VG_OK))
        return vg_test_report();
    RUN(test_an_episode_from_opening_to_closing);
    RUN(test_the_basis_names_the_exact_observations);
    RUN(test_a_fast_clock_does_not_hold_back_an_alert);
    RUN(test_a_replay_changes_nothing);
    RUN(test_a_model_raises_flags_only_where_it_may);
    RUN(test_silence_is_an_alert_of_its_own_and_a_vital_sign_ends_it);
    RUN(test_the_end_of_monitoring_closes_the_flags);
    RUN(test_a_broken_record_is_a_dead_letter_and_the_rest_goes_on);
    RUN(test_what_fhir_refuses_is_a_dead_letter_and_the_rest_goes_on);
    RUN(test_a_card_is_sent_again_with_the_same_key_until_it_is_taken);
    RUN(test_every_format_is_json);
    RUN(test_levels_must_rise);
    vg_buf_fini(&answer);
    vg_arena_fini(&arena);
    return vg_test_report();
}
