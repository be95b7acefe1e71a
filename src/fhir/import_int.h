/* import_int.h -- bulk $import of NDJSON files. Private to src/fhir. */
#ifndef VG_FHIR_IMPORT_INT_H
#define VG_FHIR_IMPORT_INT_H

#include "fhir/fhir_int.h"

struct fhir_imports;

/* Goes on with what the last end interrupted. */
VG_CHECK enum vg_status fhir_imports_open(struct fhir_store *store, const char *dir,
                                          struct fhir_imports **ret_imports, struct vg_err *err);
void fhir_imports_close(struct fhir_imports *imports); /* NULL is fine */

#endif
