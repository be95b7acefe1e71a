/* window.h -- what one patient's vital signs were over the last 24 h, in event time.
 *
 * State is a function of the set of readings alone: every way to deliver them, in any order, in any
 * batches, with duplicates, leaves the same window.
 */
#ifndef VG_SCORE_WINDOW_H
#define VG_SCORE_WINDOW_H

#include "score/news2.h"
#include "score/vitals.h"

#define WINDOW_ID_SIZE 65 /* a FHIR id and its NUL */

/* The readings of one slot of time: a minute within the last hour, ten minutes before that; an hour
 * for what is no vital sign. */
struct window_cell {
    int64_t time_us; /* of the newest reading in the slot */
    int32_t
        delay_ms; /* its receipt after its time: of two at the same time the later receipt holds */
    float last, min, max;
    uint8_t id[32]; /* of the Observation of `last`, packed; zeros: not one of ours */
};

struct window_series {
    struct window_cell *cells; /* by time, oldest first */
    uint32_t count, capacity;
};

/* The newest value of a vital sign, exact, for NEWS2 and the board. */
struct window_newest {
    bool is_there;
    char level; /* consciousness: A, C, V, P or U */
    char code[12];
    char observation_id[WINDOW_ID_SIZE];
    int64_t time_us, received_us;
    double value;
};

struct window {
    struct window_series series[SIGNAL_COUNT];
    struct window_newest newest[SCORE_VITAL_COUNT]; /* vital signs alone */
    int64_t history_us;
    int64_t watermark_us; /* the newest event time; INT64_MIN = no reading yet */
    int64_t coarse_us;    /* cells before this are of ten minutes */
};

struct window_reading {
    int vital;    /* enum score_vital or enum signal */
    double value; /* in the table's unit; consciousness: the level's letter */
    int64_t time_us, received_us;
    struct vg_slice code, observation_id; /* borrowed */
};

/* Per vital sign at most 60 to 69 cells of a minute and history/10 min + 1 of ten minutes. */
#define WINDOW_CELLS_MAX(history_us) (70 + (history_us) / (10 * VG_MINUTE_US) + 1)

/* What is no vital sign is kept for three days, in cells of an hour. */
#define WINDOW_SLOW_US (72 * VG_HOUR_US)
#define WINDOW_SLOW_CELLS_MAX (WINDOW_SLOW_US / VG_HOUR_US + 2)

/* history_us of the vital signs: 1 h to 49 h; 0 = 24 h. */
void window_init(struct window *window, int64_t history_us);
void window_fini(struct window *window);
/* Makes it reach back further from now on; never less far. */
void window_reach(struct window *window, int64_t history_us);

/* Puts a reading at its place. VG_END: older than the history, it changes nothing. VG_RETRY
 * score.memory. */
VG_CHECK enum vg_status window_add(struct window *window, const struct window_reading *reading,
                                   struct vg_err *err);

/* Puts all of `from` at its place; `from` is aged to the other's watermark. VG_RETRY
 * score.memory. */
VG_CHECK enum vg_status window_merge(struct window *window, struct window *from,
                                     struct vg_err *err);

/* Narrows a copy that borrows its cells (gate.h) to a shorter history: what a window of that length
 * would hold. */
void window_narrow(struct window *window, int64_t history_us);

/* The id of the Observation that a cell's newest value is from; "" when it is not known. */
void window_cell_id(const struct window_cell *cell, char out[static WINDOW_ID_SIZE]);

/* What the vital sign stands at, at `as_of_us`: its newest value and whether it has expired. */
enum window_state { WINDOW_MISSING, WINDOW_EXPIRED, WINDOW_OK };
enum window_state window_state(const struct window *window, enum score_vital vital,
                               int64_t expiry_us, int64_t as_of_us);

/* NEWS2 of what has not expired. expiry_us: one per vital sign. */
struct news2 window_news2(const struct window *window, const int64_t *expiry_us, int oxygen_scale,
                          int64_t as_of_us);
enum score_vital window_vital_of_part(enum news2_part part);

size_t window_bytes(const struct window *window); /* beside the struct itself */

#endif
