/* audit.c -- an AuditEvent for each access by REST, and for each token that is asked for: who,
 * what, when, with which outcome.
 *
 * Never on the way of an answer but for one write() into a spool file: a thread makes resources of
 * what has gathered, up to 500 in one commit.
 *
 * There are two spool files. While one is being committed the other takes what comes; when the
 * commit is on disk the first is emptied. What a crash leaves in either is written at the next
 * start; an event has its id from the beginning, so the second time makes nothing new. A power cut
 * may take the events of the last moments (the spool is not synced), a crash of the program none.
 *
 * When the store cannot take them for long and the spool reaches its bound, requests wait: an
 * access without a trace is worse than a slow one.
 *
 * Threads: workers add under `lock`; one thread drains.
 */
#include "fhir/audit_int.h"

#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "fhir/rest_int.h"
#include "fhir/worker_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MS 200
#define BATCH_MAX 500u
#define SPOOL_BYTES_MAX ((size_t)16 << 20)
#define TEXT_BYTES_MAX ((size_t)8 << 10)
#define SYSTEM_DICOM "http://dicom.nema.org/resources/ontology/DCM"
#define SYSTEM_ROLE "http://terminology.hl7.org/CodeSystem/object-role"

struct fhir_audit {
    struct fhir_store *store;
    struct fhir_worker worker; /* drains; its lock guards the rest */
    struct vg_buf waiting;     /* lines of the spool that takes */
    int fds[2];
    int taking;
};

/* ---- one event ---- */

static void put_coding(struct vg_json_writer *w, const char *name, const char *system,
                       const char *code, const char *display)
{
    if (name)
        vg_json_name(w, name);
    vg_json_open_object(w);
    vg_json_member_string(w, "system", vg_slice_of(system));
    vg_json_member_string(w, "code", vg_slice_of(code));
    if (display)
        vg_json_member_string(w, "display", vg_slice_of(display));
    vg_json_close_object(w);
}

/* C R U D E, by what was done. */
static const char *action_of(const char *interaction)
{
    static const struct {
        const char *name, *action;
    } rows[] = {{"create", "C"}, {"read", "R"},  {"vread", "R"},  {"history-instance", "R"},
                {"update", "U"}, {"patch", "U"}, {"delete", "D"}, {"history-type", "R"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(rows[i].name, interaction) == 0)
            return rows[i].action;
    return "E";
}

static void put_entity(struct vg_json_writer *w, struct fhir_job *job)
{
    struct vg_slice query =
        job->body.len && job->route->body == FHIR_BODY_FORM ? vg_slice_trim(job->body) : job->query;
    bool is_patient = strcmp(fhir_type_name(job->type), "Patient") == 0;
    bool has_id = job->type && fhir_id_is_ok(job->id);
    bool is_query = query.len > 0 && !has_id;
    struct vg_buf text;

    if (!has_id && !is_query)
        return;
    vg_json_name(w, "entity");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_buf_init(&text, 0);
    if (has_id) {
        vg_json_name(w, "what");
        vg_json_open_object(w);
        vg_buf_printf(&text, "%s/%.*s", fhir_type_name(job->type), VG_FMT(job->id));
        vg_json_member_string(w, "reference", vg_buf_slice(&text));
        vg_json_close_object(w);
        put_coding(w, "role", SYSTEM_ROLE, is_patient ? "1" : "4",
                   is_patient ? "Patient" : "Domain Resource");
    } else {
        put_coding(w, "role", SYSTEM_ROLE, "24", "Query");
        vg_buf_printf(&text, "%.*s?", VG_FMT(job->path));
        vg_buf_put(&text, query.len > TEXT_BYTES_MAX / 4
                              ? (struct vg_slice){query.ptr, TEXT_BYTES_MAX / 4}
                              : query);
        struct vg_buf encoded;

        vg_buf_init(&encoded, 0);
        vg_base64_put(&encoded, vg_buf_slice(&text));
        vg_json_member_string(w, "query", vg_buf_slice(&encoded));
        vg_buf_fini(&encoded);
    }
    vg_buf_fini(&text);
    vg_json_close_object(w);
    vg_json_close_array(w);
}

static void put_event(struct vg_buf *out, struct fhir_job *job)
{
    const struct fhir_route *route = job->route;
    const char *interaction = route->interaction ? route->interaction : "operation";
    const char *caller = job->access.caller;
    bool is_login = route->run == fhir_run_token;
    struct vg_slice id = fhir_id_draw(&job->arena);
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("AuditEvent"));
    vg_json_member_string(&w, "id", id);
    if (is_login)
        put_coding(&w, "type", SYSTEM_DICOM, "110114", "User Authentication");
    else
        put_coding(&w, "type", "http://terminology.hl7.org/CodeSystem/audit-event-type", "rest",
                   "RESTful Operation");
    vg_json_name(&w, "subtype");
    vg_json_open_array(&w);
    if (is_login)
        put_coding(&w, NULL, SYSTEM_DICOM, "110122", "Login");
    else
        put_coding(&w, NULL, "http://hl7.org/fhir/restful-interaction", interaction, NULL);
    vg_json_close_array(&w);
    vg_json_member_string(&w, "action", vg_slice_of(action_of(interaction)));
    vg_json_member_time(&w, "recorded", job->began_us);
    vg_json_member_string(&w, "outcome",
                          job->http_status < 400   ? VG_SLICE("0")
                          : job->http_status < 500 ? VG_SLICE("4")
                                                   : VG_SLICE("8"));
    vg_json_name(&w, "agent");
    vg_json_open_array(&w);
    vg_json_open_object(&w);
    if (caller[0])
        vg_json_member_string(&w, "altId", vg_slice_of(caller));
    vg_json_member_string(&w, "name", caller[0] ? vg_slice_of(caller) : VG_SLICE("not known"));
    vg_json_member_bool(&w, "requestor", true);
    if (job->peer.len) {
        vg_json_name(&w, "network");
        vg_json_open_object(&w);
        vg_json_member_string(&w, "address", job->peer);
        vg_json_member_string(&w, "type", VG_SLICE("2")); /* an IP address */
        vg_json_close_object(&w);
    }
    vg_json_close_object(&w);
    vg_json_close_array(&w);
    vg_json_name(&w, "source");
    vg_json_open_object(&w);
    vg_json_name(&w, "observer");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "type", VG_SLICE("Device"));
    vg_json_member_string(&w, "display", VG_SLICE("Vigil's FHIR service"));
    vg_json_close_object(&w);
    vg_json_name(&w, "type");
    vg_json_open_array(&w);
    put_coding(&w, NULL, "http://terminology.hl7.org/CodeSystem/security-source-type", "4",
               "Application Server");
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    if (!is_login) /* its form holds an assertion */
        put_entity(&w, job);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}

void fhir_audit_add(struct fhir_store *store, struct fhir_job *job)
{
    struct fhir_audit *audit = store->audit;
    struct vg_buf line;
    ssize_t wrote = 0;

    if (!audit || (job->route->right == 0 && job->route->run != fhir_run_token))
        return;
    vg_buf_init(&line, 4 * TEXT_BYTES_MAX);
    put_event(&line, job);
    (void)pthread_mutex_lock(&audit->worker.lock);
    while (audit->waiting.len + line.len > SPOOL_BYTES_MAX && !audit->worker.is_closing)
        (void)pthread_cond_wait(&audit->worker.moved, &audit->worker.lock);
    if (vg_buf_ok(&line)) {
        vg_buf_put(&audit->waiting, vg_buf_slice(&line));
        wrote = write(audit->fds[audit->taking], line.ptr, line.len);
    }
    (void)pthread_mutex_unlock(&audit->worker.lock);
    if (!vg_buf_ok(&line) || wrote != (ssize_t)line.len)
        vg_metric_add(vg_counter("vigil_fhir_audit_spool_errors_total",
                                 "Audit events that are held in memory only", ""),
                      1);
    vg_buf_fini(&line);
}

/* ---- the thread ---- */

/* At most BATCH_MAX lines; *text moves on. */
static enum vg_status commit_some(struct fhir_audit *audit, struct vg_slice *text,
                                  struct vg_err *err)
{
    struct fhir_write writes[BATCH_MAX];
    struct fhir_written written[BATCH_MAX];
    struct vg_arena arena;
    struct vg_slice rest = *text;
    size_t count = 0, failed = 0;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, 0);
    while (rest.len && count < BATCH_MAX) {
        struct vg_slice line = vg_slice_cut(&rest, '\n');
        struct vg_json *root = NULL;

        /* A line that a crash has cut short is no event. */
        if (line.len == 0 || vg_json_parse(&arena, line, NULL, &root, NULL, NULL) != VG_OK)
            continue;
        writes[count++] = (struct fhir_write){.what = FHIR_UPDATE,
                                              .type = VG_SLICE("AuditEvent"),
                                              .id = vg_json_get_text(root, "id"),
                                              .body = line};
    }
    if (count)
        st = fhir_commit(audit->store, writes, count, &arena, written, &failed, err);
    if (st == VG_REJECT) {
        /* One that is refused must not hold up the others. */
        for (size_t i = 0; i < count && (st == VG_OK || st == VG_REJECT); i++) {
            st = fhir_commit(audit->store, &writes[i], 1, &arena, written, NULL, err);
            if (st == VG_REJECT)
                vg_log_err(VG_LOG_ERROR, "fhir", err);
        }
        st = st == VG_REJECT ? VG_OK : st;
    }
    vg_arena_fini(&arena);
    if (st == VG_OK)
        *text = rest;
    return st;
}

static enum vg_status commit_all(struct fhir_audit *audit, struct vg_slice text, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    while (text.len && st == VG_OK)
        st = commit_some(audit, &text, err);
    return st;
}

static void wait_a_while(struct fhir_audit *audit, int ms)
{
    if (!audit->worker.is_closing)
        (void)fhir_worker_wait(&audit->worker, vg_mono_us() + ms * INT64_C(1000));
}

static void *drain(void *ctx)
{
    struct fhir_audit *audit = ctx;
    struct vg_buf taken;
    struct vg_err err = {0};
    bool is_last = false;

    vg_buf_init(&taken, SPOOL_BYTES_MAX * 2);
    (void)pthread_mutex_lock(&audit->worker.lock);
    while (!is_last) {
        enum vg_status st = VG_RETRY;
        int draining;

        wait_a_while(audit, WAIT_MS);
        is_last = audit->worker.is_closing;
        if (audit->waiting.len == 0)
            continue;
        draining = audit->taking;
        audit->taking = !draining;
        struct vg_buf swap = taken;

        taken = audit->waiting;
        audit->waiting = swap;
        vg_buf_clear(&audit->waiting);
        (void)pthread_cond_broadcast(&audit->worker.moved);
        (void)pthread_mutex_unlock(&audit->worker.lock);
        for (int tries = 0; st != VG_OK; tries++) {
            st = commit_all(audit, vg_buf_slice(&taken), &err);
            (void)pthread_mutex_lock(&audit->worker.lock);
            if (st != VG_OK) {
                if (tries == 0)
                    vg_log_err(VG_LOG_WARN, "fhir", &err);
                /* At the end what waits stays in the spool for the next start. */
                if (audit->worker.is_closing)
                    break;
                wait_a_while(audit, 1000);
            } else if (ftruncate(audit->fds[draining], 0) != 0) {
                vg_log(VG_LOG_WARN, "fhir", "fhir.audit_spool", "a spool was not emptied");
            }
            if (st != VG_OK)
                (void)pthread_mutex_unlock(&audit->worker.lock);
        }
    }
    (void)pthread_mutex_unlock(&audit->worker.lock);
    vg_buf_fini(&taken);
    return NULL;
}

/* ---- begin and end ---- */

static enum vg_status replay(struct fhir_audit *audit, const char *path, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_slice text;
    enum vg_status st;

    vg_arena_init(&arena, SPOOL_BYTES_MAX * 4);
    st = vg_file_read(&arena, path, SPOOL_BYTES_MAX * 3, &text, err);
    if (st == VG_OK)
        st = commit_all(audit, text, err);
    vg_arena_fini(&arena);
    return st == VG_END ? VG_OK : st;
}

enum vg_status fhir_audit_open(struct fhir_store *store, const char *spool_path,
                               struct fhir_audit **ret_audit, struct vg_err *err)
{
    struct fhir_audit *audit = calloc(1, sizeof(*audit));
    char path[4096];
    enum vg_status st = VG_OK;

    if (!audit)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the audit");
    audit->store = store;
    audit->fds[0] = audit->fds[1] = -1;
    fhir_worker_init(&audit->worker);
    vg_buf_init(&audit->waiting, SPOOL_BYTES_MAX * 2);
    for (int i = 0; i < 2 && st == VG_OK; i++) {
        (void)snprintf(path, sizeof(path), "%s.%d", spool_path, i + 1);
        st = replay(audit, path, err);
        if (st != VG_OK)
            break;
        audit->fds[i] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        if (audit->fds[i] < 0)
            st = vg_fail(err, VG_RETRY, "fhir.audit_spool", errno, "%s cannot be opened", path);
    }
    if (st == VG_OK)
        st = fhir_worker_start(&audit->worker, drain, audit, "the audit's", err);
    if (st != VG_OK)
        fhir_audit_close(audit);
    else
        *ret_audit = audit;
    return st;
}

void fhir_audit_close(struct fhir_audit *audit)
{
    if (!audit)
        return;
    fhir_worker_stop(&audit->worker);
    for (int i = 0; i < 2; i++)
        if (audit->fds[i] >= 0)
            (void)close(audit->fds[i]);
    vg_buf_fini(&audit->waiting);
    fhir_worker_fini(&audit->worker);
    free(audit);
}
