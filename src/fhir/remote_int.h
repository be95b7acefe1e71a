/* remote_int.h -- what the files of the remote engine share. Private to src/fhir.
 *
 *     engine_remote.c   open, close; the maintenance thread: probe, drain, watch
 *     remote_http.c     one request: token, retries, being away; what the server can do
 *     remote_read.c     read, history, search, $lastn
 *     remote_commit.c   a commit: checks, ids, order
 *     remote_write.c    its writes: bundles, conflicts, what was refused
 *     remote_spool.c    what the server has not taken yet, on disk
 *     remote_watch.c    changes that others make there
 */
#ifndef VG_FHIR_REMOTE_INT_H
#define VG_FHIR_REMOTE_INT_H

#include "base/http_client.h"
#include "base/http_token.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "fhir/fhir_int.h"

#include <sqlite3.h>

/* Versions. The interface has numbers; a server's may be any text. A number is itself; other text
 * is a hash with bit 60; what is only in the spool has bit 61 and its place there. */
#define REMOTE_VERSION_TEXT ((uint64_t)1 << 60)
#define REMOTE_VERSION_SPOOL ((uint64_t)1 << 61)

#define REMOTE_BUNDLE_BYTES_MAX (8u << 20)
#define REMOTE_ANSWER_BYTES_MAX (64u << 20)
#define REMOTE_PAGES_MAX 50
#define REMOTE_KNOWN_MAX 16384u

/* ---- what the server says it can do ---- */

struct remote_type {
    bool has_params; /* they are listed */
    bool has_history, has_type_history;
    struct vg_map params; /* names -> anything */
};

struct remote_capability {
    bool is_known;
    bool has_transaction, has_batch;
    bool is_type_list;         /* the types are listed */
    struct remote_type *types; /* by type number; zeroed = not listed */
};

struct remote_known {
    uint64_t version;
    char text[65];    /* as the server writes it */
    uint64_t counted; /* the version that fhir_change_count() knows of: ours, or seen there */
};

struct fhir_remote {
    struct fhir_store *store;
    struct fhir_remote_config config; /* its texts are copies */
    char *origin;                     /* "https://host:port" */
    struct vg_http_pool *pool;
    struct vg_http_token *token; /* NULL = none */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;  /* the maintenance thread, and who waits between two tries */
    bool is_closing;
    bool is_away;
    char away_text[200];
    int64_t away_tries, probe_at_us; /* monotonic */
    struct remote_capability capability;
    struct vg_map known[2];     /* "Type/id" -> struct remote_known; the younger generation first */
    int64_t *watched_us;        /* by type: server time seen; 0 = nobody has asked, -1 = asked */
    _Atomic int64_t counted_us; /* monotonic: begin of the last look at all of them */
    atomic_bool is_doubtful;    /* it has been away since */
    uint64_t away_count;        /* how often it was */
    int64_t swept_us;           /* monotonic: caches were last told to forget, for servers without
                                   history */

    /* the maintenance thread's own */
    int64_t stuck_seq, stuck_since_us; /* the row in the spool over which the server fails */
    int64_t watch_at_us;

    struct remote_spool *spool;
    pthread_t thread;
    bool has_thread;
    pthread_t workers[64];
    uint32_t worker_count;
    struct vg_queue queue;
    void *items[256];

    struct vg_metric *requests_total, *retries_total, *refused_total, *spool_writes, *spool_bytes,
        *is_up, *request_seconds;
};

/* ---- requests (remote_http.c) ---- */

struct remote_request {
    const char *method;
    const char *path;          /* after the base URL; or a whole URL of the same origin */
    uint64_t if_match;         /* 0 = none */
    const char *if_match_text; /* the server's text of that version */
    struct vg_slice body;
    bool is_probe; /* goes out while the server is away, once */
};

/* VG_OK: an answer that is not about being away came (200…, 4xx but 401, 403 and 429; 500 after
 * some tries). VG_RETRY: the server cannot be asked now (fhir.away); the text says why. VG_REJECT:
 * it can never be asked (too large an answer). */
VG_CHECK enum vg_status remote_call(struct fhir_remote *r, const struct remote_request *request,
                                    struct vg_arena *arena, struct vg_http_answer *ret_answer,
                                    struct vg_err *err);
/* The first issue of an OperationOutcome, or what else can be said of the answer. */
struct vg_slice remote_outcome(struct vg_arena *arena, const struct vg_http_answer *answer,
                               struct vg_slice *ret_expression);
VG_CHECK enum vg_status remote_probe(struct fhir_remote *r, struct vg_err *err);
bool remote_is_away(struct fhir_remote *r);
void remote_set_away(struct fhir_remote *r, int64_t wait_us, const char *text);
/* Waits, but not longer than the engine lives. */
void remote_pause(struct fhir_remote *r, int64_t us);
int64_t remote_jitter_us(int64_t base_us);
/* Under r->lock: NULL when the types are not listed, or this one is not. */
const struct remote_type *remote_type_of(const struct fhir_remote *r, unsigned type);
void remote_capability_fini(struct remote_capability *capability);

/* Percent-encodes what must not stand in a URL; what is encoded stays. */
void remote_put_query(struct vg_buf *out, struct vg_slice query);

/* ---- versions ---- */

uint64_t remote_version_of(struct vg_slice text); /* 0 = none */
/* W/"3", "3" and 3 are 3. */
struct vg_slice remote_etag_text(struct vg_slice etag);
void remote_know(struct fhir_remote *r, unsigned type, struct vg_slice id, struct vg_slice text,
                 bool is_ours);
/* From now on this version is counted; false: it was. */
bool remote_count_version(struct fhir_remote *r, unsigned type, struct vg_slice id,
                          uint64_t version);
bool remote_known_get(struct fhir_remote *r, unsigned type, struct vg_slice id,
                      struct remote_known *ret_known);

/* ---- reading (remote_read.c) ---- */

VG_CHECK enum vg_status remote_read(struct fhir_remote *r, unsigned type, struct vg_slice id,
                                    uint64_t version, struct vg_arena *arena,
                                    struct fhir_resource *ret_resource, struct vg_err *err);
/* Past the spool. */
VG_CHECK enum vg_status remote_read_there(struct fhir_remote *r, unsigned type, struct vg_slice id,
                                          struct vg_arena *arena,
                                          struct fhir_resource *ret_resource, struct vg_err *err);
VG_CHECK enum vg_status remote_search(struct fhir_remote *r, unsigned type, struct vg_slice query,
                                      struct vg_arena *arena, struct fhir_results *ret_results,
                                      struct vg_err *err);
VG_CHECK enum vg_status remote_history(struct fhir_remote *r, unsigned type, struct vg_slice id,
                                       struct vg_arena *arena, struct fhir_results *ret_results,
                                       struct vg_err *err);
VG_CHECK enum vg_status remote_lastn(struct fhir_remote *r, struct vg_slice query,
                                     struct vg_arena *arena, struct fhir_results *ret_results,
                                     struct vg_err *err);
/* One page of a searchset or history. `url` as remote_request.path; *ret_next ptr NULL = the last.
 */
VG_CHECK enum vg_status remote_page(struct fhir_remote *r, const char *url, struct vg_arena *arena,
                                    struct fhir_results *ret_results, struct vg_slice *ret_next,
                                    struct vg_err *err);

/* ---- writing (remote_write.c) ---- */

struct remote_item {
    bool is_delete;
    unsigned type;
    struct vg_slice id, body;
    uint64_t if_match;
    size_t index;    /* the caller's */
    int64_t seq;     /* in the spool; 0 = not there */
    uint64_t commit; /* in the spool */

    enum { REMOTE_OPEN, REMOTE_DONE, REMOTE_REFUSED } state;
    int http_status;
    uint64_t version;
    int64_t updated_us;
    bool is_unchanged;
    bool has_failed_there; /* open: the server fails (500) over this one */
    char why[256];         /* refused */
    const char *issue;
    struct vg_slice expression; /* in the arena that was given */
};

/* Sends until all is said: each item is done, refused, or open (the server is away: VG_RETRY). With
 * stops_at_refusal nothing after a refused item is sent but what went out with it. */
VG_CHECK enum vg_status remote_send(struct fhir_remote *r, struct remote_item *items, size_t count,
                                    bool stops_at_refusal, struct vg_arena *arena,
                                    struct vg_err *err);
bool remote_has_refusal(const struct remote_item *items, size_t count);
/* (remote_commit.c) */
VG_CHECK enum vg_status remote_commit(struct fhir_remote *r, const struct fhir_write *writes,
                                      size_t count, struct vg_arena *arena,
                                      struct fhir_written *written, size_t *ret_failed,
                                      struct vg_err *err);
void *remote_worker(void *ctx);
/* "Patient/p1"; {NULL, 0} when the arena is full. */
struct vg_slice remote_name_of(const struct remote_item *item, struct vg_arena *arena);
/* Everything that was sent is there: the same members and values, what the server added aside. */
bool remote_is_there(const struct vg_json *mine, const struct vg_json *theirs);

/* ---- the spool (remote_spool.c) ---- */

VG_CHECK enum vg_status spool_open(const char *path, uint64_t bytes_max,
                                   struct remote_spool **ret_spool, struct vg_err *err);
void spool_close(struct remote_spool *spool); /* NULL is fine */
uint64_t spool_count(struct remote_spool *spool);
uint64_t spool_bytes(struct remote_spool *spool);
/* All of them, durably, in this order, behind what is there; or VG_RETRY fhir.spool (full). An
 * if_match that contradicts what waits here makes the item REFUSED (412) and VG_REJECT, nothing is
 * kept. version and seq are filled in. */
VG_CHECK enum vg_status spool_put(struct remote_spool *spool, struct remote_item **items,
                                  size_t count, struct vg_err *err);
/* The newest write of one resource. VG_END: none. */
VG_CHECK enum vg_status spool_read(struct remote_spool *spool, unsigned type, struct vg_slice id,
                                   struct vg_arena *arena, struct remote_item *ret_item,
                                   struct vg_err *err);
VG_CHECK enum vg_status spool_has_type(struct remote_spool *spool, unsigned type, bool *ret_has,
                                       struct vg_err *err);
/* The oldest, at most count_max: no resource twice, and no commit cut in two unless it is larger.
 */
VG_CHECK enum vg_status spool_oldest(struct remote_spool *spool, size_t count_max,
                                     struct vg_arena *arena, struct remote_item **ret_items,
                                     size_t *ret_count, struct vg_err *err);
/* What is done is taken out (and what builds on it learns its version); what was refused goes, with
 * what builds on it left to fail. */
VG_CHECK enum vg_status spool_settle(struct remote_spool *spool, const struct remote_item *items,
                                     size_t count, struct vg_err *err);

/* ---- changes by others (remote_watch.c) ---- */

uint64_t remote_change_count(struct fhir_remote *r, unsigned type);
void remote_watch(struct fhir_remote *r);

/* ---- the engine (engine_remote.c) ---- */

VG_CHECK enum vg_status remote_open(const struct fhir_config *config, struct fhir_store *store,
                                    struct fhir_remote **ret_remote, struct vg_err *err);
void remote_close(struct fhir_remote *r); /* NULL is fine */
void remote_trouble(struct fhir_remote *r, char out[static 256]);
/* /fhir says that resources are elsewhere. */
VG_CHECK enum vg_status remote_rest_mount(struct vg_http_server *server, struct vg_err *err);

#endif
