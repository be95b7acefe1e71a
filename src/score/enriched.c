/* enriched.c -- reads a record of iomt.enriched (docs/records.md).
 *
 * What a device measured is judged here, once: converted to the table's unit, refused when there is
 * no rule for its unit. What is left out is counted; it stays in FHIR and in the lake as it came.
 * Whether a living body can have such a value is for gate.c to say.
 */
#include "score/enriched.h"

#include <math.h>

#define PATIENT_JSON_MAX 4096
#define TEXT_MAX 256

static bool text_of(const struct vg_json *root, const char *name, struct vg_slice *ret)
{
    *ret = vg_json_get_text(root, name);
    return ret->len <= TEXT_MAX;
}

static void read_value(const struct vg_json *json, struct enriched *record)
{
    struct enriched_value *value = &record->values[record->count];
    bool has_number;

    *value = (struct enriched_value){
        .code = vg_json_get_text(json, "code"),
        .name = vg_json_get_text(json, "name"),
        .unit = vg_json_get_text(json, "unit"),
        .text = vg_json_get_text(json, "text"),
        .vital = SIGNAL_COUNT,
    };
    has_number = vg_json_to_double(vg_json_get(json, "value"), &value->value);
    value->is_text = !has_number;
    if (value->code.len == 0 || (!has_number && value->text.len == 0))
        return;
    if (value->code.len > TEXT_MAX || value->name.len > TEXT_MAX || value->unit.len > TEXT_MAX ||
        value->text.len > TEXT_MAX) {
        record->not_understood++;
        return;
    }

    if (vg_slice_is(vg_json_get_text(json, "system"), "http://loinc.org"))
        value->vital = vital_of_code(value->code);
    if (value->vital == SCORE_CONSCIOUSNESS) {
        char level = vital_consciousness(value->text);

        if (has_number || !level) {
            record->not_understood++;
            return;
        }
        value->value = level;
    } else if (value->vital >= SCORE_VITAL_COUNT && value->vital < SIGNAL_COUNT) {
        /* The board shows it as it came; features use it only where the unit has a rule. */
        double converted = value->value;

        if (!has_number || !vital_convert(value->vital, value->unit, &converted))
            value->vital = SIGNAL_COUNT;
        else if (!(converted >= vitals[value->vital].min && converted <= vitals[value->vital].max))
            value->vital = SIGNAL_COUNT;
        value->converted = converted;
    } else if (value->vital != SIGNAL_COUNT) {
        if (!has_number || !vital_convert(value->vital, value->unit, &value->value)) {
            record->not_understood++;
            return;
        }
    }
    record->count++;
}

enum vg_status enriched_read(struct vg_arena *arena, struct vg_slice json, int64_t record_time_us,
                             struct enriched *ret, struct vg_err *err)
{
    struct vg_json *root = NULL;
    struct vg_json_place place = {0};
    const struct vg_json *patient, *value;
    struct vg_slice sex;
    int64_t scale = 1;
    size_t left_out = 0;

    if (vg_json_parse(arena, json, NULL, &root, &place, NULL) != VG_OK)
        return vg_fail(err, VG_REJECT, "score.json", 0, "not a JSON record: line %u, column %u",
                       place.line, place.column);
    ret->count = 0;
    ret->not_understood = 0;
    ret->patient_json = (struct vg_slice){0};
    ret->age_years = ret->sex = (double)NAN;
    if (!text_of(root, "patientId", &ret->patient_id) || ret->patient_id.len == 0 ||
        ret->patient_id.len >= WINDOW_ID_SIZE)
        return vg_fail(err, VG_REJECT, "score.record", 0,
                       "patientId: expected an id of 1 to 64 characters");
    if (!text_of(root, "encounterId", &ret->encounter_id) ||
        !text_of(root, "location", &ret->location) || !text_of(root, "unit", &ret->unit) ||
        !text_of(root, "observationId", &ret->observation_id))
        return vg_fail(err, VG_REJECT, "score.record", 0,
                       "encounterId, location, unit or observationId is longer than %d bytes",
                       TEXT_MAX);
    if (!vg_time_parse(vg_json_get_text(root, "effectiveDateTime"), &ret->time_us, NULL))
        return vg_fail(err, VG_REJECT, "score.record", 0,
                       "effectiveDateTime: expected a date-time");
    if (!vg_time_parse(vg_json_get_text(root, "receivedTime"), &ret->received_us, NULL))
        ret->received_us = record_time_us;

    patient = vg_json_get(root, "patient");
    if (vg_json_is(patient, VG_JSON_OBJECT)) {
        if (patient->source.len > PATIENT_JSON_MAX)
            return vg_fail(err, VG_REJECT, "score.record", 0, "patient is longer than %d bytes",
                           PATIENT_JSON_MAX);
        ret->patient_json = patient->source;
    }
    (void)vg_json_to_double(vg_json_get(patient, "ageYears"), &ret->age_years);
    sex = vg_json_get_text(patient, "gender");
    if (vg_slice_is(sex, "male") || vg_slice_is(sex, "female"))
        ret->sex = vg_slice_is(sex, "male") ? 1 : 0;
    ret->oxygen_scale =
        vg_json_to_i64(vg_json_get(patient, "oxygenScale"), &scale) && scale == 2 ? 2 : 1;

    value = vg_json_get(root, "values");
    for (value = value ? value->child : NULL; value; value = value->next) {
        if (ret->count < ENRICHED_VALUES_MAX)
            read_value(value, ret);
        else
            left_out++;
    }
    if (left_out > 0)
        return vg_fail(err, VG_REJECT, "score.record", 0, "%zu values, at most %d are taken",
                       ret->count + left_out, ENRICHED_VALUES_MAX);
    return VG_OK;
}
