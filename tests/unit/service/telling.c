#include "telling.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const texts */
}

struct telling *telling_new(uint64_t publisher, uint64_t sequence, uint64_t epoch, bool snapshot)
{
    struct telling *telling = nk_alloc_zero(1, sizeof *telling);
    Norikv__Internal__V1__StateUpdate *message = &telling->message;
    norikv__internal__v1__state_update__init(message);
    message->publisher = publisher;
    message->sequence = sequence;
    message->epoch = epoch;
    message->snapshot = snapshot;
    message->members = telling->member_list;
    message->removed = telling->removed_list;
    message->shards = telling->shard_list;
    return telling;
}

static void name(Norikv__Internal__V1__Member *member, const char *node_id, const char *role)
{
    norikv__internal__v1__member__init(member);
    member->node_id = text_of(node_id);
    member->role = text_of(role);
}

Norikv__Internal__V1__Member *telling_member(struct telling *telling, const char *node_id,
                                             const char *role)
{
    size_t i = telling->message.n_members++;
    NK_ASSERT(i < TELLING_MEMBERS_MAX);
    Norikv__Internal__V1__Member *member = &telling->members[i];
    name(member, node_id, role);
    member->session = 1;
    member->state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_ALIVE;
    telling->member_list[i] = member;
    return member;
}

void telling_removed(struct telling *telling, const char *node_id, const char *role)
{
    size_t i = telling->message.n_removed++;
    NK_ASSERT(i < TELLING_SHARDS_MAX);
    name(&telling->removed[i], node_id, role);
    telling->removed_list[i] = &telling->removed[i];
}

Norikv__Internal__V1__ShardState *telling_shard(struct telling *telling, uint32_t shard,
                                                uint64_t term, const char *node_id)
{
    size_t i = telling->message.n_shards++;
    NK_ASSERT(i < TELLING_SHARDS_MAX);
    Norikv__Internal__V1__ShardState *state = &telling->shards[i];
    norikv__internal__v1__shard_state__init(state);
    state->shard = shard;
    state->term = term;
    state->leader_node = text_of(node_id);
    telling->replicas[i][0] = text_of(node_id);
    state->replica_nodes = telling->replicas[i];
    state->n_replica_nodes = 1;
    telling->shard_list[i] = state;
    return state;
}

enum nk_err telling_tell(struct telling *telling, struct nk_cluster *cluster)
{
    enum nk_err err = nk_cluster_update(cluster, &telling->message);
    nk_free(telling);
    return err;
}
