/* crypto.c -- hashes, passwords, randomness, encodings.
 *
 * libsodium for passwords, randomness and constant-time comparison; OpenSSL for SHA-256, because it
 * uses the processor's instructions for it. OpenSSL's older functions: the newer ones take memory
 * twice for each hash, and every Observation's id is one.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/crypto.h"

#include <openssl/sha.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

_Static_assert(VG_PASSWORD_HASH_SIZE >= crypto_pwhash_STRBYTES, "a PHC string must fit");

/* OWASP's floor for Argon2id, for secrets that a program made (128 bits and more of entropy), and
 * more for what people choose. */
#define MACHINE_PASSES 2
#define MACHINE_MEMORY_BYTES ((size_t)19 << 20)
#define PERSON_PASSES 3
#define PERSON_MEMORY_BYTES ((size_t)64 << 20)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_ready;

static void setup(void)
{
    is_ready = sodium_init() >= 0;
}

enum vg_status vg_crypto_init(struct vg_err *err)
{
    (void)pthread_once(&once, setup);
    if (!is_ready)
        return vg_fail(err, VG_FATAL, "crypto.init", 0, "libsodium did not start");
    return VG_OK;
}

void vg_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

void vg_random_password(char *out, size_t length)
{
    static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789"; /* no i, l, o, 0, 1 */

    for (size_t i = 0; i < length; i++)
        out[i] = letters[randombytes_uniform(sizeof(letters) - 1)];
    out[length] = '\0';
}

void vg_sha256(struct vg_slice bytes, uint8_t out[static 32])
{
    SHA256_CTX hash;

    /* None of these can fail; no caller could go on with a wrong hash. */
    if (SHA256_Init(&hash) != 1 ||
        SHA256_Update(&hash, bytes.ptr ? bytes.ptr : "", bytes.len) != 1 ||
        SHA256_Final(out, &hash) != 1)
        abort();
}

void vg_sha256_hex(struct vg_slice bytes, char out[static 65])
{
    uint8_t digest[32];

    vg_sha256(bytes, digest);
    vg_hex(digest, sizeof(digest), out);
}

enum vg_status vg_password_hash(struct vg_slice password, bool is_machine,
                                char out[static VG_PASSWORD_HASH_SIZE], struct vg_err *err)
{
    unsigned long long passes = is_machine ? MACHINE_PASSES : PERSON_PASSES;
    size_t memory_bytes = is_machine ? MACHINE_MEMORY_BYTES : PERSON_MEMORY_BYTES;

    if (crypto_pwhash_str_alg(out, password.ptr ? password.ptr : "", password.len, passes,
                              memory_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return vg_fail(err, VG_RETRY, "crypto.memory", 0,
                       "no memory to hash a password (%zu MiB are needed)", memory_bytes >> 20);
    return VG_OK;
}

void vg_password_hash_of_nobody(bool is_machine, char out[static VG_PASSWORD_HASH_SIZE])
{
    uint8_t random[48]; /* salt and hash */
    char salt[32], hash[64];

    randombytes_buf(random, sizeof(random));
    (void)sodium_bin2base64(salt, sizeof(salt), random, 16,
                            sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    (void)sodium_bin2base64(hash, sizeof(hash), random + 16, 32,
                            sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    (void)snprintf(out, VG_PASSWORD_HASH_SIZE, "$argon2id$v=19$m=%zu,t=%d,p=1$%s$%s",
                   (is_machine ? MACHINE_MEMORY_BYTES : PERSON_MEMORY_BYTES) >> 10,
                   is_machine ? MACHINE_PASSES : PERSON_PASSES, salt, hash);
}

bool vg_password_verify(const char *hash, struct vg_slice password)
{
    return crypto_pwhash_str_verify(hash, password.ptr ? password.ptr : "", password.len) == 0;
}

bool vg_secret_eq(struct vg_slice a, struct vg_slice b)
{
    /* The lengths are no secret of ours: all tokens have the same. */
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void vg_hex(const void *bytes, size_t len, char *out)
{
    (void)sodium_bin2hex(out, 2 * len + 1, bytes, len);
}

bool vg_unhex(struct vg_slice text, uint8_t *out, size_t len)
{
    size_t written = 0;
    const char *end = NULL;

    return text.len == 2 * len &&
           sodium_hex2bin(out, len, text.ptr, text.len, NULL, &written, &end) == 0 &&
           written == len && end == text.ptr + text.len;
}

void vg_base64_put(struct vg_buf *out, struct vg_slice bytes)
{
    size_t size_bytes = sodium_base64_ENCODED_LEN(bytes.len, sodium_base64_VARIANT_ORIGINAL);
    char *at = vg_buf_reserve(out, size_bytes); /* with its NUL, which is not kept */

    if (!at)
        return;
    (void)sodium_bin2base64(at, size_bytes, (const unsigned char *)(bytes.ptr ? bytes.ptr : ""),
                            bytes.len, sodium_base64_VARIANT_ORIGINAL);
    out->len += size_bytes - 1;
}

struct vg_slice vg_base64_decode(struct vg_arena *arena, struct vg_slice text)
{
    size_t room_bytes = text.len / 4 * 3 + 3, written = 0;
    unsigned char *out = vg_arena_alloc(arena, room_bytes);
    const char *end = NULL;

    if (!out)
        return (struct vg_slice){0};
    if (text.len == 0)
        return (struct vg_slice){(char *)out, 0};
    if (sodium_base642bin(out, room_bytes, text.ptr, text.len, NULL, &written, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        end != text.ptr + text.len)
        return (struct vg_slice){0};
    return (struct vg_slice){(char *)out, written};
}
