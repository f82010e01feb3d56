/* Many databases in one engine. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <malloc.h>
#include <stdio.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_engine, .timeout = 300);

#define DATABASES 1024

static struct sim_fs *sim;
static struct nk_fs fs;
static struct lsm_engine *engine;
static struct lsm_db *databases[DATABASES];
static uint64_t indexes[DATABASES];

static void open_all(const struct lsm_options *options)
{
    sim = sim_fs_new(1);
    fs = sim_fs_handle(sim);
    lsm_engine_open(&fs, options, &engine);
    for (size_t i = 0; i < DATABASES; i++) {
        char directory[32];
        (void)snprintf(directory, sizeof directory, "lsm/shard-%zu", i);
        cr_assert_eq(lsm_open(engine, directory, &databases[i], NULL), NK_OK);
        indexes[i] = 0;
    }
}

static void close_all(void)
{
    for (size_t i = 0; i < DATABASES; i++) {
        lsm_close(&databases[i]);
    }
    lsm_engine_close(&engine);
    sim_fs_free(&sim);
}

static void write_record(size_t i, struct nk_prng *prng)
{
    char key[24];
    uint8_t value[256];
    (void)snprintf(key, sizeof key, "key-%012u", (unsigned)nk_prng_below(prng, 1000000));
    for (size_t at = 0; at < sizeof value; at++) {
        value[at] = (uint8_t)nk_prng_next(prng);
    }
    struct lsm_record record = {
        .key = nk_bytes_of_string(key),
        .value = nk_bytes_of(value, sizeof value),
        .version = {1, ++indexes[i]},
    };
    lsm_write(databases[i], &record);
    lsm_commit(databases[i], record.version, 0, nk_bytes_of(NULL, 0));
}

#ifndef __SANITIZE_ADDRESS__
Test(lsm_engine, an_empty_database_costs_little)
{
    struct lsm_options options = rig_options();
    struct mallinfo2 before = mallinfo2();
    open_all(&options);
    struct mallinfo2 after = mallinfo2();
    cr_expect_null(lsm_engine_pick(engine, 0));
    cr_expect_leq((after.uordblks - before.uordblks) / DATABASES, 8 * NK_KIB);
    close_all();
}
#endif

/* One worker with a disk that takes 20 MB a second, and writers who never rest. */
Test(lsm_engine, the_budget_holds_while_all_are_written)
{
    struct lsm_options options = rig_options();
    options.memtable_bytes = NK_MIB;
    options.write_buffer_total_bytes = 16 * NK_MIB;
    options.block_cache_bytes = NK_MIB;
    options.table_bytes = 256 * NK_KIB;
    open_all(&options);
    struct lsm_stats *stats = lsm_engine_stats(engine);
    struct nk_prng prng;
    nk_prng_init(&prng, 3);
    uint64_t now_us = 1000;
    uint64_t end_us = 0;
    uint64_t bytes_seen = 0;
    uint64_t writes = 0;
    int64_t peak = 0;
    struct lsm_db *working = NULL;
    while (now_us < 4 * NK_US_PER_SEC) {
        if (working != NULL && now_us >= end_us) {
            lsm_work_ended(working, now_us);
            working = NULL;
        }
        if (working == NULL && (working = lsm_engine_pick(engine, now_us)) != NULL) {
            bool more;
            cr_assert_eq(lsm_work(working, 64 * NK_KIB, &more), NK_OK);
            uint64_t bytes =
                nk_counter_get(&stats->flushed_bytes) + nk_counter_get(&stats->compacted_bytes);
            end_us = now_us + 1 + (bytes - bytes_seen) / 20;
            bytes_seen = bytes;
        }
        size_t i = (size_t)nk_prng_below(&prng, DATABASES);
        if (lsm_write_wait_us(databases[i], now_us) == 0) {
            write_record(i, &prng);
            writes++;
        }
        now_us += 4;
        int64_t memory = nk_gauge_get(&stats->memtable_bytes);
        peak = memory > peak ? memory : peak;
    }
    cr_expect_gt(writes, 40000);
    cr_expect_gt(nk_counter_get(&stats->flushes), 1000);
    cr_expect_leq(peak, (int64_t)options.write_buffer_total_bytes * 5 / 4);
    if (working != NULL) {
        lsm_work_ended(working, now_us);
    }
    close_all();
}

#define WRITTEN 7 /* of all databases the first ones */
#define HELD    3 /* of these, the one that may not be flushed */

static size_t memory_of(const struct lsm_db *db)
{
    struct lsm_shape shape;
    lsm_get_shape(db, &shape);
    return shape.memtable_bytes;
}

static size_t memory_of_all(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < WRITTEN; i++) {
        bytes += memory_of(databases[i]);
    }
    return bytes;
}

/* That nobody whom the engine may flush has more in memory, and somebody has less. */
static void check_victim(const struct lsm_db *victim)
{
    size_t smaller = 0;
    cr_assert_neq(victim, databases[HELD]);
    for (size_t i = 0; i < WRITTEN; i++) {
        cr_expect(memory_of(databases[i]) <= memory_of(victim) || i == HELD);
        smaller += memory_of(databases[i]) < memory_of(victim);
    }
    cr_expect_gt(smaller, 0);
}

/* None is ever full: they are flushed only because all together take too much. */
Test(lsm_engine, the_largest_memtable_makes_room)
{
    struct lsm_options options = rig_options();
    options.memtable_bytes = 16 * NK_MIB;
    options.write_buffer_total_bytes = 4 * NK_MIB;
    options.l0_slowdown_files = 100;
    open_all(&options);
    lsm_hold_work(databases[HELD]);
    struct nk_prng prng;
    nk_prng_init(&prng, 5);
    size_t flushes = 0;
    size_t held_largest = 0;
    struct lsm_shape shape;
    while (flushes < 30) {
        size_t i = (size_t)nk_prng_below(&prng, nk_prng_between(&prng, 1, WRITTEN));
        if (i != HELD || memory_of(databases[HELD]) < NK_MIB) {
            write_record(i, &prng);
        }
        size_t memory = memory_of_all();
        struct lsm_db *db = lsm_engine_pick(engine, 0);
        if (db == NULL) {
            continue;
        }
        lsm_get_shape(db, &shape);
        if (shape.immutable_count > 0) {
            cr_expect_gt(memory, options.write_buffer_total_bytes / 4 * 3);
            check_victim(db);
            held_largest += memory_of(databases[HELD]) > memory_of(db);
            flushes++;
        }
        for (bool more = true; more;) {
            cr_assert_eq(lsm_work(db, SIZE_MAX, &more), NK_OK);
        }
        lsm_work_ended(db, 0);
    }
    cr_expect_gt(held_largest, 0);
    lsm_get_shape(databases[HELD], &shape);
    cr_expect_eq(shape.immutable_count, 0);
    close_all();
}
