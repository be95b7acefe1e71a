/* ucum.h -- units by their UCUM codes, and decimals from one to another.
 *
 *   mm[Hg]  kPa  cm[H2O]  Cel  [degF]  mg/dL  mmol/L  10*9/L  {beats}/min  /min  mL/(kg.min)
 *
 * Case-sensitive codes; prefixes, exponents, '.', '/', parentheses, annotations in braces. What
 * has no place on a linear scale (pH, bel) and what is defined by an assay ([IU]) converts to
 * itself only. An amount (mol) becomes a mass where the substance's molar mass is given.
 */
#ifndef VG_CONNECTOR_UCUM_H
#define VG_CONNECTOR_UCUM_H

#include "base/slice.h"
#include "base/status.h"

#define UCUM_DIMENSIONS 9

enum ucum_zero { /* where a scale begins that does not begin at nought */
                 UCUM_ZERO_NONE,
                 UCUM_ZERO_CELSIUS,
                 UCUM_ZERO_FAHRENHEIT,
};

/* numerator / denominator * 10^exponent of the base units. */
struct ucum_unit {
    uint64_t numerator, denominator;
    int exponent;
    int dimensions[UCUM_DIMENSIONS];
    const char *arbitrary; /* the unit that is no measure of anything else; NULL = none */
    enum ucum_zero zero;
};

/* VG_REJECT ucum.syntax, ucum.unit (no such unit, or none that calculates): text says which. */
VG_CHECK enum vg_status ucum_parse(struct vg_slice text, struct ucum_unit *ret_unit,
                                   struct vg_err *err);

struct ucum_conversion {
    uint64_t numerator, denominator;
    int exponent;
    enum ucum_zero from_zero, to_zero;
};

/* `molar_mass`: a decimal, g/mol, or empty. VG_REJECT ucum.different: they measure different
 * things; and the codes of ucum_parse(). */
VG_CHECK enum vg_status ucum_conversion_init(struct ucum_conversion *conversion,
                                             struct vg_slice from, struct vg_slice to,
                                             struct vg_slice molar_mass, struct vg_err *err);

/* A JSON number, converted: exactly where 15 digits hold it, else rounded to that many; zeros
 * behind the last digit are cut. Returns the length; 0: not a decimal, or out of range. */
size_t ucum_convert(const struct ucum_conversion *conversion, struct vg_slice decimal,
                    char out[static 40]);

#endif
