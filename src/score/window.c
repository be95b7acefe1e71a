/* window.c -- one patient's window: cells of time per vital sign, and the newest values.
 *
 * WHAT IS KEPT. A monitor sends once a second, and nobody needs 86,400 numbers of a heart rate. A
 * cell holds of its slot of time the newest reading, the smallest and the largest value. Slots are
 * a minute long within the last hour and ten minutes before that; both are aligned to the clock.
 *
 * WHY THIS FORM. Taking the newest, the smallest and the largest can be done in any order, any
 * number of times, and in parts (a semilattice): a late reading, a duplicate, a record processed
 * again after a crash or the same history read from the lake all lead to the same cells. A sum or a
 * count in a cell would not. Ten cells of a minute become one of ten minutes by the same rule, at
 * a moment that depends on the newest event time only.
 *
 * LABORATORY and the like come a few times a day and count for longer: cells of an hour, for three
 * days after the newest reading of all.
 *
 * BOUND. WINDOW_CELLS_MAX() cells of 56 bytes for each of 8 numeric vital signs: with 24 h
 * 215 * 56 * 8 = 96,320 bytes for a patient with every vital sign on a monitor all day, however
 * often a device sends; 24 hourly spot checks take 2 KB a vital sign. More than half of a cell is
 * the Observation that its newest value is from: a RiskAssessment names what its words speak of.
 * Each other signal: at most 74 cells, usually 3 to 12. Arrays grow on demand.
 *
 * Two readings of one vital sign at the same microsecond: the later receipt holds (a correction),
 * then the larger value. The corrected value stays in its cell's minimum or maximum.
 *
 * Threads: none; the owner locks.
 */
#include "score/window.h"

#include "score/gate.h"

#include <assert.h>
#include <stdlib.h>

#define FINE_US VG_MINUTE_US
#define COARSE_US (10 * VG_MINUTE_US)
#define FINE_SPAN_US VG_HOUR_US
#define SLOW_SLOT_US VG_HOUR_US

_Static_assert(sizeof(struct window_cell) == 56, "the bound above is in the manual");

static const enum score_vital part_vital[NEWS2_PART_COUNT] = {
    [NEWS2_RESPIRATION] = SCORE_RESPIRATION,
    [NEWS2_SPO2] = SCORE_SPO2,
    [NEWS2_OXYGEN] = SCORE_OXYGEN,
    [NEWS2_SYSTOLIC] = SCORE_SYSTOLIC,
    [NEWS2_PULSE] = SCORE_PULSE,
    [NEWS2_CONSCIOUSNESS] = SCORE_CONSCIOUSNESS,
    [NEWS2_TEMPERATURE] = SCORE_TEMPERATURE,
};

static int64_t floor_to(int64_t time_us, int64_t step_us)
{
    int64_t rest = time_us % step_us;

    return time_us - (rest < 0 ? rest + step_us : rest);
}

/* The start of the slot that a time falls into. */
static int64_t slot_of(const struct window *window, int vital, int64_t time_us)
{
    if (vital >= SCORE_VITAL_COUNT)
        return floor_to(time_us, SLOW_SLOT_US);
    return floor_to(time_us, time_us < window->coarse_us ? COARSE_US : FINE_US);
}

static void set_history(struct window *window, int64_t history_us)
{
    window->history_us = floor_to(history_us, COARSE_US);
    assert(window->history_us >= VG_HOUR_US && window->history_us <= 49 * VG_HOUR_US);
}

void window_reach(struct window *window, int64_t history_us)
{
    if (history_us > window->history_us)
        set_history(window, history_us);
}

void window_init(struct window *window, int64_t history_us)
{
    memset(window, 0, sizeof(*window));
    set_history(window, history_us ? history_us : VG_DAY_US);
    window->watermark_us = window->coarse_us = INT64_MIN;
}

void window_fini(struct window *window)
{
    for (int v = 0; v < SIGNAL_COUNT; v++)
        free(window->series[v].cells);
    memset(window, 0, sizeof(*window));
}

/* Which of two readings at a place holds: newer, then later received, then larger. */
static bool cell_beats(const struct window_cell *a, const struct window_cell *b)
{
    if (a->time_us != b->time_us)
        return a->time_us > b->time_us;
    if (a->delay_ms != b->delay_ms)
        return a->delay_ms > b->delay_ms;
    return a->last > b->last;
}

static void cell_join(struct window_cell *into, const struct window_cell *from)
{
    float min = into->min < from->min ? into->min : from->min;
    float max = into->max > from->max ? into->max : from->max;

    if (cell_beats(from, into))
        *into = *from;
    into->min = min;
    into->max = max;
}

/* Before this nothing is kept. Whole slots go, so that it does not matter whether a reading came
 * before or after the watermark moved. */
static int64_t oldest_kept(const struct window *window, int vital)
{
    if (vital >= SCORE_VITAL_COUNT)
        return floor_to(window->watermark_us, SLOW_SLOT_US) - WINDOW_SLOW_US;
    return floor_to(window->watermark_us, COARSE_US) - window->history_us;
}

/* The watermark moved: minutes that are an hour old become tens of minutes, old cells go. */
static void series_age(struct window *window, int vital)
{
    struct window_series *series = &window->series[vital];
    int64_t oldest = oldest_kept(window, vital);
    uint32_t kept = 0;

    for (uint32_t i = 0; i < series->count; i++) {
        struct window_cell *cell = &series->cells[i];

        if (cell->time_us < oldest)
            continue;
        /* An artefact of a minute must not become an extreme of ten. */
        if (vital < SCORE_VITAL_COUNT && cell->time_us < window->coarse_us &&
            gate_is_jump(vital, kept > 0 ? &series->cells[kept - 1] : NULL, cell,
                         i + 1 < series->count ? cell + 1 : NULL))
            continue;
        if (kept > 0 && slot_of(window, vital, series->cells[kept - 1].time_us) ==
                            slot_of(window, vital, cell->time_us))
            cell_join(&series->cells[kept - 1], cell);
        else
            series->cells[kept++] = *cell;
    }
    series->count = kept;
}

static void advance(struct window *window, int64_t time_us)
{
    int64_t coarse;

    if (time_us <= window->watermark_us)
        return;
    window->watermark_us = time_us;
    coarse = floor_to(time_us, COARSE_US) - FINE_SPAN_US;
    if (coarse == window->coarse_us)
        return;
    window->coarse_us = coarse;
    for (int v = 0; v < SIGNAL_COUNT; v++) {
        if (window->series[v].count > 0)
            series_age(window, v);
    }
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        if (window->newest[v].is_there && window->newest[v].time_us < oldest_kept(window, v))
            window->newest[v].is_there = false;
    }
}

static enum vg_status series_add(struct window *window, int vital, const struct window_cell *cell,
                                 struct vg_err *err)
{
    struct window_series *series = &window->series[vital];
    int64_t slot = slot_of(window, vital, cell->time_us);
    uint32_t at = series->count;

    /* Nearly always the end. */
    while (at > 0 && slot_of(window, vital, series->cells[at - 1].time_us) > slot)
        at--;
    if (at > 0 && slot_of(window, vital, series->cells[at - 1].time_us) == slot) {
        cell_join(&series->cells[at - 1], cell);
        return VG_OK;
    }
    if (series->count == series->capacity) {
        uint32_t capacity = series->capacity ? series->capacity + series->capacity / 2 : 4;
        uint32_t most = vital < SCORE_VITAL_COUNT ? (uint32_t)WINDOW_CELLS_MAX(window->history_us)
                                                  : (uint32_t)WINDOW_SLOW_CELLS_MAX;
        struct window_cell *cells;

        if (capacity > most)
            capacity = most;
        assert(capacity > series->count);
        cells = realloc(series->cells, capacity * sizeof(*cells));
        if (!cells)
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a window");
        series->cells = cells;
        series->capacity = capacity;
    }
    memmove(series->cells + at + 1, series->cells + at,
            (series->count - at) * sizeof(series->cells[0]));
    series->cells[at] = *cell;
    series->count++;
    return VG_OK;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Our Observations' ids are 64 lower-case hex digits; others are not kept. */
static void pack_id(struct vg_slice id, uint8_t out[static 32])
{
    bool is_ours = id.len == 64;

    for (size_t i = 0; i < 32 && is_ours; i++) {
        int high = digit_of(id.ptr[2 * i]), low = digit_of(id.ptr[2 * i + 1]);

        is_ours = high >= 0 && low >= 0;
        out[i] = (uint8_t)(high << 4 | low);
    }
    if (!is_ours)
        memset(out, 0, 32);
}

void window_cell_id(const struct window_cell *cell, char out[static WINDOW_ID_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t any = 0;

    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = digits[cell->id[i] >> 4];
        out[2 * i + 1] = digits[cell->id[i] & 15];
        any |= cell->id[i];
    }
    out[any ? 64 : 0] = '\0';
}

static bool newest_beats(const struct window_reading *reading, const struct window_newest *newest)
{
    if (!newest->is_there)
        return true;
    if (reading->time_us != newest->time_us)
        return reading->time_us > newest->time_us;
    if (reading->received_us != newest->received_us)
        return reading->received_us > newest->received_us;
    return reading->value > newest->value;
}

enum vg_status window_add(struct window *window, const struct window_reading *reading,
                          struct vg_err *err)
{
    struct window_newest *newest =
        reading->vital < SCORE_VITAL_COUNT ? &window->newest[reading->vital] : NULL;
    int64_t delay_ms = (reading->received_us - reading->time_us) / 1000;
    float value = (float)reading->value;
    struct window_cell cell = {
        .time_us = reading->time_us,
        .delay_ms = (int32_t)(delay_ms < INT32_MIN   ? INT32_MIN
                              : delay_ms > INT32_MAX ? INT32_MAX
                                                     : delay_ms),
        .last = value,
        .min = value,
        .max = value,
    };
    enum vg_status st = VG_OK;

    pack_id(reading->observation_id, cell.id);
    advance(window, reading->time_us);
    if (reading->time_us < oldest_kept(window, reading->vital))
        return VG_END;
    /* Consciousness has no course to compute with: its newest level is all. */
    if (reading->vital != SCORE_CONSCIOUSNESS)
        st = series_add(window, reading->vital, &cell, err);
    if (st != VG_OK || !newest || !newest_beats(reading, newest))
        return st;

    *newest = (struct window_newest){
        .is_there = true,
        .level = reading->vital == SCORE_CONSCIOUSNESS ? (char)reading->value : 0,
        .time_us = reading->time_us,
        .received_us = reading->received_us,
        .value = reading->value,
    };
    if (!vg_slice_to_cstr(reading->code, newest->code, sizeof(newest->code)))
        newest->code[0] = '\0';
    if (!vg_slice_to_cstr(reading->observation_id, newest->observation_id,
                          sizeof(newest->observation_id)))
        newest->observation_id[0] = '\0';
    return VG_OK;
}

enum vg_status window_merge(struct window *window, struct window *from, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    if (from->watermark_us == INT64_MIN)
        return VG_OK;
    advance(window, from->watermark_us);
    advance(from, window->watermark_us);
    for (int v = 0; v < SIGNAL_COUNT; v++) {
        const struct window_series *series = &from->series[v];

        for (uint32_t i = 0; i < series->count && st == VG_OK; i++) {
            if (series->cells[i].time_us >= oldest_kept(window, v))
                st = series_add(window, v, &series->cells[i], err);
        }
    }
    for (int v = 0; v < SCORE_VITAL_COUNT && st == VG_OK; v++) {
        const struct window_newest *newest = &from->newest[v];
        const struct window_reading reading = {
            .value = newest->value, .time_us = newest->time_us, .received_us = newest->received_us};

        if (newest->is_there && newest->time_us >= oldest_kept(window, v) &&
            newest_beats(&reading, &window->newest[v]))
            window->newest[v] = *newest;
    }
    return st;
}

void window_narrow(struct window *window, int64_t history_us)
{
    if (history_us >= window->history_us)
        return;
    set_history(window, history_us);
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        struct window_series *series = &window->series[v];

        while (series->count > 0 && series->cells[0].time_us < oldest_kept(window, v)) {
            series->cells++;
            series->count--;
        }
        if (window->newest[v].is_there && window->newest[v].time_us < oldest_kept(window, v))
            window->newest[v].is_there = false;
    }
}

enum window_state window_state(const struct window *window, enum score_vital vital,
                               int64_t expiry_us, int64_t as_of_us)
{
    const struct window_newest *newest = &window->newest[vital];

    if (!newest->is_there)
        return WINDOW_MISSING;
    return as_of_us - newest->time_us > expiry_us ? WINDOW_EXPIRED : WINDOW_OK;
}

enum score_vital window_vital_of_part(enum news2_part part)
{
    return part_vital[part];
}

struct news2 window_news2(const struct window *window, const int64_t *expiry_us, int oxygen_scale,
                          int64_t as_of_us)
{
    struct news2_input input = {.oxygen_scale = oxygen_scale};

    for (int part = 0; part < NEWS2_PART_COUNT; part++) {
        enum score_vital vital = part_vital[part];

        input.has[part] = window_state(window, vital, expiry_us[vital], as_of_us) == WINDOW_OK;
        input.value[part] = window->newest[vital].value;
    }
    return news2_score(&input);
}

size_t window_bytes(const struct window *window)
{
    size_t bytes = 0;

    for (int v = 0; v < SIGNAL_COUNT; v++)
        bytes += window->series[v].capacity * sizeof(struct window_cell);
    return bytes;
}
