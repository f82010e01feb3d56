/* Whom to ask for a shard. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/units.h"
#include "services/gateway/router.h"

#include "nodes.h"

TestSuite(gateway_router, .timeout = 10);

#define NONE GATEWAY_NODE_NONE

/* n1 lives, n2 is suspect, n3 has failed. */
static struct nk_cluster *three_nodes(void)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    nodes_put(cluster, "n1", 7, NK_MEMBER_ALIVE, "g1:1");
    nodes_put(cluster, "n2", 7, NK_MEMBER_SUSPECT, NULL);
    nodes_put(cluster, "n3", 7, NK_MEMBER_FAILED, "g3:3");
    return cluster;
}

Test(gateway_router, before_it_knows_anybody_there_is_nobody_to_ask)
{
    struct gateway_router router;
    gateway_router_init(&router, 4);
    cr_expect_eq(gateway_router_pick(&router, 3, NONE, 0), NONE);
    cr_expect_eq(gateway_router_pick(&router, 3, 0, 0), NONE);
    cr_expect(!gateway_router_has_leader(&router, 3));
    cr_expect_eq(gateway_router_find(&router, "n1"), NONE);
    gateway_router_deinit(&router);
}

Test(gateway_router, the_hint_comes_first_then_the_leader_then_the_replicas_in_turn)
{
    static const struct {
        const char *leader;
        const char *replicas;
        const char *hint;
        uint32_t attempt;
        const char *picked; /* NULL: nobody */
    } cases[] = {
        {"n1", "n1,n2,n3", NULL, 0, "n1"},
        {"n1", "n1,n2,n3", "n2", 0, "n2"},
        {"n1", "n1,n2,n3", "n3", 0, "n1"}, /* the hint cannot be asked */
        {"n2", "n1,n2", NULL, 0, "n2"},    /* suspect is not dead */
        {"n3", "n1,n2,n3", NULL, 0, "n1"}, /* nor can a dead leader be asked */
        {"n3", "n1,n2,n3", NULL, 1, "n2"},
        {"n3", "n1,n2,n3", NULL, 2, "n1"}, /* n3 is passed over */
        {"", "n2,n1", NULL, 0, "n2"},
        {"", "n2,n1", NULL, 1, "n1"},
        {"", "n2,n1", NULL, UINT32_MAX, "n1"},
        {"n9", "n9", NULL, 0, NULL}, /* in use somewhere that is not listed */
        {"", "n3", NULL, 0, NULL},
        {"n3", "", NULL, 0, NULL},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_cluster *cluster = three_nodes();
        nodes_shard(cluster, 2, cases[i].leader, cases[i].replicas);
        struct gateway_router router;
        gateway_router_init(&router, 4);
        gateway_router_update(&router, cluster);
        uint32_t hint = cases[i].hint != NULL ? gateway_router_find(&router, cases[i].hint) : NONE;
        uint32_t picked = gateway_router_pick(&router, 2, hint, cases[i].attempt);
        if (cases[i].picked == NULL) {
            cr_expect_eq(picked, NONE, "case %zu", i);
        } else {
            cr_assert_neq(picked, NONE, "case %zu", i);
            cr_expect_str_eq(router.nodes[picked].node_id, cases[i].picked, "case %zu", i);
        }
        gateway_router_deinit(&router);
        nk_cluster_free(&cluster);
    }
}

Test(gateway_router, a_leader_counts_only_if_it_can_be_asked)
{
    static const struct {
        const char *leader;
        bool has_leader;
    } cases[] = {{"n1", true}, {"n2", true}, {"n3", false}, {"n9", false}, {"", false}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_cluster *cluster = three_nodes();
        nodes_shard(cluster, 2, cases[i].leader, "n1,n2,n3");
        struct gateway_router router;
        gateway_router_init(&router, 4);
        gateway_router_update(&router, cluster);
        cr_expect_eq(gateway_router_has_leader(&router, 2), cases[i].has_leader, "case %zu", i);
        gateway_router_deinit(&router);
        nk_cluster_free(&cluster);
    }
}

/* Two gateways must not create a shard in two places. */
Test(gateway_router, an_unused_shard_has_one_home_whatever_order_its_nodes_came_in)
{
    struct gateway_router first;
    struct gateway_router second;
    gateway_router_init(&first, 256);
    gateway_router_init(&second, 256);
    struct nk_cluster *growing;
    nk_cluster_new(&growing);
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    static const char *const nodes[] = {"n5", "n1", "n4", "n2", "n3"};
    for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
        nodes_put(growing, nodes[i], 7, NK_MEMBER_ALIVE, NULL);
        gateway_router_update(&first, growing); /* one at a time: other places in the table */
        nodes_put(cluster, nodes[i], 7, NK_MEMBER_ALIVE, NULL);
    }
    gateway_router_update(&second, cluster);
    size_t used[NK_COUNT_OF(nodes)] = {0};
    for (uint32_t shard = 0; shard < 256; shard++) {
        uint32_t home = gateway_router_pick(&first, shard, NONE, shard);
        uint32_t other = gateway_router_pick(&second, shard, NONE, 0);
        cr_assert_neq(home, NONE);
        cr_expect_str_eq(first.nodes[home].node_id, second.nodes[other].node_id, "shard %u", shard);
        used[first.nodes[home].node_id[1] - '1']++;
    }
    for (size_t i = 0; i < NK_COUNT_OF(used); i++) {
        cr_expect_gt(used[i], 20, "node %zu", i); /* spread over all of them */
    }
    gateway_router_deinit(&first);
    gateway_router_deinit(&second);
    nk_cluster_free(&growing);
    nk_cluster_free(&cluster);
}

Test(gateway_router, an_unused_shard_waits_for_its_home_rather_than_going_elsewhere)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    nodes_put(cluster, "n1", 7, NK_MEMBER_ALIVE, NULL);
    nodes_put(cluster, "n2", 7, NK_MEMBER_FAILED, NULL);
    struct gateway_router router;
    gateway_router_init(&router, 64);
    gateway_router_update(&router, cluster);
    size_t waiting = 0;
    for (uint32_t shard = 0; shard < 64; shard++) {
        waiting += gateway_router_pick(&router, shard, NONE, 5) == NONE;
    }
    cr_expect_gt(waiting, 10);
    cr_expect_lt(waiting, 54);
    gateway_router_deinit(&router);
    nk_cluster_free(&cluster);
}

Test(gateway_router, a_node_keeps_its_number_while_it_is_listed_and_one_update_after)
{
    struct gateway_router router;
    gateway_router_init(&router, 4);
    struct nk_cluster *cluster = three_nodes();
    gateway_router_update(&router, cluster);
    uint32_t number = gateway_router_find(&router, "n2");
    nk_cluster_remove_member(cluster, "n1", "shardhost");
    gateway_router_update(&router, cluster);
    cr_expect_eq(gateway_router_find(&router, "n2"), number);
    nk_cluster_remove_member(cluster, "n2", "shardhost");
    nodes_put(cluster, "n0", 7, NK_MEMBER_ALIVE, NULL);
    gateway_router_update(&router, cluster);
    cr_expect_eq(gateway_router_find(&router, "n2"), NONE);
    cr_expect_str_eq(router.nodes[number].node_id, "n2");
    cr_expect_eq(router.nodes[number].session, 0);
    cr_expect_eq(router.nodes[number].state, NK_MEMBER_FAILED);
    nodes_put(cluster, "n8", 7, NK_MEMBER_ALIVE, NULL);
    gateway_router_update(&router, cluster);
    cr_expect_eq(gateway_router_find(&router, "n8"), number); /* its place is free now */
    gateway_router_deinit(&router);
    nk_cluster_free(&cluster);
}

Test(gateway_router, nodes_that_come_and_go_do_not_use_up_the_places)
{
    struct gateway_router router;
    gateway_router_init(&router, 4);
    for (size_t i = 0; i < 3 * NK_MEMBERS_MAX; i++) {
        struct nk_cluster *cluster;
        nk_cluster_new(&cluster);
        char node_id[16];
        (void)snprintf(node_id, sizeof node_id, "n%zu", i);
        nodes_put(cluster, node_id, 7, NK_MEMBER_ALIVE, NULL);
        gateway_router_update(&router, cluster);
        cr_assert_neq(gateway_router_find(&router, node_id), NONE, "node %zu", i);
        nk_cluster_free(&cluster);
    }
    cr_expect_leq(router.node_count, 3);
    gateway_router_deinit(&router);
}

Test(gateway_router, a_node_has_the_address_of_its_own_gateway_as_hint)
{
    struct gateway_router router;
    gateway_router_init(&router, 4);
    struct nk_cluster *cluster = three_nodes();
    gateway_router_update(&router, cluster);
    cr_expect_str_eq(router.nodes[gateway_router_find(&router, "n1")].rpc_address, "g1:1");
    cr_expect_str_eq(router.nodes[gateway_router_find(&router, "n2")].rpc_address, "");
    nk_cluster_remove_member(cluster, "n1", "gateway");
    gateway_router_update(&router, cluster);
    cr_expect_str_eq(router.nodes[gateway_router_find(&router, "n1")].rpc_address, "");
    gateway_router_deinit(&router);
    nk_cluster_free(&cluster);
}

Test(gateway_router, shards_beyond_our_number_are_ignored)
{
    struct gateway_router router;
    gateway_router_init(&router, 4);
    struct nk_cluster *cluster = three_nodes();
    nodes_shard(cluster, 4, "n1", "n1");
    nodes_shard(cluster, NK_SHARDS_MAX - 1, "n1", "n1");
    gateway_router_update(&router, cluster);
    cr_expect(!gateway_router_has_leader(&router, 3));
    gateway_router_deinit(&router);
    nk_cluster_free(&cluster);
}
