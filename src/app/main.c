/* main.c -- vigil: one program, a command for each thing it does. */
#include "app/app.h"

#include "base/crypto.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "the whole platform"},
    {"edge", cmd_edge, "a store-and-forward gateway beside the devices"},
    {"fhir", cmd_fhir, "the FHIR service alone"},
    {"seed", cmd_seed, "a ward of made-up patients to try Vigil with"},
    {"simulate", cmd_simulate, "a simulated ward: MQTT clients over TLS, one patient deteriorates"},
    {"replay", cmd_replay, "plays recorded vital signs of a real patient through the same door"},
    {"device", cmd_device, "device credentials: add, list, disable, enable, rotate"},
    {"user", cmd_user, "people who may log in, and API tokens: add, list, disable, token"},
    {"archive", cmd_archive, "the archive of raw messages: list, verify, cat, replay"},
    {"deadletter", cmd_deadletter, "messages that could not be processed: list, replay"},
    {"trace", cmd_trace, "one message's journey through the eighteen steps"},
    {"records", cmd_records, "the records of a topic, as JSON lines"},
    {"lake", cmd_lake, "SQL on the lake's tables, and their upkeep"},
    {"train", cmd_train, "trains a model from recorded patients"},
    {"evaluate", cmd_evaluate, "a model on recorded patients: figures and predictions"},
    {"model", cmd_model, "models: read again, watched, recalibrated; features; NEWS2 test vectors"},
    {"mapping", cmd_mapping,
     "what the mappings make of messages: test, validate, reload, rollback"},
    {"config", cmd_config, "every setting with its default: --yaml, --markdown, --check FILE"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
    (void)fprintf(to,
                  "vigil %s: from device signals to clinical action\n\nusage: vigil COMMAND "
                  "[--config FILE] [--set KEY=VALUE] [--data DIR] ...\n\n",
                  VIGIL_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].help);
    (void)fprintf(to, "\n'vigil COMMAND --help' says more. Not a medical device and not a primary "
                      "alarm.\n");
}

/* A full disk behind standard output: half an answer is none, whatever the command thinks of it. */
static int finish_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return app_fail(&(struct vg_err){.code = "app.output",
                                     .text = "what was said cannot be written to standard output"});
}

int main(int argc, char **argv)
{
    struct vg_err err = {0};

    /* Fixed: glibc would raise it to what was freed last (up to 32 MiB), and keep such holes. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("vigil %s\n", VIGIL_VERSION);
        return 0;
    }
    if (vg_crypto_init(&err) != VG_OK)
        return app_fail(&err);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return finish_output(commands[i].run(argc - 1, argv + 1));
    }
    (void)fprintf(stderr, "vigil: there is no command '%s'; 'vigil --help' lists them\n", argv[1]);
    return 2;
}
