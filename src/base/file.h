/* file.h -- files and folders, and the seam where tests make the disk fail.
 *
 * A store that promises durability does all its writing through a struct vg_io: the real one is
 * vg_io_system; tests put one in its place that fails, tears or reorders at the n-th call.
 */
#ifndef VG_BASE_FILE_H
#define VG_BASE_FILE_H

#include "base/arena.h"

#include <sys/types.h>

/* Each function is as its system call: -1 and errno on failure. */
struct vg_io {
    int (*open)(void *ctx, const char *path, int flags, mode_t mode);
    ssize_t (*pread)(void *ctx, int fd, void *buf, size_t len, off_t offset);
    ssize_t (*pwrite)(void *ctx, int fd, const void *buf, size_t len, off_t offset);
    int (*fdatasync)(void *ctx, int fd);
    /* At least `len` bytes: what is missing at the end is zero-filled, really taken and synced. */
    int (*allocate)(void *ctx, int fd, off_t len);
    int (*truncate)(void *ctx, int fd, off_t len);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*close)(void *ctx, int fd);
    int (*sync_dir)(void *ctx, const char *dir); /* makes creates and renames durable */
    void *ctx;
};

extern const struct vg_io vg_io_system;

/* All of `len` bytes, over short writes and EINTR. 0 or -1 with errno. */
int vg_io_write_all(const struct vg_io *io, int fd, const void *buf, size_t len, off_t offset);
/* As many as there are up to len; fewer only at the end of the file. -1 with errno. */
ssize_t vg_io_read_all(const struct vg_io *io, int fd, void *buf, size_t len, off_t offset);

/* mkdir -p with mode 0700 for what is made. */
VG_CHECK enum vg_status vg_dir_make(const char *path, struct vg_err *err);

/* The whole file into the arena, NUL-terminated. VG_END: no such file. VG_REJECT: larger than
 * limit_bytes (0 = the arena's limit). */
VG_CHECK enum vg_status vg_file_read(struct vg_arena *arena, const char *path, size_t limit_bytes,
                                     struct vg_slice *ret_content, struct vg_err *err);

/* Written beside, synced, renamed over, folder synced: after a crash the old or the new, never
 * half. mode e.g. 0600. */
VG_CHECK enum vg_status vg_file_write(const char *path, struct vg_slice content, mode_t mode,
                                      struct vg_err *err);

/* Free bytes for us on the file system that holds path; -1 when it cannot be told. */
int64_t vg_disk_free_bytes(const char *path);

/* CRC-32C (Castagnoli), with the SSE4.2 instruction where there is one. Start with crc = 0. */
uint32_t vg_crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
