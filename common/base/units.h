#pragma once

#include <stddef.h>
#include <stdint.h>

#define NK_KIB             ((uint64_t)1024)
#define NK_MIB             (1024 * NK_KIB)
#define NK_GIB             (1024 * NK_MIB)

#define NK_US_PER_MS       ((uint64_t)1000)
#define NK_US_PER_SEC      ((uint64_t)1000000)
#define NK_MS_PER_SEC      ((uint64_t)1000)

#define NK_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define NK_CONTAINER_OF(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline uint64_t nk_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t nk_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline size_t nk_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t nk_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}
