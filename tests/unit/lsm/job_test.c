#include "services/shardhost/lsm/job.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>

TestSuite(lsm_job, .timeout = 5);

static void make_idle(struct lsm_job *jobs)
{
    for (size_t i = 0; i < LSM_JOB_COUNT; i++) {
        atomic_init(&jobs[i].state, LSM_JOB_IDLE);
    }
}

Test(lsm_job, a_flush_is_claimed_before_all_else)
{
    struct lsm_job jobs[LSM_JOB_COUNT] = {0};
    make_idle(jobs);
    lsm_job_wait(&jobs[LSM_JOB_PARTS]);
    lsm_job_hand_out(&jobs[LSM_JOB_PARTS]);
    lsm_job_hand_out(&jobs[LSM_JOB_CLEAN]);
    lsm_job_hand_out(&jobs[LSM_JOB_FLUSH]);
    cr_expect_eq(lsm_job_claim(jobs), &jobs[LSM_JOB_FLUSH]);
    cr_expect_eq(lsm_job_claim(jobs), &jobs[LSM_JOB_CLEAN]);
    cr_expect_eq(lsm_job_claim(jobs), &jobs[LSM_JOB_PARTS]);
}

Test(lsm_job, a_done_one_is_taken_back_first_and_else_the_least_urgent)
{
    struct lsm_job jobs[LSM_JOB_COUNT] = {0};
    bool done = true;
    make_idle(jobs);
    lsm_job_hand_out(&jobs[LSM_JOB_FLUSH]);
    lsm_job_hand_out(&jobs[LSM_JOB_PARTS + 1]);
    cr_expect_eq(lsm_job_take_back(jobs, &done), &jobs[LSM_JOB_PARTS + 1]);
    cr_expect_not(done);
    cr_expect_eq(lsm_job_state(&jobs[LSM_JOB_PARTS + 1]), LSM_JOB_WAITING);
    lsm_job_hand_out(&jobs[LSM_JOB_PARTS + 1]);
    struct lsm_job *job = lsm_job_claim(jobs);
    lsm_job_let_go(job, true, NK_IO);
    cr_expect_eq(lsm_job_take_back(jobs, &done), &jobs[LSM_JOB_FLUSH]);
    cr_expect(done);
    cr_expect_eq(job->err, NK_IO);
    lsm_job_forget(job);
    cr_expect_eq(lsm_job_state(job), LSM_JOB_IDLE);
}

Test(lsm_job, one_with_more_to_do_can_be_claimed_again_under_the_same_permit)
{
    struct lsm_job jobs[LSM_JOB_COUNT] = {0};
    make_idle(jobs);
    lsm_job_hand_out(&jobs[LSM_JOB_FLUSH]);
    struct lsm_job *job = lsm_job_claim(jobs);
    lsm_job_let_go(job, false, NK_OK);
    cr_expect_eq(lsm_job_claim(jobs), job);
}

Test(lsm_job, where_none_is_ready_there_is_none_to_claim)
{
    struct lsm_job jobs[LSM_JOB_COUNT] = {0};
    make_idle(jobs);
    cr_expect_null(lsm_job_claim(jobs));
    lsm_job_wait(&jobs[LSM_JOB_PARTS]);
    cr_expect_null(lsm_job_claim(jobs));
    lsm_job_hand_out(&jobs[LSM_JOB_FLUSH]);
    struct lsm_job *job = lsm_job_claim(jobs);
    cr_assert_not_null(job);
    cr_expect_null(lsm_job_claim(jobs));
    lsm_job_let_go(job, true, NK_OK);
    cr_expect_null(lsm_job_claim(jobs));
}

Test(lsm_job, handing_out_twice_is_a_programmer_error, .signal = SIGABRT)
{
    struct lsm_job jobs[LSM_JOB_COUNT] = {0};
    make_idle(jobs);
    lsm_job_hand_out(&jobs[LSM_JOB_FLUSH]);
    lsm_job_hand_out(&jobs[LSM_JOB_FLUSH]);
}
