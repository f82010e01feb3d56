/* A level 0 that grows makes reads dear, and memtables that grow take memory.  To stop writers at a
 * mark and let them go below it is simple and makes them wait for seconds.  Here their rate falls
 * bit by bit with the pressure, so that it settles where as much comes as leaves:
 *
 *     rate allowed = 2 * (1 - pressure) * rate at which work takes things away
 *
 * At a pressure of one half they are equal; above, more leaves than comes.  The pressure moves
 * without steps, since what is half compacted counts half (pressure of a database, below), and the
 * rate at which things leave is measured, over about a second.
 *
 * A writer pays for what it wrote with time: bytes owed fall with the time that passes, at the
 * allowed rate; whoever wants to write waits until nothing is owed. */

#include "services/shardhost/lsm/throttle.h"

#include "common/base/assert.h"
#include "services/shardhost/lsm/db.h"

#define FULL           1000 /* pressure at which nobody writes */
#define SOFT           970  /* what is left to merge alone does not go beyond it */
#define SMOOTH_US      NK_US_PER_SEC
#define SAMPLE_US      (200 * NK_US_PER_MS)
#define RATE_UNKNOWN   (16 * NK_MIB) /* before anything was measured */
#define RATE_MIN_SHARE 128 /* a memtable in so many seconds: nobody stands still below FULL */

/* The zone of memory in which writers wait, in sixteenths of the budget.  What is being flushed
 * counts by what is left to write but is freed at the end only, so the peak is a memtable higher.
 */
#define MEMORY_FROM    14
#define MEMORY_TO      16

void lsm_throttle_sample(struct lsm_throttle *throttle, uint64_t drained, uint64_t now_us)
{
    uint64_t passed_us = now_us - throttle->sampled_us;
    if (throttle->sampled_us == 0 || drained < throttle->drained || passed_us > 10 * SMOOTH_US) {
        throttle->sampled_us = nk_max_u64(now_us, 1);
        throttle->drained = drained;
        return;
    }
    if (passed_us < SAMPLE_US) {
        return;
    }
    uint64_t sample = (drained - throttle->drained) * 1000 / passed_us * 1000;
    uint64_t known = throttle->rate != 0 ? throttle->rate : nk_max_u64(sample, RATE_UNKNOWN);
    throttle->rate = (known * SMOOTH_US + sample * passed_us) / (SMOOTH_US + passed_us);
    throttle->rate = nk_max_u64(throttle->rate, 1);
    throttle->drained = drained;
    throttle->sampled_us = now_us;
}

uint64_t lsm_throttle_wait_us(struct lsm_throttle *throttle, int64_t pressure, uint64_t rate_min,
                              uint64_t now_us)
{
    if (pressure <= 0) {
        throttle->active = false;
        throttle->owed_bytes = 0;
        return 0;
    }
    if (!throttle->active) {
        throttle->active = true;
        throttle->looked_us = now_us;
    }
    if (pressure >= FULL) {
        throttle->looked_us = now_us;
        return LSM_WRITE_WAIT_US_MAX;
    }
    uint64_t rate = throttle->rate != 0 ? throttle->rate : RATE_UNKNOWN;
    rate = nk_max_u64(2 * rate / FULL * (uint64_t)(FULL - pressure), rate_min);
    uint64_t passed_us = nk_min_u64(now_us - throttle->looked_us, NK_US_PER_SEC);
    uint64_t paid = rate * passed_us / NK_US_PER_SEC;
    if (paid > 0) {
        throttle->owed_bytes -= nk_min_u64(paid, throttle->owed_bytes);
        throttle->looked_us = now_us;
    }
    uint64_t wait_us = throttle->owed_bytes * NK_US_PER_SEC / rate;
    return nk_min_u64(wait_us, LSM_WRITE_WAIT_US_MAX);
}

/* ---- A database: tables in level 0, and those to come ---- */

/* In thousandths of a table. */
static uint64_t active_tables(const struct lsm_db *db)
{
    uint64_t bytes = lsm_memtable_bytes(db->active);
    return nk_min_u64(bytes * 1000 / db->engine->options.memtable_bytes, 1000);
}

/* Tables of level 0 that compactions under way have merged so far, in thousandths. */
static uint64_t merged_tables(const struct lsm_db *db)
{
    uint64_t merged = 0;
    for (struct nk_list *at = db->compactions.next; at != &db->compactions; at = at->next) {
        const struct lsm_compaction *compaction = NK_CONTAINER_OF(at, struct lsm_compaction, node);
        if (compaction->pick.from == 0) {
            uint64_t done = atomic_load_explicit(&compaction->records_done, memory_order_relaxed);
            done = nk_min_u64(done, compaction->record_count);
            merged += compaction->pick.upper_count *
                      (done * 1000 / nk_max_u64(compaction->record_count, 1));
        }
    }
    return merged;
}

/* Where `tables` lie between two marks; all in thousandths. */
static int64_t pressure_between(uint64_t tables, uint64_t from, uint64_t to)
{
    NK_ASSERT(to > from);
    return ((int64_t)tables - (int64_t)from) * FULL / (int64_t)(to - from);
}

/* While a compaction of n tables runs about n more come, so that when it ends there are twice as
 * many as what is left to merge.  Therefore writers slow down from three quarters of the slowdown
 * mark on, counted in tables left to merge, and nearly stand at half the stop mark; and besides, in
 * all tables that there are, at the last two before the stop mark.
 *
 * Only the latter makes them stand.  A merge of level 0 may have to wait for one below it, for a
 * second, and to stop for that time, with half the tables that there may be, would be a cliff. */
static int64_t level_pressure(const struct lsm_db *db, uint64_t merged)
{
    const struct lsm_options *options = &db->engine->options;
    uint64_t slowdown = (uint64_t)options->l0_slowdown_files * 1000;
    uint64_t stop = (uint64_t)options->l0_stop_files * 1000;
    uint64_t tables = (db->levels->levels[0].count + db->sealed_count) * 1000 + active_tables(db);
    uint64_t left = tables - nk_min_u64(merged, tables);
    uint64_t from = slowdown / 4 * 3;
    int64_t soft = pressure_between(left, from, nk_max_u64(stop / 2, from + 1000));
    soft = soft < SOFT ? soft : SOFT;
    int64_t hard = pressure_between(tables, stop - nk_min_u64(stop - slowdown, 2000), stop);
    return soft > hard ? soft : hard;
}

static bool merging_l0(const struct lsm_db *db)
{
    for (struct nk_list *at = db->compactions.next; at != &db->compactions; at = at->next) {
        if (NK_CONTAINER_OF(at, struct lsm_compaction, node)->pick.from == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t level_wait_us(struct lsm_db *db, uint64_t now_us)
{
    const struct lsm_options *options = &db->engine->options;
    struct lsm_throttle *throttle = &db->throttle;
    uint64_t tables = db->levels->levels[0].count + db->sealed_count + 1;
    if (tables * 4 <= (uint64_t)options->l0_slowdown_files * 3) {
        return lsm_throttle_wait_us(throttle, 0, 0, now_us);
    }
    uint64_t merged = merged_tables(db);
    if (merging_l0(db)) {
        uint64_t left = db->l0_left * 1000 + merged;
        lsm_throttle_sample(throttle, left * nk_max_u64(options->memtable_bytes / 1000, 1), now_us);
    } else {
        throttle->sampled_us = 0; /* what is measured is how fast it is, not how often */
    }
    return lsm_throttle_wait_us(throttle, level_pressure(db, merged),
                                options->memtable_bytes / RATE_MIN_SHARE, now_us);
}

/* ---- The engine: memory ---- */

static uint64_t memory_wait_us(struct lsm_engine *engine, uint64_t now_us)
{
    uint64_t budget = engine->options.write_buffer_total_bytes;
    uint64_t from = budget / 16 * MEMORY_FROM;
    uint64_t zone = nk_max_u64(budget / 16 * (MEMORY_TO - MEMORY_FROM), 1);
    if (engine->memtable_bytes <= from) {
        return lsm_throttle_wait_us(&engine->throttle, 0, 0, now_us);
    }
    uint64_t written = atomic_load_explicit(&engine->flushing_bytes, memory_order_relaxed);
    uint64_t used = engine->memtable_bytes - nk_min_u64(written, engine->memtable_bytes);
    lsm_throttle_sample(&engine->throttle, engine->freed_bytes + written, now_us);
    int64_t pressure = ((int64_t)used - (int64_t)from) * FULL / (int64_t)zone;
    return lsm_throttle_wait_us(&engine->throttle, pressure, budget / RATE_MIN_SHARE, now_us);
}

uint64_t lsm_write_wait_us(struct lsm_db *db, uint64_t now_us)
{
    return nk_max_u64(level_wait_us(db, now_us), memory_wait_us(db->engine, now_us));
}
