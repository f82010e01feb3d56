/* Point reads: memtables from the newest to the oldest, then level 0 from the newest table on, then
 * one table of each deeper level.  The first record found is the newest. */

#include "services/shardhost/lsm/view.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/filter.h"

/* The table of a level without overlaps that may hold `key`, or NULL. */
static struct lsm_table *find_table(const struct lsm_level *level, struct nk_bytes key)
{
    size_t first = 0;
    size_t limit = level->count;
    while (first < limit) { /* the first table whose largest key is not before `key` */
        size_t middle = first + (limit - first) / 2;
        if (nk_bytes_compare(lsm_table_meta(level->tables[middle])->largest, key) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first < level->count ? level->tables[first] : NULL;
}

static enum nk_err get_from_tables(const struct lsm_levels *levels, struct nk_bytes key,
                                   struct lsm_lookup *lookup, struct lsm_entry *out_entry,
                                   struct nk_buf *out_value)
{
    uint64_t hash = lsm_filter_hash(key);
    for (size_t i = 0; i < levels->levels[0].count; i++) {
        enum nk_err err =
            lsm_table_get(levels->levels[0].tables[i], key, hash, lookup, out_entry, out_value);
        if (err != NK_NOT_FOUND) {
            return err;
        }
    }
    for (size_t i = 1; i < LSM_LEVEL_COUNT; i++) {
        struct lsm_table *table = find_table(&levels->levels[i], key);
        enum nk_err err = table == NULL
                              ? NK_NOT_FOUND
                              : lsm_table_get(table, key, hash, lookup, out_entry, out_value);
        if (err != NK_NOT_FOUND) {
            return err;
        }
    }
    return NK_NOT_FOUND;
}

static enum nk_err get(const struct lsm_db *db, const struct lsm_sources *sources,
                       struct nk_bytes key, uint64_t index_max, enum lsm_reach reach,
                       struct lsm_entry *out_entry, struct nk_buf *out_value)
{
    struct nk_bytes value;
    for (size_t i = 0; i < sources->memtable_count; i++) {
        if (lsm_memtable_get(sources->memtables[i], key, index_max, out_entry, &value)) {
            if (out_value != NULL) {
                nk_buf_clear(out_value);
                nk_buf_append(out_value, value);
            }
            return NK_OK;
        }
    }
    struct lsm_lookup lookup = {.reach = reach};
    enum nk_err err = get_from_tables(sources->levels, key, &lookup, out_entry, out_value);
    lsm_lookup_end(&lookup, err, db->engine->io.stats);
    return err;
}

enum nk_err lsm_get(struct lsm_db *db, struct nk_bytes key, enum lsm_reach reach,
                    struct lsm_entry *out_entry, struct nk_buf *out_value)
{
    return get(db, db->sources, key, UINT64_MAX, reach, out_entry, out_value);
}

/* ---- Views ---- */

struct lsm_view *lsm_view_acquire(struct lsm_db *db)
{
    struct lsm_view *view = nk_alloc_zero(1, sizeof *view);
    view->db = db;
    view->sources = db->sources;
    view->sources->references++;
    view->index_max = db->position.applied.index;
    db->view_count++;
    return view;
}

void lsm_view_release(struct lsm_view **view)
{
    if (*view == NULL) {
        return;
    }
    NK_ASSERT((*view)->db->view_count > 0);
    struct lsm_db *db = (*view)->db;
    db->view_count--;
    lsm_sources_release(&(*view)->sources);
    lsm_engine_reconsider(db); /* it may have been the last to need some table */
    nk_free(*view);
    *view = NULL;
}

enum nk_err lsm_view_get(struct lsm_view *view, struct nk_bytes key, enum lsm_reach reach,
                         struct lsm_entry *out_entry, struct nk_buf *out_value)
{
    return get(view->db, view->sources, key, view->index_max, reach, out_entry, out_value);
}
