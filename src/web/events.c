/* events.c -- step 15: what changed goes to every open board, at once.
 *
 *     care.changed -> stage "board" (reads the row, encodes the event once) -> post -> ring ->
 * viewers
 *
 * The ring holds the last 1,000 events. A viewer has a position in it. As long as its socket takes
 * what it is given it is always at the end; when more than 256 KiB wait in its socket nothing more
 * is written, its position stays, and once it has drained it goes on from there: past every event
 * that a newer one of the same patient has replaced. So a slow viewer gets the newest row, not each
 * one, and never one that is older than what it has. A viewer whose position left the ring, or
 * whose Last-Event-ID is too old, is told "reset": fetch the board again.
 *
 * Ids are the repository's change numbers. Partitions may post them slightly out of order, so
 * replay starts after the place of the id in the ring, not at the next larger number; what a viewer
 * gets twice it can tell by the row's "change".
 *
 * Crashes: the ring starts empty; `forgotten` starts at the repository's newest change, so whoever
 * saw less than that is told to reset. The stage posts before it commits: after a crash an event
 * may be sent twice, never not at all.
 *
 * Threads: struct web_hub and viewers belong to the loop's thread. process() runs in a thread per
 * partition and hands over encoded events with vg_loop_post().
 */
#include "base/log.h"
#include "base/metrics.h"
#include "web/web_int.h"

#include <stdlib.h>

#define PENDING_MAX ((size_t)256 << 10)
#define PENDING_CUT_OFF ((size_t)2 << 20) /* not even beats fit: the viewer is gone or hostile */
#define VIEWERS_MAX 2000
#define BEAT_TICKS 10

struct web_event {
    int64_t change;
    uint64_t key; /* hash of kind and key: what a newer event replaces */
    bool is_replaced;
    struct vg_buf full, minimal; /* encoded: for staff, for wall displays */
};

struct web_viewer {
    struct web *web;
    struct vg_http_request *request;
    struct vg_slice session; /* malloc'ed */
    bool is_minimal;
    uint64_t position; /* of the next event to be written */
    struct web_viewer *previous, *next;
};

static void event_free(struct web_event *event)
{
    if (event) {
        vg_buf_fini(&event->full);
        vg_buf_fini(&event->minimal);
        free(event);
    }
}

/* One event of the stream; change 0: without an id. A line end inside JSON is white space between
 * its values. */
static void encode(struct vg_buf *out, int64_t change, const char *kind, struct vg_slice json)
{
    size_t start;

    if (change)
        vg_buf_printf(out, "id: %lld\n", (long long)change);
    vg_buf_printf(out, "event: %s\ndata: ", kind);
    start = out->len;
    vg_buf_put(out, json);
    for (size_t i = start; i < out->len; i++) {
        if (out->ptr[i] == '\n' || out->ptr[i] == '\r')
            out->ptr[i] = ' ';
    }
    vg_buf_put(out, VG_SLICE("\n\n"));
}

/* ---- the loop's thread ---- */

static void viewer_write(struct web_viewer *viewer, struct vg_slice bytes)
{
    vg_http_stream_write(viewer->request, bytes);
}

/* Without an id: it says nothing of which changes the viewer has had, and one that is behind (or
 * whose fetch after a reset fails) must not come back as if it had them all. */
static void viewer_say(struct web_viewer *viewer, const char *kind, struct vg_slice json)
{
    struct vg_buf text;

    vg_buf_init(&text, 0);
    encode(&text, 0, kind, json);
    viewer_write(viewer, vg_buf_slice(&text));
    vg_buf_fini(&text);
}

/* Writes what the viewer has not had, as far as its socket takes it. */
static void viewer_feed(struct web_viewer *viewer)
{
    struct web_hub *hub = &viewer->web->hub;

    if (viewer->position < hub->oldest) {
        viewer_say(viewer, "reset", VG_SLICE("{}"));
        viewer->position = hub->next;
    }
    for (; viewer->position < hub->next; viewer->position++) {
        const struct web_event *event = hub->ring[viewer->position % WEB_RING_SIZE];

        if (event->is_replaced)
            continue;
        if (vg_http_stream_pending(viewer->request) > PENDING_MAX)
            return;
        viewer_write(viewer, vg_buf_slice(viewer->is_minimal ? &event->minimal : &event->full));
    }
}

static void viewer_gone(void *ctx)
{
    struct web_viewer *viewer = ctx;
    struct web_hub *hub = &viewer->web->hub;

    if (viewer->previous)
        viewer->previous->next = viewer->next;
    else
        hub->viewers = viewer->next;
    if (viewer->next)
        viewer->next->previous = viewer->previous;
    hub->viewer_count--;
    free((void *)(uintptr_t)viewer->session.ptr);
    free(viewer);
}

struct posted {
    struct web *web;
    struct web_event *event;
};

static void on_posted(void *ctx)
{
    struct posted *posted = ctx;
    struct web_event *event = posted->event;
    struct web_hub *hub = &posted->web->hub;
    size_t slot = hub->next % WEB_RING_SIZE;
    struct web_viewer *after;

    if (hub->ring[slot]) {
        if (hub->ring[slot]->change > hub->forgotten)
            hub->forgotten = hub->ring[slot]->change;
        event_free(hub->ring[slot]);
        hub->oldest = hub->next + 1 - WEB_RING_SIZE;
    }
    hub->ring[slot] = NULL;
    for (uint64_t at = hub->oldest; at < hub->next; at++) {
        struct web_event *old = hub->ring[at % WEB_RING_SIZE];

        if (old->key != event->key || old->is_replaced)
            continue;
        /* Two partitions of the stage, or a person's act, may post a row just older than what is
         * here: then the one that came last is the one that is replaced. */
        if (old->change <= event->change)
            old->is_replaced = true;
        else
            event->is_replaced = true;
    }
    hub->ring[slot] = event;
    hub->next++;
    if (event->change > hub->newest)
        hub->newest = event->change;
    for (struct web_viewer *viewer = hub->viewers; viewer; viewer = after) {
        after = viewer->next; /* a write may close the connection */
        viewer_feed(viewer);
    }
    free(posted);
}

void web_hub_tick(void *ctx)
{
    struct web *web = ctx;
    struct web_hub *hub = &web->hub;
    bool is_beat = ++hub->ticks % BEAT_TICKS == 0, has_changed;
    int64_t now_us = vg_now_us();
    struct web_viewer *after;
    struct vg_buf health, beat;
    struct vg_json_writer w;

    if (!hub->viewers)
        return;
    vg_buf_init(&health, 0);
    vg_buf_init(&beat, 0);
    (void)web_health_write(web, &health);
    has_changed = !vg_slice_eq(vg_buf_slice(&health), vg_buf_slice(&hub->health));
    vg_json_writer_init(&w, &beat);
    vg_json_open_object(&w);
    vg_json_member_time(&w, "asOf", now_us);
    vg_json_close_object(&w);
    for (struct web_viewer *viewer = hub->viewers; viewer; viewer = after) {
        after = viewer->next;
        if (vg_http_stream_pending(viewer->request) > PENDING_CUT_OFF ||
            (is_beat && !web_session_is_alive(web, viewer->session, now_us))) {
            vg_http_stream_end(viewer->request);
            continue;
        }
        if (has_changed)
            viewer_say(viewer, "health", vg_buf_slice(&health));
        if (is_beat)
            viewer_say(viewer, "beat", vg_buf_slice(&beat));
        viewer_feed(viewer);
    }
    vg_buf_fini(&hub->health);
    hub->health = health;
    vg_buf_fini(&beat);
}

/* Where in the ring a viewer goes on that has seen `id`; false: too long ago. */
static bool place_after(const struct web_hub *hub, int64_t id, uint64_t *ret_position)
{
    if (id < hub->forgotten || id > hub->newest)
        return false; /* larger: of another repository, before a restore */
    for (uint64_t at = hub->oldest; at < hub->next; at++) {
        const struct web_event *event = hub->ring[at % WEB_RING_SIZE];

        /* The first of this id: a second one (an item beside its row) may not have arrived. The
         * first larger one: the id came from a board, which holds all up to it. */
        if (event->change >= id) {
            *ret_position = event->change == id ? at + 1 : at;
            return true;
        }
    }
    *ret_position = hub->next;
    return true;
}

static void begin_stream(struct web_call *call)
{
    struct web *web = call->web;
    struct web_hub *hub = &web->hub;
    struct web_viewer *viewer;
    char *session;
    int64_t id = 0;
    size_t count;
    bool is_placed;

    if (hub->viewer_count >= VIEWERS_MAX) {
        vg_http_reply_error(call->request, 503, "web.viewers", "too many open boards");
        return;
    }
    count = hub->viewer_count;
    viewer = calloc(1, sizeof(*viewer));
    session = malloc(call->session.len + 1);
    if (!viewer || !session) {
        free(viewer);
        free(session);
        vg_http_reply_error(call->request, 503, "web.memory", "no memory");
        return;
    }
    memcpy(session, call->session.ptr, call->session.len);
    viewer->web = web;
    viewer->request = call->request;
    viewer->session = (struct vg_slice){session, call->session.len};
    viewer->is_minimal = call->role == WEB_VIEWER;
    viewer->position = hub->next;
    viewer->next = hub->viewers;
    if (hub->viewers)
        hub->viewers->previous = viewer;
    hub->viewers = viewer;
    hub->viewer_count++;
    vg_http_add_header(call->request, "X-Accel-Buffering", VG_SLICE("no"));
    vg_http_stream_begin(call->request, "text/event-stream", viewer_gone, viewer);
    if (hub->viewer_count == count)
        return; /* the browser had gone before it began */
    is_placed = call->last_event_id.len == 0 || (vg_slice_to_i64(call->last_event_id, &id) &&
                                                 place_after(hub, id, &viewer->position));
    viewer_say(viewer, "health", vg_buf_slice(&call->out));
    if (!is_placed)
        viewer_say(viewer, "reset", VG_SLICE("{}"));
    viewer_feed(viewer);
}

enum vg_status web_events(struct web_call *call, struct vg_err *err)
{
    (void)err;
    (void)web_health_write(call->web, &call->out);
    call->in_loop = begin_stream;
    return VG_OK;
}

/* ---- any thread ---- */

void web_publish(struct web *web, const char *kind, struct vg_slice key, int64_t change,
                 struct vg_slice json)
{
    struct posted *posted = calloc(1, sizeof(*posted));
    struct web_event *event = calloc(1, sizeof(*event));
    struct vg_buf less;
    struct vg_err err = {0};
    bool is_fine = posted && event;

    vg_buf_init(&less, 0);
    if (is_fine) {
        *posted = (struct posted){web, event};
        event->change = change;
        event->key = vg_slice_hash(key) * 31 + vg_slice_hash(vg_slice_of(kind));
        vg_buf_init(&event->full, 0);
        vg_buf_init(&event->minimal, 0);
        is_fine = web_minimise(json, &less, &err) == VG_OK;
    }
    if (is_fine) {
        encode(&event->full, change, kind, json);
        encode(&event->minimal, change, kind, vg_buf_slice(&less));
        is_fine = vg_buf_ok(&event->full) && vg_buf_ok(&event->minimal);
    }
    if (!is_fine) {
        (void)vg_fail(&err, VG_RETRY, err.code ? err.code : "web.memory", 0,
                      "an event could not be encoded: viewers see it with the next one");
        vg_log_err(VG_LOG_ERROR, "web", &err);
    }
    if (!is_fine || !vg_loop_post(web->loop, on_posted, posted)) {
        event_free(event);
        free(posted);
    }
    vg_buf_fini(&less);
}

/* The worklist's items of these patients, to whoever watches. */
static enum vg_status publish_items(struct web *web, const struct vg_slice *patients,
                                    const int64_t *changes, size_t count, struct vg_err *err)
{
    static const struct vg_json_options options = {.values_max = 2000000};
    struct vg_json *root = NULL;
    struct vg_arena arena;
    struct vg_buf worklist;
    enum vg_status st;

    vg_arena_init(&arena, (size_t)256 << 20);
    vg_buf_init(&worklist, 0);
    st = care_worklist(web->config.care, &worklist, err);
    if (st == VG_OK)
        st = vg_json_parse(&arena, vg_buf_slice(&worklist), &options, &root, NULL, err);
    if (st == VG_OK) {
        const struct vg_json *items = vg_json_get(root, "items");

        for (const struct vg_json *item = items ? items->child : NULL; item; item = item->next) {
            struct vg_slice patient = vg_json_get_text(item, "patientId");

            for (size_t i = 0; i < count; i++) {
                if (vg_slice_eq(patients[i], patient))
                    web_publish(web, "item", vg_json_get(item, "id")->source, changes[i],
                                item->source);
            }
        }
    }
    vg_buf_fini(&worklist);
    vg_arena_fini(&arena);
    return st;
}

/* The stage: one row per patient of the batch, however often it changed in it. */
static enum vg_status process(void *self, const struct stream_batch *batch, struct stream_out *out,
                              struct vg_err *err)
{
    struct web *web = self;
    struct vg_arena arena;
    struct vg_buf row;
    struct vg_slice *flagged;
    int64_t *flagged_change;
    size_t flagged_count = 0;
    enum vg_status st = VG_OK;

    vg_arena_init(&arena, 0);
    vg_buf_init(&row, 0);
    flagged = vg_arena_alloc(&arena, batch->count * sizeof(*flagged));
    flagged_change = vg_arena_alloc(&arena, batch->count * sizeof(*flagged_change));
    if (!flagged || !flagged_change)
        st = vg_fail(err, VG_RETRY, "web.memory", 0, "no memory for a batch");
    for (size_t i = 0; st == VG_OK && i < batch->count; i++) {
        const struct stream_record *record = &batch->records[i];
        struct vg_json *change = NULL;
        struct vg_err why = {0};
        int64_t number = 0;
        bool is_later = false;

        if (vg_json_parse(&arena, record->value, NULL, &change, NULL, &why) != VG_OK ||
            !vg_json_to_i64(vg_json_get(change, "change"), &number)) {
            if (!why.code)
                (void)vg_fail(&why, VG_REJECT, "web.change", 0, "expected an integer 'change'");
            stage_deadletter(out, STREAM_CARE_CHANGED, 0, record, "board", &why);
            continue;
        }
        if (vg_json_get(change, "flag")) {
            flagged[flagged_count] = record->key;
            flagged_change[flagged_count++] = number;
        }
        for (size_t j = i + 1; j < batch->count && !is_later; j++)
            is_later = vg_slice_eq(batch->records[j].key, record->key);
        if (is_later)
            continue;
        vg_buf_clear(&row);
        st = care_board_row(web->config.care, record->key, &row, err);
        if (st == VG_OK)
            web_publish(web, "patient", record->key, number, vg_buf_slice(&row));
        else if (st == VG_END) /* not on the board (any more) */
            st = VG_OK;
    }
    if (st == VG_OK && flagged_count)
        st = publish_items(web, flagged, flagged_change, flagged_count, err);
    if (st == VG_REJECT) { /* a worklist beyond all measure must not stop the rows of the board */
        vg_log_err(VG_LOG_ERROR, "web", err);
        st = VG_OK;
    }
    vg_buf_fini(&row);
    vg_arena_fini(&arena);
    return st;
}

const struct stage_ops web_stage_ops = {
    .name = "board",
    .steps = {15},
    .input = STREAM_CARE_CHANGED,
    .batch_count_max = 256,
    .process = process,
};

/* ---- open and close ---- */

enum vg_status web_hub_open(struct web *web, struct vg_err *err)
{
    struct vg_json *root = NULL;
    struct vg_arena arena;
    struct vg_buf board;
    enum vg_status st;

    vg_buf_init(&web->hub.health, 0);
    vg_arena_init(&arena, (size_t)256 << 20);
    vg_buf_init(&board, 0);
    st = care_board(web->config.care, &board, err);
    if (st == VG_OK)
        st = vg_json_parse(&arena, vg_buf_slice(&board),
                           &(struct vg_json_options){.values_max = 2000000}, &root, NULL, err);
    if (st == VG_OK)
        (void)vg_json_to_i64(vg_json_get(root, "change"), &web->hub.newest);
    web->hub.forgotten = web->hub.newest;
    vg_buf_fini(&board);
    vg_arena_fini(&arena);
    return st;
}

void web_hub_close(struct web *web)
{
    while (web->hub.viewers) /* whose streams the server's close did not end */
        viewer_gone(web->hub.viewers);
    for (size_t i = 0; i < WEB_RING_SIZE; i++)
        event_free(web->hub.ring[i]);
    vg_buf_fini(&web->hub.health);
}
