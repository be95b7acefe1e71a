/* tls.c -- TLS contexts for servers, and certificates for a fresh installation.
 *
 * Protocol: 1.3, and 1.2 with ECDHE and an AEAD only: what is left after RFC 9325. Sessions are
 * resumed by tickets that the server need not remember (its cache is off), so ten thousand devices
 * that reconnect after a restart of the network cost one handshake each without a signature.
 * Buffers of idle connections are given back (SSL_MODE_RELEASE_BUFFERS).
 *
 * Certificates: P-256, serial numbers of 127 random bits, valid from an hour ago (clocks of devices
 * are rarely right). A key is written before its certificate, and no key that exists is
 * overwritten: a crash between two files is mended by the next start.
 *
 * Threads: a context may be used by many threads once it is open; making certificates is for one.
 */
#include "base/tls.h"

#include "base/buf.h"
#include "base/file.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CA_DAYS 3650
#define SERVER_DAYS 825
#define PATH_SIZE 4096
#define NAMES_SIZE 2048

struct vg_tls {
    SSL_CTX *context;
};

/* The last OpenSSL error as text; its queue is emptied. */
static enum vg_status ssl_fail(struct vg_err *err, enum vg_status status, const char *code,
                               const char *what)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;

    ERR_clear_error();
    return vg_fail(err, status, code, 0, "%s: %s", what, reason ? reason : "unknown reason");
}

/* Instead of OpenSSL's own, which asks on the terminal. */
static int no_passphrase(char *buf, int size, int is_writing, void *ctx)
{
    (void)buf;
    (void)size;
    (void)is_writing;
    (void)ctx;
    return -1;
}

static enum vg_status check_key_mode(const char *path, struct vg_err *err)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return vg_fail(err, VG_FATAL, "tls.key", errno, "%s", path);
    if (info.st_mode & (S_IRWXG | S_IRWXO))
        return vg_fail(err, VG_FATAL, "tls.key_mode", 0,
                       "%s may be read by others than its owner (mode %04o): chmod 600 it", path,
                       (unsigned)info.st_mode & 07777u);
    return VG_OK;
}

enum vg_status vg_tls_server_open(const char *cert_path, const char *key_path,
                                  struct vg_tls **ret_tls, struct vg_err *err)
{
    struct vg_tls *tls = NULL;
    SSL_CTX *context;
    enum vg_status st = check_key_mode(key_path, err);

    if (st != VG_OK)
        return st;
    tls = calloc(1, sizeof(*tls));
    context = tls ? SSL_CTX_new(TLS_server_method()) : NULL;
    if (!context) {
        st = vg_fail(err, VG_RETRY, "tls.memory", 0, "no memory for a TLS context");
        goto done;
    }
    tls->context = context;
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
        st = ssl_fail(err, VG_FATAL, "tls.setup", "TLS 1.2 with ECDHE and AEAD");
        goto done;
    }
    if (SSL_CTX_use_certificate_chain_file(context, cert_path) != 1) {
        st = ssl_fail(err, VG_FATAL, "tls.certificate", cert_path);
        goto done;
    }
    if (SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM) != 1) {
        st = ssl_fail(err, VG_FATAL, "tls.key", key_path);
        goto done;
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        st = ssl_fail(err, VG_FATAL, "tls.key", "the key is not that of the certificate");
        goto done;
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE |
                                           SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets stay on */
    (void)SSL_CTX_set_num_tickets(context, 1);
    (void)SSL_CTX_set_session_id_context(context, (const unsigned char *)"vigil", 5);
    *ret_tls = tls;
    tls = NULL;
done:
    vg_tls_close(tls);
    return st;
}

void vg_tls_close(struct vg_tls *tls)
{
    if (!tls)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

struct ssl_ctx_st *vg_tls_context(struct vg_tls *tls)
{
    return tls->context;
}

struct bufferevent *vg_tls_accept(struct event_base *base, int fd, struct vg_tls *tls)
{
    struct bufferevent *bev;
    SSL *ssl;

    if (!tls)
        return bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    ssl = SSL_new(tls->context);
    if (!ssl)
        return NULL;
    bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                         BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        SSL_free(ssl);
        return NULL;
    }
    /* Many peers end by closing the socket: an end, not a failure. */
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

/* ---- making certificates ---- */

/* Whatever PEM_write_bio_* wrote into `bio`, as a file. */
static enum vg_status write_bio(BIO *bio, const char *path, mode_t mode, struct vg_err *err)
{
    char *bytes = NULL;
    long len = BIO_get_mem_data(bio, &bytes);

    if (len <= 0)
        return ssl_fail(err, VG_FATAL, "tls.make", path);
    return vg_file_write(path, (struct vg_slice){bytes, (size_t)len}, mode, err);
}

/* The key in `path`, made when missing. */
static enum vg_status key_load_or_make(const char *path, EVP_PKEY **ret_key, struct vg_err *err)
{
    EVP_PKEY *key = NULL;
    BIO *bio = NULL;
    enum vg_status st;

    if (access(path, F_OK) == 0) {
        bio = BIO_new_file(path, "r");
        key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        BIO_free(bio);
        if (!key)
            return ssl_fail(err, VG_FATAL, "tls.key", path);
        *ret_key = key;
        return VG_OK;
    }
    key = EVP_EC_gen("P-256");
    bio = BIO_new(BIO_s_secmem());
    if (!key || !bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        st = ssl_fail(err, VG_FATAL, "tls.make", path);
    else
        st = write_bio(bio, path, 0600, err);
    BIO_free(bio);
    if (st == VG_OK)
        *ret_key = key;
    else
        EVP_PKEY_free(key);
    return st;
}

struct extension {
    int nid;
    const char *value;
};

/* A certificate for `key`, signed by `issuer` (NULL: by itself), written to `path`. */
static enum vg_status certificate_make(const char *path, const char *name, long days, EVP_PKEY *key,
                                       X509 *issuer, EVP_PKEY *issuer_key,
                                       const struct extension *extensions, X509 **ret_cert,
                                       struct vg_err *err)
{
    X509 *cert = X509_new();
    BIGNUM *serial = BN_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;
    X509V3_CTX context;
    enum vg_status st = VG_OK;
    bool is_fine;

    is_fine = cert && serial && bio && X509_set_version(cert, X509_VERSION_3) == 1 &&
              BN_rand(serial, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL &&
              X509_gmtime_adj(X509_getm_notBefore(cert), -3600) != NULL &&
              X509_time_adj_ex(X509_getm_notAfter(cert), (int)days, 0, NULL) != NULL &&
              X509_set_pubkey(cert, key) == 1 &&
              X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                         (const unsigned char *)"Vigil", -1, -1, 0) == 1 &&
              X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name,
                                         -1, -1, 0) == 1 &&
              X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject) == 1;
    if (is_fine)
        X509V3_set_ctx(&context, issuer ? issuer : cert, cert, NULL, NULL, 0);
    for (const struct extension *e = extensions; is_fine && e->value; e++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, e->nid, e->value);

        is_fine = extension && X509_add_ext(cert, extension, -1) == 1;
        X509_EXTENSION_free(extension);
    }
    is_fine = is_fine && X509_sign(cert, issuer_key, EVP_sha256()) > 0 &&
              PEM_write_bio_X509(bio, cert) == 1;
    st = is_fine ? write_bio(bio, path, 0644, err) : ssl_fail(err, VG_FATAL, "tls.make", path);
    BIO_free(bio);
    BN_free(serial);
    if (st == VG_OK)
        *ret_cert = cert;
    else
        X509_free(cert);
    return st;
}

static enum vg_status certificate_load(const char *path, X509 **ret_cert, struct vg_err *err)
{
    BIO *bio = BIO_new_file(path, "r");
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

    BIO_free(bio);
    if (!cert)
        return ssl_fail(err, VG_FATAL, "tls.certificate", path);
    *ret_cert = cert;
    return VG_OK;
}

/* A host's name or address in subjectAltName's own language, which must not be injected into. */
static bool put_name(struct vg_buf *names, struct vg_slice name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
                                  "_*:";
    char text[256];
    ASN1_OCTET_STRING *address;

    if (name.len == 0 || !vg_slice_to_cstr(name, text, sizeof(text)) ||
        strspn(text, allowed) != name.len)
        return false;
    address = a2i_IPADDRESS(text);
    if (!address && strchr(text, ':'))
        return false;
    vg_buf_printf(names, ",%s:%s", address ? "IP" : "DNS", text);
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error(); /* a2i_IPADDRESS leaves a note when it is a name */
    return true;
}

static enum vg_status names_make(const char *host, const char *extra_names, struct vg_buf *names,
                                 struct vg_err *err)
{
    struct vg_slice rest = vg_slice_of(extra_names);

    vg_buf_put(names, VG_SLICE("DNS:localhost,IP:127.0.0.1,IP:::1"));
    (void)put_name(names, vg_slice_of(host)); /* a host whose name is no DNS name goes without */
    while (rest.len) {
        struct vg_slice name = vg_slice_trim(vg_slice_cut(&rest, ','));

        if (!put_name(names, name))
            return vg_fail(err, VG_REJECT, "tls.name", 0,
                           "'%.*s' is neither a host name nor an address", VG_FMT(name));
    }
    vg_buf_put_byte(names, 0);
    if (!vg_buf_ok(names))
        return vg_fail(err, VG_REJECT, "tls.name", 0, "the names take more than %d bytes",
                       NAMES_SIZE);
    return VG_OK;
}

struct paths {
    char ca_cert[PATH_SIZE], ca_key[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE];
};

static bool paths_make(struct paths *paths, const char *dir)
{
    int longest = snprintf(paths->cert, PATH_SIZE, "%s/server.crt", dir);

    (void)snprintf(paths->key, PATH_SIZE, "%s/server.key", dir);
    (void)snprintf(paths->ca_cert, PATH_SIZE, "%s/ca.crt", dir);
    (void)snprintf(paths->ca_key, PATH_SIZE, "%s/ca.key", dir);
    return longest > 0 && longest < PATH_SIZE;
}

enum vg_status vg_tls_make_certificates(const char *dir, const char *extra_names,
                                        struct vg_err *err)
{
    struct paths *paths = malloc(sizeof(*paths));
    EVP_PKEY *ca_key = NULL, *key = NULL;
    X509 *ca = NULL, *cert = NULL;
    char host[256] = "", ca_name[64];
    struct vg_buf names;
    enum vg_status st;

    vg_buf_init(&names, NAMES_SIZE);
    if (!paths || !paths_make(paths, dir)) {
        st = vg_fail(err, VG_REJECT, "tls.path", 0, "'%s' is too long for a folder", dir);
        goto done;
    }
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(ca_name, sizeof(ca_name), "Vigil CA %.48s", host); /* a CN has at most 64 */
    const struct extension ca_extensions[] = {
        {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
        {NID_key_usage, "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
        {0, NULL},
    };

    st = vg_dir_make(dir, err);
    if (st != VG_OK)
        goto done;
    /* The authority's key may be kept elsewhere once the server has its pair. */
    if (access(paths->ca_cert, F_OK) == 0 && access(paths->cert, F_OK) == 0 &&
        access(paths->key, F_OK) == 0)
        goto done;
    if (access(paths->ca_cert, F_OK) == 0 && access(paths->ca_key, F_OK) != 0) {
        st = vg_fail(err, VG_FATAL, "tls.ca_key", 0,
                     "%s is missing: server.crt cannot be signed by the existing ca.crt",
                     paths->ca_key);
        goto done;
    }
    st = key_load_or_make(paths->ca_key, &ca_key, err);
    if (st == VG_OK && access(paths->ca_cert, F_OK) == 0)
        st = certificate_load(paths->ca_cert, &ca, err);
    else if (st == VG_OK)
        st = certificate_make(paths->ca_cert, ca_name, CA_DAYS, ca_key, NULL, ca_key, ca_extensions,
                              &ca, err);
    if (st != VG_OK)
        goto done;
    /* A certificate without its key is of no use: a new key needs a new certificate. */
    st = names_make(host, extra_names, &names, err);
    if (st == VG_OK)
        st = key_load_or_make(paths->key, &key, err);
    if (st != VG_OK)
        goto done;
    const struct extension extensions[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, "serverAuth"},
        {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, "keyid:always"},
        {NID_subject_alt_name, names.ptr},
        {0, NULL},
    };
    st = certificate_make(paths->cert, "Vigil server", SERVER_DAYS, key, ca, ca_key, extensions,
                          &cert, err);
done:
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    vg_buf_fini(&names);
    free(paths);
    return st;
}
