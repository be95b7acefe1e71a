/* window_test.c -- a window is a function of the set of readings, and of nothing else. */
#include "score/window.h"

#include "vg_test.h"

#include <math.h>

#define T0 (20000 * VG_DAY_US)

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct window_reading reading_of(enum score_vital vital, double value, int64_t time_us)
{
    return (struct window_reading){.vital = vital,
                                   .value = value,
                                   .time_us = time_us,
                                   .received_us = time_us + VG_SECOND_US,
                                   .code = vg_slice_of(vitals[vital].codes[0]),
                                   .observation_id = VG_SLICE("o1")};
}

static enum vg_status add(struct window *window, enum score_vital vital, double value,
                          int64_t time_us)
{
    struct window_reading reading = reading_of(vital, value, time_us);

    return window_add(window, &reading, NULL);
}

static bool is_same(const struct window *a, const struct window *b)
{
    if (a->watermark_us != b->watermark_us || a->coarse_us != b->coarse_us)
        return false;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        const struct window_newest *x = &a->newest[v], *y = &b->newest[v];

        if (a->series[v].count != b->series[v].count || x->is_there != y->is_there)
            return false;
        if (a->series[v].count > 0 && memcmp(a->series[v].cells, b->series[v].cells,
                                             a->series[v].count * sizeof(struct window_cell)) != 0)
            return false;
        if (x->is_there && (x->time_us != y->time_us || x->received_us != y->received_us ||
                            x->value < y->value || x->value > y->value || x->level != y->level))
            return false;
    }
    return true;
}

#define READINGS 3000

/* 30 h of readings of all sorts: dense and sparse, at the same time, late and twice. */
static void test_any_order_gives_the_same_window(void)
{
    static struct window_reading readings[READINGS];

    for (unsigned seed = 1; seed <= 25; seed++) {
        struct window first;
        char row[32];

        random_state = seed * 0x9e3779b97f4a7c15u;
        for (size_t i = 0; i < READINGS; i++) {
            enum score_vital vital = (enum score_vital)(random_next() % SCORE_VITAL_COUNT);
            int64_t time_us =
                T0 + (int64_t)(random_next() % (seed % 2 ? 30 : 3) * 3600 + random_next() % 3600) *
                         VG_SECOND_US;
            double value = vital == SCORE_CONSCIOUSNESS ? "ACVPU"[random_next() % 5]
                                                        : 50 + (double)(random_next() % 1000) / 10;

            readings[i] = reading_of(vital, value, time_us);
            readings[i].received_us += (int64_t)(random_next() % 1000) * VG_SECOND_US;
            if (i > 0 && random_next() % 10 == 0)
                readings[i] = readings[random_next() % i]; /* a duplicate */
            else if (i > 0 && random_next() % 20 == 0)
                readings[i].time_us = readings[random_next() % i].time_us; /* the same moment */
        }
        (void)snprintf(row, sizeof(row), "seed %u", seed);
        CHECK_ROW(row);
        for (int permutation = 0; permutation < 4; permutation++) {
            struct window window;

            window_init(&window, 0);
            for (size_t i = 0; i < READINGS; i++) {
                enum vg_status st = window_add(&window, &readings[i], NULL);

                CHECK(st == VG_OK || st == VG_END);
            }
            if (permutation == 0) {
                first = window;
            } else {
                CHECK(is_same(&first, &window));
                window_fini(&window);
            }
            for (size_t i = READINGS - 1; i > 0; i--) {
                size_t other = random_next() % (i + 1);
                struct window_reading swap = readings[i];

                readings[i] = readings[other];
                readings[other] = swap;
            }
        }
        window_fini(&first);
    }
}

static void test_a_late_reading_goes_to_its_place(void)
{
    struct window window;

    window_init(&window, 0);
    CHECK(add(&window, SCORE_PULSE, 80, T0) == VG_OK);
    CHECK(add(&window, SCORE_PULSE, 100, T0 + 10 * VG_MINUTE_US) == VG_OK);
    CHECK(add(&window, SCORE_PULSE, 90, T0 + 5 * VG_MINUTE_US) == VG_OK);
    CHECK(window.series[SCORE_PULSE].count == 3);
    CHECK(fabsf(window.series[SCORE_PULSE].cells[1].last - 90) < 0.01f);
    CHECK(fabs(window.newest[SCORE_PULSE].value - 100) < 0.01);
    CHECK(window.watermark_us == T0 + 10 * VG_MINUTE_US);
    window_fini(&window);
}

static void test_a_correction_holds(void)
{
    struct window window;
    struct window_reading wrong = reading_of(SCORE_PULSE, 180, T0);
    struct window_reading right = reading_of(SCORE_PULSE, 80, T0);

    right.received_us += VG_SECOND_US;
    window_init(&window, 0);
    CHECK(window_add(&window, &right, NULL) == VG_OK);
    CHECK(window_add(&window, &wrong, NULL) == VG_OK);
    CHECK(fabs(window.newest[SCORE_PULSE].value - 80) < 0.01);
    CHECK(fabsf(window.series[SCORE_PULSE].cells[0].last - 80) < 0.01f);
    window_fini(&window);
}

static void test_expiry(void)
{
    static const struct {
        const char *name;
        int64_t age_us;
        enum window_state want;
    } rows[] = {
        {"just taken", 0, WINDOW_OK},
        {"as old as it may be", 4 * VG_HOUR_US, WINDOW_OK},
        {"a microsecond too old", 4 * VG_HOUR_US + 1, WINDOW_EXPIRED},
        {"a day old", VG_DAY_US, WINDOW_EXPIRED},
    };
    int64_t expiry_us[SCORE_VITAL_COUNT];
    struct window window;
    struct news2 news2;

    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        expiry_us[v] = 4 * VG_HOUR_US;
    window_init(&window, 0);
    CHECK(add(&window, SCORE_RESPIRATION, 30, T0) == VG_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].name);
        CHECK(window_state(&window, SCORE_RESPIRATION, expiry_us[0], T0 + rows[i].age_us) ==
              rows[i].want);
        CHECK(window_state(&window, SCORE_PULSE, expiry_us[0], T0) == WINDOW_MISSING);
        news2 = window_news2(&window, expiry_us, 1, T0 + rows[i].age_us);
        CHECK(news2.low == (rows[i].want == WINDOW_OK ? 3 : 0));
        CHECK(news2.high == 20);
    }
    window_fini(&window);
}

static void test_what_is_older_than_the_history_goes(void)
{
    struct window window;

    window_init(&window, 0);
    CHECK(add(&window, SCORE_TEMPERATURE, 37, T0) == VG_OK);
    CHECK(add(&window, SCORE_PULSE, 70, T0) == VG_OK);
    CHECK(add(&window, SCORE_PULSE, 71, T0 + VG_DAY_US + 11 * VG_MINUTE_US) == VG_OK);
    CHECK(window.series[SCORE_PULSE].count == 1);
    CHECK(window.series[SCORE_TEMPERATURE].count == 0);
    CHECK(!window.newest[SCORE_TEMPERATURE].is_there);
    CHECK(add(&window, SCORE_TEMPERATURE, 37, T0) == VG_END);
    CHECK(!window.newest[SCORE_TEMPERATURE].is_there);
    CHECK(add(&window, SCORE_TEMPERATURE, 37, T0 + VG_HOUR_US) == VG_OK);
    window_fini(&window);
}

static void test_minutes_become_tens_of_minutes(void)
{
    struct window window;
    const struct window_cell *cell;

    window_init(&window, 0);
    for (int i = 0; i < 600; i++)
        CHECK(add(&window, SCORE_PULSE, 60 + i % 60, T0 + i * VG_SECOND_US) == VG_OK);
    CHECK_ROW("a reading a second is a cell a minute");
    CHECK(window.series[SCORE_PULSE].count == 10);
    CHECK_ROW("an hour later it is a cell of ten minutes");
    CHECK(add(&window, SCORE_PULSE, 70, T0 + 71 * VG_MINUTE_US) == VG_OK);
    CHECK(window.series[SCORE_PULSE].count == 2);
    cell = &window.series[SCORE_PULSE].cells[0];
    CHECK(cell->time_us == T0 + 599 * VG_SECOND_US);
    CHECK(fabsf(cell->min - 60) < 0.01f && fabsf(cell->max - 119) < 0.01f &&
          fabsf(cell->last - 119) < 0.01f);
    window_fini(&window);
}

static void test_memory_is_bounded(void)
{
    struct window window;
    size_t most = 0;

    /* Two days of every vital sign, every 20 s. */
    window_init(&window, 0);
    for (int64_t at_us = 0; at_us < 2 * VG_DAY_US; at_us += 20 * VG_SECOND_US) {
        for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
            if (add(&window, (enum score_vital)v, 60, T0 + at_us) != VG_OK)
                CHECK(false);
        }
        for (int v = 0; v < SCORE_VITAL_COUNT; v++)
            most = window.series[v].count > most ? window.series[v].count : most;
    }
    CHECK(most <= (size_t)WINDOW_CELLS_MAX(VG_DAY_US));
    CHECK(window_bytes(&window) <=
          8 * (size_t)WINDOW_CELLS_MAX(VG_DAY_US) * sizeof(struct window_cell));
    printf("a patient on a monitor for two days: %zu bytes, %zu cells a vital sign\n",
           window_bytes(&window), most);
    window_fini(&window);
}

/* A device that sends a thousand times a second, and one whose times jump about in the day. */
static void test_a_hostile_device_takes_no_more(void)
{
    struct window window;
    float min = INFINITY, max = -INFINITY, last = 0;
    const struct window_series *series = &window.series[SCORE_PULSE];

    random_state = 7;
    window_init(&window, 48 * VG_HOUR_US);
    for (int i = 0; i < 300000; i++) {
        int64_t time_us = T0 + 2 * VG_DAY_US + i * 1000;

        last = 60 + (float)(random_next() % 400) / 10;
        min = last < min ? last : min;
        max = last > max ? last : max;
        CHECK(add(&window, SCORE_PULSE, (double)last, time_us) == VG_OK);
        if (i % 3 == 0)
            (void)add(&window, (enum score_vital)(random_next() % SCORE_VITAL_COUNT), 61,
                      T0 + 2 * VG_DAY_US - (int64_t)(random_next() % (49 * 3600 * 1000ull)) * 1000);
    }
    CHECK_ROW("five minutes are five cells, and what they hold is right");
    CHECK(series->count >= 5);
    for (uint32_t i = series->count - 5; i < series->count; i++) {
        CHECK(series->cells[i].min >= min && series->cells[i].max <= max);
        CHECK(series->cells[i].max - series->cells[i].min > 39);
    }
    CHECK(fabsf(series->cells[series->count - 1].last - last) < 0.01f);
    CHECK_ROW("no more than the bound");
    for (int v = 0; v < SIGNAL_COUNT; v++)
        CHECK(window.series[v].count <= (uint32_t)WINDOW_CELLS_MAX(48 * VG_HOUR_US));
    CHECK(window_bytes(&window) <=
          8 * (size_t)WINDOW_CELLS_MAX(48 * VG_HOUR_US) * sizeof(struct window_cell));
    printf("with 48 h, from a hostile device: %zu bytes\n", window_bytes(&window));
    window_fini(&window);
}

/* A course that no gate objects to. */
static struct window_reading calm_reading(unsigned i)
{
    enum score_vital vital = (enum score_vital)(i % SCORE_VITAL_COUNT);
    struct window_reading reading =
        reading_of(vital, vital == SCORE_CONSCIOUSNESS ? 'A' : 60 + i % 7 * 0.1,
                   T0 + i * (int64_t)40 * VG_SECOND_US);

    reading.observation_id =
        VG_SLICE("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    return reading;
}

#define CALM 6000 /* 66 h */

static void test_windows_merge_and_narrow(void)
{
    struct window all, one, other, narrow, whole;
    char id[WINDOW_ID_SIZE];

    random_state = 11;
    window_init(&all, VG_DAY_US);
    window_init(&one, VG_DAY_US);
    window_init(&other, VG_DAY_US);
    window_init(&whole, 48 * VG_HOUR_US);
    for (unsigned i = 0; i < CALM; i++) {
        struct window_reading reading = calm_reading(i);
        unsigned where = (unsigned)(random_next() % 3);

        CHECK(window_add(&all, &reading, NULL) == VG_OK);
        CHECK(window_add(&whole, &reading, NULL) == VG_OK);
        if (where != 0)
            CHECK(window_add(&one, &reading, NULL) == VG_OK);
        if (where != 1 && i < CALM - 200)
            CHECK(window_add(&other, &reading, NULL) == VG_OK);
        else if (where == 0)
            CHECK(window_add(&one, &reading, NULL) == VG_OK);
    }
    CHECK_ROW("what journal and lake have of a course is the course");
    CHECK(window_merge(&one, &other, NULL) == VG_OK);
    CHECK(is_same(&all, &one));
    CHECK(window_merge(&one, &other, NULL) == VG_OK);
    CHECK(is_same(&all, &one));
    CHECK_ROW("a longer window, narrowed, is the shorter one");
    narrow = whole;
    window_narrow(&narrow, VG_DAY_US);
    CHECK(is_same(&all, &narrow));
    CHECK(whole.series[SCORE_PULSE].count > narrow.series[SCORE_PULSE].count + 100);
    CHECK_ROW("a cell knows its Observation");
    window_cell_id(&all.series[SCORE_PULSE].cells[0], id);
    CHECK(vg_slice_is(calm_reading(0).observation_id, id));
    window_fini(&all);
    window_fini(&one);
    window_fini(&other);
    window_fini(&whole);
}

static void test_vital_table(void)
{
    static const struct {
        const char *name;
        enum score_vital vital;
        const char *unit;
        double value, want;
        bool is_known;
    } rows[] = {
        {"Fahrenheit", SCORE_TEMPERATURE, "[degF]", 100.4, 38.0, true},
        {"Celsius as the field writes it", SCORE_TEMPERATURE, "C", 37.5, 37.5, true},
        {"no unit: taken as the table's", SCORE_PULSE, "", 72, 72, true},
        {"kPa", SCORE_SYSTOLIC, "kPa", 16, 120.01, true},
        {"a fraction", SCORE_SPO2, "1", 0.97, 97, true},
        {"millilitres of oxygen", SCORE_OXYGEN, "mL/min", 500, 0.5, true},
        {"no rule: refused, not guessed", SCORE_PULSE, "Cel", 72, 72, false},
        {"a pressure is not a temperature", SCORE_TEMPERATURE, "mm[Hg]", 37, 37, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double value = rows[i].value;

        CHECK_ROW(rows[i].name);
        CHECK(vital_convert(rows[i].vital, vg_slice_of(rows[i].unit), &value) == rows[i].is_known);
        CHECK(fabs(value - rows[i].want) < 0.01);
        CHECK(fabs(value * 1e4 - round(value * 1e4)) < 1e-6);
    }
    CHECK_ROW("codes");
    CHECK(vital_of_code(VG_SLICE("8867-4")) == SCORE_PULSE);
    CHECK(vital_of_code(VG_SLICE("2708-6")) == SCORE_SPO2);
    CHECK(vital_of_code(VG_SLICE("59408-5")) == SCORE_SPO2);
    CHECK(vital_of_code(VG_SLICE("2524-7")) == SIGNAL_LACTATE);
    CHECK(vital_of_code(VG_SLICE("4548-4")) == SIGNAL_COUNT);
    CHECK(vital_consciousness(VG_SLICE(" v ")) == 'V');
    CHECK(vital_consciousness(VG_SLICE("Alert")) == 'A');
    CHECK(vital_consciousness(VG_SLICE("asleep")) == 0);
}

int main(void)
{
    RUN(test_any_order_gives_the_same_window);
    RUN(test_a_late_reading_goes_to_its_place);
    RUN(test_a_correction_holds);
    RUN(test_expiry);
    RUN(test_what_is_older_than_the_history_goes);
    RUN(test_minutes_become_tens_of_minutes);
    RUN(test_memory_is_bounded);
    RUN(test_a_hostile_device_takes_no_more);
    RUN(test_windows_merge_and_narrow);
    RUN(test_vital_table);
    return vg_test_report();
}
