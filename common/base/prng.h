#pragma once

/* Repeatable randomness without floating point.  xoshiro256++ seeded by splitmix64 (Blackman and
 * Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021).  Not for secrets. */

#include <stdbool.h>
#include <stdint.h>

struct nk_prng {
    uint64_t state[4];
};

void nk_prng_init(struct nk_prng *prng, uint64_t seed);
uint64_t nk_prng_next(struct nk_prng *prng);
uint64_t nk_prng_below(struct nk_prng *prng, uint64_t limit); /* limit > 0; 0 <= result < limit */
uint64_t nk_prng_between(struct nk_prng *prng, uint64_t first, uint64_t last); /* both included */
bool nk_prng_chance(struct nk_prng *prng, uint32_t per_million);
