/* Work from the outside: one flush at a time, handed to a worker by the pick and taken back when
 * the work ended. */

#include "services/shardhost/lsm/db.h"

#include "common/base/assert.h"

enum nk_err lsm_work(struct lsm_db *db, size_t budget_bytes, bool *out_more)
{
    NK_ASSERT(db->working);
    bool done = db->flush.installed;
    if (!done) {
        struct lsm_engine *engine = db->engine;
        enum nk_err err = lsm_flush_step(&db->flush, &db->manifest, &engine->io, &engine->options,
                                         budget_bytes, &done);
        if (err != NK_OK) {
            return err;
        }
    }
    *out_more = !done;
    return NK_OK;
}

/* The oldest sealed memtable is in a table now. */
static void take_result(struct lsm_db *db)
{
    struct lsm_sealed *oldest = &db->sealed[0];
    if (oldest->memtable != NULL) {
        size_t bytes = lsm_memtable_bytes(oldest->memtable);
        db->memtable_bytes -= bytes;
        db->engine->memtable_bytes -= bytes;
        db->engine->sealed_bytes -= bytes;
    }
    lsm_memtable_release(&oldest->memtable);
    db->durable_index = oldest->position.applied.index;
    db->sealed_count--;
    memmove(db->sealed, db->sealed + 1, db->sealed_count * sizeof *db->sealed);
    if (db->flush.result != NULL) {
        lsm_levels_release(&db->levels);
        db->levels = db->flush.result;
        db->flush.result = NULL;
    }
    lsm_db_refresh_sources(db);
    db->flush.installed = false;
    db->flush.memtable = NULL;
    db->flush.levels = NULL;
}

void lsm_work_ended(struct lsm_db *db)
{
    NK_ASSERT(db->working);
    db->working = false;
    if (db->flush.installed) {
        take_result(db);
    }
    lsm_engine_make_ready(db);
}
