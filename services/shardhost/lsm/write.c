/* Records into the memtable, and sealing it.
 *
 * A memtable is sealed only at a commit: its position must cover all its records and no record may
 * be split from the rest of its log entry.  So it may exceed its cap by one entry. */

#include "services/shardhost/lsm/db.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

void lsm_write(struct lsm_db *db, const struct lsm_record *record)
{
    NK_ASSERT(db->ingest == NULL);
    NK_ASSERT(record->version.index >= db->index_written);
    NK_ASSERT(record->version.index > db->position.applied.index);
    NK_ASSERT(record->value.size <= (record->tombstone ? 0 : LSM_VALUE_BYTES_MAX));
    size_t before = lsm_memtable_bytes(db->active);
    lsm_memtable_add(db->active, record);
    size_t grown = lsm_memtable_bytes(db->active) - before;
    db->memtable_bytes += grown;
    db->engine->memtable_bytes += grown;
    lsm_throttle_charge(&db->throttle, record->key.size + record->value.size);
    lsm_throttle_charge(&db->engine->throttle, record->key.size + record->value.size);
    db->index_written = record->version.index;
}

bool lsm_db_in_entry(const struct lsm_db *db)
{
    return db->index_written > db->position.applied.index;
}

/* The position that will be durable once everything sealed is. */
static uint64_t sealed_index(const struct lsm_db *db)
{
    return db->sealed_count > 0 ? db->sealed[db->sealed_count - 1].position.applied.index
                                : db->durable.applied.index;
}

void lsm_db_seal(struct lsm_db *db)
{
    NK_ASSERT(!lsm_db_in_entry(db));
    db->flush_requested = false;
    if (db->position.applied.index == sealed_index(db)) {
        NK_ASSERT(lsm_memtable_count(db->active) == 0);
        return;
    }
    if (db->sealed_count == db->sealed_capacity) {
        db->sealed_capacity += 4;
        db->sealed = nk_realloc(db->sealed, db->sealed_capacity * sizeof *db->sealed);
    }
    struct lsm_sealed *sealed = &db->sealed[db->sealed_count++];
    sealed->memtable = NULL;
    sealed->position = db->position;
    if (lsm_memtable_count(db->active) > 0) {
        sealed->memtable = db->active;
        db->engine->sealed_bytes += lsm_memtable_bytes(db->active);
        lsm_memtable_new(&db->engine->chunks, &db->active);
        lsm_db_refresh_sources(db);
    }
    lsm_engine_reconsider(db);
}

void lsm_commit(struct lsm_db *db, struct lsm_version applied, uint64_t time_ms,
                struct nk_bytes state)
{
    NK_ASSERT(db->ingest == NULL);
    NK_ASSERT(applied.index >= db->position.applied.index);
    NK_ASSERT(applied.index >= db->index_written);
    NK_ASSERT(time_ms >= db->position.time_ms);
    NK_ASSERT(state.size <= LSM_STATE_BYTES_MAX);
    db->position.applied = applied;
    db->position.time_ms = time_ms;
    db->position.state_size = state.size;
    if (state.size > 0) {
        memcpy(db->position.state, state.data, state.size);
    }
    if (db->flush_requested ||
        lsm_memtable_bytes(db->active) >= db->engine->options.memtable_bytes) {
        lsm_db_seal(db);
    }
}

void lsm_applied(const struct lsm_db *db, struct lsm_version *out_applied,
                 struct nk_bytes *out_state)
{
    *out_applied = db->position.applied;
    *out_state = nk_bytes_of(db->position.state, db->position.state_size);
}

uint64_t lsm_applied_time_ms(const struct lsm_db *db)
{
    return db->position.time_ms;
}

uint64_t lsm_durable_index(const struct lsm_db *db)
{
    return db->durable.applied.index;
}

bool lsm_flush_pending(const struct lsm_db *db)
{
    return db->flush_requested || db->sealed_count > 0;
}

void lsm_request_flush(struct lsm_db *db)
{
    if (lsm_db_in_entry(db)) {
        db->flush_requested = true;
    } else {
        lsm_db_seal(db);
    }
}
