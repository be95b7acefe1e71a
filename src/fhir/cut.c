/* cut.c -- resources cut down by _elements and _summary, tagged SUBSETTED.
 *
 * What is mandatory or changes the meaning always stays. Which members belong to the summary is in
 * the tables of R4.
 */
#include "fhir/tables.h"

struct cutting {
    unsigned type;
    const struct vg_slice *names; /* _elements */
    size_t count;
    enum fhir_summary summary;
};

static bool is_asked_for(const struct cutting *in, struct vg_slice name)
{
    for (size_t i = 0; i < in->count; i++)
        /* "value" asks for valueQuantity as well: the family of the choice. */
        if (vg_slice_eq(name, in->names[i]) ||
            (vg_slice_starts(name, in->names[i]) && name.len > in->names[i].len &&
             name.ptr[in->names[i].len] >= 'A' && name.ptr[in->names[i].len] <= 'Z'))
            return true;
    return false;
}

static bool is_kept(const struct cutting *in, struct vg_slice name)
{
    const struct fhir_member *member;

    if (name.len && name.ptr[0] == '_')
        name = vg_slice_from(name, 1);
    if (in->summary != FHIR_SUMMARY_DATA && fhir_is_mandatory(in->type, name))
        return true;
    switch (in->summary) {
    case FHIR_SUMMARY_NONE:
        return is_asked_for(in, name);
    case FHIR_SUMMARY_TRUE:
        member = fhir_member_find(&fhir_shapes[fhir_resource_shapes[in->type]], name);
        return member && (member->flags & FHIR_IS_SUMMARY) != 0;
    case FHIR_SUMMARY_TEXT:
        return vg_slice_is(name, "text");
    case FHIR_SUMMARY_DATA:
        return !vg_slice_is(name, "text");
    }
    return false;
}

/* A part of a resource: of its members those of the summary. Datatypes are kept whole. */
static void put_summary(struct vg_json_writer *w, const struct vg_json *node, unsigned type)
{
    const struct fhir_shape *shape = fhir_shape_of(type);

    if (node->type == VG_JSON_ARRAY) {
        vg_json_open_array(w);
        for (const struct vg_json *one = node->child; one; one = one->next)
            put_summary(w, one, type);
        vg_json_close_array(w);
        return;
    }
    if (!shape || node->type != VG_JSON_OBJECT || !strchr(fhir_pool + shape->name, '.') ||
        !fhir_type_find(vg_slice_cut(
            &(struct vg_slice){fhir_pool + shape->name, strlen(fhir_pool + shape->name)}, '.'))) {
        vg_json_put_raw(w, node->source);
        return;
    }
    vg_json_open_object(w);
    for (const struct vg_json *child = node->child; child; child = child->next) {
        bool is_sibling = child->name.len && child->name.ptr[0] == '_';
        const struct fhir_member *member =
            fhir_member_find(shape, is_sibling ? vg_slice_from(child->name, 1) : child->name);

        if (!member || !(member->flags & (FHIR_IS_SUMMARY | FHIR_IS_REQUIRED | FHIR_IS_MODIFIER)))
            continue;
        vg_json_name_slice(w, child->name);
        if (is_sibling)
            vg_json_put_raw(w, child->source);
        else
            put_summary(w, child, member->type);
    }
    vg_json_close_object(w);
}

static void put_meta(struct vg_json_writer *w, const struct vg_json *meta)
{
    const struct vg_slice tag = VG_SLICE("{\"system\":\"http://terminology.hl7.org/CodeSystem/"
                                         "v3-ObservationValue\",\"code\":\"SUBSETTED\"}");
    const struct vg_json *tags = vg_json_get(meta, "tag");

    vg_json_open_object(w);
    for (const struct vg_json *one = meta->child; one; one = one->next) {
        if (vg_slice_is(one->name, "tag"))
            continue;
        vg_json_name_slice(w, one->name);
        vg_json_put_raw(w, one->source);
    }
    vg_json_name(w, "tag");
    vg_json_open_array(w);
    for (const struct vg_json *one = tags ? tags->child : NULL; one; one = one->next)
        vg_json_put_raw(w, one->source);
    vg_json_put_raw(w, tag);
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static enum vg_status body_cut(const struct cutting *in, struct vg_arena *arena,
                               struct vg_slice body, struct vg_slice *ret_body, struct vg_err *err)
{
    const struct fhir_shape *shape = &fhir_shapes[fhir_resource_shapes[in->type]];
    struct vg_arena scratch;
    struct vg_json *root = NULL;
    struct fhir_issue issue;
    struct vg_json_writer w;
    struct vg_buf out;
    enum vg_status st;

    vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
    vg_buf_init(&out, FHIR_RESOURCE_BYTES_MAX * 2);
    st = fhir_parse(&scratch, body, &root, &issue, err);
    if (st != VG_OK)
        goto done;
    vg_json_writer_init(&w, &out);
    vg_json_open_object(&w);
    for (const struct vg_json *node = root->child; node; node = node->next) {
        const struct fhir_member *member = fhir_member_find(shape, node->name);

        if (!is_kept(in, node->name))
            continue;
        vg_json_name_slice(&w, node->name);
        if (vg_slice_is(node->name, "meta") && node->type == VG_JSON_OBJECT)
            put_meta(&w, node);
        else if (in->summary == FHIR_SUMMARY_TRUE && member)
            put_summary(&w, node, member->type);
        else
            vg_json_put_raw(&w, node->source);
    }
    vg_json_close_object(&w);
    *ret_body = vg_buf_ok(&out) ? vg_arena_dup(arena, vg_buf_slice(&out)) : (struct vg_slice){0};
    if (!ret_body->ptr)
        st = vg_fail(err, VG_REJECT, "fhir.memory", 0, "no room for the results");
done:
    vg_buf_fini(&out);
    vg_arena_fini(&scratch);
    return st;
}

enum vg_status fhir_elements_cut(struct vg_arena *arena, unsigned type, struct vg_slice body,
                                 const struct vg_slice *names, size_t count,
                                 struct vg_slice *ret_body, struct vg_err *err)
{
    return body_cut(&(struct cutting){.type = type, .names = names, .count = count}, arena, body,
                    ret_body, err);
}

enum vg_status fhir_summary_cut(struct vg_arena *arena, unsigned type, struct vg_slice body,
                                enum fhir_summary summary, struct vg_slice *ret_body,
                                struct vg_err *err)
{
    return body_cut(&(struct cutting){.type = type, .summary = summary}, arena, body, ret_body,
                    err);
}
