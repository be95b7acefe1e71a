/* validate_format.c -- the forms of R4's primitive types. */
#include "fhir/validate_int.h"

#include <stdlib.h>

#define STRING_CHARS_MAX (1024u * 1024u)

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool has_space(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ')
            return true;
    return false;
}

static bool is_integer(struct vg_slice text, int64_t min)
{
    int64_t value;
    size_t digits = text.len && text.ptr[0] == '-' ? 1 : 0;

    for (size_t i = digits; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return vg_slice_to_i64(text, &value) && value >= min && value <= INT32_MAX;
}

/* No blank at either end, and single ones inside. */
static bool is_code(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (is_space(text.ptr[i]) &&
            (i == 0 || i + 1 == text.len || is_space(text.ptr[i + 1]) || text.ptr[i] != ' '))
            return false;
    return true;
}

static bool is_base64(struct vg_slice text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (is_space(c))
            continue;
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/' || c == '='))
            return false;
        count++;
    }
    return count > 0 && count % 4 == 0;
}

static bool is_time_of_day(struct vg_slice text)
{
    static const char form[] = "dd:dd:dd";

    if (text.len < sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        bool is_digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        char want = i < sizeof(form) - 1 ? form[i] : i == sizeof(form) - 1 ? '.' : 'd';

        if (want == 'd' ? !is_digit : text.ptr[i] != want)
            return false;
    }
    return text.len != sizeof(form) && memcmp(text.ptr, "24", 2) < 0 && text.ptr[3] < '6' &&
           (text.ptr[6] < '6' || memcmp(text.ptr + 6, "60", 2) == 0);
}

static bool is_oid(struct vg_slice text)
{
    if (!vg_slice_starts(text, VG_SLICE("urn:oid:")))
        return false;
    text = vg_slice_from(text, 8);
    if (text.len < 3 || text.ptr[0] < '0' || text.ptr[0] > '2' || text.ptr[1] != '.')
        return false;
    for (struct vg_slice rest = vg_slice_from(text, 2); rest.len;) {
        struct vg_slice arc = vg_slice_cut(&rest, '.');

        if (arc.len == 0 || (arc.len > 1 && arc.ptr[0] == '0'))
            return false;
        for (size_t i = 0; i < arc.len; i++)
            if (arc.ptr[i] < '0' || arc.ptr[i] > '9')
                return false;
    }
    return text.ptr[text.len - 1] != '.';
}

static bool is_uuid(struct vg_slice text)
{
    if (text.len != 45 || !vg_slice_starts(text, VG_SLICE("urn:uuid:")))
        return false;
    for (size_t i = 9; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_dash = i == 17 || i == 22 || i == 27 || i == 32;

        if (is_dash ? c != '-' : !((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f')))
            return false;
    }
    return true;
}

static bool is_time(struct vg_slice text, enum fhir_datatype type)
{
    struct fhir_span span;
    enum fhir_precision precision;
    bool has_zone;

    return fhir_time_parse(text, &span, &precision, &has_zone) &&
           !memchr(text.ptr, ' ', text.len) && precision != FHIR_MINUTE &&
           (type != FHIR_T_DATE || precision <= FHIR_DAY) &&
           (type != FHIR_T_INSTANT || precision == FHIR_SECOND) &&
           (precision != FHIR_SECOND || has_zone);
}

static bool is_letter(char c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* onload="…", at this place of a tag. */
static bool is_event(struct vg_slice text)
{
    size_t at = 0;

    while (at < text.len && is_letter(text.ptr[at]))
        at++;
    if (at < 3 || (text.ptr[0] | 32) != 'o' || (text.ptr[1] | 32) != 'n')
        return false;
    while (at < text.len && is_space(text.ptr[at]))
        at++;
    return at < text.len && text.ptr[at] == '=';
}

static bool is_active(struct vg_slice text)
{
    static const char *const banned[] = {"<script", "<iframe",     "<frame",   "<object", "<embed",
                                         "<applet", "<form",       "<input",   "<base",   "<link",
                                         "<meta",   "<head",       "<body",    "<style",  "<svg",
                                         "<math",   "javascript:", "vbscript:"};

    for (size_t n = 0; n < sizeof(banned) / sizeof(banned[0]); n++) {
        size_t len = strlen(banned[n]);

        if (text.len >= len &&
            vg_slice_eq_nocase((struct vg_slice){text.ptr, len}, (struct vg_slice){banned[n], len}))
            return true;
    }
    return false;
}

/* Not the whole of XHTML: a div, and nothing in it that a browser would run. */
static bool is_narrative(struct vg_slice text)
{
    bool is_in_tag = false;
    char quote = '\0';

    while (text.len && is_space(text.ptr[0]))
        text = vg_slice_from(text, 1);
    while (text.len && is_space(text.ptr[text.len - 1]))
        text.len--;
    if (!vg_slice_starts(text, VG_SLICE("<div")) || text.len < 6 || text.ptr[text.len - 1] != '>')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if ((c == '<' || (c | 32) == 'j' || (c | 32) == 'v') && is_active(vg_slice_from(text, i)))
            return false;
        if (quote) {
            if (c == quote)
                quote = '\0';
        } else if (!is_in_tag) {
            is_in_tag = c == '<';
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '>') {
            is_in_tag = false;
        } else if (!is_letter(text.ptr[i - 1]) && is_event(vg_slice_from(text, i))) {
            return false;
        }
    }
    return true;
}

/* R4: a string has at most 1024 * 1024 characters. */
static bool is_too_long(struct vg_slice text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len && text.len > STRING_CHARS_MAX; i++)
        count += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return count > STRING_CHARS_MAX;
}

static bool is_text(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' && !is_space(text.ptr[i]))
            return false;
    return true;
}

const char *fhir_primitive_fault(enum fhir_datatype type, const struct vg_json *value)
{
    struct vg_slice text = value->text;
    bool is_number = value->type == VG_JSON_NUMBER;

    switch (type) {
    case FHIR_T_BOOLEAN:
        return value->type == VG_JSON_TRUE || value->type == VG_JSON_FALSE
                   ? NULL
                   : "must be true or false";
    case FHIR_T_INTEGER:
        return is_number && is_integer(text, INT32_MIN) ? NULL : "must be an integer of 32 bits";
    case FHIR_T_UNSIGNED:
        return is_number && is_integer(text, 0) ? NULL : "must be an integer from 0 to 2147483647";
    case FHIR_T_POSITIVE:
        return is_number && is_integer(text, 1) ? NULL : "must be an integer from 1 to 2147483647";
    case FHIR_T_DECIMAL:
        return is_number ? NULL : "must be a number";
    default:
        break;
    }
    if (value->type != VG_JSON_STRING)
        return "must be a text";
    if (text.len == 0)
        return "must not be an empty text";
    switch (type) {
    case FHIR_T_STRING:
    case FHIR_T_MARKDOWN:
        return is_too_long(text) ? "must have 1048576 characters at most"
               : is_text(text)   ? NULL
                                 : "must not hold control characters";
    case FHIR_T_URI:
    case FHIR_T_URL:
    case FHIR_T_CANONICAL:
        return has_space(text) ? "must not hold white space" : NULL;
    case FHIR_T_OID:
        return is_oid(text) ? NULL : "must be urn:oid: and an object identifier";
    case FHIR_T_UUID:
        return is_uuid(text) ? NULL : "must be urn:uuid: and a UUID";
    case FHIR_T_BASE64:
        return is_base64(text) ? NULL : "must be base64";
    case FHIR_T_INSTANT:
        return is_time(text, type) ? NULL : "must be an instant (seconds and zone)";
    case FHIR_T_DATE:
        return is_time(text, type) ? NULL : "must be YYYY, YYYY-MM or YYYY-MM-DD";
    case FHIR_T_DATETIME:
        return is_time(text, type) ? NULL : "must be a dateTime (with a zone when it has a time)";
    case FHIR_T_TIME:
        return is_time_of_day(text) ? NULL : "must be hh:mm:ss";
    case FHIR_T_CODE:
        return is_code(text) ? NULL : "must be a code, without blanks around it";
    case FHIR_T_ID:
        return fhir_id_is_ok(text) ? NULL : "must be 1 to 64 of A-Z a-z 0-9 - .";
    case FHIR_T_XHTML:
        return is_narrative(text) ? NULL : "must be an XHTML div without active content";
    default:
        return NULL;
    }
}
