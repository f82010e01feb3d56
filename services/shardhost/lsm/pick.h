#pragma once

/* Which compaction comes next: a function of the shape of the tree.  What it decides can be put in
 * words, and tests/script/lsm is a collection of shapes and decisions to read. */

#include "services/shardhost/lsm/targets.h"

#define LSM_PICK_UPPER_MAX  32
#define LSM_PICK_SPLITS_MAX 7

struct lsm_pick_level {
    const struct lsm_table_meta *const *tables; /* in the order of struct lsm_levels */
    size_t count;
};

/* A compaction under way has all of a key range in some levels for itself. */
struct lsm_pick_span {
    uint32_t from; /* both ends included */
    uint32_t to;
    struct nk_bytes smallest;
    struct nk_bytes largest;
};

struct lsm_pick_input {
    struct lsm_pick_level levels[LSM_LEVEL_COUNT];
    const struct lsm_pick_span *running;
    size_t running_count;
    uint64_t batch_bytes; /* see lsm_targets_of */
    uint64_t time_ms;     /* what expires up to then is dead */
    size_t parts_max;     /* parts that a large one may have; >= 1 */
};

enum lsm_pick_kind {
    LSM_PICK_NONE,
    LSM_PICK_MERGE,
    LSM_PICK_MOVE, /* the tables change their level and are not read */
    LSM_PICK_DROP, /* nothing in the tables is alive, and nothing below them */
};

enum lsm_pick_reason {
    LSM_PICK_L0_COUNT,
    LSM_PICK_LEVEL_SIZE,
    LSM_PICK_DEAD_RECORDS,
};

/* Tables of level `from` and those of level `to` that they overlap become tables of level `to`.
 * from == to: the tables are written again without what is dead. */
struct lsm_pick {
    enum lsm_pick_kind kind;
    enum lsm_pick_reason reason;
    uint64_t score; /* in thousandths; what is due has 1000 or more */
    uint32_t from;
    uint32_t to;
    uint32_t upper[LSM_PICK_UPPER_MAX]; /* indexes in levels[from], rising */
    size_t upper_count;
    size_t lower_first; /* in levels[to] */
    size_t lower_count;
    struct nk_bytes smallest; /* of all of them; borrowed, as are the splits, from the tables */
    struct nk_bytes largest;
    struct nk_bytes splits[LSM_PICK_SPLITS_MAX]; /* a part ends before each, rising */
    size_t split_count;
    uint64_t bytes; /* of all of them */
};

void lsm_pick_next(const struct lsm_pick_settings *settings, const struct lsm_pick_input *input,
                   struct lsm_pick *out_pick);

/* "L0 -> L6: merge 4 + 3 tables, 96 MiB in 2 parts; level 0 has 5 tables, 4 are enough" */
void lsm_pick_describe(const struct lsm_pick_settings *settings, const struct lsm_pick_input *input,
                       const struct lsm_pick *pick, struct nk_text *out);

/* Sizes of the levels of an input. */
void lsm_pick_level_bytes(const struct lsm_pick_input *input, uint64_t out_bytes[LSM_LEVEL_COUNT]);
