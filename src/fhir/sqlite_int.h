/* sqlite_int.h -- what the files of the SQLite engine share. Private to src/fhir.
 *
 *   engine_sqlite.c   opening, reading, the write queue, the write-ahead log
 *   sqlite_index.c    a resource's index rows, into the tables and out of them
 *   sqlite_search.c   a query becomes SQL; sqlite_filter.c: its conditions
 */
#ifndef VG_FHIR_SQLITE_INT_H
#define VG_FHIR_SQLITE_INT_H

#include "base/db.h"
#include "base/map.h"
#include "fhir/engine.h"

#define READER_COUNT 8
#define SYSTEM_ANY (-1)
#define TERM_UNKNOWN (-2)
/* The identifiers of the references at a path stand beside it. */
#define IDENTIFIER_KEY ((int64_t)1 << 31)

/* An index row that waits for the end of its job. Columns by table, in the order of the key. */
enum table { TIMELINE, TOKEN, STRING, DATE, QUANTITY, TABLE_COUNT };

struct row {
    enum table table;
    int64_t a, b, c, d, e, f, g, h, i;
    struct vg_slice text, more;
    double value;
};

/* A connection with its statements; as a void pointer it is the engine's view. */
struct conn {
    struct sqlite_engine *engine;
    sqlite3 *db;
    int64_t deadline_us; /* of the search that runs; monotonic, 0 = none */
    struct vg_map statements;
    struct vg_arena scratch;        /* of the functions that SQL calls */
    const struct fhir_query *query; /* of the search that runs */
    bool is_writer, is_lent;
};

struct job {
    fhir_work *work;
    void *ctx;
    enum vg_status status;
    struct vg_err err;
    bool is_done;
    pthread_cond_t moved; /* it is done, or it is to lead */
    struct job *next;
};

struct sqlite_engine {
    char path[4096];
    struct vg_slice base_url;

    pthread_mutex_t queue_lock; /* guards the queue and is_leading */
    struct job *first, *last;
    bool is_leading;

    /* The leader's alone. */
    struct conn writer;
    struct vg_map terms; /* text -> key */
    bool has_new_terms;
    _Atomic bool is_watched[256]; /* by type: its writes go into `change` */
    int64_t last_key;
    struct row *rows;
    size_t row_count, row_capacity;
    sqlite3_stmt *inserts[TABLE_COUNT], *deletes[TABLE_COUNT]; /* by row.table */

    pthread_mutex_t log_lock; /* guards the three below */
    pthread_cond_t log_moved;
    bool wants_checkpoint, is_closing;
    _Atomic bool is_nearly_done; /* of the write-ahead log only the newest frames are left */
    pthread_t checkpointer;
    bool has_checkpointer;
    struct conn log;

    pthread_mutex_t reader_lock; /* guards is_lent */
    pthread_cond_t reader_free;
    struct conn readers[READER_COUNT];
};

/* ---- statements (engine_sqlite.c) ---- */

VG_CHECK enum vg_status sqlite_prepare(struct conn *conn, struct vg_slice sql,
                                       sqlite3_stmt **ret_stmt, struct vg_err *err);
VG_CHECK enum vg_status sqlite_statement(struct conn *conn, const char *sql,
                                         sqlite3_stmt **ret_stmt, struct vg_err *err);
/* Reset and unbound; NULL is fine. */
void sqlite_finish(sqlite3_stmt *stmt);
/* Borrowed for as long as the statement runs. */
void sqlite_bind_text(sqlite3_stmt *stmt, int index, struct vg_slice text);
/* Rows of (sort, key, id, version, updated_us, is_deleted, body) into a list of at most `max`. */
VG_CHECK enum vg_status sqlite_gather(sqlite3_stmt *stmt, unsigned type, size_t max,
                                      bool is_by_text, struct vg_arena *arena,
                                      struct fhir_found_list *ret_found, struct vg_err *err);

/* ---- index rows (sqlite_index.c) ---- */

extern const char *const sqlite_inserts[TABLE_COUNT], *const sqlite_deletes[TABLE_COUNT];

VG_CHECK enum vg_status sqlite_term_find(struct conn *conn, struct vg_slice text, int64_t *ret_key,
                                         struct vg_err *err);
/* After a rollback the cache may name terms that are gone. */
void sqlite_terms_forget_new(struct sqlite_engine *engine);

typedef enum vg_status row_use(struct sqlite_engine *engine, const struct row *row,
                               struct vg_err *err);
VG_CHECK enum vg_status sqlite_row_add(struct sqlite_engine *engine, const struct row *row,
                                       struct vg_err *err);
VG_CHECK enum vg_status sqlite_row_delete(struct sqlite_engine *engine, const struct row *row,
                                          struct vg_err *err);
/* Each index row of a resource is used: added or deleted. */
VG_CHECK enum vg_status sqlite_index_rows(struct sqlite_engine *engine, unsigned type, int64_t key,
                                          const struct fhir_index *index, row_use *use,
                                          struct vg_err *err);
/* What the job has gathered goes into the tables, in their order. */
VG_CHECK enum vg_status sqlite_flush(struct sqlite_engine *engine, struct vg_err *err);
/* Everything that is current, indexed anew, in steps of its own; goes on where it was stopped. */
VG_CHECK enum vg_status sqlite_index_rebuild(struct sqlite_engine *engine, struct vg_err *err);

/* ---- searching (sqlite_search.c) ---- */

VG_CHECK enum vg_status sqlite_search(void *view, const struct fhir_query *query,
                                      struct vg_arena *arena, struct fhir_found_list *ret_found,
                                      struct vg_err *err);
VG_CHECK enum vg_status sqlite_codes(void *view, const struct fhir_query *query,
                                     struct vg_arena *arena, int64_t **ret_codes, size_t *ret_count,
                                     struct vg_err *err);
/* The functions that searches call from inside SQL. */
VG_CHECK enum vg_status sqlite_functions_add(struct conn *conn, struct vg_err *err);

/* the history and the log of changes (sqlite_history.c): see engine.h */
enum vg_status fhir_sqlite_history(void *view, const struct fhir_history_ask *ask,
                                   struct vg_arena *arena, struct fhir_found_list *ret_found,
                                   struct vg_err *err);
enum vg_status fhir_sqlite_changes(void *view, unsigned type, int64_t after, uint32_t max,
                                   struct vg_arena *arena, struct fhir_found_list *ret_found,
                                   int64_t *ret_last, struct vg_err *err);
enum vg_status fhir_sqlite_last_change(void *view, int64_t *ret_number, struct vg_err *err);
enum vg_status fhir_sqlite_drop_changes(void *view, int64_t before, struct vg_err *err);

#endif
