/* access.c -- scopes: what the holder of a token may do with which type.
 *
 * SMART 2 ("system/Observation.rs") and SMART 1 ("system/Observation.read") are both read; read is
 * r and s, write is c, u and d. Only system scopes are given out: there is no user behind a
 * program. A scope narrowed by a query (v2's "?category=…") is refused: it could not be kept
 * everywhere.
 */
#include "fhir/access_int.h"

#include "base/http_server.h"
#include "fhir/fhir_int.h"

static unsigned right_of(char c)
{
    static const char letters[] = "cruds";
    const char *at = c ? strchr(letters, c) : NULL;

    return at ? 1u << (at - letters) : 0;
}

bool fhir_access_allows(const struct fhir_access *access, char right, unsigned type)
{
    for (size_t i = 0; i < access->scope_count && !access->is_all; i++)
        if ((access->scopes[i].type == 0 || access->scopes[i].type == type) &&
            (access->scopes[i].rights & right_of(right)))
            return true;
    return access->is_all;
}

static bool rights_parse(struct vg_slice text, unsigned *ret_rights)
{
    static const char order[] = "cruds";
    const char *from = order;

    *ret_rights = 0;
    if (vg_slice_is(text, "read"))
        *ret_rights = FHIR_MAY_R | FHIR_MAY_S;
    else if (vg_slice_is(text, "write"))
        *ret_rights = FHIR_MAY_C | FHIR_MAY_U | FHIR_MAY_D;
    else if (vg_slice_is(text, "*"))
        *ret_rights = FHIR_MAY_C | FHIR_MAY_R | FHIR_MAY_U | FHIR_MAY_D | FHIR_MAY_S;
    for (size_t i = 0; i < text.len && *ret_rights == 0; i++) {
        /* In this order, each once: "sr" is no scope. */
        for (size_t n = 0; n < text.len; n++) {
            const char *at = text.ptr[n] ? strchr(from, text.ptr[n]) : NULL;

            if (!at)
                return false;
            *ret_rights |= right_of(*at);
            from = at + 1;
        }
    }
    return *ret_rights != 0;
}

bool fhir_scopes_parse(struct vg_slice text, struct fhir_access *ret_access)
{
    struct fhir_access access = {0};

    while (text.len) {
        struct vg_slice one = vg_slice_trim(vg_slice_cut(&text, ' ')), name;
        struct fhir_scope *scope = &access.scopes[access.scope_count];

        if (one.len == 0)
            continue;
        if (!vg_slice_starts(one, VG_SLICE("system/")) || access.scope_count == FHIR_SCOPES_MAX)
            return false;
        one = vg_slice_from(one, sizeof("system/") - 1);
        name = vg_slice_cut(&one, '.');
        scope->type = fhir_type_find(name);
        if ((!scope->type && !vg_slice_is(name, "*")) || !rights_parse(one, &scope->rights))
            return false;
        access.scope_count++;
    }
    *ret_access = access;
    return access.scope_count > 0;
}

/* The types that a parameter's name leads to: "subject:Patient.name", "_has:Observation:patient:x".
 * A chain without a type leads where its parameter points: to any of its targets. */
static bool may_lead(const struct fhir_access *access, unsigned type, struct vg_slice name)
{
    const struct fhir_param_view *view;
    struct vg_slice rest = name, kind, param;
    const char *targets;

    if (vg_slice_is(vg_slice_cut(&rest, ':'), "_has")) {
        unsigned target = fhir_type_find(vg_slice_cut(&rest, ':'));

        (void)vg_slice_cut(&rest, ':');
        return target && fhir_access_allows(access, 's', target) && may_lead(access, target, rest);
    }
    rest = name;
    kind = vg_slice_cut(&rest, '.');
    param = vg_slice_cut(&kind, ':');
    if (rest.len == 0)
        return true;
    if (fhir_type_find(kind))
        return fhir_access_allows(access, 's', fhir_type_find(kind)) &&
               may_lead(access, fhir_type_find(kind), rest);
    view = fhir_param_find(type, param);
    targets = view ? view->param->target : NULL;
    if (!targets)
        return fhir_access_allows(access, 's', 0);
    for (struct vg_slice list = vg_slice_of(targets); list.len;) {
        unsigned target = fhir_type_find(vg_slice_cut(&list, ','));

        if (!fhir_access_allows(access, 's', target) || !may_lead(access, target, rest))
            return false;
    }
    return true;
}

/* _include:iterate=Type:parameter goes on from what was brought along, which may be hidden
 * afterwards: what it points at would tell of it. */
static bool may_go_on(const struct fhir_access *access, struct vg_slice name, struct vg_slice value)
{
    unsigned type;

    if (!vg_slice_starts(name, VG_SLICE("_include:")) &&
        !vg_slice_starts(name, VG_SLICE("_revinclude:")))
        return true;
    type = fhir_type_find(vg_slice_cut(&value, ':'));
    return fhir_access_allows(access, 'r', type);
}

bool fhir_access_allows_query(const struct fhir_access *access, unsigned type,
                              struct vg_slice query)
{
    while (query.len && !access->is_all) {
        struct vg_slice value = vg_slice_cut(&query, '&');
        struct vg_slice raw = vg_slice_cut(&value, '='), name;
        struct vg_arena arena;
        bool is_allowed;

        vg_arena_init(&arena, 64u << 10);
        name = vg_url_decode(&arena, raw, true);
        is_allowed = raw.len == 0 || (name.ptr && may_lead(access, type, name) &&
                                      may_go_on(access, name, vg_url_decode(&arena, value, true)));
        vg_arena_fini(&arena);
        if (!is_allowed)
            return false;
    }
    return true;
}

void fhir_access_hide(const struct fhir_access *access, struct fhir_results *results)
{
    size_t kept = results->match_count;

    for (size_t i = kept; i < results->count && !access->is_all; i++)
        if (fhir_access_allows(access, 'r', fhir_type_find(results->resources[i].type)))
            results->resources[kept++] = results->resources[i];
    if (!access->is_all)
        results->count = kept;
}
