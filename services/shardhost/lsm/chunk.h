#pragma once

/* The memory of memtables: chunks of a few sizes.  Those of a dropped memtable are there for the
 * next one, as long as all chunks together stay within the write buffer budget, until the owner
 * lets go of them bit by bit.  Loop thread only. */

#include <stdint.h>

#include "common/env/meter.h"

#define LSM_CHUNK_BYTES_MIN   ((size_t)4096)
#define LSM_CHUNK_BYTES_MAX   ((size_t)1 << 20)
#define LSM_CHUNK_CLASS_COUNT 9 /* powers of two, both ends included */

struct lsm_chunk {
    struct lsm_chunk *next;
    size_t size_bytes; /* with this header */
};

struct lsm_chunk_pool {
    struct lsm_chunk *idle[LSM_CHUNK_CLASS_COUNT];
    size_t held_bytes; /* in use and idle */
    size_t idle_bytes;
    size_t budget_bytes; /* idle chunks are given back while held_bytes exceeds it */
    struct nk_gauge *in_use_bytes;
};

void lsm_chunk_pool_init(struct lsm_chunk_pool *pool, size_t budget_bytes,
                         struct nk_gauge *in_use_bytes);
void lsm_chunk_pool_deinit(struct lsm_chunk_pool *pool); /* every chunk has come back (asserted) */

/* Lets go of one idle chunk, a large one first, if there is any. */
void lsm_chunk_pool_shrink(struct lsm_chunk_pool *pool);

/* A chunk of exactly `size_bytes`.  Only powers of two between MIN and MAX are kept for reuse.  The
 * header is filled in, `next` is NULL. */
struct lsm_chunk *lsm_chunk_take(struct lsm_chunk_pool *pool, size_t size_bytes);

/* Gives back a list linked by `next`; NULL is a no-op. */
void lsm_chunk_give_back(struct lsm_chunk_pool *pool, struct lsm_chunk *chunks);
