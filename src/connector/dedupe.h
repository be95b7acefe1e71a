/* dedupe.h -- which messages of a device have been here before.
 *
 * A sender that got no acknowledgement sends again. Its message is known by its message id together
 * with its bytes; without an id, when it says itself that it may be a repeat (MQTT's DUP), by its
 * bytes and MQTT packet id, so that an equal reading of later is not taken for it; when a gateway
 * says it of a device's message (edge-dup), by its bytes. Only the last messages of each device are
 * remembered.
 */
#ifndef VG_CONNECTOR_DEDUPE_H
#define VG_CONNECTOR_DEDUPE_H

#include "stream/stream.h"

struct dedupe;

/* `size`: messages remembered for each device; 0 = 256, at most 4,096. */
VG_CHECK enum vg_status dedupe_open(uint32_t size, struct dedupe **ret_dedupe, struct vg_err *err);
void dedupe_close(struct dedupe *dedupe); /* NULL is fine */

/* Asks, and remembers when it is new. What is remembered counts at once, and for good with
 * dedupe_keep(); dedupe_undo() forgets all since the last dedupe_keep(). A record with the header
 * replay-of is never a repeat. */
bool dedupe_is_repeat(struct dedupe *dedupe, const struct stream_record *record);
void dedupe_keep(struct dedupe *dedupe);
void dedupe_undo(struct dedupe *dedupe);

#endif
