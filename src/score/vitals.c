/* vitals.c -- the one table of what is measured; whoever needs a code, a unit or a range asks here.
 */
#include "score/vitals.h"

#include <math.h>

#define HOURS(n) ((n)*VG_HOUR_US)

/* Ranges take what a living or a dying patient can show and refuse what only a loose probe can: a
 * respiration or a pulse of 0 is a finding, a saturation of 0 is a probe on the sheet. Expiry: what
 * monitors and spot checks of a ward measure at least every 4 h; by hand at least every 6 h. */
const struct vital vitals[SIGNAL_COUNT] = {
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
    /* Laboratory: as the two challenges chart them, in the units of hospitals in the United States;
     * a result stands for three days, which is what the features look back on. */
    [SIGNAL_ETCO2] =
        {"etco2", "end-tidal carbon dioxide", {"19889-5"}, "mm[Hg]", 1, 150, HOURS(4), 5, 0},
    [SIGNAL_FIO2] =
        {"fio2", "inspired oxygen", {"3150-6", "19994-3"}, "%", 15, 100, HOURS(72), 5, 0},
    [SIGNAL_BASE_EXCESS] =
        {"base-excess", "base excess", {"1925-7", "11555-0"}, "mmol/L", -50, 100, HOURS(72), 2, 0},
    [SIGNAL_HCO3] = {"bicarbonate",
                     "bicarbonate",
                     {"1963-8", "1960-4", "2028-9"},
                     "mmol/L",
                     0,
                     60,
                     HOURS(72),
                     3,
                     0},
    [SIGNAL_PH] = {"ph", "blood pH", {"2744-1", "11558-4"}, "[pH]", 6.3, 8.2, HOURS(72), 0.05, 2},
    [SIGNAL_PACO2] = {"paco2",
                      "arterial carbon dioxide",
                      {"2019-8", "11557-6"},
                      "mm[Hg]",
                      5,
                      150,
                      HOURS(72),
                      5,
                      0},
    [SIGNAL_PAO2] =
        {"pao2", "arterial oxygen", {"2703-7", "11556-8"}, "mm[Hg]", 10, 700, HOURS(72), 10, 0},
    [SIGNAL_SAO2] = {"sao2",
                     "arterial oxygen saturation",
                     {"20564-1", "2713-6"},
                     "%",
                     10,
                     100,
                     HOURS(72),
                     2,
                     0},
    [SIGNAL_AST] = {"ast", "AST", {"1920-8"}, "U/L", 1, 40000, HOURS(72), 20, 0},
    [SIGNAL_ALT] = {"alt", "ALT", {"1742-6"}, "U/L", 1, 40000, HOURS(72), 20, 0},
    [SIGNAL_ALP] = {"alp", "alkaline phosphatase", {"6768-6"}, "U/L", 1, 6000, HOURS(72), 20, 0},
    [SIGNAL_BUN] = {"urea-nitrogen",
                    "urea nitrogen",
                    {"3094-0", "6299-2"},
                    "mg/dL",
                    0.5,
                    300,
                    HOURS(72),
                    5,
                    0},
    [SIGNAL_CALCIUM] = {"calcium", "calcium", {"17861-6"}, "mg/dL", 0.5, 30, HOURS(72), 0.5, 1},
    [SIGNAL_CHLORIDE] =
        {"chloride", "chloride", {"2075-0", "2069-3"}, "mmol/L", 20, 160, HOURS(72), 4, 0},
    [SIGNAL_CREATININE] =
        {"creatinine", "creatinine", {"2160-0", "38483-4"}, "mg/dL", 0.05, 50, HOURS(72), 0.3, 1},
    [SIGNAL_BILIRUBIN_DIRECT] =
        {"bilirubin-direct", "direct bilirubin", {"1968-7"}, "mg/dL", 0, 60, HOURS(72), 0.5, 1},
    [SIGNAL_BILIRUBIN] = {"bilirubin", "bilirubin", {"1975-2"}, "mg/dL", 0, 90, HOURS(72), 0.5, 1},
    [SIGNAL_GLUCOSE] =
        {"glucose", "glucose", {"2345-7", "2339-0", "41653-7"}, "mg/dL", 5, 1500, HOURS(72), 30, 0},
    [SIGNAL_LACTATE] = {"lactate",
                        "lactate",
                        {"2524-7", "32693-4", "2518-9"},
                        "mmol/L",
                        0.1,
                        40,
                        HOURS(72),
                        0.5,
                        1},
    [SIGNAL_MAGNESIUM] =
        {"magnesium", "magnesium", {"19123-9"}, "mg/dL", 0.1, 15, HOURS(72), 0.3, 1},
    [SIGNAL_PHOSPHATE] =
        {"phosphate", "phosphate", {"2777-1"}, "mg/dL", 0.1, 25, HOURS(72), 0.5, 1},
    [SIGNAL_POTASSIUM] =
        {"potassium", "potassium", {"2823-3", "6298-4"}, "mmol/L", 0.5, 30, HOURS(72), 0.5, 1},
    [SIGNAL_SODIUM] =
        {"sodium", "sodium", {"2951-2", "2947-0"}, "mmol/L", 80, 200, HOURS(72), 4, 0},
    [SIGNAL_TROPONIN_I] =
        {"troponin-i", "troponin I", {"10839-9"}, "ng/mL", 0, 500, HOURS(72), 0.1, 2},
    [SIGNAL_TROPONIN_T] =
        {"troponin-t", "troponin T", {"6598-7"}, "ng/mL", 0, 500, HOURS(72), 0.1, 2},
    [SIGNAL_HCT] =
        {"hematocrit", "haematocrit", {"4544-3", "20570-8"}, "%", 2, 80, HOURS(72), 3, 0},
    [SIGNAL_HGB] = {"hemoglobin", "haemoglobin", {"718-7"}, "g/dL", 1, 35, HOURS(72), 1, 1},
    [SIGNAL_PTT] =
        {"ptt", "partial thromboplastin time", {"3173-2", "14979-9"}, "s", 5, 300, HOURS(72), 5, 0},
    [SIGNAL_WBC] =
        {"leukocytes", "leukocytes", {"6690-2", "26464-8"}, "10*3/uL", 0, 500, HOURS(72), 2, 1},
    [SIGNAL_FIBRINOGEN] =
        {"fibrinogen", "fibrinogen", {"3255-7"}, "mg/dL", 20, 2500, HOURS(72), 50, 0},
    [SIGNAL_PLATELETS] =
        {"platelets", "platelets", {"777-3", "26515-7"}, "10*3/uL", 1, 3000, HOURS(72), 30, 0},
    [SIGNAL_ALBUMIN] = {"albumin", "albumin", {"1751-7"}, "g/dL", 0.5, 8, HOURS(72), 0.3, 1},
    [SIGNAL_CHOLESTEROL] =
        {"cholesterol", "cholesterol", {"2093-3"}, "mg/dL", 10, 1000, HOURS(72), 30, 0},
    [SIGNAL_GCS] = {"gcs", "Glasgow coma scale", {"9269-2"}, "{score}", 3, 15, HOURS(12), 1, 0},
    [SIGNAL_URINE] = {"urine", "urine output", {"9187-6"}, "mL", 0, 6000, HOURS(12), 100, 0},
    [SIGNAL_WEIGHT] =
        {"weight", "body weight", {"29463-7", "3141-9"}, "kg", 20, 400, HOURS(72), 2, 0},
};

/* Ways to write a unit: value * factor + offset is in the table's unit. UCUM first, then what
 * mapping templates in the field say. From moles to mass it depends on the substance. */
static const struct {
    const char *from, *to;
    double factor, offset;
} units[] = {
    {"meq/L", "mmol/L", 1, 0},
    {"mEq/L", "mmol/L", 1, 0},
    {"10*9/L", "10*3/uL", 1, 0},
    {"10^9/L", "10*3/uL", 1, 0},
    {"K/uL", "10*3/uL", 1, 0},
    {"10*3/mm3", "10*3/uL", 1, 0},
    {"10^3/uL", "10*3/uL", 1, 0},
    {"/uL", "10*3/uL", 0.001, 0},
    {"g/L", "g/dL", 0.1, 0},
    {"ug/L", "ng/mL", 1, 0},
    {"ng/L", "ng/mL", 0.001, 0},
    {"pg/mL", "ng/mL", 0.001, 0},
    {"L/L", "%", 100, 0},
    {"IU/L", "U/L", 1, 0},
    {"[IU]/L", "U/L", 1, 0},
    {"1", "[pH]", 1, 0},
    {"pH", "[pH]", 1, 0},
    {"1", "{score}", 1, 0},
    {"g", "kg", 0.001, 0},
    {"[lb_av]", "kg", 0.45359237, 0},
    {"L", "mL", 1000, 0},
    {"sec", "s", 1, 0},
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
    int vital;
    const char *from;
    double factor;
} substance_units[] = {
    {SIGNAL_GLUCOSE, "mmol/L", 18.016},
    {SIGNAL_CREATININE, "umol/L", 1 / 88.42},
    {SIGNAL_BUN, "mmol/L", 2.801},
    {SIGNAL_BILIRUBIN, "umol/L", 1 / 17.104},
    {SIGNAL_BILIRUBIN_DIRECT, "umol/L", 1 / 17.104},
    {SIGNAL_CALCIUM, "mmol/L", 4.008},
    {SIGNAL_MAGNESIUM, "mmol/L", 2.4305},
    {SIGNAL_PHOSPHATE, "mmol/L", 3.0974},
    {SIGNAL_LACTATE, "mg/dL", 1 / 9.008},
    {SIGNAL_FIBRINOGEN, "g/L", 100},
    {SIGNAL_CHOLESTEROL, "mmol/L", 38.67},
    {SIGNAL_HGB, "mmol/L", 1.6114},
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

int vital_of_code(struct vg_slice code)
{
    for (int v = 0; v < SIGNAL_COUNT; v++) {
        for (unsigned i = 0; i < 3 && vitals[v].codes[i]; i++) {
            if (vg_slice_is(code, vitals[v].codes[i]))
                return v;
        }
    }
    return SIGNAL_COUNT;
}

bool vital_convert(int vital, struct vg_slice unit, double *value)
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
    for (size_t i = 0; i < sizeof(substance_units) / sizeof(substance_units[0]); i++) {
        if (substance_units[i].vital == vital && vg_slice_is(unit, substance_units[i].from)) {
            *value = round(*value * substance_units[i].factor * 1e4) / 1e4;
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
