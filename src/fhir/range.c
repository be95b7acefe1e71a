/* range.c -- times and numbers as ranges, because FHIR compares ranges and not points.
 *
 * "2026-03" is the whole of March, "10:00:00.25Z" ten milliseconds, "100" is 99.5 to 100.5.
 */
#include "fhir/fhir_int.h"

#include <math.h>

/* Exactly `count` digits at *at; -1 otherwise. */
static int digits(struct vg_slice text, size_t *at, size_t count)
{
    int value = 0;

    if (text.len - *at < count)
        return -1;
    for (size_t i = 0; i < count; i++) {
        char c = text.ptr[*at + i];

        if (c < '0' || c > '9')
            return -1;
        value = value * 10 + (c - '0');
    }
    *at += count;
    return value;
}

static bool take(struct vg_slice text, size_t *at, char c)
{
    if (*at >= text.len || text.ptr[*at] != c)
        return false;
    (*at)++;
    return true;
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0) ? 29
                                                                                 : days[month - 1];
}

/* Z or ±hh:mm, to be subtracted. A '+' that went through form decoding is a blank. */
static bool zone(struct vg_slice text, size_t *at, int64_t *ret_us, bool *ret_has_zone)
{
    int sign, hours, minutes;

    *ret_us = 0;
    *ret_has_zone = false;
    if (*at == text.len)
        return true;
    *ret_has_zone = true;
    if (take(text, at, 'Z'))
        return *at == text.len;
    sign = take(text, at, '-') ? -1 : take(text, at, '+') || take(text, at, ' ') ? 1 : 0;
    if (sign == 0 || (hours = digits(text, at, 2)) < 0 || !take(text, at, ':') ||
        (minutes = digits(text, at, 2)) < 0 || *at != text.len)
        return false;
    if (hours > 14 || minutes > 59 || (hours == 14 && minutes > 0))
        return false;
    *ret_us = sign * (hours * VG_HOUR_US + minutes * VG_MINUTE_US);
    return true;
}

bool fhir_time_parse(struct vg_slice text, struct fhir_span *ret_span,
                     enum fhir_precision *ret_precision, bool *ret_has_zone)
{
    size_t at = 0;
    int year = digits(text, &at, 4), month = 1, day = 1, hour, minute, second = 0;
    enum fhir_precision precision = FHIR_YEAR;
    int64_t low, width, offset = 0;
    bool has_zone = false;

    if (year < 1)
        return false;
    if (take(text, &at, '-')) {
        precision = FHIR_MONTH;
        month = digits(text, &at, 2);
        if (month < 1 || month > 12)
            return false;
        if (take(text, &at, '-')) {
            precision = FHIR_DAY;
            day = digits(text, &at, 2);
            if (day < 1 || day > month_days(year, month))
                return false;
        }
    }
    low = vg_date_days(year, month, day) * VG_DAY_US;
    switch (precision) {
    case FHIR_YEAR:
        width = (vg_date_days(year + 1, 1, 1) * VG_DAY_US) - low;
        break;
    case FHIR_MONTH:
        width = month_days(year, month) * VG_DAY_US;
        break;
    case FHIR_DAY:
    case FHIR_MINUTE:
    case FHIR_SECOND:
        width = VG_DAY_US;
        break;
    }
    if (precision == FHIR_DAY && take(text, &at, 'T')) {
        precision = FHIR_MINUTE;
        hour = digits(text, &at, 2);
        if (hour < 0 || hour > 23 || !take(text, &at, ':'))
            return false;
        minute = digits(text, &at, 2);
        if (minute < 0 || minute > 59)
            return false;
        width = VG_MINUTE_US;
        if (take(text, &at, ':')) {
            precision = FHIR_SECOND;
            second = digits(text, &at, 2);
            if (second < 0 || second > 60)
                return false;
            if (second == 60)
                second = 59;
            width = VG_SECOND_US;
        }
        low += hour * VG_HOUR_US + minute * VG_MINUTE_US + second * VG_SECOND_US;
        if (precision == FHIR_SECOND && take(text, &at, '.')) {
            size_t start = at;

            while (at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9') {
                if (width > 1) {
                    width /= 10;
                    low += (text.ptr[at] - '0') * width;
                }
                at++;
            }
            if (at == start)
                return false;
        }
        if (!zone(text, &at, &offset, &has_zone))
            return false;
        low -= offset;
    }
    if (at != text.len)
        return false;
    *ret_span = (struct fhir_span){low, low + width};
    if (ret_precision)
        *ret_precision = precision;
    if (ret_has_zone)
        *ret_has_zone = has_zone;
    return true;
}

/* mantissa times ten to the power, as exactly as a double can say it. */
static double scaled(double mantissa, int64_t power)
{
    return power < 0 ? mantissa / pow(10.0, (double)-power) : mantissa * pow(10.0, (double)power);
}

bool fhir_number_parse(struct vg_slice text, double *ret_value, double *ret_from, double *ret_to)
{
    double value, mantissa = 0;
    int64_t exponent = 0;
    int decimals = 0;
    bool after_point = false, has_exponent = false;

    if (text.len == 0 || text.len > 64 || !vg_slice_to_double(text, &value) || !isfinite(value))
        return false;
    for (size_t i = 0; i < text.len && !has_exponent; i++) {
        char c = text.ptr[i];

        if (c == 'e' || c == 'E') {
            struct vg_slice rest = vg_slice_from(text, i + 1);

            if (rest.len && rest.ptr[0] == '+')
                rest = vg_slice_from(rest, 1);
            if (!vg_slice_to_i64(rest, &exponent) || exponent > 400 || exponent < -400)
                return false;
            has_exponent = true;
        } else if (c == '.') {
            after_point = true;
        } else if (c >= '0' && c <= '9') {
            mantissa = mantissa * 10 + (c - '0');
            decimals += after_point;
        }
    }
    /* "1e2" is 95 to 105: one digit before an exponent does not stand for the decade. */
    if (has_exponent && decimals == 0) {
        mantissa *= 10;
        decimals = 1;
    }
    if (text.ptr[0] == '-')
        mantissa = -mantissa;
    *ret_value = value;
    *ret_from = scaled(mantissa * 10 - 5, exponent - decimals - 1);
    *ret_to = scaled(mantissa * 10 + 5, exponent - decimals - 1);
    return true;
}
