/* remote_write.c -- writes on their way to the FHIR server: in bundles of at most
 * config.bundle_entries_max, several at a time where none of them needs another.
 *
 * Everything is a PUT or a DELETE of a known id, so that whatever goes wrong may be sent again.
 *
 * A server refuses a transaction as a whole and does not say which entry it means: it is halved
 * until the one is alone. 409 and 412 may be the answer to the second sending of what the first has
 * done: what is there is read, and if it is what we sent, that is success. Is it not: with If-Match
 * somebody else was faster (412 to the caller, who reads again); without, it is tried again a few
 * times, and then refused.
 *
 * A server's bundle size or rule (413, one bad entry refuses all) costs requests, never data.
 */
#include "base/clock.h"
#include "fhir/remote_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFLICT_TRIES 4
#define BUNDLE_TRIES 2
#define CONFLICT_US ((int64_t)50000)
#define FAILURES_MAX 3 /* times that a server fails (500) over one resource */

/* ---- is it there already? ---- */

static bool is_there_value(const struct vg_json *mine, const struct vg_json *theirs, bool is_root)
{
    double a, b;

    if (!theirs || mine->type != theirs->type)
        return false;
    switch (mine->type) {
    case VG_JSON_NULL:
    case VG_JSON_FALSE:
    case VG_JSON_TRUE:
        return true;
    case VG_JSON_STRING:
        return vg_slice_eq(mine->text, theirs->text);
    case VG_JSON_NUMBER: /* 38.20 may have become 38.2 there */
        return vg_slice_eq(mine->text, theirs->text) ||
               (vg_json_to_double(mine, &a) && vg_json_to_double(theirs, &b) && !(a < b) &&
                !(a > b));
    case VG_JSON_ARRAY:
        if (mine->count != theirs->count)
            return false;
        theirs = theirs->child;
        for (const struct vg_json *at = mine->child; at; at = at->next, theirs = theirs->next)
            if (!is_there_value(at, theirs, false))
                return false;
        return true;
    case VG_JSON_OBJECT:
        for (const struct vg_json *at = mine->child; at; at = at->next)
            if (!(is_root && vg_slice_is(at->name, "meta")) &&
                !is_there_value(at, vg_json_get_slice(theirs, at->name), false))
                return false;
        return true;
    }
    return false;
}

bool remote_is_there(const struct vg_json *mine, const struct vg_json *theirs)
{
    return is_there_value(mine, theirs, true);
}

/* VG_OK: done, as we wanted it. VG_END: something else is there, or nothing. */
static enum vg_status verify(struct fhir_remote *r, struct remote_item *item,
                             struct vg_arena *arena, struct vg_err *err)
{
    struct fhir_resource there;
    struct vg_json *mine = NULL, *theirs = NULL;
    struct fhir_issue issue;
    enum vg_status st = remote_read_there(r, item->type, item->id, arena, &there, err);

    if (st == VG_REJECT)
        return VG_END;
    if (item->is_delete && (st == VG_END || (st == VG_OK && there.is_deleted))) {
        item->state = REMOTE_DONE;
        item->http_status = 204;
        return VG_OK;
    }
    if (st != VG_OK || there.is_deleted || item->is_delete)
        return st == VG_OK ? VG_END : st;
    if (fhir_parse(arena, item->body, &mine, &issue, NULL) != VG_OK ||
        fhir_parse(arena, there.body, &theirs, &issue, NULL) != VG_OK ||
        !remote_is_there(mine, theirs))
        return VG_END;
    item->state = REMOTE_DONE;
    item->http_status = 200;
    item->version = there.version;
    item->updated_us = there.last_updated_us;
    return VG_OK;
}

/* ---- what an answer means ---- */

static void set_refused(struct remote_item *item, int http_status, const char *issue,
                        const char *why)
{
    item->state = REMOTE_REFUSED;
    item->http_status = http_status;
    item->issue = issue;
    (void)snprintf(item->why, sizeof(item->why), "%.255s", why);
}

static void set_done(struct fhir_remote *r, struct remote_item *item, int http_status,
                     struct vg_slice etag, struct vg_slice location, int64_t updated_us)
{
    const char mark[] = "/_history/";
    struct vg_slice text = remote_etag_text(etag);
    struct remote_known before = {0};
    const char *at;

    if (text.len == 0 && location.len &&
        (at = memmem(location.ptr, location.len, mark, sizeof(mark) - 1)))
        text = vg_slice_from(location, (size_t)(at - location.ptr) + sizeof(mark) - 1);
    item->state = REMOTE_DONE;
    item->http_status = item->is_delete ? 204 : http_status == 201 ? 201 : 200;
    item->updated_us = updated_us ? updated_us : vg_now_us();
    item->version = remote_version_of(text);
    item->is_unchanged = remote_known_get(r, item->type, item->id, &before) &&
                         before.version == item->version && item->version;
    if (text.len)
        remote_know(r, item->type, item->id, text, true);
}

static void set_refused_by(struct remote_item *item, struct vg_arena *arena,
                           const struct vg_http_answer *answer)
{
    struct vg_slice text = remote_outcome(arena, answer, &item->expression);
    int status = answer->status == 400 || answer->status == 413 ? answer->status : 422;

    set_refused(item, status, status == 400 ? "invalid" : "processing", text.ptr ? text.ptr : "");
}

/* ---- one at a time ---- */

/* The text of the version that must be current. False: it is not that one any more. */
static enum vg_status match_text(struct fhir_remote *r, struct remote_item *item,
                                 struct vg_arena *arena, char text[static 65], struct vg_err *err)
{
    struct remote_known known;
    struct fhir_resource there;
    enum vg_status st = VG_OK;

    text[0] = '\0';
    if (!item->if_match)
        return VG_OK;
    if (item->if_match < REMOTE_VERSION_TEXT) {
        (void)snprintf(text, 65, "%" PRIu64, item->if_match);
        return VG_OK;
    }
    if (item->if_match >= REMOTE_VERSION_SPOOL) {
        set_refused(item, 412, "conflict", "the write that it builds on was refused");
        return VG_OK;
    }
    if (!remote_known_get(r, item->type, item->id, &known) || known.version != item->if_match) {
        st = remote_read_there(r, item->type, item->id, arena, &there, err);
        if (st != VG_OK && st != VG_END && st != VG_REJECT)
            return st;
        if (!remote_known_get(r, item->type, item->id, &known) || known.version != item->if_match) {
            /* Perhaps that was us, and the answer got lost. */
            st = verify(r, item, arena, err);
            if (st == VG_END)
                set_refused(item, 412, "conflict", "the resource has changed meanwhile");
            return st == VG_END ? VG_OK : st;
        }
    }
    (void)snprintf(text, 65, "%s", known.text);
    return VG_OK;
}

static enum vg_status send_one(struct fhir_remote *r, struct remote_item *item,
                               struct vg_arena *arena, struct vg_err *err)
{
    struct vg_slice path =
        vg_arena_printf(arena, "%s/%.*s", fhir_type_name(item->type), VG_FMT(item->id));
    struct vg_http_answer answer;
    char text[65];
    enum vg_status st;

    if (!path.ptr)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for a request");
    for (int attempt = 0;; attempt++) {
        struct remote_request request = {.method = item->is_delete ? "DELETE" : "PUT",
                                         .path = path.ptr,
                                         .if_match = item->if_match,
                                         .if_match_text = text,
                                         .body = item->body};

        st = match_text(r, item, arena, text, err);
        if (st != VG_OK || item->state != REMOTE_OPEN)
            return st;
        st = remote_call(r, &request, arena, &answer, err);
        if (st == VG_REJECT) {
            set_refused(item, 422, "processing", err && err->code ? err->text : "");
            return VG_OK;
        }
        if (st != VG_OK)
            return st;
        if (answer.status == 200 || answer.status == 201 || answer.status == 204) {
            set_done(r, item, answer.status, answer.etag, answer.location, 0);
            return VG_OK;
        }
        if (item->is_delete && (answer.status == 404 || answer.status == 410)) {
            set_done(r, item, 204, answer.etag, VG_SLICE(""), 0);
            return VG_OK;
        }
        if (answer.status >= 500) {
            struct vg_slice expression, why = remote_outcome(arena, &answer, &expression);

            /* It answered the others: it fails over this one. */
            if (attempt + 1 < FAILURES_MAX) {
                remote_pause(r, remote_jitter_us(CONFLICT_US << (2 * attempt)));
                continue;
            }
            item->has_failed_there = true;
            remote_set_away(r, 0, why.ptr ? why.ptr : "it answers 500");
            return vg_fail(err, VG_RETRY, "fhir.away", 0, "waiting for FHIR server: %.*s",
                           VG_FMT(why));
        }
        if (answer.status != 409 && answer.status != 412) {
            set_refused_by(item, arena, &answer);
            return VG_OK;
        }
        st = verify(r, item, arena, err);
        if (st != VG_END)
            return st;
        if (item->if_match) {
            set_refused(item, 412, "conflict", "the resource has changed meanwhile");
            return VG_OK;
        }
        if (attempt + 1 >= CONFLICT_TRIES) {
            set_refused_by(item, arena, &answer);
            return VG_OK;
        }
        vg_metric_add(r->retries_total, 1);
        remote_pause(r, remote_jitter_us(CONFLICT_US << (2 * attempt)));
    }
}

/* ---- a bundle ---- */

static void put_entry(struct vg_json_writer *w, struct fhir_remote *r,
                      const struct remote_item *item, const char *match)
{
    char text[160];

    (void)snprintf(text, sizeof(text), "%s/%.*s", fhir_type_name(item->type), VG_FMT(item->id));
    vg_json_open_object(w);
    if (!item->is_delete) {
        char url[1024];
        int n = snprintf(url, sizeof(url), "%s/%s", r->config.url, text);

        if (n > 0 && (size_t)n < sizeof(url))
            vg_json_member_string(w, "fullUrl", vg_slice_of(url));
        vg_json_member_raw(w, "resource", item->body);
    }
    vg_json_name(w, "request");
    vg_json_open_object(w);
    vg_json_member_string(w, "method", item->is_delete ? VG_SLICE("DELETE") : VG_SLICE("PUT"));
    vg_json_member_string(w, "url", vg_slice_of(text));
    if (match[0]) {
        (void)snprintf(text, sizeof(text), "W/\"%s\"", match);
        vg_json_member_string(w, "ifMatch", vg_slice_of(text));
    }
    vg_json_close_object(w);
    vg_json_close_object(w);
}

/* What one entry of the answer says. False: nothing that settles it. */
static bool take_entry(struct fhir_remote *r, struct remote_item *item, const struct vg_json *entry)
{
    const struct vg_json *response = vg_json_get(entry, "response");
    struct vg_slice status = vg_json_get_text(response, "status");
    int64_t code = 0, updated_us = 0;

    if (status.len < 3 || !vg_slice_to_i64((struct vg_slice){status.ptr, 3}, &code))
        return false;
    if (code != 200 && code != 201 && code != 204)
        return item->is_delete && (code == 404 || code == 410)
                   ? (set_done(r, item, 204, VG_SLICE(""), VG_SLICE(""), 0), true)
                   : false;
    (void)vg_time_parse(vg_json_get_text(response, "lastModified"), &updated_us, NULL);
    set_done(r, item, (int)code, vg_json_get_text(response, "etag"),
             vg_json_get_text(response, "location"), updated_us);
    return true;
}

/* VG_OK: looked at; some may still be open. VG_END: refused as a whole. */
static enum vg_status send_bundle(struct fhir_remote *r, struct remote_item *items, size_t count,
                                  bool is_transaction, struct vg_arena *arena, int *ret_http_status,
                                  struct vg_err *err)
{
    struct vg_http_answer answer;
    struct vg_json *root = NULL;
    const struct vg_json *entries, *at;
    struct vg_json_writer w;
    struct vg_buf body;
    enum vg_status st = VG_OK;

    vg_buf_init(&body, 2 * REMOTE_BUNDLE_BYTES_MAX + FHIR_RESOURCE_BYTES_MAX);
    vg_json_writer_init(&w, &body);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Bundle"));
    vg_json_member_string(&w, "type", is_transaction ? VG_SLICE("transaction") : VG_SLICE("batch"));
    vg_json_name(&w, "entry");
    vg_json_open_array(&w);
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        char match[65];

        st = match_text(r, &items[i], arena, match, err);
        if (st == VG_OK && items[i].state != REMOTE_OPEN)
            st = VG_END; /* found out before it was sent: each by itself */
        if (st == VG_OK)
            put_entry(&w, r, &items[i], match);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    if (st == VG_OK && !vg_buf_ok(&body))
        st = VG_END;
    if (st == VG_OK)
        st = remote_call(
            r, &(struct remote_request){.method = "POST", .path = "", .body = vg_buf_slice(&body)},
            arena, &answer, err);
    vg_buf_fini(&body);
    if (st != VG_OK)
        return st == VG_REJECT ? VG_END : st;
    *ret_http_status = answer.status;
    if (answer.status != 200 || vg_json_parse(arena, answer.body, NULL, &root, NULL, NULL) != VG_OK)
        return VG_END;
    entries = vg_json_get(root, "entry");
    if (!entries || entries->count != count)
        return VG_END;
    at = entries->child;
    for (size_t i = 0; i < count; i++, at = at->next)
        (void)take_entry(r, &items[i], at);
    return VG_OK;
}

bool remote_has_refusal(const struct remote_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (items[i].state == REMOTE_REFUSED)
            return true;
    return false;
}

/* All of them, in order: as one bundle; what that leaves open, in halves, down to one. */
static enum vg_status send_range(struct fhir_remote *r, struct remote_item *items, size_t count,
                                 bool stops_at_refusal, struct vg_arena *arena, struct vg_err *err)
{
    bool is_transaction, has_bundle;
    size_t half = count / 2;
    enum vg_status st = VG_END;

    if (count == 0)
        return VG_OK;
    (void)pthread_mutex_lock(&r->lock);
    is_transaction = r->capability.has_transaction;
    has_bundle = is_transaction || r->capability.has_batch;
    (void)pthread_mutex_unlock(&r->lock);
    if (count == 1)
        return items->state == REMOTE_OPEN ? send_one(r, items, arena, err) : VG_OK;
    for (int attempt = 0; has_bundle && attempt < BUNDLE_TRIES; attempt++) {
        int http_status = 0;

        st = send_bundle(r, items, count, is_transaction, arena, &http_status, err);
        if (st != VG_END || http_status != 409)
            break;
        /* Two transactions that met, mostly. */
        vg_metric_add(r->retries_total, 1);
        remote_pause(r, remote_jitter_us(CONFLICT_US << (2 * attempt)));
    }
    if (st == VG_OK) { /* a batch: what is open is asked for by itself */
        for (size_t i = 0; i < count && st == VG_OK; i++)
            if (items[i].state == REMOTE_OPEN)
                st = send_one(r, &items[i], arena, err);
        return st;
    }
    if (st != VG_END)
        return st;
    if (!has_bundle)
        half = 1;
    st = send_range(r, items, half, stops_at_refusal, arena, err);
    if (st != VG_OK || (stops_at_refusal && remote_has_refusal(items, half)))
        return st;
    return send_range(r, items + half, count - half, stops_at_refusal, arena, err);
}

/* ---- several bundles at a time ---- */

struct send_job {
    struct fhir_remote *r;
    struct remote_item *items;
    size_t count;
    bool stops_at_refusal;
    struct vg_arena arena;
    enum vg_status status;
    struct vg_err err;
    struct send_wait *wait;
};

struct send_wait {
    pthread_mutex_t lock;
    pthread_cond_t is_done;
    size_t left;
};

static void run_job(struct send_job *job)
{
    job->status =
        send_range(job->r, job->items, job->count, job->stops_at_refusal, &job->arena, &job->err);
    (void)pthread_mutex_lock(&job->wait->lock);
    if (--job->wait->left == 0)
        (void)pthread_cond_signal(&job->wait->is_done);
    (void)pthread_mutex_unlock(&job->wait->lock);
}

void *remote_worker(void *ctx)
{
    struct fhir_remote *r = ctx;
    struct send_job *job;

    while ((job = vg_queue_pop(&r->queue)))
        run_job(job);
    return NULL;
}

static enum vg_status send_side_by_side(struct fhir_remote *r, struct send_job *jobs, size_t count,
                                        struct vg_arena *arena, struct vg_err *err)
{
    struct send_wait wait = {.left = count};
    enum vg_status st = VG_OK;

    (void)pthread_mutex_init(&wait.lock, NULL);
    (void)pthread_cond_init(&wait.is_done, NULL);
    for (size_t i = 0; i < count; i++) {
        jobs[i].wait = &wait;
        vg_arena_init(&jobs[i].arena, FHIR_SCRATCH_BYTES_MAX);
        if (!vg_queue_try_push(&r->queue, &jobs[i]))
            run_job(&jobs[i]);
    }
    (void)pthread_mutex_lock(&wait.lock);
    while (wait.left)
        (void)pthread_cond_wait(&wait.is_done, &wait.lock);
    (void)pthread_mutex_unlock(&wait.lock);
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < jobs[i].count; n++)
            if (jobs[i].items[n].expression.len)
                jobs[i].items[n].expression = vg_arena_dup(arena, jobs[i].items[n].expression);
        vg_arena_fini(&jobs[i].arena);
        if (jobs[i].status != VG_OK && st == VG_OK) {
            st = jobs[i].status;
            if (err)
                *err = jobs[i].err;
        }
    }
    (void)pthread_cond_destroy(&wait.is_done);
    (void)pthread_mutex_destroy(&wait.lock);
    return st;
}

struct vg_slice remote_name_of(const struct remote_item *item, struct vg_arena *arena)
{
    return vg_arena_printf(arena, "%s/%.*s", fhir_type_name(item->type), VG_FMT(item->id));
}

static bool refers(const struct vg_json *json, const struct vg_map *names)
{
    for (const struct vg_json *at = json->child; at; at = at->next) {
        if (at->type == VG_JSON_STRING && vg_slice_is(at->name, "reference") &&
            vg_map_get(names, at->text))
            return true;
        if (at->child && refers(at, names))
            return true;
    }
    return false;
}

/* Does one of them refer to another? Then they go one after the other. */
static bool is_entangled(const struct remote_item *items, size_t count, struct vg_arena *arena)
{
    struct vg_map names;
    bool is_so = false, is_ok = true;

    vg_map_init(&names);
    for (size_t i = 0; i < count && is_ok; i++) {
        struct vg_slice name = remote_name_of(&items[i], arena);

        is_ok = name.ptr != NULL;
        if (is_ok)
            (void)vg_map_put(&names, name, (void *)(uintptr_t)&items[i], &is_ok);
    }
    for (size_t i = 0; i < count && is_ok && !is_so; i++) {
        struct fhir_issue issue;
        struct vg_json *root = NULL;
        struct vg_arena scratch;

        vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
        is_so = !items[i].is_delete &&
                (fhir_parse(&scratch, items[i].body, &root, &issue, NULL) != VG_OK ||
                 refers(root, &names));
        vg_arena_fini(&scratch);
    }
    vg_map_fini(&names, NULL);
    return is_so || !is_ok;
}

enum vg_status remote_send(struct fhir_remote *r, struct remote_item *items, size_t count,
                           bool stops_at_refusal, struct vg_arena *arena, struct vg_err *err)
{
    size_t bundle = r->config.bundle_entries_max, job_count = 0, at = 0;
    struct send_job *jobs = vg_arena_alloc(arena, (count + 1) * sizeof(*jobs));
    enum vg_status st = VG_OK;

    if (!jobs)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for %zu writes", count);
    while (at < count) {
        size_t n = 0, bytes = 0;

        while (at + n < count && n < bundle &&
               (n == 0 || bytes + items[at + n].body.len <= REMOTE_BUNDLE_BYTES_MAX))
            bytes += items[at + n++].body.len;
        jobs[job_count++] = (struct send_job){
            .r = r, .items = items + at, .count = n, .stops_at_refusal = stops_at_refusal};
        at += n;
    }
    if (job_count > 1 && r->worker_count > 1 && !is_entangled(items, count, arena))
        return send_side_by_side(r, jobs, job_count, arena, err);
    for (size_t i = 0; i < job_count && st == VG_OK; i++) {
        st = send_range(r, jobs[i].items, jobs[i].count, stops_at_refusal, arena, err);
        if (stops_at_refusal && remote_has_refusal(jobs[i].items, jobs[i].count))
            break;
    }
    return st;
}
