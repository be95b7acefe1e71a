/* bundle_fuzz.c -- whatever is posted as a Bundle: the answer is JSON, a refusal has a status and a
 * reason, and the store goes on. One store for all of them, so that later Bundles meet what earlier
 * ones left. */
#include "base/crypto.h"
#include "fhir/rest_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fhir_store *store;

static void begin(void)
{
    static char dir[] = "/tmp/vigil-bundle-fuzz-XXXXXX";
    char path[64];
    struct fhir_config config = {.path = path, .base_url = "https://x/fhir"};

    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(dir))
        abort();
    (void)snprintf(path, sizeof(path), "%s/fhir.db", dir);
    if (fhir_open(&config, &store, NULL) != VG_OK)
        abort();
    /* Nobody else finds it: it goes with the process. */
    (void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vg_arena arena;
    struct fhir_access access = {.is_all = true};
    struct fhir_issue issue = {0};
    struct vg_err err = {0};
    struct vg_json *root = NULL;
    struct vg_buf out;
    enum vg_status st;

    if (!store) {
        begin();
        vg_arena_init(&arena, (size_t)256 << 20);
    }
    vg_arena_reset(&arena);
    vg_buf_init(&out, (size_t)64 << 20);
    st = fhir_bundle_run(store, (struct vg_slice){(const char *)data, size},
                         FHIR_PREFER_REPRESENTATION, &access, &arena, &out, &issue, &err);
    if (st == VG_OK &&
        vg_json_parse(&arena, vg_buf_slice(&out), NULL, &root, NULL, &err) != VG_OK &&
        strcmp(err.code, "json.size") != 0 && strcmp(err.code, "json.depth") != 0)
        abort();
    if (st == VG_FATAL || (st != VG_OK && (!err.code || err.text[0] == '\0')))
        abort();
    vg_buf_fini(&out);
    return 0;
}
