#pragma once

/* Blocks of tables in memory: data, index and filter blocks of all databases share one bound.
 *
 * Any thread.  Nobody waits: a shard of the cache that is busy for longer than a few instructions
 * counts as a miss, or as full. */

#include <stdatomic.h>

#include "common/base/list.h"
#include "services/shardhost/lsm/lsm.h"

/* Some bytes of a table.  Shared by the cache and its readers; constant once inserted. */
struct lsm_cached {
    _Atomic uint32_t references;
    uint8_t uses;    /* since the last look of the eviction; under the shard's latch */
    uint8_t in_main; /* likewise */
    uint64_t table;
    uint64_t offset;
    struct lsm_cached *bucket_next;
    struct nk_list queue;
    size_t size;
    uint8_t data[];
};

enum lsm_cache_class {
    LSM_CACHE_ONCE, /* data: stays only if it is asked for again */
    LSM_CACHE_KEEP, /* index and filter: every read of the table needs them */
};

struct lsm_cache;

void lsm_cache_open(size_t capacity_bytes, struct lsm_stats *stats, struct lsm_cache **out_cache);
void lsm_cache_close(struct lsm_cache **cache); /* nothing is held any more */

/* A name for a table, different from all others of this cache, also of tables long gone. */
uint64_t lsm_cache_name(struct lsm_cache *cache);

/* The block of `table` at `offset`, held for the caller, or NULL. */
struct lsm_cached *lsm_cache_find(struct lsm_cache *cache, uint64_t table, uint64_t offset);

/* New bytes, uninitialised, held by the caller, not yet known to any cache. */
struct lsm_cached *lsm_cached_new(size_t size);

/* Offers bytes to the cache, which takes a hold of its own or declines.  If the block is there
 * already, *block is exchanged for it. */
void lsm_cache_offer(struct lsm_cache *cache, uint64_t table, uint64_t offset,
                     enum lsm_cache_class class, struct lsm_cached **block);

/* Takes `bytes` of the cache's room for a block that somebody keeps outside of it; false if half of
 * the room is taken so already. */
bool lsm_cache_reserve(struct lsm_cache *cache, size_t bytes);
void lsm_cache_unreserve(struct lsm_cache *cache, size_t bytes);

/* Lets go of a block, if it is there.  A shard that is busy keeps it. */
void lsm_cache_forget(struct lsm_cache *cache, uint64_t table, uint64_t offset);

/* One hold more, of a block that somebody holds. */
static inline struct lsm_cached *lsm_cached_hold(struct lsm_cached *block)
{
    atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
    return block;
}

/* Gives up the caller's hold and nulls; NULL is a no-op. */
void lsm_cached_release(struct lsm_cached **block);

static inline struct nk_bytes lsm_cached_bytes(const struct lsm_cached *block)
{
    return nk_bytes_of(block->data, block->size);
}
