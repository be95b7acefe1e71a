/* debugger.c -- what two mappings make of messages, with nothing stored.
 *
 * The document's form is fixed (docs/mapping.md). An error's `type` is the name that the reference
 * engine has for it; line, column and path say where in the mapping the expression stands, or where
 * in the message its JSON ends to be JSON; line and column are -1 where there is no such place.
 *
 * Threads: the caller's.
 */
#include "connector/debugger.h"

#include "connector/device_mapping.h"
#include "connector/group.h"
#include "connector/value.h"

#include <stdio.h>

#define MESSAGE_BYTES_MAX (64u << 20)

struct debugger {
    struct mapping_errors device, fhir;
    struct mapping_errors warnings; /* their places are in the device mapping */
    const struct device_mapping *device_mapping;
    const struct fhir_mapping *fhir_mapping;
    struct vg_arena arena; /* of one message */
};

static const struct {
    const char *code, *normalizing, *converting;
} types[] = {
    {"connector.json", "InvalidDataFormatException", NULL},
    {"connector.missing_value", "IncompatibleDataException", NULL},
    {"connector.wrong_type", "IncompatibleDataException", NULL},
    {"connector.ambiguous", "TemplateExpressionException", NULL},
    {"connector.no_template", NULL, "TemplateNotFoundException"},
    {"connector.quantity", NULL, "InvalidQuantityFhirValueException"},
    {"connector.correlation", NULL, "CorrelationIdNotDefinedException"},
};

static const char *type_of(const char *code, bool is_converting)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const char *type = is_converting ? types[i].converting : types[i].normalizing;

        if (type && strcmp(code, types[i].code) == 0)
            return type;
    }
    return is_converting ? "FhirDataMappingException" : "NormalizationDataMappingException";
}

/* ---- checking ---- */

static void list_values(const struct fhir_template *t, struct vg_buf *out)
{
    vg_buf_printf(out, "%.*s", VG_FMT(t->value.name));
    for (uint32_t i = 0; i < t->component_count; i++)
        vg_buf_printf(out, "%s%.*s", out->len ? ", " : "", VG_FMT(t->components[i].value.name));
}

/* The reference looks at the components alone where there are any, and warns of the value's name.
 */
static bool has_value(const struct fhir_template *t, struct vg_slice name)
{
    if (!(t->is_medtech && t->component_count > 0) && t->value.type != FHIR_VALUE_NONE &&
        vg_slice_eq(t->value.name, name))
        return true;
    for (uint32_t i = 0; i < t->component_count; i++)
        if (vg_slice_eq(t->components[i].value.name, name))
            return true;
    return false;
}

/* What the device mapping makes and the FHIR mapping has no place for. */
static void check_against(void *ctx, struct vg_slice type_name, struct vg_slice value_name,
                          const struct vg_json *at)
{
    struct debugger *d = ctx;
    const struct fhir_template *t = fhir_mapping_find(d->fhir_mapping, type_name);
    struct vg_buf list;

    vg_buf_init(&list, 0);
    if (!t && !value_name.ptr) {
        for (t = fhir_mapping_first(d->fhir_mapping); t; t = t->next)
            vg_buf_printf(&list, "%s%.*s", list.len ? ", " : "", VG_FMT(t->type_name));
        if (list.len == 0)
            vg_buf_put(&list, VG_SLICE("none"));
        mapping_error_add(&d->warnings, at,
                          "the FHIR mapping has no template for type '%.*s'; it has: %.*s",
                          VG_FMT(type_name), VG_FMT(vg_buf_slice(&list)));
    } else if (t && value_name.ptr && !has_value(t, value_name)) {
        list_values(t, &list);
        if (list.len == 0)
            vg_buf_put(&list, VG_SLICE("none"));
        mapping_error_add(&d->warnings, at,
                          "the FHIR mapping's template '%.*s' does not use the value '%.*s'; it "
                          "uses: %.*s",
                          VG_FMT(type_name), VG_FMT(value_name), VG_FMT(vg_buf_slice(&list)));
    }
    vg_buf_fini(&list);
}

struct debugger *debugger_open(struct vg_arena *arena, struct vg_slice device, struct vg_slice fhir,
                               bool is_medtech, size_t *ret_errors)
{
    struct debugger *d = vg_arena_alloc(arena, sizeof(*d));
    size_t count = 0;

    if (!d)
        return NULL;
    d->device = (struct mapping_errors){.arena = arena, .source = device, .is_medtech = is_medtech};
    d->fhir = (struct mapping_errors){.arena = arena, .source = fhir, .is_medtech = is_medtech};
    vg_arena_init(&d->arena, MESSAGE_BYTES_MAX);
    if (device.ptr && device_mapping_load(&d->device, &d->device_mapping, NULL) != VG_OK)
        count += d->device.count ? d->device.count : 1;
    if (fhir.ptr && fhir_mapping_load(&d->fhir, &d->fhir_mapping, NULL) != VG_OK)
        count += d->fhir.count ? d->fhir.count : 1;
    d->warnings = (struct mapping_errors){.arena = arena, .source = d->device.source};
    if (count == 0 && d->device_mapping && d->fhir_mapping)
        device_mapping_each(d->device_mapping, check_against, d);
    *ret_errors = count;
    return d;
}

void debugger_close(struct debugger *d)
{
    if (d)
        vg_arena_fini(&d->arena);
}

void debugger_findings(const struct debugger *d, debugger_see *see, void *ctx)
{
    const struct mapping_errors *const lists[] = {&d->device, &d->fhir, &d->warnings};

    for (size_t i = 0; i < 3; i++)
        for (const struct mapping_error *e = lists[i]->first; e; e = e->next) {
            const struct debugger_finding finding = {i == 2, i == 1, e->line, e->column, e->text};

            see(ctx, &finding);
        }
}

/* ---- writing ---- */

static void put_error(struct vg_json_writer *w, const char *type, struct vg_slice message,
                      struct vg_json_place place, const struct vg_json *at)
{
    struct vg_buf path;

    vg_buf_init(&path, 0);
    mapping_path(at, &path);
    vg_json_open_object(w);
    if (type)
        vg_json_member_string(w, "type", vg_slice_of(type));
    vg_json_member_string(w, "message", message);
    vg_json_member_i64(w, "line", place.line ? (int64_t)place.line : -1);
    vg_json_member_i64(w, "column", place.line ? (int64_t)place.column : -1);
    vg_json_member_string(w, "path", path.len ? vg_buf_slice(&path) : VG_SLICE(""));
    vg_json_close_object(w);
    vg_buf_fini(&path);
}

static void put_all(const struct mapping_errors *errors, struct vg_json_writer *w)
{
    for (const struct mapping_error *e = errors->first; e; e = e->next)
        put_error(w, "InvalidTemplateException", e->text,
                  (struct vg_json_place){e->line, e->column}, e->at);
}

void debugger_write_errors(const struct debugger *d, struct vg_json_writer *w)
{
    put_all(&d->device, w);
    put_all(&d->fhir, w);
}

void debugger_write_warnings(const struct debugger *d, struct vg_json_writer *w)
{
    if (!d->warnings.first)
        return;
    vg_json_name(w, "templateWarnings");
    vg_json_open_array(w);
    for (const struct mapping_error *e = d->warnings.first; e; e = e->next)
        put_error(w, NULL, e->text, (struct vg_json_place){e->line, e->column}, e->at);
    vg_json_close_array(w);
}

static void put_time(struct vg_json_writer *w, const char *name, int64_t time_us, unsigned tenths)
{
    char text[40];

    vg_json_member_string(w, name,
                          (struct vg_slice){text, value_ticks_text(time_us, tenths, text)});
}

static void put_text(struct vg_json_writer *w, const char *name, struct vg_slice text)
{
    if (text.ptr)
        vg_json_member_string(w, name, text);
}

static void put_measurement(struct vg_json_writer *w, const struct measurement *m, bool is_received)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "type", m->type);
    put_time(w, "occurrenceTimeUtc", m->occurrence_us, m->occurrence_tenths);
    if (is_received)
        put_time(w, "ingestionTimeUtc", m->ingestion_us, 0);
    put_text(w, "deviceId", m->device_id);
    put_text(w, "patientId", m->patient_id);
    put_text(w, "encounterId", m->encounter_id);
    put_text(w, "correlationId", m->correlation_id);
    vg_json_name(w, "properties");
    vg_json_open_array(w);
    for (const struct measurement_value *v = m->values; v; v = v->next) {
        vg_json_open_object(w);
        vg_json_member_string(w, "name", v->name);
        vg_json_member_string(w, "value", v->text);
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    vg_json_close_object(w);
}

/* ---- one message ---- */

struct outcome {
    struct measurement *first;
    struct device_mapping_error *errors;
    struct vg_err why; /* code not NULL: the message as a whole cannot be read, and where */
    struct vg_json_place place;
    bool is_received; /* the envelope says when */
};

/* The message's JSON. Never deeper than the reader allows; lenient as the connector itself. */
static struct vg_json *read_message(struct debugger *d, struct vg_slice text, bool is_envelope,
                                    struct device_envelope *envelope, struct outcome *o)
{
    const struct vg_json_options options = device_mapping_json(d->device_mapping);
    struct vg_json *root = NULL;
    struct vg_err why = {0};

    if (vg_slice_starts(text, VG_SLICE("\xef\xbb\xbf")))
        text = vg_slice_from(text, 3);
    if ((text.len > 0 || is_envelope) &&
        vg_json_parse(&d->arena, text, &options, &root, &o->place, &why) != VG_OK) {
        (void)vg_fail(&o->why, VG_REJECT, "connector.json", 0, "message is not JSON: %s", why.text);
        return NULL;
    }
    if (!is_envelope)
        return device_envelope_build(d->device_mapping, &d->arena, text, NULL, 0, NULL, 0, envelope,
                                     &o->why) == VG_OK
                   ? &envelope->root
                   : NULL;
    if (root->type == VG_JSON_OBJECT)
        return root;
    (void)vg_fail(&o->why, VG_REJECT, "connector.json", 0,
                  "expected an envelope: an object with Body, Properties and SystemProperties");
    o->place = (struct vg_json_place){1, 1};
    return NULL;
}

static void normalize(struct debugger *d, struct vg_slice text, bool is_envelope, struct outcome *o)
{
    static const char *const times[] = {"iothub-enqueuedtime", "x-opt-enqueued-time"};
    struct measurement **tail = &o->first;
    struct device_mapping_error **error_tail = &o->errors;
    struct device_envelope envelope;
    struct vg_json *root = read_message(d, text, is_envelope, &envelope, o);
    const struct vg_json *system = vg_json_get(root, "SystemProperties");
    int64_t received_us = 0;

    if (!root)
        return;
    for (size_t i = 0; i < 2 && !o->is_received; i++)
        o->is_received =
            value_time(vg_json_get(system, times[i]), d->device.is_medtech, &received_us, NULL);
    if (device_mapping_apply(d->device_mapping, root, &d->arena, &tail, &error_tail, &o->why) !=
        VG_REJECT)
        o->why = (struct vg_err){0};
    if (o->errors)
        o->why.code = NULL; /* told there, each with its place */
    for (struct measurement *m = o->first; m; m = m->next)
        m->ingestion_us = received_us;
}

/* The Observation of `m` alone, as JSON in the arena; ptr NULL: *err says why not. */
static struct vg_slice convert(struct debugger *d, const struct measurement *m, struct vg_err *err)
{
    const struct fhir_template *t = fhir_mapping_find(d->fhir_mapping, m->type);
    struct group_table table = {0};
    struct vg_slice json = {0};
    struct observation *o;
    struct vg_buf buf;
    bool is_new;

    if (!t) {
        (void)vg_fail(err, VG_REJECT, "connector.no_template", 0,
                      "the FHIR mapping has no template for type '%.*s'", VG_FMT(m->type));
        return json;
    }
    if (group_open(&table, &d->arena, t, m, VG_SLICE(""), VG_SLICE(""), &o, &is_new, err) !=
            VG_OK ||
        observation_add(o, &d->arena, m, err) != VG_OK)
        return json;
    vg_buf_init(&buf, MESSAGE_BYTES_MAX);
    observation_write(o, &buf);
    if (vg_buf_ok(&buf))
        json = vg_arena_dup(&d->arena, vg_buf_slice(&buf));
    vg_buf_fini(&buf);
    if (!json.ptr)
        (void)vg_fail(err, VG_REJECT, "connector.memory", 0,
                      "Observation of type '%.*s' needs too much memory", VG_FMT(m->type));
    return json;
}

#define PLACES 64

/* Where an expression stands. A message may fail on few of them very often, and each look is at the
 * whole file. */
static struct vg_json_place place_of(const struct debugger *d, const struct vg_json *at,
                                     const struct vg_json *known[static PLACES],
                                     struct vg_json_place places[static PLACES])
{
    size_t slot = ((uintptr_t)at / sizeof(*at)) % PLACES;

    if (known[slot] != at) {
        known[slot] = at;
        places[slot] = vg_json_place_of(d->device.source, at->source.ptr);
    }
    return places[slot];
}

static size_t put_errors(struct debugger *d, struct vg_json_writer *w, const struct outcome *o)
{
    const struct vg_json *known[PLACES] = {0};
    struct vg_json_place places[PLACES];
    size_t count = o->why.code != NULL;

    if (o->why.code)
        put_error(w, type_of(o->why.code, false), vg_slice_of(o->why.text), o->place, NULL);
    for (const struct device_mapping_error *e = o->errors; e; e = e->next, count++)
        if (vg_buf_ok(w->out)) /* else the document is too large, whatever follows */
            put_error(w, type_of(e->why.code, false), vg_slice_of(e->why.text),
                      place_of(d, e->at, known, places), e->at);
    for (const struct measurement *m = d->fhir_mapping ? o->first : NULL; m && vg_buf_ok(w->out);
         m = m->next) {
        struct vg_err why = {0};

        if (convert(d, m, &why).ptr)
            continue;
        put_error(w, type_of(why.code, true), vg_slice_of(why.text), (struct vg_json_place){0, 0},
                  NULL);
        count++;
    }
    return count;
}

size_t debugger_test(struct debugger *d, struct vg_slice name, struct vg_slice text,
                     bool is_envelope, struct vg_json_writer *w)
{
    struct outcome o = {0};
    size_t count;

    vg_arena_reset(&d->arena);
    normalize(d, text, is_envelope, &o);
    vg_json_open_object(w);
    vg_json_member_string(w, "message", name);
    vg_json_name(w, "measurements");
    vg_json_open_array(w);
    for (const struct measurement *m = o.first; m; m = m->next)
        put_measurement(w, m, o.is_received);
    vg_json_close_array(w);
    vg_json_name(w, "observations");
    vg_json_open_array(w);
    for (const struct measurement *m = d->fhir_mapping ? o.first : NULL; m; m = m->next) {
        struct vg_slice json = convert(d, m, NULL);

        if (json.ptr)
            vg_json_put_raw(w, json);
    }
    vg_json_close_array(w);
    vg_json_name(w, "errors");
    vg_json_open_array(w);
    count = put_errors(d, w, &o);
    vg_json_close_array(w);
    if (!o.first && count == 0) {
        vg_json_name(w, "warnings");
        vg_json_open_array(w);
        vg_json_open_object(w);
        vg_json_member_string(w, "message", VG_SLICE("no measurements: no template matches"));
        vg_json_close_object(w);
        vg_json_close_array(w);
    }
    vg_json_close_object(w);
    return count;
}
