/* live_test.c -- several models at once, replaced while scoring runs; what the gate does to a
 * record; what a restart and late readings may not change. */
#include "score/live.h"

#include "score/score_test_int.h"

static void test_folders(void)
{
    static const struct {
        const char *name, *text; /* of a/live.json */
        bool is_good;
        enum live_mode here, elsewhere;
    } rows[] = {
        {"shown everywhere", "{\"mode\":\"show\"}", true, LIVE_SHOW, LIVE_SHOW},
        {"shown in one ward, silent elsewhere", "{\"mode\":\"flag\",\"units\":[\"Ward 4\"]}", true,
         LIVE_FLAG, LIVE_SILENT},
        {"absent elsewhere", "{\"mode\":\"show\",\"units\":[\"Ward 4\"],\"elsewhere\":\"absent\"}",
         true, LIVE_SHOW, LIVE_ABSENT},
        {"nothing said: silent", "{}", true, LIVE_SILENT, LIVE_SILENT},
        {"a misspelt mode", "{\"mode\":\"shown\"}", false, LIVE_SHOW, LIVE_SHOW},
        {"a misspelt member", "{\"modes\":\"silent\"}", false, LIVE_SHOW, LIVE_SHOW},
        {"thresholds upside down", "{\"thresholds\":{\"medium\":0.5,\"high\":0.2}}", false,
         LIVE_SHOW, LIVE_SHOW},
        {"an engine without a url", "{\"engine\":{\"kind\":\"mlflow\"}}", false, LIVE_SHOW,
         LIVE_SHOW},
        {"a path as an engine's model",
         "{\"engine\":{\"kind\":\"kserve\",\"url\":\"http://h\",\"model\":\"../x\"}}", false,
         LIVE_SHOW, LIVE_SHOW},
        {"not JSON", "{", false, LIVE_SHOW, LIVE_SHOW},
    };
    struct live *live = NULL, *next = NULL;
    struct vg_err err = {0};
    uint64_t seen, again;

    open_stream();
    make_models();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].name);
        put_file("a/live.json", rows[i].text);
        if (!CHECK(live_read(models_dir, NULL, 0, &live, &err) == VG_OK && live->count == 2))
            return;
        CHECK((live->items[0]->trouble[0] == '\0') == rows[i].is_good);
        CHECK((live->items[0]->model != NULL) == rows[i].is_good);
        CHECK(live->items[1]->model && live->items[1]->mode == LIVE_SILENT);
        if (rows[i].is_good)
            CHECK(live_mode_in(live->items[0], VG_SLICE("Ward 4")) == rows[i].here &&
                  live_mode_in(live->items[0], VG_SLICE("Ward 5")) == rows[i].elsewhere);
        live_free(live, NULL);
    }
    put_file("a/live.json", "{}");
    CHECK(live_read(models_dir, NULL, 0, &live, &err) == VG_OK);
    CHECK(!live_has_changed(models_dir, live, &seen));
    put_file("a/live.json", "{\"mode\":\"show\"}");
    CHECK(live_has_changed(models_dir, live, &again) && again != seen);
    CHECK(live_read(models_dir, live, 0, &next, &err) == VG_OK);
    CHECK_ROW("what did not change is shared");
    CHECK(next->items[1] == live->items[1] && next->items[0] != live->items[0]);
    live_free(live, next);
    live = next;
    CHECK_ROW("a damaged model stays as it was");
    put_file("a/model.json", "{");
    CHECK(live_read(models_dir, live, 0, &next, &err) == VG_OK);
    CHECK(next->items[0] == live->items[0] && next->items[0]->trouble[0]);
    live_free(live, next);
    live = next;
    CHECK_ROW("a folder with the other's name");
    shell("cp -r %s/b %s/c", models_dir, models_dir);
    CHECK(live_read(models_dir, live, 0, &next, &err) == VG_OK);
    CHECK(next->count == 3 && next->items[1]->model && !next->items[2]->model &&
          next->items[2]->trouble[0]);
    live_free(live, next);
    live = next;
    CHECK_ROW("a model that looks back further than the windows");
    shell("rm -r %s/c && touch %s/b/card.json", models_dir, models_dir);
    CHECK(live_read(models_dir, live, VG_HOUR_US, &next, &err) == VG_OK);
    CHECK(next->items[1] == live->items[1] && strstr(next->items[1]->trouble, "looks back"));
    live_free(live, next);
    live_free(next, NULL);
    close_stream();
}

static size_t models_in_record(void)
{
    const struct vg_json *models = vg_json_get(last, "models");

    return models ? models->count : 0;
}

static void test_models_are_replaced_between_batches(void)
{
    struct vg_err err = {0};
    struct vg_buf out;
    char text[256];

    open_stream();
    make_models();
    put_file("b/live.json", "{\"mode\":\"show\",\"units\":[\"Ward 4\"]}");
    open_score(models_dir);
    score_one("rr", 26, T0);
    CHECK(scored() == 1 && models_in_record() == 2);
    CHECK_ROW("the first that is not silent is the model");
    CHECK(text_is(vg_json_get(last, "model"), "name", "second"));
    CHECK(text_is(part("models", NULL, "name", "sepsis-vitals"), "mode", "silent"));
    CHECK(text_is(part("models", NULL, "name", "second"), "mode", "show"));
    CHECK(number(vg_json_get(part("models", NULL, "name", "second"), "thresholds"), "high") > 0);
    CHECK(number(part("models", NULL, "name", "second"), "probability") > 0);
    CHECK(is(number(vg_json_get(last, "model"), "probability"),
             number(part("models", NULL, "name", "sepsis-vitals"), "probability")));

    CHECK_ROW("by command");
    put_file("a/live.json", "{\"mode\":\"flag\"}");
    CHECK(score_reload(score, &err) == VG_OK);
    score_one("hr", 80, T0 + 1);
    CHECK(scored() == 1 && text_is(vg_json_get(last, "model"), "name", "sepsis-vitals"));
    CHECK(text_is(vg_json_get(last, "model"), "mode", "flag"));

    CHECK_ROW("a broken one changes nothing and says why");
    put_file("a/card.json", "{\"name\":\"sepsis-vitals\"}");
    CHECK(score_reload(score, &err) == VG_REJECT);
    score_trouble(score, text);
    CHECK(strncmp(text, "a: ", 3) == 0);
    score_one("hr", 81, T0 + 2);
    CHECK(scored() == 1 && models_in_record() == 2 &&
          text_is(vg_json_get(last, "model"), "name", "sepsis-vitals"));
    vg_buf_init(&out, 0);
    score_models_write(score, true, &out);
    CHECK(vg_json_parse(&arena, vg_buf_slice(&out), NULL, &last, NULL, &err) == VG_OK);
    CHECK(part("models", NULL, "folder", "a") &&
          vg_json_get_text(part("models", NULL, "folder", "a"), "trouble").len > 0);

    CHECK_ROW("by itself, when the files have stood still for a tick");
    shell("rm -r %s/a", models_dir);
    set_now(T0 + VG_MINUTE_US);
    tick();
    tick();
    score_one("hr", 82, T0 + 3);
    CHECK(scored() == 1 && models_in_record() == 1);
    score_trouble(score, text);
    CHECK(text[0] == '\0');
    vg_buf_fini(&out);
    close_score();
    close_stream();
}

static void test_what_is_rejected_is_shown_and_not_counted(void)
{
    open_stream();
    open_score(MODEL_DIR);
    score_one("hr", 80, T0);
    score_one("hr", 81, T0 + VG_MINUTE_US);
    CHECK(scored() == 2 && vg_json_get(last, "rejected") == NULL);
    CHECK_ROW("range");
    score_one("hr", 900, T0 + VG_MINUTE_US + 1);
    CHECK(scored() == 1 && is(number(part("vitals", NULL, "code", "8867-4"), "value"), 81));
    CHECK(is(number(part("rejected", NULL, "code", "8867-4"), "value"), 900));
    CHECK(text_is(part("rejected", NULL, "code", "8867-4"), "reason", "range"));
    CHECK(text_is(part("rejected", NULL, "code", "8867-4"), "state", "rejected"));
    CHECK(text_is(part("rejected", NULL, "code", "8867-4"), "observationId", "o-hr"));
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 0));
    CHECK_ROW("jump");
    score_one("hr", 220, T0 + 2 * VG_MINUTE_US);
    CHECK(scored() == 1 && is(number(part("vitals", NULL, "code", "8867-4"), "value"), 81));
    CHECK(text_is(part("rejected", NULL, "code", "8867-4"), "reason", "jump"));
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 0));
    CHECK_ROW("the next minute confirms it");
    score_one("hr", 218, T0 + 3 * VG_MINUTE_US);
    CHECK(scored() == 1 && is(number(part("vitals", NULL, "code", "8867-4"), "value"), 218));
    CHECK(vg_json_get(last, "rejected") == NULL);
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 3));
    CHECK_ROW("no score counts glucose");
    score_one("glucose", 110, T0 + 3 * VG_MINUTE_US);
    CHECK(scored() == 1);
    {
        bool is_used = true;

        CHECK(vg_json_to_bool(vg_json_get(part("vitals", NULL, "code", "2339-0"), "used"),
                              &is_used) &&
              !is_used);
    }
    close_score();
    close_stream();
}

/* Step 11, after a restart beyond the journal: the level of consciousness is a text there. */
static void test_consciousness_comes_back(void)
{
    struct lake_config config = {0};
    struct made made;
    char lake_dir[96];
    struct vg_slice conscious = VG_SLICE(
        "{\"patientId\":\"p1\",\"patient\":{\"ageYears\":76},\"effectiveDateTime\":"
        "\"2026-03-17T23:00:00Z\",\"receivedTime\":\"2026-03-17T23:00:00Z\",\"values\":[{\"name\":"
        "\"avpu\",\"system\":\"http://loinc.org\",\"code\":\"80288-4\",\"text\":\"V\"}]}");
    struct vg_err err = {0};

    open_stream();
    (void)snprintf(lake_dir, sizeof(lake_dir), "%s/lake", dir);
    config.dir = lake_dir;
    if (!CHECK(lake_open(&config, &lake, &err) == VG_OK))
        return;
    CHECK(lake_append(lake, LAKE_ENRICHED, "capture-0", conscious, VG_SLICE("0-0"), &err) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "capture-0", 1, &err) == VG_OK);
    open_score(NULL);
    make(&made, "p1", 76, 1, "rr", 16, T0, T0);
    process(&made.record, 1, 1);
    CHECK(scored() == 1);
    CHECK(text_is(part("parts", "news2", "part", "consciousness"), "text", "V"));
    CHECK(is(number(vg_json_get(last, "news2"), "low"), 3));
    vg_buf_fini(&made.headers);
    close_score();
    lake_close(lake);
    lake = NULL;
    close_stream();
}

static void test_nothing_is_scored_before_all_have_restored(void)
{
    struct score_config config = {.clock = &test_clock, .partitions = 2};
    struct score_stage *second = NULL;
    const struct stage_ops *ops;
    struct stream_batch batch;
    struct stream_out out;
    struct made made;
    struct vg_err err = {0};

    open_stream();
    CHECK(score_open(&config, &score, &err) == VG_OK);
    CHECK(score_stage_open(score, 0, &stage, &err) == VG_OK);
    CHECK(score_stage_open(score, 1, &second, &err) == VG_OK);
    ops = score_stage_ops(score);
    make(&made, "p1", 76, 1, "hr", 70, T0, T0);
    batch = (struct stream_batch){&made.record, 1, 1};
    stream_out_init(&out);
    ops->restored(stage);
    ops->restored(stage); /* counts once */
    CHECK(ops->process(stage, &batch, &out, &err) == VG_RETRY && out.record_count == 0);
    CHECK(strcmp(err.code, "score.restoring") == 0);
    CHECK(ops->tick(stage, T0, &out, &err) == VG_RETRY);
    ops->restored(second);
    CHECK(ops->process(stage, &batch, &out, &err) == VG_OK && out.record_count == 1);
    stream_out_fini(&out);
    vg_buf_fini(&made.headers);
    score_stage_close(second);
    close_score();
    close_stream();
}

#define MANY 160

/* The last record but for what depends on when it was made. */
static void last_state(char *out, size_t size_bytes)
{
    struct stream_batch batch;
    char text[16384] = "";
    const char *from;

    while (stream_read(scored_consumer, 1000, 0, &batch, NULL) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++)
            (void)vg_slice_to_cstr(batch.records[i].value, text, sizeof(text));
    }
    from = strstr(text, "\"news2\"");
    (void)snprintf(out, size_bytes, "%s", CHECK(from != NULL) ? from : "");
}

/* Any order within the allowed lateness, any batches, a crash before any commit (what was not
 * committed comes again): the same scores in the end. */
static void test_any_order_and_any_crash(void)
{
    static struct made made[MANY];
    static struct stream_record records[MANY];
    static char want[16384], got[16384];
    const int64_t step_us = 20 * VG_SECOND_US;
    uint64_t state = 99;

    for (int i = 0; i < MANY; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        make(&made[i], "p1", 76, 1, codes[(state >> 40) % 4][0],
             (state >> 60) == 0 ? 210 : 60 + (double)(state >> 50 & 31), T0 + i * step_us,
             T0 + MANY * step_us);
    }
    set_now(T0 + MANY * step_us);
    for (int round = 0; round < 12; round++) {
        size_t at = 0;

        open_stream();
        open_score(MODEL_DIR);
        for (int i = 0; i < MANY; i++)
            records[i] = made[i].record;
        /* Blocks shorter than the lateness, each shuffled. */
        for (int block = 0; round > 0 && block < MANY; block += 20) {
            for (int i = 19; i > 0; i--) {
                struct stream_record moved = records[block + i];
                int other;

                state = state * 6364136223846793005u + 1442695040888963407u;
                other = (int)((state >> 33) % (uint64_t)(i + 1));
                records[block + i] = records[block + other];
                records[block + other] = moved;
            }
        }
        while (at < MANY) {
            size_t count, again;

            state = state * 6364136223846793005u + 1442695040888963407u;
            count = 1 + (state >> 33) % 30;
            count = count < MANY - at ? count : MANY - at;
            again = round % 3 == 2 && at > 5 ? 5 : 0;
            /* As after a crash: some come again, into windows that were rebuilt or not. */
            process(records + at - again, count + again, count + again);
            at += count;
        }
        last_state(round == 0 ? want : got, sizeof(want));
        CHECK_ROW("the same as in order");
        if (round > 0)
            CHECK(strcmp(want, got) == 0);
        close_score();
        close_stream();
    }
    for (int i = 0; i < MANY; i++)
        vg_buf_fini(&made[i].headers);
}

int main(void)
{
    vg_arena_init(&arena, 0);
    RUN(test_folders);
    RUN(test_models_are_replaced_between_batches);
    RUN(test_what_is_rejected_is_shown_and_not_counted);
    RUN(test_consciousness_comes_back);
    RUN(test_nothing_is_scored_before_all_have_restored);
    RUN(test_any_order_and_any_crash);
    vg_arena_fini(&arena);
    return vg_test_report();
}
