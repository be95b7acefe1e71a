/* import.c -- $import: NDJSON files from the import folder become resources, in the background.
 *
 * POST $import with Parameters (input: type and url, a file's name) is answered 202 with the place
 * of its status. One thread works on the imports in their order, 500 resources in a commit, and
 * writes down after each how far it is. A crash repeats one commit at most, which changes nothing:
 * a resource has the id that it brings, or one made of its place in the file.
 *
 * A line that cannot be taken is written down with its reason and does not stop the others.
 *
 * Only plain names in the folder of the setting are opened, and no links: nobody can have other
 * files read.
 *
 * Threads: workers add and ask by the side database; `lock` guards the flags.
 */
#include "fhir/import_int.h"

#include "base/crypto.h"
#include "base/db.h"
#include "base/log.h"
#include "base/map.h"
#include "fhir/rest_int.h"
#include "fhir/side_int.h"
#include "fhir/worker_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 1000u
#define BATCH_MAX 500u
#define BATCH_BYTES_MAX ((size_t)16 << 20)
#define ERRORS_MAX 1000

struct fhir_imports {
    struct fhir_store *store;
    int dir; /* the folder's descriptor */
    struct fhir_worker worker;
    bool has_more; /* under the worker's lock */
};

/* "vitals.ndjson", with "file:" before it or not. */
static bool is_plain_name(struct vg_slice name)
{
    if (name.len == 0 || name.len > 200 || name.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return true;
}

/* ---- one file ---- */

struct file_job {
    struct fhir_imports *imports;
    char id[40];
    int64_t number, offset, done, refused;
    char type[64], name[256];
};

static enum vg_status note(struct file_job *job, int64_t offset, const char *why,
                           struct vg_err *err)
{
    job->refused++;
    if (job->refused > ERRORS_MAX)
        return VG_OK;
    return fhir_side_run(
        job->imports->store->side,
        "INSERT OR REPLACE INTO import_error(id, file, text, line)"
        " VALUES(?,?,?,?)",
        &(struct fhir_side_args){
            .texts = {vg_slice_of(job->id), vg_slice_of(job->name), vg_slice_of(why)},
            .text_count = 3,
            .numbers = {offset},
            .number_count = 1},
        err);
}

static enum vg_status progress_save(const struct file_job *job, struct vg_err *err)
{
    return fhir_side_run(
        job->imports->store->side,
        "UPDATE import_file SET offset=?3, done=?4, refused=?5 WHERE id=?1 AND"
        " number=?2",
        &(struct fhir_side_args){.texts = {vg_slice_of(job->id)},
                                 .text_count = 1,
                                 .numbers = {job->number, job->offset, job->done, job->refused},
                                 .number_count = 4},
        err);
}

/* An id for a resource without: the same whenever this place of this file is read. */
static struct vg_slice id_of_place(struct vg_arena *arena, const struct file_job *job,
                                   int64_t offset, struct vg_slice line)
{
    struct vg_buf text;
    char hex[65];

    vg_buf_init(&text, 0);
    vg_buf_printf(&text, "%s %" PRId64 " ", job->name, offset);
    vg_buf_put(&text, line);
    vg_sha256_hex(vg_buf_slice(&text), hex);
    vg_buf_fini(&text);
    return vg_arena_printf(arena, "i%.40s", hex);
}

/* Checks one line and adds it to the batch. VG_REJECT: it cannot be taken. */
static enum vg_status take_line(const struct file_job *job, struct vg_arena *arena, int64_t offset,
                                struct vg_slice line, struct fhir_write *ret_write,
                                struct vg_err *err)
{
    unsigned type = fhir_type_find(vg_slice_of(job->type));
    struct fhir_issue issue = {0};
    struct vg_json *root = NULL;
    struct fhir_draft draft;
    struct vg_slice id;
    enum vg_status st = fhir_parse(arena, line, &root, &issue, err);

    if (st != VG_OK)
        return st;
    id = vg_json_get_text(root, "id");
    if (!id.len)
        id = id_of_place(arena, job, offset, line);
    if (!fhir_id_is_ok(id))
        return vg_fail(err, VG_REJECT, "fhir.invalid", 0, "id must be 1 to 64 of A-Z a-z 0-9 - .");
    st = fhir_draft_make(arena, type, id, line, job->imports->store->base_url, &draft, &issue, err);
    *ret_write = (struct fhir_write){
        .what = FHIR_UPDATE, .type = vg_slice_of(job->type), .id = id, .body = line};
    return st;
}

static enum vg_status commit(struct file_job *job, struct fhir_write *writes,
                             const int64_t *offsets, size_t count, struct vg_arena *arena,
                             struct vg_err *err)
{
    struct fhir_written *written = vg_arena_alloc(arena, (count + 1) * sizeof(*written));
    size_t failed = 0;
    enum vg_status st = VG_OK;

    if (!written)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for a batch");
    while (count) {
        st = fhir_commit(job->imports->store, writes, count, arena, written, &failed, err);
        if (st != VG_REJECT)
            break;
        st = note(job, offsets[failed], err->text, err);
        if (st != VG_OK)
            return st;
        count--;
        memmove(&writes[failed], &writes[failed + 1], (count - failed) * sizeof(*writes));
    }
    if (st == VG_OK)
        job->done += (int64_t)count;
    return st;
}

/* A batch from where the file stands. VG_END: the file is done. */
static enum vg_status run_batch(struct file_job *job, FILE *file, struct vg_err *err)
{
    struct fhir_write writes[BATCH_MAX];
    int64_t offsets[BATCH_MAX], at = job->offset;
    struct vg_arena arena;
    struct vg_map seen;
    char *line = NULL;
    size_t capacity = 0, count = 0, bytes = 0;
    ssize_t len = 0;
    bool is_ok = true;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    vg_map_init(&seen);
    if (fseeko(file, at, SEEK_SET) != 0)
        st = vg_fail(err, VG_RETRY, "fhir.import", errno, "the file cannot be read");
    while (st == VG_OK && count < BATCH_MAX && bytes < BATCH_BYTES_MAX &&
           (len = getline(&line, &capacity, file)) > 0) {
        struct vg_slice text = vg_slice_trim((struct vg_slice){line, (size_t)len});
        struct fhir_write write = {0};
        struct vg_err why = {0};

        if (text.len) {
            text = vg_arena_dup(&arena, text);
            st = text.ptr ? take_line(job, &arena, at, text, &write, &why)
                          : vg_fail(&why, VG_RETRY, "fhir.memory", 0, "no room for a batch");
            /* The same resource again is the next commit's. */
            if (st == VG_OK && vg_map_get(&seen, write.id))
                break;
            if (st == VG_OK) {
                (void)vg_map_put(&seen, write.id, job, &is_ok);
                offsets[count] = at;
                writes[count++] = write;
            } else if (st == VG_REJECT) {
                st = note(job, at, why.text, err);
            } else if (err) {
                *err = why;
            }
        }
        at += len;
        bytes += (size_t)len;
    }
    if (st == VG_OK && count)
        st = commit(job, writes, offsets, count, &arena, err);
    if (st == VG_OK) {
        job->offset = at;
        st = progress_save(job, err);
    }
    if (st == VG_OK && len <= 0)
        st = ferror(file) ? vg_fail(err, VG_RETRY, "fhir.import", errno, "the file cannot be read")
                          : VG_END;
    free(line);
    vg_map_fini(&seen, NULL);
    vg_arena_fini(&arena);
    return st;
}

static bool is_closing(struct fhir_imports *imports)
{
    bool is_end;

    (void)pthread_mutex_lock(&imports->worker.lock);
    is_end = imports->worker.is_closing;
    (void)pthread_mutex_unlock(&imports->worker.lock);
    return is_end;
}

static bool is_cancelled(const struct file_job *job)
{
    struct fhir_side *side = job->imports->store->side;
    sqlite3_stmt *stmt = NULL;
    bool is_there = true;

    if (fhir_side_begin(side, "SELECT 1 FROM import WHERE id=? AND state='running'", &stmt, NULL) !=
        VG_OK)
        return false;
    vg_db_bind_text(stmt, 1, vg_slice_of(job->id));
    is_there = vg_db_step(stmt, NULL) != VG_END;
    fhir_side_end(side, stmt);
    return !is_there;
}

/* VG_OK: done, or refused for good; VG_RETRY: to be gone on with. */
static enum vg_status run_file(struct file_job *job, struct vg_err *err)
{
    int fd = openat(job->imports->dir, job->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    FILE *file = NULL;
    enum vg_status st = VG_OK;

    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        file = fdopen(fd, "r");
    if (!file) {
        if (fd >= 0)
            (void)close(fd);
        st = note(job, 0, "there is no such file in the import folder", err);
        return st == VG_OK ? progress_save(job, err) : st;
    }
    while (st == VG_OK) {
        if (is_closing(job->imports))
            st = VG_RETRY;
        else if (is_cancelled(job))
            st = VG_END;
        else
            st = run_batch(job, file, err);
    }
    (void)fclose(file);
    return st == VG_END ? VG_OK : st;
}

/* ---- the thread ---- */

/* The next file that is not done; VG_END: there is none. `after` is the last one's number. */
static enum vg_status next_file(struct fhir_imports *imports, struct file_job *job, char state[],
                                size_t state_size, struct vg_err *err)
{
    struct fhir_side *side = imports->store->side;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_side_begin(
        side,
        "SELECT f.id, f.number, f.type, f.name, f.offset, f.done, f.refused, i.state FROM import i"
        " JOIN import_file f ON f.id=i.id WHERE i.state='running' AND (i.id<>?1 OR f.number>?2)"
        " ORDER BY i.made_us, i.id, f.number LIMIT 1",
        &stmt, err);

    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, vg_slice_of(job->id));
    (void)sqlite3_bind_int64(stmt, 2, job->number);
    st = vg_db_step(stmt, err);
    if (st == VG_OK) {
        job->imports = imports;
        (void)vg_slice_to_cstr(vg_db_text(stmt, 0), job->id, sizeof(job->id));
        job->number = sqlite3_column_int64(stmt, 1);
        (void)vg_slice_to_cstr(vg_db_text(stmt, 2), job->type, sizeof(job->type));
        (void)vg_slice_to_cstr(vg_db_text(stmt, 3), job->name, sizeof(job->name));
        job->offset = sqlite3_column_int64(stmt, 4);
        job->done = sqlite3_column_int64(stmt, 5);
        job->refused = sqlite3_column_int64(stmt, 6);
        (void)vg_slice_to_cstr(vg_db_text(stmt, 7), state, state_size);
    }
    fhir_side_end(side, stmt);
    return st;
}

static enum vg_status import_done(struct fhir_imports *imports, const char *id, struct vg_err *err)
{
    return fhir_side_run(imports->store->side,
                         "UPDATE import SET state='done', ended_us=?2 WHERE id=?1 AND"
                         " state='running'",
                         &(struct fhir_side_args){.texts = {vg_slice_of(id)},
                                                  .text_count = 1,
                                                  .numbers = {vg_now_us()},
                                                  .number_count = 1},
                         err);
}

/* All that waits. VG_RETRY: a failure, to be tried again. */
static enum vg_status run_all(struct fhir_imports *imports, struct vg_err *err)
{
    struct file_job job = {.imports = imports, .number = -1};
    char current[40] = "", state[16];
    enum vg_status st = VG_OK;

    while (st == VG_OK && !is_closing(imports)) {
        st = next_file(imports, &job, state, sizeof(state), err);
        if (current[0] && (st == VG_END || (st == VG_OK && strcmp(current, job.id) != 0))) {
            enum vg_status ended = import_done(imports, current, err);

            current[0] = '\0';
            if (ended != VG_OK)
                return ended;
        }
        if (st != VG_OK)
            break;
        memcpy(current, job.id, sizeof(current));
        st = run_file(&job, err);
    }
    return st == VG_END ? VG_OK : st;
}

static void *run(void *ctx)
{
    struct fhir_imports *imports = ctx;
    struct vg_err err = {0};

    (void)pthread_mutex_lock(&imports->worker.lock);
    while (!imports->worker.is_closing) {
        if (!imports->has_more) {
            (void)pthread_cond_wait(&imports->worker.moved, &imports->worker.lock);
            continue;
        }
        imports->has_more = false;
        (void)pthread_mutex_unlock(&imports->worker.lock);
        enum vg_status st = run_all(imports, &err);

        (void)pthread_mutex_lock(&imports->worker.lock);
        if (st != VG_OK && !imports->worker.is_closing) {
            vg_log_err(VG_LOG_WARN, "fhir", &err);
            imports->has_more = true;
            (void)fhir_worker_wait(&imports->worker, vg_mono_us() + VG_SECOND_US);
        }
    }
    (void)pthread_mutex_unlock(&imports->worker.lock);
    return NULL;
}

enum vg_status fhir_imports_open(struct fhir_store *store, const char *dir,
                                 struct fhir_imports **ret_imports, struct vg_err *err)
{
    struct fhir_imports *imports = calloc(1, sizeof(*imports));
    enum vg_status st = VG_OK;

    if (!imports)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for imports");
    imports->store = store;
    imports->has_more = true;
    fhir_worker_init(&imports->worker);
    imports->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (imports->dir < 0)
        st = vg_fail(err, VG_FATAL, "fhir.import_dir", errno, "the import folder %s", dir);
    else
        st = fhir_worker_start(&imports->worker, run, imports, "the import's", err);
    if (st != VG_OK)
        fhir_imports_close(imports);
    else
        *ret_imports = imports;
    return st;
}

void fhir_imports_close(struct fhir_imports *imports)
{
    if (!imports)
        return;
    fhir_worker_stop(&imports->worker);
    if (imports->dir >= 0)
        (void)close(imports->dir);
    fhir_worker_fini(&imports->worker);
    free(imports);
}

/* ---- REST ---- */

static struct vg_slice part_text(const struct vg_json *parameter, const char *name)
{
    const struct vg_json *part = vg_json_get(parameter, "part");

    for (part = part ? part->child : NULL; part; part = part->next) {
        if (!vg_slice_is(vg_json_get_text(part, "name"), name))
            continue;
        for (const struct vg_json *one = part->child; one; one = one->next)
            if (vg_slice_starts(one->name, VG_SLICE("value")))
                return vg_json_text(one);
    }
    return (struct vg_slice){0};
}

/* Checks one input; false: answered. */
static bool take_input(struct fhir_job *job, const struct vg_json *parameter,
                       struct vg_slice *ret_type, struct vg_slice *ret_name)
{
    struct vg_slice type = part_text(parameter, "type"), name = part_text(parameter, "url");
    unsigned number = fhir_type_find(type);

    if (vg_slice_starts(name, VG_SLICE("file:")))
        name = vg_slice_from(name, sizeof("file:") - 1);
    if (!number || !is_plain_name(name)) {
        fhir_job_outcome(job, 400, "value", VG_SLICE("Parameters.parameter.part"),
                         "an input has a type of R4, and a url that is a file's name in the import "
                         "folder, as file:vitals.ndjson");
        return false;
    }
    if (!fhir_access_allows(&job->access, 'c', number) ||
        !fhir_access_allows(&job->access, 'u', number)) {
        fhir_job_outcome(job, 403, "forbidden", (struct vg_slice){0},
                         "the token's scopes do not allow this");
        return false;
    }
    if (!fhir_policy_allows(number, "update")) {
        fhir_job_outcome(job, 400, "not-supported", (struct vg_slice){0},
                         "resources of this type are not changed by clients");
        return false;
    }
    *ret_type = type;
    *ret_name = name;
    return true;
}

void fhir_run_import(struct fhir_job *job)
{
    struct fhir_imports *imports = job->store->imports;
    struct fhir_side *side = job->store->side;
    struct fhir_issue issue = {0};
    struct vg_json *root = NULL;
    struct vg_err err = {0};
    const struct vg_json *list;
    struct vg_slice id, type = {0}, name = {0};
    int64_t count = 0;
    enum vg_status st;

    if (!imports) {
        fhir_job_outcome(job, 404, "not-supported", (struct vg_slice){0},
                         "no import folder is set (fhir.import_dir)");
        return;
    }
    st = fhir_parse(&job->arena, job->body, &root, &issue, &err);
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    list = vg_json_get(root, "parameter");
    list = list ? list->child : NULL;
    /* All inputs are looked at before anything is begun. */
    for (const struct vg_json *one = list; one; one = one->next) {
        if (!vg_slice_is(vg_json_get_text(one, "name"), "input"))
            continue;
        if (!take_input(job, one, &type, &name))
            return;
        count++;
    }
    if (count == 0 || count > (int64_t)FILES_MAX) {
        fhir_job_outcome(job, 400, "required", VG_SLICE("Parameters.parameter"),
                         "between 1 and 1000 parameters named input are needed");
        return;
    }
    id = fhir_id_draw(&job->arena);
    st = fhir_side_run(side,
                       "INSERT INTO import(id, request, error, state, made_us, ended_us)"
                       " VALUES(?,?,'',?,?,0)",
                       &(struct fhir_side_args){.texts = {id, VG_SLICE(""), VG_SLICE("made")},
                                                .text_count = 3,
                                                .numbers = {vg_now_us()},
                                                .number_count = 1},
                       &err);
    count = 0;
    for (const struct vg_json *one = list; one && st == VG_OK; one = one->next) {
        if (!vg_slice_is(vg_json_get_text(one, "name"), "input") ||
            !take_input(job, one, &type, &name))
            continue;
        st = fhir_side_run(side,
                           "INSERT INTO import_file(id, type, name, number, offset, done, refused)"
                           " VALUES(?,?,?,?,0,0,0)",
                           &(struct fhir_side_args){.texts = {id, type, name},
                                                    .text_count = 3,
                                                    .numbers = {count++},
                                                    .number_count = 1},
                           &err);
    }
    /* Only now it may be worked on: one that was written down in part is nothing. */
    if (st == VG_OK)
        st = fhir_side_run(side, "UPDATE import SET state='running' WHERE id=?",
                           &(struct fhir_side_args){.texts = {id}, .text_count = 1}, &err);
    if (st != VG_OK) {
        fhir_job_failed(job, st, &issue, &err);
        return;
    }
    (void)pthread_mutex_lock(&imports->worker.lock);
    imports->has_more = true;
    (void)pthread_cond_broadcast(&imports->worker.moved);
    (void)pthread_mutex_unlock(&imports->worker.lock);
    (void)snprintf(job->content_location, sizeof(job->content_location), "%.*s/$import/%.*s",
                   VG_FMT(job->store->base_url), VG_FMT(id));
    fhir_job_outcome(job, 202, "informational", (struct vg_slice){0}, "the import has begun");
}

static void write_file(struct vg_json_writer *w, sqlite3_stmt *stmt, int64_t count)
{
    char url[300];
    struct vg_slice name = vg_db_text(stmt, 1);

    (void)snprintf(url, sizeof(url), "file:%.*s", VG_FMT(name));
    vg_json_open_object(w);
    vg_json_member_string(w, "type", vg_db_text(stmt, 0));
    vg_json_member_string(w, "inputUrl", vg_slice_of(url));
    vg_json_member_i64(w, "count", count);
    vg_json_close_object(w);
}

static enum vg_status write_files(struct fhir_job *job, struct vg_json_writer *w, const char *name,
                                  int column, struct vg_err *err)
{
    struct fhir_side *side = job->store->side;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_side_begin(side,
                                        "SELECT type, name, done, refused FROM import_file"
                                        " WHERE id=? ORDER BY number",
                                        &stmt, err);

    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, job->id);
    vg_json_name(w, name);
    vg_json_open_array(w);
    while ((st = vg_db_step(stmt, err)) == VG_OK)
        if (column == 2 || sqlite3_column_int64(stmt, column) > 0)
            write_file(w, stmt, sqlite3_column_int64(stmt, column));
    vg_json_close_array(w);
    fhir_side_end(side, stmt);
    return st == VG_END ? VG_OK : st;
}

static enum vg_status write_errors(struct fhir_job *job, struct vg_json_writer *w,
                                   struct vg_err *err)
{
    struct fhir_side *side = job->store->side;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_side_begin(
        side, "SELECT file, line, text FROM import_error WHERE id=? ORDER BY file, line", &stmt,
        err);

    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, job->id);
    vg_json_name(w, "refused");
    vg_json_open_array(w);
    while ((st = vg_db_step(stmt, err)) == VG_OK) {
        vg_json_open_object(w);
        vg_json_member_string(w, "file", vg_db_text(stmt, 0));
        vg_json_member_i64(w, "offset", sqlite3_column_int64(stmt, 1));
        vg_json_member_string(w, "reason", vg_db_text(stmt, 2));
        vg_json_close_object(w);
    }
    vg_json_close_array(w);
    fhir_side_end(side, stmt);
    return st == VG_END ? VG_OK : st;
}

void fhir_run_import_status(struct fhir_job *job)
{
    struct fhir_side *side = job->store->side;
    struct vg_json_writer w;
    struct vg_err err = {0};
    sqlite3_stmt *stmt = NULL;
    int64_t made_us = 0;
    bool is_running = false;
    enum vg_status st;

    if (!side || !fhir_access_allows(&job->access, 'r', 0)) {
        fhir_job_outcome(job, side ? 403 : 404, side ? "forbidden" : "not-found",
                         (struct vg_slice){0}, "there is no such import for you");
        return;
    }
    if (vg_slice_is(job->method, "DELETE")) {
        st = fhir_side_run(side, "UPDATE import SET state='cancelled' WHERE id=? AND state<>'done'",
                           &(struct fhir_side_args){.texts = {job->id}, .text_count = 1}, &err);
        if (st == VG_OK)
            fhir_job_outcome(job, 202, "informational", (struct vg_slice){0},
                             "the import ends after the batch that it is at");
        else
            fhir_job_failed(job, st, &(struct fhir_issue){0}, &err);
        return;
    }
    st = fhir_side_begin(side, "SELECT state, made_us FROM import WHERE id=?", &stmt, &err);
    if (st == VG_OK) {
        vg_db_bind_text(stmt, 1, job->id);
        st = vg_db_step(stmt, &err);
        is_running = st == VG_OK && vg_slice_is(vg_db_text(stmt, 0), "running");
        made_us = sqlite3_column_int64(stmt, 1);
        fhir_side_end(side, stmt);
    }
    if (st == VG_END) {
        fhir_job_outcome(job, 404, "not-found", (struct vg_slice){0}, "there is no such import");
        return;
    }
    vg_json_writer_init(&w, &job->out);
    vg_json_open_object(&w);
    vg_json_member_time(&w, "transactionTime", made_us);
    vg_json_member_bool(&w, "requiresAccessToken", job->store->needs_token);
    if (st == VG_OK)
        st = write_files(job, &w, "output", 2, &err);
    if (st == VG_OK)
        st = write_files(job, &w, "error", 3, &err);
    if (st == VG_OK)
        st = write_errors(job, &w, &err);
    vg_json_close_object(&w);
    job->content_type_out = "application/json";
    job->http_status = is_running ? 202 : 200;
    if (st != VG_OK) {
        job->content_type_out = NULL;
        fhir_job_failed(job, st, &(struct fhir_issue){0}, &err);
    }
}
