/* gatt_body.c -- Bluetooth GATT health characteristics as JSON.
 *
 *     {"measurements":[{"characteristic":"2a35","kind":"blood-pressure","unit":"mm[Hg]",
 *                       "systolic":138,…,"time":…,"timeFrom":"device","isUsable":true}]}
 *
 * Layouts are the Bluetooth SIG's: heart rate 2A37, blood pressure 2A35, temperature 2A1C, pulse
 * oximeter 2A5E (spot check) and 2A5F (continuous), glucose 2A18, continuous glucose 2AA7. Little
 * endian. Numbers are IEEE 11073-20601 decimal floats: the digits that the device meant are
 * written, not a binary approximation (37.60 stays 37.60).
 *
 * Never a number: NaN, not at this resolution, the infinities, reserved; `absent` names each with
 * its reason. Where the device itself doubts a reading (no skin contact, a demonstration, control
 * solution, a sensor that fell off), isUsable is false and `why` says so. A device's clock has no
 * time zone: the message's or the configured one counts; without one, or with an unset clock, there
 * is no time, since a reading out of a device's memory may be days old.
 *
 * A payload that is too short, or longer than its flags say, is refused as a whole.
 */
#include "connector/decode.h"

#include "base/crypto.h"
#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>

#define ELEMENTS_MAX 1000
#define ABSENT_MAX 8

/* ---- bytes ---- */

struct bytes {
    const uint8_t *at, *end;
    bool is_short;
};

static uint32_t take(struct bytes *b, size_t count)
{
    uint32_t value = 0;

    if ((size_t)(b->end - b->at) < count) {
        b->is_short = true;
        b->at = b->end;
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        value |= (uint32_t)b->at[i] << 8 * i;
    b->at += count;
    return value;
}

/* ---- what is being written ---- */

struct element {
    uint16_t characteristic;
    struct vg_slice payload, device;
    struct zone zone;
    int64_t time_us; /* when it was sent */
    int64_t session_us;
    bool has_session;
};

struct writer {
    struct vg_json_writer json;
    const struct element *element;
    struct decoded *decoded;
    int64_t received_us;
    struct bytes in;
    struct {
        const char *name, *why;
    } absent[ABSENT_MAX];
    size_t absent_count;
    const char *unusable;
};

VG_PRINTF(3, 4)
static void complain(struct writer *w, const char *code, const char *fmt, ...)
{
    char text[200];
    va_list args;

    if (w->decoded->partial.code)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)vg_fail(&w->decoded->partial, VG_REJECT, code, 0, "characteristic %04x: %s",
                  w->element->characteristic, text);
}

static void open_measurement(struct writer *w, const char *kind)
{
    char uuid[8];

    w->absent_count = 0;
    w->unusable = NULL;
    (void)snprintf(uuid, sizeof(uuid), "%04x", w->element->characteristic);
    vg_json_open_object(&w->json);
    vg_json_member_string(&w->json, "characteristic", vg_slice_of(uuid));
    vg_json_member_string(&w->json, "kind", vg_slice_of(kind));
    if (w->element->device.len)
        vg_json_member_string(&w->json, "device", w->element->device);
}

static void note_absent(struct writer *w, const char *name, const char *why)
{
    if (w->absent_count < ABSENT_MAX) {
        w->absent[w->absent_count].name = name;
        w->absent[w->absent_count++].why = why;
    }
}

static void close_measurement(struct writer *w)
{
    if (w->absent_count) {
        vg_json_name(&w->json, "absent");
        vg_json_open_object(&w->json);
        for (size_t i = 0; i < w->absent_count; i++)
            vg_json_member_string(&w->json, w->absent[i].name, vg_slice_of(w->absent[i].why));
        vg_json_close_object(&w->json);
    }
    vg_json_member_bool(&w->json, "isUsable", !w->unusable);
    if (w->unusable)
        vg_json_member_string(&w->json, "why", vg_slice_of(w->unusable));
    vg_json_close_object(&w->json);
    w->decoded->absent += (uint32_t)w->absent_count + (w->unusable != NULL);
}

/* ---- decimal floats ---- */

/* mantissa * 10^exponent with all its digits. */
static void put_decimal(struct writer *w, const char *name, int32_t mantissa, int exponent)
{
    int64_t digits = mantissa < 0 ? -(int64_t)mantissa : mantissa, scale = 1;
    char text[64];

    if (exponent >= 0 && exponent <= 9) {
        for (int i = 0; i < exponent; i++)
            digits *= 10;
        (void)snprintf(text, sizeof(text), "%s%lld", mantissa < 0 ? "-" : "", (long long)digits);
    } else if (exponent < 0 && exponent >= -12) {
        for (int i = 0; i < -exponent; i++)
            scale *= 10;
        (void)snprintf(text, sizeof(text), "%s%lld.%0*lld", mantissa < 0 ? "-" : "",
                       (long long)(digits / scale), -exponent, (long long)(digits % scale));
    } else {
        (void)snprintf(text, sizeof(text), "%dE%d", mantissa, exponent);
    }
    vg_json_member_raw(&w->json, name, vg_slice_of(text));
}

/* +2046, +2047 (8388606, 8388607) are special with exponent 0 only; the three least always. */
static const char *special_of(int32_t mantissa, int exponent, int32_t limit)
{
    if (mantissa == -limit)
        return "not-at-this-resolution";
    if (mantissa == -limit + 1)
        return "reserved";
    if (mantissa == -limit + 2)
        return "negative-infinity";
    if (exponent == 0 && mantissa == limit - 1)
        return "not-a-number";
    if (exponent == 0 && mantissa == limit - 2)
        return "positive-infinity";
    return NULL;
}

static void put_float(struct writer *w, const char *name, size_t size_bytes, int shift)
{
    uint32_t raw = take(&w->in, size_bytes);
    int32_t limit = size_bytes == 2 ? 1 << 11 : 1 << 23;
    int32_t mantissa = (int32_t)(raw & (uint32_t)(2 * limit - 1));
    int exponent = size_bytes == 2 ? (int)(raw >> 12) : (int)(raw >> 24);
    int exponent_limit = size_bytes == 2 ? 8 : 128;
    const char *special;

    if (w->in.is_short)
        return;
    if (mantissa >= limit)
        mantissa -= 2 * limit;
    if (exponent >= exponent_limit)
        exponent -= 2 * exponent_limit;
    special = special_of(mantissa, exponent, limit);
    if (special)
        note_absent(w, name, special);
    else
        put_decimal(w, name, mantissa, exponent + shift);
}

static void put_sfloat(struct writer *w, const char *name)
{
    put_float(w, name, 2, 0);
}

static uint32_t put_number(struct writer *w, const char *name, size_t size_bytes)
{
    uint32_t value = take(&w->in, size_bytes);

    vg_json_member_i64(&w->json, name, value);
    return value;
}

/* ---- bits that say something ---- */

struct bit {
    unsigned bit;
    const char *name;
    bool makes_unusable;
};

static void put_bits(struct writer *w, const char *name, uint32_t value, const struct bit *bits,
                     size_t count)
{
    vg_json_name(&w->json, name);
    vg_json_open_array(&w->json);
    for (size_t i = 0; i < count; i++)
        if (value >> bits[i].bit & 1) {
            vg_json_put_string(&w->json, vg_slice_of(bits[i].name));
            if (bits[i].makes_unusable && !w->unusable)
                w->unusable = bits[i].name;
        }
    vg_json_close_array(&w->json);
}

#define PUT_BITS(w, name, value, bits)                                                             \
    put_bits(w, name, value, bits, sizeof(bits) / sizeof(bits[0]))

/* ---- time ---- */

static void put_time(struct writer *w, int64_t time_us, const char *from)
{
    char text[VG_TIME_TEXT_SIZE];
    unsigned digits = time_us % VG_SECOND_US == 0 ? 0 : time_us % 1000 == 0 ? 3 : 6;

    vg_json_member_string(&w->json, "time",
                          (struct vg_slice){text, vg_time_format(time_us, digits, text)});
    vg_json_member_string(&w->json, "timeFrom", vg_slice_of(from));
}

static void put_message_time(struct writer *w)
{
    put_time(w, w->element->time_us, "message");
}

/* Date Time; *ret_civil_us. False: not known (told), or too short. */
static bool take_date_time(struct writer *w, int64_t *ret_civil_us)
{
    int year = (int)take(&w->in, 2), month = (int)take(&w->in, 1), day = (int)take(&w->in, 1);
    int hour = (int)take(&w->in, 1), minute = (int)take(&w->in, 1), second = (int)take(&w->in, 1);
    int y, m, d;
    int64_t days;

    if (w->in.is_short)
        return false;
    days = year && month && day ? vg_date_days(year, month, day) : 0;
    vg_date_civil(days, &y, &m, &d);
    if (y != year || m != month || d != day || year < 1582 || year > 9999 || hour > 23 ||
        minute > 59 || second > 59) {
        complain(w, "gatt.time", "the device's clock is not set: its reading has no time");
        return false;
    }
    *ret_civil_us =
        days * VG_DAY_US + hour * VG_HOUR_US + minute * VG_MINUTE_US + second * VG_SECOND_US;
    return true;
}

static void put_device_time(struct writer *w, int64_t civil_us)
{
    int64_t time_us;

    if (!zone_to_utc(&w->element->zone, civil_us, w->received_us, &time_us))
        complain(w, "gatt.zone", "a device's time has no zone; connector.zone %s",
                 w->element->zone.kind == ZONE_NONE ? "or property zone says what it means"
                                                    : "has no such hour");
    else
        put_time(w, time_us, "device");
}

static void take_time(struct writer *w, bool is_present)
{
    int64_t civil_us;

    if (!is_present)
        put_message_time(w);
    else if (take_date_time(w, &civil_us))
        put_device_time(w, civil_us);
}

/* ---- the characteristics; false: the payload does not fit its flags ---- */

static bool heart_rate(struct writer *w)
{
    static const char *const contacts[] = {"unsupported", "unsupported", "no", "yes"};
    uint32_t flags = take(&w->in, 1), rate;

    open_measurement(w, "heart-rate");
    put_message_time(w);
    rate = put_number(w, "heartRate", flags & 1 ? 2 : 1);
    vg_json_member_string(&w->json, "contact", vg_slice_of(contacts[flags >> 1 & 3]));
    if ((flags >> 1 & 3) == 2)
        w->unusable = "no-skin-contact";
    else if (rate == 0)
        w->unusable = "no-heart-rate-found";
    if (flags & 8)
        (void)put_number(w, "energyKj", 2);
    if (flags & 16) {
        if (w->in.at == w->in.end)
            w->in.is_short = true;
        vg_json_name(&w->json, "rrMs"); /* units of 1/1024 s */
        vg_json_open_array(&w->json);
        while (w->in.at < w->in.end)
            vg_json_put_double(&w->json, take(&w->in, 2) * 1000.0 / 1024.0);
        vg_json_close_array(&w->json);
    }
    close_measurement(w);
    return true;
}

static bool blood_pressure(struct writer *w)
{
    static const struct bit bits[] = {{0, "body-movement", false},
                                      {1, "cuff-too-loose", false},
                                      {2, "irregular-pulse", false},
                                      {5, "improper-position", false}};
    static const char *const ranges[] = {"in-range", "above", "below", "reserved"};
    uint32_t flags = take(&w->in, 1);

    open_measurement(w, "blood-pressure");
    vg_json_member_string(&w->json, "unit", flags & 1 ? VG_SLICE("kPa") : VG_SLICE("mm[Hg]"));
    put_sfloat(w, "systolic");
    put_sfloat(w, "diastolic");
    put_sfloat(w, "mean");
    take_time(w, flags & 2);
    if (flags & 4)
        put_sfloat(w, "pulse");
    if (flags & 8)
        (void)put_number(w, "userId", 1);
    if (flags & 16) {
        uint32_t status = put_number(w, "statusBits", 2);

        PUT_BITS(w, "status", status, bits);
        vg_json_member_string(&w->json, "pulseRange", vg_slice_of(ranges[status >> 3 & 3]));
    }
    close_measurement(w);
    return true;
}

static bool temperature(struct writer *w)
{
    static const char *const sites[] = {
        NULL,    "armpit", "body", "ear",     "finger", "gastro-intestinal-tract",
        "mouth", "rectum", "toe",  "tympanum"};
    uint32_t flags = take(&w->in, 1);

    open_measurement(w, "temperature");
    vg_json_member_string(&w->json, "unit", flags & 1 ? VG_SLICE("[degF]") : VG_SLICE("Cel"));
    put_float(w, "temperature", 4, 0);
    take_time(w, flags & 2);
    if (flags & 4) {
        uint32_t site = put_number(w, "siteCode", 1);

        if (site > 0 && site < sizeof(sites) / sizeof(sites[0]))
            vg_json_member_string(&w->json, "site", vg_slice_of(sites[site]));
    }
    close_measurement(w);
    return true;
}

/* Both pulse oximeter characteristics. Returns whether it comes out of the device's memory. */
static bool oximeter_status(struct writer *w, bool has_measurement, bool has_sensor)
{
    static const struct bit measurement[] = {
        {5, "ongoing", false},         {6, "early-estimate", false}, {7, "validated", false},
        {8, "fully-qualified", false}, {9, "from-storage", false},   {10, "demonstration", true},
        {11, "testing", true},         {12, "calibration", true},    {13, "unavailable", true},
        {14, "questionable", false},   {15, "invalid", true},
    };
    static const struct bit sensor[] = {
        {0, "extended-update", false},     {1, "equipment-malfunction", true},
        {2, "signal-irregularity", false}, {3, "inadequate-signal", true},
        {4, "poor-signal", false},         {5, "low-perfusion", false},
        {6, "erratic-signal", false},      {7, "nonpulsatile-signal", false},
        {8, "questionable-pulse", false},  {9, "signal-analysis", false},
        {10, "interference", false},       {11, "sensor-unconnected-to-user", true},
        {12, "unknown-sensor", true},      {13, "sensor-displaced", true},
        {14, "sensor-malfunction", true},  {15, "sensor-disconnected", true},
    };
    uint32_t status = 0;

    if (has_measurement) {
        status = take(&w->in, 2);
        PUT_BITS(w, "status", status, measurement);
    }
    if (has_sensor)
        PUT_BITS(w, "sensor", take(&w->in, 3), sensor);
    return status >> 9 & 1;
}

static bool oximeter_spot(struct writer *w)
{
    uint32_t flags = take(&w->in, 1);
    bool has_time = flags & 1, is_stored;
    int64_t civil_us;

    open_measurement(w, "oximeter-spot");
    put_sfloat(w, "spo2");
    put_sfloat(w, "pulse");
    if (has_time && !(flags & 16)) {
        take_time(w, true);
    } else if (has_time) {
        (void)take_date_time(w, &civil_us);
        complain(w, "gatt.time", "the device's clock is not set: its reading has no time");
    }
    is_stored = oximeter_status(w, flags & 2, flags & 4);
    if (!has_time && is_stored)
        complain(w, "gatt.time", "a reading out of the device's memory, without a time");
    else if (!has_time)
        put_message_time(w);
    if (flags & 8)
        put_sfloat(w, "pulseAmplitudeIndex");
    close_measurement(w);
    return true;
}

static bool oximeter_continuous(struct writer *w)
{
    uint32_t flags = take(&w->in, 1);

    open_measurement(w, "oximeter-continuous");
    put_sfloat(w, "spo2");
    put_sfloat(w, "pulse");
    if (flags & 1) {
        put_sfloat(w, "spo2Fast");
        put_sfloat(w, "pulseFast");
    }
    if (flags & 2) {
        put_sfloat(w, "spo2Slow");
        put_sfloat(w, "pulseSlow");
    }
    if (oximeter_status(w, flags & 4, flags & 8))
        complain(w, "gatt.time", "a reading out of the device's memory, without a time");
    else
        put_message_time(w);
    if (flags & 16)
        put_sfloat(w, "pulseAmplitudeIndex");
    close_measurement(w);
    return true;
}

static bool glucose(struct writer *w)
{
    static const struct bit bits[] = {
        {0, "battery-low", false},     {1, "sensor-malfunction", true},
        {2, "sample-too-small", true}, {3, "strip-insertion", true},
        {4, "strip-type", true},       {5, "result-too-high", true},
        {6, "result-too-low", true},   {7, "too-hot", false},
        {8, "too-cold", false},        {9, "strip-pulled-too-soon", true},
        {10, "device-fault", true},    {11, "time-fault", false},
    };
    uint32_t flags = take(&w->in, 1), status;
    int64_t civil_us = 0;
    bool has_time;

    open_measurement(w, "glucose");
    (void)put_number(w, "sequence", 2);
    has_time = take_date_time(w, &civil_us);
    if (flags & 1)
        civil_us += (int16_t)take(&w->in, 2) * VG_MINUTE_US;
    if (flags & 2) {
        uint32_t kind;

        /* kg/L is mg/dL times 100,000, mol/L is mmol/L times 1,000: the same digits. */
        vg_json_member_string(&w->json, "unit", flags & 4 ? VG_SLICE("mmol/L") : VG_SLICE("mg/dL"));
        put_float(w, "glucose", 2, flags & 4 ? 3 : 5);
        kind = take(&w->in, 1);
        vg_json_member_i64(&w->json, "sampleType", kind & 15);
        vg_json_member_i64(&w->json, "sampleLocation", kind >> 4);
        if ((kind & 15) == 10 || kind >> 4 == 4)
            w->unusable = "control-solution";
    } else {
        note_absent(w, "glucose", "not-sent");
    }
    status = flags & 8 ? put_number(w, "statusBits", 2) : 0;
    PUT_BITS(w, "status", status, bits);
    if (has_time && status >> 11 & 1)
        complain(w, "gatt.time", "the device reports a fault of its clock");
    else if (has_time && !w->in.is_short)
        put_device_time(w, civil_us);
    vg_json_member_bool(&w->json, "contextFollows", flags & 16);
    close_measurement(w);
    return true;
}

/* CRC-16/MCRF4XX. */
static uint16_t crc16(const uint8_t *at, size_t len)
{
    uint16_t crc = 0xffff;

    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0x8408 : crc >> 1);
    }
    return crc;
}

/* One record of a continuous glucose notification. Its time counts from the session's start, which
 * only the gateway knows. */
static bool cgm_record(struct writer *w, size_t size)
{
    struct bytes all = w->in;
    uint32_t flags, offset;
    size_t want;

    w->in.end = w->in.at + size;
    (void)take(&w->in, 1);
    flags = take(&w->in, 1);
    want = 6 + (flags & 1) * 2 + (flags >> 1 & 1) * 2 + (flags >> 5 & 1) + (flags >> 6 & 1) +
           (flags >> 7 & 1);
    if (size != want && size != want + 2)
        return false;
    if (size == want + 2 && crc16(all.at, size - 2) != (all.at[size - 2] | all.at[size - 1] << 8)) {
        complain(w, "gatt.crc", "a record's checksum is wrong: it was not taken");
        w->in = (struct bytes){all.at + size, all.end, false};
        return true;
    }
    open_measurement(w, "glucose-continuous");
    vg_json_member_string(&w->json, "unit", VG_SLICE("mg/dL"));
    put_sfloat(w, "glucose");
    offset = put_number(w, "offsetMinutes", 2);
    if (w->element->has_session)
        put_time(w, w->element->session_us + offset * VG_MINUTE_US, "session");
    else
        complain(w, "gatt.time", "session-start is not given: the reading has no time");
    if (flags >> 7 & 1) {
        static const struct bit bits[] = {
            {0, "session-stopped", true},    {1, "battery-low", false},  {2, "sensor-type", true},
            {3, "sensor-malfunction", true}, {4, "device-alert", false}, {5, "device-fault", true}};

        PUT_BITS(w, "status", put_number(w, "statusBits", 1), bits);
    }
    if (flags >> 6 & 1)
        (void)put_number(w, "calibrationBits", 1);
    if (flags >> 5 & 1)
        (void)put_number(w, "warningBits", 1);
    if (flags & 1)
        put_sfloat(w, "trend");
    if (flags & 2)
        put_sfloat(w, "quality");
    close_measurement(w);
    w->in = (struct bytes){all.at + size, all.end, false};
    return true;
}

static bool cgm(struct writer *w)
{
    while (w->in.at < w->in.end) {
        size_t size = *w->in.at;

        if (size < 6 || size > (size_t)(w->in.end - w->in.at) || !cgm_record(w, size))
            return false;
    }
    return true;
}

static const struct {
    uint16_t uuid;
    bool (*put)(struct writer *w);
} characteristics[] = {{0x2a37, heart_rate},
                       {0x2a35, blood_pressure},
                       {0x2a1c, temperature},
                       {0x2a5e, oximeter_spot},
                       {0x2a5f, oximeter_continuous},
                       {0x2a18, glucose},
                       {0x2aa7, cgm}};

/* ---- messages ---- */

/* 2a37, 0x2A37 or the whole UUID; 0: none of the Bluetooth SIG's. */
static uint16_t uuid_of(struct vg_slice text)
{
    static const char tail[] = "-0000-1000-8000-00805f9b34fb";
    uint16_t value = 0;

    if (text.len == 36 && vg_slice_starts(text, VG_SLICE("0000")) &&
        vg_slice_eq_nocase(vg_slice_from(text, 8), vg_slice_of(tail)))
        text = (struct vg_slice){text.ptr + 4, 4};
    if (vg_slice_starts(text, VG_SLICE("0x")))
        text = vg_slice_from(text, 2);
    if (text.len != 4)
        return 0;
    for (size_t i = 0; i < 4; i++) {
        char c = (char)(text.ptr[i] | 0x20);
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0)
            return 0;
        value = (uint16_t)(value << 4 | digit);
    }
    return value;
}

static enum vg_status put_element(struct writer *w, const struct element *element,
                                  struct vg_err *err)
{
    const uint8_t *at = (const uint8_t *)element->payload.ptr;
    bool fits = true;
    size_t i = 0;

    w->element = element;
    w->in = (struct bytes){at, at + element->payload.len, false};
    while (i < sizeof(characteristics) / sizeof(characteristics[0]) &&
           characteristics[i].uuid != element->characteristic)
        i++;
    if (i == sizeof(characteristics) / sizeof(characteristics[0]))
        return vg_fail(err, VG_REJECT, "gatt.characteristic", 0,
                       "property characteristic is not one of 2a37, 2a35, 2a1c, 2a5e, 2a5f, 2a18, "
                       "2aa7");
    if (element->payload.len == 0)
        w->in.is_short = true;
    else
        fits = characteristics[i].put(w);
    if (w->in.is_short || w->in.at < w->in.end || !fits)
        return vg_fail(err, VG_REJECT, "gatt.length", 0,
                       "characteristic %04x: %zu bytes are %s than its flags say",
                       element->characteristic, element->payload.len,
                       w->in.is_short ? "fewer" : "other");
    return VG_OK;
}

static bool read_zone(const struct decode_config *config, struct vg_slice text, struct zone *ret)
{
    *ret = config->zone;
    return text.len == 0 || zone_parse(text, ret);
}

static bool read_session(struct vg_slice text, struct element *element)
{
    bool has_zone = false;

    if (text.len == 0)
        return true;
    element->has_session = vg_time_parse(text, &element->session_us, &has_zone) && has_zone;
    return element->has_session;
}

static void open_body(struct writer *w, const struct decode_input *input, struct vg_buf *out,
                      struct decoded *decoded)
{
    *w = (struct writer){.decoded = decoded, .received_us = input->received_us};
    vg_json_writer_init(&w->json, out);
    vg_json_open_object(&w->json);
    vg_json_name(&w->json, "measurements");
    vg_json_open_array(&w->json);
}

static void close_body(struct writer *w)
{
    vg_json_close_array(&w->json);
    vg_json_close_object(&w->json);
}

enum vg_status gatt_body(const struct decode_config *config, const struct decode_input *input,
                         struct vg_buf *out, struct decoded *decoded, struct vg_err *err)
{
    struct element element = {.characteristic = uuid_of(input->characteristic),
                              .payload = input->payload,
                              .time_us = input->time_us};
    struct writer w;
    enum vg_status st;

    if (!read_zone(config, input->zone, &element.zone) ||
        !read_session(input->session_start, &element))
        return vg_fail(err, VG_REJECT, "gatt.property", 0,
                       "property zone (+hh:mm) or session-start (a time with zone)");
    open_body(&w, input, out, decoded);
    st = put_element(&w, &element, err);
    close_body(&w);
    return st;
}

/* ---- the JSON form ---- */

static struct vg_slice unhex(struct vg_arena *arena, struct vg_slice text)
{
    char *out = vg_arena_alloc(arena, text.len / 2 + 1);

    if (!out || text.len % 2)
        return (struct vg_slice){0};
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)(text.ptr[i] | 0x20);
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0)
            return (struct vg_slice){0};
        out[i / 2] = (char)(i % 2 ? out[i / 2] | digit : digit << 4);
    }
    return (struct vg_slice){out, text.len / 2};
}

static enum vg_status read_element(const struct decode_config *config,
                                   const struct decode_input *input, const struct vg_json *json,
                                   struct vg_arena *arena, struct element *ret, struct vg_err *err)
{
    struct vg_slice value = vg_json_get_text(json, "value"), time = vg_json_get_text(json, "time");
    struct vg_slice encoding = vg_json_get_text(json, "encoding");
    bool has_zone = true, is_base64 = vg_slice_is(encoding, "base64");

    *ret = (struct element){.characteristic = uuid_of(vg_json_get_text(json, "characteristic")),
                            .device = vg_json_get_text(json, "device"),
                            .time_us = input->time_us};
    ret->payload = is_base64 ? vg_base64_decode(arena, value) : unhex(arena, value);
    if (!ret->payload.ptr || (encoding.len && !is_base64 && !vg_slice_is(encoding, "hex")))
        return vg_fail(err, VG_REJECT, "gatt.json", 0,
                       "value: hex digits, or with encoding base64 that");
    if (time.len && (!vg_time_parse(time, &ret->time_us, &has_zone) || !has_zone))
        return vg_fail(err, VG_REJECT, "gatt.json", 0, "time: expected ISO 8601 with a zone");
    if (!read_zone(config, vg_json_get_text(json, "zone"), &ret->zone))
        return vg_fail(err, VG_REJECT, "gatt.json", 0, "zone: expected +hh:mm");
    if (!read_session(vg_json_get_text(json, "sessionStart"), ret))
        return vg_fail(err, VG_REJECT, "gatt.json", 0,
                       "sessionStart: expected ISO 8601 with a zone");
    return VG_OK;
}

/* Writes nothing when it fails. */
static enum vg_status put_json_element(struct writer *w, const struct decode_config *config,
                                       const struct decode_input *input, const struct vg_json *json,
                                       struct vg_arena *arena, struct vg_err *err)
{
    const struct writer before = *w;
    struct vg_buf *out = w->json.out;
    size_t len = out->len;
    struct element element;
    enum vg_status st = read_element(config, input, json, arena, &element, err);

    if (st == VG_OK)
        st = put_element(w, &element, err);
    if (st != VG_OK) {
        *w = before;
        out->len = len;
    }
    return st;
}

enum vg_status gatt_json_body(const struct decode_config *config, const struct decode_input *input,
                              struct vg_arena *arena, struct vg_buf *out, struct decoded *decoded,
                              struct vg_err *err)
{
    const struct vg_json_options options = {.is_lenient = true, .values_max = 20000};
    struct vg_json_place place;
    struct vg_json *root;
    struct vg_err why = {0};
    struct writer w;
    enum vg_status st = VG_OK;

    if (vg_json_parse(arena, input->payload, &options, &root, &place, &why) != VG_OK)
        return vg_fail(err, VG_REJECT, "gatt.json", 0,
                       "payload is not JSON: line %u, column %u: %s", place.line, place.column,
                       why.text);
    if ((root->type != VG_JSON_OBJECT && root->type != VG_JSON_ARRAY) ||
        (root->type == VG_JSON_ARRAY && (root->count == 0 || root->count > ELEMENTS_MAX)))
        return vg_fail(err, VG_REJECT, "gatt.json", 0,
                       "expected an object, or an array of 1 to %d of them", ELEMENTS_MAX);
    open_body(&w, input, out, decoded);
    if (root->type == VG_JSON_OBJECT)
        st = put_json_element(&w, config, input, root, arena, err);
    for (const struct vg_json *one = root->type == VG_JSON_ARRAY ? root->child : NULL; one;
         one = one->next)
        /* A wrong one costs no other. */
        if (put_json_element(&w, config, input, one, arena, &why) != VG_OK &&
            !decoded->partial.code)
            decoded->partial = why;
    close_body(&w);
    return st;
}
