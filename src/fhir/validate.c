/* validate.c -- what a resource must satisfy before it is stored.
 *
 * For every type: the JSON rules of FHIR (no empty object, array or string, null only beside a
 * primitive's extension), the form of ids, references and Periods. For the platform's own types
 * also the elements that must be there, the codes of required bindings, the formats of dates, one
 * of each choice only, and the invariants that a device platform breaks most easily. All of it is
 * tables: more types are more rows.
 *
 * 400: a basic rule of FHIR is broken. 422: well-formed, but says something that cannot be.
 * A refusal names the element, never its value: values are patient data.
 */
#include "fhir/fhir_int.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *type, *path; /* element below the parent, which is named by the dots before it */
} required[] = {
    {"AuditEvent", "type"},
    {"AuditEvent", "recorded"},
    {"AuditEvent", "agent"},
    {"AuditEvent", "agent.requestor"},
    {"AuditEvent", "source"},
    {"AuditEvent", "source.observer"},
    {"Bundle", "type"},
    {"Communication", "status"},
    {"CommunicationRequest", "status"},
    {"Condition", "subject"},
    {"DetectedIssue", "status"},
    {"DeviceMetric", "category"},
    {"DeviceMetric", "type"},
    {"Encounter", "class"},
    {"Encounter", "status"},
    {"Encounter", "location.location"},
    {"Flag", "code"},
    {"Flag", "status"},
    {"Flag", "subject"},
    {"Observation", "code"},
    {"Observation", "component.code"},
    {"Observation", "status"},
    {"Provenance", "agent"},
    {"Provenance", "agent.who"},
    {"Provenance", "recorded"},
    {"Provenance", "target"},
    {"RiskAssessment", "status"},
    {"RiskAssessment", "subject"},
    {"Subscription", "channel"},
    {"Subscription", "channel.type"},
    {"Subscription", "criteria"},
    {"Subscription", "reason"},
    {"Subscription", "status"},
    {"Task", "intent"},
    {"Task", "status"},
};

#define OBSERVATION_STATUS                                                                         \
    "registered,preliminary,final,amended,corrected,cancelled,entered-in-error,unknown"
#define REQUEST_PRIORITY "routine,urgent,asap,stat"
#define GENDER "male,female,other,unknown"

static const struct {
    const char *type, *path, *codes;
} bindings[] = {
    {"AuditEvent", "action", "C,R,U,D,E"},
    {"AuditEvent", "outcome", "0,4,8,12"},
    {"Bundle", "type",
     "document,message,transaction,transaction-response,batch,batch-response,history,searchset,"
     "collection"},
    {"CareTeam", "status", "proposed,active,suspended,inactive,entered-in-error"},
    {"Communication", "priority", REQUEST_PRIORITY},
    {"Communication", "status",
     "preparation,in-progress,not-done,on-hold,stopped,completed,entered-in-error,unknown"},
    {"CommunicationRequest", "priority", REQUEST_PRIORITY},
    {"CommunicationRequest", "status",
     "draft,active,on-hold,revoked,completed,entered-in-error,unknown"},
    {"DetectedIssue", "severity", "high,moderate,low"},
    {"DetectedIssue", "status", OBSERVATION_STATUS},
    {"Device", "deviceName.type",
     "udi-label-name,user-friendly-name,patient-reported-name,manufacturer-name,model-name,other"},
    {"Device", "status", "active,inactive,entered-in-error,unknown"},
    {"DeviceMetric", "category", "measurement,setting,calculation,unspecified"},
    {"DeviceMetric", "operationalStatus", "on,off,standby,entered-in-error"},
    {"Encounter", "status",
     "planned,arrived,triaged,in-progress,onleave,finished,cancelled,entered-in-error,unknown"},
    {"Flag", "status", "active,inactive,entered-in-error"},
    {"Location", "mode", "instance,kind"},
    {"Location", "status", "active,suspended,inactive"},
    {"Observation", "status", OBSERVATION_STATUS},
    {"Patient", "gender", GENDER},
    {"Patient", "link.type", "replaced-by,replaces,refer,seealso"},
    {"Practitioner", "gender", GENDER},
    {"PractitionerRole", "availableTime.daysOfWeek", "mon,tue,wed,thu,fri,sat,sun"},
    {"Provenance", "entity.role", "derivation,revision,quotation,source,removal"},
    {"RiskAssessment", "status", OBSERVATION_STATUS},
    {"Subscription", "channel.type", "rest-hook,websocket,email,sms,message"},
    {"Subscription", "status", "requested,active,error,off"},
    {"Task", "intent",
     "unknown,proposal,plan,order,original-order,reflex-order,filler-order,instance-order,option"},
    {"Task", "priority", REQUEST_PRIORITY},
    {"Task", "status",
     "draft,requested,received,accepted,rejected,ready,cancelled,in-progress,on-hold,failed,"
     "completed,entered-in-error"},
};

enum format { DATE, DATETIME, INSTANT };

static const struct {
    const char *type, *path;
    enum format format;
} formats[] = {
    {"AuditEvent", "recorded", INSTANT},
    {"Communication", "received", DATETIME},
    {"Communication", "sent", DATETIME},
    {"Condition", "abatementDateTime", DATETIME},
    {"Condition", "onsetDateTime", DATETIME},
    {"Condition", "recordedDate", DATETIME},
    {"DetectedIssue", "identifiedDateTime", DATETIME},
    {"Device", "expirationDate", DATETIME},
    {"Device", "manufactureDate", DATETIME},
    {"Observation", "effectiveDateTime", DATETIME},
    {"Observation", "effectiveInstant", INSTANT},
    {"Observation", "issued", INSTANT},
    {"Observation", "valueDateTime", DATETIME},
    {"Observation", "component.valueDateTime", DATETIME},
    {"Patient", "birthDate", DATE},
    {"Patient", "deceasedDateTime", DATETIME},
    {"Practitioner", "birthDate", DATE},
    {"Provenance", "occurredDateTime", DATETIME},
    {"Provenance", "recorded", INSTANT},
    {"RiskAssessment", "occurrenceDateTime", DATETIME},
    {"Subscription", "end", INSTANT},
    {"Task", "authoredOn", DATETIME},
    {"Task", "lastModified", DATETIME},
};

/* Only one of a family. The parent is named by the dots before it. */
static const struct {
    const char *type, *path;
} choices[] = {
    {"Condition", "abatement"},
    {"Condition", "onset"},
    {"DetectedIssue", "identified"},
    {"Observation", "effective"},
    {"Observation", "value"},
    {"Observation", "component.value"},
    {"Patient", "deceased"},
    {"Patient", "multipleBirth"},
    {"Provenance", "occurred"},
    {"RiskAssessment", "occurrence"},
    {"RiskAssessment", "prediction.probability"},
    {"RiskAssessment", "prediction.when"},
    {"Task", "input.value"},
    {"Task", "output.value"},
};

/* Members that may not be left out of a cut-down resource besides the required ones. */
static const struct {
    const char *type, *member;
} modifiers[] = {
    {"CareTeam", "status"},
    {"Condition", "clinicalStatus"},
    {"Condition", "verificationStatus"},
    {"Device", "status"},
    {"DeviceMetric", "operationalStatus"},
    {"Location", "status"},
    {"Patient", "active"},
    {"Patient", "deceasedBoolean"},
    {"Patient", "deceasedDateTime"},
    {"Patient", "link"},
    {"Task", "doNotPerform"},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

bool fhir_is_mandatory(unsigned type, struct vg_slice member)
{
    const char *name = fhir_type_name(type);

    if (fhir_list_has("resourceType,id,meta,implicitRules,modifierExtension", member))
        return true;
    for (size_t i = 0; i < COUNT(required); i++)
        if (strcmp(required[i].type, name) == 0 && vg_slice_is(member, required[i].path))
            return true;
    for (size_t i = 0; i < COUNT(modifiers); i++)
        if (strcmp(modifiers[i].type, name) == 0 && vg_slice_is(member, modifiers[i].member))
            return true;
    return false;
}

/* ---- what holds for every type ---- */

struct checking {
    struct vg_arena *arena;
    const char *type;
    struct fhir_issue *issue;
    struct vg_err *err;
    enum vg_status status;
};

/* "Observation.component[1].code" for a node of the tree. */
static struct vg_slice expression_of(struct checking *in, const struct vg_json *node)
{
    struct vg_slice parent;
    unsigned index = 0;

    if (!node || !node->parent)
        return vg_slice_of(in->type);
    parent = expression_of(in, node->parent);
    if (node->parent->type == VG_JSON_ARRAY) {
        for (const struct vg_json *one = node->parent->child; one != node; one = one->next)
            index++;
        return vg_arena_printf(in->arena, "%.*s[%u]", VG_FMT(parent), index);
    }
    /* A name that is no element's is not echoed. */
    bool is_plain = node->name.len > 0 && node->name.len <= 64;

    for (size_t i = 0; i < node->name.len && is_plain; i++)
        is_plain = (node->name.ptr[i] | 32) >= 'a' && (node->name.ptr[i] | 32) <= 'z';
    return is_plain ? vg_arena_printf(in->arena, "%.*s.%.*s", VG_FMT(parent), VG_FMT(node->name))
                    : parent;
}

__attribute__((format(printf, 5, 6))) static enum vg_status
refuse(struct checking *in, const struct vg_json *node, int http_status, const char *code,
       const char *fmt, ...)
{
    struct vg_slice expression = expression_of(in, node);
    char text[160];
    va_list args;

    if (in->status != VG_OK)
        return in->status; /* the first one is told */
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    in->status = fhir_refuse(in->issue, in->err, http_status, code, expression, "%.*s %s",
                             VG_FMT(expression), text);
    return in->status;
}

static enum vg_status check_reference(struct checking *in, const struct vg_json *node)
{
    struct vg_slice text = vg_json_text(node), rest, id;
    unsigned type;

    if (!vg_json_is(node, VG_JSON_STRING) || text.len == 0)
        return refuse(in, node, 400, "value", "must be a text");
    if (text.ptr[0] == '#')
        return VG_OK;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ')
            return refuse(in, node, 400, "value", "must not hold white space");
    if (memchr(text.ptr, '?', text.len) && !memchr(text.ptr, ':', text.len))
        return refuse(in, node, 400, "value",
                      "is a conditional reference, which is for transactions only");
    rest = text;
    struct vg_slice scheme = vg_slice_cut(&rest, ':');

    if (rest.ptr && !memchr(scheme.ptr, '/', scheme.len) && scheme.len > 1)
        return VG_OK; /* absolute: another server's form is its own affair */
    rest = fhir_reference_plain(text, (struct vg_slice){0});
    if (!fhir_reference_cut(rest, &type, &id))
        return refuse(in, node, 400, "value", "must be Type/id of R4, a URL, urn: or #id");
    return VG_OK;
}

static enum vg_status check_time(struct checking *in, const struct vg_json *node,
                                 enum format format)
{
    static const char *const wanted[] = {"YYYY, YYYY-MM or YYYY-MM-DD",
                                         "a dateTime (with a zone when it has a time)",
                                         "an instant (seconds and zone)"};
    struct fhir_span span;
    enum fhir_precision precision;
    bool has_zone;

    if (!vg_json_is(node, VG_JSON_STRING) ||
        !fhir_time_parse(node->text, &span, &precision, &has_zone) ||
        memchr(node->text.ptr, ' ', node->text.len) || precision == FHIR_MINUTE ||
        (format == DATE && precision > FHIR_DAY) ||
        (format == INSTANT && precision != FHIR_SECOND) || (precision == FHIR_SECOND && !has_zone))
        return refuse(in, node, 400, "value", "must be %s", wanted[format]);
    return VG_OK;
}

static enum vg_status check_object(struct checking *in, const struct vg_json *node)
{
    const struct vg_json *start = vg_json_get(node, "start"), *end = vg_json_get(node, "end");
    const struct vg_json *reference = vg_json_get(node, "reference");

    if (node->count == 0)
        return refuse(in, node, 400, "invalid", "must not be empty");
    /* A Reference has a text there; elsewhere the member is something else (an object). */
    if (reference && reference->type != VG_JSON_OBJECT && reference->type != VG_JSON_ARRAY &&
        check_reference(in, reference) != VG_OK)
        return in->status;
    if (vg_slice_is(node->name, "period") || vg_slice_is(node->name, "effectivePeriod")) {
        struct fhir_span from, to;

        if (start && check_time(in, start, DATETIME) != VG_OK)
            return in->status;
        if (end && check_time(in, end, DATETIME) != VG_OK)
            return in->status;
        if (start && end && fhir_time_parse(start->text, &from, NULL, NULL) &&
            fhir_time_parse(end->text, &to, NULL, NULL) && from.low_us >= to.high_us)
            return refuse(in, node, 422, "invariant", "ends before it starts");
    }
    return VG_OK;
}

static enum vg_status check_tree(struct checking *in, const struct vg_json *node)
{
    for (const struct vg_json *child = node->child; child; child = child->next) {
        bool is_element = node->type == VG_JSON_ARRAY;

        switch (child->type) {
        case VG_JSON_NULL:
            if (!is_element)
                return refuse(in, child, 400, "invalid", "must not be null");
            break;
        case VG_JSON_STRING:
            if (child->text.len == 0)
                return refuse(in, child, 400, "invalid", "must not be an empty text");
            break;
        case VG_JSON_ARRAY:
            if (is_element || child->count == 0)
                return refuse(in, child, 400, "invalid", "must not be an empty or nested array");
            if (check_tree(in, child) != VG_OK)
                return in->status;
            break;
        case VG_JSON_OBJECT:
            if (check_object(in, child) != VG_OK || check_tree(in, child) != VG_OK)
                return in->status;
            break;
        case VG_JSON_FALSE:
        case VG_JSON_TRUE:
        case VG_JSON_NUMBER:
            break;
        }
    }
    return VG_OK;
}

/* ---- the tables ---- */

/* Splits "component.code" into where to go and what to look for there. */
struct element {
    struct checking *in;
    struct vg_slice last;
    const char *codes;
    enum format format;
};

static void each_parent(struct checking *in, const struct vg_json *root, const char *path,
                        void (*check)(const struct vg_json *, uint32_t, void *),
                        struct element *element)
{
    const char *dot = strrchr(path, '.');
    char parent[64];

    element->in = in;
    element->last = vg_slice_of(dot ? dot + 1 : path);
    if (!dot) {
        check(root, 0, element);
        return;
    }
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(dot - path), path);
    fhir_path_walk(root, parent, check, element);
}

static void check_required(const struct vg_json *parent, uint32_t part, void *ctx)
{
    struct element *element = ctx;

    (void)part;
    if (!vg_json_get_slice(parent, element->last))
        (void)refuse(element->in, parent, 400, "required", "must have %.*s", VG_FMT(element->last));
}

static void check_choice(const struct vg_json *parent, uint32_t part, void *ctx)
{
    struct element *element = ctx;
    unsigned count = 0;

    (void)part;
    for (const struct vg_json *child = parent->child; child; child = child->next)
        if (child->name.len > element->last.len && vg_slice_starts(child->name, element->last) &&
            child->name.ptr[element->last.len] >= 'A' && child->name.ptr[element->last.len] <= 'Z')
            count++;
    if (count > 1)
        (void)refuse(element->in, parent, 400, "structure", "must have only one %.*s[x]",
                     VG_FMT(element->last));
}

static void check_code(const struct vg_json *value, uint32_t part, void *ctx)
{
    struct element *element = ctx;

    (void)part;
    if (!vg_json_is(value, VG_JSON_STRING) || !fhir_list_has(element->codes, value->text))
        (void)refuse(element->in, value, 400, "code-invalid", "must be one of %s", element->codes);
}

static void check_format(const struct vg_json *value, uint32_t part, void *ctx)
{
    struct element *element = ctx;

    (void)part;
    (void)check_time(element->in, value, element->format);
}

static void check_probability(const struct vg_json *value, uint32_t part, void *ctx)
{
    struct element *element = ctx;
    double percent;

    (void)part;
    if (!vg_json_to_double(value, &percent) || percent < 0 || percent > 100)
        (void)refuse(element->in, value, 422, "invariant",
                     "must be a percentage from 0 to 100 (ras-2)");
}

static void check_invariants(struct checking *in, const struct vg_json *root)
{
    struct element element = {.in = in};

    if (strcmp(in->type, "RiskAssessment") == 0) {
        fhir_path_walk(root, "prediction.probabilityDecimal", check_probability, &element);
    } else if (strcmp(in->type, "Observation") == 0 && vg_json_get(root, "dataAbsentReason")) {
        for (const struct vg_json *child = root->child; child; child = child->next)
            if (child->name.len > 5 && vg_slice_starts(child->name, VG_SLICE("value")))
                (void)refuse(in, root, 422, "invariant",
                             "has both a value and dataAbsentReason (obs-6)");
    }
}

enum vg_status fhir_check(struct vg_arena *arena, unsigned type, const struct vg_json *root,
                          struct fhir_issue *issue, struct vg_err *err)
{
    struct checking in = {arena, fhir_type_name(type), issue, err, VG_OK};
    struct element element;

    if (check_tree(&in, root) != VG_OK)
        return in.status;
    for (size_t i = 0; i < COUNT(required); i++)
        if (strcmp(required[i].type, in.type) == 0)
            each_parent(&in, root, required[i].path, check_required, &element);
    for (size_t i = 0; i < COUNT(choices); i++)
        if (strcmp(choices[i].type, in.type) == 0)
            each_parent(&in, root, choices[i].path, check_choice, &element);
    for (size_t i = 0; i < COUNT(bindings); i++) {
        if (strcmp(bindings[i].type, in.type) != 0)
            continue;
        element = (struct element){.in = &in, .codes = bindings[i].codes};
        fhir_path_walk(root, bindings[i].path, check_code, &element);
    }
    for (size_t i = 0; i < COUNT(formats); i++) {
        if (strcmp(formats[i].type, in.type) != 0)
            continue;
        element = (struct element){.in = &in, .format = formats[i].format};
        fhir_path_walk(root, formats[i].path, check_format, &element);
    }
    check_invariants(&in, root);
    return in.status;
}

enum vg_status fhir_validate(struct vg_arena *arena, unsigned type, const struct vg_json *root,
                             struct vg_slice profile, struct fhir_problems *ret_problems,
                             struct vg_err *err)
{
    struct fhir_issue issue;
    struct vg_err why = {0};
    struct fhir_problem *one = vg_arena_alloc(arena, sizeof(*one));

    (void)profile;
    if (!one)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the findings");
    *ret_problems = (struct fhir_problems){.items = one};
    if (fhir_check(arena, type, root, &issue, &why) != VG_OK) {
        *one = (struct fhir_problem){"error", issue.code, issue.http_status, issue.expression,
                                     vg_arena_dup(arena, vg_slice_of(why.text))};
        ret_problems->count = 1;
    }
    return VG_OK;
}
