/* ucum_test.c -- units that are read or refused, and decimals that come out as a person writes
 * them. */
#include "connector/ucum.h"

#include "vg_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *from, *to, *value, *want; /* "!code": refused */
    const char *molar_mass;
} rows[] = {
    {"[degF]", "Cel", "97.88", "36.6", ""},
    {"[degF]", "Cel", "98.60", "37", ""},
    {"[degF]", "Cel", "32", "0", ""},
    {"[degF]", "Cel", "-40", "-40", ""},
    {"[degF]", "Cel", "100", "37.7777777777778", ""},
    {"Cel", "[degF]", "36.6", "97.88", ""},
    {"Cel", "[degF]", "0", "32", ""},
    {"K", "Cel", "309.75", "36.6", ""},
    {"Cel", "K", "-273.15", "0", ""},
    {"K", "[degF]", "0", "-459.67", ""},
    {"Cel", "Cel", "36.60", "36.6", ""},
    {"[degF]", "[degF]", "1e30", "1E+30", ""},
    {"mm[Hg]", "kPa", "120", "15.99864", ""},
    {"kPa", "mm[Hg]", "15.99864", "120", ""},
    {"cm[H2O]", "mm[Hg]", "10", "7.3556127270818", ""},
    {"cm[H2O]", "kPa", "1", "0.0980665", ""},
    {"[lb_av]", "kg", "1", "0.45359237", ""},
    {"[lb_av]", "kg", "185.5", "84.141384635", ""},
    {"kg", "[lb_av]", "0.45359237", "1", ""},
    {"[oz_av]", "g", "16", "453.59237", ""},
    {"[in_i]", "cm", "70", "177.8", ""},
    {"[ft_i]", "m", "6", "1.8288", ""},
    {"/s", "/min", "1.2", "72", ""},
    {"Hz", "/min", "1.2", "72", ""},
    {"{beats}/min", "/min", "72", "72", ""},
    {"mL/s", "L/min", "100", "6", ""},
    {"%", "1", "97", "0.97", ""},
    {"1", "%", "0.97", "97", ""},
    {"mmol/L", "mg/dL", "5.5", "99.0858", "180.156"},
    {"mg/dL", "mmol/L", "99.0858", "5.5", "180.156"},
    {"mg/dL", "mmol/L", "100", "5.55074490996692", "180.156"},
    {"mmol/L", "mg/dL", "5.5", "!ucum.different", ""},
    {"kg", "g", "1", "!ucum.different", "180.156"},
    {"mmol/L", "mg/dL", "5.5", "!ucum.syntax", "-5"},
    {"mmol/L", "mg/dL", "5.5", "!ucum.syntax", "0"},
    {"mL/(kg.min)", "L/(kg.h)", "50", "3", ""},
    {"mL/kg/min", "mL/(kg.min)", "50", "50", ""},
    {"10*3/uL", "10*9/L", "7.2", "7.2", ""},
    {"10*-2", "%", "5", "5", ""},
    {"10^9/L", "10*9/L", "1", "1", ""},
    {"[IU]/mL", "k[IU]/L", "3", "3", ""},
    {"m[IU]/L", "u[IU]/mL", "3", "3", ""},
    {"[tsp_us]", "mL", "1", "4.92892159375", ""},
    {"m+2", "cm2", "1", "10000", ""},
    {"s-1", "Hz", "1", "1", ""},
    {"m", "km", "0", "0", ""},
    {"m", "km", "-0.0", "0", ""},
    {"nm", "Ym", "1", "1E-33", ""},
    {"Ym", "nm", "1.5", "1.5E+33", ""},
    {"kg", "g", "1.50", "1500", ""},
    {"g", "kg", "123456789012345678", "123456789012346", ""},
    {"g", "kg", "1E-5", "0.00000001", ""},
    {"g", "kg", "0.000000000001", "1E-15", ""},
    {"g", "kg", "abc", "", ""},
    {"g", "kg", "1e999", "", ""},
    {"g", "kg", "", "", ""},
    {"Cel", "kg", "1", "!ucum.different", ""},
    {"Cel", "K.m", "1", "!ucum.different", ""},
    {"[IU]", "U", "1", "!ucum.different", ""},
    {"[IU]", "[arb'U]", "1", "!ucum.different", ""},
    {"[IU]", "1", "1", "!ucum.different", ""},
    {"[pH]", "[pH]", "7.35", "7.35", ""},
    {"dB", "B", "5", "0.5", ""},
    {"mol", "1", "1", "!ucum.different", ""},
    {"meq/L", "mmol/L", "1", "!ucum.different", ""},
    {"meq/dL", "meq/L", "1", "10", ""},
    {"", "kg", "1", "!ucum.syntax", ""},
    {"foo", "kg", "1", "!ucum.unit", ""},
    {"mmHg", "kPa", "1", "!ucum.unit", ""},
    {"degF", "Cel", "1", "!ucum.unit", ""},
    {"KG", "kg", "1", "!ucum.unit", ""},
    {"mCel", "Cel", "1", "!ucum.unit", ""},
    {"Cel/min", "K/min", "1", "!ucum.unit", ""},
    {"k[lb_av]", "kg", "1", "!ucum.unit", ""},
    {"kg.", "kg", "1", "!ucum.syntax", ""},
    {"kg/", "kg", "1", "!ucum.syntax", ""},
    {"(kg", "kg", "1", "!ucum.syntax", ""},
    {"kg)", "kg", "1", "!ucum.syntax", ""},
    {"kg{a", "kg", "1", "!ucum.syntax", ""},
    {"kg{a b}", "kg", "1", "!ucum.syntax", ""},
    {"{a}{b}", "1", "1", "!ucum.syntax", ""},
    {"kg g", "kg", "1", "!ucum.unit", ""},
    {"m99", "m", "1", "!ucum.syntax", ""},
    {"0", "1", "1", "!ucum.syntax", ""},
    {"((((((((((((((((((kg))))))))))))))))))", "kg", "1", "!ucum.syntax", ""},
    {"Ym9.Ym9.Ym9", "m27", "1", "!ucum.unit", ""},
    {"[lb_av]9", "g9", "1", "!ucum.unit", ""},
};

/* The result, or "!code". */
static const char *convert(const char *from, const char *to, const char *value, const char *mass)
{
    static char text[64];
    struct ucum_conversion conversion;
    struct vg_err err = {0};

    if (ucum_conversion_init(&conversion, vg_slice_of(from), vg_slice_of(to), vg_slice_of(mass),
                             &err) != VG_OK)
        (void)snprintf(text, sizeof(text), "!%s", err.code);
    else
        text[ucum_convert(&conversion, vg_slice_of(value), text)] = '\0';
    return text;
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *got = convert(rows[i].from, rows[i].to, rows[i].value, rows[i].molar_mass);

        CHECK_ROW(rows[i].from);
        if (!CHECK(strcmp(got, rows[i].want) == 0))
            printf("  to %s: got %s, want %s\n", rows[i].to, got, rows[i].want);
    }
}

/* There and back again is where it began, for every number of up to six digits that is tried. */
static void test_back_again(void)
{
    static const char *const pairs[][2] = {{"Cel", "[degF]"}, {"mm[Hg]", "kPa"},  {"kg", "[lb_av]"},
                                           {"cm", "[in_i]"},  {"cm[H2O]", "kPa"}, {"/min", "/s"}};
    unsigned long seed = 7;

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        for (int k = 0; k < 500; k++) {
            char value[40], there[64];
            double got;

            seed = seed * 6364136223846793005u + 1442695040888963407u;
            (void)snprintf(value, sizeof(value), "%.2f", (double)(seed >> 44) / 100.0);
            (void)snprintf(there, sizeof(there), "%s",
                           convert(pairs[i][0], pairs[i][1], value, ""));
            got = strtod(convert(pairs[i][1], pairs[i][0], there, ""), NULL);
            CHECK_ROW(value);
            CHECK(fabs(got - strtod(value, NULL)) < 1e-9);
        }
}

/* What a library of others makes of the same units. */
static void test_against_ucum_lhc(void)
{
    char line[256];
    unsigned count = 0;
    FILE *pairs;

    if (access(VG_SOURCE_DIR "/node_modules/@lhncbc/ucum-lhc/package.json", R_OK) != 0 ||
        system("node --version >/dev/null 2>&1") != 0) {
        SKIP("no Node.js, or no node_modules: units are not compared with @lhncbc/ucum-lhc");
        return;
    }
    pairs = popen("node " VG_SOURCE_DIR "/test/ucum_pairs.mjs 2>/dev/null", "r");
    if (!CHECK(pairs != NULL))
        return;
    while (fgets(line, sizeof(line), pairs)) {
        struct vg_slice rest = vg_slice_trim(vg_slice_of(line));
        char part[5][64];
        const char *got;
        double want;

        for (int i = 0; i < 5; i++)
            if (!vg_slice_to_cstr(vg_slice_cut(&rest, '\t'), part[i], sizeof(part[i])))
                part[i][0] = '\0';
        CHECK_ROW(part[0]);
        got = convert(part[0], part[1], part[2], part[3]);
        want = strtod(part[4], NULL);
        count++;
        if (part[4][0] > '9') { /* failed, error */
            if (!CHECK(got[0] == '!'))
                printf("  %s to %s: got %s, want none\n", part[0], part[1], got);
        } else if (!CHECK(got[0] != '!' &&
                          fabs(strtod(got, NULL) - want) <= 1e-9 * fabs(want) + 1e-12)) {
            printf("  %s %s to %s: got %s, want %s\n", part[2], part[0], part[1], got, part[4]);
        }
    }
    CHECK(pclose(pairs) == 0);
    CHECK(count > 500);
}

int main(void)
{
    RUN(test_rows);
    RUN(test_back_again);
    RUN(test_against_ucum_lhc);
    return vg_test_report();
}
