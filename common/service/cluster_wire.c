/* Members and shards to and from messages.  What comes from another process is copied only after
 * every field was looked at: the texts end up in JSON, in log lines and in addresses to connect to.
 */
#include "common/service/cluster.h"

#include "field.h"

static_assert(sizeof((struct nk_cluster_member *)0)->node_id == NK_NODE_ID_BYTES_MAX + 1,
              "room for every node id");
static_assert(sizeof((struct nk_cluster_member *)0)->talk_address == NK_ADDRESS_BYTES_MAX + 1,
              "room for every address");

bool nk_cluster_node_id_valid(const char *node_id)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = strspn(node_id, allowed);
    return size > 0 && size <= NK_NODE_ID_BYTES_MAX && node_id[size] == '\0';
}

bool nk_cluster_role_valid(const char *role)
{
    size_t size = strspn(role, "abcdefghijklmnopqrstuvwxyz");
    return size > 0 && size < sizeof((struct nk_cluster_member *)0)->role && role[size] == '\0';
}

/* No control characters; may be empty.  A socket's path may hold anything else. */
static bool address_valid(const char *address)
{
    size_t size = 0;
    while ((uint8_t)address[size] >= 0x20 && address[size] != 0x7f) {
        size++;
    }
    return address[size] == '\0' && size <= NK_ADDRESS_BYTES_MAX;
}

enum nk_err nk_cluster_member_read(const Norikv__Internal__V1__Member *message,
                                   struct nk_cluster_member *out_member)
{
    if (!nk_cluster_node_id_valid(message->node_id) || !nk_cluster_role_valid(message->role) ||
        message->session == 0 || !address_valid(message->talk_address) ||
        !address_valid(message->rpc_address) || !address_valid(message->http_address) ||
        message->state < NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_ALIVE ||
        message->state > NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_FAILED ||
        message->total_shards > NK_SHARDS_MAX ||
        (message->cluster_id.len != 0 &&
         message->cluster_id.len != sizeof out_member->cluster_id)) {
        return NK_INVALID;
    }
    memset(out_member, 0, sizeof *out_member);
    field_copy(out_member->node_id, sizeof out_member->node_id, message->node_id);
    field_copy(out_member->role, sizeof out_member->role, message->role);
    out_member->session = message->session;
    field_copy(out_member->talk_address, sizeof out_member->talk_address, message->talk_address);
    field_copy(out_member->rpc_address, sizeof out_member->rpc_address, message->rpc_address);
    field_copy(out_member->http_address, sizeof out_member->http_address, message->http_address);
    out_member->state = (enum nk_member_state)message->state;
    out_member->total_shards = message->total_shards;
    if (message->cluster_id.len > 0) {
        memcpy(out_member->cluster_id, message->cluster_id.data, sizeof out_member->cluster_id);
    }
    return NK_OK;
}

enum nk_err nk_cluster_shard_read(const Norikv__Internal__V1__ShardState *message,
                                  struct nk_cluster_shard *out_shard)
{
    if (message->shard >= NK_SHARDS_MAX || message->n_replica_nodes > NK_CLUSTER_REPLICAS_MAX ||
        (message->leader_node[0] != '\0' && !nk_cluster_node_id_valid(message->leader_node))) {
        return NK_INVALID;
    }
    for (size_t i = 0; i < message->n_replica_nodes; i++) {
        if (!nk_cluster_node_id_valid(message->replica_nodes[i])) {
            return NK_INVALID;
        }
    }
    memset(out_shard, 0, sizeof *out_shard);
    out_shard->shard = message->shard;
    out_shard->term = message->term;
    field_copy(out_shard->leader_node, sizeof out_shard->leader_node, message->leader_node);
    for (size_t i = 0; i < message->n_replica_nodes; i++) {
        field_copy(out_shard->replica_nodes[i], sizeof out_shard->replica_nodes[i],
                   message->replica_nodes[i]);
    }
    out_shard->replica_count = message->n_replica_nodes;
    return NK_OK;
}

/* protobuf-c has no const texts; packing does not write to them. */
void nk_cluster_member_write(const struct nk_cluster_member *member,
                             Norikv__Internal__V1__Member *out_message)
{
    norikv__internal__v1__member__init(out_message);
    out_message->node_id = (char *)member->node_id;
    out_message->role = (char *)member->role;
    out_message->session = member->session;
    out_message->talk_address = (char *)member->talk_address;
    out_message->rpc_address = (char *)member->rpc_address;
    out_message->http_address = (char *)member->http_address;
    out_message->state = (Norikv__Internal__V1__MemberState)member->state;
    out_message->total_shards = member->total_shards;
    static const uint8_t unknown[sizeof member->cluster_id] = {0};
    if (memcmp(member->cluster_id, unknown, sizeof unknown) != 0) {
        out_message->cluster_id.data = (uint8_t *)member->cluster_id;
        out_message->cluster_id.len = sizeof member->cluster_id;
    }
}

void nk_cluster_shard_write(const struct nk_cluster_shard *shard, char **replicas,
                            Norikv__Internal__V1__ShardState *out_message)
{
    norikv__internal__v1__shard_state__init(out_message);
    out_message->shard = shard->shard;
    out_message->term = shard->term;
    out_message->leader_node = (char *)shard->leader_node;
    for (size_t i = 0; i < shard->replica_count; i++) {
        replicas[i] = (char *)shard->replica_nodes[i];
    }
    out_message->replica_nodes = replicas;
    out_message->n_replica_nodes = shard->replica_count;
}
