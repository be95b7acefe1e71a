/* fhir_mapping.c -- the FHIR mapping: which Observation a type of measurement becomes.
 *
 * CollectionFhir of CodeValueFhir. Read once into plain structs; what the reference engine finds
 * out only when a message comes (unknown interval, no defaultPeriod, no codes) is an error at load
 * here.
 *
 * Threads: a loaded mapping is read-only.
 */
#include "connector/fhir_mapping.h"

#include "connector/value_rules.h"

#define TEMPLATES_MAX 1000

struct fhir_mapping {
    struct fhir_template *first;
};

static struct vg_slice text_of(struct mapping_errors *errors, const struct vg_json *object,
                               const char *member)
{
    const struct vg_json *at = mapping_get(object, member);

    if (!at || at->type == VG_JSON_NULL)
        return (struct vg_slice){0};
    if (at->type == VG_JSON_STRING)
        return at->text.ptr ? at->text : VG_SLICE("");
    mapping_error_add(errors, at, "'%s': expected a text", member);
    return (struct vg_slice){0};
}

/* An array member; NULL = absent, or not an array (then with an error). */
static const struct vg_json *array_of(struct mapping_errors *errors, const struct vg_json *object,
                                      const char *member, bool is_required)
{
    const struct vg_json *at = mapping_get(object, member);

    if (vg_json_is(at, VG_JSON_ARRAY))
        return at;
    if (at && at->type != VG_JSON_NULL)
        mapping_error_add(errors, at, "'%s': expected an array", member);
    else if (is_required)
        mapping_error_add(errors, object, "required member '%s' is missing", member);
    return NULL;
}

static void load_codes(struct mapping_errors *errors, const struct vg_json *object,
                       bool is_required, bool is_strict, struct fhir_codes *ret)
{
    static const char *const known[] = {"code", "system", "display", NULL};
    const struct vg_json *list = array_of(errors, object, "codes", is_required);

    if (!list || list->count == 0)
        return;
    ret->list = vg_arena_alloc(errors->arena, sizeof(*ret->list) * list->count);
    if (!ret->list) {
        mapping_error_add(errors, list, "not enough memory for the codes");
        return;
    }
    for (const struct vg_json *at = list->child; at; at = at->next) {
        struct fhir_code *code = &ret->list[ret->count];

        if (at->type != VG_JSON_OBJECT) {
            mapping_error_add(errors, at, "'codes': expected an object");
            continue;
        }
        if (is_strict)
            mapping_check_members(errors, at, known);
        code->code = text_of(errors, at, "code");
        code->system = text_of(errors, at, "system");
        code->display = text_of(errors, at, "display");
        if (code->code.len + code->display.len + code->system.len > 0)
            ret->count++; /* an empty coding is not valid FHIR */
    }
}

static void load_value(struct mapping_errors *errors, const struct vg_json *at,
                       struct fhir_value *ret)
{
    static const struct {
        const char *name;
        enum fhir_value_type type;
    } types[] = {{"Quantity", FHIR_VALUE_QUANTITY},
                 {"SampledData", FHIR_VALUE_SAMPLED},
                 {"CodeableConcept", FHIR_VALUE_CONCEPT},
                 {"String", FHIR_VALUE_STRING}};
    const struct vg_json *period;
    struct vg_slice type;
    double period_ms = 0;

    if (at->type != VG_JSON_OBJECT) {
        mapping_error_add(errors, at, "'value': expected an object");
        return;
    }
    type = vg_json_get_text(at, "valueType");
    if (!type.ptr)
        type = vg_json_get_text(at, "ValueType");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (vg_slice_eq_nocase(type, vg_slice_of(types[i].name)))
            ret->type = types[i].type;
    if (ret->type == FHIR_VALUE_NONE) {
        mapping_error_add(errors, at,
                          "'valueType': expected Quantity, SampledData, CodeableConcept or String, "
                          "found '%.*s'",
                          VG_FMT(type));
        return;
    }
    ret->is_medtech = errors->is_medtech;
    ret->name = text_of(errors, at, "valueName");
    ret->unit = text_of(errors, at, "unit");
    ret->code = text_of(errors, at, "code");
    ret->system = text_of(errors, at, "system");
    ret->text = text_of(errors, at, "text");
    if (ret->name.len == 0)
        mapping_error_add(errors, at, "required member 'valueName' is missing");
    if (ret->type == FHIR_VALUE_CONCEPT)
        load_codes(errors, at, true, false, &ret->codes);
    if (ret->type != FHIR_VALUE_SAMPLED)
        return;
    period = mapping_get(at, "defaultPeriod");
    if (period &&
        (vg_json_to_double(period, &period_ms) ||
         vg_slice_to_double(vg_json_text(period), &period_ms)) &&
        period_ms >= 0.001 && period_ms <= 86400000.0)
        ret->period_us = (int64_t)(period_ms * 1000.0 + 0.5);
    else
        mapping_error_add(errors, period ? period : at,
                          "'defaultPeriod': expected milliseconds, up to a day");
}

static void load_interval(struct mapping_errors *errors, const struct vg_json *at,
                          enum fhir_interval *ret)
{
    static const struct {
        const char *name;
        enum fhir_interval interval;
    } names[] = {{"CorrelationId", FHIR_INTERVAL_CORRELATION},
                 {"Single", FHIR_INTERVAL_INSTANT},
                 {"Instance", FHIR_INTERVAL_INSTANT},
                 {"Hourly", FHIR_INTERVAL_HOUR},
                 {"Daily", FHIR_INTERVAL_DAY}};
    int64_t number = 0;
    bool is_number;

    if (!at || at->type == VG_JSON_NULL)
        return;
    is_number = vg_json_to_i64(at, &number) || vg_slice_to_i64(vg_json_text(at), &number);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (is_number ? number == (int64_t)names[i].interval
                      : vg_slice_eq_nocase(vg_json_text(at), vg_slice_of(names[i].name))) {
            *ret = names[i].interval;
            return;
        }
    mapping_error_add(errors, at, "'periodInterval': expected -1, 0, 60 or 1440");
}

static void load_categories(struct mapping_errors *errors, const struct vg_json *object,
                            struct fhir_template *t)
{
    static const char *const known[] = {"text", "codes", NULL};
    const struct vg_json *list = array_of(errors, object, "category", false);

    if (!list || list->count == 0)
        return;
    t->categories = vg_arena_alloc(errors->arena, sizeof(*t->categories) * list->count);
    if (!t->categories) {
        mapping_error_add(errors, list, "not enough memory for the categories");
        return;
    }
    for (const struct vg_json *at = list->child; at; at = at->next) {
        struct fhir_category *category = &t->categories[t->category_count];

        if (at->type != VG_JSON_OBJECT) {
            mapping_error_add(errors, at, "'category': expected an object");
            continue;
        }
        mapping_check_members(errors, at, known);
        category->text = text_of(errors, at, "text");
        load_codes(errors, at, true, true, &category->codes);
        if (category->codes.count > 0 || category->text.len > 0)
            t->category_count++;
    }
}

/* The members of a template or a component: MedTech's, and without is_medtech the rules' too. */
static void check_members(struct mapping_errors *errors, const struct vg_json *object,
                          const char *const *known)
{
    const char *all[16];
    size_t count = 0;

    for (size_t i = 0; known[i]; i++)
        all[count++] = known[i];
    for (size_t i = 0; !errors->is_medtech && value_rules_members[i]; i++)
        all[count++] = value_rules_members[i];
    all[count] = NULL;
    mapping_check_members(errors, object, all);
}

static void load_components(struct mapping_errors *errors, const struct vg_json *object,
                            struct fhir_template *t)
{
    static const char *const known[] = {"codes", "value", NULL};
    const struct vg_json *list = array_of(errors, object, "components", false);

    if (!list || list->count == 0)
        return;
    t->components = vg_arena_alloc(errors->arena, sizeof(*t->components) * list->count);
    if (!t->components) {
        mapping_error_add(errors, list, "not enough memory for the components");
        return;
    }
    for (const struct vg_json *at = list->child; at; at = at->next) {
        struct fhir_component *component = &t->components[t->component_count];
        const struct vg_json *value = mapping_get(at, "value");

        if (at->type != VG_JSON_OBJECT) {
            mapping_error_add(errors, at, "'components': expected an object");
            continue;
        }
        check_members(errors, at, known);
        load_codes(errors, at, true, true, &component->codes);
        if (!value || value->type == VG_JSON_NULL)
            mapping_error_add(errors, at, "required member 'value' is missing");
        else
            load_value(errors, value, &component->value);
        if (!errors->is_medtech)
            value_rules_load(errors, at, &component->value);
        t->component_count++;
    }
}

/* ---- what never changes from one Observation to the next is written once ---- */

/* `has_own`: the reference adds a coding of its own system for the text. */
static void put_codes(struct vg_json_writer *w, const struct fhir_codes *codes,
                      struct vg_slice text, bool has_own)
{
    if (codes->count > 0 || has_own) {
        vg_json_name(w, "coding");
        vg_json_open_array(w);
        for (uint32_t i = 0; i < codes->count; i++) {
            const struct fhir_code *code = &codes->list[i];

            vg_json_open_object(w);
            if (code->system.len > 0)
                vg_json_member_string(w, "system", code->system);
            if (code->code.len > 0)
                vg_json_member_string(w, "code", code->code);
            if (code->display.len > 0)
                vg_json_member_string(w, "display", code->display);
            vg_json_close_object(w);
        }
        if (has_own) {
            vg_json_open_object(w);
            vg_json_member_string(w, "system", VG_SLICE(FHIR_MEDTECH_SYSTEM));
            vg_json_member_string(w, "code", text);
            vg_json_member_string(w, "display", text);
            vg_json_close_object(w);
        }
        vg_json_close_array(w);
    }
    if (text.len > 0)
        vg_json_member_string(w, "text", text);
}

static void put_concept(struct vg_json_writer *w, const struct fhir_codes *codes,
                        struct vg_slice text, bool has_own)
{
    vg_json_open_object(w);
    put_codes(w, codes, text, has_own);
    vg_json_close_object(w);
}

void fhir_template_write_code(const struct fhir_template *t, struct vg_slice type,
                              struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    put_concept(&w, &t->codes, type, t->is_medtech);
}

static struct vg_slice keep(struct mapping_errors *errors, struct vg_buf *buf)
{
    struct vg_slice kept = vg_arena_dup(errors->arena, vg_buf_slice(buf));

    if (!kept.ptr || !vg_buf_ok(buf))
        mapping_error_add(errors, NULL, "not enough memory for the mapping");
    vg_buf_clear(buf);
    return kept;
}

/* The first LOINC code, else the first. */
static const struct fhir_code *main_code(const struct fhir_codes *codes)
{
    for (uint32_t i = 0; i < codes->count; i++)
        if (vg_slice_is(codes->list[i].system, "http://loinc.org"))
            return &codes->list[i];
    return codes->count > 0 ? &codes->list[0] : NULL;
}

/* What the header `fhir` says of the value (docs/records.md), but for the value itself. */
static void render_header(struct mapping_errors *errors, struct vg_buf *buf, struct fhir_value *v,
                          const struct fhir_codes *codes)
{
    const struct fhir_code *code = main_code(codes);
    struct vg_slice unit =
        vg_slice_is(v->system, "http://unitsofmeasure.org") && v->code.len ? v->code : v->unit;

    if (!code || v->type == FHIR_VALUE_NONE)
        return;
    vg_buf_put(buf, VG_SLICE("{\"name\":"));
    vg_json_escape(buf, v->name);
    if (code->system.len > 0) {
        vg_buf_put(buf, VG_SLICE(",\"system\":"));
        vg_json_escape(buf, code->system);
    }
    vg_buf_put(buf, VG_SLICE(",\"code\":"));
    vg_json_escape(buf, code->code);
    vg_buf_put_byte(buf, ',');
    v->header_json = keep(errors, buf);
    v->is_fahrenheit = vg_slice_is(unit, "[degF]");
    if (unit.len == 0)
        return;
    vg_buf_put(buf, VG_SLICE(",\"unit\":"));
    vg_json_escape(buf, v->is_fahrenheit ? VG_SLICE("Cel") : unit);
    v->unit_json = keep(errors, buf);
}

static void render_value(struct mapping_errors *errors, struct vg_buf *buf, struct fhir_value *v,
                         const struct fhir_codes *codes)
{
    struct vg_json_writer w;
    struct vg_slice all;

    vg_json_writer_init(&w, buf);
    vg_json_open_object(&w);
    if (v->type == FHIR_VALUE_QUANTITY) {
        if (v->unit.len > 0)
            vg_json_member_string(&w, "unit", v->unit);
        if (v->system.len > 0)
            vg_json_member_string(&w, "system", v->system);
        if (v->code.len > 0)
            vg_json_member_string(&w, "code", v->code);
    } else if (v->type == FHIR_VALUE_CONCEPT) {
        put_codes(&w, &v->codes, v->text, false);
    }
    vg_json_close_object(&w);
    all = keep(errors, buf);
    if (all.len >= 2)
        v->json = (struct vg_slice){all.ptr + 1, all.len - 2}; /* without the braces */
    render_header(errors, buf, v, codes);
}

static void check_samples(struct mapping_errors *errors, const struct vg_json *at,
                          struct fhir_template *t, const struct fhir_value *v)
{
    int64_t span_us = (int64_t)t->interval * 60 * 1000000;

    if (v->type != FHIR_VALUE_SAMPLED || v->period_us <= 0)
        return;
    if (v->period_us > t->align_us)
        t->align_us = v->period_us;
    if (span_us / v->period_us > FHIR_SAMPLES_MAX)
        mapping_error_add(errors, at,
                          "'defaultPeriod': more than %d samples in one Observation: expected a "
                          "shorter periodInterval",
                          FHIR_SAMPLES_MAX);
}

static bool has_loinc(const struct fhir_codes *codes, const char *code)
{
    for (uint32_t i = 0; i < codes->count; i++)
        if (vg_slice_is(codes->list[i].system, "http://loinc.org") &&
            vg_slice_is(codes->list[i].code, code))
            return true;
    return false;
}

static void render_template(struct mapping_errors *errors, const struct vg_json *at,
                            struct fhir_template *t)
{
    struct vg_json_writer w;
    struct vg_buf buf;

    vg_buf_init(&buf, 1u << 20);
    fhir_template_write_code(t, t->type_name, &buf);
    t->code_json = keep(errors, &buf);
    if (t->category_count > 0) {
        vg_json_writer_init(&w, &buf);
        vg_json_open_array(&w);
        for (uint32_t i = 0; i < t->category_count; i++)
            put_concept(&w, &t->categories[i].codes, t->categories[i].text, false);
        vg_json_close_array(&w);
        t->category_json = keep(errors, &buf);
    }
    check_samples(errors, at, t, &t->value);
    render_value(errors, &buf, &t->value, &t->codes);
    for (uint32_t i = 0; i < t->component_count; i++) {
        struct fhir_component *component = &t->components[i];

        component->is_demanded =
            !t->is_medtech && has_loinc(&t->codes, "85354-9") &&
            (has_loinc(&component->codes, "8480-6") || has_loinc(&component->codes, "8462-4"));
        vg_json_writer_init(&w, &buf);
        put_concept(&w, &component->codes, component->value.name, t->is_medtech);
        component->code_json = keep(errors, &buf);
        check_samples(errors, at, t, &component->value);
        render_value(errors, &buf, &component->value, &component->codes);
    }
    vg_buf_fini(&buf);
}

static void load_template(struct mapping_errors *errors, const struct vg_json *at,
                          struct fhir_template *t)
{
    static const char *const known[] = {"typeName", "periodInterval", "category", "codes",
                                        "value",    "components",     NULL};
    const struct vg_json *value = mapping_get(at, "value");

    t->is_medtech = errors->is_medtech;
    check_members(errors, at, known);
    load_interval(errors, mapping_get(at, "periodInterval"), &t->interval);
    load_codes(errors, at, true, true, &t->codes);
    load_categories(errors, at, t);
    if (value && value->type != VG_JSON_NULL)
        load_value(errors, value, &t->value);
    if (!errors->is_medtech)
        value_rules_load(errors, at, &t->value);
    load_components(errors, at, t);
    render_template(errors, at, t);
}

enum vg_status fhir_mapping_load(struct mapping_errors *errors,
                                 const struct fhir_mapping **ret_mapping, struct vg_err *err)
{
    const struct vg_json *list = mapping_templates(errors, "CollectionFhir");
    struct fhir_mapping *mapping = vg_arena_alloc(errors->arena, sizeof(*mapping));
    struct fhir_template **tail = mapping ? &mapping->first : NULL;

    if (!mapping)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for the FHIR mapping");
    if (list && list->count > TEMPLATES_MAX) {
        mapping_error_add(errors, list, "%u templates: expected at most %d", list->count,
                          TEMPLATES_MAX);
        list = NULL;
    }
    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next) {
        const struct vg_json *type = mapping_get(at, "templateType");
        const struct vg_json *body = mapping_get(at, "template"), *name;
        struct fhir_template *t = vg_arena_alloc(errors->arena, sizeof(*t));
        size_t count = errors->count;

        if (!mapping_is_type(vg_json_text(type), "CodeValueFhir", true)) {
            mapping_error_add(errors, type ? type : at,
                              "expected templateType CodeValueFhir, found '%.*s'",
                              VG_FMT(vg_json_text(type)));
            continue;
        }
        if (!t || !vg_json_is(body, VG_JSON_OBJECT)) {
            mapping_error_add(errors, body ? body : at, "expected an object as template");
            continue;
        }
        name = mapping_get(body, "typeName");
        t->type_name = vg_json_text(name);
        if (!name)
            mapping_error_add(errors, body, "required member 'typeName' is missing");
        else if (vg_slice_trim(t->type_name).len == 0)
            mapping_error_add(errors, name, "'typeName': expected a text that is not blank");
        else if (fhir_mapping_find(mapping, t->type_name))
            mapping_error_add(errors, name, "a second template for type '%.*s'",
                              VG_FMT(t->type_name));
        load_template(errors, body, t);
        if (errors->count > count)
            continue; /* it is no first one for another of its type */
        *tail = t;
        tail = &t->next;
    }
    *ret_mapping = mapping;
    return mapping_errors_status(errors, "FHIR mapping", err);
}

const struct fhir_template *fhir_mapping_first(const struct fhir_mapping *mapping)
{
    return mapping->first;
}

const struct fhir_template *fhir_mapping_find(const struct fhir_mapping *mapping,
                                              struct vg_slice type)
{
    for (const struct fhir_template *t = mapping->first; t; t = t->next)
        if (vg_slice_eq_nocase(t->type_name, type))
            return t;
    return NULL;
}
