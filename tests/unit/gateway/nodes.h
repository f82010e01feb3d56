#pragma once

/* A cluster as gossip would tell it, put together by hand. */

#include "common/service/cluster.h"

/* A shardhost and, unless `gateway` is NULL, the gateway of the same node with that gRPC address.
 * Its talk address is "stage://<node_id>". */
void nodes_put(struct nk_cluster *cluster, const char *node_id, uint64_t session,
               enum nk_member_state state, const char *gateway);

/* `leader` "": none.  `replicas`: their node ids with commas between them, "" for none. */
void nodes_shard(struct nk_cluster *cluster, uint32_t shard, const char *leader,
                 const char *replicas);

/* A new cluster of one shardhost "n1" in session 7 that leads shards 0 .. total - 1. */
struct nk_cluster *nodes_single(uint32_t total_shards);
