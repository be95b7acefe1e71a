/* remote_watch.c -- changes that others make on the FHIR server.
 *
 * Caches (identity, enrichment) compare fhir_change_count(). For a type that somebody has asked
 * about the maintenance thread looks every config.watch_us what has changed there since the newest
 * change seen: the type's history where the server has one (it tells deletions too), else a search
 * by _lastUpdated. What we wrote or have seen ourselves is known by its version and does not count.
 *
 * Times are the server's: they are taken from the resources and, at the start, from its Date. Each
 * look goes back OVERLAP_US, for transactions that are seen later than they are stamped.
 *
 * How old that knowledge is tells fhir_counted_us(): while the server is away, and until a whole
 * look has succeeded after that, it grows old. A server that is slow to answer is asked in turn.
 *
 * A server without type history does not tell what was deleted, so that every SWEEP_US the caches
 * are told to forget all.
 */
#include "base/clock.h"
#include "fhir/remote_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define OVERLAP_US (10 * VG_SECOND_US)
#define SWEEP_US (300 * VG_SECOND_US)
#define NOT_YET ((int64_t)-1)

uint64_t remote_change_count(struct fhir_remote *r, unsigned type)
{
    (void)pthread_mutex_lock(&r->lock);
    if (r->watched_us[type] == 0)
        r->watched_us[type] = NOT_YET;
    (void)pthread_mutex_unlock(&r->lock);
    return atomic_load(&r->store->change_counts[type]);
}

/* True: it is not what we wrote or saw last. `seen`: ids that this look has met: the newest came
 * first. */
static bool is_news(struct fhir_remote *r, unsigned type, const struct fhir_resource *one,
                    struct vg_map *seen)
{
    uint64_t version = one->version ? one->version : (uint64_t)one->last_updated_us;
    bool is_ok = true;

    if (vg_map_get(seen, one->id))
        return false;
    (void)vg_map_put(seen, one->id, r, &is_ok);
    return remote_count_version(r, type, one->id, version) || !is_ok;
}

static struct vg_slice url_of(struct vg_arena *arena, unsigned type, bool has_history,
                              int64_t since_us)
{
    const char *name = fhir_type_name(type);
    char since[VG_TIME_TEXT_SIZE];

    if (since_us == NOT_YET) /* only the time of the newest is wanted */
        return vg_arena_printf(arena, "%s?_sort=-_lastUpdated&_count=1", name);
    (void)vg_time_format(since_us > OVERLAP_US ? since_us - OVERLAP_US : 0, 3, since);
    return has_history
               ? vg_arena_printf(arena, "%s/_history?_since=%s&_count=200", name, since)
               : vg_arena_printf(
                     arena, "%s?_lastUpdated=ge%s&_sort=-_lastUpdated&_count=200&_elements=id,meta",
                     name, since);
}

static enum vg_status look(struct fhir_remote *r, unsigned type, bool has_history,
                           int64_t *since_us, bool *ret_has_changed, struct vg_err *err)
{
    int64_t newest_us = *since_us == NOT_YET ? 1 : *since_us;
    struct vg_arena arena;
    struct vg_map seen;
    struct vg_slice url;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, FHIR_SCRATCH_BYTES_MAX);
    vg_map_init(&seen);
    /* What changed before the first look is not known: whoever has asked forgets once. */
    *ret_has_changed = *since_us == NOT_YET;
    url = url_of(&arena, type, has_history, *since_us);
    for (int i = 0; url.ptr && st == VG_OK && i < REMOTE_PAGES_MAX; i++) {
        struct fhir_results page;

        st = remote_page(r, url.ptr, &arena, &page, &url, err);
        for (size_t n = 0; st == VG_OK && n < page.match_count; n++) {
            const struct fhir_resource *one = &page.resources[n];

            if (one->last_updated_us > newest_us)
                newest_us = one->last_updated_us;
            if (is_news(r, type, one, &seen))
                *ret_has_changed = true;
        }
        if (*ret_has_changed) /* one is as good as many */
            break;
    }
    vg_map_fini(&seen, NULL);
    vg_arena_fini(&arena);
    if (st == VG_OK || st == VG_END)
        *since_us = newest_us;
    return st == VG_END ? VG_OK : st;
}

int64_t fhir_counted_us(struct fhir_store *store)
{
    bool is_known = !store->remote || !atomic_load(&store->remote->is_doubtful);

    return is_known ? vg_mono_us() : atomic_load(&store->remote->counted_us);
}

void remote_watch(struct fhir_remote *r)
{
    int64_t begin_us = vg_mono_us();
    uint64_t away_count;
    bool sweeps = begin_us - r->swept_us > SWEEP_US;

    (void)pthread_mutex_lock(&r->lock);
    away_count = r->away_count;
    (void)pthread_mutex_unlock(&r->lock);
    if (sweeps)
        r->swept_us = vg_mono_us();
    for (unsigned type = 1; type <= fhir_type_count(); type++) {
        const struct remote_type *can;
        bool has_changed = false, has_history;
        int64_t since_us;
        struct vg_err why;

        (void)pthread_mutex_lock(&r->lock);
        since_us = r->watched_us[type];
        can = remote_type_of(r, type);
        has_history = can && can->has_type_history;
        (void)pthread_mutex_unlock(&r->lock);
        if (since_us == 0)
            continue;
        if (look(r, type, has_history, &since_us, &has_changed, &why) != VG_OK) {
            if (remote_is_away(r))
                return;
            has_changed = true; /* it cannot be told */
        } else {
            (void)pthread_mutex_lock(&r->lock);
            r->watched_us[type] = since_us;
            (void)pthread_mutex_unlock(&r->lock);
        }
        if (has_changed || (sweeps && !has_history))
            atomic_fetch_add(&r->store->change_counts[type], 1);
    }
    (void)pthread_mutex_lock(&r->lock);
    if (!r->is_away && away_count == r->away_count) {
        atomic_store(&r->counted_us, begin_us);
        atomic_store(&r->is_doubtful, false);
    }
    (void)pthread_mutex_unlock(&r->lock);
}
