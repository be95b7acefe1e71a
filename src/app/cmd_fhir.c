/* cmd_fhir.c -- vigil fhir: the FHIR service alone, without the platform around it.
 *
 * Over TLS with the data folder's certificates, as `vigil run` makes them. --insecure-no-auth is
 * for trying it out: plain HTTP for everybody who reaches it, which is why it is refused on
 * anything but loopback.
 */
#include "app/app.h"

#include "base/file.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/tls.h"
#include "fhir/fhir.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_BYTES_MAX ((size_t)64 << 20)

static const char usage[] =
    "usage: vigil fhir [--listen ADDRESS:PORT] [--insecure-no-auth] [--base-url URL] [--data DIR]\n"
    "       vigil fhir client add NAME --jwks FILE|URL --scope \"system/Observation.rs ...\"\n"
    "       vigil fhir client remove NAME | list\n"
    "\n"
    "The FHIR R4 service alone, at /fhir. Ready when GET /fhir/metadata answers; SIGTERM ends it.\n"
    "--listen (127.0.0.1:8480; port 0 takes a free one, which is printed), over TLS with the\n"
    "certificates in DIR/tls. --insecure-no-auth: plain HTTP, everybody may do everything; on\n"
    "loopback only. --base-url: what links and references are told to begin with.\n"
    "\n"
    "client: programs that get tokens by SMART Backend Services, with their public keys. Works "
    "while\n"
    "the service runs, and for 'vigil run' as well.\n";

struct listen {
    char host[64];
    uint16_t port;
};

/* "127.0.0.1:8480", "[::1]:8480", "localhost:8480" */
static bool listen_parse(const char *text, struct listen *ret_listen)
{
    const char *colon = strrchr(text, ':');
    struct vg_slice host = {text, colon ? (size_t)(colon - text) : 0};
    uint64_t port;

    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = (struct vg_slice){host.ptr + 1, host.len - 2};
    if (host.len == 0 || !vg_slice_to_u64(vg_slice_of(colon + 1), &port) || port > 65535)
        return false;
    ret_listen->port = (uint16_t)port;
    if (vg_slice_is(host, "localhost"))
        host = VG_SLICE("127.0.0.1");
    return vg_slice_to_cstr(host, ret_listen->host, sizeof(ret_listen->host));
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return false;
}

/* On loopback only, like everything else that asks for no token. */
static void on_metrics(struct vg_http_request *request, void *ctx)
{
    struct vg_buf out;

    (void)ctx;
    vg_buf_init(&out, 0);
    vg_metrics_write_prometheus(&out);
    vg_http_reply(request, 200, "text/plain; version=0.0.4", vg_buf_slice(&out));
    vg_buf_fini(&out);
}

struct service {
    struct vg_tls *tls;
    struct vg_loop *loop;
    struct vg_http_server *server;
    struct fhir_store *store;
};

static enum vg_status open_tls(struct app_options *options, struct vg_tls **ret_tls,
                               struct vg_err *err)
{
    struct vg_arena *arena = &options->arena;
    const struct settings *s = &options->settings;
    enum vg_status st = vg_dir_make(settings_path(arena, s, "tls"), err);

    if (st == VG_OK)
        st = vg_tls_make_certificates(settings_path(arena, s, "tls"), s->names, err);
    if (st == VG_OK)
        st = vg_tls_server_open(settings_path(arena, s, "tls/server.crt"),
                                settings_path(arena, s, "tls/server.key"), ret_tls, err);
    return st;
}

static enum vg_status service_open(struct app_options *options, const struct listen *listen,
                                   bool is_insecure, const char *base_url, struct service *service,
                                   struct vg_err *err)
{
    struct vg_http_server_config server = {
        .address = listen->host, .port = listen->port, .body_bytes_max = BODY_BYTES_MAX};
    const struct settings *s = &options->settings;
    struct vg_arena *arena = &options->arena;
    struct fhir_config config = {
        .engine = s->fhir_engine,
        .path = settings_path(arena, s, "fhir.db"),
        .side_path = settings_path(arena, s, "fhir-side.db"),
        .audit_path = s->fhir_audit ? settings_path(arena, s, "fhir-audit.spool") : NULL,
        .import_dir = s->fhir_import_dir,
        .hook_hosts = s->fhir_subscription_hosts,
        .cors_origins = s->fhir_cors_origins,
        .allows_local_hooks = is_insecure,
        .needs_token = !is_insecure,
    };
    enum vg_status st = vg_dir_make(options->settings.data_dir, err);

    if (st == VG_OK && !is_insecure)
        st = open_tls(options, &service->tls, err);
    if (st == VG_OK)
        st = vg_loop_open("fhir", &service->loop, err);
    server.tls = service->tls;
    if (st == VG_OK)
        st = vg_http_server_open(service->loop, &server, &service->server, err);
    if (st != VG_OK)
        return st;
    config.base_url = base_url ? base_url
                               : vg_arena_printf(&options->arena,
                                                 strchr(listen->host, ':') ? "%s://[%s]:%u/fhir"
                                                                           : "%s://%s:%u/fhir",
                                                 is_insecure ? "http" : "https", listen->host,
                                                 (unsigned)vg_http_server_port(service->server))
                                     .ptr;
    st = fhir_open(&config, &service->store, err);
    if (st == VG_OK)
        st = fhir_rest_mount(service->store, service->server, service->loop, NULL, NULL, err);
    if (st == VG_OK && is_insecure)
        st = vg_http_route(service->server, "GET", "/metrics", on_metrics, NULL, err);
    if (st == VG_OK)
        st = vg_loop_start(service->loop, err);
    if (st == VG_OK) {
        (void)printf("%s\n", config.base_url);
        (void)fflush(stdout);
    }
    return st;
}

static void service_close(struct service *service)
{
    if (service->loop)
        vg_loop_stop(service->loop);
    vg_http_server_close(service->server);
    fhir_close(service->store);
    vg_loop_close(service->loop);
    vg_tls_close(service->tls);
}

static int run_client(struct app_options *options)
{
    const char *path = settings_path(&options->arena, &options->settings, "fhir-side.db");
    const char *jwks = app_take_option(options, "--jwks");
    const char *scope = app_take_option(options, "--scope");
    const char *what = options->rest_count > 1 ? options->rest[1] : "";
    const char *name = options->rest_count > 2 ? options->rest[2] : NULL;
    struct vg_slice keys = {0};
    struct vg_err err = {0};
    struct vg_buf out;
    enum vg_status st = vg_dir_make(options->settings.data_dir, &err);

    vg_buf_init(&out, 0);
    if (strcmp(what, "list") == 0 && !name) {
        st = st == VG_OK ? fhir_client_list(path, &out, &err) : st;
        (void)fwrite(out.ptr, 1, out.len, stdout);
    } else if (strcmp(what, "remove") == 0 && name && options->rest_count == 3) {
        st = st == VG_OK ? fhir_client_remove(path, vg_slice_of(name), &err) : st;
    } else if (strcmp(what, "add") == 0 && name && jwks && scope && options->rest_count == 3) {
        if (strstr(jwks, "://"))
            keys = vg_slice_of(jwks);
        else if (st == VG_OK)
            st = vg_file_read(&options->arena, jwks, 1u << 20, &keys, &err);
        if (st == VG_END)
            st = vg_fail(&err, VG_REJECT, "fhir.jwks", 0, "no such file: %s", jwks);
        if (st == VG_OK)
            st = fhir_client_put(path, vg_slice_of(name), keys, vg_slice_of(scope), &err);
    } else {
        (void)fputs(usage, stderr);
        vg_buf_fini(&out);
        return 2;
    }
    vg_buf_fini(&out);
    return st == VG_OK ? 0 : app_fail(&err);
}

int cmd_fhir(int argc, char **argv)
{
    struct app_options options;
    struct service service = {0};
    struct listen listen = {0};
    struct vg_err err = {0};
    int code = app_options_init(&options, argc, argv);
    const char *address = code == 0 ? app_take_option(&options, "--listen") : NULL;
    const char *base_url = code == 0 ? app_take_option(&options, "--base-url") : NULL;
    bool is_insecure = code == 0 && app_take_switch(&options, "--insecure-no-auth");

    if (code == 0 && options.rest_count && strcmp(options.rest[0], "client") == 0) {
        code = run_client(&options);
        goto done;
    }
    if (code != 0 || options.wants_help || options.rest_count) {
        (void)fputs(code == 0 ? usage : "", options.wants_help ? stdout : stderr);
        code = code == 0 && !options.wants_help ? 2 : code;
        goto done;
    }
    if (!listen_parse(address ? address : "127.0.0.1:8480", &listen)) {
        (void)fprintf(stderr, "vigil: --listen wants ADDRESS:PORT, as 127.0.0.1:8480\n");
        code = 2;
        goto done;
    }
    if (is_insecure && !is_loopback(listen.host)) {
        (void)fprintf(stderr,
                      "vigil: --insecure-no-auth is refused on %s: everybody who reaches it could "
                      "read and change all patients' data. It is for loopback only (127.0.0.1 or "
                      "::1)\n",
                      listen.host);
        code = 2;
        goto done;
    }
    app_block_signals();
    if (service_open(&options, &listen, is_insecure, base_url, &service, &err) != VG_OK) {
        code = app_fail(&err);
    } else {
        while (app_wait_for_signal(3600 * (int64_t)1000000) == 0)
            ;
        vg_log(VG_LOG_INFO, "app", "app.stop", "a signal came: ending in order");
    }
    service_close(&service);
done:
    app_options_fini(&options);
    return code;
}
