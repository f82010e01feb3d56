#pragma once

/* Intrusive binary min-heap on (order, sequence): equal orders leave in the order they came, so a
 * run is the same on every machine. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nk_heap_node {
    uint64_t order;    /* smallest first; set before the push, constant while inside */
    uint64_t sequence; /* set by the heap */
    size_t position;   /* 1-based in the heap; 0: not inside */
};

struct nk_heap {
    struct nk_heap_node **nodes;
    size_t count;
    size_t capacity;
    uint64_t sequence_next;
};

void nk_heap_init(struct nk_heap *heap);
void nk_heap_deinit(struct nk_heap *heap); /* nodes are the caller's */
void nk_heap_push(struct nk_heap *heap, struct nk_heap_node *node);
void nk_heap_remove(struct nk_heap *heap, struct nk_heap_node *node); /* no-op if not inside */

static inline struct nk_heap_node *nk_heap_peek(const struct nk_heap *heap)
{
    return heap->count > 0 ? heap->nodes[0] : NULL;
}

static inline bool nk_heap_contains(const struct nk_heap_node *node)
{
    return node->position > 0;
}
