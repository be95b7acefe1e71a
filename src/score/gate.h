/* gate.h -- artefacts: what a device sent and no living body did, found by a table.
 *
 * Pure functions: of the readings of one moment (range, probe, pair, flat), and of a window (jump,
 * standstill). Within the hour in which a window has minutes the verdicts do not depend on the
 * order in which readings came. Live scoring, `vigil evaluate` and training see a window through
 * gate_look(); no score counts what is rejected, and nothing is put in its place.
 */
#ifndef VG_SCORE_GATE_H
#define VG_SCORE_GATE_H

#include "score/window.h"

enum gate_reason {
    GATE_OK,
    GATE_RANGE, /* no living body has it */
    GATE_PROBE, /* a pulse of 0 beside a saturation or a pressure: the lead is off */
    GATE_PAIR,  /* a diastolic pressure above the systolic one */
    GATE_FLAT,  /* a pressure without a pulse in it; a device that stands still for an hour */
    GATE_JUMP,  /* far from the minute before, and the minute after does not confirm it */
    GATE_REASON_COUNT
};

/* "range", "probe", "pair", "flat", "jump" */
const char *gate_reason_name(enum gate_reason reason);

/* The verdict on one reading; the others of the same time are its context. Values are in the
 * table's unit. */
enum gate_reason gate_reading(const struct window_reading *readings, size_t count, size_t at);

/* Of neighbours in time: `before` is the last that was accepted, both may be NULL. */
bool gate_is_jump(int vital, const struct window_cell *before, const struct window_cell *cell,
                  const struct window_cell *after);

/* A window as scores may see it. `window` borrows what it can from the original: it must not change
 * or end before the view is used no more. */
struct gate_view {
    struct window window;
    struct window_newest rejected[SCORE_VITAL_COUNT]; /* is_there: newer than what counts */
    enum gate_reason reasons[SCORE_VITAL_COUNT];      /* of those */
    struct window_cell *cells[SCORE_VITAL_COUNT];     /* copies, where something was taken out */
    uint32_t capacities[SCORE_VITAL_COUNT];
};

void gate_view_init(struct gate_view *view);
void gate_view_fini(struct gate_view *view);

/* Fills the view anew. VG_RETRY score.memory. */
VG_CHECK enum vg_status gate_look(struct gate_view *view, const struct window *window,
                                  struct vg_err *err);

#endif
