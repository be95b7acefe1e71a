/* device_mapping.c -- the device mapping: which part of a message is which measurement.
 *
 * Template types are rows of a table (what may be written, what is fixed, what the expressions
 * see). A field is a list of at most two expressions; the first that gives a usable token wins.
 *
 * After a match, CalculatedContent sees the envelope with a member `matchedToken`; the alias for it
 * is hung in front of the envelope's members and taken off again, so nothing is copied. The
 * JSONPath-only types see the matched token alone.
 *
 * What differs from the reference engine, on purpose (docs/mapping.md): a JSONPath that cannot be
 * read is an error when the file is loaded (there: of every message); and, but with is_medtech,
 * text that follows the body's JSON value is an error (there: ignored), and an error in one
 * measurement does not keep the others of the message back.
 *
 * Threads: a loaded mapping is read-only; everything that changes is the caller's.
 */
#include "connector/device_mapping.h"

#include "connector/jmespath.h"
#include "connector/jsonpath.h"
#include "connector/value.h"

#include <stdio.h>

#define MATCHES_MAX 10000 /* measurements that one template may make of one message */
#define TEMPLATES_MAX 1000
#define VALUES_MAX 200000 /* JSON values of a message */

enum field {
    FIELD_DEVICE,
    FIELD_TIME,
    FIELD_CORRELATION,
    FIELD_PATIENT,
    FIELD_ENCOUNTER,
    FIELD_COUNT,
};

static const struct {
    const char *member;
    bool is_required; /* in the template */
    bool needs_value; /* in the message, when the template has it */
} fields[FIELD_COUNT] = {
    [FIELD_DEVICE] = {"deviceIdExpression", true, true},
    [FIELD_TIME] = {"timestampExpression", true, true},
    [FIELD_CORRELATION] = {"correlationIdExpression", false, true},
    [FIELD_PATIENT] = {"patientIdExpression", false, false},
    [FIELD_ENCOUNTER] = {"encounterIdExpression", false, false},
};

/* One of the two; neither = the template does not have it. */
struct program {
    const struct jsonpath *jsonpath;
    const struct jmespath *jmespath;
};

#define MEMO_MAX 32

struct expression {
    struct program programs[2];
    unsigned memo;      /* 1…MEMO_MAX: what it selects is the same in every match of a message */
    const char *member; /* for error texts */
    struct vg_slice value_name;
    const struct vg_json *at; /* where it stands in the file, or its template */
};

struct value {
    struct vg_slice name;
    struct expression expression;
    bool is_required;
    struct value *next;
};

struct template
{
    struct vg_slice type_name;
    const struct vg_json *at; /* in the file */
    bool sees_envelope;       /* else the matched token alone */
    struct expression match;
    struct expression fields[FIELD_COUNT];
    struct value *values;
    struct template *next;
};

struct device_mapping {
    struct template *first;
    struct vg_slice memos[MEMO_MAX]; /* the expressions that several templates may have */
    size_t memo_count, count;
    bool is_medtech;
};

struct template_kind {
    const char *name;
    bool allows_suffix;           /* also with "Template" behind it */
    bool is_calculated;           /* expression objects, languages, matchedToken, values needed */
    const char *device, *time[2]; /* fixed expressions */
};

static const struct template_kind kinds[] = {
    {.name = "CalculatedContent", .is_calculated = true},
    {.name = "JsonPathContent", .allows_suffix = true},
    {.name = "IotJsonPathContent",
     .allows_suffix = true,
     .device = "$.SystemProperties.iothub-connection-device-id",
     .time = {"$.Properties.iothub-creation-time-utc", "$.SystemProperties.iothub-enqueuedtime"}},
    {.name = "IotCentralJsonPathContent", .device = "$.deviceId", .time = {"$.enqueuedTime"}},
};

/* ---- loading ---- */

struct loader {
    struct mapping_errors *errors;
    const struct template_kind *kind;
    const struct vg_json *template;
    bool is_jmespath; /* the template's default language */
    struct device_mapping *mapping;
};

static bool has_program(const struct program *program)
{
    return program->jsonpath || program->jmespath;
}

static struct program compile(struct loader *l, const struct vg_json *at, struct vg_slice text,
                              bool is_jmespath)
{
    struct program program = {NULL, NULL};
    struct vg_err why = {0};
    bool is_medtech = l->errors->is_medtech;
    enum vg_status st =
        is_jmespath ? jmespath_compile(l->errors->arena, text, is_medtech, &program.jmespath, &why)
                    : jsonpath_compile(l->errors->arena, text, is_medtech, &program.jsonpath, &why);

    if (st != VG_OK)
        mapping_error_add(l->errors, at, "'%.*s': %s", VG_FMT(at->name), why.text);
    return program;
}

static bool read_language(struct loader *l, const struct vg_json *language, bool *ret_is_jmespath)
{
    if (vg_slice_eq_nocase(vg_json_text(language), VG_SLICE("JsonPath"))) {
        *ret_is_jmespath = false;
        return true;
    }
    if (vg_slice_eq_nocase(vg_json_text(language), VG_SLICE("JmesPath"))) {
        *ret_is_jmespath = true;
        return true;
    }
    mapping_error_add(l->errors, language, "expected JsonPath or JmesPath, found '%.*s'",
                      VG_FMT(language->source));
    return false;
}

/* The memo of an expression's text; 0: there are too many. */
static unsigned find_memo(struct device_mapping *mapping, struct vg_slice text)
{
    unsigned i = 0;

    while (i < mapping->memo_count && !vg_slice_eq(mapping->memos[i], text))
        i++;
    if (i == MEMO_MAX)
        return 0;
    if (i == mapping->memo_count)
        mapping->memos[mapping->memo_count++] = text;
    return i + 1;
}

/* One expression member: text, or {"value", "language"} in CalculatedContent. Left without a
 * program when it is absent, or wrong with an error added. */
static void load_expression(struct loader *l, const struct vg_json *object, const char *member,
                            bool is_required, struct expression *e)
{
    static const char *const known[] = {"value", "language", NULL};
    const struct vg_json *at = mapping_get(object, member), *text = at;
    bool is_jmespath = l->is_jmespath;

    e->member = member;
    e->at = at ? at : object;
    if (!at) {
        if (is_required)
            mapping_error_add(l->errors, object, "required member '%s' is missing", member);
        return;
    }
    if (l->kind->is_calculated && at->type == VG_JSON_OBJECT) {
        const struct vg_json *language = mapping_get(at, "language");

        mapping_check_members(l->errors, at, known);
        text = mapping_get(at, "value");
        if (language && language->type != VG_JSON_NULL && !read_language(l, language, &is_jmespath))
            return;
        if (!text) {
            mapping_error_add(l->errors, at, "required member 'value' is missing");
            return;
        }
    }
    if (at->type == VG_JSON_NULL && !is_required)
        return;
    if (text->type != VG_JSON_STRING ||
        (text->text.len == 0 && (is_required || l->kind->is_calculated))) {
        mapping_error_add(l->errors, text, "'%s': expected an expression as text, found %.*s",
                          member, (int)(text->source.len < 40 ? text->source.len : 40),
                          text->source.ptr);
        return;
    }
    if (text->text.len > 0)
        e->programs[0] = compile(l, text, text->text, is_jmespath);
    if (e->programs[0].jsonpath && l->kind->is_calculated &&
        jsonpath_is_plain(e->programs[0].jsonpath, VG_SLICE("matchedToken")))
        e->memo = find_memo(l->mapping, text->text);
}

static bool load_text(struct loader *l, const struct vg_json *object, const char *member,
                      struct vg_slice *ret)
{
    const struct vg_json *at = mapping_get(object, member);

    if (!vg_json_is(at, VG_JSON_STRING)) {
        mapping_error_add(l->errors, at ? at : object,
                          at ? "'%s': expected a text" : "required member '%s' is missing", member);
        return false;
    }
    *ret = at->text;
    return true;
}

static bool load_required(struct loader *l, const struct vg_json *at)
{
    struct vg_slice text = vg_slice_trim(vg_json_text(at));
    bool value = false;
    double number;

    if (!at || vg_json_to_bool(at, &value))
        return value;
    if (vg_slice_eq_nocase(text, VG_SLICE("true")))
        return true;
    if (vg_slice_eq_nocase(text, VG_SLICE("false")))
        return false;
    if (vg_json_to_double(at, &number))
        return number < 0 || number > 0;
    mapping_error_add(l->errors, at, "'required': expected true or false");
    return false;
}

static void load_values(struct loader *l, struct template *t)
{
    static const char *const known[] = {"valueName", "valueExpression", "required", NULL};
    const struct vg_json *list = mapping_get(l->template, "values");
    struct value **tail = &t->values;

    if (!list || list->type == VG_JSON_NULL) {
        if (l->kind->is_calculated)
            mapping_error_add(l->errors, l->template, "required member 'values' is missing");
        return;
    }
    if (list->type != VG_JSON_ARRAY) {
        mapping_error_add(l->errors, list, "'values': expected an array");
        return;
    }
    for (const struct vg_json *at = list->child; at; at = at->next) {
        struct value *value = vg_arena_alloc(l->errors->arena, sizeof(*value));

        if (!value || at->type != VG_JSON_OBJECT) {
            mapping_error_add(l->errors, at, "'values': expected an object");
            continue;
        }
        mapping_check_members(l->errors, at, known);
        (void)load_text(l, at, "valueName", &value->name);
        value->expression.value_name = value->name;
        load_expression(l, at, "valueExpression", true, &value->expression);
        value->is_required = load_required(l, mapping_get(at, "required"));
        *tail = value;
        tail = &value->next;
    }
}

static void load_template(struct loader *l, struct template *t)
{
    static const char *const known[] = {"typeName",
                                        "typeMatchExpression",
                                        "deviceIdExpression",
                                        "timestampExpression",
                                        "patientIdExpression",
                                        "encounterIdExpression",
                                        "correlationIdExpression",
                                        "values",
                                        "defaultExpressionLanguage",
                                        NULL};
    const struct vg_json *language = mapping_get(l->template, "defaultExpressionLanguage");

    mapping_check_members(l->errors, l->template, known);
    if (language && !l->kind->is_calculated)
        mapping_error_add(l->errors, language, "unknown member 'defaultExpressionLanguage'");
    else if (language && language->type != VG_JSON_NULL)
        (void)read_language(l, language, &l->is_jmespath);
    t->at = l->template;
    t->sees_envelope = l->kind->is_calculated;
    (void)load_text(l, l->template, "typeName", &t->type_name);
    load_expression(l, l->template, "typeMatchExpression", true, &t->match);
    for (int i = 0; i < FIELD_COUNT; i++) {
        const char *fixed[2] = {NULL, NULL};

        t->fields[i].member = fields[i].member;
        t->fields[i].at = l->template;
        if (i == FIELD_DEVICE)
            fixed[0] = l->kind->device;
        if (i == FIELD_TIME) {
            fixed[0] = l->kind->time[0];
            fixed[1] = l->kind->time[1];
        }
        for (int k = 0; k < 2 && fixed[k]; k++)
            t->fields[i].programs[k] = compile(l, l->template, vg_slice_of(fixed[k]), false);
        if (!fixed[0])
            load_expression(l, l->template, fields[i].member, fields[i].is_required, &t->fields[i]);
    }
    load_values(l, t);
}

enum vg_status device_mapping_load(struct mapping_errors *errors,
                                   const struct device_mapping **ret_mapping, struct vg_err *err)
{
    const struct vg_json *list = mapping_templates(errors, "CollectionContent");
    struct device_mapping *mapping = vg_arena_alloc(errors->arena, sizeof(*mapping));
    struct template **tail = mapping ? &mapping->first : NULL;

    if (!mapping)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for the device mapping");
    mapping->is_medtech = errors->is_medtech;
    if (list && list->count > TEMPLATES_MAX) {
        mapping_error_add(errors, list, "%u templates: expected at most %d", list->count,
                          TEMPLATES_MAX);
        list = NULL;
    }
    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next) {
        struct loader loader = {
            .errors = errors, .template = mapping_get(at, "template"), .mapping = mapping};
        const struct vg_json *type = mapping_get(at, "templateType");
        struct template *t = vg_arena_alloc(errors->arena, sizeof(*t));

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            if (mapping_is_type(vg_json_text(type), kinds[i].name, kinds[i].allows_suffix))
                loader.kind = &kinds[i];
        if (!loader.kind) {
            /* The reference tells the template's place, not its type's. */
            if (errors->is_medtech && loader.template)
                type = loader.template;
            mapping_error_add(errors, type ? type : at,
                              "expected CalculatedContent, JsonPathContent, IotJsonPathContent or "
                              "IotCentralJsonPathContent as templateType, found '%.*s'",
                              VG_FMT(vg_json_text(mapping_get(at, "templateType"))));
        } else if (!t || !vg_json_is(loader.template, VG_JSON_OBJECT)) {
            mapping_error_add(errors, loader.template ? loader.template : at,
                              "expected an object as template");
        } else {
            load_template(&loader, t);
            *tail = t;
            tail = &t->next;
            mapping->count++;
        }
    }
    *ret_mapping = mapping;
    return mapping_errors_status(errors, "device mapping", err);
}

size_t device_mapping_count(const struct device_mapping *mapping)
{
    return mapping->count;
}

void device_mapping_each(const struct device_mapping *mapping, device_mapping_see *see, void *ctx)
{
    for (const struct template *t = mapping->first; t; t = t->next) {
        see(ctx, t->type_name, (struct vg_slice){0}, t->at);
        for (const struct value *v = t->values; v; v = v->next)
            see(ctx, t->type_name, v->name, v->expression.at);
    }
}

/* ---- applying ---- */

/* What an expression of several templates selected, and what that says as a text and as a time. */
struct memo {
    const struct vg_json *token; /* NULL = nothing */
    bool is_known, is_time;
    unsigned tenths;
    int64_t time_us;
    struct vg_slice text; /* ptr NULL: not asked for yet, or none, or blank */
};

struct extraction {
    struct vg_arena *arena;
    struct memo *memos;                 /* MEMO_MAX */
    const struct jsonpath_nodes *nodes; /* of the envelope, as the matches see it */
    uint64_t steps_left;
    const struct vg_json *root; /* what the expressions see now */
    const struct template *template;
    bool is_medtech;
    const struct vg_json *failed_at; /* the expression that the last error is about */
};

struct selection {
    const struct vg_json *token;
    bool is_ambiguous;
};

static bool select_one(void *ctx, const struct vg_json *token)
{
    struct selection *s = ctx;

    s->is_ambiguous = s->token != NULL;
    if (!s->token)
        s->token = token;
    return !s->is_ambiguous;
}

/* All that a program selects. A projection's elements are as many tokens; another array is one. The
 * reference takes the one element of a projection for an array, too: a field that never works. */
static enum vg_status select_each(struct extraction *x, const struct program *p,
                                  const struct vg_json *root, bool is_match, jsonpath_visit *visit,
                                  void *ctx, struct vg_err *err)
{
    const struct vg_json *result = NULL;
    bool is_projection;
    enum vg_status st;

    if (p->jsonpath)
        return jsonpath_each(p->jsonpath, root, is_match ? x->nodes : NULL, &x->steps_left, visit,
                             ctx, err);
    st = jmespath_run(p->jmespath, root, x->arena, &x->steps_left, &result, &is_projection, err);
    if (st != VG_OK || result->type == VG_JSON_NULL)
        return st;
    if (!is_projection || (x->is_medtech && !is_match && result->count == 1)) {
        (void)visit(ctx, result);
        return VG_OK;
    }
    for (const struct vg_json *at = result->child; at; at = at->next)
        if (!visit(ctx, at))
            break;
    return VG_OK;
}

static enum vg_status fail_field(const struct extraction *x, const struct expression *e,
                                 const char *code, const char *what, struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, code, 0, "template '%.*s', %s%s%.*s: %s",
                   VG_FMT(x->template->type_name), e->member, e->value_name.len ? " of " : "",
                   VG_FMT(e->value_name), what);
}

/* The rules of section 1.3 of MedTech's behaviour: one token or none, converted; a failure of an
 * optional field is an absent field. Exactly one of ret_text and ret_time is asked for. */
static enum vg_status extract(struct extraction *x, const struct expression *e, bool needs_value,
                              struct vg_slice *ret_text, struct measurement *ret_time,
                              struct vg_err *err)
{
    struct memo *memo = e->memo ? &x->memos[e->memo - 1] : NULL;
    bool is_wrong_type = false, is_blank;

    if (memo && ret_time && memo->is_time) {
        ret_time->occurrence_us = memo->time_us;
        ret_time->occurrence_tenths = memo->tenths;
        return VG_OK;
    }
    if (memo && ret_text && memo->text.ptr) {
        *ret_text = memo->text;
        return VG_OK;
    }
    x->failed_at = e->at;
    for (int i = 0; i < 2 && has_program(&e->programs[i]); i++) {
        struct selection s = {.token = memo ? memo->token : NULL};
        struct vg_slice text = {0};
        enum vg_status st = VG_OK;

        if (!memo || !memo->is_known)
            st = select_each(x, &e->programs[i], x->root, false, select_one, &s, err);
        if (st != VG_OK)
            return st;
        if (s.is_ambiguous)
            return fail_field(x, e, "connector.ambiguous", "gave more than one token", err);
        if (memo) {
            memo->token = s.token;
            memo->is_known = true;
        }
        if (!s.token)
            continue;
        if (ret_time && value_time(s.token, x->is_medtech, &ret_time->occurrence_us,
                                   &ret_time->occurrence_tenths)) {
            if (memo) {
                memo->is_time = true;
                memo->time_us = ret_time->occurrence_us;
                memo->tenths = ret_time->occurrence_tenths;
            }
            return VG_OK;
        }
        if (ret_time) {
            is_wrong_type = s.token->type != VG_JSON_NULL;
            continue;
        }
        if (!value_text(x->arena, s.token, x->is_medtech, &text)) {
            is_wrong_type = true;
            continue;
        }
        is_blank = measurement_is_blank(text);
        if (memo && !is_blank)
            memo->text = text;
        if (!needs_value || !is_blank) {
            *ret_text = text;
            return VG_OK;
        }
    }
    if (!needs_value)
        return VG_OK;
    if (is_wrong_type)
        return fail_field(x, e, "connector.wrong_type",
                          ret_time ? "expected a date-time" : "expected a text, number or Boolean",
                          err);
    return fail_field(x, e, "connector.missing_value", "has no value in this message", err);
}

static enum vg_status extract_measurement(struct extraction *x, struct measurement ***tail,
                                          struct vg_err *err)
{
    const struct template *t = x->template;
    struct measurement *m = vg_arena_alloc(x->arena, sizeof(*m));
    struct vg_slice *const texts[FIELD_COUNT] = {[FIELD_DEVICE] = &m->device_id,
                                                 [FIELD_CORRELATION] = &m->correlation_id,
                                                 [FIELD_PATIENT] = &m->patient_id,
                                                 [FIELD_ENCOUNTER] = &m->encounter_id};
    struct measurement_value **values;

    if (!m)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "message needs too much memory");
    values = &m->values;
    m->type = t->type_name;
    for (int i = 0; i < FIELD_COUNT; i++) {
        const struct expression *e = &t->fields[i];
        enum vg_status st;

        if (!has_program(&e->programs[0]))
            continue;
        st = extract(x, e, fields[i].needs_value, texts[i], i == FIELD_TIME ? m : NULL, err);
        if (st != VG_OK)
            return st;
    }
    for (const struct value *v = t->values; v; v = v->next) {
        struct vg_slice text = {0};
        enum vg_status st = extract(x, &v->expression, v->is_required, &text, NULL, err);
        struct measurement_value *value;

        if (st != VG_OK)
            return st;
        if (!text.ptr)
            continue;
        value = vg_arena_alloc(x->arena, sizeof(*value));
        if (!value)
            return vg_fail(err, VG_REJECT, "connector.memory", 0, "message needs too much memory");
        value->name = v->name;
        value->text = text;
        *values = value;
        values = &value->next;
    }
    **tail = m;
    *tail = &m->next;
    return VG_OK;
}

struct matches {
    const struct vg_json *few[4]; /* the usual */
    const struct vg_json **tokens;
    size_t count;
    bool has_failed;
    struct vg_arena *arena;
};

static bool collect(void *ctx, const struct vg_json *token)
{
    struct matches *m = ctx;

    if (m->count == 0) {
        m->tokens = m->few;
    } else if (m->count >= 4 && (m->count & (m->count - 1)) == 0) {
        const struct vg_json **grown = vg_arena_alloc(m->arena, sizeof(*grown) * m->count * 2);

        if (grown)
            memcpy(grown, m->tokens, sizeof(*grown) * m->count);
        m->tokens = grown;
    }
    m->has_failed = !m->tokens || m->count == MATCHES_MAX;
    if (!m->has_failed)
        m->tokens[m->count++] = token;
    return !m->has_failed;
}

/* Makes the measurement of one match: `envelope` gets the member matchedToken for that long. */
static enum vg_status apply_match(struct extraction *x, struct vg_json *envelope,
                                  const struct vg_json *token, struct measurement ***tail,
                                  struct vg_err *err)
{
    struct vg_json alias = *token, *first = envelope->child;
    enum vg_status st;

    x->root = token;
    if (!x->template->sees_envelope)
        return extract_measurement(x, tail, err);
    alias.name = VG_SLICE("matchedToken");
    alias.next = first;
    envelope->child = &alias;
    x->root = envelope;
    st = extract_measurement(x, tail, err);
    envelope->child = first;
    return st;
}

/* Keeps the first error in *err, and each one in the list that the caller may have asked for. */
static void note_error(struct extraction *x, const struct vg_err *why, enum vg_status *status,
                       struct device_mapping_error ***tail, struct vg_err *err)
{
    struct device_mapping_error *error = tail ? vg_arena_alloc(x->arena, sizeof(*error)) : NULL;

    if (error) {
        error->why = *why;
        error->at = x->failed_at;
        **tail = error;
        *tail = &error->next;
    }
    if (*status == VG_REJECT)
        return;
    *status = VG_REJECT;
    if (err)
        *err = *why;
}

enum vg_status device_mapping_apply(const struct device_mapping *mapping, struct vg_json *envelope,
                                    struct vg_arena *arena, struct measurement ***tail,
                                    struct device_mapping_error ***error_tail, struct vg_err *err)
{
    struct memo memos[MEMO_MAX];
    struct extraction x = {.arena = arena,
                           .memos = memos,
                           .steps_left = DEVICE_MAPPING_STEPS_MAX,
                           .is_medtech = mapping->is_medtech};
    struct jsonpath_nodes nodes;
    enum vg_status status = VG_END;

    memset(memos, 0, sizeof(memos[0]) * mapping->memo_count);
    if (!jsonpath_nodes_init(&nodes, arena, envelope))
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "message needs too much memory");
    x.nodes = &nodes;

    for (const struct template *t = mapping->first; t; t = t->next) {
        struct matches matches = {.arena = arena};
        struct vg_err why; /* filled on failure only */
        enum vg_status st;

        if (t->match.programs[0].jsonpath &&
            !jsonpath_may_match(t->match.programs[0].jsonpath, &nodes))
            continue;
        x.template = t;
        x.failed_at = t->match.at;
        st = select_each(&x, &t->match.programs[0], envelope, true, collect, &matches, &why);
        if (st == VG_OK && matches.has_failed)
            st = vg_fail(&why, VG_REJECT, "connector.memory", 0,
                         "template '%.*s' matches more than %d parts of the message",
                         VG_FMT(t->type_name), MATCHES_MAX);
        if (st != VG_OK)
            note_error(&x, &why, &status, error_tail, err);
        for (size_t i = 0; i < matches.count && st == VG_OK; i++) {
            /* A failed one does not keep the next match back: that is another reading. */
            if (apply_match(&x, envelope, matches.tokens[i], tail, &why) != VG_OK)
                note_error(&x, &why, &status, error_tail, err);
            else if (status == VG_END)
                status = VG_OK;
            if (status == VG_REJECT && x.is_medtech)
                break;
        }
        if (x.steps_left == 0 || (status == VG_REJECT && x.is_medtech))
            break;
    }
    return status;
}

/* ---- the envelope ---- */

static bool put_members(struct vg_arena *arena, struct vg_json *object,
                        const struct device_property *list, size_t count)
{
    struct vg_json *nodes = count ? vg_arena_alloc(arena, sizeof(*nodes) * count) : NULL;

    if (count && !nodes)
        return false;
    object->type = VG_JSON_OBJECT;
    object->count = (uint32_t)count;
    object->child = nodes;
    for (size_t i = 0; i < count; i++) {
        nodes[i].type = VG_JSON_STRING;
        nodes[i].name = list[i].name;
        nodes[i].text = list[i].value;
        nodes[i].parent = object;
        nodes[i].next = i + 1 < count ? &nodes[i + 1] : NULL;
    }
    return true;
}

struct vg_json_options device_mapping_json(const struct device_mapping *mapping)
{
    return (struct vg_json_options){
        .is_lenient = true, .allow_trailing = mapping->is_medtech, .values_max = VALUES_MAX};
}

enum vg_status device_envelope_build(const struct device_mapping *mapping, struct vg_arena *arena,
                                     struct vg_slice body, const struct device_property *properties,
                                     size_t property_count, const struct device_property *system,
                                     size_t system_count, struct device_envelope *ret_envelope,
                                     struct vg_err *err)
{
    const struct vg_json_options options = device_mapping_json(mapping);
    struct vg_json_place place = {0, 0};
    struct device_envelope *e = ret_envelope;
    struct vg_json *tree;
    struct vg_err why = {0};

    if (vg_slice_starts(body, VG_SLICE("\xef\xbb\xbf")))
        body = vg_slice_from(body, 3);
    *e = (struct device_envelope){0};
    if (body.len == 0) {
        tree = vg_arena_alloc(arena, sizeof(*tree));
        if (!tree)
            return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for the message");
    } else if (vg_json_parse(arena, body, &options, &tree, &place, &why) != VG_OK) {
        return vg_fail(err, VG_REJECT, "connector.json", 0,
                       "payload is not JSON: line %u, column %u: %s", place.line, place.column,
                       why.text);
    }
    if (!put_members(arena, &e->properties, properties, property_count) ||
        !put_members(arena, &e->system, system, system_count))
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for the message");
    e->root.type = VG_JSON_OBJECT;
    e->root.count = 3;
    e->root.child = tree;
    tree->name = VG_SLICE("Body");
    tree->next = &e->properties;
    tree->parent = e->properties.parent = e->system.parent = &e->root;
    e->properties.name = VG_SLICE("Properties");
    e->properties.next = &e->system;
    e->system.name = VG_SLICE("SystemProperties");
    return VG_OK;
}
