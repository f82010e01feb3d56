#pragma once

/* Many producers, one consumer, intrusive, lock-free.  Producers push onto a stack; the consumer
 * takes everything at once and gets it in push order.  Bounding what is pushed is the caller's
 * duty (each node belongs to something that is counted). */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct nk_mpsc_node {
    struct nk_mpsc_node *next;
};

struct nk_mpsc {
    _Atomic(struct nk_mpsc_node *) head; /* newest first */
};

static inline void nk_mpsc_init(struct nk_mpsc *queue)
{
    atomic_init(&queue->head, NULL);
}

/* Any thread.  Returns true when the queue was empty: the consumer may need a wake-up. */
static inline bool nk_mpsc_push(struct nk_mpsc *queue, struct nk_mpsc_node *node)
{
    struct nk_mpsc_node *head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    do {
        node->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&queue->head, &head, node, memory_order_release,
                                                    memory_order_relaxed));
    return head == NULL;
}

/* Consumer only.  NULL, or the oldest node of a chain linked by `next`. */
static inline struct nk_mpsc_node *nk_mpsc_take_all(struct nk_mpsc *queue)
{
    struct nk_mpsc_node *node = atomic_exchange_explicit(&queue->head, NULL, memory_order_acquire);
    struct nk_mpsc_node *oldest = NULL;
    while (node != NULL) {
        struct nk_mpsc_node *next = node->next;
        node->next = oldest;
        oldest = node;
        node = next;
    }
    return oldest;
}

static inline bool nk_mpsc_empty(struct nk_mpsc *queue)
{
    return atomic_load_explicit(&queue->head, memory_order_relaxed) == NULL;
}
