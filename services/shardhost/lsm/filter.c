#include "services/shardhost/lsm/filter.h"

#include "common/base/assert.h"
#include "common/base/hash.h"
#include "common/base/units.h"

/* Shards are chosen by the hash with seed 0; the keys of one table must not be alike in ours. */
#define HASH_SEED  UINT64_C(0x6C736D66696C7465)
#define LINE_BITS  (LSM_FILTER_LINE_BYTES * 8)
#define BITS_MAX   1000
#define TAIL_BYTES 1 /* the number of probes */

uint64_t lsm_filter_hash(struct nk_bytes key)
{
    return nk_xxh64(key, HASH_SEED);
}

/* The optimum for a classical filter is bits * ln 2. */
static uint32_t probes_of(uint32_t bits_per_key)
{
    uint32_t probes = (uint32_t)(nk_min_u64(bits_per_key, BITS_MAX) * 69 / 100);
    return (uint32_t)nk_min_u64(nk_max_u64(probes, 1), LSM_FILTER_PROBES_MAX);
}

/* The high half picks the line, scaled rather than divided. */
static size_t line_of(uint64_t hash, size_t line_count)
{
    return (size_t)(((hash >> 32) * (uint64_t)line_count) >> 32);
}

/* The low half makes the probes: nine high bits each time, stirred by an odd constant. */
static uint32_t stir(uint32_t state)
{
    return state * UINT32_C(0x9E3779B1);
}

void lsm_filter_build(const uint64_t *hashes, size_t count, uint32_t bits_per_key,
                      struct nk_buf *out)
{
    NK_ASSERT(count > 0);
    NK_ASSERT(bits_per_key > 0);
    uint64_t bits = (uint64_t)count * nk_min_u64(bits_per_key, BITS_MAX);
    size_t line_count = (size_t)((bits + LINE_BITS - 1) / LINE_BITS);
    NK_ASSERT(line_count <= UINT32_MAX);
    uint32_t probes = probes_of(bits_per_key);
    uint8_t *lines = nk_buf_extend(out, line_count * LSM_FILTER_LINE_BYTES + TAIL_BYTES);
    memset(lines, 0, line_count * LSM_FILTER_LINE_BYTES);
    for (size_t i = 0; i < count; i++) {
        uint8_t *line = lines + line_of(hashes[i], line_count) * LSM_FILTER_LINE_BYTES;
        uint32_t state = (uint32_t)hashes[i];
        for (uint32_t probe = 0; probe < probes; probe++) {
            state = stir(state);
            uint32_t bit = state >> 23;
            line[bit >> 3] |= (uint8_t)(1u << (bit & 7));
        }
    }
    lines[line_count * LSM_FILTER_LINE_BYTES] = (uint8_t)probes;
}

bool lsm_filter_may_contain(struct nk_bytes filter, uint64_t hash)
{
    if (filter.size <= LSM_FILTER_LINE_BYTES || filter.size % LSM_FILTER_LINE_BYTES != TAIL_BYTES) {
        return true;
    }
    size_t line_count = filter.size / LSM_FILTER_LINE_BYTES;
    uint32_t probes = filter.data[filter.size - 1];
    if (probes > LSM_FILTER_PROBES_MAX) {
        return true;
    }
    const uint8_t *line = filter.data + line_of(hash, line_count) * LSM_FILTER_LINE_BYTES;
    uint32_t state = (uint32_t)hash;
    for (uint32_t probe = 0; probe < probes; probe++) {
        state = stir(state);
        uint32_t bit = state >> 23;
        if ((line[bit >> 3] & (1u << (bit & 7))) == 0) {
            return false;
        }
    }
    return true;
}
