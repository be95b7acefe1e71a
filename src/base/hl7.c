/* hl7.c -- reads HL7 version 2 (ER7); says nothing about what a message means.
 *
 * The first eight or so bytes are the grammar: "MSH" and then the separators, whatever they are.
 * All parts are found by scanning for a separator, so time is linear in what is looked at, and
 * nothing is allocated. Safe on any bytes: separators must be distinct ASCII punctuation, so that
 * no separator is part of a UTF-8 sequence, a name, or a number.
 */
#include "base/hl7.h"

#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>

#define START_BLOCK '\x0b'
#define END_BLOCK '\x1c'

/* ---- opening ---- */

static struct vg_slice without_frame(struct vg_slice text)
{
    if (vg_slice_starts(text, VG_SLICE("\xef\xbb\xbf")))
        text = vg_slice_from(text, 3);
    while (text.len && (text.ptr[0] == START_BLOCK || text.ptr[0] == '\r' || text.ptr[0] == '\n'))
        text = vg_slice_from(text, 1);
    while (text.len && (text.ptr[text.len - 1] == END_BLOCK || text.ptr[text.len - 1] == '\r' ||
                        text.ptr[text.len - 1] == '\n'))
        text.len--;
    return text;
}

static bool is_separator(char c)
{
    return c > ' ' && c < 0x7f && !isalnum((unsigned char)c) && c != '"' && c != '.' && c != '+' &&
           c != '-';
}

static struct vg_slice segment_at(struct vg_slice text, size_t at)
{
    struct vg_slice rest = vg_slice_from(text, at);
    size_t len = 0;

    while (len < rest.len && rest.ptr[len] != '\r' && rest.ptr[len] != '\n')
        len++;
    return (struct vg_slice){rest.ptr, len};
}

static enum vg_status read_separators(struct vg_hl7 *hl7, struct vg_err *err)
{
    char *const kinds[] = {&hl7->component, &hl7->repetition, &hl7->escape, &hl7->subcomponent};
    struct vg_slice line = hl7->msh.text, encoding;

    if (!vg_slice_starts(line, VG_SLICE("MSH")) || line.len < 5 || !is_separator(line.ptr[3]))
        return vg_fail(err, VG_REJECT, "hl7.syntax", 0,
                       "segment 1: a message begins with MSH and its separators");
    hl7->field = line.ptr[3];
    encoding = vg_slice_from(line, 4);
    encoding = vg_slice_cut(&encoding, hl7->field);
    for (size_t i = 0; i < encoding.len; i++) {
        bool is_taken = encoding.ptr[i] == hl7->field;

        for (size_t j = 0; j < i; j++)
            is_taken = is_taken || encoding.ptr[j] == encoding.ptr[i];
        if (is_taken || !is_separator(encoding.ptr[i]) || encoding.len > 5) {
            hl7->field = '\0';
            return vg_fail(err, VG_REJECT, "hl7.syntax", 0,
                           "segment 1 (MSH), field 2: up to five different separators");
        }
        if (i < 4)
            *kinds[i] = encoding.ptr[i];
    }
    if (hl7->component)
        return VG_OK;
    hl7->field = '\0';
    return vg_fail(err, VG_REJECT, "hl7.syntax", 0, "segment 1 (MSH), field 2: empty");
}

static enum vg_status check_charset(struct vg_hl7 *hl7, struct vg_err *err)
{
    static const struct {
        const char *name;
        bool is_latin1;
    } sets[] = {{"", false},
                {"ASCII", false},
                {"UNICODE UTF-8", false},
                {"UTF-8", false},
                {"8859/1", true}};
    struct vg_slice name = vg_hl7_first(hl7, vg_hl7_field(hl7, &hl7->msh, 18));
    size_t i = 0;

    while (i < sizeof(sets) / sizeof(sets[0]) && !vg_slice_is(name, sets[i].name))
        i++;
    if (i == sizeof(sets) / sizeof(sets[0]))
        return vg_fail(err, VG_REJECT, "hl7.charset", 0,
                       "segment 1 (MSH), field 18: this character set is not served; UNICODE "
                       "UTF-8, 8859/1 and ASCII are");
    hl7->is_latin1 = sets[i].is_latin1;
    if (!hl7->is_latin1 && !vg_slice_is_utf8(hl7->text))
        return vg_fail(err, VG_REJECT, "hl7.charset", 0,
                       "segment 1 (MSH), field 18: the message is not %s as it says",
                       name.len ? "what" : "ASCII or UTF-8,");
    return VG_OK;
}

enum vg_status vg_hl7_open(struct vg_slice message, struct vg_hl7 *ret, struct vg_err *err)
{
    struct vg_hl7 hl7 = {.text = without_frame(message)};
    struct vg_hl7_cursor cursor = {0};
    struct vg_hl7_segment segment;
    uint32_t lines = 1;
    enum vg_status st;

    hl7.msh = (struct vg_hl7_segment){segment_at(hl7.text, 0), 1, "MSH"};
    st = read_separators(&hl7, err);
    *ret = hl7;
    if (st != VG_OK)
        return st;
    for (size_t i = 0; i < hl7.text.len; i++) {
        unsigned char c = (unsigned char)hl7.text.ptr[i];

        lines += c == '\r' || c == '\n';
        if (c == '\0' || c == START_BLOCK || c == END_BLOCK)
            return vg_fail(err, VG_REJECT, "hl7.syntax", 0,
                           "line %u: a control character (0x%02x) in the text", lines, c);
    }
    while ((st = vg_hl7_next(&hl7, &cursor, &segment, err)) == VG_OK)
        if (segment.number > VG_HL7_SEGMENTS_MAX)
            return vg_fail(err, VG_REJECT, "hl7.size", 0, "more than %u segments",
                           VG_HL7_SEGMENTS_MAX);
        else if (segment.number > 1 && memcmp(segment.id, "MSH", 3) == 0)
            return vg_fail(err, VG_REJECT, "hl7.syntax", 0, "segment %u: a second MSH",
                           segment.number);
    return st == VG_END ? check_charset(ret, err) : st;
}

enum vg_status vg_hl7_check_kind(const struct vg_hl7 *hl7, const char *processing,
                                 struct vg_err *err)
{
    static const char *const events[] = {"", "R01", "R30", "R31", "R32"};
    struct vg_slice kind = vg_hl7_field(hl7, &hl7->msh, 9);
    struct vg_slice mode = vg_hl7_component(hl7, vg_hl7_field(hl7, &hl7->msh, 11), 1);
    bool is_known = false;

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        is_known = is_known || vg_slice_is(vg_hl7_component(hl7, kind, 2), events[i]);
    if (!vg_slice_is(vg_hl7_component(hl7, kind, 1), "ORU") || !is_known)
        return vg_fail(err, VG_REJECT, "hl7.type", 0,
                       "segment 1 (MSH), field 9: not an observation message (ORU^R01)");
    if (mode.len > 0 && (mode.len != 1 || !strchr(processing, mode.ptr[0])))
        return vg_fail(err, VG_REJECT, "hl7.processing", 0,
                       "segment 1 (MSH), field 11: a message for tests or training; "
                       "hl7.processing says which are taken");
    return VG_OK;
}

/* ---- parts ---- */

enum vg_status vg_hl7_next(const struct vg_hl7 *hl7, struct vg_hl7_cursor *cursor,
                           struct vg_hl7_segment *ret, struct vg_err *err)
{
    struct vg_slice line;

    while (cursor->at < hl7->text.len &&
           (hl7->text.ptr[cursor->at] == '\r' || hl7->text.ptr[cursor->at] == '\n'))
        cursor->at++;
    if (cursor->at >= hl7->text.len)
        return VG_END;
    line = segment_at(hl7->text, cursor->at);
    cursor->at += line.len;
    cursor->number++;
    if (line.len < 3 || (line.len > 3 && line.ptr[3] != hl7->field) ||
        !isupper((unsigned char)line.ptr[0]) || !isalnum((unsigned char)line.ptr[1]) ||
        !isalnum((unsigned char)line.ptr[2]))
        return vg_fail(err, VG_REJECT, "hl7.syntax", 0,
                       "segment %u does not begin with a name of three letters", cursor->number);
    *ret = (struct vg_hl7_segment){line, cursor->number, ""};
    memcpy(ret->id, line.ptr, 3);
    return VG_OK;
}

struct vg_slice vg_hl7_part(struct vg_slice text, char separator, unsigned number)
{
    if (!separator)
        return number == 1 ? text : (struct vg_slice){0};
    while (--number > 0 && text.len)
        (void)vg_slice_cut(&text, separator);
    return vg_slice_cut(&text, separator);
}

struct vg_slice vg_hl7_field(const struct vg_hl7 *hl7, const struct vg_hl7_segment *segment,
                             unsigned number)
{
    bool is_msh = memcmp(segment->id, "MSH", 3) == 0;

    if (is_msh && number == 1)
        return (struct vg_slice){&hl7->field, 1};
    return vg_hl7_part(segment->text, hl7->field, is_msh ? number : number + 1);
}

struct vg_slice vg_hl7_first(const struct vg_hl7 *hl7, struct vg_slice field)
{
    return vg_hl7_part(field, hl7->repetition, 1);
}

struct vg_slice vg_hl7_component(const struct vg_hl7 *hl7, struct vg_slice field, unsigned number)
{
    return vg_hl7_part(vg_hl7_first(hl7, field), hl7->component, number);
}

/* ---- who and where ---- */

static bool is_set(struct vg_slice raw)
{
    return raw.len > 0 && !vg_hl7_is_null(raw);
}

void vg_hl7_follow_place(const struct vg_hl7 *hl7, const struct vg_hl7_segment *segment,
                         struct vg_slice *place)
{
    struct vg_slice id = vg_slice_of(segment->id);

    if (vg_slice_is(id, "PID"))
        *place = (struct vg_slice){0};
    if (!vg_slice_is(id, "PV1"))
        return;
    *place = vg_hl7_first(hl7, vg_hl7_field(hl7, segment, 3));
    while (place->len && place->ptr[place->len - 1] == hl7->component)
        place->len--;
}

void vg_hl7_put_place(const struct vg_hl7 *hl7, struct vg_slice place, struct vg_buf *out)
{
    for (unsigned i = 1; place.len; i++) {
        if (i > 1)
            vg_buf_put_byte(out, '^');
        vg_hl7_put_text(hl7, vg_slice_cut(&place, hl7->component), out);
    }
}

void vg_hl7_put_device(const struct vg_hl7 *hl7, const struct vg_hl7_segment *obx,
                       struct vg_slice place, struct vg_buf *out)
{
    struct vg_slice equipment = vg_hl7_field(hl7, obx, 18);
    struct vg_slice sender = vg_hl7_field(hl7, &hl7->msh, 3);
    const struct vg_slice names[] = {vg_hl7_component(hl7, equipment, 1),
                                     vg_hl7_component(hl7, equipment, 3)};

    for (size_t i = 0; i < 2; i++)
        if (is_set(names[i])) {
            vg_hl7_put_text(hl7, names[i], out);
            return;
        }
    if (is_set(place)) {
        vg_hl7_put_place(hl7, place, out);
        return;
    }
    if (is_set(vg_hl7_component(hl7, sender, 2)))
        vg_hl7_put_text(hl7, vg_hl7_component(hl7, sender, 2), out);
    else if (is_set(vg_hl7_component(hl7, sender, 1)))
        vg_hl7_put_text(hl7, vg_hl7_component(hl7, sender, 1), out);
}

bool vg_hl7_is_null(struct vg_slice raw)
{
    return vg_slice_is(raw, "\"\"");
}

/* ---- text ---- */

static void put_byte(const struct vg_hl7 *hl7, unsigned char c, struct vg_buf *out)
{
    if (hl7->is_latin1 && c >= 0x80) {
        vg_buf_put_byte(out, (uint8_t)(0xc0 | c >> 6));
        vg_buf_put_byte(out, (uint8_t)(0x80 | (c & 0x3f)));
    } else {
        vg_buf_put_byte(out, c);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The inside of one escape sequence; false: it is none that we know. */
static bool put_escape(const struct vg_hl7 *hl7, struct vg_slice inside, struct vg_buf *out)
{
    const struct {
        char letter, meaning;
    } letters[] = {{'F', hl7->field},
                   {'S', hl7->component},
                   {'T', hl7->subcomponent},
                   {'R', hl7->repetition},
                   {'E', hl7->escape}};

    if (inside.len == 0)
        return false;
    if (inside.len == 1) {
        for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
            if (inside.ptr[0] == letters[i].letter && letters[i].meaning) {
                vg_buf_put_byte(out, (uint8_t)letters[i].meaning);
                return true;
            }
        return inside.ptr[0] == 'H' || inside.ptr[0] == 'N';
    }
    if (inside.ptr[0] == '.') {
        if (vg_slice_starts(inside, VG_SLICE(".br")) || vg_slice_starts(inside, VG_SLICE(".sp")))
            vg_buf_put_byte(out, '\n');
        return true;
    }
    if (inside.ptr[0] != 'X' || inside.len % 2 == 0)
        return false;
    for (size_t i = 1; i < inside.len; i++)
        if (hex_digit(inside.ptr[i]) < 0)
            return false;
    for (size_t i = 1; i < inside.len; i += 2)
        put_byte(hl7, (unsigned char)(hex_digit(inside.ptr[i]) << 4 | hex_digit(inside.ptr[i + 1])),
                 out);
    return true;
}

void vg_hl7_put_text(const struct vg_hl7 *hl7, struct vg_slice raw, struct vg_buf *out)
{
    while (raw.len) {
        const char *end = NULL;

        if (hl7->escape && raw.ptr[0] == hl7->escape)
            end = memchr(raw.ptr + 1, hl7->escape, raw.len - 1);
        if (end &&
            put_escape(hl7, (struct vg_slice){raw.ptr + 1, (size_t)(end - raw.ptr) - 1}, out))
            raw = vg_slice_from(raw, (size_t)(end - raw.ptr) + 1);
        else {
            put_byte(hl7, (unsigned char)raw.ptr[0], out);
            raw = vg_slice_from(raw, 1);
        }
    }
}

/* ---- time ---- */

/* Two or four digits at `at`; -1 when they are none. */
static int digits(struct vg_slice text, size_t at, size_t count)
{
    int value = 0;

    for (size_t i = at; i < at + count; i++) {
        if (i >= text.len || !isdigit((unsigned char)text.ptr[i]))
            return -1;
        value = value * 10 + (text.ptr[i] - '0');
    }
    return value;
}

static bool parse_zone(struct vg_slice zone, struct vg_hl7_time *ret)
{
    int hours = digits(zone, 1, 2), minutes = digits(zone, 3, 2);

    if (zone.len != 5 || hours < 0 || hours > 14 || minutes < 0 || minutes > 59)
        return false;
    ret->has_zone = true;
    ret->zone_s = (hours * 3600 + minutes * 60) * (zone.ptr[0] == '-' ? -1 : 1);
    return true;
}

bool vg_hl7_time_parse(struct vg_slice text, struct vg_hl7_time *ret)
{
    /* month, day, hour, minute, second: where they stand, least, most, when absent */
    static const int limits[5][2] = {{1, 12}, {1, 31}, {0, 23}, {0, 59}, {0, 59}};
    int parts[5] = {1, 1, 0, 0, 0}, year, given_day, y, m, d;
    int64_t fraction_us = 0, unit_us = VG_SECOND_US / 10, days;
    struct vg_hl7_time time = {0};
    size_t zone_at = 0, end;

    while (zone_at < text.len && text.ptr[zone_at] != '+' && text.ptr[zone_at] != '-')
        zone_at++;
    if (zone_at < text.len && !parse_zone(vg_slice_from(text, zone_at), &time))
        return false;
    text.len = zone_at;
    end = 0;
    while (end < text.len && text.ptr[end] != '.')
        end++;
    if (end < 4 || end > 14 || end % 2 || (end < text.len && end != 14))
        return false;
    year = digits(text, 0, 4);
    for (size_t i = 0; i < 5 && 4 + 2 * i < end; i++) {
        parts[i] = digits(text, 4 + 2 * i, 2);
        if (parts[i] < limits[i][0] || parts[i] > limits[i][1])
            return false;
    }
    for (size_t i = end + 1; i < text.len; i++, unit_us /= 10) {
        int digit = digits(text, i, 1);

        if (digit < 0)
            return false;
        fraction_us += digit * unit_us;
    }
    if (year < 1)
        return false;
    given_day = parts[1];
    days = vg_date_days(year, parts[0], given_day);
    vg_date_civil(days, &y, &m, &d);
    if (y != year || m != parts[0] || d != given_day)
        return false; /* 30 February */
    time.precision = (enum vg_hl7_precision)end;
    time.civil_us = days * VG_DAY_US + parts[2] * VG_HOUR_US + parts[3] * VG_MINUTE_US +
                    parts[4] * VG_SECOND_US + fraction_us;
    *ret = time;
    return true;
}
