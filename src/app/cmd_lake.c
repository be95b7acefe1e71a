/* cmd_lake.c -- vigil lake: SQL on the live files of the Delta tables, answers as JSON. */
#include "app/app.h"

#include "lake/lake.h"

#include <stdio.h>

static const char usage[] =
    "usage: vigil lake query 'SELECT ... FROM {enriched} ...' [--data DIR]\n"
    "\n"
    "{enriched} and {scored} stand for the tables. DuckDB's SQL; the answer is a JSON array.\n";

int cmd_lake(int argc, char **argv)
{
    struct app_options options;
    struct lake *lake = NULL;
    struct vg_buf out;
    struct vg_err err = {0};
    int code = app_options_init(&options, argc, argv);

    vg_buf_init(&out, 256u << 20);
    if (code == 0 &&
        (options.wants_help || options.rest_count != 2 || strcmp(options.rest[0], "query") != 0)) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        struct lake_config config = {
            .engine = options.settings.lake_engine,
            .dir = settings_path(&options.arena, &options.settings, "lake"),
        };

        if (lake_open(&config, &lake, &err) != VG_OK ||
            lake_query(lake, options.rest[1], &out, &err) != VG_OK)
            code = app_fail(&err);
        else
            (void)printf("%.*s\n", (int)out.len, out.ptr);
    }
    vg_buf_fini(&out);
    lake_close(lake);
    app_options_fini(&options);
    return code;
}
