/* rest.c -- FHIR's REST interface at /fhir. */
#include "fhir/fhir_int.h"

void fhir_rest_close(struct fhir_rest *rest)
{
    (void)rest;
}
