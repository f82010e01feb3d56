#pragma once

/* The tables of a database at one moment, by level.  Constant once made; counted references (loop
 * thread), each of which holds every table in it.
 *
 * Level 0: tables may overlap, the newest first.  Levels from 1 on: rising keys, no overlap. */

#include "services/shardhost/lsm/table.h"

#define LSM_LEVEL_COUNT 7

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

/* A copy of `base` with `table` added where it belongs on `level`.  Holds the table. */
void lsm_levels_with_table(const struct lsm_levels *base, uint32_t level, struct lsm_table *table,
                           struct lsm_levels **out_levels);

size_t lsm_levels_table_count(const struct lsm_levels *levels);
uint64_t lsm_levels_bytes(const struct lsm_levels *levels);

/* Asserts the order that the levels promise. */
void lsm_levels_check(const struct lsm_levels *levels);
