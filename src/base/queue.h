/* queue.h -- a bounded hand-off of work between two threads.
 *
 * An item that was pushed belongs to the queue, one that was popped belongs to the popper: no item
 * is ever seen by two threads. A full queue says so at once and the producer decides.
 */
#ifndef VG_BASE_QUEUE_H
#define VG_BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct vg_queue {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t not_empty;
    void **items;
    size_t capacity, head, count;
    bool is_closed;
};

/* `items` has room for `capacity` pointers and outlives the queue. */
void vg_queue_init(struct vg_queue *queue, void **items, size_t capacity);
void vg_queue_fini(struct vg_queue *queue);
bool vg_queue_try_push(struct vg_queue *queue, void *item); /* false: full or closed */
void *vg_queue_pop(struct vg_queue *queue);     /* blocks; NULL once closed and drained */
void *vg_queue_try_pop(struct vg_queue *queue); /* NULL: nothing there now */
void vg_queue_close(struct vg_queue *queue);

#endif
