/* The series of the storage engine: each says what was done. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "hosting.h"

TestSuite(shardhost_metrics, .timeout = 20);

#define VALUE_BYTES  ((uint64_t)3999)
#define FLUSHES_DUE  4             /* tables in level 0 that make a compaction due */
#define LEVEL_BOTTOM "level=\"6\"" /* where it goes to */
#define SERIES_MAX   96
#define DIRECTORY    "lsm/shard-3"
#define HITS         "lsm_block_cache_hits_total"
#define MISSES       "lsm_block_cache_misses_total"
#define MEMTABLE     "lsm_memtable_size_bytes{shard_id=\"3\"}"
#define DURATION_OF(what, result)                                                                  \
    "lsm_compaction_duration_ms_" what "{" LEVEL_BOTTOM ",result=\"" result "\"}"

static struct hosting hosting;

static void setup(void)
{
    hosting_open(&hosting);
}

static void teardown(void)
{
    hosting_close(&hosting);
}

static uint64_t metric(const char *series)
{
    return stage_metric(&hosting.stage, series);
}

/* What is looked up once a second is up to date afterwards. */
static void pass_a_second(void)
{
    stage_advance(&hosting.stage, 1000);
    hosting_settle(&hosting);
}

static uint64_t send_long_put(size_t key)
{
    static char value[VALUE_BYTES + 1];
    char name[24];
    memset(value, 'v', VALUE_BYTES);
    (void)snprintf(name, sizeof name, "k%zu", key);
    return hosting_send_put(&hosting, name, value);
}

static void put(size_t key)
{
    uint64_t id = send_long_put(key);
    hosting_settle(&hosting);
    cr_assert_eq(hosting_err(&hosting, id), NK_OK);
}

static void put_until_flushed(uint64_t flushes)
{
    for (size_t i = 0; metric("lsm_flushes_total") < flushes; i++) {
        cr_assert_lt(i, 4 * flushes);
        put(i % 3);
    }
}

static void get(const char *key, uint64_t value_bytes)
{
    uint64_t id = hosting_send_get(&hosting, key, "");
    hosting_settle(&hosting);
    cr_assert_eq(strlen(hosting_value(&hosting, id)), value_bytes);
}

/* The tables that lie in the directory of the shard. */
static size_t tables(uint64_t *out_bytes)
{
    struct nk_buf names = {0};
    size_t count = 0;
    *out_bytes = 0;
    sim_fs_list(hosting.stage.fs, DIRECTORY, &names);
    nk_buf_append_u8(&names, '\0');
    for (char *name = strtok((char *)names.data, "\n"); name != NULL; name = strtok(NULL, "\n")) {
        if (strstr(name, ".sst") != NULL) {
            char path[64];
            struct nk_buf bytes = {0};
            (void)snprintf(path, sizeof path, DIRECTORY "/%s", name);
            sim_fs_read(hosting.stage.fs, path, &bytes);
            *out_bytes += bytes.size;
            count++;
            nk_buf_deinit(&bytes);
        }
    }
    nk_buf_deinit(&names);
    return count;
}

static uint64_t sstable_count(uint32_t shard, size_t level)
{
    char series[SERIES_MAX];
    (void)snprintf(series, sizeof series, "lsm_sstable_count{level=\"%zu\",shard_id=\"%u\"}", level,
                   shard);
    return metric(series);
}

Test(shardhost_metrics, a_memtable_grows_with_puts_and_goes_with_a_flush, .init = setup,
     .fini = teardown)
{
    hosting.stage.config.lsm.memtable_bytes = 64 * NK_KIB;
    hosting_restart(&hosting);
    put(0);
    pass_a_second();
    uint64_t of_one = metric(MEMTABLE);
    cr_expect_geq(of_one, VALUE_BYTES);
    hosting.shard = 5;
    put(0);
    put(1);
    pass_a_second();
    cr_expect_eq(metric(MEMTABLE), of_one, "these are another shard's");
    cr_expect_geq(metric("lsm_memtable_size_bytes{shard_id=\"5\"}"), 2 * VALUE_BYTES);
    hosting.shard = HOSTING_SHARD;
    for (size_t i = 1; i < 10; i++) {
        put(i);
    }
    pass_a_second();
    cr_expect_geq(metric(MEMTABLE), 10 * VALUE_BYTES);
    cr_expect_leq(metric(MEMTABLE), 64 * NK_KIB);
    cr_expect_eq(metric("lsm_flushes_total"), 0);
    put_until_flushed(1);
    pass_a_second();
    cr_expect_lt(metric(MEMTABLE), 2 * VALUE_BYTES);
    cr_expect_eq(sstable_count(HOSTING_SHARD, 0), 1);
    cr_expect_eq(sstable_count(5, 0), 0);
}

/* Flushes and looks after each at what it should have counted. */
static void flush_and_check(uint64_t flushes)
{
    uint64_t bytes;
    put_until_flushed(flushes);
    pass_a_second();
    cr_expect_eq(metric("lsm_flushes_total"), flushes);
    cr_expect_eq(tables(&bytes), flushes);
    cr_expect_eq(sstable_count(HOSTING_SHARD, 0), flushes);
    cr_expect_eq(metric("lsm_flushed_bytes_total"), bytes);
    cr_expect_eq(metric("lsm_compaction_debt_bytes"), 0);
    cr_expect_eq(metric("lsm_compactions_total"), 0);
}

/* Up to where a compaction is due and not yet begun. */
static void flush_until_due(void)
{
    uint64_t bytes;
    for (uint64_t flushes = 1; flushes < FLUSHES_DUE; flushes++) {
        flush_and_check(flushes);
    }
    for (size_t i = 0; metric("lsm_compaction_debt_bytes") == 0; i++) {
        cr_assert_lt(i, 100);
        if (i % 8 == 0) {
            (void)send_long_put(i / 8 % 3);
        }
        hosting_tick(&hosting);
        (void)stage_run_jobs(&hosting.stage);
    }
    cr_expect_eq(tables(&bytes), FLUSHES_DUE);
    cr_expect_eq(metric("lsm_flushed_bytes_total"), bytes);
    cr_expect_eq(metric("lsm_compaction_debt_bytes"), bytes);
    cr_expect_eq(metric("lsm_compactions_total"), 0);
}

/* What is due begins, takes `took_ms`, and ends. */
static void compact(uint64_t took_ms)
{
    hosting_tick(&hosting);
    stage_advance(&hosting.stage, took_ms);
    (void)stage_run_jobs(&hosting.stage);
    hosting_settle(&hosting);
}

static void check_all_compacted(void)
{
    uint64_t bytes;
    pass_a_second();
    cr_expect_eq(tables(&bytes), 1);
    cr_expect_eq(sstable_count(HOSTING_SHARD, 0), 0);
    cr_expect_eq(sstable_count(HOSTING_SHARD, 6), 1);
    cr_expect_eq(metric("lsm_flushes_total"), FLUSHES_DUE);
    cr_expect_eq(metric("lsm_compactions_total"), 1);
    cr_expect_eq(metric("lsm_compaction_debt_bytes"), 0);
    cr_expect_eq(metric(DURATION_OF("count", "success")), 1);
}

Test(shardhost_metrics, flushes_make_tables_and_a_compaction_makes_them_one, .init = setup,
     .fini = teardown)
{
    uint64_t bytes;
    flush_until_due();
    compact(100);
    check_all_compacted();
    cr_expect_eq(tables(&bytes), 1);
    cr_expect_eq(metric("lsm_compacted_bytes_total"), bytes);
    cr_expect_eq(metric(DURATION_OF("sum", "success")), 100);
    cr_expect_eq(metric(DURATION_OF("count", "error")), 0);
}

Test(shardhost_metrics, a_compaction_that_finds_no_room_is_an_error, .init = setup,
     .fini = teardown)
{
    uint64_t bytes;
    flush_until_due();
    sim_fs_limit_space(hosting.stage.fs, 100);
    compact(50);
    cr_expect_eq(metric(DURATION_OF("count", "error")), 1);
    cr_expect_eq(metric(DURATION_OF("sum", "error")), 50);
    cr_expect_eq(metric(DURATION_OF("count", "success")), 0);
    cr_expect_eq(metric("lsm_compactions_total"), 0);
    cr_expect_eq(metric("lsm_compaction_debt_bytes"), metric("lsm_flushed_bytes_total"));
    sim_fs_limit_space(hosting.stage.fs, UINT64_MAX);
    pass_a_second(); /* it is tried again */
    check_all_compacted();
    cr_expect_eq(metric(DURATION_OF("count", "error")), 1);
    (void)tables(&bytes);
    cr_expect_geq(metric("lsm_compacted_bytes_total"), bytes);
}

/* A get, and how many blocks it found in memory and how many it read. */
static void check_get(const char *key, uint64_t value_bytes, uint64_t hits, uint64_t misses)
{
    uint64_t hits_before = metric(HITS);
    uint64_t misses_before = metric(MISSES);
    get(key, value_bytes);
    cr_expect_eq(metric(HITS) - hits_before, hits, "%s: %u hits", key,
                 (unsigned)(metric(HITS) - hits_before));
    cr_expect_eq(metric(MISSES) - misses_before, misses, "%s: %u misses", key,
                 (unsigned)(metric(MISSES) - misses_before));
}

/* Of a table with two data blocks: filter, top index, index block and data block. */
Test(shardhost_metrics, each_block_of_a_get_is_a_hit_or_a_miss, .init = setup, .fini = teardown)
{
    hosting.stage.config.lsm.memtable_bytes = 16 * NK_KIB;
    hosting_restart(&hosting);
    put_until_flushed(1);
    hosting_restart(&hosting);
    hosting_settle(&hosting);
    cr_expect_eq(metric(HITS), 0);
    cr_expect_eq(metric(MISSES), 0);
    cr_expect_eq(metric("lsm_block_cache_bytes"), 0);
    check_get("k0", VALUE_BYTES, 0, 4);
    uint64_t bytes = metric("lsm_block_cache_bytes");
    cr_expect_geq(bytes, VALUE_BYTES);
    check_get("k0", VALUE_BYTES, 4, 0);
    cr_expect_eq(metric("lsm_block_cache_bytes"), bytes);
    check_get("k2", VALUE_BYTES, 3, 1);
    cr_expect_geq(metric("lsm_block_cache_bytes"), bytes + VALUE_BYTES);
    check_get("k00", 0, 1, 0); /* the filter knows */
    check_get("a", 0, 0, 0);   /* before its first key */
    put(0);
    check_get("k0", VALUE_BYTES, 0, 0); /* from the memtable */
}
