/* clock_test.c -- civil time against known values, and every text form that is read or refused. */
#include "base/clock.h"
#include "vg_test.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void test_known_days(void)
{
    static const struct {
        int year, month, day;
        int64_t days;
    } cases[] = {
        {1, 1, 1, -719162},      {1582, 10, 15, -141427}, {1600, 2, 29, -135081},
        {1899, 12, 31, -25568},  {1900, 2, 28, -25509},   {1900, 3, 1, -25508},
        {1969, 12, 31, -1},      {1970, 1, 1, 0},         {1972, 2, 29, 789},
        {1999, 12, 31, 10956},   {2000, 2, 29, 11016},    {2000, 3, 1, 11017},
        {2001, 9, 9, 11574},     {2024, 2, 29, 19782},    {2026, 3, 14, 20526},
        {2038, 1, 19, 24855},    {2100, 2, 28, 47540},    {2100, 3, 1, 47541},
        {9999, 12, 31, 2932896},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        int year, month, day;

        CHECK(vg_date_days(cases[i].year, cases[i].month, cases[i].day) == cases[i].days);
        vg_date_civil(cases[i].days, &year, &month, &day);
        CHECK(year == cases[i].year && month == cases[i].month && day == cases[i].day);
    }
}

/* Every day of years 1 to 9999 follows the one before it in the calendar. */
static void test_every_day(void)
{
    static const int length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t days = -719162;
    bool is_same = true;

    for (int year = 1; year <= 9999; year++) {
        bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= length[month - 1] + (month == 2 && is_leap); day++, days++) {
                int y, m, d;

                vg_date_civil(days, &y, &m, &d);
                is_same = is_same && y == year && m == month && d == day &&
                          vg_date_days(year, month, day) == days;
            }
        }
    }
    CHECK(is_same && days == 2932897);
}

static void test_parse(void)
{
    const int64_t ten_us = 1773482400 * VG_SECOND_US; /* 2026-03-14T10:00:00Z */
    static const struct {
        const char *text;
        int64_t shift_us; /* from that */
        bool has_zone;
    } good[] = {
        {"2026-03-14T10:00:00Z", 0, true},
        {"2026-03-14t10:00:00z", 0, true},
        {"2026-03-14T10:00:00", 0, false},
        {"2026-03-14T10:00:00.5Z", 500000, true},
        {"2026-03-14T10:00:00.123456Z", 123456, true},
        {"2026-03-14T10:00:00.1234567Z", 123456, true},
        {"2026-03-14T10:00:00.999999999999Z", 999999, true},
        {"2026-03-14T10:00:00.000", 0, false},
        {"2026-03-14T12:00:00+02:00", 0, true},
        {"2026-03-14T12:00:00+0200", 0, true},
        {"2026-03-14T12:00:00+02", 0, true},
        {"2026-03-14T04:30:00-05:30", 0, true},
        {"2026-03-15T00:00:00+14:00", 0, true},
        {"2026-03-14T10:00:00-00:00", 0, true},
        {"2026-03-14T09:59:60Z", -VG_SECOND_US, true},
        {"2026-03-14T24:00:00Z", 14 * VG_HOUR_US, true},
    };
    static const char *const bad[] = {
        "",
        "2026",
        "2026-03-14",
        "2026-03-14T10:00Z",
        "2026-03-14 10:00:00Z",
        "2026-3-14T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-00-10T10:00:00Z",
        "2026-04-31T10:00:00Z",
        "2026-03-00T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-03-14T25:00:00Z",
        "2026-03-14T24:00:01Z",
        "2026-03-14T24:00:00.5Z",
        "2026-03-14T10:60:00Z",
        "2026-03-14T10:00:61Z",
        "2026-03-14T10:00:00.Z",
        "2026-03-14T10:00:00,5Z",
        "2026-03-14T10:00:00ZZ",
        "2026-03-14T10:00:00+",
        "2026-03-14T10:00:00+2",
        "2026-03-14T10:00:00+02:",
        "2026-03-14T10:00:00+02:0",
        "2026-03-14T10:00:00+15:00",
        "2026-03-14T10:00:00+02:60",
        "2026-03-14T10:00:00Z ",
        " 2026-03-14T10:00:00Z",
        "+2026-03-14T10:00:00Z",
        "20260314T100000Z",
        "2026-03-14T1O:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "12026-03-14T10:00:00Z",
        "1900-02-29T00:00:00Z",
    };

    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t got_us = 0;
        bool has_zone = !good[i].has_zone;

        CHECK_ROW(good[i].text);
        CHECK(vg_time_parse(vg_slice_of(good[i].text), &got_us, &has_zone));
        CHECK(got_us == ten_us + good[i].shift_us && has_zone == good[i].has_zone);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t got_us = 42;

        CHECK_ROW(bad[i]);
        CHECK(!vg_time_parse(vg_slice_of(bad[i]), &got_us, NULL) && got_us == 42);
    }
}

static void test_format(void)
{
    static const struct {
        int64_t time_us;
        unsigned digits;
        const char *want;
    } cases[] = {
        {0, 0, "1970-01-01T00:00:00Z"},
        {-1, 6, "1969-12-31T23:59:59.999999Z"},
        {-1, 0, "1969-12-31T23:59:59Z"},
        {1773482400123456, 0, "2026-03-14T10:00:00Z"},
        {1773482400123456, 1, "2026-03-14T10:00:00.1Z"},
        {1773482400123456, 3, "2026-03-14T10:00:00.123Z"},
        {1773482400123456, 6, "2026-03-14T10:00:00.123456Z"},
        {1773482400123456, 9, "2026-03-14T10:00:00.123456Z"},
        {1773482400000007, 6, "2026-03-14T10:00:00.000007Z"},
        {-62135596800000000, 3, "0001-01-01T00:00:00.000Z"},
        {253402300799999999, 6, "9999-12-31T23:59:59.999999Z"},
        {INT64_MIN, 0, "0001-01-01T00:00:00Z"},
        {INT64_MAX, 0, "9999-12-31T23:59:59Z"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[VG_TIME_TEXT_SIZE];
        size_t len = vg_time_format(cases[i].time_us, cases[i].digits, text);

        CHECK_ROW(cases[i].want);
        CHECK(strcmp(text, cases[i].want) == 0 && len == strlen(text));
    }
}

static void test_round_trip(void)
{
    uint64_t state = 88172645463325252u;
    bool is_same = true;

    for (int i = 0; i < 200000; i++) {
        char text[VG_TIME_TEXT_SIZE];
        int64_t time_us, again_us = 0;
        bool has_zone = false;

        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        time_us = (int64_t)(state % 315537897600000000u) - 62135596800000000;
        size_t len = vg_time_format(time_us, 6, text);

        is_same = is_same && vg_time_parse((struct vg_slice){text, len}, &again_us, &has_zone) &&
                  has_zone && again_us == time_us;
    }
    CHECK(is_same);
}

static void test_dates(void)
{
    static const struct {
        const char *text;
        int64_t days; /* -1: refused */
    } cases[] = {
        {"2026-03-14", 20526}, {"2026-03", 20513}, {"2026", 20454},
        {"2024-02-29", 19782}, {"2026-02-29", -1}, {"2026-", -1},
        {"2026-3", -1},        {"2026-03-", -1},   {"2026-03-1", -1},
        {"2026-03-14T", -1},   {"", -1},           {"26", -1},
        {"2026-13", -1},       {"0000", -1},       {"2026-03-14 ", -1},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t got_us = 0;

        CHECK_ROW(cases[i].text);
        CHECK(vg_date_parse(vg_slice_of(cases[i].text), &got_us) == (cases[i].days >= 0));
        CHECK(got_us == (cases[i].days >= 0 ? cases[i].days * VG_DAY_US : 0));
    }
}

static void test_age(void)
{
    static const struct {
        const char *name, *birth, *now;
        int want;
    } cases[] = {
        {"the day before the birthday", "1950-03-15", "2026-03-14", 75},
        {"the birthday", "1950-03-14", "2026-03-14", 76},
        {"born before 1970, now before 1970", "1950-06-01", "1969-05-31", 18},
        {"born on a leap day, 28 February", "2000-02-29", "2026-02-28", 25},
        {"born on a leap day, 1 March", "2000-02-29", "2026-03-01", 26},
        {"new-born", "2026-03-14", "2026-03-14", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t birth_us = 0, now_us = 0;

        CHECK_ROW(cases[i].name);
        CHECK(vg_date_parse(vg_slice_of(cases[i].birth), &birth_us));
        CHECK(vg_date_parse(vg_slice_of(cases[i].now), &now_us));
        CHECK(vg_age_years(birth_us, now_us) == cases[i].want);
    }
}

static void test_clocks(void)
{
    int64_t before_us = vg_mono_us();

    CHECK(vg_clock_now_us(&vg_clock_system) > 1700000000 * VG_SECOND_US);
    CHECK(vg_mono_ns() / 1000 >= (uint64_t)before_us && vg_mono_us() >= before_us);
}

int main(void)
{
    RUN(test_known_days);
    RUN(test_every_day);
    RUN(test_parse);
    RUN(test_format);
    RUN(test_round_trip);
    RUN(test_dates);
    RUN(test_age);
    RUN(test_clocks);
    return vg_test_report();
}
