/* rule.c -- the table of states of rule.h, one function for each column. */
#include "alert/rule.h"

static enum rule_effect enter(struct care_alert_state *state, enum rule_phase phase,
                              int64_t time_us)
{
    state->phase = (int)phase;
    state->since_us = time_us;
    state->evaluations = 0;
    return RULE_NOTHING;
}

/* At or above the opening level. */
static enum rule_effect step_up(const struct rule_limits *limits, const struct rule_input *input,
                                struct care_alert_state *state)
{
    bool is_open = state->phase == RULE_OPEN || state->phase == RULE_FALLING;

    if (is_open) {
        if (state->phase == RULE_FALLING)
            enter(state, RULE_OPEN, input->time_us);
        if (input->level <= state->level)
            return RULE_NOTHING;
        state->level = input->level;
        return RULE_UPDATES;
    }
    if (state->phase == RULE_IDLE)
        enter(state, RULE_RISING, input->time_us);
    if (++state->evaluations < limits->hold_evaluations)
        return RULE_NOTHING;
    enter(state, RULE_OPEN, input->time_us);
    state->level = input->level;
    return RULE_OPENS;
}

/* At or below the closing level. */
static enum rule_effect step_down(const struct rule_limits *limits, const struct rule_input *input,
                                  struct care_alert_state *state)
{
    if (state->phase == RULE_RISING)
        return enter(state, RULE_IDLE, input->time_us);
    if (state->phase == RULE_IDLE || input->is_incomplete)
        return RULE_NOTHING;
    if (state->phase == RULE_OPEN)
        return enter(state, RULE_FALLING, input->time_us);
    if (input->time_us - state->since_us < limits->close_us)
        return RULE_NOTHING;
    enter(state, RULE_IDLE, input->time_us);
    return RULE_CLOSES;
}

enum rule_effect rule_step(const struct rule_limits *limits, const struct rule_input *input,
                           struct care_alert_state *state)
{
    if (state->last_us && input->time_us <= state->last_us)
        return RULE_NOTHING; /* late, or the same window again: what was decided stands */
    state->last_us = input->time_us;
    if (input->level >= limits->open)
        return step_up(limits, input, state);
    if (input->level <= limits->close)
        return step_down(limits, input, state);
    if (state->phase == RULE_RISING)
        return enter(state, RULE_IDLE, input->time_us);
    if (state->phase == RULE_FALLING && !input->is_incomplete)
        return enter(state, RULE_OPEN, input->time_us);
    return RULE_NOTHING;
}
