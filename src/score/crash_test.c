/* crash_test.c -- a crash at any commit gives the same records as none, whatever the batches.
 *
 * Some patients' day: late, early, duplicate, corrected, impossible and unreadable readings, and a
 * timer that looks between any two batches. The real journal under a disk that dies at a chosen
 * commit, the real loop, windows rebuilt in a new struct score; then the day goes on. Everything on
 * iomt.scored and iomt.deadletter must be the same, byte for byte: keys, times, headers, values.
 * Nothing is let off: the clock is the readings', so scoredTime is the same too.
 */
#include "score/score_test_int.h"

#include "vg_difference.h"

#include <errno.h>
#include <pthread.h>

#define RECORDS 98
#define MODEL_EVERY 8 /* a run with a model costs the reading of it */
#define STEP_US (4 * VG_MINUTE_US)

/* ---- a disk that dies ---- */

enum death { ALIVE, BEFORE_WRITE, TORN, AFTER_SYNC, DEAD, DEATHS = DEAD };

static const char *const death_names[] = {"stopped in order", "before it is written",
                                          "half of it is written",
                                          "when it is durable and not answered"};

static int death; /* enum death, atomic */

static int dying(void)
{
    return __atomic_load_n(&death, __ATOMIC_ACQUIRE);
}

static int die(void)
{
    __atomic_store_n(&death, DEAD, __ATOMIC_RELEASE);
    errno = EIO;
    return -1;
}

static ssize_t io_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    (void)ctx;
    return vg_io_system.pread(vg_io_system.ctx, fd, buf, len, offset);
}

static ssize_t io_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    int how = dying();

    (void)ctx;
    if (how == DEAD || how == BEFORE_WRITE)
        return die();
    if (how == TORN) {
        if (vg_io_system.pwrite(vg_io_system.ctx, fd, buf, len / 2, offset) < 0)
            return -1;
        return die();
    }
    return vg_io_system.pwrite(vg_io_system.ctx, fd, buf, len, offset);
}

static int io_fdatasync(void *ctx, int fd)
{
    int how = dying();

    (void)ctx;
    if (how == DEAD)
        return die();
    if (vg_io_system.fdatasync(vg_io_system.ctx, fd) != 0)
        return -1;
    return how == AFTER_SYNC ? die() : 0;
}

static int io_open(void *ctx, const char *path, int flags, mode_t mode)
{
    (void)ctx;
    return vg_io_system.open(vg_io_system.ctx, path, flags, mode);
}

static int io_allocate(void *ctx, int fd, off_t len)
{
    (void)ctx;
    return dying() == DEAD ? die() : vg_io_system.allocate(vg_io_system.ctx, fd, len);
}

static int io_truncate(void *ctx, int fd, off_t len)
{
    (void)ctx;
    return dying() == DEAD ? die() : vg_io_system.truncate(vg_io_system.ctx, fd, len);
}

static int io_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return dying() == DEAD ? die() : vg_io_system.rename(vg_io_system.ctx, from, to);
}

static int io_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return dying() == DEAD ? die() : vg_io_system.unlink(vg_io_system.ctx, path);
}

static int io_close(void *ctx, int fd)
{
    (void)ctx;
    return vg_io_system.close(vg_io_system.ctx, fd);
}

static int io_sync_dir(void *ctx, const char *path)
{
    (void)ctx;
    return dying() == DEAD ? die() : vg_io_system.sync_dir(vg_io_system.ctx, path);
}

static const struct vg_io mortal_io = {io_open,     io_pread,    io_pwrite, io_fdatasync,
                                       io_allocate, io_truncate, io_rename, io_unlink,
                                       io_close,    io_sync_dir, NULL};

/* ---- the day ---- */

static struct made made[RECORDS];
static int64_t received_us[RECORDS];

static uint64_t random_state = 4242;

static unsigned random_below(unsigned count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % count;
}

static void make_day(void)
{
    static const char *const names[] = {"hr", "rr", "spo2", "sys", "temp", "o2", "glucose"};
    static const double usual[] = {80, 16, 96, 120, 37, 1, 110};

    next_seq = 0;
    for (int i = 0; i < RECORDS; i++) {
        unsigned what = random_below(7), kind = random_below(20);
        /* p4 is heard of in the first hour alone, p5 comes late in the day. */
        const char *patient = i == 60                 ? "p5"
                              : i < 30 && i % 10 == 5 ? "p4"
                                                      : (const char *[]){"p1", "p2", "p3"}[i % 3];
        int64_t now_us = T0 + i * STEP_US,
                at_us = now_us - (int64_t)random_below(90) * VG_SECOND_US;
        double value = usual[what] * (0.85 + 0.01 * random_below(40));

        if (kind == 0)
            at_us -= 25 * VG_MINUTE_US; /* late */
        if (i >= 70 && i < 84)
            at_us -= 100 * VG_MINUTE_US; /* whole batches of it */
        if (kind == 1)
            at_us -= 3 * VG_HOUR_US; /* very late: beyond the minutes */
        if (kind == 2)
            at_us += 5 * VG_MINUTE_US; /* a clock that is ahead a little */
        if (kind == 3)
            at_us += VG_HOUR_US; /* too far */
        if (kind == 4)
            value = 900; /* no vital sign */
        make(&made[i], patient, 76, 1, names[what], value, at_us, now_us);
        if (kind == 5 && i > 10) { /* the same again */
            memcpy(made[i].value, made[i - 6].value, sizeof(made[i].value));
            made[i].record.value.len = made[i - 6].record.value.len;
            made[i].record.key = made[i - 6].record.key;
        }
        if (i == 50)
            made[i].record.value = VG_SLICE("{\"patientId\":");
        made[i].record.time_us = received_us[i] = now_us;
    }
}

static void free_day(void)
{
    for (int i = 0; i < RECORDS; i++)
        vg_buf_fini(&made[i].headers);
}

/* ---- the stage, watched ---- */

static struct stage_ops watched_ops;
static uint64_t first_seq; /* of the day's first record */
static unsigned commits, dies_at;
static enum death dies_how;
static bool has_timer;
static bool has_model;
static size_t batch_max;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the next two */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_at_end, is_stopped_at;
static size_t ticked_at; /* records processed when the timer looked last */

static size_t done_count(void)
{
    uint64_t seq = stream_committed(stream, "score", STREAM_ENRICHED, 0);

    return seq > first_seq ? (size_t)(seq - first_seq) : 0;
}

/* What the clock says when so many records were processed. */
static int64_t time_after(size_t count)
{
    return count == 0 ? T0 : received_us[count - 1] + VG_SECOND_US;
}

static void tell(bool *what)
{
    pthread_mutex_lock(&lock);
    *what = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void count_commit(void)
{
    if (++commits != dies_at)
        return;
    if (dies_how == ALIVE)
        tell(&is_stopped_at);
    else
        __atomic_store_n(&death, (int)dies_how, __ATOMIC_RELEASE);
}

/* The timer looks once between two batches. */
static enum vg_status look(void *self, struct stream_out *out, struct vg_err *err)
{
    size_t done = done_count();

    if (!has_timer || ticked_at == done)
        return VG_OK;
    ticked_at = done;
    set_now(time_after(done));
    return score_stage_ops(score)->tick(self, time_after(done), out, err);
}

static enum vg_status watched_process(void *self, const struct stream_batch *batch,
                                      struct stream_out *out, struct vg_err *err)
{
    /* The loop's first round may come before its first tick. */
    enum vg_status st = look(self, out, err);

    set_now(received_us[batch->records[batch->count - 1].seq - first_seq]);
    if (st == VG_OK)
        st = score_stage_ops(score)->process(self, batch, out, err);
    if (st == VG_OK)
        count_commit();
    return st;
}

static enum vg_status watched_tick(void *self, int64_t now_us, struct stream_out *out,
                                   struct vg_err *err)
{
    enum vg_status st = look(self, out, err);

    (void)now_us;
    if (st == VG_OK && out->record_count > 0)
        count_commit();
    else if (st == VG_OK && done_count() == RECORDS)
        tell(&is_at_end);
    return st;
}

static bool wait_for(const bool *what)
{
    int64_t end_us = vg_now_us() + 20 * VG_SECOND_US;
    struct timespec until = {end_us / VG_SECOND_US, end_us % VG_SECOND_US * 1000};
    int rc = 0;

    pthread_mutex_lock(&lock);
    while (!*what && rc == 0)
        rc = pthread_cond_timedwait(&changed, &lock, &until);
    pthread_mutex_unlock(&lock);
    return rc == 0;
}

static bool wait_for_death(void)
{
    int64_t deadline_us = vg_mono_us() + 20 * VG_SECOND_US;

    while (dying() != DEAD && vg_mono_us() < deadline_us)
        (void)usleep(200); /* a poll against the deadline above */
    return dying() == DEAD;
}

static void open_journal(void)
{
    struct stream_config config = {.dir = dir, .segment_bytes = 4 << 20, .io = &mortal_io};
    struct vg_err err = {0};

    __atomic_store_n(&death, ALIVE, __ATOMIC_RELEASE);
    if (!CHECK(stream_open(&config, &stream, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        exit(1);
    }
}

static struct stage *start(void)
{
    struct stage *running = NULL;
    struct stage_config config = {.ops = &watched_ops, .stream = stream, .clock = &test_clock};
    struct vg_err err = {0};

    set_now(time_after(done_count()));
    open_score(has_model ? MODEL_DIR : NULL);
    watched_ops = *score_stage_ops(score);
    watched_ops.process = watched_process;
    watched_ops.tick = watched_tick;
    watched_ops.tick_us = 1;
    watched_ops.batch_count_max = batch_max;
    config.self = stage;
    is_at_end = is_stopped_at = false;
    ticked_at = SIZE_MAX;
    CHECK(stage_start(&config, &running, &err) == VG_OK);
    return running;
}

/* Everything on a topic as one text. */
static void put_topic(enum stream_topic topic, struct vg_buf *out)
{
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;

    CHECK(stream_consumer_open(stream, 0, topic, "reader!", &consumer, NULL) == VG_OK);
    stream_seek(consumer, 0);
    while (stream_read(consumer, 1000, 0, &batch, NULL) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++) {
            const struct stream_record *record = &batch.records[i];
            struct vg_slice name, value;
            size_t cursor = 0;

            vg_buf_printf(out, "%.*s|%lld|", VG_FMT(record->key), (long long)record->time_us);
            while (stream_header_next(record->headers, &cursor, &name, &value))
                vg_buf_printf(out, "%.*s=%.*s|", VG_FMT(name), VG_FMT(value));
            vg_buf_printf(out, "%.*s\n", VG_FMT(record->value));
        }
    }
    stream_consumer_close(consumer);
}

/* Runs the day with one crash at commit `at` (0: none); *out gets all that came out. */
static unsigned run_day(unsigned at, enum death how, struct vg_buf *out)
{
    struct stage *running;
    struct stream_out day;
    char command[96];

    (void)snprintf(dir, sizeof(dir), "/dev/shm/vigil-crash-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    open_journal();
    stream_out_init(&day);
    for (int i = 0; i < RECORDS; i++)
        stream_out_add(&day, STREAM_ENRICHED, made[i].record.time_us, made[i].record.key,
                       vg_buf_slice(&made[i].headers), made[i].record.value);
    CHECK(stream_commit(stream, 0, &day, &first_seq, NULL) == VG_OK);
    stream_out_fini(&day);
    commits = 0;
    dies_at = at;
    dies_how = how;
    running = start();
    if (at > 0) {
        CHECK(how == ALIVE ? wait_for(&is_stopped_at) : wait_for_death());
        stage_stop(running);
        close_score();
        stream_close(stream);
        open_journal();
        running = start();
    }
    CHECK(wait_for(&is_at_end));
    stage_stop(running);
    close_score();
    vg_buf_clear(out);
    put_topic(STREAM_SCORED, out);
    put_topic(STREAM_DEADLETTER, out);
    stream_close(stream);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    CHECK(system(command) == 0);
    return commits;
}

static bool has(const struct vg_buf *text, const char *what)
{
    return memmem(text->ptr, text->len, what, strlen(what)) != NULL;
}

static void test_a_crash_at_any_commit_changes_nothing(void)
{
    struct vg_buf want[2], got;
    unsigned count = 0;

    vg_buf_init(&got, 0);
    has_timer = true;
    batch_max = 7;
    for (int m = 0; m < 2; m++) {
        vg_buf_init(&want[m], 0);
        has_model = m == 1;
        count = run_day(0, ALIVE, &want[m]);
    }
    CHECK(count > RECORDS / 7);
    CHECK(has(&want[1], "\"trigger\":\"timer\""));
    CHECK(has(&want[1], "\"trigger\":\"late\""));
    CHECK(has(&want[1], "\"probability\""));
    CHECK(has(&want[1], "\"stage\":\"score\""));
    for (unsigned at = 1; at <= count; at++) {
        has_model = at % MODEL_EVERY == 1;
        for (int how = ALIVE; how < DEATHS; how++) {
            char row[80];

            (void)snprintf(row, sizeof(row), "commit %u of %u, %s", at, count, death_names[how]);
            CHECK_ROW(row);
            (void)run_day(at, (enum death)how, &got);
            if (!CHECK(vg_slice_eq(vg_buf_slice(&want[has_model]), vg_buf_slice(&got)))) {
                vg_test_show_difference(&want[has_model], &got);
                at = count;
                break;
            }
        }
    }
    vg_buf_fini(&want[0]);
    vg_buf_fini(&want[1]);
    vg_buf_fini(&got);
}

/* ---- batches ---- */

static bool is_letter(struct vg_slice line)
{
    return memmem(line.ptr, line.len, "\"stage\":", 8) != NULL;
}

/* A line without when it was made, from what, and why. */
static void put_said(struct vg_slice line, struct vg_slice *ret_last_trace, struct vg_buf *out)
{
    static const char *const left_out[] = {"scoredTime", "trigger"};
    struct vg_json *root = NULL;
    struct vg_slice headers = line, trace;

    (void)vg_slice_cut(&headers, '|');
    (void)vg_slice_cut(&headers, '|');
    trace = vg_slice_cut(&headers, '|');
    for (*ret_last_trace = trace; trace.len > 0;)
        *ret_last_trace = vg_slice_cut(&trace, ' ');
    if (vg_slice_starts(*ret_last_trace, VG_SLICE("trace=")))
        *ret_last_trace = vg_slice_from(*ret_last_trace, 6);
    vg_arena_reset(&arena);
    vg_buf_clear(out);
    if (!CHECK(vg_json_parse(&arena, headers, NULL, &root, NULL, NULL) == VG_OK))
        return;
    for (const struct vg_json *m = root->child; m; m = m->next) {
        if (!vg_slice_is(m->name, left_out[0]) && !vg_slice_is(m->name, left_out[1]))
            vg_buf_printf(out, "%.*s:%.*s,", VG_FMT(m->name), VG_FMT(m->source));
    }
}

/* What a batch says of a patient is what its last record alone would have said. */
static void test_batches_do_not_matter(void)
{
    static const size_t sizes[] = {7, 100};
    struct vg_buf single, many, said, also;

    vg_buf_init(&single, 0);
    vg_buf_init(&many, 0);
    vg_buf_init(&said, 0);
    vg_buf_init(&also, 0);
    has_timer = false;
    has_model = true;
    batch_max = 1;
    (void)run_day(0, ALIVE, &single);
    for (size_t s = 0; s < 2; s++) {
        struct vg_slice lines;
        size_t found = 0, count = 0;

        batch_max = sizes[s];
        (void)run_day(0, ALIVE, &many);
        lines = vg_buf_slice(&many);
        while (lines.len > 0) {
            struct vg_slice line = vg_slice_cut(&lines, '\n'), trace, of, ones;

            if (is_letter(line))
                continue; /* a dead letter */
            put_said(line, &trace, &said);
            count++;
            for (ones = vg_buf_slice(&single); ones.len > 0;) {
                struct vg_slice one = vg_slice_cut(&ones, '\n');

                if (is_letter(one))
                    continue;
                put_said(one, &of, &also);
                if (!vg_slice_eq(of, trace))
                    continue;
                found++;
                if (!CHECK(vg_slice_eq(vg_buf_slice(&said), vg_buf_slice(&also))))
                    printf("%.*s\n%.*s\n", VG_FMT(vg_buf_slice(&said)),
                           VG_FMT(vg_buf_slice(&also)));
            }
        }
        CHECK(count >= 4);
        CHECK(found == count);
    }
    vg_buf_fini(&single);
    vg_buf_fini(&many);
    vg_buf_fini(&said);
    vg_buf_fini(&also);
}

int main(void)
{
    vg_arena_init(&arena, 0);
    make_day();
    RUN(test_a_crash_at_any_commit_changes_nothing);
    RUN(test_batches_do_not_matter);
    free_day();
    vg_arena_fini(&arena);
    return vg_test_report();
}
