/* http_token_test.c -- tokens from a file, for a secret, and for a signed assertion. */
#include "base/http_token.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_server.h"
#include "base/loop.h"

#include "vg_test.h"

#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/vigil-token-XXXXXX";
static struct vg_arena arena;
static char url[64];

/* ---- a token endpoint ---- */

static atomic_int asked, life_s = 3600, status = 200;
static char last_alg[16], last_kid[32], public_pem[4096];

static bool is_signed(struct vg_http_request *request)
{
    struct vg_slice text = vg_http_query_get(request, "client_assertion");
    const char *token = vg_arena_dup(vg_http_arena(request), text).ptr;
    jwt_t *jwt = NULL;
    bool is_fine;

    if (!token ||
        jwt_decode(&jwt, token, (const unsigned char *)public_pem, (int)strlen(public_pem)) != 0)
        return false;
    is_fine = strcmp(jwt_get_grant(jwt, "iss"), "us") == 0 &&
              strcmp(jwt_get_grant(jwt, "sub"), "us") == 0 &&
              strcmp(jwt_get_grant(jwt, "aud"), url) == 0 && jwt_get_grant(jwt, "jti") &&
              jwt_get_grant_int(jwt, "exp") <= time(NULL) + 300;
    (void)snprintf(last_alg, sizeof(last_alg), "%s", jwt_alg_str(jwt_get_alg(jwt)));
    (void)snprintf(last_kid, sizeof(last_kid), "%s", jwt_get_header(jwt, "kid"));
    jwt_free(jwt);
    return is_fine;
}

static void on_token(struct vg_http_request *request, void *ctx)
{
    char answer[128];
    bool is_known =
        vg_slice_is(vg_http_header(request, "Authorization"), "Basic dXM6cyUyRmNyZXQ=") ||
        is_signed(request);
    int n, count = atomic_fetch_add(&asked, 1) + 1;

    (void)ctx;
    if (!is_known || atomic_load(&status) != 200) {
        vg_http_reply(request, is_known ? atomic_load(&status) : 401, "application/json",
                      VG_SLICE("{\"error\":\"invalid_client\",\"error_description\":\"s/cret\"}"));
        return;
    }
    n = snprintf(answer, sizeof(answer),
                 "{\"access_token\":\"t%d\",\"token_type\":\"bearer\",\"expires_in\":%d}", count,
                 atomic_load(&life_s));
    vg_http_reply(request, 200, "application/json", (struct vg_slice){answer, (size_t)n});
}

/* ---- helpers ---- */

static const char *get(struct vg_http_token *token, struct vg_err *err)
{
    const char *header = NULL;

    return vg_http_token_get(token, &arena, &header, err) == VG_OK ? header : "";
}

static const char *path_of(const char *name)
{
    return vg_arena_printf(&arena, "%s/%s", dir, name).ptr;
}

static void write_key(EVP_PKEY *key, const char *path)
{
    FILE *file = fopen(path, "w");
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    if (CHECK(file && key && bio)) {
        CHECK(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
        CHECK(PEM_write_bio_PUBKEY(bio, key) == 1);
        len = BIO_get_mem_data(bio, &text);
        (void)snprintf(public_pem, sizeof(public_pem), "%.*s", (int)len, text);
    }
    if (file)
        CHECK(fclose(file) == 0);
    BIO_free(bio);
    EVP_PKEY_free(key);
}

/* ---- tests ---- */

static void test_a_file_is_read_again_when_it_changes(void)
{
    const struct vg_http_token_config config = {.file = path_of("token")};
    const struct timespec pause = {.tv_nsec = 20000000};
    struct vg_http_token *token = NULL;
    int64_t end_us = vg_mono_us() + 10 * VG_SECOND_US;
    struct vg_err err = {0};

    if (!CHECK(vg_http_token_open(&config, &token, &err) == VG_OK))
        return;
    CHECK(strcmp(get(token, &err), "") == 0 && strcmp(err.code, "http.token") == 0);
    vg_http_token_close(token);
    CHECK(vg_file_write(config.file, VG_SLICE(" one\n"), 0600, NULL) == VG_OK);
    CHECK(vg_http_token_open(&config, &token, &err) == VG_OK);
    CHECK(strcmp(get(token, &err), "Authorization: Bearer one") == 0);
    CHECK(vg_file_write(config.file, VG_SLICE("two\n"), 0600, NULL) == VG_OK);
    while (strcmp(get(token, &err), "Authorization: Bearer two") != 0 && vg_mono_us() < end_us)
        (void)nanosleep(&pause, NULL);
    CHECK(strcmp(get(token, &err), "Authorization: Bearer two") == 0);
    vg_http_token_close(token);
    CHECK(vg_file_write(config.file, VG_SLICE("with\r\nEvil: header"), 0600, NULL) == VG_OK);
    CHECK(vg_http_token_open(&config, &token, &err) == VG_OK);
    CHECK(strcmp(get(token, &err), "") == 0);
    vg_http_token_close(token);
}

static void test_a_secret_buys_a_token_that_is_kept(void)
{
    const struct vg_http_token_config config = {
        .url = url, .client_id = "us", .secret = "s/cret", .scope = "system/*.read"};
    struct vg_http_token *token = NULL;
    struct vg_err err = {0};
    const char *first;

    atomic_store(&asked, 0);
    if (!CHECK(vg_http_token_open(&config, &token, &err) == VG_OK))
        return;
    first = get(token, &err);
    CHECK(strcmp(first, "Authorization: Bearer t1") == 0);
    CHECK(strcmp(get(token, &err), first) == 0 && atomic_load(&asked) == 1);
    vg_http_token_refused(token, "Authorization: Bearer another");
    CHECK(strcmp(get(token, &err), first) == 0);
    vg_http_token_refused(token, first);
    CHECK(strcmp(get(token, &err), "Authorization: Bearer t2") == 0);
    vg_http_token_close(token);

    /* One that is over at once is fetched anew each time. */
    atomic_store(&life_s, 0);
    CHECK(vg_http_token_open(&config, &token, &err) == VG_OK);
    CHECK(strcmp(get(token, &err), "Authorization: Bearer t3") == 0);
    CHECK(strcmp(get(token, &err), "Authorization: Bearer t4") == 0);
    vg_http_token_close(token);
    atomic_store(&life_s, 3600);
}

static void test_a_refusal_is_told_without_the_secret_and_not_asked_for_again_at_once(void)
{
    const struct vg_http_token_config config = {.url = url, .client_id = "us", .secret = "wrong"};
    struct vg_http_token *token = NULL;
    struct vg_err err = {0};

    atomic_store(&asked, 0);
    if (!CHECK(vg_http_token_open(&config, &token, &err) == VG_OK))
        return;
    CHECK(strcmp(get(token, &err), "") == 0);
    CHECK(strstr(err.text, "401") && strstr(err.text, "invalid_client"));
    CHECK(!strstr(err.text, "wrong") && !strstr(err.text, "s/cret"));
    CHECK(strcmp(get(token, &err), "") == 0 && atomic_load(&asked) == 1);
    vg_http_token_close(token);
}

static void test_a_signed_assertion_buys_a_token(void)
{
    static const char *const algorithms[] = {"RS384", "ES384"};

    for (int i = 0; i < 2; i++) {
        const struct vg_http_token_config config = {
            .url = url, .client_id = "us", .key_path = path_of("key.pem"), .key_id = "kid-7"};
        struct vg_http_token *token = NULL;
        struct vg_err err = {0};

        CHECK_ROW(algorithms[i]);
        write_key(i ? EVP_EC_gen("P-384") : EVP_RSA_gen(2048), config.key_path);
        if (!CHECK(vg_http_token_open(&config, &token, &err) == VG_OK))
            return;
        if (!CHECK(strstr(get(token, &err), "Bearer t") != NULL))
            printf("  %s\n", err.text);
        CHECK(strcmp(last_alg, algorithms[i]) == 0 && strcmp(last_kid, "kid-7") == 0);
        vg_http_token_close(token);
    }
    CHECK_ROW("");
}

static void test_what_cannot_work_is_refused_at_once(void)
{
    const struct vg_http_token_config rows[] = {
        {.url = "https://x/token"},
        {.url = "https://x/token", .client_id = "us"},
        {.url = "https://x/token", .client_id = "us", .secret = "a", .key_path = "b"},
        {.url = "http://far.example/token", .client_id = "us", .secret = "a"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_http_token *token = NULL;

        CHECK(vg_http_token_open(&rows[i], &token, NULL) == VG_REJECT);
    }
    CHECK(!vg_http_token_is_wanted(&(struct vg_http_token_config){.client_id = "us"}));
}

int main(void)
{
    const struct vg_http_server_config listen = {.address = "127.0.0.1"};
    struct vg_http_server *server = NULL;
    struct vg_loop *loop = NULL;
    struct vg_err err = {0};

    if (!mkdtemp(dir) || vg_crypto_init(&err) != VG_OK ||
        vg_loop_open("token", &loop, &err) != VG_OK ||
        vg_http_server_open(loop, &listen, &server, &err) != VG_OK ||
        vg_http_route(server, "POST", "/token", on_token, NULL, &err) != VG_OK)
        return 1;
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/token", vg_http_server_port(server));
    vg_arena_init(&arena, 0);
    CHECK(vg_loop_start(loop, &err) == VG_OK);
    RUN(test_a_file_is_read_again_when_it_changes);
    RUN(test_a_secret_buys_a_token_that_is_kept);
    RUN(test_a_refusal_is_told_without_the_secret_and_not_asked_for_again_at_once);
    RUN(test_a_signed_assertion_buys_a_token);
    RUN(test_what_cannot_work_is_refused_at_once);
    vg_loop_stop(loop);
    vg_http_server_close(server);
    vg_loop_close(loop);
    vg_arena_fini(&arena);
    return vg_test_report();
}
