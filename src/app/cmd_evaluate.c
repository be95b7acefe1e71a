/* cmd_evaluate.c -- `vigil evaluate`: a model on recorded patients, its figures and predictions.
 *
 * The work is score_evaluate(). This reads the arguments, shows the progress on standard error and
 * writes the report on standard output.
 */
#include "app/app.h"

#include "score/score.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define FILES_MAX 64

static const char usage[] =
    "usage: vigil evaluate --model DIR --format FORMAT [options] FILE|FOLDER...\n"
    "\n"
    "Runs recorded patients through the live windows and the model, in the order of events, and\n"
    "says what its scores were worth; NEWS2 and other bedside scores on the same rows beside it.\n"
    "\n"
    "  --model DIR          a model's folder (models/sepsis-full)\n"
    "  --format NAME        physionet2019, physionet2012 or lake: as for vigil train\n"
    "  --predictions FILE   writes patient,hour,probability,alert for every row of the input\n"
    "  --outcomes FILE      physionet2012: RecordID and In-hospital_death (found beside FILE)\n"
    "  --lake DIR           lake: its folder; FILE lists patient,outcome\n"
    "  --bootstrap N        samples of the patients for the intervals (200); 0: none\n"
    "  --seed N             of the samples (1)\n"
    "  --json               the report as JSON\n"
    "\n"
    "Records without outcomes are scored and not judged. Exit: 0 done, 1 failed, 2 wrong usage.\n";

static void show_progress(void *ctx, const char *phase, double done, int64_t left_us)
{
    const bool *is_terminal = ctx;

    if (!*is_terminal)
        return;
    if (left_us >= 0 && done < 1)
        (void)fprintf(stderr, "\r%-8s %3.0f %%, %" PRId64 " s left   ", phase, done * 100,
                      left_us / VG_SECOND_US);
    else if (done >= 1)
        (void)fprintf(stderr, "\r%-8s done              \n", phase);
    (void)fflush(stderr);
}

struct arguments {
    struct score_evaluate_config config;
    const char *files[FILES_MAX];
    const char *lake;
    bool wants_json;
};

/* How many arguments were used; 0: not understood. */
static int take_argument(struct arguments *a, char **argv)
{
    struct score_evaluate_config *config = &a->config;
    const struct {
        const char *name, **to;
    } texts[] = {{"--model", &config->model_dir},
                 {"--format", &config->format},
                 {"--predictions", &config->predictions},
                 {"--outcomes", &config->outcomes},
                 {"--lake", &a->lake}};
    uint64_t n = 0;

    if (strcmp(argv[0], "--json") == 0) {
        a->wants_json = true;
        return 1;
    }
    if (argv[0][0] != '-') {
        if (config->file_count == FILES_MAX)
            return 0;
        a->files[config->file_count++] = argv[0];
        return 1;
    }
    if (!argv[1])
        return 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(argv[0], texts[i].name) == 0) {
            *texts[i].to = argv[1];
            return 2;
        }
    }
    if (strcmp(argv[0], "--bootstrap") == 0 && vg_slice_to_u64(vg_slice_of(argv[1]), &n) &&
        n <= 1000) {
        config->bootstrap = n ? (uint32_t)n : UINT32_MAX;
        return 2;
    }
    if (strcmp(argv[0], "--seed") == 0 && vg_slice_to_u64(vg_slice_of(argv[1]), &config->seed))
        return 2;
    return 0;
}

int cmd_evaluate(int argc, char **argv)
{
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    struct arguments a = {.config = {.progress = show_progress, .ctx = &is_terminal}};
    struct vg_err err = {0};
    struct vg_buf out;
    enum vg_status st = VG_OK;

    a.config.files = a.files;
    for (int i = 1, used; i < argc; i += used) {
        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        used = take_argument(&a, argv + i);
        if (used == 0) {
            (void)fprintf(stderr, "vigil evaluate: '%s' is not understood here\n\n%s", argv[i],
                          usage);
            return 2;
        }
    }
    if (!a.config.format || !a.config.model_dir || a.config.file_count == 0) {
        (void)fprintf(stderr, "vigil evaluate: --model, --format and a file are needed\n\n%s",
                      usage);
        return 2;
    }

    vg_buf_init(&out, 0);
    if (a.lake)
        st = lake_open(&(struct lake_config){.dir = a.lake}, &a.config.lake, &err);
    if (st == VG_OK)
        st = score_evaluate(&a.config, a.wants_json, &out, &err);
    if (st == VG_OK)
        (void)fwrite(out.ptr, 1, out.len, stdout);
    else
        (void)fprintf(stderr, "\nvigil evaluate: %s: %s\n", err.code, err.text);
    lake_close(a.config.lake);
    vg_buf_fini(&out);
    return st == VG_OK ? 0 : 1;
}
