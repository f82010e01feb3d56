/* One change of the tables and the durable position at a time: the token, the manifest, the levels
 * (db.h). */

#include "services/shardhost/lsm/db.h"

#include "common/base/assert.h"

bool lsm_install_begin(struct lsm_db *db)
{
    bool free = false;
    return atomic_compare_exchange_strong_explicit(&db->installing, &free, true,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

void lsm_install_cancel(struct lsm_db *db)
{
    bool was_taken = atomic_exchange_explicit(&db->installing, false, memory_order_acq_rel);
    NK_ASSERT(was_taken);
}

uint64_t lsm_db_new_number(struct lsm_db *db)
{
    return atomic_fetch_add_explicit(&db->number_next, 1, memory_order_relaxed);
}

static void put_edit(struct nk_buf *out, const struct lsm_position *position,
                     const struct lsm_change *change, uint64_t number_next)
{
    if (position != NULL) {
        lsm_catalog_put_position(out, position);
    }
    /* A table that moves leaves its level before it comes to the next. */
    for (size_t i = 0; i < change->removed_count; i++) {
        const struct lsm_level_table *item = &change->removed[i];
        lsm_catalog_put_remove(out, item->level, lsm_table_meta(item->table)->number);
    }
    if (change->added_count > 0) {
        lsm_catalog_put_number_next(out, number_next);
    }
    for (size_t i = 0; i < change->added_count; i++) {
        const struct lsm_level_table *item = &change->added[i];
        lsm_catalog_put_add(out, item->level, lsm_table_meta(item->table));
    }
}

enum nk_err lsm_install(struct lsm_db *db, const struct lsm_position *position,
                        const struct lsm_change *change, struct lsm_levels **out_levels)
{
    struct lsm_levels *after = NULL;
    struct nk_buf edit = {0};
    uint64_t number_next = atomic_load_explicit(&db->number_next, memory_order_relaxed);
    lsm_levels_apply(db->levels, change, &after);
    NK_ASSERT(lsm_levels_valid(after));
    put_edit(&edit, position, change, number_next);
    enum nk_err err =
        lsm_manifest_install(&db->manifest, nk_buf_bytes(&edit),
                             position != NULL ? position : &db->durable, number_next, after);
    nk_buf_deinit(&edit);
    if (err == NK_OK) {
        *out_levels = after;
    } else {
        lsm_levels_release(&after);
        lsm_install_cancel(db);
    }
    return err;
}

void lsm_install_taken(struct lsm_db *db, struct lsm_levels **levels)
{
    lsm_levels_release(&db->levels);
    db->levels = *levels;
    *levels = NULL;
    lsm_db_refresh_sources(db);
    lsm_install_cancel(db);
}
