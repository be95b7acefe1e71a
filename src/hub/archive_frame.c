/* archive_frame.c -- frames of the archive: records in, sealed bytes out, and back.
 *
 * docs/format-archive.md is the format. A frame is compressed first and encrypted then; its header
 * is authenticated with it and names the hash of the frame before, so frames cannot be
 * changed, dropped or moved without the chain showing it. Random nonces of 24 bytes do not repeat.
 */
#include "hub/archive_int.h"

#include "base/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zstd.h>

#define MAGIC 0x46414756u /* "VGAF" */
#define VERSION 1u
#define ZSTD_LEVEL 3
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define RECORD_BYTES 26

static void put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void put_u64(uint8_t *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t get_u32(const void *from)
{
    const uint8_t *at = from;

    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const void *from)
{
    return get_u32(from) | (uint64_t)get_u32((const uint8_t *)from + 4) << 32;
}

void frame_header_encode(const struct frame_header *h, uint8_t out[static FRAME_HEADER_BYTES])
{
    memset(out, 0, FRAME_HEADER_BYTES);
    put_u32(out, MAGIC);
    put_u32(out + 4, VERSION);
    put_u32(out + 8, h->partition);
    put_u32(out + 12, h->record_count);
    put_u64(out + 16, h->first_seq);
    put_u64(out + 24, h->last_seq);
    put_u64(out + 32, (uint64_t)h->first_us);
    put_u64(out + 40, (uint64_t)h->last_us);
    put_u32(out + 48, h->plain_bytes);
    put_u32(out + 52, h->sealed_bytes);
    memcpy(out + 56, h->key_id, 8);
    memcpy(out + 64, h->nonce, 24);
    memcpy(out + 88, h->prev_hash, 32);
    put_u32(out + 124, vg_crc32c(0, out, 124));
}

bool frame_header_decode(const uint8_t in[static FRAME_HEADER_BYTES], struct frame_header *ret)
{
    if (get_u32(in) != MAGIC || get_u32(in + 4) != VERSION ||
        get_u32(in + 124) != vg_crc32c(0, in, 124))
        return false;
    *ret = (struct frame_header){.partition = get_u32(in + 8),
                                 .record_count = get_u32(in + 12),
                                 .first_seq = get_u64(in + 16),
                                 .last_seq = get_u64(in + 24),
                                 .first_us = (int64_t)get_u64(in + 32),
                                 .last_us = (int64_t)get_u64(in + 40),
                                 .plain_bytes = get_u32(in + 48),
                                 .sealed_bytes = get_u32(in + 52)};
    memcpy(ret->key_id, in + 56, 8);
    memcpy(ret->nonce, in + 64, 24);
    memcpy(ret->prev_hash, in + 88, 32);
    return ret->plain_bytes <= FRAME_BYTES_MAX && ret->sealed_bytes <= FRAME_BYTES_MAX &&
           ret->sealed_bytes >= TAG_BYTES && ret->record_count > 0 &&
           ret->last_seq >= ret->first_seq;
}

static void key_id_of(const uint8_t key[static ARCHIVE_KEY_BYTES], uint8_t out[static 8])
{
    uint8_t hash[32];

    crypto_generichash(hash, sizeof(hash), key, ARCHIVE_KEY_BYTES,
                       (const uint8_t *)"vigil archive key", 17);
    memcpy(out, hash, 8);
}

enum vg_status frame_seal(const uint8_t key[static ARCHIVE_KEY_BYTES], struct frame_header *header,
                          struct vg_slice plain, struct vg_buf *out, uint8_t ret_hash[static 32],
                          struct vg_err *err)
{
    size_t bound = ZSTD_compressBound(plain.len), packed;
    unsigned long long sealed = 0;
    struct vg_buf zipped;
    uint8_t *at;
    enum vg_status st = VG_OK;

    vg_buf_init(&zipped, 2u * FRAME_BYTES_MAX);
    vg_buf_clear(out);
    at = (uint8_t *)vg_buf_reserve(out, FRAME_HEADER_BYTES + bound + TAG_BYTES);
    if (!vg_buf_reserve(&zipped, bound) || !at) {
        st = vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory for a frame");
        goto done;
    }
    packed = ZSTD_compress(zipped.ptr, bound, plain.ptr, plain.len, ZSTD_LEVEL);
    if (ZSTD_isError(packed)) {
        st = vg_fail(err, VG_RETRY, "archive.zstd", 0, "%s", ZSTD_getErrorName(packed));
        goto done;
    }
    header->plain_bytes = (uint32_t)plain.len;
    header->sealed_bytes = (uint32_t)(packed + TAG_BYTES);
    key_id_of(key, header->key_id);
    randombytes_buf(header->nonce, sizeof(header->nonce));
    frame_header_encode(header, at);
    crypto_aead_xchacha20poly1305_ietf_encrypt(at + FRAME_HEADER_BYTES, &sealed,
                                               (const uint8_t *)zipped.ptr, packed, at,
                                               FRAME_HEADER_BYTES, NULL, header->nonce, key);
    out->len = FRAME_HEADER_BYTES + (size_t)sealed;
    vg_sha256(vg_buf_slice(out), ret_hash);
done:
    vg_buf_fini(&zipped);
    return st;
}

enum vg_status frame_open(const uint8_t key[static ARCHIVE_KEY_BYTES], struct vg_slice frame,
                          struct vg_buf *plain, uint8_t ret_hash[static 32], struct vg_err *err)
{
    const uint8_t *at = (const uint8_t *)frame.ptr;
    struct frame_header header;
    uint8_t key_id[8];
    struct vg_buf zipped;
    unsigned long long packed = 0;
    enum vg_status st = VG_OK;
    size_t got;

    if (frame.len < FRAME_HEADER_BYTES || !frame_header_decode(at, &header) ||
        frame.len != FRAME_HEADER_BYTES + header.sealed_bytes)
        return vg_fail(err, VG_REJECT, "archive.damage", 0, "the frame's header is damaged");
    key_id_of(key, key_id);
    if (memcmp(key_id, header.key_id, sizeof(key_id)) != 0)
        return vg_fail(err, VG_REJECT, "archive.key_id", 0, "the frame has another key");
    vg_buf_init(&zipped, FRAME_BYTES_MAX);
    vg_buf_clear(plain);
    if (!vg_buf_reserve(&zipped, header.sealed_bytes) ||
        !vg_buf_reserve(plain, header.plain_bytes ? header.plain_bytes : 1)) {
        st = vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory for a frame");
        goto done;
    }
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)zipped.ptr, &packed, NULL,
                                                   at + FRAME_HEADER_BYTES, header.sealed_bytes, at,
                                                   FRAME_HEADER_BYTES, header.nonce, key) != 0) {
        st = vg_fail(err, VG_REJECT, "archive.damage", 0, "the frame was changed");
        goto done;
    }
    got = ZSTD_decompress(plain->ptr, header.plain_bytes, zipped.ptr, (size_t)packed);
    if (ZSTD_isError(got) || got != header.plain_bytes) {
        st = vg_fail(err, VG_REJECT, "archive.damage", 0, "the frame cannot be decompressed");
        goto done;
    }
    plain->len = got;
    vg_sha256(frame, ret_hash);
done:
    vg_buf_fini(&zipped);
    return st;
}

void frame_record_put(struct vg_buf *plain, const struct stream_record *record)
{
    vg_buf_put_u64(plain, record->seq);
    vg_buf_put_u64(plain, (uint64_t)record->time_us);
    vg_buf_put_u16(plain, (uint16_t)record->key.len);
    vg_buf_put_u32(plain, (uint32_t)record->headers.len);
    vg_buf_put_u32(plain, (uint32_t)record->value.len);
    vg_buf_put(plain, record->key);
    vg_buf_put(plain, record->headers);
    vg_buf_put(plain, record->value);
}

bool frame_record_next(struct vg_slice plain, size_t *cursor, struct stream_record *ret)
{
    struct vg_slice rest = vg_slice_from(plain, *cursor);
    size_t key, headers, value;

    if (rest.len < RECORD_BYTES)
        return false;
    key = get_u32(rest.ptr + 16) & 0xFFFFu;
    headers = get_u32(rest.ptr + 18);
    value = get_u32(rest.ptr + 22);
    if (rest.len - RECORD_BYTES < key + headers + value)
        return false;
    ret->seq = get_u64(rest.ptr);
    ret->time_us = (int64_t)get_u64(rest.ptr + 8);
    ret->key = (struct vg_slice){rest.ptr + RECORD_BYTES, key};
    ret->headers = (struct vg_slice){ret->key.ptr + key, headers};
    ret->value = (struct vg_slice){ret->headers.ptr + headers, value};
    *cursor += RECORD_BYTES + key + headers + value;
    return true;
}

/* ---- the key ---- */

enum vg_status archive_key_load(const char *data_dir, bool may_make,
                                uint8_t ret_key[static ARCHIVE_KEY_BYTES], struct vg_err *err)
{
    char path[4096], hex[2 * ARCHIVE_KEY_BYTES + 2];
    struct vg_slice text = {0};
    struct vg_arena arena;
    struct stat info;
    enum vg_status st;

    if (snprintf(path, sizeof(path), "%s/archive.key", data_dir) >= (int)sizeof(path))
        return vg_fail(err, VG_FATAL, "archive.key", 0, "folder name is too long");
    vg_arena_init(&arena, 64u << 10);
    st = vg_file_read(&arena, path, 4096, &text, err);
    if (st == VG_END && may_make) {
        vg_random(ret_key, ARCHIVE_KEY_BYTES);
        vg_hex(ret_key, ARCHIVE_KEY_BYTES, hex);
        hex[2 * ARCHIVE_KEY_BYTES] = '\n';
        st = vg_file_write(path, (struct vg_slice){hex, 2 * ARCHIVE_KEY_BYTES + 1}, 0600, err);
        sodium_memzero(hex, sizeof(hex));
    } else if (st == VG_END) {
        st = vg_fail(err, VG_FATAL, "archive.key", 0, "no archive key: %.200s", path);
    } else if (st == VG_OK && (stat(path, &info) != 0 || (info.st_mode & 077))) {
        st = vg_fail(err, VG_FATAL, "archive.key", 0,
                     "%.200s may be read by others than its owner: chmod 600 it", path);
    } else if (st == VG_OK && !vg_unhex(vg_slice_trim(text), ret_key, ARCHIVE_KEY_BYTES)) {
        st = vg_fail(err, VG_FATAL, "archive.key", 0, "%.200s does not hold 64 hex digits", path);
    }
    if (text.ptr)
        sodium_memzero((void *)(uintptr_t)text.ptr, text.len);
    vg_arena_fini(&arena);
    return st;
}

/* ---- names ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

enum vg_status archive_names(const char *dir, char (**ret_names)[ARCHIVE_NAME_SIZE],
                             size_t *ret_count, struct vg_err *err)
{
    DIR *open_dir = opendir(dir);
    char(*names)[ARCHIVE_NAME_SIZE] = NULL;
    size_t count = 0, capacity = 0;
    struct dirent *entry;

    *ret_names = NULL;
    *ret_count = 0;
    if (!open_dir && errno == ENOENT)
        return VG_OK;
    if (!open_dir)
        return vg_fail(err, VG_RETRY, "archive.dir", errno, "%.200s", dir);
    while ((entry = readdir(open_dir))) {
        size_t len = strlen(entry->d_name);

        if (len <= 4 || len - 4 >= ARCHIVE_NAME_SIZE ||
            strcmp(entry->d_name + len - 4, ".vga") != 0)
            continue;
        if (count == capacity) {
            void *grown =
                realloc(names, (capacity = capacity ? 2 * capacity : 64) * sizeof(*names));

            if (!grown) {
                free(names);
                closedir(open_dir);
                return vg_fail(err, VG_RETRY, "archive.memory", 0, "no memory");
            }
            names = grown;
        }
        memset(names[count], 0, sizeof(names[count]));
        memcpy(names[count++], entry->d_name, len - 4);
    }
    closedir(open_dir);
    if (count)
        qsort(names, count, sizeof(*names), by_name);
    *ret_names = names;
    *ret_count = count;
    return VG_OK;
}
