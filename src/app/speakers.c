/* speakers.c -- whom each device speaks for, as the registry says now.
 *
 * The registry is looked at when somebody asks, at most every 250 ms. While it cannot be read, what
 * it said last counts. Threads: any; one lock.
 */
#include "app/speakers.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/registry.h"

#include <pthread.h>
#include <stdlib.h>

#define LOOK_US (VG_SECOND_US / 4)

struct speakers {
    pthread_mutex_t lock; /* guards all below */
    struct registry *registry;
    struct directory *directory;
    int64_t version, looked_us;
    bool has_trouble;
};

enum vg_status speakers_open(const char *dir, struct speakers **ret_speakers, struct vg_err *err)
{
    struct speakers *s = calloc(1, sizeof(*s));
    enum vg_status st;

    if (!s)
        return vg_fail(err, VG_RETRY, "app.memory", 0, "no memory for the registry");
    pthread_mutex_init(&s->lock, NULL);
    st = registry_open(dir, &s->registry, err);
    if (st == VG_OK)
        st = registry_version(s->registry, &s->version, err);
    if (st == VG_OK)
        st = registry_directory(s->registry, &s->directory, err);
    if (st != VG_OK) {
        speakers_close(s);
        return st;
    }
    *ret_speakers = s;
    return VG_OK;
}

void speakers_close(struct speakers *s)
{
    if (!s)
        return;
    directory_unref(s->directory);
    registry_close(s->registry);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* The lock is held. */
static void look(struct speakers *s)
{
    struct directory *newer = NULL;
    int64_t version = s->version;
    struct vg_err err = {0};
    enum vg_status st;

    if (vg_mono_us() - s->looked_us < LOOK_US)
        return;
    s->looked_us = vg_mono_us();
    st = registry_version(s->registry, &version, &err);
    if (st == VG_OK && version != s->version)
        st = registry_directory(s->registry, &newer, &err);
    if (newer) {
        directory_unref(s->directory);
        s->directory = newer;
        s->version = version;
    }
    if (st != VG_OK && !s->has_trouble)
        vg_log(VG_LOG_ERROR, "app", err.code, "the registry cannot be read: %s", err.text);
    s->has_trouble = st != VG_OK;
}

bool speakers_may(void *ctx, struct vg_slice sender, struct vg_slice device, bool is_free)
{
    struct speakers *s = ctx;
    bool may;

    pthread_mutex_lock(&s->lock);
    look(s);
    may = directory_may_speak(s->directory, sender, device, is_free);
    pthread_mutex_unlock(&s->lock);
    return may;
}
