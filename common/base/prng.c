#include "common/base/prng.h"

#include "common/base/assert.h"

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

void nk_prng_init(struct nk_prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        prng->state[i] = z ^ (z >> 31);
    }
}

uint64_t nk_prng_next(struct nk_prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t nk_prng_below(struct nk_prng *prng, uint64_t limit)
{
    NK_ASSERT(limit > 0);
    /* The high half of the product; the bias is below 2^-32 for the limits that are used here. */
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)(((wide)nk_prng_next(prng) * limit) >> 64);
}

uint64_t nk_prng_between(struct nk_prng *prng, uint64_t first, uint64_t last)
{
    NK_ASSERT(first <= last);
    if (last - first == UINT64_MAX) {
        return nk_prng_next(prng);
    }
    return first + nk_prng_below(prng, last - first + 1);
}

bool nk_prng_chance(struct nk_prng *prng, uint32_t per_million)
{
    return nk_prng_below(prng, 1000000) < per_million;
}
