/* stats.c -- Observation/$stats: what a patient's values of one code come to.
 *
 * As R4's operation says: subject, code (with system) or coding, period or duration (hours back
 * from now), statistic (many), include, limit. The answer is a Parameters with an Observation for
 * each code; its components are the statistics. Entered-in-error never counts; only valueQuantity
 * does, also those of components with the code. Values in different units are not thrown together:
 * each unit has an Observation of its own.
 */
#include "fhir/rest_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUES_MAX 200000u
#define CODES_MAX 20u
#define UNITS_MAX 8u

struct series {
    struct vg_slice unit, code, system;
    double *values;
    size_t count, capacity;
};

struct stats {
    struct fhir_job *job;
    struct vg_slice subject, code, system, period_start, period_end;
    struct series series[UNITS_MAX];
    size_t series_count, value_count, total_count;
    struct fhir_resource *sources;
    size_t source_count, source_max;
    enum vg_status status;
    struct vg_err *err;
};

static const struct {
    const char *code, *display;
} kinds[] = {
    {"average", "Average"},
    {"maximum", "Maximum"},
    {"minimum", "Minimum"},
    {"count", "Count"},
    {"total-count", "Total Count"},
    {"median", "Median"},
    {"std-dev", "Standard Deviation"},
    {"sum", "Sum"},
    {"variance", "Variance"},
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* ---- values in ---- */

static void take_value(struct stats *in, const struct vg_json *quantity)
{
    struct vg_slice code = vg_json_get_text(quantity, "code");
    struct vg_slice unit = vg_json_get_text(quantity, "unit");
    struct vg_slice key = code.len ? code : unit;
    struct series *series = NULL;
    double value, *grown;

    if (!vg_json_to_double(vg_json_get(quantity, "value"), &value))
        return;
    for (size_t i = 0; i < in->series_count && !series; i++)
        if (vg_slice_eq(in->series[i].code.len ? in->series[i].code : in->series[i].unit, key))
            series = &in->series[i];
    if (!series && in->series_count < UNITS_MAX) {
        series = &in->series[in->series_count++];
        series->unit = unit.len ? vg_arena_dup(&in->job->arena, unit) : unit;
        series->code = code.len ? vg_arena_dup(&in->job->arena, code) : code;
        series->system = vg_json_get_text(quantity, "system");
        if (series->system.len)
            series->system = vg_arena_dup(&in->job->arena, series->system);
    }
    if (!series) {
        in->status = vg_fail(in->err, VG_REJECT, "fhir.costly", 0,
                             "the values have more than %u different units", UNITS_MAX);
        return;
    }
    if (series->count == series->capacity) {
        size_t more = series->capacity ? series->capacity * 2 : 256;

        grown = vg_arena_alloc(&in->job->arena, more * sizeof(*grown));
        if (!grown) {
            in->status =
                vg_fail(in->err, VG_REJECT, "fhir.memory", 0, "no room for so many values");
            return;
        }
        if (series->count)
            memcpy(grown, series->values, series->count * sizeof(*grown));
        series->values = grown;
        series->capacity = more;
    }
    series->values[series->count++] = value;
    in->value_count++;
}

static bool has_code(const struct stats *in, const struct vg_json *concept)
{
    const struct vg_json *coding = vg_json_get(concept, "coding");

    for (coding = coding ? coding->child : NULL; coding; coding = coding->next)
        if (vg_slice_eq(vg_json_get_text(coding, "code"), in->code) &&
            (!in->system.len || vg_slice_eq(vg_json_get_text(coding, "system"), in->system)))
            return true;
    return false;
}

static void take_observation(struct stats *in, const struct fhir_resource *resource,
                             struct vg_arena *scratch)
{
    struct fhir_issue issue = {0};
    struct vg_json *root = NULL;
    const struct vg_json *component;

    in->status = fhir_parse(scratch, resource->body, &root, &issue, in->err);
    if (in->status != VG_OK)
        return;
    in->total_count++;
    if (has_code(in, vg_json_get(root, "code")))
        take_value(in, vg_json_get(root, "valueQuantity"));
    component = vg_json_get(root, "component");
    for (component = component ? component->child : NULL; component; component = component->next)
        if (has_code(in, vg_json_get(component, "code")))
            take_value(in, vg_json_get(component, "valueQuantity"));
    if (in->source_count < in->source_max)
        in->sources[in->source_count++] = *resource;
}

/* All pages of the search in one view: one picture. */
static enum vg_status collect(struct stats *in, void *view, struct fhir_issue *issue)
{
    struct fhir_job *job = in->job;
    unsigned type = fhir_type_find(VG_SLICE("Observation"));
    struct fhir_results results;
    struct vg_arena scratch;
    struct vg_slice query;
    struct vg_buf text;
    enum vg_status st = VG_OK;

    vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
    vg_buf_init(&text, 64u << 10);
    vg_buf_printf(&text, "subject=");
    vg_url_encode(&text, in->subject);
    vg_buf_printf(&text, "&combo-code=");
    if (in->system.len) {
        vg_url_encode(&text, in->system);
        vg_buf_printf(&text, "%%7C");
    }
    vg_url_encode(&text, in->code);
    if (in->period_start.len) {
        vg_buf_printf(&text, "&date=ge");
        vg_url_encode(&text, in->period_start);
    }
    if (in->period_end.len) {
        vg_buf_printf(&text, "&date=le");
        vg_url_encode(&text, in->period_end);
    }
    vg_buf_printf(&text, "&status:not=entered-in-error&_count=%u", FHIR_COUNT_MAX);
    query = vg_buf_slice(&text);
    while (st == VG_OK && query.len) {
        st = fhir_search_in(job->store, view, type, query, true, &job->arena, &results, issue,
                            in->err);
        for (size_t i = 0; st == VG_OK && i < results.match_count; i++) {
            vg_arena_reset(&scratch);
            take_observation(in, &results.resources[i], &scratch);
            st = in->status;
        }
        if (st == VG_OK && in->total_count > VALUES_MAX)
            st = fhir_refuse(issue, in->err, 400, "too-costly", (struct vg_slice){0},
                             "more than %u Observations: ask for a shorter period", VALUES_MAX);
        query = st == VG_OK ? results.next_query : (struct vg_slice){0};
    }
    vg_buf_fini(&text);
    vg_arena_fini(&scratch);
    return st;
}

/* ---- statistics out ---- */

static int by_value(const void *left, const void *right)
{
    double x = *(const double *)left, y = *(const double *)right;

    return x < y ? -1 : x > y;
}

/* False: there is no such number (the deviation of one value, say). */
static bool compute(const struct stats *in, const struct series *series, size_t kind, double *ret)
{
    const double *values = series->values;
    size_t n = series->count;
    double sum = 0, mean, squares = 0;

    for (size_t i = 0; i < n; i++)
        sum += values[i];
    mean = n ? sum / (double)n : 0;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    if (strcmp(kinds[kind].code, "count") == 0)
        *ret = (double)n;
    else if (strcmp(kinds[kind].code, "total-count") == 0)
        *ret = (double)in->total_count;
    else if (n == 0)
        return false;
    else if (strcmp(kinds[kind].code, "average") == 0)
        *ret = mean;
    else if (strcmp(kinds[kind].code, "maximum") == 0)
        *ret = values[n - 1];
    else if (strcmp(kinds[kind].code, "minimum") == 0)
        *ret = values[0];
    else if (strcmp(kinds[kind].code, "median") == 0)
        *ret = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    else if (strcmp(kinds[kind].code, "sum") == 0)
        *ret = sum;
    else if (n < 2)
        return false;
    else
        *ret = strcmp(kinds[kind].code, "variance") == 0 ? squares / (double)(n - 1)
                                                         : sqrt(squares / (double)(n - 1));
    return true;
}

static void write_component(struct vg_json_writer *w, const struct series *series, size_t kind,
                            double value)
{
    bool is_count = strstr(kinds[kind].code, "count") != NULL;

    vg_json_open_object(w);
    vg_json_name(w, "code");
    vg_json_open_object(w);
    vg_json_name(w, "coding");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(w, "system",
                          VG_SLICE("http://terminology.hl7.org/CodeSystem/observation-statistics"));
    vg_json_member_string(w, "code", vg_slice_of(kinds[kind].code));
    vg_json_member_string(w, "display", vg_slice_of(kinds[kind].display));
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
    vg_json_name(w, "valueQuantity");
    vg_json_open_object(w);
    /* Ten digits are more than any of the values had; the last bits of a double are noise. */
    char digits[40];

    (void)snprintf(digits, sizeof(digits), "%.10g", value);
    vg_json_member_raw(w, "value", vg_slice_of(digits));
    if (!is_count && series->unit.len)
        vg_json_member_string(w, "unit", series->unit);
    if (!is_count && series->code.len) {
        vg_json_member_string(w, "system",
                              series->system.len ? series->system
                                                 : VG_SLICE("http://unitsofmeasure.org"));
        vg_json_member_string(w, "code", series->code);
    }
    vg_json_close_object(w);
    vg_json_close_object(w);
}

static void write_observation(struct vg_json_writer *w, struct stats *in, struct series *series,
                              const bool wanted[static KIND_COUNT])
{
    if (series->count)
        qsort(series->values, series->count, sizeof(double), by_value);
    vg_json_open_object(w);
    vg_json_member_string(w, "name", VG_SLICE("statistics"));
    vg_json_name(w, "resource");
    vg_json_open_object(w);
    vg_json_member_string(w, "resourceType", VG_SLICE("Observation"));
    vg_json_member_string(w, "status", VG_SLICE("final"));
    vg_json_name(w, "code");
    vg_json_open_object(w);
    vg_json_name(w, "coding");
    vg_json_open_array(w);
    vg_json_open_object(w);
    if (in->system.len)
        vg_json_member_string(w, "system", in->system);
    vg_json_member_string(w, "code", in->code);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
    vg_json_name(w, "subject");
    vg_json_open_object(w);
    vg_json_member_string(w, "reference", in->subject);
    vg_json_close_object(w);
    if (in->period_start.len || in->period_end.len) {
        vg_json_name(w, "effectivePeriod");
        vg_json_open_object(w);
        if (in->period_start.len)
            vg_json_member_string(w, "start", in->period_start);
        if (in->period_end.len)
            vg_json_member_string(w, "end", in->period_end);
        vg_json_close_object(w);
    }
    bool is_open = false;
    double value;

    for (size_t kind = 0; kind < KIND_COUNT; kind++) {
        if (!wanted[kind] || !compute(in, series, kind, &value))
            continue;
        if (!is_open) {
            vg_json_name(w, "component");
            vg_json_open_array(w);
        }
        is_open = true;
        write_component(w, series, kind, value);
    }
    if (is_open)
        vg_json_close_array(w);
    vg_json_close_object(w);
    vg_json_close_object(w);
}

/* ---- what is asked ---- */

/* "average,maximum", or the parameter several times; with the system or without. */
static bool take_kinds(const struct fhir_args *args, bool wanted[static KIND_COUNT])
{
    bool has_any = false;

    for (size_t i = 0; i < args->count; i++) {
        struct vg_slice list = args->items[i].text;

        if (!vg_slice_is(args->items[i].name, "statistic"))
            continue;
        while (list.len) {
            struct vg_slice one = vg_slice_trim(vg_slice_cut(&list, ','));
            bool is_known = false;

            for (size_t kind = 0; kind < KIND_COUNT; kind++) {
                bool is_this = vg_slice_is(one, kinds[kind].code);

                wanted[kind] |= is_this;
                is_known |= is_this;
            }
            if (!is_known)
                return false;
            has_any = true;
        }
    }
    return has_any;
}

static bool take_code(const struct fhir_arg *arg, struct vg_slice system, struct stats *in)
{
    struct vg_slice rest = arg->text;

    if (vg_slice_is(arg->name, "coding") && arg->value) {
        in->system = vg_json_get_text(arg->value, "system");
        in->code = vg_json_get_text(arg->value, "code");
        return in->code.len > 0;
    }
    if (!vg_slice_is(arg->name, "code") && !vg_slice_is(arg->name, "coding"))
        return false;
    in->system = system;
    in->code = rest;
    if (rest.len && memchr(rest.ptr, '|', rest.len)) {
        in->system = vg_slice_cut(&rest, '|');
        in->code = rest;
    }
    return in->code.len > 0;
}

/* The time that is looked at: period, or duration hours back from now. */
static bool take_period(struct fhir_job *job, const struct fhir_args *args, struct stats *in)
{
    const struct fhir_arg *period = fhir_arg_find(args, "period");
    struct vg_slice hours = fhir_arg_text(args, "duration"), rest;
    char text[VG_TIME_TEXT_SIZE];
    double number;

    if (hours.len) {
        if (!vg_slice_to_double(hours, &number) || number <= 0 || number > 1e6)
            return false;
        (void)vg_time_format(vg_now_us() - (int64_t)(number * 3.6e9), 3, text);
        in->period_start = vg_arena_dup(&job->arena, vg_slice_of(text));
        (void)vg_time_format(vg_now_us(), 3, text);
        in->period_end = vg_arena_dup(&job->arena, vg_slice_of(text));
        return in->period_start.ptr && in->period_end.ptr;
    }
    if (period && period->value) {
        in->period_start = vg_json_get_text(period->value, "start");
        in->period_end = vg_json_get_text(period->value, "end");
    } else if (period) {
        rest = period->text;
        in->period_start = vg_slice_cut(&rest, ','); /* START,END in an address */
        in->period_end = rest;
    }
    return true;
}

static void refuse(struct fhir_job *job, const char *why)
{
    fhir_job_outcome(job, 400, "required", (struct vg_slice){0}, why);
}

void fhir_run_stats(struct fhir_job *job)
{
    struct fhir_engine const *engine = job->store->engine;
    bool wanted[KIND_COUNT] = {false}, wants_sources;
    struct fhir_args args;
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct stats in = {.job = job, .err = &err};
    struct vg_json_writer w;
    struct vg_slice subject, system;
    uint64_t limit = 100;
    void *view = NULL;
    size_t code_count = 0;
    enum vg_status st = fhir_job_args(job, &args, &issue, &err);

    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    subject = fhir_arg_text(&args, "subject");
    system = fhir_arg_text(&args, "system");
    subject = fhir_reference_plain(subject, job->store->base_url);
    if (subject.len && !memchr(subject.ptr, '/', subject.len))
        subject = vg_arena_printf(&job->arena, "Patient/%.*s", VG_FMT(subject));
    if (!subject.len) {
        refuse(job, "$stats needs a subject");
        return;
    }
    if (!take_kinds(&args, wanted)) {
        refuse(job, "statistic is needed: average, maximum, minimum, count, total-count, median, "
                    "std-dev, sum or variance");
        return;
    }
    in.subject = subject;
    wants_sources = vg_slice_is(fhir_arg_text(&args, "include"), "true");
    if (!take_period(job, &args, &in) ||
        (fhir_arg_text(&args, "limit").len &&
         !vg_slice_to_u64(fhir_arg_text(&args, "limit"), &limit))) {
        refuse(job, "duration is hours, period a start and an end, limit a number");
        return;
    }
    in.source_max = wants_sources ? (limit < FHIR_COUNT_MAX ? limit : FHIR_COUNT_MAX) : 0;
    in.sources = vg_arena_alloc(&job->arena, (in.source_max + 1) * sizeof(*in.sources));
    st = in.sources ? engine->view_begin(job->store->self, &view, &err)
                    : vg_fail(&err, VG_RETRY, "fhir.memory", 0, "no room");
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    vg_json_writer_init(&w, &job->out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Parameters"));
    vg_json_name(&w, "parameter");
    vg_json_open_array(&w);
    for (size_t i = 0; i < args.count && st == VG_OK && code_count < CODES_MAX; i++) {
        if (!take_code(&args.items[i], system, &in))
            continue;
        code_count++;
        in.series_count = in.total_count = 0;
        memset(in.series, 0, sizeof(in.series));
        st = collect(&in, view, &issue);
        for (size_t n = 0; n < in.series_count && st == VG_OK; n++)
            write_observation(&w, &in, &in.series[n], wanted);
        if (in.series_count == 0 && st == VG_OK)
            write_observation(&w, &in, &in.series[0], wanted);
    }
    engine->view_end(job->store->self, view);
    for (size_t i = 0; i < in.source_count && st == VG_OK; i++) {
        vg_json_open_object(&w);
        vg_json_member_string(&w, "name", VG_SLICE("source"));
        vg_json_member_raw(&w, "resource", in.sources[i].body);
        vg_json_close_object(&w);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    job->http_status = 200;
    if (st != VG_OK)
        fhir_job_failed(job, st, &issue, &err);
    else if (code_count == 0)
        refuse(job, "$stats needs a code (with system), or a coding");
}
