/* web_int.h -- what the files of this folder share. */
#ifndef VG_WEB_WEB_INT_H
#define VG_WEB_WEB_INT_H

#include "base/http_server.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/queue.h"
#include "web/web.h"

#include <pthread.h>
#include <stdatomic.h>

enum web_role {
    WEB_VIEWER = 1, /* a wall display: board, worklist and lists, without names */
    WEB_NURSE = 2,
    WEB_DOCTOR = 4,
    WEB_COORDINATOR = 8,
    WEB_ADMIN = 16,
    WEB_SERVICE = 32, /* programs, by bearer token */
    WEB_STAFF = WEB_NURSE | WEB_DOCTOR | WEB_COORDINATOR | WEB_ADMIN,
    WEB_ANY = WEB_VIEWER | WEB_STAFF,
};

/* One API call. It is copied out of the request in the loop's thread, worked on by one worker, and
 * answered in the loop's thread: the request itself is never touched by a worker. */
struct web_call {
    struct web *web;
    const struct web_route *route; /* NULL: only a line of audit, nobody waits for an answer */
    struct vg_http_request *request;
    struct vg_arena arena;
    struct vg_buf out; /* the answer's body */

    struct vg_slice method, tail /* the path after the route's prefix */, body, cookie, csrf,
        bearer, peer, last_event_id, content_type;
    int64_t number; /* the route's query parameter; -1 = not given */
    bool
        is_background; /* sent by the page itself, not by a person: does not keep a session alive */
    int64_t now_us;

    struct care_user user; /* once the session is known */
    unsigned role;         /* one of enum web_role */
    struct vg_slice session;

    int http_status; /* 0 = 200 */
    uint32_t retry_after_s;
    char set_cookie[256];
    void (*in_loop)(struct web_call *call); /* answers instead of the usual reply */
};

/* Runs in a worker. VG_OK: call->out is the answer; else the error is: VG_END 404, VG_REJECT 400
 * (or call->http_status), the rest 503. */
typedef enum vg_status web_handler(struct web_call *call, struct vg_err *err);

struct web_route {
    const char *method, *path;
    unsigned roles; /* 0 = no session needed */
    web_handler *handler;
    const char *number; /* name of an integer query parameter, or NULL */
    bool is_slow;       /* for the queue of slow work: logins and traces do not hold up the board */
};

#define WEB_WORKERS 3
#define WEB_QUEUE_SIZE 256

struct web_lock { /* failed logins of one user from one address */
    int failures;
    int64_t until_us, last_us;
};

struct web_viewer;
struct web_event;
#define WEB_RING_SIZE 1000

struct web_hub { /* events.c; the loop's thread only */
    struct web_event *ring[WEB_RING_SIZE];
    uint64_t next;     /* position of the next event; ring[position % WEB_RING_SIZE] */
    uint64_t oldest;   /* oldest position kept */
    int64_t forgotten; /* highest change number that is no longer in the ring */
    int64_t newest;    /* highest change number seen */
    struct web_viewer *viewers;
    size_t viewer_count;
    struct vg_buf health; /* as last sent */
    uint32_t ticks;
};

struct web {
    struct web_config config;
    struct vg_loop *loop;
    bool is_loop_started;
    struct vg_tls *tls;
    struct vg_http_server *server;
    struct web_bound *bound; /* one per route */

    struct vg_queue queue, slow_queue;
    void *queue_items[WEB_QUEUE_SIZE], *slow_items[WEB_QUEUE_SIZE];
    pthread_t workers[WEB_WORKERS];
    unsigned worker_count;
    bool has_queues;

    struct vg_map locks; /* "user\0address" -> web_lock; guarded by lock_mutex */
    pthread_mutex_t lock_mutex;
    char nobody_hash[128]; /* verified when the user is unknown, so that time does not tell */
    struct {
        uint64_t hash;
        int64_t time_us;
    } seen[1024]; /* looks at a patient that were audited lately; guarded by lock_mutex */

    struct web_hub hub;
};

/* ---- session.c ---- */
web_handler web_login, web_logout, web_me;
/* Fills call->user, role, session from cookie; refuses a change without the CSRF header. */
VG_CHECK enum vg_status web_session_check(struct web_call *call, struct vg_err *err);
/* The same by a service's or an administrator's bearer token. */
VG_CHECK enum vg_status web_service_check(struct web_call *call, struct vg_err *err);
unsigned web_role_of(const char *role);
/* May this session secret still be used? For event streams; does not keep it alive. */
bool web_session_is_alive(struct web *web, struct vg_slice session, int64_t now_us);
/* For /fhir, in the loop's thread. */
fhir_may web_fhir_may;
void web_audit(struct web *web, struct vg_slice user, const char *what, struct vg_slice subject);
/* The same from the loop's thread, which must not wait for the disk: a worker does it. `what` is
 * static. */
void web_audit_later(struct web *web, struct vg_slice user, const char *what,
                     struct vg_slice subject);

/* ---- one file per area ---- */
web_handler web_board, web_health, web_events, web_patient, web_patient_end, web_worklist,
    web_worklist_act, web_lists, web_list_make, web_list, web_list_put, web_report, web_outbox,
    web_steps, web_trace_call, web_deadletters, web_deadletter_replay, web_models_list,
    web_models_reload, web_model_show, web_models_watch, web_metrics, web_mappings, web_mapping,
    web_mapping_act, web_mapping_try, web_topic_read, web_topic_write;
vg_http_handler web_asset;

/* ---- shared helpers ---- */

/* The body as a JSON object, in the call's arena. */
VG_CHECK enum vg_status web_body(struct web_call *call, const struct vg_json **ret_root,
                                 struct vg_err *err);
/* A text member of 1 to max bytes. */
VG_CHECK enum vg_status web_body_text(const struct vg_json *root, const char *name, size_t max,
                                      struct vg_slice *ret_text, struct vg_err *err);
bool web_health_write(struct web *web, struct vg_buf *out);
/* Copies JSON without what tells who a patient is: names become initials, identifiers go. */
VG_CHECK enum vg_status web_minimise(struct vg_slice json, struct vg_buf *out, struct vg_err *err);

/* ---- newest.c: the end of a topic, over all partitions ---- */

struct web_newest_record {
    struct vg_slice id; /* "P-S" */
    int64_t time_us;
    struct vg_slice key, headers, value;
    char *memory; /* of all the slices */
};
struct web_newest {
    struct web_newest_record *records; /* newest first */
    size_t count, max, bytes;
};
/* The newest `max` records, at most 16 MiB; reads for two seconds at most and then has what it
 * found. web_newest_fini() in any case. */
VG_CHECK enum vg_status web_newest_read(struct stream *stream, enum stream_topic topic, size_t max,
                                        struct web_newest *ret, struct vg_err *err);
void web_newest_fini(struct web_newest *newest);

/* ---- events.c ---- */
VG_CHECK enum vg_status web_hub_open(struct web *web, struct vg_err *err);
void web_hub_close(struct web *web);
/* Any thread: "patient" or "item" with its JSON goes to every viewer. `key` is what a later event
 * of the same key replaces. */
void web_publish(struct web *web, const char *kind, struct vg_slice key, int64_t change,
                 struct vg_slice json);
void web_hub_tick(void *web); /* each second */

#endif
