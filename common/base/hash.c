#include "common/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/base/assert.h"

uint64_t nk_xxh64(struct nk_bytes bytes, uint64_t seed)
{
    return XXH64(bytes.data, bytes.size, seed);
}

/* The paper divides in floating point; this is the same step on integers, as the protocol writes
 * it: j = (b + 1) * 2^31 / ((key >> 33) + 1).  b + 1 has at most 32 bits, so the product fits
 * in 63. */
uint32_t nk_jump_hash(uint64_t key, uint32_t bucket_count)
{
    NK_ASSERT(bucket_count > 0);
    uint64_t bucket = 0;
    uint64_t jump = 0;
    while (jump < bucket_count) {
        bucket = jump;
        key = key * UINT64_C(2862933555777941757) + 1;
        jump = ((bucket + 1) << 31) / ((key >> 33) + 1);
    }
    return (uint32_t)bucket;
}

uint32_t nk_shard_of_key(struct nk_bytes key, uint32_t total_shards)
{
    return nk_jump_hash(nk_xxh64(key, 0), total_shards);
}
