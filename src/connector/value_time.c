/* value_time.c -- what a text of a message says about time.
 *
 * The reference engine meets a date in two ways. While it reads the message's JSON, a string of
 * ISO's form (or /Date(ms)/) stops being a text: value_is_date(). Any other text becomes a time
 * only where one is asked for, by the general rules of .NET's invariant culture, of which
 * parse_general() knows the forms that devices send. What .NET fills in from today (a clock without
 * a day, a day without a year) is refused: such a time would be wrong without anybody seeing it.
 *
 * Its clock counts ticks of 100 ns, and so does this file.
 *
 * Threads: each remembers the text of the day that it wrote last.
 */
#include "connector/value.h"

#include "base/clock.h"

#include <stdio.h>
#include <strings.h>

#define SECOND_TICKS (10 * VG_SECOND_US)
#define TICKS_FIRST (-62135596800 * SECOND_TICKS) /* year 1 */
#define TICKS_END (253402300800 * SECOND_TICKS)   /* year 10000 */

enum zone {
    ZONE_NONE,
    ZONE_UTC,
    ZONE_OFFSET,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool cut_char(struct vg_slice *text, char c)
{
    if (text->len == 0 || text->ptr[0] != c)
        return false;
    *text = vg_slice_from(*text, 1);
    return true;
}

static bool cut_blanks(struct vg_slice *text)
{
    bool has_any = false;

    while (cut_char(text, ' ') || cut_char(text, '\t'))
        has_any = true;
    return has_any;
}

static bool cut_number(struct vg_slice *text, size_t digits_max, int *ret)
{
    size_t n = 0;

    *ret = 0;
    while (n < text->len && n < digits_max && is_digit(text->ptr[n]))
        *ret = *ret * 10 + (text->ptr[n++] - '0');
    *text = vg_slice_from(*text, n);
    return n > 0;
}

static bool make_day(int year, int month, int day, int64_t *ret_us)
{
    int64_t days;
    int y, m, d;

    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    days = vg_date_days(year, month, day);
    vg_date_civil(days, &y, &m, &d);
    *ret_us = days * VG_DAY_US;
    return y == year && m == month && d == day;
}

/* ".1234567": to the tick; what is behind it rounds. The point has been cut. */
static bool cut_fraction(struct vg_slice *text, int64_t *ret_ticks)
{
    int64_t scale = SECOND_TICKS;
    size_t n = 0;

    *ret_ticks = 0;
    for (; n < text->len && is_digit(text->ptr[n]); n++) {
        scale /= 10;
        *ret_ticks += (text->ptr[n] - '0') * scale;
        if (n == 7 && text->ptr[n] >= '5')
            ++*ret_ticks;
    }
    *text = vg_slice_from(*text, n);
    return n > 0;
}

/* ---- dates of the message's JSON ---- */

/* "/Date(1549061161000)/", also with an offset behind the number, which changes nothing. */
static bool parse_json_date(struct vg_slice text, int64_t *ret_ticks, enum zone *ret_zone)
{
    struct vg_slice number;
    size_t end = 1, digits;
    int64_t ms;

    if (text.len < 9 || !vg_slice_starts(text, VG_SLICE("/Date(")) ||
        !vg_slice_eq(vg_slice_from(text, text.len - 2), VG_SLICE(")/")))
        return false;
    number = (struct vg_slice){text.ptr + 6, text.len - 8};
    *ret_zone = ZONE_UTC;
    while (end < number.len && number.ptr[end] != '+' && number.ptr[end] != '-')
        end++;
    if (end < number.len) {
        digits = number.len - end - 1;
        *ret_zone = ZONE_OFFSET;
        for (size_t i = end + 1; i < number.len; i++)
            if (!is_digit(number.ptr[i]))
                return false;
        if (digits != 2 && digits != 4)
            return false;
        number.len = end;
    }
    if (!vg_slice_to_i64(number, &ms) || ms < TICKS_FIRST / 10000 || ms >= TICKS_END / 10000)
        return false;
    *ret_ticks = ms * 10000;
    return true;
}

/* Years, month, day and T at their places, then a clock with seconds below 60; at most 7 digits. */
static bool parse_iso_date(struct vg_slice text, int64_t *ret_ticks, enum zone *ret_zone)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    struct vg_slice rest;
    int64_t us, ticks = 0;
    bool has_zone;
    size_t i;

    if (text.len < sizeof(shape) - 1 || text.len > 40 || text.ptr[17] > '5')
        return false;
    for (i = 0; shape[i]; i++)
        if (shape[i] == 'd' ? !is_digit(text.ptr[i]) : text.ptr[i] != shape[i])
            return false;
    rest = vg_slice_from(text, i);
    if (cut_char(&rest, '.')) {
        size_t left = rest.len;

        if (!cut_fraction(&rest, &ticks) || left - rest.len > 7)
            return false;
    }
    if (!vg_time_parse(text, &us, &has_zone))
        return false;
    *ret_ticks = us * 10 + ticks % 10;
    *ret_zone = !has_zone                                  ? ZONE_NONE
                : rest.ptr[0] == 'Z' || rest.ptr[0] == 'z' ? ZONE_UTC
                                                           : ZONE_OFFSET;
    return true;
}

static bool parse_date(struct vg_slice text, int64_t *ret_ticks, enum zone *ret_zone)
{
    if (text.len == 0)
        return false;
    return text.ptr[0] == '/' ? parse_json_date(text, ret_ticks, ret_zone)
                              : parse_iso_date(text, ret_ticks, ret_zone);
}

bool value_is_date(const struct vg_json *value)
{
    enum zone zone;
    int64_t ticks;

    return value->type == VG_JSON_STRING && value->source.ptr &&
           parse_date(value->text, &ticks, &zone);
}

size_t value_date_text(const struct vg_json *date, char out[static 64])
{
    char iso[VG_TIME_TEXT_SIZE];
    enum zone zone;
    int64_t ticks = 0;

    (void)parse_date(date->text, &ticks, &zone);
    (void)vg_time_format((ticks - (ticks % 10 + 10) % 10) / 10, 0, iso); /* yyyy-MM-ddTHH:mm:ssZ */
    return (size_t)snprintf(out, 64, "%.2s/%.2s/%.4s %.8s", iso + 5, iso + 8, iso, iso + 11);
}

size_t value_date_iso(const struct vg_json *date, char out[static 64])
{
    enum zone zone = ZONE_UTC;
    int64_t ticks = 0;
    unsigned tenths;
    size_t len;

    (void)parse_date(date->text, &ticks, &zone);
    tenths = (unsigned)((ticks % 10 + 10) % 10);
    len = value_ticks_text((ticks - tenths) / 10, tenths, out);
    if (zone == ZONE_UTC)
        return len;
    return len - 1 + (size_t)snprintf(out + len - 1, 8, "%s", zone == ZONE_NONE ? "" : "+00:00");
}

bool value_date_ticks(struct vg_slice text, int64_t *ret_ticks)
{
    enum zone zone;

    return parse_date(text, ret_ticks, &zone) || value_parse_time(text, ret_ticks);
}

/* ---- any text that says a time ---- */

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const month_names[12] = {"January",   "February", "March",    "April",
                                            "May",       "June",     "July",     "August",
                                            "September", "October",  "November", "December"};
static const char *const weekdays[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};

static size_t word_length(struct vg_slice text)
{
    size_t n = 0;

    while (n < text.len && ((text.ptr[n] | 32) >= 'a' && (text.ptr[n] | 32) <= 'z'))
        n++;
    return n;
}

static bool cut_month(struct vg_slice *text, int *ret)
{
    struct vg_slice word = {text->ptr, word_length(*text)};

    for (int i = 0; i < 12; i++)
        if (vg_slice_eq_nocase(word, vg_slice_of(months[i])) ||
            vg_slice_eq_nocase(word, vg_slice_of(month_names[i]))) {
            *ret = i + 1;
            *text = vg_slice_from(*text, word.len);
            return true;
        }
    return false;
}

/* 0 is Sunday; -1: there is none. */
static int cut_weekday(struct vg_slice *text)
{
    struct vg_slice word = {text->ptr, word_length(*text)};

    for (int i = 0; i < 7; i++)
        if (vg_slice_eq_nocase(word, vg_slice_of(weekdays[i])) ||
            (word.len == 3 && strncasecmp(word.ptr, weekdays[i], 3) == 0)) {
            *text = vg_slice_from(*text, word.len);
            (void)cut_char(text, ',');
            (void)cut_blanks(text);
            return i;
        }
    return -1;
}

/* Blanks, a comma or a hyphen between the parts of a date with a month's name. */
static void cut_gap(struct vg_slice *text)
{
    (void)cut_blanks(text);
    if (!cut_char(text, ','))
        (void)cut_char(text, '-');
    (void)cut_blanks(text);
}

/* yyyy-MM-dd, yyyy/MM/dd, MM/dd/yyyy, MM-dd-yyyy, dd MMM yyyy, MMM dd, yyyy */
static bool cut_date(struct vg_slice *text, int64_t *ret_us)
{
    int first, second, third, month;
    char separator;

    if (cut_month(text, &month)) {
        cut_gap(text);
        if (!cut_number(text, 2, &first))
            return false;
        cut_gap(text);
        return text->len >= 4 && cut_number(text, 4, &third) &&
               make_day(third, month, first, ret_us);
    }
    if (!cut_number(text, 4, &first) || text->len == 0)
        return false;
    separator = text->ptr[0];
    if (separator != '-' && separator != '/') {
        cut_gap(text);
        return first < 32 && cut_month(text, &month) && (cut_gap(text), true) &&
               cut_number(text, 4, &third) && third > 999 && make_day(third, month, first, ret_us);
    }
    *text = vg_slice_from(*text, 1);
    if (cut_month(text, &month)) { /* 14-Mar-2026 */
        return cut_char(text, separator) && cut_number(text, 4, &third) && third > 999 &&
               make_day(third, month, first, ret_us);
    }
    if (!cut_number(text, 2, &second) || !cut_char(text, separator) || !cut_number(text, 4, &third))
        return false;
    if (first > 999)
        return third < 100 && make_day(first, second, third, ret_us);
    return third > 999 && first < 100 && make_day(third, first, second, ret_us);
}

/* A day that is not on the weekday it names is no day: nobody knows which of both is wrong. */
static bool cut_day(struct vg_slice *text, int64_t *ret_us)
{
    int weekday = cut_weekday(text);

    /* 0001-01-01, the first day that can be made, is a Monday. */
    return cut_date(text, ret_us) &&
           (weekday < 0 ||
            (*ret_us / VG_DAY_US - vg_date_days(1, 1, 1) + 1) % 7 == (int64_t)weekday);
}

/* hh:mm[:ss[.f]][ AM|PM], in ticks of the day. */
static bool cut_clock(struct vg_slice *text, int64_t *ret_ticks)
{
    int hour, minute, second = 0;
    int64_t fraction = 0;
    struct vg_slice mark;

    if (!cut_number(text, 2, &hour) || !cut_char(text, ':') || !cut_number(text, 2, &minute))
        return false;
    if (cut_char(text, ':')) {
        if (!cut_number(text, 2, &second))
            return false;
        if (cut_char(text, '.') && !cut_fraction(text, &fraction))
            return false;
    }
    mark = *text;
    (void)cut_blanks(&mark);
    if (word_length(mark) == 2 && (mark.ptr[1] | 32) == 'm' &&
        ((mark.ptr[0] | 32) == 'a' || (mark.ptr[0] | 32) == 'p')) {
        bool is_pm = (mark.ptr[0] | 32) == 'p';

        if (hour > (is_pm ? 23 : 12))
            return false;
        hour = is_pm && hour < 12 ? hour + 12 : !is_pm && hour == 12 ? 0 : hour;
        *text = vg_slice_from(mark, 2);
    }
    if (hour > 23 || minute > 59 || second > 59)
        return false;
    *ret_ticks = (hour * 3600 + minute * 60 + second) * SECOND_TICKS + fraction;
    return true;
}

/* Z, GMT, +hh, +hh:mm, +hhmm; nothing is UTC. The rest of the text must be that. */
static bool take_zone(struct vg_slice text, int64_t *ret_ticks)
{
    bool is_west;
    int hours, minutes = 0;

    *ret_ticks = 0;
    (void)cut_blanks(&text);
    if (text.len == 0 || vg_slice_eq_nocase(text, VG_SLICE("Z")) ||
        vg_slice_eq_nocase(text, VG_SLICE("GMT")))
        return true;
    is_west = text.ptr[0] == '-';
    if ((!cut_char(&text, '+') && !cut_char(&text, '-')) || !cut_number(&text, 2, &hours))
        return false;
    if (text.len > 0 && ((void)cut_char(&text, ':'), !cut_number(&text, 2, &minutes)))
        return false;
    *ret_ticks = (hours * 60 + minutes) * 60 * SECOND_TICKS * (is_west ? -1 : 1);
    return text.len == 0 && hours <= 14 && minutes <= 59;
}

bool value_parse_time(struct vg_slice text, int64_t *ret_ticks)
{
    int64_t day_us, clock = 0, offset = 0;

    text = vg_slice_trim(text);
    if (!cut_day(&text, &day_us))
        return false;
    if (text.len > 0 && (text.ptr[0] == 'T' || text.ptr[0] == ' ' || text.ptr[0] == ',')) {
        struct vg_slice rest = text;

        if (!cut_char(&rest, 'T')) {
            (void)cut_char(&rest, ',');
            (void)cut_blanks(&rest);
        }
        if (rest.len > 0 && is_digit(rest.ptr[0])) {
            if (!cut_clock(&rest, &clock))
                return false;
            text = rest;
        }
    }
    if (!take_zone(text, &offset))
        return false;
    *ret_ticks = day_us * 10 + clock - offset;
    return *ret_ticks >= TICKS_FIRST && *ret_ticks < TICKS_END;
}

bool value_time(const struct vg_json *value, bool is_medtech, int64_t *ret_us, unsigned *ret_tenths)
{
    int64_t ticks;
    enum zone zone;
    unsigned tenths;

    if (!value || value->type != VG_JSON_STRING)
        return false;
    if (!parse_date(value->text, &ticks, &zone) && !value_parse_time(value->text, &ticks)) {
        /* A leap second is a time, if not one that the reference knows. */
        if (is_medtech || !vg_time_parse(value->text, ret_us, NULL))
            return false;
        ticks = *ret_us * 10;
    }
    tenths = (unsigned)((ticks % 10 + 10) % 10);
    *ret_us = (ticks - tenths) / 10;
    if (ret_tenths)
        *ret_tenths = tenths;
    return true;
}

static char *put_two(char *p, unsigned number)
{
    p[0] = (char)('0' + number / 10);
    p[1] = (char)('0' + number % 10);
    return p + 2;
}

size_t value_time_format(int64_t time_us, unsigned fraction_digits, char out[static 40])
{
    static _Thread_local struct {
        int64_t us; /* when it begins */
        char text[VG_TIME_TEXT_SIZE];
    } day = {.us = INT64_MIN};
    int64_t us = (int64_t)((uint64_t)time_us - (uint64_t)day.us);
    unsigned second;
    char *p = out + 11;

    if (day.us == INT64_MIN || time_us < day.us || us >= VG_DAY_US) {
        int64_t rest = time_us % VG_DAY_US;

        if (time_us < TICKS_FIRST / 10 || time_us >= TICKS_END / 10)
            return vg_time_format(time_us, fraction_digits, out);
        day.us = time_us - (rest < 0 ? rest + VG_DAY_US : rest);
        (void)vg_time_format(day.us, 0, day.text);
        us = time_us - day.us;
    }
    memcpy(out, day.text, 11); /* yyyy-MM-ddT */
    second = (unsigned)(us / VG_SECOND_US);
    p = put_two(p, second / 3600);
    *p++ = ':';
    p = put_two(p, second / 60 % 60);
    *p++ = ':';
    p = put_two(p, second % 60);
    if (fraction_digits > 0) {
        unsigned fraction = (unsigned)(us % VG_SECOND_US);

        for (unsigned i = fraction_digits; i < 6; i++)
            fraction /= 10;
        *p = '.';
        for (unsigned i = fraction_digits; i > 0; i--, fraction /= 10)
            p[i] = (char)('0' + fraction % 10);
        p += fraction_digits + 1;
    }
    *p++ = 'Z';
    *p = '\0';
    return (size_t)(p - out);
}

size_t value_time_text(int64_t time_us, char out[static 40])
{
    return value_ticks_text(time_us, 0, out);
}

size_t value_ticks_text(int64_t time_us, unsigned tenths, char out[static 40])
{
    bool has_fraction = time_us % VG_SECOND_US != 0 || tenths != 0;
    size_t len = value_time_format(time_us, has_fraction ? 6 : 0, out);

    if (has_fraction) {
        len--; /* the Z */
        out[len++] = (char)('0' + tenths);
        while (out[len - 1] == '0')
            len--;
        out[len++] = 'Z';
        out[len] = '\0';
    }
    return len;
}
