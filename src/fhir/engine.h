/* engine.h -- what a storage engine must do. Private to src/fhir.
 *
 * The core parses, checks, numbers versions and compares; the engine keeps and finds. Callbacks are
 * never NULL. A view is a consistent picture: a reader's snapshot, or the write transaction itself
 * (which sees its own writes). Adding an engine: a file engine_<name>.c and a line in
 * fhir_engines[].
 */
#ifndef VG_FHIR_ENGINE_H
#define VG_FHIR_ENGINE_H

#include "fhir/fhir_int.h"

/* What is stored now under (type, id). */
struct fhir_current {
    int64_t key; /* the engine's; 0 = there is none */
    uint64_t version;
    int64_t updated_us;
    bool is_deleted;
    struct vg_slice body;
};

struct fhir_record {
    unsigned type;
    struct vg_slice id;
    uint64_t version;
    int64_t updated_us;
    bool is_deleted;
    struct vg_slice body;
    const struct fhir_index *index; /* NULL: deleted */
};

/* One row found: matches carry what the next page's cursor needs. */
struct fhir_found {
    struct fhir_resource resource;
    int64_t sort_number, key;
    struct vg_slice sort_text; /* FHIR_SORT_VALUES */
};

struct fhir_found_list {
    struct fhir_found *items;
    size_t count;
    bool has_more;
    uint64_t total; /* when asked for */
};

/* A page of history: of a type, or of one resource. */
struct fhir_history_ask {
    unsigned type;
    struct vg_slice id; /* empty: all of the type */
    int64_t since_us;   /* INT64_MIN = from the beginning */
    bool has_at;        /* only what was current at some time in `at` */
    struct fhir_span at;
    bool has_cursor; /* after this row of the page before */
    int64_t cursor_us, cursor_key, cursor_version;
    uint32_t count;
};

typedef enum vg_status fhir_work(void *ctx, void *view, struct vg_err *err);

struct fhir_engine {
    const char *name;
    enum vg_status (*open)(const struct fhir_config *config, void **ret_self, struct vg_err *err);
    void (*close)(void *self);

    /* Any thread. Waits for a reader when all are busy. */
    enum vg_status (*view_begin)(void *self, void **ret_view, struct vg_err *err);
    void (*view_end)(void *self, void *view);

    /* Any thread. Runs work(view) as one durable atom and returns what it returned: VG_OK only when
     * it is on disk, anything else when nothing of it is. `work` may run in another thread, once.
     */
    enum vg_status (*transact)(void *self, fhir_work *work, void *ctx, struct vg_err *err);
    /* Inside transact: the same without durability; undone unless VG_OK. */
    enum vg_status (*nest)(void *view, fhir_work *work, void *ctx, struct vg_err *err);

    /* key 0 and VG_OK when there is none. */
    enum vg_status (*current)(void *view, unsigned type, struct vg_slice id, struct vg_arena *arena,
                              struct fhir_current *ret_current, struct vg_err *err);
    /* Inside transact. `current` is what stands there, `old_index` its index (NULL: none, deleted).
     */
    enum vg_status (*put)(void *view, const struct fhir_record *record,
                          const struct fhir_current *current, const struct fhir_index *old_index,
                          struct vg_err *err);
    /* version 0 = all, newest first; VG_END: none. */
    enum vg_status (*versions)(void *view, unsigned type, struct vg_slice id, uint64_t version,
                               struct vg_arena *arena, struct fhir_found_list *ret_found,
                               struct vg_err *err);
    enum vg_status (*search)(void *view, const struct fhir_query *query, struct vg_arena *arena,
                             struct fhir_found_list *ret_found, struct vg_err *err);
    /* For $lastn, of a query for one Patient: what query->only_code may be, one after the other:
     * the codes that the query names, else all that the patient has resources of. */
    enum vg_status (*codes)(void *view, const struct fhir_query *query, struct vg_arena *arena,
                            int64_t **ret_codes, size_t *ret_count, struct vg_err *err);

    /* ---- offered by an engine that keeps the resources itself; else NULL ---- */

    /* Newest first, deletions included; sort_number is the time. */
    enum vg_status (*history)(void *view, const struct fhir_history_ask *ask,
                              struct vg_arena *arena, struct fhir_found_list *ret_found,
                              struct vg_err *err);
    /* From now on every write of this type (or no longer) is a change. Any thread. */
    void (*watch)(void *self, unsigned type, bool is_watched);
    /* The changes of `type` with numbers above `after`, in the order of commits; sort_number is the
     * number, the resource is as it was written then. *ret_last: the newest change of any type. */
    enum vg_status (*changes)(void *view, unsigned type, int64_t after, uint32_t max,
                              struct vg_arena *arena, struct fhir_found_list *ret_found,
                              int64_t *ret_last, struct vg_err *err);
    enum vg_status (*last_change)(void *view, int64_t *ret_number, struct vg_err *err);
    /* Inside transact: those with smaller numbers are not needed any more. */
    enum vg_status (*drop_changes)(void *view, int64_t before, struct vg_err *err);
};

extern const struct fhir_engine fhir_engine_sqlite;

/* NULL-terminated; the first is the default. */
extern const struct fhir_engine *const fhir_engines[];

#endif
