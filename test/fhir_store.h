/* fhir_store.h -- the FHIR store of a test: embedded, or a foreign server's.
 *
 * With VIGIL_FHIR_URL in the environment (test/interop sets it) the same test runs against that
 * server, through the remote engine; VIGIL_FHIR_CONTROL, if given, is where the server is told to
 * forget everything first (test/interop/medplum_server.mjs says what it takes).
 */
#ifndef VG_FHIR_STORE_H
#define VG_FHIR_STORE_H

#include "base/http_client.h"
#include "fhir/fhir.h"

#include <stdlib.h>

static inline bool test_fhir_is_foreign(void)
{
    return getenv("VIGIL_FHIR_URL") != NULL;
}

/* Tells the foreign server something; false: it could not be told. */
static inline bool test_fhir_control(const char *json)
{
    const char *url = getenv("VIGIL_FHIR_CONTROL");
    const struct vg_http_client_config config = {.timeout_ms = 10000};
    struct vg_http_client *client = NULL;
    struct vg_http_answer answer = {0};
    struct vg_arena arena;
    bool is_ok;

    if (!url)
        return true;
    vg_arena_init(&arena, 0);
    is_ok = vg_http_client_open(&config, &client, NULL) == VG_OK &&
            vg_http_fetch(client, "POST", url, NULL, vg_slice_of(json), &arena, &answer, NULL) ==
                VG_OK &&
            answer.status == 200;
    vg_http_client_close(client);
    vg_arena_fini(&arena);
    return is_ok;
}

/* As fhir_open(): empty at the start of a run, what was there when it is opened again. */
static inline enum vg_status test_fhir_open(const struct fhir_config *config,
                                            struct fhir_store **ret_store, struct vg_err *err)
{
    const char *chaos = getenv("VIGIL_FHIR_CHAOS");
    const struct fhir_remote_config remote = {.url = getenv("VIGIL_FHIR_URL"), .watch_us = 50000};
    struct fhir_config own = *config;

    if (!remote.url)
        return fhir_open(config, ret_store, err);
    if (!test_fhir_control("{\"clear\":true}") || (chaos && !test_fhir_control(chaos)))
        return vg_fail(err, VG_FATAL, "test.control", 0, "the foreign server cannot be told");
    own.engine = "remote";
    own.remote = &remote;
    return fhir_open(&own, ret_store, err);
}

#endif
