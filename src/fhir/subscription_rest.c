/* subscription_rest.c -- Subscriptions over REST: $status, $events, and headers whose values are
 * not shown.
 *
 * The numbers come from the side database, where the threads of subscription.c write them.
 */
#include "base/db.h"
#include "fhir/rest_int.h"
#include "fhir/side_int.h"
#include "fhir/subscription_int.h"

/* ---- secrets ---- */

struct vg_slice fhir_mask(struct vg_arena *arena, unsigned type, struct vg_slice body)
{
    static const char hidden[] = ": ***\"";
    struct vg_json *root = NULL;
    const struct vg_json *list;
    struct vg_slice made;
    struct vg_buf out;
    const char *copied = body.ptr;

    if (body.len == 0 || strcmp(fhir_type_name(type), "Subscription") != 0)
        return body;
    if (vg_json_parse(arena, body, NULL, &root, NULL, NULL) != VG_OK)
        return (struct vg_slice){0};
    list = vg_json_get(vg_json_get(root, "channel"), "header");
    if (!list)
        return body;
    vg_buf_init(&out, body.len * 2 + 64);
    for (const struct vg_json *one = list->child; one; one = one->next) {
        struct vg_slice name = one->text;

        name = vg_slice_cut(&name, ':');
        vg_buf_put(&out, (struct vg_slice){copied, (size_t)(one->source.ptr - copied)});
        vg_json_escape(&out, name);
        out.len -= out.len > 0; /* the quote comes after the stars */
        vg_buf_put(&out, (struct vg_slice){hidden, sizeof(hidden) - 1});
        copied = one->source.ptr + one->source.len;
    }
    vg_buf_put(&out, (struct vg_slice){copied, (size_t)(body.ptr + body.len - copied)});
    made = vg_buf_ok(&out) ? vg_arena_dup(arena, vg_buf_slice(&out)) : (struct vg_slice){0};
    vg_buf_fini(&out);
    return made;
}

/* The type that a Subscription's criteria search; 0: not to be told. */
static unsigned criteria_type(struct vg_arena *arena, struct vg_slice body)
{
    struct fhir_hook_terms terms = {0};
    struct vg_json *root = NULL;
    struct vg_err err;

    if (vg_json_parse(arena, body, NULL, &root, NULL, NULL) != VG_OK)
        return 0;
    /* One that cannot be served tells nobody anything; its criteria are read all the same. */
    return fhir_hook_terms_of(root, &terms, &err) == VG_FATAL ? 0 : terms.type;
}

/* A copy of the headers elsewhere in the resource would be shown. */
static bool moves_headers(struct vg_arena *arena, struct vg_slice patch)
{
    struct vg_json *root = NULL;

    if (vg_json_parse(arena, patch, NULL, &root, NULL, NULL) != VG_OK)
        return false; /* refused as a patch */
    for (const struct vg_json *one = root->child; one; one = one->next) {
        const struct vg_json *from = vg_json_get(one, "from");

        if (from && (from->text.len == 0 || vg_slice_starts(from->text, VG_SLICE("/channel"))))
            return true;
    }
    return false;
}

enum vg_status fhir_subscription_check(const struct fhir_access *access, struct vg_arena *arena,
                                       const struct fhir_op *op, struct fhir_issue *issue,
                                       struct vg_err *err)
{
    static const char stars[] = ": ***\"";
    struct vg_slice text = op->patch.ptr ? op->patch : op->body;

    if (op->what == FHIR_OP_DELETE || strcmp(fhir_type_name(op->type), "Subscription") != 0)
        return VG_OK;
    /* What was read with its secrets hidden must not be put back so: they would be lost. */
    if (text.len && memmem(text.ptr, text.len, stars, sizeof(stars) - 1))
        return fhir_refuse(issue, err, 422, "business-rule",
                           VG_SLICE("Subscription.channel.header"),
                           "header values are not shown: give them anew");
    if (op->patch.ptr && moves_headers(arena, op->patch))
        return fhir_refuse(issue, err, 422, "business-rule",
                           VG_SLICE("Subscription.channel.header"),
                           "nothing is copied or moved out of the channel");
    /* Who is told of resources must be allowed to read them. */
    if (!fhir_access_allows(access, 'r', op->patch.ptr ? 0 : criteria_type(arena, op->body)))
        return fhir_refuse(issue, err, 403, "forbidden", VG_SLICE("Subscription.criteria"),
                           "the token's scopes do not allow to read what the criteria find");
    return VG_OK;
}

/* ---- $status and $events ---- */

static enum vg_status hook_numbers(struct fhir_job *job, uint64_t *ret_events,
                                   char error[static 160], struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st =
        fhir_side_begin(job->store->side, "SELECT events, error FROM hook WHERE id=?", &stmt, err);

    *ret_events = 0;
    error[0] = '\0';
    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, job->id);
    st = vg_db_step(stmt, err);
    if (st == VG_OK) {
        *ret_events = (uint64_t)sqlite3_column_int64(stmt, 0);
        (void)vg_slice_to_cstr(vg_db_text(stmt, 1), error, 160);
    }
    fhir_side_end(job->store->side, stmt);
    return st == VG_END ? VG_OK : st;
}

/* The Subscription itself; false: answered. */
static bool find(struct fhir_job *job, struct fhir_hook_terms *terms, char error[static 160],
                 uint64_t *ret_events)
{
    struct fhir_resource resource;
    struct fhir_issue issue = {0};
    struct vg_json *root = NULL;
    struct vg_err err = {0};
    struct vg_slice said;
    enum vg_status st;

    if (!job->store->hooks) {
        fhir_job_outcome(job, 501, "not-supported", (struct vg_slice){0},
                         "this service has no Subscriptions");
        return false;
    }
    st = fhir_read(job->store, VG_SLICE("Subscription"), job->id, 0, &job->arena, &resource, &err);
    if (st == VG_END || (st == VG_OK && resource.is_deleted)) {
        fhir_job_outcome(job, st == VG_END ? 404 : 410, st == VG_END ? "not-found" : "deleted",
                         (struct vg_slice){0}, "there is no such Subscription");
        return false;
    }
    if (st == VG_OK)
        st = fhir_parse(&job->arena, resource.body, &root, &issue, &err);
    if (st == VG_OK)
        st = hook_numbers(job, ret_events, error, &err);
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return false;
    }
    st = fhir_hook_terms_of(root, terms, &err);
    if (st == VG_REJECT && !error[0]) /* one that cannot be served is told as it is */
        (void)vg_slice_to_cstr(vg_slice_of(err.text), error, 160);
    said = vg_json_get_text(root, "error");
    if (said.len && !error[0])
        (void)vg_slice_to_cstr(said.len < 160 ? said : (struct vg_slice){said.ptr, 159}, error,
                               160);
    return true;
}

void fhir_run_subscription_status(struct fhir_job *job)
{
    struct fhir_hook_terms terms = {0};
    char error[160], status[32];
    uint64_t events;

    if (!find(job, &terms, error, &events))
        return;
    (void)vg_slice_to_cstr(terms.status, status, sizeof(status));
    job->http_status = 200;
    fhir_notification_write(&job->out, job->store->base_url, job->id, FHIR_HOOK_TOPIC, status,
                            "query-status", error, events, FHIR_CONTENT_EMPTY, NULL, 0);
}

void fhir_run_subscription_events(struct fhir_job *job)
{
    struct vg_slice since = fhir_job_param(job, "eventsSinceNumber");
    struct vg_slice until = fhir_job_param(job, "eventsUntilNumber");
    struct vg_slice content = fhir_job_param(job, "content");
    struct fhir_hook_terms terms = {0};
    struct fhir_event *list;
    sqlite3_stmt *stmt = NULL;
    struct vg_err err = {0};
    char error[160], status[32];
    uint64_t events, low = 0, high = INT64_MAX;
    size_t count = 0;
    enum vg_status st;

    if (!find(job, &terms, error, &events))
        return;
    if ((since.len && !vg_slice_to_u64(since, &low)) ||
        (until.len && (!vg_slice_to_u64(until, &high) || high > INT64_MAX))) {
        fhir_job_outcome(job, 400, "value", (struct vg_slice){0}, "event numbers are numbers");
        return;
    }
    if (content.len)
        terms.content = vg_slice_is(content, "empty")     ? FHIR_CONTENT_EMPTY
                        : vg_slice_is(content, "id-only") ? FHIR_CONTENT_ID_ONLY
                                                          : FHIR_CONTENT_FULL;
    list = vg_arena_alloc(&job->arena, FHIR_COUNT_MAX * sizeof(*list));
    st = list ? fhir_side_begin(job->store->side,
                                "SELECT number, focus, at_us FROM hook_event WHERE id=? AND"
                                " number>=? AND number<=? ORDER BY number LIMIT 1000",
                                &stmt, &err)
              : vg_fail(&err, VG_RETRY, "fhir.memory", 0, "no room for the events");
    if (st == VG_OK) {
        vg_db_bind_text(stmt, 1, job->id);
        (void)sqlite3_bind_int64(stmt, 2, (int64_t)low);
        (void)sqlite3_bind_int64(stmt, 3, (int64_t)high);
        while (count < FHIR_COUNT_MAX && (st = vg_db_step(stmt, &err)) == VG_OK)
            list[count++] =
                (struct fhir_event){.number = (uint64_t)sqlite3_column_int64(stmt, 0),
                                    .focus = vg_arena_dup(&job->arena, vg_db_text(stmt, 1)),
                                    .at_us = sqlite3_column_int64(stmt, 2)};
        fhir_side_end(job->store->side, stmt);
    }
    for (size_t i = 0; i < count && (st == VG_OK || st == VG_END); i++) {
        struct fhir_resource *resource = vg_arena_alloc(&job->arena, sizeof(*resource));
        struct vg_slice rest = list[i].focus, type = vg_slice_cut(&rest, '/');
        struct vg_slice id = vg_slice_cut(&rest, '/');
        uint64_t version;

        (void)vg_slice_cut(&rest, '/');
        list[i].focus.len = type.len + 1 + id.len;
        if (!resource || !vg_slice_to_u64(rest, &version) ||
            !fhir_access_allows(&job->access, 'r', fhir_type_find(type)))
            continue;
        st = fhir_read(job->store, type, id, version, &job->arena, resource, &err);
        if (st == VG_OK)
            list[i].resource = resource;
    }
    if (st != VG_OK && st != VG_END) {
        fhir_job_failed(job, st, &(struct fhir_issue){0}, &err);
        return;
    }
    (void)vg_slice_to_cstr(terms.status, status, sizeof(status));
    job->http_status = 200;
    fhir_notification_write(&job->out, job->store->base_url, job->id, FHIR_HOOK_TOPIC, status,
                            "query-event", error, events, terms.content, list, count);
}
