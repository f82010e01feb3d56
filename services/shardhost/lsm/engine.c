/* The engine: what its databases share, and which of them is worked on next.
 *
 * Memtables have one budget.  While the active ones take more than three quarters of it the largest
 * of them is sealed: it frees the most memory for one table.  The rest is for those that are on
 * their way to disk. */

#include "services/shardhost/lsm/db.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

#define TABLE_BYTES_DEFAULT ((size_t)(16 * NK_MIB))
#define OPEN_FILES_DEFAULT  4096
#define FANOUT_DEFAULT      10
#define L0_SLOWDOWN_DEFAULT 6
#define L0_STOP_DEFAULT     12
#define JOBS_DEFAULT        2
#define RATE_SLICES_PER_S   8    /* the rate limit is kept within an eighth of a second */
#define SHRINK_EVERY_US     1000 /* a chunk that no memtable uses is given back */

static void set_defaults(struct lsm_options *options)
{
    if (options->open_files_max == 0) {
        options->open_files_max = OPEN_FILES_DEFAULT;
    }
    if (options->table_bytes == 0) {
        options->table_bytes = TABLE_BYTES_DEFAULT;
    }
    if (options->fanout == 0) {
        options->fanout = FANOUT_DEFAULT;
    }
    if (options->level_count == 0) {
        options->level_count = LSM_LEVEL_COUNT;
    }
    if (options->l0_slowdown_files == 0) {
        options->l0_slowdown_files = L0_SLOWDOWN_DEFAULT;
    }
    if (options->l0_stop_files == 0) {
        options->l0_stop_files =
            (uint32_t)nk_max_u64(L0_STOP_DEFAULT, options->l0_slowdown_files + UINT64_C(1));
    }
    if (options->max_background_jobs == 0) {
        options->max_background_jobs = JOBS_DEFAULT;
    }
    NK_ASSERT(options->fanout >= 2);
    NK_ASSERT(options->level_count >= 2);
    NK_ASSERT(options->level_count <= LSM_LEVEL_COUNT);
    NK_ASSERT(options->l0_stop_files > options->l0_slowdown_files);
}

void lsm_engine_open(const struct nk_fs *fs, const struct lsm_options *options,
                     struct lsm_engine **out_engine)
{
    NK_ASSERT(options->memtable_bytes > 0);
    NK_ASSERT(options->memtable_bytes <= LSM_MEMTABLE_BYTES_MAX);
    NK_ASSERT(options->filter_bits_per_key <= LSM_FILTER_BITS_MAX);
    struct lsm_engine *engine = nk_alloc_zero(1, sizeof *engine);
    engine->options = *options;
    set_defaults(&engine->options);
    lsm_chunk_pool_init(&engine->chunks, options->write_buffer_total_bytes,
                        &engine->stats.memtable_bytes);
    engine->io.fs = fs;
    engine->io.stats = &engine->stats;
    engine->io.files = &engine->files;
    lsm_files_init(&engine->files, fs, engine->options.open_files_max);
    lsm_cache_open(options->block_cache_bytes, &engine->stats, &engine->io.cache);
    nk_mpsc_init(&engine->opened);
    atomic_init(&engine->database_count, 0);
    nk_list_init(&engine->databases);
    nk_list_init(&engine->flushes);
    nk_list_init(&engine->cleans);
    nk_list_init(&engine->ingests);
    nk_list_init(&engine->opens);
    nk_list_init(&engine->needs);
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
    lsm_files_deinit(&(*engine)->files);
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
        lsm_db_measure(db);
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
    if (db->held || db->ingest != NULL || db->sealed_count == 0 ||
        lsm_job_state(&db->jobs[LSM_JOB_FLUSH]) != LSM_JOB_IDLE) {
        return false;
    }
    bool only_install = flush->table != NULL || db->sealed[0].memtable == NULL;
    return !only_install || !atomic_load_explicit(&db->installing, memory_order_relaxed);
}

static bool can_clean(struct lsm_db *db)
{
    return lsm_job_state(&db->jobs[LSM_JOB_CLEAN]) == LSM_JOB_IDLE && lsm_trash_any(&db->trash);
}

/* It runs alone. */
static bool can_ingest(const struct lsm_db *db)
{
    return db->ingest != NULL && !db->held && nk_list_empty(&db->compactions) &&
           lsm_job_state(&db->jobs[LSM_JOB_FLUSH]) == LSM_JOB_IDLE &&
           lsm_job_state(&db->jobs[LSM_JOB_INGEST]) == LSM_JOB_IDLE &&
           !atomic_load_explicit(&db->installing, memory_order_relaxed);
}

static bool has_idle_job(const struct lsm_db *db)
{
    for (size_t i = LSM_JOB_PARTS; i < LSM_JOB_COUNT; i++) {
        if (lsm_job_state(&db->jobs[i]) == LSM_JOB_IDLE) {
            return true;
        }
    }
    return false;
}

void lsm_engine_reconsider(struct lsm_db *db)
{
    struct lsm_engine *engine = db->engine;
    list_if(&engine->flushes, &db->flushes_node, can_flush(db));
    list_if(&engine->cleans, &db->cleans_node, can_clean(db));
    list_if(&engine->ingests, &db->ingests_node, can_ingest(db));
    list_if(&engine->opens, &db->opens_node, lsm_db_waiting_part(db, true) != NULL);
    bool may_start = !db->held && db->ingest == NULL && has_idle_job(db);
    list_if(&engine->needs, &db->needs_node, db->need > 0 && may_start);
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
        if (bytes > victim_bytes && !db->held && db->ingest == NULL && db->sealed_count == 0 &&
            !lsm_db_in_entry(db)) {
            victim = db;
            victim_bytes = bytes;
        }
    }
    return victim;
}

static bool over_budget(const struct lsm_engine *engine)
{
    size_t budget = engine->options.write_buffer_total_bytes;
    return engine->memtable_bytes - engine->sealed_bytes > budget - budget / 4;
}

static struct lsm_db *hand_out(struct lsm_db *db, struct lsm_job *job)
{
    lsm_job_hand_out(job);
    db->permits++;
    db->engine->permits++;
    lsm_engine_reconsider(db);
    return db;
}

static struct lsm_db *start_flush(struct lsm_db *db)
{
    db->flush.memtable = db->sealed[0].memtable;
    db->flush.position = db->sealed[0].position;
    return hand_out(db, &db->jobs[LSM_JOB_FLUSH]);
}

/* ---- The rate limit ---- */

size_t lsm_rate_slice(const struct lsm_engine *engine, size_t budget_bytes)
{
    uint64_t limit = engine->options.rate_limit_bytes_per_s;
    uint64_t slice = nk_max_u64(limit / RATE_SLICES_PER_S, 1);
    return limit > 0 && slice < budget_bytes ? (size_t)slice : budget_bytes;
}

/* True while compaction may write. */
static bool refill_rate(struct lsm_engine *engine)
{
    uint64_t limit = engine->options.rate_limit_bytes_per_s;
    struct lsm_rate *rate = &engine->rate;
    if (limit == 0) {
        return true;
    }
    uint64_t passed_us = nk_min_u64(engine->now_us - rate->refilled_us, NK_US_PER_SEC);
    uint64_t written = nk_counter_get(&engine->stats.compacted_bytes);
    uint64_t earned = limit / 1000 * passed_us / 1000 + limit % 1000 * passed_us / NK_US_PER_SEC;
    int64_t most = (int64_t)(limit / RATE_SLICES_PER_S);
    if (earned > 0) {
        rate->refilled_us = engine->now_us;
        rate->credit_bytes += (int64_t)earned;
        rate->credit_bytes = rate->credit_bytes < most ? rate->credit_bytes : most;
    }
    rate->credit_bytes -= (int64_t)(written - rate->charged_bytes);
    rate->charged_bytes = written;
    return rate->credit_bytes >= 0;
}

/* When the rate limit lets work go on that it holds back. */
static uint64_t rate_next_us(const struct lsm_engine *engine)
{
    uint64_t limit = engine->options.rate_limit_bytes_per_s;
    bool waits = limit > 0 && engine->rate.credit_bytes < 0 &&
                 engine->permits < engine->options.max_background_jobs &&
                 !(nk_list_empty(&engine->opens) && nk_list_empty(&engine->needs));
    if (!waits) {
        return UINT64_MAX;
    }
    uint64_t missing = (uint64_t)-engine->rate.credit_bytes;
    return engine->now_us + missing / limit * NK_US_PER_SEC +
           missing % limit * NK_US_PER_SEC / limit + 1;
}

uint64_t lsm_engine_next_us(const struct lsm_engine *engine)
{
    uint64_t next_us = rate_next_us(engine);
    return engine->chunks.idle_bytes > 0 ? nk_min_u64(next_us, engine->now_us + SHRINK_EVERY_US)
                                         : next_us;
}

/* ---- Which is next ---- */

/* A part that can go on, of whoever has waited longest. */
static struct lsm_db *pick_part(struct lsm_engine *engine, bool may_write)
{
    for (struct nk_list *at = engine->opens.next; at != &engine->opens; at = at->next) {
        struct lsm_db *db = NK_CONTAINER_OF(at, struct lsm_db, opens_node);
        struct lsm_job *job = lsm_db_waiting_part(db, may_write);
        if (job != NULL) {
            nk_list_remove(&db->opens_node); /* if it has more, behind the others */
            return hand_out(db, job);
        }
    }
    return NULL;
}

/* A new compaction where it is needed most. */
static struct lsm_db *pick_compaction(struct lsm_engine *engine)
{
    for (;;) {
        struct lsm_db *neediest = NULL;
        for (struct nk_list *at = engine->needs.next; at != &engine->needs; at = at->next) {
            struct lsm_db *db = NK_CONTAINER_OF(at, struct lsm_db, needs_node);
            if (neediest == NULL || db->need > neediest->need) {
                neediest = db;
            }
        }
        if (neediest == NULL) {
            return NULL;
        }
        if (lsm_db_start_compaction(neediest)) {
            return hand_out(neediest, lsm_db_waiting_part(neediest, true));
        }
    }
}

struct lsm_db *lsm_engine_pick(struct lsm_engine *engine, uint64_t now_us)
{
    NK_ASSERT(now_us >= engine->now_us);
    engine->now_us = now_us;
    lsm_engine_adopt_opened(engine);
    lsm_chunk_pool_shrink(&engine->chunks);
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
        struct lsm_db *db = NK_CONTAINER_OF(engine->cleans.next, struct lsm_db, cleans_node);
        return hand_out(db, &db->jobs[LSM_JOB_CLEAN]);
    }
    if (!nk_list_empty(&engine->ingests)) {
        struct lsm_db *db = NK_CONTAINER_OF(engine->ingests.next, struct lsm_db, ingests_node);
        return hand_out(db, &db->jobs[LSM_JOB_INGEST]);
    }
    bool may_write = refill_rate(engine);
    struct lsm_db *db = pick_part(engine, may_write);
    if (db == NULL && may_write && engine->parts_open < engine->options.max_background_jobs) {
        db = pick_compaction(engine);
    }
    return db;
}
