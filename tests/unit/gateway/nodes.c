#include "nodes.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void put(struct nk_cluster *cluster, const struct nk_cluster_member *member)
{
    cr_assert_eq(nk_cluster_put_member(cluster, member), NK_OK);
}

void nodes_put(struct nk_cluster *cluster, const char *node_id, uint64_t session,
               enum nk_member_state state, const char *gateway)
{
    struct nk_cluster_member member = {.session = session, .state = state, .role = "shardhost"};
    (void)snprintf(member.node_id, sizeof member.node_id, "%s", node_id);
    (void)snprintf(member.talk_address, sizeof member.talk_address, "stage://%s", node_id);
    put(cluster, &member);
    if (gateway != NULL) {
        struct nk_cluster_member other = {
            .session = 1, .state = NK_MEMBER_ALIVE, .role = "gateway"};
        (void)snprintf(other.node_id, sizeof other.node_id, "%s", node_id);
        (void)snprintf(other.rpc_address, sizeof other.rpc_address, "%s", gateway);
        put(cluster, &other);
    }
}

void nodes_shard(struct nk_cluster *cluster, uint32_t shard, const char *leader,
                 const char *replicas)
{
    struct nk_cluster_shard state = {.shard = shard, .term = 3};
    (void)snprintf(state.leader_node, sizeof state.leader_node, "%s", leader);
    while (*replicas != '\0') {
        size_t size = strcspn(replicas, ",");
        memcpy(state.replica_nodes[state.replica_count], replicas, size);
        state.replica_count++;
        replicas += size + (replicas[size] == ',' ? 1 : 0);
    }
    nk_cluster_put_shard(cluster, &state);
}

struct nk_cluster *nodes_single(uint32_t total_shards)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    nodes_put(cluster, "n1", 7, NK_MEMBER_ALIVE, "g1:7447");
    for (uint32_t i = 0; i < total_shards; i++) {
        nodes_shard(cluster, i, "n1", "n1");
    }
    nk_cluster_stamp(cluster, 50, 1, 100);
    return cluster;
}
