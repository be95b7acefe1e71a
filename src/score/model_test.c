/* model_test.c -- the model that ships: loads, explains itself, answers the same alone and in a
 * batch. */
#include "score/model.h"

#include "base/file.h"
#include "vg_test.h"

#include <math.h>
#include <unistd.h>

#define MODELS VG_SOURCE_DIR "/models"
#define ROWS 200

static float rows[ROWS * FEATURES_MAX];
static const char *model_dir = MODELS "/sepsis-vitals";

static void make_rows(void)
{
    uint64_t state = 88172645463325252u;

    for (size_t i = 0; i < ROWS * FEATURES_MAX; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        rows[i] = state % 4 == 0 ? NAN : (float)(state % 2000) / 10;
    }
}

static struct model *open_model(void)
{
    struct model *model = NULL;
    struct vg_err err = {0};

    if (!CHECK(model_open(model_dir, &model, &err) == VG_OK))
        printf("%s\n", err.text);
    return model;
}

static void test_batch_and_single_agree(void)
{
    struct model *model = open_model();
    double together[ROWS], alone;
    float margins[ROWS], margin;

    if (!model)
        return;
    CHECK(model_predict(model, rows, ROWS, together, margins, NULL) == VG_OK);
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(model_predict(model, rows + i * model_features(model)->count, 1, &alone, &margin,
                            NULL) == VG_OK);
        CHECK(memcmp(&margin, &margins[i], sizeof(margin)) == 0);
        CHECK(memcmp(&alone, &together[i], sizeof(alone)) == 0);
        CHECK(alone > 0 && alone < 1);
    }
    model_close(model);
}

/* Of every model that ships. */
static void test_contributions_sum_to_the_margin(void)
{
    static const char *const dirs[] = {MODELS "/sepsis-vitals", MODELS "/sepsis-full",
                                       MODELS "/mortality-icu"};
    float contributions[FEATURES_MAX + 1], margins[ROWS];
    double probabilities[ROWS];

    for (size_t d = 0; d < sizeof(dirs) / sizeof(dirs[0]); d++) {
        struct model *model = NULL;
        struct vg_err err = {0};

        CHECK_ROW(dirs[d]);
        if (!CHECK(model_open(dirs[d], &model, &err) == VG_OK)) {
            printf("%s\n", err.text);
            continue;
        }
        CHECK(model_predict(model, rows, ROWS, probabilities, margins, NULL) == VG_OK);
        for (size_t i = 0; i < 20; i++) {
            const size_t width = model_features(model)->count;
            double sum = 0;

            CHECK(model_contributions(model, rows + i * width, contributions, NULL) == VG_OK);
            for (size_t f = 0; f <= width; f++)
                sum += (double)contributions[f];
            CHECK(fabs(sum - (double)margins[i]) < 1e-4);
        }
        model_close(model);
    }
}

/* No thresholds of the chart here, only sense: the sick patient's risk is above the well one's. */
static void test_a_sick_patient_has_more_risk(void)
{
    static const double well[SCORE_VITAL_COUNT] = {14, 98, 0, 125, 75, 92, 72, 'A', 36.8};
    static const double sick[SCORE_VITAL_COUNT] = {30, 90, 0, 88, 45, 60, 128, 'A', 39.2};
    struct model *model = open_model();
    struct feature_patient patient = {70, 1};
    int64_t expiry_us[SCORE_VITAL_COUNT], start_us = 20000 * VG_DAY_US;
    double probabilities[2];

    if (!model)
        return;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        expiry_us[v] = vitals[v].expiry_us;
    for (int p = 0; p < 2; p++) {
        struct window window;

        window_init(&window, model_features(model)->history_us);
        for (int i = 0; i <= 12 * 60; i++) {
            for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
                double share = p == 0 || i < 360 ? 0 : (double)(i - 360) / 360;
                struct window_reading reading = {
                    .vital = (enum score_vital)v,
                    .value = v == SCORE_CONSCIOUSNESS ? 'A' : well[v] + share * (sick[v] - well[v]),
                    .time_us = start_us + i * VG_MINUTE_US,
                    .received_us = start_us + i * VG_MINUTE_US};

                CHECK(window_add(&window, &reading, NULL) == VG_OK);
            }
        }
        feature_fill(model_features(model), &window, &patient, expiry_us,
                     start_us + 12 * VG_HOUR_US, rows + (size_t)p * model_features(model)->count);
        window_fini(&window);
    }
    CHECK(model_predict(model, rows, 2, probabilities, NULL, NULL) == VG_OK);
    printf("well %.4f (%s), sick %.4f (%s)\n", probabilities[0],
           model_band(model, probabilities[0]), probabilities[1],
           model_band(model, probabilities[1]));
    CHECK(probabilities[0] < 0.03 && probabilities[1] > 3 * probabilities[0]);
    CHECK(strcmp(model_band(model, probabilities[0]), "low") == 0);
    model_close(model);
}

static void test_card(void)
{
    struct model *model = open_model();
    const struct model_card *card;

    if (!model)
        return;
    card = model_card(model);
    CHECK(strcmp(card->name, "sepsis-vitals") == 0 && card->version[0]);
    CHECK(fabs(card->horizon_hours - 6) < 1e-9);
    CHECK(card->medium > 0 && card->medium < card->high && card->high < 1);
    CHECK(strcmp(model_band(model, card->medium), "medium") == 0);
    CHECK(strcmp(model_band(model, card->high), "high") == 0);
    CHECK(strcmp(model_band(model, 0), "low") == 0);
    CHECK(model_card_text(model).len > 1000);
    model_close(model);
}

/* A card whose table of features is another's, or that is not there, never loads. */
static void test_another_model_is_refused(void)
{
    char dir[] = "/tmp/vigil-model-XXXXXX", path[64];
    struct vg_arena arena;
    struct vg_slice card;
    struct model *model = NULL;
    struct vg_err err = {0};
    char *name;

    if (!CHECK(mkdtemp(dir) != NULL))
        return;
    CHECK_ROW("no files");
    CHECK(model_open(dir, &model, &err) == VG_FATAL && model == NULL);
    CHECK(err.code && strcmp(err.code, "score.model") == 0);

    CHECK_ROW("one feature has another name");
    vg_arena_init(&arena, 0);
    CHECK(vg_file_read(&arena, MODELS "/sepsis-vitals/card.json", 0, &card, &err) == VG_OK);
    name = card.ptr ? memmem(card.ptr, card.len, "\"pulse_last\"", 12) : NULL;
    if (CHECK(name != NULL)) {
        name[1] = 'P';
        (void)snprintf(path, sizeof(path), "%s/card.json", dir);
        CHECK(vg_file_write(path, card, 0600, &err) == VG_OK);
        CHECK(model_open(dir, &model, &err) == VG_FATAL && model == NULL);
        CHECK(strstr(err.text, "Pulse_last") != NULL);
        name[1] = 'p';
        CHECK_ROW("the right card, a damaged model");
        CHECK(vg_file_write(path, card, 0600, &err) == VG_OK);
        (void)snprintf(path, sizeof(path), "%s/model.json", dir);
        CHECK(vg_file_write(path, VG_SLICE("{\"learner\":"), 0600, &err) == VG_OK);
        CHECK(model_open(dir, &model, &err) == VG_FATAL && model == NULL);
        (void)unlink(path);
        (void)snprintf(path, sizeof(path), "%s/card.json", dir);
        (void)unlink(path);
    }
    vg_arena_fini(&arena);
    (void)rmdir(dir);
}

int main(void)
{
    make_rows();
    RUN(test_batch_and_single_agree);
    RUN(test_contributions_sum_to_the_margin);
    RUN(test_a_sick_patient_has_more_risk);
    RUN(test_card);
    RUN(test_another_model_is_refused);
    return vg_test_report();
}
