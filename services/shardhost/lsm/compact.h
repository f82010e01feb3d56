#pragma once

/* One compaction from its pick to its end: the parts that are merged, each a job of its own, and
 * the one change that installs all of them.
 *
 * The loop makes and frees it.  A part is its worker's while its job runs, else the loop's; parts
 * share only the two atomic words. */

#include <stdatomic.h>

#include "common/base/list.h"
#include "services/shardhost/lsm/merge.h"
#include "services/shardhost/lsm/pick.h"
#include "services/shardhost/lsm/table_builder.h"

struct lsm_db;
struct lsm_compaction;

/* A range of its keys. */
struct lsm_part {
    struct lsm_compaction *compaction;
    struct lsm_job *job;    /* NULL once it has ended */
    bool counted;           /* in engine->parts_open */
    bool installs;          /* all parts are merged, this one installs: there is no way back */
    struct nk_bytes start;  /* the first key, or empty */
    struct nk_bytes limit;  /* before this key; empty: to the end */
    struct lsm_merge merge; /* open if merge.runs is not NULL */
    struct lsm_table_builder *builder;
    struct nk_buf outputs; /* struct lsm_table *, each held */

    /* Where the key at hand is in the levels below the output. */
    size_t below_at[LSM_LEVEL_COUNT];
    uint64_t below_bytes; /* of the next level, passed since the open table began */
    bool below_passed;    /* the end of a table there, since the last record that was written */

    uint64_t finished_bytes; /* of outputs */
    uint64_t reported_bytes; /* written, as added to the engine's counter */
};

struct lsm_compaction {
    struct nk_list node; /* db->compactions */
    struct lsm_db *db;
    struct lsm_levels *levels; /* as they were when it began; held */
    struct lsm_pick pick;      /* its keys are borrowed from `levels` */
    uint64_t time_ms;          /* what expires up to then is dead */
    uint64_t started_us;
    struct lsm_level_table *removed; /* all its inputs */
    size_t removed_count;
    _Atomic uint32_t parts_left;   /* not merged yet */
    uint64_t record_count;         /* of all inputs */
    _Atomic uint64_t records_done; /* merged so far; any thread */
    _Atomic bool failed;           /* parts that are not merged give up */
    struct lsm_levels *result;     /* installed: for the loop to take */
    size_t parts_ended;
    size_t part_count;
    struct lsm_part parts[];
};

/* ---- Loop thread ---- */

void lsm_compaction_new(struct lsm_db *db, const struct lsm_pick *pick, uint64_t now_us,
                        struct lsm_compaction **out_compaction);

/* Every part has ended, or the database is closed.  Outputs that were not installed go to the trash
 * if `discard`, else their files are left as orphans. */
void lsm_compaction_free(struct lsm_compaction **compaction, bool discard);

/* Puts the inputs that are in no level any more into the trash, once they are nobody's. */
void lsm_compaction_discard_inputs(struct lsm_compaction *compaction);

/* ---- The worker ---- */

/* Does about `budget_bytes` of records, or the install; *out_done: the part has ended.  On an error
 * it has ended too, unless it installs: then it can be tried again. */
NK_MUST_CHECK enum nk_err lsm_part_step(struct lsm_part *part, size_t budget_bytes, bool *out_done);
