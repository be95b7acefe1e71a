/* session.c -- who is connected under which id, and what a session remembers.
 *
 * One table for all loops, under hub->lock, touched at CONNECT, SUBSCRIBE and DISCONNECT only. It
 * is bounded by the number of registered devices, because a client id is a device id that has
 * proven itself.
 *
 * Take-over: the newcomer's serial number stands in the table before the old connection is told
 * (0x8E), so the old one, whichever loop it is in, cannot undo anything. A will waits here for its
 * delay, and for room when publishers are paused.
 */
#include "hub/hub_int.h"

#include <stdlib.h>

struct takeover {
    struct hub_loop *loop;
    uint64_t serial;
};

void will_free(struct will *will)
{
    if (!will)
        return;
    vg_buf_fini(&will->headers);
    vg_buf_fini(&will->payload);
    free(will);
}

void session_free(void *value)
{
    struct session *session = value;

    will_free(session->will);
    free(session);
}

static void take_over(void *ctx)
{
    struct takeover *t = ctx;
    struct conn *conn;

    turn_begin(t->loop);
    LIST_FOREACH(conn, &t->loop->conns, all)
    {
        if (conn->serial == t->serial) {
            conn_refuse(conn, REFUSED_TAKEN_OVER, "the same device has connected again");
            break;
        }
    }
    free(t);
}

void session_attach(struct conn *conn, bool *ret_is_present)
{
    struct hub *hub = conn->loop->hub;
    struct vg_slice id = vg_slice_of(conn->id);
    struct takeover *old = NULL;
    struct will *due = NULL;
    struct session *session;
    bool is_ok = true;

    pthread_mutex_lock(&hub->lock);
    session = vg_map_get(&hub->sessions, id);
    if (!session) {
        session = calloc(1, sizeof(*session));
        if (session)
            (void)vg_map_put(&hub->sessions, id, session, &is_ok);
        if (!is_ok) {
            free(session);
            session = NULL;
        }
    }
    *ret_is_present =
        session && session->is_kept && !conn->is_clean && session->expires_us > conn->loop->mono_us;
    if (session) {
        if (session->serial && session->serial != conn->serial && (old = malloc(sizeof(*old))))
            *old = (struct takeover){&hub->loops[session->loop], session->serial};
        if (!*ret_is_present) {
            session->is_subscribed = false;
            due = session->will; /* its session has ended */
        } else {
            will_free(session->will); /* back before the delay was over */
        }
        session->will = NULL;
        session->serial = conn->serial;
        session->loop = conn->loop->index;
        session->is_kept = conn->session_expiry_s > 0;
        session->expires_us = INT64_MAX;
    }
    pthread_mutex_unlock(&hub->lock);

    if (old && old->loop == conn->loop)
        take_over(old);
    else if (old && !vg_loop_post(old->loop->loop, take_over, old))
        free(old);
    if (due) {
        turn_wills(conn->loop, due);
        will_free(due);
    }
}

void session_detach(struct conn *conn, bool is_clean)
{
    struct hub *hub = conn->loop->hub;
    struct vg_slice id = vg_slice_of(conn->id);
    int64_t now_us = vg_mono_us();
    uint32_t expiry_s = conn->session_expiry_s;
    struct will *due = NULL;
    struct session *session;

    if (is_clean) {
        will_free(conn->will);
        conn->will = NULL;
    }
    pthread_mutex_lock(&hub->lock);
    session = vg_map_get(&hub->sessions, id);
    if (session && session->serial != conn->serial)
        session = NULL; /* taken over */
    if (session) {
        session->serial = 0;
        session->is_kept = expiry_s > 0;
        session->expires_us = expiry_s == UINT32_MAX ? INT64_MAX : now_us + expiry_s * VG_SECOND_US;
        if (conn->will) {
            uint32_t delay_s = conn->will->delay_s < expiry_s ? conn->will->delay_s : expiry_s;

            session->will = conn->will;
            session->will_us = now_us + delay_s * VG_SECOND_US;
            conn->will = NULL;
            if (delay_s == 0 && turn_has_room(conn->loop)) {
                due = session->will;
                session->will = NULL;
            }
        }
        if (!session->is_kept && !session->will)
            session_free(vg_map_remove(&hub->sessions, id));
    } else if (conn->will && conn->will->delay_s == 0) {
        due = conn->will;
        conn->will = NULL;
    }
    pthread_mutex_unlock(&hub->lock);
    if (due) {
        turn_wills(conn->loop, due);
        will_free(due);
    }
}

/* Returns whether it was subscribed before. */
bool session_subscribe(struct conn *conn, bool is_subscribed)
{
    struct hub *hub = conn->loop->hub;
    struct session *session;
    bool was = false;

    pthread_mutex_lock(&hub->lock);
    session = vg_map_get(&hub->sessions, vg_slice_of(conn->id));
    if (session && session->serial == conn->serial) {
        was = session->is_subscribed;
        session->is_subscribed = is_subscribed;
    }
    pthread_mutex_unlock(&hub->lock);
    return was;
}

/* Every second, in loop 0: wills that are due, sessions that have expired. */
void session_sweep(struct hub *hub, struct hub_loop *loop)
{
    int64_t now_us = vg_mono_us();
    struct vg_slice id;
    size_t cursor = 0;
    void *value;

    turn_begin(loop);
    pthread_mutex_lock(&hub->lock);
    while (vg_map_next(&hub->sessions, &cursor, &id, &value)) {
        struct session *session = value;

        if (session->will && session->will_us <= now_us && turn_has_room(loop)) {
            turn_wills(loop, session->will);
            will_free(session->will);
            session->will = NULL;
        }
        if (!session->serial && !session->will &&
            (!session->is_kept || session->expires_us <= now_us))
            session_free(vg_map_remove(&hub->sessions, id));
    }
    pthread_mutex_unlock(&hub->lock);
}
