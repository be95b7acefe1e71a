/* patient.h -- the patients that scoring knows: windows, context, and what else was measured. */
#ifndef VG_SCORE_PATIENT_H
#define VG_SCORE_PATIENT_H

#include "base/map.h"
#include "score/enriched.h"
#include "score/feature.h"
#include "score/gate.h"

#define PATIENT_OTHERS_MAX 40

/* The newest value of a code that is no vital sign. */
struct patient_other {
    char code[33], name[49], unit[25], text[65], observation_id[WINDOW_ID_SIZE];
    bool is_text;
    double value;
    int64_t time_us, received_us;
};

/* The newest value that a moment's own readings spoke against. */
struct patient_rejected {
    struct window_newest value;
    enum gate_reason reason;
};

struct patient {
    char id[WINDOW_ID_SIZE];
    struct patient *newer, *older; /* by last use */
    struct window window;
    struct patient_other *others;
    uint32_t other_count;
    struct patient_rejected rejected[SCORE_VITAL_COUNT];

    /* From the last record in stream order. The texts are one allocation. */
    char *context;
    size_t context_len, context_capacity;
    struct vg_slice patient_json, encounter_id, location, unit;
    struct feature_patient facts;
    int oxygen_scale;

    int64_t received_us;    /* the latest receipt */
    int64_t told_us;        /* the newest score that a timer made speaks of; INT64_MIN = none */
    int64_t next_expiry_us; /* when a value that still counts will not; INT64_MAX = never */
    int64_t ask_lake_us;    /* not before; INT64_MAX = was asked */
    int64_t context_us;     /* receipt of the record that the context is from */
    uint32_t partition;     /* of that record: its stage watches the patient's expiry */
    uint32_t pins;          /* batches that hold a pointer to it */
    uint32_t touch;         /* hint: its place in a batch's list */
    char trace[48];         /* newest trace id, for a score that a timer made */
};

struct patients {
    struct vg_map by_id;
    struct patient *newest, *oldest;
    size_t count_max;
    int64_t history_us;
};

void patients_init(struct patients *patients, size_t count_max, int64_t history_us);
void patients_fini(struct patients *patients);

/* Finds or makes; it becomes the newest. When count_max is reached the longest unused goes, unless
 * a batch holds it. NULL: no memory. */
struct patient *patients_take(struct patients *patients, struct vg_slice id);
void patients_drop(struct patients *patients, struct patient *patient);

/* What happened to a record's values. */
struct patient_counts {
    unsigned used, future, old, rejected[GATE_REASON_COUNT];
};

/* Merges a record of a partition: context, values, times. lateness_us as in score_config; nothing
 * that was received or happened after latest_us is taken. */
VG_CHECK enum vg_status patient_add(struct patient *patient, const struct enriched *record,
                                    uint32_t partition, int64_t lateness_us, int64_t latest_us,
                                    struct patient_counts *counts, struct vg_err *err);

/* Forgets what a clock left that was ahead: times after latest_us. */
void patient_forget_future(struct patient *patient, int64_t latest_us);

/* The moment that a score of its window speaks of: the newest of event time and receipt. */
int64_t patient_as_of_us(const struct patient *patient);

#endif
