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

/* Numbers rise with the flushes, so on level 0 they tell which table is newer. */
static bool belongs_before(uint32_t level, const struct lsm_table *a, const struct lsm_table *b)
{
    const struct lsm_table_meta *left = lsm_table_meta(a);
    const struct lsm_table_meta *right = lsm_table_meta(b);
    return level == 0 ? left->number > right->number
                      : nk_bytes_compare(left->largest, right->smallest) < 0;
}

static void copy_level(const struct lsm_level *from, struct lsm_table *added, uint32_t number,
                       struct lsm_level *to)
{
    size_t count = from->count + (added != NULL);
    if (count == 0) {
        return;
    }
    to->tables = nk_alloc(count * sizeof(struct lsm_table *));
    for (size_t i = 0; i < from->count; i++) {
        if (added != NULL && belongs_before(number, added, from->tables[i])) {
            to->tables[to->count++] = lsm_table_hold(added);
            added = NULL;
        }
        to->tables[to->count++] = lsm_table_hold(from->tables[i]);
    }
    if (added != NULL) {
        to->tables[to->count++] = lsm_table_hold(added);
    }
    NK_ASSERT(to->count == count);
}

void lsm_levels_with_table(const struct lsm_levels *base, uint32_t level, struct lsm_table *table,
                           struct lsm_levels **out_levels)
{
    NK_ASSERT(level < LSM_LEVEL_COUNT);
    struct lsm_levels *levels = NULL;
    lsm_levels_new(&levels);
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        copy_level(&base->levels[i], i == level ? table : NULL, i, &levels->levels[i]);
    }
    lsm_levels_check(levels);
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

void lsm_levels_check(const struct lsm_levels *levels)
{
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &levels->levels[i];
        for (size_t t = 1; t < level->count; t++) {
            NK_ASSERT(belongs_before(i, level->tables[t - 1], level->tables[t]));
        }
    }
}
