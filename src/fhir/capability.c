/* capability.c -- GET /fhir/metadata: what this server does, made from the tables that do it: the
 * router's for interactions and operations, the search parameters' for searches. */
#include "fhir/rest_int.h"

#include <stdio.h>

static const char *const kinds[] = {
    [FHIR_TOKEN] = "token",       [FHIR_REFERENCE] = "reference",
    [FHIR_DATE] = "date",         [FHIR_STRING] = "string",
    [FHIR_QUANTITY] = "quantity", [FHIR_COMPOSITE] = "composite",
    [FHIR_NUMBER] = "number",     [FHIR_URI] = "uri",
};

static const char *kind_of(const struct fhir_param *param)
{
    if (param->kind == FHIR_SPECIAL)
        return strcmp(param->name, "_id") == 0 ? "token" : "date";
    return kinds[param->kind];
}

/* The routes of one type (0: of the whole system) that have an interaction, each named once. */
static void interactions(struct vg_json_writer *w, unsigned type)
{
    vg_json_name(w, "interaction");
    vg_json_open_array(w);
    for (size_t i = 0; i < fhir_route_count; i++) {
        const char *name = fhir_routes[i].interaction;
        bool is_system = fhir_routes[i].path[0] == '\0', is_known = false;

        for (size_t n = 0; n < i && name; n++)
            is_known |= fhir_routes[n].interaction && strcmp(fhir_routes[n].interaction, name) == 0;
        if (!name || is_known || is_system != (type == 0) || !fhir_policy_allows(type, name))
            continue;
        vg_json_open_object(w);
        vg_json_member_string(w, "code", vg_slice_of(name));
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
}

/* Those whose address begins with the type; "T" is every type. */
static void operations(struct fhir_store *store, struct vg_json_writer *w, unsigned type)
{
    bool is_open = false;

    for (size_t i = 0; i < fhir_route_count; i++) {
        struct vg_slice path = vg_slice_of(fhir_routes[i].path);
        struct vg_slice first = vg_slice_cut(&path, '/');
        const char *name = fhir_routes[i].operation;
        char url[600];

        if (!name || (strcmp(name, "import") == 0 && !store->imports) ||
            (strcmp(fhir_type_name(type), "Subscription") == 0 && !store->hooks) ||
            (type ? !vg_slice_is(first, "T") && !vg_slice_is(first, fhir_type_name(type))
                  : first.len == 0 || first.ptr[0] != '$'))
            continue;
        if (!is_open) {
            vg_json_name(w, "operation");
            vg_json_open_array(w);
        }
        is_open = true;
        if (strcmp(name, "import") == 0)
            (void)snprintf(url, sizeof(url), "%.*s/OperationDefinition/import",
                           VG_FMT(store->base_url));
        else if (vg_slice_is(first, "Subscription"))
            (void)snprintf(url, sizeof(url),
                           "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/"
                           "backport-subscription-%s",
                           name);
        else
            (void)snprintf(url, sizeof(url), "http://hl7.org/fhir/OperationDefinition/%s-%s",
                           vg_slice_is(first, "T") ? "Resource" : fhir_type_name(type), name);
        vg_json_open_object(w);
        vg_json_member_string(w, "name", vg_slice_of(name));
        vg_json_member_string(w, "definition", vg_slice_of(url));
        vg_json_close_object(w);
    }
    if (is_open)
        vg_json_close_array(w);
}

/* What may point at this type by name; parameters that lead anywhere are not repeated 146 times,
 * but for Provenance:target, which is what one asks for. */
static void revincludes(struct vg_json_writer *w, unsigned type)
{
    const struct fhir_param_view *view;
    struct vg_slice own = vg_slice_of(fhir_type_name(type));

    vg_json_name(w, "searchRevInclude");
    vg_json_open_array(w);
    for (unsigned other = 1; other <= fhir_type_count(); other++) {
        for (size_t i = 0; (view = fhir_param_at(other, i)); i++) {
            const struct fhir_param *param = view->param;
            bool is_provenance =
                strcmp(param->type, "Provenance") == 0 && strcmp(param->name, "target") == 0;
            char name[128];

            if (param->kind != FHIR_REFERENCE ||
                !(param->target ? fhir_list_has(param->target, own) : is_provenance))
                continue;
            (void)snprintf(name, sizeof(name), "%s:%s", param->type, param->name);
            vg_json_put_string(w, vg_slice_of(name));
        }
    }
    vg_json_close_array(w);
}

static void params(struct fhir_store *store, struct vg_json_writer *w, unsigned type)
{
    const struct fhir_param_view *view;

    vg_json_name(w, "searchParam");
    vg_json_open_array(w);
    for (size_t i = 0; (view = fhir_param_at(type, i)); i++) {
        vg_json_open_object(w);
        vg_json_member_string(w, "name", vg_slice_of(view->param->name));
        if (*view->param->definition) {
            vg_json_member_string(w, "definition", vg_slice_of(view->param->definition));
        } else { /* ours, where R4 has none: named by a canonical URL below our own base */
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
            vg_json_put_string(w, VG_SLICE("*"));
        }
        is_open = true;
        (void)snprintf(name, sizeof(name), "%s:%s", fhir_type_name(type), view->param->name);
        vg_json_put_string(w, vg_slice_of(name));
    }
    if (is_open)
        vg_json_close_array(w);
    revincludes(w, type);
}

static void resource(struct fhir_store *store, struct vg_json_writer *w, unsigned type)
{
    bool is_updated = fhir_policy_allows(type, "update");

    vg_json_open_object(w);
    vg_json_member_string(w, "type", vg_slice_of(fhir_type_name(type)));
    interactions(w, type);
    vg_json_member_string(w, "versioning", VG_SLICE("versioned-update"));
    vg_json_member_bool(w, "readHistory", true);
    vg_json_member_bool(w, "updateCreate", is_updated);
    vg_json_member_bool(w, "conditionalCreate", true);
    vg_json_member_string(w, "conditionalRead", VG_SLICE("full-support"));
    vg_json_member_bool(w, "conditionalUpdate", is_updated);
    vg_json_member_string(w, "conditionalDelete",
                          is_updated ? VG_SLICE("single") : VG_SLICE("not-supported"));
    vg_json_name(w, "referencePolicy");
    vg_json_open_array(w);
    vg_json_put_string(w, VG_SLICE("literal"));
    vg_json_close_array(w);
    params(store, w, type);
    operations(store, w, type);
    vg_json_close_object(w);
}

static void security(struct fhir_store *store, struct vg_json_writer *w)
{
    char url[600];

    if (!store->side)
        return;
    (void)snprintf(url, sizeof(url), "%.*s/auth/token", VG_FMT(store->base_url));
    vg_json_name(w, "security");
    vg_json_open_object(w);
    vg_json_member_bool(w, "cors", *store->cors_origins != '\0');
    vg_json_name(w, "extension");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_name(w, "extension");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(w, "url", VG_SLICE("token"));
    vg_json_member_string(w, "valueUri", vg_slice_of(url));
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_member_string(
        w, "url",
        VG_SLICE("http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"));
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_name(w, "service");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_name(w, "coding");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(
        w, "system", VG_SLICE("http://terminology.hl7.org/CodeSystem/restful-security-service"));
    vg_json_member_string(w, "code", VG_SLICE("SMART-on-FHIR"));
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
}

void fhir_capability_write(struct fhir_store *store, struct vg_buf *out)
{
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
    vg_json_name(&w, "patchFormat");
    vg_json_open_array(&w);
    vg_json_put_string(&w, VG_SLICE("application/json-patch+json"));
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
    security(store, &w);
    vg_json_name(&w, "resource");
    vg_json_open_array(&w);
    for (unsigned type = 1; type <= fhir_type_count(); type++)
        resource(store, &w, type);
    vg_json_close_array(&w);
    interactions(&w, 0);
    operations(store, &w, 0);
    vg_json_close_object(&w);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}
