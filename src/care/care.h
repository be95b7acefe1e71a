/* care.h -- STORE: the SQL repository from which the right care team is reached (step 14).
 *
 * Comes from: alert (scores, flags), web (acknowledge, assign, note, lists, users).
 * Goes to:    web (board, worklist, patient page, reports), alert's notifier (outbox).
 * Promise:    one patient has one current row; applying the same scored record twice changes
 * nothing; what a person did (acknowledge, assign, note) is kept with who and when, and never
 *             rewritten; a card that was due is in the outbox until somebody took it.
 *
 * Any thread may call any function. Answers for the browser are JSON, written into the caller's
 * buffer in the shapes of docs/api.md.
 */
#ifndef VG_CARE_CARE_H
#define VG_CARE_CARE_H

#include "base/arena.h"
#include "base/buf.h"

struct care;

struct care_config {
    const char *engine; /* NULL or "sqlite" */
    const char *path;   /* database file */
};

VG_CHECK enum vg_status care_open(const struct care_config *config, struct care **ret_care,
                                  struct vg_err *err);
void care_close(struct care *care);

/* ---- from alert: everything that one batch of scored records changes, as one transaction ---- */

struct care_score {
    struct vg_slice patient_id;
    struct vg_slice record; /* the scored record (JSON), kept as the current row's detail */
    struct vg_slice trace;
    int64_t window_end_us, scored_us;
    int64_t heard_us;          /* the newest vital sign; 0 = none in the record */
    int news2_low, news2_high; /* -1 = none */
    double probability;        /* < 0 = none */
    struct vg_slice risk_assessment_id;
};

enum care_flag_change {
    CARE_FLAG_OPENED,
    CARE_FLAG_UPDATED,
    CARE_FLAG_CLOSED,
    CARE_FLAG_WAITS, /* on cards only: nobody has acknowledged it in time */
};

/* What alert remembers of one rule for one patient; the rule's state machine lives in alert. */
struct care_alert_state {
    int phase;        /* alert's own numbering */
    int64_t since_us; /* when the phase began (event time) */
    int64_t last_us;  /* newest evaluation */
    int evaluations;  /* in a row at or above (below) the threshold */
    double level;     /* the score that opened it, or the worst since */
    char flag_id[72]; /* "" = no flag open */
    int64_t parts;    /* alert's own set of what made the level so high */
};

struct care_flag {
    struct vg_slice flag_id, patient_id, rule, severity; /* severity: "medium", "high" */
    struct vg_slice title; /* "NEWS2 8: respiration 26 /min, SpO2 89 %" (no name) */
    struct vg_slice trace;
    int64_t time_us;
    enum care_flag_change change;
};

struct care_batch; /* a transaction that is open for one thread */

/* Takes the writer's lock. `source` names the applier, e.g. "alert-0"; *ret_applied_seq is the
 * first sequence number that has not been applied yet: records before it must be skipped. */
VG_CHECK enum vg_status care_batch_begin(struct care *care, const char *source,
                                         struct care_batch **ret_batch, uint64_t *ret_applied_seq,
                                         struct vg_err *err);
VG_CHECK enum vg_status care_batch_alert_get(struct care_batch *batch, struct vg_slice patient_id,
                                             struct vg_slice rule,
                                             struct care_alert_state *ret_state,
                                             struct vg_err *err); /* zeroed state when new */
VG_CHECK enum vg_status care_batch_alert_put(struct care_batch *batch, struct vg_slice patient_id,
                                             struct vg_slice rule,
                                             const struct care_alert_state *state,
                                             struct vg_err *err);
/* Updates the patient's current row (only when it is newer than what stands there), adds to its
 * score history; *ret_change is the row's new change number. */
VG_CHECK enum vg_status care_batch_score(struct care_batch *batch, const struct care_score *score,
                                         int64_t *ret_change, struct vg_err *err);
/* Opens, updates or closes a flag; opening makes a worklist item; opening, a rise in severity and
 * closing put cards into the outbox for every target. */
VG_CHECK enum vg_status care_batch_flag(struct care_batch *batch, const struct care_flag *flag,
                                        int64_t *ret_change, struct vg_err *err);
/* The change number of a patient's row; 0: there is none. */
VG_CHECK enum vg_status care_batch_change(struct care_batch *batch, struct vg_slice patient_id,
                                          int64_t *ret_change, struct vg_err *err);
/* What the patient's row speaks of; VG_END: there is none. */
VG_CHECK enum vg_status care_batch_scored(struct care_batch *batch, struct vg_slice patient_id,
                                          int64_t *ret_window_end_us, int64_t *ret_scored_us,
                                          struct vg_err *err);

/* ---- from alert's timer, inside a batch: fn() is told at most max times, and keeps what it needs:
 * slices live for the call, in which the batch must not be used ---- */

struct care_due {
    struct vg_slice patient_id;
    struct vg_slice record;                         /* the patient's last scored record */
    bool has_flag;                                  /* a flag is open */
    struct vg_slice flag_id, rule, severity, title; /* of that flag (ended patients only) */
    int64_t change;                                 /* handed back: the row's number */
};
typedef enum vg_status care_due_fn(void *ctx, const struct care_due *due);

/* Monitored patients whose newest vital sign is older than before_us and who have no open flag of
 * rule "stale", the most silent first. */
VG_CHECK enum vg_status care_batch_silent(struct care_batch *batch, int64_t before_us, size_t max,
                                          care_due_fn *fn, void *ctx, struct vg_err *err);
/* Open flags of patients whose monitoring has ended. */
VG_CHECK enum vg_status care_batch_ended(struct care_batch *batch, size_t max, care_due_fn *fn,
                                         void *ctx, struct vg_err *err);
/* Items whose snooze is over become open again; those that nobody acknowledged in time are
 * escalated, with a card, at most three times. */
VG_CHECK enum vg_status care_batch_hand_back(struct care_batch *batch, int64_t now_us, size_t max,
                                             care_due_fn *fn, void *ctx, struct vg_err *err);

/* Durable when VG_OK. Either ends the batch. */
VG_CHECK enum vg_status care_batch_commit(struct care_batch *batch, uint64_t next_seq,
                                          struct vg_err *err);
void care_batch_abort(struct care_batch *batch);

/* ---- for the browser: JSON as in docs/api.md ---- */

VG_CHECK enum vg_status care_board(struct care *care, struct vg_buf *out, struct vg_err *err);
/* One patient's board row; VG_END: not known. */
VG_CHECK enum vg_status care_board_row(struct care *care, struct vg_slice patient_id,
                                       struct vg_buf *out, struct vg_err *err);
VG_CHECK enum vg_status care_patient(struct care *care, struct vg_slice patient_id, int64_t from_us,
                                     struct vg_buf *out, struct vg_err *err);
VG_CHECK enum vg_status care_worklist(struct care *care, struct vg_buf *out, struct vg_err *err);
/* One worklist item; VG_END: not known. */
VG_CHECK enum vg_status care_item(struct care *care, int64_t item_id, struct vg_buf *out,
                                  struct vg_err *err);
VG_CHECK enum vg_status care_lists(struct care *care, struct vg_buf *out, struct vg_err *err);
VG_CHECK enum vg_status care_list(struct care *care, int64_t list_id, struct vg_buf *out,
                                  struct vg_err *err); /* with SBAR text per patient */
VG_CHECK enum vg_status care_outbox(struct care *care, struct vg_buf *out, struct vg_err *err);

/* A person's act on a worklist item. `what`: "acknowledge", "assign", "note", "escalate",
 * "snooze", "resolve". */
struct care_act {
    int64_t item_id;
    const char *what;
    struct vg_slice user, assignee, text;
    int64_t time_us;
    int64_t until_us; /* snooze: at most 8 h ahead; a worsening ends it earlier */
};
VG_CHECK enum vg_status
care_act(struct care *care, const struct care_act *act, int64_t *ret_change,
         struct vg_err *err); /* VG_END: no such item; VG_REJECT: not possible now */
/* The patient leaves the board and the worklist, with who and why; open flags are closed by alert's
 * timer. A newer vital sign brings the patient back. VG_END: not monitored. */
VG_CHECK enum vg_status care_end_monitoring(struct care *care, struct vg_slice patient_id,
                                            struct vg_slice user, struct vg_slice text,
                                            int64_t time_us, int64_t *ret_change,
                                            struct vg_err *err);
VG_CHECK enum vg_status care_list_make(struct care *care, struct vg_slice name,
                                       struct vg_slice user, int64_t *ret_id, struct vg_err *err);
VG_CHECK enum vg_status care_list_put(struct care *care, int64_t list_id,
                                      struct vg_slice patient_id, bool is_member,
                                      struct vg_err *err);

/* Scheduled reports (step 16): computes the ward report as of now and keeps it. */
VG_CHECK enum vg_status care_report_make(struct care *care, int64_t now_us, int64_t next_us,
                                         struct vg_err *err);
VG_CHECK enum vg_status care_report(struct care *care, struct vg_buf *out,
                                    struct vg_err *err); /* VG_END: none yet */

/* ---- users, sessions and tokens ---- */

struct care_user {
    char name[64];
    char role[16]; /* viewer, nurse, doctor, coordinator, admin, service */
    char display[96];
};
/* A user who is there gets the new role and password, and its sessions end. */
VG_CHECK enum vg_status care_user_put(struct care *care, const struct care_user *user,
                                      const char *password_hash, struct vg_err *err);
VG_CHECK enum vg_status care_user_get(struct care *care, struct vg_slice name,
                                      struct care_user *ret_user, char password_hash[static 128],
                                      struct vg_err *err); /* VG_END: unknown or disabled */
VG_CHECK enum vg_status care_user_disable(struct care *care, struct vg_slice name,
                                          struct vg_err *err);
VG_CHECK enum vg_status care_users(struct care *care, struct vg_buf *out, struct vg_err *err);
/* Sessions and bearer tokens are kept as SHA-256 of the secret; kind "session" or "token".
 * expires_us 0 = never. A put forgets those that have expired. */
VG_CHECK enum vg_status care_login_put(struct care *care, const char *kind, struct vg_slice secret,
                                       struct vg_slice user, int64_t expires_us,
                                       struct vg_err *err);
/* Moves the end of one that is still there: one that was dropped meanwhile stays dropped. */
VG_CHECK enum vg_status care_login_renew(struct care *care, struct vg_slice secret,
                                         int64_t expires_us, struct vg_err *err);
VG_CHECK enum vg_status care_login_get(struct care *care, const char *kind, struct vg_slice secret,
                                       int64_t now_us, struct care_user *ret_user,
                                       struct vg_err *err);
VG_CHECK enum vg_status care_login_drop(struct care *care, struct vg_slice secret,
                                        struct vg_err *err);

/* Append-only record of who saw and did what (no payloads): "patient.view", "item.acknowledge"… */
VG_CHECK enum vg_status care_audit(struct care *care, int64_t time_us, struct vg_slice user,
                                   const char *what, struct vg_slice subject, struct vg_err *err);

/* ---- outbox: cards to be sent (step 18) ---- */

struct care_target {    /* where cards go; set from the configuration at start */
    const char *name;   /* "teams", "webhook" */
    const char *format; /* "adaptive-envelope", "adaptive-bare", "json", "slack" */
};
VG_CHECK enum vg_status care_targets_set(struct care *care, const struct care_target *targets,
                                         size_t count, struct vg_err *err);

struct care_card {
    int64_t id;
    char key[96]; /* idempotency key: the same card has the same key for ever */
    char target[32];
    struct vg_slice patient_id, flag_id, change, severity, title, location,
        trace; /* in the arena */
    struct vg_slice initials;
    int64_t time_us;
    int attempts;
};
/* The next card that is due; VG_END: none. */
VG_CHECK enum vg_status care_card_next(struct care *care, int64_t now_us, struct vg_arena *arena,
                                       struct care_card *ret_card, struct vg_err *err);
VG_CHECK enum vg_status care_card_sent(struct care *care, int64_t id, int64_t time_us,
                                       struct vg_err *err);
/* Tried in vain: again at retry_us; 0 = given up (shown in the browser). */
VG_CHECK enum vg_status care_card_failed(struct care *care, int64_t id, int64_t retry_us,
                                         struct vg_slice why, struct vg_err *err);

/* ---- trace: what the repository knows of a message: [{"step":14,"time":…,"text":…}, …] ---- */
VG_CHECK enum vg_status care_trace(struct care *care, struct vg_slice trace_id, struct vg_buf *out,
                                   struct vg_err *err);
/* The last of the messages that opened this flag; VG_REJECT care.flag: no such flag. */
VG_CHECK enum vg_status care_flag_trace(struct care *care, struct vg_slice flag_id,
                                        struct vg_arena *arena, struct vg_slice *ret_trace_id,
                                        struct vg_err *err);

#endif
