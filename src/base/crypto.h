/* crypto.h -- hashes, passwords, randomness, encodings. libsodium and OpenSSL underneath. */
#ifndef VG_BASE_CRYPTO_H
#define VG_BASE_CRYPTO_H

#include "base/arena.h"
#include "base/buf.h"

/* Once per process, before anything else here. */
VG_CHECK enum vg_status vg_crypto_init(struct vg_err *err);

void vg_random(void *out, size_t len);

/* `length` characters of a-z, 2-9 without look-alikes: about 4.9 bits each. NUL-terminated. */
void vg_random_password(char *out, size_t length);

void vg_sha256(struct vg_slice bytes, uint8_t out[static 32]);
void vg_sha256_hex(struct vg_slice bytes, char out[static 65]);

#define VG_PASSWORD_HASH_SIZE 128
/* Argon2id, PHC string format. `is_machine`: a secret that a program made (device, token), cheaper
 * parameters (19 MiB, 2 passes); else a person's (64 MiB, 3 passes). */
VG_CHECK enum vg_status vg_password_hash(struct vg_slice password, bool is_machine,
                                         char out[static VG_PASSWORD_HASH_SIZE],
                                         struct vg_err *err);
/* A hash that no password fits, made without the work: to be verified for somebody unknown, so that
 * time does not tell. */
void vg_password_hash_of_nobody(bool is_machine, char out[static VG_PASSWORD_HASH_SIZE]);
/* Constant-time; takes 10 to 100 ms: not in an event loop. */
bool vg_password_verify(const char *hash, struct vg_slice password);

/* Equal without telling by time where they differ. */
bool vg_secret_eq(struct vg_slice a, struct vg_slice b);

void vg_hex(const void *bytes, size_t len, char *out);         /* out: 2*len+1 */
bool vg_unhex(struct vg_slice text, uint8_t *out, size_t len); /* exactly len bytes */
void vg_base64_put(struct vg_buf *out, struct vg_slice bytes);
struct vg_slice vg_base64_decode(struct vg_arena *arena, struct vg_slice text); /* {NULL,0}: bad */

#endif
