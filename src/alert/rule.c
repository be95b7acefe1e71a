/* rule.c -- the table of states of rule.h, cell by cell. */
#include "alert/rule.h"

/* Where a level stands. UNSURE: it is below `open`, but values are missing. */
enum zone { ZONE_HIGH, ZONE_MIDDLE, ZONE_LOW, ZONE_UNSURE, ZONE_COUNT };

enum condition {
    ALWAYS,
    HELD_UP,   /* high often or long enough */
    HELD_DOWN, /* low long enough */
    FREE,      /* not refractory any more, or worse than the last episode: judged as from IDLE */
};

/* `met` and `otherwise` are the phases to be in afterwards. */
struct cell {
    enum condition condition;
    enum rule_phase met, otherwise;
    enum rule_effect effect; /* when met */
};

static const struct cell table[RULE_PHASE_COUNT][ZONE_COUNT] =
    {
        [RULE_IDLE] =
            {
                [ZONE_HIGH] = {HELD_UP, RULE_OPEN, RULE_RISING, RULE_OPENS},
                [ZONE_MIDDLE] = {ALWAYS, RULE_IDLE, RULE_IDLE, RULE_NOTHING},
                [ZONE_LOW] = {ALWAYS, RULE_IDLE, RULE_IDLE, RULE_NOTHING},
                [ZONE_UNSURE] = {ALWAYS, RULE_IDLE, RULE_IDLE, RULE_NOTHING},
            },
        [RULE_RISING] =
            {
                [ZONE_HIGH] = {HELD_UP, RULE_OPEN, RULE_RISING, RULE_OPENS},
                [ZONE_MIDDLE] = {ALWAYS, RULE_IDLE, RULE_IDLE, RULE_NOTHING},
                [ZONE_LOW] = {ALWAYS, RULE_IDLE, RULE_IDLE, RULE_NOTHING},
                [ZONE_UNSURE] = {ALWAYS, RULE_RISING, RULE_RISING, RULE_NOTHING},
            },
        [RULE_OPEN] =
            {
                [ZONE_HIGH] = {ALWAYS, RULE_OPEN, RULE_OPEN, RULE_NOTHING},
                [ZONE_MIDDLE] = {ALWAYS, RULE_OPEN, RULE_OPEN, RULE_NOTHING},
                [ZONE_LOW] = {HELD_DOWN, RULE_REFRACTORY, RULE_FALLING, RULE_CLOSES},
                [ZONE_UNSURE] = {ALWAYS, RULE_OPEN, RULE_OPEN, RULE_NOTHING},
            },
        [RULE_FALLING] =
            {
                [ZONE_HIGH] = {ALWAYS, RULE_OPEN, RULE_OPEN, RULE_NOTHING},
                [ZONE_MIDDLE] = {ALWAYS, RULE_OPEN, RULE_OPEN, RULE_NOTHING},
                [ZONE_LOW] = {HELD_DOWN, RULE_REFRACTORY, RULE_FALLING, RULE_CLOSES},
                [ZONE_UNSURE] = {ALWAYS, RULE_FALLING, RULE_FALLING, RULE_NOTHING},
            },
        [RULE_REFRACTORY] =
            {
                [ZONE_HIGH] = {FREE, RULE_IDLE, RULE_REFRACTORY, RULE_NOTHING},
                [ZONE_MIDDLE] = {FREE, RULE_IDLE, RULE_REFRACTORY, RULE_NOTHING},
                [ZONE_LOW] = {FREE, RULE_IDLE, RULE_REFRACTORY, RULE_NOTHING},
                [ZONE_UNSURE] = {FREE, RULE_IDLE, RULE_REFRACTORY, RULE_NOTHING},
            },
};

static enum zone zone_of(const struct rule_limits *limits, const struct rule_input *input,
                         const struct care_alert_state *state)
{
    bool is_open = state->phase == RULE_OPEN || state->phase == RULE_FALLING;

    if (input->level >= limits->open)
        return ZONE_HIGH;
    if (input->is_incomplete || (is_open && (state->parts & ~(int64_t)input->parts) != 0))
        return ZONE_UNSURE;
    return input->level <= limits->close ? ZONE_LOW : ZONE_MIDDLE;
}

/* `since_us` of RISING is its first high, of FALLING its first low, of REFRACTORY the closing. */
static bool is_met(enum condition condition, const struct rule_limits *limits,
                   const struct rule_input *input, const struct care_alert_state *state)
{
    int64_t since_us = state->phase == RULE_RISING || state->phase == RULE_FALLING ||
                               state->phase == RULE_REFRACTORY
                           ? state->since_us
                           : input->time_us;
    int64_t lasted_us = input->time_us - since_us;

    switch (condition) {
    case HELD_UP:
        return state->evaluations >= limits->hold_evaluations ||
               (limits->hold_us > 0 && lasted_us >= limits->hold_us);
    case HELD_DOWN:
        return lasted_us >= limits->close_us;
    case FREE:
        return lasted_us >= limits->refractory_us || input->level > state->level;
    case ALWAYS:
        break;
    }
    return true;
}

static void enter(struct care_alert_state *state, enum rule_phase phase, int64_t time_us)
{
    if ((enum rule_phase)state->phase == phase)
        return;
    state->phase = (int)phase;
    state->since_us = time_us;
}

enum rule_effect rule_step(const struct rule_limits *limits, const struct rule_input *input,
                           struct care_alert_state *state)
{
    enum zone zone = zone_of(limits, input, state);
    const struct cell *cell;
    enum rule_effect effect;
    bool is_again = state->last_us && input->time_us == state->last_us;
    bool is_counted = is_again && state->phase == RULE_RISING;

    if (state->last_us && input->time_us < state->last_us)
        return RULE_NOTHING; /* late: what was decided stands */
    state->last_us = input->time_us;
    cell = &table[state->phase][zone];
    if (cell->condition == FREE && is_met(FREE, limits, input, state)) {
        enter(state, RULE_IDLE, input->time_us);
        state->level = 0;
        cell = &table[RULE_IDLE][zone];
    }
    /* In a row: whatever is known not to be high ends the count, and so does opening. */
    if (state->phase > RULE_RISING || (zone != ZONE_HIGH && zone != ZONE_UNSURE))
        state->evaluations = 0;
    else if (zone == ZONE_HIGH && !is_counted)
        state->evaluations++;
    bool met = is_met(cell->condition, limits, input, state) &&
               !(is_again && cell->condition == HELD_DOWN);

    effect = met ? cell->effect : RULE_NOTHING;
    enter(state, met ? cell->met : cell->otherwise, input->time_us);
    if (state->phase == RULE_OPEN && (effect == RULE_OPENS || input->level > state->level)) {
        state->evaluations = 0;
        state->level = input->level;
        state->parts = (effect == RULE_OPENS ? 0 : state->parts) | input->high;
        effect = effect == RULE_OPENS ? RULE_OPENS : RULE_UPDATES;
    }
    return effect;
}
