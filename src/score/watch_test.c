/* watch_test.c -- drift by hand-made numbers, labels, and a whole run over a small lake: drift is
 * found, a proposal is made, a person applies it. */
#include "score/watch_int.h"

#include "base/file.h"
#include "score/measure.h"
#include "vg_test.h"

#include <math.h>
#include <unistd.h>

static char root[] = "/tmp/vigil-watch-XXXXXX";
#define NOW_US ((int64_t)1773480000 * VG_SECOND_US) /* 2026-03-14T09:20:00Z */
#define PATIENTS 60
#define HOURS 24

static int64_t now_us(void *ctx)
{
    (void)ctx;
    return NOW_US;
}
static const struct vg_clock clock_of_test = {now_us, NULL};

static const char *in_root(const char *name)
{
    static char paths[64][256]; /* more than a test names */
    static unsigned next;
    char *path = paths[next++ % 64];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
    return path;
}

static bool is_near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

/* ---- cells and PSI ---- */

static void test_psi_is_what_the_formula_says(void)
{
    static const struct {
        const char *what;
        double expected[4], found[4];
        size_t cells;
        double psi;
    } rows[] = {
        {"the same shares: 0", {0.25, 0.75}, {10, 30}, 2, 0},
        /* (0.2-0.1) ln 2 + (0.8-0.9) ln(8/9) */
        {"a tenth moved", {0.1, 0.9}, {2, 8}, 2, 0.0810930216216329},
        /* (0.5-0.25) ln 2 + (0.5-0.75) ln(2/3) */
        {"weights need not be shares", {1, 3}, {50, 50}, 2, 0.2746530721670274},
        /* (0.0001-0.5) ln(0.0001/0.5) + (1-0.5) ln 2 */
        {"an empty cell counts as 0.0001", {0.5, 0.5}, {0, 7}, 2, 4.60431846666895},
        {"both empty: nothing", {0, 1}, {0, 5}, 2, 0},
        {"three cells", {0.2, 0.3, 0.5}, {0.3, 0.3, 0.4}, 3, 0.0628608659422374},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].what);
        CHECK(is_near(bins_psi(rows[i].expected, rows[i].found, rows[i].cells), rows[i].psi));
    }
    CHECK(isnan(bins_psi((double[]){0, 0}, (double[]){1, 1}, 2)));
    CHECK(isnan(bins_psi((double[]){1, 1}, (double[]){0, 0}, 2)));
}

static void test_cells_are_between_deciles(void)
{
    struct bins bins;
    float hundred[100], constant[5] = {7, 7, 7, 7, 7}, one[1] = {3};

    for (int i = 0; i < 100; i++)
        hundred[i] = (float)(99 - i);
    bins_make(&bins, hundred, 100);
    CHECK(bins.edge_count == 11);
    CHECK(is_near(bins.shares[0], 0) && is_near(bins.shares[1], 0.1) &&
          is_near(bins.shares[10], 0.1) && is_near(bins.shares[11], 0));
    CHECK_ROW("values outside of what was seen have cells of their own");
    CHECK(bins_cell(&bins, -1) == 0 && bins_cell(&bins, 99) == 10 && bins_cell(&bins, 99.5f) == 11);
    CHECK_ROW("an edge is in the cell above it");
    CHECK(bins_cell(&bins, 10) == 2 && bins_cell(&bins, 9.99f) == 1);

    CHECK_ROW("a constant is one cell with one on each side");
    bins_make(&bins, constant, 5);
    CHECK(bins.edge_count == 2 && is_near(bins.shares[1], 1));
    CHECK(bins_cell(&bins, 6.9f) == 0 && bins_cell(&bins, 7) == 1 && bins_cell(&bins, 7.1f) == 2);

    CHECK_ROW("one value, and none");
    bins_make(&bins, one, 1);
    CHECK(bins.edge_count == 2 && bins_cell(&bins, 3) == 1);
    bins_make(&bins, one, 0);
    CHECK(bins.edge_count == 0 && bins_cell(&bins, 3) == 0);
}

/* ---- outcomes ---- */

static void test_labels(void)
{
    static const struct {
        const char *what;
        struct watch_outcome outcome;
        int64_t row_us;
        bool is_by_patient;
        int label;
    } rows[] = {
        {"within the horizon of the outcome", {100, true}, 94, false, 1},
        {"just at the horizon", {100, true}, 90, false, 1},
        {"before the horizon", {100, true}, 89, false, 0},
        {"after the outcome: not judged", {100, true}, 101, false, -1},
        {"followed for the horizon without it", {100, false}, 89, false, 0},
        {"not followed long enough: not judged", {100, false}, 95, false, -1},
        {"after the end of following", {100, false}, 101, false, -1},
        {"one outcome for each stay: any row", {100, true}, 5, true, 1},
        {"one outcome for each stay: none", {100, false}, 99, true, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].what);
        CHECK(outcomes_label(&rows[i].outcome, rows[i].row_us, 10, rows[i].is_by_patient) ==
              rows[i].label);
    }
}

static void write_text(const char *path, const char *text)
{
    CHECK(vg_file_write(path, vg_slice_of(text), 0600, NULL) == VG_OK);
}

static void test_outcomes_are_checked(void)
{
    static const struct {
        const char *text, *why;
        size_t patients, events;
    } rows[] = {
        {"patient,time,outcome\np1,2026-03-14T10:00:00Z,1\n\np2,2026-03-14T10:00:00Z,0\r\n", NULL,
         2, 1},
        {"patient,outcome\n", "line 1: expected patient,time,outcome", 0, 0},
        {"patient,time,outcome\np1,yesterday,1\n", "line 2: expected a date-time", 0, 0},
        {"patient,time,outcome\np1,2026-03-14T10:00:00Z,yes\n",
         "line 2: expected 0 or 1 as the outcome", 0, 0},
        {"patient,time,outcome\np'1,2026-03-14T10:00:00Z,1\n",
         "line 2: expected a FHIR id of a patient", 0, 0},
        {"patient,time,outcome\np1,2026-03-14T10:00:00Z,1\np1,2026-03-14T10:00:00Z,0\n",
         "line 3: this patient is listed twice", 0, 0},
        {"", "line 1: expected patient,time,outcome", 0, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct watch_outcomes outcomes;
        struct vg_err err = {0};
        enum vg_status st;

        CHECK_ROW(rows[i].why ? rows[i].why : "two patients");
        write_text(in_root("o.csv"), rows[i].text);
        st = outcomes_read(in_root("o.csv"), &outcomes, &err);
        CHECK(st == (rows[i].why ? VG_REJECT : VG_OK));
        if (rows[i].why)
            CHECK(strcmp(err.text, rows[i].why) == 0);
        else
            CHECK(outcomes.by_patient.count == rows[i].patients &&
                  outcomes.events == rows[i].events);
        outcomes_fini(&outcomes);
    }
}

/* ---- a whole run ---- */

static void copy_file(const char *name)
{
    struct vg_arena arena;
    struct vg_slice text = {0};
    char from[512], to[256];

    vg_arena_init(&arena, 64u << 20);
    (void)snprintf(from, sizeof(from), "%s/models/sepsis-vitals/%s", VG_SOURCE_DIR, name);
    (void)snprintf(to, sizeof(to), "%s/models/sv/%s", root, name);
    CHECK(vg_file_read(&arena, from, 0, &text, NULL) == VG_OK);
    CHECK(vg_file_write(to, text, 0600, NULL) == VG_OK);
    vg_arena_fini(&arena);
}

/* A reference as if training had seen pulses of 60 to 99, in every row, and little else. */
static void write_reference(const struct model *model, const char *version)
{
    const struct feature_set *set = model_features(model);
    float *rows = calloc(1000 * set->count, sizeof(*rows)), probabilities[1000];
    size_t pulse = feature_find(VG_SLICE("pulse_last"));
    struct reference_config config = {
        .model = model_card(model)->name,
        .version = version,
        .features = set,
        .rows = rows,
        .probabilities = probabilities,
        .count = 1000,
        .all_rows = 1000,
        .patients = 50,
        .every_hours = 1,
        .probabilities_of = "the test's",
    };
    struct vg_buf out;

    for (size_t i = 0; rows && i < 1000; i++) {
        probabilities[i] = (float)i / 5000;
        for (size_t f = 0; f < set->count; f++)
            rows[i * set->count + f] = set->index[f] == pulse ? (float)(60 + i % 40) : NAN;
    }
    vg_buf_init(&out, 0);
    CHECK(rows && reference_write(&config, &out, NULL) == VG_OK);
    CHECK(vg_file_write(in_root("models/sv/reference.json"), vg_buf_slice(&out), 0600, NULL) ==
          VG_OK);
    vg_buf_fini(&out);
    free(rows);
}

/* Each patient for a day, each hour a pulse and a score. */
static void fill_lake(struct lake *lake, const struct model_card *card, double pulse,
                      double probability)
{
    for (int p = 0; p < PATIENTS; p++) {
        for (int hour = 0; hour < HOURS; hour++) {
            char text[900], time[VG_TIME_TEXT_SIZE];
            double of_row = probability * (p % 3 == 0 ? 2 : 0.5);

            (void)vg_time_format(NOW_US - (HOURS - hour) * VG_HOUR_US, 3, time);
            (void)snprintf(text, sizeof(text),
                           "{\"patientId\":\"p%d\",\"patient\":{\"ageYears\":70,\"gender\":"
                           "\"male\"},\"effectiveDateTime\":\"%s\",\"values\":[{\"code\":"
                           "\"8867-4\",\"value\":%.1f,\"unit\":\"/min\"}]}",
                           p, time, pulse + (p * 7 + hour) % 40);
            CHECK(lake_append(lake, LAKE_ENRICHED, "t", vg_slice_of(text), (struct vg_slice){0},
                              NULL) == VG_OK);
            /* The first patient's model is in another process: it answers in a second record. */
            for (int answer = p == 0 ? 0 : 1; answer < 2; answer++) {
                char said[40] = "";

                if (answer)
                    (void)snprintf(said, sizeof(said), ",\"probability\":%.4f", of_row);
                (void)snprintf(text, sizeof(text),
                               "{\"patientId\":\"p%d\",\"windowEnd\":\"%s\",\"scoredTime\":\"%s\","
                               "\"trigger\":\"%s\",\"models\":[{\"name\":\"%s\",\"version\":"
                               "\"%s\"%s},{\"name\":\"x\",\"version\":\"1\"}]}",
                               p, time, time, p == 0 && answer ? "remote" : "reading", card->name,
                               card->version, said);
                CHECK(lake_append(lake, LAKE_SCORED, "t", vg_slice_of(text), (struct vg_slice){0},
                                  NULL) == VG_OK);
            }
        }
    }
    CHECK(lake_flush(lake, LAKE_ENRICHED, "t", 1, NULL) == VG_OK);
    CHECK(lake_flush(lake, LAKE_SCORED, "t", 1, NULL) == VG_OK);
}

static struct watch_config config_of_test(void)
{
    return (struct watch_config){
        .model_dir = in_root("models"),
        .lake_dir = in_root("lake"),
        .dir = in_root("watch"),
        .period_us = 7 * VG_DAY_US,
        .outcome_period_us = 30 * VG_DAY_US,
        .budget_us = VG_HOUR_US,
        .hours_min = 500,
        .patients_min = 20,
        .clock = &clock_of_test,
    };
}

static struct vg_arena arena_of_result;

static const struct vg_json *result_of(const struct watch_config *config, const char *member)
{
    struct vg_json *parsed = NULL;
    struct vg_err err = {0};
    struct vg_buf out;
    struct vg_slice text;

    vg_buf_init(&out, 0);
    CHECK(watch_write(config, VG_SLICE("sepsis-vitals"), &out, &err) == VG_OK);
    text = vg_arena_dup(&arena_of_result, vg_buf_slice(&out));
    CHECK(vg_json_parse(&arena_of_result, text, NULL, &parsed, NULL, NULL) == VG_OK);
    vg_buf_fini(&out);
    return vg_json_get(parsed, member);
}

static const struct vg_json *feature_of(const struct vg_json *result, const char *name)
{
    const struct vg_json *items = vg_json_get(vg_json_get(result, "features"), "items");

    for (items = items ? items->child : NULL; items; items = items->next) {
        if (vg_slice_is(vg_json_get_text(items, "name"), name))
            return items;
    }
    return NULL;
}

static double number(const struct vg_json *object, const char *part, const char *name)
{
    double value = (double)NAN;

    (void)vg_json_to_double(vg_json_get(part ? vg_json_get(object, part) : object, name), &value);
    return value;
}

static bool is_state(const struct vg_json *result, const char *part, const char *state)
{
    return vg_slice_is(vg_json_get_text(vg_json_get(result, part), "state"), state);
}

static void test_run(void)
{
    struct watch_config config = config_of_test();
    struct lake_config lake_config = {.dir = config.lake_dir};
    struct lake *lake = NULL;
    struct model *model = NULL;
    const struct vg_json *result, *feature;
    struct vg_err err = {0};
    char version[32];

    vg_arena_init(&arena_of_result, 64u << 20);
    CHECK(vg_dir_make(in_root("models/sv"), NULL) == VG_OK);
    copy_file("card.json");
    copy_file("model.json");
    if (!CHECK(model_open_card(in_root("models/sv"), &model, &err) == VG_OK))
        return;
    (void)snprintf(version, sizeof(version), "%s", model_card(model)->version);
    CHECK(vg_dir_make(config.lake_dir, NULL) == VG_OK);
    CHECK(lake_open(&lake_config, &lake, NULL) == VG_OK);

    CHECK_ROW("an empty lake: no result, and no error that anybody could mend");
    CHECK(watch_run(&config, &err) == VG_END);
    CHECK(watch_last_us(&config) == 0);

    CHECK_ROW("without a reference the alerts are counted and drift is not known");
    fill_lake(lake, model_card(model), 60, 0.1);
    if (!CHECK(watch_run(&config, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    result = result_of(&config, "result");
    CHECK(is_state(result, "features", "none") && is_state(result, "alerts", "ok"));
    CHECK(is_state(result, "calibration", "none"));
    CHECK(is_near(number(result, NULL, "hours"), PATIENTS * HOURS));
    /* A third of the patients is at 0.2, once in their 24 hours; the others at 0.05. */
    CHECK(is_near(number(result, "alerts", "medium"), 100.0 / 3));
    CHECK(number(result, "probabilities", "mean") > 0.0999);
    CHECK(watch_last_us(&config) == NOW_US);

    CHECK_ROW("a reference of another version is not used, and the document says so");
    write_reference(model, "0");
    CHECK(watch_run(&config, &err) == VG_OK);
    result = result_of(&config, "result");
    CHECK(is_state(result, "features", "none"));
    CHECK(vg_json_get_text(vg_json_get(result, "features"), "text").len > 20);

    CHECK_ROW("the same pulses as in training: no drift; what was never there is no drift either");
    write_reference(model, version);
    CHECK(watch_run(&config, &err) == VG_OK);
    result = result_of(&config, "result");
    feature = feature_of(result, "pulse_last");
    CHECK(is_state(result, "features", "ok"));
    CHECK(feature && number(feature, NULL, "psi") < WATCH_LEVEL);
    CHECK(vg_slice_is(vg_json_get_text(feature, "level"), "ok"));
    CHECK(is_near(number(feature, NULL, "missing"), 0));
    CHECK(vg_slice_is(vg_json_get_text(feature_of(result, "spo2_last"), "level"), "ok"));
    CHECK_ROW("each run leaves a line");
    CHECK(vg_json_get(result, "runs")->count == 3);

    CHECK_ROW("few hours: figures, and nothing concluded");
    config.hours_min = 100000;
    CHECK(watch_run(&config, &err) == VG_OK);
    CHECK(is_state(result_of(&config, "result"), "features", "few"));
    config.hours_min = 500;

    lake_close(lake);
    model_close(model);
}

/* 30 of 60 fall ill 6 h into their day: those at high risk and some others, or the other way. */
static void write_outcomes(struct vg_buf *out, bool is_turned)
{
    vg_buf_clear(out);
    vg_buf_printf(out, "patient,time,outcome\n");
    for (int p = 0; p < PATIENTS; p++) {
        bool is_ill = (p % 3 == 0 || p % 6 == 1) != is_turned;
        char time[VG_TIME_TEXT_SIZE];

        (void)vg_time_format(NOW_US + (is_ill ? -18 * VG_HOUR_US : VG_DAY_US), 0, time);
        vg_buf_printf(out, "p%d,%s,%d\n", p, time, is_ill);
    }
    CHECK(vg_file_write(in_root("outcomes.csv"), vg_buf_slice(out), 0600, NULL) == VG_OK);
}

static void test_drift_and_recalibration(void)
{
    struct watch_config config = config_of_test();
    struct lake_config lake_config = {.dir = in_root("lake-2")};
    struct lake *lake = NULL;
    struct model *model = NULL;
    struct model_card before;
    const struct vg_json *result, *proposal;
    struct watch_outcomes_count count;
    struct vg_err err = {0};
    struct vg_buf out;

    config.lake_dir = lake_config.dir;
    vg_buf_init(&out, 0);
    CHECK(model_open_card(in_root("models/sv"), &model, &err) == VG_OK);
    before = *model_card(model);
    CHECK(vg_dir_make(lake_config.dir, NULL) == VG_OK);
    CHECK(lake_open(&lake_config, &lake, NULL) == VG_OK);
    fill_lake(lake, &before, 100, 0.1);

    CHECK_ROW("pulses that training never saw: drift");
    CHECK(watch_run(&config, &err) == VG_OK);
    result = result_of(&config, "result");
    CHECK(vg_slice_is(vg_json_get_text(feature_of(result, "pulse_last"), "level"), "drift"));
    CHECK(number(result, "features", "worst") > 5);

    CHECK_ROW("outcomes of a model that is not there");
    CHECK(watch_outcomes(&config, "none", in_root("o.csv"), &count, &err) == VG_REJECT);

    /* Half of the patients at high risk, a quarter of the others. */
    vg_buf_printf(&out, "patient,time,outcome\n");
    for (int p = 0; p < PATIENTS; p++) {
        bool has = p % 3 == 0 ? p % 2 == 0 : p % 4 == 1;
        char time[VG_TIME_TEXT_SIZE];

        (void)vg_time_format(NOW_US + (has ? 0 : VG_DAY_US), 0, time);
        vg_buf_printf(&out, "p%d,%s,%d\n", p, time, has);
    }
    CHECK(vg_file_write(in_root("outcomes.csv"), vg_buf_slice(&out), 0600, NULL) == VG_OK);
    CHECK(watch_outcomes(&config, before.name, in_root("outcomes.csv"), &count, &err) == VG_OK);
    CHECK(count.patients == PATIENTS && count.events == 20);

    CHECK_ROW("100 of 1440 hours are within 6 h of an outcome, 144 are expected");
    CHECK(watch_run(&config, &err) == VG_OK);
    result = result_of(&config, "result");
    CHECK(is_state(result, "calibration", "ok"));
    CHECK(fabs(number(result, "calibration", "expectedToObserved") - 1.44) < 1e-6);

    CHECK_ROW("who is at low risk falls ill: no line mends that");
    write_outcomes(&out, true);
    CHECK(watch_outcomes(&config, before.name, in_root("outcomes.csv"), &count, &err) == VG_OK);
    CHECK(watch_run(&config, &err) == VG_OK);
    CHECK(!result_of(&config, "proposal"));
    CHECK(vg_slice_starts(
        vg_json_get_text(vg_json_get(result_of(&config, "result"), "calibration"), "whyNoProposal"),
        VG_SLICE("risk and outcome hardly go together")));

    CHECK_ROW("too low by far: a proposal that only moves the intercept, for outcomes are few");
    write_outcomes(&out, false);
    CHECK(watch_outcomes(&config, before.name, in_root("outcomes.csv"), &count, &err) == VG_OK);
    CHECK(watch_run(&config, &err) == VG_OK);
    result = result_of(&config, "result");
    proposal = result_of(&config, "proposal");
    CHECK(proposal != NULL);
    CHECK(is_near(number(proposal, NULL, "slope"), 1));
    CHECK(number(result, "calibration", "expectedToObservedHigh") < 1);
    CHECK_ROW("the card's new line is the old one and the proposal's, one after the other");
    CHECK(is_near(number(proposal, "calibration", "intercept"),
                  before.intercept + number(proposal, NULL, "intercept")));

    CHECK_ROW("applied: a new version, the former kept, thresholds moved along");
    vg_buf_clear(&out);
    if (!CHECK(watch_apply(&config, before.name, "tester", &out, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    CHECK(out.len > 3 && memcmp(out.ptr + out.len - 3, "-r1", 3) == 0);
    model_close(model);
    model = NULL;
    CHECK(model_open(in_root("models/sv"), &model, &err) == VG_OK);
    CHECK(strstr(model_card(model)->version, "-r1") != NULL);
    CHECK(is_near(model_card(model)->intercept, number(proposal, "calibration", "intercept")));
    CHECK(is_near(model_card(model)->medium,
                  measure_logistic(log(before.medium / (1 - before.medium)) +
                                   number(proposal, NULL, "intercept"))));
    (void)snprintf(err.text, sizeof(err.text), "models/sv/card-%s.json", before.version);
    CHECK(access(in_root(err.text), R_OK) == 0);

    CHECK_ROW("the reference is of the new version: no word of another one");
    CHECK(watch_run(&config, &err) == VG_OK);
    CHECK(is_state(result_of(&config, "result"), "features", "ok"));
    CHECK_ROW("the scores of the former version are not counted as the new one's");
    CHECK(is_state(result_of(&config, "result"), "alerts", "empty"));
    CHECK_ROW("there is nothing more to apply");
    CHECK(watch_apply(&config, before.name, "tester", &out, &err) == VG_END);

    lake_close(lake);
    model_close(model);
    vg_buf_fini(&out);
    vg_arena_fini(&arena_of_result);
}

static void test_a_damaged_reference_is_refused(void)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"form\":2}",
        "{\"form\":1,\"model\":\"m\",\"version\":\"1\",\"everyHours\":1,\"rows\":1,\"patients\":1,"
        "\"probabilities\":{\"edges\":[2,1],\"shares\":[0,1,0]},\"features\":[]}",
        "{\"form\":1,\"model\":\"m\",\"version\":\"1\",\"everyHours\":1,\"rows\":1,\"patients\":1,"
        "\"probabilities\":{\"edges\":[],\"shares\":[1]},\"features\":[{\"name\":\"no such\","
        "\"missing\":0,\"edges\":[],\"shares\":[1]}]}",
        "{\"form\":1,\"model\":\"m\",\"version\":\"1\",\"everyHours\":0,\"rows\":1,\"patients\":1,"
        "\"probabilities\":{\"edges\":[],\"shares\":[1]},\"features\":[]}",
    };
    struct reference reference;

    CHECK(vg_dir_make(in_root("bad"), NULL) == VG_OK);
    CHECK(reference_read(in_root("bad"), &reference, NULL) == VG_END);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct vg_err err = {0};

        CHECK_ROW(texts[i]);
        write_text(in_root("bad/reference.json"), texts[i]);
        CHECK(reference_read(in_root("bad"), &reference, &err) == VG_REJECT);
        CHECK(err.code && strcmp(err.code, "score.reference") == 0);
        reference_fini(&reference);
    }
}

int main(void)
{
    if (!CHECK(mkdtemp(root) != NULL))
        return vg_test_report();
    RUN(test_psi_is_what_the_formula_says);
    RUN(test_cells_are_between_deciles);
    RUN(test_labels);
    RUN(test_outcomes_are_checked);
    RUN(test_a_damaged_reference_is_refused);
    RUN(test_run);
    RUN(test_drift_and_recalibration);
    return vg_test_report();
}
