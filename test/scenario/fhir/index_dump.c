/* index_dump.c -- for oracle.mjs: what the FHIR store finds a resource by.
 *
 * One resource a line in; out, a line each: {"refused":"…" or null,"params":{"name":["value"…]…}}.
 */
#include "fhir/tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void put_value(struct vg_json_writer *w, struct vg_arena *arena,
                      const struct fhir_index_row *row)
{
    struct vg_slice text = row->text;

    if (row->kind == FHIR_TOKEN && !row->is_identifier)
        text = vg_arena_printf(arena, "%.*s|%.*s", row->has_any_system ? 1 : (int)row->system.len,
                               row->has_any_system ? "*"
                               : row->system.len   ? row->system.ptr
                                                   : "",
                               VG_FMT(row->text));
    else if (row->kind == FHIR_DATE)
        text = vg_arena_printf(arena, "%" PRId64 ",%" PRId64, row->span.low_us, row->span.high_us);
    else if (row->kind == FHIR_STRING)
        text = row->system;
    else if (row->kind == FHIR_NUMBER)
        text = vg_arena_printf(arena, "%.17g", row->value);
    else if (row->kind == FHIR_QUANTITY)
        text = vg_arena_printf(arena, "%.17g|%.*s|%.*s", row->value, VG_FMT(row->system),
                               VG_FMT(row->text));
    if (!row->is_identifier)
        vg_json_put_string(w, text);
}

static void put_param(struct vg_json_writer *w, struct vg_arena *arena,
                      const struct fhir_param_view *view, const struct fhir_index *index)
{
    struct fhir_index_row own = {.kind = FHIR_REFERENCE, .text = index->patient};

    vg_json_name(w, view->param->name);
    vg_json_open_array(w);
    for (size_t p = 0; p < view->path_count; p++) {
        const struct fhir_path *path = view->paths[p];

        for (size_t i = 0; i < index->count; i++)
            if (index->rows[i].path == path)
                put_value(w, arena, &index->rows[i]);
        for (size_t i = 0; i < index->code_count; i++)
            if (index->codes[i].path == path &&
                !vg_slice_starts(index->codes[i].text, VG_SLICE(FHIR_TEXT_CODE)))
                put_value(w, arena, &index->codes[i]);
        if (path->role == FHIR_ROLE_PATIENT && index->patient.len)
            put_value(w, arena, &own);
        if (path->role == FHIR_ROLE_DATE && index->span.low_us != FHIR_NO_DATE)
            put_value(w, arena, &(struct fhir_index_row){.kind = FHIR_DATE, .span = index->span});
    }
    vg_json_close_array(w);
}

static void dump(struct vg_arena *arena, struct vg_slice text, struct vg_buf *out)
{
    struct vg_json *root = NULL;
    struct fhir_issue issue;
    struct fhir_index index = {0};
    struct vg_json_writer w;
    struct vg_err err = {0};
    const struct fhir_param_view *view;
    unsigned type = 0;
    enum vg_status st = fhir_parse(arena, text, &root, &issue, &err);

    if (st == VG_OK) {
        type = fhir_type_find(vg_json_get_text(root, "resourceType"));
        st = type ? fhir_check(arena, type, root, &issue, &err)
                  : fhir_refuse(&issue, &err, 400, "invalid", (struct vg_slice){0}, "type");
    }
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "refused");
    if (st == VG_OK)
        vg_json_put_null(&w);
    else
        vg_json_put_string(&w, vg_slice_of(err.text));
    vg_json_name(&w, "params");
    vg_json_open_object(&w);
    if (type && fhir_index_make(arena, type, root, (struct vg_slice){0}, &index, &err) == VG_OK)
        for (size_t i = 0; (view = fhir_param_at(type, i)); i++)
            if (view->param->kind != FHIR_COMPOSITE && view->param->kind != FHIR_SPECIAL)
                put_param(&w, arena, view, &index);
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}

int main(void)
{
    struct vg_arena arena;
    struct vg_buf out;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    vg_buf_init(&out, (size_t)64 << 20);
    while ((len = getline(&line, &size, stdin)) > 0) {
        vg_arena_reset(&arena);
        vg_buf_clear(&out);
        dump(&arena, vg_slice_trim((struct vg_slice){line, (size_t)len}), &out);
        (void)fwrite(vg_buf_slice(&out).ptr, 1, out.len, stdout);
    }
    free(line);
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return 0;
}
