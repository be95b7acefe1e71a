/* delta.c -- the transaction log of one Delta Lake table on a local disk.
 *
 * ON DISK (Delta protocol, reader version 1, writer version 2)
 *
 * _delta_log/00000000000000000000.json and on: one JSON object a line, an action each. We write
 * `protocol` and `metaData` (version 0), `add` with statistics, `txn` with the position of the
 * writing application, `commitInfo`. We read those and `remove`. A commit is one file: it is
 * written beside, synced, and put in place with link(2), which fails when the version is taken. So
 * two writers never overwrite each other, and after a crash a commit is there whole or not at all.
 *
 * A checkpoint is the whole state at one version as a Parquet file; the log is replayed from the
 * newest. The Parquet itself is the engine's work (struct delta_parquet); here
 * it is lines of JSON, the same actions as in the log.
 *
 * EXACTLY ONCE
 *
 * The data files and the position that they answer are in the same commit. A data file without a
 * commit is garbage that no reader sees; a replay after the commit finds its position and adds
 * nothing.
 */
#include "lake/delta.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_server.h"
#include "base/json.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ENTRY_BYTES_MAX (64u << 20)
#define COMMIT_TRIES_MAX 16

static char *copy_text(struct vg_slice text)
{
    char *copy = malloc(text.len + 1);

    if (copy && text.len)
        memcpy(copy, text.ptr, text.len);
    if (copy)
        copy[text.len] = '\0';
    return copy;
}

static void file_free(struct delta_file *file)
{
    free(file->path);
    free(file->patient_min);
    free(file->patient_max);
}

static enum vg_status no_memory(struct vg_err *err)
{
    return vg_fail(err, VG_RETRY, "lake.memory", ENOMEM, "delta log");
}

/* Takes over the texts inside *file. */
static enum vg_status add_file(struct delta *table, struct delta_file *file, struct vg_err *err)
{
    if (!file->path || !file->patient_min || !file->patient_max) {
        file_free(file);
        return no_memory(err);
    }
    if (table->file_count == table->file_capacity) {
        size_t capacity = table->file_capacity ? table->file_capacity * 2 : 64;
        struct delta_file *grown = realloc(table->files, capacity * sizeof(*grown));

        if (!grown) {
            file_free(file);
            return no_memory(err);
        }
        table->files = grown;
        table->file_capacity = capacity;
    }
    table->files[table->file_count++] = *file;
    return VG_OK;
}

static enum vg_status set_position(struct delta *table, struct vg_slice app, uint64_t next_seq,
                                   struct vg_err *err)
{
    struct delta_position *grown;

    for (size_t i = 0; i < table->position_count; i++) {
        if (vg_slice_is(app, table->positions[i].app)) {
            table->positions[i].next_seq = next_seq;
            return VG_OK;
        }
    }
    grown = realloc(table->positions, (table->position_count + 1) * sizeof(*grown));
    if (!grown)
        return no_memory(err);
    table->positions = grown;
    if (!vg_slice_to_cstr(app, grown[table->position_count].app, sizeof(grown->app)))
        return VG_OK; /* an application of somebody else, with a name longer than ours */
    grown[table->position_count++].next_seq = next_seq;
    return VG_OK;
}

uint64_t delta_position(const struct delta *table, const char *app)
{
    for (size_t i = 0; i < table->position_count; i++) {
        if (strcmp(table->positions[i].app, app) == 0)
            return table->positions[i].next_seq;
    }
    return 0;
}

/* The statistics are a JSON text inside a JSON string; what is missing prunes nothing. */
static void read_stats(struct vg_arena *arena, const struct delta *table, struct vg_slice text,
                       struct delta_file *file)
{
    struct vg_json *stats = NULL;
    struct vg_slice patient_min = {0}, patient_max = {0};

    file->time_min_us = INT64_MIN;
    file->time_max_us = INT64_MAX;
    if (text.len && vg_json_parse(arena, text, NULL, &stats, NULL, NULL) == VG_OK) {
        const struct vg_json *low = vg_json_get(stats, "minValues");
        const struct vg_json *high = vg_json_get(stats, "maxValues");

        (void)vg_json_to_i64(vg_json_get(stats, "numRecords"), &file->record_count);
        (void)vg_time_parse(vg_json_get_text(low, table->time_column), &file->time_min_us, NULL);
        if (vg_time_parse(vg_json_get_text(high, table->time_column), &file->time_max_us, NULL))
            file->time_max_us += 999; /* statistics are cut to milliseconds */
        patient_min = vg_json_get_text(low, "patientId");
        patient_max = vg_json_get_text(high, "patientId");
    }
    file->patient_min = copy_text(patient_min);
    file->patient_max = copy_text(patient_max);
}

static void bury(struct delta *table, struct vg_slice path, int64_t deleted_us)
{
    struct delta_tombstone *grown = table->tombstones;

    /* Another writer's file outside of our folder is not ours to delete. */
    if (!path.len || path.ptr[0] == '/' || memmem(path.ptr, path.len, "..", 2))
        return;
    if (table->tombstone_count == table->tombstone_capacity) {
        size_t capacity = table->tombstone_capacity ? table->tombstone_capacity * 2 : 64;

        grown = realloc(table->tombstones, capacity * sizeof(*grown));
        if (!grown)
            return; /* the file stays on the disk for longer; no reader sees it */
        table->tombstones = grown;
        table->tombstone_capacity = capacity;
    }
    grown[table->tombstone_count].path = copy_text(path);
    grown[table->tombstone_count].deleted_us = deleted_us;
    table->tombstone_count += grown[table->tombstone_count].path != NULL;
}

static enum vg_status apply_add(struct delta *table, struct vg_arena *arena,
                                const struct vg_json *add, struct vg_err *err)
{
    struct delta_file file = {0};
    struct vg_slice path = vg_url_decode(arena, vg_json_get_text(add, "path"), false);
    struct vg_slice date = vg_json_get_text(vg_json_get(add, "partitionValues"), "date");

    if (!path.len)
        return vg_fail(err, VG_FATAL, "lake.log", 0, "table %s: an add action without path",
                       table->name);
    file.path = copy_text(path);
    (void)vg_slice_to_cstr(date, file.date, sizeof(file.date));
    (void)vg_json_to_i64(vg_json_get(add, "size"), &file.size_bytes);
    read_stats(arena, table, vg_json_get_text(add, "stats"), &file);
    return add_file(table, &file, err);
}

static struct delta_file *find_file(const struct delta *table, struct vg_slice path)
{
    for (size_t i = 0; i < table->file_count; i++) {
        if (vg_slice_is(path, table->files[i].path))
            return &table->files[i];
    }
    return NULL;
}

static void apply_remove(struct delta *table, struct vg_arena *arena, const struct vg_json *remove)
{
    struct vg_slice path = vg_url_decode(arena, vg_json_get_text(remove, "path"), false);
    struct delta_file *file = find_file(table, path);
    int64_t deleted_ms = 0;

    (void)vg_json_to_i64(vg_json_get(remove, "deletionTimestamp"), &deleted_ms);
    bury(table, path, deleted_ms * 1000);
    if (!file)
        return;
    file_free(file);
    *file = table->files[--table->file_count];
}

/* Kept as they were written, for the next checkpoint. */
static enum vg_status keep_action(char **kept, const struct vg_json *action, struct vg_err *err)
{
    free(*kept);
    *kept = copy_text(action->source);
    return *kept ? VG_OK : no_memory(err);
}

/* An action is an object with one member; in a checkpoint the other ones are there and null. */
static const struct vg_json *action_of(const struct vg_json *line, const char *name)
{
    const struct vg_json *action = vg_json_get(line, name);

    return vg_json_is(action, VG_JSON_OBJECT) ? action : NULL;
}

static enum vg_status apply_line(struct delta *table, struct vg_arena *arena, struct vg_slice line,
                                 struct vg_err *err)
{
    struct vg_json *action;
    const struct vg_json *body;
    enum vg_status st = vg_json_parse(arena, line, NULL, &action, NULL, err);

    if (st != VG_OK)
        return vg_fail(err, VG_FATAL, "lake.log", 0, "table %s: version %" PRId64 " is not JSON",
                       table->name, table->version + 1);
    if ((body = action_of(action, "add")))
        return apply_add(table, arena, body, err);
    if ((body = action_of(action, "metaData")))
        return keep_action(&table->metadata_json, body, err);
    if ((body = action_of(action, "remove"))) {
        apply_remove(table, arena, body);
    } else if ((body = action_of(action, "txn"))) {
        int64_t next_seq = 0;

        (void)vg_json_to_i64(vg_json_get(body, "version"), &next_seq);
        return set_position(table, vg_json_get_text(body, "appId"), (uint64_t)next_seq, err);
    } else if ((body = action_of(action, "protocol"))) {
        int64_t reader = 0;

        if (vg_json_to_i64(vg_json_get(body, "minReaderVersion"), &reader) && reader > 1)
            return vg_fail(err, VG_FATAL, "lake.version", 0,
                           "table %s needs Delta reader version %" PRId64 ", we read 1",
                           table->name, reader);
        return keep_action(&table->protocol_json, body, err);
    }
    return VG_OK;
}

static enum vg_status apply_lines(struct delta *table, struct vg_arena *arena, struct vg_slice rest,
                                  struct vg_err *err)
{
    enum vg_status st = VG_OK;

    while (st == VG_OK && rest.len) {
        struct vg_slice line = vg_slice_trim(vg_slice_cut(&rest, '\n'));

        if (line.len)
            st = apply_line(table, arena, line, err);
    }
    return st;
}

static void name_log_file(const struct delta *table, int64_t version, const char *suffix,
                          char out[static 4096])
{
    (void)snprintf(out, 4096, "%.4000s/_delta_log/%020" PRId64 "%s", table->dir, version, suffix);
}

/* What is in the log's folder: the newest checkpoint's version (-1 = none), and whether there is
 * any entry. _last_checkpoint is a hint for other readers; the names themselves cannot be out of
 * step. */
static enum vg_status list_log(const struct delta *table, int64_t *ret_checkpoint,
                               bool *ret_has_entries, struct vg_err *err)
{
    char path[4096];
    struct dirent *entry;
    DIR *dir;

    *ret_checkpoint = -1;
    *ret_has_entries = false;
    (void)snprintf(path, sizeof(path), "%.4000s/_delta_log", table->dir);
    dir = opendir(path);
    if (!dir)
        return vg_fail(err, VG_RETRY, "lake.io", errno, "%s", path);
    while ((entry = readdir(dir))) {
        struct vg_slice rest = vg_slice_of(entry->d_name), number = vg_slice_cut(&rest, '.');
        int64_t version;

        if (number.len != 20 || !vg_slice_to_i64(number, &version))
            continue;
        *ret_has_entries |= vg_slice_is(rest, "json");
        if (vg_slice_is(rest, "checkpoint.parquet") && version > *ret_checkpoint)
            *ret_checkpoint = version;
    }
    (void)closedir(dir); /* only read */
    return VG_OK;
}

static bool has_entry(const struct delta *table, int64_t version)
{
    char path[4096];

    name_log_file(table, version, ".json", path);
    return access(path, F_OK) == 0;
}

/* The state as of the newest checkpoint. One that cannot be read is no harm while the log's first
 * entries are there; without either the table must not be taken for an empty one. */
static enum vg_status read_checkpoint(struct delta *table, const struct delta_parquet *parquet,
                                      struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_buf lines;
    char path[4096];
    int64_t version;
    bool has_entries;
    enum vg_status st = list_log(table, &version, &has_entries, err);

    if (st != VG_OK)
        return st;
    if (version < 0)
        return !has_entries || has_entry(table, 0)
                   ? VG_OK
                   : vg_fail(err, VG_FATAL, "lake.log", 0,
                             "table %s: the log's beginning is missing, and there is no checkpoint",
                             table->name);
    vg_arena_init(&arena, 4u * LOG_ENTRY_BYTES_MAX);
    vg_buf_init(&lines, LOG_ENTRY_BYTES_MAX);
    name_log_file(table, version, ".checkpoint.parquet", path);
    st = parquet->read(parquet->ctx, path, &lines, err);
    if (st != VG_OK && has_entry(table, 0)) {
        vg_log_err(VG_LOG_WARN, "lake", err);
        st = VG_OK; /* from the beginning, then */
    } else if (st == VG_OK) {
        st = vg_buf_ok(&lines) ? apply_lines(table, &arena, vg_buf_slice(&lines), err)
                               : no_memory(err);
        table->version = table->checkpoint_version = version;
    }
    vg_buf_fini(&lines);
    vg_arena_fini(&arena);
    return st;
}

/* Applies the log entries after table->version, up to the newest. */
static enum vg_status catch_up(struct delta *table, struct vg_err *err)
{
    struct vg_arena arena;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, 4u * LOG_ENTRY_BYTES_MAX);
    while (st == VG_OK) {
        struct vg_slice path, rest;

        vg_arena_reset(&arena);
        path = vg_arena_printf(&arena, "%s/_delta_log/%020" PRId64 ".json", table->dir,
                               table->version + 1);
        st = path.ptr ? vg_file_read(&arena, path.ptr, LOG_ENTRY_BYTES_MAX, &rest, err)
                      : no_memory(err);
        if (st == VG_OK)
            st = apply_lines(table, &arena, rest, err);
        if (st == VG_OK)
            table->version++;
    }
    vg_arena_fini(&arena);
    return st == VG_END ? VG_OK : st;
}

enum vg_status delta_sync(const char *path, struct vg_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum vg_status st = VG_OK;

    if (fd < 0)
        return vg_fail(err, VG_RETRY, "lake.sync", errno, "%s", path);
    if (fsync(fd) != 0)
        st = vg_fail(err, VG_RETRY, "lake.sync", errno, "%s", path);
    if (close(fd) != 0 && st == VG_OK)
        st = vg_fail(err, VG_RETRY, "lake.sync", errno, "%s", path);
    return st;
}

static enum vg_status sync_log(const struct delta *table, struct vg_err *err)
{
    char dir[4096];

    (void)snprintf(dir, sizeof(dir), "%.4000s/_delta_log", table->dir);
    if (vg_io_system.sync_dir(vg_io_system.ctx, dir) != 0)
        return vg_fail(err, VG_RETRY, "lake.sync", errno, "table %s", table->name);
    return VG_OK;
}

/* Puts an entry in place as `version`. VG_END: somebody else was first. */
static enum vg_status put_entry(const struct delta *table, int64_t version, struct vg_slice entry,
                                struct vg_err *err)
{
    char target[4096], draft[4096];
    enum vg_status st;

    name_log_file(table, version, ".json", target);
    (void)snprintf(draft, sizeof(draft), "%.4000s/_delta_log/.draft-%ld-%" PRIx64, table->dir,
                   (long)getpid(), vg_mono_ns());
    st = vg_file_write(draft, entry, 0600, err);
    if (st != VG_OK)
        return st;
    if (link(draft, target) != 0) {
        st = errno == EEXIST ? VG_END
                             : vg_fail(err, VG_RETRY, "lake.write", errno, "table %s", table->name);
    } else {
        st = sync_log(table, err);
    }
    if (unlink(draft) != 0 && st == VG_OK)
        st = vg_fail(err, VG_RETRY, "lake.write", errno, "table %s: draft stays", table->name);
    return st;
}

static void write_commit_info(struct vg_json_writer *w, const char *operation)
{
    vg_json_open_object(w);
    vg_json_name(w, "commitInfo");
    vg_json_open_object(w);
    vg_json_member_i64(w, "timestamp", vg_now_us() / 1000);
    vg_json_member_string(w, "operation", vg_slice_of(operation));
    vg_json_member_string(w, "engineInfo", vg_slice_of("vigil/" VIGIL_VERSION));
    vg_json_close_object(w);
    vg_json_close_object(w);
    vg_buf_put_byte(w->out, '\n');
}

static void write_creation(const struct delta *table, struct vg_buf *out)
{
    struct vg_json_writer w;
    uint8_t id[16];
    char hex[33], uuid[37];

    vg_random(id, sizeof(id));
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    vg_hex(id, sizeof(id), hex);
    (void)snprintf(uuid, sizeof(uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);

    vg_json_writer_init(&w, out);
    write_commit_info(&w, "CREATE TABLE");
    vg_json_writer_init(&w, out);
    vg_json_put_raw(&w,
                    VG_SLICE("{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"));
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "metaData");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "id", vg_slice_of(uuid));
    vg_json_member_string(&w, "name", vg_slice_of(table->name));
    vg_json_member_raw(&w, "format", VG_SLICE("{\"provider\":\"parquet\",\"options\":{}}"));
    vg_json_member_string(&w, "schemaString", vg_slice_of(table->schema_json));
    vg_json_member_raw(&w, "partitionColumns", VG_SLICE("[\"date\"]"));
    vg_json_member_raw(&w, "configuration", VG_SLICE("{}"));
    vg_json_member_i64(&w, "createdTime", vg_now_us() / 1000);
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}

enum vg_status delta_open(struct delta *table, const char *dir, const char *name,
                          const char *time_column, const char *schema_json,
                          const struct delta_parquet *parquet, struct vg_err *err)
{
    char log_dir[4096];
    struct vg_buf entry;
    enum vg_status st;

    *table = (struct delta){.dir = copy_text(vg_slice_of(dir)),
                            .name = name,
                            .time_column = time_column,
                            .schema_json = schema_json,
                            .version = -1,
                            .checkpoint_version = -1};
    vg_buf_init(&entry, 0);
    if (!table->dir) {
        st = no_memory(err);
        goto done;
    }
    (void)snprintf(log_dir, sizeof(log_dir), "%s/_delta_log", dir);
    st = vg_dir_make(log_dir, err);
    if (st == VG_OK)
        st = read_checkpoint(table, parquet, err);
    if (st == VG_OK)
        st = catch_up(table, err);
    if (st == VG_OK && table->version < 0) {
        write_creation(table, &entry);
        st = vg_buf_ok(&entry) ? put_entry(table, 0, vg_buf_slice(&entry), err) : no_memory(err);
        if (st == VG_OK || st == VG_END)
            st = catch_up(table, err);
    }
done:
    vg_buf_fini(&entry);
    if (st != VG_OK)
        delta_close(table);
    return st;
}

void delta_close(struct delta *table)
{
    for (size_t i = 0; i < table->file_count; i++)
        file_free(&table->files[i]);
    for (size_t i = 0; i < table->tombstone_count; i++)
        free(table->tombstones[i].path);
    free(table->files);
    free(table->positions);
    free(table->tombstones);
    free(table->protocol_json);
    free(table->metadata_json);
    free(table->dir);
    *table = (struct delta){.version = -1, .checkpoint_version = -1};
}

static void write_add(const struct delta *table, const struct delta_file *file, bool is_same_data,
                      struct vg_buf *out)
{
    struct vg_json_writer w, s;
    struct vg_buf stats;

    vg_buf_init(&stats, 1u << 16);
    vg_json_writer_init(&s, &stats);
    vg_json_open_object(&s);
    vg_json_member_i64(&s, "numRecords", file->record_count);
    vg_json_name(&s, "minValues");
    vg_json_open_object(&s);
    vg_json_member_string(&s, "patientId", vg_slice_of(file->patient_min));
    vg_json_member_time(&s, table->time_column, file->time_min_us);
    vg_json_close_object(&s);
    vg_json_name(&s, "maxValues");
    vg_json_open_object(&s);
    vg_json_member_string(&s, "patientId", vg_slice_of(file->patient_max));
    vg_json_member_time(&s, table->time_column, file->time_max_us);
    vg_json_close_object(&s);
    vg_json_member_raw(&s, "nullCount", VG_SLICE("{\"patientId\":0}"));
    vg_json_close_object(&s);

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "add");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "path", vg_slice_of(file->path));
    vg_json_name(&w, "partitionValues");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "date", vg_slice_of(file->date));
    vg_json_close_object(&w);
    vg_json_member_i64(&w, "size", file->size_bytes);
    vg_json_member_i64(&w, "modificationTime", vg_now_us() / 1000);
    vg_json_member_bool(&w, "dataChange", !is_same_data);
    vg_json_member_string(&w, "stats", vg_buf_slice(&stats));
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
    if (!vg_buf_ok(&stats))
        out->has_failed = true;
    vg_buf_fini(&stats);
}

static void write_remove(const char *path, int64_t deleted_us, bool is_same_data,
                         struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "remove");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "path", vg_slice_of(path));
    vg_json_member_i64(&w, "deletionTimestamp", deleted_us / 1000);
    vg_json_member_bool(&w, "dataChange", !is_same_data);
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}

static void write_txn(const char *app, uint64_t next_seq, struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "txn");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "appId", vg_slice_of(app));
    vg_json_member_i64(&w, "version", (int64_t)next_seq);
    vg_json_member_i64(&w, "lastUpdated", vg_now_us() / 1000);
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
}

static bool are_live(const struct delta *table, const struct delta_change *change)
{
    for (size_t i = 0; i < change->removed_count; i++) {
        if (!find_file(table, vg_slice_of(change->removed[i])))
            return false;
    }
    return true;
}

enum vg_status delta_commit(struct delta *table, const struct delta_change *change,
                            struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_buf entry;
    enum vg_status st = VG_END;

    vg_buf_init(&entry, 0);
    vg_json_writer_init(&w, &entry);
    write_commit_info(&w, change->operation);
    if (change->app)
        write_txn(change->app, change->next_seq, &entry);
    for (size_t i = 0; i < change->removed_count; i++)
        write_remove(change->removed[i], vg_now_us(), change->is_same_data, &entry);
    for (size_t i = 0; i < change->added_count; i++)
        write_add(table, &change->added[i], change->is_same_data, &entry);

    if (!vg_buf_ok(&entry))
        st = no_memory(err);
    for (unsigned tries = 0; st == VG_END && tries < COMMIT_TRIES_MAX; tries++) {
        if (!are_live(table, change)) {
            st = vg_fail(err, VG_REJECT, "lake.conflict", 0,
                         "table %s: a file to be removed is not there any more", table->name);
            break;
        }
        st = put_entry(table, table->version + 1, vg_buf_slice(&entry), err);
        if (st == VG_OK || st == VG_END) {
            enum vg_status read_st = catch_up(table, err); /* ours, or the one that was first */

            if (read_st != VG_OK)
                st = read_st;
            else if (st == VG_END && change->app &&
                     delta_position(table, change->app) >= change->next_seq)
                st = sync_log(table, err); /* the first was ourselves: its sync had failed */
        }
    }
    if (st == VG_END)
        st = vg_fail(err, VG_RETRY, "lake.contention", 0, "table %s: %u other writers were first",
                     table->name, COMMIT_TRIES_MAX);
    vg_buf_fini(&entry);
    return st;
}

/* ---- checkpoints and what they make superfluous ---- */

/* Entries below the checkpoint, oldest first, as long as they are old enough. */
static enum vg_status drop_old_entries(const struct delta *table, int64_t before_us,
                                       struct vg_err *err)
{
    char path[4096];
    struct stat info;

    for (int64_t version = table->checkpoint_version - 1; version >= 0; version--) {
        name_log_file(table, version, ".json", path);
        if (stat(path, &info) != 0)
            break; /* those below went before */
        if ((int64_t)info.st_mtim.tv_sec * VG_SECOND_US >= before_us)
            continue;
        if (unlink(path) != 0)
            return vg_fail(err, VG_RETRY, "lake.write", errno, "%s", path);
        name_log_file(table, version, ".checkpoint.parquet", path);
        if (unlink(path) != 0 && errno != ENOENT)
            return vg_fail(err, VG_RETRY, "lake.write", errno, "%s", path);
    }
    return VG_OK;
}

enum vg_status delta_checkpoint(struct delta *table, const struct delta_parquet *parquet,
                                int64_t before_us, struct vg_err *err)
{
    char path[4096], lines_path[4096], last_path[4096];
    struct vg_buf lines, last;
    enum vg_status st;

    vg_buf_init(&lines, 0);
    vg_buf_init(&last, 256);
    vg_buf_printf(&lines, "{\"protocol\":%s}\n{\"metaData\":%s}\n", table->protocol_json,
                  table->metadata_json);
    for (size_t i = 0; i < table->position_count; i++)
        write_txn(table->positions[i].app, table->positions[i].next_seq, &lines);
    for (size_t i = 0; i < table->tombstone_count; i++)
        write_remove(table->tombstones[i].path, table->tombstones[i].deleted_us, true, &lines);
    for (size_t i = 0; i < table->file_count; i++)
        write_add(table, &table->files[i], true, &lines);
    vg_buf_printf(&last, "{\"version\":%" PRId64 ",\"size\":%zu}", table->version,
                  2 + table->position_count + table->tombstone_count + table->file_count);
    name_log_file(table, table->version, ".checkpoint.parquet", path);
    name_log_file(table, table->version, ".checkpoint.draft", lines_path);
    (void)snprintf(last_path, sizeof(last_path), "%.4000s/_delta_log/_last_checkpoint", table->dir);
    st = vg_buf_ok(&lines) && vg_buf_ok(&last) ? VG_OK : no_memory(err);
    if (st == VG_OK)
        st = vg_file_write(lines_path, vg_buf_slice(&lines), 0600, err);
    if (st == VG_OK)
        st = parquet->write(parquet->ctx, path, lines_path, err);
    if (st == VG_OK)
        st = delta_sync(path, err); /* it will stand for entries that go */
    if (unlink(lines_path) != 0 && st == VG_OK)
        st = vg_fail(err, VG_RETRY, "lake.write", errno, "%s", lines_path);
    if (st == VG_OK)
        st = sync_log(table, err);
    if (st == VG_OK)
        st = vg_file_write(last_path, vg_buf_slice(&last), 0600, err);
    if (st == VG_OK) {
        table->checkpoint_version = table->version;
        st = drop_old_entries(table, before_us, err);
    }
    vg_buf_fini(&lines);
    vg_buf_fini(&last);
    return st;
}

enum vg_status delta_vacuum(struct delta *table, int64_t before_us, size_t *ret_count,
                            struct vg_err *err)
{
    size_t kept = 0;
    enum vg_status st = VG_OK;

    *ret_count = 0;
    for (size_t i = 0; i < table->tombstone_count; i++) {
        struct delta_tombstone *tombstone = &table->tombstones[i];
        char path[4096];

        (void)snprintf(path, sizeof(path), "%.2000s/%.2000s", table->dir, tombstone->path);
        if (st == VG_OK && tombstone->deleted_us < before_us &&
            !find_file(table, vg_slice_of(tombstone->path))) {
            if (unlink(path) == 0 || errno == ENOENT) {
                free(tombstone->path);
                (*ret_count)++;
                continue;
            }
            st = vg_fail(err, VG_RETRY, "lake.write", errno, "%s", path);
        }
        table->tombstones[kept++] = *tombstone;
    }
    table->tombstone_count = kept;
    return st;
}
