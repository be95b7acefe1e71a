/* validate.c -- what a resource must satisfy before it is stored.
 *
 * Everything structural is read off the tables of R4: which members an object may have, how many,
 * of which type, in which form, with which codes, pointing at which types. The invariants stand in
 * validate_rules.c, the vital signs' profiles in validate_profile.c.
 *
 * 400: a basic rule of FHIR is broken. 422: well-formed, but says something that cannot be.
 * A finding names the element, never its value: values are patient data.
 *
 * One walk over the tree: each object's members are looked up by binary search in its shape, so the
 * time is linear in the text. Depth is bounded by the parser.
 */
#include "fhir/validate_int.h"

#include <stdarg.h>
#include <stdio.h>

#define CONTAINED_MAX 250u

/* ---- findings ---- */

/* "Observation.component[1].value" of a node. */
static struct vg_slice expression_of(struct fhir_checking *in, const struct vg_json *node,
                                     const struct fhir_shape **ret_shape)
{
    const struct fhir_shape *shape = NULL;
    const struct fhir_member *member;
    struct vg_slice parent, name, resource;
    unsigned index = 0;

    if (!node || !node->parent) {
        *ret_shape = &fhir_shapes[fhir_resource_shapes[in->type]];
        return vg_slice_of(fhir_type_name(in->type));
    }
    parent = expression_of(in, node->parent, &shape);
    *ret_shape = shape;
    if (node->parent->type == VG_JSON_ARRAY) {
        for (const struct vg_json *one = node->parent->child; one != node; one = one->next)
            index++;
        return vg_arena_printf(in->arena, "%.*s[%u]", VG_FMT(parent), index);
    }
    name = node->name;
    if (name.len && name.ptr[0] == '_')
        name = vg_slice_from(name, 1);
    resource = vg_json_get_text(node->parent, "resourceType");
    if (fhir_type_find(resource))
        shape = &fhir_shapes[fhir_resource_shapes[fhir_type_find(resource)]];
    member = shape ? fhir_member_find(shape, name) : NULL;
    *ret_shape = member ? fhir_shape_of(member->type) : NULL;
    if (member && member->choice) /* FHIRPath knows the choice by its stem */
        return vg_arena_printf(in->arena, "%.*s.%.*s", VG_FMT(parent), (int)member->stem_len,
                               fhir_pool + member->name);
    /* A name that is no element's is echoed only when it looks like one. */
    bool is_plain = name.len > 0 && name.len <= 64;

    for (size_t i = 0; i < name.len && is_plain; i++)
        is_plain = ((name.ptr[i] | 32) >= 'a' && (name.ptr[i] | 32) <= 'z') ||
                   (i > 0 && name.ptr[i] >= '0' && name.ptr[i] <= '9');
    return is_plain ? vg_arena_printf(in->arena, "%.*s.%.*s", VG_FMT(parent), VG_FMT(name))
                    : parent;
}

void fhir_report(struct fhir_checking *in, const struct vg_json *node, const char *missing,
                 int http_status, const char *code, const char *fmt, ...)
{
    const struct fhir_shape *shape;
    struct vg_slice expression;
    char text[200];
    va_list args;

    if (in->is_done)
        return;
    expression = expression_of(in, node, &shape);
    if (missing)
        expression = vg_arena_printf(in->arena, "%.*s.%s", VG_FMT(expression), missing);
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    in->problems[in->count++] = (struct fhir_problem){
        .severity = http_status ? "error" : "warning",
        .code = code,
        .http_status = http_status,
        .expression = expression.ptr ? expression : VG_SLICE(""),
        .text = vg_arena_printf(in->arena, "%.*s %s", VG_FMT(expression), text)};
    in->is_done = in->count == in->max;
}

/* ---- codes ---- */

static bool has_code(unsigned set, struct vg_slice system, bool is_any_system, struct vg_slice code)
{
    const struct fhir_code_set *codes = &fhir_code_sets[set];
    size_t low = codes->first, high = (size_t)codes->first + codes->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const char *text = fhir_pool + fhir_codes[middle].code;

        if (vg_slice_cmp(code, vg_slice_of(text)) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < (size_t)codes->first + codes->count &&
           vg_slice_is(code, fhir_pool + fhir_codes[low].code);
         low++)
        if (is_any_system || vg_slice_is(system, fhir_pool + fhir_codes[low].system))
            return true;
    return false;
}

static void report_code(struct fhir_checking *in, const struct vg_json *node, unsigned set)
{
    const struct fhir_code_set *codes = &fhir_code_sets[set];
    char list[128];
    size_t len = 0, i;

    for (i = 0; i < codes->count; i++) {
        const char *code = fhir_pool + fhir_codes[codes->first + i].code;

        if (len + strlen(code) + 8 > sizeof(list))
            break;
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", code);
    }
    if (i < codes->count)
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s", ", …");
    fhir_report(in, node, NULL, 400, "code-invalid", "must be one of %.*s", (int)len, list);
}

/* A concept that has codings must have one of the set. */
static void check_codings(struct fhir_checking *in, const struct vg_json *node, unsigned type,
                          unsigned set)
{
    const struct vg_json *codings = vg_json_get(node, "coding");
    bool is_coded = false;

    if (type == FHIR_T_CODING) {
        if (!has_code(set, vg_json_get_text(node, "system"), false, vg_json_get_text(node, "code")))
            report_code(in, node, set);
        return;
    }
    for (const struct vg_json *one = codings ? codings->child : NULL; one; one = one->next) {
        is_coded = true;
        if (has_code(set, vg_json_get_text(one, "system"), false, vg_json_get_text(one, "code")))
            return;
    }
    if (is_coded)
        report_code(in, node, set);
}

/* ---- references ---- */

static bool may_point_at(unsigned list, unsigned type)
{
    for (const uint8_t *one = &fhir_targets[list]; *one; one++)
        if (*one == type)
            return true;
    return false;
}

static const struct vg_json *contained_find(const struct vg_json *node, struct vg_slice id)
{
    const struct vg_json *list;

    /* From the innermost resource that has contained ones outwards. */
    for (; node; node = node->parent) {
        list = vg_json_get(node, "contained");
        if (vg_json_is(list, VG_JSON_ARRAY))
            for (const struct vg_json *one = list->child; one; one = one->next)
                if (vg_slice_eq(vg_json_get_text(one, "id"), id))
                    return one;
    }
    return NULL;
}

static void check_reference(struct fhir_checking *in, const struct vg_json *node,
                            const struct fhir_member *member)
{
    const struct vg_json *reference = vg_json_get(node, "reference");
    struct vg_slice text = vg_json_text(reference), rest = text, scheme, id;
    const char *query = text.len ? memchr(text.ptr, '?', text.len) : NULL;
    unsigned type = fhir_type_find(vg_json_get_text(node, "type"));

    if (!vg_json_is(reference, VG_JSON_STRING) || text.len == 0) {
        /* by identifier or display alone */
    } else if (text.ptr[0] == '#') {
        const struct vg_json *found = contained_find(node, vg_slice_from(text, 1));

        if (text.len == 1)
            return; /* the container itself */
        if (!found) {
            fhir_report(in, reference, NULL, 422, "invariant",
                        "names no contained resource (ref-1)");
            return;
        }
        type = fhir_type_find(vg_json_get_text(found, "resourceType"));
    } else if (query && !memchr(text.ptr, ':', (size_t)(query - text.ptr))) {
        fhir_report(in, reference, NULL, 400, "value",
                    "is a conditional reference, which is for transactions only");
        return;
    } else {
        scheme = vg_slice_cut(&rest, ':');
        if (rest.ptr && !memchr(scheme.ptr, '/', scheme.len) && scheme.len > 1) {
            /* Absolute: another server's form is its own affair, but a RESTful one says its type.
             */
            size_t slashes = 0, at = text.len;

            while (at > 0 && slashes < 2)
                slashes += text.ptr[--at] == '/';
            if (slashes < 2 || !vg_slice_starts(text, VG_SLICE("http")) ||
                !fhir_reference_cut(vg_slice_from(text, at + 1), &type, &id))
                type = 0;
        } else if (!fhir_reference_cut(fhir_reference_plain(text, (struct vg_slice){0}), &type,
                                       &id)) {
            fhir_report(in, reference, NULL, 400, "value",
                        "must be Type/id of R4, a URL, urn: or #id");
            return;
        }
    }
    if (type && member->targets && !may_point_at(member->targets, type))
        fhir_report(in, node, NULL, 422, "invalid", "must not point at a resource of type %s",
                    fhir_type_name(type));
}

/* ---- the walk ---- */

static void check_object(struct fhir_checking *in, const struct vg_json *node, unsigned shape_index,
                         bool is_resource);

static void check_resource(struct fhir_checking *in, const struct vg_json *node, bool is_contained)
{
    unsigned type = fhir_type_find(vg_json_get_text(node, "resourceType"));

    if (type == 0) {
        fhir_report(in, node, NULL, 400, "structure", "must have a resourceType of R4");
        return;
    }
    check_object(in, node, fhir_resource_shapes[type], true);
    if (!in->is_done)
        fhir_resource_rules_check(in, node, is_contained);
}

static void check_value(struct fhir_checking *in, const struct vg_json *value,
                        const struct fhir_member *member)
{
    const char *fault;

    if (member->type < FHIR_T_PRIMITIVES) {
        fault = fhir_primitive_fault((enum fhir_datatype)member->type, value);
        if (fault)
            fhir_report(in, value, NULL, 400, "value", "%s", fault);
        else if (member->codes && !has_code(member->codes, (struct vg_slice){0}, true, value->text))
            report_code(in, value, member->codes);
        return;
    }
    if (value->type != VG_JSON_OBJECT) {
        fhir_report(in, value, NULL, 400, "structure", "must be an object");
        return;
    }
    if (member->type == FHIR_T_ANY_RESOURCE) {
        check_resource(in, value, strcmp(fhir_pool + member->name, "contained") == 0);
        return;
    }
    check_object(in, value, member->type - FHIR_T_SHAPES, false);
    if (in->is_done)
        return;
    if (member->codes)
        check_codings(in, value, member->type, member->codes);
    if (member->type == FHIR_T_REFERENCE)
        check_reference(in, value, member);
}

/* Id and extensions of a primitive: {"id":…, "extension":[…]}. */
static void check_sibling_object(struct fhir_checking *in, const struct vg_json *node)
{
    static const struct fhir_shape *element; /* any shape has both members */

    element = &fhir_shapes[FHIR_T_CODING - FHIR_T_SHAPES];
    if (node->type != VG_JSON_OBJECT || node->count == 0) {
        fhir_report(in, node, NULL, 400, "structure", "must be an object with id or extension");
        return;
    }
    for (const struct vg_json *child = node->child; child && !in->is_done; child = child->next) {
        if (vg_slice_is(child->name, "id")) {
            check_value(in, child, fhir_member_find(element, VG_SLICE("id")));
        } else if (!vg_slice_is(child->name, "extension")) {
            fhir_report(in, child, NULL, 400, "structure", "is not known beside a primitive");
        } else if (child->type != VG_JSON_ARRAY || child->count == 0) {
            fhir_report(in, child, NULL, 400, "structure", "must be an array that is not empty");
        } else {
            for (const struct vg_json *one = child->child; one && !in->is_done; one = one->next)
                check_value(in, one, fhir_member_find(element, VG_SLICE("extension")));
        }
    }
}

static void check_sibling(struct fhir_checking *in, const struct vg_json *node,
                          const struct fhir_member *member)
{
    bool is_array = (member->flags & FHIR_IS_ARRAY) != 0;

    if (member->type >= FHIR_T_PRIMITIVES) {
        fhir_report(in, node, NULL, 400, "structure", "is no primitive, which alone has a sibling");
    } else if (!is_array) {
        check_sibling_object(in, node);
    } else if (node->type != VG_JSON_ARRAY || node->count == 0) {
        fhir_report(in, node, NULL, 400, "structure", "must be an array that is not empty");
    } else {
        for (const struct vg_json *one = node->child; one && !in->is_done; one = one->next)
            if (one->type != VG_JSON_NULL)
                check_sibling_object(in, one);
    }
}

static const struct vg_json *sibling_of(const struct vg_json *array)
{
    for (const struct vg_json *one = array->parent->child; one; one = one->next)
        if (one->name.len == array->name.len + 1 && one->name.ptr[0] == '_' &&
            memcmp(one->name.ptr + 1, array->name.ptr, array->name.len) == 0)
            return one;
    return NULL;
}

static void check_array(struct fhir_checking *in, const struct vg_json *array,
                        const struct fhir_member *member)
{
    const struct vg_json *sibling = NULL, *beside = NULL;

    /* Each reference to one looks through all of them. */
    if (array->count > CONTAINED_MAX && vg_slice_is(array->name, "contained")) {
        fhir_report(in, array, NULL, 422, "too-costly", "may have %u resources at most",
                    CONTAINED_MAX);
        return;
    }

    if (array->count == 0) {
        fhir_report(in, array, NULL, 400, "structure", "must not be an empty array");
        return;
    }
    if (member->type < FHIR_T_PRIMITIVES) {
        sibling = sibling_of(array);
        if (sibling && sibling->count != array->count) {
            fhir_report(in, array, NULL, 400, "structure",
                        "must have as many values as its sibling of extensions");
            return;
        }
        beside = sibling ? sibling->child : NULL;
    }
    for (const struct vg_json *one = array->child; one && !in->is_done; one = one->next) {
        if (one->type != VG_JSON_NULL)
            check_value(in, one, member);
        else if (!beside || beside->type == VG_JSON_NULL)
            fhir_report(in, one, NULL, 400, "structure", "must not be null");
        beside = beside ? beside->next : NULL;
    }
}

static void check_member(struct fhir_checking *in, const struct vg_json *node,
                         const struct fhir_member *member, bool is_sibling)
{
    bool is_array = (member->flags & FHIR_IS_ARRAY) != 0;

    if (is_sibling)
        check_sibling(in, node, member);
    else if (is_array && node->type != VG_JSON_ARRAY)
        fhir_report(in, node, NULL, 400, "structure", "must be an array");
    else if (is_array)
        check_array(in, node, member);
    else if (node->type == VG_JSON_ARRAY)
        fhir_report(in, node, NULL, 400, "structure", "must be one value, not an array");
    else if (node->type == VG_JSON_NULL)
        fhir_report(in, node, NULL, 400, "structure", "must not be null");
    else
        check_value(in, node, member);
}

struct seen {
    uint64_t members[6];
    const struct fhir_member *choices[32];
    unsigned required;
};

/* Marks a member; false when another one of its choice is there already. */
static bool mark(struct seen *seen, const struct fhir_shape *shape,
                 const struct fhir_member *member)
{
    size_t at = (size_t)(member - &fhir_members[shape->first]);
    bool is_new = !(seen->members[at / 64] & (uint64_t)1 << at % 64);

    seen->members[at / 64] |= (uint64_t)1 << at % 64;
    if (member->choice) {
        const struct fhir_member **choice = &seen->choices[member->choice % 32];

        is_new = !*choice;
        if (*choice && *choice != member)
            return false;
        *choice = member;
    }
    if (is_new && member->flags & FHIR_IS_REQUIRED)
        seen->required++;
    return true;
}

static void report_missing(struct fhir_checking *in, const struct vg_json *node,
                           const struct fhir_shape *shape, const struct seen *seen)
{
    unsigned told = 0;

    for (size_t i = 0; i < shape->count && !in->is_done; i++) {
        const struct fhir_member *member = &fhir_members[shape->first + i];
        const char *name = fhir_pool + member->name;
        char stem[80];

        if (!(member->flags & FHIR_IS_REQUIRED) || seen->members[i / 64] & (uint64_t)1 << i % 64 ||
            (member->choice && (seen->choices[member->choice % 32] || told == member->choice)))
            continue;
        told = member->choice;
        (void)snprintf(stem, sizeof(stem), "%.*s",
                       member->choice ? (int)member->stem_len : (int)member->name_len, name);
        fhir_report(in, node, stem, 400, "required", "must be there");
    }
}

static void check_object(struct fhir_checking *in, const struct vg_json *node, unsigned shape_index,
                         bool is_resource)
{
    const struct fhir_shape *shape = &fhir_shapes[shape_index];
    struct seen seen = {0};

    if (node->count == 0 ||
        (node->count == 1 && !is_resource && vg_slice_is(node->child->name, "id"))) {
        fhir_report(in, node, NULL, 400, "structure", "must not be empty");
        return;
    }
    for (const struct vg_json *child = node->child; child && !in->is_done; child = child->next) {
        bool is_sibling = child->name.len > 1 && child->name.ptr[0] == '_';
        struct vg_slice name = is_sibling ? vg_slice_from(child->name, 1) : child->name;
        const struct fhir_member *member = fhir_member_find(shape, name);

        if (member && !mark(&seen, shape, member))
            fhir_report(in, child, NULL, 400, "structure", "must be there in one type only");
        else if (member)
            check_member(in, child, member, is_sibling);
        else if (!is_resource || !vg_slice_is(name, "resourceType"))
            fhir_report(in, child, NULL, 400, "structure", "is not an element of %s",
                        fhir_pool + shape->name);
    }
    if (seen.required < shape->required_count)
        report_missing(in, node, shape, &seen);
    if (!in->is_done)
        fhir_rules_check(in, shape_index, node);
}

/* ---- the two ways in ---- */

enum vg_status fhir_check(struct vg_arena *arena, unsigned type, const struct vg_json *root,
                          struct fhir_issue *issue, struct vg_err *err)
{
    struct fhir_problem problem;
    struct fhir_checking in = {
        .arena = arena, .root = root, .type = type, .problems = &problem, .max = 1};

    check_resource(&in, root, false);
    if (in.count == 0)
        return VG_OK;
    return fhir_refuse(issue, err, problem.http_status, problem.code, problem.expression, "%.*s",
                       VG_FMT(problem.text));
}

static void check_profiles(struct fhir_checking *in, struct vg_slice profile)
{
    const struct vg_json *stated = vg_json_get(vg_json_get(in->root, "meta"), "profile");

    if (profile.len && !fhir_profile_check(in, profile))
        fhir_report(in, in->root, NULL, 0, "not-found", "was asked for a profile not known here");
    if (!vg_json_is(stated, VG_JSON_ARRAY))
        return;
    for (const struct vg_json *one = stated->child; one && !in->is_done; one = one->next)
        if (!vg_slice_eq(one->text, profile) && !fhir_profile_check(in, one->text))
            fhir_report(in, one, NULL, 0, "not-found", "names a profile not known here");
}

enum vg_status fhir_validate(struct vg_arena *arena, unsigned type, const struct vg_json *root,
                             struct vg_slice profile, struct fhir_problems *ret_problems,
                             struct vg_err *err)
{
    struct fhir_checking in = {
        .arena = arena, .root = root, .type = type, .max = FHIR_PROBLEMS_MAX};

    in.problems = vg_arena_alloc(arena, FHIR_PROBLEMS_MAX * sizeof(*in.problems));
    if (!in.problems)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the findings");
    if (!vg_slice_is(vg_json_get_text(root, "resourceType"), fhir_type_name(type)))
        fhir_report(&in, root, "resourceType", 400, "invalid",
                    "must be the type that was asked for");
    else
        check_resource(&in, root, false);
    if (!in.is_done)
        check_profiles(&in, profile);
    *ret_problems = (struct fhir_problems){in.problems, in.count};
    return VG_OK;
}
