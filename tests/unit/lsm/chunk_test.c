#include "services/shardhost/lsm/chunk.h"

#include <criterion/criterion.h>

TestSuite(lsm_chunk, .timeout = 10);

Test(lsm_chunk, a_chunk_given_back_is_the_next_one_taken_of_its_size)
{
    struct nk_gauge in_use = {0};
    struct lsm_chunk_pool pool;
    lsm_chunk_pool_init(&pool, 1 << 20, &in_use);
    struct lsm_chunk *first = lsm_chunk_take(&pool, 4096);
    cr_expect_eq(nk_gauge_get(&in_use), 4096);
    lsm_chunk_give_back(&pool, first);
    cr_expect_eq(nk_gauge_get(&in_use), 0);
    cr_expect_eq(pool.held_bytes, 4096);
    struct lsm_chunk *other = lsm_chunk_take(&pool, 8192);
    struct lsm_chunk *again = lsm_chunk_take(&pool, 4096);
    cr_expect_eq(again, first);
    cr_expect_eq(pool.held_bytes, 4096 + 8192);
    other->next = again;
    lsm_chunk_give_back(&pool, other);
    lsm_chunk_pool_deinit(&pool);
}

Test(lsm_chunk, idle_chunks_never_add_to_what_the_budget_allows)
{
    struct nk_gauge in_use = {0};
    struct lsm_chunk_pool pool;
    lsm_chunk_pool_init(&pool, 64 << 10, &in_use);
    struct lsm_chunk *chunks = NULL;
    for (size_t i = 0; i < 16; i++) {
        struct lsm_chunk *chunk = lsm_chunk_take(&pool, 4096);
        chunk->next = chunks;
        chunks = chunk;
    }
    lsm_chunk_give_back(&pool, chunks);
    cr_expect_eq(pool.held_bytes, 64 << 10);
    struct lsm_chunk *large = lsm_chunk_take(&pool, 32 << 10);
    cr_expect_leq(pool.held_bytes, 64 << 10, "idle chunks made room");
    struct lsm_chunk *huge = lsm_chunk_take(&pool, 100 << 10);
    cr_expect_eq(pool.held_bytes, 132 << 10, "what is in use is not bounded here");
    lsm_chunk_give_back(&pool, huge);
    cr_expect_eq(pool.held_bytes, 32 << 10, "odd sizes are not kept");
    lsm_chunk_give_back(&pool, large);
    lsm_chunk_pool_deinit(&pool);
}

Test(lsm_chunk, idle_chunks_leave_one_by_one_the_large_ones_first)
{
    struct nk_gauge in_use = {0};
    struct lsm_chunk_pool pool;
    lsm_chunk_pool_init(&pool, 1 << 20, &in_use);
    struct lsm_chunk *small = lsm_chunk_take(&pool, 4096);
    small->next = lsm_chunk_take(&pool, 8192);
    lsm_chunk_give_back(&pool, small);
    struct lsm_chunk *used = lsm_chunk_take(&pool, 16384);
    cr_expect_eq(pool.idle_bytes, 4096 + 8192);
    lsm_chunk_pool_shrink(&pool);
    cr_expect_eq(pool.idle_bytes, 4096);
    lsm_chunk_pool_shrink(&pool);
    cr_expect_eq(pool.idle_bytes, 0);
    lsm_chunk_pool_shrink(&pool);
    cr_expect_eq(pool.held_bytes, 16384, "what is in use stays");
    lsm_chunk_give_back(&pool, used);
    lsm_chunk_pool_deinit(&pool);
}
