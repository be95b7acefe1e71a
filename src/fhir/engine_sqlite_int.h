/* engine_sqlite_int.h -- what the files of the SQLite engine share. Private to them. */
#ifndef VG_FHIR_ENGINE_SQLITE_INT_H
#define VG_FHIR_ENGINE_SQLITE_INT_H

#include "fhir/engine.h"

#include <sqlite3.h>

sqlite3 *fhir_sqlite_db(void *view);

/* engine_sqlite_history.c: see engine.h */
enum vg_status fhir_sqlite_history(void *view, const struct fhir_history_ask *ask,
                                   struct vg_arena *arena, struct fhir_found_list *ret_found,
                                   struct vg_err *err);
enum vg_status fhir_sqlite_changes(void *view, unsigned type, int64_t after, uint32_t max,
                                   struct vg_arena *arena, struct fhir_found_list *ret_found,
                                   int64_t *ret_last, struct vg_err *err);
enum vg_status fhir_sqlite_last_change(void *view, int64_t *ret_number, struct vg_err *err);
enum vg_status fhir_sqlite_drop_changes(void *view, int64_t before, struct vg_err *err);

#endif
