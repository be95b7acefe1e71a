/* capture.h -- STAGE: copies of the enriched and the scored records into the lake (steps 9 and 11).
 *
 * Comes from: topics iomt.enriched and iomt.scored.
 * Goes to:    lake (tables enriched and scored).
 * Promise:    each record is in the lake once: the lake's own commit holds the position.
 *
 * Rows gather in memory and are written every flush_us or flush_rows, whichever comes first; the
 * consumer's offset moves with the flush, so that what only memory held is read again after a
 * crash.
 */
#ifndef VG_CAPTURE_CAPTURE_H
#define VG_CAPTURE_CAPTURE_H

#include "lake/lake.h"
#include "stream/stage.h"

struct capture;

struct capture_config {
    struct lake *lake;
    enum lake_table table; /* decides the topic */
    uint32_t partition;
    int64_t flush_us;  /* 0 = 30 s */
    size_t flush_rows; /* 0 = 20,000 */
};

VG_CHECK enum vg_status capture_open(const struct capture_config *config,
                                     struct capture **ret_capture, struct vg_err *err);
void capture_close(struct capture *capture); /* after its stage was stopped */

/* Groups "lake-enriched" and "lake-scored". Valid until capture_close(). */
const struct stage_ops *capture_stage(const struct capture *capture);

#endif
