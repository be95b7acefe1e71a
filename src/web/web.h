/* web.h -- STAGE: what people see: the live board (step 15) and the care team's app (step 17).
 *
 * Comes from: care.changed (a row changed), care (rows, worklist, reports), fhir, stream (trace,
 * dead letters), the steps' numbers. Goes to:    browsers: docs/api.md; care (what a person did).
 * Promise:    nobody sees a patient without a session and a role, and each look is audited; a
 * viewer that cannot keep up gets the newest row of each patient, never an old one as if new; a
 * viewer that lost touch is told so.
 */
#ifndef VG_WEB_WEB_H
#define VG_WEB_WEB_H

#include "care/care.h"
#include "fhir/fhir.h"
#include "stream/stage.h"

struct web;

/* The mapping workbench, which the web does not know: JSON of docs/api.md in and out, called from
 * several threads. VG_END is 404, VG_REJECT 400 (409 for connector.mapping_base). */
struct web_mappings {
    void *ctx;
    enum vg_status (*list)(void *ctx, struct vg_buf *out, struct vg_err *err); /* NULL: none here */
    enum vg_status (*show)(void *ctx, struct vg_slice version, struct vg_buf *out,
                           struct vg_err *err);
    enum vg_status (*try)(void *ctx, struct vg_slice request, struct vg_buf *out,
                          struct vg_err *err);
    enum vg_status (*act)(void *ctx, struct vg_slice who, struct vg_slice request,
                          struct vg_buf *out, struct vg_err *err);
    /* The envelope that a message's expressions see. */
    enum vg_status (*envelope)(void *ctx, const struct stream_record *record, struct vg_buf *out,
                               struct vg_err *err);
};

/* The models that score. `list` writes {"models":[…]} (docs/api.md), `reload` too, also when it
 * returns VG_REJECT: what could be read is in force. */
struct web_models {
    void *ctx;
    enum vg_status (*list)(void *ctx, struct vg_buf *out, struct vg_err *err); /* NULL: none here */
    enum vg_status (*reload)(void *ctx, struct vg_slice who, struct vg_buf *out,
                             struct vg_err *err);
    /* What watching found of one model; VG_END: no such model. Called only where `list` is. */
    enum vg_status (*show)(void *ctx, struct vg_slice name, struct vg_buf *out, struct vg_err *err);
    /* Looks at all of them now: takes up to a minute. VG_REJECT: why not. */
    enum vg_status (*watch)(void *ctx, struct vg_slice who, struct vg_buf *out, struct vg_err *err);
};

struct web_config {
    const char *address;              /* "127.0.0.1" */
    uint16_t port;                    /* 0 = any free one, see web_port() */
    const char *cert_path, *key_path; /* PEM; both NULL = plain HTTP, for tests on loopback */
    int64_t session_idle_us; /* 0 = 15 minutes; a viewer's session (wall display) has no idle end */
    int64_t session_life_us; /* 0 = 12 hours */
    struct stream *stream;       /* all three are borrowed and outlive the web */
    struct fhir_store *fhir;
    struct care *care;
    /* Writes HEALTH (docs/api.md) and says whether all is well. Called from several threads. NULL:
     * always well. */
    bool (*health)(void *ctx, struct vg_buf *out);
    void *health_ctx;
    struct web_mappings mappings;
    struct web_models models;
    bool takes_scored; /* a program outside scores: POST /api/topics/iomt.scored is open */
};

/* Opens the port and starts its threads. VG_RETRY: the port or a file is not to be had. */
VG_CHECK enum vg_status web_open(const struct web_config *config, struct web **ret_web,
                                 struct vg_err *err);
/* The stage that uses web_stage_ops is stopped before. NULL is fine. */
void web_close(struct web *web);
uint16_t web_port(const struct web *web);

/* Group "board" on care.changed; its `self` is the struct web, for every partition the same one. */
extern const struct stage_ops web_stage_ops;

/* One message's way: GET /api/trace/{id} and `vigil trace`. Writes the object of docs/api.md. Any
 * thread; reads the journal for at most a few seconds. VG_REJECT web.trace_id: not of the form P-S;
 * VG_END: no such message (any more). `fhir` may be NULL, and `care` too. */
VG_CHECK enum vg_status web_trace(struct stream *stream, struct fhir_store *fhir, struct care *care,
                                  struct vg_slice id, struct vg_buf *out, struct vg_err *err);

/* The eighteen steps' names and colours: step is 1..18. */
const char *web_step_name(unsigned step);
const char *web_step_path(unsigned step); /* "blue", "green", "red", "orange" */

#endif
