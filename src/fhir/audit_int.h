/* audit_int.h -- an AuditEvent for each access. Private to src/fhir. */
#ifndef VG_FHIR_AUDIT_INT_H
#define VG_FHIR_AUDIT_INT_H

#include "fhir/fhir_int.h"

struct fhir_audit;
struct fhir_job;

/* Nothing when audit is off. In the worker's thread, after the job has run. */
void fhir_audit_add(struct fhir_store *store, struct fhir_job *job);

VG_CHECK enum vg_status fhir_audit_open(struct fhir_store *store, const char *spool_path,
                                        struct fhir_audit **ret_audit, struct vg_err *err);
void fhir_audit_close(struct fhir_audit *audit); /* what waits is written; NULL is fine */

#endif
