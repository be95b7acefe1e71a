/* everything.c -- Patient/x/$everything and Patient/x/Observation: what belongs to a patient.
 *
 * A walk through the types of the Patient compartment, each by one search. A page ends somewhere in
 * a type; the next link says in which and after which row (_after=TYPE.ROW), so nothing is kept
 * here between pages. What the resources of a page refer to and no compartment holds (Device,
 * Practitioner, Location…) comes along with them.
 */
#include "fhir/rest_int.h"

#include "base/map.h"

#include <stdio.h>

#define INCLUDED_MAX 1000u

static bool is_member(unsigned compartment, unsigned type)
{
    return fhir_compartment_find(compartment, type) != NULL;
}

/* ---- the members of one type ---- */

void fhir_run_compartment(struct fhir_job *job)
{
    unsigned owner = job->type;
    const char *amp = job->query.len ? "&" : "";

    if (!is_member(owner, job->inner_type)) {
        fhir_job_outcome(job, 404, "not-supported", (struct vg_slice){0},
                         "there is no such compartment, or this type is not in it");
        return;
    }
    if (!fhir_access_allows(&job->access, 's', job->inner_type) ||
        !fhir_access_allows(&job->access, 'r', owner)) {
        job->authenticate = "Bearer error=\"insufficient_scope\"";
        fhir_job_outcome(job, 403, "forbidden", (struct vg_slice){0},
                         "the token's scopes do not allow this");
        return;
    }
    job->query = vg_arena_printf(&job->arena, "_compartment=%s/%.*s%s%.*s", fhir_type_name(owner),
                                 VG_FMT(job->id), amp, VG_FMT(job->query));
    job->type = job->inner_type;
    fhir_run_search(job);
}

/* ---- $everything ---- */

struct walk {
    struct fhir_job *job;
    void *view;
    struct vg_slice types, since, start, end; /* as asked for */
    uint32_t count;
    unsigned next_type; /* where the page ends: 0 = at the end */
    struct vg_slice next_row;
    struct fhir_resource *found;
    size_t found_count, capacity;
    struct vg_map seen;
    struct fhir_issue issue;
    struct vg_err *err;
    enum vg_status status;
};

static void keep(struct walk *in, const struct fhir_resource *resource)
{
    struct fhir_resource *grown;

    if (in->found_count == in->capacity) {
        size_t more = in->capacity ? in->capacity * 2 : 64;

        grown = vg_arena_alloc(&in->job->arena, more * sizeof(*grown));
        if (!grown) {
            in->status = vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for the results");
            return;
        }
        if (in->found_count)
            memcpy(grown, in->found, in->found_count * sizeof(*grown));
        in->found = grown;
        in->capacity = more;
    }
    in->found[in->found_count++] = *resource;
}

static bool is_wanted(const struct walk *in, unsigned type)
{
    struct vg_slice list = in->types;

    if (!fhir_access_allows(&in->job->access, 'r', type))
        return false;
    /* Who has looked is told only when it is asked for: else every look would add to the next. */
    if (list.len == 0)
        return strcmp(fhir_type_name(type), "AuditEvent") != 0;
    while (list.len)
        if (vg_slice_is(vg_slice_trim(vg_slice_cut(&list, ',')), fhir_type_name(type)))
            return true;
    return false;
}

static void put_bound(struct vg_buf *text, const char *param, const char *prefix,
                      struct vg_slice value)
{
    if (!value.len)
        return;
    vg_buf_printf(text, "&%s=%s", param, prefix);
    vg_url_encode(text, value);
}

/* Resources of one type until the page is full. */
static void walk_type(struct walk *in, unsigned type, struct vg_slice row)
{
    struct fhir_job *job = in->job;
    struct vg_slice rest;
    struct fhir_results results;
    struct vg_buf text;

    vg_buf_init(&text, 16384);
    vg_buf_printf(&text, type == job->type ? "_id=%.*s" : "_compartment=Patient/%.*s",
                  VG_FMT(job->id));
    put_bound(&text, "_lastUpdated", "ge", in->since);
    if (fhir_role_path(type, FHIR_ROLE_DATE) && fhir_param_find(type, VG_SLICE("date"))) {
        put_bound(&text, "date", "ge", in->start);
        put_bound(&text, "date", "le", in->end);
    }
    vg_buf_printf(&text, "&_count=%u", in->count - (uint32_t)in->found_count);
    put_bound(&text, "_after", "", row);
    in->status = fhir_search_in(job->store, in->view, type, vg_buf_slice(&text), false, &job->arena,
                                &results, &in->issue, in->err);
    vg_buf_fini(&text);
    for (size_t i = 0; in->status == VG_OK && i < results.match_count; i++)
        keep(in, &results.resources[i]);
    if (in->status != VG_OK || !results.next_query.len)
        return;
    in->next_type = type;
    for (rest = results.next_query; rest.len;) {
        struct vg_slice value = vg_slice_cut(&rest, '&');

        if (vg_slice_is(vg_slice_cut(&value, '='), "_after"))
            in->next_row = value;
    }
}

static void walk_all(struct walk *in, unsigned type, struct vg_slice row)
{
    unsigned patient = in->job->type;

    /* The patient first, then what belongs to him. */
    if (type == 0 && is_wanted(in, patient))
        walk_type(in, patient, row);
    for (type = type ? type : 1; type <= fhir_type_count() && in->status == VG_OK; type++) {
        if (type == patient || !is_member(patient, type) || !is_wanted(in, type) ||
            !fhir_access_allows(&in->job->access, 's', type))
            continue;
        if (in->found_count >= in->count) {
            in->next_type = type;
            in->next_row = (struct vg_slice){0};
            return;
        }
        walk_type(in, type, row);
        row = (struct vg_slice){0};
        if (in->next_type)
            return;
    }
}

/* ---- what they refer to ---- */

static void follow(struct walk *in, const struct vg_json *node)
{
    struct fhir_current current;
    struct vg_slice name, id;
    unsigned type;
    bool is_ok = true;

    for (const struct vg_json *one = node->child; one && in->status == VG_OK; one = one->next) {
        if (one->type == VG_JSON_OBJECT || one->type == VG_JSON_ARRAY) {
            follow(in, one);
            continue;
        }
        if (!vg_slice_is(one->name, "reference") || one->type != VG_JSON_STRING)
            continue;
        name = fhir_reference_plain(one->text, in->job->store->base_url);
        if (!fhir_reference_cut(name, &type, &id) || is_member(in->job->type, type) ||
            type == in->job->type || !is_wanted(in, type) || vg_map_get(&in->seen, name) ||
            in->seen.count >= INCLUDED_MAX)
            continue;
        (void)vg_map_put(&in->seen, name, in, &is_ok);
        in->status =
            in->job->store->engine->current(in->view, type, id, &in->job->arena, &current, in->err);
        if (in->status != VG_OK || !current.key || current.is_deleted)
            continue;
        keep(in, &(struct fhir_resource){.type = vg_slice_of(fhir_type_name(type)),
                                         .id = vg_arena_dup(&in->job->arena, id),
                                         .version = current.version,
                                         .last_updated_us = current.updated_us,
                                         .body = current.body});
    }
}

static void follow_all(struct walk *in)
{
    size_t count = in->found_count;
    struct vg_arena scratch;
    struct vg_json *root = NULL;

    vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
    vg_map_init(&in->seen);
    for (size_t i = 0; i < count && in->status == VG_OK; i++) {
        vg_arena_reset(&scratch);
        in->status = fhir_parse(&scratch, in->found[i].body, &root, &in->issue, in->err);
        if (in->status == VG_OK)
            follow(in, root);
    }
    vg_map_fini(&in->seen, NULL);
    vg_arena_fini(&scratch);
}

/* ---- the operation ---- */

static bool is_time(struct vg_slice text)
{
    enum fhir_precision precision;
    struct fhir_span span;
    bool has_zone;

    return text.len == 0 || fhir_time_parse(text, &span, &precision, &has_zone);
}

/* What was asked for, as an address; `after` only in the next link. */
static struct vg_slice link(struct walk *in, const struct fhir_args *args, const char *after)
{
    static const char *const known[] = {"start", "end", "_since", "_type", "_count"};
    struct fhir_job *job = in->job;
    struct vg_slice path =
                        vg_arena_printf(&job->arena, "Patient/%.*s/$everything", VG_FMT(job->id)),
                    made;
    struct vg_buf text;

    vg_buf_init(&text, 16384);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct vg_slice value = fhir_arg_text(args, known[i]);

        if (!value.len)
            continue;
        vg_buf_printf(&text, "%s%s=", text.len ? "&" : "", known[i]);
        vg_url_encode(&text, value);
    }
    if (after)
        vg_buf_printf(&text, "%s_after=%s", text.len ? "&" : "", after);
    made = fhir_job_link(job, path.ptr, vg_buf_slice(&text));
    vg_buf_fini(&text);
    return made;
}

static void send(struct walk *in, const struct fhir_args *args, size_t match_count)
{
    struct fhir_results results = {
        .resources = in->found, .count = in->found_count, .match_count = match_count};
    struct vg_slice next = {0}, after;

    if (in->next_type) {
        after = vg_arena_printf(&in->job->arena, "%s.%.*s", fhir_type_name(in->next_type),
                                VG_FMT(in->next_row));
        next = link(in, args, after.ptr);
    }
    in->job->http_status = 200;
    fhir_bundle_write(in->job->store, "searchset", link(in, args, NULL), next, &results,
                      &in->job->out);
}

void fhir_run_everything(struct fhir_job *job)
{
    const struct fhir_engine *engine = job->store->engine;
    struct fhir_args args;
    struct fhir_current patient = {0};
    struct vg_err err = {0};
    struct walk in = {.job = job, .count = FHIR_COUNT_MAX, .err = &err};
    struct vg_slice count, after, row = {0};
    unsigned type = 0;
    uint64_t number;
    size_t match_count = 0;
    enum vg_status st = fhir_job_args(job, &args, &in.issue, &err);

    if (st != VG_OK) {
        fhir_job_failed(job, st, &in.issue, &err);
        return;
    }
    in.types = fhir_arg_text(&args, "_type");
    in.since = fhir_arg_text(&args, "_since");
    in.start = fhir_arg_text(&args, "start");
    in.end = fhir_arg_text(&args, "end");
    count = fhir_arg_text(&args, "_count");
    after = fhir_arg_text(&args, "_after");
    for (struct vg_slice list = in.types; list.len;)
        if (!fhir_type_find(vg_slice_trim(vg_slice_cut(&list, ','))))
            count = VG_SLICE("-"); /* refused below */
    if (!is_time(in.since) || !is_time(in.start) || !is_time(in.end) ||
        (count.len && (!vg_slice_to_u64(count, &number) || number == 0))) {
        fhir_job_outcome(job, 400, "value", (struct vg_slice){0},
                         "start, end and _since are times, _count a number above 0, _type names "
                         "of types");
        return;
    }
    if (count.len && number < in.count)
        in.count = (uint32_t)number;
    if (after.len) {
        row = after;
        type = fhir_type_find(vg_slice_cut(&row, '.'));
        if (!type) {
            fhir_job_outcome(job, 400, "value", (struct vg_slice){0},
                             "_after is not a page that was given out");
            return;
        }
    }
    st = engine->view_begin(job->store->self, &in.view, &err);
    if (st == VG_OK) {
        st = engine->current(in.view, job->type, job->id, &job->arena, &patient, &err);
        if (st == VG_OK && patient.key && !patient.is_deleted) {
            walk_all(&in, type, row);
            match_count = in.found_count;
            if (in.status == VG_OK)
                follow_all(&in);
            st = in.status;
        }
        engine->view_end(job->store->self, in.view);
    }
    if (st != VG_OK)
        fhir_job_failed(job, st, &in.issue, &err);
    else if (!patient.key || patient.is_deleted)
        fhir_job_outcome(job, patient.key ? 410 : 404, patient.key ? "deleted" : "not-found",
                         (struct vg_slice){0}, "there is no such patient");
    else
        send(&in, &args, match_count);
}
