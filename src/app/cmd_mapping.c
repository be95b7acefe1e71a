/* cmd_mapping.c -- vigil mapping: tries and checks the connector's mappings, without a platform. */
#include "app/app.h"

#include "base/file.h"
#include "connector/debugger.h"

#include <stdio.h>

#define FILE_BYTES_MAX (16u << 20)

static const char usage[] =
    "usage: vigil mapping test --device FILE [--fhir FILE] [--compat default|medtech] [--envelope] "
    "MESSAGE...\n"
    "       vigil mapping validate [--device FILE] [--fhir FILE]\n"
    "\n"
    "test says what the mappings make of messages, as one JSON document. A MESSAGE is a file with\n"
    "what a device sends or, with --envelope, with Body, Properties and SystemProperties around "
    "it.\n"
    "validate says every error and warning as FILE:LINE:COLUMN. Both end with 1 when there is an "
    "error.\n"
    "docs/mapping.md describes mappings, the document, and --compat (setting connector.compat).\n";

struct mapping_command {
    struct vg_arena arena;
    const char *device, *fhir;
    struct debugger *debugger;
    size_t errors, warnings; /* of the mappings */
};

/* NULL is no file. 0, or the exit code to end with (said why). */
static int read_file(struct vg_arena *arena, const char *path, struct vg_slice *ret)
{
    struct vg_err err = {0};
    enum vg_status st = path ? vg_file_read(arena, path, FILE_BYTES_MAX, ret, &err) : VG_OK;

    if (st == VG_END)
        (void)vg_fail(&err, VG_REJECT, "mapping.file", 0, "%.200s: no such file", path);
    if (st != VG_OK) {
        (void)app_fail(&err);
        return 2;
    }
    if (path && !ret->ptr)
        *ret = VG_SLICE("");
    return 0;
}

static int test_messages(struct mapping_command *c, bool is_envelope, char **paths, int count)
{
    struct vg_slice *texts = vg_arena_alloc(&c->arena, sizeof(*texts) * (size_t)count);
    struct vg_json_writer w;
    struct vg_buf out;
    size_t errors = c->errors;

    if (!texts)
        return app_fail(&(struct vg_err){.code = "app.memory", .text = "no memory"});
    for (int i = 0; i < count; i++)
        if (read_file(&c->arena, paths[i], &texts[i]) != 0)
            return 2;
    vg_buf_init(&out, 0);
    vg_json_writer_init(&w, &out);
    vg_json_open_object(&w);
    vg_json_name(&w, "results");
    vg_json_open_array(&w);
    if (errors == 0)
        for (int i = 0; i < count; i++)
            errors += debugger_test(c->debugger, vg_slice_of(paths[i]), texts[i], is_envelope, &w);
    vg_json_close_array(&w);
    vg_json_name(&w, "templateErrors");
    vg_json_open_array(&w);
    debugger_write_errors(c->debugger, &w);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(&out, '\n');
    if (vg_buf_ok(&out))
        (void)fwrite(out.ptr, 1, out.len, stdout);
    else
        errors += (size_t)app_fail(
            &(struct vg_err){.code = "app.memory", .text = "the document is too large"});
    vg_buf_fini(&out);
    return errors > 0;
}

static void print_finding(void *ctx, const struct debugger_finding *finding)
{
    struct mapping_command *c = ctx;

    c->warnings += finding->is_warning;
    (void)printf("%s:%u:%u: %s: %.*s\n", finding->is_in_fhir ? c->fhir : c->device, finding->line,
                 finding->column, finding->is_warning ? "warning" : "error", VG_FMT(finding->text));
}

static int validate(struct mapping_command *c)
{
    debugger_findings(c->debugger, print_finding, c);
    (void)fprintf(stderr, "%zu errors, %zu warnings\n", c->errors, c->warnings);
    return c->errors > 0;
}

static int run_command(struct mapping_command *c, bool is_test, bool is_envelope, bool is_medtech,
                       char **paths, int count)
{
    struct vg_slice device = {0}, fhir = {0};

    if (read_file(&c->arena, c->device, &device) != 0 || read_file(&c->arena, c->fhir, &fhir) != 0)
        return 2;
    c->debugger = debugger_open(&c->arena, device, fhir, is_medtech, &c->errors);
    if (!c->debugger)
        return app_fail(&(struct vg_err){.code = "app.memory", .text = "no memory"});
    return is_test ? test_messages(c, is_envelope, paths, count) : validate(c);
}

static bool has_option(const struct app_options *options)
{
    for (int i = 0; i < options->rest_count; i++)
        if (options->rest[i][0] == '-')
            return true;
    return false;
}

int cmd_mapping(int argc, char **argv)
{
    struct app_options options;
    struct mapping_command c = {0};
    int code = app_options_init(&options, argc, argv);
    const char *compat = app_take_option(&options, "--compat");
    bool is_envelope = app_take_switch(&options, "--envelope"), is_test, is_right;
    const char *what;

    vg_arena_init(&c.arena, 16 * FILE_BYTES_MAX);
    c.device = app_take_option(&options, "--device");
    c.fhir = app_take_option(&options, "--fhir");
    what = options.rest_count > 0 ? options.rest[0] : "";
    is_test = strcmp(what, "test") == 0;
    if (is_test)
        is_right = c.device && options.rest_count > 1;
    else
        is_right = strcmp(what, "validate") == 0 && options.rest_count == 1 &&
                   (c.device || c.fhir) && !is_envelope;
    if (compat && strcmp(compat, "default") != 0 && strcmp(compat, "medtech") != 0)
        is_right = false;
    if (code == 0 && !options.wants_help && !compat)
        compat = options.settings.connector_compat;
    if (code == 0 && (options.wants_help || !is_right || has_option(&options))) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        code = run_command(&c, is_test, is_envelope, strcmp(compat, "medtech") == 0,
                           options.rest + 1, options.rest_count - 1);
    }
    debugger_close(c.debugger);
    vg_arena_fini(&c.arena);
    app_options_fini(&options);
    return code;
}
