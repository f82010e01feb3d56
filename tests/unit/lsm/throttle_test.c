#include "services/shardhost/lsm/throttle.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_throttle, .timeout = 60);

/* ---- The bucket ---- */

Test(lsm_throttle, without_pressure_nobody_waits_and_nothing_is_owed)
{
    struct lsm_throttle throttle = {0};
    lsm_throttle_charge(&throttle, 1000000);
    cr_expect_eq(lsm_throttle_wait_us(&throttle, 0, 1, 1000), 0);
    cr_expect_eq(lsm_throttle_wait_us(&throttle, 500, 1, 2000), 0,
                 "only what is written from now on");
}

Test(lsm_throttle, at_half_the_pressure_as_much_may_come_as_leaves)
{
    struct lsm_throttle throttle = {.rate = 1000000};
    uint64_t now_us = 1000;
    uint64_t written = 0;
    cr_expect_eq(lsm_throttle_wait_us(&throttle, 500, 1, now_us), 0);
    while (now_us < 2001000) {
        lsm_throttle_charge(&throttle, 1000);
        written += 1000;
        now_us += lsm_throttle_wait_us(&throttle, 500, 1, now_us);
    }
    cr_expect_geq(written, 1990000);
    cr_expect_leq(written, 2010000);
}

Test(lsm_throttle, the_wait_grows_without_a_step)
{
    uint64_t last_us = 0;
    for (int64_t pressure = 1; pressure < 1000; pressure += 37) {
        struct lsm_throttle throttle = {.rate = 10000000, .active = true, .looked_us = 1000};
        lsm_throttle_charge(&throttle, 1000);
        uint64_t wait_us = lsm_throttle_wait_us(&throttle, pressure, 1, 1000);
        cr_expect_geq(wait_us, last_us);
        cr_expect_leq(wait_us, 2 * last_us + 50, "pressure %d", (int)pressure);
        last_us = wait_us;
    }
    struct lsm_throttle throttle = {.rate = 10000000};
    cr_expect_eq(lsm_throttle_wait_us(&throttle, 1000, 1, 1000), LSM_WRITE_WAIT_US_MAX);
}

Test(lsm_throttle, the_rate_follows_what_leaves)
{
    struct lsm_throttle throttle = {0};
    uint64_t now_us = 1000;
    for (uint64_t drained = 0; drained < 50000000; drained += 300000) {
        lsm_throttle_sample(&throttle, drained, now_us);
        now_us += 60 * NK_US_PER_MS; /* 5 MB a second */
    }
    cr_expect_geq(throttle.rate, 4500000);
    cr_expect_leq(throttle.rate, 5500000);
}

/* ---- A storm in slow motion: one writer who never rests, one worker with a slow disk ---- */

struct storm {
    struct rig rig;
    struct nk_prng prng;
    uint64_t now_us;
    uint64_t end_us;     /* of the slice under way; 0: none */
    uint64_t disk_rate;  /* bytes a second */
    uint64_t bytes_seen; /* written by jobs */
    uint64_t index;
    uint64_t wait_us_max; /* between two writes */
    size_t l0_max;
    size_t memory_max;
};

static void work(struct storm *storm)
{
    if (storm->end_us != 0 && storm->now_us >= storm->end_us) {
        lsm_work_ended(storm->rig.db, storm->now_us);
        storm->end_us = 0;
    }
    if (storm->end_us == 0 && lsm_engine_pick(storm->rig.engine, storm->now_us) != NULL) {
        struct lsm_stats *stats = lsm_engine_stats(storm->rig.engine);
        bool more;
        cr_assert_eq(lsm_work(storm->rig.db, 16 * NK_KIB, &more), NK_OK);
        uint64_t bytes =
            nk_counter_get(&stats->compacted_bytes) + nk_counter_get(&stats->flushed_bytes);
        storm->end_us =
            storm->now_us + 1 + (bytes - storm->bytes_seen) * NK_US_PER_SEC / storm->disk_rate;
        storm->bytes_seen = bytes;
    }
}

static void write_one(struct storm *storm)
{
    char key[16];
    char value[100];
    (void)snprintf(key, sizeof key, "key-%06u", (unsigned)nk_prng_below(&storm->prng, 20000));
    for (size_t i = 0; i < sizeof value - 1; i++) {
        value[i] = (char)nk_prng_between(&storm->prng, 33, 126);
    }
    value[sizeof value - 1] = '\0';
    rig_put(&storm->rig, ++storm->index, key, value);
}

static void watch(struct storm *storm)
{
    struct lsm_shape shape;
    lsm_get_shape(storm->rig.db, &shape);
    storm->l0_max = nk_max_size(storm->l0_max, shape.levels[0].table_count);
    storm->memory_max = nk_max_size(storm->memory_max, shape.memtable_bytes);
}

static void run_storm(struct storm *storm, uint64_t until_us)
{
    uint64_t last_write_us = storm->now_us;
    while (storm->now_us < until_us) {
        work(storm);
        uint64_t wait_us = lsm_write_wait_us(storm->rig.db, storm->now_us);
        if (wait_us == 0) {
            uint64_t waited_us = storm->now_us - last_write_us;
            storm->wait_us_max = nk_max_u64(storm->wait_us_max, waited_us);
            write_one(storm);
            last_write_us = storm->now_us;
            storm->now_us += 4;
        } else {
            uint64_t next_us = storm->now_us + wait_us;
            storm->now_us = storm->end_us != 0 ? nk_min_u64(next_us, storm->end_us) : next_us;
        }
        watch(storm);
    }
}

Test(lsm_throttle, a_storm_is_slowed_down_and_never_stopped)
{
    static struct storm storm;
    struct lsm_options options = rig_options();
    options.memtable_bytes = 64 * NK_KIB;
    options.write_buffer_total_bytes = 256 * NK_KIB;
    options.table_bytes = 64 * NK_KIB;
    options.compression = LSM_COMPRESSION_NONE;
    memset(&storm, 0, sizeof storm);
    rig_init(&storm.rig, 1, &options);
    rig_must_open(&storm.rig);
    nk_prng_init(&storm.prng, 7);
    storm.now_us = 1000;
    storm.disk_rate = 4 * NK_MIB;
    run_storm(&storm, 20 * NK_US_PER_SEC);
    uint64_t written = storm.index * 110;
    cr_expect_lt(storm.wait_us_max, LSM_WRITE_WAIT_US_MAX);
    cr_expect_leq(storm.l0_max, 12);
    cr_expect_leq(storm.memory_max, options.write_buffer_total_bytes * 5 / 4);
    cr_expect_gt(written, 4 * NK_MIB, "and it got somewhere");
    if (storm.end_us != 0) {
        lsm_work_ended(storm.rig.db, storm.now_us);
    }
    rig_deinit(&storm.rig);
}
