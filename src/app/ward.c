/* ward.c -- the physiology of patients who are not there; see ward.h. */
#include "app/ward.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>

enum { HR, RR, SPO2, SYS, DIA, TEMP, SIGNS };

/* Where a healthy-enough adult in a bed lies, how much a reading moves, and what sepsis adds. */
static const struct {
    double base_min, base_max, wander, illness, min, max;
} signs[SIGNS] = {
    [HR] = {62, 84, 1.2, 40, 30, 190},          [RR] = {13, 18, 0.4, 11, 4, 45},
    [SPO2] = {96.5, 98.5, 0.25, -6.5, 70, 100}, [SYS] = {115, 138, 1.6, -24, 60, 210},
    [DIA] = {66, 84, 1.2, -14, 35, 120},        [TEMP] = {36.4, 37.2, 0.03, 1.6, 34, 41.5},
};

#define FIRST_S 15.0
#define RAMP_S 40.0
#define HOLD_S 80.0
#define RECOVER_S 60.0
#define PERIOD_S (RAMP_S + HOLD_S + RECOVER_S + 20.0)

#define RARE_EVERY 5 /* readings between pressure, temperature and consciousness */

const struct reading reading_empty = {
    .hr = NAN, .rr = NAN, .spo2 = NAN, .o2 = NAN, .sys = NAN, .dia = NAN, .map = NAN, .temp = NAN};

bool reading_write(const struct reading *reading, struct vg_buf *out)
{
    const struct {
        const char *name;
        double value;
    } members[] = {
        {"hr", reading->hr},   {"rr", reading->rr},     {"spo2", reading->spo2},
        {"o2", reading->o2},   {"sys", reading->sys},   {"dia", reading->dia},
        {"map", reading->map}, {"temp", reading->temp},
    };
    bool is_any = reading->avpu != '\0';
    struct vg_json_writer w;

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        is_any = is_any || isfinite(members[i].value);
    if (!is_any)
        return false;
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_time(&w, "time", reading->time_us);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (isfinite(members[i].value))
            vg_json_member_double(&w, members[i].name, members[i].value);
    if (reading->avpu)
        vg_json_member_string(&w, "avpu", (struct vg_slice){&reading->avpu, 1});
    vg_json_close_object(&w);
    return true;
}

/* splitmix64: small, and good enough for a random walk. */
static double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

/* About normal: mean 0, deviation 1, never beyond 3. */
static double noise(uint64_t *state)
{
    return (uniform(state) + uniform(state) + uniform(state) - 1.5) * 2;
}

bool ward_init(struct ward *ward, size_t bed_count, const size_t *order, size_t order_count,
               uint64_t seed)
{
    *ward = (struct ward){.bed_count = bed_count, .order_count = order_count};
    ward->beds = calloc(bed_count, sizeof(*ward->beds));
    ward->order = calloc(order_count + 1, sizeof(*ward->order));
    if (!ward->beds || !ward->order) {
        ward_fini(ward);
        return false;
    }
    for (size_t i = 0; i < order_count; i++)
        ward->order[i] = order[i];
    for (size_t i = 0; i < bed_count; i++) {
        struct ward_bed *bed = &ward->beds[i];

        bed->random = seed + i * 0x51ed2701;
        bed->has_oxygen = i % 6 == 5;
        for (size_t s = 0; s < SIGNS; s++) {
            bed->base[s] =
                signs[s].base_min + uniform(&bed->random) * (signs[s].base_max - signs[s].base_min);
            bed->now[s] = bed->base[s];
        }
    }
    return true;
}

void ward_fini(struct ward *ward)
{
    free(ward->beds);
    free(ward->order);
    *ward = (struct ward){0};
}

static double smooth(double x)
{
    return x <= 0 ? 0 : x >= 1 ? 1 : x * x * (3 - 2 * x);
}

double ward_severity(const struct ward *ward, size_t bed, int64_t elapsed_us)
{
    double since_s = (double)elapsed_us / 1e6 - FIRST_S, within_s;
    uint64_t round;

    if (ward->order_count == 0 || since_s < 0)
        return 0;
    round = (uint64_t)(since_s / PERIOD_S);
    within_s = since_s - (double)round * PERIOD_S;
    if (ward->order[round % ward->order_count] != bed)
        return 0;
    if (within_s < RAMP_S + HOLD_S)
        return smooth(within_s / RAMP_S);
    return 1 - smooth((within_s - RAMP_S - HOLD_S) / RECOVER_S);
}

/* Given when it gets serious, taken away when it is nearly over. */
static double oxygen(struct ward_bed *bed, double severity)
{
    if (severity > 0.6)
        bed->was_rescued = true;
    else if (severity < 0.15)
        bed->was_rescued = false;
    return bed->was_rescued ? 4 : bed->has_oxygen ? 1 : 0;
}

void ward_read(struct ward *ward, size_t bed_number, int64_t elapsed_us, int64_t time_us,
               struct reading *ret_reading)
{
    struct ward_bed *bed = &ward->beds[bed_number];
    double severity = ward_severity(ward, bed_number, elapsed_us), value[SIGNS];
    char avpu = severity > 0.95 && bed_number % 2 ? 'C' : 'A'; /* not everybody is confused */
    struct reading reading = reading_empty;

    for (size_t s = 0; s < SIGNS; s++) {
        bed->now[s] += 0.1 * (bed->base[s] - bed->now[s]) + signs[s].wander * noise(&bed->random);
        value[s] = bed->now[s] + severity * signs[s].illness;
        value[s] = fmin(fmax(value[s], signs[s].min), signs[s].max);
    }
    reading.time_us = time_us;
    reading.hr = round(value[HR]);
    reading.rr = round(value[RR]);
    reading.spo2 = round(value[SPO2]);
    reading.o2 = oxygen(bed, severity);
    if (bed->reading_count % RARE_EVERY == 0 || severity > 0.05) {
        reading.sys = round(value[SYS]);
        reading.dia = round(fmin(value[DIA], value[SYS] - 20));
        reading.map = round((reading.sys + 2 * reading.dia) / 3);
        reading.temp = round(value[TEMP] * 10) / 10;
    }
    if (bed->reading_count % RARE_EVERY == 0 || avpu != bed->avpu)
        reading.avpu = avpu;
    bed->avpu = avpu;
    bed->reading_count++;
    *ret_reading = reading;
}
