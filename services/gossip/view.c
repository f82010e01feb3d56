/* The state itself is a struct nk_cluster, the same table that every receiver keeps.  Besides there
 * is only what changed since the last delta: names of members, numbers of shards.  A changed member
 * that is no longer in the table was removed. */
#include "view.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/map.h"
#include "proto/frame.h"

#define SHARDS_PER_DELTA  ((size_t)4096)

/* Packed sizes at most: seven names with tags and lengths, and the rest. */
#define SHARD_BYTES_MAX   ((NK_CLUSTER_REPLICAS_MAX + 1) * (NK_NODE_ID_BYTES_MAX + 2) + 32)
#define MEMBER_BYTES_MAX  (3 * (NK_ADDRESS_BYTES_MAX + 3) + NK_NODE_ID_BYTES_MAX + 64)
#define MEMBERS_BYTES_MAX (NK_MEMBERS_MAX * MEMBER_BYTES_MAX)

static_assert(MEMBERS_BYTES_MAX * 2 + SHARDS_PER_DELTA * SHARD_BYTES_MAX <
                  NK_FRAME_BYTES_MAX - NK_FRAME_HEADER_BYTES - 64,
              "a delta always fits a frame");

/* What a snapshot may spend on shards. */
#define SNAPSHOT_SHARD_BYTES_MAX                                                                   \
    (NK_FRAME_BYTES_MAX - NK_FRAME_HEADER_BYTES - 64 - MEMBERS_BYTES_MAX)

struct changed_member {
    char node_id[NK_NODE_ID_BYTES_MAX + 1];
    char role[sizeof((struct nk_cluster_member *)0)->role];
};

struct gossip_view {
    uint64_t publisher;
    struct nk_cluster *cluster;
    struct nk_map changed_members; /* struct changed_member -> an owned copy of it */
    struct nk_map changed_shards;  /* shard number -> anything */
};

void gossip_view_new(uint64_t publisher, struct gossip_view **out_view)
{
    NK_ASSERT(publisher != 0);
    struct gossip_view *view = nk_alloc_zero(1, sizeof *view);
    view->publisher = publisher;
    nk_cluster_new(&view->cluster);
    nk_map_init(&view->changed_members);
    nk_map_init(&view->changed_shards);
    *out_view = view;
}

static void forget_changed_members(struct gossip_view *view)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&view->changed_members, &position); entry != NULL;
         entry = nk_map_next(&view->changed_members, &position)) {
        nk_free(entry->value);
    }
    nk_map_deinit(&view->changed_members);
}

void gossip_view_free(struct gossip_view **view)
{
    if (view == NULL || *view == NULL) {
        return;
    }
    nk_cluster_free(&(*view)->cluster);
    forget_changed_members(*view);
    nk_map_deinit(&(*view)->changed_shards);
    nk_free(*view);
    *view = NULL;
}

const struct nk_cluster *gossip_view_cluster(const struct gossip_view *view)
{
    return view->cluster;
}

/* ---- Changes ---- */

static void member_changed(struct gossip_view *view, const char *node_id, const char *role)
{
    struct changed_member *changed = nk_alloc_zero(1, sizeof *changed);
    memcpy(changed->node_id, node_id, strlen(node_id));
    memcpy(changed->role, role, strlen(role));
    nk_free(nk_map_put(&view->changed_members, nk_bytes_of(changed, sizeof *changed), changed));
}

enum nk_err gossip_view_put_member(struct gossip_view *view, const struct nk_cluster_member *member)
{
    enum nk_err err = nk_cluster_put_member(view->cluster, member);
    if (err == NK_OK) {
        member_changed(view, member->node_id, member->role);
    }
    return err;
}

void gossip_view_remove_member(struct gossip_view *view, const char *node_id, const char *role)
{
    member_changed(view, node_id, role);
    nk_cluster_remove_member(view->cluster, node_id, role);
}

static void put_shard(struct gossip_view *view, const struct nk_cluster_shard *shard)
{
    nk_cluster_put_shard(view->cluster, shard);
    (void)nk_map_put(&view->changed_shards, nk_bytes_of(&shard->shard, sizeof shard->shard), view);
}

static bool shardhost_alive(const struct gossip_view *view, const char *node_id)
{
    const struct nk_cluster_member *member = nk_cluster_member(view->cluster, node_id, "shardhost");
    return member != NULL && member->state == NK_MEMBER_ALIVE;
}

/* What is known after a report of the same term.  The leader speaks for its shard; everybody else
 * only fills what is not known. */
static struct nk_cluster_shard merge(const struct nk_cluster_shard *known,
                                     const struct nk_cluster_shard *report, const char *node_id)
{
    bool leader_speaks =
        strcmp(known->leader_node, node_id) == 0 || strcmp(report->leader_node, node_id) == 0;
    return leader_speaks || known->leader_node[0] == '\0' ? *report : *known;
}

void gossip_view_report(struct gossip_view *view, const char *node_id,
                        const struct nk_cluster_shard *shard)
{
    struct nk_cluster_shard report = *shard;
    if (!shardhost_alive(view, report.leader_node)) {
        memset(report.leader_node, 0, sizeof report.leader_node);
    }
    const struct nk_cluster_shard *known = nk_cluster_shard(view->cluster, report.shard);
    if (known != NULL) {
        if (report.term < known->term) {
            return;
        }
        if (report.term == known->term) {
            report = merge(known, &report, node_id);
        }
        if (memcmp(known, &report, sizeof report) == 0) {
            return;
        }
    }
    put_shard(view, &report);
}

static bool only_replica(const struct nk_cluster_shard *shard, const char *node_id)
{
    return shard->replica_count == 1 && strcmp(shard->replica_nodes[0], node_id) == 0;
}

static void leave_shards(struct gossip_view *view, const char *node_id, bool reborn)
{
    for (size_t i = 0; i < nk_cluster_shard_count(view->cluster); i++) {
        const struct nk_cluster_shard *known = nk_cluster_shard_at(view->cluster, i);
        struct nk_cluster_shard shard = *known;
        if (strcmp(known->leader_node, node_id) == 0) {
            memset(shard.leader_node, 0, sizeof shard.leader_node);
        }
        if (reborn && only_replica(known, node_id)) {
            shard.term = 0;
        }
        if (memcmp(known, &shard, sizeof shard) != 0) {
            put_shard(view, &shard);
        }
    }
}

void gossip_view_node_failed(struct gossip_view *view, const char *node_id)
{
    leave_shards(view, node_id, false);
}

void gossip_view_node_reborn(struct gossip_view *view, const char *node_id)
{
    leave_shards(view, node_id, true);
}

/* ---- Updates ---- */

bool gossip_view_changed(const struct gossip_view *view)
{
    return view->changed_members.count > 0 || view->changed_shards.count > 0;
}

/* A message under construction: arrays of what it points at. */
struct update {
    Norikv__Internal__V1__StateUpdate message;
    Norikv__Internal__V1__Member *members;
    Norikv__Internal__V1__Member **member_list;
    Norikv__Internal__V1__Member **removed_list;
    Norikv__Internal__V1__ShardState *shards;
    Norikv__Internal__V1__ShardState **shard_list;
    char **replicas; /* NK_CLUSTER_REPLICAS_MAX for each shard */
};

static void update_init(struct update *update, size_t member_capacity, size_t shard_capacity)
{
    norikv__internal__v1__state_update__init(&update->message);
    update->members = nk_alloc(member_capacity * sizeof *update->members);
    update->member_list = nk_alloc(member_capacity * sizeof *update->member_list);
    update->removed_list = nk_alloc(member_capacity * sizeof *update->removed_list);
    update->shards = nk_alloc(shard_capacity * sizeof *update->shards);
    update->shard_list = nk_alloc(shard_capacity * sizeof *update->shard_list);
    update->replicas = nk_alloc(shard_capacity * NK_CLUSTER_REPLICAS_MAX * sizeof(char *));
    update->message.members = update->member_list;
    update->message.removed = update->removed_list;
    update->message.shards = update->shard_list;
}

static void update_deinit(struct update *update)
{
    nk_free(update->members);
    nk_free(update->member_list);
    nk_free(update->removed_list);
    nk_free(update->shards);
    nk_free(update->shard_list);
    nk_free(update->replicas);
}

static Norikv__Internal__V1__Member *update_next_member(struct update *update)
{
    return &update->members[update->message.n_members + update->message.n_removed];
}

static void update_add_member(struct update *update, const struct nk_cluster_member *member)
{
    Norikv__Internal__V1__Member *message = update_next_member(update);
    nk_cluster_member_write(member, message);
    update->member_list[update->message.n_members++] = message;
}

static void update_add_removed(struct update *update, struct changed_member *removed)
{
    Norikv__Internal__V1__Member *message = update_next_member(update);
    norikv__internal__v1__member__init(message);
    message->node_id = removed->node_id;
    message->role = removed->role;
    update->removed_list[update->message.n_removed++] = message;
}

/* Returns the packed size of the entry. */
static size_t update_add_shard(struct update *update, const struct nk_cluster_shard *shard)
{
    size_t i = update->message.n_shards++;
    nk_cluster_shard_write(shard, update->replicas + i * NK_CLUSTER_REPLICAS_MAX,
                           &update->shards[i]);
    update->shard_list[i] = &update->shards[i];
    size_t size = norikv__internal__v1__shard_state__get_packed_size(&update->shards[i]);
    NK_ASSERT(size <= SHARD_BYTES_MAX);
    return size;
}

static void update_pack(struct update *update, const struct gossip_view *view, struct nk_buf *out)
{
    update->message.publisher = view->publisher;
    update->message.sequence = nk_cluster_sequence(view->cluster);
    update->message.epoch = nk_cluster_epoch(view->cluster);
    nk_frame_pack(out, NK_FRAME_STATE_UPDATE, &update->message.base);
}

void gossip_view_delta(struct gossip_view *view, uint64_t epoch, struct nk_buf *out)
{
    NK_ASSERT(gossip_view_changed(view));
    NK_ASSERT(epoch > nk_cluster_epoch(view->cluster));
    struct update update;
    update_init(&update, view->changed_members.count,
                nk_min_size(view->changed_shards.count, SHARDS_PER_DELTA));
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&view->changed_members, &position)) != NULL) {
        struct changed_member *changed = entry->value;
        const struct nk_cluster_member *member =
            nk_cluster_member(view->cluster, changed->node_id, changed->role);
        if (member != NULL) {
            update_add_member(&update, member);
        } else {
            update_add_removed(&update, changed);
        }
    }
    position = 0;
    while (update.message.n_shards < SHARDS_PER_DELTA &&
           (entry = nk_map_next(&view->changed_shards, &position)) != NULL) {
        uint32_t shard;
        memcpy(&shard, entry->key, sizeof shard);
        (void)update_add_shard(&update, nk_cluster_shard(view->cluster, shard));
        (void)nk_map_remove(&view->changed_shards, nk_bytes_of(&shard, sizeof shard));
    }
    nk_cluster_stamp(view->cluster, view->publisher, nk_cluster_sequence(view->cluster) + 1, epoch);
    update_pack(&update, view, out);
    update_deinit(&update);
    forget_changed_members(view);
}

size_t gossip_view_snapshot(const struct gossip_view *view, struct nk_buf *out)
{
    NK_ASSERT(!gossip_view_changed(view));
    size_t member_count = nk_cluster_member_count(view->cluster);
    size_t shard_count = nk_cluster_shard_count(view->cluster);
    struct update update;
    update_init(&update, member_count, shard_count);
    for (size_t i = 0; i < member_count; i++) {
        update_add_member(&update, nk_cluster_member_at(view->cluster, i));
    }
    size_t size = 0;
    while (update.message.n_shards < shard_count &&
           size + SHARD_BYTES_MAX + 4 <= SNAPSHOT_SHARD_BYTES_MAX) {
        size += 4 + update_add_shard(&update,
                                     nk_cluster_shard_at(view->cluster, update.message.n_shards));
    }
    update.message.snapshot = true;
    size_t missing = shard_count - update.message.n_shards;
    update_pack(&update, view, out);
    update_deinit(&update);
    return missing;
}
