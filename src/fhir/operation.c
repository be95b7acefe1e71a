/* operation.c -- $validate, and the members of a compartment.
 *
 * $validate answers 200 with an OperationOutcome also when the resource is invalid: 4xx means that
 * it could not be validated at all.
 */
#include "fhir/rest_int.h"

#include <stdio.h>

/* ---- $validate ---- */

struct findings {
    struct vg_json_writer w;
    size_t count;
};

static void find(struct findings *all, const char *severity, const char *code,
                 struct vg_slice expression, struct vg_slice text)
{
    vg_json_open_object(&all->w);
    vg_json_member_string(&all->w, "severity", vg_slice_of(severity));
    vg_json_member_string(&all->w, "code", vg_slice_of(code));
    if (text.len)
        vg_json_member_string(&all->w, "diagnostics", text);
    if (expression.len) {
        vg_json_name(&all->w, "expression");
        vg_json_open_array(&all->w);
        vg_json_put_string(&all->w, expression);
        vg_json_close_array(&all->w);
    }
    vg_json_close_object(&all->w);
    all->count++;
}

/* What the mode asks beside the resource itself. */
static void check_mode(struct fhir_job *job, struct findings *all, struct vg_slice mode,
                       const struct vg_json *resource)
{
    struct vg_slice id = vg_json_get_text(resource, "id");
    const char *interaction = vg_slice_is(mode, "create")   ? "create"
                              : vg_slice_is(mode, "update") ? "update"
                              : vg_slice_is(mode, "delete") ? "delete"
                                                            : NULL;

    if (!interaction)
        return;
    if (!fhir_policy_allows(job->type, interaction))
        find(all, "error", "not-supported", (struct vg_slice){0},
             VG_SLICE("resources of this type are not changed by clients"));
    if (vg_slice_is(mode, "update") && id.len == 0)
        find(all, "error", "required", VG_SLICE("id"), VG_SLICE("an update needs the id"));
    else if (vg_slice_is(mode, "update") && job->id.len && !vg_slice_eq(id, job->id))
        find(all, "error", "value", VG_SLICE("id"),
             VG_SLICE("the id in the body is not the id in the address"));
}

static enum vg_status check_resource(struct fhir_job *job, struct findings *all,
                                     const struct vg_json *resource, struct vg_slice profile,
                                     struct vg_err *err)
{
    struct fhir_problems problems = {0};
    enum vg_status st;

    if (!vg_slice_is(vg_json_get_text(resource, "resourceType"), fhir_type_name(job->type))) {
        find(all, "error", "invalid", VG_SLICE("resourceType"),
             VG_SLICE("resourceType must be as in the address"));
        return VG_OK;
    }
    st = fhir_validate(&job->arena, job->type, resource, profile, &problems, err);
    for (size_t i = 0; i < problems.count && st == VG_OK; i++)
        find(all, problems.items[i].severity, problems.items[i].code, problems.items[i].expression,
             problems.items[i].text);
    return st;
}

/* The resource to be looked at: in the body, inside Parameters, or the stored one. */
static enum vg_status take_resource(struct fhir_job *job, struct fhir_args *args,
                                    const struct vg_json **ret_resource, struct fhir_issue *issue,
                                    struct vg_err *err)
{
    const char *type = fhir_type_name(job->type);
    struct vg_json *root = NULL;
    struct vg_slice body = job->body;
    struct fhir_resource stored;
    const struct fhir_arg *arg;
    enum vg_status st = VG_OK;

    if (body.len) {
        st = fhir_parse(&job->arena, body, &root, issue, err);
        if (st != VG_OK)
            return st;
        /* Parameters are what they carry, but for Parameters/$validate itself. */
        if (!vg_slice_is(vg_json_get_text(root, "resourceType"), "Parameters") ||
            strcmp(type, "Parameters") == 0)
            job->body = (struct vg_slice){0};
    }
    st = fhir_job_args(job, args, issue, err);
    arg = st == VG_OK ? fhir_arg_find(args, "resource") : NULL;
    *ret_resource = job->body.len ? (arg ? arg->value : NULL) : root;
    if (st != VG_OK || *ret_resource)
        return st;
    if (!job->id.len)
        return fhir_refuse(issue, err, 400, "required", (struct vg_slice){0},
                           "a resource is needed, in the body or in Parameters");
    st = fhir_read(job->store, vg_slice_of(type), job->id, 0, &job->arena, &stored, err);
    if (st == VG_END || (st == VG_OK && stored.is_deleted))
        return fhir_refuse(issue, err, st == VG_END ? 404 : 410,
                           st == VG_END ? "not-found" : "deleted", (struct vg_slice){0},
                           "there is no such resource");
    if (st == VG_OK)
        st = fhir_parse(&job->arena, stored.body, &root, issue, err);
    *ret_resource = root;
    return st;
}

void fhir_run_validate(struct fhir_job *job)
{
    struct fhir_args args = {0};
    struct findings all = {0};
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    const struct vg_json *resource = NULL;
    struct vg_slice mode, profile;
    enum vg_status st = take_resource(job, &args, &resource, &issue, &err);

    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    mode = fhir_arg_text(&args, "mode");
    profile = fhir_arg_text(&args, "profile");
    if (mode.len && !vg_slice_is(mode, "create") && !vg_slice_is(mode, "update") &&
        !vg_slice_is(mode, "delete") && !vg_slice_is(mode, "profile")) {
        fhir_job_outcome(job, 400, "value", (struct vg_slice){0},
                         "mode is create, update, delete or profile");
        return;
    }
    vg_json_writer_init(&all.w, &job->out);
    vg_json_open_object(&all.w);
    vg_json_member_string(&all.w, "resourceType", VG_SLICE("OperationOutcome"));
    vg_json_name(&all.w, "issue");
    vg_json_open_array(&all.w);
    check_mode(job, &all, mode, resource);
    if (!vg_slice_is(mode, "delete"))
        st = check_resource(job, &all, resource, profile, &err);
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    if (all.count == 0)
        find(&all, "information", "informational", (struct vg_slice){0},
             VG_SLICE("no issues were found"));
    vg_json_close_array(&all.w);
    vg_json_close_object(&all.w);
    job->http_status = 200;
}
