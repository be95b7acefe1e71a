/* archive_int.h -- a frame of the archive, as docs/format-archive.md has it. Private to src/hub. */
#ifndef VG_HUB_ARCHIVE_INT_H
#define VG_HUB_ARCHIVE_INT_H

#include "hub/archive.h"

#define FRAME_HEADER_BYTES 128
#define FRAME_BYTES_MAX (64u << 20) /* of what is inside, and of what is on the disk */
#define ARCHIVE_KEY_BYTES 32
#define ARCHIVE_NAME_SIZE 64

struct frame_header {
    uint32_t partition, record_count;
    uint64_t first_seq, last_seq;
    int64_t first_us, last_us;
    uint32_t plain_bytes, sealed_bytes;
    uint8_t key_id[8], nonce[24], prev_hash[32];
};

void frame_header_encode(const struct frame_header *header, uint8_t out[static FRAME_HEADER_BYTES]);
/* False: magic, version, checksum or sizes are wrong. */
bool frame_header_decode(const uint8_t in[static FRAME_HEADER_BYTES], struct frame_header *ret);

/* Fills in sizes, key id and nonce; `out` becomes header and sealed body, ready for the disk. */
VG_CHECK enum vg_status frame_seal(const uint8_t key[static ARCHIVE_KEY_BYTES],
                                   struct frame_header *header, struct vg_slice plain,
                                   struct vg_buf *out, uint8_t ret_hash[static 32],
                                   struct vg_err *err);
/* `frame` is header and body. VG_REJECT archive.damage: not what was written, or another key. */
VG_CHECK enum vg_status frame_open(const uint8_t key[static ARCHIVE_KEY_BYTES],
                                   struct vg_slice frame, struct vg_buf *plain,
                                   uint8_t ret_hash[static 32], struct vg_err *err);

void frame_record_put(struct vg_buf *plain, const struct stream_record *record);
bool frame_record_next(struct vg_slice plain, size_t *cursor, struct stream_record *ret);

/* DATA/archive.key, 64 hex digits; made with mode 0600 where it is missing and `may_make`. */
VG_CHECK enum vg_status archive_key_load(const char *data_dir, bool may_make,
                                         uint8_t ret_key[static ARCHIVE_KEY_BYTES],
                                         struct vg_err *err);

/* The segments of a folder in the order of the chain, without ".vga". Free with free(). */
VG_CHECK enum vg_status archive_names(const char *dir, char (**ret_names)[ARCHIVE_NAME_SIZE],
                                      size_t *ret_count, struct vg_err *err);

#endif
