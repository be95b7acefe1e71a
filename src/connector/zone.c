/* zone.c -- time zones; the machine's own through mktime(), which holds a lock of its own. */
#include "connector/zone.h"

#include <stdlib.h>
#include <time.h>

bool zone_parse(struct vg_slice text, struct zone *ret)
{
    struct vg_slice digits = vg_slice_from(text, 1);
    uint64_t hours, minutes;

    *ret = (struct zone){0};
    if (text.len == 0)
        return true;
    ret->kind = ZONE_FIXED;
    if (vg_slice_is(text, "Z") || vg_slice_is(text, "UTC"))
        return true;
    if (vg_slice_is(text, "local")) {
        ret->kind = ZONE_LOCAL;
        return true;
    }
    if (text.len != 6 || (text.ptr[0] != '+' && text.ptr[0] != '-') || text.ptr[3] != ':' ||
        !vg_slice_to_u64((struct vg_slice){digits.ptr, 2}, &hours) || hours > 14 ||
        !vg_slice_to_u64((struct vg_slice){digits.ptr + 3, 2}, &minutes) || minutes > 59)
        return false;
    ret->offset_s = (int32_t)(hours * 3600 + minutes * 60) * (text.ptr[0] == '-' ? -1 : 1);
    return true;
}

/* The machine's clock shows `civil` at *ret_s; with or without daylight saving. */
static bool try_local(const struct tm *civil, int is_dst, time_t *ret_s)
{
    struct tm asked = *civil, shown;
    time_t at;

    asked.tm_isdst = is_dst;
    at = mktime(&asked);
    if (at == (time_t)-1 || !localtime_r(&at, &shown))
        return false;
    *ret_s = at;
    return shown.tm_mday == civil->tm_mday && shown.tm_hour == civil->tm_hour &&
           shown.tm_min == civil->tm_min && shown.tm_sec == civil->tm_sec;
}

static bool local_to_utc(int64_t civil_s, int64_t received_s, int64_t *ret_s)
{
    int64_t days = civil_s / 86400 - (civil_s % 86400 < 0), seconds = civil_s - days * 86400;
    int year, month, day;
    struct tm civil = {.tm_hour = (int)(seconds / 3600),
                       .tm_min = (int)(seconds / 60 % 60),
                       .tm_sec = (int)(seconds % 60)};
    bool is_found = false;

    vg_date_civil(days, &year, &month, &day);
    civil.tm_year = year - 1900;
    civil.tm_mon = month - 1;
    civil.tm_mday = day;
    for (int is_dst = 0; is_dst < 2; is_dst++) {
        time_t at;

        if (!try_local(&civil, is_dst, &at))
            continue;
        if (!is_found || llabs((long long)at - received_s) < llabs((long long)*ret_s - received_s))
            *ret_s = at;
        is_found = true;
    }
    return is_found;
}

bool zone_to_utc(const struct zone *zone, int64_t civil_us, int64_t received_us, int64_t *ret_us)
{
    int64_t fraction_us = civil_us % VG_SECOND_US, at_s = 0;

    switch (zone->kind) {
    case ZONE_NONE:
        return false;
    case ZONE_FIXED:
        *ret_us = civil_us - zone->offset_s * VG_SECOND_US;
        return true;
    case ZONE_LOCAL:
        if (fraction_us < 0)
            fraction_us += VG_SECOND_US;
        if (!local_to_utc((civil_us - fraction_us) / VG_SECOND_US, received_us / VG_SECOND_US,
                          &at_s))
            return false;
        *ret_us = at_s * VG_SECOND_US + fraction_us;
        return true;
    }
    return false;
}
