/* value_rules.c -- what a FHIR mapping says of a number beyond MedTech's own.
 *
 *     "fromUnit": "[degF]",                                  converted to the value's own unit
 *     "molarMass": 180.156,                                  g/mol, for mmol/L to mg/dL and back
 *     "limits": {"low": 25, "high": 45, "outside": "error", "notANumber": "not-a-number"},
 *     "interpretation": {"LL": 34, "L": 36, "H": 38, "HH": 40},
 *     "referenceRange": {"low": 36.1, "high": 37.5, "text": "adults, under the tongue"}
 *
 * Numbers of limits, interpretation and referenceRange are in the value's unit, after conversion.
 *
 * Threads: rules are read-only once loaded.
 */
#include "connector/value_rules.h"

#include "connector/value.h"

#define UCUM_SYSTEM "http://unitsofmeasure.org"

const char *const value_rules_members[] = {"fromUnit",       "molarMass",      "limits",
                                           "interpretation", "referenceRange", NULL};

/* Those of FHIR's data-absent-reason that say something of a value that was sent. Not "unknown",
 * which is what a component says that was not sent at all. */
static const char *const reasons[] = {"error",
                                      "not-a-number",
                                      "unsupported",
                                      "not-applicable",
                                      "not-performed",
                                      "not-permitted",
                                      "masked",
                                      "as-text",
                                      "temp-unknown",
                                      "negative-infinity",
                                      "positive-infinity",
                                      NULL};

static const char *const threshold_names[] = {"LL", "L", "H", "HH"};

const char *value_rules_reason(struct vg_slice code)
{
    for (int i = 0; reasons[i]; i++)
        if (vg_slice_is(code, reasons[i]))
            return reasons[i];
    return NULL;
}

/* ---- loading ---- */

/* The number `member`, or none; false: something else, told. */
static bool load_bound(struct mapping_errors *errors, const struct vg_json *object,
                       const char *member, struct value_bound *ret)
{
    const struct vg_json *at = mapping_get(object, member);

    if (!at || at->type == VG_JSON_NULL)
        return true;
    ret->is_set = vg_json_to_double(at, &ret->value);
    if (!ret->is_set)
        mapping_error_add(errors, at, "'%s': expected a number", member);
    return ret->is_set;
}

static void check_order(struct mapping_errors *errors, const struct vg_json *at,
                        const struct value_bound *low, const struct value_bound *high,
                        const char *text)
{
    if (low->is_set && high->is_set && low->value > high->value)
        mapping_error_add(errors, at, "%s", text);
}

/* An object member without members that nobody knows; NULL: absent, or wrong and told. */
static const struct vg_json *load_object(struct mapping_errors *errors,
                                         const struct vg_json *object, const char *member,
                                         const char *const *known)
{
    const struct vg_json *at = mapping_get(object, member);

    if (!at || at->type == VG_JSON_NULL)
        return NULL;
    if (at->type != VG_JSON_OBJECT) {
        mapping_error_add(errors, at, "'%s': expected an object", member);
        return NULL;
    }
    mapping_check_members(errors, at, known);
    return at;
}

static void load_conversion(struct mapping_errors *errors, const struct vg_json *object,
                            const struct fhir_value *v, struct value_rules *rules)
{
    const struct vg_json *from = mapping_get(object, "fromUnit");
    const struct vg_json *mass = mapping_get(object, "molarMass");
    struct vg_slice to = vg_slice_is(v->system, UCUM_SYSTEM) && v->code.len ? v->code : v->unit;
    struct vg_err why = {0};

    if (!from) {
        if (mass)
            mapping_error_add(errors, mass, "'molarMass' without 'fromUnit'");
        return;
    }
    if (from->type != VG_JSON_STRING) {
        mapping_error_add(errors, from, "'fromUnit': expected a UCUM unit as text");
        return;
    }
    if (mass && (mass->type != VG_JSON_NUMBER || mass->text.len == 0)) {
        mapping_error_add(errors, mass, "'molarMass': expected grams per mole, as a number");
        return;
    }
    if (to.len == 0) {
        mapping_error_add(errors, from, "'fromUnit': the value has no UCUM unit to convert to");
        return;
    }
    rules->has_conversion =
        ucum_conversion_init(&rules->conversion, from->text, to,
                             mass ? mass->text : (struct vg_slice){0}, &why) == VG_OK;
    if (!rules->has_conversion)
        mapping_error_add(errors, from, "'fromUnit': %s", why.text);
}

/* "deadLetter" (NULL) or a code. */
static const char *load_reason(struct mapping_errors *errors, const struct vg_json *object,
                               const char *member, const struct fhir_value *v)
{
    const struct vg_json *at = mapping_get(object, member);
    const char *reason = NULL;

    if (!at || at->type == VG_JSON_NULL || vg_slice_is(vg_json_text(at), "deadLetter"))
        return NULL;
    reason = value_rules_reason(vg_json_text(at));
    if (!reason)
        mapping_error_add(errors, at,
                          "'%s': expected deadLetter or a reason (error, not-a-number, "
                          "unsupported, not-performed, masked...)",
                          member);
    else if (v->type != FHIR_VALUE_QUANTITY)
        mapping_error_add(errors, at, "'%s': SampledData has no reason for a sample: deadLetter",
                          member);
    return reason;
}

static void load_limits(struct mapping_errors *errors, const struct vg_json *object,
                        const struct fhir_value *v, struct value_rules *rules)
{
    static const char *const known[] = {"low", "high", "outside", "notANumber", NULL};
    const struct vg_json *at = load_object(errors, object, "limits", known);

    if (!at || !load_bound(errors, at, "low", &rules->low) ||
        !load_bound(errors, at, "high", &rules->high))
        return;
    check_order(errors, at, &rules->low, &rules->high, "'limits': low is above high");
    rules->outside = load_reason(errors, at, "outside", v);
    rules->not_a_number = load_reason(errors, at, "notANumber", v);
    if (!rules->low.is_set && !rules->high.is_set && !rules->not_a_number)
        mapping_error_add(errors, at, "'limits': expected low, high or notANumber");
}

static void load_interpretation(struct mapping_errors *errors, const struct vg_json *object,
                                const struct fhir_value *v, struct value_rules *rules)
{
    static const char *const known[] = {"LL", "L", "H", "HH", NULL};
    const struct vg_json *at = load_object(errors, object, "interpretation", known);
    const struct value_bound *last = NULL;

    if (!at)
        return;
    if (v->type != FHIR_VALUE_QUANTITY)
        mapping_error_add(errors, at, "'interpretation': only of a Quantity");
    for (int i = 0; i < RULES_THRESHOLDS; i++) {
        struct value_bound *bound = &rules->thresholds[i];

        if (!load_bound(errors, at, threshold_names[i], bound))
            return;
        if (!bound->is_set)
            continue;
        if (last)
            check_order(errors, mapping_get(at, threshold_names[i]), last, bound,
                        "'interpretation': expected LL <= L <= H <= HH");
        last = bound;
    }
    rules->has_interpretation = last != NULL;
    if (!last)
        mapping_error_add(errors, at, "'interpretation': expected LL, L, H or HH");
}

static void put_range_bound(struct vg_json_writer *w, const char *name, const struct vg_json *at,
                            const struct fhir_value *v)
{
    if (!at)
        return;
    vg_json_name(w, name);
    vg_json_open_object(w);
    vg_json_member_raw(w, "value", at->text);
    if (v->unit.len > 0)
        vg_json_member_string(w, "unit", v->unit);
    if (v->system.len > 0)
        vg_json_member_string(w, "system", v->system);
    if (v->code.len > 0)
        vg_json_member_string(w, "code", v->code);
    vg_json_close_object(w);
}

static void load_range(struct mapping_errors *errors, const struct vg_json *object,
                       const struct fhir_value *v, struct value_rules *rules)
{
    static const char *const known[] = {"low", "high", "text", NULL};
    const struct vg_json *at = load_object(errors, object, "referenceRange", known);
    const struct vg_json *text = mapping_get(at, "text"), *low, *high;
    struct value_bound bounds[2] = {{0}};
    struct vg_json_writer w;
    struct vg_buf buf;

    if (!at || !load_bound(errors, at, "low", &bounds[0]) ||
        !load_bound(errors, at, "high", &bounds[1]))
        return;
    if (text && text->type != VG_JSON_STRING) {
        mapping_error_add(errors, text, "'text': expected a text");
        return;
    }
    low = bounds[0].is_set ? mapping_get(at, "low") : NULL;
    high = bounds[1].is_set ? mapping_get(at, "high") : NULL;
    check_order(errors, at, &bounds[0], &bounds[1], "'referenceRange': low is above high");
    if (!low && !high && vg_slice_trim(vg_json_text(text)).len == 0)
        mapping_error_add(errors, at, "'referenceRange': expected low, high or text");
    vg_buf_init(&buf, 1u << 20);
    vg_json_writer_init(&w, &buf);
    vg_json_open_array(&w);
    vg_json_open_object(&w);
    put_range_bound(&w, "low", low, v);
    put_range_bound(&w, "high", high, v);
    if (text && text->text.len > 0)
        vg_json_member_string(&w, "text", text->text);
    vg_json_close_object(&w);
    vg_json_close_array(&w);
    rules->range_json = vg_arena_dup(errors->arena, vg_buf_slice(&buf));
    if (!vg_buf_ok(&buf) || !rules->range_json.ptr)
        mapping_error_add(errors, at, "not enough memory for the mapping");
    vg_buf_fini(&buf);
}

void value_rules_load(struct mapping_errors *errors, const struct vg_json *object,
                      struct fhir_value *v)
{
    const struct vg_json *first = NULL;
    struct value_rules *rules;

    for (int i = 0; value_rules_members[i] && !first; i++)
        first = mapping_get(object, value_rules_members[i]);
    if (!first)
        return;
    if (v->type != FHIR_VALUE_QUANTITY && v->type != FHIR_VALUE_SAMPLED) {
        mapping_error_add(errors, first, "'%.*s': only of a Quantity or SampledData value",
                          VG_FMT(first->name));
        return;
    }
    rules = vg_arena_alloc(errors->arena, sizeof(*rules));
    if (!rules) {
        mapping_error_add(errors, first, "not enough memory for the mapping");
        return;
    }
    load_conversion(errors, object, v, rules);
    load_limits(errors, object, v, rules);
    load_interpretation(errors, object, v, rules);
    load_range(errors, object, v, rules);
    v->rules = rules;
}

/* ---- applying ---- */

enum value_outcome value_rules_apply(const struct fhir_value *v, struct vg_slice text,
                                     char out[static 40], struct vg_slice *ret_number,
                                     const char **ret_reason)
{
    const struct value_rules *rules = v->rules;
    struct vg_slice number;
    double value = 0;
    char plain[40];
    bool is_outside;

    if (!rules)
        return value_decimal(text, v->is_medtech, out, ret_number) ? VALUE_NUMBER
                                                                   : VALUE_NOT_A_NUMBER;
    *ret_reason = rules->not_a_number;
    if (!value_decimal(text, v->is_medtech, plain, &number))
        return rules->not_a_number ? VALUE_ABSENT : VALUE_NOT_A_NUMBER;
    if (rules->has_conversion) {
        number = (struct vg_slice){out, ucum_convert(&rules->conversion, number, out)};
    } else {
        memcpy(out, number.ptr, number.len);
        number.ptr = out;
    }
    if (number.len == 0 || !vg_slice_to_double(number, &value))
        return rules->not_a_number ? VALUE_ABSENT : VALUE_NOT_A_NUMBER;
    *ret_number = number;
    *ret_reason = rules->outside;
    is_outside = (rules->low.is_set && value < rules->low.value) ||
                 (rules->high.is_set && value > rules->high.value);
    if (!is_outside)
        return VALUE_NUMBER;
    return rules->outside ? VALUE_ABSENT : VALUE_OUTSIDE;
}

static int interpret(const struct value_rules *rules, struct vg_slice number)
{
    const struct value_bound *t = rules->thresholds;
    double value = 0;

    (void)vg_slice_to_double(number, &value);
    if (t[RULES_LL].is_set && value < t[RULES_LL].value)
        return RULES_LL;
    if (t[RULES_HH].is_set && value > t[RULES_HH].value)
        return RULES_HH;
    if (t[RULES_L].is_set && value < t[RULES_L].value)
        return RULES_L;
    return t[RULES_H].is_set && value > t[RULES_H].value ? RULES_H : RULES_THRESHOLDS;
}

void value_rules_write(const struct value_rules *rules, struct vg_slice number, struct vg_buf *out)
{
    static const struct {
        const char *code, *display;
    } codes[] = {[RULES_LL] = {"LL", "Critical low"},
                 [RULES_L] = {"L", "Low"},
                 [RULES_H] = {"H", "High"},
                 [RULES_HH] = {"HH", "Critical high"},
                 [RULES_THRESHOLDS] = {"N", "Normal"}};

    if (!rules)
        return;
    if (rules->has_interpretation && number.len > 0) {
        int code = interpret(rules, number);

        vg_buf_printf(out,
                      ",\"interpretation\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
                      "CodeSystem/v3-ObservationInterpretation\",\"code\":\"%s\",\"display\":"
                      "\"%s\"}]}]",
                      codes[code].code, codes[code].display);
    }
    if (rules->range_json.len > 0) {
        vg_buf_put(out, VG_SLICE(",\"referenceRange\":"));
        vg_buf_put(out, rules->range_json);
    }
}
