/* observation.c -- one Observation in the making: measurements are added, the text is written.
 *
 * An instant (the usual template) has effectiveDateTime and one value or some components. A
 * template with a period (hour, day, correlation id) has effectivePeriod; its SampledData gathers
 * samples in slots, its other values keep the newest.
 *
 * `issued` is when the newest reading was received, not when it was written: the same readings give
 * the same bytes at any time. What a period's values cannot say themselves, when exactly each was
 * measured, is kept in an extension (OBSERVATION_MEASURED: name, and times in microseconds: of a
 * SampledData its samples' distances from their slots, else the one time; and, where it was not
 * last, when it was received), so that after a restart, too, a late reading does not replace a
 * newer one. It is left out where it says nothing.
 *
 * What others have added to a stored Observation (a note, an interpretation, a tag) stays.
 *
 * `status` is final, and amended once a second reading has said something else, or more: also one
 * that came too late to change a value, so that the order in which they came does not matter. (What
 * still depends on it: which of two samples of a SampledData counts that were measured in the same
 * microsecond. The one that is added later, when it was received later than all before.)
 *
 * Threads: the stage's own only.
 */
#include "connector/observation.h"

#include "base/clock.h"
#include "connector/put_int.h"
#include "connector/value.h"
#include "connector/value_rules.h"

#include <math.h>
#include <stdio.h>

static const struct fhir_value *value_of(const struct fhir_template *t, uint32_t index)
{
    return index == 0 ? &t->value : &t->components[index - 1].value;
}

struct observation *observation_new(struct vg_arena *arena, const struct fhir_template *t)
{
    struct observation *o = vg_arena_alloc(arena, sizeof(*o));

    if (!o)
        return NULL;
    o->template = t;
    o->issued_us = INT64_MIN; /* = nothing added so far */
    o->properties = vg_arena_alloc(arena, sizeof(*o->properties) * (t->component_count + 1));
    return o->properties ? o : NULL;
}

/* An instant of the reference is a second: readings of one second share an Observation. */
static bool is_second(const struct fhir_template *t)
{
    return t->is_medtech && t->interval == FHIR_INTERVAL_INSTANT;
}

static int64_t floor_to(int64_t value, int64_t step)
{
    int64_t rest = value % step;

    return value - (rest < 0 ? rest + step : rest);
}

/* ---- adding ---- */

static bool is_later(const struct measurement *m, int64_t old_us, int64_t old_received_us,
                     struct vg_slice old, struct vg_slice new)
{
    if (m->occurrence_us != old_us)
        return m->occurrence_us > old_us;
    if (m->ingestion_us != old_received_us)
        return m->ingestion_us > old_received_us;
    return vg_slice_cmp(new, old) >
           0; /* any fixed rule: two readings of one instant, received in one */
}

static enum vg_status no_memory(struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, "connector.memory", 0, "Observation needs too much memory");
}

/* The index of the first sample in the slot of `time_us`, or where it would stand. */
static uint32_t find_slot(const struct observation_property *p, int64_t slot_us)
{
    uint32_t low = 0, high = p->sample_count;

    if (high > 0 && p->samples[high - 1].time_us < slot_us)
        return high; /* the usual case: newer than all */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (p->samples[middle].time_us < slot_us)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool add_sample(struct vg_arena *arena, struct observation_property *p, uint32_t at,
                       struct observation_sample sample)
{
    if (p->sample_count == p->sample_capacity) {
        uint32_t capacity = p->sample_capacity ? p->sample_capacity * 2 : 16;
        struct observation_sample *grown = vg_arena_alloc(arena, sizeof(*grown) * capacity);

        if (!grown)
            return false;
        if (p->sample_count)
            memcpy(grown, p->samples, sizeof(*grown) * p->sample_count);
        p->samples = grown;
        p->sample_capacity = capacity;
    }
    memmove(p->samples + at + 1, p->samples + at, sizeof(*p->samples) * (p->sample_count - at));
    p->samples[at] = sample;
    p->sample_count++;
    return true;
}

static bool put_sample(struct observation *o, struct vg_arena *arena,
                       struct observation_property *p, const struct fhir_value *v,
                       const struct measurement *m, struct vg_slice text, bool *ret_changed)
{
    int64_t first_us = o->start_us;
    int64_t slot_us = first_us + floor_to(m->occurrence_us - first_us, v->period_us);
    uint32_t at = find_slot(p, slot_us);
    struct observation_sample *old = at < p->sample_count ? &p->samples[at] : NULL;

    if (old && old->time_us < slot_us + v->period_us) {
        if (vg_slice_eq(old->text, text) && old->time_us == m->occurrence_us)
            return true;
        if (!is_later(m, old->time_us, o->issued_us, old->text, text))
            return true;
        *old = (struct observation_sample){m->occurrence_us, text};
        *ret_changed = true;
        return true;
    }
    *ret_changed = true;
    return add_sample(arena, p, at, (struct observation_sample){m->occurrence_us, text});
}

/* What the Observation is to hold of a property; text.ptr NULL: nothing. */
struct content {
    struct vg_slice text;
    bool is_absent;
};

static enum vg_status convert_number(struct vg_arena *arena, const struct fhir_value *v,
                                     const struct measurement *m, struct vg_slice text,
                                     struct content *ret, struct vg_err *err)
{
    const char *reason = NULL;
    struct vg_slice number;
    char out[40];

    switch (value_rules_apply(v, text, out, &number, &reason)) {
    case VALUE_NUMBER:
        ret->text = vg_slice_eq(number, text) ? text : vg_arena_dup(arena, number);
        break;
    case VALUE_ABSENT:
        *ret = (struct content){vg_slice_of(reason), true};
        break;
    case VALUE_NOT_A_NUMBER:
        return vg_fail(err, VG_REJECT, "connector.quantity", 0,
                       "value '%.*s' of type '%.*s': expected a decimal number", VG_FMT(v->name),
                       VG_FMT(m->type));
    case VALUE_OUTSIDE:
        return vg_fail(err, VG_REJECT, "connector.limits", 0,
                       "value '%.*s' of type '%.*s': beyond the limits of the FHIR mapping",
                       VG_FMT(v->name), VG_FMT(m->type));
    }
    return ret->text.ptr ? VG_OK : no_memory(err);
}

/* VG_END: there is nothing to hold. */
static enum vg_status convert(struct vg_arena *arena, const struct fhir_value *v,
                              const struct measurement *m, struct content *ret, struct vg_err *err)
{
    const struct measurement_value *found =
        v->type == FHIR_VALUE_NONE ? NULL : measurement_get(m, v->name);

    if (!found)
        return VG_END;
    /* For the reference an empty text is no number and a text: it is there. */
    if (v->type != FHIR_VALUE_CONCEPT && measurement_is_blank(found->text) &&
        !(v->is_medtech && v->type == FHIR_VALUE_QUANTITY))
        return VG_END;
    switch (v->type) {
    case FHIR_VALUE_NONE:
        break;
    case FHIR_VALUE_CONCEPT:
        ret->text = VG_SLICE("");
        break;
    case FHIR_VALUE_STRING:
        for (size_t i = 0; i < found->text.len; i++)
            if ((unsigned char)found->text.ptr[i] < 32 && !strchr("\t\r\n", found->text.ptr[i]))
                return vg_fail(err, VG_REJECT, "connector.text", 0,
                               "value '%.*s' of type '%.*s': a text with control characters",
                               VG_FMT(v->name), VG_FMT(m->type));
        ret->text = found->text;
        break;
    case FHIR_VALUE_QUANTITY:
    case FHIR_VALUE_SAMPLED:
        return convert_number(arena, v, m, found->text, ret, err);
    }
    return VG_OK;
}

static enum vg_status check_span(const struct observation *o, const struct measurement *m,
                                 int64_t *ret_start_us, int64_t *ret_end_us, struct vg_err *err)
{
    const struct fhir_template *t = o->template;
    bool is_empty = o->issued_us == INT64_MIN;
    /* Slots lie on a fixed grid, so that an earlier sample that comes late moves no other. What the
     * debugger shows as the reference's is one sample alone, and where that puts it. */
    bool is_alone = t->is_medtech && o->patient.len == 0;
    int64_t from_us =
        t->align_us > 0 && !is_alone ? floor_to(m->occurrence_us, t->align_us) : m->occurrence_us;

    *ret_start_us = o->start_us;
    *ret_end_us = o->end_us;
    if (t->interval != FHIR_INTERVAL_CORRELATION && (!is_second(t) || t->align_us > 0))
        return VG_OK;
    if (is_empty || from_us < o->start_us)
        *ret_start_us = from_us;
    if (is_empty || m->occurrence_us > o->end_us)
        *ret_end_us = m->occurrence_us;
    for (uint32_t i = 0; i <= t->component_count; i++) {
        const struct fhir_value *v = value_of(t, i);

        if (v->type == FHIR_VALUE_SAMPLED &&
            (*ret_end_us - *ret_start_us) / v->period_us >= FHIR_SAMPLES_MAX)
            return vg_fail(err, VG_REJECT, "connector.sampled_size", 0,
                           "type '%.*s': more than %d samples under one correlation id",
                           VG_FMT(m->type), FHIR_SAMPLES_MAX);
    }
    return VG_OK;
}

/* Does the Observation hold what this reading says, and nothing else? */
static bool is_all_of_it(const struct observation *o, const struct measurement *m,
                         const struct content *contents)
{
    for (uint32_t i = 0; i <= o->template->component_count; i++) {
        const struct observation_property *p = &o->properties[i];
        bool is_sampled = value_of(o->template, i)->type == FHIR_VALUE_SAMPLED;
        int64_t time_us = p->time_us;
        struct vg_slice text = p->text;

        if (p->is_set != (contents[i].text.ptr != NULL))
            return false;
        if (p->is_set && is_sampled) {
            if (p->sample_count != 1)
                return false;
            time_us = p->samples[0].time_us;
            text = p->samples[0].text;
        }
        if (p->is_set && (time_us != m->occurrence_us || !vg_slice_eq(text, contents[i].text)))
            return false;
    }
    return true;
}

enum vg_status observation_add(struct observation *o, struct vg_arena *arena,
                               const struct measurement *m, struct vg_err *err)
{
    const struct fhir_template *t = o->template;
    uint32_t count = t->component_count + 1, given = 0;
    struct content *contents = vg_arena_alloc(arena, sizeof(*contents) * count);
    bool is_new = o->issued_us == INT64_MIN, was_amended = o->is_amended, is_other, changed;
    int64_t start_us, end_us;
    enum vg_status st;

    if (o->trouble.code) {
        if (err)
            *err = o->trouble;
        return VG_REJECT;
    }
    if (!contents)
        return no_memory(err);
    for (uint32_t i = 0; i < count; i++) {
        st = convert(arena, value_of(t, i), m, &contents[i], err);
        if (st == VG_REJECT)
            return st;
        given += st == VG_OK;
    }
    if (given == 0 && !t->is_medtech &&
        (t->value.type != FHIR_VALUE_NONE || t->component_count > 0))
        return vg_fail(err, VG_REJECT, "connector.missing_value", 0,
                       "type '%.*s': none of the values that the FHIR mapping asks for",
                       VG_FMT(m->type));
    st = check_span(o, m, &start_us, &end_us, err);
    if (st != VG_OK)
        return st;
    is_other = !is_new && (was_amended || !is_all_of_it(o, m, contents));
    changed = is_new || start_us != o->start_us || end_us != o->end_us;
    o->start_us = start_us;
    o->end_us = end_us;
    for (uint32_t i = 0; i < count; i++) {
        const struct fhir_value *v = value_of(t, i);
        struct observation_property *p = &o->properties[i];
        struct vg_slice text = contents[i].text;

        if (!text.ptr)
            continue;
        if (v->type == FHIR_VALUE_SAMPLED) {
            if (!put_sample(o, arena, p, v, m, text, &changed))
                return no_memory(err);
            p->is_set = true;
            continue;
        }
        if (p->is_set && !is_later(m, p->time_us, p->received_us, p->text, text))
            continue;
        changed = true;
        p->is_set = true;
        p->is_absent = contents[i].is_absent;
        p->text = text;
        p->time_us = m->occurrence_us;
        p->received_us = m->ingestion_us;
    }
    if (is_new || m->ingestion_us > o->issued_us) {
        o->issued_us = m->ingestion_us;
        changed = true;
    }
    o->is_amended |= is_other;
    o->is_changed |= changed | (is_other && !was_amended);
    return VG_OK;
}

/* ---- reading back ---- */

static enum vg_status not_ours(struct observation *o, const char *what, struct vg_err *err)
{
    enum vg_status st = vg_fail(&o->trouble, VG_REJECT, "connector.stored", 0,
                                "stored Observation/%s: %s", o->id, what);

    if (err)
        *err = o->trouble;
    return st;
}

/* Part `part` (1 = times, 2 = received) of the extension for a property, or an empty slice. */
static struct vg_slice stored_part(const struct vg_json *root, struct vg_slice name, size_t part)
{
    const struct vg_json *list = vg_json_get(root, "extension");

    for (const struct vg_json *at = list ? list->child : NULL; at; at = at->next) {
        const struct vg_json *parts = vg_json_get(at, "extension");

        if (vg_slice_is(vg_json_get_text(at, "url"), OBSERVATION_MEASURED) &&
            vg_slice_eq(vg_json_get_text(vg_json_at(parts, 0), "valueString"), name))
            return vg_json_get_text(vg_json_at(parts, part), "valueString");
    }
    return (struct vg_slice){0};
}

static enum vg_status load_samples(struct observation *o, struct vg_arena *arena,
                                   struct observation_property *p, const struct vg_json *stored,
                                   struct vg_slice times, struct vg_err *err)
{
    struct vg_slice data = vg_json_get_text(stored, "data"), token;
    int64_t slot_us = o->start_us, period_us;
    double period_ms, dimensions = 1;

    if (!vg_json_to_double(vg_json_get(stored, "period"), &period_ms) || period_ms <= 0 ||
        period_ms > 86400000.0)
        return not_ours(o, "SampledData without a usable period", err);
    if (vg_json_to_double(vg_json_get(stored, "dimensions"), &dimensions) &&
        (dimensions < 1 || dimensions > 1))
        return not_ours(o, "SampledData of several dimensions", err);
    period_us = (int64_t)(period_ms * 1000.0 + 0.5);
    for (; data.len > 0; slot_us += period_us) {
        int64_t offset_us = 0;

        token = vg_slice_cut(&data, ' ');
        if (token.len == 0 || vg_slice_is(token, "E"))
            continue;
        if (times.len > 0 && !vg_slice_to_i64(vg_slice_cut(&times, ' '), &offset_us))
            return not_ours(o, "times of samples that cannot be read", err);
        if (!add_sample(arena, p, p->sample_count,
                        (struct observation_sample){slot_us + offset_us, token}))
            return no_memory(err);
    }
    return VG_OK;
}

static enum vg_status load_property(struct observation *o, struct vg_arena *arena, uint32_t index,
                                    const struct vg_json *holder, const struct vg_json *root,
                                    struct vg_err *err)
{
    static const char *const members[] = {[FHIR_VALUE_QUANTITY] = "valueQuantity",
                                          [FHIR_VALUE_SAMPLED] = "valueSampledData",
                                          [FHIR_VALUE_CONCEPT] = "valueCodeableConcept",
                                          [FHIR_VALUE_STRING] = "valueString"};
    const struct fhir_value *v = value_of(o->template, index);
    struct observation_property *p = &o->properties[index];
    const struct vg_json *stored, *reason;
    struct vg_slice times, received;

    if (v->type == FHIR_VALUE_NONE)
        return VG_OK;
    stored = vg_json_get(holder, members[v->type]);
    reason = vg_json_at(vg_json_get(vg_json_get(holder, "dataAbsentReason"), "coding"), 0);
    if (!stored && value_rules_reason(vg_json_get_text(reason, "code"))) {
        p->is_absent = true;
        p->text = vg_json_get_text(reason, "code");
    } else if (!stored) {
        for (size_t i = FHIR_VALUE_QUANTITY; i <= FHIR_VALUE_STRING; i++)
            if (vg_json_get(holder, members[i]))
                return not_ours(o, "a value of another type", err);
        return VG_OK; /* not measured so far */
    }
    times = stored_part(root, v->name, 1);
    received = stored_part(root, v->name, 2);
    p->is_set = true;
    p->received_us = o->issued_us;
    if (received.len > 0 && !vg_slice_to_i64(received, &p->received_us))
        return not_ours(o, "a time that cannot be read", err);
    p->time_us = o->template->interval == FHIR_INTERVAL_INSTANT ? o->end_us : o->start_us;
    if (v->type == FHIR_VALUE_SAMPLED)
        return load_samples(o, arena, p, stored, times, err);
    if (times.len > 0 && !vg_slice_to_i64(times, &p->time_us))
        return not_ours(o, "a time that cannot be read", err);
    if (p->is_absent)
        return VG_OK;
    if (v->type == FHIR_VALUE_QUANTITY)
        p->text = vg_json_is(vg_json_get(stored, "value"), VG_JSON_NUMBER)
                      ? vg_json_get(stored, "value")->text
                      : VG_SLICE("");
    else
        p->text = v->type == FHIR_VALUE_STRING ? vg_json_text(stored) : VG_SLICE("");
    return VG_OK;
}

/* Members that this file does not write itself: somebody's note, interpretation, tags. */
static bool is_others(const struct fhir_template *t, const struct vg_json *member)
{
    static const char *const ours[] = {"resourceType",
                                       "id",
                                       "meta",
                                       "extension",
                                       "identifier",
                                       "status",
                                       "category",
                                       "code",
                                       "subject",
                                       "encounter",
                                       "issued",
                                       "device",
                                       "component",
                                       "effectiveDateTime",
                                       "dataAbsentReason",
                                       "effectivePeriod",
                                       "valueQuantity",
                                       "valueSampledData",
                                       "valueString",
                                       "valueCodeableConcept",
                                       NULL};

    if (vg_slice_is(member->name, "interpretation"))
        return !(t->value.rules && t->value.rules->has_interpretation);
    if (vg_slice_is(member->name, "referenceRange"))
        return !(t->value.rules && t->value.rules->range_json.len > 0);
    if (vg_slice_is(member->name, "meta"))
        return member->count > 2; /* more than the server's versionId and lastUpdated */
    for (int i = 0; ours[i]; i++)
        if (vg_slice_is(member->name, ours[i]))
            return false;
    return true;
}

static bool append(struct vg_arena *arena, struct vg_slice *text, const char *name_start,
                   struct vg_slice name, const char *name_end, struct vg_slice source)
{
    *text = vg_arena_printf(arena, "%.*s%s%.*s%s%.*s", VG_FMT(*text), name_start, VG_FMT(name),
                            name_end, VG_FMT(source));
    return text->ptr != NULL;
}

static bool keep_others(struct observation *o, struct vg_arena *arena, const struct vg_json *root)
{
    const struct vg_json *extensions = vg_json_get(root, "extension");
    bool ok = true;

    for (const struct vg_json *at = root->child; at && ok; at = at->next)
        if (is_others(o->template, at)) /* names of FHIR elements need no escape */
            ok = append(arena, &o->others, ",\"", at->name, "\":", at->source);
    for (const struct vg_json *at = extensions ? extensions->child : NULL; at && ok; at = at->next)
        if (!vg_slice_is(vg_json_get_text(at, "url"), OBSERVATION_MEASURED))
            ok = append(arena, &o->other_extensions, o->other_extensions.len ? "," : "",
                        VG_SLICE(""), "", at->source);
    return ok;
}

enum vg_status observation_load(struct observation *o, struct vg_arena *arena, struct vg_slice body,
                                uint64_t version, struct vg_err *err)
{
    const struct fhir_template *t = o->template;
    const struct vg_json *period, *list, *at;
    struct vg_json *root;
    struct vg_slice status, encounter;
    const struct vg_json_options options = {.values_max = 1000000};

    if (vg_json_parse(arena, body, &options, &root, NULL, NULL) != VG_OK)
        return not_ours(o, "not JSON", err);
    o->version = version;
    if (!keep_others(o, arena, root))
        return no_memory(err);
    status = vg_json_get_text(root, "status");
    o->is_amended = vg_slice_is(status, "amended");
    if (!o->is_amended && !vg_slice_is(status, "final"))
        return not_ours(o, "its status is neither final nor amended", err);
    if (!vg_time_parse(vg_json_get_text(root, "issued"), &o->issued_us, NULL))
        return not_ours(o, "no time of issue", err);
    encounter = vg_json_get_text(vg_json_get(root, "encounter"), "reference");
    o->encounter = vg_slice_starts(encounter, VG_SLICE("Encounter/")) ? vg_slice_from(encounter, 10)
                                                                      : (struct vg_slice){0};
    period = vg_json_get(root, "effectivePeriod");
    if ((t->interval == FHIR_INTERVAL_INSTANT && !is_second(t)) != (period == NULL))
        return not_ours(o, "another kind of effective time", err);
    if ((t->interval == FHIR_INTERVAL_CORRELATION || is_second(t)) &&
        (!vg_time_parse(vg_json_get_text(period, "start"), &o->start_us, NULL) ||
         !vg_time_parse(vg_json_get_text(period, "end"), &o->end_us, NULL)))
        return not_ours(o, "a period that cannot be read", err);

    enum vg_status st = load_property(o, arena, 0, root, root, err);

    list = vg_json_get(root, "component");
    for (at = list ? list->child : NULL; at && st == VG_OK; at = at->next)
        for (uint32_t i = 0; i < t->component_count && st == VG_OK; i++)
            if (vg_slice_eq(vg_json_get_text(vg_json_get(at, "code"), "text"),
                            t->components[i].value.name))
                st = load_property(o, arena, i + 1, at, root, err);
    return st;
}

/* ---- writing ---- */

static void put_time(struct vg_buf *out, int64_t time_us)
{
    char text[VG_TIME_TEXT_SIZE];

    PUT(out, "\"");
    put(out, (struct vg_slice){text, value_time_format(time_us, time_us % 1000 ? 6 : 3, text)});
    PUT(out, "\"");
}

/* Seven digits, as .NET has them; the end of an hour or a day is its last ten-millionth. */
static void put_ticks(struct vg_buf *out, int64_t time_us, bool is_last)
{
    char text[VG_TIME_TEXT_SIZE];
    size_t len = value_time_format(time_us, 6, text);

    PUT(out, "\"");
    put(out, (struct vg_slice){text, len - 1});
    put(out, is_last ? VG_SLICE("9Z\"") : VG_SLICE("0Z\""));
}

static void put_period(const struct observation *o, struct vg_buf *out)
{
    const struct fhir_template *t = o->template;

    PUT(out, ",\"effectivePeriod\":{\"start\":");
    if (t->is_medtech)
        put_ticks(out, o->start_us, false);
    else
        put_time(out, o->start_us);
    PUT(out, ",\"end\":");
    if (t->is_medtech)
        put_ticks(out, o->end_us, t->interval > FHIR_INTERVAL_INSTANT);
    else
        put_time(out, o->end_us);
    PUT(out, "}");
}

static void put_reference(struct vg_buf *out, struct vg_slice member, struct vg_slice id)
{
    put(out, member);
    put(out, id); /* FHIR ids need no escape */
    PUT(out, "\"}");
}

static void put_number(struct vg_buf *out, int64_t number)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%lld", (long long)number);

    put(out, (struct vg_slice){text, (size_t)n});
}

/* The slots from the first to the end of the period: samples, and E where there is none. */
static void put_samples(const struct observation *o, const struct fhir_value *v,
                        const struct observation_property *p, struct vg_buf *out)
{
    int64_t first_us = o->start_us, count = (o->end_us - first_us) / v->period_us + 1;
    uint32_t next = 0;

    PUT(out, "{\"origin\":{\"value\":0");
    if (v->unit.len > 0) {
        PUT(out, ",\"unit\":");
        put_quoted(out, v->unit);
    }
    PUT(out, "},\"period\":");
    put_number(out, v->period_us / 1000);
    if (v->period_us % 1000) {
        char text[8];
        int n = snprintf(text, sizeof(text), ".%03d", (int)(v->period_us % 1000));

        put(out, (struct vg_slice){text, (size_t)n});
    }
    PUT(out, ",\"dimensions\":1,\"data\":\"");
    for (int64_t i = 0; i < count; i++) {
        int64_t slot_end_us = first_us + (i + 1) * v->period_us;

        if (i > 0)
            PUT(out, " ");
        if (next < p->sample_count && p->samples[next].time_us < slot_end_us)
            put(out, p->samples[next++].text);
        else
            PUT(out, "E");
    }
    PUT(out, "\"}");
}

static void put_absent(struct vg_slice reason, struct vg_buf *out)
{
    PUT(out,
        "\"dataAbsentReason\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
        "data-absent-reason\",\"code\":\"");
    put(out, reason);
    PUT(out, "\"}]}");
}

static void put_value(const struct observation *o, uint32_t index, struct vg_buf *out)
{
    const struct fhir_value *v = value_of(o->template, index);
    const struct observation_property *p = &o->properties[index];

    if (p->is_absent) {
        put_absent(p->text, out);
        value_rules_write(v->rules, (struct vg_slice){0}, out);
        return;
    }
    switch (v->type) {
    case FHIR_VALUE_NONE:
        break;
    case FHIR_VALUE_QUANTITY:
        PUT(out, "\"valueQuantity\":{\"value\":");
        put(out, p->text);
        if (v->json.len > 0) {
            PUT(out, ",");
            put(out, v->json);
        }
        PUT(out, "}");
        break;
    case FHIR_VALUE_SAMPLED:
        PUT(out, "\"valueSampledData\":");
        put_samples(o, v, p, out);
        break;
    case FHIR_VALUE_CONCEPT:
        PUT(out, "\"valueCodeableConcept\":{");
        put(out, v->json);
        PUT(out, "}");
        break;
    case FHIR_VALUE_STRING:
        PUT(out, "\"valueString\":");
        put_quoted(out, p->text);
        break;
    }
    value_rules_write(v->rules, p->text, out);
}

static bool has_times(const struct observation *o, uint32_t index)
{
    const struct fhir_value *v = value_of(o->template, index);
    const struct observation_property *p = &o->properties[index];
    int64_t first_us = o->start_us;

    if (!p->is_set)
        return false;
    if (v->type != FHIR_VALUE_SAMPLED)
        return o->template->interval != FHIR_INTERVAL_INSTANT || p->time_us != o->end_us ||
               p->received_us != o->issued_us;
    if (o->template->interval == FHIR_INTERVAL_INSTANT)
        return false;
    for (uint32_t i = 0; i < p->sample_count; i++)
        if ((p->samples[i].time_us - first_us) % v->period_us)
            return true;
    return false;
}

static void put_times(const struct observation *o, struct vg_buf *out)
{
    bool has_any = false;

    for (uint32_t i = 0; i <= o->template->component_count; i++) {
        const struct fhir_value *v = value_of(o->template, i);
        const struct observation_property *p = &o->properties[i];
        int64_t first_us = o->start_us;

        if (!has_times(o, i))
            continue;
        put(out, has_any ? VG_SLICE(",") : VG_SLICE("\"extension\":["));
        has_any = true;
        PUT(out, "{\"url\":\"" OBSERVATION_MEASURED
                 "\",\"extension\":[{\"url\":\"name\",\"valueString\":");
        put_quoted(out, v->name);
        PUT(out, "},{\"url\":\"times\",\"valueString\":\"");
        if (v->type != FHIR_VALUE_SAMPLED)
            put_number(out, p->time_us);
        for (uint32_t k = 0; k < p->sample_count; k++) {
            if (k > 0)
                PUT(out, " ");
            put_number(out, (p->samples[k].time_us - first_us) % v->period_us);
        }
        if (v->type != FHIR_VALUE_SAMPLED && p->received_us != o->issued_us) {
            PUT(out, "\"},{\"url\":\"received\",\"valueString\":\"");
            put_number(out, p->received_us);
        }
        PUT(out, "\"}]}");
    }
    if (o->other_extensions.len > 0) {
        put(out, has_any ? VG_SLICE(",") : VG_SLICE("\"extension\":["));
        has_any = true;
        put(out, o->other_extensions);
    }
    if (has_any)
        PUT(out, "],");
}

void observation_write(const struct observation *o, struct vg_buf *out)
{
    const struct fhir_template *t = o->template;
    bool has_component = false, is_draft = o->patient.len == 0;

    PUT(out, "{\"resourceType\":\"Observation\",");
    if (!is_draft) {
        PUT(out, "\"id\":\"");
        put(out, (struct vg_slice){o->id, 64});
        PUT(out, "\",");
        put_times(o, out);
        put(out,
            t->is_medtech
                ? VG_SLICE("\"identifier\":[{\"system\":\"" FHIR_MEDTECH_SYSTEM "\",\"value\":")
                : VG_SLICE("\"identifier\":[{\"system\":\"" OBSERVATION_SYSTEM "\",\"value\":"));
        put_quoted(out, o->identifier);
        PUT(out, "}],");
    }
    put(out, o->is_amended ? VG_SLICE("\"status\":\"amended\"") : VG_SLICE("\"status\":\"final\""));
    if (t->category_json.len > 0) {
        PUT(out, ",\"category\":");
        put(out, t->category_json);
    }
    PUT(out, ",\"code\":");
    if (t->is_medtech && !vg_slice_eq(o->type, t->type_name))
        fhir_template_write_code(t, o->type, out);
    else
        put(out, t->code_json);
    if (!is_draft)
        put_reference(out, VG_SLICE(",\"subject\":{\"reference\":\"Patient/"), o->patient);
    if (o->encounter.len > 0)
        put_reference(out, VG_SLICE(",\"encounter\":{\"reference\":\"Encounter/"), o->encounter);
    if (t->interval == FHIR_INTERVAL_INSTANT && !is_second(t)) {
        PUT(out, ",\"effectiveDateTime\":");
        put_time(out, o->start_us);
    } else {
        put_period(o, out);
    }
    if (!is_draft) {
        PUT(out, ",\"issued\":");
        put_time(out, o->issued_us);
        put_reference(out, VG_SLICE(",\"device\":{\"reference\":\"Device/"), o->device);
    }
    if (o->properties[0].is_set) {
        PUT(out, ",");
        put_value(o, 0, out);
    }
    for (uint32_t i = 0; i < t->component_count; i++) {
        bool is_set = o->properties[i + 1].is_set;

        if (!is_set && !t->components[i].is_demanded)
            continue;
        put(out, has_component ? VG_SLICE(",{\"code\":") : VG_SLICE(",\"component\":[{\"code\":"));
        has_component = true;
        put(out, t->components[i].code_json);
        PUT(out, ",");
        if (is_set)
            put_value(o, i + 1, out);
        else
            put_absent(VG_SLICE("unknown"), out);
        PUT(out, "}");
    }
    if (has_component)
        PUT(out, "]");
    put(out, o->others);
    PUT(out, "}");
}

/* ---- the header `fhir` ---- */

/* Whoever reads the header knows one unit of temperature. */
static void put_celsius(struct vg_slice fahrenheit, struct vg_buf *out)
{
    double degrees = 0;

    (void)vg_slice_to_double(fahrenheit, &degrees);
    vg_buf_printf(out, "%.10g", round((degrees - 32.0) / 1.8 * 100.0) / 100.0);
}

void observation_write_values(const struct fhir_template *t, const struct measurement *m,
                              struct vg_buf *out)
{
    bool has_any = false;

    PUT(out, "[");
    for (uint32_t i = 0; i <= t->component_count; i++) {
        const struct fhir_value *v = value_of(t, i);
        const struct measurement_value *found =
            v->header_json.len > 0 ? measurement_get(m, v->name) : NULL;
        bool is_number = v->type == FHIR_VALUE_QUANTITY || v->type == FHIR_VALUE_SAMPLED;
        struct vg_slice number;
        const char *reason;
        char text[40];

        if (!found || (is_number &&
                       value_rules_apply(v, found->text, text, &number, &reason) != VALUE_NUMBER))
            continue;
        if (has_any)
            PUT(out, ",");
        has_any = true;
        put(out, v->header_json);
        if (is_number) {
            PUT(out, "\"value\":");
            if (v->is_fahrenheit)
                put_celsius(number, out);
            else
                put(out, number);
            put(out, v->unit_json);
        } else {
            PUT(out, "\"text\":");
            put_quoted(out, found->text);
        }
        PUT(out, "}");
    }
    PUT(out, "]");
}
