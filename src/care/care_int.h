/* care_int.h -- what the files of src/care share. Private to the folder. */
#ifndef VG_CARE_CARE_INT_H
#define VG_CARE_CARE_INT_H

#include "base/json.h"
#include "care/care.h"
#include "care/sql.h"

#include <pthread.h>

struct care {
    pthread_mutex_t write_lock; /* guards writer; held for as long as a care_batch is open */
    pthread_mutex_t read_lock;  /* guards reader */
    struct sql *writer, *reader;
};

/* A statement that reads, or one that writes alone, under the right lock. */
#define CARE_READ(care, err, fn, ctx, statement, ...)                                              \
    care_run((care), false, statement, (const struct sql_value[]){__VA_ARGS__},                    \
             sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value), (fn),     \
             (ctx), (err))
#define CARE_WRITE(care, err, fn, ctx, statement, ...)                                             \
    care_run((care), true, statement, (const struct sql_value[]){__VA_ARGS__},                     \
             sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value), (fn),     \
             (ctx), (err))
VG_CHECK enum vg_status care_run(struct care *care, bool is_write, const char *statement,
                                 const struct sql_value *params, size_t param_count, sql_row_fn *fn,
                                 void *ctx, struct vg_err *err);

/* A transaction on the writer, whose lock the caller holds. */
VG_CHECK enum vg_status care_begin(struct care *care, struct vg_err *err);
VG_CHECK enum vg_status care_end(struct care *care, enum vg_status st, struct vg_err *err);

/* The next change number; inside a transaction. */
VG_CHECK enum vg_status care_next_change(struct sql *sql, int64_t *ret_change, struct vg_err *err);

/* Cards of one event for every target; inside a transaction. nth tells repetitions of the same
 * event apart; 0 = it happens once. */
VG_CHECK enum vg_status care_card_put(struct sql *sql, const struct care_flag *flag,
                                      struct vg_slice location, struct vg_slice initials, int nth,
                                      struct vg_err *err);
/* One line of an item's history; inside a transaction. */
VG_CHECK enum vg_status care_item_act_put(struct sql *sql, int64_t item_id, const char *what,
                                          struct vg_slice user, int64_t time_us,
                                          struct vg_slice text, struct vg_err *err);

/* The parts of an open batch. */
struct sql *care_batch_sql(struct care_batch *batch);
struct vg_arena *care_batch_arena(struct care_batch *batch);

/* Row functions that many queries share: the first column into *(int64_t *)ctx. */
sql_row_fn care_take_integer;

/* JSON pieces of docs/api.md. The caller holds the connection's lock. */
enum vg_status care_put_row(struct sql *sql, struct vg_slice patient_id, struct vg_json_writer *w,
                            struct vg_err *err);
enum vg_status care_put_item(struct sql *sql, int64_t item_id, struct vg_json_writer *w,
                             struct vg_err *err);

extern const char *const care_migrations[];
extern const int care_migration_count;

/* How long a worklist item of this severity may wait (RCP: high 30 min, medium 60 min). */
int64_t care_due_after_us(struct vg_slice severity);

#endif
