/* news2.h -- the National Early Warning Score 2 (Royal College of Physicians, 2017), exact.
 *
 * Devices rarely send consciousness and oxygen, so a score is an interval: `low` counts what is
 * missing as 0, `high` as the most it could be. Ages 16 and above, not in pregnancy.
 */
#ifndef VG_SCORE_NEWS2_H
#define VG_SCORE_NEWS2_H

#include <stdbool.h>

enum news2_part {
    NEWS2_RESPIRATION,
    NEWS2_SPO2,
    NEWS2_OXYGEN,
    NEWS2_SYSTOLIC,
    NEWS2_PULSE,
    NEWS2_CONSCIOUSNESS,
    NEWS2_TEMPERATURE,
    NEWS2_PART_COUNT
};

struct news2_input {
    bool has[NEWS2_PART_COUNT];
    double value[NEWS2_PART_COUNT]; /* table's units; oxygen in L/min, 0 = air; consciousness: 'A',
                                       'C', … */
    int oxygen_scale;               /* 2 only where a clinician ordered it, else 1 */
};

struct news2 {
    int score[NEWS2_PART_COUNT]; /* 0 where missing; with scale 2 and oxygen unknown: as on air */
    int low, high;
    bool is_complete, has_single_three;
    const char *band; /* of low: "low", "low-medium", "medium", "high" */
};

struct news2 news2_score(const struct news2_input *input);

#endif
