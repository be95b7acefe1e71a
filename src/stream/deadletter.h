/* deadletter.h -- what could not be processed: looking at it, and trying again.
 *
 * A dead letter names its source record by topic, partition and sequence number (docs/records.md).
 * A replay puts the source's time, key, headers and value on device.raw again, with header
 * replay-of, so that it takes the whole way once more; the dead letter stays where it is.
 */
#ifndef VG_STREAM_DEADLETTER_H
#define VG_STREAM_DEADLETTER_H

#include "stream/stream.h"

/* Calls fn for the letters of all partitions, oldest first within each. Slices live for the call.
 */
VG_CHECK enum vg_status stream_deadletters(struct stream *stream,
                                           void (*fn)(void *ctx, uint32_t partition,
                                                      const struct stream_record *letter),
                                           void *ctx, struct vg_err *err);

/* Replays the letter at (partition, seq). *ret_seq: where its copy is on device.raw, in the
 * source's partition. VG_END: there is no such letter; VG_REJECT deadletter.source: what it came
 * from is no device message, or no longer kept and too broken to be restored. */
VG_CHECK enum vg_status stream_deadletter_replay(struct stream *stream, uint32_t partition,
                                                 uint64_t seq, uint64_t *ret_seq,
                                                 struct vg_err *err);

#endif
