#include "services/gateway/router.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

static void forget_missing(struct gateway_router *router, const struct nk_cluster *cluster);
static void take_node(struct gateway_router *router, const struct nk_cluster *cluster,
                      const struct nk_cluster_member *member);
static uint32_t place_for(struct gateway_router *router, const char *node_id);
static void sort_homes(struct gateway_router *router);
static void take_shard(struct gateway_router *router, const struct nk_cluster_shard *shard);
static bool reachable(const struct gateway_router *router, uint32_t node);

void gateway_router_init(struct gateway_router *router, uint32_t total_shards)
{
    NK_ASSERT(total_shards > 0);
    *router = (struct gateway_router){
        .nodes = nk_alloc_zero(NK_MEMBERS_MAX, sizeof *router->nodes),
        .homes = nk_alloc_zero(NK_MEMBERS_MAX, sizeof *router->homes),
        .routes = nk_alloc_zero(total_shards, sizeof *router->routes),
        .total_shards = total_shards,
    };
    nk_map_init(&router->places);
    for (uint32_t i = 0; i < total_shards; i++) {
        router->routes[i].leader = GATEWAY_NODE_NONE;
    }
}

void gateway_router_deinit(struct gateway_router *router)
{
    nk_map_deinit(&router->places);
    nk_free(router->nodes);
    nk_free(router->homes);
    nk_free(router->routes);
    *router = (struct gateway_router){0};
}

void gateway_router_update(struct gateway_router *router, const struct nk_cluster *cluster)
{
    forget_missing(router, cluster);
    for (size_t i = 0; i < nk_cluster_member_count(cluster); i++) {
        const struct nk_cluster_member *member = nk_cluster_member_at(cluster, i);
        if (strcmp(member->role, GATEWAY_SHARDHOST) == 0 && member->session != 0) {
            take_node(router, cluster, member);
        }
    }
    sort_homes(router);
    for (uint32_t i = 0; i < router->total_shards; i++) {
        router->routes[i].leader = GATEWAY_NODE_NONE;
        router->routes[i].replica_count = 0;
    }
    for (size_t i = 0; i < nk_cluster_shard_count(cluster); i++) {
        const struct nk_cluster_shard *shard = nk_cluster_shard_at(cluster, i);
        if (shard->shard < router->total_shards) {
            take_shard(router, shard);
        }
    }
}

uint32_t gateway_router_pick(const struct gateway_router *router, uint32_t shard, uint32_t hint,
                             uint32_t attempt)
{
    NK_ASSERT(shard < router->total_shards);
    const struct gateway_route *route = &router->routes[shard];
    if (reachable(router, hint)) {
        return hint;
    }
    if (reachable(router, route->leader)) {
        return route->leader;
    }
    for (uint32_t i = 0; i < route->replica_count; i++) {
        uint32_t node = route->replicas[(attempt + i) % route->replica_count];
        if (reachable(router, node)) {
            return node;
        }
    }
    if (route->replica_count > 0 || router->home_count == 0) {
        return GATEWAY_NODE_NONE;
    }
    uint8_t number[4];
    nk_put_u32(number, shard);
    uint64_t hash = nk_xxh64(nk_bytes_of(number, sizeof number), 0);
    uint32_t home = router->homes[nk_jump_hash(hash, (uint32_t)router->home_count)];
    return reachable(router, home) ? home : GATEWAY_NODE_NONE;
}

bool gateway_router_has_leader(const struct gateway_router *router, uint32_t shard)
{
    NK_ASSERT(shard < router->total_shards);
    return reachable(router, router->routes[shard].leader);
}

uint32_t gateway_router_find(const struct gateway_router *router, const char *node_id)
{
    const struct gateway_node *node = nk_map_get(&router->places, nk_bytes_of_string(node_id));
    return node != NULL && node->session != 0 ? (uint32_t)(node - router->nodes)
                                              : GATEWAY_NODE_NONE;
}

/* A node that left the list keeps its place until the next update: whoever waits on it is told in
 * between. */
static void forget_missing(struct gateway_router *router, const struct nk_cluster *cluster)
{
    for (size_t i = 0; i < router->node_count; i++) {
        struct gateway_node *node = &router->nodes[i];
        if (node->session == 0 && node->node_id[0] != '\0') {
            nk_map_remove(&router->places, nk_bytes_of_string(node->node_id));
            node->node_id[0] = '\0';
        } else if (nk_cluster_member(cluster, node->node_id, GATEWAY_SHARDHOST) == NULL) {
            node->session = 0;
            node->state = NK_MEMBER_FAILED;
        }
    }
}

static void take_node(struct gateway_router *router, const struct nk_cluster *cluster,
                      const struct nk_cluster_member *member)
{
    uint32_t place = place_for(router, member->node_id);
    if (place == GATEWAY_NODE_NONE) {
        return; /* more shardhosts than a cluster may have members: the rest is not used */
    }
    struct gateway_node *node = &router->nodes[place];
    memcpy(node->node_id, member->node_id, sizeof node->node_id);
    memcpy(node->talk_address, member->talk_address, sizeof node->talk_address);
    node->session = member->session;
    node->state = member->state;
    const struct nk_cluster_member *gateway =
        nk_cluster_member(cluster, member->node_id, GATEWAY_ROLE);
    memset(node->rpc_address, 0, sizeof node->rpc_address);
    if (gateway != NULL) {
        memcpy(node->rpc_address, gateway->rpc_address, sizeof node->rpc_address);
    }
}

static uint32_t place_for(struct gateway_router *router, const char *node_id)
{
    const struct gateway_node *own = nk_map_get(&router->places, nk_bytes_of_string(node_id));
    if (own != NULL) {
        return (uint32_t)(own - router->nodes);
    }
    uint32_t place = 0;
    while (place < router->node_count && router->nodes[place].node_id[0] != '\0') {
        place++;
    }
    if (place == NK_MEMBERS_MAX) {
        return GATEWAY_NODE_NONE;
    }
    router->node_count += place == router->node_count ? 1 : 0;
    nk_map_put(&router->places, nk_bytes_of_string(node_id), &router->nodes[place]);
    return place;
}

static void sort_homes(struct gateway_router *router)
{
    router->home_count = 0;
    for (uint32_t i = 0; i < router->node_count; i++) {
        if (router->nodes[i].session == 0) {
            continue;
        }
        size_t at = router->home_count++;
        for (; at > 0; at--) {
            const char *before = router->nodes[router->homes[at - 1]].node_id;
            if (strcmp(before, router->nodes[i].node_id) < 0) {
                break;
            }
            router->homes[at] = router->homes[at - 1];
        }
        router->homes[at] = i;
    }
}

static void take_shard(struct gateway_router *router, const struct nk_cluster_shard *shard)
{
    struct gateway_route *route = &router->routes[shard->shard];
    if (shard->leader_node[0] != '\0') {
        route->leader = gateway_router_find(router, shard->leader_node);
    }
    for (size_t i = 0; i < shard->replica_count && i < NK_CLUSTER_REPLICAS_MAX; i++) {
        uint32_t node = gateway_router_find(router, shard->replica_nodes[i]);
        /* A replica whose node is not listed still shows that the shard is in use. */
        route->replicas[route->replica_count++] = node;
    }
    if (route->replica_count == 0) {
        route->replicas[route->replica_count++] = route->leader;
    }
}

static bool reachable(const struct gateway_router *router, uint32_t node)
{
    return node < router->node_count && router->nodes[node].session != 0 &&
           router->nodes[node].state != NK_MEMBER_FAILED;
}
