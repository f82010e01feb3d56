/* Two sorted arrays of pointers.  Sorted, so that everything derived from them is the same on every
 * machine; pointers, so that an insertion moves eight bytes an entry.  Shards are also found by
 * number directly: the gateway asks for one with every request. */
#include "common/service/cluster.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

struct nk_cluster {
    uint64_t publisher;
    uint64_t sequence;
    uint64_t epoch;

    struct nk_cluster_member **members; /* rising (node_id, role) */
    size_t member_count;
    size_t member_capacity;

    struct nk_cluster_shard **shards; /* rising number */
    size_t shard_count;
    size_t shard_capacity;
    struct nk_cluster_shard **by_number; /* NULL: unknown; each one is also in shards */
    size_t by_number_count;
};

/* Makes room in an array of pointers for one more. */
static void *grow(void *array, size_t count, size_t *capacity)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    return nk_realloc(array, *capacity * sizeof(void *));
}

static int member_order(const struct nk_cluster_member *member, const char *node_id,
                        const char *role)
{
    int order = strcmp(member->node_id, node_id);
    return order != 0 ? order : strcmp(member->role, role);
}

/* The first position that is not below (node_id, role). */
static size_t member_position(const struct nk_cluster *cluster, const char *node_id,
                              const char *role)
{
    size_t first = 0;
    size_t limit = cluster->member_count;
    while (first < limit) {
        size_t middle = first + (limit - first) / 2;
        if (member_order(cluster->members[middle], node_id, role) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static bool member_here(const struct nk_cluster *cluster, size_t position, const char *node_id,
                        const char *role)
{
    return position < cluster->member_count &&
           member_order(cluster->members[position], node_id, role) == 0;
}

static void clear(struct nk_cluster *cluster)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        nk_free(cluster->members[i]);
    }
    cluster->member_count = 0;
    for (size_t i = 0; i < cluster->shard_count; i++) {
        cluster->by_number[cluster->shards[i]->shard] = NULL;
        nk_free(cluster->shards[i]);
    }
    cluster->shard_count = 0;
}

void nk_cluster_new(struct nk_cluster **out_cluster)
{
    *out_cluster = nk_alloc_zero(1, sizeof **out_cluster);
}

void nk_cluster_free(struct nk_cluster **cluster)
{
    if (cluster == NULL || *cluster == NULL) {
        return;
    }
    clear(*cluster);
    nk_free((*cluster)->members);
    nk_free((*cluster)->shards);
    nk_free((*cluster)->by_number);
    nk_free(*cluster);
    *cluster = NULL;
}

/* ---- Updates ---- */

/* Whether one of the messages names this process. */
static bool named(Norikv__Internal__V1__Member *const *messages, size_t count,
                  const Norikv__Internal__V1__Member *member)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(messages[i]->node_id, member->node_id) == 0 &&
            strcmp(messages[i]->role, member->role) == 0) {
            return true;
        }
    }
    return false;
}

/* How many members there would be after a delta, at most. */
static size_t member_count_after(const struct nk_cluster *cluster,
                                 const Norikv__Internal__V1__StateUpdate *update)
{
    size_t count = cluster->member_count;
    for (size_t i = 0; i < update->n_members; i++) {
        const Norikv__Internal__V1__Member *member = update->members[i];
        count += nk_cluster_member(cluster, member->node_id, member->role) == NULL;
    }
    /* Only a table that is nearly full need look at what leaves it: each process once, and not if
     * it comes back in the same delta. */
    for (size_t i = 0; count > NK_MEMBERS_MAX && i < update->n_removed; i++) {
        const Norikv__Internal__V1__Member *removed = update->removed[i];
        count -= nk_cluster_member(cluster, removed->node_id, removed->role) != NULL &&
                 !named(update->removed, i, removed) &&
                 !named(update->members, update->n_members, removed);
    }
    return count;
}

/* Whether every entry makes sense: an update is taken whole or not at all. */
static bool update_valid(const Norikv__Internal__V1__StateUpdate *update)
{
    struct nk_cluster_member member;
    struct nk_cluster_shard shard;
    if (update->publisher == 0 || update->sequence == 0 || update->epoch == 0 ||
        update->n_removed > 2 * NK_MEMBERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < update->n_members; i++) {
        if (nk_cluster_member_read(update->members[i], &member) != NK_OK) {
            return false;
        }
    }
    for (size_t i = 0; i < update->n_shards; i++) {
        if (nk_cluster_shard_read(update->shards[i], &shard) != NK_OK) {
            return false;
        }
    }
    return true;
}

static void apply(struct nk_cluster *cluster, const Norikv__Internal__V1__StateUpdate *update)
{
    for (size_t i = 0; i < update->n_removed; i++) {
        nk_cluster_remove_member(cluster, update->removed[i]->node_id, update->removed[i]->role);
    }
    for (size_t i = 0; i < update->n_members; i++) {
        struct nk_cluster_member member;
        enum nk_err err = nk_cluster_member_read(update->members[i], &member);
        NK_ASSERT(err == NK_OK);
        err = nk_cluster_put_member(cluster, &member);
        NK_ASSERT(err == NK_OK);
    }
    for (size_t i = 0; i < update->n_shards; i++) {
        struct nk_cluster_shard shard;
        enum nk_err err = nk_cluster_shard_read(update->shards[i], &shard);
        NK_ASSERT(err == NK_OK);
        nk_cluster_put_shard(cluster, &shard);
    }
    nk_cluster_stamp(cluster, update->publisher, update->sequence, update->epoch);
}

/* Where the update stands against what is here, before its content is looked at. */
static enum nk_err update_order(const struct nk_cluster *cluster,
                                const Norikv__Internal__V1__StateUpdate *update)
{
    bool same = update->publisher == cluster->publisher;
    if (update->snapshot) {
        bool newer = same ? update->sequence >= cluster->sequence : update->epoch > cluster->epoch;
        return newer ? NK_OK : NK_CONFLICT;
    }
    if (!same) {
        return NK_NOT_FOUND;
    }
    if (update->sequence <= cluster->sequence) {
        return NK_CONFLICT;
    }
    return update->sequence == cluster->sequence + 1 ? NK_OK : NK_NOT_FOUND;
}

enum nk_err nk_cluster_update(struct nk_cluster *cluster,
                              const Norikv__Internal__V1__StateUpdate *update)
{
    if (!update_valid(update)) {
        return NK_INVALID;
    }
    enum nk_err err = update_order(cluster, update);
    if (err != NK_OK) {
        return err;
    }
    bool epoch_valid =
        update->snapshot ? update->epoch >= cluster->epoch : update->epoch > cluster->epoch;
    size_t count = update->snapshot ? update->n_members : member_count_after(cluster, update);
    if (!epoch_valid || count > NK_MEMBERS_MAX) {
        return NK_INVALID;
    }
    if (update->snapshot) {
        clear(cluster);
    }
    apply(cluster, update);
    return NK_OK;
}

/* ---- What is here ---- */

uint64_t nk_cluster_publisher(const struct nk_cluster *cluster)
{
    return cluster->publisher;
}

uint64_t nk_cluster_sequence(const struct nk_cluster *cluster)
{
    return cluster->sequence;
}

uint64_t nk_cluster_epoch(const struct nk_cluster *cluster)
{
    return cluster->epoch;
}

size_t nk_cluster_member_count(const struct nk_cluster *cluster)
{
    return cluster->member_count;
}

const struct nk_cluster_member *nk_cluster_member_at(const struct nk_cluster *cluster, size_t i)
{
    NK_ASSERT(i < cluster->member_count);
    return cluster->members[i];
}

const struct nk_cluster_member *nk_cluster_member(const struct nk_cluster *cluster,
                                                  const char *node_id, const char *role)
{
    size_t position = member_position(cluster, node_id, role);
    return member_here(cluster, position, node_id, role) ? cluster->members[position] : NULL;
}

size_t nk_cluster_shard_count(const struct nk_cluster *cluster)
{
    return cluster->shard_count;
}

const struct nk_cluster_shard *nk_cluster_shard_at(const struct nk_cluster *cluster, size_t i)
{
    NK_ASSERT(i < cluster->shard_count);
    return cluster->shards[i];
}

const struct nk_cluster_shard *nk_cluster_shard(const struct nk_cluster *cluster, uint32_t shard)
{
    return shard < cluster->by_number_count ? cluster->by_number[shard] : NULL;
}

uint32_t nk_cluster_total_shards(const struct nk_cluster *cluster)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct nk_cluster_member *member = cluster->members[i];
        if (strcmp(member->role, "shardhost") == 0 && member->state == NK_MEMBER_ALIVE &&
            member->total_shards > 0) {
            return member->total_shards;
        }
    }
    return 0;
}

/* ---- The publisher's side ---- */

enum nk_err nk_cluster_put_member(struct nk_cluster *cluster,
                                  const struct nk_cluster_member *member)
{
    size_t position = member_position(cluster, member->node_id, member->role);
    if (member_here(cluster, position, member->node_id, member->role)) {
        *cluster->members[position] = *member;
        return NK_OK;
    }
    if (cluster->member_count == NK_MEMBERS_MAX) {
        return NK_BUSY;
    }
    cluster->members = grow(cluster->members, cluster->member_count, &cluster->member_capacity);
    memmove(cluster->members + position + 1, cluster->members + position,
            (cluster->member_count - position) * sizeof(void *));
    cluster->members[position] = nk_alloc(sizeof *member);
    *cluster->members[position] = *member;
    cluster->member_count++;
    return NK_OK;
}

void nk_cluster_remove_member(struct nk_cluster *cluster, const char *node_id, const char *role)
{
    size_t position = member_position(cluster, node_id, role);
    if (!member_here(cluster, position, node_id, role)) {
        return;
    }
    nk_free(cluster->members[position]);
    cluster->member_count--;
    memmove(cluster->members + position, cluster->members + position + 1,
            (cluster->member_count - position) * sizeof(void *));
}

static void grow_numbers(struct nk_cluster *cluster, uint32_t shard)
{
    if (shard < cluster->by_number_count) {
        return;
    }
    size_t count = cluster->by_number_count == 0 ? 64 : cluster->by_number_count;
    while (count <= shard) {
        count *= 2;
    }
    cluster->by_number = nk_realloc(cluster->by_number, count * sizeof(void *));
    for (size_t i = cluster->by_number_count; i < count; i++) {
        cluster->by_number[i] = NULL;
    }
    cluster->by_number_count = count;
}

void nk_cluster_put_shard(struct nk_cluster *cluster, const struct nk_cluster_shard *shard)
{
    NK_ASSERT(shard->shard < NK_SHARDS_MAX);
    NK_ASSERT(shard->replica_count <= NK_CLUSTER_REPLICAS_MAX);
    grow_numbers(cluster, shard->shard);
    struct nk_cluster_shard *here = cluster->by_number[shard->shard];
    if (here == NULL) {
        here = nk_alloc(sizeof *here);
        cluster->by_number[shard->shard] = here;
        cluster->shards = grow(cluster->shards, cluster->shard_count, &cluster->shard_capacity);
        /* Reports come in rising order as a rule, so this walk is short. */
        size_t position = cluster->shard_count;
        while (position > 0 && cluster->shards[position - 1]->shard > shard->shard) {
            cluster->shards[position] = cluster->shards[position - 1];
            position--;
        }
        cluster->shards[position] = here;
        cluster->shard_count++;
    }
    *here = *shard;
}

void nk_cluster_stamp(struct nk_cluster *cluster, uint64_t publisher, uint64_t sequence,
                      uint64_t epoch)
{
    NK_ASSERT(publisher != 0);
    NK_ASSERT(epoch >= cluster->epoch);
    cluster->publisher = publisher;
    cluster->sequence = sequence;
    cluster->epoch = epoch;
}
