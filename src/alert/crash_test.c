/* crash_test.c -- a crash at any commit of journal, FHIR store or repository gives the same alerts.
 *
 * An hour of some patients' scored records: episodes that open, grow and close, late windows,
 * values that expire, silence that the timer flags and a vital sign ends, what FHIR refuses and
 * what nobody can read. The real stores under disks that die at the n-th sync of all three
 * together: when it is durable and not answered, or right after it was. Then everything is opened
 * anew and goes on.
 *
 * The same afterwards: every RiskAssessment and Flag, with its number of versions; the repository's
 * flags, board and states of rules; dead letters; of care.changed one record for each scored one.
 * Let off: the second letter of a record both of whose resources FHIR refused; meta.lastUpdated and
 * the repository's change numbers; what a batch that comes again tells on care.changed (the row's
 * present number, no flag word); and when silence is flagged, for its timer looks at its own time:
 * but it is flagged once, and nothing is left open in FHIR.
 */
#include "alert/alert.h"

#include "base/crypto.h"
#include "base/json.h"

#include "vg_difference.h"
#include "vg_test.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORDS 36
#define BATCH 6
#define END_LOOKS 3
#define STEP_US (2 * VG_MINUTE_US)
#define T0 (20530 * VG_DAY_US)
#define STALE_US (20 * VG_MINUTE_US)

/* ---- disks that die together ---- */

enum death { UNANSWERED, ANSWERED, DEATHS };

static const char *const death_names[] = {"durable, not answered", "right after it was answered"};

static int is_dead, is_armed, sync_count, dies_at, dies_how; /* atomic */

static bool dead(void)
{
    return __atomic_load_n(&is_dead, __ATOMIC_ACQUIRE) != 0;
}

/* After a sync that was done; false: whoever asked is not told so. */
static bool survives_sync(void)
{
    if (!__atomic_load_n(&is_armed, __ATOMIC_ACQUIRE) ||
        __atomic_add_fetch(&sync_count, 1, __ATOMIC_ACQ_REL) !=
            __atomic_load_n(&dies_at, __ATOMIC_ACQUIRE))
        return true;
    __atomic_store_n(&is_dead, 1, __ATOMIC_RELEASE);
    return __atomic_load_n(&dies_how, __ATOMIC_ACQUIRE) == ANSWERED;
}

/* SQLite's own file system with three calls and a half that fail. */
struct mortal_methods {
    sqlite3_io_methods methods; /* first: a file's pMethods points here */
    const sqlite3_io_methods *real;
};

static struct mortal_methods mortal[8];
static size_t mortal_count;
static pthread_mutex_t mortal_lock = PTHREAD_MUTEX_INITIALIZER;
static sqlite3_vfs mortal_vfs;
static sqlite3_vfs *real_vfs;

static const sqlite3_io_methods *real_of(sqlite3_file *file)
{
    return ((const struct mortal_methods *)(const void *)file->pMethods)->real;
}

static int file_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    return dead() ? SQLITE_IOERR_WRITE : real_of(file)->xWrite(file, bytes, len, at);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 len)
{
    return dead() ? SQLITE_IOERR_TRUNCATE : real_of(file)->xTruncate(file, len);
}

static int file_sync(sqlite3_file *file, int flags)
{
    int rc = dead() ? SQLITE_IOERR_FSYNC : real_of(file)->xSync(file, flags);

    return rc == SQLITE_OK && !survives_sync() ? SQLITE_IOERR_FSYNC : rc;
}

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
                    int *ret_flags)
{
    int rc = real_vfs->xOpen(real_vfs, name, file, flags, ret_flags);

    (void)vfs;
    if (rc != SQLITE_OK || !file->pMethods)
        return rc;
    pthread_mutex_lock(&mortal_lock);
    size_t i = 0;

    while (i < mortal_count && mortal[i].real != file->pMethods)
        i++;
    if (i == mortal_count && i < sizeof(mortal) / sizeof(mortal[0])) {
        mortal[i].methods = *file->pMethods;
        mortal[i].methods.xWrite = file_write;
        mortal[i].methods.xTruncate = file_truncate;
        mortal[i].methods.xSync = file_sync;
        mortal[i].real = file->pMethods;
        mortal_count++;
    }
    file->pMethods = &mortal[i].methods;
    pthread_mutex_unlock(&mortal_lock);
    return rc;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    (void)vfs;
    return dead() ? SQLITE_IOERR_DELETE : real_vfs->xDelete(real_vfs, name, sync_dir);
}

static void make_disks_mortal(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    mortal_vfs = *real_vfs;
    mortal_vfs.zName = "mortal";
    mortal_vfs.pNext = NULL;
    mortal_vfs.xOpen = vfs_open;
    mortal_vfs.xDelete = vfs_delete;
    CHECK(sqlite3_vfs_register(&mortal_vfs, 1) == SQLITE_OK);
}

static ssize_t io_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    (void)ctx;
    if (dead()) {
        errno = EIO;
        return -1;
    }
    return vg_io_system.pwrite(vg_io_system.ctx, fd, buf, len, offset);
}

static int io_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    if (!dead() && vg_io_system.fdatasync(vg_io_system.ctx, fd) == 0 && survives_sync())
        return 0;
    errno = EIO;
    return -1;
}

/* ---- the hour ---- */

static char dir[64];
static struct stream *stream;
static struct fhir_store *fhir;
static struct care *care;
static struct alert *alert;
static struct vg_arena arena;
static uint64_t first_seq;
static int64_t test_now_us;

static int64_t clock_now(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&test_now_us, __ATOMIC_RELAXED);
}

static const struct vg_clock test_clock = {clock_now, NULL};

static int64_t time_of(size_t record)
{
    return T0 + (int64_t)record * STEP_US;
}

static void must(enum vg_status st, const struct vg_err *err)
{
    if (CHECK(st == VG_OK))
        return;
    printf("%s: %s\n", err->code ? err->code : "", err->text);
    exit(1);
}

/* p1 has episodes, p2 the model's, p3 is silent for a while, p_4 is no id for FHIR. */
static void put_record(struct stream_out *out, size_t i)
{
    static const int levels[] = {2, 6, 6, 8, 3, 2, 1, 6, 7, 1, 1, 1};
    const char *patient = i % 12 == 11 ? "p_4"
                          : i % 3 == 2 && i > 4 && i < 28
                              ? "p1"
                              : (const char *[]){"p1", "p2", "p3"}[i % 3];
    int low = levels[i / 2 % 12];
    int64_t window_us = time_of(i) - (i % 10 == 7 ? 15 * VG_MINUTE_US : VG_SECOND_US);
    char record[1400], window[VG_TIME_TEXT_SIZE], scored[VG_TIME_TEXT_SIZE];
    struct vg_buf headers;

    (void)vg_time_format(window_us, 3, window);
    (void)vg_time_format(time_of(i), 3, scored);
    (void)snprintf(
        record, sizeof(record),
        "{\"patientId\":\"%s\",\"patient\":{\"name\":\"Ada Example\"},\"location\":\"Bed 1\","
        "\"windowEnd\":\"%s\",\"heardTime\":\"%s\",\"scoredTime\":\"%s\",\"trigger\":\"reading\","
        "\"news2\":{\"low\":%d,\"high\":%d,\"complete\":false,\"band\":\"low\",\"parts\":[{"
        "\"part\":\"respiration\",\"score\":3,\"value\":26,\"unit\":\"/min\",\"state\":\"%s\"}]},"
        "\"models\":[{\"name\":\"sepsis-vitals\",\"version\":\"1\",\"mode\":\"flag\","
        "\"thresholds\":{\"medium\":0.1,\"high\":0.2},\"probability\":0.%02d,\"horizonHours\":6,"
        "\"band\":\"low\",\"contributions\":[]}],\"vitals\":[{\"code\":\"9279-1\",\"name\":"
        "\"respiration\",\"value\":26,\"unit\":\"/min\",\"time\":\"%s\",\"observationId\":"
        "\"o%zu\",\"state\":\"ok\"}]}",
        patient, window, window, scored, low, low + 2, i % 9 == 4 ? "expired" : "ok",
        (int)(i * 7 % 30), window, i);
    vg_buf_init(&headers, 256);
    stream_header_put(&headers, "trace", VG_SLICE("0-7"));
    stream_out_add(out, STREAM_SCORED, time_of(i), vg_slice_of(patient), vg_buf_slice(&headers),
                   i == 20 ? VG_SLICE("{\"patientId\":\"p1\"}") : vg_slice_of(record));
    vg_buf_fini(&headers);
}

static void put_patients(void)
{
    static const char *const ids[] = {"p1", "p2", "p3"};
    struct fhir_written written;
    struct vg_err err = {0};
    char body[64];

    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(body, sizeof(body), "{\"resourceType\":\"Patient\",\"id\":\"%s\"}", ids[i]);
        must(fhir_commit(fhir,
                         &(struct fhir_write){.what = FHIR_UPDATE,
                                              .type = VG_SLICE("Patient"),
                                              .id = vg_slice_of(ids[i]),
                                              .body = vg_slice_of(body)},
                         1, &arena, &written, NULL, &err),
             &err);
    }
}

/* ---- the stage, watched ---- */

static struct stage_ops watched_ops;
static int is_at_end;               /* atomic */
static size_t ticked_at, end_looks; /* the stage's thread */

static size_t done_count(void)
{
    uint64_t seq = stream_committed(stream, "alert", STREAM_SCORED, 0);

    return seq > first_seq ? (size_t)(seq - first_seq) : 0;
}

/* The timer looks once between two batches, and thrice when all is silent: after a start it waits
 * for the devices' backlog first. */
static enum vg_status look(void *self, struct stream_out *out, struct vg_err *err)
{
    size_t done = done_count();
    enum vg_status st;

    if (ticked_at == done + end_looks)
        return VG_OK;
    st = alert_stage(alert)->tick(
        self, done == RECORDS ? time_of(RECORDS + 15 * (end_looks + 1)) : time_of(done), out, err);
    if (st == VG_OK && done == RECORDS && end_looks < END_LOOKS)
        end_looks++;
    else if (st == VG_OK)
        ticked_at = done + end_looks;
    return st;
}

static enum vg_status watched_process(void *self, const struct stream_batch *batch,
                                      struct stream_out *out, struct vg_err *err)
{
    enum vg_status st = look(self, out, err);

    return st == VG_OK ? alert_stage(alert)->process(self, batch, out, err) : st;
}

static enum vg_status watched_tick(void *self, int64_t now_us, struct stream_out *out,
                                   struct vg_err *err)
{
    enum vg_status st = look(self, out, err);

    (void)now_us;
    if (st == VG_OK && ticked_at == RECORDS + END_LOOKS && out->record_count == 0)
        __atomic_store_n(&is_at_end, 1, __ATOMIC_RELEASE);
    return st;
}

static struct stage *open_all(void)
{
    static struct vg_io io;
    char fhir_path[96], care_path[96], stream_path[96];
    struct alert_config config = {.stale_us = STALE_US};
    struct stage *running = NULL;
    struct vg_err err = {0};

    __atomic_store_n(&is_dead, 0, __ATOMIC_RELEASE);
    io = vg_io_system;
    io.pwrite = io_pwrite;
    io.fdatasync = io_fdatasync;
    (void)snprintf(fhir_path, sizeof(fhir_path), "%s/fhir.db", dir);
    (void)snprintf(care_path, sizeof(care_path), "%s/care.db", dir);
    (void)snprintf(stream_path, sizeof(stream_path), "%s/stream", dir);
    must(fhir_open(&(struct fhir_config){.path = fhir_path, .base_url = "https://localhost/fhir"},
                   &fhir, &err),
         &err);
    must(care_open(&(struct care_config){.path = care_path}, &care, &err), &err);
    must(stream_open(
             &(struct stream_config){.dir = stream_path, .segment_bytes = 1u << 20, .io = &io},
             &stream, &err),
         &err);
    if (first_seq == UINT64_MAX) {
        struct stream_out hour;

        put_patients();
        stream_out_init(&hour);
        for (size_t i = 0; i < RECORDS; i++)
            put_record(&hour, i);
        must(stream_commit(stream, 0, &hour, &first_seq, &err), &err);
        stream_out_fini(&hour);
    }
    config.care = care;
    config.fhir = fhir;
    must(alert_open(&config, &alert, &err), &err);
    watched_ops = *alert_stage(alert);
    watched_ops.process = watched_process;
    watched_ops.tick = watched_tick;
    watched_ops.tick_us = 1;
    watched_ops.batch_count_max = BATCH;
    ticked_at = SIZE_MAX;
    end_looks = 0;
    __atomic_store_n(&is_at_end, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&is_armed, 1, __ATOMIC_RELEASE);
    must(stage_start(
             &(struct stage_config){
                 .ops = &watched_ops, .self = alert, .stream = stream, .clock = &test_clock},
             &running, &err),
         &err);
    return running;
}

static void close_all(struct stage *running)
{
    stage_stop(running);
    alert_close(alert);
    stream_close(stream);
    care_close(care);
    fhir_close(fhir);
}

static bool wait_for(const int *what)
{
    int64_t deadline_us = vg_mono_us() + 20 * VG_SECOND_US;

    while (!__atomic_load_n(what, __ATOMIC_ACQUIRE) && vg_mono_us() < deadline_us)
        (void)usleep(500); /* a poll against the deadline above */
    return __atomic_load_n(what, __ATOMIC_ACQUIRE) != 0;
}

/* ---- what came of it ---- */

static bool is_stale_flag(const struct vg_json *root)
{
    const struct vg_json *coding = vg_json_get(vg_json_get(root, "code"), "coding");

    return coding && vg_slice_starts(vg_json_get_text(coding->child, "code"), VG_SLICE("stale-"));
}

static void put_resources(const char *type, struct vg_buf *out, unsigned stale[2])
{
    struct vg_slice query = VG_SLICE("_count=200&_sort=_id");
    struct vg_err err = {0};

    while (query.ptr) {
        struct fhir_results results;

        must(fhir_search(fhir, vg_slice_of(type), query, &arena, &results, &err), &err);
        for (size_t i = 0; i < results.count; i++) {
            struct vg_json *root = NULL;

            CHECK(vg_json_parse(&arena, results.resources[i].body, NULL, &root, NULL, NULL) ==
                  VG_OK);
            if (is_stale_flag(root)) {
                stale[vg_slice_is(vg_json_get_text(root, "status"), "active")]++;
                continue;
            }
            vg_buf_printf(out, "%s %llu", type, (unsigned long long)results.resources[i].version);
            for (const struct vg_json *m = root->child; m; m = m->next) {
                if (!vg_slice_is(m->name, "meta"))
                    vg_buf_printf(out, " %.*s=%.*s", VG_FMT(m->name), VG_FMT(m->source));
            }
            vg_buf_put_byte(out, '\n');
        }
        query = results.next_query;
    }
}

/* Rows of a query of the repository, as text. */
static void put_rows(sqlite3 *db, const char *sql, struct vg_buf *out)
{
    sqlite3_stmt *statement = NULL;

    CHECK(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(statement); c++)
            vg_buf_printf(out, "%s|",
                          (const char *)sqlite3_column_text(statement, c)
                              ? (const char *)sqlite3_column_text(statement, c)
                              : "-");
        vg_buf_put_byte(out, '\n');
    }
    (void)sqlite3_finalize(statement);
}

/* Of which record, once: a refused Flag's letter beside its RiskAssessment's is not told again. */
static void put_letter(struct vg_slice letter, struct vg_buf *out)
{
    struct vg_json *root = NULL;
    char line[64];
    int len;

    CHECK(vg_json_parse(&arena, letter, NULL, &root, NULL, NULL) == VG_OK);
    len =
        snprintf(line, sizeof(line), "letter %.*s %.*s\n", VG_FMT(vg_json_get_text(root, "reason")),
                 VG_FMT(vg_json_get(root, "seq")->source));
    if (!memmem(out->ptr, out->len, line, (size_t)len))
        vg_buf_put(out, (struct vg_slice){line, (size_t)len});
}

static void put_topic(enum stream_topic topic, bool has_values, struct vg_buf *out)
{
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    unsigned counts[5] = {0};

    CHECK(stream_consumer_open(stream, 0, topic, "reader!", &consumer, NULL) == VG_OK);
    stream_seek(consumer, 0);
    while (stream_read(consumer, 1000, 0, &batch, NULL) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++) {
            struct vg_slice key = batch.records[i].key;

            if (has_values)
                put_letter(batch.records[i].value, out);
            else if (batch.records[i].time_us < time_of(RECORDS)) /* not the timer's */
                counts[key.ptr[key.len - 1] - '0']++;
        }
    }
    for (int p = 1; p < 5 && !has_values; p++)
        vg_buf_printf(out, "changed p%d %u\n", p, counts[p]);
    stream_consumer_close(consumer);
}

/* Everything that must be the same; stale[is active]: the timer's Flags. */
static void put_all(struct vg_buf *out, unsigned stale[2])
{
    char path[96];
    sqlite3 *db = NULL;

    vg_buf_clear(out);
    stale[0] = stale[1] = 0;
    put_resources("RiskAssessment", out, stale);
    put_resources("Flag", out, stale);
    put_topic(STREAM_DEADLETTER, true, out);
    put_topic(STREAM_CARE_CHANGED, false, out);
    (void)snprintf(path, sizeof(path), "%s/care.db", dir);
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    put_rows(db,
             "SELECT flag_id, patient_id, rule, severity, title, opened_us, updated_us, closed_us, "
             "trace FROM flag WHERE rule <> 'stale' ORDER BY flag_id",
             out);
    put_rows(db,
             "SELECT patient_id, count(*), sum(closed_us IS NULL) FROM flag WHERE rule = "
             "'stale' GROUP BY patient_id ORDER BY 1",
             out);
    put_rows(db,
             "SELECT patient_id, rule, phase, since_us, last_us, evaluations, level, flag_id FROM "
             "alert_state WHERE rule <> 'stale' ORDER BY 1, 2",
             out);
    put_rows(db,
             "SELECT patient_id, window_end_us, scored_us, heard_us, news2_low, risk, "
             "risk_assessment_id, record FROM patient ORDER BY 1",
             out);
    put_rows(db, "SELECT * FROM score ORDER BY 1, 2, 3", out);
    put_rows(db,
             "SELECT flag_id, state FROM item WHERE flag_id IN (SELECT flag_id FROM flag WHERE "
             "rule <> 'stale') ORDER BY 1",
             out);
    CHECK(sqlite3_close(db) == SQLITE_OK);
}

static int run_hour(int at, enum death how, struct vg_buf *out, unsigned stale[2])
{
    struct stage *running;
    char command[96];
    int count;

    (void)snprintf(dir, sizeof(dir), "/dev/shm/vigil-alert-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    vg_arena_reset(&arena);
    first_seq = UINT64_MAX;
    __atomic_store_n(&is_armed, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&sync_count, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&dies_at, at, __ATOMIC_RELEASE);
    __atomic_store_n(&dies_how, (int)how, __ATOMIC_RELEASE);
    running = open_all();
    if (at > 0) {
        CHECK(wait_for(&is_dead));
        close_all(running);
        __atomic_store_n(&is_armed, 0, __ATOMIC_RELEASE);
        running = open_all();
    }
    CHECK(wait_for(&is_at_end));
    __atomic_store_n(&is_armed, 0, __ATOMIC_RELEASE);
    count = __atomic_load_n(&sync_count, __ATOMIC_ACQUIRE);
    put_all(out, stale);
    close_all(running);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    CHECK(system(command) == 0);
    return count;
}

static void test_a_crash_at_any_commit_changes_nothing(void)
{
    struct vg_buf want, got;
    unsigned stale[2], stale_then[2];
    int count;

    vg_buf_init(&want, 0);
    vg_buf_init(&got, 0);
    count = run_hour(0, ANSWERED, &want, stale);
    printf("%d syncs, %u Flags of silence ended, %u open\n", count, stale[0], stale[1]);
    CHECK(stale[0] > 0 && stale[1] > 0);
    CHECK(memmem(want.ptr, want.len, "\"inactive\"", 10) &&
          memmem(want.ptr, want.len, "letter", 6));
    for (int at = 1; at <= count; at++) {
        for (int how = UNANSWERED; how < DEATHS; how++) {
            char row[80];

            (void)snprintf(row, sizeof(row), "sync %d of %d, %s", at, count, death_names[how]);
            CHECK_ROW(row);
            (void)run_hour(at, (enum death)how, &got, stale_then);
            CHECK(stale_then[1] == stale[1]);
            if (!CHECK(vg_slice_eq(vg_buf_slice(&want), vg_buf_slice(&got)))) {
                vg_test_show_difference(&want, &got);
                at = count;
                break;
            }
        }
    }
    vg_buf_fini(&want);
    vg_buf_fini(&got);
}

int main(void)
{
    vg_arena_init(&arena, 64u << 20);
    if (!CHECK(vg_crypto_init(NULL) == VG_OK))
        return vg_test_report();
    make_disks_mortal();
    __atomic_store_n(&test_now_us, T0, __ATOMIC_RELAXED);
    RUN(test_a_crash_at_any_commit_changes_nothing);
    vg_arena_fini(&arena);
    return vg_test_report();
}
