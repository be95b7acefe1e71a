/* mapping_errors.c -- the errors of one mapping file, with their places. */
#include "connector/mapping_errors.h"

#include <stdarg.h>
#include <stdio.h>

void mapping_error_add(struct mapping_errors *errors, const struct vg_json *at, const char *fmt,
                       ...)
{
    struct mapping_error *error;
    char text[512];
    va_list args;

    if (errors->count++ >= MAPPING_ERRORS_MAX)
        return;
    error = vg_arena_alloc(errors->arena, sizeof(*error));
    if (!error)
        return; /* it is counted: the mapping is refused all the same */
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error->text = vg_arena_dup(errors->arena, vg_slice_of(text));
    error->at = at;
    if (at && at->source.ptr) {
        struct vg_json_place place = vg_json_place_of(errors->source, at->source.ptr);

        error->line = place.line;
        error->column = place.column;
    }
    if (errors->last)
        errors->last->next = error;
    else
        errors->first = error;
    errors->last = error;
}

void mapping_path(const struct vg_json *at, struct vg_buf *out)
{
    const struct vg_json *parent = at ? at->parent : NULL;
    unsigned index = 0;

    if (!parent)
        return;
    mapping_path(parent, out); /* as deep as the JSON reader allows */
    if (parent->type == VG_JSON_OBJECT) {
        vg_buf_printf(out, "%s%.*s", parent->parent ? "." : "", VG_FMT(at->name));
        return;
    }
    for (const struct vg_json *i = parent->child; i && i != at; i = i->next)
        index++;
    vg_buf_printf(out, "[%u]", index);
}

enum vg_status mapping_errors_status(const struct mapping_errors *errors, const char *what,
                                     struct vg_err *err)
{
    const struct mapping_error *first = errors->first;

    if (errors->count == 0)
        return VG_OK;
    if (!first)
        return vg_fail(err, VG_REJECT, "connector.mapping", 0, "%s: %zu errors", what,
                       errors->count);
    return vg_fail(err, VG_REJECT, "connector.mapping", 0, "%s: line %u, column %u: %.*s%s", what,
                   first->line, first->column, VG_FMT(first->text),
                   errors->count > 1 ? " (and more)" : "");
}

const struct vg_json *mapping_parse(struct mapping_errors *errors)
{
    const struct vg_json_options options = {.is_lenient = true};
    struct vg_json_place place = {0, 0};
    struct vg_json *root;
    struct vg_err why = {0};

    if (vg_slice_starts(errors->source, VG_SLICE("\xef\xbb\xbf")))
        errors->source = vg_slice_from(errors->source, 3);
    if (vg_json_parse(errors->arena, errors->source, &options, &root, &place, &why) == VG_OK)
        return root;
    mapping_error_add(errors, NULL, "not JSON: %s", why.text);
    if (errors->last) {
        errors->last->line = place.line;
        errors->last->column = place.column;
    }
    return NULL;
}

const struct vg_json *mapping_get(const struct vg_json *object, const char *member)
{
    return vg_json_get_nocase(object, vg_slice_of(member));
}

bool mapping_is_type(struct vg_slice type, const char *name, bool allows_suffix)
{
    static const char suffix[] = "Template";
    size_t len = strlen(name);

    if (vg_slice_eq_nocase(type, vg_slice_of(name)))
        return true;
    return allows_suffix && type.len == len + sizeof(suffix) - 1 &&
           vg_slice_eq_nocase((struct vg_slice){type.ptr, len}, vg_slice_of(name)) &&
           vg_slice_eq_nocase(vg_slice_from(type, len), VG_SLICE("Template"));
}

const struct vg_json *mapping_templates(struct mapping_errors *errors, const char *root_type)
{
    const struct vg_json *root = mapping_parse(errors), *type, *list;

    if (!root)
        return NULL;
    type = mapping_get(root, "templateType");
    if (!mapping_is_type(vg_json_text(type), root_type, true)) {
        mapping_error_add(errors, type ? type : root, "expected templateType %s, found '%.*s'",
                          root_type, VG_FMT(vg_json_text(type)));
        return NULL;
    }
    list = mapping_get(root, "template");
    if (!vg_json_is(list, VG_JSON_ARRAY)) {
        mapping_error_add(errors, list ? list : root, "expected an array as template of %s",
                          root_type);
        return NULL;
    }
    return list;
}

void mapping_check_members(struct mapping_errors *errors, const struct vg_json *object,
                           const char *const *known)
{
    for (const struct vg_json *m = object->child; m; m = m->next) {
        size_t i = 0;

        while (known[i] && !vg_slice_eq_nocase(m->name, vg_slice_of(known[i])))
            i++;
        if (!known[i])
            mapping_error_add(errors, m, "unknown member '%.*s'", VG_FMT(m->name));
    }
}
