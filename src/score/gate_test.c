/* gate_test.c -- what is an artefact, what is a patient. */
#include "score/gate.h"

#include "vg_test.h"

#define T0 (20530 * VG_DAY_US)

static void test_one_moment(void)
{
    static const struct {
        const char *name;
        struct {
            int vital;
            double value;
        } values[3];
        size_t count;
        enum gate_reason want;
    } rows[] = {
        {"a heart rate of 900", {{SCORE_PULSE, 900}}, 1, GATE_RANGE},
        {"a saturation of 0: a probe on the sheet", {{SCORE_SPO2, 0}}, 1, GATE_RANGE},
        {"an arrest: nothing speaks against it",
         {{SCORE_PULSE, 0}, {SCORE_RESPIRATION, 0}},
         2,
         GATE_OK},
        {"a pulse of 0 and a saturation of 97: the lead is off",
         {{SCORE_PULSE, 0}, {SCORE_SPO2, 97}},
         2,
         GATE_PROBE},
        {"a pulse of 0 and a pressure", {{SCORE_PULSE, 0}, {SCORE_SYSTOLIC, 80}}, 2, GATE_PROBE},
        {"a saturation of 0 is no witness", {{SCORE_PULSE, 0}, {SCORE_SPO2, 0}}, 2, GATE_OK},
        {"no breath, but a pulse: apnoea", {{SCORE_RESPIRATION, 0}, {SCORE_PULSE, 90}}, 2, GATE_OK},
        {"diastolic above systolic", {{SCORE_SYSTOLIC, 80}, {SCORE_DIASTOLIC, 120}}, 2, GATE_PAIR},
        {"and the other of the two", {{SCORE_DIASTOLIC, 120}, {SCORE_SYSTOLIC, 80}}, 2, GATE_PAIR},
        {"a line that is clamped", {{SCORE_SYSTOLIC, 101}, {SCORE_DIASTOLIC, 100}}, 2, GATE_FLAT},
        {"a shock", {{SCORE_SYSTOLIC, 55}, {SCORE_DIASTOLIC, 40}}, 2, GATE_OK},
        {"a laboratory value is not for this gate", {{SIGNAL_LACTATE, 900}}, 1, GATE_OK},
        {"consciousness has no range", {{SCORE_CONSCIOUSNESS, 'U'}}, 1, GATE_OK},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct window_reading readings[3] = {{0}};

        CHECK_ROW(rows[i].name);
        for (size_t r = 0; r < rows[i].count; r++)
            readings[r] = (struct window_reading){
                .vital = rows[i].values[r].vital, .value = rows[i].values[r].value, .time_us = T0};
        CHECK(gate_reading(readings, rows[i].count, 0) == rows[i].want);
        CHECK_ROW("another moment is no witness");
        if (rows[i].count > 1 && rows[i].want != GATE_OK) {
            readings[1].time_us++;
            CHECK(gate_reading(readings, rows[i].count, 0) == GATE_OK);
        }
    }
}

static void add(struct window *window, int vital, double value, int64_t time_us)
{
    struct window_reading reading = {.vital = vital,
                                     .value = value,
                                     .time_us = time_us,
                                     .received_us = time_us,
                                     .observation_id = VG_SLICE("o")};

    CHECK(window_add(window, &reading, NULL) == VG_OK);
}

static void test_a_jump_waits_for_the_next_minute(void)
{
    static const struct {
        const char *name;
        double values[5]; /* minute by minute; -1: none */
        double want;      /* what counts */
        bool is_rejected;
        double min, max; /* of what scores see */
    } rows[] = {
        {"steady", {80, 82, 81, 83, 82}, 82, false, 80, 83},
        {"a rise of 60 in a minute is a patient", {80, 82, 81, 83, 143}, 143, false, 80, 143},
        {"a spike is not counted while nothing confirms it",
         {80, 82, 81, 83, 240},
         83,
         true,
         80,
         83},
        {"the next minute confirms", {80, 82, 81, 240, 238}, 238, false, 80, 240},
        {"the next minute contradicts", {80, 82, 240, 81, 82}, 82, false, 80, 82},
        {"down as up", {180, 182, 20, 181, 182}, 182, false, 180, 182},
        {"after a gap nothing is known", {80, -1, -1, -1, 240}, 240, false, 80, 240},
        {"the first value has nothing before it", {240, 80, 82, 81, 80}, 80, false, 240, 240},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) - 1; i++) {
        struct window window;
        struct gate_view view;
        float min = 1000, max = 0;

        CHECK_ROW(rows[i].name);
        window_init(&window, 0);
        gate_view_init(&view);
        for (int m = 0; m < 5; m++) {
            if (rows[i].values[m] >= 0)
                add(&window, SCORE_PULSE, rows[i].values[m], T0 + m * VG_MINUTE_US);
        }
        CHECK(gate_look(&view, &window, NULL) == VG_OK);
        CHECK(view.window.newest[SCORE_PULSE].value > rows[i].want - 0.01 &&
              view.window.newest[SCORE_PULSE].value < rows[i].want + 0.01);
        CHECK(view.rejected[SCORE_PULSE].is_there == rows[i].is_rejected);
        if (rows[i].is_rejected)
            CHECK(view.reasons[SCORE_PULSE] == GATE_JUMP &&
                  view.rejected[SCORE_PULSE].observation_id[0] == 'o');
        for (uint32_t c = 0; c < view.window.series[SCORE_PULSE].count; c++) {
            const struct window_cell *cell = &view.window.series[SCORE_PULSE].cells[c];

            min = cell->min < min ? cell->min : min;
            max = cell->max > max ? cell->max : max;
        }
        CHECK((double)min == rows[i].min && (double)max == rows[i].max);
        CHECK_ROW("an hour and more later it is in no extreme");
        for (int m = 0; m < 3; m++)
            add(&window, SCORE_RESPIRATION, 16, T0 + (100 + m * 60) * VG_MINUTE_US);
        CHECK(gate_look(&view, &window, NULL) == VG_OK);
        for (uint32_t c = 0; c < view.window.series[SCORE_PULSE].count; c++)
            CHECK((double)view.window.series[SCORE_PULSE].cells[c].max <= rows[i].max &&
                  (double)view.window.series[SCORE_PULSE].cells[c].min >= rows[i].min);
        gate_view_fini(&view);
        window_fini(&window);
    }
}

/* Pacing and ventilation hold two numbers still; a pressure never stands. */
static void test_a_device_that_stands_still(void)
{
    static const int all[] = {SCORE_PULSE, SCORE_RESPIRATION, SCORE_SYSTOLIC};

    for (size_t still = 1; still <= 3; still++) {
        struct window window;
        struct gate_view view;

        window_init(&window, 0);
        gate_view_init(&view);
        for (int m = 0; m < 120; m++) {
            for (size_t v = 0; v < 3; v++)
                add(&window, all[v], 70 + (v < still ? 0 : m % 2), T0 + m * VG_MINUTE_US);
        }
        CHECK(gate_look(&view, &window, NULL) == VG_OK);
        for (size_t v = 0; v < 3; v++) {
            CHECK(view.rejected[all[v]].is_there == (still == 3));
            CHECK(view.reasons[all[v]] == (still == 3 ? GATE_FLAT : GATE_OK));
        }
        CHECK_ROW("the last value that moved is an hour old");
        if (still == 3)
            CHECK(view.window.newest[SCORE_PULSE].time_us < T0 + 61 * VG_MINUTE_US);
        gate_view_fini(&view);
        window_fini(&window);
    }
}

/* Within the allowed lateness, whatever comes first. */
static void test_any_order_gives_the_same_view(void)
{
    uint64_t state = 7;

    for (int round = 0; round < 60; round++) {
        struct window windows[2];
        struct gate_view views[2];
        struct window_reading readings[200];

        for (int i = 0; i < 200; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            readings[i] = (struct window_reading){
                .vital = SCORE_PULSE,
                .value = state >> 61 == 0 ? 250 : 60 + (double)(state >> 40 & 7),
                .time_us = T0 + i * VG_MINUTE_US,
                .received_us = T0 + i * VG_MINUTE_US,
            };
        }
        for (int w = 0; w < 2; w++) {
            window_init(&windows[w], 0);
            gate_view_init(&views[w]);
        }
        for (int i = 0; i < 200; i++)
            CHECK(window_add(&windows[0], &readings[i], NULL) == VG_OK);
        /* Groups of ten minutes, each backwards. */
        for (int i = 0; i < 200; i++)
            CHECK(window_add(&windows[1], &readings[i / 10 * 10 + 9 - i % 10], NULL) == VG_OK);
        for (int w = 0; w < 2; w++)
            CHECK(gate_look(&views[w], &windows[w], NULL) == VG_OK);
        CHECK(views[0].window.newest[SCORE_PULSE].time_us ==
              views[1].window.newest[SCORE_PULSE].time_us);
        if (CHECK(views[0].window.series[SCORE_PULSE].count ==
                  views[1].window.series[SCORE_PULSE].count)) {
            for (uint32_t c = 0; c < views[0].window.series[SCORE_PULSE].count; c++)
                CHECK(memcmp(&views[0].window.series[SCORE_PULSE].cells[c],
                             &views[1].window.series[SCORE_PULSE].cells[c],
                             sizeof(struct window_cell)) == 0);
        }
        for (int w = 0; w < 2; w++) {
            window_fini(&windows[w]);
            gate_view_fini(&views[w]);
        }
    }
}

int main(void)
{
    RUN(test_one_moment);
    RUN(test_a_jump_waits_for_the_next_minute);
    RUN(test_a_device_that_stands_still);
    RUN(test_any_order_gives_the_same_view);
    return vg_test_report();
}
