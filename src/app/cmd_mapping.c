/* cmd_mapping.c -- vigil mapping: tries and checks the connector's mappings, without a platform;
 * and puts mappings in force in the running one, by its control socket.
 */
#include "app/app.h"
#include "app/control.h"
#include "app/mapping_form.h"

#include "base/file.h"
#include "base/map.h"
#include "connector/debugger.h"
#include "connector/mapping_store.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (16u << 20)
#define FINDINGS_MAX 300 /* a hundred errors of each mapping, or as many warnings */

static const char usage[] =
    "usage: vigil mapping test --device FILE [--fhir FILE] [--compat default|medtech] "
    "[--envelope]\n"
    "                          [--aggregate] MESSAGE...\n"
    "       vigil mapping validate [--device FILE] [--fhir FILE]\n"
    "       vigil mapping reload | versions [--json] | rollback VERSION [--data DIR]\n"
    "\n"
    "test says what the mappings make of messages, as one JSON document. A MESSAGE is a file with\n"
    "what a device sends or, with --envelope, with Body, Properties and SystemProperties around "
    "it.\n"
    "With --content-type TYPE (HL7 v2: application/hl7-v2+er7; Bluetooth GATT:\n"
    "application/vnd.bluetooth.gatt[+json]) it is decoded first; --characteristic UUID, --zone "
    "ZONE\n"
    "and --device-id ID say what comes beside the message.\n"
    "With --aggregate the document has each different error once, with the first message that has "
    "it\n"
    "and how many have.\n"
    "validate says every error and warning as FILE:LINE:COLUMN, in the files' order. Both end with "
    "1\n"
    "when there is an error.\n"
    "reload puts the two files of the running platform's settings in force, rollback a version "
    "that\n"
    "was; on any error the old ones stay. versions lists what was put in force, newest first.\n"
    "docs/mapping.md describes mappings, the document, and --compat (setting connector.compat).\n";

struct mapping_command {
    struct vg_arena arena;
    const char *device, *fhir;
    struct mapping_form form;
    bool is_aggregate;
    struct debugger *debugger;
    size_t errors, warnings; /* of the mappings */
    struct debugger_finding findings[FINDINGS_MAX];
    size_t finding_count;
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

/* Decodes first. Returns the number of errors. */
static size_t test_decoded(struct mapping_command *c, const char *path, struct vg_slice text,
                           struct vg_json_writer *w)
{
    struct vg_err err = {0}, partial = {0};
    struct vg_slice envelope;
    size_t errors;

    if (mapping_form_read(&c->form, text, &c->arena, &envelope, &partial, &err) != VG_OK) {
        vg_json_open_object(w);
        vg_json_member_string(w, "message", vg_slice_of(path));
        vg_json_member_raw(w, "measurements", VG_SLICE("[]"));
        vg_json_member_raw(w, "observations", VG_SLICE("[]"));
        vg_json_name(w, "errors");
        vg_json_open_array(w);
        vg_json_open_object(w);
        vg_json_member_string(w, "type", VG_SLICE("InvalidDataFormatException"));
        vg_json_member_string(w, "message", vg_slice_of(err.text));
        vg_json_member_i64(w, "line", -1);
        vg_json_member_i64(w, "column", -1);
        vg_json_member_string(w, "path", VG_SLICE(""));
        vg_json_close_object(w);
        vg_json_close_array(w);
        vg_json_close_object(w);
        return 1;
    }
    errors = debugger_test(c->debugger, vg_slice_of(path), envelope, true, w);
    if (partial.code)
        (void)fprintf(stderr, "%s: %s: %s\n", path, partial.code, partial.text);
    return errors + (partial.code != NULL);
}

static size_t test_message(struct mapping_command *c, const char *path, struct vg_slice text,
                           bool is_envelope, struct vg_json_writer *w)
{
    return c->form.content_type
               ? test_decoded(c, path, text, w)
               : debugger_test(c->debugger, vg_slice_of(path), text, is_envelope, w);
}

/* ---- many messages, each different error and warning once ---- */

struct error_group {
    const struct vg_json *result, *finding; /* of the first message that has it */
    const char *member;                     /* where it stands: errors or warnings */
    int count, last;                        /* messages; the last one's number */
    struct error_group *next;
};

struct error_groups {
    struct vg_map by_finding; /* its JSON -> struct error_group */
    struct error_group *first, **tail;
};

/* False: no memory. */
static bool group_findings(struct mapping_command *c, struct error_groups *groups, int number,
                           const struct vg_json *result, const char *member)
{
    const struct vg_json *findings = vg_json_get(result, member);
    bool is_ok = true;

    for (const struct vg_json *f = findings ? findings->child : NULL; f && is_ok; f = f->next) {
        struct error_group *group = vg_map_get(&groups->by_finding, f->source);

        if (!group) {
            group = vg_arena_alloc(&c->arena, sizeof(*group));
            if (!group)
                return false;
            *group =
                (struct error_group){.result = result, .finding = f, .member = member, .last = -1};
            (void)vg_map_put(&groups->by_finding, f->source, group, &is_ok);
            *groups->tail = group;
            groups->tail = &group->next;
        }
        group->count += group->last != number;
        group->last = number;
    }
    return is_ok;
}

static bool group_result(struct mapping_command *c, struct error_groups *groups, int number,
                         struct vg_slice result)
{
    struct vg_slice kept = vg_arena_dup(&c->arena, result);
    struct vg_json *root;

    return kept.ptr && vg_json_parse(&c->arena, kept, NULL, &root, NULL, NULL) == VG_OK &&
           group_findings(c, groups, number, root, "errors") &&
           group_findings(c, groups, number, root, "warnings");
}

static void put_groups(const struct error_groups *groups, struct vg_json_writer *w)
{
    static const char *const members[] = {"message", "measurements", "observations"};

    for (const struct error_group *g = groups->first; g; g = g->next) {
        bool is_error = strcmp(g->member, "errors") == 0;

        vg_json_open_object(w);
        for (size_t i = 0; i < 3; i++)
            vg_json_member_raw(w, members[i], vg_json_get(g->result, members[i])->source);
        if (!is_error)
            vg_json_member_raw(w, "errors", VG_SLICE("[]"));
        vg_json_name(w, g->member);
        vg_json_open_array(w);
        vg_json_put_raw(w, g->finding->source);
        vg_json_close_array(w);
        vg_json_member_i64(w, "aggregatedCount", g->count);
        vg_json_close_object(w);
    }
}

/* The elements of results; returns the number of errors. */
static size_t test_aggregated(struct mapping_command *c, bool is_envelope, char **paths,
                              const struct vg_slice *texts, int count, struct vg_json_writer *w)
{
    struct error_groups groups = {.tail = &groups.first};
    size_t errors = 0;
    struct vg_buf one;

    vg_buf_init(&one, 0);
    vg_map_init(&groups.by_finding);
    for (int i = 0; i < count; i++) {
        struct vg_json_writer writer;

        vg_buf_clear(&one);
        vg_json_writer_init(&writer, &one);
        errors += test_message(c, paths[i], texts[i], is_envelope, &writer);
        if (!vg_buf_ok(&one) || !group_result(c, &groups, i, vg_buf_slice(&one)))
            w->out->has_failed = true;
    }
    put_groups(&groups, w);
    vg_map_fini(&groups.by_finding, NULL);
    vg_buf_fini(&one);
    return errors;
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
    if (errors == 0 && c->is_aggregate)
        errors = test_aggregated(c, is_envelope, paths, texts, count, &w);
    else if (errors == 0)
        for (int i = 0; i < count; i++)
            errors += test_message(c, paths[i], texts[i], is_envelope, &w);
    vg_json_close_array(&w);
    vg_json_name(&w, "templateErrors");
    vg_json_open_array(&w);
    debugger_write_errors(c->debugger, &w);
    vg_json_close_array(&w);
    debugger_write_warnings(c->debugger, &w);
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

static void take_finding(void *ctx, const struct debugger_finding *finding)
{
    struct mapping_command *c = ctx;

    c->warnings += finding->is_warning;
    if (c->finding_count < FINDINGS_MAX)
        c->findings[c->finding_count++] = *finding;
}

/* As the files are read from top to bottom, the device mapping first. */
static int by_place(const void *a, const void *b)
{
    const struct debugger_finding *x = a, *y = b;
    if (x->is_in_fhir != y->is_in_fhir)
        return x->is_in_fhir ? 1 : -1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

static int validate(struct mapping_command *c)
{
    size_t told;

    debugger_findings(c->debugger, take_finding, c);
    qsort(c->findings, c->finding_count, sizeof(c->findings[0]), by_place);
    for (size_t i = 0; i < c->finding_count; i++) {
        const struct debugger_finding *f = &c->findings[i];

        (void)printf("%s:%u:%u: %s: %.*s\n", f->is_in_fhir ? c->fhir : c->device, f->line,
                     f->column, f->is_warning ? "warning" : "error", VG_FMT(f->text));
    }
    told = c->finding_count - c->warnings;
    if (c->errors > told)
        (void)fprintf(stderr, "%zu more errors are not told\n", c->errors - told);
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

/* ---- versions ---- */

static void print_findings(const struct vg_json *answer)
{
    const struct vg_json *findings = vg_json_get(answer, "findings");

    for (const struct vg_json *f = findings ? findings->child : NULL; f; f = f->next) {
        bool is_fhir = vg_slice_is(vg_json_get_text(f, "file"), "fhir");
        struct vg_slice name = vg_slice_of(is_fhir ? "fhir" : "device");
        struct vg_slice path = vg_json_get_text(vg_json_get(answer, "files"), name.ptr);
        int64_t line = 0, column = 0;

        (void)vg_json_to_i64(vg_json_get(f, "line"), &line);
        (void)vg_json_to_i64(vg_json_get(f, "column"), &column);
        (void)printf("%.*s:%lld:%lld: %.*s: %.*s\n", VG_FMT(path.len ? path : name),
                     (long long)line, (long long)column, VG_FMT(vg_json_get_text(f, "severity")),
                     VG_FMT(vg_json_get_text(f, "text")));
    }
}

/* `version` NULL: the files. */
static int act(struct app_options *options, const char *version)
{
    const char *dir = options->settings.data_dir;
    struct vg_slice answer, now, before;
    const struct vg_json *body, *error;
    struct vg_json *root = NULL;
    struct vg_json_writer w;
    struct vg_err err = {0};
    struct vg_buf request;
    enum vg_status st;

    vg_buf_init(&request, 0);
    vg_json_writer_init(&w, &request);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "do", version ? VG_SLICE("rollback") : VG_SLICE("reload"));
    if (version)
        vg_json_member_string(&w, "version", vg_slice_of(version));
    vg_json_close_object(&w);
    st = control_ask(dir, vg_buf_slice(&request), &options->arena, &answer, &err);
    vg_buf_fini(&request);
    if (st == VG_OK)
        st = vg_json_parse(&options->arena, answer, NULL, &root, NULL, &err);
    if (st == VG_END)
        (void)vg_fail(&err, VG_REJECT, "mapping.not_running", 0,
                      "no platform runs on %.150s; when it starts it takes the files if they have "
                      "changed",
                      dir);
    if (st != VG_OK)
        return app_fail(&err);
    body = vg_json_get(root, "answer");
    error = vg_json_get(root, "error");
    print_findings(body);
    now = vg_json_get_text(body, "version");
    before = vg_json_get_text(body, "previous");
    if (error) {
        struct vg_slice text = vg_json_get_text(error, "text");

        (void)fprintf(stderr, "vigil: %.*s: %.*s\n", VG_FMT(vg_json_get_text(error, "code")),
                      VG_FMT(text));
    } else if (vg_slice_eq(now, before)) {
        (void)printf("%.*s is active already\n", VG_FMT(now));
    } else {
        (void)printf("%.*s is active, it was %.*s\n", VG_FMT(now), VG_FMT(before));
    }
    return error != NULL;
}

static int list_versions(struct app_options *options, bool is_json)
{
    const char *dir = settings_path(&options->arena, &options->settings, "mappings");
    struct vg_json *root = NULL;
    struct vg_err err = {0};
    struct vg_buf out;
    enum vg_status st;

    vg_buf_init(&out, 0);
    st = mapping_store_history(dir, &out, &err);
    if (st == VG_END)
        (void)vg_fail(&err, VG_REJECT, "mapping.none", 0, "%.200s: nothing was put in force yet",
                      dir);
    if (st == VG_OK)
        st = vg_json_parse(&options->arena, vg_arena_dup(&options->arena, vg_buf_slice(&out)), NULL,
                           &root, NULL, &err);
    vg_buf_fini(&out);
    if (st != VG_OK)
        return app_fail(&err);
    if (is_json)
        (void)printf("%.*s\n", VG_FMT(root->source));
    for (const struct vg_json *e = is_json ? NULL : root->child; e; e = e->next)
        (void)printf("%c %.*s  %.*s  %-9.*s  %.*s\n", e == root->child ? '*' : ' ',
                     VG_FMT(vg_json_get_text(e, "version")), VG_FMT(vg_json_get_text(e, "time")),
                     VG_FMT(vg_json_get_text(e, "how")), VG_FMT(vg_json_get_text(e, "who")));
    return 0;
}

/* -1: not one of these commands, or not used as it should be. */
static int run_versions(struct app_options *options, bool is_json)
{
    const char *what = options->rest_count > 0 ? options->rest[0] : "";

    if (strcmp(what, "versions") == 0 && options->rest_count == 1)
        return list_versions(options, is_json);
    if (strcmp(what, "reload") == 0 && options->rest_count == 1 && !is_json)
        return act(options, NULL);
    if (strcmp(what, "rollback") == 0 && options->rest_count == 2 && !is_json)
        return act(options, options->rest[1]);
    return -1;
}

/* The first option that was not taken: unknown, the second of its kind, or without its value. */
static const char *left_option(const struct app_options *options)
{
    for (int i = 0; i < options->rest_count; i++)
        if (options->rest[i][0] == '-')
            return options->rest[i];
    return NULL;
}

/* What is wrong with the words, before the usage. */
static void tell_wrong(const struct app_options *options, const struct mapping_command *c,
                       const char *compat, bool is_envelope)
{
    const char *what = options->rest_count > 0 ? options->rest[0] : "";
    bool is_validate = strcmp(what, "validate") == 0;

    (void)fputs("vigil: mapping: ", stderr);
    if (left_option(options))
        (void)fprintf(stderr, "option '%.100s' is unknown, given twice, or lacks its value",
                      left_option(options));
    else if (strcmp(what, "reload") == 0 || strcmp(what, "versions") == 0 ||
             strcmp(what, "rollback") == 0)
        (void)fprintf(stderr, "%s: expected %s, found other words", what,
                      strcmp(what, "rollback") == 0 ? "one VERSION" : "nothing more");
    else if (!is_validate && strcmp(what, "test") != 0)
        (void)fprintf(
            stderr, "expected test, validate, reload, versions or rollback VERSION, found '%.100s'",
            what);
    else if (compat && strcmp(compat, "default") != 0 && strcmp(compat, "medtech") != 0)
        (void)fprintf(stderr, "--compat: expected default or medtech, found '%.100s'", compat);
    else if (is_validate && options->rest_count > 1)
        (void)fprintf(stderr, "validate takes no message, found '%.100s'", options->rest[1]);
    else if (is_validate && (is_envelope || c->is_aggregate))
        (void)fputs("--envelope and --aggregate are of test only", stderr);
    else if (is_validate)
        (void)fputs("validate: expected --device FILE, --fhir FILE or both", stderr);
    else if (!c->device)
        (void)fputs("test: expected --device FILE", stderr);
    else if (options->rest_count < 2)
        (void)fputs("test: expected at least one MESSAGE", stderr);
    else
        (void)fputs("--json is of versions only", stderr);
    (void)fputs("\n\n", stderr);
}

int cmd_mapping(int argc, char **argv)
{
    struct app_options options;
    struct mapping_command c = {0};
    int code = app_options_init(&options, argc, argv);
    const char *compat = app_take_option(&options, "--compat");
    bool is_envelope = app_take_switch(&options, "--envelope"), is_test, is_right;
    bool is_json = app_take_switch(&options, "--json");
    const char *what;

    vg_arena_init(&c.arena, 16 * FILE_BYTES_MAX);
    c.is_aggregate = app_take_switch(&options, "--aggregate");
    c.device = app_take_option(&options, "--device");
    c.fhir = app_take_option(&options, "--fhir");
    c.form.content_type = app_take_option(&options, "--content-type");
    c.form.characteristic = app_take_option(&options, "--characteristic");
    c.form.device_id = app_take_option(&options, "--device-id");
    c.form.zone = app_take_option(&options, "--zone");
    if (!c.form.device_id)
        c.form.device_id = "device";
    if (!c.form.zone && code == 0)
        c.form.zone = options.settings.connector_zone;
    c.form.processing = "PTD";
    if (code == 0 && !options.wants_help && !c.device && !c.fhir && !compat && !is_envelope &&
        !left_option(&options)) {
        code = run_versions(&options, is_json);
        if (code >= 0)
            goto done;
        code = 0;
    }
    what = options.rest_count > 0 ? options.rest[0] : "";
    is_test = strcmp(what, "test") == 0;
    if (is_test)
        is_right = c.device && options.rest_count > 1;
    else
        is_right = strcmp(what, "validate") == 0 && options.rest_count == 1 &&
                   (c.device || c.fhir) && !is_envelope && !c.is_aggregate;
    if (compat && strcmp(compat, "default") != 0 && strcmp(compat, "medtech") != 0)
        is_right = false;
    is_right = is_right && !is_json;
    if (code == 0 && !options.wants_help && !compat)
        compat = options.settings.connector_compat;
    if (code == 0 && (options.wants_help || !is_right || left_option(&options))) {
        if (!options.wants_help)
            tell_wrong(&options, &c, compat, is_envelope);
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        code = run_command(&c, is_test, is_envelope, strcmp(compat, "medtech") == 0,
                           options.rest + 1, options.rest_count - 1);
    }
done:
    debugger_close(c.debugger);
    vg_arena_fini(&c.arena);
    app_options_fini(&options);
    return code;
}
