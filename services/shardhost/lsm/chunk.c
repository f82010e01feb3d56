/* Chunks of memtables, recycled by size class.
 *
 * Giving the memory of a memtable back to the system all at once would stop the loop for
 * milliseconds, so its chunks are idle first and leave one by one.
 *
 * Invariant: idle chunks exist only while held_bytes <= budget_bytes, so what the pool keeps never
 * adds to the peak that the budget allows. */

#include "services/shardhost/lsm/chunk.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

static_assert(LSM_CHUNK_BYTES_MIN << (LSM_CHUNK_CLASS_COUNT - 1) == LSM_CHUNK_BYTES_MAX,
              "one class per power of two");
static_assert(sizeof(struct lsm_chunk) == 16, "what follows the header is aligned to 16 bytes");

void lsm_chunk_pool_init(struct lsm_chunk_pool *pool, size_t budget_bytes,
                         struct nk_gauge *in_use_bytes)
{
    memset(pool, 0, sizeof *pool);
    pool->budget_bytes = budget_bytes;
    pool->in_use_bytes = in_use_bytes;
}

static void release_idle(struct lsm_chunk_pool *pool, size_t class)
{
    struct lsm_chunk *chunk = pool->idle[class];
    pool->idle[class] = chunk->next;
    pool->idle_bytes -= chunk->size_bytes;
    pool->held_bytes -= chunk->size_bytes;
    nk_free(chunk);
}

/* Large chunks go first: few calls, much memory. */
static void trim(struct lsm_chunk_pool *pool)
{
    for (size_t class = LSM_CHUNK_CLASS_COUNT; class > 0; class --) {
        while (pool->held_bytes > pool->budget_bytes && pool->idle[class - 1] != NULL) {
            release_idle(pool, class - 1);
        }
    }
}

void lsm_chunk_pool_shrink(struct lsm_chunk_pool *pool)
{
    for (size_t class = LSM_CHUNK_CLASS_COUNT; class > 0; class --) {
        if (pool->idle[class - 1] != NULL) {
            release_idle(pool, class - 1);
            return;
        }
    }
}

void lsm_chunk_pool_deinit(struct lsm_chunk_pool *pool)
{
    pool->budget_bytes = 0;
    trim(pool);
    NK_ASSERT(pool->held_bytes == 0);
}

/* False for the odd sizes of large records. */
static bool class_of(size_t size_bytes, size_t *out_class)
{
    for (size_t class = 0; class < LSM_CHUNK_CLASS_COUNT; class ++) {
        if (size_bytes == LSM_CHUNK_BYTES_MIN << class) {
            *out_class = class;
            return true;
        }
    }
    return false;
}

struct lsm_chunk *lsm_chunk_take(struct lsm_chunk_pool *pool, size_t size_bytes)
{
    size_t class = 0;
    struct lsm_chunk *chunk;
    bool regular = class_of(size_bytes, &class);
    if (regular && pool->idle[class] != NULL) {
        chunk = pool->idle[class];
        pool->idle[class] = chunk->next;
        pool->idle_bytes -= size_bytes;
    } else {
        chunk = nk_alloc(size_bytes);
        chunk->size_bytes = size_bytes;
        pool->held_bytes += size_bytes;
        trim(pool);
    }
    chunk->next = NULL;
    nk_gauge_add(pool->in_use_bytes, (int64_t)size_bytes);
    return chunk;
}

void lsm_chunk_give_back(struct lsm_chunk_pool *pool, struct lsm_chunk *chunks)
{
    while (chunks != NULL) {
        struct lsm_chunk *next = chunks->next;
        size_t class = 0;
        nk_gauge_add(pool->in_use_bytes, -(int64_t)chunks->size_bytes);
        if (pool->held_bytes <= pool->budget_bytes && class_of(chunks->size_bytes, &class)) {
            chunks->next = pool->idle[class];
            pool->idle[class] = chunks;
            pool->idle_bytes += chunks->size_bytes;
        } else {
            pool->held_bytes -= chunks->size_bytes;
            nk_free(chunks);
        }
        chunks = next;
    }
}
