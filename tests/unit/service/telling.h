#pragma once

/* Builds the StateUpdate that a gossip process would send. */

#include "common/service/cluster.h"

#define TELLING_MEMBERS_MAX (NK_MEMBERS_MAX + 8)
#define TELLING_SHARDS_MAX  ((size_t)8)

struct telling {
    Norikv__Internal__V1__StateUpdate message; /* points into this struct */
    Norikv__Internal__V1__Member members[TELLING_MEMBERS_MAX];
    Norikv__Internal__V1__Member *member_list[TELLING_MEMBERS_MAX];
    Norikv__Internal__V1__Member removed[TELLING_SHARDS_MAX];
    Norikv__Internal__V1__Member *removed_list[TELLING_SHARDS_MAX];
    Norikv__Internal__V1__ShardState shards[TELLING_SHARDS_MAX];
    Norikv__Internal__V1__ShardState *shard_list[TELLING_SHARDS_MAX];
    char *replicas[TELLING_SHARDS_MAX][NK_CLUSTER_REPLICAS_MAX];
};

/* Empty; large, so it is not for the stack.  Freed with nk_free. */
struct telling *telling_new(uint64_t publisher, uint64_t sequence, uint64_t epoch, bool snapshot);

/* All texts are borrowed.  A member is alive, in session 1, and may be changed where it is. */
Norikv__Internal__V1__Member *telling_member(struct telling *telling, const char *node_id,
                                             const char *role);
void telling_removed(struct telling *telling, const char *node_id, const char *role);

/* With one replica, `node_id`, which also leads. */
Norikv__Internal__V1__ShardState *telling_shard(struct telling *telling, uint32_t shard,
                                                uint64_t term, const char *node_id);

/* Hands it to the cluster and frees it. */
enum nk_err telling_tell(struct telling *telling, struct nk_cluster *cluster);
