/* Alignment, the limit, and what a reset keeps. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/arena.h"
#include "common/base/units.h"

TestSuite(base_arena, .timeout = 10);

Test(base_arena, blocks_are_aligned_apart_and_writable)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 256, 0);
    cr_expect_eq(arena.total_bytes, 0, "nothing before first use");
    unsigned char *blocks[200];
    for (size_t i = 0; i < NK_COUNT_OF(blocks); i++) {
        blocks[i] = nk_arena_alloc(&arena, i);
        cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i, i);
    }
    for (size_t i = 0; i < NK_COUNT_OF(blocks); i++) {
        for (size_t byte = 0; byte < i; byte++) {
            cr_assert_eq(blocks[i][byte], i);
        }
    }
    cr_expect_geq(arena.total_bytes, arena.used_bytes);
    nk_arena_deinit(&arena);
    cr_expect_eq(arena.total_bytes, 0);
}

Test(base_arena, empty_blocks_are_distinct)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 256, 0);
    cr_expect_neq(nk_arena_alloc(&arena, 0), nk_arena_alloc(&arena, 0));
    nk_arena_deinit(&arena);
}

Test(base_arena, a_block_larger_than_a_chunk_gets_its_own)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 64, 0);
    char *block = nk_arena_alloc(&arena, 100000);
    memset(block, 1, 100000);
    cr_expect_geq(arena.total_bytes, 100000);
    nk_arena_deinit(&arena);
}

Test(base_arena, try_stops_at_the_limit_and_goes_on_below_it)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 256, 1024);
    cr_expect_not_null(nk_arena_try(&arena, 1000));
    cr_expect_null(nk_arena_try(&arena, 17), "1008 and 32 are more than 1024");
    cr_expect_not_null(nk_arena_try(&arena, 16), "the last 16");
    cr_expect_null(nk_arena_try(&arena, 0));
    cr_expect_eq(arena.used_bytes, 1024);
    nk_arena_deinit(&arena);
}

Test(base_arena, sizes_that_would_overflow_are_refused)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 256, 0);
    cr_expect_null(nk_arena_try(&arena, SIZE_MAX));
    cr_expect_null(nk_arena_try(&arena, SIZE_MAX / 2));
    nk_arena_deinit(&arena);
}

Test(base_arena, a_reset_keeps_the_first_chunk_only)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 256, 4096);
    nk_arena_reset(&arena); /* of an unused arena: nothing */
    void *first = nk_arena_alloc(&arena, 100);
    for (int i = 0; i < 20; i++) {
        (void)nk_arena_alloc(&arena, 100);
    }
    cr_expect_gt(arena.total_bytes, 256);
    nk_arena_reset(&arena);
    cr_expect_eq(arena.total_bytes, 256);
    cr_expect_eq(arena.used_bytes, 0);
    cr_expect_eq(nk_arena_alloc(&arena, 100), first);
    nk_arena_deinit(&arena);
}

Test(base_arena, alloc_beyond_the_limit_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 256, 64);
    (void)nk_arena_alloc(&arena, 65);
}
