/* What clients, operators and Prometheus are told about a cluster. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/arena.h"
#include "common/base/units.h"
#include "common/service/cluster.h"
#include "proto/frame.h"
#include "proto/norikv/v1/meta.pb-c.h"

TestSuite(service_cluster_view, .timeout = 10);

static void put(struct nk_cluster *cluster, const char *node_id, const char *role,
                enum nk_member_state state, const char *rpc_address, const char *http_address)
{
    struct nk_cluster_member member = {.session = 1, .state = state};
    (void)snprintf(member.node_id, sizeof member.node_id, "%s", node_id);
    (void)snprintf(member.role, sizeof member.role, "%s", role);
    (void)snprintf(member.rpc_address, sizeof member.rpc_address, "%s", rpc_address);
    (void)snprintf(member.http_address, sizeof member.http_address, "%s", http_address);
    cr_assert_eq(nk_cluster_put_member(cluster, &member), NK_OK);
}

static void put_shard(struct nk_cluster *cluster, uint32_t number, const char *leader,
                      const char *replica, const char *other)
{
    struct nk_cluster_shard shard = {.shard = number, .term = 1, .replica_count = 2};
    (void)snprintf(shard.leader_node, sizeof shard.leader_node, "%s", leader);
    (void)snprintf(shard.replica_nodes[0], sizeof shard.replica_nodes[0], "%s", replica);
    (void)snprintf(shard.replica_nodes[1], sizeof shard.replica_nodes[1], "%s", other);
    nk_cluster_put_shard(cluster, &shard);
}

/* n1 leads and has a gateway; n2 follows without one; n3 is suspect, n4 has failed though the state
 * still names it a leader. */
static struct nk_cluster *four_nodes(void)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    put(cluster, "n1", "shardhost", NK_MEMBER_ALIVE, "", "h1:81");
    put(cluster, "n1", "gateway", NK_MEMBER_ALIVE, "g1:7447", "h1:80");
    put(cluster, "n2", "shardhost", NK_MEMBER_ALIVE, "", "");
    put(cluster, "n3", "shardhost", NK_MEMBER_SUSPECT, "", "h3:81");
    put(cluster, "n3", "gateway", NK_MEMBER_ALIVE, "g3:7447", "");
    put(cluster, "n4", "shardhost", NK_MEMBER_FAILED, "", "");
    put(cluster, "n5", "admin", NK_MEMBER_ALIVE, "", "h5:83");
    put_shard(cluster, 3, "n1", "n1", "n2");
    put_shard(cluster, 9, "n4", "n4", "n3");
    put_shard(cluster, 11, "", "n2", "n3");
    nk_cluster_stamp(cluster, 50, 1, 7);
    return cluster;
}

static const struct {
    const char *id;
    const char *addr;
    const char *role;
} four_rows[] = {
    {"n1", "g1:7447", "leader"},
    {"n2", "g1:7447", "follower"}, /* without a gateway of its own: the first live one */
    {"n3", "g3:7447", "suspect"},
    {"n4", "g1:7447", "failed"},
};

Test(service_cluster_view, nodes_are_the_shardhosts_with_the_address_clients_should_use)
{
    struct nk_cluster *cluster = four_nodes();
    struct nk_health_node nodes[8];
    cr_assert_eq(nk_cluster_nodes(cluster, nodes, NK_COUNT_OF(nodes)), NK_COUNT_OF(four_rows));
    for (size_t i = 0; i < NK_COUNT_OF(four_rows); i++) {
        cr_expect_str_eq(nodes[i].id, four_rows[i].id, "case %zu", i);
        cr_expect_str_eq(nodes[i].addr, four_rows[i].addr, "case %zu", i);
        cr_expect_str_eq(nodes[i].role, four_rows[i].role, "case %zu", i);
    }
    cr_expect_eq(nk_cluster_nodes(cluster, nodes, 2), 2);
    cr_expect_eq(nk_cluster_nodes(cluster, NULL, 0), 0);
    nk_cluster_free(&cluster);
}

Test(service_cluster_view, without_a_live_gateway_a_node_has_no_address)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    put(cluster, "n1", "shardhost", NK_MEMBER_ALIVE, "", "");
    put(cluster, "n2", "gateway", NK_MEMBER_FAILED, "g2:7447", "");
    struct nk_health_node node;
    cr_assert_eq(nk_cluster_nodes(cluster, &node, 1), 1);
    cr_expect_str_eq(node.addr, "");
    cr_expect_str_eq(node.role, "follower");
    nk_cluster_free(&cluster);
}

Test(service_cluster_view, the_packed_view_says_what_the_cluster_is)
{
    struct nk_cluster *cluster = four_nodes();
    struct nk_buf packed = {0};
    nk_buf_append_u8(&packed, 0xee); /* it appends */
    nk_cluster_view_pack(cluster, &packed);
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, 0);
    const Norikv__V1__ClusterView *view = (const Norikv__V1__ClusterView *)nk_unpack(
        &norikv__v1__cluster_view__descriptor, nk_bytes_of(packed.data + 1, packed.size - 1),
        &arena);
    cr_assert_not_null(view);
    cr_expect_eq(view->epoch, 7);
    cr_assert_eq(view->n_nodes, NK_COUNT_OF(four_rows));
    for (size_t i = 0; i < view->n_nodes; i++) {
        cr_expect_str_eq(view->nodes[i]->id, four_rows[i].id, "case %zu", i);
        cr_expect_str_eq(view->nodes[i]->addr, four_rows[i].addr, "case %zu", i);
        cr_expect_str_eq(view->nodes[i]->role, four_rows[i].role, "case %zu", i);
    }
    cr_assert_eq(view->n_shards, 3);
    cr_expect_eq(view->shards[0]->id, 3);
    cr_assert_eq(view->shards[0]->n_replicas, 2);
    cr_expect_str_eq(view->shards[0]->replicas[0]->node_id, "n1");
    cr_expect(view->shards[0]->replicas[0]->leader);
    cr_expect_str_eq(view->shards[0]->replicas[1]->node_id, "n2");
    cr_expect(!view->shards[0]->replicas[1]->leader);
    cr_expect(!view->shards[2]->replicas[0]->leader && !view->shards[2]->replicas[1]->leader);
    nk_arena_deinit(&arena);
    nk_buf_deinit(&packed);
    nk_cluster_free(&cluster);
}

static void expect_text(const struct nk_buf *out, const char *text)
{
    cr_expect(nk_bytes_equal(nk_buf_bytes(out), nk_bytes_of_string(text)), "%.*s", (int)out->size,
              (const char *)out->data);
}

Test(service_cluster_view, the_json_view_says_the_same)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    struct nk_buf out = {0};
    nk_cluster_view_json(cluster, &out);
    expect_text(&out, "{\"epoch\":0,\"nodes\":[],\"shards\":[]}\n");
    put(cluster, "n1", "shardhost", NK_MEMBER_ALIVE, "", "");
    put_shard(cluster, 3, "n1", "n1", "n2");
    nk_cluster_stamp(cluster, 50, 1, UINT64_MAX);
    nk_buf_clear(&out);
    nk_cluster_view_json(cluster, &out);
    expect_text(&out, "{\"epoch\":18446744073709551615,"
                      "\"nodes\":[{\"id\":\"n1\",\"addr\":\"\",\"role\":\"leader\"}],"
                      "\"shards\":[{\"id\":3,\"replicas\":[{\"node_id\":\"n1\",\"leader\":true},"
                      "{\"node_id\":\"n2\",\"leader\":false}]}]}\n");
    nk_buf_deinit(&out);
    nk_cluster_free(&cluster);
}

Test(service_cluster_view, targets_are_all_processes_with_an_http_address)
{
    struct nk_cluster *cluster = four_nodes();
    struct nk_buf out = {0};
    nk_cluster_targets_json(cluster, &out);
    expect_text(&out,
                "[{\"targets\":[\"h1:80\"],\"labels\":{\"role\":\"gateway\",\"node_id\":\"n1\"}},"
                "{\"targets\":[\"h1:81\"],\"labels\":{\"role\":\"shardhost\",\"node_id\":\"n1\"}},"
                "{\"targets\":[\"h3:81\"],\"labels\":{\"role\":\"shardhost\",\"node_id\":\"n3\"}},"
                "{\"targets\":[\"h5:83\"],\"labels\":{\"role\":\"admin\",\"node_id\":\"n5\"}}]\n");
    nk_buf_deinit(&out);
    nk_cluster_free(&cluster);
}
