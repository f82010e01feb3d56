#pragma once

/* How large each level should be.  A function of how large they are; see targets.c. */

#include "services/shardhost/lsm/levels.h"

/* The settings of compaction with the defaults filled in. */
struct lsm_pick_settings {
    uint32_t fanout;      /* >= 2 */
    uint32_t level_count; /* 2..LSM_LEVEL_COUNT */
    uint32_t l0_trigger;  /* tables of level 0 from which on they are compacted */
    uint32_t l0_slowdown; /* >= l0_trigger */
    uint64_t table_bytes; /* a new table is closed at this size */
};

struct lsm_targets {
    uint32_t base;   /* the level that level 0 is compacted into; all levels between are empty */
    uint32_t bottom; /* the last level */
    uint64_t bytes[LSM_LEVEL_COUNT]; /* of base..bottom; the others are 0 */
};

/* `level_bytes`  of each level, [0] unused
 * `batch_bytes`  what a compaction of level 0 usually brings: l0_trigger flushes; 0: unknown */
void lsm_targets_of(const struct lsm_pick_settings *settings,
                    const uint64_t level_bytes[LSM_LEVEL_COUNT], uint64_t batch_bytes,
                    struct lsm_targets *out_targets);

/* About how many bytes compaction has to write until every level is within its target. */
uint64_t lsm_debt_of(const struct lsm_pick_settings *settings, const struct lsm_targets *targets,
                     const uint64_t level_bytes[LSM_LEVEL_COUNT], size_t l0_count);
