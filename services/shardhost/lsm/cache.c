/* The block cache: S3-FIFO in shards.
 *
 * A new data block enters a small queue (a tenth of the room).  If nobody asked for it again by the
 * time it reaches the end, it leaves, and only its name is remembered for a while (the ghost); a
 * block that comes back within that time, or was asked for meanwhile, enters the main queue, where
 * each use buys another round.  So a scan passes through the small queue and leaves the main one
 * alone.
 *
 * Each shard has a latch, an atomic flag held for some tens of instructions.  Whoever finds it
 * taken tries a bounded number of times and then does without the cache: a lookup is a miss, an
 * offer is declined.  Nothing ever waits for a thread that was put to sleep inside.
 *
 * Blocks that every read of a table needs may be kept by the table itself, within half of the room:
 * they take room here, and no lookup.
 *
 * A block is held by whoever reads it; the last one out frees it.  The cache never counts on a
 * block being free: one that is held is passed over by the eviction.
 *
 * Source: Yang, Zhang, Qiu, Yue, Vinayak, "FIFO queues are all you need for cache eviction", 2023.
 */

#include "services/shardhost/lsm/cache.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#define SHARD_COUNT_MAX 16
#define SHARD_BYTES_MIN (8 * NK_MIB) /* of more than one shard, so that a large filter fits */
#define BLOCK_BYTES     4096         /* what most blocks are like */
#define USES_MAX        3
#define LATCH_TRIES     64
#define SMALL_SHARE     10 /* the small queue gets 1 / 10 */

struct shard {
    atomic_flag latch;
    struct nk_list small; /* newest first */
    struct nk_list main;
    size_t small_bytes;
    size_t main_bytes;
    size_t count;
    size_t capacity_bytes;
    struct lsm_cached **buckets;
    uint64_t *ghosts;    /* sequence << 32 | part of the name's hash */
    uint32_t ghost_next; /* sequence of the next ghost */
    uint32_t slot_mask;  /* of buckets and ghosts */
};

struct lsm_cache {
    struct lsm_stats *stats;
    _Atomic uint64_t name_next;
    _Atomic size_t reserved_bytes; /* kept outside; taken off the room of all shards alike */
    size_t reserved_max;
    size_t shard_count; /* power of two */
    struct shard shards[];
};

/* ---- Names ---- */

static uint64_t hash_name(uint64_t table, uint64_t offset)
{
    uint64_t x = table * UINT64_C(0x9E3779B97F4A7C15) ^ offset; /* then the splitmix64 finalizer */
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static struct shard *shard_of(struct lsm_cache *cache, uint64_t hash)
{
    return &cache->shards[(hash >> 58) & (cache->shard_count - 1)];
}

static struct lsm_cached **bucket_of(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[(uint32_t)hash & shard->slot_mask];
}

static struct lsm_cached **find_slot(struct shard *shard, uint64_t hash, uint64_t table,
                                     uint64_t offset)
{
    struct lsm_cached **slot = bucket_of(shard, hash);
    while (*slot != NULL && ((*slot)->table != table || (*slot)->offset != offset)) {
        slot = &(*slot)->bucket_next;
    }
    return slot;
}

/* ---- The latch ---- */

static bool latch(struct shard *shard)
{
    for (unsigned i = 0; i < LATCH_TRIES; i++) {
        if (!atomic_flag_test_and_set_explicit(&shard->latch, memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

static void unlatch(struct shard *shard)
{
    atomic_flag_clear_explicit(&shard->latch, memory_order_release);
}

/* ---- Blocks ---- */

struct lsm_cached *lsm_cached_new(size_t size)
{
    struct lsm_cached *block = nk_alloc(sizeof *block + size);
    memset(block, 0, sizeof *block);
    atomic_init(&block->references, 1);
    nk_list_init(&block->queue);
    block->size = size;
    return block;
}

void lsm_cached_release(struct lsm_cached **block)
{
    if (*block == NULL) {
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&(*block)->references, 1, memory_order_acq_rel);
    NK_ASSERT(before > 0);
    if (before == 1) {
        nk_free(*block);
    }
    *block = NULL;
}

static size_t charge_of(const struct lsm_cached *block)
{
    return sizeof *block + block->size;
}

/* ---- Eviction: the latch is held ---- */

static void remember(struct shard *shard, uint64_t hash)
{
    shard->ghosts[(uint32_t)hash & shard->slot_mask] =
        (uint64_t)shard->ghost_next++ << 32 | hash >> 32;
}

static bool is_remembered(const struct shard *shard, uint64_t hash)
{
    uint64_t ghost = shard->ghosts[(uint32_t)hash & shard->slot_mask];
    uint32_t age = shard->ghost_next - (uint32_t)(ghost >> 32);
    return ghost != 0 && (uint32_t)ghost == (uint32_t)(hash >> 32) && age <= shard->count;
}

static void enqueue(struct shard *shard, struct lsm_cached *block, bool in_main)
{
    block->in_main = in_main;
    nk_list_prepend(in_main ? &shard->main : &shard->small, &block->queue);
    *(in_main ? &shard->main_bytes : &shard->small_bytes) += charge_of(block);
}

static void dequeue(struct shard *shard, struct lsm_cached *block)
{
    nk_list_remove(&block->queue);
    *(block->in_main ? &shard->main_bytes : &shard->small_bytes) -= charge_of(block);
}

static bool is_held(const struct lsm_cached *block)
{
    return atomic_load_explicit(&block->references, memory_order_acquire) > 1;
}

static void drop(struct lsm_cache *cache, struct shard *shard, struct lsm_cached *block,
                 bool remembered)
{
    uint64_t hash = hash_name(block->table, block->offset);
    struct lsm_cached **slot = find_slot(shard, hash, block->table, block->offset);
    NK_ASSERT(*slot == block);
    *slot = block->bucket_next;
    dequeue(shard, block);
    shard->count--;
    nk_gauge_add(&cache->stats->cache_bytes, -(int64_t)charge_of(block));
    if (remembered && !block->in_main) {
        remember(shard, hash);
    }
    lsm_cached_release(&block);
}

/* Makes room for `charge` bytes; false if too much is held. */
static bool make_room(struct lsm_cache *cache, struct shard *shard, size_t charge)
{
    size_t steps_left = (USES_MAX + 2) * (shard->count + 1); /* each use buys one round */
    size_t reserved = atomic_load_explicit(&cache->reserved_bytes, memory_order_relaxed);
    reserved = nk_min_size(reserved, cache->reserved_max); /* it may be over for a moment */
    size_t capacity = shard->capacity_bytes - reserved / cache->shard_count;
    while (shard->small_bytes + shard->main_bytes + charge > capacity) {
        if (shard->count == 0 || steps_left-- == 0) {
            return false;
        }
        bool from_small =
            nk_list_empty(&shard->main) || shard->small_bytes > capacity / SMALL_SHARE;
        struct nk_list *oldest = (from_small ? &shard->small : &shard->main)->prev;
        struct lsm_cached *block = NK_CONTAINER_OF(oldest, struct lsm_cached, queue);
        if (block->uses == 0 && !is_held(block)) {
            drop(cache, shard, block, true);
            continue;
        }
        dequeue(shard, block);
        if (block->in_main && block->uses > 0) {
            block->uses--;
        } else if (!block->in_main) {
            block->uses = 0;
        }
        enqueue(shard, block, true);
    }
    return true;
}

/* ---- Calls ---- */

uint64_t lsm_cache_name(struct lsm_cache *cache)
{
    return atomic_fetch_add_explicit(&cache->name_next, 1, memory_order_relaxed);
}

struct lsm_cached *lsm_cache_find(struct lsm_cache *cache, uint64_t table, uint64_t offset)
{
    uint64_t hash = hash_name(table, offset);
    struct shard *shard = shard_of(cache, hash);
    struct lsm_cached *block = NULL;
    if (latch(shard)) {
        block = *find_slot(shard, hash, table, offset);
        if (block != NULL) {
            atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
            if (block->uses < USES_MAX) {
                block->uses++;
            }
        }
        unlatch(shard);
    }
    return block;
}

void lsm_cache_offer(struct lsm_cache *cache, uint64_t table, uint64_t offset,
                     enum lsm_cache_class class, struct lsm_cached **block)
{
    NK_ASSERT(!nk_list_linked(&(*block)->queue));
    uint64_t hash = hash_name(table, offset);
    struct shard *shard = shard_of(cache, hash);
    size_t charge = charge_of(*block);
    if (charge > shard->capacity_bytes || !latch(shard)) {
        return;
    }
    struct lsm_cached *present = *find_slot(shard, hash, table, offset);
    if (present != NULL) {
        atomic_fetch_add_explicit(&present->references, 1, memory_order_relaxed);
    } else if (make_room(cache, shard, charge)) {
        (*block)->table = table;
        (*block)->offset = offset;
        (*block)->bucket_next = *bucket_of(shard, hash);
        *bucket_of(shard, hash) = *block;
        enqueue(shard, *block, class == LSM_CACHE_KEEP || is_remembered(shard, hash));
        (*block)->uses = class == LSM_CACHE_KEEP ? 1 : 0;
        shard->count++;
        atomic_fetch_add_explicit(&(*block)->references, 1, memory_order_relaxed);
        nk_gauge_add(&cache->stats->cache_bytes, (int64_t)charge);
    }
    unlatch(shard);
    if (present != NULL) {
        lsm_cached_release(block);
        *block = present;
    }
}

bool lsm_cache_reserve(struct lsm_cache *cache, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&cache->reserved_bytes, bytes, memory_order_relaxed);
    if (before + bytes > cache->reserved_max) {
        atomic_fetch_sub_explicit(&cache->reserved_bytes, bytes, memory_order_relaxed);
        return false;
    }
    nk_gauge_add(&cache->stats->cache_bytes, (int64_t)bytes);
    return true;
}

void lsm_cache_unreserve(struct lsm_cache *cache, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(&cache->reserved_bytes, bytes, memory_order_relaxed);
    NK_ASSERT(before >= bytes);
    nk_gauge_add(&cache->stats->cache_bytes, -(int64_t)bytes);
}

void lsm_cache_forget(struct lsm_cache *cache, uint64_t table, uint64_t offset)
{
    uint64_t hash = hash_name(table, offset);
    struct shard *shard = shard_of(cache, hash);
    if (latch(shard)) {
        struct lsm_cached *block = *find_slot(shard, hash, table, offset);
        if (block != NULL) {
            drop(cache, shard, block, false);
        }
        unlatch(shard);
    }
}

/* ---- Life ---- */

static void shard_open(struct shard *shard, size_t capacity_bytes)
{
    size_t slots = 16;
    while (slots < capacity_bytes / BLOCK_BYTES && slots < UINT32_MAX / 2) {
        slots *= 2;
    }
    memset(shard, 0, sizeof *shard);
    atomic_flag_clear(&shard->latch);
    nk_list_init(&shard->small);
    nk_list_init(&shard->main);
    shard->capacity_bytes = capacity_bytes;
    shard->slot_mask = (uint32_t)(slots - 1);
    shard->buckets = nk_alloc_zero(slots, sizeof(struct lsm_cached *));
    shard->ghosts = nk_alloc_zero(slots, sizeof *shard->ghosts);
    shard->ghost_next = 1;
}

void lsm_cache_open(size_t capacity_bytes, struct lsm_stats *stats, struct lsm_cache **out_cache)
{
    size_t count = 1;
    while (count < SHARD_COUNT_MAX && capacity_bytes / (2 * count) >= SHARD_BYTES_MIN) {
        count *= 2;
    }
    size_t size = sizeof(struct lsm_cache) + count * sizeof(struct shard);
    struct lsm_cache *cache = nk_alloc_zero(1, size);
    cache->stats = stats;
    cache->shard_count = count;
    cache->reserved_max = capacity_bytes / 2;
    for (size_t i = 0; i < count; i++) {
        shard_open(&cache->shards[i], capacity_bytes / count);
    }
    *out_cache = cache;
}

void lsm_cache_close(struct lsm_cache **cache)
{
    if (*cache == NULL) {
        return;
    }
    for (size_t i = 0; i < (*cache)->shard_count; i++) {
        struct shard *shard = &(*cache)->shards[i];
        for (size_t slot = 0; slot <= shard->slot_mask; slot++) {
            while (shard->buckets[slot] != NULL) {
                NK_ASSERT(!is_held(shard->buckets[slot]));
                drop(*cache, shard, shard->buckets[slot], false);
            }
        }
        nk_free(shard->buckets);
        nk_free(shard->ghosts);
    }
    nk_free(*cache);
    *cache = NULL;
}
