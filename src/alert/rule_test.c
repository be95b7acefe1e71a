/* The rule's table of states, walked row by row and then at random. */
#include "alert/rule.h"

#include "base/clock.h"

#include "vg_test.h"

static const struct rule_limits limits = {
    .open = 5, .high = 7, .close = 3, .hold_evaluations = 2, .close_us = 60 * VG_SECOND_US};

/* Opens after three or after 30 s, closes at once, then rests for 100 s. */
static const struct rule_limits patient_limits = {.open = 5,
                                                  .high = 7,
                                                  .close = 3,
                                                  .hold_evaluations = 3,
                                                  .hold_us = 30 * VG_SECOND_US,
                                                  .refractory_us = 100 * VG_SECOND_US};

static void test_stories(void)
{
    static const struct {
        const char *name;
        const struct rule_limits *limits;
        struct {
            int seconds;
            double level;
            bool is_incomplete;
            enum rule_effect want;
        } steps[8];
    } rows[] = {
        {"one high value is not yet a flag",
         &limits,
         {{1, 9, false, RULE_NOTHING}, {2, 0, false, RULE_NOTHING}, {3, 9, false, RULE_NOTHING}}},
        {"two in a row are", &limits, {{1, 5, false, RULE_NOTHING}, {2, 5, false, RULE_OPENS}}},
        {"the same window twice counts once",
         &limits,
         {{1, 9, false, RULE_NOTHING}, {1, 9, false, RULE_NOTHING}, {2, 9, false, RULE_OPENS}}},
        {"the rest of a round of vital signs comes in a batch of its own",
         &limits,
         {{1, 3, false, RULE_NOTHING},
          {1, 9, false, RULE_NOTHING},
          {2, 2, false, RULE_NOTHING},
          {2, 9, false, RULE_NOTHING},
          {3, 9, false, RULE_OPENS}}},
        {"a late reading makes the newest moment worse",
         &limits,
         {{1, 5, false, RULE_NOTHING},
          {2, 5, false, RULE_OPENS},
          {2, 8, false, RULE_UPDATES},
          {2, 8, false, RULE_NOTHING}}},
        {"or better, but the same moment closes nothing",
         &patient_limits,
         {{1, 5, false, RULE_NOTHING},
          {40, 5, false, RULE_OPENS},
          {40, 2, false, RULE_NOTHING},
          {41, 2, false, RULE_CLOSES}}},
        {"values that expire between two rounds do not end what rises",
         &limits,
         {{1, 8, false, RULE_NOTHING}, {1, 0, true, RULE_NOTHING}, {14400, 8, false, RULE_OPENS}}},
        {"a late window changes nothing",
         &limits,
         {{5, 9, false, RULE_NOTHING}, {3, 9, false, RULE_NOTHING}, {6, 9, false, RULE_OPENS}}},
        {"worse is told once",
         &limits,
         {{1, 5, false, RULE_NOTHING},
          {2, 5, false, RULE_OPENS},
          {3, 8, false, RULE_UPDATES},
          {4, 8, false, RULE_NOTHING},
          {5, 7, false, RULE_NOTHING},
          {6, 9, false, RULE_UPDATES}}},
        {"it closes after a minute of low",
         &limits,
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 3, false, RULE_NOTHING},
          {69, 2, false, RULE_NOTHING},
          {70, 3, false, RULE_CLOSES}}},
        {"between the levels it stays open",
         &limits,
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 4, false, RULE_NOTHING},
          {500, 4, false, RULE_NOTHING},
          {510, 6, false, RULE_NOTHING}}},
        {"a relapse while falling starts the minute anew",
         &limits,
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 2, false, RULE_NOTHING},
          {60, 4, false, RULE_NOTHING},
          {80, 2, false, RULE_NOTHING},
          {130, 2, false, RULE_NOTHING},
          {140, 2, false, RULE_CLOSES}}},
        {"expired values never let it fall",
         &limits,
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 0, true, RULE_NOTHING},
          {500, 0, true, RULE_NOTHING},
          {1000, 0, true, RULE_NOTHING}}},
        {"but may open it", &limits, {{1, 6, true, RULE_NOTHING}, {2, 6, true, RULE_OPENS}}},
        {"minutes may hold it as well as evaluations",
         &patient_limits,
         {{1, 6, false, RULE_NOTHING}, {32, 6, false, RULE_OPENS}}},
        {"with no time to fall it closes at the first low",
         &patient_limits,
         {{1, 6, false, RULE_NOTHING}, {40, 6, false, RULE_OPENS}, {41, 3, false, RULE_CLOSES}}},
        {"closed, it rests, however often the level comes back",
         &patient_limits,
         {{1, 6, false, RULE_NOTHING},
          {40, 6, false, RULE_OPENS},
          {41, 3, false, RULE_CLOSES},
          {50, 6, false, RULE_NOTHING},
          {100, 6, false, RULE_NOTHING},
          {141, 6, false, RULE_NOTHING},
          {142, 6, false, RULE_NOTHING},
          {143, 6, false, RULE_OPENS}}},
        {"unless it is worse than it was",
         &patient_limits,
         {{1, 6, false, RULE_NOTHING},
          {40, 6, false, RULE_OPENS},
          {41, 3, false, RULE_CLOSES},
          {50, 7, false, RULE_NOTHING},
          {51, 7, false, RULE_NOTHING},
          {52, 6, false, RULE_OPENS}}},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct care_alert_state state = {0};

        for (size_t s = 0; s < 8 && rows[i].steps[s].seconds; s++) {
            struct rule_input input = {rows[i].steps[s].seconds * VG_SECOND_US,
                                       rows[i].steps[s].level, rows[i].steps[s].is_incomplete, 0,
                                       0};

            CHECK_ROW(rows[i].name);
            CHECK(rule_step(rows[i].limits, &input, &state) == rows[i].steps[s].want);
        }
    }
}

/* What raised an episode expired, and a day later is not even known any more. */
static void test_what_is_not_known_any_more_has_not_got_better(void)
{
    static const struct {
        int seconds;
        double level;
        unsigned parts, high;
        enum rule_effect want;
    } steps[] = {
        {1, 6, 7, 3, RULE_NOTHING},     {2, 6, 7, 3, RULE_OPENS},
        {3, 7, 7, 1, RULE_UPDATES}, /* both parts count for the episode */
        {90000, 0, 5, 0, RULE_NOTHING}, {90100, 0, 5, 0, RULE_NOTHING},
        {90200, 0, 3, 0, RULE_NOTHING}, /* the third never mattered */
        {90300, 0, 3, 0, RULE_CLOSES},  {90400, 6, 4, 4, RULE_NOTHING},
        {90500, 6, 4, 4, RULE_OPENS}, /* another episode, other parts */
        {90600, 0, 4, 0, RULE_NOTHING}, {90700, 0, 4, 0, RULE_CLOSES},
    };
    struct care_alert_state state = {0};

    for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        struct rule_input input = {steps[s].seconds * VG_SECOND_US, steps[s].level, false,
                                   steps[s].parts, steps[s].high};

        CHECK(rule_step(&limits, &input, &state) == steps[s].want);
    }
}

/* Whatever comes: opens and closes alternate, what opens was held, updates come only while open and
 * rise, missing data closes nothing, and between two episodes the rest is kept unless it is worse.
 * Every phase is walked through. */
static void test_any_walk_keeps_the_promises(void)
{
    uint64_t seed = 20260314, visits[RULE_PHASE_COUNT] = {0}, opened = 0, closed = 0;

    for (int walk = 0; walk < 4000; walk++) {
        const struct rule_limits *l = walk % 2 ? &limits : &patient_limits;
        struct care_alert_state state = {0};
        int64_t time_us = 10000 * VG_SECOND_US, newest_us = 0, high_since_us = 0, closed_us = -1;
        double worst = 0, worst_closed = 0, worst_since = 0;
        int high_count = 0;
        bool is_open = false, was_high = false;

        for (int step = 0; step < 200; step++) {
            struct rule_input input;
            enum rule_effect effect;

            seed = seed * 6364136223846793005u + 1442695040888963407u;
            time_us += (int64_t)(seed >> 60) * 5 * VG_SECOND_US - 2 * VG_SECOND_US;
            input = (struct rule_input){time_us, (double)(seed >> 40 & 15), (seed >> 33 & 7) == 0,
                                        7, 0};
            effect = rule_step(l, &input, &state);
            visits[state.phase]++;
            if (time_us < newest_us) {
                CHECK(effect == RULE_NOTHING);
                continue;
            }
            bool is_again = time_us == newest_us, is_high = input.level >= l->open;

            CHECK(!is_again || effect != RULE_CLOSES);
            newest_us = time_us;
            if (is_high && !(is_again && was_high)) {
                high_count++;
                if (high_count == 1)
                    high_since_us = time_us;
            } else if (!is_high && !input.is_incomplete) {
                high_count = 0;
            }
            was_high = is_high || (is_again && was_high && input.is_incomplete);
            if (!is_open && input.level > worst_since)
                worst_since = input.level;
            if (effect == RULE_OPENS) {
                CHECK(!is_open && input.level >= l->open);
                CHECK(high_count >= l->hold_evaluations ||
                      (l->hold_us && time_us - high_since_us >= l->hold_us));
                CHECK(closed_us < 0 || time_us - closed_us >= l->refractory_us ||
                      worst_since > worst_closed);
                worst = input.level;
                opened++;
            }
            if (effect == RULE_UPDATES) {
                CHECK(is_open && input.level > worst);
                worst = input.level;
            }
            if (effect == RULE_CLOSES) {
                CHECK(is_open && input.level <= l->close && !input.is_incomplete);
                closed_us = time_us;
                worst_closed = worst;
                worst_since = 0;
                closed++;
            }
            is_open = effect == RULE_OPENS || (is_open && effect != RULE_CLOSES);
            CHECK(is_open == (state.phase == RULE_OPEN || state.phase == RULE_FALLING));
        }
    }
    for (size_t i = 0; i < RULE_PHASE_COUNT; i++)
        CHECK(visits[i] > 1000);
    CHECK(opened > 1000 && closed > 1000);
}

int main(void)
{
    RUN(test_stories);
    RUN(test_what_is_not_known_any_more_has_not_got_better);
    RUN(test_any_walk_keeps_the_promises);
    return vg_test_report();
}
