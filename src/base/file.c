/* file.c -- files and folders, the real struct vg_io, and CRC-32C.
 *
 * Reasons: allocate() writes zeros instead of trusting fallocate alone, because an extent that was
 * only reserved is "unwritten": the first write into it changes file-system metadata, and then
 * every fdatasync pays for a metadata journal commit. It reserves first, so that a full disk is
 * told before anything is written, and syncs last, so that the first commit does not pay for it.
 *
 * Crashes: vg_file_write() is write beside, fsync, rename, fsync of the folder. After a crash in
 * between a "<name>.XXXXXX" may stay behind; the file itself is the old or the new one.
 *
 * Threads: everything here may be called from any thread.
 */
#include "base/file.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ZEROS_BYTES (256u << 10)
#define READ_CHUNK_BYTES (64u << 10)

/* ---- the real system calls ---- */

static int system_open(void *ctx, const char *path, int flags, mode_t mode)
{
    (void)ctx;
    return open(path, flags | O_CLOEXEC, mode);
}

static ssize_t system_pread(void *ctx, int fd, void *buf, size_t len, off_t offset)
{
    (void)ctx;
    return pread(fd, buf, len, offset);
}

static ssize_t system_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    (void)ctx;
    return pwrite(fd, buf, len, offset);
}

static int system_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    return fdatasync(fd);
}

static int write_zeros(int fd, off_t from, off_t to)
{
    static const char zeros[ZEROS_BYTES];

    while (from < to) {
        size_t want = to - from < (off_t)sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);

        if (vg_io_write_all(&vg_io_system, fd, zeros, want, from) != 0)
            return -1;
        from += (off_t)want;
    }
    return 0;
}

/* Brings the file to at least `len` bytes; what is there stays. */
static int system_allocate(void *ctx, int fd, off_t len)
{
    struct stat info;

    (void)ctx;
    if (fstat(fd, &info) != 0)
        return -1;
    if (info.st_size >= len)
        return 0;
    /* KEEP_SIZE: a crash half-way leaves a size that says how far the zeros came. */
    int is_failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, info.st_size, len - info.st_size);

    if (is_failed && (errno == EOPNOTSUPP || errno == ENOSYS))
        is_failed = 0; /* some file systems cannot reserve: the zeros alone must do */
    if (!is_failed)
        is_failed = write_zeros(fd, info.st_size, len);
    if (!is_failed)
        return fdatasync(fd);
    int why = errno;

    /* Give the blocks back; the caller hears of the first failure, which is the cause. */
    if (ftruncate(fd, info.st_size) != 0)
        errno = why;
    errno = why;
    return -1;
}

static int system_truncate(void *ctx, int fd, off_t len)
{
    (void)ctx;
    return ftruncate(fd, len);
}

static int system_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to);
}

static int system_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path);
}

static int system_close(void *ctx, int fd)
{
    (void)ctx;
    return close(fd);
}

static int system_sync_dir(void *ctx, const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)ctx;
    if (fd < 0)
        return -1;
    int is_failed = fsync(fd);
    int why = errno;

    (void)close(fd); /* opened for reading: nothing can be lost */
    errno = why;
    return is_failed;
}

const struct vg_io vg_io_system = {
    .open = system_open,
    .pread = system_pread,
    .pwrite = system_pwrite,
    .fdatasync = system_fdatasync,
    .allocate = system_allocate,
    .truncate = system_truncate,
    .rename = system_rename,
    .unlink = system_unlink,
    .close = system_close,
    .sync_dir = system_sync_dir,
};

int vg_io_write_all(const struct vg_io *io, int fd, const void *buf, size_t len, off_t offset)
{
    const char *from = buf;

    while (len > 0) {
        ssize_t done = io->pwrite(io->ctx, fd, from, len, offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = EIO; /* a device that takes nothing would hold us forever */
        if (done <= 0)
            return -1;
        from += done;
        offset += done;
        len -= (size_t)done;
    }
    return 0;
}

ssize_t vg_io_read_all(const struct vg_io *io, int fd, void *buf, size_t len, off_t offset)
{
    char *to = buf;
    size_t total = 0;

    while (total < len) {
        ssize_t done = io->pread(io->ctx, fd, to + total, len - total, offset + (off_t)total);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        if (done == 0)
            break;
        total += (size_t)done;
    }
    return (ssize_t)total;
}

/* ---- whole files and folders ---- */

/* What the caller can do about an errno of the file system. */
static enum vg_status status_of(int sys_errno)
{
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EINTR:
    case EAGAIN:
    case EIO:
        return VG_RETRY;
    case EACCES:
    case EPERM:
    case EISDIR:
    case ENOTDIR:
    case ENOENT:
    case EEXIST:
    case ELOOP:
    case ENAMETOOLONG:
    case EROFS:
        return VG_REJECT;
    default:
        return VG_FATAL;
    }
}

static enum vg_status fail_errno(struct vg_err *err, const char *code, const char *path)
{
    int why = errno;

    return vg_fail(err, status_of(why), code, why, "%s", path);
}

enum vg_status vg_dir_make(const char *path, struct vg_err *err)
{
    char part[PATH_MAX];
    struct stat info;

    if (!vg_slice_to_cstr(vg_slice_of(path), part, sizeof(part)) || part[0] == '\0')
        return vg_fail(err, VG_REJECT, "file.dir", ENAMETOOLONG, "a folder's path");
    for (char *p = part + 1;; p++) {
        char sep = *p;

        if (sep != '/' && sep != '\0')
            continue;
        *p = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return fail_errno(err, "file.dir", part);
        *p = sep;
        if (sep == '\0')
            break;
    }
    if (stat(path, &info) != 0)
        return fail_errno(err, "file.dir", path);
    if (!S_ISDIR(info.st_mode))
        return vg_fail(err, VG_REJECT, "file.dir", ENOTDIR, "%s", path);
    return VG_OK;
}

/* Everything up to the end of the file, also of pipes and of /proc, which tell no size. */
static enum vg_status read_to_end(int fd, const char *path, struct vg_buf *content,
                                  struct vg_err *err)
{
    const size_t limit_bytes = content->limit_bytes - 1; /* one more tells "too large" */

    for (;;) {
        size_t want = content->limit_bytes - content->len;
        char *room = vg_buf_reserve(content, want < READ_CHUNK_BYTES ? want : READ_CHUNK_BYTES);
        ssize_t done;

        if (!room)
            return vg_fail(err, VG_RETRY, "file.memory", 0, "no memory to read %s", path);
        done = read(fd, room, want < READ_CHUNK_BYTES ? want : READ_CHUNK_BYTES);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail_errno(err, "file.read", path);
        if (done == 0)
            return VG_OK;
        content->len += (size_t)done;
        if (content->len > limit_bytes)
            return vg_fail(err, VG_REJECT, "file.size", 0, "%s is larger than %zu bytes", path,
                           limit_bytes);
    }
}

enum vg_status vg_file_read(struct vg_arena *arena, const char *path, size_t limit_bytes,
                            struct vg_slice *ret_content, struct vg_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct vg_slice kept = {0};
    struct vg_buf content;
    enum vg_status status;

    if (fd < 0 && errno == ENOENT)
        return vg_fail(err, VG_END, "file.missing", 0, "there is no file %s", path);
    if (fd < 0)
        return fail_errno(err, "file.open", path);
    if (limit_bytes == 0 || limit_bytes > arena->limit_bytes)
        limit_bytes = arena->limit_bytes;
    vg_buf_init(&content, limit_bytes + 1);
    status = read_to_end(fd, path, &content, err);
    if (status == VG_OK) {
        kept = vg_arena_dup(arena, vg_buf_slice(&content));
        if (!kept.ptr)
            status = vg_fail(err, VG_REJECT, "file.size", 0, "%s: %zu bytes do not fit in memory",
                             path, content.len);
    }
    vg_buf_fini(&content);
    (void)close(fd); /* opened for reading: nothing can be lost */
    if (status == VG_OK)
        *ret_content = kept;
    return status;
}

/* The folder that holds path, into dir. */
static void folder_of(const char *path, char *dir, size_t size_bytes)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        (void)vg_slice_to_cstr(VG_SLICE("."), dir, size_bytes);
    else if (slash == path)
        (void)vg_slice_to_cstr(VG_SLICE("/"), dir, size_bytes);
    else
        (void)vg_slice_to_cstr((struct vg_slice){path, (size_t)(slash - path)}, dir, size_bytes);
}

enum vg_status vg_file_write(const char *path, struct vg_slice content, mode_t mode,
                             struct vg_err *err)
{
    char beside[PATH_MAX], dir[PATH_MAX];
    int used = snprintf(beside, sizeof(beside), "%s.XXXXXX", path);
    enum vg_status status = VG_OK;

    if (used < 0 || (size_t)used >= sizeof(beside))
        return vg_fail(err, VG_REJECT, "file.write", ENAMETOOLONG, "%.60s...", path);
    folder_of(path, dir, sizeof(dir));
    int fd = mkostemp(beside, O_CLOEXEC);

    if (fd < 0)
        return fail_errno(err, "file.write", beside);
    if (fchmod(fd, mode) != 0 ||
        vg_io_write_all(&vg_io_system, fd, content.ptr, content.len, 0) != 0 || fsync(fd) != 0)
        status = fail_errno(err, "file.write", beside);
    if (close(fd) != 0 && status == VG_OK)
        status = fail_errno(err, "file.write", beside);
    if (status == VG_OK && rename(beside, path) != 0)
        status = fail_errno(err, "file.rename", path);
    if (status != VG_OK) {
        (void)unlink(beside); /* the failure above is what counts */
        return status;
    }
    if (system_sync_dir(NULL, dir) != 0)
        return fail_errno(err, "file.sync_dir", dir);
    return VG_OK;
}

int64_t vg_disk_free_bytes(const char *path)
{
    struct statvfs info;

    if (statvfs(path, &info) != 0)
        return -1;
    return (int64_t)info.f_bavail * (int64_t)info.f_frsize;
}

/* ---- CRC-32C ---- */

#define CRC32C_POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bits reversed */

static uint32_t crc_table[256];
static pthread_once_t crc_table_once = PTHREAD_ONCE_INIT;

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        crc_table[i] = crc;
    }
}

static uint32_t crc32c_by_table(uint32_t crc, const uint8_t *p, size_t len)
{
    (void)pthread_once(&crc_table_once, make_crc_table);
    for (; len > 0; p++, len--)
        crc = crc >> 8 ^ crc_table[(crc ^ *p) & 0xff];
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
crc32c_by_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t wide = crc;

    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len > 0; p++, len--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#endif

uint32_t vg_crc32c(uint32_t crc, const void *bytes, size_t len)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_by_instruction(~crc, bytes, len);
#endif
    return ~crc32c_by_table(~crc, bytes, len);
}
