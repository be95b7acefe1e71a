/* queue_test.c -- order, bounds, closing; and four threads through a small queue. */
#include "base/queue.h"
#include "vg_test.h"

#include <stdatomic.h>
#include <stdint.h>

#define PRODUCER_COUNT 2
#define CONSUMER_COUNT 2
#define ITEMS_PER_THREAD 50000

static int items[PRODUCER_COUNT * ITEMS_PER_THREAD];

static void test_order_and_bounds(void)
{
    struct vg_queue queue;
    void *room[3];

    vg_queue_init(&queue, room, 3);
    CHECK(vg_queue_try_pop(&queue) == NULL);
    for (int round = 0; round < 5; round++) {
        CHECK(vg_queue_try_push(&queue, &items[0]) && vg_queue_try_push(&queue, &items[1]));
        CHECK(vg_queue_try_push(&queue, &items[2]));
        CHECK(!vg_queue_try_push(&queue, &items[3])); /* full */
        CHECK(vg_queue_pop(&queue) == &items[0]);
        CHECK(vg_queue_try_push(&queue, &items[3])); /* around the end of the array */
        CHECK(vg_queue_pop(&queue) == &items[1] && vg_queue_try_pop(&queue) == &items[2]);
        CHECK(vg_queue_pop(&queue) == &items[3] && vg_queue_try_pop(&queue) == NULL);
    }
    vg_queue_fini(&queue);
}

static void test_close(void)
{
    struct vg_queue queue;
    void *room[2];

    vg_queue_init(&queue, room, 2);
    CHECK(vg_queue_try_push(&queue, &items[0]));
    vg_queue_close(&queue);
    CHECK(!vg_queue_try_push(&queue, &items[1]));
    CHECK(vg_queue_pop(&queue) == &items[0]); /* what was pushed is still handed out */
    CHECK(vg_queue_pop(&queue) == NULL && vg_queue_pop(&queue) == NULL);
    vg_queue_close(&queue);
    vg_queue_fini(&queue);
}

struct crowd {
    struct vg_queue queue;
    _Atomic int next_producer;
    _Atomic int popped_count;
};

static void *produce(void *ctx)
{
    struct crowd *crowd = ctx;
    int *mine = items + atomic_fetch_add(&crowd->next_producer, 1) * ITEMS_PER_THREAD;

    for (int i = 0; i < ITEMS_PER_THREAD; i++) {
        mine[i] = 1; /* seen by the popper without a lock of its own */
        while (!vg_queue_try_push(&crowd->queue, &mine[i]))
            (void)sched_yield();
    }
    return NULL;
}

static void *consume(void *ctx)
{
    struct crowd *crowd = ctx;
    int *item;

    while ((item = vg_queue_pop(&crowd->queue))) {
        *item += 1;
        atomic_fetch_add(&crowd->popped_count, 1);
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t producers[PRODUCER_COUNT], consumers[CONSUMER_COUNT];
    static struct crowd crowd;
    void *room[8];
    bool is_each_once = true;

    vg_queue_init(&crowd.queue, room, 8);
    for (int i = 0; i < CONSUMER_COUNT; i++)
        CHECK(pthread_create(&consumers[i], NULL, consume, &crowd) == 0);
    for (int i = 0; i < PRODUCER_COUNT; i++)
        CHECK(pthread_create(&producers[i], NULL, produce, &crowd) == 0);
    for (int i = 0; i < PRODUCER_COUNT; i++)
        (void)pthread_join(producers[i], NULL);
    vg_queue_close(&crowd.queue);
    for (int i = 0; i < CONSUMER_COUNT; i++)
        (void)pthread_join(consumers[i], NULL);
    CHECK(crowd.popped_count == PRODUCER_COUNT * ITEMS_PER_THREAD);
    for (int i = 0; i < PRODUCER_COUNT * ITEMS_PER_THREAD; i++)
        is_each_once = is_each_once && items[i] == 2;
    CHECK(is_each_once);
    vg_queue_fini(&crowd.queue);
}

int main(void)
{
    RUN(test_order_and_bounds);
    RUN(test_close);
    RUN(test_threads);
    return vg_test_report();
}
