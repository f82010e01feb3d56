#pragma once

/* Key to shard, and the two hashes that formats name.
 *
 * XXH64: Yann Collet, xxHash specification.  Jump consistent hash: Lamping and Veach, "A Fast,
 * Minimal Memory, Consistent Hash Algorithm", 2014. */

#include "common/base/bytes.h"

uint64_t nk_xxh64(struct nk_bytes bytes, uint64_t seed);

/* Bucket of `key` among `bucket_count` (> 0): 0 <= result < bucket_count. */
uint32_t nk_jump_hash(uint64_t key, uint32_t bucket_count);

/* jump(xxh64(key, 0), total_shards): the shard that holds `key`. */
uint32_t nk_shard_of_key(struct nk_bytes key, uint32_t total_shards);
