#include "services/shardhost/lsm/levels.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

void lsm_levels_new(struct lsm_levels **out_levels)
{
    struct lsm_levels *levels = nk_alloc_zero(1, sizeof *levels);
    levels->references = 1;
    *out_levels = levels;
}

struct lsm_levels *lsm_levels_hold(struct lsm_levels *levels)
{
    levels->references++;
    return levels;
}

void lsm_levels_release(struct lsm_levels **levels)
{
    if (*levels == NULL) {
        return;
    }
    NK_ASSERT((*levels)->references > 0);
    (*levels)->references--;
    if ((*levels)->references == 0) {
        for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
            struct lsm_level *level = &(*levels)->levels[i];
            for (size_t t = 0; t < level->count; t++) {
                lsm_table_release(&level->tables[t]);
            }
            nk_free(level->tables);
        }
        nk_free(*levels);
    }
    *levels = NULL;
}

/* Each flush covers the indexes behind those of the one before, so on level 0 they tell which table
 * is newer. */
static bool belongs_before(uint32_t level, const struct lsm_table *a, const struct lsm_table *b)
{
    const struct lsm_table_meta *left = lsm_table_meta(a);
    const struct lsm_table_meta *right = lsm_table_meta(b);
    return level == 0 ? left->index_max > right->index_max
                      : nk_bytes_compare(left->largest, right->smallest) < 0;
}

static bool contains(const struct lsm_level_table *items, size_t count, uint32_t level,
                     const struct lsm_table *table)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].table == table && items[i].level == level) {
            return true;
        }
    }
    return false;
}

static void insert(struct lsm_level *level, uint32_t number, struct lsm_table *table)
{
    size_t at = level->count;
    while (at > 0 && belongs_before(number, table, level->tables[at - 1])) {
        level->tables[at] = level->tables[at - 1];
        at--;
    }
    level->tables[at] = lsm_table_hold(table);
    level->count++;
}

static void apply_to_level(const struct lsm_level *from, const struct lsm_change *change,
                           uint32_t number, struct lsm_level *to)
{
    size_t room = from->count;
    for (size_t i = 0; i < change->added_count; i++) {
        room += change->added[i].level == number;
    }
    if (room == 0) {
        return;
    }
    to->tables = nk_alloc(room * sizeof(struct lsm_table *));
    for (size_t i = 0; i < from->count; i++) {
        if (!contains(change->removed, change->removed_count, number, from->tables[i])) {
            to->tables[to->count++] = lsm_table_hold(from->tables[i]);
        }
    }
    for (size_t i = 0; i < change->added_count; i++) {
        if (change->added[i].level == number) {
            insert(to, number, change->added[i].table);
        }
    }
}

void lsm_levels_apply(const struct lsm_levels *base, const struct lsm_change *change,
                      struct lsm_levels **out_levels)
{
    struct lsm_levels *levels = NULL;
    lsm_levels_new(&levels);
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        apply_to_level(&base->levels[i], change, i, &levels->levels[i]);
    }
    NK_ASSERT(lsm_levels_table_count(levels) + change->removed_count ==
              lsm_levels_table_count(base) + change->added_count);
    *out_levels = levels;
}

size_t lsm_levels_table_count(const struct lsm_levels *levels)
{
    size_t count = 0;
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        count += levels->levels[i].count;
    }
    return count;
}

uint64_t lsm_levels_bytes(const struct lsm_levels *levels)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        for (size_t t = 0; t < levels->levels[i].count; t++) {
            bytes += lsm_table_meta(levels->levels[i].tables[t])->size_bytes;
        }
    }
    return bytes;
}

bool lsm_levels_valid(const struct lsm_levels *levels)
{
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &levels->levels[i];
        for (size_t t = 1; t < level->count; t++) {
            if (!belongs_before(i, level->tables[t - 1], level->tables[t])) {
                return false;
            }
        }
    }
    return true;
}
