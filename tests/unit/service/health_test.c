/* The health board of one process: what the loop says and what a reader makes of it. */

#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/units.h"
#include "common/service/health.h"

TestSuite(service_health, .timeout = 10);

static uint64_t mono_us(void *ctx)
{
    return *(const uint64_t *)ctx;
}

static uint64_t wall_ms(void *ctx)
{
    (void)ctx;
    return 0;
}

static const struct nk_clock_ops clock_ops = {mono_us, wall_ms};

static struct nk_health *opened(uint64_t *now_us, const char *role)
{
    struct nk_clock clock = {&clock_ops, now_us};
    struct nk_health *health;
    nk_health_open(&clock, role, "n1", 4, &health);
    return health;
}

Test(service_health, a_new_process_lives_but_is_neither_ready_nor_healthy)
{
    uint64_t now_us = 0;
    struct nk_health *health = opened(&now_us, "shardhost");
    const char *reason = NULL;
    cr_expect(nk_health_live(health, &reason));
    cr_expect_str_eq(reason, "");
    cr_expect(!nk_health_ready(health, &reason));
    cr_expect_str_eq(reason, "starting");
    cr_expect_eq(nk_health_status(health), NK_UNHEALTHY);
    cr_expect(!nk_health_quick(health));
    now_us = 3600 * NK_US_PER_SEC; /* a long recovery is no stall */
    cr_expect(nk_health_live(health, &reason));
    nk_health_close(&health);
    cr_expect_null(health);
    nk_health_close(&health);
    nk_health_close(NULL);
}

Test(service_health, a_loop_that_stopped_beating_is_stalled_whatever_it_said)
{
    static const struct {
        uint64_t later_us;
        bool stalled;
    } cases[] = {
        {0, false},
        {5 * NK_US_PER_SEC, false},
        {5 * NK_US_PER_SEC + 1, true},
        {3600 * NK_US_PER_SEC, true},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        uint64_t now_us = NK_US_PER_SEC;
        struct nk_health *health = opened(&now_us, "shardhost");
        nk_health_beat(health);
        nk_health_set(health, NK_HEALTHY, "");
        nk_health_set_ready(health, true, "");
        now_us += cases[i].later_us;
        const char *reason;
        bool fine = !cases[i].stalled;
        cr_expect_eq(nk_health_live(health, &reason), fine, "case %zu", i);
        cr_expect_str_eq(reason, fine ? "" : "loop-stalled", "case %zu", i);
        cr_expect_eq(nk_health_ready(health, &reason), fine, "case %zu", i);
        cr_expect_str_eq(reason, fine ? "" : "loop-stalled", "case %zu", i);
        cr_expect_eq(nk_health_quick(health), fine, "case %zu", i);
        cr_expect_eq(nk_health_status(health), fine ? NK_HEALTHY : NK_UNHEALTHY, "case %zu", i);
        nk_health_beat(health);
        cr_expect(nk_health_live(health, &reason), "case %zu", i);
        nk_health_close(&health);
    }
}

/* Another core's beat may be newer than this reader's look at the clock. */
Test(service_health, a_beat_from_the_future_is_no_stall)
{
    uint64_t now_us = 100 * NK_US_PER_SEC;
    struct nk_health *health = opened(&now_us, "shardhost");
    nk_health_beat(health);
    now_us = 0;
    const char *reason;
    cr_expect(nk_health_live(health, &reason));
    cr_expect(nk_health_quick(health));
    nk_health_close(&health);
}

Test(service_health, quick_on_a_gateway_is_whether_shard_0_answers)
{
    uint64_t now_us = 0;
    struct nk_health *health = opened(&now_us, "gateway");
    nk_health_beat(health);
    cr_expect(!nk_health_quick(health));
    nk_health_set_shard0(health, true);
    cr_expect(nk_health_quick(health));
    nk_health_set_shard0(health, false);
    cr_expect(!nk_health_quick(health));
    nk_health_close(&health);
}

Test(service_health, ready_names_the_check_that_fails)
{
    uint64_t now_us = 0;
    struct nk_health *health = opened(&now_us, "gateway");
    nk_health_beat(health);
    nk_health_set_ready(health, false, "no-shardhost");
    const char *reason;
    cr_expect(!nk_health_ready(health, &reason));
    cr_expect_str_eq(reason, "no-shardhost");
    nk_health_set_ready(health, true, "");
    cr_expect(nk_health_ready(health, &reason));
    cr_expect_str_eq(reason, "");
    nk_health_close(&health);
}

static void expect_json(struct nk_health *health, const char *text)
{
    struct nk_buf out = {0};
    nk_health_json(health, &out);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&out), nk_bytes_of_string(text)), "%.*s", (int)out.size,
              (const char *)out.data);
    nk_buf_deinit(&out);
}

Test(service_health, the_json_has_every_field_of_the_contract)
{
    uint64_t now_us = 7 * NK_US_PER_SEC;
    struct nk_health *health = opened(&now_us, "gateway");
    nk_health_beat(health);
    expect_json(health, "{\"status\":\"unhealthy\",\"reason\":\"starting\",\"role\":\"gateway\","
                        "\"node_id\":\"n1\",\"uptime_seconds\":0,\"total_shards\":4,"
                        "\"active_shards\":0,\"nodes\":[],\"shards\":[]}\n");
    static const enum nk_shard_health statuses[] = {NK_SHARD_HEALTHY, NK_SHARD_UNUSED,
                                                    NK_SHARD_DEGRADED, NK_SHARD_UNAVAILABLE};
    for (uint32_t i = 0; i < NK_COUNT_OF(statuses); i++) {
        struct nk_health_row *row = nk_health_row(health, i);
        atomic_store(&row->status, (int)statuses[i]);
        atomic_store(&row->is_leader, i == 2);
        atomic_store(&row->raft_term, 10 + i);
        atomic_store(&row->commit_index, i == 3 ? NK_HEALTH_UNKNOWN : 20 + i);
        atomic_store(&row->last_applied, i == 3 ? NK_HEALTH_UNKNOWN : 30 + i);
    }
    struct nk_health_node nodes[] = {{"n1", "g1:7447", "leader"}, {"n2", "", "failed"}};
    nk_health_set_nodes(health, nodes, NK_COUNT_OF(nodes));
    nk_health_set(health, NK_DEGRADED, "no-gossip");
    now_us += 65 * NK_US_PER_SEC - 1;
    nk_health_beat(health);
    expect_json(health,
                "{\"status\":\"degraded\",\"reason\":\"no-gossip\",\"role\":\"gateway\","
                "\"node_id\":\"n1\",\"uptime_seconds\":64,\"total_shards\":4,\"active_shards\":3,"
                "\"nodes\":[{\"id\":\"n1\",\"addr\":\"g1:7447\",\"role\":\"leader\"},"
                "{\"id\":\"n2\",\"addr\":\"\",\"role\":\"failed\"}],"
                "\"shards\":[{\"id\":0,\"status\":\"healthy\",\"is_leader\":false,\"raft_term\":10,"
                "\"commit_index\":20,\"last_applied\":30},"
                "{\"id\":2,\"status\":\"degraded\",\"is_leader\":true,\"raft_term\":12,"
                "\"commit_index\":22,\"last_applied\":32},"
                "{\"id\":3,\"status\":\"unavailable\",\"is_leader\":false,\"raft_term\":13,"
                "\"commit_index\":null,\"last_applied\":null}]}\n");
    nk_health_close(&health);
}

Test(service_health, the_json_of_a_stalled_process_says_so)
{
    uint64_t now_us = 0;
    struct nk_health *health = opened(&now_us, "shardhost");
    nk_health_beat(health);
    nk_health_set(health, NK_HEALTHY, "");
    now_us = 10 * NK_US_PER_SEC;
    expect_json(health, "{\"status\":\"unhealthy\",\"reason\":\"loop-stalled\","
                        "\"role\":\"shardhost\",\"node_id\":\"n1\",\"uptime_seconds\":10,"
                        "\"total_shards\":4,\"active_shards\":0,\"nodes\":[],\"shards\":[]}\n");
    nk_health_close(&health);
}

Test(service_health, a_shard_beyond_the_last_is_a_programmer_error, .signal = SIGABRT)
{
    uint64_t now_us = 0;
    struct nk_health *health = opened(&now_us, "gateway");
    (void)nk_health_row(health, 4);
}
