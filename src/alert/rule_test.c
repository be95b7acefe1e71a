/* The rule's table of states, walked row by row and then at random. */
#include "alert/rule.h"

#include "base/clock.h"

#include "vg_test.h"

static const struct rule_limits limits = {
    .open = 5, .high = 7, .close = 3, .hold_evaluations = 2, .close_us = 60 * VG_SECOND_US};

static void test_stories(void)
{
    static const struct {
        const char *name;
        struct {
            int seconds;
            double level;
            bool is_incomplete;
            enum rule_effect want;
        } steps[8];
    } rows[] = {
        {"one high value is not yet a flag",
         {{1, 9, false, RULE_NOTHING}, {2, 0, false, RULE_NOTHING}, {3, 9, false, RULE_NOTHING}}},
        {"two in a row are", {{1, 5, false, RULE_NOTHING}, {2, 5, false, RULE_OPENS}}},
        {"the same window twice counts once",
         {{1, 9, false, RULE_NOTHING}, {1, 9, false, RULE_NOTHING}, {2, 9, false, RULE_OPENS}}},
        {"a late window changes nothing",
         {{5, 9, false, RULE_NOTHING}, {3, 9, false, RULE_NOTHING}, {6, 9, false, RULE_OPENS}}},
        {"worse is told once",
         {{1, 5, false, RULE_NOTHING},
          {2, 5, false, RULE_OPENS},
          {3, 8, false, RULE_UPDATES},
          {4, 8, false, RULE_NOTHING},
          {5, 7, false, RULE_NOTHING},
          {6, 9, false, RULE_UPDATES}}},
        {"it closes after a minute of low",
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 3, false, RULE_NOTHING},
          {69, 2, false, RULE_NOTHING},
          {70, 3, false, RULE_CLOSES}}},
        {"between the levels it stays open",
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 4, false, RULE_NOTHING},
          {500, 4, false, RULE_NOTHING},
          {510, 6, false, RULE_NOTHING}}},
        {"a relapse while falling starts the minute anew",
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 2, false, RULE_NOTHING},
          {60, 4, false, RULE_NOTHING},
          {80, 2, false, RULE_NOTHING},
          {130, 2, false, RULE_NOTHING},
          {140, 2, false, RULE_CLOSES}}},
        {"expired values never let it fall",
         {{1, 6, false, RULE_NOTHING},
          {2, 6, false, RULE_OPENS},
          {10, 0, true, RULE_NOTHING},
          {500, 0, true, RULE_NOTHING},
          {1000, 0, true, RULE_NOTHING}}},
        {"but may open it", {{1, 6, true, RULE_NOTHING}, {2, 6, true, RULE_OPENS}}},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct care_alert_state state = {0};

        for (size_t s = 0; s < 8 && rows[i].steps[s].seconds; s++) {
            struct rule_input input = {rows[i].steps[s].seconds * VG_SECOND_US,
                                       rows[i].steps[s].level, rows[i].steps[s].is_incomplete};

            CHECK_ROW(rows[i].name);
            CHECK(rule_step(&limits, &input, &state) == rows[i].steps[s].want);
        }
    }
}

/* Whatever comes: opens and closes alternate, updates only while open, never closes on missing
 * data. */
static void test_any_walk_keeps_the_promises(void)
{
    uint64_t seed = 20260314;

    for (int walk = 0; walk < 2000; walk++) {
        struct care_alert_state state = {0};
        int64_t time_us = 1;
        bool is_open = false;

        for (int step = 0; step < 200; step++) {
            struct rule_input input;
            enum rule_effect effect;

            seed = seed * 6364136223846793005u + 1442695040888963407u;
            time_us += (int64_t)(seed >> 60) * 5 * VG_SECOND_US - 2 * VG_SECOND_US;
            input = (struct rule_input){time_us, (double)(seed >> 40 & 15), (seed >> 33 & 7) == 0};
            effect = rule_step(&limits, &input, &state);
            if (effect == RULE_OPENS)
                CHECK(!is_open && input.level >= limits.open);
            if (effect == RULE_UPDATES)
                CHECK(is_open);
            if (effect == RULE_CLOSES)
                CHECK(is_open && input.level <= limits.close && !input.is_incomplete);
            is_open = effect == RULE_OPENS || (is_open && effect != RULE_CLOSES);
            CHECK(is_open == (state.phase == RULE_OPEN || state.phase == RULE_FALLING));
        }
    }
}

int main(void)
{
    RUN(test_stories);
    RUN(test_any_walk_keeps_the_promises);
    return vg_test_report();
}
