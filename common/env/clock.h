#pragma once

/* Time.  Implementations: common/env_posix/clock_posix.c, tests/sim/process.c.  Any thread. */

#include <stdint.h>

struct nk_clock_ops {
    /* Microseconds since some fixed moment of this process; never goes back. */
    uint64_t (*mono_us)(void *ctx);

    /* Milliseconds since 1970-01-01 UTC; may jump either way.  Only for stamps that leave the
     * process (expiry, epochs, logs), never for timeouts. */
    uint64_t (*wall_ms)(void *ctx);
};

struct nk_clock {
    const struct nk_clock_ops *ops;
    void *ctx;
};

static inline uint64_t nk_mono_us(const struct nk_clock *clock)
{
    return clock->ops->mono_us(clock->ctx);
}

static inline uint64_t nk_wall_ms(const struct nk_clock *clock)
{
    return clock->ops->wall_ms(clock->ctx);
}
