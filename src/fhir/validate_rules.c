/* validate_rules.c -- R4's invariants, those that device and clinical data break.
 *
 * A row names a shape, the invariant's key, what it says, and a predicate over the object. Adding
 * one is adding a row. Not the whole of R4's list: definitional resources (StructureDefinition and
 * its like) are checked by structure alone.
 */
#include "base/map.h"
#include "fhir/validate_int.h"

#include <pthread.h>
#include <stdio.h>

#define COMPARED_MAX 1000000u

typedef bool rule_holds(const struct fhir_checking *in, const struct vg_json *node);

static const struct vg_json *get(const struct vg_json *node, const char *name)
{
    return vg_json_get(node, name);
}

static struct vg_slice text_of(const struct vg_json *node, const char *name)
{
    return vg_json_get_text(node, name);
}

/* A member of the choice: "value" finds valueQuantity. */
static const struct vg_json *choice(const struct vg_json *node, const char *stem)
{
    size_t len = strlen(stem);

    for (const struct vg_json *child = node->child; child; child = child->next)
        if (child->name.len > len && memcmp(child->name.ptr, stem, len) == 0 &&
            child->name.ptr[len] >= 'A' && child->name.ptr[len] <= 'Z')
            return child;
    return NULL;
}

static const struct vg_json *first_of(const struct vg_json *array)
{
    return vg_json_is(array, VG_JSON_ARRAY) ? array->child : NULL;
}

static bool has_coding(const struct vg_json *concept, const char *system, const char *codes)
{
    for (const struct vg_json *one = first_of(get(concept, "coding")); one; one = one->next)
        if (vg_slice_is(text_of(one, "system"), system) &&
            fhir_list_has(codes, text_of(one, "code")))
            return true;
    return false;
}

/* ---- datatypes ---- */

static bool per_1(const struct fhir_checking *in, const struct vg_json *node)
{
    struct fhir_span from, to;

    (void)in;
    return !fhir_time_parse(text_of(node, "start"), &from, NULL, NULL) ||
           !fhir_time_parse(text_of(node, "end"), &to, NULL, NULL) || from.low_us < to.high_us;
}

static bool qty_3(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "code") || get(node, "system");
}

static bool rng_2(const struct fhir_checking *in, const struct vg_json *node)
{
    const struct vg_json *low = get(node, "low"), *high = get(node, "high");
    double from, to;

    (void)in;
    return !vg_json_to_double(get(low, "value"), &from) ||
           !vg_json_to_double(get(high, "value"), &to) ||
           !vg_slice_eq(text_of(low, "code"), text_of(high, "code")) || from <= to;
}

static bool rat_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "numerator") && get(node, "denominator")
               ? true
               : !get(node, "numerator") && !get(node, "denominator") && get(node, "extension");
}

static bool att_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "data") || get(node, "contentType");
}

static bool cpt_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "value") || get(node, "system");
}

static bool ext_1(const struct fhir_checking *in, const struct vg_json *node)
{
    bool has_value = choice(node, "value") != NULL;

    (void)in;
    if (!has_value) /* a value of which only "_valueX" is there */
        for (const struct vg_json *child = node->child; child; child = child->next)
            has_value |= vg_slice_starts(child->name, VG_SLICE("_value"));
    return has_value != (get(node, "extension") != NULL);
}

static bool tim_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "duration") || get(node, "durationUnit");
}

static bool tim_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "period") || get(node, "periodUnit");
}

static bool tim_4(const struct fhir_checking *in, const struct vg_json *node)
{
    double value;

    (void)in;
    return !vg_json_to_double(get(node, "duration"), &value) || value >= 0;
}

static bool tim_5(const struct fhir_checking *in, const struct vg_json *node)
{
    double value;

    (void)in;
    return !vg_json_to_double(get(node, "period"), &value) || value >= 0;
}

static bool tim_6(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "periodMax") || get(node, "period");
}

static bool tim_7(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "durationMax") || get(node, "duration");
}

static bool tim_8(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "countMax") || get(node, "count");
}

static bool tim_10(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "timeOfDay") || !get(node, "when");
}

/* ---- the platform's resources ---- */

static bool obs_3(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "low") || get(node, "high") || get(node, "text");
}

static bool obs_6(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "dataAbsentReason") || !choice(node, "value");
}

static bool obs_7(const struct fhir_checking *in, const struct vg_json *node)
{
    const struct vg_json *component = first_of(get(node, "component"));
    unsigned compared = 0; /* a hostile text has so many codings that it would take minutes */

    (void)in;
    if (!component || !choice(node, "value"))
        return true;
    for (; component; component = component->next)
        for (const struct vg_json *one = first_of(get(get(component, "code"), "coding")); one;
             one = one->next)
            for (const struct vg_json *own = first_of(get(get(node, "code"), "coding")); own;
                 own = own->next)
                if (++compared > COMPARED_MAX || fhir_is_same(one, own))
                    return false;
    return true;
}

static bool is_percent(const struct vg_json *quantity)
{
    return !quantity || (vg_slice_is(text_of(quantity, "code"), "%") &&
                         vg_slice_is(text_of(quantity, "system"), "http://unitsofmeasure.org"));
}

static bool ras_1(const struct fhir_checking *in, const struct vg_json *node)
{
    const struct vg_json *range = get(node, "probabilityRange");

    (void)in;
    return !range || (is_percent(get(range, "low")) && is_percent(get(range, "high")));
}

static bool ras_2(const struct fhir_checking *in, const struct vg_json *node)
{
    double percent;

    (void)in;
    return !vg_json_to_double(get(node, "probabilityDecimal"), &percent) ||
           (percent >= 0 && percent <= 100);
}

static bool ctm_1(const struct fhir_checking *in, const struct vg_json *node)
{
    const struct vg_json *member = get(node, "member");
    struct vg_slice reference = text_of(member, "reference"), id;
    unsigned type = fhir_type_find(text_of(member, "type"));

    (void)in;
    if (!get(node, "onBehalfOf"))
        return true;
    if (fhir_reference_cut(fhir_reference_plain(reference, (struct vg_slice){0}), &type, &id) ||
        type)
        return strcmp(fhir_type_name(type), "Practitioner") == 0;
    return member != NULL; /* cannot be told from here */
}

static bool inv_1(const struct fhir_checking *in, const struct vg_json *node)
{
    struct fhir_span authored, modified;

    (void)in;
    return !fhir_time_parse(text_of(node, "authoredOn"), &authored, NULL, NULL) ||
           !fhir_time_parse(text_of(node, "lastModified"), &modified, NULL, NULL) ||
           authored.low_us < modified.high_us;
}

static bool sev_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "name") || !get(node, "query");
}

static bool pat_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "name") || get(node, "telecom") || get(node, "address") ||
           get(node, "organization");
}

static bool org_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "name") || get(node, "identifier");
}

static bool no_home(const struct vg_json *array)
{
    for (const struct vg_json *one = first_of(array); one; one = one->next)
        if (vg_slice_is(text_of(one, "use"), "home"))
            return false;
    return true;
}

static bool org_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return no_home(get(node, "address"));
}

static bool org_3(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return no_home(get(node, "telecom"));
}

#define CONDITION_CLINICAL "http://terminology.hl7.org/CodeSystem/condition-clinical"
#define CONDITION_VERIFIED "http://terminology.hl7.org/CodeSystem/condition-ver-status"
#define ALLERGY_VERIFIED "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"

static bool con_3(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    if (get(node, "clinicalStatus") ||
        has_coding(get(node, "verificationStatus"), CONDITION_VERIFIED, "entered-in-error"))
        return true;
    for (const struct vg_json *one = first_of(get(node, "category")); one; one = one->next)
        if (has_coding(one, "http://terminology.hl7.org/CodeSystem/condition-category",
                       "problem-list-item"))
            return false;
    return true;
}

static bool con_4(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !choice(node, "abatement") || has_coding(get(node, "clinicalStatus"), CONDITION_CLINICAL,
                                                    "resolved,remission,inactive");
}

static bool con_5(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !has_coding(get(node, "verificationStatus"), CONDITION_VERIFIED, "entered-in-error") ||
           !get(node, "clinicalStatus");
}

static bool con_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "summary") || get(node, "assessment");
}

static bool con_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "code") || get(node, "detail");
}

static bool ait_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "clinicalStatus") ||
           has_coding(get(node, "verificationStatus"), ALLERGY_VERIFIED, "entered-in-error");
}

static bool ait_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !has_coding(get(node, "verificationStatus"), ALLERGY_VERIFIED, "entered-in-error") ||
           !get(node, "clinicalStatus");
}

static bool cpl_3(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "detail") || !get(node, "reference");
}

static bool imm_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "documentType") || get(node, "reference");
}

static bool cmp_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return get(node, "text") || get(node, "entry") || get(node, "section");
}

static bool cmp_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "emptyReason") || !get(node, "entry");
}

static bool lst_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "emptyReason") || !get(node, "entry");
}

static bool grp_1(const struct fhir_checking *in, const struct vg_json *node)
{
    bool is_actual = false;

    (void)in;
    (void)vg_json_to_bool(get(node, "actual"), &is_actual);
    return !get(node, "member") || is_actual;
}

static bool gol_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !choice(node, "detail") || get(node, "measure");
}

static bool par_1(const struct fhir_checking *in, const struct vg_json *node)
{
    int count = (choice(node, "value") != NULL) + (get(node, "resource") != NULL) +
                (get(node, "part") != NULL);

    (void)in;
    return count == 1 || (count == 0 && (get(node, "extension") || get(node, "_name")));
}

/* ---- Bundle ---- */

static bool bdl_1(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !get(node, "total") || fhir_list_has("searchset,history", text_of(node, "type"));
}

static bool entries_have(const struct vg_json *bundle, const char *member, const char *types,
                         bool is_optional_there)
{
    bool is_wanted = fhir_list_has(types, text_of(bundle, "type"));

    for (const struct vg_json *one = first_of(get(bundle, "entry")); one; one = one->next)
        if ((get(one, member) != NULL) != is_wanted &&
            !(is_wanted && is_optional_there && !get(one, member)))
            return false;
    return true;
}

static bool bdl_2(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return entries_have(node, "search", "searchset", true);
}

static bool bdl_3(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return entries_have(node, "request", "batch,transaction,history", false);
}

static bool bdl_4(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return entries_have(node, "response", "batch-response,transaction-response,history", false);
}

static bool bdl_5(const struct fhir_checking *in, const struct vg_json *node)
{
    bool is_first = node->parent && node->parent->child == node;

    (void)in;
    return get(node, "resource") || get(node, "request") || get(node, "response") || is_first;
}

static bool bdl_8(const struct fhir_checking *in, const struct vg_json *node)
{
    struct vg_slice url = text_of(node, "fullUrl");

    (void)in;
    for (size_t i = 0; i + 10 <= url.len; i++)
        if (memcmp(url.ptr + i, "/_history/", 10) == 0)
            return false;
    return true;
}

static bool bdl_9(const struct fhir_checking *in, const struct vg_json *node)
{
    const struct vg_json *identifier = get(node, "identifier");

    (void)in;
    return !vg_slice_is(text_of(node, "type"), "document") ||
           (get(identifier, "system") && get(identifier, "value"));
}

static bool bdl_10(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return !vg_slice_is(text_of(node, "type"), "document") || get(node, "timestamp");
}

static bool first_is(const struct vg_json *bundle, const char *type, const char *resource)
{
    const struct vg_json *first = first_of(get(bundle, "entry"));

    return !vg_slice_is(text_of(bundle, "type"), type) ||
           vg_slice_is(text_of(get(first, "resource"), "resourceType"), resource);
}

static bool bdl_11(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return first_is(node, "document", "Composition");
}

static bool bdl_12(const struct fhir_checking *in, const struct vg_json *node)
{
    (void)in;
    return first_is(node, "message", "MessageHeader");
}

/* ---- the table ---- */

#define ERROR 422
#define WARNING 0

/* Rows of one shape stand together. */
static const struct rule {
    const char *shape, *key;
    rule_holds *holds;
    int http_status;
    const char *text;
    const char *member; /* the one at fault; NULL = the object as a whole */
} rules[] = {
    {"AllergyIntolerance", "ait-1", ait_1, ERROR,
     "needs clinicalStatus unless it was entered in error", NULL},
    {"AllergyIntolerance", "ait-2", ait_2, ERROR,
     "was entered in error, so it has no clinicalStatus", NULL},
    {"Attachment", "att-1", att_1, ERROR, "has data and needs contentType", NULL},
    {"AuditEvent.entity", "sev-1", sev_1, ERROR, "must not have both name and query", NULL},
    {"Bundle", "bdl-1", bdl_1, ERROR, "has total, which is for searchset and history", NULL},
    {"Bundle", "bdl-2", bdl_2, ERROR, "has entry.search, which is for searchset", NULL},
    {"Bundle", "bdl-3", bdl_3, ERROR,
     "needs entry.request in batch, transaction and history, and nowhere else", NULL},
    {"Bundle", "bdl-4", bdl_4, ERROR, "needs entry.response in responses and history only", NULL},
    {"Bundle", "bdl-9", bdl_9, ERROR, "is a document and needs an identifier", NULL},
    {"Bundle", "bdl-10", bdl_10, ERROR, "is a document and needs a timestamp", NULL},
    {"Bundle", "bdl-11", bdl_11, ERROR, "is a document and must begin with a Composition", NULL},
    {"Bundle", "bdl-12", bdl_12, ERROR, "is a message and must begin with a MessageHeader", NULL},
    {"Bundle.entry", "bdl-5", bdl_5, ERROR, "needs a resource, a request or a response", NULL},
    {"Bundle.entry", "bdl-8", bdl_8, ERROR, "must not have a fullUrl with a version", NULL},
    {"CarePlan.activity", "cpl-3", cpl_3, ERROR, "must not have both detail and reference", NULL},
    {"CareTeam.participant", "ctm-1", ctm_1, ERROR,
     "may have onBehalfOf only where member is a Practitioner", NULL},
    {"Composition.section", "cmp-1", cmp_1, ERROR, "needs text, entry or section", NULL},
    {"Composition.section", "cmp-2", cmp_2, ERROR, "has entries and so no emptyReason", NULL},
    {"Condition", "con-3", con_3, WARNING, "is a problem list item and should have clinicalStatus",
     NULL},
    {"Condition", "con-4", con_4, ERROR,
     "has an abatement, so clinicalStatus is resolved, remission or inactive", NULL},
    {"Condition", "con-5", con_5, ERROR, "was entered in error, so it has no clinicalStatus", NULL},
    {"Condition.evidence", "con-2", con_2, ERROR, "needs code or detail", NULL},
    {"Condition.stage", "con-1", con_1, ERROR, "needs summary or assessment", NULL},
    {"ContactPoint", "cpt-2", cpt_2, ERROR, "has a value and needs a system", NULL},
    {"Extension", "ext-1", ext_1, ERROR, "must have either a value or extensions", NULL},
    {"Goal.target", "gol-1", gol_1, ERROR, "has a detail and needs measure", NULL},
    {"Group", "grp-1", grp_1, ERROR, "may have members only if it is actual", NULL},
    {"Immunization.education", "imm-1", imm_1, ERROR, "needs documentType or reference", NULL},
    {"List", "lst-1", lst_1, ERROR, "has entries and so no emptyReason", NULL},
    {"Observation", "obs-6", obs_6, ERROR, "has both a value and dataAbsentReason", NULL},
    {"Observation", "obs-7", obs_7, ERROR, "has a value, and a component with the same code", NULL},
    {"Observation.referenceRange", "obs-3", obs_3, ERROR, "needs low, high or text", NULL},
    {"Organization", "org-1", org_1, ERROR, "needs a name or an identifier", NULL},
    {"Organization", "org-2", org_2, ERROR, "must not have an address of use home", NULL},
    {"Organization", "org-3", org_3, ERROR, "must not have a telecom of use home", NULL},
    {"Parameters.parameter", "inv-1", par_1, ERROR, "must have one of value, resource, part", NULL},
    {"Patient.contact", "pat-1", pat_1, ERROR, "needs name, telecom, address or organization",
     NULL},
    {"Period", "per-1", per_1, ERROR, "ends before it starts", NULL},
    {"Quantity", "qty-3", qty_3, ERROR, "has a code and needs its system", NULL},
    {"Range", "rng-2", rng_2, ERROR, "has a low that is above high", NULL},
    {"Ratio", "rat-1", rat_1, ERROR, "needs both numerator and denominator", NULL},
    {"RiskAssessment.prediction", "ras-1", ras_1, ERROR, "must be given in % of UCUM",
     "probability"},
    {"RiskAssessment.prediction", "ras-2", ras_2, ERROR, "must be a percentage from 0 to 100",
     "probability"},
    {"Task", "inv-1", inv_1, ERROR, "was last modified before it was authored", NULL},
    {"Timing.repeat", "tim-1", tim_1, ERROR, "has a duration and needs durationUnit", NULL},
    {"Timing.repeat", "tim-2", tim_2, ERROR, "has a period and needs periodUnit", NULL},
    {"Timing.repeat", "tim-4", tim_4, ERROR, "must not have a negative duration", NULL},
    {"Timing.repeat", "tim-5", tim_5, ERROR, "must not have a negative period", NULL},
    {"Timing.repeat", "tim-6", tim_6, ERROR, "has periodMax and needs period", NULL},
    {"Timing.repeat", "tim-7", tim_7, ERROR, "has durationMax and needs duration", NULL},
    {"Timing.repeat", "tim-8", tim_8, ERROR, "has countMax and needs count", NULL},
    {"Timing.repeat", "tim-10", tim_10, ERROR, "must not have both timeOfDay and when", NULL},
};
#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))
#define SHAPES_MAX 1024

static uint8_t first_rule[SHAPES_MAX]; /* by shape, + 1 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_shapes(void)
{
    for (size_t i = RULE_COUNT; i-- > 0;)
        for (unsigned s = 0; s < fhir_shape_count && s < SHAPES_MAX; s++)
            if (strcmp(fhir_pool + fhir_shapes[s].name, rules[i].shape) == 0)
                first_rule[s] = (uint8_t)(i + 1);
}
_Static_assert(RULE_COUNT < 255, "a rule's number is a byte");

void fhir_rules_check(struct fhir_checking *in, unsigned shape, const struct vg_json *node)
{
    (void)pthread_once(&once, find_shapes);
    for (size_t i = shape < SHAPES_MAX ? first_rule[shape] : 0u;
         i && i <= RULE_COUNT && !in->is_done; i++) {
        const struct rule *rule = &rules[i - 1];

        if (strcmp(rule->shape, fhir_pool + fhir_shapes[shape].name) != 0)
            break;
        /* A write is not held up by a warning. */
        if ((rule->http_status || in->max > 1) && !rule->holds(in, node))
            fhir_report(in, node, rule->member, rule->http_status, "invariant", "%s (%s)",
                        rule->text, rule->key);
    }
}

/* ---- every resource ---- */

/* All "#id" in the tree. */
static bool gather_names(const struct vg_json *node, struct vg_map *names)
{
    bool is_ok = true;

    for (const struct vg_json *child = node->child; child && is_ok; child = child->next) {
        if (child->type == VG_JSON_STRING && child->text.len > 1 && child->text.ptr[0] == '#')
            (void)vg_map_put(names, vg_slice_from(child->text, 1), names, &is_ok);
        else if (child->type == VG_JSON_OBJECT || child->type == VG_JSON_ARRAY)
            is_ok = gather_names(child, names);
    }
    return is_ok;
}

static bool names_container(const struct vg_json *node)
{
    for (const struct vg_json *child = node->child; child; child = child->next)
        if ((child->type == VG_JSON_STRING && vg_slice_is(child->text, "#")) ||
            names_container(child))
            return true;
    return false;
}

void fhir_resource_rules_check(struct fhir_checking *in, const struct vg_json *node,
                               bool is_contained)
{
    const struct vg_json *contained = get(node, "contained"), *meta = get(node, "meta");
    struct vg_map names;

    if (is_contained && contained)
        fhir_report(in, contained, NULL, 422, "invariant",
                    "must not be in a contained resource (dom-2)");
    if (is_contained && (get(meta, "versionId") || get(meta, "lastUpdated")))
        fhir_report(in, meta, NULL, 422, "invariant",
                    "must not have versionId or lastUpdated in a contained resource (dom-4)");
    if (is_contained && get(meta, "security"))
        fhir_report(in, meta, NULL, 422, "invariant",
                    "must not have security in a contained resource (dom-5)");
    if (!vg_json_is(contained, VG_JSON_ARRAY) || in->is_done)
        return;
    vg_map_init(&names);
    if (!gather_names(node, &names))
        fhir_report(in, contained, NULL, 422, "too-costly", "has more references than can be held");
    for (const struct vg_json *one = contained->child; one && !in->is_done; one = one->next) {
        struct vg_slice id = text_of(one, "id");

        if (!(id.len && vg_map_get(&names, id)) && !names_container(one))
            fhir_report(in, one, NULL, 422, "invariant",
                        "is contained and must be referred to (dom-3)");
    }
    vg_map_fini(&names, NULL);
}
