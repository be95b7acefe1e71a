/* siphash_int.h -- SipHash-1-3: a hash whose collisions nobody can choose who does not know the
 * seed. For tables whose keys come from outside.
 */
#ifndef VG_BASE_SIPHASH_INT_H
#define VG_BASE_SIPHASH_INT_H

#include "base/slice.h"

static inline uint64_t siphash_rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static inline void siphash_round(uint64_t v[static 4])
{
    v[0] += v[1];
    v[1] = siphash_rotate(v[1], 13) ^ v[0];
    v[0] = siphash_rotate(v[0], 32);
    v[2] += v[3];
    v[3] = siphash_rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = siphash_rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = siphash_rotate(v[1], 17) ^ v[2];
    v[2] = siphash_rotate(v[2], 32);
}

static inline uint64_t siphash(uint64_t seed, struct vg_slice key)
{
    const uint64_t second = seed * 0x9e3779b97f4a7c15u;
    uint64_t v[4] = {seed ^ 0x736f6d6570736575u, second ^ 0x646f72616e646f6du,
                     seed ^ 0x6c7967656e657261u, second ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)key.len << 56, word;

    for (; key.len >= 8; key.ptr += 8, key.len -= 8) {
        memcpy(&word, key.ptr, 8);
        v[3] ^= word;
        siphash_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < key.len; i++)
        last |= (uint64_t)(unsigned char)key.ptr[i] << (8 * i);
    v[3] ^= last;
    siphash_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        siphash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* A seed from the system's randomness. */
uint64_t siphash_seed(void);

#endif
