/* search_params.c -- search parameters by name, out of the generated tables.
 *
 * From the same tables follow the index rows that are written (search_index.c), the searches that
 * are understood (query.c), and what /metadata says. A path's key on disk is a hash of its type,
 * text and kind. When the set of paths changes, the fingerprint changes and the engine makes the
 * index anew at the next start.
 *
 * Roles: `patient`, `code`, `component-code` and the date of a type are its timeline: the clustered
 * table that answers "newest of this patient and code" with one range read.
 *
 * Flag-status, Flag-category, Flag-code and DetectedIssue-status are ours: R4 has none.
 */
#include "fhir/tables.h"

#include <pthread.h>

#define TYPES_MAX 160
#define ROLE_COUNT (FHIR_ROLE_DATE + 1)

static const struct fhir_path *roles[TYPES_MAX][ROLE_COUNT];
static int64_t fingerprint;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_all(void)
{
    uint64_t sum = 5; /* raise it when the way of indexing changes */

    for (unsigned i = 0; i < fhir_path_count; i++) {
        const struct fhir_path *path = &fhir_paths[i];

        if (path->role != FHIR_ROLE_NONE)
            roles[path->type][path->role] = path;
        sum = sum * 1099511628211u + path->key * 31u + (uint64_t)path->role * 2 + path->has_parts;
    }
    fingerprint = (int64_t)(sum >> 1);
}

const struct fhir_param_view *fhir_param_at(unsigned type, size_t index)
{
    size_t at = fhir_view_first[type] + index;

    return type && at < fhir_view_first[type + 1] ? &fhir_views[at] : NULL;
}

const struct fhir_param_view *fhir_param_find(unsigned type, struct vg_slice name)
{
    size_t low = fhir_view_first[type], high = type ? fhir_view_first[type + 1] : 0;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = vg_slice_cmp(name, vg_slice_of(fhir_views[middle].param->name));

        if (order == 0)
            return &fhir_views[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct fhir_param_view *fhir_compartment_find(unsigned compartment, unsigned type)
{
    for (unsigned i = 0; i < fhir_compartment_count; i++)
        if (fhir_compartments[i].compartment == compartment && fhir_compartments[i].type == type)
            return &fhir_compartments[i].view;
    return NULL;
}

const struct fhir_path *fhir_role_path(unsigned type, enum fhir_role role)
{
    (void)pthread_once(&once, make_all);
    return roles[type][role];
}

int64_t fhir_params_fingerprint(void)
{
    (void)pthread_once(&once, make_all);
    return fingerprint;
}

bool fhir_list_has(const char *list, struct vg_slice name)
{
    struct vg_slice rest = vg_slice_of(list);

    while (rest.len)
        if (vg_slice_eq(vg_slice_cut(&rest, ','), name))
            return true;
    return false;
}
