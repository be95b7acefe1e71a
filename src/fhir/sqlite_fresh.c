/* sqlite_fresh.c -- index rows that would each change a page of its own wait together, in memory.
 *
 * A patient's newest row goes to the end of that patient's part of the timeline, an identifier to
 * where its text belongs: a commit of 800 Observations of many patients would change over a
 * thousand pages for them, each of which goes through the log. So such rows of new resources wait
 * here, and are settled (written to the tables proper) in their order some thousands later: then a
 * page that is changed takes many.
 *
 * WHAT IS HELD. Blocks of sorted rows, which never change; a list names the blocks, and the keys of
 * resources that were changed since: their rows do not count any more, the tables proper have
 * theirs. Two small blocks are merged into one, so there are few. A list never changes either: a
 * change makes a new one. What a job did is undone by taking the list from before.
 *
 * WHO READS. SQL reads them as the virtual tables fresh_timeline and fresh_token, and both kinds
 * of tables together as the views timelines and tokens. Which list belongs to a snapshot of the
 * database is told by three numbers in it (struct fresh_mark), so a reader sees exactly what its
 * snapshot holds. A list is published before the commit that makes its mark visible.
 *
 * SETTLING. When enough rows wait, or some have for long, all blocks become one; each commit then
 * writes twice as many of its rows as it brings. They stand in both places meanwhile: every query
 * takes a resource once.
 *
 * CRASHES. Nothing of this is on disk: at the start, the rows of all resources behind the last
 * settled one are made anew from their texts. Rows that were settled before the mark said so are
 * then met again, and ignored.
 *
 * THREADS. The writer's leader changes; `lock` guards what is published; lists and blocks are
 * counted references.
 */
#include "fhir/sqlite_int.h"

#include <stdlib.h>

#define BLOCKS_MAX 40
#define TEXT_BYTES_USUAL 128       /* more weigh like more rows */
#define SETTLED_AT_ONCE 256        /* rows: neighbours change one page */
#define WAIT_US (5 * VG_SECOND_US) /* then few are enough */

size_t sqlite_fresh_max = 128 << 10;

struct fresh_block {
    _Atomic int refs;
    size_t count, weight;
    struct row *rows;
    char *texts; /* of the rows */
};

struct fresh_list {
    _Atomic int refs;
    bool is_settling; /* the first block */
    size_t count, weight, dead_count;
    int64_t *dead; /* ascending */
    struct fresh_block *blocks[BLOCKS_MAX];
};

/* ---- blocks and lists ---- */

static enum vg_status full(struct vg_err *err)
{
    return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for index rows");
}

static void block_release(struct fresh_block *block)
{
    if (block && --block->refs == 0) {
        free(block->rows);
        free(block->texts);
        free(block);
    }
}

static void list_release(struct fresh_list *list)
{
    if (list && --list->refs == 0) {
        for (size_t i = 0; i < list->count; i++)
            block_release(list->blocks[i]);
        free(list->dead);
        free(list);
    }
}

struct fresh_list *sqlite_fresh_hold(struct fresh_list *list)
{
    if (list)
        list->refs++;
    return list;
}

/* With the blocks from `from` on, and the keys above `dead_above`. */
static struct fresh_list *list_copy(const struct fresh_list *list, size_t from, int64_t dead_above)
{
    struct fresh_list *copy = calloc(1, sizeof(*copy));

    if (!copy)
        return NULL;
    copy->refs = 1;
    if (!list)
        return copy;
    copy->is_settling = list->is_settling && from == 0;
    if (list->dead_count) {
        copy->dead = malloc(list->dead_count * sizeof(*copy->dead));
        if (!copy->dead) {
            free(copy);
            return NULL;
        }
        for (size_t i = 0; i < list->dead_count; i++)
            if (list->dead[i] > dead_above)
                copy->dead[copy->dead_count++] = list->dead[i];
    }
    for (size_t i = from; i < list->count; i++) {
        copy->blocks[copy->count] = list->blocks[i];
        copy->blocks[copy->count++]->refs++;
        copy->weight += list->blocks[i]->weight;
    }
    return copy;
}

static void keep_row(struct fresh_block *block, const struct row *row, size_t *text_at)
{
    struct row *kept = &block->rows[block->count++];

    *kept = *row;
    if (row->text.len)
        memcpy(block->texts + *text_at, row->text.ptr, row->text.len);
    kept->text.ptr = block->texts + *text_at;
    *text_at += row->text.len;
}

/* Of two sorted ranges; either may be empty. */
static struct fresh_block *block_make(const struct row *x, size_t x_count, const struct row *y,
                                      size_t y_count)
{
    struct fresh_block *block = calloc(1, sizeof(*block));
    size_t text_bytes = 1, at = 0;

    if (!block)
        return NULL;
    for (size_t i = 0; i < x_count; i++)
        text_bytes += x[i].text.len;
    for (size_t i = 0; i < y_count; i++)
        text_bytes += y[i].text.len;
    block->refs = 1;
    block->weight = x_count + y_count + text_bytes / TEXT_BYTES_USUAL;
    block->rows = malloc((x_count + y_count) * sizeof(*block->rows));
    block->texts = malloc(text_bytes);
    if (!block->rows || !block->texts) {
        block_release(block);
        return NULL;
    }
    for (size_t i = 0, j = 0; i < x_count || j < y_count;) {
        if (j == y_count || (i < x_count && sqlite_row_order(&x[i], &y[j]) <= 0))
            keep_row(block, &x[i++], &at);
        else
            keep_row(block, &y[j++], &at);
    }
    return block;
}

/* The last two blocks of a list that is still ours alone. */
static bool merge_last(struct fresh_list *list)
{
    struct fresh_block *x = list->blocks[list->count - 2], *y = list->blocks[list->count - 1];
    struct fresh_block *both = block_make(x->rows, x->count, y->rows, y->count);

    if (!both)
        return false;
    block_release(x);
    block_release(y);
    list->blocks[list->count - 2] = both;
    list->count--;
    return true;
}

static bool is_dead(const struct fresh_list *list, int64_t key)
{
    size_t low = 0, high = list->dead_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list->dead[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->dead_count && list->dead[low] == key;
}

static void become(struct sqlite_engine *engine, struct fresh_list *list)
{
    list_release(engine->fresh.now.list);
    engine->fresh.now.list = list;
}

/* ---- the writer ---- */

enum vg_status sqlite_fresh_add(struct sqlite_engine *engine, const struct row *rows, size_t count,
                                struct vg_err *err)
{
    struct fresh_list *list = list_copy(engine->fresh.now.list, 0, 0);
    bool is_ok;

    if (!list)
        return full(err);
    if (list->count == 0)
        engine->fresh.since_us = vg_mono_us();
    list->blocks[list->count] = block_make(rows, count, NULL, 0);
    is_ok = list->blocks[list->count] != NULL;
    list->count += is_ok;
    list->weight += is_ok ? list->blocks[list->count - 1]->weight : 0;
    /* Like a binary counter: a row is copied as often as the number has digits. */
    while (is_ok && list->count - list->is_settling >= 2 &&
           (list->count == BLOCKS_MAX ||
            list->blocks[list->count - 2]->count <= 2 * list->blocks[list->count - 1]->count))
        is_ok = merge_last(list);
    if (!is_ok) {
        list_release(list);
        return full(err);
    }
    become(engine, list);
    return VG_OK;
}

enum vg_status sqlite_fresh_begin(struct sqlite_engine *engine, struct vg_err *err)
{
    engine->fresh.now.list = list_copy(NULL, 0, 0);
    return engine->fresh.now.list ? VG_OK : full(err);
}

bool sqlite_fresh_has(const struct sqlite_engine *engine, int64_t key)
{
    const struct fresh_version *now = &engine->fresh.now;

    return key > now->mark.settled && !is_dead(now->list, key);
}

enum vg_status sqlite_fresh_forget(struct sqlite_engine *engine, int64_t key, struct vg_err *err)
{
    struct fresh_list *list = list_copy(engine->fresh.now.list, 0, 0);
    int64_t *dead = list ? realloc(list->dead, (list->dead_count + 1) * sizeof(*dead)) : NULL;
    size_t at;

    if (!dead) {
        list_release(list);
        return full(err);
    }
    list->dead = dead;
    for (at = list->dead_count; at > 0 && dead[at - 1] > key; at--)
        dead[at] = dead[at - 1];
    dead[at] = key;
    list->dead_count++;
    become(engine, list);
    return sqlite_setting_put(engine, "fresh_changes", ++engine->fresh.now.mark.changes, err);
}

static enum vg_status begin_settling(struct sqlite_engine *engine, struct vg_err *err)
{
    struct fresh_list *list = list_copy(engine->fresh.now.list, 0, 0);
    bool is_ok = list != NULL;

    while (is_ok && list->count > 1)
        is_ok = merge_last(list);
    if (!is_ok) {
        list_release(list);
        return full(err);
    }
    list->is_settling = true;
    engine->fresh.since_us = vg_mono_us();
    engine->fresh.now.settled_count = 0;
    engine->fresh.now.settling_key = engine->fresh.now.mark.last_key;
    become(engine, list);
    return VG_OK;
}

static enum vg_status end_settling(struct sqlite_engine *engine, struct vg_err *err)
{
    struct fresh_list *list = list_copy(engine->fresh.now.list, 1, engine->fresh.now.settling_key);

    if (!list)
        return full(err);
    become(engine, list);
    engine->fresh.now.mark.settled = engine->fresh.now.settling_key;
    return sqlite_setting_put(engine, "fresh_settled", engine->fresh.now.settling_key, err);
}

enum vg_status sqlite_fresh_settle(struct sqlite_engine *engine, size_t row_count,
                                   struct vg_err *err)
{
    struct sqlite_fresh *fresh = &engine->fresh;
    const struct fresh_block *block;
    enum vg_status st = VG_OK;

    if (fresh->now.list->count == 0)
        return VG_OK;
    if (!fresh->now.list->is_settling) {
        if (fresh->now.list->weight < sqlite_fresh_max && vg_mono_us() - fresh->since_us < WAIT_US)
            return VG_OK;
        st = begin_settling(engine, err);
    }
    if (st != VG_OK)
        return st;
    block = fresh->now.list->blocks[0];
    fresh->due_count += row_count;
    if (fresh->due_count < SETTLED_AT_ONCE)
        return VG_OK;
    for (; fresh->due_count > 0 && fresh->now.settled_count < block->count && st == VG_OK;
         fresh->due_count--) {
        const struct row *row = &block->rows[fresh->now.settled_count++];

        if (!is_dead(fresh->now.list, row->f))
            st = sqlite_row_settle(engine, row, err);
    }
    if (st == VG_OK && fresh->now.settled_count == block->count)
        st = end_settling(engine, err);
    return st;
}

/* ---- versions ---- */

struct fresh_version sqlite_fresh_save(const struct sqlite_engine *engine)
{
    struct fresh_version version = engine->fresh.now;

    (void)sqlite_fresh_hold(version.list);
    return version;
}

void sqlite_fresh_restore(struct sqlite_engine *engine, struct fresh_version version)
{
    list_release(engine->fresh.now.list);
    engine->fresh.now = version;
}

void sqlite_fresh_drop(struct fresh_version version)
{
    list_release(version.list);
}

size_t sqlite_fresh_weight(const struct fresh_version *version)
{
    return version->list->weight;
}

void sqlite_fresh_publish(struct sqlite_engine *engine)
{
    struct sqlite_fresh *fresh = &engine->fresh;
    struct fresh_list *old;

    (void)pthread_mutex_lock(&fresh->lock);
    fresh->is_waiting = fresh->now.list->count > 0;
    fresh->newest = (fresh->newest + 1) % FRESH_VERSIONS;
    old = fresh->published[fresh->newest].list;
    fresh->published[fresh->newest] = sqlite_fresh_save(engine);
    (void)pthread_mutex_unlock(&fresh->lock);
    list_release(old);
}

bool sqlite_fresh_find(struct sqlite_engine *engine, struct fresh_mark mark,
                       struct fresh_list **ret_list)
{
    struct sqlite_fresh *fresh = &engine->fresh;
    bool is_found = false;

    (void)pthread_mutex_lock(&fresh->lock);
    for (size_t n = 0; n < FRESH_VERSIONS && !is_found; n++) {
        struct fresh_version *one =
            &fresh->published[(fresh->newest + FRESH_VERSIONS - n) % FRESH_VERSIONS];

        is_found = one->list && one->mark.last_key == mark.last_key &&
                   one->mark.changes == mark.changes && one->mark.settled == mark.settled;
        if (is_found)
            *ret_list = sqlite_fresh_hold(one->list);
    }
    (void)pthread_mutex_unlock(&fresh->lock);
    return is_found;
}

void sqlite_fresh_release(struct fresh_list *list)
{
    list_release(list);
}

void sqlite_fresh_close(struct sqlite_engine *engine)
{
    list_release(engine->fresh.now.list);
    for (size_t i = 0; i < FRESH_VERSIONS; i++)
        list_release(engine->fresh.published[i].list);
    (void)pthread_mutex_destroy(&engine->fresh.lock);
}

/* ---- what SQL sees ---- */

/* The columns of the virtual tables, in the order of struct row's keys. An equal sign on the first
 * of them finds a range of each block; one on `key` leaves of it only what is of that resource. */
static const struct kind {
    enum table table;
    const char *sql;
    int column_count, range_count, key_column;
} kinds[] = {
    {FRESH_TIMELINE,
     "CREATE TABLE x(type INTEGER, patient INTEGER, code INTEGER, span INTEGER, low INTEGER,"
     " key INTEGER, part INTEGER, system INTEGER, high INTEGER)",
     9, 3, 5},
    {FRESH_TOKEN,
     "CREATE TABLE x(path INTEGER, text TEXT, key INTEGER, system INTEGER, part INTEGER)", 5, 2, 2},
};

struct fresh_table {
    sqlite3_vtab base;
    struct conn *conn;
    const struct kind *kind;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct fresh_list *list;
    struct row from;
    char *text; /* of `from` */
    int depth;  /* how many columns of `from` count */
    bool has_key;
    size_t block, at;
    const struct row *row; /* NULL: at the end */
};

static int table_connect(sqlite3 *db, void *ctx, int count, const char *const *args,
                         sqlite3_vtab **ret_table, char **ret_error)
{
    const struct kind *kind = strcmp(args[0], "fresh_timeline") == 0 ? &kinds[0] : &kinds[1];
    struct fresh_table *table = calloc(1, sizeof(*table));
    int result = table ? sqlite3_declare_vtab(db, kind->sql) : SQLITE_NOMEM;

    (void)count;
    (void)ret_error;
    if (result == SQLITE_OK)
        result = sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    if (result != SQLITE_OK) {
        free(table);
        return result;
    }
    table->conn = ctx;
    table->kind = kind;
    *ret_table = &table->base;
    return SQLITE_OK;
}

static int table_disconnect(sqlite3_vtab *base)
{
    free(base);
    return SQLITE_OK;
}

/* idxNum: how many leading columns are given, and 16 when the key is. */
static int table_plan(sqlite3_vtab *base, sqlite3_index_info *info)
{
    static const double costs[] = {1e6, 1e5, 300, 30};
    const struct kind *kind = ((struct fresh_table *)base)->kind;
    int depth = 0, arg = 0, key_at = -1;
    bool is_more = true;

    while (is_more && depth < kind->range_count) {
        is_more = false;
        for (int i = 0; i < info->nConstraint && !is_more; i++) {
            if (info->aConstraint[i].usable && info->aConstraint[i].iColumn == depth &&
                info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_EQ) {
                info->aConstraintUsage[i].argvIndex = ++arg;
                is_more = true;
            }
        }
        depth += is_more;
    }
    for (int i = 0; i < info->nConstraint; i++)
        if (info->aConstraint[i].usable && info->aConstraint[i].iColumn == kind->key_column &&
            info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_EQ)
            key_at = i;
    if (key_at >= 0)
        info->aConstraintUsage[key_at].argvIndex = ++arg;
    info->idxNum = depth + (key_at >= 0 ? 16 : 0);
    info->estimatedCost =
        costs[depth + (kind->range_count < 3 && depth > 1)] / (key_at >= 0 ? 4 : 1);
    info->estimatedRows = (sqlite3_int64)info->estimatedCost + 1;
    return SQLITE_OK;
}

static int cursor_open(sqlite3_vtab *base, sqlite3_vtab_cursor **ret_cursor)
{
    struct cursor *cursor = calloc(1, sizeof(*cursor));

    (void)base;
    if (!cursor)
        return SQLITE_NOMEM;
    *ret_cursor = &cursor->base;
    return SQLITE_OK;
}

static int cursor_close(sqlite3_vtab_cursor *base)
{
    struct cursor *cursor = (struct cursor *)base;

    list_release(cursor->list);
    free(cursor->text);
    free(cursor);
    return SQLITE_OK;
}

/* By the table and the first `depth` columns. */
static int order_to(const struct row *x, const struct row *y, int depth)
{
    int order = x->table < y->table ? -1 : x->table > y->table;

    if (order == 0 && depth > 0)
        order = x->a < y->a ? -1 : x->a > y->a;
    if (order == 0 && depth > 1)
        order = x->table == FRESH_TOKEN ? vg_slice_cmp(x->text, y->text)
                : x->b < y->b           ? -1
                                        : x->b > y->b;
    if (order == 0 && depth > 2)
        order = x->c < y->c ? -1 : x->c > y->c;
    return order;
}

static size_t first_of(const struct fresh_block *block, const struct row *from, int depth)
{
    size_t low = 0, high = block->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (order_to(&block->rows[middle], from, depth) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* To the next row of the range that counts, from where the cursor stands on. */
static void settle_on_row(struct cursor *cursor)
{
    const struct fresh_list *list = cursor->list;

    cursor->row = NULL;
    while (list && cursor->block < list->count) {
        const struct fresh_block *block = list->blocks[cursor->block];
        const struct row *row = &block->rows[cursor->at];

        if (cursor->at == block->count || order_to(row, &cursor->from, cursor->depth) != 0) {
            if (++cursor->block < list->count)
                cursor->at = first_of(list->blocks[cursor->block], &cursor->from, cursor->depth);
            continue;
        }
        if ((!cursor->has_key || row->f == cursor->from.f) && !is_dead(list, row->f)) {
            cursor->row = row;
            return;
        }
        cursor->at++;
    }
}

static int cursor_filter(sqlite3_vtab_cursor *base, int number, const char *name, int count,
                         sqlite3_value **values)
{
    struct cursor *cursor = (struct cursor *)base;
    const struct fresh_table *table = (const struct fresh_table *)base->pVtab;
    const struct conn *conn = table->conn;

    (void)name;
    list_release(cursor->list);
    free(cursor->text);
    cursor->text = NULL;
    cursor->list = sqlite_fresh_hold(conn->is_writer ? conn->engine->fresh.now.list : conn->fresh);
    cursor->depth = number & 15;
    cursor->has_key = (number & 16) != 0;
    cursor->from = (struct row){.table = table->kind->table};
    for (int i = 0; i < count; i++) {
        int64_t value = sqlite3_value_int64(values[i]);

        if (cursor->has_key && i == count - 1)
            cursor->from.f = value;
        else if (i == 0)
            cursor->from.a = value;
        else if (i == 2)
            cursor->from.c = value;
        else if (table->kind->table == FRESH_TIMELINE)
            cursor->from.b = value;
        else {
            const unsigned char *text = sqlite3_value_text(values[i]);
            size_t len = (size_t)sqlite3_value_bytes(values[i]);

            cursor->text = malloc(len + 1);
            if (!cursor->text)
                return SQLITE_NOMEM;
            memcpy(cursor->text, text ? (const char *)text : "", len);
            cursor->from.text = (struct vg_slice){cursor->text, len};
        }
    }
    cursor->block = cursor->at = 0;
    if (cursor->list && cursor->list->count)
        cursor->at = first_of(cursor->list->blocks[0], &cursor->from, cursor->depth);
    settle_on_row(cursor);
    return SQLITE_OK;
}

static int cursor_next(sqlite3_vtab_cursor *base)
{
    struct cursor *cursor = (struct cursor *)base;

    cursor->at++;
    settle_on_row(cursor);
    return SQLITE_OK;
}

static int cursor_is_at_end(sqlite3_vtab_cursor *base)
{
    return ((struct cursor *)base)->row == NULL;
}

static int cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct row *row = ((struct cursor *)base)->row;
    const int64_t timeline[] = {row->a, row->b, row->c, row->d, row->e,
                                row->f, row->g, row->h, row->i};
    const int64_t token[] = {row->a, 0, row->f, row->b, row->g};

    if (row->table == FRESH_TIMELINE)
        sqlite3_result_int64(context, timeline[column]);
    else if (column == 1)
        sqlite3_result_text(context, row->text.ptr, (int)row->text.len, SQLITE_TRANSIENT);
    else
        sqlite3_result_int64(context, token[column]);
    return SQLITE_OK;
}

static int cursor_row_id(sqlite3_vtab_cursor *base, sqlite3_int64 *ret_id)
{
    *ret_id = (sqlite3_int64)(intptr_t)((struct cursor *)base)->row;
    return SQLITE_OK;
}

enum vg_status sqlite_fresh_tables_add(struct conn *conn, struct vg_err *err)
{
    static const sqlite3_module module = {.xConnect = table_connect,
                                          .xBestIndex = table_plan,
                                          .xDisconnect = table_disconnect,
                                          .xOpen = cursor_open,
                                          .xClose = cursor_close,
                                          .xFilter = cursor_filter,
                                          .xNext = cursor_next,
                                          .xEof = cursor_is_at_end,
                                          .xColumn = cursor_column,
                                          .xRowid = cursor_row_id};

    if (sqlite3_create_module_v2(conn->db, "fresh_timeline", &module, conn, NULL) != SQLITE_OK ||
        sqlite3_create_module_v2(conn->db, "fresh_token", &module, conn, NULL) != SQLITE_OK)
        return vg_db_fail(conn->db, err, "modules");
    return vg_db_exec(
        conn->db,
        "CREATE TEMP VIEW timelines AS"
        " SELECT type, patient, code, span, low, key, part, system, high FROM timeline UNION ALL"
        " SELECT type, patient, code, span, low, key, part, system, high FROM fresh_timeline;"
        "CREATE TEMP VIEW tokens AS SELECT path, text, key, system, part FROM token UNION ALL"
        " SELECT path, text, key, system, part FROM fresh_token",
        err);
}
