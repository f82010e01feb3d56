/* The cluster as clients, operators and Prometheus see it.  One row per node that holds data: its
 * shardhost gives the state, its gateway the address. */
#include "common/base/alloc.h"
#include "common/service/cluster.h"
#include "proto/norikv/v1/meta.pb-c.h"

#include "field.h"

/* The gRPC address for clients of `node_id`. */
static const char *client_address(const struct nk_cluster *cluster, const char *node_id)
{
    const struct nk_cluster_member *own = nk_cluster_member(cluster, node_id, "gateway");
    if (own != NULL && own->rpc_address[0] != '\0') {
        return own->rpc_address;
    }
    for (size_t i = 0; i < nk_cluster_member_count(cluster); i++) {
        const struct nk_cluster_member *member = nk_cluster_member_at(cluster, i);
        if (strcmp(member->role, "gateway") == 0 && member->state == NK_MEMBER_ALIVE &&
            member->rpc_address[0] != '\0') {
            return member->rpc_address;
        }
    }
    return "";
}

static bool leads(const struct nk_cluster *cluster, const char *node_id)
{
    for (size_t i = 0; i < nk_cluster_shard_count(cluster); i++) {
        if (strcmp(nk_cluster_shard_at(cluster, i)->leader_node, node_id) == 0) {
            return true;
        }
    }
    return false;
}

static const char *node_role(const struct nk_cluster *cluster,
                             const struct nk_cluster_member *shardhost)
{
    switch (shardhost->state) {
    case NK_MEMBER_SUSPECT:
        return "suspect";
    case NK_MEMBER_FAILED:
        return "failed";
    case NK_MEMBER_ALIVE:
        break;
    }
    return leads(cluster, shardhost->node_id) ? "leader" : "follower";
}

size_t nk_cluster_nodes(const struct nk_cluster *cluster, struct nk_health_node *out_nodes,
                        size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; i < nk_cluster_member_count(cluster) && count < capacity; i++) {
        const struct nk_cluster_member *member = nk_cluster_member_at(cluster, i);
        if (strcmp(member->role, "shardhost") == 0) {
            struct nk_health_node *node = &out_nodes[count++];
            memset(node, 0, sizeof *node);
            field_copy(node->id, sizeof node->id, member->node_id);
            field_copy(node->addr, sizeof node->addr, client_address(cluster, member->node_id));
            field_copy(node->role, sizeof node->role, node_role(cluster, member));
        }
    }
    return count;
}

void nk_cluster_show_nodes(const struct nk_cluster *cluster, struct nk_health *health)
{
    struct nk_health_node nodes[NK_HEALTH_NODES_MAX];
    nk_health_set_nodes(health, nodes, nk_cluster_nodes(cluster, nodes, NK_COUNT_OF(nodes)));
}

/* Everything a packed view points at. */
struct view_parts {
    struct nk_health_node *nodes;
    size_t node_count;
    Norikv__V1__ClusterNode *node_messages;
    Norikv__V1__ClusterNode **node_list;
    Norikv__V1__ShardInfo *shard_messages;
    Norikv__V1__ShardInfo **shard_list;
    Norikv__V1__ShardReplica *replica_messages; /* NK_CLUSTER_REPLICAS_MAX for each shard */
    Norikv__V1__ShardReplica **replica_list;
};

static void view_parts_init(struct view_parts *parts, const struct nk_cluster *cluster)
{
    size_t node_capacity = nk_cluster_member_count(cluster);
    size_t shard_count = nk_cluster_shard_count(cluster);
    size_t replica_count = shard_count * NK_CLUSTER_REPLICAS_MAX;
    parts->nodes = nk_alloc(node_capacity * sizeof *parts->nodes);
    parts->node_count = nk_cluster_nodes(cluster, parts->nodes, node_capacity);
    parts->node_messages = nk_alloc(node_capacity * sizeof *parts->node_messages);
    parts->node_list = nk_alloc(node_capacity * sizeof *parts->node_list);
    parts->shard_messages = nk_alloc(shard_count * sizeof *parts->shard_messages);
    parts->shard_list = nk_alloc(shard_count * sizeof *parts->shard_list);
    parts->replica_messages = nk_alloc(replica_count * sizeof *parts->replica_messages);
    parts->replica_list = nk_alloc(replica_count * sizeof *parts->replica_list);
}

static void view_parts_deinit(struct view_parts *parts)
{
    nk_free(parts->nodes);
    nk_free(parts->node_messages);
    nk_free(parts->node_list);
    nk_free(parts->shard_messages);
    nk_free(parts->shard_list);
    nk_free(parts->replica_messages);
    nk_free(parts->replica_list);
}

static void fill_shard(struct view_parts *parts, size_t i, const struct nk_cluster_shard *shard)
{
    Norikv__V1__ShardInfo *info = &parts->shard_messages[i];
    norikv__v1__shard_info__init(info);
    info->id = shard->shard;
    info->replicas = parts->replica_list + i * NK_CLUSTER_REPLICAS_MAX;
    info->n_replicas = shard->replica_count;
    for (size_t j = 0; j < shard->replica_count; j++) {
        Norikv__V1__ShardReplica *replica =
            &parts->replica_messages[i * NK_CLUSTER_REPLICAS_MAX + j];
        norikv__v1__shard_replica__init(replica);
        replica->node_id = (char *)shard->replica_nodes[j];
        replica->leader = strcmp(shard->replica_nodes[j], shard->leader_node) == 0;
        info->replicas[j] = replica;
    }
    parts->shard_list[i] = info;
}

void nk_cluster_view_pack(const struct nk_cluster *cluster, struct nk_buf *out)
{
    struct view_parts parts;
    view_parts_init(&parts, cluster);
    Norikv__V1__ClusterView view;
    norikv__v1__cluster_view__init(&view);
    view.epoch = nk_cluster_epoch(cluster);
    for (size_t i = 0; i < parts.node_count; i++) {
        Norikv__V1__ClusterNode *node = &parts.node_messages[i];
        norikv__v1__cluster_node__init(node);
        node->id = parts.nodes[i].id;
        node->addr = parts.nodes[i].addr;
        node->role = parts.nodes[i].role;
        parts.node_list[i] = node;
    }
    view.nodes = parts.node_list;
    view.n_nodes = parts.node_count;
    for (size_t i = 0; i < nk_cluster_shard_count(cluster); i++) {
        fill_shard(&parts, i, nk_cluster_shard_at(cluster, i));
    }
    view.shards = parts.shard_list;
    view.n_shards = nk_cluster_shard_count(cluster);
    size_t size = norikv__v1__cluster_view__get_packed_size(&view);
    size_t packed = norikv__v1__cluster_view__pack(&view, nk_buf_extend(out, size));
    NK_ASSERT(packed == size);
    view_parts_deinit(&parts);
}

static void write_shard(struct nk_json *json, const struct nk_cluster_shard *shard)
{
    nk_json_open(json, '{');
    nk_json_name(json, "id");
    nk_json_number(json, shard->shard);
    nk_json_name(json, "replicas");
    nk_json_open(json, '[');
    for (size_t i = 0; i < shard->replica_count; i++) {
        nk_json_open(json, '{');
        nk_json_name(json, "node_id");
        nk_json_text(json, shard->replica_nodes[i]);
        nk_json_name(json, "leader");
        nk_json_bool(json, strcmp(shard->replica_nodes[i], shard->leader_node) == 0);
        nk_json_close(json, '}');
    }
    nk_json_close(json, ']');
    nk_json_close(json, '}');
}

void nk_cluster_view_json(const struct nk_cluster *cluster, struct nk_buf *out)
{
    size_t capacity = nk_cluster_member_count(cluster);
    struct nk_health_node *nodes = nk_alloc(capacity * sizeof *nodes);
    size_t count = nk_cluster_nodes(cluster, nodes, capacity);
    struct nk_json json;
    nk_json_init(&json, out);
    nk_json_open(&json, '{');
    nk_json_name(&json, "epoch");
    nk_json_number(&json, nk_cluster_epoch(cluster));
    field_write_nodes(&json, nodes, count);
    nk_json_name(&json, "shards");
    nk_json_open(&json, '[');
    for (size_t i = 0; i < nk_cluster_shard_count(cluster); i++) {
        write_shard(&json, nk_cluster_shard_at(cluster, i));
    }
    nk_json_close(&json, ']');
    nk_json_close(&json, '}');
    nk_buf_append_u8(out, '\n');
    nk_free(nodes);
}

void nk_cluster_targets_json(const struct nk_cluster *cluster, struct nk_buf *out)
{
    struct nk_json json;
    nk_json_init(&json, out);
    nk_json_open(&json, '[');
    for (size_t i = 0; i < nk_cluster_member_count(cluster); i++) {
        const struct nk_cluster_member *member = nk_cluster_member_at(cluster, i);
        if (member->http_address[0] == '\0') {
            continue;
        }
        nk_json_open(&json, '{');
        nk_json_name(&json, "targets");
        nk_json_open(&json, '[');
        nk_json_text(&json, member->http_address);
        nk_json_close(&json, ']');
        nk_json_name(&json, "labels");
        nk_json_open(&json, '{');
        nk_json_name(&json, "role");
        nk_json_text(&json, member->role);
        nk_json_name(&json, "node_id");
        nk_json_text(&json, member->node_id);
        nk_json_close(&json, '}');
        nk_json_close(&json, '}');
    }
    nk_json_close(&json, ']');
    nk_buf_append_u8(out, '\n');
}
