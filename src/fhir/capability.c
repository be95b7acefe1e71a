/* capability.c -- GET /fhir/metadata: what this server does, made from the tables that do it. */
#include "fhir/fhir_int.h"

#include <stdio.h>

static const char *const kinds[] = {
    [FHIR_TOKEN] = "token",   [FHIR_REFERENCE] = "reference", [FHIR_DATE] = "date",
    [FHIR_STRING] = "string", [FHIR_QUANTITY] = "quantity",   [FHIR_COMPOSITE] = "composite",
    [FHIR_NUMBER] = "number", [FHIR_URI] = "uri",
};

static const char *kind_of(const struct fhir_param *param)
{
    if (param->kind == FHIR_SPECIAL)
        return strcmp(param->name, "_id") == 0 ? "token" : "date";
    return kinds[param->kind];
}

static void codes(struct vg_json_writer *w, const char *name, const char *const *list)
{
    vg_json_name(w, name);
    vg_json_open_array(w);
    for (; *list; list++) {
        vg_json_open_object(w);
        vg_json_member_string(w, "code", vg_slice_of(*list));
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
}

/* Ours, where R4 has none: named by a canonical URL below our own base. */
static bool is_own(const char *type, const char *name)
{
    return (strcmp(type, "Flag") == 0 &&
            fhir_list_has("status,category,code", vg_slice_of(name))) ||
           (strcmp(type, "DetectedIssue") == 0 && strcmp(name, "status") == 0);
}

static void params(struct fhir_store *store, struct vg_json_writer *w, unsigned type)
{
    const struct fhir_param_view *view;

    vg_json_name(w, "searchParam");
    vg_json_open_array(w);
    for (size_t i = 0; (view = fhir_param_at(type, i)); i++) {
        vg_json_open_object(w);
        vg_json_member_string(w, "name", vg_slice_of(view->param->name));
        if (is_own(fhir_type_name(type), view->param->name)) {
            char url[512];

            (void)snprintf(url, sizeof(url), "%.*s/SearchParameter/%s-%s", VG_FMT(store->base_url),
                           fhir_type_name(type), view->param->name);
            vg_json_member_string(w, "definition", vg_slice_of(url));
        }
        vg_json_member_string(w, "type", vg_slice_of(kind_of(view->param)));
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    bool is_open = false;

    for (size_t i = 0; (view = fhir_param_at(type, i)); i++) {
        char name[128];

        if (view->param->kind != FHIR_REFERENCE)
            continue;
        if (!is_open) {
            vg_json_name(w, "searchInclude");
            vg_json_open_array(w);
        }
        is_open = true;
        (void)snprintf(name, sizeof(name), "%s:%s", fhir_type_name(type), view->param->name);
        vg_json_put_string(w, vg_slice_of(name));
    }
    if (is_open)
        vg_json_close_array(w);
}

static void resource(struct fhir_store *store, struct vg_json_writer *w, unsigned type)
{
    static const char *const interactions[] = {
        "read", "vread", "update", "delete", "create", "search-type", "history-instance", NULL};

    vg_json_open_object(w);
    vg_json_member_string(w, "type", vg_slice_of(fhir_type_name(type)));
    codes(w, "interaction", interactions);
    vg_json_member_string(w, "versioning", VG_SLICE("versioned-update"));
    vg_json_member_bool(w, "readHistory", true);
    vg_json_member_bool(w, "updateCreate", true);
    vg_json_member_bool(w, "conditionalCreate", true);
    vg_json_member_string(w, "conditionalRead", VG_SLICE("not-match"));
    vg_json_member_bool(w, "conditionalUpdate", true);
    vg_json_member_string(w, "conditionalDelete", VG_SLICE("not-supported"));
    vg_json_name(w, "referencePolicy");
    vg_json_open_array(w);
    vg_json_put_string(w, VG_SLICE("literal"));
    vg_json_close_array(w);
    params(store, w, type);
    if (strcmp(fhir_type_name(type), "Observation") == 0) {
        vg_json_name(w, "operation");
        vg_json_open_array(w);
        vg_json_open_object(w);
        vg_json_member_string(w, "name", VG_SLICE("lastn"));
        vg_json_member_string(
            w, "definition", VG_SLICE("http://hl7.org/fhir/OperationDefinition/Observation-lastn"));
        vg_json_close_object(w);
        vg_json_close_array(w);
    }
    vg_json_close_object(w);
}

void fhir_capability_write(struct fhir_store *store, struct vg_buf *out)
{
    static const char *const interactions[] = {"transaction", "batch", NULL};
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("CapabilityStatement"));
    vg_json_member_string(&w, "status", VG_SLICE("active"));
    vg_json_member_string(&w, "date", VG_SLICE("2026-01-01"));
    vg_json_member_string(&w, "kind", VG_SLICE("instance"));
    vg_json_name(&w, "software");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "name", VG_SLICE("Vigil"));
    vg_json_member_string(&w, "version", VG_SLICE(VIGIL_VERSION));
    vg_json_close_object(&w);
    vg_json_name(&w, "implementation");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "description", VG_SLICE("Vigil's embedded FHIR service"));
    vg_json_member_string(&w, "url", store->base_url);
    vg_json_close_object(&w);
    vg_json_member_string(&w, "fhirVersion", VG_SLICE("4.0.1"));
    vg_json_name(&w, "format");
    vg_json_open_array(&w);
    vg_json_put_string(&w, VG_SLICE("application/fhir+json"));
    vg_json_put_string(&w, VG_SLICE("json"));
    vg_json_close_array(&w);
    vg_json_name(&w, "rest");
    vg_json_open_array(&w);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "mode", VG_SLICE("server"));
    vg_json_member_string(
        &w, "documentation",
        VG_SLICE(
            "Dates without a zone are read as UTC. SampledData is not searched by value-quantity. "
            "The default order of Observation and RiskAssessment is newest first by date, of "
            "others by _lastUpdated. References are not checked for existence."));
    vg_json_name(&w, "resource");
    vg_json_open_array(&w);
    for (unsigned type = 1; type <= fhir_type_count(); type++)
        resource(store, &w, type);
    vg_json_close_array(&w);
    codes(&w, "interaction", interactions);
    vg_json_close_object(&w);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}
