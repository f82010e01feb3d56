/* Sizes of levels (decision D4 in README.md).
 *
 * The last level is as large as the data.  Each level above it is to be a fanout smaller, counted
 * from the largest one upward, so that what is out of date in the upper levels never adds more than
 * about a ninth to the size on disk.
 *
 * How many levels there are is a matter of write amplification.  Compacting a batch of level 0 into
 * a base of x batches writes 1 + x bytes for each of the batch; one more level in between costs a
 * byte about 1 + fanout on its way and leaves the base a fanout smaller.  So it pays from about
 * x = fanout + 2 on: the base may grow to `fanout` batches before there is a level above it.  A
 * shard with little data has level 0 and the last level only. */

#include "services/shardhost/lsm/targets.h"

#include "common/base/assert.h"

/* Many tiny flushes must not end in levels of tiny tables. */
#define BATCH_SHARE_MIN 16 /* of table_bytes */

void lsm_targets_of(const struct lsm_pick_settings *settings,
                    const uint64_t level_bytes[LSM_LEVEL_COUNT], uint64_t batch_bytes,
                    struct lsm_targets *out_targets)
{
    NK_ASSERT(settings->fanout >= 2);
    NK_ASSERT(settings->level_count >= 2);
    NK_ASSERT(settings->level_count <= LSM_LEVEL_COUNT);
    struct lsm_targets targets = {.bottom = settings->level_count - 1};
    uint32_t first = 0; /* the first level below 0 that is not empty */
    uint64_t largest = 0;
    for (uint32_t i = 1; i < LSM_LEVEL_COUNT; i++) {
        if (level_bytes[i] > 0) {
            first = first == 0 ? i : first;
            targets.bottom = i > targets.bottom ? i : targets.bottom;
            largest = nk_max_u64(largest, level_bytes[i]);
        }
    }
    targets.base = first == 0 ? targets.bottom : first;
    uint64_t target = largest;
    for (uint32_t i = targets.bottom; i > targets.base; i--) {
        targets.bytes[i] = target;
        target = nk_max_u64(target / settings->fanout, 1);
    }
    uint64_t batch = nk_max_u64(batch_bytes, settings->table_bytes / BATCH_SHARE_MIN);
    while (batch_bytes > 0 && targets.base > 1 && target / settings->fanout > batch) {
        targets.bytes[targets.base] = target;
        targets.base--;
        target /= settings->fanout;
    }
    targets.bytes[targets.base] = nk_max_u64(target, 1);
    *out_targets = targets;
}

uint64_t lsm_debt_of(const struct lsm_pick_settings *settings, const struct lsm_targets *targets,
                     const uint64_t level_bytes[LSM_LEVEL_COUNT], size_t l0_count)
{
    uint64_t debt = 0;
    uint64_t arriving = 0; /* at the level looked at, from those above */
    if (l0_count >= settings->l0_trigger) {
        arriving = level_bytes[0];
        debt += level_bytes[0] + level_bytes[targets->base];
    }
    for (uint32_t i = targets->base; i < targets->bottom; i++) {
        uint64_t bytes = level_bytes[i] + arriving;
        arriving = bytes > targets->bytes[i] ? bytes - targets->bytes[i] : 0;
        /* What moves down meets about as much more as the next level is larger. */
        uint64_t met = level_bytes[i + 1] / nk_max_u64(bytes, 1);
        debt += arriving * (1 + nk_min_u64(met, 2 * (uint64_t)settings->fanout));
    }
    return debt;
}
