/* loop.c -- an event loop in a thread of its own, and the way into it.
 *
 * Posting: a mutex guards an array of (fn, ctx); who finds it empty wakes the loop with
 * event_active(), so a thousand posts in one turn cost one wake-up. The loop swaps the array for an
 * empty one and runs what it took without the lock.
 *
 * Stopping: from the moment vg_loop_stop() sets is_stopping no post is accepted; what was accepted
 * before still runs, in order, and then the loop ends. So a true from vg_loop_post() is a promise.
 *
 * Threads: libevent is told once to use pthreads (event_active from other threads needs it), and
 * SIGPIPE is ignored in the whole process: OpenSSL writes with write(2), and a peer that has gone
 * must be an error code, not a death. The loop's thread blocks all signals, so they reach main().
 */
#include "base/loop.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct post {
    void (*fn)(void *ctx);
    void *ctx;
};

struct ticker {
    struct ticker *next;
    struct event *event;
    void (*fn)(void *ctx);
    void *ctx;
};

struct vg_loop {
    struct event_base *base;
    struct event *wake;
    struct ticker *tickers;
    char name[16];
    pthread_t thread;
    bool is_started;        /* by the thread that owns the loop */
    atomic_bool is_running; /* `thread` is set and has not been joined */

    pthread_mutex_t lock; /* guards all below */
    struct post *posts;
    size_t post_count, post_capacity;
    bool is_stopping;
};

static pthread_once_t libevent_once = PTHREAD_ONCE_INIT;
static int libevent_result;

static void libevent_setup(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    libevent_result = evthread_use_pthreads();
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

/* Runs all that was posted. True when the loop is to end. */
static bool run_posts(struct vg_loop *loop)
{
    for (;;) {
        struct post *taken;
        size_t count;
        bool is_stopping;

        pthread_mutex_lock(&loop->lock);
        taken = loop->posts;
        count = loop->post_count;
        loop->posts = NULL;
        loop->post_count = loop->post_capacity = 0;
        is_stopping = loop->is_stopping;
        pthread_mutex_unlock(&loop->lock);
        for (size_t i = 0; i < count; i++)
            taken[i].fn(taken[i].ctx);
        free(taken);
        /* Nothing is accepted once is_stopping was seen, so an empty take is final. One round per
         * wake-up otherwise: sockets must have their turn when posts beget posts. */
        if (!is_stopping || count == 0)
            return is_stopping;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct vg_loop *loop = ctx;

    (void)fd;
    (void)what;
    if (run_posts(loop))
        (void)event_base_loopbreak(loop->base);
}

enum vg_status vg_loop_open(const char *name, struct vg_loop **ret_loop, struct vg_err *err)
{
    struct vg_loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return vg_fail(err, VG_RETRY, "loop.memory", 0, "no memory for the loop '%s'", name);
    (void)pthread_once(&libevent_once, libevent_setup);
    (void)snprintf(loop->name, sizeof(loop->name), "%s", name);
    (void)pthread_mutex_init(&loop->lock, NULL);
    loop->base = libevent_result == 0 ? event_base_new() : NULL;
    loop->wake = loop->base ? event_new(loop->base, -1, EV_PERSIST, on_wake, loop) : NULL;
    if (!loop->wake) {
        vg_loop_close(loop);
        return vg_fail(err, VG_RETRY, "loop.open", 0, "libevent gave no loop for '%s'", name);
    }
    *ret_loop = loop;
    return VG_OK;
}

static void *loop_main(void *ctx)
{
    struct vg_loop *loop = ctx;

    (void)pthread_setname_np(pthread_self(), loop->name);
    (void)event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

enum vg_status vg_loop_start(struct vg_loop *loop, struct vg_err *err)
{
    sigset_t all, before;
    int error;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&loop->thread, NULL, loop_main, loop);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return vg_fail(err, VG_RETRY, "loop.thread", error, "no thread for the loop '%s'",
                       loop->name);
    loop->is_started = true;
    atomic_store(&loop->is_running, true);
    return VG_OK;
}

void vg_loop_stop(struct vg_loop *loop)
{
    if (!loop)
        return;
    pthread_mutex_lock(&loop->lock);
    loop->is_stopping = true;
    pthread_mutex_unlock(&loop->lock);
    if (loop->is_started) {
        event_active(loop->wake, EV_TIMEOUT, 0);
        (void)pthread_join(loop->thread, NULL);
        loop->is_started = false;
        atomic_store(&loop->is_running, false);
    } else if (loop->wake) {
        (void)run_posts(loop); /* it never ran: what was accepted runs here */
    }
}

void vg_loop_close(struct vg_loop *loop)
{
    struct ticker *next;

    if (!loop)
        return;
    vg_loop_stop(loop);
    for (struct ticker *ticker = loop->tickers; ticker; ticker = next) {
        next = ticker->next;
        event_free(ticker->event);
        free(ticker);
    }
    if (loop->wake)
        event_free(loop->wake);
    if (loop->base) {
        /* Bufferevents that were freed meanwhile wait for their deferred callbacks. */
        (void)event_base_loop(loop->base, EVLOOP_NONBLOCK);
        event_base_free(loop->base);
    }
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop->posts);
    free(loop);
}

struct event_base *vg_loop_base(struct vg_loop *loop)
{
    return loop->base;
}

bool vg_loop_post(struct vg_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    bool is_accepted = false, needs_wake = false;

    pthread_mutex_lock(&loop->lock);
    if (loop->is_stopping)
        goto done;
    if (loop->post_count == loop->post_capacity) {
        size_t capacity = loop->post_capacity ? loop->post_capacity * 2 : 16;
        struct post *grown = realloc(loop->posts, capacity * sizeof(*grown));

        if (!grown)
            goto done;
        loop->posts = grown;
        loop->post_capacity = capacity;
    }
    needs_wake = loop->post_count == 0;
    loop->posts[loop->post_count++] = (struct post){fn, ctx};
    is_accepted = true;
    /* Inside the lock: after it the loop could be stopped and freed before we touch `wake`. */
    if (needs_wake)
        event_active(loop->wake, EV_TIMEOUT, 0);
done:
    pthread_mutex_unlock(&loop->lock);
    return is_accepted;
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct ticker *ticker = ctx;

    (void)fd;
    (void)what;
    ticker->fn(ticker->ctx);
}

enum vg_status vg_loop_every(struct vg_loop *loop, int64_t interval_us, void (*fn)(void *ctx),
                             void *ctx, struct vg_err *err)
{
    struct ticker *ticker = calloc(1, sizeof(*ticker));
    struct timeval interval = {.tv_sec = interval_us / 1000000, .tv_usec = interval_us % 1000000};

    if (!ticker)
        return vg_fail(err, VG_RETRY, "loop.memory", 0, "no memory for a timer");
    ticker->fn = fn;
    ticker->ctx = ctx;
    ticker->event = event_new(loop->base, -1, EV_PERSIST, on_tick, ticker);
    if (!ticker->event || event_add(ticker->event, &interval) != 0) {
        if (ticker->event)
            event_free(ticker->event);
        free(ticker);
        return vg_fail(err, VG_RETRY, "loop.timer", 0, "libevent gave no timer");
    }
    ticker->next = loop->tickers;
    loop->tickers = ticker;
    return VG_OK;
}

bool vg_loop_is_current(const struct vg_loop *loop)
{
    return atomic_load(&loop->is_running) && pthread_equal(loop->thread, pthread_self());
}
