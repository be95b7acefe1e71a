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

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

static void apply_remove(struct delta *table, struct vg_arena *arena, const struct vg_json *remove)
{
    struct vg_slice path = vg_url_decode(arena, vg_json_get_text(remove, "path"), false);

    for (size_t i = 0; i < table->file_count; i++) {
        if (!vg_slice_is(path, table->files[i].path))
            continue;
        file_free(&table->files[i]);
        table->files[i] = table->files[--table->file_count];
        return;
    }
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
    if ((body = vg_json_get(action, "add")))
        return apply_add(table, arena, body, err);
    if ((body = vg_json_get(action, "remove"))) {
        apply_remove(table, arena, body);
    } else if ((body = vg_json_get(action, "txn"))) {
        int64_t next_seq = 0;

        (void)vg_json_to_i64(vg_json_get(body, "version"), &next_seq);
        return set_position(table, vg_json_get_text(body, "appId"), (uint64_t)next_seq, err);
    } else if ((body = vg_json_get(action, "protocol"))) {
        int64_t reader = 0;

        if (vg_json_to_i64(vg_json_get(body, "minReaderVersion"), &reader) && reader > 1)
            return vg_fail(err, VG_FATAL, "lake.version", 0,
                           "table %s needs Delta reader version %" PRId64 ", we read 1",
                           table->name, reader);
    }
    return VG_OK;
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
        while (st == VG_OK && rest.len) {
            struct vg_slice line = vg_slice_trim(vg_slice_cut(&rest, '\n'));

            if (line.len)
                st = apply_line(table, &arena, line, err);
        }
        if (st == VG_OK)
            table->version++;
    }
    vg_arena_fini(&arena);
    return st == VG_END ? VG_OK : st;
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

    (void)snprintf(target, sizeof(target), "%.4000s/_delta_log/%020" PRId64 ".json", table->dir,
                   version);
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
                          const char *time_column, const char *schema_json, struct vg_err *err)
{
    char log_dir[4096];
    struct vg_buf entry;
    enum vg_status st;

    *table = (struct delta){.dir = copy_text(vg_slice_of(dir)),
                            .name = name,
                            .time_column = time_column,
                            .schema_json = schema_json,
                            .version = -1};
    vg_buf_init(&entry, 0);
    if (!table->dir) {
        st = no_memory(err);
        goto done;
    }
    (void)snprintf(log_dir, sizeof(log_dir), "%s/_delta_log", dir);
    st = vg_dir_make(log_dir, err);
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
    free(table->files);
    free(table->positions);
    free(table->dir);
    *table = (struct delta){.version = -1};
}

static void write_add(const struct delta *table, const struct delta_file *file, struct vg_buf *out)
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
    vg_json_member_bool(&w, "dataChange", true);
    vg_json_member_string(&w, "stats", vg_buf_slice(&stats));
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(out, '\n');
    if (!vg_buf_ok(&stats))
        out->has_failed = true;
    vg_buf_fini(&stats);
}

enum vg_status delta_commit(struct delta *table, const struct delta_file *added, size_t count,
                            const char *app, uint64_t next_seq, struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_buf entry;
    enum vg_status st = VG_END;

    vg_buf_init(&entry, 0);
    vg_json_writer_init(&w, &entry);
    write_commit_info(&w, "STREAMING UPDATE");
    vg_json_writer_init(&w, &entry);
    vg_json_open_object(&w);
    vg_json_name(&w, "txn");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "appId", vg_slice_of(app));
    vg_json_member_i64(&w, "version", (int64_t)next_seq);
    vg_json_member_i64(&w, "lastUpdated", vg_now_us() / 1000);
    vg_json_close_object(&w);
    vg_json_close_object(&w);
    vg_buf_put_byte(&entry, '\n');
    for (size_t i = 0; i < count; i++)
        write_add(table, &added[i], &entry);

    if (!vg_buf_ok(&entry))
        st = no_memory(err);
    for (unsigned tries = 0; st == VG_END && tries < COMMIT_TRIES_MAX; tries++) {
        st = put_entry(table, table->version + 1, vg_buf_slice(&entry), err);
        if (st == VG_OK || st == VG_END) {
            enum vg_status read_st = catch_up(table, err); /* ours, or the one that was first */

            if (read_st != VG_OK)
                st = read_st;
            else if (st == VG_END && delta_position(table, app) >= next_seq)
                st = sync_log(table, err); /* the first was ourselves: its sync had failed */
        }
    }
    if (st == VG_END)
        st = vg_fail(err, VG_RETRY, "lake.contention", 0, "table %s: %u other writers were first",
                     table->name, COMMIT_TRIES_MAX);
    vg_buf_fini(&entry);
    return st;
}
