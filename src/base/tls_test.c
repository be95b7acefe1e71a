/* tls_test.c -- made certificates stand a real handshake; old versions do not. */
#include "base/tls.h"

#include "base/arena.h"
#include "base/file.h"
#include "vg_test.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/vigil-tls-XXXXXX";
static char cert_path[64], key_path[64], ca_path[64], ca_key_path[64];

static struct vg_slice content(struct vg_arena *arena, const char *path)
{
    struct vg_slice text = {0};

    CHECK(vg_file_read(arena, path, 0, &text, NULL) == VG_OK);
    return text;
}

static X509 *load(const char *path)
{
    BIO *bio = BIO_new_file(path, "r");
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return cert;
}

static void test_certificates_are_made_once_and_mended(void)
{
    struct vg_arena arena;
    struct vg_slice first, second;
    struct stat info;

    vg_arena_init(&arena, 0);
    CHECK(vg_tls_make_certificates(dir, "vigil.example, 192.0.2.7", NULL) == VG_OK);
    CHECK(stat(key_path, &info) == 0 && (info.st_mode & 0777) == 0600);
    CHECK(stat(ca_key_path, &info) == 0 && (info.st_mode & 0777) == 0600);
    first = content(&arena, cert_path);
    CHECK(vg_tls_make_certificates(dir, NULL, NULL) == VG_OK);
    second = content(&arena, cert_path);
    CHECK(vg_slice_eq(first, second)); /* nothing is made twice */

    CHECK(unlink(cert_path) == 0);
    CHECK(vg_tls_make_certificates(dir, "vigil.example, 192.0.2.7", NULL) == VG_OK);
    CHECK(!vg_slice_eq(first, content(&arena, cert_path)));
    vg_arena_fini(&arena);
}

static void test_the_certificate_names_what_it_should_and_chains_to_the_authority(void)
{
    static const struct {
        const char *what, *name;
        bool is_address, fits;
    } rows[] = {
        {"localhost", "localhost", false, true},
        {"loopback", "127.0.0.1", true, true},
        {"loopback 6", "::1", true, true},
        {"extra name", "vigil.example", false, true},
        {"extra address", "192.0.2.7", true, true},
        {"another name", "evil.example", false, false},
        {"another address", "192.0.2.8", true, false},
    };
    X509 *cert = load(cert_path), *ca = load(ca_path);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *verify = X509_STORE_CTX_new();

    if (!CHECK(cert && ca))
        return;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].what);
        CHECK((rows[i].is_address
                   ? X509_check_ip_asc(cert, rows[i].name, 0)
                   : X509_check_host(cert, rows[i].name, 0, 0, NULL)) == rows[i].fits);
    }
    CHECK_ROW("chain");
    CHECK(X509_STORE_add_cert(store, ca) == 1);
    CHECK(X509_STORE_CTX_init(verify, store, cert, NULL) == 1);
    CHECK(X509_STORE_CTX_set_purpose(verify, X509_PURPOSE_SSL_SERVER) == 1);
    CHECK(X509_verify_cert(verify) == 1);
    X509_STORE_CTX_free(verify);
    X509_STORE_free(store);
    X509_free(cert);
    X509_free(ca);
}

static void test_bad_keys_and_names_are_refused(void)
{
    struct vg_tls *tls = NULL;
    struct vg_err err;
    char other[64];

    CHECK(vg_tls_server_open(cert_path, key_path, &tls, &err) == VG_OK);
    vg_tls_close(tls);
    CHECK(chmod(key_path, 0644) == 0);
    CHECK(vg_tls_server_open(cert_path, key_path, &tls, &err) == VG_FATAL);
    CHECK(strcmp(err.code, "tls.key_mode") == 0);
    CHECK(chmod(key_path, 0600) == 0);
    CHECK(vg_tls_server_open(cert_path, ca_key_path, &tls, &err) == VG_FATAL);
    CHECK(vg_tls_server_open("/nowhere", key_path, &tls, &err) == VG_FATAL);
    CHECK(strcmp(err.code, "tls.certificate") == 0);
    CHECK(vg_tls_server_open(cert_path, "/nowhere", &tls, &err) == VG_FATAL);

    (void)snprintf(other, sizeof(other), "%s/other", dir);
    CHECK(vg_tls_make_certificates(other, "a,DNS:b\nc", &err) == VG_REJECT);
    CHECK(strcmp(err.code, "tls.name") == 0);
    CHECK(unlink(ca_key_path) == 0 && unlink(cert_path) == 0);
    CHECK(vg_tls_make_certificates(dir, NULL, &err) == VG_FATAL);
    CHECK(strcmp(err.code, "tls.ca_key") == 0);
}

int main(void)
{
    char command[128];

    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(cert_path, sizeof(cert_path), "%s/server.crt", dir);
    (void)snprintf(key_path, sizeof(key_path), "%s/server.key", dir);
    (void)snprintf(ca_path, sizeof(ca_path), "%s/ca.crt", dir);
    (void)snprintf(ca_key_path, sizeof(ca_key_path), "%s/ca.key", dir);
    RUN(test_certificates_are_made_once_and_mended);
    RUN(test_the_certificate_names_what_it_should_and_chains_to_the_authority);
    RUN(test_bad_keys_and_names_are_refused);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? vg_test_report() : 1;
}
