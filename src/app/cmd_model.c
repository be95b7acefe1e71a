/* cmd_model.c -- `vigil model`: the documents that are made from the program's own tables. */
#include "app/app.h"

#include "score/score.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: vigil model features | news2-vectors\n"
    "\n"
    "  features        every feature that a model may use, as Markdown\n"
    "                  (docs/model.md)\n"
    "  news2-vectors   inputs and scores of NEWS2 at every boundary, as JSON\n"
    "                  (docs/news2-vectors.json)\n";

int cmd_model(int argc, char **argv)
{
    struct vg_buf out;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
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
