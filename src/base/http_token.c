/* http_token.c -- see http_token.h.
 *
 * The lock is held while a token is fetched: everybody who needs one waits for the same answer. A
 * fetch that failed is not tried again for RETRY_US, so that a thousand waiting requests do not
 * become a thousand knocks at the token endpoint.
 *
 * What the endpoint says in an error is not put into ours but for the OAuth2 error code, which is a
 * word from a short list: its free text might repeat what we sent.
 */
#include "base/http_token.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_server.h" /* vg_url_encode */
#include "base/json.h"

#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define TOKEN_BYTES_MAX (64u << 10)
#define LIFE_USUAL_S 300
#define ASSERTION_LIFE_S 240 /* SMART: at most five minutes */
#define SPARE_US (30 * VG_SECOND_US)
#define RETRY_US (2 * VG_SECOND_US)
#define FILE_LOOK_US VG_SECOND_US

struct vg_http_token {
    char *file, *url, *client_id, *secret, *key_path, *key_id, *scope;
    pthread_mutex_t lock; /* guards all below */
    struct vg_http_client *client;
    char *header;           /* NULL = none */
    int64_t fresh_until_us; /* monotonic */
    int64_t not_before_us;  /* monotonic: the last try failed */
};

static bool is_given(const char *text)
{
    return text && *text;
}

bool vg_http_token_is_wanted(const struct vg_http_token_config *config)
{
    return is_given(config->file) || is_given(config->url);
}

static bool keep(char **to, const char *from)
{
    *to = is_given(from) ? strdup(from) : NULL;
    return !is_given(from) || *to;
}

enum vg_status vg_http_token_open(const struct vg_http_token_config *config,
                                  struct vg_http_token **ret_token, struct vg_err *err)
{
    struct vg_http_token *token;
    enum vg_status st = VG_OK;

    if (!is_given(config->file) &&
        (!is_given(config->client_id) || is_given(config->secret) == is_given(config->key_path)))
        return vg_fail(err, VG_REJECT, "http.token", 0,
                       "a token endpoint needs a client id, and a secret or a key but not both");
    if (!is_given(config->file) && strncmp(config->url, "https://", 8) != 0 &&
        strncmp(config->url, "http://127.0.0.1:", 17) != 0 &&
        strncmp(config->url, "http://localhost:", 17) != 0)
        return vg_fail(err, VG_REJECT, "http.token", 0,
                       "the token endpoint must be https://, for it is told a secret");
    token = calloc(1, sizeof(*token));
    if (!token)
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a token");
    (void)pthread_mutex_init(&token->lock, NULL);
    if (!keep(&token->file, config->file) || !keep(&token->url, config->url) ||
        !keep(&token->client_id, config->client_id) || !keep(&token->secret, config->secret) ||
        !keep(&token->key_path, config->key_path) || !keep(&token->key_id, config->key_id) ||
        !keep(&token->scope, config->scope))
        st = vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a token");
    if (st == VG_OK)
        st = vg_http_client_open(&config->http, &token->client, err);
    if (st != VG_OK) {
        vg_http_token_close(token);
        return st;
    }
    *ret_token = token;
    return VG_OK;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void vg_http_token_close(struct vg_http_token *token)
{
    if (!token)
        return;
    vg_http_client_close(token->client);
    wipe(token->header);
    wipe(token->secret);
    free(token->file);
    free(token->url);
    free(token->client_id);
    free(token->key_path);
    free(token->key_id);
    free(token->scope);
    (void)pthread_mutex_destroy(&token->lock);
    free(token);
}

/* A token is what a header may hold: no blank, no control character. */
static enum vg_status set_header(struct vg_http_token *token, struct vg_slice value,
                                 struct vg_err *err)
{
    static const char start[] = "Authorization: Bearer ";
    char *header;

    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] <= ' ' || (unsigned char)value.ptr[i] >= 127)
            value.len = 0;
    if (value.len == 0)
        return vg_fail(err, VG_RETRY, "http.token", 0, "what came as a token is none");
    header = malloc(sizeof(start) + value.len);
    if (!header)
        return vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a token");
    memcpy(header, start, sizeof(start) - 1);
    memcpy(header + sizeof(start) - 1, value.ptr, value.len);
    header[sizeof(start) - 1 + value.len] = '\0';
    wipe(token->header);
    token->header = header;
    return VG_OK;
}

/* ---- from a file ---- */

/* Read at each look: two files written within one tick of the clock may have the same time. */
static enum vg_status read_file(struct vg_http_token *token, struct vg_arena *arena,
                                struct vg_err *err)
{
    struct vg_slice text;
    enum vg_status st = vg_file_read(arena, token->file, TOKEN_BYTES_MAX, &text, err);

    if (st != VG_OK)
        return vg_fail(err, VG_RETRY, "http.token", 0, "the token's file cannot be read");
    return set_header(token, vg_slice_trim(text), err);
}

/* ---- from a token endpoint ---- */

static enum vg_status key_algorithm(struct vg_slice pem, jwt_alg_t *ret_alg, struct vg_err *err)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    enum vg_status st = VG_OK;

    if (key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
        *ret_alg = JWT_ALG_RS384;
    else if (key && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_bits(key) == 384)
        *ret_alg = JWT_ALG_ES384;
    else
        st = vg_fail(err, VG_REJECT, "http.token", 0,
                     "the client's key is not an RSA or P-384 private key in PEM form");
    EVP_PKEY_free(key);
    BIO_free(bio);
    return st;
}

/* RFC 7523, as SMART Backend Services wants it. */
static enum vg_status sign_assertion(const struct vg_http_token *token, struct vg_arena *arena,
                                     struct vg_slice *ret_text, struct vg_err *err)
{
    struct vg_slice pem;
    jwt_alg_t alg = JWT_ALG_NONE;
    unsigned char random[16];
    char id[33], *text = NULL;
    jwt_t *jwt = NULL;
    long now = (long)(vg_now_us() / VG_SECOND_US);
    enum vg_status st = vg_file_read(arena, token->key_path, TOKEN_BYTES_MAX, &pem, err);

    if (st != VG_OK)
        return vg_fail(err, VG_RETRY, "http.token", 0, "the client's key cannot be read");
    st = key_algorithm(pem, &alg, err);
    if (st != VG_OK)
        goto done;
    vg_random(random, sizeof(random));
    vg_hex(random, sizeof(random), id);
    if (jwt_new(&jwt) != 0 || jwt_add_grant(jwt, "iss", token->client_id) != 0 ||
        jwt_add_grant(jwt, "sub", token->client_id) != 0 ||
        jwt_add_grant(jwt, "aud", token->url) != 0 || jwt_add_grant(jwt, "jti", id) != 0 ||
        jwt_add_grant_int(jwt, "iat", now) != 0 ||
        jwt_add_grant_int(jwt, "exp", now + ASSERTION_LIFE_S) != 0 ||
        (token->key_id && jwt_add_header(jwt, "kid", token->key_id) != 0) ||
        jwt_set_alg(jwt, alg, (const unsigned char *)pem.ptr, (int)pem.len) != 0 ||
        !(text = jwt_encode_str(jwt))) {
        st = vg_fail(err, VG_RETRY, "http.token", 0, "the assertion could not be signed");
        goto done;
    }
    *ret_text = vg_arena_dup(arena, vg_slice_of(text));
    if (!ret_text->ptr)
        st = vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a token");
done:
    explicit_bzero((void *)(uintptr_t)pem.ptr, pem.len);
    free(text);
    jwt_free(jwt);
    return st;
}

static void put_field(struct vg_buf *form, const char *name, const char *value)
{
    vg_buf_printf(form, "%s%s=", form->len ? "&" : "", name);
    vg_url_encode(form, vg_slice_of(value));
}

/* RFC 6749, 2.3.1: both are form-encoded before they are joined. */
static const char *basic_header(const struct vg_http_token *token, struct vg_arena *arena)
{
    struct vg_buf pair, text;
    const char *header;

    vg_buf_init(&pair, TOKEN_BYTES_MAX);
    vg_buf_init(&text, TOKEN_BYTES_MAX);
    vg_url_encode(&pair, vg_slice_of(token->client_id));
    vg_buf_put_byte(&pair, ':');
    vg_url_encode(&pair, vg_slice_of(token->secret));
    vg_base64_put(&text, vg_buf_slice(&pair));
    header =
        vg_buf_ok(&pair) && vg_buf_ok(&text)
            ? vg_arena_printf(arena, "Authorization: Basic %.*s", VG_FMT(vg_buf_slice(&text))).ptr
            : NULL;
    vg_buf_fini(&pair);
    vg_buf_fini(&text);
    return header;
}

static enum vg_status take_answer(struct vg_http_token *token, struct vg_arena *arena,
                                  const struct vg_http_answer *answer, struct vg_err *err)
{
    static const char *const known[] = {"invalid_client",         "invalid_grant",
                                        "invalid_scope",          "invalid_request",
                                        "unauthorized_client",    "unsupported_grant_type",
                                        "temporarily_unavailable"};
    const char *why = "no reason given";
    struct vg_json *json = NULL;
    int64_t life_s = LIFE_USUAL_S;
    enum vg_status st = vg_json_parse(arena, answer->body, NULL, &json, NULL, NULL);

    if (st != VG_OK || answer->status != 200) {
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && json; i++)
            if (vg_slice_is(vg_json_get_text(json, "error"), known[i]))
                why = known[i];
        return vg_fail(err, VG_RETRY, "http.token", 0, "the token endpoint answered %d (%s)",
                       answer->status, why);
    }
    st = set_header(token, vg_json_get_text(json, "access_token"), err);
    if (st != VG_OK)
        return st;
    (void)vg_json_to_i64(vg_json_get(json, "expires_in"), &life_s);
    if (life_s < 0 || life_s > 86400)
        life_s = LIFE_USUAL_S;
    token->fresh_until_us = vg_mono_us() + life_s * VG_SECOND_US -
                            (life_s * VG_SECOND_US > 2 * SPARE_US ? SPARE_US : 0);
    return VG_OK;
}

static enum vg_status ask_endpoint(struct vg_http_token *token, struct vg_arena *arena,
                                   struct vg_err *err)
{
    const char *headers[] = {"Content-Type: application/x-www-form-urlencoded",
                             "Accept: application/json", NULL, NULL};
    struct vg_slice assertion = {0};
    struct vg_http_answer answer;
    struct vg_buf form;
    enum vg_status st = VG_OK;

    vg_buf_init(&form, TOKEN_BYTES_MAX);
    put_field(&form, "grant_type", "client_credentials");
    if (token->scope)
        put_field(&form, "scope", token->scope);
    if (token->key_path) {
        st = sign_assertion(token, arena, &assertion, err);
        put_field(&form, "client_assertion_type",
                  "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        put_field(&form, "client_assertion", assertion.ptr ? assertion.ptr : "");
    } else {
        headers[2] = basic_header(token, arena);
    }
    if (st == VG_OK && (!vg_buf_ok(&form) || (!token->key_path && !headers[2])))
        st = vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a token");
    if (st == VG_OK)
        st = vg_http_fetch(token->client, "POST", token->url, headers, vg_buf_slice(&form), arena,
                           &answer, err);
    if (st == VG_OK)
        st = take_answer(token, arena, &answer, err);
    vg_buf_fini(&form);
    return st;
}

/* ---- any thread ---- */

static enum vg_status refresh(struct vg_http_token *token, struct vg_err *err)
{
    struct vg_arena arena;
    enum vg_status st;

    vg_arena_init(&arena, 4 * TOKEN_BYTES_MAX);
    if (token->file) {
        st = read_file(token, &arena, err);
        token->fresh_until_us = vg_mono_us() + FILE_LOOK_US;
    } else {
        st = ask_endpoint(token, &arena, err);
    }
    vg_arena_fini(&arena);
    token->not_before_us = st == VG_OK ? 0 : vg_mono_us() + RETRY_US;
    return st;
}

enum vg_status vg_http_token_get(struct vg_http_token *token, struct vg_arena *arena,
                                 const char **ret_header, struct vg_err *err)
{
    enum vg_status st = VG_OK;

    (void)pthread_mutex_lock(&token->lock);
    if (!token->header || vg_mono_us() >= token->fresh_until_us)
        st = vg_mono_us() < token->not_before_us
                 ? vg_fail(err, VG_RETRY, "http.token", 0, "there is no access token just now")
                 : refresh(token, err);
    if (st == VG_OK) {
        *ret_header = vg_arena_dup(arena, vg_slice_of(token->header)).ptr;
        if (!*ret_header)
            st = vg_fail(err, VG_RETRY, "http.memory", 0, "no memory for a token");
    }
    (void)pthread_mutex_unlock(&token->lock);
    return st == VG_OK ? VG_OK : VG_RETRY;
}

void vg_http_token_refused(struct vg_http_token *token, const char *header)
{
    (void)pthread_mutex_lock(&token->lock);
    if (token->header && strcmp(token->header, header) == 0) {
        wipe(token->header);
        token->header = NULL;
        token->fresh_until_us = 0;
    }
    (void)pthread_mutex_unlock(&token->lock);
}
