/* alert.h -- STAGE: RiskAssessment and Flag from scored windows, and cards to the care team.
 *
 * Comes from: topic iomt.scored.
 * Goes to:    fhir (RiskAssessment per patient and window, Flag), care (current row, flags,
 * worklist, outbox), topic care.changed; the notifier takes cards from the outbox to Teams, chat
 * and webhooks (steps 13, 14, 18). Promise:    one Flag per episode, opened at a level held for
 * some evaluations, closed below a lower one; missing data never closes it; a replay writes the
 * same again.
 */
#ifndef VG_ALERT_ALERT_H
#define VG_ALERT_ALERT_H

#include "care/care.h"
#include "fhir/fhir.h"
#include "stream/stage.h"

struct alert;

struct alert_config {
    struct care *care;
    struct fhir_store *fhir;
    uint32_t partition;
    int64_t news2_open;       /* 0 = 5: the RCP's urgent threshold */
    int64_t news2_high;       /* 0 = 7: the RCP's emergency threshold */
    int64_t news2_close;      /* 0 = 3: a flag closes at this or below */
    int64_t hold_evaluations; /* at or above news2_open before a Flag opens; 0 = 2 */
    int64_t hold_us;          /* or for so long, whichever comes first; 0 = evaluations alone */
    int64_t close_us;         /* at or below news2_close for this long before it closes; 0 = 60 s */
    int64_t refractory_us;    /* after closing nothing opens for so long, unless worse; 0 = none */
    int64_t stale_us;         /* no vital sign for so long is an alert of its own; 0 = never */
    int64_t tick_us;          /* of the timer; 0 = 5 s */
};

VG_CHECK enum vg_status alert_open(const struct alert_config *config, struct alert **ret_alert,
                                   struct vg_err *err);
void alert_close(struct alert *alert); /* after its stage was stopped */
const struct stage_ops *alert_stage(const struct alert *alert);

/* ---- the notifier: a thread that empties the outbox ---- */

struct notify;

struct notify_target {
    const char *name;   /* "teams" */
    const char *format; /* "adaptive-envelope", "adaptive-bare", "json", "slack" */
    const char *url;    /* a secret: never logged */
};

struct notify_config {
    struct care *care;
    const struct notify_target *targets; /* texts outlive the notifier; count 0 is fine */
    size_t target_count;
    const char *board_url; /* for the card's link: "https://host:8443" */
    const char *ca_path;   /* NULL = the system's authorities */
    int64_t retry_us;      /* first wait after a failure, doubling to 1 h; 0 = 1 s */
    int attempts_max;      /* 0 = 20: then the card is shown as failed */
};

VG_CHECK enum vg_status notify_start(const struct notify_config *config, struct notify **ret_notify,
                                     struct vg_err *err);
void notify_stop(struct notify *notify); /* NULL is fine */

#endif
