#pragma once

/* A histogram of times: 64 buckets for each power of two, so a percentile is right to 1.6 %. */

#include <stddef.h>
#include <stdint.h>

#define LATENCY_SUB_BITS 6
#define LATENCY_BUCKETS  ((size_t)(64 - LATENCY_SUB_BITS + 1) << LATENCY_SUB_BITS)

struct latency {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *latency, const struct latency *other);
double latency_us(const struct latency *latency, double share); /* 0.5: the median */
