/* turn.c -- collect, make durable, answer.
 *
 * A turn of the loop reads what has come from all its sockets; each message is copied into the
 * batch that is being filled. At the turn's end the batch is handed to the stream, and while it is
 * being made durable the next one fills: the batch size adapts itself, there is no timer. At most
 * two are in flight. PUBACK, 204 and AA leave only when every commit of a batch has come back
 * VG_OK, batches in the order in which they were filled, so a client sees its PUBACKs in order
 * (MQTT-4.6.0-2).
 *
 *     FREE -> (filling) -> FLYING -> LANDED -> answered -> FREE
 *                             ^         | VG_RETRY
 *                             +- 500 ms - WAITING
 *
 * VG_RETRY (the disk is full): nobody is answered, publishers are not read, and the same bytes are
 * tried again every 500 ms; nothing new is handed over before they are through. One batch may have
 * been in flight behind it and may stand before it in the log: none of the two was answered, and
 * each record keeps its time of receipt. VG_FATAL: what was promised stands, nothing more is: every
 * connection is closed, none is accepted.
 *
 * A batch holds one commit per partition. Commits come back in the committer's thread, which only
 * notes the result; the last one posts the batch to its loop.
 */
#include "hub/hub_int.h"

#include <stdlib.h>

#define FLYING_MAX 2
#define RESERVED_ANSWERS 1024 /* HTTPS and wills, which cannot wait in a socket */

void turn_begin(struct hub_loop *loop)
{
    loop->now_us = vg_clock_now_us(&loop->hub->clock);
    loop->mono_us = vg_mono_us();
}

static void arm(struct hub_loop *loop)
{
    event_active(loop->turn_end, EV_TIMEOUT, 0); /* runs after the sockets that are ready now */
}

void turn_dirty(struct hub_loop *loop, struct conn *conn)
{
    if (conn->is_dirty || conn->state == CONN_DEAD)
        return;
    if (LIST_EMPTY(&loop->dirty))
        arm(loop);
    conn->is_dirty = true;
    LIST_INSERT_HEAD(&loop->dirty, conn, dirty);
}

bool turn_has_room(struct hub_loop *loop)
{
    const struct batch *batch = &loop->batches[loop->filling];

    return !loop->pauses && batch->count < HUB_BATCH_MESSAGES_MAX &&
           batch->bytes < HUB_BATCH_BYTES_MAX;
}

void turn_add(struct hub_loop *loop, struct vg_slice device, uint32_t partition,
              struct vg_slice headers, struct vg_slice payload, struct answer answer)
{
    struct batch *batch = &loop->batches[loop->filling];

    if (batch->count == 0) {
        batch->first_us = loop->now_us;
        arm(loop);
    }
    stream_out_add(&batch->flights[partition].out, STREAM_DEVICE_RAW, loop->now_us, device, headers,
                   payload);
    batch->answers[batch->count++] = answer;
    batch->bytes += device.len + headers.len + payload.len;
}

void turn_add_refusal(struct hub_loop *loop, struct answer answer)
{
    struct batch *batch = &loop->batches[loop->filling];

    if (batch->count == 0) {
        batch->first_us = loop->now_us;
        arm(loop);
    }
    batch->answers[batch->count++] = answer;
}

/* False: there is no room even in the reserve. */
static bool has_reserve(const struct hub_loop *loop)
{
    return loop->batches[loop->filling].count < HUB_BATCH_MESSAGES_MAX + RESERVED_ANSWERS;
}

bool turn_has_reserve(const struct hub_loop *loop)
{
    return !loop->pauses && has_reserve(loop);
}

void turn_wills(struct hub_loop *loop, struct will *will)
{
    struct vg_slice device = vg_slice_of(will->device);

    if (!has_reserve(loop)) {
        vg_log(VG_LOG_WARN, "hub", "hub.will", "no room for the will of %s", will->device);
        return;
    }
    turn_add(loop, device, stream_partition_of(loop->hub->stream, device),
             vg_buf_slice(&will->headers), vg_buf_slice(&will->payload), (struct answer){0});
}

bool turn_is_idle(const struct hub_loop *loop)
{
    for (size_t i = 0; i < HUB_BATCHES; i++)
        if (loop->batches[i].state != BATCH_FREE || loop->batches[i].count)
            return false;
    return true;
}

/* ---- make durable ---- */

static void land(void *ctx);

/* The committer's thread. */
static void commit_done(void *ctx, enum vg_status status, uint64_t first_seq,
                        const struct vg_err *err)
{
    struct flight *flight = ctx;
    struct batch *batch = flight->batch;
    struct hub *hub = batch->loop->hub;

    (void)first_seq;
    flight->status = status;
    if (status != VG_OK && err)
        flight->err = *err;
    /* A post that fails means that the loop has been stopped: then nobody is answered. */
    if (atomic_fetch_sub(&batch->flying, 1) == 1)
        (void)vg_loop_post(batch->loop->loop, land, batch);
    pthread_mutex_lock(&hub->lock);
    hub->flying--;
    pthread_cond_broadcast(&hub->landed);
    pthread_mutex_unlock(&hub->lock);
}

static void fly(struct batch *batch)
{
    struct hub_loop *loop = batch->loop;
    struct hub *hub = loop->hub;
    uint32_t partitions = stream_partitions(hub->stream), count = 0;

    for (uint32_t p = 0; p < partitions; p++) {
        struct flight *flight = &batch->flights[p];

        flight->is_flying = flight->out.record_count > 0 && flight->status != VG_OK;
        count += flight->is_flying;
    }
    batch->state = BATCH_FLYING;
    atomic_store(&batch->flying, count);
    pthread_mutex_lock(&hub->lock);
    hub->flying += count;
    pthread_mutex_unlock(&hub->lock);
    for (uint32_t p = 0; p < partitions; p++) {
        struct flight *flight = &batch->flights[p];

        if (flight->is_flying)
            stream_commit_async(hub->stream, p, &flight->out, commit_done, flight);
    }
    if (count == 0) /* nothing but refusals: they only wait for what came before them */
        (void)vg_loop_post(loop->loop, land, batch);
}

static void take_off(struct hub_loop *loop)
{
    struct batch *batch = &loop->batches[loop->filling];
    uint32_t flying = 0;

    for (size_t i = 0; i < HUB_BATCHES; i++)
        flying += loop->batches[i].state != BATCH_FREE;
    if (batch->count == 0 || flying >= FLYING_MAX ||
        loop->batches[loop->oldest].state == BATCH_WAITING || (loop->pauses & PAUSE_FATAL))
        return;
    loop->filling = (loop->filling + 1) % HUB_BATCHES;
    for (uint32_t p = 0; p < stream_partitions(loop->hub->stream); p++)
        batch->flights[p].status = VG_RETRY; /* to be flown */
    fly(batch);
}

static void on_turn_end(evutil_socket_t fd, short what, void *ctx)
{
    struct hub_loop *loop = ctx;
    struct conn *conn;

    (void)fd;
    (void)what;
    take_off(loop); /* first: the disk works while we write */
    while ((conn = LIST_FIRST(&loop->dirty))) {
        LIST_REMOVE(conn, dirty);
        conn->is_dirty = false;
        conn->refs++;
        conn_flush(conn);
        /* Who waited for its answers to leave (also a CONNACK after a password check) goes on. */
        if (conn->state == CONN_ONLINE && turn_has_room(loop))
            conn_try_resume(conn);
        conn_unref(conn);
    }
}

/* ---- answer ---- */

static void answer_one(struct answer *answer, enum vg_status status)
{
    struct conn *conn = answer->conn;

    if (answer->request) {
        if (status == VG_OK)
            vg_http_reply(answer->request, 204, NULL, (struct vg_slice){"", 0});
        else
            vg_http_reply_error(answer->request, 503, "hub.unavailable",
                                "the message could not be stored");
        return;
    }
    if (!conn)
        return;
    conn->inflight--;
    if (conn->is_mllp) {
        mllp_answer(answer, status);
    } else if (status != VG_OK) {
        conn_refuse(conn, REFUSED_UNAVAILABLE, "the message could not be stored");
    } else if (conn->state == CONN_ONLINE) {
        size_t len = answer->reason ? 5 : 4;
        char *ack = vg_buf_reserve(&conn->out, len);

        if (ack) {
            ack[0] = 0x40;
            ack[1] = (char)(len - 2);
            ack[2] = (char)(answer->packet_id >> 8);
            ack[3] = (char)answer->packet_id;
            if (answer->reason)
                ack[4] = (char)answer->reason;
            conn->out.len += len;
        }
        turn_dirty(conn->loop, conn);
    }
    conn_unref(conn);
}

static void measure(const struct batch *batch)
{
    const struct hub_metrics *metrics = &batch->loop->hub->metrics;
    int64_t latency_us = vg_clock_now_us(&batch->loop->hub->clock) - batch->first_us;
    uint64_t brought = 0;

    for (uint32_t i = 0; i < batch->count; i++)
        brought += batch->answers[i].is_brought;
    vg_metric_add(metrics->bytes, batch->bytes);
    vg_metric_add(metrics->commits, 1);
    vg_metric_observe_us(metrics->seconds, latency_us);
    vg_step_done(1, batch->count, latency_us);
    if (brought)
        vg_step_done(2, brought, latency_us);
    vg_step_done(4, batch->count, latency_us);
}

static void answer_all(struct batch *batch, enum vg_status status)
{
    for (uint32_t i = 0; i < batch->count; i++)
        answer_one(&batch->answers[i], status);
    for (uint32_t p = 0; p < stream_partitions(batch->loop->hub->stream); p++)
        stream_out_clear(&batch->flights[p].out);
    batch->count = 0;
    batch->bytes = 0;
    batch->state = BATCH_FREE;
}

static void die(struct hub_loop *loop)
{
    struct conn *conn, *next;

    for (size_t i = 0; i < HUB_LISTENERS; i++)
        if (loop->listeners[i])
            evconnlistener_disable(loop->listeners[i]);
    for (conn = LIST_FIRST(&loop->conns); conn; conn = next) {
        next = LIST_NEXT(conn, all);
        conn_refuse(conn, REFUSED_UNAVAILABLE, "the stream has failed: nothing more is taken");
    }
}

/* The worst of a batch's commits. */
static enum vg_status result_of(const struct batch *batch, const struct vg_err **ret_err)
{
    enum vg_status worst = VG_OK;

    for (uint32_t p = 0; p < stream_partitions(batch->loop->hub->stream); p++) {
        const struct flight *flight = &batch->flights[p];

        if (flight->out.record_count == 0 || flight->status == VG_OK)
            continue;
        /* RETRY comes last: only when nothing is wrong for good does it help to try again. */
        if (worst == VG_OK || worst == VG_RETRY || flight->status == VG_FATAL) {
            worst = flight->status;
            *ret_err = &flight->err;
        }
    }
    return worst;
}

static void set_trouble(struct hub_loop *loop, enum pause_reason reason, const struct vg_err *err)
{
    if (!(loop->pauses & (unsigned)reason)) {
        vg_log_err(VG_LOG_ERROR, "hub", err);
        vg_step_error(4, err);
        hub_set_trouble(loop->hub, loop, err->text);
    }
    turn_pause(loop, reason, true);
}

/* Back in the loop: a batch has landed. */
static void land(void *ctx)
{
    struct batch *batch = ctx;
    struct hub_loop *loop = batch->loop;
    const struct vg_err *err = NULL;

    turn_begin(loop);
    batch->state = BATCH_LANDED;
    while ((batch = &loop->batches[loop->oldest])->state == BATCH_LANDED) {
        enum vg_status status = result_of(batch, &err);

        if (status == VG_RETRY) {
            batch->state = BATCH_WAITING;
            set_trouble(loop, PAUSE_FULL, err);
            return;
        }
        if (status == VG_FATAL) {
            set_trouble(loop, PAUSE_FATAL, err);
            die(loop);
        } else if (status == VG_REJECT) {
            vg_log_err(VG_LOG_ERROR, "hub", err);
            vg_step_error(4, err);
        } else if (status == VG_OK) {
            measure(batch);
        }
        answer_all(batch, status);
        loop->oldest = (loop->oldest + 1) % HUB_BATCHES;
        if (loop->pauses & PAUSE_FULL) {
            hub_set_trouble(loop->hub, loop, "");
            vg_log(VG_LOG_INFO, "hub", "hub.resumed", "there is room again");
            turn_pause(loop, PAUSE_FULL, false);
        }
    }
    turn_pause(loop, 0, false); /* who waited for room, or for a PUBACK, may go on */
    take_off(loop);
}

void turn_retry(struct hub_loop *loop)
{
    struct batch *oldest = &loop->batches[loop->oldest];

    if (oldest->state == BATCH_WAITING)
        fly(oldest);
}

/* Sets or clears a reason; when none is left (also with reason 0) the stalled go on. */
void turn_pause(struct hub_loop *loop, enum pause_reason reason, bool is_paused)
{
    struct conn_list waiting = LIST_HEAD_INITIALIZER(waiting);
    struct conn *conn;

    if (is_paused)
        loop->pauses |= (unsigned)reason;
    else
        loop->pauses &= ~(unsigned)reason;
    if (loop->pauses || LIST_EMPTY(&loop->stalled))
        return;
    /* Each once: one that stalls again goes to loop->stalled, not behind the rest of these. */
    waiting.lh_first = LIST_FIRST(&loop->stalled);
    waiting.lh_first->stalled.le_prev = &waiting.lh_first;
    LIST_INIT(&loop->stalled);
    while ((conn = LIST_FIRST(&waiting))) {
        LIST_REMOVE(conn, stalled);
        LIST_INSERT_HEAD(&loop->stalled, conn, stalled);
        if (conn->state == CONN_ONLINE && turn_has_room(loop))
            conn_try_resume(conn);
    }
}

/* ---- open and close ---- */

enum vg_status turn_open(struct hub_loop *loop, struct vg_err *err)
{
    uint32_t partitions = stream_partitions(loop->hub->stream);

    loop->turn_end = event_new(vg_loop_base(loop->loop), -1, 0, on_turn_end, loop);
    if (!loop->turn_end)
        return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    for (size_t i = 0; i < HUB_BATCHES; i++) {
        struct batch *batch = &loop->batches[i];

        batch->loop = loop;
        batch->flights = calloc(partitions, sizeof(*batch->flights));
        batch->answers = calloc(HUB_BATCH_MESSAGES_MAX + RESERVED_ANSWERS, sizeof(*batch->answers));
        if (!batch->flights || !batch->answers)
            return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory for batches");
        for (uint32_t p = 0; p < partitions; p++) {
            batch->flights[p].batch = batch;
            stream_out_init(&batch->flights[p].out);
        }
    }
    return VG_OK;
}

void turn_drop_requests(struct hub_loop *loop)
{
    for (size_t i = 0; i < HUB_BATCHES; i++)
        for (uint32_t a = 0; a < loop->batches[i].count; a++) {
            struct answer *answer = &loop->batches[i].answers[a];

            if (answer->request)
                vg_http_reply_error(answer->request, 503, "hub.shutting_down",
                                    "the hub is shutting down");
            answer->request = NULL;
        }
}

/* The loop has stopped and nothing is in the stream's hands. */
void turn_close(struct hub_loop *loop)
{
    for (size_t i = 0; i < HUB_BATCHES; i++) {
        struct batch *batch = &loop->batches[i];

        for (uint32_t a = 0; batch->answers && a < batch->count; a++)
            if (batch->answers[a].conn) {
                mllp_ack_free(batch->answers[a].ack);
                conn_unref(batch->answers[a].conn);
            }
        for (uint32_t p = 0; batch->flights && p < stream_partitions(loop->hub->stream); p++)
            stream_out_fini(&batch->flights[p].out);
        free(batch->flights);
        free(batch->answers);
    }
    if (loop->turn_end)
        event_free(loop->turn_end);
}
