/* options.c -- what every command takes on its line, and the signals that end it. */
#include "app/app.h"

#include "stream/stream.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OVERRIDES_MAX 64

int app_fail(const struct vg_err *err)
{
    (void)fprintf(stderr, "vigil: %s: %s\n", err->code ? err->code : "error", err->text);
    return 1;
}

/* "--name=value", or "--name" and the next argument. *index moves on. */
static const char *option_value(int argc, char **argv, int *index, const char *name)
{
    size_t len = strlen(name);

    if (strncmp(argv[*index], name, len) != 0)
        return NULL;
    if (argv[*index][len] == '=')
        return argv[*index] + len + 1;
    if (argv[*index][len] != '\0' || *index + 1 >= argc)
        return NULL;
    return argv[++*index];
}

int app_options_init(struct app_options *options, int argc, char **argv)
{
    const char *overrides[OVERRIDES_MAX + 1] = {0};
    const char *path = NULL;
    size_t override_count = 0;
    struct vg_err err = {0};

    *options = (struct app_options){0};
    vg_arena_init(&options->arena, 0);
    options->rest = vg_arena_alloc(&options->arena, (size_t)(argc + 1) * sizeof(char *));
    if (!options->rest)
        return app_fail(&(struct vg_err){.code = "app.memory", .text = "no memory"});
    for (int i = 1; i < argc; i++) {
        const char *value;

        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->wants_help = true;
        } else if ((value = option_value(argc, argv, &i, "--config"))) {
            path = value;
        } else if ((value = option_value(argc, argv, &i, "--set")) &&
                   override_count < OVERRIDES_MAX) {
            overrides[override_count++] = value;
        } else if ((value = option_value(argc, argv, &i, "--data")) &&
                   override_count < OVERRIDES_MAX) {
            overrides[override_count++] =
                vg_arena_printf(&options->arena, "data.dir=%s", value).ptr;
        } else {
            options->rest[options->rest_count++] = argv[i];
        }
    }
    if (options->wants_help)
        return 0;
    if (settings_load(&options->arena, path, overrides, &options->settings, &err) != VG_OK) {
        (void)app_fail(&err);
        return 2;
    }
    return 0;
}

void app_options_fini(struct app_options *options)
{
    vg_arena_fini(&options->arena);
}

static void take_out(struct app_options *options, int from, int count)
{
    options->rest_count -= count;
    for (int i = from; i < options->rest_count; i++)
        options->rest[i] = options->rest[i + count];
}

const char *app_take_option(struct app_options *options, const char *name)
{
    for (int i = 0; i < options->rest_count; i++) {
        int at = i;
        const char *value = option_value(options->rest_count, options->rest, &at, name);

        if (value) {
            take_out(options, i, at - i + 1);
            return value;
        }
    }
    return NULL;
}

bool app_take_switch(struct app_options *options, const char *name)
{
    for (int i = 0; i < options->rest_count; i++) {
        if (strcmp(options->rest[i], name) == 0) {
            take_out(options, i, 1);
            return true;
        }
    }
    return false;
}

static void ending_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGHUP);
}

void app_block_signals(void)
{
    sigset_t set;

    ending_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error of that write, no more */
}

int app_wait_for_signal(int64_t timeout_us)
{
    struct timespec timeout = {timeout_us / 1000000, timeout_us % 1000000 * 1000};
    sigset_t set;
    int got;

    ending_signals(&set);
    do {
        got = sigtimedwait(&set, NULL, &timeout);
    } while (got < 0 && errno == EINTR);
    return got > 0 ? got : 0;
}

enum vg_status app_open_journal(struct app_options *options, bool is_read_only,
                                struct stream **ret_stream, struct vg_err *err)
{
    const struct stream_config config = {
        .dir = settings_path(&options->arena, &options->settings, "stream"),
        .is_read_only = is_read_only};

    return stream_open(&config, ret_stream, err);
}
