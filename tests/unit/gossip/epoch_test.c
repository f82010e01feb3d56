/* The epoch strictly grows, whatever happens to clocks, processes and disks. */

#include <criterion/criterion.h>

#include "common/base/codec.h"
#include "services/gossip/epoch.h"
#include "tests/unit/stage/stage.h"

TestSuite(gossip_epoch, .timeout = 10);

#define WALL_MS      ((uint64_t)1600000000000)
#define EPOCH_MAX    ((uint64_t)1 << 62)
#define CEILING_STEP ((uint64_t)60000 << 12)

static void put_ceiling(struct stage *stage, const void *data, size_t size)
{
    const struct nk_meta *meta = &stage->env.meta;
    cr_assert_eq(meta->ops->put(meta->ctx, nk_bytes_of_string("epoch"), nk_bytes_of(data, size)),
                 NK_OK);
}

Test(gossip_epoch, the_next_is_above_the_last_and_not_below_the_clock)
{
    struct stage stage;
    stage_open(&stage);
    struct gossip_epoch epoch;
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    static const struct {
        uint64_t wall_ms;
        uint64_t epoch;
    } cases[] = {
        {WALL_MS, WALL_MS << 12},
        {WALL_MS, (WALL_MS << 12) + 1},
        {WALL_MS + 1, (WALL_MS + 1) << 12},
        {WALL_MS - 1000, ((WALL_MS + 1) << 12) + 1}, /* set back */
        {0, ((WALL_MS + 1) << 12) + 2},
        {UINT64_MAX, (EPOCH_MAX >> 13) << 12}, /* as far as it can be told */
        {WALL_MS, ((EPOCH_MAX >> 13) << 12) + 1},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(gossip_epoch_next(&epoch, cases[i].wall_ms), cases[i].epoch, "case %zu", i);
        cr_expect(!epoch.unsafe, "case %zu", i);
    }
    stage_close(&stage);
}

Test(gossip_epoch, after_a_restart_it_is_above_all_that_were_given_out)
{
    struct stage stage;
    stage_open(&stage);
    uint64_t last = 0;
    for (size_t life = 0; life < 10; life++) {
        struct gossip_epoch epoch;
        cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
        for (size_t i = 0; i < 5000; i++) {
            uint64_t next = gossip_epoch_next(&epoch, life % 2 == 0 ? WALL_MS : 1);
            cr_assert_gt(next, last, "life %zu, change %zu", life, i);
            last = next;
        }
    }
    stage_close(&stage);
}

Test(gossip_epoch, a_durable_write_serves_many_changes)
{
    struct stage stage;
    stage_open(&stage);
    struct gossip_epoch epoch;
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    for (uint64_t ms = 0; ms < 60000; ms++) {
        (void)gossip_epoch_next(&epoch, WALL_MS + ms);
    }
    cr_expect_eq(stage.calls[STAGE_META_PUT], 1);
    (void)gossip_epoch_next(&epoch, WALL_MS + 60001);
    cr_expect_eq(stage.calls[STAGE_META_PUT], 2);
    stage_close(&stage);
}

Test(gossip_epoch, what_somebody_has_seen_is_passed)
{
    struct stage stage;
    stage_open(&stage);
    struct gossip_epoch epoch;
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    uint64_t first = gossip_epoch_next(&epoch, WALL_MS);
    cr_expect(gossip_epoch_seen(&epoch, first - 1));
    cr_expect_eq(gossip_epoch_next(&epoch, WALL_MS), first + 1);
    cr_expect(gossip_epoch_seen(&epoch, first + 1000));
    cr_expect_eq(gossip_epoch_next(&epoch, WALL_MS), first + 1001);
    stage_close(&stage);
}

Test(gossip_epoch, a_senseless_one_is_not_believed)
{
    struct stage stage;
    stage_open(&stage);
    struct gossip_epoch epoch;
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    static const uint64_t senseless[] = {EPOCH_MAX - CEILING_STEP, EPOCH_MAX, UINT64_MAX};
    for (size_t i = 0; i < NK_COUNT_OF(senseless); i++) {
        cr_expect(!gossip_epoch_seen(&epoch, senseless[i]), "case %zu", i);
    }
    cr_expect_eq(gossip_epoch_next(&epoch, WALL_MS), WALL_MS << 12);
    /* The highest that makes sense leaves something that can be opened again. */
    cr_expect(gossip_epoch_seen(&epoch, EPOCH_MAX - CEILING_STEP - 1));
    uint64_t last = gossip_epoch_next(&epoch, WALL_MS);
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    cr_expect_gt(gossip_epoch_next(&epoch, WALL_MS), last);
    stage_close(&stage);
}

Test(gossip_epoch, what_is_stored_and_no_epoch_is_set_aside_for_one_above_the_clock)
{
    static const uint8_t bytes[9] = {0, 0, 0, 0, 0, 0, 0, 0xff, 0};
    uint8_t highest[8];
    uint8_t too_high[8];
    nk_put_u64(highest, EPOCH_MAX);
    nk_put_u64(too_high, EPOCH_MAX + 1);
    const struct {
        const uint8_t *data;
        size_t size;
        bool guessed;
    } cases[] = {
        {bytes, 0, true}, {bytes, 7, true},    {bytes, 9, true},
        {bytes, 8, true}, {too_high, 8, true}, {highest, 8, false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        /* A former life, as far ahead of the clock as its ceiling allowed. */
        struct gossip_epoch epoch;
        cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
        (void)gossip_epoch_next(&epoch, WALL_MS);
        uint64_t ceiling = epoch.ceiling;
        put_ceiling(&stage, cases[i].data, cases[i].size);
        cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK, "case %zu", i);
        cr_expect_eq(epoch.guessed, cases[i].guessed, "case %zu", i);
        uint64_t next = gossip_epoch_next(&epoch, WALL_MS);
        cr_expect_gt(next, ceiling, "case %zu", i);
        if (cases[i].guessed) { /* what it gives from then on is kept again */
            cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, 0), NK_OK, "case %zu", i);
            cr_expect(!epoch.guessed, "case %zu", i);
            cr_expect_gt(gossip_epoch_next(&epoch, 0), next, "case %zu", i);
        }
        stage_close(&stage);
    }
}

Test(gossip_epoch, a_failed_read_is_passed_up)
{
    struct stage stage;
    stage_open(&stage);
    stage_fail(&stage, STAGE_META_GET, 1, NK_IO);
    struct gossip_epoch epoch;
    cr_expect_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_IO);
    stage_close(&stage);
}

Test(gossip_epoch, a_failed_write_does_not_stop_it_and_is_tried_again)
{
    struct stage stage;
    stage_open(&stage);
    struct gossip_epoch epoch;
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    stage_fail_from(&stage, STAGE_META_PUT, 1, NK_NO_SPACE);
    uint64_t first = gossip_epoch_next(&epoch, WALL_MS);
    cr_expect(epoch.unsafe);
    cr_expect_eq(gossip_epoch_next(&epoch, WALL_MS), first + 1);
    cr_expect(epoch.unsafe);
    cr_expect_eq(stage.calls[STAGE_META_PUT], 2);
    stage_mend(&stage, STAGE_META_PUT);
    uint64_t last = gossip_epoch_next(&epoch, WALL_MS);
    cr_expect(!epoch.unsafe);
    cr_assert_eq(gossip_epoch_open(&epoch, &stage.env.meta, WALL_MS), NK_OK);
    cr_expect_gt(gossip_epoch_next(&epoch, 0), last);
    stage_close(&stage);
}
