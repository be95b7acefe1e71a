#include "app/app.h"

#include <stdio.h>

int cmd_config(int argc, char **argv)
{
    struct app_options options;
    struct vg_buf out;
    int code = 0;

    vg_buf_init(&out, 0);
    if (argc == 2 && strcmp(argv[1], "--yaml") == 0) {
        vg_config_write_yaml(settings_options, settings_option_count, &out);
    } else if (argc == 2 && strcmp(argv[1], "--markdown") == 0) {
        vg_config_write_markdown(settings_options, settings_option_count, &out);
    } else if (argc == 3 && strcmp(argv[1], "--check") == 0) {
        char *arguments[] = {argv[0], "--config", argv[2]};

        code = app_options_init(&options, 3, arguments);
        app_options_fini(&options);
        if (code == 0)
            vg_buf_printf(&out, "%s: no errors\n", argv[2]);
    } else {
        vg_buf_printf(&out, "usage: vigil config [--yaml | --markdown | --check FILE]\n\n");
        vg_config_write_help(settings_options, settings_option_count, &out);
        code = argc == 1 || (argc == 2 && strcmp(argv[1], "--help") == 0) ? 0 : 2;
    }
    (void)fwrite(out.ptr, 1, out.len, code == 2 ? stderr : stdout);
    vg_buf_fini(&out);
    return code;
}
