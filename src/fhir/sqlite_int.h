/* sqlite_int.h -- what the files of the SQLite engine share. Private to src/fhir.
 *
 *   engine_sqlite.c   opening, reading
 *   sqlite_write.c    the write queue, the write-ahead log
 *   sqlite_index.c    a resource's index rows, into the tables and out of them
 *   sqlite_fresh.c    where rows wait that would each change a page of its own
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

/* How long what a timeline's row tells of lasted: up to fhir_span_us[span]. */
#define SPAN_COUNT 3
extern const int64_t fhir_span_us[SPAN_COUNT];

/* An index row that waits for the end of its job. Columns by table, in the order of the key. */
enum table {
    TIMELINE,
    TOKEN,
    STRING,
    DATE,
    QUANTITY,
    STORED_COUNT,
    /* of the first two, before they are settled: sqlite_fresh.c */
    FRESH_TIMELINE = STORED_COUNT,
    FRESH_TOKEN,
    TABLE_COUNT
};

struct row {
    enum table table;
    int64_t a, b, c, d, e, f, g, h, i;
    struct vg_slice text, more;
    double value;
};

struct rows {
    struct row *items;
    size_t count, capacity;
};

/* A connection with its statements; as a void pointer it is the engine's view. */
struct conn {
    struct sqlite_engine *engine;
    sqlite3 *db;
    int64_t deadline_us; /* of the search that runs; monotonic, 0 = none */
    struct vg_map statements;
    struct vg_arena scratch;        /* of the functions that SQL calls */
    const struct fhir_query *query; /* of the search that runs */
    struct fresh_list *fresh;       /* a reader's, with its snapshot */
    bool is_writer, is_lent;
};

/* What a snapshot of the database tells of the list of fresh rows that belongs to it. */
struct fresh_mark {
    int64_t last_key; /* of all resources */
    int64_t settled;  /* rows of resources up to this key do not wait */
    int64_t changes;  /* how often rows that waited were given up */
};

struct fresh_version {
    struct fresh_list *list;
    struct fresh_mark mark;
    int64_t settling_key; /* the settling block has rows of resources up to this key */
    size_t settled_count; /* of its rows */
};

#define FRESH_VERSIONS 16

struct sqlite_fresh {
    struct fresh_version now; /* the writer's */
    int64_t since_us;         /* when its first row came, about */
    size_t due_count;         /* of its rows: to be settled next */
    _Atomic bool is_waiting;  /* there are rows */
    pthread_mutex_t lock;     /* guards the two below */
    size_t newest;
    struct fresh_version published[FRESH_VERSIONS];
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
    int lock_fd; /* held as long as the store is open */
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
    struct rows waiting, before, after; /* of the job; of the resource that it changes */
    sqlite3_stmt *inserts[STORED_COUNT], *deletes[STORED_COUNT]; /* by row.table */
    struct sqlite_fresh fresh;

    pthread_mutex_t log_lock; /* guards the three below */
    pthread_cond_t log_moved;
    bool wants_checkpoint, is_closing;
    _Atomic bool is_nearly_done; /* of the write-ahead log only the newest frames are left */
    pthread_t tidier;
    bool has_tidier;
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
/* The first column of the first row; 0 when there is none. */
VG_CHECK enum vg_status sqlite_number(struct conn *conn, const char *sql, int64_t *ret_number,
                                      struct vg_err *err);
VG_CHECK enum vg_status sqlite_setting_put(struct sqlite_engine *engine, const char *name,
                                           int64_t value, struct vg_err *err);
/* Reset and unbound; NULL is fine. */
void sqlite_finish(sqlite3_stmt *stmt);
/* Borrowed for as long as the statement runs. */
void sqlite_bind_text(sqlite3_stmt *stmt, int index, struct vg_slice text);
/* Rows of (sort, key, id, version, updated_us, is_deleted, body) into a list of at most `max`. */
VG_CHECK enum vg_status sqlite_gather(sqlite3_stmt *stmt, unsigned type, size_t max,
                                      bool is_by_text, struct vg_arena *arena,
                                      struct fhir_found_list *ret_found, struct vg_err *err);

/* A rollback may fail: SQLite has rolled back by itself. */
enum vg_status sqlite_run(struct conn *conn, const char *sql, struct vg_err *err);

/* ---- writing (sqlite_write.c): see engine.h ---- */

enum vg_status sqlite_put(void *view, const struct fhir_record *record,
                          const struct fhir_current *old, const struct fhir_index *old_index,
                          struct vg_err *err);
enum vg_status sqlite_nest(void *view, fhir_work *work, void *ctx, struct vg_err *err);
enum vg_status sqlite_transact(void *self, fhir_work *work, void *ctx, struct vg_err *err);
/* After each commit, in the leader. */
int sqlite_on_commit(void *engine, sqlite3 *db, const char *name, int pages);
/* The thread that copies the log, and settles what has waited long. */
void *sqlite_tidy(void *engine);

/* ---- index rows (sqlite_index.c) ---- */

extern const char *const sqlite_inserts[STORED_COUNT], *const sqlite_deletes[STORED_COUNT];

VG_CHECK enum vg_status sqlite_term_find(struct conn *conn, struct vg_slice text, int64_t *ret_key,
                                         struct vg_err *err);
/* After a rollback the cache may name terms that are gone. */
void sqlite_terms_forget_new(struct sqlite_engine *engine);

/* The rows of `before` become those of `after` (either NULL: none): what is in both stays as it is.
 * Additions wait for the flush and borrow the texts of `after`. */
VG_CHECK enum vg_status sqlite_index_change(struct sqlite_engine *engine, unsigned type,
                                            int64_t key, const struct fhir_index *before,
                                            const struct fhir_index *after, struct vg_err *err);
/* Those of a new resource: its scattered rows wait in memory. */
VG_CHECK enum vg_status sqlite_index_add(struct sqlite_engine *engine, unsigned type, int64_t key,
                                         const struct fhir_index *index, struct vg_err *err);
/* A row that waited, into its table. */
VG_CHECK enum vg_status sqlite_row_settle(struct sqlite_engine *engine, const struct row *row,
                                          struct vg_err *err);
/* What waits is made anew from the texts. */
VG_CHECK enum vg_status sqlite_fresh_load(struct sqlite_engine *engine, struct vg_err *err);
/* By a row's table and primary key. */
int sqlite_row_order(const struct row *x, const struct row *y);
/* What the job has gathered goes into the tables, in their order. */
VG_CHECK enum vg_status sqlite_flush(struct sqlite_engine *engine, struct vg_err *err);
/* Everything that is current, indexed anew, in steps of its own; goes on where it was stopped. */
VG_CHECK enum vg_status sqlite_index_rebuild(struct sqlite_engine *engine, struct vg_err *err);

/* ---- rows that wait (sqlite_fresh.c) ---- */

/* So many rows, by weight, wait before they are settled. Tests make it small. */
extern size_t sqlite_fresh_max;

/* Nothing waits. */
VG_CHECK enum vg_status sqlite_fresh_begin(struct sqlite_engine *engine, struct vg_err *err);
/* Inside a transaction, the writer. At least one row; sorted; their texts are copied. */
VG_CHECK enum vg_status sqlite_fresh_add(struct sqlite_engine *engine, const struct row *rows,
                                         size_t count, struct vg_err *err);
/* May rows of that resource wait? Then they are to be given up before it is changed. */
bool sqlite_fresh_has(const struct sqlite_engine *engine, int64_t key);
VG_CHECK enum vg_status sqlite_fresh_forget(struct sqlite_engine *engine, int64_t key,
                                            struct vg_err *err);
/* Writes about `row_count` of those rows that are to be settled, if any are; or, of a few, later.
 */
VG_CHECK enum vg_status sqlite_fresh_settle(struct sqlite_engine *engine, size_t row_count,
                                            struct vg_err *err);

/* The writer's list, for what may have to be undone: restored or dropped. */
struct fresh_version sqlite_fresh_save(const struct sqlite_engine *engine);
void sqlite_fresh_restore(struct sqlite_engine *engine, struct fresh_version version);
void sqlite_fresh_drop(struct fresh_version version);
/* Its rows; one with a long text counts as several. */
size_t sqlite_fresh_weight(const struct fresh_version *version);
/* Before the commit, for those whose snapshot will hold it. */
void sqlite_fresh_publish(struct sqlite_engine *engine);

/* Any thread. False: the list of that snapshot is not there any more; a newer snapshot's will be.
 * To be released. */
bool sqlite_fresh_find(struct sqlite_engine *engine, struct fresh_mark mark,
                       struct fresh_list **ret_list);
struct fresh_list *sqlite_fresh_hold(struct fresh_list *list);
void sqlite_fresh_release(struct fresh_list *list);

VG_CHECK enum vg_status sqlite_fresh_tables_add(struct conn *conn, struct vg_err *err);
void sqlite_fresh_close(struct sqlite_engine *engine);

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
