/* patient.c -- keeps patients by id and by last use, and merges records into them.
 *
 * Memory is bounded: count_max patients, each a window (window.c states its bound), at most 40
 * other codes and 5 KB of context. Who was idle longer than the history is dropped by the stage's
 * tick.
 *
 * Readings merge in any order. The context (name, place, order of the oxygen scale) is the last
 * record's in stream order: enrichment looks it up at the time of the record, so later is truer,
 * also on a late reading. Between partitions there is no order: there the later receipt is.
 */
#include "score/patient.h"

#include <stdlib.h>

void patients_init(struct patients *patients, size_t count_max, int64_t history_us)
{
    memset(patients, 0, sizeof(*patients));
    vg_map_init(&patients->by_id);
    patients->count_max = count_max;
    patients->history_us = history_us;
}

static void patient_free(void *value)
{
    struct patient *patient = value;

    window_fini(&patient->window);
    free(patient->others);
    free(patient->context);
    free(patient);
}

void patients_fini(struct patients *patients)
{
    vg_map_fini(&patients->by_id, patient_free);
    memset(patients, 0, sizeof(*patients));
}

static void unlink_patient(struct patients *patients, struct patient *patient)
{
    *(patient->newer ? &patient->newer->older : &patients->newest) = patient->older;
    *(patient->older ? &patient->older->newer : &patients->oldest) = patient->newer;
    patient->newer = patient->older = NULL;
}

static void link_newest(struct patients *patients, struct patient *patient)
{
    patient->older = patients->newest;
    *(patients->newest ? &patients->newest->newer : &patients->oldest) = patient;
    patients->newest = patient;
}

void patients_drop(struct patients *patients, struct patient *patient)
{
    unlink_patient(patients, patient);
    (void)vg_map_remove(&patients->by_id, vg_slice_of(patient->id));
    patient_free(patient);
}

struct patient *patients_take(struct patients *patients, struct vg_slice id)
{
    struct patient *patient = vg_map_get(&patients->by_id, id);
    bool is_ok = true;

    if (patient) {
        if (patient != patients->newest) {
            unlink_patient(patients, patient);
            link_newest(patients, patient);
        }
        return patient;
    }

    while (patients->by_id.count >= patients->count_max) {
        struct patient *out = patients->oldest;

        while (out && out->pins > 0)
            out = out->newer;
        if (!out)
            break;
        patients_drop(patients, out);
    }
    patient = calloc(1, sizeof(*patient));
    if (!patient || !vg_slice_to_cstr(id, patient->id, sizeof(patient->id))) {
        free(patient);
        return NULL;
    }
    (void)vg_map_put(&patients->by_id, id, patient, &is_ok);
    if (!is_ok) {
        free(patient);
        return NULL;
    }
    window_init(&patient->window, patients->history_us);
    patient->received_us = INT64_MIN;
    patient->told_us = patient->context_us = INT64_MIN;
    patient->next_expiry_us = INT64_MAX;
    patient->ask_lake_us = INT64_MIN;
    link_newest(patients, patient);
    return patient;
}

int64_t patient_as_of_us(const struct patient *patient)
{
    return patient->window.watermark_us > patient->received_us ? patient->window.watermark_us
                                                               : patient->received_us;
}

static bool set_context(struct patient *patient, const struct enriched *record)
{
    const struct vg_slice parts[4] = {record->patient_json, record->encounter_id, record->location,
                                      record->unit};
    struct vg_slice *const kept[4] = {&patient->patient_json, &patient->encounter_id,
                                      &patient->location, &patient->unit};
    size_t len = 0, at = 0;
    bool is_same = true;

    for (int i = 0; i < 4; i++) {
        len += parts[i].len;
        is_same &= vg_slice_eq(parts[i], *kept[i]);
    }
    if (is_same)
        return true;
    if (len > patient->context_capacity) {
        char *context = realloc(patient->context, len);

        if (!context)
            return false;
        patient->context = context;
        patient->context_capacity = len;
    }
    for (int i = 0; i < 4; i++) {
        if (parts[i].len > 0)
            memcpy(patient->context + at, parts[i].ptr, parts[i].len);
        *kept[i] = (struct vg_slice){patient->context + at, parts[i].len};
        at += parts[i].len;
    }
    return true;
}

/* False: no memory. A value that does not fit is not shown. */
static bool set_other(struct patient *patient, const struct enriched *record,
                      const struct enriched_value *value)
{
    struct patient_other made = {.is_text = value->is_text,
                                 .value = value->is_text ? 0 : value->value,
                                 .time_us = record->time_us,
                                 .received_us = record->received_us};
    struct patient_other *others, *other = NULL;

    if (!vg_slice_to_cstr(value->code, made.code, sizeof(made.code)) ||
        !vg_slice_to_cstr(value->name, made.name, sizeof(made.name)) ||
        !vg_slice_to_cstr(value->unit, made.unit, sizeof(made.unit)) ||
        !vg_slice_to_cstr(value->is_text ? value->text : (struct vg_slice){0}, made.text,
                          sizeof(made.text)) ||
        !vg_slice_to_cstr(record->observation_id, made.observation_id, sizeof(made.observation_id)))
        return true;
    for (uint32_t i = 0; i < patient->other_count && !other; i++) {
        if (strcmp(patient->others[i].code, made.code) == 0)
            other = &patient->others[i];
    }
    if (!other) {
        if (patient->other_count == PATIENT_OTHERS_MAX)
            return true;
        others = realloc(patient->others, (patient->other_count + 1) * sizeof(*others));
        if (!others)
            return false;
        patient->others = others;
        other = &others[patient->other_count++];
        *other = made;
        return true;
    }
    if (made.time_us > other->time_us ||
        (made.time_us == other->time_us && made.received_us >= other->received_us))
        *other = made;
    return true;
}

/* Keeps the newest that was rejected, for people to see. */
static void set_rejected(struct patient *patient, const struct window_reading *reading,
                         enum gate_reason reason)
{
    struct patient_rejected *kept = &patient->rejected[reading->vital];

    if (kept->value.is_there && kept->value.time_us > reading->time_us)
        return;
    *kept = (struct patient_rejected){
        .value = {.is_there = true,
                  .time_us = reading->time_us,
                  .received_us = reading->received_us,
                  .value = reading->value},
        .reason = reason,
    };
    if (!vg_slice_to_cstr(reading->code, kept->value.code, sizeof(kept->value.code)))
        kept->value.code[0] = '\0';
    if (!vg_slice_to_cstr(reading->observation_id, kept->value.observation_id,
                          sizeof(kept->value.observation_id)))
        kept->value.observation_id[0] = '\0';
}

void patient_forget_future(struct patient *patient, int64_t latest_us)
{
    uint32_t kept = 0;

    if (patient->received_us > latest_us)
        patient->received_us = INT64_MIN;
    if (patient->context_us > latest_us)
        patient->context_us = INT64_MIN;
    if (patient->told_us > latest_us)
        patient->told_us = INT64_MIN;
    if (patient->window.watermark_us <= latest_us)
        return;
    /* What the true values were is known no more: they were aged out. The lake has them. */
    int64_t history_us = patient->window.history_us;

    window_fini(&patient->window);
    window_init(&patient->window, history_us);
    patient->ask_lake_us = INT64_MIN;
    memset(patient->rejected, 0, sizeof(patient->rejected));
    for (uint32_t i = 0; i < patient->other_count; i++) {
        if (patient->others[i].time_us <= latest_us)
            patient->others[kept++] = patient->others[i];
    }
    patient->other_count = kept;
}

enum vg_status patient_add(struct patient *patient, const struct enriched *record,
                           uint32_t partition, int64_t lateness_us, int64_t latest_us,
                           struct patient_counts *counts, struct vg_err *err)
{
    struct window_reading readings[ENRICHED_VALUES_MAX];
    enum vg_status st;

    if (partition == patient->partition || record->received_us >= patient->context_us) {
        if (!set_context(patient, record))
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a patient");
        patient->facts = (struct feature_patient){record->age_years, record->sex};
        patient->oxygen_scale = record->oxygen_scale;
        patient->context_us = record->received_us;
        patient->partition = partition;
    }
    /* A clock that runs ahead would age every true value out of the window. */
    if (record->time_us > record->received_us + lateness_us || record->time_us > latest_us ||
        record->received_us > latest_us) {
        counts->future += (unsigned)record->count;
        return VG_OK;
    }
    if (record->received_us > patient->received_us)
        patient->received_us = record->received_us;
    for (size_t i = 0; i < record->count; i++) {
        const struct enriched_value *value = &record->values[i];

        readings[i] = (struct window_reading){
            .vital = value->vital,
            .value = value->vital < SCORE_VITAL_COUNT ? value->value : value->converted,
            .time_us = record->time_us,
            .received_us = record->received_us,
            .code = value->code,
            .observation_id = record->observation_id,
        };
    }
    for (size_t i = 0; i < record->count; i++) {
        enum gate_reason reason = gate_reading(readings, record->count, i);

        if (readings[i].vital >= SCORE_VITAL_COUNT &&
            !set_other(patient, record, &record->values[i]))
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a patient");
        if (readings[i].vital == SIGNAL_COUNT)
            continue;
        if (reason != GATE_OK) {
            set_rejected(patient, &readings[i], reason);
            counts->rejected[reason]++;
            continue;
        }
        st = window_add(&patient->window, &readings[i], err);
        if (st != VG_OK && st != VG_END)
            return st;
        counts->used += st == VG_OK;
        counts->old += st == VG_END;
    }
    return VG_OK;
}
