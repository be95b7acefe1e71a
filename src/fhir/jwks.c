/* jwks.c -- the public keys of registered programs, and whether one of them has signed something.
 *
 * A program's keys are registered as they are (a JWKS), or by the address where it publishes them.
 * What was fetched is good for five minutes; when no key in it fits, it is fetched again at once,
 * for a key may be new, but not more often than every ten seconds, for anybody may send an
 * assertion in a client's name. One thread fetches; others go on with what there is. An old set
 * stays good while its address does not answer, for an hour.
 *
 * Why not libjwt here: its 1.x takes PEM keys, a client has a JWK; OpenSSL makes a key from either.
 *
 * Threads: any. `lock` guards the sets that are held and who fetches.
 */
#include "fhir/jwks_int.h"

#include "base/crypto.h"
#include "base/http_client.h"
#include "base/log.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#define P384_BYTES 48u
#define KEYS_MAX 32u /* of a set that are tried */
#define SETS_MAX 64u
#define SET_BYTES_MAX (256u << 10)
#define FRESH_US (5 * VG_MINUTE_US)
#define STALE_US VG_HOUR_US
#define PAUSE_US (10 * VG_SECOND_US)
#define FETCH_MS 5000u

struct set {
    char *url, *text; /* text NULL: never had */
    int64_t fetched_us, tried_us;
};

struct fhir_jwks {
    pthread_mutex_t lock;
    struct set sets[SETS_MAX];
    size_t count;
    bool is_fetching;
    struct vg_http_client *client; /* of the one that fetches */
};

/* ---- keys and signatures ---- */

struct vg_slice fhir_base64url_decode(struct vg_arena *arena, struct vg_slice text)
{
    size_t padded = (text.len + 3) / 4 * 4;
    char *copy = vg_arena_alloc(arena, padded + 1);

    if (!copy || text.len == 0)
        return (struct vg_slice){0};
    for (size_t i = 0; i < padded; i++) {
        char c = i < text.len ? text.ptr[i] : '=';

        if (i < text.len && (c == '+' || c == '/' || c == '='))
            return (struct vg_slice){0};
        copy[i] = c;
        if (c == '-')
            copy[i] = '+';
        else if (c == '_')
            copy[i] = '/';
    }
    return vg_base64_decode(arena, (struct vg_slice){copy, padded});
}

static EVP_PKEY *key_make(const char *algorithm, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    EVP_PKEY *key = NULL;

    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(struct vg_arena *arena, const struct vg_json *jwk)
{
    struct vg_slice n = fhir_base64url_decode(arena, vg_json_get_text(jwk, "n"));
    struct vg_slice e = fhir_base64url_decode(arena, vg_json_get_text(jwk, "e"));
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = BN_bin2bn((const unsigned char *)n.ptr, (int)n.len, NULL);
    BIGNUM *exponent = BN_bin2bn((const unsigned char *)e.ptr, (int)e.len, NULL);
    EVP_PKEY *key = NULL;

    if (n.len >= 256 && n.len <= 1024 && e.len >= 1 && e.len <= 8 && build && modulus && exponent &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
        key = key_make("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

static EVP_PKEY *ec_key(struct vg_arena *arena, const struct vg_json *jwk)
{
    struct vg_slice x = fhir_base64url_decode(arena, vg_json_get_text(jwk, "x"));
    struct vg_slice y = fhir_base64url_decode(arena, vg_json_get_text(jwk, "y"));
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    unsigned char point[1 + 2 * P384_BYTES] = {4};
    EVP_PKEY *key = NULL;

    if (vg_slice_is(vg_json_get_text(jwk, "crv"), "P-384") && x.len == P384_BYTES &&
        y.len == P384_BYTES && build) {
        memcpy(point + 1, x.ptr, P384_BYTES);
        memcpy(point + 1 + P384_BYTES, y.ptr, P384_BYTES);
        if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "secp384r1", 0) &&
            OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
            key = key_make("EC", build);
    }
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *key_of(struct vg_arena *arena, const struct vg_json *jwk)
{
    struct vg_slice kind = vg_json_get_text(jwk, "kty");

    return vg_slice_is(kind, "RSA")  ? rsa_key(arena, jwk)
           : vg_slice_is(kind, "EC") ? ec_key(arena, jwk)
                                     : NULL;
}

/* JWS has r and s side by side, OpenSSL wants them in DER. */
static int ecdsa_der(struct vg_slice raw, unsigned char **ret_der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = NULL, *s = NULL;
    int len = -1;

    *ret_der = NULL;
    if (raw.len == 2 * (size_t)P384_BYTES && pair) {
        r = BN_bin2bn((const unsigned char *)raw.ptr, (int)P384_BYTES, NULL);
        s = BN_bin2bn((const unsigned char *)raw.ptr + P384_BYTES, (int)P384_BYTES, NULL);
        if (r && s && ECDSA_SIG_set0(pair, r, s)) {
            r = s = NULL;
            len = i2d_ECDSA_SIG(pair, ret_der);
        }
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return len;
}

static bool signature_fits(EVP_PKEY *key, bool is_ec, struct vg_slice text,
                           struct vg_slice signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char *der = NULL;
    int der_len = is_ec ? ecdsa_der(signature, &der) : 0;
    const unsigned char *bytes = is_ec ? der : (const unsigned char *)signature.ptr;
    size_t len = is_ec ? (size_t)(der_len > 0 ? der_len : 0) : signature.len;
    bool is_fine =
        ctx && len > 0 && EVP_DigestVerifyInit(ctx, NULL, EVP_sha384(), NULL, key) == 1 &&
        EVP_DigestVerify(ctx, bytes, len, (const unsigned char *)text.ptr, text.len) == 1;

    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    return is_fine;
}

/* Whether one of these keys has signed it. The algorithm is the key's, whatever the head says. */
static bool is_signed(struct vg_arena *arena, struct vg_slice jwks, const struct vg_json *head,
                      struct vg_slice text, struct vg_slice signature)
{
    struct vg_slice kid = vg_json_get_text(head, "kid"), alg = vg_json_get_text(head, "alg");
    bool is_ec = vg_slice_is(alg, "ES384"), is_fine = false;
    struct vg_json *root = NULL;
    const struct vg_json *keys;
    size_t tried = 0;

    if ((!is_ec && !vg_slice_is(alg, "RS384")) ||
        vg_json_parse(arena, jwks, NULL, &root, NULL, NULL) != VG_OK)
        return false;
    keys = vg_json_get(root, "keys");
    for (const struct vg_json *one = keys ? keys->child : NULL; one && !is_fine && tried < KEYS_MAX;
         one = one->next) {
        struct vg_slice own = vg_json_get_text(one, "kid");
        EVP_PKEY *key = NULL;

        if (vg_slice_is(vg_json_get_text(one, "kty"), is_ec ? "EC" : "RSA") &&
            (kid.len == 0 || vg_slice_eq(kid, own)))
            key = key_of(arena, one);
        tried += key != NULL;
        is_fine = key && signature_fits(key, is_ec, text, signature);
        EVP_PKEY_free(key);
    }
    return is_fine;
}

/* ---- sets ---- */

static bool is_address(struct vg_slice text)
{
    return vg_slice_starts(text, VG_SLICE("https:")) || vg_slice_starts(text, VG_SLICE("http:"));
}

/* Without TLS from this machine alone: whoever could answer there could also register keys. */
static bool may_fetch(struct vg_slice url)
{
    static const char *const local[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    char text[512];

    if (!vg_slice_to_cstr(url, text, sizeof(text)) || strpbrk(text, " \t\r\n\"<>@"))
        return false;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        size_t len = strlen(local[i]);

        if (strncmp(text, local[i], len) == 0 && (text[len] == ':' || text[len] == '/'))
            return true;
    }
    return strncmp(text, "https://", 8) == 0 && strlen(text) > 8;
}

bool fhir_jwks_is_usable(struct vg_arena *arena, struct vg_slice text, const char **ret_why)
{
    struct vg_json *root = NULL;
    const struct vg_json *keys;

    if (is_address(text)) {
        *ret_why = "its address must be https:// (or http:// on loopback)";
        return may_fetch(text);
    }
    *ret_why = "it is not JSON with an array \"keys\"";
    if (vg_json_parse(arena, text, NULL, &root, NULL, NULL) != VG_OK)
        return false;
    keys = vg_json_get(root, "keys");
    if (!vg_json_is(keys, VG_JSON_ARRAY))
        return false;
    *ret_why = "no key in it is RSA of 2048 bits and more, or EC on P-384";
    for (const struct vg_json *one = keys->child; one; one = one->next) {
        EVP_PKEY *key = key_of(arena, one);

        if (vg_json_get(one, "d")) {
            *ret_why = "it holds a private key, which must stay with the client";
            EVP_PKEY_free(key);
            return false;
        }
        EVP_PKEY_free(key);
        if (key)
            return true;
    }
    return false;
}

/* ---- sets that are published ---- */

enum vg_status fhir_jwks_open(struct fhir_jwks **ret_jwks, struct vg_err *err)
{
    const struct vg_http_client_config config = {.timeout_ms = FETCH_MS,
                                                 .body_bytes_max = SET_BYTES_MAX};
    struct fhir_jwks *jwks = calloc(1, sizeof(*jwks));
    enum vg_status st;

    if (!jwks)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no memory for the keys of clients");
    (void)pthread_mutex_init(&jwks->lock, NULL);
    st = vg_http_client_open(&config, &jwks->client, err);
    if (st == VG_OK)
        *ret_jwks = jwks;
    else
        fhir_jwks_close(jwks);
    return st;
}

void fhir_jwks_close(struct fhir_jwks *jwks)
{
    if (!jwks)
        return;
    for (size_t i = 0; i < jwks->count; i++) {
        free(jwks->sets[i].url);
        free(jwks->sets[i].text);
    }
    vg_http_client_close(jwks->client);
    (void)pthread_mutex_destroy(&jwks->lock);
    free(jwks);
}

/* With the lock held. A new one takes the place of the one that was tried longest ago; NULL: no
 * memory. */
static struct set *set_of(struct fhir_jwks *jwks, struct vg_slice url)
{
    struct set *found = &jwks->sets[0];
    char *copy;

    for (size_t i = 0; i < jwks->count; i++) {
        if (vg_slice_is(url, jwks->sets[i].url))
            return &jwks->sets[i];
        if (jwks->sets[i].tried_us < found->tried_us)
            found = &jwks->sets[i];
    }
    copy = strndup(url.ptr, url.len);
    if (!copy)
        return NULL;
    if (jwks->count < SETS_MAX) {
        found = &jwks->sets[jwks->count++];
    } else {
        free(found->url);
        free(found->text);
    }
    *found = (struct set){.url = copy, .tried_us = -PAUSE_US};
    return found;
}

/* Without the lock, by the one who fetches. Owned by the caller; NULL: it did not come. */
static char *fetch(struct fhir_jwks *jwks, const char *url)
{
    struct vg_http_answer answer = {0};
    struct vg_err err = {0};
    struct vg_arena arena;
    const char *why = "";
    char *text = NULL;

    vg_arena_init(&arena, 8 * SET_BYTES_MAX);
    if (vg_http_fetch(jwks->client, "GET", url,
                      (const char *const[]){"Accept: application/json", NULL}, (struct vg_slice){0},
                      &arena, &answer, &err) != VG_OK)
        vg_log_err(VG_LOG_WARN, "fhir", &err);
    else if (answer.status != 200 || is_address(answer.body) ||
             !fhir_jwks_is_usable(&arena, answer.body, &why))
        vg_log(VG_LOG_WARN, "fhir", "fhir.jwks", "a client's key set cannot be used: HTTP %d %s",
               answer.status, why);
    else
        text = strndup(answer.body.ptr, answer.body.len);
    vg_arena_fini(&arena);
    return text;
}

/* The set at this address; fetched anew when it is old, or `wants_new`. Empty: there is none. */
static struct vg_slice set_get(struct fhir_jwks *jwks, struct vg_slice url, bool wants_new,
                               struct vg_arena *arena)
{
    struct vg_slice found = {0};
    int64_t now_us = vg_mono_us();
    struct set *set;
    char *text;

    (void)pthread_mutex_lock(&jwks->lock);
    set = set_of(jwks, url);
    if (set && !jwks->is_fetching && now_us - set->tried_us >= PAUSE_US &&
        (wants_new || !set->text || now_us - set->fetched_us > FRESH_US)) {
        char *address = strdup(set->url);

        jwks->is_fetching = true;
        set->tried_us = now_us;
        (void)pthread_mutex_unlock(&jwks->lock);
        text = address ? fetch(jwks, address) : NULL;
        free(address);
        (void)pthread_mutex_lock(&jwks->lock);
        jwks->is_fetching = false;
        set = set_of(jwks, url); /* its place may have been taken meanwhile */
        if (set && text) {
            free(set->text);
            set->text = text;
            set->fetched_us = set->tried_us = now_us;
            text = NULL;
        }
        free(text);
    }
    if (set && set->text && now_us - set->fetched_us < STALE_US)
        found = vg_arena_dup(arena, vg_slice_of(set->text));
    (void)pthread_mutex_unlock(&jwks->lock);
    return found;
}

bool fhir_jwks_has_signed(struct fhir_store *store, struct vg_arena *arena, struct vg_slice source,
                          const struct vg_json *head, struct vg_slice text,
                          struct vg_slice signature)
{
    struct vg_slice set = source;

    if (!is_address(source))
        return is_signed(arena, source, head, text, signature);
    set = set_get(store->jwks, source, false, arena);
    if (set.len && is_signed(arena, set, head, text, signature))
        return true;
    set = set_get(store->jwks, source, true, arena); /* its key may be new */
    return set.len && is_signed(arena, set, head, text, signature);
}
