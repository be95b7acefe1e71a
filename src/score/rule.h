/* rule.h -- the simple scores of the bedside as tables: MEWS, qSOFA, SIRS, parts of SOFA.
 *
 * NEWS2 has a file of its own (news2.h): two scales of saturation do not fit a table of bands.
 */
#ifndef VG_SCORE_RULE_H
#define VG_SCORE_RULE_H

#include "score/vitals.h"

/* Up to and with `max` (in tenths where the part says so) it is `points`; the first row that fits.
 */
struct rule_band {
    int max, points;
};

/* One line of a chart. Parts of the same group count once, with their highest points. */
struct rule_part {
    int signal; /* consciousness: A 0, C 1, V 2, P 3, U 4 */
    int group;
    bool is_tenths;
    const struct rule_band *bands; /* ends with INT_MAX */
};

struct rule {
    const char *name, *title;
    const struct rule_part *parts;
    size_t part_count;
    int alarm; /* the total from which its authors say to act */
};

enum rule_id { RULE_MEWS, RULE_QSOFA, RULE_SIRS, RULE_SOFA_PART, RULE_COUNT };
extern const struct rule rules[RULE_COUNT];

/* What is missing counts nothing in `low` and the most it could be in `high`. */
struct rule_score {
    int low, high;
};

/* values: one per signal, NaN = missing or expired; consciousness as its letter. */
struct rule_score rule_score(const struct rule *rule, const double *values);

/* Half up to a whole number, as charts are read; limited to +-1,000,000. */
int rule_round(double value);

#endif
