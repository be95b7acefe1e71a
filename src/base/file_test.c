/* file_test.c -- whole files, folders, zero-filled allocation, short and interrupted calls, CRC. */
#include "base/file.h"
#include "vg_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/vigil-file-XXXXXX";
static struct vg_arena arena;

static const char *in_dir(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *out = path[turn++ % 4];

    (void)snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
    return out;
}

static void test_write_and_read(void)
{
    struct vg_slice got = {0};
    struct vg_err err = {0};
    struct stat info;

    CHECK(vg_file_read(&arena, in_dir("none"), 0, &got, &err) == VG_END);
    CHECK(vg_file_write(in_dir("a"), VG_SLICE("old"), 0600, &err) == VG_OK);
    CHECK(vg_file_write(in_dir("a"), VG_SLICE("new\0er"), 0640, &err) == VG_OK);
    CHECK(stat(in_dir("a"), &info) == 0 && (info.st_mode & 0777) == 0640);
    CHECK(vg_file_read(&arena, in_dir("a"), 0, &got, &err) == VG_OK);
    CHECK(vg_slice_eq(got, VG_SLICE("new\0er")) && got.ptr[got.len] == '\0');
    CHECK(vg_file_read(&arena, in_dir("a"), 6, &got, &err) == VG_OK);
    CHECK(vg_file_read(&arena, in_dir("a"), 5, &got, &err) == VG_REJECT);
    CHECK(strcmp(err.code, "file.size") == 0);
    CHECK(vg_file_write(in_dir("empty"), (struct vg_slice){0}, 0600, &err) == VG_OK);
    CHECK(vg_file_read(&arena, in_dir("empty"), 0, &got, &err) == VG_OK && got.len == 0);
    CHECK(vg_file_read(&arena, dir, 0, &got, &err) == VG_REJECT); /* a folder */
    CHECK(vg_file_read(&arena, "/proc/self/status", 0, &got, &err) == VG_OK);
    CHECK(got.len > 100); /* tells no size, but has content */
    CHECK(vg_file_write(in_dir("no/such/folder"), VG_SLICE("x"), 0600, &err) == VG_REJECT);
    CHECK(strcmp(err.code, "file.write") == 0);
    CHECK(unlink(in_dir("a")) == 0 && unlink(in_dir("empty")) == 0);
    CHECK(rmdir(in_dir("x")) != 0 && errno == ENOENT);
}

static void test_dir_make(void)
{
    struct vg_err err = {0};
    struct stat info;

    CHECK(vg_dir_make(in_dir("p/q//r/"), &err) == VG_OK);
    CHECK(stat(in_dir("p/q/r"), &info) == 0 && S_ISDIR(info.st_mode));
    CHECK((info.st_mode & 0777) == 0700);
    CHECK(vg_dir_make(in_dir("p/q/r"), &err) == VG_OK); /* there already */
    CHECK(vg_dir_make("/", &err) == VG_OK);
    CHECK(vg_file_write(in_dir("p/file"), VG_SLICE(""), 0600, &err) == VG_OK);
    CHECK(vg_dir_make(in_dir("p/file"), &err) == VG_REJECT);
    CHECK(vg_dir_make(in_dir("p/file/under"), &err) == VG_REJECT);
    CHECK(vg_dir_make("", &err) == VG_REJECT);
    CHECK(unlink(in_dir("p/file")) == 0 && rmdir(in_dir("p/q/r")) == 0);
    CHECK(rmdir(in_dir("p/q")) == 0 && rmdir(in_dir("p")) == 0);
}

static bool is_zero(const struct vg_io *io, int fd, off_t from, size_t len)
{
    static char bytes[1u << 20];

    if (vg_io_read_all(io, fd, bytes, len, from) != (ssize_t)len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

static void test_allocate(void)
{
    const struct vg_io *io = &vg_io_system;
    const char *path = in_dir("segment");
    int fd = io->open(io->ctx, path, O_RDWR | O_CREAT, 0600);
    char tail[8];
    struct stat info;

    if (!CHECK(fd >= 0))
        return;
    CHECK(vg_io_write_all(io, fd, "head", 4, 0) == 0);
    CHECK(io->allocate(io->ctx, fd, 1000000) == 0);
    CHECK(fstat(fd, &info) == 0 && info.st_size == 1000000);
    CHECK(info.st_blocks * 512 >= 1000000); /* really taken */
    CHECK(vg_io_read_all(io, fd, tail, 4, 0) == 4 && memcmp(tail, "head", 4) == 0);
    CHECK(is_zero(io, fd, 4, 999996));
    CHECK(io->allocate(io->ctx, fd, 500) == 0); /* never shorter */
    CHECK(fstat(fd, &info) == 0 && info.st_size == 1000000);
    CHECK(vg_io_read_all(io, fd, tail, 8, 999996) == 4); /* the end of the file */
    CHECK(vg_io_read_all(io, fd, tail, 8, 2000000) == 0);
    CHECK(io->truncate(io->ctx, fd, 10) == 0 && io->fdatasync(io->ctx, fd) == 0);
    CHECK(io->rename(io->ctx, path, in_dir("moved")) == 0 && io->sync_dir(io->ctx, dir) == 0);
    CHECK(io->close(io->ctx, fd) == 0 && io->unlink(io->ctx, in_dir("moved")) == 0);
    CHECK(io->sync_dir(io->ctx, in_dir("none")) == -1 && errno == ENOENT);
    CHECK(io->allocate(io->ctx, -1, 10) == -1 && errno == EBADF);
}

/* A file that may not grow so far (as on a full disk) stays as it was. */
static void test_allocate_fails_clean(void)
{
    const struct vg_io *io = &vg_io_system;
    struct rlimit before, low;
    int fd = io->open(io->ctx, in_dir("full"), O_RDWR | O_CREAT, 0600);
    struct stat info;

    if (!CHECK(fd >= 0 && vg_io_write_all(io, fd, "head", 4, 0) == 0))
        return;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    low = before;
    low.rlim_cur = 300000;
    (void)signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
    CHECK(io->allocate(io->ctx, fd, 1000000) == -1 && errno == EFBIG);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(fstat(fd, &info) == 0 && info.st_size == 4);
    CHECK(io->close(io->ctx, fd) == 0 && io->unlink(io->ctx, in_dir("full")) == 0);
}

/* A disk that takes three bytes at a time and is interrupted in between. */
struct slow_disk {
    int call_count;
    bool is_stuck;
};

static ssize_t slow_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    struct slow_disk *disk = ctx;

    if (disk->is_stuck)
        return 0;
    if (++disk->call_count % 2) {
        errno = EINTR;
        return -1;
    }
    return pwrite(fd, buf, len < 3 ? len : 3, offset);
}

static ssize_t slow_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    struct slow_disk *disk = ctx;

    if (disk->is_stuck) {
        errno = EIO;
        return -1;
    }
    if (++disk->call_count % 2) {
        errno = EINTR;
        return -1;
    }
    return pread(fd, buf, len < 3 ? len : 3, offset);
}

static void test_short_calls(void)
{
    struct slow_disk disk = {0};
    struct vg_io io = vg_io_system;
    char got[16] = "";
    int fd = open(in_dir("slow"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    io.pwrite = slow_pwrite;
    io.pread = slow_pread;
    io.ctx = &disk;
    if (!CHECK(fd >= 0))
        return;
    CHECK(vg_io_write_all(&io, fd, "0123456789", 10, 0) == 0);
    CHECK(vg_io_read_all(&io, fd, got, sizeof(got), 0) == 10);
    CHECK(memcmp(got, "0123456789", 10) == 0 && disk.call_count >= 14);
    disk.is_stuck = true;
    CHECK(vg_io_write_all(&io, fd, "x", 1, 0) == -1 && errno == EIO);
    CHECK(vg_io_read_all(&io, fd, got, 1, 0) == -1 && errno == EIO);
    CHECK(close(fd) == 0 && unlink(in_dir("slow")) == 0);
}

/* The test vectors of RFC 3720, appendix B.4, and the usual check value. */
static void test_crc32c(void)
{
    uint8_t bytes[32];

    CHECK(vg_crc32c(0, "123456789", 9) == 0xe3069283u);
    CHECK(vg_crc32c(0, "", 0) == 0);
    memset(bytes, 0, sizeof(bytes));
    CHECK(vg_crc32c(0, bytes, 32) == 0x8a9136aau);
    memset(bytes, 0xff, sizeof(bytes));
    CHECK(vg_crc32c(0, bytes, 32) == 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    CHECK(vg_crc32c(0, bytes, 32) == 0x46dd794eu);
    for (size_t cut = 0; cut <= 32; cut++) /* in two parts, at any place */
        CHECK(vg_crc32c(vg_crc32c(0, bytes, cut), bytes + cut, 32 - cut) == 0x46dd794eu);
}

static void test_disk_free(void)
{
    CHECK(vg_disk_free_bytes(dir) > 0);
    CHECK(vg_disk_free_bytes(in_dir("none")) == -1);
}

int main(void)
{
    vg_arena_init(&arena, 0);
    if (!mkdtemp(dir))
        return 1;
    RUN(test_write_and_read);
    RUN(test_dir_make);
    RUN(test_allocate);
    RUN(test_allocate_fails_clean);
    RUN(test_short_calls);
    RUN(test_crc32c);
    RUN(test_disk_free);
    vg_arena_fini(&arena);
    CHECK(rmdir(dir) == 0); /* nothing was left behind */
    return vg_test_report();
}
