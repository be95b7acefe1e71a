/* clock.c -- civil time by Howard Hinnant's days_from_civil arithmetic (public algorithm: eras of
 * 400 years, the year beginning in March), without the C library's zone-dependent functions. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#define TIME_FIRST_US (-62135596800 * VG_SECOND_US)    /* 0001-01-01T00:00:00Z */
#define TIME_LAST_US (253402300800 * VG_SECOND_US - 1) /* 9999-12-31T23:59:59.999999Z */

static int64_t read_clock_ns(clockid_t id)
{
    struct timespec now;

    if (clock_gettime(id, &now) != 0)
        return 0;
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t vg_now_us(void)
{
    return read_clock_ns(CLOCK_REALTIME) / 1000;
}

int64_t vg_mono_us(void)
{
    return read_clock_ns(CLOCK_MONOTONIC) / 1000;
}

uint64_t vg_mono_ns(void)
{
    return (uint64_t)read_clock_ns(CLOCK_MONOTONIC);
}

static int64_t system_now_us(void *ctx)
{
    (void)ctx;
    return vg_now_us();
}

const struct vg_clock vg_clock_system = {system_now_us, NULL};

int64_t vg_date_days(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

void vg_date_civil(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    int month = (int)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);

    *ret_year = (int)(year_of_era + era * 400 + (month <= 2));
    *ret_month = month;
    *ret_day = (int)(day_of_year - (153 * shifted_month + 2) / 5 + 1);
}

static char *put_digits(char *out, int64_t value, unsigned count)
{
    for (unsigned i = count; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + count;
}

size_t vg_time_format(int64_t time_us, unsigned fraction_digits, char out[static VG_TIME_TEXT_SIZE])
{
    static const int64_t scale[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    int year, month, day;
    char *p = out;

    if (fraction_digits > 6)
        fraction_digits = 6;
    time_us = time_us < TIME_FIRST_US  ? TIME_FIRST_US
              : time_us > TIME_LAST_US ? TIME_LAST_US
                                       : time_us;
    int64_t days = (time_us >= 0 ? time_us : time_us - (VG_DAY_US - 1)) / VG_DAY_US;
    int64_t rest_us = time_us - days * VG_DAY_US;

    vg_date_civil(days, &year, &month, &day);
    p = put_digits(p, year, 4);
    *p++ = '-';
    p = put_digits(p, month, 2);
    *p++ = '-';
    p = put_digits(p, day, 2);
    *p++ = 'T';
    p = put_digits(p, rest_us / VG_HOUR_US, 2);
    *p++ = ':';
    p = put_digits(p, rest_us / VG_MINUTE_US % 60, 2);
    *p++ = ':';
    p = put_digits(p, rest_us / VG_SECOND_US % 60, 2);
    if (fraction_digits) {
        *p++ = '.';
        p = put_digits(p, rest_us % VG_SECOND_US / scale[fraction_digits], fraction_digits);
    }
    *p++ = 'Z';
    *p = '\0';
    return (size_t)(p - out);
}

/* Exactly `count` digits at the front of *rest. */
static bool take_digits(struct vg_slice *rest, unsigned count, int *ret)
{
    int value = 0;

    if (rest->len < count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (rest->ptr[i] < '0' || rest->ptr[i] > '9')
            return false;
        value = value * 10 + (rest->ptr[i] - '0');
    }
    *rest = vg_slice_from(*rest, count);
    *ret = value;
    return true;
}

static bool take_char(struct vg_slice *rest, char a, char b)
{
    if (rest->len == 0 || (rest->ptr[0] != a && rest->ptr[0] != b))
        return false;
    *rest = vg_slice_from(*rest, 1);
    return true;
}

static bool is_real_date(int year, int month, int day)
{
    static const int length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return year >= 1 && month >= 1 && month <= 12 && day >= 1 &&
           day <= length[month - 1] + (month == 2 && is_leap);
}

static bool take_date(struct vg_slice *rest, int64_t *ret_days)
{
    int year, month, day;

    if (!take_digits(rest, 4, &year) || !take_char(rest, '-', '-') ||
        !take_digits(rest, 2, &month) || !take_char(rest, '-', '-') ||
        !take_digits(rest, 2, &day) || !is_real_date(year, month, day))
        return false;
    *ret_days = vg_date_days(year, month, day);
    return true;
}

static bool take_zone(struct vg_slice *rest, int64_t *ret_offset_us)
{
    bool is_west = rest->len && rest->ptr[0] == '-';
    int hours, minutes = 0;

    if (!take_char(rest, '+', '-') || !take_digits(rest, 2, &hours))
        return false;
    if (rest->len) {
        (void)take_char(rest, ':', ':');
        if (!take_digits(rest, 2, &minutes))
            return false;
    }
    if (hours > 14 || minutes > 59)
        return false;
    *ret_offset_us = (hours * VG_HOUR_US + minutes * VG_MINUTE_US) * (is_west ? -1 : 1);
    return true;
}

bool vg_time_parse(struct vg_slice text, int64_t *ret_us, bool *ret_has_zone)
{
    struct vg_slice rest = text;
    int64_t days, offset_us = 0, fraction_us = 0;
    int hour, minute, second;
    bool has_zone = true;

    if (!take_date(&rest, &days) || !take_char(&rest, 'T', 't') || !take_digits(&rest, 2, &hour) ||
        !take_char(&rest, ':', ':') || !take_digits(&rest, 2, &minute) ||
        !take_char(&rest, ':', ':') || !take_digits(&rest, 2, &second))
        return false;
    if (minute > 59 || second > 60 || hour > 24 || (hour == 24 && (minute || second)))
        return false;
    if (take_char(&rest, '.', '.')) {
        int64_t unit_us = VG_SECOND_US / 10;
        size_t digits = 0;

        for (; digits < rest.len && rest.ptr[digits] >= '0' && rest.ptr[digits] <= '9'; digits++) {
            fraction_us += (rest.ptr[digits] - '0') * unit_us;
            unit_us /= 10;
        }
        if (digits == 0)
            return false;
        rest = vg_slice_from(rest, digits);
    }
    if (rest.len == 0)
        has_zone = false;
    else if (!take_char(&rest, 'Z', 'z') && !take_zone(&rest, &offset_us))
        return false;
    if (rest.len)
        return false;
    int64_t time_us = days * VG_DAY_US + hour * VG_HOUR_US + minute * VG_MINUTE_US +
                      (second == 60 ? 59 : second) * VG_SECOND_US + fraction_us - offset_us;

    /* 24:00:00 is midnight and nothing after it; an offset must not lead out of years 1 to 9999. */
    if ((hour == 24 && fraction_us) || time_us < TIME_FIRST_US || time_us > TIME_LAST_US)
        return false;
    *ret_us = time_us;
    if (ret_has_zone)
        *ret_has_zone = has_zone;
    return true;
}

bool vg_date_parse(struct vg_slice text, int64_t *ret_us)
{
    int year, month = 1, day = 1;

    if (!take_digits(&text, 4, &year))
        return false;
    if (text.len && (!take_char(&text, '-', '-') || !take_digits(&text, 2, &month)))
        return false;
    if (text.len && (!take_char(&text, '-', '-') || !take_digits(&text, 2, &day)))
        return false;
    if (text.len || !is_real_date(year, month, day))
        return false;
    *ret_us = vg_date_days(year, month, day) * VG_DAY_US;
    return true;
}

int vg_age_years(int64_t birth_us, int64_t now_us)
{
    int birth[3], now[3];

    vg_date_civil((birth_us - (birth_us < 0 ? VG_DAY_US - 1 : 0)) / VG_DAY_US, &birth[0], &birth[1],
                  &birth[2]);
    vg_date_civil((now_us - (now_us < 0 ? VG_DAY_US - 1 : 0)) / VG_DAY_US, &now[0], &now[1],
                  &now[2]);
    return now[0] - birth[0] - (now[1] < birth[1] || (now[1] == birth[1] && now[2] < birth[2]));
}
