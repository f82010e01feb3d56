/* Order, fairness among equals, removal from anywhere. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/heap.h"
#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(base_heap, .timeout = 10);

static struct nk_heap_node *pop(struct nk_heap *heap)
{
    struct nk_heap_node *node = nk_heap_peek(heap);
    if (node != NULL) {
        nk_heap_remove(heap, node);
    }
    return node;
}

Test(base_heap, the_smallest_leaves_first_and_equals_in_the_order_they_came)
{
    struct nk_heap heap;
    nk_heap_init(&heap);
    struct nk_heap_node nodes[200] = {0};
    struct nk_prng prng;
    nk_prng_init(&prng, 5);
    for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
        nodes[i].order = nk_prng_below(&prng, 10);
        nk_heap_push(&heap, &nodes[i]);
        cr_assert(nk_heap_contains(&nodes[i]));
    }
    struct nk_heap_node *before = pop(&heap);
    for (size_t i = 1; i < NK_COUNT_OF(nodes); i++) {
        struct nk_heap_node *node = pop(&heap);
        cr_assert_not_null(node);
        cr_expect_leq(before->order, node->order);
        if (before->order == node->order) {
            cr_expect_lt(before, node, "equals: the one that came first");
        }
        before = node;
    }
    cr_expect_null(pop(&heap));
    nk_heap_deinit(&heap);
}

Test(base_heap, removal_from_anywhere_keeps_the_order_of_the_rest)
{
    struct nk_heap heap;
    nk_heap_init(&heap);
    struct nk_heap_node nodes[64];
    struct nk_prng prng;
    nk_prng_init(&prng, 6);
    for (int round = 0; round < 500; round++) {
        for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
            nodes[i] = (struct nk_heap_node){.order = nk_prng_below(&prng, 50)};
            nk_heap_push(&heap, &nodes[i]);
        }
        size_t removed = 0;
        for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
            if (nk_prng_chance(&prng, 400000)) {
                nk_heap_remove(&heap, &nodes[i]);
                cr_assert_not(nk_heap_contains(&nodes[i]));
                removed++;
            }
        }
        uint64_t last = 0;
        size_t left = 0;
        for (struct nk_heap_node *node; (node = pop(&heap)) != NULL; left++) {
            cr_assert_leq(last, node->order);
            last = node->order;
        }
        cr_assert_eq(left + removed, NK_COUNT_OF(nodes));
    }
    nk_heap_deinit(&heap);
}

Test(base_heap, removing_what_is_not_inside_does_nothing)
{
    struct nk_heap heap;
    nk_heap_init(&heap);
    struct nk_heap_node inside = {.order = 1};
    struct nk_heap_node outside = {.order = 2};
    nk_heap_push(&heap, &inside);
    nk_heap_remove(&heap, &outside);
    cr_expect_eq(nk_heap_peek(&heap), &inside);
    nk_heap_deinit(&heap);
}

Test(base_heap, pushing_twice_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_heap heap;
    nk_heap_init(&heap);
    struct nk_heap_node node = {.order = 1};
    nk_heap_push(&heap, &node);
    nk_heap_push(&heap, &node);
}
