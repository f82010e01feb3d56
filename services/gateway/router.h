#pragma once

/* Who serves a key: the cluster's state turned into tables that answer without searching.
 * Pure: the same state gives the same answers.  Loop thread only. */

#include "common/base/map.h"
#include "common/service/cluster.h"

#define GATEWAY_NODE_NONE UINT32_MAX
#define GATEWAY_ROLE      "gateway"
#define GATEWAY_SHARDHOST "shardhost"

/* One shardhost.  Its number (place in `nodes`) stays the same while the cluster lists it, and
 * until one update after. */
struct gateway_node {
    char node_id[65]; /* "": the place is free */
    char talk_address[256];
    char rpc_address[256]; /* of the gateway of the same node: the leader hint; "" none */
    uint64_t session;      /* 0: not listed now */
    enum nk_member_state state;
};

struct gateway_route {
    uint32_t leader; /* GATEWAY_NODE_NONE: none known */
    uint32_t replicas[NK_CLUSTER_REPLICAS_MAX];
    uint32_t replica_count; /* 0: the shard is not in use yet */
};

struct gateway_router {
    struct gateway_node *nodes; /* NK_MEMBERS_MAX places */
    size_t node_count;          /* places ever used */
    struct nk_map places;       /* node_id -> its node; those with a place */
    uint32_t *homes;            /* listed nodes in the order of their ids */
    size_t home_count;
    struct gateway_route *routes; /* one a shard */
    uint32_t total_shards;
};

void gateway_router_init(struct gateway_router *router, uint32_t total_shards);
void gateway_router_deinit(struct gateway_router *router);

/* Takes the state over; copies what it needs. */
void gateway_router_update(struct gateway_router *router, const struct nk_cluster *cluster);

/* Whom to ask for `shard` at this attempt (0 the first): `hint` if it can be asked, else the
 * leader, else the replicas in turn, else, for a shard that is not in use, its home: always the
 * same node while the list of shardhosts is the same, so that two gateways do not create it in two
 * places. GATEWAY_NODE_NONE: nobody now. */
uint32_t gateway_router_pick(const struct gateway_router *router, uint32_t shard, uint32_t hint,
                             uint32_t attempt);

/* Whether somebody who can be asked is known to lead `shard`. */
bool gateway_router_has_leader(const struct gateway_router *router, uint32_t shard);

/* Number of a listed node; GATEWAY_NODE_NONE if there is none with this id. */
uint32_t gateway_router_find(const struct gateway_router *router, const char *node_id);
