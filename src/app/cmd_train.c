/* cmd_train.c -- `vigil train`: labelled records in, a model with its card out.
 *
 * The work is score_train(). This reads the arguments, shows the progress on standard error and
 * writes the card's main figures on standard output.
 */
#include "base/file.h"
#include "base/json.h"
#include "score/score.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define FILES_MAX 64

int cmd_train(int argc, char **argv);

static const char usage[] =
    "usage: vigil train --format FORMAT [--model NAME] --out DIR [options] FILE|FOLDER...\n"
    "\n"
    "Trains a risk model on recorded patients and judges it on patients kept apart. Writes\n"
    "DIR/model.json (XGBoost), DIR/card.json and DIR/card.html (what it is, figures, limits).\n"
    "Interrupted and called again, it goes on where it was.\n"
    "\n"
    "  --format NAME   physionet2019: Patient|Set|HR|O2Sat|Temp|SBP|... with SepsisLabel, or a\n"
    "                  folder of the challenge's own files\n"
    "                  physionet2012: Set,RecordID,Time,Parameter,Value (or Time,Parameter,Value)\n"
    "                  lake: this installation's patients; FILE lists them as patient,outcome\n"
    "  --model NAME    sepsis-vitals, sepsis-full, mortality-icu: features and parameters\n"
    "  --out DIR       made when missing\n"
    "  --outcomes FILE physionet2012: RecordID and In-hospital_death (found beside FILE)\n"
    "  --lake DIR      lake: its folder\n"
    "  --features FILE names of features instead of the model's\n"
    "  --set NAME=VALUE  a parameter of XGBoost instead of the model's (repeat)\n"
    "  --seed N        of the split and the training; the same seed gives the same model (1)\n"
    "  --threads N     for training; part of what the same model needs (1)\n"
    "  --rounds N      at most so many trees; training stops when it no longer helps\n"
    "  --folds N       cross-validation in N parts of the training patients, for the number of\n"
    "                  trees, calibration and thresholds; 1: 15 of 100 patients choose instead\n"
    "                  (the model's)\n"
    "  --no-comparisons  no ablation and no transfer between hospitals in the card\n"
    "  --no-refit      ship the judged model, not one trained again on all patients\n"
    "\n"
    "Files that end in .xz are read through xz, which must be installed.\n"
    "Exit: 0 done, 1 failed, 2 wrong usage.\n";

static void show_progress(void *ctx, const char *phase, double done, int64_t left_us)
{
    const bool *is_terminal = ctx;

    if (left_us >= 0 && done < 1)
        (void)fprintf(stderr, "%s%-12s %3.0f %%, %" PRId64 " s left%s", *is_terminal ? "\r" : "",
                      phase, done * 100, left_us / VG_SECOND_US, *is_terminal ? "   " : "\n");
    else if (done >= 1)
        (void)fprintf(stderr, "%s%-12s done           \n", *is_terminal ? "\r" : "", phase);
    (void)fflush(stderr);
}

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    return text && vg_slice_to_u64(vg_slice_of(text), ret) && *ret > 0 && *ret <= max;
}

/* The digits of a figure as the card has them, "-" where it has none. */
static struct vg_slice figure(const struct vg_json *object, const char *name)
{
    const struct vg_json *value = vg_json_get(object, name);

    return value ? value->source : VG_SLICE("-");
}

static void print_figures(struct vg_slice card)
{
    static const char *const rows[][2] = {{"test", "model"}, {"news2", "NEWS2"}};
    struct vg_arena arena;
    struct vg_json *root = NULL;
    const struct vg_json *figures, *thresholds;

    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, card, NULL, &root, NULL, NULL) == VG_OK) {
        figures = vg_json_get(root, "figures");
        thresholds = vg_json_get(root, "thresholds");
        printf("on patients kept apart   row AUROC  average precision  patient AUROC\n");
        for (size_t i = 0; i < 2; i++) {
            const struct vg_json *of = vg_json_get(figures, rows[i][0]);

            printf("  %-22s %-10.*s %-18.*s %.*s\n", rows[i][1], VG_FMT(figure(of, "rowAuroc")),
                   VG_FMT(figure(of, "rowAveragePrecision")), VG_FMT(figure(of, "patientAuroc")));
        }
        for (size_t i = 0; i < 3; i++) {
            const char *band = i == 0 ? "operating" : i == 1 ? "medium" : "high";
            const struct vg_json *of = vg_json_get(vg_json_get(thresholds, band), "test");

            printf("  band %-9s          %.*s alerts per 100 patient-days, precision %.*s, "
                   "sensitivity %.*s\n",
                   band, VG_FMT(figure(of, "alertsPer100PatientDays")),
                   VG_FMT(figure(of, "precision")), VG_FMT(figure(of, "sensitivity")));
        }
    }
    vg_arena_fini(&arena);
}

#define PARAMETERS_MAX 32

struct arguments {
    struct score_train_config config;
    const char *files[FILES_MAX];
    struct score_parameter parameters[PARAMETERS_MAX];
    const char *lake, *features;
};

/* --set NAME=VALUE cuts its argument in two. */
static bool take_parameter(struct arguments *a, char *text)
{
    char *equals = text ? strchr(text, '=') : NULL;

    if (!equals || a->config.parameter_count == PARAMETERS_MAX)
        return false;
    *equals = '\0';
    a->parameters[a->config.parameter_count++] = (struct score_parameter){text, equals + 1};
    return true;
}

/* How many arguments were used; 0: not understood. */
static int take_argument(struct arguments *a, char **argv)
{
    struct score_train_config *config = &a->config;
    const struct {
        const char *name, **to;
    } texts[] = {{"--format", &config->format}, {"--model", &config->model},
                 {"--out", &config->out_dir},   {"--outcomes", &config->outcomes},
                 {"--lake", &a->lake},          {"--features", &a->features}};
    const struct {
        const char *name;
        bool *to;
    } switches[] = {{"--no-comparisons", &config->no_comparisons},
                    {"--no-refit", &config->no_refit}};
    uint64_t n = 0;

    if (argv[0][0] != '-') {
        if (config->file_count == FILES_MAX)
            return 0;
        a->files[config->file_count++] = argv[0];
        return 1;
    }
    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        if (strcmp(argv[0], switches[i].name) == 0) {
            *switches[i].to = true;
            return 1;
        }
    }
    if (!argv[1])
        return 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(argv[0], texts[i].name) == 0) {
            *texts[i].to = argv[1];
            return 2;
        }
    }
    if (strcmp(argv[0], "--set") == 0)
        return take_parameter(a, argv[1]) ? 2 : 0;
    if (strcmp(argv[0], "--seed") == 0)
        return number(argv[1], UINT32_MAX, &config->seed) ? 2 : 0;
    if (strcmp(argv[0], "--threads") == 0 && number(argv[1], 256, &n)) {
        config->threads = (uint32_t)n;
        return 2;
    }
    if (strcmp(argv[0], "--folds") == 0 && number(argv[1], 20, &n)) {
        config->folds = (uint32_t)n;
        return 2;
    }
    if (strcmp(argv[0], "--rounds") == 0 && number(argv[1], 10000, &n)) {
        config->rounds_max = (uint32_t)n;
        return 2;
    }
    return 0;
}

int cmd_train(int argc, char **argv)
{
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    struct arguments a = {.config = {.progress = show_progress, .ctx = &is_terminal}};
    struct vg_err err = {0};
    struct vg_arena arena;
    struct vg_slice features = {0};
    struct vg_buf card;
    enum vg_status st = VG_OK;

    a.config.files = a.files;
    a.config.parameters = a.parameters;
    for (int i = 1, used; i < argc; i += used) {
        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        used = take_argument(&a, argv + i);
        if (used == 0) {
            (void)fprintf(stderr, "vigil train: '%s' is not understood here\n\n%s", argv[i], usage);
            return 2;
        }
    }
    if (!a.config.format || !a.config.out_dir || a.config.file_count == 0) {
        (void)fprintf(stderr, "vigil train: --format, --out and a file are needed\n\n%s", usage);
        return 2;
    }

    vg_arena_init(&arena, 0);
    vg_buf_init(&card, 0);
    if (a.features) {
        st = vg_file_read(&arena, a.features, 1 << 20, &features, &err);
        a.config.features = features.ptr; /* ends with NUL */
        if (st == VG_END)
            st = vg_fail(&err, VG_REJECT, "train.features", 0, "no file '%s'", a.features);
    }
    if (st == VG_OK && a.lake)
        st = lake_open(&(struct lake_config){.dir = a.lake}, &a.config.lake, &err);
    if (st == VG_OK)
        st = score_train(&a.config, &card, &err);
    if (st == VG_OK)
        print_figures(vg_buf_slice(&card));
    else
        (void)fprintf(stderr, "\nvigil train: %s: %s\n", err.code, err.text);
    lake_close(a.config.lake);
    vg_buf_fini(&card);
    vg_arena_fini(&arena);
    return st == VG_OK ? 0 : 1;
}
