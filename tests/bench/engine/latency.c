#include "tests/bench/engine/latency.h"

#define SUB ((size_t)1 << LATENCY_SUB_BITS)

/* Below SUB each number has a bucket; above, its highest bit and the six below it name one. */
static size_t bucket_of(uint64_t ns)
{
    if (ns < SUB) {
        return (size_t)ns;
    }
    unsigned shift = 63 - LATENCY_SUB_BITS - (unsigned)__builtin_clzll(ns);
    return ((size_t)shift << LATENCY_SUB_BITS) + (size_t)(ns >> shift);
}

static uint64_t end_of(size_t bucket)
{
    if (bucket < 2 * SUB) {
        return bucket;
    }
    size_t shift = (bucket >> LATENCY_SUB_BITS) - 1;
    return ((uint64_t)(bucket - (shift << LATENCY_SUB_BITS)) + 1) << shift;
}

void latency_add(struct latency *latency, uint64_t ns)
{
    latency->buckets[bucket_of(ns)]++;
    latency->count++;
    latency->max_ns = ns > latency->max_ns ? ns : latency->max_ns;
}

void latency_merge(struct latency *latency, const struct latency *other)
{
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        latency->buckets[i] += other->buckets[i];
    }
    latency->count += other->count;
    latency->max_ns = other->max_ns > latency->max_ns ? other->max_ns : latency->max_ns;
}

double latency_us(const struct latency *latency, double share)
{
    double wanted = share * (double)latency->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS && latency->count > 0; i++) {
        seen += latency->buckets[i];
        if ((double)seen >= wanted && latency->buckets[i] > 0) {
            uint64_t ns = end_of(i) < latency->max_ns ? end_of(i) : latency->max_ns;
            return (double)ns / 1e3;
        }
    }
    return (double)latency->max_ns / 1e3;
}
