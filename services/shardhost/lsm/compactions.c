/* The compactions of a database as the loop sees them: which is due, which are under way, what came
 * of them. */

#include "services/shardhost/lsm/db.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

#define L0_TRIGGER 4

/* ---- What is due ---- */

static struct lsm_pick_settings settings_of(const struct lsm_engine *engine)
{
    const struct lsm_options *options = &engine->options;
    struct lsm_pick_settings settings = {
        .fanout = options->fanout,
        .level_count = options->level_count,
        .l0_trigger = (uint32_t)nk_min_u64(L0_TRIGGER, options->l0_slowdown_files),
        .l0_slowdown = options->l0_slowdown_files,
        .table_bytes = options->table_bytes,
    };
    return settings;
}

/* The shape of a database for the pick; `metas` and `spans` are memory of the caller. */
static void make_input(const struct lsm_db *db, const struct lsm_table_meta **metas,
                       struct lsm_pick_span *spans, struct lsm_pick_input *input)
{
    memset(input, 0, sizeof *input);
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &db->levels->levels[i];
        input->levels[i].tables = metas;
        input->levels[i].count = level->count;
        for (size_t t = 0; t < level->count; t++) {
            *metas++ = lsm_table_meta(level->tables[t]);
        }
    }
    input->running = spans;
    for (struct nk_list *at = db->compactions.next; at != &db->compactions; at = at->next) {
        const struct lsm_pick *pick = &NK_CONTAINER_OF(at, struct lsm_compaction, node)->pick;
        spans[input->running_count++] = (struct lsm_pick_span){
            .from = pick->from,
            .to = pick->to,
            .smallest = pick->smallest,
            .largest = pick->largest,
        };
    }
    uint64_t flush_bytes = db->flush_bytes_mean;
    const struct lsm_level *l0 = &db->levels->levels[0];
    if (flush_bytes == 0 && l0->count > 0) {
        for (size_t t = 0; t < l0->count; t++) {
            flush_bytes += lsm_table_meta(l0->tables[t])->size_bytes / l0->count;
        }
    }
    input->batch_bytes = flush_bytes * settings_of(db->engine).l0_trigger;
    input->time_ms = db->durable.time_ms;
    input->parts_max = 1;
}

static size_t idle_jobs(const struct lsm_db *db)
{
    size_t count = 0;
    for (size_t i = LSM_JOB_PARTS; i < LSM_JOB_COUNT; i++) {
        count += lsm_job_state(&db->jobs[i]) == LSM_JOB_IDLE;
    }
    return count;
}

/* The pick of this moment; false: nothing is due. */
static bool pick_now(struct lsm_db *db, struct lsm_pick *out_pick)
{
    struct lsm_pick_settings settings = settings_of(db->engine);
    const struct lsm_table_meta **metas =
        nk_alloc((lsm_levels_table_count(db->levels) + 1) * sizeof(struct lsm_table_meta *));
    struct lsm_pick_span spans[LSM_JOB_COUNT];
    struct lsm_pick_input input;
    NK_ASSERT(db->compaction_count <= LSM_JOB_COUNT);
    make_input(db, metas, spans, &input);
    size_t parts_free = db->engine->options.max_background_jobs - db->engine->parts_open;
    input.parts_max = nk_max_size(nk_min_size(parts_free, idle_jobs(db)), 1);
    lsm_pick_next(&settings, &input, out_pick);
    uint64_t level_bytes[LSM_LEVEL_COUNT];
    struct lsm_targets targets;
    lsm_pick_level_bytes(&input, level_bytes);
    lsm_targets_of(&settings, level_bytes, input.batch_bytes, &targets);
    uint64_t debt = lsm_debt_of(&settings, &targets, level_bytes, input.levels[0].count);
    nk_gauge_add(&db->engine->stats.compaction_debt_bytes, (int64_t)debt - (int64_t)db->debt_bytes);
    db->debt_bytes = debt;
    nk_free(metas);
    return out_pick->kind != LSM_PICK_NONE;
}

void lsm_db_measure(struct lsm_db *db)
{
    struct lsm_pick pick;
    db->need = pick_now(db, &pick) ? pick.score : 0;
    lsm_engine_reconsider(db);
}

/* ---- Life of a compaction ---- */

static struct lsm_job *idle_job(struct lsm_db *db)
{
    for (size_t i = LSM_JOB_PARTS; i < LSM_JOB_COUNT; i++) {
        if (lsm_job_state(&db->jobs[i]) == LSM_JOB_IDLE) {
            return &db->jobs[i];
        }
    }
    return NULL;
}

bool lsm_db_start_compaction(struct lsm_db *db)
{
    struct lsm_pick pick;
    if (idle_job(db) == NULL || !pick_now(db, &pick)) {
        lsm_db_measure(db);
        return false;
    }
    struct lsm_compaction *compaction = NULL;
    lsm_compaction_new(db, &pick, db->engine->now_us, &compaction);
    nk_list_append(&db->compactions, &compaction->node);
    db->compaction_count++;
    for (size_t i = 0; i < compaction->part_count; i++) {
        struct lsm_part *part = &compaction->parts[i];
        part->job = idle_job(db);
        NK_ASSERT(part->job != NULL);
        part->job->part = part;
        lsm_job_wait(part->job);
        part->counted = true;
        db->engine->parts_open++;
    }
    lsm_db_measure(db);
    return true;
}

/* Every part has ended. */
static void finish(struct lsm_db *db, struct lsm_compaction *compaction)
{
    bool installed = compaction->result != NULL;
    if (installed && compaction->pick.from == 0) {
        db->l0_left += compaction->pick.upper_count;
    }
    if (installed) {
        nk_counter_add(&db->engine->stats.compactions, 1);
        lsm_compaction_discard_inputs(compaction);
        lsm_install_taken(db, &compaction->result);
    }
    nk_histogram_observe(&db->engine->stats.compaction_us[compaction->pick.to][!installed],
                         db->engine->now_us - compaction->started_us);
    db->compaction_count--;
    lsm_compaction_free(&compaction, !installed);
    lsm_db_measure(db);
}

/* An open part counts as long as it has buffers. */
static void count_out(struct lsm_db *db, struct lsm_part *part)
{
    if (part->counted) {
        part->counted = false;
        NK_ASSERT(db->engine->parts_open > 0);
        db->engine->parts_open--;
    }
}

void lsm_db_part_back(struct lsm_db *db, struct lsm_job *job, bool done)
{
    struct lsm_part *part = job->part;
    struct lsm_compaction *compaction = part->compaction;
    if (done || part->installs) {
        count_out(db, part);
    }
    bool tries_again = part->installs && compaction->result == NULL;
    if (!done || tries_again) {
        return;
    }
    job->part = NULL;
    part->job = NULL;
    lsm_job_forget(job);
    compaction->parts_ended++;
    if (compaction->parts_ended == compaction->part_count) {
        finish(db, compaction);
    }
}

struct lsm_job *lsm_db_waiting_part(struct lsm_db *db, bool merging)
{
    bool installing = atomic_load_explicit(&db->installing, memory_order_relaxed);
    for (size_t i = LSM_JOB_PARTS; i < LSM_JOB_COUNT; i++) {
        struct lsm_job *job = &db->jobs[i];
        if (lsm_job_state(job) != LSM_JOB_WAITING) {
            continue;
        }
        bool gives_up = atomic_load_explicit(&job->part->compaction->failed, memory_order_relaxed);
        bool free = job->part->installs ? !installing : merging;
        if (gives_up && !job->part->installs) {
            return job;
        }
        if (free && !db->held) {
            return job;
        }
    }
    return NULL;
}

void lsm_db_give_up_compactions(struct lsm_db *db)
{
    for (struct nk_list *at = db->compactions.next; at != &db->compactions; at = at->next) {
        struct lsm_compaction *compaction = NK_CONTAINER_OF(at, struct lsm_compaction, node);
        atomic_store_explicit(&compaction->failed, true, memory_order_relaxed);
    }
}

void lsm_db_free_compactions(struct lsm_db *db)
{
    while (!nk_list_empty(&db->compactions)) {
        struct lsm_compaction *compaction =
            NK_CONTAINER_OF(db->compactions.next, struct lsm_compaction, node);
        for (size_t i = 0; i < compaction->part_count; i++) {
            count_out(db, &compaction->parts[i]);
        }
        lsm_compaction_free(&compaction, false);
    }
}
