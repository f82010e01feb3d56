/* What the counters of the cache say about reads, and reads while others are busy. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "common/base/units.h"
#include "services/shardhost/lsm/db.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_reads, .timeout = 30);

#define KEYS 2000

static struct rig rig;
static struct lsm_stats *stats;

struct counts {
    uint64_t hits;
    uint64_t misses;
};

/* One table of many blocks, of which filter and top index are in memory, and the index. */
static void setup(void)
{
    struct lsm_options options = rig_options();
    options.memtable_bytes = 2 * NK_MIB;
    options.write_buffer_total_bytes = 8 * NK_MIB;
    options.block_cache_bytes = NK_MIB;
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    for (uint64_t i = 1; i <= KEYS; i++) {
        char key[16];
        char value[65];
        (void)snprintf(key, sizeof key, "k%06u", (unsigned)i);
        (void)snprintf(value, sizeof value, "%064u", (unsigned)(i * 2654435761U));
        rig_put(&rig, i, key, value);
    }
    rig_flush(&rig);
    stats = lsm_engine_stats(rig.engine);
}

static void teardown(void)
{
    rig_deinit(&rig); /* asserts that all files are closed */
}

static struct counts counted(void)
{
    return (struct counts){nk_counter_get(&stats->cache_hits),
                           nk_counter_get(&stats->cache_misses)};
}

static enum nk_err get_by_view(const char *key, enum lsm_reach reach)
{
    struct lsm_entry entry;
    struct lsm_view *view = lsm_view_acquire(rig.db);
    enum nk_err err = lsm_view_get(view, nk_bytes_of_string(key), reach, &entry, NULL);
    lsm_view_release(&view);
    return err;
}

static void expect_counted(struct counts since, uint64_t hits, uint64_t misses)
{
    struct counts now = counted();
    cr_expect_eq(now.hits - since.hits, hits, "hits %llu, not %llu",
                 (unsigned long long)(now.hits - since.hits), (unsigned long long)hits);
    cr_expect_eq(now.misses - since.misses, misses, "misses %llu, not %llu",
                 (unsigned long long)(now.misses - since.misses), (unsigned long long)misses);
}

Test(lsm_reads, a_get_in_two_steps_counts_each_block_once, .init = setup, .fini = teardown)
{
    struct lsm_entry entry;
    struct nk_bytes key = nk_bytes_of_string("k001000");
    struct counts before = counted();
    cr_assert_eq(lsm_get(rig.db, key, LSM_MEMORY, &entry, NULL), NK_WOULD_BLOCK);
    expect_counted(before, 0, 0);
    cr_assert_eq(get_by_view("k001000", LSM_DISK), NK_OK);
    expect_counted(before, 3, 1); /* filter, top index, index; the data block */
    before = counted();
    cr_assert_eq(lsm_get(rig.db, key, LSM_MEMORY, &entry, NULL), NK_OK);
    expect_counted(before, 4, 0);
}

Test(lsm_reads, a_get_that_the_filter_or_a_memtable_answers_counts_what_it_needed, .init = setup,
     .fini = teardown)
{
    struct counts before = counted();
    cr_assert_eq(get_by_view("k001000-not", LSM_MEMORY), NK_NOT_FOUND);
    expect_counted(before, 1, 0);
    rig_put(&rig, KEYS + 1, "k001000", "new");
    before = counted();
    cr_assert_eq(get_by_view("k001000", LSM_MEMORY), NK_OK);
    expect_counted(before, 0, 0);
}

Test(lsm_reads, after_an_open_all_blocks_come_from_the_disk, .init = setup, .fini = teardown)
{
    rig_reopen(&rig);
    struct counts before = counted();
    uint64_t blocks = nk_counter_get(&stats->read_blocks);
    cr_assert_eq(get_by_view("k001000", LSM_MEMORY), NK_WOULD_BLOCK);
    cr_assert_eq(get_by_view("k001000", LSM_DISK), NK_OK);
    expect_counted(before, 0, 4);
    cr_expect_eq(nk_counter_get(&stats->read_blocks) - blocks, 4);
}

Test(lsm_reads, an_iterator_counts_its_blocks_and_a_compaction_none, .init = setup,
     .fini = teardown)
{
    struct lsm_iter *iter = NULL;
    struct lsm_entry entry;
    struct nk_bytes key;
    struct nk_bytes value;
    struct lsm_view *view = lsm_view_acquire(rig.db);
    struct counts before = counted();
    lsm_iter_open(view, nk_bytes_of(NULL, 0), nk_bytes_of(NULL, 0), &iter);
    cr_assert_eq(lsm_iter_next(iter, &key, &entry, &value), NK_OK);
    expect_counted(before, 2, 1); /* top index and index; the data block */
    lsm_iter_close(&iter);
    lsm_view_release(&view);

    before = counted();
    uint64_t compactions = nk_counter_get(&stats->compactions);
    for (uint64_t i = 1; i <= 4; i++) {
        rig_put(&rig, KEYS + 2 * i, "k000001", "new");
        rig_put(&rig, KEYS + 2 * i + 1, "k001999", "new");
        rig_flush(&rig);
    }
    cr_expect_gt(nk_counter_get(&stats->compactions), compactions);
    expect_counted(before, 0, 0);
}

/* ---- While others are at the list of open files ---- */

Test(lsm_reads, nobody_waits_for_the_list_of_open_files, .init = setup, .fini = teardown)
{
    rig_reopen(&rig);
    cr_assert_not(atomic_flag_test_and_set(&rig.engine->files.latch));
    char expected[65];
    (void)snprintf(expected, sizeof expected, "%064u", (unsigned)(1000 * 2654435761U));
    cr_expect_str_eq(rig_get(&rig, "k001000"), expected);
    rig_put(&rig, KEYS + 1, "k001000", "new");
    rig_flush(&rig);
    cr_expect_str_eq(rig_get(&rig, "k001000"), "new");
    rig_close(&rig);
    atomic_flag_clear(&rig.engine->files.latch);
    rig_must_open(&rig);
    cr_expect_str_eq(rig_get(&rig, "k001000"), "new");

    cr_assert_not(atomic_flag_test_and_set(&rig.engine->files.latch));
    rig_close(&rig); /* files that are in the list stay open until the engine is closed */
    atomic_flag_clear(&rig.engine->files.latch);
}
