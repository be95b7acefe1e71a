/* hub_server.c -- the hub and its journal alone, for measuring: what `vigil run` puts in front of
 * the other stages, with everything on that a device meets (passwords, own topics only, sync before
 * PUBACK).
 *
 *     hub_server DIR CONNECTIONS [LOOPS]
 *
 * Makes devices load-0 ... with password "load-password", prints "plain=PORT tls=PORT" and serves
 * until its standard input ends. One consumer group stands in for the connector, so that lag never
 * pauses.
 */
#include "base/crypto.h"
#include "base/log.h"
#include "base/tls.h"
#include "hub/hub.h"
#include "hub/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fail(const struct vg_err *err)
{
    (void)fprintf(stderr, "hub_server: %s: %s\n", err->code, err->text);
    return 1;
}

static enum vg_status add_devices(const char *dir, uint64_t count, struct vg_err *err)
{
    struct registry *registry = NULL;
    enum vg_status st = registry_open(dir, &registry, err);

    for (uint64_t i = 0; st == VG_OK && i < count; i++) {
        char id[32];

        (void)snprintf(id, sizeof(id), "load-%llu", (unsigned long long)i);
        st = registry_add(registry, id, false, NULL, VG_SLICE("load-password"), err);
        if (st == VG_REJECT) /* there from the last run */
            st = VG_OK;
    }
    registry_close(registry);
    return st;
}

int main(int argc, char **argv)
{
    struct stream *stream = NULL;
    struct vg_tls *tls = NULL;
    struct hub *hub = NULL;
    struct vg_err err = {0};
    char journal[256], cert[256], key[256], byte;
    uint64_t connections = 0, loops = 1;

    if (argc < 3 || !vg_slice_to_u64(vg_slice_of(argv[2]), &connections) ||
        (argc > 3 && !vg_slice_to_u64(vg_slice_of(argv[3]), &loops))) {
        (void)fprintf(stderr, "usage: hub_server DIR CONNECTIONS [LOOPS]\n");
        return 2;
    }
    vg_log_set_level(VG_LOG_WARN);
    (void)snprintf(journal, sizeof(journal), "%s/stream", argv[1]);
    (void)snprintf(cert, sizeof(cert), "%s/server.crt", argv[1]);
    (void)snprintf(key, sizeof(key), "%s/server.key", argv[1]);
    if (vg_crypto_init(&err) != VG_OK || add_devices(argv[1], connections, &err) != VG_OK ||
        vg_tls_make_certificates(argv[1], NULL, &err) != VG_OK ||
        vg_tls_server_open(cert, key, &tls, &err) != VG_OK ||
        stream_open(&(struct stream_config){.dir = journal}, &stream, &err) != VG_OK ||
        hub_open(&(struct hub_config){.data_dir = argv[1],
                                      .tls = tls,
                                      .has_plain = true,
                                      .loops = (uint32_t)loops,
                                      .lag_max = UINT64_MAX},
                 stream, &hub, &err) != VG_OK)
        return fail(&err);
    (void)printf("plain=%u tls=%u\n", hub_plain_port(hub), hub_mqtts_port(hub));
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    hub_close(hub);
    stream_close(stream);
    vg_tls_close(tls);
    return 0;
}
