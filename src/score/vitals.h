/* vitals.h -- the one table of vital signs: codes, units, what is plausible, how long a value
 * holds. */
#ifndef VG_SCORE_VITALS_H
#define VG_SCORE_VITALS_H

#include "base/clock.h"
#include "score/score.h"

struct vital {
    const char *part;     /* its word in records: "respiration" (docs/records.md, news2.parts) */
    const char *name;     /* for people: "respiration rate" */
    const char *codes[2]; /* LOINC, the usual one first */
    const char *unit;     /* UCUM; every value is kept in it; "" for a text */
    double min, max;      /* outside of this it is an artefact: not used, counted */
    int64_t expiry_us;    /* how long a value stands for the patient unless configured */
    double notable;       /* a smaller change is not worth a word */
    int decimals;         /* of the text for people */
};

/* Indexed by enum score_vital. */
extern const struct vital vitals[SCORE_VITAL_COUNT];

/* The vital sign of a LOINC code; SCORE_VITAL_COUNT when it is none of ours. */
enum score_vital vital_of_code(struct vg_slice code);

/* *value in `unit` into the table's unit. An absent unit is taken as the table's. False: no rule
 * (never guessed), *value is left alone. */
bool vital_convert(enum score_vital vital, struct vg_slice unit, double *value);

/* What a person's finding means as A, C, V, P or U; 0 when it is none of them. */
char vital_consciousness(struct vg_slice text);

#endif
