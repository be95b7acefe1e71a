/* validate_profile.c -- R4's vital signs profiles, by what they demand beyond Observation.
 *
 * A profile fixes a LOINC code, which must be one of the codings, and the UCUM units of the value.
 * The base profile `vitalsigns` demands category, subject, effective time and a value or the reason
 * for its absence.
 */
#include "fhir/validate_int.h"

#define BASE "http://hl7.org/fhir/StructureDefinition/"
#define LOINC "http://loinc.org"
#define UCUM "http://unitsofmeasure.org"

static const struct {
    const char *name, *code, *units; /* units NULL: no value of its own */
} profiles[] = {
    {"vitalsigns", NULL, ""},
    {"vitalspanel", "85353-1", NULL},
    {"heartrate", "8867-4", "/min"},
    {"resprate", "9279-1", "/min"},
    {"oxygensat", "2708-6", "%"},
    {"bodytemp", "8310-5", "Cel,[degF]"},
    {"bodyheight", "8302-2", "cm,[in_i]"},
    {"headcircum", "9843-4", "cm,[in_i]"},
    {"bodyweight", "29463-7", "kg,g,[lb_av]"},
    {"bmi", "39156-5", "kg/m2"},
    {"bp", "85354-9", NULL},
};

static const struct vg_json *elements(const struct vg_json *node, const char *name)
{
    const struct vg_json *array = vg_json_get(node, name);

    return vg_json_is(array, VG_JSON_ARRAY) ? array->child : NULL;
}

static bool has_coding(const struct vg_json *concept, const char *system, const char *code)
{
    for (const struct vg_json *one = elements(concept, "coding"); one; one = one->next)
        if (vg_slice_is(vg_json_get_text(one, "system"), system) &&
            vg_slice_is(vg_json_get_text(one, "code"), code))
            return true;
    return false;
}

static bool has_value(const struct vg_json *node)
{
    for (const struct vg_json *child = node->child; child; child = child->next)
        if (child->name.len > 5 && vg_slice_starts(child->name, VG_SLICE("value")))
            return true;
    return false;
}

static void demand(struct fhir_checking *in, bool holds, const struct vg_json *node,
                   const char *missing, const char *text)
{
    if (!holds)
        fhir_report(in, node, missing, 422, "invariant", "%s", text);
}

static void check_quantity(struct fhir_checking *in, const struct vg_json *node, const char *units)
{
    const struct vg_json *value = vg_json_get(node, "valueQuantity");

    if (!value) {
        demand(in, !has_value(node) && vg_json_get(node, "dataAbsentReason"), node, "value",
               "must be a Quantity, or there is a dataAbsentReason");
        return;
    }
    demand(in, vg_json_is(vg_json_get(value, "value"), VG_JSON_NUMBER), value, "value",
           "must be there");
    demand(in, vg_json_get(value, "unit"), value, "unit", "must be there");
    demand(in, vg_slice_is(vg_json_get_text(value, "system"), UCUM), value, "system",
           "must be that of UCUM");
    if (!fhir_list_has(units, vg_json_get_text(value, "code")))
        fhir_report(in, value, "code", 422, "code-invalid", "must be one of %s", units);
}

static void check_vital_signs(struct fhir_checking *in, const struct vg_json *root)
{
    const struct vg_json *effective = vg_json_get(root, "effectiveDateTime");
    bool is_vital = false;
    struct fhir_span span;
    enum fhir_precision precision = FHIR_SECOND;

    for (const struct vg_json *one = elements(root, "category"); one; one = one->next)
        is_vital |= has_coding(one, "http://terminology.hl7.org/CodeSystem/observation-category",
                               "vital-signs");
    demand(in, is_vital, root, "category", "must have vital-signs (vitalsigns)");
    demand(in, vg_json_get(root, "subject"), root, "subject", "must be there (vitalsigns)");
    demand(in, effective || vg_json_get(root, "effectivePeriod"), root, "effective",
           "must be a dateTime or a Period (vitalsigns)");
    if (effective && fhir_time_parse(effective->text, &span, &precision, NULL))
        demand(in, precision >= FHIR_DAY, effective, NULL, "must be exact to the day (vs-1)");
    demand(in,
           vg_json_get(root, "component") || vg_json_get(root, "hasMember") || has_value(root) ||
               vg_json_get(root, "dataAbsentReason"),
           root, "value", "must be there, or dataAbsentReason, component or hasMember (vs-2)");
    for (const struct vg_json *one = elements(root, "component"); one; one = one->next)
        demand(in, has_value(one) || vg_json_get(one, "dataAbsentReason"), one, "value",
               "must be there, or dataAbsentReason (vs-3)");
}

static void check_pressure(struct fhir_checking *in, const struct vg_json *root)
{
    static const char *const parts[] = {"8480-6", "8462-4"};

    demand(in, !has_value(root), root, NULL, "is a panel and has no value of its own");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const struct vg_json *found = NULL;

        for (const struct vg_json *one = elements(root, "component"); one; one = one->next)
            if (has_coding(vg_json_get(one, "code"), LOINC, parts[i]))
                found = one;
        if (!found)
            fhir_report(in, root, "component", 422, "invariant", "must have LOINC %s (bp)",
                        parts[i]);
        else
            check_quantity(in, found, "mm[Hg]");
    }
}

bool fhir_profile_check(struct fhir_checking *in, struct vg_slice url)
{
    const struct vg_json *root = in->root;
    const struct vg_slice base = VG_SLICE(BASE);

    url = vg_slice_cut(&url, '|');
    if (!vg_slice_starts(url, base))
        return false;
    url = vg_slice_from(url, base.len);
    /* The resource's own type is a profile that it was checked against already. */
    if (vg_slice_is(url, fhir_type_name(in->type)) || vg_slice_is(url, "Resource") ||
        vg_slice_is(url, "DomainResource"))
        return true;
    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
        if (!vg_slice_is(url, profiles[i].name))
            continue;
        if (strcmp(fhir_type_name(in->type), "Observation") != 0) {
            fhir_report(in, root, NULL, 422, "invariant",
                        "must be an Observation for this profile");
            return true;
        }
        check_vital_signs(in, root);
        if (profiles[i].code && !has_coding(vg_json_get(root, "code"), LOINC, profiles[i].code))
            fhir_report(in, root, "code", 422, "invariant", "must have LOINC %s (%s)",
                        profiles[i].code, profiles[i].name);
        if (strcmp(profiles[i].name, "bp") == 0)
            check_pressure(in, root);
        else if (strcmp(profiles[i].name, "vitalspanel") == 0)
            demand(in, vg_json_get(root, "hasMember") && !has_value(root), root, "hasMember",
                   "must be there, and no value (vitalspanel)");
        else if (profiles[i].code)
            check_quantity(in, root, profiles[i].units);
        return true;
    }
    return false;
}
