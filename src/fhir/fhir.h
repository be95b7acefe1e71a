/* fhir.h -- STORE: FHIR R4 resources, in process and over REST.
 *
 * Comes from: connector (Observation, Device, Patient), alert (RiskAssessment, Flag), REST clients.
 * Goes to:    connector (identity), enrich (Patient, Encounter, Location), web, REST clients.
 * Promise:    text comes back character for character (but meta.versionId, meta.lastUpdated and id,
 *             which the server owns); every version is kept; a commit is all or nothing.
 *
 * Any thread may call any function; writes are serialised inside, readers never block.
 */
#ifndef VG_FHIR_FHIR_H
#define VG_FHIR_FHIR_H

#include "base/arena.h"
#include "base/buf.h"

struct fhir_store;
struct vg_http_server;
struct vg_http_request;
struct vg_loop;

/* A FHIR R4 server somewhere else. Texts: NULL or "" = not given; copied. */
struct fhir_remote_config {
    const char *url;                            /* "https://fhir.hospital.example/r4" */
    const char *ca_path, *cert_path, *key_path; /* PEM: whom to trust; who we are (mTLS) */
    const char *token_file;                     /* holds a bearer token */
    /* OAuth2: client credentials, or SMART Backend Services with a key (base/http_token.h) */
    const char *token_url, *client_id, *client_secret, *client_key_path, *client_key_id, *scope;
    uint32_t connections;        /* 0 = 4; at most 64 */
    uint32_t bundle_entries_max; /* 0 = 100 */
    uint32_t timeout_ms;         /* one request; 0 = 30,000 */
    int64_t watch_us;            /* how often changes by others are looked for; 0 = 2 s */
    uint64_t spool_bytes_max;    /* 0 = 1 GiB */

    /* A write that was taken over for later (202), and then refused for good: `body` is the
     * resource (empty: a deletion), `why` what the server said. VG_OK: it is kept safe elsewhere
     * and leaves the spool; anything else: it comes again. A thread of the store. */
    enum vg_status (*refused)(void *ctx, struct vg_slice type, struct vg_slice id,
                              struct vg_slice body, const char *why, struct vg_err *err);
    /* The server is away, or there again: once each. May be NULL. Any thread. */
    void (*changed)(void *ctx, bool is_away, const char *text);
    void *ctx;
};

struct fhir_config {
    const char *engine;   /* NULL or "sqlite"; "remote" */
    const char *path;     /* database file; remote: of what the server has not taken yet */
    const char *base_url; /* "https://localhost:8443/fhir", for fullUrl and Location */

    /* What stands beside the resources of an embedded store; NULL or false = it is not there. */
    const char *side_path;    /* clients with keys, Subscriptions' progress, imports */
    const char *audit_path;   /* an AuditEvent for each access; waits in this file until written */
    const char *import_dir;   /* $import reads NDJSON from here, and from nowhere else */
    const char *hook_hosts;   /* "a.example.org, 10.0.0.5:9000": where Subscriptions may send */
    bool allows_local_hooks;  /* and to loopback, without TLS */
    const char *cors_origins; /* "https://app.example.org, …": pages that may read answers */
    bool needs_token;         /* REST: without `may`, only tokens of ours open anything */
    const struct fhir_remote_config *remote;
};

VG_CHECK enum vg_status fhir_open(const struct fhir_config *config, struct fhir_store **ret_store,
                                  struct vg_err *err);
void fhir_close(struct fhir_store *store);

struct fhir_resource {
    struct vg_slice type, id;
    uint64_t version;
    int64_t last_updated_us;
    bool is_deleted; /* body is then empty */
    struct vg_slice
        body; /* JSON with id, meta.versionId and meta.lastUpdated; in the caller's arena */
};

/* VG_END: never existed. A deleted one is VG_OK with is_deleted. version 0 = the current one. */
VG_CHECK enum vg_status fhir_read(struct fhir_store *store, struct vg_slice type,
                                  struct vg_slice id, uint64_t version, struct vg_arena *arena,
                                  struct fhir_resource *ret_resource, struct vg_err *err);

struct fhir_write {
    enum { FHIR_CREATE, FHIR_UPDATE, FHIR_DELETE } what;
    struct vg_slice type, id;      /* id: update and delete; create draws one */
    struct vg_slice body;          /* JSON text, borrowed for the call */
    struct vg_slice if_none_exist; /* create: a search query; ptr NULL = none */
    uint64_t if_match;             /* update: the version that must be current; 0 = any */
};

struct fhir_written {
    int http_status;    /* 200 (also: unchanged, nothing written), 201, 204, 400, 409, 412, 422;
                           202: a remote server is away, the write waits on our disk */
    struct vg_slice id; /* in the caller's arena */
    uint64_t version;
    int64_t last_updated_us;
    bool is_unchanged; /* equal to what was there: no new version */
    const char *issue; /* refused: code of the R4 value set issue-type ("invalid", "required"…) */
    struct vg_slice expression; /* refused: the element at fault ("Observation.status"), or empty */
};

/* All of them in one durable transaction, or none. On VG_REJECT *ret_failed (may be NULL) is the
 * index of the one that was refused, and written[*ret_failed].http_status says how. The same
 * resource twice in one commit is refused. Deletes are done first, then creates, then updates. */
/* Remote: one transaction for each 100 writes, resources before those that refer to them, and after
 * VG_REJECT others of the same commit may have been written. Every write is a PUT or a DELETE with
 * an id (one that has none draws it), so that a commit can be done again. While the server is away
 * they wait on disk, in order, with http_status 202 and a version of their own; VG_RETRY: no room
 * there.
 */
VG_CHECK enum vg_status fhir_commit(struct fhir_store *store, const struct fhir_write *writes,
                                    size_t count, struct vg_arena *arena,
                                    struct fhir_written *written, size_t *ret_failed,
                                    struct vg_err *err);

struct fhir_results {
    struct fhir_resource *resources; /* matches first, then included ones */
    size_t count, match_count;
    bool has_more;
    bool has_total;
    uint64_t total;             /* only when the query asked for it */
    struct vg_slice self_query; /* the parameters that were understood, in URL form */
    struct vg_slice next_query; /* the query of the next page; ptr NULL = this was the last */
};

/* `query` is as after '?': "patient=p1&code=http://loinc.org|8867-4&_count=10&_sort=-date". */
VG_CHECK enum vg_status fhir_search(struct fhir_store *store, struct vg_slice type,
                                    struct vg_slice query, struct vg_arena *arena,
                                    struct fhir_results *ret_results, struct vg_err *err);

/* All versions of one resource, newest first, deletions included. VG_END: never existed. */
VG_CHECK enum vg_status fhir_history(struct fhir_store *store, struct vg_slice type,
                                     struct vg_slice id, struct vg_arena *arena,
                                     struct fhir_results *ret_results, struct vg_err *err);

/* Observation/$lastn: the newest `max` (1..100) Observations of every code, and those of the same
 * time as the last of them; groups joined over codings; newest first over all. The query names
 * patient (or subject) and code or category; entered-in-error never counts. */
VG_CHECK enum vg_status fhir_lastn(struct fhir_store *store, struct vg_slice query,
                                   struct vg_arena *arena, struct fhir_results *ret_results,
                                   struct vg_err *err);

/* Grows whenever a resource of this type changes: caches compare it. Cheap, any thread. */
uint64_t fhir_change_count(struct fhir_store *store, const char *type);

/* Monotonic time up to which changes are known: now, of an embedded store, and of a remote one
 * whose server answers (it is asked in turn). While it is away, and after that until it has said
 * what has changed: when it was last asked. Cheap, any thread. */
int64_t fhir_counted_us(struct fhir_store *store);

/* "" while all is well; else why reads wait or writes are kept back ("waiting for FHIR server …").
 * Any thread. */
void fhir_trouble(struct fhir_store *store, char out[static 256]);

/* Serves base path /fhir on `server`, whose loop is `loop`. `may` (NULL = all may) runs in the
 * loop's thread and decides: true = go on; false = it has replied. `method` and `type` ("" for
 * system level) are given for scopes. Requests are worked on by threads of the store, replies are
 * posted to the loop. End: stop the loop, close the server, then fhir_close(). A remote store
 * answers 404 and names no address: its server is asked directly. */
typedef bool fhir_may(struct vg_http_request *request, const char *method, struct vg_slice type,
                      void *ctx);
VG_CHECK enum vg_status fhir_rest_mount(struct fhir_store *store, struct vg_http_server *server,
                                        struct vg_loop *loop, fhir_may *may, void *may_ctx,
                                        struct vg_err *err);

/* In `may`: who asks, for the audit. */
void fhir_rest_name_caller(struct fhir_store *store, struct vg_slice name);

/* In `may`, before it says true: who asks may read and search, and nothing else. Each entry of a
 * Bundle is held to it. */
void fhir_rest_limit_to_reading(struct fhir_store *store);

/* In `may`, before it says false: the reply, an OperationOutcome. `code` is one of issue-type. */
void fhir_rest_refuse(struct vg_http_request *request, int http_status, const char *code,
                      const char *text);

/* Programs that get tokens by SMART Backend Services; `path` is side_path, also of a store that
 * runs. put replaces one of the same name. VG_REJECT fhir.jwks, fhir.scope, fhir.client. */
VG_CHECK enum vg_status fhir_client_put(const char *path, struct vg_slice name,
                                        struct vg_slice jwks, struct vg_slice scopes,
                                        struct vg_err *err);
VG_CHECK enum vg_status fhir_client_remove(const char *path, struct vg_slice name,
                                           struct vg_err *err);
/* A line for each: name, tab, scopes. */
VG_CHECK enum vg_status fhir_client_list(const char *path, struct vg_buf *out, struct vg_err *err);

#endif
