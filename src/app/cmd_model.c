/* cmd_model.c -- `vigil model`: reads the models again in a running platform; the documents that
 * are made from the program's own tables. */
#include "app/app.h"

#include "app/control.h"
#include "base/json.h"
#include "score/score.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: vigil model reload [--data DIR]\n"
    "       vigil model features | news2-vectors\n"
    "\n"
    "  reload          the running platform reads its models again; one that cannot be\n"
    "                  used stays as it was, and the command says why\n"
    "  features        every feature that a model may use, as Markdown\n"
    "                  (docs/model.md)\n"
    "  news2-vectors   inputs and scores of NEWS2 at every boundary, as JSON\n"
    "                  (docs/news2-vectors.json)\n";

static void print_models(const struct vg_json *answer)
{
    const struct vg_json *models = vg_json_get(answer, "models");

    for (const struct vg_json *m = models ? models->child : NULL; m; m = m->next)
        (void)printf("%-20.*s %-20.*s %-8.*s %-7.*s %.*s\n", VG_FMT(vg_json_get_text(m, "folder")),
                     VG_FMT(vg_json_get_text(m, "name")), VG_FMT(vg_json_get_text(m, "version")),
                     VG_FMT(vg_json_get_text(m, "mode")), VG_FMT(vg_json_get_text(m, "trouble")));
}

static int reload(int argc, char **argv)
{
    struct app_options options;
    struct vg_slice answer;
    struct vg_json *root = NULL;
    const struct vg_json *error;
    struct vg_err err = {0};
    enum vg_status st;
    int code = app_options_init(&options, argc, argv);

    if (code == 0 && (options.wants_help || options.rest_count != 1)) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        st = control_ask(options.settings.data_dir, VG_SLICE("{\"do\":\"models\"}"), &options.arena,
                         &answer, &err);
        if (st == VG_OK)
            st = vg_json_parse(&options.arena, answer, NULL, &root, NULL, &err);
        if (st == VG_END)
            (void)vg_fail(&err, VG_REJECT, "model.not_running", 0,
                          "no platform runs on %.150s; when it starts it reads the models",
                          options.settings.data_dir);
        if (st != VG_OK) {
            code = app_fail(&err);
        } else {
            print_models(vg_json_get(root, "answer"));
            error = vg_json_get(root, "error");
            if (error)
                (void)fprintf(stderr, "vigil: %.*s: %.*s\n",
                              VG_FMT(vg_json_get_text(error, "code")),
                              VG_FMT(vg_json_get_text(error, "text")));
            code = error != NULL;
        }
    }
    app_options_fini(&options);
    return code;
}

int cmd_model(int argc, char **argv)
{
    struct vg_buf out;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (argc >= 2 && strcmp(argv[1], "reload") == 0)
        return reload(argc, argv);
    vg_buf_init(&out, 0);
    if (argc == 2 && strcmp(argv[1], "features") == 0)
        score_features_markdown(&out);
    else if (argc == 2 && strcmp(argv[1], "news2-vectors") == 0)
        score_news2_vectors(&out);
    if (out.len == 0) {
        (void)fputs(usage, stderr);
        vg_buf_fini(&out);
        return 2;
    }
    (void)fwrite(out.ptr, 1, out.len, stdout);
    vg_buf_fini(&out);
    return 0;
}
