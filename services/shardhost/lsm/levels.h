#pragma once

/* The tables of a database at one moment, by level.  Constant once made; counted references (loop
 * thread), each of which holds every table in it.
 *
 * Level 0: tables may overlap, the newest first.  Levels from 1 on: rising keys, no overlap. */

#include "services/shardhost/lsm/table.h"

struct lsm_level {
    struct lsm_table **tables;
    size_t count;
};

struct lsm_levels {
    uint32_t references;
    struct lsm_level levels[LSM_LEVEL_COUNT];
};

void lsm_levels_new(struct lsm_levels **out_levels); /* no tables */
struct lsm_levels *lsm_levels_hold(struct lsm_levels *levels);
void lsm_levels_release(struct lsm_levels **levels);

struct lsm_level_table {
    uint32_t level;
    struct lsm_table *table;
};

/* Tables that leave and tables that come, in one step. */
struct lsm_change {
    const struct lsm_level_table *removed; /* by identity, from where they are */
    size_t removed_count;
    const struct lsm_level_table *added; /* in any order */
    size_t added_count;
};

/* A copy of `base` after the change.  Holds its tables. */
void lsm_levels_apply(const struct lsm_levels *base, const struct lsm_change *change,
                      struct lsm_levels **out_levels);

size_t lsm_levels_table_count(const struct lsm_levels *levels);
uint64_t lsm_levels_bytes(const struct lsm_levels *levels);

/* Whether the order is what the levels promise. */
bool lsm_levels_valid(const struct lsm_levels *levels);
