/* Nothing lost, nothing twice, each producer's order kept. */

#include <pthread.h>

#include <criterion/criterion.h>

#include "common/base/mpsc.h"
#include "common/base/units.h"

TestSuite(base_mpsc, .timeout = 60);

Test(base_mpsc, everything_comes_out_in_push_order)
{
    struct nk_mpsc queue;
    nk_mpsc_init(&queue);
    struct nk_mpsc_node nodes[5];
    cr_expect(nk_mpsc_empty(&queue));
    cr_expect_null(nk_mpsc_take_all(&queue));
    for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
        cr_expect_eq(nk_mpsc_push(&queue, &nodes[i]), i == 0, "only the first finds it empty");
    }
    cr_expect_not(nk_mpsc_empty(&queue));
    struct nk_mpsc_node *node = nk_mpsc_take_all(&queue);
    for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
        cr_assert_eq(node, &nodes[i]);
        node = node->next;
    }
    cr_expect_null(node);
    cr_expect(nk_mpsc_empty(&queue));
    cr_expect(nk_mpsc_push(&queue, &nodes[0]));
}

enum { PRODUCERS = 4, PUSHES = 50000 };

struct push {
    struct nk_mpsc_node node;
    size_t producer;
    size_t number;
};

struct producer {
    struct nk_mpsc *queue;
    struct push *pushes;
    pthread_t thread;
};

static void *produce(void *context)
{
    struct producer *producer = context;
    for (size_t i = 0; i < PUSHES; i++) {
        (void)nk_mpsc_push(producer->queue, &producer->pushes[i].node);
    }
    return NULL;
}

Test(base_mpsc, four_threads_lose_nothing_and_keep_their_order)
{
    static struct push pushes[PRODUCERS][PUSHES];
    static struct producer producers[PRODUCERS];
    struct nk_mpsc queue;
    nk_mpsc_init(&queue);
    for (size_t i = 0; i < PRODUCERS; i++) {
        for (size_t number = 0; number < PUSHES; number++) {
            pushes[i][number].producer = i;
            pushes[i][number].number = number;
        }
        producers[i].queue = &queue;
        producers[i].pushes = pushes[i];
        cr_assert_eq(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    size_t next[PRODUCERS] = {0};
    for (size_t taken = 0; taken < (size_t)PRODUCERS * PUSHES;) {
        struct nk_mpsc_node *node = nk_mpsc_take_all(&queue);
        for (; node != NULL; node = node->next) {
            const struct push *push = NK_CONTAINER_OF(node, struct push, node);
            cr_assert_eq(push->number, next[push->producer]);
            next[push->producer]++;
            taken++;
        }
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        cr_assert_eq(pthread_join(producers[i].thread, NULL), 0);
    }
    cr_expect(nk_mpsc_empty(&queue));
}
