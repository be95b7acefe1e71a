/* mapping_store.c -- the versions of the mappings on the disk, and the active one in memory.
 *
 *     DIR/VERSION.device.json, DIR/VERSION.fhir.json   the texts, byte for byte
 *     DIR/active.json   {"files":"VERSION","history":[{"version","time","who","how"}, …]}
 *     DIR/partition-N   the version that partition N's newest batch was begun with
 *
 * The last entry of the history is the active version; the file is written beside, synced and
 * renamed over, after the texts that it names: a crash leaves the old or the new one active, with
 * its texts. `files` is the hash of the operator's two files when they were last looked at: a
 * start puts them in force only if they have changed since, so that what was activated or rolled
 * back later is not undone by a restart.
 *
 * A version is the first 16 hex digits of the SHA-256 of both texts (and "medtech" behind them with
 * that setting, because the same texts then make something else).
 *
 * Threads: act_lock is held over an activation, disk and all; lock only for what is in memory. A
 * pair lives until its last holder drops it.
 */
#include "connector/mapping_store.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"
#include "connector/device_mapping.h"
#include "connector/fhir_mapping.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define HISTORY_MAX 1000 /* entries kept */
#define HISTORY_BYTES_MAX (1u << 20)

struct entry {
    char version[MAPPING_VERSION_SIZE];
    int64_t time_us;
    char who[96], how[16];
};

struct mapping_store {
    struct mapping_store_config config;
    struct vg_arena arena; /* the configuration's strings */
    bool is_medtech;
    pthread_mutex_t act_lock;

    pthread_mutex_t lock; /* guards what follows */
    struct mapping_pair *active;
    struct entry *history; /* HISTORY_MAX + 1, oldest first */
    size_t history_count;
    char files[MAPPING_VERSION_SIZE];
    char trouble[256];
};

void mapping_version_of(struct vg_slice device, struct vg_slice fhir, bool is_medtech,
                        char out[static MAPPING_VERSION_SIZE])
{
    struct vg_buf both;
    char hex[65];

    vg_buf_init(&both, 3 * MAPPING_BYTES_MAX);
    vg_buf_put(&both, device);
    vg_buf_put(&both, fhir);
    if (is_medtech)
        vg_buf_put(&both, VG_SLICE("medtech"));
    vg_sha256_hex(vg_buf_slice(&both), hex);
    (void)snprintf(out, MAPPING_VERSION_SIZE, "%.16s", vg_buf_ok(&both) ? hex : "");
    vg_buf_fini(&both);
}

/* ---- pairs ---- */

static void pair_free(struct mapping_pair *pair)
{
    if (pair)
        vg_arena_fini(&pair->arena);
    free(pair);
}

static enum vg_status pair_load(struct mapping_store *s, struct vg_slice device,
                                struct vg_slice fhir, bool is_medtech, struct mapping_pair **ret,
                                struct vg_err *err)
{
    struct mapping_pair *pair = calloc(1, sizeof(*pair));
    struct mapping_errors device_errors, fhir_errors;
    struct vg_err why = {0};
    const char *path = s->config.device_path;
    enum vg_status st;

    if (!pair)
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    vg_arena_init(&pair->arena, 4 * MAPPING_BYTES_MAX);
    pair->store = s;
    pair->holders = 1;
    device_errors = (struct mapping_errors){.arena = &pair->arena, .is_medtech = is_medtech};
    fhir_errors = device_errors;
    device_errors.source = vg_arena_dup(&pair->arena, device);
    fhir_errors.source = vg_arena_dup(&pair->arena, fhir);
    mapping_version_of(device, fhir, is_medtech, pair->version);
    if (!device_errors.source.ptr || !fhir_errors.source.ptr || !pair->version[0]) {
        pair_free(pair);
        return vg_fail(err, VG_REJECT, "connector.mapping", 0, "the mappings are too large");
    }
    st = device_mapping_load(&device_errors, &pair->device, &why);
    if (st == VG_OK) {
        path = s->config.fhir_path;
        st = fhir_mapping_load(&fhir_errors, &pair->fhir, &why);
    }
    if (st != VG_OK) {
        pair_free(pair);
        return vg_fail(err, st, why.code, 0, "%.90s: %.150s", path, why.text);
    }
    *ret = pair;
    return VG_OK;
}

const struct mapping_pair *mapping_store_take(struct mapping_store *s)
{
    struct mapping_pair *pair;

    pthread_mutex_lock(&s->lock);
    pair = s->active;
    pair->holders++;
    pthread_mutex_unlock(&s->lock);
    return pair;
}

void mapping_pair_drop(const struct mapping_pair *held)
{
    struct mapping_pair *pair = (struct mapping_pair *)(uintptr_t)held; /* as it was made */
    struct mapping_store *s = pair ? pair->store : NULL;
    bool is_last;

    if (!pair)
        return;
    pthread_mutex_lock(&s->lock);
    is_last = --pair->holders == 0;
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        pair_free(pair);
}

/* ---- the folder ---- */

static struct vg_slice path_in(struct vg_arena *arena, const char *dir, const char *version,
                               const char *name)
{
    return vg_arena_printf(arena, "%s/%s%s", dir, version, name);
}

/* ".." and the like never become part of a path. */
static bool is_version(struct vg_slice text)
{
    if (text.len != MAPPING_VERSION_SIZE - 1)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!strchr("0123456789abcdef", text.ptr[i]))
            return false;
    return true;
}

static bool read_entry(const struct vg_json *json, struct entry *entry)
{
    return is_version(vg_json_get_text(json, "version")) &&
           vg_slice_to_cstr(vg_json_get_text(json, "version"), entry->version,
                            sizeof(entry->version)) &&
           vg_time_parse(vg_json_get_text(json, "time"), &entry->time_us, NULL) &&
           vg_slice_to_cstr(vg_json_get_text(json, "who"), entry->who, sizeof(entry->who)) &&
           vg_slice_to_cstr(vg_json_get_text(json, "how"), entry->how, sizeof(entry->how));
}

/* active.json; VG_END: there is none. */
static enum vg_status history_read(const char *dir, struct vg_arena *arena, struct entry *history,
                                   size_t *ret_count, char files[static MAPPING_VERSION_SIZE],
                                   struct vg_err *err)
{
    struct vg_slice path = path_in(arena, dir, "", "active.json"), text;
    const struct vg_json *list;
    struct vg_json *root;
    struct vg_err why = {0};
    enum vg_status st;

    if (!path.ptr)
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    st = vg_file_read(arena, path.ptr, HISTORY_BYTES_MAX, &text, err);
    if (st != VG_OK)
        return st;
    *ret_count = 0;
    if (vg_json_parse(arena, text, NULL, &root, NULL, &why) != VG_OK)
        return vg_fail(err, VG_REJECT, "connector.mapping_damage", 0, "%.150s: %.90s", path.ptr,
                       why.text);
    list = vg_json_get(root, "history");
    for (const struct vg_json *e = list ? list->child : NULL; e && *ret_count < HISTORY_MAX;
         e = e->next)
        if (!read_entry(e, &history[(*ret_count)++]))
            *ret_count = HISTORY_MAX + 1;
    if (*ret_count == 0 || *ret_count > HISTORY_MAX ||
        !vg_slice_to_cstr(vg_json_get_text(root, "files"), files, MAPPING_VERSION_SIZE))
        return vg_fail(err, VG_REJECT, "connector.mapping_damage", 0,
                       "%.150s is not as it was written", path.ptr);
    return VG_OK;
}

static void write_entry(struct vg_json_writer *w, const struct entry *e)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "version", vg_slice_of(e->version));
    vg_json_member_time(w, "time", e->time_us);
    vg_json_member_string(w, "who", vg_slice_of(e->who));
    vg_json_member_string(w, "how", vg_slice_of(e->how));
    vg_json_close_object(w);
}

/* Newest first, as people read it. */
static void write_history(struct vg_json_writer *w, const struct entry *history, size_t count)
{
    vg_json_open_array(w);
    while (count > 0)
        write_entry(w, &history[--count]);
    vg_json_close_array(w);
}

static enum vg_status history_write(const struct mapping_store *s, const struct entry *history,
                                    size_t count, const char *files, struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_arena arena;
    struct vg_slice path;
    struct vg_buf out;
    enum vg_status st;

    vg_arena_init(&arena, 0);
    vg_buf_init(&out, HISTORY_BYTES_MAX);
    vg_json_writer_init(&w, &out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "files", vg_slice_of(files));
    vg_json_name(&w, "history");
    vg_json_open_array(&w);
    for (size_t i = 0; i < count; i++)
        write_entry(&w, &history[i]);
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    path = path_in(&arena, s->config.dir, "", "active.json");
    if (path.ptr && vg_buf_ok(&out))
        st = vg_file_write(path.ptr, vg_buf_slice(&out), 0600, err);
    else
        st = vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings' history");
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status text_keep(const struct mapping_store *s, const char *version,
                                const char *name, struct vg_slice text, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_slice path, kept;
    enum vg_status st;

    vg_arena_init(&arena, 2 * MAPPING_BYTES_MAX);
    path = path_in(&arena, s->config.dir, version, name);
    if (!path.ptr)
        st = vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    else if (vg_file_read(&arena, path.ptr, MAPPING_BYTES_MAX, &kept, NULL) == VG_OK &&
             vg_slice_eq(kept, text))
        st = VG_OK;
    else
        st = vg_file_write(path.ptr, text, 0600, err);
    vg_arena_fini(&arena);
    return st;
}

/* ---- activation ---- */

static void entry_make(struct entry *e, const char *version, const struct mapping_act *act)
{
    size_t len = act->who.len < sizeof(e->who) ? act->who.len : sizeof(e->who) - 1;

    *e = (struct entry){.time_us = vg_now_us()};
    memcpy(e->version, version, sizeof(e->version));
    if (!vg_slice_to_cstr((struct vg_slice){act->who.ptr, len}, e->who, sizeof(e->who)))
        (void)snprintf(e->who, sizeof(e->who), "?");
    (void)snprintf(e->how, sizeof(e->how), "%s", act->how);
}

/* act_lock is held: nobody else changes history and files. */
static enum vg_status put_in_force(struct mapping_store *s, struct mapping_pair *pair,
                                   struct vg_slice device, struct vg_slice fhir,
                                   const struct mapping_act *act, struct vg_err *err)
{
    struct mapping_pair *old = s->active;
    char files[MAPPING_VERSION_SIZE];
    size_t count = s->history_count;
    bool is_new = !old || strcmp(old->version, pair->version) != 0;
    enum vg_status st = VG_OK;

    memcpy(files, s->files, sizeof(files));
    if (act->is_of_files)
        mapping_version_of(device, fhir, false, files);
    if (s->config.dir && is_new) {
        st = text_keep(s, pair->version, ".device.json", device, err);
        if (st == VG_OK)
            st = text_keep(s, pair->version, ".fhir.json", fhir, err);
    }
    if (is_new)
        entry_make(&s->history[count++], pair->version, act);
    if (st == VG_OK && s->config.dir && (is_new || strcmp(files, s->files) != 0)) {
        size_t from = count > HISTORY_MAX;

        st = history_write(s, s->history + from, count - from, files, err);
    }
    if (st != VG_OK) {
        pair_free(pair);
        return st;
    }
    pthread_mutex_lock(&s->lock);
    if (count > HISTORY_MAX)
        memmove(s->history, s->history + 1, --count * sizeof(s->history[0]));
    s->history_count = count;
    memcpy(s->files, files, sizeof(files));
    s->trouble[0] = '\0';
    if (is_new)
        s->active = pair;
    pthread_mutex_unlock(&s->lock);
    mapping_pair_drop(is_new ? old : pair);
    return VG_OK;
}

enum vg_status mapping_store_activate(struct mapping_store *s, struct vg_slice device,
                                      struct vg_slice fhir, const struct mapping_act *act,
                                      char ret_new[static MAPPING_VERSION_SIZE], char *ret_old,
                                      struct vg_err *err)
{
    char old[MAPPING_VERSION_SIZE] = "", version[MAPPING_VERSION_SIZE];
    struct mapping_pair *pair = NULL;
    enum vg_status st = pair_load(s, device, fhir, s->is_medtech, &pair, err);

    if (st != VG_OK)
        return st;
    memcpy(version, pair->version, sizeof(version));
    pthread_mutex_lock(&s->act_lock);
    if (s->active)
        memcpy(old, s->active->version, sizeof(old));
    if (act->base.len > 0 && !vg_slice_is(act->base, old)) {
        pair_free(pair);
        st = vg_fail(err, VG_REJECT, "connector.mapping_base", 0,
                     "version %s is active by now, not %.*s: look at it first", old,
                     (int)(act->base.len < 32 ? act->base.len : 32), act->base.ptr);
    } else {
        st = put_in_force(s, pair, device, fhir, act, err);
    }
    pthread_mutex_unlock(&s->act_lock);
    if (st != VG_OK)
        return st;
    memcpy(ret_new, version, MAPPING_VERSION_SIZE);
    if (ret_old)
        memcpy(ret_old, old, MAPPING_VERSION_SIZE);
    if (s->config.dir && strcmp(old, version) != 0)
        vg_log(VG_LOG_INFO, "connector", "connector.mapping_active",
               "mapping %s is active (%s), it was %s", version, act->how, old[0] ? old : "none");
    return VG_OK;
}

/* ---- reading ---- */

static enum vg_status read_text(struct vg_arena *arena, const char *path, struct vg_slice *ret,
                                struct vg_err *err)
{
    enum vg_status st = vg_file_read(arena, path, MAPPING_BYTES_MAX, ret, err);

    if (st == VG_END)
        st = vg_fail(err, VG_REJECT, "connector.mapping", 0, "%.200s: no such file", path);
    if (st == VG_OK && !ret->ptr)
        *ret = VG_SLICE("");
    return st;
}

enum vg_status mapping_store_files(struct mapping_store *s, struct vg_arena *arena,
                                   struct vg_slice *ret_device, struct vg_slice *ret_fhir,
                                   struct vg_err *err)
{
    enum vg_status st = read_text(arena, s->config.device_path, ret_device, err);

    return st == VG_OK ? read_text(arena, s->config.fhir_path, ret_fhir, err) : st;
}

static enum vg_status read_version(struct mapping_store *s, const char *version,
                                   struct vg_arena *arena, struct vg_slice *ret_device,
                                   struct vg_slice *ret_fhir, struct vg_err *err)
{
    struct vg_slice device_path = path_in(arena, s->config.dir, version, ".device.json");
    struct vg_slice fhir_path = path_in(arena, s->config.dir, version, ".fhir.json");
    char plain[MAPPING_VERSION_SIZE], medtech[MAPPING_VERSION_SIZE];
    enum vg_status st;

    if (!device_path.ptr || !fhir_path.ptr)
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    st = vg_file_read(arena, device_path.ptr, MAPPING_BYTES_MAX, ret_device, err);
    if (st == VG_OK)
        st = vg_file_read(arena, fhir_path.ptr, MAPPING_BYTES_MAX, ret_fhir, err);
    if (st != VG_OK)
        return st;
    mapping_version_of(*ret_device, *ret_fhir, false, plain);
    mapping_version_of(*ret_device, *ret_fhir, true, medtech);
    if (strcmp(version, plain) != 0 && strcmp(version, medtech) != 0)
        return vg_fail(err, VG_REJECT, "connector.mapping_damage", 0,
                       "%.100s and %s.fhir.json are not as they were written", device_path.ptr,
                       version);
    return VG_OK;
}

enum vg_status mapping_store_texts(struct mapping_store *s, struct vg_slice version,
                                   struct vg_arena *arena, struct vg_slice *ret_device,
                                   struct vg_slice *ret_fhir, struct vg_err *err)
{
    char name[MAPPING_VERSION_SIZE];

    if (version.len == 0) {
        pthread_mutex_lock(&s->lock);
        memcpy(name, s->active->version, sizeof(name));
        pthread_mutex_unlock(&s->lock);
    } else if (!is_version(version) || !vg_slice_to_cstr(version, name, sizeof(name))) {
        return VG_END;
    }
    return s->config.dir ? read_version(s, name, arena, ret_device, ret_fhir, err) : VG_END;
}

/* ---- what a partition was begun with ---- */

static struct vg_slice partition_path(const struct mapping_store *s, uint32_t partition,
                                      struct vg_arena *arena)
{
    return vg_arena_printf(arena, "%s/partition-%u", s->config.dir, partition);
}

enum vg_status mapping_store_begin(struct mapping_store *s, uint32_t partition,
                                   const struct mapping_pair *pair, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_slice path;
    enum vg_status st;

    if (!s->config.dir)
        return VG_OK;
    vg_arena_init(&arena, 0);
    path = partition_path(s, partition, &arena);
    st = path.ptr ? vg_file_write(path.ptr, vg_slice_of(pair->version), 0600, err)
                  : vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    vg_arena_fini(&arena);
    return st;
}

/* The version's texts, whatever the setting compat was then. */
static enum vg_status load_version(struct mapping_store *s, const char *version,
                                   struct vg_arena *arena, struct mapping_pair **ret,
                                   struct vg_err *err)
{
    char plain[MAPPING_VERSION_SIZE];
    struct vg_slice device, fhir;
    enum vg_status st = read_version(s, version, arena, &device, &fhir, err);

    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "connector.mapping_damage", 0, "mapping %s is missing",
                       version);
    if (st != VG_OK)
        return st;
    mapping_version_of(device, fhir, false, plain);
    return pair_load(s, device, fhir, strcmp(plain, version) != 0, ret, err);
}

enum vg_status mapping_store_take_begun(struct mapping_store *s, uint32_t partition,
                                        const struct mapping_pair **ret, struct vg_err *err)
{
    char version[MAPPING_VERSION_SIZE];
    struct vg_slice path, text;
    struct mapping_pair *pair = NULL;
    struct vg_arena arena;
    enum vg_status st;

    if (!s->config.dir)
        return VG_END;
    vg_arena_init(&arena, 3 * MAPPING_BYTES_MAX);
    path = partition_path(s, partition, &arena);
    st = path.ptr ? vg_file_read(&arena, path.ptr, MAPPING_VERSION_SIZE, &text, err)
                  : vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    if (st == VG_OK && (!is_version(text) || !vg_slice_to_cstr(text, version, sizeof(version))))
        st = vg_fail(err, VG_REJECT, "connector.mapping_damage", 0,
                     "%.200s is not as it was written", path.ptr);
    if (st == VG_OK)
        st = load_version(s, version, &arena, &pair, err);
    vg_arena_fini(&arena);
    *ret = pair;
    return st;
}

bool mapping_store_is_medtech(const struct mapping_store *s)
{
    return s->is_medtech;
}

const char *mapping_store_path(const struct mapping_store *s, bool is_fhir)
{
    return is_fhir ? s->config.fhir_path : s->config.device_path;
}

void mapping_store_write(struct mapping_store *s, struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    pthread_mutex_lock(&s->lock);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "active", vg_slice_of(s->active->version));
    vg_json_member_string(&w, "compat", vg_slice_of(s->is_medtech ? "medtech" : "default"));
    vg_json_name(&w, "files");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "device", vg_slice_of(s->config.device_path));
    vg_json_member_string(&w, "fhir", vg_slice_of(s->config.fhir_path));
    vg_json_close_object(&w);
    vg_json_member_string(&w, "trouble", vg_slice_of(s->trouble));
    vg_json_name(&w, "history");
    write_history(&w, s->history, s->history_count);
    vg_json_close_object(&w);
    pthread_mutex_unlock(&s->lock);
}

enum vg_status mapping_store_history(const char *dir, struct vg_buf *out, struct vg_err *err)
{
    struct entry *history = calloc(HISTORY_MAX, sizeof(*history));
    char files[MAPPING_VERSION_SIZE];
    struct vg_json_writer w;
    struct vg_arena arena;
    size_t count = 0;
    enum vg_status st;

    if (!history)
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings' history");
    vg_arena_init(&arena, 0);
    st = history_read(dir, &arena, history, &count, files, err);
    vg_json_writer_init(&w, out);
    if (st == VG_OK)
        write_history(&w, history, count);
    vg_arena_fini(&arena);
    free(history);
    return st;
}

void mapping_store_trouble(struct mapping_store *s, char out[static 256])
{
    pthread_mutex_lock(&s->lock);
    memcpy(out, s->trouble, sizeof(s->trouble));
    pthread_mutex_unlock(&s->lock);
}

/* ---- open and close ---- */

/* The files, if they have changed since they were last looked at (or nothing was ever active). */
static enum vg_status start_files(struct mapping_store *s, struct vg_arena *arena,
                                  struct vg_err *err)
{
    const struct mapping_act act = {.who = VG_SLICE("vigil"), .how = "start", .is_of_files = true};
    char version[MAPPING_VERSION_SIZE];
    struct vg_slice device, fhir;
    enum vg_status st = mapping_store_files(s, arena, &device, &fhir, err);

    if (st != VG_OK)
        return st;
    mapping_version_of(device, fhir, false, version);
    if (s->history_count > 0 && strcmp(version, s->files) == 0)
        return VG_END;
    return mapping_store_activate(s, device, fhir, &act, version, NULL, err);
}

/* What was active last; as a new version if the setting compat is another by now. */
static enum vg_status start_active(struct mapping_store *s, struct vg_arena *arena,
                                   struct vg_err *err)
{
    const struct mapping_act act = {.who = VG_SLICE("vigil"), .how = "start"};
    const struct entry *last = &s->history[s->history_count - 1];
    char version[MAPPING_VERSION_SIZE];
    struct vg_slice device, fhir;
    struct mapping_pair *pair;
    struct vg_err why = {0};
    enum vg_status st = read_version(s, last->version, arena, &device, &fhir, &why);

    if (st == VG_OK)
        st = pair_load(s, device, fhir, s->is_medtech, &pair, &why);
    if (st != VG_OK) {
        if (st == VG_END)
            (void)vg_fail(&why, VG_REJECT, "connector.mapping_damage", 0, "its files are missing");
        return vg_fail(err, st == VG_END ? VG_REJECT : st, why.code, 0,
                       "the active mapping %s in %.60s cannot be used: %.150s", last->version,
                       s->config.dir, why.text);
    }
    if (strcmp(pair->version, last->version) == 0) {
        s->active = pair;
        return VG_OK;
    }
    pair_free(pair);
    return mapping_store_activate(s, device, fhir, &act, version, NULL, err);
}

static enum vg_status start(struct mapping_store *s, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_err why = {0};
    enum vg_status st = VG_END, files;

    vg_arena_init(&arena, 8 * MAPPING_BYTES_MAX);
    if (s->config.dir) {
        st = vg_dir_make(s->config.dir, err);
        if (st == VG_OK)
            st = history_read(s->config.dir, &arena, s->history, &s->history_count, s->files, err);
    }
    if (st == VG_OK || st == VG_END) {
        bool is_first = st == VG_END;

        files = start_files(s, &arena, &why);
        if (files == VG_OK || is_first) {
            st = files;
            if (st != VG_OK && err)
                *err = why;
        } else {
            st = start_active(s, &arena, err);
        }
        if (st == VG_OK && files != VG_OK && files != VG_END) {
            (void)snprintf(s->trouble, sizeof(s->trouble), "mapping %s stays active: %.200s",
                           s->active->version, why.text);
            vg_log(VG_LOG_ERROR, "connector", "connector.mapping", "%s", s->trouble);
        }
    }
    vg_arena_fini(&arena);
    return st;
}

enum vg_status mapping_store_open(const struct mapping_store_config *config,
                                  struct mapping_store **ret_store, struct vg_err *err)
{
    const char *compat = config->compat ? config->compat : "default";
    struct mapping_store *s;
    enum vg_status st;

    if (strcmp(compat, "medtech") != 0 && strcmp(compat, "default") != 0)
        return vg_fail(err, VG_REJECT, "connector.config", 0,
                       "compat '%s': expected default or medtech", compat);
    s = calloc(1, sizeof(*s));
    if (s)
        s->history = calloc(HISTORY_MAX + 1, sizeof(*s->history));
    if (!s || !s->history) {
        free(s);
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    }
    vg_arena_init(&s->arena, 0);
    pthread_mutex_init(&s->act_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    s->is_medtech = strcmp(compat, "medtech") == 0;
    if (config->dir)
        s->config.dir = vg_arena_dup(&s->arena, vg_slice_of(config->dir)).ptr;
    s->config.device_path = vg_arena_dup(&s->arena, vg_slice_of(config->device_path)).ptr;
    s->config.fhir_path = vg_arena_dup(&s->arena, vg_slice_of(config->fhir_path)).ptr;
    if ((config->dir && !s->config.dir) || !s->config.device_path || !s->config.fhir_path)
        st = vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for the mappings");
    else
        st = start(s, err);
    if (st != VG_OK) {
        mapping_store_close(s);
        return st;
    }
    *ret_store = s;
    return VG_OK;
}

void mapping_store_close(struct mapping_store *s)
{
    if (!s)
        return;
    mapping_pair_drop(s->active);
    pthread_mutex_destroy(&s->act_lock);
    pthread_mutex_destroy(&s->lock);
    vg_arena_fini(&s->arena);
    free(s->history);
    free(s);
}
