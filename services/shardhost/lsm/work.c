/* Work from the outside: a permit comes in, one slice of one job is done, and the loop takes what
 * came of it. */

#include "services/shardhost/lsm/db.h"

#include "common/base/assert.h"

#define CLEANED_MAX 8 /* tables whose files one slice removes */

/* ---- Any thread ---- */

static enum nk_err install_flush(struct lsm_db *db)
{
    struct lsm_flush *flush = &db->flush;
    struct lsm_level_table added = {.level = 0, .table = flush->table};
    struct lsm_change change = {.added = &added, .added_count = flush->table != NULL};
    enum nk_err err = lsm_install(db, &flush->position, &change, &flush->result);
    if (err == NK_OK) {
        lsm_table_release(&flush->table);
    }
    return err;
}

static enum nk_err make_database(struct lsm_db *db)
{
    bool begun = lsm_install_begin(db);
    NK_ASSERT(begun); /* where there is no table there is no other job */
    enum nk_err err = lsm_flush_make_database(&db->flush, &db->manifest, db->number_next);
    lsm_install_cancel(db);
    return err;
}

/* The difference may be negative, after a failure: unsigned arithmetic carries it. */
static void report_flush(struct lsm_db *db)
{
    struct lsm_flush *flush = &db->flush;
    atomic_fetch_add_explicit(&db->engine->flushing_bytes,
                              flush->written_bytes - flush->reported_bytes, memory_order_relaxed);
    flush->reported_bytes = flush->written_bytes;
}

/* A table that is written but could not be installed is kept for the next try: to write it again
 * would take more of a disk that may be full, and to remove it would be wrong, for the manifest on
 * disk may already name it. */
static enum nk_err run_flush(struct lsm_db *db, size_t budget_bytes, bool *out_done)
{
    struct lsm_flush *flush = &db->flush;
    enum nk_err err = NK_OK;
    *out_done = false;
    if (!flush->directory_made) {
        err = make_database(db);
    }
    if (err == NK_OK && flush->memtable != NULL && flush->table == NULL) {
        uint64_t number = flush->builder == NULL ? lsm_db_new_number(db) : 0;
        err = lsm_flush_write(flush, &db->manifest, &db->engine->io, &db->engine->options, number,
                              budget_bytes);
        report_flush(db);
    }
    bool complete = flush->memtable == NULL || flush->table != NULL;
    if (err == NK_OK && complete && lsm_install_begin(db)) {
        err = install_flush(db);
        *out_done = err == NK_OK;
    }
    return err;
}

enum nk_err lsm_work(struct lsm_db *db, size_t budget_bytes, bool *out_more)
{
    struct lsm_job *job = lsm_job_claim(db->jobs);
    bool done = false;
    enum nk_err err = NK_OK;
    *out_more = false;
    if (job == NULL) {
        return NK_OK;
    }
    switch ((size_t)(job - db->jobs)) {
    case LSM_JOB_FLUSH:
        err = run_flush(db, budget_bytes, &done);
        break;
    case LSM_JOB_CLEAN:
        lsm_trash_empty(&db->trash, CLEANED_MAX, true);
        done = !lsm_trash_any(&db->trash);
        break;
    case LSM_JOB_INGEST:
        err = lsm_ingest_step(db, &done);
        break;
    default:
        err = lsm_part_step(job->part, lsm_rate_slice(db->engine, budget_bytes), &done);
        break;
    }
    *out_more = err == NK_OK && !done;
    lsm_job_let_go(job, done || err != NK_OK, err);
    return err;
}

/* ---- Loop thread ---- */

/* The oldest sealed memtable is in a table now. */
static void take_flush(struct lsm_db *db)
{
    struct lsm_sealed *oldest = &db->sealed[0];
    if (oldest->memtable != NULL) {
        size_t bytes = lsm_memtable_bytes(oldest->memtable);
        db->memtable_bytes -= bytes;
        db->engine->memtable_bytes -= bytes;
        db->engine->sealed_bytes -= bytes;
        db->engine->freed_bytes += bytes;
    }
    db->flush.written_bytes = 0;
    report_flush(db);
    lsm_memtable_release(&oldest->memtable);
    db->durable = oldest->position;
    db->sealed_count--;
    memmove(db->sealed, db->sealed + 1, db->sealed_count * sizeof *db->sealed);
    db->flush.memtable = NULL;
    const struct lsm_level *l0 = &db->flush.result->levels[0];
    if (l0->count > db->levels->levels[0].count) {
        uint64_t bytes = lsm_table_meta(l0->tables[0])->size_bytes;
        db->flush_bytes_mean =
            db->flush_bytes_mean == 0 ? bytes : (3 * db->flush_bytes_mean + bytes) / 4;
    }
    lsm_install_taken(db, &db->flush.result);
    lsm_db_measure(db);
}

static void end_ingest(struct lsm_db *db, enum nk_err err)
{
    if (err == NK_OK) {
        lsm_ingest_take(db);
    } else if (!db->ingest->linked) { /* given up; what was linked goes */
        for (size_t i = 0; i < db->ingest->added_count; i++) {
            lsm_table_discard(db->ingest->added[i].table, &db->trash);
        }
        lsm_ingest_free(&db->ingest);
    }
}

void lsm_work_ended(struct lsm_db *db, uint64_t now_us)
{
    struct lsm_engine *engine = db->engine;
    NK_ASSERT(db->permits > 0);
    NK_ASSERT(now_us >= engine->now_us);
    engine->now_us = now_us;
    db->permits--;
    engine->permits--;
    bool done = false;
    struct lsm_job *job = lsm_job_take_back(db->jobs, &done);
    if (done && job->err != NK_OK) {
        lsm_hold_work(db);
    }
    if (job >= &db->jobs[LSM_JOB_PARTS]) {
        lsm_db_part_back(db, job, done);
    } else {
        lsm_job_forget(job);
        if (job == &db->jobs[LSM_JOB_FLUSH] && done && job->err == NK_OK) {
            take_flush(db);
        } else if (job == &db->jobs[LSM_JOB_INGEST] && done) {
            end_ingest(db, job->err);
        }
    }
    lsm_engine_reconsider(db);
}

void lsm_hold_work(struct lsm_db *db)
{
    db->held = true;
    lsm_db_give_up_compactions(db);
    lsm_engine_reconsider(db);
}

void lsm_resume_work(struct lsm_db *db)
{
    db->held = false;
    lsm_engine_reconsider(db);
}
