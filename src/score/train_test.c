/* train_test.c -- a small hospital made by the test: learns, and learns the same again. */
#include "score/model.h"
#include "score/psv.h"

#include "base/file.h"
#include "base/json.h"
#include "score/measure.h"
#include "vg_test.h"

#include <math.h>
#include <unistd.h>

static char dir[] = "/tmp/vigil-train-XXXXXX";

static const char *in_dir(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

/* 300 patients of 30 hours; every fifth becomes septic: faster breath and pulse in the hours
 * before. */
static void write_hospital(const char *path)
{
    struct vg_buf out;
    uint64_t state = 1234567;

    vg_buf_init(&out, 0);
    vg_buf_printf(&out, "Patient|Set|HR|O2Sat|Temp|SBP|MAP|DBP|Resp|Lactate|Age|Gender|ICULOS|"
                        "SepsisLabel\n");
    for (int p = 0; p < 300; p++) {
        bool is_septic = p % 5 == 0;

        for (int hour = 0; hour < 30; hour++) {
            double ill = is_septic && hour > 16 ? (hour - 16) * 3 : 0;
            double noise;

            state = state * 6364136223846793005u + 1442695040888963407u;
            noise = (double)(state >> 40) / (1 << 24) * 8 - 4;
            vg_buf_printf(&out, "p%06d|%c|%.0f|%s|%s|%.0f|NaN||%.0f||%d|%d|%d|%d\n", p,
                          p % 2 ? 'A' : 'B', 75 + noise * 2 + ill, hour % 3 ? "97" : "",
                          hour % 4 ? "" : "37.1", 120 - noise - ill / 2, 16 + noise / 2 + ill / 3,
                          20 + p % 70, p % 2, hour + 1, is_septic && hour >= 20);
        }
    }
    CHECK(vg_file_write(path, vg_buf_slice(&out), 0600, NULL) == VG_OK);
    vg_buf_fini(&out);
}

static enum vg_status train(const char *file, const char *out_dir, uint64_t seed,
                            struct vg_buf *card, struct vg_err *err)
{
    struct score_train_config config = {.format = "physionet2019",
                                        .files = &file,
                                        .file_count = 1,
                                        .out_dir = out_dir,
                                        .seed = seed,
                                        .threads = 2,
                                        .rounds_max = 12};

    return score_train(&config, card, err);
}

static bool is_same_file(const char *a, const char *b)
{
    struct vg_arena arena;
    struct vg_slice x = {0}, y = {0};
    bool is_same;

    vg_arena_init(&arena, 0);
    is_same = vg_file_read(&arena, a, 0, &x, NULL) == VG_OK &&
              vg_file_read(&arena, b, 0, &y, NULL) == VG_OK && vg_slice_eq(x, y);
    vg_arena_fini(&arena);
    return is_same;
}

static void test_trains_and_repeats(void)
{
    char hospital[128], one[128], two[128], three[128], file_a[160], file_b[160];
    struct vg_err err = {0};
    struct vg_buf card;
    struct vg_arena arena;
    struct vg_json *root = NULL;
    const struct vg_json *test;
    struct model *model = NULL;
    double auroc = 0;

    (void)snprintf(hospital, sizeof(hospital), "%s", in_dir("hospital.psv"));
    (void)snprintf(one, sizeof(one), "%s", in_dir("one"));
    (void)snprintf(two, sizeof(two), "%s", in_dir("two"));
    (void)snprintf(three, sizeof(three), "%s", in_dir("three"));
    write_hospital(hospital);
    vg_buf_init(&card, 0);
    if (!CHECK(train(hospital, one, 7, &card, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    CHECK(train(hospital, two, 7, NULL, &err) == VG_OK);
    CHECK(train(hospital, three, 8, NULL, &err) == VG_OK);

    CHECK_ROW("the same seed gives the same bytes, another seed others");
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "model.json" : "card.json";

        (void)snprintf(file_a, sizeof(file_a), "%s/%s", one, name);
        (void)snprintf(file_b, sizeof(file_b), "%s/%s", two, name);
        CHECK(is_same_file(file_a, file_b));
        (void)snprintf(file_b, sizeof(file_b), "%s/%s", three, name);
        CHECK(!is_same_file(file_a, file_b));
    }

    CHECK_ROW("it learned what the test put in");
    vg_arena_init(&arena, 0);
    CHECK(vg_json_parse(&arena, vg_buf_slice(&card), NULL, &root, NULL, NULL) == VG_OK);
    test = vg_json_get(vg_json_get(root, "figures"), "test");
    CHECK(vg_json_to_double(vg_json_get(test, "rowAuroc"), &auroc) && auroc > 0.9);

    CHECK_ROW("what was written is a model that scoring opens");
    CHECK(model_open(one, &model, &err) == VG_OK);
    model_close(model);
    vg_arena_fini(&arena);
    vg_buf_fini(&card);
}

static void test_bad_files_are_named(void)
{
    static const char header[] = "Patient|HR|O2Sat|Temp|SBP|Resp|Age|Gender|SepsisLabel\n";
    static const struct {
        const char *name, *body;
        bool has_header;
        const char *code, *says;
    } rows[] = {
        {"empty", "", false, "train.header", "is empty"},
        {"a column is missing", "Patient|HR|Age\n", false, "train.header", "O2Sat"},
        {"a row is short", "p1|80|97\n", true, "train.row", "line 2"},
        {"a row is long", "p1|80|97||120|16|70|1|0|9\n", true, "train.row", "line 2"},
        {"not a number", "p1|80|97||120|16|70|1|0\np1|8x|97||120|16|70|1|0\n", true, "train.row",
         "line 3, column 2"},
        {"no patient", "|80|97||120|16|70|1|0\n", true, "train.row", "line 2"},
        {"one patient is not enough", "p1|80|97||120|16|70|1|0\n", true, "train.rows",
         "more patients"},
    };
    char path[128], out[128];
    struct vg_err err;

    (void)snprintf(path, sizeof(path), "%s", in_dir("bad.psv"));
    (void)snprintf(out, sizeof(out), "%s", in_dir("bad"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_buf text;

        CHECK_ROW(rows[i].name);
        vg_buf_init(&text, 0);
        vg_buf_printf(&text, "%s%s", rows[i].has_header ? header : "", rows[i].body);
        CHECK(vg_file_write(path, vg_buf_slice(&text), 0600, NULL) == VG_OK);
        vg_buf_fini(&text);
        err = (struct vg_err){0};
        CHECK(train(path, out, 1, NULL, &err) == VG_REJECT);
        CHECK(err.code && strcmp(err.code, rows[i].code) == 0);
        if (!CHECK(strstr(err.text, rows[i].says) != NULL))
            printf("%s\n", err.text);
    }
    CHECK_ROW("no such file");
    CHECK(train("/nonexistent/x.psv", out, 1, NULL, &err) == VG_REJECT);
    CHECK_ROW("not an archive");
    (void)snprintf(path, sizeof(path), "%s", in_dir("bad.psv.xz"));
    CHECK(vg_file_write(path, vg_slice_of(header), 0600, NULL) == VG_OK);
    CHECK(train(path, out, 1, NULL, &err) == VG_REJECT);
}

static void test_compressed_reads_the_same(void)
{
    char path[128], command[300];
    struct psv *plain = NULL, *compressed = NULL;
    struct vg_err err = {0};
    unsigned count = 0;

    (void)snprintf(path, sizeof(path), "%s", in_dir("hospital.psv"));
    (void)snprintf(command, sizeof(command), "xz -k -0 %s", path);
    if (system(command) != 0) {
        SKIP("xz is not installed");
        return;
    }
    CHECK(psv_open(path, &plain, &err) == VG_OK);
    (void)snprintf(path, sizeof(path), "%s", in_dir("hospital.psv.xz"));
    CHECK(psv_open(path, &compressed, &err) == VG_OK);
    while (plain && compressed) {
        struct psv_row a, b;
        enum vg_status st = psv_next(plain, &a, &err);

        CHECK(psv_next(compressed, &b, &err) == st);
        if (st != VG_OK) {
            CHECK(st == VG_END);
            break;
        }
        CHECK(strcmp(a.patient, b.patient) == 0 && a.label == b.label);
        CHECK(memcmp(a.value, b.value, sizeof(a.value)) == 0);
        count++;
    }
    CHECK(count == 300 * 30);
    CHECK(compressed && psv_done(compressed) > 0.99);
    psv_close(plain);
    psv_close(compressed);

    CHECK_ROW("left before the end: xz goes too");
    CHECK(psv_open(path, &compressed, &err) == VG_OK);
    psv_close(compressed);
}

static void test_measures(void)
{
    static const float scores[] = {0.9f, 0.8f, 0.8f, 0.4f, 0.1f};
    static const float labels[] = {1, 0, 1, 1, 0};
    float margins[1000], outcomes[1000];
    double value = 0, slope = 0, intercept = 0;

    /* Pairs won: 0.9 over 0.8 and 0.1 (2), 0.8 ties and beats 0.1 (1.5), 0.4 beats 0.1 (1): 4.5/6
     */
    CHECK(measure_auroc(scores, labels, 5, &value) && fabs(value - 0.75) < 1e-9);
    /* Steps: 1 of 1, then a tie: 2 of 3, then 3 of 4; each a third of the positives. */
    CHECK(measure_average_precision(scores, labels, 5, &value) &&
          fabs(value - (1.0 + 2.0 / 3 + 0.75) / 3) < 1e-9);
    CHECK(measure_auroc(scores, labels, 1, &value) && isnan(value));

    /* Outcomes that follow logistic(0.5 m - 1) in share: 100 rows a margin. */
    for (int i = 0; i < 1000; i++) {
        margins[i] = (float)(i / 100) - 5;
        outcomes[i] = i % 100 < (int)lround(100 * measure_logistic(0.5 * (double)margins[i] - 1));
    }
    measure_platt(margins, outcomes, 1000, &slope, &intercept);
    CHECK(fabs(slope - 0.5) < 0.02 && fabs(intercept + 1) < 0.03);
}

int main(void)
{
    char command[64];

    if (!CHECK(mkdtemp(dir) != NULL))
        return vg_test_report();
    RUN(test_measures);
    RUN(test_trains_and_repeats);
    RUN(test_bad_files_are_named);
    RUN(test_compressed_reads_the_same);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    CHECK(system(command) == 0);
    return vg_test_report();
}
