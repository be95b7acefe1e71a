/* loop_test.c -- posts from many threads, timers, and the end of a loop. */
#include "base/loop.h"

#include "base/clock.h"
#include "vg_test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, POSTS_EACH = 5000 };

static struct vg_loop *loop;
static atomic_int ran;
static int last_of[THREADS]; /* in the loop's thread */
static bool is_ordered = true, is_in_loop = true;

struct item {
    int thread, number;
};
static struct item items[THREADS][POSTS_EACH];

static void take(void *ctx)
{
    const struct item *item = ctx;

    if (item->number != last_of[item->thread] + 1)
        is_ordered = false;
    last_of[item->thread] = item->number;
    if (!vg_loop_is_current(loop))
        is_in_loop = false;
    atomic_fetch_add(&ran, 1);
}

static void *poster(void *ctx)
{
    struct item *mine = ctx;

    for (int i = 0; i < POSTS_EACH; i++)
        if (!vg_loop_post(loop, take, &mine[i]))
            return ctx;
    return NULL;
}

static void test_posts_from_many_threads_all_run_in_order_before_stop_returns(void)
{
    pthread_t threads[THREADS];

    if (!CHECK(vg_loop_open("test", &loop, NULL) == VG_OK))
        return;
    CHECK(vg_loop_start(loop, NULL) == VG_OK);
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < POSTS_EACH; i++)
            items[t][i] = (struct item){t, i + 1};
        CHECK(pthread_create(&threads[t], NULL, poster, items[t]) == 0);
    }
    for (int t = 0; t < THREADS; t++) {
        void *refused = NULL;

        (void)pthread_join(threads[t], &refused);
        CHECK(!refused);
    }
    vg_loop_stop(loop);
    CHECK(atomic_load(&ran) == THREADS * POSTS_EACH);
    CHECK(is_ordered);
    CHECK(is_in_loop);
    CHECK(!vg_loop_is_current(loop));
    CHECK(!vg_loop_post(loop, take, &items[0][0]));
    vg_loop_close(loop);
    CHECK(atomic_load(&ran) == THREADS * POSTS_EACH);
}

static pthread_mutex_t tick_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tick_cond = PTHREAD_COND_INITIALIZER;
static int ticks;

static void tick(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&tick_lock);
    ticks++;
    pthread_cond_signal(&tick_cond);
    pthread_mutex_unlock(&tick_lock);
}

static void test_a_timer_ticks_again_and_again(void)
{
    struct vg_loop *ticking = NULL;

    if (!CHECK(vg_loop_open("ticks", &ticking, NULL) == VG_OK))
        return;
    CHECK(vg_loop_every(ticking, 10000, tick, NULL, NULL) == VG_OK);
    CHECK(vg_loop_start(ticking, NULL) == VG_OK);
    pthread_mutex_lock(&tick_lock);
    while (ticks < 3)
        pthread_cond_wait(&tick_cond, &tick_lock);
    pthread_mutex_unlock(&tick_lock);
    vg_loop_stop(ticking);
    vg_loop_close(ticking);
}

static int posted_again;

static void post_again(void *ctx)
{
    if (++posted_again < 100)
        (void)vg_loop_post(ctx, post_again, ctx);
    else
        tick(NULL);
}

static void test_a_post_may_post(void)
{
    struct vg_loop *self = NULL;

    ticks = 0;
    if (!CHECK(vg_loop_open("self", &self, NULL) == VG_OK))
        return;
    CHECK(vg_loop_post(self, post_again, self)); /* before start: runs once started */
    CHECK(vg_loop_start(self, NULL) == VG_OK);
    pthread_mutex_lock(&tick_lock);
    while (ticks < 1)
        pthread_cond_wait(&tick_cond, &tick_lock);
    pthread_mutex_unlock(&tick_lock);
    vg_loop_stop(self);
    CHECK(posted_again == 100);
    vg_loop_close(self);
    vg_loop_close(NULL);
}

int main(void)
{
    RUN(test_posts_from_many_threads_all_run_in_order_before_stop_returns);
    RUN(test_a_timer_ticks_again_and_again);
    RUN(test_a_post_may_post);
    return vg_test_report();
}
