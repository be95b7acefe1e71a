/* queue.c -- a ring of pointers under one mutex; a popper sleeps on one condition. */
#include "base/queue.h"

void vg_queue_init(struct vg_queue *queue, void **items, size_t capacity)
{
    *queue = (struct vg_queue){.items = items, .capacity = capacity};
    (void)pthread_mutex_init(&queue->lock, NULL); /* without attributes these two cannot fail */
    (void)pthread_cond_init(&queue->not_empty, NULL);
}

void vg_queue_fini(struct vg_queue *queue)
{
    (void)pthread_cond_destroy(&queue->not_empty);
    (void)pthread_mutex_destroy(&queue->lock);
}

bool vg_queue_try_push(struct vg_queue *queue, void *item)
{
    (void)pthread_mutex_lock(&queue->lock);
    bool has_room = !queue->is_closed && queue->count < queue->capacity;

    if (has_room) {
        queue->items[(queue->head + queue->count) % queue->capacity] = item;
        queue->count++;
        (void)pthread_cond_signal(&queue->not_empty);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return has_room;
}

/* Under the lock, when there is one. */
static void *take(struct vg_queue *queue)
{
    void *item = queue->items[queue->head];

    queue->head = (queue->head + 1) % queue->capacity;
    queue->count--;
    return item;
}

void *vg_queue_pop(struct vg_queue *queue)
{
    void *item = NULL;

    (void)pthread_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->is_closed)
        (void)pthread_cond_wait(&queue->not_empty, &queue->lock);
    if (queue->count > 0)
        item = take(queue);
    (void)pthread_mutex_unlock(&queue->lock);
    return item;
}

void *vg_queue_try_pop(struct vg_queue *queue)
{
    void *item = NULL;

    (void)pthread_mutex_lock(&queue->lock);
    if (queue->count > 0)
        item = take(queue);
    (void)pthread_mutex_unlock(&queue->lock);
    return item;
}

void vg_queue_close(struct vg_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    (void)pthread_cond_broadcast(&queue->not_empty);
    (void)pthread_mutex_unlock(&queue->lock);
}
