/* vitals.h -- the one table of what is measured: vital signs first, then what features alone use
 * (laboratory, gases, Glasgow coma scale). Codes, units, what is plausible, how long a value holds.
 */
#ifndef VG_SCORE_VITALS_H
#define VG_SCORE_VITALS_H

#include "base/clock.h"
#include "score/score.h"

/* Goes on where enum score_vital ends. No rule score counts these but by its table (rule.c). */
enum signal {
    SIGNAL_ETCO2 = SCORE_VITAL_COUNT,
    SIGNAL_FIO2,
    SIGNAL_BASE_EXCESS,
    SIGNAL_HCO3,
    SIGNAL_PH,
    SIGNAL_PACO2,
    SIGNAL_PAO2,
    SIGNAL_SAO2,
    SIGNAL_AST,
    SIGNAL_ALT,
    SIGNAL_ALP,
    SIGNAL_BUN,
    SIGNAL_CALCIUM,
    SIGNAL_CHLORIDE,
    SIGNAL_CREATININE,
    SIGNAL_BILIRUBIN_DIRECT,
    SIGNAL_BILIRUBIN,
    SIGNAL_GLUCOSE,
    SIGNAL_LACTATE,
    SIGNAL_MAGNESIUM,
    SIGNAL_PHOSPHATE,
    SIGNAL_POTASSIUM,
    SIGNAL_SODIUM,
    SIGNAL_TROPONIN_I,
    SIGNAL_TROPONIN_T,
    SIGNAL_HCT,
    SIGNAL_HGB,
    SIGNAL_PTT,
    SIGNAL_WBC,
    SIGNAL_FIBRINOGEN,
    SIGNAL_PLATELETS,
    SIGNAL_ALBUMIN,
    SIGNAL_CHOLESTEROL,
    SIGNAL_GCS,
    SIGNAL_URINE,
    SIGNAL_WEIGHT,
    SIGNAL_COUNT /* also: none of ours */
};

struct vital {
    const char *part;     /* its word in records: "respiration" (docs/records.md, news2.parts) */
    const char *name;     /* for people: "respiration rate" */
    const char *codes[3]; /* LOINC, the usual one first */
    const char *unit;     /* UCUM; every value is kept in it; "" for a text */
    double min, max;      /* outside of this it is an artefact: not used, counted */
    int64_t expiry_us;    /* how long a value stands for the patient unless configured */
    double notable;       /* a smaller change is not worth a word */
    int decimals;         /* of the text for people */
};

/* Indexed by enum score_vital, then by enum signal. */
extern const struct vital vitals[SIGNAL_COUNT];

/* The signal of a LOINC code; SIGNAL_COUNT when it is none of ours. */
int vital_of_code(struct vg_slice code);

/* *value in `unit` into the table's unit. An absent unit is taken as the table's. False: no rule
 * (never guessed), *value is left alone. */
bool vital_convert(int vital, struct vg_slice unit, double *value);

/* What a person's finding means as A, C, V, P or U; 0 when it is none of them. */
char vital_consciousness(struct vg_slice text);

#endif
