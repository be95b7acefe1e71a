/* train_test.c -- a small hospital made by the test: learns, learns the same again, goes on after
 * a stop, is judged; and what the formats of records refuse. */
#include "score/model.h"
#include "score/source.h"

#include "base/file.h"
#include "base/json.h"
#include "vg_test.h"

#include <math.h>
#include <sys/wait.h>
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
                                        .threads = 1,
                                        .no_comparisons = true,
                                        .folds = 1,
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
    vg_buf_init(&card, 0);
    if (!CHECK(train(hospital, one, 7, &card, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    CHECK(train(hospital, two, 7, NULL, &err) == VG_OK);
    CHECK(train(hospital, three, 8, NULL, &err) == VG_OK);

    CHECK_ROW("the same seed gives the same bytes, another seed others");
    for (int i = 0; i < 3; i++) {
        const char *name = i == 0 ? "card.json" : i == 1 ? "model.json" : "card.html";

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
    CHECK_ROW("an unknown format");
    {
        const char *file = path;
        struct score_train_config config = {
            .format = "excel", .files = &file, .file_count = 1, .out_dir = out};

        CHECK(score_train(&config, NULL, &err) == VG_REJECT);
        CHECK(strcmp(err.code, "train.format") == 0);
    }
    CHECK_ROW("not an archive");
    (void)snprintf(path, sizeof(path), "%s", in_dir("bad.psv.xz"));
    CHECK(vg_file_write(path, vg_slice_of(header), 0600, NULL) == VG_OK);
    CHECK(train(path, out, 1, NULL, &err) == VG_REJECT);
}

static int stops_at_phase; /* 1: amid the trees, 2: after them, 3: amid a fold's */

/* What a person does with Ctrl-C: the run ends where it is. */
static void stop_progress(void *ctx, const char *phase, double done, int64_t left_us)
{
    (void)ctx;
    (void)left_us;
    if ((stops_at_phase == 1 && strcmp(phase, "training") == 0 && done > 0.4 && done < 0.9) ||
        (stops_at_phase == 2 && strcmp(phase, "judging") == 0) ||
        (stops_at_phase == 3 && strcmp(phase, "fold-2") == 0 && done > 0.4 && done < 0.9))
        _exit(7);
}

static void test_a_stopped_run_goes_on(void)
{
    static const struct {
        const char *what, *name, *part;
    } stops[] = {{"stopped amid the trees", "amid", ".judged.part"},
                 {"stopped after the trees", "after", ".judged.part"},
                 {"stopped amid a fold's trees", "fold", ".fold-1.part"}};
    char hospital[128], whole[128], resumed[128], part[160], file_a[160], file_b[160];
    const char *file = hospital;
    struct score_train_config config = {.format = "physionet2019",
                                        .files = &file,
                                        .file_count = 1,
                                        .seed = 7,
                                        .no_comparisons = true,
                                        .folds = 2,
                                        .rounds_max = 12,
                                        .checkpoint_rounds = 4,
                                        .progress = stop_progress};
    struct vg_err err = {0};

    (void)snprintf(hospital, sizeof(hospital), "%s", in_dir("hospital.psv"));
    (void)snprintf(whole, sizeof(whole), "%s", in_dir("whole"));
    /* The children first: XGBoost's threads do not survive a fork. */
    for (int phase = 1; phase <= 3; phase++) {
        int status = 0;
        pid_t child;

        CHECK_ROW(stops[phase - 1].what);
        (void)snprintf(resumed, sizeof(resumed), "%s", in_dir(stops[phase - 1].name));
        config.out_dir = resumed;
        child = fork();
        if (child == 0) {
            stops_at_phase = phase;
            _exit(score_train(&config, NULL, &err) == VG_OK ? 0 : 1);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        (void)snprintf(part, sizeof(part), "%s/%s", resumed, stops[phase - 1].part);
        CHECK(access(part, R_OK) == 0); /* the trees so far */
        (void)snprintf(file_b, sizeof(file_b), "%s/model.json", resumed);
        CHECK(access(file_b, R_OK) != 0);
    }
    config.out_dir = whole;
    CHECK(score_train(&config, NULL, &err) == VG_OK);
    for (int phase = 1; phase <= 3; phase++) {
        CHECK_ROW("called again it makes the same bytes as a run that never stopped");
        (void)snprintf(resumed, sizeof(resumed), "%s", in_dir(stops[phase - 1].name));
        (void)snprintf(part, sizeof(part), "%s/%s", resumed, stops[phase - 1].part);
        config.out_dir = resumed;
        CHECK(score_train(&config, NULL, &err) == VG_OK);
        for (int i = 0; i < 2; i++) {
            (void)snprintf(file_a, sizeof(file_a), "%s/%s", whole, i ? "card.json" : "model.json");
            (void)snprintf(file_b, sizeof(file_b), "%s/%s", resumed,
                           i ? "card.json" : "model.json");
            CHECK(is_same_file(file_a, file_b));
        }
        CHECK(access(part, R_OK) != 0);
    }
}

static void test_folds(void)
{
    char hospital[128], out[128];
    const char *file = hospital;
    struct score_train_config config = {.format = "physionet2019",
                                        .files = &file,
                                        .file_count = 1,
                                        .out_dir = out,
                                        .seed = 7,
                                        .no_refit = true,
                                        .folds = 3,
                                        .rounds_max = 10};
    struct vg_err err = {0};
    struct vg_arena arena;
    struct vg_buf card;
    struct vg_json *root = NULL;
    const struct vg_json *figures, *data, *folds, *fold;
    int64_t train = 0, test = 0, patients = 0;

    (void)snprintf(hospital, sizeof(hospital), "%s", in_dir("hospital.psv"));
    (void)snprintf(out, sizeof(out), "%s", in_dir("folds"));
    vg_arena_init(&arena, 0);
    vg_buf_init(&card, 0);
    if (!CHECK(score_train(&config, &card, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    CHECK(vg_json_parse(&arena, vg_buf_slice(&card), NULL, &root, NULL, NULL) == VG_OK);
    figures = vg_json_get(root, "figures");
    data = vg_json_get(root, "data");

    CHECK_ROW("each training patient is in one fold, the judged ones in none");
    CHECK(vg_json_to_i64(vg_json_get(vg_json_get(data, "train"), "patients"), &train));
    CHECK(vg_json_to_i64(vg_json_get(vg_json_get(data, "test"), "patients"), &test));
    CHECK(train + test == 300 && test > 15 && !vg_json_get(data, "calibrate"));
    folds = vg_json_get(vg_json_get(figures, "crossValidation"), "folds");
    CHECK(vg_json_at(folds, 2) && !vg_json_at(folds, 3));
    for (size_t k = 0; k < 3; k++) {
        int64_t count = 0;
        double auroc = 0;

        fold = vg_json_at(folds, k);
        CHECK(vg_json_to_i64(vg_json_get(fold, "patients"), &count) && count > 50);
        CHECK(vg_json_to_double(vg_json_get(fold, "rowAuroc"), &auroc) && auroc > 0.9);
        patients += count;
    }
    CHECK(patients == train);

    CHECK_ROW("without the ages of values, and without how often they came");
    CHECK(vg_json_get(figures, "withoutTimeSinceFeatures"));
    CHECK(vg_json_get(figures, "withoutMeasurementPatternFeatures"));

    CHECK_ROW("more folds than there are");
    config.folds = 21;
    CHECK(score_train(&config, NULL, &err) == VG_REJECT);
    CHECK(strcmp(err.code, "train.folds") == 0);
    vg_buf_fini(&card);
    vg_arena_fini(&arena);
}

/* The report's figure, NaN where it has none. */
static double figure(const struct vg_json *root, const char *of, const char *name)
{
    const struct vg_json *value = vg_json_get(vg_json_get(root, of), name);
    double number = (double)NAN;

    if (!vg_json_to_double(value, &number))
        (void)vg_json_to_double(vg_json_get(value, "value"), &number);
    return number;
}

static void test_evaluates(void)
{
    char hospital[128], model[128], predictions[128];
    const char *file = hospital;
    struct score_evaluate_config config = {.format = "physionet2019",
                                           .model_dir = model,
                                           .files = &file,
                                           .file_count = 1,
                                           .predictions = predictions,
                                           .bootstrap = 20};
    struct vg_err err = {0};
    struct vg_arena arena;
    struct vg_slice text = {0}, line;
    struct vg_json *root = NULL;
    struct vg_buf out;
    size_t lines = 0, alerts = 0;

    (void)snprintf(hospital, sizeof(hospital), "%s", in_dir("hospital.psv"));
    (void)snprintf(model, sizeof(model), "%s", in_dir("one"));
    (void)snprintf(predictions, sizeof(predictions), "%s", in_dir("predictions.csv"));
    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 0);
    if (!CHECK(score_evaluate(&config, true, &out, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    CHECK(vg_json_parse(&arena, vg_buf_slice(&out), NULL, &root, NULL, NULL) == VG_OK);
    CHECK(figure(root, "operating", "rowAuroc") > 0.9);
    CHECK(figure(root, "operating", "utility") > 0.3);
    CHECK(figure(root, "NEWS2", "rowAuroc") < figure(root, "operating", "rowAuroc"));

    CHECK_ROW("a line for every row of the input, in its order");
    CHECK(vg_file_read(&arena, predictions, 0, &text, &err) == VG_OK);
    line = vg_slice_cut(&text, '\n');
    CHECK(vg_slice_is(line, "patient,hour,probability,alert"));
    for (; text.len > 0; lines++) {
        char want[32];

        line = vg_slice_cut(&text, '\n');
        (void)snprintf(want, sizeof(want), "p%06zu,%zu,0.", lines / 30, lines % 30 + 1);
        if (!vg_slice_starts(line, vg_slice_of(want)))
            CHECK(false);
        alerts += line.len > 0 && line.ptr[line.len - 1] == '1';
    }
    CHECK(lines == 300 * 30 && alerts > 100 && alerts < 3000);
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
}

static size_t count_rows(const char *format, const char *path, size_t *ret_patients,
                         size_t *ret_readings, struct vg_err *err)
{
    struct source_config config = {.format = format, .paths = &path, .path_count = 1};
    struct source *source = NULL;
    struct source_row row;
    enum vg_status st = source_open(&config, &source, err);
    size_t rows = 0;

    *ret_patients = *ret_readings = 0;
    while (st == VG_OK && (st = source_next(source, &row, err)) == VG_OK) {
        rows++;
        *ret_patients += row.is_new_patient;
        *ret_readings += row.reading_count;
    }
    CHECK(st == VG_END);
    CHECK(!source || source_done(source) > 0.99);
    source_close(source);
    return rows;
}

static void test_compressed_reads_the_same(void)
{
    char path[128], command[300];
    size_t patients = 0, readings = 0, again = 0;
    struct vg_err err = {0};

    (void)snprintf(path, sizeof(path), "%s", in_dir("hospital.psv"));
    CHECK(count_rows("physionet2019", path, &patients, &readings, &err) == 300 * 30);
    CHECK(patients == 300);
    (void)snprintf(command, sizeof(command), "xz -k -0 %s", path);
    if (system(command) != 0) {
        SKIP("xz is not installed");
        return;
    }
    (void)snprintf(path, sizeof(path), "%s", in_dir("hospital.psv.xz"));
    CHECK(count_rows("physionet2019", path, &patients, &again, &err) == 300 * 30);
    CHECK(readings == again && patients == 300);
}

static void test_a_folder_of_single_patients(void)
{
    static const char header[] = "HR|O2Sat|Temp|SBP|Resp|Age|Gender|ICULOS|SepsisLabel\n";
    char folder[128], path[160];
    struct vg_err err = {0};
    size_t patients = 0, readings = 0;

    (void)snprintf(folder, sizeof(folder), "%s", in_dir("folder"));
    CHECK(vg_dir_make(folder, &err) == VG_OK);
    for (int i = 0; i < 3; i++) {
        struct vg_buf text;

        vg_buf_init(&text, 0);
        vg_buf_printf(&text, "%s80|97|NaN|120|16|70|1|5|0\n81|NaN|NaN|NaN|NaN|70|1|6|1\n", header);
        (void)snprintf(path, sizeof(path), "%s/p00000%d.psv", folder, i);
        CHECK(vg_file_write(path, vg_buf_slice(&text), 0600, NULL) == VG_OK);
        vg_buf_fini(&text);
    }
    CHECK(count_rows("physionet2019", folder, &patients, &readings, &err) == 6);
    CHECK(patients == 3 && readings == 3 * 5);
}

static void test_irregular_times(void)
{
    static const char text[] =
        "Set,RecordID,Time,Parameter,Value\n"
        "a,1,00:00,Age,70\na,1,00:00,Gender,0\na,1,00:10,HR,80\na,1,01:00,HR,90\n"
        "a,1,01:01,NIDiasABP,-1\na,1,01:30,FiO2,0.5\na,1,47:59,Temp,-17.8\na,1,48:00,Urine,0\n"
        "a,2,00:00,Age,50\na,2,03:00,,\na,2,05:00,HR,0\na,2,05:00,GCS,15\n";
    static const char outcomes[] = "Set,Part,RecordID,SAPS-I,In-hospital_death\n"
                                   "a,train,1,6,0\na,train,2,9,1\n";
    char path[128], outcome_path[128];
    const char *file = path;
    struct source_config config = {.format = "physionet2012", .paths = &file, .path_count = 1};
    struct source *source = NULL;
    struct source_row row;
    struct vg_err err = {0};
    size_t rows = 0, readings = 0;

    (void)snprintf(path, sizeof(path), "%s", in_dir("icu_train.csv"));
    (void)snprintf(outcome_path, sizeof(outcome_path), "%s", in_dir("icu_outcomes.csv"));
    CHECK(vg_file_write(path, vg_slice_of(text), 0600, NULL) == VG_OK);
    CHECK(vg_file_write(outcome_path, vg_slice_of(outcomes), 0600, NULL) == VG_OK);
    if (!CHECK(source_open(&config, &source, &err) == VG_OK)) {
        printf("%s\n", err.text);
        return;
    }
    while (source_next(source, &row, &err) == VG_OK) {
        CHECK(row.has_label && row.label == (strcmp(row.patient, "2") == 0));
        CHECK(row.hour == (int64_t)(rows % 48) + 1);
        if (rows == 0) /* at 1 h: what was charted until then, its end included */
            CHECK(row.reading_count == 2 && row.readings[1].vital == SCORE_PULSE);
        if (rows == 1) /* a fraction is in %, a failed cuff is nothing */
            CHECK(row.reading_count == 1 && fabs(row.readings[0].value - 50) < 1e-9);
        for (size_t i = 0; i < row.reading_count; i++)
            CHECK(row.readings[i].time_us <= row.time_us);
        readings += row.reading_count;
        rows++;
    }
    CHECK(rows == 96 && readings == 5);
    source_close(source);
}

/* Two patients of ten hours in a lake; one of them had the outcome at the seventh. */
static void test_the_hospitals_own_lake(void)
{
    static const char listed[] = "patient,outcome\npa,2026-03-14T07:00:00Z\npb,\npc,\n";
    char folder[128], list[128];
    const char *file = list;
    struct source_config config = {.format = "lake", .paths = &file, .path_count = 1};
    struct source *source = NULL;
    struct source_row row;
    struct lake *lake = NULL;
    struct vg_err err = {0};
    size_t rows[2] = {0}, positives[2] = {0}, readings = 0;

    (void)snprintf(folder, sizeof(folder), "%s", in_dir("lake"));
    (void)snprintf(list, sizeof(list), "%s", in_dir("list.csv"));
    CHECK(vg_file_write(list, vg_slice_of(listed), 0600, NULL) == VG_OK);
    if (!CHECK(lake_open(&(struct lake_config){.dir = folder}, &lake, &err) == VG_OK)) {
        printf("%s\n", err.text);
        return;
    }
    for (int hour = 0; hour < 20; hour++) {
        char record[512];

        (void)snprintf(record, sizeof(record),
                       "{\"patientId\":\"p%c\",\"patient\":{\"ageYears\":70,\"gender\":\"female\"},"
                       "\"deviceId\":\"bed-1\",\"type\":\"vitals\",\"effectiveDateTime\":"
                       "\"2026-03-14T%02d:00:00Z\",\"receivedTime\":\"2026-03-14T%02d:00:00Z\","
                       "\"observationId\":\"o1\",\"values\":[{\"name\":\"hr\",\"system\":"
                       "\"http://loinc.org\",\"code\":\"8867-4\",\"value\":80,\"unit\":\"/min\"}]}",
                       hour < 10 ? 'a' : 'b', hour % 10 + 1, hour % 10 + 1);
        CHECK(lake_append(lake, LAKE_ENRICHED, "app", vg_slice_of(record), VG_SLICE("0-1"), NULL) ==
              VG_OK);
    }
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 20, &err) == VG_OK);
    config.lake = lake;
    if (!CHECK(source_open(&config, &source, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    while (source && source_next(source, &row, &err) == VG_OK) {
        int who = strcmp(row.patient, "pb") == 0;

        CHECK(fabs(row.age_years - 70) < 0.1 && fabs(row.sex) < 0.1);
        rows[who]++;
        positives[who] += row.label;
        readings += row.reading_count;
    }
    /* Readings at 1 to 10 o'clock; the label from 1 o'clock on, and nothing later than 10. */
    CHECK(rows[0] == 10 && rows[1] == 10 && positives[0] == 10 && positives[1] == 0);
    CHECK(readings == 20);
    source_close(source);
    lake_close(lake);
}

int main(void)
{
    char command[64];

    if (!CHECK(mkdtemp(dir) != NULL))
        return vg_test_report();
    write_hospital(in_dir("hospital.psv"));
    RUN(test_a_stopped_run_goes_on);
    RUN(test_trains_and_repeats);
    RUN(test_folds);
    RUN(test_evaluates);
    RUN(test_bad_files_are_named);
    RUN(test_compressed_reads_the_same);
    RUN(test_a_folder_of_single_patients);
    RUN(test_irregular_times);
    RUN(test_the_hospitals_own_lake);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    CHECK(system(command) == 0);
    return vg_test_report();
}
