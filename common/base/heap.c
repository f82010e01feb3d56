#include "common/base/heap.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

static bool before(const struct nk_heap_node *a, const struct nk_heap_node *b)
{
    return a->order != b->order ? a->order < b->order : a->sequence < b->sequence;
}

static void place(struct nk_heap *heap, size_t at, struct nk_heap_node *node)
{
    heap->nodes[at] = node;
    node->position = at + 1;
}

static void sift_up(struct nk_heap *heap, size_t at)
{
    struct nk_heap_node *node = heap->nodes[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(node, heap->nodes[parent])) {
            break;
        }
        place(heap, at, heap->nodes[parent]);
        at = parent;
    }
    place(heap, at, node);
}

static void sift_down(struct nk_heap *heap, size_t at)
{
    struct nk_heap_node *node = heap->nodes[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && before(heap->nodes[child + 1], heap->nodes[child])) {
            child++;
        }
        if (!before(heap->nodes[child], node)) {
            break;
        }
        place(heap, at, heap->nodes[child]);
        at = child;
    }
    place(heap, at, node);
}

void nk_heap_init(struct nk_heap *heap)
{
    memset(heap, 0, sizeof *heap);
}

void nk_heap_deinit(struct nk_heap *heap)
{
    nk_free(heap->nodes);
    nk_heap_init(heap);
}

void nk_heap_push(struct nk_heap *heap, struct nk_heap_node *node)
{
    NK_ASSERT(node->position == 0);
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity < 16 ? 16 : heap->capacity * 2;
        heap->nodes = nk_realloc(heap->nodes, heap->capacity * sizeof(struct nk_heap_node *));
    }
    node->sequence = heap->sequence_next++;
    heap->nodes[heap->count] = node;
    heap->count++;
    sift_up(heap, heap->count - 1);
}

void nk_heap_remove(struct nk_heap *heap, struct nk_heap_node *node)
{
    if (node->position == 0) {
        return;
    }
    size_t at = node->position - 1;
    NK_ASSERT(at < heap->count);
    NK_ASSERT(heap->nodes[at] == node);
    struct nk_heap_node *last = heap->nodes[heap->count - 1];
    heap->count--;
    node->position = 0;
    if (last == node) {
        return;
    }
    place(heap, at, last);
    sift_up(heap, at);
    sift_down(heap, last->position - 1);
}
