/* The engine: what its databases share, and which of them is worked on next.
 *
 * Memtables have one budget.  While the active and sealed ones together exceed it, without those
 * that are on their way to disk already, the largest active one is sealed: it frees the most memory
 * for one table. */

#include "services/shardhost/lsm/db.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

void lsm_engine_open(const struct nk_fs *fs, const struct lsm_options *options,
                     struct lsm_engine **out_engine)
{
    NK_ASSERT(options->memtable_bytes > 0);
    struct lsm_engine *engine = nk_alloc_zero(1, sizeof *engine);
    engine->options = *options;
    lsm_chunk_pool_init(&engine->chunks, options->write_buffer_total_bytes,
                        &engine->stats.memtable_bytes);
    engine->io.fs = fs;
    engine->io.stats = &engine->stats;
    lsm_cache_open(options->block_cache_bytes, &engine->stats, &engine->io.cache);
    nk_mpsc_init(&engine->opened);
    atomic_init(&engine->database_count, 0);
    nk_list_init(&engine->databases);
    nk_list_init(&engine->ready);
    *out_engine = engine;
}

void lsm_engine_close(struct lsm_engine **engine)
{
    if (*engine == NULL) {
        return;
    }
    NK_ASSERT(atomic_load_explicit(&(*engine)->database_count, memory_order_acquire) == 0);
    NK_ASSERT((*engine)->memtable_bytes == 0);
    lsm_cache_close(&(*engine)->io.cache);
    lsm_chunk_pool_deinit(&(*engine)->chunks);
    nk_free(*engine);
    *engine = NULL;
}

struct lsm_stats *lsm_engine_stats(struct lsm_engine *engine)
{
    return &engine->stats;
}

void lsm_engine_adopt_opened(struct lsm_engine *engine)
{
    struct nk_mpsc_node *node = nk_mpsc_take_all(&engine->opened);
    while (node != NULL) {
        struct lsm_db *db = NK_CONTAINER_OF(node, struct lsm_db, opened_node);
        node = node->next;
        nk_list_append(&engine->databases, &db->databases_node);
    }
}

void lsm_engine_make_ready(struct lsm_db *db)
{
    if (db->sealed_count > 0 && !db->working && !nk_list_linked(&db->ready_node)) {
        nk_list_append(&db->engine->ready, &db->ready_node);
    }
}

/* The database with the largest active memtable that may be sealed now, or NULL. */
static struct lsm_db *find_victim(struct lsm_engine *engine)
{
    struct lsm_db *victim = NULL;
    size_t victim_bytes = 0;
    for (struct nk_list *node = engine->databases.next; node != &engine->databases;
         node = node->next) {
        struct lsm_db *db = NK_CONTAINER_OF(node, struct lsm_db, databases_node);
        size_t bytes = lsm_memtable_bytes(db->active);
        if (bytes > victim_bytes && !db->working && !lsm_db_in_entry(db)) {
            victim = db;
            victim_bytes = bytes;
        }
    }
    return victim;
}

static bool over_budget(const struct lsm_engine *engine)
{
    return engine->memtable_bytes - engine->sealed_bytes > engine->options.write_buffer_total_bytes;
}

static struct lsm_db *start_work(struct lsm_db *db)
{
    NK_ASSERT(!db->working);
    NK_ASSERT(db->sealed_count > 0);
    nk_list_remove(&db->ready_node);
    db->working = true;
    db->flush.memtable = db->sealed[0].memtable;
    db->flush.position = db->sealed[0].position;
    db->flush.levels = db->levels;
    return db;
}

struct lsm_db *lsm_engine_pick(struct lsm_engine *engine)
{
    lsm_engine_adopt_opened(engine);
    if (nk_list_empty(&engine->ready) && over_budget(engine)) {
        struct lsm_db *victim = find_victim(engine);
        if (victim != NULL) {
            lsm_db_seal(victim);
        }
    }
    if (nk_list_empty(&engine->ready)) {
        return NULL;
    }
    return start_work(NK_CONTAINER_OF(engine->ready.next, struct lsm_db, ready_node));
}

bool lsm_engine_stalled(const struct lsm_engine *engine)
{
    size_t budget = engine->options.write_buffer_total_bytes;
    return engine->memtable_bytes > budget + budget / 2;
}
