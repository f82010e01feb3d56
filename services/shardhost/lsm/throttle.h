#pragma once

/* How fast writers may be while work is behind.  Loop thread, but for what a worker adds to the two
 * progress words. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One bucket: of a database for its level 0, of the engine for memory. */
struct lsm_throttle {
    bool active;         /* writers are told to wait: what they write is counted */
    uint64_t owed_bytes; /* written and not yet paid for with time */
    uint64_t looked_us;  /* last time the debt was paid off */
    uint64_t rate;       /* bytes a second that leave by themselves, smoothed; 0: unknown */
    uint64_t drained;    /* bytes that have left, as of sampled_us */
    uint64_t sampled_us;
};

/* Adds what was written. */
static inline void lsm_throttle_charge(struct lsm_throttle *throttle, size_t bytes)
{
    if (throttle->active) {
        throttle->owed_bytes += bytes;
    }
}

/* Notes that `drained` bytes have left so far, ever. */
void lsm_throttle_sample(struct lsm_throttle *throttle, uint64_t drained, uint64_t now_us);

/* `pressure`: 0 or less: no need to wait; 1000 or more: nobody writes.  Returns how long to wait.
 */
uint64_t lsm_throttle_wait_us(struct lsm_throttle *throttle, int64_t pressure, uint64_t rate_min,
                              uint64_t now_us);
