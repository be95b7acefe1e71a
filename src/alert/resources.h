/* resources.h -- the FHIR resources that a scored record becomes (step 13). Private to src/alert.
 *
 * Shapes: docs/records.md. Ids come from patient, window and rule, so that a replay writes the same
 * resource again. Every function allocates in the arena; a slice with ptr NULL: no memory.
 */
#ifndef VG_ALERT_RESOURCES_H
#define VG_ALERT_RESOURCES_H

#include "base/json.h"
#include "care/care.h"
#include "stream/stream.h"

#define CODE_SYSTEM "https://vigil.health/codes"

/* Whom something is about, and what it came from. Slices live as long as the batch. */
struct subject {
    struct vg_slice patient_id, encounter_id, trace;
    const struct stream_record *record; /* NULL: a timer, not a record */
};

/* One scored record, taken apart. */
struct scored {
    struct subject who;
    struct vg_json *json;
    struct vg_slice band;
    int64_t window_end_us, scored_us, low, high;
    /* When it counts for the rules: windowEnd, but no later than a minute after scoredTime. A value
     * from a clock that is fast must not keep everything out that comes before that clock's time.
     */
    int64_t evaluated_us;
    int64_t heard_us; /* the newest vital sign, by the same rule; 0 = none */
    double probability;
    bool has_news2, is_incomplete;
    unsigned parts_known, parts_high; /* of NEWS2: known now; with points (rule.h) */
    bool is_answer; /* another process's model has answered about a record that was there before */
};

/* VG_REJECT: not JSON, or patientId, windowEnd or scoredTime is missing. */
VG_CHECK enum vg_status scored_parse(struct vg_arena *arena, const struct stream_record *record,
                                     struct scored *ret, struct vg_err *err);

/* "ra-" and 48 hex digits of patient and window. */
struct vg_slice risk_assessment_id(struct vg_arena *arena, const struct scored *s);
struct vg_slice risk_assessment_body(struct vg_arena *arena, const struct scored *s,
                                     struct vg_slice id);

/* Into out[72]: "flag-", 32 hex digits of patient and rule, '-', the time of opening. */
void flag_id_make(char out[static 72], struct vg_slice patient_id, struct vg_slice rule,
                  int64_t opened_us);
int64_t flag_id_opened_us(struct vg_slice flag_id); /* 0: not one of ours */
struct vg_slice flag_body(struct vg_arena *arena, const struct subject *who,
                          const struct care_flag *flag);

/* "NEWS2 8: respiration 26 /min, SpO2 89 %": the parts that score, no name. */
struct vg_slice news2_title(struct vg_arena *arena, const struct scored *s);
/* "sepsis-vitals 18 % within 6 h: respiration 26 /min, up 8 in 1 h": what raised it most. `model`
 * is an entry of the record. */
struct vg_slice model_title(struct vg_arena *arena, const struct vg_json *model);

#endif
