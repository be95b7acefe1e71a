/* rest_int.h -- what the files of the REST interface share. Private to src/fhir.
 *
 * rest.c takes a request in, finds its route, asks who it is and has a worker run it; a handler
 * (interaction.c, operation.c, …) fills the job's answer. The table of routes (routes.c) is what
 * the router uses and what the CapabilityStatement is made of.
 */
#ifndef VG_FHIR_REST_INT_H
#define VG_FHIR_REST_INT_H

#include "base/http_server.h"
#include "base/queue.h"
#include "fhir/access_int.h"
#include "fhir/engine.h"

#define FHIR_WORKERS 32
#define FHIR_JOBS_MAX 1024

struct fhir_rest {
    struct fhir_store *store;
    struct vg_loop *loop;
    fhir_may *may;
    void *may_ctx;
    struct fhir_job *asking; /* the loop's: the job that `may` is asked about */
    struct vg_queue queue;
    void *items[FHIR_JOBS_MAX];
    pthread_t threads[FHIR_WORKERS];
    size_t thread_count;
};

struct fhir_job {
    struct fhir_rest *rest;
    struct fhir_store *store;
    struct vg_http_request *request; /* touched in the loop's thread only */
    struct vg_arena arena;           /* all slices below */
    const struct fhir_route *route;
    int64_t began_us;

    struct vg_slice method, path, query, body, peer, bearer;
    unsigned type, inner_type; /* the first and the last type in the address */
    struct vg_slice id, version;
    struct vg_slice accept, content_type, prefer, if_match, if_none_match, if_none_exist;
    struct vg_slice if_modified_since;
    bool is_strict, is_pretty, is_async;
    enum fhir_prefer prefers;
    struct fhir_access access;

    int http_status;
    struct vg_buf out;
    const char *content_type_out; /* NULL: FHIR's */
    char etag[40], last_modified[40], location[700], content_location[700], allow[80];
    const char *authenticate; /* WWW-Authenticate; NULL = none */
};

/* ---- routes (routes.c) ---- */

enum fhir_body { FHIR_BODY_NONE, FHIR_BODY_RESOURCE, FHIR_BODY_PATCH, FHIR_BODY_FORM };

struct fhir_route {
    const char *method;
    /* Segments of the address: T a type, I an id, V a version, N the type of a compartment's
     * members; others are themselves. */
    const char *path;
    void (*run)(struct fhir_job *job);
    enum fhir_body body;
    char right;              /* c r u d s of T, '*' = decided by the handler, 0 = for everybody */
    const char *interaction; /* as R4 calls it; NULL: none, or an operation */
    const char *operation;   /* its name, without the $ */
};

extern const struct fhir_route fhir_routes[];
extern const size_t fhir_route_count;

/* False: this type's resources may not be changed so by clients (AuditEvent is append-only). */
bool fhir_policy_allows(unsigned type, const char *interaction);
bool fhir_path_fits(const char *pattern, struct vg_slice path, struct fhir_job *job);

/* ---- answers (rest.c) ---- */

void fhir_job_outcome(struct fhir_job *job, int http_status, const char *code,
                      struct vg_slice expression, const char *text);
/* What a failed call means to the one who asked. */
void fhir_job_failed(struct fhir_job *job, enum vg_status st, const struct fhir_issue *issue,
                     const struct vg_err *err);
/* ETag and Last-Modified. */
void fhir_job_stamp(struct fhir_job *job, uint64_t version, int64_t updated_us);
/* base/path?query */
struct vg_slice fhir_job_link(struct fhir_job *job, const char *path, struct vg_slice query);
/* A parameter of the address, decoded; ptr NULL: absent. The last one of several. */
struct vg_slice fhir_job_param(struct fhir_job *job, const char *name);

/* Parameters of an operation: from the address, or from the Parameters resource in the body. Both
 * look alike afterwards: name and value, each as text. */
struct fhir_arg {
    struct vg_slice name, text;
    const struct vg_json *value; /* of the body: value[x] or resource; NULL: from the address */
};
struct fhir_args {
    struct fhir_arg *items;
    size_t count;
};
VG_CHECK enum vg_status fhir_job_args(struct fhir_job *job, struct fhir_args *ret_args,
                                      struct fhir_issue *issue, struct vg_err *err);
struct vg_slice fhir_arg_text(const struct fhir_args *args, const char *name);
const struct fhir_arg *fhir_arg_find(const struct fhir_args *args, const char *name);

/* ---- pages of other origins (cors.c) ---- */

/* Adds what such a page needs to read the reply. True: it was a preflight, which has its reply. */
bool fhir_cors_reply(const struct fhir_store *store, struct vg_http_request *request);

/* ---- handlers ---- */

/* interaction.c */
void fhir_run_metadata(struct fhir_job *job);
void fhir_run_read(struct fhir_job *job);
void fhir_run_history(struct fhir_job *job);
void fhir_run_search(struct fhir_job *job);
void fhir_run_search_form(struct fhir_job *job);
void fhir_run_compartment(struct fhir_job *job);
void fhir_run_lastn(struct fhir_job *job);
void fhir_run_create(struct fhir_job *job);
void fhir_run_update(struct fhir_job *job);
void fhir_run_conditional_update(struct fhir_job *job);
void fhir_run_patch(struct fhir_job *job);
void fhir_run_delete(struct fhir_job *job);
void fhir_run_conditional_delete(struct fhir_job *job);
void fhir_run_bundle(struct fhir_job *job);
/* operation.c, everything.c, stats.c */
void fhir_run_validate(struct fhir_job *job);
void fhir_run_everything(struct fhir_job *job);
void fhir_run_stats(struct fhir_job *job);
/* smart.c */
void fhir_run_token(struct fhir_job *job);
void fhir_run_smart_configuration(struct fhir_job *job);
/* subscription.c */
void fhir_run_subscription_status(struct fhir_job *job);
void fhir_run_subscription_events(struct fhir_job *job);
/* import.c */
void fhir_run_import(struct fhir_job *job);
void fhir_run_import_status(struct fhir_job *job);

#endif
