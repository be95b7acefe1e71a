/* rule.h -- when a Flag opens, grows and closes: a table of states. Private to src/alert.
 *
 *             high: level >= open        middle               low: level <= close
 * IDLE        RISING                     IDLE                 IDLE
 * RISING      held long enough: OPEN     IDLE                 IDLE
 * OPEN        OPEN                       OPEN                 FALLING
 * FALLING     OPEN                       OPEN                 low for close_us: REFRACTORY, closed
 * REFRACTORY  worse than the episode, or its time is over: as from IDLE; else REFRACTORY
 *
 * "Held long enough" is hold_evaluations in a row, or hold_us since the first of them, whichever
 * comes first. An evaluation of an older time than the newest changes nothing. One of the same time
 * is the same moment known better (the rest of a round of vital signs, a late reading): it may
 * raise the level, open and lower, but counts as one evaluation with the first, and closes nothing.
 * An evaluation that misses values which were there (expired) may open and raise, but never lets a
 * flag fall, nor ends what is rising: silence is not recovery.
 */
#ifndef VG_ALERT_RULE_H
#define VG_ALERT_RULE_H

#include "care/care.h"

/* Stored: do not renumber. */
enum rule_phase { RULE_IDLE, RULE_RISING, RULE_OPEN, RULE_FALLING, RULE_REFRACTORY };
#define RULE_PHASE_COUNT 5

struct rule_limits {
    double open, high, close; /* close < open <= high; at high the severity is "high" */
    int hold_evaluations;     /* at least 1 */
    int64_t hold_us;          /* 0 = by evaluations alone */
    int64_t close_us;         /* 0 = closes at the first low */
    int64_t refractory_us;    /* after closing, nothing opens unless it is worse; 0 = none */
};

struct rule_input {
    int64_t time_us; /* the window's end, unless that lies in the future */
    double level;
    bool is_incomplete; /* values have expired: the level may be too low */
    unsigned parts;     /* the set of parts that are known now; 0 = not told */
    unsigned high;      /* those of them that make the level what it is */
};

enum rule_effect { RULE_NOTHING, RULE_OPENS, RULE_UPDATES, RULE_CLOSES };

/* Moves *state on. RULE_UPDATES: the flag is open and its level is the worst yet. state->level is
 * the worst of the episode, also while REFRACTORY. */
enum rule_effect rule_step(const struct rule_limits *limits, const struct rule_input *input,
                           struct care_alert_state *state);

#endif
