/* cmd_lake.c -- vigil lake: SQL on the live files of the Delta tables, and their upkeep by hand. */
#include "app/app.h"

#include "base/clock.h"
#include "lake/lake.h"

#include <stdio.h>

static const char usage[] =
    "usage: vigil lake query 'SELECT ... FROM {enriched} ...' [--data DIR]\n"
    "       vigil lake maintain [--data DIR]\n"
    "\n"
    "query: {enriched} and {scored} stand for the tables. DuckDB's SQL; the answer is a JSON "
    "array.\n"
    "maintain: merges small files, forgets dates by lake.keep, deletes what nobody refers to. A\n"
    "running platform does this by itself every lake.upkeep_every.\n";

static enum vg_status query(struct lake *lake, const char *sql, struct vg_err *err)
{
    struct vg_buf out;
    enum vg_status st;

    vg_buf_init(&out, 256u << 20);
    st = lake_query(lake, sql, &out, err);
    if (st == VG_OK)
        (void)printf("%.*s\n", (int)out.len, out.ptr);
    vg_buf_fini(&out);
    return st;
}

static enum vg_status maintain(struct lake *lake, const struct settings *settings,
                               struct vg_err *err)
{
    struct lake_policy policy = {settings->lake_keep_us, settings->lake_keep_removed_us};
    struct lake_upkeep done;
    enum vg_status st = lake_maintain(lake, &policy, vg_now_us(), NULL, NULL, &done, err);

    if (st == VG_OK)
        (void)printf("%zu files merged into %zu, %zu of old dates left out, %zu deleted, %zu "
                     "checkpoints\n",
                     done.merged_count, done.made_count, done.expired_count, done.deleted_count,
                     done.checkpoint_count);
    return st;
}

int cmd_lake(int argc, char **argv)
{
    struct app_options options;
    struct lake *lake = NULL;
    struct vg_err err = {0};
    int code = app_options_init(&options, argc, argv);
    bool is_query = options.rest_count == 2 && strcmp(options.rest[0], "query") == 0;
    bool is_upkeep = options.rest_count == 1 && strcmp(options.rest[0], "maintain") == 0;

    if (code == 0 && (options.wants_help || (!is_query && !is_upkeep))) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        struct lake_config config = {
            .engine = options.settings.lake_engine,
            .dir = settings_path(&options.arena, &options.settings, "lake"),
        };
        enum vg_status st = lake_open(&config, &lake, &err);

        if (st == VG_OK)
            st = is_query ? query(lake, options.rest[1], &err)
                          : maintain(lake, &options.settings, &err);
        if (st != VG_OK)
            code = app_fail(&err);
    }
    lake_close(lake);
    app_options_fini(&options);
    return code;
}
