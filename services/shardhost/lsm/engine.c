/* The engine: what its databases share, and which of them is worked on next.
 *
 * Memtables have one budget.  While the active and sealed ones together exceed it, without those
 * that are on their way to disk already, the largest active one is sealed: it frees the most memory
 * for one table. */

#include "services/shardhost/lsm/db.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

#define JOBS_DEFAULT 2

static void set_defaults(struct lsm_options *options)
{
    if (options->max_background_jobs == 0) {
        options->max_background_jobs = JOBS_DEFAULT;
    }
}

void lsm_engine_open(const struct nk_fs *fs, const struct lsm_options *options,
                     struct lsm_engine **out_engine)
{
    NK_ASSERT(options->memtable_bytes > 0);
    struct lsm_engine *engine = nk_alloc_zero(1, sizeof *engine);
    engine->options = *options;
    set_defaults(&engine->options);
    lsm_chunk_pool_init(&engine->chunks, options->write_buffer_total_bytes,
                        &engine->stats.memtable_bytes);
    engine->io.fs = fs;
    engine->io.stats = &engine->stats;
    lsm_cache_open(options->block_cache_bytes, &engine->stats, &engine->io.cache);
    nk_mpsc_init(&engine->opened);
    atomic_init(&engine->database_count, 0);
    nk_list_init(&engine->databases);
    nk_list_init(&engine->flushes);
    nk_list_init(&engine->cleans);
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

static void list_if(struct nk_list *list, struct nk_list *node, bool wanted)
{
    if (wanted && !nk_list_linked(node)) {
        nk_list_append(list, node);
    } else if (!wanted) {
        nk_list_remove(node);
    }
}

/* Whether the job can go on: nobody has it, and nobody is in its way. */
static bool can_flush(const struct lsm_db *db)
{
    const struct lsm_flush *flush = &db->flush;
    if (db->held || db->sealed_count == 0 ||
        lsm_job_state(&db->jobs[LSM_JOB_FLUSH]) != LSM_JOB_IDLE) {
        return false;
    }
    bool only_install = flush->table != NULL || db->sealed[0].memtable == NULL;
    return !only_install || !atomic_load_explicit(&db->installing, memory_order_relaxed);
}

static bool can_clean(struct lsm_db *db)
{
    return !nk_mpsc_empty(&db->trash.tables) &&
           lsm_job_state(&db->jobs[LSM_JOB_CLEAN]) == LSM_JOB_IDLE;
}

void lsm_engine_reconsider(struct lsm_db *db)
{
    struct lsm_engine *engine = db->engine;
    list_if(&engine->flushes, &db->flushes_node, can_flush(db));
    list_if(&engine->cleans, &db->cleans_node, can_clean(db));
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
        if (bytes > victim_bytes && !db->held && db->sealed_count == 0 && !lsm_db_in_entry(db)) {
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

static struct lsm_db *hand_out(struct lsm_db *db, size_t job)
{
    lsm_job_hand_out(&db->jobs[job]);
    db->permits++;
    db->engine->permits++;
    lsm_engine_reconsider(db);
    return db;
}

static struct lsm_db *start_flush(struct lsm_db *db)
{
    db->flush.memtable = db->sealed[0].memtable;
    db->flush.position = db->sealed[0].position;
    return hand_out(db, LSM_JOB_FLUSH);
}

struct lsm_db *lsm_engine_pick(struct lsm_engine *engine, uint64_t now_us)
{
    NK_ASSERT(now_us >= engine->now_us);
    engine->now_us = now_us;
    lsm_engine_adopt_opened(engine);
    if (engine->permits >= engine->options.max_background_jobs) {
        return NULL;
    }
    if (nk_list_empty(&engine->flushes) && over_budget(engine)) {
        struct lsm_db *victim = find_victim(engine);
        if (victim != NULL) {
            lsm_db_seal(victim);
        }
    }
    if (!nk_list_empty(&engine->flushes)) {
        return start_flush(NK_CONTAINER_OF(engine->flushes.next, struct lsm_db, flushes_node));
    }
    if (!nk_list_empty(&engine->cleans)) {
        return hand_out(NK_CONTAINER_OF(engine->cleans.next, struct lsm_db, cleans_node),
                        LSM_JOB_CLEAN);
    }
    return NULL;
}

uint64_t lsm_engine_next_us(const struct lsm_engine *engine)
{
    (void)engine;
    return UINT64_MAX;
}

bool lsm_engine_stalled(const struct lsm_engine *engine)
{
    size_t budget = engine->options.write_buffer_total_bytes;
    return engine->memtable_bytes > budget + budget / 2;
}
