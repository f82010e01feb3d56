/* What a gateway tells about its health. */

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/gateway/report.h"

#include "nodes.h"

TestSuite(gateway_report, .timeout = 10);

#define SHARDS 4

static uint64_t no_time(void *ctx)
{
    (void)ctx;
    return 0;
}

static const struct nk_clock_ops clock_ops = {no_time, no_time};

struct reporting {
    struct nk_health *health;
    struct gateway_router router;
    struct gateway_report report;
};

static void open_report(struct reporting *reporting)
{
    struct nk_clock clock = {&clock_ops, NULL};
    nk_health_open(&clock, "gateway", "n1", SHARDS, &reporting->health);
    nk_health_beat(reporting->health);
    gateway_router_init(&reporting->router, SHARDS);
    gateway_report_init(&reporting->report, reporting->health, "n1");
}

static void follow(struct reporting *reporting, const struct nk_cluster *cluster)
{
    gateway_router_update(&reporting->router, cluster);
    gateway_report_follow(&reporting->report, cluster, &reporting->router);
}

static void close_report(struct reporting *reporting)
{
    gateway_router_deinit(&reporting->router);
    nk_health_close(&reporting->health);
}

static void expect(struct reporting *reporting, enum nk_health_status status, const char *missing,
                   const char *where)
{
    const char *reason;
    cr_expect_eq(nk_health_status(reporting->health), status, "%s", where);
    cr_expect_eq(nk_health_ready(reporting->health, &reason), missing[0] == '\0', "%s", where);
    cr_expect_str_eq(reason, missing, "%s", where);
}

Test(gateway_report, it_is_ready_when_shard_0_answers_and_healthy_when_nothing_is_missing)
{
    struct reporting reporting;
    open_report(&reporting);
    gateway_report_show(&reporting.report, false);
    expect(&reporting, NK_UNHEALTHY, "no-shardhost", "at the start");
    struct nk_cluster *cluster = nodes_single(2);
    follow(&reporting, cluster);
    gateway_report_show(&reporting.report, true);
    expect(&reporting, NK_UNHEALTHY, "shard-0", "not asked yet");
    cr_expect(!nk_health_quick(reporting.health));
    gateway_report_shard0(&reporting.report, NK_OK);
    gateway_report_show(&reporting.report, true);
    expect(&reporting, NK_HEALTHY, "", "answered");
    cr_expect(nk_health_quick(reporting.health));
    gateway_report_show(&reporting.report, false);
    expect(&reporting, NK_DEGRADED, "", "gossip is gone");
    gateway_report_shard0(&reporting.report, NK_TIMEOUT);
    gateway_report_show(&reporting.report, false);
    expect(&reporting, NK_UNHEALTHY, "shard-0", "no answer");
    gateway_report_shard0(&reporting.report, NK_FENCED);
    gateway_report_show(&reporting.report, true);
    expect(&reporting, NK_DEGRADED, "", "the other shards can be used");
    cr_expect(!nk_health_quick(reporting.health));
    gateway_report_shard0(&reporting.report, NK_OK);
    gateway_report_stop(&reporting.report);
    gateway_report_show(&reporting.report, true);
    expect(&reporting, NK_UNHEALTHY, "stopping", "stopping");
    nk_cluster_free(&cluster);
    close_report(&reporting);
}

Test(gateway_report, a_cluster_that_is_not_whole_is_degraded)
{
    static const struct {
        enum nk_member_state n2;
        const char *leader;
        const char *replicas;
        enum nk_shard_health row;
        enum nk_health_status status;
    } cases[] = {
        {NK_MEMBER_ALIVE, "n1", "n1,n2", NK_SHARD_HEALTHY, NK_HEALTHY},
        {NK_MEMBER_SUSPECT, "n1", "n1,n2", NK_SHARD_DEGRADED, NK_DEGRADED},
        {NK_MEMBER_FAILED, "n1", "n1,n2", NK_SHARD_DEGRADED, NK_DEGRADED},
        {NK_MEMBER_FAILED, "n2", "n1,n2", NK_SHARD_UNAVAILABLE, NK_DEGRADED},
        {NK_MEMBER_ALIVE, "", "n1,n2", NK_SHARD_UNAVAILABLE, NK_DEGRADED},
        {NK_MEMBER_ALIVE, "n1", "n1,n9", NK_SHARD_DEGRADED, NK_DEGRADED}, /* not listed */
        {NK_MEMBER_SUSPECT, "n1", "n1", NK_SHARD_HEALTHY, NK_DEGRADED},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct reporting reporting;
        open_report(&reporting);
        struct nk_cluster *cluster;
        nk_cluster_new(&cluster);
        nodes_put(cluster, "n1", 7, NK_MEMBER_ALIVE, NULL);
        nodes_put(cluster, "n2", 7, cases[i].n2, NULL);
        nodes_shard(cluster, 1, cases[i].leader, cases[i].replicas);
        follow(&reporting, cluster);
        gateway_report_shard0(&reporting.report, NK_OK);
        gateway_report_show(&reporting.report, true);
        struct nk_health_row *row = nk_health_row(reporting.health, 1);
        cr_expect_eq(atomic_load(&row->status), (int)cases[i].row, "case %zu", i);
        cr_expect_eq(atomic_load(&row->raft_term), 3, "case %zu", i);
        cr_expect_eq(atomic_load(&row->commit_index), NK_HEALTH_UNKNOWN, "case %zu", i);
        cr_expect_eq(atomic_load(&row->last_applied), NK_HEALTH_UNKNOWN, "case %zu", i);
        cr_expect_eq(atomic_load(&row->is_leader), strcmp(cases[i].leader, "n1") == 0, "case %zu",
                     i);
        cr_expect_eq(atomic_load(&nk_health_row(reporting.health, 2)->status), NK_SHARD_UNUSED);
        cr_expect_eq(nk_health_status(reporting.health), cases[i].status, "case %zu", i);
        nk_cluster_free(&cluster);
        close_report(&reporting);
    }
}

Test(gateway_report, only_dead_shardhosts_are_none)
{
    struct reporting reporting;
    open_report(&reporting);
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    nodes_put(cluster, "n1", 7, NK_MEMBER_FAILED, NULL);
    follow(&reporting, cluster);
    gateway_report_shard0(&reporting.report, NK_OK);
    gateway_report_show(&reporting.report, true);
    expect(&reporting, NK_UNHEALTHY, "no-shardhost", "failed");
    nodes_put(cluster, "n1", 7, NK_MEMBER_SUSPECT, NULL);
    follow(&reporting, cluster);
    gateway_report_show(&reporting.report, true);
    expect(&reporting, NK_DEGRADED, "", "suspect");
    nk_cluster_free(&cluster);
    close_report(&reporting);
}

Test(gateway_report, a_shard_that_is_gone_from_the_state_is_unused_again)
{
    struct reporting reporting;
    open_report(&reporting);
    struct nk_cluster *cluster = nodes_single(SHARDS);
    follow(&reporting, cluster);
    cr_expect_eq(atomic_load(&nk_health_row(reporting.health, 3)->status), NK_SHARD_HEALTHY);
    nk_cluster_free(&cluster);
    cluster = nodes_single(1);
    follow(&reporting, cluster);
    struct nk_health_row *row = nk_health_row(reporting.health, 3);
    cr_expect_eq(atomic_load(&row->status), NK_SHARD_UNUSED);
    cr_expect_eq(atomic_load(&row->raft_term), 0);
    cr_expect(!atomic_load(&row->is_leader));
    nk_cluster_free(&cluster);
    close_report(&reporting);
}
