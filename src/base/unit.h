/* unit.h -- units as people write them. */
#ifndef VG_BASE_UNIT_H
#define VG_BASE_UNIT_H

#include "base/slice.h"

/* UCUM code to text: "mm[Hg]" becomes "mmHg", "Cel" becomes "°C"; others stay as they are. */
static inline struct vg_slice vg_unit_text(struct vg_slice ucum)
{
    static const struct {
        const char *code, *text;
    } units[] = {
        {"mm[Hg]", "mmHg"}, {"Cel", "\u00b0C"}, {"[degF]", "\u00b0F"}, {"cm[H2O]", "cmH2O"}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (vg_slice_is(ucum, units[i].code))
            return vg_slice_of(units[i].text);
    }
    return ucum;
}

#endif
