/* fhir_int.h -- what the files of the FHIR store share. Private to src/fhir.
 *
 * The way of a write:   text -> draft (draft.c: parse, check, splice, index) -> commit.c -> engine
 * The way of a search:  query text -> struct fhir_query (query.c) -> engine -> results
 *
 * What differs between types stands in tables that are made from the R4 definitions when the
 * program is built (tables.h).
 */
#ifndef VG_FHIR_FHIR_INT_H
#define VG_FHIR_FHIR_INT_H

#include "base/clock.h"
#include "base/json.h"
#include "fhir/fhir.h"

#include <pthread.h>

#define FHIR_RESOURCE_BYTES_MAX (8u << 20)
#define FHIR_ID_BYTES_MAX 64u
#define FHIR_COUNT_USUAL 50u  /* _count when none is given */
#define FHIR_COUNT_MAX 1000u  /* more is cut to this */
#define FHIR_VALUES_MAX 1000u /* OR values of one search parameter */
#define FHIR_FILTERS_MAX 32u  /* AND filters of one search */
#define FHIR_CHAIN_MAX 10000u /* targets that a chained search may name */
#define FHIR_BUNDLE_ENTRIES_MAX 10000u
#define FHIR_SCRATCH_BYTES_MAX ((size_t)512 << 20)

/* ---- refusals ---- */

/* Why a request was refused, for the OperationOutcome; the text is in the vg_err beside it. */
struct fhir_issue {
    int http_status;
    const char *code; /* R4 value set issue-type */
    struct vg_slice expression;
};

/* Fills both (neither may be NULL) and returns VG_REJECT. */
__attribute__((format(printf, 6, 7))) enum vg_status
fhir_refuse(struct fhir_issue *issue, struct vg_err *err, int http_status, const char *code,
            struct vg_slice expression, const char *fmt, ...);

/* ---- resource types (types.c) ---- */

/* 1..count in the order of a list that only grows: the number is the key on disk. 0 = none. */
unsigned fhir_type_find(struct vg_slice name);
const char *fhir_type_name(unsigned type);
unsigned fhir_type_count(void);
/* Many per patient and day: a search that names neither patient nor code never walks a token. */
bool fhir_type_is_series(unsigned type);

bool fhir_id_is_ok(struct vg_slice id);
/* A new id whose beginning grows with time, so that inserts append. */
struct vg_slice fhir_id_draw(struct vg_arena *arena);
/* True: it looks like one that we drew. */
bool fhir_id_is_drawn(struct vg_slice id);

/* ---- times and numbers as ranges (range.c) ---- */

/* Half-open [low, high) in microseconds. */
struct fhir_span {
    int64_t low_us, high_us;
};
#define FHIR_NO_DATE INT64_MIN          /* low and high of a resource without a date */
#define FHIR_OPEN_START (INT64_MIN + 1) /* a Period without start */
#define FHIR_OPEN_END INT64_MAX

enum fhir_precision {
    FHIR_YEAR = 1,
    FHIR_MONTH,
    FHIR_DAY,
    FHIR_MINUTE,
    FHIR_SECOND,
};

/* FHIR date, dateTime and instant, and the looser forms of search values. A value without a zone is
 * read as UTC. */
bool fhir_time_parse(struct vg_slice text, struct fhir_span *ret_span,
                     enum fhir_precision *ret_precision, bool *ret_has_zone);

/* A decimal and half of its last digit's place: 100 -> 0.5, 100.00 -> 0.005, 1e2 -> 50. */
bool fhir_number_parse(struct vg_slice text, double *ret_value, double *ret_from, double *ret_to);

/* ---- search parameters (search_params.c) ---- */

enum fhir_kind {
    FHIR_TOKEN,
    FHIR_REFERENCE,
    FHIR_DATE,
    FHIR_STRING,
    FHIR_QUANTITY,
    FHIR_COMPOSITE, /* a token and one or two others of the same part */
    FHIR_SPECIAL,   /* _id, _lastUpdated: columns of the resource */
    FHIR_NUMBER,
    FHIR_URI,
};

enum fhir_role {
    FHIR_ROLE_NONE,
    FHIR_ROLE_PATIENT,   /* whose it is */
    FHIR_ROLE_CODE,      /* what it says */
    FHIR_ROLE_COMPONENT, /* what its components say */
    FHIR_ROLE_DATE,      /* when it was true */
};

/* Places of a resource that are indexed together, because the same parameters look at them. */
struct fhir_path {
    unsigned type;
    enum fhir_kind kind;
    enum fhir_role role;
    const char *text;  /* "component.code", "effectiveDateTime|effectivePeriod" */
    uint32_t key;      /* on disk; below 2^31 */
    bool has_parts;    /* belongs to a composite: which element it stands in is kept */
    bool is_exists;    /* whether there is a value that is not false */
    bool is_many;      /* more than one value is possible */
    bool is_scattered; /* its values are many, and what comes together has different ones */
};

/* A search parameter of one type. */
struct fhir_param {
    const char *type, *name;
    enum fhir_kind kind;
    const char *target;     /* reference: "Patient,Device", the usual ones first; NULL = any */
    bool is_selective;      /* few resources share one value: search by it first */
    const char *definition; /* canonical URL; "" = ours, NULL = not to be told */
};

struct fhir_param_view {
    const struct fhir_param *param;
    size_t path_count;
    const struct fhir_path *const *paths;
    /* composite only: the second and third part beside each path above; NULL = there is none */
    const struct fhir_path *const *values, *const *thirds;
};

/* NULL: this type has no such parameter. */
const struct fhir_param_view *fhir_param_find(unsigned type, struct vg_slice name);
/* The index-th parameter of the type, by name; NULL at the end. */
const struct fhir_param_view *fhir_param_at(unsigned type, size_t index);
const struct fhir_path *fhir_role_path(unsigned type, enum fhir_role role);
/* Changes when the index on disk must be rebuilt. */
int64_t fhir_params_fingerprint(void);
/* True if `name` (len bytes) is in the comma-separated `list`. */
bool fhir_list_has(const char *list, struct vg_slice name);

/* Begins the name under which an Observation's code without a coding is indexed: its text follows.
 */
#define FHIR_TEXT_CODE "\x01"

/* What a resource is found by. Slices point into the resource's tree or the arena. */
struct fhir_index_row {
    enum fhir_kind kind; /* neither COMPOSITE nor SPECIAL */
    const struct fhir_path *path;
    uint32_t part;          /* which component: 1.., 0 = the resource itself */
    bool has_any_system;    /* a plain code: its system is implied */
    bool is_identifier;     /* TOKEN: the identifier of a reference */
    struct vg_slice text;   /* code, "Type/id", folded string, quantity's code */
    struct vg_slice system; /* of the code; string: as written */
    struct vg_slice unit;   /* quantity: its text */
    struct fhir_span span;
    double value;
};

struct fhir_index {
    struct fhir_index_row *rows; /* without those of the roles patient (a Patient), code and date */
    size_t count, capacity;
    struct fhir_index_row *codes; /* roles code and component */
    size_t code_count, code_capacity;
    struct vg_slice patient; /* "Patient/p1" or empty */
    struct fhir_span span;   /* role date; FHIR_NO_DATE */
};

VG_CHECK enum vg_status fhir_index_make(struct vg_arena *arena, unsigned type,
                                        const struct vg_json *root, struct vg_slice base_url,
                                        struct fhir_index *ret_index, struct vg_err *err);

/* Is there an element at one of the view's paths? Also one that has no row: a code that is only a
 * text, a reference that is only a display. */
VG_CHECK enum vg_status fhir_has_element(struct vg_arena *arena, const struct fhir_param_view *view,
                                         const struct vg_json *root, struct vg_slice base_url,
                                         bool *ret_has, struct vg_err *err);

/* "Patient/p1" of "Patient/p1/_history/2" or "<base>/Patient/p1"; else the text as it is. */
struct vg_slice fhir_reference_plain(struct vg_slice reference, struct vg_slice base_url);
/* Cuts "Type/id"; false when it is not of this form or the type is unknown. */
bool fhir_reference_cut(struct vg_slice reference, unsigned *ret_type, struct vg_slice *ret_id);
/* Lower case, accents off. {NULL, 0} when the arena is full. */
struct vg_slice fhir_fold(struct vg_arena *arena, struct vg_slice text);

/* ---- checks (validate.c) ---- */

/* Before a write: the first finding refuses it. */
VG_CHECK enum vg_status fhir_check(struct vg_arena *arena, unsigned type,
                                   const struct vg_json *root, struct fhir_issue *issue,
                                   struct vg_err *err);

/* One finding of $validate. */
struct fhir_problem {
    const char *severity; /* "error", "warning" */
    const char *code;     /* R4 value set issue-type */
    int http_status;      /* what a write would be refused with; 0 = it would not */
    struct vg_slice expression, text;
};

struct fhir_problems {
    struct fhir_problem *items; /* in the arena, at most FHIR_PROBLEMS_MAX */
    size_t count;
};
#define FHIR_PROBLEMS_MAX 100u

/* All findings, none is VG_OK with count 0. `profile`: its canonical URL besides those of
 * meta.profile; empty = none. A profile that is not known is a warning. VG_RETRY: no room. */
VG_CHECK enum vg_status fhir_validate(struct vg_arena *arena, unsigned type,
                                      const struct vg_json *root, struct vg_slice profile,
                                      struct fhir_problems *ret_problems, struct vg_err *err);

/* ---- a resource on its way in (draft.c) ---- */

struct fhir_draft {
    const struct vg_json *root;
    struct vg_slice before, after; /* the text around `"versionId":…,"lastUpdated":…` */
    bool needs_comma;              /* more of meta follows */
    struct fhir_index index;
};

/* Parses, checks, and cuts `body` so that id is `id`. Everything lies in the arena or in `body`. */
VG_CHECK enum vg_status fhir_draft_make(struct vg_arena *arena, unsigned type, struct vg_slice id,
                                        struct vg_slice body, struct vg_slice base_url,
                                        struct fhir_draft *ret_draft, struct fhir_issue *issue,
                                        struct vg_err *err);
/* The text that is stored. {NULL, 0} when the arena is full. */
struct vg_slice fhir_draft_text(struct vg_arena *arena, const struct fhir_draft *draft,
                                uint64_t version, int64_t updated_us);
/* Same content: members in any order, numbers digit by digit, without meta's version and time. */
bool fhir_is_same(const struct vg_json *a, const struct vg_json *b);
VG_CHECK enum vg_status fhir_parse(struct vg_arena *arena, struct vg_slice text,
                                   struct vg_json **ret_root, struct fhir_issue *issue,
                                   struct vg_err *err);

/* ---- searches (query.c) ---- */

enum fhir_prefix {
    FHIR_EQ,
    FHIR_NE,
    FHIR_GT,
    FHIR_LT,
    FHIR_GE,
    FHIR_LE,
    FHIR_SA,
    FHIR_EB,
    FHIR_AP
};

struct fhir_value {
    enum fhir_prefix prefix; /* date, quantity */
    struct vg_slice text;    /* code, "Type/id", string, id */
    struct vg_slice system;
    bool has_system,
        has_code; /* "sys|code" TT, "code" FT, "|code" TT with empty system, "sys|" TF */
    struct fhir_span span;
    double number, from, to; /* from and to: what its precision covers, to excluded */
    struct vg_slice unit_system, unit;
    bool has_unit_system;
    struct fhir_value *beside; /* composite: the next part's value */
};

enum fhir_modifier {
    FHIR_PLAIN,
    FHIR_NOT,
    FHIR_EXACT,
    FHIR_CONTAINS,
    FHIR_BELOW,
    FHIR_ABOVE,
    FHIR_OF_IDENTIFIER, /* reference: by its identifier */
    FHIR_MISSING,       /* values[0].number: 1 = missing */
};

struct fhir_filter {
    const struct fhir_param_view *param;
    enum fhir_modifier modifier;
    struct fhir_value *values; /* any of these */
    size_t value_count, capacity;
};

struct fhir_include {
    unsigned type;                       /* whose parameter; of _revinclude: the type that points */
    const struct fhir_param_view *param; /* NULL: all of them */
    unsigned target;                     /* 0 = any */
    bool is_repeated;                    /* :iterate, also of what was brought along */
};

/* _has:Observation:patient:code=…: something of `type` points here and passes the filter. */
struct fhir_has {
    unsigned type;
    const struct fhir_param_view *reference;
    struct fhir_filter filter;
};

enum fhir_sort {
    FHIR_SORT_DATE,
    FHIR_SORT_UPDATED,
    FHIR_SORT_ID,
    FHIR_SORT_VALUES, /* sort_keys, made comparable by fhir_sort_text() */
};

struct fhir_sort_key {
    const struct fhir_param_view *param;
    bool is_descending;
};
#define FHIR_SORT_KEYS_MAX 4

enum fhir_summary { FHIR_SUMMARY_NONE, FHIR_SUMMARY_TRUE, FHIR_SUMMARY_TEXT, FHIR_SUMMARY_DATA };

struct fhir_query {
    unsigned type;
    struct fhir_filter filters[FHIR_FILTERS_MAX]; /* all of these */
    size_t filter_count;
    struct fhir_has has[4];
    size_t has_count;
    enum fhir_sort sort;
    struct fhir_sort_key sort_keys[FHIR_SORT_KEYS_MAX];
    size_t sort_key_count;
    bool is_descending;
    int id_order;   /* of what is equal otherwise: 1 up, -1 down, 0 = as it comes */
    uint32_t count; /* page */
    bool wants_total, is_count_only;
    bool has_cursor;
    struct vg_slice cursor_text; /* _id; hexadecimal of sort_keys */
    struct vg_slice cursor_id;   /* with an id_order, instead of the key */
    int64_t cursor_number, cursor_key;
    struct fhir_include includes[8], revincludes[8];
    size_t include_count, revinclude_count;
    enum fhir_summary summary;
    struct vg_slice elements[32];
    size_t element_count;
    struct vg_slice self; /* what was understood, in URL form, without the cursor */
    int64_t only_code;    /* $lastn: this code column alone; 0 = as the filters say */
};
/* A search may also say `_compartment=Patient/p1`: what stands in that compartment. */

/* What the reading of a search asks the store. */
struct fhir_chain {
    /* A chained search's inner question: the references ("Type/id") that match, or VG_REJECT. NULL:
     * the chain ends here. */
    enum vg_status (*find)(void *ctx, unsigned type, struct vg_slice name, struct vg_slice value,
                           struct vg_slice **ret_references, size_t *ret_count,
                           struct fhir_issue *issue, struct vg_err *err);
    /* Does anything of `type` point there by this parameter? NULL: not to be asked. */
    enum vg_status (*is_pointed_at)(void *ctx, unsigned type, const struct fhir_param_view *view,
                                    struct vg_slice reference, bool *ret_is, struct vg_err *err);
    void *ctx;
};

VG_CHECK enum vg_status fhir_query_parse(struct vg_arena *arena, unsigned type,
                                         struct vg_slice text, bool is_strict,
                                         struct vg_slice base_url, const struct fhir_chain *chain,
                                         struct fhir_query *ret_query, struct fhir_issue *issue,
                                         struct vg_err *err);

/* ---- the store (store.c), for commit.c, bundle.c and rest.c ---- */

struct fhir_engine;

#define FHIR_SCRATCH_COUNT 4

struct fhir_remote;

struct fhir_store {
    const struct fhir_engine *engine;
    void *self;                 /* the engine's */
    struct fhir_remote *remote; /* instead of an engine: remote_int.h */
    struct vg_slice base_url;
    struct fhir_rest *rest;
    _Atomic uint64_t *change_counts; /* by type */

    /* What stands beside the resources (extra.c); each NULL when it is not wanted. */
    bool needs_token;
    char *cors_origins; /* NULL: none */
    struct fhir_side *side;
    struct fhir_jwks *jwks; /* as side */
    struct fhir_audit *audit;
    struct fhir_hooks *hooks;
    struct fhir_imports *imports;

    pthread_mutex_t scratch_lock; /* guards the two below */
    struct vg_arena scratch[FHIR_SCRATCH_COUNT];
    bool is_scratch_lent[FHIR_SCRATCH_COUNT];
};

/* A search in a view that is open already (a write transaction, say). */
VG_CHECK enum vg_status fhir_search_in(struct fhir_store *store, void *view, unsigned type,
                                       struct vg_slice query, bool is_strict,
                                       struct vg_arena *arena, struct fhir_results *ret_results,
                                       struct fhir_issue *issue, struct vg_err *err);
VG_CHECK enum vg_status fhir_lastn_in(struct fhir_store *store, void *view, struct vg_slice query,
                                      bool is_strict, struct vg_arena *arena,
                                      struct fhir_results *ret_results, struct fhir_issue *issue,
                                      struct vg_err *err);
/* Adds what _include and _revinclude ask for to a page of matches (include.c). */
VG_CHECK enum vg_status fhir_include_all(struct fhir_store *store, void *view,
                                         const struct fhir_query *query, struct vg_arena *arena,
                                         struct fhir_results *results, struct fhir_issue *issue,
                                         struct vg_err *err);
/* What a resource is ordered by, as a text that compares byte by byte: 2 hexadecimal digits a byte.
 * A missing value comes last. {NULL, 0} when the arena is full. */
struct vg_slice fhir_sort_text(struct vg_arena *arena, const struct fhir_query *query,
                               const struct vg_json *root, struct vg_slice base_url);
/* The view of `type` in the compartment of `compartment`; NULL: it is in none. */
const struct fhir_param_view *fhir_compartment_find(unsigned compartment, unsigned type);
/* Body cut down by _summary, tagged SUBSETTED. */
VG_CHECK enum vg_status fhir_summary_cut(struct vg_arena *arena, unsigned type,
                                         struct vg_slice body, enum fhir_summary summary,
                                         struct vg_slice *ret_body, struct vg_err *err);
/* Newest first and at most `max` of each group of Observations that share a coding. */
VG_CHECK enum vg_status fhir_lastn_pick(struct fhir_store *store,
                                        const struct fhir_resource *resources, size_t count,
                                        uint32_t max, struct vg_arena *arena,
                                        struct fhir_results *ret_results, struct vg_err *err);
/* Body cut down to mandatory and asked-for members, tagged SUBSETTED. */
VG_CHECK enum vg_status fhir_elements_cut(struct vg_arena *arena, unsigned type,
                                          struct vg_slice body, const struct vg_slice *names,
                                          size_t count, struct vg_slice *ret_body,
                                          struct vg_err *err);
/* True: this top-level member may not be left out (1..1, or changes the meaning). */
bool fhir_is_mandatory(unsigned type, struct vg_slice member);

/* ---- writing (commit.c) ---- */

/* One write of a commit. The outcome is filled in by fhir_ops_run. */
struct fhir_op {
    enum { FHIR_OP_CREATE, FHIR_OP_UPDATE, FHIR_OP_DELETE } what;
    unsigned type;
    struct vg_slice id;    /* update and delete */
    struct vg_slice query; /* the condition that finds it; ptr NULL = none */
    struct vg_slice body;
    struct vg_slice patch;      /* update: instead of the body, JSON Patch on what is there */
    struct vg_slice full_url;   /* bundle: what others call it */
    const struct vg_json *root; /* bundle: the parsed resource, for the references in it */
    uint64_t if_match;          /* 0 = any */
    struct vg_slice if_matches; /* as a header lists them, one must fit; empty = any */
    bool is_if_none_match;      /* update: only if there is none */
    bool needs_body_id;         /* update: the body must say its id */

    struct fhir_draft draft;
    bool is_drafted, has_conditional_reference, is_matched;

    int http_status;
    uint64_t version;
    int64_t updated_us;
    bool is_unchanged;
    struct vg_slice stored; /* the text now current; empty after delete or match */
};

struct fhir_ops {
    struct fhir_store *store;
    struct fhir_op *ops;
    size_t count;
    bool is_transaction; /* references among the ops are rewritten */
    struct vg_arena *arena;
    struct fhir_issue *issue;
    size_t failed;        /* index of the refused one */
    struct vg_map *names; /* private: fullUrl -> op */
};

/* Is this version one of `W/"1", "2"`, or is it "*"? Compared weakly. */
bool fhir_etags_have(struct vg_slice list, uint64_t version);
/* False: no list of entity tags at all. */
bool fhir_etags_are_ok(struct vg_slice list);

/* Before the transaction: everything that needs no look into the store. */
VG_CHECK enum vg_status fhir_ops_prepare(struct fhir_ops *ops, struct vg_err *err);
/* Inside it. */
VG_CHECK enum vg_status fhir_ops_run(struct fhir_ops *ops, void *view, struct vg_err *err);
/* After it was committed: counts the changes. */
void fhir_ops_done(struct fhir_ops *ops);
void fhir_ops_fini(struct fhir_ops *ops);
/* All of it: prepared, run in a transaction of its own, counted. */
VG_CHECK enum vg_status fhir_ops_commit(struct fhir_ops *ops, struct vg_err *err);

/* ---- bundles (bundle.c) ---- */

enum fhir_prefer {
    FHIR_PREFER_NONE,
    FHIR_PREFER_MINIMAL,
    FHIR_PREFER_REPRESENTATION,
    FHIR_PREFER_OUTCOME
};

struct fhir_access;

/* Runs a batch or a transaction; the answer's Bundle is written to `out`. `access` is asked for
 * each entry. */
VG_CHECK enum vg_status fhir_bundle_run(struct fhir_store *store, struct vg_slice text,
                                        enum fhir_prefer prefer, const struct fhir_access *access,
                                        struct vg_arena *arena, struct vg_buf *out,
                                        struct fhir_issue *issue, struct vg_err *err);
/* A searchset or history Bundle. */
void fhir_bundle_write(struct fhir_store *store, const char *kind, struct vg_slice self_url,
                       struct vg_slice next_url, const struct fhir_results *results,
                       struct vg_buf *out);
void fhir_outcome_write(struct vg_buf *out, const char *severity, const struct fhir_issue *issue,
                        const char *text);

/* ---- REST ---- */

void fhir_capability_write(struct fhir_store *store, struct vg_buf *out);
void fhir_rest_close(struct fhir_rest *rest); /* NULL is fine */

#endif
