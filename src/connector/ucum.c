/* ucum.c -- units by their UCUM codes, and decimals from one to another.
 *
 * A unit is a factor and the powers of base units. The factor is a fraction times a power of ten,
 * so that 1 [lb_av] is 0.45359237 kg to the last digit and a conversion is done in integers: the
 * only rounding is that of the result, to 15 digits. Derived units are rows that say themselves in
 * terms of others; a row is read like what a user writes.
 *
 * The mole has a dimension of its own here (UCUM counts it as a number), because an amount that
 * passes for a plain number would convert to percent.
 *
 * Threads: no state.
 */
#include "connector/ucum.h"

#include <stdio.h>

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 i128;

#define TEXT_MAX 100
#define DEPTH_MAX 16         /* parentheses, and rows that lead to rows */
#define POWER_MAX 9          /* of one unit */
#define EXPONENT_MAX 120     /* of ten */
#define TEXT_EXPONENT_MAX 99 /* of a decimal as text, here as in value_decimal() */
#define DIGITS_MAX 15        /* of a result */

enum dimension {
    LENGTH,
    TIME,
    MASS,
    ANGLE,
    TEMPERATURE,
    CHARGE,
    LIGHT,
    AMOUNT,
    ARBITRARY,
};

static const struct {
    const char *code;
    int exponent;
} prefixes[] = {{"da", 1}, {"Y", 24},  {"Z", 21},  {"E", 18},  {"P", 15},  {"T", 12}, {"G", 9},
                {"M", 6},  {"k", 3},   {"h", 2},   {"d", -1},  {"c", -2},  {"m", -3}, {"u", -6},
                {"n", -9}, {"p", -12}, {"f", -15}, {"a", -18}, {"z", -21}, {"y", -24}};

static const struct {
    const char *code;
    enum dimension dimension;
} bases[] = {{"m", LENGTH},      {"s", TIME},   {"g", MASS},   {"rad", ANGLE},
             {"K", TEMPERATURE}, {"C", CHARGE}, {"cd", LIGHT}, {"mol", AMOUNT}};

/* Units that convert to themselves only. How many moles an equivalent is depends on the ion. */
static const struct {
    const char *code;
    bool is_metric;
} arbitrary[] = {
    {"[IU]", true},         {"[iU]", true},      {"[arb'U]", false}, {"[USP'U]", false},
    {"[GPL'U]", false},     {"[MPL'U]", false},  {"[APL'U]", false}, {"[beth'U]", false},
    {"[anti'Xa'U]", false}, {"[todd'U]", false}, {"[dye'U]", false}, {"[ka'U]", false},
    {"[knk'U]", false},     {"[mclg'U]", false}, {"[tb'U]", false},  {"[CCID_50]", false},
    {"[TCID_50]", false},   {"[EID_50]", false}, {"[PFU]", false},   {"[FFU]", false},
    {"[CFU]", false},       {"[Lf]", false},     {"[BAU]", false},   {"[AU]", false},
    {"[Amb'a'1'U]", false}, {"[PNU]", false},    {"[pH]", false},    {"B", true},
    {"eq", true},           {"osm", true},       {"Np", true},       {"[hnsf'U]", false},
    {"[MET]", false}};

/* value * unit */
static const struct {
    const char *code;
    bool is_metric; /* takes prefixes */
    const char *value, *unit;
} rows[] = {
    {"10*", false, "10", "1"},
    {"10^", false, "10", "1"},
    {"[pi]", false, "3.141592653589793", "1"},
    {"%", false, "1", "10*-2"},
    {"[ppth]", false, "1", "10*-3"},
    {"[ppm]", false, "1", "10*-6"},
    {"[ppb]", false, "1", "10*-9"},
    {"[pptr]", false, "1", "10*-12"},
    {"min", false, "60", "s"},
    {"h", false, "60", "min"},
    {"d", false, "24", "h"},
    {"wk", false, "7", "d"},
    {"a", false, "365.25", "d"},
    {"a_j", false, "365.25", "d"},
    {"a_t", false, "365.24219", "d"},
    {"a_g", false, "365.2425", "d"},
    {"mo", false, "30.4375", "d"},
    {"mo_j", false, "30.4375", "d"},
    {"mo_s", false, "29.53059", "d"},
    {"l", true, "1", "dm3"},
    {"L", true, "1", "dm3"},
    {"ar", true, "100", "m2"},
    {"st", true, "1", "m3"},
    {"t", true, "1000", "kg"},
    {"sr", true, "1", "rad2"},
    {"deg", false, "2", "[pi].rad/360"},
    {"gon", true, "0.9", "deg"},
    {"circ", false, "2", "[pi].rad"},
    {"'", false, "1", "deg/60"},
    {"''", false, "1", "'/60"},
    {"Hz", true, "1", "s-1"},
    {"N", true, "1", "kg.m/s2"},
    {"Pa", true, "1", "N/m2"},
    {"J", true, "1", "N.m"},
    {"W", true, "1", "J/s"},
    {"A", true, "1", "C/s"},
    {"V", true, "1", "J/C"},
    {"F", true, "1", "C/V"},
    {"Ohm", true, "1", "V/A"},
    {"S", true, "1", "Ohm-1"},
    {"mho", true, "1", "S"},
    {"Wb", true, "1", "V.s"},
    {"T", true, "1", "Wb/m2"},
    {"H", true, "1", "Wb/A"},
    {"G", true, "0.0001", "T"},
    {"lm", true, "1", "cd.sr"},
    {"lx", true, "1", "lm/m2"},
    {"Bq", true, "1", "s-1"},
    {"Gy", true, "1", "J/kg"},
    {"Sv", true, "1", "J/kg"},
    {"Ci", true, "37000000000", "Bq"},
    {"R", true, "0.000258", "C/kg"},
    {"RAD", true, "100", "erg/g"},
    {"REM", true, "1", "RAD"},
    {"bar", true, "100000", "Pa"},
    {"atm", false, "101325", "Pa"},
    {"att", false, "1", "kgf/cm2"},
    {"dyn", true, "1", "g.cm/s2"},
    {"erg", true, "1", "dyn.cm"},
    {"P", true, "1", "dyn.s/cm2"},
    {"St", true, "1", "cm2/s"},
    {"Gal", true, "1", "cm/s2"},
    {"[g]", true, "9.80665", "m/s2"},
    {"gf", true, "1", "g.[g]"},
    {"[lbf_av]", false, "1", "[lb_av].[g]"},
    {"[psi]", false, "1", "[lbf_av]/[in_i]2"},
    {"m[Hg]", true, "133.322", "kPa"},
    {"m[H2O]", true, "9.80665", "kPa"},
    {"[in_i'Hg]", false, "1", "m[Hg].[in_i]/m"},
    {"[in_i'H2O]", false, "1", "m[H2O].[in_i]/m"},
    {"cal", true, "4.184", "J"},
    {"cal_th", true, "4.184", "J"},
    {"cal_IT", true, "4.1868", "J"},
    {"[Cal]", false, "1", "kcal_th"},
    {"kat", true, "1", "mol/s"},
    {"U", true, "1", "umol/min"},
    {"[diop]", false, "1", "/m"},
    {"[PRU]", false, "1", "mm[Hg].s/ml"},
    {"[wood'U]", false, "1", "mm[Hg].min/L"},
    {"[drp]", false, "1", "ml/20"},
    {"[in_i]", false, "2.54", "cm"},
    {"[ft_i]", false, "12", "[in_i]"},
    {"[yd_i]", false, "3", "[ft_i]"},
    {"[mi_i]", false, "5280", "[ft_i]"},
    {"[nmi_i]", false, "1852", "m"},
    {"[kn_i]", false, "1", "[nmi_i]/h"},
    {"[sin_i]", false, "1", "[in_i]2"},
    {"[sft_i]", false, "1", "[ft_i]2"},
    {"[cin_i]", false, "1", "[in_i]3"},
    {"[gr]", false, "64.79891", "mg"},
    {"[lb_av]", false, "7000", "[gr]"},
    {"[oz_av]", false, "1", "[lb_av]/16"},
    {"[dr_av]", false, "1", "[oz_av]/16"},
    {"[stone_av]", false, "14", "[lb_av]"},
    {"[ston_av]", false, "2000", "[lb_av]"},
    {"[lton_av]", false, "2240", "[lb_av]"},
    {"[oz_tr]", false, "480", "[gr]"},
    {"[lb_tr]", false, "12", "[oz_tr]"},
    {"[sc_ap]", false, "20", "[gr]"},
    {"[dr_ap]", false, "3", "[sc_ap]"},
    {"[oz_ap]", false, "8", "[dr_ap]"},
    {"[gal_us]", false, "231", "[in_i]3"},
    {"[qt_us]", false, "1", "[gal_us]/4"},
    {"[pt_us]", false, "1", "[qt_us]/2"},
    {"[gil_us]", false, "1", "[pt_us]/4"},
    {"[foz_us]", false, "1", "[gil_us]/4"},
    {"[cup_us]", false, "16", "[tbs_us]"},
    {"[tbs_us]", false, "1", "[foz_us]/2"},
    {"[tsp_us]", false, "1", "[tbs_us]/3"},
    {"[gal_br]", false, "4.54609", "l"},
    {"[pt_br]", false, "1", "[gal_br]/8"},
    {"[foz_br]", false, "1", "[pt_br]/20"},
    {"[car_m]", false, "0.2", "g"},
    {"[HPF]", false, "1", "1"},
    {"[LPF]", false, "100", "1"},
};

/* ---- factors ---- */

static enum vg_status too_large(struct vg_err *err)
{
    return vg_fail(err, VG_REJECT, "ucum.unit", 0, "a unit whose factor cannot be calculated with");
}

static uint64_t common(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* u *= numerator / denominator * 10^exponent */
static bool scale(struct ucum_unit *u, uint64_t numerator, uint64_t denominator, int exponent)
{
    uint64_t a = common(u->numerator, denominator), b = common(numerator, u->denominator);

    if (__builtin_mul_overflow(u->numerator / a, numerator / b, &u->numerator) ||
        __builtin_mul_overflow(u->denominator / b, denominator / a, &u->denominator))
        return false;
    u->exponent += exponent;
    for (; u->numerator % 10 == 0; u->numerator /= 10)
        u->exponent++;
    for (; u->denominator % 10 == 0; u->denominator /= 10)
        u->exponent--;
    return u->exponent <= EXPONENT_MAX && u->exponent >= -EXPONENT_MAX &&
           u->numerator < (uint64_t)1 << 62 && u->denominator < (uint64_t)1 << 62;
}

/* Digits, point, digits: no sign, no exponent. */
static bool scale_decimal(struct ucum_unit *u, struct vg_slice text)
{
    uint64_t number = 0;
    int exponent = 0;
    bool has_point = false, has_digit = false;

    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || number > UINT64_MAX / 100)
            return false;
        number = number * 10 + (uint64_t)(text.ptr[i] - '0');
        exponent -= has_point;
        has_digit = true;
    }
    return has_digit && number > 0 && scale(u, number, 1, exponent);
}

/* u *= v^power */
static enum vg_status multiply(struct ucum_unit *u, const struct ucum_unit *v, int power,
                               struct vg_err *err)
{
    if (power > POWER_MAX || power < -POWER_MAX)
        return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "an exponent beyond %d", POWER_MAX);
    if (v->zero != UCUM_ZERO_NONE || u->zero != UCUM_ZERO_NONE)
        return vg_fail(err, VG_REJECT, "ucum.unit", 0,
                       "Cel and [degF] stand alone: they calculate with no other unit");
    if (v->arbitrary && power != 0) {
        if (u->arbitrary && strcmp(u->arbitrary, v->arbitrary) != 0)
            return vg_fail(err, VG_REJECT, "ucum.unit", 0, "%s and %s in one unit", u->arbitrary,
                           v->arbitrary);
        u->arbitrary = v->arbitrary;
    }
    for (int i = 0; i < UCUM_DIMENSIONS; i++)
        u->dimensions[i] += v->dimensions[i] * power;
    for (int i = 0; i < (power < 0 ? -power : power); i++)
        if (power > 0 ? !scale(u, v->numerator, v->denominator, v->exponent)
                      : !scale(u, v->denominator, v->numerator, -v->exponent))
            return too_large(err);
    return VG_OK;
}

static struct ucum_unit one(void)
{
    return (struct ucum_unit){.numerator = 1, .denominator = 1};
}

/* ---- reading ---- */

static enum vg_status read_term(struct vg_slice *text, unsigned depth, struct ucum_unit *ret,
                                struct vg_err *err);

/* A code without prefix. VG_END: there is none. */
static enum vg_status find_atom(struct vg_slice code, unsigned depth, struct ucum_unit *ret,
                                bool *ret_is_metric, struct vg_err *err)
{
    *ret = one();
    *ret_is_metric = true;
    if (vg_slice_is(code, "Cel") || vg_slice_is(code, "[degF]")) {
        *ret_is_metric = vg_slice_is(code, "Cel");
        ret->zero = *ret_is_metric ? UCUM_ZERO_CELSIUS : UCUM_ZERO_FAHRENHEIT;
        ret->dimensions[TEMPERATURE] = 1;
        return *ret_is_metric || scale(ret, 5, 9, 0) ? VG_OK : too_large(err);
    }
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
        if (vg_slice_is(code, bases[i].code)) {
            ret->dimensions[bases[i].dimension] = 1;
            return VG_OK;
        }
    for (size_t i = 0; i < sizeof(arbitrary) / sizeof(arbitrary[0]); i++)
        if (vg_slice_is(code, arbitrary[i].code)) {
            ret->dimensions[ARBITRARY] = 1;
            ret->arbitrary = arbitrary[i].code;
            *ret_is_metric = arbitrary[i].is_metric;
            return VG_OK;
        }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (vg_slice_is(code, rows[i].code)) {
            struct vg_slice unit = vg_slice_of(rows[i].unit);
            enum vg_status st = read_term(&unit, depth + 1, ret, err);

            *ret_is_metric = rows[i].is_metric;
            if (st == VG_OK && !scale_decimal(ret, vg_slice_of(rows[i].value)))
                st = too_large(err);
            return st;
        }
    return VG_END;
}

static enum vg_status find_unit(struct vg_slice code, unsigned depth, struct ucum_unit *ret,
                                struct vg_err *err)
{
    bool is_metric;
    enum vg_status st = find_atom(code, depth, ret, &is_metric, err);

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]) && st == VG_END; i++) {
        size_t len = strlen(prefixes[i].code);

        if (code.len <= len || !vg_slice_starts(code, vg_slice_of(prefixes[i].code)))
            continue;
        st = find_atom(vg_slice_from(code, len), depth, ret, &is_metric, err);
        if (st == VG_OK && !is_metric)
            st = VG_END;
        if (st == VG_OK && ret->zero != UCUM_ZERO_NONE)
            return vg_fail(err, VG_REJECT, "ucum.unit", 0, "Cel with a prefix");
        if (st == VG_OK && !scale(ret, 1, 1, prefixes[i].exponent))
            st = too_large(err);
    }
    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "ucum.unit", 0, "UCUM has no unit '%.*s'", VG_FMT(code));
    return st;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* What is up to the next operator; brackets may hold anything. */
static size_t code_length(struct vg_slice text)
{
    size_t n = 0;
    bool is_inside = false;

    for (; n < text.len; n++) {
        char c = text.ptr[n];

        if (c == '[' || c == ']')
            is_inside = c == '[';
        else if (!is_inside && strchr("./(){}", c))
            break;
    }
    return n;
}

/* Cuts "-2" or "3" off the end of `code`; 1 where there is none. */
static int cut_exponent(struct vg_slice *code)
{
    size_t at = code->len;
    int power = 0;

    while (at > 0 && is_digit(code->ptr[at - 1]))
        at--;
    if (at == code->len || at == 0)
        return 1;
    for (size_t i = at; i < code->len && power < 1000; i++)
        power = power * 10 + (code->ptr[i] - '0');
    if (code->ptr[at - 1] == '-' || code->ptr[at - 1] == '+') {
        if (code->ptr[--at] == '-')
            power = -power;
    }
    code->len = at;
    return power;
}

static enum vg_status skip_annotation(struct vg_slice *text, struct vg_err *err)
{
    size_t n = 1;

    if (text->len == 0 || text->ptr[0] != '{')
        return VG_OK;
    while (n < text->len && text->ptr[n] != '}' && text->ptr[n] > ' ' && text->ptr[n] != '{')
        n++;
    if (n == text->len || text->ptr[n] != '}')
        return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected } in a unit");
    *text = vg_slice_from(*text, n + 1);
    return VG_OK;
}

static enum vg_status read_component(struct vg_slice *text, unsigned depth, struct ucum_unit *ret,
                                     struct vg_err *err)
{
    struct vg_slice code = {text->ptr, code_length(*text)};
    enum vg_status st;
    int power;
    struct ucum_unit unit;

    *ret = one();
    if (text->len > 0 && text->ptr[0] == '(') {
        *text = vg_slice_from(*text, 1);
        st = read_term(text, depth + 1, ret, err);
        if (st != VG_OK)
            return st;
        if (text->len == 0 || text->ptr[0] != ')')
            return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected ) in a unit");
        *text = vg_slice_from(*text, 1);
        return VG_OK;
    }
    if (code.len == 0) {
        if (text->len > 0 && text->ptr[0] == '{')
            return skip_annotation(text, err);
        return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected a unit, found %s",
                       text->len ? "an operator" : "the end");
    }
    *text = vg_slice_from(*text, code.len);
    if (is_digit(code.ptr[0]) && code.ptr[code.len - 1] != '*' && code.ptr[code.len - 1] != '^' &&
        !(code.len > 2 && (code.ptr[2] == '*' || code.ptr[2] == '^'))) {
        if (!scale_decimal(ret, code))
            return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected a unit, found '%.*s'",
                           VG_FMT(code));
        return skip_annotation(text, err);
    }
    power = cut_exponent(&code);
    st = find_unit(code, depth, &unit, err);
    if (st != VG_OK)
        return st;
    if (power == 1)
        *ret = unit;
    else if (vg_slice_is(code, "10*") || vg_slice_is(code, "10^"))
        ret->exponent = power;
    else
        st = multiply(ret, &unit, power, err);
    if (ret->exponent > EXPONENT_MAX || ret->exponent < -EXPONENT_MAX)
        return too_large(err);
    return st == VG_OK ? skip_annotation(text, err) : st;
}

static enum vg_status read_term(struct vg_slice *text, unsigned depth, struct ucum_unit *ret,
                                struct vg_err *err)
{
    bool is_first = true;
    enum vg_status st = VG_OK;

    if (depth > DEPTH_MAX)
        return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "a unit that is nested too deep");
    *ret = one();
    while (st == VG_OK && (is_first || (text->len > 0 && text->ptr[0] != ')'))) {
        struct ucum_unit unit;
        int power = 1;

        if (text->len > 0 && (text->ptr[0] == '/' || (text->ptr[0] == '.' && !is_first))) {
            power = text->ptr[0] == '/' ? -1 : 1;
            *text = vg_slice_from(*text, 1);
        } else if (!is_first) {
            return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected . or / in a unit");
        }
        st = read_component(text, depth, &unit, err);
        if (st == VG_OK && is_first && power == 1)
            *ret = unit;
        else if (st == VG_OK)
            st = multiply(ret, &unit, power, err);
        is_first = false;
    }
    return st;
}

enum vg_status ucum_parse(struct vg_slice text, struct ucum_unit *ret_unit, struct vg_err *err)
{
    struct ucum_unit unit;
    enum vg_status st;

    if (text.len == 0 || text.len > TEXT_MAX)
        return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected a unit of at most %d characters",
                       TEXT_MAX);
    st = read_term(&text, 0, &unit, err);
    if (st == VG_OK && text.len > 0)
        st = vg_fail(err, VG_REJECT, "ucum.syntax", 0, "a ) without its ( in a unit");
    if (st == VG_OK)
        *ret_unit = unit;
    return st;
}

/* ---- converting ---- */

enum vg_status ucum_conversion_init(struct ucum_conversion *conversion, struct vg_slice from,
                                    struct vg_slice to, struct vg_slice molar_mass,
                                    struct vg_err *err)
{
    struct ucum_unit a, b, factor = one();
    enum vg_status st = ucum_parse(from, &a, err);
    bool is_same = true;
    int moles;

    if (st == VG_OK)
        st = ucum_parse(to, &b, err);
    if (st != VG_OK)
        return st;
    *conversion = (struct ucum_conversion){.from_zero = a.zero, .to_zero = b.zero};
    a.zero = b.zero = UCUM_ZERO_NONE;
    moles = a.dimensions[AMOUNT] - b.dimensions[AMOUNT];
    if (molar_mass.len > 0 && moles == 0)
        return vg_fail(err, VG_REJECT, "ucum.different", 0,
                       "a molar mass for '%.*s' and '%.*s', which need none", VG_FMT(from),
                       VG_FMT(to));
    if (molar_mass.len > 0) {
        struct ucum_unit mass = one();

        mass.dimensions[MASS] = 1; /* g/mol */
        mass.dimensions[AMOUNT] = -1;
        if (!scale_decimal(&mass, molar_mass))
            return vg_fail(err, VG_REJECT, "ucum.syntax", 0, "expected a decimal above 0");
        st = multiply(&a, &mass, moles, err);
        if (st != VG_OK)
            return st;
    }
    for (int i = 0; i < UCUM_DIMENSIONS; i++)
        is_same &= a.dimensions[i] == b.dimensions[i];
    if (!is_same || (a.arbitrary != b.arbitrary && a.dimensions[ARBITRARY] != 0))
        return vg_fail(err, VG_REJECT, "ucum.different", 0,
                       "'%.*s' does not measure what '%.*s' does%s", VG_FMT(from), VG_FMT(to),
                       moles != 0 && molar_mass.len == 0 ? " (an amount needs a molarMass)" : "");
    if (!scale(&factor, a.numerator, a.denominator, a.exponent) ||
        !scale(&factor, b.denominator, b.numerator, -b.exponent))
        return too_large(err);
    conversion->numerator = factor.numerator;
    conversion->denominator = factor.denominator;
    conversion->exponent = factor.exponent;
    return VG_OK;
}

/* A number in the making: (minus) value * 10^exponent. */
struct decimal {
    bool is_negative;
    u128 value;
    int exponent;
};

/* Up to 18 digits count. */
static bool read_decimal(struct vg_slice text, struct decimal *ret)
{
    size_t i = text.len > 0 && text.ptr[0] == '-';
    bool has_point = false, has_digit = false;
    int64_t exponent = 0;

    *ret = (struct decimal){.is_negative = i > 0};
    for (; i < text.len && (is_digit(text.ptr[i]) || (text.ptr[i] == '.' && !has_point)); i++) {
        if (text.ptr[i] == '.') {
            has_point = true;
            continue;
        }
        has_digit = true;
        if (ret->value >= 100000000000000000) {
            ret->exponent += !has_point;
            continue;
        }
        ret->value = ret->value * 10 + (unsigned)(text.ptr[i] - '0');
        ret->exponent -= has_point;
    }
    if (i < text.len && (text.ptr[i] | 32) == 'e') {
        struct vg_slice rest = vg_slice_from(text, i + 1);

        if (rest.len > 0 && rest.ptr[0] == '+')
            rest = vg_slice_from(rest, 1);
        if (!vg_slice_to_i64(rest, &exponent) || exponent > 100 || exponent < -100)
            return false;
        i = text.len;
    }
    ret->exponent += (int)exponent;
    for (; ret->value > 0 && ret->value % 10 == 0; ret->value /= 10)
        ret->exponent++;
    return has_digit && i == text.len;
}

/* d + hundredths / 100. Only temperatures come here: what is below 10^-15 of one is cut. */
static bool add_hundredths(struct decimal *d, i128 hundredths)
{
    i128 sum;

    if (d->value > 0 && d->exponent > 15)
        return false;
    for (; d->exponent > -2; d->exponent--)
        d->value *= 10;
    for (; d->exponent < -15; d->exponent++)
        d->value /= 10;
    for (int i = -2; i > d->exponent; i--)
        hundredths *= 10;
    sum = (d->is_negative ? -(i128)d->value : (i128)d->value) + hundredths;
    d->is_negative = sum < 0;
    d->value = (u128)(sum < 0 ? -sum : sum);
    return true;
}

/* d / denominator, to a few digits more than are shown. */
static void divide(struct decimal *d, uint64_t denominator)
{
    u128 quotient = d->value / denominator, rest = d->value % denominator;

    while (rest != 0 && quotient < (u128)1000000000000000000) {
        quotient = quotient * 10 + rest * 10 / denominator;
        rest = rest * 10 % denominator;
        d->exponent--;
    }
    d->value = quotient;
}

static size_t write_decimal(const struct decimal *d, char out[static 40])
{
    struct decimal n = *d;
    char digits[48];
    int count = 0, used = 0;
    u128 limit = 1;

    for (int i = 0; i < DIGITS_MAX; i++)
        limit *= 10;
    while (n.value >= limit) {
        unsigned last = (unsigned)(n.value % 10);

        n.value /= 10;
        n.exponent++;
        if (n.value < limit && last >= 5)
            n.value++;
    }
    for (; n.value > 0 && n.value % 10 == 0; n.value /= 10)
        n.exponent++;
    if (n.value == 0)
        return (size_t)snprintf(out, 40, "0");
    for (u128 rest = n.value; rest > 0; rest /= 10)
        digits[count++] = (char)('0' + (int)(rest % 10)); /* from the back */
    if (n.is_negative)
        out[used++] = '-';
    if (count + n.exponent > 20 || count + n.exponent < -8) {
        int exponent = count - 1 + n.exponent;

        if (exponent > TEXT_EXPONENT_MAX || exponent < -TEXT_EXPONENT_MAX)
            return 0;
        out[used++] = digits[--count];
        if (count > 0)
            out[used++] = '.';
        while (count > 0)
            out[used++] = digits[--count];
        return (size_t)(used + snprintf(out + used, (size_t)(40 - used), "E%+d", exponent));
    }
    if (count + n.exponent <= 0) {
        out[used++] = '0';
        out[used++] = '.';
        for (int i = count + n.exponent; i < 0; i++)
            out[used++] = '0';
    }
    for (int at = count; at > 0; at--) {
        if (at == -n.exponent && at != count)
            out[used++] = '.';
        out[used++] = digits[at - 1];
    }
    for (int i = 0; i < n.exponent; i++)
        out[used++] = '0';
    out[used] = '\0';
    return (size_t)used;
}

size_t ucum_convert(const struct ucum_conversion *c, struct vg_slice decimal, char out[static 40])
{
    static const int zeros[] = {[UCUM_ZERO_CELSIUS] = 27315, [UCUM_ZERO_FAHRENHEIT] = 45967};
    struct decimal d;

    if (!read_decimal(decimal, &d))
        return 0;
    if (c->from_zero != c->to_zero && c->from_zero && !add_hundredths(&d, zeros[c->from_zero]))
        return 0;
    for (; d.value >= (u128)1 << 64; d.exponent++)
        d.value /= 10; /* a temperature far from any patient */
    d.value *= c->numerator;
    d.exponent += c->exponent;
    /* value / denominator - zero is (value - zero * denominator) / denominator: rounded once */
    if (c->from_zero != c->to_zero && c->to_zero &&
        !add_hundredths(&d, -(i128)zeros[c->to_zero] * (i128)c->denominator))
        return 0;
    divide(&d, c->denominator);
    return write_decimal(&d, out);
}
