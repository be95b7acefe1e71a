/* search_params.c -- which places of a resource are indexed, and under which names they are asked.
 *
 * One table. A row is a search parameter: its type, name, kind and the path(s) it looks at. From it
 * follow the index rows that are written, the searches that are understood, and what /metadata
 * says. A path is indexed once, however many parameters look at it; its key on disk is a hash of
 * (type, path, kind), so rows may be added anywhere. When the set of paths changes, the fingerprint
 * changes and the engine rebuilds the index at the next start.
 *
 * Paths: members joined by dots, arrays are entered, "x[y]" stands for the family of a choice,
 * '|' parts alternatives, '$' joins the two halves of a composite.
 *
 * Roles: `patient`, `code`, `component-code` and `date` of a type are its timeline: the clustered
 * table that answers "newest of this patient and code" with one range read.
 *
 * Flag-status, Flag-category, Flag-code and DetectedIssue-status are ours: R4 has none.
 */
#include "fhir/fhir_int.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#define PATHS_MAX 400
#define PARAMS_MAX 400

static const struct fhir_param params[] = {
    {"AuditEvent", "agent", FHIR_REFERENCE, "agent.who", NULL, false},
    {"AuditEvent", "date", FHIR_DATE, "recorded", NULL, false},
    {"AuditEvent", "entity", FHIR_REFERENCE, "entity.what", NULL, false},
    {"AuditEvent", "outcome", FHIR_TOKEN, "outcome", NULL, false},
    {"AuditEvent", "type", FHIR_TOKEN, "type", NULL, false},

    {"CareTeam", "category", FHIR_TOKEN, "category", NULL, false},
    {"CareTeam", "date", FHIR_DATE, "period", NULL, false},
    {"CareTeam", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"CareTeam", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"CareTeam", "participant", FHIR_REFERENCE, "participant.member", NULL, false},
    {"CareTeam", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"CareTeam", "status", FHIR_TOKEN, "status", NULL, false},
    {"CareTeam", "subject", FHIR_REFERENCE, "subject", "Patient,Group", false},

    {"Communication", "based-on", FHIR_REFERENCE, "basedOn", NULL, false},
    {"Communication", "category", FHIR_TOKEN, "category", NULL, false},
    {"Communication", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"Communication", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Communication", "medium", FHIR_TOKEN, "medium", NULL, false},
    {"Communication", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"Communication", "received", FHIR_DATE, "received", NULL, false},
    {"Communication", "recipient", FHIR_REFERENCE, "recipient", NULL, false},
    {"Communication", "sender", FHIR_REFERENCE, "sender", NULL, false},
    {"Communication", "sent", FHIR_DATE, "sent", NULL, false},
    {"Communication", "status", FHIR_TOKEN, "status", NULL, false},
    {"Communication", "subject", FHIR_REFERENCE, "subject", "Patient,Group", false},

    {"Condition", "category", FHIR_TOKEN, "category", NULL, false},
    {"Condition", "clinical-status", FHIR_TOKEN, "clinicalStatus", NULL, false},
    {"Condition", "code", FHIR_TOKEN, "code", NULL, false},
    {"Condition", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"Condition", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Condition", "onset-date", FHIR_DATE, "onset[x]", NULL, false},
    {"Condition", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"Condition", "recorded-date", FHIR_DATE, "recordedDate", NULL, false},
    {"Condition", "subject", FHIR_REFERENCE, "subject", "Patient,Group", false},
    {"Condition", "verification-status", FHIR_TOKEN, "verificationStatus", NULL, false},

    {"DetectedIssue", "author", FHIR_REFERENCE, "author", "Device,Practitioner", false},
    {"DetectedIssue", "code", FHIR_TOKEN, "code", NULL, false},
    {"DetectedIssue", "identified", FHIR_DATE, "identified[x]", NULL, false},
    {"DetectedIssue", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"DetectedIssue", "implicated", FHIR_REFERENCE, "implicated", NULL, false},
    {"DetectedIssue", "patient", FHIR_REFERENCE, "patient", "Patient", false},
    {"DetectedIssue", "status", FHIR_TOKEN, "status", NULL, false},

    {"Device", "device-name", FHIR_STRING, "deviceName.name", NULL, false},
    {"Device", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Device", "location", FHIR_REFERENCE, "location", "Location", false},
    {"Device", "manufacturer", FHIR_STRING, "manufacturer", NULL, false},
    {"Device", "model", FHIR_STRING, "modelNumber", NULL, false},
    {"Device", "organization", FHIR_REFERENCE, "owner", "Organization", false},
    {"Device", "patient", FHIR_REFERENCE, "patient", "Patient", false},
    {"Device", "status", FHIR_TOKEN, "status", NULL, false},
    {"Device", "type", FHIR_TOKEN, "type", NULL, false},

    {"DeviceMetric", "category", FHIR_TOKEN, "category", NULL, false},
    {"DeviceMetric", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"DeviceMetric", "parent", FHIR_REFERENCE, "parent", "Device", false},
    {"DeviceMetric", "source", FHIR_REFERENCE, "source", "Device", false},
    {"DeviceMetric", "type", FHIR_TOKEN, "type", NULL, false},

    {"DeviceUseStatement", "device", FHIR_REFERENCE, "device", "Device", false},
    {"DeviceUseStatement", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"DeviceUseStatement", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"DeviceUseStatement", "subject", FHIR_REFERENCE, "subject", "Patient,Group", false},

    {"Encounter", "class", FHIR_TOKEN, "class", NULL, false},
    {"Encounter", "date", FHIR_DATE, "period", NULL, false},
    {"Encounter", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Encounter", "location", FHIR_REFERENCE, "location.location", "Location", false},
    {"Encounter", "part-of", FHIR_REFERENCE, "partOf", "Encounter", false},
    {"Encounter", "participant", FHIR_REFERENCE, "participant.individual", NULL, false},
    {"Encounter", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"Encounter", "service-provider", FHIR_REFERENCE, "serviceProvider", "Organization", false},
    {"Encounter", "status", FHIR_TOKEN, "status", NULL, false},
    {"Encounter", "subject", FHIR_REFERENCE, "subject", "Patient,Group", false},
    {"Encounter", "type", FHIR_TOKEN, "type", NULL, false},

    {"Flag", "author", FHIR_REFERENCE, "author", "Device,Organization,Patient,Practitioner", false},
    {"Flag", "category", FHIR_TOKEN, "category", NULL, false},
    {"Flag", "code", FHIR_TOKEN, "code", NULL, false},
    {"Flag", "date", FHIR_DATE, "period", NULL, false},
    {"Flag", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"Flag", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Flag", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"Flag", "status", FHIR_TOKEN, "status", NULL, false},
    {"Flag", "subject", FHIR_REFERENCE, "subject",
     "Patient,Location,Group,Organization,Practitioner,PlanDefinition,Medication,Procedure", false},

    {"Location", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Location", "name", FHIR_STRING, "name|alias", NULL, false},
    {"Location", "organization", FHIR_REFERENCE, "managingOrganization", "Organization", false},
    {"Location", "partof", FHIR_REFERENCE, "partOf", "Location", false},
    {"Location", "status", FHIR_TOKEN, "status", NULL, false},
    {"Location", "type", FHIR_TOKEN, "type", NULL, false},

    {"Observation", "based-on", FHIR_REFERENCE, "basedOn", NULL, false},
    {"Observation", "category", FHIR_TOKEN, "category", NULL, false},
    {"Observation", "code", FHIR_TOKEN, "code", NULL, false},
    {"Observation", "code-value-quantity", FHIR_COMPOSITE, "code$valueQuantity", NULL, false},
    {"Observation", "combo-code", FHIR_TOKEN, "code|component.code", NULL, false},
    {"Observation", "combo-code-value-quantity", FHIR_COMPOSITE,
     "code$valueQuantity|component.code$component.valueQuantity", NULL, false},
    {"Observation", "combo-value-quantity", FHIR_QUANTITY, "valueQuantity|component.valueQuantity",
     NULL, false},
    {"Observation", "component-code", FHIR_TOKEN, "component.code", NULL, false},
    {"Observation", "component-code-value-quantity", FHIR_COMPOSITE,
     "component.code$component.valueQuantity", NULL, false},
    {"Observation", "component-value-quantity", FHIR_QUANTITY, "component.valueQuantity", NULL,
     false},
    {"Observation", "data-absent-reason", FHIR_TOKEN, "dataAbsentReason", NULL, false},
    {"Observation", "date", FHIR_DATE, "effective[x]", NULL, false},
    {"Observation", "derived-from", FHIR_REFERENCE, "derivedFrom", NULL, false},
    {"Observation", "device", FHIR_REFERENCE, "device", "Device,DeviceMetric", false},
    {"Observation", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"Observation", "has-member", FHIR_REFERENCE, "hasMember", NULL, false},
    {"Observation", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Observation", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"Observation", "performer", FHIR_REFERENCE, "performer", NULL, false},
    {"Observation", "status", FHIR_TOKEN, "status", NULL, false},
    {"Observation", "subject", FHIR_REFERENCE, "subject", "Patient,Group,Device,Location", false},
    {"Observation", "value-concept", FHIR_TOKEN, "valueCodeableConcept", NULL, false},
    {"Observation", "value-quantity", FHIR_QUANTITY, "valueQuantity", NULL, false},

    {"Organization", "active", FHIR_TOKEN, "active", NULL, false},
    {"Organization", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Organization", "name", FHIR_STRING, "name|alias", NULL, false},
    {"Organization", "partof", FHIR_REFERENCE, "partOf", "Organization", false},
    {"Organization", "type", FHIR_TOKEN, "type", NULL, false},

    {"Patient", "active", FHIR_TOKEN, "active", NULL, false},
    {"Patient", "birthdate", FHIR_DATE, "birthDate", NULL, false},
    {"Patient", "family", FHIR_STRING, "name.family", NULL, false},
    {"Patient", "gender", FHIR_TOKEN, "gender", NULL, false},
    {"Patient", "general-practitioner", FHIR_REFERENCE, "generalPractitioner", NULL, false},
    {"Patient", "given", FHIR_STRING, "name.given", NULL, false},
    {"Patient", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Patient", "name", FHIR_STRING, "name", NULL, false},
    {"Patient", "organization", FHIR_REFERENCE, "managingOrganization", "Organization", false},

    {"Practitioner", "active", FHIR_TOKEN, "active", NULL, false},
    {"Practitioner", "family", FHIR_STRING, "name.family", NULL, false},
    {"Practitioner", "gender", FHIR_TOKEN, "gender", NULL, false},
    {"Practitioner", "given", FHIR_STRING, "name.given", NULL, false},
    {"Practitioner", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Practitioner", "name", FHIR_STRING, "name", NULL, false},

    {"PractitionerRole", "active", FHIR_TOKEN, "active", NULL, false},
    {"PractitionerRole", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"PractitionerRole", "location", FHIR_REFERENCE, "location", "Location", false},
    {"PractitionerRole", "organization", FHIR_REFERENCE, "organization", "Organization", false},
    {"PractitionerRole", "practitioner", FHIR_REFERENCE, "practitioner", "Practitioner", false},
    {"PractitionerRole", "role", FHIR_TOKEN, "code", NULL, false},

    {"Provenance", "agent", FHIR_REFERENCE, "agent.who", NULL, false},
    {"Provenance", "recorded", FHIR_DATE, "recorded", NULL, false},
    {"Provenance", "target", FHIR_REFERENCE, "target", NULL, true},

    {"RiskAssessment", "condition", FHIR_REFERENCE, "condition", "Condition", false},
    {"RiskAssessment", "date", FHIR_DATE, "occurrenceDateTime", NULL, false},
    {"RiskAssessment", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"RiskAssessment", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"RiskAssessment", "method", FHIR_TOKEN, "method", NULL, false},
    {"RiskAssessment", "patient", FHIR_REFERENCE, "subject", "Patient", false},
    {"RiskAssessment", "performer", FHIR_REFERENCE, "performer", NULL, false},
    {"RiskAssessment", "risk", FHIR_TOKEN, "prediction.qualitativeRisk", NULL, false},
    {"RiskAssessment", "subject", FHIR_REFERENCE, "subject", "Patient,Group", false},

    {"Task", "authored-on", FHIR_DATE, "authoredOn", NULL, false},
    {"Task", "business-status", FHIR_TOKEN, "businessStatus", NULL, false},
    {"Task", "code", FHIR_TOKEN, "code", NULL, false},
    {"Task", "encounter", FHIR_REFERENCE, "encounter", "Encounter", false},
    {"Task", "focus", FHIR_REFERENCE, "focus", NULL, true},
    {"Task", "identifier", FHIR_TOKEN, "identifier", NULL, true},
    {"Task", "intent", FHIR_TOKEN, "intent", NULL, false},
    {"Task", "modified", FHIR_DATE, "lastModified", NULL, false},
    {"Task", "owner", FHIR_REFERENCE, "owner", NULL, false},
    {"Task", "patient", FHIR_REFERENCE, "for", "Patient", false},
    {"Task", "priority", FHIR_TOKEN, "priority", NULL, false},
    {"Task", "requester", FHIR_REFERENCE, "requester", NULL, false},
    {"Task", "status", FHIR_TOKEN, "status", NULL, false},
    {"Task", "subject", FHIR_REFERENCE, "for", NULL, false},
};
#define PARAM_COUNT (sizeof(params) / sizeof(params[0]))
_Static_assert(PARAM_COUNT < PARAMS_MAX, "room for the views");

/* Known for every type, answered from columns of the resource. */
static const struct fhir_param everywhere[] = {
    {"", "_id", FHIR_SPECIAL, "id", NULL, true},
    {"", "_lastUpdated", FHIR_SPECIAL, "meta.lastUpdated", NULL, false},
};
#define EVERYWHERE_COUNT (sizeof(everywhere) / sizeof(everywhere[0]))

/* The date by which a type's timeline is ordered has no common name. */
static const struct {
    const char *type, *path;
} timeline_dates[] = {
    {"Communication", "sent"},
    {"Condition", "recordedDate"},
    {"DetectedIssue", "identified[x]"},
    {"Encounter", "period"},
    {"Flag", "period"},
    {"Observation", "effective[x]"},
    {"RiskAssessment", "occurrenceDateTime"},
    {"Task", "authoredOn"},
};

/* Made once from the tables above, then only read. */
static struct fhir_path paths[PATHS_MAX];
static size_t path_count;
static struct fhir_param_view views[PARAMS_MAX + EVERYWHERE_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static enum fhir_role role_of(const struct fhir_param *param, struct vg_slice path)
{
    if (strcmp(param->name, "patient") == 0)
        return FHIR_ROLE_PATIENT;
    if (param->kind == FHIR_TOKEN && vg_slice_is(path, "component.code"))
        return FHIR_ROLE_COMPONENT;
    if (strcmp(param->name, "code") == 0)
        return FHIR_ROLE_CODE;
    for (size_t i = 0; i < sizeof(timeline_dates) / sizeof(timeline_dates[0]); i++)
        if (strcmp(timeline_dates[i].type, param->type) == 0 &&
            vg_slice_is(path, timeline_dates[i].path))
            return FHIR_ROLE_DATE;
    return FHIR_ROLE_NONE;
}

static struct fhir_path *path_make(const struct fhir_param *param, enum fhir_kind kind,
                                   struct vg_slice text)
{
    unsigned type = fhir_type_find(vg_slice_of(param->type));
    enum fhir_role role = role_of(param, text);
    char full[128];
    int len;

    for (size_t i = 0; i < path_count; i++) {
        if (paths[i].type == type && paths[i].kind == kind && vg_slice_is(text, paths[i].text)) {
            if (role != FHIR_ROLE_NONE)
                paths[i].role = role;
            return &paths[i];
        }
    }
    assert(path_count < PATHS_MAX && type != 0);
    struct fhir_path *path = &paths[path_count++];

    *path = (struct fhir_path){.type = type, .kind = kind, .role = role};
    (void)snprintf(path->text, sizeof(path->text), "%.*s", VG_FMT(text));
    len = snprintf(full, sizeof(full), "%s.%s#%d", param->type, path->text, (int)kind);
    path->key = (uint32_t)vg_slice_hash((struct vg_slice){full, (size_t)len}) & 0x7fffffff;
    for (size_t i = 0; i + 1 < path_count; i++)
        assert(paths[i].key != path->key);
    return path;
}

static void make_all(void)
{
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        struct fhir_param_view *view = &views[i];
        struct vg_slice rest = vg_slice_of(params[i].path);

        view->param = &params[i];
        while (rest.len) {
            struct vg_slice value = vg_slice_cut(&rest, '|');
            struct vg_slice first = vg_slice_cut(&value, '$');
            size_t at = view->path_count++;

            assert(at < FHIR_PARAM_PATHS_MAX);
            if (params[i].kind == FHIR_COMPOSITE) {
                view->paths[at] = path_make(&params[i], FHIR_TOKEN, first);
                view->values[at] = path_make(&params[i], FHIR_QUANTITY, value);
            } else {
                view->paths[at] = path_make(&params[i], params[i].kind, first);
            }
        }
    }
    for (size_t i = 0; i < EVERYWHERE_COUNT; i++)
        views[PARAM_COUNT + i].param = &everywhere[i];
}

static void ready(void)
{
    (void)pthread_once(&once, make_all);
}

const struct fhir_param_view *fhir_param_at(unsigned type, size_t index)
{
    const char *name = fhir_type_name(type);

    ready();
    for (size_t i = 0; i < PARAM_COUNT + EVERYWHERE_COUNT; i++)
        if ((i >= PARAM_COUNT || strcmp(views[i].param->type, name) == 0) && index-- == 0)
            return &views[i];
    return NULL;
}

const struct fhir_param_view *fhir_param_find(unsigned type, struct vg_slice name)
{
    const char *type_name = fhir_type_name(type);

    ready();
    for (size_t i = 0; i < PARAM_COUNT + EVERYWHERE_COUNT; i++)
        if ((i >= PARAM_COUNT || strcmp(views[i].param->type, type_name) == 0) &&
            vg_slice_is(name, views[i].param->name))
            return &views[i];
    return NULL;
}

const struct fhir_path *fhir_role_path(unsigned type, enum fhir_role role)
{
    ready();
    for (size_t i = 0; i < path_count; i++)
        if (paths[i].type == type && paths[i].role == role)
            return &paths[i];
    return NULL;
}

int64_t fhir_params_fingerprint(void)
{
    uint64_t sum = 1; /* raise it when the way of indexing changes */

    ready();
    for (size_t i = 0; i < path_count; i++)
        sum = sum * 1099511628211u + paths[i].key * 31u + (uint64_t)paths[i].role;
    return (int64_t)(sum >> 1);
}

bool fhir_list_has(const char *list, struct vg_slice name)
{
    struct vg_slice rest = vg_slice_of(list);

    while (rest.len)
        if (vg_slice_eq(vg_slice_cut(&rest, ','), name))
            return true;
    return false;
}

/* ---- walking ---- */

struct walk {
    void (*each)(const struct vg_json *value, uint32_t part, void *ctx);
    void *ctx;
};

static bool is_named(const struct vg_json *member, struct vg_slice name)
{
    struct vg_slice stem = {name.ptr, name.len > 3 ? name.len - 3 : 0};

    if (name.len > 3 && memcmp(name.ptr + stem.len, "[x]", 3) == 0)
        return member->name.len > stem.len && vg_slice_starts(member->name, stem) &&
               member->name.ptr[stem.len] >= 'A' && member->name.ptr[stem.len] <= 'Z';
    return vg_slice_eq(member->name, name);
}

/* `part` is counted at the first array on the way. Recursion is as deep as the path is long. */
static void walk(const struct walk *to, const struct vg_json *node, struct vg_slice path,
                 uint32_t part)
{
    struct vg_slice name = vg_slice_cut(&path, '.');

    if (!vg_json_is(node, VG_JSON_OBJECT))
        return;
    for (const struct vg_json *member = node->child; member; member = member->next) {
        bool is_array = member->type == VG_JSON_ARRAY;
        uint32_t index = 0;

        if (!is_named(member, name))
            continue;
        for (const struct vg_json *value = is_array ? member->child : member; value;
             value = is_array ? value->next : NULL) {
            uint32_t here = part ? part : is_array ? ++index : 0;

            if (path.len)
                walk(to, value, path, here);
            else
                to->each(value, here, to->ctx);
        }
    }
}

void fhir_path_walk(const struct vg_json *root, const char *path,
                    void (*each)(const struct vg_json *value, uint32_t part, void *ctx), void *ctx)
{
    walk(&(struct walk){each, ctx}, root, vg_slice_of(path), 0);
}

/* ---- values ---- */

struct vg_slice fhir_reference_plain(struct vg_slice reference, struct vg_slice base_url)
{
    struct vg_slice rest = reference;

    if (base_url.len && vg_slice_starts(rest, base_url) && rest.len > base_url.len &&
        rest.ptr[base_url.len] == '/')
        rest = vg_slice_from(rest, base_url.len + 1);
    struct vg_slice tail = rest;
    struct vg_slice type = vg_slice_cut(&tail, '/'), id = vg_slice_cut(&tail, '/');

    if (fhir_type_find(type) && fhir_id_is_ok(id) &&
        (tail.len == 0 || vg_slice_starts(tail, VG_SLICE("_history/"))))
        return (struct vg_slice){type.ptr, type.len + 1 + id.len};
    return reference;
}

bool fhir_reference_cut(struct vg_slice reference, unsigned *ret_type, struct vg_slice *ret_id)
{
    struct vg_slice id = reference;
    struct vg_slice name = vg_slice_cut(&id, '/');
    unsigned type = fhir_type_find(name);

    if (type == 0 || !fhir_id_is_ok(id))
        return false;
    *ret_type = type;
    *ret_id = id;
    return true;
}

struct vg_slice fhir_fold(struct vg_arena *arena, struct vg_slice text)
{
    /* U+00C0 to U+017F, the base letter of each; a blank keeps the character. */
    static const char base[] = "aaaaaaaceeeeiiiidnooooo ouuuuytsaaaaaaaceeeeiiiidnooooo ouuuuyty"
                               "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll"
                               "lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
    char *out = vg_arena_alloc(arena, text.len + 1);
    size_t len = 0;

    _Static_assert(sizeof(base) - 1 == 0x180 - 0xc0, "one letter each");
    if (!out)
        return (struct vg_slice){0};
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        unsigned next = i + 1 < text.len ? (unsigned char)text.ptr[i + 1] : 0;

        if (c >= 'A' && c <= 'Z') {
            out[len++] = (char)(c + 32);
        } else if ((c == 0xcc || (c == 0xcd && next < 0xb0)) && (next & 0xc0) == 0x80) {
            i++; /* a combining mark */
        } else if (c >= 0xc3 && c <= 0xc5 && (next & 0xc0) == 0x80) {
            char letter = base[((c & 0x1fu) << 6 | (next & 0x3f)) - 0xc0];

            if (letter == ' ') {
                out[len++] = (char)c;
                out[len++] = (char)next;
            } else {
                out[len++] = letter;
            }
            i++;
        } else {
            out[len++] = (char)c;
        }
    }
    return (struct vg_slice){out, len};
}

/* ---- indexing ---- */

struct indexing {
    struct vg_arena *arena;
    struct vg_slice base_url;
    const struct fhir_path *path;
    struct fhir_index *index;
    bool is_out_of_memory;
};

static struct fhir_index_row *row_add(struct indexing *in, bool is_code)
{
    struct fhir_index_row **rows = is_code ? &in->index->codes : &in->index->rows;
    size_t *count = is_code ? &in->index->code_count : &in->index->count;
    size_t *capacity = is_code ? &in->index->code_capacity : &in->index->capacity;
    struct fhir_index_row *row;

    if (*count == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 8;
        struct fhir_index_row *grown = vg_arena_alloc(in->arena, more * sizeof(*grown));

        if (!grown) {
            in->is_out_of_memory = true;
            return NULL;
        }
        if (*count)
            memcpy(grown, *rows, *count * sizeof(*grown));
        *rows = grown;
        *capacity = more;
    }
    row = &(*rows)[(*count)++];
    *row = (struct fhir_index_row){.kind = in->path->kind, .path = in->path};
    return row;
}

static void index_code(struct indexing *in, uint32_t part, struct vg_slice system,
                       struct vg_slice code, bool has_any_system)
{
    bool is_role = in->path->role == FHIR_ROLE_CODE || in->path->role == FHIR_ROLE_COMPONENT;
    struct fhir_index_row *row;

    if (code.len == 0 || !(row = row_add(in, is_role)))
        return;
    row->part = part;
    row->text = code;
    row->system = system;
    row->has_any_system = has_any_system;
}

static void index_token(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    const struct vg_json *coding = vg_json_get(value, "coding");
    struct vg_slice code;

    switch (value->type) {
    case VG_JSON_STRING:
        index_code(in, part, (struct vg_slice){0}, value->text, true);
        break;
    case VG_JSON_TRUE:
    case VG_JSON_FALSE:
        index_code(in, part, (struct vg_slice){0}, value->source, true);
        break;
    case VG_JSON_OBJECT:
        if (vg_json_is(coding, VG_JSON_ARRAY)) {
            for (const struct vg_json *one = coding->child; one; one = one->next)
                index_code(in, part, vg_json_get_text(one, "system"), vg_json_get_text(one, "code"),
                           false);
            break;
        }
        code = vg_json_get_text(value, "code"); /* Coding; else Identifier, ContactPoint */
        index_code(in, part, vg_json_get_text(value, "system"),
                   code.len ? code : vg_json_get_text(value, "value"), false);
        break;
    case VG_JSON_NULL:
    case VG_JSON_NUMBER:
    case VG_JSON_ARRAY:
        break;
    }
}

static void index_reference(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    struct vg_slice text = vg_json_get_text(value, "reference");
    struct fhir_index_row *row;

    if (text.len == 0 || text.ptr[0] == '#')
        return;
    text = fhir_reference_plain(text, in->base_url);
    if (in->path->role == FHIR_ROLE_PATIENT && vg_slice_starts(text, VG_SLICE("Patient/"))) {
        in->index->patient = text;
        return;
    }
    row = row_add(in, false);
    if (row) {
        row->part = part;
        row->text = text;
    }
}

static void widen(struct fhir_span *span, struct fhir_span more)
{
    if (span->low_us == FHIR_NO_DATE) {
        *span = more;
        return;
    }
    if (more.low_us < span->low_us)
        span->low_us = more.low_us;
    if (more.high_us > span->high_us)
        span->high_us = more.high_us;
}

/* dateTime, instant, date; Period; Timing by its outer bounds. */
static struct fhir_span span_of(const struct vg_json *value)
{
    struct fhir_span none = {FHIR_NO_DATE, FHIR_NO_DATE}, span = none, one;
    const struct vg_json *events = vg_json_get(value, "event");

    if (vg_json_is(value, VG_JSON_STRING))
        return fhir_time_parse(value->text, &span, NULL, NULL) ? span : none;
    if (vg_json_is(events, VG_JSON_ARRAY)) {
        for (const struct vg_json *event = events->child; event; event = event->next)
            if (fhir_time_parse(vg_json_text(event), &one, NULL, NULL))
                widen(&span, one);
        return span;
    }
    if (vg_json_get(value, "repeat"))
        value = vg_json_get(vg_json_get(value, "repeat"), "boundsPeriod");
    struct vg_slice start = vg_json_get_text(value, "start"), end = vg_json_get_text(value, "end");

    if (start.len == 0 && end.len == 0)
        return none;
    span = (struct fhir_span){FHIR_OPEN_START, FHIR_OPEN_END};
    if (fhir_time_parse(start, &one, NULL, NULL))
        span.low_us = one.low_us;
    if (fhir_time_parse(end, &one, NULL, NULL))
        span.high_us = one.high_us;
    return span;
}

static void index_date(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    struct fhir_span span = span_of(value);
    struct fhir_index_row *row;

    if (span.low_us == FHIR_NO_DATE)
        return;
    if (in->path->role == FHIR_ROLE_DATE) {
        widen(&in->index->span, span);
        return;
    }
    row = row_add(in, false);
    if (row) {
        row->part = part;
        row->span = span;
    }
}

/* A string, or every text of a HumanName or Address. */
static void index_string(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    if (value->type == VG_JSON_OBJECT || value->type == VG_JSON_ARRAY) {
        for (const struct vg_json *child = value->child; child; child = child->next)
            if (!vg_slice_is(child->name, "use") && !vg_slice_is(child->name, "period") &&
                !vg_slice_is(child->name, "extension"))
                index_string(in, child, part);
        return;
    }
    struct fhir_index_row *row = vg_json_text(value).len ? row_add(in, false) : NULL;

    if (row) {
        row->part = part;
        row->text = fhir_fold(in->arena, value->text);
        row->system = value->text;
        in->is_out_of_memory |= !row->text.ptr;
    }
}

/* The number as it stands in a double: exact to 15 digits, which is what a comparison needs; the
 * text itself is never touched. SampledData is left out. */
static void index_quantity(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    double number;
    struct fhir_index_row *row;

    if (!vg_json_to_double(vg_json_get(value, "value"), &number) || !(row = row_add(in, false)))
        return;
    row->part = part;
    row->value = number;
    row->system = vg_json_get_text(value, "system");
    row->text = vg_json_get_text(value, "code");
    row->unit = vg_json_get_text(value, "unit");
}

static void index_one(const struct vg_json *value, uint32_t part, void *ctx)
{
    struct indexing *in = ctx;

    switch (in->path->kind) {
    case FHIR_TOKEN:
        index_token(in, value, part);
        break;
    case FHIR_REFERENCE:
        index_reference(in, value, part);
        break;
    case FHIR_DATE:
        index_date(in, value, part);
        break;
    case FHIR_STRING:
        index_string(in, value, part);
        break;
    case FHIR_QUANTITY:
        index_quantity(in, value, part);
        break;
    case FHIR_COMPOSITE:
    case FHIR_SPECIAL:
        break; /* made of others; columns */
    }
}

enum vg_status fhir_index_make(struct vg_arena *arena, unsigned type, const struct vg_json *root,
                               struct vg_slice base_url, struct fhir_index *ret_index,
                               struct vg_err *err)
{
    struct fhir_index index = {.span = {FHIR_NO_DATE, FHIR_NO_DATE}};
    struct indexing in = {.arena = arena, .base_url = base_url, .index = &index};

    ready();
    for (size_t i = 0; i < path_count; i++) {
        if (paths[i].type != type)
            continue;
        in.path = &paths[i];
        fhir_path_walk(root, paths[i].text, index_one, &in);
    }
    if (in.is_out_of_memory)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the index of one resource");
    *ret_index = index;
    return VG_OK;
}
