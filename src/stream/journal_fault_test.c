/* journal_fault_test.c -- what the journal keeps when the disk, the power or a bit fails.
 *
 * Calls that fail: every call of a run fails once, in four ways. Power: a run is recorded call by
 * call, and for each prefix of it disks are made up on which synced bytes are there and unsynced
 * ones are, sector by sector, there or not. Rot: every byte of a small log has a bit flipped, and
 * every length is cut. After each the log is opened again, must hold what was acknowledged, must
 * say what it has lost, and must take new commits.
 */
#include "stream/journal.h"

#include "base/crypto.h"
#include "vg_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMITS 14u
#define RECORDS_PER_COMMIT 3u
#define SEGMENT_BYTES 4096u
#define PATH_SIZE 300

static char root[64]; /* in memory where that is possible: syncs are cheap there */

static void make_root(void)
{
    memcpy(root, "/dev/shm/vg-fault-XXXXXX", sizeof("/dev/shm/vg-fault-XXXXXX"));
    if (mkdtemp(root))
        return;
    memcpy(root, "/tmp/vg-fault-XXXXXX", sizeof("/tmp/vg-fault-XXXXXX"));
    CHECK(mkdtemp(root) != NULL);
}

/* Everything in the folder and in its one partition. */
static void clear_dir(const char *dir)
{
    DIR *open = opendir(dir);
    char path[PATH_SIZE + 300];

    for (struct dirent *entry = open ? readdir(open) : NULL; entry; entry = readdir(open)) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (unlink(path) != 0) {
            clear_dir(path);
            (void)rmdir(path);
        }
    }
    if (open)
        closedir(open);
}

/* ---- the run: commits with numbers, and what is found afterwards ---- */

static size_t payload_bytes = 60; /* the least of a record; the next commits have more */

struct acks {
    bool is_acked[COMMITS];
};

/* Commit `index`: three records with its number, one on another topic, an offset. */
static void fill_commit(struct stream_out *out, unsigned index)
{
    char text[300];

    memset(text, 'a' + (int)index % 26, sizeof(text));
    text[0] = (char)index;
    stream_out_init(out);
    for (unsigned i = 0; i < RECORDS_PER_COMMIT; i++)
        stream_out_add(out, i == 1 ? STREAM_SCORED : STREAM_DEVICE_RAW, index, VG_SLICE("bed-4"),
                       (struct vg_slice){0},
                       (struct vg_slice){text, payload_bytes + 30 * (index % 8)});
    stream_out_offset(out, "group", STREAM_DEVICE_RAW, 0, index + 1);
}

static enum vg_status commit_one(struct stream *stream, unsigned index, struct vg_err *err)
{
    struct stream_out out;

    fill_commit(&out, index);
    enum vg_status status = stream_commit(stream, 0, &out, NULL, err);

    stream_out_fini(&out);
    return status;
}

static struct stream_config config_of(const char *dir, const struct vg_io *io)
{
    return (struct stream_config){.dir = dir, .segment_bytes = SEGMENT_BYTES, .io = io};
}

struct found {
    bool is_there[COMMITS + 1]; /* the last: the commit after recovery */
    unsigned count;
    bool is_in_order, is_whole, is_consistent;
    uint64_t committed;
    size_t damage_count;
    struct vg_buf damage;
};

static void read_back(struct stream *stream, struct found *found)
{
    struct stream_scan *scan = NULL;
    struct stream_commit_view view;
    int last = -1;

    *found = (struct found){.is_in_order = true, .is_whole = true, .is_consistent = true};
    vg_buf_init(&found->damage, 0);
    if (!CHECK(stream_scan_open(stream, 0, 0, &scan, NULL) == VG_OK))
        return;
    while (stream_scan_next(scan, &view, NULL) == VG_OK) {
        struct stream_record record;
        enum stream_topic topic;
        int index = -1;

        for (size_t i = 0; i < view.record_count; i++) {
            if (!stream_scan_record(scan, i, &topic, &record) || record.value.len == 0)
                found->is_whole = false;
            else if (i == 0)
                index = record.value.ptr[0];
            else if (record.value.ptr[0] != index)
                found->is_whole = false;
        }
        if (view.record_count != RECORDS_PER_COMMIT || index < 0 || index > (int)COMMITS) {
            found->is_whole = false;
            continue;
        }
        if (index <= last)
            found->is_in_order = false;
        last = index;
        found->is_there[index] = true;
        found->count++;
    }
    stream_scan_close(scan);
    found->committed = stream_committed(stream, "group", STREAM_DEVICE_RAW, 0);
    found->damage_count = stream_damage(stream, &found->damage);
    /* A consumer sees what the scan saw. */
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    unsigned count = 0;

    CHECK(stream_consumer_open(stream, 0, STREAM_SCORED, "x", &consumer, NULL) == VG_OK);
    while (stream_read(consumer, 2, 0, &batch, NULL) == VG_OK)
        count += (unsigned)batch.count;
    stream_consumer_close(consumer);
    found->is_consistent = count == found->count && (int)found->committed >= last + 1;
}

static void free_found(struct found *found)
{
    vg_buf_fini(&found->damage);
}

/* Opens what a fault left behind on a disk that works; it must hold what was acknowledged, and take
 * one commit more. False: something was wrong, and was printed. */
static bool check_recovery(const char *dir, const struct acks *acks, size_t damage_max)
{
    const struct stream_config config = config_of(dir, NULL);
    struct stream *stream = NULL;
    struct vg_err err = {0};
    struct found found, after;
    int failures = vg_test_failures;

    if (!CHECK(stream_open(&config, &stream, &err) == VG_OK)) {
        printf("  %s: %s\n", err.code, err.text);
        return false;
    }
    read_back(stream, &found);
    for (unsigned i = 0; i < COMMITS; i++)
        CHECK(!acks->is_acked[i] || found.is_there[i]);
    CHECK(found.is_in_order && found.is_whole && found.is_consistent);
    CHECK(found.damage_count <= damage_max);
    CHECK(commit_one(stream, COMMITS, NULL) == VG_OK);
    stream_close(stream);
    if (CHECK(stream_open(&config, &stream, NULL) == VG_OK)) {
        read_back(stream, &after);
        CHECK(after.is_there[COMMITS] && after.count == found.count + 1);
        CHECK(after.is_in_order && after.is_whole && after.is_consistent);
        stream_close(stream);
        free_found(&after);
    }
    if (vg_test_failures != failures)
        printf("  damage: %.*s", VG_FMT(vg_buf_slice(&found.damage)));
    free_found(&found);
    return vg_test_failures == failures;
}

/* ---- the n-th call fails ---- */

enum fault { FAULT_EIO, FAULT_ENOSPC, FAULT_EINTR, FAULT_SHORT, FAULT_KINDS };

static const char *const fault_names[] = {"EIO", "ENOSPC", "EINTR", "short"};
static const int fault_errnos[] = {EIO, ENOSPC, EINTR, 0};
static atomic_int calls_until_fault;
static enum fault fault;
static atomic_bool is_sync_failed, has_faulted;

static bool is_faulty(bool is_transfer)
{
    /* Only a transfer can be short. */
    if (fault == FAULT_SHORT && !is_transfer)
        return false;
    if (atomic_fetch_sub(&calls_until_fault, 1) != 1)
        return false;
    errno = fault_errnos[fault];
    atomic_store(&has_faulted, true);
    return true;
}

static int fault_open(void *ctx, const char *path, int flags, mode_t mode)
{
    return is_faulty(false) ? -1 : vg_io_system.open(ctx, path, flags, mode);
}

static ssize_t fault_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    if (is_faulty(true)) {
        if (fault != FAULT_SHORT)
            return -1;
        len = len / 2 + 1;
    }
    return vg_io_system.pread(ctx, fd, buf, len, offset);
}

static ssize_t fault_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    if (is_faulty(true)) {
        int why = errno;

        /* What a failed write leaves is not known: half of it, here. */
        ssize_t done = vg_io_system.pwrite(ctx, fd, buf, len / 2 + 1, offset);

        errno = why;
        return fault == FAULT_SHORT ? done : -1;
    }
    return vg_io_system.pwrite(ctx, fd, buf, len, offset);
}

static int fault_fdatasync(void *ctx, int fd)
{
    if (is_faulty(false)) {
        int why = errno;

        atomic_store(&is_sync_failed, true);
        errno = why;
        return -1;
    }
    return vg_io_system.fdatasync(ctx, fd);
}

static int fault_allocate(void *ctx, int fd, off_t len)
{
    return is_faulty(false) ? -1 : vg_io_system.allocate(ctx, fd, len);
}

static int fault_truncate(void *ctx, int fd, off_t len)
{
    return is_faulty(false) ? -1 : vg_io_system.truncate(ctx, fd, len);
}

static int fault_rename(void *ctx, const char *from, const char *to)
{
    return is_faulty(false) ? -1 : vg_io_system.rename(ctx, from, to);
}

static int fault_unlink(void *ctx, const char *path)
{
    return is_faulty(false) ? -1 : vg_io_system.unlink(ctx, path);
}

static int fault_close(void *ctx, int fd)
{
    /* Linux closes it all the same. */
    return vg_io_system.close(ctx, fd) != 0 || is_faulty(false) ? -1 : 0;
}

static int fault_sync_dir(void *ctx, const char *dir)
{
    return is_faulty(false) ? -1 : vg_io_system.sync_dir(ctx, dir);
}

static const struct vg_io fault_io = {.open = fault_open,
                                      .pread = fault_pread,
                                      .pwrite = fault_pwrite,
                                      .fdatasync = fault_fdatasync,
                                      .allocate = fault_allocate,
                                      .truncate = fault_truncate,
                                      .rename = fault_rename,
                                      .unlink = fault_unlink,
                                      .close = fault_close,
                                      .sync_dir = fault_sync_dir};

static void one_faulty_run(struct acks *acks)
{
    const struct stream_config config = config_of(root, &fault_io);
    struct stream *stream = NULL;
    struct vg_err err = {0};
    bool was_fatal = false;

    *acks = (struct acks){{false}};
    enum vg_status status = stream_open(&config, &stream, &err);

    CHECK(status == VG_OK || err.code);
    if (status != VG_OK)
        return;
    for (unsigned i = 0; i < COMMITS; i++) {
        /* A refused one is tried once more, as its sender would. */
        for (int tries = 0; tries < 2; tries++) {
            err = (struct vg_err){0};
            status = commit_one(stream, i, &err);
            CHECK((status == VG_OK) == (err.code == NULL));
            CHECK(!was_fatal || status == VG_FATAL);
            was_fatal |= status == VG_FATAL;
            acks->is_acked[i] |= status == VG_OK;
            if (status != VG_RETRY)
                break;
        }
    }
    CHECK(!was_fatal || fault != FAULT_SHORT);
    struct found found;

    /* Once the fault is behind us, what was acknowledged is readable at once. */
    bool is_behind = atomic_load(&calls_until_fault) < 1;

    read_back(stream, &found);
    for (unsigned i = 0; is_behind && i < COMMITS; i++)
        CHECK(!acks->is_acked[i] || found.is_there[i]);
    free_found(&found);
    stream_close(stream);
}

static void test_every_call_can_fail(void)
{
    char row[60];

    for (fault = 0; fault < FAULT_KINDS; fault++) {
        unsigned calls = 0;

        do {
            struct acks acks;

            clear_dir(root);
            (void)snprintf(row, sizeof(row), "%s at call %u", fault_names[fault], ++calls);
            CHECK_ROW(row);
            atomic_store(&calls_until_fault, (int)calls);
            atomic_store(&has_faulted, false);
            one_faulty_run(&acks);
            bool is_through = !atomic_load(&has_faulted);

            /* A write that failed half-way and was told so leaves no damage either. */
            if (!check_recovery(root, &acks, 0) || is_through)
                break;
        } while (CHECK(calls < 2000));
        CHECK(calls > 20);
    }
    atomic_store(&calls_until_fault, 0);
}

/* ---- the disk is full for a while ---- */

static atomic_bool is_disk_full;

static ssize_t full_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    if (atomic_load(&is_disk_full)) {
        errno = ENOSPC;
        return -1;
    }
    return vg_io_system.pwrite(ctx, fd, buf, len, offset);
}

static int full_allocate(void *ctx, int fd, off_t len)
{
    if (atomic_load(&is_disk_full)) {
        errno = ENOSPC;
        return -1;
    }
    return vg_io_system.allocate(ctx, fd, len);
}

static void test_a_full_disk_refuses_and_works_again_by_itself(void)
{
    static const char *const rows[] = {"no room for a segment", "no room for a write"};

    for (size_t row = 0; row < 2; row++) {
        struct vg_io io = vg_io_system;
        const struct stream_config config = config_of(root, &io);
        struct stream *stream = NULL;
        struct vg_err err = {0};
        struct found found;
        unsigned count = 0;
        enum vg_status status = VG_OK;

        CHECK_ROW(rows[row]);
        clear_dir(root);
        io.allocate = full_allocate;
        if (row == 1)
            io.pwrite = full_pwrite;
        CHECK(stream_open(&config, &stream, NULL) == VG_OK);
        CHECK(commit_one(stream, count++, NULL) == VG_OK);
        atomic_store(&is_disk_full, true);
        while (count < COMMITS) {
            status = commit_one(stream, count, &err);
            if (status != VG_OK)
                break;
            count++;
        }
        CHECK(status == VG_RETRY && strcmp(err.code, "stream.full") == 0);
        CHECK(commit_one(stream, count, &err) == VG_RETRY);
        read_back(stream, &found);
        CHECK(found.count == count && found.is_consistent && found.damage_count == 0);
        free_found(&found);
        atomic_store(&is_disk_full, false);
        while (count < COMMITS)
            CHECK(commit_one(stream, count++, NULL) == VG_OK);
        read_back(stream, &found);
        CHECK(found.count == COMMITS && found.is_consistent && found.damage_count == 0);
        free_found(&found);
        stream_close(stream);
    }
}

/* ---- power ---- */

enum event_kind {
    EVENT_OPEN,
    EVENT_WRITE,
    EVENT_SIZE,
    EVENT_SYNC,
    EVENT_RENAME,
    EVENT_UNLINK,
    EVENT_SYNC_DIR,
    EVENT_ACK
};

struct event {
    enum event_kind kind;
    unsigned file; /* identity of its content, over renames */
    char name[32], to[32];
    uint64_t offset, len;
    char *bytes;
};

#define EVENTS_MAX 4000u
#define FILES_MAX 200u
#define FDS_MAX 1024

static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static struct event events[EVENTS_MAX];
static unsigned event_count, file_count;
static unsigned file_of_fd[FDS_MAX];

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static struct event *add_event(enum event_kind kind)
{
    if (event_count == EVENTS_MAX)
        abort();
    events[event_count] = (struct event){.kind = kind};
    return &events[event_count++];
}

static int record_open(void *ctx, const char *path, int flags, mode_t mode)
{
    pthread_mutex_lock(&record_lock);
    int fd = vg_io_system.open(ctx, path, flags, mode);

    if (fd >= FDS_MAX)
        abort();
    if (fd >= 0 && (flags & O_CREAT)) {
        struct event *event = add_event(EVENT_OPEN);

        event->file = file_of_fd[fd] = ++file_count;
        (void)snprintf(event->name, sizeof(event->name), "%s", name_of(path));
    } else if (fd >= 0) {
        file_of_fd[fd] = 0;
        /* Opened again for writing: the file that has this name now. */
        for (unsigned i = 0; i < event_count; i++) {
            const struct event *event = &events[i];

            if (event->kind == EVENT_OPEN && strcmp(event->name, name_of(path)) == 0)
                file_of_fd[fd] = event->file;
            if (event->kind == EVENT_RENAME && strcmp(event->to, name_of(path)) == 0)
                file_of_fd[fd] = event->file;
        }
    }
    pthread_mutex_unlock(&record_lock);
    return fd;
}

static ssize_t record_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    pthread_mutex_lock(&record_lock);
    struct event *event = add_event(EVENT_WRITE);

    event->file = file_of_fd[fd];
    event->offset = (uint64_t)offset;
    event->len = len;
    event->bytes = malloc(len);
    memcpy(event->bytes, buf, len);
    pthread_mutex_unlock(&record_lock);
    return vg_io_system.pwrite(ctx, fd, buf, len, offset);
}

static int record_fdatasync(void *ctx, int fd)
{
    int failed = vg_io_system.fdatasync(ctx, fd);

    pthread_mutex_lock(&record_lock);
    add_event(EVENT_SYNC)->file = file_of_fd[fd];
    pthread_mutex_unlock(&record_lock);
    return failed;
}

static int record_allocate(void *ctx, int fd, off_t len)
{
    int failed = vg_io_system.allocate(ctx, fd, len);

    pthread_mutex_lock(&record_lock);
    struct event *event = add_event(EVENT_SIZE);

    event->file = file_of_fd[fd];
    event->len = (uint64_t)len;
    pthread_mutex_unlock(&record_lock);
    return failed;
}

static int record_rename(void *ctx, const char *from, const char *to)
{
    pthread_mutex_lock(&record_lock);
    struct event *event = add_event(EVENT_RENAME);

    (void)snprintf(event->name, sizeof(event->name), "%s", name_of(from));
    (void)snprintf(event->to, sizeof(event->to), "%s", name_of(to));
    for (unsigned i = 0; i < event_count; i++) {
        if (events[i].kind == EVENT_OPEN && strcmp(events[i].name, event->name) == 0)
            event->file = events[i].file;
    }
    int failed = vg_io_system.rename(ctx, from, to);

    pthread_mutex_unlock(&record_lock);
    return failed;
}

static int record_unlink(void *ctx, const char *path)
{
    pthread_mutex_lock(&record_lock);
    (void)snprintf(add_event(EVENT_UNLINK)->name, 32, "%s", name_of(path));
    int failed = vg_io_system.unlink(ctx, path);

    pthread_mutex_unlock(&record_lock);
    return failed;
}

static int record_sync_dir(void *ctx, const char *dir)
{
    int failed = vg_io_system.sync_dir(ctx, dir);

    pthread_mutex_lock(&record_lock);
    (void)add_event(EVENT_SYNC_DIR);
    pthread_mutex_unlock(&record_lock);
    return failed;
}

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A disk after a power cut behind the first `count` events. Sectors of 512 bytes reach it whole,
 * and in any order until a sync. Names of the partition only: the journal's own file is as it was.
 */
static void make_disk(unsigned count, unsigned seed, const char *dir, struct acks *acks)
{
    static char content[FILES_MAX][65536];
    static uint64_t sizes[FILES_MAX];
    static char names[FILES_MAX][32]; /* "" = not there */
    unsigned pending_renames[64], pending_count = 0;
    unsigned mode = seed % 4; /* nothing, everything, half, and a little of what was not synced */
    char path[PATH_SIZE];

    memset(content, 0, sizeof(content));
    memset(sizes, 0, sizeof(sizes));
    memset(names, 0, sizeof(names));
    *acks = (struct acks){{false}};
    random_state = 88172645463325252u + seed * 7919u + count;
    for (unsigned i = 0; i < count; i++) {
        const struct event *event = &events[i];
        bool is_synced = false;

        switch (event->kind) {
        case EVENT_OPEN:
            (void)snprintf(names[event->file], 32, "%s", event->name);
            break;
        case EVENT_SIZE: /* allocate() syncs */
            if (sizes[event->file] < event->len)
                sizes[event->file] = event->len;
            break;
        case EVENT_WRITE:
            for (unsigned j = i + 1; j < count && !is_synced; j++)
                is_synced = events[j].kind == EVENT_SYNC && events[j].file == event->file;
            for (uint64_t at = 0; at < event->len;) {
                uint64_t sector_end = (event->offset + at) / 512 * 512 + 512;
                uint64_t len = sector_end - event->offset - at;
                bool is_kept = is_synced || mode == 1 || (mode == 2 && next_random() % 2) ||
                               (mode == 3 && next_random() % 8 == 0);

                if (len > event->len - at)
                    len = event->len - at;
                if (is_kept && event->offset + at + len <= sizeof(content[0]))
                    memcpy(content[event->file] + event->offset + at, event->bytes + at, len);
                at += len;
            }
            if (sizes[event->file] < event->offset + event->len)
                sizes[event->file] = event->offset + event->len;
            break;
        case EVENT_SYNC:
            break;
        case EVENT_RENAME:
            pending_renames[pending_count++] = i;
            break;
        case EVENT_UNLINK:
            break; /* what was unlinked may come back: the spare, which nobody misses */
        case EVENT_SYNC_DIR:
            for (unsigned j = 0; j < pending_count; j++) {
                const struct event *done = &events[pending_renames[j]];

                (void)snprintf(names[done->file], 32, "%s", done->to);
            }
            pending_count = 0;
            break;
        case EVENT_ACK:
            acks->is_acked[event->file] = true;
            break;
        }
    }
    for (unsigned j = 0; j < pending_count; j++) {
        const struct event *done = &events[pending_renames[j]];

        if (mode == 1 || next_random() % 2)
            (void)snprintf(names[done->file], 32, "%s", done->to);
    }
    (void)snprintf(path, sizeof(path), "%s/p0000", dir);
    clear_dir(path);
    for (unsigned file = 1; file <= file_count; file++) {
        size_t len = strlen(names[file]);

        if (len != 24 && strcmp(names[file], "spare") != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/p0000/%.31s", dir, names[file]);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        CHECK(fd >= 0 && write(fd, content[file], sizes[file]) == (ssize_t)sizes[file]);
        close(fd);
    }
}

struct flying {
    struct stream_out out;
    unsigned index;
};

static void on_ack(void *ctx, enum vg_status status, uint64_t first_seq, const struct vg_err *err)
{
    const struct flying *flying = ctx;

    (void)first_seq;
    (void)err;
    pthread_mutex_lock(&record_lock);
    if (status == VG_OK)
        add_event(EVENT_ACK)->file = flying->index;
    pthread_mutex_unlock(&record_lock);
}

/* All commits at once: writes hold several batches and cross segments. */
static void record_run(bool is_async)
{
    struct vg_io io = vg_io_system;
    const struct stream_config config = config_of(root, &io);
    struct flying flying[COMMITS];
    struct stream *stream = NULL;

    io.open = record_open;
    io.pwrite = record_pwrite;
    io.fdatasync = record_fdatasync;
    io.allocate = record_allocate;
    io.rename = record_rename;
    io.unlink = record_unlink;
    io.sync_dir = record_sync_dir;
    CHECK(stream_open(&config, &stream, NULL) == VG_OK);
    for (unsigned i = 0; i < COMMITS; i++) {
        flying[i].index = i;
        fill_commit(&flying[i].out, i);
        stream_commit_async(stream, 0, &flying[i].out, on_ack, &flying[i]);
        if (!is_async || i % 5 == 4) {
            struct stream_out empty;

            stream_out_init(&empty);
            CHECK(stream_commit(stream, 0, &empty, NULL, NULL) == VG_OK);
            stream_out_fini(&empty);
        }
    }
    stream_close(stream);
    for (unsigned i = 0; i < COMMITS; i++)
        stream_out_fini(&flying[i].out);
}

static void test_power_cut_at_every_call(void)
{
    char row[60];

    for (unsigned is_async = 0; is_async < 2; is_async++) {
        struct acks acks;
        unsigned images = 0;

        clear_dir(root);
        event_count = file_count = 0;
        record_run(is_async);
        for (unsigned count = 0; count <= event_count; count++) {
            for (unsigned seed = 0; seed < 6; seed++, images++) {
                (void)snprintf(row, sizeof(row), "%s, cut after call %u, disk %u",
                               is_async ? "several in flight" : "one by one", count, seed);
                CHECK_ROW(row);
                make_disk(count, seed, root, &acks);
                /* In one write, a later batch can reach the disk without an earlier one; neither
                 * was acknowledged. One by one there is nothing to report. */
                if (!check_recovery(root, &acks, is_async ? COMMITS : 0))
                    count = event_count;
            }
        }
        printf("  %u disks after %u calls\n", images, event_count);
        for (unsigned i = 0; i < event_count; i++) {
            free(events[i].bytes);
            events[i].bytes = NULL;
        }
    }
}

/* ---- kill -9 ---- */

/* Commits numbers from `first` on and tells each one that is durable, until it is killed. */
static void commit_until_killed(unsigned first, int pipe_fd)
{
    const struct stream_config config = config_of(root, NULL);
    struct stream *stream = NULL;
    struct stream_out out;

    if (stream_open(&config, &stream, NULL) != VG_OK)
        _exit(1);
    stream_out_init(&out);
    for (unsigned number = first;; number++) {
        stream_out_clear(&out);
        stream_out_add(&out, STREAM_DEVICE_RAW, 0, VG_SLICE("bed-4"), (struct vg_slice){0},
                       (struct vg_slice){(const char *)&number, sizeof(number)});
        if (stream_commit(stream, 0, &out, NULL, NULL) != VG_OK ||
            write(pipe_fd, &number, sizeof(number)) != sizeof(number))
            _exit(2);
    }
}

static void test_what_was_told_survives_kill_9(void)
{
    unsigned kept = 0;

    clear_dir(root);
    for (unsigned cycle = 0; cycle < 20; cycle++) {
        const struct stream_config config = config_of(root, NULL);
        struct stream *stream = NULL;
        struct stream_consumer *consumer = NULL;
        struct stream_batch batch;
        unsigned number, told = kept, found = 0;
        int ends[2];

        CHECK(pipe(ends) == 0);
        pid_t child = fork();

        if (child == 0)
            commit_until_killed(kept, ends[1]);
        close(ends[1]);
        while (told < kept + 1 + cycle * 7 && read(ends[0], &number, sizeof(number)) > 0)
            told = number + 1;
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        while (read(ends[0], &number, sizeof(number)) > 0)
            told = number + 1;
        close(ends[0]);
        if (!CHECK(stream_open(&config, &stream, NULL) == VG_OK))
            return;
        CHECK(stream_consumer_open(stream, 0, STREAM_DEVICE_RAW, "x", &consumer, NULL) == VG_OK);
        while (stream_read(consumer, 100, 0, &batch, NULL) == VG_OK) {
            for (size_t i = 0; i < batch.count; i++, found++) {
                memcpy(&number, batch.records[i].value.ptr, sizeof(number));
                CHECK(number == found);
            }
        }
        CHECK(told > kept && found >= told);
        CHECK(stream_damage(stream, &(struct vg_buf){.limit_bytes = 1}) == 0);
        kept = found;
        stream_consumer_close(consumer);
        stream_close(stream);
    }
}

/* ---- rot ---- */

struct image {
    char name[40];
    char bytes[SEGMENT_BYTES * 2];
    size_t len;
    size_t used; /* up to the end of the last batch */
};

static struct image images[16];
static unsigned image_count;

static void write_image(const struct image *image, size_t len)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/p0000/%s", root, image->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && write(fd, image->bytes, len) == (ssize_t)len);
    close(fd);
}

static void restore_images(void)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/p0000", root);
    clear_dir(path);
    for (unsigned i = 0; i < image_count; i++)
        write_image(&images[i], images[i].len);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct image *)a)->name, ((const struct image *)b)->name);
}

/* The partition's segments as they are now, into images[]. */
static void take_images(void)
{
    char path[PATH_SIZE + 300];

    (void)snprintf(path, sizeof(path), "%s/p0000", root);
    DIR *dir = opendir(path);

    image_count = 0;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (!strstr(entry->d_name, ".seg"))
            continue;
        struct image *image = &images[image_count++];

        (void)snprintf(image->name, sizeof(image->name), "%.30s", entry->d_name);
        (void)snprintf(path, sizeof(path), "%s/p0000/%s", root, image->name);
        int fd = open(path, O_RDONLY);
        ssize_t len = read(fd, image->bytes, sizeof(image->bytes));

        CHECK(len > 0);
        close(fd);
        image->len = image->used = (size_t)len;
        while (image->used && image->bytes[image->used - 1] == 0)
            image->used--;
        image->used = (image->used + 7) / 8 * 8;
    }
    closedir(dir);
    qsort(images, image_count, sizeof(images[0]), by_name);
}

/* A small log of some segments, closed in order, into images[]. */
static void make_images(unsigned commits)
{
    const struct stream_config config = config_of(root, NULL);
    struct stream *stream = NULL;

    clear_dir(root);
    CHECK(stream_open(&config, &stream, NULL) == VG_OK);
    for (unsigned i = 0; i < commits; i++)
        CHECK(commit_one(stream, i, NULL) == VG_OK);
    stream_close(stream);
    take_images();
}

/* Opens and reads; *found is filled. */
static void open_damaged(struct found *found, bool and_commit)
{
    const struct stream_config config = config_of(root, NULL);
    struct stream *stream = NULL;
    struct vg_err err = {0};

    if (!CHECK(stream_open(&config, &stream, &err) == VG_OK)) {
        printf("  %s: %s\n", err.code, err.text);
        *found = (struct found){0};
        return;
    }
    read_back(stream, found);
    if (and_commit)
        CHECK(commit_one(stream, COMMITS, NULL) == VG_OK);
    stream_close(stream);
}

/* ---- what a failed write leaves ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_lying;
static atomic_int writes;

static int gated_fdatasync(void *ctx, int fd)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return vg_io_system.fdatasync(ctx, fd);
}

static ssize_t lying_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    ssize_t done = vg_io_system.pwrite(ctx, fd, buf, len, offset);

    atomic_fetch_add(&writes, 1);
    if (!atomic_exchange(&is_lying, false))
        return done;
    errno = ENOSPC; /* and yet all of it is there */
    return -1;
}

static void on_refused(void *ctx, enum vg_status status, uint64_t first_seq,
                       const struct vg_err *err)
{
    (void)first_seq;
    (void)err;
    atomic_fetch_add((atomic_int *)ctx, status == VG_RETRY);
}

/* Two batches of a refused write lie behind the end; a later one of the first's size must not make
 * the second a part of the log. */
static void test_a_refused_write_never_comes_back(void)
{
    struct vg_io io = vg_io_system;
    const struct stream_config config = config_of(root, &io);
    struct stream *stream = NULL;
    struct stream_out outs[2], first, empty;
    struct found found;
    atomic_int refused = 0;

    io.fdatasync = gated_fdatasync;
    io.pwrite = lying_pwrite;
    clear_dir(root);
    CHECK(stream_open(&config, &stream, NULL) == VG_OK);
    atomic_store(&writes, 0);
    stream_out_init(&empty);
    fill_commit(&first, 3);
    pthread_mutex_lock(&gate);
    stream_commit_async(stream, 0, &first, on_refused, &refused);
    while (atomic_load(&writes) == 0)
        sched_yield(); /* the committer has taken it and comes to the gate */
    fill_commit(&outs[0], 4);
    fill_commit(&outs[1], 5);
    stream_commit_async(stream, 0, &outs[0], on_refused, &refused);
    stream_commit_async(stream, 0, &outs[1], on_refused, &refused);
    atomic_store(&is_lying, true);
    pthread_mutex_unlock(&gate);
    CHECK(stream_commit(stream, 0, &empty, NULL, NULL) == VG_OK);
    CHECK(atomic_load(&refused) == 2);
    CHECK(commit_one(stream, 12, NULL) == VG_OK); /* as long as 4 */
    take_images();                                /* the power is cut here */
    stream_close(stream);
    restore_images();
    open_damaged(&found, false);
    CHECK(found.count == 2 && found.is_there[3] && found.is_there[12]);
    CHECK(!found.is_there[4] && !found.is_there[5] && found.damage_count == 0);
    CHECK(found.is_consistent && found.is_in_order);
    free_found(&found);
    for (unsigned i = 0; i < 2; i++)
        stream_out_fini(&outs[i]);
    stream_out_fini(&first);
    stream_out_fini(&empty);
}

static void test_a_flipped_bit_costs_one_batch_and_is_reported(void)
{
    const unsigned commits = 9;
    char row[80];
    unsigned flips = 0;

    make_images(commits);
    CHECK(image_count >= 2);
    for (unsigned i = 0; i < image_count; i++) {
        bool is_last = i + 1 == image_count;

        for (size_t at = 0; at < images[i].len; at += at < images[i].used ? 1 : 97) {
            unsigned bit = (unsigned)(at * 5 + i) % 8;
            struct found found;

            (void)snprintf(row, sizeof(row), "segment %u, byte %zu, bit %u", i, at, bit);
            CHECK_ROW(row);
            images[i].bytes[at] = (char)(images[i].bytes[at] ^ (1 << bit));
            restore_images();
            open_damaged(&found, flips % 16 == 0);
            images[i].bytes[at] = (char)(images[i].bytes[at] ^ (1 << bit));
            flips++;
            CHECK(found.is_in_order && found.is_whole && found.is_consistent);
            CHECK(found.count + 1 >= commits);
            /* An offset is lost with its batch only: then the work is done again. */
            CHECK(found.committed == (found.is_there[commits - 1] ? commits : commits - 1));
            /* Told: all but the mark of a clean close itself and what stands behind it. */
            bool holds_data = at < images[i].used - (is_last ? BATCH_HEADER_BYTES : 0);

            CHECK(!holds_data || found.damage_count > 0);
            CHECK(found.count == commits || found.damage_count > 0);
            CHECK(holds_data || !is_last || found.damage_count == 0);
            CHECK(found.damage_count == 0 ||
                  strstr(vg_buf_ok(&found.damage) ? found.damage.ptr : "", ".seg: offset ") !=
                      NULL);
            free_found(&found);
        }
    }
    printf("  %u flips in %u segments\n", flips, image_count);
}

static void test_a_segment_cut_at_any_byte_keeps_what_is_before(void)
{
    const unsigned commits = 9;
    char row[80];

    make_images(commits);
    for (unsigned i = 0; i < image_count; i++) {
        unsigned last_count = 0;

        for (size_t len = 0; len < images[i].len; len += len < images[i].used ? 1 : 211) {
            struct found found;

            (void)snprintf(row, sizeof(row), "segment %u cut to %zu bytes", i, len);
            CHECK_ROW(row);
            restore_images();
            write_image(&images[i], len);
            open_damaged(&found, len % 16 == 0);
            CHECK(found.is_in_order && found.is_whole && found.is_consistent);
            CHECK(found.count >= last_count);
            /* A sealed segment cut in its padding has lost nothing. */
            CHECK(found.damage_count > 0 ||
                  (len >= images[i].used && found.count == commits && i + 1 < image_count));
            last_count = found.count;
            free_found(&found);
        }
        CHECK(last_count == commits);
    }
}

static atomic_int bad_block = -1;

static ssize_t bad_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    off_t bad = (off_t)atomic_load(&bad_block) * 4096;

    if (bad >= 0 && offset < bad + 4096 && offset + (off_t)len > bad) {
        errno = EIO;
        return -1;
    }
    return vg_io_system.pread(ctx, fd, buf, len, offset);
}

static void test_a_block_that_cannot_be_read_costs_what_stands_in_it(void)
{
    struct vg_io io = vg_io_system;
    struct stream_config config = config_of(root, &io);
    struct stream *stream = NULL;
    struct found found;

    io.pread = bad_pread;
    config.segment_bytes = 65536;
    clear_dir(root);
    CHECK(stream_open(&config, &stream, NULL) == VG_OK);
    for (unsigned i = 0; i < COMMITS; i++)
        CHECK(commit_one(stream, i, NULL) == VG_OK);
    atomic_store(&bad_block, 1); /* of three that are used */
    for (unsigned round = 0; round < 2; round++) {
        read_back(stream, &found);
        CHECK(found.is_there[0] && found.is_there[COMMITS - 1]);
        CHECK(found.count < COMMITS && found.count >= COMMITS - 9 && found.damage_count >= 2);
        CHECK(found.is_in_order && found.is_whole && found.is_consistent);
        free_found(&found);
        stream_close(stream);
        CHECK(stream_open(&config, &stream, NULL) == VG_OK);
    }
    stream_close(stream);
    atomic_store(&bad_block, -1);
}

static void test_a_missing_segment_is_told_and_the_rest_read(void)
{
    char path[PATH_SIZE];

    make_images(COMMITS);
    CHECK(image_count >= 3);
    for (unsigned i = 0; i < image_count; i++) {
        struct found found;

        restore_images();
        (void)snprintf(path, sizeof(path), "%s/p0000/%s", root, images[i].name);
        CHECK(unlink(path) == 0);
        open_damaged(&found, false);
        CHECK(found.is_in_order && found.is_whole && found.count > 0);
        /* The oldest may have been trimmed, the newest may never have been: nothing tells. */
        CHECK(i == 0 || i + 1 == image_count || found.damage_count > 0);
        free_found(&found);
    }
}

/* Where each batch of a segment begins. */
static unsigned list_batches(const struct image *image, size_t *offsets, unsigned max)
{
    unsigned count = 0;

    for (size_t at = 0; at + BATCH_HEADER_BYTES <= image->used && count < max;) {
        offsets[count++] = at;
        at += BATCH_HEADER_BYTES + get_u32(image->bytes + at + 32);
    }
    return count;
}

static void seal(char *batch)
{
    put_u32(batch + 4, vg_crc32c(0, batch + 8, BATCH_HEADER_BYTES - 8 + get_u32(batch + 32)));
}

static void test_an_exchanged_batch_is_found_by_the_chain(void)
{
    size_t offsets[32];
    struct found found;

    make_images(8);
    unsigned count = list_batches(&images[0], offsets, 32);

    CHECK(count > 4);
    char *batch = images[0].bytes + offsets[2];

    batch[BATCH_HEADER_BYTES + 2 * GROUP_BYTES + RECORD_HEADER_BYTES + 2] ^= 1; /* bed -> another */
    seal(batch);
    restore_images();
    /* It is not in the segment that recovery reads: reading finds it. */
    open_damaged(&found, false);
    struct vg_slice text = vg_buf_slice(&found.damage);

    CHECK(found.count == 8);
    vg_buf_put_byte(&found.damage, 0);
    CHECK(text.ptr && strstr(found.damage.ptr, "not the one that was written") != NULL);
    free_found(&found);
}

static void test_payloads_that_look_like_batches_are_not_believed(void)
{
    static const struct {
        const char *row;
        bool has_id, is_header_broken;
        int seq_step; /* the forged batch's place after the one that holds it */
    } rows[] = {
        {"a copy of an old batch, the outer header broken", true, true, -3},
        {"a batch to come, the outer body broken", true, false, 1},
        {"a batch to come of another log, the outer header broken", false, true, 1},
        {"a batch far ahead, the outer header broken", true, true, 100000},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const struct stream_config config = config_of(root, NULL);
        struct stream *stream = NULL;
        struct stream_out out;
        struct vg_slice nothing = {0};
        size_t offsets[32];
        char forged[BATCH_HEADER_BYTES + 64] = {0};
        struct found found;

        CHECK_ROW(rows[i].row);
        /* A log with one commit, which says what a batch of it looks like. */
        clear_dir(root);
        CHECK(stream_open(&config, &stream, NULL) == VG_OK);
        CHECK(commit_one(stream, 0, NULL) == VG_OK);
        struct stream_scan *scan = NULL;

        CHECK(stream_scan_open(stream, 0, 0, &scan, NULL) == VG_OK);
        stream_scan_close(scan);
        char path[PATH_SIZE], head[SEGMENT_BYTES];

        (void)snprintf(path, sizeof(path), "%s/p0000/%020u.seg", root, 0);
        int fd = open(path, O_RDWR);

        CHECK(fd >= 0 && read(fd, head, sizeof(head)) > 500);
        memcpy(forged, head, BATCH_HEADER_BYTES);
        put_u16(forged + 10, 0);
        put_u32(forged + 24, 1);
        put_u32(forged + 28, 0);
        put_u32(forged + 32, 64);
        put_u32(forged + 36, 1);
        put_u64(forged + 16, (uint64_t)(3 + rows[i].seq_step));
        if (!rows[i].has_id)
            put_u64(forged + 56, 42);
        put_u32(forged + 64, STREAM_DEVICE_RAW);
        put_u32(forged + 68, 1);
        put_u32(forged + 72, 24);
        put_u32(forged + 76, 24);
        forged[80] = STREAM_DEVICE_RAW;
        memcpy(forged + 96, "FAKE", 4);
        seal(forged);
        /* In a payload, at every alignment. */
        char payload[8 * (sizeof(forged) + 1)] = {0};

        for (size_t j = 0; j < 8; j++)
            memcpy(payload + j * (sizeof(forged) + 1), forged, sizeof(forged));
        stream_out_init(&out);
        stream_out_add(&out, STREAM_DEVICE_RAW, 0, nothing, nothing,
                       (struct vg_slice){payload, sizeof(payload)});
        CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
        stream_out_fini(&out);
        for (unsigned j = 2; j < 6; j++)
            CHECK(commit_one(stream, j, NULL) == VG_OK);
        stream_close(stream);
        struct image *image = &images[0];

        image_count = 1;
        CHECK(pread(fd, image->bytes, SEGMENT_BYTES, 0) == SEGMENT_BYTES);
        close(fd);
        (void)snprintf(image->name, sizeof(image->name), "%020u.seg", 0);
        image->len = image->used = SEGMENT_BYTES;
        unsigned count = list_batches(image, offsets, 5);

        CHECK(count >= 4); /* checkpoint, first, the one with the forgery, next */
        image->bytes[offsets[2] + (rows[i].is_header_broken ? 8 : BATCH_HEADER_BYTES + 30)] ^= 1;
        write_image(image, image->len);
        open_damaged(&found, false);
        CHECK(found.is_whole && found.is_in_order);
        CHECK(found.is_there[0] && !found.is_there[1] && found.is_there[2] && found.is_there[5]);
        CHECK(found.count == 5 && found.damage_count == 1);
        free_found(&found);
    }
}

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    make_root();
    RUN(test_every_call_can_fail);
    RUN(test_a_full_disk_refuses_and_works_again_by_itself);
    RUN(test_a_refused_write_never_comes_back);
    RUN(test_what_was_told_survives_kill_9);
    RUN(test_power_cut_at_every_call);
    payload_bytes = 1;
    RUN(test_a_flipped_bit_costs_one_batch_and_is_reported);
    RUN(test_a_segment_cut_at_any_byte_keeps_what_is_before);
    payload_bytes = 60;
    RUN(test_a_block_that_cannot_be_read_costs_what_stands_in_it);
    RUN(test_a_missing_segment_is_told_and_the_rest_read);
    RUN(test_an_exchanged_batch_is_found_by_the_chain);
    RUN(test_payloads_that_look_like_batches_are_not_believed);
    clear_dir(root);
    (void)rmdir(root);
    return vg_test_report();
}
