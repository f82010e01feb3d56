#pragma once

/* The epoch of the cluster's state: a hybrid of clock and counter that strictly grows, also across
 * restarts of gossip and when the wall clock goes back.
 *
 *   next = max(last + 1, wall_ms << 12)
 *
 * so different publishers agree roughly without talking, and one can make 4096 changes a
 * millisecond before it runs ahead of the clock.  What was promised is kept in meta as a ceiling
 * some way ahead of the last epoch, and not at every change. */

#include "common/env/meta.h"

struct gossip_epoch {
    const struct nk_meta *meta;
    uint64_t last;
    uint64_t ceiling; /* durable: no epoch above it was given out; last <= ceiling */
    bool guessed;     /* what was stored is no epoch and was set aside */
    bool unsafe;      /* the ceiling could not be stored: last may be above it */
};

/* The first epoch will be above all that were given out below `meta` before.  If what is stored
 * there is not an epoch it begins a ceiling's step above the clock instead, which is above them too
 * unless the clock went back further than that since; `guessed` says so. */
NK_MUST_CHECK enum nk_err gossip_epoch_open(struct gossip_epoch *epoch, const struct nk_meta *meta,
                                            uint64_t wall_ms);

/* Somebody has seen this one: the next will be above it.  False: senseless, ignored. */
bool gossip_epoch_seen(struct gossip_epoch *epoch, uint64_t seen);

/* The next epoch; now and then it costs a durable write.  If that fails the epoch is still given,
 * as people without a view are worse off than a view whose epoch may repeat after a restart with
 * the clock set back; `unsafe` says so, and the next call tries again. */
uint64_t gossip_epoch_next(struct gossip_epoch *epoch, uint64_t wall_ms);

/* While it is unsafe: tries to store a ceiling without giving an epoch out. */
void gossip_epoch_mend(struct gossip_epoch *epoch);
