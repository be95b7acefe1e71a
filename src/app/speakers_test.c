/* speakers_test.c -- what the registry says reaches whoever asks, also while several ask at once.
 */
#include "app/speakers.h"

#include "base/clock.h"
#include "hub/registry.h"
#include "vg_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define DEADLINE_US (8 * VG_SECOND_US)

static char root[64];
static struct speakers *speakers;
static atomic_bool is_over, is_wrong;

static bool may(const char *sender, const char *device)
{
    return speakers_may(speakers, vg_slice_of(sender), vg_slice_of(device), false);
}

static void *ask(void *unused)
{
    while (!atomic_load(&is_over)) {
        if (!may("gw-1", "gw-1") || may("gw-2", "bed-4"))
            atomic_store(&is_wrong, true);
        (void)may("gw-1", "bed-4");
    }
    return unused;
}

static bool becomes(bool want)
{
    int64_t end_us = vg_mono_us() + DEADLINE_US;

    while (may("gw-1", "bed-4") != want && vg_mono_us() < end_us)
        (void)usleep(1000);
    return may("gw-1", "bed-4") == want;
}

static void test_a_change_counts(void)
{
    struct registry *registry = NULL;
    struct vg_err err = {0};
    pthread_t threads[2];

    CHECK(registry_open(root, &registry, &err) == VG_OK);
    CHECK(registry_add(registry, "gw-1", false, NULL, VG_SLICE("unused"), &err) == VG_OK);
    CHECK(speakers_open(root, &speakers, &err) == VG_OK);
    CHECK(!may("gw-1", "bed-4") && may("gw-1", "gw-1") && !may("gw-2", "bed-4"));
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, ask, NULL) == 0);
    CHECK(registry_set_speaks_for(registry, "gw-1", "bed-*", &err) == VG_OK);
    CHECK(becomes(true));
    CHECK(registry_set_speaks_for(registry, "gw-1", "", &err) == VG_OK);
    CHECK(becomes(false));
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(!atomic_load(&is_wrong));
    speakers_close(speakers);
    registry_close(registry);
}

int main(void)
{
    char command[96];

    (void)snprintf(root, sizeof(root), "/tmp/vigil-speakers-XXXXXX");
    if (vg_crypto_init(NULL) != VG_OK || !mkdtemp(root))
        return 1;
    RUN(test_a_change_counts);
    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command) == 0 ? vg_test_report() : 1;
}
