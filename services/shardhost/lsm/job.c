#include "services/shardhost/lsm/job.h"

#include "common/base/assert.h"

static bool change(struct lsm_job *job, enum lsm_job_state from, enum lsm_job_state to)
{
    uint32_t expected = from;
    return atomic_compare_exchange_strong_explicit(&job->state, &expected, to, memory_order_acq_rel,
                                                   memory_order_acquire);
}

enum lsm_job_state lsm_job_state(const struct lsm_job *job)
{
    return (enum lsm_job_state)atomic_load_explicit(&job->state, memory_order_acquire);
}

void lsm_job_hand_out(struct lsm_job *job)
{
    bool done =
        change(job, LSM_JOB_IDLE, LSM_JOB_READY) || change(job, LSM_JOB_WAITING, LSM_JOB_READY);
    NK_ASSERT(done);
}

void lsm_job_wait(struct lsm_job *job)
{
    bool done = change(job, LSM_JOB_IDLE, LSM_JOB_WAITING);
    NK_ASSERT(done);
}

void lsm_job_forget(struct lsm_job *job)
{
    bool done = change(job, LSM_JOB_WAITING, LSM_JOB_IDLE);
    NK_ASSERT(done);
}

struct lsm_job *lsm_job_take_back(struct lsm_job *jobs, bool *out_done)
{
    for (size_t i = 0; i < LSM_JOB_COUNT; i++) {
        if (change(&jobs[i], LSM_JOB_DONE, LSM_JOB_WAITING)) {
            *out_done = true;
            return &jobs[i];
        }
    }
    /* The least urgent one: a flush that is ready goes to whoever calls next.  One of them may be
     * claimed on the way, by somebody whose own job is then ready instead. */
    for (;;) {
        for (size_t i = LSM_JOB_COUNT; i-- > 0;) {
            if (change(&jobs[i], LSM_JOB_READY, LSM_JOB_WAITING)) {
                *out_done = false;
                return &jobs[i];
            }
            if (change(&jobs[i], LSM_JOB_DONE, LSM_JOB_WAITING)) {
                *out_done = true;
                return &jobs[i];
            }
        }
    }
}

struct lsm_job *lsm_job_claim(struct lsm_job *jobs)
{
    for (size_t i = 0; i < LSM_JOB_COUNT; i++) {
        if (change(&jobs[i], LSM_JOB_READY, LSM_JOB_RUNNING)) {
            return &jobs[i];
        }
    }
    return NULL;
}

void lsm_job_let_go(struct lsm_job *job, bool done, enum nk_err err)
{
    job->err = err;
    uint32_t before = atomic_exchange_explicit(&job->state, done ? LSM_JOB_DONE : LSM_JOB_READY,
                                               memory_order_acq_rel);
    NK_ASSERT(before == LSM_JOB_RUNNING);
}
