/* cmd_train.c -- `vigil train`: labelled records in, a model with its card out.
 *
 * The work is score_train(). This reads the arguments, shows the progress on standard error and
 * writes the card's main figures on standard output.
 */
#include "base/json.h"
#include "score/score.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define FILES_MAX 64

int cmd_train(int argc, char **argv);

static const char usage[] =
    "usage: vigil train --format physionet2019 --out DIR [options] FILE.psv[.xz]...\n"
    "\n"
    "Trains the risk model on labelled hourly records and judges it on patients kept apart.\n"
    "Writes DIR/model.json (XGBoost) and DIR/card.json (what it is, figures, limits).\n"
    "\n"
    "  --format NAME   physionet2019: Patient|Set|HR|O2Sat|Temp|SBP|... with SepsisLabel\n"
    "  --out DIR       made when missing\n"
    "  --seed N        of the split and the training; the same seed gives the same model (1)\n"
    "  --threads N     for training; part of what the same model needs (1)\n"
    "  --rounds N      at most so many trees (1000); training stops when it no longer helps\n"
    "\n"
    "Files that end in .xz are read through xz, which must be installed.\n"
    "Exit: 0 done, 1 failed, 2 wrong usage.\n";

static void show_progress(void *ctx, const char *phase, double done, int64_t left_us)
{
    const bool *is_terminal = ctx;

    if (left_us >= 0 && done < 1)
        (void)fprintf(stderr, "%s%-9s %3.0f %%, %" PRId64 " s left%s", *is_terminal ? "\r" : "",
                      phase, done * 100, left_us / VG_SECOND_US, *is_terminal ? "   " : "\n");
    else if (done >= 1)
        (void)fprintf(stderr, "%s%-9s done           \n", *is_terminal ? "\r" : "", phase);
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
        for (size_t i = 0; i < 2; i++) {
            const char *band = i == 0 ? "medium" : "high";
            const struct vg_json *of = vg_json_get(vg_json_get(thresholds, band), "test");

            printf("  band %-6s             %.*s alerts per 100 patient-days, precision %.*s, "
                   "sensitivity %.*s\n",
                   band, VG_FMT(figure(of, "alertsPer100PatientDays")),
                   VG_FMT(figure(of, "precision")), VG_FMT(figure(of, "sensitivity")));
        }
    }
    vg_arena_fini(&arena);
}

int cmd_train(int argc, char **argv)
{
    const char *files[FILES_MAX];
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    struct score_train_config config = {
        .files = files, .progress = show_progress, .ctx = &is_terminal};
    struct vg_err err = {0};
    struct vg_buf card;
    uint64_t n = 0;
    enum vg_status st;

    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool is_good = true;

        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        if (argv[i][0] != '-') {
            is_good = config.file_count < FILES_MAX;
            if (is_good)
                files[config.file_count++] = argv[i];
        } else {
            if (strcmp(argv[i], "--format") == 0)
                is_good = (config.format = next) != NULL;
            else if (strcmp(argv[i], "--out") == 0)
                is_good = (config.out_dir = next) != NULL;
            else if (strcmp(argv[i], "--seed") == 0)
                is_good = number(next, UINT32_MAX, &config.seed);
            else if (strcmp(argv[i], "--threads") == 0 && (is_good = number(next, 256, &n)))
                config.threads = (uint32_t)n;
            else if (strcmp(argv[i], "--rounds") == 0 && (is_good = number(next, 10000, &n)))
                config.rounds_max = (uint32_t)n;
            else
                is_good = false;
            i++;
        }
        if (!is_good) {
            (void)fprintf(stderr, "vigil train: '%s' is not understood here\n\n%s",
                          argv[i < argc ? i : argc - 1], usage);
            return 2;
        }
    }
    if (!config.format || !config.out_dir || config.file_count == 0) {
        (void)fprintf(stderr, "vigil train: --format, --out and a file are needed\n\n%s", usage);
        return 2;
    }

    vg_buf_init(&card, 0);
    st = score_train(&config, &card, &err);
    if (st == VG_OK)
        print_figures(vg_buf_slice(&card));
    else
        (void)fprintf(stderr, "\nvigil train: %s: %s\n", err.code, err.text);
    vg_buf_fini(&card);
    return st == VG_OK ? 0 : 1;
}
