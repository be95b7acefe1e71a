/* hl7_body.c -- an HL7 v2 ORU message as JSON that mapping authors like.
 *
 *     {"messageType":"ORU^R01","controlId":…,"sendingApplication":…,"patient":{…},"visit":{…},
 *      "observations":[{"mdc":"147842","value":72,"unit":"/min","time":…,"device":…,…}],
 *      "segments":[{"segment":"PV1","3":"ICU","3.3":"5"}]}
 *
 * A message may bring several patients: PID begins a group, PV1 its visit, OBR an order; each
 * observation carries the patient, the visit's place and the time of its own group. PID forgets the
 * order and the visit before it, so that nothing of one patient is left for the next.
 *
 * A value that is none (a vendor's sentinel, OBX-11 X, dashes, "") is left out, and `absent` says
 * why. A result that is taken back (OBX-11 D, W) and a number that is none are told besides: a
 * person must look. The time of an observation is OBX-14, else its OBR-7, never the message's own.
 */
#include "connector/decode.h"

#include "base/hl7.h"
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct writer {
    const struct decode_config *config;
    const struct decode_input *input;
    struct vg_hl7 hl7;
    struct vg_json_writer json;
    struct vg_buf text; /* one unescaped text at a time */
    struct decoded *decoded;
    struct vg_hl7_time message_time;
    bool has_message_time;
};

/* What an observation inherits; raw views. */
struct group {
    struct vg_slice patient_id, visit_number, location, order, order_time;
};

/* ---- texts ---- */

static struct vg_slice plain(struct writer *w, struct vg_slice raw)
{
    vg_buf_clear(&w->text);
    vg_hl7_put_text(&w->hl7, raw, &w->text);
    return vg_buf_slice(&w->text);
}

/* Left out when empty or null. */
static void put(struct writer *w, const char *name, struct vg_slice raw)
{
    if (raw.len && !vg_hl7_is_null(raw))
        vg_json_member_string(&w->json, name, plain(w, raw));
}

static struct vg_slice component(const struct writer *w, struct vg_slice field, unsigned number)
{
    return vg_hl7_component(&w->hl7, field, number);
}

static void put_component(struct writer *w, const char *name, struct vg_slice field, unsigned n)
{
    put(w, name, component(w, field, n));
}

static bool is_set(struct vg_slice raw)
{
    return raw.len > 0 && !vg_hl7_is_null(raw);
}

VG_PRINTF(3, 4)
static void complain(struct writer *w, const char *code, const char *fmt, ...)
{
    char text[sizeof(w->decoded->partial.text)];
    va_list args;

    if (w->decoded->partial.code)
        return; /* the first is told */
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)vg_fail(&w->decoded->partial, VG_REJECT, code, 0, "%s", text);
}

/* ---- times ---- */

/* The zone of a time: its own, else that of MSH-7, else the configured one. */
static bool to_utc(struct writer *w, const struct vg_hl7_time *time, int64_t *ret_us)
{
    if (time->has_zone)
        *ret_us = time->civil_us - time->zone_s * VG_SECOND_US;
    else if (w->has_message_time && w->message_time.has_zone)
        *ret_us = time->civil_us - w->message_time.zone_s * VG_SECOND_US;
    else
        return zone_to_utc(&w->config->zone, time->civil_us, w->input->received_us, ret_us);
    return true;
}

static void put_time(struct writer *w, const char *name, int64_t time_us)
{
    char text[VG_TIME_TEXT_SIZE];
    unsigned digits = time_us % VG_SECOND_US == 0 ? 0 : time_us % 1000 == 0 ? 3 : 6;

    vg_json_member_string(&w->json, name,
                          (struct vg_slice){text, vg_time_format(time_us, digits, text)});
}

/* `time` when it is known to the minute at least, else `timeText` alone. */
static void put_observation_time(struct writer *w, const struct vg_hl7_segment *segment,
                                 const struct group *group)
{
    struct vg_slice own = vg_hl7_first(&w->hl7, vg_hl7_field(&w->hl7, segment, 14));
    struct vg_slice raw = component(w, is_set(own) ? own : group->order_time, 1);
    struct vg_hl7_time time;
    int64_t time_us;

    if (!is_set(raw))
        return;
    if (!vg_hl7_time_parse(raw, &time) || time.precision < VG_HL7_MINUTE) {
        put(w, "timeText", raw);
        return;
    }
    if (!to_utc(w, &time, &time_us)) {
        put(w, "timeText", raw);
        complain(
            w, "hl7.zone", "segment %u (%s), field %s: a time without a zone; connector.zone %s",
            segment->number, segment->id, is_set(own) ? "14" : "7 of its OBR",
            w->config->zone.kind == ZONE_NONE ? "says what such times mean" : "has no such hour");
        return;
    }
    put_time(w, "time", time_us);
    vg_json_member_string(&w->json, "timeFrom",
                          is_set(own) ? VG_SLICE("OBX-14") : VG_SLICE("OBR-7"));
}

/* ---- patient and visit ---- */

/* The first identifier of type MR, else the first of all. */
static struct vg_slice patient_id(const struct writer *w, struct vg_slice identifiers)
{
    struct vg_slice best = {0};

    while (identifiers.len) {
        struct vg_slice one =
            w->hl7.repetition ? vg_slice_cut(&identifiers, w->hl7.repetition) : identifiers;
        struct vg_slice id = vg_hl7_part(one, w->hl7.component, 1);

        if (is_set(id) && vg_slice_is(vg_hl7_part(one, w->hl7.component, 5), "MR"))
            return id;
        if (is_set(id) && !best.len)
            best = id;
        if (!w->hl7.repetition)
            break;
    }
    return best;
}

static void put_location(struct writer *w, const char *name, struct vg_slice raw)
{
    if (!is_set(raw))
        return;
    vg_buf_clear(&w->text);
    vg_hl7_put_place(&w->hl7, raw, &w->text);
    vg_json_member_string(&w->json, name, vg_buf_slice(&w->text));
}

static void put_patient(struct writer *w, const struct vg_hl7_segment *pid)
{
    struct vg_slice identifiers = vg_hl7_field(&w->hl7, pid, 3), name;

    vg_json_name(&w->json, "patient");
    vg_json_open_object(&w->json);
    put(w, "id", patient_id(w, identifiers));
    vg_json_name(&w->json, "identifiers");
    vg_json_open_array(&w->json);
    for (struct vg_slice rest = identifiers; rest.len;) {
        struct vg_slice one = w->hl7.repetition ? vg_slice_cut(&rest, w->hl7.repetition) : rest;

        if (!w->hl7.repetition)
            rest.len = 0;
        if (!is_set(vg_hl7_part(one, w->hl7.component, 1)))
            continue;
        vg_json_open_object(&w->json);
        put(w, "id", vg_hl7_part(one, w->hl7.component, 1));
        put(w, "system",
            vg_hl7_part(vg_hl7_part(one, w->hl7.component, 4), w->hl7.subcomponent, 1));
        put(w, "type", vg_hl7_part(one, w->hl7.component, 5));
        vg_json_close_object(&w->json);
    }
    vg_json_close_array(&w->json);
    name = vg_hl7_field(&w->hl7, pid, 5);
    put(w, "family", vg_hl7_part(component(w, name, 1), w->hl7.subcomponent, 1));
    put_component(w, "given", name, 2);
    put_component(w, "birthDate", vg_hl7_field(&w->hl7, pid, 7), 1);
    put_component(w, "sex", vg_hl7_field(&w->hl7, pid, 8), 1);
    vg_json_close_object(&w->json);
}

static void put_visit(struct writer *w, const struct vg_hl7_segment *pv1)
{
    struct vg_slice place = vg_hl7_field(&w->hl7, pv1, 3), location = {0};

    vg_hl7_follow_place(&w->hl7, pv1, &location);
    vg_json_name(&w->json, "visit");
    vg_json_open_object(&w->json);
    put_component(w, "class", vg_hl7_field(&w->hl7, pv1, 2), 1);
    put_component(w, "number", vg_hl7_field(&w->hl7, pv1, 19), 1);
    put_location(w, "location", location);
    put_component(w, "pointOfCare", place, 1);
    put_component(w, "room", place, 2);
    put_component(w, "bed", place, 3);
    put_component(w, "facility", place, 4);
    vg_json_close_object(&w->json);
}

/* ---- units ---- */

/* UCUM of IEEE 11073 codes and names, and of what is written without a system. */
static const char *ucum_of(struct vg_slice text)
{
    static const char *const table[][2] = {
        {"262688", "%"},
        {"MDC_DIM_PERCENT", "%"},
        {"264864", "/min"},
        {"MDC_DIM_BEAT_PER_MIN", "/min"},
        {"264928", "/min"},
        {"MDC_DIM_RESP_PER_MIN", "/min"},
        {"264672", "/min"},
        {"MDC_DIM_PER_MIN", "/min"},
        {"266016", "mm[Hg]"},
        {"MDC_DIM_MMHG", "mm[Hg]"},
        {"265987", "kPa"},
        {"MDC_DIM_KILO_PASCAL", "kPa"},
        {"268192", "Cel"},
        {"MDC_DIM_DEGC", "Cel"},
        {"266560", "[degF]"},
        {"268160", "[degF]"},
        {"MDC_DIM_FAHR", "[degF]"},
        {"263875", "kg"},
        {"MDC_DIM_KILO_G", "kg"},
        {"265216", "L/min"},
        {"MDC_DIM_L_PER_MIN", "L/min"},
        {"266866", "mmol/L"},
        {"MDC_DIM_MILLI_MOLE_PER_L", "mmol/L"},
        {"264274", "mg/dL"},
        {"MDC_DIM_MILLI_G_PER_DL", "mg/dL"},
        {"mmHg", "mm[Hg]"},
        {"bpm", "/min"},
        {"degC", "Cel"},
        {"degF", "[degF]"},
    };
    static const char *const same[] = {"%",  "/min", "mm[Hg]", "kPa",   "Cel",   "[degF]",
                                       "kg", "g",    "L/min",  "mg/dL", "mmol/L"};

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (vg_slice_is(text, table[i][0]))
            return table[i][1];
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        if (vg_slice_is(text, same[i]))
            return same[i];
    return NULL;
}

static void put_unit(struct writer *w, struct vg_slice field)
{
    struct vg_slice code = component(w, field, 1), system = component(w, field, 3);
    const char *ucum = ucum_of(code);

    if (vg_slice_is(system, "UCUM"))
        put(w, "unit", code);
    else if (ucum || (ucum = ucum_of(component(w, field, 2))))
        vg_json_member_string(&w->json, "unit", vg_slice_of(ucum));
    put(w, "unitCode", code);
    put_component(w, "unitText", field, 2);
    put(w, "unitSystem", system);
}

/* ---- values ---- */

/* NM: [+-]digits[.digits] as a JSON number with the same digits. */
static bool number_text(struct vg_slice raw, char out[static 64])
{
    bool is_negative = false, has_point = false;
    size_t len = 0, digits = 0;

    raw = vg_slice_trim(raw);
    if (raw.len && (raw.ptr[0] == '-' || raw.ptr[0] == '+')) {
        is_negative = raw.ptr[0] == '-';
        raw = vg_slice_from(raw, 1);
    }
    if (raw.len == 0 || raw.len > 48)
        return false;
    if (is_negative)
        out[len++] = '-';
    while (raw.len > 1 && raw.ptr[0] == '0' && raw.ptr[1] != '.')
        raw = vg_slice_from(raw, 1); /* JSON has no leading zeros */
    if (raw.ptr[0] == '.')
        out[len++] = '0';
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.ptr[i] == '.' && !has_point) {
            has_point = true;
            if (i + 1 == raw.len)
                break; /* "98." */
        } else if (raw.ptr[i] < '0' || raw.ptr[i] > '9') {
            return false;
        } else {
            digits++;
        }
        out[len++] = raw.ptr[i];
    }
    out[len] = '\0';
    return digits > 0;
}

/* What monitors write when they have no value: their own marks, and the ends of a number's range.
 */
static bool is_sentinel(const char *number)
{
    static const double sentinels[] = {-999,   -999.9, -9999,   -100,       -99.9,      32767,
                                       -32768, 65535,  8388607, 2147483647, -2147483648};
    double value;

    if (!vg_slice_to_double(vg_slice_of(number), &value))
        return false;
    for (size_t i = 0; i < sizeof(sentinels) / sizeof(sentinels[0]); i++)
        if (fabs(value - sentinels[i]) < 1e-9)
            return true;
    return false;
}

/* "---", "***", "?": a display's way of saying nothing. */
static bool is_dashes(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!strchr("-*?_. ", text.ptr[i]))
            return false;
    return true;
}

static void put_absent(struct writer *w, const char *why, bool is_reading)
{
    vg_json_member_string(&w->json, "absent", vg_slice_of(why));
    w->decoded->absent += is_reading;
}

static void put_number(struct writer *w, const struct vg_hl7_segment *segment, struct vg_slice raw)
{
    char number[64];

    if (!number_text(raw, number)) {
        put(w, "valueText", raw);
        put_absent(w, is_dashes(raw) ? "dashes" : "not-a-number", true);
        if (!is_dashes(raw))
            complain(w, "hl7.value", "segment %u (OBX), field 5: not a number", segment->number);
    } else if (is_sentinel(number)) {
        put(w, "valueText", raw);
        put_absent(w, "sentinel", true);
    } else {
        vg_json_member_raw(&w->json, "value", vg_slice_of(number));
    }
}

/* Structured numeric: comparator, number, separator, number. */
static void put_structured(struct writer *w, const struct vg_hl7_segment *segment,
                           struct vg_slice raw)
{
    struct vg_slice comparator = component(w, raw, 1), separator = component(w, raw, 3);
    struct vg_slice one = component(w, raw, 2), two = component(w, raw, 4);
    char number[64];

    if ((!comparator.len || vg_slice_is(comparator, "=")) && !separator.len && !two.len) {
        put_number(w, segment, one);
        return;
    }
    vg_json_name(&w->json, "value");
    vg_json_open_object(&w->json);
    put(w, "comparator", comparator);
    if (number_text(one, number))
        vg_json_member_raw(&w->json, "number", vg_slice_of(number));
    put(w, "separator", separator);
    if (number_text(two, number))
        vg_json_member_raw(&w->json, "number2", vg_slice_of(number));
    vg_json_close_object(&w->json);
}

static void put_coded(struct writer *w, struct vg_slice raw)
{
    vg_json_name(&w->json, "value");
    vg_json_open_object(&w->json);
    put_component(w, "code", raw, 1);
    put_component(w, "text", raw, 2);
    put_component(w, "codeSystem", raw, 3);
    vg_json_close_object(&w->json);
}

static void put_value(struct writer *w, const struct vg_hl7_segment *segment, struct vg_slice type,
                      struct vg_slice raw)
{
    static const char *const coded[] = {"CE", "CWE", "CNE", "CF"};
    char number[64];

    if (vg_slice_is(type, "NM")) {
        put_number(w, segment, raw);
        return;
    }
    if (vg_slice_is(type, "SN")) {
        put_structured(w, segment, raw);
        return;
    }
    for (size_t i = 0; i < 4; i++)
        if (vg_slice_is(type, coded[i])) {
            put_coded(w, raw);
            return;
        }
    if (number_text(raw, number) && is_sentinel(number)) {
        put(w, "valueText", raw);
        put_absent(w, "sentinel", true);
    } else {
        put(w, "value", raw);
    }
}

static void put_values(struct writer *w, const struct vg_hl7_segment *segment, struct vg_slice type)
{
    struct vg_slice field = vg_hl7_field(&w->hl7, segment, 5);
    struct vg_slice rest = field;

    if (field.len == 0)
        put_absent(w, "empty", type.len > 0);
    else if (vg_hl7_is_null(field))
        put_absent(w, "null", true);
    else if (!w->hl7.repetition || !memchr(field.ptr, w->hl7.repetition, field.len))
        put_value(w, segment, type, field);
    else { /* several: no template takes them for one */
        vg_json_name(&w->json, "value");
        vg_json_open_array(&w->json);
        while (rest.len)
            vg_json_put_string(&w->json, plain(w, vg_slice_cut(&rest, w->hl7.repetition)));
        vg_json_close_array(&w->json);
    }
}

/* OBX-11 (table 0085): is there a result? */
static void put_result(struct writer *w, const struct vg_hl7_segment *segment)
{
    struct vg_slice type = component(w, vg_hl7_field(&w->hl7, segment, 2), 1);
    struct vg_slice status = component(w, vg_hl7_field(&w->hl7, segment, 11), 1);

    put(w, "valueType", type);
    if (!is_set(status) || (status.len == 1 && strchr("ABCFPRSUV", status.ptr[0]))) {
        put_values(w, segment, type);
    } else if (status.len == 1 && strchr("INOX", status.ptr[0])) {
        put_absent(w, "not-obtained", type.len > 0);
    } else {
        put_absent(w, "withdrawn", true);
        complain(w, "hl7.withdrawn", "segment %u (OBX), field 11: %s", segment->number,
                 status.len == 1 && strchr("DW", status.ptr[0])
                     ? "a result that was sent before is taken back; an Observation of it stands"
                     : "an unknown status");
    }
    put(w, "status", status);
}

/* ---- observations ---- */

/* OBX-3 may name the same thing twice, in two systems. */
static void put_codes(struct writer *w, struct vg_slice field)
{
    struct vg_slice system = component(w, field, 3), other = component(w, field, 6);

    put_component(w, "code", field, 1);
    put_component(w, "text", field, 2);
    put(w, "codeSystem", system);
    put_component(w, "altCode", field, 4);
    put_component(w, "altText", field, 5);
    put(w, "altCodeSystem", other);
    put_component(w, "mdc", field,
                  vg_slice_is(system, "MDC")  ? 1
                  : vg_slice_is(other, "MDC") ? 4
                                              : 99);
    put_component(w, "loinc", field,
                  vg_slice_is(system, "LN")  ? 1
                  : vg_slice_is(other, "LN") ? 4
                                             : 99);
}

static void put_device(struct writer *w, const struct vg_hl7_segment *segment,
                       const struct group *group)
{
    vg_buf_clear(&w->text);
    vg_hl7_put_device(&w->hl7, segment, group->location, &w->text);
    if (w->text.len > 0)
        vg_json_member_string(&w->json, "device", vg_buf_slice(&w->text));
}

static void put_observation(struct writer *w, const struct vg_hl7_segment *obx,
                            const struct group *group)
{
    vg_json_open_object(&w->json);
    vg_json_member_i64(&w->json, "segment", obx->number);
    put_codes(w, vg_hl7_field(&w->hl7, obx, 3));
    put_component(w, "subId", vg_hl7_field(&w->hl7, obx, 4), 1);
    put_result(w, obx);
    put_unit(w, vg_hl7_field(&w->hl7, obx, 6));
    put(w, "referenceRange", vg_hl7_first(&w->hl7, vg_hl7_field(&w->hl7, obx, 7)));
    put(w, "abnormalFlags", vg_hl7_field(&w->hl7, obx, 8));
    put_observation_time(w, obx, group);
    put(w, "access", vg_hl7_field(&w->hl7, obx, 13));
    put_device(w, obx, group);
    put(w, "patientId", group->patient_id);
    put(w, "visitNumber", group->visit_number);
    put_location(w, "location", group->location);
    put(w, "order", group->order);
    vg_json_close_object(&w->json);
}

static enum vg_status put_observations(struct writer *w, struct vg_err *err)
{
    struct vg_hl7_cursor cursor = {0};
    struct vg_hl7_segment segment;
    struct group group = {0};
    enum vg_status st;

    vg_json_name(&w->json, "observations");
    vg_json_open_array(&w->json);
    while ((st = vg_hl7_next(&w->hl7, &cursor, &segment, err)) == VG_OK) {
        struct vg_slice id = vg_slice_of(segment.id);

        vg_hl7_follow_place(&w->hl7, &segment, &group.location);
        if (vg_slice_is(id, "PID")) {
            group = (struct group){.patient_id = patient_id(w, vg_hl7_field(&w->hl7, &segment, 3))};
        } else if (vg_slice_is(id, "PV1")) {
            group.visit_number = component(w, vg_hl7_field(&w->hl7, &segment, 19), 1);
        } else if (vg_slice_is(id, "OBR")) {
            group.order = component(w, vg_hl7_field(&w->hl7, &segment, 4), 1);
            group.order_time = vg_hl7_field(&w->hl7, &segment, 7);
        } else if (vg_slice_is(id, "OBX")) {
            put_observation(w, &segment, &group);
        }
    }
    vg_json_close_array(&w->json);
    return st == VG_END ? VG_OK : st;
}

/* ---- segments as they are ---- */

static void put_named(struct writer *w, const char *name, struct vg_slice raw)
{
    if (vg_hl7_is_null(raw)) {
        vg_json_name(&w->json, name);
        vg_json_put_null(&w->json);
    } else {
        put(w, name, raw);
    }
}

/* HL7's own names: "3" is the field's first component, "3.2" the second, "3.2.4" a subcomponent,
 * "3[2]" the second repetition. */
static void put_field(struct writer *w, unsigned number, struct vg_slice field)
{
    char name[64];

    for (unsigned r = 1; field.len; r++) {
        struct vg_slice repetition =
            w->hl7.repetition ? vg_slice_cut(&field, w->hl7.repetition) : field;

        if (!w->hl7.repetition)
            field.len = 0;
        for (unsigned c = 1; repetition.len; c++) {
            struct vg_slice part = vg_slice_cut(&repetition, w->hl7.component);

            for (unsigned s = 1; part.len; s++) {
                struct vg_slice one =
                    w->hl7.subcomponent ? vg_slice_cut(&part, w->hl7.subcomponent) : part;
                int len = snprintf(name, sizeof(name), "%u", number);

                if (!w->hl7.subcomponent)
                    part.len = 0;
                if (r > 1)
                    len += snprintf(name + len, sizeof(name) - (size_t)len, "[%u]", r);
                if (c > 1 || s > 1)
                    len += snprintf(name + len, sizeof(name) - (size_t)len, ".%u", c);
                if (s > 1)
                    (void)snprintf(name + len, sizeof(name) - (size_t)len, ".%u", s);
                put_named(w, name, one);
            }
        }
    }
}

static enum vg_status put_segments(struct writer *w, struct vg_err *err)
{
    struct vg_hl7_cursor cursor = {0};
    struct vg_hl7_segment segment;
    enum vg_status st;

    vg_json_name(&w->json, "segments");
    vg_json_open_array(&w->json);
    while ((st = vg_hl7_next(&w->hl7, &cursor, &segment, err)) == VG_OK) {
        bool is_msh = vg_slice_is(vg_slice_of(segment.id), "MSH");
        struct vg_slice rest = segment.text;
        unsigned number = is_msh ? 2 : 1;

        vg_json_open_object(&w->json);
        vg_json_member_string(&w->json, "segment", vg_slice_cut(&rest, w->hl7.field));
        if (is_msh)
            (void)vg_slice_cut(&rest, w->hl7.field);
        for (number += is_msh; rest.len; number++)
            put_field(w, number, vg_slice_cut(&rest, w->hl7.field));
        vg_json_close_object(&w->json);
    }
    vg_json_close_array(&w->json);
    return st == VG_END ? VG_OK : st;
}

/* ---- the message ---- */

static void put_header(struct writer *w)
{
    static const struct {
        const char *name;
        unsigned field, component;
    } members[] = {
        {"controlId", 10, 1},           {"processingId", 11, 1},        {"version", 12, 1},
        {"sendingApplication", 3, 1},   {"sendingApplicationId", 3, 2}, {"sendingFacility", 4, 1},
        {"receivingApplication", 5, 1}, {"receivingFacility", 6, 1}};
    struct vg_slice kind = vg_hl7_field(&w->hl7, &w->hl7.msh, 9);
    struct vg_slice time = component(w, vg_hl7_field(&w->hl7, &w->hl7.msh, 7), 1);
    int64_t time_us;

    vg_json_member_string(&w->json, "messageType", VG_SLICE("ORU^R01"));
    if (is_set(component(w, kind, 2)) && !vg_slice_is(component(w, kind, 2), "R01"))
        put_component(w, "event", kind, 2);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        put_component(w, members[i].name, vg_hl7_field(&w->hl7, &w->hl7.msh, members[i].field),
                      members[i].component);
    w->has_message_time = vg_hl7_time_parse(time, &w->message_time);
    if (w->has_message_time && w->message_time.precision >= VG_HL7_MINUTE &&
        to_utc(w, &w->message_time, &time_us))
        put_time(w, "time", time_us);
}

/* Of the first group, for messages that have one patient. */
static enum vg_status put_first_group(struct writer *w, struct vg_err *err)
{
    struct vg_hl7_cursor cursor = {0};
    struct vg_hl7_segment segment;
    bool has_patient = false;
    enum vg_status st;

    while ((st = vg_hl7_next(&w->hl7, &cursor, &segment, err)) == VG_OK) {
        struct vg_slice id = vg_slice_of(segment.id);

        if (vg_slice_is(id, "PID")) {
            if (has_patient)
                return VG_OK; /* the next one's */
            put_patient(w, &segment);
            has_patient = true;
        } else if (vg_slice_is(id, "PV1")) {
            put_visit(w, &segment);
            return VG_OK;
        }
    }
    return st == VG_END ? VG_OK : st;
}

enum vg_status hl7_body(const struct decode_config *config, const struct decode_input *input,
                        struct vg_buf *out, struct decoded *decoded, struct vg_err *err)
{
    struct writer w = {.config = config, .input = input, .decoded = decoded};
    enum vg_status st = vg_hl7_open(input->payload, &w.hl7, err);

    if (st != VG_OK)
        return st;
    vg_buf_init(&w.text, 0);
    vg_json_writer_init(&w.json, out);
    st = vg_hl7_check_kind(&w.hl7, config->processing ? config->processing : "P", err);
    if (st == VG_OK) {
        vg_json_open_object(&w.json);
        put_header(&w);
        st = put_first_group(&w, err);
    }
    if (st == VG_OK)
        st = put_observations(&w, err);
    if (st == VG_OK)
        st = put_segments(&w, err);
    if (st == VG_OK)
        vg_json_close_object(&w.json);
    if (st == VG_OK && !vg_buf_ok(&w.text))
        st = vg_fail(err, VG_REJECT, "hl7.size", 0, "a field is too large");
    vg_buf_fini(&w.text);
    return st;
}
