/* recipe.h -- how each model that ships is made: its data, features and parameters. */
#ifndef VG_SCORE_RECIPE_H
#define VG_SCORE_RECIPE_H

#include "score/fit.h"

struct recipe {
    const char *name, *version, *format;
    const char *purpose;
    const char *const *features; /* names, separated by white space or pieces; ends with NULL */
    const struct fit_parameter *parameters;
    size_t parameter_count;
    uint32_t rounds_max;
    uint32_t folds; /* of the cross-validation; 0: some patients are kept apart for choosing */
    uint32_t negative_percent; /* of the rows without the outcome that training sees */
    const char *const *limits; /* ends with NULL */
};

extern const struct recipe recipes[];
extern const size_t recipe_count;

/* By name, or the first for a format when name is NULL; NULL: there is none. */
const struct recipe *recipe_find(const char *name, const char *format);

#endif
