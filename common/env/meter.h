#pragma once

/* Numbers that the process counts about itself.  Whoever counts owns the struct (zeroed); naming
 * and publishing it is common/observe's.  Any thread; no lock, no allocation, relaxed order. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct nk_counter {
    _Atomic uint64_t value; /* only grows */
};

struct nk_gauge {
    _Atomic int64_t value;
};

#define NK_HISTOGRAM_BUCKETS_MAX 24

/* Values are whole numbers in the unit that the owner counts in (microseconds as a rule); observe
 * scales them when printing.  Bucket i counts values <= bounds[i]; one more bucket counts the rest.
 */
struct nk_histogram {
    const uint64_t *bounds;                                 /* rising; borrowed for ever */
    size_t bound_count;                                     /* <= NK_HISTOGRAM_BUCKETS_MAX */
    _Atomic uint64_t buckets[NK_HISTOGRAM_BUCKETS_MAX + 1]; /* not cumulative */
    _Atomic uint64_t sum;
};

static inline void nk_counter_add(struct nk_counter *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&counter->value, amount, memory_order_relaxed);
}

static inline uint64_t nk_counter_get(struct nk_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

static inline void nk_gauge_set(struct nk_gauge *gauge, int64_t value)
{
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

static inline void nk_gauge_add(struct nk_gauge *gauge, int64_t amount)
{
    atomic_fetch_add_explicit(&gauge->value, amount, memory_order_relaxed);
}

static inline int64_t nk_gauge_get(struct nk_gauge *gauge)
{
    return atomic_load_explicit(&gauge->value, memory_order_relaxed);
}

static inline void nk_histogram_init(struct nk_histogram *histogram, const uint64_t *bounds,
                                     size_t bound_count)
{
    histogram->bounds = bounds;
    histogram->bound_count = bound_count;
}

static inline void nk_histogram_observe(struct nk_histogram *histogram, uint64_t value)
{
    size_t i = 0;
    while (i < histogram->bound_count && value > histogram->bounds[i]) {
        i++;
    }
    atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum, value, memory_order_relaxed);
}
