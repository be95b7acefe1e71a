/* cmd_model.c -- `vigil model`: the models of a platform: read again, watched, recalibrated by a
 * person; and the documents that are made from the program's own tables. */
#include "app/app.h"

#include "app/control.h"
#include "app/watching.h"
#include "base/json.h"
#include "score/score.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: vigil model reload [--data DIR]\n"
    "       vigil model watch [--last] [--data DIR]\n"
    "       vigil model outcomes NAME FILE [--data DIR]\n"
    "       vigil model recalibrate NAME [--apply] [--data DIR]\n"
    "       vigil model reference --model DIR --format NAME [--outcomes FILE] FILE|FOLDER...\n"
    "       vigil model features | news2-vectors\n"
    "\n"
    "  reload          the running platform reads its models again; one that cannot be\n"
    "                  used stays as it was, and the command says why\n"
    "  watch           looks at drift, alerts and calibration now and prints what it\n"
    "                  found; --last: what the last run found\n"
    "  outcomes        takes a file with the header patient,time,outcome in the place of\n"
    "                  the former one: FHIR ids, and 1 (established at this time) or 0\n"
    "                  (followed up to here without it)\n"
    "  recalibrate     prints what the last run proposes; --apply changes the model's card,\n"
    "                  which gets a new version; the former stays as card-VERSION.json\n"
    "  reference       writes DIR/reference.json for a model that was trained without one,\n"
    "                  from the records it was trained on\n"
    "  features        every feature that a model may use, as Markdown\n"
    "                  (docs/model.md)\n"
    "  news2-vectors   inputs and scores of NEWS2 at every boundary, as JSON\n"
    "                  (docs/news2-vectors.json)\n";

static int wrong_usage(void)
{
    (void)fputs(usage, stderr);
    return 2;
}

/* ---- in a running platform ---- */

static void print_models(const struct vg_json *answer)
{
    const struct vg_json *models = vg_json_get(answer, "models");

    for (const struct vg_json *m = models ? models->child : NULL; m; m = m->next)
        (void)printf("%-20.*s %-20.*s %-8.*s %-7.*s %.*s\n", VG_FMT(vg_json_get_text(m, "folder")),
                     VG_FMT(vg_json_get_text(m, "name")), VG_FMT(vg_json_get_text(m, "version")),
                     VG_FMT(vg_json_get_text(m, "mode")), VG_FMT(vg_json_get_text(m, "trouble")));
}

/* Asks the platform; its error is told. *ret_answer may be NULL. VG_END: none runs. */
static enum vg_status ask(struct app_options *options, const char *what,
                          const struct vg_json **ret_answer, bool *ret_failed, struct vg_err *err)
{
    struct vg_slice answer;
    struct vg_json *root = NULL;
    const struct vg_json *error;
    enum vg_status st = control_ask(options->settings.data_dir,
                                    vg_arena_printf(&options->arena, "{\"do\":\"%s\"}", what),
                                    &options->arena, &answer, err);

    if (st == VG_OK)
        st = vg_json_parse(&options->arena, answer, NULL, &root, NULL, err);
    if (st != VG_OK)
        return st;
    *ret_answer = vg_json_get(root, "answer");
    error = vg_json_get(root, "error");
    if (error)
        (void)fprintf(stderr, "vigil: %.*s: %.*s\n", VG_FMT(vg_json_get_text(error, "code")),
                      VG_FMT(vg_json_get_text(error, "text")));
    *ret_failed = error != NULL;
    return VG_OK;
}

static int reload(struct app_options *options)
{
    const struct vg_json *answer = NULL;
    bool has_failed = false;
    struct vg_err err = {0};
    enum vg_status st;

    if (options->rest_count != 1)
        return wrong_usage();
    st = ask(options, "models", &answer, &has_failed, &err);
    if (st == VG_END)
        (void)vg_fail(&err, VG_REJECT, "model.not_running", 0,
                      "no platform runs on %.150s; when it starts it reads the models",
                      options->settings.data_dir);
    if (st != VG_OK)
        return app_fail(&err);
    print_models(answer);
    return has_failed;
}

/* ---- watching ---- */

static int print_watch(const struct watch_config *config)
{
    struct vg_buf out;

    vg_buf_init(&out, 0);
    watch_print(config, &out);
    (void)printf("%.*s", (int)out.len, out.ptr ? out.ptr : "");
    vg_buf_fini(&out);
    return 0;
}

/* The platform's own run, so that its metrics are of it; without a platform in this process. */
static int watch(struct app_options *options, const struct watch_config *config)
{
    bool is_last = app_take_switch(options, "--last"), has_failed = false;
    const struct vg_json *answer = NULL;
    struct vg_err err = {0};
    enum vg_status st = VG_OK;

    if (options->rest_count != 1)
        return wrong_usage();
    if (!is_last) {
        st = ask(options, "watch", &answer, &has_failed, &err);
        if (st == VG_END) {
            st = watch_run(config, &err);
            if (st == VG_END)
                st = vg_fail(&err, VG_REJECT, "watch.empty", 0,
                             "nothing was scored within score.watch_period");
        }
    }
    if (st != VG_OK)
        return app_fail(&err);
    return has_failed ? 1 : print_watch(config);
}

static int outcomes(struct app_options *options, const struct watch_config *config)
{
    struct watch_outcomes_count count = {0};
    struct vg_err err = {0};

    if (options->rest_count != 3)
        return wrong_usage();
    if (watch_outcomes(config, options->rest[1], options->rest[2], &count, &err) != VG_OK)
        return app_fail(&err);
    (void)printf("%zu patients, %zu with the outcome; the next run judges by them (vigil model "
                 "watch)\n",
                 count.patients, count.events);
    return 0;
}

static const char *who_asks(struct vg_arena *arena)
{
    const struct passwd *user = getpwuid(geteuid());
    struct vg_slice who = user ? vg_arena_printf(arena, "%s (command line)", user->pw_name)
                               : vg_arena_printf(arena, "uid %u", (unsigned)geteuid());

    return who.ptr ? who.ptr : "command line";
}

static int recalibrate(struct app_options *options, const struct watch_config *config)
{
    bool is_applied = app_take_switch(options, "--apply"), has_failed = false;
    const struct vg_json *answer = NULL;
    struct vg_err err = {0};
    struct vg_buf out;
    enum vg_status st;
    int code = 0;

    if (options->rest_count != 2)
        return wrong_usage();
    vg_buf_init(&out, 0);
    st = is_applied ? watch_apply(config, options->rest[1], who_asks(&options->arena), &out, &err)
                    : watch_proposal(config, options->rest[1], &out, &err);
    if (st == VG_END)
        st = vg_fail(&err, VG_REJECT, "score.proposal", 0,
                     "nothing is proposed for '%.60s' (vigil model watch says what is known)",
                     options->rest[1]);
    if (st != VG_OK) {
        code = app_fail(&err);
    } else if (!is_applied) {
        (void)printf("%.*s", (int)out.len, out.ptr);
    } else {
        (void)printf("%s is version %.*s now\n", options->rest[1], (int)out.len, out.ptr);
        st = ask(options, "models", &answer, &has_failed, &err);
        if (st == VG_OK)
            print_models(answer);
        else if (st != VG_END)
            code = app_fail(&err);
        code = has_failed ? 1 : code;
    }
    vg_buf_fini(&out);
    return code;
}

static int reference(struct app_options *options)
{
    const char *files[64];
    struct watch_reference_config config = {
        .model_dir = app_take_option(options, "--model"),
        .format = app_take_option(options, "--format"),
        .outcomes = app_take_option(options, "--outcomes"),
        .files = files,
    };
    struct vg_err err = {0};

    for (int i = 1; i < options->rest_count && i <= 64; i++)
        files[config.file_count++] = options->rest[i];
    if (!config.model_dir || !config.format || config.file_count == 0 || options->rest_count > 65)
        return wrong_usage();
    if (watch_reference(&config, &err) != VG_OK)
        return app_fail(&err);
    (void)printf("%s/reference.json\n", config.model_dir);
    return 0;
}

/* ---- documents ---- */

static int print_document(void (*write)(struct vg_buf *out))
{
    struct vg_buf out;

    vg_buf_init(&out, 0);
    write(&out);
    (void)fwrite(out.ptr, 1, out.len, stdout);
    vg_buf_fini(&out);
    return 0;
}

int cmd_model(int argc, char **argv)
{
    struct app_options options;
    struct watch_config config;
    const char *verb;
    int code;

    if (argc == 2 && strcmp(argv[1], "features") == 0)
        return print_document(score_features_markdown);
    if (argc == 2 && strcmp(argv[1], "news2-vectors") == 0)
        return print_document(score_news2_vectors);
    code = app_options_init(&options, argc, argv);
    if (code == 0 && options.wants_help) {
        (void)fputs(usage, stdout);
    } else if (code == 0) {
        verb = options.rest_count > 0 ? options.rest[0] : "";
        config = watching_config(&options.settings, &options.arena);
        config.budget_us = INT64_MAX; /* who asks waits */
        if (strcmp(verb, "reload") == 0)
            code = reload(&options);
        else if (strcmp(verb, "watch") == 0)
            code = watch(&options, &config);
        else if (strcmp(verb, "outcomes") == 0)
            code = outcomes(&options, &config);
        else if (strcmp(verb, "recalibrate") == 0)
            code = recalibrate(&options, &config);
        else if (strcmp(verb, "reference") == 0)
            code = reference(&options);
        else
            code = wrong_usage();
    }
    app_options_fini(&options);
    return code;
}
