/* side_int.h -- the small database beside the resources: clients and their tokens, how far each
 * Subscription has been told, imports. Private to src/fhir.
 *
 * A file of its own, so that it is there whatever engine holds the resources, and so that a token
 * does not wait for a transaction of ten thousand Observations.
 */
#ifndef VG_FHIR_SIDE_INT_H
#define VG_FHIR_SIDE_INT_H

#include "fhir/fhir_int.h"

#include <sqlite3.h>

struct fhir_side;

VG_CHECK enum vg_status fhir_side_open(const char *path, struct fhir_side **ret_side,
                                       struct vg_err *err);
void fhir_side_close(struct fhir_side *side); /* NULL is fine */
const char *fhir_side_path(const struct fhir_side *side);

/* One statement at a time, from any thread: begin (prepared, the database locked), bind, step, end.
 * A failed begin needs no end. */
VG_CHECK enum vg_status fhir_side_begin(struct fhir_side *side, const char *sql,
                                        sqlite3_stmt **ret_stmt, struct vg_err *err);
void fhir_side_end(struct fhir_side *side, sqlite3_stmt *stmt);
/* For a statement without rows: texts are bound to ?1…, then numbers. */
struct fhir_side_args {
    struct vg_slice texts[4];
    size_t text_count;
    int64_t numbers[6];
    size_t number_count;
};
VG_CHECK enum vg_status fhir_side_run(struct fhir_side *side, const char *sql,
                                      const struct fhir_side_args *args, struct vg_err *err);

#endif
