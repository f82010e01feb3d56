#pragma once

/* The jobs that one database can have under way, and who has which.
 *
 * A job's state is one atomic word.  The loop hands a job out (waiting -> ready) with each permit
 * and takes one back with each permit that returns; workers claim ready ones.  Nobody is bound to
 * the job that his permit was given for, so the numbers must agree and nothing else:
 *
 *     permits that are out = jobs that are ready, running or done
 *
 *     idle     there is no such job
 *     waiting  there is, nobody may run it
 *     ready    a worker may claim it
 *     running  a worker has
 *     done     nothing is left of it, or it failed; the loop takes the result
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum lsm_job_state {
    LSM_JOB_IDLE,
    LSM_JOB_WAITING,
    LSM_JOB_READY,
    LSM_JOB_RUNNING,
    LSM_JOB_DONE,
};

/* Indexes of a database's jobs: lower ones are claimed first. */
enum {
    LSM_JOB_FLUSH,
    LSM_JOB_CLEAN,
    LSM_JOB_INGEST,
    LSM_JOB_PARTS,                     /* the first part of a compaction */
    LSM_JOB_COUNT = LSM_JOB_PARTS + 8, /* parts open in one database at once: 8 */
};

struct lsm_job {
    _Atomic uint32_t state;
    enum nk_err err;       /* of the last slice; the loop's once the job is done or ready */
    struct lsm_part *part; /* of a compaction; the loop's while idle, else constant */
};

/* Loop thread. */
enum lsm_job_state lsm_job_state(const struct lsm_job *job);
void lsm_job_hand_out(struct lsm_job *job); /* idle or waiting (asserted) -> ready */
void lsm_job_wait(struct lsm_job *job);     /* idle (asserted) -> waiting */
void lsm_job_forget(struct lsm_job *job);   /* waiting (asserted) -> idle */

/* Takes one job back, with the permit: a done one, or one that nobody has claimed, which then
 * waits.  There is one (asserted).  Its state is set to waiting. */
struct lsm_job *lsm_job_take_back(struct lsm_job *jobs, bool *out_done);

/* Worker: claims a ready job.  NULL: there is none, since the one that the permit stands for is
 * done or somebody else's call has it; or, rarely, one became ready behind the look at it.  Then it
 * is ready for the next call or goes back with the permit. */
struct lsm_job *lsm_job_claim(struct lsm_job *jobs);
void lsm_job_let_go(struct lsm_job *job, bool done, enum nk_err err); /* running -> done or ready */
