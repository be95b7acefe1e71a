/* cmd_run.c -- vigil run and vigil edge: start, say where, wait for the signal, end in order. */
#include "app/app.h"
#include "app/platform.h"

#include "base/log.h"

#include <signal.h>
#include <stdio.h>

static const char run_usage[] =
    "usage: vigil run [--config FILE] [--set KEY=VALUE]... [--data DIR]\n"
    "\n"
    "Runs the whole platform until SIGINT or SIGTERM. 'vigil config' lists the settings.\n";

static const char edge_usage[] =
    "usage: vigil edge [--config FILE] [--set KEY=VALUE]... [--data DIR]\n"
    "\n"
    "A gateway: takes MQTT and HTTPS from the devices beside it, keeps every message in its own "
    "journal\n"
    "and forwards it to the hub at edge.upstream_host as edge.gateway. 'vigil device add ID --data "
    "DIR'\n"
    "makes the devices' credentials here; at the hub: 'vigil device add GATEWAY --gateway' and\n"
    "'vigil device add ID --through GATEWAY'.\n";

static enum vg_log_level level_of(const char *name)
{
    return strcmp(name, "debug") == 0   ? VG_LOG_DEBUG
           : strcmp(name, "warn") == 0  ? VG_LOG_WARN
           : strcmp(name, "error") == 0 ? VG_LOG_ERROR
                                        : VG_LOG_INFO;
}

static int run(int argc, char **argv, enum platform_kind kind, const char *usage)
{
    struct app_options options;
    struct platform *platform = NULL;
    struct vg_err err = {0};
    struct vg_buf text;
    int code = app_options_init(&options, argc, argv);

    vg_buf_init(&text, 0);
    if (code == 0 && (options.wants_help || options.rest_count)) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        vg_log_set_level(level_of(options.settings.log_level));
        app_block_signals();
        if (platform_open(&options.settings, kind, &platform, &err) != VG_OK) {
            code = app_fail(&err);
        } else {
            platform_describe(platform, &text);
            (void)fwrite(text.ptr, 1, text.len, stdout);
            (void)fflush(stdout);
            while (app_wait_for_signal(3600 * (int64_t)1000000) == 0)
                ;
            vg_log(VG_LOG_INFO, "app", "app.stop", "a signal came: ending in order");
        }
    }
    platform_close(platform);
    vg_buf_fini(&text);
    app_options_fini(&options);
    return code;
}

int cmd_run(int argc, char **argv)
{
    return run(argc, argv, PLATFORM_WHOLE, run_usage);
}

int cmd_edge(int argc, char **argv)
{
    return run(argc, argv, PLATFORM_EDGE, edge_usage);
}
