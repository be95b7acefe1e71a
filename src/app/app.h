/* app.h -- the program's commands: vigil NAME ARGUMENTS. Private to src/app.
 *
 * Each gets the arguments from its own name on. Exit codes: 0 done, 1 failed (said why on standard
 * error), 2 wrong usage.
 */
#ifndef VG_APP_APP_H
#define VG_APP_APP_H

#include "app/settings.h"

struct stream;

int cmd_run(int argc, char **argv);
int cmd_edge(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_seed(int argc, char **argv);
int cmd_device(int argc, char **argv);
int cmd_archive(int argc, char **argv);
int cmd_deadletter(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_user(int argc, char **argv);
int cmd_records(int argc, char **argv);
int cmd_lake(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_evaluate(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_mapping(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_fhir(int argc, char **argv);

/* Options that every command with a configuration takes: --config FILE, --set KEY=VALUE (many),
 * --data DIR (short for --set data.dir=DIR). The rest of argv is left for the command, in order. */
struct app_options {
    struct vg_arena arena;
    struct settings settings;
    char **rest; /* without the command's own name */
    int rest_count;
    bool wants_help;
};

/* Reads them and loads the settings. 0, or the exit code to end with (said why). app_options_fini()
 * in any case. */
int app_options_init(struct app_options *options, int argc, char **argv);
void app_options_fini(struct app_options *options);

/* "vigil: CODE: TEXT" on standard error; returns 1. */
int app_fail(const struct vg_err *err);

/* The value after --name in rest (taken out of it), or NULL. */
const char *app_take_option(struct app_options *options, const char *name);
bool app_take_switch(struct app_options *options, const char *name);

/* The journal of data.dir: to be read beside the running platform, or (is_read_only false) to be
 * written while none runs. As stream_open(). */
VG_CHECK enum vg_status app_open_journal(struct app_options *options, bool is_read_only,
                                         struct stream **ret_stream, struct vg_err *err);

/* Blocks SIGINT, SIGTERM and SIGHUP in this thread and those it makes; then waits for one of them.
 */
void app_block_signals(void);
int app_wait_for_signal(int64_t timeout_us); /* 0: the time is over */

#endif
