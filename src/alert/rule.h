/* rule.h -- when a Flag opens, grows and closes: a table of states. Private to src/alert.
 *
 *            level >= open             close < level < open      level <= close
 * IDLE       RISING (or OPEN: k = 1)   IDLE                      IDLE
 * RISING     k-th time: OPEN           IDLE                      IDLE
 * OPEN       OPEN                      OPEN                      FALLING
 * FALLING    OPEN                      OPEN                      after close_us: IDLE, flag closed
 *
 * Only an evaluation with a newer window counts. An evaluation that misses values which were there
 * (expired) may open and raise, but never lets a flag fall: silence is not recovery.
 */
#ifndef VG_ALERT_RULE_H
#define VG_ALERT_RULE_H

#include "care/care.h"

enum rule_phase { RULE_IDLE, RULE_RISING, RULE_OPEN, RULE_FALLING }; /* stored: do not renumber */

struct rule_limits {
    double open, high, close;
    int hold_evaluations;
    int64_t close_us;
};

struct rule_input {
    int64_t time_us; /* the window's end, unless that lies in the future */
    double level;
    bool is_incomplete; /* values have expired: the level may be too low */
};

enum rule_effect { RULE_NOTHING, RULE_OPENS, RULE_UPDATES, RULE_CLOSES };

/* Moves *state on. RULE_UPDATES: the flag is open and its severity rises or its level is the worst
 * yet. */
enum rule_effect rule_step(const struct rule_limits *limits, const struct rule_input *input,
                           struct care_alert_state *state);

#endif
