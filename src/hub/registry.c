/* registry.c -- the device registry on SQLite, and the copy of it that the hub reads. */
#include "hub/registry.h"

#include "base/clock.h"
#include "base/db.h"
#include "base/map.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES_BYTES_MAX 4096
#define NAMED_BYTES_MAX 512 /* of a device's name in a message */

struct registry {
    sqlite3 *db;
    sqlite3_stmt *add, *set_enabled, *set_hash, *set_seen, *set_speaks_for, *is_gateway, *list,
        *version;
};

struct directory {
    atomic_uint refs;
    struct registry_device *devices;
    size_t count;
    struct vg_map by_id;
    struct vg_arena texts;
};

static const char *const migrations[] = {
    "CREATE TABLE device ("
    " id TEXT PRIMARY KEY,"
    " hash TEXT NOT NULL,"
    " is_enabled INTEGER NOT NULL DEFAULT 1,"
    " is_gateway INTEGER NOT NULL DEFAULT 0,"
    " through TEXT REFERENCES device (id),"
    " created_us INTEGER NOT NULL,"
    " seen_us INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;",
    "ALTER TABLE device ADD COLUMN speaks_for TEXT",
};

bool registry_id_is_valid(struct vg_slice id)
{
    if (id.len == 0 || id.len > REGISTRY_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];

        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (c != '\0' && strchr("-._:@=$!*'(),", c))))
            return false;
    }
    return id.ptr[0] != '$'; /* $SYS and its kind are nobody's */
}

enum vg_status registry_open(const char *dir, struct registry **ret_registry, struct vg_err *err)
{
    struct registry *registry = calloc(1, sizeof(*registry));
    char path[4096];
    enum vg_status st;

    if (!registry)
        return vg_fail(err, VG_RETRY, "registry.memory", 0, "no memory");
    if (snprintf(path, sizeof(path), "%s/registry.db", dir) >= (int)sizeof(path)) {
        st = vg_fail(err, VG_REJECT, "registry.path", 0, "folder name is too long");
        goto done;
    }
    const struct {
        sqlite3_stmt **stmt;
        const char *sql;
    } statements[] = {
        {&registry->add, "INSERT INTO device (id, hash, is_gateway, through, created_us)"
                         " VALUES (?1, ?2, ?3, ?4, ?5)"},
        {&registry->set_enabled, "UPDATE device SET is_enabled = ?2 WHERE id = ?1 RETURNING 1"},
        {&registry->set_hash, "UPDATE device SET hash = ?2 WHERE id = ?1 RETURNING 1"},
        {&registry->set_seen, "UPDATE device SET seen_us = ?2 WHERE id = ?1 RETURNING 1"},
        {&registry->set_speaks_for, "UPDATE device SET speaks_for = ?2 WHERE id = ?1 RETURNING 1"},
        {&registry->is_gateway, "SELECT is_gateway FROM device WHERE id = ?1"},
        {&registry->list,
         "SELECT id, hash, is_enabled, is_gateway, through, created_us, seen_us, speaks_for"
         " FROM device ORDER BY id"},
        {&registry->version, "PRAGMA data_version"},
    };

    st = vg_db_open(path, false, &registry->db, err);
    if (st == VG_OK)
        st = vg_db_migrate(registry->db, migrations, sizeof(migrations) / sizeof(migrations[0]),
                           err);
    for (size_t i = 0; st == VG_OK && i < sizeof(statements) / sizeof(statements[0]); i++)
        st = vg_db_prepare(registry->db, statements[i].sql, statements[i].stmt, err);
    if (st == VG_OK) {
        *ret_registry = registry;
        registry = NULL;
    }
done:
    registry_close(registry);
    return st;
}

void registry_close(struct registry *registry)
{
    if (!registry)
        return;
    sqlite3_finalize(registry->add);
    sqlite3_finalize(registry->set_enabled);
    sqlite3_finalize(registry->set_hash);
    sqlite3_finalize(registry->set_seen);
    sqlite3_finalize(registry->set_speaks_for);
    sqlite3_finalize(registry->is_gateway);
    sqlite3_finalize(registry->list);
    sqlite3_finalize(registry->version);
    vg_db_close(registry->db);
    free(registry);
}

static void rewind_stmt(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

/* Runs a statement that answers one row when it found the device. */
static enum vg_status run_on_device(sqlite3_stmt *stmt, const char *id, struct vg_err *err)
{
    enum vg_status st = vg_db_step(stmt, err);
    bool is_found = st == VG_OK;

    if (is_found)
        st = vg_db_step(stmt, err); /* to the end: there the commit happens, or fails */
    rewind_stmt(stmt);
    if (st == VG_END && is_found)
        return VG_OK;
    if (st == VG_END)
        return vg_fail(err, VG_END, "registry.unknown", 0, "no device '%s'", id);
    return st;
}

enum vg_status registry_add(struct registry *registry, const char *id, bool is_gateway,
                            const char *through, struct vg_slice password, struct vg_err *err)
{
    char hash[VG_PASSWORD_HASH_SIZE];
    sqlite3_stmt *stmt = registry->add;
    enum vg_status st;

    if (!registry_id_is_valid(vg_slice_of(id)))
        return vg_fail(err, VG_REJECT, "registry.id", 0,
                       "'%.140s' is no device id: expected 1 to 128 of A-Z a-z 0-9 and "
                       "-._:@=$!*'(),",
                       id);
    if (through && *through) {
        bool is_found;

        vg_db_bind_text(registry->is_gateway, 1, vg_slice_of(through));
        st = vg_db_step(registry->is_gateway, err);
        is_found = st == VG_OK && sqlite3_column_int(registry->is_gateway, 0) != 0;
        rewind_stmt(registry->is_gateway);
        if (st != VG_OK && st != VG_END)
            return st;
        if (!is_found)
            return vg_fail(err, VG_REJECT, "registry.gateway", 0,
                           "'%.128s' is not registered as a gateway", through);
    }
    st = vg_password_hash(password, true, hash, err);
    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, vg_slice_of(id));
    vg_db_bind_text(stmt, 2, vg_slice_of(hash));
    sqlite3_bind_int(stmt, 3, is_gateway);
    vg_db_bind_text(stmt, 4, through && *through ? vg_slice_of(through) : (struct vg_slice){0});
    sqlite3_bind_int64(stmt, 5, vg_now_us());
    st = vg_db_run(stmt, err);
    if (st == VG_REJECT)
        return vg_fail(err, VG_REJECT, "registry.exists", 0, "device '%s' is there already", id);
    return st;
}

enum vg_status registry_set_enabled(struct registry *registry, const char *id, bool is_enabled,
                                    struct vg_err *err)
{
    vg_db_bind_text(registry->set_enabled, 1, vg_slice_of(id));
    sqlite3_bind_int(registry->set_enabled, 2, is_enabled);
    return run_on_device(registry->set_enabled, id, err);
}

enum vg_status registry_set_password(struct registry *registry, const char *id,
                                     struct vg_slice password, struct vg_err *err)
{
    char hash[VG_PASSWORD_HASH_SIZE];
    enum vg_status st = vg_password_hash(password, true, hash, err);

    if (st != VG_OK)
        return st;
    vg_db_bind_text(registry->set_hash, 1, vg_slice_of(id));
    vg_db_bind_text(registry->set_hash, 2, vg_slice_of(hash));
    return run_on_device(registry->set_hash, id, err);
}

enum vg_status registry_set_speaks_for(struct registry *registry, const char *id, const char *names,
                                       struct vg_err *err)
{
    struct vg_slice text = vg_slice_of(names);
    bool is_right = text.len <= NAMES_BYTES_MAX && vg_slice_is_utf8(text);

    for (size_t i = 0; i < text.len; i++)
        is_right &= (unsigned char)text.ptr[i] >= ' ';
    if (!is_right)
        return vg_fail(err, VG_REJECT, "registry.names", 0,
                       "expected names with commas between them, at most %d bytes",
                       NAMES_BYTES_MAX);
    vg_db_bind_text(registry->set_speaks_for, 1, vg_slice_of(id));
    if (names)
        vg_db_bind_text(registry->set_speaks_for, 2, text.len ? text : VG_SLICE(""));
    return run_on_device(registry->set_speaks_for, id, err);
}

enum vg_status registry_set_seen(struct registry *registry, const char *id, int64_t seen_us,
                                 struct vg_err *err)
{
    vg_db_bind_text(registry->set_seen, 1, vg_slice_of(id));
    sqlite3_bind_int64(registry->set_seen, 2, seen_us);
    return run_on_device(registry->set_seen, id, err);
}

enum vg_status registry_begin(struct registry *registry, struct vg_err *err)
{
    return vg_db_exec(registry->db, "BEGIN IMMEDIATE", err);
}

enum vg_status registry_commit(struct registry *registry, struct vg_err *err)
{
    return vg_db_exec(registry->db, "COMMIT", err);
}

enum vg_status registry_version(struct registry *registry, int64_t *ret_version, struct vg_err *err)
{
    enum vg_status st = vg_db_step(registry->version, err);

    if (st == VG_OK)
        *ret_version = sqlite3_column_int64(registry->version, 0);
    rewind_stmt(registry->version);
    return st == VG_END ? vg_fail(err, VG_FATAL, "registry.version", 0, "no data_version") : st;
}

static void put_text(char *out, size_t size_bytes, struct vg_slice text)
{
    if (!vg_slice_to_cstr(text, out, size_bytes))
        out[0] = '\0';
}

static bool add_row(struct directory *directory, size_t *capacity, sqlite3_stmt *row)
{
    struct registry_device *device;

    if (directory->count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 64;
        struct registry_device *grown = realloc(directory->devices, more * sizeof(*grown));

        if (!grown)
            return false;
        directory->devices = grown;
        *capacity = more;
    }
    device = &directory->devices[directory->count++];
    put_text(device->id, sizeof(device->id), vg_db_text(row, 0));
    put_text(device->hash, sizeof(device->hash), vg_db_text(row, 1));
    device->is_enabled = sqlite3_column_int(row, 2) != 0;
    device->is_gateway = sqlite3_column_int(row, 3) != 0;
    put_text(device->through, sizeof(device->through), vg_db_text(row, 4));
    device->created_us = sqlite3_column_int64(row, 5);
    device->seen_us = sqlite3_column_int64(row, 6);
    device->speaks_for = NULL;
    if (sqlite3_column_type(row, 7) == SQLITE_NULL)
        return true;
    device->speaks_for = vg_arena_dup(&directory->texts, vg_db_text(row, 7)).ptr;
    return device->speaks_for != NULL;
}

enum vg_status registry_directory(struct registry *registry, struct directory **ret_directory,
                                  struct vg_err *err)
{
    struct directory *directory = calloc(1, sizeof(*directory));
    size_t capacity = 0;
    bool has_room = directory != NULL;
    enum vg_status st = VG_OK;

    if (directory) {
        atomic_init(&directory->refs, 1);
        vg_map_init(&directory->by_id);
        vg_arena_init(&directory->texts, 0);
    }
    while (has_room && (st = vg_db_step(registry->list, err)) == VG_OK)
        has_room = add_row(directory, &capacity, registry->list);
    rewind_stmt(registry->list);
    /* Only now: the rows do not move any more. */
    for (size_t i = 0; has_room && st == VG_END && i < directory->count; i++)
        (void)vg_map_put(&directory->by_id, vg_slice_of(directory->devices[i].id),
                         &directory->devices[i], &has_room);
    if (!has_room)
        st = vg_fail(err, VG_RETRY, "registry.memory", 0, "no memory for the directory");
    if (st != VG_END) {
        directory_unref(directory);
        return st;
    }
    *ret_directory = directory;
    return VG_OK;
}

struct directory *directory_ref(struct directory *directory)
{
    atomic_fetch_add_explicit(&directory->refs, 1, memory_order_relaxed);
    return directory;
}

void directory_unref(struct directory *directory)
{
    if (!directory || atomic_fetch_sub_explicit(&directory->refs, 1, memory_order_acq_rel) != 1)
        return;
    vg_map_fini(&directory->by_id, NULL);
    vg_arena_fini(&directory->texts);
    free(directory->devices);
    free(directory);
}

const struct registry_device *directory_get(const struct directory *directory, struct vg_slice id)
{
    return vg_map_get(&directory->by_id, id);
}

/* `*` stands for any text. Of several the last is tried again and again: not more than len x len
 * steps. */
static bool is_like(struct vg_slice pattern, struct vg_slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

bool directory_may_speak(const struct directory *directory, struct vg_slice sender,
                         struct vg_slice device, bool is_free)
{
    const struct registry_device *known;
    struct vg_slice names;

    if (vg_slice_eq(sender, device))
        return true;
    known = directory_get(directory, sender);
    if (!known || !known->speaks_for)
        return is_free;
    if (device.len > NAMED_BYTES_MAX)
        return false;
    names = vg_slice_of(known->speaks_for);
    while (names.len) {
        struct vg_slice one = vg_slice_trim(vg_slice_cut(&names, ','));

        if (one.len && is_like(one, device))
            return true;
    }
    return false;
}

size_t directory_count(const struct directory *directory)
{
    return directory->count;
}

const struct registry_device *directory_at(const struct directory *directory, size_t index)
{
    return index < directory->count ? &directory->devices[index] : NULL;
}
