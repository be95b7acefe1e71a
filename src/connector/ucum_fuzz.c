/* ucum_fuzz.c -- two units and a decimal, a line each: what is read twice is the same twice, and
 * what is converted is a decimal. */
#include "connector/ucum.h"
#include "connector/value.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_slice rest = {(const char *)data, size}, from = vg_slice_cut(&rest, '\n');
    struct vg_slice to = vg_slice_cut(&rest, '\n'), mass = vg_slice_cut(&rest, '\n'), number;
    struct ucum_conversion a, b;
    struct vg_err err = {0};
    char plain[40], out[40], again[40], text[40];

    if (ucum_conversion_init(&a, from, to, mass, &err) != VG_OK) {
        if (!err.code)
            abort();
        return 0;
    }
    if (ucum_conversion_init(&b, from, to, mass, &err) != VG_OK)
        abort();
    if (!value_decimal(rest, false, plain, &number))
        return 0;

    size_t len = ucum_convert(&a, number, out);
    struct vg_slice result = {out, len}, check;

    if (len != ucum_convert(&b, number, again) || memcmp(out, again, len) != 0)
        abort();
    if (len > 0 && !value_decimal(result, false, text, &check))
        abort();
    return 0;
}
