/* routes.c -- what may be done with which address: the router's table, and metadata's.
 *
 * The first route that fits is taken. An interaction's name stands in the CapabilityStatement; what
 * is not in this table is not there.
 */
#include "fhir/rest_int.h"

const struct fhir_route fhir_routes[] = {
    {"POST", "", fhir_run_bundle, FHIR_BODY_RESOURCE, '*', "transaction", NULL},
    {"POST", "", fhir_run_bundle, FHIR_BODY_RESOURCE, '*', "batch", NULL},
    {"GET", "metadata", fhir_run_metadata, FHIR_BODY_NONE, 0, NULL, NULL},
    {"GET", ".well-known/smart-configuration", fhir_run_smart_configuration, FHIR_BODY_NONE, 0,
     NULL, NULL},
    {"POST", "auth/token", fhir_run_token, FHIR_BODY_FORM, 0, NULL, NULL},
    {"POST", "$import", fhir_run_import, FHIR_BODY_RESOURCE, '*', NULL, "import"},
    {"GET", "$import/I", fhir_run_import_status, FHIR_BODY_NONE, '*', NULL, NULL},
    {"DELETE", "$import/I", fhir_run_import_status, FHIR_BODY_NONE, '*', NULL, NULL},

    {"GET", "Observation/$lastn", fhir_run_lastn, FHIR_BODY_NONE, 's', NULL, "lastn"},
    {"POST", "Observation/$lastn", fhir_run_lastn, FHIR_BODY_RESOURCE, 's', NULL, NULL},
    {"GET", "Observation/$stats", fhir_run_stats, FHIR_BODY_NONE, 's', NULL, "stats"},
    {"POST", "Observation/$stats", fhir_run_stats, FHIR_BODY_RESOURCE, 's', NULL, NULL},
    {"GET", "Patient/I/$everything", fhir_run_everything, FHIR_BODY_NONE, 'r', NULL, "everything"},
    {"POST", "Patient/I/$everything", fhir_run_everything, FHIR_BODY_RESOURCE, 'r', NULL, NULL},
    {"GET", "Subscription/I/$status", fhir_run_subscription_status, FHIR_BODY_NONE, 'r', NULL,
     "status"},
    {"GET", "Subscription/I/$events", fhir_run_subscription_events, FHIR_BODY_NONE, 'r', NULL,
     "events"},
    {"POST", "T/$validate", fhir_run_validate, FHIR_BODY_RESOURCE, '*', NULL, "validate"},
    {"POST", "T/I/$validate", fhir_run_validate, FHIR_BODY_RESOURCE, 'r', NULL, NULL},
    {"GET", "T/I/$validate", fhir_run_validate, FHIR_BODY_NONE, 'r', NULL, NULL},

    {"POST", "T/_search", fhir_run_search_form, FHIR_BODY_FORM, 's', "search-type", NULL},
    {"GET", "T", fhir_run_search, FHIR_BODY_NONE, 's', "search-type", NULL},
    {"POST", "T", fhir_run_create, FHIR_BODY_RESOURCE, 'c', "create", NULL},
    {"PUT", "T", fhir_run_conditional_update, FHIR_BODY_RESOURCE, 'u', "update", NULL},
    {"DELETE", "T", fhir_run_conditional_delete, FHIR_BODY_NONE, 'd', "delete", NULL},
    {"GET", "T/_history", fhir_run_history, FHIR_BODY_NONE, 's', "history-type", NULL},
    {"GET", "T/I", fhir_run_read, FHIR_BODY_NONE, 'r', "read", NULL},
    {"PUT", "T/I", fhir_run_update, FHIR_BODY_RESOURCE, 'u', "update", NULL},
    {"PATCH", "T/I", fhir_run_patch, FHIR_BODY_PATCH, 'u', "patch", NULL},
    {"DELETE", "T/I", fhir_run_delete, FHIR_BODY_NONE, 'd', "delete", NULL},
    {"GET", "T/I/_history", fhir_run_history, FHIR_BODY_NONE, 'r', "history-instance", NULL},
    {"GET", "T/I/_history/V", fhir_run_read, FHIR_BODY_NONE, 'r', "vread", NULL},
    {"GET", "T/I/N", fhir_run_compartment, FHIR_BODY_NONE, '*', NULL, NULL},
};
const size_t fhir_route_count = sizeof(fhir_routes) / sizeof(fhir_routes[0]);

/* What was recorded is not to be changed by those whom it records. */
static const struct {
    const char *type, *refused;
} policies[] = {{"AuditEvent", "update,patch,delete"}};

bool fhir_policy_allows(unsigned type, const char *interaction)
{
    for (size_t i = 0; type && i < sizeof(policies) / sizeof(policies[0]); i++)
        if (strcmp(fhir_type_name(type), policies[i].type) == 0 &&
            fhir_list_has(policies[i].refused, vg_slice_of(interaction)))
            return false;
    return true;
}

bool fhir_path_fits(const char *pattern, struct vg_slice path, struct fhir_job *job)
{
    struct vg_slice wanted = vg_slice_of(pattern), id = {0}, version = {0};
    unsigned type = 0, inner = 0;
    bool is_first = true;

    while (wanted.len || path.len) {
        struct vg_slice want = vg_slice_cut(&wanted, '/'), got = vg_slice_cut(&path, '/');
        bool is_named = got.len && got.ptr[0] != '$' && got.ptr[0] != '_';

        if (is_first)
            type = fhir_type_find(got);
        is_first = false;
        if (vg_slice_is(want, "T")) {
            if (!type)
                return false;
        } else if (vg_slice_is(want, "N")) {
            inner = fhir_type_find(got);
            if (!inner)
                return false;
        } else if (vg_slice_is(want, "I")) {
            id = got;
            if (!is_named)
                return false;
        } else if (vg_slice_is(want, "V")) {
            version = got;
            if (got.len == 0)
                return false;
        } else if (!vg_slice_eq(want, got)) {
            return false;
        }
    }
    job->type = type;
    job->inner_type = inner;
    job->id = id;
    job->version = version;
    return true;
}
