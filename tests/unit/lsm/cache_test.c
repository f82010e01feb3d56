#include "services/shardhost/lsm/cache.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "common/base/units.h"

TestSuite(lsm_cache, .timeout = 30);

#define BLOCK    ((size_t)1000)
#define CAPACITY (64 * NK_KIB)

static struct lsm_stats stats;
static struct lsm_cache *cache;

static void setup(void)
{
    memset(&stats, 0, sizeof stats);
    lsm_cache_open(CAPACITY, &stats, &cache);
}

static void teardown(void)
{
    lsm_cache_close(&cache);
    cr_expect_eq(nk_gauge_get(&stats.cache_bytes), 0);
}

static void offer(uint64_t table, uint64_t offset, enum lsm_cache_class class)
{
    struct lsm_cached *block = lsm_cached_new(BLOCK);
    memset(block->data, (int)(offset % 251), BLOCK);
    lsm_cache_offer(cache, table, offset, class, &block);
    lsm_cached_release(&block);
}

static bool holds(uint64_t table, uint64_t offset)
{
    struct lsm_cached *block = lsm_cache_find(cache, table, offset);
    bool right = block != NULL && block->size == BLOCK && block->data[7] == offset % 251;
    cr_expect_eq(right, block != NULL);
    lsm_cached_release(&block);
    return right;
}

static int64_t bytes(void)
{
    return nk_gauge_get(&stats.cache_bytes);
}

Test(lsm_cache, what_was_offered_is_found, .init = setup, .fini = teardown)
{
    offer(1, 5, LSM_CACHE_ONCE);
    cr_expect(holds(1, 5));
    cr_expect_not(holds(1, 6));
    cr_expect_not(holds(2, 5));
}

Test(lsm_cache, it_never_has_more_than_its_room, .init = setup, .fini = teardown)
{
    for (uint64_t offset = 0; offset < 1000; offset++) {
        offer(1, offset, offset % 3 == 0 ? LSM_CACHE_KEEP : LSM_CACHE_ONCE);
        cr_expect_leq(bytes(), (int64_t)CAPACITY);
    }
    cr_expect_gt(bytes(), (int64_t)(CAPACITY / 2));
}

Test(lsm_cache, a_scan_leaves_alone_what_is_used, .init = setup, .fini = teardown)
{
    for (uint64_t offset = 0; offset < 20; offset++) {
        offer(1, offset, LSM_CACHE_ONCE);
        cr_expect(holds(1, offset));
    }
    for (uint64_t offset = 0; offset < 2000; offset++) {
        offer(2, offset, LSM_CACHE_ONCE);
    }
    size_t left = 0;
    for (uint64_t offset = 0; offset < 20; offset++) {
        left += holds(1, offset);
    }
    cr_expect_eq(left, 20);
}

Test(lsm_cache, a_block_that_is_held_outlives_its_place, .init = setup, .fini = teardown)
{
    offer(1, 1, LSM_CACHE_ONCE);
    struct lsm_cached *block = lsm_cache_find(cache, 1, 1);
    cr_assert_not_null(block);
    lsm_cache_forget(cache, 1, 1);
    cr_expect_not(holds(1, 1));
    cr_expect_eq(block->data[7], 1);
    struct lsm_cached *again = lsm_cached_hold(block);
    lsm_cached_release(&block);
    cr_expect_eq(again->data[7], 1);
    lsm_cached_release(&again);
}

Test(lsm_cache, half_of_the_room_can_be_reserved, .init = setup, .fini = teardown)
{
    for (uint64_t offset = 0; offset < 200; offset++) {
        offer(1, offset, LSM_CACHE_ONCE);
    }
    cr_expect(lsm_cache_reserve(cache, CAPACITY / 2));
    cr_expect_not(lsm_cache_reserve(cache, 1));
    for (uint64_t offset = 0; offset < 200; offset++) {
        offer(2, offset, LSM_CACHE_ONCE);
    }
    cr_expect_leq(bytes(), (int64_t)CAPACITY, "the reserved bytes are in it");
    lsm_cache_unreserve(cache, CAPACITY / 2);
    cr_expect_leq(bytes(), (int64_t)(CAPACITY / 2));
}

Test(lsm_cache, without_room_everything_is_read_anew)
{
    memset(&stats, 0, sizeof stats);
    lsm_cache_open(0, &stats, &cache);
    offer(1, 1, LSM_CACHE_KEEP);
    cr_expect_not(holds(1, 1));
    cr_expect_not(lsm_cache_reserve(cache, 1));
    lsm_cache_close(&cache);
}

Test(lsm_cache, names_are_never_given_twice, .init = setup, .fini = teardown)
{
    uint64_t first = lsm_cache_name(cache);
    cr_expect_neq(lsm_cache_name(cache), first);
}
