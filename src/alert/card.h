/* card.h -- one flag's news as the text that a receiver wants. Private to src/alert. */
#ifndef VG_ALERT_CARD_H
#define VG_ALERT_CARD_H

#include "alert/alert.h"

/* Writes the request body for target->format. False: unknown format. */
bool card_format(const struct care_card *card, const struct notify_target *target,
                 const char *board_url, struct vg_buf *out);

#endif
