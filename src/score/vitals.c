/* vitals.c -- the one table of vital signs; whoever needs a code, a unit or a range asks here. */
#include "score/vitals.h"

#include <math.h>

#define HOURS(n) ((n)*VG_HOUR_US)

/* Ranges take what a living or a dying patient can show and refuse what only a loose probe can: a
 * respiration or a pulse of 0 is a finding, a saturation of 0 is a probe on the sheet. Expiry: what
 * monitors and spot checks of a ward measure at least every 4 h; by hand at least every 6 h. */
const struct vital vitals[SCORE_VITAL_COUNT] = {
    [SCORE_RESPIRATION] =
        {"respiration", "respiration rate", {"9279-1"}, "/min", 0, 120, HOURS(4), 3, 0},
    [SCORE_SPO2] =
        {"spo2", "oxygen saturation", {"59408-5", "2708-6"}, "%", 1, 100, HOURS(4), 2, 0},
    [SCORE_OXYGEN] = {"oxygen", "oxygen flow", {"3151-8"}, "L/min", 0, 100, HOURS(4), 1, 1},
    [SCORE_SYSTOLIC] =
        {"systolic", "systolic pressure", {"8480-6"}, "mm[Hg]", 20, 320, HOURS(4), 15, 0},
    [SCORE_DIASTOLIC] =
        {"diastolic", "diastolic pressure", {"8462-4"}, "mm[Hg]", 5, 250, HOURS(4), 10, 0},
    [SCORE_MEAN_PRESSURE] =
        {"mean-pressure", "mean pressure", {"8478-0"}, "mm[Hg]", 10, 280, HOURS(4), 10, 0},
    [SCORE_PULSE] = {"pulse", "heart rate", {"8867-4"}, "/min", 0, 350, HOURS(4), 10, 0},
    [SCORE_CONSCIOUSNESS] =
        {"consciousness", "consciousness", {"80288-4"}, "", 0, 0, HOURS(6), 0, 0},
    [SCORE_TEMPERATURE] =
        {"temperature", "body temperature", {"8310-5"}, "Cel", 20, 46, HOURS(6), 0.5, 1},
};

/* Ways to write a unit: value * factor + offset is in the table's unit. UCUM first, then what
 * mapping templates in the field say. */
static const struct {
    const char *from, *to;
    double factor, offset;
} units[] = {
    {"{beats}/min", "/min", 1, 0},
    {"{breaths}/min", "/min", 1, 0},
    {"1/min", "/min", 1, 0},
    {"beats/min", "/min", 1, 0},
    {"beats/minute", "/min", 1, 0},
    {"breaths/min", "/min", 1, 0},
    {"breaths/minute", "/min", 1, 0},
    {"count/min", "/min", 1, 0},
    {"bpm", "/min", 1, 0},
    {"/s", "/min", 60, 0},
    {"Hz", "/min", 60, 0},
    {"percent", "%", 1, 0},
    {"{percent}", "%", 1, 0},
    {"1", "%", 100, 0},
    {"mmHg", "mm[Hg]", 1, 0},
    {"kPa", "mm[Hg]", 7.50061683, 0},
    {"[degF]", "Cel", 5.0 / 9.0, -160.0 / 9.0},
    {"degF", "Cel", 5.0 / 9.0, -160.0 / 9.0},
    {"F", "Cel", 5.0 / 9.0, -160.0 / 9.0},
    {"K", "Cel", 1, -273.15},
    {"degC", "Cel", 1, 0},
    {"C", "Cel", 1, 0},
    {"celsius", "Cel", 1, 0},
    {"l/min", "L/min", 1, 0},
    {"mL/min", "L/min", 0.001, 0},
};

static const struct {
    const char *text;
    char level;
} consciousness[] = {
    {"A", 'A'},
    {"C", 'C'},
    {"V", 'V'},
    {"P", 'P'},
    {"U", 'U'},
    {"alert", 'A'},
    {"confusion", 'C'},
    {"new confusion", 'C'},
    {"confused", 'C'},
    {"voice", 'V'},
    {"verbal", 'V'},
    {"pain", 'P'},
    {"unresponsive", 'U'},
};

enum score_vital vital_of_code(struct vg_slice code)
{
    for (unsigned v = 0; v < SCORE_VITAL_COUNT; v++) {
        for (unsigned i = 0; i < 2 && vitals[v].codes[i]; i++) {
            if (vg_slice_is(code, vitals[v].codes[i]))
                return (enum score_vital)v;
        }
    }
    return SCORE_VITAL_COUNT;
}

bool vital_convert(enum score_vital vital, struct vg_slice unit, double *value)
{
    if (unit.len == 0 || vg_slice_is(unit, vitals[vital].unit))
        return true;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(units[i].to, vitals[vital].unit) == 0 && vg_slice_is(unit, units[i].from)) {
            /* 102.2 degrees Fahrenheit are 39, not 39.00000000000001. */
            *value = round((*value * units[i].factor + units[i].offset) * 1e4) / 1e4;
            return true;
        }
    }
    return false;
}

char vital_consciousness(struct vg_slice text)
{
    text = vg_slice_trim(text);
    for (size_t i = 0; i < sizeof(consciousness) / sizeof(consciousness[0]); i++) {
        if (vg_slice_eq_nocase(text, vg_slice_of(consciousness[i].text)))
            return consciousness[i].level;
    }
    return 0;
}
