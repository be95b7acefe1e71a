/* gate.c -- artefacts: what a device sent and no living body did.
 *
 * CAUTION decides the limits. A monitor's spike that is counted makes a needless Flag; a true
 * collapse that is rejected costs a life. So a jump must be larger than what an arrest, a fall of
 * pressure or a seizure does to the number of one minute, it is believed as soon as the next minute
 * agrees (150 s at most), and it is shown as rejected meanwhile. A pulse or a respiration of 0 is a
 * finding, unless the same moment has a saturation or a pressure, which need a pulse.
 *
 * WHERE. What one moment's readings tell (gate_reading) is kept out of the window. Jumps need the
 * minutes around them: gate_look() leaves them out of its view, and when minutes become tens of
 * minutes (window.c) they are left out for good, by the same function.
 *
 * Threads: none.
 */
#include "score/gate.h"

#include <math.h>
#include <stdlib.h>

#define NEAR_US (150 * VG_SECOND_US) /* two minutes of a monitor, and a little */
#define PULSE_PRESSURE_LEAST 5
#define STILL_CELLS 50 /* minutes of the last hour without any change, */
#define STILL_VITALS 3 /* in so many of them: pacing and ventilation hold two still */

/* More than this from one minute to the next is no patient; 0: no limit. */
static const double jumps[SCORE_VITAL_COUNT] = {
    [SCORE_RESPIRATION] = 40, [SCORE_SPO2] = 30,   [SCORE_SYSTOLIC] = 100,
    [SCORE_DIASTOLIC] = 80,   [SCORE_PULSE] = 100, [SCORE_MEAN_PRESSURE] = 90,
    [SCORE_TEMPERATURE] = 3,
};

static const bool moves[SCORE_VITAL_COUNT] = {
    [SCORE_RESPIRATION] = true,   [SCORE_SYSTOLIC] = true, [SCORE_DIASTOLIC] = true,
    [SCORE_MEAN_PRESSURE] = true, [SCORE_PULSE] = true,
};

const char *gate_reason_name(enum gate_reason reason)
{
    static const char *const names[GATE_REASON_COUNT] = {
        [GATE_OK] = "ok",     [GATE_RANGE] = "range", [GATE_PROBE] = "probe",
        [GATE_PAIR] = "pair", [GATE_FLAT] = "flat",   [GATE_JUMP] = "jump",
    };

    return names[reason];
}

/* ---- one moment ---- */

static const struct window_reading *same_moment(const struct window_reading *readings, size_t count,
                                                size_t at, int vital)
{
    for (size_t i = 0; i < count; i++) {
        if (i != at && readings[i].vital == vital && readings[i].time_us == readings[at].time_us &&
            readings[i].value >= vitals[vital].min && readings[i].value <= vitals[vital].max)
            return &readings[i];
    }
    return NULL;
}

enum gate_reason gate_reading(const struct window_reading *readings, size_t count, size_t at)
{
    const struct window_reading *reading = &readings[at], *other;

    if (reading->vital >= SCORE_VITAL_COUNT || reading->vital == SCORE_CONSCIOUSNESS)
        return GATE_OK;
    if (!(reading->value >= vitals[reading->vital].min &&
          reading->value <= vitals[reading->vital].max))
        return GATE_RANGE;
    if (reading->vital == SCORE_PULSE && reading->value <= 0 &&
        (same_moment(readings, count, at, SCORE_SPO2) ||
         same_moment(readings, count, at, SCORE_SYSTOLIC)))
        return GATE_PROBE;
    if (reading->vital == SCORE_SYSTOLIC || reading->vital == SCORE_DIASTOLIC) {
        bool is_systolic = reading->vital == SCORE_SYSTOLIC;
        double between;

        other = same_moment(readings, count, at, is_systolic ? SCORE_DIASTOLIC : SCORE_SYSTOLIC);
        between = !other        ? PULSE_PRESSURE_LEAST
                  : is_systolic ? reading->value - other->value
                                : other->value - reading->value;
        if (between < PULSE_PRESSURE_LEAST)
            return between < 0 ? GATE_PAIR : GATE_FLAT;
    }
    return GATE_OK;
}

/* ---- a window ---- */

static bool is_near(const struct window_cell *a, const struct window_cell *b)
{
    return a && b && b->time_us - a->time_us <= NEAR_US;
}

bool gate_is_jump(int vital, const struct window_cell *before, const struct window_cell *cell,
                  const struct window_cell *after)
{
    float limit = vital < SCORE_VITAL_COUNT ? (float)jumps[vital] : 0;

    if (limit <= 0 || !is_near(before, cell))
        return false;
    if (cell->max > before->last + limit)
        return !is_near(cell, after) || after->max < cell->max - limit;
    if (cell->min < before->last - limit)
        return !is_near(cell, after) || after->min > cell->min + limit;
    return false;
}

/* A device that repeats its last numbers. */
static bool is_still(const struct window_series *series, const struct window *window)
{
    uint32_t count = 0;

    for (uint32_t i = series->count; i-- > 0 && series->cells[i].time_us >= window->coarse_us;
         count++) {
        const struct window_cell *cell = &series->cells[i];
        float last = series->cells[series->count - 1].last;

        if (cell->min < last || cell->max > last)
            return false;
    }
    return count >= STILL_CELLS;
}

void gate_view_init(struct gate_view *view)
{
    memset(view, 0, sizeof(*view));
}

void gate_view_fini(struct gate_view *view)
{
    for (int v = 0; v < SCORE_VITAL_COUNT; v++)
        free(view->cells[v]);
    memset(view, 0, sizeof(*view));
}

/* A cell's value stands for the newest one. */
static struct window_newest newest_of(const struct window_cell *cell)
{
    struct window_newest newest = {
        .is_there = true,
        .time_us = cell->time_us,
        .received_us = cell->time_us + (int64_t)cell->delay_ms * 1000,
        .value = round((double)cell->last * 1e4) / 1e4,
    };

    window_cell_id(cell, newest.observation_id);
    return newest;
}

/* Takes cells out of the view: all of the last hour, or those that jump. */
static enum vg_status take_out(struct gate_view *view, int vital, bool is_all, struct vg_err *err)
{
    struct window_series *series = &view->window.series[vital];
    struct window_newest *newest = &view->window.newest[vital];
    const struct window_cell *from = series->cells;
    struct window_cell *cells = view->cells[vital];
    bool is_last_out = false;
    uint32_t kept = 0;

    if (view->capacities[vital] < series->count) {
        cells = realloc(cells, series->count * sizeof(*cells));
        if (!cells)
            return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a window");
        view->cells[vital] = cells;
        view->capacities[vital] = series->count;
    }
    for (uint32_t i = 0; i < series->count; i++) {
        is_last_out = from[i].time_us >= view->window.coarse_us &&
                      (is_all || gate_is_jump(vital, kept > 0 ? &cells[kept - 1] : NULL, &from[i],
                                              i + 1 < series->count ? &from[i + 1] : NULL));
        if (!is_last_out)
            cells[kept++] = from[i];
    }
    series->cells = cells;
    series->count = series->capacity = kept;
    if (is_last_out) {
        view->rejected[vital] = *newest;
        view->reasons[vital] = is_all ? GATE_FLAT : GATE_JUMP;
        *newest = kept > 0 ? newest_of(&cells[kept - 1]) : (struct window_newest){0};
    }
    return VG_OK;
}

static bool has_jump(const struct window_series *series, int vital, int64_t since_us)
{
    for (uint32_t i = series->count; i-- > 1 && series->cells[i].time_us >= since_us;) {
        if (gate_is_jump(vital, &series->cells[i - 1], &series->cells[i],
                         i + 1 < series->count ? &series->cells[i + 1] : NULL))
            return true;
    }
    return false;
}

enum vg_status gate_look(struct gate_view *view, const struct window *window, struct vg_err *err)
{
    bool stands[SCORE_VITAL_COUNT] = {false};
    unsigned still_count = 0;
    enum vg_status st = VG_OK;

    view->window = *window;
    for (int v = 0; v < SCORE_VITAL_COUNT; v++) {
        view->rejected[v].is_there = false;
        view->reasons[v] = GATE_OK;
        stands[v] = moves[v] && is_still(&window->series[v], window);
        still_count += stands[v];
    }
    for (int v = 0; v < SCORE_VITAL_COUNT && st == VG_OK; v++) {
        bool is_all = stands[v] && still_count >= STILL_VITALS;

        /* A cell's own neighbours find a jump; who is taken out is decided in order. */
        if (is_all || has_jump(&window->series[v], v, window->coarse_us))
            st = take_out(view, v, is_all, err);
    }
    return st;
}
