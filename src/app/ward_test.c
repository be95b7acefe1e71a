/* ward_test.c -- the ward stays within life; its sick patient passes NEWS2 7 in time. */
#include "app/ward.h"

#include "base/clock.h"
#include "vg_test.h"

#include <math.h>

/* The Royal College of Physicians' table (NEWS2, 2017), SpO2 scale 1. */
static int news2(const struct reading *r)
{
    int score = 0;

    score += r->rr <= 8 ? 3 : r->rr <= 11 ? 1 : r->rr <= 20 ? 0 : r->rr <= 24 ? 2 : 3;
    score += r->spo2 <= 91 ? 3 : r->spo2 <= 93 ? 2 : r->spo2 <= 95 ? 1 : 0;
    score += r->o2 > 0 ? 2 : 0;
    score += r->sys <= 90 ? 3 : r->sys <= 100 ? 2 : r->sys <= 110 ? 1 : r->sys <= 219 ? 0 : 3;
    score += r->hr <= 40    ? 3
             : r->hr <= 50  ? 1
             : r->hr <= 90  ? 0
             : r->hr <= 110 ? 1
             : r->hr <= 130 ? 2
                            : 3;
    score += r->avpu == 'A' ? 0 : 3;
    score += r->temp <= 35 ? 3 : r->temp <= 36 ? 1 : r->temp <= 38 ? 0 : r->temp <= 39 ? 1 : 2;
    return score;
}

/* What the board would know: the newest value of each sign. */
static void merge(struct reading *known, const struct reading *newest)
{
    double *to[] = {&known->hr, &known->rr, &known->spo2, &known->o2, &known->sys, &known->temp};
    const double from[] = {newest->hr, newest->rr,  newest->spo2,
                           newest->o2, newest->sys, newest->temp};

    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
        if (isfinite(from[i]))
            *to[i] = from[i];
    if (newest->avpu)
        known->avpu = newest->avpu;
}

enum { BEDS = 12, STEP_S = 2 };

static void test_one_patient_at_a_time_passes_seven_within_a_minute_and_recovers(void)
{
    const size_t order[] = {3, 8};
    struct reading known[BEDS], newest;
    int worst[BEDS] = {0}, first_high_s = 0, both_high = 0;
    struct ward ward;

    CHECK(ward_init(&ward, BEDS, order, 2, 7));
    for (int t = 0; t <= 400; t += STEP_S) {
        int high = 0;

        for (size_t bed = 0; bed < BEDS; bed++) {
            int score;

            ward_read(&ward, bed, t * VG_SECOND_US, 0, &newest);
            if (t == 0)
                known[bed] = newest;
            merge(&known[bed], &newest);
            score = news2(&known[bed]);
            if (score > worst[bed])
                worst[bed] = score;
            high += score >= 7;
            if (score >= 7 && !first_high_s)
                first_high_s = t;
        }
        both_high += high > 1;
        if (t == 214) /* the first has recovered, the second has just begun */
            CHECK(news2(&known[3]) < 5);
    }
    CHECK(first_high_s > 15 && first_high_s < 60);
    for (size_t bed = 0; bed < BEDS; bed++)
        CHECK(bed == 3 || bed == 8 ? worst[bed] >= 9 : worst[bed] < 5);
    CHECK(both_high == 0);
    ward_fini(&ward);
}

static void test_values_stay_plausible_for_a_day(void)
{
    const size_t order[] = {0, 1, 2};
    struct reading r;
    struct ward ward;
    bool is_fine = true;

    CHECK(ward_init(&ward, 3, order, 3, 99));
    for (int t = 0; t < 86400; t += STEP_S) {
        size_t bed = (size_t)(t / STEP_S % 3);

        ward_read(&ward, bed, t * VG_SECOND_US, 0, &r);
        is_fine = is_fine && r.hr >= 30 && r.hr <= 190 && r.rr >= 4 && r.rr <= 45 && r.spo2 >= 70 &&
                  r.spo2 <= 100 &&
                  (isnan(r.sys) || (r.sys >= 60 && r.dia < r.map && r.map < r.sys)) &&
                  (isnan(r.temp) || (r.temp > 34 && r.temp < 41));
    }
    CHECK(is_fine);
    ward_fini(&ward);
}

static void test_a_reading_is_written_with_what_it_has(void)
{
    struct reading reading = reading_empty;
    struct vg_buf buf;

    vg_buf_init(&buf, 0);
    reading.time_us = 1773482400000000;
    CHECK(!reading_write(&reading, &buf) && buf.len == 0);
    reading.hr = 72;
    reading.temp = 36.8;
    reading.avpu = 'A';
    CHECK(reading_write(&reading, &buf));
    CHECK(vg_slice_is(
        vg_buf_slice(&buf),
        "{\"time\":\"2026-03-14T10:00:00.000Z\",\"hr\":72,\"temp\":36.8,\"avpu\":\"A\"}"));
    vg_buf_fini(&buf);
}

int main(void)
{
    RUN(test_one_patient_at_a_time_passes_seven_within_a_minute_and_recovers);
    RUN(test_values_stay_plausible_for_a_day);
    RUN(test_a_reading_is_written_with_what_it_has);
    return vg_test_report();
}
